//! `meta.inf`, `meta.sum`, and repairs of the configuration.

use jetsam::format::checksum::{HashKey, hex16};
use jetsam::report::stream::Refusal;
use serde_json::Value;

use super::{bounds, cases, each, saw};

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

#[test]
fn r177_meta_and_its_sum() {
    each("R177", "", |case, report| {
        let meta = case.read("meta.inf");
        let sum = hex16(HashKey::for_stream(b"S").hash64(&[&meta]));
        assert_eq!(sum.as_bytes(), case.read("meta.sum"));
        assert_eq!(json(&meta)["name"], "S");
        let meta = case.read("obs/obs/meta.inf");
        let sum = hex16(HashKey::for_consumer(b"S", b"obs").hash64(&[&meta]));
        assert_eq!(sum.as_bytes(), case.read("obs/obs/meta.sum"));
        assert_eq!(json(&meta)["name"], "obs");
        assert_eq!(report.consumers.len(), 1);
    });
}

#[test]
fn r178_meta_of_no_bytes() {
    each("R178", "cut", |_, report| {
        assert_eq!(report.refusal, Some(Refusal::Skipped));
        assert!(report.actions.is_empty());
    });
    // With the configuration back, the messages are.
    each("R178", "again", |_, report| {
        assert_eq!(bounds(report), (10, 1, 10))
    });
}

#[test]
fn r180_blanks_around_a_subject() {
    each("R180", "", |case, report| {
        assert!(
            json(&case.read("meta.inf"))["subjects"]
                .as_array()
                .is_some_and(|all| all.len() == 3)
        );
        assert!(saw(report, "stream-subject-repaired"));
        assert_eq!(bounds(report), (1, 1, 1));
    });
}

#[test]
fn r182_sealed() {
    each("R182", "", |case, report| {
        assert_eq!(json(&case.read("meta.inf"))["sealed"], true);
        assert_eq!(bounds(report), (100, 1, 100));
    });
}

#[test]
fn r183_updated_configuration() {
    each("R183", "", |case, report| {
        let meta = json(&case.read("meta.inf"));
        assert_eq!(meta["max_msgs"], 2222);
        assert_eq!(meta["max_bytes"], 3_333_333);
        assert_eq!(meta["max_age"], 79_200_000_000_000_u64);
        assert_eq!(meta["subjects"], serde_json::json!(["foo", "bar"]));
        assert_eq!(bounds(report), (10, 1, 10));
        assert!(
            report
                .actions
                .iter()
                .all(|action| action.file != "meta.inf")
        );
    });
}

#[test]
fn r186_mirror_with_a_consumer() {
    each("R186", "", |_, report| {
        assert_eq!(bounds(report), (3, 1, 3));
        let consumer = &report.consumers[0];
        assert_eq!((consumer.name.as_str(), consumer.outcome), ("all", "ok"));
    });
}

#[test]
fn r303_replicas_on_a_single_server() {
    for case in cases("R303", "") {
        let report = case.look();
        assert_eq!(report.refusal, None);
        assert!(saw(&report, "replicas-unsupported"));
    }
}
