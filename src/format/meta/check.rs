//! The server's checks of a stream's settings, and its defaults.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::overlap::{collide, is_subset, is_valid};
use super::source::{SourceMeta, SubjectTransform};
use super::stream::{Discard, PersistMode, Retention, Storage, StreamMeta};
use super::transform;
use crate::format::names::is_valid_asset_name;
use crate::format::subject;

const DESCRIPTION_MAX: usize = 4 * 1024;
const METADATA_MAX: usize = 128 * 1024;
const REPLICAS_MAX: i64 = 5;
const DUPLICATE_WINDOW_DEFAULT_NS: i64 = 120_000_000_000;
const SHORTEST_NS: i64 = 100_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// Why the server refuses a stream's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The name is empty, too long, or holds what a name may not hold.
    Name(String),
    /// A text is too long.
    TooLong {
        /// Which.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The most allowed.
        limit: usize,
    },
    /// A number is outside its range.
    Range {
        /// Which field.
        field: &'static str,
        /// The value found.
        found: i64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// Two settings exclude each other.
    Conflict {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A subject or filter is not valid.
    Subject(String),
    /// Two subjects overlap.
    Overlap {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Subjects cannot be renamed like this.
    Transform {
        /// Which subjects.
        source: String,
        /// What they should become.
        destination: String,
    },
    /// A subject reaches into the server's own without `no_ack`.
    Reserved(String),
    /// A source has no sound name, or is listed twice.
    Source(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is no stream name"),
            Self::TooLong {
                field,
                length,
                limit,
            } => {
                write!(f, "{field} has {length} bytes, at most {limit} are allowed")
            }
            Self::Range {
                field,
                found,
                allowed,
            } => write!(f, "{field} is {found}, allowed is {allowed}"),
            Self::Conflict { first, second } => {
                write!(f, "{first} cannot be combined with {second}")
            }
            Self::Subject(found) => write!(f, "{found:?} is no valid subject"),
            Self::Overlap { first, second } => {
                write!(f, "the subjects {first:?} and {second:?} overlap")
            }
            Self::Transform {
                source,
                destination,
            } => {
                write!(f, "subjects {source:?} cannot become {destination:?}")
            }
            Self::Reserved(found) => write!(
                f,
                "the subject {found:?} belongs to the server and no_ack is not set"
            ),
            Self::Source(name) => write!(
                f,
                "the source {name:?} has no valid name or is listed twice"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

fn conflict(first: &'static str, second: &'static str) -> ConfigError {
    ConfigError::Conflict { first, second }
}

/// Fills in defaults and applies the checks, in the server's order as far as it matters.
pub(super) fn settings(meta: &StreamMeta) -> Result<StreamMeta, ConfigError> {
    names_and_sizes(meta)?;
    let meta = with_defaults(meta)?;
    ranges(&meta)?;
    combinations(&meta)?;
    if let Some(mirror) = &meta.mirror {
        mirror_allowed(&meta, mirror)?;
    }
    sources(&meta)?;
    subjects(&meta)?;
    transforms(&meta)?;
    Ok(meta)
}

fn names_and_sizes(meta: &StreamMeta) -> Result<(), ConfigError> {
    if !is_valid_asset_name(meta.name.as_bytes()) {
        return Err(ConfigError::Name(meta.name.clone()));
    }
    let sizes = [
        ("description", meta.description.len(), DESCRIPTION_MAX),
        (
            "metadata",
            meta.metadata
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum(),
            METADATA_MAX,
        ),
    ];
    match sizes.into_iter().find(|(_, length, limit)| length > limit) {
        Some((field, length, limit)) => Err(ConfigError::TooLong {
            field,
            length,
            limit,
        }),
        None => Ok(()),
    }
}

/// What the server puts where a setting says nothing.
fn with_defaults(meta: &StreamMeta) -> Result<StreamMeta, ConfigError> {
    let unlimited = |found: i64| Value::from(if found <= 0 { -1 } else { found });
    let mut fields = vec![
        ("max_msgs", unlimited(meta.max_messages)),
        (
            "max_msgs_per_subject",
            unlimited(meta.max_messages_per_subject),
        ),
        ("max_bytes", unlimited(meta.max_bytes)),
        ("max_msg_size", unlimited(meta.max_message_size)),
        ("max_consumers", unlimited(meta.max_consumers)),
    ];
    if meta.replicas == 0 {
        fields.push(("num_replicas", Value::from(1)));
    }
    let copies = meta.mirror.is_some() || !meta.sources.is_empty() || meta.has_null_source;
    if meta.duplicate_window_ns == 0 && !copies {
        let window = match meta.max_age_ns {
            age @ 1..DUPLICATE_WINDOW_DEFAULT_NS => age,
            _ => DUPLICATE_WINDOW_DEFAULT_NS,
        };
        fields.push(("duplicate_window", Value::from(window)));
    }
    let markers = meta.subject_delete_marker_ttl_ns > 0;
    if markers {
        fields.push(("allow_msg_ttl", Value::from(true)));
    }
    // Roll-ups and refused purges exclude each other; checked before the first is switched on for the server's needs.
    if meta.deny_purge && meta.allow_rollup {
        return Err(conflict("allow_rollup_hdrs", "deny_purge"));
    }
    if (markers || meta.allow_msg_schedules) && !meta.allow_rollup {
        fields.push(("allow_rollup_hdrs", Value::from(true)));
        fields.push(("deny_purge", Value::from(false)));
    }
    if meta.subjects.is_empty() && !copies {
        fields.push(("subjects", Value::from(vec![meta.name.clone()])));
    }
    Ok(meta.with(fields))
}

fn ranges(meta: &StreamMeta) -> Result<(), ConfigError> {
    let range = |field, found, fits, allowed| {
        if fits {
            Ok(())
        } else {
            Err(ConfigError::Range {
                field,
                found,
                allowed,
            })
        }
    };
    let (age, window, marker) = (
        meta.max_age_ns,
        meta.duplicate_window_ns,
        meta.subject_delete_marker_ttl_ns,
    );
    range(
        "num_replicas",
        meta.replicas,
        (1..=REPLICAS_MAX).contains(&meta.replicas),
        "1 to 5",
    )?;
    range(
        "max_age",
        age,
        age == 0 || age >= SHORTEST_NS,
        "0, or 100 ms and more",
    )?;
    range(
        "duplicate_window",
        window,
        window == 0 || window >= SHORTEST_NS,
        "0, or 100 ms and more",
    )?;
    range(
        "duplicate_window",
        window,
        age == 0 || window <= age,
        "max_age and less",
    )?;
    range(
        "subject_delete_marker_ttl",
        marker,
        marker == 0 || marker >= SECOND_NS,
        "0, or a second and more",
    )
}

fn combinations(meta: &StreamMeta) -> Result<(), ConfigError> {
    let discard_new = meta.discard == Discard::New;
    let asynchronous = meta.persist_mode == PersistMode::Async;
    let counter = meta.allow_msg_counter;
    let per_subject = meta.discard_new_per_subject;
    // The server checks counters before delete markers switch TTLs on; together they are let through.
    let own_ttl = meta.allow_msg_ttl && meta.subject_delete_marker_ttl_ns == 0;
    let excluded = [
        (counter && discard_new, "allow_msg_counter", "discard new"),
        (counter && own_ttl, "allow_msg_counter", "allow_msg_ttl"),
        (
            counter && meta.allow_msg_schedules,
            "allow_msg_counter",
            "allow_msg_schedules",
        ),
        (
            counter && meta.retention != Retention::Limits,
            "allow_msg_counter",
            "this retention",
        ),
        (
            per_subject && !discard_new,
            "discard_new_per_subject",
            "discard old",
        ),
        (
            per_subject && meta.max_messages_per_subject <= 0,
            "discard_new_per_subject",
            "no max_msgs_per_subject",
        ),
        (
            meta.allow_msg_schedules && discard_new,
            "allow_msg_schedules",
            "discard new",
        ),
        (
            meta.allow_msg_schedules && !meta.sources.is_empty(),
            "allow_msg_schedules",
            "sources",
        ),
        (
            asynchronous && meta.storage != Storage::File,
            "persist_mode async",
            "storage in memory",
        ),
        (
            asynchronous && meta.replicas > 1,
            "persist_mode async",
            "more than one replica",
        ),
        (
            asynchronous && meta.allow_atomic,
            "persist_mode async",
            "allow_atomic",
        ),
        (meta.prefers_a_server(), "placement", "a preferred server"),
    ];
    match excluded.into_iter().find(|(applies, ..)| *applies) {
        Some((_, first, second)) => Err(conflict(first, second)),
        None => Ok(()),
    }
}

fn mirror_allowed(meta: &StreamMeta, mirror: &SourceMeta) -> Result<(), ConfigError> {
    let excluded = [
        (meta.first_seq > 0, "first_seq"),
        (!meta.subjects.is_empty(), "subjects"),
        (!meta.sources.is_empty() || meta.has_null_source, "sources"),
        (meta.allow_msg_counter, "allow_msg_counter"),
        (meta.allow_atomic, "allow_atomic"),
        (meta.allow_batched, "allow_batched"),
        (meta.allow_msg_schedules, "allow_msg_schedules"),
        (
            meta.subject_delete_marker_ttl_ns > 0,
            "subject_delete_marker_ttl",
        ),
    ];
    if let Some((_, second)) = excluded.into_iter().find(|(applies, _)| *applies) {
        return Err(conflict("mirror", second));
    }
    if mirror.external.is_none() && !is_valid_asset_name(mirror.name.as_bytes()) {
        return Err(ConfigError::Source(mirror.name.clone()));
    }
    origin(mirror, collide)
}

fn sources(meta: &StreamMeta) -> Result<(), ConfigError> {
    if meta.has_null_source {
        return Err(ConfigError::Source(String::new()));
    }
    let mut seen = BTreeSet::new();
    let mut consumers = BTreeSet::new();
    for source in &meta.sources {
        let refused = || ConfigError::Source(source.name.clone());
        if !is_valid_asset_name(source.name.as_bytes()) || !seen.insert(source.key()) {
            return Err(refused());
        }
        if let Some((consumer, _)) = &source.consumer {
            let api = source.external.as_ref().map(|(api, _)| api);
            if !consumers.insert((&source.name, api, consumer)) {
                return Err(refused());
            }
        }
        origin(source, is_subset)?;
        if source.external.is_none() && source.name == meta.name && feeds_itself(meta, source) {
            return Err(conflict("sources", "the stream itself"));
        }
    }
    Ok(())
}

fn feeds_itself(meta: &StreamMeta, source: &SourceMeta) -> bool {
    let filter = &source.filter_subject;
    filter.is_empty() || meta.subjects.iter().any(|subject| collide(subject, filter))
}

/// What mirrors and sources have in common; `overlap` is how the filters of transforms are compared.
fn origin(origin: &SourceMeta, overlap: fn(&str, &str) -> bool) -> Result<(), ConfigError> {
    if !origin.filter_subject.is_empty() && !origin.subject_transforms.is_empty() {
        return Err(conflict("filter_subject", "subject_transforms"));
    }
    let mut filters = origin
        .subject_transforms
        .iter()
        .map(|transform| &transform.source);
    if let Some(bad) = filters.find(|filter| !filter.is_empty() && !is_valid(filter)) {
        return Err(ConfigError::Subject(bad.clone()));
    }
    origin.subject_transforms.iter().try_for_each(renaming)?;
    for (outer, first) in origin.subject_transforms.iter().enumerate() {
        for (inner, second) in origin.subject_transforms.iter().enumerate() {
            if outer != inner && overlap(&first.source, &second.source) {
                return Err(ConfigError::Overlap {
                    first: first.source.clone(),
                    second: second.source.clone(),
                });
            }
        }
    }
    if let Some((consumer, deliver)) = &origin.consumer {
        let sound = is_valid_asset_name(consumer.as_bytes())
            && is_valid(deliver)
            && subject::is_literal(deliver.as_bytes())
            && origin.opt_start_seq == 0
            && !origin.has_start_time
            && origin.filter_subject.is_empty();
        if !sound {
            return Err(conflict(
                "a durable consumer",
                "a start, a filter, or an unsound name",
            ));
        }
    }
    if !origin.filter_subject.is_empty() && !is_valid(&origin.filter_subject) {
        return Err(ConfigError::Subject(origin.filter_subject.clone()));
    }
    prefixes(origin)
}

fn prefixes(origin: &SourceMeta) -> Result<(), ConfigError> {
    let Some((api, deliver)) = &origin.external else {
        return Ok(());
    };
    for prefix in [api, deliver] {
        let sound = is_valid(prefix) && subject::is_literal(prefix.as_bytes());
        if !prefix.is_empty() && !sound {
            return Err(ConfigError::Subject(prefix.clone()));
        }
    }
    if collide(api, "$JS.API") {
        Err(ConfigError::Reserved(api.clone()))
    } else {
        Ok(())
    }
}

fn subjects(meta: &StreamMeta) -> Result<(), ConfigError> {
    for (at, subject) in meta.subjects.iter().enumerate() {
        if !is_valid(subject) {
            return Err(ConfigError::Subject(subject.clone()));
        }
        if !meta.no_ack && is_reserved(subject) {
            return Err(ConfigError::Reserved(subject.clone()));
        }
        if subject == ">" && meta.replicas != 1 {
            return Err(conflict("the subject >", "more than one replica"));
        }
        if let Some(other) = meta
            .subjects
            .iter()
            .skip(at + 1)
            .find(|other| collide(other, subject))
        {
            return Err(ConfigError::Overlap {
                first: subject.clone(),
                second: other.clone(),
            });
        }
        if let Some(republish) = &meta.republish
            && collide(&republish.destination, subject)
            && !republishes_transformed(meta)
        {
            return Err(conflict("republish", "the subjects republished to"));
        }
    }
    Ok(())
}

/// The renaming of subjects on arrival and on republishing.
fn transforms(meta: &StreamMeta) -> Result<(), ConfigError> {
    if let Some(transform) = &meta.subject_transform {
        if !transform.source.is_empty() && !is_valid(&transform.source) {
            return Err(ConfigError::Subject(transform.source.clone()));
        }
        renaming(transform)?;
    }
    if let Some(republish) = &meta.republish
        && !republishes_transformed(meta)
        && !transform::is_sound(&republish.source, &republish.destination)
    {
        return Err(ConfigError::Transform {
            source: republish.source.clone(),
            destination: republish.destination.clone(),
        });
    }
    Ok(())
}

fn renaming(transform: &SubjectTransform) -> Result<(), ConfigError> {
    let SubjectTransform {
        source,
        destination,
    } = transform;
    if transform::is_sound(source, destination) && transform::is_tidy(destination) {
        return Ok(());
    }
    Err(ConfigError::Transform {
        source: source.clone(),
        destination: destination.clone(),
    })
}

/// Republishing everything as everything is allowed where the stream's one subject is renamed: it then means the new
/// name, if that is not the old one again.
fn republishes_transformed(meta: &StreamMeta) -> bool {
    let (Some(republish), Some(transform), [subject]) = (
        &meta.republish,
        &meta.subject_transform,
        meta.subjects.as_slice(),
    ) else {
        return false;
    };
    republish.destination == ">"
        && matches!(republish.source.as_str(), "" | ">")
        && transform.source == *subject
        && !collide(&transform.destination, subject)
}

/// Whether a subject reaches into what the server keeps for itself.
fn is_reserved(subject: &str) -> bool {
    let own = ["$JS.>", "$JSC.>", "$NRG.>"]
        .iter()
        .any(|reserved| collide(subject, reserved));
    subject == ">"
        || (own && !is_subset(subject, "$JS.EVENT.>"))
        || (collide(subject, "$SYS.>") && !is_subset(subject, "$SYS.ACCOUNT.>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(fields: &str) -> Result<StreamMeta, ConfigError> {
        let json = format!(
            r#"{{"name":"S"{}{fields}}}"#,
            if fields.is_empty() { "" } else { "," }
        );
        StreamMeta::parse(json.as_bytes())
            .expect("parses")
            .settings()
    }

    #[test]
    fn defaults() {
        let meta = settings_of("").expect("accepted");
        assert_eq!(meta.subjects, ["S"]);
        assert_eq!(
            (
                meta.max_messages,
                meta.max_bytes,
                meta.max_messages_per_subject
            ),
            (-1, -1, -1)
        );
        assert_eq!(
            (meta.max_message_size, meta.max_consumers, meta.replicas),
            (-1, -1, 1)
        );
        assert_eq!(meta.duplicate_window_ns, 120_000_000_000);
        let meta =
            settings_of(r#""max_msgs":-7,"max_bytes":9,"max_age":1000000000"#).expect("accepted");
        assert_eq!((meta.max_messages, meta.max_bytes), (-1, 9));
        assert_eq!(
            meta.duplicate_window_ns, 1_000_000_000,
            "the window is no longer than the age"
        );
        let meta = settings_of(r#""sources":[{"name":"A"}]"#).expect("accepted");
        assert_eq!((meta.subjects.len(), meta.duplicate_window_ns), (0, 0));
        let meta = settings_of(r#""subject_delete_marker_ttl":1000000000,"deny_purge":true"#)
            .expect("accepted");
        assert!(meta.allow_msg_ttl && meta.allow_rollup && !meta.deny_purge);
        let meta = settings_of(r#""max_msgs":5,"subjects":["a"]"#).expect("accepted");
        let text = String::from_utf8(meta.encode()).expect("UTF-8");
        assert!(text.contains(r#""max_msgs":5,"max_bytes":-1"#), "{text}");
    }

    #[test]
    fn settings_the_server_refuses() {
        let refused = [
            r#""name":"a.b""#,
            r#""num_replicas":6"#,
            r#""num_replicas":-1"#,
            r#""max_age":-1"#,
            r#""max_age":99999999"#,
            r#""duplicate_window":5"#,
            r#""max_age":200000000,"duplicate_window":300000000"#,
            r#""deny_purge":true,"allow_rollup_hdrs":true"#,
            r#""allow_msg_counter":true,"discard":"new""#,
            r#""allow_msg_counter":true,"allow_msg_ttl":true"#,
            r#""discard_new_per_subject":true,"max_msgs_per_subject":1"#,
            r#""discard_new_per_subject":true,"discard":"new""#,
            r#""subject_delete_marker_ttl":5"#,
            r#""allow_msg_schedules":true,"discard":"new""#,
            r#""persist_mode":"async","allow_atomic":true"#,
            r#""placement":{"preferred":"n1"}"#,
            r#""mirror":{"name":"M"},"first_seq":7"#,
            r#""mirror":{"name":"M"},"subjects":["a"]"#,
            r#""mirror":{"name":"a.b"}"#,
            r#""mirror":{"name":"M","filter_subject":"a..b"}"#,
            r#""sources":[null]"#,
            r#""sources":[{"name":"A"},{"name":"A"}]"#,
            r#""sources":[{"name":"S"}]"#,
            r#""sources":[{"name":"A","filter_subject":"a","subject_transforms":[{"src":"a","dest":"b"}]}]"#,
            r#""subjects":["a..b"]"#,
            r#""subjects":["a.*","a.b"]"#,
            r#""subjects":["a","a"]"#,
            r#""subjects":[">"]"#,
            r#""subjects":["$JS.API.x"]"#,
            r#""subjects":["a.>"],"republish":{"dest":"a.b"}"#,
            r#""subject_transform":{"src":"a.*","dest":"b.$2"}"#,
            r#""republish":{"src":"a..b","dest":"q"}"#,
            r#""sources":[{"name":"A","subject_transforms":[{"src":"a","dest":"b. c"}]}]"#,
        ];
        for fields in refused {
            assert!(settings_of(fields).is_err(), "{fields}");
        }
    }

    #[test]
    fn settings_the_server_takes() {
        let taken = [
            r#""subjects":[">"],"no_ack":true"#,
            r#""subjects":["$JS.EVENT.x"]"#,
            r#""subjects":["$SYS.ACCOUNT.>"]"#,
            r#""subjects":["a","b.*","c.>"]"#,
            r#""sources":[{"name":"A"},{"name":"A","filter_subject":"x"}]"#,
            r#""mirror":{"name":"M"},"duplicate_window":0"#,
            r#""persist_mode":"async""#,
            r#""allow_msg_counter":true,"subject_delete_marker_ttl":1000000000"#,
            r#""discard":"new","discard_new_per_subject":true,"max_msgs_per_subject":1"#,
            r#""subjects":["a.>"],"republish":{"dest":"b.>"}"#,
            r#""subject_transform":{"src":"a.*","dest":"b.{{wildcard(1)}}"}"#,
            r#""sources":[{"name":"A","subject_transforms":[{"src":"","dest":""},{"src":"","dest":""}]}]"#,
        ];
        for fields in taken {
            assert_eq!(settings_of(fields).err(), None, "{fields}");
        }
    }
}
