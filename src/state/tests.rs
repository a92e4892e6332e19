use super::*;
use crate::format::seqset::SeqSet;
use crate::format::timers::{Expiry, Schedule};
use crate::report::stream::{Lost, SourcePosition};

fn at(seq: u64) -> SeqTime {
    SeqTime {
        seq,
        timestamp_ns: seq as i64 * 10,
    }
}

fn block(number: u32, first: u64, last: u64, deleted: &[u64]) -> BlockState {
    let deleted: SeqSet = deleted.iter().copied().collect();
    let message_count = last + 1 - first - deleted.len();
    BlockState {
        number,
        first: at(first),
        last: at(last),
        message_count,
        live_bytes: message_count * 40,
        deleted,
        last_record_hash: Some([number as u8; 8]),
        ..BlockState::default()
    }
}

/// Two blocks with 1, 2, 4 and 6, 7, and an empty one behind them.
fn sound() -> StreamState {
    let empty = BlockState {
        number: 5,
        first: SeqTime {
            seq: 10,
            timestamp_ns: 0,
        },
        last: at(9),
        last_record_hash: Some([5; 8]),
        ..BlockState::default()
    };
    let mut subjects = SubjectIndex::default();
    for (subject, total) in [("a.b", 3), ("a.c", 1), ("d", 1)] {
        let totals = SubjectTotals {
            total,
            first_block: 1,
            last_block: 3,
        };
        subjects.add(subject.as_bytes(), totals);
    }
    let mut timers = Timers::default();
    let expiry = |sequence, expiry_ns| Expiry {
        expiry_ns,
        sequence,
    };
    timers.set_wheel(&[expiry(4, 99_000_000_000), expiry(7, 5_000_000_000)]);
    timers.set_schedules(&[Schedule {
        subject: b"d"[..].into(),
        next_ns: 77,
        sequence: 6,
    }]);
    let position = SourcePosition {
        seq: 12,
        identity: b"i".to_vec(),
    };
    timers.sources = Some([(b"up".to_vec(), position)].into());
    StreamState {
        blocks: vec![block(1, 1, 4, &[3]), block(3, 6, 7, &[]), empty],
        last_block_number: 5,
        totals: Totals {
            messages: 5,
            bytes: 200,
            first: at(1),
            last: at(9),
        },
        subjects,
        tracks_subjects: true,
        timers,
        lost: None,
    }
}

#[test]
fn a_state_whose_parts_agree_is_sound() {
    assert_eq!(sound().check(), Ok(()));
    assert_eq!(
        StreamState::default().check(),
        Ok(()),
        "nothing was ever stored"
    );
    let state = sound();
    let live: Vec<u64> = (0..12).filter(|seq| state.holds(*seq)).collect();
    assert_eq!(live, [1, 2, 4, 6, 7]);
    assert_eq!(state.block_of(3).map(|block| block.number), Some(1));
    assert!(state.block_of(5).is_none() && state.block_of(8).is_none());
}

/// What `spoil` makes of a sound state is told, in words too.
fn told(spoil: impl FnOnce(&mut StreamState)) -> Unsound {
    let mut state = sound();
    spoil(&mut state);
    let told = state.check().expect_err("the parts do not agree");
    assert!(!told.to_string().is_empty());
    told
}

#[test]
fn blocks_that_do_not_follow_each_other_are_told() {
    let is_of =
        |told: &Unsound, block| matches!(told, Unsound::Order { number, .. } if *number == block);
    assert!(is_of(&told(|state| state.blocks[1].number = 1), 1));
    assert!(is_of(&told(|state| state.blocks[1].first.seq = 4), 3));
    assert!(
        is_of(&told(|state| state.blocks[2].first.seq = 9), 5),
        "an empty block with a range"
    );
}

#[test]
fn counts_that_do_not_fill_a_range_are_told() {
    let told_count = told(|state| state.blocks[0].message_count = 4);
    let expected = Unsound::Count {
        number: 1,
        message_count: 4,
        deleted_count: 1,
        range: (1, 4),
    };
    assert_eq!(told_count, expected);
    let outside = |told: &Unsound, block| matches!(told, Unsound::DeletedOutside { number, .. } if *number == block);
    assert!(outside(
        &told(|state| _ = state.blocks[0].deleted.insert(9)),
        1
    ));
    let emptied = Unsound::Emptied {
        number: 5,
        live_bytes: 1,
        deleted_count: 0,
    };
    assert_eq!(told(|state| state.blocks[2].live_bytes = 1), emptied);
}

#[test]
fn totals_that_are_not_those_of_the_blocks_are_told() {
    let spoils: [fn(&mut Totals); 4] = [
        |totals| totals.messages = 6,
        |totals| totals.bytes = 1,
        |totals| totals.first.seq = 2,
        |totals| totals.last.seq = 8,
    ];
    for (at, spoil) in spoils.iter().enumerate() {
        let told = told(|state| spoil(&mut state.totals));
        assert!(matches!(told, Unsound::Totals { .. }), "{at}: {told:?}");
    }
    let one = SubjectTotals {
        total: 1,
        first_block: 1,
        last_block: 1,
    };
    let expected = Unsound::Subjects {
        counted: 6,
        messages: 5,
    };
    assert_eq!(told(|state| state.subjects.add(b"e", one)), expected);
}

#[test]
fn ranges_at_the_ends_of_all_sequences_are_counted_without_overflow() {
    let mut state = StreamState {
        blocks: vec![BlockState {
            number: 1,
            first: SeqTime {
                seq: 1,
                timestamp_ns: 0,
            },
            last: SeqTime {
                seq: u64::MAX,
                timestamp_ns: 0,
            },
            message_count: u64::MAX,
            ..BlockState::default()
        }],
        ..StreamState::default()
    };
    state.totals = Totals {
        messages: u64::MAX,
        first: state.blocks[0].first,
        last: state.blocks[0].last,
        ..Totals::default()
    };
    assert_eq!(state.check(), Ok(()));
    state.blocks[0].first.seq = 0;
    assert!(
        state.check().is_err(),
        "2^64 sequences are more than there are messages"
    );
}

#[test]
fn a_state_goes_through_its_side_files_unchanged() {
    let state = sound();
    let files = state.timer_files();
    let decoded = SideFiles {
        ttls: files
            .ttl
            .map(|bytes| crate::format::timers::ExpiryFile::decode(&bytes).unwrap()),
        schedules: files
            .schedules
            .map(|bytes| crate::format::timers::ScheduleFile::decode(&bytes).unwrap()),
        sources: files
            .sources
            .map(|bytes| crate::format::sources::SourcesFile::decode(&bytes).unwrap()),
    };
    let index = state.index_file(4).expect("the last hash is known");
    let bytes = index.encode(1 << 20).expect("a small state");
    let index = crate::format::state::StateFile::decode(&bytes).expect("our own");
    let again = StreamState::of_side_files(&index, decoded);
    assert_eq!(again.check(), Ok(()));
    assert_eq!(again.difference(&state), None);
    assert_eq!(again.last_block_number, 5);
    assert_eq!(
        again.blocks[0].last_record_hash, None,
        "the index has the last block's only"
    );
    let mut unknown = sound();
    unknown.blocks[2].last_record_hash = None;
    assert!(
        unknown.index_file(4).is_some(),
        "a file without a byte ends in no hash"
    );
    unknown.blocks[2].raw_bytes = 34;
    assert!(unknown.index_file(4).is_none());
}

#[test]
fn whatever_makes_another_stream_is_a_difference() {
    let spoils: [fn(&mut StreamState); 8] = [
        |s| s.totals.bytes += 1,
        |s| {
            s.lost = Some(Lost {
                seqs: vec![5],
                bytes: 9,
            })
        },
        |s| _ = s.blocks.remove(1),
        |s| s.blocks[0].last_record_hash = Some([9; 8]),
        |s| s.subjects.remove(b"d", 1),
        |s| s.timers.set_wheel(&[]),
        |s| s.timers.set_schedules(&[]),
        |s| s.timers.sources = None,
    ];
    for (at, spoil) in spoils.iter().enumerate() {
        let mut other = sound();
        spoil(&mut other);
        assert!(sound().difference(&other).is_some(), "{at}");
        assert!(
            other.difference(&sound()).is_some(),
            "{at}, the other way round"
        );
    }
    let mut other = sound();
    other.blocks[0].last_record_hash = None;
    other.blocks[0].raw_bytes = 4096;
    other.blocks[0].ttl_count = 1;
    other.blocks.pop();
    assert_eq!(
        sound().difference(&other),
        None,
        "an empty block more, and what one of them does not know"
    );
}

#[test]
fn a_state_can_be_sent_to_its_owner() {
    fn is_owned<T: Send + 'static>() {}
    is_owned::<StreamState>();
}
