//! Reading a block of the source: its file, its key, its decrypted bytes.

use std::path::Path;

use super::evidence::{BlockKey, FileRepair, Gathered, block_key};
use crate::crypto::BlockCipher;
use crate::env::{FileSystem, IoError};
use crate::format::names::BlockFile;
use crate::recovery::StreamDir;
use crate::recovery::options::Keys;

/// As much of a block as is looked at to find its key.
const FIRST_BYTES: usize = 64 * 1024;
/// Offsets in a block have 32 bits; what lies beyond could not be addressed.
const BLOCK_LENGTH_MAX: u64 = u32::MAX as u64;

/// Reads the blocks of one stream. Each thread has its own buffer.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// The files.
    pub fs: &'a dyn FileSystem,
    /// The stream.
    pub stream: &'a StreamDir,
    /// What the side files tell.
    pub gathered: &'a Gathered,
    /// The caller's keys.
    pub keys: &'a Keys,
}

/// What shows whether a file is still the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified_ns: i64,
}

/// A block that was read.
#[derive(Debug, Clone)]
pub struct ReadBlock {
    /// Its key; where that stays closed, the bytes are as they lie on disk.
    pub key: BlockKey,
    /// How the key was mended, if it was.
    pub repair: Option<FileRepair>,
    /// Why the bytes end before the file does, if they do.
    pub cut: Option<String>,
}

impl Blocks<'_> {
    /// The block's file, relative to the stream directory.
    #[must_use]
    pub fn path(&self, number: u32) -> String {
        let name = BlockFile::Block.name(number);
        format!("{}/{name}", self.gathered.messages_dir)
    }

    /// What block `number` is at this moment; `None` where that cannot be told.
    #[must_use]
    pub fn stamp(&self, number: u32) -> Option<Stamp> {
        let path = self.stream.dir.join(self.path(number));
        let metadata = self.fs.metadata(&path).ok()?;
        Some(Stamp {
            length: metadata.length,
            modified_ns: metadata.modified_ns,
        })
    }

    /// Reads block `number` into `buffer` and decrypts it there.
    ///
    /// What cannot be read for a fault of the device is no reason to give up: `buffer` then has what came before, and the
    /// fault is in [`ReadBlock::cut`].
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened at all.
    pub fn read(&self, number: u32, buffer: &mut Vec<u8>) -> Result<ReadBlock, IoError> {
        let path = self.stream.dir.join(self.path(number));
        let cut = read_file(self.fs, &path, buffer)?;
        let first = buffer.get(..FIRST_BYTES).unwrap_or(buffer);
        let (mut key, repair) = block_key(
            self.fs,
            &self.stream.dir,
            self.gathered,
            self.keys,
            number,
            first,
        );
        if let BlockKey::Opened(opened) = &key
            && BlockCipher::new(&opened.seed, &opened.nonce)
                .apply(buffer, 0)
                .is_err()
        {
            key = BlockKey::Closed("the block is longer than its cipher can address".into());
        }
        Ok(ReadBlock { key, repair, cut })
    }
}

fn read_file(
    fs: &dyn FileSystem,
    path: &Path,
    buffer: &mut Vec<u8>,
) -> Result<Option<String>, IoError> {
    let file = fs.open(path)?;
    let length = file.length()?;
    let taken = usize::try_from(length.min(BLOCK_LENGTH_MAX)).unwrap_or(usize::MAX);
    let mut cut = (length > BLOCK_LENGTH_MAX)
        .then(|| format!("{length} bytes; those beyond {BLOCK_LENGTH_MAX} are not looked at"));
    if buffer
        .try_reserve(taken.saturating_sub(buffer.len()))
        .is_err()
    {
        buffer.clear();
        return Ok(Some(format!("no memory for its {taken} bytes")));
    }
    buffer.resize(taken, 0);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(filled as u64, rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) => {
                cut = Some(error.to_string());
                break;
            }
        }
    }
    buffer.truncate(filled);
    Ok(cut)
}
