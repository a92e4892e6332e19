//! Several changes that happen together or not at all.
//!
//! The records of a batch follow each other in one block. They are written with the checksum of the first one withheld: whoever reads
//! the block, a server too, ends before it. Once all of them are durable the checksum is put in its place, and all of them count.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::append::Expected;
use super::core::Live;
use super::error::{AppendError, ReadError, RemoveError, WriterFault};
use super::message::NewMessage;
use super::message_ids::id_of;
use super::remove::unreadable;
use super::resident::Resident;
use super::watch::StoreEvent;
use super::writer::Writer;
use crate::format::limits::{RECORD_MAX_LENGTH, RECORD_MIN_LENGTH};
use crate::format::record::NewRecord;
use crate::state::SeqTime;

/// Bytes of records that one batch may come to.
const BATCH_MAX_BYTES: u64 = RECORD_MAX_LENGTH as u64;

/// Changes that are gathered to be made at once. Until [`Batch::commit`] nothing has happened, and dropping it leaves it so.
///
/// What was gathered counts for what follows: the next message has the next sequence, and expectations and limits that refuse
/// are held against the stream as it will be.
///
/// ```
/// # use std::sync::Arc;
/// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
/// # use jetsam::format::meta::StreamMeta;
/// # use jetsam::living::Idle;
/// # use jetsam::store::{Expected, NewMessage, Store, StoreOptions};
/// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
/// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
/// # let now_ns = 1_767_225_600_000_000_000;
/// # let options = StoreOptions::new(config, now_ns);
/// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
/// let mut writer = store.writer().expect("nobody took it before");
/// let paid = NewMessage { subject: b"orders.1.paid", headers: b"", body: b"" };
/// let open = NewMessage { subject: b"orders.1.open", headers: b"", body: b"" };
/// writer.append(&open, now_ns)?;
/// let mut batch = writer.batch(now_ns)?;
/// assert_eq!(batch.append(&paid, Expected::default())?, 2);
/// assert!(batch.remove(1)?);
/// assert_eq!(store.reader().summary().message_count, 1);
/// let committed = batch.commit()?;
/// assert_eq!((committed.last_seq, store.reader().summary().first.seq), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Batch<'a> {
    writer: &'a mut Writer,
    now_ns: i64,
    changes: Vec<Change>,
    /// Bytes of the messages, one behind the other.
    bytes: Vec<u8>,
    records_bytes: u64,
    /// Ids of the batch's own messages.
    ids: FxHashMap<Vec<u8>, u64>,
    ahead: Ahead,
}

/// What a batch came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The stream's last sequence: that of the batch's last message, where it has one.
    pub last_seq: u64,
    /// Messages that went by limits for it.
    pub evicted_count: u64,
    /// Why one that should have gone by limits is still there, as in [`Appended::not_evicted`](super::Appended::not_evicted).
    pub not_evicted: Option<ReadError>,
}

/// Which messages a message takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rollup {
    /// Those of its subject.
    Subject,
    /// All there are.
    All,
}

#[derive(Debug)]
enum Change {
    Append {
        subject: Range<usize>,
        headers: Range<usize>,
        body: Range<usize>,
        stored: SeqTime,
    },
    Remove {
        gone: SeqTime,
        subject: Range<usize>,
        length: u64,
    },
}

/// What changes that were gathered make of a stream, beyond what it is.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub messages: i64,
    pub bytes: i64,
    is_emptied: bool,
    subjects: FxHashMap<Vec<u8>, SubjectAhead>,
    removed: FxHashSet<u64>,
}

#[derive(Debug, Default)]
struct SubjectAhead {
    total: i64,
    last_seq: u64,
}

impl Ahead {
    /// Messages of a subject, more or less.
    pub fn of_subject(&self, subject: &[u8]) -> i64 {
        match self.is_emptied {
            true => i64::MIN,
            false => self.subjects.get(subject).map_or(0, |ahead| ahead.total),
        }
    }

    /// Where so many messages and bytes are about to go: all.
    pub fn emptied(messages: u64, bytes: u64) -> Self {
        Ahead {
            messages: messages.cast_signed().saturating_neg(),
            bytes: bytes.cast_signed().saturating_neg(),
            is_emptied: true,
            ..Ahead::default()
        }
    }

    /// Whether a message that is live is about to go.
    pub fn goes(&self, seq: u64) -> bool {
        self.is_emptied || self.removed.contains(&seq)
    }

    /// Adds to a count what is ahead of it.
    pub fn reach(count: u64, ahead: i64) -> u64 {
        count.saturating_add_signed(ahead)
    }

    fn subject(&mut self, subject: &[u8]) -> &mut SubjectAhead {
        self.subjects.entry(subject.to_vec()).or_default()
    }
}

impl Batch<'_> {
    /// Adds a message; the sequence it will have.
    ///
    /// # Errors
    ///
    /// [`AppendError`], as [`Writer::append_expecting`] has it, and [`AppendError::TooLarge`] where the records of the batch would come to
    /// more than 32 MiB. The batch is then as it was.
    pub fn append(
        &mut self,
        message: &NewMessage<'_>,
        expected: Expected,
    ) -> Result<u64, AppendError> {
        let id = self.new_id(message)?;
        let last = self.last_seq();
        expected.hold(last, || self.last_seq_of(message.subject))?;
        let next = last.wrapping_add(1).max(1);
        let length = self.writer.admit(message, next, self.now_ns, &self.ahead)?;
        self.has_space(length)?;
        self.writer.has_disk(length)?;
        let mut keep = |part: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            start..self.bytes.len()
        };
        let stored = SeqTime {
            seq: next,
            timestamp_ns: self.now_ns,
        };
        self.changes.push(Change::Append {
            subject: keep(message.subject),
            headers: keep(message.headers),
            body: keep(message.body),
            stored,
        });
        self.ids.extend(id.map(|id| (id, next)));
        self.records_bytes += length;
        self.ahead.messages += 1;
        self.ahead.bytes += length.cast_signed();
        let subject = self.ahead.subject(message.subject);
        subject.total += 1;
        subject.last_seq = next;
        Ok(next)
    }

    /// Adds the removal of a message that was there before the batch. False where it was gone before, or goes with this batch already.
    ///
    /// # Errors
    ///
    /// [`RemoveError`], with [`RemoveError::Beyond`] for the batch's own messages, and [`WriterFault::Batch`] where the batch is full.
    pub fn remove(&mut self, seq: u64) -> Result<bool, RemoveError> {
        if self.ahead.removed.contains(&seq) || !self.writer.may_remove(seq)? {
            return Ok(false);
        }
        let length = RECORD_MIN_LENGTH as u64;
        if self.records_bytes + length > BATCH_MAX_BYTES {
            return Err(WriterFault::Batch {
                most: BATCH_MAX_BYTES,
            }
            .into());
        }
        let leaving = self.writer.leaving(seq)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&leaving.subject);
        self.changes.push(Change::Remove {
            gone: SeqTime {
                seq,
                timestamp_ns: leaving.timestamp_ns,
            },
            subject: start..self.bytes.len(),
            length: leaving.length,
        });
        self.records_bytes += length;
        self.ahead.removed.insert(seq);
        self.ahead.messages -= 1;
        self.ahead.bytes -= leaving.length.cast_signed();
        self.ahead.subject(&leaving.subject).total -= 1;
        Ok(true)
    }

    /// Adds the removal of every message, there before the batch, whose subject a filter matches; how many.
    ///
    /// # Errors
    ///
    /// As [`Batch::remove`].
    pub fn remove_matching(&mut self, filter: &[u8]) -> Result<u64, RemoveError> {
        let reader = super::Reader::of(self.writer.shared.clone());
        let (mut from, mut count) = (0, 0);
        while let Some(seq) = reader.next_seq(&[filter], from)? {
            count += u64::from(self.remove(seq)?);
            from = seq + 1;
        }
        Ok(count)
    }

    /// Makes all the changes.
    ///
    /// At level `Buffered` they are in memory, and reach the disk together. At the others, and whenever they are handed over,
    /// a batch of several records waits for the disk once, at `Synced` twice.
    ///
    /// # Errors
    ///
    /// [`AppendError::Fault`]. Whoever opens the store anew finds all of the changes or none.
    pub fn commit(self) -> Result<Committed, AppendError> {
        let Batch {
            writer,
            changes,
            bytes,
            records_bytes,
            ..
        } = self;
        if changes.is_empty() {
            writer.check()?;
            let last_seq = writer.shared.live.read().state.totals.last.seq;
            return Ok(Committed {
                last_seq,
                evicted_count: 0,
                not_evicted: None,
            });
        }
        writer.begin()?;
        if writer.make_room(records_bytes)?
            && let Some(Change::Remove { gone: first, .. }) = changes.first()
        {
            writer.prove_last_again(first.seq)?;
        }
        writer.emit_all(&changes, &bytes)?;
        writer.tell_of_all(&changes, &bytes);
        let last_seq = writer.shared.live.read().state.totals.last.seq;
        let (mut evicted_count, mut not_evicted) = (0, None);
        for (message, _) in changes.iter().filter_map(|change| change.message(&bytes)) {
            let kept = writer.evict_behind(message.subject, &mut evicted_count)?;
            not_evicted = not_evicted.or(kept);
        }
        writer.settle()?;
        Ok(Committed {
            last_seq,
            evicted_count,
            not_evicted,
        })
    }

    /// The id of a message, where ids are held and this one is not known.
    fn new_id(&mut self, message: &NewMessage<'_>) -> Result<Option<Vec<u8>>, AppendError> {
        self.writer.is_new(message.headers, self.now_ns)?;
        let id = self
            .writer
            .message_ids
            .is_some()
            .then(|| id_of(message.headers));
        let Some(id) = id.flatten() else {
            return Ok(None);
        };
        match self.ids.get(id) {
            Some(seq) => Err(AppendError::Duplicate { seq: *seq }),
            None => Ok(Some(id.to_vec())),
        }
    }

    fn has_space(&self, length: u64) -> Result<(), AppendError> {
        match self.records_bytes + length > BATCH_MAX_BYTES {
            true => Err(AppendError::TooLarge {
                length: self.records_bytes + length,
                most: BATCH_MAX_BYTES,
            }),
            false => Ok(()),
        }
    }

    /// The last sequence once the batch is committed as it is.
    fn last_seq(&self) -> u64 {
        let ahead = self.changes.iter().rev().find_map(|change| match change {
            Change::Append { stored, .. } => Some(stored.seq),
            Change::Remove { .. } => None,
        });
        ahead.unwrap_or_else(|| self.writer.shared.live.read().state.totals.last.seq)
    }

    /// The last sequence of a subject once the batch is committed as it is; 0 for none.
    fn last_seq_of(&self, subject: &[u8]) -> Result<u64, WriterFault> {
        if let Some(ahead) = self.ahead.subjects.get(subject)
            && ahead.last_seq > 0
        {
            return Ok(ahead.last_seq);
        }
        let reader = super::Reader::of(self.writer.shared.clone());
        let mut from = u64::MAX;
        loop {
            match reader.previous_seq(&[subject], from)? {
                Some(seq) if self.ahead.removed.contains(&seq) => from = seq - 1,
                found => return Ok(found.unwrap_or(0)),
            }
        }
    }
}

impl Change {
    /// The message it adds, with its sequence and time.
    fn message<'a>(&self, bytes: &'a [u8]) -> Option<(NewMessage<'a>, SeqTime)> {
        let part = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        match self {
            Change::Append {
                subject,
                headers,
                body,
                stored,
            } => {
                let message = NewMessage {
                    subject: part(subject),
                    headers: part(headers),
                    body: part(body),
                };
                Some((message, *stored))
            }
            Change::Remove { .. } => None,
        }
    }

    /// The record that makes it.
    fn record<'a>(&self, bytes: &'a [u8]) -> Option<NewRecord<'a>> {
        match self {
            Change::Append { .. } => {
                let (message, stored) = self.message(bytes)?;
                Some(message.record(stored))
            }
            Change::Remove { gone, .. } => Some(NewRecord::Tombstone {
                sequence: gone.seq,
                timestamp_ns: gone.timestamp_ns,
            }),
        }
    }
}

impl Writer {
    /// Begins a batch. Its messages have the time `now_ns`.
    ///
    /// # Errors
    ///
    /// [`WriterFault`].
    pub fn batch(&mut self, now_ns: i64) -> Result<Batch<'_>, WriterFault> {
        self.check()?;
        Ok(Batch {
            writer: self,
            now_ns,
            changes: Vec::new(),
            bytes: Vec::new(),
            records_bytes: 0,
            ids: FxHashMap::default(),
            ahead: Ahead::default(),
        })
    }

    /// Appends a message and removes those it takes the place of, together or not at all.
    ///
    /// # Errors
    ///
    /// As [`Writer::append_expecting`]; [`WriterFault::Batch`] where more than about a million messages of its subject would go, which
    /// [`Writer::purge`] takes.
    pub fn append_rolling_up(
        &mut self,
        message: &NewMessage<'_>,
        rollup: Rollup,
        now_ns: i64,
        expected: Expected,
    ) -> Result<Committed, AppendError> {
        if rollup == Rollup::All {
            return self.append_alone(message, now_ns, expected);
        }
        let mut batch = self.batch(now_ns)?;
        batch.append(message, expected)?;
        match batch.remove_matching(message.subject) {
            Ok(_) => batch.commit(),
            Err(RemoveError::Fault(fault)) => Err(fault.into()),
            // What was live a moment ago, in a store with one writer, can be removed.
            Err(_) => Err(WriterFault::Read(ReadError::NotFound).into()),
        }
    }

    fn emit_all(&mut self, changes: &[Change], bytes: &[u8]) -> Result<(), WriterFault> {
        let mut holders: FxHashMap<u32, Arc<Resident>> = FxHashMap::default();
        for change in changes {
            let Change::Remove { gone, .. } = change else {
                continue;
            };
            if let Some((number, content)) = self.holder_of(gone.seq)? {
                holders.insert(number, content);
            }
        }
        let records = changes.iter().filter_map(|change| change.record(bytes));
        let mut emptied = Vec::new();
        self.emit_together(records, |live, block, at, length| {
            let Some(change) = changes.get(at) else {
                return;
            };
            match change {
                Change::Append { .. } => {
                    if let Some((message, stored)) = change.message(bytes) {
                        live.take_in(&message, stored, block, length);
                    }
                }
                Change::Remove { gone, .. } => {
                    let gone = live.take_from(gone.seq, &holders);
                    emptied.extend(gone.filter(|number| *number != block));
                }
            }
        })?;
        self.emptied.extend(emptied);
        Ok(())
    }

    fn tell_of_all(&mut self, changes: &[Change], bytes: &[u8]) {
        for change in changes {
            if let Some((message, stored)) = change.message(bytes) {
                self.note_id(message.headers, stored.seq, stored.timestamp_ns);
                self.tell(&StoreEvent::Appended {
                    seq: stored.seq,
                    subject: message.subject,
                    length_bytes: message.length() as u64,
                });
            }
            if let Change::Remove {
                gone,
                subject,
                length,
            } = change
            {
                self.tell(&StoreEvent::Removed {
                    seq: gone.seq,
                    subject: bytes.get(subject.clone()).unwrap_or_default(),
                    length_bytes: *length,
                });
            }
        }
    }

    /// The block of a live message and its content, where that is not the last block.
    fn holder_of(&self, seq: u64) -> Result<Option<(u32, Arc<Resident>)>, WriterFault> {
        let number = {
            let live = self.shared.live.read();
            let number = live.block_of(seq).map(|block| block.number);
            number.filter(|number| live.tail_number() != Some(*number))
        };
        let Some(number) = number else {
            return Ok(None);
        };
        let content = self.shared.resident(number)?;
        match content.slot_of(seq) {
            Some(_) => Ok(Some((number, content))),
            None => Err(unreadable(seq, number, &content).into()),
        }
    }
}

impl Live {
    /// Takes a message out of every account; the number of its block where that holds none any more.
    fn take_from(&mut self, seq: u64, holders: &FxHashMap<u32, Arc<Resident>>) -> Option<u32> {
        let number = self.block_of(seq)?.number;
        let content = match self.tail_number() == Some(number) {
            true => self.tail.as_ref()?,
            false => holders.get(&number)?,
        };
        let leaving = self.leaving(seq, content)?;
        self.take_away(&leaving)
    }
}

#[cfg(test)]
mod tests;
