//! What writer and readers of a store share.

use std::path::PathBuf;
use std::sync::Arc;

use super::cache::BlockCache;
use super::error::ReadError;
use super::resident::Resident;
use super::settings::Settings;
use crate::block::key::BlockFiles;
use crate::crypto::{Cipher, Seed};
use crate::env::sync::RwLock;
use crate::env::sync::atomic::AtomicBool;
use crate::env::{Entropy, FileSystem};
use crate::format::checksum::HashKey;
use crate::format::meta::StreamMeta;
use crate::format::names::MESSAGES;
use crate::state::{BlockState, SeqTime, StreamState};
use crate::stream::options::Keys;

/// The key of the stream's own sealed files.
#[derive(Clone)]
pub(super) struct StreamKey {
    pub seed: Seed,
    pub cipher: Cipher,
}

/// What does not change while a store is open, and under locks what does.
pub(super) struct Shared {
    pub fs: Arc<dyn FileSystem>,
    pub entropy: Arc<dyn Entropy>,
    /// The stream's directory.
    pub dir: PathBuf,
    /// The stream's name.
    pub name: Vec<u8>,
    /// The account in the derivation of keys.
    pub account: Vec<u8>,
    pub keys: Keys,
    /// `None` where the stream is plain.
    pub stream_key: Option<StreamKey>,
    /// Bytes a block may grow to.
    pub block_size: u64,
    pub cache: BlockCache,
    /// Bytes of the disk that new messages leave free.
    pub disk_margin_bytes: u64,
    pub is_closed: AtomicBool,
    /// Nobody waits for the disk while holding it against readers. The writer may read it meanwhile: it is the only one who wants it whole.
    pub live: RwLock<Live>,
}

/// The stream as it is.
pub(super) struct Live {
    pub state: StreamState,
    pub meta: StreamMeta,
    pub settings: Settings,
    /// Content of the last block, once somebody needed it.
    pub tail: Option<Resident>,
    /// A block whose file is being changed, and what is in it: readers go by that until the state tells of the change.
    pub changing: Option<(u32, Arc<Resident>)>,
}

impl Live {
    /// Number of the block that takes appends.
    pub fn tail_number(&self) -> Option<u32> {
        self.state.blocks.last().map(|block| block.number)
    }

    /// Blocks that hold no message, but for the last one.
    pub fn without_messages(&self) -> Vec<u32> {
        let tail = self.tail_number();
        let blocks = self.state.blocks.iter();
        let without = blocks.filter(|block| block.message_count == 0 && Some(block.number) != tail);
        without.map(|block| block.number).collect()
    }

    /// Those of them before the first message.
    pub fn leading_without_messages(&self) -> impl Iterator<Item = u32> {
        let tail = self.tail_number();
        let blocks = self.state.blocks.iter();
        let leading =
            blocks.take_while(move |block| block.message_count == 0 && Some(block.number) != tail);
        leading.map(|block| block.number)
    }

    /// Place, in the list of blocks, of the first that reaches `seq`.
    pub fn place_from(&self, seq: u64) -> usize {
        let blocks = &self.state.blocks;
        blocks.partition_point(|block| block.last.seq < seq)
    }

    /// A block by its number.
    pub fn block(&self, number: u32) -> Option<&BlockState> {
        self.state
            .blocks
            .iter()
            .find(|block| block.number == number)
    }

    /// A block by its number, to be changed.
    pub fn block_mut(&mut self, number: u32) -> Option<&mut BlockState> {
        let mut blocks = self.state.blocks.iter_mut();
        blocks.find(|block| block.number == number)
    }

    /// The block that holds `seq`, live or not.
    pub fn block_of(&self, seq: u64) -> Option<&BlockState> {
        self.state.block_of(seq)
    }

    /// The first live sequence of a block at or above `seq`.
    pub fn first_live_from(&self, block: &BlockState, seq: u64) -> Option<u64> {
        if block.message_count == 0 || seq > block.last.seq {
            return None;
        }
        let from = seq.max(block.first.seq);
        if !block.deleted.contains(from) {
            return Some(from);
        }
        let end = block.deleted.span_end(from)?;
        (end < block.last.seq).then_some(end + 1)
    }

    /// Moves the stream's first to the first live message from its blocks' bounds.
    pub fn settle_first(&mut self) {
        let state = &mut self.state;
        let first = state.blocks.iter().find(|block| block.message_count > 0);
        state.totals.first = match first {
            Some(block) => block.first,
            None => SeqTime {
                seq: state.totals.last.seq.wrapping_add(1),
                timestamp_ns: 0,
            },
        };
    }

    /// Why a sequence that is not live is not there.
    pub fn absence(&self, seq: u64) -> ReadError {
        let totals = &self.state.totals;
        if seq > totals.last.seq {
            return ReadError::Beyond {
                last_seq: totals.last.seq,
            };
        }
        match seq >= totals.first.seq {
            true => ReadError::Deleted { seq },
            false => ReadError::NotFound,
        }
    }
}

impl Shared {
    /// Key of the hashes of a block's records.
    pub fn hash_key(&self, block: u32) -> HashKey {
        HashKey::for_block(&self.name, block)
    }

    /// Where the blocks lie, and what opens them.
    pub fn block_files(&self) -> BlockFiles<'_> {
        BlockFiles {
            fs: &*self.fs,
            dir: &self.dir,
            messages: MESSAGES,
            name: &self.name,
            ring: self.keys.ring(&self.account),
            sealed: self.stream_key.is_some(),
        }
    }

    /// A block's content, all of it: whoever changes files by it must not take for gone what the device did not give.
    pub fn whole(&self, block: u32) -> Result<Arc<Resident>, ReadError> {
        let content = self.resident(block)?;
        content.check_whole(block)?;
        Ok(content)
    }

    /// A block's content: from the cache, or from its files. Never for the block being written. It may end early, see
    /// [`Resident::check_whole`].
    pub fn resident(&self, block: u32) -> Result<Arc<Resident>, ReadError> {
        match self.cache.get(block) {
            Some(resident) => Ok(resident),
            None => self.cache.load(self, block),
        }
    }
}
