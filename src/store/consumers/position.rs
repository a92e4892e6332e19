//! Where a consumer stands in its stream: where it begins, what comes next, and how much is still to come.

use std::collections::VecDeque;

use super::consumer::Consumer;
use super::error::DispatchError;
use crate::format::meta::{ConsumerMeta, DeliverPolicy, ReplayPolicy};
use crate::store::{Level, ReadError, Reader, StoreSummary, StoredMessage};

/// The place behind which messages were not delivered yet.
pub(super) struct Position {
    filters: Vec<String>,
    next_seq: u64,
    /// The last messages of subjects, which come before `next_seq`; rising.
    lasts: VecDeque<u64>,
    replay: Option<Replay>,
    /// How many messages were still to come when the stream was like this.
    counted: Option<(StoreSummary, u64)>,
}

/// Messages come with the time between them that there was when they were stored.
struct Replay {
    /// The last one that was there when it began.
    last_seq: u64,
    /// Times of the message delivered last: when it was stored, and when it was delivered.
    before: Option<(i64, i64)>,
}

/// What a read comes to where a message that is not there is no error.
pub(super) fn found<T>(read: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(ReadError::NotFound | ReadError::Deleted { .. } | ReadError::Beyond { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Position {
    /// Where a consumer goes on, or begins by its configuration where it has no state yet.
    ///
    /// Where it begins is durable once this returns: what is stored from then on counts as new also after a crash.
    pub fn of(
        consumer: &mut Consumer,
        reader: &Reader,
        now_ns: i64,
    ) -> Result<Self, DispatchError> {
        let meta = consumer.config();
        let replays = meta.replay_policy == ReplayPolicy::Original;
        let mut position = Position {
            filters: meta.filter_subjects.clone(),
            next_seq: 1,
            lasts: VecDeque::new(),
            replay: replays.then(|| Replay {
                last_seq: reader.summary().last.seq,
                before: None,
            }),
            counted: None,
        };
        if consumer.has_state() {
            fall_back(consumer, reader.summary().last.seq)?;
            position.next_seq = consumer.state().delivered.stream.saturating_add(1);
            return Ok(position);
        }
        position.begin(meta, reader)?;
        let start = position.lasts.front().copied();
        let start = start.unwrap_or(position.next_seq);
        // A sequence that no file could keep lies behind all messages, too.
        consumer.set_starting((start - 1).min(i64::MAX as u64))?;
        consumer.flush(Level::Synced, now_ns)?;
        Ok(position)
    }

    /// Goes to where the configuration has it begin.
    fn begin(&mut self, meta: &ConsumerMeta, reader: &Reader) -> Result<(), ReadError> {
        let (first, last) = (reader.summary().first.seq, reader.summary().last.seq);
        let end = last.saturating_add(1);
        let filters = self.filters();
        let start = match meta.deliver_policy {
            DeliverPolicy::All => first,
            DeliverPolicy::New => end,
            DeliverPolicy::Last => reader.previous_seq(&filters, last)?.unwrap_or(end),
            DeliverPolicy::LastPerSubject => {
                self.lasts = reader.last_of_each(&filters, last, None)?.into();
                end
            }
            DeliverPolicy::ByStartSequence => meta.opt_start_seq,
            DeliverPolicy::ByStartTime => match meta.opt_start_time_ns {
                Some(time_ns) => reader.seq_at(time_ns)?,
                None => first,
            },
        };
        self.next_seq = start.max(first).max(1);
        Ok(())
    }

    pub fn set_filters(&mut self, filters: &[String]) {
        self.filters = filters.to_vec();
        self.counted = None;
    }

    fn filters(&self) -> Vec<&[u8]> {
        self.filters.iter().map(String::as_bytes).collect()
    }

    /// The next message, where there is one. It stays the next until it is [passed](Self::pass).
    pub fn next(&mut self, reader: &Reader) -> Result<Option<StoredMessage>, ReadError> {
        while let Some(&seq) = self.lasts.front() {
            if let Some(message) = self.read(reader.get(seq))? {
                return Ok(Some(message));
            }
            self.lasts.pop_front();
        }
        let next = reader.next(&self.filters(), self.next_seq);
        self.read(next)
    }

    /// A message that does not verify is told, and passed.
    fn read(
        &mut self,
        read: Result<StoredMessage, ReadError>,
    ) -> Result<Option<StoredMessage>, ReadError> {
        if let Err(ReadError::Corrupt { seq, .. }) = &read {
            self.go_behind(*seq);
            self.counted = None;
        }
        found(read)
    }

    /// From when on the message may come, where messages come at their own pace.
    pub fn due_ns(&self, message: &StoredMessage) -> Option<i64> {
        let (stored_ns, delivered_ns) = self.replay.as_ref()?.before?;
        let pause_ns = message.timestamp_ns.saturating_sub(stored_ns).max(0);
        Some(delivered_ns.saturating_add(pause_ns))
    }

    /// The message was delivered for the first time.
    pub fn pass(&mut self, message: &StoredMessage, now_ns: i64) {
        self.go_behind(message.seq);
        if let Some((_, count)) = &mut self.counted {
            *count = count.saturating_sub(1);
        }
        self.replay = self.replay.take().and_then(|replay| {
            (message.seq < replay.last_seq).then_some(Replay {
                before: Some((message.timestamp_ns, now_ns)),
                ..replay
            })
        });
    }

    fn go_behind(&mut self, seq: u64) {
        while self.lasts.front().is_some_and(|last| *last <= seq) {
            self.lasts.pop_front();
        }
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
    }

    /// How many messages are still to come. It is counted anew only where the stream changed since.
    pub fn count(&mut self, reader: &Reader) -> Result<u64, ReadError> {
        let summary = reader.summary();
        if let Some((at, count)) = &self.counted
            && *at == summary
        {
            return Ok(*count);
        }
        let gone = reader.gone(self.lasts.iter().copied());
        self.lasts.retain(|seq| gone.binary_search(seq).is_err());
        let behind = reader.count(&self.filters(), self.next_seq)?;
        let count = self.lasts.len() as u64 + behind;
        self.counted = Some((summary, count));
        Ok(count)
    }
}

/// Takes a consumer back that is ahead of its stream, which lost its end: what is stored there anew was not delivered.
fn fall_back(consumer: &mut Consumer, last_seq: u64) -> Result<(), DispatchError> {
    let meta = consumer.config();
    let start = match meta.deliver_policy {
        // It may begin at a sequence that is still to come.
        DeliverPolicy::ByStartSequence => meta.opt_start_seq.saturating_sub(1),
        _ => 0,
    };
    let end = last_seq.max(start);
    if consumer.state().delivered.stream <= end {
        return Ok(());
    }
    let mut state = consumer.state().clone();
    state.delivered.stream = end;
    let _ = state.pending.split_off(&end.saturating_add(1));
    let _ = state.redelivered.split_off(&end.saturating_add(1));
    state.ack_floor.stream = state.ack_floor.stream.min(end);
    if state.pending.is_empty() {
        state.ack_floor = state.delivered;
    }
    Ok(consumer.force_update(state)?)
}
