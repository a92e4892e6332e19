//! Tables in the manner of the `nats` command, and the summary of streams.

use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use jetsam::preflight::Forecast;
use jetsam::recovery::report::{SalvageTotals, State, StreamReport};

use crate::json::source_name;
use crate::units;

const HEADER: [&str; 11] = [
    "Account",
    "Stream",
    "Outcome",
    "Messages",
    "Bytes",
    "First",
    "Last",
    "Subjects",
    "Deleted",
    "Consumers",
    "Source",
];

/// Columns of words; all others are numbers and stand to the right.
const WORDS: [usize; 4] = [0, 1, 2, 10];

const FORECAST_HEADER: [&str; 9] = [
    "Account",
    "Stream",
    "Start",
    "Reading",
    "Fast path",
    "Messages",
    "Lost",
    "Expired",
    "Takes",
];

/// Columns of words of a forecast.
const FORECAST_WORDS: [usize; 5] = [0, 1, 2, 3, 4];

/// One row per stream that was foretold.
pub fn forecasts(forecasts: &[Forecast]) -> String {
    let mut table = framed(&FORECAST_HEADER, &FORECAST_WORDS);
    for forecast in forecasts {
        let account = forecast.account.as_deref();
        table.add_row([
            account.map_or_else(|| "-".to_owned(), units::printable),
            units::printable(&forecast.name),
            forecast.start.as_str().to_owned(),
            forecast.read.as_str().to_owned(),
            if forecast.fast_path { "yes" } else { "no" }.to_owned(),
            units::count(forecast.messages),
            units::count(forecast.lost),
            units::count(forecast.expired),
            crate::preflight::takes(forecast.start_seconds_range),
        ]);
    }
    titled("Forecast", &table.to_string())
}

/// One row per stream.
pub fn summary(reports: &[StreamReport]) -> String {
    let mut table = framed(&HEADER, &WORDS);
    for report in reports {
        table.add_row(row(report));
    }
    titled("Streams", &table.to_string())
}

/// A table of words under a title.
pub fn words<const N: usize>(
    title: &str,
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let columns: Vec<usize> = (0..N).collect();
    let mut table = framed(header, &columns);
    for row in rows {
        table.add_row(row);
    }
    titled(title, &table.to_string())
}

const SALVAGE_HEADER: [&str; 11] = [
    "Account",
    "Stream",
    "Outcome",
    "Messages",
    "Bytes",
    "First",
    "Last",
    "Repaired",
    "Uncertain",
    "Quarantined",
    "Lost",
];

/// One row per salvaged stream.
pub fn salvage(reports: &[StreamReport]) -> String {
    let mut table = framed(&SALVAGE_HEADER, &WORDS[..3]);
    for report in reports {
        let [account, name, outcome, messages, bytes, first, last, ..] = row(report);
        let totals = report.salvage.as_ref();
        let number = |field: fn(&SalvageTotals) -> u64| {
            totals.map_or_else(|| "-".to_owned(), |totals| units::count(field(totals)))
        };
        table.add_row([
            account,
            name,
            outcome,
            messages,
            bytes,
            first,
            last,
            number(|totals| totals.repaired),
            number(|totals| totals.uncertain),
            number(|totals| totals.quarantined),
            number(|totals| totals.lost),
        ]);
    }
    titled("Salvaged streams", &table.to_string())
}

fn framed(header: &[&str], words: &[usize]) -> Table {
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
    table.set_header(header.iter().copied());
    for (i, column) in table.column_iter_mut().enumerate() {
        if !words.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(report: &StreamReport) -> [String; 11] {
    let none = || "-".to_owned();
    let number = |field: fn(&State) -> u64| {
        report
            .state
            .as_ref()
            .map_or_else(none, |state| units::count(field(state)))
    };
    [
        report
            .account
            .as_deref()
            .map_or_else(none, units::printable),
        units::printable(&report.name),
        report.outcome.as_str().to_owned(),
        number(|state| state.messages),
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
    use crate::sample;

    #[test]
    fn the_summary_looks_like_the_nats_command() {
        let reports = [sample::damaged(), sample::clean(), sample::refused()];
        let want = "\
╭───────────────────────────────────────────────────────────────────────────────────────────────────────────────╮
│                                                    Streams                                                    │
├─────────┬────────┬─────────┬───────────┬────────┬───────┬───────────┬──────────┬─────────┬───────────┬────────┤
│ Account │ Stream │ Outcome │  Messages │  Bytes │ First │      Last │ Subjects │ Deleted │ Consumers │ Source │
├─────────┼────────┼─────────┼───────────┼────────┼───────┼───────────┼──────────┼─────────┼───────────┼────────┤
│ A       │ ORDERS │ damaged │ 1,234,567 │ 12 MiB │     1 │ 1,234,570 │        2 │       3 │         1 │ blocks │
│ -       │ ORDERS │ clean   │         0 │    0 B │     0 │         0 │        0 │       0 │         0 │ index  │
│ -       │ SECRET │ refused │         - │      - │     - │         - │        - │       - │         0 │ -      │
╰─────────┴────────┴─────────┴───────────┴────────┴───────┴───────────┴──────────┴─────────┴───────────┴────────╯
";
        assert_eq!(summary(&reports), want);
    }

    #[test]
    fn names_from_disk_cannot_break_the_table() {
        let mut report = sample::clean();
        report.name = "A\nB\x1b[2J\u{4e2d}".into();
        let text = summary(&[report]);
        assert_eq!(text.lines().count(), 7);
        assert!(!text.contains('\x1b'));
    }
}
