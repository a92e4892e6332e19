//! Archives of a stream, as servers up to 2.14 write them and all restore them: one file with everything in it, readable without a key.
//!
//! Source: file format reference, section 12.1. A tar archive inside an S2 framed stream: configuration, blocks decrypted and
//! decompressed, an `index.db` for exactly these blocks, consumers. Both directions stream: memory holds one file of it at a time.

mod error;
mod framing;
mod members;
mod pins;
mod restore;
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
/// What archives of the second version begin with, which hold messages instead of files.
const SECOND_VERSION: &[u8; 8] = b"NATSARC1";
/// Tar's unit: headers are that long, and files are filled up to it.
const TAR_BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests;
