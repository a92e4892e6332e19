//! Going through the manifest backwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::journal::{Journal, JournalEntry};
use super::paths::{Guard, kind_at, parent_of};
use super::recorder::left_at;
use super::{AREA, MANIFEST, UndoError, UndoReport, read_manifest, saved_path, staging};
use crate::env::{FileKind, FileSystem, Metadata};
use crate::format::names::MESSAGES;

/// Longest tail of a file that is read back.
const TAIL_MAX: u64 = 16 << 30;

/// Brings back everything in the area, leaving a manifest with nothing to bring back.
pub(crate) fn revert_all(
    fs: &dyn FileSystem,
    dir: &Path,
    refuse_changed: bool,
) -> Result<UndoReport, UndoError> {
    let area = dir.join(AREA);
    let manifest = area.join(MANIFEST);
    let journal = read_manifest(fs, &area)?;
    let mut guard = Guard::new(fs, dir);
    examine(&journal, &mut guard)?;
    if let (Some((_, left)), true) = (&journal.finished, refuse_changed) {
        for known in left {
            if left_at(fs, dir, known.path())? != *known {
                return Err(UndoError::ChangedSince {
                    path: known.path().to_owned(),
                });
            }
        }
    }
    // From here on the area counts as one to be gone through to the end.
    let length = journal
        .finished
        .as_ref()
        .map_or(journal.length, |(offset, _)| *offset);
    if fs.metadata(&manifest)?.length != length {
        fs.truncate(&manifest, length)?;
    }
    if journal.finished.is_none() {
        discard_staged(fs, dir, &journal, &mut guard)?;
    }
    let mut revert = Revert {
        fs,
        area,
        guard,
        dirty: BTreeSet::new(),
        report: UndoReport::default(),
    };
    for (offset, entries) in journal.batches.iter().rev() {
        for entry in entries.iter().rev() {
            revert.entry(entry)?;
        }
        for dir in std::mem::take(&mut revert.dirty) {
            if kind_at(fs, &dir)? == Some(FileKind::Dir) {
                fs.sync_dir(&dir)?;
            }
        }
        fs.truncate(&manifest, *offset)?;
    }
    Ok(revert.report)
}

/// All names are looked at before the first is used.
fn examine(journal: &Journal, guard: &mut Guard<'_>) -> Result<(), UndoError> {
    let entries = journal
        .batches
        .iter()
        .flat_map(|(_, entries)| entries)
        .flat_map(JournalEntry::paths);
    let left = journal
        .finished
        .iter()
        .flat_map(|(_, left)| left)
        .map(|left| left.path());
    for path in entries.chain(left) {
        guard.resolve(path)?;
    }
    Ok(())
}

/// Removes the files that the interrupted recovery had prepared but not put in place.
fn discard_staged(
    fs: &dyn FileSystem,
    dir: &Path,
    journal: &Journal,
    guard: &mut Guard<'_>,
) -> Result<(), UndoError> {
    let mut dirs = BTreeSet::from([dir.to_owned(), guard.follow(MESSAGES)?]);
    for (_, entries) in &journal.batches {
        for path in entries.iter().flat_map(JournalEntry::paths) {
            dirs.insert(parent_of(&guard.resolve(path)?).to_owned());
        }
    }
    for dir in dirs {
        staging::discard(fs, &dir)?;
    }
    Ok(())
}

struct Revert<'a> {
    fs: &'a dyn FileSystem,
    area: PathBuf,
    guard: Guard<'a>,
    dirty: BTreeSet<PathBuf>,
    report: UndoReport,
}

impl Revert<'_> {
    fn entry(&mut self, entry: &JournalEntry) -> Result<(), UndoError> {
        match entry {
            JournalEntry::Absent { path } => self.absent(path),
            JournalEntry::File {
                path,
                saved,
                length,
                mode,
                modified_ns,
            } => {
                self.file(path, *saved, *length)?;
                self.attributes(path, *mode, *modified_ns)
            }
            JournalEntry::Tail {
                path,
                from,
                saved,
                length,
                mode,
                modified_ns,
            } => {
                self.tail(path, *from, *saved, *length)?;
                self.attributes(path, *mode, *modified_ns)
            }
            JournalEntry::Tree { path, saved } => self.tree(path, *saved),
            JournalEntry::Renamed { from, to } => self.renamed(from, to),
        }
    }

    fn absent(&mut self, path: &str) -> Result<(), UndoError> {
        let full = self.guard.resolve(path)?;
        match kind_at(self.fs, &full)? {
            None => return Ok(()),
            Some(FileKind::Dir) => {
                // What the recovery had put in it is gone by now.
                if !self.fs.list(&full)?.is_empty() {
                    return Err(UndoError::InTheWay {
                        path: path.to_owned(),
                    });
                }
                self.fs.remove_dir_all(&full)?;
            }
            Some(_) => self.fs.remove_file(&full)?,
        }
        self.dirty.insert(parent_of(&full).to_owned());
        self.report.removed.push(path.to_owned());
        Ok(())
    }

    fn file(&mut self, path: &str, saved: u64, length: u64) -> Result<(), UndoError> {
        let full = self.guard.resolve(path)?;
        let kept = saved_path(&self.area, saved);
        match kind_at(self.fs, &kept)? {
            Some(FileKind::File) => {
                if self.fs.metadata(&kept)?.length != length {
                    return Err(UndoError::Lost {
                        path: path.to_owned(),
                    });
                }
                self.fs.rename(&kept, &full)?;
            }
            Some(_) => {
                return Err(UndoError::Lost {
                    path: path.to_owned(),
                });
            }
            // Never moved away, or back already.
            None => {
                let there = self.there(&full)?;
                if !there
                    .is_some_and(|there| there.kind == FileKind::File && there.length == length)
                {
                    return Err(UndoError::Lost {
                        path: path.to_owned(),
                    });
                }
            }
        }
        self.moved(path, &full);
        Ok(())
    }

    fn tail(
        &mut self,
        path: &str,
        from: u64,
        saved: Option<u64>,
        length: u64,
    ) -> Result<(), UndoError> {
        let full = self.guard.resolve(path)?;
        let lost = || UndoError::Lost {
            path: path.to_owned(),
        };
        let there = self.there(&full)?.ok_or_else(lost)?;
        if there.kind != FileKind::File || there.length < from {
            return Err(lost());
        }
        let tail = match saved {
            Some(number) => self.fs.read(&saved_path(&self.area, number), TAIL_MAX)?,
            None => Vec::new(),
        };
        if from.checked_add(tail.len() as u64) != Some(length) {
            return Err(lost());
        }
        if there.length > from {
            self.fs.truncate(&full, from)?;
        }
        if !tail.is_empty() {
            self.fs.append(&full, &tail)?;
            self.fs.sync_file(&full)?;
        }
        self.report.restored.push(path.to_owned());
        Ok(())
    }

    fn tree(&mut self, path: &str, saved: u64) -> Result<(), UndoError> {
        let full = self.guard.resolve(path)?;
        let kept = saved_path(&self.area, saved);
        match kind_at(self.fs, &kept)? {
            Some(FileKind::Dir) => self.fs.rename(&kept, &full)?,
            Some(_) => {
                return Err(UndoError::Lost {
                    path: path.to_owned(),
                });
            }
            None if kind_at(self.fs, &full)? == Some(FileKind::Dir) => {}
            None => {
                return Err(UndoError::Lost {
                    path: path.to_owned(),
                });
            }
        }
        self.guard.forget();
        self.moved(path, &full);
        Ok(())
    }

    fn renamed(&mut self, from: &str, to: &str) -> Result<(), UndoError> {
        let (old, new) = (self.guard.resolve(from)?, self.guard.resolve(to)?);
        match (kind_at(self.fs, &old)?, kind_at(self.fs, &new)?) {
            (None, Some(_)) => self.fs.rename(&new, &old)?,
            (Some(_), None) => {}
            (Some(_), Some(_)) => {
                return Err(UndoError::InTheWay {
                    path: from.to_owned(),
                });
            }
            (None, None) => {
                return Err(UndoError::Lost {
                    path: from.to_owned(),
                });
            }
        }
        self.guard.forget();
        self.dirty.insert(parent_of(&new).to_owned());
        self.moved(from, &old);
        Ok(())
    }

    /// Mode and time of modification as they were. The first change to either would disturb nothing
    /// that is shared: by now the file has one name only, or two that are both ours.
    fn attributes(
        &mut self,
        path: &str,
        mode: Option<u32>,
        modified_ns: i64,
    ) -> Result<(), UndoError> {
        let full = self.guard.resolve(path)?;
        let there = self.fs.metadata(&full)?;
        if let Some(mode) = mode.filter(|mode| there.mode != Some(*mode)) {
            self.fs.set_mode(&full, mode)?;
        }
        if there.modified_ns != modified_ns {
            self.fs.set_modified(&full, modified_ns)?;
            self.fs.sync_file(&full)?;
        }
        Ok(())
    }

    fn there(&self, full: &Path) -> Result<Option<Metadata>, UndoError> {
        match self.fs.metadata(full) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn moved(&mut self, path: &str, full: &Path) {
        self.dirty.insert(parent_of(full).to_owned());
        self.dirty.insert(self.area.clone());
        self.report.restored.push(path.to_owned());
    }
}
