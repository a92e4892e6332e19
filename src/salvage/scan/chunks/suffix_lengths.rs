//! How much the elements from any place on make: which flips of a tag or a length leave the right total?

use super::trial::Bench;
use crate::format::compression::{Cursor, element_shape};

/// No chain of elements leads from here to the end.
const ASTRAY: u32 = u32::MAX;

/// For every place in a chunk's compressed bytes, the bytes that the elements from there to the end make.
///
/// A flip that changes how long an element is, or how much it makes, moves all that follows; so the length declared for
/// the chunk rules out nearly all of them without decoding anything.
pub(super) struct Sums {
    from: Vec<u32>,
    declared: usize,
}

impl Sums {
    /// One pass over the bytes; `None` where the chunk declares no length.
    pub fn new(bench: &Bench) -> Option<Self> {
        let declared = bench.declared.filter(|_| !bench.stored)?;
        let source = &bench.source;
        let mut from = vec![ASTRAY; source.len() + 1];
        if let Some(last) = from.last_mut() {
            *last = 0;
        }
        for read in (0..source.len()).rev() {
            let Some(shape) = element_shape(source, read, 0) else {
                continue;
            };
            let rest = from.get(shape.next).copied().unwrap_or(ASTRAY);
            let sum = u32::try_from(shape.length)
                .ok()
                .and_then(|length| rest.checked_add(length));
            if let (Some(sum), Some(place)) = (sum, from.get_mut(read))
                && rest != ASTRAY
            {
                *place = sum;
            }
        }
        Some(Self { from, declared })
    }

    /// Whether the chunk makes as much as it declares, and otherwise than now, with the bits `mask` of byte `at`
    /// flipped, which is in the element at `cursor`. `source` is left as it was.
    pub fn agrees(&self, source: &mut [u8], cursor: Cursor, at: usize, mask: u8) -> bool {
        let (read, written) = (cursor.read as usize, cursor.written as usize);
        let Some(byte) = source.get_mut(at) else {
            return false;
        };
        *byte ^= mask;
        let shape = element_shape(source, read, 0);
        if let Some(byte) = source.get_mut(at) {
            *byte ^= mask;
        }
        shape.is_some_and(|shape| {
            let rest = self.from.get(shape.next).copied().unwrap_or(ASTRAY);
            rest != ASTRAY && written + shape.length + rest as usize == self.declared
        })
    }
}
