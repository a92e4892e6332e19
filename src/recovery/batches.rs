//! Atomic batches that were staged when the server stopped.
//!
//! Each lies in a store of its own below `batches/`, under a name made from the batch's. A server that knows them looks at the
//! stream's last message: where it belongs to a batch that was being stored, the rest of that batch follows. Then all of
//! them are deleted.

use super::server::Quirk;
use super::simulate::{Lookup, Simulation};
use crate::format::headers;
use crate::format::meta::StreamMeta;
use crate::format::names::hash8;
use crate::report::events::{Event, EventCode};
use crate::stream::files::StreamFiles;

const DIR: &str = "batches";

/// Tells of every staged batch.
pub fn pending(files: StreamFiles<'_>, sim: &Simulation<'_>, meta: &StreamMeta) -> Vec<Event> {
    let Ok(entries) = files.list(DIR) else {
        return Vec::new();
    };
    let staged: Vec<String> = entries
        .iter()
        .filter(|entry| entry.is_dir)
        .map(|entry| entry.name.to_string_lossy().into_owned())
        .collect();
    if staged.is_empty() {
        return Vec::new();
    }
    let server = sim.rules.server;
    let looks = server.has(Quirk::AtomicBatches) && meta.allow_atomic && meta.replicas <= 1;
    let unfinished = looks.then(|| unfinished(sim)).flatten();
    let tell = |name: String| {
        let detail = match &unfinished {
            _ if !looks => {
                "messages staged for a batch that was not committed; the server leaves them lying, none is live"
                    .to_owned()
            }
            Some((dir, seq)) if *dir == name => {
                format!("the batch was being stored, up to its message {seq}; the server stores the rest")
            }
            _ => {
                "messages staged for a batch that was not committed; the server drops them, none was live"
                    .to_owned()
            }
        };
        Event::new(EventCode::BatchPending, detail).file(format!("{DIR}/{name}"))
    };
    staged.into_iter().map(tell).collect()
}

/// The batch that the stream's last message leaves open, by the name of its directory, and how far it got.
fn unfinished(sim: &Simulation<'_>) -> Option<(String, u64)> {
    // Reading may walk a block anew, which is not recovery's doing.
    let mut reader = sim.reading_copy();
    let seq = reader.totals.last.seq;
    let at = reader.select_block(seq)?;
    let Ok(Lookup::Found(loaded, record)) = reader.fetch(at, seq) else {
        return None;
    };
    let (block, _) = record.headers_and_body(&loaded.content).ok()?;
    let batch = headers::find(block, headers::BATCH_ID).filter(|id| !id.is_empty())?;
    let commit = headers::find(block, headers::BATCH_COMMIT).unwrap_or_default();
    let number = headers::find(block, headers::BATCH_SEQUENCE)?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    commit.is_empty().then(|| (hash8(batch), number))
}
