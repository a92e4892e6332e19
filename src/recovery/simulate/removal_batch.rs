//! Messages that are about to go, looked up block by block.
//!
//! Tombstones take messages away in the order they were written, which is any order of blocks. The server keeps every
//! block it loads in memory meanwhile; here a block that is loaded for one of them is asked for all of them at once, and
//! only what taking a message away needs stays behind.

use rustc_hash::FxHashMap;

use super::load::Lookup;
use super::{BlockId, Loaded, Simulation};
use crate::block::slots::timer_headers;
use crate::format::record::{RecordRef, record_length};

/// Messages looked up ahead at a time: with [`NOTED_MAX`], what bounds the memory of an [`RemovalBatch`].
pub const BATCH_MAX: usize = 1 << 18;

/// A message with more subject and headers than this, in bytes, is looked up when its turn comes.
const NOTED_MAX: usize = 1024;

/// The messages that are about to go, and what is known of those whose block was loaded.
#[derive(Default)]
pub struct RemovalBatch {
    /// Ascending.
    seqs: Vec<u64>,
    /// By block identity.
    noted: FxHashMap<BlockId, Noted>,
}

/// What was noted of one block. Stands while the block's accounts cover what its index covered.
struct Noted {
    first_seq: u64,
    span: u64,
    messages: FxHashMap<u64, RemovedMessage>,
}

/// What of a message has to be known to take it out of every total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedMessage {
    /// Store time, nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// Length of its record in bytes.
    pub record_length: u64,
    /// Subject.
    pub subject: Box<[u8]>,
    /// Header block where it holds a TTL, else empty.
    pub headers: Box<[u8]>,
}

impl RemovedMessage {
    /// Of a record in a loaded block.
    pub fn of(record: &RecordRef, content: &[u8]) -> Self {
        let subject = record.subject(content);
        let (headers, body) = record.headers_and_body(content).unwrap_or_default();
        let (has_ttl, _) = timer_headers(headers, true);
        Self {
            timestamp_ns: record.timestamp_ns(),
            record_length: record_length(subject.len(), headers.len(), body.len()) as u64,
            subject: subject.into(),
            headers: if has_ttl { headers } else { &[] }.into(),
        }
    }
}

impl RemovalBatch {
    /// What will go next, in any order; at most [`BATCH_MAX`] of them are of use.
    pub fn of(seqs: &[u64]) -> Self {
        let mut seqs = seqs.to_vec();
        seqs.sort_unstable();
        seqs.dedup();
        Self {
            seqs,
            noted: FxHashMap::default(),
        }
    }

    /// A block's file or bounds changed.
    pub fn forget(&mut self, id: BlockId) {
        self.noted.remove(&id);
    }

    /// Any block's file may have changed.
    pub fn forget_all(&mut self) {
        self.noted.clear();
    }
}

impl Simulation<'_> {
    /// What was noted of a message of the block at `at`, while it holds: exactly as long as the loaded block would have
    /// served.
    pub fn noted(&mut self, at: usize, seq: u64) -> Option<RemovedMessage> {
        let block = &self.blocks[at];
        let noted = self.removals.noted.get_mut(&block.id)?;
        if block.covered_from(noted.first_seq) != noted.span {
            let id = block.id;
            self.removals.forget(id);
            return None;
        }
        noted.messages.remove(&seq)
    }

    /// Notes what the batch holds of a block that was just loaded. Of records that do not verify nothing is noted: what
    /// comes of them is seen when their turn comes.
    pub fn note_removals(&mut self, at: usize, loaded: &std::rc::Rc<Loaded>) {
        let block = &self.blocks[at];
        let (id, first, last) = (block.id, block.first.seq, block.last.seq);
        let (first_seq, span) = (loaded.index.first_seq, loaded.index.span);
        let known = self.removals.seqs.is_empty() || self.removals.noted.contains_key(&id);
        if known || self.loaded_at_hand(at).is_none() {
            return;
        }
        let from = self.removals.seqs.partition_point(|seq| *seq < first);
        let to = self.removals.seqs.partition_point(|seq| *seq <= last);
        let mut messages = FxHashMap::default();
        for seq in self.removals.seqs.get(from..to).unwrap_or_default() {
            let Ok(Lookup::Found(_, record)) = self.lookup(at, loaded, *seq) else {
                continue;
            };
            let removed = RemovedMessage::of(&record, &loaded.content);
            if removed.subject.len() + removed.headers.len() <= NOTED_MAX {
                messages.insert(*seq, removed);
            }
        }
        let noted = Noted {
            first_seq,
            span,
            messages,
        };
        self.removals.noted.insert(id, noted);
    }
}
