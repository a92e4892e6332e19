//! Sections 3.3 and 3.4: legacy `.idx` files, and loading a block.

use jetsam::format::legacy::idx::{IdxFields, IdxVersion, encode};
use jetsam::format::seqset::SeqSet;
use serde_json::json;

use super::{Case, case, three_blocks, two_blocks};
use crate::record::{at, msg, msgs, tomb};
use crate::store::Store;

/// What a 2.9 server would have written beside block 1 of messages 1 to 4.
fn sound(store: &Store) -> IdxFields {
    let records = &store.blocks[&1];
    let content = store.content(1, records);
    let (first, last) = (&records[0], &records[records.len() - 1]);
    IdxFields {
        messages: records.len() as u64,
        bytes: content.len() as u64,
        first_sequence: first.seq,
        first_time_ns: first.time_ns,
        last_sequence: last.seq,
        last_time_ns: last.time_ns,
        deleted_count: 0,
        last_record_hash: content.last_chunk().copied(),
        deleted: SeqSet::new(),
    }
}

fn with_idx(
    slug: &'static str,
    note: &'static str,
    change: impl FnOnce(&mut IdxFields, &mut Store),
) -> Case {
    with_idx_bytes(slug, note, IdxVersion::V2, change, |_| {})
}

fn with_idx_bytes(
    slug: &'static str,
    note: &'static str,
    version: IdxVersion,
    change: impl FnOnce(&mut IdxFields, &mut Store),
    bytes: impl FnOnce(&mut Vec<u8>),
) -> Case {
    case("3.3", slug, note, |store| {
        two_blocks(store);
        let mut fields = sound(store);
        change(&mut fields, store);
        let mut file = encode(&fields, version, u64::MAX).expect("few deletes");
        bytes(&mut file);
        store.write("msgs/1.idx", file);
    })
}

/// Marks sequences as deleted in an `.idx`.
fn delete(fields: &mut IdxFields, seqs: &[u64]) {
    for seq in seqs {
        fields.deleted.insert(*seq);
    }
    fields.deleted_count = seqs.len() as u64;
    fields.messages -= seqs.len() as u64;
}

/// Section 3.3.
pub fn legacy() -> Vec<Case> {
    let mut cases = accepted();
    cases.extend(rejected());
    cases
}

fn accepted() -> Vec<Case> {
    vec![
        with_idx(
            "accepted",
            "a sound 1.idx stands for its block, which is not walked",
            |_, _| {},
        ),
        with_idx(
            "accepted-with-deletes",
            "a sound 1.idx with deletes the block knows nothing of",
            |fields, _| delete(fields, &[2, 3]),
        ),
        with_idx_bytes(
            "accepted-version-1",
            "the same in the first version",
            IdxVersion::V1,
            |fields, _| delete(fields, &[2, 3]),
            |_| {},
        ),
        with_idx(
            "accepted-hides-damage",
            "a sound 1.idx hides a flipped bit",
            |_, store| {
                let at = store.offset(1, 1) + 30;
                store.flip("msgs/1.blk", at, 4);
            },
        ),
        with_idx(
            "accepted-hides-tombstone",
            "tombstones of a block that is not walked do not apply",
            |_, store| {
                store
                    .block(1, vec![msg(1), msg(2), tomb(1), msg(3), msg(4)])
                    .block(2, msgs(5..=6));
            },
        ),
        with_idx(
            "accepted-empty-block",
            "an empty block and no message: accepted, first sequence 5",
            |fields, store| {
                store.write("msgs/1.blk", "");
                (fields.messages, fields.bytes, fields.first_sequence) = (0, 0, 5);
            },
        ),
        with_idx(
            "accepted-no-message",
            "no message left in 1.idx, the block still holds four",
            |fields, _| {
                (fields.messages, fields.bytes, fields.first_sequence) = (0, 0, 5);
            },
        ),
    ]
}

fn rejected() -> Vec<Case> {
    let none = |_: &mut IdxFields, _: &mut Store| {};
    vec![
        case(
            "3.3",
            "unreadable",
            "1.idx is a directory: not used",
            |store| {
                two_blocks(store);
                store.write("msgs/1.idx/kept", "");
            },
        ),
        with_idx_bytes(
            "bad-magic",
            "a wrong first byte: removed",
            IdxVersion::V2,
            none,
            |file| file[0] = 23,
        ),
        with_idx_bytes(
            "bad-version",
            "version 3: removed",
            IdxVersion::V2,
            none,
            |file| file[1] = 3,
        ),
        with_idx_bytes(
            "cut-in-numbers",
            "cut inside the numbers: removed",
            IdxVersion::V2,
            none,
            |file| file.truncate(6),
        ),
        with_idx_bytes(
            "cut-in-hash",
            "cut inside the hash: removed",
            IdxVersion::V2,
            none,
            |file| file.truncate(file.len() - 3),
        ),
        with_idx(
            "inconsistent",
            "its message count does not follow from its range: removed, but its values stay",
            |fields, _| fields.messages = 9,
        ),
        with_idx_bytes(
            "set-broken",
            "its deleted set does not decode: kept",
            IdxVersion::V2,
            |fields, _| delete(fields, &[2]),
            |file| {
                let length = file.len();
                file.truncate(length - 40);
            },
        ),
        with_idx(
            "stale-hash",
            "the block grew since: walked, its values stay",
            |_, store| {
                store.block(1, msgs(1..=6)).block(2, msgs(7..=8));
            },
        ),
        with_idx(
            "stale-first-sequence-stays",
            "a stale 1.idx whose first sequence is above the first record: records below it are passed over",
            |fields, _| {
                (fields.first_sequence, fields.messages) = (3, 2);
                fields.last_record_hash = Some([3; 8]);
            },
        ),
        with_idx(
            "stale-deletes-stay",
            "a stale 1.idx whose deletes stay",
            |fields, _| {
                delete(fields, &[2]);
                fields.last_record_hash = Some([3; 8]);
            },
        ),
        with_idx(
            "stale-all-deleted",
            "a stale 1.idx that knows every message as deleted",
            |fields, _| {
                delete(fields, &[1, 2, 3, 4]);
                fields.last_record_hash = Some([3; 8]);
            },
        ),
        with_idx(
            "stale-with-torn-tail",
            "a stale 1.idx knows the last sequence: the sequences of a cut tail are lost by name",
            |_, store| {
                store.cut("msgs/1.blk", 9);
            },
        ),
        with_idx(
            "encrypted-not-openable",
            "a plain 1.idx in an encrypted store does not open: not used",
            |_, store| {
                store.encrypt(jetsam::crypto::Cipher::ChaCha);
                two_blocks(store);
            },
        ),
    ]
}

/// Section 3.4.
pub fn loading() -> Vec<Case> {
    let mut cases = vec![
        case(
            "3.4",
            "block-is-a-directory",
            "a block that is a directory cannot be read: the open call fails",
            |store| {
                two_blocks(store);
                store.remove("msgs/1.blk").write("msgs/1.blk/kept", "");
            },
        ),
        compressed(
            "s2-size-broken",
            "the size in front of the S2 stream never ends",
            |file| file.splice(4..5, [0xFF; 11]).for_each(drop),
        ),
        compressed(
            "s2-too-short",
            "fewer than eight bytes behind the size",
            |file| file.truncate(9),
        ),
        compressed(
            "s2-bit-flipped",
            "one flipped bit in a compressed block costs the stream",
            |file| file[60] ^= 1,
        ),
        compressed(
            "s2-checksum-flipped",
            "one flipped bit in the checksum of an S2 chunk",
            |file| file[20] ^= 1,
        ),
        compressed("s2-cut", "a compressed block cut in the middle", |file| {
            file.truncate(90)
        }),
        compressed(
            "s2-last-hash-flipped",
            "one flipped bit in the plain hash at the end: the last record is bad, the file is cut at the decoded offset and does not decompress any more",
            |file| {
                let at = file.len() - 3;
                file[at] ^= 1;
            },
        ),
        compressed(
            "s2-size-wrong",
            "the original size is not checked",
            |file| file[4] ^= 3,
        ),
        compressed(
            "cmp-other-algorithm",
            "cmp and another algorithm: a plain block, bad at offset 0",
            |file| file[3] = 2,
        ),
        compressed(
            "cmp-algorithm-0",
            "cmp and algorithm 0: a plain block, bad at offset 0",
            |file| file[3] = 0,
        ),
        compressed("cmp-alone", "cmp and nothing else", |file| file.truncate(3)),
        compressed(
            "cmp-1-alone",
            "cmp, a 1, and nothing else: four bytes are no compressed block",
            |file| file.truncate(4),
        ),
    ];
    cases.extend(limits_meet_s2());
    cases
}

fn compressed(slug: &'static str, note: &'static str, change: fn(&mut Vec<u8>)) -> Case {
    case("3.4", slug, note, |store| {
        store.compress();
        two_blocks(store);
        change(store.file("msgs/1.blk"));
    })
}

/// H33: a damaged compressed block that only a later step meets.
fn limits_meet_s2() -> Vec<Case> {
    let meets = |slug, note, field: &'static str, value: serde_json::Value| {
        case("H33", slug, note, move |store| {
            store.compress();
            three_blocks(store);
            store.with(field, value).index().flip("msgs/1.blk", 40, 1);
        })
    };
    vec![
        meets(
            "max-msgs-meets-s2",
            "one message over max_msgs, the first block does not decompress: the open fails (up to 2.15.2 the server crashes)",
            "max_msgs",
            json!(8),
        ),
        meets(
            "max-bytes-meets-s2",
            "a few bytes over max_bytes, the first block does not decompress: the open fails (up to 2.15.2 the server crashes)",
            "max_bytes",
            json!(370),
        ),
        meets(
            "max-per-subject-meets-s2",
            "a subject over its limit in a block that does not decompress: the open fails (up to 2.15.2 the server crashes)",
            "max_msgs_per_subject",
            json!(2),
        ),
        case(
            "H33",
            "age-meets-s2",
            "a partly expired block does not decompress: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                store
                    .compress()
                    .with("max_age", json!(946_080_000_000_000_000_u64));
                let old = msg(1).time(at(-1_500_000_000));
                store
                    .block(1, vec![old, msg(2), msg(3)])
                    .block(2, msgs(4..=6))
                    .index();
                store.flip("msgs/1.blk", 40, 1);
            },
        ),
        case(
            "H33",
            "ttl-scan-meets-s2",
            "the scan for a missing thw.db meets a block that does not decompress: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                store.compress().with("allow_msg_ttl", json!(true));
                let mortal = |seq| msg(seq).header("Nats-TTL", "1000000h");
                store
                    .block(1, vec![mortal(1), mortal(2)])
                    .block(2, vec![mortal(3)])
                    .index();
                store.flip("msgs/1.blk", 40, 1);
            },
        ),
        case(
            "H33",
            "max-msgs-meets-bad-record",
            "one message over max_msgs, the first record is bad: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                three_blocks(store);
                store
                    .with("max_msgs", json!(8))
                    .index()
                    .flip("msgs/1.blk", 40, 1);
            },
        ),
        case(
            "H33",
            "tombstone-meets-bad-header-length",
            "a tombstone for a message whose header length is bad: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                let record = msg(2).header("A", "b").header_length(4000);
                store.block(1, vec![msg(1), record, msg(3), tomb(2)]);
            },
        ),
    ]
}
