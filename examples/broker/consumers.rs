//! Consumers: what comes next, to whom, and what became of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jetsam::format::consumer::SequencePair;
use jetsam::format::meta::{AckPolicy, ConsumerMeta, DeliverPolicy, is_valid_subject};
use jetsam::store::consumers::{self, ConsumerError};
use jetsam::store::{Level, Reader, StoredMessage};
use serde_json::{Value, json};

use crate::clients::{CONGESTED_BYTES, Message, Router};
use crate::streams::{Answer, Stream, error, strange, unless};

/// Messages a consumer delivers before the others have their turn.
const TURN: usize = 256;
/// How old the state on disk may grow.
const FLUSH_NS: i64 = 250_000_000;
const PULLS_MAX: usize = 512;
const STRANGE: &str = "deliver_group backoff rate_limit_bps priority_groups pause_until direct";

/// A request for messages. A push consumer has one that never ends.
struct Pull {
    reply: String,
    wish: Value,
    left: u64,
    since_ns: i64,
    heard_ns: i64,
}

pub struct Consumer {
    stream: String,
    file: consumers::Consumer,
    flushed_ns: i64,
    next_seq: u64,
    /// The last messages of subjects, which come before `next_seq`.
    lasts: BTreeSet<u64>,
    /// When what waits for its acknowledgement is delivered again.
    due_ns: BTreeMap<u64, i64>,
    pulls: VecDeque<Pull>,
    /// When somebody listened last.
    heard_ns: i64,
}

impl Consumer {
    /// Opens one that is there, or makes it by `new`.
    pub fn open(
        stream: &Stream,
        name: &str,
        new: Option<&ConsumerMeta>,
        now_ns: i64,
    ) -> Answer<Self> {
        let opened = consumers::Consumer::open(&stream.place(), name, new, now_ns);
        let file = opened.map_err(|fault| error(10012, fault))?;
        strange(file.config().raw(), 10012, STRANGE)?;
        let mut consumer = Consumer {
            stream: stream.config.name.clone(),
            flushed_ns: now_ns,
            next_seq: file.state().delivered.stream.saturating_add(1),
            lasts: BTreeSet::new(),
            due_ns: BTreeMap::new(),
            pulls: VecDeque::new(),
            heard_ns: now_ns,
            file,
        };
        if !consumer.file.has_state() {
            consumer.begin(&stream.reader);
        }
        let wait_ns = consumer.ack_wait_ns();
        for (seq, pending) in &consumer.file.state().pending {
            let due_ns = pending.timestamp_ns.saturating_add(wait_ns);
            consumer.due_ns.insert(*seq, due_ns);
        }
        let target = consumer.file.config().deliver_subject.clone();
        if !target.is_empty() {
            let wish = Value::Object(consumer.file.config().raw().clone());
            consumer.ask(&target, wish, u64::MAX, now_ns);
        }
        Ok(consumer)
    }

    /// Goes to where the configuration has it begin.
    fn begin(&mut self, reader: &Reader) {
        let (first, last) = (reader.summary().first.seq, reader.summary().last.seq);
        let meta = self.file.config();
        self.next_seq = match meta.deliver_policy {
            DeliverPolicy::New => last + 1,
            DeliverPolicy::Last => {
                let newest = reader.previous(&filters(meta), last);
                newest.map_or(last + 1, |newest| newest.seq)
            }
            DeliverPolicy::LastPerSubject => {
                let lasts = reader.last_of_each(&filters(meta), last, None);
                self.lasts = lasts.unwrap_or_default().into_iter().collect();
                last + 1
            }
            _ => meta.opt_start_seq.max(first).max(1),
        };
        let start = self.lasts.first().copied().unwrap_or(self.next_seq);
        // A sequence that no file could keep lies behind all messages, too.
        let _ = self.file.set_starting((start - 1).min(i64::MAX as u64));
    }

    fn ack_wait_ns(&self) -> i64 {
        number(self.file.config(), "ack_wait").max(1_000_000)
    }

    /// What comes next, and for the how many-eth time.
    fn next(&mut self, reader: &Reader, now_ns: i64) -> Option<(StoredMessage, u64)> {
        let most = match self.file.config().max_deliver {
            most @ 1.. => most as u64,
            _ => u64::MAX,
        };
        while let Some((&seq, _)) = self.due_ns.iter().find(|(_, due_ns)| **due_ns <= now_ns) {
            let state = self.file.state();
            let again = state
                .redelivered
                .get(&seq)
                .map_or(0, |again| (*again).min(1 << 62));
            if let Some(consumer) = state.pending.get(&seq).map(|it| it.consumer_sequence) {
                match reader.get(seq) {
                    Ok(message) if again < most - 1 => return Some((message, again + 2)),
                    // Removed, or delivered as often as it may be: nobody waits for it.
                    _ => _ = self.file.ack(pair(consumer, seq)),
                }
            }
            self.due_ns.remove(&seq);
        }
        let most = number(self.file.config(), "max_ack_pending");
        if most > 0 && self.file.state().pending.len() as i64 >= most {
            return None;
        }
        let last = self.lasts.iter().find_map(|seq| reader.get(*seq).ok());
        let next = || {
            reader
                .next(&filters(self.file.config()), self.next_seq)
                .ok()
        };
        last.or_else(next).map(|message| (message, 1))
    }

    /// Takes a request for messages.
    pub fn pull(&mut self, message: &Message, router: &mut Router) {
        let wish: Value = serde_json::from_slice(&message.body).unwrap_or_default();
        let batch = wish.get("batch").unwrap_or(&wish).as_u64();
        let left = batch.unwrap_or(u64::from(wish.is_object() || message.body.is_empty()));
        if left == 0 || wish["max_bytes"].as_i64() > Some(0) || self.pulls.len() >= PULLS_MAX {
            return router.send(&message.reply, "400 Bad Request", "");
        }
        self.ask(&message.reply, wish, left, router.now_ns);
    }

    fn ask(&mut self, reply: &str, wish: Value, left: u64, now_ns: i64) {
        self.pulls.push_back(Pull {
            reply: reply.to_owned(),
            wish,
            left,
            since_ns: now_ns,
            heard_ns: now_ns,
        });
    }

    /// Takes an acknowledgement: `words` is what follows stream and consumer in its subject.
    pub fn acknowledge(&mut self, words: &[&str], message: &Message, router: &mut Router) {
        let number = |at: usize| {
            words
                .get(at)
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        let acked = pair(number(2), number(1));
        let (word, rest) = message.body.split_at(message.body.len().min(4));
        let wish: Value = serde_json::from_slice(rest).unwrap_or_default();
        let wait_ns = match word {
            b"-NAK" => wish["delay"].as_i64().unwrap_or(0),
            b"+WPI" => self.ack_wait_ns(),
            _ => 0,
        };
        if matches!(word, b"" | b"+ACK" | b"+TER") {
            let acked = self.file.ack(acked).map(|()| acked.stream);
            acked.map(|seq| self.due_ns.remove(&seq)).ok();
        } else if let Some(due_ns) = self.due_ns.get_mut(&acked.stream) {
            *due_ns = router.now_ns.saturating_add(wait_ns);
        }
        // Who asks for an answer wants to know that it is safe: written by the next commit.
        if !message.reply.is_empty() {
            self.flushed_ns = 0;
            router.send(&message.reply, "", "");
        }
    }

    /// Delivers what there is to those who want it; whether there may be more.
    pub fn serve(&mut self, reader: &Reader, router: &mut Router) -> bool {
        self.tell(router, false);
        let mut left = None;
        for _ in 0..TURN {
            let pull = self.pulls.front();
            let waiting = pull.and_then(|pull| router.waiting(&pull.reply));
            if waiting.is_none_or(|bytes| bytes > CONGESTED_BYTES) {
                return false;
            }
            let Some((message, count)) = self.next(reader, router.now_ns) else {
                self.tell(router, true);
                return false;
            };
            let left = left.get_or_insert_with(|| self.pending_count(reader));
            *left = left.saturating_sub(u64::from(count == 1));
            self.deliver(&message, count, *left, router);
        }
        true
    }

    fn deliver(&mut self, found: &StoredMessage, count: u64, left: u64, router: &mut Router) {
        let (seq, time) = (found.seq, found.timestamp_ns);
        let consumer = self.file.state().delivered.consumer.saturating_add(1);
        let _ = self.file.deliver(pair(consumer, seq), count, router.now_ns);
        if self.file.config().ack_policy != AckPolicy::None {
            let due_ns = router.now_ns.saturating_add(self.ack_wait_ns());
            self.due_ns.insert(seq, due_ns);
        }
        if count == 1 {
            self.lasts = self.lasts.split_off(&(seq + 1));
            self.next_seq = self.next_seq.max(seq + 1);
        }
        let (stream, name) = (&self.stream, self.file.name());
        let reply = format!("$JS.ACK.{stream}.{name}.{count}.{seq}.{consumer}.{time}.{left}");
        let subject = String::from_utf8_lossy(found.subject());
        let message = Message::new(&subject, &reply, found.headers(), found.body());
        let Some(mut pull) = self.pulls.pop_front() else {
            return;
        };
        router.deliver(&pull.reply, &message);
        (pull.left, pull.heard_ns) = (pull.left - 1, router.now_ns);
        self.pulls.extend(Some(pull).filter(|pull| pull.left > 0));
    }

    /// Ends requests that are over, and lets all others know that the consumer lives; `is_idle`
    /// where there is nothing to deliver.
    fn tell(&mut self, router: &mut Router, is_idle: bool) {
        let (now_ns, state) = (router.now_ns, self.file.state().delivered);
        for mut pull in std::mem::take(&mut self.pulls) {
            let is_due = |wish: &str, since_ns: i64| {
                let wait_ns = pull.wish[wish].as_i64().filter(|wait_ns| *wait_ns > 0);
                wait_ns.is_some_and(|wait_ns| now_ns - since_ns >= wait_ns)
            };
            let is_short = pull.wish["no_wait"] == true && pull.wish["expires"].is_null();
            let status = match is_due("expires", pull.since_ns) {
                true => "408 Request Timeout",
                false if is_short && is_idle => "404 No Messages",
                false if is_due("idle_heartbeat", pull.heard_ns) => "100 Idle Heartbeat",
                false => "",
            };
            if !status.is_empty() {
                pull.heard_ns = now_ns;
                let (consumer, stream, left) = (state.consumer, state.stream, pull.left);
                let told = format!(
                    "{status}\r\nNats-Last-Consumer: {consumer}\r\nNats-Last-Stream: {stream}\r\n\
                     Nats-Pending-Messages: {left}\r\nNats-Pending-Bytes: 0"
                );
                router.send(&pull.reply, &told, "");
            }
            let is_heard = router.waiting(&pull.reply).is_some();
            self.heard_ns = if is_heard { now_ns } else { self.heard_ns };
            let goes_on = is_heard && !status.starts_with('4');
            if goes_on || pull.reply == self.file.config().deliver_subject {
                self.pulls.push_back(pull);
            }
        }
    }

    /// Whether it is gone: without a durable name it is where nobody listens for a while.
    pub fn is_over(&mut self, now_ns: i64) -> bool {
        let wait_ns = number(self.file.config(), "inactive_threshold").max(5_000_000_000);
        let is_durable = !self.file.config().durable.is_empty();
        !is_durable && now_ns - self.heard_ns > wait_ns && self.file.delete().is_ok()
    }

    /// Writes the state where what is kept is old.
    pub fn commit(&mut self, now_ns: i64) -> Result<(), ConsumerError> {
        if now_ns - self.flushed_ns < FLUSH_NS {
            return Ok(());
        }
        self.flushed_ns = now_ns;
        self.file.flush(Level::Synced, now_ns)
    }

    pub fn close(&mut self, now_ns: i64) -> Result<(), ConsumerError> {
        self.file.close(Level::Synced, now_ns)
    }

    pub fn is_as(&self, meta: &ConsumerMeta) -> bool {
        let own = |meta: &ConsumerMeta| meta.with_identity("", "").encode();
        own(self.file.config()) == own(meta)
    }

    /// How many messages are still to come.
    fn pending_count(&self, reader: &Reader) -> u64 {
        let next = reader.count(&filters(self.file.config()), self.next_seq);
        self.lasts.len() as u64 + next.unwrap_or(0)
    }

    pub fn info(&self, reader: &Reader) -> Value {
        let (state, meta) = (self.file.state(), self.file.config());
        let told =
            |pair: SequencePair| json!({"consumer_seq": pair.consumer, "stream_seq": pair.stream});
        let mut config = meta.raw().clone();
        config.retain(|name, _| name != "Name" && name != "Created");
        json!({
            "stream_name": self.stream, "name": self.file.name(), "created": meta.created.text,
            "config": config, "delivered": told(state.delivered), "ack_floor": told(state.ack_floor),
            "num_ack_pending": state.pending.len(), "num_redelivered": state.redelivered.len(),
            "num_waiting": self.pulls.len(), "num_pending": self.pending_count(reader),
        })
    }
}

fn pair(consumer: u64, stream: u64) -> SequencePair {
    SequencePair { consumer, stream }
}

fn number(meta: &ConsumerMeta, name: &str) -> i64 {
    meta.raw().get(name).and_then(Value::as_i64).unwrap_or(0)
}

fn filters(meta: &ConsumerMeta) -> Vec<&[u8]> {
    meta.filter_subjects.iter().map(String::as_bytes).collect()
}

/// The configuration a client wishes for, with what it does not say. All consumers are in files.
pub fn settings(wish: &Value, name: &str) -> Answer<ConsumerMeta> {
    let mut fields = wish.as_object().cloned().unwrap_or_default();
    fields.remove("mem_storage");
    fields.insert("name".to_owned(), json!(name));
    let acks = !matches!(wish["ack_policy"].as_str(), None | Some("none"));
    let defaults = [("ack_wait", 30_000_000_000_i64), ("max_ack_pending", 1000)];
    for (field, value) in defaults.iter().filter(|_| acks) {
        if wish[field].as_i64().unwrap_or(0) == 0 {
            fields.insert((*field).to_owned(), json!(value));
        }
    }
    let meta = ConsumerMeta::parse(Value::Object(fields).to_string().as_bytes());
    let meta = meta.map_err(|fault| error(10025, fault))?;
    for filter in &meta.filter_subjects {
        unless(!is_valid_subject(filter), 10093, "filter is not valid")?;
    }
    let is_other = !["", name].contains(&meta.durable.as_str());
    unless(is_other, 10017, "consumer name does not match")?;
    unless(
        wish["deliver_policy"] == "by_start_time",
        10012,
        "deliver_policy",
    )?;
    strange(meta.raw(), 10012, STRANGE)?;
    Ok(meta)
}
