//! Why a stream was left as it is.

use std::fmt;
use std::path::PathBuf;

use crate::env::IoError;
use crate::stream::NeedsKey;
use crate::stream::writer::WriteError;

/// Why a stream was not put under another key. Unless said otherwise nothing of it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RekeyError {
    /// Someone else has the store.
    Busy(String),
    /// The stream is damaged; what, in words. A copy would hide it.
    Damaged(String),
    /// An interrupted change, or files of an old server, that recovery settles.
    RecoverFirst(String),
    /// The keys given do not open something.
    NeedsKey(String),
    /// What was written does not read back as it should. It was thrown away.
    Differs(String),
    /// A stream of this name was made while the swap was half done: there are two now.
    TwoStreams {
        /// The directory with the stream as it was.
        old: PathBuf,
    },
    /// The path does not tell where the stream's directory lies.
    NoPlace(PathBuf),
    /// The caller asked to stop.
    Cancelled,
    /// A file could not be read or written. If it was during the swap, another call finishes it.
    Io(IoError),
    /// Writing the copy failed otherwise.
    Write(WriteError),
}

impl RekeyError {
    /// The exit code it calls for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            RekeyError::Damaged(_) => 4,
            RekeyError::Cancelled => 32,
            _ => 8,
        }
    }
}

impl fmt::Display for RekeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RekeyError::Busy(detail) => f.write_str(detail),
            RekeyError::Damaged(detail) => write!(
                f,
                "the stream is damaged ({detail}): nothing was changed. `jetsam salvage PATH --out DIR` copies everything \
                 that verifies; rekey the copy"
            ),
            RekeyError::RecoverFirst(detail) => write!(
                f,
                "{detail}: nothing was changed. Run `jetsam recover` first"
            ),
            RekeyError::NeedsKey(detail) => write!(
                f,
                "{detail}: nothing was changed. `jetsam keys` tells which key opens what"
            ),
            RekeyError::Differs(detail) => write!(
                f,
                "{detail}: the copy was thrown away and nothing was changed. Check memory and disk"
            ),
            RekeyError::TwoStreams { old } => write!(
                f,
                "a new stream of this name was made while rekeying was interrupted. The stream as it was lies in {}: keep \
                 one of the two, and run this again",
                old.display()
            ),
            RekeyError::NoPlace(path) => write!(
                f,
                "{} has no name and directory of its own: name the stream's directory in full",
                path.display()
            ),
            RekeyError::Cancelled => f.write_str("interrupted; nothing was changed"),
            RekeyError::Io(error) => error.fmt(f),
            RekeyError::Write(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RekeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RekeyError::Io(error) => Some(error),
            RekeyError::Write(error) => Some(error),
            _ => None,
        }
    }
}

impl From<IoError> for RekeyError {
    fn from(error: IoError) -> Self {
        RekeyError::Io(error)
    }
}

impl From<WriteError> for RekeyError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => RekeyError::Io(error),
            error => RekeyError::Write(error),
        }
    }
}

impl From<NeedsKey> for RekeyError {
    fn from(closed: NeedsKey) -> Self {
        RekeyError::NeedsKey(closed.to_string())
    }
}
