//! Replicas of one stream made and damaged for the purpose: what merging makes of them.

use std::fs;

use jetsam::format::checksum::{HashKey, hex16};
use jetsam::recovery::RecoverOptions;
use jetsam::recovery::events::EventCode;
use jetsam::salvage::{MergeOptions, SalvageError};

use crate::made::{
    MESSAGES, Made, PLAIN, block, copies, every_kind, has, join, joined, make, message, options,
    totals, zero,
};
use crate::recover::{mend, snapshot};
use crate::salvage::live;
use crate::support::look;

#[test]
fn five_replicas_damaged_on_two_or_on_all_lose_nothing() {
    for kind in every_kind() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let made = Made {
            tombstones: &[17, 500],
            ..kind
        };
        let whole = make(&temp.path().join("S"), made);
        let options = made.options();
        let want = look(&whole, &options);
        for damaged in [2, 5] {
            let below = temp.path().join(format!("damaged{damaged}"));
            let all = copies(&below, &whole, 6);
            let all = &all[1..];
            for (at, copy) in all.iter().take(damaged).enumerate() {
                let at = u32::try_from(at).expect("small");
                // One loses its second half of a block, one a block, one its index and a middle, one all its tails.
                let damaged = block(copy, at * 2 + 1);
                let length = fs::metadata(&damaged).expect("a block").len();
                zero(&damaged, length as usize / 3, 1 << 20);
                fs::remove_file(block(copy, at * 2 + 2)).expect("a block");
                if at % 2 == 1 {
                    fs::remove_file(copy.dir.join("msgs/index.db")).expect("an index");
                }
            }
            let before: Vec<_> = all.iter().map(|copy| snapshot(&copy.dir)).collect();
            let out = below.join("out");
            let report = join(all, &options, &joined(&out)).expect("a merged store");
            assert_eq!(
                totals(&report),
                (998, 0, vec![]),
                "{kind:?} {:?}",
                report.stream.events
            );
            assert_eq!(report.stream.digest, want.digest);
            assert_eq!(live(&report.stream), live(&want));
            let after: Vec<_> = all.iter().map(|copy| snapshot(&copy.dir)).collect();
            assert!(before == after, "a source was changed");
        }
    }
}

/// A server that started on the damage cut the block and wrote a new index over the loss.
#[test]
fn a_replica_whose_server_forgot_does_not_delete_from_the_others() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let whole = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &whole, 2);
    zero(&block(&all[1], 4), 2000, 1 << 20);
    fs::remove_file(all[1].dir.join("msgs/index.db")).expect("an index");
    let what = RecoverOptions {
        accept_loss: true,
        undo: false,
    };
    let mut forgetful = options(None);
    forgetful.no_index = true;
    assert!(
        mend(&all[1], &forgetful, &what)
            .state
            .expect("a state")
            .messages
            < MESSAGES
    );
    for order in [[0, 1], [1, 0]] {
        let out = temp.path().join(format!("out{}", order[0]));
        let found = order.map(|at| all[at].clone());
        let report = join(&found, &options(None), &joined(&out)).expect("a merged store");
        assert_eq!(totals(&report), (MESSAGES, 0, vec![]));
    }
}

#[test]
fn an_old_backup_does_not_bring_back_what_limits_removed() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let backup = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &backup, 2);
    let what = RecoverOptions {
        accept_loss: true,
        undo: false,
    };
    // The backup ends at 900.
    fs::remove_file(block(&all[0], 10)).expect("a block");
    fs::remove_file(all[0].dir.join("msgs/index.db")).expect("an index");
    mend(&all[0], &options(None), &what);
    let meta = all[1].dir.join("meta.inf");
    let limited = fs::read_to_string(&meta)
        .expect("metadata")
        .replace("\"max_msgs\":-1", "\"max_msgs\":300");
    fs::write(&meta, &limited).expect("metadata");
    let sum = hex16(HashKey::for_stream(b"S").hash64(&[limited.as_bytes()]));
    fs::write(all[1].dir.join("meta.sum"), sum).expect("a sum");
    let mut enforcing = options(None);
    enforcing.limits = true;
    let trimmed = mend(&all[1], &enforcing, &what);
    assert_eq!(trimmed.state.expect("a state").first_seq, 701);
    let out = temp.path().join("out");
    let report = join(&all, &options(None), &joined(&out)).expect("a merged store");
    assert_eq!(
        (totals(&report).0, totals(&report).1),
        (300, 0),
        "{:?}",
        report.stream.events
    );
}

#[test]
fn contradicting_copies_are_told_and_neither_is_kept() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let one = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &one, 2);
    let key = HashKey::for_block(b"S", 2);
    let mut content = Vec::new();
    for seq in 101..=200 {
        message(
            &mut content,
            &key,
            seq,
            if seq == 150 {
                "as it was told"
            } else {
                "as it was"
            },
        );
    }
    fs::write(block(&all[1], 2), content).expect("a block");
    let out = temp.path().join("out");
    let report = join(&all, &options(None), &joined(&out)).expect("a merged store");
    assert_eq!(totals(&report), (MESSAGES - 1, 1, vec![(150, 150)]));
    assert!(has(&report.stream, EventCode::MergeConflict));
    assert_eq!(report.stream.exit_code(), 4);
    assert!(out.join("quarantine.jsq").is_file());
}

#[test]
fn other_streams_are_not_merged_unless_forced() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let one = make(&temp.path().join("S"), PLAIN);
    let all = copies(temp.path(), &one, 2);
    let meta = all[1].dir.join("meta.inf");
    let other = fs::read_to_string(&meta)
        .expect("metadata")
        .replace("2026-01-02", "2026-01-03");
    let write = |text: &str| {
        fs::write(&meta, text).expect("metadata");
        let sum = hex16(HashKey::for_stream(b"S").hash64(&[text.as_bytes()]));
        fs::write(all[1].dir.join("meta.sum"), sum).expect("a sum");
    };
    // Another time of creation alone is what turning encryption on leaves behind.
    write(&other);
    join(&all, &options(None), &joined(&temp.path().join("a"))).expect("replicas");
    write(&other.replace("s.>", "s.*"));
    let refused = join(&all, &options(None), &joined(&temp.path().join("b")));
    assert!(
        matches!(refused, Err(SalvageError::NotOneStream(..))),
        "{refused:?}"
    );
    let wish = MergeOptions {
        force: true,
        ..joined(&temp.path().join("c"))
    };
    join(&all, &options(None), &wish).expect("a merged store");
}
