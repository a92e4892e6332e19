//! `jetsam preflight`: what a server would do when it starts.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jetsam::preflight::{Forecast, PreflightOptions, Reading, Start, Surroundings};
use jetsam::report::ServerVersion;
use jetsam::report::events::{Event, Severity};
use jetsam::salvage::hit::Hit;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::details::{self, Details, Heading, Tense};
use crate::engine::{Found, Shape, StreamDir};
use crate::ledger::Counts;
use crate::page::Page;
use crate::resolve::Command;
use crate::session::{self, Session, Told};
use crate::signals::INTERRUPTED;
use crate::surroundings::{self, Configured};
use crate::{hit, json, ledger, next, table, units};

/// What only this verb is asked.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The server that will start.
    pub server: ServerVersion,
    /// How long a start probe waits.
    pub probe: Option<Duration>,
    /// The configuration it starts with.
    pub configured: Configured,
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    let found = match session.worker.engine.find_streams(&command.path) {
        // Nothing is assumed of a server that does not start.
        _ if matches!(query.configured, Configured::Faulty(_)) => Found {
            shape: Shape::StoreDir,
            streams: Vec::new(),
            events: Vec::new(),
        },
        Ok(found) => found,
        Err(error) => return session::failed(session, command, None, &error),
    };
    session::note_living(session, &command.path);
    if query.server.is_beyond_known() {
        session.console.remark(&format!(
            "server {} is newer than any known of its line; it is taken to behave like the newest of them",
            query.server
        ));
    }
    let passed_over = found.events.clone();
    let streams = session::note_passed_over(&mut session.console, found);
    let began = Instant::now();
    let around = Arc::new(
        query
            .configured
            .surroundings(&command.options, query.server, &streams),
    );
    let (forecasts, interrupted) = ask(session, command, query, &around, &streams);
    let hits: Vec<Vec<Hit>> = forecasts
        .iter()
        .zip(&streams)
        .map(|(forecast, stream)| {
            let ledger = forecast.ledger.as_ref();
            session.worker.hits(command, stream, ledger)
        })
        .collect();
    let whole = Whole::of(&forecasts, query, &around);
    let exit = if interrupted { INTERRUPTED } else { whole.exit };
    if command.json {
        as_json(
            session,
            command,
            query,
            (&forecasts, &hits),
            &whole,
            passed_over.iter().chain(around.events()),
            exit,
        )?;
    } else {
        let mut heading = format!(
            "Foretold the start of server {} on {} under {} in {}",
            query.server,
            units::streams(forecasts.len()),
            units::printable(&command.path.to_string_lossy()),
            units::duration(began.elapsed())
        );
        for line in surroundings::remarks(&around) {
            heading.push('\n');
            heading.push_str(&line);
        }
        let page = session.console.page(command.show);
        let text = text((&forecasts, &hits), &whole, query, command, heading, &page);
        session.console.out.write_all(text.as_bytes())?;
        session.console.out.flush()?;
    }
    if interrupted {
        session
            .console
            .remark("interrupted; the remaining streams were not looked at");
    }
    Ok(exit)
}

fn ask(
    session: &Session<'_, '_>,
    command: &Command,
    query: &Query,
    around: &Arc<Surroundings>,
    streams: &[StreamDir],
) -> (Vec<Forecast>, bool) {
    let mut forecasts = Vec::with_capacity(streams.len());
    for stream in streams {
        let preflight = PreflightOptions {
            server: query.server,
            probe: query.probe,
            speed: None,
            surroundings: Some(Arc::clone(around)),
            quick: false,
        };
        forecasts.push(session.worker.forecast(stream, &command.options, preflight));
        if session.worker.gate.interrupted() {
            return (forecasts, true);
        }
    }
    (forecasts, false)
}

/// What the streams come to together.
struct Whole {
    /// The stream that takes the server down, if one does.
    down: Option<String>,
    /// Why the server does not start, where its configuration keeps it from it.
    refused: Option<String>,
    /// What is taken for granted without a configuration.
    assumed: Option<String>,
    lost: u64,
    /// What the ledgers come to.
    counts: Counts,
    /// Streams start side by side on the lines that do, one after the other on the others.
    start_seconds: f64,
    /// Between how many seconds that is expected to be.
    range: (f64, f64),
    fits_probe: Option<bool>,
    exit: u8,
}

impl Whole {
    fn of(forecasts: &[Forecast], query: &Query, around: &Surroundings) -> Self {
        let down = forecasts
            .iter()
            .find(|forecast| forecast.start == Start::ServerDown);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let together = |seconds: fn(&Forecast) -> f64| {
            let each = || forecasts.iter().map(seconds);
            let sum: f64 = each().sum();
            if query.server.starts_streams_side_by_side() {
                each().fold(0.0, f64::max).max(sum / cores)
            } else {
                sum
            }
        };
        let start_seconds = together(|forecast| forecast.start_seconds);
        let range = (
            together(|forecast| forecast.start_seconds_range.0),
            together(|forecast| forecast.start_seconds_range.1),
        );
        let fits_probe = query.probe.map(|probe| range.1 <= probe.as_secs_f64());
        let mut exit = forecasts.iter().map(Forecast::exit_code).max().unwrap_or(0);
        if fits_probe == Some(false) {
            exit = exit.max(BEYOND_PROBE);
        }
        let refusal = around.events().iter();
        let refusal = refusal
            .filter(|event| event.severity == Severity::Error)
            .map(surroundings::line);
        let refused = refusal.take(usize::from(!around.starts())).next();
        if refused.is_some() {
            exit = exit.max(NO_START);
        }
        Whole {
            refused,
            assumed: surroundings::assumptions(around),
            down: down.map(|forecast| forecast.name.clone()),
            lost: forecasts.iter().map(|forecast| forecast.lost).sum(),
            counts: forecasts
                .iter()
                .filter_map(|forecast| forecast.ledger.as_ref())
                .map(Counts::of)
                .fold(Counts::default(), Counts::plus),
            start_seconds,
            range,
            fits_probe,
            exit,
        }
    }

    /// The verdict, one line without its end.
    fn line(&self, forecasts: &[Forecast], query: &Query) -> String {
        let count = |start: Start| {
            forecasts
                .iter()
                .filter(|forecast| forecast.start == start)
                .count() as u64
        };
        if let Some(cause) = &self.refused {
            return format!("server {} does not start: {cause}", query.server);
        }
        let mut harms = Vec::new();
        if let Some(name) = &self.down {
            harms.push(format!(
                "stream {} takes the whole server down",
                units::printable(name)
            ));
        }
        for (start, what) in [
            (Start::StreamDeleted, "deleted"),
            (Start::StreamSkipped, "left out"),
        ] {
            match count(start) {
                0 => {}
                1 => harms.push(format!("1 stream is {what}")),
                n => harms.push(format!("{} streams are {what}", units::count(n))),
            }
        }
        if forecasts
            .iter()
            .any(|forecast| forecast.read == Reading::ServerDown)
        {
            harms.push("reading takes the server down".into());
        }
        match self.lost {
            0 => {}
            1 => harms.push("1 message is lost".into()),
            n => harms.push(format!("{} messages are lost", units::count(n))),
        }
        match self.counts.lost() {
            0 => {}
            1 => harms.push("1 message was lost before".into()),
            n => harms.push(format!("{} messages were lost before", units::count(n))),
        }
        let takes = takes(self.range);
        if self.fits_probe == Some(false) {
            let perhaps = match query.probe {
                Some(probe) if self.range.0 <= probe.as_secs_f64() => "perhaps longer",
                _ => "longer",
            };
            harms.push(format!(
                "the start takes {takes} on an idle machine, {perhaps} than the probe waits"
            ));
        }
        if harms.is_empty() {
            let mended = if self.exit == 0 {
                ""
            } else {
                ", something is mended"
            };
            return format!(
                "server {} starts in {takes} on an idle machine, {}{mended}",
                query.server,
                self.counts.outcome()
            );
        }
        format!(
            "do not start server {} on this: {}",
            query.server,
            harms.join("; ")
        )
    }
}

/// Exit code where the start would outlast the probe and nothing is lost.
const BEYOND_PROBE: u8 = 2;
/// Exit code where the configuration keeps the server from starting.
const NO_START: u8 = 4;

/// Between how many seconds something is expected to take, in words.
pub fn takes((least, most): (f64, f64)) -> String {
    let text = |seconds: f64| units::duration(Duration::from_secs_f64(seconds.max(0.0)));
    format!("{} to {}", text(least), text(most))
}

/// Whether a forecast needs no words.
pub fn is_silent(forecast: &Forecast) -> bool {
    let ledger = forecast.ledger.as_ref();
    forecast.exit_code() == 0
        && !ledger.is_some_and(ledger::says_something)
        && !forecast.events.iter().any(details::is_worth_telling)
}

fn text(
    (forecasts, hits): (&[Forecast], &[Vec<Hit>]),
    whole: &Whole,
    query: &Query,
    command: &Command,
    heading: String,
    page: &Page,
) -> String {
    let mut told = Told {
        heading,
        verdict: whole.line(forecasts, query),
        exit: whole.exit,
        ..Told::default()
    };
    if !page.show.quiet {
        told.table = table::forecasts(forecasts, page);
        let mut details = Details::new(page);
        for (forecast, hits) in forecasts.iter().zip(hits) {
            told.details
                .push_str(&details_of(forecast, hits, &mut details, page));
        }
        if whole.exit == 4 {
            told.next = next::after_forecast(command, page);
        }
    }
    told.text(page)
}

fn details_of(forecast: &Forecast, hits: &[Hit], details: &mut Details, page: &Page) -> String {
    if is_silent(forecast) && !page.show.verbose {
        return String::new();
    }
    let mut text = String::new();
    match &forecast.ledger {
        Some(ledger) => ledger::tell(&mut text, ledger, page),
        None => {
            let expired = units::count(forecast.expired);
            if forecast.expired > 0 {
                let line = format!("removed by age or limits: {expired} messages");
                page.hanging(&mut text, 2, 4, &line);
            }
        }
    }
    hit::tell(&mut text, hits, page);
    if forecast.lost > 0 {
        let spans = details::spans(&forecast.lost_seqs);
        let proven = match forecast.lost_proven {
            n if n == forecast.lost => ", all of which verify now".to_owned(),
            n => format!(", {} of which verify now", units::count(n)),
        };
        let line = format!("lost by the start: sequences {spans}{proven}");
        page.hanging(&mut text, 2, 4, &line);
    }
    for (names, fate) in [
        (&forecast.consumers_lost, "consumers deleted"),
        (&forecast.consumers_disabled, "consumers out of service"),
    ] {
        if !names.is_empty() {
            let line = format!("{fate}: {}", units::printable(&names.join(", ")));
            page.hanging(&mut text, 2, 4, &line);
        }
    }
    text.push_str(&details.told(&forecast.events, &forecast.actions, Tense::Planned));
    if text.is_empty() {
        return text;
    }
    let heading = Heading {
        account: forecast.account.as_deref(),
        name: &forecast.name,
        dir: &forecast.dir,
    };
    heading.line(page) + &text
}

fn as_json<'e>(
    session: &mut Session<'_, '_>,
    command: &Command,
    query: &Query,
    (forecasts, hits): (&[Forecast], &[Vec<Hit>]),
    whole: &Whole,
    events: impl Iterator<Item = &'e Event>,
    exit: u8,
) -> io::Result<()> {
    let mut document = json::Document::begin(session.console.out, &command.path, None)?;
    for (forecast, hits) in forecasts.iter().zip(hits) {
        document.stream(&Json { forecast, hits })?;
    }
    let server = ServerJson {
        version: query.server.to_string(),
        start: match (&whole.refused, &whole.down) {
            (Some(_), _) => "refused",
            (None, Some(_)) => "server-down",
            (None, None) => "ok",
        },
        because: whole.refused.as_deref().or(whole.down.as_deref()),
        assumed: whole.assumed.as_deref(),
        lost: whole.lost,
        start_seconds: whole.start_seconds,
        start_seconds_range: whole.range,
        fits_probe: whole.fits_probe,
        events: events.map(json::event).collect(),
    };
    document.end_with("server", &server, exit)?;
    if exit > 0 {
        let verdict = whole.line(forecasts, query);
        let _ = writeln!(session.console.err, "jetsam: {verdict}");
    }
    Ok(())
}

/// What the start comes to for the whole server.
#[derive(serde::Serialize)]
struct ServerJson<'a> {
    version: String,
    start: &'static str,
    because: Option<&'a str>,
    /// What is taken for granted without a configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    assumed: Option<&'a str>,
    lost: u64,
    start_seconds: f64,
    start_seconds_range: (f64, f64),
    fits_probe: Option<bool>,
    events: Vec<json::EventJson<'a>>,
}

struct Json<'a> {
    forecast: &'a Forecast,
    hits: &'a [Hit],
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let forecast = self.forecast;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("account", &forecast.account)?;
        map.serialize_entry("name", &forecast.name)?;
        map.serialize_entry("dir", &forecast.dir)?;
        map.serialize_entry("forecast", &ForecastJson::of(forecast))?;
        map.serialize_entry("state", &forecast.state.as_ref().map(json::StateJson))?;
        if let Some(ledger) = &forecast.ledger {
            map.serialize_entry("ledger", &json::LedgerJson(ledger))?;
        }
        if !self.hits.is_empty() {
            map.serialize_entry("hit", &json::List(self.hits, hit::json))?;
        }
        map.serialize_entry(
            "consumers",
            &json::List(&forecast.consumers, json::consumer),
        )?;
        map.serialize_entry("events", &json::List(&forecast.events, json::event))?;
        map.serialize_entry("actions", &json::List(&forecast.actions, json::action))?;
        map.end()
    }
}

#[derive(serde::Serialize)]
struct ForecastJson<'a> {
    server: String,
    start: &'static str,
    read: &'static str,
    fast_path: bool,
    messages: u64,
    lost: u64,
    lost_seqs: &'a [(u64, u64)],
    start_seconds: f64,
    start_seconds_range: (f64, f64),
    lost_proven: u64,
    lost_with_consumers: u64,
    released: u64,
    expired: u64,
    unreadable: u64,
    fits_probe: Option<bool>,
    consumers_lost: &'a [String],
    consumers_disabled: &'a [String],
}

impl<'a> ForecastJson<'a> {
    fn of(forecast: &'a Forecast) -> Self {
        ForecastJson {
            server: forecast.server.to_string(),
            start: forecast.start.as_str(),
            read: forecast.read.as_str(),
            fast_path: forecast.fast_path,
            messages: forecast.messages,
            lost: forecast.lost,
            lost_seqs: &forecast.lost_seqs,
            start_seconds: forecast.start_seconds,
            start_seconds_range: forecast.start_seconds_range,
            lost_proven: forecast.lost_proven,
            lost_with_consumers: forecast.lost_with_consumers.len(),
            released: forecast.released,
            expired: forecast.expired,
            unreadable: forecast.unreadable,
            fits_probe: forecast.fits_probe,
            consumers_lost: &forecast.consumers_lost,
            consumers_disabled: &forecast.consumers_disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{self, Fake};
    use crate::testing::{Ran, run};

    fn fake(forecasts: Vec<Forecast>) -> Fake {
        Fake {
            forecasts,
            ..Fake::default()
        }
    }

    fn taking(name: &str, seconds: f64) -> Forecast {
        Forecast {
            start_seconds: seconds,
            start_seconds_range: (seconds * 0.6, seconds * 1.6),
            ..test_support::starts(name)
        }
    }

    fn deleted() -> Forecast {
        Forecast {
            start: Start::StreamDeleted,
            fast_path: false,
            messages: 0,
            lost: 1_000,
            lost_seqs: vec![(1, 600), (602, 1_001)],
            lost_proven: 999,
            ..test_support::starts("ORDERS")
        }
    }

    #[test]
    fn a_clean_store_may_start() {
        let Ran { exit, out, err } =
            run("preflight D", &fake(vec![test_support::starts("ORDERS")]));
        assert_eq!((exit, err.as_str()), (0, ""));
        assert!(out.starts_with("Foretold the start of server 2.15.3 on 1 stream under D in "));
        assert!(
            out.ends_with(
                "server 2.15.3 starts in 300ms to 800ms on an idle machine, nothing lost\n"
            ),
            "{out}"
        );
    }

    #[test]
    fn a_lost_stream_stops_the_gate() {
        let both = fake(vec![test_support::starts("GOOD"), deleted()]);
        let Ran { exit, out, .. } = run("preflight D --server 2.14.5", &both);
        assert_eq!(exit, 4);
        assert!(
            out.contains("lost by the start: sequences 1-600, 602-1,001, 999 of which verify now")
        );
        assert!(out.contains(
            "\ndo not start server 2.14.5 on this: 1 stream is deleted; 1,000 messages are lost\n"
        ));
        assert!(
            out.contains("\n  jetsam salvage D --out D-salvaged\n"),
            "{out}"
        );
    }

    #[test]
    fn one_stream_takes_the_server_down() {
        let down = Forecast {
            start: Start::ServerDown,
            messages: 0,
            ..test_support::starts("BAD")
        };
        let Ran { exit, out, err } = run(
            "preflight --json D",
            &fake(vec![test_support::starts("GOOD"), down]),
        );
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(exit, 4);
        assert_eq!(document["server"]["start"], "server-down");
        assert_eq!(document["server"]["because"], "BAD");
        assert_eq!(document["streams"][0]["forecast"]["start"], "ok");
        assert_eq!(document["streams"][1]["forecast"]["start"], "server-down");
        assert!(
            err.contains("stream BAD takes the whole server down"),
            "{err}"
        );
    }

    #[test]
    fn a_start_that_outlasts_the_probe_has_its_own_exit_code() {
        let slow = fake(vec![taking("BIG", 1_000.0)]);
        assert_eq!(run("preflight D --probe 27m", &slow).exit, 0);
        for (line, verdict) in [
            (
                "preflight D --probe 15m",
                "10m0s to 26m40s on an idle machine, perhaps longer than the probe waits",
            ),
            (
                "preflight D --probe 9m",
                "10m0s to 26m40s on an idle machine, longer than the probe waits",
            ),
        ] {
            let Ran { exit, out, .. } = run(line, &slow);
            assert_eq!(exit, 2);
            assert!(out.contains(verdict), "{out}");
        }
    }

    #[test]
    fn several_streams_start_side_by_side_only_on_newer_servers() {
        let slow = |name| taking(name, 600.0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let many = fake((0..cores).map(|_| slow("S")).collect());
        assert_eq!(run("preflight D --probe 17m", &many).exit, 0);
        let old = run("preflight D --probe 17m --server 2.10", &many).exit;
        assert_eq!(old, if cores > 1 { 2 } else { 0 });
    }

    #[test]
    fn what_cannot_be_understood_is_wrong_usage() {
        use crate::args::{Invocation, Usage, parse};
        for (line, want) in [
            ("preflight D --server 2.8", "nothing is known of server 2.8"),
            ("preflight D --server new", "no server version"),
            ("preflight D --probe soon", "--probe takes a duration"),
            ("preflight D --probe 0s", "no time to wait"),
        ] {
            let args = line.split(' ').map(std::ffi::OsString::from);
            let Ok(Invocation::Work(raw)) = parse(args) else {
                panic!("{line}")
            };
            let Err(Usage(message)) = crate::resolve::preflight::query(&raw) else {
                panic!("{line} is understood")
            };
            assert!(message.contains(want), "{message}");
        }
    }
}
