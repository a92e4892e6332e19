//! What is due at a time: ages, times to live, schedules; and tidying up.

use super::error::{AppendError, ReadError, WriterFault};
use super::message::{NewMessage, StoredMessage};
use super::purge::PurgeRequest;
use super::schedules::{Firing, go_duration};
use super::writer::Writer;
use crate::format::headers;
use crate::format::seqset::SeqSet;

/// What [`Writer::maintain`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Messages that went by age or by their own time to live.
    pub expired_count: u64,
    /// Markers that were left where a subject's last message went.
    pub marker_count: u64,
    /// Schedules that fired.
    pub fired_count: u64,
    /// When something will be due next, as far as that is known: nanoseconds since the Unix epoch.
    pub next_ns: Option<i64>,
}

/// What [`Writer::tidy`] may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TidyBudget {
    /// Blocks that may be written anew.
    pub block_count: usize,
}

impl Default for TidyBudget {
    fn default() -> Self {
        TidyBudget {
            block_count: usize::MAX,
        }
    }
}

/// Whether a message is a marker of a deletion, which leaves no other when it goes.
fn is_marker(message: &StoredMessage) -> bool {
    let headers = message.headers();
    headers::find(headers, headers::MARKER_REASON).is_some_and(|value| !value.is_empty())
        || headers::find(headers, headers::KV_OPERATION) == Some(b"PURGE")
}

impl Writer {
    /// Does what is due at `now_ns`: messages go by their age and by their own time to live, schedules fire. Nothing of this happens
    /// by itself.
    ///
    /// Where the stream leaves markers, the last message of a subject is followed by one when it goes.
    ///
    /// # Errors
    ///
    /// [`AppendError`], of what had to be appended or else [`AppendError::Fault`].
    pub fn maintain(&mut self, now_ns: i64) -> Result<Maintained, AppendError> {
        self.check()?;
        let mut done = Maintained::default();
        self.expire_by_age(now_ns, &mut done)?;
        self.expire_by_ttl(now_ns, &mut done)?;
        self.fire_schedules(now_ns, &mut done)?;
        if done.expired_count + done.marker_count + done.fired_count > 0 {
            self.settle()?;
        }
        done.next_ns = self.next_due();
        Ok(done)
    }

    fn next_due(&self) -> Option<i64> {
        let live = self.shared.live.read();
        let by_age = match (live.settings.max_age_ns, live.state.totals.messages) {
            (0, _) | (_, 0) => None,
            (age, _) => Some(live.state.totals.first.timestamp_ns.saturating_add(age)),
        };
        let timers = live.state.timers.next_due_ns();
        [by_age, timers].into_iter().flatten().min()
    }

    fn expire_by_age(&mut self, now_ns: i64, done: &mut Maintained) -> Result<(), AppendError> {
        let (max_age_ns, markers) = {
            let live = self.shared.live.read();
            (live.settings.max_age_ns, live.settings.marker_ttl_ns > 0)
        };
        if max_age_ns == 0 {
            return Ok(());
        }
        let oldest_ns = now_ns.saturating_sub(max_age_ns);
        let mut from = 0;
        loop {
            if !markers && let Some(number) = self.aged_block(from, oldest_ns)? {
                self.begin()?;
                done.expired_count += self.drop_block(number)?;
                continue;
            }
            let reader = super::Reader::of(self.shared.clone());
            let message = match reader.next(&[], from) {
                Ok(message) if message.timestamp_ns <= oldest_ns => message,
                Ok(_) | Err(ReadError::Beyond { .. }) => return Ok(()),
                Err(error) => return Err(WriterFault::from(error).into()),
            };
            from = message.seq + 1;
            let lasts = headers::message_ttl(message.headers()).is_ok_and(|ttl| ttl < 0);
            if !lasts {
                self.expire(&message, now_ns, done)?;
            }
        }
    }

    /// What the server takes when it opens a stream: all that is old enough, up to the first message that is not.
    pub(super) fn expire_at_open(&mut self, now_ns: i64) -> Result<(), WriterFault> {
        let (max_age_ns, markers) = {
            let live = self.shared.live.read();
            (live.settings.max_age_ns, live.settings.marker_ttl_ns > 0)
        };
        if max_age_ns == 0 || markers {
            return Ok(());
        }
        let oldest_ns = now_ns.saturating_sub(max_age_ns);
        loop {
            let first = {
                let live = self.shared.live.read();
                let totals = live.state.totals;
                (totals.messages > 0).then_some(totals.first)
            };
            let Some(first) = first.filter(|first| first.timestamp_ns <= oldest_ns) else {
                return Ok(());
            };
            self.begin()?;
            match self.aged_block(first.seq, oldest_ns)? {
                Some(number) => _ = self.drop_block(number)?,
                None => _ = self.take_message(first.seq)?,
            }
        }
    }

    /// The block of the first message at or above `from`, where all of it is older than allowed and nothing in it has a time to live.
    fn aged_block(&self, from: u64, oldest_ns: i64) -> Result<Option<u32>, WriterFault> {
        let number = {
            let live = self.shared.live.read();
            let place = live.place_from(from);
            let mut rest = live.state.blocks.get(place..).unwrap_or_default().iter();
            let block = rest.find(|block| block.message_count > 0);
            let aged = block.filter(|block| {
                block.first.seq >= from
                    && block.ttl_count == 0
                    && block.message_count > 1
                    && block.last.timestamp_ns <= oldest_ns
                    && live.tail_number() != Some(block.number)
            });
            aged.map(|block| block.number)
        };
        let Some(number) = number else {
            return Ok(None);
        };
        let is_old = self.shared.whole(number)?.latest_ns() <= oldest_ns;
        Ok(is_old.then_some(number))
    }

    fn expire_by_ttl(&mut self, now_ns: i64, done: &mut Maintained) -> Result<(), AppendError> {
        let due: SeqSet = {
            let live = self.shared.live.read();
            live.state.timers.overdue(now_ns)
        };
        let reader = super::Reader::of(self.shared.clone());
        for seq in due.iter() {
            match reader.get(seq) {
                Ok(message) => self.expire(&message, now_ns, done)?,
                Err(ReadError::Deleted { .. } | ReadError::NotFound | ReadError::Beyond { .. }) => {
                    self.shared.live.write().state.timers.drop_expiries_of(seq);
                }
                Err(error) => return Err(WriterFault::from(error).into()),
            }
        }
        Ok(())
    }

    /// A message's time is over: it goes, or a marker takes its place.
    fn expire(
        &mut self,
        message: &StoredMessage,
        now_ns: i64,
        done: &mut Maintained,
    ) -> Result<(), AppendError> {
        let marker_ttl_ns = {
            let live = self.shared.live.read();
            if !live.state.holds(message.seq) {
                return Ok(());
            }
            let held = live.state.subjects.get(message.subject());
            match held.is_some_and(|held| held.total == 1) && !is_marker(message) {
                true => live.settings.marker_ttl_ns,
                false => 0,
            }
        };
        self.begin()?;
        if marker_ttl_ns == 0 {
            self.take_message(message.seq)?;
            done.expired_count += 1;
            return Ok(());
        }
        let ttl = go_duration(marker_ttl_ns / 1_000_000_000);
        let headers = format!(
            "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: {ttl}\r\nNats-Rollup: sub\r\n\r\n"
        );
        let marker = NewMessage {
            subject: message.subject(),
            headers: headers.as_bytes(),
            body: b"",
        };
        self.append_at(&marker, None, now_ns)?;
        done.marker_count += 1;
        self.roll_up(message.subject())
    }

    /// Leaves the last message of a subject.
    fn roll_up(&mut self, subject: &[u8]) -> Result<(), AppendError> {
        let request = PurgeRequest {
            filter: subject,
            below: 0,
            keep: 1,
        };
        self.purge_within(&request)
    }

    fn purge_within(&mut self, request: &PurgeRequest<'_>) -> Result<(), AppendError> {
        use super::error::RemoveError;
        match self.purge(request) {
            Ok(_) => Ok(()),
            Err(RemoveError::Fault(fault)) => Err(fault.into()),
            // A purge by subject meets no sequence.
            Err(_) => Ok(()),
        }
    }

    fn fire_schedules(&mut self, now_ns: i64, done: &mut Maintained) -> Result<(), AppendError> {
        let due = {
            let live = self.shared.live.read();
            live.state.timers.due_schedules(now_ns)
        };
        let reader = super::Reader::of(self.shared.clone());
        for (seq, fires_ns) in due {
            let firing = match reader.get(seq) {
                Ok(message) => Firing::of(&message, fires_ns, now_ns),
                Err(_) => None,
            };
            let Some(firing) = firing else {
                self.shared.live.write().state.timers.forget_schedule(seq);
                continue;
            };
            self.fire(&firing, now_ns)?;
            done.fired_count += 1;
        }
        Ok(())
    }

    fn fire(&mut self, firing: &Firing, now_ns: i64) -> Result<(), AppendError> {
        let sent = NewMessage {
            subject: &firing.target,
            headers: &firing.headers,
            body: &firing.body,
        };
        self.append_at(&sent, None, now_ns)?;
        if firing.rolls_up {
            self.roll_up(&firing.target)?;
        }
        if firing.is_last {
            let request = PurgeRequest {
                filter: &firing.scheduler,
                ..PurgeRequest::default()
            };
            self.purge_within(&request)?;
        }
        Ok(())
    }

    /// Makes everything durable and puts the files in order: full blocks are compressed where the stream says so, blocks that are
    /// mostly dead are written anew, emptied ones go. Whether something is left to do.
    ///
    /// # Errors
    ///
    /// [`WriterFault`].
    pub fn tidy(&mut self, budget: TidyBudget) -> Result<bool, WriterFault> {
        self.sync()?;
        let mut left = budget.block_count;
        let dead = self.mostly_dead();
        for number in &dead {
            if left == 0 {
                return Ok(true);
            }
            self.begin()?;
            self.shrink_block(*number)?;
            left -= 1;
        }
        while let Some(number) = self.uncompressed.pop() {
            if left == 0 {
                self.uncompressed.push(number);
                return Ok(true);
            }
            self.begin()?;
            self.compress_block(number)?;
            left -= 1;
        }
        self.emptied = self.shared.live.read().without_messages();
        self.drop_emptied()?;
        self.sync()?;
        if !self.has_index {
            self.write_side_files()?;
        }
        Ok(false)
    }
}
