//! Damage before it is done: which files get which bytes, and what differs.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Change, DamageTarget, FileChange};
use crate::env::{DEFAULT_DIR_MODE, FileKind, IoError};
use crate::format::seqset::SeqSet;
use crate::testing::layout::FILE_MAX;
use crate::testing::random::Random;

/// Planned changes over a store's files.
pub struct Draft<'a> {
    /// The store.
    pub target: &'a DamageTarget<'a>,
    /// The choices.
    pub random: Random,
    /// Messages that a purge has given up.
    pub purged: SeqSet,
    /// Messages that a purge has begun to give up.
    pub undecided: SeqSet,
    listed: BTreeMap<String, u64>,
    planned: BTreeMap<String, Planned>,
}

struct Planned {
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

impl<'a> Draft<'a> {
    /// Nothing planned yet.
    pub fn new(target: &'a DamageTarget<'a>, seed: u64) -> Result<Self, IoError> {
        let mut listed = BTreeMap::new();
        list(target, "", &mut listed)?;
        Ok(Self {
            target,
            random: Random::new(seed),
            purged: SeqSet::new(),
            undecided: SeqSet::new(),
            listed,
            planned: BTreeMap::new(),
        })
    }

    /// Files there were, with their lengths, by path.
    pub fn files(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, u64)> {
        let files = self.listed.iter().filter(|(path, _)| wanted(path));
        files
            .map(|(path, length)| (path.clone(), *length))
            .collect()
    }

    /// Length of a file there was.
    pub fn length(&self, path: &str) -> Option<u64> {
        self.listed.get(path).copied()
    }

    /// A file's bytes as planned so far.
    pub fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, IoError> {
        match self.planned.get(path) {
            Some(planned) => Ok(planned.after.clone()),
            None => self.read_undamaged(path),
        }
    }

    /// The bytes the file had at the earlier moment.
    pub fn read_older(&self, path: &str) -> Result<Option<Vec<u8>>, IoError> {
        let Some(older) = self.target.older else {
            return Ok(None);
        };
        let path = self.target.stream.dir.join(path);
        match older.read(&path, FILE_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_undamaged(&self, path: &str) -> Result<Option<Vec<u8>>, IoError> {
        if !self.listed.contains_key(path) {
            return Ok(None);
        }
        let path = self.target.stream.dir.join(path);
        self.target.files.read(&path, FILE_MAX).map(Some)
    }

    /// Plans a file's bytes, or with `None` its absence.
    pub fn put(&mut self, path: &str, bytes: Option<Vec<u8>>) -> Result<(), IoError> {
        if let Some(planned) = self.planned.get_mut(path) {
            planned.after = bytes;
            return Ok(());
        }
        let before = self.read_undamaged(path)?;
        let planned = Planned {
            before,
            after: bytes,
        };
        self.planned.insert(path.to_owned(), planned);
        Ok(())
    }

    /// Plans another name for a file.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), IoError> {
        let bytes = self.read(from)?;
        self.put(from, None)?;
        self.put(to, bytes)
    }

    /// What differs, by path.
    pub fn changes(&self) -> Vec<FileChange> {
        let mut changes = Vec::new();
        for (path, Planned { before, after }) in &self.planned {
            let change = match (before, after) {
                (None, None) => continue,
                (None, Some(_)) => Change::Created,
                (Some(_), None) => Change::Removed,
                (Some(before), Some(after)) if before == after => continue,
                (Some(_), Some(_)) => Change::Changed,
            };
            let none = &Vec::new();
            let (before, after) = (before.as_ref(), after.as_ref());
            changes.push(FileChange {
                path: path.clone(),
                change,
                ranges: differing(before.unwrap_or(none), after.unwrap_or(none)),
            });
        }
        changes
    }

    /// Does what is planned.
    pub fn apply(&self) -> Result<(), IoError> {
        let files = self.target.files;
        for (path, Planned { before, after }) in &self.planned {
            let path = self.target.stream.dir.join(path);
            match after {
                None if before.is_some() => files.remove_file(&path)?,
                None => {}
                Some(bytes) => {
                    if let Some(dir) = path.parent() {
                        files.create_dir_all(dir, DEFAULT_DIR_MODE)?;
                    }
                    files.write_in_place(&path, bytes)?;
                }
            }
        }
        self.remove_emptied()
    }

    /// Directories that lost their last file go too: a rename takes the directory, not only what is in it.
    fn remove_emptied(&self) -> Result<(), IoError> {
        let left = |dir: &str| {
            let within = |path: &str| path.strip_prefix(dir).is_some_and(|p| p.starts_with('/'));
            let kept = self.listed.keys().filter(|path| within(path));
            let gone = |path: &&String| {
                let planned = self.planned.get(*path);
                planned.is_some_and(|planned| planned.after.is_none())
            };
            let added = self.planned.iter();
            kept.filter(|path| !gone(path)).count()
                + added
                    .filter(|(path, planned)| within(path) && planned.after.is_some())
                    .count()
        };
        if self.listed.keys().any(|path| path.starts_with("msgs/")) && left("msgs") == 0 {
            let dir = self.target.stream.dir.join("msgs");
            self.target.files.remove_dir_all(&dir)?;
        }
        Ok(())
    }
}

fn list(
    target: &DamageTarget<'_>,
    below: &str,
    found: &mut BTreeMap<String, u64>,
) -> Result<(), IoError> {
    for entry in target.files.list(&target.stream.dir.join(below))? {
        let name = entry.name.to_string_lossy();
        let path = match below {
            "" => name.into_owned(),
            _ => format!("{below}/{name}"),
        };
        match entry.kind {
            FileKind::File => {
                found.insert(path, entry.length);
            }
            FileKind::Dir => list(target, &path, found)?,
            FileKind::Symlink | FileKind::Other => {}
        }
    }
    Ok(())
}

/// The ranges of bytes that differ; what only one of them has differs.
pub fn differing(before: &[u8], after: &[u8]) -> Vec<Range<u64>> {
    /// Compared at once: most of a damaged file is as it was.
    const STRIDE: usize = 4096;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut note = |from: u64, to: u64| match ranges.last_mut() {
        Some(last) if last.end == from => last.end = to,
        _ => ranges.push(from..to),
    };
    let common = before.len().min(after.len());
    let pairs = before[..common]
        .chunks(STRIDE)
        .zip(after[..common].chunks(STRIDE));
    for (index, (one, other)) in pairs.enumerate() {
        if one == other {
            continue;
        }
        for (at, (a, b)) in one.iter().zip(other).enumerate() {
            if a != b {
                let at = (index * STRIDE + at) as u64;
                note(at, at + 1);
            }
        }
    }
    let longest = before.len().max(after.len());
    if longest > common {
        note(common as u64, longest as u64);
    }
    ranges
}
