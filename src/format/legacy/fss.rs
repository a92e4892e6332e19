//! The subject file of one block, `N.fss`, read for reporting only.
//!
//! Source: file format reference, section 10.2. Never encrypted.

use std::fmt;

use crate::format::varint::{ReadFault, Reader};

const MAGIC: u8 = 22;
const VERSION: u8 = 1;
const MINIMUM_LENGTH: usize = 24;
/// Bytes at the end: the hash of the file and the hash of the block's last record.
const HASHES_LENGTH: usize = 16;

/// Why an `.fss` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FssError {
    /// Fewer than 24 bytes.
    Short {
        /// Bytes that are there.
        length: usize,
    },
    /// The magic is not 22 or the version not 1.
    BadVersion {
        /// First byte.
        magic: u8,
        /// Second byte.
        version: u8,
    },
    /// A value cannot be read before the hashes begin.
    Unreadable {
        /// Which subject, from 0; nothing for their count.
        entry: Option<u64>,
        /// Why and where.
        fault: ReadFault,
    },
}

impl fmt::Display for FssError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => {
                write!(
                    f,
                    "subject file has {length} bytes, at least {MINIMUM_LENGTH} are needed"
                )
            }
            Self::BadVersion { magic, version } => write!(
                f,
                "subject file has magic {magic} and version {version}, expected {MAGIC} and {VERSION}"
            ),
            Self::Unreadable {
                entry: Some(entry),
                fault,
            } => {
                write!(f, "subject file entry {entry}: {fault}")
            }
            Self::Unreadable { entry: None, fault } => write!(f, "subject file: {fault}"),
        }
    }
}

impl std::error::Error for FssError {}

/// Counts of one subject in the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FssEntry {
    /// The subject.
    pub subject: Box<[u8]>,
    /// Live messages with it.
    pub messages: u64,
    /// First of them.
    pub first_sequence: u64,
    /// Last of them.
    pub last_sequence: u64,
}

/// What an `.fss` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FssFile {
    /// The subjects in file order.
    pub entries: Vec<FssEntry>,
    /// Bytes at the start of the file that `hash` covers.
    pub hashed_length: usize,
    /// Hash of the file, under the label of stream and block. Left to the caller to compare.
    pub hash: [u8; 8],
    /// Hash of the block's last record; the file is stale where it differs.
    pub last_record_hash: [u8; 8],
}

/// Reads an `.fss`.
///
/// # Errors
/// [`FssError`].
pub fn decode(bytes: &[u8]) -> Result<FssFile, FssError> {
    let short = FssError::Short {
        length: bytes.len(),
    };
    if bytes.len() < MINIMUM_LENGTH {
        return Err(short);
    }
    let (rest, last_record_hash) = bytes.split_last_chunk().ok_or(short.clone())?;
    let (body, hash) = rest.split_last_chunk().ok_or(short.clone())?;
    let [magic, version, ..] = *body else {
        return Err(short);
    };
    if (magic, version) != (MAGIC, VERSION) {
        return Err(FssError::BadVersion { magic, version });
    }
    let mut reader = Reader::new(body);
    let unreadable = |entry| move |fault| FssError::Unreadable { entry, fault };
    reader.bytes(2).map_err(unreadable(None))?;
    let count = reader.uvarint().map_err(unreadable(None))?;
    let mut entries = Vec::new();
    // Every entry takes bytes or fails, so the bytes bound the loop whatever the count is.
    for entry in 0..count {
        entries.push(read_entry(&mut reader).map_err(unreadable(Some(entry)))?);
    }
    Ok(FssFile {
        entries,
        hashed_length: bytes.len() - HASHES_LENGTH,
        hash: *hash,
        last_record_hash: *last_record_hash,
    })
}

fn read_entry(reader: &mut Reader<'_>) -> Result<FssEntry, ReadFault> {
    let length = reader.uvarint()?;
    Ok(FssEntry {
        // A length that no address can have is more than there is, whatever it is.
        subject: reader
            .bytes(usize::try_from(length).unwrap_or(usize::MAX))?
            .into(),
        messages: reader.uvarint()?,
        first_sequence: reader.uvarint()?,
        last_sequence: reader.uvarint()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn subjects_and_hashes_are_read() {
        let bytes = [&b"\x16\x01\x01\x03o.1\x02\x01\x03"[..], &[7; 8], &[9; 8]].concat();
        let entry = FssEntry {
            subject: b"o.1"[..].into(),
            messages: 2,
            first_sequence: 1,
            last_sequence: 3,
        };
        let expected = FssFile {
            entries: vec![entry],
            hashed_length: 10,
            hash: [7; 8],
            last_record_hash: [9; 8],
        };
        assert_eq!(decode(&bytes), Ok(expected));
    }

    #[test]
    fn the_hashes_are_no_room_for_entries() {
        assert_eq!(decode(&[22; 23]), Err(FssError::Short { length: 23 }));
        assert_eq!(
            decode(&[22; 24]),
            Err(FssError::BadVersion {
                magic: 22,
                version: 22
            })
        );
        let bytes = [&b"\x16\x01\x02\x01a\x01\x01\x01"[..], &[0; 16]].concat();
        let fault = ReadFault::Short {
            offset: 8,
            needed: 1,
            remaining: 0,
        };
        assert_eq!(
            decode(&bytes),
            Err(FssError::Unreadable {
                entry: Some(1),
                fault
            })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(count in 0_u8..9, tail in vec(any::<u8>(), 0..120)) {
            let bytes: Vec<u8> = [22, 1, count].into_iter().chain(tail.iter().copied()).collect();
            for bytes in [&bytes, &tail] {
                if let Ok(file) = decode(bytes) {
                    prop_assert!(4 * file.entries.len() <= bytes.len());
                }
            }
        }
    }
}
