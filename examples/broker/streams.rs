//! One stream: a store of ours with what the broker adds to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::duration::Instant;
use jetsam::format::headers::{self, find};
use jetsam::format::meta::{Retention, Storage, StreamMeta};
use jetsam::format::subject::matches;
use jetsam::living::Idle;
use jetsam::store::consumers::ConsumerPlace;
use jetsam::store::{
    AppendError, Expected, Level, LimitKind, NewMessage, PurgeRequest, Reader, RemoveError, Store, StoreOptions, StoredMessage, TidyBudget,
    Writer, WriterFault,
};
use jetsam::stream::options::Keys;
use serde_json::{Value, json};

use crate::consumers::Consumer;
use crate::router::Router;
use crate::wire::Message;

const ACCOUNT: &[u8] = b"$G";
const NOT_DONE: &str = "the configuration asks for something that this broker does not do";

/// An error of the API: its code, the server's number for it, and what is told.
#[derive(Debug)]
pub struct ApiError(pub u16, pub u16, pub String);

impl ApiError {
    pub fn json(&self) -> Value {
        json!({"code": self.0, "err_code": self.1, "description": self.2})
    }
}

pub fn refused<T>(code: u16, number: u16, told: impl ToString) -> Result<T, ApiError> {
    Err(ApiError(code, number, told.to_string()))
}

/// Refused where something is so.
pub fn unless(is_wrong: bool, code: u16, number: u16, told: &str) -> Result<(), ApiError> {
    if is_wrong { refused(code, number, told) } else { Ok(()) }
}

pub fn rfc3339(ns: i64) -> String {
    match ns {
        0 => Instant::ZERO.to_rfc3339(),
        ns => Instant::from_unix_ns(ns).to_rfc3339(),
    }
}

pub struct Stream {
    pub config: StreamMeta,
    pub dir: PathBuf,
    pub reader: Reader,
    pub writer: Writer,
    store: Store,
    keys: Keys,
    pub consumers: BTreeMap<String, Consumer>,
    /// Message ids of the window, with their sequences; and in the order of their times.
    ids: HashMap<Vec<u8>, u64>,
    ids_in_order: VecDeque<(i64, Vec<u8>)>,
    last_id: Vec<u8>,
    /// Acknowledgements that wait for the commit: to whom, and what.
    held: Vec<(String, Value)>,
    is_changed: bool,
}

/// Whether this broker does all that a configuration asks for.
fn is_done(config: &StreamMeta) -> bool {
    let is_own = config.mirror.is_none() && config.sources.is_empty() && config.subject_transform.is_none() && config.republish.is_none();
    let is_plain = config.storage == Storage::File && config.retention == Retention::Limits && config.replicas == 1;
    is_own && is_plain && !(config.allow_msg_counter || config.allow_msg_schedules || config.allow_atomic || config.allow_batched)
}

/// A configuration as a client wishes for it, with what it does not say.
pub fn checked(wish: &Value) -> Result<StreamMeta, ApiError> {
    let parsed = StreamMeta::parse(wish.to_string().as_bytes());
    let parsed = parsed.map_err(|error| ApiError(400, 10025, format!("invalid JSON: {error}")))?;
    let config = parsed.settings().map_err(|error| ApiError(500, 10052, error.to_string()))?;
    unless(!is_done(&config), 500, 10052, NOT_DONE)?;
    Ok(config)
}

impl Stream {
    /// Opens what is there, or makes it by `new`.
    pub fn open(
        idle: &Idle,
        keys: &Keys,
        dir: &Path,
        name: &str,
        new: Option<&StreamMeta>,
        now_ns: i64,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let any = json!({ "name": name }).to_string();
        let options = StoreOptions {
            create: new.is_some(),
            keys: keys.clone(),
            level: Level::Buffered,
            ..StoreOptions::new(new.cloned().map_or_else(|| StreamMeta::parse(any.as_bytes()), Ok)?, now_ns)
        };
        let store = Store::open(Arc::new(OsFileSystem), Arc::new(OsEntropy), idle, dir, &options)?;
        let config = store.config();
        if !is_done(&config) {
            return Err(NOT_DONE.into());
        }
        let mut stream = Stream {
            config,
            dir: dir.to_owned(),
            reader: store.reader(),
            writer: store.writer().ok_or("a store has a writer")?,
            store,
            keys: keys.clone(),
            consumers: BTreeMap::new(),
            ids: HashMap::new(),
            ids_in_order: VecDeque::new(),
            last_id: Vec::new(),
            held: Vec::new(),
            is_changed: false,
        };
        stream.read_ids(now_ns)?;
        for entry in std::fs::read_dir(dir.join("obs")).into_iter().flatten() {
            let (name, path) = entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))?;
            // A deletion may have been cut short.
            if path.join("meta.inf").exists() {
                let consumer = Consumer::open(&stream, &name, None, now_ns).map_err(|error| error.2)?;
                stream.consumers.insert(name, consumer);
            }
        }
        Ok(stream)
    }

    pub fn takes(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|filter| matches(subject.as_bytes(), filter.as_bytes()))
    }

    /// Where its consumers lie.
    pub fn place(&self) -> ConsumerPlace<'_> {
        ConsumerPlace {
            fs: Arc::new(OsFileSystem),
            entropy: Arc::new(OsEntropy),
            stream_dir: &self.dir,
            stream_name: self.config.name.as_bytes(),
            keys: self.keys.ring(ACCOUNT),
        }
    }

    /// The ids of the window, from the messages of that time.
    fn read_ids(&mut self, now_ns: i64) -> Result<(), Box<dyn std::error::Error>> {
        let mut from = self.reader.seq_at(now_ns - self.config.duplicate_window_ns)?;
        while let Ok(message) = self.reader.next(&[], from) {
            self.note_id(message.headers(), message.seq, message.timestamp_ns);
            from = message.seq + 1;
        }
        if let Ok(last) = self.reader.last(b">") {
            self.last_id = id_of(last.headers()).to_vec();
        }
        Ok(())
    }

    fn note_id(&mut self, headers: &[u8], seq: u64, now_ns: i64) {
        self.last_id = id_of(headers).to_vec();
        if !self.last_id.is_empty() && self.config.duplicate_window_ns > 0 {
            self.ids.insert(self.last_id.clone(), seq);
            self.ids_in_order.push_back((now_ns, self.last_id.clone()));
        }
    }

    /// Takes a message from a client. What it is told waits for the commit.
    pub fn publish(&mut self, message: &Message, now_ns: i64) {
        let name = self.config.name.clone();
        let told = match self.append(message, now_ns) {
            Ok((seq, true)) => json!({"stream": name, "seq": seq, "duplicate": true}),
            Ok((seq, false)) => json!({"stream": name, "seq": seq}),
            Err(error) => json!({"error": error.json(), "stream": name, "seq": 0}),
        };
        if !message.reply.is_empty() && !self.config.no_ack {
            self.held.push((message.reply.clone(), told));
        }
    }

    /// The sequence, and whether the message was there before.
    fn append(&mut self, message: &Message, now_ns: i64) -> Result<(u64, bool), ApiError> {
        let header = |name: &str| find(&message.headers, name.as_bytes());
        let number = |name: &str| {
            let value = header(name).map(|value| std::str::from_utf8(value).unwrap_or(""));
            value.map(|value| value.trim().parse().unwrap_or(u64::MAX))
        };
        unless(self.config.sealed, 400, 10109, "invalid operation on sealed stream")?;
        let is_other = header("Nats-Expected-Stream").is_some_and(|name| name != self.config.name.as_bytes());
        unless(is_other, 400, 10060, "expected stream does not match")?;
        match (headers::message_ttl(&message.headers), self.config.allow_msg_ttl) {
            (Ok(0), _) | (Ok(_), true) => {}
            (_, false) => return refused(400, 10166, "per-message TTL is disabled"),
            (Err(_), true) => return refused(400, 10165, "invalid per-message TTL"),
        }
        if let Some(seq) = self.ids.get(id_of(&message.headers)) {
            return Ok((*seq, true));
        }
        if header("Nats-Expected-Last-Msg-Id").is_some_and(|id| id != self.last_id) {
            let last = String::from_utf8_lossy(&self.last_id).into_owned();
            return refused(400, 10070, format!("wrong last msg ID: {last}"));
        }
        let rollup = header("Nats-Rollup").unwrap_or_default();
        let is_permitted = rollup.is_empty() || self.config.allow_rollup && !self.config.deny_purge;
        unless(!is_permitted, 500, 10111, "rollup not permitted")?;
        unless(!matches!(rollup, b"" | b"sub" | b"all"), 500, 10111, "rollup value invalid")?;
        let mut expected =
            Expected { last_seq: number("Nats-Expected-Last-Sequence"), last_subject_seq: number("Nats-Expected-Last-Subject-Sequence") };
        if let Some(filter) = header("Nats-Expected-Last-Subject-Sequence-Subject")
            && let Some(seq) = expected.last_subject_seq.take()
        {
            let found = self.reader.last(filter).map_or(0, |message| message.seq);
            if found != seq {
                return refused(400, 10071, format!("wrong last sequence: {found}"));
            }
        }
        let new = NewMessage { subject: message.subject.as_bytes(), headers: &message.headers, body: &message.body };
        let appended = self.writer.append_expecting(&new, now_ns, expected);
        let seq = appended.map_err(append_refused)?.seq;
        self.is_changed = true;
        self.note_id(&message.headers, seq, now_ns);
        if !rollup.is_empty() {
            let filter = if rollup == b"sub" { message.subject.as_bytes() } else { b"" };
            self.purge(&PurgeRequest { filter, below: 0, keep: 1 })?;
        }
        Ok((seq, false))
    }

    pub fn purge(&mut self, request: &PurgeRequest<'_>) -> Result<u64, ApiError> {
        self.is_changed = true;
        let purged = self.writer.purge(request);
        purged.map_err(|error| ApiError(500, 10110, error.to_string()))
    }

    pub fn remove(&mut self, seq: u64, erases: bool) -> Result<(), ApiError> {
        self.is_changed = true;
        let removed = match erases {
            true => self.writer.erase(seq),
            false => self.writer.remove(seq),
        };
        match removed {
            Ok(true) => Ok(()),
            Ok(false) | Err(RemoveError::NotFound { .. } | RemoveError::Beyond { .. }) => refused(500, 10057, "no message found"),
            Err(error) => refused(500, 10057, error),
        }
    }

    pub fn update(&mut self, config: &StreamMeta) -> Result<(), ApiError> {
        let updated = self.writer.update_config(config);
        updated.map_err(|error| ApiError(500, 10069, error.to_string()))?;
        self.config = self.store.config();
        self.is_changed = true;
        Ok(())
    }

    /// Makes the batch as safe as `level` says, and only then lets the acknowledgements go.
    pub fn commit(&mut self, level: Level, now_ns: i64, router: &mut Router) -> Result<(), WriterFault> {
        if std::mem::take(&mut self.is_changed) {
            match level {
                Level::Buffered => {}
                Level::Written => self.writer.flush()?,
                Level::Synced => _ = self.writer.sync()?,
            }
        }
        if let Some(error) = self.writer.latched() {
            return Err(WriterFault::Latched(Arc::new(error.clone())));
        }
        for (reply, told) in self.held.drain(..) {
            router.send(&reply, "", told.to_string());
        }
        for consumer in self.consumers.values_mut() {
            consumer.commit(now_ns, router);
        }
        Ok(())
    }

    /// What is due: nothing of it happens by itself.
    pub fn maintain(&mut self, now_ns: i64, tidies: bool) {
        let oldest_ns = now_ns - self.config.duplicate_window_ns;
        while self.ids_in_order.front().is_some_and(|(ns, _)| *ns < oldest_ns) {
            let oldest = self.ids_in_order.pop_front();
            oldest.map(|(_, id)| self.ids.remove(&id));
        }
        // A write that failed is told by the commit.
        if self.writer.maintain(now_ns).is_ok_and(|done| done.expired_count > 0) {
            self.is_changed = true;
        }
        if tidies {
            let _ = self.writer.tidy(TidyBudget { block_count: 4 });
        }
    }

    /// Lets its consumers deliver; whether one may have more.
    pub fn serve(&mut self, router: &mut Router, now_ns: i64) -> bool {
        // One that cannot be deleted from disk goes at the next chance.
        self.consumers.retain(|_, consumer| !consumer.is_abandoned(now_ns) || consumer.delete().is_err());
        let served = self.consumers.values_mut().map(|consumer| consumer.serve(&self.reader, router, now_ns));
        served.filter(|has_more| *has_more).count() > 0
    }

    pub fn close(mut self, now_ns: i64) -> Result<(), Box<dyn std::error::Error>> {
        for consumer in self.consumers.values_mut() {
            consumer.close(now_ns)?;
        }
        Ok(self.store.close(self.writer)?)
    }

    /// What the API tells of it.
    pub fn info(&self, has_deleted: bool) -> Value {
        let held = self.reader.summary();
        let mut state = json!({
            "messages": held.message_count, "bytes": held.bytes,
            "first_seq": held.first.seq, "first_ts": rfc3339(held.first.timestamp_ns),
            "last_seq": held.last.seq, "last_ts": rfc3339(held.last.timestamp_ns),
            "num_subjects": held.subject_count, "num_deleted": held.deleted_count,
            "consumer_count": self.consumers.len(),
        });
        if has_deleted {
            state["deleted"] = self.reader.deleted().iter().collect();
        }
        let mut config = Value::Object(self.config.raw().clone());
        let config_of = config.as_object_mut().and_then(|fields| fields.remove("Created"));
        json!({"config": config, "created": config_of, "state": state, "ts": rfc3339(crate::now_ns())})
    }
}

fn id_of(headers: &[u8]) -> &[u8] {
    find(headers, b"Nats-Msg-Id").unwrap_or_default()
}

fn append_refused(error: AppendError) -> ApiError {
    let (code, number, told) = match &error {
        AppendError::LastSequence { found, .. } => (400, 10071, format!("wrong last sequence: {found}")),
        AppendError::TooLarge { .. } => (400, 10054, "message size exceeds maximum allowed".to_owned()),
        AppendError::Limit { kind, .. } => {
            let what = match kind {
                LimitKind::Messages => "messages",
                LimitKind::Bytes => "bytes",
                LimitKind::MessagesPerSubject => "messages per subject",
            };
            (503, 10077, format!("maximum {what} exceeded"))
        }
        error => (503, 10077, error.to_string()),
    };
    ApiError(code, number, told)
}

/// The headers of an answer to a direct get.
pub fn direct_headers(stream: &str, message: &StoredMessage) -> Vec<u8> {
    let (subject, time) = (String::from_utf8_lossy(message.subject()), rfc3339(message.timestamp_ns));
    let own = message.headers().strip_prefix(b"NATS/1.0\r\n").unwrap_or(b"\r\n");
    let seq = message.seq;
    let head =
        format!("NATS/1.0\r\nNats-Stream: {stream}\r\nNats-Subject: {subject}\r\nNats-Sequence: {seq}\r\nNats-Time-Stamp: {time}\r\n");
    [head.as_bytes(), own].concat()
}
