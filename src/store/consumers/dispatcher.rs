//! What a consumer gets next, and what becomes of it.

use super::consumer::Consumer;
use super::error::{ConsumerError, DispatchError};
use super::position::{Position, found};
use super::redelivery::{Redelivery, WaitRules};
use crate::format::consumer::SequencePair;
use crate::format::duration::parse_rfc3339;
use crate::format::meta::{AckPolicy, ConsumerMeta};
use crate::store::{Level, ReadError, Reader, StoredMessage};

/// A message for a consumer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: StoredMessage,
    /// The delivery's number among all of the consumer.
    pub consumer_seq: u64,
    /// How often the message was delivered, this time included.
    pub count: u64,
}

impl Delivery {
    /// The numbers by which it is acknowledged.
    #[must_use]
    pub fn sequences(&self) -> SequencePair {
        SequencePair {
            consumer: self.consumer_seq,
            stream: self.message.seq,
        }
    }
}

/// Says which message a consumer gets next, by the server's rules, and keeps in its state that it got it.
///
/// What waited too long for its acknowledgement comes first, then what was not delivered yet, by the filters, from where the
/// configuration has the consumer begin. It takes no clock and starts no thread: [`next`](Self::next) is called when somebody wants a
/// message, and once more when there may be one, after something was stored or acknowledged or at [`next_due`](Self::next_due).
///
/// Changes are in memory, [`Level::Buffered`], until [`flush`](Self::flush).
///
/// Its part of the configuration is: where to begin, filters, policy and time of acknowledgement, how often and how many, the pace, and
/// until when it is paused. To whom messages go, groups, rates and headers without bodies are the broker's.
///
/// ```
/// # use std::sync::Arc;
/// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
/// # use jetsam::format::meta::{ConsumerMeta, StreamMeta};
/// # use jetsam::living::Idle;
/// # use jetsam::store::{Level, NewMessage, Store, StoreOptions};
/// use jetsam::store::consumers::{Consumer, Dispatcher};
/// # const SECOND: i64 = 1_000_000_000;
/// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
/// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
/// # let now_ns = 1_767_225_600 * SECOND;
/// # let options = StoreOptions::new(config, now_ns);
/// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
/// let mut writer = store.writer().expect("nobody took it before");
/// for body in [b"one coffee", b"some cakes"] {
///     writer.append(&NewMessage { subject: b"orders.new", headers: b"", body }, now_ns)?;
/// }
/// let config = br#"{"durable_name":"C","ack_policy":"explicit","ack_wait":10000000000}"#;
/// let config = ConsumerMeta::parse(config)?;
/// let consumer = Consumer::open(&store.consumer_place(), "C", Some(&config), now_ns)?;
/// let mut dispatcher = Dispatcher::new(consumer, store.reader(), now_ns)?;
///
/// let first = dispatcher.next(now_ns)?.expect("a message");
/// assert_eq!((first.message.body(), first.count), (&b"one coffee"[..], 1));
/// assert_eq!(dispatcher.pending_count()?, 1);
/// let second = dispatcher.next(now_ns)?.expect("a message");
/// dispatcher.ack(second.sequences())?;
/// assert!(dispatcher.next(now_ns)?.is_none());
/// // Nobody acknowledged the first one.
/// assert_eq!(dispatcher.next_due(), Some(now_ns + 10 * SECOND));
/// let again = dispatcher.next(now_ns + 10 * SECOND)?.expect("a message");
/// assert_eq!((again.message.seq, again.count), (1, 2));
/// dispatcher.ack(again.sequences())?;
/// dispatcher.flush(Level::Synced, now_ns + 10 * SECOND)?;
/// assert_eq!(dispatcher.next_due(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dispatcher {
    consumer: Consumer,
    reader: Reader,
    position: Position,
    rules: WaitRules,
    redelivery: Redelivery,
    paused_until_ns: Option<i64>,
    /// When the next message may come that was too early at the last look.
    held_until_ns: Option<i64>,
    /// Sequences without a message when it was last looked whether those that wait are still there.
    settled_gone: Option<u64>,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dispatcher({})", self.consumer.name())
    }
}

impl Dispatcher {
    /// Goes on where the state of `consumer` ends; where it has none it begins by its configuration, and that is durable when this
    /// returns. `reader` is of its stream.
    ///
    /// What waited for its acknowledgement is due by the times in the state. A consumer that is ahead of its stream, which lost its
    /// end in a crash, is taken back.
    ///
    /// # Errors
    ///
    /// [`DispatchError`].
    pub fn new(mut consumer: Consumer, reader: Reader, now_ns: i64) -> Result<Self, DispatchError> {
        let position = Position::of(&mut consumer, &reader, now_ns)?;
        let rules = WaitRules::of(consumer.config());
        Ok(Dispatcher {
            redelivery: Redelivery::of(&rules, consumer.state()),
            paused_until_ns: parse_rfc3339(&consumer.config().pause_until).ok(),
            held_until_ns: None,
            settled_gone: None,
            consumer,
            reader,
            position,
            rules,
        })
    }

    /// The consumer, with its configuration and state.
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// The next message, if there is one now. It counts as delivered when this returns.
    ///
    /// # Errors
    ///
    /// [`DispatchError`]. A message that does not verify is told once, and passed over; one that waits for its acknowledgement goes on
    /// waiting.
    pub fn next(&mut self, now_ns: i64) -> Result<Option<Delivery>, DispatchError> {
        if self.paused_until_ns.is_some_and(|until| until > now_ns) {
            return Ok(None);
        }
        (self.paused_until_ns, self.held_until_ns) = (None, None);
        self.drop_outside()?;
        if let Some(again) = self.next_again(now_ns)? {
            return Ok(Some(again));
        }
        if self.is_stalled() {
            self.settle()?;
        }
        if self.is_stalled() {
            return Ok(None);
        }
        let Some(message) = self.position.next(&self.reader)? else {
            return Ok(None);
        };
        let due_ns = self.position.due_ns(&message);
        self.held_until_ns = due_ns.filter(|due_ns| *due_ns > now_ns);
        if self.held_until_ns.is_some() {
            return Ok(None);
        }
        let delivery = self.deliver(message, 1, now_ns)?;
        self.position.pass(&delivery.message, now_ns);
        Ok(Some(delivery))
    }

    /// What waited too long, and may be delivered once more.
    fn next_again(&mut self, now_ns: i64) -> Result<Option<Delivery>, DispatchError> {
        while let Some((_, seq)) = self.redelivery.first().filter(|(due, _)| *due <= now_ns) {
            let state = self.consumer.state();
            let again = state.redelivered.get(&seq).copied().unwrap_or(0);
            let count = again.saturating_add(2);
            if !self.reader.gone([seq].into_iter()).is_empty() {
                self.forget(seq)?;
            } else if !self.rules.allows_delivery(count) {
                self.change(seq, |consumer| consumer.give_up(seq))?;
            } else {
                match found(self.reader.get(seq)) {
                    Ok(Some(message)) => return self.deliver(message, count, now_ns).map(Some),
                    Ok(None) => self.forget(seq)?,
                    Err(error) => {
                        if matches!(error, ReadError::Corrupt { .. }) {
                            self.wait_anew(seq, now_ns)?;
                        }
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(None)
    }

    fn deliver(
        &mut self,
        message: StoredMessage,
        count: u64,
        now_ns: i64,
    ) -> Result<Delivery, DispatchError> {
        let delivered = self.consumer.state().delivered.consumer;
        let delivery = Delivery {
            consumer_seq: delivered.saturating_add(1),
            message,
            count,
        };
        let sequences = delivery.sequences();
        self.change(sequences.stream, |consumer| {
            consumer.deliver(sequences, count, now_ns)
        })?;
        Ok(delivery)
    }

    /// The delivery `acked.consumer` of message `acked.stream` is acknowledged; where the policy is to acknowledge all, all before it,
    /// too. What is acknowledged already is passed over.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::NotPending`], [`ConsumerError::NoAckPolicy`], [`ConsumerError::Closed`].
    pub fn ack(&mut self, acked: SequencePair) -> Result<(), ConsumerError> {
        let state = self.consumer.state();
        let seq = acked.stream;
        if self.consumer.config().ack_policy == AckPolicy::Explicit {
            // The message alone says what is meant, whichever of its deliveries is named.
            let pending = state.pending.get(&seq);
            let first = pending.map(|pending| pending.consumer_sequence);
            let acked = SequencePair {
                consumer: first.unwrap_or(acked.consumer),
                stream: seq,
            };
            return self.change(seq, |consumer| consumer.ack(acked));
        }
        let waiting: Vec<u64> = state.pending.range(..=seq).map(|(seq, _)| *seq).collect();
        // One that left the stream meanwhile stands for those before it all the same.
        let last = waiting.last().filter(|_| seq <= state.delivered.stream);
        let acked = SequencePair {
            stream: last.copied().unwrap_or(seq),
            ..acked
        };
        self.change_all(&waiting, |consumer| consumer.ack(acked))
    }

    /// The message is not wanted again. The server takes that for an acknowledgement, and so does this.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn terminate(&mut self, acked: SequencePair) -> Result<(), ConsumerError> {
        self.ack(acked)
    }

    /// The message `seq` could not be worked off: it is due again in `delay_ns`, at once where that is 0.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn nak(&mut self, seq: u64, delay_ns: i64, now_ns: i64) -> Result<(), ConsumerError> {
        let wait_ns = self.rules.wait_ns(self.consumer.state(), seq);
        let due_ns = now_ns.saturating_add(delay_ns.max(0));
        self.wait_anew(seq, due_ns.saturating_sub(wait_ns))
    }

    /// The message `seq` is being worked off: it waits as long as if it were delivered now.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn progress(&mut self, seq: u64, now_ns: i64) -> Result<(), ConsumerError> {
        self.wait_anew(seq, now_ns)
    }

    /// The wait of a message counts from `from_ns`.
    fn wait_anew(&mut self, seq: u64, from_ns: i64) -> Result<(), ConsumerError> {
        if self.consumer.config().ack_policy == AckPolicy::None {
            return Err(ConsumerError::NoAckPolicy);
        }
        let state = self.consumer.state();
        if !state.pending.contains_key(&seq) {
            return Err(ConsumerError::NotPending { sequence: seq });
        }
        let delivered = SequencePair {
            stream: seq,
            ..state.delivered
        };
        self.change(seq, |consumer| consumer.deliver(delivered, 1, from_ns))
    }

    /// Changes the state where it concerns one message.
    fn change(
        &mut self,
        seq: u64,
        make: impl FnOnce(&mut Consumer) -> Result<(), ConsumerError>,
    ) -> Result<(), ConsumerError> {
        self.change_all(&[seq], make)
    }

    /// Changes the state where it concerns these messages, and when they are due with it.
    fn change_all(
        &mut self,
        seqs: &[u64],
        make: impl FnOnce(&mut Consumer) -> Result<(), ConsumerError>,
    ) -> Result<(), ConsumerError> {
        for seq in seqs {
            let state = self.consumer.state();
            self.redelivery.remove(&self.rules, state, *seq);
        }
        let made = make(&mut self.consumer);
        for seq in seqs {
            let state = self.consumer.state();
            self.redelivery.insert(&self.rules, state, *seq);
        }
        made
    }

    fn forget(&mut self, seq: u64) -> Result<(), ConsumerError> {
        self.change(seq, |consumer| consumer.forget(seq))
    }

    /// Whether as many messages wait for their acknowledgement as may.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        let count = self.consumer.state().pending.len();
        !self.rules.allows_pending(count)
    }

    /// Waits no longer for messages that left the stream. [`next`](Self::next) does so where it matters; who shows how many wait calls
    /// this before.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Closed`].
    pub fn settle(&mut self) -> Result<(), ConsumerError> {
        self.drop_outside()?;
        let summary = self.reader.summary();
        let gone = summary.last.seq.saturating_sub(summary.message_count);
        if self.settled_gone.replace(gone) != Some(gone) {
            let waiting = self.consumer.state().pending.keys().copied();
            self.forget_all(&self.reader.gone(waiting))?;
        }
        Ok(())
    }

    /// Forgets what lies outside the stream: before its first message, or behind its last.
    fn drop_outside(&mut self) -> Result<(), ConsumerError> {
        let summary = self.reader.summary();
        let (first, behind) = (summary.first.seq, summary.last.seq.saturating_add(1));
        let pending = &self.consumer.state().pending;
        let outside = pending.range(..first).chain(pending.range(behind..));
        let outside: Vec<u64> = outside.map(|(seq, _)| *seq).collect();
        self.forget_all(&outside)?;
        let again = self.consumer.state().redelivered.first_key_value();
        if again.is_some_and(|(seq, _)| *seq < first) {
            self.consumer.trim(first)?;
        }
        Ok(())
    }

    fn forget_all(&mut self, seqs: &[u64]) -> Result<(), ConsumerError> {
        seqs.iter().try_for_each(|seq| self.forget(*seq))
    }

    /// How many messages were not delivered yet and are to come.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn pending_count(&mut self) -> Result<u64, ReadError> {
        self.position.count(&self.reader)
    }

    /// When there may be a message though nothing is stored and nothing acknowledged: the next one is due again, it is time for the next
    /// of those that come at their own pace, or the pause is over. A time that is over is told until [`next`](Self::next) is called.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        let again = self.redelivery.first().map(|(due_ns, _)| due_ns);
        let due = again.into_iter().chain(self.held_until_ns).min();
        due.max(self.paused_until_ns)
    }

    /// Raises the state to a level; see [`Consumer::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn flush(&mut self, level: Level, now_ns: i64) -> Result<(), ConsumerError> {
        self.consumer.flush(level, now_ns)
    }

    /// Takes another configuration over; see [`Consumer::update_config`]. Filters and waits count from here on, also for what waits
    /// already; where it stands stays.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn update_config(&mut self, config: &ConsumerMeta) -> Result<(), ConsumerError> {
        self.consumer.update_config(config)?;
        let config = self.consumer.config();
        self.position.set_filters(&config.filter_subjects);
        self.paused_until_ns = parse_rfc3339(&config.pause_until).ok();
        self.rules = WaitRules::of(config);
        self.redelivery = Redelivery::of(&self.rules, self.consumer.state());
        Ok(())
    }

    /// Raises the state to a level and takes no more calls; see [`Consumer::close`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close(&mut self, level: Level, now_ns: i64) -> Result<(), ConsumerError> {
        self.consumer.close(level, now_ns)
    }

    /// Removes the consumer from disk; see [`Consumer::delete`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn delete(&mut self) -> Result<(), ConsumerError> {
        self.consumer.delete()
    }
}

#[cfg(test)]
mod tests;
