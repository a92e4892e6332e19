//! The engine's store against a model, against recovery, and ended everywhere.

use jetsam::testing::engine::{crash_everywhere, fail_everywhere, live};

#[test]
fn a_store_is_what_its_steps_made_of_it() {
    for seed in 0..200 {
        if let Err(what) = live(seed, 60) {
            panic!("{what}");
        }
    }
}

#[test]
fn whatever_call_to_the_disk_is_the_last_nothing_is_lost_or_back() {
    let mut calls = 0;
    for seed in 0..30 {
        let tally = crash_everywhere(seed, 40, 3);
        assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
        calls += tally.call_count;
    }
    assert!(calls > 1000, "only {calls} ends");
}

#[test]
fn whatever_call_to_the_disk_fails_the_writer_stops_and_nothing_is_lost() {
    let (mut calls, mut outlived) = (0, 0);
    for seed in 0..30 {
        let tally = fail_everywhere(seed, 40, 5);
        assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
        calls += tally.call_count;
        outlived += tally.outlived_count;
    }
    assert!(calls > 700, "only {calls} failures");
    // Few calls are such that nothing hangs on them.
    assert!(outlived * 10 < calls, "{outlived} of {calls} told nothing");
}

/// A power cut kept a block of one tombstone and tore the messages in the block before it. That the stream once reached 10 then stood
/// in a block of tombstones alone, before the last one, where the server does not look.
#[test]
fn a_last_sequence_that_only_an_earlier_block_tells_of_is_not_handed_out_again() {
    let tally = crash_everywhere(31_251, 40, 1);
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert!(tally.call_count > 158, "only {} ends", tally.call_count);
}

/// A roll-up emptied a block, whose file went while the roll-up itself was not durable: a power cut kept the one and took the other.
#[test]
fn no_file_goes_before_the_batch_that_emptied_it_is_durable() {
    let tally = crash_everywhere(814, 40, 1);
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert!(tally.call_count > 84, "only {} ends", tally.call_count);
}

/// A kill kept seven of the eight bytes of the checksum that commits a batch. One byte that is wrong was taken for damage, and the store
/// did not open without consent to a loss.
#[test]
fn a_commit_that_was_torn_at_its_last_byte_is_no_damage() {
    let tally = crash_everywhere(31_996, 60, 1);
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert!(tally.call_count > 90, "only {} ends", tally.call_count);
}

/// The index leaves out blocks without a message. One of them, of tombstones only, was forgotten when the store was opened by the index, and
/// left where it lay: before the first message it keeps the server, and whoever does as the server does, from writing an index.
#[test]
fn a_block_of_tombstones_that_the_index_leaves_out_is_taken_up_and_goes_when_it_may() {
    let tally = crash_everywhere(31_972, 60, 1);
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert!(tally.call_count > 250, "only {} ends", tally.call_count);
}

/// What a cut proves anew took two blocks. The second began by proving the last sequence, which was the one that the cut took away.
#[test]
fn a_cut_proves_nothing_of_what_it_takes_away() {
    let tally = crash_everywhere(30_834, 60, 1);
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert!(tally.call_count > 180, "only {} ends", tally.call_count);
}

/// A power cut tore several blocks; what was left began with a block of tombstones that speak of messages in the block behind it. The server
/// drops such a block, and has those messages back when it starts the time after.
#[test]
fn a_block_that_the_server_would_drop_stays_until_what_it_tells_is_written_anew() {
    let tally = crash_everywhere(31_386, 60, 1);
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert!(tally.call_count > 190, "only {} ends", tally.call_count);
}

/// A block without a message that no index lists told that some sequences were skipped. It was taken up as ending before them, and a cut
/// among them left it as it was.
#[test]
fn a_cut_finds_what_an_unlisted_block_tells_of_sequences_behind_it() {
    let tally = crash_everywhere(80_266, 60, 1);
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert!(tally.call_count > 240, "only {} ends", tally.call_count);
}
