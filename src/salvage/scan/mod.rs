//! One block's bytes to everything in them that can be proven. Pure: bytes, keys and hints in, a find out.

pub mod chunks;

use std::ops::RangeInclusive;

use super::find::BlockFind;
use crate::format::checksum::HashKey;
use crate::format::record::RecordRef;

/// What a subject can be, by all that is known of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectStanding {
    /// No message of this stream can have it: not a subject, or not one of the configured.
    Impossible,
    /// It is a subject the stream takes.
    Possible,
    /// `index.db` lists it.
    Known,
}

/// Judges subjects by the stream's configuration and index.
pub trait SubjectWitness: Sync {
    /// What `subject` can be.
    fn standing(&self, subject: &[u8]) -> SubjectStanding;
}

/// What is known of a block before its bytes are looked at.
#[derive(Clone, Copy)]
pub struct Hints<'a> {
    /// Block number.
    pub number: u32,
    /// The key of its records' hashes.
    pub hash_key: &'a HashKey,
    /// Sequences that can stand in it, as far as the index and sound neighbours tell. A record proven by its hash counts
    /// also outside; a place to look for one is guided by it.
    pub sequences: &'a RangeInclusive<u64>,
    /// Judge of subjects.
    pub subjects: &'a dyn SubjectWitness,
    /// Bytes hashed or decoded in search of mends, per bad place, before the search is given up.
    pub work_limit: u64,
}

/// Receives the proven records of a block in file order, messages, erased records and tombstones alike; not those
/// whose sequence does not rise.
pub trait RecordSink {
    /// One record; `content` is the decoded, mended content it lies in.
    fn record(&mut self, record: &RecordRef, content: &[u8]);
}

/// Buffers that are kept from block to block.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Decoded content of the block at hand.
    pub content: Vec<u8>,
}

/// Scans one block: `file` holds its decrypted bytes, and is mended in place where a flipped bit explains the damage.
pub fn scan_block(file: &mut Vec<u8>, hints: &Hints<'_>, scratch: &mut Scratch) -> BlockFind {
    let _ = (file, scratch);
    BlockFind {
        number: hints.number,
        ..BlockFind::default()
    }
}

/// Walks again what [`scan_block`] found: `file` holds the block's decrypted bytes as they lie on disk; the patches of
/// `find` are applied to it.
pub fn replay_block<S: RecordSink>(
    file: &mut Vec<u8>,
    hash_key: &HashKey,
    find: &BlockFind,
    scratch: &mut Scratch,
    sink: &mut S,
) {
    let _ = (file, hash_key, find, scratch, sink);
}
