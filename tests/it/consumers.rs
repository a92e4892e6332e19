//! The engine's consumers beside the server's: step by step, file by file, and as a starting server judges them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jetsam::crypto::KeyRing;
use jetsam::env::memory::{MemoryFileSystem, SeededEntropy};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::consumer::{ConsumerState, Pending, SequencePair};
use jetsam::format::meta::ConsumerMeta;
use jetsam::store::Level;
use jetsam::store::consumers::{Consumer, ConsumerError, ConsumerPlace};
use serde_json::Value;

use crate::made::{KEY, every_kind, make, server};
use crate::support::{look, testdata};

const SECOND: i64 = 1_000_000_000;

fn numbers(value: &Value) -> Vec<u64> {
    let all = value.as_array().expect("numbers");
    all.iter()
        .map(|it| it.as_u64().expect("a number"))
        .collect()
}

fn pair(value: &Value) -> SequencePair {
    let numbers = numbers(value);
    SequencePair {
        consumer: numbers[0],
        stream: numbers[1],
    }
}

/// A state as the scripts have it.
fn state(value: &Value) -> ConsumerState {
    let list = |name: &str| value[name].as_array().into_iter().flatten().map(numbers);
    let waits = |it: Vec<u64>| {
        let pending = Pending {
            consumer_sequence: it[1],
            timestamp_ns: it[2] as i64 * SECOND,
        };
        (it[0], pending)
    };
    ConsumerState {
        delivered: pair(&value["d"]),
        ack_floor: pair(&value["f"]),
        pending: list("p").map(waits).collect(),
        redelivered: list("r").map(|it| (it[0], it[1])).collect(),
    }
}

fn memory<'a>(fs: &MemoryFileSystem) -> ConsumerPlace<'a> {
    fs.seed_dir("/s");
    ConsumerPlace {
        fs: Arc::new(fs.clone()),
        entropy: Arc::new(SeededEntropy::new(1)),
        stream_dir: Path::new("/s"),
        stream_name: b"S",
        keys: KeyRing {
            current: None,
            previous: None,
            cipher: None,
            account: b"A",
        },
    }
}

fn take(consumer: &mut Consumer, step: &Value) -> Result<(), ConsumerError> {
    let args = step["args"].as_array().map(|_| numbers(&step["args"]));
    let args = args.unwrap_or_default();
    let at = |number: usize| args.get(number).copied().expect("an argument");
    let both = || SequencePair {
        consumer: at(0),
        stream: at(1),
    };
    match step["op"].as_str().expect("an operation") {
        "deliver" => consumer.deliver(both(), at(2), at(3) as i64 * SECOND),
        "ack" => consumer.ack(both()),
        "update" => consumer.update(state(&step["given"])),
        "force_update" => consumer.force_update(state(&step["given"])),
        "set_starting" => consumer.set_starting(at(0)),
        "update_starting" => consumer.update_starting(at(0)),
        "reset" => consumer.reset(at(0)),
        "trim" => consumer.trim(at(0)),
        other => panic!("{other}"),
    }
}

fn kind(error: &ConsumerError) -> &'static str {
    match error {
        ConsumerError::NotPending { .. } => "not-found",
        ConsumerError::NoAckPolicy => "no-ack-policy",
        ConsumerError::OldUpdate { .. } => "old-update",
        ConsumerError::BadState(_) => "bad-state",
        _ => "other",
    }
}

/// Every step of a script, then both files. Returns how many steps were refused.
fn replay(script: &Value) -> usize {
    let config = script["config"].as_str().expect("a configuration");
    let config = ConsumerMeta::parse(config.as_bytes()).expect("a configuration");
    let fs = MemoryFileSystem::new();
    let mut consumer = Consumer::open(&memory(&fs), "c", Some(&config), 0).expect("a consumer");
    let mut expected = ConsumerState::default();
    let mut refused = 0;
    for (number, step) in script["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .enumerate()
    {
        let taken = take(&mut consumer, step);
        let error = taken.as_ref().map_or_else(kind, |()| "");
        refused += usize::from(taken.is_err());
        let said = step["error"].as_str().unwrap_or_default();
        assert_eq!(error, said, "step {number}: {step}");
        if !step["after"].is_null() {
            expected = state(&step["after"]);
        }
        assert_eq!(consumer.state(), &expected, "step {number}: {step}");
        if number % 7 == 0 {
            consumer.flush(Level::Written, 0).expect("written");
        }
    }
    consumer.close(Level::Synced, 0).expect("closed");
    // What was delivered again at the very floor has no place in the file.
    expected.redelivered.remove(&expected.ack_floor.stream);
    let file = script["file"].as_str().expect("a file");
    let theirs = BASE64_STANDARD.decode(file).expect("a file");
    for bytes in [None, Some(theirs)] {
        if let Some(bytes) = bytes {
            fs.seed_file("/s/obs/c/o.dat", bytes);
        }
        let found = Consumer::open(&memory(&fs), "c", None, 0).expect("opens");
        assert_eq!(found.state(), &expected);
        assert_eq!(found.silent_cut(), None);
    }
    refused
}

/// The scripts are the oracle's (`consumer-scripts --seed 1 --count 24 --steps 40`); others go by way of `JETSAM_CONSUMER_SCRIPTS`.
#[test]
fn consumers_live_as_with_the_server() {
    let path = std::env::var_os("JETSAM_CONSUMER_SCRIPTS")
        .map_or_else(|| testdata("consumers/scripts.jsonl"), Into::into);
    let text = std::fs::read_to_string(path).expect("scripts");
    let (mut step_count, mut refused) = (0, 0);
    let mut operations = BTreeMap::new();
    for line in text.lines() {
        let script: Value = serde_json::from_str(line).expect("a script");
        for step in script["steps"].as_array().expect("steps") {
            let operation = step["op"].as_str().expect("an operation").to_owned();
            *operations.entry(operation).or_insert(0) += 1;
            step_count += 1;
        }
        refused += replay(&script);
    }
    println!("{step_count} steps, {refused} refused, {operations:?}");
    assert!(step_count >= 900 && refused > 50 && operations.len() == 8);
}

#[test]
fn a_starting_server_takes_the_engines_consumers_up() {
    for made in every_kind() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("A/streams/S");
        let stream = make(&dir, made);
        let key = server(KEY);
        let place = ConsumerPlace {
            fs: Arc::new(OsFileSystem),
            entropy: Arc::new(OsEntropy),
            stream_dir: &dir,
            stream_name: b"S",
            keys: KeyRing {
                current: made.sealed.map(|_| &key),
                previous: None,
                cipher: made.sealed,
                account: b"A",
            },
        };
        let config = ConsumerMeta::explicit("worker").expect("a configuration");
        let mut consumer =
            Consumer::open(&place, "worker", Some(&config), 5 * SECOND).expect("made");
        for number in 1..=10 {
            let delivered = SequencePair {
                consumer: number,
                stream: 3 * number,
            };
            consumer.deliver(delivered, 1, SECOND).expect("delivered");
        }
        let acked = SequencePair {
            consumer: 1,
            stream: 3,
        };
        consumer.ack(acked).expect("acknowledged");
        consumer.close(Level::Synced, 5 * SECOND).expect("closed");
        let mut options = made.options();
        options.keys.cipher = made.sealed;
        let report = look(&stream, &options);
        assert_eq!(report.consumers.len(), 1);
        let found = &report.consumers[0];
        assert_eq!((found.name.as_str(), found.outcome), ("worker", "ok"));
        assert_eq!((found.delivered, found.ack_floor), ((10, 30), (1, 5)));
        assert_eq!((found.pending_count, found.redelivered_count), (9, 0));
        let told = report.events.iter().filter(|event| {
            let file = event.file.as_ref();
            file.is_some_and(|file| file.to_string().contains("obs"))
        });
        assert_eq!(told.count(), 0, "{:?}", report.events);
        // The same file system, opened again.
        let found = Consumer::open(&place, "worker", None, 0).expect("opens");
        assert_eq!(found.state(), consumer.state());
    }
}
