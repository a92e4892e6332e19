//! Locks on directories: a file in them that is locked, and gone when nobody holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::super::{DEFAULT_FILE_MODE, LOCK_FILE_NAME, LockError, LockGuard, Operation};
use super::At;
use super::system::{is_same_file, with_mode};

/// How often a lock is tried for when its file keeps being removed underneath.
const LOCK_ATTEMPTS: usize = 100;

/// Takes the lock of a directory, or tells that another has it.
pub(super) fn exclusive(dir: &Path) -> Result<LockGuard, LockError> {
    let path = dir.join(LOCK_FILE_NAME);
    for _ in 0..LOCK_ATTEMPTS {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = with_mode(&mut options, DEFAULT_FILE_MODE)
            .open(&path)
            .at(Operation::Lock, &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::HeldElsewhere { path }),
            Err(TryLockError::Error(error)) => {
                return Err(error).at(Operation::Lock, &path).map_err(LockError::Io);
            }
        }
        // The last holder removes the file. Whoever opened it before that now holds a lock on a
        // file nobody else will find, and must start again.
        if is_same_file(&file, &path) {
            return Ok(LockGuard(Box::new(HeldLock { file, path })));
        }
    }
    Err(LockError::HeldElsewhere { path })
}

/// A locked file, removed and then unlocked when dropped.
struct HeldLock {
    file: File,
    path: PathBuf,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // A file left behind does no harm, one that another holder locked must stay, and a closed
        // file is unlocked anyway.
        if is_same_file(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}
