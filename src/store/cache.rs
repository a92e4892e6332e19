//! Blocks that were read, kept as long as there is room.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::core::Shared;
use super::error::ReadError;
use super::outline::{OpenBlocks, Outline};
use super::resident::Resident;
use super::watch::Looks;
use crate::block::content;
use crate::block::key::BlockKey;
use crate::block::read::ReadBlock;
use crate::env::room::with_room;
use crate::env::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::env::sync::{Mutex, RwLock};
use crate::env::{IoError, ReadFile};
use crate::format::names::BlockFile;

/// Of the bytes that the cache may take, this part goes to outlines at most.
const OUTLINES_PART: usize = 8;

/// Bytes of memory that a block gets before it is known what it takes.
pub(super) const ROOM_MOST_BYTES: usize = 16 * 1024 * 1024;

/// Blocks of which it is known when their files were changed.
const VERSIONS_MOST: usize = 4096;

/// Memory for blocks comes in steps of this, so that what one leaves does for another of about its size.
const ROOM_STEP_BYTES: usize = 256 * 1024;

/// Content of blocks by their numbers, up to so many bytes; the block that was not looked at for longest goes first.
#[derive(Debug)]
pub(super) struct BlockCache {
    most_bytes: usize,
    /// Whether the stream is encrypted.
    is_sealed: bool,
    kept: RwLock<Kept>,
    /// Of blocks that were let go.
    outlines: RwLock<FxHashMap<u32, Arc<Outline>>>,
    /// Their files.
    pub open_blocks: OpenBlocks,
    /// Whether there ever was one.
    has_let_go: AtomicBool,
    /// Memory of the block that was let go last, for the next.
    spare: Mutex<Vec<u8>>,
    clock: AtomicU64,
    /// How often a block was there.
    pub looks: Looks,
}

#[derive(Debug, Default)]
struct Kept {
    blocks: FxHashMap<u32, CachedBlock>,
    /// How many changes of files there were since the store was opened.
    change_count: u64,
    /// By which of them the file of a block is as it is, or gone: what comes later may have its number.
    versions: FxHashMap<u32, u64>,
    /// The same for blocks that are not among them.
    version: u64,
}

impl Kept {
    fn version(&self, block: u32) -> u64 {
        self.versions.get(&block).copied().unwrap_or(self.version)
    }

    fn note_change(&mut self, block: u32) {
        self.change_count += 1;
        self.versions.insert(block, self.change_count);
        if self.versions.len() > VERSIONS_MOST {
            self.forget_versions();
        }
    }

    /// What is being read meanwhile is not kept.
    fn forget_versions(&mut self) {
        self.versions.clear();
        self.change_count += 1;
        self.version = self.change_count;
    }
}

#[derive(Debug)]
struct CachedBlock {
    content: Arc<Resident>,
    looked_at: AtomicU64,
}

impl BlockCache {
    /// An empty one that keeps about so many bytes.
    pub fn new(most_bytes: usize, is_sealed: bool) -> Self {
        BlockCache {
            most_bytes,
            is_sealed,
            kept: RwLock::default(),
            outlines: RwLock::default(),
            open_blocks: OpenBlocks::default(),
            has_let_go: AtomicBool::new(false),
            spare: Mutex::default(),
            clock: AtomicU64::new(0),
            looks: Looks::default(),
        }
    }

    /// Whether blocks were let go for want of room.
    pub fn has_let_go(&self) -> bool {
        self.has_let_go.load(Ordering::Relaxed)
    }

    /// Whether a block is there.
    pub fn holds(&self, block: u32) -> bool {
        self.kept.read().blocks.contains_key(&block)
    }

    /// A block, if it is there.
    pub fn get(&self, block: u32) -> Option<Arc<Resident>> {
        let kept = self.kept.read();
        let cached = kept.blocks.get(&block)?;
        self.looks.note(true);
        // The time goes on when a block comes: those that were looked at since are as good as each other.
        let now = self.clock.load(Ordering::Relaxed);
        if cached.looked_at.load(Ordering::Relaxed) != now {
            cached.looked_at.store(now, Ordering::Relaxed);
        }
        Some(cached.content.clone())
    }

    /// A buffer with memory for so many bytes, and not for many more. What is in it means nothing.
    pub fn room(&self, bytes: usize) -> Vec<u8> {
        let bytes = match bytes < ROOM_STEP_BYTES {
            true => bytes,
            false => bytes.next_multiple_of(ROOM_STEP_BYTES),
        };
        let mut spare = self.spare.lock();
        match (bytes..=bytes.saturating_mul(2)).contains(&spare.capacity()) {
            true => std::mem::take(&mut spare),
            false => with_room(bytes),
        }
    }

    /// Keeps a block, and lets others go that there is no more room for.
    pub fn put(&self, block: u32, content: Arc<Resident>) {
        self.insert(&mut self.kept.write(), block, content);
    }

    /// Keeps what was read of a block whose file had this version before. Where it was changed since, what was read says what no longer
    /// holds: another message may have the same sequence by now.
    fn put_read(&self, block: u32, content: Arc<Resident>, version: u64) {
        let mut kept = self.kept.write();
        if kept.version(block) == version {
            self.insert(&mut kept, block, content);
        }
    }

    /// Takes note that a block's file was changed, and keeps what is in it now, if that is given. Within the moment in which the state
    /// tells of the change.
    pub fn change(&self, block: u32, content: Option<Arc<Resident>>) {
        let mut kept = self.kept.write();
        kept.note_change(block);
        match content {
            Some(content) => self.insert(&mut kept, block, content),
            None => {
                kept.blocks.remove(&block);
                self.outlines.write().remove(&block);
            }
        }
    }

    /// Which change of its file a block is as it is by. Asked under the lock on the state, it is that of the block as the state has it.
    pub fn version(&self, block: u32) -> u64 {
        self.kept.read().version(block)
    }

    fn insert(&self, kept: &mut Kept, block: u32, content: Arc<Resident>) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        let looked_at = AtomicU64::new(now);
        let blocks = &mut kept.blocks;
        blocks.insert(block, CachedBlock { content, looked_at });
        let sizes = blocks.values().map(|cached| cached.content.memory_bytes());
        let mut bytes: usize = sizes.sum();
        while bytes > self.most_bytes && blocks.len() > 1 {
            let others = blocks.iter().filter(|(number, _)| **number != block);
            let oldest = others.min_by_key(|(_, cached)| cached.looked_at.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(number, _)| *number) else {
                break;
            };
            if let Some(gone) = blocks.remove(&oldest) {
                bytes -= gone.content.memory_bytes();
                self.keep_outline(oldest, &gone.content);
                let room = Arc::into_inner(gone.content).map(Resident::into_room);
                if let Some(room) = room.filter(|room| room.capacity() <= ROOM_MOST_BYTES) {
                    *self.spare.lock() = room;
                }
            }
        }
        self.outlines.write().remove(&block);
    }

    fn keep_outline(&self, block: u32, content: &Resident) {
        let Some(outline) = content.outline(self.is_sealed) else {
            return;
        };
        let mut outlines = self.outlines.write();
        let sizes = outlines.values().map(|outline| outline.memory_bytes());
        let mut bytes = sizes.sum::<usize>() + outline.memory_bytes();
        while bytes > self.most_bytes / OUTLINES_PART {
            // Any of them: it is had again with its block.
            let Some(other) = outlines.keys().next().copied() else {
                break;
            };
            bytes -= outlines
                .remove(&other)
                .map_or(0, |gone| gone.memory_bytes());
        }
        outlines.insert(block, Arc::new(outline));
        self.has_let_go.store(true, Ordering::Relaxed);
    }

    /// Where the messages of a block lie that was let go.
    pub fn outline(&self, block: u32) -> Option<Arc<Outline>> {
        self.outlines.read().get(&block).cloned()
    }

    /// Forgets a block that is gone.
    pub fn forget(&self, block: u32) {
        self.change(block, None);
    }

    /// Forgets all.
    pub fn clear(&self) {
        let mut kept = self.kept.write();
        kept.blocks.clear();
        kept.forget_versions();
        drop(kept);
        self.outlines.write().clear();
        *self.spare.lock() = Vec::new();
    }

    /// Bytes that the blocks in it take.
    pub fn memory_bytes(&self) -> usize {
        let kept = self.kept.read();
        let contents = kept
            .blocks
            .values()
            .map(|cached| cached.content.memory_bytes());
        let outlines = self.outlines.read();
        let outlines = outlines.values().map(|outline| outline.memory_bytes());
        let spare = self.spare.lock().capacity();
        contents.sum::<usize>() + outlines.sum::<usize>() + spare
    }

    /// Reads a block from its files and keeps it.
    pub fn load(&self, shared: &Shared, block: u32) -> Result<Arc<Resident>, ReadError> {
        self.looks.note(false);
        let version = self.version(block);
        let content = Arc::new(read_as_given(shared, block)?);
        if content.check_whole(block).is_ok() {
            // What the device did not give this time it may give the next.
            self.put_read(block, content.clone(), version);
        }
        Ok(content)
    }
}

/// Reads a block from its files, all of it.
pub(super) fn read(shared: &Shared, block: u32) -> Result<Resident, ReadError> {
    let content = read_as_given(shared, block)?;
    content.check_whole(block)?;
    Ok(content)
}

/// Reads a block from its files, as far as the device gives them.
fn read_as_given(shared: &Shared, block: u32) -> Result<Resident, ReadError> {
    let files = shared.block_files();
    let path = BlockFile::Block.path(block);
    // Whether there is memory for a larger one is found out while it is read.
    let length = shared.fs.metadata(&shared.dir.join(&path));
    let length = length
        .ok()
        .and_then(|found| usize::try_from(found.length).ok());
    let length = length.filter(|length| *length <= ROOM_MOST_BYTES);
    let mut bytes = shared.cache.room(length.unwrap_or(0));
    let read = files.read_with(&path, &mut bytes, |first| files.key(block, first));
    decode(shared, block, read, bytes)
}

/// Reads a block from a file that is open, as far as the device gives it.
pub(super) fn read_open(
    shared: &Shared,
    block: u32,
    file: &dyn ReadFile,
    key: BlockKey,
) -> Result<Resident, ReadError> {
    let mut bytes = Vec::new();
    let files = shared.block_files();
    let read = files.read_open_with(file, &mut bytes, |_| (key, None));
    decode(shared, block, read, bytes)
}

fn decode(
    shared: &Shared,
    block: u32,
    read: Result<ReadBlock, IoError>,
    mut bytes: Vec<u8>,
) -> Result<Resident, ReadError> {
    let failed = |reason: String| ReadError::Block { block, reason };
    let read = read.map_err(|error| failed(error.to_string()))?;
    if let BlockKey::Closed(reason) = &read.key {
        return Err(failed(reason.clone()));
    }
    let hash_key = shared.hash_key(block);
    // What the device does not give of it is missing from the slots, and told message by message.
    let decoded = content::decode(&mut bytes, &mut Vec::new(), None, &hash_key)
        .map_err(|fault| failed(fault.to_string()))?;
    let content = Resident::index(bytes, &hash_key).read_from(decoded.compressed);
    let content = content.under(read.key.cipher());
    Ok(content.cut_by(read.cut))
}
