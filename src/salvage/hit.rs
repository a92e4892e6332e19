//! What the lost messages of a stream were: subjects, keys of a bucket, files of an object store.
//!
//! Two witnesses tell. `index.db` counts the messages of every subject, so that a subject with fewer of them at hand has lost
//! the rest. And an object store keeps, beside the chunks of a file, a message with the file's name and the number of its
//! chunks, which needs no index. What neither tells stays unnamed.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::merge::MergeSource;
use super::message_cursor::Cursor;
use super::side_files::read as read_side_files;
use super::survey::{Survey, drop_unsound_index, survey};
use crate::env::ReadFiles;
use crate::format::state::StateFile;
use crate::report::{Ledger, Watch};
use crate::stream::StreamDir;
use crate::stream::options::{Keys, Options};

/// Of a stream with more subjects than this none is named: they are held in memory.
const SUBJECTS_MAX: usize = 1 << 20;
/// A longer description of a file is not looked into.
const DESCRIPTION_MAX: usize = 1 << 16;
/// More than this are not named.
pub const HITS_MAX: usize = 10_000;

/// What was hit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Struck {
    /// A subject.
    Subject(Vec<u8>),
    /// A key of a bucket.
    Key(Vec<u8>),
    /// A file of an object store, by its name.
    Object(String),
    /// Chunks whose file nothing names, by the number they were stored under.
    Chunks(Vec<u8>),
}

/// One of the things that lost messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// What it is.
    pub struck: Struck,
    /// Messages lost of it; of an object store's file, chunks.
    pub lost: u64,
    /// How many it had.
    pub of: u64,
}

/// Names what the lost and the endangered messages of `ledger` were, worst first; nothing where it holds no loss, or where
/// the stream cannot be read as salvage reads it. Every block is read, and those with messages once more.
#[must_use]
pub fn hits(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    ledger: &Ledger,
    watch: &Watch<'_>,
) -> Vec<Hit> {
    if !ledger.holds_loss() {
        return Vec::new();
    }
    let Ok(found) = survey(fs, stream, options, watch) else {
        return Vec::new();
    };
    let index = found.gathered.evidence.index.as_ref();
    named(fs, &found, options, index.map(|index| &index.state), ledger).unwrap_or_default()
}

/// The same for the stream `made` that copies were merged into, whose account is `ledger`: of the copies' indexes the one that
/// reaches furthest tells.
#[must_use]
pub fn hits_of_copies(
    fs: &dyn ReadFiles,
    copies: &[MergeSource],
    made: &StreamDir,
    options: &Options,
    ledger: &Ledger,
    watch: &Watch<'_>,
) -> Vec<Hit> {
    if !ledger.holds_loss() {
        return Vec::new();
    }
    let under = |keys: Keys| Options {
        keys,
        ..options.clone()
    };
    let own = |copy: &MergeSource| under(copy.keys(&options.keys));
    let indexes = copies.iter().filter_map(|copy| {
        let mut gathered = read_side_files(fs, &copy.stream, &own(copy)).ok()?;
        drop_unsound_index(&mut gathered);
        Some(gathered.evidence.index?.state)
    });
    let index = indexes.max_by_key(|state| state.last_sequence);
    let keys = std::iter::once(options.clone()).chain(copies.iter().map(own));
    let mut found = keys.filter_map(|own| Some((survey(fs, made, &own, watch).ok()?, own)));
    let Some((found, own)) = found.next() else {
        return Vec::new();
    };
    named(fs, &found, &own, index.as_ref(), ledger).unwrap_or_default()
}

/// What lacks of what `index` lists; nothing where the messages at hand cannot be read.
fn named(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    index: Option<&StateFile>,
    ledger: &Ledger,
) -> Option<Vec<Hit>> {
    let listed_to = index.map_or(0, |state| state.last_sequence);
    let census = Census::of(fs, found, options, listed_to, ledger)?;
    let name = found.gathered.evidence.name.as_str();
    let mut hits = match name.strip_prefix("OBJ_") {
        Some(bucket) => objects(&census, bucket, index),
        None => {
            let listed = index.map_or_else(HashMap::new, |state| missing(state, &census));
            subjects(name, listed, &census)
        }
    };
    hits.sort_by(|a, b| (b.lost, &a.struck).cmp(&(a.lost, &b.struck)));
    hits.truncate(HITS_MAX);
    Some(hits)
}

/// The messages at hand that are not endangered, and those that are, by subject.
struct Census {
    /// Of a subject: those that the index may know of, and all.
    safe: HashMap<Vec<u8>, Count>,
    endangered: HashMap<Vec<u8>, u64>,
    /// What an object store says of its files, by subject.
    descriptions: BTreeMap<Vec<u8>, Description>,
}

#[derive(Default, Clone, Copy)]
struct Count {
    listed: u64,
    all: u64,
}

/// What an object store writes down of a file.
#[derive(Deserialize)]
struct Description {
    name: String,
    nuid: String,
    #[serde(default)]
    chunks: u64,
    #[serde(default)]
    deleted: bool,
}

impl Census {
    /// Reads the messages; nothing where a block cannot be read, or there are too many subjects. The index may know of what
    /// lies up to `listed_to`.
    fn of(
        fs: &dyn ReadFiles,
        found: &Survey,
        options: &Options,
        listed_to: u64,
        ledger: &Ledger,
    ) -> Option<Census> {
        let mut census = Census {
            safe: HashMap::new(),
            endangered: HashMap::new(),
            descriptions: BTreeMap::new(),
        };
        let mut cursor = Cursor::new(fs, found, &options.keys, 0..=u64::MAX).ok()?;
        let is_store = found.gathered.evidence.name.starts_with("OBJ_");
        while cursor.advance().ok()? {
            let Some(message) = cursor.message() else {
                continue;
            };
            if census.safe.len() + census.endangered.len() > SUBJECTS_MAX {
                return None;
            }
            if ledger.endangered.contains(message.seq) {
                *census
                    .endangered
                    .entry(message.subject.to_vec())
                    .or_default() += 1;
                continue;
            }
            let count = match census.safe.get_mut(message.subject) {
                Some(count) => count,
                None => census.safe.entry(message.subject.to_vec()).or_default(),
            };
            count.all += 1;
            count.listed += u64::from(message.seq <= listed_to);
            if is_store && message.body.len() <= DESCRIPTION_MAX {
                // A chunk's body decodes as a description only if it is one.
                if let Ok(description) = serde_json::from_slice(message.body) {
                    census
                        .descriptions
                        .insert(message.subject.to_vec(), description);
                }
            }
        }
        Some(census)
    }

    fn all(&self, subject: &[u8]) -> u64 {
        self.safe.get(subject).map_or(0, |count| count.all)
    }
}

/// Subjects of which the index lists more than there are: how many are missing, and how many it lists.
fn missing(state: &StateFile, census: &Census) -> HashMap<Vec<u8>, (u64, u64)> {
    let mut listed = HashMap::new();
    for entry in state.subjects.iter() {
        let at_hand = census
            .safe
            .get(entry.subject)
            .map_or(0, |count| count.listed);
        let lost = entry.total.saturating_sub(at_hand);
        // Of a subject that is listed twice the later entry counts.
        if lost > 0 {
            listed.insert(entry.subject.to_vec(), (lost, entry.total));
        } else {
            listed.remove(entry.subject);
        }
    }
    listed
}

fn subjects(name: &str, listed: HashMap<Vec<u8>, (u64, u64)>, census: &Census) -> Vec<Hit> {
    let prefix = name
        .strip_prefix("KV_")
        .map(|bucket| format!("$KV.{bucket}."));
    let struck = |subject: Vec<u8>| match &prefix {
        Some(prefix) => match subject.strip_prefix(prefix.as_bytes()) {
            Some(key) => Struck::Key(key.to_vec()),
            None => Struck::Subject(subject),
        },
        None => Struck::Subject(subject),
    };
    let mut counts: BTreeMap<Vec<u8>, (u64, u64)> = listed.into_iter().collect();
    for (subject, &endangered) in &census.endangered {
        let all = census.all(subject).saturating_add(endangered);
        counts.entry(subject.clone()).or_insert((endangered, all));
    }
    let hit = |(subject, (lost, of))| Hit {
        struck: struck(subject),
        lost,
        of,
    };
    counts.into_iter().map(hit).collect()
}

/// Files with fewer chunks than they were stored with, and what is left of files whose description is gone.
fn objects(census: &Census, bucket: &str, index: Option<&StateFile>) -> Vec<Hit> {
    let (meta, chunk) = (format!("$O.{bucket}.M."), format!("$O.{bucket}.C."));
    let mut hits = Vec::new();
    let mut known = std::collections::HashSet::new();
    for (subject, description) in &census.descriptions {
        if !subject.starts_with(meta.as_bytes()) {
            continue;
        }
        let chunks = [chunk.as_bytes(), description.nuid.as_bytes()].concat();
        let lost = description.chunks.saturating_sub(census.all(&chunks));
        known.insert(chunks);
        if lost > 0 && !description.deleted {
            hits.push(Hit {
                struck: Struck::Object(description.name.clone()),
                lost,
                of: description.chunks,
            });
        }
    }
    let listed = index.map_or_else(HashMap::new, |state| missing(state, census));
    for (subject, (lost, of)) in listed {
        let struck = match subject.strip_prefix(meta.as_bytes()) {
            Some(name) if !census.safe.contains_key(&subject) => object_name(name),
            Some(_) => continue,
            None if known.contains(&subject) => continue,
            None => match subject.strip_prefix(chunk.as_bytes()) {
                Some(number) => Struck::Chunks(number.to_vec()),
                None => Struck::Subject(subject),
            },
        };
        hits.push(Hit { struck, lost, of });
    }
    hits
}

/// The file whose description stood under this subject.
fn object_name(encoded: &[u8]) -> Struck {
    let padding =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let name = GeneralPurpose::new(&URL_SAFE, padding).decode(encoded);
    match name.ok().and_then(|name| String::from_utf8(name).ok()) {
        Some(name) => Struck::Object(name),
        None => Struck::Chunks(encoded.to_vec()),
    }
}
