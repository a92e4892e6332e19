//! Taking over what a leader has deleted, and telling of what goes.

use std::sync::Arc;
use std::sync::Mutex;

use jetsam::format::replica_state::ReplicaState;
use jetsam::format::seqset::SeqSet;
use jetsam::store::StoreEvent;

use super::bed::{Bed, every_shape};

fn set(ranges: impl IntoIterator<Item = std::ops::RangeInclusive<u64>>) -> SeqSet {
    let mut found = SeqSet::new();
    for range in ranges {
        found.insert_range(range);
    }
    found
}

fn take_over(
    bed: &mut Bed,
    ranges: impl IntoIterator<Item = std::ops::RangeInclusive<u64>>,
) -> u64 {
    bed.writer().sync_deleted(&set(ranges)).unwrap()
}

/// What the writer tells, as subjects and counts.
type Told = Arc<Mutex<Vec<(String, u64, u64)>>>;

fn watch(bed: &mut Bed) -> Told {
    let told = Told::default();
    let noted = told.clone();
    bed.writer().watch(Some(Box::new(move |event| {
        let mut noted = noted.lock().unwrap();
        match event {
            StoreEvent::Appended {
                subject,
                length_bytes,
                ..
            } => {
                noted.push((
                    format!("+{}", String::from_utf8_lossy(subject)),
                    1,
                    *length_bytes,
                ));
            }
            StoreEvent::Removed {
                subject,
                length_bytes,
                ..
            } => {
                noted.push((
                    format!("-{}", String::from_utf8_lossy(subject)),
                    1,
                    *length_bytes,
                ));
            }
            StoreEvent::Purged { message_count, .. } => {
                noted.push(("-".to_owned(), *message_count, 0))
            }
            StoreEvent::Truncated { message_count, .. } => {
                noted.push(("/".to_owned(), *message_count, 0))
            }
            _ => {}
        }
    })));
    told
}

#[test]
fn e_062_e_063_ranges_take_blocks_whole_and_edges_message_by_message() {
    every_shape("", 10 * 44, |bed| {
        bed.puts("foo", 100);
        // Whole blocks, from their first to their last.
        assert_eq!(take_over(bed, [11..=30]), 20);
        assert_eq!(
            (bed.bounds(), bed.deleted()),
            ((1, 100, 80), (11..=30).collect())
        );
        // Again: nothing. Beyond what there is: what there is.
        assert_eq!(take_over(bed, [11..=30]), 0);
        assert_eq!(take_over(bed, [95..=200]), 6);
        assert_eq!(take_over(bed, [101..=200]), 0);
        assert_eq!(bed.bounds(), (1, 100, 74));
        // Edges within blocks, and blocks between.
        assert_eq!(take_over(bed, [36..=63]), 28);
        assert_eq!(take_over(bed, [1..=5]), 5);
        assert_eq!(bed.bounds(), (6, 100, 41));
        bed.kill();
        assert_eq!(bed.bounds(), (6, 100, 41));
        let gone = (11..=30).chain(36..=63).chain(95..=100);
        assert_eq!(bed.deleted(), gone.collect::<Vec<_>>());
    });
}

#[test]
fn e_064_blocks_whose_tombstones_are_needed_go_on_proving() {
    every_shape("", 4 * 44, |bed| {
        bed.puts("foo", 4);
        bed.puts("foo", 2);
        bed.remove([2]);
        bed.puts("foo", 8);
        // The second block holds the tombstone of 2, whose record lies in the first.
        assert_eq!(take_over(bed, [5..=8]), 4);
        bed.kill();
        assert_eq!(bed.deleted(), [2, 5, 6, 7, 8]);
    });
}

#[test]
fn e_201_what_is_gone_here_too_is_passed_over_and_what_is_gone_in_part_is_not() {
    every_shape("", 10 * 44, |bed| {
        bed.puts("foo", 50);
        bed.remove((11..=20).chain([33, 35]));
        let state = ReplicaState::decode(&bed.reader().encoded_state(0)).unwrap();
        let calls = bed.fs.calls().len();
        assert_eq!(bed.writer().sync_deleted(&state.deleted), Ok(0));
        assert_eq!(bed.fs.calls().len(), calls);
        // Overlaps are not equality.
        assert_eq!(take_over(bed, [9..=12, 33..=36]), 4);
        assert_eq!(bed.deleted(), (9..=20).chain(33..=36).collect::<Vec<_>>());
        assert_eq!(bed.writer().sync_deleted(&SeqSet::new()), Ok(0));
    });
}

#[test]
fn e_202_e_203_counts_are_right_after_a_take_over_and_it_is_told_message_by_message() {
    // The reference adds whole blocks up in one call that names no subject; here each message is told with its own.
    every_shape("", 10 * 46, |bed| {
        for nth in 0..100 {
            bed.puts(["foo.a", "foo.b"][nth % 2], 1);
        }
        let told = watch(bed);
        assert_eq!(take_over(bed, [6..=45, 90..=91]), 42);
        let told = told.lock().unwrap();
        assert_eq!(
            told.iter()
                .filter(|(subject, ..)| subject == "-foo.a")
                .count(),
            21
        );
        assert_eq!(told.iter().map(|(_, count, _)| count).sum::<u64>(), 42);
        assert_eq!(told.iter().map(|(.., bytes)| bytes).sum::<u64>(), 42 * 46);
        drop(told);
        assert_eq!((bed.bounds(), bed.bytes()), ((1, 100, 58), 58 * 46));
        assert_eq!(bed.reader().count(&[b"foo.a"], 0), Ok(29));
        assert_eq!(bed.reader().count(&[b">"], 46), Ok(53));
        assert_eq!(bed.reader().count_subjects(&[b"foo.*"], 99), Ok(2));
    });
}

#[test]
fn e_055_e_102_what_goes_by_limits_is_told_with_its_subject_and_its_bytes() {
    every_shape(r#","max_msgs":30"#, 10 * 46, |bed| {
        let told = watch(bed);
        for nth in 0..50 {
            bed.puts(&format!("foo.{}", nth % 3), 1);
        }
        // Whole blocks go here: the account has to be the same.
        bed.configure(r#","max_msgs":3"#);
        let told = told.lock().unwrap();
        let sum = |sign: char| {
            let of_sign = told
                .iter()
                .filter(|(subject, ..)| subject.starts_with(sign));
            of_sign.fold((0, 0), |sum, (_, count, bytes)| {
                (sum.0 + count, sum.1 + bytes)
            })
        };
        assert_eq!((sum('+'), sum('-')), ((50, 50 * 46), (47, 47 * 46)));
        // Subjects are the caller's to keep: they were copied above, and are whole.
        assert!(told.iter().all(|(subject, ..)| subject.len() == 6));
        drop(told);
        assert_eq!((bed.bounds(), bed.bytes()), ((48, 50, 3), 3 * 46));
    });
}

#[test]
fn e_061_what_verifying_finds_in_the_files_is_what_the_store_holds() {
    every_shape("", 6 * 44, |bed| {
        bed.puts("foo", 40);
        bed.remove([3, 4, 40]);
        bed.erase([20]);
        bed.compact(9);
        bed.puts("foo", 1);
        let now_ns = bed.now_ns;
        let found = bed.writer().verify(now_ns, 1).unwrap();
        assert!(found.is_sound(), "{:?}", found.difference);
        bed.tidy();
        let found = bed.writer().verify(now_ns, 1).unwrap();
        assert!(found.is_sound(), "{:?}", found.difference);
    });
}
