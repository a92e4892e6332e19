//! Finding a flipped bit by arithmetic.
//!
//! A CRC is linear: what a flipped bit does to it depends on where the bit is, not on the data. A bit of a literal also
//! changes every byte copied from there, directly or by way of other copies, and what it does to the checksum is the sum
//! of all of these. So one pass from the end to the start gives each position its weight, and the bit is where the
//! weight explains the difference between the checksum stored and the one computed, without decoding anything again.

use std::ops::Range;

/// The polynomial of CRC-32C, its highest power in the lowest bit, as in the checksum itself.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a register becomes by eight steps, for each value of its lowest byte.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = times_x(value);
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// The product with x.
const fn times_x(value: u32) -> u32 {
    (value >> 1) ^ if value & 1 == 1 { POLYNOMIAL } else { 0 }
}

/// The quotient by x.
fn over_x(value: u32) -> u32 {
    if value >> 31 == 1 {
        (value ^ POLYNOMIAL) << 1 | 1
    } else {
        value << 1
    }
}

/// A copy of a chunk: what it makes, and how far it goes back for it.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    /// Where in the chunk's data.
    pub made: Range<usize>,
    /// How far back.
    pub distance: usize,
}

/// For each byte of a chunk's `length` bytes of data, what flipping its highest bit does to the checksum, with all
/// that the copies make of it. `copies` come last to first.
pub(super) fn weights(length: usize, copies: impl Iterator<Item = Copied>) -> Vec<u32> {
    let mut weights = vec![0; length];
    let mut weight = TABLE[0x80];
    for place in weights.iter_mut().rev() {
        *place = weight;
        weight = weight >> 8 ^ TABLE[(weight & 0xff) as usize];
    }
    for copied in copies {
        for to in copied.made.rev() {
            let made = weights.get(to).copied().unwrap_or_default();
            let from = to.checked_sub(copied.distance);
            if let Some(from) = from.and_then(|from| weights.get_mut(from)) {
                *from ^= made;
            }
        }
    }
    weights
}

/// What changing the bits `mask` of a byte of this weight does to the checksum.
pub(super) fn effect(weight: u32, mask: u8) -> u32 {
    // From the lowest bit, which has the highest power, by Horner's rule.
    (0..8).fold(0, |sum, bit| {
        times_x(sum) ^ if mask >> bit & 1 == 1 { weight } else { 0 }
    })
}

/// A difference of checksums, and what weight of a byte explains it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syndrome {
    singles: [u32; 8],
    pairs: [u32; 7],
}

impl Syndrome {
    /// Of the exclusive-or of the checksum stored and the one computed.
    pub fn new(difference: u32) -> Self {
        let mut singles = [difference; 8];
        // The highest bit has the effect of the weight itself, each lower one x times that of the one above.
        for bit in (0..7).rev() {
            singles[bit] = over_x(singles[bit + 1]);
        }
        let mut pairs = [0; 7];
        pairs.copy_from_slice(&singles[1..]);
        Self { singles, pairs }
    }

    /// The single bit of a byte of this weight that explains the difference.
    #[inline]
    pub fn single(&self, weight: u32) -> Option<u8> {
        let any = self
            .singles
            .iter()
            .fold(false, |any, &single| any | (single == weight));
        if !any {
            return None;
        }
        let bit = self.singles.iter().position(|&single| single == weight)?;
        Some(1 << bit)
    }

    /// The two neighbouring bits that do.
    #[inline]
    pub fn pair(&self, weight: u32) -> Option<u8> {
        let both = weight ^ times_x(weight);
        let any = self
            .pairs
            .iter()
            .fold(false, |any, &pair| any | (pair == both));
        if !any {
            return None;
        }
        let bit = self.pairs.iter().position(|&pair| pair == both)?;
        Some(3 << bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_effect_of_any_byte(mut data in proptest::collection::vec(any::<u8>(), 1..200), index: prop::sample::Index, mask in 1..=255_u8) {
            let weights = weights(data.len(), std::iter::empty());
            let before = crc32c::crc32c(&data);
            let index = index.index(data.len());
            data[index] ^= mask;
            let difference = before ^ crc32c::crc32c(&data);
            prop_assert_eq!(effect(weights[index], mask), difference);
            let syndrome = Syndrome::new(difference);
            if mask.count_ones() == 1 {
                prop_assert_eq!(syndrome.single(weights[index]), Some(mask));
            }
            if [3, 6, 12, 24, 48, 96, 192].contains(&mask) {
                prop_assert_eq!(syndrome.pair(weights[index]), Some(mask));
            }
        }
    }

    #[test]
    fn copies_carry_what_was_flipped() {
        // abcd, then eight bytes from four back, which run over themselves.
        let weights = weights(
            13,
            [Copied {
                made: 4..12,
                distance: 4,
            }]
            .into_iter(),
        );
        let before = crc32c::crc32c(b"abcdabcdabcde");
        let after = crc32c::crc32c(b"abkdabkdabkde");
        assert_eq!(effect(weights[2], b'c' ^ b'k'), before ^ after);
    }
}
