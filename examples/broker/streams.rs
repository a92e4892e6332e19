//! Streams: a store of ours each, with what the broker adds to it; and the JetStream API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::engine::{Engine as _, general_purpose::STANDARD};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::duration::Instant;
use jetsam::format::headers::find;
use jetsam::format::meta::{Retention, Storage, StreamMeta};
use jetsam::format::subject::matches;
use jetsam::living::Idle;
use jetsam::store::consumers::ConsumerPlace;
use jetsam::store::{AppendError, Expected, NewMessage, PurgeRequest, Rollup, TidyBudget};
use jetsam::store::{Level, ReadError, Reader, Store, StoreOptions, StoredMessage, Writer};
use jetsam::stream::options::Keys;
use serde_json::{Map, Value, json};

use crate::clients::{Message, Router};
use crate::consumers::{self, Consumer};
use crate::{JetStream, Outcome};

/// What configurations and headers may ask for that this broker does not do.
const STRANGE: &str = "mirror sources subject_transform republish sealed deny_purge no_ack \
    allow_msg_ttl allow_msg_counter allow_msg_schedules allow_atomic allow_batched";
const STRANGE_HEADERS: &str = "Nats-TTL Nats-Incr Nats-Schedule Nats-Batch-Id \
    Nats-Expected-Stream Nats-Expected-Last-Msg-Id Nats-Expected-Last-Subject-Sequence-Subject";

/// What a request comes to; else the error as the API tells it.
pub type Answer<T = Value> = Result<T, Value>;

pub fn error(number: u16, told: impl ToString) -> Value {
    let code = if matches!(number, 10014 | 10037 | 10059) {
        404
    } else {
        400
    };
    json!({"code": code, "err_code": number, "description": told.to_string()})
}

/// Refused where something is so.
pub fn unless(is_wrong: bool, number: u16, told: &str) -> Answer<()> {
    let wrong = Some(told).filter(|_| is_wrong);
    wrong.map_or(Ok(()), |told| Err(error(number, told)))
}

/// Refused where a configuration asks for one of these: better nothing than something else.
pub fn strange(config: &Map<String, Value>, number: u16, fields: &str) -> Answer<()> {
    let never = json!("0001-01-01T00:00:00Z");
    let nothing = [
        json!(null),
        json!(false),
        json!(0),
        json!(""),
        json!([]),
        never,
    ];
    for field in fields.split(' ') {
        let value = config.get(field).unwrap_or(&Value::Null);
        unless(!nothing.contains(value), number, field)?;
    }
    Ok(())
}

/// Whether this broker does all that a configuration asks for.
fn check(config: &StreamMeta) -> Answer<()> {
    let is_alone = config.retention == Retention::Limits && config.replicas == 1;
    let is_plain = config.storage == Storage::File && is_alone;
    unless(!is_plain, 10052, "streams are in files, alone, by limits")?;
    strange(config.raw(), 10052, STRANGE)
}

/// A part of a list, from where it is asked for.
fn page(kind: &str, all: Vec<Value>, wish: &Value) -> Value {
    let (total, offset) = (all.len(), wish["offset"].as_u64().unwrap_or(0));
    let rest: Vec<Value> = all.into_iter().skip(offset as usize).take(256).collect();
    json!({"total": total, "offset": offset, "limit": 256, kind: rest})
}

fn rfc3339(ns: i64) -> String {
    Instant::from_unix_ns(ns).to_rfc3339()
}

pub struct Stream {
    pub config: StreamMeta,
    pub reader: Reader,
    pub consumers: BTreeMap<String, Consumer>,
    writer: Writer,
    store: Store,
    dir: PathBuf,
    keys: Keys,
    is_changed: bool,
}

impl Stream {
    /// Opens one that is there, or makes one by its configuration.
    pub fn open(js: &JetStream, config: StreamMeta, is_new: bool, now_ns: i64) -> Outcome<Self> {
        let dir = js.dir.join(&config.name);
        let mut options = StoreOptions::new(config, now_ns);
        (options.create, options.keys) = (is_new, js.keys.clone());
        options.level = Level::Buffered;
        let (fs, entropy) = (Arc::new(OsFileSystem), Arc::new(OsEntropy));
        let store = Store::open(fs, entropy, &Idle::declared(), &dir, &options)?;
        check(&store.config()).map_err(|error| error.to_string())?;
        let mut stream = Stream {
            config: store.config(),
            reader: store.reader(),
            consumers: BTreeMap::new(),
            writer: store.writer().ok_or("a store has a writer")?,
            store,
            dir,
            keys: options.keys,
            is_changed: false,
        };
        stream.writer.hold_message_ids(now_ns)?;
        let obs = std::fs::read_dir(stream.dir.join("obs"));
        for entry in obs.into_iter().flatten() {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            // A deletion may have been cut short.
            if path.join("meta.inf").exists() {
                let name = name.to_string_lossy().into_owned();
                let consumer = Consumer::open(&stream, &name, None, now_ns);
                let consumer = consumer.map_err(|error| error.to_string())?;
                stream.consumers.insert(name, consumer);
            }
        }
        Ok(stream)
    }

    pub fn takes(&self, subject: &str) -> bool {
        let mut filters = self.config.subjects.iter();
        filters.any(|filter| matches(subject.as_bytes(), filter.as_bytes()))
    }

    /// Where its consumers lie.
    pub fn place(&self) -> ConsumerPlace<'_> {
        ConsumerPlace {
            fs: Arc::new(OsFileSystem),
            entropy: Arc::new(OsEntropy),
            stream_dir: &self.dir,
            stream_name: self.config.name.as_bytes(),
            keys: self.keys.ring(b"$G"),
        }
    }

    /// Takes a message from a client.
    pub fn publish(&mut self, message: &Message, router: &mut Router) {
        let told = self.append(message, router.now_ns);
        let mut told = told.unwrap_or_else(|error| json!({"seq": 0, "error": error}));
        told["stream"] = json!(self.config.name);
        router.send(&message.reply, "", &told.to_string());
    }

    fn append(&mut self, message: &Message, now_ns: i64) -> Answer {
        let header = |name: &str| find(&message.headers, name.as_bytes());
        let number = |name: &str| {
            let text = header(name).map(String::from_utf8_lossy);
            text.map(|text| text.trim().parse().unwrap_or(u64::MAX))
        };
        for name in STRANGE_HEADERS.split(' ') {
            unless(header(name).is_some(), 10003, name)?;
        }
        let expected = Expected {
            last_seq: number("Nats-Expected-Last-Sequence"),
            last_subject_seq: number("Nats-Expected-Last-Subject-Sequence"),
        };
        let rollup = match header("Nats-Rollup") {
            None => None,
            Some(b"sub") if self.config.allow_rollup => Some(Rollup::Subject),
            Some(b"all") if self.config.allow_rollup => Some(Rollup::All),
            Some(_) => return Err(error(10111, "rollup not permitted")),
        };
        let new = NewMessage {
            subject: message.subject.as_bytes(),
            headers: &message.headers,
            body: &message.body,
        };
        let writer = &mut self.writer;
        self.is_changed = true;
        let appended = match rollup {
            Some(rollup) => {
                let rolled = writer.append_rolling_up(&new, rollup, now_ns, expected);
                rolled.map(|done| done.last_seq)
            }
            None => {
                let appended = writer.append_expecting(&new, now_ns, expected);
                appended.map(|done| done.seq)
            }
        };
        let refused = match appended {
            Ok(seq) => return Ok(json!({ "seq": seq })),
            Err(AppendError::Duplicate { seq }) => {
                return Ok(json!({"seq": seq, "duplicate": true}));
            }
            Err(refused) => refused,
        };
        let number = match refused {
            AppendError::LastSequence { .. } => 10071,
            AppendError::TooLarge { .. } => 10054,
            _ => 10077,
        };
        Err(error(number, refused))
    }

    fn purge(&mut self, wish: &Value) -> Answer {
        let request = PurgeRequest {
            filter: wish["filter"].as_str().unwrap_or("").as_bytes(),
            below: wish["seq"].as_u64().unwrap_or(0),
            keep: wish["keep"].as_u64().unwrap_or(0),
        };
        self.is_changed = true;
        let purged = self.writer.purge(&request);
        let purged = purged.map_err(|fault| error(10110, fault))?;
        Ok(json!({"success": true, "purged": purged}))
    }

    /// Does what is due, and makes all of the batch safe: where that fails nobody hears of it.
    pub fn commit(&mut self, is_due: bool, now_ns: i64) -> Outcome<()> {
        if is_due {
            self.is_changed |= self.writer.maintain(now_ns)?.expired_count > 0;
            self.writer.tidy(TidyBudget { block_count: 1 })?;
        }
        if std::mem::take(&mut self.is_changed) {
            self.writer.sync()?;
        }
        let mut consumers = self.consumers.values_mut();
        Ok(consumers.try_for_each(|consumer| consumer.commit(now_ns))?)
    }

    /// Lets its consumers deliver; whether one may have more.
    pub fn serve(&mut self, router: &mut Router) -> bool {
        let now_ns = router.now_ns;
        self.consumers
            .retain(|_, consumer| !consumer.is_over(now_ns));
        let mut has_more = false;
        for consumer in self.consumers.values_mut() {
            has_more |= consumer.serve(&self.reader, router);
        }
        has_more
    }

    pub fn close(mut self, now_ns: i64) -> Outcome<()> {
        let mut consumers = self.consumers.values_mut();
        consumers.try_for_each(|consumer| consumer.close(now_ns))?;
        Ok(self.store.close(self.writer)?)
    }

    fn info(&self) -> Value {
        let held = self.reader.summary();
        let mut config = self.config.raw().clone();
        let created = config.remove("Created");
        json!({"config": config, "created": created, "state": {
            "messages": held.message_count, "bytes": held.bytes,
            "first_seq": held.first.seq, "first_ts": rfc3339(held.first.timestamp_ns),
            "last_seq": held.last.seq, "last_ts": rfc3339(held.last.timestamp_ns),
            "num_subjects": held.subject_count, "num_deleted": held.deleted_count,
            "consumer_count": self.consumers.len(),
        }})
    }

    fn create_consumer(&mut self, name: &[&str], wish: &Value, now_ns: i64) -> Answer {
        let config = &wish["config"];
        let drawn = format!("{now_ns:x}-{}", self.consumers.len());
        let durable = config["durable_name"].as_str();
        let name = name.first().copied().or(durable).unwrap_or(&drawn);
        let meta = consumers::settings(config, name)?;
        if let Some(there) = self.consumers.get(name) {
            unless(!there.is_as(&meta), 10148, "consumer already exists")?;
            return Ok(there.info(&self.reader));
        }
        unless(wish["action"] == "update", 10149, "consumer does not exist")?;
        let consumer = Consumer::open(self, name, Some(&meta), now_ns)?;
        let info = consumer.info(&self.reader);
        self.consumers.insert(name.to_owned(), consumer);
        Ok(info)
    }

    /// The message that is wished for; `subject` is of the short form.
    fn find(&self, wish: &Value, subject: &str) -> Result<StoredMessage, ReadError> {
        let last = wish["last_by_subj"].as_str().unwrap_or(subject);
        let seq = wish["seq"].as_u64().unwrap_or(0);
        match wish["next_by_subj"].as_str() {
            _ if !last.is_empty() => self.reader.last(last.as_bytes()),
            Some(next) => self.reader.next(&[next.as_bytes()], seq),
            None => self.reader.get(seq),
        }
    }

    fn get(&self, wish: &Value) -> Answer {
        let found = self.find(wish, "");
        let found = found.map_err(|_| error(10037, "no message found"))?;
        let text = |bytes: &[u8]| STANDARD.encode(bytes);
        let subject = String::from_utf8_lossy(found.subject());
        Ok(
            json!({"message": {"subject": subject, "seq": found.seq, "data": text(found.body()),
            "hdrs": text(found.headers()), "time": rfc3339(found.timestamp_ns)}}),
        )
    }

    fn direct_get(&self, subject: &str, request: &Message, router: &mut Router) {
        let wish: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let Ok(found) = self.find(&wish, subject) else {
            return router.send(&request.reply, "404 Message Not Found", "");
        };
        let own = found.headers().strip_prefix(b"NATS/1.0\r\n");
        let (name, time) = (&self.config.name, rfc3339(found.timestamp_ns));
        let (subject, seq) = (String::from_utf8_lossy(found.subject()), found.seq);
        let head = format!(
            "NATS/1.0\r\nNats-Stream: {name}\r\nNats-Subject: {subject}\r\n\
             Nats-Sequence: {seq}\r\nNats-Time-Stamp: {time}\r\n"
        );
        let headers = [head.as_bytes(), own.unwrap_or(b"\r\n")].concat();
        let answer = Message::new(&request.reply, "", &headers, found.body());
        router.deliver(&request.reply, &answer);
    }
}

impl JetStream {
    /// Answers a request; false where nobody does.
    pub fn answer(&mut self, words: &[&str], message: &Message, router: &mut Router) -> bool {
        if let ["DIRECT", "GET", stream, subject @ ..] = words {
            let allows = |it: &&Stream| it.config.raw().get("allow_direct") == Some(&json!(true));
            let stream = self.streams.get(*stream).filter(allows);
            let subject = subject.join(".");
            let got = stream.map(|it| it.direct_get(&subject, message, router));
            return got.is_some();
        }
        let wish = serde_json::from_slice(&message.body).unwrap_or_default();
        let mut answer = match self.request(words, &wish, router.now_ns) {
            Ok(Value::Null) => return false,
            Ok(answer) => answer,
            Err(error) => json!({ "error": error }),
        };
        let kind = match words {
            ["STREAM", "MSG", "GET", _] => "stream_msg_get".to_owned(),
            ["CONSUMER", "DURABLE", ..] => "consumer_create".to_owned(),
            [one, two, ..] => format!("{one}_{two}").to_lowercase(),
            _ => "account_info".to_owned(),
        };
        answer["type"] = json!(format!("io.nats.jetstream.api.v1.{kind}_response"));
        router.send(&message.reply, "", &answer.to_string());
        true
    }

    fn request(&mut self, words: &[&str], wish: &Value, now_ns: i64) -> Answer {
        match words {
            ["INFO"] => Ok(
                json!({"memory": 0, "storage": 0, "streams": 0, "consumers": 0,
                "reserved_memory": 0, "reserved_storage": 0, "api": {"total": 0, "errors": 0},
                "limits": {"max_memory": -1, "max_storage": -1, "max_streams": -1,
                "max_consumers": -1, "max_ack_pending": -1, "memory_max_stream_bytes": -1,
                "storage_max_stream_bytes": -1, "max_bytes_required": false}}),
            ),
            ["STREAM", "CREATE", name] => self.create_stream(name, wish, now_ns),
            ["STREAM", "INFO", name] => Ok(self.stream(name)?.info()),
            ["STREAM", "PURGE", name] => self.stream(name)?.purge(wish),
            ["STREAM", "MSG", "GET", name] => self.stream(name)?.get(wish),
            ["STREAM", kind @ ("NAMES" | "LIST")] => {
                let all = self.streams.iter().map(|(name, stream)| match *kind {
                    "NAMES" => json!(name),
                    _ => stream.info(),
                });
                Ok(page("streams", all.collect(), wish))
            }
            ["CONSUMER", kind @ ("NAMES" | "LIST"), stream] => {
                let stream = self.stream(stream)?;
                let all = stream.consumers.iter().map(|(name, it)| match *kind {
                    "NAMES" => json!(name),
                    _ => it.info(&stream.reader),
                });
                Ok(page("consumers", all.collect(), wish))
            }
            ["CONSUMER", "CREATE", stream, name @ ..]
            | ["CONSUMER", "DURABLE", "CREATE", stream, name @ ..] => {
                self.stream(stream)?.create_consumer(name, wish, now_ns)
            }
            ["CONSUMER", "INFO", stream, name] => {
                let stream = self.stream(stream)?;
                let consumer = stream.consumers.get(*name);
                let info = consumer.map(|consumer| consumer.info(&stream.reader));
                info.ok_or_else(|| error(10014, "consumer not found"))
            }
            _ => Ok(Value::Null),
        }
    }

    fn stream(&mut self, name: &str) -> Answer<&mut Stream> {
        let stream = self.streams.get_mut(name);
        stream.ok_or_else(|| error(10059, "stream not found"))
    }

    fn create_stream(&mut self, name: &str, wish: &Value, now_ns: i64) -> Answer {
        let config = StreamMeta::parse(wish.to_string().as_bytes());
        let config = config.map_err(|fault| error(10025, fault))?;
        let config = config.settings().map_err(|fault| error(10052, fault))?;
        check(&config)?;
        unless(config.name != name, 10056, "stream name does not match")?;
        if let Some(there) = self.streams.get(name) {
            let created = there.config.created.instant;
            let same = created.map(|created| config.with_created(created).encode());
            let is_other = same != Some(there.config.encode());
            unless(is_other, 10058, "stream name already in use")?;
            return Ok(there.info());
        }
        let streams = self.streams.values();
        let mut subjects = config.subjects.clone();
        subjects.extend(streams.flat_map(|other| other.config.subjects.clone()));
        let is_met = config.with_subjects(subjects).settings().is_err();
        unless(is_met, 10065, "subjects overlap with an existing stream")?;
        let stream = Stream::open(self, config, true, now_ns);
        let stream = stream.map_err(|fault| error(10049, fault))?;
        let info = stream.info();
        self.streams.insert(name.to_owned(), stream);
        Ok(info)
    }
}
