//! What the streams of everyday life are for: their configuration and their consumers.

use crate::crypto::{consumer_context, stream_context};
use crate::format::checksum::HashKey;
use crate::format::limits::{BlockSizeInputs, record_length_estimate, stream_block_size};
use crate::testing::StoreKind;
use crate::testing::random::Random;

/// A second in nanoseconds.
pub const SECOND_NS: i64 = 1_000_000_000;

/// `max_bytes` of most streams: the most that still makes a server choose its smallest blocks.
const MAX_BYTES_OF_SMALL_BLOCKS: u64 = 127_900;

/// What a stream is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HistoryKind {
    /// Messages come, and a few are deleted by hand.
    Append,
    /// `max_msgs` removes the oldest.
    Limit,
    /// `max_bytes` removes the oldest.
    Bytes,
    /// `max_age` removes the oldest.
    Age,
    /// A key-value bucket: few values a key, delete and purge markers.
    KeyValue,
    /// A work queue: what is acknowledged is removed.
    WorkQueue,
    /// An interest stream: what all consumers acknowledged is removed, what none wants is not stored.
    Interest,
    /// Purges: of everything, of a subject, up to a sequence, all but the newest.
    Purges,
    /// Every third message is deleted by hand, some of them wiped.
    Deletes,
    /// All limits at once, and deletes.
    Mixed,
}

impl HistoryKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 10] = [
        Self::Append,
        Self::Limit,
        Self::Bytes,
        Self::Age,
        Self::KeyValue,
        Self::WorkQueue,
        Self::Interest,
        Self::Purges,
        Self::Deletes,
        Self::Mixed,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Limit => "limit",
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::KeyValue => "kv",
            Self::WorkQueue => "work-queue",
            Self::Interest => "interest",
            Self::Purges => "purges",
            Self::Deletes => "deletes",
            Self::Mixed => "mixed",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A stream's rule of when a message is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// When a limit says so.
    Limits,
    /// When it is acknowledged.
    WorkQueue,
    /// When every consumer that wants it has acknowledged it.
    Interest,
}

impl Retention {
    /// As the configuration spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::WorkQueue => "workqueue",
            Self::Interest => "interest",
        }
    }
}

/// A consumer to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSetup {
    /// Its name.
    pub name: &'static str,
    /// The subjects it wants; everything if there is none.
    pub filter: Option<&'static str>,
}

impl ConsumerSetup {
    /// Whether it wants messages with this subject.
    #[must_use]
    pub fn wants(&self, subject: &str) -> bool {
        self.filter.is_none_or(|filter| matches(filter, subject))
    }
}

/// The configuration of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// What it is used for.
    pub kind: HistoryKind,
    /// How its files are laid out.
    pub layout: StoreKind,
    /// Its name.
    pub stream: &'static str,
    /// What its subjects begin with.
    pub prefix: &'static str,
    /// When a message is done with.
    pub retention: Retention,
    /// Most messages.
    pub max_messages: Option<u64>,
    /// Most bytes.
    pub max_bytes: Option<u64>,
    /// Most age in nanoseconds.
    pub max_age_ns: Option<i64>,
    /// Most messages of one subject.
    pub max_per_subject: Option<u64>,
    /// Its consumers.
    pub consumers: Vec<ConsumerSetup>,
}

impl Setup {
    /// A configuration of this kind.
    pub fn draw(kind: HistoryKind, layout: StoreKind, random: &mut Random) -> Self {
        let (stream, prefix) = match kind {
            HistoryKind::KeyValue => ("KV_settings", "$KV.settings"),
            HistoryKind::WorkQueue => ("JOBS", "jobs"),
            HistoryKind::Interest => ("EVENTS", "events"),
            _ => ("ORDERS", "orders"),
        };
        let mut setup = Self {
            kind,
            layout,
            stream,
            prefix,
            retention: Retention::Limits,
            max_messages: None,
            max_bytes: random.chance(75).then_some(MAX_BYTES_OF_SMALL_BLOCKS),
            max_age_ns: None,
            max_per_subject: None,
            consumers: Vec::new(),
        };
        let consumer = |name, filter| ConsumerSetup { name, filter };
        match kind {
            HistoryKind::Append | HistoryKind::Purges | HistoryKind::Deletes => {}
            HistoryKind::Limit => setup.max_messages = Some(60 + random.below(240)),
            HistoryKind::Bytes => setup.max_bytes = Some(20_000 + random.below(100_000)),
            HistoryKind::Age => setup.max_age_ns = Some(2 * SECOND_NS),
            HistoryKind::KeyValue => {
                setup.max_per_subject = Some(if random.chance(50) { 1 } else { 5 });
            }
            HistoryKind::WorkQueue => {
                setup.retention = Retention::WorkQueue;
                setup.consumers = if random.chance(70) {
                    vec![consumer("worker", None)]
                } else {
                    vec![
                        consumer("fast", Some("jobs.a.>")),
                        consumer("slow", Some("jobs.b.>")),
                    ]
                };
            }
            HistoryKind::Interest => {
                setup.retention = Retention::Interest;
                setup.consumers = vec![
                    consumer("audit", Some("events.a.>")),
                    consumer("billing", Some("events.a.>")),
                    consumer("mail", Some("events.b.>")),
                ];
            }
            HistoryKind::Mixed => {
                setup.max_messages = Some(200 + random.below(200));
                setup.max_per_subject = Some(20 + random.below(20));
                setup.max_age_ns = random.chance(50).then_some(2 * SECOND_NS);
            }
        }
        setup
    }

    /// How large a block grows, by the server's rule.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        let limit = |value: Option<u64>| value.map_or(-1, |value| value as i64);
        stream_block_size(&BlockSizeInputs {
            max_bytes: limit(self.max_bytes),
            max_messages: limit(self.max_messages),
            max_messages_per_subject: limit(self.max_per_subject),
            record_length_estimate: record_length_estimate(MAX_MESSAGE_BYTES, None),
            limits_retention: self.retention == Retention::Limits,
            encrypted: self.layout.cipher().is_some(),
        })
    }

    /// The configuration as a client sends it.
    #[must_use]
    pub fn request(&self) -> String {
        let limit = |value: Option<u64>| value.map_or(-1, |value| value as i64);
        let age = self.max_age_ns.unwrap_or_default();
        let window = if age > 0 { age } else { 120 * SECOND_NS };
        format!(
            r#""name":"{}","subjects":["{}.\u003e"],"retention":"{}","max_consumers":-1,"max_msgs":{},"max_bytes":{},"max_age":{age},"max_msgs_per_subject":{},"max_msg_size":{MAX_MESSAGE_BYTES},"discard":"old","storage":"file","num_replicas":1,"duplicate_window":{window},"compression":"{}","allow_direct":{},"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":true,"consumer_limits":{{}},"allow_msg_ttl":false"#,
            self.stream,
            self.prefix,
            self.retention.name(),
            limit(self.max_messages),
            limit(self.max_bytes),
            limit(self.max_per_subject),
            if self.layout.is_compressed() {
                "s2"
            } else {
                "none"
            },
            self.kind == HistoryKind::KeyValue,
        )
    }

    /// The stream's `meta.inf`, before it is encrypted.
    #[must_use]
    pub(super) fn meta(&self) -> Vec<u8> {
        format!(
            r#"{{"Created":"2026-01-01T00:00:00.123456789Z",{},"metadata":{{"_nats.req.level":"0"}}}}"#,
            self.request()
        )
        .into_bytes()
    }

    /// A consumer's configuration as a client sends it.
    #[must_use]
    pub fn consumer_request(consumer: &ConsumerSetup) -> String {
        let filter = consumer.filter.map_or_else(String::new, |filter| {
            format!(r#""filter_subject":"{}","#, filter.replace('>', "\\u003e"))
        });
        let name = consumer.name;
        format!(
            r#""durable_name":"{name}","name":"{name}","deliver_policy":"all","ack_policy":"explicit","ack_wait":86400000000000,"max_deliver":-1,{filter}"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0"#
        )
    }

    /// A consumer's `meta.inf`, before it is encrypted.
    #[must_use]
    pub(super) fn consumer_meta(consumer: &ConsumerSetup) -> Vec<u8> {
        format!(
            r#"{{"Created":"2026-01-01T00:00:01.5Z","Name":"{}",{},"metadata":{{"_nats.req.level":"0"}}}}"#,
            consumer.name,
            Self::consumer_request(consumer)
        )
        .into_bytes()
    }

    /// What goes into the stream's key.
    pub(super) fn key_context(&self) -> Vec<u8> {
        stream_context(self.stream.as_bytes())
    }

    /// What goes into a consumer's key.
    pub(super) fn consumer_key_context(&self, consumer: &ConsumerSetup) -> Vec<u8> {
        consumer_context(self.stream.as_bytes(), consumer.name.as_bytes())
    }

    /// What a consumer's files are labelled with.
    pub(super) fn consumer_label(&self, consumer: &ConsumerSetup) -> HashKey {
        HashKey::for_consumer(self.stream.as_bytes(), consumer.name.as_bytes())
    }
}

/// `max_msg_size` of the streams; none of the messages is longer.
pub const MAX_MESSAGE_BYTES: u32 = 300;

/// Whether a subject is meant by a filter: a literal one, or one that ends in `>`.
#[must_use]
pub fn matches(filter: &str, subject: &str) -> bool {
    match filter.strip_suffix('>') {
        Some(start) => subject.starts_with(start) && subject.len() > start.len(),
        None => filter == subject,
    }
}
