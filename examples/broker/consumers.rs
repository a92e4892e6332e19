//! Consumers: what comes next, to whom, and what became of it.

use std::collections::{BTreeMap, VecDeque};

use jetsam::format::consumer::SequencePair;
use jetsam::format::duration::parse_rfc3339;
use jetsam::format::meta::{AckPolicy, ConsumerMeta, DeliverPolicy, is_valid_subject};
use jetsam::store::consumers::{self, AckRules, ConsumerError, Deliveries};
use jetsam::store::{Level, ReadError, Reader, StoredMessage};
use serde_json::{Value, json};

use crate::router::Router;
use crate::streams::{ApiError, Stream, rfc3339, unless};
use crate::wire::Message;

/// Messages a consumer delivers before the others have their turn.
const TURN: usize = 256;
/// How old the state on disk may grow.
const FLUSH_NS: i64 = 250_000_000;

/// A request for messages.
struct Pull {
    reply: String,
    left: u64,
    /// Bytes it has room for.
    bytes_left: usize,
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
    /// Where the state is kept, if not in memory alone; and the revision that is kept, and since when.
    file: Option<consumers::Consumer>,
    kept: (u64, i64),
    next_seq: u64,
    /// The last messages of subjects, which come before `next_seq`.
    lasts: VecDeque<u64>,
    /// When what waits for its acknowledgement is delivered again.
    due_ns: BTreeMap<u64, i64>,
    pulls: VecDeque<Pull>,
    /// When somebody listened last, and when a client that listens all the time was sent something.
    heard_ns: i64,
    sent_ns: i64,
    /// Who wants to know that his acknowledgement is safe.
    asking: Vec<String>,
}

fn failed(error: impl ToString) -> ApiError {
    ApiError(500, 10012, error.to_string())
}

fn filters(meta: &ConsumerMeta) -> Vec<&[u8]> {
    meta.filter_subjects.iter().map(|filter| filter.as_bytes()).collect()
}

impl Consumer {
    /// Opens one that is there, or makes it by `new`.
    pub fn open(stream: &Stream, name: &str, new: Option<&ConsumerMeta>, now_ns: i64) -> Result<Self, ApiError> {
        let (file, meta) = match new {
            Some(new) if new.mem_storage || new.durable.is_empty() => (None, new.with_identity(name, &rfc3339(now_ns))),
            new => {
                let file = consumers::Consumer::open(&stream.place(), name, new, now_ns).map_err(failed)?;
                let meta = file.config().clone();
                (Some(file), meta)
            }
        };
        let state = file.as_ref().map(|file| file.state().clone()).unwrap_or_default();
        let is_new = !file.as_ref().is_some_and(consumers::Consumer::has_state);
        let (name, deliveries) = (name.to_owned(), Deliveries::new(AckRules::of(&meta), state.clone()));
        let (stream, reader) = (stream.config.name.clone(), &stream.reader);
        let (lasts, due_ns, pulls, asking) = (VecDeque::new(), BTreeMap::new(), VecDeque::new(), Vec::new());
        let (kept, next_seq, heard_ns, sent_ns) = ((0, now_ns), state.delivered.stream.saturating_add(1), now_ns, now_ns);
        let mut consumer =
            Consumer { name, stream, meta, deliveries, file, kept, next_seq, lasts, due_ns, pulls, heard_ns, sent_ns, asking };
        if is_new {
            consumer.begin(reader).map_err(failed)?;
        }
        for (seq, pending) in state.pending {
            let count = state.redelivered.get(&seq).map_or(1, |more| more.saturating_add(1));
            consumer.due_ns.insert(seq, pending.timestamp_ns.saturating_add(consumer.wait_ns(count)));
        }
        Ok(consumer)
    }

    /// Goes to where the configuration has it begin.
    fn begin(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let (first, last) = (reader.summary().first.seq.max(1), reader.summary().last.seq);
        let start = match self.meta.deliver_policy {
            DeliverPolicy::All => first,
            DeliverPolicy::New => last + 1,
            DeliverPolicy::Last => reader.previous(&filters(&self.meta), u64::MAX).map_or(last + 1, |message| message.seq),
            DeliverPolicy::ByStartSequence => self.meta.opt_start_seq.max(first),
            DeliverPolicy::ByStartTime => {
                let time = self.meta.raw().get("opt_start_time").and_then(Value::as_str);
                reader.seq_at(time.and_then(|time| parse_rfc3339(time).ok()).unwrap_or(0))?
            }
            DeliverPolicy::LastPerSubject => {
                self.lasts = reader.last_of_each(&filters(&self.meta), last, None)?.into();
                self.lasts.front().copied().unwrap_or(last + 1)
            }
        };
        // A sequence that no file could keep lies behind all messages, too.
        let _ = self.deliveries.set_starting(start.saturating_sub(1).min(i64::MAX as u64));
        self.next_seq = if self.lasts.is_empty() { start } else { last + 1 };
        Ok(())
    }

    fn number(&self, name: &str) -> i64 {
        self.meta.raw().get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    /// How long the `count`th delivery may go unacknowledged.
    fn wait_ns(&self, count: u64) -> i64 {
        let waits = self.meta.raw().get("backoff").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let wait = waits.get((count as usize).saturating_sub(1)).or(waits.last()).and_then(Value::as_i64);
        wait.unwrap_or_else(|| self.number("ack_wait")).max(1_000_000)
    }

    /// How many messages are still to come.
    fn pending_count(&self, reader: &Reader) -> u64 {
        self.lasts.len() as u64 + reader.count(&filters(&self.meta), self.next_seq).unwrap_or(0)
    }

    /// What comes next, and for the how many-eth time.
    fn next(&mut self, reader: &Reader, now_ns: i64) -> Option<(StoredMessage, u64)> {
        while let Some(seq) = self.due_ns.iter().find(|(_, due_ns)| **due_ns <= now_ns).map(|(seq, _)| *seq) {
            let state = self.deliveries.state();
            let (count, most) = (state.redelivered.get(&seq).map_or(2, |more| more.saturating_add(2)), self.deliveries.rules().max_deliver);
            if let Some(pending) = state.pending.get(&seq).copied() {
                let delivered = SequencePair { consumer: pending.consumer_sequence, stream: seq };
                match reader.get(seq) {
                    Ok(message) if most == 0 || count <= most => return Some((message, count)),
                    Ok(_) => _ = self.deliveries.deliver(delivered, count, pending.timestamp_ns),
                    // It was removed: nobody waits for it any more.
                    Err(_) => _ = self.deliveries.ack(delivered),
                }
            }
            self.due_ns.remove(&seq);
        }
        let most = usize::try_from(self.number("max_ack_pending")).ok().filter(|most| *most > 0);
        if most.is_some_and(|most| self.deliveries.state().pending.len() >= most) {
            return None;
        }
        while let Some(seq) = self.lasts.front() {
            match reader.get(*seq) {
                Ok(message) => return Some((message, 1)),
                Err(_) => _ = self.lasts.pop_front(),
            }
        }
        reader.next(&filters(&self.meta), self.next_seq).ok().map(|message| (message, 1))
    }

    /// Takes a request for messages.
    pub fn pull(&mut self, message: &Message, now_ns: i64, router: &mut Router) {
        let wish = if message.body.is_empty() { json!(1) } else { serde_json::from_slice(&message.body).unwrap_or_default() };
        let number = |name: &str| wish[name].as_i64().filter(|number| *number > 0);
        let batch = wish.as_u64().or_else(|| wish.as_object().map(|_| number("batch").unwrap_or(1) as u64));
        let status = match batch {
            _ if !self.meta.deliver_subject.is_empty() => "409 Consumer is push based",
            None | Some(0) => "400 Bad Request",
            Some(_) if self.pulls.len() as i64 >= self.number("max_waiting").clamp(1, 65_536) => "409 Exceeded MaxWaiting",
            Some(left) => {
                let expires_ns = number("expires").map(|wait_ns| now_ns.saturating_add(wait_ns));
                let bytes_left = number("max_bytes").map_or(usize::MAX, |bytes| bytes as usize);
                let (is_one_shot, heartbeat_ns) = (wish["no_wait"] == true, number("idle_heartbeat").unwrap_or(i64::MAX));
                let (reply, heard_ns) = (message.reply.clone(), now_ns);
                let pull = Pull { reply, left, bytes_left, expires_ns, is_one_shot, has_some: false, heartbeat_ns, heard_ns };
                return self.pulls.push_back(pull);
            }
        };
        router.send(&message.reply, &format!("NATS/1.0 {status}\r\n\r\n"), String::new());
    }

    /// Takes an acknowledgement: `words` is what follows stream and consumer in its subject.
    pub fn acknowledge(&mut self, words: &[&str], message: &Message, now_ns: i64) {
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let (count, acked) = (number(0), SequencePair { consumer: number(2), stream: number(1) });
        let (word, rest) = message.body.split_at(message.body.len().min(4));
        let is_waiting = self.deliveries.state().pending.contains_key(&acked.stream);
        match word {
            b"" | b"+ACK" | b"+TER" if self.deliveries.ack(acked).is_ok() => _ = self.due_ns.remove(&acked.stream),
            b"-NAK" if is_waiting => {
                let wish: Value = serde_json::from_slice(rest).unwrap_or_default();
                self.due_ns.insert(acked.stream, now_ns.saturating_add(wish["delay"].as_i64().unwrap_or(0)));
            }
            b"+WPI" if is_waiting => _ = self.due_ns.insert(acked.stream, now_ns.saturating_add(self.wait_ns(count))),
            _ => {}
        }
        self.asking.extend((!message.reply.is_empty()).then(|| message.reply.clone()));
    }

    /// Delivers what there is to those who want it; whether there may be more.
    pub fn serve(&mut self, reader: &Reader, router: &mut Router, now_ns: i64) -> bool {
        self.tell(router, now_ns, false);
        let mut pending = None;
        for _ in 0..TURN {
            let target = match (self.meta.deliver_subject.as_str(), self.pulls.front()) {
                ("", Some(pull)) => pull.reply.clone(),
                (subject, _) if router.is_heard(subject) => subject.to_owned(),
                _ => return false,
            };
            if !router.is_clear(&target) {
                return false;
            }
            let Some((message, count)) = self.next(reader, now_ns) else {
                self.tell(router, now_ns, true);
                return false;
            };
            let length = message.subject().len() + message.headers().len() + message.body().len();
            let pull = self.pulls.pop_front();
            if pull.as_ref().is_some_and(|pull| pull.bytes_left < length) {
                router.send(&target, "NATS/1.0 409 Message Size Exceeds MaxBytes\r\n\r\n", String::new());
                continue;
            }
            let left = pending.get_or_insert_with(|| self.pending_count(reader));
            *left = left.saturating_sub(u64::from(count == 1));
            self.deliver(&target, &message, count, *left, now_ns, router);
            if let Some(pull) = pull.filter(|pull| pull.left > 1) {
                let (left, bytes_left) = (pull.left - 1, pull.bytes_left - length);
                self.pulls.push_back(Pull { left, bytes_left, has_some: true, heard_ns: now_ns, ..pull });
            }
        }
        true
    }

    fn deliver(&mut self, target: &str, message: &StoredMessage, count: u64, left: u64, now_ns: i64, router: &mut Router) {
        let consumer = self.deliveries.state().delivered.consumer.saturating_add(1);
        let (seq, time, body) = (message.seq, message.timestamp_ns, message.body());
        let _ = self.deliveries.deliver(SequencePair { consumer, stream: seq }, count, now_ns);
        if self.meta.ack_policy != AckPolicy::None {
            self.due_ns.insert(seq, now_ns.saturating_add(self.wait_ns(count)));
        }
        if count == 1 && self.lasts.pop_front().is_none() {
            self.next_seq = seq + 1;
        }
        let raw = self.meta.raw();
        let (headers, body) = match raw.get("headers_only") == Some(&json!(true)) {
            true => {
                let own = message.headers().strip_suffix(b"\r\n").unwrap_or(b"NATS/1.0\r\n");
                ([own, format!("Nats-Msg-Size: {}\r\n\r\n", body.len()).as_bytes()].concat(), Vec::new())
            }
            false => (message.headers().to_vec(), body.to_vec()),
        };
        let subject = String::from_utf8_lossy(message.subject()).into_owned();
        let reply = format!("$JS.ACK.{}.{}.{count}.{seq}.{consumer}.{time}.{left}", self.stream, self.name);
        let group = raw.get("deliver_group").and_then(Value::as_str).unwrap_or("");
        router.deliver(target, &Message { subject, reply, headers, body }, 0, group);
        self.sent_ns = now_ns;
    }

    /// Ends requests that are over, and lets all others know that the consumer lives; `is_all` where there is nothing to deliver.
    fn tell(&mut self, router: &mut Router, now_ns: i64, is_all: bool) {
        let SequencePair { consumer, stream } = self.deliveries.state().delivered;
        let heartbeat = format!("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {consumer}\r\nNats-Last-Stream: {stream}\r\n\r\n");
        for mut pull in std::mem::take(&mut self.pulls).into_iter().filter(|pull| router.is_heard(&pull.reply)).collect::<Vec<_>>() {
            self.heard_ns = now_ns;
            let ends = is_all && pull.is_one_shot && (pull.has_some || pull.expires_ns.is_none());
            if ends || pull.expires_ns.is_some_and(|expires_ns| expires_ns <= now_ns) {
                let status = if ends && !pull.has_some { "404 No Messages" } else { "408 Request Timeout" };
                let told = format!("NATS/1.0 {status}\r\nNats-Pending-Messages: {}\r\nNats-Pending-Bytes: 0\r\n\r\n", pull.left);
                router.send(&pull.reply, &told, String::new());
                continue;
            }
            if now_ns - pull.heard_ns >= pull.heartbeat_ns {
                pull.heard_ns = now_ns;
                router.send(&pull.reply, &heartbeat, String::new());
            }
            self.pulls.push_back(pull);
        }
        let every_ns = self.number("idle_heartbeat");
        if !self.meta.deliver_subject.is_empty() && router.is_heard(&self.meta.deliver_subject) {
            self.heard_ns = now_ns;
            if every_ns > 0 && now_ns - self.sent_ns >= every_ns {
                self.sent_ns = now_ns;
                router.send(&self.meta.deliver_subject, &heartbeat, String::new());
            }
        }
    }

    /// Whether nobody has listened for as long as the configuration allows.
    pub fn is_abandoned(&self, now_ns: i64) -> bool {
        let own_ns = if self.meta.durable.is_empty() { 5_000_000_000 } else { i64::MAX };
        let threshold_ns = Some(self.number("inactive_threshold")).filter(|wait_ns| *wait_ns > 0);
        now_ns - self.heard_ns > threshold_ns.unwrap_or(own_ns)
    }

    /// Writes the state where what is kept is old or somebody asks, and tells those.
    pub fn commit(&mut self, now_ns: i64, router: &mut Router) {
        if (!self.asking.is_empty() || now_ns - self.kept.1 >= FLUSH_NS) && self.write(now_ns).is_ok() {
            self.asking.drain(..).for_each(|reply| router.send(&reply, "", String::new()));
        }
    }

    /// An error is of no consequence but that nobody is told: the next call writes the whole state.
    fn write(&mut self, now_ns: i64) -> Result<(), ConsumerError> {
        let revision = self.deliveries.revision();
        if let (Some(file), true) = (&mut self.file, revision != self.kept.0) {
            file.force_update(self.deliveries.state().clone())?;
            file.flush(Level::Synced, now_ns)?;
        }
        self.kept = (revision, now_ns);
        Ok(())
    }

    pub fn close(&mut self, now_ns: i64) -> Result<(), ConsumerError> {
        self.write(now_ns)?;
        self.file.as_mut().map_or(Ok(()), |file| file.close(Level::Synced, now_ns))
    }

    pub fn delete(&mut self) -> Result<(), ApiError> {
        self.file.as_mut().map_or(Ok(()), consumers::Consumer::delete).map_err(failed)
    }

    /// Takes another configuration, as far as it may change.
    pub fn update(&mut self, config: &ConsumerMeta) -> Result<(), ApiError> {
        let fixed = ["deliver_policy", "opt_start_seq", "opt_start_time", "ack_policy", "durable_name", "mem_storage"];
        let differs = fixed.iter().any(|field| self.meta.raw().get(*field) != config.raw().get(*field));
        unless(differs, 500, 10012, "this of a consumer cannot be changed")?;
        self.file.as_mut().map_or(Ok(()), |file| file.update_config(config)).map_err(failed)?;
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

/// The configuration a client wishes for, with what it does not say.
pub fn settings(wish: &Value, name: &str) -> Result<ConsumerMeta, ApiError> {
    let is_pull = wish["deliver_subject"].as_str().unwrap_or("").is_empty();
    let acks = !matches!(wish["ack_policy"].as_str(), None | Some("none"));
    let mut fields = wish.as_object().cloned().unwrap_or_default();
    let defaults: [(&str, i64, bool); 4] =
        [("max_deliver", -1, true), ("ack_wait", 30_000_000_000, acks), ("max_ack_pending", 1000, acks), ("max_waiting", 512, is_pull)];
    for (field, value, _) in defaults.iter().filter(|(field, _, applies)| *applies && wish[field].as_i64().unwrap_or(0) == 0) {
        fields.insert((*field).to_owned(), json!(value));
    }
    fields.insert("name".to_owned(), json!(name));
    let parsed = ConsumerMeta::parse(Value::Object(fields).to_string().as_bytes());
    let meta = parsed.map_err(|error| ApiError(400, 10025, format!("invalid JSON: {error}")))?;
    let is_set = |name: &str| wish[name].as_u64().unwrap_or(0) > 0 || wish[name] == true;
    unless(is_pull && is_set("idle_heartbeat"), 400, 10088, "consumer idle heartbeat requires a push based consumer")?;
    unless(!meta.filter_subjects.iter().all(|filter| is_valid_subject(filter)), 400, 10093, "consumer filter subject is not valid")?;
    unless(meta.deliver_subject.contains(['*', '>', ' ']), 400, 10079, "consumer deliver subject has wildcards")?;
    unless(!meta.durable.is_empty() && meta.durable != name, 400, 10017, "consumer name does not match durable name in request")?;
    let is_paused = !matches!(meta.pause_until.as_str(), "" | "0001-01-01T00:00:00Z");
    let is_strange = wish["replay_policy"] == "original" || meta.ack_policy == AckPolicy::FlowControl || !meta.priority_groups.is_empty();
    unless(is_strange || is_paused || meta.direct || is_set("rate_limit_bps"), 500, 10012, "this broker does not do that of consumers")?;
    Ok(meta)
}
