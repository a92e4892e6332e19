//! Metadata of a consumer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::{self, Field, Kind, Object, kept, optional};
use super::{Created, MetaError, RequiredLevel, flag, number, text, text_map, texts, unsigned};
use crate::format::duration::parse_rfc3339;

/// How long the server has a consumer wait for an acknowledgement that does not say.
const ACK_WAIT_DEFAULT_NS: i64 = 30_000_000_000;
/// Messages that may wait for their acknowledgement where the configuration does not say.
const MAX_ACK_PENDING_DEFAULT: i64 = 1000;
/// Requests that may wait at a consumer where the configuration does not say.
const MAX_WAITING_DEFAULT: i64 = 512;

/// The fields of a consumer's `meta.inf`, in the order the server writes them. `Name` and `name` are two.
const CONSUMER: &[Field] = &[
    kept("Created", Kind::Time),
    kept("Name", Kind::Text),
    optional("durable_name", Kind::Text),
    optional("name", Kind::Text),
    optional("description", Kind::Text),
    kept(
        "deliver_policy",
        Kind::Word(&[
            "all",
            "last",
            "new",
            "by_start_sequence",
            "by_start_time",
            "last_per_subject",
            "undefined",
        ]),
    ),
    optional("opt_start_seq", Kind::Unsigned),
    optional("opt_start_time", Kind::OptionalTime),
    kept(
        "ack_policy",
        Kind::Word(&["none", "all", "explicit", "flow_control"]),
    ),
    optional("ack_wait", Kind::Signed),
    optional("max_deliver", Kind::Signed),
    optional("backoff", Kind::Numbers),
    optional("filter_subject", Kind::Text),
    optional("filter_subjects", Kind::Texts),
    kept("replay_policy", Kind::Word(&["instant", "original"])),
    optional("rate_limit_bps", Kind::Unsigned),
    optional("sample_freq", Kind::Text),
    optional("max_waiting", Kind::Signed),
    optional("max_ack_pending", Kind::Signed),
    optional("flow_control", Kind::Bool),
    optional("headers_only", Kind::Bool),
    optional("max_batch", Kind::Signed),
    optional("max_expires", Kind::Signed),
    optional("max_bytes", Kind::Signed),
    optional("deliver_subject", Kind::Text),
    optional("deliver_group", Kind::Text),
    optional("idle_heartbeat", Kind::Signed),
    optional("inactive_threshold", Kind::Signed),
    kept("num_replicas", Kind::Signed),
    optional("mem_storage", Kind::Bool),
    optional("direct", Kind::Bool),
    optional("sourcing", Kind::Bool),
    optional("metadata", Kind::TextMap),
    optional("pause_until", Kind::OptionalTime),
    optional("priority_groups", Kind::Texts),
    optional(
        "priority_policy",
        Kind::Word(&["none", "overflow", "pinned_client", "prioritized"]),
    ),
    optional("priority_timeout", Kind::Signed),
];

/// How deliveries are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckPolicy {
    /// Not at all.
    None,
    /// Each with all before it.
    All,
    /// One by one.
    Explicit,
    /// By flow control (2.14).
    FlowControl,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliverPolicy {
    /// At the first message.
    All,
    /// At the last message.
    Last,
    /// Behind the last message.
    New,
    /// At a sequence.
    ByStartSequence,
    /// At a time.
    ByStartTime,
    /// At the last message of each subject.
    LastPerSubject,
}

/// How fast messages come that were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayPolicy {
    /// As fast as they are taken.
    Instant,
    /// With the time between them that there was when they were stored.
    Original,
}

/// A consumer's `meta.inf` (file format reference, section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerMeta {
    /// The name the store gave it.
    pub store_name: String,
    /// The name in its configuration; empty where none.
    pub name: String,
    /// Its durable name; empty for an ephemeral consumer.
    pub durable: String,
    /// When it was created.
    pub created: Created,
    /// How deliveries are acknowledged.
    pub ack_policy: AckPolicy,
    /// How long a delivery waits for its acknowledgement; 0 where that is not said.
    pub ack_wait_ns: i64,
    /// How long the first, the second and each further delivery waits, in place of `ack_wait_ns`; the last number counts for all
    /// that follow.
    pub backoff_ns: Vec<i64>,
    /// After how many deliveries a message is given up; none where it is not positive.
    pub max_deliver: i64,
    /// How many messages may wait for their acknowledgement; 0 where that is not said, negative for any number.
    pub max_ack_pending: i64,
    /// Where it begins.
    pub deliver_policy: DeliverPolicy,
    /// First sequence wanted, 0 where none is set.
    pub opt_start_seq: u64,
    /// First time wanted, nanoseconds since the Unix epoch, where one is set.
    pub opt_start_time_ns: Option<i64>,
    /// How fast messages come that were there before.
    pub replay_policy: ReplayPolicy,
    /// After how long without anybody who listens a consumer without a durable name goes; 0 where that is not said.
    pub inactive_threshold_ns: i64,
    /// Where a push consumer delivers to; empty for a pull consumer.
    pub deliver_subject: String,
    /// When it is paused until, as its metadata has it; empty where it is not.
    pub pause_until: String,
    /// Groups with priorities; empty where there are none.
    pub priority_groups: Vec<String>,
    /// Which subjects; empty for all.
    pub filter_subjects: Vec<String>,
    /// Replicas, 0 to take those of the stream.
    pub replicas: i64,
    /// Whether its state is kept in memory.
    pub mem_storage: bool,
    /// Whether it serves a mirror or a source.
    pub direct: bool,
    /// Metadata of its owner.
    pub metadata: BTreeMap<String, String>,
    /// API level it needs.
    pub required_level: RequiredLevel,
    /// Fields the server does not know, with dots between the levels.
    pub unknown_fields: Vec<String>,
    raw: Object,
}

impl ConsumerMeta {
    /// Reads the plaintext of `meta.inf`; see [`StreamMeta::parse`](super::StreamMeta::parse).
    ///
    /// # Errors
    ///
    /// [`MetaError`] where the server's lenient attempt fails too.
    pub fn parse(json: &[u8]) -> Result<Self, MetaError> {
        let (raw, unknown_fields) = schema::read(json, CONSUMER)?;
        Ok(Self::of(raw, unknown_fields))
    }

    /// Reads field by field; see [`StreamMeta::parse_fitting`](super::StreamMeta::parse_fitting).
    ///
    /// # Errors
    ///
    /// [`MetaError`] where the text is no JSON object.
    pub fn parse_fitting(json: &[u8]) -> Result<(Self, Option<String>), MetaError> {
        let (raw, unknown_fields, misfit) = schema::read_fitting(json, CONSUMER)?;
        Ok((Self::of(raw, unknown_fields), misfit))
    }

    fn of(mut raw: Object, unknown_fields: Vec<String>) -> Self {
        if raw.get("deliver_policy").and_then(Value::as_str) == Some("undefined") {
            raw.insert("deliver_policy".to_owned(), Value::from("all"));
        }
        let word = |name| raw.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut filter_subjects = texts(&raw, "filter_subjects");
        if !word("filter_subject").is_empty() {
            filter_subjects.insert(0, text(&raw, "filter_subject"));
        }
        ConsumerMeta {
            store_name: text(&raw, "Name"),
            name: text(&raw, "name"),
            durable: text(&raw, "durable_name"),
            created: Created::of(&raw),
            ack_policy: match word("ack_policy") {
                "all" => AckPolicy::All,
                "explicit" => AckPolicy::Explicit,
                "flow_control" => AckPolicy::FlowControl,
                _ => AckPolicy::None,
            },
            ack_wait_ns: number(&raw, "ack_wait"),
            backoff_ns: numbers(&raw, "backoff"),
            max_deliver: number(&raw, "max_deliver"),
            max_ack_pending: number(&raw, "max_ack_pending"),
            deliver_policy: match word("deliver_policy") {
                "last" => DeliverPolicy::Last,
                "new" => DeliverPolicy::New,
                "by_start_sequence" => DeliverPolicy::ByStartSequence,
                "by_start_time" => DeliverPolicy::ByStartTime,
                "last_per_subject" => DeliverPolicy::LastPerSubject,
                _ => DeliverPolicy::All,
            },
            opt_start_seq: unsigned(&raw, "opt_start_seq"),
            opt_start_time_ns: parse_rfc3339(word("opt_start_time")).ok(),
            replay_policy: match word("replay_policy") {
                "original" => ReplayPolicy::Original,
                _ => ReplayPolicy::Instant,
            },
            inactive_threshold_ns: number(&raw, "inactive_threshold"),
            deliver_subject: text(&raw, "deliver_subject"),
            pause_until: text(&raw, "pause_until"),
            priority_groups: texts(&raw, "priority_groups"),
            filter_subjects,
            replicas: number(&raw, "num_replicas"),
            mem_storage: flag(&raw, "mem_storage"),
            direct: flag(&raw, "direct"),
            metadata: text_map(&raw, "metadata"),
            required_level: RequiredLevel::of(&raw),
            unknown_fields,
            raw,
        }
    }

    /// The same metadata with another number of replicas.
    #[must_use]
    pub fn with_replicas(&self, count: i64) -> Self {
        let mut changed = self.clone();
        changed.replicas = count;
        let value = Value::from(count);
        changed.raw.insert("num_replicas".to_owned(), value);
        changed
    }

    /// The same metadata under the name `store_name` of its store, created at `created`, which is RFC 3339.
    #[must_use]
    pub fn with_identity(&self, store_name: &str, created: &str) -> Self {
        let mut changed = self.clone();
        store_name.clone_into(&mut changed.store_name);
        changed
            .raw
            .insert("Name".to_owned(), Value::from(store_name));
        changed
            .raw
            .insert("Created".to_owned(), Value::from(created));
        changed.created = Created::of(&changed.raw);
        changed
    }

    /// The same metadata with the state in files.
    #[must_use]
    pub fn with_files(&self) -> Self {
        let mut raw = self.raw.clone();
        raw.remove("mem_storage");
        Self::of(raw, self.unknown_fields.clone())
    }

    /// The settings in force: what is not said as the server's defaults have it. Nothing is checked.
    #[must_use]
    pub fn settings(&self) -> Self {
        let mut raw = self.raw.clone();
        let mut set = |name: &str, value: i64| {
            raw.insert(name.to_owned(), Value::from(value));
        };
        if self.max_deliver <= 0 {
            set("max_deliver", -1);
        }
        let has_queue = number(&self.raw, "max_waiting") > 0 || !self.deliver_subject.is_empty();
        if !has_queue {
            set("max_waiting", MAX_WAITING_DEFAULT);
        }
        let waits = matches!(self.ack_policy, AckPolicy::All | AckPolicy::Explicit);
        match self.backoff_ns.first() {
            Some(first) => set("ack_wait", *first),
            None if waits && self.ack_wait_ns == 0 => set("ack_wait", ACK_WAIT_DEFAULT_NS),
            None => {}
        }
        if self.max_ack_pending == 0 && self.ack_policy != AckPolicy::None {
            set("max_ack_pending", MAX_ACK_PENDING_DEFAULT);
        }
        Self::of(raw, self.unknown_fields.clone())
    }

    /// Whether both configure the same, whatever the names of their stores and the times of their creation.
    #[must_use]
    pub fn has_same_settings(&self, other: &Self) -> bool {
        let settings = |meta: &Self| meta.with_identity("", "").encode();
        settings(self) == settings(other)
    }

    /// A durable consumer of that name which takes every message of the stream and wants each acknowledged.
    #[must_use]
    pub fn explicit(name: &str) -> Option<Self> {
        let fields = serde_json::json!({
            "Name": name, "name": name, "durable_name": name, "deliver_policy": "all",
            "ack_policy": "explicit", "ack_wait": 30_000_000_000_i64, "max_deliver": -1,
            "replay_policy": "instant", "max_waiting": 512, "max_ack_pending": 1000, "num_replicas": 0,
        });
        Self::parse(fields.to_string().as_bytes()).ok()
    }

    /// Every field that was there, under the server's names; unknown ones too.
    #[must_use]
    pub fn raw(&self) -> &Object {
        &self.raw
    }

    /// The plaintext of `meta.inf`, as the server writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        schema::write(&self.raw, CONSUMER).into_bytes()
    }
}

fn numbers(object: &Object, name: &str) -> Vec<i64> {
    let items = object.get(name).and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_i64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_names_are_kept_apart() {
        let meta = ConsumerMeta::parse(
            br#"{"Created":"2026-01-02T03:04:05Z","Name":"store","name":"config","durable_name":"dur",
                "ack_policy":"explicit","deliver_policy":"by_start_sequence","opt_start_seq":7,"num_replicas":1}"#,
        )
        .expect("parses");
        assert_eq!(
            (
                meta.store_name.as_str(),
                meta.name.as_str(),
                meta.durable.as_str()
            ),
            ("store", "config", "dur")
        );
        assert_eq!(
            (meta.ack_policy, meta.deliver_policy),
            (AckPolicy::Explicit, DeliverPolicy::ByStartSequence)
        );
        assert_eq!(meta.opt_start_seq, 7);
        assert_eq!(meta.created.ns(), Some(1_767_323_045_000_000_000));
        // In any other spelling the first of the two is meant.
        let shouted = ConsumerMeta::parse(br#"{"NAME":"x"}"#).expect("parses");
        assert_eq!(
            (shouted.store_name.as_str(), shouted.name.as_str()),
            ("x", "")
        );
    }

    #[test]
    fn an_undefined_deliver_policy_is_all() {
        let meta = ConsumerMeta::parse(br#"{"deliver_policy":"undefined"}"#).expect("parses");
        assert_eq!(meta.deliver_policy, DeliverPolicy::All);
        let text = String::from_utf8(meta.encode()).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"Created":"0001-01-01T00:00:00Z","Name":"","deliver_policy":"all","ack_policy":"none","replay_policy":"instant","num_replicas":0}"#
        );
    }

    #[test]
    fn what_does_not_fit_can_be_left_out() {
        let json = br#"{"Name":"a","ack_policy":"novel","filter_subject":"x","deliver_subject":7,"new":1}"#;
        assert!(ConsumerMeta::parse(json).is_err());
        let (meta, misfit) = ConsumerMeta::parse_fitting(json).expect("an object");
        assert_eq!(misfit.as_deref(), Some("ack_policy: \"novel\""));
        assert_eq!(
            (meta.store_name.as_str(), meta.ack_policy),
            ("a", AckPolicy::None)
        );
        assert_eq!(
            (meta.filter_subjects, meta.deliver_subject),
            (vec!["x".to_owned()], String::new())
        );
        assert_eq!(meta.unknown_fields, ["new"]);
        for text in ["[]", "7", "{", "{} x"] {
            assert!(
                ConsumerMeta::parse_fitting(text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn unknown_fields_are_told_not_refused() {
        let meta = ConsumerMeta::parse(br#"{"Name":"a","novelty":{"x":1}}"#).expect("parses");
        assert_eq!(meta.unknown_fields, ["novelty"]);
        assert!(meta.encode().ends_with(br#","novelty":{"x":1}}"#));
    }

    #[test]
    fn what_is_not_said_is_as_the_server_has_it() {
        let settings = |json: &str| {
            let meta = ConsumerMeta::parse(json.as_bytes()).expect("parses");
            let meta = meta.settings();
            let wait_s = meta.ack_wait_ns / 1_000_000_000;
            (meta.max_deliver, wait_s, meta.max_ack_pending)
        };
        assert_eq!(settings(r#"{"ack_policy":"explicit"}"#), (-1, 30, 1000));
        assert_eq!(settings("{}"), (-1, 0, 0));
        let own =
            r#"{"ack_policy":"all","ack_wait":2000000000,"max_ack_pending":-1,"max_deliver":3}"#;
        assert_eq!(settings(own), (3, 2, -1));
        let backoff =
            r#"{"ack_policy":"explicit","ack_wait":2000000000,"backoff":[5000000000,7000000000]}"#;
        assert_eq!(settings(backoff), (-1, 5, 1000));
    }

    #[test]
    fn the_same_settings_are_the_same_under_another_name_and_time() {
        let meta = ConsumerMeta::explicit("a").expect("parses");
        let later = meta.with_identity("b", "2026-01-02T03:04:05Z");
        assert!(meta.has_same_settings(&later));
        assert!(!meta.has_same_settings(&meta.with_replicas(3)));
    }
}
