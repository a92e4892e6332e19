//! Tables in the manner of the `nats` command, as wide as the page allows, and the summary of streams.

use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use jetsam::preflight::{Forecast, Start};
use jetsam::report::stream::{SalvageTotals, State, StreamReport};

use crate::details;
use crate::json::source_name;
use crate::ledger;
use crate::page::Page;
use crate::units;

/// One column: its title, how it stands, and when it gives way to the others.
struct Column {
    title: &'static str,
    /// Words stand to the left, numbers to the right.
    word: bool,
    /// Where the page is too narrow the highest goes first; 0 stays.
    gives_way: u8,
}

const fn word(title: &'static str, gives_way: u8) -> Column {
    Column {
        title,
        word: true,
        gives_way,
    }
}

const fn number(title: &'static str, gives_way: u8) -> Column {
    Column {
        title,
        word: false,
        gives_way,
    }
}

const SUMMARY: [Column; 12] = [
    word("Account", 1),
    word("Stream", 0),
    word("Outcome", 0),
    number("Messages", 0),
    number("Lost", 0),
    number("Bytes", 3),
    number("First", 4),
    number("Last", 2),
    number("Subjects", 6),
    number("Deleted", 5),
    number("Consumers", 7),
    word("Source", 8),
];

const FORECAST: [Column; 9] = [
    word("Account", 1),
    word("Stream", 0),
    word("Start", 0),
    word("Reading", 2),
    word("Fast path", 4),
    number("Messages", 0),
    number("Lost", 0),
    number("Expired", 3),
    number("Takes", 5),
];

const SALVAGED: [Column; 11] = [
    word("Account", 1),
    word("Stream", 0),
    word("Outcome", 0),
    number("Messages", 0),
    number("Bytes", 4),
    number("First", 5),
    number("Last", 3),
    number("Repaired", 2),
    number("Uncertain", 0),
    number("Quarantined", 2),
    number("Lost", 0),
];

/// One row per stream that was foretold, but for those whose start is as it should be, where these are many.
pub fn forecasts(forecasts: &[Forecast], page: &Page) -> String {
    let folded = page.fold(forecasts, crate::preflight::is_silent);
    let rows = folded
        .shown
        .iter()
        .map(|forecast| forecast_row(forecast))
        .collect();
    let mut text = drawn("Forecast", &FORECAST, rows, page);
    let messages: u64 = folded.folded.iter().map(|forecast| forecast.messages).sum();
    let sum = format!("start as they are: {}", ledger::messages(messages));
    rest(
        &mut text,
        folded.folded.len(),
        folded.shown.is_empty(),
        &sum,
        page,
    );
    text
}

fn forecast_row(forecast: &Forecast) -> Vec<String> {
    let account = forecast.account.as_deref();
    let reading = match forecast.start {
        Start::Ok => forecast.read.as_str(),
        // Nothing can be read of a stream that is not there.
        _ => "-",
    };
    vec![
        account.map_or_else(|| "-".to_owned(), units::printable),
        units::printable(&forecast.name),
        forecast.start.as_str().to_owned(),
        reading.to_owned(),
        if forecast.fast_path { "yes" } else { "no" }.to_owned(),
        units::count(forecast.messages),
        units::count(forecast.lost),
        units::count(forecast.expired),
        crate::preflight::takes(forecast.start_seconds_range),
    ]
}

/// One row per stream, but for those with nothing wrong, where these are many.
pub fn summary(reports: &[StreamReport], page: &Page) -> String {
    let folded = page.fold(reports, details::is_silent);
    let rows = folded.shown.iter().map(|report| row(report)).collect();
    let mut text = drawn("Streams", &SUMMARY, rows, page);
    let sum = |field: fn(&State) -> u64| -> u64 {
        let states = folded
            .folded
            .iter()
            .filter_map(|report| report.state.as_ref());
        states.map(field).sum()
    };
    let held = format!(
        "clean: {}, {}",
        ledger::messages(sum(|state| state.messages)),
        units::bytes(sum(|state| state.bytes))
    );
    rest(
        &mut text,
        folded.folded.len(),
        folded.shown.is_empty(),
        &held,
        page,
    );
    text
}

/// The line for those without a row.
fn rest(text: &mut String, folded: usize, alone: bool, what: &str, page: &Page) {
    if folded > 0 {
        let and = if alone { "" } else { "and " };
        let count = units::count(folded as u64);
        page.paragraph(
            text,
            0,
            &format!("{and}{count} streams {what} (--all lists them)"),
        );
    }
}

/// A table of words under a title.
pub fn words<const N: usize>(
    title: &str,
    header: &[&'static str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let columns = header.map(|title| word(title, 0));
    let rows: Vec<Vec<String>> = rows.map(Vec::from).collect();
    let every: Vec<usize> = (0..N).collect();
    titled(title, &framed(&columns, &every, rows).to_string())
}

/// One row per salvaged stream.
pub fn salvage(reports: &[StreamReport], page: &Page) -> String {
    let folded = page.fold(reports, details::is_silent);
    let rows = folded
        .shown
        .iter()
        .map(|report| salvage_row(report))
        .collect();
    let mut text = drawn("Salvaged streams", &SALVAGED, rows, page);
    let kept = folded
        .folded
        .iter()
        .filter_map(|report| report.state.as_ref());
    let kept = format!(
        "whole: {}",
        ledger::messages(kept.map(|state| state.messages).sum())
    );
    rest(
        &mut text,
        folded.folded.len(),
        folded.shown.is_empty(),
        &kept,
        page,
    );
    text
}

fn salvage_row(report: &StreamReport) -> Vec<String> {
    let mut cells = row(report);
    let lost = cells.remove(4);
    cells.truncate(7);
    let totals = report.salvage.as_ref();
    let number = |field: fn(&SalvageTotals) -> u64| {
        totals.map_or_else(|| "-".to_owned(), |totals| units::count(field(totals)))
    };
    cells.push(number(|totals| totals.repaired));
    cells.push(number(|totals| totals.uncertain));
    cells.push(number(|totals| totals.quarantined));
    cells.push(match totals {
        Some(totals) => units::count(totals.lost),
        None => lost,
    });
    cells
}

/// The table, with the columns that fit; nothing where there is no row.
fn drawn(title: &str, columns: &[Column], rows: Vec<Vec<String>>, page: &Page) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let kept = fitting(columns, &rows, page.width);
    let room = page
        .width
        .saturating_sub(others(columns, &rows, &kept))
        .max(NAME_MIN);
    let rows = rows
        .into_iter()
        .map(|mut row| {
            if let Some(name) = row.get_mut(NAME) {
                *name = console::truncate_str(name, room, "…").into_owned();
            }
            row
        })
        .collect();
    page.style
        .borders(&titled(title, &framed(columns, &kept, rows).to_string()))
}

/// Where the stream's name stands.
const NAME: usize = 1;
/// A name is cut no shorter than this.
const NAME_MIN: usize = 12;
/// Columns give way to a name as long as this.
const NAME_WANTED: usize = 24;

/// The columns for which there is room. One that is empty in every row goes first.
fn fitting(columns: &[Column], rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let blank = |at: usize| {
        rows.iter()
            .all(|row| row.get(at).is_none_or(|cell| cell == "-"))
    };
    let mut kept: Vec<usize> = (0..columns.len())
        .filter(|&at| columns[at].gives_way == 0 || !blank(at))
        .collect();
    let name = natural(columns, rows, NAME).min(NAME_WANTED);
    while others(columns, rows, &kept) + name > width {
        let widest = kept.iter().copied().max_by_key(|&at| columns[at].gives_way);
        match widest.filter(|&at| columns[at].gives_way > 0) {
            Some(at) => kept.retain(|&other| other != at),
            None => break,
        }
    }
    kept
}

/// What everything but the names takes of a line.
fn others(columns: &[Column], rows: &[Vec<String>], kept: &[usize]) -> usize {
    let cells: usize = kept
        .iter()
        .filter(|&&at| at != NAME)
        .map(|&at| natural(columns, rows, at))
        .sum();
    // A line and two blanks for each column, and the line at the end.
    cells + 3 * kept.len() + 1
}

fn natural(columns: &[Column], rows: &[Vec<String>], at: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(at));
    let widest = cells.map(|cell| console::measure_text_width(cell)).max();
    widest.unwrap_or(0).max(columns[at].title.len())
}

fn framed(columns: &[Column], kept: &[usize], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .apply_modifier(UTF8_ROUND_CORNERS);
    // Single lines throughout, as the nats command draws them.
    table.set_style(comfy_table::TableComponent::HeaderLines, '─');
    table.set_style(comfy_table::TableComponent::LeftHeaderIntersection, '├');
    table.set_style(comfy_table::TableComponent::MiddleHeaderIntersections, '┼');
    table.set_style(comfy_table::TableComponent::RightHeaderIntersection, '┤');
    table.set_style(comfy_table::TableComponent::VerticalLines, '│');
    table.set_header(kept.iter().map(|&at| columns[at].title));
    for row in rows {
        table.add_row(
            kept.iter()
                .map(|&at| row.get(at).map_or("-", String::as_str)),
        );
    }
    for (column, &at) in table.column_iter_mut().zip(kept) {
        if !columns[at].word {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(report: &StreamReport) -> Vec<String> {
    let none = || "-".to_owned();
    let number = |field: fn(&State) -> u64| {
        report
            .state
            .as_ref()
            .map_or_else(none, |state| units::count(field(state)))
    };
    vec![
        report
            .account
            .as_deref()
            .map_or_else(none, units::printable),
        units::printable(&report.name),
        report.outcome.as_str().to_owned(),
        number(|state| state.messages),
        crate::verdict::lost(report).map_or_else(none, units::count),
        report
            .state
            .as_ref()
            .map_or_else(none, |state| units::bytes(state.bytes)),
        number(|state| state.first_seq),
        number(|state| state.last_seq),
        number(|state| state.subject_count),
        number(|state| state.deleted_count),
        units::count(report.consumers.len() as u64),
        report
            .source
            .map_or_else(none, |source| source_name(source).to_owned()),
    ]
}

/// Puts a title row on a table, as wide as its first line.
fn titled(title: &str, table: &str) -> String {
    let (top, rest) = table.split_once('\n').unwrap_or((table, ""));
    let inner = top.chars().count().saturating_sub(2);
    let joint = top.replace('╭', "├").replace('╮', "┤");
    format!(
        "╭{}╮\n│{title:^inner$}│\n{joint}\n{rest}\n",
        "─".repeat(inner)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::plain;
    use crate::test_support;

    #[test]
    fn the_summary_looks_like_the_nats_command() {
        let reports = [
            test_support::damaged(),
            test_support::clean(),
            test_support::refused(),
        ];
        let want = "\
╭──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────╮
│                                                       Streams                                                        │
├─────────┬────────┬─────────┬───────────┬──────┬────────┬───────┬───────────┬──────────┬─────────┬───────────┬────────┤
│ Account │ Stream │ Outcome │  Messages │ Lost │  Bytes │ First │      Last │ Subjects │ Deleted │ Consumers │ Source │
├─────────┼────────┼─────────┼───────────┼──────┼────────┼───────┼───────────┼──────────┼─────────┼───────────┼────────┤
│ A       │ ORDERS │ damaged │ 1,234,567 │    3 │ 12 MiB │     1 │ 1,234,570 │        2 │       3 │         1 │ blocks │
│ -       │ ORDERS │ clean   │         0 │    0 │    0 B │     0 │         0 │        0 │       0 │         0 │ index  │
│ -       │ SECRET │ refused │         - │    - │      - │     - │         - │        - │       - │         0 │ -      │
╰─────────┴────────┴─────────┴───────────┴──────┴────────┴───────┴───────────┴──────────┴─────────┴───────────┴────────╯
";
        let text = summary(&reports, &plain(120));
        assert_eq!(text, want);
    }

    #[test]
    fn columns_give_way_until_the_page_is_wide_enough() {
        let reports = [test_support::damaged(), test_support::refused()];
        for width in [60, 70, 80, 100, 120, 200] {
            let text = summary(&reports, &plain(width));
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            assert!(text.contains("ORDERS") && text.contains("1,234,567"));
        }
        assert!(!summary(&reports, &plain(60)).contains("Consumers"));
    }

    #[test]
    fn a_long_name_is_cut_and_takes_no_column_away() {
        let mut report = test_support::damaged();
        report.name = "N".repeat(200);
        let text = summary(&[report], &plain(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("N…") && text.contains("Messages"), "{text}");
    }

    #[test]
    fn clean_streams_beyond_ten_share_a_line() {
        let many: Vec<_> = (0..11).map(|_| test_support::clean()).collect();
        let want = "11 streams clean: 0 messages, 0 B (--all lists them)\n";
        assert_eq!(summary(&many, &plain(80)), want);
        let mut one_damaged = many.clone();
        one_damaged.push(test_support::damaged());
        let text = summary(&one_damaged, &plain(80));
        assert!(
            text.contains("ORDERS") && text.ends_with(&format!("and {want}")),
            "{text}"
        );
    }

    #[test]
    fn names_from_disk_cannot_break_the_table() {
        let mut report = test_support::clean();
        report.name = "A\nB\x1b[2J\u{4e2d}".into();
        let text = summary(&[report], &plain(120));
        assert_eq!(text.lines().count(), 7);
        assert!(!text.contains('\x1b'));
    }
}
