//! The one writer of a store: its last block, and what of it has reached the disk.

use std::sync::{Arc, Weak};

use super::archive::Pins;
use super::cache::ROOM_MOST_BYTES;
use super::core::{Live, Shared};
use super::error::WriterFault;
use super::level::Level;
use super::message_ids::MessageIds;
use super::resident::Resident;
use super::tail::OpenTail;
use super::watch::{StoreEvent, Told};
use crate::block::builder::file_of;
use crate::block::rules::Fill;
use crate::env::sync::atomic::Ordering;
use crate::env::{DEFAULT_FILE_MODE, IoError, LockGuard};
use crate::format::names::{BlockFile, EXPIRIES_PATH, MESSAGES, STATE_PATH};
use crate::format::record::{NewRecord, record_length};
use crate::state::{BlockState, SeqTime};

/// Bytes of records that may wait in memory before they are handed to the operating system whatever the level.
pub(super) const PENDING_MOST_BYTES: usize = 1024 * 1024;

/// Writes to a store. There is one for each store that is open; its calls take `&mut self` and follow each other.
///
/// A reader may see what a call does before the call returns. A call that fails for the disk's sake latches the writer: nothing more is
/// written until the store is opened anew, and what the call was about is stored or not. Reading goes on.
///
/// ```
/// # use std::sync::Arc;
/// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
/// # use jetsam::format::meta::StreamMeta;
/// # use jetsam::living::Idle;
/// # use jetsam::store::{AppendError, Expected, NewMessage, Store, StoreOptions};
/// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
/// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
/// # let now_ns = 1_767_225_600_000_000_000;
/// # let options = StoreOptions::new(config, now_ns);
/// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
/// let mut writer = store.writer().expect("nobody took it before");
/// let order = NewMessage { subject: b"orders.1", headers: b"", body: b"one coffee" };
/// assert_eq!(writer.append(&order, now_ns)?.seq, 1);
/// // Only where nobody else wrote to the subject meanwhile.
/// let expected = Expected { last_subject_seq: Some(1), ..Expected::default() };
/// assert_eq!(writer.append_expecting(&order, now_ns, expected)?.seq, 2);
/// let refused = writer.append_expecting(&order, now_ns, expected);
/// assert_eq!(refused, Err(AppendError::LastSequence { expected: 1, found: 2 }));
/// assert!(writer.remove(1)?);
/// assert_eq!(writer.maintain(now_ns)?.next_ns, None);
/// store.close(writer)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    /// A writer that outlives its store still owns the directory.
    _lock: Arc<LockGuard>,
    pub(super) level: Level,
    pub(super) tail: Option<OpenTail>,
    latch: Option<Arc<IoError>>,
    /// Full blocks whose bytes are not known to be durable.
    unsynced: Vec<u32>,
    /// Names in the directory of messages changed since it was made durable.
    pub(super) names_changed: bool,
    /// Something changed since the files beside the blocks were written.
    pub(super) is_begun: bool,
    /// A batch was committed, which is not durable. Until it is no file may go that it emptied, or half of it would have happened.
    pub(super) has_fresh_batch: bool,
    /// An index alone tells of some messages that they are gone.
    pub(super) is_unproven: bool,
    /// `index.db` may be there.
    pub(super) has_index: bool,
    /// Blocks that hold no message any more, and may go.
    pub(super) emptied: Vec<u32>,
    /// Blocks that are full and not compressed yet.
    pub(super) uncompressed: Vec<u32>,
    /// Sequences of blocks that are gone, which is not durable.
    pub(super) unlinked: std::ops::Range<u64>,
    /// Blocks that are gone, and whose keys may go once that is durable.
    pub(super) orphaned_keys: Vec<u32>,
    /// Ids of the messages of the last while, where they are held.
    pub(super) message_ids: Option<MessageIds>,
    /// Archives that are being written, unless nobody writes them any more.
    pub(super) archives: Vec<Weak<Pins>>,
    pub(super) told_of: Told,
    /// Bytes that may be appended before the disk is asked again what is left of it.
    pub(super) disk_allowance_bytes: u64,
    /// Sequence up to which everything has been handed over, and has been made durable.
    pub(super) watermark: Watermark,
}

/// How far a stream is out of reach of a kill, and of a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermark {
    /// Messages up to this sequence, and all removals before, survive the process.
    pub written_seq: u64,
    /// They survive a power cut.
    pub synced_seq: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("level", &self.level)
            .field("watermark", &self.watermark)
            .field("is_latched", &self.latch.is_some())
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, lock: Arc<LockGuard>, level: Level) -> Self {
        let (last_seq, without_messages) = {
            let live = shared.live.read();
            (live.state.totals.last.seq, live.without_messages())
        };
        Writer {
            shared,
            _lock: lock,
            level,
            tail: None,
            latch: None,
            unsynced: Vec::new(),
            names_changed: false,
            is_begun: false,
            has_fresh_batch: false,
            is_unproven: false,
            has_index: true,
            emptied: without_messages,
            uncompressed: Vec::new(),
            unlinked: 0..0,
            orphaned_keys: Vec::new(),
            message_ids: None,
            archives: Vec::new(),
            told_of: Told::default(),
            disk_allowance_bytes: 0,
            watermark: Watermark {
                written_seq: last_seq,
                synced_seq: last_seq,
            },
        }
    }

    /// What calls wait for from now on.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// What calls wait for.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// How far everything is safe.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// The failure after which nothing more is written, if there was one.
    #[must_use]
    pub fn latched(&self) -> Option<&IoError> {
        self.latch.as_deref()
    }

    /// Whether a change may begin.
    pub(super) fn check(&self) -> Result<(), WriterFault> {
        if let Some(cause) = &self.latch {
            return Err(WriterFault::Latched(cause.clone()));
        }
        match self.shared.is_closed.load(Ordering::Acquire) {
            true => Err(WriterFault::Closed),
            false => Ok(()),
        }
    }

    /// Takes what the disk answered; a failure latches.
    pub(super) fn told<T>(&mut self, answer: Result<T, IoError>) -> Result<T, WriterFault> {
        answer.map_err(|error| {
            let is_first = self.latch.is_none();
            let cause = self.latch.get_or_insert_with(|| Arc::new(error)).clone();
            if is_first {
                self.tell(&StoreEvent::Latched { cause: &cause });
            }
            WriterFault::Latched(cause)
        })
    }

    /// Begins a change: times to live are found in the messages again, for their file would name some that are gone.
    pub(super) fn begin(&mut self) -> Result<(), WriterFault> {
        self.check()?;
        if !self.is_begun {
            self.remove_side_file(EXPIRIES_PATH)?;
            self.is_begun = true;
        }
        if self.is_unproven {
            self.prove_removed()?;
            self.is_unproven = false;
        }
        Ok(())
    }

    /// Begins a change of files that the index speaks of. Records behind those that it knows are found by whoever opens the stream; a
    /// block that is gone or another one would be taken for a loss.
    pub(super) fn begin_exchange(&mut self) -> Result<(), WriterFault> {
        if self.has_index {
            self.has_index = false;
            if self.remove_side_file(STATE_PATH)? {
                // Were it back after a power cut, it would be believed of blocks that are others by then.
                let synced = self.shared.fs.sync_dir(&self.shared.dir.join(MESSAGES));
                self.told(synced)?;
            }
        }
        Ok(())
    }

    /// Whether it was there.
    pub(super) fn remove_side_file(&mut self, path: &str) -> Result<bool, WriterFault> {
        match self.shared.fs.remove_file(&self.shared.dir.join(path)) {
            Err(error) if error.is_not_found() => Ok(false),
            removed => {
                self.names_changed = true;
                self.told(removed).map(|()| true)
            }
        }
    }

    /// Writes a record behind all others, in a new block where the last one has no room. `account` is told the block's number and
    /// changes the state in the same moment in which readers may find the record.
    pub(super) fn emit(
        &mut self,
        record: &NewRecord<'_>,
        account: impl FnOnce(&mut Live, u32, u64),
    ) -> Result<(), WriterFault> {
        let length = match record {
            NewRecord::Message {
                subject,
                headers,
                body,
                ..
            } => record_length(subject.len(), headers.len(), body.len()),
            _ => record_length(0, 0, 0),
        };
        if self.make_room(length as u64)?
            && let NewRecord::Tombstone { sequence, .. } = record
        {
            self.prove_last_again(*sequence)?;
        }
        self.write_record(record, account)
    }

    /// Writes a record, for which there is room, into the last block.
    pub(super) fn write_record(
        &mut self,
        record: &NewRecord<'_>,
        account: impl FnOnce(&mut Live, u32, u64),
    ) -> Result<(), WriterFault> {
        let mut live = self.shared.live.write();
        let live = &mut *live;
        let (Some(tail), Some(content)) = (&mut self.tail, &mut live.tail) else {
            return Err(WriterFault::Closed);
        };
        let from = tail.unsealed_count();
        let length = tail.put(record, content)?;
        tail.show(from, content);
        account(live, tail.number, length);
        tail.take_note(live);
        Ok(())
    }

    /// Writes records behind all others, for which there is room, so that whoever reads the disk finds all of them or none. `account` is
    /// told each one's block, place among them and length, for all of them in one moment.
    pub(super) fn emit_together<'a>(
        &mut self,
        records: impl Iterator<Item = NewRecord<'a>>,
        mut account: impl FnMut(&mut Live, u32, usize, u64),
    ) -> Result<(), WriterFault> {
        let mut live = self.shared.live.write();
        let live = &mut *live;
        let (Some(tail), Some(content)) = (&mut self.tail, &mut live.tail) else {
            return Err(WriterFault::Closed);
        };
        let from = tail.unsealed_count();
        let mut lengths = Vec::new();
        for record in records {
            match tail.put(&record, content) {
                Ok(length) => lengths.push(length),
                Err(fault) => {
                    tail.take_back(from, content);
                    return Err(fault);
                }
            }
        }
        if lengths.len() > 1 {
            tail.commit_with(from);
            self.has_fresh_batch = true;
        }
        tail.show(from, content);
        for (at, length) in lengths.into_iter().enumerate() {
            account(live, tail.number, at, length);
        }
        tail.take_note(live);
        Ok(())
    }

    /// Sees to it that records of this length fit into the last block. Whether that is a new one.
    pub(super) fn make_room(&mut self, length: u64) -> Result<bool, WriterFault> {
        if self.tail.is_none() {
            self.open_tail()?;
        }
        let Some(tail) = &self.tail else {
            return self.roll().map(|()| true);
        };
        let fill = Fill {
            raw_bytes: tail.length,
            ..Fill::default()
        };
        match fill.is_full(length, self.shared.block_size) || tail.is_worn {
            true => self.roll().map(|()| true),
            false => Ok(false),
        }
    }

    /// Takes up the last block there is, if it is one to append to.
    fn open_tail(&mut self) -> Result<(), WriterFault> {
        let Some(number) = self.shared.live.read().tail_number() else {
            return Ok(());
        };
        let loaded = super::cache::read(&self.shared, number)?;
        let path = self.shared.dir.join(BlockFile::Block.path(number));
        let opened = self.shared.fs.open_append(&path, None);
        let file = self.told(opened)?;
        let length = file.length();
        // A compressed file, or one whose end does not verify, is left as it is.
        let is_whole = loaded.bytes().len() as u64 == length && loaded.damage().is_none();
        if loaded.is_compressed() || !is_whole {
            self.shared.live.write().tail = Some(loaded);
            return Ok(());
        }
        if length == 0 {
            // The index names eight zeros as the end of an empty block, and a hole that a power cut leaves ends in zeros too.
            self.begin_exchange()?;
        }
        let cipher = self.cipher_of(number, length)?;
        let hash_key = self.shared.hash_key(number);
        let mut tail = OpenTail::new(number, file, hash_key, cipher);
        let mut live = self.shared.live.write();
        tail.take_note(&mut live);
        live.tail = Some(loaded);
        self.tail = Some(tail);
        Ok(())
    }

    /// Begins a new block.
    pub(super) fn roll(&mut self) -> Result<(), WriterFault> {
        self.flush()?;
        let number = self.shared.live.read().state.last_block_number;
        let Some(number) = number.checked_add(1) else {
            let reason = "there is no number left for another block".to_owned();
            return Err(WriterFault::Block {
                block: number,
                reason,
            });
        };
        // Whoever has filled one block is likely to fill the next.
        let filled_bytes = self.tail.as_ref().map_or(0, |tail| tail.length);
        let room_bytes = match filled_bytes.saturating_mul(2) >= self.shared.block_size {
            true => usize::try_from(self.shared.block_size)
                .unwrap_or(0)
                .min(ROOM_MOST_BYTES),
            false => 0,
        };
        // The key is durable before the first byte of its block: a block without one is lost.
        let cipher = self.new_key(MESSAGES, number)?;
        let path = self.shared.dir.join(BlockFile::Block.path(number));
        let opened = self.shared.fs.open_append(&path, Some(DEFAULT_FILE_MODE));
        let file = self.told(opened)?;
        self.names_changed = true;
        let mut begun = OpenTail::new(number, file, self.shared.hash_key(number), cipher);
        begun.is_unsynced = true;
        self.retire_tail(Some(begun))?;
        let room = self.shared.cache.room(room_bytes);
        let mut live = self.shared.live.write();
        let last = live.state.totals.last;
        live.state.last_block_number = number;
        live.state.blocks.push(BlockState {
            number,
            first: SeqTime {
                seq: last.seq + 1,
                timestamp_ns: 0,
            },
            last,
            ..BlockState::default()
        });
        live.tail = Some(Resident::empty_in(room));
        drop(live);
        self.tell(&StoreEvent::BlockBegun { block: number });
        Ok(())
    }

    /// Puts another block in the place of the last one, which is kept for its readers and to be made durable.
    fn retire_tail(&mut self, next: Option<OpenTail>) -> Result<(), WriterFault> {
        let retired = std::mem::replace(&mut self.tail, next);
        {
            let mut live = self.shared.live.write();
            let number = live.tail_number();
            if let (Some(number), Some(resident)) = (number, live.tail.take()) {
                self.shared.cache.put(number, Arc::new(resident));
            }
            let is_empty = live
                .state
                .blocks
                .last()
                .map(|block| block.message_count == 0);
            if let (Some(number), Some(true)) = (number, is_empty) {
                self.emptied.push(number);
            } else if let Some(number) = number
                && live.settings.compresses
            {
                self.uncompressed.push(number);
            }
        }
        self.unsynced.extend(
            retired
                .filter(|retired| retired.is_unsynced)
                .map(|retired| retired.number),
        );
        Ok(())
    }

    /// Forgets the last block: its file is another one now, or gone.
    pub(super) fn leave_tail(&mut self) {
        self.tail = None;
        self.shared.live.write().tail = None;
    }

    /// Hands everything over to the operating system. What was appended and removed before survives the process.
    ///
    /// # Errors
    ///
    /// [`WriterFault`].
    pub fn flush(&mut self) -> Result<(), WriterFault> {
        self.check()?;
        if let Some(tail) = &mut self.tail
            && tail.waiting_bytes() > 0
        {
            let (writes, bytes) = self.told_of.handed_over;
            self.told_of.handed_over = (writes + 1, bytes + tail.waiting_bytes() as u64);
            self.told_of.counts.syncs += u64::from(tail.holds_a_batch());
            let written = tail.hand_over(&self.shared.live);
            self.told(written)?;
        }
        self.watermark.written_seq = self.shared.live.read().state.totals.last.seq;
        Ok(())
    }

    fn sync_full_blocks(&mut self) -> Result<(), WriterFault> {
        for number in std::mem::take(&mut self.unsynced) {
            let path = self.shared.dir.join(BlockFile::Block.path(number));
            match self.shared.fs.sync_file(&path) {
                // It was emptied meanwhile, and is gone.
                Err(error) if error.is_not_found() => {}
                synced => self.told(synced)?,
            }
            self.told_of.counts.syncs += 1;
        }
        Ok(())
    }

    /// Makes everything durable, names included. What was appended and removed before survives a power cut.
    ///
    /// # Errors
    ///
    /// [`WriterFault`]. Nothing is tried again after a failed sync: the system may have dropped what it could not write.
    pub fn sync(&mut self) -> Result<Watermark, WriterFault> {
        self.flush()?;
        self.sync_full_blocks()?;
        if let Some(tail) = &mut self.tail
            && tail.is_unsynced
        {
            let synced = tail.sync();
            self.told_of.counts.syncs += 1;
            self.told(synced)?;
        }
        if self.names_changed {
            let synced = self.shared.fs.sync_dir(&self.shared.dir.join(MESSAGES));
            self.told_of.counts.syncs += 1;
            self.told(synced)?;
            self.names_changed = false;
            self.unlinked = 0..0;
            self.remove_orphaned_keys()?;
        }
        self.has_fresh_batch = false;
        self.watermark.synced_seq = self.watermark.written_seq;
        Ok(self.watermark)
    }

    fn remove_orphaned_keys(&mut self) -> Result<(), WriterFault> {
        for number in std::mem::take(&mut self.orphaned_keys) {
            let path = self.shared.dir.join(BlockFile::Key.path(number));
            match self.shared.fs.remove_file(&path) {
                Err(error) if error.is_not_found() => {}
                removed => self.told(removed)?,
            }
        }
        Ok(())
    }

    /// Ends a change: blocks that it emptied go, and it is made as safe as the level asks.
    pub(super) fn settle(&mut self) -> Result<(), WriterFault> {
        if !self.emptied.is_empty() {
            self.drop_emptied()?;
        }
        match self.level {
            Level::Buffered => {
                let waiting = self.tail.as_ref().map_or(0, OpenTail::waiting_bytes);
                match waiting > PENDING_MOST_BYTES {
                    true => self.flush(),
                    false => Ok(()),
                }
            }
            Level::Written => self.flush(),
            Level::Synced => self.sync().map(|_| ()),
        }
    }

    /// Replaces the file of a block, durably. `content` is what it holds, decoded.
    pub(super) fn replace_block(
        &mut self,
        number: u32,
        content: &[u8],
        compressed: bool,
    ) -> Result<u64, WriterFault> {
        let refused = |reason: String| WriterFault::Block {
            block: number,
            reason,
        };
        let mut bytes = file_of(content, compressed).map_err(|fault| refused(fault.to_string()))?;
        if let Some(cipher) = self.cipher_of(number, bytes.len() as u64)? {
            cipher
                .apply(&mut bytes, 0)
                .map_err(|exhausted| refused(exhausted.to_string()))?;
        }
        self.begin_exchange()?;
        self.hold_for_archives(number);
        let path = self.shared.dir.join(BlockFile::Block.path(number));
        let written = self.shared.fs.write_atomically(&path, &bytes, None);
        self.told(written)?;
        self.told_of.counts.blocks_rewritten += 1;
        self.told_of.counts.rewritten_bytes += bytes.len() as u64;
        Ok(bytes.len() as u64)
    }
}
