//! What can go wrong, by what was asked for.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::env::IoError;
use crate::report::stream::StreamReport;

/// Why a store does not open.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is none that a store can be made of.
    Config(String),
    /// There is no stream in the directory, and the options do not ask for a new one.
    Missing(PathBuf),
    /// The directory is another stream's.
    OtherStream {
        /// The name found.
        found: String,
        /// The name asked for.
        expected: String,
    },
    /// Recovery did not hand the stream over. The report says why: a key that does not fit, damage, another owner.
    Refused(Box<StreamReport>),
    /// A file or directory could not be read or written.
    Io(IoError),
    /// What limits have no room for could not be removed.
    Limits(WriterFault),
}

/// Why nothing more is written to a store. The first cause is kept and told again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriterFault {
    /// The store was closed.
    Closed,
    /// A write failed, now or before: nothing is written until the store is opened anew. What was asked for when it happened may be
    /// stored or not; what was asked for afterwards is not.
    Latched(Arc<IoError>),
    /// A block could not be made: its key could not be drawn, its bytes not encrypted.
    Block {
        /// Number of the block.
        block: u32,
        /// Why.
        reason: String,
    },
    /// What has to be looked at first cannot be read.
    Read(ReadError),
    /// The records of a batch would come to more bytes than one may have.
    Batch {
        /// The most there may be.
        most: u64,
    },
}

/// Which limit a message would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Messages of the stream.
    Messages,
    /// Bytes of the stream.
    Bytes,
    /// Messages of one subject.
    MessagesPerSubject,
}

/// Why a message was not appended. The store is as it was, except behind [`AppendError::Fault`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// The stream refuses new messages where a limit is reached.
    Limit {
        /// The limit.
        kind: LimitKind,
        /// What it is.
        limit: u64,
        /// What it would have come to.
        would_be: u64,
    },
    /// The subject is none that a message can be stored under.
    Subject {
        /// Bytes of the subject.
        length: usize,
    },
    /// The sequence is not the one behind the last.
    Sequence {
        /// The one that is next.
        expected: u64,
        /// The one given.
        given: u64,
    },
    /// The last message, of the stream or of a subject, is not the one the caller expects.
    LastSequence {
        /// Sequence the caller expects.
        expected: u64,
        /// Sequence found; 0 for no message.
        found: u64,
    },
    /// A message of this id was sent within the stream's duplicate window ([`Writer::hold_message_ids`](super::Writer::hold_message_ids)).
    Duplicate {
        /// The sequence it has or had.
        seq: u64,
    },
    /// The message is longer than the stream or the format takes.
    TooLarge {
        /// Its bytes: headers and body for the stream's limit, the record for the format's.
        length: u64,
        /// The most there may be.
        most: u64,
    },
    /// The header block is longer than its field.
    Headers {
        /// Its bytes.
        length: usize,
    },
    /// The disk has less left than is kept for removals ([`StoreOptions::disk_margin_bytes`](super::StoreOptions::disk_margin_bytes)).
    DiskFull {
        /// Bytes left.
        available_bytes: u64,
        /// Bytes that are kept.
        margin_bytes: u64,
    },
    /// A header asks for what the stream does not allow, or what is not done here.
    Header {
        /// Its name.
        name: &'static str,
    },
    /// The message's headers ask for a roll-up.
    Rollup {
        /// Whether the stream allows any: then it is one of another kind than there are.
        is_allowed: bool,
    },
    /// The time is one that a record cannot have: zero.
    Time,
    /// There is no sequence left.
    Exhausted,
    /// The disk, or the store's being closed.
    Fault(WriterFault),
}

/// Why nothing was removed, or not all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoveError {
    /// No message of this sequence, which lies before the stream's first, or is 0.
    NotFound {
        /// The sequence.
        seq: u64,
    },
    /// The sequence lies behind the stream's last.
    Beyond {
        /// The sequence.
        seq: u64,
        /// The stream's last.
        last_seq: u64,
    },
    /// A cut is asked for outside the stream's range.
    Range {
        /// The sequence.
        seq: u64,
        /// The stream's first.
        first_seq: u64,
        /// The stream's last.
        last_seq: u64,
    },
    /// The disk, or the store's being closed.
    Fault(WriterFault),
}

/// Why a message was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// No message here, or none that matches.
    NotFound,
    /// It was there, and is gone.
    Deleted {
        /// Its sequence.
        seq: u64,
    },
    /// The sequence lies behind the stream's last, or no further message matches.
    Beyond {
        /// The stream's last.
        last_seq: u64,
    },
    /// The message is there and does not verify.
    Corrupt {
        /// Its sequence.
        seq: u64,
        /// Number of its block.
        block: u32,
        /// Where in the block's decoded content reading ended, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The block's file could not be read, or stays closed.
    Block {
        /// Number of the block.
        block: u32,
        /// Why.
        reason: String,
    },
    /// More answers than the caller allows.
    TooMany {
        /// The most allowed.
        allowed: u64,
    },
    /// The store was closed.
    Closed,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Config(reason) => write!(f, "no stream can be made of this: {reason}"),
            OpenError::Missing(dir) => write!(f, "{} holds no stream", dir.display()),
            OpenError::OtherStream { found, expected } => {
                write!(f, "this is the stream {found:?}, not {expected:?}")
            }
            OpenError::Refused(report) => {
                let why: Vec<&str> = report
                    .events
                    .iter()
                    .map(|event| event.detail.as_str())
                    .collect();
                write!(f, "the stream was not handed over: {}", why.join("; "))
            }
            OpenError::Io(error) => error.fmt(f),
            OpenError::Limits(fault) => {
                write!(
                    f,
                    "what the limits have no room for cannot be removed: {fault}"
                )
            }
        }
    }
}

impl From<WriterFault> for OpenError {
    fn from(fault: WriterFault) -> Self {
        OpenError::Limits(fault)
    }
}

impl std::error::Error for OpenError {}

impl From<IoError> for OpenError {
    fn from(error: IoError) -> Self {
        OpenError::Io(error)
    }
}

impl fmt::Display for WriterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriterFault::Closed => f.write_str("the store is closed"),
            WriterFault::Latched(cause) => {
                write!(f, "nothing more is written since a write failed: {cause}")
            }
            WriterFault::Block { block, reason } => {
                write!(f, "block {block} cannot be written: {reason}")
            }
            WriterFault::Read(error) => error.fmt(f),
            WriterFault::Batch { most } => {
                write!(f, "the batch would come to more than {most} bytes")
            }
        }
    }
}

impl std::error::Error for WriterFault {}

impl From<ReadError> for WriterFault {
    fn from(error: ReadError) -> Self {
        WriterFault::Read(error)
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitKind::Messages => "messages",
            LimitKind::Bytes => "bytes",
            LimitKind::MessagesPerSubject => "messages of one subject",
        })
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Limit {
                kind,
                limit,
                would_be,
            } => write!(f, "{would_be} {kind}, the limit is {limit}"),
            AppendError::Subject { length } => {
                write!(
                    f,
                    "no message can be stored under this subject of {length} bytes"
                )
            }
            AppendError::Sequence { expected, given } => {
                write!(f, "sequence {given}, the next is {expected}")
            }
            AppendError::LastSequence { expected, found } => {
                write!(f, "the last message is {found}, not {expected}")
            }
            AppendError::Duplicate { seq } => {
                write!(f, "a message of this id was stored as {seq}")
            }
            AppendError::TooLarge { length, most } => {
                write!(f, "{length} bytes, the most is {most}")
            }
            AppendError::Headers { length } => {
                write!(f, "headers of {length} bytes, the most is {}", u16::MAX)
            }
            AppendError::DiskFull {
                available_bytes,
                margin_bytes,
            } => write!(
                f,
                "the disk has {available_bytes} bytes left, and {margin_bytes} are kept for removals"
            ),
            AppendError::Header { name } => {
                write!(f, "what the header {name} asks for is not done here")
            }
            AppendError::Rollup { is_allowed: true } => {
                f.write_str("a roll-up is of the subject (sub) or of all")
            }
            AppendError::Rollup { is_allowed: false } => {
                f.write_str("the stream allows no roll-ups")
            }
            AppendError::Time => f.write_str("a message cannot have the time 0"),
            AppendError::Exhausted => f.write_str("there is no sequence left"),
            AppendError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for AppendError {}

impl From<WriterFault> for AppendError {
    fn from(fault: WriterFault) -> Self {
        AppendError::Fault(fault)
    }
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoveError::NotFound { seq } => write!(f, "there is no message {seq}"),
            RemoveError::Beyond { seq, last_seq } => {
                write!(f, "there is no message {seq} yet, the last is {last_seq}")
            }
            RemoveError::Range {
                seq,
                first_seq,
                last_seq,
            } => write!(f, "{seq} is not in {first_seq}..{last_seq}"),
            RemoveError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for RemoveError {}

impl From<WriterFault> for RemoveError {
    fn from(fault: WriterFault) -> Self {
        RemoveError::Fault(fault)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NotFound => f.write_str("there is no such message"),
            ReadError::Deleted { seq } => write!(f, "message {seq} was removed"),
            ReadError::Beyond { last_seq } => {
                write!(f, "no further message; the last is {last_seq}")
            }
            ReadError::Corrupt {
                seq,
                block,
                offset,
                reason,
            } => write!(
                f,
                "message {seq} cannot be read: msgs/{block}.blk is damaged at byte {offset} of its content: {reason}"
            ),
            ReadError::Block { block, reason } => {
                write!(f, "msgs/{block}.blk cannot be read: {reason}")
            }
            ReadError::TooMany { allowed } => write!(f, "more than {allowed} answers"),
            ReadError::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for ReadError {}
