//! What the harness tells: a table or JSON on stdout, and files below `--out`.

use std::fs;
use std::io;
use std::path::Path;

use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table, TableComponent};
use jetsam::testing::report::{notes, percent};
use jetsam::testing::{Breach, Report, Row, Sum, svg};
use serde::Serialize;

use super::{FoundBreach, Query};
use crate::console::Console;
use crate::resolve::Command;
use crate::units;

/// Breaches told one by one; the rest are counted.
const BREACHES_TOLD: usize = 20;

/// Makes the directory for the results, before hours are spent on them.
pub fn prepare(out: &Path) -> Result<(), String> {
    fs::create_dir_all(out).map_err(|error| format!("--out: {}: {error}", out.display()))
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    breaches: Vec<BreachJson<'a>>,
    exit: u8,
}

#[derive(Serialize)]
struct BreachJson<'a> {
    store: String,
    #[serde(flatten)]
    breach: &'a Breach,
}

/// Writes everything.
pub fn write(
    console: &mut Console<'_>,
    command: &Command,
    query: &Query,
    report: &Report,
    found: &[FoundBreach],
) -> io::Result<()> {
    let document = Document {
        report,
        breaches: found
            .iter()
            .map(|found| BreachJson {
                store: found.subject.name(),
                breach: &found.breach,
            })
            .collect(),
        exit: if query.expect_no_loss && !found.is_empty() {
            super::LOSS
        } else {
            0
        },
    };
    let json = serde_json::to_string_pretty(&document)?;
    if let Some(out) = &query.out {
        put_files(out, report, &json)?;
    }
    if command.json {
        writeln!(console.out, "{json}")?;
    } else {
        if !command.show.quiet {
            for text in tables(report) {
                let text = console.style.borders(&text);
                writeln!(console.out, "{text}")?;
            }
        }
        writeln!(console.out, "{}", verdict(query, report, found))?;
    }
    console.out.flush()?;
    if !command.show.quiet {
        tell_breaches(console, query, report, found);
    }
    Ok(())
}

/// What the last recoverer kept, and whether that is as it should be.
fn verdict(query: &Query, report: &Report, found: &[FoundBreach]) -> String {
    let name = report.recoverers.last().map_or("", String::as_str);
    let mut sum = Sum::default();
    let rows = report.stores.iter().flat_map(|store| &store.rows);
    for own in rows.filter_map(|row| row.sums.last()) {
        sum.join(own);
    }
    let lost = match sum.lost {
        0 => "nothing lost".to_owned(),
        1 => "1 message lost".to_owned(),
        n => format!("{} messages lost", units::count(n)),
    };
    let mut text = format!(
        "{} damaged stores: {name} kept {}, {lost}",
        units::count(sum.cases),
        percent(&sum)
    );
    if query.expect_no_loss {
        text.push_str(&match found.len() {
            0 => "; no more than the damage accounts for".to_owned(),
            1 => "; 1 store came back worse than the damage accounts for".to_owned(),
            n => format!(
                "; {} stores came back worse than the damage accounts for",
                units::count(n as u64)
            ),
        });
    }
    text
}

fn put_files(out: &Path, report: &Report, json: &str) -> io::Result<()> {
    fs::write(out.join("results.json"), json)?;
    fs::write(out.join("results.md"), report.markdown())?;
    fs::write(out.join("kept.svg"), svg::overall(report))?;
    for store in &report.stores {
        if let Some(picture) = svg::of_store(report, &store.store) {
            fs::write(out.join(format!("kept-{}.svg", store.store)), picture)?;
        }
    }
    Ok(())
}

fn tell_breaches(console: &mut Console<'_>, query: &Query, report: &Report, found: &[FoundBreach]) {
    if !query.expect_no_loss {
        return;
    }
    let name = report.recoverers.last().map_or("", String::as_str);
    for FoundBreach { subject, breach } in found.iter().take(BREACHES_TOLD) {
        let Breach {
            damage,
            number,
            summary,
            what,
        } = breach;
        let (store, end) = (subject.kind.name(), subject.end.name());
        console.remark(&format!(
            "{name}: {what}: {summary}; again with --stores {store} --ends {end} --damage {damage} --case {number} --seed {} \
             --messages {}",
            query.seed, query.messages
        ));
    }
    if found.len() > BREACHES_TOLD {
        let more = units::count((found.len() - BREACHES_TOLD) as u64);
        console.remark(&format!("and {more} more"));
    }
}

fn tables(report: &Report) -> Vec<String> {
    let mut made = Vec::new();
    for store in &report.stores {
        let title = format!(
            "{}: {} messages in {} blocks of {} together",
            store.store,
            units::count(store.messages),
            units::count(store.blocks),
            units::bytes(store.block_bytes)
        );
        made.push(table(report, &title, &store.rows));
    }
    if report.stores.len() > 1 {
        made.push(table(report, "all stores", &report.overall()));
    }
    made
}

/// A table with the harness's borders and nothing in it.
pub fn bare_table() -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .apply_modifier(UTF8_ROUND_CORNERS);
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::LeftHeaderIntersection, '├');
    table.set_style(TableComponent::MiddleHeaderIntersections, '┼');
    table.set_style(TableComponent::RightHeaderIntersection, '┤');
    table.set_style(TableComponent::VerticalLines, '│');
    table
}

fn table(report: &Report, title: &str, rows: &[Row]) -> String {
    let mut table = bare_table();
    let mut header = vec!["Damage".to_owned(), "Cases".to_owned()];
    for name in &report.recoverers {
        header.extend([format!("{name}\nkept"), "\nlost".into(), "\nwhole".into()]);
    }
    table.set_header(header);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut remarks = String::new();
    for row in rows {
        let cases = row.sums.first().map_or(0, |sum| sum.cases);
        if cases == 0 {
            continue;
        }
        let mut cells = vec![row.damage.clone(), units::count(cases)];
        for (name, sum) in report.recoverers.iter().zip(&row.sums) {
            cells.extend([
                percent(sum),
                units::count(sum.lost),
                units::count(sum.cases_without_loss),
            ]);
            if let Some(text) = notes(sum) {
                remarks.push_str(&format!("  {}, {name}: {text}\n", row.damage));
            }
        }
        table.add_row(cells);
    }
    format!("{title}\n{table}\n{remarks}")
}
