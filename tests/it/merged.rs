//! Stores made for the purpose, damaged on purpose: what salvage and merge make of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::checksum::{HashKey, hex16};
use jetsam::format::record::{NewRecord, encode_record};
use jetsam::recovery::events::EventCode;
use jetsam::recovery::options::Options;
use jetsam::recovery::report::{Outcome, StreamReport};
use jetsam::recovery::{RecoverOptions, StreamDir, Watch};
use jetsam::salvage::write::{Sealing, StoreWriter};
use jetsam::salvage::{self, MergeOptions, SalvageError, SalvageOptions, SalvageReport, Uncertain};

use crate::recover::{mend, snapshot};
use crate::salvage::{into, live, save};
use crate::support::{copy_tree, everything, look};

const MESSAGES: u64 = 1000;
const PER_BLOCK: u64 = 100;
const KEY: &[u8] = b"a key for made stores";

/// How a store is made.
#[derive(Clone, Copy)]
struct Made {
    sealed: Option<Cipher>,
    tombstones: &'static [u64],
    config: &'static str,
}

const PLAIN: Made = Made {
    sealed: None,
    tombstones: &[],
    config: "",
};

fn options(key: Option<&[u8]>) -> Options {
    let mut options = everything(0);
    options.expire = false;
    options.limits = false;
    options.threads = 2;
    options.keys.current = key.map(|key| ServerKey::new(key.to_vec()));
    options
}

/// A stream of a thousand messages in ten blocks, with an index of its own; tombstones go into the last block.
fn make(dir: &Path, made: Made) -> StreamDir {
    let server = ServerKey::new(KEY.to_vec());
    let sealing = match made.sealed {
        Some(cipher) => Sealing::Key {
            server: &server,
            cipher,
        },
        None => Sealing::Plain,
    };
    let writer =
        StoreWriter::create(&OsFileSystem, dir, b"S", b"A", sealing, &OsEntropy).expect("a store");
    let json = format!(
        "{{\"name\":\"S\",\"subjects\":[\"s.>\"],\"retention\":\"limits\",\"max_consumers\":-1,\"max_msgs\":-1,\
         \"max_bytes\":-1,\"discard\":\"old\",\"max_age\":0,\"max_msgs_per_subject\":-1,\"storage\":\"file\",\
         \"num_replicas\":1,\"Created\":\"2026-01-02T03:04:05.678Z\"{}}}",
        made.config
    );
    writer.meta(json.as_bytes()).expect("metadata");
    for number in 1..=MESSAGES / PER_BLOCK {
        let number = u32::try_from(number).expect("small");
        let key = HashKey::for_block(b"S", number);
        let mut content = Vec::new();
        for at in 0..PER_BLOCK {
            let seq = u64::from(number - 1) * PER_BLOCK + at + 1;
            message(&mut content, &key, seq, "as it was");
        }
        if u64::from(number) == MESSAGES / PER_BLOCK {
            for sequence in made.tombstones.iter().copied() {
                let record = NewRecord::Tombstone {
                    sequence,
                    timestamp_ns: time(sequence),
                };
                encode_record(&mut content, &key, &record).expect("a record");
            }
        }
        writer.block(number, &mut content).expect("a block");
    }
    writer.finish().expect("a durable store");
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir: dir.to_owned(),
    };
    let what = RecoverOptions {
        accept_loss: false,
        undo: false,
    };
    let report = mend(&stream, &options(made.sealed.map(|_| KEY)), &what);
    assert!(report.outcome <= Outcome::Recovered, "{:?}", report.events);
    stream
}

fn time(seq: u64) -> i64 {
    1_767_323_045_000_000_000 + seq as i64
}

fn message(content: &mut Vec<u8>, key: &HashKey, sequence: u64, body: &str) {
    let subject = format!("s.{}", sequence % 7);
    let filling = "x".repeat(sequence as usize % 90);
    let body = format!("message {sequence} {body} {filling}");
    let record = NewRecord::Message {
        sequence,
        timestamp_ns: time(sequence),
        subject: subject.as_bytes(),
        headers: if sequence.is_multiple_of(3) {
            b"NATS/1.0\r\nK: v\r\n\r\n"
        } else {
            b""
        },
        body: body.as_bytes(),
    };
    encode_record(content, key, &record).expect("a record");
}

fn block(stream: &StreamDir, number: u32) -> PathBuf {
    stream.dir.join(format!("msgs/{number}.blk"))
}

fn zero(path: &Path, from: usize, length: usize) {
    let mut bytes = fs::read(path).expect("a block");
    let end = (from + length).min(bytes.len());
    bytes[from..end].fill(0);
    fs::write(path, bytes).expect("a damaged block");
}

fn copies(temp: &Path, first: &StreamDir, count: usize) -> Vec<StreamDir> {
    let mut all = vec![first.clone()];
    for at in 1..count {
        let dir = temp.join(format!("copy{at}"));
        copy_tree(&first.dir, &dir);
        all.push(StreamDir {
            dir,
            ..first.clone()
        });
    }
    all
}

fn join(
    found: &[StreamDir],
    options: &Options,
    wish: &MergeOptions,
) -> Result<SalvageReport, SalvageError> {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    salvage::merge(&OsFileSystem, found, options, wish, &OsEntropy, &watch)
}

fn joined(out: &Path) -> MergeOptions {
    MergeOptions {
        out: out.to_owned(),
        ..MergeOptions::default()
    }
}

fn totals(report: &SalvageReport) -> (u64, u64, Vec<(u64, u64)>) {
    let totals = report.stream.salvage.as_ref().expect("totals");
    (totals.recovered, totals.lost, totals.lost_ranges.clone())
}

fn has(report: &StreamReport, code: EventCode) -> bool {
    report.events.iter().any(|event| event.code == code)
}

#[test]
fn five_replicas_damaged_on_two_or_on_all_lose_nothing() {
    for sealed in [None, Some(Cipher::ChaCha), Some(Cipher::Aes)] {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let made = Made {
            sealed,
            tombstones: &[17, 500],
            ..PLAIN
        };
        let whole = make(&temp.path().join("S"), made);
        let options = options(sealed.map(|_| KEY));
        let want = look(&whole, &options);
        for damaged in [2, 5] {
            let below = temp.path().join(format!("damaged{damaged}"));
            let all = copies(&below, &whole, 6);
            let all = &all[1..];
            for (at, copy) in all.iter().take(damaged).enumerate() {
                let at = u32::try_from(at).expect("small");
                // One loses its second half of a block, one a block, one its index and a middle, one all its tails.
                zero(&block(copy, at * 2 + 1), 3000, 1 << 20);
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
                "{:?}",
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

#[test]
fn contradicting_copies_are_told_and_neither_is_kept() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let one = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &one, 2);
    let key = HashKey::for_block(b"S", 2);
    let mut content = Vec::new();
    for seq in 101..=200 {
        message(
            &mut content,
            &key,
            seq,
            if seq == 150 {
                "as it was told"
            } else {
                "as it was"
            },
        );
    }
    fs::write(block(&all[1], 2), content).expect("a block");
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

/// Block 3 comes under a key that is not at hand at first.
fn put_third_block_under_another_key(temp: &Path, whole: &StreamDir) {
    let former = ServerKey::new(b"a former key".to_vec());
    let sealing = Sealing::Key {
        server: &former,
        cipher: Cipher::ChaCha,
    };
    let rekeyed = temp.join("U");
    let writer = StoreWriter::create(&OsFileSystem, &rekeyed, b"S", b"A", sealing, &OsEntropy)
        .expect("a store");
    let hash_key = HashKey::for_block(b"S", 3);
    let mut content = Vec::new();
    (201..=300).for_each(|seq| message(&mut content, &hash_key, seq, "as it was"));
    writer.block(3, &mut content).expect("a block");
    for name in ["3.blk", "3.key"] {
        fs::copy(
            rekeyed.join("msgs").join(name),
            whole.dir.join("msgs").join(name),
        )
        .expect("a copy");
    }
}

#[test]
fn what_a_missing_key_closed_comes_back_with_the_key() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let made = Made {
        sealed: Some(Cipher::ChaCha),
        ..PLAIN
    };
    let whole = make(&temp.path().join("S"), made);
    let other = make(&temp.path().join("T"), made);
    put_third_block_under_another_key(temp.path(), &whole);
    let out = temp.path().join("out");
    let report = save(&whole, &options(Some(KEY)), &into(&out)).expect("a new store");
    assert_eq!(
        totals(&report),
        (900, 100, vec![(201, 300)]),
        "{:?}",
        report.stream.events
    );
    let file = out.join("quarantine.jsq");
    let kept = fs::read(&file).expect("a quarantine file");
    assert!(
        !kept.windows(9).any(|bytes| bytes == b"as it was"),
        "plaintext in the quarantine file"
    );

    let salvaged = StreamDir {
        dir: out.clone(),
        ..whole.clone()
    };
    let again = |name: &str, options: &Options| {
        let cancel = AtomicBool::new(false);
        let watch = Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let wish = joined(&temp.path().join(name));
        salvage::salvage_with_quarantine(
            &OsFileSystem,
            &salvaged,
            &file,
            options,
            &wish,
            &OsEntropy,
            &watch,
        )
        .expect("a new store")
    };
    let with_the_same = again("same", &options(Some(KEY)));
    assert_eq!(totals(&with_the_same).0, 900);
    let mut both = options(Some(KEY));
    both.keys.previous = Some(ServerKey::new(b"a former key".to_vec()));
    let with_both = again("both", &both);
    assert_eq!(
        totals(&with_both),
        (1000, 0, vec![]),
        "{:?}",
        with_both.stream.events
    );
    assert_eq!(
        with_both.stream.digest,
        look(&other, &options(Some(KEY))).digest
    );
}

#[test]
fn lost_tombstones_do_not_bring_messages_back_in_silence() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let made = Made {
        tombstones: &[17, 500, 501, 502],
        ..PLAIN
    };
    let stream = make(&temp.path().join("S"), made);
    // The tombstone of 500 is gone, the others are there.
    let last = block(&stream, 10);
    let length = fs::read(&last).expect("a block").len();
    zero(&last, length - 90, 30);
    // With the index nothing is in doubt.
    let with =
        save(&stream, &options(None), &into(&temp.path().join("with"))).expect("a new store");
    assert_eq!(totals(&with).0, 996);
    assert_eq!(with.stream.salvage.as_ref().expect("totals").uncertain, 0);
    fs::remove_file(stream.dir.join("msgs/index.db")).expect("an index");
    let without =
        save(&stream, &options(None), &into(&temp.path().join("without"))).expect("a new store");
    let found = without.stream.salvage.as_ref().expect("totals");
    assert_eq!(
        (found.recovered, found.uncertain, found.lost),
        (997, 997, 0)
    );
    assert!(has(&without.stream, EventCode::DeletesUncertain));
    assert_eq!(without.stream.outcome, Outcome::Recovered);
    let wish = SalvageOptions {
        uncertain: Uncertain::Drop,
        ..into(&temp.path().join("dropped"))
    };
    let dropped = save(&stream, &options(None), &wish).expect("a new store");
    assert_eq!(totals(&dropped).0, 0);
    assert_eq!(dropped.stream.state.expect("a state").last_seq, 1000);
}

#[test]
fn damage_in_the_middle_costs_what_it_touched() {
    for sealed in [None, Some(Cipher::Aes)] {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let stream = make(&temp.path().join("S"), Made { sealed, ..PLAIN });
        zero(&block(&stream, 5), 1000, 500);
        let options = options(sealed.map(|_| KEY));
        for index in [true, false] {
            if !index {
                fs::remove_file(stream.dir.join("msgs/index.db")).expect("an index");
            }
            let out = temp.path().join(format!("out{index}"));
            let report = save(&stream, &options, &into(&out)).expect("a new store");
            let (kept, lost, ranges) = totals(&report);
            assert_eq!(
                (kept + lost, ranges.len()),
                (MESSAGES, 1),
                "{:?}",
                report.stream.events
            );
            assert!((4..12).contains(&lost), "{lost} lost");
            assert_eq!(report.stream.exit_code(), 4);
            let quiet = Watch {
                progress: &|_| {},
                cancel: &AtomicBool::new(false),
            };
            let seen = salvage::check(&OsFileSystem, &stream, &options, &quiet).expect("a view");
            assert_eq!(seen.stream.digest, report.stream.digest);
            assert_eq!(seen.stream.state, report.stream.state);
            assert_eq!(live(&seen.stream), live(&report.stream));
        }
    }
}

#[test]
fn the_tail_is_not_used_again() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("S"), PLAIN);
    fs::remove_file(block(&stream, 10)).expect("a block");
    fs::remove_file(block(&stream, 9)).expect("a block");
    let out = temp.path().join("out");
    let report = save(&stream, &options(None), &into(&out)).expect("a new store");
    assert_eq!(totals(&report), (800, 200, vec![(801, 1000)]));
    let state = report.stream.state.expect("a state");
    assert_eq!(
        (state.last_seq, state.last_time_ns),
        (1000, Some(time(1000)))
    );
}

#[test]
fn a_cancelled_salvage_says_so() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("S"), PLAIN);
    let cancel = AtomicBool::new(true);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let wish = into(&temp.path().join("out"));
    let result = salvage::salvage(
        &OsFileSystem,
        &stream,
        &options(None),
        &wish,
        &OsEntropy,
        &watch,
    );
    assert!(matches!(result, Err(SalvageError::Interrupted(_))));
    assert!(!temp.path().join("out").exists());
}

/// Runs the command; returns its exit code and what it printed.
fn jetsam(arguments: &[&str]) -> (i32, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .args(arguments)
        .output()
        .expect("the command");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_tells_what_it_kept_and_lost() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("store/A/streams/S"), PLAIN);
    zero(&block(&stream, 5), 1000, 500);
    let path = |below: &str| temp.path().join(below).to_string_lossy().into_owned();
    let (store, out) = (path("store"), path("out"));
    let (code, seen, _) = jetsam(&["check", &store, "--policy", "salvage", "--json", "--digest"]);
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!((code, &seen["policy"]), (4, &"salvage".into()));
    let (code, printed, _) = jetsam(&["cat", &store, "--policy", "salvage", "--json"]);
    assert_eq!(code, 4);
    let (code, made, _) = jetsam(&["salvage", &store, "--out", &out, "--json", "--digest"]);
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let (seen, made) = (&seen["streams"][0], &made["streams"][0]);
    assert_eq!(code, 4);
    assert_eq!(made["salvage"], seen["salvage"]);
    assert_eq!(made["digest"], seen["digest"]);
    assert_eq!(made["salvage"]["recovered"], printed.lines().count());
    assert_eq!(made["source"], "index");
    let summary = fs::read(temp.path().join("out/summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_slice(&summary).expect("JSON");
    let summary = &summary["streams"][0];
    assert_eq!(summary["total"]["lost_seqs"], made["salvage"]["lost_seqs"]);
    assert_eq!(summary["blocks"][4]["lost"], made["salvage"]["lost"]);
    // The new store has the shape of the old one, and nothing is wrong with it.
    assert_eq!(jetsam(&["check", &out]).0, 0);
    assert!(temp.path().join("out/A/streams/S/msgs/index.db").is_file());
}

#[test]
fn a_place_that_will_not_do_is_refused_and_nothing_touched() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let stream = make(&temp.path().join("S"), PLAIN);
    fs::create_dir(temp.path().join("full")).expect("a directory");
    fs::write(temp.path().join("full/file"), "x").expect("a file");
    std::os::unix::fs::symlink(&stream.dir, temp.path().join("link")).expect("a link");
    let path = |below: &str| temp.path().join(below).to_string_lossy().into_owned();
    let before = snapshot(temp.path());
    for (from, out, want) in [
        ("S", "S/new", "lie one in the other"),
        ("S", "link/new", "lie one in the other"),
        ("S", "", "lie one in the other"),
        ("S", "full", "is not empty"),
        ("S", "full/file", "--out"),
        ("full", "out", "no store here"),
        ("nothing", "out", "no such directory"),
    ] {
        let (code, _, told) = jetsam(&["salvage", &path(from), "--out", &path(out)]);
        assert_eq!(code, 16, "{from} to {out}: {told}");
        assert!(told.contains(want), "{from} to {out}: {told}");
        assert!(
            snapshot(temp.path()) == before,
            "{from} to {out}: something was touched"
        );
    }
}
