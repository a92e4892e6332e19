//! The decision table of `index.db`, rows D0 to D18.

use jetsam::crypto::Cipher;
use jetsam::format::seqset::SeqSet;
use jetsam::format::state::{StateFile, SubjectEntry, SubjectTable};
use jetsam::format::varint::put_uvarint;

use super::{Case, case, three_blocks, two_blocks};
use crate::record::msgs;

const INDEX: &str = "msgs/index.db";

/// Two blocks under an index whose bytes are changed before its hash is taken.
pub fn indexed(
    id: &'static str,
    slug: &'static str,
    note: &'static str,
    change: fn(&mut Vec<u8>),
) -> Case {
    case(id, slug, note, |store| {
        two_blocks(store);
        store.index_bytes(change);
    })
}

/// The same by way of the decoded state.
pub fn stated(
    id: &'static str,
    slug: &'static str,
    note: &'static str,
    change: fn(&mut StateFile),
) -> Case {
    case(id, slug, note, |store| {
        two_blocks(store);
        store.index_with(change);
    })
}

/// The header of a state file up to the subject count: one live message would do.
fn header(subject_count: u64) -> Vec<u8> {
    let mut out = vec![11, 4];
    for _ in 0..6 {
        put_uvarint(&mut out, 2);
    }
    put_uvarint(&mut out, subject_count);
    out
}

/// A header and zeros, so that the file is not too short.
fn padded(mut out: Vec<u8>, length: usize) -> Vec<u8> {
    out.resize(length.max(out.len()), 0);
    out
}

/// Where the block list of a state begins. Without blocks only its count, the last block's number
/// and a hash would stand there.
fn block_list_offset(bytes: &[u8]) -> usize {
    let mut state = StateFile::decode(bytes).expect("a sound state");
    state.blocks.clear();
    state.encode(u64::MAX).expect("a sound state").len() - 10
}

pub fn rows() -> Vec<Case> {
    let mut cases = first_rows();
    cases.extend(decode_rows());
    cases.extend(block_rows());
    cases
}

fn first_rows() -> Vec<Case> {
    vec![
        case(
            "D0",
            "staging-unreadable",
            "__new_msgs__ is a file: the purge clean-up fails, and so does the open call",
            |store| {
                two_blocks(store);
                store.index().write("__new_msgs__", "not a directory");
            },
        ),
        case(
            "D1",
            "no-index",
            "no index.db: every block is read",
            two_blocks,
        ),
        case(
            "D2",
            "index-unreadable",
            "index.db is a directory: kept, every block is read",
            |store| {
                two_blocks(store);
                store.write("msgs/index.db/kept", "");
            },
        ),
        case(
            "D3",
            "index-of-31-bytes",
            "index.db is shorter than 32 bytes",
            |store| {
                two_blocks(store);
                store.index().file(INDEX).truncate(31);
            },
        ),
        case(
            "D3",
            "index-empty",
            "index.db has no bytes at all",
            |store| {
                two_blocks(store);
                store.write(INDEX, "");
            },
        ),
        case(
            "D4",
            "index-bit-flipped",
            "one bit of index.db is flipped: its hash does not match",
            |store| {
                two_blocks(store);
                store.index().flip(INDEX, 20, 0x10);
            },
        ),
        case("D4", "index-cut", "index.db was written half", |store| {
            two_blocks(store);
            store.index().cut(INDEX, 12);
        }),
        case(
            "D5",
            "index-under-another-seed",
            "the hash is right, but index.db was sealed under another seed: kept",
            |store| {
                store.encrypt(Cipher::ChaCha);
                two_blocks(store);
                let sealing = store.sealing.take();
                store.index_payload(vec![0x77; 120]);
                store.sealing = sealing;
            },
        ),
        case(
            "D5",
            "plain-index-in-encrypted-store",
            "index.db is still plain although the store is encrypted: kept",
            |store| {
                store.encrypt(Cipher::Aes);
                two_blocks(store);
                let sealing = store.sealing.take();
                store.index();
                store.sealing = sealing;
            },
        ),
        indexed(
            "D6",
            "index-version-5",
            "a version that does not exist",
            |bytes| bytes[1] = 5,
        ),
        indexed(
            "D6",
            "index-version-0",
            "a version below the first",
            |bytes| bytes[1] = 0,
        ),
        indexed(
            "D6",
            "index-magic",
            "the first byte is not the magic number",
            |bytes| bytes[0] = 12,
        ),
    ]
}

fn decode_rows() -> Vec<Case> {
    vec![
        indexed(
            "D6a",
            "header-number-undecodable",
            "the last time of the header never ends, so the subject count cannot be read",
            |bytes| {
                *bytes = vec![11, 4, 2, 2, 2, 2, 2];
                bytes.extend([0xFF; 30]);
            },
        ),
        indexed(
            "D6a",
            "subject-count-huge",
            "more subjects than bytes left",
            |bytes| *bytes = padded(header(1 << 40), 40),
        ),
        indexed(
            "D7",
            "subject-length-overrun",
            "a subject is longer than the bytes left",
            |bytes| {
                let mut out = header(1);
                put_uvarint(&mut out, 200);
                *bytes = padded(out, 60);
            },
        ),
        indexed(
            "D7",
            "earlier-entry-undecodable",
            "a number of the first subject entry never ends",
            |bytes| {
                let mut out = header(2);
                out.extend(b"\x03s.1");
                out.extend([0xFF; 20]);
                *bytes = out;
            },
        ),
        stated(
            "D8",
            "subject-with-empty-token",
            "the index names a subject with an empty token",
            |state| rename(state, b"s..1"),
        ),
        stated(
            "D8",
            "subject-not-text",
            "the index names a subject that is not UTF-8",
            |state| rename(state, b"s.\xFF\xFE"),
        ),
        stated(
            "D8",
            "subject-with-blank",
            "the index names a subject with a blank in it",
            |state| rename(state, b"s.a b"),
        ),
        stated(
            "D8",
            "subject-with-nul",
            "the index names a subject with a NUL in it",
            |state| rename(state, b"s.\0"),
        ),
        stated(
            "D8",
            "subject-after-full-wildcard",
            "the index names a subject that goes on after >",
            |state| rename(state, b"s.>.a"),
        ),
        stated(
            "D18",
            "subject-wildcard-accepted",
            "the index names a wildcard as a subject: that is valid here",
            |state| rename(state, b"s.*"),
        ),
        indexed(
            "D8a",
            "block-count-huge",
            "more blocks than bytes left",
            |bytes| {
                let at = block_list_offset(bytes);
                bytes.truncate(at);
                put_uvarint(bytes, 1 << 50);
                bytes.extend([1; 20]);
            },
        ),
        indexed(
            "D8a",
            "last-subject-entry-undecodable",
            "a number of the last subject entry never ends",
            |bytes| {
                let mut out = header(1);
                out.extend(b"\x03s.1");
                out.extend([0xFF; 20]);
                *bytes = out;
            },
        ),
        indexed(
            "D9",
            "block-number-undecodable",
            "a number inside the block list never ends; the server says nothing",
            |bytes| {
                let at = block_list_offset(bytes);
                bytes.truncate(at + 4);
                bytes.extend([0xFF; 24]);
            },
        ),
        dmap(
            "under-10-bytes",
            "the deleted set ends inside its header",
            |set| set.truncate(6),
        ),
        dmap("magic", "the deleted set does not begin with 22", |set| {
            set[0] = 21
        }),
        dmap("version", "the deleted set has version 3", |set| set[1] = 3),
        dmap(
            "node-count",
            "the deleted set announces more nodes than there are",
            |set| set[2] = 9,
        ),
        dmap(
            "version-1-count",
            "a version 1 set whose element count is wrong",
            |set| {
                let mut old = vec![22, 1, 1, 0, 0, 0, 5, 0, 0, 0];
                old.extend([0; 8]);
                let mut words = [0; 512];
                words[0] = 0b1100;
                old.extend(words);
                old.extend([1, 0]);
                *set = old;
            },
        ),
        indexed(
            "D11",
            "tail-missing",
            "the file ends three bytes after the last block's number",
            |bytes| {
                let length = bytes.len();
                bytes.truncate(length - 5);
            },
        ),
        case(
            "D11",
            "tail-missing-and-no-blocks",
            "the same without a block: the new one is numbered behind those of the list",
            |store| {
                two_blocks(store);
                store.index_bytes(|bytes| bytes.truncate(bytes.len() - 5));
                store.remove("msgs/1.blk").remove("msgs/2.blk");
            },
        ),
        case(
            "D9",
            "list-cut-and-no-blocks",
            "the block list ends in its second entry, and there is no block: the new one is numbered behind the first",
            |store| {
                two_blocks(store);
                store.index_bytes(|bytes| bytes.truncate(bytes.len() - 14));
                store.remove("msgs/1.blk").remove("msgs/2.blk");
            },
        ),
        indexed(
            "H24",
            "last-block-number-undecodable",
            "the file ends right after the block list: the server crashes",
            |bytes| {
                let length = bytes.len();
                bytes.truncate(length - 9);
            },
        ),
        indexed(
            "H24",
            "last-block-number-endless",
            "the last block's number never ends: the server crashes",
            |bytes| {
                let length = bytes.len();
                bytes.truncate(length - 9);
                bytes.extend([0xFF; 12]);
            },
        ),
    ]
}

/// D10: block 2 has a deleted set; it is changed, and the last block's tail stands behind it.
fn dmap(slug: &'static str, note: &'static str, change: fn(&mut Vec<u8>)) -> Case {
    case("D10", slug, note, |store| {
        store.block(1, msgs(1..=4)).block(2, msgs([5, 6, 9]));
        let mut set = SeqSet::new();
        set.insert_range(7..=8);
        let mut sound = Vec::new();
        set.encode(&mut sound, u64::MAX).expect("a small set");
        store.index_bytes(|bytes| {
            let at = bytes
                .windows(sound.len())
                .position(|window| window == sound)
                .expect("the set");
            let tail = bytes.split_off(at + sound.len());
            bytes.truncate(at);
            change(&mut sound);
            bytes.extend(&sound);
            // A set cut short is the end of the file, or the tail would pass for the rest of it.
            if sound.len() >= 10 {
                bytes.extend(tail);
            }
        });
    })
}

fn rename(state: &mut StateFile, subject: &[u8]) {
    let mut table = SubjectTable::new();
    for (at, entry) in state.subjects.iter().enumerate() {
        let subject = if at == 1 { subject } else { entry.subject };
        table.push(SubjectEntry { subject, ..entry });
    }
    state.subjects = table;
}

fn block_rows() -> Vec<Case> {
    let mut cases = vec![
        stated(
            "D12",
            "no-block-listed",
            "the index lists no block; its last sequence 7 is kept as prior state",
            |state| {
                state.blocks.clear();
            },
        ),
        stated(
            "D12",
            "last-block-number-differs",
            "the index ends with another block number than it lists last",
            |state| state.last_block = 1,
        ),
        case(
            "D13",
            "last-block-missing",
            "the last block is gone: its sequences are lost, the last sequence is remembered",
            |store| {
                two_blocks(store);
                store.index().remove("msgs/2.blk");
            },
        ),
        case(
            "D13",
            "only-block-missing",
            "the only block is gone",
            |store| {
                store.block(1, msgs(1..=4)).index().remove("msgs/1.blk");
            },
        ),
        case(
            "D13",
            "last-sequence-beyond-the-format",
            "the only block is gone, and its last sequence has bits of the flags: a tombstone is written for it all the same",
            |store| {
                let last = (1 << 63) + 4;
                store.block(1, msgs(1..=4));
                store.index_with(|state| {
                    state.last_sequence = last;
                    state.blocks[0].first_sequence = last;
                    state.blocks[0].last_sequence = last;
                });
                store.remove("msgs/1.blk");
            },
        ),
        case(
            "D13",
            "two-blocks-missing",
            "two blocks are gone; only those of the last one are called lost",
            |store| {
                three_blocks(store);
                store.index().remove("msgs/3.blk").remove("msgs/2.blk");
            },
        ),
        stated(
            "D18",
            "first-beyond-last",
            "the first sequence lies beyond the last: nothing looks for the messages in the blocks",
            |state| state.first_sequence = 100,
        ),
        stated(
            "D14",
            "last-hash-differs",
            "the last block does not end with the hash the index has",
            |state| state.last_record_hash = [7; 8],
        ),
        case(
            "D14",
            "appended-since",
            "a record was appended after index.db was written",
            |store| {
                two_blocks(store);
                store.index().block(2, msgs(5..=8));
            },
        ),
        case(
            "D14",
            "torn-tail",
            "half a record was appended after index.db was written: it is cut off",
            |store| {
                two_blocks(store);
                store.index().block(2, msgs(5..=8)).cut("msgs/2.blk", 11);
            },
        ),
        case(
            "D14",
            "last-block-cut",
            "the last block lost its last record: sequence 7 stays used",
            |store| {
                two_blocks(store);
                store.index().block(2, msgs(5..=6));
            },
        ),
        case(
            "D14",
            "last-block-empty",
            "the last block has no bytes left",
            |store| {
                two_blocks(store);
                store.index().write("msgs/2.blk", "");
            },
        ),
        case(
            "D14",
            "last-block-key-missing",
            "the key file of the last block is gone: the server makes a fresh one, and a moment later takes the block for noise",
            |store| {
                store.encrypt(Cipher::ChaCha);
                two_blocks(store);
                store.index().remove("msgs/2.key");
            },
        ),
        case(
            "D15",
            "newer-block",
            "a block behind the one index.db ends with",
            |store| {
                two_blocks(store);
                store.index().block(3, msgs(8..=9));
            },
        ),
        case(
            "D16",
            "interior-block-missing",
            "an interior block is gone: its sequences are lost",
            |store| {
                three_blocks(store);
                store.index().remove("msgs/2.blk");
            },
        ),
        case(
            "D16",
            "two-interior-blocks-missing",
            "two interior blocks are gone, one of them with deletes",
            |store| {
                store
                    .block(1, msgs([1, 3]))
                    .block(2, msgs([4, 7]))
                    .block(3, msgs(8..=9));
                store.index().remove("msgs/1.blk").remove("msgs/2.blk");
            },
        ),
        stated(
            "D17",
            "messages-disagree",
            "the index counts a message more than its blocks",
            |state| state.messages += 1,
        ),
        stated(
            "D17",
            "bytes-disagree",
            "the index counts a byte more than its blocks",
            |state| state.bytes += 1,
        ),
        stated(
            "D17",
            "last-sequence-disagrees",
            "the index goes to 12, its blocks to 7: removed, and 12 is remembered",
            |state| state.last_sequence = 12,
        ),
        case(
            "D17",
            "first-sequence-disagrees",
            "the index begins at 4, its blocks at 5",
            |store| {
                store
                    .block(1, msgs(5..=8))
                    .index_with(|state| state.first_sequence = 4);
            },
        ),
    ];
    cases.push(case("D18", "sound", "everything agrees", |store| {
        two_blocks(store);
        store.index();
    }));
    cases
}
