//! The twin, to look at.

use std::io;
use std::path::{Path, PathBuf};

use super::MemoryFileSystem;
use super::state::{Node, NodeId};
use crate::env::{
    DirEntry, FileKind, IoError, MappedBytes, Mapping, Metadata, Operation, ReadFile, ReadFiles,
};

/// What a node is, and its length.
fn kind_and_length(node: &Node) -> (FileKind, u64) {
    match node {
        Node::Dir(_) => (FileKind::Dir, 0),
        Node::File(content) => (FileKind::File, content.bytes.len() as u64),
    }
}

impl ReadFiles for MemoryFileSystem {
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, IoError> {
        let state = self.state.lock();
        let names = state.list(dir)?.iter();
        let mut entries: Vec<DirEntry> = names
            .map(|(name, id)| {
                let (kind, length) = kind_and_length(state.node(*id));
                DirEntry {
                    name: name.clone(),
                    kind,
                    length,
                }
            })
            .collect();
        entries.sort_by(|a, b| a.name.as_encoded_bytes().cmp(b.name.as_encoded_bytes()));
        Ok(entries)
    }

    fn available_bytes(&self, _dir: &Path) -> Result<Option<u64>, IoError> {
        let state = self.state.lock();
        Ok(state
            .capacity_bytes
            .map(|capacity| capacity.saturating_sub(state.held_bytes())))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, IoError> {
        let state = self.state.lock();
        let missing = || IoError::new(Operation::Metadata, path, io::ErrorKind::NotFound);
        let node = state.node(state.find(path).ok_or_else(missing)?);
        let (kind, length) = kind_and_length(node);
        let (mode, modified_ns) = match node {
            Node::Dir(dir) => (dir.mode, 0),
            Node::File(content) => (content.mode, content.modified_ns),
        };
        Ok(Metadata {
            kind,
            length,
            mode: Some(mode),
            modified_ns,
        })
    }

    fn read(&self, path: &Path, max_length: u64) -> Result<Vec<u8>, IoError> {
        let mut state = self.state.lock();
        let id = state.file_at(Operation::Read, path)?;
        state.count_read(path, id)?;
        let bytes = state.content(id).map(|content| &content.bytes);
        match bytes {
            Some(bytes) if bytes.len() as u64 <= max_length => Ok(bytes.clone()),
            _ => Err(IoError::new(
                Operation::Read,
                path,
                io::ErrorKind::FileTooLarge,
            )),
        }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        let id = self.state.lock().file_at(Operation::Open, path)?;
        Ok(Box::new(OpenFile {
            system: self.clone(),
            path: path.to_owned(),
            id,
        }))
    }

    fn map(&self, path: &Path) -> Result<Mapping, IoError> {
        self.read(path, u64::MAX)
            .map(|bytes| Mapping(MappedBytes::Copied(bytes)))
    }
}

struct OpenFile {
    system: MemoryFileSystem,
    path: PathBuf,
    id: NodeId,
}

impl ReadFile for OpenFile {
    fn length(&self) -> Result<u64, IoError> {
        let state = self.system.state.lock();
        let content = state.content(self.id);
        Ok(content.map_or(0, |content| content.bytes.len() as u64))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let mut state = self.system.state.lock();
        state.count_read(&self.path, self.id)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let content = state.content(self.id);
        let rest = content
            .and_then(|content| content.bytes.get(start..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..count), rest.get(..count)) {
            target.copy_from_slice(source);
        }
        Ok(count)
    }
}
