//! The JetStream API: what clients ask of streams and consumers, and the answers.

use jetsam::format::meta::{ConsumerMeta, StreamMeta};
use jetsam::store::{ApiError, StoreOptions};
use serde_json::{Value, json};

use crate::JetStream;
use crate::clients::{Message, Router};
use crate::consumers::{self, Consumer};
use crate::streams::{self, Stream};

pub type Answer<T = Value> = Result<T, ApiError>;

/// Refused where something is so.
pub fn unless(is_wrong: bool, number: u16, told: &str) -> Answer<()> {
    match is_wrong {
        true => Err(ApiError::new(number, told)),
        false => Ok(()),
    }
}

/// Refused where a configuration asks for one of these: better nothing than something else.
pub fn refuse(config: &[u8], number: u16, fields: &str) -> Answer<()> {
    let config: Value = serde_json::from_slice(config).unwrap_or_default();
    let is_asked = |field: &str| ![json!(null), json!(false)].contains(&config[field]);
    let mut fields = fields.split(' ');
    fields.try_for_each(|field| unless(is_asked(field), number, field))
}

impl JetStream {
    /// Answers a request; nothing where nobody does.
    pub fn answer(&mut self, words: &[&str], message: &Message, router: &mut Router) -> Option<()> {
        let mut wish: Value = serde_json::from_slice(message.body).unwrap_or_default();
        if let ["DIRECT", "GET", stream, subject @ ..] = words {
            let allows = |it: &&Stream| it.config.raw().get("allow_direct") == Some(&json!(true));
            let stream = self.streams.get(*stream).filter(allows);
            if !subject.is_empty() {
                wish = json!({"last_by_subj": subject.join(".")});
            }
            return stream.map(|it| it.direct_get(&wish, message.reply, router));
        }
        let mut answer = match self.request(words, &wish, router.now_ns) {
            Ok(Value::Null) => return None,
            Ok(answer) => answer,
            Err(error) => json!({ "error": error.json() }),
        };
        let kind = match words {
            ["STREAM", "MSG", "GET", _] => "stream_msg_get".to_owned(),
            ["CONSUMER", "DURABLE", ..] => "consumer_create".to_owned(),
            [one, two, ..] => format!("{one}_{two}").to_lowercase(),
            _ => "account_info".to_owned(),
        };
        answer["type"] = json!(format!("io.nats.jetstream.api.v1.{kind}_response"));
        router.send(message.reply, "", &answer.to_string());
        Some(())
    }

    fn request(&mut self, words: &[&str], wish: &Value, now_ns: i64) -> Answer {
        match words {
            ["INFO"] => Ok(account()),
            ["STREAM", "CREATE", name] => self.create_stream(name, wish, now_ns),
            ["STREAM", "INFO", name] => Ok(self.stream(name)?.info()),
            ["STREAM", "PURGE", name] => self.stream(name)?.purge(wish),
            ["STREAM", "MSG", "GET", name] => self.stream(name)?.get(wish),
            ["STREAM", kind @ ("NAMES" | "LIST")] => {
                let all = self.streams.values().map(|stream| match *kind {
                    "NAMES" => json!(stream.config.name),
                    _ => stream.info(),
                });
                let (total, offset) = (all.len(), wish["offset"].as_u64().unwrap_or(0));
                let page: Vec<Value> = all.skip(offset as usize).take(256).collect();
                Ok(json!({"total": total, "offset": offset, "limit": 256, "streams": page}))
            }
            ["CONSUMER", "CREATE", stream, name @ ..]
            | ["CONSUMER", "DURABLE", "CREATE", stream, name @ ..] => {
                create_consumer(self.stream(stream)?, name, wish, now_ns)
            }
            ["CONSUMER", "INFO", stream, name] => {
                let consumer = self.stream(stream)?.consumers.get_mut(*name);
                let absent = ApiError::new(10014, "consumer not found");
                consumer.ok_or(absent)?.info()
            }
            _ => Ok(Value::Null),
        }
    }

    fn stream(&mut self, name: &str) -> Answer<&mut Stream> {
        let absent = ApiError::new(10059, "stream not found");
        self.streams.get_mut(name).ok_or(absent)
    }

    fn create_stream(&mut self, name: &str, wish: &Value, now_ns: i64) -> Answer {
        let config = StreamMeta::requested(wish, name)?;
        streams::check(&config)?;
        if let Some(there) = self.streams.get(name) {
            let is_other = !there.config.has_same_settings(&config);
            unless(is_other, 10058, "stream name already in use")?;
            return Ok(there.info());
        }
        let mut others = self.streams.values();
        let is_met = others.any(|other| other.config.overlaps(&config));
        unless(is_met, 10065, "subjects overlap with an existing stream")?;
        let stream = self.open_stream(name, StoreOptions::new(config, now_ns));
        Ok(stream.map_err(|fault| ApiError::new(10049, fault))?.info())
    }
}

/// No limits, and nothing counted.
fn account() -> Value {
    json!({"memory": 0, "storage": 0, "streams": 0, "consumers": 0, "reserved_memory": 0,
        "reserved_storage": 0, "api": {"total": 0, "errors": 0}, "limits": {"max_memory": -1,
        "max_storage": -1, "max_streams": -1, "max_consumers": -1, "max_ack_pending": -1,
        "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": false}})
}

fn create_consumer(stream: &mut Stream, name: &[&str], wish: &Value, now_ns: i64) -> Answer {
    let drawn = format!("{now_ns:x}-{}", stream.consumers.len());
    let durable = wish["config"]["durable_name"].as_str();
    let name = name.first().copied().or(durable).unwrap_or(&drawn);
    let config = ConsumerMeta::requested(&wish["config"], name)?.with_files();
    consumers::check(&config)?;
    if let Some(there) = stream.consumers.get_mut(name) {
        let is_other = !there.config().has_same_settings(&config);
        unless(is_other, 10148, "consumer already exists")?;
        return there.info();
    }
    unless(wish["action"] == "update", 10149, "consumer does not exist")?;
    let consumer = Consumer::open(&stream.store, name, Some(config), now_ns)?;
    let consumer = stream.consumers.entry(name.to_owned()).or_insert(consumer);
    consumer.info()
}
