//! The key of a block: in its own key file, in one that lies elsewhere, or none where its bytes are plain.

use std::path::Path;

use super::content;
use crate::crypto::{BlockCipher, KEY_FILE_MAX, KeyRing, OpenedKey, block_context};
use crate::env::ReadFiles;
use crate::format::bit_repair::FileRepair;
use crate::format::checksum::HashKey;
use crate::format::compression::{self, Framing};
use crate::format::names::{BlockFile, MESSAGES, PURGED_MESSAGES, STAGED_MESSAGES};
use crate::format::record::parse_at;

/// How far from its number a block's key is looked for in other blocks' key files.
const NEIGHBOURS: u32 = 64;
/// Places in a block without a key at which a record in plain is looked for.
const PLAIN_SEARCH_PLACES: usize = 64 * 1024;
/// Bytes hashed in that search.
const PLAIN_SEARCH_BYTES: usize = 64 << 20;

/// Where the blocks of a stream lie, and what opens them.
#[derive(Clone, Copy)]
pub struct BlockFiles<'a> {
    /// The files.
    pub fs: &'a dyn ReadFiles,
    /// The stream's directory.
    pub dir: &'a Path,
    /// The directory with the blocks, relative to it.
    pub messages: &'a str,
    /// Stream name: label of hashes and keys.
    pub name: &'a [u8],
    /// The operator's keys.
    pub ring: KeyRing<'a>,
    /// Whether the stream or any block of it is encrypted.
    pub sealed: bool,
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

impl BlockKey {
    /// What the block's bytes are under; `None` where they are plain, or nobody knows.
    #[must_use]
    pub fn cipher(&self) -> Option<BlockCipher> {
        match self {
            BlockKey::Opened(opened) => Some(opened.block_cipher()),
            BlockKey::Plain | BlockKey::Closed(_) => None,
        }
    }
}

impl BlockFiles<'_> {
    /// The key of block `number`, of which `first_bytes` are the file's bytes as they lie on disk: all of them, or at least the
    /// first record.
    ///
    /// A repair without patches says that the key was found in another file, the one it names, or that bytes behind the end
    /// of the key file were left out. Bytes that verify as they lie are plain, whatever key file stands beside them: an
    /// interrupted conversion leaves such blocks. Besides the block's own key file, its place in an interrupted purge and
    /// the key files of the 128 nearest numbers are tried.
    pub fn key(&self, number: u32, first_bytes: &[u8]) -> (BlockKey, Option<FileRepair>) {
        let BlockFiles {
            fs,
            dir,
            name,
            ring,
            sealed,
            messages,
        } = *self;
        let hash_key = HashKey::for_block(name, number);
        if first_bytes.is_empty() || begins_in_plain(first_bytes, &hash_key) {
            return (BlockKey::Plain, None);
        }
        let context = block_context(name, number);
        let own = BlockFile::Key.path_in(messages, number);
        let bytes = fs.read(&dir.join(&own), KEY_FILE_MAX);
        let fault = match &bytes {
            Ok(bytes) => match ring.open_mended(bytes, &context) {
                Ok((opened, mend)) => {
                    return (BlockKey::Opened(Box::new(opened)), mend.repair(&own));
                }
                Err(_) if ring.is_empty() => "it is encrypted and no key is given".to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) if error.is_not_found() => {
                if !sealed || holds_a_record(first_bytes, &hash_key) {
                    return (BlockKey::Plain, None);
                }
                "its key file is gone, and its bytes are no records".to_owned()
            }
            Err(error) => error.to_string(),
        };
        let near = (number.saturating_sub(NEIGHBOURS)..=number.saturating_add(NEIGHBOURS))
            .filter(|near| *near != number)
            .map(|near| BlockFile::Key.path_in(messages, near));
        let elsewhere = [STAGED_MESSAGES, MESSAGES, PURGED_MESSAGES]
            .iter()
            .map(|place| BlockFile::Key.path_in(place, number))
            .filter(|place| *place != own)
            .chain(near);
        for place in elsewhere {
            let Ok(bytes) = fs.read(&dir.join(&place), KEY_FILE_MAX) else {
                continue;
            };
            if let Ok(opened) = ring.open(&bytes, &context) {
                let repair = FileRepair::new(&place, Vec::new());
                return (BlockKey::Opened(Box::new(opened)), Some(repair));
            }
        }
        (BlockKey::Closed(fault), None)
    }
}

/// Whether a block's first bytes are a record that verifies, or the beginning of a compressed block.
#[must_use]
pub fn begins_in_plain(first_bytes: &[u8], hash_key: &HashKey) -> bool {
    const STREAM_MARK: &[u8] = b"\xff\x06\x00\x00S2sTwO";
    if let Ok(Framing::S2 { .. }) = compression::detect(first_bytes) {
        let start = first_bytes.get(..32).unwrap_or(first_bytes);
        return start
            .windows(STREAM_MARK.len())
            .any(|window| window == STREAM_MARK);
    }
    parse_at(first_bytes, 0).is_ok_and(|record| content::verifies(&record, first_bytes, hash_key))
}

/// Whether a record that verifies begins anywhere in the first bytes.
fn holds_a_record(first_bytes: &[u8], hash_key: &HashKey) -> bool {
    let mut left = PLAIN_SEARCH_BYTES;
    for offset in 0..first_bytes.len().min(PLAIN_SEARCH_PLACES) {
        // The parse alone turns nearly every place down, and costs a few nanoseconds.
        let Ok(record) = parse_at(first_bytes, offset) else {
            continue;
        };
        if content::verifies(&record, first_bytes, hash_key) {
            return true;
        }
        left = left.saturating_sub(record.length());
        if left == 0 {
            break;
        }
    }
    false
}
