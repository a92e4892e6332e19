//! Reading from a store, by any number of threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core::{Live, Shared};
use super::error::ReadError;
use super::message::StoredMessage;
use super::remove::unreadable;
use super::resident::Resident;
use crate::format::seqset::SeqSet;
use crate::format::subject;
use crate::state::{BlockState, SeqTime, Totals};

/// Reads from a store. Clones read the same store, from any thread; none waits for what the writer does on the disk.
///
/// ```
/// # use std::sync::Arc;
/// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
/// # use jetsam::format::meta::StreamMeta;
/// # use jetsam::living::Idle;
/// # use jetsam::store::{NewMessage, Store, StoreOptions};
/// use jetsam::store::ReadError;
/// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
/// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
/// # let now_ns = 1_767_225_600_000_000_000;
/// # let options = StoreOptions::new(config, now_ns);
/// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
/// let mut writer = store.writer().expect("nobody took it before");
/// for subject in ["orders.1", "orders.2", "orders.1"] {
///     let order = NewMessage { subject: subject.as_bytes(), headers: b"", body: b"one coffee" };
///     writer.append(&order, now_ns)?;
/// }
/// let reader = store.reader();
/// let first = reader.next(&[b"orders.1"], 0)?;
/// let second = reader.next(&[b"orders.1"], first.seq + 1)?;
/// assert_eq!((first.seq, second.seq), (1, 3));
/// let end = reader.next(&[b"orders.1"], second.seq + 1);
/// assert_eq!(end.unwrap_err(), ReadError::Beyond { last_seq: 3 });
/// assert_eq!(reader.last(b"orders.2")?.body(), b"one coffee");
/// assert_eq!(reader.count(&[b"orders.*"], 2)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// What a stream comes to at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreSummary {
    /// Live messages.
    pub message_count: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// The first message; one sequence behind the last, and no time, where there is none.
    pub first: SeqTime,
    /// The last sequence, and the time of the last message there was.
    pub last: SeqTime,
    /// Distinct subjects.
    pub subject_count: u64,
    /// Sequences between first and last that hold no message.
    pub deleted_count: u64,
}

/// The content of a block for one look at it.
#[derive(Clone, Copy)]
pub(super) enum BlockContent<'a> {
    /// Of the block that is being written.
    Tail(&'a Resident),
    /// Of any other.
    Full(&'a Arc<Resident>),
}

impl std::ops::Deref for BlockContent<'_> {
    type Target = Resident;

    fn deref(&self) -> &Resident {
        match self {
            BlockContent::Tail(content) => content,
            BlockContent::Full(content) => content,
        }
    }
}

impl BlockContent<'_> {
    fn message(&self, seq: u64) -> Option<StoredMessage> {
        let record = self.record(self.slot_of(seq)?)?;
        match self {
            BlockContent::Tail(content) => StoredMessage::copied(&record, content.bytes()),
            BlockContent::Full(content) => StoredMessage::borrowed(&record, content),
        }
    }
}

/// Looks that may find the block gone, or another in its place, before it is given up.
const ATTEMPTS: usize = 16;

impl Reader {
    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// Looks at the block that `pick` names. Both closures run under one lock; the disk is read without it.
    pub(super) fn visit<T>(
        &self,
        mut pick: impl FnMut(&Live) -> Result<u32, ReadError>,
        look: impl FnOnce(&Live, BlockContent<'_>) -> T,
    ) -> Result<T, ReadError> {
        let mut held: Option<(u32, Arc<Resident>)> = None;
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            let (number, is_tail) = {
                let live = self.shared.live.read();
                if self.shared.is_closed.load(Ordering::Acquire) {
                    return Err(ReadError::Closed);
                }
                let number = pick(&live)?;
                let is_tail = live.tail_number() == Some(number);
                if is_tail {
                    if let Some(tail) = &live.tail {
                        return Ok(look(&live, BlockContent::Tail(tail)));
                    }
                } else {
                    let held = held.take().filter(|(block, _)| *block == number);
                    let content = held.map(|(_, content)| content);
                    if let Some(content) = content.or_else(|| self.shared.cache.get(number)) {
                        return Ok(look(&live, BlockContent::Full(&content)));
                    }
                }
                // A second failure for a block that is still there is no race.
                if let Some((block, error)) = failed.take()
                    && block == number
                {
                    return Err(error);
                }
                (number, is_tail)
            };
            match self.load(number, is_tail) {
                Ok(content) => held = content.map(|content| (number, content)),
                Err(error) => failed = Some((number, error)),
            }
        }
        Err(ReadError::NotFound)
    }

    fn load(&self, number: u32, is_tail: bool) -> Result<Option<Arc<Resident>>, ReadError> {
        if !is_tail {
            return self.shared.resident(number).map(Some);
        }
        let content = super::cache::read(&self.shared, number)?;
        let mut live = self.shared.live.write();
        if live.tail.is_none() && live.tail_number() == Some(number) {
            live.tail = Some(content);
        }
        Ok(None)
    }

    /// The message of a sequence.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn get(&self, seq: u64) -> Result<StoredMessage, ReadError> {
        let pick = |live: &Live| match live.block_of(seq) {
            Some(block) if block.holds(seq) => Ok(block.number),
            _ => Err(live.absence(seq)),
        };
        if self.shared.cache.has_let_go()
            && let Some(message) = self.read_alone(seq)
        {
            return Ok(message);
        }
        self.visit(pick, |live, content| {
            content.message(seq).ok_or_else(|| {
                let number = live.block_of(seq).map_or(0, |block| block.number);
                unreadable(seq, number, &content)
            })
        })?
    }

    /// The message of a sequence, where its block is not in memory and where it lies is known.
    fn read_alone(&self, seq: u64) -> Option<StoredMessage> {
        let number = {
            let live = self.shared.live.read();
            let block = live.block_of(seq).filter(|block| block.holds(seq))?;
            let is_elsewhere = live.tail_number() == Some(block.number) || block.compressed;
            let is_closed = self.shared.is_closed.load(Ordering::Acquire);
            (!is_elsewhere && !is_closed).then_some(block.number)?
        };
        if self.shared.cache.holds(number) {
            return None;
        }
        let outline = self.shared.cache.outline(number)?;
        outline.read(&self.shared, number, seq)
    }

    /// The first message at or above `from` whose subject one of `filters` matches.
    ///
    /// # Errors
    ///
    /// [`ReadError::Beyond`] where there is none.
    pub fn next(&self, filters: &[&[u8]], from: u64) -> Result<StoredMessage, ReadError> {
        let mut from = from;
        loop {
            let found = self.next_seq(filters, from)?;
            let seq = found.ok_or_else(|| self.beyond())?;
            match self.get(seq) {
                // It went in between.
                Err(ReadError::Deleted { .. } | ReadError::NotFound) => from = seq + 1,
                message => return message,
            }
        }
    }

    /// The last message at or below `from` whose subject one of `filters` matches.
    ///
    /// # Errors
    ///
    /// [`ReadError::Beyond`] where there is none.
    pub fn previous(&self, filters: &[&[u8]], from: u64) -> Result<StoredMessage, ReadError> {
        let mut from = from;
        loop {
            let found = self.previous_seq(filters, from)?;
            let seq = found.ok_or_else(|| self.beyond())?;
            match self.get(seq) {
                Err(ReadError::Deleted { .. } | ReadError::NotFound) => from = seq - 1,
                message => return message,
            }
        }
    }

    /// The last message that matches a filter, which may be a subject.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotFound`] where there is none.
    pub fn last(&self, filter: &[u8]) -> Result<StoredMessage, ReadError> {
        let found = match subject::is_literal(filter) {
            true => self.last_seq_of(filter)?,
            false => self.previous_seq(&[filter], u64::MAX)?,
        };
        self.get(found.ok_or(ReadError::NotFound)?)
    }

    fn beyond(&self) -> ReadError {
        let last_seq = self.shared.live.read().state.totals.last.seq;
        ReadError::Beyond { last_seq }
    }

    /// What the stream comes to.
    #[must_use]
    pub fn summary(&self) -> StoreSummary {
        let live = self.shared.live.read();
        let Totals {
            messages,
            bytes,
            first,
            last,
        } = live.state.totals;
        let span = match messages {
            0 => 0,
            _ => last.seq - first.seq + 1,
        };
        StoreSummary {
            message_count: messages,
            bytes,
            first,
            last,
            subject_count: live.state.subjects.len(),
            deleted_count: span - messages,
        }
    }

    /// Sequences between first and last that hold no message.
    #[must_use]
    pub fn deleted(&self) -> SeqSet {
        let live = self.shared.live.read();
        let totals = live.state.totals;
        let mut deleted = SeqSet::new();
        if totals.messages == 0 {
            return deleted;
        }
        let mut next = totals.first.seq;
        let blocks = live.state.blocks.iter();
        for block in blocks.filter(|block| block.message_count > 0) {
            if next < block.first.seq {
                deleted.insert_range(next..=block.first.seq - 1);
            }
            deleted.union_with(&block.deleted);
            next = block.last.seq + 1;
        }
        if next <= totals.last.seq {
            deleted.insert_range(next..=totals.last.seq);
        }
        deleted
    }

    /// The first live sequence at or above `from` that matches.
    pub(super) fn next_seq(&self, filters: &[&[u8]], from: u64) -> Result<Option<u64>, ReadError> {
        let mut from = from;
        loop {
            let pick = |live: &Live| {
                let block = live.block_from(from, filters);
                block.map(|block| block.number).ok_or(ReadError::NotFound)
            };
            let looked = self.visit(pick, |live, content| {
                let block = live.block_from(from, filters)?;
                let found = live.next_in(block, &content, filters, from);
                // What comes first in what could be read comes first; that nothing comes is another matter.
                let whole = match found {
                    Some(_) => Ok(()),
                    None => content.check_whole(block.number),
                };
                Some(whole.map(|()| (found, block.last.seq)))
            });
            match looked {
                Err(ReadError::NotFound) => return Ok(None),
                Err(error) | Ok(Some(Err(error))) => return Err(error),
                Ok(Some(Ok((Some(seq), _)))) => return Ok(Some(seq)),
                Ok(Some(Ok((None, last)))) => from = last + 1,
                Ok(None) => {}
            }
        }
    }

    /// The last live sequence at or below `from` that matches.
    pub(super) fn previous_seq(
        &self,
        filters: &[&[u8]],
        from: u64,
    ) -> Result<Option<u64>, ReadError> {
        let mut from = from;
        loop {
            let pick = |live: &Live| {
                let block = live.block_to(from, filters);
                block.map(|block| block.number).ok_or(ReadError::NotFound)
            };
            let looked = self.visit(pick, |live, content| {
                let block = live.block_to(from, filters)?;
                let whole = content.check_whole(block.number);
                let found = whole.map(|()| live.previous_in(block, &content, filters, from));
                Some(found.map(|found| (found, block.first.seq)))
            });
            match looked {
                Err(ReadError::NotFound) => return Ok(None),
                Err(error) | Ok(Some(Err(error))) => return Err(error),
                Ok(Some(Ok((Some(seq), _)))) => return Ok(Some(seq)),
                Ok(Some(Ok((None, first)))) => match first.checked_sub(1) {
                    Some(before) => from = before,
                    None => return Ok(None),
                },
                Ok(None) => {}
            }
        }
    }

    /// Last live sequence of a subject.
    pub(super) fn last_seq_of(&self, subject: &[u8]) -> Result<Option<u64>, ReadError> {
        self.previous_seq(&[subject], u64::MAX)
    }

    /// First live sequence of a subject.
    pub(super) fn first_seq_of(&self, subject: &[u8]) -> Result<Option<u64>, ReadError> {
        self.next_seq(&[subject], 0)
    }

    /// Bytes of the record of a subject's first message of those that do not go.
    pub(super) fn oldest_length(
        &self,
        subject: &[u8],
        goes: impl Fn(u64) -> bool,
    ) -> Result<Option<u64>, ReadError> {
        let mut from = 0;
        let seq = loop {
            match self.next_seq(&[subject], from)? {
                None => return Ok(None),
                Some(seq) if goes(seq) => from = seq + 1,
                Some(seq) => break seq,
            }
        };
        let pick = |live: &Live| {
            let block = live.block_of(seq).map(|block| block.number);
            block.ok_or(ReadError::NotFound)
        };
        self.visit(pick, |_, content| {
            let record = content.slot_of(seq).and_then(|slot| content.record(slot));
            record.map(|record| record.length() as u64)
        })
    }
}

/// Whether a subject is selected by one of the filters.
pub(super) fn is_selected(subject: &[u8], filters: &[&[u8]]) -> bool {
    filters.is_empty()
        || filters
            .iter()
            .any(|filter| subject::matches(subject, filter))
}

/// Whether the filters select everything.
pub(super) fn selects_all(filters: &[&[u8]]) -> bool {
    filters.is_empty() || filters.iter().any(|filter| *filter == b">")
}

/// The one subject that the filters select, where it is one.
fn only_subject<'a>(filters: &[&'a [u8]]) -> Option<&'a [u8]> {
    match filters {
        [filter] if subject::is_literal(filter) => Some(filter),
        _ => None,
    }
}

impl Live {
    /// Between which blocks the messages lie that filters select; `None` where there are none.
    fn bounds(&self, filters: &[&[u8]]) -> Option<(u32, u32)> {
        match only_subject(filters) {
            Some(subject) if self.state.tracks_subjects => {
                let totals = self.state.subjects.get(subject)?;
                Some((totals.first_block, totals.last_block))
            }
            _ => Some((0, u32::MAX)),
        }
    }

    /// The first block with a message at or above `from` that filters may select.
    fn block_from(&self, from: u64, filters: &[&[u8]]) -> Option<&BlockState> {
        let (lowest, highest) = self.bounds(filters)?;
        let blocks = &self.state.blocks;
        let place = self
            .place_from(from)
            .max(blocks.partition_point(|block| block.number < lowest));
        let mut rest = blocks.get(place..)?.iter();
        let found = rest.find(|block| block.message_count > 0)?;
        (found.number <= highest).then_some(found)
    }

    /// The last block with a message at or below `from` that filters may select.
    fn block_to(&self, from: u64, filters: &[&[u8]]) -> Option<&BlockState> {
        let (lowest, highest) = self.bounds(filters)?;
        let blocks = &self.state.blocks;
        let reach = blocks.partition_point(|block| block.number <= highest);
        let mut rest = blocks.get(..reach)?.iter().rev();
        let found = rest.find(|block| block.message_count > 0 && block.first.seq <= from)?;
        (found.number >= lowest).then_some(found)
    }

    fn next_in(
        &self,
        block: &BlockState,
        content: &Resident,
        filters: &[&[u8]],
        from: u64,
    ) -> Option<u64> {
        let from = self.first_live_from(block, from)?;
        if selects_all(filters) {
            return Some(from);
        }
        if let Some(subject) = only_subject(filters) {
            // Whoever goes through a subject comes from its last message, or from before the block.
            let before = from.checked_sub(1).and_then(|seq| content.slot_of(seq));
            let before = before.filter(|slot| content.subject(*slot) == subject);
            let mut at = match before {
                Some(slot) => content.next_of(slot),
                None => content.first_of(subject),
            };
            while let Some(slot) = at {
                let seq = content.seq(slot)?;
                if seq >= from && block.holds(seq) {
                    return Some(seq);
                }
                at = content.next_of(slot);
            }
            return None;
        }
        (content.slot_from(from)..content.slot_count()).find_map(|slot| {
            let seq = content.seq(slot)?;
            (block.holds(seq) && is_selected(content.subject(slot), filters)).then_some(seq)
        })
    }

    fn previous_in(
        &self,
        block: &BlockState,
        content: &Resident,
        filters: &[&[u8]],
        from: u64,
    ) -> Option<u64> {
        let from = from.min(block.last.seq);
        if let Some(subject) = only_subject(filters) {
            let mut at = content.last_of(subject);
            while let Some(slot) = at {
                let seq = content.seq(slot)?;
                if seq <= from && block.holds(seq) {
                    return Some(seq);
                }
                at = content.previous_of(slot);
            }
            return None;
        }
        let reach = content.slot_from(from.saturating_add(1));
        (0..reach).rev().find_map(|slot| {
            let seq = content.seq(slot)?;
            (block.holds(seq) && is_selected(content.subject(slot), filters)).then_some(seq)
        })
    }
}
