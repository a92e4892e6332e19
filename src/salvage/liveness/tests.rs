use super::super::sets::ranges;
use super::*;
use crate::format::record::RecordFault;
use crate::format::state::{BlockEntry, SubjectTable};
use crate::salvage::findings::{Gap, GapCause};

fn edge(seq: u64) -> SeqTime {
    SeqTime {
        seq,
        timestamp_ns: seq as i64,
    }
}

fn set(seqs: impl IntoIterator<Item = u64>) -> SeqSet {
    seqs.into_iter().collect()
}

fn block(number: u32, seqs: impl IntoIterator<Item = u64>, tombstones: &[u64]) -> BlockFindings {
    let messages = set(seqs);
    BlockFindings {
        number,
        first: messages.first().map(edge),
        last: messages.last().map(edge),
        message_bytes: messages.len() * 100,
        messages,
        tombstones: tombstones.iter().copied().map(edge).collect(),
        ..BlockFindings::default()
    }
}

fn gap(before: Option<u64>, after: Option<u64>, length: u64) -> Gap {
    Gap {
        offset: 0,
        length,
        file_offset: 0,
        file_length: length,
        cause: GapCause::Record(RecordFault::TooShort {
            offset: 0,
            length: 0,
        }),
        before,
        after,
    }
}

/// An index that lists blocks as (number, first, last, deleted).
fn index(fresh: bool, blocks: &[(u32, u64, u64, &[u64])]) -> IndexEvidence {
    let entries: Vec<BlockEntry> = blocks
        .iter()
        .map(|(number, first, last, deleted)| BlockEntry {
            number: *number,
            first_sequence: *first,
            last_sequence: *last,
            deleted: set(deleted.iter().copied()),
            deleted_count: deleted.len() as u64,
            ..BlockEntry::default()
        })
        .collect();
    let last = entries.last().map_or(0, |entry| entry.last_sequence);
    IndexEvidence {
        state: StateFile {
            version: 4,
            messages: 0,
            bytes: 0,
            first_sequence: entries.first().map_or(1, |entry| entry.first_sequence),
            first_time_ns: 0,
            last_sequence: last,
            last_time_ns: last as i64,
            subjects: SubjectTable::new(),
            last_block: entries.last().map_or(1, |entry| entry.number),
            blocks: entries,
            last_record_hash: [0; 8],
        },
        fresh,
    }
}

fn facts<'a>(finds: &'a [BlockFindings], index: Option<&'a IndexEvidence>) -> Facts<'a> {
    Facts {
        finds,
        index,
        legacy: &[],
        claims: &[],
        vanishing: false,
        forgets: false,
        deletable: true,
        first_seq: 0,
    }
}

#[test]
fn a_fresh_index_decides_what_was_deleted() {
    let finds = [block(1, 1..=10, &[]), block(2, 11..=20, &[5])];
    // 1 and 2 went by limits, 4 by hand with a tombstone lost since, 5 was used again after it was deleted.
    let index = index(true, &[(1, 3, 10, &[4]), (2, 11, 20, &[])]);
    let trust = decide(&facts(&finds, Some(&index)));
    assert_eq!(ranges(&trust.deleted), [(1, 2), (4, 4)]);
    assert_eq!(ranges(&trust.live), [(3, 3), (5, 20)]);
    assert!(trust.lost.is_empty() && trust.uncertain.is_empty());
}

#[test]
fn what_a_fresh_index_counts_and_nothing_holds_is_lost_exactly() {
    let mut damaged = block(1, [1, 2, 6, 7], &[]);
    damaged.gaps = vec![gap(Some(2), Some(6), 200)];
    let index = index(true, &[(1, 1, 7, &[4])]);
    let trust = decide(&facts(&[damaged], Some(&index)));
    assert_eq!(ranges(&trust.lost), [(3, 3), (5, 5)]);
}

#[test]
fn behind_a_stale_index_tombstones_and_neighbours_decide() {
    let mut second = block(2, [11, 12, 15, 16, 18], &[3, 12]);
    second.gaps = vec![gap(Some(12), Some(15), 200)];
    let finds = [block(1, 1..=10, &[]), second];
    let index = index(false, &[(1, 2, 10, &[7])]);
    let trust = decide(&facts(&finds, Some(&index)));
    assert_eq!(ranges(&trust.deleted), [(1, 1), (3, 3), (7, 7), (12, 12)]);
    // Between 16 and 18 nothing is missing from the file: 17 was removed.
    assert_eq!(ranges(&trust.lost), [(13, 14)]);
    assert_eq!(trust.last, edge(18));
}

#[test]
fn lost_tombstones_make_older_messages_uncertain() {
    let hole = |tombstones: &[u64], length: u64| {
        let mut damaged = block(2, [11, 12, 13], tombstones);
        damaged.gaps = vec![gap(Some(11), Some(12), length)];
        [block(1, 1..=10, &[]), damaged]
    };
    let damaged = |tombstones: &[u64]| hole(tombstones, 20 * 30);
    // Two of ten were deleted, and eight are sound: none of them is doubted for that.
    let few = decide(&facts(&hole(&[4], 60), None));
    assert_eq!((few.uncertain.len(), few.uncertain_deletes_most), (0, 2));
    let trust = decide(&facts(&damaged(&[4]), None));
    assert_eq!(ranges(&trust.uncertain), [(1, 3), (5, 11)]);
    assert_eq!(trust.uncertain_deletes_most, 10);
    let mut dropped = trust.clone();
    dropped.drop_uncertain();
    assert_eq!(ranges(&dropped.live), [(12, 13)]);
    // No sign of deletes by hand: nothing is in doubt.
    assert!(decide(&facts(&damaged(&[]), None)).uncertain.is_empty());
    // Nor where they are forbidden, or where a fresh index knows them all.
    let finds = damaged(&[4]);
    let forbidden = Facts {
        deletable: false,
        ..facts(&finds, None)
    };
    assert!(decide(&forbidden).uncertain.is_empty());
    let knows = index(true, &[(1, 1, 10, &[4]), (2, 11, 13, &[])]);
    assert!(decide(&facts(&finds, Some(&knows))).uncertain.is_empty());
    // A stale index of a later block has seen the tombstones of this one.
    let later = index(
        false,
        &[(1, 1, 10, &[4]), (2, 11, 12, &[]), (3, 13, 13, &[])],
    );
    assert!(decide(&facts(&finds, Some(&later))).uncertain.is_empty());
}

#[test]
fn a_gap_that_its_missing_messages_fill_hides_no_tombstone() {
    let mut damaged = block(1, [1, 2, 5], &[1]);
    damaged.gaps = vec![gap(Some(2), Some(5), 2 * MESSAGE_MIN_LENGTH + 29)];
    let trust = decide(&facts(&[damaged], None));
    assert_eq!(ranges(&trust.lost), [(3, 4)]);
    assert!(trust.uncertain.is_empty());
}

#[test]
fn borders_between_blocks_are_losses_only_where_nothing_vanishes() {
    let finds = [block(1, 1..=10, &[]), block(2, 13..=20, &[])];
    let trust = decide(&facts(&finds, None));
    assert_eq!(ranges(&trust.lost), [(11, 12)]);
    let vanishing = Facts {
        vanishing: true,
        ..facts(&finds, None)
    };
    let trust = decide(&vanishing);
    assert!(trust.lost.is_empty());
    assert_eq!(ranges(&trust.holes.unknown), [(11, 12)]);
    // A skip record stands for all sequences before it.
    let mut skipped = block(2, 14..=20, &[]);
    skipped.erased = set([13]);
    skipped.first = Some(edge(13));
    let finds = [block(1, 1..=10, &[]), skipped];
    let trust = decide(&facts(&finds, None));
    assert!(trust.lost.is_empty() && trust.holes.unknown.is_empty());
    // But where messages are deleted it may be one of them, wiped.
    let [first, mut wiped] = finds;
    wiped.tombstones = vec![edge(3)];
    let trust = decide(&facts(&[first, wiped], None));
    assert!(trust.lost.is_empty());
    assert_eq!(ranges(&trust.holes.unknown), [(11, 12)]);
}

#[test]
fn a_record_above_the_blocks_behind_it_tells_nothing_of_what_stood_before_it() {
    let finds = |third: u64| {
        [
            block(1, 1..=10, &[]),
            block(2, [third], &[]),
            block(3, 12..=20, &[]),
        ]
    };
    let trust = decide(&facts(&finds(500), None));
    assert!(trust.lost.is_empty());
    assert_eq!(ranges(&trust.holes.unknown), [(11, 11), (21, 499)]);
    let [first, _, third] = finds(0);
    let trust = decide(&facts(&[first, third], None));
    assert_eq!(ranges(&trust.holes.unknown), [(11, 11)]);
}

#[test]
fn a_block_that_is_gone_may_have_held_skipped_sequences_alone_where_there_are_any() {
    let finds = [block(1, 1..=3, &[]), block(3, 7..=9, &[])];
    assert_eq!(ranges(&decide(&facts(&finds, None)).lost), [(4, 6)]);
    let [first, mut skips] = finds;
    skips.erased = set([10]);
    skips.last = Some(edge(10));
    let trust = decide(&facts(&[first.clone(), skips.clone()], None));
    assert!(trust.lost.is_empty());
    assert_eq!(ranges(&trust.holes.unknown), [(4, 6)]);
    // With every file there it was cut off.
    skips.number = 2;
    let trust = decide(&facts(&[first, skips], None));
    assert_eq!(ranges(&trust.lost), [(4, 6)]);
}

/// The server takes the file away with the last message of a block that is deleted, and writes no tombstone then.
#[test]
fn one_message_missing_with_its_block_may_have_been_deleted() {
    let unknown = |finds: &[BlockFindings], deletable| {
        let facts = Facts {
            deletable,
            ..facts(finds, None)
        };
        let trust = decide(&facts);
        (ranges(&trust.holes.unknown), ranges(&trust.lost))
    };
    let one = [block(1, 1..=3, &[]), block(3, 5..=6, &[])];
    assert_eq!(unknown(&one, true), (vec![(4, 4)], vec![]));
    assert_eq!(unknown(&one, false), (vec![], vec![(4, 4)]));
    // The others of a block would have left tombstones.
    let two = [block(1, 1..=3, &[]), block(3, 6..=6, &[])];
    assert_eq!(unknown(&two, true), (vec![], vec![(4, 5)]));
    let two_blocks = [block(1, 1..=3, &[]), block(4, 6..=6, &[])];
    assert_eq!(unknown(&two_blocks, true), (vec![(4, 5)], vec![]));
    let [first, last] = two_blocks;
    let empty = [first, block(2, [], &[]), last];
    assert_eq!(unknown(&empty, true), (vec![], vec![(4, 5)]));
}

#[test]
fn a_block_that_stays_closed_loses_what_its_neighbours_leave_open() {
    let mut closed = block(2, [], &[]);
    closed.gaps = vec![Gap {
        cause: GapCause::NoKey("no".into()),
        ..gap(None, None, 10_000)
    }];
    let finds = [block(1, 1..=10, &[]), closed, block(3, 21..=30, &[])];
    let trust = decide(&facts(&finds, None));
    assert_eq!(ranges(&trust.lost), [(11, 20)]);
}

#[test]
fn the_bytes_left_of_a_cut_block_do_not_bound_what_was_in_it() {
    let mut cut = block(2, [11], &[]);
    cut.gaps = vec![gap(Some(11), None, 50)];
    let finds = [block(1, 1..=10, &[]), cut, block(3, 300..=310, &[])];
    let trust = decide(&facts(&finds, None));
    assert_eq!(ranges(&trust.lost), [(12, 299)]);
    let vanishing = Facts {
        vanishing: true,
        ..facts(&finds, None)
    };
    let trust = decide(&vanishing);
    assert!(trust.lost.is_empty());
    assert_eq!(ranges(&trust.holes.unknown), [(12, 299)]);
}

#[test]
fn records_of_elsewhere_in_a_gap_hide_how_much_stood_there() {
    let mut overwritten = block(1, (1..=50).chain(80..=90), &[]);
    overwritten.gaps = vec![gap(Some(50), Some(80), 60)];
    let vanishing = |find: &BlockFindings| {
        let finds = std::slice::from_ref(find);
        let facts = Facts {
            vanishing: true,
            ..facts(finds, None)
        };
        ranges(&decide(&facts).holes.unknown)
    };
    // Sixty bytes were one message at most; the others had been removed.
    assert_eq!(vanishing(&overwritten), [(79, 79)]);
    overwritten.backward_count = 12;
    assert_eq!(vanishing(&overwritten), [(51, 79)]);
    overwritten.backward_count = 0;
    overwritten.compressed = true;
    assert_eq!(vanishing(&overwritten), [(51, 79)]);
}

#[test]
fn unreadable_bytes_before_the_first_record_hid_as_many_as_fit_where_no_block_was_before() {
    let unknown = |number| {
        let mut first = block(number, 500..=510, &[]);
        first.gaps = vec![gap(None, Some(500), 100)];
        let trust = decide(&facts(&[first], None));
        assert!(trust.lost.is_empty());
        ranges(&trust.holes.unknown)
    };
    assert_eq!(unknown(1), [(497, 499)]);
    assert_eq!(unknown(4), [(1, 499)]);
}

#[test]
fn a_first_block_that_is_gone_is_named_unless_the_stream_forgets_its_oldest() {
    let unknown = |forgets, number| {
        let trust = decide(&Facts {
            forgets,
            ..facts(&[block(number, 500..=510, &[])], None)
        });
        ranges(&trust.holes.unknown)
    };
    assert_eq!(unknown(false, 2), [(1, 499)]);
    assert!(unknown(true, 2).is_empty());
    assert!(unknown(false, 1).is_empty());
}

#[test]
fn the_past_of_a_stream_that_forgets_its_oldest_is_called_untold() {
    let below = |forgets, number| {
        let trust = decide(&Facts {
            forgets,
            ..facts(&[block(number, 500..=510, &[])], None)
        });
        trust.holes.untold_below
    };
    assert_eq!(below(true, 2), Some(500));
    // A first block has all there was; elsewhere each sequence is named.
    assert_eq!((below(true, 1), below(false, 2)), (None, None));
}

#[test]
fn what_only_a_consumer_names_is_unknown_and_what_nobody_can_have_stored_is_not() {
    let claims = |seq| {
        [Claim {
            path: "obs/C/o.dat".into(),
            seq,
        }]
    };
    let unknown = |finds: &[BlockFindings], claims: &[Claim]| {
        let trust = decide(&Facts {
            claims,
            ..facts(finds, None)
        });
        assert!(trust.lost.is_empty());
        ranges(&trust.holes.unknown)
    };
    assert_eq!(unknown(&[], &claims(205)), [(1, 205)]);
    // A purge left its tombstone.
    let purged = [block(3, [], &[200])];
    assert_eq!(unknown(&purged, &claims(205)), [(201, 205)]);
    // No checksum covers a consumer's file.
    assert!(unknown(&[], &claims(1 << 50)).is_empty());
    // Block 2 is gone, and block 3 tells of a message that was in it.
    let named = [block(1, 1..=10, &[]), block(3, [], &[15])];
    assert_eq!(unknown(&named, &[]), [(11, 14)]);
}

#[test]
fn what_a_side_file_names_behind_the_last_record_is_lost_unless_messages_are_deleted() {
    let claims = [Claim {
        path: "sources.db".into(),
        seq: 12,
    }];
    let told = |tombstones: &[u64], deletable| {
        let trust = decide(&Facts {
            claims: &claims,
            deletable,
            ..facts(&[block(1, 1..=10, tombstones)], None)
        });
        (ranges(&trust.lost), ranges(&trust.holes.unknown))
    };
    assert_eq!(told(&[], true), (vec![(11, 12)], vec![]));
    // A tombstone stands behind what it deletes: it is gone with the end of the block.
    assert_eq!(told(&[3], true), (vec![], vec![(11, 12)]));
    assert_eq!(told(&[3], false), (vec![(11, 12)], vec![]));
}

#[test]
fn zeros_behind_the_last_record_are_no_room_where_an_empty_block_follows() {
    let mut zeroed = block(1, 1..=10, &[]);
    zeroed.file_length = 1300;
    zeroed.zero_tail = 300;
    zeroed.gaps = vec![Gap {
        file_offset: 1000,
        file_length: 300,
        ..gap(Some(10), None, 300)
    }];
    let trust = decide(&facts(&[zeroed.clone(), block(2, [], &[3])], None));
    assert!(trust.holes.unknown.is_empty());
    // With a message behind it, what stood there had a sequence.
    let trust = decide(&facts(&[zeroed, block(2, 12..=20, &[])], None));
    assert_eq!(ranges(&trust.lost), [(11, 11)]);
}

#[test]
fn a_torn_tail_is_no_loss_and_other_damage_there_is() {
    let tail = |cause| {
        let mut block = block(1, 1..=10, &[]);
        block.file_length = 1050;
        block.gaps = vec![Gap {
            file_offset: 1000,
            file_length: 50,
            cause,
            ..gap(Some(10), None, 50)
        }];
        decide(&facts(&[block], None))
    };
    let torn = tail(GapCause::Record(RecordFault::PastEnd {
        offset: 1000,
        length: 100,
        remaining: 50,
    }));
    assert_eq!((torn.lost.len(), torn.last.seq), (0, 10));
    assert!(torn.holes.unknown.is_empty());
    let open = tail(GapCause::Uncommitted);
    assert_eq!((open.lost.len(), open.last.seq), (0, 10));
    assert!(open.holes.unknown.is_empty());
    let bad = tail(GapCause::Record(RecordFault::Checksum {
        offset: 1000,
        expected: 1,
        found: 2,
    }));
    // What lies there was stored, perhaps; room is no sequence, and the stream ends where its records do.
    assert_eq!(
        (ranges(&bad.holes.unknown), bad.last.seq),
        (vec![(11, 11)], 10)
    );
    assert!(bad.lost.is_empty());
}

#[test]
fn the_last_sequence_never_goes_down() {
    let finds = [block(1, 1..=10, &[15])];
    assert_eq!(decide(&facts(&finds, None)).last, edge(15));
    let stale = index(false, &[(1, 1, 17, &[])]);
    assert_eq!(decide(&facts(&finds, Some(&stale))).last, edge(17));
    let claims = [
        Claim {
            path: "msgs/thw.db".into(),
            seq: 20,
        },
        Claim {
            path: "obs/C/o.dat".into(),
            seq: 1 << 50,
        },
    ];
    let claimed = Facts {
        claims: &claims,
        ..facts(&finds, Some(&stale))
    };
    let trust = decide(&claimed);
    assert_eq!(trust.last.seq, 20);
    assert_eq!(trust.doubted, claims[1..]);
}

#[test]
fn one_block_has_each_sequence() {
    let finds = [block(3, 1..=10, &[]), block(4, 6..=15, &[])];
    let trust = decide(&facts(&finds, None));
    let kept: Vec<_> = trust
        .blocks
        .iter()
        .map(|block| ranges(&block.kept))
        .collect();
    assert_eq!(kept, [vec![(1, 10)], vec![(11, 15)]]);
    assert_eq!(ranges(&trust.blocks[1].elsewhere), [(6, 10)]);
    // The index lists 6 to 15 for the second.
    let index = index(true, &[(3, 1, 5, &[]), (4, 6, 15, &[])]);
    let trust = decide(&facts(&finds, Some(&index)));
    let kept: Vec<_> = trust
        .blocks
        .iter()
        .map(|block| ranges(&block.kept))
        .collect();
    assert_eq!(kept, [vec![(1, 5)], vec![(6, 15)]]);
    assert!(trust.is_ascending());
}

#[test]
fn a_legacy_index_deletes_where_there_is_no_other() {
    let finds = [block(1, 1..=10, &[])];
    let legacy = [LegacyDeletes {
        number: 1,
        first_seq: 3,
        deleted: set([5]),
        last: Some(edge(12)),
    }];
    let told = Facts {
        legacy: &legacy,
        ..facts(&finds, None)
    };
    let trust = decide(&told);
    assert_eq!(ranges(&trust.live), [(3, 4), (6, 10)]);
    assert_eq!(trust.last, edge(12));
}

#[test]
fn sequences_from_hostile_records_cost_nothing() {
    let mut wild = block(1, [1, SEQUENCE_MAX], &[]);
    wild.gaps = vec![gap(Some(1), Some(SEQUENCE_MAX), 100)];
    let trust = decide(&facts(&[wild], None));
    assert!(trust.lost.is_empty());
    assert_eq!(
        ranges(&trust.holes.unknown),
        [(SEQUENCE_MAX - 3, SEQUENCE_MAX - 1)]
    );
}

/// A block with messages besides its chain.
fn with_strays(
    find: BlockFindings,
    strays: impl IntoIterator<Item = u64>,
    outdated: impl IntoIterator<Item = u64>,
) -> BlockFindings {
    let strays: Vec<SeqTime> = strays.into_iter().map(edge).collect();
    let mut messages = find.messages.clone();
    messages.extend(strays.iter().map(|edge| edge.seq));
    BlockFindings {
        messages,
        strays,
        outdated: set(outdated),
        ..find
    }
}

#[test]
fn strays_live_unless_something_knows_better() {
    let finds = [
        with_strays(block(1, [1, 2, 8, 9], &[]), [4, 5, 6], []),
        block(2, 10..=12, &[5]),
    ];
    let trust = decide(&facts(&finds, None));
    assert_eq!(ranges(&trust.live), [(1, 2), (4, 4), (6, 6), (8, 12)]);
    assert_eq!(ranges(&trust.deleted), [(5, 5)]);
    // The index counts 4 as deleted.
    let index = index(false, &[(1, 1, 9, &[3, 4, 7])]);
    let trust = decide(&facts(&finds, Some(&index)));
    assert_eq!(ranges(&trust.deleted), [(4, 5)]);
    assert!(trust.live.contains(6));
}

#[test]
fn an_outdated_message_is_deleted_unless_a_fresh_index_or_another_record_counts_it() {
    let finds = [with_strays(block(1, [1, 2, 6], &[]), [4], [4])];
    let trust = decide(&facts(&finds, None));
    assert_eq!(
        (ranges(&trust.live), trust.deleted.contains(4)),
        (vec![(1, 2), (6, 6)], true)
    );
    let stale = index(false, &[(1, 1, 6, &[3, 5])]);
    assert!(decide(&facts(&finds, Some(&stale))).deleted.contains(4));
    let fresh = index(true, &[(1, 1, 6, &[3, 5])]);
    assert!(decide(&facts(&finds, Some(&fresh))).live.contains(4));
    let twice = [finds[0].clone(), block(2, [4, 7], &[])];
    let trust = decide(&facts(&twice, None));
    assert!(trust.live.contains(4));
}

#[test]
fn a_stray_beyond_everything_is_a_claim_nobody_believes() {
    let far = 1 << 40;
    let finds = [with_strays(block(1, 1..=9, &[]), [12, far], [])];
    let trust = decide(&facts(&finds, None));
    assert_eq!(ranges(&trust.live), [(1, 9), (12, 12)]);
    assert_eq!(trust.last, edge(12));
    let doubted: Vec<u64> = trust.doubted.iter().map(|claim| claim.seq).collect();
    assert_eq!(doubted, [far]);
    assert!(!trust.deleted.contains(far));
    // A fresh index knows the last sequence.
    let fresh = index(true, &[(1, 1, 9, &[])]);
    let trust = decide(&facts(&finds, Some(&fresh)));
    assert_eq!((trust.live.len(), trust.last.seq), (9, 9));
}

#[test]
fn of_two_files_with_one_block_the_first_has_what_both_have() {
    let mut taken = block(3, [1, 2, 3, 7, 8], &[]);
    taken.gaps = vec![gap(Some(3), Some(7), 300)];
    let finds = [
        taken,
        BlockFindings {
            file: 9,
            ..block(3, 1..=6, &[])
        },
        block(4, 9..=10, &[]),
    ];
    let trust = decide(&facts(&finds, None));
    assert_eq!(ranges(&trust.live), [(1, 10)]);
    assert_eq!(ranges(&trust.blocks[0].kept), [(1, 3), (7, 8)]);
    assert_eq!(ranges(&trust.blocks[1].kept), [(4, 6)]);
    assert!(trust.lost.is_empty() && trust.holes.unknown.is_empty());
    assert!(!trust.is_ascending());
}
