//! Metadata of a stream.

use std::collections::BTreeMap;

use serde_json::Value;

use super::overlap::collide;
use super::schema::{self, Field, Kind, Object, kept, optional};
use super::source::{SOURCE, SourceMeta, SubjectTransform, TRANSFORM};
use super::{
    ConfigError, Created, MetaError, RequiredLevel, check, flag, number, part, text, text_map,
    texts, unsigned,
};
use crate::format::duration::Instant;
use crate::format::subject;

const PLACEMENT: &[Field] = &[
    optional("cluster", Kind::Text),
    optional("tags", Kind::Texts),
    optional("preferred", Kind::Text),
];
const REPUBLISH: &[Field] = &[
    optional("src", Kind::Text),
    kept("dest", Kind::Text),
    optional("headers_only", Kind::Bool),
];
const CONSUMER_LIMITS: &[Field] = &[
    optional("inactive_threshold", Kind::Signed),
    optional("max_ack_pending", Kind::Signed),
];

/// The fields of a stream's `meta.inf`, in the order the server writes them.
const STREAM: &[Field] = &[
    kept("Created", Kind::Time),
    kept("name", Kind::Text),
    optional("description", Kind::Text),
    optional("subjects", Kind::Texts),
    kept(
        "retention",
        Kind::Word(&["limits", "interest", "workqueue"]),
    ),
    kept("max_consumers", Kind::Signed),
    kept("max_msgs", Kind::Signed),
    kept("max_bytes", Kind::Signed),
    kept("max_age", Kind::Signed),
    kept("max_msgs_per_subject", Kind::Signed),
    optional("max_msg_size", Kind::Signed32),
    kept("discard", Kind::WordAnyCase(&["old", "new"])),
    kept("storage", Kind::Word(&["file", "memory"])),
    kept("num_replicas", Kind::Signed),
    optional("no_ack", Kind::Bool),
    optional("duplicate_window", Kind::Signed),
    optional("placement", Kind::OptionalPart(PLACEMENT)),
    optional("mirror", Kind::OptionalPart(SOURCE)),
    optional("sources", Kind::Parts(SOURCE)),
    kept("compression", Kind::Word(&["none", "s2"])),
    optional("first_seq", Kind::Unsigned),
    optional("subject_transform", Kind::OptionalPart(TRANSFORM)),
    optional("republish", Kind::OptionalPart(REPUBLISH)),
    kept("allow_direct", Kind::Bool),
    kept("mirror_direct", Kind::Bool),
    optional("discard_new_per_subject", Kind::Bool),
    kept("sealed", Kind::Bool),
    kept("deny_delete", Kind::Bool),
    kept("deny_purge", Kind::Bool),
    kept("allow_rollup_hdrs", Kind::Bool),
    kept("consumer_limits", Kind::Part(CONSUMER_LIMITS)),
    kept("allow_msg_ttl", Kind::Bool),
    optional("subject_delete_marker_ttl", Kind::Signed),
    optional("allow_msg_counter", Kind::Bool),
    optional("allow_atomic", Kind::Bool),
    optional("allow_msg_schedules", Kind::Bool),
    optional("persist_mode", Kind::Word(&["default", "async", ""])),
    optional("allow_batched", Kind::Bool),
    optional("metadata", Kind::TextMap),
];

/// When messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// By limits alone.
    Limits,
    /// Once every consumer has acknowledged.
    Interest,
    /// Once one consumer has.
    WorkQueue,
}

/// What gives way at a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// The oldest messages.
    Old,
    /// The new message.
    New,
}

/// Where a stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In files.
    File,
    /// In memory.
    Memory,
}

/// How sealed blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// With S2.
    S2,
}

/// When writes reach the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersistMode {
    /// Before the acknowledgement.
    Default,
    /// Some time later.
    Async,
}

/// A stream's `meta.inf` (file format reference, section 2.1).
///
/// The fields are what recovery goes by; [`raw`](Self::raw) has all of them, and what is written comes from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMeta {
    /// Stream name.
    pub name: String,
    /// When it was created.
    pub created: Created,
    /// Description.
    pub description: String,
    /// Subjects it takes.
    pub subjects: Vec<String>,
    /// When messages go.
    pub retention: Retention,
    /// Where it is kept.
    pub storage: Storage,
    /// Replicas.
    pub replicas: i64,
    /// Most consumers.
    pub max_consumers: i64,
    /// Most messages.
    pub max_messages: i64,
    /// Most bytes.
    pub max_bytes: i64,
    /// Age limit in nanoseconds, 0 for none.
    pub max_age_ns: i64,
    /// Most messages of one subject.
    pub max_messages_per_subject: i64,
    /// Most bytes of one message.
    pub max_message_size: i64,
    /// What gives way at a limit.
    pub discard: Discard,
    /// Whether a subject's limit also refuses new messages.
    pub discard_new_per_subject: bool,
    /// How long duplicates are recognised, in nanoseconds.
    pub duplicate_window_ns: i64,
    /// First sequence, 0 where none is set.
    pub first_seq: u64,
    /// Compression.
    pub compression: Compression,
    /// The stream it mirrors.
    pub mirror: Option<SourceMeta>,
    /// The streams it sources from.
    pub sources: Vec<SourceMeta>,
    /// Whether the list of sources holds a `null`, which the server refuses.
    pub has_null_source: bool,
    /// Renaming of subjects on arrival.
    pub subject_transform: Option<SubjectTransform>,
    /// Subjects republished, and as what.
    pub republish: Option<SubjectTransform>,
    /// Whether messages may carry a TTL.
    pub allow_msg_ttl: bool,
    /// TTL of delete markers in nanoseconds, 0 for none.
    pub subject_delete_marker_ttl_ns: i64,
    /// Whether messages may be scheduled.
    pub allow_msg_schedules: bool,
    /// Whether atomic batches are taken.
    pub allow_atomic: bool,
    /// Whether counters are kept.
    pub allow_msg_counter: bool,
    /// Whether fast batches are taken.
    pub allow_batched: bool,
    /// When writes reach the file.
    pub persist_mode: PersistMode,
    /// Whether it is closed to changes.
    pub sealed: bool,
    /// Whether purges are refused.
    pub deny_purge: bool,
    /// Whether roll-ups are taken.
    pub allow_rollup: bool,
    /// Whether publishers get no acknowledgement.
    pub no_ack: bool,
    /// Metadata of its owner.
    pub metadata: BTreeMap<String, String>,
    /// API level it needs.
    pub required_level: RequiredLevel,
    /// Fields the server does not know, with dots between the levels.
    pub unknown_fields: Vec<String>,
    raw: Object,
}

impl StreamMeta {
    /// Reads the plaintext of `meta.inf` as leniently as the server does on its second attempt. What its first, strict
    /// attempt would object to is in [`unknown_fields`](Self::unknown_fields).
    ///
    /// # Errors
    ///
    /// [`MetaError`] where neither attempt succeeds.
    pub fn parse(json: &[u8]) -> Result<Self, MetaError> {
        let (raw, unknown_fields) = schema::read(json, STREAM)?;
        Ok(Self::of(raw, unknown_fields))
    }

    /// Reads field by field, as servers from 2.14.10 and 2.15.3 on do where [`parse`](Self::parse) fails over a value: fields
    /// whose value does not fit are left unset, and the first of them is told beside the metadata.
    ///
    /// # Errors
    ///
    /// [`MetaError`] where the text is no JSON object.
    pub fn parse_fitting(json: &[u8]) -> Result<(Self, Option<String>), MetaError> {
        let (raw, unknown_fields, misfit) = schema::read_fitting(json, STREAM)?;
        Ok((Self::of(raw, unknown_fields), misfit))
    }

    #[expect(clippy::too_many_lines, reason = "one line for each setting")]
    fn of(raw: Object, unknown_fields: Vec<String>) -> Self {
        let word = |name| raw.get(name).and_then(Value::as_str).unwrap_or_default();
        let transform = |name| part(&raw, name).map(SubjectTransform::of);
        let sources = raw
            .get("sources")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        StreamMeta {
            name: text(&raw, "name"),
            created: Created::of(&raw),
            description: text(&raw, "description"),
            subjects: texts(&raw, "subjects"),
            retention: match word("retention") {
                "interest" => Retention::Interest,
                "workqueue" => Retention::WorkQueue,
                _ => Retention::Limits,
            },
            storage: if word("storage") == "memory" {
                Storage::Memory
            } else {
                Storage::File
            },
            replicas: number(&raw, "num_replicas"),
            max_consumers: number(&raw, "max_consumers"),
            max_messages: number(&raw, "max_msgs"),
            max_bytes: number(&raw, "max_bytes"),
            max_age_ns: number(&raw, "max_age"),
            max_messages_per_subject: number(&raw, "max_msgs_per_subject"),
            max_message_size: number(&raw, "max_msg_size"),
            discard: if word("discard") == "new" {
                Discard::New
            } else {
                Discard::Old
            },
            discard_new_per_subject: flag(&raw, "discard_new_per_subject"),
            duplicate_window_ns: number(&raw, "duplicate_window"),
            first_seq: unsigned(&raw, "first_seq"),
            compression: if word("compression") == "s2" {
                Compression::S2
            } else {
                Compression::None
            },
            mirror: part(&raw, "mirror").map(SourceMeta::of),
            sources: sources
                .iter()
                .filter_map(Value::as_object)
                .map(SourceMeta::of)
                .collect(),
            has_null_source: sources.iter().any(Value::is_null),
            subject_transform: transform("subject_transform"),
            republish: transform("republish"),
            allow_msg_ttl: flag(&raw, "allow_msg_ttl"),
            subject_delete_marker_ttl_ns: number(&raw, "subject_delete_marker_ttl"),
            allow_msg_schedules: flag(&raw, "allow_msg_schedules"),
            allow_atomic: flag(&raw, "allow_atomic"),
            allow_msg_counter: flag(&raw, "allow_msg_counter"),
            allow_batched: flag(&raw, "allow_batched"),
            persist_mode: if word("persist_mode") == "async" {
                PersistMode::Async
            } else {
                PersistMode::Default
            },
            sealed: flag(&raw, "sealed"),
            deny_purge: flag(&raw, "deny_purge"),
            allow_rollup: flag(&raw, "allow_rollup_hdrs"),
            no_ack: flag(&raw, "no_ack"),
            metadata: text_map(&raw, "metadata"),
            required_level: RequiredLevel::of(&raw),
            unknown_fields,
            raw,
        }
    }

    /// A stream of this name of which nothing else is said.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut raw = Object::new();
        raw.insert("name".to_owned(), Value::from(name));
        Self::of(raw, Vec::new())
    }

    /// Every field that was there, under the server's names; unknown ones too.
    #[must_use]
    pub fn raw(&self) -> &Object {
        &self.raw
    }

    /// The same metadata with some fields replaced; the names are the server's.
    #[must_use]
    pub(super) fn with(&self, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let mut raw = self.raw.clone();
        for (name, value) in fields {
            raw.insert(name.to_owned(), value);
        }
        Self::of(raw, self.unknown_fields.clone())
    }

    /// The same metadata with other subjects.
    #[must_use]
    pub fn with_subjects(&self, subjects: Vec<String>) -> Self {
        self.with([("subjects", Value::from(subjects))])
    }

    /// The same metadata with another duplicate window, in nanoseconds.
    #[must_use]
    pub fn with_duplicate_window(&self, window_ns: i64) -> Self {
        self.with([("duplicate_window", Value::from(window_ns))])
    }

    /// The same metadata under another name.
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        self.with([("name", Value::from(name))])
    }

    /// The same metadata with another number of replicas.
    #[must_use]
    pub fn with_replicas(&self, count: i64) -> Self {
        self.with([("num_replicas", Value::from(count))])
    }

    /// The same metadata created at another time.
    #[must_use]
    pub fn with_created(&self, created: Instant) -> Self {
        self.with([("Created", Value::from(created.to_rfc3339()))])
    }

    /// The settings in force: the server's defaults filled in, and its checks passed.
    ///
    /// Not checked: whether other streams stand in the way, and limits a server's configuration may set.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: the server refuses these settings and leaves the stream out.
    pub fn settings(&self) -> Result<Self, ConfigError> {
        check::settings(self)
    }

    /// Whether both configure the same, whatever the times of their creation. Of what is not said both have to say nothing: see
    /// [`settings`](Self::settings).
    #[must_use]
    pub fn has_same_settings(&self, other: &Self) -> bool {
        let settings = |meta: &Self| meta.with([("Created", Value::Null)]).encode();
        settings(self) == settings(other)
    }

    /// Whether a message of this subject is one of the stream's.
    #[must_use]
    pub fn takes(&self, subject: &[u8]) -> bool {
        let mut filters = self.subjects.iter();
        filters.any(|filter| subject::matches(subject, filter.as_bytes()))
    }

    /// Whether there is a subject that both streams would take: one server refuses the second of them.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut subjects = self.subjects.iter();
        subjects.any(|one| other.subjects.iter().any(|two| collide(one, two)))
    }

    /// The plaintext of `meta.inf`, as the server writes it, unknown fields at the end of their objects.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        schema::write(&self.raw, STREAM).into_bytes()
    }

    /// Whether placement names a preferred server.
    pub(super) fn prefers_a_server(&self) -> bool {
        part(&self.raw, "placement")
            .is_some_and(|placement| !text(placement, "preferred").is_empty())
    }
}
