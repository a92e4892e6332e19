//! An asset's metadata: `meta.key`, `meta.inf`, `meta.sum`, read together, each vouching for the others. A file that one
//! flipped bit explains is mended in memory; nothing is written.

use std::path::{Path, PathBuf};

use super::StreamDir;
use super::options::Options;
use super::renamed::{renamed, sealed_name};
use crate::crypto::{KEY_FILE_MAX, KeyRing, OpenedKey, SealedError, block_context, stream_context};
use crate::env::{IoError, ReadFiles};
use crate::format::bit_repair::{FileRepair, mend, mend_hashed, single_flip};
use crate::format::checksum::{HashKey, hex16};
use crate::format::meta::StreamMeta;
use crate::format::names::{BlockFile, META, META_KEY, META_SUM};
use crate::report::events::{Event, EventCode, Severity};

/// Key files of blocks tried before a stream is called closed to the keys given.
const KEY_PROBES: usize = 16;
/// Metadata is a page of JSON; what is longer is not read.
pub(super) const META_MAX: u64 = 64 << 20;
/// Longer is no checksum.
const SUM_MAX: u64 = 1 << 16;
/// Bytes hashed in search of one flip in `meta.inf`: every flip of 16 KB.
const META_WORK_MAX: u64 = 2 << 30;
/// Bytes authenticated in search of one flip in a sealed file: every flip of 12 KB, and a second or two.
pub(super) const SEALED_WORK_MAX: u64 = 2 << 30;

/// Where the stream's configuration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaOrigin {
    /// `meta.inf`, and `meta.sum` agrees.
    Sound,
    /// `meta.inf` or `meta.sum`, after bits were flipped back.
    Mended,
    /// `meta.inf` parses, but nothing vouches for it.
    Unproven,
    /// Given by the caller ([`Options::configurations`](crate::stream::options::Options::configurations)), since nothing
    /// of the stream's own can be read.
    Given,
    /// Made from the directory's name and the subjects in `index.db`, since nothing of it can be read. Without an index it
    /// has no subjects, and whoever finds the messages fills them in (salvage does).
    Made,
}

/// Reads a file of the source. Absent is `None`, and so is what the device no longer gives, with an event. Only
/// what the caller may not read is an error: that can be helped.
pub(crate) fn read_file(
    fs: &dyn ReadFiles,
    dir: &Path,
    relative: &str,
    max_length: u64,
    events: &mut Vec<Event>,
) -> Result<Option<Vec<u8>>, IoError> {
    match fs.read(&dir.join(relative), max_length) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) if error.kind == std::io::ErrorKind::PermissionDenied => Err(error),
        Err(error) => {
            events.push(Event::new(EventCode::IoError, error.to_string()).file(relative));
            Ok(None)
        }
    }
}

/// What is known of an asset before its metadata is read.
pub(crate) struct Asset<'a> {
    /// Where its files are, relative: empty, or with a slash at its end.
    pub below: &'a str,
    /// Key of `meta.sum`.
    pub hash_key: HashKey,
    /// Context of its key file.
    pub context: Vec<u8>,
    /// The caller's keys.
    pub ring: KeyRing<'a>,
}

/// Metadata as far as it could be had.
pub(crate) struct MetaFound {
    /// The plaintext, and what it is worth; never [`MetaOrigin::Made`].
    pub plain: Option<(Vec<u8>, MetaOrigin)>,
    /// The asset's key.
    pub key: Option<OpenedKey>,
    /// Whether there is a key file, open or not.
    pub has_key_file: bool,
    /// `meta.inf` and `meta.sum` as they lie, for guesses beyond.
    pub raw: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// What was mended.
    pub repairs: Vec<FileRepair>,
    /// What was seen.
    pub events: Vec<Event>,
}

impl<'a> Asset<'a> {
    /// The stream of this name.
    pub(crate) fn stream(name: &str, ring: KeyRing<'a>) -> Self {
        Asset {
            below: "",
            hash_key: HashKey::for_stream(name.as_bytes()),
            context: stream_context(name.as_bytes()),
            ring,
        }
    }
}

impl Asset<'_> {
    /// Reads the three files and mends what can be.
    pub(crate) fn read(&self, fs: &dyn ReadFiles, dir: &Path) -> Result<MetaFound, IoError> {
        let mut events = Vec::new();
        let mut get = |name: &str, max| read_file(fs, dir, &self.path(name), max, &mut events);
        let key_file = get(META_KEY, KEY_FILE_MAX)?;
        let inf = get(META, META_MAX)?;
        let sum = get(META_SUM, SUM_MAX)?;
        let mut found = MetaFound {
            plain: None,
            key: None,
            has_key_file: key_file.is_some(),
            raw: None,
            repairs: Vec::new(),
            events,
        };
        if let Some(key_file) = key_file {
            self.open_key(&key_file, &mut found);
        }
        let Some(inf) = inf else { return Ok(found) };
        match (&found.key, found.has_key_file) {
            (Some(key), _) => {
                let key = key.clone();
                self.open_inf(&key, &inf, sum.as_deref(), &mut found);
            }
            // Sealed under a key nobody has. Plain it may still be: an interrupted conversion writes the key first.
            (None, true) if !inf.trim_ascii_start().starts_with(b"{") => {}
            (None, _) => self.plain_inf(&inf, sum.as_deref(), &mut found),
        }
        found.raw = Some((inf, sum));
        Ok(found)
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.below)
    }

    fn open_key(&self, key_file: &[u8], found: &mut MetaFound) {
        let path = self.path(META_KEY);
        match self.ring.open_mended(key_file, &self.context) {
            Ok((key, mended)) => {
                found.repairs.extend(mended.repair(&path));
                found.key = Some(key);
            }
            Err(error) => {
                let (code, detail) = match self.ring.is_empty() {
                    false => (EventCode::KeyBad, error.to_string()),
                    true => (
                        EventCode::KeyMissing,
                        "the metadata is encrypted and no key is given".to_owned(),
                    ),
                };
                found.events.push(Event::new(code, detail).file(path));
            }
        }
    }

    fn open_inf(&self, key: &OpenedKey, inf: &[u8], sum: Option<&[u8]>, found: &mut MetaFound) {
        let path = self.path(META);
        let open = |bytes: &[u8]| key.open(bytes);
        let error = match open(inf) {
            Ok(plain) => {
                // The tag vouches for more than the checksum could.
                let repairs = found.repairs.len();
                if let Err(event) = self.compare_sum(inf, sum, found) {
                    found.events.push(event.severity(Severity::Warn));
                }
                let origin = origin(found.repairs.len() > repairs);
                found.plain = Some((plain, origin));
                return;
            }
            Err(error) => error,
        };
        let mut mended = inf.to_vec();
        let length = mended.len();
        if matches!(error, SealedError::Rejected { .. })
            && let Some((patch, plain)) = mend(&mut mended, 0..length, SEALED_WORK_MAX, |bytes| {
                open(bytes).ok()
            })
        {
            found.repairs.push(FileRepair::new(&path, vec![patch]));
            found.plain = Some((plain, MetaOrigin::Mended));
            return;
        }
        if inf.trim_ascii_start().starts_with(b"{") {
            return self.plain_inf(inf, sum, found);
        }
        let event = Event::new(EventCode::StreamMetaDecryptFailed, error.to_string());
        found.events.push(event.file(path));
    }

    /// Metadata in plain, which only its checksum vouches for.
    fn plain_inf(&self, inf: &[u8], sum: Option<&[u8]>, found: &mut MetaFound) {
        let repairs = found.repairs.len();
        let event = match self.compare_sum(inf, sum, found) {
            Ok(()) => {
                let origin = origin(found.repairs.len() > repairs);
                found.plain = Some((inf.to_vec(), origin));
                return;
            }
            Err(event) => event,
        };
        let mut mended = inf.to_vec();
        let meant = sum.and_then(hash_of_sum);
        let patch =
            meant.and_then(|meant| mend_hashed(&mut mended, &self.hash_key, meant, META_WORK_MAX));
        match patch {
            Some(patch) => {
                found
                    .repairs
                    .push(FileRepair::new(&self.path(META), vec![patch]));
                found.plain = Some((mended, MetaOrigin::Mended));
            }
            None => {
                found.events.push(event);
                found.plain = Some((mended, MetaOrigin::Unproven));
            }
        }
    }

    /// Whether `meta.sum` vouches for `meta.inf`, a flip and white space in the former allowed for. Where it does not,
    /// why, for the caller to tell or to explain away.
    fn compare_sum(
        &self,
        inf: &[u8],
        sum: Option<&[u8]>,
        found: &mut MetaFound,
    ) -> Result<(), Event> {
        let path = self.path(META_SUM);
        let expected = hex16(self.hash_key.hash64(&[inf]));
        let Some(sum) = sum else {
            let event = Event::new(EventCode::StreamSumMissing, "the file is not there");
            return Err(event.file(path));
        };
        if sum == expected.as_bytes() {
            return Ok(());
        }
        if let Some(patch) = single_flip(sum, expected.as_bytes()) {
            found.repairs.push(FileRepair::new(&path, vec![patch]));
            return Ok(());
        }
        if sum.trim_ascii().eq_ignore_ascii_case(expected.as_bytes()) {
            found.repairs.push(FileRepair::new(&path, Vec::new()));
            return Ok(());
        }
        let detail = format!("{} stored, {expected} computed", sum.escape_ascii());
        Err(Event::new(EventCode::StreamSumMismatch, detail).file(path))
    }
}

fn origin(mended: bool) -> MetaOrigin {
    match mended {
        true => MetaOrigin::Mended,
        false => MetaOrigin::Sound,
    }
}

/// The hash that a `meta.sum` spells.
pub(super) fn hash_of_sum(sum: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(sum.trim_ascii()).ok()?;
    (text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(())?;
    u64::from_str_radix(text, 16).ok().map(u64::swap_bytes)
}

/// A stream's own metadata.
pub(crate) struct StreamMetaFound {
    /// The stream's name: the directory's, unless the files prove another.
    pub name: String,
    /// What its files tell.
    pub found: MetaFound,
}

/// Reads the metadata of the stream in a directory, which may be called otherwise than the stream.
pub(crate) fn read_stream(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    ring: KeyRing<'_>,
) -> Result<StreamMetaFound, IoError> {
    let sealed_as = sealed_name(fs, stream, options, ring);
    let label = sealed_as.as_deref().unwrap_or(&stream.name);
    let mut found = Asset::stream(label, ring).read(fs, &stream.dir)?;
    let name = match sealed_as {
        Some(name) => {
            found.events.push(renamed(stream, &name));
            name
        }
        None => name_of(stream, &mut found),
    };
    Ok(StreamMetaFound { name, found })
}

/// A stream is encrypted, and nothing that was given opens any of its key files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsKey {
    /// The stream's directory.
    pub dir: PathBuf,
    /// Whether any key was given.
    pub given: bool,
}

impl std::fmt::Display for NeedsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is encrypted: {}",
            self.dir.display(),
            if self.given {
                "none of the keys given opens it; the account name matters too"
            } else {
                "give the server's key"
            }
        )
    }
}

impl StreamMetaFound {
    /// Refuses a stream that is closed to the keys given. `key_files` are the numbers of blocks that have one in
    /// `messages`, relative to the stream directory.
    pub(crate) fn insist_on_key(
        &self,
        fs: &dyn ReadFiles,
        stream: &StreamDir,
        messages: &str,
        key_files: &[u32],
        ring: KeyRing<'_>,
    ) -> Result<(), NeedsKey> {
        let is_sealed = self.found.has_key_file || !key_files.is_empty();
        if self.found.key.is_some() || !is_sealed {
            return Ok(());
        }
        let opens = |number: &u32| {
            let path = stream.dir.join(BlockFile::Key.path_in(messages, *number));
            let context = block_context(self.name.as_bytes(), *number);
            fs.read(&path, KEY_FILE_MAX)
                .is_ok_and(|bytes| ring.open_mended(&bytes, &context).is_ok())
        };
        if key_files.iter().take(KEY_PROBES).any(opens) {
            return Ok(());
        }
        Err(NeedsKey {
            dir: stream.dir.clone(),
            given: !ring.is_empty(),
        })
    }

    /// The configuration, and where it came from.
    pub(crate) fn configuration(
        &self,
        given: &[StreamMeta],
        events: &mut Vec<Event>,
    ) -> (StreamMeta, MetaOrigin) {
        parsed(&self.name, &self.found, given, events)
    }
}

/// The stream's name: the directory's, unless the metadata is sound under its own. Everything keyed by the name was written
/// before the directory was renamed.
fn name_of(stream: &StreamDir, found: &mut MetaFound) -> String {
    let (Some((plain, origin @ MetaOrigin::Unproven)), Some((raw, Some(sum)))) =
        (&mut found.plain, &found.raw)
    else {
        return stream.name.clone();
    };
    let Ok(meta) = StreamMeta::parse(plain) else {
        return stream.name.clone();
    };
    let hash = HashKey::for_stream(meta.name.as_bytes()).hash64(&[raw]);
    if hash_of_sum(sum) != Some(hash) {
        return stream.name.clone();
    }
    *origin = MetaOrigin::Sound;
    // It explains the mismatch told before.
    found
        .events
        .retain(|event| event.code != EventCode::StreamSumMismatch);
    found.events.push(renamed(stream, &meta.name));
    meta.name
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
                events.push(Event::new(EventCode::StreamMetaJson, detail).file(META));
                return (meta.with_name(name), MetaOrigin::Unproven);
            }
            Err(error) => {
                events.push(Event::new(EventCode::StreamMetaJson, error.to_string()).file(META));
                created = created_in(plain);
            }
        }
    }
    if let Some(meta) = given.iter().find(|meta| meta.name == name) {
        let detail = "the configuration is the one that was given";
        events.push(Event::new(EventCode::StreamMetaRebuilt, detail).file(META));
        return (meta.clone(), MetaOrigin::Given);
    }
    let detail = "subjects, limits and retention are not known any more";
    events.push(Event::new(EventCode::StreamMetaRebuilt, detail).file(META));
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

/// What is told of a file that was mended.
pub(crate) fn mended(repair: &FileRepair) -> Event {
    let detail = match repair.patches.as_slice() {
        [] => "bytes that do not belong there are left out".to_owned(),
        [patch] => format!("byte {}, bits {:#04x}", patch.offset, patch.mask),
        patches => format!("{} bytes", patches.len()),
    };
    Event::new(EventCode::FileRepaired, detail).file(&repair.path)
}
