//! What one scan of a plainly sound block tells beyond its state, so that no later step has to read it again: timers,
//! source positions, and what tombstones take of it.
//!
//! Only what the caller asks for is kept ([`ScanWish`]), a few bytes for each message that has it.

use rustc_hash::FxHashMap;

use super::slots::timers_among;
use crate::format::headers::{self, StreamSource};
use crate::format::record::RecordRef;
use crate::format::schedule;
use crate::format::seqset::SeqSet;

/// What a scan is to keep.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanWish {
    /// TTLs of messages from this sequence on.
    pub ttls_from: Option<u64>,
    /// Schedules of messages from this sequence on.
    pub schedules_from: Option<u64>,
    /// The last position of each source.
    pub sources: bool,
    /// Whether a timer header counts without a value.
    pub empty_counts: bool,
    /// The clock that repeating schedules go by.
    pub now_ns: i64,
}

/// What one scan of a plainly sound block tells.
#[derive(Debug, Clone, Default)]
pub struct BlockScan {
    /// What was to be kept.
    pub wish: ScanWish,
    /// Records with a TTL header.
    pub ttl_count: u64,
    /// Records with a schedule header.
    pub schedule_count: u64,
    /// Sequence and expiry of messages with a TTL, by rising sequence.
    pub ttls: Vec<(u64, i64)>,
    /// Messages with a schedule, by rising sequence.
    pub schedules: Vec<ScheduleNote>,
    /// The last message of each source, by rising sequence.
    pub sources: Vec<SourceNote>,
    /// What tombstones take of it, as far as they were known by then.
    pub taken: Option<Taken>,
}

/// A scheduled message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleNote {
    /// Its sequence.
    pub seq: u64,
    /// Its subject.
    pub subject: Box<[u8]>,
    /// When it fires.
    pub fires_ns: i64,
}

/// A message that says where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNote {
    /// Its sequence.
    pub seq: u64,
    is_keyed: bool,
    name: Vec<u8>,
    sequence: u64,
    identity: Vec<u8>,
}

impl SourceNote {
    /// What its header says.
    #[must_use]
    pub fn source(&self) -> StreamSource<'_> {
        if self.is_keyed {
            StreamSource::Keyed {
                key: self.name.clone(),
                sequence: self.sequence,
                identity: &self.identity,
            }
        } else {
            StreamSource::StreamName {
                name: &self.name,
                sequence: self.sequence,
            }
        }
    }
}

/// Messages of a block that tombstones take.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Their sequences.
    pub seqs: SeqSet,
    /// Bytes they count for.
    pub bytes: u64,
    /// Their subjects.
    pub subjects: SubjectCounts,
    /// Sequence and time of the block's first message where that changes; `None` also where nothing is left.
    pub new_first: Option<(u64, i64)>,
}

/// How many messages of each of some subjects.
#[derive(Debug, Clone, Default)]
pub struct SubjectCounts {
    bytes: Vec<u8>,
    counts: Vec<(u16, u32)>,
}

impl SubjectCounts {
    /// Adds a subject that is not there yet.
    pub fn push(&mut self, subject: &[u8], count: u32) {
        let Ok(length) = u16::try_from(subject.len()) else {
            return;
        };
        self.bytes.extend_from_slice(subject);
        self.counts.push((length, count));
    }

    /// Subjects with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let mut rest = self.bytes.as_slice();
        self.counts.iter().map_while(move |(length, count)| {
            let (subject, behind) = rest.split_at_checked(usize::from(*length))?;
            rest = behind;
            Some((subject, *count))
        })
    }
}

/// Gathers a [`BlockScan`] from the headers of a block's messages.
#[derive(Debug, Default)]
pub struct HeaderNotes {
    scan: BlockScan,
    sources: FxHashMap<(bool, Vec<u8>), SourceNote>,
    /// Messages whose header length is bad: sequence and offset.
    pub bad_headers: Vec<(u64, u64)>,
}

impl HeaderNotes {
    /// Nothing gathered yet.
    #[must_use]
    pub fn new(wish: ScanWish) -> Self {
        HeaderNotes {
            scan: BlockScan {
                wish,
                ..BlockScan::default()
            },
            ..HeaderNotes::default()
        }
    }

    /// Takes in a message with headers.
    pub fn message(&mut self, record: &RecordRef, content: &[u8]) {
        let Ok((block, _)) = record.headers_and_body(content) else {
            self.bad_headers
                .push((record.sequence(), record.offset() as u64));
            return;
        };
        let present = headers::present(block);
        if !present.any() {
            return;
        }
        let wish = self.scan.wish;
        let (ttl, schedule) = timers_among(present, block, wish.empty_counts);
        self.scan.ttl_count += u64::from(ttl);
        self.scan.schedule_count += u64::from(schedule);
        let (seq, timestamp_ns) = (record.sequence(), record.timestamp_ns());
        let due = |from: Option<u64>| from.is_some_and(|from| seq >= from);
        if present.ttl
            && due(wish.ttls_from)
            && let Ok(ttl) = headers::message_ttl(block)
            && ttl > 0
        {
            let expiry_ns = headers::expiry_ns(timestamp_ns, ttl);
            self.scan.ttls.push((seq, expiry_ns));
        }
        if present.schedule
            && due(wish.schedules_from)
            && let Some(fires_ns) = schedule::next_fire(block, timestamp_ns, wish.now_ns)
        {
            self.scan.schedules.push(ScheduleNote {
                seq,
                subject: record.subject(content).into(),
                fires_ns,
            });
        }
        if present.source && wish.sources {
            self.source(seq, headers::stream_source(block));
        }
    }

    fn source(&mut self, seq: u64, source: StreamSource<'_>) {
        let (is_keyed, name, sequence, identity) = match source {
            StreamSource::Keyed {
                key,
                sequence,
                identity,
            } => (true, key, sequence, identity),
            StreamSource::StreamName { name, sequence } => {
                (false, name.to_vec(), sequence, &[][..])
            }
            StreamSource::None => return,
        };
        let note = SourceNote {
            seq,
            is_keyed,
            name: name.clone(),
            sequence,
            identity: identity.to_vec(),
        };
        self.sources.insert((is_keyed, name), note);
    }

    /// What was gathered.
    #[must_use]
    pub fn finish(self) -> (BlockScan, Vec<(u64, u64)>) {
        let mut scan = self.scan;
        scan.sources = self.sources.into_values().collect();
        scan.sources.sort_unstable_by_key(|note| note.seq);
        scan.ttls.shrink_to_fit();
        (scan, self.bad_headers)
    }
}
