//! Removals, erases, skips, delete gaps and their markers.

use jetsam::format::record::{RecordKind, parse_at};

use super::{Case, acted, both, bounds, cases, deleted, each, state};

/// A stored block, where it is in the clear: sequence, kind and time of every record.
fn records(case: &Case, block: &str) -> Vec<(u64, RecordKind, i64)> {
    let bytes = case.read(&format!("msgs/{block}"));
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let record = parse_at(&bytes, offset).expect("a record");
        found.push((record.sequence(), record.kind(), record.timestamp_ns()));
        offset = record.end_offset();
    }
    found
}

#[test]
fn r063_skips_between_messages() {
    each("R063", "first", |case, report| {
        assert_eq!(
            (bounds(report), deleted(report)),
            ((2, 11, 15), vec![12, 13, 15])
        );
        assert_eq!(case.messages()[0].0, 11);
    });
    each("R063", "second", |case, report| {
        assert_eq!(
            (bounds(report), deleted(report)),
            ((3, 11, 17), vec![12, 13, 15, 16])
        );
        let last = case.messages().pop().expect("a message");
        assert_eq!(
            (last.0, last.1.as_str(), last.3.as_slice()),
            (17, "foo", b"Hello World!".as_slice())
        );
    });
}

#[test]
fn r064_removed_in_order() {
    both("R064", "", (50, 51, 100), |_, report| {
        assert!(deleted(report).is_empty())
    });
}

#[test]
fn r065_removed_out_of_order() {
    both("R065", "", (50, 1, 100), |case, report| {
        assert_eq!(deleted(report).len(), 50);
        assert!(case.messages().iter().all(|message| message.0 % 2 == 1));
    });
}

#[test]
fn r066_erased_on_disk() {
    each("R066", "", |case, report| {
        assert_eq!(bounds(report), (1, 2, 2));
        let block = case.read("msgs/1.blk");
        let first = parse_at(&block, 0).expect("a record");
        assert_eq!(
            (first.kind(), first.timestamp_ns()),
            (RecordKind::Erased, 0)
        );
        assert_ne!(first.subject(&block), b"foo");
        let (_, body) = first.headers_and_body(&block).expect("a body");
        assert_ne!(body, b"Hello World");
        assert_eq!(first.length(), 44);
    });
}

#[test]
fn r067_identity_after_compaction() {
    both("R067", "", (60, 41, 100), |_, report| {
        let state = state(report);
        assert_eq!(
            state.messages,
            state.last_seq - state.first_seq + 1 - state.deleted_count
        );
    });
}

#[test]
fn r069_skips_only() {
    each("R069", "", |_, report| {
        assert_eq!(bounds(report), (0, 23, 22))
    });
}

#[test]
fn r071_markers_over_several_blocks() {
    // A fiftieth of the original.
    const FIRST: u64 = 1_000_000_000;
    both("R071", "", (160, FIRST, FIRST + 199), |case, report| {
        assert_eq!(
            deleted(report),
            (FIRST + 1..=FIRST + 40).collect::<Vec<u64>>()
        );
        let blocks: Vec<String> = case
            .list("msgs")
            .into_iter()
            .filter(|name| name.ends_with(".blk"))
            .collect();
        assert!(
            blocks
                .iter()
                .all(|block| case.read(&format!("msgs/{block}")).len() <= 256)
        );
        assert!(acted(report, "remove-block").is_empty());
        if case.coat == "plain" {
            let markers = blocks
                .iter()
                .filter(|block| {
                    records(case, block)
                        .iter()
                        .all(|record| record.1 == RecordKind::Tombstone)
                })
                .count();
            assert!(markers >= 4, "{markers} blocks of markers");
        }
    });
}

#[test]
fn r072_single_skip_leaves_no_delete() {
    each("R072", "", |_, report| {
        assert_eq!(bounds(report), (0, 2, 1));
        assert!(deleted(report).is_empty());
    });
}

#[test]
fn r073_first_removed() {
    both("R073", "", (3, 2, 4), |_, report| {
        assert!(deleted(report).is_empty())
    });
}

#[test]
fn r075_block_of_two_markers() {
    both("R075", "", (2, 3, 4), |case, _| {
        assert_eq!(case.server_blocks(), 2);
        if case.coat == "plain" {
            let kinds: Vec<(u64, RecordKind)> =
                records(case, "2.blk").iter().map(|r| (r.0, r.1)).collect();
            assert_eq!(
                kinds,
                [(1, RecordKind::Tombstone), (2, RecordKind::Tombstone)]
            );
        }
    });
}

#[test]
fn r076_erased_in_the_last_block() {
    both("R076", "", (3, 1, 4), |case, report| {
        assert_eq!(deleted(report), [2]);
        if case.coat == "s2" {
            // The last block stays as it is written.
            assert_ne!(&case.read("msgs/1.blk")[..3], b"cmp");
        }
    });
}

#[test]
fn r078_erase_keeps_markers_behind_it() {
    both("R078", "", (2, 1, 4), |case, report| {
        assert_eq!(deleted(report), [2, 3]);
        if case.coat == "plain" {
            assert!(
                records(case, "1.blk")
                    .iter()
                    .any(|r| r.0 == 2 && r.1 == RecordKind::Tombstone)
            );
        }
    });
}

#[test]
fn r080_markers_hold_the_first_sequence() {
    both("R080", "", (0, 21, 20), |case, _| {
        assert_eq!(case.server_blocks(), 1)
    });
}

#[test]
fn r082_marker_written_as_the_last_thing() {
    each("R082", "", |_, report| {
        assert_eq!(bounds(report), (0, 101, 100));
        let state = state(report);
        assert_eq!(state.first_time_ns, None);
        assert!(state.last_time_ns.is_some());
        assert!(deleted(report).is_empty());
    });
    // The last time is that of sequence 100, which the last markers but one carry.
    let plain = &cases("R082", "")[0];
    let blocks = plain.list("msgs");
    let newest = blocks
        .iter()
        .filter(|name| name.ends_with(".blk"))
        .flat_map(|name| records(plain, name))
        .filter(|record| record.0 == 100)
        .map(|record| record.2)
        .next();
    assert_eq!(state(&plain.look()).last_time_ns, newest);
    assert_eq!(cases("R082", "").len(), 4);
}

#[test]
fn r083_gap_before_the_last_skip() {
    both("R083", "", (1, 1, 4), |_, report| {
        assert_eq!(deleted(report), [2, 3, 4])
    });
}

#[test]
fn r085_empty_block_with_markers_that_matter() {
    both("R085", "three-", (1, 1, 3), |_, report| {
        assert_eq!(deleted(report), [2, 3]);
        assert!(acted(report, "remove-block").is_empty());
    });
    for case in cases("R085", "three-noidx") {
        assert_eq!(case.server_blocks(), 3, "{}", case.name);
    }
    each("R085", "one", |case, report| {
        assert_eq!(bounds(report), (1, 4, 4));
        assert_eq!(case.server_blocks(), 1);
    });
    assert_eq!(cases("R085", "one").len(), 4);
}

/// On an empty store and on one with a message, plain and to be sealed with either cipher.
fn interior(id: &str) {
    for cipher in ["", "aes-", "chacha-"] {
        both(id, &format!("empty-{cipher}"), (0, 2, 1), |_, report| {
            assert!(deleted(report).is_empty());
        });
        both(id, &format!("one-{cipher}"), (1, 1, 2), |_, report| {
            assert_eq!(deleted(report), [2]);
        });
    }
    // Sealed without an index, the stream forgets the time of its last sequence: the block is walked twice.
    for cipher in ["aes", "chacha"] {
        for (label, want) in [("empty", (0, 2, 1)), ("one", (1, 1, 2))] {
            each(id, &format!("{label}-{cipher}-bare"), |_, report| {
                assert_eq!(bounds(report), want);
                assert!(!acted(report, "encrypt-block").is_empty());
            });
        }
    }
}

#[test]
fn r087_removed_then_truncated_to() {
    interior("R087");
}

#[test]
fn r088_erased_then_truncated_to() {
    interior("R088");
}

#[test]
fn r090_skipped() {
    interior("R090");
}

#[test]
fn r092_delivery_order_after_deletes() {
    both("R092", "", (6, 12, 20), |case, report| {
        assert_eq!(
            (state(report).bytes, state(report).subject_count),
            (6 * 44, 1)
        );
        let seqs: Vec<u64> = case.messages().iter().map(|message| message.0).collect();
        assert_eq!(seqs, [12, 13, 14, 17, 18, 19]);
    });
}
