//! Damage to the files of a store: of every kind, from a seed, with an account of the bytes and the records it touched.

mod bytes;
mod draft;
mod kinds;
mod names;

use std::fmt;
use std::ops::Range;

use super::layout::{Layout, Touched};
use super::random::derive;
use super::workload::{Access, Store};
use crate::env::{FileSystem, IoError, ReadFiles};
use crate::format::seqset::SeqSet;
use crate::stream::StreamDir;

use draft::Draft;
pub use kinds::DamageKind;

/// A sector: what a disk writes or loses as a whole.
pub const SECTOR: u64 = 4096;

/// How often a kind of damage is drawn again where it changed nothing: a sector written over an equal one.
const TRIES_MAX: u32 = 20;

/// What damage is done to.
#[derive(Clone, Copy)]
pub struct DamageTarget<'a> {
    /// The files.
    pub files: &'a dyn FileSystem,
    /// The stream in them.
    pub stream: &'a StreamDir,
    /// Where its records lie, undamaged.
    pub layout: &'a Layout,
    /// The same directory at an earlier moment, for what brings old bytes back.
    pub older: Option<&'a dyn ReadFiles>,
    /// Keys, for what leaves half of a purge behind.
    pub access: &'a Access,
    /// Sequences of the messages the store holds.
    pub live: &'a SeqSet,
}

impl<'a> DamageTarget<'a> {
    /// A generated store, or a copy of its files.
    #[must_use]
    pub fn new(store: &'a Store, files: &'a dyn FileSystem, layout: &'a Layout) -> Self {
        Self {
            files,
            stream: &store.stream,
            layout,
            older: store.older.as_ref().map(|older| older as &dyn ReadFiles),
            access: &store.access,
            live: store.reference.live(),
        }
    }
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The file, relative to the stream directory.
    pub path: String,
    /// What happened.
    pub change: Change,
    /// Its bytes that are not what they were, in order; a range may reach behind the new end of the file.
    pub ranges: Vec<Range<u64>>,
}

/// What can happen to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It appeared.
    Created,
    /// It is gone.
    Removed,
    /// It has other bytes.
    Changed,
}

/// Damage that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its kind.
    pub kind: DamageKind,
    /// The seed that does it again.
    pub seed: u64,
    /// In words.
    pub summary: String,
    /// File by file, by path.
    pub files: Vec<FileChange>,
    /// Records whose bytes it touched; in a compressed block, all of the chunk's.
    pub touched: Touched,
    /// Messages in blocks whose key it touched.
    pub behind_keys: SeqSet,
    /// Messages that a purge, killed at its work, had already given up.
    pub purged: SeqSet,
    /// Messages that a purge had only begun to give up: its tombstone is written, and does not count yet. Whoever keeps
    /// them is as right as who does not, so they are left out of the score.
    pub undecided: SeqSet,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (seed {}): {}", self.kind, self.seed, self.summary)
    }
}

impl Damage {
    /// Does damage of a kind; `None` where the store has nothing it could be done to, such as a key file.
    ///
    /// The same seed does the same to the same files.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn inflict(
        kind: DamageKind,
        seed: u64,
        target: &DamageTarget<'_>,
    ) -> Result<Option<Self>, IoError> {
        for attempt in 0..TRIES_MAX {
            let mut draft = Draft::new(target, derive(seed, &[u64::from(attempt)]))?;
            let Some(summary) = kind.draw(&mut draft)? else {
                continue;
            };
            let files = draft.changes();
            if files.is_empty() {
                continue;
            }
            draft.apply()?;
            let mut damage = Self::account(kind, seed, summary, files, target);
            damage.purged = std::mem::take(&mut draft.purged);
            damage.undecided = std::mem::take(&mut draft.undecided);
            return Ok(Some(damage));
        }
        Ok(None)
    }

    fn account(
        kind: DamageKind,
        seed: u64,
        summary: String,
        files: Vec<FileChange>,
        target: &DamageTarget<'_>,
    ) -> Self {
        let mut touched = Touched::default();
        let mut keys = Touched::default();
        for file in &files {
            if let Some(block) = target.layout.block_at(&file.path) {
                for range in &file.ranges {
                    block.touch(range, &mut touched);
                }
            }
            if let Some(block) = target.layout.block_under_key(&file.path) {
                block.touch(&(0..block.file_length), &mut keys);
            }
        }
        Self {
            kind,
            seed,
            summary,
            files,
            touched,
            behind_keys: keys.messages,
            purged: SeqSet::new(),
            undecided: SeqSet::new(),
        }
    }

    /// Whether the damage could have cost this message: its record was touched, or its block's key.
    #[must_use]
    pub fn may_cost(&self, seq: u64) -> bool {
        self.touched.messages.contains(seq)
            || self.behind_keys.contains(seq)
            || self.purged.contains(seq)
    }

    /// Whether one flipped bit is all of it.
    #[must_use]
    pub fn is_one_bit(&self) -> bool {
        matches!(
            self.kind,
            DamageKind::FlipBlock
                | DamageKind::FlipKey
                | DamageKind::FlipMeta
                | DamageKind::FlipIndex
        )
    }
}

#[cfg(test)]
mod tests;
