//! The deleted sequences as replicas tell them.

use jetsam::format::replica_state::ReplicaState;
use jetsam::testing::Random;

use super::bed::{Bed, every_shape};

/// What follows the totals of an encoded state, read as runs; `None` where there is a set.
fn runs(encoded: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut rest = encoded.get(2..)?;
    let mut next = || {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            value |= u64::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    };
    for _ in 0..6 {
        next()?;
    }
    let mut found = Vec::new();
    while let Some(tag) = next() {
        if tag != 0x21 {
            return None;
        }
        found.push((next()?, next()?));
    }
    Some(found)
}

fn told(bed: &Bed) -> ReplicaState {
    let state = ReplicaState::decode(&bed.reader().encoded_state(0)).unwrap();
    assert!(state.deleted.iter().eq(bed.deleted()));
    let (first, last, count) = bed.bounds();
    let totals = state.totals;
    assert_eq!(
        (totals.first_seq, totals.last_seq, totals.message_count),
        (first, last, count)
    );
    assert_eq!(
        (totals.bytes, totals.deleted_count),
        (bed.bytes(), bed.deleted().len() as u64)
    );
    state
}

#[test]
fn e_200_gaps_between_blocks_are_runs_and_only_a_message_parts_them() {
    // Blocks of one message: what is gone between two is one run, however many blocks it was.
    every_shape("", 44, |bed| {
        bed.puts("foo", 20);
        bed.remove([3, 4, 5, 6, 7, 10, 11]);
        told(bed);
        bed.tidy();
        told(bed);
        assert_eq!(
            runs(&bed.reader().encoded_state(0)),
            Some(vec![(3, 5), (10, 2)])
        );
    });
    // Two gaps with a message between.
    every_shape("", 44 * 10, |bed| {
        bed.puts("foo", 100);
        bed.remove(11..=20);
        bed.remove(31..=40);
        bed.tidy();
        told(bed);
        assert_eq!(
            runs(&bed.reader().encoded_state(0)),
            Some(vec![(11, 10), (31, 10)])
        );
    });
    // Within a block they are a set.
    every_shape("", 8192, |bed| {
        bed.puts("foo", 10);
        bed.remove([2, 4, 6]);
        told(bed);
        assert_eq!(runs(&bed.reader().encoded_state(0)), None);
    });
    // Of an empty stream there is nothing.
    every_shape("", 8192, |bed| {
        bed.puts("foo", 10);
        bed.purge("", 0, 0);
        assert!(told(bed).deleted.is_empty());
    });
}

#[test]
fn e_200_e_227_whatever_is_gone_is_told_whole() {
    every_shape("", 500, |bed| {
        let mut random = Random::derived(200, &[]);
        for _ in 0..6 {
            bed.puts("foo", 40);
            bed.skip(1 + random.below(300));
            for _ in 0..20 {
                let (first, last, _) = bed.bounds();
                let _ = bed.writer().remove(first + random.below(last - first + 1));
            }
            told(bed);
        }
        bed.tidy();
        told(bed);
        bed.kill();
        let state = told(bed);
        // A set of sequences: its length, its bounds, and what is in a range.
        let set = state.deleted;
        let all: Vec<u64> = set.iter().collect();
        assert_eq!(
            (set.len(), set.first(), set.last()),
            (all.len() as u64, all.first().copied(), all.last().copied())
        );
        let (from, to) = (all[all.len() / 4], all[all.len() / 2]);
        assert_eq!(
            set.count_in(from..=to) as usize,
            all.len() / 2 - all.len() / 4 + 1
        );
        assert!(
            set.spans()
                .all(|span| span.clone().all(|seq| set.contains(seq)))
        );
    });
}
