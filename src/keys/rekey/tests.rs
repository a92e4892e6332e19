use crate::env::ReadFiles;
mod crash;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::env::memory::{MemoryFileSystem, SeededEntropy};
use crate::env::{FileKind, OsFileSystem};
use crate::living::Idle;
use crate::report::stream::State;
use crate::salvage::side_files::{Evidence, read as read_side_files};
use crate::stream::consumers::{FileContent, consumers};

const NOW: i64 = 1_800_000_000_000_000_000;

/// A stream of a committed store that a server wrote, in memory.
fn golden(case: &str, name: &str) -> (MemoryFileSystem, StreamDir) {
    let fs = MemoryFileSystem::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/golden/v2.15.2")
        .join(case)
        .join("jetstream/$G/streams")
        .join(name);
    let to = Path::new("/js/$G/streams").join(name);
    for below in ["msgs", "obs"] {
        fs.seed_dir(to.join(below));
    }
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in OsFileSystem.list(&dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.kind == FileKind::Dir {
                dirs.push(path);
                continue;
            }
            let bytes = OsFileSystem.read(&path, u64::MAX).unwrap();
            fs.seed_file(to.join(path.strip_prefix(&root).unwrap()), bytes);
        }
    }
    let stream = StreamDir {
        account: Some("$G".into()),
        name: name.into(),
        dir: to,
    };
    (fs, stream)
}

fn old_key() -> ServerKey {
    ServerKey::new(b"sekret-fixture-key".to_vec())
}

fn new_key() -> ServerKey {
    ServerKey::new(b"another".to_vec())
}

/// Options with the key a case is under.
fn options_of(case: &str) -> Options {
    let mut options = Options::new(NOW);
    options.threads = 1;
    if case.contains("aes") || case.contains("chacha") {
        options.keys.current = Some(old_key());
    }
    options
}

fn to(server: Option<ServerKey>, cipher: Option<Cipher>) -> RekeyOptions {
    RekeyOptions {
        target: match server {
            Some(server) => RekeyTarget::Key { server, cipher },
            None => RekeyTarget::Plain,
        },
        keep_old: false,
    }
}

fn run(
    fs: &MemoryFileSystem,
    stream: &StreamDir,
    options: &Options,
    target: &RekeyOptions,
) -> RekeyReport {
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    rekey(
        fs,
        &Idle::declared(),
        stream,
        options,
        target,
        &SeededEntropy::new(9),
        &watch,
    )
}

fn keys_of(target: &RekeyOptions) -> Keys {
    match &target.target {
        RekeyTarget::Plain => Keys::default(),
        RekeyTarget::Key { server, cipher } => Keys {
            current: Some(server.clone()),
            previous: None,
            cipher: *cipher,
        },
    }
}

/// Everything of a stream that must survive, as read with `keys`.
#[derive(Debug, PartialEq)]
struct Told {
    state: Option<State>,
    digest: Option<[u8; 32]>,
    meta: Vec<u8>,
    consumers: BTreeMap<String, (FileContent, FileContent)>,
    index: Option<crate::format::state::StateFile>,
}

fn told(fs: &MemoryFileSystem, stream: &StreamDir, keys: Keys) -> Told {
    let mut options = Options::new(NOW);
    options.keys = keys;
    options.collect.digest = true;
    options.collect.deleted = true;
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let report = examine(fs, stream, &options, &watch);
    assert!(report.outcome < Outcome::Damaged, "{:?}", report.events);
    let gathered = read_side_files(fs, stream, &options).unwrap();
    let Evidence { name, account, .. } = &gathered.evidence;
    let ring = options.keys.ring(account);
    let consumers = consumers(fs, &stream.dir, name.as_bytes(), ring).unwrap();
    Told {
        state: report.state,
        digest: report.digest,
        meta: gathered.evidence.meta.encode(),
        consumers: consumers
            .into_iter()
            .map(|one| (one.name, (one.meta, one.file)))
            .collect(),
        index: gathered.evidence.index.map(|index| index.state),
    }
}

fn nothing_left_over(fs: &MemoryFileSystem) {
    let left: Vec<_> = fs
        .files()
        .into_keys()
        .chain(fs.dirs())
        .filter(|path| path.to_string_lossy().contains("jetsam"))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

const CASES: [&str; 6] = [
    "plain-none",
    "plain-chacha",
    "plain-aes",
    "s2-none",
    "s2-chacha",
    "s2-aes",
];

#[test]
fn every_store_goes_under_every_key_and_loses_nothing() {
    for case in CASES {
        for target in [
            to(None, None),
            to(Some(new_key()), Some(Cipher::ChaCha)),
            to(Some(new_key()), Some(Cipher::Aes)),
            to(Some(old_key()), Some(Cipher::Aes)),
            to(Some(new_key()), None),
        ] {
            let (fs, stream) = golden(case, "ORDERS");
            let mut options = options_of(case);
            // Only where it is asked for, for it costs another reading.
            options.collect.digest = case.contains("s2");
            let before = told(&fs, &stream, options_of(case).keys);
            let is_there = |cipher| case.contains(cipher);
            let already = match &target.target {
                RekeyTarget::Plain => case.ends_with("none"),
                RekeyTarget::Key { cipher, .. } => {
                    keys_same(&target, &options) && *cipher == Some(Cipher::Aes) && is_there("aes")
                }
            };
            let report = run(&fs, &stream, &options, &target);
            let expected = match already {
                true => RekeyOutcome::Already,
                false => RekeyOutcome::Rekeyed,
            };
            assert_eq!(report.outcome, expected, "{case} {:?}", target.target);
            assert_eq!(told(&fs, &stream, keys_of(&target)), before, "{case}");
            nothing_left_over(&fs);
            if !already {
                assert_eq!((report.block_count, report.consumer_count > 0), (3, true));
                let expected = before.digest.filter(|_| options.collect.digest);
                assert_eq!(report.digest, expected);
            }
            assert_eq!(report.left_out, Vec::<String>::new());
            let again = run(&fs, &stream, &options, &target);
            assert_eq!(
                (again.outcome, again.resumed),
                (RekeyOutcome::Already, false)
            );
        }
    }
}

fn keys_same(target: &RekeyOptions, options: &Options) -> bool {
    let (RekeyTarget::Key { server, .. }, Some(current)) = (&target.target, &options.keys.current)
    else {
        return false;
    };
    let seed = |key: &ServerKey| {
        let kek = key.key_encryption_key(b"", b"");
        let nonce = crate::crypto::Nonce::Aes([0; 16]);
        crate::crypto::KeyFile::seal(&crate::crypto::Seed::new([0; 32]), &nonce, &kek)
    };
    seed(server) == seed(current)
}

#[test]
fn the_streams_servers_lose_by_rotation_are_kept() {
    // Unused streams (a block of no bytes), sources, TTLs, schedules, staged batches.
    for (case, name) in [
        ("plain-none", "EMPTY"),
        ("plain-none", "BATCH"),
        ("plain-none", "AGGREGATE"),
        ("plain-none", "JUMPED"),
        ("plain-none-killed", "EMPTY"),
        ("s2-chacha", "TTLS"),
        ("s2-chacha", "SCHEDULES"),
        ("s2-chacha-stale", "ORDERS"),
        ("plain-none-stale", "ORDERS"),
    ] {
        let (fs, stream) = golden(case, name);
        let options = options_of(case);
        let before = told(&fs, &stream, options_of(case).keys);
        let target = to(Some(new_key()), Some(Cipher::Aes));
        let report = run(&fs, &stream, &options, &target);
        assert_eq!(report.outcome, RekeyOutcome::Rekeyed, "{case} {name}");
        assert_eq!(
            told(&fs, &stream, keys_of(&target)),
            before,
            "{case} {name}"
        );
        let back = to(None, None);
        let options = Options {
            keys: keys_of(&target),
            ..Options::new(NOW)
        };
        let report = run(&fs, &stream, &options, &back);
        assert_eq!(report.outcome, RekeyOutcome::Rekeyed, "{case} {name}");
        assert_eq!(told(&fs, &stream, Keys::default()), before, "{case} {name}");
        nothing_left_over(&fs);
    }
}

#[test]
fn a_staged_batch_goes_along_under_keys_of_its_own() {
    let (fs, stream) = golden("plain-none", "BATCH");
    let is_batch = |path: &Path| path.components().any(|part| part.as_os_str() == "batches");
    let batch = |fs: &MemoryFileSystem| -> Vec<(PathBuf, Vec<u8>)> {
        fs.files()
            .into_iter()
            .filter(|(path, _)| is_batch(path))
            .collect()
    };
    let before = batch(&fs);
    assert!(!before.is_empty());
    let target = to(Some(new_key()), Some(Cipher::ChaCha));
    run(&fs, &stream, &options_of("plain-none"), &target);
    let sealed = batch(&fs);
    assert!(sealed.len() > before.len());
    assert!(sealed.iter().all(|(_, bytes)| !bytes.starts_with(b"{")));
    let options = Options {
        keys: keys_of(&target),
        ..Options::new(NOW)
    };
    run(&fs, &stream, &options, &to(None, None));
    assert_eq!(batch(&fs), before);
}

#[test]
fn a_store_half_way_through_a_rotation_is_brought_to_its_end() {
    // One block under the new key and the other cipher already, the rest under the previous key.
    let (fs, stream) = golden("plain-chacha", "ORDERS");
    let before = told(&fs, &stream, options_of("plain-chacha").keys);
    let mut options = options_of("plain-chacha");
    let copy = fs.fork();
    let aes = to(Some(new_key()), Some(Cipher::Aes));
    run(&copy, &stream, &options, &aes);
    for file in ["msgs/1.key", "msgs/1.blk"] {
        let path = stream.dir.join(file);
        fs.seed_file(&path, copy.files()[&path].clone());
    }
    options.keys.previous = options.keys.current.take();
    options.keys.current = Some(new_key());
    let target = to(Some(new_key()), Some(Cipher::ChaCha));
    let report = run(&fs, &stream, &options, &target);
    assert_eq!(report.outcome, RekeyOutcome::Rekeyed);
    let after = told(&fs, &stream, keys_of(&target));
    assert_eq!(after, before);
}

#[test]
fn damage_is_refused_and_nothing_touched() {
    let target = to(Some(new_key()), None);
    let refused = |case: &str, damage: &dyn Fn(&MemoryFileSystem, &Path)| {
        let (fs, stream) = golden(case, "ORDERS");
        damage(&fs, &stream.dir);
        let before = fs.files();
        let report = run(&fs, &stream, &options_of(case), &target);
        assert!(fs.files() == before, "{case}: {:?}", report.outcome);
        nothing_left_over(&fs);
        match report.outcome {
            RekeyOutcome::Refused(error) => error,
            other => panic!("{case}: {other:?}"),
        }
    };
    let flip = |file: &'static str, at: usize| {
        move |fs: &MemoryFileSystem, dir: &Path| {
            let mut bytes = fs.files()[&dir.join(file)].clone();
            bytes[at] ^= 4;
            fs.seed_file(dir.join(file), bytes);
        }
    };
    for (case, file, at) in [
        ("plain-none", "msgs/2.blk", 500),
        ("plain-aes", "msgs/1.blk", 707),
        ("s2-chacha", "msgs/1.blk", 500),
        ("plain-aes", "meta.inf", 30),
        ("plain-aes", "meta.key", 30),
        ("plain-aes", "msgs/2.key", 30),
        ("plain-none", "meta.sum", 3),
    ] {
        let error = refused(case, &flip(file, at));
        assert!(
            matches!(error, RekeyError::Damaged(_)),
            "{case} {file}: {error}"
        );
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("jetsam salvage"));
    }
    let remove = |file: &'static str| {
        move |fs: &MemoryFileSystem, dir: &Path| fs.remove_file(&dir.join(file)).unwrap()
    };
    let error = refused("plain-aes", &|fs, dir| {
        remove("msgs/2.key")(&fs.clone(), dir);
    });
    assert!(
        matches!(error, RekeyError::NeedsKey(_) | RekeyError::Damaged(_)),
        "{error}"
    );
    let error = refused("plain-none", &|fs, dir| fs.seed_dir(dir.join("__msgs__")));
    assert!(matches!(error, RekeyError::RecoverFirst(_)), "{error}");
    let error = refused("plain-none", &|fs, dir| {
        fs.seed_file(dir.join("msgs/1.idx"), "x")
    });
    assert!(matches!(error, RekeyError::RecoverFirst(_)), "{error}");

    let (fs, stream) = golden("plain-aes", "ORDERS");
    let mut options = options_of("plain-aes");
    options.keys.current = Some(ServerKey::new(b"wrong".to_vec()));
    let report = run(&fs, &stream, &options, &target);
    assert!(matches!(
        report.outcome,
        RekeyOutcome::Refused(RekeyError::NeedsKey(_))
    ));
    assert_eq!(report.outcome.exit_code(), 8);
}

#[test]
fn one_at_a_time() {
    let (fs, stream) = golden("plain-none", "ORDERS");
    let target = to(Some(new_key()), None);
    for held in [stream.dir.clone(), PathBuf::from("/js/$G")] {
        let _guard = fs.lock_exclusive(&held).unwrap();
        let report = run(&fs, &stream, &options_of("plain-none"), &target);
        assert!(matches!(
            report.outcome,
            RekeyOutcome::Refused(RekeyError::Busy(_))
        ));
    }
}

#[test]
fn the_old_directory_can_be_kept() {
    let (fs, stream) = golden("plain-none", "ORDERS");
    let before = fs.files();
    let mut target = to(Some(new_key()), None);
    target.keep_old = true;
    let report = run(&fs, &stream, &options_of("plain-none"), &target);
    let kept = report.kept.unwrap();
    let files = fs.files();
    for (path, bytes) in before {
        assert_eq!(
            files[&kept.join(path.strip_prefix(&stream.dir).unwrap())],
            bytes
        );
    }
    let options = Options {
        keys: keys_of(&target),
        ..Options::new(NOW)
    };
    target.target = RekeyTarget::Plain;
    let report = run(&fs, &stream, &options, &target);
    assert_ne!(report.kept.unwrap(), kept);
    assert_eq!(interrupted(&fs, Path::new("/js")).unwrap(), []);
}

#[test]
fn the_log_of_a_raft_group_stays_under_chacha_and_its_own_name() {
    let (orders, stream) = golden("plain-none", "ORDERS");
    let fs = MemoryFileSystem::new();
    let dir = Path::new("/js/$SYS/_js_/ORDERS");
    for (path, bytes) in orders.files() {
        fs.seed_file(dir.join(path.strip_prefix(&stream.dir).unwrap()), bytes);
    }
    fs.seed_file(dir.join("peers.idx"), "peers");
    fs.seed_file(dir.join("snapshots/snap.1.1"), "snapshot");
    let group = StreamDir {
        account: None,
        name: "ORDERS".into(),
        dir: dir.to_owned(),
    };
    let target = to(Some(new_key()), Some(Cipher::Aes));
    let report = run(&fs, &group, &Options::new(NOW), &target);
    assert_eq!(report.outcome, RekeyOutcome::Rekeyed);
    let files = fs.files();
    assert_eq!(files[&dir.join("snapshots/snap.1.1")], b"snapshot");
    let key = new_key().key_encryption_key(b"ORDERS", b"ORDERS");
    let bytes = &files[&dir.join("meta.key")];
    assert!(crate::crypto::KeyFile::open(bytes, &key, Cipher::ChaCha).is_ok());
    nothing_left_over(&fs);
}
