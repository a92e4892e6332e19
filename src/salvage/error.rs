//! Why salvage could not go on.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::crypto::{KeystreamExhausted, SealedError};
use crate::env::IoError;

/// What stopped a reading of the source or the writing of a new store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SalvageError {
    /// A file or directory could not be read or written.
    Io(IoError),
    /// The directory for the new stream holds something already.
    NotEmpty(PathBuf),
    /// A name leads out of the new stream's directory, or is none.
    BadName {
        /// The directory it was meant for.
        dir: PathBuf,
        /// The name.
        name: String,
    },
    /// The source is encrypted, and no key that was given opens any of its key files.
    NeedsKey {
        /// The stream's directory.
        dir: PathBuf,
        /// Whether any key was given.
        given: bool,
    },
    /// A file of the new stream could not be encrypted.
    Seal {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: SealedError,
    },
    /// A block is longer than its cipher can address.
    Keystream {
        /// The block's file.
        path: PathBuf,
        /// How far it reached.
        cause: KeystreamExhausted,
    },
    /// A file that is encrypted with the stream's key was to be written before there was one.
    NoStreamKey(PathBuf),
}

impl SalvageError {
    /// The file or directory it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            SalvageError::Io(error) => &error.path,
            SalvageError::BadName { dir, .. } | SalvageError::NeedsKey { dir, .. } => dir,
            SalvageError::NotEmpty(path)
            | SalvageError::Seal { path, .. }
            | SalvageError::Keystream { path, .. }
            | SalvageError::NoStreamKey(path) => path,
        }
    }
}

impl fmt::Display for SalvageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SalvageError::Io(error) => error.fmt(f),
            SalvageError::NotEmpty(path) => write!(
                f,
                "{} is not empty: name a directory that is, or does not exist yet",
                path.display()
            ),
            SalvageError::BadName { dir, name } => {
                write!(f, "{name:?} is no name for a file in {}", dir.display())
            }
            SalvageError::NeedsKey { dir, given } => write!(
                f,
                "{} is encrypted: {}",
                dir.display(),
                if *given {
                    "none of the keys given opens it; the account name matters too"
                } else {
                    "give the server's key"
                }
            ),
            SalvageError::Seal { path, cause } => {
                write!(f, "cannot encrypt {}: {cause}", path.display())
            }
            SalvageError::Keystream { path, cause } => {
                write!(f, "cannot encrypt {}: {cause}", path.display())
            }
            SalvageError::NoStreamKey(path) => write!(
                f,
                "cannot encrypt {}: the stream's own key is written with its metadata first",
                path.display()
            ),
        }
    }
}

impl std::error::Error for SalvageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SalvageError::Io(error) => Some(error),
            SalvageError::Seal { cause, .. } => Some(cause),
            SalvageError::Keystream { cause, .. } => Some(cause),
            SalvageError::NotEmpty(_)
            | SalvageError::BadName { .. }
            | SalvageError::NeedsKey { .. }
            | SalvageError::NoStreamKey(_) => None,
        }
    }
}

impl From<IoError> for SalvageError {
    fn from(error: IoError) -> Self {
        SalvageError::Io(error)
    }
}
