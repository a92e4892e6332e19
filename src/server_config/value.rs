//! The values of a server configuration, each with the place it was written at.

use super::problem::ConfigError;
use super::scan::Secret;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A value.
#[derive(Debug)]
pub enum Value {
    /// A string, which may be a password or a key.
    Text(Secret),
    /// `true`, `yes`, `on` and their opposites.
    Flag(bool),
    /// A whole number, its unit applied: `1k` is 1,000, `1kb` and `1ki` are 1,024.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A date and time.
    Date,
    /// An array; the place of each element is its own.
    List(Vec<Entry>),
    /// A map.
    Map(Map),
    /// A variable that leads nowhere. A server would not start with it, whatever it was for.
    Unresolved(ConfigError),
}

impl Value {
    /// The type in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Flag(_) => "a boolean",
            Self::Integer(_) | Self::Float(_) => "a number (quotes make it a string)",
            Self::Date => "a date (quotes make it a string)",
            Self::List(_) => "an array",
            Self::Map(_) => "a map",
            Self::Unresolved(_) => "an unknown variable",
        }
    }
}

/// A value and where its key is; for an element of an array, where it is itself.
///
/// A value that a variable stands for is shared, not copied: following every path through a document may visit one value
/// exponentially often. Look up what you need.
#[derive(Clone)]
pub struct Entry {
    /// The value.
    pub value: Arc<Value>,
    /// The file, or `$NAME` for the text of an environment variable.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: usize,
    /// The character within the line, counted from 1.
    pub column: usize,
}

impl Entry {
    /// The map this is, if it is one.
    #[must_use]
    pub fn map(&self) -> Option<&Map> {
        match &*self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The string this is, if it is one and is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &*self.value {
            Value::Text(text) => std::str::from_utf8(text.bytes()).ok(),
            _ => None,
        }
    }
}

/// Shows the type and the place; what a variable is shared by could be shown without end.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {}:{}:{}",
            self.value.kind(),
            self.file.display(),
            self.line,
            self.column
        )
    }
}

/// Entries by key, as it is written. Of equal keys the last one counts. The server takes keys in any case and most of
/// them under several names: [`find`] looks them up its way.
pub type Map = BTreeMap<String, Entry>;

/// The entries of `map` whose key is one of `names`, which are in lower case, in any case it may be written in.
pub fn find<'a>(
    map: &'a Map,
    names: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, &'a Entry)> + 'a {
    map.iter()
        .filter(move |(key, _)| names.contains(&key.to_lowercase().as_str()))
        .map(|(key, entry)| (key.as_str(), entry))
}
