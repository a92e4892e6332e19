//! A stream's surroundings in its forecast.

use std::collections::BTreeSet;

use super::interest::{Released, released};
use super::inventory::{holders, settings_of};
use super::start_time;
use super::surroundings::Surroundings;
use super::{Forecast, PreflightOptions, Reading, Start};
use crate::env::ReadFiles;
use crate::format::seqset::SeqSet;
use crate::report::Watch;
use crate::report::events::{Event, EventCode};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// What keeps the stream away before its store is opened: nothing happens to its files then.
pub(super) fn kept_away(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    around: &Surroundings,
) -> Option<Event> {
    around.before_its_files(stream).or_else(|| {
        let meta = settings_of(fs, stream, options)?;
        around.before_its_store(stream, &meta)
    })
}

/// The forecast of a stream that is left out as it lies.
pub(super) fn left_out(stream: &StreamDir, preflight: &PreflightOptions, cause: Event) -> Forecast {
    Forecast {
        account: stream.account.clone(),
        name: stream.name.clone(),
        dir: stream.dir.display().to_string(),
        server: preflight.server,
        start: Start::StreamSkipped,
        read: Reading::Ok,
        fast_path: false,
        messages: 0,
        lost: 0,
        lost_seqs: Vec::new(),
        lost_proven: 0,
        lost_with_consumers: SeqSet::new(),
        released: 0,
        expired: 0,
        unreadable: 0,
        state: None,
        ledger: None,
        start_seconds: 0.0,
        start_seconds_range: start_time::range(0.0),
        fits_probe: preflight.probe.map(|_| true),
        consumers: Vec::new(),
        consumers_lost: Vec::new(),
        consumers_disabled: Vec::new(),
        events: vec![cause],
        actions: Vec::new(),
        needs_help: false,
    }
}

/// What becomes of a stream whose consumers come back.
pub(super) struct Back {
    /// Consumers that a limit of the configuration leaves out.
    pub limited: Vec<String>,
    /// What goes at once.
    pub released: Released,
    /// The causes.
    pub events: Vec<Event>,
}

/// Brings the consumers in `up` back, as far as the configuration allows, to a stream with the messages `live`.
pub(super) fn coming_back(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    around: &Surroundings,
    live: &SeqSet,
    mut up: BTreeSet<String>,
    watch: &Watch<'_>,
) -> Back {
    let mut limited = Vec::new();
    let mut events = Vec::new();
    if around.are_known() {
        for holder in holders(fs, stream, options) {
            if let Some(meta) = holder.meta.filter(|_| up.contains(&holder.name))
                && let Some(cause) = around.before_a_consumer(stream, &holder.name, &meta)
            {
                up.remove(&holder.name);
                limited.push(holder.name);
                events.push(cause);
            }
        }
    }
    let beyond = settings_of(fs, stream, options)
        .and_then(|meta| around.most_consumers(stream, &meta, options.server));
    if let Some((most, cause)) = beyond
        && up.len() > most
    {
        events.push(cause);
        let left_out: Vec<String> = up.iter().skip(most).cloned().collect();
        up.retain(|name| !left_out.contains(name));
        limited.extend(left_out);
    }
    let released = released(fs, stream, options, live, &up, watch);
    if let Some(first) = released.owed.first() {
        let detail = format!(
            "{} messages that a consumer which does not come up has still to see go as soon as the server has started",
            released.owed.len()
        );
        events.push(Event::new(EventCode::MessagesReleased, detail).seq(first));
    }
    Back {
        limited,
        released,
        events,
    }
}
