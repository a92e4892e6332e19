//! Encodings: round trips and malformed input.

use std::collections::BTreeMap;

use jetsam::format::consumer::{ConsumerFile, ConsumerState, ConsumerVersion, SequencePair};
use jetsam::format::seqset::SeqSet;
use jetsam::format::timers::{Expiry, ExpiryFile, Schedule, ScheduleFile, TimerError};

#[test]
fn r230_redelivered_round_trip() {
    let pair = |n| SequencePair {
        consumer: n,
        stream: n,
    };
    let state = ConsumerState {
        delivered: pair(100),
        ack_floor: pair(50),
        pending: BTreeMap::new(),
        redelivered: BTreeMap::from([(122, 3), (144, 8)]),
    };
    let bytes = state.encode(ConsumerVersion::V2, 1_800_000_000);
    assert_eq!(ConsumerFile::decode(&bytes).expect("a state").state, state);
}

#[test]
fn r232_redelivered_sequence_zero() {
    // Version 2: floor 0/0, delivered 0/0, nothing pending, one redelivered entry at distance 0.
    let bytes = [22, 2, 0, 0, 0, 0, 0, 1, 0, 1];
    let file = ConsumerFile::decode(&bytes).expect("no error");
    assert!(file.state.redelivered.is_empty());
}

#[test]
fn r234_schedules_round_trip() {
    let file = ScheduleFile {
        stamp: 12_345,
        entries: (1..=100_000_u64)
            .map(|sequence| Schedule {
                subject: format!("foo.{sequence}").into_bytes().into(),
                next_ns: 1_800_000_000_000_000_000 + sequence.cast_signed() * 1_000_000_000,
                sequence,
            })
            .collect(),
    };
    let read = ScheduleFile::decode(&file.encode()).expect("schedules");
    assert_eq!(read, file);
    assert_eq!(read.normalize().len(), 100_000);
}

#[test]
fn r235_malformed_schedules() {
    assert!(matches!(
        ScheduleFile::decode(&[1; 16]),
        Err(TimerError::Short { .. })
    ));
    let header = |version: u8, count: u64| {
        let mut bytes = vec![version];
        bytes.extend(count.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes
    };
    assert!(matches!(
        ScheduleFile::decode(&header(2, 0)),
        Err(TimerError::BadVersion { .. })
    ));
    for rest in [
        b"".as_slice(),
        b"\x03\x00",
        b"\x03\x00foo",
        b"\x03\x00foo\x02",
    ] {
        let mut bytes = header(1, 1);
        bytes.extend_from_slice(rest);
        assert!(
            matches!(
                ScheduleFile::decode(&bytes),
                Err(TimerError::UnexpectedEnd { .. })
            ),
            "{rest:?}"
        );
    }
}

#[test]
fn r236_wheel_round_trip() {
    let file = ExpiryFile {
        stamp: 12_345,
        entries: (1..=100_000_u64)
            .map(|sequence| Expiry {
                sequence,
                expiry_ns: 1_800_000_000_000_000_000 + sequence.cast_signed() * 1_000_000_000,
            })
            .collect(),
    };
    let read = ExpiryFile::decode(&file.encode()).expect("a wheel");
    assert_eq!(
        (read.stamp, read.normalize()),
        (file.stamp, file.normalize())
    );
    let next = read.entries.iter().map(|entry| entry.expiry_ns).min();
    assert_eq!(next, Some(1_800_000_001_000_000_000));
}

#[test]
fn r238_version_one_set() {
    const SEQUENCES: [u64; 5] = [22, 222, 2222, 222_222, 2_222_222];
    // Five nodes of 64 words: a base and 64 words of bits each.
    let mut bytes = vec![22, 1];
    bytes.extend(5_u32.to_le_bytes());
    let bases: std::collections::BTreeSet<u64> = SEQUENCES
        .iter()
        .map(|sequence| sequence / 4096 * 4096)
        .collect();
    bytes.extend(5_u32.to_le_bytes());
    bytes[2..6].copy_from_slice(&u32::try_from(bases.len()).expect("few").to_le_bytes());
    for base in bases {
        bytes.extend(base.to_le_bytes());
        let mut words = [0_u64; 64];
        for sequence in SEQUENCES
            .iter()
            .filter(|sequence| **sequence / 4096 * 4096 == base)
        {
            let bit = sequence - base;
            words[usize::try_from(bit / 64).expect("small")] |= 1 << (bit % 64);
        }
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(0_u16.to_le_bytes());
    }
    let read = SeqSet::decode(&bytes).expect("a set");
    assert_eq!(read.set.iter().collect::<Vec<_>>(), SEQUENCES);
    assert_eq!(read.length, bytes.len());
}

#[test]
fn r240_large_set() {
    // Every other sequence of a wide range.
    let mut set = SeqSet::new();
    for sequence in (0..500_000_u64).step_by(2) {
        set.insert(sequence);
    }
    let mut bytes = Vec::new();
    set.encode(&mut bytes, u64::MAX).expect("a set");
    let read = SeqSet::decode(&bytes).expect("a set");
    assert_eq!(
        (read.set.len(), read.set.node_count()),
        (250_000, set.node_count())
    );
    assert_eq!(read.set, set);
}
