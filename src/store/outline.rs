//! Where the messages of a block lie, kept when its bytes are let go: one message is then read alone.

use std::sync::Arc;

use super::core::Shared;
use super::message::StoredMessage;
use super::places::Places;
use crate::block::content::verifies;
use crate::crypto::BlockCipher;
use crate::env::sync::atomic::{AtomicU64, Ordering};
use crate::format::names::BlockFile;
use crate::format::record::{RecordKind, parse_at};

/// Of a block of which this part was read message by message, the rest is likely to be wanted too.
const READ_SINGLY_PART: u64 = 4;

/// Where the messages of a full block that is not compressed lie in its file.
#[derive(Debug)]
pub(super) struct Outline {
    places: Places,
    /// Where the block ends.
    end: u32,
    cipher: Option<Arc<BlockCipher>>,
    /// Bytes that were read by it.
    read_bytes: AtomicU64,
}

impl Outline {
    /// Of a block whose content ends at `end`.
    pub fn new(places: &Places, end: usize, cipher: Option<Arc<BlockCipher>>) -> Option<Self> {
        Some(Outline {
            places: places.clone(),
            end: u32::try_from(end).ok()?,
            cipher,
            read_bytes: AtomicU64::new(0),
        })
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.places.memory_bytes()
    }

    /// Reads one message from the file. `None` where the block had better be read whole: so much of it was wanted already, or what is
    /// found is not what was there.
    pub fn read(&self, shared: &Shared, block: u32, seq: u64) -> Option<StoredMessage> {
        let slot = self.places.slot_of(seq)?;
        let start = self.places.offset(slot)?;
        let end = self.places.offset(slot + 1).unwrap_or(self.end);
        let length = u64::from(end.checked_sub(start)?);
        let read_before = self.read_bytes.fetch_add(length, Ordering::Relaxed);
        if read_before.saturating_mul(READ_SINGLY_PART) > u64::from(self.end) {
            return None;
        }
        let path = shared.dir.join(BlockFile::Block.path(block));
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        let file = shared.fs.open(&path).ok()?;
        let read = file.read_at(u64::from(start), &mut bytes).ok()?;
        bytes.truncate(read);
        if let Some(cipher) = &self.cipher {
            cipher.apply(&mut bytes, u64::from(start)).ok()?;
        }
        let record = parse_at(&bytes, 0).ok()?;
        let is_it = record.kind() == RecordKind::Message
            && record.sequence() == seq
            && verifies(&record, &bytes, &shared.hash_key(block));
        is_it.then(|| StoredMessage::alone(&record, Arc::new(bytes)))?
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::crypto::{Cipher, ServerKey};
    use crate::env::memory::MemoryFileSystem;
    use crate::env::{FileSystem, ReadFiles};
    use crate::store::tests::{DIR, NOW_NS, open, options};
    use crate::store::{NewMessage, StoreOptions};
    use crate::stream::options::Keys;

    #[test]
    fn of_a_block_that_was_let_go_a_message_is_read_alone_and_verified() {
        for cipher in [None, Some(Cipher::ChaCha), Some(Cipher::Aes)] {
            let fs = MemoryFileSystem::new();
            let options = StoreOptions {
                cache_bytes: 20_000,
                keys: Keys {
                    current: cipher.map(|_| ServerKey::new(b"a key".to_vec())),
                    previous: None,
                    cipher,
                },
                ..options("", 10_000)
            };
            let (store, mut writer) = open(&fs, &options);
            for nth in 0..100 {
                let message = NewMessage {
                    subject: b"s.a",
                    headers: b"",
                    body: &[nth; 1000],
                };
                writer.append(&message, NOW_NS).unwrap();
            }
            store.close(writer).unwrap();
            let (store, _writer) = open(&fs, &options);
            let reader = store.reader();
            let body_of = |seq: u64| reader.get(seq).map(|message| message.body().to_vec());
            // Each block is read once; most are let go again.
            for seq in (1..=100).step_by(9) {
                assert_eq!(body_of(seq).unwrap(), [seq as u8 - 1; 1000]);
            }
            let misses = reader.cache_counts().misses;
            assert_eq!(body_of(2).unwrap(), [1; 1000]);
            assert_eq!(reader.cache_counts().misses, misses, "{cipher:?}");
            // A flipped bit is noticed; then the whole block is looked at.
            let path = Path::new(DIR).join("msgs/1.blk");
            let mut bytes = fs.read(&path, 20_000).unwrap();
            if let Some(byte) = bytes.get_mut(3500) {
                *byte ^= 1;
            }
            fs.write_in_place(&path, &bytes).unwrap();
            assert!(body_of(4).is_err());
            assert_eq!(reader.cache_counts().misses, misses + 1);
            // Of a block of which so much is wanted the rest is read too.
            for seq in 20..=28 {
                assert_eq!(body_of(seq).unwrap(), [seq as u8 - 1; 1000]);
            }
            assert_eq!(reader.cache_counts().misses, misses + 2);
        }
    }
}
