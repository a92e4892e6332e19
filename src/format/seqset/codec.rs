//! The encoding of a set: a tree of bitmaps in pre-order (file format reference, section 8).

use std::fmt;

use super::iter::pages;
use super::{PAGE_SHIFT, PAGE_WORDS, SeqSet, Words, page_start};
use crate::format::varint::{ReadFault, Reader};

const MAGIC: u8 = 22;
const HEADER_LENGTH: usize = 10;
/// Base, 32 words and the height.
const NODE_LENGTH_V2: usize = 8 + 8 * PAGE_WORDS + 2;
/// Base, 64 words and the height.
const NODE_LENGTH_V1: usize = 8 + 16 * PAGE_WORDS + 2;
/// Sequences that half a version 1 node covers.
const HALF_NODE: u64 = 2048;

/// Why bytes are not an encoded set. The server refuses every one of these too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the header has.
    Short {
        /// Bytes that are there.
        length: usize,
    },
    /// The first byte is not 22.
    BadMagic {
        /// The byte found.
        found: u8,
    },
    /// The version is neither 1 nor 2.
    BadVersion {
        /// The byte found.
        found: u8,
    },
    /// The nodes announced do not fit into the bytes left.
    NodesMissing {
        /// Nodes announced.
        node_count: u32,
        /// Nodes that fit.
        available: usize,
    },
    /// Version 1 only: the element count is not the number of distinct sequences.
    CountMismatch {
        /// The element count in the header.
        declared: u32,
        /// Distinct sequences found.
        found: u64,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => {
                write!(
                    f,
                    "sequence set has {length} bytes, its header alone needs {HEADER_LENGTH}"
                )
            }
            Self::BadMagic { found } => {
                write!(f, "sequence set starts with byte {found}, expected {MAGIC}")
            }
            Self::BadVersion { found } => {
                write!(f, "sequence set has version {found}, known are 1 and 2")
            }
            Self::NodesMissing {
                node_count,
                available,
            } => {
                write!(
                    f,
                    "sequence set announces {node_count} nodes, bytes for {available} are there"
                )
            }
            Self::CountMismatch { declared, found } => {
                write!(
                    f,
                    "sequence set announces {declared} sequences, it holds {found}"
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<ReadFault> for DecodeError {
    fn from(fault: ReadFault) -> Self {
        Self::Short {
            length: fault.offset(),
        }
    }
}

/// Why a set cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeError {
    /// The encoding would be longer than allowed.
    TooLong {
        /// Bytes the encoding needs.
        length: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The set has more sequences than the 32-bit element count can say.
    TooMany {
        /// Sequences in the set.
        count: u64,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => {
                write!(
                    f,
                    "sequence set would take {length} bytes, {limit} are allowed"
                )
            }
            Self::TooMany { count } => {
                write!(
                    f,
                    "sequence set of {count} sequences exceeds the 32-bit element count"
                )
            }
        }
    }
}

impl std::error::Error for EncodeError {}

/// A set read from bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedSet {
    /// The union of all bits of all nodes.
    pub set: SeqSet,
    /// The element count stored in the header. The server takes it as the size of a version 2 set without counting.
    pub declared_count: u32,
    /// Bytes the encoding took.
    pub length: usize,
}

impl SeqSet {
    /// Reads a set from the start of `bytes`; what follows it is left alone.
    ///
    /// Nodes that overlap, are not aligned or come in a wrong order count with all their bits. The server links the
    /// nodes of a version 2 set by their bases as they come and looks sequences up along that tree, so for such a
    /// set it may miss sequences that are in the union. Every set that a release wrote reads the same both ways.
    ///
    /// # Errors
    /// [`DecodeError`] in exactly the cases in which the server refuses the bytes.
    pub fn decode(bytes: &[u8]) -> Result<DecodedSet, DecodeError> {
        let length = bytes.len();
        if length < HEADER_LENGTH {
            return Err(DecodeError::Short { length });
        }
        let mut reader = Reader::new(bytes);
        let magic = reader.u8()?;
        if magic != MAGIC {
            return Err(DecodeError::BadMagic { found: magic });
        }
        let version = reader.u8()?;
        let node_length = match version {
            1 => NODE_LENGTH_V1,
            2 => NODE_LENGTH_V2,
            found => return Err(DecodeError::BadVersion { found }),
        };
        let node_count = reader.u32_le()?;
        let declared_count = reader.u32_le()?;
        let available = reader.remaining() / node_length;
        if usize::try_from(node_count).map_or(true, |count| count > available) {
            return Err(DecodeError::NodesMissing {
                node_count,
                available,
            });
        }
        let mut set = Self::new();
        for _ in 0..node_count {
            let base = reader.u64_le()?;
            set.union_node(base, &read_words(&mut reader)?);
            if version == 1 {
                set.union_node(base.wrapping_add(HALF_NODE), &read_words(&mut reader)?);
            }
            // The height only serves a reader that keeps the tree.
            reader.u16_le()?;
        }
        if version == 1 && set.len() != u64::from(declared_count) {
            return Err(DecodeError::CountMismatch {
                declared: declared_count,
                found: set.len(),
            });
        }
        Ok(DecodedSet {
            set,
            declared_count,
            length: reader.offset(),
        })
    }

    /// Adds the sequences of a bitmap that starts at any sequence; they wrap around at 2^64.
    fn union_node(&mut self, base: u64, words: &Words) {
        let page = base >> PAGE_SHIFT;
        if base == page_start(page) {
            self.union_page(page, words);
            return;
        }
        let mut both = [[0_u64; PAGE_WORDS]; 2];
        let shift = base % 64;
        let first = (base >> 6) as usize % PAGE_WORDS;
        for (index, word) in words.iter().enumerate() {
            let spilled = word.checked_shr(64 - shift as u32).unwrap_or_default();
            for (at, bits) in [(first + index, word << shift), (first + index + 1, spilled)] {
                let slot = both
                    .get_mut(at / PAGE_WORDS)
                    .and_then(|page| page.get_mut(at % PAGE_WORDS));
                if let Some(slot) = slot {
                    *slot |= bits;
                }
            }
        }
        self.union_page(page, &both[0]);
        let next = page_start(page).wrapping_add(HALF_NODE) >> PAGE_SHIFT;
        self.union_page(next, &both[1]);
    }

    /// Nodes the encoding has: pages of 2048 sequences with at least one in the set.
    #[must_use]
    pub fn node_count(&self) -> u64 {
        let full = self
            .full
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum::<u64>();
        self.partial.len() as u64 + full
    }

    /// Bytes the encoding takes.
    #[must_use]
    pub fn encoded_length(&self) -> u64 {
        // At most 2^53 pages, so the product stays below 2^62.
        HEADER_LENGTH as u64 + self.node_count() * NODE_LENGTH_V2 as u64
    }

    /// Appends the version 2 encoding: aligned nodes, pre-order, a balanced tree with its true heights.
    ///
    /// # Errors
    /// [`EncodeError`], with nothing appended, when the set does not fit in `limit` bytes or has 2^32 sequences or
    /// more. Check with [`SeqSet::encoded_length`] first where a gap can be wide: it is never cheap to encode.
    pub fn encode(&self, out: &mut Vec<u8>, limit: u64) -> Result<(), EncodeError> {
        let length = self.encoded_length();
        if length > limit {
            return Err(EncodeError::TooLong { length, limit });
        }
        let too_many = EncodeError::TooMany { count: self.len() };
        let count = u32::try_from(self.len).map_err(|_| too_many.clone())?;
        let node_count = u32::try_from(self.node_count()).map_err(|_| too_many)?;
        out.reserve(usize::try_from(length).unwrap_or_default());
        out.extend([MAGIC, 2]);
        out.extend(node_count.to_le_bytes());
        out.extend(count.to_le_bytes());
        put_tree(out, &pages(self).collect::<Vec<_>>());
        Ok(())
    }
}

/// Appends the balanced tree over ascending pages: the middle one, then what is below it, then what is above.
fn put_tree(out: &mut Vec<u8>, nodes: &[(u64, &Words)]) {
    let middle = nodes.len().saturating_sub(1) / 2;
    let Some((below, [(page, words), above @ ..])) = nodes.split_at_checked(middle) else {
        return;
    };
    out.extend(page_start(*page).to_le_bytes());
    for word in *words {
        out.extend(word.to_le_bytes());
    }
    // Halving gives a tree as high as the count has binary digits.
    let height = usize::BITS - nodes.len().leading_zeros();
    out.extend((height as u16).to_le_bytes());
    put_tree(out, below);
    put_tree(out, above);
}

fn read_words(reader: &mut Reader<'_>) -> Result<Words, ReadFault> {
    let mut words = [0; PAGE_WORDS];
    let bytes = reader.bytes(8 * PAGE_WORDS)?;
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.first_chunk().copied().map_or(0, u64::from_le_bytes);
    }
    Ok(words)
}
