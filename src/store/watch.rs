//! What a store tells of itself: events as they happen, counts, and what it keeps in memory.

use std::sync::Arc;

use super::open::Store;
use super::reader::Reader;
use super::writer::Writer;
use crate::env::IoError;
use crate::env::sync::atomic::{AtomicU64, Ordering};

/// Something that a call of the writer did. New kinds may come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreEvent<'a> {
    /// A message is there.
    Appended {
        /// Its sequence.
        seq: u64,
        /// Its subject.
        subject: &'a [u8],
        /// Bytes of its record.
        length_bytes: u64,
    },
    /// A message went, whatever the reason. Those that go in a purge of everything or a cut are told together.
    Removed {
        /// Its sequence.
        seq: u64,
        /// Its subject.
        subject: &'a [u8],
        /// Bytes of its record.
        length_bytes: u64,
    },
    /// Everything went.
    Purged {
        /// How many messages.
        message_count: u64,
        /// The last sequence by then.
        last_seq: u64,
    },
    /// Everything behind a sequence went.
    Truncated {
        /// How many messages.
        message_count: u64,
        /// The last sequence by then.
        last_seq: u64,
    },
    /// A block was begun.
    BlockBegun {
        /// Its number.
        block: u32,
    },
    /// A block's file went.
    BlockGone {
        /// Its number.
        block: u32,
    },
    /// A write failed: nothing more is written.
    Latched {
        /// The failure.
        cause: &'a Arc<IoError>,
    },
}

/// Who is told of events. It is called on the writer's thread, within the call that causes the event, and while no lock is held: it may
/// read from the store. The change is made by then, in memory.
pub type Watcher = Box<dyn FnMut(&StoreEvent<'_>) + Send + Sync>;

/// What a writer has done since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WriterCounts {
    /// Messages appended.
    pub appended: u64,
    /// Messages removed, whatever the reason.
    pub removed: u64,
    /// Writes to the block that takes records.
    pub writes: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Times that the disk was waited for: files and directories.
    pub syncs: u64,
    /// Blocks begun.
    pub blocks_begun: u64,
    /// Blocks whose file went.
    pub blocks_gone: u64,
    /// Blocks written anew: compressed, shrunk, wiped.
    pub blocks_rewritten: u64,
    /// Bytes of these.
    pub rewritten_bytes: u64,
}

/// What a store keeps in memory, about, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Blocks kept for readers.
    pub cache_bytes: usize,
    /// The block that takes records.
    pub tail_bytes: usize,
    /// Subjects.
    pub subject_bytes: usize,
    /// What is known of blocks and of the sequences deleted in them.
    pub block_bytes: usize,
}

/// How often readers found a block in memory, and how often they did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheCounts {
    /// Looks that found the block.
    pub hits: u64,
    /// Looks that read it.
    pub misses: u64,
}

/// Looks counted from any thread.
#[derive(Debug, Default)]
pub(super) struct Looks {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Looks {
    pub fn note(&self, found: bool) {
        let counted = if found { &self.hits } else { &self.misses };
        counted.fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> CacheCounts {
        CacheCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

impl Writer {
    /// Has `watcher` told of what happens from now on; `None` for nobody.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
    /// # use jetsam::format::meta::StreamMeta;
    /// # use jetsam::living::Idle;
    /// # use jetsam::store::{NewMessage, Store, StoreEvent, StoreOptions};
    /// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file","max_msgs":1}"#)?;
    /// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
    /// # let now_ns = 1_767_225_600_000_000_000;
    /// # let options = StoreOptions::new(config, now_ns);
    /// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
    /// let gone = Arc::new(AtomicU64::new(0));
    /// let counted = gone.clone();
    /// let mut writer = store.writer().expect("nobody took it before");
    /// writer.watch(Some(Box::new(move |event| {
    ///     if let StoreEvent::Removed { .. } = event {
    ///         counted.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// })));
    /// for body in [b"one", b"two"] {
    ///     writer.append(&NewMessage { subject: b"orders.1", headers: b"", body }, now_ns)?;
    /// }
    /// // The stream has room for one message.
    /// assert_eq!(gone.load(Ordering::Relaxed), 1);
    /// assert_eq!((writer.counts().appended, writer.counts().removed), (2, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&mut self, watcher: Option<Watcher>) {
        self.told_of.watcher = watcher;
    }

    /// What this writer has done.
    #[must_use]
    pub fn counts(&self) -> WriterCounts {
        WriterCounts {
            writes: self.told_of.handed_over.0,
            written_bytes: self.told_of.handed_over.1,
            ..self.told_of.counts
        }
    }

    /// Bytes that the ids of messages take, where they are held.
    #[must_use]
    pub fn message_id_bytes(&self) -> usize {
        let ids = self.message_ids.as_ref();
        ids.map_or(0, super::message_ids::MessageIds::memory_bytes)
    }

    /// Tells of an event.
    pub(super) fn tell(&mut self, event: &StoreEvent<'_>) {
        self.told_of.tell(event);
    }
}

/// Who is told, and what was counted.
#[derive(Default)]
pub(super) struct Told {
    watcher: Option<Watcher>,
    pub counts: WriterCounts,
    /// Writes to the block that takes records, and their bytes.
    pub handed_over: (u64, u64),
}

impl Told {
    pub fn has_watcher(&self) -> bool {
        self.watcher.is_some()
    }

    pub fn tell(&mut self, event: &StoreEvent<'_>) {
        let counts = &mut self.counts;
        match event {
            StoreEvent::Appended { .. } => counts.appended += 1,
            StoreEvent::Removed { .. } => counts.removed += 1,
            StoreEvent::Purged { message_count, .. }
            | StoreEvent::Truncated { message_count, .. } => counts.removed += message_count,
            StoreEvent::BlockBegun { .. } => counts.blocks_begun += 1,
            StoreEvent::BlockGone { .. } => counts.blocks_gone += 1,
            StoreEvent::Latched { .. } => {}
        }
        if let Some(watcher) = &mut self.watcher {
            watcher(event);
        }
    }
}

impl Store {
    /// What the store keeps in memory.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        self.reader().memory()
    }
}

impl Reader {
    /// What the store keeps in memory.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        let cache_bytes = self.shared.cache.memory_bytes();
        let live = self.shared.live.read();
        let state = &live.state;
        let tail = live.tail.as_ref();
        let deleted = state
            .blocks
            .iter()
            .map(|block| block.deleted.memory_bytes());
        MemoryUse {
            cache_bytes,
            tail_bytes: tail.map_or(0, super::resident::Resident::memory_bytes),
            subject_bytes: state.subjects.memory_bytes(),
            block_bytes: state.blocks.capacity() * size_of::<crate::state::BlockState>()
                + deleted.sum::<usize>(),
        }
    }

    /// How the cache of blocks has served since the store was opened.
    #[must_use]
    pub fn cache_counts(&self) -> CacheCounts {
        self.shared.cache.looks.counts()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::env::memory::MemoryFileSystem;
    use crate::format::seqset::SeqSet;
    use crate::store::tests::{NOW_NS, append, message, open, options};
    use crate::store::{Expected, PurgeRequest, Rollup};

    /// Messages as a watcher knows them: bytes by sequence.
    fn watched(writer: &mut Writer) -> Arc<Mutex<BTreeMap<u64, u64>>> {
        let known = Arc::new(Mutex::new(BTreeMap::new()));
        let held = known.clone();
        writer.watch(Some(Box::new(move |event| {
            let mut held = held.lock();
            match event {
                StoreEvent::Appended {
                    seq, length_bytes, ..
                } => assert_eq!(held.insert(*seq, *length_bytes), None),
                StoreEvent::Removed {
                    seq, length_bytes, ..
                } => assert_eq!(held.remove(seq), Some(*length_bytes)),
                StoreEvent::Purged { message_count, .. } => {
                    assert_eq!(held.len() as u64, *message_count);
                    held.clear();
                }
                StoreEvent::Truncated {
                    message_count,
                    last_seq,
                } => {
                    let before = held.len() as u64;
                    held.retain(|seq, _| seq <= last_seq);
                    assert_eq!(before - held.len() as u64, *message_count);
                }
                _ => {}
            }
        })));
        known
    }

    #[test]
    fn who_follows_the_events_knows_what_is_there() {
        let (fs, options) = (
            MemoryFileSystem::new(),
            options(r#","max_msgs":40,"max_msgs_per_subject":30"#, 300),
        );
        let (store, mut writer) = open(&fs, &options);
        let known = watched(&mut writer);
        let agrees = |step: &str| {
            let summary = store.reader().summary();
            let known = known.lock();
            let bytes: u64 = known.values().sum();
            let found = (summary.message_count, summary.bytes);
            assert_eq!((known.len() as u64, bytes), found, "{step}");
        };
        append(&mut writer, 45);
        agrees("limit of a subject");
        for nth in 0..20 {
            writer.append(&message("s.b"), NOW_NS + nth).unwrap();
        }
        agrees("limit of the stream");
        let first = store.reader().summary().first.seq;
        assert!(writer.remove(first + 3).unwrap() && writer.erase(first + 5).unwrap());
        agrees("remove and erase");
        writer.compact(first + 12).unwrap();
        agrees("compact");
        let mut deleted = SeqSet::new();
        deleted.insert_range(first + 14..=first + 24);
        assert_eq!(writer.sync_deleted(&deleted), Ok(11));
        assert_eq!(writer.sync_deleted(&deleted), Ok(0));
        agrees("a leader's deletes");
        let last = store.reader().summary().last.seq;
        writer.truncate(last - 2).unwrap();
        agrees("truncate");
        let newest = message("s.b");
        let subject =
            writer.append_rolling_up(&newest, Rollup::Subject, NOW_NS, Expected::default());
        subject.unwrap();
        agrees("a subject rolled up");
        writer
            .purge(&PurgeRequest {
                filter: b"s.a",
                ..PurgeRequest::default()
            })
            .unwrap();
        agrees("purge of a subject");
        let all = writer.append_rolling_up(&newest, Rollup::All, NOW_NS, Expected::default());
        all.unwrap();
        agrees("all rolled up");
        writer.purge(&PurgeRequest::default()).unwrap();
        agrees("purge");
        let counts = writer.counts();
        assert_eq!(counts.appended, 45 + 20 + 2);
        assert_eq!(counts.removed, counts.appended);
        assert!(counts.blocks_begun > counts.blocks_gone && counts.blocks_gone > 2);
        assert!(counts.written_bytes > 45 * 30 && counts.writes >= 60);
    }

    #[test]
    fn memory_and_cache_say_what_they_hold() {
        let (fs, options) = (MemoryFileSystem::new(), options("", 2000));
        let (store, mut writer) = open(&fs, &options);
        let subjects: Vec<String> = (0..500).map(|nth| format!("s.{nth}")).collect();
        for subject in &subjects {
            writer.append(&message(subject), NOW_NS).unwrap();
        }
        store.close(writer).unwrap();
        let (store, _writer) = open(&fs, &options);
        let before = store.memory();
        assert_eq!(before.cache_bytes, 0);
        assert!(before.subject_bytes > 500 * 32 && before.block_bytes > 0);
        let reader = store.reader();
        for seq in [1, 2, 1] {
            reader.get(seq).unwrap();
        }
        let counts = reader.cache_counts();
        assert_eq!(counts.misses, 1);
        assert!(counts.hits >= 2);
        assert!(store.memory().cache_bytes >= 1900);
    }
}
