//! Reading a block: its file, as far as the device gives it; its key; its decrypted bytes. [`super::content`] decodes them.

use std::path::Path;

use super::key::{BlockFiles, BlockKey};
use crate::env::{IoError, ReadFile, ReadFiles};
use crate::format::bit_repair::FileRepair;
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::names::BlockFile;

/// As much of a block as is looked at to find its key.
const FIRST_BYTES: usize = 64 * 1024;
/// Offsets in a block have 32 bits; what lies beyond could not be addressed.
const BLOCK_LENGTH_MAX: u64 = u32::MAX as u64;

/// Bytes that are read at a time into memory that holds nothing yet.
const READ_BYTES: usize = 512 * 1024;

/// A block that was read.
#[derive(Debug, Clone)]
pub struct ReadBlock {
    /// Its key; where that stays closed, the bytes are as they lie on disk.
    pub key: BlockKey,
    /// How the key was mended, if it was.
    pub repair: Option<FileRepair>,
    /// Why the bytes end before the file does, if they do.
    pub cut: Option<String>,
    /// Zeros at the end of the file, where there are more than the end of a record can have.
    pub zero_tail: u64,
}

/// Zeros at the end of `file`, where there are more than a record's hash is long.
fn zero_tail(file: &[u8]) -> u64 {
    let zeros = file.iter().rev().take_while(|byte| **byte == 0).count();
    match zeros > CHECKSUM_LENGTH {
        true => zeros as u64,
        false => 0,
    }
}

impl BlockFiles<'_> {
    /// Path of the file of block `number`, relative to the stream directory.
    #[must_use]
    pub fn path(&self, number: u32) -> String {
        BlockFile::Block.path_in(self.messages, number)
    }

    /// Path of its key file, relative to the stream directory.
    #[must_use]
    pub fn key_path(&self, number: u32) -> String {
        BlockFile::Key.path_in(self.messages, number)
    }

    /// Reads the block in the file at `path`, relative to the stream directory, into `buffer` and decrypts it there. The
    /// key is what `key` makes of the file's first bytes, as they lie.
    ///
    /// What cannot be read for a fault of the device is no reason to give up: `buffer` then has what came before, and the
    /// fault is in [`ReadBlock::cut`].
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened at all.
    pub fn read_with(
        &self,
        path: &str,
        buffer: &mut Vec<u8>,
        key: impl FnOnce(&[u8]) -> (BlockKey, Option<FileRepair>),
    ) -> Result<ReadBlock, IoError> {
        let file = self.fs.open(&self.dir.join(path))?;
        self.read_open_with(&*file, buffer, key)
    }

    /// The same with a file that is open.
    ///
    /// # Errors
    ///
    /// Where the file does not tell its length.
    pub fn read_open_with(
        &self,
        file: &dyn ReadFile,
        buffer: &mut Vec<u8>,
        key: impl FnOnce(&[u8]) -> (BlockKey, Option<FileRepair>),
    ) -> Result<ReadBlock, IoError> {
        let cut = read_start_of(file, BLOCK_LENGTH_MAX, buffer)?;
        let zero_tail = zero_tail(buffer);
        let (mut key, repair) = key(buffer.get(..FIRST_BYTES).unwrap_or(buffer));
        if let Some(cipher) = key.cipher()
            && cipher.apply(buffer, 0).is_err()
        {
            key = BlockKey::Closed("the block is longer than its cipher can address".into());
        }
        Ok(ReadBlock {
            key,
            repair,
            cut,
            zero_tail,
        })
    }
}

/// Reads at most `most` bytes of a file into `buffer`, as far as the device gives them; why the bytes end before the file
/// does, if they do.
///
/// # Errors
///
/// Where the file cannot be opened at all.
pub fn read_start(
    fs: &dyn ReadFiles,
    path: &Path,
    most: u64,
    buffer: &mut Vec<u8>,
) -> Result<Option<String>, IoError> {
    read_start_of(&*fs.open(path)?, most, buffer)
}

fn read_start_of(
    file: &dyn ReadFile,
    most: u64,
    buffer: &mut Vec<u8>,
) -> Result<Option<String>, IoError> {
    let length = file.length()?;
    let taken = usize::try_from(length.min(most)).unwrap_or(usize::MAX);
    let mut cut =
        (length > most).then(|| format!("{length} bytes; those beyond {most} are not looked at"));
    if buffer
        .try_reserve(taken.saturating_sub(buffer.len()))
        .is_err()
    {
        buffer.clear();
        return Ok(Some(format!("no memory for its {taken} bytes")));
    }
    let mut filled = 0;
    while filled < taken {
        // What is zeroed is read over while the processor still has it at hand.
        let end = taken.min(buffer.len().max(filled + READ_BYTES));
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        match file.read_at(
            filled as u64,
            buffer.get_mut(filled..end).unwrap_or_default(),
        ) {
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
