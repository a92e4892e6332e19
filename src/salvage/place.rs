//! Where a new stream directory is put together, and how it takes its place.
//!
//! Nothing of a new store lies under its own name before all of it is durable: it is written beside that name, in a directory
//! whose name begins with a dot, and renamed at the end. Nobody takes such a directory for a stream: a server removes it when
//! it starts (for it that is a half-deleted stream), and so does the next run that is told to go on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::SalvageError;
use crate::env::{DEFAULT_DIR_MODE, FileKind, FileSystem, IoError, ReadFiles};
use crate::format::names::{MESSAGES, META};
use crate::stream::writer::WriteError;

/// How the name of an unfinished directory ends.
const UNFINISHED: &str = ".jetsam-part";

/// The place of one new stream directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    out: PathBuf,
    part: PathBuf,
}

impl Place {
    /// The place for `out`, which must be new or empty. What an interrupted run left beside it is removed where `resume`
    /// says so.
    pub(super) fn prepare(
        fs: &dyn FileSystem,
        out: &Path,
        resume: bool,
    ) -> Result<Self, SalvageError> {
        let part = unfinished(out).ok_or_else(|| WriteError::BadName {
            dir: out.to_owned(),
            name: out.display().to_string(),
        })?;
        match fs.list(out) {
            Ok(entries) if entries.is_empty() => {}
            Ok(_) => return Err(WriteError::NotEmpty(out.to_owned()).into()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        match fs.metadata(&part) {
            Ok(_) if resume => fs.remove_dir_all(&part)?,
            Ok(_) => return Err(SalvageError::Unfinished(part)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Place {
            out: out.to_owned(),
            part,
        })
    }

    /// Where to write.
    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// Throws away what was written, as far as that goes.
    pub(super) fn abandon(&self, fs: &dyn FileSystem) {
        // The reason for giving up is what is worth reporting.
        let _ = fs.remove_dir_all(&self.part);
    }

    /// Gives the finished directory owner and permissions of the source, and its name.
    pub(super) fn take(&self, fs: &dyn FileSystem, source: &Path) -> Result<(), SalvageError> {
        adopt_tree(fs, &self.part, source)?;
        let parent = self.out.parent().unwrap_or_else(|| Path::new(""));
        if cfg!(windows) && fs.metadata(&self.out).is_ok() {
            // Only elsewhere does a rename take the place of an empty directory.
            fs.remove_dir_all(&self.out)?;
        }
        fs.rename(&self.part, &self.out)?;
        fs.sync_dir(parent)?;
        Ok(())
    }
}

/// Has `make` write a new directory, and gives it the name `out` once it is whole; there is nothing of it where that fails. It is
/// like `source` in owner and permissions.
pub(super) fn put_together<T>(
    fs: &dyn FileSystem,
    out: &Path,
    resume: bool,
    source: &Path,
    make: impl FnOnce(&Path) -> Result<T, SalvageError>,
) -> Result<T, SalvageError> {
    let place = Place::prepare(fs, out, resume)?;
    make_above(fs, out, source)?;
    let made = make(place.part()).and_then(|made| {
        place.take(fs, source)?;
        Ok(made)
    });
    if made.is_err() {
        place.abandon(fs);
    }
    made
}

/// The name beside `out` under which it is written.
fn unfinished(out: &Path) -> Option<PathBuf> {
    let mut name = OsStr::new(".").to_owned();
    name.push(out.file_name()?);
    name.push(UNFINISHED);
    Some(out.with_file_name(name))
}

/// Makes the directories above `out` that are missing, with owner and mode of those above `source` at the same height.
pub(super) fn make_above(
    fs: &dyn FileSystem,
    out: &Path,
    source: &Path,
) -> Result<(), SalvageError> {
    let above: Vec<(&Path, &Path)> = out
        .ancestors()
        .zip(source.ancestors())
        .skip(1)
        .take_while(|(dir, _)| !dir.as_os_str().is_empty())
        .collect();
    let mut missing = Vec::new();
    for (dir, like) in above {
        match fs.metadata(dir) {
            Ok(_) => break,
            Err(error) if error.is_not_found() => missing.push((dir, like)),
            Err(error) => return Err(error.into()),
        }
    }
    for (dir, like) in missing.into_iter().rev() {
        fs.create_dir_all(dir, DEFAULT_DIR_MODE)?;
        // The two trees need not have the same height.
        if fs
            .metadata(like)
            .is_ok_and(|found| found.kind == FileKind::Dir)
        {
            fs.adopt(dir, like)?;
        }
        fs.sync_dir(dir.parent().unwrap_or_else(|| Path::new("")))?;
    }
    Ok(())
}

/// What files and directories without a counterpart in the source are to be like.
struct Like {
    file: Option<PathBuf>,
    dir: PathBuf,
}

/// Gives everything below `made`, and itself, the owner and mode of what lies at the same place below `source`; what has no
/// counterpart there is done like the source's metadata, or its directory. What changed is made durable.
fn adopt_tree(fs: &dyn FileSystem, made: &Path, source: &Path) -> Result<(), IoError> {
    let like = Like {
        file: usual_file(fs, source),
        dir: source.to_owned(),
    };
    adopt_below(fs, made, Some(source), &like)
}

/// A file of the source that stands for all of them.
fn usual_file(fs: &dyn ReadFiles, source: &Path) -> Option<PathBuf> {
    let meta = source.join(META);
    if fs
        .metadata(&meta)
        .is_ok_and(|found| found.kind == FileKind::File)
    {
        return Some(meta);
    }
    let msgs = source.join(MESSAGES);
    let entries = fs.list(&msgs).unwrap_or_default();
    let file = entries
        .into_iter()
        .find(|entry| entry.kind == FileKind::File);
    file.map(|entry| msgs.join(entry.name))
}

fn adopt_below(
    fs: &dyn FileSystem,
    made: &Path,
    source: Option<&Path>,
    like: &Like,
) -> Result<(), IoError> {
    for entry in fs.list(made)? {
        let path = made.join(&entry.name);
        let counterpart = source.map(|source| source.join(&entry.name));
        let counterpart = counterpart.filter(|path| {
            let kind = fs.metadata(path).map(|found| found.kind);
            kind.is_ok_and(|kind| kind == entry.kind)
        });
        match entry.kind {
            FileKind::Dir => adopt_below(fs, &path, counterpart.as_deref(), like)?,
            FileKind::File => {
                let wanted = counterpart.as_ref().or(like.file.as_ref());
                if let Some(wanted) = wanted
                    && fs.adopt(&path, wanted)?
                {
                    fs.sync_file(&path)?;
                }
            }
            _ => {}
        }
    }
    // Last, so that a directory nobody may write to does not stand in our own way.
    if fs.adopt(made, source.unwrap_or(&like.dir))? {
        fs.sync_dir(made)?;
    }
    Ok(())
}
