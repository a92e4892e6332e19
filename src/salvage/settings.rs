//! The configuration of the new store.

use super::error::SalvageError;
use super::message_cursor::Cursor;
use super::side_files::covering_subjects;
use super::survey::Survey;
use crate::env::ReadFiles;
use crate::format::meta::StreamMeta;
use crate::format::names::META;
use crate::report::events::{Event, EventCode, Severity};
use crate::stream::is_raft_group;
use crate::stream::metadata::MetaOrigin;
use crate::stream::options::Options;

/// Subjects looked at for a made configuration.
const SUBJECTS_SEEN_MAX: usize = 1 << 16;

/// The configuration, with `replicas` where that is given; a made one lists the subjects that the messages have.
pub(super) fn meta_of(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    first_seq: Option<u64>,
    replicas: Option<i64>,
    events: &mut Vec<Event>,
) -> Result<StreamMeta, SalvageError> {
    let mut meta = found.gathered.evidence.meta.clone();
    if let Some(first) = first_seq
        && first < meta.first_seq
    {
        meta = without_first_seq(meta, events);
    }
    if let Some(wanted) = replicas
        && wanted != meta.replicas.max(1)
        && !is_raft_group(&found.stream.dir)
    {
        let detail = format!("num_replicas {} becomes {wanted}", meta.replicas);
        let event = Event::new(EventCode::ReplicasChanged, detail);
        events.push(event.file(META));
        meta = meta.with_replicas(wanted);
    }
    let is_made = found.gathered.evidence.meta_origin == MetaOrigin::Made;
    if !is_made || !meta.subjects.is_empty() {
        return Ok(meta);
    }
    Ok(meta.with_subjects(subjects_of(fs, found, options)?))
}

/// A first sequence above the first message would have every server purge what lies below.
fn without_first_seq(meta: StreamMeta, events: &mut Vec<Event>) -> StreamMeta {
    let mut raw = meta.raw().clone();
    raw.remove("first_seq");
    let json = serde_json::to_vec(&raw).unwrap_or_default();
    let Ok(lowered) = StreamMeta::parse(&json) else {
        return meta;
    };
    let detail = format!(
        "the configured first sequence {} would have every server purge what lies below; it is left out of the new \
         configuration",
        meta.first_seq
    );
    let event = Event::new(EventCode::FirstSeqPurged, detail).file(META);
    events.push(event.severity(Severity::Warn));
    lowered
}

/// Subjects that cover those of the messages.
fn subjects_of(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
) -> Result<Vec<String>, SalvageError> {
    let mut cursor = Cursor::new(fs, found, &options.keys, 0..=u64::MAX)?;
    let mut subjects: Vec<Vec<u8>> = Vec::new();
    while cursor.advance()? {
        if let Some(message) = cursor.message()
            && subjects.last().is_none_or(|last| last != message.subject)
        {
            subjects.push(message.subject.to_vec());
            if subjects.len() >= SUBJECTS_SEEN_MAX {
                subjects.sort_unstable();
                subjects.dedup();
                if subjects.len() >= SUBJECTS_SEEN_MAX / 2 {
                    // Far more than would be listed one by one.
                    break;
                }
            }
        }
    }
    Ok(covering_subjects(subjects.iter().map(Vec::as_slice)))
}
