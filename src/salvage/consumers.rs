//! Consumers for the new store.
//!
//! A consumer whose files are sound is taken over, under the name its checksum proves. One whose state claims more than the
//! stream has is cut back to the stream's end: what it would otherwise skip are messages still to come. One whose state is
//! damaged behind its first numbers keeps its ack floor, and what was delivered since is delivered again.
//!
//! One whose position is lost keeps its configuration, and the server starts it by its own policy: messages may be delivered
//! again. In a stream whose messages go once they are acknowledged that will not do, since a policy may begin behind
//! messages that nobody has acknowledged, and the server would remove them: there it starts before the first message.
//!
//! One whose configuration cannot be read is named with its position, so that it can be made anew. In an interest stream a
//! server that starts without it removes at once what only it still wanted; there it is made anew with every message and
//! explicit acknowledgement, which holds at least what the old one held. In a work queue a consumer that takes every message
//! stands in the way of any other, so that is done only where there is no other; nothing is removed for want of one.

use super::error::SalvageError;
use super::plan::NewStoreKeys;
use super::survey::Survey;
use crate::format::consumer::{ConsumerState, ConsumerVersion, Pending};
use crate::format::meta::{ConsumerMeta, Retention, StreamMeta};
use crate::format::names::{CONSUMER_STATE, CONSUMERS, META, is_valid_asset_name};
use crate::format::seqset::SeqSet;
use crate::report::events::{Event, EventCode};
use crate::report::stream::{ConsumerReport, Position};
use crate::stream::consumers::{FileContent, ReadConsumer, Standing};
use crate::stream::writer::StoreWriter;

/// Deliveries that are put back as waiting where nothing tells which were acknowledged.
const REDELIVERED_MAX: u64 = 1 << 16;

/// What a server that takes a consumer says of it.
const OK: &str = "ok";
const LEFT_OUT: &str = "left-out";

/// What of the new stream decides on its consumers.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// When its messages go.
    pub retention: Retention,
    /// Its last sequence.
    pub last_seq: u64,
    /// The messages it has.
    pub live: &'a SeqSet,
    /// The most replicas a consumer may ask for, where that is limited.
    pub replicas: Option<i64>,
    /// How many consumers there are.
    pub consumer_count: usize,
}

impl<'a> Stream<'a> {
    /// The stream that `meta` makes of a survey, holding `live` up to `last_seq`.
    pub fn of(found: &Survey, meta: &StreamMeta, live: &'a SeqSet, last_seq: u64) -> Self {
        Stream {
            retention: meta.retention,
            last_seq,
            live,
            replicas: Some(meta.replicas.max(1)),
            consumer_count: found.consumers.len(),
        }
    }

    fn removes_acknowledged(&self) -> bool {
        self.retention != Retention::Limits
    }
}

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

/// The decision on one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is written.
    pub plan: ConsumerPlan,
    /// What was seen and decided.
    pub events: Vec<Event>,
    /// The consumer as it will be; with the outcome `left-out` where it will not.
    pub report: ConsumerReport,
}

/// Decides on one consumer.
#[must_use]
pub fn plan(found: &ReadConsumer, stream: &Stream<'_>) -> Planned {
    let mut planner = Planner {
        found,
        stream,
        events: found.events.clone(),
        mended: false,
    };
    let meta = match planner.configuration() {
        Some(meta) => meta,
        None => return planner.dropped(),
    };
    let (bytes, state) = planner.state(&meta);
    let json = match &found.meta {
        FileContent::Plain(json) if meta.raw() == &parsed_raw(json) => json.clone(),
        _ => meta.encode(),
    };
    let whole = found.is_whole() && !planner.mended;
    let plan = match whole {
        true => ConsumerPlan::Whole { json, state: bytes },
        false => ConsumerPlan::Mended { json, state: bytes },
    };
    Planned {
        plan,
        report: report(&found.name, OK, &state),
        events: planner.events,
    }
}

fn parsed_raw(json: &[u8]) -> serde_json::Map<String, serde_json::Value> {
    ConsumerMeta::parse(json).map_or_else(|_| serde_json::Map::new(), |meta| meta.raw().clone())
}

fn report(name: &str, outcome: &'static str, state: &ConsumerState) -> ConsumerReport {
    ConsumerReport {
        name: name.to_owned(),
        outcome,
        delivered: (state.delivered.consumer, state.delivered.stream),
        ack_floor: (state.ack_floor.consumer, state.ack_floor.stream),
        pending_count: state.pending.len() as u64,
        redelivered_count: state.redelivered.len() as u64,
        held: None,
    }
}

struct Planner<'a> {
    found: &'a ReadConsumer,
    stream: &'a Stream<'a>,
    events: Vec<Event>,
    mended: bool,
}

impl Planner<'_> {
    fn path(&self, file: &str) -> String {
        format!("obs/{}/{file}", self.found.dir)
    }

    fn note(&mut self, code: EventCode, file: &str, detail: String) {
        let event = Event::new(code, detail).file(self.path(file));
        self.events.push(event);
        self.mended = true;
    }

    /// The configuration of the new consumer; `None` where there will be none.
    fn configuration(&mut self) -> Option<ConsumerMeta> {
        let found = self.found;
        if let Some(other) = &found.superseded_by {
            let detail = format!(
                "obs/{other} holds the consumer {} as well, and got further; this one is left out, {}",
                found.name,
                self.position_in_words()
            );
            self.note(EventCode::ConsumerRenamed, "", detail);
            return None;
        }
        if let Some(meta) = found.configuration() {
            let most = self.stream.replicas.unwrap_or(i64::MAX);
            if meta.replicas <= most {
                return Some(meta);
            }
            let detail = format!(
                "the consumer's num_replicas {} becomes {most}",
                meta.replicas
            );
            self.note(EventCode::ReplicasChanged, META, detail);
            return Some(meta.with_replicas(most));
        }
        let why = match &found.meta {
            FileContent::Closed(why) => why.clone(),
            _ => "it is not there".to_owned(),
        };
        let position = self.position_in_words();
        let safe = match self.stream.retention {
            Retention::Limits => false,
            Retention::Interest => true,
            Retention::WorkQueue => self.stream.consumer_count == 1,
        };
        if safe
            && is_valid_asset_name(found.name.as_bytes())
            && let Some(meta) = ConsumerMeta::explicit(&found.name)
        {
            let detail = format!(
                "{why}; the consumer {} is made anew without a filter, {position}",
                found.name
            );
            self.note(EventCode::ConsumerRebuilt, META, detail);
            return Some(meta);
        }
        let mut detail = format!(
            "{why}; without its configuration the consumer {} is left out, {position}",
            found.name
        );
        if let Some((floor, _)) = found.position() {
            let next = floor.stream.saturating_add(1);
            detail.push_str(&format!(": make it anew to begin at sequence {next}"));
        }
        self.note(EventCode::ConsumerLeftOut, META, detail);
        None
    }

    fn position_in_words(&self) -> String {
        match self.found.position() {
            Some((floor, delivered)) => format!(
                "acknowledged up to {} and delivered up to {}",
                floor.stream, delivered.stream
            ),
            None => "its position is lost".to_owned(),
        }
    }

    fn dropped(self) -> Planned {
        let held = self.found.position().map(|(floor, delivered)| Position {
            ack_floor: (floor.consumer, floor.stream),
            delivered: (delivered.consumer, delivered.stream),
        });
        Planned {
            plan: ConsumerPlan::Dropped,
            report: ConsumerReport {
                held,
                ..report(&self.found.dir, LEFT_OUT, &ConsumerState::default())
            },
            events: self.events,
        }
    }

    /// The bytes of the new `o.dat`, where there will be one, and what they say.
    fn state(&mut self, meta: &ConsumerMeta) -> (Option<Vec<u8>>, ConsumerState) {
        let found = self.found;
        let state = match (&found.standing, &found.state) {
            (Standing::Whole, Some(state)) => state.clone(),
            (Standing::Cut, Some(state)) => self.deliver_again(state, meta),
            _ => return self.start_over(meta),
        };
        let last_seq = self.stream.last_seq;
        if state.delivered.stream > last_seq || state.ack_floor.stream > last_seq {
            let detail = format!(
                "delivered up to {}, the stream ends at {last_seq}; cut back to that",
                state.delivered.stream
            );
            self.note(EventCode::ConsumerStateMended, CONSUMER_STATE, detail);
            let cut = cut_back(&state, last_seq);
            return (Some(encoded(&cut)), cut);
        }
        match (&found.file, found.standing) {
            (FileContent::Plain(bytes), Standing::Whole) => (Some(bytes.clone()), state),
            _ => (Some(encoded(&state)), state),
        }
    }

    /// The position is lost.
    fn start_over(&mut self, meta: &ConsumerMeta) -> (Option<Vec<u8>>, ConsumerState) {
        let fresh = ConsumerState::default();
        if meta.mem_storage {
            return (None, fresh);
        }
        let (code, why) = match &self.found.file {
            FileContent::Missing => (EventCode::ConsumerStateMissing, "the file is not there"),
            FileContent::Plain(_) => (EventCode::ConsumerStateEmpty, "the file is empty"),
            FileContent::Closed(why) => (EventCode::ConsumerStateMended, why.as_str()),
        };
        if self.stream.removes_acknowledged() {
            let detail = format!("{why}; the consumer begins before the first message");
            self.note(code, CONSUMER_STATE, detail);
            return (Some(encoded(&fresh)), fresh);
        }
        let detail = format!(
            "{why}; the consumer keeps its configuration, and delivery starts over by its policy"
        );
        self.note(code, CONSUMER_STATE, detail);
        (None, fresh)
    }

    /// What was delivered and lies above the floor is to be delivered again, since nothing tells what of it was
    /// acknowledged. A server takes a message between the two that does not wait for acknowledged.
    fn deliver_again(&mut self, remains: &ConsumerState, meta: &ConsumerMeta) -> ConsumerState {
        let (floor, delivered) = (remains.ack_floor, remains.delivered);
        let width = delivered.stream - floor.stream;
        let mut state = remains.clone();
        state.redelivered.clear();
        // With a filter, or after redeliveries, it cannot be told which messages these were.
        let plain = meta.filter_subjects.is_empty()
            && delivered.consumer - floor.consumer == width
            && width <= REDELIVERED_MAX;
        if !plain {
            state.pending.clear();
            state.delivered = floor;
            let detail = format!(
                "damaged behind its first numbers: everything up to {} is acknowledged, and delivery goes on from there \
                 (it had reached {})",
                floor.stream, delivered.stream
            );
            self.note(EventCode::ConsumerStateMended, CONSUMER_STATE, detail);
            return state;
        }
        for seq in floor.stream.saturating_add(1)..=delivered.stream {
            if self.stream.live.contains(seq) {
                state.pending.entry(seq).or_insert(Pending {
                    consumer_sequence: floor.consumer + (seq - floor.stream),
                    timestamp_ns: 0,
                });
            }
        }
        state
            .pending
            .retain(|seq, _| self.stream.live.contains(*seq));
        let detail = format!(
            "damaged behind its first numbers: everything up to {} is acknowledged, and what was delivered from there up \
             to {} is delivered again",
            floor.stream, delivered.stream
        );
        self.note(EventCode::ConsumerStateMended, CONSUMER_STATE, detail);
        state
    }
}

fn encoded(state: &ConsumerState) -> Vec<u8> {
    let times = state.pending.values().map(|pending| pending.timestamp_ns);
    let base_s = times.max().unwrap_or(0) / 1_000_000_000;
    state.encode(ConsumerVersion::V2, base_s)
}

fn cut_back(state: &ConsumerState, last_seq: u64) -> ConsumerState {
    let mut cut = state.clone();
    cut.delivered.stream = cut.delivered.stream.min(last_seq);
    cut.ack_floor.stream = cut.ack_floor.stream.min(last_seq);
    cut.pending.retain(|seq, _| *seq <= last_seq);
    cut.redelivered.retain(|seq, _| *seq <= last_seq);
    cut
}

/// What became of a stream's consumers.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) events: Vec<Event>,
    /// Those that are not in the new store.
    pub(super) left_out: Vec<ConsumerReport>,
}

/// Writes the consumers of a survey into a store encrypted as `target` says.
pub(super) fn write(
    found: &Survey,
    stream: &Stream<'_>,
    target: NewStoreKeys,
    writer: &StoreWriter<'_>,
) -> Result<Written, SalvageError> {
    write_all(found, stream, writer, |consumer| {
        match (&consumer.key, target) {
            (None, NewStoreKeys::Plain) => true,
            (Some(opened), NewStoreKeys::Key(key, cipher)) => {
                opened.key == key && opened.cipher == cipher
            }
            _ => false,
        }
    })
}

/// The same, each anew, whatever key its files were under.
pub(super) fn write_anew(
    found: &Survey,
    stream: &Stream<'_>,
    writer: &StoreWriter<'_>,
) -> Result<Written, SalvageError> {
    write_all(found, stream, writer, |_| false)
}

/// `same_key` tells of which consumers the files may be taken over as they are.
fn write_all(
    found: &Survey,
    stream: &Stream<'_>,
    writer: &StoreWriter<'_>,
    same_key: impl Fn(&ReadConsumer) -> bool,
) -> Result<Written, SalvageError> {
    let mut written = Written::default();
    for consumer in &found.consumers {
        let planned = plan(consumer, stream);
        written.events.extend(planned.events);
        match planned.plan {
            ConsumerPlan::Dropped => written.left_out.push(planned.report),
            ConsumerPlan::Whole { .. } if same_key(consumer) => {
                let from = found.stream.dir.join(CONSUMERS).join(&consumer.dir);
                writer.consumer_verbatim(&from, &consumer.name)?;
            }
            ConsumerPlan::Whole { json, state } | ConsumerPlan::Mended { json, state } => {
                writer.consumer(&consumer.name, &json, state.as_deref())?;
            }
        }
    }
    Ok(written)
}
