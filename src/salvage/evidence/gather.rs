//! Reading everything beside the blocks.

use std::collections::BTreeSet;

use super::super::error::SalvageError;
use super::index::read_index;
use super::keys::{KEY_FILE_MAX, account_of, open_mended};
use super::metadata::{Asset, META_MAX, MetaFound, hash_of_sum};
use super::renamed::{renamed, sealed_name};
use super::staging::{list, messages_dir};
use super::{Evidence, IndexEvidence, MetaOrigin};
use crate::crypto::{block_context, stream_context};
use crate::env::{DirEntry, FileKind, ReadFiles};
use crate::format::checksum::HashKey;
use crate::format::meta::StreamMeta;
use crate::format::names::{BlockFile, block_number, is_valid_asset_name};
use crate::report::events::{Event, EventCode};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Different first tokens that a made configuration lists one by one before it takes everything.
const TOKENS_MAX: usize = 64;
/// Key files tried before a stream is called closed to the keys given.
const KEY_PROBES: usize = 16;

/// Everything the side files tell of a stream, and how it was come by.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// What they tell.
    pub evidence: Evidence,
    /// The directory with the blocks, relative to the stream's: `msgs`, unless a purge was interrupted.
    pub messages_dir: String,
    /// Whether the stream or any block of it is encrypted.
    pub sealed: bool,
    /// What was seen, in the order it arose.
    pub events: Vec<Event>,
}

/// Reads the side files of a stream, mending each in memory where flipped bits explain what is wrong with it. Nothing is
/// written. Time is bounded: some seconds for each damaged file of whatever length.
///
/// # Errors
///
/// [`SalvageError::NeedsKey`] where the stream is encrypted and nothing opens; [`SalvageError::Io`] where a directory
/// cannot be listed, or a file not be read for want of permission. What the device does not give is taken for lost.
pub fn gather(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
) -> Result<Gathered, SalvageError> {
    let account = account_of(stream, options);
    let ring = options.keys.ring(&account);
    let sealed_as = sealed_name(fs, stream, options, ring);
    let label = sealed_as.as_deref().unwrap_or(&stream.name);
    let asset = Asset {
        below: "",
        hash_key: HashKey::for_stream(label.as_bytes()),
        context: stream_context(label.as_bytes()),
        ring,
    };
    let mut found = asset.read(fs, &stream.dir)?;
    let mut events = std::mem::take(&mut found.events);
    let name = match sealed_as {
        Some(name) => {
            events.push(renamed(stream, &name));
            name
        }
        None => name_of(stream, &mut found, &mut events),
    };
    let messages_dir = messages_dir(fs, &stream.dir, &name, ring, &mut events)?;
    let entries = list(fs, &stream.dir.join(messages_dir))?.unwrap_or_default();
    let blocks = block_list(&entries, messages_dir, &mut events);
    let key_files: Vec<u32> = entries
        .iter()
        .filter_map(|entry| BlockFile::parse(entry.name.as_encoded_bytes()))
        .filter_map(|(number, file)| (file == BlockFile::Key).then_some(number))
        .collect();
    if found.key.is_none() && (found.has_key_file || !key_files.is_empty()) {
        let opens = |number: &u32| {
            let path = stream
                .dir
                .join(messages_dir)
                .join(BlockFile::Key.name(*number));
            let context = block_context(name.as_bytes(), *number);
            fs.read(&path, KEY_FILE_MAX)
                .is_ok_and(|bytes| open_mended(&ring, &bytes, &context).is_ok())
        };
        if !key_files.iter().take(KEY_PROBES).any(opens) {
            return Err(SalvageError::NeedsKey {
                dir: stream.dir.clone(),
                given: !ring.is_empty(),
            });
        }
    }
    let (meta, meta_origin) = parsed(&name, &found, &options.configurations, &mut events);
    let mut gathered = Gathered {
        sealed: found.has_key_file || !key_files.is_empty(),
        messages_dir: messages_dir.to_owned(),
        evidence: Evidence {
            name,
            meta,
            meta_origin,
            asset_key: found.key.map(Box::new),
            index: None,
            blocks,
            repairs: found.repairs,
            account: account.clone(),
        },
        events,
    };
    if !options.no_index {
        read_index(fs, &stream.dir, &mut gathered, &options.keys)?;
    }
    finish(&mut gathered);
    Ok(gathered)
}

/// Makes up metadata where there is none, and tells what was mended.
fn finish(gathered: &mut Gathered) {
    let Evidence {
        meta,
        meta_origin,
        index,
        repairs,
        ..
    } = &mut gathered.evidence;
    if *meta_origin == MetaOrigin::Made
        && let Some(IndexEvidence { state, .. }) = index
    {
        let subjects = covering_subjects(state.subjects.iter().map(|entry| entry.subject));
        *meta = meta.with_subjects(subjects);
    }
    for repair in repairs {
        let detail = match repair.repair.patches.as_slice() {
            [] => "bytes that do not belong there are left out".to_owned(),
            [patch] => format!("byte {}, bits {:#04x}", patch.offset, patch.mask),
            patches => format!("{} bytes", patches.len()),
        };
        let event = Event::new(EventCode::FileRepaired, detail);
        gathered.events.push(event.file(&repair.path));
    }
}

/// The stream's name: the directory's, unless the metadata is sound under its own. Everything keyed by the name was written
/// before the directory was renamed.
fn name_of(stream: &StreamDir, found: &mut MetaFound, events: &mut Vec<Event>) -> String {
    let (Some((plain, origin @ MetaOrigin::Unproven)), Some((raw, Some(sum)))) =
        (&mut found.plain, &found.raw)
    else {
        return stream.name.clone();
    };
    let Ok(meta) = StreamMeta::parse(plain) else {
        return stream.name.clone();
    };
    let hash = HashKey::for_stream(meta.name.as_bytes()).hash64(&[raw]);
    if super::metadata::hash_of_sum(sum) != Some(hash) {
        return stream.name.clone();
    }
    *origin = MetaOrigin::Sound;
    // It explains the mismatch told before.
    events.retain(|event| event.code != EventCode::StreamSumMismatch);
    events.push(renamed(stream, &meta.name));
    meta.name
}

/// The name of the stream in a directory: that of its metadata where the checksum proves it, else the directory's. The name of
/// encrypted metadata is a guess that a checksum or a key proves. Nothing is mended, and what cannot be read proves nothing.
pub fn proven_name(fs: &dyn ReadFiles, stream: &StreamDir, options: &Options) -> String {
    let named = || {
        let inf = fs.read(&stream.dir.join("meta.inf"), META_MAX).ok()?;
        let sum = fs.read(&stream.dir.join("meta.sum"), META_MAX).ok()?;
        let name = StreamMeta::parse(&inf).ok()?.name;
        let hash = HashKey::for_stream(name.as_bytes()).hash64(&[&inf]);
        let proven = is_valid_asset_name(name.as_bytes()) && hash_of_sum(&sum) == Some(hash);
        proven.then_some(name)
    };
    let account = account_of(stream, options);
    let ring = options.keys.ring(&account);
    named()
        .or_else(|| sealed_name(fs, stream, options, ring))
        .unwrap_or_else(|| stream.name.clone())
}

/// The configuration, and where it came from.
fn parsed(
    name: &str,
    found: &MetaFound,
    given: &[StreamMeta],
    events: &mut Vec<Event>,
) -> (StreamMeta, MetaOrigin) {
    let mut created = None;
    if let Some((plain, origin)) = &found.plain {
        match StreamMeta::parse(plain) {
            Ok(meta) if meta.name == name => return (meta, *origin),
            Ok(meta) if *origin == MetaOrigin::Unproven && meta.name.is_empty() => {
                return (meta.with_name(name), *origin);
            }
            Ok(meta) => {
                let detail = format!("the metadata is of the stream {}", meta.name);
                events.push(Event::new(EventCode::StreamMetaJson, detail).file("meta.inf"));
                return (meta.with_name(name), MetaOrigin::Unproven);
            }
            Err(error) => {
                events.push(
                    Event::new(EventCode::StreamMetaJson, error.to_string()).file("meta.inf"),
                );
                created = created_in(plain);
            }
        }
    }
    if let Some(meta) = given.iter().find(|meta| meta.name == name) {
        let detail = "the configuration is the one that was given";
        events.push(Event::new(EventCode::StreamMetaRebuilt, detail).file("meta.inf"));
        return (meta.clone(), MetaOrigin::Given);
    }
    let detail = "subjects, limits and retention are not known any more";
    events.push(Event::new(EventCode::StreamMetaRebuilt, detail).file("meta.inf"));
    (made(name, created.as_deref()), MetaOrigin::Made)
}

/// The text of `Created` in what is no JSON any more.
fn created_in(plain: &[u8]) -> Option<String> {
    const LABEL: &[u8] = b"\"Created\":\"";
    let at = plain
        .windows(LABEL.len())
        .position(|window| window == LABEL)?;
    let rest = plain.get(at + LABEL.len()..)?;
    let end = rest.iter().take(64).position(|byte| *byte == b'"')?;
    let text = std::str::from_utf8(rest.get(..end)?).ok()?;
    let made = made("", Some(text));
    made.created.instant.map(|_| text.to_owned())
}

/// A plain configuration without limits.
fn made(name: &str, created: Option<&str>) -> StreamMeta {
    let mut fields = serde_json::json!({
        "name": name, "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
        "max_age": 0, "max_msgs_per_subject": -1, "discard": "old", "storage": "file",
        "num_replicas": 1, "allow_direct": true,
    });
    if let (Some(created), Some(fields)) = (created, fields.as_object_mut()) {
        fields.insert("Created".to_owned(), created.into());
    }
    let json = fields.to_string();
    #[expect(
        clippy::expect_used,
        reason = "every field above has the type its schema asks for, and Created is only text that parses as a time"
    )]
    StreamMeta::parse(json.as_bytes())
        .or_else(|_| StreamMeta::parse(b"{\"num_replicas\":1}"))
        .expect("known good metadata")
}

/// Subjects for a configuration that has to take all of `subjects`: a subject of one token as it is, others by their
/// first token, and `>` where there would be more than 64. Memory in proportion to the tokens, not to the subjects.
pub fn covering_subjects<'a>(subjects: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut covering = BTreeSet::new();
    for subject in subjects {
        let Ok(subject) = std::str::from_utf8(subject) else {
            return vec![">".to_owned()];
        };
        covering.insert(match subject.split_once('.') {
            Some((token, _)) => format!("{token}.>"),
            None => subject.to_owned(),
        });
        if covering.len() > TOKENS_MAX {
            return vec![">".to_owned()];
        }
    }
    covering.into_iter().collect()
}

/// Block numbers, by strict names.
fn block_list(entries: &[DirEntry], messages_dir: &str, events: &mut Vec<Event>) -> Vec<u32> {
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let name = entry.name.as_encoded_bytes();
        if !name.ends_with(b".blk") {
            continue;
        }
        match block_number(name) {
            Some(number) if entry.kind != FileKind::Dir => {
                numbers.insert(number);
            }
            _ => {
                let shown = entry.name.to_string_lossy();
                let detail = format!("{shown:?} is no block's name; it is passed over");
                let event = Event::new(EventCode::BlockNameAmbiguous, detail);
                events.push(event.file(messages_dir));
            }
        }
    }
    numbers.into_iter().collect()
}
