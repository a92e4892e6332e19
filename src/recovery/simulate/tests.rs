//! Removing, limits, age, walking and indexing, each by itself, on stores of a few records.

use std::path::Path;

use super::load::Lookup;
use super::remove::Removal;
use super::{Rules, Simulation, StreamKeys};
use crate::crypto::ServerKey;
use crate::env::memory::MemoryFileSystem;
use crate::format::checksum::HashKey;
use crate::format::record::{NewRecord, encode_record};
use crate::recovery::fault::Cause;
use crate::recovery::open::{StoreSetup, open};
use crate::recovery::server::ServerBehavior;
use crate::recovery::timers::TimerRules;
use crate::recovery::verify::unreachable;
use crate::recovery::walked::WalkedBlocks;
use crate::report::Watch;
use crate::report::actions::{ActionKind, Change};
use crate::state::SeqTime;
use crate::stream::files::StreamFiles;

const NAME: &[u8] = b"S";

/// Subjects of the messages, by their sequence.
const SUBJECTS: [&str; 3] = ["a.zero", "a.one", "b"];

fn subject(seq: u64) -> &'static str {
    SUBJECTS[(seq % 3) as usize]
}

/// A message is stored at ten times its sequence.
fn time(seq: u64) -> i64 {
    seq as i64 * 10
}

fn message(content: &mut Vec<u8>, block: u32, seq: u64, body: &[u8]) -> usize {
    let record = NewRecord::Message {
        sequence: seq,
        timestamp_ns: time(seq),
        subject: subject(seq).as_bytes(),
        headers: b"",
        body,
    };
    let before = content.len();
    encode_record(content, &HashKey::for_block(NAME, block), &record).expect("a small record");
    content.len() - before
}

/// A store whose blocks hold these sequences, with bodies of so many bytes.
fn store(blocks: &[&[u64]], body_length: usize) -> MemoryFileSystem {
    let fs = MemoryFileSystem::new();
    fs.seed_dir("/s/msgs");
    for (number, seqs) in (1..).zip(blocks) {
        let mut content = Vec::new();
        for seq in *seqs {
            message(&mut content, number, *seq, &vec![b'x'; body_length]);
        }
        fs.seed_file(format!("/s/msgs/{number}.blk"), content);
    }
    fs
}

fn rules() -> Rules {
    Rules {
        server: ServerBehavior::default(),
        name: NAME.to_vec(),
        tracks_subjects: true,
        discard_old: true,
        max_messages: 0,
        max_bytes: 0,
        max_messages_per_subject: 0,
        max_age_ns: 0,
        delete_markers: false,
        first_seq: 0,
        async_flush: false,
        block_size: 8 << 20,
        now_ns: 1_000,
        expire: true,
        limits: true,
    }
}

/// The store as it opens under these rules; the fault's text where it does not.
fn opened(fs: &MemoryFileSystem, rules: Rules) -> Result<Simulation<'_>, String> {
    opened_with(fs, rules, None)
}

fn opened_with<'a>(
    fs: &'a MemoryFileSystem,
    rules: Rules,
    key: Option<&'a ServerKey>,
) -> Result<Simulation<'a>, String> {
    let keys = StreamKeys {
        account: b"$G",
        stream: NAME,
        current: key,
        previous: None,
        cipher: crate::crypto::Cipher::ChaCha,
    };
    let setup = StoreSetup {
        rules,
        timers: TimerRules::default(),
        keys,
        asset_key: None,
        threads: 1,
        map_files: false,
        careful: true,
        no_index: true,
        quick: false,
        digest: false,
        rebuild: false,
        duplicate_names: false,
        new_meta: None,
        walked: WalkedBlocks::default(),
        wants_changes: true,
    };
    let files = StreamFiles::new(fs, Path::new("/s"));
    match open(files, setup, &Watch::none()) {
        Ok(opened) => Ok(opened.sim),
        Err(refused) => Err(refused.fault.to_string()),
    }
}

fn plain(fs: &MemoryFileSystem) -> Simulation<'_> {
    opened(fs, rules()).expect("a sound store opens")
}

/// Number, first, last, messages and deleted sequences of every block.
fn blocks_of(sim: &Simulation<'_>) -> Vec<(u32, u64, u64, u64, Vec<u64>)> {
    let blocks = sim.blocks.iter();
    blocks
        .map(|block| {
            let deleted = block.deleted.iter().collect();
            (
                block.number,
                block.first.seq,
                block.last.seq,
                block.message_count,
                deleted,
            )
        })
        .collect()
}

fn seqs_of(sim: &Simulation<'_>) -> (u64, u64, u64) {
    let totals = &sim.totals;
    (totals.first.seq, totals.last.seq, totals.messages)
}

fn left_of(sim: &Simulation<'_>, subject: &str) -> u64 {
    sim.subjects
        .get(subject.as_bytes())
        .map_or(0, |totals| totals.total)
}

/// How often an action is planned.
fn planned(sim: &Simulation<'_>, kind: ActionKind) -> usize {
    sim.actions
        .iter()
        .filter(|action| action.kind == kind)
        .count()
}

#[test]
fn a_removed_message_leaves_every_account_and_the_block_remembers_it() {
    let fs = store(&[&[1, 2, 3, 4], &[5, 6]], 3);
    let mut sim = plain(&fs);
    let before = sim.totals.bytes;
    assert_eq!(sim.remove_message(3).ok(), Some(Removal::Removed));
    assert_eq!(blocks_of(&sim)[0], (1, 1, 4, 3, vec![3]));
    assert_eq!(seqs_of(&sim), (1, 6, 5));
    assert_eq!(
        before - sim.totals.bytes,
        message(&mut Vec::new(), 1, 3, b"xxx") as u64
    );
    assert_eq!(left_of(&sim, "a.zero"), 1, "6 is left of 3 and 6");
    assert_eq!(sim.remove_message(3).ok(), Some(Removal::AlreadyGone));
    assert_eq!(sim.remove_message(7).ok(), Some(Removal::NoBlock));
    assert_eq!(sim.remove_message(0).ok(), Some(Removal::NoBlock));
    assert_eq!(seqs_of(&sim), (1, 6, 5), "nothing more went");
}

#[test]
fn the_first_message_takes_the_deleted_ones_behind_it_along() {
    let fs = store(&[&[1, 2, 3, 4], &[5]], 3);
    let mut sim = plain(&fs);
    sim.remove_message(2).expect("a sound block");
    sim.remove_message(3).expect("a sound block");
    sim.remove_message(1).expect("a sound block");
    assert_eq!(blocks_of(&sim)[0], (1, 4, 4, 1, vec![]));
    let first = SeqTime {
        seq: 4,
        timestamp_ns: time(4),
    };
    assert_eq!(sim.totals.first, first, "with the time of the new first");
}

#[test]
fn an_emptied_block_goes_and_an_emptied_last_one_leaves_its_sequence_behind() {
    let fs = store(&[&[1, 2], &[3, 4], &[5]], 3);
    let mut sim = plain(&fs);
    for seq in [1, 2] {
        sim.remove_message(seq).expect("a sound block");
    }
    assert_eq!(blocks_of(&sim).len(), 2);
    assert_eq!(seqs_of(&sim), (3, 5, 3));
    assert_eq!(
        planned(&sim, ActionKind::AppendTombstone),
        0,
        "5 is still stored"
    );
    sim.remove_message(5).expect("a sound block");
    assert_eq!(planned(&sim, ActionKind::AppendTombstone), 1);
    assert_eq!(
        blocks_of(&sim),
        [(2, 3, 4, 2, vec![]), (4, 6, 5, 0, vec![])]
    );
    assert_eq!(seqs_of(&sim), (3, 5, 2), "5 is not given out again");
}

#[test]
fn a_block_is_rewritten_once_more_than_half_of_it_is_dead() {
    let body = 400 << 10;
    let fs = store(&[&[1, 2, 3, 4, 5, 6, 7], &[8]], body);
    let mut sim = plain(&fs);
    for seq in [2, 4, 6] {
        sim.remove_message(seq).expect("a sound block");
        assert_eq!(planned(&sim, ActionKind::RewriteBlock), 0, "at {seq}");
    }
    sim.remove_message(3).expect("a sound block");
    assert_eq!(planned(&sim, ActionKind::RewriteBlock), 1);
    let block = &sim.blocks[0];
    assert_eq!(
        block.raw_bytes, block.live_bytes,
        "nothing dead is left in it"
    );
    assert_eq!(blocks_of(&sim)[0], (1, 1, 7, 3, vec![2, 3, 4, 6]));
    assert!(
        matches!(sim.fetch(0, 5), Ok(Lookup::Found(..))),
        "what is left is found"
    );
}

#[test]
fn limits_drop_the_oldest_whole_blocks_first() {
    let fs = store(&[&[1, 2], &[3, 4, 5], &[6, 7]], 3);
    let by_messages = opened(
        &fs,
        Rules {
            max_messages: 3,
            ..rules()
        },
    )
    .expect("opens");
    assert_eq!(seqs_of(&by_messages), (5, 7, 3));
    assert_eq!(
        blocks_of(&by_messages),
        [(2, 5, 5, 1, vec![]), (3, 6, 7, 2, vec![])]
    );
    let length_of = |seq| message(&mut Vec::new(), 1, seq, b"xxx") as u64;
    let rules_by_bytes = Rules {
        max_bytes: length_of(6) + length_of(7),
        ..rules()
    };
    let by_bytes = opened(&fs, rules_by_bytes).expect("opens");
    assert_eq!(seqs_of(&by_bytes), (6, 7, 2));
    let unlimited = Rules {
        max_messages: 3,
        discard_old: false,
        ..rules()
    };
    let kept = opened(&fs, unlimited).expect("opens");
    assert_eq!(seqs_of(&kept), (1, 7, 7), "discard new drops nothing");
}

#[test]
fn the_limit_per_subject_takes_the_oldest_of_each() {
    let fs = store(&[&[1, 2, 3, 4], &[5, 6, 7, 9]], 3);
    let rules = Rules {
        max_messages_per_subject: 1,
        ..rules()
    };
    let sim = opened(&fs, rules).expect("opens");
    let live: Vec<u64> = (1..=9).filter(|seq| sim.holds(*seq)).collect();
    assert_eq!(live, [5, 7, 9], "the last of each of three subjects");
    for subject in SUBJECTS {
        assert_eq!(left_of(&sim, subject), 1, "{subject}");
    }
}

#[test]
fn age_takes_whole_blocks_and_then_messages_up_to_the_limit() {
    let fs = store(&[&[1, 2], &[3, 4, 5], &[6, 7]], 3);
    let aged = |age| Rules {
        max_age_ns: age,
        now_ns: 100,
        ..rules()
    };
    let sim = opened(&fs, aged(60)).expect("opens");
    assert_eq!(
        seqs_of(&sim),
        (5, 7, 3),
        "what is exactly as old as the limit goes"
    );
    let sim = opened(&fs, aged(10)).expect("opens");
    assert_eq!(seqs_of(&sim), (8, 7, 0));
    assert_eq!(
        planned(&sim, ActionKind::AppendTombstone),
        1,
        "7 is not given out again"
    );
    let sim = opened(
        &fs,
        Rules {
            expire: false,
            ..aged(10)
        },
    )
    .expect("opens");
    assert_eq!(seqs_of(&sim), (1, 7, 7));
}

#[test]
fn walking_a_damaged_block_cuts_it_and_says_what_that_costs() {
    let fs = store(&[&[1, 2, 3], &[4, 5]], 3);
    let mut sim = plain(&fs);
    let mut bytes = fs.files()[Path::new("/s/msgs/1.blk")].clone();
    let second = bytes.len() / 3 + 30;
    bytes[second] ^= 1;
    fs.seed_file("/s/msgs/1.blk", bytes);
    let lost = sim
        .rebuild(0)
        .expect("a block that can be read")
        .expect("losses");
    assert_eq!(lost.seqs, [2, 3]);
    assert_eq!(blocks_of(&sim)[0], (1, 1, 1, 1, vec![]));
    assert!(sim.lossy);
    assert_eq!(planned(&sim, ActionKind::TruncateBlock), 1);
}

#[test]
fn a_block_that_indexes_otherwise_than_it_claims_is_walked_anew() {
    let fs = store(&[&[1, 2, 3], &[4, 5]], 3);
    let mut sim = plain(&fs);
    sim.blocks[0].last.seq = 2;
    let loaded = sim.load(0).expect("the walk mends the claim");
    assert_eq!(loaded.index.span, 3);
    assert_eq!(sim.blocks[0].last.seq, 3);
    assert!(matches!(sim.fetch(0, 3), Ok(Lookup::Found(..))));
}

#[test]
fn a_block_that_is_gone_does_not_load_and_keeps_its_place() {
    let fs = store(&[&[1, 2, 3], &[4, 5]], 3);
    let mut sim = plain(&fs);
    fs.seed_file("/s/msgs/1.blk", "");
    let lost = sim.rebuild(0).expect("an empty file").expect("losses");
    assert_eq!(lost.seqs, [1, 2, 3]);
    assert_eq!(blocks_of(&sim)[0], (1, 4, 3, 0, vec![]));
    assert!(
        sim.load(0)
            .is_ok_and(|loaded| loaded.index.slots.is_empty())
    );
}

#[test]
fn a_message_that_does_not_verify_is_not_taken_away() {
    let fs = store(&[&[1, 2, 3], &[4, 5]], 3);
    let mut sim = plain(&fs);
    let mut bytes = fs.files()[Path::new("/s/msgs/1.blk")].clone();
    let body_of_second = bytes.len() / 3 * 2 - 9;
    bytes[body_of_second] ^= 1;
    fs.seed_file("/s/msgs/1.blk", bytes);
    let fault = sim.remove_message(2).expect_err("its hash is wrong");
    assert!(matches!(fault.cause, Cause::BadMessage { .. }), "{fault}");
    assert_eq!(seqs_of(&sim), (1, 5, 5));
}

#[test]
fn what_the_totals_count_and_no_block_holds_is_not_found() {
    let fs = store(&[&[1, 2], &[3]], 3);
    let mut sim = plain(&fs);
    assert_eq!(unreachable(&sim, &[], 0), [0_u64; 0]);
    sim.totals.last.seq = 5;
    sim.totals.messages = 5;
    assert_eq!(unreachable(&sim, &[], 0), [4, 5], "no block reaches so far");
    let gap = store(&[&[1, 2], &[4]], 3);
    let mut begins_later = plain(&gap);
    begins_later.totals.first.seq = 2;
    assert_eq!(
        unreachable(&begins_later, &[], 0),
        [3],
        "as many are missing as come before"
    );
    sim.totals.messages = 0;
    assert_eq!(
        unreachable(&sim, &[], 0),
        [1, 2, 3, 4, 5],
        "nothing is looked for"
    );
}

#[test]
fn where_the_first_sequence_lies_beyond_the_last_no_message_is_found() {
    let fs = store(&[&[1, 2], &[4, 6]], 3);
    let mut sim = plain(&fs);
    sim.totals.first.seq = 7;
    assert_eq!(unreachable(&sim, &[], 0), [1, 2, 4, 6], "by one");
    sim.totals.first.seq = 100;
    assert_eq!(unreachable(&sim, &[], 0), [1, 2, 4, 6], "by many");
    let fs = store(&[&[]], 3);
    let empty = plain(&fs);
    assert_eq!(unreachable(&empty, &[], 0), [0_u64; 0], "nothing is there");
}

#[test]
fn a_directory_where_the_index_was_goes_with_a_purge_and_only_then_keeps_it_from_being_written() {
    let fs = store(&[&[1, 2]], 3);
    fs.seed_dir("/s/msgs/index.db");
    let sim = plain(&fs);
    assert_eq!(planned(&sim, ActionKind::WriteIndex), 0);
    let rules = Rules {
        first_seq: 10,
        ..rules()
    };
    let sim = opened(&fs, rules).expect("opens");
    assert_eq!(seqs_of(&sim), (10, 9, 0));
    assert_eq!(planned(&sim, ActionKind::WriteIndex), 1);
}

#[test]
fn a_directory_in_the_place_of_a_block_goes_with_a_key_that_does_not_open_and_only_then() {
    let key = ServerKey::new(b"a key".to_vec());
    let fs = store(&[], 3);
    fs.seed_dir("/s/msgs/1.blk");
    let unreadable = opened(&fs, rules()).map(|_| ()).expect_err("without a key");
    assert!(unreadable.contains("is a directory"), "{unreadable}");
    fs.seed_file("/s/msgs/1.key", vec![1; 72]);
    let mut sim = opened_with(&fs, rules(), Some(&key)).expect("opens");
    assert_eq!(planned(&sim, ActionKind::RemoveBlock), 1);
    let gone = Change::RemoveTree {
        path: "msgs/1.blk".to_owned(),
    };
    assert!(sim.changes().expect("changes").contains(&gone));
    assert!(sim.lossy, "nothing tells what was in it");
    fs.seed_file("/s/msgs/1.blk/kept", vec![]);
    assert!(
        opened_with(&fs, rules(), Some(&key)).is_err(),
        "it cannot go"
    );
}

#[test]
#[should_panic(expected = "a step left")]
fn totals_that_a_step_leaves_wrong_on_sound_blocks_are_our_own_mistake() {
    let fs = store(&[&[1, 2, 3]], 3);
    let mut sim = plain(&fs);
    let before = sim.standing();
    sim.totals.messages += 1;
    sim.assert_still(before, "a step");
}

#[test]
fn damage_that_a_step_meets_excuses_its_accounts() {
    let fs = store(&[&[1, 2, 3]], 3);
    let mut sim = plain(&fs);
    let before = sim.standing();
    sim.rebuild(0).expect("a sound block");
    sim.totals.messages += 1;
    sim.assert_still(before, "a step");
}
