//! Single messages of blocks that were let go: found and read without the rest of their block.

use std::sync::Arc;

use super::core::{Live, Shared};
use super::error::ReadError;
use super::message::StoredMessage;
use super::outline::{LoneRecord, Outline};
use super::reader::{BlockContent, Looked, Reader};
use super::resident::short_hash_of;
use super::search::Selection;
use crate::env::sync::atomic::Ordering;
use crate::state::BlockState;

/// Messages of a block that share half a hash and are read one by one, before the block is.
const CANDIDATES_MOST: usize = 4;

/// A message that was found.
pub(super) enum Sight<'a> {
    /// In a block that is in memory.
    InBlock {
        seq: u64,
        number: u32,
        content: BlockContent<'a>,
    },
    /// Read alone.
    Alone { number: u32, found: LoneRecord },
}

impl Sight<'_> {
    /// Its sequence.
    pub fn seq(&self) -> u64 {
        match self {
            Sight::InBlock { seq, .. } => *seq,
            Sight::Alone { found, .. } => found.record.sequence(),
        }
    }

    /// The number of its block.
    pub fn number(&self) -> u32 {
        match self {
            Sight::InBlock { number, .. } | Sight::Alone { number, .. } => *number,
        }
    }

    /// Bytes of its record, if that verifies.
    pub fn length(&self) -> Option<u64> {
        let length = match self {
            Sight::InBlock { seq, content, .. } => content.record(content.slot_of(*seq)?)?.length(),
            Sight::Alone { found, .. } => found.record.length(),
        };
        Some(length as u64)
    }

    /// The message itself.
    pub fn message(self) -> Result<StoredMessage, ReadError> {
        match self {
            Sight::InBlock {
                seq,
                number,
                content,
            } => content.message(seq, number),
            Sight::Alone { found, .. } => found.message().ok_or(ReadError::NotFound),
        }
    }
}

/// Which way a look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

impl Shared {
    /// Where the messages of a block lie, where the block is not in memory and one can be read alone.
    pub fn outline_of(&self, live: &Live, block: &BlockState) -> Option<Arc<Outline>> {
        let number = block.number;
        let is_changing = live.changing.as_ref().is_some_and(|it| it.0 == number);
        let is_elsewhere = live.tail_number() == Some(number) || is_changing;
        if !self.cache.has_let_go()
            || is_elsewhere
            || block.compressed
            || self.is_closed.load(Ordering::Acquire)
            || self.cache.holds(number)
        {
            return None;
        }
        self.cache.outline(number)
    }
}

impl Reader {
    /// The message of a sequence, where it can be read alone.
    pub(super) fn get_alone(&self, seq: u64) -> Option<StoredMessage> {
        let (number, outline) = {
            let live = self.shared.live.read();
            let block = live.block_of(seq).filter(|block| block.holds(seq))?;
            (block.number, self.shared.outline_of(&live, block)?)
        };
        outline.read(&self.shared, number, seq)?.message()
    }

    /// What looking for a subject in the next block comes to, where that can be told without the block.
    pub(super) fn look_alone(
        &self,
        wanted: Selection<'_>,
        from: u64,
        way: Way,
    ) -> Option<Looked<Sight<'static>>> {
        let Selection::Subject(subject) = wanted else {
            return None;
        };
        if !self.shared.cache.has_let_go() {
            return None;
        }
        let (number, outline, seqs, beyond) = {
            let live = self.shared.live.read();
            let (block, beyond) = match way {
                Way::Up => {
                    let block = live.block_from(from, wanted)?;
                    (block, block.last.seq.checked_add(1))
                }
                Way::Down => {
                    let block = live.block_to(from, wanted)?;
                    (block, block.first.seq.checked_sub(1))
                }
            };
            let outline = self.shared.outline_of(&live, block)?;
            let seqs = outline.seqs_of(short_hash_of(subject))?;
            let seqs: Vec<u64> = match way {
                Way::Up => {
                    let live = seqs.filter(|seq| *seq >= from && block.holds(*seq));
                    live.take(CANDIDATES_MOST).collect()
                }
                Way::Down => {
                    let live = seqs.rev();
                    let live = live.filter(|seq| *seq <= from && block.holds(*seq));
                    live.take(CANDIDATES_MOST).collect()
                }
            };
            (block.number, outline, seqs, beyond)
        };
        for seq in &seqs {
            let found = outline.read(&self.shared, number, *seq)?;
            if found.subject() == subject {
                return Some(Looked::Found(Sight::Alone { number, found }));
            }
        }
        (seqs.len() < CANDIDATES_MOST).then_some(Looked::GoOn(beyond))
    }
}

#[cfg(test)]
mod tests {
    use crate::crypto::{Cipher, ServerKey};
    use crate::env::memory::MemoryFileSystem;
    use crate::store::tests::{NOW_NS, killed, open, options};
    use crate::store::{NewMessage, ReadError, Reader, StoreOptions};
    use crate::stream::options::Keys;

    /// Nine messages a block, three blocks in memory.
    fn small(cipher: Option<Cipher>) -> StoreOptions {
        StoreOptions {
            cache_bytes: 32_000,
            keys: Keys {
                current: cipher.map(|_| ServerKey::new(b"a key".to_vec())),
                previous: None,
                cipher,
            },
            ..options("", 10_000)
        }
    }

    /// The sequences of a subject, from the first and from the last.
    fn seqs_of(reader: &Reader, subject: &str) -> Vec<u64> {
        let (filter, mut up, mut from) = ([subject.as_bytes()], Vec::new(), 0);
        while let Ok(found) = reader.next(&filter, from) {
            assert_eq!(found.subject(), subject.as_bytes());
            assert_eq!(found.body(), [found.seq as u8; 1000]);
            up.push(found.seq);
            from = found.seq + 1;
        }
        let (mut down, mut to) = (Vec::new(), u64::MAX);
        while let Ok(found) = reader.previous(&filter, to) {
            assert_eq!(found.body(), [found.seq as u8; 1000]);
            down.push(found.seq);
            to = found.seq - 1;
        }
        down.reverse();
        assert_eq!(up, down, "{subject}");
        up
    }

    #[test]
    fn subjects_are_found_and_removed_in_blocks_that_were_let_go() {
        for cipher in [None, Some(Cipher::ChaCha), Some(Cipher::Aes)] {
            let (fs, options) = (MemoryFileSystem::new(), small(cipher));
            let (store, mut writer) = open(&fs, &options);
            // s.0 to s.6 begin in the first block, s.0 and s.1 come twice there, and s.0 once more in every block.
            for nth in 0..90_u64 {
                let subject = match nth {
                    0..9 => format!("s.{}", nth % 7),
                    _ if nth % 9 == 0 => "s.0".to_owned(),
                    _ => "s.more".to_owned(),
                };
                let message = NewMessage {
                    subject: subject.as_bytes(),
                    headers: b"",
                    body: &[nth as u8 + 1; 1000],
                };
                writer.append(&message, NOW_NS).unwrap();
            }
            let reader = store.reader();
            // Whoever looks for subjects in a block once needs it no more for that.
            let zeros = vec![1, 8, 10, 19, 28, 37, 46, 55, 64, 73, 82];
            assert_eq!(seqs_of(&reader, "s.0"), zeros);
            let misses = reader.cache_counts().misses;
            assert!(misses > 0, "{cipher:?}: everything is in memory");
            for (subject, seqs) in [("s.1", vec![2, 9]), ("s.2", vec![3]), ("s.6", vec![7])] {
                assert_eq!(seqs_of(&reader, subject), seqs);
            }
            // The first of a block tells the time of the next.
            for seq in [1, 9, 3] {
                assert!(writer.remove(seq).unwrap());
            }
            assert_eq!(seqs_of(&reader, "s.1"), [2]);
            assert_eq!(seqs_of(&reader, "s.0").first(), Some(&8));
            assert_eq!(reader.last(b"s.2").unwrap_err(), ReadError::NotFound);
            assert_eq!(reader.summary().first.timestamp_ns, NOW_NS);
            let read = reader.cache_counts().misses - misses;
            assert!(read <= 1, "{cipher:?}: {read} blocks read whole");
            let before = reader.summary();
            let (left, _) = open(&killed(&fs), &options);
            assert_eq!(left.reader().summary(), before);
        }
    }

    #[test]
    fn a_block_that_changed_is_not_read_by_where_its_messages_lay() {
        let (fs, options) = (MemoryFileSystem::new(), small(None));
        let (store, mut writer) = open(&fs, &options);
        for nth in 0..90_u64 {
            let message = NewMessage {
                subject: if nth % 2 == 0 { b"s.a" } else { b"s.b" },
                headers: b"",
                body: &[nth as u8 + 1; 1000],
            };
            writer.append(&message, NOW_NS).unwrap();
        }
        let reader = store.reader();
        assert_eq!(seqs_of(&reader, "s.a").len(), 45);
        assert!(writer.erase(3).unwrap());
        writer.truncate(5).unwrap();
        assert_eq!(seqs_of(&reader, "s.a"), [1, 5]);
        let message = NewMessage {
            subject: b"s.a",
            headers: b"",
            body: &[6; 1000],
        };
        assert_eq!(writer.append(&message, NOW_NS).unwrap().seq, 6);
        assert_eq!(seqs_of(&reader, "s.a"), [1, 5, 6]);
        assert_eq!(seqs_of(&reader, "s.b"), [2, 4]);
    }
}
