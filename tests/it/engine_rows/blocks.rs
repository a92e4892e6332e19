//! Blocks that are written anew without what is dead in them, and which block holds what.

use jetsam::format::record::RecordKind;
use jetsam::store::{Level, ReadError, TidyBudget};

use super::bed::{Bed, Shape, bounds, downwards, every_shape, plain, upwards};

fn disk_bytes(bed: &Bed) -> usize {
    bed.block_files().values().map(Vec::len).sum()
}

#[test]
fn e_124_e_125_e_127_tidying_keeps_what_is_live_and_frees_the_rest() {
    every_shape("", 1000, |bed| {
        bed.puts("foo", 200);
        let gone: Vec<u64> = (1..=200).filter(|seq| seq % 10 != 0).collect();
        bed.remove(gone.iter().copied().skip(1));
        let (book, before) = (bed.book(), disk_bytes(bed));
        bed.tidy();
        assert_eq!(bed.book(), book);
        assert_eq!(bed.bytes(), 21 * 44);
        let after = disk_bytes(bed);
        assert!(after * 2 < before, "{before} bytes before, {after} after");
        // Beyond what is deleted inside.
        assert_eq!(bed.reader().get(200).unwrap().seq, 200);
        assert_eq!(bed.reader().next(&[], 2).unwrap().seq, 10);
        bed.puts("foo", 3);
        assert_eq!(bed.reader().get(203).unwrap().seq, 203);
    });
}

#[test]
fn e_126_e_128_of_a_block_with_one_message_that_message_is_left() {
    plain("", 10 * 44, |bed| {
        bed.puts("foo", 12);
        bed.remove(2..=10);
        bed.tidy();
        let first = bed.blocks()[0].clone();
        assert_eq!(
            (first.first.seq, first.last.seq, first.message_count),
            (1, 1, 1)
        );
        assert_eq!(
            bed.block_files()[&first.number].len() as u64,
            first.live_bytes
        );
        assert_eq!(
            (bed.bounds(), bed.deleted()),
            ((1, 12, 3), (2..=10).collect())
        );
        // Nothing is left to be done.
        let files = bed.block_files();
        bed.tidy();
        assert_eq!(bed.block_files(), files);
    });
}

#[test]
fn e_129_e_131_what_is_written_anew_is_durable_at_every_level() {
    for level in [Level::Buffered, Level::Written, Level::Synced] {
        for shape in Shape::all() {
            let mut bed = Bed::new(shape, "", 500);
            bed.writer().set_level(level);
            bed.puts("foo", 50);
            bed.remove((2..=40).filter(|seq| seq % 5 != 0));
            bed.tidy();
            let image = bed.fs.crash_image(jetsam::env::memory::Unsynced::Dropped);
            let store = bed.try_open(&image).unwrap();
            assert_eq!(bounds(&store.reader()), bed.bounds(), "{level}");
            assert_eq!(upwards(&store.reader(), &[], 0), bed.seqs());
        }
    }
}

#[test]
fn e_130_e_137_blocks_of_tombstones_are_not_written_anew_again_and_again() {
    plain("", 10 * 44, |bed| {
        bed.puts("foo", 40);
        // Tombstones of messages inside, whose records lie in blocks half alive.
        bed.remove((1..=40).filter(|seq| seq % 2 == 0));
        bed.tidy();
        for _ in 0..3 {
            let calls = bed.fs.calls().len();
            bed.tidy();
            assert_eq!(bed.fs.calls().len(), calls);
        }
        // A removal wants the index away, and a block that is half dead written anew.
        bed.remove([1, 3, 5]);
        let files = bed.block_files();
        bed.tidy();
        assert_ne!(bed.block_files(), files);
    });
}

#[test]
fn e_132_e_133_e_134_gaps_of_a_rewritten_block_are_read_from_its_file() {
    every_shape("", 10 * 44, |bed| {
        bed.puts("foo", 12);
        bed.remove([1, 3, 4, 6, 7, 8, 9]);
        bed.tidy();
        bed.kill();
        assert_eq!(bed.bounds(), (2, 12, 5));
        assert_eq!(bed.deleted(), [3, 4, 6, 7, 8, 9]);
        for block in bed.blocks().iter().filter(|block| block.message_count > 0) {
            let span = block.last.seq - block.first.seq + 1;
            assert_eq!(block.message_count, span - block.deleted.len(), "{block:?}");
        }
    });
}

#[test]
fn e_135_e_136_a_block_ends_with_its_last_live_message_or_goes() {
    plain("", 10 * 44, |bed| {
        bed.puts("foo", 12);
        let times: Vec<i64> = (1..=12)
            .map(|seq| bed.reader().get(seq).unwrap().timestamp_ns)
            .collect();
        bed.remove([2, 3, 4, 6, 7, 8, 9, 10]);
        bed.tidy();
        let first = bed.blocks()[0].clone();
        assert_eq!((first.last.seq, first.last.timestamp_ns), (5, times[4]));
        assert!(first.deleted.iter().eq([2, 3, 4]));
        bed.remove([1, 5]);
        bed.tidy();
        assert_eq!((bed.bounds(), bed.blocks().len()), ((11, 12, 2), 1));
    });
}

#[test]
fn e_138_deletes_inside_are_those_between_the_first_and_the_last_of_a_block() {
    every_shape("", 5 * 44, |bed| {
        bed.puts("foo", 20);
        bed.remove([1, 5, 6, 8, 10, 16, 17, 18, 19]);
        for block in bed.blocks().iter().filter(|block| block.message_count > 0) {
            assert!(!block.deleted.contains(block.first.seq), "{block:?}");
            assert!(
                block
                    .deleted
                    .first()
                    .is_none_or(|seq| seq > block.first.seq)
            );
            assert!(block.deleted.last().is_none_or(|seq| seq <= block.last.seq));
        }
        assert_eq!(bed.deleted(), [5, 6, 8, 10, 16, 17, 18, 19]);
    });
}

#[test]
fn e_139_e_140_walks_pass_no_live_message_while_blocks_are_written_anew() {
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 8 * 44);
        bed.puts("foo", 400);
        let reader = bed.reader();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            let mut rounds = 0;
            while reader.get(400).is_ok() {
                let seqs = upwards(&reader, &[b"foo"], 0);
                let _ = begun.send(());
                // Multiples of twenty are never removed.
                for seq in (20..400).step_by(20) {
                    assert!(seqs.binary_search(&seq).is_ok(), "{seq} was passed over");
                    assert_eq!(reader.get(seq).unwrap().seq, seq);
                }
                let down = downwards(&reader, &[], u64::MAX);
                assert!((20..400).step_by(20).all(|seq| down.contains(&seq)));
                rounds += 1;
            }
            rounds
        });
        has_begun.recv().unwrap();
        for seq in (1..400).filter(|seq| seq % 20 != 0) {
            bed.remove([seq]);
            if seq % 7 == 0 {
                bed.writer().tidy(TidyBudget { block_count: 2 }).unwrap();
            }
        }
        bed.remove([400]);
        assert!(reading.join().unwrap() > 0);
        assert_eq!(bed.seqs(), (20..400).step_by(20).collect::<Vec<_>>());
        bed.finish();
    }
}

#[test]
fn e_198_the_right_block_is_found_over_many_with_moved_firsts_and_tombstones_alone() {
    every_shape("", 4 * 44, |bed| {
        bed.puts("foo", 160);
        for block in 0..40 {
            let first = block * 4 + 1;
            match block % 4 {
                0 => bed.remove([first]),
                1 => bed.remove(first..first + 4),
                2 => bed.remove([first + 1, first + 2]),
                _ => {}
            }
        }
        let seqs = bed.seqs();
        for seq in 0..=161 {
            match bed.reader().get(seq) {
                Ok(message) => assert!(message.seq == seq && seqs.contains(&seq)),
                Err(error) => {
                    assert!(!seqs.contains(&seq), "{seq}");
                    let expected = match seq {
                        0 | 1 => ReadError::NotFound,
                        161 => ReadError::Beyond { last_seq: 160 },
                        _ => ReadError::Deleted { seq },
                    };
                    assert_eq!(error, expected);
                }
            }
            let next = seqs.iter().find(|live| **live >= seq).copied();
            assert_eq!(
                bed.reader().next(&[], seq).ok().map(|found| found.seq),
                next
            );
            let previous = seqs.iter().rev().find(|live| **live <= seq).copied();
            assert_eq!(
                bed.reader().previous(&[], seq).ok().map(|found| found.seq),
                previous
            );
        }
    });
}

/// What counts is how long the file is, as in the reference: of a block that compresses well even the dead take little room.
#[test]
fn e_124_a_block_that_compresses_well_stays_though_it_is_mostly_dead() {
    let mut bed = Bed::new(
        Shape {
            cipher: None,
            compresses: true,
        },
        "",
        12 * 331,
    );
    for _ in 0..13 {
        bed.put("foo", vec![b'x'; 298]);
    }
    bed.tidy();
    let before = bed.block_files()[&1].clone();
    assert!(before.len() < 400);
    bed.remove([2, 3, 4, 5, 6, 7, 8]);
    bed.tidy();
    assert_eq!(bed.block_files()[&1], before);
    bed.remove([9, 10, 11, 12]);
    bed.tidy();
    assert_eq!(
        (bed.bounds(), bed.block_files()[&1].len()),
        ((1, 13, 2), before.len())
    );
    bed.finish();
}

#[test]
fn e_138_records_that_are_dead_are_not_read_back() {
    plain("", 6 * 44, |bed| {
        bed.puts("foo", 7);
        bed.erase([2]);
        bed.remove([3, 4, 5]);
        bed.tidy();
        let messages = bed
            .records()
            .into_iter()
            .filter(|(kind, _)| *kind == RecordKind::Message);
        assert_eq!(messages.map(|(_, seq)| seq).collect::<Vec<_>>(), [1, 6, 7]);
    });
}
