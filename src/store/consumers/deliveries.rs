//! What deliveries and acknowledgements make of a consumer's state. No file, no key, no clock.

use std::ops::Bound;

use super::error::{ConsumerError, StateFault};
use crate::format::consumer::{ConsumerState, Pending, SequencePair};
use crate::format::meta::{AckPolicy, ConsumerMeta};

/// From here on a stream sequence does not come back out of the state's file.
const STREAM_SEQUENCE_END: u64 = 1 << 63;

/// What of a consumer's configuration decides how its state goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckRules {
    /// How deliveries are acknowledged.
    pub policy: AckPolicy,
    /// After how many deliveries a message is given up; 0 for never.
    pub max_deliver: u64,
}

impl AckRules {
    /// The rules of a configuration.
    #[must_use]
    pub fn of(meta: &ConsumerMeta) -> Self {
        AckRules {
            policy: meta.ack_policy,
            max_deliver: u64::try_from(meta.max_deliver).unwrap_or(0),
        }
    }

    /// Whether an acknowledgement stands for all messages before it, too.
    fn acks_all(self) -> bool {
        matches!(self.policy, AckPolicy::All | AckPolicy::FlowControl)
    }
}

/// The state of a consumer and the rules by which it goes on.
///
/// What waits is ordered by stream sequence, so that no call looks at more messages than it takes away.
#[derive(Debug, Clone)]
pub struct Deliveries {
    rules: AckRules,
    state: ConsumerState,
    revision: u64,
}

impl Deliveries {
    /// Goes on from `state`, which is taken as it is: a file may hold what no update would pass.
    #[must_use]
    pub fn new(rules: AckRules, state: ConsumerState) -> Self {
        Deliveries {
            rules,
            state,
            revision: 0,
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &ConsumerState {
        &self.state
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> AckRules {
        self.rules
    }

    /// Goes by other rules from here on; what is there stays as it is.
    pub fn set_rules(&mut self, rules: AckRules) {
        self.rules = rules;
    }

    /// A number that grows with every change of the state: what was written at one revision need not be written again at the
    /// same.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Message `delivered.stream` was delivered as the consumer's number `delivered.consumer`, at `timestamp_ns`, for the
    /// `count`th time.
    ///
    /// A delivery that is acknowledged already is passed over: the leader of a replicated consumer may see old ones again. Once
    /// a message was delivered more often than the rules allow it no longer waits.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::NoAckPolicy`] without acknowledgements and for any count but 1; [`ConsumerError::SequenceTooHigh`].
    pub fn deliver(
        &mut self,
        delivered: SequencePair,
        count: u64,
        timestamp_ns: i64,
    ) -> Result<(), ConsumerError> {
        let acked = self.rules.policy != AckPolicy::None;
        if !acked && count != 1 {
            return Err(ConsumerError::NoAckPolicy);
        }
        if delivered.consumer <= self.state.ack_floor.consumer {
            return Ok(());
        }
        check_sequence(delivered.stream)?;
        let state = &mut self.state;
        if !acked {
            // Each number of the floor moves only with its own number of the deliveries.
            if delivered.consumer > state.delivered.consumer {
                state.delivered.consumer = delivered.consumer;
                state.ack_floor.consumer = delivered.consumer;
            }
            if delivered.stream > state.delivered.stream {
                state.delivered.stream = delivered.stream;
                state.ack_floor.stream = delivered.stream;
            }
        } else {
            if delivered.stream > state.delivered.stream {
                let pending = Pending {
                    consumer_sequence: delivered.consumer,
                    timestamp_ns,
                };
                state.pending.insert(delivered.stream, pending);
            } else if let Some(pending) = state.pending.get_mut(&delivered.stream) {
                pending.timestamp_ns = timestamp_ns;
            }
            state.delivered.consumer = state.delivered.consumer.max(delivered.consumer);
            state.delivered.stream = state.delivered.stream.max(delivered.stream);
            if count > 1 {
                let limit = self.rules.max_deliver;
                if limit > 0 && count > limit {
                    state.pending.remove(&delivered.stream);
                }
                let again = state.redelivered.entry(delivered.stream).or_insert(0);
                *again = (*again).max(count - 1);
            }
        }
        self.changed();
        Ok(())
    }

    /// The delivery `acked.consumer` of message `acked.stream` is acknowledged.
    ///
    /// What is acknowledged already is passed over.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::NoAckPolicy`]; [`ConsumerError::NotPending`], after which the message no longer counts as delivered more
    /// than once.
    pub fn ack(&mut self, acked: SequencePair) -> Result<(), ConsumerError> {
        if self.rules.policy == AckPolicy::None {
            return Err(ConsumerError::NoAckPolicy);
        }
        let sequence = acked.stream;
        if self.state.redelivered.remove(&sequence).is_some() {
            self.changed();
        }
        let all = self.rules.acks_all();
        let floor = self.state.ack_floor;
        // Older servers may have moved the floor beyond the numbers of what waits, so it tells nothing where all are meant.
        let is_old = match all {
            true => sequence <= floor.stream,
            false => acked.consumer <= floor.consumer,
        };
        if is_old {
            return Ok(());
        }
        let Some(pending) = self.state.pending.get(&sequence) else {
            return Err(ConsumerError::NotPending { sequence });
        };
        // The first delivery's number, where it is known: a later one would acknowledge what was delivered in between.
        let first = match pending.consumer_sequence {
            0 => acked.consumer,
            first => acked.consumer.min(first),
        };
        let acked = SequencePair {
            consumer: first,
            stream: sequence,
        };
        match all {
            true => self.ack_up_to(acked),
            false => self.ack_one(acked),
        }
        self.rest();
        self.changed();
        Ok(())
    }

    /// The message left the stream: it no longer waits, alone whatever the policy, and nothing is remembered of it.
    pub fn forget(&mut self, sequence: u64) {
        let again = self.state.redelivered.remove(&sequence);
        if self.withdraw(sequence) || again.is_some() {
            self.changed();
        }
    }

    /// The message was delivered as often as the rules allow: it no longer waits, and that it was delivered so often is
    /// remembered for as long as it is in the stream.
    pub fn give_up(&mut self, sequence: u64) {
        if self.withdraw(sequence) {
            let again = self.state.redelivered.entry(sequence).or_insert(0);
            *again = (*again).max(self.rules.max_deliver);
            self.changed();
        }
    }

    /// The message waits no longer; whether it did.
    fn withdraw(&mut self, sequence: u64) -> bool {
        let Some(pending) = self.state.pending.get(&sequence) else {
            return false;
        };
        let first = pending.consumer_sequence;
        self.ack_one(SequencePair {
            consumer: first,
            stream: sequence,
        });
        self.rest();
        true
    }

    /// With nothing waiting all that was delivered counts as acknowledged.
    fn rest(&mut self) {
        if self.state.pending.is_empty() {
            self.state.ack_floor = self.state.delivered;
        }
    }

    /// The message and all before it are acknowledged.
    fn ack_up_to(&mut self, acked: SequencePair) {
        let state = &mut self.state;
        let floor = std::mem::replace(&mut state.ack_floor, acked);
        let gap = acked.stream.saturating_sub(floor.stream);
        // With more sequences to go than messages waiting, the server goes by those that wait and forgets of no other that it
        // was delivered more than once.
        let by_pending = gap > state.pending.len() as u64;
        let lower = match by_pending {
            true => Bound::Unbounded,
            false => Bound::Excluded(floor.stream),
        };
        let range = (lower, Bound::Included(acked.stream));
        let waiting: Vec<u64> = state.pending.range(range).map(|(seq, _)| *seq).collect();
        for sequence in waiting {
            state.pending.remove(&sequence);
            state.redelivered.remove(&sequence);
        }
        if !by_pending {
            let again = state.redelivered.range(range);
            for sequence in again.map(|(seq, _)| *seq).collect::<Vec<u64>>() {
                state.redelivered.remove(&sequence);
            }
        }
    }

    /// The message alone is acknowledged.
    fn ack_one(&mut self, acked: SequencePair) {
        let state = &mut self.state;
        state.pending.remove(&acked.stream);
        if state.ack_floor.consumer.checked_add(1) != Some(acked.consumer) {
            return;
        }
        state.ack_floor = acked;
        if state.delivered.consumer <= acked.consumer {
            return;
        }
        // What waits next bounds the floor: no sequence between was delivered.
        let behind = (Bound::Excluded(acked.stream), Bound::Unbounded);
        let next = state.pending.range(behind).next();
        if let Some((sequence, pending)) = next {
            let is_delivered = *sequence <= state.delivered.stream;
            if is_delivered && pending.consumer_sequence > 0 {
                state.ack_floor = SequencePair {
                    consumer: pending.consumer_sequence - 1,
                    stream: sequence - 1,
                };
            }
        }
    }

    /// Takes the state over.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::BadState`], [`ConsumerError::SequenceTooHigh`]; [`ConsumerError::OldUpdate`] where deliveries or
    /// acknowledgements would be taken back.
    pub fn update(&mut self, state: ConsumerState) -> Result<(), ConsumerError> {
        check_state(&state)?;
        let held = &self.state;
        let is_old = state.delivered.consumer < held.delivered.consumer
            || state.ack_floor.stream < held.ack_floor.stream;
        if is_old {
            return Err(ConsumerError::OldUpdate {
                held_delivered: held.delivered.consumer,
                given_delivered: state.delivered.consumer,
                held_floor: held.ack_floor.stream,
                given_floor: state.ack_floor.stream,
            });
        }
        self.replace(state);
        Ok(())
    }

    /// Takes the state over, even where it is behind: a stream that lost its end takes its consumers back.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::BadState`], [`ConsumerError::SequenceTooHigh`].
    pub fn force_update(&mut self, state: ConsumerState) -> Result<(), ConsumerError> {
        check_state(&state)?;
        self.replace(state);
        Ok(())
    }

    /// Delivery begins behind `sequence`, as if all up to it had been delivered and acknowledged.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::SequenceTooHigh`].
    pub fn set_starting(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        check_sequence(sequence)?;
        self.state.delivered.stream = sequence;
        self.state.ack_floor.stream = sequence;
        self.changed();
        Ok(())
    }

    /// Delivery goes on behind `sequence`, unless it is further already. Without acknowledgements all up to it count as
    /// acknowledged.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::SequenceTooHigh`].
    pub fn update_starting(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        check_sequence(sequence)?;
        if sequence > self.state.delivered.stream {
            self.state.delivered.stream = sequence;
            if self.rules.policy == AckPolicy::None {
                self.state.ack_floor.stream = sequence;
            }
        }
        self.changed();
        Ok(())
    }

    /// Forgets everything; delivery begins behind `sequence`.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::SequenceTooHigh`], with nothing forgotten.
    pub fn reset(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        check_sequence(sequence)?;
        self.replace(ConsumerState::default());
        self.set_starting(sequence)
    }

    /// Forgets of every message below `sequence` that it was delivered more than once.
    pub fn trim(&mut self, sequence: u64) {
        let kept = self.state.redelivered.split_off(&sequence);
        if !std::mem::replace(&mut self.state.redelivered, kept).is_empty() {
            self.changed();
        }
    }

    fn replace(&mut self, state: ConsumerState) {
        self.state = state;
        self.changed();
    }

    fn changed(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }
}

fn check_sequence(sequence: u64) -> Result<(), ConsumerError> {
    match sequence < STREAM_SEQUENCE_END {
        true => Ok(()),
        false => Err(ConsumerError::SequenceTooHigh { sequence }),
    }
}

fn check_state(state: &ConsumerState) -> Result<(), ConsumerError> {
    let ConsumerState {
        ack_floor,
        delivered,
        pending,
        ..
    } = state;
    if ack_floor.consumer > delivered.consumer {
        return Err(ConsumerError::BadState(StateFault::ConsumerFloor {
            floor: ack_floor.consumer,
            delivered: delivered.consumer,
        }));
    }
    let (floor, delivered) = (ack_floor.stream, delivered.stream);
    if floor > delivered {
        return Err(ConsumerError::BadState(StateFault::StreamFloor {
            floor,
            delivered,
        }));
    }
    let outermost = [pending.first_key_value(), pending.last_key_value()];
    for (&sequence, _) in outermost.into_iter().flatten() {
        if sequence <= floor || sequence > delivered {
            return Err(ConsumerError::BadState(StateFault::Pending {
                sequence,
                floor,
                delivered,
            }));
        }
    }
    check_sequence(delivered)
}

#[cfg(test)]
mod tests;
