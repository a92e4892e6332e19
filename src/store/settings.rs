//! What of a stream's configuration the engine goes by.

use crate::format::meta::{Compression, Discard, StreamMeta};

/// Limits and rules, with 0 for "none".
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub max_messages: u64,
    pub max_bytes: u64,
    pub max_messages_per_subject: u64,
    pub max_message_bytes: u64,
    pub max_age_ns: i64,
    /// New messages are refused where a limit is reached, rather than old ones dropped.
    pub refuses_new: bool,
    /// So are those of a subject that has its fill.
    pub refuses_new_per_subject: bool,
    pub compresses: bool,
    pub has_ttls: bool,
    pub has_schedules: bool,
    /// Time to live of the marker that is left where a subject's last message goes by its age.
    pub marker_ttl_ns: i64,
    /// Keys of the configured sources, as they stand in `sources.db`.
    pub sources: Vec<Vec<u8>>,
}

impl Settings {
    pub fn of(meta: &StreamMeta) -> Self {
        let limit = |found: i64| u64::try_from(found).unwrap_or(0);
        Settings {
            max_messages: limit(meta.max_messages),
            max_bytes: limit(meta.max_bytes),
            max_messages_per_subject: limit(meta.max_messages_per_subject),
            max_message_bytes: limit(meta.max_message_size),
            max_age_ns: meta.max_age_ns.max(0),
            refuses_new: meta.discard == Discard::New,
            refuses_new_per_subject: meta.discard_new_per_subject,
            compresses: meta.compression == Compression::S2,
            has_ttls: meta.allow_msg_ttl,
            has_schedules: meta.allow_msg_schedules,
            marker_ttl_ns: meta.subject_delete_marker_ttl_ns.max(0),
            sources: meta
                .sources
                .iter()
                .map(|source| source.key().into_bytes())
                .collect(),
        }
    }
}

/// Whether a stream of this configuration keeps subjects.
pub(super) fn tracks_subjects(meta: &StreamMeta) -> bool {
    !meta.subjects.is_empty() || meta.mirror.is_some() || !meta.sources.is_empty()
}
