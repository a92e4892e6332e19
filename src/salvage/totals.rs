//! What the kept messages of a survey add up to: bytes, subjects, the first time.
//!
//! The blocks are read once more, side by side and without hashing: they were verified by the survey, and nothing that is
//! counted here is written anywhere. Memory: per thread one block and its decoded content, and every subject once.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::copy::source_blocks;
use super::error::SalvageError;
use super::message_cursor::refuse_tangles;
use super::read::Blocks;
use super::scan::{RecordSink, Scratch, replay_unverified};
use super::survey::Survey;
use crate::env::ReadFiles;
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::parallel::Crew;
use crate::report::Watch;
use crate::stream::options::Options;

/// Subjects that are compared before the table is asked.
const RECENT_SLOTS: usize = 64;

/// The sums.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Bytes of the records.
    pub bytes: u64,
    /// Lowest sequence and its time.
    pub first: Option<(u64, i64)>,
    /// Distinct subjects.
    pub subject_count: u64,
    /// Messages per subject.
    pub subjects: HashMap<Vec<u8>, u64>,
    /// Sequences whose header length reaches past the record, ascending.
    pub unreadable: Vec<u64>,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.first = match (self.first, other.first) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        if self.subjects.is_empty() {
            self.subjects = other.subjects;
        } else {
            for (subject, count) in other.subjects {
                *self.subjects.entry(subject).or_default() += count;
            }
        }
        self.unreadable.extend(other.unreadable);
    }
}

/// Adds up what is kept.
///
/// # Errors
///
/// [`SalvageError`]: a block can no longer be read, blocks are tangled, or the caller cancelled.
pub(super) fn sum_up(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    watch: &Watch<'_>,
) -> Result<Sums, SalvageError> {
    refuse_tangles(found)?;
    let blocks = source_blocks(fs, found, &options.keys);
    let places: Vec<usize> = (0..found.finds.len()).collect();
    let crew = Crew::of(options.threads).until(watch.cancel);
    let (_, adders) = crew.map_with(&places, Adder::default, |adder, at| {
        adder.block(blocks, found, *at)
    })?;
    if watch.cancel.load(Ordering::Relaxed) {
        return Err(SalvageError::Interrupted(found.stream.dir.clone()));
    }
    let mut sums = Sums::default();
    for mut adder in adders {
        adder.file_recent();
        sums.add(adder.sums);
    }
    sums.unreadable.sort_unstable();
    sums.subject_count = sums.subjects.len() as u64;
    Ok(sums)
}

/// One thread's part.
#[derive(Default)]
struct Adder {
    file: Vec<u8>,
    scratch: Scratch,
    sums: Sums,
    /// Subjects met last, and how often since they were: most messages have one of a few.
    recent: Vec<(Vec<u8>, u64)>,
}

impl Adder {
    fn block(&mut self, blocks: Blocks<'_>, found: &Survey, at: usize) -> Result<(), SalvageError> {
        let (Some(find), Some(verdict)) = (found.finds.get(at), found.trust.blocks.get(at)) else {
            return Ok(());
        };
        if verdict.kept.is_empty() {
            return Ok(());
        }
        blocks.read(find.file, &mut self.file)?;
        let mut file = std::mem::take(&mut self.file);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut sink = Adding {
            // Where all is kept, nothing has to be looked up.
            kept: (verdict.kept != find.messages).then_some(&verdict.kept),
            adder: self,
        };
        replay_unverified(&mut file, find, &mut scratch, &mut sink);
        (self.file, self.scratch) = (file, scratch);
        Ok(())
    }

    fn subject(&mut self, subject: &[u8]) {
        let slot = slot_of(subject);
        if self.recent.is_empty() {
            self.recent.resize(RECENT_SLOTS, (Vec::new(), 0));
        }
        let Some((recent, count)) = self.recent.get_mut(slot) else {
            return;
        };
        if *count > 0 && recent == subject {
            *count += 1;
            return;
        }
        if *count > 0 {
            file(&mut self.sums.subjects, recent, *count);
        }
        recent.clear();
        recent.extend_from_slice(subject);
        *count = 1;
    }

    fn file_recent(&mut self) {
        for (subject, count) in std::mem::take(&mut self.recent) {
            if count > 0 {
                file(&mut self.sums.subjects, &subject, count);
            }
        }
    }
}

fn file(subjects: &mut HashMap<Vec<u8>, u64>, subject: &[u8], count: u64) {
    match subjects.get_mut(subject) {
        Some(known) => *known += count,
        None => {
            subjects.insert(subject.to_vec(), count);
        }
    }
}

/// By the length and the last bytes of a subject, where subjects of a stream mostly differ.
#[inline]
fn slot_of(subject: &[u8]) -> usize {
    let tail = subject
        .last_chunk::<8>()
        .map_or(0, |tail| u64::from_le_bytes(*tail));
    let mixed = (tail ^ subject.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 58) as usize % RECENT_SLOTS
}

struct Adding<'a, 'k> {
    kept: Option<&'k SeqSet>,
    adder: &'a mut Adder,
}

impl RecordSink for Adding<'_, '_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        if record.kind() != RecordKind::Message || self.kept.is_some_and(|kept| !kept.contains(seq))
        {
            return;
        }
        let sums = &mut self.adder.sums;
        sums.bytes += record.length() as u64;
        let this = (seq, record.timestamp_ns());
        if sums.first.is_none_or(|first| this < first) {
            sums.first = Some(this);
        }
        if record.has_headers() && record.headers_and_body(content).is_err() {
            sums.unreadable.push(seq);
        }
        self.adder.subject(record.subject(content));
    }
}
