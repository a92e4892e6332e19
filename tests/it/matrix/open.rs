//! Clean reopenings, and content that upper layers rebuild.

use super::{both, bounds, cases, deleted, each, from_index, state};

#[test]
fn r001_append_across_restarts() {
    for (first, second) in cases("R001", "first").iter().zip(cases("R001", "second")) {
        let (first, second) = (first.look(), second.look());
        assert_eq!(bounds(&first), (100, 1, 100));
        assert_eq!(bounds(&second), (200, 1, 200));
        assert_eq!(state(&first).bytes * 2, state(&second).bytes);
    }
}

#[test]
fn r004_five_blocks_of_four() {
    each("R004", "", |case, report| {
        assert_eq!(bounds(report), (20, 1, 20));
        assert_eq!(case.server_blocks(), 5);
        let seqs: Vec<u64> = case.messages().iter().map(|message| message.0).collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    });
}

#[test]
fn r005_last_time_outlives_the_last_message() {
    both("R005", "", (0, 2, 1), |_, report| {
        assert!(state(report).last_time_ns.is_some());
    });
}

#[test]
fn r007_last_time_outlives_expiry() {
    // The next message gets sequence 5.
    both("R007", "", (0, 5, 4), |_, report| {
        let year_1980 = 315_532_800_000_000_000..347_155_200_000_000_000;
        assert!(year_1980.contains(&state(report).last_time_ns.expect("a time")));
    });
}

#[test]
fn r009_nothing_removed() {
    both("R009", "", (4, 1, 4), |_, report| {
        assert_eq!((state(report).bytes, state(report).subject_count), (140, 2));
        assert!(deleted(report).is_empty());
    });
}

#[test]
fn r011_message_ids_are_exact() {
    both("R011", "", (5, 10, 14), |case, _| {
        let ids: Vec<(u64, String)> = case
            .messages()
            .into_iter()
            .map(|(seq, _, headers, _)| (seq, headers))
            .collect();
        let want: Vec<(u64, String)> = (10..)
            .zip(["AAA", "BBB", "CCC", "DDD", "EEE"])
            .map(|(seq, id)| (seq, format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n")))
            .collect();
        assert_eq!(ids, want);
    });
}

#[test]
fn r012_last_message_id() {
    each("R012", "", |case, report| {
        assert_eq!(bounds(report), (2, 1, 2));
        let last = case.messages().pop().expect("a message");
        assert_eq!(
            (last.0, last.2.as_str()),
            (2, "NATS/1.0\r\nNats-Msg-Id: AAA\r\n\r\n")
        );
    });
}

#[test]
fn r014_emptied_work_queue_keeps_its_origin() {
    each("R014", "", |_, report| {
        assert_eq!(bounds(report), (0, 11, 10));
        let sources = report.sources.as_ref().expect("sources");
        assert_eq!(sources[b"C1 > >".as_slice()].seq, 10);
    });
}

#[test]
fn r015_two_origins() {
    each("R015", "", |_, report| {
        assert_eq!(bounds(report), (2, 19, 20));
        let sources = report.sources.as_ref().expect("sources");
        assert_eq!(sources[b"C1 > >".as_slice()].seq, 10);
        assert_eq!(sources[b"C2 > >".as_slice()].seq, 10);
    });
}

#[test]
fn r272_last_message_id_past_the_window() {
    each("R272", "", |case, report| {
        assert!(from_index(report));
        assert_eq!(bounds(report), (1, 1, 1));
        assert_eq!(case.messages()[0].2, "NATS/1.0\r\nNats-Msg-Id: A\r\n\r\n");
    });
}
