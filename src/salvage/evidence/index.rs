//! `index.db`, mended if need be, and whether it is of the last record on disk.

use std::path::Path;

use super::super::mend::{mend_hashed, single_flip};
use super::keys::{block_key, side_repair};
use super::metadata::read;
use super::{BlockKey, Gathered, IndexEvidence};
use crate::block::content::tail_of;
use crate::crypto::OpenedKey;
use crate::env::{IoError, ReadFiles};
use crate::format::checksum::HashKey;
use crate::format::names::BlockFile;
use crate::format::state::{StateFile, split_trailing_hash};
use crate::report::events::{Event, EventCode};
use crate::stream::options::Keys;

use super::super::error::SalvageError;

/// A larger index is not read: at some fifty bytes a subject this is twenty million of them.
const INDEX_MAX: u64 = 1 << 30;
/// Bytes hashed in search of one flip: every flip of 50 KB, and a few seconds. In a larger file the search ends before it
/// has tried everything.
const INDEX_WORK_MAX: u64 = 20 << 30;
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
    let path = format!("{}/index.db", gathered.messages_dir);
    let Some(mut bytes) = read(fs, dir, &path, INDEX_MAX, &mut gathered.events)? else {
        return Ok(());
    };
    let Some(plain) = open(&path, &mut bytes, gathered) else {
        return Ok(());
    };
    match StateFile::decode(&plain) {
        Ok(state) => {
            let fresh = is_fresh(fs, dir, gathered, keys, &state)?;
            gathered.evidence.index = Some(IndexEvidence { state, fresh });
        }
        Err(error) => {
            let event = Event::new(EventCode::IndexRejected, error.to_string());
            gathered.events.push(event.file(path));
        }
    }
    Ok(())
}

/// The plaintext, if anything vouches for it.
fn open(path: &str, bytes: &mut [u8], gathered: &mut Gathered) -> Option<Vec<u8>> {
    let hash_key = HashKey::for_stream(gathered.evidence.name.as_bytes());
    let asset_key = gathered.evidence.asset_key.clone();
    let length = bytes.len();
    let mut note = |code, detail: &str| {
        gathered.events.push(Event::new(code, detail).file(path));
    };
    let Some((payload, stored)) = split_trailing_hash(bytes) else {
        note(EventCode::IndexTooShort, &format!("{length} bytes"));
        return None;
    };
    let computed = hash_key.hash64(&[payload]).to_le_bytes();
    if computed == stored {
        return match unseal(payload, asset_key.as_deref()) {
            Some(plain) => Some(plain),
            None => {
                note(EventCode::IndexDecryptFailed, "it is under another key");
                None
            }
        };
    }
    let at = payload.len() as u64;
    if let Some(mut patch) = single_flip(&stored, &computed)
        && let Some(plain) = unseal(payload, asset_key.as_deref())
    {
        patch.offset += at;
        gathered
            .evidence
            .repairs
            .push(side_repair(path, vec![patch]));
        return Some(plain);
    }
    // What authenticates needs no hash.
    if asset_key.is_some()
        && let Some(plain) = unseal(payload, asset_key.as_deref())
    {
        note(
            EventCode::IndexHashMismatch,
            "the hash is wrong; the content authenticates",
        );
        return Some(plain);
    }
    let (payload, _) = bytes.split_at_mut(payload.len());
    let meant = u64::from_le_bytes(stored);
    let Some(patch) = mend_hashed(payload, &hash_key, meant, INDEX_WORK_MAX) else {
        note(EventCode::IndexHashMismatch, "no single flip explains it");
        return None;
    };
    gathered
        .evidence
        .repairs
        .push(side_repair(path, vec![patch]));
    unseal(payload, asset_key.as_deref())
}

/// The content of what the hash covers: sealed where the stream's key opens it. A stream that was encrypted and never
/// written since keeps its plain index.
fn unseal(payload: &[u8], key: Option<&OpenedKey>) -> Option<Vec<u8>> {
    let Some(key) = key else {
        return Some(payload.to_vec());
    };
    match key.open(payload) {
        Ok(plain) => Some(plain),
        Err(_) => StateFile::decode(payload).is_ok().then(|| payload.to_vec()),
    }
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
    let path = dir.join(format!(
        "{}/{}",
        gathered.messages_dir,
        BlockFile::Block.name(last)
    ));
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
    let key = block_key(fs, dir, gathered, keys, last, &first).0;
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
