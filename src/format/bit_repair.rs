//! Flipping bits back: one bit, then two neighbours in one byte, until something vouches for the result.
//!
//! What vouches is a 64-bit keyed hash or a 128-bit tag, so that a wrong mend is practically impossible. Work is counted
//! in bytes judged: a search over `n` bytes judges at most `15 n` candidates and stops at its limit.

use std::ops::Range;

use super::checksum::HashKey;

/// Bits to flip in one byte of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patch {
    /// Offset in the file as it lies on disk. (A block's keystream keeps damage in place, so it is also the offset in
    /// the decrypted file.)
    pub offset: u64,
    /// Exclusive-or of the byte found and the byte meant.
    pub mask: u8,
}

/// What was mended in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRepair {
    /// The file, relative to the stream directory.
    pub path: String,
    /// The bits that were wrong. Without any, bytes that do not belong there are left out, or the file is another than the
    /// one it is taken for.
    pub patches: Vec<Patch>,
}

impl FileRepair {
    /// Of the file at `path`.
    #[must_use]
    pub fn new(path: &str, patches: Vec<Patch>) -> Self {
        FileRepair {
            path: path.to_owned(),
            patches,
        }
    }
}

/// The masks tried on a byte: single bits, then neighbours.
pub const MASKS: [u8; 15] = [
    0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x03, 0x06, 0x0C, 0x18, 0x30, 0x60, 0xC0,
];

/// How many of [`MASKS`] flip one bit.
const SINGLE_MASKS: usize = 8;

/// Bytes that are hashed at once, so that a search can go on from the state before them.
const STEP: usize = 32;

/// Tries every flip in `range` of `bytes` until `accept` takes the result. Single bits come first, over the whole
/// range. `bytes` is left mended, or as it was.
///
/// At most `work_limit` bytes are handed to `accept` in all.
pub fn mend<T>(
    bytes: &mut [u8],
    range: Range<usize>,
    work_limit: u64,
    mut accept: impl FnMut(&[u8]) -> Option<T>,
) -> Option<(Patch, T)> {
    let cost = (bytes.len() as u64).max(1);
    let mut left = work_limit / cost;
    let (single, pairs) = MASKS.split_at(SINGLE_MASKS);
    for masks in [single, pairs] {
        for offset in range.clone() {
            for &mask in masks {
                left = left.checked_sub(1)?;
                *bytes.get_mut(offset)? ^= mask;
                if let Some(accepted) = accept(bytes) {
                    let offset = offset as u64;
                    return Some((Patch { offset, mask }, accepted));
                }
                *bytes.get_mut(offset)? ^= mask;
            }
        }
    }
    None
}

/// The flip that makes `found` what was `meant`, if one does.
#[must_use]
pub fn single_flip(found: &[u8], meant: &[u8]) -> Option<Patch> {
    if found.len() != meant.len() {
        return None;
    }
    let mut patch = None;
    for (offset, (found, meant)) in found.iter().zip(meant).enumerate() {
        let mask = found ^ meant;
        if mask == 0 {
            continue;
        }
        if patch.is_some() || !MASKS.contains(&mask) {
            return None;
        }
        let offset = offset as u64;
        patch = Some(Patch { offset, mask });
    }
    patch
}

/// The flip in `bytes` after which they have the hash `meant`; `bytes` is left mended, or as it was.
///
/// What lies before a flip is hashed once for all, so a search costs half of what [`mend`] does. At most `work_limit`
/// bytes are hashed.
pub fn mend_hashed(bytes: &mut [u8], key: &HashKey, meant: u64, work_limit: u64) -> Option<Patch> {
    let mut work = 0_u64;
    let (single, pairs) = MASKS.split_at(SINGLE_MASKS);
    for masks in [single, pairs] {
        let mut before = key.begin();
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + STEP);
            for offset in start..end {
                for &mask in masks {
                    work += (bytes.len() - start) as u64;
                    if work > work_limit {
                        return None;
                    }
                    *bytes.get_mut(offset)? ^= mask;
                    let mut state = before.clone();
                    state.append(bytes.get(start..)?);
                    if state.finish() == meant {
                        let offset = offset as u64;
                        return Some(Patch { offset, mask });
                    }
                    *bytes.get_mut(offset)? ^= mask;
                }
            }
            before.append(bytes.get(start..end)?);
            start = end;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_masks_are_all_single_bits_and_all_neighbours() {
        for mask in 1..=255_u8 {
            let pair = mask.count_ones() == 2 && (mask >> mask.trailing_zeros()) == 3;
            assert_eq!(
                MASKS.contains(&mask),
                mask.count_ones() == 1 || pair,
                "{mask:#x}"
            );
        }
        assert!(
            MASKS[..SINGLE_MASKS]
                .iter()
                .all(|mask| mask.count_ones() == 1)
        );
    }

    #[test]
    fn the_limit_stops_the_search_and_leaves_the_bytes() {
        let mut bytes = vec![0; 10];
        let mut calls = 0;
        let found = mend(&mut bytes, 0..10, 250, |_| {
            calls += 1;
            None::<()>
        });
        assert_eq!((found, calls), (None, 25));
        assert_eq!(bytes, vec![0; 10]);
        let key = HashKey::for_stream(b"S");
        assert_eq!(mend_hashed(&mut bytes, &key, 1, 1000), None);
        assert_eq!(bytes, vec![0; 10]);
    }

    proptest! {
        #[test]
        fn a_flip_is_found_by_its_hash(
            bytes in prop::collection::vec(any::<u8>(), 1..150),
            at: prop::sample::Index,
            mask in prop::sample::select(MASKS.to_vec()),
        ) {
            let key = HashKey::for_stream(b"S");
            let meant = key.hash64(&[&bytes]);
            let mut damaged = bytes.clone();
            let offset = at.index(bytes.len());
            damaged[offset] ^= mask;
            let patch = Patch { offset: offset as u64, mask };
            prop_assert_eq!(single_flip(&damaged, &bytes), Some(patch));
            let mut mended = damaged.clone();
            prop_assert_eq!(mend_hashed(&mut mended, &key, meant, u64::MAX), Some(patch));
            prop_assert_eq!(&mended, &bytes);
            let length = damaged.len();
            let found = mend(&mut damaged, 0..length, u64::MAX, |bytes| {
                (key.hash64(&[bytes]) == meant).then_some(7)
            });
            prop_assert_eq!(found, Some((patch, 7)));
        }

        #[test]
        fn two_places_are_no_single_flip(bytes: [u8; 16], first in 0..8_usize, second in 8..16_usize) {
            let mut other = bytes;
            prop_assert_eq!(single_flip(&bytes, &other), None);
            other[first] ^= 1;
            other[second] ^= 1;
            prop_assert_eq!(single_flip(&bytes, &other), None);
            other[second] ^= 6;
            other[first] ^= 1;
            prop_assert_eq!(single_flip(&bytes, &other), None);
        }
    }
}
