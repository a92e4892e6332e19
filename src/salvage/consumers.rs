//! Consumers for the new store.
//!
//! A consumer whose files are sound is taken over. One whose state claims more than the stream has is cut back to the
//! stream's end: what it would otherwise skip are messages still to come. One whose state cannot be read keeps its
//! configuration and loses its state, so that the server starts it by its own policy: messages may be delivered again.
//! One whose configuration cannot be read cannot be kept.

use super::evidence::{ConsumerEvidence, ConsumerFile};
use crate::format::consumer::{ConsumerState, ConsumerVersion};
use crate::recovery::events::{Event, EventCode};

/// What is written for a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerPlan {
    /// Its files as they are, where the new store is encrypted like the old.
    Whole {
        /// The metadata.
        json: Vec<u8>,
        /// The plaintext of `o.dat`, where there is one.
        state: Option<Vec<u8>>,
    },
    /// Other content than the source has.
    Mended {
        /// The metadata.
        json: Vec<u8>,
        /// The plaintext of `o.dat`, where there is one.
        state: Option<Vec<u8>>,
    },
    /// Nothing.
    Dropped,
}

/// Decides on one consumer of a stream that ends at `last_seq`.
#[must_use]
pub fn plan(found: &ConsumerEvidence, last_seq: u64) -> (ConsumerPlan, Vec<Event>) {
    let mut events = found.events.clone();
    let ConsumerFile::Plain(json) = &found.meta else {
        let why = match &found.meta {
            ConsumerFile::Closed(why) => why.as_str(),
            _ => "it is not there",
        };
        let detail = format!("{why}; without its configuration the consumer is left out");
        let path = format!("obs/{}/meta.inf", found.name);
        events.push(Event::new(EventCode::ConsumerMetaUnreadable, detail).file(path));
        return (ConsumerPlan::Dropped, events);
    };
    let json = json.clone();
    let path = format!("obs/{}/o.dat", found.name);
    let mut mended = |detail: String| {
        events.push(Event::new(EventCode::ConsumerStateMended, detail).file(&path));
    };
    let bytes = match &found.file {
        ConsumerFile::Missing => None,
        ConsumerFile::Plain(bytes) => Some(bytes.clone()),
        ConsumerFile::Closed(why) => {
            mended(format!(
                "{why}; the consumer keeps its configuration, and delivery starts over by its policy"
            ));
            return (ConsumerPlan::Mended { json, state: None }, events);
        }
    };
    let ahead = found
        .state
        .as_ref()
        .filter(|state| state.delivered.stream > last_seq || state.ack_floor.stream > last_seq);
    if let Some(state) = ahead {
        mended(format!(
            "delivered up to {}, the stream ends at {last_seq}; cut back to that",
            state.delivered.stream
        ));
        let cut = cut_back(state, last_seq);
        let base = cut
            .pending
            .values()
            .map(|pending| pending.timestamp_ns)
            .max();
        let base_s = base.unwrap_or(0) / 1_000_000_000;
        let state = Some(cut.encode(ConsumerVersion::V2, base_s));
        return (ConsumerPlan::Mended { json, state }, events);
    }
    let state = bytes;
    if found.is_whole() {
        (ConsumerPlan::Whole { json, state }, events)
    } else {
        (ConsumerPlan::Mended { json, state }, events)
    }
}

fn cut_back(state: &ConsumerState, last_seq: u64) -> ConsumerState {
    let mut cut = state.clone();
    cut.delivered.stream = cut.delivered.stream.min(last_seq);
    cut.ack_floor.stream = cut.ack_floor.stream.min(last_seq);
    cut.pending.retain(|seq, _| *seq <= last_seq);
    cut.redelivered.retain(|seq, _| *seq <= last_seq);
    cut
}
