//! Reading a block of the source: its file, its key, its decrypted bytes.

use std::collections::BTreeMap;
use std::path::Path;

use super::evidence::{BlockKey, FileRepair, Gathered, block_key, open_mended};
use super::find::{Repair, Site};
use crate::crypto::block_context;
use crate::env::{IoError, ReadFiles};
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::names::BlockFile;
use crate::stream::StreamDir;
use crate::stream::options::Keys;

/// As much of a block as is looked at to find its key.
const FIRST_BYTES: usize = 64 * 1024;
/// Offsets in a block have 32 bits; what lies beyond could not be addressed.
const BLOCK_LENGTH_MAX: u64 = u32::MAX as u64;

/// Longer files are no key files.
const KEY_FILE_MAX: u64 = 1 << 16;

/// What is in a block file that lies, or whose key lies, under the name of another block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The block.
    pub number: u32,
    /// The file with its key, relative to the stream directory; none where it is not encrypted.
    pub key_file: Option<String>,
}

/// Reads the blocks of one stream. Each thread has its own buffer.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// The files.
    pub fs: &'a dyn ReadFiles,
    /// The stream.
    pub stream: &'a StreamDir,
    /// What the side files tell.
    pub gathered: &'a Gathered,
    /// The caller's keys.
    pub keys: &'a Keys,
    /// Files that do not hold what they are named after, by the number in their names.
    pub misplaced: &'a BTreeMap<u32, Misplaced>,
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
    /// Zeros at the end of the file, where there are more than the end of a record can have.
    pub zero_tail: u64,
}

/// Zeros at the end of `file`, where there are more than a record's hash is long.
pub(super) fn zero_tail(file: &[u8]) -> u64 {
    let zeros = file.iter().rev().take_while(|byte| **byte == 0).count();
    match zeros > CHECKSUM_LENGTH {
        true => zeros as u64,
        false => 0,
    }
}

impl Blocks<'_> {
    /// The block file named after `file`, relative to the stream directory.
    #[must_use]
    pub fn path(&self, file: u32) -> String {
        let name = BlockFile::Block.name(file);
        format!("{}/{name}", self.gathered.messages_dir)
    }

    /// The key file named after block `number`, relative to the stream directory.
    #[must_use]
    pub fn key_path(&self, number: u32) -> String {
        let name = BlockFile::Key.name(number);
        format!("{}/{name}", self.gathered.messages_dir)
    }

    /// The number of the block in the file named after `file`.
    #[must_use]
    pub fn number_in(&self, file: u32) -> u32 {
        self.misplaced.get(&file).map_or(file, |place| place.number)
    }

    /// Reads at most `most` bytes of the file named after `file` into `buffer`, as they lie.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened at all.
    pub fn read_start(&self, file: u32, most: usize, buffer: &mut Vec<u8>) -> Result<(), IoError> {
        let path = self.stream.dir.join(self.path(file));
        read_file(self.fs, &path, most as u64, buffer).map(drop)
    }

    /// What the file named after `file` is at this moment; `None` where that cannot be told.
    #[must_use]
    pub fn stamp(&self, file: u32) -> Option<Stamp> {
        let path = self.stream.dir.join(self.path(file));
        let metadata = self.fs.metadata(&path).ok()?;
        Some(Stamp {
            length: metadata.length,
            modified_ns: metadata.modified_ns,
        })
    }

    /// Reads the file named after `file` into `buffer` and decrypts it there.
    ///
    /// What cannot be read for a fault of the device is no reason to give up: `buffer` then has what came before, and the
    /// fault is in [`ReadBlock::cut`].
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened at all.
    pub fn read(&self, file: u32, buffer: &mut Vec<u8>) -> Result<ReadBlock, IoError> {
        self.read_at(&self.path(file), file, buffer)
    }

    /// The same from the file at `path`, relative to the stream directory, with the key of block `file`.
    ///
    /// # Errors
    ///
    /// As [`Blocks::read`].
    pub fn read_at(
        &self,
        path: &str,
        file: u32,
        buffer: &mut Vec<u8>,
    ) -> Result<ReadBlock, IoError> {
        let path = self.stream.dir.join(path);
        let cut = read_file(self.fs, &path, BLOCK_LENGTH_MAX, buffer)?;
        let zero_tail = zero_tail(buffer);
        let first = buffer.get(..FIRST_BYTES).unwrap_or(buffer);
        let (mut key, repair) = match self.misplaced.get(&file) {
            Some(place) => self.misplaced_key(place),
            None => block_key(
                self.fs,
                &self.stream.dir,
                self.gathered,
                self.keys,
                file,
                first,
            ),
        };
        if let BlockKey::Opened(opened) = &key
            && opened.block_cipher().apply(buffer, 0).is_err()
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

    fn misplaced_key(&self, place: &Misplaced) -> (BlockKey, Option<FileRepair>) {
        let Some(path) = &place.key_file else {
            return (BlockKey::Plain, None);
        };
        let evidence = &self.gathered.evidence;
        let ring = self.keys.ring(&evidence.account);
        let context = block_context(evidence.name.as_bytes(), place.number);
        let opened = self
            .fs
            .read(&self.stream.dir.join(path), KEY_FILE_MAX)
            .map_err(|error| error.to_string())
            .and_then(|bytes| {
                open_mended(&ring, &bytes, &context).map_err(|error| error.to_string())
            });
        match opened {
            Ok((opened, _)) => {
                let repair = (*path != self.key_path(place.number)).then(|| FileRepair {
                    path: path.clone(),
                    repair: Repair {
                        site: Site::SideFile,
                        patches: Vec::new(),
                        seq: None,
                    },
                });
                (BlockKey::Opened(Box::new(opened)), repair)
            }
            Err(reason) => (BlockKey::Closed(reason), None),
        }
    }
}

fn read_file(
    fs: &dyn ReadFiles,
    path: &Path,
    most: u64,
    buffer: &mut Vec<u8>,
) -> Result<Option<String>, IoError> {
    let file = fs.open(path)?;
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
