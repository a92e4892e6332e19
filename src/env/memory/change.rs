//! The twin, to change.

use std::io;
use std::path::{Path, PathBuf};

use super::MemoryFileSystem;
use super::append::{Appending, MAX_FILE_LENGTH, too_large};
use super::state::{ByteChange, Node, State, parent_of};
use crate::env::{
    AppendFile, FileSystem, IoError, LOCK_FILE_NAME, LockError, LockGuard, Operation,
    temporary_path,
};

/// What of `bytes` a failing call still writes.
pub(super) fn cut(bytes: &[u8], written: usize) -> &[u8] {
    bytes.get(..written).unwrap_or(bytes)
}

impl FileSystem for MemoryFileSystem {
    fn open_append(
        &self,
        path: &Path,
        create: Option<u32>,
    ) -> Result<Box<dyn AppendFile>, IoError> {
        let absent = self.state.lock().find(path).is_none();
        if let Some(mode) = create.filter(|_| absent) {
            // Making a file is a change like any other, and may fail like any.
            let mut state = self.change(Operation::Open, path, None, None)?;
            state.check_place(Operation::Open, path)?;
            state.put(path, Vec::new(), Some(mode));
        }
        let state = self.state.lock();
        let id = state.file_at(Operation::Open, path)?;
        let length = state
            .content(id)
            .map_or(0, |content| content.bytes.len() as u64);
        Ok(Box::new(Appending {
            system: self.clone(),
            path: path.to_owned(),
            id,
            length,
        }))
    }

    fn write_atomically(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: Option<u32>,
    ) -> Result<(), IoError> {
        let length = Some(bytes.len() as u64);
        let torn = |state: &mut State, written| {
            state.write_in_place(&temporary_path(path), cut(bytes, written))
        };
        let mut state = self.begin(Operation::WriteAtomically, path, None, length, &torn)?;
        state.write_atomically(path, bytes, mode)
    }

    fn write_in_place(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let length = Some(bytes.len() as u64);
        let torn = |state: &mut State, written| state.write_in_place(path, cut(bytes, written));
        let mut state = self.begin(Operation::WriteInPlace, path, None, length, &torn)?;
        state.write_in_place(path, bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let length = Some(bytes.len() as u64);
        let torn = |state: &mut State, written| state.append(path, cut(bytes, written));
        let mut state = self.begin(Operation::Append, path, None, length, &torn)?;
        state.append(path, bytes)
    }

    fn truncate(&self, path: &Path, length: u64) -> Result<(), IoError> {
        let mut state = self.change(Operation::Truncate, path, None, Some(length))?;
        let content = state.file_at_mut(Operation::Truncate, path)?;
        let place = usize::try_from(length)
            .ok()
            .filter(|_| length <= MAX_FILE_LENGTH);
        let length = place.ok_or_else(|| too_large(Operation::Truncate, path))?;
        content.change(ByteChange::Length(length));
        content.sync();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::Rename, from, Some(to), None)?;
        let error = |kind| Err(IoError::new(Operation::Rename, from, kind));
        let Some(moved) = state.find(from) else {
            return error(io::ErrorKind::NotFound);
        };
        if !state.is_dir(parent_of(to)) {
            return error(io::ErrorKind::NotFound);
        }
        if from == to {
            return Ok(());
        }
        let replaced = state.find(to).map(|id| state.node(id));
        match (state.node(moved), replaced) {
            (Node::File(_), Some(Node::Dir(_))) => return error(io::ErrorKind::IsADirectory),
            (Node::Dir(_), Some(Node::File(_))) => return error(io::ErrorKind::NotADirectory),
            (Node::Dir(_), _) if to.starts_with(from) => return error(io::ErrorKind::InvalidInput),
            (Node::Dir(_), Some(Node::Dir(dir))) if !dir.names.is_empty() => {
                return error(io::ErrorKind::DirectoryNotEmpty);
            }
            _ => {}
        }
        state.move_name(from, to);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::RemoveFile, path, None, None)?;
        state.file_at(Operation::RemoveFile, path)?;
        state.unlink(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::RemoveDirAll, dir, None, None)?;
        let kind = match state.find(dir).map(|id| state.node(id)) {
            Some(Node::Dir(_)) => None,
            Some(Node::File(_)) => Some(io::ErrorKind::NotADirectory),
            None => Some(io::ErrorKind::NotFound),
        };
        if let Some(kind) = kind {
            return Err(IoError::new(Operation::RemoveDirAll, dir, kind));
        }
        state.remove_tree(dir);
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path, mode: u32) -> Result<(), IoError> {
        let mut state = self.change(Operation::CreateDirAll, dir, None, None)?;
        for above in dir.ancestors() {
            if state.find(above).is_some() && !state.is_dir(above) {
                let kind = io::ErrorKind::AlreadyExists;
                return Err(IoError::new(Operation::CreateDirAll, above, kind));
            }
        }
        state.make_dirs(dir, mode);
        Ok(())
    }

    fn sync_file(&self, path: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::SyncFile, path, None, None)?;
        state.file_at_mut(Operation::SyncFile, path)?.sync();
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::SyncDir, dir, None, None)?;
        match state.find(dir).filter(|_| state.is_dir(dir)) {
            Some(id) => {
                state.sync_names(id);
                Ok(())
            }
            None => Err(IoError::new(
                Operation::SyncDir,
                dir,
                io::ErrorKind::NotFound,
            )),
        }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), IoError> {
        let mut state = self.change(Operation::SetMode, path, None, None)?;
        let missing = || IoError::new(Operation::SetMode, path, io::ErrorKind::NotFound);
        let id = state.find(path).ok_or_else(missing)?;
        match state.node_mut(id) {
            Node::Dir(dir) => dir.mode = mode,
            Node::File(content) => content.mode = mode,
        }
        Ok(())
    }

    fn set_modified(&self, path: &Path, time_ns: i64) -> Result<(), IoError> {
        let mut state = self.change(Operation::SetModified, path, None, None)?;
        state.file_at_mut(Operation::SetModified, path)?.modified_ns = time_ns;
        Ok(())
    }

    fn link_or_copy(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::LinkOrCopy, from, Some(to), None)?;
        let id = state.two_names(Operation::LinkOrCopy, from, to)?;
        state.link(to, id);
        Ok(())
    }

    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = self.change(Operation::Copy, from, Some(to), None)?;
        let id = state.two_names(Operation::Copy, from, to)?;
        if let Some(mut copy) = state.content(id).cloned() {
            copy.sync();
            let made = state.add_file(copy);
            state.link(to, made);
        }
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

struct HeldLock {
    system: MemoryFileSystem,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.system.state.lock().locks.remove(&self.path);
    }
}
