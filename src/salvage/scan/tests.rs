//! Blocks are built, damaged and scanned; what comes out is compared with what went in.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::super::find::{Edge, GapCause, Repair, Site};
use super::work::{BLOCK_PLACES, RESYNC_RATE};
use super::*;
use crate::block::walk;
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::record::{NewRecord, RecordKind, encode_record};
use crate::format::subject;

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
    find: BlockFind,
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
    let places = BLOCK_PLACES.min(find.gaps.len() as u64 + find.repairs.len() as u64);
    assert!(
        spent <= places * work + RESYNC_RATE * bad,
        "{spent} bytes hashed for {places} places, {bad} bad bytes"
    );
    Scanned {
        find,
        spent,
        mended,
        records: collected.0,
    }
}

fn check_find(find: &BlockFind, file: &[u8], collected: &Collected) {
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
        [Edge {
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

/// The messages of a block made of runs of sequences with half a record between each two, and those that are outdated.
fn made_of(runs: &[&[u64]]) -> (Vec<u64>, Vec<u64>) {
    let mut bytes = Vec::new();
    for run in runs {
        if !bytes.is_empty() {
            bytes.extend_from_slice(&[0xee; 40]);
        }
        let built = build(run.iter().map(|seq| message(*seq, "orders.new", b"", b"x")));
        bytes.extend_from_slice(&built.bytes);
    }
    let scanned = scan(&bytes, &mixed_witness());
    let find = &scanned.find;
    assert!(find.rivals.is_empty());
    assert_eq!(find.gaps.len(), runs.len() - 1);
    let strays: Vec<u64> = find.strays.iter().map(|edge| edge.seq).collect();
    assert!(strays.is_sorted() && strays.iter().all(|seq| find.messages.contains(*seq)));
    let records = runs.iter().map(|run| run.len() as u64).sum::<u64>();
    assert_eq!(
        find.backward_count,
        records - find.messages.len() + strays.len() as u64
    );
    let each = built_length();
    assert_eq!(find.message_bytes, find.messages.len() * each);
    (
        find.messages.iter().collect(),
        find.outdated.iter().collect(),
    )
}

fn built_length() -> u64 {
    build([message(1, "orders.new", b"", b"x")]).bytes.len() as u64
}

#[test]
fn records_out_of_order_hide_nothing() {
    let none = Vec::new;
    assert_eq!(made_of(&[&[5, 5, 6]]), (vec![5, 6], none()));
    assert_eq!(
        made_of(&[&[1, 2], &[90, 91], &[3, 4, 5, 90, 91]]),
        (vec![1, 2, 3, 4, 5, 90, 91], none())
    );
    assert_eq!(made_of(&[&[90], &[1, 2, 3]]), (vec![1, 2, 3, 90], none()));
    // Copies that outnumber what lies between them and their like.
    assert_eq!(
        made_of(&[&[1, 2], &[6, 7, 8, 9], &[3, 4], &[10]]),
        (vec![1, 2, 3, 4, 6, 7, 8, 9, 10], none())
    );
}

#[test]
fn what_neighbours_tell_to_be_gone_is_outdated() {
    // 4 and 6 were written one behind the other: 5 had been removed by then.
    assert_eq!(made_of(&[&[5], &[4, 6, 7]]), (vec![4, 5, 6, 7], vec![5]));
    // A part of a former state, with a message that is gone in the present one, wherever the chain leads.
    assert_eq!(
        made_of(&[&[1, 2, 4, 5, 6], &[2, 3, 4, 5], &[7, 8]]),
        (vec![1, 2, 3, 4, 5, 6, 7, 8], vec![3])
    );
    assert_eq!(
        made_of(&[&[1, 2, 4, 5, 6], &[3, 4, 5, 6, 7, 8, 9]]),
        (vec![1, 2, 3, 4, 5, 6, 7, 8, 9], vec![3])
    );
}

#[test]
fn neighbours_at_the_border_of_a_sector_tell_nothing() {
    // Records of 128 bytes: a copied sector begins and ends with one.
    let body = [7; 128 - 30 - "orders.new".len()];
    let seqs = [1, 2, 3, 4, 20, 21, 22, 23, 9, 10, 11, 12, 24];
    let built = build(seqs.map(|seq| message(seq, "orders.new", b"", &body)));
    let mut bytes = built.bytes.clone();
    // What the sector was copied from is gone, and so is one record behind it.
    bytes[11 * 128..12 * 128].fill(0);
    let scanned = scan(&bytes, &mixed_witness());
    let find = scanned.find;
    assert_eq!(
        find.strays.iter().map(|e| e.seq).collect::<Vec<_>>(),
        [9, 10, 11]
    );
    assert!(find.outdated.is_empty());
    assert_eq!(
        find.messages.iter().collect::<Vec<_>>(),
        [1, 2, 3, 4, 9, 10, 11, 20, 21, 22, 23, 24]
    );
}

#[test]
fn of_two_records_with_one_sequence_that_differ_the_one_in_its_place_is_taken() {
    let built = build([
        message(1, "orders.new", b"", b"one"),
        message(2, "orders.new", b"", b"two"),
        message(3, "orders.new", b"", b"three"),
        message(2, "orders.new", b"", b"other"),
        message(4, "orders.new", b"", b"four"),
    ]);
    let scanned = scan(&built.bytes, &mixed_witness());
    assert_eq!(scanned.find.rivals.iter().collect::<Vec<_>>(), [2]);
    assert_eq!(scanned.find.backward_count, 1);
    let bodies: Vec<&[u8]> = scanned.records.iter().map(|(_, r)| &r.body[..]).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b"three", b"four"]);
}

#[test]
fn a_copy_of_what_was_erased_does_not_come_back() {
    let built = build([
        message(1, "orders.new", b"", b"one"),
        NewRecord::Erased {
            sequence: 2,
            noise: &[1; 9],
        },
        message(3, "orders.new", b"", b"three"),
        message(2, "orders.new", b"", b"two"),
        message(4, "orders.new", b"", b"four"),
    ]);
    let scanned = scan(&built.bytes, &mixed_witness());
    assert_eq!(scanned.find.messages.iter().collect::<Vec<_>>(), [1, 3, 4]);
    assert!(scanned.find.strays.is_empty());
}

#[test]
fn an_erased_record_out_of_order_still_erases() {
    let built = build([
        message(5, "orders.new", b"", b"five"),
        message(6, "orders.new", b"", b"six"),
        NewRecord::Erased {
            sequence: 5,
            noise: &[1; 9],
        },
        message(7, "orders.new", b"", b"seven"),
    ]);
    let scanned = scan(&built.bytes, &mixed_witness());
    assert_eq!(scanned.find.messages.iter().collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(scanned.find.erased.iter().collect::<Vec<_>>(), [5]);
    assert_eq!(scanned.plain().len(), 4);
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

#[test]
fn borders_of_headers() {
    let body = b"\r\n\r\nNATS/1.0\r\n\r\n";
    let built = build([
        message(1, "orders.new", HEADERS, body),
        message(2, "orders.new", b"no headers at all", b"x"),
        message(3, "orders.new", b"NATS/1.0 503\r\n\r\n", b""),
    ]);
    let at = 22 + "orders.new".len();
    for bit in 0..32 {
        let damaged = flipped(&built.bytes, &[(at + bit / 8, 1 << (bit % 8))]);
        let scanned = scan(&damaged, &mixed_witness());
        assert_eq!(scanned.plain(), built.records, "bit {bit}");
    }
    let scanned = scan(&built.bytes, &mixed_witness());
    assert_eq!(scanned.plain(), built.records);
    let doubted: Vec<u64> = scanned
        .find
        .uncertain
        .iter()
        .map(|doubt| doubt.seq)
        .collect();
    assert_eq!(doubted, [2]);
}

#[test]
fn a_subject_of_former_days_is_kept() {
    // The stream takes `orders.>` now, and one took these; a flip of a length away is a subject it takes.
    let built = build([
        message(1, "bills.new", b"", b"old"),
        message(2, "bills.new", b"", b"old"),
        message(3, "orders.a.b", b"", b"dead"),
    ]);
    let mut witness = Witness::new(&["orders.a"]);
    let scanned = scan(&built.bytes, &witness);
    assert_eq!(scanned.plain(), built.records);
    assert!(scanned.find.is_whole());
    assert_eq!(scanned.find.uncertain.len(), 1);
    // The index knows that message 3 is deleted: nothing is strange about its subject.
    witness.live = Some(false);
    assert!(scan(&built.bytes, &witness).find.uncertain.is_empty());
    // Were it live, the index would list its subject.
    witness.live = Some(true);
    let scanned = scan(&built.bytes, &witness);
    assert_eq!(scanned.records[2].1.subject, b"orders.a");
}

/// Messages of a few subjects, with bodies that begin as JSON does.
fn orders(count: u64) -> Built {
    const STATES: [&str; 4] = ["new", "paid", "packed", "cancelled"];
    const PLACES: [&str; 3] = ["eu", "us", "africa"];
    let subjects: Vec<String> = (0..count)
        .map(|seq| {
            let at = seq as usize;
            format!("orders.{}.{}", PLACES[at % 3], STATES[at / 3 % 4])
        })
        .collect();
    let bodies: Vec<String> = (0..count)
        .map(|seq| format!("{{\"order\":\"{:x}\",\"lines\":[{seq},7]}}", seq * 7919))
        .collect();
    build((0..count).map(|seq| {
        let (subject, body) = (&subjects[seq as usize], &bodies[seq as usize]);
        message(seq + 1, subject, b"", body.as_bytes())
    }))
}

#[test]
fn every_flip_of_a_subject_length_is_mended_by_the_other_messages() {
    // No index: nothing but the messages themselves tells which subjects there are.
    let built = orders(240);
    let witness = Witness::new(&[]);
    for at in 0..240 {
        let field = built.borders[at] + 20;
        for bit in 0..16 {
            let bytes = flipped(&built.bytes, &[(field + bit / 8, 1 << (bit % 8))]);
            let scanned = scan(&bytes, &witness);
            assert_eq!(scanned.plain(), built.records, "record {at}, bit {bit}");
            assert!(scanned.find.uncertain.is_empty(), "record {at}, bit {bit}");
        }
    }
}

#[test]
fn flips_of_many_subject_lengths_are_mended_together() {
    let built = orders(2400);
    for witness in [
        Witness::new(&[]),
        Witness::new(&["orders.eu.new", "orders.us.new", "orders.africa.new"]),
    ] {
        let flips: Vec<(usize, u8)> = (0..2400)
            .step_by(7)
            .map(|at| (at, at * 5 % 16))
            .map(|(at, bit)| (built.borders[at] + 20 + bit / 8, 1 << (bit % 8)))
            .collect();
        let scanned = scan(&flipped(&built.bytes, &flips), &witness);
        assert_eq!(scanned.plain(), built.records);
        assert!(scanned.find.uncertain.is_empty());
    }
}

#[test]
fn a_rare_subject_beside_a_frequent_one_stays() {
    // `orders.1` and `orders.10` are one bit of the length apart.
    let bodies: Vec<String> = (0..40).map(|seq| format!("{{\"id\":{seq}}}")).collect();
    let built = build((0..40).map(|seq| {
        let subject = if seq == 17 { "orders.b10" } else { "orders.b1" };
        message(seq + 1, subject, b"", bodies[seq as usize].as_bytes())
    }));
    let scanned = scan(&built.bytes, &Witness::new(&[]));
    assert_eq!(scanned.plain(), built.records);
    assert!(scanned.find.is_whole());
    assert!(scanned.find.uncertain.is_empty());
}

/// A block of `count` messages with bodies of about `length` bytes, some with headers, some tombstones.
fn long(count: u64, length: usize) -> Built {
    let body: Vec<u8> = (0..length as u32 * 2)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    build((1..=count).map(|seq| {
        let from = (seq as usize * 7) % length;
        let length = length / 2 + (seq as usize * 13) % (length / 2 + 1);
        match seq % 7 {
            0 => NewRecord::Tombstone {
                sequence: seq / 2,
                timestamp_ns: 5,
            },
            1 => message(seq, "orders.paid", HEADERS, &body[from..from + length]),
            _ => message(seq, "orders.new", b"", &body[from..from + length]),
        }
    }))
}

/// Every record that no damaged byte touches is there, and none that was not.
fn assert_only_touched_are_lost(
    built: &Built,
    touched: &[RangeInclusive<usize>],
    scanned: &Scanned,
) {
    let kept: BTreeSet<&Plain> = scanned.records.iter().map(|(_, record)| record).collect();
    let all: BTreeSet<&Plain> = built.records.iter().collect();
    assert!(kept.is_subset(&all), "{:?}", scanned.find);
    for (record, ends) in built.records.iter().zip(built.borders.windows(2)) {
        let hit = touched
            .iter()
            .any(|range| *range.start() < ends[1] && *range.end() >= ends[0]);
        assert!(
            hit || kept.contains(record),
            "record at {} is lost: {:?}",
            ends[0],
            scanned.find
        );
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Zero,
    Ones,
    Noise(u32),
    /// What lies elsewhere in the block.
    Copy(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Zero),
        Just(Damage::Ones),
        any::<u32>().prop_map(Damage::Noise),
        any::<usize>().prop_map(Damage::Copy),
    ]
}

fn inflict(bytes: &mut [u8], range: &RangeInclusive<usize>, damage: &Damage) {
    let original = bytes.to_vec();
    for at in range.clone() {
        bytes[at] = match damage {
            Damage::Zero => 0,
            Damage::Ones => 0xff,
            Damage::Noise(seed) => {
                let mixed = (at as u32).wrapping_add(*seed).wrapping_mul(2_654_435_761);
                ((mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b) >> 24) as u8
            }
            Damage::Copy(from) => original[(from.wrapping_add(at)) % original.len()],
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn overwritten_ranges_lose_only_what_they_touch(
        places in proptest::collection::vec((any::<prop::sample::Index>(), 1..3000_usize, damage()), 1..6),
        length in prop_oneof![Just(40_usize), Just(250), Just(1500)],
    ) {
        let built = long(40_000 / length as u64 + 20, length);
        let mut bytes = built.bytes.clone();
        let mut touched = Vec::new();
        for (at, length, damage) in &places {
            let start = at.index(bytes.len());
            let range = start..=(start + length - 1).min(bytes.len() - 1);
            inflict(&mut bytes, &range, damage);
            touched.push(range);
        }
        let scanned = scan_with(&bytes, &mixed_witness(), 1..=100_000, 4 << 20);
        assert_only_touched_are_lost(&built, &touched, &scanned);
    }

    #[test]
    fn bytes_cut_out_or_put_in_lose_only_what_they_touch(
        at in any::<prop::sample::Index>(),
        count in 1..2000_usize,
        noise in any::<Option<u8>>(),
    ) {
        let built = long(120, 300);
        let at = at.index(built.bytes.len());
        let end = (at + count).min(built.bytes.len());
        let mut bytes = built.bytes.clone();
        let touched = match noise {
            Some(noise) => {
                bytes.splice(at..at, std::iter::repeat_n(noise, count));
                at..=at
            }
            None => {
                bytes.drain(at..end);
                at..=end - 1
            }
        };
        let scanned = scan_with(&bytes, &mixed_witness(), 1..=1000, 4 << 20);
        assert_only_touched_are_lost(&built, &[touched], &scanned);
    }

    #[test]
    fn any_bytes_are_scanned_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        scan_with(&bytes, &mixed_witness(), 0..=u64::MAX, 1 << 16);
    }
}

/// Plausible record headers, one after the other, none of which verifies.
fn hostile(count: usize, length: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for seq in 1..=count as u64 {
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&seq.to_le_bytes());
        bytes.extend_from_slice(&17_i64.to_le_bytes());
        bytes.extend_from_slice(&10_u16.to_le_bytes());
    }
    bytes
}

#[test]
fn plausible_headers_without_end_stay_within_the_bound() {
    let sound = build((900_000..900_010).map(|seq| message(seq, "orders.new", b"", b"behind it")));
    for length in [40, 330, 5_000, 200_000] {
        let mut bytes = hostile(20_000, length);
        bytes.extend_from_slice(&sound.bytes);
        // The bound itself is checked within.
        let scanned = scan_with(&bytes, &mixed_witness(), 0..=u64::MAX, 1 << 20);
        assert_eq!(scanned.plain(), sound.records, "length {length}");
        assert!(
            scanned.spent > 1 << 18,
            "the search was given something to do"
        );
        assert!(
            scanned
                .find
                .gaps
                .iter()
                .all(|gap| gap.cause == GapCause::WorkLimit)
        );
    }
}

#[test]
fn many_bad_places_share_the_work_of_a_block() {
    // Every other record has two flips, so that each bad one is searched in vain.
    let built = build((1..=2000).map(|seq| message(seq, "orders.new", b"", &[3; 2000])));
    let mut bytes = built.bytes.clone();
    for ends in built.borders.windows(2).step_by(2) {
        bytes[ends[0] + 100] ^= 1;
        bytes[ends[1] - 100] ^= 1;
    }
    let scanned = scan_with(&bytes, &mixed_witness(), 1..=2000, 1 << 16);
    assert_eq!(scanned.find.messages.len(), 1000);
    assert_eq!(scanned.find.gaps.len(), 1000);
}

#[test]
fn the_last_hash_of_a_compressed_block_is_mended_in_the_file() {
    let built = mixed();
    let mut file = Vec::new();
    crate::format::compression::compress(&built.bytes, &mut file).unwrap();
    let scanned = scan(&file, &mixed_witness());
    assert!(scanned.find.compressed && scanned.find.is_whole());
    assert_eq!(scanned.plain(), built.records);
    for at in file.len() - 8..file.len() {
        for bit in 0..8 {
            let scanned = scan(&flipped(&file, &[(at, 1 << bit)]), &mixed_witness());
            assert_eq!(scanned.plain(), built.records);
            assert_eq!(scanned.mended, file);
            assert_eq!(scanned.find.repairs[0].site, Site::Hash);
        }
    }
}

#[test]
fn a_probe_tells_the_block_of_plain_compressed_and_damaged_bytes() {
    let built = long(400, 300);
    let witness = mixed_witness();
    let (own, other) = (key(), HashKey::for_block(b"ORDERS", 4));
    let is_of = |file: &[u8], key: &HashKey| {
        let hints = Hints {
            number: 9,
            hash_key: &other,
            sequences: &(1..=SEQUENCE_MAX),
            subjects: &witness,
            work_limit: 0,
        };
        let (mut file, mut scratch) = (file.to_vec(), Scratch::default());
        let content = probe::content_of(&mut file, &mut scratch);
        let mut spent = 0;
        let found = probe::Probe::of(content, &hints).is_of(content, key, &mut spent);
        assert!(spent <= 16 * (64 << 10), "{spent} bytes hashed");
        found
    };
    let mut compressed = Vec::new();
    crate::format::compression::compress(&built.bytes, &mut compressed).unwrap();
    let mut damaged = built.bytes.clone();
    inflict(&mut damaged, &(0..=20_000), &Damage::Noise(7));
    let one = build([message(1, "orders.new", b"", b"alone")]).bytes;
    for file in [&built.bytes, &compressed, &damaged, &one] {
        assert!(is_of(file, &own));
        assert!(!is_of(file, &other));
    }
    assert!(!is_of(&[], &own));
    assert!(!is_of(&hostile(5000, 40), &own));
}
