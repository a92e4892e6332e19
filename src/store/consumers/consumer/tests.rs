//! Consumers in their files: what comes back, under which keys, and what a crash leaves.

mod crash;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::crypto::{Cipher, KeyFileError, KeyRing, ServerKey};
use crate::env::memory::{Fault, MemoryFileSystem, SeededEntropy};
use crate::env::{DEFAULT_DIR_MODE, DEFAULT_FILE_MODE, FileSystem, ReadFiles, temporary_path};
use crate::format::consumer::{ConsumerFile, Pending};
use crate::format::meta::AckPolicy;
use crate::stream::consumers::{ReadConsumer, consumers};

const STREAM: &[u8] = b"ORDERS";
const NAME: &str = "worker";
const SECOND: i64 = 1_000_000_000;
const NOW: i64 = 1_767_323_045 * SECOND;

/// A stream directory without consumers.
fn disk() -> MemoryFileSystem {
    let fs = MemoryFileSystem::new();
    fs.seed_dir("/s");
    fs
}

fn path(file: &str) -> PathBuf {
    Path::new("/s/obs").join(NAME).join(file)
}

fn no_keys() -> KeyRing<'static> {
    KeyRing {
        current: None,
        previous: None,
        cipher: None,
        account: b"ACC",
    }
}

fn ring<'a>(
    current: &'a ServerKey,
    previous: Option<&'a ServerKey>,
    cipher: Cipher,
) -> KeyRing<'a> {
    KeyRing {
        current: Some(current),
        previous,
        cipher: Some(cipher),
        account: b"ACC",
    }
}

fn server_key(name: &str) -> ServerKey {
    ServerKey::new(name.as_bytes().to_vec())
}

fn place<'a>(fs: &MemoryFileSystem, keys: KeyRing<'a>) -> ConsumerPlace<'a> {
    ConsumerPlace {
        fs: Arc::new(fs.clone()),
        // Every opening draws other bytes.
        entropy: Arc::new(SeededEntropy::new(fs.calls().len() as u64)),
        stream_dir: Path::new("/s"),
        stream_name: STREAM,
        keys,
    }
}

fn config(policy: &str, more: &str) -> ConsumerMeta {
    let json = format!(r#"{{"durable_name":"{NAME}","ack_policy":"{policy}"{more}}}"#);
    ConsumerMeta::parse(json.as_bytes()).unwrap()
}

fn create(fs: &MemoryFileSystem, keys: KeyRing<'_>, config: &ConsumerMeta) -> Consumer {
    Consumer::open(&place(fs, keys), NAME, Some(config), NOW).unwrap()
}

fn reopen(fs: &MemoryFileSystem, keys: KeyRing<'_>) -> Result<Consumer, ConsumerError> {
    Consumer::open(&place(fs, keys), NAME, None, NOW)
}

/// Closes and opens again.
fn restart(fs: &MemoryFileSystem, keys: KeyRing<'_>, consumer: &mut Consumer) {
    consumer.close(Level::Written, NOW).unwrap();
    *consumer = reopen(fs, keys).unwrap();
}

/// The consumer as the reader of damaged stores finds it, who shares no code with the writer.
fn as_read(fs: &MemoryFileSystem, keys: KeyRing<'_>) -> ReadConsumer {
    let mut found = consumers(fs, Path::new("/s"), STREAM, keys).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn pair(consumer: u64, stream: u64) -> SequencePair {
    SequencePair { consumer, stream }
}

/// So many messages delivered, every second acknowledged out of order, the last delivered twice.
fn lively(count: u64) -> ConsumerState {
    let rules = AckRules {
        policy: AckPolicy::Explicit,
        max_deliver: 0,
    };
    let mut deliveries = Deliveries::new(rules, ConsumerState::default());
    for number in 1..=count {
        let at_ns = NOW + number as i64 * SECOND;
        deliveries
            .deliver(pair(number, 3 * number), 1, at_ns)
            .unwrap();
        if number % 2 == 0 {
            deliveries.ack(pair(number, 3 * number)).unwrap();
        }
    }
    deliveries
        .deliver(pair(count + 1, 3 * count), 2, NOW)
        .unwrap();
    deliveries.state().clone()
}

#[test]
fn a_new_consumer_is_made_as_the_server_makes_one() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    assert_eq!(consumer.state(), &ConsumerState::default());
    assert!(!consumer.has_state());
    for dir in ["/s/obs", "/s/obs/worker"] {
        let mode = fs.metadata(Path::new(dir)).unwrap().mode;
        assert_eq!(mode, Some(DEFAULT_DIR_MODE), "{dir}");
    }
    let files: Vec<PathBuf> = fs.files().into_keys().collect();
    assert_eq!(files, [path("meta.inf"), path("meta.sum")]);
    for file in files {
        assert_eq!(fs.metadata(&file).unwrap().mode, Some(DEFAULT_FILE_MODE));
    }
    let json = String::from_utf8(fs.files()[&path("meta.inf")].clone()).unwrap();
    let begin = r#"{"Created":"2026-01-02T03:04:05Z","Name":"worker","durable_name":"worker","#;
    assert!(json.starts_with(begin), "{json}");
    consumer.set_starting(7).unwrap();
    consumer.close(Level::Synced, NOW).unwrap();
    let read = as_read(&fs, no_keys());
    assert!(read.is_whole(), "{read:?}");
    assert_eq!(read.position(), Some((pair(0, 7), pair(0, 7))));
    assert_eq!(
        fs.metadata(&path("o.dat")).unwrap().mode,
        Some(DEFAULT_FILE_MODE)
    );
}

#[test]
fn what_is_there_keeps_its_configuration_and_its_creation() {
    let fs = disk();
    let since = config(
        "explicit",
        r#","Created":"2020-01-01T00:00:00.5Z","novel":{"x":1}"#,
    );
    create(&fs, no_keys(), &since);
    let other = config("none", r#","max_deliver":3"#);
    let mut consumer = create(&fs, no_keys(), &other);
    assert_eq!(consumer.config().ack_policy, AckPolicy::Explicit);
    assert_eq!(consumer.config().created.text, "2020-01-01T00:00:00.5Z");
    assert_eq!(consumer.config().unknown_fields, ["novel"]);
    consumer.update_config(&other).unwrap();
    // The rules change with it.
    assert_eq!(consumer.ack(pair(1, 1)), Err(ConsumerError::NoAckPolicy));
    let found = reopen(&fs, no_keys()).unwrap();
    assert_eq!(found.config().encode(), consumer.config().encode());
    assert_eq!(
        (
            found.config().created.text.as_str(),
            found.config().max_deliver
        ),
        ("2020-01-01T00:00:00.5Z", 3)
    );
    assert_eq!(found.config().store_name, NAME);
    assert!(as_read(&fs, no_keys()).origin == crate::stream::metadata::MetaOrigin::Sound);
}

#[test]
fn names_that_lead_elsewhere_and_consumers_that_are_not_there() {
    let fs = disk();
    let config = config("explicit", "");
    for name in ["", "..", "a/b", "a b", "x.y", &"n".repeat(256)] {
        let name = name.to_owned();
        let opened = Consumer::open(&place(&fs, no_keys()), &name, Some(&config), NOW);
        assert_eq!(opened.unwrap_err(), ConsumerError::BadName { name });
    }
    let dir = PathBuf::from("/s/obs/worker");
    assert_eq!(
        reopen(&fs, no_keys()).unwrap_err(),
        ConsumerError::Missing { dir }
    );
    let in_memory = super::tests::config("explicit", r#","mem_storage":true"#);
    let opened = Consumer::open(&place(&fs, no_keys()), NAME, Some(&in_memory), NOW);
    assert_eq!(opened.unwrap_err(), ConsumerError::InMemory);
    assert!(fs.calls().is_empty());
}

#[test]
fn e215_states_come_back_to_the_second() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    let mut state = lively(40);
    consumer.update(state.clone()).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    assert_eq!(consumer.state(), &state);
    state.delivered = pair(10_000, 10_000);
    state.ack_floor = pair(100, 100);
    state.pending = (0..8192)
        .map(|number| {
            let pending = Pending {
                consumer_sequence: 101 + number,
                timestamp_ns: NOW + number as i64 * SECOND + 999_999_999,
            };
            (101 + number, pending)
        })
        .collect();
    state.redelivered = [(22, 3), (44, 8), (8000, 1)].into();
    consumer.force_update(state.clone()).unwrap();
    assert_eq!(consumer.state(), &state);
    restart(&fs, no_keys(), &mut consumer);
    for pending in state.pending.values_mut() {
        pending.timestamp_ns -= 999_999_999;
    }
    assert_eq!(consumer.state(), &state);
    state.pending.clear();
    state.ack_floor = state.delivered;
    consumer.update(state.clone()).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    assert_eq!(consumer.state(), &state);
}

#[test]
fn e216_what_lies_below_the_floor_comes_back() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    let mut state = ConsumerState {
        delivered: pair(100, 100),
        ack_floor: pair(50, 50),
        redelivered: [(122, 3), (44, 8)].into(),
        ..ConsumerState::default()
    };
    let pending = |consumer_sequence| Pending {
        consumer_sequence,
        timestamp_ns: NOW,
    };
    // By their numbers of delivery these are acknowledged already.
    state.pending = [(75, pending(7)), (80, pending(50)), (100, pending(99))].into();
    consumer.update(state.clone()).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    assert_eq!(consumer.state(), &state);
    // One at the very floor does not: the format has no room for it.
    state.redelivered.insert(50, 4);
    consumer.update(state.clone()).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    state.redelivered.remove(&50);
    assert_eq!(consumer.state(), &state);
}

#[test]
fn e217_second_deliveries_come_back_and_acknowledgements_end_them() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    for (number, sequence, count) in [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 2, 1)] {
        consumer
            .deliver(pair(number, sequence), count, NOW)
            .unwrap();
    }
    restart(&fs, no_keys(), &mut consumer);
    assert_eq!(consumer.state().redelivered, [(1, 3)].into());
    consumer.deliver(pair(6, 2), 2, NOW).unwrap();
    consumer.deliver(pair(7, 3), 1, NOW).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    assert_eq!(consumer.state().redelivered, [(1, 3), (2, 1)].into());
    assert_eq!(consumer.state().pending.len(), 3);
    consumer.ack(pair(7, 3)).unwrap();
    consumer.ack(pair(6, 2)).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    assert_eq!(consumer.state().redelivered, [(1, 3)].into());
    consumer.ack(pair(4, 1)).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    assert!(consumer.state().pending.is_empty() && consumer.state().redelivered.is_empty());
    assert_eq!(consumer.state().ack_floor, pair(7, 3));
}

#[test]
fn e218_what_a_refused_acknowledgement_forgets_stays_forgotten() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", r#","max_deliver":1"#));
    consumer.deliver(pair(1, 1), 1, NOW).unwrap();
    consumer.deliver(pair(2, 1), 2, NOW).unwrap();
    restart(&fs, no_keys(), &mut consumer);
    assert!(consumer.state().pending.is_empty());
    assert_eq!(consumer.state().redelivered, [(1, 1)].into());
    let refused = Err(ConsumerError::NotPending { sequence: 1 });
    assert_eq!(consumer.ack(pair(2, 1)), refused);
    restart(&fs, no_keys(), &mut consumer);
    assert!(consumer.state().redelivered.is_empty());
}

#[test]
fn e221_the_bytes_are_the_same_after_a_restart() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    consumer.update(lively(30)).unwrap();
    let bytes = consumer.encoded(NOW);
    restart(&fs, no_keys(), &mut consumer);
    assert_eq!(consumer.encoded(NOW), bytes);
    assert_eq!(fs.files()[&path("o.dat")], bytes);
    // The time they refer to is the nearest second.
    let with_base = |now_ns| {
        ConsumerFile::decode(&consumer.encoded(now_ns))
            .unwrap()
            .state
    };
    assert_eq!(consumer.encoded(NOW + SECOND / 2 - 1), bytes);
    assert_ne!(consumer.encoded(NOW + SECOND / 2), bytes);
    for now_ns in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(&with_base(now_ns), consumer.state());
    }
}

#[test]
fn e222_nothing_is_written_unasked() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    let calls = fs.calls().len();
    consumer.update(lively(5)).unwrap();
    assert_eq!(consumer.level(), Level::Buffered);
    consumer.flush(Level::Buffered, NOW).unwrap();
    drop(consumer);
    assert_eq!(fs.calls().len(), calls);
    let mut consumer = reopen(&fs, no_keys()).unwrap();
    assert!(!consumer.has_state());
    // Nor is anything that is there already.
    consumer.update(lively(5)).unwrap();
    for level in [Level::Written, Level::Synced] {
        consumer.flush(level, NOW).unwrap();
        assert_eq!(consumer.level(), level);
        let calls = fs.calls().len();
        consumer.flush(level, NOW).unwrap();
        assert_eq!(fs.calls().len(), calls);
    }
    assert!(consumer.has_state());
    consumer.ack(pair(1, 3)).unwrap();
    assert_eq!(consumer.level(), Level::Buffered);
}

#[test]
fn e223_after_closing_or_deleting_nothing_is_taken_or_written() {
    for ending in [0, 1, 2] {
        let fs = disk();
        let config = config("explicit", "");
        let mut consumer = create(&fs, no_keys(), &config);
        consumer.update(lively(5)).unwrap();
        match ending {
            0 => consumer.close(Level::Written, NOW).unwrap(),
            1 => consumer.delete().unwrap(),
            _ => consumer.abandon(),
        }
        assert!(consumer.is_closed());
        let calls = fs.calls().len();
        let closed = Err(ConsumerError::Closed);
        assert_eq!(consumer.update_config(&config), closed);
        assert_eq!(consumer.deliver(pair(9, 90), 1, NOW), closed);
        assert_eq!(consumer.ack(pair(1, 3)), closed);
        assert_eq!(consumer.update(lively(9)), closed);
        assert_eq!(consumer.force_update(lively(9)), closed);
        assert_eq!(consumer.set_starting(9), closed);
        assert_eq!(consumer.update_starting(9), closed);
        assert_eq!(consumer.reset(9), closed);
        assert_eq!(consumer.trim(9), closed);
        assert_eq!(consumer.flush(Level::Synced, NOW), closed);
        assert_eq!(consumer.close(Level::Synced, NOW), Ok(()));
        assert_eq!(consumer.delete(), Ok(()));
        assert_eq!(fs.calls().len(), calls);
        let left = reopen(&fs, no_keys()).map(|found| found.state().clone());
        match ending {
            0 => assert_eq!(left, Ok(lively(5))),
            1 => assert!(matches!(left, Err(ConsumerError::Missing { .. }))),
            _ => assert_eq!(left, Ok(ConsumerState::default())),
        }
    }
}

#[test]
fn a_deleted_consumer_leaves_nothing_to_the_next_of_its_name() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    consumer.update(lively(5)).unwrap();
    consumer.flush(Level::Synced, NOW).unwrap();
    consumer.delete().unwrap();
    assert_eq!(fs.files().into_keys().next(), None);
    let again = create(&fs, no_keys(), &config("none", ""));
    assert_eq!(again.config().ack_policy, AckPolicy::None);
    assert!(!again.has_state());
}

#[test]
fn files_that_say_nothing_are_told_by_name_and_left_alone() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    consumer.update(lively(5)).unwrap();
    consumer.close(Level::Synced, NOW).unwrap();
    let sound = fs.files()[&path("o.dat")].clone();
    for (bytes, words) in [
        (&b"x"[..], "consumer state has 1 bytes"),
        (b"\x0b\x02", "starts with byte 11"),
        (&sound[..7], "pending entry 0"),
    ] {
        let fs = fs.fork();
        fs.seed_file(path("o.dat"), bytes);
        let error = reopen(&fs, no_keys()).unwrap_err();
        assert!(
            matches!(&error, ConsumerError::State { path, .. } if path.ends_with("o.dat")),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(fs.files()[&path("o.dat")], bytes);
    }
    // Empty is none; cut in its second deliveries it is taken as far as it goes.
    let empty = fs.fork();
    empty.seed_file(path("o.dat"), b"");
    let found = reopen(&empty, no_keys()).unwrap();
    assert_eq!(
        (found.state(), found.has_state()),
        (&ConsumerState::default(), true)
    );
    let cut = fs.fork();
    cut.seed_file(path("o.dat"), &sound[..sound.len() - 1]);
    let found = reopen(&cut, no_keys()).unwrap();
    assert!(found.silent_cut().is_some() && found.state().redelivered.is_empty());
    let meta = fs.fork();
    meta.seed_file(path("meta.inf"), b"{\"ack_policy\":\"novel\"}");
    let error = reopen(&meta, no_keys()).unwrap_err();
    assert!(matches!(error, ConsumerError::Meta { .. }), "{error:?}");
}

#[test]
fn a_pair_that_does_not_fit_is_mended() {
    for sum in [None, Some(&b"0123456789abcdef"[..]), Some(b"")] {
        let fs = disk();
        create(&fs, no_keys(), &config("explicit", ""));
        let expected = fs.files()[&path("meta.sum")].clone();
        match sum {
            Some(sum) => fs.seed_file(path("meta.sum"), sum),
            None => fs.remove_file(&path("meta.sum")).unwrap(),
        }
        reopen(&fs, no_keys()).unwrap();
        assert_eq!(fs.files()[&path("meta.sum")], expected);
    }
    // Without metadata there is no consumer, but what it had delivered is gone on from.
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    consumer.update(lively(5)).unwrap();
    consumer.close(Level::Synced, NOW).unwrap();
    fs.seed_file(path("meta.inf"), b"");
    assert!(matches!(
        reopen(&fs, no_keys()),
        Err(ConsumerError::Missing { .. })
    ));
    let again = create(&fs, no_keys(), &config("all", ""));
    assert_eq!(again.state(), &lively(5));
    assert!(as_read(&fs, no_keys()).is_whole());
}

#[test]
fn l11_a_forced_state_is_not_lost_to_a_write_that_failed() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    consumer.update(lively(40)).unwrap();
    consumer.flush(Level::Written, NOW).unwrap();
    let forced = lively(3);
    for step in 0..3 {
        for failing in 0..3 {
            consumer.force_update(lively(40)).unwrap();
            fs.inject(Fault::FailCall {
                number: fs.calls().len() + failing,
                kind: std::io::ErrorKind::StorageFull,
                written: Some(4),
            });
            let failed = consumer.flush(Level::Written, NOW).unwrap_err();
            assert!(failed.is_retryable() && failed.io().is_some());
            assert_eq!(consumer.level(), Level::Buffered);
            let expected = match step {
                0 => consumer
                    .force_update(forced.clone())
                    .map(|()| (pair(4, 9), pair(0, 0))),
                1 => consumer.reset(500).map(|()| (pair(0, 500), pair(0, 500))),
                _ => consumer
                    .set_starting(77)
                    .map(|()| (pair(41, 77), pair(2, 77))),
            };
            consumer.close(Level::Written, NOW).unwrap();
            consumer = reopen(&fs, no_keys()).unwrap();
            let state = consumer.state();
            let (delivered, _) = expected.unwrap();
            assert_eq!(state.delivered, delivered, "step {step}, call {failing}");
            assert!(!fs.files().contains_key(&temporary_path(&path("o.dat"))));
        }
    }
}

#[test]
fn an_encrypted_consumer_is_encrypted_from_its_first_byte() {
    let key = server_key("key");
    for cipher in Cipher::ALL {
        let fs = disk();
        let keys = ring(&key, None, cipher);
        let mut consumer = create(&fs, keys, &config("explicit", ""));
        consumer.update(lively(9)).unwrap();
        restart(&fs, keys, &mut consumer);
        assert_eq!(consumer.state(), &lively(9));
        consumer.update_config(&config("all", "")).unwrap();
        let first = fs.files();
        assert_eq!(first[&path("meta.key")].len(), cipher.key_file_length());
        for (file, bytes) in &first {
            let shows = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
            assert!(!shows(b"ack_policy") && !shows(b"\x16\x02"), "{file:?}");
        }
        assert!(as_read(&fs, keys).is_whole());
        // No nonce serves twice.
        consumer.reset(1).unwrap();
        consumer.force_update(lively(9)).unwrap();
        consumer.flush(Level::Written, NOW).unwrap();
        assert_ne!(fs.files()[&path("o.dat")], first[&path("o.dat")]);
        let no_key = reopen(&fs, no_keys()).unwrap_err();
        let path = path("meta.key");
        assert_eq!(no_key, ConsumerError::NoKey { path: path.clone() });
        let wrong = server_key("wrong");
        let length = cipher.key_file_length();
        let cause = KeyFileError::Rejected { length };
        assert_eq!(
            reopen(&fs, ring(&wrong, None, cipher)).unwrap_err(),
            ConsumerError::Key { path, cause }
        );
    }
}

#[test]
fn sealed_files_that_do_not_open_are_told_and_no_key_is_made_over_them() {
    let key = server_key("key");
    let keys = ring(&key, None, Cipher::ChaCha);
    let fs = disk();
    let mut consumer = create(&fs, keys, &config("explicit", ""));
    consumer.update(lively(9)).unwrap();
    consumer.close(Level::Synced, NOW).unwrap();
    for file in ["o.dat", "meta.inf"] {
        for kept in [5, 30, 45] {
            let fs = fs.fork();
            let bytes = fs.files()[&path(file)][..kept].to_vec();
            fs.seed_file(path(file), bytes);
            let error = reopen(&fs, keys).unwrap_err();
            assert!(
                matches!(&error, ConsumerError::Sealed { path, .. } if path.ends_with(file)),
                "{error:?}"
            );
        }
    }
    // The key file is gone: with metadata and without, nothing is written over what it sealed.
    for lost in [&["meta.key"][..], &["meta.key", "meta.inf", "meta.sum"]] {
        let fs = fs.fork();
        for file in lost {
            fs.remove_file(&path(file)).unwrap();
        }
        let before = fs.files();
        let opened = Consumer::open(&place(&fs, keys), NAME, Some(&config("all", "")), NOW);
        assert!(opened.is_err());
        assert_eq!(fs.files(), before);
    }
    // With the key there, the metadata alone is made anew.
    fs.remove_file(&path("meta.inf")).unwrap();
    let again = create(&fs, keys, &config("all", ""));
    assert_eq!(again.state(), &lively(9));
    assert!(as_read(&fs, keys).is_whole());
}

/// Rings between which a consumer can be moved: from, to.
fn moves<'a>(one: &'a ServerKey, two: &'a ServerKey) -> Vec<(KeyRing<'a>, KeyRing<'a>)> {
    let mut moves = Vec::new();
    for cipher in Cipher::ALL {
        let from = ring(one, None, cipher);
        moves.extend([
            (no_keys(), from),
            (from, ring(one, None, cipher.other())),
            (from, ring(two, Some(one), cipher)),
            (from, ring(two, Some(one), cipher.other())),
        ]);
    }
    moves
}

/// A closed consumer with a state.
fn stored(keys: KeyRing<'_>) -> MemoryFileSystem {
    let fs = disk();
    let mut consumer = create(&fs, keys, &config("explicit", r#","novel":1"#));
    consumer.update(lively(9)).unwrap();
    consumer.close(Level::Synced, NOW).unwrap();
    fs.crash_image(crate::env::memory::Unsynced::Dropped)
}

#[test]
fn a_consumer_follows_the_keys_of_its_store() {
    let (one, two) = (server_key("one"), server_key("two"));
    for (from, to) in moves(&one, &two) {
        let fs = stored(from);
        let moved = reopen(&fs, to).unwrap();
        assert_eq!(moved.state(), &lively(9));
        assert_eq!(moved.config().unknown_fields, ["novel"]);
        // From here on the former key is not needed.
        let alone = KeyRing {
            previous: None,
            ..to
        };
        let calls = fs.calls().len();
        assert_eq!(reopen(&fs, alone).unwrap().state(), &lively(9));
        assert_eq!(fs.calls().len(), calls, "nothing more to do");
        let read = as_read(&fs, alone);
        assert!(read.is_whole());
        assert!(read.key.is_some_and(|key| !key.converting));
    }
}

proptest! {
    /// E-225: whatever lies there, it opens or is told; what opened comes back the same after one writing.
    #[test]
    fn e225_any_state_file_opens_or_is_told(
        version in 0_u8..4,
        tail in prop::collection::vec(any::<u8>(), 0..120),
        whole: bool,
        acks in prop::collection::vec(any::<(u64, u64)>(), 0..4),
    ) {
        let bytes = match whole {
            true => [&[22, version][..], &tail].concat(),
            false => tail,
        };
        let fs = disk();
        create(&fs, no_keys(), &config("explicit", ""));
        fs.seed_file(path("o.dat"), bytes.clone());
        match reopen(&fs, no_keys()) {
            Ok(mut found) => {
                let expected = match bytes.is_empty() {
                    true => ConsumerState::default(),
                    false => ConsumerFile::decode(&bytes).unwrap().state,
                };
                prop_assert_eq!(found.state(), &expected);
                for (consumer, stream) in acks {
                    let _ = found.ack(pair(consumer, stream));
                    let _ = found.deliver(pair(consumer, stream), 2, NOW);
                }
                found.trim(1).unwrap();
                found.close(Level::Written, NOW).unwrap();
                let again = reopen(&fs, no_keys()).unwrap();
                prop_assert_eq!(again.state().delivered, found.state().delivered);
                prop_assert_eq!(again.state().pending.len(), found.state().pending.len());
            }
            Err(ConsumerError::State { cause, .. }) => {
                prop_assert_eq!(ConsumerFile::decode(&bytes), Err(cause));
                prop_assert_eq!(&fs.files()[&path("o.dat")], &bytes);
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn the_consumers_that_are_there_are_those_with_metadata() {
    let fs = disk();
    assert_eq!(place(&fs, no_keys()).names(), Ok(vec![]));
    create(&fs, no_keys(), &config("none", ""));
    fs.seed_dir("/s/obs/gone");
    fs.seed_file("/s/obs/half/meta.inf", b"");
    fs.seed_file("/s/obs/file", b"x");
    assert_eq!(place(&fs, no_keys()).names(), Ok(vec![NAME.to_owned()]));
}
