//! Section 7.6: how far each source was read.

use serde_json::json;

use super::{Case, case};
use crate::record::{Rec, msg, msgs, tomb};
use crate::store::Store;

const ONE: &str = "ONE > >";
const TWO: &str = "TWO t.> >";
const FILE: &str = "sources.db";

/// A message sourced from another stream.
fn sourced(seq: u64, value: &str) -> Rec {
    msg(seq)
        .on(&format!("t.{seq}"))
        .header("Nats-Stream-Source", value)
}

/// A stream that sources ONE whole and TWO with a filter.
fn sourcing(store: &mut Store) {
    store.config.remove("subjects");
    store.with(
        "sources",
        json!([{ "name": "ONE" }, { "name": "TWO", "filter_subject": "t.>" }]),
    );
    store
        .block(
            1,
            vec![
                sourced(1, "ONE 11 > > t.1 ident001"),
                sourced(2, "TWO 21 t.> > t.2 ident002"),
            ],
        )
        .block(
            2,
            vec![
                sourced(3, "ONE 12 > > t.3 ident001"),
                sourced(4, "TWO 22 t.> > t.4 ident002"),
            ],
        )
        .index();
}

fn with(slug: &'static str, note: &'static str, build: impl FnOnce(&mut Store)) -> Case {
    case("7.6", slug, note, |store| {
        sourcing(store);
        store.sources(5, &[(ONE, 12, "ident001"), (TWO, 22, "ident002")]);
        build(store);
    })
}

/// One block of sourced messages and no file.
fn scanned(slug: &'static str, note: &'static str, build: impl FnOnce(&mut Store)) -> Case {
    case("7.6", slug, note, |store| {
        sourcing(store);
        store.blocks.clear();
        store.files.clear();
        build(store);
    })
}

/// Also TTLs, so that the scan goes forward.
fn forward(store: &mut Store) {
    store.with("allow_msg_ttl", json!(true));
}

pub fn all() -> Vec<Case> {
    [files(), scans(), forms()].into_iter().flatten().collect()
}

fn files() -> Vec<Case> {
    vec![
        with("sound", "a sound sources.db is believed", |_| {}),
        with("missing", "no sources.db: searched from the end", |store| {
            store.remove(FILE);
        }),
        with(
            "short",
            "sources.db below 17 bytes: removed, searched",
            |store| store.file(FILE).truncate(10),
        ),
        with("version", "sources.db of version 9", |store| {
            store.file(FILE)[0] = 9
        }),
        with(
            "cut-in-identity",
            "sources.db cut inside an identity",
            |store| {
                store.cut(FILE, 3);
            },
        ),
        with("key-overrun", "a key longer than the file", |store| {
            store.file(FILE)[17] = 200
        }),
        with(
            "trailing-bytes",
            "bytes behind the entries are ignored",
            |store| {
                store.append(FILE, b"more");
            },
        ),
        with(
            "unreadable",
            "sources.db is a directory: counts as missing",
            |store| {
                store.remove(FILE).write("sources.db/kept", "");
            },
        ),
        with(
            "unknown-key-dropped",
            "an entry of a source that is not configured is dropped",
            |store| {
                store.sources(
                    5,
                    &[
                        (ONE, 12, "ident001"),
                        (TWO, 22, "ident002"),
                        ("THREE > >", 7, "x"),
                    ],
                );
            },
        ),
        with(
            "missing-entry-searched",
            "a configured source without an entry is searched for in the whole stream",
            |store| {
                store.sources(5, &[(TWO, 500, "ident002")]);
            },
        ),
        with(
            "behind",
            "a stamp behind: every source is searched from there",
            |store| {
                store.sources(4, &[(ONE, 11, "ident001"), (TWO, 21, "ident002")]);
            },
        ),
        with(
            "behind-nothing-found",
            "a stamp behind and nothing to be found: the values stay",
            |store| {
                store
                    .block(2, vec![msg(3), msg(4)])
                    .index()
                    .sources(3, &[(ONE, 11, "ident001"), (TWO, 21, "")]);
            },
        ),
        with(
            "ahead",
            "a stamp above the last sequence is believed: sourced messages are lost with a tail (H34)",
            |store| {
                store.sources(90, &[(ONE, 400, "ident001"), (TWO, 500, "ident002")]);
            },
        ),
        case(
            "7.6",
            "unconfigured",
            "sources.db in a stream without sources is left alone",
            |store| {
                store
                    .block(1, msgs(1..=3))
                    .index()
                    .sources(2, &[(ONE, 4, "x")]);
            },
        ),
        case(
            "7.6",
            "mirror-has-none",
            "a mirror does not count as a source",
            |store| {
                store.config.remove("subjects");
                store
                    .with("mirror", json!({ "name": "ONE" }))
                    .block(1, msgs(1..=3))
                    .index()
                    .sources(2, &[(ONE, 4, "x")]);
            },
        ),
        case(
            "7.6",
            "no-message",
            "no message: the values stand whatever the stamp",
            |store| {
                sourcing(store);
                store.blocks.clear();
                store.files.clear();
                store.block(1, vec![tomb(9)]).sources(3, &[(ONE, 12, "i")]);
            },
        ),
    ]
}

fn scans() -> Vec<Case> {
    vec![
        scanned(
            "highest-stream-sequence",
            "the record with the highest stream sequence counts, not the highest source sequence",
            |store| {
                store.block(
                    1,
                    vec![
                        sourced(1, "ONE 99 > > t.1 a"),
                        sourced(2, "ONE 5 > > t.2 b"),
                        msg(3).on("t.x"),
                    ],
                );
            },
        ),
        scanned(
            "backward-misses-other-subjects",
            "searching from the end looks only at subjects a filter matches",
            |store| {
                store.with(
                    "sources",
                    json!([{ "name": "TWO", "filter_subject": "t.>" }]),
                );
                store.block(
                    1,
                    vec![
                        sourced(1, "TWO 5 t.> > t.1 a"),
                        sourced(2, "TWO 6 t.> > t.2 a").on("elsewhere"),
                    ],
                );
            },
        ),
        scanned(
            "forward-finds-other-subjects",
            "with TTLs the scan goes forward and finds them",
            |store| {
                store.with(
                    "sources",
                    json!([{ "name": "TWO", "filter_subject": "t.>" }]),
                );
                forward(store);
                store.block(
                    1,
                    vec![
                        sourced(1, "TWO 5 t.> > t.1 a"),
                        sourced(2, "TWO 6 t.> > t.2 a").on("elsewhere"),
                    ],
                );
            },
        ),
        scanned(
            "backward-steps-over-bad-record",
            "under a sound index a bad record is stepped over when searching from the end",
            |store| {
                store
                    .block(
                        1,
                        vec![
                            sourced(1, "ONE 5 > > t.1 a"),
                            sourced(2, "ONE 6 > > t.2 a"),
                            msg(3).on("t.3"),
                        ],
                    )
                    .index();
                let at = store.offset(1, 1) + 50;
                store.flip("msgs/1.blk", at, 1);
            },
        ),
        scanned(
            "forward-meets-bad-record",
            "the same going forward: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                forward(store);
                store
                    .block(
                        1,
                        vec![
                            sourced(1, "ONE 5 > > t.1 a"),
                            sourced(2, "ONE 6 > > t.2 a"),
                            msg(3).on("t.3"),
                        ],
                    )
                    .index();
                let at = store.offset(1, 1) + 50;
                store.flip("msgs/1.blk", at, 1);
            },
        ),
        scanned(
            "backward-meets-s2",
            "searching from the end meets a block that does not decompress: the open fails (up to 2.15.2 the server crashes)",
            |store| {
                store.compress();
                store
                    .block(
                        1,
                        vec![sourced(1, "ONE 5 > > t.1 a"), sourced(2, "ONE 6 > > t.2 a")],
                    )
                    .block(2, vec![msg(3).on("t.3")])
                    .index();
                store.flip("msgs/1.blk", 60, 1);
            },
        ),
        scanned(
            "deleted-record",
            "a removed record is found, because timers are read before tombstones apply",
            |store| {
                store.block(
                    1,
                    vec![
                        sourced(1, "ONE 5 > > t.1 a"),
                        sourced(2, "ONE 6 > > t.2 a"),
                        msg(3).on("t.3"),
                        tomb(2),
                    ],
                );
            },
        ),
        scanned(
            "not-found",
            "nothing names TWO: 0 and no identity",
            |store| {
                store.block(1, vec![sourced(1, "ONE 5 > > t.1 a"), msg(2).on("t.2")]);
            },
        ),
    ]
}

/// Each way of writing the header, each in a stream of its own: the last one stored would hide the others.
fn forms() -> Vec<Case> {
    let form = |slug, note, value: &'static str| {
        scanned(slug, note, move |store| {
            store.block(
                1,
                vec![sourced(1, "ONE 1 > >"), sourced(2, value), msg(3).on("t.3")],
            );
        })
    };
    vec![
        form(
            "header-six-fields",
            "ORIGIN SEQ FILTER DESTINATION SUBJECT IDENTITY",
            "TWO 77 t.> > t.2 identity",
        ),
        form(
            "header-seven-fields",
            "more fields than six are ignored",
            "TWO 77 t.> > t.2 identity more",
        ),
        form(
            "header-five-fields",
            "ORIGIN SEQ FILTER DESTINATION SUBJECT",
            "TWO 77 t.> > t.2",
        ),
        form(
            "header-four-fields",
            "ORIGIN SEQ FILTER DESTINATION",
            "TWO 77 t.> >",
        ),
        form(
            "header-three-fields",
            "three fields are ignored",
            "TWO 77 t.>",
        ),
        form(
            "header-two-fields",
            "ORIGIN SEQ settles every source of that stream",
            "TWO 77",
        ),
        form("header-one-field", "one field is ignored", "TWO"),
        form(
            "header-reply-9-tokens",
            "an acknowledgement subject of nine tokens",
            "$JS.ACK.TWO.cons.1.77.5.1000.0",
        ),
        form(
            "header-reply-11-tokens",
            "an acknowledgement subject of eleven tokens",
            "$JS.ACK.dom.hash.TWO.cons.1.77.5.1000.0",
        ),
        form(
            "header-reply-12-tokens",
            "an acknowledgement subject of twelve tokens",
            "$JS.ACK.dom.hash.TWO.cons.1.77.5.1000.0.rand",
        ),
        form(
            "header-reply-10-tokens",
            "an acknowledgement subject of ten tokens is ignored",
            "$JS.ACK.x.TWO.cons.1.77.5.1000.0",
        ),
        form(
            "header-sequence-no-number",
            "a sequence that is no number reads as 2^64-1",
            "TWO x t.> >",
        ),
        form(
            "header-sequence-empty",
            "an empty sequence reads as 2^64-1",
            "TWO  t.> >",
        ),
        form(
            "header-sequence-wraps",
            "a sequence of too many digits wraps",
            "TWO 18446744073709551620 t.> >",
        ),
        form(
            "header-unknown-key",
            "a key that is not configured is ignored",
            "THREE 77 > >",
        ),
        form(
            "header-wrong-filter",
            "the key must match as a whole",
            "TWO 77 > >",
        ),
        scanned(
            "header-external",
            "a source of another domain has a hash in its key",
            |store| {
                store.with(
                    "sources",
                    json!([{ "name": "FAR", "external": { "api": "$JS.far.API", "deliver": "" } }]),
                );
                let hash = jetsam::format::names::hash8(b"$JS.far.API");
                store.block(
                    1,
                    vec![sourced(1, &format!("FAR:{hash} 7 > >")), msg(2).on("t.2")],
                );
            },
        ),
        scanned(
            "header-external-old",
            "the old two-field form with the hash",
            |store| {
                store.with(
                    "sources",
                    json!([{ "name": "FAR", "external": { "api": "$JS.far.API", "deliver": "" } }]),
                );
                let hash = jetsam::format::names::hash8(b"$JS.far.API");
                store.block(
                    1,
                    vec![sourced(1, &format!("FAR:{hash} 7")), msg(2).on("t.2")],
                );
            },
        ),
        scanned(
            "header-transforms",
            "a source with subject transforms has them in its key",
            |store| {
                store.with(
                    "sources",
                    json!([{ "name": "TWO", "subject_transforms": [
                { "src": "a.>", "dest": "t.a.>" }, { "src": "b.>", "dest": "t.b.>" },
            ] }]),
                );
                store.block(
                    1,
                    vec![
                        sourced(1, "TWO 7 a.>\x0cb.> t.a.>\x0ct.b.>").on("t.a.1"),
                        msg(2).on("t.2"),
                    ],
                );
            },
        ),
    ]
}
