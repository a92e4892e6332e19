//! The twin as a file system.

use std::io;
use std::path::{Path, PathBuf};

use super::MemoryFileSystem;
use super::state::{Node, is_always_there, parent_of};
use crate::env::{
    DEFAULT_DIR_MODE, DirEntry, FileKind, FileSystem, IoError, LOCK_FILE_NAME, LockError,
    LockGuard, MappedBytes, Mapping, Metadata, Operation, ReadFile, temporary_path,
};

/// What of `bytes` a failing call still writes.
fn cut(bytes: &[u8], written: usize) -> &[u8] {
    bytes.get(..written).unwrap_or(bytes)
}

impl FileSystem for MemoryFileSystem {
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, IoError> {
        let state = self.state.lock();
        if !state.is_dir(dir) {
            let kind = match state.nodes.get(dir) {
                Some(_) => io::ErrorKind::NotADirectory,
                None => io::ErrorKind::NotFound,
            };
            return Err(IoError::new(Operation::List, dir, kind));
        }
        let children = state
            .nodes
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir));
        let mut entries: Vec<DirEntry> = children
            .filter_map(|(path, node)| {
                let name = path.file_name()?.to_owned();
                Some(match node {
                    Node::Dir { .. } => DirEntry {
                        name,
                        kind: FileKind::Dir,
                        length: 0,
                    },
                    Node::File { number } => {
                        let length = state.content(*number).bytes.len() as u64;
                        DirEntry {
                            name,
                            kind: FileKind::File,
                            length,
                        }
                    }
                })
            })
            .collect();
        entries.sort_by(|a, b| a.name.as_encoded_bytes().cmp(b.name.as_encoded_bytes()));
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, IoError> {
        let state = self.state.lock();
        match state.nodes.get(path) {
            Some(Node::File { number }) => {
                let content = state.content(*number);
                Ok(Metadata {
                    kind: FileKind::File,
                    length: content.bytes.len() as u64,
                    mode: Some(content.mode),
                    modified_ns: content.modified_ns,
                })
            }
            Some(Node::Dir { mode }) => {
                let mode = Some(*mode);
                Ok(Metadata {
                    kind: FileKind::Dir,
                    length: 0,
                    mode,
                    modified_ns: 0,
                })
            }
            None if is_always_there(path) => {
                let mode = Some(DEFAULT_DIR_MODE);
                Ok(Metadata {
                    kind: FileKind::Dir,
                    length: 0,
                    mode,
                    modified_ns: 0,
                })
            }
            None => Err(IoError::new(
                Operation::Metadata,
                path,
                io::ErrorKind::NotFound,
            )),
        }
    }

    fn read(&self, path: &Path, max_length: u64) -> Result<Vec<u8>, IoError> {
        let mut state = self.state.lock();
        let number = state.number_of(Operation::Read, path)?;
        state.count_read(path, number)?;
        let bytes = &state.content(number).bytes;
        if bytes.len() as u64 > max_length {
            return Err(IoError::new(
                Operation::Read,
                path,
                io::ErrorKind::FileTooLarge,
            ));
        }
        Ok(bytes.clone())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        let number = self.state.lock().number_of(Operation::Open, path)?;
        Ok(Box::new(OpenFile {
            system: self.clone(),
            path: path.to_owned(),
            number,
        }))
    }

    fn map(&self, path: &Path) -> Result<Mapping, IoError> {
        self.read(path, u64::MAX)
            .map(|bytes| Mapping(MappedBytes::Copied(bytes)))
    }

    fn write_atomically(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: Option<u32>,
    ) -> Result<(), IoError> {
        let length = Some(bytes.len() as u64);
        match self.begin(Operation::WriteAtomically, path, None, length) {
            Ok(mut state) => state.write_atomically(path, bytes, mode),
            Err((error, written)) => {
                if let Some(written) = written {
                    let left = temporary_path(path);
                    self.state
                        .lock()
                        .write_in_place(&left, cut(bytes, written))?;
                }
                Err(error)
            }
        }
    }

    fn write_in_place(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let length = Some(bytes.len() as u64);
        match self.begin(Operation::WriteInPlace, path, None, length) {
            Ok(mut state) => state.write_in_place(path, bytes),
            Err((error, written)) => {
                if let Some(written) = written {
                    self.state
                        .lock()
                        .write_in_place(path, cut(bytes, written))?;
                }
                Err(error)
            }
        }
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        match self.begin(Operation::Append, path, None, Some(bytes.len() as u64)) {
            Ok(mut state) => state.append(path, bytes),
            Err((error, written)) => {
                if let Some(written) = written {
                    self.state.lock().append(path, cut(bytes, written))?;
                }
                Err(error)
            }
        }
    }

    fn truncate(&self, path: &Path, length: u64) -> Result<(), IoError> {
        let mut state = self.change(Operation::Truncate, path, None, Some(length))?;
        let number = state.number_of(Operation::Truncate, path)?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_FILE_LENGTH);
        let too_large = || IoError::new(Operation::Truncate, path, io::ErrorKind::FileTooLarge);
        state
            .content_mut(number)
            .bytes
            .resize(length.ok_or_else(too_large)?, 0);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::Rename, from, Some(to), None)?;
        let error = |kind| Err(IoError::new(Operation::Rename, from, kind));
        let Some(node) = state.nodes.get(from).copied() else {
            return error(io::ErrorKind::NotFound);
        };
        if !state.is_dir(parent_of(to)) {
            return error(io::ErrorKind::NotFound);
        }
        if from == to {
            return Ok(());
        }
        match (node, state.nodes.get(to)) {
            (Node::File { .. }, Some(Node::Dir { .. })) => {
                return error(io::ErrorKind::IsADirectory);
            }
            (Node::Dir { .. }, Some(Node::File { .. })) => {
                return error(io::ErrorKind::NotADirectory);
            }
            (Node::Dir { .. }, _) if to.starts_with(from) => {
                return error(io::ErrorKind::InvalidInput);
            }
            (Node::Dir { .. }, Some(Node::Dir { .. })) if state.has_children(to) => {
                return error(io::ErrorKind::DirectoryNotEmpty);
            }
            _ => {}
        }
        let moved: Vec<PathBuf> = state
            .nodes
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for path in moved {
            let Some(node) = state.nodes.remove(&path) else {
                continue;
            };
            let target = match path.strip_prefix(from) {
                Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
                _ => to.to_owned(),
            };
            state.nodes.insert(target, node);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::RemoveFile, path, None, None)?;
        state.number_of(Operation::RemoveFile, path)?;
        state.nodes.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::RemoveDirAll, dir, None, None)?;
        match state.nodes.get(dir) {
            Some(Node::Dir { .. }) => {}
            Some(Node::File { .. }) => {
                let kind = io::ErrorKind::NotADirectory;
                return Err(IoError::new(Operation::RemoveDirAll, dir, kind));
            }
            None => {
                return Err(IoError::new(
                    Operation::RemoveDirAll,
                    dir,
                    io::ErrorKind::NotFound,
                ));
            }
        }
        state.nodes.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path, mode: u32) -> Result<(), IoError> {
        let mut state = self.change(Operation::CreateDirAll, dir, None, None)?;
        for above in dir.ancestors() {
            if let Some(Node::File { .. }) = state.nodes.get(above) {
                let kind = io::ErrorKind::AlreadyExists;
                return Err(IoError::new(Operation::CreateDirAll, above, kind));
            }
        }
        state.make_dirs(dir, mode);
        Ok(())
    }

    fn sync_file(&self, path: &Path) -> Result<(), IoError> {
        let state = self.change(Operation::SyncFile, path, None, None)?;
        state.number_of(Operation::SyncFile, path).map(|_| ())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoError> {
        let state = self.change(Operation::SyncDir, dir, None, None)?;
        match state.is_dir(dir) {
            true => Ok(()),
            false => Err(IoError::new(
                Operation::SyncDir,
                dir,
                io::ErrorKind::NotFound,
            )),
        }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), IoError> {
        let mut state = self.change(Operation::SetMode, path, None, None)?;
        if let Some(Node::Dir { mode: present }) = state.nodes.get_mut(path) {
            *present = mode;
            return Ok(());
        }
        let number = state.number_of(Operation::SetMode, path)?;
        state.content_mut(number).mode = mode;
        Ok(())
    }

    fn set_modified(&self, path: &Path, time_ns: i64) -> Result<(), IoError> {
        let mut state = self.change(Operation::SetModified, path, None, None)?;
        let number = state.number_of(Operation::SetModified, path)?;
        state.content_mut(number).modified_ns = time_ns;
        Ok(())
    }

    fn link_or_copy(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::LinkOrCopy, from, Some(to), None)?;
        let number = state.two_names(Operation::LinkOrCopy, from, to)?;
        state.nodes.insert(to.to_owned(), Node::File { number });
        Ok(())
    }

    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::Copy, from, Some(to), None)?;
        let number = state.two_names(Operation::Copy, from, to)?;
        let copy = state.content(number).clone();
        let number = state.files.len();
        state.files.push(copy);
        state.nodes.insert(to.to_owned(), Node::File { number });
        Ok(())
    }

    fn lock_exclusive(&self, dir: &Path) -> Result<LockGuard, LockError> {
        let path = dir.join(LOCK_FILE_NAME);
        let mut state = self.state.lock();
        if !state.is_dir(dir) {
            return Err(IoError::new(Operation::Lock, &path, io::ErrorKind::NotFound).into());
        }
        if !state.locks.insert(path.clone()) {
            return Err(LockError::HeldElsewhere { path });
        }
        Ok(LockGuard(Box::new(HeldLock {
            system: self.clone(),
            path,
        })))
    }
}

/// Longest file that cutting may extend to, so that a mistaken length does not eat all memory.
const MAX_FILE_LENGTH: usize = 1 << 30;

struct HeldLock {
    system: MemoryFileSystem,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.system.state.lock().locks.remove(&self.path);
    }
}

struct OpenFile {
    system: MemoryFileSystem,
    path: PathBuf,
    number: usize,
}

impl ReadFile for OpenFile {
    fn length(&self) -> Result<u64, IoError> {
        Ok(self.system.state.lock().content(self.number).bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let mut state = self.system.state.lock();
        state.count_read(&self.path, self.number)?;
        let bytes = &state.content(self.number).bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..count), rest.get(..count)) {
            target.copy_from_slice(source);
        }
        Ok(count)
    }
}
