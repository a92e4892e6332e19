//! Decoding S2 elements one at a time, and past what cannot be decoded: for whoever looks for damage among them.

use super::super::limits::CHUNK_DECODED_MAX;
use super::decode::{STRIDE, copy, copy_back, literal, literal_span};

/// Bytes behind an element's output that decoding it may overwrite.
pub const SPILL: usize = STRIDE;

/// A place between two elements of a chunk, and the one thing that carries over from element to element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Compressed bytes before it.
    pub read: u32,
    /// Decoded bytes before it.
    pub written: u32,
    /// The distance that the last copy before it went back; 0 before the first.
    pub distance: u32,
}

impl Cursor {
    /// Decodes the element here into `target`, and moves behind it.
    ///
    /// `None` when the elements are at their end, or when this one is cut off or reaches outside of what is decoded or
    /// past the end of `target`.
    #[inline]
    pub fn step(&mut self, source: &[u8], target: &mut [u8]) -> Option<()> {
        let (read, written) = (self.read as usize, self.written as usize);
        let tag = *source.get(read)?;
        let step = if tag & 3 == 0 {
            literal(source, read, target, written)?
        } else {
            let mut distance = self.distance as usize;
            let step = copy(source, read, tag, &mut distance)?;
            copy_back(target, written, distance, step.length)?;
            self.distance = u32::try_from(distance).ok()?;
            step
        };
        self.read = u32::try_from(step.next).ok()?;
        self.written = u32::try_from(written + step.length).ok()?;
        Some(())
    }
}

/// An element as its own bytes describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Decoded bytes it makes.
    pub length: usize,
    /// Where its tag, lengths and offset end: where a literal's bytes begin, and the end of a copy.
    pub head_end: usize,
    /// Where the next element begins.
    pub next: usize,
    /// How far a copy goes back (where it repeats, as far as the one before); for a literal, the distance carried on.
    pub distance: usize,
    /// Whether it is a literal.
    pub literal: bool,
    /// Whether it is a copy that says itself how far it goes back.
    pub explicit: bool,
}

/// Reads the element at `read` without decoding it; `distance` is what the copy before it left. `None` when it is cut
/// off.
#[must_use]
pub fn element_shape(source: &[u8], read: usize, distance: usize) -> Option<Shape> {
    let tag = *source.get(read)?;
    if tag & 3 == 0 {
        let (start, length) = literal_span(source, read)?;
        let next = start + length;
        return (next <= source.len()).then_some(Shape {
            length,
            head_end: start,
            next,
            distance,
            literal: true,
            explicit: false,
        });
    }
    let mut new_distance = distance;
    let step = copy(source, read, tag, &mut new_distance)?;
    let explicit = tag & 3 != 1 || tag & 0xe0 != 0 || source.get(read + 1) != Some(&0);
    Some(Shape {
        length: step.length,
        head_end: step.next,
        next: step.next,
        distance: new_distance,
        literal: false,
        explicit,
    })
}

/// What decoding without giving up came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lenient {
    /// Decoded bytes.
    pub length: usize,
    /// Whether every element was there and could be decoded.
    pub sound: bool,
    /// Whether the elements' end was reached, if only over elements that copy from nowhere.
    pub complete: bool,
}

/// Decodes the elements of `source` as far as they can be followed, and appends what they make to `out`.
///
/// A copy from before the start makes as many zeros; a literal that is cut off makes what is left of it. Stops at an
/// element cut off, and before one that would exceed the 4 MiB of the longest chunk. Where each element begins, the one
/// it stopped at included, is appended to `trace`, if that is wanted.
pub fn decode_leniently(
    source: &[u8],
    out: &mut Vec<u8>,
    mut trace: Option<&mut Vec<Cursor>>,
) -> Lenient {
    let start = out.len();
    let (length, complete) = measure(source);
    out.resize(start + length, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    let mut cursor = Cursor::default();
    let mut sound = complete;
    while (cursor.written as usize) < length {
        if let Some(trace) = trace.as_deref_mut() {
            trace.push(cursor);
        }
        let before = cursor;
        if cursor.step(source, target).is_some() {
            continue;
        }
        sound = false;
        let Some(behind) = step_over(source, before, target) else {
            cursor = before;
            break;
        };
        cursor = behind;
    }
    if let Some(trace) = trace
        && !complete
        && trace.last() != Some(&cursor)
    {
        trace.push(cursor);
    }
    Lenient {
        length,
        sound,
        complete,
    }
}

/// Fills what the element at `cursor`, which cannot be decoded, would have made.
fn step_over(source: &[u8], cursor: Cursor, target: &mut [u8]) -> Option<Cursor> {
    let (read, written) = (cursor.read as usize, cursor.written as usize);
    let Some(shape) = element_shape(source, read, cursor.distance as usize) else {
        let (start, _) = literal_span(source, read)?;
        let rest = source.get(start..)?;
        target
            .get_mut(written..written + rest.len())?
            .copy_from_slice(rest);
        return None;
    };
    target.get_mut(written..written + shape.length)?.fill(0);
    Some(Cursor {
        read: u32::try_from(shape.next).ok()?,
        written: u32::try_from(written + shape.length).ok()?,
        distance: u32::try_from(shape.distance).ok()?,
    })
}

/// How many bytes the elements make, and whether that is all of them.
fn measure(source: &[u8]) -> (usize, bool) {
    let mut read = 0;
    let mut length = 0;
    while read < source.len() {
        let Some(shape) = element_shape(source, read, 0) else {
            let rest = match (source.get(read), literal_span(source, read)) {
                (Some(tag), Some((start, _))) if tag & 3 == 0 => source.len().saturating_sub(start),
                _ => 0,
            };
            return (length + rest.min(CHUNK_DECODED_MAX - length), false);
        };
        if length + shape.length > CHUNK_DECODED_MAX {
            return (length, false);
        }
        length += shape.length;
        read = shape.next;
    }
    (length, true)
}
