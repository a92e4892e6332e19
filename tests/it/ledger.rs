//! The account of messages: the truth of every case, the same in every verb, and consent by it.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::duration::parse_rfc3339;
use jetsam::format::seqset::SeqSet;
use jetsam::living::Idle;
use jetsam::preflight::{PreflightOptions, forecast};
use jetsam::recovery::RecoverOptions;
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::ledger::stretches;
use jetsam::report::stream::StreamReport;
use jetsam::report::{Ledger, Removal};
use jetsam::salvage::{SalvageOptions, audit, salvage};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

use crate::cases::{Case, case_options};
use crate::support::{copy_tree, golden};

/// Everything the verbs say of one stream.
struct Said {
    check: StreamReport,
    salvaged: StreamReport,
    ledger: Ledger,
}

fn quiet<T>(work: impl FnOnce(&Watch<'_>) -> T) -> T {
    let cancel = AtomicBool::new(false);
    work(&Watch {
        progress: &|_| {},
        cancel: &cancel,
    })
}

/// Asks every verb, and holds them against each other: the same account, and consent where it holds a loss.
fn ask(stream: &StreamDir, options: &Options) -> Said {
    let check = quiet(|watch| audit::check(&OsFileSystem, stream, options, watch));
    let ledger = check.ledger.clone().expect("an account");
    disjoint(&ledger);
    let foreseen = quiet(|watch| {
        let preflight = PreflightOptions::default();
        forecast(&OsFileSystem, stream, options, &preflight, watch)
    });
    assert_eq!(foreseen.ledger.as_ref(), Some(&ledger), "preflight");
    let temp = tempfile::tempdir().expect("a temporary directory");
    let wish = SalvageOptions {
        out: temp.path().join(&stream.name),
        ..SalvageOptions::default()
    };
    let salvaged = quiet(|watch| {
        salvage(&OsFileSystem, stream, options, &wish, &OsEntropy, watch).expect("a salvage")
    });
    assert_eq!(salvaged.stream.ledger.as_ref(), Some(&ledger), "salvage");
    let totals = salvaged.stream.salvage.clone().expect("totals");
    let kept = ledger.live.len() + ledger.expired.len() + totals.old_values;
    let state = salvaged.stream.state.clone().expect("a state");
    assert_eq!(state.messages, kept, "what salvage wrote");
    recovers_with_consent(stream, options, &ledger);
    Said {
        check,
        salvaged: salvaged.stream,
        ledger,
    }
}

/// Every sequence stands in one place.
fn disjoint(ledger: &Ledger) {
    let mut seen = SeqSet::new();
    let mut count = 0;
    let places = [&ledger.live, &ledger.expired, &ledger.lost, &ledger.unknown];
    for set in places.into_iter().chain(ledger.removed.values()) {
        seen.union_with(set);
        count += set.len();
    }
    assert_eq!(seen.len(), count, "{ledger:?}");
}

/// A recovery asks where the account holds a loss, and then changes nothing.
fn recovers_with_consent(stream: &StreamDir, options: &Options, ledger: &Ledger) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let copy = StreamDir {
        dir: temp.path().join(&stream.name),
        ..stream.clone()
    };
    copy_tree(&stream.dir, &copy.dir);
    let recover = |accept_loss| {
        let what = RecoverOptions {
            accept_loss,
            ..RecoverOptions::default()
        };
        quiet(|watch| {
            audit::recover(
                &OsFileSystem,
                &Idle::declared(),
                &copy,
                options,
                &what,
                &OsEntropy,
                watch,
            )
        })
    };
    let asked = recover(false);
    assert_eq!(asked.ledger.as_ref(), Some(ledger), "recover");
    let asks = |report: &StreamReport| {
        let codes = report.events.iter().map(|event| event.code);
        codes
            .filter(|code| *code == EventCode::LossNeedsConsent)
            .count()
    };
    if asked.refusal.is_none() {
        assert_eq!(asks(&asked), usize::from(ledger.holds_loss()));
    }
    if ledger.holds_loss() {
        assert_eq!(asked.exit_code(), 4);
        assert!(same_files(&stream.dir, &copy.dir), "something was changed");
        assert_eq!(asks(&recover(true)), 0);
    }
}

fn same_files(one: &Path, other: &Path) -> bool {
    let entries = |dir: &Path| {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("a directory")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        entries.sort();
        entries
    };
    entries(one) == entries(other)
        && entries(one).iter().all(|name| {
            let (a, b) = (one.join(name), other.join(name));
            match a.is_dir() {
                true => same_files(&a, &b),
                false => fs::read(a).ok() == fs::read(b).ok(),
            }
        })
}

fn removed(ledger: &Ledger, removal: Removal) -> u64 {
    ledger.removed.get(&removal).map_or(0, SeqSet::len)
}

/// The stream of a case that its dump is of.
fn said_as_the_dump(case: &Case, stream: &str, options: &Options) -> Said {
    let said = ask(&case.stream(stream), options);
    let truth: SeqSet = case.truth().iter().map(|message| message.seq).collect();
    assert_eq!(stretches(&said.ledger.live), stretches(&truth));
    said
}

#[test]
fn limits_and_age_leave_no_tombstone_and_nothing_is_lost() {
    let mut options = case_options();
    options.now_ns = parse_rfc3339("2026-11-29T16:46:28Z").expect("a time");
    let limit = said_as_the_dump(&Case::unpack("10b-L-killed"), "L", &options);
    assert!(!limit.ledger.holds_loss() && limit.ledger.unknown.is_empty());
    assert_eq!(removed(&limit.ledger, Removal::Limit), 700);
    let case = Case::unpack("10b-AGE-killed");
    let age = said_as_the_dump(&case, "AGE", &options);
    assert!(!age.ledger.holds_loss() && age.ledger.unknown.is_empty());
    assert_eq!(removed(&age.ledger, Removal::Age), 1499);
    // The server says otherwise, and the state repeats it.
    let lost = age
        .check
        .state
        .and_then(|state| state.lost)
        .expect("a false alarm");
    assert_eq!(
        (lost.seqs.first(), lost.seqs.last()),
        (Some(&1423), Some(&1499))
    );
    let codes: Vec<_> = age.check.events.iter().map(|event| event.code).collect();
    assert!(codes.contains(&EventCode::LossDisproved));
    assert!(age.check.outcome < jetsam::report::stream::Outcome::Damaged);
    for (name, live) in [("WQ", 510), ("PU", 701)] {
        let said = ask(&case.stream(name), &options);
        assert_eq!(said.ledger.live.len(), live, "{name}");
        assert!(
            !said.ledger.holds_loss() && said.ledger.unknown.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn what_was_deleted_does_not_come_back_unmarked() {
    let options = case_options();
    let purged = said_as_the_dump(
        &Case::unpack("01-kv-ttl-purge-revived"),
        "KV_TEST",
        &options,
    );
    assert_eq!(stretches(&purged.ledger.returning), [(4, 4)]);
    let case = Case::unpack("14-upgrade-29-killed-workqueue");
    let acked = said_as_the_dump(&case, "WQ", &options);
    assert_eq!(stretches(&acked.ledger.returning), [(1, 450)]);
    assert_eq!(removed(&acked.ledger, Removal::Ack), 450);
    for name in ["PLAIN", "LIM", "EMPTY", "KV_B"] {
        let said = ask(&case.stream(name), &options);
        assert!(
            !said.ledger.holds_loss() && said.ledger.unknown.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn zeros_are_no_messages() {
    let options = case_options();
    let trailing = said_as_the_dump(&Case::unpack("03b-trailing-zeros-only"), "T", &options);
    assert!(!trailing.ledger.holds_loss() && trailing.ledger.unknown.is_empty());
    let totals = trailing.salvaged.salvage.expect("totals");
    assert_eq!((totals.uncertain, totals.lost), (0, 0));
    let state = trailing.salvaged.state.expect("a state");
    assert_eq!(state.last_seq, 3000);

    let case = Case::unpack("03g-zero-tail-good-index");
    let listed = ask(&case.stream("T"), &options);
    let truth: SeqSet = case.truth().iter().map(|message| message.seq).collect();
    let mut told = listed.ledger.live.clone();
    told.union_with(&listed.ledger.lost);
    assert_eq!(stretches(&told), stretches(&truth));
    assert_eq!(
        (listed.ledger.live.len(), listed.ledger.lost.len()),
        (1382, 1388)
    );
    assert_eq!(listed.ledger.lost.first(), Some(1498));

    // Nothing names what lay behind: it is not made up from the room.
    let bare = ask(
        &Case::unpack("03-powerloss-zero-fill").stream("T"),
        &options,
    );
    assert_eq!(stretches(&bare.ledger.live), [(1, 1497)]);
    assert!(!bare.ledger.holds_loss());
    assert_eq!(bare.salvaged.state.map(|state| state.last_seq), Some(1497));
}

#[test]
fn an_index_from_after_the_blocks_tells_what_they_miss() {
    let case = Case::unpack("09a-old-blocks-new-index");
    let said = ask(&case.stream("KV_B"), &case_options());
    assert_eq!((said.ledger.live.len(), said.ledger.lost.len()), (670, 530));
    assert_eq!(stretches(&said.ledger.lost), [(1701, 2230)]);
    assert_eq!(said.ledger.returning.len(), 330);
}

#[test]
fn clocks_dirt_batches_and_empty_streams_cost_nothing() {
    let options = case_options();
    for (name, stream, live) in [
        ("26-clock-jumps", "T", 1200),
        ("26-clock-jumps", "N", 300),
        ("07-stray-files", "T", 2770),
        ("07-stray-files", "U", 500),
        ("20-atomic-batch-uncommitted", "ATM", 55),
        ("20-atomic-batch-uncommitted", "CNT", 3),
        ("17b-empty-high-seq-zero-length", "Z", 0),
        ("17b-empty-high-seq-zero-length", "F", 0),
        ("17b-empty-high-seq-zero-length", "F2", 0),
        ("17b-empty-high-seq-zero-length", "W", 0),
        ("36-standalone-into-cluster", "T", 2770),
        ("05-insufficient-storage", "BIG", 300),
    ] {
        let said = ask(&Case::unpack(name).stream(stream), &options);
        assert_eq!(said.ledger.live.len(), live, "{name} {stream}");
        assert!(!said.ledger.holds_loss(), "{name} {stream}");
        assert!(said.ledger.unknown.is_empty(), "{name} {stream}");
    }
}

#[test]
fn a_consumer_names_what_the_stream_has_lost() {
    let case = Case::unpack("02-consumer-state-damaged");
    let said = said_as_the_dump(&case, "T", &case_options());
    assert_eq!(stretches(&said.ledger.lost), [(901, 1000)]);
}

#[test]
fn a_consumer_that_does_not_come_up_endangers_what_it_waits_for() {
    let case = Case::unpack("33-interest-consumer-lost");
    let said = said_as_the_dump(&case, "I", &case_options());
    assert_eq!(stretches(&said.ledger.endangered), [(101, 400)]);
    assert!(said.ledger.lost.is_empty());
}

#[test]
fn a_staged_purge_older_than_what_it_would_replace_is_not_carried_out() {
    let case = Case::unpack("32-stale-partial-purge");
    let said = said_as_the_dump(&case, "T", &case_options());
    assert_eq!(said.ledger.live.len(), 1499);
    // The server carries it out.
    assert_eq!(said.check.state.map(|state| state.messages), Some(0));
    assert_eq!(stretches(&said.ledger.endangered), [(1, 1499)]);
}

/// What the servers said themselves just before the end, of stores that were stopped, killed, or left with an older index.
#[test]
fn live_is_what_the_server_said_before_it_was_killed() {
    let mut wrong = Vec::new();
    let mut killed = 0;
    for fixture in golden() {
        let root = fixture.dir.ancestors().nth(4).expect("a case");
        let written = fs::read(root.join("written.json")).expect("written.json");
        let written: serde_json::Value = serde_json::from_slice(&written).expect("JSON");
        let own = &written["accounts"][&fixture.account][&fixture.name];
        let Some(messages) = own["state"]["messages"].as_u64() else {
            continue;
        };
        // Servers up to 2.9 leave no trace of what was deleted in the last block; 2.10 ruined its own blocks when it erased.
        let case = root.display().to_string();
        if case.contains("/v2.9.") || case.ends_with("-erased") {
            continue;
        }
        let options = fixture.options();
        let told = quiet(|watch| audit::check(&OsFileSystem, &fixture.stream(), &options, watch));
        let ledger = told.ledger.expect("an account");
        killed += u64::from(case.ends_with("-killed"));
        if ledger.live.len() != messages || ledger.holds_loss() || !ledger.unknown.is_empty() {
            wrong.push(format!(
                "{case} {}: {messages} written, {ledger:?}",
                fixture.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(killed > 100, "{killed}");
}

/// `: > msgs/1.blk`, under the index that a clean stop leaves and under an older one.
#[test]
fn an_emptied_block_is_a_loss_that_recover_asks_about() {
    let mut emptied = 0;
    for fixture in golden() {
        let wanted = ["AGGREGATE", "ORDERS", "HISTORY"].contains(&fixture.name.as_str());
        let case = fixture.dir.ancestors().nth(4).and_then(Path::file_name);
        let case = case
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !wanted || !(case == "plain-none" || case == "plain-none-stale") {
            continue;
        }
        let options = fixture.options();
        let before = quiet(|watch| audit::check(&OsFileSystem, &fixture.stream(), &options, watch));
        let before = before.ledger.expect("an account");
        let (_temp, stream) = fixture.scratch();
        let first = stream.dir.join("msgs/1.blk");
        if !first.exists() || !stream.dir.join("msgs/index.db").exists() {
            continue;
        }
        fs::write(&first, b"").expect("a scratch file");
        let said = ask(&stream, &options);
        let mut told = said.ledger.live.clone();
        told.union_with(&said.ledger.lost);
        told.union_with(&said.ledger.unknown);
        let what = format!("{} {case} {}", fixture.name, fixture.dir.display());
        assert!(!said.ledger.lost.is_empty(), "{what}");
        // What was stored behind the older index, nothing names any more.
        let named: SeqSet = before
            .live
            .iter()
            .filter(|seq| told.last() >= Some(*seq))
            .collect();
        assert_eq!(stretches(&told), stretches(&named), "{what}");
        assert!(
            case.ends_with("stale") || named.len() == before.live.len(),
            "{what}"
        );
        emptied += 1;
    }
    assert!(emptied >= 6, "{emptied} stores");
}

/// Of the 300 messages a real 2.15.3 keeps 200 a quarter of a second after its start at that time.
#[test]
fn a_clock_that_jumped_has_not_stopped_the_time_to_live() {
    let said = ask(
        &Case::unpack("26-clock-jumps").stream("TTL"),
        &case_options(),
    );
    assert_eq!(
        (said.ledger.live.len(), said.ledger.timed_out.len()),
        (200, 100)
    );
    assert_eq!(said.ledger.expired, said.ledger.timed_out);
    assert!(!said.ledger.holds_loss() && said.ledger.unknown.is_empty());
}

/// Where something stays nobody is asked, and the account has the number.
#[test]
fn a_recovery_that_removes_a_part_by_age_goes_on_and_tells_how_much() {
    let case = Case::unpack("10b-AGE-killed");
    let stream = case.stream("AGE");
    let truth = case.truth();
    let (all, middle) = (truth.len() as u64, &truth[truth.len() / 2]);
    let aged = truth.iter().filter(|one| one.time_ns <= middle.time_ns);
    let aged = aged.count() as u64;
    assert!((1..all).contains(&aged));
    let before = quiet(|watch| audit::check(&OsFileSystem, &stream, &case_options(), watch));
    let options = Options::new(middle.time_ns + before.max_age_ns);
    let done = quiet(|watch| {
        audit::recover(
            &OsFileSystem,
            &Idle::declared(),
            &stream,
            &options,
            &RecoverOptions::default(),
            &OsEntropy,
            watch,
        )
    });
    let codes: Vec<_> = done.events.iter().map(|event| event.code).collect();
    assert!(!codes.contains(&EventCode::ExpiryNeedsConsent), "{codes:?}");
    let ledger = done.ledger.expect("an account");
    assert_eq!(
        (ledger.live.len(), ledger.expired.len()),
        (all - aged, aged)
    );
    assert_eq!(done.state.expect("a state").messages, all - aged);
}

#[test]
fn a_recovery_that_would_remove_everything_by_age_asks() {
    let case = Case::unpack("10b-AGE-killed");
    let stream = case.stream("AGE");
    let options = case_options();
    let recover = |accept_expiry| {
        let what = RecoverOptions {
            accept_expiry,
            ..RecoverOptions::default()
        };
        quiet(|watch| {
            audit::recover(
                &OsFileSystem,
                &Idle::declared(),
                &stream,
                &options,
                &what,
                &OsEntropy,
                watch,
            )
        })
    };
    let asked = recover(false);
    assert_eq!(
        asked.ledger.as_ref().map(|ledger| ledger.expired.len()),
        Some(10)
    );
    let codes: Vec<_> = asked.events.iter().map(|event| event.code).collect();
    assert!(codes.contains(&EventCode::ExpiryNeedsConsent));
    assert!(stream.dir.join("msgs/8.blk").exists());
    let done = recover(true);
    let codes: Vec<_> = done.events.iter().map(|event| event.code).collect();
    assert!(!codes.contains(&EventCode::ExpiryNeedsConsent));
    assert!(!stream.dir.join("msgs/8.blk").exists());
}
