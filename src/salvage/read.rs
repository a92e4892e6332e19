//! The blocks of the source, those that lie under another's name among them.

use std::collections::BTreeMap;

use super::side_files::Gathered;
use crate::block::key::{BlockFiles, BlockKey};
use crate::block::read::{ReadBlock, read_start};
use crate::crypto::{KEY_FILE_MAX, block_context};
use crate::env::{IoError, ReadFiles};
use crate::format::bit_repair::FileRepair;
use crate::stream::StreamDir;
use crate::stream::options::Keys;

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

impl Blocks<'_> {
    fn files(&self) -> BlockFiles<'_> {
        self.gathered
            .block_files(self.fs, &self.stream.dir, self.keys)
    }

    /// The block file named after `file`, relative to the stream directory.
    #[must_use]
    pub fn path(&self, file: u32) -> String {
        self.files().path(file)
    }

    /// The key file named after block `number`, relative to the stream directory.
    #[must_use]
    pub fn key_path(&self, number: u32) -> String {
        self.files().key_path(number)
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
        read_start(self.fs, &path, most as u64, buffer).map(drop)
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
        let files = self.files();
        files.read_with(path, buffer, |first| match self.misplaced.get(&file) {
            Some(place) => self.misplaced_key(place),
            None => files.key(file, first),
        })
    }

    fn misplaced_key(&self, place: &Misplaced) -> (BlockKey, Option<FileRepair>) {
        let Some(path) = &place.key_file else {
            return (BlockKey::Plain, None);
        };
        let evidence = &self.gathered.evidence;
        let ring = self.files().ring;
        let context = block_context(evidence.name.as_bytes(), place.number);
        let opened = self
            .fs
            .read(&self.stream.dir.join(path), KEY_FILE_MAX)
            .map_err(|error| error.to_string())
            .and_then(|bytes| {
                ring.open_mended(&bytes, &context)
                    .map_err(|error| error.to_string())
            });
        match opened {
            Ok((opened, _)) => {
                let repair = (*path != self.key_path(place.number))
                    .then(|| FileRepair::new(path, Vec::new()));
                (BlockKey::Opened(Box::new(opened)), repair)
            }
            Err(reason) => (BlockKey::Closed(reason), None),
        }
    }
}
