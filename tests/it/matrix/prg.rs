//! Purges: whole, by subject, interrupted.

use super::{KEEP_NOTHING, acted, both, bounds, cases, deleted, each, lost, saw, state};
use crate::recover::mend;
use crate::support::look;

#[test]
fn r093_purged() {
    each("R093", "", |case, report| {
        assert_eq!((bounds(report), state(report).bytes), ((0, 33, 32), 0));
        assert_eq!(
            case.list("msgs")
                .iter()
                .filter(|name| name.ends_with(".blk"))
                .count(),
            1
        );
    });
}

#[test]
fn r094_old_messages_not_yet_deleted() {
    each("R094", "", |case, report| {
        assert!(!case.list("__msgs__").is_empty());
        assert_eq!(bounds(report), (0, 33, 32));
        assert_eq!(case.server_blocks(), 1);
        assert_eq!(acted(report, "remove-purged"), ["__msgs__"]);
    });
    assert_eq!(cases("R094", "").len(), 4);
}

#[test]
fn r095_key_moved_but_not_its_block() {
    each("R095", "", |case, report| {
        let staged = case.list("__new_msgs__");
        assert_eq!(staged.len(), 1);
        let marker = staged[0].replace(".key", ".blk");
        assert_eq!(bounds(report), (32, 1, 32));
        assert_eq!(state(report).bytes, 32 * 113);
        assert!(saw(report, "purge-rolled-back"));
        assert!(
            acted(report, "roll-back-purge")
                .iter()
                .any(|file| file.contains("__new_msgs__"))
        );
        let (_temp, stream) = case.scratch();
        assert!(stream.dir.join("msgs").join(&marker).exists());
        mend(&stream, &case.options(), &KEEP_NOTHING);
        assert!(!stream.dir.join("msgs").join(&marker).exists());
        assert!(!stream.dir.join("__new_msgs__").exists());
        assert_eq!(bounds(&look(&stream, &case.options())), (32, 1, 32));
    });
    assert_eq!(cases("R095", "").len(), 4);
}

#[test]
fn r097_index_from_before_a_purge_by_subject() {
    both("R097", "", (2, 1, 202), |_, report| {
        assert_eq!(deleted(report), (2..=201).collect::<Vec<u64>>());
    });
    for (truth, stale) in cases("R097", "clean").iter().zip(cases("R097", "stale")) {
        let stale = stale.look();
        assert!(lost(&stale).is_empty());
        assert_eq!(state(&stale), state(&truth.look()));
    }
    assert_eq!(cases("R097", "stale").len(), 4);
}

#[test]
fn r099_purge_of_everything() {
    both("R099", "", (0, 11, 10), |_, _| {});
}

#[test]
fn r100_purge_of_one_of_two_subjects() {
    both("R100", "", (5, 12, 20), |_, report| {
        assert_eq!(deleted(report), [13, 15, 17, 19]);
    });
}

#[test]
fn r102_purge_of_the_rest() {
    both("R102", "", (0, 21, 20), |_, _| {});
}

#[test]
fn r103_four_purged() {
    both("R103", "", (0, 5, 4), |_, _| {});
}

#[test]
fn r105_subject_at_the_tail_purged() {
    both("R105", "", (2, 1, 4), |_, report| {
        assert_eq!(deleted(report), [2, 4])
    });
}
