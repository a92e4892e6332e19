//! Whether a server takes a store that salvage or merge has written.
//!
//! The judgement sits here rather than in the writing: this room may name salvage, and salvage must not name this one. So
//! whoever embeds the library gets it with one call more, and the command makes it for every stream before it calls the new
//! store done.

use super::{Forecast, PreflightOptions, Start, forecast};
use crate::env::ReadFiles;
use crate::report::ServerVersion;
use crate::report::Watch;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::{Outcome, StreamReport};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Foretells the start of `server` on the new stream `made`, and adds to `report` where it would not bring the stream up as
/// it is there. `made` has the name the stream goes by, wherever it lies for now; `options` hold the keys of that server.
/// The blocks are not read again: whoever wrote them has verified them.
pub fn vouch(
    fs: &dyn ReadFiles,
    made: &StreamDir,
    options: &Options,
    server: ServerVersion,
    report: &mut StreamReport,
    watch: &Watch<'_>,
) -> Forecast {
    let preflight = PreflightOptions {
        server,
        quick: true,
        ..PreflightOptions::default()
    };
    let foretold = forecast(fs, made, options, &preflight, watch);
    let held = report.state.as_ref().map_or(0, |state| state.messages);
    let events = verdict(&foretold, held);
    if events
        .iter()
        .any(|event| event.code == EventCode::NewStoreUnfit)
    {
        report.outcome = Outcome::Damaged;
    }
    report.events.extend(events);
    foretold
}

/// What is to be said of a new store that holds so many messages.
fn verdict(foretold: &Forecast, held: u64) -> Vec<Event> {
    let mut events = Vec::new();
    let server = foretold.server;
    let mut unfit = |detail: String| events.push(Event::new(EventCode::NewStoreUnfit, detail));
    let fate = match foretold.start {
        Start::Ok => None,
        Start::StreamSkipped => Some("would start without it"),
        Start::StreamDeleted => Some("would delete it"),
        Start::ServerDown => Some("would go down over it, at every start"),
    };
    if let Some(fate) = fate {
        unfit(format!("server {server} {fate}: {}", cause(foretold)));
        return events;
    }
    if foretold.lost > 0 {
        unfit(format!(
            "server {server} would lose {} messages of it",
            foretold.lost
        ));
    }
    for (names, what) in [
        (&foretold.consumers_lost, "would delete the consumers"),
        (
            &foretold.consumers_disabled,
            "would not bring up the consumers",
        ),
    ] {
        if !names.is_empty() {
            unfit(format!("server {server} {what} {}", names.join(", ")));
        }
    }
    let removed = held.saturating_sub(foretold.messages);
    if removed > 0 && foretold.lost == 0 {
        let detail = format!("server {server} removes {removed} of its {held} messages");
        events.push(Event::new(EventCode::NewStoreTrimmed, detail));
    }
    events
}

/// The gravest thing a forecast says, in words.
fn cause(foretold: &Forecast) -> String {
    let worst = |severity: Severity| {
        let mut events = foretold.events.iter();
        events.find(|event| {
            event.severity == severity && event.code != EventCode::ServerWouldSkipStream
        })
    };
    let told = worst(Severity::Error)
        .or_else(|| worst(Severity::Warn))
        .or(foretold.events.last());
    match told {
        Some(event) => format!("{} ({})", event.detail, event.code),
        None => "nothing says why".to_owned(),
    }
}
