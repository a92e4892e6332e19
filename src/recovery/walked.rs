//! Blocks that a caller has walked himself, so that recovering the store they went into need not read them again.
//!
//! Who copies a store verifies every record of it. What goes into the new store byte for byte is walked right then, for what
//! recovery wants to know of a block; when the new store's side files are made, such a block is only confirmed: it has
//! the length it had, and ends in the hash of the same record.

use std::collections::BTreeMap;

use super::fault::Cause;
use super::scan::{ScanFault, ScanRules, ScannedBlock};
use super::simulate::KeyVerdict;
use crate::block::slots::timer_headers;
use crate::block::walk::{Known, Sink, Walked, walk_verified};
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::names::BlockFile;
use crate::format::record::{RecordRef, Run};
use crate::state::subjects::{BlockSubjects, SubjectIndex};
use crate::stream::files::FileFault;

/// What a walk meets in headers.
#[derive(Debug, Clone, Default)]
struct Seen {
    ttl_count: u64,
    schedule_count: u64,
    /// Live messages whose header length is bad: sequence and offset.
    bad_headers: Vec<(u64, u64)>,
}

/// Counts what a walk meets.
struct WalkSink<'a> {
    local: &'a mut BlockSubjects,
    seen: Seen,
}

impl Sink for WalkSink<'_> {
    #[inline]
    fn message(&mut self, record: &RecordRef, content: &[u8]) {
        self.local.count(record, content);
        if !record.has_headers() {
            return;
        }
        let Ok((block, _)) = record.headers_and_body(content) else {
            let place = (record.sequence(), record.offset() as u64);
            self.seen.bad_headers.push(place);
            return;
        };
        let (ttl, schedule) = timer_headers(block, true);
        self.seen.ttl_count += u64::from(ttl);
        self.seen.schedule_count += u64::from(schedule);
    }
}

/// What the walk of one block came to.
#[derive(Debug)]
pub(crate) struct WalkedBlock {
    file_length: u64,
    content_length: u64,
    compressed: bool,
    walked: Walked,
    seen: Seen,
    has_unlisted_subjects: bool,
}

/// Walked blocks by number, and the subjects of all of them together.
#[derive(Debug, Default)]
pub(crate) struct WalkedBlocks {
    pub(super) blocks: BTreeMap<u32, WalkedBlock>,
    pub(super) subjects: SubjectIndex,
}

impl WalkedBlocks {
    /// Takes in what the walks of a store's blocks came to, in any order. `subjects` was filled by all of them, and by
    /// nothing else.
    pub fn new(
        blocks: impl IntoIterator<Item = (u32, WalkedBlock)>,
        subjects: SubjectIndex,
    ) -> Self {
        WalkedBlocks {
            blocks: blocks.into_iter().collect(),
            subjects,
        }
    }
}

/// The subjects of walked blocks; threads fill it side by side.
pub(crate) use crate::state::subjects::SubjectIndex as WalkedSubjects;

/// Walks blocks. Each thread has its own.
#[derive(Debug, Default)]
pub(crate) struct BlockWalker {
    run: Run,
    local: BlockSubjects,
}

impl BlockWalker {
    /// Walks a block all of whose records were verified just before. `None`, and nothing added to `subjects`, where it is
    /// not the plain case: messages, their sequences rising, and nothing erased.
    pub fn walk(
        &mut self,
        number: u32,
        content: &[u8],
        file_length: u64,
        compressed: bool,
        subjects: &SubjectIndex,
    ) -> Option<WalkedBlock> {
        self.local.clear();
        let mut sink = WalkSink {
            local: &mut self.local,
            seen: Seen::default(),
        };
        let walked = walk_verified(content, Known::default(), &mut self.run, &mut sink);
        let seen = sink.seen;
        if !walked.plain || walked.fault.is_some() {
            return None;
        }
        subjects.merge_block(number, &self.local, content);
        Some(WalkedBlock {
            file_length,
            content_length: content.len() as u64,
            compressed,
            walked,
            seen,
            has_unlisted_subjects: self.local.has_uncounted(),
        })
    }
}

impl WalkedBlock {
    /// Whether there are messages with a subject that the server's index cannot hold.
    pub fn has_unlisted_subjects(&self) -> bool {
        self.has_unlisted_subjects
    }

    /// Sequences of messages whose header length reaches past the record.
    pub fn unreadable(&self) -> impl Iterator<Item = u64> + '_ {
        self.seen.bad_headers.iter().map(|(seq, _)| *seq)
    }

    /// What a scan of the block's file would give, once the file is seen to be what was walked.
    pub(super) fn confirm(
        &self,
        rules: ScanRules<'_>,
        number: u32,
    ) -> Result<ScannedBlock, ScanFault> {
        let failed = |cause| ScanFault {
            cause,
            key_created: false,
        };
        let ScanRules {
            files, msgs, keys, ..
        } = rules;
        let key = match keys.current {
            Some(_) => {
                let file = files.read(&BlockFile::Key.path_in(msgs, number));
                keys.open_block_key(number, file).map_err(failed)?
            }
            None => KeyVerdict::None,
        };
        let found = files
            .read_tail::<CHECKSUM_LENGTH>(&BlockFile::Block.path_in(msgs, number))
            .map_err(|fault| {
                failed(match fault {
                    FileFault::Missing => Cause::Missing,
                    FileFault::Failed(detail) => Cause::Io(detail),
                })
            })?;
        let (file_length, mut tail) = found;
        if let (KeyVerdict::Opened(opened), Some(tail)) = (&key, &mut tail) {
            let at = file_length.saturating_sub(CHECKSUM_LENGTH as u64);
            // An offset no keystream reaches cannot be that of the block that was walked.
            let _ = opened.block_cipher().apply(tail, at);
        }
        let as_it_was = match &key {
            KeyVerdict::None => true,
            KeyVerdict::Opened(opened) => !opened.converting,
            KeyVerdict::Absent => false,
        };
        if !as_it_was || file_length != self.file_length || tail != self.walked.checksum {
            let detail =
                "it is not the block that was verified: something else writes to the store";
            return Err(failed(Cause::Other(detail.into())));
        }
        Ok(ScannedBlock {
            key,
            encrypt_anew: None,
            walked: self.walked.clone(),
            legacy: None,
            file_length,
            content_length: self.content_length,
            compressed: self.compressed,
            ttl_count: self.seen.ttl_count,
            schedule_count: self.seen.schedule_count,
            bad_headers: self.seen.bad_headers.clone(),
            misaligned: false,
            scan: None,
            reads_differ: None,
        })
    }
}
