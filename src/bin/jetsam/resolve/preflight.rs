//! What `preflight` is asked.

use std::time::Duration;

use jetsam::format::duration::parse_duration;
use jetsam::report::ServerVersion;

use crate::args::{RawArgs, Usage};
use crate::preflight::Query;
use crate::surroundings::Configured;

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    let probe = match raw.get("probe") {
        None => None,
        Some(text) => Some(probe(&text.to_string_lossy())?),
    };
    Ok(Query {
        server: server(raw)?,
        probe,
        configured: Configured::Not,
    })
}

/// The server a verb is asked about.
pub fn server(raw: &RawArgs) -> Result<ServerVersion, Usage> {
    match raw.get("server") {
        None => Ok(ServerVersion::default()),
        Some(text) => text
            .to_string_lossy()
            .parse()
            .map_err(|error| Usage(format!("--server: {error}"))),
    }
}

fn probe(text: &str) -> Result<Duration, Usage> {
    let nanoseconds = parse_duration(text)
        .map_err(|error| Usage(format!("--probe takes a duration such as 15m: {error}")))?;
    match u64::try_from(nanoseconds) {
        Ok(positive) if positive > 0 => Ok(Duration::from_nanos(positive)),
        _ => Err(Usage(format!("--probe: {text} is no time to wait"))),
    }
}
