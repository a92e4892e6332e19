//! Where the messages of a block lie, kept when its bytes are let go: one message is then read alone.

use std::sync::{Arc, OnceLock};

use super::core::Shared;
use super::message::StoredMessage;
use super::places::Places;
use crate::block::content::verifies;
use crate::crypto::BlockCipher;
use crate::env::ReadFile;
use crate::env::sync::atomic::{AtomicU64, Ordering};
use crate::format::names::BlockFile;
use crate::format::record::{RecordKind, RecordRef, parse_at};

/// A place is kept about every so many bytes: less than a read costs beside what it reads.
const STEP_BYTES: u32 = 1024;

/// Block files that outlines keep open at most: opening costs more than reading a page.
const OPEN_MOST: usize = 64;

/// Where the messages of a full block that is not compressed lie in its file.
#[derive(Debug)]
pub(super) struct Outline {
    first_seq: u64,
    steps: Vec<Step>,
    /// The sequences of each subject, by its hash, where somebody has looked for subjects in the block.
    subjects: Option<Vec<SubjectSeq>>,
    /// Where the block ends.
    end: u32,
    cipher: Option<Arc<BlockCipher>>,
    /// Bytes that were read by it.
    read_bytes: AtomicU64,
    /// The file, once something was read from it, as long as not too many are open.
    file: OnceLock<OpenBlock>,
}

/// Block files that stay open for outlines.
#[derive(Debug, Default)]
pub(super) struct OpenBlocks(Arc<()>);

/// A file that stays open, and counts as one of them.
struct OpenBlock {
    file: Box<dyn ReadFile>,
    _counted: Arc<()>,
}

impl std::fmt::Debug for OpenBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenBlock")
    }
}

impl OpenBlocks {
    /// Keeps a file open, if not too many are.
    fn keep(&self, file: Box<dyn ReadFile>) -> Option<OpenBlock> {
        let counted = self.0.clone();
        (Arc::strong_count(&counted) <= OPEN_MOST + 1).then_some(OpenBlock {
            file,
            _counted: counted,
        })
    }
}

/// A message, by how far its sequence is from the block's first, and where its record begins.
#[derive(Debug, Clone, Copy)]
struct Step {
    beyond_first: u32,
    offset: u32,
}

/// Half the hash of a message's subject, and the message as in [`Step`]. In this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SubjectSeq {
    hash: u32,
    beyond_first: u32,
}

/// A record that was read alone, with the bytes around it.
#[derive(Debug)]
pub(super) struct LoneRecord {
    pub record: RecordRef,
    pub bytes: Vec<u8>,
}

impl LoneRecord {
    /// The message.
    pub fn message(self) -> Option<StoredMessage> {
        match self.record.length() * 2 > self.bytes.len() {
            true => StoredMessage::alone(&self.record, Arc::new(self.bytes)),
            false => StoredMessage::copied(&self.record, &self.bytes),
        }
    }

    /// Its subject.
    pub fn subject(&self) -> &[u8] {
        self.record.subject(&self.bytes)
    }
}

impl Outline {
    /// Of a block whose content ends at `end`. `hashes` are those of the messages' subjects, where they are known.
    pub fn new(
        places: &Places,
        hashes: Option<&[u32]>,
        end: usize,
        cipher: Option<Arc<BlockCipher>>,
    ) -> Option<Self> {
        let end = u32::try_from(end).ok()?;
        let first_seq = places.seq(0)?;
        let last_seq = places.seq(places.len() - 1)?;
        u32::try_from(last_seq - first_seq).ok()?;
        let beyond_first = |slot| Some((places.seq(slot)? - first_seq) as u32);
        let mut steps: Vec<Step> = Vec::with_capacity((end / STEP_BYTES) as usize + 1);
        for slot in 0..places.len() {
            let offset = places.offset(slot)?;
            let is_far = |last: &Step| offset.saturating_sub(last.offset) >= STEP_BYTES;
            if steps.last().is_none_or(is_far) {
                let beyond_first = beyond_first(slot)?;
                steps.push(Step {
                    beyond_first,
                    offset,
                });
            }
        }
        let sorted = |hashes: &[u32]| {
            let placed = hashes.iter().enumerate().filter_map(|(slot, hash)| {
                let beyond_first = beyond_first(slot)?;
                Some(SubjectSeq {
                    hash: *hash,
                    beyond_first,
                })
            });
            let mut placed: Vec<SubjectSeq> = placed.collect();
            placed.sort_unstable();
            placed
        };
        Some(Outline {
            first_seq,
            steps,
            subjects: hashes.map(sorted),
            end,
            cipher,
            read_bytes: AtomicU64::new(0),
            file: OnceLock::new(),
        })
    }

    /// Bytes it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let subjects = self.subjects.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>()
            + self.steps.capacity() * size_of::<Step>()
            + subjects * size_of::<SubjectSeq>()
    }

    /// The sequences whose subject may be the one with this hash, rising, and no others. `None` where that is not known.
    pub fn seqs_of(&self, hash: u32) -> Option<impl DoubleEndedIterator<Item = u64>> {
        let subjects = self.subjects.as_ref()?;
        let start = subjects.partition_point(|at| at.hash < hash);
        let rest = subjects.get(start..)?;
        let count = rest.partition_point(|at| at.hash == hash);
        let found = rest.get(..count)?.iter();
        Some(found.map(|at| self.first_seq + u64::from(at.beyond_first)))
    }

    /// Reads one message from the file. `None` where the block had better be read whole: so much of it was read already, or what is
    /// found is not what was there.
    pub fn read(&self, shared: &Shared, block: u32, seq: u64) -> Option<LoneRecord> {
        let beyond_first = u32::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        let next = self
            .steps
            .partition_point(|step| step.beyond_first <= beyond_first);
        let start = self.steps.get(next.checked_sub(1)?)?.offset;
        let end = self.steps.get(next).map_or(self.end, |step| step.offset);
        let length = end.checked_sub(start)?;
        let read_before = self
            .read_bytes
            .fetch_add(u64::from(length), Ordering::Relaxed);
        if read_before > u64::from(self.end) {
            return None;
        }
        let mut bytes = vec![0; length as usize];
        self.read_at(shared, block, start, &mut bytes)?;
        if let Some(cipher) = &self.cipher {
            cipher.apply(&mut bytes, u64::from(start)).ok()?;
        }
        let mut offset = 0;
        // The message lies behind others of its step.
        loop {
            let record = parse_at(&bytes, offset).ok()?;
            offset = record.end_offset();
            if record.kind() == RecordKind::Message && record.sequence() == seq {
                let is_sound = verifies(&record, &bytes, &shared.hash_key(block));
                return is_sound.then_some(LoneRecord { record, bytes });
            }
        }
    }

    /// Reads the file from `start` on, all of `bytes`.
    fn read_at(&self, shared: &Shared, block: u32, start: u32, bytes: &mut [u8]) -> Option<()> {
        let read = match self.file.get() {
            Some(kept) => kept.file.read_at(u64::from(start), bytes),
            None => {
                let path = shared.dir.join(BlockFile::Block.path(block));
                let file = shared.fs.open(&path).ok()?;
                let read = file.read_at(u64::from(start), bytes);
                if let Some(kept) = shared.cache.open_blocks.keep(file) {
                    // Another reader may have been faster.
                    let _ = self.file.set(kept);
                }
                read
            }
        };
        (read.ok()? == bytes.len()).then_some(())
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
            for seq in (20..=27).chain(20..=27) {
                assert_eq!(body_of(seq).unwrap(), [seq as u8 - 1; 1000]);
            }
            assert_eq!(reader.cache_counts().misses, misses + 2);
        }
    }
}
