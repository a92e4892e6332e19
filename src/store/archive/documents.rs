//! What an archive of the second version tells besides messages: the stream's totals, and its consumers.

use serde_json::{Map, Value, json};

use super::error::ArchiveFault;
use crate::format::consumer::{ConsumerState, Pending, SequencePair};
use crate::format::duration::{Instant, format_rfc3339};
use crate::format::meta::ConsumerMeta;
use crate::state::{SeqTime, Totals};

/// What `state.json` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ArchivedState {
    pub messages: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub consumer_count: u64,
}

/// The totals of a stream as the server tells them.
pub(super) fn state_of(totals: &Totals, consumer_count: usize) -> Value {
    let time = |at: SeqTime| match at.timestamp_ns {
        0 => Instant::ZERO.to_rfc3339(),
        timestamp_ns => format_rfc3339(timestamp_ns),
    };
    json!({
        "messages": totals.messages,
        "bytes": totals.bytes,
        "first_seq": totals.first.seq,
        "first_ts": time(totals.first),
        "last_seq": totals.last.seq,
        "last_ts": time(totals.last),
        "consumer_count": consumer_count,
    })
}

fn bad(name: &str, reason: impl Into<String>) -> ArchiveFault {
    ArchiveFault::Meta {
        name: name.to_owned(),
        reason: reason.into(),
    }
}

impl ArchivedState {
    /// Reads it, and holds it against itself.
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, ArchiveFault> {
        let found: Value =
            serde_json::from_slice(json).map_err(|error| bad(name, error.to_string()))?;
        let number = |field: &str| match &found[field] {
            Value::Null => Ok(0),
            value => value
                .as_u64()
                .ok_or_else(|| bad(name, format!("{field} is {value}"))),
        };
        let state = ArchivedState {
            messages: number("messages")?,
            first_seq: number("first_seq")?,
            last_seq: number("last_seq")?,
            consumer_count: number("consumer_count")?,
        };
        let (first, last) = (state.first_seq, state.last_seq);
        let room = last.saturating_add(1).checked_sub(first);
        match room {
            _ if last == u64::MAX => Err(bad(name, "its last sequence has none behind it")),
            Some(room) if state.messages <= room && (first > 0 || last == 0) => Ok(state),
            _ => Err(bad(
                name,
                format!("{} messages in {first}..{last}", state.messages),
            )),
        }
    }
}

/// A consumer with its state, up to the archive's last sequence.
pub(super) fn consumer_of(meta: &ConsumerMeta, state: &ConsumerState, last_seq: u64) -> Value {
    let mut config = meta.raw().clone();
    config.remove("Name");
    config.remove("Created");
    let pair = |pair: SequencePair| {
        let stream = pair.stream.min(last_seq);
        json!({"consumer_seq": pair.consumer, "stream_seq": stream})
    };
    let mut told = json!({
        "delivered": pair(state.delivered),
        "ack_floor": pair(state.ack_floor),
    });
    let pending: Map<String, Value> = state
        .pending
        .range(..=last_seq)
        .map(|(seq, pending)| {
            let (sequence, at) = (pending.consumer_sequence, pending.timestamp_ns);
            (
                seq.to_string(),
                json!({"Sequence": sequence, "Timestamp": at}),
            )
        })
        .collect();
    let redelivered: Map<String, Value> = state
        .redelivered
        .range(..=last_seq)
        .map(|(seq, count)| (seq.to_string(), json!(count)))
        .collect();
    for (field, value) in [("pending", pending), ("redelivered", redelivered)] {
        if !value.is_empty() {
            told[field] = Value::Object(value);
        }
    }
    json!({"config": config, "state": told})
}

/// Reads a consumer. One that the server kept in memory is taken for one in files, which is what there is here.
pub(super) fn parse_consumer(
    name: &str,
    json: &[u8],
) -> Result<(ConsumerMeta, ConsumerState), ArchiveFault> {
    let mut found: Value =
        serde_json::from_slice(json).map_err(|error| bad(name, error.to_string()))?;
    let Some(config) = found["config"].as_object_mut() else {
        return Err(bad(name, "it has no configuration"));
    };
    config.remove("mem_storage");
    let config = found["config"].to_string();
    let meta = ConsumerMeta::parse(config.as_bytes());
    let meta = meta.map_err(|error| bad(name, error.to_string()))?;
    let told = &found["state"];
    if !told.is_object() {
        return Err(bad(name, "it has no state"));
    }
    let number = |value: &Value| match value {
        Value::Null => Ok(0),
        value => value
            .as_u64()
            .ok_or_else(|| bad(name, format!("its state has {value} for a number"))),
    };
    let pair = |value: &Value| {
        Ok::<_, ArchiveFault>(SequencePair {
            consumer: number(&value["consumer_seq"])?,
            stream: number(&value["stream_seq"])?,
        })
    };
    let mut state = ConsumerState {
        ack_floor: pair(&told["ack_floor"])?,
        delivered: pair(&told["delivered"])?,
        ..ConsumerState::default()
    };
    let seq_of = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| bad(name, format!("its state has {text:?} for a sequence")))
    };
    for (seq, value) in told["pending"].as_object().into_iter().flatten() {
        let pending = Pending {
            consumer_sequence: number(&value["Sequence"])?,
            timestamp_ns: value["Timestamp"].as_i64().unwrap_or_default(),
        };
        state.pending.insert(seq_of(seq)?, pending);
    }
    for (seq, value) in told["redelivered"].as_object().into_iter().flatten() {
        state.redelivered.insert(seq_of(seq)?, number(value)?);
    }
    Ok((meta, state))
}
