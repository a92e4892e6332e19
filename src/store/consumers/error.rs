//! What a consumer refuses, and why its files cannot be used.

use std::fmt;
use std::path::PathBuf;

use crate::crypto::{KeyFileError, SealedError};
use crate::env::IoError;
use crate::format::consumer::ConsumerDecodeError;
use crate::format::meta::MetaError;
use crate::store::ReadError;

/// How a state contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateFault {
    /// More is acknowledged than was delivered, by the numbers of the deliveries.
    ConsumerFloor {
        /// Delivery up to which everything is acknowledged.
        floor: u64,
        /// The last delivery.
        delivered: u64,
    },
    /// More is acknowledged than was delivered, by the sequences of the stream.
    StreamFloor {
        /// Sequence up to which everything is acknowledged.
        floor: u64,
        /// The last sequence delivered.
        delivered: u64,
    },
    /// A message waits for its acknowledgement that is acknowledged already, or was never delivered.
    Pending {
        /// Its sequence in the stream.
        sequence: u64,
        /// Sequence up to which everything is acknowledged.
        floor: u64,
        /// The last sequence delivered.
        delivered: u64,
    },
}

impl fmt::Display for StateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateFault::ConsumerFloor { floor, delivered } => {
                write!(f, "acknowledged up to delivery {floor} of {delivered}")
            }
            StateFault::StreamFloor { floor, delivered } => {
                write!(
                    f,
                    "acknowledged up to sequence {floor}, delivered up to {delivered}"
                )
            }
            StateFault::Pending {
                sequence,
                floor,
                delivered,
            } => write!(
                f,
                "sequence {sequence} waits, but acknowledged is up to {floor}, delivered up to {delivered}"
            ),
        }
    }
}

/// Why a consumer did not do what it was asked. Unless said otherwise it is as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerError {
    /// An update is behind what is there: fewer deliveries, or less acknowledged.
    OldUpdate {
        /// Number of the last delivery that is there.
        held_delivered: u64,
        /// Number of the last delivery in the update.
        given_delivered: u64,
        /// Sequence of the stream up to which everything is acknowledged.
        held_floor: u64,
        /// The same in the update.
        given_floor: u64,
    },
    /// An update contradicts itself.
    BadState(StateFault),
    /// A sequence of the stream is 2^63 or more, which the state's file cannot bear.
    SequenceTooHigh {
        /// The sequence.
        sequence: u64,
    },
    /// The consumer takes no acknowledgements: neither they nor second deliveries make sense.
    NoAckPolicy,
    /// No delivery of the message waits for an acknowledgement. That it was delivered more than once is forgotten all the same,
    /// where it was known.
    NotPending {
        /// Its sequence in the stream.
        sequence: u64,
    },
    /// The consumer was closed or deleted.
    Closed,
    /// No consumer bears this name: it is empty, too long, or has letters it may not have.
    BadName {
        /// The name.
        name: String,
    },
    /// There is no such consumer, and no configuration to make one.
    Missing {
        /// Its directory.
        dir: PathBuf,
    },
    /// The configuration wants the state in memory, so there is nothing to keep in files; see
    /// [`Deliveries`](super::Deliveries).
    InMemory,
    /// A file could not be read or written, or no random bytes were to be had. What is in memory stays as it was and can be
    /// written once more; which of the states written last is on disk is not known until then.
    Io(IoError),
    /// There is a key file, and no current server key to open it with.
    NoKey {
        /// The key file.
        path: PathBuf,
    },
    /// The key file does not open.
    Key {
        /// The key file.
        path: PathBuf,
        /// Why not.
        cause: KeyFileError,
    },
    /// An encrypted file does not open, or cannot be encrypted.
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: SealedError,
    },
    /// The metadata cannot be read.
    Meta {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: MetaError,
    },
    /// The state cannot be read.
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: ConsumerDecodeError,
    },
}

impl ConsumerError {
    /// The failure of a file, where it was one.
    #[must_use]
    pub fn io(&self) -> Option<&IoError> {
        match self {
            ConsumerError::Io(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same call may succeed later with nothing else changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, ConsumerError::Io(_))
    }
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsumerError::OldUpdate {
                held_delivered,
                given_delivered,
                held_floor,
                given_floor,
            } => write!(
                f,
                "the update is old: delivery {given_delivered} after {held_delivered}, \
                 acknowledged up to {given_floor} after {held_floor}"
            ),
            ConsumerError::BadState(fault) => write!(f, "the state contradicts itself: {fault}"),
            ConsumerError::SequenceTooHigh { sequence } => {
                write!(f, "stream sequence {sequence} is beyond 2^63")
            }
            ConsumerError::NoAckPolicy => f.write_str("the consumer takes no acknowledgements"),
            ConsumerError::NotPending { sequence } => {
                write!(
                    f,
                    "no delivery of message {sequence} waits to be acknowledged"
                )
            }
            ConsumerError::Closed => f.write_str("the consumer is closed"),
            ConsumerError::BadName { name } => write!(f, "{name:?} is no name for a consumer"),
            ConsumerError::Missing { dir } => write!(f, "{} holds no consumer", dir.display()),
            ConsumerError::InMemory => {
                f.write_str("the consumer's state is to be kept in memory, not in files")
            }
            ConsumerError::Io(error) => error.fmt(f),
            ConsumerError::NoKey { path } => {
                write!(
                    f,
                    "{}: the consumer is encrypted and no key is given",
                    path.display()
                )
            }
            ConsumerError::Key { path, cause } => write!(f, "{}: {cause}", path.display()),
            ConsumerError::Sealed { path, cause } => write!(f, "{}: {cause}", path.display()),
            ConsumerError::Meta { path, cause } => write!(f, "{}: {cause}", path.display()),
            ConsumerError::State { path, cause } => write!(f, "{}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for ConsumerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConsumerError::Io(error) => Some(error),
            ConsumerError::Key { cause, .. } => Some(cause),
            ConsumerError::Sealed { cause, .. } => Some(cause),
            ConsumerError::Meta { cause, .. } => Some(cause),
            ConsumerError::State { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl From<IoError> for ConsumerError {
    fn from(error: IoError) -> Self {
        ConsumerError::Io(error)
    }
}

/// Why a consumer got no message, though there may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DispatchError {
    /// The state does not take it, or could not be written.
    Consumer(ConsumerError),
    /// The stream could not be read. A message that does not verify ([`ReadError::Corrupt`], with its sequence) is told once: the next
    /// call goes on behind it. Everything else is as it was before, and will be tried again.
    Read(ReadError),
}

impl fmt::Display for DispatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DispatchError::Consumer(error) => error.fmt(f),
            DispatchError::Read(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DispatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DispatchError::Consumer(error) => Some(error),
            DispatchError::Read(error) => Some(error),
        }
    }
}

impl From<ConsumerError> for DispatchError {
    fn from(error: ConsumerError) -> Self {
        DispatchError::Consumer(error)
    }
}

impl From<ReadError> for DispatchError {
    fn from(error: ReadError) -> Self {
        DispatchError::Read(error)
    }
}
