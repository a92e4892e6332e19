//! Blocks that an archive has still to take in, while the stream goes on.
//!
//! Whoever writes an archive reads a block's file when its turn comes. What would change a file before that, or take it away, opens it first:
//! both replace files by other ones, so what was opened stays what it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::error::SnapshotError;
use crate::block::key::BlockKey;
use crate::env::sync::Mutex;
use crate::env::{IoError, ReadFile};
use crate::format::names::BlockFile;
use crate::store::cache;
use crate::store::core::Shared;
use crate::store::error::ReadError;
use crate::store::resident::Resident;
use crate::store::writer::Writer;

/// Files that are held open for one archive at most. A process has some thousand of them, and others need theirs.
const HELD_MOST: usize = 256;

/// A key is found by so much of a file.
const FIRST_BYTES: usize = 64 * 1024;

/// The first so many bytes of a file.
struct Prefix {
    file: Box<dyn ReadFile>,
    length: u64,
}

impl ReadFile for Prefix {
    fn length(&self) -> Result<u64, IoError> {
        Ok(self.file.length()?.min(self.length))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let taken = buffer.len().min(left);
        let buffer = buffer.get_mut(..taken).unwrap_or_default();
        self.file.read_at(offset, buffer)
    }
}

/// A block's file as it was when the archive was begun, with its key.
struct HeldBlock {
    file: Prefix,
    key: BlockKey,
}

impl HeldBlock {
    fn open(shared: &Shared, number: u32, length: u64) -> Result<Self, ReadError> {
        let failed = |error: IoError| ReadError::Block {
            block: number,
            reason: error.to_string(),
        };
        let path = shared.dir.join(BlockFile::Block.path(number));
        let file = shared.fs.open(&path).map_err(failed)?;
        let file = Prefix { file, length };
        let mut first = vec![0; FIRST_BYTES.min(usize::try_from(length).unwrap_or(FIRST_BYTES))];
        let read = file.read_at(0, &mut first).map_err(failed)?;
        first.truncate(read);
        let (key, _) = shared.block_files().key(number, &first);
        Ok(HeldBlock { file, key })
    }
}

#[derive(Default)]
struct Pinned {
    /// Blocks that are as they were, with the length of what is wanted of their files.
    waiting: BTreeMap<u32, u64>,
    /// Those that are not, or are no longer there.
    held: BTreeMap<u32, HeldBlock>,
    /// The block that could not be kept, and why.
    lost: Option<(u32, String)>,
}

/// What an archive has still to take in.
#[derive(Default)]
pub(in crate::store) struct Pins(Mutex<Pinned>);

impl Pins {
    pub fn of(lengths: BTreeMap<u32, u64>) -> Arc<Self> {
        Arc::new(Pins(Mutex::new(Pinned {
            waiting: lengths,
            ..Pinned::default()
        })))
    }

    /// Holds a block whose files are about to change.
    fn hold(&self, shared: &Shared, number: u32) {
        let mut pinned = self.0.lock();
        let Some(length) = pinned.waiting.remove(&number) else {
            return;
        };
        let held = match pinned.held.len() < HELD_MOST {
            true => HeldBlock::open(shared, number, length).map_err(|error| error.to_string()),
            false => Err(format!("{HELD_MOST} others were changed before it as well")),
        };
        match held {
            Ok(held) => _ = pinned.held.insert(number, held),
            Err(reason) => {
                // The archive comes to nothing: what is held for it may go.
                *pinned = Pinned {
                    lost: Some((number, reason)),
                    ..Pinned::default()
                };
            }
        }
    }

    /// Blocks that may still have to be held.
    fn waiting(&self) -> Vec<u32> {
        self.0.lock().waiting.keys().copied().collect()
    }

    /// A block's content as it was when the archive was begun. It is asked for once.
    pub fn take(&self, shared: &Shared, number: u32) -> Result<Resident, SnapshotError> {
        let held = {
            let mut pinned = self.0.lock();
            if let Some((block, reason)) = pinned.lost.clone() {
                return Err(SnapshotError::Overtaken { block, reason });
            }
            match (pinned.held.remove(&number), pinned.waiting.remove(&number)) {
                (Some(held), _) => held,
                (None, length) => HeldBlock::open(shared, number, length.unwrap_or(0))?,
            }
        };
        let HeldBlock { file, key } = held;
        let content = cache::read_open(shared, number, &file, key)?;
        content.check_whole(number)?;
        Ok(content)
    }
}

impl Writer {
    /// Called before a block's file is replaced or taken away: archives that are being written want it as it is.
    pub(in crate::store) fn hold_for_archives(&mut self, number: u32) {
        let shared = &self.shared;
        self.archives.retain(|archive| match archive.upgrade() {
            Some(pins) => {
                pins.hold(shared, number);
                true
            }
            None => false,
        });
    }

    /// The same for all blocks.
    pub(in crate::store) fn hold_all_for_archives(&mut self) {
        for pins in self.archives.iter().filter_map(Weak::upgrade) {
            for number in pins.waiting() {
                pins.hold(&self.shared, number);
            }
        }
    }

    /// Whether an archive is being written.
    pub(in crate::store) fn is_archived(&self) -> bool {
        self.archives
            .iter()
            .any(|archive| archive.strong_count() > 0)
    }
}
