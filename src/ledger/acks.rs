//! Acknowledgements as witnesses: what every consumer of a stream is done with.

use crate::format::consumer::ConsumerState;
use crate::format::seqset::SeqSet;
use crate::format::sets::{intersection, missing_in};

/// What is known of one consumer.
#[derive(Debug, Clone, Copy)]
pub struct Consumer<'a> {
    /// Its state; `None` where it cannot be read.
    pub state: Option<&'a ConsumerState>,
    /// Whether what was delivered and is not pending was acknowledged: not where a delivery can be given up.
    pub never_gives_up: bool,
}

/// What all of `consumers` are done with, up to `last`. Nothing where there are none, or where the state of one is not known.
#[must_use]
pub fn acknowledged(consumers: &[Consumer<'_>], last: u64) -> SeqSet {
    let mut done: Option<SeqSet> = None;
    for consumer in consumers {
        let Some(state) = consumer.state else {
            return SeqSet::new();
        };
        // What has no checksum, and speaks of what was never stored, is not believed.
        if state.ack_floor.stream > last || state.delivered.stream > last {
            return SeqSet::new();
        }
        let by_this = done_by(state, consumer.never_gives_up);
        done = Some(match done {
            Some(done) => intersection(&done, &by_this),
            None => by_this,
        });
    }
    done.unwrap_or_default()
}

fn done_by(state: &ConsumerState, never_gives_up: bool) -> SeqSet {
    let mut done = SeqSet::new();
    let floor = state.ack_floor.stream;
    if floor > 0 {
        done.insert_range(1..=floor);
    }
    let delivered = state.delivered.stream;
    if never_gives_up && delivered > floor {
        let pending: SeqSet = state.pending.keys().copied().collect();
        done.union_with(&missing_in(floor + 1..=delivered, &pending));
    }
    done
}
