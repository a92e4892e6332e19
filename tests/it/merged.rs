//! Replicas of one stream made and damaged for the purpose: what merging makes of them.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::crypto::Cipher;
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::checksum::{HashKey, hex16};
use jetsam::keys::rekey::{RekeyOptions, RekeyOutcome, RekeyTarget, rekey};
use jetsam::living::Idle;
use jetsam::recovery::RecoverOptions;
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::stream::Outcome;
use jetsam::salvage::{MergeOptions, MergeSource, SalvageError};
use jetsam::stream::{NeedsKey, StreamDir};

use crate::made::{
    KEY, MESSAGES, Made, PLAIN, block, copies, every_kind, has, jetsam, join, join_sources, joined,
    make, message, options, server, totals, zero,
};
use crate::recover::{mend, snapshot};
use crate::salvage::live;
use crate::support::{Fixture, copy_tree, golden, look};

#[test]
fn five_replicas_damaged_on_two_or_on_all_lose_nothing() {
    for kind in every_kind() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let made = Made {
            tombstones: &[17, 500],
            ..kind
        };
        let whole = make(&temp.path().join("S"), made);
        let options = made.options();
        let want = look(&whole, &options);
        for damaged in [2, 5] {
            let below = temp.path().join(format!("damaged{damaged}"));
            let all = copies(&below, &whole, 6);
            let all = &all[1..];
            for (at, copy) in all.iter().take(damaged).enumerate() {
                let at = u32::try_from(at).expect("small");
                // One loses its second half of a block, one a block, one its index and a middle, one all its tails.
                let damaged = block(copy, at * 2 + 1);
                let length = fs::metadata(&damaged).expect("a block").len();
                zero(&damaged, length as usize / 3, 1 << 20);
                fs::remove_file(block(copy, at * 2 + 2)).expect("a block");
                if at % 2 == 1 {
                    fs::remove_file(copy.dir.join("msgs/index.db")).expect("an index");
                }
            }
            let before: Vec<_> = all.iter().map(|copy| snapshot(&copy.dir)).collect();
            let out = below.join("out");
            let report = join(all, &options, &joined(&out)).expect("a merged store");
            assert_eq!(
                totals(&report),
                (998, 0, vec![]),
                "{kind:?} {:?}",
                report.stream.events
            );
            assert_eq!(report.stream.digest, want.digest);
            assert_eq!(live(&report.stream), live(&want));
            let after: Vec<_> = all.iter().map(|copy| snapshot(&copy.dir)).collect();
            assert!(before == after, "a source was changed");
        }
    }
}

/// A server that started on the damage cut the block and wrote a new index over the loss.
#[test]
fn a_replica_whose_server_forgot_does_not_delete_from_the_others() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let whole = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &whole, 2);
    zero(&block(&all[1], 4), 2000, 1 << 20);
    fs::remove_file(all[1].dir.join("msgs/index.db")).expect("an index");
    let what = RecoverOptions {
        accept_loss: true,
        accept_expiry: true,
        undo: false,
    };
    let mut forgetful = options(None);
    forgetful.no_index = true;
    assert!(
        mend(&all[1], &forgetful, &what)
            .state
            .expect("a state")
            .messages
            < MESSAGES
    );
    for order in [[0, 1], [1, 0]] {
        let out = temp.path().join(format!("out{}", order[0]));
        let found = order.map(|at| all[at].clone());
        let report = join(&found, &options(None), &joined(&out)).expect("a merged store");
        assert_eq!(totals(&report), (MESSAGES, 0, vec![]));
    }
}

#[test]
fn an_old_backup_does_not_bring_back_what_limits_removed() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let backup = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &backup, 2);
    let what = RecoverOptions {
        accept_loss: true,
        accept_expiry: true,
        undo: false,
    };
    // The backup ends at 900.
    fs::remove_file(block(&all[0], 10)).expect("a block");
    fs::remove_file(all[0].dir.join("msgs/index.db")).expect("an index");
    mend(&all[0], &options(None), &what);
    let meta = all[1].dir.join("meta.inf");
    let limited = fs::read_to_string(&meta)
        .expect("metadata")
        .replace("\"max_msgs\":-1", "\"max_msgs\":300");
    fs::write(&meta, &limited).expect("metadata");
    let sum = hex16(HashKey::for_stream(b"S").hash64(&[limited.as_bytes()]));
    fs::write(all[1].dir.join("meta.sum"), sum).expect("a sum");
    let mut enforcing = options(None);
    enforcing.limits = true;
    let trimmed = mend(&all[1], &enforcing, &what);
    assert_eq!(trimmed.state.expect("a state").first_seq, 701);
    let out = temp.path().join("out");
    let report = join(&all, &options(None), &joined(&out)).expect("a merged store");
    assert_eq!(
        (totals(&report).0, totals(&report).1),
        (300, 0),
        "{:?}",
        report.stream.events
    );
}

/// The second block, with another message under sequence 150.
fn told_otherwise() -> Vec<u8> {
    let mut block = BlockBuilder::new(b"S", 2);
    for seq in 101..=200 {
        let body = match seq {
            150 => "as it was told",
            _ => "as it was",
        };
        message(&mut block, seq, body);
    }
    block.into_content()
}

#[test]
fn contradicting_copies_are_told_and_neither_is_kept() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let one = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &one, 2);
    fs::write(block(&all[1], 2), told_otherwise()).expect("a block");
    let out = temp.path().join("out");
    let report = join(&all, &options(None), &joined(&out)).expect("a merged store");
    assert_eq!(totals(&report), (MESSAGES - 1, 1, vec![(150, 150)]));
    assert!(has(&report.stream, EventCode::MergeConflict));
    assert_eq!(report.stream.exit_code(), 4);
    assert!(out.join("quarantine.jsq").is_file());
}

#[test]
fn other_streams_are_not_merged_unless_forced() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let one = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &one, 2);
    let meta = all[1].dir.join("meta.inf");
    let other = fs::read_to_string(&meta)
        .expect("metadata")
        .replace("2026-01-02", "2026-01-03");
    let write = |text: &str| {
        fs::write(&meta, text).expect("metadata");
        let sum = hex16(HashKey::for_stream(b"S").hash64(&[text.as_bytes()]));
        fs::write(all[1].dir.join("meta.sum"), sum).expect("a sum");
    };
    // Another time of creation alone is what turning encryption on leaves behind.
    write(&other);
    join(&all, &options(None), &joined(&temp.path().join("a"))).expect("replicas");
    write(&other.replace("s.>", "s.*"));
    let refused = join(&all, &options(None), &joined(&temp.path().join("b")));
    assert!(
        matches!(refused, Err(SalvageError::NotOneStream(..))),
        "{refused:?}"
    );
    let wish = MergeOptions {
        force: true,
        ..joined(&temp.path().join("c"))
    };
    join(&all, &options(None), &wish).expect("a merged store");
}

const KEY_A: &[u8] = b"the key of the first server";
const KEY_B: &[u8] = b"the key of the second server";
const KEY_NEW: &[u8] = b"the key of the server to come";

/// Replicas on servers that differ in their encryption: ChaCha under one key, AES under another, and plaintext.
fn replicas(temp: &Path, compressed: bool) -> [(StreamDir, Made); 3] {
    let kind = |sealed, key| Made {
        sealed,
        key,
        compressed,
        tombstones: &[17, 500],
        ..PLAIN
    };
    let kinds = [
        kind(Some(Cipher::ChaCha), KEY_A),
        kind(Some(Cipher::Aes), KEY_B),
        kind(None, KEY),
    ];
    let mut number = 0;
    kinds.map(|made| {
        number += 1;
        (make(&temp.join(format!("n{number}/S")), made), made)
    })
}

fn own_keys(replicas: &[(StreamDir, Made)]) -> Vec<MergeSource> {
    let source = |(stream, made): &(StreamDir, Made)| MergeSource {
        stream: stream.clone(),
        key: made.sealed.map(|_| server(made.key)),
    };
    replicas.iter().map(source).collect()
}

/// Every replica has lost what the others have: blocks, halves of blocks, an index, a key file.
fn damage_each(replicas: &[(StreamDir, Made)]) {
    for (at, (stream, _)) in (0_u32..).zip(replicas) {
        let number = at * 3 + 1;
        let path = block(stream, number);
        let length = fs::metadata(&path).expect("a block").len() as usize;
        zero(&path, length / 3, 1 << 20);
        fs::remove_file(block(stream, number + 1)).expect("a block");
        let key = block(stream, number + 2).with_extension("key");
        if key.exists() {
            fs::write(&key, [7; 72]).expect("a key file");
        }
    }
    fs::remove_file(replicas[1].0.dir.join("msgs/index.db")).expect("an index");
}

#[test]
fn replicas_under_different_keys_and_ciphers_lose_nothing() {
    for compressed in [false, true] {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let replicas = replicas(temp.path(), compressed);
        let want = look(&replicas[2].0, &options(None));
        damage_each(&replicas);
        let before: Vec<_> = replicas
            .iter()
            .map(|(stream, _)| snapshot(&stream.dir))
            .collect();
        let sources = own_keys(&replicas);
        // In any order, the new store is under the common key, else under that of the first encrypted copy.
        for (order, common, cipher, new_key) in [
            ([0, 1, 2], None, None, KEY_A),
            ([2, 1, 0], None, None, KEY_B),
            ([2, 0, 1], Some(KEY_NEW), Some(Cipher::Aes), KEY_NEW),
        ] {
            let found = order.map(|at| sources[at].clone());
            let mut options = options(common);
            options.keys.cipher = cipher;
            let out = temp.path().join(format!("out{}{}", order[0], order[1]));
            let report = join_sources(&found, &options, &joined(&out)).expect("a merged store");
            let what = format!("{order:?} compressed {compressed}");
            assert_eq!(
                totals(&report),
                (998, 0, vec![]),
                "{what} {:?}",
                report.stream.events
            );
            assert_eq!(report.stream.digest, want.digest, "{what}");
            let merged = StreamDir {
                dir: out.clone(),
                ..replicas[0].0.clone()
            };
            let seen = look(&merged, &crate::made::options(Some(new_key)));
            assert_eq!(
                (seen.outcome, seen.digest),
                (Outcome::Clean, want.digest),
                "{what}"
            );
        }
        let after: Vec<_> = replicas
            .iter()
            .map(|(stream, _)| snapshot(&stream.dir))
            .collect();
        assert!(before == after, "a source was changed");
    }
}

#[test]
fn a_copy_whose_key_is_not_given_stops_the_merge_and_names_it() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let replicas = replicas(temp.path(), false);
    let mut sources = own_keys(&replicas);
    sources[1].key = None;
    let out = temp.path().join("out");
    let refused = join_sources(&sources, &options(Some(KEY_A)), &joined(&out));
    let Err(SalvageError::NeedsKey(NeedsKey { dir, given: true })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(dir, replicas[1].0.dir);
    assert!(!out.exists());
}

#[test]
fn contradictions_between_encrypted_copies_stay_encrypted() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let replicas = replicas(temp.path(), false);
    // The plain copy tells something else; what both say goes to the quarantine file.
    fs::write(block(&replicas[2].0, 2), told_otherwise()).expect("a block");
    let out = temp.path().join("out");
    let sources = own_keys(&replicas);
    let report = join_sources(&sources, &options(None), &joined(&out)).expect("a merged store");
    assert_eq!(totals(&report), (997, 1, vec![(150, 150)]));
    assert!(has(&report.stream, EventCode::MergeConflict));
    let kept = fs::read(out.join("quarantine.jsq")).expect("a quarantine file");
    assert!(
        !kept.windows(9).any(|bytes| bytes == b"as it was"),
        "plaintext in it"
    );
}

/// Deleted on one server, damaged on another, and still there in an old backup under a third key.
#[test]
fn deletes_of_one_copy_hold_for_those_under_other_keys() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let kind = |sealed, key, tombstones| Made {
        sealed,
        key,
        compressed: true,
        tombstones,
        ..PLAIN
    };
    let all = [
        kind(Some(Cipher::ChaCha), KEY_A, &[][..]),
        kind(Some(Cipher::Aes), KEY_B, &[250, 251, 999]),
        kind(None, KEY, &[]),
    ];
    let mut number = 0;
    let replicas = all.map(|made| {
        number += 1;
        (make(&temp.path().join(format!("n{number}/S")), made), made)
    });
    // The backups end at 900, and know nothing of the deletes.
    for (stream, made) in [&replicas[0], &replicas[2]] {
        fs::remove_file(block(stream, 10)).expect("a block");
        fs::remove_file(stream.dir.join("msgs/index.db")).expect("an index");
        let what = RecoverOptions {
            accept_loss: true,
            accept_expiry: true,
            undo: false,
        };
        mend(stream, &made.options(), &what);
    }
    fs::remove_file(block(&replicas[1].0, 3)).expect("a block");
    let out = temp.path().join("out");
    let sources = own_keys(&replicas);
    let report = join_sources(&sources, &options(None), &joined(&out)).expect("a merged store");
    assert_eq!(
        totals(&report),
        (997, 0, vec![]),
        "{:?}",
        report.stream.events
    );
    let gone: Vec<u64> = (1..=MESSAGES)
        .filter(|seq| !live(&report.stream).contains(seq))
        .collect();
    assert_eq!(gone, [250, 251, 999]);
}

/// Copies of a stream that a server wrote, put under other keys: consumers, headers and deletes go along.
#[test]
fn a_servers_stream_comes_whole_out_of_copies_under_three_keys() {
    let is_it = |fixture: &Fixture| {
        fixture.name == "ORDERS" && fixture.dir.to_string_lossy().contains("v2.15.2/s2-chacha/")
    };
    let fixture = golden().into_iter().find(is_it).expect("a store");
    let mut own = fixture.options();
    (own.expire, own.limits) = (false, false);
    let (temp, first) = fixture.scratch();
    let want = look(&first, &own);
    let mut sources = vec![MergeSource {
        stream: first.clone(),
        key: own.keys.current.clone(),
    }];
    let sealed = |key: &[u8], cipher| RekeyTarget::Key {
        server: server(key),
        cipher: Some(cipher),
    };
    for (at, target) in [
        sealed(KEY_A, Cipher::Aes),
        sealed(KEY_B, Cipher::ChaCha),
        RekeyTarget::Plain,
    ]
    .into_iter()
    .enumerate()
    {
        let stream = StreamDir {
            dir: temp.path().join(format!("r{at}/A/streams/ORDERS")),
            ..first.clone()
        };
        copy_tree(&first.dir, &stream.dir);
        let key = match &target {
            RekeyTarget::Key { server, .. } => Some(server.clone()),
            RekeyTarget::Plain => None,
        };
        let wish = RekeyOptions {
            target,
            keep_old: false,
        };
        let watch = Watch {
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        let (fs, idle) = (&OsFileSystem, Idle::declared());
        let done = rekey(fs, &idle, &stream, &own, &wish, &OsEntropy, &watch);
        let outcome = done.outcome;
        assert_eq!(outcome, RekeyOutcome::Rekeyed);
        sources.push(MergeSource { stream, key });
    }
    // Each of the first three has one block less and a consumer that cannot be read.
    for (number, source) in (1..).zip(&sources[..3]) {
        fs::remove_file(block(&source.stream, number)).expect("a block");
        zero(&source.stream.dir.join("msgs/index.db"), 0, 40);
    }
    let mut options = own.clone();
    options.keys.current = None;
    let out = temp.path().join("out");
    let report = join_sources(&sources, &options, &joined(&out)).expect("a merged store");
    assert_eq!(totals(&report).1, 0, "{:?}", report.stream.events);
    assert_eq!(report.stream.digest, want.digest);
    assert_eq!(live(&report.stream), live(&want));
    let merged = StreamDir {
        dir: out,
        ..first.clone()
    };
    let seen = look(&merged, &own);
    assert_eq!(seen.outcome, Outcome::Clean, "{:?}", seen.events);
    assert_eq!(
        (seen.digest, &seen.consumers),
        (want.digest, &want.consumers)
    );
}

#[test]
fn the_command_takes_a_key_for_each_copy() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let replicas = replicas(temp.path(), true);
    damage_each(&replicas);
    let path = |below: &str| temp.path().join(below).to_string_lossy().into_owned();
    for (name, key) in [("a", KEY_A), ("b", KEY_B), ("new", KEY_NEW)] {
        fs::write(temp.path().join(name), key).expect("a key file");
    }
    let copies = [path("n1/S"), path("n2/S"), path("n3/S")];
    let run = |flags: &[&str], out: &str| {
        let mut line = vec!["merge", "--account", "A", "--json", "--out", out];
        line.extend(copies.iter().map(String::as_str));
        line.extend(flags);
        jetsam(&line)
    };
    let (a, b, new) = (path("a"), path("b"), path("new"));
    let each = ["--source-key-file", &a, "--source-key-file", &b];
    let (code, _, told) = run(&each, &path("out"));
    assert_eq!(code, 16);
    assert!(told.contains("3 copies and 2 keys"), "{told}");
    let in_turn = [&each[..], &["--source-key-env", "-"]].concat();
    let under_new = [&in_turn[..], &["--key-file", &new]].concat();
    for (flags, out, key) in [(&in_turn, "one/S", &a), (&under_new, "two/S", &new)] {
        let (code, told, err) = run(flags, &path(out));
        let told: serde_json::Value = serde_json::from_str(&told).expect(&err);
        assert!(code <= 1, "{err}");
        let salvaged = &told["streams"][0]["salvage"];
        assert_eq!(
            (&salvaged["recovered"], &salvaged["lost"]),
            (&998.into(), &0.into())
        );
        let (code, _, err) = jetsam(&["check", &path(out), "--account", "A", "--key-file", key]);
        assert_eq!(code, 0, "{err}");
    }
    // In another order nothing opens.
    let wrong = [
        "--source-key-file",
        &b,
        "--source-key-file",
        &a,
        "--source-key-file",
        "-",
    ];
    let (code, _, told) = run(&wrong, &path("three/S"));
    assert_eq!(code, 8, "{told}");
    assert!(told.contains("n1/S"), "{told}");
    let (code, _, told) = jetsam(&[
        "salvage",
        &copies[0],
        "--out",
        &path("four"),
        "--source-key-file",
        &a,
    ]);
    assert_eq!(code, 16);
    assert!(told.contains("jetsam merge"), "{told}");
}
