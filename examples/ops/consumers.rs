//! Operations on consumers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::consumer::{ConsumerState, Pending, SequencePair};
use jetsam::format::meta::ConsumerMeta;
use jetsam::store::Level;
use jetsam::store::consumers::{Consumer, ConsumerError, ConsumerPlace};
use jetsam::stream::options::Keys;
use serde_json::{Value, json};

use crate::answer::{Kind, Outcome, Refusal, refuse};
use crate::request::{ConsumerNumbers, Pair, Request};

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// The stream whose consumers they are.
pub struct Place {
    pub dir: PathBuf,
    pub stream: String,
    pub keys: Keys,
    pub account: Vec<u8>,
    pub level: Level,
}

/// The consumers that are open.
pub struct Consumers {
    place: Place,
    opened: BTreeMap<String, Consumer>,
}

impl From<ConsumerError> for Refusal {
    fn from(error: ConsumerError) -> Self {
        let kind = match &error {
            ConsumerError::OldUpdate { .. } => Kind::OldUpdate,
            ConsumerError::BadState(_) => Kind::BadState,
            ConsumerError::NoAckPolicy => Kind::NoAckPolicy,
            ConsumerError::NotPending { .. } => Kind::NotFound,
            ConsumerError::Closed => Kind::Closed,
            ConsumerError::BadName { .. } | ConsumerError::InMemory => Kind::BadRequest,
            _ => Kind::Other,
        };
        Refusal {
            kind,
            why: error.to_string(),
        }
    }
}

fn ours(pair: SequencePair) -> Pair {
    Pair {
        consumer_seq: pair.consumer,
        stream_seq: pair.stream,
    }
}

fn theirs(pair: Pair) -> SequencePair {
    SequencePair {
        consumer: pair.consumer_seq,
        stream: pair.stream_seq,
    }
}

fn answer(state: &ConsumerState) -> Outcome {
    let pending = state.pending.iter().map(|(seq, pending)| {
        let seconds = pending.timestamp_ns.div_euclid(NANOSECONDS_PER_SECOND);
        (*seq, pending.consumer_sequence, seconds)
    });
    let numbers = ConsumerNumbers {
        delivered: ours(state.delivered),
        ack_floor: ours(state.ack_floor),
        pending: pending.collect(),
        redelivered: state
            .redelivered
            .iter()
            .map(|(seq, count)| (*seq, *count))
            .collect(),
    };
    serde_json::to_value(numbers).or_else(|error| refuse(Kind::Other, error.to_string()))
}

fn state_of(numbers: &ConsumerNumbers) -> ConsumerState {
    ConsumerState {
        delivered: theirs(numbers.delivered),
        ack_floor: theirs(numbers.ack_floor),
        pending: numbers
            .pending
            .iter()
            .map(|(seq, consumer_sequence, seconds)| {
                let pending = Pending {
                    consumer_sequence: *consumer_sequence,
                    timestamp_ns: seconds.saturating_mul(NANOSECONDS_PER_SECOND),
                };
                (*seq, pending)
            })
            .collect(),
        redelivered: numbers.redelivered.iter().copied().collect(),
    }
}

impl Consumers {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            opened: BTreeMap::new(),
        }
    }

    /// How many are open.
    pub fn count(&self) -> u64 {
        self.opened.len() as u64
    }

    /// Writes all.
    pub fn flush_all(&mut self, now_ns: i64) -> Result<(), Refusal> {
        for consumer in self.opened.values_mut() {
            consumer.flush(self.place.level, now_ns)?;
        }
        Ok(())
    }

    /// Writes and closes all.
    pub fn close_all(&mut self, now_ns: i64) -> Result<(), Refusal> {
        for (_, mut consumer) in std::mem::take(&mut self.opened) {
            consumer.close(self.place.level, now_ns)?;
        }
        Ok(())
    }

    fn open(&mut self, name: &str, config: &Value, now_ns: i64) -> Outcome {
        if self.opened.contains_key(name) {
            return refuse(Kind::BadRequest, format!("{name:?} is open"));
        }
        let config = ConsumerMeta::parse(config.to_string().as_bytes())
            .or_else(|error| refuse(Kind::BadRequest, error.to_string()))?;
        let place = ConsumerPlace {
            fs: Arc::new(OsFileSystem),
            entropy: Arc::new(OsEntropy),
            stream_dir: &self.place.dir,
            stream_name: self.place.stream.as_bytes(),
            keys: self.place.keys.ring(&self.place.account),
        };
        let consumer = Consumer::open(&place, name, Some(&config), now_ns)?;
        let state = answer(consumer.state())?;
        self.opened.insert(name.to_owned(), consumer);
        Ok(state)
    }

    fn get(&mut self, name: &str) -> Result<&mut Consumer, Refusal> {
        match self.opened.get_mut(name) {
            Some(consumer) => Ok(consumer),
            None => refuse(Kind::BadRequest, format!("{name:?} is not open")),
        }
    }

    fn take(&mut self, name: &str) -> Result<Consumer, Refusal> {
        match self.opened.remove(name) {
            Some(consumer) => Ok(consumer),
            None => refuse(Kind::BadRequest, format!("{name:?} is not open")),
        }
    }

    /// Does what a request about a consumer asks for, or gives the request back.
    pub fn perform(
        &mut self,
        request: Request,
        now_ns: i64,
    ) -> Result<Result<Value, Request>, Refusal> {
        let pair = |consumer: u64, stream: u64| SequencePair { consumer, stream };
        match request {
            Request::ConsumerOpen { name, config } => {
                return self.open(&name, &config, now_ns).map(Ok);
            }
            Request::ConsumerDelivered {
                name,
                dseq,
                sseq,
                dc,
                ts,
            } => self.get(&name)?.deliver(pair(dseq, sseq), dc, ts)?,
            Request::ConsumerAck { name, dseq, sseq } => self.get(&name)?.ack(pair(dseq, sseq))?,
            Request::ConsumerUpdate { name, state } => {
                self.get(&name)?.update(state_of(&state))?;
            }
            Request::ConsumerSetStarting { name, sseq } => self.get(&name)?.set_starting(sseq)?,
            Request::ConsumerUpdateStarting { name, sseq } => {
                self.get(&name)?.update_starting(sseq)?;
            }
            Request::ConsumerReset { name, sseq } => self.get(&name)?.reset(sseq)?,
            Request::ConsumerTrim { name, sseq } => self.get(&name)?.trim(sseq)?,
            Request::ConsumerState { name } => {
                return answer(self.get(&name)?.state()).map(Ok);
            }
            Request::ConsumerClose { name } => {
                let mut consumer = self.take(&name)?;
                consumer.close(self.place.level, now_ns)?;
            }
            Request::ConsumerDelete { name } => self.take(&name)?.delete()?,
            request => return Ok(Err(request)),
        }
        Ok(Ok(json!({})))
    }
}
