//! What the files beside the blocks tell: the stream's configuration, its keys, what `index.db` remembers. A file that
//! one flipped bit explains is mended in memory; nothing is written.

mod consumers;
mod gather;
mod index;
mod keys;
mod metadata;
mod renamed;
mod staging;

pub use consumers::{ConsumerEvidence, ConsumerFile, Standing, consumers};
pub use gather::{Gathered, covering_subjects, gather, proven_name};
pub use keys::{KeyMend, account_of, begins_in_plain, block_key, is_raft_group, open_mended};

use super::find::Repair;
use crate::crypto::OpenedKey;
use crate::format::meta::StreamMeta;
use crate::format::state::StateFile;

/// Where the stream's configuration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaOrigin {
    /// `meta.inf`, and `meta.sum` agrees.
    Sound,
    /// `meta.inf` or `meta.sum`, after bits were flipped back.
    Mended,
    /// `meta.inf` parses, but nothing vouches for it.
    Unproven,
    /// Given by the caller ([`Options::configurations`](crate::stream::options::Options::configurations)), since nothing
    /// of the stream's own can be read.
    Given,
    /// Made from the directory's name and the subjects in `index.db`, since nothing of it can be read. Without an index it
    /// has no subjects, and whoever finds the messages fills them in ([`covering_subjects`]).
    Made,
}

/// What is known of one block's key.
#[derive(Debug, Clone)]
pub enum BlockKey {
    /// The block has no key file and is read as it lies.
    Plain,
    /// The key file opened, perhaps after bits were flipped back.
    Opened(Box<OpenedKey>),
    /// There is a key file, and nothing opens it; or there is none, and the block's bytes are no records. Why, in
    /// words.
    Closed(String),
}

/// What was mended in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRepair {
    /// The file, relative to the stream directory.
    pub path: String,
    /// The bits. Without patches, see what gives such a repair: [`block_key`].
    pub repair: Repair,
}

/// What `index.db` remembers, where it can be had.
#[derive(Debug, Clone)]
pub struct IndexEvidence {
    /// The state, verified by its hash (after mending, perhaps).
    pub state: StateFile,
    /// Whether it is of the last record on disk: then it knows every delete.
    pub fresh: bool,
}

/// Everything the side files tell of a stream.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Stream name: label of hashes and keys.
    pub name: String,
    /// Account name in the key derivation.
    pub account: Vec<u8>,
    /// The stream's configuration.
    pub meta: StreamMeta,
    /// Where it came from.
    pub meta_origin: MetaOrigin,
    /// The stream's asset key, where the stream is sealed and its key opened.
    pub asset_key: Option<Box<OpenedKey>>,
    /// The index, where one verifies.
    pub index: Option<IndexEvidence>,
    /// Block numbers on disk, ascending, each once.
    pub blocks: Vec<u32>,
    /// What was mended.
    pub repairs: Vec<FileRepair>,
}

#[cfg(test)]
mod tests;
