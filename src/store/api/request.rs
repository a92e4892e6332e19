//! What requests ask of a store.

use serde_json::Value;

use super::error::ApiError;
use crate::format::meta::{ConsumerMeta, StreamMeta, is_valid_subject};
use crate::store::{PurgeRequest, ReadError, Reader, StoredMessage};

impl Reader {
    /// The message that a request asks for (`STREAM.MSG.GET`, `DIRECT.GET`): by `seq`, the last of `last_by_subj`, or the next of
    /// `next_by_subj` at or above `seq`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
    /// # use jetsam::format::meta::StreamMeta;
    /// # use jetsam::living::Idle;
    /// # use jetsam::store::{NewMessage, Store, StoreOptions};
    /// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
    /// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
    /// # let now_ns = 1_767_225_600_000_000_000;
    /// # let options = StoreOptions::new(config, now_ns);
    /// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
    /// let mut writer = store.writer().expect("nobody took it before");
    /// for subject in ["orders.1", "orders.2", "orders.1"] {
    ///     writer.append(&NewMessage { subject: subject.as_bytes(), headers: b"", body: b"" }, now_ns)?;
    /// }
    /// let found = |request: &str| {
    ///     let request = serde_json::from_str(request).expect("JSON");
    ///     store.reader().get_requested(&request).map(|message| message.seq)
    /// };
    /// assert_eq!(found(r#"{"seq":2}"#), Ok(2));
    /// assert_eq!(found(r#"{"last_by_subj":"orders.1"}"#), Ok(3));
    /// assert_eq!(found(r#"{"next_by_subj":"orders.2","seq":1}"#), Ok(2));
    /// assert!(found("{}").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_requested(&self, request: &Value) -> Result<StoredMessage, ReadError> {
        let subject = |name: &str| request[name].as_str().filter(|text| !text.is_empty());
        let seq = request["seq"].as_u64().unwrap_or(0);
        match (subject("last_by_subj"), subject("next_by_subj")) {
            (Some(last), _) => self.last(last.as_bytes()),
            (None, Some(next)) => self.next(&[next.as_bytes()], seq),
            (None, None) => self.get(seq),
        }
    }
}

impl<'a> PurgeRequest<'a> {
    /// What a request asks for (`STREAM.PURGE`): `filter`, `seq`, `keep`. One that says nothing is for everything.
    ///
    /// ```
    /// use jetsam::store::PurgeRequest;
    /// let request = serde_json::from_str(r#"{"filter":"orders.1","keep":2}"#).expect("JSON");
    /// let purge = PurgeRequest::requested(&request);
    /// assert_eq!((purge.filter, purge.below, purge.keep), (&b"orders.1"[..], 0, 2));
    /// ```
    #[must_use]
    pub fn requested(request: &'a Value) -> Self {
        PurgeRequest {
            filter: request["filter"].as_str().unwrap_or("").as_bytes(),
            below: request["seq"].as_u64().unwrap_or(0),
            keep: request["keep"].as_u64().unwrap_or(0),
        }
    }
}

impl StreamMeta {
    /// The configuration that a request for the stream `name` asks for (`STREAM.CREATE`), with the server's defaults, and its checks passed.
    ///
    /// # Errors
    ///
    /// [`ApiError`]: not a configuration, one that the server refuses, or one of another name.
    pub fn requested(request: &Value, name: &str) -> Result<Self, ApiError> {
        let config = StreamMeta::parse(request.to_string().as_bytes())?.settings()?;
        match config.name == name {
            true => Ok(config),
            false => Err(ApiError::new(10056, "the request is for another stream")),
        }
    }
}

impl ConsumerMeta {
    /// The configuration that a request for the consumer `name` asks for (`config` in `CONSUMER.CREATE`), with the server's defaults. Of
    /// the server's checks those of filters and names are made.
    ///
    /// # Errors
    ///
    /// [`ApiError`]: not a configuration, a filter that is none, or another durable name.
    pub fn requested(config: &Value, name: &str) -> Result<Self, ApiError> {
        let mut fields = config.as_object().cloned().unwrap_or_default();
        fields.insert("name".to_owned(), Value::from(name));
        let config = ConsumerMeta::parse(Value::from(fields).to_string().as_bytes())?.settings();
        let mut filters = config.filter_subjects.iter();
        if let Some(filter) = filters.find(|filter| !is_valid_subject(filter)) {
            return Err(ApiError::new(10093, format!("{filter:?} is no filter")));
        }
        match ["", name].contains(&config.durable.as_str()) {
            true => Ok(config),
            false => Err(ApiError::new(10017, "the durable name is another one")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_requested_stream_is_of_its_name_and_one_the_server_would_make() {
        let requested = |text: &str| {
            let config = StreamMeta::requested(&json(text), "S");
            config.map_err(|error| error.number)
        };
        let config = requested(r#"{"name":"S","subjects":["s"]}"#).unwrap();
        assert_eq!(config.duplicate_window_ns, 120_000_000_000);
        for (text, number) in [
            (r#"{"name":7}"#, 10025),
            (r#"{"name":"S","subjects":["s..t"]}"#, 10052),
            ("null", 10052),
            (r#"{"name":"T"}"#, 10056),
        ] {
            assert_eq!(requested(text).map(|_| ()), Err(number), "{text}");
        }
    }

    #[test]
    fn a_requested_consumer_has_its_name_and_defaults() {
        let requested = |text: &str| {
            let config = ConsumerMeta::requested(&json(text), "C");
            config.map_err(|error| error.number)
        };
        let config = requested(r#"{"durable_name":"C","ack_policy":"explicit"}"#).unwrap();
        assert_eq!((&*config.name, config.max_ack_pending), ("C", 1000));
        assert_eq!(requested("null").unwrap().name, "C");
        for (text, number) in [
            (r#"{"ack_policy":"never"}"#, 10025),
            (r#"{"filter_subjects":["a","b..c"]}"#, 10093),
            (r#"{"durable_name":"D"}"#, 10017),
        ] {
            assert_eq!(requested(text).map(|_| ()), Err(number), "{text}");
        }
    }
}
