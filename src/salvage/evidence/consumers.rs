//! Consumers: metadata and state, mended like the stream's own.

use super::super::error::SalvageError;
use super::super::mend::mend;
use super::keys::{Trials, side_repair};
use super::metadata::{Asset, SEALED_WORK_MAX, read};
use super::staging::list;
use super::{FileRepair, Gathered, MetaOrigin, OpenedKey};
use crate::crypto::{consumer_context, open_sealed};
use crate::env::{FileKind, FileSystem};
use crate::format::checksum::HashKey;
use crate::format::consumer::ConsumerFile as Decoded;
use crate::format::consumer::ConsumerState;
use crate::format::meta::ConsumerMeta;
use crate::recovery::StreamDir;
use crate::recovery::events::{Event, EventCode, Severity};
use crate::recovery::options::Keys;

/// A consumer's state holds at most its pending deliveries; what is longer is not read.
const STATE_MAX: u64 = 1 << 30;

/// A plaintext file of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerFile {
    /// There is none.
    Missing,
    /// Its plaintext; empty where the file is.
    Plain(Vec<u8>),
    /// It cannot be read. Why, in words.
    Closed(String),
}

/// What a consumer's files tell.
#[derive(Debug, Clone)]
pub struct ConsumerEvidence {
    /// Name, which is that of its directory.
    pub name: String,
    /// The JSON of its metadata.
    pub meta: ConsumerFile,
    /// Where that came from; [`MetaOrigin::Unproven`] where it cannot be read.
    pub origin: MetaOrigin,
    /// The plaintext of `o.dat`.
    pub file: ConsumerFile,
    /// What it decodes to, where it does. An empty file is the state of a new consumer, as for the server.
    pub state: Option<ConsumerState>,
    /// Its key, where it is encrypted and the key file opens.
    pub key: Option<Box<OpenedKey>>,
    /// What was mended; paths are relative to the stream directory.
    pub repairs: Vec<FileRepair>,
    /// What was seen.
    pub events: Vec<Event>,
}

impl ConsumerEvidence {
    /// Whether its directory can be taken over byte for byte: everything in it is as the server left it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.repairs.is_empty()
            && self.origin == MetaOrigin::Sound
            && matches!(self.meta, ConsumerFile::Plain(_))
            && !matches!(self.file, ConsumerFile::Closed(_))
            && (self.state.is_some() || self.file == ConsumerFile::Missing)
    }
}

/// Reads every consumer of a stream, by name. What is no directory or has no UTF-8 name is passed over.
///
/// # Errors
///
/// [`SalvageError::Io`], as for [`super::gather`].
pub fn consumers(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    gathered: &Gathered,
    keys: &Keys,
) -> Result<Vec<ConsumerEvidence>, SalvageError> {
    let mut found = Vec::new();
    for entry in list(fs, &stream.dir.join("obs"))?.unwrap_or_default() {
        if let (FileKind::Dir, Some(name)) = (entry.kind, entry.name.to_str()) {
            found.push(read_one(fs, stream, gathered, keys, name)?);
        }
    }
    Ok(found)
}

fn read_one(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    gathered: &Gathered,
    keys: &Keys,
    name: &str,
) -> Result<ConsumerEvidence, SalvageError> {
    let below = format!("obs/{name}/");
    let stream_name = gathered.evidence.name.as_bytes();
    let asset = Asset {
        below: &below,
        hash_key: HashKey::for_consumer(stream_name, name.as_bytes()),
        context: consumer_context(stream_name, name.as_bytes()),
        trials: Trials {
            keys,
            account: &gathered.evidence.account,
        },
    };
    let meta = asset.read(fs, &stream.dir)?;
    let mut events = meta.events;
    // The server never compares a consumer's checksum.
    for event in &mut events {
        if event.code == EventCode::StreamSumMismatch {
            event.code = EventCode::ConsumerSumMismatch;
            event.severity = Severity::Warn;
        }
    }
    let mut found = ConsumerEvidence {
        name: name.to_owned(),
        origin: MetaOrigin::Unproven,
        meta: match (&meta.raw, meta.has_key_file) {
            (None, _) => ConsumerFile::Missing,
            (Some(_), true) => ConsumerFile::Closed("nothing opens it".to_owned()),
            (Some(_), false) => ConsumerFile::Closed("it is no metadata".to_owned()),
        },
        file: ConsumerFile::Missing,
        state: None,
        key: meta.key.map(Box::new),
        repairs: meta.repairs,
        events,
    };
    if let Some((plain, origin)) = meta.plain {
        match ConsumerMeta::parse(&plain) {
            Ok(_) => {
                found.meta = ConsumerFile::Plain(plain);
                found.origin = origin;
            }
            Err(error) => found.meta = ConsumerFile::Closed(error.to_string()),
        }
    }
    let path = format!("{below}o.dat");
    if let Some(bytes) = read(fs, &stream.dir, &path, STATE_MAX, &mut found.events)? {
        read_state(&path, bytes, meta.has_key_file, &mut found);
    }
    for repair in &found.repairs {
        let detail = format!("{:?}", repair.repair.patches);
        found
            .events
            .push(Event::new(EventCode::FileRepaired, detail).file(&repair.path));
    }
    Ok(found)
}

fn read_state(path: &str, bytes: Vec<u8>, has_key_file: bool, found: &mut ConsumerEvidence) {
    let plain = match (&found.key, bytes.is_empty()) {
        (_, true) => Ok(Vec::new()),
        (Some(key), false) => {
            let open = |bytes: &[u8]| open_sealed(bytes, &key.seed, key.cipher);
            let mut mended = bytes.clone();
            let length = mended.len();
            match open(&bytes) {
                Ok(plain) => Ok(plain),
                // Encrypting the consumer was interrupted.
                Err(_) if Decoded::decode(&bytes).is_ok() => Ok(bytes),
                Err(error) => {
                    match mend(&mut mended, 0..length, SEALED_WORK_MAX, |bytes| {
                        open(bytes).ok()
                    }) {
                        Some((patch, plain)) => {
                            found.repairs.push(side_repair(path, vec![patch]));
                            Ok(plain)
                        }
                        None => Err(error.to_string()),
                    }
                }
            }
        }
        (None, false) => match Decoded::decode(&bytes) {
            Ok(_) => Ok(bytes),
            Err(_) if has_key_file => Err("nothing opens its key file".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    };
    let plain = match plain {
        Ok(plain) => plain,
        Err(detail) => return close(path, detail, found),
    };
    let state = match plain.is_empty() {
        true => Ok(ConsumerState::default()),
        false => Decoded::decode(&plain).map(|decoded| decoded.state),
    };
    match state {
        Ok(state) => {
            found.state = Some(state);
            found.file = ConsumerFile::Plain(plain);
        }
        Err(error) => close(path, error.to_string(), found),
    }
}

fn close(path: &str, detail: String, found: &mut ConsumerEvidence) {
    let event = Event::new(EventCode::ConsumerStateCorrupt, detail.clone());
    found.events.push(event.file(path));
    found.file = ConsumerFile::Closed(detail);
}
