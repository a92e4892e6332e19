//! Archives of a stream: one file with everything in it, readable without a key, inside an S2 framed stream.
//!
//! Source: file format reference, sections 12.1 and 12.2. Those of the first version, which servers up to 2.14 write and all restore, are
//! tar archives: configuration, blocks decrypted and decompressed, an `index.db` for exactly these blocks, consumers. Those of the
//! second, which servers write and restore from 2.15 on, hold the live messages and no configuration. Both directions stream: memory
//! holds one block or message at a time.

mod documents;
mod entries;
mod error;
mod framing;
mod members;
mod pins;
mod restore;
mod second;
mod snapshot;

pub use error::{ArchiveFault, RestoreError, SnapshotError};
pub(super) use pins::Pins;
pub use snapshot::Snapshot;

/// No configuration is nearly that long.
const META_MOST_BYTES: u64 = 16 * 1024 * 1024;
/// An index that is longer is made anew from the blocks.
const INDEX_MOST_BYTES: u64 = 256 * 1024 * 1024;
/// No consumer has so much waiting.
const CONSUMER_STATE_MOST_BYTES: u64 = 256 * 1024 * 1024;
/// What the server writes into an archive that it cannot complete.
const ERRORS: &str = "errors.txt";
/// Tar's unit: headers are that long, and files are filled up to it.
const TAR_BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests;
