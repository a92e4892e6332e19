//! A configuration as the server tells it to its clients, in the answer to a request for the information of a stream or consumer, which
//! is also what `nats stream info --json` prints; and back.

use std::fmt;

use serde_json::{Value, json};

use super::{ConsumerMeta, MetaError, Object, StreamMeta};

/// Entries of `metadata` that a server adds to its answers and never stores.
const NEVER_STORED: [&str; 2] = ["_nats.ver", "_nats.level"];

/// Why a text is no stream information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InfoError {
    /// It is no JSON. What the parser says.
    Syntax(String),
    /// There is no `config` with a `name` in it.
    NoConfiguration,
    /// The configuration cannot be one.
    Configuration(MetaError),
}

impl fmt::Display for InfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InfoError::Syntax(detail) => write!(f, "it is not JSON: {detail}"),
            InfoError::NoConfiguration => {
                f.write_str("it holds no stream's configuration, an object `config` with a `name`")
            }
            InfoError::Configuration(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InfoError {}

impl StreamMeta {
    /// Takes the configuration from a stream's information: from its member `config`, or the text as a whole where that is a
    /// configuration, with the time of creation where that is told.
    ///
    /// # Errors
    ///
    /// [`InfoError`].
    pub fn from_info(json: &[u8]) -> Result<Self, InfoError> {
        let whole: Value =
            serde_json::from_slice(json).map_err(|error| InfoError::Syntax(error.to_string()))?;
        let mut config = whole.get("config").unwrap_or(&whole).clone();
        let fields = config.as_object_mut().ok_or(InfoError::NoConfiguration)?;
        if let Some(created) = whole.get("created").filter(|created| created.is_string()) {
            fields.entry("Created").or_insert_with(|| created.clone());
        }
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.retain(|name, _| !NEVER_STORED.contains(&name.as_str()));
        }
        let meta =
            StreamMeta::parse(config.to_string().as_bytes()).map_err(InfoError::Configuration)?;
        match meta.name.is_empty() {
            true => Err(InfoError::NoConfiguration),
            false => Ok(meta),
        }
    }

    /// The configuration and the time of creation, as [`from_info`](Self::from_info) takes them.
    #[must_use]
    pub fn info(&self) -> Value {
        json!({"config": settings(self.raw()), "created": self.created.text})
    }
}

impl ConsumerMeta {
    /// Name, configuration and time of creation.
    #[must_use]
    pub fn info(&self) -> Value {
        let config = settings(self.raw());
        json!({"name": self.store_name, "config": config, "created": self.created.text})
    }
}

/// What of the metadata is configuration.
fn settings(raw: &Object) -> Object {
    let mut settings = raw.clone();
    settings.retain(|name, _| name != "Created" && name != "Name");
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_server_and_a_bare_configuration_will_do() {
        let answer = br#"{"type":"io.nats.jetstream.api.v1.stream_info_response","created":"2026-01-02T03:04:05.5Z",
            "config":{"name":"I","subjects":["i.>"],"retention":"interest","storage":"file","num_replicas":3,
            "metadata":{"_nats.ver":"2.15.3","_nats.level":"5","_nats.req.level":"0","mine":"x"}},
            "state":{"messages":900}}"#;
        let meta = StreamMeta::from_info(answer).expect("a configuration");
        assert_eq!((meta.name.as_str(), meta.replicas), ("I", 3));
        assert_eq!(meta.retention, super::super::Retention::Interest);
        assert_eq!(meta.created.ns(), Some(1_767_323_045_500_000_000));
        let kept: Vec<&str> = meta.metadata.keys().map(String::as_str).collect();
        assert_eq!(kept, ["_nats.req.level", "mine"]);
        assert!(meta.unknown_fields.is_empty(), "{:?}", meta.unknown_fields);
        let bare = StreamMeta::from_info(br#"{"name":"T","subjects":["t"]}"#);
        assert_eq!(bare.expect("a configuration").subjects, ["t"]);
    }

    #[test]
    fn what_is_told_is_taken_again() {
        let text =
            br#"{"Created":"2026-01-02T03:04:05Z","name":"S","subjects":["s"],"storage":"file"}"#;
        let meta = StreamMeta::parse(text).expect("parses");
        assert!(meta.info()["config"]["Created"].is_null());
        let again = StreamMeta::from_info(meta.info().to_string().as_bytes());
        assert_eq!(again.expect("a configuration").encode(), meta.encode());
        let consumer = ConsumerMeta::explicit("C").expect("parses");
        let told = consumer.with_identity("C", "2026-01-02T03:04:05Z").info();
        assert_eq!(
            (&told["name"], &told["config"]["Name"]),
            (&json!("C"), &Value::Null)
        );
        assert_eq!(told["created"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_is_none_is_refused() {
        let error = |text: &[u8]| StreamMeta::from_info(text).expect_err("refused");
        assert!(matches!(error(b"{"), InfoError::Syntax(_)));
        for text in [&b"[]"[..], b"{}", br#"{"config":{"subjects":[]}}"#, b"7"] {
            assert_eq!(error(text), InfoError::NoConfiguration);
        }
        let wrong = error(br#"{"config":{"name":"T","max_age":"1h"}}"#);
        assert!(matches!(wrong, InfoError::Configuration(_)), "{wrong}");
    }
}
