//! Lists of changes as a judgement gives them, each with a store that they fit.

use super::*;

/// A block cut, one removed, one written to, side files, the index.
pub(super) fn cut_case() -> (MemoryFileSystem, Vec<Change>) {
    let fs = store(&[
        ("meta.inf", b"{}"),
        ("meta.sum", b"0123456789abcdef"),
        ("msgs/1.blk", b"first block"),
        ("msgs/2.blk", b"second block"),
        ("msgs/3.blk", b"third block"),
        ("msgs/3.fss", b"old"),
        ("msgs/index.db", b"old index"),
        ("obs/C/o.dat", b"old consumer"),
    ]);
    let pieces = vec![
        Piece::Kept { start: 0, end: 5 },
        Piece::Literal(b"!".to_vec()),
    ];
    let changes = vec![
        Change::SetLength {
            path: path("msgs/1.blk"),
            length: 5,
        },
        Change::AppendRecords {
            number: 1,
            offset: 5,
            records: b" again".to_vec(),
            encrypted: false,
        },
        Change::WriteBlock {
            number: 3,
            pieces,
            encrypted: false,
        },
        Change::SetLength {
            path: path("msgs/3.blk"),
            length: 9,
        },
        remove("msgs/2.blk"),
        remove("msgs/3.fss"),
        remove("msgs/not-there"),
        Change::CreateDir {
            path: path("obs/D/sub"),
        },
        Change::Write {
            path: path("obs/D/o.dat"),
            bytes: b"made".to_vec(),
        },
        Change::Write {
            path: path("obs/C/o.dat"),
            bytes: b"new consumer".to_vec(),
        },
        Change::WriteMeta {
            json: b"{\"a\":1}".to_vec(),
            sealed: false,
        },
        write_index(false),
    ];
    (fs, changes)
}

/// Blocks and meta files go from one server key to another.
pub(super) fn rekey_case() -> (MemoryFileSystem, Vec<Change>) {
    let old = old_server_key();
    let fs = store(&[
        ("meta.key", &key_file(50, &old, &stream_context(STREAM))),
        (
            "meta.inf",
            &seal(b"{}", &seed_of(50), &Nonce::ChaCha([9; 24])).unwrap(),
        ),
        ("meta.sum", b"0123456789abcdef"),
        ("msgs/1.key", &key_file(1, &old, &block_context(STREAM, 1))),
        ("msgs/1.blk", &encrypted_block(1, b"first block")),
        ("msgs/2.blk", b"plain block"),
        ("msgs/index.db", b"old index"),
    ]);
    let all = || {
        vec![Piece::Kept {
            start: 0,
            end: u64::MAX,
        }]
    };
    let context = stream_context(STREAM);
    let changes = vec![
        new_key(1),
        Change::WriteBlock {
            number: 1,
            pieces: all(),
            encrypted: true,
        },
        new_key(2),
        Change::WriteBlock {
            number: 2,
            pieces: all(),
            encrypted: true,
        },
        Change::AppendRecords {
            number: 2,
            offset: 11,
            records: b" and on".to_vec(),
            encrypted: true,
        },
        Change::NewKey {
            path: path("meta.key"),
            context,
            cipher: Cipher::Aes,
        },
        Change::WriteMeta {
            json: b"{}".to_vec(),
            sealed: true,
        },
        write_index(true),
    ];
    (fs, changes)
}

/// A purge that was interrupted between its renames is completed.
fn purge_case() -> (MemoryFileSystem, Vec<Change>) {
    let fs = store(&[
        ("msgs/1.blk", b"first block"),
        ("msgs/2.blk", b"second block"),
        ("__new_msgs__/3.blk", b"marker"),
        ("__msgs__/0.blk", b"older"),
        ("__msgs__/deep/file", b"older"),
    ]);
    let changes = vec![
        Change::RemoveTree { path: path("msgs") },
        Change::Rename {
            from: path("__new_msgs__"),
            to: path("msgs"),
        },
        Change::RemoveTree {
            path: path("__msgs__"),
        },
        Change::RemoveTree {
            path: path("not-there"),
        },
        Change::SetLength {
            path: path("msgs/3.blk"),
            length: 3,
        },
        Change::AppendRecords {
            number: 3,
            offset: 3,
            records: b"more".to_vec(),
            encrypted: false,
        },
        Change::SetLength {
            path: path("msgs/3.blk"),
            length: 12,
        },
        write_index(false),
    ];
    (fs, changes)
}

/// Everything goes, and a new block remembers the sequence.
fn first_sequence_case() -> (MemoryFileSystem, Vec<Change>) {
    let fs = store(&[
        ("msgs/1.blk", b"first block"),
        ("msgs/2.blk", b"second block"),
        ("msgs/thw.db", b"timers"),
        ("msgs/index.db", b"old index"),
        ("msgs/odd/file", b"odd"),
    ]);
    let pieces = vec![Piece::Literal(b"marker".to_vec())];
    let changes = vec![
        Change::WriteBlock {
            number: 3,
            pieces,
            encrypted: false,
        },
        remove("msgs/1.blk"),
        remove("msgs/2.blk"),
        remove("msgs/1.blk"),
        remove("msgs/thw.db"),
        Change::RemoveTree {
            path: path("msgs/odd"),
        },
        Change::Rename {
            from: path("msgs/3.blk"),
            to: path("msgs/index.db"),
        },
        write_index(false),
    ];
    (fs, changes)
}

pub(super) fn cases() -> Vec<(&'static str, MemoryFileSystem, Vec<Change>)> {
    let made = [
        ("cut", cut_case()),
        ("rekey", rekey_case()),
        ("purge", purge_case()),
        ("first sequence", first_sequence_case()),
    ];
    made.into_iter()
        .map(|(name, (fs, changes))| (name, fs, changes))
        .collect()
}
