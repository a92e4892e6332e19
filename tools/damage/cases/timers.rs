//! Section 7: expiry, schedules and their files.

use serde_json::json;

use super::{Case, case};
use crate::record::{Rec, SECOND_NS, at, erased, msg, msgs, tomb};
use crate::store::Store;

/// A message that expires in a century.
fn mortal(seq: u64) -> Rec {
    msg(seq).header("Nats-TTL", "876000h")
}

const CENTURY_NS: i64 = 876_000 * 3600 * SECOND_NS;

fn expiry(seq: u64) -> (u64, i64) {
    (seq, msg(seq).time_ns + CENTURY_NS)
}

/// A message that is scheduled for 2090.
fn planned(seq: u64) -> Rec {
    schedule(seq, "@at 2090-01-02T03:04:05Z")
}

fn schedule(seq: u64, pattern: &str) -> Rec {
    msg(seq)
        .on(&format!("s.plan.{seq}"))
        .header("Nats-Schedule", pattern)
        .header("Nats-Schedule-Target", "s.out")
}

const IN_2090_NS: i64 = 3_787_009_445 * SECOND_NS;

/// Mortal messages 1, 2, 4 and 5 in two blocks, a sound index.
fn ttl_store(store: &mut Store) {
    store
        .with("allow_msg_ttl", json!(true))
        .block(1, vec![mortal(1), mortal(2), msg(3)])
        .block(2, vec![mortal(4), mortal(5)])
        .index();
}

fn sched_store(store: &mut Store) {
    store
        .with("allow_msg_schedules", json!(true))
        .block(1, vec![planned(1), msg(2)])
        .block(2, vec![planned(3), msg(4)])
        .index();
}

fn ttl(
    id: &'static str,
    slug: &'static str,
    note: &'static str,
    build: impl FnOnce(&mut Store),
) -> Case {
    case(id, slug, note, |store| {
        ttl_store(store);
        store.thw(6, &[expiry(1), expiry(2), expiry(4), expiry(5)]);
        build(store);
    })
}

fn sched(
    id: &'static str,
    slug: &'static str,
    note: &'static str,
    build: impl FnOnce(&mut Store),
) -> Case {
    case(id, slug, note, |store| {
        sched_store(store);
        store.sched(
            5,
            &[("s.plan.1", 1, IN_2090_NS), ("s.plan.3", 3, IN_2090_NS)],
        );
        build(store);
    })
}

/// Section 7.1.
pub fn files() -> Vec<Case> {
    const THW: &str = "msgs/thw.db";
    const SCHED: &str = "msgs/sched.db";
    vec![
        ttl("7.1", "ttl-sound", "a sound thw.db is believed", |_| {}),
        ttl(
            "7.1",
            "ttl-short",
            "thw.db below 17 bytes: removed, scanned",
            |store| store.file(THW).truncate(16),
        ),
        ttl("7.1", "ttl-empty", "thw.db without bytes", |store| {
            store.file(THW).clear()
        }),
        ttl("7.1", "ttl-version", "thw.db of version 2", |store| {
            store.file(THW)[0] = 2
        }),
        ttl("7.1", "ttl-cut", "thw.db cut inside an entry", |store| {
            store.cut(THW, 3);
        }),
        ttl(
            "7.1",
            "ttl-cut-between-entries",
            "thw.db cut between two entries",
            |store| {
                store.cut(THW, 10);
            },
        ),
        ttl(
            "7.1",
            "ttl-count-huge",
            "thw.db announces more entries than there are",
            |store| store.file(THW)[8] = 0x40,
        ),
        ttl(
            "7.1",
            "ttl-trailing-bytes",
            "bytes behind the entries of thw.db are ignored",
            |store| {
                store.append(THW, b"more");
            },
        ),
        ttl(
            "7.1",
            "ttl-count-low",
            "thw.db announces fewer entries than there are: the rest is ignored",
            |store| store.file(THW)[1] = 1,
        ),
        sched("7.1", "sched-sound", "a sound sched.db is believed", |_| {}),
        sched(
            "7.1",
            "sched-short",
            "sched.db below 17 bytes: removed, scanned",
            |store| store.file(SCHED).truncate(9),
        ),
        sched("7.1", "sched-version", "sched.db of version 0", |store| {
            store.file(SCHED)[0] = 0
        }),
        sched(
            "7.1",
            "sched-cut-in-subject",
            "sched.db cut inside a subject",
            |store| {
                store.cut(SCHED, 14);
            },
        ),
        sched(
            "7.1",
            "sched-cut-in-number",
            "sched.db cut inside a number",
            |store| {
                store.cut(SCHED, 1);
            },
        ),
        sched(
            "7.1",
            "sched-trailing-bytes",
            "bytes behind the entries of sched.db are ignored",
            |store| {
                store.append(SCHED, b"more");
            },
        ),
    ]
}

/// Sections 7.2 and 7.3.
pub fn stamps() -> Vec<Case> {
    let mut cases = vec![
        ttl(
            "7.2",
            "ttl-missing",
            "no thw.db: scanned from the start",
            |store| {
                store.remove("msgs/thw.db");
            },
        ),
        ttl(
            "7.2",
            "ttl-unreadable",
            "thw.db is a directory: counts as missing",
            |store| {
                store.remove("msgs/thw.db").write("msgs/thw.db/kept", "");
            },
        ),
        ttl(
            "7.2",
            "ttl-behind",
            "thw.db lags behind: the rest is scanned from the start of its block",
            |store| {
                store.thw(5, &[expiry(1)]);
            },
        ),
        ttl(
            "7.2",
            "ttl-stale-entries-stay",
            "entries for messages that are gone stay",
            |store| {
                store.thw(
                    6,
                    &[
                        expiry(1),
                        expiry(3),
                        (77, at(9)),
                        (2, at(CENTURY_NS / SECOND_NS)),
                    ],
                );
            },
        ),
        ttl(
            "7.2",
            "ttl-ahead",
            "a stamp above the last sequence is believed, entries beyond it stay",
            |store| {
                store.thw(60, &[expiry(1), expiry(40)]);
            },
        ),
        ttl(
            "7.2",
            "ttl-stamp-at-last",
            "a stamp at the last sequence: one message is scanned again",
            |store| {
                store.thw(5, &[expiry(1), expiry(2), expiry(4)]);
            },
        ),
        case(
            "7.2",
            "ttl-feature-off",
            "TTLs are off: thw.db is not looked at",
            |store| {
                ttl_store(store);
                store
                    .with("allow_msg_ttl", json!(false))
                    .thw(3, &[expiry(1)]);
            },
        ),
        case(
            "7.2",
            "ttl-after-prior-tombstone",
            "the stamp is held against the last sequence that the prior state restored",
            |store| {
                ttl_store(store);
                store
                    .thw(5, &[expiry(1), expiry(2), expiry(4)])
                    .block(2, vec![mortal(4)]);
            },
        ),
        ttl(
            "7.2",
            "ttl-deleted-message-silent",
            "a deleted message inside the scan is passed over",
            |store| {
                store
                    .block(1, vec![mortal(1), erased(2), mortal(3)])
                    .index()
                    .remove("msgs/thw.db");
            },
        ),
        case(
            "7.2",
            "ttl-entry-of-a-message-to-be-deleted",
            "timers are read before tombstones apply",
            |store| {
                store
                    .with("allow_msg_ttl", json!(true))
                    .block(1, vec![mortal(1), mortal(2), tomb(1)]);
                store.thw(3, &[expiry(1), expiry(2)]);
            },
        ),
        ttl(
            "7.2",
            "ttl-scan-meets-bad-record",
            "the scan meets a bad record under a sound index: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                let at = store.offset(1, 1) + 40;
                store.remove("msgs/thw.db").flip("msgs/1.blk", at, 1);
            },
        ),
        ttl(
            "7.2",
            "ttl-scan-meets-bad-header-length",
            "the scan meets a bad header length: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                store
                    .block(1, vec![mortal(1), mortal(2).header_length(9999), msg(3)])
                    .index()
                    .remove("msgs/thw.db");
            },
        ),
        ttl(
            "7.2",
            "ttl-scan-finds-none-left",
            "the index counts messages with a TTL that the block no longer has: once loaded, the rest is passed over, a bad header length with it",
            |store| {
                let bad = msg(3).header("A", "b").header_length(9999);
                store
                    .index()
                    .remove("msgs/thw.db")
                    .block(1, vec![msg(1), msg(2), bad]);
            },
        ),
        ttl(
            "7.2",
            "ttl-scan-from-block-start",
            "the scan begins with the first record of the block its start lies in: bad record before the stamp",
            |store| {
                let at = store.offset(2, 0) + 40;
                store
                    .thw(5, &[expiry(1), expiry(2), expiry(4)])
                    .flip("msgs/2.blk", at, 1);
            },
        ),
        sched(
            "7.2",
            "sched-missing",
            "no sched.db: scanned from the start",
            |store| {
                store.remove("msgs/sched.db");
            },
        ),
        sched("7.2", "sched-behind", "sched.db lags behind", |store| {
            store.sched(2, &[("s.plan.1", 1, IN_2090_NS)]);
        }),
        sched(
            "7.2",
            "sched-ahead",
            "a stamp above the last sequence is believed",
            |store| {
                store.sched(90, &[("s.gone", 50, IN_2090_NS)]);
            },
        ),
        sched(
            "7.2",
            "sched-later-replaces",
            "a later schedule of the same subject replaces the earlier one",
            |store| {
                let second = schedule(3, "@at 2091-01-01T00:00:00Z").on("s.plan.1");
                store
                    .block(2, vec![second, msg(4)])
                    .index()
                    .remove("msgs/sched.db");
            },
        ),
        case(
            "7.2",
            "cancelled-schedule-comes-back",
            "a plain message on the subject does not cancel during a scan",
            |store| {
                sched_store(store);
                store
                    .block(2, vec![planned(3), msg(4).on("s.plan.1")])
                    .index();
            },
        ),
        case(
            "7.2",
            "both-stale",
            "thw.db and sched.db stale at different points: one scan for both",
            |store| {
                store
                    .with("allow_msg_ttl", json!(true))
                    .with("allow_msg_schedules", json!(true));
                store
                    .block(1, vec![mortal(1), planned(2)])
                    .block(2, vec![planned(3), mortal(4)])
                    .index();
                store.thw(4, &[expiry(1)]).sched(2, &[]);
            },
        ),
        case(
            "7.2",
            "empty-stream-nothing-stale",
            "no message: nothing is stale, the files stand",
            |store| {
                store
                    .with("allow_msg_ttl", json!(true))
                    .block(1, vec![tomb(9)])
                    .thw(3, &[expiry(2)]);
            },
        ),
    ];
    cases.extend(counters());
    cases
}

/// Section 7.3.
fn counters() -> Vec<Case> {
    let counted = |slug, note, version: u8, sched_too: bool| {
        case("7.3", slug, note, move |store| {
            store
                .with("allow_msg_ttl", json!(true))
                .with("allow_msg_schedules", json!(sched_too));
            store
                .block(1, vec![mortal(1), planned(2)])
                .block(2, vec![planned(3)])
                .block(3, vec![mortal(4)]);
            store.index_with(|state| state.version = version);
        })
    };
    vec![
        counted(
            "version-1-hides-both",
            "an index of version 1 has no counters: no scan finds anything",
            1,
            true,
        ),
        counted(
            "version-2-hides-schedules",
            "an index of version 2 has no counter of schedules: found only in blocks read for a TTL",
            2,
            true,
        ),
        counted(
            "version-3-finds-both",
            "an index of version 3 has both counters",
            3,
            true,
        ),
        case(
            "7.3",
            "counter-0-hides-block",
            "thw.db is missing and the index counts no TTL in block 1: the block is not read",
            |store| {
                ttl_store(store);
                store.index_with(|state| state.blocks[0].ttl_count = 0);
            },
        ),
        case(
            "7.3",
            "counter-0-hides-damage",
            "a bad record in a block that counts no TTL is not met",
            |store| {
                store
                    .with("allow_msg_ttl", json!(true))
                    .block(1, msgs(1..=3))
                    .block(2, vec![mortal(4)])
                    .index();
                store.flip("msgs/1.blk", 40, 1);
            },
        ),
        case(
            "7.3",
            "deleted-counts",
            "a deleted message with a TTL makes its block be read",
            |store| {
                store
                    .with("allow_msg_ttl", json!(true))
                    .block(1, vec![msg(1), mortal(2), tomb(2)])
                    .block(2, vec![msg(3)]);
            },
        ),
    ]
}

/// Sections 7.4 and 7.5.
pub fn headers() -> Vec<Case> {
    vec![
        case("7.4", "ttl-values", "every form of Nats-TTL", |store| {
            const VALUES: [&str; 22] = [
                "5000000000s",
                "876000h",
                "5000000000",
                "never",
                "NEVER",
                "0",
                "-5s",
                "900ms",
                "1.5h1000000m",
                "007",
                "5000000000 ",
                " 5000000000",
                "1000000h30m10.9s",
                "abc",
                "",
                "1000000000000ns",
                "5000000000000us",
                "1d",
                "+5000000000s",
                "18446744073709551617",
                "9223372036854775807",
                "1000000h ",
            ];
            store.with("allow_msg_ttl", json!(true));
            let records = VALUES
                .iter()
                .zip(1..)
                .map(|(value, seq)| msg(seq).header("Nats-TTL", value))
                .collect();
            store.block(1, records);
        }),
        case(
            "7.4",
            "ttl-header-lookup",
            "the header is looked up by its exact name at the start of a line; the first one counts",
            |store| {
                store.with("allow_msg_ttl", json!(true)).block(
                    1,
                    vec![
                        msg(1).header("nats-ttl", "876000h"),
                        msg(2).header("X-Nats-TTL", "876000h"),
                        msg(3)
                            .header("Nats-TTL", "876000h")
                            .header("Nats-TTL", "900000h"),
                        msg(4).header("Nats-TTL ", "876000h"),
                        msg(5)
                            .header("A", "Nats-TTL: 5h")
                            .header("Nats-TTL", "900000h"),
                        msg(6)
                            .header("Nats-TTL-Other", "876000h")
                            .header("Nats-TTL", "900000h"),
                    ],
                );
            },
        ),
        case(
            "7.4",
            "ttl-wraps",
            "an expiry beyond the clock wraps",
            |store| {
                store.with("allow_msg_ttl", json!(true)).block(
                    1,
                    vec![
                        msg(1).header("Nats-TTL", "9223372036"),
                        msg(2).header("Nats-TTL", "9223372036854775807"),
                        msg(3).time(i64::MAX - 5).header("Nats-TTL", "876000h"),
                    ],
                );
            },
        ),
        case(
            "7.5",
            "schedule-forms",
            "every form of Nats-Schedule, none of it due before 2090",
            |store| {
                store.with("allow_msg_schedules", json!(true));
                let far = 3_800_000_000 * SECOND_NS;
                let patterns = [
                    "@at 2090-01-02T03:04:05Z",
                    "@at 2090-01-02T03:04:05.5+02:00",
                    "@at 2020-01-01T00:00:00Z",
                    "@at tomorrow",
                    "@every 100h",
                    "@every 1ms",
                    "@every x",
                    "@yearly",
                    "@annually",
                    "@monthly",
                    "@weekly",
                    "@daily",
                    "@midnight",
                    "@hourly",
                    "@never",
                    "0 30 12 1 1 *",
                    "0 0 0 29 2 *",
                    "0 0 0 31 2 *",
                    "*/7 1-5/2 3,9 ? JAN-mar MON",
                    "0 0 0 * * 7",
                    "60 0 0 * * *",
                    "0 0 * * *",
                    "0 0 0 * * * *",
                    "5-1 0 0 * * *",
                    "0 0 0 13 * fri",
                    "",
                ];
                let records = patterns
                    .iter()
                    .zip(1..)
                    .map(|(pattern, seq)| schedule(seq, pattern).time(far))
                    .collect();
                store.block(1, records);
            },
        ),
        case(
            "7.5",
            "schedule-time-zones",
            "time zones: only cron patterns take one",
            |store| {
                store.with("allow_msg_schedules", json!(true));
                let far = 3_800_000_000 * SECOND_NS;
                let zoned = |seq, pattern, zone| {
                    schedule(seq, pattern)
                        .time(far)
                        .header("Nats-Schedule-Time-Zone", zone)
                };
                store.block(
                    1,
                    vec![
                        zoned(1, "0 30 12 1 1 *", "America/New_York"),
                        zoned(2, "0 30 12 1 1 *", ""),
                        zoned(3, "0 30 12 1 1 *", "Nowhere/Land"),
                        zoned(4, "@at 2090-01-02T03:04:05Z", "UTC"),
                        zoned(5, "@every 5h", "UTC"),
                        zoned(6, "@daily", "Asia/Kolkata"),
                        zoned(7, "0 30 2 * 3 *", "Europe/Berlin"),
                    ],
                );
            },
        ),
    ]
}
