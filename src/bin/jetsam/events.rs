//! `jetsam events`: what the codes mean, and what to do about them.

use std::fmt::Write as _;

use jetsam::report::events::EventCode;

use crate::console::Style;
use crate::page::{Page, Show};

/// What this verb is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// One code; all without it.
    pub code: Option<EventCode>,
    /// As JSON.
    pub json: bool,
    /// As the page of documentation.
    pub markdown: bool,
}

/// The table of all codes, one of them in full, or the page of documentation.
pub fn text(query: &Query, width: Option<usize>) -> String {
    let page = Page::new(width, Style::PLAIN, Show::default());
    let wanted = &query.code;
    let codes = wanted.as_ref().map_or(EventCode::ALL, std::slice::from_ref);
    if query.json {
        let codes: Vec<_> = codes.iter().map(|code| json(*code)).collect();
        return format!("{}\n", serde_json::json!({ "events": codes }));
    }
    match wanted {
        Some(code) => in_full(*code, &page),
        None if query.markdown => markdown(),
        None => table(&page),
    }
}

fn json(code: EventCode) -> serde_json::Value {
    serde_json::json!({
        "code": code.as_str(),
        "severity": code.severity().as_str(),
        "meaning": code.meaning(),
        "advice": code.advice(),
    })
}

/// A line for each: code, severity, and the first words of its meaning.
fn table(page: &Page) -> String {
    let widest = EventCode::ALL.iter().map(|code| code.as_str().len()).max();
    let widest = widest.unwrap_or(0);
    let mut text = String::new();
    for code in EventCode::ALL {
        let line = format!(
            "{:<widest$}  {:<5}  {}",
            code.as_str(),
            code.severity().as_str(),
            code.meaning()
        );
        let _ = writeln!(text, "{}", console::truncate_str(&line, page.width, "…"));
    }
    text.push('\n');
    let how = "`jetsam events CODE` tells one in full, and what to do about it.";
    page.paragraph(&mut text, 0, how);
    text
}

fn in_full(code: EventCode, page: &Page) -> String {
    let mut text = format!("{} ({})\n", code.as_str(), code.severity().as_str());
    page.paragraph(&mut text, 2, code.meaning());
    if !code.advice().is_empty() {
        page.paragraph(&mut text, 2, &format!("What to do: {}", code.advice()));
    }
    text
}

/// The documentation of every event, as Markdown. docs/EVENTS.md holds exactly this.
fn markdown() -> String {
    let mut text = String::from(
        "# Events\n\n\
         What `jetsam check` and `jetsam recover` may report, by code. The codes are stable: scripts may\n\
         rely on them. `info` is ordinary work of opening a store; `warn` says that something is broken,\n\
         missing or odd and no message is lost by it; `error` says that messages are lost or unreadable, or\n\
         that the stream cannot be opened. An event may carry another severity than its usual one where the\n\
         circumstances ask for it. What a server that was merely killed leaves behind is `info`.\n\n\
         This page is printed by `jetsam events --markdown`; a test keeps the two equal. `jetsam events CODE`\n\
         prints one.\n",
    );
    for &code in EventCode::ALL {
        let _ = write!(
            text,
            "\n## `{}`\n\n*{}.* {}\n",
            code.as_str(),
            code.severity().as_str(),
            code.meaning()
        );
        if !code.advice().is_empty() {
            let _ = write!(text, "\nWhat to do: {}\n", code.advice());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Invocation, parse};

    fn told(line: &str, width: usize) -> Result<String, String> {
        let args = line.split_whitespace().map(std::ffi::OsString::from);
        let Ok(Invocation::Work(raw)) = parse(args) else {
            panic!("{line:?} is no work")
        };
        let query = crate::resolve::events::query(&raw).map_err(|usage| usage.0)?;
        Ok(text(&query, Some(width)))
    }

    #[test]
    fn the_events_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/EVENTS.md");
        let page = std::fs::read_to_string(path).expect("docs/EVENTS.md");
        assert!(
            page == markdown(),
            "docs/EVENTS.md differs; write it anew with: cargo run -- events --markdown > docs/EVENTS.md"
        );
    }

    #[test]
    fn every_code_has_a_line_that_fits() {
        for width in [60, 120] {
            let text = told("events", width).unwrap();
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
            for code in EventCode::ALL {
                assert!(
                    text.lines().any(|line| line.starts_with(code.as_str())),
                    "{code}"
                );
            }
        }
    }

    #[test]
    fn one_code_is_told_in_full() {
        let text = told("events block-bad-record", 80).unwrap();
        assert!(text.starts_with("block-bad-record (error)\n"), "{text}");
        assert!(text.contains("What to do:"));
        let error = told("events block-bad-recrod", 80).unwrap_err();
        assert!(error.contains("did you mean block-bad-record?"), "{error}");
        assert!(told("events a b", 80).is_err());
    }

    #[test]
    fn json_holds_them_all() {
        let document: serde_json::Value =
            serde_json::from_str(&told("events --json", 80).unwrap()).unwrap();
        let events = document["events"].as_array().unwrap();
        assert_eq!(events.len(), EventCode::ALL.len());
        assert_eq!(events[0]["code"], EventCode::ALL[0].as_str());
    }
}
