//! The S2 block decoder: Snappy's elements, and copies that repeat the last offset.

/// Bytes copied at once where there is room.
pub(super) const STRIDE: usize = 16;

/// Decodes the elements of `source` into `target`, whose length is the declared decoded length.
///
/// # Errors
/// The number of bytes decoded, when an element is cut off, reaches outside what is decoded so far or past the end
/// of `target`, or when the elements end before `target` is full. The bytes before that are sound.
pub(super) fn decode_elements(source: &[u8], target: &mut [u8]) -> Result<(), usize> {
    let mut read = 0;
    let mut written = 0;
    let mut distance = 0;
    while let Some(&tag) = source.get(read) {
        let step = if tag & 3 == 0 {
            literal(source, read, target, written)
        } else {
            copy(source, read, tag, &mut distance)
                .filter(|step| copy_back(target, written, distance, step.length).is_some())
        };
        let Some(step) = step else {
            return Err(written);
        };
        read = step.next;
        written += step.length;
    }
    if written == target.len() {
        Ok(())
    } else {
        Err(written)
    }
}

/// What an element adds, and where the next one begins.
pub(super) struct Step {
    pub length: usize,
    pub next: usize,
}

/// The `count` (1 to 4) bytes at `offset` as a little-endian number.
#[inline(always)]
fn number(source: &[u8], offset: usize, count: usize) -> Option<usize> {
    let rest = source.get(offset..)?;
    if let Some(bytes) = rest.first_chunk::<4>() {
        let unused = 32 - 8 * count as u32;
        return Some((u32::from_le_bytes(*bytes) << unused >> unused) as usize);
    }
    let bytes = rest.get(..count)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | usize::from(*byte)),
    )
}

/// Where a literal's bytes begin, and how many it says there are.
#[inline(always)]
pub(super) fn literal_span(source: &[u8], read: usize) -> Option<(usize, usize)> {
    let code = usize::from(*source.get(read)? >> 2);
    if code < 60 {
        return Some((read + 1, code + 1));
    }
    let count = code - 59;
    Some((read + 1 + count, number(source, read + 1, count)? + 1))
}

#[inline(always)]
pub(super) fn literal(
    source: &[u8],
    read: usize,
    target: &mut [u8],
    written: usize,
) -> Option<Step> {
    let (start, length) = literal_span(source, read)?;
    let from = source.get(start..)?;
    let to = target.get_mut(written..)?;
    if length <= STRIDE
        && let (Some(from), Some(to)) =
            (from.first_chunk::<STRIDE>(), to.first_chunk_mut::<STRIDE>())
    {
        *to = *from;
    } else {
        to.get_mut(..length)?.copy_from_slice(from.get(..length)?);
    }
    Some(Step {
        length,
        next: start + length,
    })
}

/// Reads a copy element; `distance` becomes its offset, or stays where it repeats the last one.
#[inline(always)]
pub(super) fn copy(source: &[u8], read: usize, tag: u8, distance: &mut usize) -> Option<Step> {
    let upper = usize::from(tag >> 2);
    match tag & 3 {
        1 => {
            let low = usize::from(*source.get(read + 1)?);
            let explicit = usize::from(tag & 0xe0) << 3 | low;
            let code = upper & 7;
            if explicit != 0 {
                *distance = explicit;
                return Some(Step {
                    length: code + 4,
                    next: read + 2,
                });
            }
            let (count, base) = match code {
                5 => (1, 8),
                6 => (2, 8 + (1 << 8) - 4),
                7 => (3, 8 + (1 << 16) - 4),
                _ => {
                    return Some(Step {
                        length: code + 4,
                        next: read + 2,
                    });
                }
            };
            Some(Step {
                length: number(source, read + 2, count)? + base,
                next: read + 2 + count,
            })
        }
        2 => {
            *distance = number(source, read + 1, 2)?;
            Some(Step {
                length: upper + 1,
                next: read + 3,
            })
        }
        _ => {
            *distance = number(source, read + 1, 4)?;
            Some(Step {
                length: upper + 1,
                next: read + 5,
            })
        }
    }
}

/// Appends `length` bytes from `distance` bytes back, which may overlap what is being written.
#[inline(always)]
pub(super) fn copy_back(
    target: &mut [u8],
    written: usize,
    distance: usize,
    length: usize,
) -> Option<()> {
    if distance == 0 {
        return None;
    }
    let start = written.checked_sub(distance)?;
    let end = written.checked_add(length)?;
    // Whole strides may run past the end of the copy, never past the end of the target: what they spill is
    // overwritten by the elements that follow.
    if distance >= STRIDE && end.checked_add(STRIDE)? <= target.len() {
        let (mut from, mut to) = (start, written);
        while to < end {
            let stride = *target.get(from..)?.first_chunk::<STRIDE>()?;
            *target.get_mut(to..)?.first_chunk_mut::<STRIDE>()? = stride;
            from += STRIDE;
            to += STRIDE;
        }
        return Some(());
    }
    if end > target.len() {
        return None;
    }
    // The copied part doubles: each pass may read all that the passes before it wrote.
    let mut to = written;
    while to < end {
        let ready = (to - start).min(end - to);
        target.copy_within(start..start + ready, to);
        to += ready;
    }
    Some(())
}
