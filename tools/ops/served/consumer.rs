//! What a server may make of a consumer's state as it opens it.
//!
//! A server tidies up: soon after the start it drops what is pending or redelivered for messages that are gone, and a consumer that has
//! done nothing yet starts at the stream's first message. When exactly is a matter of timers, so each of these is taken for the same.

use serde_json::{Value, json};

/// The ends of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub first: u64,
    pub last: u64,
}

/// The state in one form: numbers instead of absent fields.
fn plain(state: &Value) -> Value {
    let pair = |field: &str| {
        let number = |of: &str| state[field][of].as_u64().unwrap_or(0);
        json!({"consumer_seq": number("consumer_seq"), "stream_seq": number("stream_seq")})
    };
    let list = |field: &str| json!(state[field].as_array().cloned().unwrap_or_default());
    json!({
        "delivered": pair("delivered"), "ack_floor": pair("ack_floor"),
        "pending": list("pending"), "redelivered": list("redelivered"),
    })
}

fn of(entry: &Value, at: usize) -> u64 {
    entry[at].as_u64().unwrap_or(0)
}

fn retain(state: &mut Value, field: &str, keeps: impl Fn(u64) -> bool) {
    if let Some(entries) = state[field].as_array_mut() {
        entries.retain(|entry| keeps(of(entry, 0)));
    }
}

/// Without what is pending for messages before the first, or at or below the floor; the floor moves up with it.
fn without_gone(state: &Value, ends: Ends) -> Value {
    let mut state = state.clone();
    let floor = |state: &Value, of: &str| state["ack_floor"][of].as_u64().unwrap_or(0);
    let (at, at_consumer) = (floor(&state, "stream_seq"), floor(&state, "consumer_seq"));
    let is_gone = |seq: u64| seq < ends.first || seq <= at;
    let gone: Vec<Value> = state["pending"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| is_gone(of(entry, 0)))
        .cloned()
        .collect();
    let highest =
        |at: usize, from: u64| gone.iter().map(|entry| of(entry, at)).fold(from, u64::max);
    state["ack_floor"]["stream_seq"] = json!(highest(0, at));
    state["ack_floor"]["consumer_seq"] = json!(highest(1, at_consumer));
    retain(&mut state, "pending", |seq| !is_gone(seq));
    let was_pending = |seq: u64| gone.iter().any(|entry| of(entry, 0) == seq);
    retain(&mut state, "redelivered", |seq| !was_pending(seq));
    state
}

/// A consumer that has done nothing, at the first message.
fn started(state: &Value, ends: Ends) -> Option<Value> {
    let untouched = json!({"consumer_seq": 0, "stream_seq": 0});
    if state["delivered"] != untouched {
        return None;
    }
    let before = json!({"consumer_seq": 0, "stream_seq": ends.first.saturating_sub(1)});
    let mut state = state.clone();
    state["delivered"] = before.clone();
    state["ack_floor"] = before;
    Some(state)
}

/// All that a server may have made of a state, itself first.
pub fn allowed(state: &Value, ends: Ends) -> Vec<Value> {
    let state = plain(state);
    let floor = state["ack_floor"]["stream_seq"].as_u64().unwrap_or(0);
    // 2.10 and 2.11 go by the floor and the last message, later lines by the first.
    let (mut by_floor, mut by_first) = (state.clone(), state.clone());
    retain(&mut by_floor, "redelivered", |seq| {
        seq > floor && (ends.last == 0 || seq <= ends.last)
    });
    retain(&mut by_first, "redelivered", |seq| seq >= ends.first);
    let started = started(&state, ends);
    let mut all = vec![state, by_floor, by_first];
    for at in 0..all.len() {
        all.push(without_gone(&all[at], ends));
    }
    all.extend(started);
    all
}

/// What the interface tells of a state: where it is, and how many are pending and redelivered.
pub fn told(state: &Value) -> Value {
    let pair = |field: &str| {
        let number = |of: &str| state[field][of].as_u64().unwrap_or(0);
        json!([number("consumer_seq"), number("stream_seq")])
    };
    let count = |field: &str, list: &str| {
        let told = state[field].as_u64();
        told.unwrap_or_else(|| state[list].as_array().map_or(0, Vec::len) as u64)
    };
    json!({
        "delivered": pair("delivered"), "ack_floor": pair("ack_floor"),
        "pending": count("num_ack_pending", "pending"), "redelivered": count("num_redelivered", "redelivered"),
    })
}

/// Whether a state is one that a server may have made of another.
pub fn is_allowed(state: &Value, before: &Value, ends: Ends) -> bool {
    allowed(before, ends).contains(&plain(state))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(is_allowed(&tidied, &busy(), ENDS));
        assert!(is_allowed(&busy(), &busy(), ENDS));
    }

    #[test]
    fn nothing_else_may_change() {
        for (field, value) in [
            ("pending", json!([[3, 2, 100]])),
            ("redelivered", json!([])),
            ("delivered", json!({"consumer_seq": 8, "stream_seq": 8})),
        ] {
            let mut changed = busy();
            changed[field] = value;
            assert!(!is_allowed(&changed, &busy(), ENDS), "{field}");
        }
    }

    #[test]
    fn a_consumer_that_did_nothing_starts_at_the_first_message() {
        let before = json!({"consumer_seq": 0, "stream_seq": 4});
        let started = json!({"delivered": before, "ack_floor": before});
        assert!(is_allowed(&started, &json!({}), ENDS));
        assert!(!is_allowed(&started, &busy(), ENDS));
    }
}
