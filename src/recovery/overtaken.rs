//! A staged purge, held against what it would take: a server that does not know the directory it is staged in goes on without it.

use std::path::Path;

use crate::block::content;
use crate::block::walk::{Known, Walked, walk};
use crate::crypto::{KEY_FILE_MAX, KeyRing, block_context};
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::names::{BlockFile, MESSAGES, PURGED_MESSAGES, STAGED_MESSAGES, block_number};
use crate::format::record::Run;

/// The block that a purge stages holds one tombstone; whatever is longer than this was not left by one.
const STAGED_BLOCK_MAX: u64 = 64 << 20;
/// Blocks of `msgs`, from the end, that are looked at for the last sequence.
const BLOCKS_LOOKED_AT: usize = 4;

/// The directories of a purge, and what opens the blocks in them.
#[derive(Clone, Copy)]
pub(crate) struct PurgeFiles<'a> {
    /// The files.
    pub fs: &'a dyn ReadFiles,
    /// The stream's directory.
    pub dir: &'a Path,
    /// Stream name.
    pub name: &'a [u8],
    /// The operator's keys.
    pub ring: KeyRing<'a>,
}

impl PurgeFiles<'_> {
    /// The last sequence that the staged block `number` speaks of, where it is one that a purge leaves: every record verifies.
    pub(crate) fn marked(&self, number: u32) -> Option<u64> {
        self.last_of(STAGED_MESSAGES, number)
    }

    /// The newest sequence in `msgs`, where a server went on after the purge up to `marked`: behind it, or from the beginning
    /// where the old messages had been put aside.
    pub(crate) fn stored_since(&self, marked: u64) -> Option<u64> {
        let mut numbers = self.numbers(MESSAGES);
        numbers.sort_unstable();
        let mut newest = numbers.iter().rev().take(BLOCKS_LOOKED_AT);
        let newest = newest.find_map(|number| self.last_of(MESSAGES, *number))?;
        let begun_anew = newest < marked && !self.numbers(PURGED_MESSAGES).is_empty();
        (newest > marked || begun_anew).then_some(newest)
    }

    /// The numbers of the blocks in a directory; none where it cannot be listed.
    pub(crate) fn numbers(&self, below: &str) -> Vec<u32> {
        let entries = self.fs.list(&self.dir.join(below)).unwrap_or_default();
        let names = entries.iter().map(|entry| entry.name.as_encoded_bytes());
        names.filter_map(block_number).collect()
    }

    /// What the walk of a block comes to, up to the first damage in it; `None` where its content cannot be had.
    pub(crate) fn walked(&self, below: &str, number: u32) -> Option<Walked> {
        let below = self.dir.join(below);
        let block = below.join(BlockFile::Block.name(number));
        let mut bytes = self.fs.read(&block, STAGED_BLOCK_MAX).ok()?;
        let hash_key = HashKey::for_block(self.name, number);
        let key = below.join(BlockFile::Key.name(number));
        let cipher = match self.fs.read(&key, KEY_FILE_MAX) {
            Ok(key) => {
                let opened = self
                    .ring
                    .open_mended(&key, &block_context(self.name, number));
                let (opened, _) = opened.ok()?;
                Some(opened.block_cipher())
            }
            Err(_) => None,
        };
        content::decode(&mut bytes, &mut Vec::new(), cipher.as_ref(), &hash_key).ok()?;
        let known = Known::default();
        Some(walk(&bytes, &hash_key, known, &mut Run::new(), &mut ()))
    }

    /// The highest sequence that a block speaks of, where every record in it verifies.
    fn last_of(&self, below: &str, number: u32) -> Option<u64> {
        let walked = self.walked(below, number)?;
        if walked.fault.is_some() || walked.checksum.is_none() {
            return None;
        }
        let tombstones = walked.tombstones.iter().map(|seq| seq & SEQUENCE_MAX);
        Some(tombstones.max().unwrap_or(0).max(walked.last_seq))
    }
}
