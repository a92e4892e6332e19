//! One change after the other.

use std::path::{Path, PathBuf};

use super::Failure;
use super::error::ApplyCause;
use super::keys::{ApplyKeys, KeysAtHand, block_of_key};
use crate::env::{DEFAULT_DIR_MODE, Entropy, FileKind, FileSystem, IoError, Operation};
use crate::format::names::{BlockFile, META_KEY};
use crate::recovery::undo::Recorder;
use crate::recovery::undo::paths::{Guard, kind_at, parent_of};
use crate::recovery::undo::staging::{self, Member};
use crate::report::actions::Change;

/// How many files are removed with one entry in the manifest and one sync.
const REMOVALS_AT_ONCE: usize = 1024;

pub(super) struct Performer<'a, 'u, 'r> {
    pub(super) fs: &'a dyn FileSystem,
    dir: &'a Path,
    pub(super) stream: &'a [u8],
    pub(super) keys_at_hand: KeysAtHand<'a>,
    pub(super) guard: Guard<'a>,
    pub(super) undo: Option<&'u mut Recorder<'r>>,
    pub(super) written_bytes: u64,
}

/// A new file: relative path and content.
pub(super) type NewFile = (String, Vec<u8>);

pub(super) trait At<T> {
    fn at(self, path: &str) -> Result<T, Failure>;
}

impl<T, E: Into<ApplyCause>> At<T> for Result<T, E> {
    fn at(self, path: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            path: path.to_owned(),
            cause: error.into(),
        })
    }
}

impl<'a, 'u, 'r> Performer<'a, 'u, 'r> {
    pub(super) fn new(
        fs: &'a dyn FileSystem,
        dir: &'a Path,
        keys: &'a ApplyKeys<'a>,
        entropy: &'a dyn Entropy,
        undo: Option<&'u mut Recorder<'r>>,
    ) -> Self {
        let keys_at_hand = KeysAtHand::new(keys, entropy);
        let guard = Guard::new(fs, dir);
        Performer {
            fs,
            dir,
            stream: keys.stream,
            keys_at_hand,
            guard,
            undo,
            written_bytes: 0,
        }
    }

    /// Makes the first of `changes`, and those behind it that belong together with it. Returns how
    /// many that were.
    pub(super) fn next(&mut self, changes: &[Change]) -> Result<usize, Failure> {
        let Some(change) = changes.first() else {
            return Ok(0);
        };
        let following = changes.get(1);
        match change {
            Change::RemoveFile { .. } => return self.remove_files(changes),
            Change::NewKey {
                path,
                context,
                cipher,
            } => {
                let full = self.guard.resolve(path).at(path)?;
                let bytes = self
                    .keys_at_hand
                    .draw(self.fs, path, &full, context, *cipher)
                    .at(path)?;
                let key = (path.clone(), bytes);
                return self.with_key(key, following);
            }
            Change::CreateDir { path } => self.create_dir(path)?,
            Change::RemoveTree { path } => self.remove_tree(path)?,
            Change::Rename { from, to } => self.rename(from, to)?,
            Change::SetLength { path, length } => self.set_length(path, *length)?,
            Change::Write { path, bytes } => self.replace(vec![(path.clone(), bytes.clone())])?,
            Change::AppendRecords {
                number,
                offset,
                records,
                encrypted,
            } => {
                self.append(*number, *offset, records, *encrypted)?;
            }
            Change::WriteBlock {
                number,
                pieces,
                encrypted,
            } => {
                let file = self.block(*number, pieces, *encrypted)?;
                self.replace(vec![file])?;
                self.keys_at_hand.block_written(*number, *encrypted);
            }
            Change::WriteSealed {
                path,
                bytes,
                sealed,
                hashed,
            } => {
                let file = self.sealed(path, bytes, *sealed, *hashed)?;
                self.replace(vec![file])?;
            }
            Change::WriteMeta { json, sealed } => {
                let files = self.meta(json, *sealed)?;
                self.replace(files)?;
            }
        }
        Ok(1)
    }

    /// A key file goes in together with what the very next change encrypts under it.
    fn with_key(&mut self, key: NewFile, following: Option<&Change>) -> Result<usize, Failure> {
        match following {
            Some(Change::WriteBlock {
                number,
                pieces,
                encrypted: true,
            }) if block_of_key(&key.0) == Some(*number) => {
                let block = self.block(*number, pieces, true)?;
                self.replace(vec![key, block])?;
                self.keys_at_hand.block_written(*number, true);
                Ok(2)
            }
            Some(Change::WriteMeta { json, sealed: true }) if key.0 == META_KEY => {
                let mut files = vec![key];
                files.extend(self.meta(json, true)?);
                self.replace(files)?;
                Ok(2)
            }
            _ => {
                self.replace(vec![key])?;
                Ok(1)
            }
        }
    }

    fn remove_files(&mut self, changes: &[Change]) -> Result<usize, Failure> {
        let run = changes
            .iter()
            .take(REMOVALS_AT_ONCE)
            .map_while(|change| match change {
                Change::RemoveFile { path } => Some(path),
                _ => None,
            });
        let mut count = 0;
        let mut present: Vec<(&String, PathBuf, Option<PathBuf>)> = Vec::new();
        for path in run {
            count += 1;
            let full = self.guard.resolve(path).at(path)?;
            let is_new = || present.iter().all(|(_, known, _)| *known != full);
            if kind_at(self.fs, &full).at(path)?.is_some() && is_new() {
                let target = match &mut self.undo {
                    Some(undo) => Some(undo.file_will_be_moved(path, &full).at(path)?),
                    None => None,
                };
                present.push((path, full, target));
            }
        }
        let first = present.first().map_or("", |(path, _, _)| path.as_str());
        self.commit(first)?;
        for (path, full, target) in &present {
            match target {
                Some(target) => self.fs.rename(full, target).at(path)?,
                None => self.fs.remove_file(full).at(path)?,
            }
        }
        let mut dirs: Vec<&Path> = present.iter().map(|(_, full, _)| parent_of(full)).collect();
        dirs.dedup();
        self.sync_dirs(first, &dirs)?;
        Ok(count)
    }

    fn create_dir(&mut self, path: &str) -> Result<(), Failure> {
        let full = self.guard.resolve(path).at(path)?;
        let mode = self
            .fs
            .metadata(self.dir)
            .at(path)?
            .mode
            .unwrap_or(DEFAULT_DIR_MODE);
        let mut made = 0;
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for part in ends.filter_map(|end| path.get(..end)) {
            if kind_at(self.fs, &self.dir.join(part)).at(path)?.is_none() {
                made += 1;
                if let Some(undo) = &mut self.undo {
                    undo.dir_will_be_made(part).at(path)?;
                }
            }
        }
        if made == 0 {
            return Ok(());
        }
        self.commit(path)?;
        self.fs.create_dir_all(&full, mode).at(path)?;
        let parents: Vec<&Path> = full.ancestors().skip(1).take(made).collect();
        self.sync_dirs(path, &parents)
    }

    fn remove_tree(&mut self, path: &str) -> Result<(), Failure> {
        let full = self.guard.resolve(path).at(path)?;
        match kind_at(self.fs, &full).at(path)? {
            None => return Ok(()),
            Some(FileKind::Dir) => {}
            Some(_) => {
                let kind = std::io::ErrorKind::NotADirectory;
                return Err(IoError::new(Operation::RemoveDirAll, &full, kind)).at(path);
            }
        }
        match &mut self.undo {
            Some(undo) => {
                let target = undo.tree_will_be_moved(path).at(path)?;
                undo.commit().at(path)?;
                self.fs.rename(&full, &target).at(path)?;
            }
            None => self.fs.remove_dir_all(&full).at(path)?,
        }
        self.guard.forget();
        self.sync_dirs(path, &[parent_of(&full)])
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let (old, new) = (
            self.guard.resolve(from).at(from)?,
            self.guard.resolve(to).at(to)?,
        );
        self.fs.metadata(&old).at(from)?;
        if self.undo.is_some() {
            // Whatever has the name makes way first, so that going back needs no guessing.
            match kind_at(self.fs, &new).at(to)? {
                Some(FileKind::Dir) => {
                    if !self.fs.list(&new).at(to)?.is_empty() {
                        let kind = std::io::ErrorKind::DirectoryNotEmpty;
                        return Err(IoError::new(Operation::Rename, &new, kind)).at(to);
                    }
                    self.remove_tree(to)?;
                }
                Some(_) => {
                    self.remove_files(&[Change::RemoveFile {
                        path: to.to_owned(),
                    }])?;
                }
                None => {}
            }
        }
        if let Some(undo) = &mut self.undo {
            undo.will_be_renamed(from, to).at(from)?;
        }
        self.commit(from)?;
        self.fs.rename(&old, &new).at(from)?;
        self.guard.forget();
        self.sync_dirs(from, &[parent_of(&old), parent_of(&new)])
    }

    fn set_length(&mut self, path: &str, length: u64) -> Result<(), Failure> {
        let full = self.guard.resolve(path).at(path)?;
        let present = self.fs.metadata(&full).at(path)?;
        if present.kind != FileKind::File {
            let kind = std::io::ErrorKind::IsADirectory;
            return Err(IoError::new(Operation::Truncate, &full, kind)).at(path);
        }
        if present.length == length {
            return Ok(());
        }
        if let Some(undo) = &mut self.undo {
            undo.file_will_be_changed_from(path, &full, length)
                .at(path)?;
        }
        self.commit(path)?;
        self.fs.truncate(&full, length).at(path)
    }

    fn append(
        &mut self,
        number: u32,
        offset: u64,
        records: &[u8],
        encrypted: bool,
    ) -> Result<(), Failure> {
        let path = BlockFile::Block.path(number);
        let full = self.guard.resolve(&path).at(&path)?;
        let present = match kind_at(self.fs, &full).at(&path)? {
            Some(FileKind::File) => Some(self.fs.metadata(&full).at(&path)?.length),
            None => None,
            Some(_) => {
                let kind = std::io::ErrorKind::IsADirectory;
                return Err(IoError::new(Operation::Append, &full, kind)).at(&path);
            }
        };
        let found = present.unwrap_or(0);
        if found != offset {
            return Err(ApplyCause::LengthChanged {
                expected: offset,
                found,
            })
            .at(&path);
        }
        let mut bytes = records.to_vec();
        if encrypted {
            let key = self.guard.resolve(&BlockFile::Key.path(number)).at(&path)?;
            let cipher = self.keys_at_hand.writing(self.fs, number, &key).at(&path)?;
            cipher
                .apply(&mut bytes, offset)
                .map_err(|_| ApplyCause::Keystream)
                .at(&path)?;
        }
        if present.is_none() {
            return self.replace(vec![(path, bytes)]);
        }
        if let Some(undo) = &mut self.undo {
            undo.file_will_be_changed_from(&path, &full, offset)
                .at(&path)?;
        }
        self.commit(&path)?;
        self.fs.append(&full, &bytes).at(&path)?;
        self.written_bytes += bytes.len() as u64;
        self.fs.sync_file(&full).at(&path)
    }

    /// Puts new files of one directory in place, together.
    fn replace(&mut self, files: Vec<NewFile>) -> Result<(), Failure> {
        let first = files
            .first()
            .map_or(String::new(), |(path, _)| path.clone());
        let mut members = Vec::new();
        for (path, bytes) in files {
            let full = self.guard.resolve(&path).at(&path)?;
            if let Some(undo) = &mut self.undo {
                undo.file_will_be_replaced(&path, &full).at(&path)?;
            }
            self.written_bytes += bytes.len() as u64;
            members.push(Member { path: full, bytes });
        }
        self.commit(&first)?;
        staging::replace(self.fs, &members).at(&first)
    }

    fn commit(&mut self, path: &str) -> Result<(), Failure> {
        match &mut self.undo {
            Some(undo) => undo.commit().at(path),
            None => Ok(()),
        }
    }

    /// Makes moves and removals durable, in the store and, where things were moved there, the area.
    fn sync_dirs(&self, path: &str, dirs: &[&Path]) -> Result<(), Failure> {
        for dir in dirs {
            self.fs.sync_dir(dir).at(path)?;
        }
        match &self.undo {
            Some(undo) if undo.is_in_force() => self.fs.sync_dir(undo.area()).at(path),
            _ => Ok(()),
        }
    }
}
