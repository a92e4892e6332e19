//! Damage to bytes within files.

use super::SECTOR;
use super::draft::Draft;
use super::kinds::is_block;
use crate::env::IoError;

/// The longest range overwritten with noise, as a power of two.
const NOISE_BITS_MAX: u64 = 14;

type Drawn = Result<Option<String>, IoError>;

/// Flips bits, each anywhere in all the bytes of the files wanted.
pub fn flip(draft: &mut Draft<'_>, wanted: fn(&str) -> bool, count: u64) -> Drawn {
    let mut told = Vec::new();
    for _ in 0..count {
        let Some((path, offset)) = place(draft, wanted) else {
            return Ok(None);
        };
        let bit = draft.random.below(8);
        edit(draft, &path, |bytes| {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= 1 << bit;
            }
        })?;
        told.push(format!("bit {bit} of byte {offset} of {path}"));
    }
    Ok(Some(format!("flipped {}", told.join(", "))))
}

/// Cuts the last block, half of the time within its last sector.
pub fn cut_tail(draft: &mut Draft<'_>) -> Drawn {
    let Some(block) = draft.target.layout.blocks.last() else {
        return Ok(None);
    };
    let path = block.path.clone();
    let length = draft.length(&path).unwrap_or_default();
    let reach = if draft.random.chance(50) {
        length.min(SECTOR)
    } else {
        length
    };
    let lost = 1 + draft.random.below(reach.max(1));
    cut(draft, &path, length.saturating_sub(lost))
}

/// Cuts a block that others follow.
pub fn cut_middle(draft: &mut Draft<'_>) -> Drawn {
    let blocks = &draft.target.layout.blocks;
    let Some((_, earlier)) = blocks.split_last() else {
        return Ok(None);
    };
    let Some(block) = draft.random.pick(earlier) else {
        return Ok(None);
    };
    let path = block.path.clone();
    let length = draft.length(&path).unwrap_or_default();
    let end = draft.random.below(length);
    cut(draft, &path, end)
}

fn cut(draft: &mut Draft<'_>, path: &str, end: u64) -> Drawn {
    let mut before = 0;
    edit(draft, path, |bytes| {
        before = bytes.len();
        bytes.truncate(end as usize);
    })?;
    Ok(Some(format!("cut {path} from {before} to {end} bytes")))
}

/// Zeroes a sector of a block file.
pub fn zeroed_sector(draft: &mut Draft<'_>) -> Drawn {
    let Some((path, offset)) = place(draft, is_block) else {
        return Ok(None);
    };
    let start = offset - offset % SECTOR;
    let length = sector_at(draft, &path, start, |sector| sector.fill(0))?;
    Ok(Some(format!("zeroed {length} bytes of {path} at {start}")))
}

/// Writes noise over a range; short ranges are as likely as long ones.
pub fn overwritten_range(draft: &mut Draft<'_>) -> Drawn {
    let Some((path, start)) = place(draft, is_block) else {
        return Ok(None);
    };
    let bits = draft.random.below(NOISE_BITS_MAX + 1);
    let wanted = (1 << bits) + draft.random.below(1 << bits);
    let wanted = wanted.min(1 << NOISE_BITS_MAX);
    let noise = draft.random.bytes(wanted as usize);
    let mut written = 0;
    edit(draft, &path, |bytes| {
        let range = bytes.iter_mut().skip(start as usize).zip(noise);
        for (byte, noise) in range {
            *byte = noise;
            written += 1;
        }
    })?;
    Ok(Some(format!(
        "wrote noise over {written} bytes of {path} at {start}"
    )))
}

/// Writes a sector of one place over another.
pub fn misdirected_write(draft: &mut Draft<'_>) -> Drawn {
    let from = place(draft, |path| {
        path.starts_with("msgs/") || path.starts_with("meta.")
    });
    let (Some((from, from_offset)), Some((to, to_offset))) = (from, place(draft, is_block)) else {
        return Ok(None);
    };
    let (source, target) = (
        from_offset - from_offset % SECTOR,
        to_offset - to_offset % SECTOR,
    );
    let bytes = draft.read(&from)?.unwrap_or_default();
    let bytes: Vec<u8> = bytes
        .into_iter()
        .skip(source as usize)
        .take(SECTOR as usize)
        .collect();
    sector_at(draft, &to, target, |sector| {
        for (byte, other) in sector.iter_mut().zip(&bytes) {
            *byte = *other;
        }
    })?;
    Ok(Some(format!(
        "wrote {} bytes of {from} at {source} over {to} at {target}",
        bytes.len()
    )))
}

/// Gives a sector the bytes of an earlier moment: the older file's, or zeros where the file did not reach.
pub fn lost_write(draft: &mut Draft<'_>) -> Drawn {
    let files = draft.files(|path| path.starts_with("msgs/"));
    let mut candidates = Vec::new();
    for (path, length) in files {
        let older = draft.read_older(&path)?;
        let now = draft.read(&path)?.unwrap_or_default();
        let older = older.unwrap_or_default();
        for start in (0..length).step_by(SECTOR as usize) {
            let sector = |bytes: &[u8]| {
                let mut sector: Vec<u8> = bytes
                    .iter()
                    .skip(start as usize)
                    .take(SECTOR as usize)
                    .copied()
                    .collect();
                sector.resize(SECTOR.min(length - start) as usize, 0);
                sector
            };
            // Scanning a whole file byte by byte for every case would be slow; sectors that are equal drop out cheaply.
            if differs(&now, &older, start) {
                candidates.push((path.clone(), start, sector(&older)));
            }
        }
    }
    let Some((path, start, stale)) = draft.random.pick(&candidates).cloned() else {
        return Ok(None);
    };
    sector_at(draft, &path, start, |sector| {
        for (byte, old) in sector.iter_mut().zip(&stale) {
            *byte = *old;
        }
    })?;
    Ok(Some(format!(
        "brought back the earlier bytes of {path} at {start}"
    )))
}

fn differs(now: &[u8], older: &[u8], start: u64) -> bool {
    let sector = |bytes: &[u8]| {
        let start = (start as usize).min(bytes.len());
        let end = (start + SECTOR as usize).min(bytes.len());
        start..end
    };
    now[sector(now)] != older[sector(older)]
}

/// Any byte of all the files wanted: its file and offset.
fn place(draft: &mut Draft<'_>, wanted: impl Fn(&str) -> bool) -> Option<(String, u64)> {
    let files = draft.files(wanted);
    let total: u64 = files.iter().map(|(_, length)| length).sum();
    let mut at = draft.random.below(total);
    for (path, length) in files {
        if at < length {
            return Some((path, at));
        }
        at -= length;
    }
    None
}

/// Edits the sector at `start`, as far as the file reaches, and returns its length.
fn sector_at(
    draft: &mut Draft<'_>,
    path: &str,
    start: u64,
    change: impl FnOnce(&mut [u8]),
) -> Result<usize, IoError> {
    let mut length = 0;
    edit(draft, path, |bytes| {
        let start = (start as usize).min(bytes.len());
        let end = (start + SECTOR as usize).min(bytes.len());
        length = end - start;
        change(&mut bytes[start..end]);
    })?;
    Ok(length)
}

fn edit(
    draft: &mut Draft<'_>,
    path: &str,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<(), IoError> {
    let mut bytes = draft.read(path)?.unwrap_or_default();
    change(&mut bytes);
    draft.put(path, Some(bytes))
}
