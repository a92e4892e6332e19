//! What a store has to hold, kept the simplest way.

use std::collections::BTreeMap;

use crate::format::headers;
use crate::format::record::record_length;
use crate::format::subject;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMessage {
    /// Subject.
    pub subject: String,
    /// Header block.
    pub headers: Vec<u8>,
    /// Body.
    pub body: Vec<u8>,
    /// Time, nanoseconds.
    pub timestamp_ns: i64,
}

impl ModelMessage {
    fn length(&self) -> u64 {
        record_length(self.subject.len(), self.headers.len(), self.body.len()) as u64
    }

    /// Whether its own time to live is over.
    #[must_use]
    pub fn is_over(&self, now_ns: i64) -> bool {
        let ttl = headers::message_ttl(&self.headers).unwrap_or(0);
        ttl > 0 && headers::expiry_ns(self.timestamp_ns, ttl) <= now_ns
    }

    fn lasts(&self) -> bool {
        headers::message_ttl(&self.headers).is_ok_and(|ttl| ttl < 0)
    }
}

/// Limits, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelLimits {
    /// Messages.
    pub max_messages: u64,
    /// Bytes.
    pub max_bytes: u64,
    /// Messages of one subject.
    pub max_messages_per_subject: u64,
    /// Age in nanoseconds.
    pub max_age_ns: i64,
    /// New messages are refused rather than old ones dropped.
    pub refuses_new: bool,
}

/// A stream as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelStream {
    /// Live messages by sequence.
    pub messages: BTreeMap<u64, ModelMessage>,
    /// Last sequence.
    pub last_seq: u64,
    /// Limits.
    pub limits: ModelLimits,
    /// What happened together or not at all, first things first.
    pub batches: Vec<ModelBatch>,
}

/// Changes that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelBatch {
    /// Sequences of its messages.
    pub appended: Vec<u64>,
    /// Sequences it removed.
    pub removed: Vec<u64>,
}

impl ModelStream {
    /// Bytes of all records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.messages.values().map(ModelMessage::length).sum()
    }

    /// First sequence.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        let first = self.messages.keys().next().copied();
        first.unwrap_or(self.last_seq + 1)
    }

    fn of_subject(&self, subject: &str) -> Vec<u64> {
        let same = self
            .messages
            .iter()
            .filter(|(_, message)| message.subject == subject);
        same.map(|(seq, _)| *seq).collect()
    }

    /// Appends; whether it was let in.
    pub fn append(&mut self, message: ModelMessage) -> bool {
        let limits = self.limits;
        let same = self.of_subject(&message.subject);
        let most = limits.max_messages_per_subject;
        let replaces = most > 0 && same.len() as u64 >= most;
        if limits.refuses_new {
            let full = limits.max_messages > 0 && self.messages.len() as u64 >= limits.max_messages;
            let too_much =
                limits.max_bytes > 0 && self.bytes() + message.length() > limits.max_bytes;
            let oldest = same.first().and_then(|seq| self.messages.get(seq));
            let makes_room =
                replaces && oldest.is_some_and(|oldest| oldest.length() >= message.length());
            if full && !replaces || too_much && !makes_room {
                return false;
            }
        }
        self.last_seq += 1;
        let subject = message.subject.clone();
        self.messages.insert(self.last_seq, message);
        self.enforce_subject(&subject);
        self.enforce_totals();
        true
    }

    /// Removes and appends at once. Nothing is refused: only a stream that drops old messages takes it.
    pub fn commit(&mut self, removed: &[u64], appended: &[ModelMessage]) {
        let gone = removed
            .iter()
            .filter(|seq| self.messages.remove(seq).is_some());
        let removed = gone.copied().collect();
        let first = self.last_seq + 1;
        for message in appended {
            self.last_seq += 1;
            self.messages.insert(self.last_seq, message.clone());
        }
        self.batches.push(ModelBatch {
            appended: (first..=self.last_seq).collect(),
            removed,
        });
    }

    /// Drops what these messages drive out.
    pub fn enforce_behind(&mut self, appended: &[ModelMessage]) {
        for message in appended {
            self.enforce_subject(&message.subject);
            self.enforce_totals();
        }
    }

    fn enforce_subject(&mut self, subject: &str) {
        let most = self.limits.max_messages_per_subject as usize;
        let same = self.of_subject(subject);
        if most > 0 && same.len() > most {
            for seq in same.iter().take(same.len() - most) {
                self.messages.remove(seq);
            }
        }
    }

    fn enforce_totals(&mut self) {
        let limits = self.limits;
        let over = |model: &ModelStream| {
            limits.max_messages > 0 && model.messages.len() as u64 > limits.max_messages
                || limits.max_bytes > 0 && model.bytes() > limits.max_bytes
        };
        while !limits.refuses_new && over(self) && self.messages.pop_first().is_some() {}
    }

    /// Whether a store that holds `found` has no room for `message` by these limits: a removal that was not durable leaves its message
    /// to take another one's place.
    #[must_use]
    pub fn is_full_of(
        &self,
        found: &BTreeMap<u64, ModelMessage>,
        seq: u64,
        message: &ModelMessage,
    ) -> bool {
        let limits = self.limits;
        let reached = |most: u64, held: u64| most > 0 && held >= most;
        let same = found
            .values()
            .filter(|held| held.subject == message.subject);
        let mut bytes: u64 = found.values().map(ModelMessage::length).sum();
        // The oldest go first: what went after it was still there.
        if found.keys().all(|held| *held > seq) {
            let behind = self.messages.range(seq + 1..);
            let gone = behind.filter(|(later, _)| !found.contains_key(later));
            bytes += gone.map(|(_, later)| later.length()).sum::<u64>();
        }
        reached(limits.max_messages, found.len() as u64)
            || reached(limits.max_messages_per_subject, same.count() as u64)
            || limits.max_bytes > 0 && bytes + message.length() > limits.max_bytes
    }

    /// Takes other limits.
    pub fn set_limits(&mut self, limits: ModelLimits) {
        self.limits = limits;
        let subjects: Vec<String> = self
            .messages
            .values()
            .map(|message| message.subject.clone())
            .collect();
        for subject in subjects {
            self.enforce_subject(&subject);
        }
        self.enforce_totals();
    }

    /// What is due goes.
    pub fn expire(&mut self, now_ns: i64) {
        if self.limits.max_age_ns > 0 {
            let oldest_ns = now_ns - self.limits.max_age_ns;
            let aged: Vec<u64> = self
                .messages
                .iter()
                .take_while(|(_, message)| message.timestamp_ns <= oldest_ns)
                .filter(|(_, message)| !message.lasts())
                .map(|(seq, _)| *seq)
                .collect();
            for seq in aged {
                self.messages.remove(&seq);
            }
        }
        self.messages.retain(|_, message| !message.is_over(now_ns));
    }

    /// What a start takes: whatever is old enough, up to the first that is not, times to live or none.
    pub fn expire_at_open(&mut self, now_ns: i64) {
        if self.limits.max_age_ns > 0 {
            let oldest_ns = now_ns - self.limits.max_age_ns;
            while let Some(first) = self.messages.first_entry()
                && first.get().timestamp_ns <= oldest_ns
            {
                first.remove();
            }
        }
    }

    /// Removes what a filter matches, below a sequence, but for the last so many; how many.
    pub fn purge(&mut self, filter: &str, below: u64, keep: u64) -> u64 {
        let matching: Vec<u64> = self
            .messages
            .iter()
            .filter(|(_, message)| subject::matches(message.subject.as_bytes(), filter.as_bytes()))
            .map(|(seq, _)| *seq)
            .collect();
        let most = match keep {
            0 => matching.len(),
            keep => matching.len().saturating_sub(keep as usize),
        };
        let below = if below == 0 { u64::MAX } else { below };
        let gone = matching.into_iter().take(most).filter(|seq| *seq < below);
        gone.filter(|seq| self.messages.remove(seq).is_some())
            .count() as u64
    }

    /// Removes everything below `seq`.
    pub fn compact(&mut self, seq: u64) -> u64 {
        let before = self.messages.len();
        if seq == 0 || seq > self.last_seq {
            self.messages.clear();
            self.last_seq = self.last_seq.max(seq.saturating_sub(1));
        } else {
            self.messages.retain(|found, _| *found >= seq);
        }
        (before - self.messages.len()) as u64
    }

    /// Removes everything above `seq`.
    pub fn truncate(&mut self, seq: u64) {
        self.messages.retain(|found, _| *found <= seq);
        self.last_seq = seq;
        self.batches
            .retain(|batch| batch.appended.last().is_none_or(|last| *last <= seq));
    }
}
