use super::*;
use crate::format::sets::ranges;
use crate::format::state::SubjectTable;

fn set(seqs: impl IntoIterator<Item = u64>) -> SeqSet {
    seqs.into_iter().collect()
}

/// An index that lists blocks as (number, first, last).
fn state(blocks: &[(u32, u64, u64)]) -> StateFile {
    let entry = |(number, first, last): &(u32, u64, u64)| BlockEntry {
        number: *number,
        first_sequence: *first,
        last_sequence: *last,
        ..BlockEntry::default()
    };
    let last = blocks.last().copied().unwrap_or_default();
    StateFile {
        version: 4,
        messages: 0,
        bytes: 0,
        first_sequence: blocks.first().map_or(1, |block| block.1),
        first_time_ns: 0,
        last_sequence: last.2,
        last_time_ns: 0,
        subjects: SubjectTable::new(),
        last_block: last.0,
        blocks: blocks.iter().map(entry).collect(),
        last_record_hash: [0; 8],
    }
}

/// The account where block 1 with 1 to 10, which an older index counts, is gone, and block 2 has `records`.
fn without_the_first(records: &SeqSet, tombstones: &SeqSet, purged: Option<u64>) -> Ledger {
    under(records, tombstones, purged, None, true)
}

fn under(
    records: &SeqSet,
    tombstones: &SeqSet,
    purged: Option<u64>,
    age: Option<Age>,
    rules_known: bool,
) -> Ledger {
    let replayed = Replayed::default();
    under_played(records, tombstones, purged, (age, rules_known), &replayed)
}

fn under_played(
    records: &SeqSet,
    tombstones: &SeqSet,
    purged: Option<u64>,
    (age, rules_known): (Option<Age>, bool),
    replayed: &Replayed,
) -> Ledger {
    let state = state(&[(1, 1, 10), (2, 11, 12)]);
    let none = SeqSet::new();
    settle(&Witnesses {
        found: records,
        deleted: &none,
        tombstones,
        erased: &none,
        index: Some(Indexed {
            state: &state,
            counted: &set(1..=12),
            standing: Standing::Stale,
        }),
        files: &[FileSaid {
            number: 2,
            records,
            gaps: &[],
        }],
        holes: &Holes::default(),
        replayed,
        acked: &none,
        acked_found: &none,
        purged,
        aged: &none,
        timed_out: &none,
        age,
        per_subject: 0,
        acks_remove: false,
        rules_known,
    })
}

/// The account where block 1 with 1 to 10 is gone, whose subjects `a` and `b` have these fences.
fn of_values(fences: &[(&[u8], u64)]) -> Ledger {
    let mut state = state(&[(1, 1, 10), (2, 11, 12)]);
    for subject in [b"a", b"b"] {
        let entry = SubjectEntry {
            subject,
            total: 6,
            first_block: 1,
            last_block: 2,
        };
        state.subjects.push(entry);
    }
    let fences = fences
        .iter()
        .map(|(subject, seq)| (subject_id(subject), *seq));
    let replayed = Replayed {
        fences: fences.collect(),
        later: [(subject_id(b"a"), 8)].into_iter().collect(),
        ..Replayed::default()
    };
    let none = SeqSet::new();
    let records = set(11..=20);
    settle(&Witnesses {
        found: &records,
        deleted: &none,
        tombstones: &none,
        erased: &none,
        index: Some(Indexed {
            state: &state,
            counted: &set(1..=12),
            standing: Standing::Stale,
        }),
        files: &[FileSaid {
            number: 2,
            records: &records,
            gaps: &[],
        }],
        holes: &Holes::default(),
        replayed: &replayed,
        acked: &none,
        acked_found: &none,
        purged: None,
        aged: &none,
        timed_out: &none,
        age: None,
        per_subject: 5,
        acks_remove: false,
        rules_known: true,
    })
}

#[test]
fn a_block_all_of_whose_subjects_have_newer_values_enough_was_removed() {
    let told = of_values(&[(b"a", 11), (b"b", 12)]);
    assert_eq!(ranges(&told.removed[&Removal::SubjectLimit]), [(1, 10)]);
    assert!(told.unknown.is_empty() && told.lost.is_empty());
    // Of one of them messages up to 10 may have been left.
    let open = of_values(&[(b"a", 11), (b"b", 10)]);
    assert_eq!(ranges(&open.unknown), [(1, 10)]);
    assert!(open.removed.is_empty());
    assert_eq!(ranges(&of_values(&[(b"a", 11)]).unknown), [(1, 10)]);
}

#[test]
fn that_nothing_tells_of_the_past_is_passed_on() {
    let holes = Holes {
        untold_below: Some(500),
        ..Holes::default()
    };
    let none = SeqSet::new();
    let replayed = Replayed::default();
    let ledger = settle(&Witnesses {
        found: &none,
        deleted: &none,
        tombstones: &none,
        erased: &none,
        index: None,
        files: &[],
        holes: &holes,
        replayed: &replayed,
        acked: &none,
        acked_found: &none,
        purged: None,
        aged: &none,
        timed_out: &none,
        age: None,
        per_subject: 0,
        acks_remove: false,
        rules_known: true,
    });
    assert_eq!(ledger.untold_below, Some(500));
    assert!(ledger.unknown.is_empty() && ledger.lost.is_empty());
}

#[test]
fn a_block_that_is_gone_behind_a_stale_index_is_lost() {
    let ledger = without_the_first(&set(11..=20), &SeqSet::new(), None);
    assert_eq!(ranges(&ledger.lost), [(1, 10)]);
    assert!(ledger.unknown.is_empty());
}

#[test]
fn the_last_of_a_block_that_is_gone_went_with_the_others_unless_a_limit_took_those() {
    let records = set(11..=20);
    let deleted = without_the_first(&records, &set(1..=9), None);
    assert_eq!(ranges(&deleted.removed[&Removal::Tombstone]), [(1, 10)]);
    let replayed = Replayed {
        removed: [(Removal::Limit, set(1..=9))].into_iter().collect(),
        ..Replayed::default()
    };
    let trimmed = under_played(&records, &SeqSet::new(), None, (None, true), &replayed);
    assert_eq!(ranges(&trimmed.removed[&Removal::Limit]), [(1, 9)]);
    assert_eq!(ranges(&trimmed.unknown), [(10, 10)]);
}

#[test]
fn where_a_later_block_was_rewritten_the_tombstones_may_have_gone_with_it() {
    // 15 was left out of block 2 since the index was written; the tombstone that tells of it is gone as well.
    let records = set((11..=14).chain(16..=20));
    let ledger = without_the_first(&records, &SeqSet::new(), None);
    assert!(ledger.lost.is_empty());
    assert_eq!(ranges(&ledger.unknown), [(1, 10)]);
}

#[test]
fn a_first_file_that_begins_with_the_tombstone_of_a_purge_leaves_open_what_was_before() {
    let ledger = without_the_first(&set(15..=20), &set([14]), Some(14));
    assert!(ledger.lost.is_empty(), "{ledger:?}");
    // 11 and 12 stood in the block, which begins behind them now.
    assert_eq!(ranges(&ledger.unknown), [(1, 10)]);
}

#[test]
fn what_stood_before_the_record_with_which_a_file_begins_was_removed() {
    let file = |gaps| {
        FileSaid {
            number: 1,
            records: &set(27..=40),
            gaps,
        }
        .left_out(&set([11, 26, 41]))
    };
    assert_eq!(ranges(&file(&[])), [(11, 11), (26, 26)]);
    // Unless the file does not begin with it.
    assert!(file(&[(None, Some(27))]).is_empty());
}

#[test]
fn without_the_configuration_nothing_that_is_gone_behind_a_stale_index_is_called_lost() {
    let ledger = under(&set(11..=20), &SeqSet::new(), None, None, false);
    assert!(ledger.lost.is_empty());
    assert_eq!(ranges(&ledger.unknown), [(1, 10)]);
}

#[test]
fn where_the_first_of_a_block_was_old_enough_to_go_nothing_tells_of_the_others() {
    let age = |latest_ns| Age {
        max_age_ns: 100,
        latest_ns,
    };
    // The times of the block in the index are 0.
    let young = under(&set(11..=20), &SeqSet::new(), None, Some(age(99)), true);
    assert_eq!(ranges(&young.lost), [(1, 10)]);
    let old = under(&set(11..=20), &SeqSet::new(), None, Some(age(100)), true);
    assert!(old.lost.is_empty());
}
