use super::super::checksum::HashKey;
use super::*;
use proptest::prelude::*;

const T: i64 = 1_700_000_000_000_000_000;
const HEADERS: &[u8] = b"NATS/1.0\r\nA: b\r\n\r\n";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[high, low]| high << 4 | low)
        .collect()
}

fn key() -> HashKey {
    HashKey::for_block(b"ORDERS", 1)
}

fn message<'a>(
    sequence: u64,
    subject: &'a [u8],
    headers: &'a [u8],
    body: &'a [u8],
) -> NewRecord<'a> {
    NewRecord::Message {
        sequence,
        timestamp_ns: T + sequence as i64 - 1,
        subject,
        headers,
        body,
    }
}

/// The records of the format reference's appendix A, with their bytes.
fn vectors() -> Vec<(HashKey, NewRecord<'static>, &'static str)> {
    vec![
        (
            key(),
            message(1, b"o.1", b"", b"hi"),
            "23000000 0100000000000000 00002a36fe9c9717 0300 6f2e31 6869 af78b7570ab349b9",
        ),
        (
            key(),
            message(2, b"o.2", HEADERS, b"yo"),
            "39000080 0200000000000000 01002a36fe9c9717 0300 6f2e32 12000000
             4e4154532f312e300d0a413a20620d0a0d0a 796f 3294a7ef8f3a4196",
        ),
        (
            key(),
            message(3, b"o.1", b"", b""),
            "21000000 0300000000000000 02002a36fe9c9717 0300 6f2e31 d5639d1f54f9f4ee",
        ),
        (
            key(),
            NewRecord::Skip { sequence: 4, timestamp_ns: T + 2 },
            "1e000000 0400000000000080 02002a36fe9c9717 0000 a140aa23a9e58965",
        ),
        (
            key(),
            NewRecord::Tombstone { sequence: 2, timestamp_ns: T + 1 },
            "1e000000 0200000000000040 01002a36fe9c9717 0000 3a743bbbf05cce34",
        ),
        (
            HashKey::for_block(b"ORDERS", 2),
            NewRecord::Tombstone { sequence: 99, timestamp_ns: super::super::limits::ZERO_TIME_NS },
            "1e000000 6300000000000040 00001a3deb03b2a1 0000 fa17447371bf4dee",
        ),
        (
            HashKey::for_block(b"AGG", 1),
            message(
                1,
                b"s.1",
                b"NATS/1.0\r\nNats-Stream-Source: SRC 3 > > s.1 IE3MWun7\r\n\r\n",
                b"hi",
            ),
            "5f000080 0100000000000000 00002a36fe9c9717 0300 732e31 38000000
             4e4154532f312e300d0a4e6174732d53747265616d2d536f757263653a205352432033203e203e20732e3120
             4945334d57756e370d0a0d0a 6869 eb9a4cc8b661dcdc",
        ),
    ]
}

#[test]
fn vectors_encode_and_verify() {
    for (key, record, bytes) in vectors() {
        let bytes = unhex(bytes);
        let mut encoded = Vec::new();
        assert_eq!(encode_record(&mut encoded, &key, &record), Ok(bytes.len()));
        assert_eq!(encoded, bytes);
        let mut run = Run::new();
        assert!(Runs::new(&bytes, &key).next_run(&mut run));
        assert_eq!((run.records.len(), &run.fault), (1, &None));
    }
}

fn vector_block() -> Vec<u8> {
    let mut block = Vec::new();
    for (_, record, _) in vectors().iter().take(5) {
        encode_record(&mut block, &key(), record).unwrap();
    }
    block
}

#[test]
fn fields_of_a_parsed_block() {
    let block = vector_block();
    let mut run = Run::new();
    let mut runs = Runs::new(&block, &key());
    assert!(runs.next_run(&mut run));
    let kinds: Vec<_> = run.records.iter().map(RecordRef::kind).collect();
    use RecordKind::{Erased, Message, Tombstone};
    assert_eq!(kinds, [Message, Message, Message, Erased, Tombstone]);
    let sequences: Vec<_> = run.records.iter().map(RecordRef::sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 2]);
    assert_eq!(run.records[3].sequence_bits(), 4 | 1 << 63);
    let second = run.records[1];
    assert_eq!(
        (second.offset(), second.length()),
        (35, record_length(3, HEADERS.len(), 2))
    );
    assert_eq!(second.timestamp_ns(), T + 1);
    assert_eq!(second.subject(&block), b"o.2");
    assert_eq!(second.headers_and_body(&block), Ok((HEADERS, &b"yo"[..])));
    assert_eq!(
        run.records[0].headers_and_body(&block),
        Ok((&b""[..], &b"hi"[..]))
    );
    assert!(!runs.next_run(&mut run));
    assert!(run.records.is_empty());
}

#[test]
fn tombstone_flag_outranks_erased_flag() {
    let mut bytes = vector_block();
    bytes[11] = 0xc0;
    assert_eq!(parse_at(&bytes, 0).unwrap().kind(), RecordKind::Tombstone);
    bytes[4] = 0;
    bytes[11] = 0;
    assert_eq!(parse_at(&bytes, 0).unwrap().kind(), RecordKind::Erased);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_length_check_names_its_numbers() {
    let sound = vector_block();
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound[..35].to_vec();
        edit(&mut bytes);
        parse_at(&bytes, 0).unwrap_err()
    };
    let set_length =
        |length: u32| move |bytes: &mut Vec<u8>| bytes[..4].copy_from_slice(&length.to_le_bytes());
    assert_eq!(
        with(&|bytes| bytes.truncate(21)),
        RecordFault::HeaderCut {
            offset: 0,
            remaining: 21
        }
    );
    assert_eq!(
        with(&set_length(29)),
        RecordFault::TooShort {
            offset: 0,
            length: 29
        }
    );
    assert_eq!(
        with(&set_length(0)),
        RecordFault::TooShort {
            offset: 0,
            length: 0
        }
    );
    assert_eq!(
        with(&set_length(36)),
        RecordFault::PastEnd {
            offset: 0,
            length: 36,
            remaining: 35
        }
    );
    let longest = RECORD_MAX_LENGTH as u32;
    assert_eq!(
        with(&set_length(longest)),
        RecordFault::PastEnd {
            offset: 0,
            length: longest,
            remaining: 35
        }
    );
    assert_eq!(
        with(&set_length(longest + 1)),
        RecordFault::TooLong {
            offset: 0,
            length: longest + 1
        }
    );
    let disagree = |subject_length, has_headers| RecordFault::LengthsDisagree {
        offset: 0,
        length: 35,
        subject_length,
        has_headers,
    };
    assert_eq!(with(&|bytes| bytes[20] = 6), disagree(6, false));
    assert_eq!(
        with(&|bytes| {
            bytes[20] = 2;
            bytes[3] = 0x80;
        }),
        disagree(2, true)
    );
    let mut fits = sound[..35].to_vec();
    fits[20] = 5;
    assert_eq!(
        parse_at(&fits, 0).map(|record| record.subject_length()),
        Ok(5)
    );
}

#[test]
fn header_length_past_the_record_spoils_only_the_message() {
    let mut block = vector_block();
    block[35 + 25] = 21;
    let mut run = Run::new();
    Runs::new(&block, &key()).next_run(&mut run);
    assert_eq!((run.records.len(), &run.fault), (5, &None));
    assert_eq!(
        run.records[1].headers_and_body(&block),
        Err(HeaderLengthFault {
            offset: 35,
            header_length: 21,
            available: 20
        })
    );
}

#[test]
fn a_flipped_bit_ends_the_run_and_seek_goes_on() {
    let mut block = vector_block();
    block[35 + 40] ^= 1;
    let mut runs = Runs::new(&block, &key());
    let mut run = Run::new();
    assert!(runs.next_run(&mut run));
    assert_eq!(run.records.len(), 1);
    assert!(
        matches!(run.fault, Some(RecordFault::Checksum { offset: 35, expected, found }) if expected != found)
    );
    assert_eq!(runs.offset(), 35);
    assert!(!runs.next_run(&mut run));
    runs.seek(35 + 57);
    assert!(runs.next_run(&mut run));
    assert_eq!((run.records.len(), &run.fault), (3, &None));
    assert!(!runs.next_run(&mut run));
    let mut unverified = Runs::unverified(&block);
    assert!(unverified.next_run(&mut run));
    assert_eq!((run.records.len(), &run.fault), (5, &None));
}

#[test]
fn a_torn_tail_is_reported_behind_the_sound_records() {
    let block = vector_block();
    for length in 0..block.len() {
        let mut runs = Runs::new(&block[..length], &key());
        let mut run = Run::new();
        let any = runs.next_run(&mut run);
        assert_eq!(any, length > 0);
        let sound = [35, 92, 125, 155, 185]
            .iter()
            .filter(|&&end| end <= length)
            .count();
        assert_eq!(run.records.len(), sound);
        let end = run.records.last().map_or(0, RecordRef::end_offset);
        assert_eq!(
            run.fault.as_ref().map(RecordFault::offset),
            (end < length).then_some(end)
        );
    }
}

#[test]
fn long_blocks_come_in_bounded_runs() {
    let mut block = Vec::new();
    for sequence in 1..=1000 {
        encode_record(&mut block, &key(), &message(sequence, b"o.1", b"", b"x")).unwrap();
    }
    let (mut runs, mut run, mut next) = (Runs::new(&block, &key()), Run::new(), 1);
    while runs.next_run(&mut run) {
        assert!(run.records.len() <= RUN_RECORDS_MAX);
        for record in &run.records {
            assert_eq!(record.sequence(), next);
            next += 1;
        }
    }
    assert_eq!((next, runs.offset()), (1001, block.len()));
}

#[test]
fn erased_records_keep_their_length() {
    let mut block = Vec::new();
    encode_record(&mut block, &key(), &message(7, b"o.2", HEADERS, b"yo")).unwrap();
    let length = block.len();
    let noise = vec![0xa5; length - RECORD_MIN_LENGTH];
    encode_record(
        &mut block,
        &key(),
        &NewRecord::Erased {
            sequence: 7,
            noise: &noise,
        },
    )
    .unwrap();
    let erased = parse_at(&block, length).unwrap();
    assert_eq!(
        (erased.length(), erased.kind(), erased.sequence()),
        (length, RecordKind::Erased, 7)
    );
    assert_eq!((erased.timestamp_ns(), erased.subject_length()), (0, 0));
}

#[test]
fn what_readers_would_refuse_is_not_written() {
    let mut out = vec![1];
    let long = vec![0; RECORD_MAX_LENGTH - RECORD_MIN_LENGTH + 1];
    assert_eq!(
        encode_record(&mut out, &key(), &message(1, b"", b"", &long)),
        Err(EncodeFault::RecordTooLong {
            length: RECORD_MAX_LENGTH + 1
        })
    );
    assert_eq!(
        encode_record(&mut out, &key(), &message(1, &long[..65536], b"", b"")),
        Err(EncodeFault::SubjectTooLong { length: 65536 })
    );
    assert_eq!(
        encode_record(
            &mut out,
            &key(),
            &NewRecord::Skip {
                sequence: 1 << 62,
                timestamp_ns: 0
            }
        ),
        Err(EncodeFault::SequenceTooLarge { sequence: 1 << 62 })
    );
    assert_eq!(out, [1]);
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #[test]
    fn round_trips(
        sequence in 1..=SEQUENCE_MAX,
        timestamp_ns: i64,
        subject in bytes(50),
        headers in bytes(100),
        body in bytes(300),
    ) {
        let record = NewRecord::Message {
            sequence, timestamp_ns, subject: &subject, headers: &headers, body: &body,
        };
        let mut out = Vec::new();
        let length = encode_record(&mut out, &key(), &record).unwrap();
        prop_assert_eq!(length, record_length(subject.len(), headers.len(), body.len()));
        let parsed = parse_at(&out, 0).unwrap();
        prop_assert_eq!(parsed.end_offset(), out.len());
        prop_assert_eq!((parsed.sequence(), parsed.timestamp_ns()), (sequence, timestamp_ns));
        prop_assert_eq!(parsed.subject(&out), &subject[..]);
        prop_assert_eq!(parsed.headers_and_body(&out), Ok((&headers[..], &body[..])));
        prop_assert_eq!(parsed.bytes(&out), Some(&out[..]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in bytes(400)) {
        super::fuzz_one(&data);
    }
}
