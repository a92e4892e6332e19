//! Key files: which of the caller's keys opens one, and whether it does once a bit is flipped back, as far as it goes,
//! or under another asset's name.

use std::path::Path;

use super::super::find::{Patch, Repair, Site};
use super::super::mend::mend;
use super::{BlockKey, FileRepair, Gathered};
use crate::block::content;
use crate::crypto::{KeyFileError, KeyRing, OpenedKey, block_context};
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::compression::{self, Framing};
use crate::format::names::BlockFile;
use crate::format::record::parse_at;
use crate::stream::StreamDir;
use crate::stream::options::{Keys, Options};

/// The account a server without accounts keeps its streams in.
const GLOBAL_ACCOUNT: &str = "$G";
/// Longer files are no key files, and are not read.
pub(super) const KEY_FILE_MAX: u64 = 1 << 16;
/// Bytes authenticated in search of one key file's flip: more than all flips of all keys and ciphers take.
const KEY_WORK_MAX: u64 = 1 << 20;
/// How far from its number a block's key is looked for in other blocks' key files.
const NEIGHBOURS: u32 = 64;
/// Places in a block without a key at which a record in plain is looked for.
const PLAIN_SEARCH_PLACES: usize = 64 * 1024;
/// Bytes hashed in that search.
const PLAIN_SEARCH_BYTES: usize = 64 << 20;

/// Account name in the key derivation: what the caller says, else the directory above `streams`, else the global
/// account. For the log of a raft group it is the group's name.
#[must_use]
pub fn account_of(stream: &StreamDir, options: &Options) -> Vec<u8> {
    if let Some(account) = &options.account {
        return account.clone();
    }
    if is_raft_group(&stream.dir) {
        return stream.name.clone().into_bytes();
    }
    let account = stream.account.as_deref().unwrap_or(GLOBAL_ACCOUNT);
    account.as_bytes().to_vec()
}

/// Whether a directory is the log of a raft group: its keys have the group's name, its cipher is always ChaCha.
#[must_use]
pub fn is_raft_group(dir: &Path) -> bool {
    let above = dir.parent().and_then(Path::file_name);
    above.is_some_and(|name| name == "_js_")
}

/// How a key file came open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMend {
    /// As it lies.
    None,
    /// Without the bytes that follow where a key file ends.
    Cut,
    /// After a flip.
    Flipped(Patch),
}

/// Opens a key file as it lies or mended. At most some 4,400 trials of 72 bytes.
///
/// # Errors
///
/// As [`KeyRing::open`].
pub fn open_mended(
    ring: &KeyRing<'_>,
    bytes: &[u8],
    context: &[u8],
) -> Result<(OpenedKey, KeyMend), KeyFileError> {
    let refusal = match ring.open(bytes, context) {
        Ok(opened) => return Ok((opened, KeyMend::None)),
        Err(refusal) => refusal,
    };
    let cut = ring.trials(context).find_map(|trial| {
        let (file, more) = bytes.split_at_checked(trial.cipher().key_file_length())?;
        (!more.is_empty()).then(|| trial.open(file).ok()).flatten()
    });
    if let Some(opened) = cut {
        return Ok((opened, KeyMend::Cut));
    }
    let mut mended = bytes.to_vec();
    let flipped = ring.trials(context).find_map(|trial| {
        if bytes.len() != trial.cipher().key_file_length() {
            return None;
        }
        mend(&mut mended, 0..bytes.len(), KEY_WORK_MAX, |bytes| {
            trial.open(bytes).ok()
        })
    });
    match flipped {
        Some((patch, opened)) => Ok((opened, KeyMend::Flipped(patch))),
        None => Err(refusal),
    }
}

/// What a mended key file is reported as; nothing for a sound one.
pub(super) fn key_repair(path: &str, mend: &KeyMend) -> Option<FileRepair> {
    let patches = match mend {
        KeyMend::None => return None,
        KeyMend::Cut => Vec::new(),
        KeyMend::Flipped(patch) => vec![*patch],
    };
    Some(side_repair(path, patches))
}

/// A repair of a file beside the blocks.
pub(super) fn side_repair(path: &str, patches: Vec<Patch>) -> FileRepair {
    FileRepair {
        path: path.to_owned(),
        repair: Repair {
            site: Site::SideFile,
            patches,
            seq: None,
        },
    }
}

/// The key of block `number`, of which `first_bytes` are the file's bytes as they lie on disk: all of them, or at least the
/// first record.
///
/// A repair without patches says that the key was found in another file, the one it names, or that bytes behind the end
/// of the key file were left out. Bytes that verify as they lie are plain, whatever key file stands beside them: an
/// interrupted conversion leaves such blocks. Besides the block's own key file, its place in an interrupted purge and
/// the key files of the 128 nearest numbers are tried.
pub fn block_key(
    fs: &dyn ReadFiles,
    dir: &Path,
    gathered: &Gathered,
    keys: &Keys,
    number: u32,
    first_bytes: &[u8],
) -> (BlockKey, Option<FileRepair>) {
    let name = gathered.evidence.name.as_bytes();
    let hash_key = HashKey::for_block(name, number);
    if first_bytes.is_empty() || begins_in_plain(first_bytes, &hash_key) {
        return (BlockKey::Plain, None);
    }
    let ring = keys.ring(&gathered.evidence.account);
    let context = block_context(name, number);
    let below = &gathered.messages_dir;
    let own = format!("{below}/{}", BlockFile::Key.name(number));
    let bytes = fs.read(&dir.join(&own), KEY_FILE_MAX);
    let fault = match &bytes {
        Ok(bytes) => match open_mended(&ring, bytes, &context) {
            Ok((opened, mend)) => {
                return (BlockKey::Opened(Box::new(opened)), key_repair(&own, &mend));
            }
            Err(_) if ring.is_empty() => "it is encrypted and no key is given".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(error) if error.is_not_found() => {
            if !gathered.sealed || holds_a_record(first_bytes, &hash_key) {
                return (BlockKey::Plain, None);
            }
            "its key file is gone, and its bytes are no records".to_owned()
        }
        Err(error) => error.to_string(),
    };
    let near = (number.saturating_sub(NEIGHBOURS)..=number.saturating_add(NEIGHBOURS))
        .filter(|near| *near != number)
        .map(|near| format!("{below}/{}", BlockFile::Key.name(near)));
    let elsewhere = ["__new_msgs__", "msgs", "__msgs__"]
        .iter()
        .map(|place| format!("{place}/{}", BlockFile::Key.name(number)))
        .filter(|place| *place != own)
        .chain(near);
    for place in elsewhere {
        let Ok(bytes) = fs.read(&dir.join(&place), KEY_FILE_MAX) else {
            continue;
        };
        if let Ok(opened) = ring.open(&bytes, &context) {
            let repair = side_repair(&place, Vec::new());
            return (BlockKey::Opened(Box::new(opened)), Some(repair));
        }
    }
    (BlockKey::Closed(fault), None)
}

/// Whether a block's first bytes are a record that verifies, or the beginning of a compressed block.
#[must_use]
pub fn begins_in_plain(first_bytes: &[u8], hash_key: &HashKey) -> bool {
    const STREAM_MARK: &[u8] = b"\xff\x06\x00\x00S2sTwO";
    if let Ok(Framing::S2 { .. }) = compression::detect(first_bytes) {
        let start = first_bytes.get(..32).unwrap_or(first_bytes);
        return start
            .windows(STREAM_MARK.len())
            .any(|window| window == STREAM_MARK);
    }
    parse_at(first_bytes, 0).is_ok_and(|record| content::verifies(&record, first_bytes, hash_key))
}

/// Whether a record that verifies begins anywhere in the first bytes.
fn holds_a_record(first_bytes: &[u8], hash_key: &HashKey) -> bool {
    let mut left = PLAIN_SEARCH_BYTES;
    for offset in 0..first_bytes.len().min(PLAIN_SEARCH_PLACES) {
        // The parse alone turns nearly every place down, and costs a few nanoseconds.
        let Ok(record) = parse_at(first_bytes, offset) else {
            continue;
        };
        if content::verifies(&record, first_bytes, hash_key) {
            return true;
        }
        left = left.saturating_sub(record.length());
        if left == 0 {
            break;
        }
    }
    false
}
