//! Taking a recovery back, byte for byte.
//!
//! Before a recovery changes a path, the [`Recorder`] puts what is there aside in [`AREA`], a
//! directory inside the stream directory, and writes down in its manifest what the path was. Only
//! then is the path changed. [`undo`] goes through the manifest backwards and cuts off each line
//! once it has been brought back, so that it can be interrupted anywhere and be called again: a line
//! that stands is one to bring back, and bringing back twice is the same as once.
//!
//! What is kept is never more than needed: a file to be replaced gets a second name in the area, one
//! to be removed is moved there, as is a whole directory, and of one that is cut only what is cut
//! off. Modes and times of modification of files come back too; those times of directories do not,
//! since undoing changes directories itself.
//!
//! nats-server lists the directories of streams, `msgs`, `__new_msgs__` and `obs` by name and never
//! the stream directory itself, so the area, and our temporary files beside it, do not meet it.
//! (Removing the stream removes them as well.)
//!
//! The area of one recovery is dropped when the next one ends well. Until then it lies beside the
//! new one, which is built under another name and takes its place by renaming.

mod journal;
pub(crate) mod paths;
mod recorder;
mod revert;
pub(crate) mod staging;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::env::{FileKind, FileSystem, IoError, ReadFiles};
use journal::{Journal, JournalFault};
pub use paths::PathFault;
pub use recorder::Recorder;
pub(crate) use revert::revert_all;

/// Name of the directory, inside the stream directory, that holds what the last recovery put aside.
pub const AREA: &str = ".jetsam-undo";

/// An area that is being put together; nothing has been changed on its behalf.
const AREA_NEW: &str = ".jetsam-undo.new.jetsam.tmp";
/// The area of the recovery before, kept until the present one has ended well.
const AREA_OLD: &str = ".jetsam-undo.old.jetsam.tmp";
/// An area that is being removed.
const AREA_GONE: &str = ".jetsam-undo.gone.jetsam.tmp";

/// Name of the manifest in an area.
const MANIFEST: &str = "manifest.jsonl";

/// Manifests beyond this length are not read.
const MANIFEST_MAX: u64 = 1 << 30;

/// What an undo did. Paths are relative to the stream directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UndoReport {
    /// What was brought back, in the order it was.
    pub restored: Vec<String>,
    /// What had been created since and was removed.
    pub removed: Vec<String>,
}

/// Why a recovery could not be undone, or what it changes not be put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoError {
    /// No recovery has put anything aside here.
    NothingToUndo,
    /// The area holds what an interrupted recovery, or an interrupted undo, left: undo comes first.
    Interrupted,
    /// Someone has changed the store since the recovery; undoing would take that away too.
    ChangedSince {
        /// What is no longer as the recovery left it.
        path: String,
    },
    /// The manifest is of another version.
    Version {
        /// The version found.
        found: u32,
    },
    /// The manifest is damaged.
    Manifest {
        /// Number of the line, counted from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// What was put aside is gone, and the path is not as it was either.
    Lost {
        /// What cannot be brought back.
        path: String,
    },
    /// Something that the recovery did not put there is in the way.
    InTheWay {
        /// Where.
        path: String,
    },
    /// A name that leads out of the stream directory.
    Path(PathFault),
    /// The file system refused.
    Io(IoError),
}

impl fmt::Display for UndoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToUndo => f.write_str("there is nothing to undo"),
            Self::Interrupted => {
                f.write_str("an earlier recovery was interrupted and must be undone first")
            }
            Self::ChangedSince { path } => write!(
                f,
                "{path} was changed after the recovery; undoing would lose that change"
            ),
            Self::Version { found } => {
                write!(
                    f,
                    "{AREA}/{MANIFEST} has version {found}, known is {}",
                    journal::VERSION
                )
            }
            Self::Manifest { line, detail } => {
                write!(f, "{AREA}/{MANIFEST} is damaged in line {line}: {detail}")
            }
            Self::Lost { path } => write!(f, "what was put aside of {path} is gone"),
            Self::InTheWay { path } => {
                write!(
                    f,
                    "{path} is in the way and does not come from the recovery"
                )
            }
            Self::Path(fault) => fault.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UndoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Path(fault) => Some(fault),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<IoError> for UndoError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<PathFault> for UndoError {
    fn from(fault: PathFault) -> Self {
        match fault {
            PathFault::Io(error) => Self::Io(error),
            fault => Self::Path(fault),
        }
    }
}

impl From<JournalFault> for UndoError {
    fn from(fault: JournalFault) -> Self {
        match fault {
            JournalFault::Version { found } => Self::Version { found },
            JournalFault::Line { number, detail } => Self::Manifest {
                line: number,
                detail,
            },
        }
    }
}

/// What the undo area of a stream directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AreaState {
    /// There is none.
    None,
    /// A recovery, or an undo, was interrupted: the store is between two states, and `undo` brings
    /// it back to the first.
    Interrupted,
    /// A recovery came to its end and can be undone.
    Finished,
}

/// Looks at the undo area without changing anything.
///
/// # Errors
///
/// [`UndoError`] where the manifest cannot be read.
pub fn area_state(fs: &dyn ReadFiles, dir: &Path) -> Result<AreaState, UndoError> {
    if !area_at(fs, dir, AREA)? {
        return Ok(AreaState::None);
    }
    let journal = read_manifest(fs, &dir.join(AREA))?;
    Ok(match journal.finished {
        Some(_) => AreaState::Finished,
        None => AreaState::Interrupted,
    })
}

/// Brings back, byte for byte, what the last recovery of the stream directory `dir` changed, and
/// removes the undo area. The caller holds the directory's lock.
///
/// Interrupted at any point, it leaves an area with which a second call finishes the work.
///
/// # Errors
///
/// [`UndoError`]. All names in the manifest are examined before anything is changed, and nothing is
/// changed where a file is no longer as the recovery left it ([`UndoError::ChangedSince`]).
pub fn undo(fs: &dyn FileSystem, dir: &Path) -> Result<UndoReport, UndoError> {
    run(fs, dir, true)
}

/// As [`undo`], but gives up changes made to the same files since the recovery.
///
/// # Errors
///
/// [`UndoError`], except [`UndoError::ChangedSince`].
pub fn undo_despite_changes(fs: &dyn FileSystem, dir: &Path) -> Result<UndoReport, UndoError> {
    run(fs, dir, false)
}

fn run(fs: &dyn FileSystem, dir: &Path, refuse_changed: bool) -> Result<UndoReport, UndoError> {
    match tidy(fs, dir)? {
        // The undo that was interrupted had done its work, or the recovery had not begun: what is
        // found now belongs to the recovery before.
        Tidied::Promoted => return Ok(UndoReport::default()),
        Tidied::Removed if !area_at(fs, dir, AREA)? => return Ok(UndoReport::default()),
        _ => {}
    }
    if !area_at(fs, dir, AREA)? {
        return Err(UndoError::NothingToUndo);
    }
    let report = revert_all(fs, dir, refuse_changed)?;
    drop_area(fs, dir, AREA)?;
    if area_at(fs, dir, AREA_OLD)? {
        fs.rename(&dir.join(AREA_OLD), &dir.join(AREA))?;
        fs.sync_dir(dir)?;
    }
    Ok(report)
}

/// What [`tidy`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tidied {
    Nothing,
    /// Areas that stood for nothing any more.
    Removed,
    /// The area of an earlier recovery has its name back.
    Promoted,
}

/// Clears away what an interruption between two renames of areas left. Changes nothing else.
fn tidy(fs: &dyn FileSystem, dir: &Path) -> Result<Tidied, UndoError> {
    let mut tidied = Tidied::Nothing;
    for name in [AREA_NEW, AREA_GONE] {
        if area_at(fs, dir, name)? {
            fs.remove_dir_all(&dir.join(name))?;
            tidied = Tidied::Removed;
        }
    }
    if area_at(fs, dir, AREA_OLD)? {
        match area_state(fs, dir)? {
            AreaState::None => {
                fs.rename(&dir.join(AREA_OLD), &dir.join(AREA))?;
                tidied = Tidied::Promoted;
            }
            AreaState::Finished => {
                drop_area(fs, dir, AREA_OLD)?;
                tidied = Tidied::Removed;
            }
            AreaState::Interrupted => {}
        }
    }
    if tidied != Tidied::Nothing {
        fs.sync_dir(dir)?;
    }
    Ok(tidied)
}

/// Removes an area such that it is there as a whole or not at all.
fn drop_area(fs: &dyn FileSystem, dir: &Path, name: &str) -> Result<(), IoError> {
    let gone = dir.join(AREA_GONE);
    fs.rename(&dir.join(name), &gone)?;
    fs.sync_dir(dir)?;
    fs.remove_dir_all(&gone)?;
    fs.sync_dir(dir)
}

/// Whether there is an area of that name; anything else of that name is an error.
fn area_at(fs: &dyn ReadFiles, dir: &Path, name: &str) -> Result<bool, UndoError> {
    let path = dir.join(name);
    match fs.list(dir)?.into_iter().find(|entry| entry.name == name) {
        None => Ok(false),
        Some(entry) if entry.kind == FileKind::Dir => Ok(true),
        Some(entry) if entry.kind == FileKind::Symlink => {
            Err(PathFault::SymbolicLink { path }.into())
        }
        Some(_) => Err(UndoError::InTheWay {
            path: name.to_owned(),
        }),
    }
}

fn read_manifest(fs: &dyn ReadFiles, area: &Path) -> Result<Journal, UndoError> {
    let path = area.join(MANIFEST);
    for entry in fs.list(area)? {
        if entry.kind == FileKind::Symlink {
            return Err(PathFault::SymbolicLink {
                path: area.join(entry.name),
            }
            .into());
        }
    }
    match fs.read(&path, MANIFEST_MAX) {
        Ok(bytes) => Ok(Journal::parse(&bytes)?),
        Err(error) if error.is_not_found() => Err(UndoError::Manifest {
            line: 1,
            detail: "there is none".to_owned(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Where something is kept in an area.
fn saved_path(area: &Path, number: u64) -> PathBuf {
    area.join(number.to_string())
}

#[cfg(test)]
mod tests;
