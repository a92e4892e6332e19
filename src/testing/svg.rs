//! The results as a picture: for each kind of damage, the share of messages each recoverer kept.

use std::fmt::Write as _;

use super::report::{Report, Row, percent};

/// Vermilion, sky blue, blue, green, purple, black: from the palette of Okabe and Ito, which people who cannot tell red
/// from green can tell apart. Their brightness differs too, so that a print in grey can be read.
const COLOURS: [&str; 6] = [
    "#D55E00", "#56B4E9", "#0072B2", "#009E73", "#CC79A7", "#000000",
];

const WIDTH: u32 = 960;
const LEFT: u32 = 168;
const RIGHT: u32 = 112;
const TOP: u32 = 104;
const BAR: u32 = 10;
const ROW_GAP: u32 = 12;
const PLOT: u32 = WIDTH - LEFT - RIGHT;
/// Room for the axis and its label.
const BOTTOM: u32 = 52;
/// Width of a letter of the legend, about; nothing here can measure text.
const LETTER: u32 = 8;

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',Helvetica,Arial,sans-serif;\
     fill:#1a1a1a}.title{font-size:20px;font-weight:600}.sub{font-size:13px;fill:#555}.kind{font-size:13px}\
     .value{font-size:10px;fill:#333}.tick{font-size:12px;fill:#555}.legend{font-size:13px}";

/// The picture of all stores together.
#[must_use]
pub fn overall(report: &Report) -> String {
    /// More names than this do not fit on the line.
    const NAMED_MAX: usize = 4;
    let names = report.stores.iter().map(|store| store.store.as_str());
    let stores = match report.stores.len() {
        ..=NAMED_MAX => names.collect::<Vec<_>>().join(", "),
        count => format!("{count} stores"),
    };
    let subtitle = format!(
        "{stores}: {} damaged copies per store and kind, seed {}",
        report.count, report.seed
    );
    draw(report, &subtitle, &report.overall())
}

/// The picture of one store.
#[must_use]
pub fn of_store(report: &Report, store: &str) -> Option<String> {
    let found = report.stores.iter().find(|found| found.store == store)?;
    let subtitle = format!(
        "{}: {} messages, {} damaged copies per kind, seed {}",
        found.store, found.messages, report.count, report.seed
    );
    Some(draw(report, &subtitle, &found.rows))
}

fn draw(report: &Report, subtitle: &str, rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| row.sums.iter().any(|sum| sum.cases > 0))
        .collect();
    let names = &report.recoverers;
    let row_height = BAR * names.len() as u32 + ROW_GAP;
    let plot_bottom = TOP + row_height * rows.len() as u32;
    let height = plot_bottom + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">Messages kept after damage</title>\n<desc id=\"desc\">{}</desc>\n\
         <style>{STYLE}</style>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text class=\"title\" x=\"24\" y=\"34\">Messages kept after damage</text>\n\
         <text class=\"sub\" x=\"24\" y=\"55\">{}</text>\n",
        escaped(subtitle),
        escaped(subtitle)
    );
    put_legend(&mut svg, names);
    put_axis(&mut svg, plot_bottom);
    for (index, row) in rows.iter().enumerate() {
        let top = TOP + row_height * index as u32 + ROW_GAP / 2;
        put_row(&mut svg, row, top, names);
    }
    svg.push_str("</svg>\n");
    svg
}

fn put_legend(svg: &mut String, names: &[String]) {
    let mut x = 24;
    for (name, colour) in names.iter().zip(COLOURS.iter().cycle()) {
        let name_x = x + 20;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"70\" width=\"13\" height=\"13\" fill=\"{colour}\"/>\
             <text class=\"legend\" x=\"{name_x}\" y=\"81\">{}</text>",
            escaped(name)
        );
        x = name_x + LETTER * name.chars().count() as u32 + 24;
    }
}

fn put_axis(svg: &mut String, plot_bottom: u32) {
    for tick in (0..=100).step_by(20) {
        let x = LEFT + PLOT * tick / 100;
        let colour = if tick == 0 { "#1a1a1a" } else { "#dddddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{plot_bottom}\" stroke=\"{colour}\"/>\
             <text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{tick} %</text>",
            plot_bottom + 18
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"sub\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">share of messages that came back byte for \
         byte</text>",
        LEFT + PLOT / 2,
        plot_bottom + 40
    );
}

fn put_row(svg: &mut String, row: &Row, top: u32, names: &[String]) {
    let middle = top + BAR * names.len() as u32 / 2 + 4;
    let _ = writeln!(
        svg,
        "<text class=\"kind\" x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
        LEFT - 12,
        escaped(&row.damage)
    );
    let bars = row.sums.iter().zip(COLOURS.iter().cycle()).zip(names);
    for (index, ((sum, colour), name)) in bars.enumerate() {
        let y = top + BAR * index as u32;
        let width = sum.kept_share() * f64::from(PLOT);
        let text = percent(sum);
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"><title>{}, {}: \
             {text}, {} lost</title></rect>\
             <text class=\"value\" x=\"{:.1}\" y=\"{}\">{text}</text>",
            BAR - 1,
            escaped(&row.damage),
            escaped(name),
            sum.lost,
            f64::from(LEFT) + width + 5.0,
            y + 8
        );
    }
}

/// Text between tags. What no XML document may hold is shown as a question mark.
fn escaped(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => made.push_str("&amp;"),
            '<' => made.push_str("&lt;"),
            '>' => made.push_str("&gt;"),
            '"' => made.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => made.push('?'),
            letter if letter.is_control() => made.push('?'),
            letter => made.push(letter),
        }
    }
    made
}
