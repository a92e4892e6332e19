//! The kept messages of a survey in sequence order, read again block by block.
//!
//! Memory: one block, its decoded content and its kept records. Blocks that overlap are read again for every stretch of the
//! sequence they own; more than [`SEGMENTS_MAX`] stretches are refused, since no server writes such blocks.

use std::ops::RangeInclusive;

use super::error::SalvageError;
use super::read::Blocks;
use super::scan::{RecordSink, Scratch, replay_block};
use super::survey::Survey;
use crate::env::ReadFiles;
use crate::format::record::{RecordKind, RecordRef, parse_at};
use crate::format::seqset::SeqSet;
use crate::stream::options::Keys;

/// Stretches of the sequence that overlapping blocks may be cut into.
pub const SEGMENTS_MAX: usize = 1 << 16;

/// A kept message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptMessage<'a> {
    /// Sequence.
    pub seq: u64,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// Subject.
    pub subject: &'a [u8],
    /// Header block, empty where there is none.
    pub headers: &'a [u8],
    /// Body.
    pub body: &'a [u8],
    /// Block it was found in.
    pub number: u32,
    /// Whether the border between subject, headers and body is in doubt.
    pub is_border_uncertain: bool,
    /// Whether the header length reaches past the record: headers and body are then one.
    pub is_header_broken: bool,
    /// The record as it lies.
    pub record: &'a [u8],
}

/// A stretch of the sequence that one block has.
#[derive(Debug, Clone, Copy)]
struct Segment {
    first: u64,
    last: u64,
    at: usize,
}

/// Reads the kept messages one after the other.
pub struct Cursor<'a> {
    blocks: Blocks<'a>,
    survey: &'a Survey,
    segments: std::vec::IntoIter<Segment>,
    file: Vec<u8>,
    scratch: Scratch,
    loaded: Collected,
    place: usize,
    number: u32,
    at: usize,
    every: bool,
}

impl<'a> Cursor<'a> {
    /// Begins at the first kept message of the range.
    ///
    /// # Errors
    ///
    /// [`SalvageError::Tangled`].
    pub fn new(
        fs: &'a dyn ReadFiles,
        survey: &'a Survey,
        keys: &'a Keys,
        range: RangeInclusive<u64>,
    ) -> Result<Self, SalvageError> {
        let (from, to) = range.into_inner();
        let mut segments = segments(survey)?;
        segments.retain_mut(|segment| {
            segment.first = segment.first.max(from);
            segment.last = segment.last.min(to);
            segment.first <= segment.last
        });
        Ok(Cursor {
            blocks: Blocks {
                fs,
                stream: &survey.stream,
                gathered: &survey.gathered,
                keys,
                misplaced: &survey.misplaced,
            },
            survey,
            segments: segments.into_iter(),
            file: Vec::new(),
            scratch: Scratch::default(),
            loaded: Collected::default(),
            place: 0,
            number: 0,
            at: 0,
            every: false,
        })
    }

    /// Begins at the first message found at all, deleted ones included: another copy may know better. Of blocks that overlap
    /// only what is kept is given.
    ///
    /// # Errors
    ///
    /// [`SalvageError::Tangled`].
    pub fn every(
        fs: &'a dyn ReadFiles,
        survey: &'a Survey,
        keys: &'a Keys,
    ) -> Result<Self, SalvageError> {
        let mut cursor = Self::new(fs, survey, keys, 0..=u64::MAX)?;
        let mut extents = Vec::new();
        let mut reach = 0;
        for (at, find) in survey.finds.iter().enumerate() {
            if let (Some(first), Some(last)) = (find.messages.first(), find.messages.last()) {
                if first <= reach {
                    return Ok(cursor);
                }
                reach = last;
                extents.push(Segment { first, last, at });
            }
        }
        cursor.segments = extents.into_iter();
        cursor.every = true;
        Ok(cursor)
    }

    /// Goes to the next message, if there is one: the first call to the first.
    ///
    /// # Errors
    ///
    /// [`SalvageError::Io`] where a block can no longer be read.
    pub fn advance(&mut self) -> Result<bool, SalvageError> {
        self.place += 1;
        while self.place >= self.loaded.items.len() {
            let Some(segment) = self.segments.next() else {
                self.loaded = Collected::default();
                return Ok(false);
            };
            self.load(segment)?;
            self.place = 0;
        }
        Ok(true)
    }

    fn load(&mut self, segment: Segment) -> Result<(), SalvageError> {
        let mut loaded = std::mem::take(&mut self.loaded);
        loaded.bytes.clear();
        loaded.items.clear();
        let (Some(find), Some(verdict)) = (
            self.survey.finds.get(segment.at),
            self.survey.trust.blocks.get(segment.at),
        ) else {
            return Ok(());
        };
        self.blocks.read(find.file, &mut self.file)?;
        let mut sink = Collector {
            kept: if self.every {
                &find.messages
            } else {
                &verdict.kept
            },
            range: segment.first..=segment.last,
            collected: loaded,
        };
        let hash_key = self.survey.hash_key(find.number);
        replay_block(
            &mut self.file,
            &hash_key,
            find,
            &mut self.scratch,
            &mut sink,
        );
        self.loaded = sink.collected;
        self.number = find.number;
        self.at = segment.at;
        Ok(())
    }

    /// The message the cursor is at.
    #[must_use]
    pub fn message(&self) -> Option<KeptMessage<'_>> {
        let item = self.loaded.items.get(self.place)?;
        let record = parse_at(&self.loaded.bytes, item.start).ok()?;
        let subject = record.subject(&self.loaded.bytes);
        let (parts, is_header_broken) = match record.headers_and_body(&self.loaded.bytes) {
            Ok(parts) => (parts, false),
            Err(_) => {
                let start =
                    item.start + crate::format::limits::RECORD_HEADER_LENGTH + subject.len();
                let rest = self.loaded.bytes.get(start..record.checksum_offset());
                ((&[][..], rest.unwrap_or_default()), true)
            }
        };
        let uncertain = self.survey.finds.get(self.at).is_some_and(|find| {
            let doubted = &find.uncertain;
            doubted.iter().any(|border| border.seq == item.seq)
        });
        Some(KeptMessage {
            seq: item.seq,
            timestamp_ns: record.timestamp_ns(),
            subject,
            headers: parts.0,
            body: parts.1,
            number: self.number,
            is_border_uncertain: uncertain,
            is_header_broken,
            record: record.bytes(&self.loaded.bytes)?,
        })
    }
}

/// Records copied out of a block.
#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    items: Vec<WaitingBlock>,
}

#[derive(Debug, Clone, Copy)]
struct WaitingBlock {
    seq: u64,
    start: usize,
}

struct Collector<'a> {
    kept: &'a SeqSet,
    range: RangeInclusive<u64>,
    collected: Collected,
}

impl RecordSink for Collector<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        if record.kind() != RecordKind::Message
            || !self.range.contains(&seq)
            || !self.kept.contains(seq)
        {
            return;
        }
        if let Some(bytes) = record.bytes(content) {
            let start = self.collected.bytes.len();
            self.collected.bytes.extend_from_slice(bytes);
            self.collected.items.push(WaitingBlock { seq, start });
        }
    }
}

/// Refuses what a [`Cursor`] would refuse to read.
///
/// # Errors
///
/// [`SalvageError::Tangled`].
pub(super) fn refuse_tangles(survey: &Survey) -> Result<(), SalvageError> {
    segments(survey).map(drop)
}

/// Which block has which stretch, ascending. Blocks that overlap no other are one stretch each.
fn segments(survey: &Survey) -> Result<Vec<Segment>, SalvageError> {
    let mut extents: Vec<Segment> = Vec::new();
    for (at, verdict) in survey.trust.blocks.iter().enumerate() {
        if let (Some(first), Some(last)) = (verdict.kept.first(), verdict.kept.last()) {
            extents.push(Segment { first, last, at });
        }
    }
    extents.sort_by_key(|segment| segment.first);
    let mut segments = Vec::with_capacity(extents.len());
    let mut group: Vec<Segment> = Vec::new();
    let mut reach = 0;
    for extent in extents {
        if !group.is_empty() && extent.first > reach {
            untangle(survey, &mut group, &mut segments)?;
        }
        reach = if group.is_empty() {
            extent.last
        } else {
            reach.max(extent.last)
        };
        group.push(extent);
    }
    untangle(survey, &mut group, &mut segments)?;
    Ok(segments)
}

fn untangle(
    survey: &Survey,
    group: &mut Vec<Segment>,
    segments: &mut Vec<Segment>,
) -> Result<(), SalvageError> {
    if group.len() <= 1 {
        segments.append(group);
        return Ok(());
    }
    let mut walks: Vec<_> = group
        .drain(..)
        .filter_map(|segment| {
            let kept = &survey.trust.blocks.get(segment.at)?.kept;
            Some((segment.at, kept.spans().peekable()))
        })
        .collect();
    loop {
        let lowest = walks
            .iter_mut()
            .filter_map(|(at, spans)| spans.peek().map(|span| (*span.start(), *at)))
            .min();
        let Some((_, at)) = lowest else { return Ok(()) };
        let Some((_, spans)) = walks.iter_mut().find(|(walked, _)| *walked == at) else {
            return Ok(());
        };
        let Some(span) = spans.next() else {
            return Ok(());
        };
        match segments.last_mut() {
            Some(last) if last.at == at => last.last = *span.end(),
            _ => segments.push(Segment {
                first: *span.start(),
                last: *span.end(),
                at,
            }),
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(SalvageError::Tangled {
                dir: survey.stream.dir.clone(),
                count: segments.len(),
            });
        }
    }
}
