//! Consumers with explicit acknowledgements, and their `o.dat`.

use super::setup::ConsumerSetup;
use crate::format::consumer::{ConsumerState, ConsumerVersion, Pending, SequencePair};

/// A consumer as its server has it.
#[derive(Debug, Clone)]
pub struct Consumer {
    pub setup: ConsumerSetup,
    pub state: ConsumerState,
    /// `o.dat` as it was last written, before it is sealed.
    pub written: Vec<u8>,
    on_disk: ConsumerState,
    changed: bool,
}

impl Consumer {
    /// A new one.
    pub fn new(setup: ConsumerSetup) -> Self {
        let state = ConsumerState::default();
        let written = state.encode(ConsumerVersion::V2, 0);
        Self {
            setup,
            on_disk: state.clone(),
            state,
            written,
            changed: false,
        }
    }

    /// Delivers a message.
    pub fn deliver(&mut self, seq: u64, now_ns: i64) {
        let delivered = &mut self.state.delivered;
        delivered.consumer += 1;
        delivered.stream = seq;
        let pending = Pending {
            consumer_sequence: delivered.consumer,
            timestamp_ns: now_ns,
        };
        self.state.pending.insert(seq, pending);
        self.changed = true;
    }

    /// Takes an acknowledgement.
    pub fn ack(&mut self, seq: u64) {
        let state = &mut self.state;
        let Some(pending) = state.pending.remove(&seq) else {
            return;
        };
        self.changed = true;
        if state.pending.is_empty() {
            state.ack_floor = state.delivered;
        } else if pending.consumer_sequence == state.ack_floor.consumer + 1 {
            state.ack_floor = match state.pending.first_key_value() {
                Some((next, waiting)) => SequencePair {
                    consumer: waiting.consumer_sequence - 1,
                    stream: next - 1,
                },
                None => SequencePair {
                    consumer: pending.consumer_sequence,
                    stream: seq,
                },
            };
        }
    }

    /// Whether it wants this message and has not acknowledged it.
    pub fn needs(&self, seq: u64, subject: &str) -> bool {
        let open = seq > self.state.delivered.stream || self.state.pending.contains_key(&seq);
        open && self.setup.wants(subject)
    }

    /// What `o.dat` says.
    pub fn on_disk(&self) -> &ConsumerState {
        &self.on_disk
    }

    /// Writes `o.dat`.
    pub fn flush(&mut self, now_ns: i64) {
        if std::mem::take(&mut self.changed) {
            let base_s = now_ns / super::setup::SECOND_NS;
            self.written = self.state.encode(ConsumerVersion::V2, base_s);
            self.on_disk = self.state.clone();
        }
    }
}
