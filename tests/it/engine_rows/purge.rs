//! Purging everything, by subject, from the front, and but for the last.

use std::path::Path;

use jetsam::env::memory::{Fault, Unsynced};
use jetsam::format::record::RecordKind;
use jetsam::store::ReadError;

use super::bed::{Bed, DIR, Shape, bounds, every_shape, plain};

#[test]
fn e_087_a_purge_leaves_one_block_that_tells_the_last_sequence() {
    every_shape("", 500, |bed| {
        bed.puts("foo", 100);
        let last_ns = bed.now_ns;
        assert_eq!(bed.purge("", 0, 0), 100);
        assert_eq!((bed.bounds(), bed.bytes()), ((101, 100, 0), 0));
        assert_eq!((bed.blocks().len(), bed.block_files().len()), (1, 1));
        assert_eq!(bed.reader().summary().last.timestamp_ns, last_ns);
        assert!(
            bed.names()
                .iter()
                .all(|path| !path.to_string_lossy().contains("__"))
        );
        bed.puts("foo", 100);
        // What a purge that was interrupted left behind is cleaned away by the next start.
        bed.fs
            .seed_file(format!("{DIR}/__msgs__/1.blk"), b"old".to_vec());
        bed.reopen();
        assert_eq!(bed.bounds(), (101, 200, 100));
        assert!(bed.file("__msgs__/1.blk").is_none());
        // Twice in a row, and on nothing.
        assert_eq!((bed.purge("", 0, 0), bed.purge(">", 0, 0)), (100, 0));
        assert_eq!(bed.bounds(), (201, 200, 0));
    });
}

#[test]
fn e_088_wherever_a_purge_ends_it_happened_or_not() {
    for shape in Shape::all() {
        for number in 0.. {
            let mut bed = Bed::new(shape, "", 500);
            bed.puts("foo", 30);
            bed.writer().sync().unwrap();
            let first = bed.fs.calls().len();
            bed.fs.inject(Fault::Crash {
                number: first + number,
                written: None,
            });
            let purged = bed.writer().purge(&Default::default());
            for unsynced in [
                Unsynced::Kept,
                Unsynced::Dropped,
                Unsynced::Torn { seed: 7 },
            ] {
                let image = bed.fs.crash_image(unsynced);
                let store = bed.try_open(&image).unwrap();
                let found = bounds(&store.reader());
                let expected = [(1, 30, 30), (31, 30, 0)];
                assert!(expected.contains(&found), "{number} {unsynced:?} {found:?}");
                let is_kept = unsynced == Unsynced::Kept;
                assert!(
                    purged.is_err() || !is_kept || found == (31, 30, 0),
                    "{number} {unsynced:?} {found:?}"
                );
            }
            if purged.is_ok() {
                assert!(number > 4);
                break;
            }
        }
    }
}

#[test]
fn e_089_e_091_e_092_by_subject_all_but_the_last_go() {
    every_shape("", 1000, |bed| {
        bed.puts("foo.0", 1);
        for _ in 0..200 {
            bed.puts("foo.1", 1);
        }
        bed.puts("foo.2", 1);
        assert_eq!(bed.purge("foo.1", 0, 0), 200);
        assert_eq!((bed.bounds(), bed.seqs()), ((1, 202, 2), vec![1, 202]));
    });
    // Several blocks; one of two.
    every_shape("", 128, |bed| {
        let fill = vec![b'X'; 128];
        bed.put("A", "META");
        bed.put("B", &fill);
        bed.put("A", "META");
        bed.put("B", &fill);
        assert_eq!(bed.purge("A", 0, 1), 1);
        assert_eq!(bed.seqs(), [2, 3, 4]);
        assert_eq!(bed.purge("A", 0, 1), 0);
    });
    // What is gone already is not counted.
    every_shape("", 128, |bed| {
        for subject in ["A", "B", "A", "B", "A", "B", "A", "A"] {
            bed.put(subject, "META");
        }
        bed.purge("B", 0, 0);
        assert_eq!(bed.seqs(), [1, 3, 5, 7, 8]);
        assert_eq!(bed.purge("", 0, 2), 3);
        assert_eq!(bed.seqs(), [7, 8]);
    });
}

#[test]
fn e_090_blocks_that_a_purge_by_subject_empties_go() {
    // The reference takes them without a word, and has half of them should it end in between. Here each message is proven gone before;
    // what is left of that goes with the first rewrite of the block in which it lies.
    plain("", 1000, |bed| {
        bed.puts("foo.1", 100);
        bed.puts("foo.2", 100);
        bed.tidy();
        assert_eq!(bed.purge("foo.1", 0, 0), 100);
        bed.tidy();
        assert!(
            bed.records()
                .iter()
                .all(|(kind, seq)| *kind != RecordKind::Message || *seq > 80)
        );
        assert_eq!(bed.layout().concat(), (101..=200).collect::<Vec<_>>());
        assert_eq!(bed.bounds(), (101, 200, 100));
    });
}

#[test]
fn e_093_purging_up_to_a_tail_that_is_gone_empties_the_stream() {
    every_shape("", 200, |bed| {
        for nth in 1..=10 {
            bed.put(&format!("foo.{nth}"), "abc");
        }
        bed.remove([8, 9, 10]);
        assert_eq!(bed.purge(">", 8, 0), 7);
        assert_eq!(bed.bounds(), (11, 10, 0));
        bed.reopen();
        assert_eq!(bed.bounds(), (11, 10, 0));
        assert!(bed.file("msgs/index.db").is_some());
    });
}

#[test]
fn e_094_e_095_e_096_e_097_a_purge_by_subject_reads_the_blocks_of_the_subject_alone() {
    // A block that cannot be read shows whether it was asked for.
    let mut bed = Bed::new(Shape::PLAIN, "", 2 * 43);
    for subject in ["A", "A", "B", "B", "B", "B", "B", "B", "B", "B"] {
        bed.put(subject, "Hello World");
    }
    bed.reopen();
    let blocks: Vec<u32> = bed.blocks().iter().map(|block| block.number).collect();
    for number in &blocks[1..4] {
        for after_reads in 0..50 {
            bed.fs.inject(Fault::FailRead {
                path: Path::new(DIR).join(format!("msgs/{number}.blk")),
                after_reads,
                kind: std::io::ErrorKind::Other,
            });
        }
    }
    // Unknown: nothing is read.
    assert_eq!(bed.purge("foo.unknown", 0, 0), 0);
    assert_eq!(bed.store().memory().cache_bytes, 0);
    assert_eq!(bed.purge("A", 0, 0), 2);
    assert_eq!(bed.bounds(), (3, 10, 8));
    bed.fs = bed.fs.fork();
    bed.kill();
    assert_eq!(bed.purge("B", 0, 1), 7);
    bed.finish();
}

#[test]
fn e_098_purges_one_after_the_other_keep_count() {
    every_shape("", 132, |bed| {
        for nth in 0..50 {
            bed.put(["A", "B", "foo.c"][nth % 3], "AAAAAAAAAAAAAAAAAAA");
        }
        assert_eq!(bed.purge("B", 0, 0), 17);
        bed.kill();
        assert_eq!(bed.purge("A", 0, 2), 15);
        bed.kill();
        assert_eq!(bed.bounds(), (3, 50, 18));
        assert_eq!(
            bed.reader().subject_totals(b">"),
            [(b"A".to_vec(), 2), (b"foo.c".to_vec(), 16)].into()
        );
        assert_eq!(bed.purge("", 0, 0), 18);
        bed.kill();
        assert_eq!(bed.bounds(), (51, 50, 0));
        bed.puts("A", 1);
    });
}

#[test]
fn e_099_e_100_a_first_block_that_goes_whole_takes_its_counts_along() {
    every_shape(r#","max_msgs":20"#, 10 * 46, |bed| {
        for nth in 0..20 {
            bed.puts(&format!("foo.{}", nth % 2), 1);
        }
        // Below: all of the first block; by a limit: the same.
        assert_eq!(bed.compact(11), 10);
        assert_eq!((bed.bounds(), bed.bytes()), ((11, 20, 10), 10 * 46));
        let five = |bed: &Bed| {
            bed.reader()
                .subject_totals(b"foo.*")
                .into_values()
                .collect::<Vec<_>>()
        };
        assert_eq!(five(bed), [5, 5]);
        bed.configure(r#","max_msgs":4"#);
        assert_eq!((bed.bounds(), bed.bytes()), ((17, 20, 4), 4 * 46));
        assert_eq!(five(bed), [2, 2]);
    });
}

#[test]
fn e_101_schedules_and_times_to_live_go_with_their_block() {
    let more = r#","allow_msg_schedules":true,"allow_msg_ttl":true"#;
    every_shape(more, 300, |bed| {
        bed.put_with(
            "foo.s",
            "Nats-Schedule: @every 1h\r\nNats-Schedule-Target: foo.t\r\n",
            "x",
        );
        bed.put_with("foo.ttl", "Nats-TTL: 3600\r\n", "x");
        bed.puts("foo", 20);
        let timers = |bed: &Bed| {
            bed.store().with_state(|state| {
                let schedules = state.timers.schedules().map(|schedules| schedules.len());
                (schedules, state.timers.ttl_count())
            })
        };
        assert_eq!(timers(bed), (Some(1), Some(1)));
        bed.compact(15);
        assert_eq!(timers(bed), (Some(0), Some(0)));
    });
}

#[test]
fn e_231_bounds_of_a_purge_of_zero_and_one_and_what_is_kept_behind_deletes() {
    every_shape("", 200, |bed| {
        bed.puts("foo", 10);
        // Below 1 there is nothing.
        assert_eq!(bed.purge("foo", 1, 0), 0);
        assert_eq!(bed.purge("", 1, 0), 0);
        assert_eq!(bed.bounds(), (1, 10, 10));
        bed.remove([8, 9]);
        // All but the last two that are there.
        assert_eq!(bed.purge("foo", 0, 2), 6);
        assert_eq!(bed.seqs(), [7, 10]);
        assert_eq!(bed.purge("foo", 10, 1), 1);
        assert_eq!(bed.seqs(), [10]);
        assert_eq!(bed.purge("foo", 0, 0), 1);
        assert_eq!(bed.miss(10), ReadError::NotFound);
    });
}
