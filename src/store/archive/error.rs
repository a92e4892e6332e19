//! What can go wrong with archives.

use std::path::PathBuf;
use std::{fmt, io};

use crate::env::IoError;
use crate::format::compression::ChunkFault;
use crate::store::consumers::ConsumerError;
use crate::store::error::{OpenError, ReadError, WriterFault};
use crate::stream::writer::WriteError;

/// Why no archive was written, or none to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The store is closed or latched, or could not be flushed.
    Writer(WriterFault),
    /// A block cannot be read.
    Read(ReadError),
    /// A record of a block does not verify. Nothing damaged goes into an archive.
    Damaged {
        /// Number of the block.
        block: u32,
        /// Where in its decoded content.
        offset: usize,
    },
    /// A block changed before its turn came, and what it was could not be kept: begin anew.
    Overtaken {
        /// Number of the block.
        block: u32,
        /// Why it could not be kept.
        reason: String,
    },
    /// A consumer cannot be read.
    Consumer {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The consumers cannot be listed.
    Io(IoError),
    /// The archive could not be written.
    Out {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// In words.
        reason: String,
    },
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveFault {
    /// It could not be read to its end.
    Input {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// In words.
        reason: String,
    },
    /// A chunk of the compressed stream is bad.
    Chunk {
        /// Where the chunk begins in the archive, in bytes.
        offset: u64,
        /// What is wrong with it.
        fault: ChunkFault,
    },
    /// What stands for an entry of the second version is none.
    Entry {
        /// Where, in its decoded bytes: at the entry, or behind it.
        offset: u64,
        /// In words.
        reason: String,
    },
    /// It holds fewer messages than it says: some could not be read when it was written, or were removed meanwhile. With
    /// `accept_loss` the others are restored.
    Short {
        /// The messages there should be.
        told: u64,
        /// Those there are.
        found: u64,
    },
    /// Its tar does not hold together.
    Tar {
        /// In words.
        reason: String,
    },
    /// It ends too early.
    Cut,
    /// A file in it has no place in a stream's directory, or its name is none.
    Name {
        /// The name.
        name: String,
    },
    /// Something in it is no file.
    NotAFile {
        /// Its name.
        name: String,
    },
    /// A file comes twice, or after a later one.
    Order {
        /// Its name.
        name: String,
    },
    /// A file is longer than any of its kind.
    TooLong {
        /// Its name.
        name: String,
        /// Its bytes.
        length: u64,
        /// The most there may be.
        most: u64,
    },
    /// All of it comes to more than the caller allows.
    TooMuch {
        /// The most bytes there may be.
        most: u64,
    },
    /// The server that wrote it could not complete it.
    Incomplete {
        /// What the server said.
        reason: String,
    },
    /// A configuration is missing or cannot be read.
    Meta {
        /// The file.
        name: String,
        /// In words.
        reason: String,
    },
}

/// Why nothing was restored. There is nothing in the directory then.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The options are none to restore with.
    Config(String),
    /// There is something in the directory.
    NotEmpty(PathBuf),
    /// The archive is of another stream. Its files can only be used under their own name.
    OtherStream {
        /// The name in it.
        found: String,
        /// The name asked for.
        expected: String,
    },
    /// The archive is at fault.
    Archive(ArchiveFault),
    /// The files could not be written.
    Write(WriteError),
    /// What holds messages could not be written.
    Writer(WriterFault),
    /// A message in it cannot be stored.
    Message {
        /// Its sequence.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// A consumer in it cannot be stored.
    Consumer(ConsumerError),
    /// What was restored does not open.
    Open(OpenError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writer(fault) => fault.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Damaged { block, offset } => write!(
                f,
                "msgs/{block}.blk is damaged at byte {offset} of its content: not archived"
            ),
            Self::Overtaken { block, reason } => write!(
                f,
                "the stream was changed faster than it could be archived: msgs/{block}.blk as it was could not be kept: {reason}"
            ),
            Self::Consumer { name, reason } => {
                write!(f, "consumer {name} cannot be archived: {reason}")
            }
            Self::Io(error) => error.fmt(f),
            Self::Out { reason, .. } => write!(f, "the archive cannot be written: {reason}"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<WriterFault> for SnapshotError {
    fn from(fault: WriterFault) -> Self {
        Self::Writer(fault)
    }
}

impl From<ReadError> for SnapshotError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        Self::Out {
            kind: error.kind(),
            reason: error.to_string(),
        }
    }
}

impl fmt::Display for ArchiveFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { reason, .. } => write!(f, "cannot be read: {reason}"),
            Self::Chunk { offset, fault } => {
                write!(f, "is damaged: chunk at offset {offset}: {fault}")
            }
            Self::Entry { offset, reason } => {
                write!(f, "is damaged at byte {offset} of its content: {reason}")
            }
            Self::Short { told, found } => {
                write!(f, "holds {found} messages and tells of {told}")
            }
            Self::Tar { reason } => write!(f, "is damaged: {reason}"),
            Self::Cut => f.write_str("ends too early"),
            Self::Name { name } => write!(f, "holds {name:?}, which is no file of a stream"),
            Self::NotAFile { name } => write!(f, "holds {name:?}, which is no file"),
            Self::Order { name } => write!(f, "holds {name:?} twice or out of place"),
            Self::TooLong { name, length, most } => {
                write!(f, "holds {name:?} of {length} bytes, the most is {most}")
            }
            Self::TooMuch { most } => write!(f, "holds more than {most} bytes"),
            Self::Incomplete { reason } => write!(f, "was never completed: {reason}"),
            Self::Meta { name, reason } => write!(f, "tells no configuration in {name}: {reason}"),
        }
    }
}

impl std::error::Error for ArchiveFault {}

impl From<io::Error> for ArchiveFault {
    fn from(error: io::Error) -> Self {
        // The reader of the tar passes on what the reader below it says, at times inside an error of its own.
        let mut cause = error
            .get_ref()
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        let mut from_below = error.raw_os_error().is_some();
        while let Some(found) = cause {
            if let Some(fault) = found.downcast_ref::<ArchiveFault>() {
                return fault.clone();
            }
            let inner = found.downcast_ref::<io::Error>();
            from_below |= inner.is_some_and(|inner| inner.raw_os_error().is_some());
            cause = match inner.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
                None => found.source(),
            };
        }
        let reason = error.to_string();
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            io::ErrorKind::Other | io::ErrorKind::InvalidData if !from_below => {
                Self::Tar { reason }
            }
            kind => Self::Input { kind, reason },
        }
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(reason) => f.write_str(reason),
            Self::NotEmpty(path) => write!(f, "{} is not empty", path.display()),
            Self::OtherStream { found, expected } => {
                write!(f, "the archive is of stream {found:?}, not of {expected:?}")
            }
            Self::Archive(fault) => write!(f, "the archive {fault}"),
            Self::Write(error) => error.fmt(f),
            Self::Writer(fault) => fault.fmt(f),
            Self::Message { seq, reason } => {
                write!(f, "message {seq} of the archive cannot be stored: {reason}")
            }
            Self::Consumer(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Archive(fault) => Some(fault),
            Self::Write(error) => error.source(),
            _ => None,
        }
    }
}

impl From<ArchiveFault> for RestoreError {
    fn from(fault: ArchiveFault) -> Self {
        Self::Archive(fault)
    }
}

impl From<WriterFault> for RestoreError {
    fn from(fault: WriterFault) -> Self {
        Self::Writer(fault)
    }
}

impl From<ConsumerError> for RestoreError {
    fn from(error: ConsumerError) -> Self {
        Self::Consumer(error)
    }
}

impl From<WriteError> for RestoreError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl From<IoError> for RestoreError {
    fn from(error: IoError) -> Self {
        Self::Write(WriteError::Io(error))
    }
}
