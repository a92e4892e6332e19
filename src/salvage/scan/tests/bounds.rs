//! Damage of every kind: what it costs, in messages and in work.

use super::*;

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
fn a_plain_block_is_read_as_one_behind_the_first_sector_of_a_compressed_one() {
    let built = long(100, 300);
    let mut other = Vec::new();
    crate::format::compression::compress(&hostile(40_000, 3), &mut other).unwrap();
    let mut file = built.bytes.clone();
    file[..4096].copy_from_slice(&other[..4096]);
    let scanned = scan(&file, &mixed_witness());
    assert!(!scanned.find.compressed);
    let behind = &built.records[built.records.len() - scanned.plain().len()..];
    assert_eq!(scanned.plain(), behind);
    assert!(behind.len() > 60, "{} records", behind.len());
    assert_eq!(scanned.find.gaps.len(), 1);
    // One of which nothing is left stays what its front says.
    file[4096..].fill(7);
    let scanned = scan(&file, &mixed_witness());
    assert!(scanned.find.compressed && scanned.plain().is_empty());
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
            lifetimes: Lifetimes::default(),
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
