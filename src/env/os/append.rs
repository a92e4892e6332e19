//! A file open for writing.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::{AppendFile, IoError, Operation};
use super::At;
use super::system::{give_to_owner_of, with_mode};

/// The file stands at its end between calls.
struct Appending {
    file: File,
    path: PathBuf,
    length: u64,
}

/// Opens a file for writing at its end; makes it where `create` says with which mode.
pub(super) fn open(path: &Path, create: Option<u32>) -> Result<Box<dyn AppendFile>, IoError> {
    let existing = OpenOptions::new().write(true).open(path);
    let opened = match (existing, create) {
        (Err(error), Some(mode)) if error.kind() == io::ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            let made = with_mode(&mut options, mode).open(path);
            made.and_then(|file| give_to_owner_of(&file, None, path).map(|()| file))
        }
        (opened, _) => opened,
    };
    let mut file = opened.at(Operation::Open, path)?;
    let length = file.seek(SeekFrom::End(0)).at(Operation::Open, path)?;
    Ok(Box::new(Appending {
        file,
        path: path.to_owned(),
        length,
    }))
}

impl Appending {
    /// Takes over the length that a write came to, and stands at the end again, also where it failed: the next append must not
    /// begin behind what a failed one left.
    fn settle(&mut self, written: io::Result<u64>) -> io::Result<()> {
        let known = written.as_ref().ok().copied().unwrap_or(self.length);
        let at_end = self.file.seek(SeekFrom::Start(known));
        written.and(at_end).map(|_| self.length = known)
    }
}

/// Writes all slices and returns their length.
fn write_slices(file: &mut File, slices: &[&[u8]]) -> io::Result<u64> {
    if let [only] = slices {
        // The system takes one at less cost than a list of one.
        return file.write_all(only).map(|()| only.len() as u64);
    }
    let length = slices.iter().map(|slice| slice.len() as u64).sum();
    let mut slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut rest = slices.as_mut_slice();
    // Empty slices alone would look like a disk that takes nothing.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl AppendFile for Appending {
    fn length(&self) -> u64 {
        self.length
    }

    fn append(&mut self, slices: &[&[u8]]) -> Result<(), IoError> {
        match write_slices(&mut self.file, slices) {
            // The file stands at the new end already.
            Ok(length) => {
                self.length += length;
                Ok(())
            }
            Err(error) => self.settle(Err(error)).at(Operation::Append, &self.path),
        }
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        debug_assert!(offset <= self.length, "a hole would be left");
        let end = self.length.max(offset + bytes.len() as u64);
        let written = self
            .file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.write_all(bytes))
            .map(|()| end);
        self.settle(written).at(Operation::WriteAt, &self.path)
    }

    fn set_length(&mut self, length: u64) -> Result<(), IoError> {
        let set = self.file.set_len(length).map(|()| length);
        self.settle(set).at(Operation::SetLength, &self.path)
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.file.sync_all().at(Operation::SyncFile, &self.path)
    }
}
