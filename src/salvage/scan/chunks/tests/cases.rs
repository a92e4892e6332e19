//! Single blocks, each for one thing that went wrong once or could.

use super::*;

#[test]
fn a_copy_grown_to_megabytes_does_not_eat_up_the_search() {
    // The flip makes a repeat of 14 bytes one of 3.4 MB; every try before it in the record would decode that.
    let block = block(Bodies::Json, 2_500_000);
    let mut damaged = block.file.clone();
    damaged[405_112] ^= 8;
    assert!(unwrap_damaged(&block, &damaged).whole);
}

#[test]
fn an_element_that_copies_from_before_the_start_and_is_right_by_chance() {
    let block = block(Bodies::Json, 2_500_000);
    let mut damaged = block.file.clone();
    damaged[37] ^= 16;
    assert!(unwrap_damaged(&block, &damaged).whole);
}

#[test]
fn the_last_record_of_a_chunk_ends_in_the_trailer() {
    let block = block(Bodies::Large, 2_500_000);
    for (offset, mask) in [(993_752, 1 << 6), (1_000_560, 1 << 4)] {
        let mut damaged = block.file.clone();
        damaged[offset] ^= mask;
        assert!(unwrap_damaged(&block, &damaged).whole);
    }
}

#[test]
fn a_file_cut_between_two_chunks_is_noticed() {
    let block = block(Bodies::Json, 2_500_000);
    let (first, _) = chunk_ranges(&block).swap_remove(0);
    let outcome = unwrap_damaged(&block, &block.file[..first.end + 8]);
    assert_eq!(outcome.breaks, 1);
}

#[test]
fn blocks_that_tell_less_than_they_hold_are_sound() {
    // As some of v2.11 do: the length told is that of something else.
    let block = block(Bodies::Json, 31_000);
    let mut file = block.file.clone();
    let first = wrapper::first_chunk(&file).unwrap();
    file.splice(4..first - 10, [0xc3, 0x27]);
    let before = file.clone();
    let (key, sequences) = (key(), 1..=1000);
    let mut out = Vec::new();
    let unwrapped = unwrap(&mut file, &hints(&key, &sequences), &mut out);
    assert!(unwrapped.compressed && unwrapped.repairs.is_empty() && unwrapped.breaks.is_empty());
    assert!(out == block.content && file == before);
}

#[test]
fn many_flips_in_one_chunk_are_all_mended() {
    let block = block(Bodies::Json, 1_200_000);
    let (first, _) = chunk_ranges(&block).swap_remove(0);
    let mut damaged = block.file.clone();
    let mut random = Random(3);
    const FLIPS: usize = 20;
    let step = (first.end - first.start) / FLIPS;
    for at in (first.start + 64..first.end).step_by(step) {
        damaged[at + random.below(step / 2)] ^= 1 << random.below(8);
    }
    assert!(unwrap_damaged(&block, &damaged).whole);
}

#[test]
fn no_mend_spoils_a_record_that_verifies() {
    // Behind bytes that stay lost, a flip of a distance that later copies repeat can make one record verify and another
    // not, and be taken back by the next, and so on.
    let key = key();
    let mut random = Random(9);
    let rounds = if cfg!(debug_assertions) { 3 } else { 30 };
    for kind in [Bodies::Json, Bodies::Headers, Bodies::Tiny] {
        let block = block(kind, 1_200_000);
        for _ in 0..rounds {
            let mut damaged = block.file.clone();
            let at = 64 + random.below(damaged.len() - 400);
            for byte in &mut damaged[at..at + 200] {
                *byte = random.next() as u8;
            }
            let mut without = Vec::new();
            unwrap_again(&mut damaged.clone(), std::iter::empty(), &mut without);
            let (_, with) = unwrap_content(&block, &damaged, &key);
            let kept = surviving(&with, &key);
            for seq in surviving(&without, &key) {
                assert!(kept.binary_search(&seq).is_ok(), "{kind:?} at {at}: {seq}");
            }
        }
    }
}

#[test]
fn a_lost_sector_is_not_searched() {
    let block = block(Bodies::Json, 1_200_000);
    let (first, _) = chunk_ranges(&block).swap_remove(0);
    let at = (first.end / 2).next_multiple_of(4096);
    let mut damaged = block.file.clone();
    damaged[at..at + 4096].fill(0);
    let (key, sequences) = (key(), 1..=10_000_000);
    let frame = framing::frame(&damaged, first.start, damaged.len() - 8).unwrap();
    let mut purses = ChunkBudgets::new(WORK_LIMIT);
    let full = purses.open(0).work.left;
    let mut purses = ChunkBudgets::new(WORK_LIMIT);
    let found = data::mend(
        &mut damaged,
        &frame,
        &hints(&key, &sequences),
        &RecordWalk::default(),
        &mut Vec::new(),
        &mut purses,
    );
    assert_eq!(found, []);
    assert_eq!(
        purses.open(0).work.left,
        full,
        "what a chunk has of its own is enough"
    );
}
