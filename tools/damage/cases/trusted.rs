//! What a sound `index.db` hides, and what one that is given up leaves behind.

use jetsam::crypto::Cipher;
use serde_json::json;

use super::index::{indexed, stated};
use super::{Case, case, three_blocks, two_blocks};
use crate::record::{msg, msgs, tomb};
use crate::store::Store;

const INDEX: &str = "msgs/index.db";

pub fn details() -> Vec<Case> {
    let mut cases = vec![
        stated(
            "D18",
            "version-1",
            "an index of the first version",
            |state| state.version = 1,
        ),
        stated(
            "D18",
            "version-2",
            "an index of the second version",
            |state| state.version = 2,
        ),
        stated(
            "D18",
            "version-3",
            "an index of the third version",
            |state| state.version = 3,
        ),
        indexed(
            "D18",
            "bytes-after-the-tail",
            "bytes behind the last hash are ignored",
            |bytes| bytes.extend([9; 5]),
        ),
        case(
            "D18",
            "first-sequence-1-not-compared",
            "the index begins at 0, its blocks at 1: that is not compared",
            |store| {
                two_blocks(store);
                store.index_with(|state| state.first_sequence = 0);
            },
        ),
        case("D18", "deletes", "deletes inside both blocks", |store| {
            store
                .block(1, msgs([1, 3, 4, 7]))
                .block(2, msgs([8, 12]))
                .index();
        }),
        case(
            "D18",
            "number-deleted-without-set",
            "the number of deletes is believed, not the set",
            |store| {
                store.block(1, msgs([1, 2, 3, 4, 7])).index_with(|state| {
                    state.blocks[0].deleted_count = 3;
                    state.messages -= 1;
                });
            },
        ),
        case(
            "D18",
            "times-disagree",
            "the times of the index are believed",
            |store| {
                two_blocks(store);
                store.index_with(|state| {
                    state.first_time_ns += 5;
                    state.last_time_ns -= 77;
                });
            },
        ),
        case(
            "D18",
            "empty-last-block-zero-hash",
            "an empty last block and a last hash of zeros match",
            |store| {
                store.block(1, msgs(1..=4)).block(2, vec![]);
                store.index_with(|state| {
                    let block = &mut state.blocks[1];
                    (block.first_sequence, block.last_sequence) = (5, 4);
                    block.last_time_ns = state.last_time_ns;
                    (state.messages, state.last_sequence) = (4, 4);
                    state.last_record_hash = [0; 8];
                });
            },
        ),
        case(
            "D18",
            "last-block-of-five-bytes-zero-hash",
            "a last block below eight bytes counts as ending in zeros",
            |store| {
                store
                    .block(1, msgs(1..=4))
                    .block(2, msgs(5..=6))
                    .index_with(|state| state.last_record_hash = [0; 8]);
                store.file("msgs/2.blk").truncate(5);
            },
        ),
        indexed(
            "D18",
            "subject-of-no-bytes",
            "a subject entry of length 0 takes only its length",
            |bytes| {
                // The subject count follows the two bytes in front and the header's numbers.
                let mut reader = jetsam::format::varint::Reader::new(&bytes[2..]);
                for _ in 0..6 {
                    reader.uvarint().expect("a number");
                }
                let at = 2 + reader.offset();
                bytes[at] += 1;
                bytes.insert(at + 1, 0);
            },
        ),
        case(
            "D18",
            "compressed-last-block",
            "the hash at the end of a compressed block is a plain copy",
            |store| {
                store
                    .compress()
                    .block(1, msgs(1..=4))
                    .block(2, msgs(5..=7))
                    .index();
            },
        ),
        case("D18", "encrypted", "a sound encrypted store", |store| {
            store
                .encrypt(Cipher::Aes)
                .block(1, msgs(1..=4))
                .block(2, msgs(5..=7))
                .index();
        }),
    ];
    cases.extend(under_a_trusted_index());
    cases
}

/// H15, H16, H37: what the fast path does not see.
fn under_a_trusted_index() -> Vec<Case> {
    vec![
        case(
            "H16",
            "empty-listed-block-dropped",
            "a listed block without messages that is not the last vanishes from memory, its file stays",
            |store| {
                store
                    .block(1, msgs([1, 3]))
                    .block(2, vec![tomb(2)])
                    .block(3, msgs(4..=6))
                    .index();
            },
        ),
        case(
            "H16",
            "unlisted-lower-block",
            "a block file that the index does not list, with a lower number: nobody sees it",
            |store| {
                store.block(2, msgs(4..=6)).block(3, msgs(7..=9)).index();
                store.block(1, msgs(1..=3));
            },
        ),
        case(
            "H15",
            "interior-record-flipped",
            "one bit of an interior record: the index is believed, the record cannot be read",
            |store| {
                two_blocks(store);
                let at = store.offset(1, 1) + 30;
                store.index().flip("msgs/1.blk", at, 4);
            },
        ),
        case(
            "H15",
            "interior-block-emptied",
            "an interior block cut to nothing under a sound index",
            |store| {
                three_blocks(store);
                store.index().write("msgs/2.blk", "");
            },
        ),
        case(
            "H15",
            "interior-block-cut",
            "an interior block lost its last record under a sound index",
            |store| {
                three_blocks(store);
                store.index().block(2, msgs(4..=5));
            },
        ),
        case(
            "H15",
            "record-beyond-the-range",
            "a block has a message behind the end the index gives it: once read, it reaches over the next block and hides one there",
            |store| {
                two_blocks(store);
                store.index().block(1, msgs([1, 2, 3, 4, 6]));
            },
        ),
        case(
            "H15",
            "interior-s2-flipped",
            "a compressed interior block does not decompress under a sound index",
            |store| {
                store.compress();
                three_blocks(store);
                store.index().flip("msgs/2.blk", 40, 1);
            },
        ),
        case(
            "H37",
            "sequence-bit-2",
            "bit 2 of a sequence field is flipped under a sound index",
            |store| {
                two_blocks(store);
                let at = store.offset(1, 1) + 4;
                store.index().flip("msgs/1.blk", at, 4);
            },
        ),
        case(
            "H37",
            "sequence-bit-34",
            "bit 34 of a sequence field is flipped: the first read allocates without end",
            |store| {
                two_blocks(store);
                let at = store.offset(1, 1) + 4 + 4;
                store.index().flip("msgs/1.blk", at, 4);
            },
        ),
        case(
            "H19",
            "header-length-under-index",
            "a bad header length under a sound index",
            |store| {
                let record = msg(2).header("A", "b").header_length(4000);
                store
                    .block(1, vec![msg(1), record, msg(3)])
                    .block(2, msgs(4..=5))
                    .index();
            },
        ),
    ]
}

fn ahead(
    id: &'static str,
    slug: &'static str,
    note: &'static str,
    build: impl FnOnce(&mut Store),
) -> Case {
    case(id, slug, note, |store| {
        store.block(1, msgs(1..=4)).block(2, msgs(5..=9)).index();
        store.block(2, msgs(5..=6));
        build(store);
    })
}

/// Section 2.3: the last sequence an index knew of.
pub fn prior() -> Vec<Case> {
    vec![
        ahead(
            "2.3",
            "tombstone-remembers-9",
            "the index knew 9, the blocks end at 6: a tombstone for 9 in a new block",
            |_| {},
        ),
        ahead(
            "2.3",
            "asynchronous-flush",
            "the same with persist mode async: nothing is remembered",
            |store| {
                store.with("persist_mode", json!("async"));
            },
        ),
        ahead(
            "2.3",
            "replicated",
            "the same with three replicas: a stand-alone server leaves the stream alone",
            |store| {
                store.with("num_replicas", json!(3));
            },
        ),
        ahead(
            "2.3",
            "encrypted",
            "the same in an encrypted store",
            |store| {
                store.encrypt(Cipher::ChaCha);
                store.block(1, msgs(1..=4)).block(2, msgs(5..=9)).index();
                store.block(2, msgs(5..=6));
            },
        ),
        case(
            "2.3",
            "no-message-left",
            "both blocks are gone: the stream is empty, and begins after the 7 the index knew",
            |store| {
                two_blocks(store);
                store.index().remove("msgs/1.blk").remove("msgs/2.blk");
            },
        ),
        case(
            "2.3",
            "nothing-known-after-D4",
            "a broken index is no prior state: sequences are given out again",
            |store| {
                store
                    .block(1, msgs(1..=4))
                    .block(2, msgs(5..=9))
                    .index()
                    .flip(INDEX, 9, 1);
                store.block(2, msgs(5..=6));
            },
        ),
        case(
            "2.3",
            "index-behind",
            "the index knew less than the blocks hold",
            |store| {
                two_blocks(store);
                store.index().block(2, msgs(5..=30));
            },
        ),
        case(
            "2.3",
            "D17-remembers-too",
            "a corrupt index still passes its last sequence on",
            |store| {
                two_blocks(store);
                store.index_with(|state| {
                    state.last_sequence = 1000;
                    state.last_time_ns += 5_000_000_000;
                });
            },
        ),
    ]
}
