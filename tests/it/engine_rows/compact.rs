//! Dropping what lies below a sequence, and what lies above one.

use jetsam::env::memory::Fault;
use jetsam::format::record::{RecordKind, parse_at};
use jetsam::store::{Level, ReadError, RemoveError};

use super::bed::{Bed, Shape, bounds, every_shape, plain};

#[test]
fn e_103_e_104_e_106_below_a_sequence_and_past_the_end() {
    every_shape("", 500, |bed| {
        bed.puts("foo", 10);
        assert_eq!(bed.compact(6), 5);
        assert_eq!(bed.bounds(), (6, 10, 5));
        assert_eq!(bed.compact(6), 0);
        assert_eq!(bed.compact(100), 5);
        assert_eq!(bed.bounds(), (100, 99, 0));
        bed.kill();
        assert_eq!(bed.put("foo", "x"), 100);
    });
    every_shape("", 128, |bed| {
        bed.puts("foo", 10);
        assert_eq!(bed.compact(11), 10);
        assert_eq!(bed.bounds(), (11, 10, 0));
        bed.puts("foo", 20);
        assert_eq!(bed.bounds(), (11, 30, 20));
    });
    // The last one is gone already.
    every_shape("", 128, |bed| {
        bed.puts("foo", 100);
        bed.remove([100]);
        assert_eq!(bed.compact(100), 99);
        assert_eq!(bed.bounds(), (101, 100, 0));
        assert_eq!(bed.put("foo", "x"), 101);
    });
}

#[test]
fn e_105_only_live_messages_are_counted() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 10);
        bed.erase([2, 3, 4]);
        bed.remove([7, 8, 9]);
        assert_eq!(bed.compact(6), 2);
        assert_eq!((bed.bounds(), bed.deleted()), ((6, 10, 2), vec![7, 8, 9]));
    });
}

#[test]
fn e_107_e_108_subjects_keep_count_while_blocks_go() {
    every_shape("", 4 * 47, |bed| {
        for nth in 0..200 {
            bed.puts(&format!("foo.{nth:03}"), 1);
        }
        for _ in 0..5 {
            bed.puts("A", 1);
        }
        assert_eq!(bed.compact(101), 100);
        assert_eq!(bed.reader().summary().subject_count, 101);
        assert_eq!(
            bed.reader().subject_totals(b"A"),
            [(b"A".to_vec(), 5)].into()
        );
        assert_eq!(bed.reader().next(&[b"A"], 0).unwrap().seq, 201);
        assert_eq!(bed.compact(203), 102);
        let found = bed.reader().subjects(b">").unwrap();
        let found = found[&b"A"[..]];
        assert_eq!(
            (found.message_count, found.first_seq, found.last_seq),
            (3, 203, 205)
        );
        assert_eq!(
            bed.blocks()
                .iter()
                .filter(|block| block.message_count > 0)
                .count(),
            1
        );
    });
}

#[test]
fn e_109_e_110_e_111_space_before_the_first_is_won_back() {
    // The reference writes the block anew at once where much is dead in it; here tidying does.
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 500_000);
        let body: Vec<u8> = (0..8 * 1024_u32).map(|at| ((at * at) >> 7) as u8).collect();
        for _ in 0..64 {
            bed.put("foo", &body);
        }
        bed.put("foo", &body);
        assert_eq!(bed.compact(50), 49);
        bed.tidy();
        let blocks = bed.blocks();
        let first = &blocks[0];
        let file = bed.block_files()[&first.number].len() as u64;
        assert_eq!(file, first.raw_bytes);
        if !shape.compresses {
            assert_eq!(file, first.live_bytes);
        }
        if shape.is_plain() {
            let bytes = &bed.block_files()[&first.number];
            assert_eq!(parse_at(bytes, 0).unwrap().sequence(), 50);
        } else if shape.cipher.is_none() {
            assert!(bed.block_files()[&first.number].starts_with(b"cmp"));
        }
        assert_eq!(bed.reader().get(50).unwrap().body(), body);
        assert_eq!(bed.reader().get(65).unwrap().body(), body);
        bed.puts("foo", 1);
        bed.finish();
    }
}

#[test]
fn e_112_at_the_highest_level_nothing_waits_after_a_compaction() {
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 500);
        bed.writer().set_level(Level::Synced);
        bed.puts("foo", 40);
        assert_eq!(bed.compact(15), 14);
        assert_eq!(bed.writer().watermark().synced_seq, 40);
        let image = bed.fs.crash_image(jetsam::env::memory::Unsynced::Dropped);
        let store = bed.try_open(&image).unwrap();
        assert_eq!(bounds(&store.reader()), (15, 40, 26));
        drop(store);
        bed.finish();
    }
}

#[test]
fn e_113_bytes_are_exact_after_a_small_and_a_large_compaction() {
    for length in [0, 20_000] {
        every_shape("", 300_000, |bed| {
            let body = vec![b'Z'; length];
            for _ in 0..20 {
                bed.put("foo", &body);
            }
            assert_eq!(bed.compact(16), 15);
            assert_eq!(
                (bed.bounds(), bed.bytes()),
                ((16, 20, 5), 5 * (33 + length as u64))
            );
            bed.kill();
            assert_eq!(
                (bed.bounds(), bed.bytes()),
                ((16, 20, 5), 5 * (33 + length as u64))
            );
        });
    }
}

#[test]
fn e_114_the_last_sequence_outlives_the_last_message() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 1);
        assert_eq!(bed.compact(2), 1);
        assert_eq!(bed.bounds(), (2, 1, 0));
        bed.kill();
        assert_eq!(bed.bounds(), (2, 1, 0));
    });
}

#[test]
fn e_115_what_is_stored_right_after_a_compaction_is_read() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 1);
        let reader = bed.reader();
        bed.compact(2);
        bed.puts("foo", 1);
        assert_eq!(reader.get(2).unwrap().body(), b"Hello World");
        assert_eq!(bed.bounds(), (2, 2, 1));
    });
}

#[test]
fn e_116_above_a_sequence_everything_goes_and_deletes_below_stay() {
    every_shape("", 350, |bed| {
        for seq in 1..=100 {
            bed.put(if seq < 50 { "foo" } else { "bar" }, "ok");
        }
        assert_eq!(bed.truncate(50), 50);
        assert_eq!(bed.bounds(), (1, 50, 50));
        bed.remove([10, 20, 30, 40]);
        // Tombstones of 10 and 20 lie behind the cut.
        assert_eq!(bed.truncate(25), 23);
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 25, 23), vec![10, 20]));
        bed.kill();
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 25, 23), vec![10, 20]));
        assert_eq!(bed.put("bar", "ok"), 26);
    });
}

#[test]
fn e_117_e_118_cutting_at_a_sequence_that_is_gone_keeps_it_the_last() {
    every_shape("", 2 * 44, |bed| {
        bed.puts("foo", 10);
        bed.remove([5, 6]);
        assert_eq!(bed.truncate(6), 4);
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 6, 4), vec![5, 6]));
        bed.kill();
        assert_eq!(bed.put("foo", "x"), 7);
    });
    // What lies before the first is no place to cut at; the reference goes on there and empties the stream.
    every_shape("", 2 * 44, |bed| {
        bed.puts("foo", 10);
        bed.compact(5);
        let refused = bed.writer().truncate(3);
        assert_eq!(
            refused,
            Err(RemoveError::Range {
                seq: 3,
                first_seq: 5,
                last_seq: 10
            })
        );
        assert_eq!(bed.truncate(5), 5);
        assert_eq!(bed.bounds(), (5, 5, 1));
    });
    // A prefix in the block of the cut is gone.
    every_shape("", 8192, |bed| {
        bed.puts("foo", 5);
        bed.compact(3);
        bed.remove([4]);
        assert_eq!(bed.truncate(4), 1);
        assert_eq!((bed.bounds(), bed.deleted()), ((3, 4, 1), vec![4]));
    });
}

#[test]
fn e_119_nothing_is_cut_to_nothing() {
    // The reference takes 0 for a reset of everything, sequences included; here that is a range the stream does not have. A purge
    // keeps the last sequence, and a new directory begins at 1.
    every_shape("", 200, |bed| {
        bed.puts("foo", 20);
        let refused = bed.writer().truncate(0);
        assert_eq!(
            refused,
            Err(RemoveError::Range {
                seq: 0,
                first_seq: 1,
                last_seq: 20
            })
        );
        assert_eq!(bed.bounds(), (1, 20, 20));
    });
}

#[test]
fn e_120_a_cut_into_a_block_that_is_gone_keeps_its_sequence() {
    every_shape("", 33, |bed| {
        for _ in 0..3 {
            bed.put("foo", "");
        }
        bed.remove([2]);
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 3, 2), vec![2]));
        assert_eq!(bed.truncate(2), 1);
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 2, 1), vec![2]));
        bed.kill();
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 2, 1), vec![2]));
    });
}

#[test]
fn e_121_what_was_not_handed_over_is_before_the_cut() {
    every_shape("", 8192, |bed| {
        bed.writer().set_level(Level::Buffered);
        bed.puts("foo", 10);
        assert_eq!(bed.truncate(5), 5);
        assert_eq!(bed.bounds(), (1, 5, 5));
        bed.kill_without_flush();
        assert_eq!(bed.bounds(), (1, 5, 5));
    });
}

#[test]
fn e_122_e_123_the_block_that_becomes_the_last_is_plain_and_appended_to() {
    let takes: [fn(&mut Bed); 4] = [
        |_| {},
        |bed| bed.remove([3, 7]),
        |bed| bed.erase([3, 7]),
        |bed| assert_eq!(bed.compact(4), 3),
    ];
    for compresses in [false, true] {
        for take in takes {
            let mut bed = Bed::new(
                Shape {
                    cipher: None,
                    compresses,
                },
                "",
                5 * 44,
            );
            bed.puts("foo", 30);
            bed.tidy();
            take(&mut bed);
            bed.truncate(8);
            let files = bed.block_files();
            let last = files.last_key_value().unwrap();
            assert!(!last.1.starts_with(b"cmp"));
            let hash = bed.blocks().last().unwrap().last_record_hash;
            assert_eq!(
                hash.map(|hash| hash.to_vec()),
                last.1.last_chunk::<8>().map(|hash| hash.to_vec())
            );
            assert_eq!(bed.put("foo", "x"), 9);
            bed.finish();
        }
    }
}

#[test]
fn e_230_nothing_is_left_of_deletes_outside_the_stream() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 10);
        bed.remove([3, 4, 7]);
        bed.compact(5);
        assert_eq!(
            (
                bed.deleted(),
                bed.blocks()[0].deleted.iter().collect::<Vec<_>>()
            ),
            (vec![7], vec![7])
        );
        bed.truncate(6);
        assert_eq!(bed.deleted(), Vec::<u64>::new());
        assert!(bed.blocks().iter().all(|block| block.deleted.is_empty()));
    });
    // A range in which nothing is left.
    every_shape("", 2 * 44, |bed| {
        bed.puts("foo", 10);
        bed.remove(2..=9);
        assert_eq!(bed.compact(6), 1);
        assert_eq!((bed.bounds(), bed.deleted()), ((10, 10, 1), vec![]));
    });
    // Whatever it was that took a message inside, a cut above keeps it gone.
    let takes: [fn(&mut Bed); 3] = [|bed| bed.remove([2]), |bed| bed.erase([2]), |_| {}];
    for (nth, take) in takes.into_iter().enumerate() {
        for block_size in [44, 8192] {
            every_shape("", block_size, |bed| {
                bed.puts("foo", 1);
                match nth {
                    2 => bed.skip(1),
                    _ => bed.puts("foo", 1),
                }
                bed.puts("foo", 2);
                take(bed);
                assert_eq!(bed.truncate(3), 1);
                assert_eq!(
                    (bed.bounds(), bed.deleted()),
                    ((1, 3, 2), vec![2]),
                    "{nth} {block_size}"
                );
                assert_eq!(bed.miss(2), ReadError::Deleted { seq: 2 });
            });
        }
    }
}

/// Of what a cut leaves half done nothing comes back that was gone, and what stays is what was below.
#[test]
fn e_116_wherever_a_cut_ends_what_lies_below_is_there() {
    for shape in [
        Shape::PLAIN,
        Shape {
            cipher: Some(jetsam::crypto::Cipher::ChaCha),
            compresses: true,
        },
    ] {
        for number in 0.. {
            let mut bed = Bed::new(shape, "", 3 * 44);
            bed.puts("foo", 12);
            bed.remove([2, 5]);
            let first = bed.fs.calls().len();
            bed.fs.inject(Fault::Crash {
                number: first + number,
                written: None,
            });
            let cut = bed.writer().truncate(7);
            bed.kill_without_flush();
            let seqs = bed.seqs();
            assert_eq!(seqs[..5], [1, 3, 4, 6, 7], "call {number}");
            assert!(seqs[5..].iter().all(|seq| (8..=12).contains(seq)));
            bed.finish();
            if cut.is_ok() {
                assert_eq!(seqs.len(), 5);
                break;
            }
        }
    }
}

#[test]
fn e_113_small_compactions_are_proven_by_tombstones() {
    plain("", 8192, |bed| {
        bed.puts("foo", 10);
        bed.compact(4);
        assert_eq!(bed.tombstones(), [1, 2, 3]);
        let kinds = bed.records().into_iter().map(|(kind, _)| kind);
        assert_eq!(
            kinds.filter(|kind| *kind == RecordKind::Message).count(),
            10
        );
    });
}
