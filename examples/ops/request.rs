//! What can be asked: one JSON object a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Header blocks and bodies travel as standard base64.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// The fields of `open`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Opening {
    pub dir: String,
    /// The configuration as JetStream's JSON.
    pub stream: Value,
    /// In bytes; 0 for the server's rule.
    pub block_size: u64,
    /// Bytes of blocks kept in memory; 0 for what the library takes.
    pub cache_bytes: usize,
    /// `none` or `always`.
    pub sync: String,
    /// `none`, `chacha`, `aes`.
    pub cipher: String,
    pub key: String,
    pub old_key: String,
    pub account: String,
    /// `each` or `batch`.
    pub flush: String,
}

/// A message to store.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Appending {
    pub subject: String,
    #[serde(deserialize_with = "bytes")]
    pub hdr: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    pub msg: Vec<u8>,
    /// Seconds; -1 never, 0 none.
    pub ttl: i64,
    /// Only where a replica stores: 0 for the next.
    pub seq: u64,
    /// Only where a replica stores: nanoseconds since 1970.
    pub ts: i64,
}

/// Two sequences that point to one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct Pair {
    pub consumer_seq: u64,
    pub stream_seq: u64,
}

/// A consumer's state; both lists ascend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct ConsumerNumbers {
    pub delivered: Pair,
    pub ack_floor: Pair,
    /// Stream sequence, consumer sequence, whole seconds since 1970.
    pub pending: Vec<(u64, u64, i64)>,
    /// Stream sequence, deliveries after the first.
    pub redelivered: Vec<(u64, u64)>,
}

/// A timed workload.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Workload {
    #[serde(flatten)]
    pub opening: Opening,
    pub workload: String,
    pub n: u64,
    /// Bytes of one body.
    pub size: u64,
    /// How many subjects there are.
    pub subjects: u64,
    pub seed: u64,
}

/// An operation and its fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    Reset,
    Open(Opening),
    Restore {
        file: String,
        #[serde(flatten)]
        opening: Opening,
    },
    Close,
    UpdateConfig {
        stream: Value,
    },
    Flush,
    Sync,
    Append(Appending),
    AppendAt(Appending),
    Skip {
        #[serde(default)]
        seq: u64,
    },
    SkipMany {
        #[serde(default)]
        seq: u64,
        n: u64,
    },
    Remove {
        #[serde(default)]
        seq: u64,
    },
    Erase {
        #[serde(default)]
        seq: u64,
    },
    Purge,
    PurgeEx {
        #[serde(default)]
        filter: String,
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        keep: u64,
    },
    Compact {
        #[serde(default)]
        seq: u64,
    },
    Truncate {
        #[serde(default)]
        seq: u64,
    },
    Maintain,
    Load {
        #[serde(default)]
        seq: u64,
    },
    LoadNext {
        #[serde(default)]
        filters: Vec<String>,
        #[serde(default)]
        seq: u64,
    },
    LoadPrev {
        #[serde(default)]
        filters: Vec<String>,
        #[serde(default)]
        seq: u64,
    },
    LoadLast {
        #[serde(default)]
        filter: String,
    },
    SubjectOf {
        #[serde(default)]
        seq: u64,
    },
    SeqFromTime {
        #[serde(default)]
        ts: i64,
    },
    FilteredState {
        #[serde(default)]
        filter: String,
        #[serde(default)]
        seq: u64,
    },
    SubjectsState {
        #[serde(default)]
        filter: String,
    },
    SubjectsTotals {
        #[serde(default)]
        filter: String,
    },
    NumPending {
        #[serde(default)]
        filters: Vec<String>,
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        last_per_subject: bool,
    },
    AllLast,
    MultiLast {
        #[serde(default)]
        filters: Vec<String>,
        #[serde(default)]
        max_seq: u64,
        #[serde(default)]
        max_allowed: u64,
    },
    State,
    EncodedState {
        #[serde(default)]
        failed: u64,
    },
    Digest,
    Dump {
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        n: u64,
    },
    ConsumerOpen {
        name: String,
        config: Value,
    },
    ConsumerDelivered {
        name: String,
        #[serde(default)]
        dseq: u64,
        #[serde(default)]
        sseq: u64,
        #[serde(default)]
        dc: u64,
        #[serde(default)]
        ts: i64,
    },
    ConsumerAck {
        name: String,
        #[serde(default)]
        dseq: u64,
        #[serde(default)]
        sseq: u64,
    },
    ConsumerUpdate {
        name: String,
        state: ConsumerNumbers,
    },
    ConsumerSetStarting {
        name: String,
        #[serde(default)]
        sseq: u64,
    },
    ConsumerUpdateStarting {
        name: String,
        #[serde(default)]
        sseq: u64,
    },
    ConsumerReset {
        name: String,
        #[serde(default)]
        sseq: u64,
    },
    ConsumerTrim {
        name: String,
        #[serde(default)]
        sseq: u64,
    },
    ConsumerState {
        name: String,
    },
    ConsumerClose {
        name: String,
    },
    ConsumerDelete {
        name: String,
    },
    Snapshot {
        file: String,
        #[serde(default)]
        consumers: bool,
    },
    Bench(Workload),
}

/// Every request may set the clock.
#[derive(Debug, Deserialize)]
pub struct Clocked {
    pub now: Option<i64>,
}
