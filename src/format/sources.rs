//! `sources.db`: how far each configured source of a stream has been read.
//!
//! Source: file format reference, section 9.1. Plaintext without a checksum: a header of 17 bytes, then as many
//! entries as it announces. Bytes after the last entry are ignored. Any error makes the server delete the file and
//! forget all of it, entries that were fine included.

use std::collections::BTreeMap;
use std::fmt;

use super::varint::{ReadFault, Reader, put_uvarint};

/// Length of the header: version, count, stamp.
const HEADER_LENGTH: usize = 17;
const VERSION: u8 = 1;

/// Why `sources.db` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcesError {
    /// Fewer bytes than the header has.
    Short {
        /// Bytes that are there.
        length: usize,
    },
    /// The version is not 1.
    BadVersion {
        /// The byte found.
        found: u8,
    },
    /// A number of an entry that the header announces cannot be decoded.
    NumberInvalid {
        /// Where the number begins.
        offset: usize,
        /// Which entry, from 0.
        entry: u64,
    },
    /// A key or an identity runs past the end.
    TextOverrun {
        /// Where the text begins.
        offset: usize,
        /// Which entry, from 0.
        entry: u64,
        /// Its length.
        length: u64,
        /// Bytes left there.
        remaining: usize,
    },
}

impl fmt::Display for SourcesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => {
                write!(
                    f,
                    "sources file has {length} bytes, its header alone needs {HEADER_LENGTH}"
                )
            }
            Self::BadVersion { found } => {
                write!(f, "sources file has version {found}, expected {VERSION}")
            }
            Self::NumberInvalid { offset, entry } => {
                write!(
                    f,
                    "sources file entry {entry} cannot be decoded at offset {offset}"
                )
            }
            Self::TextOverrun {
                offset,
                entry,
                length,
                remaining,
            } => write!(
                f,
                "sources file entry {entry} has {length} bytes of text at offset {offset}, {remaining} remain"
            ),
        }
    }
}

impl std::error::Error for SourcesError {}

/// How far one source has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceEntry {
    /// Last sequence read in the source stream, 0 for none yet.
    pub sequence: u64,
    /// Identity of the source stream, empty if it never reported one.
    pub identity: Vec<u8>,
}

/// What `sources.db` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcesFile {
    /// Messages of this stream below this sequence are reflected.
    pub stamp: u64,
    /// Entries by source key. Of a repeated key the last entry of the file is kept.
    pub entries: BTreeMap<Vec<u8>, SourceEntry>,
}

impl SourcesFile {
    /// Reads `sources.db`.
    ///
    /// # Errors
    /// [`SourcesError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SourcesError> {
        let short = |_: ReadFault| SourcesError::Short {
            length: bytes.len(),
        };
        if bytes.len() < HEADER_LENGTH {
            return Err(SourcesError::Short {
                length: bytes.len(),
            });
        }
        let mut reader = Reader::new(bytes);
        let found = reader.u8().map_err(short)?;
        if found != VERSION {
            return Err(SourcesError::BadVersion { found });
        }
        let count = reader.u64_le().map_err(short)?;
        let stamp = reader.u64_le().map_err(short)?;
        let mut entries = BTreeMap::new();
        // Every entry takes bytes or fails, so the bytes bound the loop whatever the count is.
        for entry in 0..count {
            let key = read_text(&mut reader, entry)?;
            let sequence = read_number(&mut reader, entry)?;
            let identity = read_text(&mut reader, entry)?;
            entries.insert(key, SourceEntry { sequence, identity });
        }
        Ok(Self { stamp, entries })
    }

    /// Writes `sources.db`, entries by key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend((self.entries.len() as u64).to_le_bytes());
        out.extend(self.stamp.to_le_bytes());
        for (key, entry) in &self.entries {
            put_text(&mut out, key);
            put_uvarint(&mut out, entry.sequence);
            put_text(&mut out, &entry.identity);
        }
        out
    }
}

fn read_number(reader: &mut Reader<'_>, entry: u64) -> Result<u64, SourcesError> {
    let offset = reader.offset();
    reader
        .uvarint()
        .map_err(|_| SourcesError::NumberInvalid { offset, entry })
}

fn read_text(reader: &mut Reader<'_>, entry: u64) -> Result<Vec<u8>, SourcesError> {
    let length = read_number(reader, entry)?;
    let overrun = SourcesError::TextOverrun {
        offset: reader.offset(),
        entry,
        length,
        remaining: reader.remaining(),
    };
    let text = usize::try_from(length)
        .ok()
        .and_then(|length| reader.bytes(length).ok());
    text.map(<[u8]>::to_vec).ok_or(overrun)
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Reads `data` as `sources.db` and checks that what comes out can be written and read again.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    if let Ok(file) = SourcesFile::decode(data) {
        assert_eq!(SourcesFile::decode(&file.encode()), Ok(file));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn header(count: u64, stamp: u64) -> Vec<u8> {
        [&[1][..], &count.to_le_bytes(), &stamp.to_le_bytes()].concat()
    }

    fn entry(sequence: u64, identity: &[u8]) -> SourceEntry {
        SourceEntry {
            sequence,
            identity: identity.to_vec(),
        }
    }

    #[test]
    fn a_file_of_the_reference_store_reads_and_writes() {
        let bytes = [&header(1, 2)[..], b"\x07SRC > >\x03\x08IE3MWun7"].concat();
        let file = SourcesFile::decode(&bytes).unwrap();
        let entries = [(b"SRC > >".to_vec(), entry(3, b"IE3MWun7"))].into();
        assert_eq!(file, SourcesFile { stamp: 2, entries });
        assert_eq!(file.encode(), bytes);
    }

    #[test]
    fn a_file_of_a_whole_server_reads_and_writes() {
        let bytes = [
            &header(2, 5)[..],
            b"\x07SRC > >\x03\x08IE3MWun7",
            b"\x0dTWO two.a.> >\x01\x086ujDHT7w",
        ]
        .concat();
        let file = SourcesFile::decode(&bytes).unwrap();
        assert_eq!(file.entries[&b"TWO two.a.> >"[..]], entry(1, b"6ujDHT7w"));
        assert_eq!(file.encode(), bytes);
    }

    #[test]
    fn a_source_without_anything_read_yet_is_an_entry() {
        let key = b"SRC:f7C5SBrE:C=lS2bloCe a.>\x0c> b.>\x0cc";
        let bytes = [&header(1, 1)[..], &[0x23], key, &[0, 0]].concat();
        let file = SourcesFile::decode(&bytes).unwrap();
        assert_eq!(file.entries[&key[..]], SourceEntry::default());
        assert_eq!(file.encode(), bytes);
    }

    #[test]
    fn a_repeated_key_replaces_and_trailing_bytes_are_ignored() {
        let bytes = [
            &header(2, 0)[..],
            b"\x01a\x01\x01x\x01a\x02\x00",
            &[0xff; 4],
        ]
        .concat();
        let file = SourcesFile::decode(&bytes).unwrap();
        assert_eq!(file.entries, [(b"a".to_vec(), entry(2, b""))].into());
    }

    #[test]
    fn errors_say_where() {
        let with =
            |count, tail: &[u8]| SourcesFile::decode(&[&header(count, 0)[..], tail].concat());
        assert_eq!(
            SourcesFile::decode(&[1; 16]),
            Err(SourcesError::Short { length: 16 })
        );
        assert_eq!(
            SourcesFile::decode(&[0; 17]),
            Err(SourcesError::BadVersion { found: 0 })
        );
        assert_eq!(
            with(1, &[]),
            Err(SourcesError::NumberInvalid {
                offset: 17,
                entry: 0
            })
        );
        assert_eq!(
            with(1, b"\x01a\x80"),
            Err(SourcesError::NumberInvalid {
                offset: 19,
                entry: 0
            })
        );
        assert_eq!(
            with(u64::MAX, b"\x01a\x01\x00\x05ab"),
            Err(SourcesError::TextOverrun {
                offset: 22,
                entry: 1,
                length: 5,
                remaining: 2
            })
        );
        let far = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(
            with(1, &far),
            Err(SourcesError::TextOverrun {
                offset: 27,
                entry: 0,
                length: u64::MAX,
                remaining: 0
            })
        );
    }

    proptest! {
        #[test]
        fn round_trips(
            stamp: u64,
            raw in btree_map(vec(any::<u8>(), 0..20), (any::<u64>(), vec(any::<u8>(), 0..9)), 0..8)
        ) {
            let entries = raw
                .into_iter()
                .map(|(key, (sequence, identity))| (key, SourceEntry { sequence, identity }))
                .collect();
            let file = SourcesFile { stamp, entries };
            prop_assert_eq!(SourcesFile::decode(&file.encode()), Ok(file));
        }

        #[test]
        fn arbitrary_bytes_never_panic(count in 0_u64..9, tail in vec(any::<u8>(), 0..120)) {
            let bytes = [&header(count, 0)[..], &tail].concat();
            for bytes in [&bytes, &tail] {
                if let Ok(file) = SourcesFile::decode(bytes) {
                    prop_assert!(3 * file.entries.len() <= bytes.len());
                }
            }
        }
    }
}
