//! Which directories of a store hold which stream, and what each is called in a new store.
//!
//! Whoever renames a stream's directory, or copies it beside itself, leaves a directory that no server takes: the checksum of
//! the metadata goes by the name. That same checksum proves whose it is, and of an encrypted stream the key does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::view::check;
use crate::env::{FileKind, IoError, LOCK_FILE_NAME, ReadFile, ReadFiles};
use crate::format::names::OWN_INDEX;
use crate::report::Watch;
use crate::report::events::{Event, EventCode};
use crate::stream::options::Options;
use crate::stream::{StreamDir, proven_name};

/// Bytes compared at a time.
const CHUNK: usize = 1 << 18;

/// A stream directory that goes into a new store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted {
    /// Where it lies.
    pub stream: StreamDir,
    /// The stream's name, proven or the directory's.
    pub name: String,
    /// What its directory is called in the new store: the stream's name, unless another directory has that.
    pub place: String,
    /// What is to be told of it.
    pub events: Vec<Event>,
}

impl Sorted {
    /// Whether a server would take it in its place; one beside it is left alone.
    #[must_use]
    pub fn comes_up(&self) -> bool {
        self.place == self.name
    }
}

/// Sorts the directories of a store by the streams they hold. Of equal copies of one stream one is given; of different ones
/// each, one of them under the stream's name, the others under that of their directory.
pub fn sort_out(
    fs: &dyn ReadFiles,
    streams: &[StreamDir],
    options: &Options,
    watch: &Watch<'_>,
) -> Vec<Sorted> {
    let mut groups: BTreeMap<(Option<String>, String), Vec<&StreamDir>> = BTreeMap::new();
    for stream in streams {
        let name = proven_name(fs, stream, options);
        let key = (stream.account.clone(), name);
        groups.entry(key).or_default().push(stream);
    }
    let mut sorted = Vec::with_capacity(groups.len());
    let mut aside = Vec::new();
    for ((_, name), holders) in groups {
        let mut all = different(fs, &name, &holders, options, watch).into_iter();
        sorted.extend(all.next());
        aside.extend(all);
    }
    for mut copy in aside {
        let taken = |sorted: &[Sorted], place: &str| {
            sorted
                .iter()
                .any(|other| other.place == place && other.stream.account == copy.stream.account)
        };
        while taken(&sorted, &copy.place) {
            copy.place.push_str(".copy");
        }
        sorted.push(copy);
    }
    let key = |one: &Sorted| (one.stream.account.clone(), one.place.clone());
    sorted.sort_by_key(key);
    sorted
}

/// The copies of one stream that differ, the one that gets its name first.
fn different(
    fs: &dyn ReadFiles,
    name: &str,
    holders: &[&StreamDir],
    options: &Options,
    watch: &Watch<'_>,
) -> Vec<Sorted> {
    let mut kept: Vec<Sorted> = Vec::new();
    let mut in_order: Vec<&StreamDir> = holders.to_vec();
    in_order.sort_by_key(|stream| (stream.name != name, stream.name.clone()));
    for stream in in_order {
        let same = kept
            .iter_mut()
            .find(|other| same_files(fs, &other.stream.dir, &stream.dir).unwrap_or(false));
        if let Some(other) = same {
            let detail = format!(
                "{} holds the same, byte for byte; one of the two is copied",
                stream.dir.display()
            );
            other.events.push(Event::new(EventCode::StreamCopy, detail));
            continue;
        }
        kept.push(Sorted {
            stream: stream.clone(),
            name: name.to_owned(),
            place: stream.name.clone(),
            events: Vec::new(),
        });
    }
    if kept.len() > 1 && kept.iter().all(|one| one.stream.name != name) {
        let reach = |one: &Sorted| {
            let made = check(fs, &one.stream, options, watch).ok();
            made.and_then(|made| made.stream.state)
                .map_or(0, |state| state.last_seq)
        };
        kept.sort_by_cached_key(|one| std::cmp::Reverse(reach(one)));
    }
    let Some((first, others)) = kept.split_first_mut() else {
        return kept;
    };
    name.clone_into(&mut first.place);
    for other in others {
        let detail = format!(
            "{} and {} both hold the stream {name}, and differ; this one lies in {}, where no server looks for it",
            first.stream.dir.display(),
            other.stream.dir.display(),
            other.place
        );
        other.events.push(Event::new(EventCode::StreamCopy, detail));
    }
    kept
}

/// Whether two directories hold the same files with the same bytes.
fn same_files(fs: &dyn ReadFiles, a: &Path, b: &Path) -> Result<bool, IoError> {
    let (left, right) = (listed(fs, a)?, listed(fs, b)?);
    if left != right {
        return Ok(false);
    }
    for (name, kind, _) in left {
        let (a, b) = (a.join(&name), b.join(&name));
        let same = match kind {
            FileKind::Dir => same_files(fs, &a, &b)?,
            FileKind::File => same_bytes(fs, &a, &b)?,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn listed(fs: &dyn ReadFiles, dir: &Path) -> Result<Vec<(OsString, FileKind, u64)>, IoError> {
    let entries = fs.list(dir)?.into_iter();
    let entries = entries.filter(|entry| entry.name != LOCK_FILE_NAME && entry.name != OWN_INDEX);
    Ok(entries
        .map(|entry| (entry.name, entry.kind, entry.length))
        .collect())
}

fn same_bytes(fs: &dyn ReadFiles, a: &Path, b: &Path) -> Result<bool, IoError> {
    let (a, b) = (fs.open(a)?, fs.open(b)?);
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    loop {
        let (one, other) = (read(&*a, at, &mut left)?, read(&*b, at, &mut right)?);
        if one != other {
            return Ok(false);
        }
        if one.is_empty() {
            return Ok(true);
        }
        at += one.len() as u64;
    }
}

fn read<'b>(file: &dyn ReadFile, at: u64, buffer: &'b mut [u8]) -> Result<&'b [u8], IoError> {
    let count = file.read_at(at, buffer)?;
    Ok(buffer.get(..count).unwrap_or_default())
}
