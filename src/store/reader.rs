//! Reading from a store, by any number of threads.

use std::sync::Arc;

use super::alone::{Sight, Way};
use super::core::{Live, Shared};
use super::error::ReadError;
use super::message::StoredMessage;
use super::remove::unreadable;
use super::resident::Resident;
use super::search::Selection;
use crate::env::sync::atomic::Ordering;
use crate::format::seqset::SeqSet;
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
pub(super) enum BlockContent<'a> {
    /// Of the block that is being written.
    Tail(&'a Resident),
    /// Of any other.
    Full(Arc<Resident>),
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

/// What a look for a message comes to.
pub(super) enum Looked<T> {
    Found(T),
    /// It is not in the block; on from this sequence, if there is one.
    GoOn(Option<u64>),
}

impl<T> Looked<T> {
    fn map<U>(self, take: impl FnOnce(T) -> U) -> Looked<U> {
        match self {
            Looked::Found(found) => Looked::Found(take(found)),
            Looked::GoOn(from) => Looked::GoOn(from),
        }
    }
}

/// A look with its errors, where no block to look at is an end of looking.
fn found_or_on<T>(
    looked: Result<Result<Looked<T>, ReadError>, ReadError>,
) -> Result<Looked<T>, ReadError> {
    match looked {
        Err(ReadError::NotFound) => Ok(Looked::GoOn(None)),
        Err(error) | Ok(Err(error)) => Err(error),
        Ok(Ok(looked)) => Ok(looked),
    }
}

fn message_of(sight: Sight<'_>) -> Result<StoredMessage, ReadError> {
    sight.message()
}

fn in_block<'a>(seq: u64, block: &BlockState, content: BlockContent<'a>) -> Sight<'a> {
    Sight::InBlock {
        seq,
        number: block.number,
        content,
    }
}

impl BlockContent<'_> {
    /// A live message of the block with this number.
    pub(super) fn message(self, seq: u64, number: u32) -> Result<StoredMessage, ReadError> {
        let found = self.slot_of(seq).and_then(|slot| self.record(slot));
        let sound = found.filter(|record| record.headers_and_body(self.bytes()).is_ok());
        let Some(record) = sound else {
            return Err(unreadable(seq, number, &self));
        };
        let message = match self {
            BlockContent::Tail(content) => StoredMessage::copied(&record, content.bytes()),
            BlockContent::Full(content) => StoredMessage::borrowed(&record, content),
        };
        message.ok_or(ReadError::NotFound)
    }
}

/// Looks that may find the block gone, or another in its place, before it is given up.
const ATTEMPTS: usize = 16;

impl Reader {
    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// Looks at the block that is picked. Both closures run in one moment; the disk is read without a lock.
    pub(super) fn visit<T>(
        &self,
        mut pick: impl for<'a> FnMut(&'a Live) -> Result<&'a BlockState, ReadError>,
        look: impl FnOnce(&Live, &BlockState, BlockContent<'_>) -> T,
    ) -> Result<T, ReadError> {
        let mut held: Option<(u32, u64, Arc<Resident>)> = None;
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            let (number, is_tail, version) = {
                let live = self.shared.live.read();
                if self.shared.is_closed.load(Ordering::Acquire) {
                    return Err(ReadError::Closed);
                }
                let block = pick(&live)?;
                let number = block.number;
                if let Some((_, content)) =
                    live.changing.as_ref().filter(|(block, _)| *block == number)
                {
                    return Ok(look(&live, block, BlockContent::Full(content.clone())));
                }
                let is_tail = live.tail_number() == Some(number);
                if is_tail {
                    if let Some(tail) = &live.tail {
                        return Ok(look(&live, block, BlockContent::Tail(tail)));
                    }
                } else {
                    // What was read before a change tells of messages that are gone.
                    let held = held.take().filter(|(block, version, _)| {
                        *block == number && *version == self.shared.cache.version(number)
                    });
                    let content = held.map(|(_, _, content)| content);
                    if let Some(content) = content.or_else(|| self.shared.cache.get(number)) {
                        return Ok(look(&live, block, BlockContent::Full(content)));
                    }
                }
                // A second failure for a block that is still there is no race.
                if let Some((block, error)) = failed.take()
                    && block == number
                {
                    return Err(error);
                }
                (number, is_tail, self.shared.cache.version(number))
            };
            match self.load(number, is_tail, version) {
                Ok(content) => held = content.map(|content| (number, version, content)),
                Err(error) => failed = Some((number, error)),
            }
        }
        Err(ReadError::NotFound)
    }

    fn load(
        &self,
        number: u32,
        is_tail: bool,
        version: u64,
    ) -> Result<Option<Arc<Resident>>, ReadError> {
        if !is_tail {
            return self.shared.resident(number).map(Some);
        }
        let content = super::cache::read(&self.shared, number)?;
        if self.shared.live.read().tail.is_some() {
            // It is not to be waited for: the writer may be handing it over.
            return Ok(None);
        }
        let mut live = self.shared.live.write();
        if live.tail.is_none()
            && live.tail_number() == Some(number)
            && self.shared.cache.version(number) == version
        {
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
        if self.shared.cache.has_let_go()
            && let Some(message) = self.get_alone(seq)
        {
            return Ok(message);
        }
        self.visit(
            |live| match live.block_of(seq) {
                Some(block) if block.holds(seq) => Ok(block),
                _ => Err(live.absence(seq)),
            },
            |_, block, content| content.message(seq, block.number),
        )?
    }

    /// The first message at or above `from` whose subject one of `filters` matches.
    ///
    /// # Errors
    ///
    /// [`ReadError::Beyond`] where there is none.
    pub fn next(&self, filters: &[&[u8]], from: u64) -> Result<StoredMessage, ReadError> {
        let found = self.find_next(filters, from, message_of)?;
        found.unwrap_or_else(|| Err(self.beyond()))
    }

    /// The last message at or below `from` whose subject one of `filters` matches.
    ///
    /// # Errors
    ///
    /// [`ReadError::Beyond`] where there is none.
    pub fn previous(&self, filters: &[&[u8]], from: u64) -> Result<StoredMessage, ReadError> {
        let found = self.find_previous(filters, from, message_of)?;
        found.unwrap_or_else(|| Err(self.beyond()))
    }

    /// The last message that matches a filter, which may be a subject.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotFound`] where there is none.
    pub fn last(&self, filter: &[u8]) -> Result<StoredMessage, ReadError> {
        let found = self.find_previous(&[filter], u64::MAX, message_of)?;
        found.unwrap_or(Err(ReadError::NotFound))
    }

    /// Those of some sequences that hold no live message.
    pub(super) fn gone(&self, seqs: impl Iterator<Item = u64>) -> Vec<u64> {
        let live = self.shared.live.read();
        seqs.filter(|seq| !live.state.holds(*seq)).collect()
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
        self.find_next(filters, from, |sight| sight.seq())
    }

    /// Takes from the first live message at or above `from` that matches what `take` makes of it, in the moment it is found.
    fn find_next<T>(
        &self,
        filters: &[&[u8]],
        from: u64,
        take: impl Fn(Sight<'_>) -> T,
    ) -> Result<Option<T>, ReadError> {
        let wanted = Selection::of(filters);
        let mut from = from;
        loop {
            let alone = self.look_alone(wanted, from, Way::Up);
            let look = || {
                self.visit(
                    |live| live.block_from(from, wanted).ok_or(ReadError::NotFound),
                    |live, block, content| match live.next_in(block, &content, wanted, from) {
                        // What comes first in what could be read comes first; that nothing comes is another matter.
                        Some(seq) => Ok(Looked::Found(take(in_block(seq, block, content)))),
                        None => content
                            .check_whole(block.number)
                            .map(|()| Looked::GoOn(block.last.seq.checked_add(1))),
                    },
                )
            };
            let looked = alone.map_or_else(|| found_or_on(look()), |it| Ok(it.map(&take)))?;
            match looked {
                Looked::Found(taken) => return Ok(Some(taken)),
                Looked::GoOn(Some(next)) => from = next,
                Looked::GoOn(None) => return Ok(None),
            }
        }
    }

    /// The last live sequence at or below `from` that matches.
    pub(super) fn previous_seq(
        &self,
        filters: &[&[u8]],
        from: u64,
    ) -> Result<Option<u64>, ReadError> {
        self.find_previous(filters, from, |sight| sight.seq())
    }

    /// Takes from the last live message at or below `from` that matches what `take` makes of it, in the moment it is found.
    fn find_previous<T>(
        &self,
        filters: &[&[u8]],
        from: u64,
        take: impl Fn(Sight<'_>) -> T,
    ) -> Result<Option<T>, ReadError> {
        let wanted = Selection::of(filters);
        let mut from = from;
        loop {
            let alone = self.look_alone(wanted, from, Way::Down);
            let look = || {
                self.visit(
                    |live| live.block_to(from, wanted).ok_or(ReadError::NotFound),
                    |live, block, content| {
                        content.check_whole(block.number)?;
                        Ok(match live.previous_in(block, &content, wanted, from) {
                            Some(seq) => Looked::Found(take(in_block(seq, block, content))),
                            None => Looked::GoOn(block.first.seq.checked_sub(1)),
                        })
                    },
                )
            };
            let looked = alone.map_or_else(|| found_or_on(look()), |it| Ok(it.map(&take)))?;
            match looked {
                Looked::Found(taken) => return Ok(Some(taken)),
                Looked::GoOn(Some(before)) => from = before,
                Looked::GoOn(None) => return Ok(None),
            }
        }
    }

    /// Last live sequence of a subject.
    pub(super) fn last_seq_of(&self, subject: &[u8]) -> Result<Option<u64>, ReadError> {
        self.previous_seq(&[subject], u64::MAX)
    }

    /// First live sequence of a subject, and its block.
    pub(super) fn first_of(&self, subject: &[u8]) -> Result<Option<(u64, u32)>, ReadError> {
        self.find_next(&[subject], 0, |sight| (sight.seq(), sight.number()))
    }

    /// Bytes of the record of a subject's first message of those that do not go.
    pub(super) fn oldest_length(
        &self,
        subject: &[u8],
        goes: impl Fn(u64) -> bool,
    ) -> Result<Option<u64>, ReadError> {
        let mut from = 0;
        loop {
            let sight = |sight: Sight<'_>| (sight.seq(), sight.length());
            match self.find_next(&[subject], from, sight)? {
                None => return Ok(None),
                Some((seq, _)) if goes(seq) => from = seq + 1,
                Some((_, length)) => return Ok(length),
            }
        }
    }
}
