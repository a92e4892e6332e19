use super::*;
use crate::format::sets::ranges;

fn stored(seq: u64, subject: &[u8]) -> Stored {
    Stored {
        seq,
        subject: subject_id(subject),
        bytes: 100,
        rollup: None,
    }
}

/// A block with 1 to 10, of 1,000 bytes.
fn listed() -> Vec<ListedBlock> {
    vec![ListedBlock {
        first: 1,
        last: 10,
        bytes: 1000,
    }]
}

/// 1 to 10 as an index counts them, without records of `gone`.
fn counted(gone: SeqSet) -> Checkpoint {
    Checkpoint {
        counted: (1..=10).collect(),
        last: 10,
        blocks: listed(),
        gone,
        shortest: 40,
        ..Checkpoint::default()
    }
}

fn removed(replayed: &Replayed, removal: Removal) -> Vec<(u64, u64)> {
    replayed
        .removed
        .get(&removal)
        .map(ranges)
        .unwrap_or_default()
}

#[test]
fn a_newer_message_takes_the_older_of_its_subject_even_where_it_went_itself() {
    let limits = Limits {
        per_subject: 1,
        ..Limits::default()
    };
    let mut replay = Replay::new(limits, &Checkpoint::default());
    replay.store(&stored(4, b"keya"));
    replay.store(&stored(8, b"keyb"));
    replay.store(&stored(10, b"keya"));
    replay.gone(10);
    let replayed = replay.finish();
    assert_eq!(removed(&replayed, Removal::SubjectLimit), [(4, 4)]);
    assert_eq!(replayed.removed.len(), 1);
}

#[test]
fn limits_take_the_oldest_from_the_checkpoint_on() {
    let limits = Limits {
        messages: 10,
        ..Limits::default()
    };
    let checkpoint = Checkpoint {
        counted: (1..=10).collect(),
        last: 10,
        blocks: listed(),
        gone: (1..=4).collect(),
        ..Checkpoint::default()
    };
    let mut replay = Replay::new(limits, &checkpoint);
    for seq in 5..=13 {
        replay.store(&stored(seq, b"a"));
    }
    // A deletion makes room for one more.
    replay.gone(7);
    replay.store(&stored(14, b"a"));
    replay.store(&stored(15, b"a"));
    assert_eq!(removed(&replay.finish(), Removal::Limit), [(1, 4)]);
}

#[test]
fn bytes_are_those_the_index_counts_and_those_stored_since() {
    let limits = Limits {
        bytes: 1000,
        ..Limits::default()
    };
    let checkpoint = Checkpoint {
        counted: (1..=10).collect(),
        last: 10,
        blocks: listed(),
        ..Checkpoint::default()
    };
    let mut replay = Replay::new(limits, &checkpoint);
    for seq in 1..=12 {
        replay.store(&stored(seq, b"a"));
    }
    assert_eq!(removed(&replay.finish(), Removal::Limit), [(1, 2)]);
}

#[test]
fn once_all_without_a_record_are_gone_bytes_are_exact() {
    let limits = Limits {
        bytes: 1000,
        ..Limits::default()
    };
    // The first five had 10 bytes each, not the average of 100, and no record tells.
    let checkpoint = Checkpoint {
        counted: (1..=10).collect(),
        last: 10,
        blocks: listed(),
        gone: (1..=5).collect(),
        ..Checkpoint::default()
    };
    let mut replay = Replay::new(limits, &checkpoint);
    for seq in 6..=13 {
        replay.store(&Stored {
            bytes: 190,
            ..stored(seq, b"a")
        });
    }
    assert_eq!(removed(&replay.finish(), Removal::Limit), [(1, 8)]);
}

#[test]
fn a_rollup_takes_what_it_asks_for() {
    let limits = Limits {
        rollup: true,
        ..Limits::default()
    };
    let mut replay = Replay::new(limits, &Checkpoint::default());
    for (seq, subject) in [(1, b"a"), (2, b"b"), (3, b"a")] {
        replay.store(&stored(seq, subject));
    }
    replay.store(&Stored {
        rollup: Some(Rollup::Subject),
        ..stored(4, b"a")
    });
    let mut all = Replay::new(limits, &Checkpoint::default());
    all.store(&stored(1, b"b"));
    all.store(&Stored {
        rollup: Some(Rollup::All),
        ..stored(2, b"a")
    });
    assert_eq!(removed(&replay.finish(), Removal::Rollup), [(1, 1), (3, 3)]);
    assert_eq!(removed(&all.finish(), Removal::Rollup), [(1, 1)]);
    assert_eq!(
        Rollup::of(b"NATS/1.0\r\nNats-Rollup: all\r\n\r\n"),
        Some(Rollup::All)
    );
}

#[test]
fn of_messages_without_a_record_only_what_went_in_any_case_was_removed() {
    let limits = Limits {
        bytes: 1000,
        ..Limits::default()
    };
    // The five that are gone had 500 bytes together: of that each can have had 40 to 340.
    let mut replay = Replay::new(limits, &counted((1..=5).collect()));
    for seq in 6..=11 {
        replay.store(&stored(seq, b"a"));
    }
    let replayed = replay.finish();
    assert_eq!(removed(&replayed, Removal::Limit), [(1, 1)]);
    assert_eq!(ranges(&replayed.perhaps), [(2, 3)]);
}

#[test]
fn what_was_left_out_of_a_block_may_have_gone_before_all_else() {
    let limits = Limits {
        messages: 10,
        ..Limits::default()
    };
    let checkpoint = Checkpoint {
        left_out: (3..=4).collect(),
        ..counted((3..=4).collect())
    };
    let mut replay = Replay::new(limits, &checkpoint);
    for seq in (1..=2).chain(5..=13) {
        replay.store(&stored(seq, b"a"));
    }
    let replayed = replay.finish();
    assert_eq!(removed(&replayed, Removal::Limit), [(1, 1)]);
    assert_eq!(ranges(&replayed.perhaps), [(2, 3)]);
}

#[test]
fn tombstones_that_may_have_stood_in_a_hole_made_room() {
    let limits = Limits {
        messages: 10,
        ..Limits::default()
    };
    let mut replay = Replay::new(limits, &counted(SeqSet::new()));
    for seq in 1..=10 {
        replay.store(&stored(seq, b"a"));
    }
    replay.hole(&Hole {
        missing: &SeqSet::new(),
        bytes: Some(60),
        deletes: true,
    });
    for seq in 11..=13 {
        replay.store(&stored(seq, b"a"));
    }
    let replayed = replay.finish();
    assert_eq!(removed(&replayed, Removal::Limit), [(1, 1)]);
    assert_eq!(ranges(&replayed.perhaps), [(2, 3)]);
}

#[test]
fn messages_that_may_have_stood_in_a_hole_took_the_oldest_perhaps() {
    let limits = Limits {
        messages: 3,
        ..Limits::default()
    };
    let mut replay = Replay::new(limits, &Checkpoint::default());
    for seq in 1..=3 {
        replay.store(&stored(seq, b"a"));
    }
    replay.hole(&Hole {
        missing: &(4..=5).collect(),
        bytes: Some(200),
        deletes: false,
    });
    replay.store(&stored(6, b"a"));
    let replayed = replay.finish();
    assert_eq!(removed(&replayed, Removal::Limit), [(1, 1)]);
    assert_eq!(ranges(&replayed.perhaps), [(2, 3)]);
}

#[test]
fn a_full_stream_had_no_room_for_anything_older() {
    let limits = Limits {
        messages: 3,
        ..Limits::default()
    };
    let mut replay = Replay::new(limits, &Checkpoint::default());
    for seq in 5..=6 {
        replay.store(&stored(seq, b"a"));
    }
    replay.gone(5);
    replay.store(&stored(7, b"a"));
    assert_eq!(replay.least.replayed.full_from, 0);
    replay.store(&stored(8, b"a"));
    assert_eq!(replay.finish().full_from, 6);
}

#[test]
fn a_wiped_message_was_there_until_its_tombstone() {
    let limits = Limits {
        messages: 10,
        ..Limits::default()
    };
    let mut replay = Replay::new(limits, &counted([2].into_iter().collect()));
    for seq in (1..=10).filter(|seq| *seq != 2) {
        replay.store(&stored(seq, b"a"));
    }
    replay.wiped(2, 100, true);
    replay.store(&stored(11, b"a"));
    replay.gone(2);
    replay.store(&stored(12, b"a"));
    assert_eq!(removed(&replay.finish(), Removal::Limit), [(1, 1)]);
}

#[test]
fn a_subject_with_as_many_messages_as_the_stream_keeps_has_none_before_them() {
    let limits = Limits {
        per_subject: 3,
        ..Limits::default()
    };
    let mut replay = Replay::new(limits, &counted((3..=10).collect()));
    // What the index counts has its record, or is gone: one that is gone may be newer than one that is there.
    for seq in [1, 2, 11] {
        replay.store(&stored(seq, b"key"));
    }
    let fence = |replay: &Replay| {
        replay
            .least
            .replayed
            .fences
            .get(&subject_id(b"key"))
            .copied()
    };
    assert_eq!(fence(&replay), Some(1));
    for (seq, first) in [(12, 2), (13, 11), (14, 12)] {
        replay.store(&stored(seq, b"key"));
        assert_eq!(fence(&replay), Some(first));
    }
    replay.store(&stored(15, b"other"));
    let replayed = replay.finish();
    assert_eq!(replayed.fences.len(), 1);
    assert_eq!(replayed.known[&subject_id(b"key")], 2);
}
