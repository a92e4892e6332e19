//! Why changes could not be made.

use std::fmt;

use crate::block::content::ContentFault;
use crate::crypto::{KeyFileError, SealedError};
use crate::env::IoError;
use crate::recovery::undo::{PathFault, UndoError, UndoReport};

/// A change that could not be made, and what became of those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyError {
    /// Which change of the list, counted from 0; the length of the list where all were made and the
    /// end could not be written down.
    pub change: usize,
    /// The file, relative to the stream directory; empty where none is concerned.
    pub path: String,
    /// What went wrong.
    pub cause: ApplyCause,
    /// What became of the changes before it.
    pub roll_back: RollBack,
}

/// What became of the changes made before one failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollBack {
    /// They stay: nothing was put aside.
    NotRecorded,
    /// The store is again what it was.
    Done(Box<UndoReport>),
    /// Bringing back failed as well; what was put aside is still there and `undo` can be tried again.
    Failed(Box<UndoError>),
}

/// What went wrong with one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyCause {
    /// The file system refused, or there was no randomness.
    Io(IoError),
    /// What the change would alter could not be put aside.
    Undo(UndoError),
    /// The file's name leads out of the stream directory.
    Path(PathFault),
    /// The file is not as long as when it was judged: someone else is changing the store.
    LengthChanged {
        /// Length in bytes when the change was decided.
        expected: u64,
        /// Length in bytes now.
        found: u64,
    },
    /// A block no longer has the content that is to be kept.
    ContentChanged {
        /// Where in the decoded content the kept bytes begin.
        start: u64,
        /// Where they end.
        end: u64,
        /// Length of the decoded content.
        found: u64,
    },
    /// The content of a block does not decode.
    Content(ContentFault),
    /// No server key was given, and something is to be encrypted.
    NoServerKey,
    /// Something is to be encrypted under a key file that is not there.
    NoKey,
    /// A block's key file does not open.
    Key(KeyFileError),
    /// Something is too long to be encrypted.
    Seal(SealedError),
    /// The block would be longer than its cipher can address.
    Keystream,
    /// The caller asked to stop.
    Stopped,
}

impl fmt::Display for ApplyCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Undo(error) => write!(f, "cannot put the present state aside: {error}"),
            Self::Path(fault) => fault.fmt(f),
            Self::LengthChanged { expected, found } => write!(
                f,
                "the file changed underneath: it had {expected} bytes and now has {found}"
            ),
            Self::ContentChanged { start, end, found } => write!(
                f,
                "the file changed underneath: bytes {start} to {end} are wanted, it decodes to {found}"
            ),
            Self::Content(fault) => fault.fmt(f),
            Self::NoServerKey => f.write_str("an encryption key is needed and none was given"),
            Self::NoKey => f.write_str("there is no key file to encrypt it under"),
            Self::Key(error) => error.fmt(f),
            Self::Seal(error) => error.fmt(f),
            Self::Keystream => f.write_str("the block is longer than its cipher can address"),
            Self::Stopped => f.write_str("stopped on request"),
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; ", self.cause)?;
        match &self.roll_back {
            RollBack::NotRecorded => write!(f, "{} changes before it stay", self.change),
            RollBack::Done(_) => f.write_str("the store is as it was before"),
            RollBack::Failed(error) => write!(
                f,
                "bringing the store back failed too ({error}); run undo once that is mended"
            ),
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            ApplyCause::Io(error) => Some(error),
            ApplyCause::Undo(error) => Some(error),
            ApplyCause::Path(fault) => Some(fault),
            ApplyCause::Content(fault) => Some(fault),
            ApplyCause::Key(error) => Some(error),
            ApplyCause::Seal(error) => Some(error),
            _ => None,
        }
    }
}

impl From<IoError> for ApplyCause {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<UndoError> for ApplyCause {
    fn from(error: UndoError) -> Self {
        Self::Undo(error)
    }
}

impl From<PathFault> for ApplyCause {
    fn from(fault: PathFault) -> Self {
        match fault {
            PathFault::Io(error) => Self::Io(error),
            fault => Self::Path(fault),
        }
    }
}

impl From<ContentFault> for ApplyCause {
    fn from(fault: ContentFault) -> Self {
        Self::Content(fault)
    }
}

impl From<SealedError> for ApplyCause {
    fn from(error: SealedError) -> Self {
        Self::Seal(error)
    }
}
