//! Metadata of streams and consumers: the JSON of `meta.inf`, the text of `meta.sum`.
//!
//! Source: file format reference, section 2.

mod check;
mod consumer;
mod info;
mod overlap;
mod schema;
mod source;
mod stream;
mod transform;

use std::fmt;

pub use check::ConfigError;
pub use consumer::{AckPolicy, ConsumerMeta, DeliverPolicy, ReplayPolicy};
pub use info::InfoError;
pub use overlap::is_valid as is_valid_subject;
pub use schema::Object;
pub use source::{SourceMeta, SubjectTransform};
pub use stream::{Compression, Discard, PersistMode, Retention, Storage, StreamMeta};

use super::duration::{self, Instant};
use serde_json::Value;

/// The API level of the server whose decisions are followed.
pub const API_LEVEL: i64 = 5;

/// The entry of an asset's `metadata` that says which API level it needs.
const REQUIRED_LEVEL: &str = "_nats.req.level";

/// The content of `meta.sum` for this hash: its eight bytes as stored, as 16 lower-case hexadecimal digits.
#[must_use]
pub fn meta_sum_text(hash: u64) -> String {
    super::checksum::hex16(hash)
}

/// Why metadata cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaError {
    /// There is nothing in the file.
    Empty,
    /// It is not JSON.
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        detail: String,
    },
    /// Something follows the object, which matters where it has unknown fields.
    Trailing {
        /// Bytes after the object.
        length: usize,
    },
    /// A field holds what it cannot hold.
    Value {
        /// The field, with dots between the levels.
        path: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It has another type, or does not fit.
    Type {
        /// What should be there.
        expected: &'static str,
    },
    /// It is not one of the words known.
    Word {
        /// The word found.
        found: String,
        /// The words there are.
        known: &'static [&'static str],
    },
    /// It is no time.
    Time {
        /// The text found.
        text: String,
    },
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the metadata is empty"),
            Self::Syntax { detail, .. } => write!(f, "the metadata is not JSON: {detail}"),
            Self::Trailing { length } => {
                write!(
                    f,
                    "the metadata has {length} bytes after its end and fields that are not known"
                )
            }
            Self::Value { path, problem } => {
                let path = if path.is_empty() {
                    "the metadata"
                } else {
                    path
                };
                match problem {
                    Problem::Type { expected } => write!(f, "{path}: expected {expected}"),
                    Problem::Word { found, known } => {
                        write!(f, "{path}: {found:?} is none of {}", known.join(", "))
                    }
                    Problem::Time { text } => write!(f, "{path}: {text:?} is no RFC 3339 time"),
                }
            }
        }
    }
}

impl std::error::Error for MetaError {}

/// When an asset was created, as its metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The instant; `None` where the field is absent or says "no time".
    pub instant: Option<Instant>,
    /// The text found; empty where the field is absent.
    pub text: String,
}

impl Created {
    fn of(object: &Object) -> Self {
        let text = text(object, "Created");
        let instant = duration::parse_instant(&text)
            .ok()
            .filter(|instant| !instant.is_zero());
        Created { instant, text }
    }

    /// Nanoseconds since the Unix epoch; `None` where there is no time, or one out of range.
    #[must_use]
    pub fn ns(&self) -> Option<i64> {
        self.instant.and_then(|instant| instant.unix_ns().ok())
    }
}

/// What an asset asks of the server's API level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequiredLevel {
    /// Nothing.
    None,
    /// At least this level.
    Level(i64),
    /// Something that is no number; no server supports that.
    Unreadable(String),
}

impl RequiredLevel {
    fn of(object: &Object) -> Self {
        let Some(found) = object
            .get("metadata")
            .and_then(|metadata| metadata.get(REQUIRED_LEVEL))
            .and_then(Value::as_str)
        else {
            return RequiredLevel::None;
        };
        if found.is_empty() {
            return RequiredLevel::None;
        }
        found.parse().map_or_else(
            |_| RequiredLevel::Unreadable(found.to_owned()),
            RequiredLevel::Level,
        )
    }

    /// Whether the server followed here supports it.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.is_within(API_LEVEL)
    }

    /// Whether a server of API level `supported` does.
    #[must_use]
    pub fn is_within(&self, supported: i64) -> bool {
        match self {
            RequiredLevel::None => true,
            RequiredLevel::Level(level) => *level <= supported,
            RequiredLevel::Unreadable(_) => false,
        }
    }
}

impl fmt::Display for RequiredLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequiredLevel::None => f.write_str("none"),
            RequiredLevel::Level(level) => write!(f, "{level}"),
            RequiredLevel::Unreadable(found) => write!(f, "{found:?}"),
        }
    }
}

// Readers of canonical objects: absent and null fields read as zero.

fn text(object: &Object, name: &str) -> String {
    object
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn number(object: &Object, name: &str) -> i64 {
    object.get(name).and_then(Value::as_i64).unwrap_or(0)
}

fn unsigned(object: &Object, name: &str) -> u64 {
    object.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn flag(object: &Object, name: &str) -> bool {
    object.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn texts(object: &Object, name: &str) -> Vec<String> {
    let items = object
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    items
        .iter()
        .map(|item| item.as_str().unwrap_or_default().to_owned())
        .collect()
}

fn text_map(object: &Object, name: &str) -> std::collections::BTreeMap<String, String> {
    let entries = object
        .get(name)
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    entries
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn part<'a>(object: &'a Object, name: &str) -> Option<&'a Object> {
    object.get(name).and_then(Value::as_object)
}

#[cfg(test)]
mod tests;
