//! Entries of an archive of the second version, in which messages stand instead of files.
//!
//! Source: file format reference, section 12.2: five numbers, the name, headers and payload. After the eight bytes of [`MAGIC`] entries
//! follow each other without padding; one of five zeros ends them.

use super::varint::{ReadFault, Reader, put_uvarint, put_varint};

/// What the decoded bytes of such an archive begin with.
pub const MAGIC: &[u8; 8] = b"NATSARC1";

/// No head is longer.
pub const HEAD_MOST_BYTES: usize = 50;

/// What stands before an entry's name and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryHead {
    /// Bytes of the name: a message's subject, or that of a document.
    pub name_length: u64,
    /// A message's time in nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// A message's sequence; 0 where the entry is a document.
    pub seq: u64,
    /// Bytes of headers.
    pub headers_length: u64,
    /// Bytes of the body.
    pub body_length: u64,
}

impl EntryHead {
    /// The five numbers that `reader` is at.
    ///
    /// # Errors
    ///
    /// [`ReadFault`]: there are fewer, or one does not fit.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ReadFault> {
        Ok(EntryHead {
            name_length: reader.uvarint()?,
            timestamp_ns: reader.varint()?,
            seq: reader.uvarint()?,
            headers_length: reader.uvarint()?,
            body_length: reader.uvarint()?,
        })
    }

    /// Whether this is the mark behind the last entry.
    #[must_use]
    pub fn is_end(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the five numbers behind what is in `out`.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.name_length);
        put_varint(out, self.timestamp_ns);
        put_uvarint(out, self.seq);
        put_uvarint(out, self.headers_length);
        put_uvarint(out, self.body_length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_servers_message_is_read_and_written_to_the_byte() {
        let bytes = b"\x03\xf6\xea\xdc\xee\x83\xa2\xfe\xe9\x31\x01\x12\x03";
        let head = EntryHead {
            name_length: 3,
            timestamp_ns: 1_795_243_588_048_362_171,
            seq: 1,
            headers_length: 18,
            body_length: 3,
        };
        assert_eq!(EntryHead::read(&mut Reader::new(bytes)), Ok(head));
        let mut out = Vec::new();
        head.put(&mut out);
        assert_eq!(out, bytes);
        for end in 0..bytes.len() {
            let cut = bytes.get(..end).unwrap_or_default();
            assert!(EntryHead::read(&mut Reader::new(cut)).is_err());
        }
    }

    #[test]
    fn five_zeros_end_an_archive_and_nothing_takes_more_than_the_most() {
        let head = EntryHead::read(&mut Reader::new(&[0; 5]));
        assert!(head.is_ok_and(|head| head.is_end()));
        let mut out = Vec::new();
        let most = EntryHead {
            name_length: u64::MAX,
            timestamp_ns: i64::MIN,
            seq: u64::MAX,
            headers_length: u64::MAX,
            body_length: u64::MAX,
        };
        most.put(&mut out);
        assert_eq!(out.len(), HEAD_MOST_BYTES);
    }
}
