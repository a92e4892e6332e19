//! What `salvage` and `merge` are both asked.

use std::fs;
use std::path::PathBuf;

use jetsam::format::meta::StreamMeta;
use jetsam::salvage::Uncertain;

use crate::args::{RawArgs, Usage};

/// `--out`, which is needed.
pub fn directory(raw: &RawArgs) -> Result<PathBuf, Usage> {
    match raw.get("out") {
        Some(out) if !out.is_empty() => Ok(PathBuf::from(out)),
        _ => Err(Usage(format!(
            "`jetsam {}` needs --out DIR, the directory for the new store",
            raw.verb.name()
        ))),
    }
}

/// `--uncertain`.
pub fn uncertain(raw: &RawArgs) -> Result<Uncertain, Usage> {
    match raw.get("uncertain").map(|value| value.to_str()) {
        None | Some(Some("keep")) => Ok(Uncertain::Keep),
        Some(Some("drop")) => Ok(Uncertain::Drop),
        Some(_) => Err(Usage("--uncertain is keep or drop".into())),
    }
}

/// `--stream-info`, as often as it is given.
pub fn configurations(raw: &RawArgs) -> Result<Vec<StreamMeta>, Usage> {
    let read = |(_, file): (&str, &std::ffi::OsStr)| {
        let told = |why: String| Usage(format!("--stream-info {}: {why}", file.display()));
        let json = fs::read(file).map_err(|error| told(error.to_string()))?;
        StreamMeta::from_info(&json).map_err(|error| told(error.to_string()))
    };
    raw.all(&["stream-info"]).map(read).collect()
}

/// `--replicas`: one, unless something else is asked for.
pub fn replicas(raw: &RawArgs) -> Result<i64, Usage> {
    const MOST: i64 = 5;
    let Some(value) = raw.get("replicas") else {
        return Ok(1);
    };
    let count = value.to_str().and_then(|text| text.parse::<i64>().ok());
    count
        .filter(|count| (1..=MOST).contains(count))
        .ok_or_else(|| Usage(format!("--replicas is a number from 1 to {MOST}")))
}
