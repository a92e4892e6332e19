//! Streams: a store of ours each, with its consumers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::meta::{Retention, Storage, StreamMeta};
use jetsam::living::Idle;
use jetsam::store::{ApiError, AppendError, NewMessage, PurgeRequest};
use jetsam::store::{Store, StoreOptions, TidyBudget, Writer};
use serde_json::{Value, json};

use crate::Outcome;
use crate::api::{Answer, refuse, unless};
use crate::clients::{Message, Router};
use crate::consumers::Consumer;

/// Whether this broker does all that a configuration asks for.
pub fn check(config: &StreamMeta) -> Answer<()> {
    let is_alone = config.retention == Retention::Limits && config.replicas == 1;
    let is_plain = config.storage == Storage::File && is_alone;
    unless(!is_plain, 10052, "streams are in files, alone, by limits")?;
    let strange = "mirror sources subject_transform republish sealed deny_purge no_ack \
        allow_msg_counter allow_atomic allow_batched";
    refuse(&config.encode(), 10052, strange)
}

pub struct Stream {
    pub config: StreamMeta,
    pub store: Store,
    pub consumers: BTreeMap<String, Consumer>,
    writer: Writer,
}

impl Stream {
    pub fn open(dir: &Path, options: &StoreOptions) -> Outcome<Self> {
        let (fs, entropy) = (Arc::new(OsFileSystem), Arc::new(OsEntropy));
        let store = Store::open(fs, entropy, &Idle::declared(), dir, options)?;
        check(&store.config())?;
        let mut stream = Stream {
            config: store.config(),
            consumers: BTreeMap::new(),
            writer: store.writer().ok_or("a store has a writer")?,
            store,
        };
        stream.writer.hold_message_ids(options.now_ns)?;
        for name in stream.store.consumer_place().names()? {
            let consumer = Consumer::open(&stream.store, &name, None, options.now_ns)?;
            stream.consumers.insert(name, consumer);
        }
        Ok(stream)
    }

    /// Takes a message from a client.
    pub fn publish(&mut self, message: &Message, router: &mut Router) {
        let new = NewMessage {
            subject: message.subject.as_bytes(),
            headers: message.headers,
            body: message.body,
        };
        let mut told = match self.writer.publish(&new, router.now_ns) {
            Ok(seq) => json!({ "seq": seq }),
            Err(AppendError::Duplicate { seq }) => json!({"seq": seq, "duplicate": true}),
            Err(refused) => json!({"seq": 0, "error": ApiError::from(refused).json()}),
        };
        told["stream"] = json!(self.config.name);
        router.send(message.reply, "", &told.to_string());
    }

    pub fn purge(&mut self, wish: &Value) -> Answer {
        let purged = self.writer.purge(&PurgeRequest::requested(wish))?;
        Ok(json!({"success": true, "purged": purged}))
    }

    pub fn get(&self, wish: &Value) -> Answer {
        let found = self.store.reader().get_requested(wish)?;
        Ok(json!({ "message": found.info() }))
    }

    pub fn direct_get(&self, wish: &Value, reply: &str, router: &mut Router) {
        let Ok(found) = self.store.reader().get_requested(wish) else {
            return router.send(reply, "NATS/1.0 404 Message Not Found\r\n\r\n", "");
        };
        let headers = found.direct_headers(&self.config.name);
        router.deliver(reply, &Message::new(reply, "", &headers, found.body()));
    }

    pub fn info(&self) -> Value {
        let mut info = self.config.info();
        info["state"] = self.store.reader().summary().info();
        info["state"]["consumer_count"] = json!(self.consumers.len());
        info
    }

    /// Does what is due, and makes all of the batch safe: where that fails nobody hears of it.
    pub fn commit(&mut self, is_due: bool, now_ns: i64) -> Outcome<()> {
        if is_due {
            self.writer.maintain(now_ns)?;
            self.writer.tidy(TidyBudget { block_count: 1 })?;
        }
        self.writer.sync()?;
        let mut consumers = self.consumers.values_mut();
        Ok(consumers.try_for_each(|consumer| consumer.commit(is_due, now_ns))?)
    }

    /// Lets its consumers deliver; whether one may have more.
    pub fn serve(&mut self, router: &mut Router) -> bool {
        let mut has_more = false;
        self.consumers.retain(|_, consumer| {
            has_more |= consumer.serve(router);
            !consumer.is_over(router.now_ns)
        });
        has_more
    }

    pub fn close(mut self, now_ns: i64) -> Outcome<()> {
        self.commit(true, now_ns)?;
        Ok(self.store.close(self.writer)?)
    }
}
