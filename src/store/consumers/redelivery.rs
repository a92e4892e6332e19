//! When what waits for its acknowledgement is delivered again.

use std::collections::BTreeSet;

use crate::format::consumer::ConsumerState;
use crate::format::meta::ConsumerMeta;

/// What of a configuration says how long a delivery waits, and how many may wait.
#[derive(Debug, Clone)]
pub(super) struct WaitRules {
    ack_wait_ns: i64,
    backoff_ns: Vec<i64>,
    /// Any number where it is not positive.
    max_ack_pending: i64,
    /// Any number where it is not positive.
    max_deliver: i64,
}

impl WaitRules {
    pub fn of(meta: &ConsumerMeta) -> Self {
        let meta = meta.settings();
        WaitRules {
            ack_wait_ns: meta.ack_wait_ns,
            max_ack_pending: meta.max_ack_pending,
            max_deliver: meta.max_deliver,
            backoff_ns: meta.backoff_ns,
        }
    }

    /// How long the last delivery of a message waits for its acknowledgement.
    pub fn wait_ns(&self, state: &ConsumerState, seq: u64) -> i64 {
        let again = state.redelivered.get(&seq).copied().unwrap_or(0);
        let last = self.backoff_ns.len().saturating_sub(1);
        let at = usize::try_from(again).unwrap_or(last).min(last);
        let wait_ns = self.backoff_ns.get(at).copied();
        wait_ns.unwrap_or(self.ack_wait_ns).max(0)
    }

    pub fn allows_delivery(&self, count: u64) -> bool {
        self.max_deliver <= 0 || count <= self.max_deliver as u64
    }

    pub fn allows_pending(&self, count: usize) -> bool {
        self.max_ack_pending <= 0 || (count as u64) < self.max_ack_pending as u64
    }
}

/// Every message that waits, by the time at which it is delivered again.
///
/// The times are those of the state: who changes it takes the sequences concerned out before and puts them in again.
#[derive(Debug, Default)]
pub(super) struct Redelivery {
    due: BTreeSet<(i64, u64)>,
}

impl Redelivery {
    /// All that wait.
    pub fn of(rules: &WaitRules, state: &ConsumerState) -> Self {
        let mut all = Redelivery::default();
        for &seq in state.pending.keys() {
            all.insert(rules, state, seq);
        }
        all
    }

    fn entry(rules: &WaitRules, state: &ConsumerState, seq: u64) -> Option<(i64, u64)> {
        let pending = state.pending.get(&seq)?;
        let wait_ns = rules.wait_ns(state, seq);
        Some((pending.timestamp_ns.saturating_add(wait_ns), seq))
    }

    pub fn insert(&mut self, rules: &WaitRules, state: &ConsumerState, seq: u64) {
        self.due.extend(Self::entry(rules, state, seq));
    }

    pub fn remove(&mut self, rules: &WaitRules, state: &ConsumerState, seq: u64) {
        if let Some(entry) = Self::entry(rules, state, seq) {
            self.due.remove(&entry);
        }
    }

    /// The time at which the next one is due, and its sequence.
    pub fn first(&self) -> Option<(i64, u64)> {
        self.due.first().copied()
    }
}
