//! Times to live, markers, schedules.

use jetsam::format::headers;
use jetsam::format::timers::{ExpiryFile, ScheduleFile};
use jetsam::store::{Maintained, ReadError};

use super::bed::{Bed, SECOND_NS, Shape, every_shape, plain};

const TTLS: &str = r#","allow_msg_ttl":true"#;
const SCHEDULES: &str = r#","allow_msg_schedules":true"#;

fn maintain(bed: &mut Bed, later_ns: i64) -> Maintained {
    bed.now_ns += later_ns;
    let now_ns = bed.now_ns;
    bed.writer().maintain(now_ns).unwrap()
}

fn wheel(bed: &Bed) -> Option<u64> {
    bed.store().with_state(|state| state.timers.ttl_count())
}

fn schedules(bed: &Bed) -> Option<u64> {
    bed.store()
        .with_state(|state| state.timers.schedules().map(|found| found.len()))
}

/// Records with a time to live, and with a schedule, block by block.
fn counters(bed: &Bed) -> Vec<(u64, u64)> {
    let blocks = bed.blocks();
    blocks
        .iter()
        .map(|block| (block.ttl_count, block.schedule_count))
        .collect()
}

#[test]
fn e_161_e_166_messages_go_when_their_time_is_over_and_leave_evidence() {
    every_shape(TTLS, 500, |bed| {
        for _ in 0..10 {
            bed.put_with("foo", "Nats-TTL: 1\r\n", "x");
        }
        assert_eq!(
            (wheel(bed), maintain(bed, SECOND_NS / 2).expired_count),
            (Some(10), 0)
        );
        let done = maintain(bed, SECOND_NS / 2);
        assert_eq!((done.expired_count, done.next_ns), (10, None));
        assert_eq!((bed.bounds(), wheel(bed)), ((11, 10, 0), Some(0)));
    });
    plain(TTLS, 8192, |bed| {
        bed.puts("foo", 1);
        bed.put_with("foo", "Nats-TTL: 1\r\n", "x");
        bed.puts("foo", 1);
        maintain(bed, 2 * SECOND_NS);
        assert_eq!((bed.tombstones(), bed.deleted()), (vec![2], vec![2]));
    });
}

#[test]
fn e_162_times_to_live_are_kept_over_restarts_by_their_file_or_by_the_headers() {
    every_shape(TTLS, 300, |bed| {
        for nth in 0..10 {
            bed.put_with("foo", &format!("Nats-TTL: {}\r\n", 10 + nth), "x");
            bed.puts("foo", 1);
        }
        let counted = counters(bed);
        assert_eq!(counted.iter().map(|(ttls, _)| ttls).sum::<u64>(), 10);
        let entries = |bed: &Bed| bed.store().with_state(|state| state.timers.ttl_entries());
        let known = entries(bed);
        bed.reopen();
        assert_eq!(
            (entries(bed), counters(bed)),
            (known.clone(), counted.clone())
        );
        bed.kill();
        assert_eq!((entries(bed), counters(bed)), (known, counted));
        assert_eq!(maintain(bed, 15 * SECOND_NS).expired_count, 6);
        bed.kill();
        assert_eq!(wheel(bed), Some(4));
    });
    // A single message, and nothing but its block.
    every_shape(TTLS, 300, |bed| {
        bed.put_with("foo", "Nats-TTL: 1\r\n", "x");
        bed.kill();
        assert_eq!(maintain(bed, 2 * SECOND_NS).expired_count, 1);
        assert_eq!(bed.bounds(), (2, 1, 0));
    });
}

#[test]
fn e_163_e_164_e_165_times_to_live_go_with_their_messages() {
    let ways: [fn(&mut Bed); 5] = [
        |bed| assert_eq!(bed.purge("", 0, 0), 10),
        |bed| assert_eq!(bed.purge("foo", 0, 0), 10),
        |bed| assert_eq!(bed.compact(11), 10),
        |bed| bed.remove(1..=10),
        |bed| assert_eq!(bed.truncate(1), 9),
    ];
    for (nth, way) in ways.into_iter().enumerate() {
        every_shape(TTLS, 300, |bed| {
            for _ in 0..10 {
                bed.put_with("foo", "Nats-TTL: 10\r\n", "x");
            }
            way(bed);
            let left = u64::from(nth == 4);
            // Not only at the next run: a message that takes a number over is not hit by the time of the one before (G6).
            assert_eq!(wheel(bed), Some(left), "{nth}");
            bed.puts("foo", 3);
            assert_eq!(maintain(bed, 20 * SECOND_NS).expired_count, left);
            bed.reopen();
            assert_eq!(wheel(bed), Some(0));
        });
    }
}

#[test]
fn e_167_e_232_the_tables_come_and_go_with_the_configuration() {
    every_shape("", 300, |bed| {
        bed.put_with("foo", "Nats-TTL: 10\r\n", "x");
        bed.put_with(
            "foo.s",
            "Nats-Schedule: @every 1h\r\nNats-Schedule-Target: foo.t\r\n",
            "x",
        );
        assert_eq!((wheel(bed), schedules(bed)), (None, None));
        bed.configure(&[TTLS, SCHEDULES].concat());
        assert_eq!((wheel(bed), schedules(bed)), (Some(1), Some(1)));
        bed.put_with("foo", "Nats-TTL: 10\r\n", "x");
        assert_eq!(wheel(bed), Some(2));
        bed.kill();
        assert_eq!((wheel(bed), schedules(bed)), (Some(2), Some(1)));
        bed.configure("");
        assert_eq!((wheel(bed), schedules(bed)), (None, None));
        assert_eq!(maintain(bed, 20 * SECOND_NS).expired_count, 0);
    });
}

#[test]
fn e_168_e_170_e_172_counters_of_a_block_are_those_of_its_records() {
    let more = [TTLS, SCHEDULES].concat();
    every_shape(&more, 400, |bed| {
        let lines = "Nats-Schedule: @every 1h\r\nNats-Schedule-Target: foo.t\r\nNats-TTL: 3600\r\n";
        bed.put_with("foo.s", lines, "x");
        assert_eq!(
            (counters(bed), wheel(bed), schedules(bed)),
            (vec![(1, 1)], Some(1), Some(1))
        );
        for _ in 0..20 {
            bed.put_with("foo", "Nats-TTL: 3600\r\n", "x");
            bed.puts("foo", 1);
        }
        let counted = counters(bed);
        bed.kill();
        assert_eq!(counters(bed), counted);
        assert_eq!(counted.iter().map(|(ttls, _)| ttls).sum::<u64>(), 21);
    });
}

#[test]
fn e_169_a_marker_takes_the_place_of_a_subjects_last_message() {
    let more = r#","allow_msg_ttl":true,"max_age":1000000000,"subject_delete_marker_ttl":1000000000,"allow_rollup_hdrs":true"#;
    every_shape(more, 500, |bed| {
        bed.puts("foo", 3);
        let done = maintain(bed, SECOND_NS);
        assert_eq!((done.expired_count, done.marker_count), (2, 1));
        assert_eq!(bed.bounds(), (4, 4, 1));
        let marker = bed.reader().get(4).unwrap();
        let found = |name: &[u8]| headers::find(marker.headers(), name);
        assert_eq!(found(b"Nats-Marker-Reason"), Some(&b"MaxAge"[..]));
        assert_eq!(found(b"Nats-TTL"), Some(&b"1s"[..]));
        assert_eq!((marker.subject(), marker.body()), (&b"foo"[..], &b""[..]));
        // Asked again it does nothing twice; and a marker leaves no marker.
        assert_eq!(maintain(bed, 1).marker_count, 0);
        let done = maintain(bed, SECOND_NS);
        assert_eq!((done.expired_count, done.marker_count), (1, 0));
        assert_eq!(bed.bounds(), (5, 4, 0));
    });
}

#[test]
fn e_171_a_header_counts_where_its_name_begins_a_line() {
    every_shape(TTLS, 8192, |bed| {
        for (lines, counts) in [
            ("Nats-TTL: 5\r\n", true),
            ("A: b\r\nNats-TTL: 5\r\n", true),
            ("A: Nats-TTL: 5\r\n", false),
            ("X-Nats-TTL: 5\r\n", false),
            ("Nats-TTLs: 5\r\n", false),
        ] {
            let before = wheel(bed).unwrap();
            bed.put_with("foo", lines, "x");
            assert_eq!(wheel(bed).unwrap() - before, u64::from(counts), "{lines:?}");
        }
    });
}

#[test]
fn e_174_a_schedule_sends_to_its_target_and_says_when_the_next_is_due() {
    every_shape(SCHEDULES, 8192, |bed| {
        let lines = "Nats-Schedule: @every 10s\r\nNats-Schedule-Target: foo.target\r\n";
        bed.put_with("foo.schedule", lines, "hello");
        assert_eq!(maintain(bed, 5 * SECOND_NS).fired_count, 0);
        let done = maintain(bed, 5 * SECOND_NS);
        assert_eq!(done.fired_count, 1);
        let sent = bed.reader().last(b"foo.target").unwrap();
        assert_eq!((sent.seq, sent.body()), (2, &b"hello"[..]));
        let scheduler = headers::find(sent.headers(), b"Nats-Scheduler");
        assert_eq!(scheduler, Some(&b"foo.schedule"[..]));
        let next = headers::find(sent.headers(), b"Nats-Schedule-Next").unwrap();
        assert!(
            next.starts_with(b"2026-01-01T00:00:"),
            "{}",
            String::from_utf8_lossy(next)
        );
        assert!(headers::find(sent.headers(), b"Nats-Schedule").is_none());
        // Missed times are made up for by one.
        assert_eq!(maintain(bed, 100 * SECOND_NS).fired_count, 1);
        assert_eq!(bed.bounds(), (1, 3, 3));
        bed.purge("foo.schedule", 0, 0);
        assert_eq!(schedules(bed), Some(0));
    });
    // Once, and then it is gone.
    every_shape(SCHEDULES, 8192, |bed| {
        let lines =
            "Nats-Schedule: @at 2026-01-01T00:00:10Z\r\nNats-Schedule-Target: foo.target\r\n";
        bed.put_with("foo.schedule", lines, "hello");
        assert_eq!(maintain(bed, 11 * SECOND_NS).fired_count, 1);
        assert_eq!((bed.seqs(), schedules(bed)), (vec![2], Some(0)));
        let sent = bed.reader().get(2).unwrap();
        assert_eq!(
            headers::find(sent.headers(), b"Nats-Schedule-Next"),
            Some(&b"purge"[..])
        );
    });
}

#[test]
fn e_175_schedules_are_found_in_blocks_alone() {
    every_shape(SCHEDULES, 8192, |bed| {
        let lines = "Nats-Schedule: @every 1h\r\nNats-Schedule-Target: foo.target\r\n";
        bed.put_with("foo.schedule", lines, "hello");
        bed.kill();
        assert_eq!((schedules(bed), counters(bed)), (Some(1), vec![(0, 1)]));
        assert_eq!(maintain(bed, 3600 * SECOND_NS).fired_count, 1);
        assert_eq!(maintain(bed, 0).fired_count, 0);
        // When the next is due stands in the schedules' file alone: a start without that sends once more, as the reference's does.
        bed.kill();
        assert_eq!(maintain(bed, 0).fired_count, 1);
        bed.purge("foo.schedule", 0, 0);
    });
}

#[test]
fn e_176_files_of_timers_come_back_and_what_is_short_is_refused() {
    let mut bed = Bed::new(Shape::PLAIN, &[TTLS, SCHEDULES].concat(), 8192);
    for nth in 0..20 {
        bed.put_with("foo", "Nats-TTL: 3600\r\n", "x");
        let lines = "Nats-Schedule: @every 1h\r\nNats-Schedule-Target: foo.target\r\n";
        bed.put_with(&format!("foo.{nth}"), lines, "x");
    }
    bed.reopen();
    let (expiries, schedules) = (
        bed.file("msgs/thw.db").unwrap(),
        bed.file("msgs/sched.db").unwrap(),
    );
    assert_eq!(ExpiryFile::decode(&expiries).unwrap().encode(), expiries);
    assert_eq!(
        ScheduleFile::decode(&schedules).unwrap().encode(),
        schedules
    );
    for length in 0..expiries.len() {
        assert!(ExpiryFile::decode(&expiries[..length]).is_err(), "{length}");
    }
    for length in 0..schedules.len() {
        assert!(
            ScheduleFile::decode(&schedules[..length]).is_err(),
            "{length}"
        );
    }
    bed.finish();
}

#[test]
fn e_178_files_that_a_scan_made_good_are_written_on_closing() {
    every_shape(&[TTLS, SCHEDULES].concat(), 8192, |bed| {
        bed.put_with("foo", "Nats-TTL: 3600\r\n", "x");
        bed.reopen();
        jetsam::env::FileSystem::remove_file(
            &bed.fs,
            &std::path::Path::new(super::bed::DIR).join("msgs/thw.db"),
        )
        .unwrap();
        bed.reopen();
        bed.reopen();
        assert_eq!(wheel(bed), Some(1));
        let file = bed.file("msgs/thw.db").expect("the file is there again");
        assert_eq!(ExpiryFile::decode(&file).unwrap().stamp, 2);
    });
}

#[test]
fn e_161_a_time_to_live_that_never_ends_outlives_the_age() {
    let more = r#","allow_msg_ttl":true,"max_age":1000000000"#;
    let mut bed = Bed::new(Shape::PLAIN, more, 8192);
    bed.put_with("foo", "Nats-TTL: never\r\n", "x");
    bed.puts("foo", 2);
    assert_eq!(maintain(&mut bed, SECOND_NS).expired_count, 2);
    assert_eq!(bed.seqs(), [1]);
    assert_eq!(bed.miss(2), ReadError::Deleted { seq: 2 });
}
