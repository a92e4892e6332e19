//! Blocks are built, damaged and scanned; what comes out is compared with what went in.

mod borders;
mod bounds;
mod bytes;
mod order;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::super::findings::{GapCause, Lifetimes, Repair, Site};
use super::budget::{BLOCK_PLACES, BYTES_LIMIT, BYTES_PLACES, RESYNC_RATE};
use super::*;
use crate::block::walk;
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::record::{NewRecord, RecordKind, encode_record};
use crate::format::subject;
use crate::state::SeqTime;

const HEADERS: &[u8] = b"NATS/1.0\r\nNats-Msg-Id: 17\r\nTrace: a-b-c\r\n\r\n";
const WORK: u64 = 32 * 1024 * 1024;

/// Lists some subjects; takes every well-formed one below `orders.`.
struct Witness {
    known: BTreeSet<Vec<u8>>,
    live: Option<bool>,
}

impl Witness {
    fn new(known: &[&str]) -> Self {
        Self {
            known: known.iter().map(|s| s.as_bytes().to_vec()).collect(),
            live: None,
        }
    }
}

impl SubjectWitness for Witness {
    fn standing(&self, subject: &[u8]) -> SubjectStanding {
        if self.known.contains(subject) {
            SubjectStanding::Known
        } else if subject::is_valid(subject) && subject::matches(subject, b"orders.>") {
            SubjectStanding::Possible
        } else {
            SubjectStanding::Impossible
        }
    }

    fn lists_subjects(&self) -> bool {
        !self.known.is_empty()
    }

    fn is_live(&self, _seq: u64) -> Option<bool> {
        self.live
    }
}

fn key() -> HashKey {
    HashKey::for_block(b"ORDERS", 3)
}

/// A record as it was written, or as it was read back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Plain {
    bits: u64,
    timestamp_ns: i64,
    subject: Vec<u8>,
    headers: Vec<u8>,
    body: Vec<u8>,
}

impl Plain {
    fn without_borders(&self) -> (u64, i64, Vec<u8>) {
        let bytes = [&self.subject[..], &self.headers, &self.body].concat();
        (self.bits, self.timestamp_ns, bytes)
    }
}

#[derive(Default)]
struct Collected(Vec<(usize, Plain)>);

impl RecordSink for Collected {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let (headers, body) = record.headers_and_body(content).unwrap_or_default();
        self.0.push((
            record.offset(),
            Plain {
                bits: record.sequence_bits(),
                timestamp_ns: record.timestamp_ns(),
                subject: record.subject(content).to_vec(),
                headers: headers.to_vec(),
                body: body.to_vec(),
            },
        ));
    }
}

struct Scanned {
    find: BlockFindings,
    spent: u64,
    mended: Vec<u8>,
    records: Vec<(usize, Plain)>,
}

impl Scanned {
    fn plain(&self) -> Vec<Plain> {
        self.records
            .iter()
            .map(|(_, plain)| plain.clone())
            .collect()
    }
}

/// Scans and replays, and checks what holds of every find.
fn scan_with(file: &[u8], witness: &Witness, sequences: RangeInclusive<u64>, work: u64) -> Scanned {
    let key = key();
    let hints = Hints {
        number: 3,
        hash_key: &key,
        sequences: &sequences,
        subjects: witness,
        work_limit: work,
        lifetimes: Lifetimes::default(),
    };
    let mut scratch = Scratch::default();
    let mut mended = file.to_vec();
    let (find, spent) = scan_counting(&mut mended, &hints, &mut scratch);
    let mut again = file.to_vec();
    let mut collected = Collected::default();
    replay_block(&mut again, &key, &find, &mut scratch, &mut collected);
    assert_eq!(again, mended, "patches make the mended file");
    check_find(&find, file, &collected);
    let bad: u64 = find.gaps.iter().map(|gap| gap.length).sum();
    let places = find.gaps.len() as u64 + find.repairs.len() as u64;
    let bytes = BYTES_PLACES.min(places) * work.min(BYTES_LIMIT);
    let places = BLOCK_PLACES.min(places);
    assert!(
        spent <= places * work + bytes + RESYNC_RATE * bad,
        "{spent} bytes hashed for {places} places, {bad} bad bytes"
    );
    Scanned {
        find,
        spent,
        mended,
        records: collected.0,
    }
}

fn check_find(find: &BlockFindings, file: &[u8], collected: &Collected) {
    assert_eq!(find.file_length, file.len() as u64);
    let mut end = None;
    for gap in &find.gaps {
        assert!(end.is_none_or(|end| gap.offset > end), "{:?}", find.gaps);
        end = Some(gap.offset + gap.length);
    }
    assert!(end.unwrap_or(0) <= find.content_length);
    let of_kind = |kind: RecordKind| {
        collected.0.iter().filter(move |(_, plain)| {
            let found = if plain.bits >> 62 & 1 == 1 {
                RecordKind::Tombstone
            } else if plain.bits >> 63 == 1 {
                RecordKind::Erased
            } else {
                RecordKind::Message
            };
            found == kind
        })
    };
    let messages: Vec<u64> = of_kind(RecordKind::Message).map(|(_, p)| p.bits).collect();
    assert_eq!(messages, find.messages.iter().collect::<Vec<_>>());
    assert_eq!(
        of_kind(RecordKind::Tombstone).count(),
        find.tombstones.len()
    );
    let erased: BTreeSet<u64> = of_kind(RecordKind::Erased)
        .map(|(_, p)| p.bits & (u64::MAX >> 2))
        .collect();
    assert_eq!(
        erased.into_iter().collect::<Vec<_>>(),
        find.erased.iter().collect::<Vec<_>>()
    );
}

fn scan(file: &[u8], witness: &Witness) -> Scanned {
    scan_with(file, witness, 1..=1000, WORK)
}

struct Built {
    bytes: Vec<u8>,
    /// Where each record begins, and where the last one ends.
    borders: Vec<usize>,
    records: Vec<Plain>,
}

fn build<'a>(records: impl IntoIterator<Item = NewRecord<'a>>) -> Built {
    let (mut bytes, mut borders) = (Vec::new(), vec![0]);
    for record in records {
        encode_record(&mut bytes, &key(), &record).unwrap();
        borders.push(bytes.len());
    }
    let mut collected = Collected::default();
    replay::walk(&bytes, Some(&key()), &[], &mut collected);
    Built {
        bytes,
        borders,
        records: collected.0.into_iter().map(|(_, plain)| plain).collect(),
    }
}

fn message<'a>(seq: u64, subject: &'a str, headers: &'a [u8], body: &'a [u8]) -> NewRecord<'a> {
    NewRecord::Message {
        sequence: seq,
        timestamp_ns: 1_700_000_000_000_000_000 + seq as i64 * 1000,
        subject: subject.as_bytes(),
        headers,
        body,
    }
}

fn mixed() -> Built {
    build([
        message(11, "orders.new", b"", br#"{"id":1,"item":"lamp"}"#),
        message(12, "orders.paid", HEADERS, br#"{"id":1}"#),
        NewRecord::Tombstone {
            sequence: 5,
            timestamp_ns: 99,
        },
        message(13, "orders.new", b"", b""),
        NewRecord::Erased {
            sequence: 14,
            noise: &[0x5a; 41],
        },
        message(15, "orders.cancelled", HEADERS, b""),
        NewRecord::Skip {
            sequence: 20,
            timestamp_ns: 77,
        },
        message(21, "orders.paid", b"", &[0xe5; 300]),
        message(23, "orders.new", b"", br#"{"id":2,"item":"chair"}"#),
    ])
}

fn flipped(bytes: &[u8], flips: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for &(at, mask) in flips {
        bytes[at] ^= mask;
    }
    bytes
}

fn mixed_witness() -> Witness {
    Witness::new(&["orders.new", "orders.paid", "orders.cancelled"])
}

#[test]
fn an_undamaged_block_is_what_the_walk_says() {
    let built = mixed();
    let scanned = scan(&built.bytes, &mixed_witness());
    assert_eq!(scanned.plain(), built.records);
    let find = &scanned.find;
    assert!(find.is_whole() && find.uncertain.is_empty() && scanned.spent == 0);
    let walked = walk::walk(
        &built.bytes,
        &key(),
        walk::Known::default(),
        &mut Run::new(),
        &mut (),
    );
    assert_eq!(find.messages.len(), walked.messages);
    assert_eq!(find.message_bytes, walked.bytes);
    assert_eq!(find.last.unwrap().seq, walked.last_seq);
    assert_eq!(find.first.unwrap().timestamp_ns, walked.first_ts);
    assert_eq!(find.erased.iter().collect::<Vec<_>>(), [14, 20]);
    assert_eq!(
        find.tombstones,
        [SeqTime {
            seq: 5,
            timestamp_ns: 99
        }]
    );
    assert_eq!(find.content_length, built.bytes.len() as u64);
    assert_eq!(
        find.message_bytes,
        built
            .records
            .iter()
            .zip(built.borders.windows(2))
            .filter(|(record, _)| record.bits >> 62 == 0)
            .map(|(_, ends)| (ends[1] - ends[0]) as u64)
            .sum::<u64>()
    );
}

#[test]
fn an_empty_file_holds_nothing() {
    let scanned = scan(&[], &mixed_witness());
    assert!(scanned.find.is_whole() && scanned.find.messages.is_empty());
}

/// Flips every bit and compares. Returns how many flips left a doubt, and how many went unnoticed.
fn flip_every_bit(built: &Built, witness: &Witness) -> (usize, usize) {
    let (mut uncertain, mut unnoticed) = (0, 0);
    for at in 0..built.bytes.len() {
        for bit in 0..8 {
            let damaged = flipped(&built.bytes, &[(at, 1 << bit)]);
            let scanned = scan(&damaged, witness);
            let place = format!("byte {at} bit {bit}: {:?}", scanned.find);
            assert!(scanned.find.gaps.is_empty(), "{place}");
            let found: Vec<_> = scanned.plain();
            if found == built.records {
                assert_eq!(scanned.mended, built.bytes, "{place}");
                assert_eq!(scanned.find.repairs.len(), 1, "{place}");
                assert_eq!(scanned.find.repairs[0].patches.len(), 1, "{place}");
                continue;
            }
            // Only a border may differ, and only of a message whose length was hit.
            let bytes = |records: &[Plain]| -> Vec<_> {
                records.iter().map(Plain::without_borders).collect()
            };
            assert_eq!(bytes(&found), bytes(&built.records), "{place}");
            let start = *built.borders.iter().rfind(|start| **start <= at).unwrap();
            assert!((20..22).contains(&(at - start)), "{place}");
            if scanned.find.uncertain.is_empty() {
                unnoticed += 1;
            } else {
                uncertain += 1;
            }
        }
    }
    (uncertain, unnoticed)
}

#[test]
fn every_single_bit_flip_loses_nothing() {
    let built = mixed();
    let mut witness = mixed_witness();
    // A stale index: these flips give another subject the stream takes, which may be of a message since deleted.
    assert_eq!(flip_every_bit(&built, &witness), (11, 0));
    // A fresh one decides them all.
    witness.live = Some(true);
    assert_eq!(flip_every_bit(&built, &witness), (0, 0));
    // None at all: the block's own subjects tell, where they come again.
    assert_eq!(flip_every_bit(&built, &Witness::new(&[])), (11, 2));
}

#[test]
fn every_pair_of_neighbouring_bits_loses_nothing() {
    let built = mixed();
    let mut witness = mixed_witness();
    witness.live = Some(true);
    for at in 0..built.bytes.len() {
        for bit in 0..7 {
            let damaged = flipped(&built.bytes, &[(at, 3 << bit)]);
            let scanned = scan(&damaged, &witness);
            let place = format!("byte {at} bits {bit} and the next: {:?}", scanned.find);
            assert!(scanned.find.gaps.is_empty(), "{place}");
            let sequences = |records: &[Plain]| -> Vec<_> {
                records.iter().map(Plain::without_borders).collect()
            };
            assert_eq!(
                sequences(&scanned.plain()),
                sequences(&built.records),
                "{place}"
            );
        }
    }
}

#[test]
fn flips_say_where_they_were() {
    let built = mixed();
    let witness = mixed_witness();
    let second = built.borders[1];
    let cases = [
        (0, Site::Length),
        (3, Site::Length),
        (5, Site::Sequence),
        (14, Site::Time),
        (20, Site::SubjectLength),
        (25, Site::Subject),
        (40, Site::Body),
        (built.borders[1] - 3, Site::Hash),
        (second + 20, Site::SubjectLength),
        (second + 22 + 11 + 1, Site::HeaderLength),
        (second + 22 + 11 + 4 + 9, Site::Headers),
        (built.borders[2] - 10, Site::Body),
    ];
    for (at, site) in cases {
        let scanned = scan(&flipped(&built.bytes, &[(at, 0x80)]), &witness);
        let patch = Patch {
            offset: at as u64,
            mask: 0x80,
        };
        let seq = Some(if at < second { 11 } else { 12 });
        assert_eq!(
            scanned.find.repairs,
            [Repair {
                site,
                patches: vec![patch],
                seq
            }]
        );
        assert_eq!(scanned.plain(), built.records);
    }
}

#[test]
fn a_length_that_is_all_wrong_is_the_distance_to_the_next_record() {
    let built = mixed();
    let mut damaged = built.bytes.clone();
    for start in [built.borders[1], built.borders[7]] {
        damaged[start..start + 4].copy_from_slice(&0x7b3c_91f6_u32.to_le_bytes());
    }
    let scanned = scan(&damaged, &mixed_witness());
    assert_eq!(scanned.plain(), built.records);
    assert_eq!(scanned.mended, built.bytes);
    let sites: Vec<Site> = scanned.find.repairs.iter().map(|r| r.site).collect();
    assert_eq!(sites, [Site::Length, Site::Length]);
    assert!(scanned.find.repairs[0].patches.len() > 1);
}

#[test]
fn a_record_beyond_mending_is_a_gap_between_its_neighbours() {
    let built = mixed();
    let (start, end) = (built.borders[7], built.borders[8]);
    let damaged = flipped(&built.bytes, &[(start + 50, 1), (start + 250, 1)]);
    let scanned = scan(&damaged, &mixed_witness());
    assert_eq!(scanned.find.gaps.len(), 1);
    let gap = &scanned.find.gaps[0];
    assert_eq!(
        (gap.offset, gap.length),
        (start as u64, (end - start) as u64)
    );
    assert_eq!((gap.file_offset, gap.file_length), (gap.offset, gap.length));
    assert_eq!((gap.before, gap.after), (Some(20), Some(23)));
    assert!(matches!(gap.cause, GapCause::Record(_)));
    let mut kept = built.records.clone();
    kept.retain(|record| record.bits != 21);
    assert_eq!(scanned.plain(), kept);
}

#[test]
fn both_ends_of_a_gap_are_worked_on() {
    // Three bad records in a row: the middle one beyond mending, each of its neighbours with one flip.
    let built = build((1..=9).map(|seq| message(seq, "orders.new", b"", &[7; 90])));
    let start = |record: usize| built.borders[record];
    for (near, far) in [(60, 60), (4, 60), (60, 4), (25, 0), (0, 22)] {
        let damaged = flipped(
            &built.bytes,
            &[
                (start(3) + near, 2),
                (start(4) + 30, 1),
                (start(4) + 90, 1),
                (start(5) + far, 2),
            ],
        );
        let scanned = scan(&damaged, &mixed_witness());
        let kept: Vec<u64> = scanned.find.messages.iter().collect();
        assert_eq!(kept, [1, 2, 3, 4, 6, 7, 8, 9], "{near} {far}");
        assert_eq!(scanned.find.gaps.len(), 1);
        assert_eq!(scanned.find.gaps[0].offset, start(4) as u64);
    }
}

#[test]
fn a_torn_tail_is_a_gap_at_the_end() {
    let built = mixed();
    let last = built.borders[8];
    for end in last + 1..built.bytes.len() {
        let scanned = scan(&built.bytes[..end], &mixed_witness());
        assert_eq!(scanned.plain(), built.records[..8], "cut at {end}");
        assert_eq!(scanned.find.gaps.len(), 1);
        let gap = &scanned.find.gaps[0];
        assert_eq!(gap.offset, last as u64);
        assert_eq!((gap.before, gap.after), (Some(21), None));
    }
}

#[test]
fn nothing_of_a_batch_that_was_not_committed_is_taken_for_a_message() {
    let built = mixed();
    let (start, end) = (built.borders[5], built.borders[6]);
    let mut bytes = built.bytes.clone();
    let checksum: &mut [u8; 8] = bytes[..end].last_chunk_mut().unwrap();
    *checksum = crate::block::torn::withheld(*checksum);
    let scanned = scan(&bytes, &mixed_witness());
    assert_eq!(scanned.plain(), built.records[..5]);
    let gap = &scanned.find.gaps[0];
    assert_eq!(
        (gap.offset, &gap.cause),
        (start as u64, &GapCause::Uncommitted)
    );
    assert_eq!(gap.offset + gap.length, bytes.len() as u64);
}

#[test]
fn a_message_that_holds_records_does_not_pass_them_off_when_it_is_damaged() {
    let inner = build([
        message(2, "orders.forged", b"", b"forged"),
        message(3, "orders.new", b"", b""),
    ]);
    let mut body = vec![7; 100];
    body.extend_from_slice(&inner.bytes);
    body.extend_from_slice(&[9; 100]);
    let built = build([
        message(1, "orders.new", b"", b"one"),
        message(2, "orders.new", b"", &body),
        message(3, "orders.new", b"", b"three"),
    ]);
    let start = built.borders[1];
    let damaged = flipped(&built.bytes, &[(start + 40, 1), (built.borders[2] - 40, 1)]);
    let scanned = scan(&damaged, &mixed_witness());
    assert_eq!(scanned.find.messages.iter().collect::<Vec<_>>(), [1, 3]);
    assert!(
        scanned
            .records
            .iter()
            .all(|(_, record)| record.subject != b"orders.forged")
    );
}
