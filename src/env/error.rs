//! What can go wrong at the seam, with the operation and the path.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was attempted when an [`IoError`] arose, or what a call log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Listing a directory.
    List,
    /// Asking for a file's kind and length.
    Metadata,
    /// Opening a file for reading.
    Open,
    /// Reading from a file.
    Read,
    /// Mapping a file into memory.
    Map,
    /// Replacing a file by way of a temporary one.
    WriteAtomically,
    /// Overwriting a file in place.
    WriteInPlace,
    /// Appending to a file.
    Append,
    /// Writing into an open file.
    WriteAt,
    /// Setting a file's length and making it durable.
    Truncate,
    /// Setting the length of an open file.
    SetLength,
    /// Renaming a file or directory.
    Rename,
    /// Removing a file.
    RemoveFile,
    /// Removing a directory with all it holds.
    RemoveDirAll,
    /// Creating a directory and its parents.
    CreateDirAll,
    /// Making a file's bytes durable.
    SyncFile,
    /// Making a directory's entries durable.
    SyncDir,
    /// Changing a file's mode.
    SetMode,
    /// Changing a file's time of modification.
    SetModified,
    /// Giving a file a second name, or copying it.
    LinkOrCopy,
    /// Copying a file.
    Copy,
    /// Taking the advisory lock of a directory.
    Lock,
    /// Drawing random bytes.
    Random,
}

impl Operation {
    /// The operation as the words that follow "cannot".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Metadata => "examine",
            Self::Open => "open",
            Self::Read => "read",
            Self::Map => "map",
            Self::WriteAtomically => "replace",
            Self::WriteInPlace | Self::WriteAt => "write",
            Self::Append => "append to",
            Self::Truncate | Self::SetLength => "set the length of",
            Self::Rename => "rename",
            Self::RemoveFile | Self::RemoveDirAll => "remove",
            Self::CreateDirAll => "create the directory",
            Self::SyncFile | Self::SyncDir => "sync",
            Self::SetMode => "set the mode of",
            Self::SetModified => "set the modification time of",
            Self::LinkOrCopy => "link or copy",
            Self::Copy => "copy",
            Self::Lock => "lock",
            Self::Random => "draw random bytes from",
        }
    }
}

/// A failed operation on a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoError {
    /// What was attempted.
    pub operation: Operation,
    /// The file or directory it was attempted on.
    pub path: PathBuf,
    /// The kind of failure.
    pub kind: io::ErrorKind,
    /// The operating system's error number, where it gave one.
    pub code: Option<i32>,
}

impl IoError {
    /// An error the operating system did not report itself.
    #[must_use]
    pub fn new(operation: Operation, path: &Path, kind: io::ErrorKind) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            kind,
            code: None,
        }
    }

    /// Adds operation and path to an error of the standard library.
    #[must_use]
    pub fn from_source(operation: Operation, path: &Path, source: &io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            kind: source.kind(),
            code: source.raw_os_error(),
        }
    }

    /// Whether the file or directory is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == io::ErrorKind::NotFound
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} {}: ",
            self.operation.as_str(),
            self.path.display()
        )?;
        match self.code {
            Some(code) => write!(f, "{}", io::Error::from_raw_os_error(code)),
            None => write!(f, "{}", self.kind),
        }
    }
}

impl std::error::Error for IoError {}

/// Why the advisory lock of a directory could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockError {
    /// Another process, or another part of this one, holds it.
    HeldElsewhere {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file could not be made or locked.
    Io(IoError),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeldElsewhere { path } => {
                write!(f, "{} is locked by another process", path.display())
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::HeldElsewhere { .. } => None,
            Self::Io(error) => Some(error),
        }
    }
}

impl From<IoError> for LockError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}
