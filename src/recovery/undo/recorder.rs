//! Putting things aside before they are changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::journal::{JournalEntry, Left, Line, VERSION};
use super::paths::kind_at;
use super::{
    AREA, AREA_NEW, AREA_OLD, AreaState, MANIFEST, UndoError, UndoReport, area_at, area_state,
    drop_area, saved_path, tidy, undo_despite_changes,
};
use crate::env::{FileKind, FileSystem, IoError, Operation, ReadFiles};

/// Puts aside what a recovery of one stream directory is about to change.
///
/// For each set of changes: announce them, [`commit`](Self::commit), make them. A set names no path
/// twice, since it is brought back as one.
pub struct Recorder<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a Path,
    /// Where the area lies at the moment.
    area: PathBuf,
    /// Whether it was made.
    made: bool,
    /// Whether it goes by its proper name, so that it may describe a store that was changed.
    in_force: bool,
    pending: Vec<JournalEntry>,
    saved_count: u64,
    touched: BTreeSet<String>,
}

impl<'a> Recorder<'a> {
    /// A recorder for the stream directory `dir`. Nothing is made there before the first change, and
    /// what an earlier recovery put aside stays until this one has ended well.
    ///
    /// # Errors
    ///
    /// [`UndoError::Interrupted`] where an earlier recovery did not come to its end; otherwise what
    /// reading its manifest gives.
    pub fn new(fs: &'a dyn FileSystem, dir: &'a Path) -> Result<Self, UndoError> {
        tidy(fs, dir)?;
        if area_state(fs, dir)? == AreaState::Interrupted {
            return Err(UndoError::Interrupted);
        }
        Ok(Recorder {
            fs,
            dir,
            area: dir.join(AREA_NEW),
            made: false,
            in_force: false,
            pending: Vec::new(),
            saved_count: 0,
            touched: BTreeSet::new(),
        })
    }

    /// The file will be replaced by another under its name, or created.
    pub(crate) fn file_will_be_replaced(
        &mut self,
        path: &str,
        full: &Path,
    ) -> Result<(), UndoError> {
        self.make_area()?;
        if kind_at(self.fs, full)?.is_none() {
            self.note(JournalEntry::Absent {
                path: path.to_owned(),
            });
            return Ok(());
        }
        let (entry, kept) = self.whole_file(path, full)?;
        self.fs.link_or_copy(full, &kept)?;
        self.note(entry);
        Ok(())
    }

    /// The file will be removed, namely by renaming it to what is returned.
    pub(crate) fn file_will_be_moved(
        &mut self,
        path: &str,
        full: &Path,
    ) -> Result<PathBuf, UndoError> {
        self.make_area()?;
        let (entry, kept) = self.whole_file(path, full)?;
        self.note(entry);
        // By then the area has its proper name.
        let name = kept.file_name().map(Path::new).unwrap_or(Path::new(""));
        Ok(self.dir.join(AREA).join(name))
    }

    /// The directory will be removed, namely by renaming it to what is returned.
    pub(crate) fn tree_will_be_moved(&mut self, path: &str) -> Result<PathBuf, UndoError> {
        self.make_area()?;
        let saved = self.next_number();
        self.note(JournalEntry::Tree {
            path: path.to_owned(),
            saved,
        });
        Ok(saved_path(&self.dir.join(AREA), saved))
    }

    /// The file will be changed in place, but not before byte `from`.
    pub(crate) fn file_will_be_changed_from(
        &mut self,
        path: &str,
        full: &Path,
        from: u64,
    ) -> Result<(), UndoError> {
        self.make_area()?;
        let metadata = self.fs.metadata(full)?;
        let from = from.min(metadata.length);
        let mut saved = None;
        if from < metadata.length {
            let tail = read_from(self.fs, full, from, metadata.length)?;
            let number = self.next_number();
            self.fs
                .write_atomically(&saved_path(&self.area, number), &tail, None)?;
            saved = Some(number);
        }
        self.note(JournalEntry::Tail {
            path: path.to_owned(),
            from,
            saved,
            length: metadata.length,
            mode: metadata.mode,
            modified_ns: metadata.modified_ns,
        });
        Ok(())
    }

    /// Something will be renamed to a name that is free.
    pub(crate) fn will_be_renamed(&mut self, from: &str, to: &str) -> Result<(), UndoError> {
        self.make_area()?;
        self.note(JournalEntry::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    /// The directory will be made.
    pub(crate) fn dir_will_be_made(&mut self, path: &str) -> Result<(), UndoError> {
        self.make_area()?;
        self.note(JournalEntry::Absent {
            path: path.to_owned(),
        });
        Ok(())
    }

    /// Makes durable what was announced. Only then may it be done.
    pub(crate) fn commit(&mut self) -> Result<(), UndoError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let line = Line::Before(std::mem::take(&mut self.pending)).encode();
        self.fs.sync_dir(&self.area)?;
        if self.in_force {
            let manifest = self.area.join(MANIFEST);
            self.fs.append(&manifest, &line)?;
            self.fs.sync_file(&manifest)?;
            return Ok(());
        }
        let text = [Line::JetsamUndo(VERSION).encode(), line].concat();
        self.fs
            .write_atomically(&self.area.join(MANIFEST), &text, None)?;
        let proper = self.dir.join(AREA);
        if area_at(self.fs, self.dir, AREA)? {
            self.fs.rename(&proper, &self.dir.join(AREA_OLD))?;
        }
        self.fs.rename(&self.area, &proper)?;
        self.area = proper;
        self.in_force = true;
        self.fs.sync_dir(self.dir)?;
        Ok(())
    }

    /// Whether something has been put aside, so that there is an area under its proper name.
    pub(crate) fn is_in_force(&self) -> bool {
        self.in_force
    }

    /// Where the area lies, for syncing it after moves into it.
    pub(crate) fn area(&self) -> &Path {
        &self.area
    }

    /// The recovery came to its end: notes how it left the files, and drops what the recovery before
    /// had put aside.
    pub(crate) fn finish(&mut self) -> Result<(), UndoError> {
        if !self.in_force {
            return Ok(());
        }
        let mut left = Vec::new();
        for path in &self.touched {
            left.push(left_at(self.fs, self.dir, path)?);
        }
        let manifest = self.area.join(MANIFEST);
        self.fs.append(&manifest, &Line::Finished(left).encode())?;
        self.fs.sync_file(&manifest)?;
        self.in_force = false;
        // The recovery is complete whether or not this succeeds; the next one tidies up.
        if area_at(self.fs, self.dir, AREA_OLD) == Ok(true) {
            let _ = drop_area(self.fs, self.dir, AREA_OLD);
        }
        Ok(())
    }

    /// Brings everything back that was changed since the recorder was made.
    pub(crate) fn roll_back(&mut self) -> Result<UndoReport, UndoError> {
        self.pending.clear();
        if !self.in_force {
            tidy(self.fs, self.dir)?;
            return Ok(UndoReport::default());
        }
        self.in_force = false;
        undo_despite_changes(self.fs, self.dir)
    }

    fn make_area(&mut self) -> Result<(), UndoError> {
        if !self.made {
            self.fs
                .create_dir_all(&self.area, crate::env::DEFAULT_DIR_MODE)?;
            self.made = true;
        }
        Ok(())
    }

    fn whole_file(
        &mut self,
        path: &str,
        full: &Path,
    ) -> Result<(JournalEntry, PathBuf), UndoError> {
        let metadata = self.fs.metadata(full)?;
        if metadata.kind != FileKind::File {
            let kind = std::io::ErrorKind::IsADirectory;
            return Err(IoError::new(Operation::LinkOrCopy, full, kind).into());
        }
        let saved = self.next_number();
        let entry = JournalEntry::File {
            path: path.to_owned(),
            saved,
            length: metadata.length,
            mode: metadata.mode,
            modified_ns: metadata.modified_ns,
        };
        Ok((entry, saved_path(&self.area, saved)))
    }

    fn next_number(&mut self) -> u64 {
        self.saved_count += 1;
        self.saved_count - 1
    }

    fn note(&mut self, entry: JournalEntry) {
        self.touched
            .extend(entry.paths().into_iter().map(str::to_owned));
        self.pending.push(entry);
    }
}

/// What lies at a path now.
pub(super) fn left_at(fs: &dyn ReadFiles, dir: &Path, path: &str) -> Result<Left, IoError> {
    let name = path.to_owned();
    match fs.metadata(&dir.join(path)) {
        Ok(metadata) if metadata.kind == FileKind::Dir => Ok(Left::Directory { path: name }),
        Ok(metadata) => Ok(Left::File {
            path: name,
            length: metadata.length,
            modified_ns: metadata.modified_ns,
        }),
        Err(error)
            if matches!(
                error.kind,
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Left::Absent { path: name })
        }
        Err(error) => Err(error),
    }
}

/// The bytes of a file from `from` to `length`.
fn read_from(fs: &dyn ReadFiles, path: &Path, from: u64, length: u64) -> Result<Vec<u8>, IoError> {
    let error = |kind| IoError::new(Operation::Read, path, kind);
    let wanted = usize::try_from(length.saturating_sub(from))
        .map_err(|_| error(std::io::ErrorKind::FileTooLarge))?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(wanted)
        .map_err(|_| error(std::io::ErrorKind::OutOfMemory))?;
    bytes.resize(wanted, 0);
    let file = fs.open(path)?;
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(from + filled as u64, rest)? {
            0 => return Err(error(std::io::ErrorKind::UnexpectedEof)),
            count => filled += count,
        }
    }
    Ok(bytes)
}
