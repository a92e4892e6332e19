//! Fresh side files, in the version that each server reads.

use std::sync::atomic::AtomicBool;

use jetsam::env::OsEntropy;
use jetsam::format::record::NewRecord;
use jetsam::living::Idle;
use jetsam::recovery::{examine, rebuild_index};
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::stream::{Outcome, Source};

use super::store::{DIR, Store, block, message, messages};

fn rebuilt(store: &Store, server: &str) -> jetsam::report::stream::StreamReport {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    rebuild_index(
        &store.fs,
        &Idle::declared(),
        &Store::stream(),
        &store.options,
        server.parse().expect("a version"),
        &OsEntropy,
        &watch,
    )
}

#[test]
fn an_index_is_rebuilt_in_the_version_its_server_reads() {
    for (server, version) in [
        ("2.10", 1),
        ("2.11", 2),
        ("2.12", 3),
        ("2.14", 4),
        ("2.15", 4),
    ] {
        let store = Store::new(r#""max_msgs":1,"discard":"old","max_age":100000000,"#)
            .with("msgs/1.blk", messages(1, 1..=3))
            .with("msgs/2.blk", messages(2, 4..=6));
        let report = rebuilt(&store, server);
        assert_ne!(report.outcome, Outcome::Refused, "{:?}", report.events);
        let index = std::path::PathBuf::from(format!("{DIR}/msgs/index.db"));
        assert_eq!(store.fs.files()[&index][1], version, "{server}");
        // Neither age nor limits have been at it.
        let state = report.state.expect("a state");
        assert_eq!((state.messages, state.first_seq, state.last_seq), (6, 1, 6));
        assert!(store.by(server).fast_path, "{server}");
    }
}

#[test]
fn nothing_is_rebuilt_where_more_would_have_to_change() {
    let size = messages(1, 1..=1).len();
    let sound = || {
        Store::new("")
            .with("msgs/1.blk", messages(1, 1..=3))
            .with("msgs/2.blk", messages(2, 4..=6))
    };
    let stores = [
        ("a bad record", sound().flip("msgs/1.blk", size + 30)),
        (
            "a torn tail",
            sound().with("msgs/2.blk", messages(2, 4..=6)[..size + 9].to_vec()),
        ),
        ("an empty last block", sound().with("msgs/3.blk", "")),
        ("a purge under way", sound().with("__msgs__/1.blk", "")),
    ];
    for (what, store) in stores {
        let before = store.fs.files();
        let report = rebuilt(&store, "2.15");
        assert_eq!(
            (report.outcome, report.exit_code()),
            (Outcome::Refused, 4),
            "{what}"
        );
        let last = report.events.last().expect("an event");
        assert_eq!(last.code, EventCode::RebuildRefused, "{what}");
        assert_eq!(store.fs.files(), before, "{what}");
    }
}

#[test]
fn a_rebuilt_store_needs_no_scan_for_ttls() {
    let record = NewRecord::Message {
        sequence: 1,
        timestamp_ns: 1_000,
        subject: b"s.a",
        headers: b"NATS/1.0\r\nNats-TTL: 1h\r\n\r\n",
        body: b"x",
    };
    let store =
        Store::new(r#""allow_msg_ttl":true,"#).with("msgs/1.blk", block(1, &[record, message(2)]));
    assert!(rebuilt(&store, "2.15").refusal.is_none());
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let report = examine(&store.fs, &Store::stream(), &store.options, &watch);
    assert_eq!(report.source, Some(Source::Index));
    assert_eq!(report.ttl.expect("a wheel").count, 1);
    assert_eq!(report.events, [], "nothing to catch up");
}
