//! How the messages of a subject usually begin: what the other messages of a block tell of a border.
//!
//! A flipped subject length moves bytes between subject and body, so that the body begins in the middle of what it was.
//! Where nearly all messages of a subject begin alike (a brace and a quote, the tag of a first field), a message with a
//! rare subject that by one flip would be one of these, and would begin as they do, and does not now, had its border
//! flipped. Two bytes have to agree, and several messages for each that has the rare subject, so that of honest messages
//! one in many thousands could be taken for such, and none in a block whose bodies begin with chance bytes.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::super::findings::Gap;
use super::replay::each_record;
use super::subject_length::BorderFlip;
use crate::format::limits::RECORD_HEADER_LENGTH;
use crate::format::record::{RecordKind, RecordRef};

/// Bytes compared.
const START: usize = 2;

/// Messages of a subject that are needed to speak of what is usual.
const COMMON_MIN: u32 = 3;

/// A subject with so many messages comes again.
pub(super) const AGAIN: u32 = 2;

/// How many times as many messages the right subject must have as the wrong one.
const OUTWEIGHS: u32 = 4;

/// How the messages of one subject begin.
#[derive(Debug, Default, Clone, Copy)]
struct Starts {
    messages: u32,
    start: [u8; START],
    /// Messages that begin so less those that do not, at least.
    lead: u32,
}

impl Starts {
    /// The start of three quarters of the messages.
    fn usual(&self) -> Option<&[u8]> {
        let is_usual = self.messages >= COMMON_MIN && self.lead >= self.messages.div_ceil(2);
        is_usual.then_some(&self.start[..])
    }
}

/// A subject, its hash, and how its messages begin.
#[derive(Debug)]
struct KnownSubjects<'c> {
    hash: u64,
    subject: &'c [u8],
    starts: Starts,
}

/// How the messages of each subject of a block begin. Memory for each subject of it, borrowed from the content.
#[derive(Debug, Default)]
pub(super) struct Usual<'c> {
    subjects: HashTable<KnownSubjects<'c>>,
    /// Messages of the subject that has most.
    most: u32,
    /// Messages of the subject that has fewest.
    fewest: u32,
    /// Lengths of the subjects that come again.
    lengths: HashSet<usize, FxBuildHasher>,
}

impl<'c> Usual<'c> {
    /// Looks at every message of `content` between `gaps`, without hashing.
    pub fn of(content: &'c [u8], gaps: &[Gap]) -> Self {
        let mut subjects: HashTable<KnownSubjects<'c>> = HashTable::new();
        each_record(content, gaps, |record| {
            if record.kind() != RecordKind::Message {
                return;
            }
            let subject = record.subject(content);
            let hash = FxBuildHasher.hash_one(subject);
            let entry = subjects.entry(
                hash,
                |known| known.hash == hash && known.subject == subject,
                |known| known.hash,
            );
            let known = entry.or_insert_with(|| KnownSubjects {
                hash,
                subject,
                starts: Starts::default(),
            });
            let starts = &mut known.into_mut().starts;
            starts.messages += 1;
            let body = record
                .headers_and_body(content)
                .map_or(&[][..], |(_, body)| body);
            match body.first_chunk::<START>() {
                Some(start) if *start == starts.start => starts.lead += 1,
                Some(start) if starts.lead == 0 => (starts.start, starts.lead) = (*start, 1),
                _ => starts.lead = starts.lead.saturating_sub(1),
            }
        });
        let counts = || subjects.iter().map(|known| known.starts.messages);
        let (most, fewest) = (counts().max(), counts().min());
        let again = subjects
            .iter()
            .filter(|known| known.starts.messages >= AGAIN);
        let lengths = again.map(|known| known.subject.len()).collect();
        Self {
            subjects,
            most: most.unwrap_or_default(),
            fewest: fewest.unwrap_or_default(),
            lengths,
        }
    }

    fn starts(&self, subject: &[u8]) -> Option<&Starts> {
        let hash = FxBuildHasher.hash_one(subject);
        let is_it = |known: &KnownSubjects<'_>| known.hash == hash && known.subject == subject;
        self.subjects.find(hash, is_it).map(|known| &known.starts)
    }

    /// Whether a subject that comes again is a flipped bit of its length away from that of a message without headers.
    pub fn is_near(&self, record: &RecordRef, content: &[u8]) -> bool {
        let start = record.offset() + RECORD_HEADER_LENGTH;
        let whole = content.get(start..record.checksum_offset());
        let found = record.subject_length();
        let flipped = (0..u16::BITS).map(|bit| found ^ (1 << bit));
        flipped
            .filter(|length| self.lengths.contains(length))
            .filter_map(|length| self.starts(whole?.get(..length)?))
            .any(|starts| starts.messages >= AGAIN)
    }

    /// Whether any subject comes once only, or is rare.
    pub fn has_rare(&self) -> bool {
        self.fewest == 1 || self.most / OUTWEIGHS >= self.fewest
    }

    /// Whether a subject is so rare that another can outweigh it.
    pub fn is_rare(&self, subject: &[u8]) -> bool {
        self.most / OUTWEIGHS >= self.count(subject)
    }

    /// Messages with this subject.
    pub fn count(&self, subject: &[u8]) -> u32 {
        let starts = self.starts(subject);
        starts.map_or(0, |starts| starts.messages)
    }

    /// Whether so many more messages have this subject than `count` that these may be flipped ones of it.
    pub fn outweighs(&self, subject: &[u8], count: u32) -> bool {
        self.count(subject) / OUTWEIGHS >= count
    }

    /// The only one of `flips` that makes of a message with a rare subject, that begins like no other, a usual one.
    pub fn pick(
        &self,
        record: &RecordRef,
        content: &[u8],
        flips: &[BorderFlip],
    ) -> Option<BorderFlip> {
        if record.has_headers() || record.kind() != RecordKind::Message {
            return None;
        }
        let rare = self.count(record.subject(content)).max(1);
        let (_, body) = record.headers_and_body(content).ok()?;
        let mut fitting = flips.iter().filter(|flip| {
            let Some(starts) = self.starts(flip.subject(record, content)) else {
                return false;
            };
            let then = content.get(flip.subject_end..record.checksum_offset());
            starts.messages / OUTWEIGHS >= rare
                && starts.usual().is_some_and(|usual| {
                    !body.starts_with(usual) && then.is_some_and(|then| then.starts_with(usual))
                })
        });
        fitting.next().copied().filter(|_| fitting.next().is_none())
    }

    /// Whether with `flip` a message has a subject of at least `often` messages, and nothing in how these begin speaks
    /// against it.
    pub fn may_be(
        &self,
        flip: &BorderFlip,
        record: &RecordRef,
        content: &[u8],
        often: u32,
    ) -> bool {
        let Some(starts) = self.starts(flip.subject(record, content)) else {
            return false;
        };
        let then = content.get(flip.subject_end..record.checksum_offset());
        let fits = |usual: &[u8]| then.is_some_and(|then| then.starts_with(usual));
        starts.messages >= often && starts.usual().is_none_or(fits)
    }

    /// The only one of `lengths` with which a message without headers, whose subject length is lost, is a usual one.
    pub fn pick_length(
        &self,
        record: &RecordRef,
        content: &[u8],
        lengths: impl Iterator<Item = u16>,
    ) -> Option<u16> {
        let start = record.offset() + RECORD_HEADER_LENGTH;
        let whole = content.get(start..record.checksum_offset())?;
        let mut fitting = lengths.filter(|length| {
            let Some((subject, body)) = whole.split_at_checked(usize::from(*length)) else {
                return false;
            };
            let usual = self.starts(subject).and_then(Starts::usual);
            usual.is_some_and(|usual| body.starts_with(usual))
        });
        fitting.next().filter(|_| fitting.next().is_none())
    }
}
