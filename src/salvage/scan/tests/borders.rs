//! Lengths that no checksum covers.

use super::*;

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
