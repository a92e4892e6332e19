//! A file of the twin, open for writing.

use std::io;
use std::path::{Path, PathBuf};

use super::MemoryFileSystem;
use super::change::cut;
use super::state::{ByteChange, NodeId, State};
use crate::env::{AppendFile, IoError, Operation};

/// Longest file that may be made, so that a mistaken length does not eat all memory.
pub(super) const MAX_FILE_LENGTH: u64 = 1 << 30;

pub(super) struct Appending {
    pub(super) system: MemoryFileSystem,
    pub(super) path: PathBuf,
    pub(super) id: NodeId,
    pub(super) length: u64,
}

impl Appending {
    fn write(&mut self, operation: Operation, offset: u64, bytes: Vec<u8>) -> Result<(), IoError> {
        let end = offset.saturating_add(bytes.len() as u64);
        let place = usize::try_from(offset)
            .ok()
            .filter(|_| end <= MAX_FILE_LENGTH);
        let write = |state: &mut State, written: usize| {
            let offset = place.ok_or_else(|| too_large(operation, &self.path))?;
            let bytes = cut(&bytes, written).to_vec();
            if let Some(content) = state.content_mut(self.id) {
                content.change(ByteChange::Write { offset, bytes });
            }
            Ok(())
        };
        let asked = Some(bytes.len() as u64);
        let mut state = self
            .system
            .begin(operation, &self.path, None, asked, &write)?;
        write(&mut state, bytes.len())?;
        drop(state);
        self.length = self.length.max(end);
        Ok(())
    }
}

pub(super) fn too_large(operation: Operation, path: &Path) -> IoError {
    IoError::new(operation, path, io::ErrorKind::FileTooLarge)
}

impl AppendFile for Appending {
    fn length(&self) -> u64 {
        self.length
    }

    fn append(&mut self, slices: &[&[u8]]) -> Result<(), IoError> {
        self.write(Operation::Append, self.length, slices.concat())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        debug_assert!(offset <= self.length, "a hole would be left");
        self.write(Operation::WriteAt, offset, bytes.to_vec())
    }

    fn set_length(&mut self, length: u64) -> Result<(), IoError> {
        let operation = Operation::SetLength;
        let mut state = self
            .system
            .change(operation, &self.path, None, Some(length))?;
        let place = usize::try_from(length)
            .ok()
            .filter(|_| length <= MAX_FILE_LENGTH);
        let wanted = place.ok_or_else(|| too_large(operation, &self.path))?;
        if let Some(content) = state.content_mut(self.id) {
            content.change(ByteChange::Length(wanted));
        }
        drop(state);
        self.length = length;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        let mut state = self
            .system
            .change(Operation::SyncFile, &self.path, None, None)?;
        if let Some(content) = state.content_mut(self.id) {
            content.sync();
        }
        Ok(())
    }
}
