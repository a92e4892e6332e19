//! Why salvage could not go on.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::env::IoError;
use crate::stream::NeedsKey;
use crate::stream::writer::WriteError;

/// What stopped a reading of the source or the writing of a new store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SalvageError {
    /// A file or directory could not be read or written.
    Io(IoError),
    /// An earlier run was interrupted and left this directory.
    Unfinished(PathBuf),
    /// The source is encrypted, and no key that was given opens any of its key files.
    NeedsKey(NeedsKey),
    /// The new stream could not be written.
    Write(WriteError),
    /// The caller asked to stop.
    Interrupted(PathBuf),
    /// The directory for the new store cannot be used: it lies in the source, or the source in it.
    Overlap {
        /// The source.
        source: PathBuf,
        /// The directory for the new store.
        out: PathBuf,
    },
    /// The new store does not come out as it was promised; it is not to be used.
    Mismatch {
        /// The new stream's directory.
        dir: PathBuf,
        /// What differs.
        detail: String,
    },
    /// The blocks' sequences interleave so often that putting them in order would take forever.
    Tangled {
        /// The stream.
        dir: PathBuf,
        /// How often the sequence leads from one block to another.
        count: usize,
    },
    /// The copies are not of one stream.
    NotOneStream(PathBuf, String),
    /// A stream that was given as a relative neither mirrors nor sources the others, or in a way that tells too little.
    NotRelated(PathBuf, String),
    /// The quarantine file cannot be read.
    Quarantine(PathBuf, String),
}

impl SalvageError {
    /// The file or directory it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            SalvageError::Io(error) => &error.path,
            SalvageError::Overlap { out, .. } => out,
            SalvageError::Interrupted(path)
            | SalvageError::NotOneStream(path, _)
            | SalvageError::NotRelated(path, _)
            | SalvageError::Quarantine(path, _) => path,
            SalvageError::Mismatch { dir, .. } | SalvageError::Tangled { dir, .. } => dir,
            SalvageError::Unfinished(path) => path,
            SalvageError::Write(error) => error.path(),
            SalvageError::NeedsKey(closed) => &closed.dir,
        }
    }
}

impl fmt::Display for SalvageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SalvageError::Io(error) => error.fmt(f),
            SalvageError::Interrupted(dir) => {
                write!(f, "{}: interrupted; nothing was finished", dir.display())
            }
            SalvageError::Overlap { source, out } => write!(
                f,
                "{} and {} lie one in the other: name a directory for the new store that is apart from the source",
                out.display(),
                source.display()
            ),
            SalvageError::Mismatch { dir, detail } => write!(
                f,
                "{}: the new store does not come out as it should: {detail}; do not use it, and report this",
                dir.display()
            ),
            SalvageError::Tangled { dir, count } => write!(
                f,
                "{}: the sequence leads {count} times from one block to another; these blocks cannot have been written so",
                dir.display()
            ),
            SalvageError::NotOneStream(dir, detail) => write!(
                f,
                "{}: {detail}; --force merges them all the same",
                dir.display()
            ),
            SalvageError::NotRelated(dir, detail) => write!(f, "{}: {detail}", dir.display()),
            SalvageError::Quarantine(path, detail) => {
                write!(
                    f,
                    "{}: no quarantine file that can be read: {detail}",
                    path.display()
                )
            }
            SalvageError::Unfinished(path) => write!(
                f,
                "{} was left by a run that was interrupted: --resume removes it and goes on",
                path.display()
            ),
            SalvageError::NeedsKey(closed) => closed.fmt(f),
            SalvageError::Write(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SalvageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SalvageError::Io(error) => Some(error),
            SalvageError::Write(error) => Some(error),
            SalvageError::Interrupted(_)
            | SalvageError::Overlap { .. }
            | SalvageError::Mismatch { .. }
            | SalvageError::Tangled { .. }
            | SalvageError::NotOneStream(..)
            | SalvageError::NotRelated(..)
            | SalvageError::Quarantine(..)
            | SalvageError::Unfinished(_)
            | SalvageError::NeedsKey(_) => None,
        }
    }
}

impl From<IoError> for SalvageError {
    fn from(error: IoError) -> Self {
        SalvageError::Io(error)
    }
}

impl From<WriteError> for SalvageError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => SalvageError::Io(error),
            error => SalvageError::Write(error),
        }
    }
}

impl From<NeedsKey> for SalvageError {
    fn from(closed: NeedsKey) -> Self {
        SalvageError::NeedsKey(closed)
    }
}
