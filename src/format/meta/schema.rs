//! Reading and writing the JSON objects of metadata files by tables of fields.
//!
//! A table lists an object's fields in the order the server writes them. Reading goes by the rules of the server's
//! decoder: names match exactly first and else in any case, the last of several wins, `null` leaves a field as it is,
//! and a value of the wrong type fails the whole file. What comes out is canonical: fields under their own names,
//! only those that were there, unknown ones beside them.

use serde_json::{Map, Value};

use super::{MetaError, Problem};
use crate::format::duration;

/// A JSON object in the order of its keys.
pub type Object = Map<String, Value>;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// Text.
    Text,
    /// A whole number of 64 bits with a sign; durations too, in nanoseconds.
    Signed,
    /// A whole number of 32 bits with a sign.
    Signed32,
    /// A whole number of 64 bits without a sign.
    Unsigned,
    /// An instant as RFC 3339 text, always written.
    Time,
    /// An instant that may be absent.
    OptionalTime,
    /// A list of texts.
    Texts,
    /// A list of whole numbers.
    Numbers,
    /// Texts by text.
    TextMap,
    /// One of a few words; the first is the default.
    Word(&'static [&'static str]),
    /// The same, upper and lower case alike.
    WordAnyCase(&'static [&'static str]),
    /// An object that is always there.
    Part(&'static [Field]),
    /// An object that may be absent.
    OptionalPart(&'static [Field]),
    /// A list of objects.
    Parts(&'static [Field]),
}

/// One field of an object.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name as the server writes it.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is left out where it says nothing: zero, false, empty or absent.
    pub omit_empty: bool,
}

/// A field that is always written.
pub const fn kept(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        omit_empty: false,
    }
}

/// A field left out where it says nothing.
pub const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        omit_empty: true,
    }
}

/// Parses a file's text into a canonical object, and the paths of fields no table knows.
///
/// # Errors
///
/// [`MetaError`]: not JSON, not an object, or a value of the wrong type.
pub fn read(json: &[u8], fields: &'static [Field]) -> Result<(Object, Vec<String>), MetaError> {
    // Where strings are not UTF-8 the server puts replacement characters; elsewhere they are errors to both.
    let text = String::from_utf8_lossy(json);
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let value = match values.next() {
        Some(Ok(value)) => value,
        Some(Err(error)) => {
            return Err(MetaError::Syntax {
                line: error.line(),
                column: error.column(),
                detail: error.to_string(),
            });
        }
        None => return Err(MetaError::Empty),
    };
    let end = values.byte_offset();
    let mut reader = Reader::default();
    let object = reader.object(value, fields, "")?;
    let rest = text
        .get(end..)
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', '\r', '\n']);
    if !reader.unknown.is_empty() && !rest.is_empty() {
        // The server's strict decoder stops after the first value, its lenient one does not.
        return Err(MetaError::Trailing { length: rest.len() });
    }
    Ok((object, reader.unknown))
}

/// As [`read`], field by field: a field of the top level whose value does not fit is left out whole. The first such field is
/// returned beside the object, with its value where that is plain.
///
/// # Errors
///
/// [`MetaError`]: not JSON, or not an object.
pub fn read_fitting(
    json: &[u8],
    fields: &'static [Field],
) -> Result<(Object, Vec<String>, Option<String>), MetaError> {
    let text = String::from_utf8_lossy(json);
    let value: Value = serde_json::from_str(&text).map_err(|error| MetaError::Syntax {
        line: error.line(),
        column: error.column(),
        detail: error.to_string(),
    })?;
    let Value::Object(source) = value else {
        return Err(wrong("", "an object", &value));
    };
    let mut reader = Reader::default();
    let mut out = Object::new();
    let mut misfits = Vec::new();
    for (key, value) in source {
        let plain = (!value.is_object() && !value.is_array()).then(|| value.to_string());
        let one = Value::Object(Object::from_iter([(key.clone(), value)]));
        match reader.object(one, fields, "") {
            Ok(found) => out.extend(found),
            Err(_) => misfits.push((key, plain)),
        }
    }
    misfits.sort_unstable();
    let misfit = misfits.into_iter().next().map(|(key, plain)| match plain {
        Some(value) => format!("{key}: {value}"),
        None => key,
    });
    Ok((out, reader.unknown, misfit))
}

#[derive(Default)]
struct Reader {
    unknown: Vec<String>,
}

impl Reader {
    fn object(
        &mut self,
        value: Value,
        fields: &'static [Field],
        path: &str,
    ) -> Result<Object, MetaError> {
        let mut out = Object::new();
        let source = match value {
            Value::Object(source) => source,
            Value::Null => return Ok(out),
            other => return Err(wrong(path, "an object", &other)),
        };
        for (key, value) in source {
            let Some(field) = find(fields, &key) else {
                self.unknown.push(join(path, &key));
                out.insert(key, value);
                continue;
            };
            let value = self.value(value, field.kind, &join(path, field.name))?;
            if let Some(value) = value {
                out.insert(field.name.to_owned(), value);
            }
        }
        Ok(out)
    }

    /// The value in canonical form; `None` where it changes nothing.
    fn value(&mut self, value: Value, kind: Kind, path: &str) -> Result<Option<Value>, MetaError> {
        if value.is_null() {
            return match kind {
                Kind::Word(_) | Kind::WordAnyCase(_) => Err(wrong(path, "a word", &value)),
                Kind::Texts | Kind::Numbers | Kind::TextMap | Kind::Parts(_) => {
                    Ok(Some(Value::Null))
                }
                Kind::OptionalPart(_) | Kind::OptionalTime => Ok(Some(Value::Null)),
                _ => Ok(None),
            };
        }
        let checked = match kind {
            Kind::Bool => value.is_boolean().then_some(value).ok_or("true or false"),
            Kind::Text => value.is_string().then_some(value).ok_or("a text"),
            Kind::Signed => value
                .is_i64()
                .then_some(value)
                .ok_or("a whole number of 64 bits"),
            Kind::Unsigned => value
                .is_u64()
                .then_some(value)
                .ok_or("a whole number from 0 on"),
            Kind::Signed32 => {
                let fits = value
                    .as_i64()
                    .is_some_and(|number| i32::try_from(number).is_ok());
                fits.then_some(value).ok_or("a whole number of 32 bits")
            }
            Kind::Time | Kind::OptionalTime => return instant(value, path).map(Some),
            Kind::Texts => return list(value, path, "texts", |item| item.is_string()).map(Some),
            Kind::Numbers => {
                return list(value, path, "whole numbers", |item| item.is_i64()).map(Some);
            }
            Kind::TextMap => return text_map(value, path).map(Some),
            Kind::Word(words) => return word(value, words, false, path).map(Some),
            Kind::WordAnyCase(words) => return word(value, words, true, path).map(Some),
            Kind::Part(fields) | Kind::OptionalPart(fields) => {
                return self
                    .object(value, fields, path)
                    .map(|object| Some(Value::Object(object)));
            }
            Kind::Parts(fields) => return self.parts(value, fields, path).map(Some),
        };
        match checked {
            Ok(value) => Ok(Some(value)),
            Err(expected) => Err(MetaError::Value {
                path: path.to_owned(),
                problem: Problem::Type { expected },
            }),
        }
    }

    fn parts(
        &mut self,
        value: Value,
        fields: &'static [Field],
        path: &str,
    ) -> Result<Value, MetaError> {
        let Value::Array(items) = value else {
            return Err(wrong(path, "a list of objects", &value));
        };
        let mut out = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            out.push(match item {
                Value::Null => Value::Null,
                item => Value::Object(self.object(item, fields, &format!("{path}[{at}]"))?),
            });
        }
        Ok(Value::Array(out))
    }
}

fn wrong(path: &str, expected: &'static str, _found: &Value) -> MetaError {
    MetaError::Value {
        path: path.to_owned(),
        problem: Problem::Type { expected },
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn find(fields: &'static [Field], key: &str) -> Option<&'static Field> {
    fields.iter().find(|field| field.name == key).or_else(|| {
        let folded = fold(key);
        fields.iter().find(|field| fold(field.name) == folded)
    })
}

/// Upper and lower case made one, with the two letters beyond ASCII that have an ASCII counterpart.
fn fold(name: &str) -> String {
    let letter = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(letter).collect()
}

fn instant(value: Value, path: &str) -> Result<Value, MetaError> {
    let Value::String(text) = &value else {
        return Err(wrong(path, "an RFC 3339 time", &value));
    };
    match duration::parse_instant(text) {
        Ok(_) => Ok(value),
        Err(_) => {
            let problem = Problem::Time { text: text.clone() };
            Err(MetaError::Value {
                path: path.to_owned(),
                problem,
            })
        }
    }
}

fn list(
    value: Value,
    path: &str,
    expected: &'static str,
    fits: fn(&Value) -> bool,
) -> Result<Value, MetaError> {
    let Value::Array(items) = value else {
        return Err(wrong(path, expected, &value));
    };
    match items.iter().position(|item| !fits(item) && !item.is_null()) {
        None => Ok(Value::Array(items)),
        Some(at) => Err(wrong(&format!("{path}[{at}]"), expected, &Value::Null)),
    }
}

fn text_map(value: Value, path: &str) -> Result<Value, MetaError> {
    let Value::Object(entries) = value else {
        return Err(wrong(path, "texts by name", &value));
    };
    match entries
        .iter()
        .find(|(_, item)| !item.is_string() && !item.is_null())
    {
        None => Ok(Value::Object(entries)),
        Some((key, found)) => Err(wrong(&join(path, key), "a text", found)),
    }
}

fn word(
    value: Value,
    words: &'static [&'static str],
    any_case: bool,
    path: &str,
) -> Result<Value, MetaError> {
    let Value::String(found) = &value else {
        return Err(wrong(path, "a word", &value));
    };
    let spelt = if any_case {
        found.to_ascii_lowercase()
    } else {
        found.clone()
    };
    if words.contains(&spelt.as_str()) {
        return Ok(Value::String(spelt));
    }
    let problem = Problem::Word {
        found: found.clone(),
        known: words,
    };
    Err(MetaError::Value {
        path: path.to_owned(),
        problem,
    })
}

/// Writes a canonical object the way the server does: compact, in the order of the table, fields that say nothing
/// left out where the table says so, unknown fields behind the known ones.
pub fn write(object: &Object, fields: &'static [Field]) -> String {
    let text = Value::Object(ordered(object, fields)).to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // These can only stand inside strings.
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            other => out.push(other),
        }
    }
    out
}

fn ordered(object: &Object, fields: &'static [Field]) -> Object {
    let mut out = Object::new();
    for field in fields {
        let value = written(object.get(field.name), field.kind);
        if !(field.omit_empty && says_nothing(&value, field.kind)) {
            out.insert(field.name.to_owned(), value);
        }
    }
    for (key, value) in object {
        if !fields.iter().any(|field| field.name == key) {
            out.insert(key.clone(), value.clone());
        }
    }
    out
}

/// A field's value as written, its zero where the object lacks it.
fn written(value: Option<&Value>, kind: Kind) -> Value {
    match (kind, value) {
        (Kind::Part(fields), Some(Value::Object(object))) => Value::Object(ordered(object, fields)),
        (Kind::Part(fields), _) => Value::Object(ordered(&Object::new(), fields)),
        (Kind::OptionalPart(fields), Some(Value::Object(object))) => {
            Value::Object(ordered(object, fields))
        }
        (Kind::Parts(fields), Some(Value::Array(items))) => {
            let item = |item: &Value| match item {
                Value::Object(object) => Value::Object(ordered(object, fields)),
                other => other.clone(),
            };
            Value::Array(items.iter().map(item).collect())
        }
        (Kind::Time | Kind::OptionalTime, Some(Value::String(text))) => {
            match duration::parse_instant(text) {
                Ok(instant) => Value::String(instant.to_rfc3339()),
                Err(_) => Value::String(text.clone()),
            }
        }
        (Kind::TextMap, Some(Value::Object(entries))) => sorted(entries),
        (Kind::Texts, Some(Value::Array(items))) => Value::Array(
            items
                .iter()
                .map(|item| {
                    if item.is_null() {
                        Value::from("")
                    } else {
                        item.clone()
                    }
                })
                .collect(),
        ),
        (_, Some(value)) if !value.is_null() => value.clone(),
        _ => zero(kind),
    }
}

fn zero(kind: Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(false),
        Kind::Text => Value::from(""),
        Kind::Signed | Kind::Signed32 | Kind::Unsigned => Value::from(0),
        Kind::Time => Value::String(duration::Instant::ZERO.to_rfc3339()),
        Kind::Word(words) | Kind::WordAnyCase(words) => {
            Value::from(words.first().copied().unwrap_or_default())
        }
        _ => Value::Null,
    }
}

fn sorted(entries: &Object) -> Value {
    let mut pairs: Vec<(&String, &Value)> = entries.iter().collect();
    pairs.sort_unstable_by_key(|(key, _)| *key);
    let text = |value: &Value| {
        if value.is_null() {
            Value::from("")
        } else {
            value.clone()
        }
    };
    Value::Object(
        pairs
            .into_iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
    )
}

fn says_nothing(value: &Value, kind: Kind) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => match kind {
            Kind::Word(words) | Kind::WordAnyCase(words) => words.first() == Some(&text.as_str()),
            _ => text.is_empty(),
        },
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => matches!(kind, Kind::TextMap) && entries.is_empty(),
    }
}
