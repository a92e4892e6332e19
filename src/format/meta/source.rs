//! A stream's sources, and the key under which their progress is kept.

use serde_json::Value;

use super::schema::{Field, Kind, Object, kept, optional};
use super::{part, text, unsigned};
use crate::format::names::hash8;

pub(super) const TRANSFORM: &[Field] = &[kept("src", Kind::Text), kept("dest", Kind::Text)];
const EXTERNAL: &[Field] = &[kept("api", Kind::Text), kept("deliver", Kind::Text)];
const CONSUMER: &[Field] = &[
    optional("name", Kind::Text),
    optional("deliver_subject", Kind::Text),
];

pub(super) const SOURCE: &[Field] = &[
    kept("name", Kind::Text),
    optional("opt_start_seq", Kind::Unsigned),
    optional("opt_start_time", Kind::OptionalTime),
    optional("filter_subject", Kind::Text),
    optional("subject_transforms", Kind::Parts(TRANSFORM)),
    optional("external", Kind::OptionalPart(EXTERNAL)),
    optional("consumer", Kind::OptionalPart(CONSUMER)),
];

/// One rule by which subjects are renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectTransform {
    /// Which subjects; empty for all.
    pub source: String,
    /// What they become; empty for no change.
    pub destination: String,
}

impl SubjectTransform {
    pub(super) fn of(object: &Object) -> Self {
        SubjectTransform {
            source: text(object, "src"),
            destination: text(object, "dest"),
        }
    }
}

/// The other stream of a mirror or a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceMeta {
    /// Its name.
    pub name: String,
    /// First sequence wanted of it, 0 for all.
    pub opt_start_seq: u64,
    /// Whether a start time is set.
    pub has_start_time: bool,
    /// Which subjects are wanted; empty for all.
    pub filter_subject: String,
    /// Renaming of subjects.
    pub subject_transforms: Vec<SubjectTransform>,
    /// API prefix and delivery prefix of a stream in another account or domain.
    pub external: Option<(String, String)>,
    /// Name and delivery subject of the durable consumer used (2.14).
    pub consumer: Option<(String, String)>,
}

impl SourceMeta {
    pub(super) fn of(object: &Object) -> Self {
        let transforms = object.get("subject_transforms").and_then(Value::as_array);
        let pair = |name, first, second| {
            part(object, name).map(|part| (text(part, first), text(part, second)))
        };
        SourceMeta {
            name: text(object, "name"),
            opt_start_seq: unsigned(object, "opt_start_seq"),
            has_start_time: object.get("opt_start_time").is_some_and(Value::is_string),
            filter_subject: text(object, "filter_subject"),
            subject_transforms: transforms
                .into_iter()
                .flatten()
                .map(|item| {
                    item.as_object()
                        .map(SubjectTransform::of)
                        .unwrap_or_default()
                })
                .collect(),
            external: pair("external", "api", "deliver"),
            consumer: pair("consumer", "name", "deliver_subject"),
        }
    }

    /// The key of its entry in `sources.db`: origin, filter and destination, joined by spaces (file format reference,
    /// section 9.1).
    #[must_use]
    pub fn key(&self) -> String {
        let mut origin = self.name.clone();
        if let Some((api, _)) = &self.external {
            origin.push(':');
            origin.push_str(&hash8(api.as_bytes()));
        }
        if let Some((consumer, _)) = &self.consumer {
            origin.push_str(":C=");
            origin.push_str(&hash8(consumer.as_bytes()));
        }
        if self.subject_transforms.is_empty() {
            return format!("{origin} {} >", or_all(&self.filter_subject));
        }
        let joined = |side: fn(&SubjectTransform) -> &str| {
            self.subject_transforms
                .iter()
                .map(|transform| or_all(side(transform)))
                .collect::<Vec<_>>()
                .join("\x0c")
        };
        let sources = joined(|transform| &transform.source);
        let destinations = joined(|transform| &transform.destination);
        format!("{origin} {sources} {destinations}")
    }

    /// The names by which message headers older than 2.10 mean it (file format reference, section 9.1).
    #[must_use]
    pub fn legacy_names(&self) -> Vec<String> {
        let mut names = vec![self.name.clone()];
        if let Some((api, _)) = &self.external {
            names.push(format!("{}:{}", self.name, hash8(api.as_bytes())));
        }
        names
    }

    /// The subjects under which its messages are looked for when its progress is searched backwards: its filter, and
    /// what its transforms make of subjects.
    #[must_use]
    pub fn filters(&self) -> Vec<String> {
        let mut filters = vec![or_all(&self.filter_subject).to_owned()];
        filters.extend(
            self.subject_transforms
                .iter()
                .map(|transform| or_all(&transform.destination).to_owned()),
        );
        filters
    }
}

fn or_all(subject: &str) -> &str {
    if subject.is_empty() { ">" } else { subject }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(json: &str) -> SourceMeta {
        SourceMeta::of(
            serde_json::from_str::<Value>(json)
                .expect("JSON")
                .as_object()
                .expect("object"),
        )
    }

    #[test]
    fn keys_as_the_server_composes_them() {
        assert_eq!(source(r#"{"name":"SRC"}"#).key(), "SRC > >");
        assert_eq!(
            source(r#"{"name":"TWO","filter_subject":"two.a.>"}"#).key(),
            "TWO two.a.> >"
        );
        let all = source(
            r#"{"name":"SRC","external":{"api":"$JS.ext.API","deliver":""},"consumer":{"name":"dur"},
                "subject_transforms":[{"src":"a.>","dest":"b.>"},{"src":"","dest":"c"}]}"#,
        );
        assert_eq!(all.key(), "SRC:f7C5SBrE:C=lS2bloCe a.>\x0c> b.>\x0cc");
        assert_eq!(all.legacy_names(), ["SRC", "SRC:f7C5SBrE"]);
        assert_eq!(all.filters(), [">", "b.>", "c"]);
    }

    #[test]
    fn an_empty_api_prefix_still_counts_as_external() {
        let source = source(r#"{"name":"S","external":{"api":"","deliver":""}}"#);
        assert_eq!(source.key(), format!("S:{} > >", hash8(b"")));
    }

    #[test]
    fn a_filter_without_transforms_is_the_only_place_searched() {
        assert_eq!(
            source(r#"{"name":"S","filter_subject":"a.b"}"#).filters(),
            ["a.b"]
        );
    }
}
