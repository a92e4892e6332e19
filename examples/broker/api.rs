//! The JetStream API: requests on `$JS.API.>` and what is answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jetsam::format::meta::StreamMeta;
use jetsam::format::names::is_valid_asset_name;
use jetsam::store::{PurgeRequest, ReadError, Reader, StoredMessage};
use serde_json::{Value, json};

use crate::JetStream;
use crate::consumers::{self, Consumer};
use crate::router::Router;
use crate::streams::{ApiError, Stream, checked, direct_headers, refused, rfc3339, unless};
use crate::wire::Message;

type Answer = Result<(&'static str, Value), ApiError>;

impl JetStream {
    /// Answers a request; false where nobody does.
    pub fn answer(&mut self, words: &[&str], message: &Message, router: &mut Router, now_ns: i64) -> bool {
        match words {
            ["CONSUMER", "MSG", "NEXT", stream, name] => {
                let consumer = self.streams.get_mut(*stream).and_then(|stream| stream.consumers.get_mut(*name));
                let is_there = consumer.is_some();
                consumer.into_iter().for_each(|consumer| consumer.pull(message, now_ns, router));
                return is_there;
            }
            ["DIRECT", "GET", stream, subject @ ..] => {
                let stream = self.streams.get(*stream).filter(|stream| stream.config.raw().get("allow_direct") == Some(&json!(true)));
                stream.into_iter().for_each(|stream| direct_get(stream, &subject.join("."), message, router));
                return stream.is_some();
            }
            _ => {}
        }
        let body = if message.body.trim_ascii().is_empty() { Ok(json!({})) } else { serde_json::from_slice(&message.body) };
        let told = match body {
            Ok(wish) => self.request(words, &wish, router, now_ns),
            Err(error) => refused(400, 10025, format!("invalid JSON: {error}")),
        };
        let (kind, mut answer) = match told {
            Ok(("", _)) => return false,
            Ok(answer) => answer,
            Err(error) => ("error", json!({"error": error.json()})),
        };
        answer["type"] = json!(format!("io.nats.jetstream.api.v1.{kind}_response"));
        router.send(&message.reply, "", answer.to_string());
        true
    }

    fn request(&mut self, words: &[&str], wish: &Value, router: &Router, now_ns: i64) -> Answer {
        let text = |name: &str| wish[name].as_str().unwrap_or("");
        let done = json!({"success": true});
        Ok(match words {
            ["INFO"] => ("account_info", self.account()),
            ["STREAM", "CREATE", name] => ("stream_create", self.create_stream(name, wish, now_ns)?),
            ["STREAM", "UPDATE", name] => ("stream_update", self.update_stream(name, wish)?),
            ["STREAM", "INFO", name] => ("stream_info", stream_info(self.stream(name)?, wish)),
            ["STREAM", "NAMES"] => {
                let names = self.selected(text("subject")).map(|stream| json!(stream.config.name));
                ("stream_names", page(wish, "streams", 1024, names.collect()))
            }
            ["STREAM", "LIST"] => {
                let infos = self.selected(text("subject")).map(|stream| stream.info(false));
                ("stream_list", page(wish, "streams", 256, infos.collect()))
            }
            ["STREAM", "DELETE", name] => {
                self.delete_stream(name, now_ns)?;
                ("stream_delete", done)
            }
            ["STREAM", "PURGE", name] => {
                let stream = self.stream(name)?;
                unless(stream.config.deny_purge || stream.config.sealed, 500, 10110, "purge not permitted")?;
                let (below, keep) = (wish["seq"].as_u64().unwrap_or(0), wish["keep"].as_u64().unwrap_or(0));
                unless(below > 0 && keep > 0, 400, 10003, "bad request")?;
                let purged = stream.purge(&PurgeRequest { filter: text("filter").as_bytes(), below, keep })?;
                ("stream_purge", json!({"success": true, "purged": purged}))
            }
            ["STREAM", "MSG", "GET", name] => {
                let found = find(&self.stream(name)?.reader, wish, "");
                ("stream_msg_get", json!({"message": shown(&found.map_err(|error| ApiError(404, 10037, error.to_string()))?)}))
            }
            ["STREAM", "MSG", "DELETE", name] => {
                let stream = self.stream(name)?;
                let is_denied = stream.config.raw().get("deny_delete") == Some(&json!(true)) || stream.config.sealed;
                unless(is_denied, 500, 10057, "message delete not permitted")?;
                stream.remove(wish["seq"].as_u64().unwrap_or(0), wish["no_erase"] != true)?;
                ("stream_msg_delete", done)
            }
            ["CONSUMER", "CREATE", stream, ..] | ["CONSUMER", "DURABLE", "CREATE", stream, _] => {
                let name = if words[1] == "DURABLE" { words.get(4) } else { words.get(3) };
                ("consumer_create", self.create_consumer(stream, name.copied(), wish, router, now_ns)?)
            }
            ["CONSUMER", "INFO", stream, name] => {
                let stream = self.stream(stream)?;
                let consumer = stream.consumers.get(*name);
                ("consumer_info", consumer.ok_or_else(no_consumer)?.info(&stream.reader, router))
            }
            ["CONSUMER", "DELETE", stream, name] => {
                self.stream(stream)?.consumers.remove(*name).ok_or_else(no_consumer)?.delete()?;
                ("consumer_delete", done)
            }
            ["CONSUMER", "NAMES", stream] => {
                let names = self.stream(stream)?.consumers.keys().map(|name| json!(name)).collect();
                ("consumer_names", page(wish, "consumers", 1024, names))
            }
            ["CONSUMER", "LIST", stream] => {
                let stream = self.stream(stream)?;
                let infos = stream.consumers.values().map(|consumer| consumer.info(&stream.reader, router)).collect();
                ("consumer_list", page(wish, "consumers", 256, infos))
            }
            _ => ("", Value::Null),
        })
    }

    fn stream(&mut self, name: &str) -> Result<&mut Stream, ApiError> {
        self.streams.get_mut(name).ok_or_else(|| ApiError(404, 10059, "stream not found".to_owned()))
    }

    /// Streams with a subject that `filter` meets; all without a filter.
    fn selected(&self, filter: &str) -> impl Iterator<Item = &Stream> {
        let meets = move |stream: &&Stream| filter.is_empty() || stream.config.subjects.iter().any(|subject| collide(subject, filter));
        self.streams.values().filter(meets)
    }

    fn account(&self) -> Value {
        let streams = self.streams.values();
        let bytes: u64 = streams.clone().map(|stream| stream.reader.summary().bytes).sum();
        let consumers: usize = streams.map(|stream| stream.consumers.len()).sum();
        let limits = json!({"max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1, "max_ack_pending": -1,
            "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": false});
        json!({"memory": 0, "storage": bytes, "streams": self.streams.len(), "consumers": consumers, "limits": limits,
            "reserved_memory": 0, "reserved_storage": 0, "api": {"total": 0, "errors": 0}})
    }

    fn wished(&self, name: &str, wish: &Value) -> Result<StreamMeta, ApiError> {
        let config = checked(wish)?;
        unless(config.name != name, 400, 10056, "stream name in subject does not match request")?;
        let mut others = self.streams.values().filter(|other| other.config.name != name).flat_map(|other| &other.config.subjects);
        let overlaps = others.any(|other| config.subjects.iter().any(|subject| collide(subject, other)));
        unless(overlaps, 400, 10065, "subjects overlap with an existing stream")?;
        Ok(config)
    }

    fn create_stream(&mut self, name: &str, wish: &Value, now_ns: i64) -> Result<Value, ApiError> {
        let config = self.wished(name, wish)?;
        if let Some(there) = self.streams.get(name) {
            let same = there.config.created.instant.map(|created| config.with_created(created).encode());
            unless(same != Some(there.config.encode()), 400, 10058, "stream name already in use with a different configuration")?;
            return Ok(there.info(false));
        }
        let opened = Stream::open(&self.idle, &self.keys, &self.dir.join(name), name, Some(&config), now_ns);
        let stream = opened.map_err(|error| ApiError(500, 10049, error.to_string()))?;
        let mut answer = stream.info(false);
        answer["did_create"] = json!(true);
        self.streams.insert(name.to_owned(), stream);
        Ok(answer)
    }

    fn update_stream(&mut self, name: &str, wish: &Value) -> Result<Value, ApiError> {
        let config = self.wished(name, wish)?;
        let stream = self.stream(name)?;
        unless(stream.config.sealed, 400, 10109, "invalid operation on sealed stream")?;
        stream.update(&config)?;
        Ok(stream.info(false))
    }

    /// The directory gets a name that no server reads before it goes: a crash leaves all of the stream, or none.
    fn delete_stream(&mut self, name: &str, now_ns: i64) -> Result<(), ApiError> {
        self.stream(name)?;
        let stream = self.streams.remove(name);
        let doomed = self.dir.with_file_name(format!(".deleted-{name}-{now_ns}"));
        let gone = std::fs::rename(self.dir.join(name), &doomed).and_then(|()| std::fs::remove_dir_all(&doomed));
        drop(stream);
        gone.map_err(|error| ApiError(500, 10050, error.to_string()))
    }

    fn create_consumer(&mut self, stream: &str, name: Option<&str>, wish: &Value, router: &Router, now_ns: i64) -> Result<Value, ApiError> {
        self.drawn += 1;
        let drawn = format!("{:x}{:x}", now_ns, self.drawn);
        let stream = self.stream(stream)?;
        let config = &wish["config"];
        let wished = ["durable_name", "name"].map(|field| config[field].as_str().filter(|name| !name.is_empty()));
        let name = name.or(wished[0]).or(wished[1]).unwrap_or(&drawn);
        unless(!is_valid_asset_name(name.as_bytes()), 400, 10017, "consumer name is not valid")?;
        let meta = consumers::settings(config, name)?;
        if let Some(consumer) = stream.consumers.get_mut(name) {
            let identity = |meta: &jetsam::format::meta::ConsumerMeta| meta.with_identity("", "");
            let is_same = identity(&consumer.meta).encode() == identity(&meta).encode();
            unless(wish["action"] == "create" && !is_same, 400, 10148, "consumer already exists")?;
            if !is_same {
                consumer.update(&meta)?;
            }
            return Ok(consumer.info(&stream.reader, router));
        }
        unless(wish["action"] == "update", 400, 10149, "consumer does not exist")?;
        let most = usize::try_from(stream.config.max_consumers).unwrap_or(usize::MAX);
        unless(stream.consumers.len() >= most, 400, 10026, "maximum consumers limit reached")?;
        let consumer = Consumer::open(stream, name, Some(&meta), now_ns)?;
        let info = consumer.info(&stream.reader, router);
        stream.consumers.insert(name.to_owned(), consumer);
        Ok(info)
    }
}

fn no_consumer() -> ApiError {
    ApiError(404, 10014, "consumer not found".to_owned())
}

/// Whether some subject is selected by both.
pub fn collide(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('.'), other.split('.'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == other || one == "*" || other == "*" => {}
            _ => return false,
        }
    }
}

fn page(wish: &Value, name: &str, limit: usize, all: Vec<Value>) -> Value {
    let offset = wish["offset"].as_u64().unwrap_or(0);
    let total = all.len();
    let some: Vec<Value> = all.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit).collect();
    json!({"total": total, "offset": offset, "limit": limit, name: some})
}

fn stream_info(stream: &Stream, wish: &Value) -> Value {
    let mut info = stream.info(wish["deleted_details"] == true);
    if let Some(filter) = wish["subjects_filter"].as_str() {
        let offset = wish["offset"].as_u64().unwrap_or(0);
        let totals = stream.reader.subject_totals(filter.as_bytes());
        (info["total"], info["offset"], info["limit"]) = (json!(totals.len()), json!(offset), json!(100_000));
        let page = totals.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(100_000);
        info["state"]["subjects"] = page.map(|(subject, count)| (String::from_utf8_lossy(subject).into_owned(), json!(count))).collect();
    }
    info
}

/// The message that a request is about; `subject` is of the short form of a direct get.
fn find(reader: &Reader, wish: &Value, subject: &str) -> Result<StoredMessage, ReadError> {
    let text = |name: &str| wish[name].as_str().filter(|text| !text.is_empty());
    let seq = wish["seq"].as_u64().unwrap_or(0);
    match (text("last_by_subj").or(Some(subject)).filter(|subject| !subject.is_empty()), text("next_by_subj")) {
        (Some(subject), _) => reader.last(subject.as_bytes()),
        (None, Some(subject)) => reader.next(&[subject.as_bytes()], seq),
        (None, None) => reader.get(seq),
    }
}

fn shown(message: &StoredMessage) -> Value {
    let mut shown = json!({"subject": String::from_utf8_lossy(message.subject()), "seq": message.seq,
        "data": STANDARD.encode(message.body()), "time": rfc3339(message.timestamp_ns)});
    if !message.headers().is_empty() {
        shown["hdrs"] = json!(STANDARD.encode(message.headers()));
    }
    shown
}

fn direct_get(stream: &Stream, subject: &str, request: &Message, router: &mut Router) {
    let wish: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let is_empty = subject.is_empty() && !wish.is_object();
    let is_more = ["batch", "multi_last", "start_time"].iter().any(|name| !wish[name].is_null());
    match find(&stream.reader, &wish, subject) {
        _ if is_empty || is_more => router.send(&request.reply, "NATS/1.0 408 Bad Request\r\n\r\n", String::new()),
        Ok(message) => {
            let headers = direct_headers(&stream.config.name, &message);
            let (subject, reply, body) = (request.reply.clone(), String::new(), message.body().to_vec());
            let answer = Message { subject, reply, headers, body };
            router.deliver(&request.reply, &answer, 0, "");
        }
        Err(_) => router.send(&request.reply, "NATS/1.0 404 Message Not Found\r\n\r\n", String::new()),
    }
}
