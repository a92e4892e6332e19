//! What to do next, as commands that can be copied.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jetsam::report::events::EventCode;
use jetsam::report::stream::{Outcome, Refusal, StreamReport};

use crate::engine::Shape;
use crate::page::Page;
use crate::resolve::Command;
use crate::verdict::{self, Run};

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn shown(path: &Path) -> String {
    // What would steer the terminal cannot be copied from it either.
    crate::units::printable(&quoted(&path.to_string_lossy()))
}

/// Commands, each with the reason above it. A command is one line, however long, so that it can be copied.
fn block(page: &Page, lines: &[(String, &str)]) -> String {
    let mut text = "\nWhat to do next:\n".to_owned();
    for (command, why) in lines {
        if !why.is_empty() {
            page.prefixed(&mut text, "  # ", why);
        }
        let _ = writeln!(text, "  {command}");
    }
    text
}

/// After `check`, `recover` and `rebuild-index`; empty where there is nothing to do.
pub fn after_looking(reports: &[StreamReport], command: &Command, run: Run, page: &Page) -> String {
    let (path, again) = (shown(&command.path), &command.again);
    let refused_for = |refusal| reports.iter().any(|report| report.refusal == Some(refusal));
    let loses = |report: &StreamReport| {
        report.exit_code() == 4 && !verdict::was_applied(report, run)
            || matches!(
                report.refusal,
                Some(Refusal::OpenFails | Refusal::ServerDown | Refusal::Skipped)
            )
    };
    let mut lines = Vec::new();
    if refused_for(Refusal::NeedsKey) {
        let command = format!("jetsam check {path} --config nats-server.conf");
        lines.push((
            command,
            "with the server's key (or --key-env VAR, --key-file FILE)",
        ));
    }
    if reports.iter().any(loses) {
        let out = shown(&beside(&command.path));
        lines.push((
            format!("jetsam salvage {path} --out {out}{again}"),
            "before any server starts on this: copy out what verifies; nothing here is changed",
        ));
        lines.push((
            format!("jetsam preflight {path}{again}"),
            "what a server would do to it",
        ));
    } else if run == Run::Look
        && reports
            .iter()
            .any(|report| report.outcome == Outcome::Recovered)
    {
        lines.push((
            format!("jetsam recover {path}{again}"),
            "mend it as a server's start would; `jetsam undo` takes that back",
        ));
    }
    if run == Run::Recover && reports.iter().any(verdict::awaits_consent) {
        let by_age = |report: &StreamReport| {
            report
                .events
                .iter()
                .any(|event| event.code == EventCode::ExpiryNeedsConsent)
        };
        let accept = match reports.iter().any(by_age) {
            true => "--accept-expiry",
            false => "--accept-loss",
        };
        lines.push((
            format!("jetsam recover {path} {accept}{again}"),
            "or go on and let these messages go",
        ));
    } else if run == Run::Recover
        && reports
            .iter()
            .any(|report| verdict::was_applied(report, run) && !report.actions.is_empty())
    {
        lines.push((format!("jetsam undo {path}"), "takes back what was done"));
    }
    match lines.is_empty() {
        true => String::new(),
        false => block(page, &lines),
    }
}

/// After a forecast of losses.
pub fn after_forecast(command: &Command, page: &Page) -> String {
    let (path, again) = (shown(&command.path), &command.again);
    let out = shown(&beside(&command.path));
    let line = format!("jetsam salvage {path} --out {out}{again}");
    block(
        page,
        &[(
            line,
            "do not start the server on this: copy out what verifies, and start it on that",
        )],
    )
}

/// A place for the new store that no server looks into, on the same disk.
fn beside(path: &Path) -> PathBuf {
    let parts: Vec<_> = path.components().collect();
    let store = parts
        .iter()
        .rposition(|part| part.as_os_str() == "jetstream");
    match (store, account_of(path), path.file_name()) {
        // Within a store_dir: beside its `jetstream`.
        (Some(at), _, _) => {
            let store_dir: PathBuf = parts.iter().take(at).collect();
            store_dir.join("jetsam-salvaged")
        }
        (None, Some(account), Some(name)) => account.join(with_suffix(name, "salvaged")),
        (None, None, Some(name)) => path.with_file_name(with_suffix(name, "salvaged")),
        (None, _, None) => path.join("../jetsam-salvaged"),
    }
}

fn is_streams(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "streams")
}

/// The account's directory, of a stream that lies in its `streams`.
fn account_of(stream: &Path) -> Option<&Path> {
    stream.parent().filter(|above| is_streams(above))?.parent()
}

fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push("-");
    name.push(suffix);
    name
}

/// How a new store takes the place of an old one.
pub struct Move {
    /// The old directory.
    old: PathBuf,
    /// Where it goes: no server looks there.
    aside: PathBuf,
    /// The new directory.
    new: PathBuf,
    /// Where that goes: in the place of the old, perhaps under another name.
    place: PathBuf,
}

impl Move {
    /// After a salvage of `path` into `out`. `name` is the stream's, where it is one stream.
    pub fn of(shape: Shape, path: &Path, out: &Path, name: &str) -> Move {
        let (old, new) = match shape {
            Shape::StoreDir => (path.join("jetstream"), out.join("jetstream")),
            Shape::Account if is_streams(path) => (path.to_owned(), out.join("streams")),
            Shape::Account => (path.join("streams"), out.join("streams")),
            Shape::Jetstream | Shape::Stream => (path.to_owned(), out.to_owned()),
        };
        let aside = match (shape, account_of(&old), old.file_name()) {
            (Shape::Stream, Some(account), Some(name)) => {
                account.join(with_suffix(name, "before-salvage"))
            }
            (_, _, Some(name)) => old.with_file_name(with_suffix(name, "before-salvage")),
            (_, _, None) => old.join("../before-salvage"),
        };
        let place = match shape {
            Shape::Stream if !name.is_empty() && !name.contains('/') => old.with_file_name(name),
            _ => old.clone(),
        };
        Move {
            old,
            aside,
            new,
            place,
        }
    }
}

/// After `salvage`: how the new store takes the old one's place.
pub fn after_salvage(change: &Move, again: &str, page: &Page) -> String {
    let (old, aside) = (shown(&change.old), shown(&change.aside));
    let (new, place) = (shown(&change.new), shown(&change.place));
    let lines = [
        (
            "systemctl stop nats-server".to_owned(),
            "stop the server, however it was started",
        ),
        (
            format!("mv {old} {aside}"),
            "keep the old store until the new one has proven itself",
        ),
        (format!("mv {new} {place}"), ""),
        (
            format!("chown -R --reference={aside} {place}"),
            "the owner as before",
        ),
        (
            format!("jetsam preflight {place}{again}"),
            "a last look before the start",
        ),
        ("systemctl start nats-server".to_owned(), ""),
        (
            "nats stream report".to_owned(),
            "messages as in the table above",
        ),
    ];
    let mut text = block(page, &lines);
    page.paragraph(
        &mut text,
        0,
        "In a cluster: stop every server that has the stream, put the same new directory on each, and remove the stream's own \
         raft group there (_js_/S-R*, not _meta_). Put on one server alone, the copies diverge.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{self, Fake};
    use crate::testing::run;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/data/jetstream"), "/data/jetstream");
        assert_eq!(quoted("/data/$G/it's"), "'/data/$G/it'\\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_old_directory_goes_where_no_server_looks() {
        let of = |shape, path: &str, name: &str| {
            let change = Move::of(shape, Path::new(path), Path::new("/rescue"), name);
            [change.old, change.aside, change.new, change.place]
                .map(|path| path.display().to_string())
        };
        assert_eq!(
            of(Shape::StoreDir, "/data", ""),
            [
                "/data/jetstream",
                "/data/jetstream-before-salvage",
                "/rescue/jetstream",
                "/data/jetstream"
            ]
        );
        assert_eq!(
            of(Shape::Account, "/data/jetstream/A", ""),
            [
                "/data/jetstream/A/streams",
                "/data/jetstream/A/streams-before-salvage",
                "/rescue/streams",
                "/data/jetstream/A/streams"
            ]
        );
        assert_eq!(
            of(Shape::Stream, "/data/jetstream/A/streams/S_old", "S"),
            [
                "/data/jetstream/A/streams/S_old",
                "/data/jetstream/A/S_old-before-salvage",
                "/rescue",
                "/data/jetstream/A/streams/S"
            ]
        );
    }

    #[test]
    fn a_new_store_is_made_beside_the_old() {
        let of = |path: &str| beside(Path::new(path)).display().to_string();
        assert_eq!(of("/data"), "/data-salvaged");
        assert_eq!(of("/data/jetstream"), "/data/jetsam-salvaged");
        assert_eq!(of("/data/jetstream/A/streams/S"), "/data/jetsam-salvaged");
        assert_eq!(of("/copy/A/streams/S"), "/copy/A/S-salvaged");
        assert_eq!(of("S"), "S-salvaged");
    }

    #[test]
    fn a_loss_leads_to_salvage_with_the_same_keys() {
        let fake = Fake {
            reports: vec![test_support::damaged()],
            ..Fake::default()
        };
        let out = run("check D --account A", &fake).out;
        assert!(
            out.contains("  jetsam salvage D --out D-salvaged --account A\n"),
            "{out}"
        );
        let clean = run("check D", &Fake::default()).out;
        assert!(!clean.contains("What to do next"), "{clean}");
    }

    #[test]
    fn a_missing_key_leads_to_the_key() {
        let fake = Fake {
            reports: vec![test_support::refused()],
            ..Fake::default()
        };
        let out = run("check D", &fake).out;
        assert!(
            out.contains("jetsam check D --config nats-server.conf"),
            "{out}"
        );
        assert!(!out.contains("jetsam salvage"), "{out}");
    }
}
