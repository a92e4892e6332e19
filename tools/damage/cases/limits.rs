//! Sections 8 and 9: age and limits at open.

use serde_json::json;

use super::{Case, case, three_blocks};
use crate::record::{Rec, at, erased, msg, msgs, tomb};
use crate::store::Store;

/// Thirty years, in nanoseconds: what is from 1980 has expired, what is from 2026 has not.
const AGE_NS: u64 = 946_080_000_000_000_000;

/// A message of 1980.
fn old(seq: u64) -> Rec {
    msg(seq).time(at(-1_450_000_000 + seq as i64))
}

fn aged(slug: &'static str, note: &'static str, build: impl FnOnce(&mut Store)) -> Case {
    case("8", slug, note, |store| {
        store.with("max_age", json!(AGE_NS));
        build(store);
    })
}

/// Section 8.
pub fn age() -> Vec<Case> {
    vec![
        aged("nothing-expired", "no message is old enough", |store| {
            three_blocks(store);
            store.index();
        }),
        aged(
            "partly-expired-block",
            "half of the first block has expired",
            |store| {
                store
                    .block(1, vec![old(1), old(2), msg(3)])
                    .block(2, msgs(4..=6))
                    .index();
            },
        ),
        aged(
            "whole-block-expired",
            "the first block has expired, and part of the second",
            |store| {
                store
                    .block(1, vec![old(1), old(2)])
                    .block(2, vec![old(3), msg(4)])
                    .block(3, msgs(5..=6))
                    .index();
            },
        ),
        aged(
            "all-expired",
            "everything has expired: a new block 1 with a tombstone",
            |store| {
                store
                    .block(4, vec![old(1), old(2)])
                    .block(5, vec![old(3), old(4)])
                    .index();
            },
        ),
        aged(
            "all-expired-no-index",
            "the same without an index",
            |store| {
                store
                    .block(4, vec![old(1), old(2)])
                    .block(5, vec![old(3), old(4)]);
            },
        ),
        aged(
            "expired-with-deletes",
            "deletes among the expired",
            |store| {
                store
                    .block(1, vec![old(1), old(4), old(7), msg(9)])
                    .block(2, msgs(10..=11))
                    .index();
            },
        ),
        aged(
            "partly-expired-emptied",
            "a block whose newest record is young but deleted",
            |store| {
                store
                    .block(1, vec![old(1), old(2), msg(3), tomb(3)])
                    .block(2, msgs(4..=5));
            },
        ),
        aged(
            "block-edges-only",
            "a young record between old ones goes with its block (H18)",
            |store| {
                store
                    .block(1, vec![old(1), msg(2), old(3)])
                    .block(2, msgs(4..=5))
                    .index();
            },
        ),
        aged(
            "old-behind-young",
            "an old block behind a young one stays",
            |store| {
                store
                    .block(1, msgs(1..=2))
                    .block(2, vec![old(3), old(4)])
                    .index();
            },
        ),
        aged(
            "old-first-young-block-behind-old-last",
            "within a block the first young record ends the search",
            |store| {
                store
                    .block(1, vec![old(1), msg(2), old(3), msg(4)])
                    .block(2, msgs(5..=6))
                    .index();
            },
        ),
        aged(
            "never-expires-anyway",
            "TTL never is not honoured at open (H23)",
            |store| {
                store.with("allow_msg_ttl", json!(true));
                store
                    .block(1, vec![old(1).header("Nats-TTL", "never"), old(2)])
                    .block(2, msgs(3..=4))
                    .index();
            },
        ),
        aged(
            "delete-markers",
            "with delete markers nothing expires at open",
            |store| {
                store
                    .with("subject_delete_marker_ttl", json!(60_000_000_000_u64))
                    .with("allow_msg_ttl", json!(true));
                store
                    .block(1, vec![old(1), old(2)])
                    .block(2, msgs(3..=4))
                    .index();
            },
        ),
        aged(
            "empty-block-in-front",
            "a block of tombstones in front has no time and does not stop the search",
            |store| {
                store
                    .block(1, vec![tomb(9)])
                    .block(2, vec![old(10), msg(11)]);
            },
        ),
        aged(
            "tombstones-behind-expired",
            "a block of tombstones behind expired ones",
            |store| {
                store
                    .block(1, vec![old(1), old(2)])
                    .block(2, vec![tomb(2).time(at(-1_450_000_000))]);
            },
        ),
        aged(
            "bad-record-in-partly-expired",
            "a bad record under a sound index in a partly expired block: first moves past it, totals stay",
            |store| {
                store
                    .block(1, vec![old(1), old(2), old(3), msg(4)])
                    .block(2, msgs(5..=6))
                    .index();
                let at = store.offset(1, 1) + 26;
                store.flip("msgs/1.blk", at, 1);
            },
        ),
        aged(
            "erased-in-partly-expired",
            "an erased record among the expired",
            |store| {
                store
                    .block(1, vec![old(1), erased(2), old(3), msg(4)])
                    .block(2, msgs(5..=6))
                    .index();
            },
        ),
        aged(
            "ttl-entries-stay",
            "the expiry entries of messages that went by age stay",
            |store| {
                store.with("allow_msg_ttl", json!(true));
                store
                    .block(1, vec![old(1).header("Nats-TTL", "876000h"), msg(2)])
                    .index();
            },
        ),
        aged("no-time-expires", "messages at time 0", |store| {
            store
                .block(1, vec![msg(1).time(0), msg(2).time(0)])
                .block(2, msgs(3..=4))
                .index();
        }),
    ]
}

fn limited(
    slug: &'static str,
    note: &'static str,
    field: &'static str,
    value: u64,
    build: impl FnOnce(&mut Store),
) -> Case {
    case("9", slug, note, |store| {
        store.with(field, json!(value));
        build(store);
    })
}

fn indexed(store: &mut Store) {
    three_blocks(store);
    store.index();
}

/// Section 9.
pub fn limits() -> Vec<Case> {
    let mut cases = totals();
    cases.extend(per_subject());
    cases.extend(first_sequence());
    cases
}

fn totals() -> Vec<Case> {
    vec![
        limited(
            "max-msgs",
            "two messages over the limit",
            "max_msgs",
            7,
            indexed,
        ),
        limited(
            "max-msgs-whole-blocks",
            "far over the limit: whole blocks go first",
            "max_msgs",
            2,
            indexed,
        ),
        limited(
            "max-msgs-exact-block",
            "dropping the first block would leave exactly the limit: message by message",
            "max_msgs",
            6,
            indexed,
        ),
        limited(
            "max-msgs-one",
            "only the last message stays",
            "max_msgs",
            1,
            indexed,
        ),
        limited(
            "max-msgs-no-index",
            "over the limit after a full read",
            "max_msgs",
            4,
            three_blocks,
        ),
        limited(
            "max-msgs-discard-new",
            "with discard new nothing goes at open",
            "max_msgs",
            4,
            |store| {
                indexed(store);
                store.with("discard", json!("new"));
            },
        ),
        limited(
            "max-msgs-deletes",
            "over the limit, with deletes at the front",
            "max_msgs",
            3,
            |store| {
                store
                    .block(1, msgs([1, 5, 6]))
                    .block(2, msgs([9, 12]))
                    .index();
            },
        ),
        limited(
            "max-bytes",
            "over the limit of bytes",
            "max_bytes",
            300,
            indexed,
        ),
        limited(
            "max-bytes-tiny",
            "no message fits into the limit of bytes",
            "max_bytes",
            20,
            indexed,
        ),
        limited(
            "max-bytes-discard-new",
            "with discard new nothing goes at open",
            "max_bytes",
            100,
            |store| {
                indexed(store);
                store.with("discard", json!("new"));
            },
        ),
        limited("both-limits", "over both limits", "max_msgs", 8, |store| {
            indexed(store);
            store.with("max_bytes", json!(200));
        }),
        limited(
            "index-counts-too-many",
            "the index counts messages its blocks do not have: the first block is walked anew, then it stops",
            "max_msgs",
            4,
            |store| {
                store.block(1, msgs(1..=3)).block(2, msgs(4..=6)).index();
                store.block(1, msgs(2..=3));
            },
        ),
        limited(
            "last-sequence-in-dropped-block",
            "the block that holds the last sequence goes: it is remembered",
            "max_msgs",
            1,
            |store| {
                store.block(1, msgs(7..=9)).block(2, msgs(1..=3));
            },
        ),
        limited(
            "schedules-of-dropped-blocks",
            "schedules of a block that goes whole go with it",
            "max_msgs",
            1,
            |store| {
                store.with("allow_msg_schedules", json!(true));
                let planned = |seq: u64| {
                    msg(seq)
                        .on(&format!("s.{seq}"))
                        .header("Nats-Schedule", "@at 2090-01-01T00:00:00Z")
                        .header("Nats-Schedule-Target", "s.out")
                };
                store
                    .block(1, vec![planned(1), planned(2)])
                    .block(2, vec![planned(3), planned(4)])
                    .index();
            },
        ),
    ]
}

fn per_subject() -> Vec<Case> {
    vec![
        limited(
            "max-per-subject",
            "two messages of each subject too many",
            "max_msgs_per_subject",
            1,
            indexed,
        ),
        limited(
            "max-per-subject-no-index",
            "the same after a full read",
            "max_msgs_per_subject",
            2,
            three_blocks,
        ),
        limited(
            "max-per-subject-discard-new",
            "discard new does not keep them (H29)",
            "max_msgs_per_subject",
            1,
            |store| {
                indexed(store);
                store
                    .with("discard", json!("new"))
                    .with("discard_new_per_subject", json!(true))
                    .with("max_msgs", json!(100));
            },
        ),
        limited(
            "skew",
            "the subject totals of the index do not add up to its messages: every block is walked anew",
            "max_msgs_per_subject",
            2,
            |store| {
                three_blocks(store);
                store.index_with(|state| {
                    let mut table = jetsam::format::state::SubjectTable::new();
                    for entry in state.subjects.iter().skip(1) {
                        table.push(entry);
                    }
                    state.subjects = table;
                });
            },
        ),
        limited(
            "skew-meets-bad-record",
            "the walk anew meets a bad record and cuts the block",
            "max_msgs_per_subject",
            2,
            |store| {
                three_blocks(store);
                store.index_with(|state| {
                    state.subjects = jetsam::format::state::SubjectTable::new()
                });
                let at = store.offset(2, 1) + 26;
                store.flip("msgs/2.blk", at, 1);
            },
        ),
        limited(
            "skew-drops-tombstones",
            "the walk anew throws tombstones away (H28)",
            "max_msgs_per_subject",
            3,
            |store| {
                store
                    .block(1, msgs(1..=3))
                    .block(2, vec![msg(4), tomb(2)])
                    .index();
                store.index_with(|state| {
                    state.subjects = jetsam::format::state::SubjectTable::new()
                });
            },
        ),
        limited(
            "no-subject-skew",
            "records without subject make every open walk anew",
            "max_msgs_per_subject",
            1,
            |store| {
                store
                    .block(1, vec![msg(1).on(""), msg(2).on("s.a"), msg(3).on("s.a")])
                    .block(2, vec![msg(4).on("")]);
            },
        ),
        limited(
            "bad-record-of-subject",
            "a bad record of an over-limit subject under a sound index",
            "max_msgs_per_subject",
            2,
            |store| {
                three_blocks(store);
                store.index();
                let at = store.offset(1, 1) + 26;
                store.flip("msgs/1.blk", at, 1);
            },
        ),
        limited(
            "per-subject-after-max-msgs",
            "both limits bite",
            "max_msgs_per_subject",
            1,
            |store| {
                indexed(store);
                store.with("max_msgs", json!(5));
            },
        ),
    ]
}

fn first_sequence() -> Vec<Case> {
    vec![
        limited(
            "first-sequence-below",
            "the stream begins below the configured first sequence: everything is purged (H30)",
            "first_seq",
            5,
            indexed,
        ),
        limited(
            "first-sequence-above-last",
            "the configured first sequence lies behind the stream",
            "first_seq",
            5000,
            indexed,
        ),
        limited(
            "first-sequence-met",
            "the stream begins at the configured first sequence",
            "first_seq",
            4,
            |store| {
                store.block(1, msgs(4..=6)).index();
            },
        ),
        limited(
            "first-sequence-empty",
            "no message and no block: begins at the configured first sequence",
            "first_seq",
            77,
            |_| {},
        ),
        limited(
            "first-sequence-after-lost-head",
            "the head of the stream is lost, the rest lies above",
            "first_seq",
            2,
            |store| {
                store
                    .block(1, msgs(2..=4))
                    .block(2, msgs(5..=6))
                    .flip("msgs/1.blk", 25, 1);
            },
        ),
        limited(
            "first-sequence-after-reuse",
            "a block of low sequences from a reuse costs everything",
            "first_seq",
            100,
            |store| {
                store.block(1, msgs(100..=103)).block(2, msgs(3..=4));
            },
        ),
    ]
}
