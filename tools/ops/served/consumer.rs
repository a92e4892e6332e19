//! What a server may make of a consumer's state as it opens it.
//!
//! A server tidies up: soon after the start, when its timers run, it drops what is pending or redelivered for messages that are gone, and
//! moves the floor up over them; a consumer that has done nothing yet begins at the first message. In which order it does that, and so
//! where exactly the floor ends, differs by version and from run to run. So the floor may be anywhere in between, but only where something
//! is gone; nothing else may change.

use std::ops::RangeInclusive;

use serde_json::Value;

/// The ends of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub first: u64,
    pub last: u64,
}

/// A consumer sequence and a stream sequence.
type Pair = (u64, u64);

/// All states that a server may have made of one.
#[derive(Debug)]
pub struct Allowed {
    delivered: Vec<Pair>,
    floor: (RangeInclusive<u64>, RangeInclusive<u64>),
    pending: Entries,
    redelivered: Entries,
}

/// What may be listed, and how much of it has to be.
#[derive(Debug)]
struct Entries {
    all: Vec<Value>,
    kept: Vec<Value>,
}

impl Entries {
    fn new(all: Vec<Value>, keeps: impl Fn(u64) -> bool) -> Self {
        let kept = all.iter().filter(|entry| keeps(of(entry, 0)));
        let kept = kept.cloned().collect();
        Self { all, kept }
    }

    fn counts(&self) -> RangeInclusive<usize> {
        self.kept.len()..=self.all.len()
    }

    fn admits(&self, listed: &[Value]) -> bool {
        listed.iter().all(|entry| self.all.contains(entry))
            && self.kept.iter().all(|entry| listed.contains(entry))
    }
}

fn of(entry: &Value, at: usize) -> u64 {
    entry[at].as_u64().unwrap_or(0)
}

fn pair(state: &Value, field: &str) -> Pair {
    let number = |of: &str| state[field][of].as_u64().unwrap_or(0);
    (number("consumer_seq"), number("stream_seq"))
}

fn list(state: &Value, field: &str) -> Vec<Value> {
    state[field].as_array().cloned().unwrap_or_default()
}

impl Allowed {
    /// What may become of the state that the engine answers for a consumer of a stream with these ends.
    pub fn new(state: &Value, ends: Ends) -> Self {
        let (delivered, floor) = (pair(state, "delivered"), pair(state, "ack_floor"));
        let before_first = ends.first.saturating_sub(1);
        let is_there = |seq: u64| seq > floor.1 && seq >= ends.first;
        let pending = Entries::new(list(state, "pending"), is_there);
        let redelivered = Entries::new(list(state, "redelivered"), |seq| {
            is_there(seq) && seq <= ends.last
        });
        let gone = pending
            .all
            .iter()
            .filter(|entry| !is_there(of(entry, 0)))
            .map(|entry| of(entry, 1));
        let gone_to = gone.fold(floor.0, u64::max);
        let (to_consumer, to_stream) = if floor.1 < before_first {
            (delivered.0.max(gone_to), delivered.1.max(before_first))
        } else {
            (gone_to, floor.1)
        };
        let mut starts = vec![delivered];
        if delivered == (0, 0) {
            starts.push((0, before_first));
        }
        Self {
            delivered: starts,
            floor: (
                floor.0..=to_consumer.max(floor.0),
                floor.1..=to_stream.max(floor.1),
            ),
            pending,
            redelivered,
        }
    }

    fn admits_place(&self, state: &Value) -> bool {
        let floor = pair(state, "ack_floor");
        self.delivered.contains(&pair(state, "delivered"))
            && self.floor.0.contains(&floor.0)
            && self.floor.1.contains(&floor.1)
    }

    /// Whether this is such a state.
    pub fn admits(&self, state: &Value) -> bool {
        self.admits_place(state)
            && self.pending.admits(&list(state, "pending"))
            && self.redelivered.admits(&list(state, "redelivered"))
    }

    /// Whether what a server tells of a consumer is told of such a state.
    pub fn admits_told(&self, info: &Value) -> bool {
        let count = |field: &str| usize::try_from(info[field].as_u64().unwrap_or(0)).unwrap_or(0);
        self.admits_place(info)
            && self.pending.counts().contains(&count("num_ack_pending"))
            && self
                .redelivered
                .counts()
                .contains(&count("num_redelivered"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ENDS: Ends = Ends { first: 5, last: 9 };

    fn busy() -> Value {
        json!({
            "delivered": {"consumer_seq": 8, "stream_seq": 9}, "ack_floor": {"consumer_seq": 1, "stream_seq": 2},
            "pending": [[3, 2, 100], [6, 5, 100]], "redelivered": [[3, 1], [6, 2]],
        })
    }

    #[test]
    fn what_is_pending_for_gone_messages_goes_and_lifts_the_floor() {
        let tidied = json!({
            "delivered": {"consumer_seq": 8, "stream_seq": 9}, "ack_floor": {"consumer_seq": 2, "stream_seq": 3},
            "pending": [[6, 5, 100]], "redelivered": [[6, 2]],
        });
        let allowed = Allowed::new(&busy(), ENDS);
        assert!(allowed.admits(&tidied));
        assert!(allowed.admits(&busy()));
    }

    #[test]
    fn nothing_else_may_change() {
        let allowed = Allowed::new(&busy(), ENDS);
        for (field, value) in [
            ("pending", json!([[3, 2, 100]])),
            ("pending", json!([[3, 2, 100], [6, 5, 101]])),
            ("redelivered", json!([])),
            ("delivered", json!({"consumer_seq": 8, "stream_seq": 8})),
            ("ack_floor", json!({"consumer_seq": 0, "stream_seq": 2})),
        ] {
            let mut changed = busy();
            changed[field] = value;
            assert!(!allowed.admits(&changed), "{field}");
        }
    }

    #[test]
    fn where_nothing_is_gone_the_floor_stays() {
        let allowed = Allowed::new(&busy(), Ends { first: 3, last: 9 });
        let mut changed = busy();
        changed["ack_floor"] = json!({"consumer_seq": 2, "stream_seq": 3});
        assert!(!allowed.admits(&changed));
    }

    #[test]
    fn a_consumer_that_did_nothing_starts_at_the_first_message() {
        let before = json!({"consumer_seq": 0, "stream_seq": 4});
        let started = json!({"delivered": before, "ack_floor": before});
        assert!(Allowed::new(&json!({}), ENDS).admits(&started));
        assert!(!Allowed::new(&busy(), ENDS).admits(&started));
    }
}
