//! `jetsam harness --histories`: accounts of everyday streams against the truth.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::CellAlignment;
use jetsam::testing::SweepError;
use jetsam::testing::history::{
    HistoryCase, HistoryKind, HistoryRow, HistoryRun, LastDay, OwnAccounts,
};
use serde::Serialize;

use super::meter::Meter;
use super::{LOSS, Query, output};
use crate::console::Console;
use crate::resolve::Command;
use crate::session::Session;
use crate::units;

/// Cases told one by one; the rest are counted.
const TOLD: usize = 20;
/// What is asked of the histories.
#[derive(Debug)]
pub struct Asked {
    /// Of which kinds.
    pub kinds: Vec<HistoryKind>,
    /// Whether an account that is wrong fails the run.
    pub expect_no_invention: bool,
}

#[derive(Serialize)]
struct Document {
    jetsam: &'static str,
    seed: u64,
    histories: u64,
    kinds: Vec<HistoryRow>,
    damages: Vec<HistoryRow>,
    wrong: Vec<Wrong>,
    exit: u8,
}

#[derive(Serialize)]
struct Wrong {
    case: u64,
    history: &'static str,
    layout: &'static str,
    last_day: &'static str,
    damage: String,
    what: String,
}

impl Wrong {
    fn of(case: &HistoryCase) -> Self {
        let damage = case.damage.as_ref();
        Self {
            case: case.number,
            history: case.history.kind.name(),
            layout: case.history.layout.name(),
            last_day: case.history.last_day.name(),
            damage: damage.map_or_else(|| "none".into(), ToString::to_string),
            what: case.wrong.trim_end_matches("; ").to_owned(),
        }
    }
}

/// Does it; returns the exit code.
pub fn run(
    session: &mut Session<'_, '_>,
    command: &Command,
    query: &Query,
    asked: &Asked,
) -> Result<io::Result<u8>, SweepError> {
    let run = HistoryRun {
        kinds: &asked.kinds,
        layouts: &query.stores,
        last_days: &LastDay::ALL,
        damages: &query.damages,
        count: query.count,
        first: query.first,
        seed: query.seed,
        threads: command.options.threads,
        accountant: &OwnAccounts,
    };
    let cancel = AtomicBool::new(false);
    let gate = session.worker.gate;
    let meter = Meter::new(session.worker.progress, "histories", query.count);
    let progress = |done| {
        meter.update(done);
        if gate.interrupted() {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let cases = run.run(&progress, &cancel)?;
    drop(meter);
    if let (1, Some(out)) = (query.count, &query.out) {
        keep(&run, query, out).map_err(SweepError::Failed)?;
    }
    Ok(tell(session, command, query, asked, &cases))
}

/// Leaves the damaged store of the one case below `out`.
fn keep(run: &HistoryRun<'_>, query: &Query, out: &std::path::Path) -> Result<(), String> {
    let case = run.damaged(query.first)?;
    let name = format!("{}-{}", case.history.kind.name(), query.first);
    let account = out.join(name).join(&case.lived.store.access.account);
    let dir = account.join("streams").join(&case.lived.store.stream.name);
    case.write_to(&dir).map_err(|error| error.to_string())
}

fn tell(
    session: &mut Session<'_, '_>,
    command: &Command,
    query: &Query,
    asked: &Asked,
    cases: &[HistoryCase],
) -> io::Result<u8> {
    let (kinds, damages) = HistoryRow::tables(cases);
    let wrong: Vec<Wrong> = cases
        .iter()
        .filter(|case| !case.wrong.is_empty())
        .map(Wrong::of)
        .collect();
    let exit = if asked.expect_no_invention && !wrong.is_empty() {
        LOSS
    } else {
        0
    };
    let document = Document {
        jetsam: env!("CARGO_PKG_VERSION"),
        seed: query.seed,
        histories: query.count,
        kinds,
        damages,
        wrong,
        exit,
    };
    let json = serde_json::to_string_pretty(&document)?;
    if let Some(out) = &query.out {
        std::fs::write(out.join("histories.json"), &json)?;
    }
    let console = &mut session.console;
    if command.json {
        writeln!(console.out, "{json}")?;
    } else {
        if !command.show.quiet {
            for (title, rows) in [("History", &document.kinds), ("Damage", &document.damages)] {
                let text = console.style.borders(&table(title, rows));
                writeln!(console.out, "{text}")?;
            }
        }
        let wrong = units::count(document.wrong.len() as u64);
        let told = units::count(cases.len() as u64);
        writeln!(console.out, "{told} accounts: {wrong} wrong")?;
    }
    console.out.flush()?;
    if command.show.quiet {
        return Ok(exit);
    }
    tell_wrong(console, query, asked, &document.wrong);
    Ok(exit)
}

fn tell_wrong(console: &mut Console<'_>, query: &Query, asked: &Asked, wrongs: &[Wrong]) {
    for wrong in wrongs.iter().take(TOLD) {
        let kinds: Vec<&str> = asked.kinds.iter().map(|kind| kind.name()).collect();
        console.remark(&format!(
            "case {} ({}, {}, {}): {}; damage {}; again with --histories --case {} --seed {} --kinds {}",
            wrong.case,
            wrong.history,
            wrong.layout,
            wrong.last_day,
            wrong.what,
            wrong.damage,
            wrong.case,
            query.seed,
            kinds.join(",")
        ));
    }
    if wrongs.len() > TOLD {
        let more = units::count((wrongs.len() - TOLD) as u64);
        console.remark(&format!("and {more} more"));
    }
}

fn table(title: &str, rows: &[HistoryRow]) -> String {
    let mut table = output::bare_table();
    table.set_header([
        title,
        "Cases",
        "Live",
        "Removed",
        "Lost",
        "Unknown",
        "Invented\nlosses",
        "Silent\nlosses",
        "Called\nlive",
        "Misfiled",
        "Unequal",
    ]);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut remarks = String::new();
    for row in rows {
        let mut cells = vec![row.name.clone()];
        cells.extend(
            [
                row.cases,
                row.live,
                row.removed,
                row.lost,
                row.unknown,
                row.invented,
                row.silent,
                row.revived,
                row.misfiled,
                row.unequal,
            ]
            .map(units::count),
        );
        table.add_row(cells);
        let notes = [
            (row.unnamed, "lost behind everything that is left"),
            (
                row.past,
                "lost before everything that is left, in a past the account calls untold",
            ),
            (
                row.mistaken,
                "removed and called lost, what told it is destroyed",
            ),
            (row.untold, "removed and called live, nothing tells it"),
            (row.changed, "handed out changed"),
            (row.doubted, "handed out changed, and said to be uncertain"),
        ];
        for (count, what) in notes {
            if count > 0 {
                remarks.push_str(&format!("  {}: {} {what}\n", row.name, units::count(count)));
            }
        }
    }
    format!("{table}\n{remarks}")
}
