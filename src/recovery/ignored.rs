//! What an older server does not know of a stream and passes over without a word.

use super::server::{Quirk, ServerBehavior};
use crate::format::meta::{AckPolicy, Compression, ConsumerMeta, PersistMode, StreamMeta};
use crate::format::names::META;
use crate::report::events::{Event, EventCode};

/// One feature: since when, whether it is in use, what becomes of it before.
struct Row<M> {
    since: Quirk,
    used: fn(&M) -> bool,
    loss: &'static str,
}

const STREAM: &[Row<StreamMeta>] = &[
    Row {
        since: Quirk::MessageTtl,
        used: |meta| meta.allow_msg_ttl,
        loss: "messages with a TTL stay until a limit takes them",
    },
    Row {
        since: Quirk::MessageTtl,
        used: |meta| meta.subject_delete_marker_ttl_ns > 0,
        loss: "no delete markers are set for subjects whose last message goes",
    },
    Row {
        since: Quirk::Schedules,
        used: |meta| meta.allow_msg_schedules,
        loss: "scheduled messages lie where they are, and nothing is sent",
    },
    Row {
        since: Quirk::AtomicBatches,
        used: |meta| meta.allow_msg_counter,
        loss: "counters are not kept: what is added is stored as it comes",
    },
    Row {
        since: Quirk::AtomicBatches,
        used: |meta| meta.allow_atomic,
        loss: "messages of an atomic batch are stored one by one, a staged batch is left lying",
    },
    Row {
        since: Quirk::AtomicBatches,
        used: |meta| meta.persist_mode == PersistMode::Async,
        loss: "messages are written before they are acknowledged, as if asynchronous writing were off",
    },
    Row {
        since: Quirk::PurgeStaging,
        used: |meta| meta.allow_batched,
        loss: "messages of a batch are stored one by one",
    },
    Row {
        since: Quirk::Compression,
        used: |meta| meta.compression == Compression::S2,
        loss: "new blocks are not compressed, and blocks that are lose everything",
    },
    Row {
        since: Quirk::FirstSeq,
        used: |meta| meta.first_seq > 0,
        loss: "the configured first sequence does not count",
    },
    Row {
        since: Quirk::FirstSeq,
        used: |meta| meta.subject_transform.is_some(),
        loss: "subjects are stored as they come, not transformed",
    },
];

const CONSUMER: &[Row<ConsumerMeta>] = &[
    Row {
        since: Quirk::MessageTtl,
        used: |meta| !meta.pause_until.is_empty(),
        loss: "the consumer is not paused",
    },
    Row {
        since: Quirk::MessageTtl,
        used: |meta| !meta.priority_groups.is_empty(),
        loss: "its priority groups do not count: any client is served",
    },
    Row {
        since: Quirk::FirstSeq,
        used: |meta| meta.filter_subjects.len() > 1,
        loss: "of its filters none counts: it gets every subject",
    },
    Row {
        since: Quirk::PurgeStaging,
        used: |meta| meta.ack_policy == AckPolicy::FlowControl,
        loss: "acknowledgement by flow control is not known",
    },
];

fn told<M>(rows: &[Row<M>], meta: &M, server: ServerBehavior, file: &str) -> Vec<Event> {
    rows.iter()
        .filter(|row| !server.has(row.since) && (row.used)(meta))
        .map(|row| {
            let detail = format!("server {}: {}", server.version(), row.loss);
            Event::new(EventCode::FeatureIgnored, detail).file(file)
        })
        .collect()
}

/// What `server` passes over in a stream that it opens.
pub fn of_stream(meta: &StreamMeta, server: ServerBehavior) -> Vec<Event> {
    told(STREAM, meta, server, META)
}

/// What `server` passes over in a consumer that it brings back; `file` is the consumer's metadata.
pub fn of_consumer(meta: &ConsumerMeta, server: ServerBehavior, file: &str) -> Vec<Event> {
    told(CONSUMER, meta, server, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = r#"{"name":"S","subjects":["s"],"allow_msg_ttl":true,"subject_delete_marker_ttl":1000000000,
        "allow_msg_schedules":true,"allow_msg_counter":true,"allow_atomic":true,"persist_mode":"async",
        "allow_batched":true,"compression":"s2","first_seq":7,"subject_transform":{"src":"a","dest":"b"}}"#;
    const CONSUMER_ALL: &str = r#"{"Name":"c","pause_until":"2090-01-01T00:00:00Z","priority_groups":["a"],
        "filter_subjects":["a","b"],"ack_policy":"flow_control"}"#;

    #[test]
    fn each_line_passes_over_what_came_after_it() {
        let stream = StreamMeta::parse(ALL.as_bytes()).expect("metadata");
        let consumer = ConsumerMeta::parse(CONSUMER_ALL.as_bytes()).expect("metadata");
        for (server, streams, consumers) in [
            ("2.9", 10, 4),
            ("2.10", 7, 3),
            ("2.11", 5, 1),
            ("2.12", 1, 1),
            ("2.14", 0, 0),
            ("2.15", 0, 0),
        ] {
            let server = ServerBehavior::of(server.parse().expect("a server"));
            let found = of_stream(&stream, server);
            assert_eq!(found.len(), streams, "{found:?}");
            let found = of_consumer(&consumer, server, "obs/c/meta.inf");
            assert_eq!(found.len(), consumers, "{found:?}");
        }
    }

    #[test]
    fn what_is_not_used_is_not_missed() {
        let stream = StreamMeta::parse(br#"{"name":"S","allow_msg_ttl":false,"first_seq":0}"#);
        let server = ServerBehavior::of("2.9".parse().expect("a server"));
        assert_eq!(of_stream(&stream.expect("metadata"), server), []);
        let consumer = ConsumerMeta::parse(br#"{"Name":"c","filter_subject":"a"}"#);
        assert_eq!(of_consumer(&consumer.expect("metadata"), server, "f"), []);
    }
}
