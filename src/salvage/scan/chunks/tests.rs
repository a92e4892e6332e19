mod cases;

use super::*;
use crate::format::checksum::HashKey;
use crate::format::compression::compress;
use crate::format::record::{NewRecord, encode_record, parse_at};
use crate::salvage::findings::Lifetimes;
use crate::salvage::scan::{SubjectStanding, SubjectWitness};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

struct Subjects;

impl SubjectWitness for Subjects {
    fn standing(&self, subject: &[u8]) -> SubjectStanding {
        if subject.starts_with(b"ORDERS.") || subject.contains(&b'.') {
            SubjectStanding::Possible
        } else {
            SubjectStanding::Impossible
        }
    }
}

const WORK_LIMIT: u64 = 256 << 20;

fn key() -> HashKey {
    HashKey::for_block(b"ORDERS", 1)
}

fn hints<'a>(key: &'a HashKey, sequences: &'a RangeInclusive<u64>) -> Hints<'a> {
    Hints {
        number: 1,
        hash_key: key,
        sequences,
        subjects: &Subjects,
        work_limit: WORK_LIMIT,
        lifetimes: Lifetimes::default(),
    }
}

/// A generator that needs no dependency (SplitMix64).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bodies {
    Json,
    Noise,
    Tiny,
    Headers,
    Large,
}

fn body(kind: Bodies, sequence: u64, random: &mut Random) -> Vec<u8> {
    match kind {
        Bodies::Json | Bodies::Headers => {
            let user = random.below(5000);
            let price = random.below(100_000);
            let mut body = format!(
                "{{\"order\":{sequence},\"user\":\"user-{user}\",\"price\":{price},\"currency\":\"EUR\",\"note\":\""
            )
            .into_bytes();
            for _ in 0..random.below(12) {
                let word = [
                    "express",
                    "gift wrap",
                    "leave at door",
                    "fragile",
                    "no invoice",
                ][random.below(5)];
                body.extend_from_slice(word.as_bytes());
                body.push(b' ');
            }
            body.extend_from_slice(b"\",\"status\":\"accepted\"}");
            body
        }
        Bodies::Noise => (0..256).map(|_| random.next() as u8).collect(),
        Bodies::Tiny => vec![b'0' + (sequence % 10) as u8; random.below(3)],
        Bodies::Large => {
            let mut body = Vec::new();
            while body.len() < 40_000 {
                let from = random.below(body.len() + 1);
                let piece = body[from..]
                    .iter()
                    .copied()
                    .take(random.below(60))
                    .collect::<Vec<u8>>();
                body.extend_from_slice(&piece);
                body.extend((0..random.below(20)).map(|_| random.next() as u8));
            }
            body
        }
    }
}

fn content(kind: Bodies, length: usize) -> Vec<u8> {
    let mut random = Random(7);
    let mut content = Vec::new();
    let mut sequence = 1;
    while content.len() < length {
        let body = body(kind, sequence, &mut random);
        let subject = format!("ORDERS.{}", random.below(8));
        let headers = if kind == Bodies::Headers {
            format!(
                "NATS/1.0\r\nNats-Msg-Id: {:x}\r\nTrace: {}\r\n\r\n",
                random.next(),
                random.below(10)
            )
        } else {
            String::new()
        };
        let record = NewRecord::Message {
            sequence,
            timestamp_ns: 1_700_000_000_000_000_000 + sequence as i64 * 1_234_567,
            subject: subject.as_bytes(),
            headers: headers.as_bytes(),
            body: &body,
        };
        encode_record(&mut content, &key(), &record).unwrap();
        sequence += 1;
    }
    content
}

struct Block {
    content: Vec<u8>,
    file: Vec<u8>,
}

fn block(kind: Bodies, length: usize) -> Block {
    let content = content(kind, length);
    let mut file = Vec::new();
    compress(&content, &mut file).unwrap();
    Block { content, file }
}

/// Offsets, in `content`, of the records that verify, taking up the walk behind what does not.
fn surviving(content: &[u8], key: &HashKey) -> Vec<u64> {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < content.len() {
        match parse_at(content, offset) {
            // Noise parses at many offsets, with long lengths: only what can be a record here is hashed.
            Ok(record)
                if record.sequence() < 1 << 32
                    && crate::block::content::verifies(&record, content, key) =>
            {
                found.push(record.sequence());
                offset = record.end_offset();
            }
            _ => offset += 1,
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

struct Outcome {
    whole: bool,
    lost: usize,
    time: Duration,
    breaks: usize,
}

/// Unwraps a damaged block and checks what every outcome must hold to.
fn unwrap_damaged(block: &Block, damaged: &[u8]) -> Outcome {
    unwrap_with(block, damaged, &key())
}

fn unwrap_with(block: &Block, damaged: &[u8], key: &HashKey) -> Outcome {
    let (outcome, _) = unwrap_content(block, damaged, key);
    outcome
}

fn unwrap_content(block: &Block, damaged: &[u8], key: &HashKey) -> (Outcome, Vec<u8>) {
    let sequences = 1..=10_000_000;
    let hints = hints(key, &sequences);
    let mut file = damaged.to_vec();
    let mut out = vec![1, 2, 3];
    #[expect(clippy::disallowed_methods, reason = "measured, not judged by")]
    let begun = std::time::Instant::now();
    let unwrapped = unwrap(&mut file, &hints, &mut out);
    let time = begun.elapsed();
    let mut again = damaged.to_vec();
    let mut out_again = vec![4];
    let patches = unwrapped
        .repairs
        .iter()
        .flat_map(|repair| repair.patches.clone());
    let breaks = unwrap_again(&mut again, patches, &mut out_again);
    assert!(again == file, "patches give the mended file");
    assert_eq!(breaks, unwrapped.breaks);
    assert!(out_again == out, "the content is the same without search");
    for found in &unwrapped.breaks {
        assert!(found.content_offset + found.content_length <= out.len());
        assert!(found.file_offset + found.file_length <= file.len() as u64);
    }
    let whole = out == block.content;
    if unwrapped.breaks.is_empty() && unwrapped.compressed {
        // A trailer alone is not looked at.
        let trailer = block.content.len() - 8;
        assert!(out.len() == block.content.len() && out[..trailer] == block.content[..trailer]);
    }
    let lost = if whole {
        0
    } else {
        let all = surviving(&block.content, key);
        let kept = surviving(&out, key);
        all.iter()
            .filter(|seq| kept.binary_search(seq).is_err())
            .count()
    };
    let outcome = Outcome {
        whole,
        lost,
        time,
        breaks: unwrapped.breaks.len(),
    };
    (outcome, out)
}

#[test]
fn sound_blocks_pass_through() {
    for kind in [
        Bodies::Json,
        Bodies::Noise,
        Bodies::Tiny,
        Bodies::Headers,
        Bodies::Large,
    ] {
        let block = block(kind, 3_000_000);
        let outcome = unwrap_damaged(&block, &block.file);
        assert!(outcome.whole && outcome.breaks == 0, "{kind:?}");
        let plain = unwrap_damaged(&block, &block.content);
        assert!(plain.whole);
    }
}

/// What the byte at `offset` of a sound block is.
fn site(file: &[u8], offset: usize) -> &'static str {
    let first = wrapper::first_chunk(file).unwrap();
    let end = file.len() - 8;
    if offset < 4 {
        return "mark";
    } else if offset < first - 10 {
        return "original length";
    } else if offset < first {
        return "identifier";
    } else if offset >= end {
        return "trailer";
    }
    let mut at = first;
    loop {
        let frame = framing::frame(file, at, end).unwrap();
        if offset < at + 1 {
            return "chunk type";
        } else if offset < at + 4 {
            return "chunk length";
        } else if offset < at + 8 {
            return "chunk checksum";
        } else if offset < frame.data.end {
            if frame.stored {
                return "stored data";
            }
            let data = &file[frame.data.clone()];
            let (_, spelled) = crate::format::compression::decoded_length(data).unwrap();
            let within = offset - frame.data.start;
            if within < spelled {
                return "decoded length";
            }
            let mut read = spelled;
            loop {
                let shape = crate::format::compression::element_shape(data, read, 1).unwrap();
                if within < shape.next {
                    return if within >= shape.head_end {
                        "literal bytes"
                    } else if shape.literal {
                        "literal head"
                    } else if within == read {
                        "copy tag"
                    } else {
                        "copy offset or length"
                    };
                }
                read = shape.next;
            }
        }
        at = frame.data.end;
    }
}

#[derive(Default)]
struct Tally {
    flips: usize,
    whole: usize,
    lossless: usize,
    lost_most: usize,
}

fn sample(
    kind: Bodies,
    length: usize,
    flips: usize,
    seed: u64,
) -> (BTreeMap<&'static str, Tally>, Vec<Duration>) {
    let block = block(kind, length);
    let mut random = Random(seed);
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut times = Vec::new();
    for round in 0..flips {
        let mut damaged = block.file.clone();
        // The few bytes of the front are sampled on purpose; all the others as they come.
        let offset = if round % 20 == 0 {
            random.below(40)
        } else {
            random.below(damaged.len())
        };
        let bit = random.below(8);
        damaged[offset] ^= 1 << bit;
        let outcome = unwrap_damaged(&block, &damaged);
        let tally = tallies.entry(site(&block.file, offset)).or_default();
        tally.flips += 1;
        tally.whole += usize::from(outcome.whole);
        tally.lossless += usize::from(outcome.lost == 0);
        tally.lost_most = tally.lost_most.max(outcome.lost);
        if (!outcome.whole || outcome.time > Duration::from_millis(500))
            && offset + 8 < damaged.len()
        {
            println!(
                "{kind:?}: bit {bit} of byte {offset} ({}): lost {} in {:?}",
                site(&block.file, offset),
                outcome.lost,
                outcome.time
            );
        }
        times.push(outcome.time);
    }
    times.sort_unstable();
    (tallies, times)
}

#[test]
fn single_flips_lose_nothing() {
    let flips = if cfg!(debug_assertions) { 100 } else { 5_000 };
    let mut all = 0;
    let mut lossless = 0;
    for (kind, length) in [
        (Bodies::Json, 2_500_000),
        (Bodies::Noise, 2_500_000),
        (Bodies::Tiny, 1_200_000),
        (Bodies::Headers, 2_500_000),
        (Bodies::Large, 2_500_000),
    ] {
        let (tallies, times) = sample(kind, length, flips, 11);
        println!(
            "{kind:?}: median {:?}, p99 {:?}, most {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() - 1]
        );
        for (site, tally) in tallies {
            println!(
                "  {site:24} {:6} flips, {:6} whole, {:6} lossless, most lost {}",
                tally.flips, tally.whole, tally.lossless, tally.lost_most
            );
            if site != "trailer" {
                all += tally.flips;
                lossless += tally.lossless;
            }
        }
    }
    println!("{lossless} of {all} lose nothing");
    assert!(lossless * 1000 >= all * 995, "{lossless} of {all}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_damage_reads_the_same_again(kind in prop::sample::select(vec![Bodies::Json, Bodies::Noise, Bodies::Headers]), damage in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..6), cut in proptest::option::of(any::<prop::sample::Index>())) {
        let block = block(kind, 20_000);
        let mut damaged = block.file.clone();
        for (index, mask) in damage {
            let index = index.index(damaged.len());
            damaged[index] ^= mask;
        }
        if let Some(cut) = cut {
            damaged.truncate(cut.index(damaged.len()));
        }
        let _ = unwrap_damaged(&block, &damaged);
    }
}

/// What is done to a file that no flipped bit explains.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Cut,
    Zeroes,
    Noise,
}

/// Where each chunk lies: its bytes in the file, and what it decodes to.
fn chunk_ranges(block: &Block) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let end = block.file.len() - 8;
    let mut at = wrapper::first_chunk(&block.file).unwrap();
    let mut made = 0;
    let mut ranges = Vec::new();
    while at < end {
        let frame = framing::frame(&block.file, at, end).unwrap();
        let next = (made + (1 << 20)).min(block.content.len() - 8);
        ranges.push((at..frame.data.end, made..next));
        at = frame.data.end;
        made = next;
    }
    ranges
}

#[test]
fn gross_damage_stays_in_its_chunks() {
    let key = key();
    let mut random = Random(5);
    let rounds = if cfg!(debug_assertions) { 4 } else { 30 };
    for kind in [Bodies::Json, Bodies::Noise, Bodies::Headers] {
        let block = block(kind, 2_300_000);
        let chunks = chunk_ranges(&block);
        let records = records_of(&block.content);
        let (mut at_risk, mut lost_total, mut longest) = (0, 0, Duration::ZERO);
        for damage in [Damage::Cut, Damage::Zeroes, Damage::Noise] {
            for round in 0..rounds {
                let mut damaged = block.file.clone();
                // The front, where recognising the block is at stake, comes in for more than its share.
                let at = if round % 4 == 0 {
                    random.below(64)
                } else {
                    random.below(damaged.len())
                };
                let range = match damage {
                    Damage::Cut => {
                        damaged.truncate(at);
                        at..block.file.len()
                    }
                    Damage::Zeroes => {
                        let at = at / 4096 * 4096;
                        at..(at + 4096).min(damaged.len())
                    }
                    Damage::Noise => at..(at + 1 + random.below(9000)).min(damaged.len()),
                };
                for byte in damaged.get_mut(range.clone()).unwrap_or_default() {
                    *byte = match damage {
                        Damage::Noise => random.next() as u8,
                        _ => 0,
                    };
                }
                let file_end = block.file.len();
                let touched: Vec<_> = chunks
                    .iter()
                    .filter(|(file, _)| file.start < range.end && range.start < file.end)
                    .map(|(_, made)| made.clone())
                    .collect();
                let trailer = range.end == file_end;
                let (outcome, content) = unwrap_content(&block, &damaged, &key);
                longest = longest.max(outcome.time);
                let kept = surviving(&content, &key);
                for (seq, record) in &records {
                    let risk = touched
                        .iter()
                        .any(|made| made.start < record.end && record.start < made.end)
                        || (trailer && record.end > block.content.len() - 8);
                    let lost = kept.binary_search(seq).is_err();
                    assert!(
                        risk || !lost,
                        "{kind:?} {damage:?} {range:?}: lost {seq} at {record:?}"
                    );
                    at_risk += usize::from(risk);
                    lost_total += usize::from(lost);
                }
            }
        }
        println!("{kind:?}: {lost_total} lost of {at_risk} in the chunks touched, {longest:?}");
    }
}

fn records_of(content: &[u8]) -> Vec<(u64, std::ops::Range<usize>)> {
    let mut offset = 0;
    let mut records = Vec::new();
    while let Ok(record) = parse_at(content, offset) {
        records.push((record.sequence(), offset..record.end_offset()));
        offset = record.end_offset();
    }
    records
}
