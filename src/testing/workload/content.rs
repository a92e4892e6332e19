//! What the generated stores hold: orders as JSON, with enough noise in them that they do not compress away.

use super::super::random::Random;
use super::{BASE_NS, STEP_NS, STREAM, StoreKind};
use crate::format::consumer::{ConsumerState, ConsumerVersion, Pending, SequencePair};

const REGIONS: [&str; 4] = ["eu", "us", "asia", "africa"];
const STEPS: [&str; 5] = ["created", "paid", "packed", "shipped", "cancelled"];
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];

/// A hundred years: what carries a TTL must not expire while the harness runs, whatever the day.
const TTL_SECONDS: u64 = 3_153_600_000;

/// One message's variable parts.
pub struct Content {
    pub timestamp_ns: i64,
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
}

/// The message with sequence `seq`; `random` is its own.
pub fn message(seq: u64, random: &mut Random) -> Content {
    let region = REGIONS[random.index(REGIONS.len())];
    let step = STEPS[random.index(STEPS.len())];
    let jitter = random.below(STEP_NS as u64) as i64;
    let headers = match random.below(32) {
        0 => format!("NATS/1.0\r\nNats-TTL: {TTL_SECONDS}\r\n\r\n"),
        1..=4 => format!("NATS/1.0\r\nNats-Msg-Id: {:016x}\r\n\r\n", random.draw()),
        _ => String::new(),
    };
    Content {
        timestamp_ns: BASE_NS + seq as i64 * STEP_NS + jitter,
        subject: format!("orders.{region}.{step}").into_bytes(),
        headers: headers.into_bytes(),
        body: body(seq, step, random).into_bytes(),
    }
}

fn body(seq: u64, step: &str, random: &mut Random) -> String {
    let currency = CURRENCIES[random.index(CURRENCIES.len())];
    let mut body = format!(
        r#"{{"order":"{:016x}","number":{seq},"customer":{},"status":"{step}","total":{{"amount":{}.{:02},"currency":"{currency}"}},"items":["#,
        random.draw(),
        random.below(90_000),
        random.below(2_000),
        random.below(100),
    );
    for item in 0..=random.below(3) {
        let comma = if item == 0 { "" } else { "," };
        let (sku, quantity) = (random.below(100_000), 1 + random.below(9));
        body.push_str(&format!(
            r#"{comma}{{"sku":"SKU-{sku:05}","quantity":{quantity}}}"#
        ));
    }
    body.push_str(&format!(
        r#"],"trace":"{:016x}{:016x}"}}"#,
        random.draw(),
        random.draw()
    ));
    body
}

/// The stream's `meta.inf`, before it is encrypted.
pub fn stream_meta(kind: StoreKind) -> Vec<u8> {
    let compression = if kind.is_compressed() { "s2" } else { "none" };
    format!(
        r#"{{"Created":"2026-01-01T00:00:00.123456789Z","name":"{STREAM}","subjects":["orders.\u003e"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"{compression}","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{{}},"allow_msg_ttl":true,"metadata":{{"_nats.req.level":"1"}}}}"#
    )
    .into_bytes()
}

/// The consumer's `meta.inf`, before it is encrypted.
pub fn consumer_meta() -> Vec<u8> {
    let name = super::CONSUMER;
    format!(
        r#"{{"Created":"2026-01-01T00:00:01.5Z","Name":"{name}","durable_name":"{name}","name":"{name}","deliver_policy":"all","ack_policy":"explicit","ack_wait":86400000000000,"max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0,"metadata":{{"_nats.req.level":"0"}}}}"#
    )
    .into_bytes()
}

/// The consumer's `o.dat`, before it is encrypted: three quarters acknowledged, and a few on their way.
pub fn consumer_state(messages: u64) -> Vec<u8> {
    let floor = messages / 4 * 3;
    let pair = |n| SequencePair {
        consumer: n,
        stream: n,
    };
    let mut state = ConsumerState {
        ack_floor: pair(floor),
        delivered: pair(messages.min(floor + 5)),
        ..ConsumerState::default()
    };
    let delivered_ns = BASE_NS + messages as i64 * STEP_NS;
    for seq in floor + 1..=state.delivered.stream {
        let pending = Pending {
            consumer_sequence: seq,
            timestamp_ns: delivered_ns,
        };
        state.pending.insert(seq, pending);
    }
    state.encode(ConsumerVersion::V2, delivered_ns / 1_000_000_000)
}
