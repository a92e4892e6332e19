//! Consumers that would come to a block and never get past it.
//!
//! Under a sound `index.db` the server opens a stream whose compressed blocks it has not read. A bad record of a plain block it
//! later steps over; a block that does not decompress it does not: the look-up of the next message fails, the consumer's
//! position stays, and the next request fails in the same place.

use super::simulate::Simulation;
use crate::format::names::BlockFile;
use crate::report::events::{Event, EventCode};
use crate::report::stream::ConsumerReport;

/// A block that does not decompress and counts messages all the same.
pub(super) struct Stop {
    file: String,
    last_seq: u64,
}

/// The blocks of an opened stream that no consumer gets past.
pub(super) fn stops(sim: &Simulation<'_>) -> Vec<Stop> {
    let failed = |event: &&Event| event.code == EventCode::BlockDecompressFailed;
    let mut files: Vec<&str> = sim
        .events
        .iter()
        .filter(failed)
        .filter_map(|event| event.file.as_deref())
        .collect();
    files.sort_unstable();
    let stop = |number: u32, last_seq: u64| {
        let file = BlockFile::Block.path(number);
        let found = files.binary_search(&file.as_str()).is_ok();
        found.then_some(Stop { file, last_seq })
    };
    let counting = sim.blocks.iter().filter(|block| block.message_count > 0);
    counting
        .filter_map(|block| stop(block.number, block.last.seq))
        .collect()
}

/// One event for each of them, with the consumers that have not passed it.
pub(super) fn events(stops: &[Stop], consumers: &[ConsumerReport]) -> Vec<Event> {
    let event = |stop: &Stop| {
        let behind = |consumer: &&ConsumerReport| {
            consumer.outcome == "ok" && consumer.delivered.1 < stop.last_seq
        };
        let names: Vec<&str> = consumers
            .iter()
            .filter(behind)
            .map(|consumer| consumer.name.as_str())
            .collect();
        let who = match names.as_slice() {
            [] => "no consumer of now; any that is made to start in it or before it".to_owned(),
            names => names.join(", "),
        };
        Event::new(EventCode::ConsumerWouldStick, who).file(&stop.file)
    };
    stops.iter().map(event).collect()
}
