//! Bounded reading of fixed-width and variable-length integers.
//!
//! Source: file format reference, section 0. Fixed-width integers are little-endian. A `uvarint` is base-128,
//! low group first, at most ten bytes; a `varint` is the zig-zag mapping of a signed value onto it.

use std::fmt;

/// The most bytes a variable-length integer may take.
pub const MAX_VARINT_LENGTH: usize = 10;

/// Why a value could not be read. Offsets count from the start of the reader's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFault {
    /// The bytes end inside the value.
    Short {
        /// Where the value begins.
        offset: usize,
        /// Bytes the value needs; for a variable-length integer, one more than are there.
        needed: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// A variable-length integer does not fit in 64 bits.
    Overflow {
        /// Where the value begins.
        offset: usize,
    },
}

impl ReadFault {
    /// Where the value that could not be read begins.
    #[must_use]
    pub fn offset(&self) -> usize {
        match *self {
            Self::Short { offset, .. } | Self::Overflow { offset } => offset,
        }
    }
}

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short {
                offset,
                needed,
                remaining,
            } => {
                write!(
                    f,
                    "value at offset {offset} needs {needed} bytes, {remaining} remain"
                )
            }
            Self::Overflow { offset } => write!(
                f,
                "variable-length integer at offset {offset} exceeds 64 bits"
            ),
        }
    }
}

impl std::error::Error for ReadFault {}

/// A cursor over bytes that never reads past their end. A failed read leaves it where it was.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes left to read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest().len()
    }

    /// Whether every byte has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// The bytes left to read, without reading them.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    /// Reads the next `length` bytes.
    ///
    /// # Errors
    /// [`ReadFault::Short`] when fewer remain.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], ReadFault> {
        let rest = self.rest();
        let taken = rest.get(..length).ok_or(ReadFault::Short {
            offset: self.offset,
            needed: length,
            remaining: rest.len(),
        })?;
        self.offset += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadFault> {
        let rest = self.rest();
        let taken = rest.first_chunk::<N>().ok_or(ReadFault::Short {
            offset: self.offset,
            needed: N,
            remaining: rest.len(),
        })?;
        self.offset += N;
        Ok(*taken)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`ReadFault::Short`] at the end.
    pub fn u8(&mut self) -> Result<u8, ReadFault> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads a 16-bit little-endian integer.
    ///
    /// # Errors
    /// [`ReadFault::Short`] when fewer than two bytes remain.
    pub fn u16_le(&mut self) -> Result<u16, ReadFault> {
        self.array().map(u16::from_le_bytes)
    }

    /// Reads a 32-bit little-endian integer.
    ///
    /// # Errors
    /// [`ReadFault::Short`] when fewer than four bytes remain.
    pub fn u32_le(&mut self) -> Result<u32, ReadFault> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads a 64-bit little-endian integer.
    ///
    /// # Errors
    /// [`ReadFault::Short`] when fewer than eight bytes remain.
    pub fn u64_le(&mut self) -> Result<u64, ReadFault> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads an unsigned variable-length integer. Over-long spellings are accepted, as the writer's own reader does.
    ///
    /// # Errors
    /// [`ReadFault::Short`] when the bytes end inside it, [`ReadFault::Overflow`] when it exceeds 64 bits.
    pub fn uvarint(&mut self) -> Result<u64, ReadFault> {
        let rest = self.rest();
        let mut value = 0_u64;
        for (index, &byte) in rest.iter().take(MAX_VARINT_LENGTH).enumerate() {
            if index == MAX_VARINT_LENGTH - 1 && byte > 1 {
                return Err(ReadFault::Overflow {
                    offset: self.offset,
                });
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.offset += index + 1;
                return Ok(value);
            }
        }
        Err(ReadFault::Short {
            offset: self.offset,
            needed: rest.len() + 1,
            remaining: rest.len(),
        })
    }

    /// Reads a signed (zig-zag) variable-length integer.
    ///
    /// # Errors
    /// As [`Reader::uvarint`].
    pub fn varint(&mut self) -> Result<i64, ReadFault> {
        let mapped = self.uvarint()?;
        Ok((mapped >> 1).cast_signed() ^ -(mapped & 1).cast_signed())
    }
}

/// Appends an unsigned variable-length integer in its shortest spelling.
pub fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed (zig-zag) variable-length integer in its shortest spelling.
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tenth_byte_above_one_overflows() {
        let mut bytes = vec![0xff; 9];
        bytes.push(1);
        assert_eq!(Reader::new(&bytes).uvarint(), Ok(u64::MAX));
        bytes[9] = 2;
        assert_eq!(
            Reader::new(&bytes).uvarint(),
            Err(ReadFault::Overflow { offset: 0 })
        );
        bytes[9] = 0x80;
        bytes.push(0);
        assert_eq!(
            Reader::new(&bytes).uvarint(),
            Err(ReadFault::Overflow { offset: 0 })
        );
    }

    #[test]
    fn over_long_spelling_is_accepted() {
        let mut reader = Reader::new(&[0x81, 0x80, 0x00, 7]);
        assert_eq!(reader.uvarint(), Ok(1));
        assert_eq!(reader.offset(), 3);
        assert_eq!(reader.u8(), Ok(7));
    }

    #[test]
    fn short_reads_leave_the_cursor_alone() {
        let mut reader = Reader::new(&[0x80, 0x80]);
        assert_eq!(
            reader.uvarint(),
            Err(ReadFault::Short {
                offset: 0,
                needed: 3,
                remaining: 2
            })
        );
        assert_eq!(
            reader.u64_le(),
            Err(ReadFault::Short {
                offset: 0,
                needed: 8,
                remaining: 2
            })
        );
        assert_eq!(reader.u16_le(), Ok(0x8080));
        assert!(reader.is_empty());
        assert_eq!(reader.bytes(0), Ok(&[][..]));
        assert_eq!(
            reader.bytes(usize::MAX).map_err(|fault| fault.offset()),
            Err(2)
        );
    }

    #[test]
    fn zig_zag_maps_small_magnitudes_to_small_values() {
        for (value, bytes) in [
            (0_i64, &[0_u8][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    proptest! {
        #[test]
        fn round_trips(unsigned: u64, signed: i64) {
            let mut out = Vec::new();
            put_uvarint(&mut out, unsigned);
            put_varint(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.uvarint(), Ok(unsigned));
            prop_assert_eq!(reader.varint(), Ok(signed));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let mut reader = Reader::new(&bytes);
            while reader.uvarint().is_ok() {}
            prop_assert!(reader.offset() <= bytes.len());
        }
    }
}
