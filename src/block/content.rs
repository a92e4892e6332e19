//! From the bytes of a block file to its decoded content.

use std::fmt;

use crate::crypto::BlockCipher;
use crate::format::checksum::HashKey;
use crate::format::compression::{self, CompressionFault, Framing};
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::record::RecordRef;

/// Why the content of a block could not be had from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentFault {
    /// The compression wrapper or its stream does not decode.
    Decompress(CompressionFault),
    /// The block is longer than its cipher can address.
    Keystream,
}

impl fmt::Display for ContentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentFault::Decompress(fault) => {
                write!(f, "the compressed block does not decode: {fault}")
            }
            ContentFault::Keystream => {
                f.write_str("the block is longer than its cipher can address")
            }
        }
    }
}

impl std::error::Error for ContentFault {}

/// What decoding a block file gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Whether the file was compressed.
    pub compressed: bool,
    /// The last 8 bytes of the decrypted, still compressed file; zeros where it is shorter.
    pub tail: [u8; CHECKSUM_LENGTH],
}

/// The last 8 bytes of `bytes`, zeros where there are fewer.
#[must_use]
pub fn tail_of(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    bytes
        .last_chunk::<CHECKSUM_LENGTH>()
        .copied()
        .unwrap_or_default()
}

/// Decrypts and decompresses a block in place: `file` holds the file's bytes on entry and its
/// decoded content on return. `spare` is a second buffer, kept between calls to save allocations.
///
/// `hash_key` is the block's; it settles the one length of a plain record that spells the mark of
/// a compressed block (file format reference, section 5).
///
/// # Errors
///
/// [`ContentFault`] where the wrapper does not decode; `file` then holds the decrypted bytes.
pub fn decode(
    file: &mut Vec<u8>,
    spare: &mut Vec<u8>,
    cipher: Option<&BlockCipher>,
    hash_key: &HashKey,
) -> Result<Decoded, ContentFault> {
    if let Some(cipher) = cipher {
        cipher.apply(file, 0).map_err(|_| ContentFault::Keystream)?;
    }
    let tail = tail_of(file);
    match compression::detect(file) {
        Ok(Framing::Plain) => {
            return Ok(Decoded {
                compressed: false,
                tail,
            });
        }
        Ok(Framing::S2 { .. }) => {}
        Err(fault) => return Err(ContentFault::Decompress(fault)),
    }
    spare.clear();
    match compression::decompress(file, spare) {
        Ok(()) => {
            std::mem::swap(file, spare);
            Ok(Decoded {
                compressed: true,
                tail,
            })
        }
        Err(_) if compression::is_plain_after_all(file, hash_key) => Ok(Decoded {
            compressed: false,
            tail,
        }),
        Err(fault) => Err(ContentFault::Decompress(fault)),
    }
}

/// Whether a parsed record's stored hash is the hash of what it covers.
#[must_use]
pub fn verifies(record: &RecordRef, content: &[u8], hash_key: &HashKey) -> bool {
    record
        .stored_hash(content)
        .is_some_and(|stored| stored == hash_key.hash_record(content, record))
}
