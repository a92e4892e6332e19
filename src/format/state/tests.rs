use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const T: i64 = 1_700_000_000_000_000_000;

pub(super) fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The file of the published vector: five records, sequences 2 and 4 gone.
fn vector() -> Vec<u8> {
    let mut out = bytes_of(
        "0b04 02 44 01 8080d0e2c6bfce972f 04 8480d0e2c6bfce972f 01 03 6f2e31 02 01 01
         01 01 44 01 00 04 04 02 00 00 1602 01000000 02000000 0000000000000000 1400000000000000",
    );
    out.extend([0; 31 * 8]);
    out.extend(bytes_of("0100 01 3a743bbbf05cce34 5f29d4a96c67967d"));
    out
}

fn vector_state() -> StateFile {
    StateFile {
        version: 4,
        messages: 2,
        bytes: 68,
        first_sequence: 1,
        first_time_ns: T,
        last_sequence: 4,
        last_time_ns: T + 2,
        subjects: [SubjectEntry {
            subject: b"o.1",
            total: 2,
            first_block: 1,
            last_block: 1,
        }]
        .into_iter()
        .collect(),
        blocks: vec![BlockEntry {
            number: 1,
            bytes: 68,
            first_sequence: 1,
            first_time_ns: T,
            last_sequence: 4,
            last_time_ns: T + 2,
            deleted_count: 2,
            deleted: [2, 4].into_iter().collect(),
            deleted_declared_count: 2,
            ..BlockEntry::default()
        }],
        last_block: 1,
        last_record_hash: [0x3a, 0x74, 0x3b, 0xbb, 0xf0, 0x5c, 0xce, 0x34],
    }
}

#[test]
fn the_published_vector_reads_and_writes() {
    let file = vector();
    let (payload, hash) = split_trailing_hash(&file).unwrap();
    assert_eq!(hash.to_vec(), bytes_of("5f29d4a96c67967d"));
    let state = StateFile::decode(payload).unwrap();
    assert_eq!(state, vector_state());
    assert_eq!(state.blocks[0].message_count(), 2);
    assert_eq!(state.encode(u64::MAX).unwrap(), payload);
}

#[test]
fn a_fresh_empty_store_reads_and_writes() {
    let file = bytes_of(
        "0b04 00 00 00 00 00 00 00 01 01 00 01 00 00 00 00 00 00 01 0000000000000000 4568222356849e09",
    );
    let (payload, _) = split_trailing_hash(&file).unwrap();
    let state = StateFile::decode(payload).unwrap();
    assert_eq!(
        (
            state.blocks[0].first_sequence,
            state.blocks[0].last_sequence
        ),
        (1, 0)
    );
    assert_eq!(state.blocks[0].message_count(), 0);
    assert_eq!(state.encode(0).unwrap(), payload);
}

#[test]
fn a_file_below_32_bytes_has_no_hash() {
    assert_eq!(split_trailing_hash(&[7; 31]), None);
    assert_eq!(split_trailing_hash(&[7; 32]), Some((&[7; 24][..], [7; 8])));
}

#[test]
fn message_count_follows_the_stored_count_and_stops_at_zero() {
    let mut block = BlockEntry {
        first_sequence: 5,
        last_sequence: 9,
        ..BlockEntry::default()
    };
    block.deleted_count = 3;
    assert_eq!(block.message_count(), 2);
    block.deleted_count = 6;
    assert_eq!(block.message_count(), 0);
    block.deleted_count = 0;
    block.first_sequence = 0;
    block.last_sequence = u64::MAX;
    assert_eq!(block.message_count(), 0, "the range wraps to nothing");
}

/// Header numbers 0 and then `rest`, starting with the subject count.
fn with_header(version: u8, rest: &[u8]) -> Vec<u8> {
    [&[11, version, 0, 0, 0, 0, 0, 0], rest].concat()
}

/// Which failure decoding meets, by its name.
fn failure(payload: &[u8]) -> String {
    match StateFile::decode(payload) {
        Ok(_) => "none".to_owned(),
        Err(error) => {
            let debug = format!("{error:?}");
            debug.split(' ').next().unwrap_or_default().to_owned()
        }
    }
}

#[test]
fn every_failure_is_the_row_the_server_takes() {
    let tail = [1, 0, 0, 0, 0, 0, 0, 0, 0];
    let cases: [(&str, Vec<u8>); 22] = [
        ("BadVersion", vec![]),
        ("BadVersion", vec![11]),
        ("BadVersion", vec![22, 4, 0, 0]),
        ("BadVersion", vec![11, 0]),
        ("BadVersion", vec![11, 5]),
        ("SubjectCount", vec![11, 4, 0, 0, 0x80]),
        ("SubjectCount", with_header(4, &[])),
        ("SubjectCount", with_header(4, &[3, 0, 0])),
        ("SubjectOverrun", with_header(4, &[1, 2, b'a'])),
        ("SubjectOverrun", with_header(4, &[1, 0x80])),
        // The total of the first of two entries fails: found with the second length.
        ("SubjectOverrun", with_header(4, &[2, 1, b'a', 0x80, 0x80])),
        (
            "SubjectInvalid",
            with_header(4, &[1, 3, b'a', b'.', b'.', 1, 1, 1]),
        ),
        // The total of the only entry fails: found with the block count.
        ("BlockCount", with_header(4, &[1, 1, b'a', 0x80, 0x80])),
        ("BlockCount", with_header(4, &[1, 1, b'a', 1, 1])),
        ("BlockCount", with_header(4, &[0])),
        ("BlockCount", with_header(4, &[0, 2, 1])),
        (
            "BlockListTruncated",
            with_header(4, &[0, 1, 1, 0, 1, 0, 0, 0]),
        ),
        (
            "BlockListTruncated",
            with_header(4, &[0, 1, 1, 0, 1, 0, 0, 0, 0, 0]),
        ),
        (
            "DeletedSetInvalid",
            with_header(3, &[0, 1, 1, 0, 1, 0, 5, 0, 1, 0, 0, 22, 2, 1]),
        ),
        ("TailMissing", with_header(4, &[0, 0])),
        (
            "TailMissing",
            with_header(4, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "none",
            with_header(4, &[&[2, 0, 0, 0][..], &tail, &[9, 9]].concat()),
        ),
    ];
    for (expected, payload) in cases {
        assert_eq!(failure(&payload), expected, "{payload:?}");
    }
}

#[test]
fn only_an_undecodable_last_block_crashes_the_server() {
    let cut = StateFile::decode(&with_header(4, &[0, 0])).unwrap_err();
    assert!(cut.would_panic());
    let short = StateFile::decode(&with_header(4, &[0, 0, 1, 7, 7])).unwrap_err();
    assert_eq!(
        short,
        StateError::TailMissing {
            offset: 11,
            remaining: 2,
            would_panic: false,
            taken_up: None,
        }
    );
    let garbage = with_header(4, &[&[0, 0][..], &[0xff; 12]].concat());
    assert!(StateFile::decode(&garbage).unwrap_err().would_panic());
}

#[test]
fn what_the_server_took_up_of_a_list_that_breaks_off_is_told() {
    let (live, empty) = ([7, 33, 5, 0, 5, 0, 0, 0, 0], [8, 0, 6, 0, 5, 0, 0, 0, 0]);
    let taken_up = |count: u8, entries: &[&[u8]]| {
        let list = [&[0, count][..], &entries.concat()].concat();
        let error = StateFile::decode(&with_header(4, &list)).unwrap_err();
        error.taken_up()
    };
    assert_eq!(taken_up(1, &[&live, &[7, 1, 2]]), Some(7), "no hash");
    assert_eq!(
        taken_up(2, &[&live, &live[..5]]),
        Some(7),
        "no second entry"
    );
    assert_eq!(
        taken_up(3, &[&live, &empty, &live[..5]]),
        Some(7),
        "an empty one is passed over"
    );
    assert_eq!(
        taken_up(2, &[&live, &empty, &[8, 1]]),
        Some(8),
        "but not the last"
    );
    let deleted = [9, 0, 6, 0, 8, 0, 1, 0, 0, 99];
    assert_eq!(
        taken_up(2, &[&live, &deleted]),
        Some(7),
        "nor one without its set"
    );
    assert_eq!(taken_up(1, &[&live[..5]]), None);
}

#[test]
fn old_versions_leave_fields_out() {
    // Version 1, one subject with one message: no last block, no TTL and no schedule count.
    let payload = with_header(
        1,
        &[
            1, 1, b'a', 1, 7, 1, 7, 33, 5, 0, 5, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8,
        ],
    );
    let state = StateFile::decode(&payload).unwrap();
    let subject = state.subjects.get(0).unwrap();
    assert_eq!(
        (subject.total, subject.first_block, subject.last_block),
        (1, 7, 7)
    );
    assert_eq!(
        (state.last_block, state.last_record_hash),
        (7, [1, 2, 3, 4, 5, 6, 7, 8])
    );
    assert_eq!(state.encode(0).unwrap(), payload);
}

#[test]
fn block_times_wrap_around_the_base() {
    let mut state = vector_state();
    state.first_time_ns = i64::MAX;
    state.blocks[0].first_time_ns = -6_795_364_578_871_345_152;
    let payload = state.encode(u64::MAX).unwrap();
    assert_eq!(StateFile::decode(&payload).unwrap(), state);
}

#[test]
fn a_wide_gap_is_refused_rather_than_written() {
    let mut state = vector_state();
    state.blocks[0].deleted.insert_range(10..=1 << 40);
    assert!(matches!(
        state.encode(1 << 20),
        Err(StateEncodeError::DeletedSet { block: 1, .. })
    ));
    state.blocks[0].deleted_count = 0;
    assert_eq!(
        state.encode(0),
        Err(StateEncodeError::DeletedCountZero { block: 1 })
    );
    state.version = 5;
    assert_eq!(
        state.encode(0),
        Err(StateEncodeError::BadVersion { version: 5 })
    );
}

prop_compose! {
    fn block(version: u8)(
        numbers in (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()),
        times in (any::<i64>(), any::<i64>()),
        deleted in vec(0_u64..9000, 0..20),
    ) -> BlockEntry {
        let deleted: SeqSet = deleted.into_iter().collect();
        BlockEntry {
            number: numbers.0,
            bytes: numbers.1,
            first_sequence: numbers.2,
            first_time_ns: times.0,
            last_sequence: numbers.3,
            last_time_ns: times.1,
            deleted_count: deleted.len(),
            ttl_count: if version >= 2 { numbers.4 } else { 0 },
            schedule_count: if version >= 3 { numbers.5 } else { 0 },
            deleted_declared_count: deleted.len() as u32,
            deleted,
        }
    }
}

fn state_file() -> impl Strategy<Value = StateFile> {
    (1_u8..=4).prop_flat_map(|version| {
        let subject = (
            "[a-z]{1,9}(\\.[a-z]{1,4}){0,3}",
            any::<u64>(),
            any::<u32>(),
            any::<u32>(),
        );
        let header = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
        let times = (any::<i64>(), any::<i64>());
        let parts = (header, times, vec(subject, 0..6), vec(block(version), 0..4));
        (parts, any::<(u32, [u8; 8])>()).prop_map(move |(parts, tail)| {
            let (header, times, subjects, blocks) = parts;
            let entry = |(subject, total, first, last): &(String, u64, u32, u32)| {
                (
                    subject.clone(),
                    *total,
                    *first,
                    if version >= 4 || *total > 1 {
                        *last
                    } else {
                        *first
                    },
                )
            };
            let subjects: Vec<_> = subjects.iter().map(entry).collect();
            StateFile {
                version,
                messages: header.0,
                bytes: header.1,
                first_sequence: header.2,
                first_time_ns: times.0,
                last_sequence: header.3,
                last_time_ns: times.1,
                subjects: subjects
                    .iter()
                    .map(|(subject, total, first_block, last_block)| SubjectEntry {
                        subject: subject.as_bytes(),
                        total: *total,
                        first_block: *first_block,
                        last_block: *last_block,
                    })
                    .collect(),
                blocks,
                last_block: tail.0,
                last_record_hash: tail.1,
            }
        })
    })
}

proptest! {
    #[test]
    fn round_trips(state in state_file()) {
        let payload = state.encode(u64::MAX).unwrap();
        prop_assert_eq!(StateFile::decode(&payload), Ok(state));
    }

    #[test]
    fn any_cut_is_an_error(state in state_file(), cut in any::<prop::sample::Index>()) {
        let payload = state.encode(u64::MAX).unwrap();
        prop_assert!(StateFile::decode(&payload[..cut.index(payload.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(version in 0_u8..6, tail in vec(any::<u8>(), 0..600)) {
        let bytes: Vec<u8> = [11, version].into_iter().chain(tail.iter().copied()).collect();
        for bytes in [&bytes, &tail] {
            if let Ok(state) = StateFile::decode(bytes) {
                prop_assert!(state.blocks.len() + state.subjects.names_length() <= bytes.len());
            }
        }
    }

    #[test]
    fn damaged_files_never_panic(state in state_file(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut payload = state.encode(u64::MAX).unwrap();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = StateFile::decode(&payload);
    }
}
