//! From a stream's settings to the rules recovery goes by.

use super::metadata::StreamSetup;
use super::open::StoreSetup;
use super::server::{Quirk, ServerBehavior};
use super::simulate::{Rules, StreamKeys};
use super::timers::{ConfiguredSource, TimerRules};
use super::walked::WalkedBlocks;
use crate::format::limits::{
    BLOCK_SIZE_MEDIUM, BLOCK_SIZE_META_GROUP, BlockSizeInputs, record_length_estimate,
    stream_block_size,
};
use crate::format::meta::{Discard, PersistMode, Retention, StreamMeta};
use crate::format::subject;
use crate::stream::options::Options;

/// What the server takes for the longest message where neither stream nor account limit it.
const PAYLOAD_DEFAULT: u32 = 1024 * 1024;

/// The raft group of the cluster's own metadata.
const META_GROUP: &str = "_meta_";

impl StreamSetup {
    /// What the steps of the open call need to know of this store.
    pub(super) fn store<'a>(&'a self, options: &'a Options) -> StoreSetup<'a> {
        StoreSetup {
            rules: self.rules(options),
            timers: self.timer_rules(options),
            keys: self.keys(options),
            asset_key: self.asset_key.clone(),
            threads: options.threads,
            map_files: options.map_files,
            careful: options.careful,
            no_index: options.no_index,
            quick: options.quick,
            digest: options.collect.digest,
            rebuild: false,
            duplicate_names: false,
            new_meta: self.needs_meta.then(|| self.meta.encode()),
            walked: WalkedBlocks::default(),
            wants_changes: false,
        }
    }

    /// The keys of this stream's blocks and consumers.
    pub(crate) fn keys<'a>(&'a self, options: &'a Options) -> StreamKeys<'a> {
        StreamKeys {
            account: &self.account,
            stream: self.name.as_bytes(),
            current: options.keys.current.as_ref(),
            previous: options.keys.previous.as_ref(),
            cipher: self.cipher,
        }
    }

    /// What of the settings recovery goes by.
    pub(super) fn rules(&self, options: &Options) -> Rules {
        let meta = &self.meta;
        let limit = |found: i64| u64::try_from(found).unwrap_or(0);
        Rules {
            server: ServerBehavior::of(options.server),
            name: self.name.clone().into_bytes(),
            tracks_subjects: !meta.subjects.is_empty()
                || meta.mirror.is_some()
                || !meta.sources.is_empty(),
            discard_old: meta.discard == Discard::Old,
            max_messages: limit(meta.max_messages),
            max_bytes: limit(meta.max_bytes),
            max_messages_per_subject: limit(meta.max_messages_per_subject),
            max_age_ns: meta.max_age_ns,
            delete_markers: meta.subject_delete_marker_ttl_ns > 0
                && ServerBehavior::of(options.server).has(Quirk::MarkersSpareAge),
            first_seq: meta.first_seq,
            async_flush: meta.replicas > 1 || meta.persist_mode == PersistMode::Async,
            block_size: options
                .block_size
                .unwrap_or_else(|| self.block_size(options.keys.current.is_some())),
            now_ns: options.now_ns,
            expire: options.expire,
            limits: options.limits,
        }
    }

    fn block_size(&self, encrypted: bool) -> u64 {
        block_size(&self.meta, self.raft_group, encrypted)
    }

    /// Which of TTLs, schedules and sources apply.
    pub(super) fn timer_rules(&self, options: &Options) -> TimerRules {
        let bytes = |texts: Vec<String>| texts.into_iter().map(String::into_bytes).collect();
        let server = ServerBehavior::of(options.server);
        let sources = server.has(Quirk::SourcesFile).then_some(&self.meta.sources);
        let sources = sources
            .into_iter()
            .flatten()
            .map(|source| ConfiguredSource {
                key: source.key().into_bytes(),
                legacy_names: bytes(source.legacy_names()),
                filters: bytes(source.filters()),
            });
        TimerRules {
            ttl: self.meta.allow_msg_ttl && server.has(Quirk::MessageTtl),
            schedules: self.meta.allow_msg_schedules && server.has(Quirk::Schedules),
            sources: sources.collect(),
            ignore_files: options.no_index,
            anew: false,
        }
    }
}

/// Bytes that a block of a stream may grow to by the server's rule.
#[must_use]
pub fn block_size(meta: &StreamMeta, raft_group: bool, encrypted: bool) -> u64 {
    if raft_group {
        return if meta.name == META_GROUP {
            BLOCK_SIZE_META_GROUP
        } else {
            BLOCK_SIZE_MEDIUM
        };
    }
    let longest_literal = meta
        .subjects
        .iter()
        .filter(|subject| subject::is_literal(subject.as_bytes()))
        .map(String::len)
        .max();
    let payload = u32::try_from(meta.max_message_size)
        .ok()
        .filter(|size| *size > 0)
        .unwrap_or(PAYLOAD_DEFAULT);
    stream_block_size(&BlockSizeInputs {
        max_bytes: meta.max_bytes,
        max_messages: meta.max_messages,
        max_messages_per_subject: meta.max_messages_per_subject,
        record_length_estimate: record_length_estimate(payload, longest_literal),
        limits_retention: meta.retention == Retention::Limits,
        encrypted,
    })
}
