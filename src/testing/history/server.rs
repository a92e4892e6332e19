//! The part of a server that keeps a stream in files: adding, removing, limits, the periodic pass, stopping.
//!
//! Each step leaves the blocks as a server leaves them: which records lie where, when a tombstone is written and when
//! not, when a block goes. A real server that is given the same operations says whether that is so
//! (`tools/histories`).

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Block, Mark};
use super::setup::Setup;
use super::truth::{Truth, Way};
use crate::format::record::{NewRecord, record_length};
use crate::format::seqset::SeqSet;
use crate::format::state::{BlockEntry, StateFile, SubjectEntry, SubjectTable};
use crate::recovery::Message;
use crate::testing::WorkloadError;
use crate::testing::random::Random;

/// Length of a record without subject, headers and body.
const EMPTY_RECORD_BYTES: u64 = 30;
/// The version of `index.db` that is written.
const INDEX_VERSION: u8 = 4;
/// Bytes for the deleted sets of an index; none of these stores comes near.
const DELETED_SET_MAX: u64 = 1 << 20;

/// What the server remembers of a live message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub subject: String,
    pub bytes: u64,
    pub ns: i64,
}

/// The messages of one subject.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    pub seqs: BTreeSet<u64>,
    first_block: u32,
    last_block: u32,
}

/// How a removal is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// A tombstone, where the block stays.
    Tombstone,
    /// A tombstone, and the record wiped.
    Wiped,
    /// Nothing.
    None,
}

/// A stream's files as its server has them.
#[derive(Debug, Clone)]
pub struct Server {
    pub setup: Setup,
    pub blocks: Vec<Block>,
    pub live: BTreeMap<u64, Kept>,
    pub subjects: BTreeMap<String, Subject>,
    pub first: Mark,
    pub last: Mark,
    pub bytes: u64,
    pub now_ns: i64,
    /// `index.db` as it was last written, before it is sealed.
    pub index: Option<Vec<u8>>,
    /// What that does not count up to its last sequence, and that sequence.
    pub indexed: Option<(SeqSet, u64)>,
    pub truth: Truth,
    pub(super) dirty: bool,
    pub(super) first_moved: bool,
    noise: Random,
}

impl Server {
    /// A new stream.
    pub fn new(setup: Setup, now_ns: i64, noise: Random) -> Self {
        let block = Block::new(setup.stream, 1, 0);
        Self {
            setup,
            blocks: vec![block],
            live: BTreeMap::new(),
            subjects: BTreeMap::new(),
            first: Mark::default(),
            last: Mark::default(),
            bytes: 0,
            now_ns,
            index: None,
            indexed: None,
            truth: Truth::default(),
            dirty: false,
            first_moved: false,
            noise,
        }
    }

    /// Live messages.
    pub fn messages(&self) -> u64 {
        self.live.len() as u64
    }

    fn number_of_last(&self) -> u32 {
        self.blocks.last().map_or(0, |block| block.number)
    }

    /// Begins a new block.
    pub(super) fn roll(&mut self) -> Result<(), WorkloadError> {
        if self.setup.layout.is_compressed()
            && let Some(block) = self.blocks.last_mut()
        {
            block.seal()?;
        }
        let number = self.number_of_last() + 1;
        self.blocks
            .push(Block::new(self.setup.stream, number, self.last.seq));
        Ok(())
    }

    /// The block the next record of this length goes to.
    fn writable(&mut self, length: u64) -> Result<&mut Block, WorkloadError> {
        let most = self.setup.block_bytes();
        let last = self.blocks.last();
        if last.is_none_or(|block| block.fill().is_full(length, most)) {
            self.roll()?;
        }
        let block = self.blocks.last_mut();
        block.ok_or_else(|| WorkloadError::Unsound("a stream without a block".into()))
    }

    pub(super) fn tombstone(&mut self, mark: Mark) -> Result<(), WorkloadError> {
        self.dirty = true;
        let record = NewRecord::Tombstone {
            sequence: mark.seq,
            timestamp_ns: mark.ns,
        };
        self.writable(EMPTY_RECORD_BYTES)?
            .append(&record)
            .map(|_| ())
    }

    /// Stores a message and enforces the limits; returns its sequence.
    pub fn store(
        &mut self,
        subject: &str,
        headers: &str,
        body: &str,
    ) -> Result<u64, WorkloadError> {
        let (seq, ns) = (self.last.seq + 1, self.now_ns);
        let length = record_length(subject.len(), headers.len(), body.len()) as u64;
        let record = NewRecord::Message {
            sequence: seq,
            timestamp_ns: ns,
            subject: subject.as_bytes(),
            headers: headers.as_bytes(),
            body: body.as_bytes(),
        };
        self.dirty = true;
        self.writable(length)?.append(&record)?;
        let mark = Mark { seq, ns };
        if self.live.is_empty() {
            self.first = mark;
        }
        self.last = mark;
        self.bytes += length;
        self.note(seq, subject, length);
        self.truth.last_seq = seq;
        self.truth.live.insert(seq);
        self.truth.reference.insert(&Message {
            seq,
            timestamp_ns: ns,
            subject: subject.as_bytes(),
            headers: headers.as_bytes(),
            body: body.as_bytes(),
        });
        self.enforce_subject(subject)?;
        self.enforce_messages()?;
        self.enforce_bytes()?;
        Ok(seq)
    }

    fn note(&mut self, seq: u64, subject: &str, bytes: u64) {
        let number = self.number_of_last();
        let known = self.subjects.entry(subject.to_owned()).or_default();
        if known.seqs.is_empty() {
            known.first_block = number;
        }
        known.last_block = known.last_block.max(number);
        known.seqs.insert(seq);
        let kept = Kept {
            subject: subject.to_owned(),
            bytes,
            ns: self.now_ns,
        };
        self.live.insert(seq, kept);
    }

    /// Uses a sequence up without storing anything: nobody wants the message.
    pub fn skip(&mut self) -> Result<(), WorkloadError> {
        let (seq, ns) = (self.last.seq + 1, self.now_ns);
        self.dirty = true;
        self.writable(EMPTY_RECORD_BYTES)?.skip(seq, ns)?;
        self.last = Mark { seq, ns };
        if self.live.is_empty() {
            self.first = Mark { seq, ns: 0 };
        }
        if seq == self.first.seq {
            self.first = Mark {
                seq: seq + 1,
                ns: 0,
            };
        }
        self.truth.skip(seq);
        Ok(())
    }

    fn enforce_subject(&mut self, subject: &str) -> Result<(), WorkloadError> {
        let Some(most) = self.setup.max_per_subject else {
            return Ok(());
        };
        loop {
            let Some(known) = self.subjects.get(subject) else {
                return Ok(());
            };
            let oldest = known.seqs.first().copied();
            match oldest {
                Some(oldest) if known.seqs.len() as u64 > most => {
                    if !self.remove(oldest, Trace::None, Way::SubjectLimit)? {
                        return Ok(());
                    }
                }
                _ => break,
            }
        }
        if most == 1
            && let Some(known) = self.subjects.get_mut(subject)
        {
            known.first_block = known.last_block;
        }
        Ok(())
    }

    fn enforce_messages(&mut self) -> Result<(), WorkloadError> {
        let Some(most) = self.setup.max_messages else {
            return Ok(());
        };
        while self.messages() > most {
            let whole = self.blocks.first().map_or(0, |block| block.messages);
            if self.messages() - whole > most {
                self.drop_first_block()?;
            } else if !self.remove(self.first.seq, Trace::None, Way::Limit)? {
                break;
            }
        }
        Ok(())
    }

    fn enforce_bytes(&mut self) -> Result<(), WorkloadError> {
        let Some(most) = self.setup.max_bytes else {
            return Ok(());
        };
        while self.bytes > most {
            let whole = self.blocks.first().map_or(0, |block| block.bytes);
            if self.bytes - whole > most {
                self.drop_first_block()?;
            } else if !self.remove(self.first.seq, Trace::None, Way::Limit)? {
                break;
            }
        }
        Ok(())
    }

    /// Removes what is too old.
    pub fn expire(&mut self) -> Result<(), WorkloadError> {
        let Some(age_ns) = self.setup.max_age_ns else {
            return Ok(());
        };
        while let Some((&seq, kept)) = self.live.first_key_value()
            && kept.ns <= self.now_ns - age_ns
        {
            if !self.remove(seq, Trace::None, Way::Age)? {
                break;
            }
        }
        Ok(())
    }

    fn drop_first_block(&mut self) -> Result<(), WorkloadError> {
        let Some(block) = self.blocks.first() else {
            return Ok(());
        };
        let last = block.last.seq;
        let gone: Vec<u64> = self.live.range(..=last).map(|(seq, _)| *seq).collect();
        for seq in gone {
            self.forget(seq, 0, Way::Limit);
        }
        self.remove_block(0)?;
        self.select_next_first();
        Ok(())
    }

    /// Takes a message out of all counts; `at` is its block.
    pub(super) fn forget(&mut self, seq: u64, at: usize, way: Way) {
        let Some(kept) = self.live.remove(&seq) else {
            return;
        };
        self.bytes -= kept.bytes;
        if let Some(block) = self.blocks.get_mut(at) {
            block.messages -= 1;
            block.bytes -= kept.bytes;
            block.no_compact = false;
        }
        if let Some(known) = self.subjects.get_mut(&kept.subject) {
            known.seqs.remove(&seq);
            if known.seqs.is_empty() {
                self.subjects.remove(&kept.subject);
            }
        }
        self.dirty = true;
        self.truth.remove(seq, way);
    }

    /// The block that covers a sequence: the first whose last is not below it.
    pub(super) fn block_of(&self, seq: u64) -> Option<usize> {
        self.blocks.iter().position(|block| block.last.seq >= seq)
    }

    /// Removes a message; false where there is none.
    pub fn remove(&mut self, seq: u64, trace: Trace, way: Way) -> Result<bool, WorkloadError> {
        let (Some(at), Some(kept)) = (self.block_of(seq), self.live.get(&seq).cloned()) else {
            return Ok(false);
        };
        let block = &self.blocks[at];
        let (fifo, empties) = (block.first.seq == seq, block.messages == 1);
        let is_last = at + 1 == self.blocks.len();
        if trace != Trace::None && !empties {
            self.tombstone(Mark { seq, ns: kept.ns })?;
        }
        if trace == Trace::Wiped && self.setup.layout.cipher().is_none() {
            let noise = self.noise.bytes(kept.bytes as usize);
            let compress = self.setup.layout.is_compressed() && !is_last;
            self.blocks[at].erase(seq, &noise, compress)?;
        }
        self.forget(seq, at, way);
        if fifo {
            self.blocks[at].next_first();
            if !empties && seq == self.first.seq {
                self.first = self.blocks[at].first;
            }
        } else if !empties {
            self.blocks[at].deleted.insert(seq);
        }
        if empties {
            self.remove_block(at)?;
            if seq == self.first.seq {
                self.select_next_first();
            }
        }
        Ok(true)
    }

    /// A block without messages goes, unless its tombstones are needed.
    pub(super) fn remove_block(&mut self, at: usize) -> Result<(), WorkloadError> {
        let last = self.blocks[at].last;
        if at + 1 == self.blocks.len() {
            self.roll()?;
            self.tombstone(last)?;
        } else if last.seq == self.last.seq {
            self.tombstone(last)?;
        }
        if self.blocks[at].prior_tombstones(self.first.seq) == 0 {
            self.blocks.remove(at);
            self.dirty = true;
        }
        Ok(())
    }

    pub(super) fn select_next_first(&mut self) {
        while self.blocks.len() > 1 && self.blocks[0].messages == 0 {
            self.blocks.remove(0);
        }
        if let Some(block) = self.blocks.first() {
            self.first = block.first;
        }
        self.first_moved = true;
    }

    /// The periodic pass: blocks that are mostly dead are rewritten.
    pub fn sync(&mut self) -> Result<(), WorkloadError> {
        let moved = std::mem::take(&mut self.first_moved);
        let first = self.first.seq;
        let mut listed: Option<SeqSet> = None;
        let numbers: Vec<u32> = self.blocks.iter().map(|block| block.number).collect();
        for number in numbers.iter().take(numbers.len().saturating_sub(1)) {
            let Some(at) = self.blocks.iter().position(|one| one.number == *number) else {
                continue;
            };
            if moved {
                self.blocks[at].no_compact = false;
            }
            if !self.blocks[at].wants_compaction() {
                continue;
            }
            let listed = listed.get_or_insert_with(|| deleted_anywhere(&self.blocks));
            self.blocks[at].compact(first, listed)?;
            self.dirty = true;
            if self.blocks[at].raw_bytes == 0 {
                self.remove_block(at)?;
            }
        }
        Ok(())
    }

    /// Writes `index.db`, if something changed since it was last written.
    pub fn write_index(&mut self) -> Result<(), WorkloadError> {
        if !self.dirty {
            return Ok(());
        }
        let state = self.state_file();
        let bytes = state
            .encode(DELETED_SET_MAX)
            .map_err(|error| WorkloadError::Unsound(error.to_string()))?;
        self.index = Some(bytes);
        self.indexed = Some((self.truth.gone.clone(), self.last.seq));
        self.dirty = false;
        Ok(())
    }

    /// Stops the server and starts it again.
    pub fn restart(&mut self) -> Result<(), WorkloadError> {
        self.write_index()?;
        for block in &mut self.blocks {
            block.compresses = false;
            block.no_compact = false;
        }
        self.first_moved = false;
        Ok(())
    }

    fn state_file(&self) -> StateFile {
        let mut subjects = SubjectTable::new();
        for (subject, known) in &self.subjects {
            subjects.push(SubjectEntry {
                subject: subject.as_bytes(),
                total: known.seqs.len() as u64,
                first_block: known.first_block,
                last_block: known.last_block,
            });
        }
        let entry = |block: &Block| BlockEntry {
            number: block.number,
            bytes: block.bytes,
            first_sequence: block.first.seq,
            first_time_ns: block.first.ns,
            last_sequence: block.last.seq,
            last_time_ns: block.last.ns,
            deleted_count: block.deleted.len(),
            ttl_count: 0,
            schedule_count: 0,
            deleted: block.deleted.clone(),
            deleted_declared_count: 0,
        };
        let last = self.blocks.last();
        StateFile {
            version: INDEX_VERSION,
            messages: self.messages(),
            bytes: self.bytes,
            first_sequence: self.first.seq,
            first_time_ns: self.first.ns,
            last_sequence: self.last.seq,
            last_time_ns: self.last.ns,
            subjects,
            blocks: self.blocks.iter().map(entry).collect(),
            last_block: last.map_or(0, |block| block.number),
            last_record_hash: last.map(Block::last_checksum).unwrap_or_default(),
        }
    }
}

/// What any block lists as deleted between its first and its last.
fn deleted_anywhere(blocks: &[Block]) -> SeqSet {
    let mut all = SeqSet::new();
    for block in blocks {
        all.union_with(&block.deleted);
    }
    all
}
