//! Sections 3.5 to 3.7: the walk over one block.

use jetsam::crypto::Cipher;

use super::{Case, case, two_blocks};
use crate::record::{Rec, at, erased, msg, msgs, skip, tomb};
use crate::store::Store;

const BLOCK: &str = "msgs/1.blk";

/// One block of these records, block 2 with messages 11 to 13 behind it.
fn walked(id: &'static str, slug: &'static str, note: &'static str, records: Vec<Rec>) -> Case {
    case(id, slug, note, |store| {
        store.block(1, records).block(2, msgs(11..=13));
    })
}

/// Block 1 with messages 1 to 4, its bytes changed; record 3 begins at the offset given.
fn changed(
    id: &'static str,
    slug: &'static str,
    note: &'static str,
    change: fn(&mut Vec<u8>, usize),
) -> Case {
    case(id, slug, note, |store| {
        two_blocks(store);
        let third = store.offset(1, 2);
        change(store.file(BLOCK), third);
    })
}

fn put_u32(file: &mut [u8], at: usize, value: u32) {
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// W1 to W3.
pub fn checks() -> Vec<Case> {
    vec![
        changed(
            "3.5.W1",
            "header-cut",
            "the block ends 21 bytes into its third record",
            |file, third| file.truncate(third + 21),
        ),
        changed(
            "3.5.W1",
            "one-byte-left",
            "the block ends one byte into its third record",
            |file, third| file.truncate(third + 1),
        ),
        changed(
            "3.5.W2",
            "length-below-header",
            "a record length of 21",
            |file, third| put_u32(file, third, 21),
        ),
        changed(
            "3.5.W2",
            "no-room-for-hash",
            "a record length of 29: no room for subject and hash",
            |file, third| put_u32(file, third, 29),
        ),
        changed(
            "3.5.W2",
            "subject-longer-than-record",
            "a subject length beyond the record",
            |file, third| file[third + 21] = 0x10,
        ),
        changed(
            "3.5.W2",
            "no-room-for-header-length",
            "the header bit on a record whose subject leaves no four bytes",
            |file, third| {
                file[third + 3] = 0x80;
                file[third + 20] = 13;
            },
        ),
        changed(
            "3.5.W2",
            "beyond-the-end",
            "a record longer than the block",
            |file, third| put_u32(file, third, 1000),
        ),
        changed(
            "3.5.W2",
            "above-32-mib",
            "a record length above 32 MiB",
            |file, third| put_u32(file, third, 33_554_433),
        ),
        changed(
            "3.5.W2",
            "zeros",
            "zeros from the third record on, as after a power cut",
            |file, third| file[third..].fill(0),
        ),
        changed(
            "3.5.W3",
            "body-flipped",
            "one bit of the body of the third record",
            |file, third| file[third + 28] ^= 1,
        ),
        changed(
            "3.5.W3",
            "time-flipped",
            "one bit of the time of the third record",
            |file, third| file[third + 14] ^= 1,
        ),
        changed(
            "3.5.W3",
            "sequence-flipped",
            "one bit of the sequence of the third record",
            |file, third| file[third + 4] ^= 8,
        ),
        changed(
            "3.5.W3",
            "hash-flipped",
            "one bit of the hash of the third record",
            |file, _| {
                let at = file.len() - 60;
                file[at] ^= 1;
            },
        ),
        changed(
            "3.5.W3",
            "first-record",
            "the first record is bad: the whole block goes",
            |file, _| file[25] ^= 1,
        ),
        changed(
            "3.5.W3",
            "subject-length-flipped",
            "the subject length is not hashed: a flipped bit moves bytes between subject and body",
            |file, third| file[third + 20] ^= 1,
        ),
        case(
            "3.5.W3",
            "hash-of-another-block",
            "records hashed for another block",
            |store| {
                two_blocks(store);
                let bytes = store.content(7, &msgs(8..=9));
                store.write("msgs/3.blk", bytes);
            },
        ),
    ]
}

/// C1 to C3.
pub fn classes() -> Vec<Case> {
    vec![
        walked(
            "3.5.C1",
            "tombstones-between",
            "tombstones between messages, for this block and another",
            vec![msg(1), msg(2), tomb(1), msg(3), tomb(12), msg(4)],
        ),
        walked(
            "3.5.C1",
            "tombstone-of-nothing",
            "tombstones for sequences that never were",
            vec![msg(1), tomb(5000), msg(2), tomb(0)],
        ),
        walked(
            "3.5.C2",
            "sequence-0",
            "a message with sequence 0",
            vec![msg(1), msg(0), msg(2)],
        ),
        walked(
            "3.5.C2",
            "sequence-0-first",
            "a message with sequence 0 at the start",
            vec![msg(0), msg(1), msg(2)],
        ),
        walked(
            "3.5.C2",
            "erased-inside",
            "an erased record between messages",
            vec![msg(1), erased(2), msg(3)],
        ),
        walked(
            "3.5.C2",
            "skip-first",
            "skip records in front of the messages",
            vec![skip(3), skip(4), msg(5), msg(6)],
        ),
        walked(
            "3.5.C2",
            "erased-zero",
            "an erased record of sequence 0",
            vec![msg(1), msg(2).bits(1 << 63), msg(3)],
        ),
        walked(
            "3.5.C2",
            "erased-below-first",
            "an erased record below the first sequence",
            vec![msg(4), erased(2), msg(5)],
        ),
        walked(
            "3.5.C3",
            "gap",
            "a jump from 2 to 9: the sequences between count as deleted",
            vec![msg(1), msg(2), msg(9)],
        ),
        walked(
            "3.5.C3",
            "same-sequence-twice",
            "a sequence twice: the second record is passed over",
            vec![msg(1), msg(2), msg(2).body(b"again"), msg(3)],
        ),
        walked(
            "3.5.C3",
            "backwards",
            "a sequence that goes back: passed over, it stays in the file",
            vec![msg(5), msg(6), msg(5), msg(7)],
        ),
        walked(
            "3.5.C3",
            "below-first",
            "a sequence below the first: passed over",
            vec![msg(5), msg(6), msg(3), msg(7)],
        ),
    ]
}

/// The notes for parity of section 3.5.
pub fn notes() -> Vec<Case> {
    vec![
        walked(
            "3.5.N1",
            "gap-after-erased-only",
            "a first message after erased records alone fills the gap, below the first sequence",
            vec![erased(2), msg(7), msg(8)],
        ),
        walked(
            "3.5.N1",
            "gap-after-erased-and-limits",
            "the same, with a tombstone for it",
            vec![erased(2), msg(7), msg(8), tomb(7)],
        ),
        walked(
            "3.5.N2",
            "live-then-erased",
            "a live record followed by its erased form is counted and deleted",
            vec![msg(1), msg(2), erased(2), msg(3)],
        ),
        walked(
            "3.5.N2",
            "first-live-then-erased",
            "the same for the first record",
            vec![msg(1), erased(1), msg(2)],
        ),
        walked(
            "3.5.N3",
            "backwards-stays",
            "the last record goes back",
            vec![msg(5), msg(6), msg(2)],
        ),
        walked(
            "3.5.N4",
            "both-flags",
            "both flags on one record: a tombstone whose sequence keeps bit 63",
            vec![msg(1), msg(2).bits(3 << 62 | 2), msg(3)],
        ),
        case(
            "3.5.N4",
            "both-flags-alone",
            "both flags and no message: a nonsense maximum",
            |store| {
                store.block(1, vec![msg(2).bits(3 << 62 | 2)]);
            },
        ),
        case(
            "3.5.N5",
            "sequence-0-then-tombstone",
            "a record of sequence 0 makes the block forget the sequence of its tombstone",
            |store| {
                store.block(1, vec![msg(0), tomb(20)]);
            },
        ),
        case(
            "3.5.N5",
            "tombstone-then-erased",
            "an erased record behind a tombstone does the same",
            |store| {
                store.block(1, vec![tomb(20), erased(7)]);
            },
        ),
        walked(
            "3.5.N6",
            "gap-of-thousands",
            "a jump of three thousand sequences",
            vec![msg(1), msg(2), msg(3002)],
        ),
        walked(
            "3.5.N7",
            "erased-above-messages",
            "an erased record far above: the gap counts as deleted",
            vec![msg(1), msg(2), erased(6)],
        ),
        walked(
            "3.5.N7",
            "only-flag-of-erased",
            "an erased record keeps its subject and body under a sound hash",
            vec![msg(1), msg(2).bits(1 << 63 | 2), msg(3)],
        ),
    ]
}

fn ending(slug: &'static str, note: &'static str, build: impl FnOnce(&mut Store)) -> Case {
    case("3.6", slug, note, build)
}

/// Section 3.6.
pub fn endings() -> Vec<Case> {
    let broken = |store: &mut Store| {
        store
            .block(1, vec![msg(1), tomb(9), msg(2), msg(3), tomb(8), msg(4)])
            .block(2, msgs(8..=10));
        let at = store.offset(1, 3) + 26;
        store.flip(BLOCK, at, 1);
    };
    let mut cases = vec![
        ending(
            "plain",
            "a bad record in the middle: cut from there; the tombstone before it applies, the one behind is gone",
            broken,
        ),
        ending("encrypted", "the same, encrypted", move |store| {
            store.encrypt(Cipher::ChaCha);
            broken(store);
        }),
        ending(
            "good-records-behind",
            "everything behind the bad record goes, however good",
            |store| {
                store.block(1, msgs(1..=12));
                let at = store.offset(1, 1) + 26;
                store.flip(BLOCK, at, 1);
            },
        ),
    ];
    let compressed = |slug, note, seq_bad: usize, cipher: Option<Cipher>| {
        ending(slug, note, move |store| {
            if let Some(cipher) = cipher {
                store.encrypt(cipher);
            }
            store.compress();
            two_blocks(store);
            let mut content = store.content(1, &msgs(1..=4));
            let at = store.offset(1, seq_bad) + 26;
            content[at] ^= 1;
            store.put_block(1, &content);
        })
    };
    cases.push(compressed("compressed", "a bad record in a compressed block: the file is cut at the decoded offset, and does not decompress any more", 1, None));
    cases.push(compressed(
        "compressed-late",
        "the same near the end: the file grows by zeros",
        3,
        None,
    ));
    cases.push(compressed(
        "compressed-first",
        "the same at offset 0: the block goes",
        0,
        None,
    ));
    cases.push(compressed(
        "compressed-encrypted",
        "the same, encrypted",
        2,
        Some(Cipher::Aes),
    ));
    cases
}

/// Section 3.7.
pub fn special() -> Vec<Case> {
    let alone = |slug, note, records: Vec<Rec>| {
        case("3.7", slug, note, |store| {
            store.block(1, records);
        })
    };
    vec![
        case(
            "3.7",
            "zero-length",
            "a block without a byte: deleted",
            |store| {
                two_blocks(store);
                store.write("msgs/3.blk", "");
            },
        ),
        case(
            "3.7",
            "one-byte",
            "a block of one byte: cut to nothing, deleted",
            |store| {
                two_blocks(store);
                store.write("msgs/3.blk", "x");
            },
        ),
        case(
            "3.7",
            "21-bytes",
            "a block of 21 bytes: cut to nothing, deleted",
            |store| {
                two_blocks(store);
                store.write("msgs/3.blk", [0x11; 21]);
            },
        ),
        case(
            "3.7",
            "only-block-of-junk",
            "the only block holds junk: an empty stream",
            |store| {
                store.write(BLOCK, [0x11; 64]);
            },
        ),
        alone(
            "only-tombstones",
            "only tombstones: the highest is remembered",
            vec![tomb(4), tomb(9), tomb(6)],
        ),
        alone(
            "only-erased",
            "only erased records: the last is remembered with its time",
            vec![erased(4), erased(9)],
        ),
        alone("only-skips", "only skip records", vec![skip(1), skip(2)]),
        alone(
            "trailing-erased",
            "erased records behind the messages are the end of the stream",
            vec![msg(1), msg(2), skip(3), skip(4)],
        ),
        alone(
            "tombstone-of-sequence-0",
            "a tombstone for sequence 0 alone",
            vec![tomb(0)],
        ),
        alone("one-record", "a single record", vec![msg(1)]),
        alone(
            "record-without-subject",
            "a message without a subject in a stream with subjects",
            vec![msg(1).on(""), msg(2)],
        ),
        alone(
            "record-without-body",
            "a message of nothing but a subject",
            vec![msg(1).body(b""), msg(2)],
        ),
        alone(
            "time-zero",
            "messages at time 0 have no time",
            vec![msg(1).time(0), msg(2).time(0)],
        ),
        alone(
            "time-before-1970",
            "times before 1970",
            vec![msg(1).time(-5), msg(2).time(at(-2_000_000_000))],
        ),
        alone(
            "header-length-bad",
            "a bad header length passes the walk; the message cannot be read",
            vec![msg(1), msg(2).header("A", "b").header_length(4000), msg(3)],
        ),
        alone(
            "header-length-0",
            "a header length of 0 on a record with headers",
            vec![msg(1), msg(2).header("A", "b").header_length(0), msg(3)],
        ),
        alone(
            "subject-invalid",
            "a stored subject that no one may publish",
            vec![msg(1).on("s..x"), msg(2).on("other")],
        ),
        alone(
            "highest-sequences",
            "sequences at the upper end",
            vec![msg((1 << 62) - 3), msg((1 << 62) - 2)],
        ),
        case("3.7", "no-block", "no block at all", |_| {}),
    ]
}
