//! Why a step of recovery could not go on.

use std::fmt;

use crate::block::content::ContentFault;
use crate::format::names::BlockFile;
use crate::format::record::RecordFault;

/// What went wrong with one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its file is not there.
    Missing,
    /// The device refused.
    Io(String),
    /// Its content does not decode.
    Content(ContentFault),
    /// Its key file is shorter than any key file.
    KeySize {
        /// Length found.
        found: u64,
    },
    /// No key at hand opens its key file.
    KeyInvalid,
    /// A record is bad where the reference does not cut.
    BadRecord(RecordFault),
    /// Its records disagree with what is known of it, however often it is read.
    Misaligned,
    /// A message's header length is bad, or its hash: it cannot be read.
    BadMessage {
        /// Offset of its record in the decoded content.
        offset: u64,
        /// Whether the header length is at fault (else the hash).
        header_length: bool,
    },
    /// The server crashes on it.
    Crash(String),
    /// Anything else, in words.
    Other(String),
}

/// A cause, located.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The block, where one is concerned.
    pub block: Option<u32>,
    /// The sequence, where one is concerned.
    pub seq: Option<u64>,
    /// What went wrong.
    pub cause: Cause,
}

impl Fault {
    /// A fault of block `number`.
    pub fn block(number: u32, cause: Cause) -> Self {
        Fault {
            block: Some(number),
            seq: None,
            cause,
        }
    }

    /// A fault that concerns no single block.
    pub fn general(cause: Cause) -> Self {
        Fault {
            block: None,
            seq: None,
            cause,
        }
    }

    /// Adds the sequence concerned.
    pub fn with_seq(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    /// The offset in the block, where one is known.
    pub fn offset(&self) -> Option<u64> {
        match &self.cause {
            Cause::BadRecord(fault) => Some(fault.offset() as u64),
            Cause::BadMessage { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// The file concerned, relative to the stream directory.
    pub fn file(&self) -> Option<String> {
        self.block.map(|number| BlockFile::Block.path(number))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Missing => f.write_str("the block file is not there"),
            Cause::Io(detail) | Cause::Crash(detail) | Cause::Other(detail) => f.write_str(detail),
            Cause::Content(fault) => fault.fmt(f),
            Cause::KeySize { found } => write!(
                f,
                "its key file has {found} bytes, fewer than the 64 any key file has"
            ),
            Cause::KeyInvalid => f.write_str("none of the keys given opens its key file"),
            Cause::BadRecord(fault) => fault.fmt(f),
            Cause::Misaligned => {
                f.write_str("its records disagree with the sequence range known of it")
            }
            Cause::BadMessage {
                header_length: true,
                ..
            } => f.write_str("the message's header length does not fit its record"),
            Cause::BadMessage { .. } => f.write_str("the message's checksum does not match"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.block, self.seq) {
            (Some(block), Some(seq)) => write!(f, "block {block}, sequence {seq}: {}", self.cause),
            (Some(block), None) => write!(f, "block {block}: {}", self.cause),
            _ => self.cause.fmt(f),
        }
    }
}
