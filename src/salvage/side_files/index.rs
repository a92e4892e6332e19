//! `index.db`, mended if need be, and whether it is of the last record on disk.

use std::path::Path;

use super::super::error::SalvageError;
use super::{Gathered, IndexEvidence};
use crate::block::content::tail_of;
use crate::block::key::BlockKey;
use crate::env::{IoError, ReadFiles};
use crate::format::bit_repair::single_flip;
use crate::format::names::{BlockFile, STATE_FILE};
use crate::format::state::StateFile;
use crate::stream::index_file::IndexFile;
use crate::stream::options::Keys;

/// A last block that ends in zeros is read up to this length to find where they begin.
const ZEROS_MAX: u64 = 64 << 20;
/// Bytes of the last block's file that are read to tell whether it is plain.
const FIRST_BYTES: usize = 1 << 20;

/// Reads the index beside the blocks that `gathered` names.
pub(super) fn read_index(
    fs: &dyn ReadFiles,
    dir: &Path,
    gathered: &mut Gathered,
    keys: &Keys,
) -> Result<(), SalvageError> {
    let Gathered {
        evidence,
        messages_dir,
        events,
        ..
    } = gathered;
    let path = format!("{messages_dir}/{STATE_FILE}");
    let file = IndexFile {
        path: &path,
        name: &evidence.name,
        asset_key: evidence.asset_key.as_deref(),
        repairs: &mut evidence.repairs,
        events,
    };
    if let Some(state) = file.read(fs, dir)? {
        let fresh = is_fresh(fs, dir, gathered, keys, &state)?;
        gathered.evidence.index = Some(IndexEvidence { state, fresh });
    }
    Ok(())
}

/// Whether the index is of the last record on disk. A flip within the last eight bytes does not make it stale.
fn is_fresh(
    fs: &dyn ReadFiles,
    dir: &Path,
    gathered: &Gathered,
    keys: &Keys,
    state: &StateFile,
) -> Result<bool, SalvageError> {
    let last = state.last_block;
    if gathered.evidence.blocks.last() != Some(&last) {
        return Ok(false);
    }
    let path = dir.join(BlockFile::Block.path_in(&gathered.messages_dir, last));
    let ends = match ends_of(fs, &path) {
        Ok(ends) => ends,
        Err(error) if error.kind == std::io::ErrorKind::PermissionDenied => {
            return Err(error.into());
        }
        Err(_) => return Ok(false),
    };
    let Ends {
        length,
        first,
        mut tail,
    } = ends;
    let at = length.saturating_sub(tail.len() as u64);
    let is_zero = tail.iter().all(|byte| *byte == 0);
    let (key, _) = gathered.block_files(fs, dir, keys).key(last, &first);
    match &key {
        BlockKey::Plain => {}
        BlockKey::Opened(key) => {
            if key.block_cipher().apply(&mut tail, at).is_err() {
                return Ok(false);
            }
        }
        BlockKey::Closed(_) => return Ok(false),
    }
    let found = tail_of(&tail);
    let meant = state.last_record_hash;
    if found == meant || single_flip(&found, &meant).is_some() {
        return Ok(true);
    }
    Ok(is_zero && ends_before_zeros(fs, &path, &key, &meant))
}

/// Whether the record of `meant` ends where the zeros behind it begin, which a power cut has left. Its hash may end in zeros
/// itself.
fn ends_before_zeros(fs: &dyn ReadFiles, path: &Path, key: &BlockKey, meant: &[u8; 8]) -> bool {
    let Ok(bytes) = fs.read(path, ZEROS_MAX) else {
        return false;
    };
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let begin = bytes.len() - zeros;
    (begin..=bytes.len().min(begin + meant.len())).any(|end| {
        let Some(start) = end.checked_sub(meant.len()) else {
            return false;
        };
        let mut found = bytes.get(start..end).unwrap_or_default().to_vec();
        if let BlockKey::Opened(key) = key {
            // An offset no keystream reaches is no record's end.
            let cipher = key.block_cipher();
            return cipher.apply(&mut found, start as u64).is_ok() && found == meant;
        }
        found == meant
    })
}

/// The first bytes of a file, and the last eight, or all where there are fewer.
struct Ends {
    length: u64,
    first: Vec<u8>,
    tail: Vec<u8>,
}

fn ends_of(fs: &dyn ReadFiles, path: &Path) -> Result<Ends, IoError> {
    let file = fs.open(path)?;
    let length = file.length()?;
    let read = |offset: u64, most: usize| {
        let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(most)];
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let count = file.read_at(offset + filled as u64, rest)?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        buffer.truncate(filled);
        Ok::<_, IoError>(buffer)
    };
    Ok(Ends {
        length,
        first: read(0, FIRST_BYTES)?,
        tail: read(length.saturating_sub(8), 8)?,
    })
}
