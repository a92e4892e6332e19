//! What a server may make of a consumer's state as it opens it.
//!
//! A server tidies up: soon after the start, when its timers run, it drops what is pending or redelivered for messages that are gone, and
//! moves the floor up over them; a consumer that has done nothing yet begins at the first message; from 2.14 on one that is ahead of its
//! stream is put back. In which order it does that, and so
//! where exactly the floor ends, differs by version and from run to run. So the floor may be anywhere in between, but only where something
//! is gone; what is pending for a message that is there stays so.

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
/// Where each of the two may be.
type Ranges = (RangeInclusive<u64>, RangeInclusive<u64>);

fn within(pair: Pair, ranges: &Ranges) -> bool {
    ranges.0.contains(&pair.0) && ranges.1.contains(&pair.1)
}

/// All states that a server may have made of one.
#[derive(Debug)]
pub struct Allowed {
    delivered: Ranges,
    start: Option<Pair>,
    floor: Ranges,
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
        let is_there = |seq: u64| seq > floor.1 && seq >= ends.first && seq <= ends.last;
        let (pending, redelivered) = (list(state, "pending"), list(state, "redelivered"));
        let any_gone = pending.iter().any(|entry| !is_there(of(entry, 0)));
        let is_ahead = delivered.1 > ends.last;
        let lifted = if any_gone || is_ahead || floor.1 < before_first {
            (delivered.0, delivered.1.max(before_first))
        } else {
            floor
        };
        let highest = (lifted.0.max(floor.0), lifted.1.max(floor.1));
        // One that was ahead of its stream is put back.
        let lowest = if is_ahead { (0, 0) } else { delivered };
        Self {
            delivered: (lowest.0..=delivered.0, lowest.1..=delivered.1),
            start: (delivered == (0, 0)).then_some((0, before_first)),
            floor: (floor.0..=highest.0, floor.1.min(ends.last)..=highest.1),
            pending: Entries::new(pending, is_there),
            redelivered: Entries::new(redelivered, |seq| is_there(seq) && seq > highest.1),
        }
    }

    fn admits_place(&self, state: &Value) -> bool {
        let delivered = pair(state, "delivered");
        (within(delivered, &self.delivered) || self.start == Some(delivered))
            && within(pair(state, "ack_floor"), &self.floor)
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
