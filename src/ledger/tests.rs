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
        replayed: &Replayed::default(),
        acked: &none,
        acked_found: &none,
        purged,
        expired: &none,
        age,
        per_subject: 0,
        acks_remove: false,
        rules_known,
    })
}

#[test]
fn a_block_that_is_gone_behind_a_stale_index_is_lost() {
    let ledger = without_the_first(&set(11..=20), &SeqSet::new(), None);
    assert_eq!(ranges(&ledger.lost), [(1, 10)]);
    assert!(ledger.unknown.is_empty());
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
