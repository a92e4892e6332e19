//! Sections 4 to 6: merging blocks, tombstones, subjects.

use jetsam::crypto::Cipher;
use jetsam::format::legacy::idx::{IdxFields, IdxVersion, encode};
use jetsam::format::names::BlockFile;
use jetsam::format::seqset::SeqSet;
use serde_json::json;

use super::{Case, case, three_blocks, two_blocks};
use crate::record::{Rec, erased, msg, msgs, skip, tomb};
use crate::store::Store;

fn blocks(id: &'static str, slug: &'static str, note: &'static str, all: Vec<Vec<Rec>>) -> Case {
    case(id, slug, note, |store| {
        for (at, records) in all.into_iter().enumerate() {
            store.block(at as u32 + 1, records);
        }
    })
}

/// Section 4.1.
pub fn merging() -> Vec<Case> {
    vec![
        blocks(
            "4.1.1",
            "first-sequence-unset",
            "a block that sets no sequence is deleted",
            vec![msgs(1..=3), vec![], msgs(4..=5)],
        ),
        blocks(
            "4.1.1",
            "only-tombstone-0",
            "a block with a tombstone for 0 alone is deleted",
            vec![msgs(1..=3), vec![tomb(0)], msgs(4..=5)],
        ),
        blocks(
            "4.1.2",
            "last-empty-block-decides",
            "tombstone 20, then tombstone 7: the last sequence is 7",
            vec![vec![tomb(20)], vec![tomb(7)]],
        ),
        blocks(
            "4.1.2",
            "empty-then-live-below",
            "tombstone 20, then messages 3 and 4: the stream ends at 4",
            vec![vec![tomb(20)], msgs(3..=4)],
        ),
        blocks(
            "4.1.3",
            "first-lowered",
            "a later block begins below the first",
            vec![msgs(5..=6), msgs(2..=3)],
        ),
        blocks(
            "4.1.3",
            "first-not-lowered-without-time",
            "a later block of erased records below has no time: the first stays",
            vec![msgs(5..=6), vec![erased(2)]],
        ),
        blocks(
            "4.1.4",
            "last-time-of-equal",
            "two blocks end at the same sequence: the later one gives the time",
            vec![msgs(1..=3), vec![msg(3).time(1_000)]],
        ),
        blocks(
            "4.1.4",
            "last-without-time",
            "a block of tombstones behind ends higher",
            vec![msgs(1..=3), vec![tomb(9)]],
        ),
        case(
            "4.1.5",
            "overlap-among-many-blocks",
            "the one message that jumps far ahead lies in the 15th of 34 blocks: a look-up by halves does not come to it",
            |store| {
                for number in 1..=34 {
                    let jump = (number == 15).then_some(1_000);
                    store.block(number, msgs([u64::from(number)].into_iter().chain(jump)));
                }
            },
        ),
        blocks(
            "4.1.5",
            "overlapping-blocks",
            "overlapping blocks are added up",
            vec![msgs(1..=4), msgs(3..=6)],
        ),
        blocks(
            "4.1.5",
            "the-same-block-twice",
            "a block copied under the next number",
            vec![msgs(1..=4), msgs(1..=4)],
        ),
        blocks(
            "4.1.5",
            "inverted-order",
            "blocks in the wrong order: lookups miss messages",
            vec![msgs(7..=9), msgs(1..=3), msgs(4..=6)],
        ),
        blocks(
            "4.1.5",
            "contained",
            "a block inside the range of another",
            vec![msgs([1, 9]), msgs(3..=4)],
        ),
        blocks(
            "4.1.6",
            "empty-blocks-between",
            "blocks of tombstones between blocks of messages",
            vec![msgs(1..=3), vec![tomb(2)], msgs(4..=5), vec![tomb(4)]],
        ),
        blocks(
            "4.1.6",
            "empty-in-front",
            "blocks of skip records in front",
            vec![vec![skip(1), skip(2)], vec![tomb(1)], msgs(3..=5)],
        ),
        blocks(
            "4.1.6",
            "empty-behind",
            "a block of skip records behind",
            vec![msgs(1..=3), vec![skip(4), skip(5)]],
        ),
        blocks(
            "4.1.6",
            "gap-between-blocks",
            "a gap between blocks counts as deleted, not as lost",
            vec![msgs(1..=3), msgs(50..=51)],
        ),
    ]
}

/// Sections 4.2, 4.3 and 4.4.
pub fn after() -> Vec<Case> {
    let encrypted = |slug, note, build: fn(&mut Store)| {
        case("4.2", slug, note, |store| {
            store.encrypt(Cipher::ChaCha);
            three_blocks(store);
            build(store);
        })
    };
    vec![
        encrypted(
            "key-short",
            "the key file of an interior block is short: the block is deleted, its sequences count as deleted",
            |store| {
                store.cut("msgs/2.key", 20);
            },
        ),
        encrypted(
            "all-keys-bad",
            "no key file opens: every block is deleted",
            |store| {
                for number in 1..=3 {
                    store.flip(&BlockFile::Key.path(number), 3, 1);
                }
            },
        ),
        encrypted(
            "last-key-bad-with-index",
            "the key of the last block does not open under an index: prior state",
            |store| {
                store.index().flip("msgs/3.key", 3, 1);
            },
        ),
        case(
            "4.3",
            "new-block-behind-bad-ones",
            "every block is bad: a new one behind them",
            |store| {
                two_blocks(store);
                store.flip("msgs/1.blk", 30, 1).flip("msgs/2.blk", 30, 1);
            },
        ),
        case(
            "4.3",
            "orphan-keys-plain",
            "key files in a plain store are swept away",
            |store| {
                two_blocks(store);
                store
                    .write("msgs/1.key", [1; 72])
                    .write("msgs/4.key", [1; 72]);
            },
        ),
        case(
            "4.3",
            "empty-block-and-lost-data",
            "data was lost: an empty block with a first sequence from 2.idx goes too",
            |store| {
                store
                    .block(1, msgs(1..=3))
                    .write("msgs/2.blk", "")
                    .block(3, msgs(5..=7));
                let fields = IdxFields {
                    messages: 0,
                    bytes: 0,
                    first_sequence: 5,
                    first_time_ns: 0,
                    last_sequence: 4,
                    last_time_ns: 0,
                    deleted_count: 0,
                    last_record_hash: None,
                    deleted: SeqSet::new(),
                };
                let idx = encode(&fields, IdxVersion::V2, 0).expect("no deletes");
                store.write("msgs/2.idx", idx).cut("msgs/3.blk", 4);
            },
        ),
        case(
            "4.4",
            "three-cut-blocks",
            "three cut blocks report the bytes of one",
            |store| {
                three_blocks(store);
                for number in 1..=3 {
                    store.cut(&BlockFile::Block.path(number), 7);
                }
            },
        ),
        case(
            "4.4",
            "lost-block-and-cut-block",
            "a missing block by name, a cut one by bytes that are not added",
            |store| {
                three_blocks(store);
                store.index().remove("msgs/2.blk").cut("msgs/1.blk", 7);
            },
        ),
        case(
            "4.4",
            "lost-then-deleted",
            "a tombstone takes its sequence out of the lost ones",
            |store| {
                store
                    .block(1, msgs(1..=3))
                    .block(2, msgs(4..=6))
                    .block(3, msgs(7..=9))
                    .index();
                store
                    .block(3, vec![msg(7), tomb(5), msg(8), msg(9)])
                    .remove("msgs/2.blk");
                store.index_with(|state| {
                    let at = state.blocks[1].clone();
                    state.blocks[1].deleted_count = at.deleted.len();
                });
            },
        ),
    ]
}

/// Section 5.
pub fn tombstones() -> Vec<Case> {
    vec![
        blocks(
            "5.2",
            "out-of-range",
            "tombstones below and above the stream",
            vec![msgs(5..=7), vec![tomb(1), tomb(99), msg(8)]],
        ),
        blocks(
            "5.2",
            "in-a-gap",
            "a tombstone for a sequence between blocks",
            vec![msgs(1..=3), msgs(7..=8), vec![tomb(5), msg(9)]],
        ),
        blocks(
            "5.3",
            "deleted-already",
            "a tombstone for an erased message",
            vec![vec![msg(1), erased(2), msg(3), tomb(2)]],
        ),
        blocks(
            "5.3",
            "twice",
            "two tombstones for one message",
            vec![vec![msg(1), msg(2), tomb(2), msg(3), tomb(2)]],
        ),
        case(
            "5.4",
            "record-bad-since-walk",
            "a tombstone under a sound 1.idx for a message whose record is bad",
            |store| {
                store.block(1, msgs(1..=3)).block(2, vec![msg(4), tomb(2)]);
                let content = store.content(1, &msgs(1..=3));
                let fields = IdxFields {
                    messages: 3,
                    bytes: content.len() as u64,
                    first_sequence: 1,
                    first_time_ns: msg(1).time_ns,
                    last_sequence: 3,
                    last_time_ns: msg(3).time_ns,
                    deleted_count: 0,
                    last_record_hash: content.last_chunk().copied(),
                    deleted: SeqSet::new(),
                };
                let at = store.offset(1, 1) + 26;
                store
                    .write(
                        "msgs/1.idx",
                        encode(&fields, IdxVersion::V2, 0).expect("no deletes"),
                    )
                    .flip("msgs/1.blk", at, 1);
            },
        ),
        blocks(
            "5.5",
            "with-headers",
            "the size of a removed message counts its headers",
            vec![
                vec![msg(1), msg(2).header("A", "b"), msg(3)],
                vec![tomb(2), msg(4)],
            ],
        ),
        blocks(
            "5.6",
            "last-of-subject",
            "the only message of a subject is removed",
            vec![
                vec![msg(1).on("s.only"), msg(2), msg(3)],
                vec![tomb(1), msg(4)],
            ],
        ),
        case(
            "5.6",
            "expiry-entry-removed",
            "the entry of a removed message leaves the expiry list",
            |store| {
                store.with("allow_msg_ttl", json!(true));
                let mortal = |seq| msg(seq).header("Nats-TTL", "1000000h");
                store.block(1, vec![mortal(1), mortal(2), mortal(3), tomb(2)]);
            },
        ),
        case(
            "5.6",
            "schedule-stays",
            "the schedule of a removed message stays",
            |store| {
                store.with("allow_msg_schedules", json!(true));
                let planned = |seq: u64| {
                    msg(seq)
                        .on(&format!("s.{seq}"))
                        .header("Nats-Schedule", "@at 2090-01-01T00:00:00Z")
                        .header("Nats-Schedule-Target", "s.out")
                };
                store.block(1, vec![planned(1), planned(2), tomb(2)]);
            },
        ),
        blocks(
            "5.7",
            "first-moves",
            "the first messages are removed: the first sequence moves past deletes",
            vec![
                vec![msg(1), msg(2), erased(3), msg(4)],
                vec![tomb(1), tomb(2), msg(5)],
            ],
        ),
        blocks(
            "5.7",
            "inside",
            "a message inside is removed",
            vec![msgs(1..=4), vec![tomb(3), msg(5)]],
        ),
        blocks(
            "5.8",
            "block-emptied",
            "every message of the first block is removed",
            vec![msgs(1..=2), vec![msg(3), tomb(1), tomb(2)]],
        ),
        blocks(
            "5.8",
            "interior-emptied",
            "every message of an interior block is removed",
            vec![msgs(1..=2), msgs(3..=4), vec![msg(5), tomb(3), tomb(4)]],
        ),
        blocks(
            "5.8",
            "last-block-emptied",
            "every message of the last block is removed: a new one with a tombstone",
            vec![msgs(1..=2), vec![msg(3), msg(4), tomb(3), tomb(4)]],
        ),
        blocks(
            "5.8",
            "everything-removed",
            "every message is removed",
            vec![vec![msg(1), msg(2), tomb(1), tomb(2)]],
        ),
        blocks(
            "5.8",
            "emptied-block-keeps-tombstones",
            "an emptied block holds tombstones of others: it stays",
            vec![msgs(1..=2), vec![tomb(2), msg(3)], vec![msg(4), tomb(3)]],
        ),
        blocks(
            "5.8",
            "emptied-with-own-tombstones",
            "an emptied block whose tombstones are its own",
            vec![
                msgs(1..=2),
                vec![msg(3), msg(4), tomb(3)],
                vec![msg(5), tomb(4)],
            ],
        ),
        blocks(
            "5.9",
            "kills-a-later-message",
            "a tombstone also kills a message stored after it under the same sequence",
            vec![vec![msg(1), tomb(4)], msgs(2..=4)],
        ),
        blocks(
            "5.9",
            "before-its-message",
            "a tombstone in front of its message, in one block",
            vec![vec![msg(1), tomb(3), msg(2), msg(3)]],
        ),
    ]
}

/// Section 6.
pub fn subjects() -> Vec<Case> {
    vec![
        case(
            "6",
            "no-subjects-configured",
            "a stream without subjects gets its own name for one: subjects are counted",
            |store| {
                store.config.remove("subjects");
                two_blocks(store);
            },
        ),
        case(
            "6",
            "index-subjects-believed",
            "the subject totals of the index are believed",
            |store| {
                two_blocks(store);
                store.index_with(|state| {
                    let mut table = jetsam::format::state::SubjectTable::new();
                    for entry in state.subjects.iter() {
                        table.push(jetsam::format::state::SubjectEntry {
                            total: entry.total + 5,
                            ..entry
                        });
                    }
                    state.subjects = table;
                });
            },
        ),
        blocks(
            "6",
            "records-without-subject",
            "records without a subject are counted as messages, not by subject",
            vec![vec![msg(1).on(""), msg(2), msg(3).on("")], msgs(4..=5)],
        ),
        blocks(
            "6",
            "subject-moved-by-length",
            "a subject length below the true one gives another subject",
            vec![vec![msg(1), msg(2).subject_length(1), msg(3)]],
        ),
        case(
            "6",
            "mirror",
            "a mirror has no subjects of its own and counts them all the same",
            |store| {
                store.config.remove("subjects");
                store.with("mirror", json!({ "name": "ORIGIN" }));
                two_blocks(store);
            },
        ),
    ]
}
