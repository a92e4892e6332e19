//! Consumers: metadata and state, mended like the stream's own.

use std::path::Path;

use super::metadata::{Asset, MetaFound, MetaOrigin, SEALED_WORK_MAX, hash_of_sum, read_file};
use crate::crypto::{KeyRing, OpenedKey, consumer_context};
use crate::env::{DirEntry, FileKind, IoError, ReadFiles};
use crate::format::bit_repair::{FileRepair, mend};
use crate::format::checksum::HashKey;
use crate::format::consumer::{ConsumerFile, ConsumerRemains, ConsumerState, SequencePair};
use crate::format::meta::ConsumerMeta;
use crate::format::names::{
    CONSUMER_STATE, CONSUMERS, META, META_KEY, META_SUM, consumer_dir, is_valid_asset_name,
};
use crate::report::events::{Event, EventCode, Severity};

/// A consumer's state holds at most its pending deliveries; what is longer is not read.
const STATE_MAX: u64 = 1 << 30;

/// A plaintext file of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// There is none.
    Missing,
    /// Its plaintext; empty where the file is.
    Plain(Vec<u8>),
    /// It cannot be read. Why, in words.
    Closed(String),
}

/// How much of a consumer's position is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All of it: `o.dat` reads as the server reads it.
    Whole,
    /// `o.dat` is damaged behind its first numbers: up to the ack floor everything is acknowledged, what waits between
    /// that and the last delivery is known in part at most.
    Cut,
    /// Nothing: `o.dat` is missing, empty, or not to be read. A new consumer has one of eight bytes.
    Lost,
}

/// What a consumer's files tell.
#[derive(Debug, Clone)]
pub struct ReadConsumer {
    /// Its name: the directory's, unless the metadata is proven under another.
    pub name: String,
    /// The directory's name below `obs`.
    pub dir: String,
    /// Another directory that is taken for the consumer of this name, where this one is not.
    pub superseded_by: Option<String>,
    /// The JSON of its metadata.
    pub meta: FileContent,
    /// Where that came from; [`MetaOrigin::Unproven`] where it cannot be read.
    pub origin: MetaOrigin,
    /// The plaintext of `o.dat`.
    pub file: FileContent,
    /// What it decodes to, where it does, or what is left of that ([`Standing::Cut`]). Of an empty file the server takes
    /// the state of a consumer that has delivered nothing.
    pub state: Option<ConsumerState>,
    /// How much of the position that is.
    pub standing: Standing,
    /// Its key, where it is encrypted and the key file opens.
    pub key: Option<Box<OpenedKey>>,
    /// What was mended; paths are relative to the stream directory.
    pub repairs: Vec<FileRepair>,
    /// What was seen.
    pub events: Vec<Event>,
}

impl ReadConsumer {
    /// Whether its directory can be taken over byte for byte: everything in it is as the server left it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.repairs.is_empty()
            && self.origin == MetaOrigin::Sound
            && matches!(self.meta, FileContent::Plain(_))
            && self.standing == Standing::Whole
            && self.dir == self.name
    }

    /// The configuration, where it can be read.
    #[must_use]
    pub fn configuration(&self) -> Option<ConsumerMeta> {
        match &self.meta {
            FileContent::Plain(json) => ConsumerMeta::parse(json).ok(),
            _ => None,
        }
    }

    /// Up to where everything is acknowledged, and the last delivery, where that is known.
    #[must_use]
    pub fn position(&self) -> Option<(SequencePair, SequencePair)> {
        let state = self.state.as_ref();
        let state = state.filter(|_| self.standing != Standing::Lost)?;
        Some((state.ack_floor, state.delivered))
    }
}

/// Reads every consumer of a stream, by name. What is no directory or has no UTF-8 name is passed over.
///
/// # Errors
///
/// [`IoError`] where a directory cannot be listed, or a file not be read for want of permission. What the device does not give is
/// taken for lost.
pub fn consumers(
    fs: &dyn ReadFiles,
    dir: &Path,
    stream_name: &[u8],
    ring: KeyRing<'_>,
) -> Result<Vec<ReadConsumer>, IoError> {
    let mut found = Vec::new();
    for entry in list(fs, &dir.join(CONSUMERS))? {
        let (FileKind::Dir, Some(name)) = (entry.kind, entry.name.to_str()) else {
            continue;
        };
        let inside = list(fs, &dir.join(CONSUMERS).join(name))?;
        let is_ours = |entry: &DirEntry| {
            let files = [META, META_SUM, META_KEY, CONSUMER_STATE];
            entry
                .name
                .to_str()
                .is_some_and(|name| files.contains(&name))
        };
        // `lost+found`, a snapshot directory: nothing in it is a consumer's.
        if inside.iter().any(is_ours) {
            found.push(read_one(fs, dir, stream_name, ring, name)?);
        }
    }
    keep_one_of_each(&mut found);
    Ok(found)
}

/// Of several directories with one consumer the one that got furthest counts: a server that finds a renamed directory
/// begins a new consumer of the old name beside it.
fn keep_one_of_each(found: &mut [ReadConsumer]) {
    let rank = |one: &ReadConsumer| {
        let readable = matches!(one.meta, FileContent::Plain(_));
        let position = one.position();
        let reach = position.map(|(floor, delivered)| (floor.stream, delivered.stream));
        (readable, reach, one.dir == one.name)
    };
    let chosen: Vec<Option<String>> = found
        .iter()
        .map(|one| {
            let rivals = found.iter().filter(|rival| rival.name == one.name);
            let best = rivals.max_by_key(|rival| (rank(rival), std::cmp::Reverse(&rival.dir)))?;
            (best.dir != one.dir).then(|| best.dir.clone())
        })
        .collect();
    for (one, better) in found.iter_mut().zip(chosen) {
        one.superseded_by = better;
    }
}

/// The name that the checksum proves, where the directory was renamed.
fn proven_name(stream_name: &[u8], dir: &str, meta: &MetaFound) -> Option<String> {
    let (Some((plain, MetaOrigin::Unproven)), Some((raw, Some(sum)))) = (&meta.plain, &meta.raw)
    else {
        return None;
    };
    let parsed = ConsumerMeta::parse(plain).ok()?;
    let names = [parsed.store_name, parsed.durable, parsed.name];
    let sum = hash_of_sum(sum)?;
    names.into_iter().find(|name| {
        name != dir
            && is_valid_asset_name(name.as_bytes())
            && HashKey::for_consumer(stream_name, name.as_bytes()).hash64(&[raw]) == sum
    })
}

/// The proven name where the directory has another, and what the metadata's files say as a consumer's.
fn told_of(stream_name: &[u8], name: &str, meta: &mut MetaFound) -> (Option<String>, Vec<Event>) {
    let mut events = std::mem::take(&mut meta.events);
    let renamed = proven_name(stream_name, name, meta);
    if let (Some(proven), Some((_, origin))) = (&renamed, &mut meta.plain) {
        *origin = MetaOrigin::Sound;
        events.retain(|event| event.code != EventCode::StreamSumMismatch);
        let detail =
            format!("the directory is called {name}, its files are the consumer {proven}'s");
        events.push(
            Event::new(EventCode::ConsumerRenamed, detail).file(format!("{CONSUMERS}/{name}")),
        );
    }
    if meta.raw.as_ref().is_some_and(|(inf, _)| inf.is_empty()) {
        // Of an empty file there is nothing more to be said.
        events.retain(|event| event.code != EventCode::StreamSumMismatch);
    }
    // The server never compares a consumer's checksum.
    for event in &mut events {
        let code = match event.code {
            EventCode::StreamSumMismatch => EventCode::ConsumerSumMismatch,
            EventCode::StreamSumMissing => EventCode::ConsumerSumMissing,
            _ => continue,
        };
        event.code = code;
        event.severity = Severity::Warn;
    }
    (renamed, events)
}

fn read_one(
    fs: &dyn ReadFiles,
    dir: &Path,
    stream_name: &[u8],
    ring: KeyRing<'_>,
    name: &str,
) -> Result<ReadConsumer, IoError> {
    let below = consumer_dir(name);
    let asset = Asset {
        below: &below,
        hash_key: HashKey::for_consumer(stream_name, name.as_bytes()),
        context: consumer_context(stream_name, name.as_bytes()),
        ring,
    };
    let mut meta = asset.read(fs, dir)?;
    let (renamed, events) = told_of(stream_name, name, &mut meta);
    let mut found = ReadConsumer {
        name: renamed.unwrap_or_else(|| name.to_owned()),
        dir: name.to_owned(),
        superseded_by: None,
        standing: Standing::Lost,
        origin: MetaOrigin::Unproven,
        meta: match (&meta.raw, meta.has_key_file) {
            (None, _) => FileContent::Missing,
            (Some(_), true) => FileContent::Closed("nothing opens it".to_owned()),
            (Some((inf, _)), false) if inf.is_empty() => {
                FileContent::Closed("it is empty".to_owned())
            }
            (Some(_), false) => FileContent::Closed("it is no metadata".to_owned()),
        },
        file: FileContent::Missing,
        state: None,
        key: meta.key.map(Box::new),
        repairs: meta.repairs,
        events,
    };
    if let Some((plain, origin)) = meta.plain {
        match ConsumerMeta::parse(&plain) {
            Ok(_) => {
                found.meta = FileContent::Plain(plain);
                found.origin = origin;
            }
            Err(error) => found.meta = FileContent::Closed(error.to_string()),
        }
    }
    let path = format!("{below}{CONSUMER_STATE}");
    if let Some(bytes) = read_file(fs, dir, &path, STATE_MAX, &mut found.events)? {
        read_state(&path, bytes, meta.has_key_file, &mut found);
    }
    for repair in &found.repairs {
        let detail = format!("{:?}", repair.patches);
        found
            .events
            .push(Event::new(EventCode::FileRepaired, detail).file(&repair.path));
    }
    Ok(found)
}

fn read_state(path: &str, bytes: Vec<u8>, has_key_file: bool, found: &mut ReadConsumer) {
    let plain = match (&found.key, bytes.is_empty()) {
        (_, true) => Ok(Vec::new()),
        (Some(key), false) => {
            let open = |bytes: &[u8]| key.open(bytes);
            let mut mended = bytes.clone();
            let length = mended.len();
            match open(&bytes) {
                Ok(plain) => Ok(plain),
                // Encrypting the consumer was interrupted.
                Err(_) if ConsumerFile::decode(&bytes).is_ok() => Ok(bytes.clone()),
                Err(error) => {
                    match mend(&mut mended, 0..length, SEALED_WORK_MAX, |bytes| {
                        open(bytes).ok()
                    }) {
                        Some((patch, plain)) => {
                            found.repairs.push(FileRepair::new(path, vec![patch]));
                            Ok(plain)
                        }
                        None => Err(error.to_string()),
                    }
                }
            }
        }
        (None, false) => match ConsumerFile::decode(&bytes) {
            Ok(_) => Ok(bytes.clone()),
            Err(_) if has_key_file => Err("nothing opens its key file".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    };
    let plain = match plain {
        Ok(plain) => plain,
        Err(detail) => {
            // A plain file is closed because it does not decode: something of it may.
            let remains = ConsumerRemains::decode(&bytes).filter(|_| found.key.is_none());
            return close(path, detail, remains, found);
        }
    };
    if plain.is_empty() {
        found.state = Some(ConsumerState::default());
        found.file = FileContent::Plain(plain);
        return;
    }
    match ConsumerFile::decode(&plain) {
        Ok(decoded) => {
            found.state = Some(decoded.state);
            found.standing = Standing::Whole;
            found.file = FileContent::Plain(plain);
        }
        Err(error) => {
            let remains = ConsumerRemains::decode(&plain);
            close(path, error.to_string(), remains, found);
        }
    }
}

fn close(path: &str, detail: String, remains: Option<ConsumerRemains>, found: &mut ReadConsumer) {
    if let Some(remains) = remains {
        found.state = Some(remains.state);
        found.standing = Standing::Cut;
    }
    let event = Event::new(EventCode::ConsumerStateCorrupt, detail.clone());
    found.events.push(event.file(path));
    found.file = FileContent::Closed(detail);
}

/// What is in a directory; nothing where it is not there.
fn list(fs: &dyn ReadFiles, dir: &Path) -> Result<Vec<DirEntry>, IoError> {
    match fs.list(dir) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        listed => listed,
    }
}
