//! Records out of order, and copies of records.

use super::*;

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
