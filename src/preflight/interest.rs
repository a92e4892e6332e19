//! What an interest or work-queue stream lets go of as soon as its consumers are back.
//!
//! At a start the server holds each consumer's acknowledgements against the stream, and removes every message that one of
//! them has done with and none of the others waits for. A consumer that does not come up waits for nothing: what only it
//! had still to see goes with the first look.

use std::collections::BTreeSet;

use super::inventory::{Holder, holders, settings_of};
use crate::env::ReadFiles;
use crate::format::consumer::ConsumerState;
use crate::format::meta::{AckPolicy, Retention};
use crate::format::seqset::SeqSet;
use crate::format::subject;
use crate::recovery::server::{Quirk, ServerBehavior};
use crate::recovery::{Flow, Item, messages};
use crate::report::Watch;
use crate::stream::StreamDir;
use crate::stream::options::{Options, Standing};

/// What goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// Everything that goes.
    pub all: SeqSet,
    /// What of it goes only because a consumer does not come up.
    pub owed: SeqSet,
}

/// What a start lets go of among the messages `live`, when of the stream's consumers those named in `up` come back.
///
/// Every consumer that left anything behind counts as one that was there: where its acknowledgements cannot be read, it is
/// taken to wait for every message.
#[must_use]
pub fn released(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    live: &SeqSet,
    up: &BTreeSet<String>,
    watch: &Watch<'_>,
) -> Released {
    let Some(retention) = settings_of(fs, stream, options).map(|meta| meta.retention) else {
        return Released::default();
    };
    // A server standing alone holds the acknowledgements of a work queue against it only as they come in.
    let looks = match retention {
        Retention::Limits => false,
        Retention::Interest => true,
        Retention::WorkQueue => options.standing == Standing::Member,
    };
    let (Some(first), Some(last)) = (live.first(), live.last()) else {
        return Released::default();
    };
    if !looks {
        return Released::default();
    }
    let cut_back = ServerBehavior::of(options.server).has(Quirk::ConsumersReconciled);
    let claims: Vec<Claim> = holders(fs, stream, options)
        .into_iter()
        .map(|holder| Claim::of(holder, up, last, cut_back))
        .collect();
    let Some(end) = claims
        .iter()
        .filter(|claim| claim.up)
        .map(Claim::end)
        .max()
        .filter(|end| *end >= first)
    else {
        return Released::default();
    };
    let mut found = Released::default();
    let mut judge = |seq: u64, subject: &[u8]| {
        let waiting = |up: bool| {
            let mut claims = claims.iter().filter(|claim| claim.up == up);
            claims.any(|claim| claim.waits_for(seq, subject))
        };
        let mut there = claims.iter().filter(|claim| claim.up);
        if waiting(true) || !there.any(|claim| claim.is_done_with(seq, subject)) {
            return;
        }
        found.all.insert(seq);
        if waiting(false) {
            found.owed.insert(seq);
        }
    };
    if claims.iter().any(|claim| !claim.filters.is_empty()) {
        let mut visit = |item: Item<'_>| {
            if let Item::Message(message) = item
                && live.contains(message.seq)
            {
                judge(message.seq, message.subject);
            }
            Flow::Continue
        };
        // What cannot be read is not removed by the server either.
        let _ = messages(fs, stream, options, first..=end, &mut visit, watch);
    } else {
        for seq in live.iter().take_while(|seq| *seq <= end) {
            judge(seq, &[]);
        }
    }
    found
}

/// One consumer's claim on the messages.
struct Claim {
    up: bool,
    filters: Vec<String>,
    /// Whether each message is acknowledged by itself.
    explicit: bool,
    /// `None` where it cannot be read: then it waits for everything.
    state: Option<ConsumerState>,
    /// Whether its acknowledgements are looked at when the stream starts.
    speaks: bool,
}

impl Claim {
    fn of(holder: Holder, up: &BTreeSet<String>, last: u64, cut_back: bool) -> Self {
        let Holder { name, meta, state } = holder;
        let explicit = meta
            .as_ref()
            .is_none_or(|meta| meta.ack_policy == AckPolicy::Explicit);
        let ahead = state
            .as_ref()
            .is_some_and(|state| state.ack_floor.stream > last);
        Claim {
            up: up.contains(&name),
            filters: meta.map(|meta| meta.filter_subjects).unwrap_or_default(),
            explicit,
            // A consumer ahead of its stream is passed over by servers that do not cut it back.
            speaks: cut_back || !ahead,
            state,
        }
    }

    fn selects(&self, subject: &[u8]) -> bool {
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| subject::matches(subject, filter.as_bytes()))
    }

    /// How far its acknowledgements reach.
    fn end(&self) -> u64 {
        let Some(state) = self.state.as_ref().filter(|_| self.speaks) else {
            return 0;
        };
        match state.pending.is_empty() {
            true => state.ack_floor.stream,
            false => state.ack_floor.stream.max(state.delivered.stream),
        }
    }

    fn is_done_with(&self, seq: u64, subject: &[u8]) -> bool {
        let Some(state) = &self.state else {
            return false;
        };
        seq <= self.end()
            && (seq <= state.ack_floor.stream || !state.pending.contains_key(&seq))
            && self.selects(subject)
    }

    fn waits_for(&self, seq: u64, subject: &[u8]) -> bool {
        if !self.selects(subject) {
            return false;
        }
        let Some(state) = &self.state else {
            return true;
        };
        let unacknowledged = seq > state.ack_floor.stream
            && (!self.explicit || seq > state.delivered.stream || state.pending.contains_key(&seq));
        unacknowledged || state.redelivered.contains_key(&seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::consumer::{Pending, SequencePair};
    use crate::format::meta::ConsumerMeta;

    /// A consumer that has acknowledged up to `floor`, was handed messages up to `delivered`, and has `pending` of them open.
    fn holder(json: &str, floor: u64, delivered: u64, pending: &[u64]) -> Holder {
        let pair = |stream| SequencePair {
            consumer: stream,
            stream,
        };
        let pending = pending.iter().map(|seq| (*seq, Pending::default()));
        Holder {
            name: "C".into(),
            meta: ConsumerMeta::parse(json.as_bytes()).ok(),
            state: Some(ConsumerState {
                ack_floor: pair(floor),
                delivered: pair(delivered),
                pending: pending.collect(),
                ..ConsumerState::default()
            }),
        }
    }

    fn claim(holder: Holder) -> Claim {
        Claim::of(holder, &["C".to_owned()].into(), 100, true)
    }

    /// The sequences up to 20 that fulfil something.
    fn seqs(wanted: impl Fn(u64) -> bool) -> Vec<u64> {
        (1..=20).filter(|seq| wanted(*seq)).collect()
    }

    #[test]
    fn what_is_acknowledged_out_of_turn_is_done_with() {
        let claim = claim(holder(r#"{"ack_policy":"explicit"}"#, 3, 8, &[4, 6]));
        assert_eq!(claim.end(), 8);
        assert_eq!(
            seqs(|seq| claim.is_done_with(seq, b"s")),
            [1, 2, 3, 5, 7, 8]
        );
        let open: Vec<u64> = [4, 6].into_iter().chain(9..=20).collect();
        assert_eq!(seqs(|seq| claim.waits_for(seq, b"s")), open);
    }

    #[test]
    fn with_one_acknowledgement_for_all_only_the_floor_counts() {
        let claim = claim(holder(r#"{"ack_policy":"all"}"#, 3, 8, &[]));
        assert_eq!(seqs(|seq| claim.is_done_with(seq, b"s")), [1, 2, 3]);
        assert!(claim.waits_for(4, b"s") && !claim.waits_for(3, b"s"));
    }

    #[test]
    fn a_filter_bounds_both_claims() {
        let claim = claim(holder(r#"{"filter_subjects":["a.*","b"]}"#, 3, 3, &[]));
        assert!(claim.is_done_with(2, b"a.x") && !claim.is_done_with(2, b"c"));
        assert!(claim.waits_for(4, b"b") && !claim.waits_for(4, b"a.x.y"));
    }

    #[test]
    fn what_cannot_be_read_waits_for_everything() {
        let unread = Holder {
            name: "C".into(),
            meta: None,
            state: None,
        };
        let claim = claim(unread);
        assert_eq!(claim.end(), 0);
        assert!(claim.waits_for(1, b"s") && !claim.is_done_with(1, b"s"));
    }

    #[test]
    fn a_consumer_ahead_of_its_stream_is_passed_over_by_older_servers() {
        let of = |cut_back| {
            let holder = holder("{}", 200, 200, &[]);
            Claim::of(holder, &BTreeSet::new(), 100, cut_back)
        };
        assert!(of(true).is_done_with(100, b"s"));
        assert!(!of(false).is_done_with(100, b"s") && !of(false).waits_for(100, b"s"));
    }
}
