//! `index.db`: outdated, missing, corrupt, inconsistent.

use super::{acted, bounds, cases, deleted, each, from_index, lost, saw, state};

#[test]
fn r018_index_one_record_behind() {
    each("R018", "two", |case, report| {
        assert!(from_index(report));
        assert!(!case.read("msgs/index.db").is_empty());
        assert!(
            case.list("msgs")
                .iter()
                .all(|name| !name.ends_with(".idx") && !name.ends_with(".fss"))
        );
        assert!(
            case.messages()
                .iter()
                .all(|message| message.3 == [b'A'; 19])
        );
    });
    each("R018", "stale", |case, report| {
        assert_eq!((bounds(report), state(report).bytes), ((4, 1, 4), 200));
        assert_eq!(case.server_blocks(), 2);
        let subjects = report.subjects.as_ref().expect("collected");
        assert_eq!(subjects[b"A".as_slice()], 4);
    });
}

#[test]
fn r020_removals_next_to_live_data() {
    each("R020", "one", |case, report| {
        assert_eq!(bounds(report), (1, 2, 2));
        assert!(state(report).first_time_ns.is_some());
        assert_eq!(case.messages()[0].3, [b'Z'; 19]);
    });
    each("R020", "two", |_, report| {
        assert_eq!(bounds(report), (1, 3, 4));
        assert_eq!(state(report).deleted_count, 1);
        assert_eq!(deleted(report), [4]);
    });
}

#[test]
fn r021_old_index_over_newer_removals() {
    let stale = cases("R021", "stale");
    for (truth, stale) in cases("R021", "true").iter().zip(&stale) {
        let (truth, stale) = (truth.look(), stale.look());
        assert_eq!(lost(&stale), [2]);
        assert!(!from_index(&stale));
        let mut forgiven = state(&stale).clone();
        forgiven.lost = None;
        assert_eq!(&forgiven, state(&truth));
        assert_eq!((bounds(&truth), deleted(&truth)), ((1, 3, 4), vec![4]));
    }
    assert_eq!(stale.len(), 4);
}

#[test]
fn r022_index_three_blocks_behind() {
    for (truth, stale) in cases("R022", "true").iter().zip(cases("R022", "stale")) {
        let (truth, stale) = (truth.look(), stale.look());
        assert_eq!(bounds(&truth), (8, 1, 8));
        assert!(state(&truth).first_time_ns.is_some());
        assert_eq!(state(&stale), state(&truth));
    }
}

#[test]
fn r024_matching_index_with_left_over_blocks() {
    each("R024", "true", |case, _| {
        assert_eq!(case.list("msgs"), ["2.blk", "3.blk", "index.db"]);
    });
    each("R024", "stale", |_, report| {
        assert!(saw(report, "index-stale-extra-blocks"));
        assert_eq!(bounds(report), (12, 7, 18));
    });
}

#[test]
fn r027_index_after_purge_does_not_roll_back() {
    for label in ["forced", "clean"] {
        each("R027", label, |_, report| {
            assert!(from_index(report));
            assert_eq!(bounds(report), (0, 11, 10));
        });
    }
}

#[test]
fn r028_index_that_contradicts_its_blocks() {
    each("R028", "nine", |_, report| {
        assert!(saw(report, "index-totals-mismatch"));
        assert_eq!(bounds(report), (10, 1, 10));
    });
}

#[test]
#[allow(non_snake_case, reason = "the name of the server's test")]
fn test_519_TestFileStoreRecoverFullStateDetectCorruptState() {
    each("R028", "none", |_, report| {
        assert!(saw(report, "index-totals-mismatch") || saw(report, "index-rejected"));
        assert!(!from_index(report));
        assert_eq!(bounds(report), (10, 1, 10));
        assert!(acted(report, "write-index").len() == 1);
    });
}

#[test]
fn r030_garbage_of_old_servers_goes() {
    each("R030", "", |_, report| {
        assert!(from_index(report));
        let mut gone = acted(report, "remove-legacy-file");
        gone.sort();
        assert_eq!(gone, ["msgs/1.fss", "msgs/1.idx"]);
    });
}

#[test]
fn r031_erased_without_index() {
    for label in ["clean", "noidx"] {
        each("R031", label, |case, report| {
            assert_eq!(bounds(report), (50, 1, 100));
            assert_eq!(deleted(report), (2..=100).step_by(2).collect::<Vec<u64>>());
            assert!(case.messages().iter().all(|message| message.0 % 2 == 1));
        });
    }
}

#[test]
fn r032_many_subjects() {
    each("R032", "", |_, report| {
        assert!(from_index(report));
        assert_eq!(
            state(report).subject_count,
            report.subjects.as_ref().map_or(0, |all| all.len() as u64)
        );
        assert!(state(report).subject_count > 300);
    });
}

#[test]
fn r034_old_index_under_a_limit_per_subject() {
    // A thousandth of the original.
    each("R034", "", |_, report| {
        assert_eq!(bounds(report), (1001, 11, 1011))
    });
}

#[test]
fn r035_old_index_under_a_message_limit() {
    each("R035", "", |_, report| {
        assert_eq!(bounds(report), (1001, 11, 1011))
    });
}

#[test]
fn r039_empty_index() {
    each("R039", "", |_, report| {
        assert!(saw(report, "index-too-short"));
        assert_eq!(
            (bounds(report), state(report).subject_count),
            ((100, 1, 100), 10)
        );
    });
}

#[test]
fn r273_index_with_a_boundless_subject_count() {
    each("R273", "", |_, report| {
        assert!(saw(report, "index-subject-count"));
        assert_eq!(bounds(report), (10, 1, 10));
    });
}

#[test]
fn r275_index_with_a_boundless_block_count() {
    each("R275", "", |_, report| {
        assert!(saw(report, "index-block-count"));
        assert_eq!(bounds(report), (10, 1, 10));
    });
}
