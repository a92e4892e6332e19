//! Compact, truncate and block rewrites.

use super::{both, bounds, cases, deleted, each, state};

#[test]
fn r106_compact_past_the_end() {
    each("R106", "six", |_, report| {
        assert_eq!(bounds(report), (5, 6, 10))
    });
    both("R106", "hundred-", (0, 100, 99), |_, _| {});
}

#[test]
fn r107_truncate_carries_markers() {
    both("R107", "", (23, 1, 25), |case, report| {
        assert_eq!(deleted(report), [10, 20]);
        assert_eq!(case.messages().len(), 23);
    });
}

#[test]
fn r109_compact_without_rewriting() {
    both("R109", "", (1, 4, 4), |case, report| {
        assert_eq!(state(report).bytes, 1024 + 33);
        if case.coat == "plain" {
            assert_eq!(case.read("msgs/1.blk").len(), 4 * (1024 + 33) + 3 * 30);
        }
    });
}

#[test]
fn r111_compact() {
    both("R111", "", (2, 3, 4), |_, _| {});
}

#[test]
fn r112_truncate() {
    both("R112", "", (2, 1, 2), |_, _| {});
}

#[test]
fn r114_deletes_survive_compaction() {
    each("R114", "twice-clean", |_, report| {
        assert_eq!(deleted(report), [3, 4, 6])
    });
    // The marker for 6 goes with the compaction; without an index the block says 2 to 5.
    each("R114", "twice-noidx", |_, report| {
        assert_eq!((bounds(report), deleted(report)), ((2, 2, 5), vec![3, 4]));
    });
    each("R114", "single-clean", |_, report| {
        assert_eq!(
            (bounds(report), deleted(report)),
            ((1, 2, 6), vec![3, 4, 5, 6])
        );
    });
    // Here a marker for 5 is left in the next block.
    each("R114", "single-noidx", |_, report| {
        assert_eq!(
            (bounds(report), deleted(report)),
            ((1, 2, 5), vec![3, 4, 5])
        );
    });
}

#[test]
fn r117_rewritten_to_one_record() {
    both("R117", "", (1, 20, 20), |case, _| {
        assert_eq!(case.read("msgs/1.blk").len() % 30, (256 + 33) % 30);
        assert!(case.list("msgs").iter().all(|name| !name.ends_with(".tmp")));
    });
}

#[test]
fn r118_compaction_lowers_the_last_sequence() {
    each("R118", "", |case, report| {
        assert_eq!(bounds(report), (2, 2, 3));
        assert!(deleted(report).is_empty());
        let state = state(report);
        assert!(state.first_time_ns < state.last_time_ns);
        assert_eq!(case.messages().len(), 2);
    });
}

#[test]
fn r119_block_compacted_to_nothing() {
    each("R119", "", |_, report| {
        assert_eq!(bounds(report), (0, 0, 0))
    });
}

#[test]
fn r121_last_checksum_after_truncate() {
    let before = &cases("R121", "before")[0];
    let third = before.read("msgs/1.blk")[2 * 33..3 * 33].to_vec();
    both("R121", "", (3, 1, 3), |case, _| {
        if case.coat == "plain" {
            let block = case.read("msgs/1.blk");
            assert_eq!(block.len(), 3 * 33);
            assert_eq!(block[block.len() - 8..], third[third.len() - 8..]);
        }
    });
}

#[test]
fn r122_holes_after_compaction() {
    both("R122", "", (6, 1, 10), |case, report| {
        assert_eq!(deleted(report), [2, 3, 4, 5]);
        assert!(state(report).lost.is_none());
        let first: Vec<u64> = case.messages().iter().map(|message| message.0).collect();
        assert_eq!(first[..2], [1, 6]);
    });
}

#[test]
fn r123_empty_store_compacted_far_ahead() {
    // Only the last time differs: the marker has one from before the epoch, the index has none.
    for label in ["clean", "noidx"] {
        each("R123", label, |_, report| {
            assert_eq!(bounds(report), (0, 1_000_000, 999_999));
        });
    }
}

#[test]
fn r279_truncate_to_a_deleted_sequence() {
    both("R279", "", (3, 1, 5), |case, report| {
        assert_eq!(deleted(report), [4, 5]);
        let seqs: Vec<u64> = case.messages().iter().map(|message| message.0).collect();
        assert_eq!(seqs, [1, 2, 3]);
    });
    assert_eq!(cases("R279", "clean").len(), 4);
}
