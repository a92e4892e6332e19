//! Consumers: what comes next, to whom, and what became of it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use jetsam::format::consumer::SequencePair;
use jetsam::format::duration::parse_rfc3339;
use jetsam::format::meta::{AckPolicy, ConsumerMeta, DeliverPolicy};
use jetsam::store::consumers::{self, AckRules, Deliveries};
use jetsam::store::{Level, ReadError, Reader, StoredMessage};
use serde_json::{Value, json};

use crate::router::Router;
use crate::streams::{ApiError, Stream, rfc3339, unless};
use crate::wire::Message;

/// Messages a consumer delivers before the others have their turn.
const TURN: usize = 256;
/// How old the state on disk may grow.
const FLUSH_NS: i64 = 250_000_000;
/// Bytes sent to a client with flow control before it has to answer.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A request for messages.
struct Pull {
    reply: String,
    left: u64,
    /// Bytes it has room for; `None` for no bound.
    bytes_left: Option<usize>,
    expires_ns: Option<i64>,
    /// Takes what is there and does not wait for more.
    is_one_shot: bool,
    has_some: bool,
    heartbeat_ns: i64,
    heard_ns: i64,
}

pub struct Consumer {
    name: String,
    stream: String,
    pub meta: ConsumerMeta,
    deliveries: Deliveries,
    /// Where the state is kept; `None` for one in memory alone.
    file: Option<consumers::Consumer>,
    kept: (u64, i64),
    next_seq: u64,
    /// The last messages of subjects, which come before `next_seq`.
    lasts: VecDeque<u64>,
    /// When what waits for its acknowledgement is delivered again.
    due: BTreeSet<(i64, u64)>,
    due_of: HashMap<u64, i64>,
    pulls: VecDeque<Pull>,
    heard_ns: i64,
    sent_ns: i64,
    unconfirmed_bytes: usize,
    stalled_on: Option<String>,
    /// Who wants to know that his acknowledgement is safe.
    asking: Vec<String>,
}

impl Consumer {
    /// Opens one that is there, or makes it by `new`.
    pub fn open(stream: &Stream, name: &str, new: Option<&ConsumerMeta>, now_ns: i64) -> Result<Self, ApiError> {
        let failed = |error: &dyn ToString| ApiError(500, 10012, error.to_string());
        let is_file = new.is_none_or(|new| !new.mem_storage && !new.durable.is_empty());
        let file = match is_file {
            true => Some(consumers::Consumer::open(&stream.place(), name, new, now_ns).map_err(|error| failed(&error))?),
            false => None,
        };
        let meta = match (&file, new) {
            (Some(file), _) => file.config().clone(),
            (None, Some(new)) => new.with_identity(name, &rfc3339(now_ns)),
            (None, None) => return Err(failed(&"no such consumer")),
        };
        let state = file.as_ref().map(|file| file.state().clone()).unwrap_or_default();
        let mut consumer = Consumer {
            name: name.to_owned(),
            stream: stream.config.name.clone(),
            deliveries: Deliveries::new(AckRules::of(&meta), state),
            meta,
            kept: (0, now_ns),
            next_seq: 0,
            lasts: VecDeque::new(),
            due: BTreeSet::new(),
            due_of: HashMap::new(),
            pulls: VecDeque::new(),
            heard_ns: now_ns,
            sent_ns: now_ns,
            unconfirmed_bytes: 0,
            stalled_on: None,
            asking: Vec::new(),
            file,
        };
        if !consumer.file.as_ref().is_some_and(consumers::Consumer::has_state) {
            consumer.begin(&stream.reader).map_err(|error| failed(&error))?;
        }
        consumer.next_seq = consumer.next_seq.max(consumer.deliveries.state().delivered.stream.saturating_add(1));
        for (seq, pending) in consumer.deliveries.state().pending.clone() {
            let count = consumer.deliveries.state().redelivered.get(&seq).map_or(1, |more| more.saturating_add(1));
            consumer.set_due(seq, pending.timestamp_ns.saturating_add(consumer.wait_ns(count)));
        }
        Ok(consumer)
    }

    /// Where the configuration has it begin.
    fn begin(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let filters = self.filters();
        let filters: Vec<&[u8]> = filters.iter().map(Vec::as_slice).collect();
        let (first, last) = (reader.summary().first.seq.max(1), reader.summary().last.seq);
        let start = match self.meta.deliver_policy {
            DeliverPolicy::All => first,
            DeliverPolicy::New => last + 1,
            DeliverPolicy::Last => reader.previous(&filters, u64::MAX).map_or(last + 1, |message| message.seq),
            DeliverPolicy::ByStartSequence => self.meta.opt_start_seq.max(first),
            DeliverPolicy::ByStartTime => {
                let time = self.meta.raw().get("opt_start_time").and_then(Value::as_str);
                reader.seq_at(time.and_then(|time| parse_rfc3339(time).ok()).unwrap_or(0))?
            }
            DeliverPolicy::LastPerSubject => {
                self.lasts = reader.last_of_each(&filters, last, None)?.into();
                self.next_seq = last + 1;
                self.lasts.front().copied().unwrap_or(last + 1)
            }
        };
        // A sequence that no file could keep is beyond all messages, too.
        let _ = self.deliveries.set_starting(start.saturating_sub(1).min(i64::MAX as u64 - 1));
        Ok(())
    }

    fn number(&self, name: &str) -> i64 {
        self.meta.raw().get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        self.meta.raw().get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn filters(&self) -> Vec<Vec<u8>> {
        self.meta.filter_subjects.iter().map(|filter| filter.clone().into_bytes()).collect()
    }

    /// How long a delivery may go unacknowledged.
    fn wait_ns(&self, count: u64) -> i64 {
        let waits = self.meta.raw().get("backoff").and_then(Value::as_array).filter(|waits| !waits.is_empty());
        let wait = waits.and_then(|waits| waits.get((count as usize - 1).min(waits.len() - 1))?.as_i64());
        wait.unwrap_or_else(|| self.number("ack_wait")).max(1_000_000)
    }

    fn set_due(&mut self, seq: u64, due_ns: i64) {
        self.forget_due(seq);
        self.due_of.insert(seq, due_ns);
        self.due.insert((due_ns, seq));
    }

    fn forget_due(&mut self, seq: u64) {
        if let Some(due_ns) = self.due_of.remove(&seq) {
            self.due.remove(&(due_ns, seq));
        }
    }

    /// Messages that are still to come.
    fn pending_count(&self, reader: &Reader) -> u64 {
        let filters = self.filters();
        let filters: Vec<&[u8]> = filters.iter().map(Vec::as_slice).collect();
        self.lasts.len() as u64 + reader.count(&filters, self.next_seq).unwrap_or(0)
    }

    /// What comes next, and for the how many-eth time.
    fn next(&mut self, reader: &Reader, now_ns: i64) -> Option<(StoredMessage, u64)> {
        while let Some((_, seq)) = self.due.first().copied().filter(|(due_ns, _)| *due_ns <= now_ns) {
            let state = self.deliveries.state();
            let count = state.redelivered.get(&seq).map_or(2, |more| more.saturating_add(2));
            let pending = state.pending.get(&seq).copied();
            let most = self.deliveries.rules().max_deliver;
            if let (Some(pending), true) = (pending, most > 0 && count > most) {
                let given_up = SequencePair { consumer: pending.consumer_sequence, stream: seq };
                let _ = self.deliveries.deliver(given_up, count, pending.timestamp_ns);
            } else if let Some(pending) = pending {
                match reader.get(seq) {
                    Ok(message) => return Some((message, count)),
                    // It was removed: nobody waits for it any more.
                    Err(_) => _ = self.deliveries.ack(SequencePair { consumer: pending.consumer_sequence, stream: seq }),
                }
            }
            self.forget_due(seq);
        }
        let most = usize::try_from(self.number("max_ack_pending")).unwrap_or(0);
        if most > 0 && self.meta.ack_policy != AckPolicy::None && self.deliveries.state().pending.len() >= most {
            return None;
        }
        while let Some(seq) = self.lasts.front() {
            match reader.get(*seq) {
                Ok(message) => return Some((message, 1)),
                Err(_) => _ = self.lasts.pop_front(),
            }
        }
        let filters = self.filters();
        let filters: Vec<&[u8]> = filters.iter().map(Vec::as_slice).collect();
        reader.next(&filters, self.next_seq).ok().map(|message| (message, 1))
    }

    /// Takes a request for messages.
    pub fn pull(&mut self, message: &Message, now_ns: i64, router: &mut Router) {
        let text = std::str::from_utf8(&message.body).unwrap_or("?").trim();
        let wish = if text.is_empty() { json!({}) } else { serde_json::from_str(text).unwrap_or(json!("?")) };
        let number = |name: &str| wish[name].as_i64().unwrap_or(0);
        let batch = wish.as_u64().or_else(|| wish.as_object().map(|_| number("batch").max(1) as u64));
        let most = self.number("max_waiting").clamp(1, 65_536) as usize;
        let status = match batch {
            _ if !self.meta.deliver_subject.is_empty() => Some("409 Consumer is push based"),
            None => Some("400 Bad Request"),
            Some(_) if self.pulls.len() >= most => Some("409 Exceeded MaxWaiting"),
            Some(_) => None,
        };
        if let Some(status) = status {
            return router.send(&message.reply, &format!("NATS/1.0 {status}\r\n\r\n"), String::new());
        }
        let expires = number("expires");
        self.pulls.push_back(Pull {
            reply: message.reply.clone(),
            left: batch.unwrap_or(1),
            bytes_left: usize::try_from(number("max_bytes")).ok().filter(|bytes| *bytes > 0),
            expires_ns: (expires > 0).then(|| now_ns.saturating_add(expires)),
            is_one_shot: wish["no_wait"] == true,
            has_some: false,
            heartbeat_ns: number("idle_heartbeat"),
            heard_ns: now_ns,
        });
    }

    /// Takes an acknowledgement: `words` is what follows stream and consumer in its subject.
    pub fn acknowledge(&mut self, words: &[&str], message: &Message, now_ns: i64) {
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let (count, seq, consumer) = (number(0), number(1), number(2));
        let body = std::str::from_utf8(&message.body).unwrap_or("?");
        let is_waiting = self.deliveries.state().pending.contains_key(&seq);
        match body.split_ascii_whitespace().next().unwrap_or("") {
            "" | "+ACK" | "+TERM" if self.deliveries.ack(SequencePair { consumer, stream: seq }).is_ok() => self.forget_due(seq),
            "-NAK" if is_waiting => {
                let wish: Value = serde_json::from_str(body[4..].trim()).unwrap_or_default();
                self.set_due(seq, now_ns.saturating_add(wish["delay"].as_i64().unwrap_or(0)));
            }
            "+WPI" if is_waiting => self.set_due(seq, now_ns.saturating_add(self.wait_ns(count.max(1)))),
            _ => {}
        }
        if !message.reply.is_empty() {
            self.asking.push(message.reply.clone());
        }
    }

    /// The client answered to flow control.
    pub fn confirm(&mut self, subject: &str) {
        if self.stalled_on.as_deref() == Some(subject) {
            (self.stalled_on, self.unconfirmed_bytes) = (None, 0);
        }
    }

    /// Delivers what there is to those who want it; whether there may be more.
    pub fn serve(&mut self, reader: &Reader, router: &mut Router, now_ns: i64) -> bool {
        self.end_pulls(reader, router, now_ns, false);
        let mut pending = None;
        for _ in 0..TURN {
            let target = match (self.meta.deliver_subject.as_str(), self.pulls.front()) {
                ("", Some(pull)) => pull.reply.clone(),
                (subject, _) if router.is_heard(subject) && self.stalled_on.is_none() => subject.to_owned(),
                _ => break,
            };
            if !router.is_clear(&target) {
                return false;
            }
            let Some((message, count)) = self.next(reader, now_ns) else {
                self.end_pulls(reader, router, now_ns, true);
                self.beat(router, now_ns);
                return false;
            };
            let length = message.subject().len() + message.headers().len() + message.body().len();
            if let Some(pull) = self.pulls.front_mut()
                && pull.bytes_left.is_some_and(|bytes| bytes < length)
            {
                router.send(&pull.reply, "NATS/1.0 409 Message Size Exceeds MaxBytes\r\n\r\n", String::new());
                self.pulls.pop_front();
                continue;
            }
            let left = pending.get_or_insert_with(|| self.pending_count(reader));
            *left = left.saturating_sub(u64::from(count == 1));
            let left = *left;
            self.deliver(&target, &message, count, left, now_ns, router);
            self.charge(&target, length, now_ns, router);
        }
        self.beat(router, now_ns);
        pending.is_some()
    }

    fn deliver(&mut self, target: &str, message: &StoredMessage, count: u64, left: u64, now_ns: i64, router: &mut Router) {
        let consumer = self.deliveries.state().delivered.consumer.saturating_add(1);
        let (seq, time) = (message.seq, message.timestamp_ns);
        let _ = self.deliveries.deliver(SequencePair { consumer, stream: seq }, count, now_ns);
        if self.meta.ack_policy != AckPolicy::None {
            self.set_due(seq, now_ns.saturating_add(self.wait_ns(count)));
        }
        if count == 1 && self.lasts.pop_front().is_none() {
            self.next_seq = seq + 1;
        }
        let mut sent = Message {
            subject: String::from_utf8_lossy(message.subject()).into_owned(),
            reply: format!("$JS.ACK.{}.{}.{count}.{seq}.{consumer}.{time}.{left}", self.stream, self.name),
            headers: message.headers().to_vec(),
            body: message.body().to_vec(),
        };
        if self.flag("headers_only") {
            let own = sent.headers.strip_suffix(b"\r\n").unwrap_or(b"NATS/1.0\r\n");
            sent.headers = [own, format!("Nats-Msg-Size: {}\r\n\r\n", sent.body.len()).as_bytes()].concat();
            sent.body.clear();
        }
        let group = self.meta.raw().get("deliver_group").and_then(Value::as_str).unwrap_or("").to_owned();
        router.deliver(target, &sent, 0, &group);
    }

    /// Counts a delivery against the request, or against the client's window.
    fn charge(&mut self, target: &str, length: usize, now_ns: i64, router: &mut Router) {
        (self.heard_ns, self.sent_ns) = (now_ns, now_ns);
        if let Some(mut pull) = self.pulls.pop_front() {
            (pull.left, pull.has_some, pull.heard_ns) = (pull.left - 1, true, now_ns);
            pull.bytes_left = pull.bytes_left.map(|bytes| bytes - length);
            if pull.left > 0 {
                self.pulls.push_back(pull);
            }
        } else if self.flag("flow_control") {
            self.unconfirmed_bytes += length;
            if self.unconfirmed_bytes > WINDOW_BYTES {
                let reply = format!("$JS.FC.{}.{}.{}", self.stream, self.name, self.deliveries.state().delivered.consumer);
                let headers = b"NATS/1.0 100 FlowControl Request\r\n\r\n".to_vec();
                let request = Message { subject: target.to_owned(), reply: reply.clone(), headers, body: Vec::new() };
                router.deliver(target, &request, 0, "");
                self.stalled_on = Some(reply);
            }
        }
    }

    /// Ends requests that are over, and lets the others know that they are not.
    fn end_pulls(&mut self, reader: &Reader, router: &mut Router, now_ns: i64, is_all: bool) {
        let delivered = self.deliveries.state().delivered;
        for mut pull in std::mem::take(&mut self.pulls) {
            let ends_now = is_all && pull.is_one_shot && (pull.has_some || pull.expires_ns.is_none());
            let is_over = pull.expires_ns.is_some_and(|expires_ns| expires_ns <= now_ns);
            if !router.is_heard(&pull.reply) {
                continue;
            }
            self.heard_ns = now_ns;
            if ends_now || is_over {
                let status = if ends_now && !pull.has_some { "404 No Messages" } else { "408 Request Timeout" };
                let (left, bytes) = (pull.left, pull.bytes_left.unwrap_or(0));
                let told = format!("NATS/1.0 {status}\r\nNats-Pending-Messages: {left}\r\nNats-Pending-Bytes: {bytes}\r\n\r\n");
                router.send(&pull.reply, &told, String::new());
                continue;
            }
            if pull.heartbeat_ns > 0 && now_ns - pull.heard_ns >= pull.heartbeat_ns {
                pull.heard_ns = now_ns;
                router.send(&pull.reply, &heartbeat(delivered, ""), String::new());
            }
            self.pulls.push_back(pull);
        }
        let _ = reader;
    }

    /// Lets the client of a push consumer know that there is nothing.
    fn beat(&mut self, router: &mut Router, now_ns: i64) {
        let every_ns = self.number("idle_heartbeat");
        if self.meta.deliver_subject.is_empty() || !router.is_heard(&self.meta.deliver_subject) {
            return;
        }
        self.heard_ns = now_ns;
        if every_ns > 0 && now_ns - self.sent_ns >= every_ns.max(100_000_000) {
            self.sent_ns = now_ns;
            let stalled = self.stalled_on.as_ref().map(|on| format!("Nats-Consumer-Stalled: {on}\r\n"));
            let told = heartbeat(self.deliveries.state().delivered, &stalled.unwrap_or_default());
            router.send(&self.meta.deliver_subject, &told, String::new());
        }
    }

    /// Whether nobody has listened for as long as the configuration allows.
    pub fn is_abandoned(&self, now_ns: i64) -> bool {
        let threshold_ns = match (self.number("inactive_threshold"), self.meta.durable.is_empty()) {
            (0, true) => 5_000_000_000,
            (0, false) => i64::MAX,
            (threshold_ns, _) => threshold_ns,
        };
        now_ns - self.heard_ns > threshold_ns
    }

    /// Writes the state where it is old or somebody asks, and tells those.
    pub fn commit(&mut self, now_ns: i64, router: &mut Router) {
        let is_due = !self.asking.is_empty() || now_ns - self.kept.1 >= FLUSH_NS;
        if is_due && let Err(error) = self.write(now_ns) {
            // The next commit tries again.
            eprintln!("{}.{}: {error}", self.stream, self.name);
            return;
        }
        self.asking.drain(..).for_each(|reply| router.send(&reply, "", String::new()));
    }

    fn write(&mut self, now_ns: i64) -> Result<(), consumers::ConsumerError> {
        let revision = self.deliveries.revision();
        if let (Some(file), true) = (&mut self.file, revision != self.kept.0) {
            file.force_update(self.deliveries.state().clone())?;
            file.flush(Level::Synced, now_ns)?;
        }
        self.kept = (revision, now_ns);
        Ok(())
    }

    pub fn close(&mut self, now_ns: i64) -> Result<(), consumers::ConsumerError> {
        self.write(now_ns)?;
        self.file.as_mut().map_or(Ok(()), |file| file.close(Level::Synced, now_ns))
    }

    pub fn delete(&mut self) -> Result<(), ApiError> {
        let deleted = self.file.as_mut().map_or(Ok(()), consumers::Consumer::delete);
        deleted.map_err(|error| ApiError(500, 10012, error.to_string()))
    }

    pub fn update(&mut self, config: &ConsumerMeta) -> Result<(), ApiError> {
        if let Some(file) = &mut self.file {
            file.update_config(config).map_err(|error| ApiError(500, 10012, error.to_string()))?;
        }
        self.meta = config.with_identity(&self.name, &self.meta.created.text);
        self.deliveries.set_rules(AckRules::of(config));
        Ok(())
    }

    pub fn info(&self, reader: &Reader, router: &Router) -> Value {
        let state = self.deliveries.state();
        let pair = |pair: SequencePair| json!({"consumer_seq": pair.consumer, "stream_seq": pair.stream});
        let mut config = self.meta.raw().clone();
        config.retain(|name, _| name != "Name" && name != "Created");
        json!({
            "stream_name": self.stream, "name": self.name, "created": self.meta.created.text, "config": config,
            "delivered": pair(state.delivered), "ack_floor": pair(state.ack_floor), "num_ack_pending": state.pending.len(),
            "num_redelivered": state.redelivered.len(), "num_waiting": self.pulls.len(), "num_pending": self.pending_count(reader),
            "push_bound": router.is_heard(&self.meta.deliver_subject), "ts": rfc3339(crate::now_ns()),
        })
    }
}

fn heartbeat(delivered: SequencePair, more: &str) -> String {
    let SequencePair { consumer, stream } = delivered;
    format!("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {consumer}\r\nNats-Last-Stream: {stream}\r\n{more}\r\n")
}

/// The configuration a client wishes for, with what it does not say.
pub fn settings(wish: &Value, name: &str) -> Result<ConsumerMeta, ApiError> {
    let mut fields = wish.as_object().cloned().unwrap_or_default();
    let is_unset = |fields: &serde_json::Map<String, Value>, name: &str| fields.get(name).is_none_or(|value| *value == 0);
    let is_pull = fields.get("deliver_subject").and_then(Value::as_str).unwrap_or("").is_empty();
    let acks = fields.get("ack_policy").is_some_and(|policy| policy != "none");
    let defaults: [(&str, i64, bool); 4] =
        [("max_deliver", -1, true), ("ack_wait", 30_000_000_000, acks), ("max_ack_pending", 1000, acks), ("max_waiting", 512, is_pull)];
    for (field, value, applies) in defaults {
        if applies && is_unset(&fields, field) {
            fields.insert(field.to_owned(), json!(value));
        }
    }
    fields.insert("name".to_owned(), json!(name));
    let bytes = Value::Object(fields).to_string();
    let meta = ConsumerMeta::parse(bytes.as_bytes()).map_err(|error| ApiError(400, 10025, format!("invalid JSON: {error}")))?;
    let is_set = |name: &str| meta.raw().get(name).is_some_and(|value| *value != json!(false) && *value != json!(0) && *value != json!(""));
    let word = |name: &str| meta.raw().get(name).and_then(Value::as_str).unwrap_or("");
    let is_filter = |filter: &String| jetsam::format::meta::is_valid_subject(filter);
    unless(is_pull && is_set("idle_heartbeat"), 400, 10088, "consumer idle heartbeat requires a push based consumer")?;
    unless(is_pull && is_set("flow_control"), 400, 10089, "consumer flow control requires a push based consumer")?;
    unless(!meta.filter_subjects.iter().all(is_filter), 400, 10093, "consumer filter subject is not valid")?;
    unless(word("deliver_subject").contains(['*', '>', ' ']), 400, 10079, "consumer deliver subject has wildcards")?;
    unless(
        !meta.durable.is_empty() && meta.durable != name,
        400,
        10017,
        "consumer name in subject does not match durable name in request",
    )?;
    let is_strange = word("replay_policy") == "original" || meta.ack_policy == AckPolicy::FlowControl || !meta.priority_groups.is_empty();
    let is_strange =
        is_strange || meta.direct || is_set("rate_limit_bps") || !matches!(meta.pause_until.as_str(), "" | "0001-01-01T00:00:00Z");
    unless(
        is_strange,
        500,
        10012,
        "this broker does no original replay, rate limits, pauses, priority groups or flow control as acknowledgement",
    )?;
    Ok(meta)
}
