//! A backup that nats-server v2.15.3 made, restored where there is no server.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jetsam::env::memory::MemoryFileSystem;
use jetsam::env::{OsEntropy, ReadFiles};
use jetsam::format::consumer::ConsumerFile;
use jetsam::format::duration::format_rfc3339;
use jetsam::format::meta::StreamMeta;
use jetsam::living::Idle;
use jetsam::store::{Reader, Store, StoreOptions};
use serde_json::{Value, json};

const BACKUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/archives/second");

fn held_by(reader: &Reader) -> Vec<Value> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Ok(message) = reader.next(&[], from) {
        from = message.seq + 1;
        let mut told = json!({
            "account": "$G",
            "subject": String::from_utf8_lossy(message.subject()),
            "seq": message.seq,
            "time": format_rfc3339(message.timestamp_ns),
        });
        for (field, bytes) in [("hdrs", message.headers()), ("data", message.body())] {
            if !bytes.is_empty() {
                told[field] = json!(BASE64_STANDARD.encode(bytes));
            }
        }
        found.push(told);
    }
    found
}

#[test]
fn what_a_server_backed_up_as_messages_is_restored_to_the_message() {
    let read = |name: &str| fs::read(Path::new(BACKUP).join(name)).unwrap();
    let request: Value = serde_json::from_slice(&read("backup.json")).unwrap();
    let config = StreamMeta::parse(request["config"].to_string().as_bytes()).unwrap();
    let files = Arc::new(MemoryFileSystem::new());
    let dir = Path::new("/data/A/streams/ORDERS");
    let options = StoreOptions::new(config, 1_795_900_000_000_000_000);
    let archive = read("stream.arc.s2");
    let store = Store::restore(
        files.clone(),
        Arc::new(OsEntropy),
        &Idle::declared(),
        dir,
        &mut archive.as_slice(),
        1 << 20,
        &options,
    )
    .unwrap();
    let held = String::from_utf8(read("held.jsonl")).unwrap();
    let held: Vec<Value> = held
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(held.len(), 76);
    assert_eq!(held_by(&store.reader()), held);
    let summary = store.reader().summary();
    let state = &request["state"];
    assert_eq!(json!(summary.first.seq), state["first_seq"]);
    assert_eq!(json!(summary.last.seq), state["last_seq"]);
    assert_eq!(json!(summary.bytes), state["bytes"]);

    let state = files.read(&dir.join("obs/KITCHEN/o.dat"), 1 << 20).unwrap();
    let state = ConsumerFile::decode(&state).unwrap().state;
    assert_eq!(state.delivered.consumer, 7);
    assert_eq!(state.ack_floor.consumer, 5);
    assert_eq!(state.pending.len(), 2);
}
