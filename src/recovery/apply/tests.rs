//! Applying, and the fixtures of the crash tests.

mod cases;
mod crash;
mod real;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::block::content;
use crate::crypto::{
    BlockCipher, Cipher, KeyFile, KeyRing, Nonce, Seed, ServerKey, block_context, open_sealed,
    seal, stream_context,
};
use crate::env::memory::{MemoryFileSystem, SeededEntropy};
use crate::env::{Metadata, ReadFiles};
use crate::format::checksum::{HashKey, hex16};
use crate::format::names::BlockFile;
use crate::recovery::undo::undo;
use crate::report::actions::Piece;
use cases::{cases, cut_case, rekey_case};

const ACCOUNT: &[u8] = b"$G";
const STREAM: &[u8] = b"S";

fn dir() -> &'static Path {
    Path::new("/js/streams/S")
}

/// Everything that undo is to bring back: bytes, mode and time of every file, and the directories.
type Snapshot = (BTreeMap<PathBuf, (Vec<u8>, Metadata)>, Vec<PathBuf>);

fn snapshot(fs: &MemoryFileSystem) -> Snapshot {
    let files = fs.files().into_iter();
    let files = files.map(|(path, bytes)| {
        let metadata = fs.metadata(&path).unwrap();
        (path, (bytes, metadata))
    });
    (files.collect(), fs.dirs())
}

/// The files as relative names, without what is ours.
fn store_files(fs: &MemoryFileSystem) -> BTreeMap<String, Vec<u8>> {
    let files = fs.files().into_iter();
    let files = files.map(|(path, bytes)| {
        let path = path
            .strip_prefix(dir())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (path, bytes)
    });
    files.filter(|(path, _)| !path.contains("jetsam")).collect()
}

fn store(files: &[(&str, &[u8])]) -> MemoryFileSystem {
    let fs =
        MemoryFileSystem::with_files(files.iter().map(|(path, bytes)| (dir().join(path), *bytes)));
    for (at, (path, _)) in files.iter().enumerate() {
        let path = dir().join(path);
        fs.set_modified(&path, 1_700_000_000_123_456_789 + at as i64)
            .unwrap();
        fs.set_mode(&path, 0o600 + at as u32).unwrap();
    }
    fs.fork()
}

fn seed_of(byte: u8) -> Seed {
    Seed::new([byte; 32])
}

fn old_server_key() -> ServerKey {
    ServerKey::new(b"old".to_vec())
}

fn new_server_key() -> ServerKey {
    ServerKey::new(b"new".to_vec())
}

fn key_file(byte: u8, server: &ServerKey, context: &[u8]) -> Vec<u8> {
    let key = server.key_encryption_key(ACCOUNT, context);
    KeyFile::seal(&seed_of(byte), &Nonce::ChaCha([byte; 24]), &key)
}

fn encrypted_block(byte: u8, records: &[u8]) -> Vec<u8> {
    let mut bytes = records.to_vec();
    let cipher = BlockCipher::new(&seed_of(byte), &Nonce::ChaCha([byte; 24]));
    cipher.apply(&mut bytes, 0).unwrap();
    bytes
}

/// A block as it reads with the key file beside it.
fn read_block(fs: &dyn ReadFiles, at: &Path, number: u32, keys: &ApplyKeys<'_>) -> Option<Vec<u8>> {
    let mut bytes = fs
        .read(&at.join(BlockFile::Block.path(number)), 1 << 20)
        .ok()?;
    let key = fs
        .read(&at.join(BlockFile::Key.path(number)), 1 << 20)
        .ok()?;
    let context = block_context(STREAM, number);
    let cipher = keys.ring.open(&key, &context).ok()?.block_cipher();
    let hash_key = HashKey::for_block(STREAM, number);
    content::decode(&mut bytes, &mut Vec::new(), Some(&cipher), &hash_key).ok()?;
    Some(bytes)
}

fn keys<'a>(current: Option<&'a ServerKey>, previous: Option<&'a ServerKey>) -> ApplyKeys<'a> {
    ApplyKeys {
        ring: KeyRing {
            current,
            previous,
            cipher: Some(Cipher::ChaCha),
            account: ACCOUNT,
        },
        stream: STREAM,
        asset_key: current.map(|_| (seed_of(100), Cipher::ChaCha)),
    }
}

/// Applies a list, with or without putting things aside.
fn apply_to(
    fs: &MemoryFileSystem,
    changes: &[Change],
    keys: &ApplyKeys<'_>,
    undoable: bool,
) -> Result<Applied, ApplyError> {
    let entropy = SeededEntropy::new(7);
    let mut recorder = match undoable {
        true => match Recorder::new(fs, dir()) {
            Ok(recorder) => Some(recorder),
            Err(error) => {
                let path = String::new();
                let (cause, roll_back) = (error.into(), RollBack::NotRecorded);
                return Err(ApplyError {
                    change: 0,
                    path,
                    cause,
                    roll_back,
                });
            }
        },
        false => None,
    };
    apply(
        fs,
        dir(),
        changes,
        keys,
        &entropy,
        recorder.as_mut(),
        &|| false,
    )
}

fn path(path: &str) -> String {
    path.to_owned()
}

fn remove(name: &str) -> Change {
    Change::RemoveFile { path: path(name) }
}

fn new_key(number: u32) -> Change {
    let context = block_context(STREAM, number);
    Change::NewKey {
        path: BlockFile::Key.path(number),
        context,
        cipher: Cipher::ChaCha,
    }
}

fn write_index(sealed: bool) -> Change {
    let bytes = b"new index".to_vec();
    Change::WriteSealed {
        path: path("msgs/index.db"),
        bytes,
        sealed,
        hashed: true,
    }
}

/// The index as it is written in the clear.
fn hashed_index() -> Vec<u8> {
    let hash = HashKey::for_stream(STREAM).hash64(&[b"new index"]);
    [&b"new index"[..], &hash.to_le_bytes()].concat()
}

#[test]
fn plain_changes_do_what_they_say() {
    for undoable in [false, true] {
        let (fs, changes) = cut_case();
        let applied = apply_to(&fs, &changes, &keys(None, None), undoable).unwrap();
        assert_eq!(applied.change_count, changes.len());
        let files = store_files(&fs);
        let sum = hex16(HashKey::for_stream(STREAM).hash64(&[b"{\"a\":1}"]));
        let expected: BTreeMap<String, Vec<u8>> = [
            ("meta.inf", &b"{\"a\":1}"[..]),
            ("meta.sum", sum.as_bytes()),
            ("msgs/1.blk", b"first again"),
            ("msgs/3.blk", b"third!\0\0\0"),
            ("msgs/index.db", &hashed_index()),
            ("obs/C/o.dat", b"new consumer"),
            ("obs/D/o.dat", b"made"),
        ]
        .map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
        .into();
        assert_eq!(files, expected);
        // A replaced file keeps its mode.
        assert_eq!(
            fs.metadata(&dir().join("meta.inf")).unwrap().mode,
            Some(0o600)
        );
        assert_eq!(
            fs.metadata(&dir().join("obs/C/o.dat")).unwrap().mode,
            Some(0o607)
        );
        assert_eq!(
            fs.files()
                .keys()
                .any(|path| path.to_str().unwrap().contains("jetsam")),
            undoable
        );
    }
}

#[test]
fn rekeyed_files_open_with_the_new_key_alone() {
    let (old, new) = (old_server_key(), new_server_key());
    let (fs, changes) = rekey_case();
    apply_to(&fs, &changes, &keys(Some(&new), Some(&old)), true).unwrap();
    let only_new = keys(Some(&new), None);
    assert_eq!(
        read_block(&fs, dir(), 1, &only_new).unwrap(),
        b"first block"
    );
    assert_eq!(
        read_block(&fs, dir(), 2, &only_new).unwrap(),
        b"plain block and on"
    );
    let files = store_files(&fs);
    let key = new.key_encryption_key(ACCOUNT, &stream_context(STREAM));
    let (seed, _) = KeyFile::open(&files["meta.key"], &key, Cipher::Aes).unwrap();
    assert_eq!(
        open_sealed(&files["meta.inf"], &seed, Cipher::Aes).unwrap(),
        b"{}"
    );
    let sum = hex16(HashKey::for_stream(STREAM).hash64(&[&files["meta.inf"]]));
    assert_eq!(files["meta.sum"], sum.as_bytes());
    let (index, hash) = files["msgs/index.db"].split_last_chunk::<8>().unwrap();
    assert_eq!(
        open_sealed(index, &seed, Cipher::Aes).unwrap(),
        b"new index"
    );
    assert_eq!(
        *hash,
        HashKey::for_stream(STREAM).hash64(&[index]).to_le_bytes()
    );
}

#[test]
fn sealing_without_a_new_key_uses_the_one_at_hand() {
    let new = new_server_key();
    let fs = store(&[("msgs/1.blk", b"x")]);
    apply_to(&fs, &[write_index(true)], &keys(Some(&new), None), false).unwrap();
    let files = store_files(&fs);
    let (index, _) = files["msgs/index.db"].split_last_chunk::<8>().unwrap();
    assert_eq!(
        open_sealed(index, &seed_of(100), Cipher::ChaCha).unwrap(),
        b"new index"
    );
}

#[test]
fn undo_brings_everything_back_once() {
    let (old, new) = (old_server_key(), new_server_key());
    for (name, fs, changes) in cases() {
        let before = snapshot(&fs);
        apply_to(&fs, &changes, &keys(Some(&new), Some(&old)), true).unwrap();
        assert_ne!(snapshot(&fs), before, "{name}");
        let report = undo(&fs, dir()).unwrap();
        assert!(!report.restored.is_empty(), "{name}");
        assert_eq!(snapshot(&fs), before, "{name}");
        assert_eq!(undo(&fs, dir()), Err(UndoError::NothingToUndo), "{name}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_store_that_changed_underneath_is_left_alone() {
    let (old, new) = (old_server_key(), new_server_key());
    let keys = keys(Some(&new), Some(&old));
    let append = |offset| Change::AppendRecords {
        number: 1,
        offset,
        records: b"x".to_vec(),
        encrypted: false,
    };
    let kept = |start, end| Change::WriteBlock {
        number: 1,
        pieces: vec![Piece::Kept { start, end }],
        encrypted: false,
    };
    let write = |path: &str| Change::Write {
        path: path.to_owned(),
        bytes: Vec::new(),
    };
    let bad = [
        (
            append(10),
            ApplyCause::LengthChanged {
                expected: 10,
                found: 11,
            },
        ),
        (
            append(12),
            ApplyCause::LengthChanged {
                expected: 12,
                found: 11,
            },
        ),
        (
            kept(0, 12),
            ApplyCause::ContentChanged {
                start: 0,
                end: 12,
                found: 11,
            },
        ),
        (
            kept(5, 4),
            ApplyCause::ContentChanged {
                start: 5,
                end: 4,
                found: 11,
            },
        ),
        (
            kept(12, u64::MAX),
            ApplyCause::ContentChanged {
                start: 12,
                end: u64::MAX,
                found: 11,
            },
        ),
        (
            write("../other"),
            ApplyCause::Path(undo::PathFault::Outside {
                path: path("../other"),
            }),
        ),
        (
            Change::AppendRecords {
                number: 9,
                offset: 0,
                records: Vec::new(),
                encrypted: true,
            },
            ApplyCause::NoKey,
        ),
    ];
    for (change, expected) in bad {
        let (fs, mut changes) = cut_case();
        changes.truncate(0);
        changes.extend([remove("msgs/index.db"), change]);
        let before = snapshot(&fs);
        let error = apply_to(&fs, &changes, &keys, true).unwrap_err();
        assert_eq!((error.change, &error.cause), (1, &expected));
        assert!(
            matches!(&error.roll_back, RollBack::Done(report) if report.restored == ["msgs/index.db"])
        );
        assert_eq!(snapshot(&fs), before);
    }
    let (fs, _) = cut_case();
    for change in [
        Change::SetLength {
            path: path("msgs/9.blk"),
            length: 0,
        },
        Change::SetLength {
            path: path("msgs"),
            length: 0,
        },
        Change::RemoveTree {
            path: path("msgs/1.blk"),
        },
        Change::Rename {
            from: path("nothing"),
            to: path("msgs"),
        },
        Change::Rename {
            from: path("obs"),
            to: path("msgs"),
        },
        remove("msgs"),
        Change::Write {
            path: path("msgs"),
            bytes: Vec::new(),
        },
    ] {
        let before = snapshot(&fs);
        let error =
            apply_to(&fs, &[remove("msgs/index.db"), change.clone()], &keys, true).unwrap_err();
        assert!(
            matches!(error.roll_back, RollBack::Done(_)),
            "{change:?}: {error:?}"
        );
        assert_eq!(snapshot(&fs), before);
    }
    let no_keys = super::tests::keys(None, None);
    let error = apply_to(&fs, &[new_key(1)], &no_keys, false).unwrap_err();
    assert_eq!(
        (error.cause, error.roll_back),
        (ApplyCause::NoServerKey, RollBack::NotRecorded)
    );
}

#[test]
fn stopping_brings_everything_back() {
    let (fs, changes) = cut_case();
    let before = snapshot(&fs);
    let asked = std::cell::Cell::new(0);
    let keys = keys(None, None);
    let entropy = SeededEntropy::new(1);
    let mut recorder = Recorder::new(&fs, dir()).unwrap();
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 4
    };
    let error = apply(
        &fs,
        dir(),
        &changes,
        &keys,
        &entropy,
        Some(&mut recorder),
        &stop,
    )
    .unwrap_err();
    assert_eq!((error.change, &error.cause), (4, &ApplyCause::Stopped));
    assert!(
        error.to_string().ends_with("the store is as it was before"),
        "{error}"
    );
    assert_eq!(snapshot(&fs), before);
}
