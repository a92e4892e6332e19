//! What the files beside the blocks tell: the stream's configuration, its keys, what `index.db` remembers. A file that
//! one flipped bit explains is mended in memory; nothing is written.

mod index;
mod read;
mod staging;

pub use read::{Gathered, covering_subjects, read};

use crate::crypto::OpenedKey;
use crate::format::bit_repair::FileRepair;
use crate::format::meta::StreamMeta;
use crate::format::state::StateFile;
use crate::stream::metadata::MetaOrigin;

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
