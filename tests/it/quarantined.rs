//! What could not be proven, taken up again: with the key that was missing, or after its bytes were mended. On stores that
//! the server wrote, and on stores made for the purpose.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::crypto::{Cipher, KeyFile, block_context};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::report::Watch;
use jetsam::report::stream::StreamReport;
use jetsam::salvage::quarantine::{
    EntryKind, QuarantineEntry, Reader, encode_entry, encode_header,
};
use jetsam::salvage::{self, MergeSource, SalvageReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::{Keys, Options};
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::made::{
    KEY, MESSAGES, Made, PLAIN, block, every_kind, jetsam, join_sources, joined, make, message,
    options, server, totals, zero,
};
use crate::salvage::{into, live, save};
use crate::support::{self, Fixture, golden, look};

const FORMER: &[u8] = b"a former key";

/// Salvages `stream` once more, with what the quarantine file gives by now.
fn again(stream: &StreamDir, file: &Path, options: &Options, out: &Path) -> SalvageReport {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let (fs, entropy) = (&OsFileSystem, &OsEntropy);
    salvage::salvage_with_quarantine(fs, stream, file, options, &joined(out), entropy, &watch)
        .expect("a new store")
}

fn at(stream: &StreamDir, dir: &Path) -> StreamDir {
    StreamDir {
        dir: dir.to_owned(),
        ..stream.clone()
    }
}

/// The entries of a quarantine file, with the beginning of it.
fn entries(file: &Path) -> (Vec<u8>, Vec<QuarantineEntry>) {
    let bytes = fs::read(file).expect("a quarantine file");
    let source = |offset: u64, out: &mut [u8]| {
        let rest = &bytes[(offset as usize).min(bytes.len())..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    };
    let mut reader = Reader::new(&source, bytes.len() as u64).expect("a quarantine file");
    let header = encode_header(&reader.name, &reader.account);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().expect("an entry") {
        found.push(entry);
    }
    (header, found)
}

/// Puts the bytes of the undamaged blocks where the pieces of a quarantine file came from: someone mended them.
fn mend_pieces(file: &Path, undamaged: &dyn Fn(u32) -> Vec<u8>) {
    let (mut bytes, entries) = entries(file);
    let mut mended = 0;
    for mut entry in entries {
        if entry.kind == EntryKind::Piece && !entry.shares {
            let whole = undamaged(entry.number);
            let start = entry.file_offset as usize;
            let place = start..start + entry.bytes.len();
            entry.bytes.copy_from_slice(&whole[place]);
            mended += 1;
        }
        bytes.extend(encode_entry(&entry));
    }
    assert!(mended > 0);
    fs::write(file, bytes).expect("a mended quarantine file");
}

/// Puts the key file of block `number` under the former key, as a block that was left behind when keys changed has it.
fn leave_behind(stream: &StreamDir, number: u32, current: &[u8]) {
    let path = block(stream, number).with_extension("key");
    let bytes = fs::read(&path).expect("a key file");
    let account = stream.account.clone().expect("an account");
    let context = block_context(stream.name.as_bytes(), number);
    let kek = |key: &[u8]| server(key).key_encryption_key(account.as_bytes(), &context);
    let opened = [Cipher::ChaCha, Cipher::Aes]
        .into_iter()
        .find_map(|cipher| KeyFile::open(&bytes, &kek(current), cipher).ok());
    let (seed, nonce) = opened.expect("the key opens it");
    fs::write(path, KeyFile::seal(&seed, &nonce, &kek(FORMER))).expect("a key file");
}

fn with_former(options: &Options) -> Options {
    Options {
        keys: Keys {
            previous: Some(server(FORMER)),
            ..options.keys.clone()
        },
        ..options.clone()
    }
}

/// Streams of the newest server's stores, of each kind, with several blocks.
fn servers_stores(names: &[&str]) -> Vec<Fixture> {
    let kinds = [
        "plain-none",
        "plain-chacha",
        "plain-aes",
        "s2-none",
        "s2-chacha",
        "s2-aes",
    ];
    let is_wanted = |fixture: &Fixture| {
        let kind = |kind: &&str| {
            fixture
                .dir
                .to_string_lossy()
                .contains(&format!("v2.15.2/{kind}/"))
        };
        kinds.iter().any(kind) && names.contains(&fixture.name.as_str())
    };
    golden().into_iter().filter(is_wanted).collect()
}

fn as_it_lies(fixture: &Fixture) -> Options {
    let mut options = fixture.options();
    options.expire = false;
    options.limits = false;
    options
}

fn numbers(stream: &StreamDir) -> Vec<u32> {
    let mut numbers: Vec<u32> = fs::read_dir(stream.dir.join("msgs"))
        .expect("blocks")
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".blk")?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

fn same_messages(ours: &StreamReport, theirs: &StreamReport, what: &str) {
    assert_eq!(live(ours), live(theirs), "{what} {:?}", ours.events);
    assert_eq!(ours.digest, theirs.digest, "{what}");
}

#[test]
fn a_servers_block_under_another_key_comes_back_with_it() {
    let mut tried = 0;
    for fixture in servers_stores(&[
        "ORDERS",
        "LEDGER",
        "KV_settings",
        "HISTORY",
        "COMPACTED",
        "TTLS",
    ]) {
        let options = as_it_lies(&fixture);
        if options.keys.current.is_none() {
            continue;
        }
        let (temp, stream) = fixture.scratch();
        let want = look(&stream, &options);
        for number in numbers(&stream) {
            let what = format!("{} block {number}", fixture.dir.display());
            let damaged = at(&stream, &temp.path().join(format!("damaged{number}")));
            support::copy_tree(&stream.dir, &damaged.dir);
            leave_behind(&damaged, number, support::KEY);
            let out = temp.path().join(format!("out{number}"));
            let report = save(&damaged, &options, &into(&out)).expect("a new store");
            let file = out.join("quarantine.jsq");
            if !file.exists() {
                assert_eq!(totals(&report).1, 0, "{what}");
                continue;
            }
            tried += 1;
            let both = with_former(&options);
            // From the new store, and from the damaged one as it lies.
            for (from, name) in [(at(&stream, &out), "new"), (damaged.clone(), "old")] {
                let back = temp.path().join(format!("{name}{number}"));
                let report = again(&from, &file, &both, &back);
                assert_eq!(
                    totals(&report).1,
                    0,
                    "{what} {name} {:?}",
                    report.stream.events
                );
                same_messages(&report.stream, &want, &format!("{what} {name}"));
            }
            // Without it nothing comes back, and nothing that was there goes.
            let back = temp.path().join(format!("same{number}"));
            let same = again(&at(&stream, &out), &file, &options, &back);
            same_messages(&same.stream, &report.stream, &what);
        }
    }
    assert!(tried >= 20, "{tried} blocks");
}

#[test]
fn a_servers_block_that_was_mended_comes_back() {
    let mut lost = 0;
    for fixture in servers_stores(&["ORDERS", "LEDGER"]) {
        let options = as_it_lies(&fixture);
        let (temp, stream) = fixture.scratch();
        let want = look(&stream, &options);
        for number in numbers(&stream) {
            let what = format!("{} block {number}", fixture.dir.display());
            let damaged = at(&stream, &temp.path().join(format!("damaged{number}")));
            support::copy_tree(&stream.dir, &damaged.dir);
            let path = block(&damaged, number);
            let length = fs::metadata(&path).expect("a block").len() as usize;
            zero(&path, length / 4, 90);
            zero(&path, length * 3 / 4, 90);
            let out = temp.path().join(format!("out{number}"));
            let report = save(&damaged, &options, &into(&out)).expect("a new store");
            lost += totals(&report).1;
            let file = out.join("quarantine.jsq");
            if !file.exists() {
                continue;
            }
            mend_pieces(&file, &|number| {
                fs::read(block(&stream, number)).expect("a block")
            });
            let back = temp.path().join(format!("back{number}"));
            let report = again(&at(&stream, &out), &file, &options, &back);
            assert_eq!(totals(&report).1, 0, "{what} {:?}", report.stream.events);
            same_messages(&report.stream, &want, &what);
        }
    }
    assert!(lost > 100, "{lost} lost before");
}

/// Chunks of the compressed form hold a mebibyte; records that lie across their borders come back too.
#[test]
fn a_chunk_that_was_mended_gives_back_what_lies_across_its_ends() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    for (at_kind, kind) in every_kind().filter(|kind| kind.compressed).enumerate() {
        let temp = temp.path().join(format!("{at_kind}"));
        let made = Made {
            filling: 40_000,
            ..kind
        };
        let options = made.options();
        let whole = make(&temp.join("S"), made);
        let damaged = at(&whole, &temp.join("damaged"));
        support::copy_tree(&whole.dir, &damaged.dir);
        let path = block(&damaged, 4);
        let length = fs::metadata(&path).expect("a block").len() as usize;
        zero(&path, length * 2 / 5, 3000);
        zero(&path, length * 3 / 5, 3000);
        let out = temp.join("out");
        let report = save(&damaged, &options, &into(&out)).expect("a new store");
        let lost = totals(&report).1;
        assert!((1..100).contains(&lost), "{lost} lost");
        let file = out.join("quarantine.jsq");
        let (_, found) = entries(&file);
        let bytes: usize = found.iter().map(|entry| entry.bytes.len()).sum();
        assert!(
            bytes < length + 200,
            "the block is kept once, not for every gap"
        );
        mend_pieces(&file, &|number| {
            fs::read(block(&whole, number)).expect("a block")
        });
        let report = again(&at(&whole, &out), &file, &options, &temp.join("back"));
        assert_eq!(totals(&report), (MESSAGES, 0, vec![]), "{kind:?}");
        same_messages(&report.stream, &look(&whole, &options), "chunks");
    }
}

/// Block 3 comes under a key that is not at hand at first.
fn put_third_block_under_another_key(temp: &Path, whole: &StreamDir) {
    let former = server(FORMER);
    let sealing = Sealing::Key {
        server: &former,
        cipher: Cipher::ChaCha,
    };
    let rekeyed = temp.join("U");
    let writer = StoreWriter::create(&OsFileSystem, &rekeyed, b"S", b"A", sealing, &OsEntropy)
        .expect("a store");
    let mut block = BlockBuilder::new(b"S", 3);
    (201..=300).for_each(|seq| message(&mut block, seq, "as it was"));
    writer.block(3, &mut block.into_content()).expect("a block");
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
    let salvaged = at(&whole, &out);
    let only = options(Some(KEY));
    let with_the_same = again(&salvaged, &file, &only, &temp.path().join("same"));
    assert_eq!(totals(&with_the_same).0, 900);
    let both = again(
        &salvaged,
        &file,
        &with_former(&only),
        &temp.path().join("both"),
    );
    assert_eq!(totals(&both), (1000, 0, vec![]), "{:?}", both.stream.events);
    same_messages(&both.stream, &look(&other, &only), "both keys");
}

/// Indexes written over a loss do not count what was lost: they delete nothing of what comes back, not the front of the
/// stream, and not the middle of one whose messages vanish without a tombstone.
#[test]
fn the_new_index_does_not_delete_what_comes_back() {
    for config in [
        "",
        ",\"max_msgs_per_subject\":1000",
        ",\"allow_msg_ttl\":true",
    ] {
        for number in [1, 4, 10] {
            let temp = tempfile::tempdir().expect("a temporary directory");
            let made = Made {
                sealed: Some(Cipher::Aes),
                config,
                ..PLAIN
            };
            let whole = make(&temp.path().join("S"), made);
            let want = look(&whole, &made.options());
            leave_behind(&whole, number, KEY);
            let out = temp.path().join("out");
            let report = save(&whole, &made.options(), &into(&out)).expect("a new store");
            assert_eq!(totals(&report).1, 100, "{config} {number}");
            let file = out.join("quarantine.jsq");
            let back = temp.path().join("back");
            let both = with_former(&made.options());
            let report = again(&at(&whole, &out), &file, &both, &back);
            assert_eq!(totals(&report), (MESSAGES, 0, vec![]), "{config} {number}");
            same_messages(&report.stream, &want, config);
        }
    }
}

/// Deleted, and only the index knew: the new store does not know it any more, the quarantine file does.
#[test]
fn what_was_deleted_stays_deleted_when_a_block_comes_back() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let made = Made {
        sealed: Some(Cipher::ChaCha),
        tombstones: &[310, 311, 355],
        ..PLAIN
    };
    let whole = make(&temp.path().join("S"), made);
    let options = made.options();
    let want = look(&whole, &options);
    assert_eq!(want.state.as_ref().expect("a state").messages, 997);
    // The last block loses two tombstones, so that the index alone knows of these; the fourth loses its key.
    let last = block(&whole, 10);
    let length = fs::metadata(&last).expect("a block").len() as usize;
    zero(&last, length - 3 * 30, 60);
    leave_behind(&whole, 4, KEY);
    let out = temp.path().join("out");
    let report = save(&whole, &options, &into(&out)).expect("a new store");
    assert_eq!(totals(&report).1, 97, "{:?}", report.stream.events);
    let file = out.join("quarantine.jsq");
    let both = with_former(&options);
    for (from, name) in [(at(&whole, &out), "new"), (whole.clone(), "old")] {
        let report = again(&from, &file, &both, &temp.path().join(name));
        assert_eq!(totals(&report).1, 0, "{name}");
        same_messages(&report.stream, &want, name);
    }
}

/// Nobody knew of the deletes but tombstones in a block that could not be read: they count when it can.
#[test]
fn tombstones_that_come_back_delete_what_was_kept_in_doubt() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let made = Made {
        sealed: Some(Cipher::ChaCha),
        tombstones: &[17, 500, 950],
        ..PLAIN
    };
    let whole = make(&temp.path().join("S"), made);
    let options = made.options();
    let want = look(&whole, &options);
    fs::remove_file(whole.dir.join("msgs/index.db")).expect("an index");
    leave_behind(&whole, 10, KEY);
    let out = temp.path().join("out");
    let report = save(&whole, &options, &into(&out)).expect("a new store");
    assert_eq!(totals(&report).0, 900, "{:?}", report.stream.events);
    let file = out.join("quarantine.jsq");
    let both = with_former(&options);
    let report = again(&at(&whole, &out), &file, &both, &temp.path().join("back"));
    assert_eq!(
        totals(&report),
        (997, 0, vec![]),
        "{:?}",
        report.stream.events
    );
    same_messages(&report.stream, &want, "tombstones");
}

/// What a merge puts aside is under the key of the store it wrote, whichever key it was under before.
#[test]
fn what_a_merge_put_aside_comes_back_with_the_new_stores_key() {
    for compressed in [false, true] {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let kind = |sealed, key: &'static [u8]| Made {
            sealed: Some(sealed),
            key,
            compressed,
            ..PLAIN
        };
        let all = [kind(Cipher::ChaCha, b"a key"), kind(Cipher::Aes, b"b key")];
        let sources = [("a", all[0]), ("b", all[1])].map(|(name, made)| MergeSource {
            stream: make(&temp.path().join(name).join("S"), made),
            key: Some(server(made.key)),
        });
        let want = look(&sources[0].stream, &all[0].options());
        let path = block(&sources[0].stream, 4);
        let undamaged = fs::read(&path).expect("a block");
        zero(&path, undamaged.len() / 3, 200);
        fs::remove_file(block(&sources[1].stream, 4)).expect("a block");
        let options = options(Some(b"the key to come"));
        let out = temp.path().join("out");
        let report = join_sources(&sources, &options, &joined(&out)).expect("a merged store");
        assert!(totals(&report).1 > 0, "{compressed}");
        let file = out.join("quarantine.jsq");
        mend_pieces(&file, &|_| undamaged.clone());
        let merged = at(&sources[0].stream, &out);
        let report = again(&merged, &file, &options, &temp.path().join("back"));
        assert_eq!(totals(&report), (MESSAGES, 0, vec![]), "{compressed}");
        same_messages(&report.stream, &want, "merged");
    }
}

#[test]
fn the_command_takes_a_quarantine_file_up_again() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let made = Made {
        sealed: Some(Cipher::Aes),
        compressed: true,
        ..PLAIN
    };
    let whole = make(&temp.path().join("S"), made);
    leave_behind(&whole, 2, KEY);
    let path = |below: &str| -> String {
        let path: PathBuf = temp.path().join(below);
        path.to_string_lossy().into_owned()
    };
    fs::write(path("key"), KEY).expect("a key");
    fs::write(path("former"), FORMER).expect("a key");
    let (key, former, account) = (path("key"), path("former"), "A");
    let common = ["--key-file", &key, "--account", account, "--json"];
    let run = |line: &[&str]| {
        let (code, out, err) = jetsam(&[line, &common].concat());
        let document: serde_json::Value = serde_json::from_str(&out).expect(&err);
        (code, document["streams"][0]["salvage"].clone())
    };
    let (code, told) = run(&["salvage", &path("S"), "--out", &path("out/S")]);
    assert_eq!((code, &told["lost"]), (4, &100.into()));
    assert_eq!(told["quarantined"], 1);
    let file = path("out/S/quarantine.jsq");
    let (code, told) = run(&[
        "salvage",
        &path("out/S"),
        "--from-quarantine",
        &file,
        "--prev-key-file",
        &former,
        "--out",
        &path("back/S"),
    ]);
    assert_eq!(
        (&told["lost"], &told["recovered"]),
        (&0.into(), &1000.into())
    );
    assert!(code <= 1, "{code}");
    let (code, _, err) = jetsam(&[
        "check",
        &path("back/S"),
        "--key-file",
        &key,
        "--account",
        account,
    ]);
    assert_eq!(code, 0, "{err}");
}
