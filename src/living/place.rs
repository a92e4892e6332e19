//! The place on disk that is asked about, known by what it is and not by its name.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::env::{FileIdentity, ReadFiles};

/// A directory, and those above it.
pub(super) struct Place<'a> {
    fs: &'a dyn ReadFiles,
    /// Its path, without links as far as it exists.
    pub path: PathBuf,
    /// The directory itself, if it exists.
    itself: Option<FileIdentity>,
    /// It and all above it.
    lineage: Vec<FileIdentity>,
}

impl<'a> Place<'a> {
    pub(super) fn of(fs: &'a dyn ReadFiles, path: &Path) -> Self {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        // What is yet to be made counts by the directory it is made in.
        let existing = path.ancestors().find_map(|ancestor| {
            let named = if ancestor.as_os_str().is_empty() {
                Path::new(".")
            } else {
                ancestor
            };
            Some((ancestor, fs.canonical(named).ok()?))
        });
        let (named, existing) = existing.unwrap_or_else(|| (path, path.to_owned()));
        let missing = path.strip_prefix(named).unwrap_or(Path::new(""));
        let is_there = missing.as_os_str().is_empty();
        Self {
            fs,
            itself: fs.identity(&existing).ok().filter(|_| is_there),
            lineage: existing
                .ancestors()
                .filter_map(|ancestor| fs.identity(ancestor).ok())
                .collect(),
            path: if is_there {
                existing
            } else {
                existing.join(missing)
            },
        }
    }

    /// Whether this is `directory` or lies in it.
    pub(super) fn is_within(&self, directory: &Path) -> Result<bool, ErrorKind> {
        Ok(self
            .identity(directory)?
            .is_some_and(|identity| self.lineage.contains(&identity)))
    }

    /// Whether this is `directory`.
    pub(super) fn is(&self, directory: &Path) -> Result<bool, ErrorKind> {
        let identity = self.identity(directory)?;
        Ok(identity.is_some() && identity == self.itself)
    }

    /// Whether `path`, which need not exist any more, lies in here. No path is followed that does not look like it belongs to
    /// a store, since one into a dead network mount could take for ever.
    pub(super) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.path)
            || path
                .ancestors()
                .skip(1)
                .any(|directory| self.is(directory).unwrap_or(false))
    }

    fn identity(&self, path: &Path) -> Result<Option<FileIdentity>, ErrorKind> {
        match self.fs.identity(path) {
            Ok(identity) => Ok(Some(identity)),
            Err(error) if error.kind == ErrorKind::PermissionDenied => Err(error.kind),
            Err(_) => Ok(None),
        }
    }
}
