//! The whole text of a run, as an operator sees it, on pages of three widths. `UPDATE_EXPECT=1 cargo test --bin jetsam` writes
//! the files anew: read them before they are committed.

use expect_test::{ExpectFile, expect_file};

use jetsam::preflight::{Forecast, Start};
use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::{Outcome, Refusal, SalvageTotals, Source, State, StreamReport};
use jetsam::report::{Ledger, Removal};
use jetsam::salvage::hit::{Hit, Struck};

use crate::test_support::{self, Fake};
use crate::testing::run_at;

fn same(want: &ExpectFile, line: &str, fake: &Fake) {
    let mut text = String::new();
    for width in [60, 80, 120] {
        let ran = run_at(Some(width), line, fake);
        text.push_str(&format!("$ COLUMNS={width} jetsam {line}\n"));
        text.push_str(&without_time(&ran.out));
        text.push_str(&format!("exit {}\n\n", ran.exit));
        // Commands are copied as a whole, however long their lines are.
        let commands = ["  jetsam ", "  mv ", "  chown "];
        let is_command = |line: &&str| commands.iter().any(|start| line.starts_with(start));
        for line in ran.out.lines().filter(|line| !is_command(line)) {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
    want.assert_eq(&text);
}

/// Without how long it took, which ends a line above the table.
fn without_time(text: &str) -> String {
    let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((head, time))
            if time.ends_with('s') && time.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            format!("{head} 5ms")
        }
        _ => line.to_owned(),
    };
    let first: Vec<String> = first.lines().map(line).collect();
    format!("{}\n\n{rest}", first.join("\n"))
}

fn stream(name: &str, messages: u64) -> StreamReport {
    StreamReport {
        account: Some("ACC".into()),
        name: name.into(),
        dir: format!("/data/jetstream/ACC/streams/{name}"),
        state: Some(State {
            messages,
            bytes: messages * 100,
            first_seq: 1,
            last_seq: messages,
            subject_count: 3,
            ..State::default()
        }),
        ledger: Some(Ledger {
            live: (1..=messages).collect(),
            ..Ledger::default()
        }),
        ..test_support::clean()
    }
}

fn killed(name: &str) -> StreamReport {
    StreamReport {
        source: Some(Source::Blocks),
        events: vec![Event::new(EventCode::IndexAbsent, "there is none").file("msgs/index.db")],
        ..stream(name, 1_000)
    }
}

fn damaged() -> StreamReport {
    let mut report = stream("ORDERS", 1_000);
    report.outcome = Outcome::Damaged;
    report.source = Some(Source::Blocks);
    report.loses_messages = true;
    report.events = vec![
        Event::new(EventCode::IndexStaleLastRecord, "its hash differs").file("msgs/index.db"),
        Event::new(EventCode::BlockBadRecord, "hash differs")
            .file("msgs/3.blk")
            .offset(999_827)
            .seq(612),
    ];
    report.actions = test_support::damaged().actions;
    let mut ledger = Ledger {
        live: (100..=1_000).collect(),
        lost: (612..=644).collect(),
        endangered: (645..=1_000).collect(),
        ..Ledger::default()
    };
    for seq in 612..=644 {
        ledger.live.remove(seq);
    }
    ledger.remove(Removal::Limit, &(1..=99).collect());
    report.ledger = Some(ledger);
    report
}

/// A file of an object store with chunks lost.
fn hit(name: &str, lost: u64, of: u64) -> Hit {
    Hit {
        struck: Struck::Object(name.into()),
        lost,
        of,
    }
}

#[test]
fn all_is_clean() {
    let names = ["ORDERS", "KV_settings", "EVENTS"];
    let fake = Fake {
        reports: names.map(|name| stream(name, 1_234)).to_vec(),
        ..Fake::default()
    };
    same(&expect_file!["snapshots/clean.txt"], "check /data", &fake);
}

#[test]
fn two_hundred_streams_were_killed() {
    let fake = Fake {
        reports: (0..200).map(|n| killed(&format!("S{n}"))).collect(),
        ..Fake::default()
    };
    same(&expect_file!["snapshots/killed.txt"], "check /data", &fake);
}

#[test]
fn one_is_damaged() {
    let mut reports: Vec<_> = (0..12).map(|n| stream(&format!("S{n}"), 10)).collect();
    reports.push(damaged());
    let hit = |name: &[u8], lost, of| Hit {
        struck: Struck::Subject(name.to_vec()),
        ..hit("", lost, of)
    };
    let fake = Fake {
        reports,
        hits: vec![hit(b"orders.eu", 200, 500), hit(b"orders.us", 189, 400)],
        ..Fake::default()
    };
    same(&expect_file!["snapshots/damaged.txt"], "check /data", &fake);
}

#[test]
fn one_is_refused() {
    let refused = StreamReport {
        outcome: Outcome::Refused,
        refusal: Some(Refusal::OpenFails),
        source: None,
        state: None,
        ledger: None,
        events: vec![
            Event::new(
                EventCode::BlockDecompressFailed,
                "a chunk's checksum differs",
            )
            .file("msgs/2.blk")
            .offset(4_096),
            Event::new(EventCode::ServerWouldDeleteStream, ""),
        ],
        ..stream("AUDIT", 0)
    };
    let fake = Fake {
        reports: vec![stream("ORDERS", 1_234), refused],
        ..Fake::default()
    };
    same(&expect_file!["snapshots/refused.txt"], "check /data", &fake);
}

#[test]
fn a_salvage_is_done() {
    let mut report = damaged();
    report.salvage = Some(SalvageTotals {
        recovered: 868,
        repaired: 2,
        uncertain: 0,
        quarantined: 1,
        old_values: 0,
        lost: 33,
        lost_ranges: vec![(612, 644)],
    });
    if let Some(ledger) = &mut report.ledger {
        ledger.endangered = jetsam::format::seqset::SeqSet::new();
    }
    report.events = vec![
        Event::new(EventCode::RecordRepaired, "1 bit").file("msgs/2.blk"),
        Event::new(EventCode::BytesQuarantined, "9,120 bytes").file("msgs/3.blk"),
    ];
    report.actions.clear();
    let fake = Fake {
        reports: vec![report],
        hits: vec![hit("big.bin", 33, 240)],
        ..Fake::default()
    };
    let line = "salvage /data/jetstream/ACC/streams/ORDERS --out /rescue";
    same(&expect_file!["snapshots/salvaged.txt"], line, &fake);
}

#[test]
fn a_start_is_foretold() {
    let deleted = Forecast {
        start: Start::StreamDeleted,
        fast_path: false,
        messages: 0,
        lost: 1_000,
        lost_seqs: vec![(1, 600), (602, 1_001)],
        lost_proven: 999,
        events: vec![
            Event::new(
                EventCode::BlockDecompressFailed,
                "a chunk's checksum differs",
            )
            .file("msgs/2.blk"),
        ],
        ..test_support::starts("AUDIT")
    };
    let deleted = Forecast {
        ledger: Some(Ledger {
            lost: (1..=33).collect(),
            endangered: (34..=1_033).collect(),
            ..Ledger::default()
        }),
        ..deleted
    };
    let mut forecasts: Vec<_> = (0..11)
        .map(|n| test_support::starts(&format!("S{n}")))
        .collect();
    forecasts.push(deleted);
    let fake = Fake {
        forecasts,
        hits: vec![hit("big.bin", 240, 240)],
        ..Fake::default()
    };
    same(
        &expect_file!["snapshots/foretold.txt"],
        "preflight /data",
        &fake,
    );
}

#[test]
fn quiet_is_the_verdict_alone() {
    let fake = Fake {
        reports: vec![damaged(), stream("EVENTS", 5)],
        forecasts: Vec::new(),
        ..Fake::default()
    };
    for line in [
        "check -q /data",
        "recover --quiet /data",
        "salvage -q /data --out /rescue",
    ] {
        let out = run_at(None, line, &fake).out;
        assert_eq!(out.lines().count(), 1, "{line}: {out}");
        assert!(
            out.starts_with("2 streams: 1 clean, 1 damaged; worst is ORDERS: "),
            "{out}"
        );
    }
    let fake = Fake {
        forecasts: vec![test_support::starts("S")],
        ..Fake::default()
    };
    let out = run_at(None, "preflight -q /data", &fake).out;
    assert_eq!(out.lines().count(), 1, "{out}");
}

#[test]
fn quiet_leaves_the_verdict_of_verbs_with_results_of_their_own() {
    let fake = Fake {
        undo: Some(crate::engine::UndoReport {
            restored: vec!["msgs/1.blk".into()],
            removed: Vec::new(),
        }),
        ..Fake::default()
    };
    let nothing = Fake::default();
    let store = "--stores plain --ends stopped --messages 200 --count 2 --seed 3";
    let sweep = format!("harness -q --damage flip-block,cut-tail {store}");
    let judged = format!("harness -q --damage flip-block --expect-no-loss {store}");
    let mut text = String::new();
    for (line, fake) in [
        ("undo -q /data", &fake),
        ("undo -q /data", &nothing),
        (&sweep, &nothing),
        (&judged, &nothing),
        ("harness -q --histories --kinds kv --count 2", &nothing),
    ] {
        let ran = run_at(Some(120), line, fake);
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{line}");
        text.push_str(&format!("$ jetsam {line}\n{}", ran.out));
    }
    expect_test::expect![[r#"
        $ jetsam undo -q /data
        undone: 1 stream is as it was before the last recover
        $ jetsam undo -q /data
        nothing to undo
        $ jetsam harness -q --damage flip-block,cut-tail --stores plain --ends stopped --messages 200 --count 2 --seed 3
        4 damaged stores: jetsam salvage kept 91.4 %, 68 messages lost
        $ jetsam harness -q --damage flip-block --expect-no-loss --stores plain --ends stopped --messages 200 --count 2 --seed 3
        2 damaged stores: jetsam salvage kept 100 %, nothing lost; no more than the damage accounts for
        $ jetsam harness -q --histories --kinds kv --count 2
        2 accounts: 0 wrong
    "#]].assert_eq(&text);
}

#[test]
fn all_lists_every_stream_and_v_what_is_ordinary() {
    let fake = Fake {
        reports: (0..30).map(|n| killed(&format!("S{n}"))).collect(),
        ..Fake::default()
    };
    let rows = |line: &str| {
        let out = run_at(Some(120), line, &fake).out;
        out.lines().filter(|line| line.starts_with("│ ACC")).count()
    };
    assert_eq!((rows("check /data"), rows("check --all /data")), (0, 30));
    let out = run_at(Some(120), "check -v /data", &fake).out;
    assert_eq!(out.matches("info index-absent").count(), 30);
    assert_eq!(out.matches("There is no state file").count(), 1, "{out}");
}
