//! Reading one stream directory: relative names in, bytes or a plain reason out.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::env::{FileKind, Mapping, ReadFile, ReadFiles};
use crate::stream::names_beside;

/// Side files are read whole; larger ones are refused rather than read.
pub const SIDE_FILE_MAX: u64 = 4 << 30;

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFault {
    /// It is not there.
    Missing,
    /// Anything else, in words.
    Failed(String),
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileFault::Missing => f.write_str("the file is not there"),
            FileFault::Failed(detail) => f.write_str(detail),
        }
    }
}

/// A name in a directory listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As the file system has it.
    pub name: OsString,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes.
    pub length: u64,
}

/// The files of one stream directory.
#[derive(Clone, Copy)]
pub struct StreamFiles<'a> {
    fs: &'a dyn ReadFiles,
    dir: &'a Path,
}

impl<'a> StreamFiles<'a> {
    /// The files below `dir`.
    pub fn new(fs: &'a dyn ReadFiles, dir: &'a Path) -> Self {
        StreamFiles { fs, dir }
    }

    /// The file system they are in.
    pub fn fs(&self) -> &'a dyn ReadFiles {
        self.fs
    }

    /// The stream's directory.
    pub fn dir(&self) -> &'a Path {
        self.dir
    }

    /// The names of the directories beside this one.
    pub fn beside(&self) -> Vec<String> {
        names_beside(self.fs, self.dir)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// Reads a small file whole.
    pub fn read(&self, relative: &str) -> Result<Vec<u8>, FileFault> {
        self.fs
            .read(&self.path(relative), SIDE_FILE_MAX)
            .map_err(fault)
    }

    /// Reads a block into `buffer`, whose room is kept; returns the length read. A file that shrinks
    /// while it is read gives what it had left.
    pub fn read_into(&self, relative: &str, buffer: &mut Vec<u8>) -> Result<(), FileFault> {
        let file = self.fs.open(&self.path(relative)).map_err(fault)?;
        let length = file.length().map_err(fault)?;
        let length = usize::try_from(length).map_err(|_| {
            FileFault::Failed(format!(
                "{relative}: {length} bytes are more than this machine can hold"
            ))
        })?;
        // What the buffer still holds of the last block is overwritten, not zeroed first.
        buffer
            .try_reserve(length.saturating_sub(buffer.len()))
            .map_err(|_| FileFault::Failed(format!("{relative}: no memory for {length} bytes")))?;
        buffer.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            let Some(rest) = buffer.get_mut(filled..) else {
                break;
            };
            let read = file.read_at(filled as u64, rest).map_err(fault)?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        buffer.truncate(filled);
        Ok(())
    }

    /// Opens a file for reads in pieces.
    pub fn open(&self, relative: &str) -> Result<Box<dyn ReadFile>, FileFault> {
        self.fs.open(&self.path(relative)).map_err(fault)
    }

    /// Maps a file; see [`Mapping`] for what the caller has to answer for.
    pub fn map(&self, relative: &str) -> Result<Mapping, FileFault> {
        self.fs.map(&self.path(relative)).map_err(fault)
    }

    /// The last `N` bytes of a file of at least that length, and the file's length.
    pub fn read_tail<const N: usize>(
        &self,
        relative: &str,
    ) -> Result<(u64, Option<[u8; N]>), FileFault> {
        let file = self.fs.open(&self.path(relative)).map_err(fault)?;
        let length = file.length().map_err(fault)?;
        let Some(at) = length.checked_sub(N as u64) else {
            return Ok((length, None));
        };
        let mut tail = [0_u8; N];
        let mut filled = 0;
        while filled < N {
            let read = file
                .read_at(
                    at + filled as u64,
                    tail.get_mut(filled..).unwrap_or_default(),
                )
                .map_err(fault)?;
            if read == 0 {
                return Ok((length, None));
            }
            filled += read;
        }
        Ok((length, Some(tail)))
    }

    /// Lists a directory, by name.
    pub fn list(&self, relative: &str) -> Result<Vec<Name>, FileFault> {
        let entries = self.fs.list(&self.path(relative)).map_err(fault)?;
        Ok(entries
            .into_iter()
            .map(|entry| Name {
                is_dir: entry.kind == FileKind::Dir,
                length: entry.length,
                name: entry.name,
            })
            .collect())
    }

    /// Whether something of that name exists; `Err` where that cannot be told.
    pub fn exists(&self, relative: &str) -> Result<bool, FileFault> {
        match self.fs.metadata(&self.path(relative)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(fault(error)),
        }
    }

    /// Whether a directory of that name exists.
    pub fn is_dir(&self, relative: &str) -> bool {
        let metadata = self.fs.metadata(&self.path(relative));
        metadata.is_ok_and(|metadata| metadata.kind == FileKind::Dir)
    }

    /// Length of a file.
    pub fn length(&self, relative: &str) -> Result<u64, FileFault> {
        self.fs
            .metadata(&self.path(relative))
            .map(|metadata| metadata.length)
            .map_err(fault)
    }
}

fn fault(error: crate::env::IoError) -> FileFault {
    if error.is_not_found() {
        FileFault::Missing
    } else {
        FileFault::Failed(error.to_string())
    }
}
