//! One byte that is wrong in any of its bits.

use super::*;

/// Masks that are neither one bit nor two neighbours.
fn others() -> Vec<u8> {
    let masks = flips::whole();
    assert_eq!(masks.len(), 240);
    masks
}

/// Offset in a record without headers, and what lies there.
fn fields(subject: usize, length: usize) -> [(usize, Site); 7] {
    [
        (1, Site::Length),
        (5, Site::Sequence),
        (13, Site::Time),
        (22 + subject / 2, Site::Subject),
        (22 + subject + 3, Site::Body),
        (length - 9, Site::Body),
        (length - 3, Site::Hash),
    ]
}

#[test]
fn a_wrong_byte_of_a_small_record_is_mended_wherever_it_is() {
    let built = mixed();
    for (record, ends) in built.records.iter().zip(built.borders.windows(2)) {
        let is_small_message = record.headers.is_empty() && record.bits >> 62 == 0;
        if !is_small_message || record.body.len() < 8 || record.body.len() > 200 {
            continue;
        }
        for (at, site) in fields(record.subject.len(), ends[1] - ends[0]) {
            for mask in others().into_iter().step_by(37) {
                let bytes = flipped(&built.bytes, &[(ends[0] + at, mask)]);
                let scanned = scan(&bytes, &mixed_witness());
                assert_eq!(scanned.plain(), built.records, "{site:?} {mask:#x}");
                assert_eq!(scanned.mended, built.bytes);
                assert_eq!(scanned.find.repairs[0].site, site);
            }
        }
    }
}

#[test]
fn a_wrong_byte_in_headers_is_mended() {
    let built = build((1..=5).map(|seq| message(seq, "orders.paid", HEADERS, b"paid in full")));
    let [start, _] = [built.borders[2], built.borders[3]];
    // In the header block, and in the subject length, which tells where the headers begin.
    for (at, site) in [(22 + 11 + 4 + 12, Site::Headers), (20, Site::SubjectLength)] {
        for mask in others().into_iter().step_by(29) {
            let scanned = scan(
                &flipped(&built.bytes, &[(start + at, mask)]),
                &mixed_witness(),
            );
            assert_eq!(scanned.plain(), built.records, "{site:?} {mask:#x}");
            assert_eq!(scanned.find.repairs[0].site, site);
        }
    }
}

#[test]
fn of_a_large_record_what_tells_it_apart_is_mended() {
    let body: Vec<u8> = (0..3500_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let built = build((1..=5).map(|seq| message(seq, "orders.new", b"", &body)));
    let (start, end) = (built.borders[2], built.borders[3]);
    let told = fields("orders.new".len(), end - start);
    let told = told.iter().filter(|(_, site)| *site != Site::Body);
    for (at, site) in told.copied() {
        // One that comes late among those that are tried.
        for mask in [0x05, 0xff] {
            let scanned = scan(
                &flipped(&built.bytes, &[(start + at, mask)]),
                &mixed_witness(),
            );
            assert_eq!(scanned.plain(), built.records, "{site:?} {mask:#x}");
            assert_eq!(scanned.find.repairs[0].site, site);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_mended_is_what_was_there(
        places in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
    ) {
        let built = mixed();
        let damage: Vec<_> = places.iter().map(|(at, mask)| (at.index(built.bytes.len()), *mask)).collect();
        let scanned = scan(&flipped(&built.bytes, &damage), &mixed_witness());
        let all: BTreeSet<_> = built.records.iter().map(Plain::without_borders).collect();
        // No hash covers the length of the headers: that one makes no sense is told.
        let doubted: BTreeSet<u64> = scanned.find.uncertain.iter().map(|border| border.seq).collect();
        for record in scanned.plain().into_iter().filter(|record| !doubted.contains(&record.bits)) {
            prop_assert!(all.contains(&record.without_borders()), "{record:?}");
        }
    }
}

#[test]
fn a_block_full_of_bad_records_stays_within_the_bound() {
    // Two wrong bytes in every other record: each is searched in vain. The bound itself is checked within.
    let built = build((1..=300).map(|seq| message(seq, "orders.new", b"", &[3; 300])));
    let mut bytes = built.bytes.clone();
    for ends in built.borders.windows(2).step_by(2) {
        bytes[ends[0] + 60] ^= 0x55;
        bytes[ends[1] - 60] ^= 0x55;
    }
    let scanned = scan_with(&bytes, &mixed_witness(), 1..=300, 8 << 20);
    assert_eq!(scanned.find.messages.len(), 150);
    assert_eq!(scanned.find.gaps.len(), 150);
    // What bytes may cost is spent by the first places, and their bits are still searched at the last.
    assert!(
        scanned.spent > BYTES_PLACES * (4 << 20),
        "{}",
        scanned.spent
    );
    let bits = |gap: &crate::salvage::Gap| matches!(gap.cause, GapCause::Record(_));
    assert!(
        scanned.find.gaps.iter().all(bits),
        "no place is left open for its bytes"
    );
}
