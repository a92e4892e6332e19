//! Names from outside, held inside the stream directory.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::AREA;
use crate::env::{FileKind, IoError, ReadFiles};

/// Why a relative name is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathFault {
    /// It does not name something below the stream directory, or names the undo area.
    Outside {
        /// The name as it was given.
        path: String,
    },
    /// It, or a directory above it, is a symbolic link.
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// That could not be found out.
    Io(IoError),
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { path } => {
                write!(f, "{path:?} does not name a file of the stream directory")
            }
            Self::SymbolicLink { path } => {
                write!(
                    f,
                    "{} is a symbolic link, which is not followed",
                    path.display()
                )
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PathFault {}

impl From<IoError> for PathFault {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

/// Whether `path` is relative, stays below where it starts, and keeps out of the undo area.
pub(crate) fn is_inside(path: &str) -> bool {
    let ours = |part: &str| {
        part.get(..AREA.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(AREA))
    };
    let plain = |part: &str| {
        let mut components = Path::new(part).components();
        matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none()
    };
    !path.contains(['\0', '\\'])
        && path.split('/').all(plain)
        && !path.split('/').next().is_some_and(ours)
}

/// Turns relative names into paths, refusing those that lead out of the stream directory.
///
/// Directories are listed once, since only a listing tells a link from what it leads to. This keeps
/// out what lies on the disk, not somebody who swaps directories for links meanwhile.
pub(crate) struct Guard<'a> {
    fs: &'a dyn ReadFiles,
    dir: &'a Path,
    links: HashMap<PathBuf, HashSet<OsString>>,
}

impl<'a> Guard<'a> {
    pub(crate) fn new(fs: &'a dyn ReadFiles, dir: &'a Path) -> Self {
        Guard {
            fs,
            dir,
            links: HashMap::new(),
        }
    }

    /// The path of `relative`.
    ///
    /// # Errors
    ///
    /// [`PathFault`].
    pub(crate) fn resolve(&mut self, relative: &str) -> Result<PathBuf, PathFault> {
        if !is_inside(relative) {
            return Err(PathFault::Outside {
                path: relative.to_owned(),
            });
        }
        self.follow(relative)
    }

    /// As [`resolve`](Self::resolve), for names that this program made up itself.
    ///
    /// # Errors
    ///
    /// [`PathFault::SymbolicLink`] and [`PathFault::Io`].
    pub(crate) fn follow(&mut self, relative: &str) -> Result<PathBuf, PathFault> {
        let mut path = self.dir.to_owned();
        for part in relative.split('/') {
            let is_link = self.links_in(&path)?.contains(Path::new(part).as_os_str());
            path.push(part);
            if is_link {
                return Err(PathFault::SymbolicLink { path });
            }
        }
        Ok(path)
    }

    /// Forgets what was listed, because directories were moved.
    pub(crate) fn forget(&mut self) {
        self.links.clear();
    }

    fn links_in(&mut self, dir: &Path) -> Result<&HashSet<OsString>, IoError> {
        if !self.links.contains_key(dir) {
            let links = match self.fs.list(dir) {
                Ok(entries) => entries
                    .into_iter()
                    .filter(|entry| entry.kind == FileKind::Symlink)
                    .map(|entry| entry.name)
                    .collect(),
                // A directory that will be made later holds no links then either, since we make it.
                Err(error)
                    if matches!(
                        error.kind,
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    HashSet::new()
                }
                Err(error) => return Err(error),
            };
            self.links.insert(dir.to_owned(), links);
        }
        Ok(self.links.entry(dir.to_owned()).or_default())
    }
}

/// What lies at `path`, links followed; `None` where nothing does.
///
/// # Errors
///
/// Those of the file system.
pub(crate) fn kind_at(fs: &dyn ReadFiles, path: &Path) -> Result<Option<FileKind>, IoError> {
    match fs.metadata(path) {
        Ok(metadata) => Ok(Some(metadata.kind)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The directory a path is in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_names_are_inside() {
        for path in [
            "index.db",
            "msgs/1.blk",
            "obs/C/o.dat",
            "__msgs__",
            "msgs/..a",
            "a b",
        ] {
            assert!(is_inside(path), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "msgs/../../x",
            "msgs/..",
            ".",
            "./x",
            "msgs//1.blk",
            "msgs/",
            "a\0b",
            "..\\x",
            ".jetsam-undo",
            ".jetsam-undo/0",
            ".JETSAM-undo/0",
            ".jetsam-undo.old.jetsam.tmp/0",
        ] {
            assert!(!is_inside(path), "{path}");
        }
    }
}
