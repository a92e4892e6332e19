//! The real file system, clock and randomness. Nothing else in the library names `std::fs`: the ban is lifted here for this file
//! and those below it.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the seam the ban points to"
)]

mod append;
mod clock;
mod lock;
mod read;
#[cfg(unix)]
#[path = "os/unix.rs"]
mod system;
#[cfg(not(unix))]
#[path = "os/elsewhere.rs"]
mod system;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{
    AppendFile, DEFAULT_FILE_MODE, FileSystem, IoError, LockError, LockGuard, Operation,
    temporary_path,
};
use clock::system_time;
use system::{adopt_owner_and_mode, give_to_owner_of, make_dir, mode_of, set_mode_of, with_mode};

pub use clock::{OsClock, OsEntropy};

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFileSystem;

/// Adds operation and path to an error.
trait At<T> {
    fn at(self, operation: Operation, path: &Path) -> Result<T, IoError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: Operation, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError::from_source(operation, path, &source))
    }
}

impl FileSystem for OsFileSystem {
    fn open_append(
        &self,
        path: &Path,
        create: Option<u32>,
    ) -> Result<Box<dyn AppendFile>, IoError> {
        append::open(path, create)
    }

    fn write_atomically(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: Option<u32>,
    ) -> Result<(), IoError> {
        let temporary = temporary_path(path);
        let replaced = fs::metadata(path).ok();
        let mode = mode
            .or_else(|| mode_of(replaced.as_ref()?))
            .unwrap_or(DEFAULT_FILE_MODE);
        let written = create_new_over_stale(&temporary)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                give_to_owner_of(&file, replaced.as_ref(), path)?;
                set_mode_of(&file, mode)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // The first error is the one worth reporting.
            let _ = fs::remove_file(&temporary);
        }
        written.at(Operation::WriteAtomically, path)?;
        self.sync_dir(parent_of(path))
    }

    fn write_in_place(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let is_new = fs::symlink_metadata(path).is_err();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        with_mode(&mut options, DEFAULT_FILE_MODE)
            .open(path)
            .and_then(|mut file| {
                if is_new {
                    give_to_owner_of(&file, None, path)?;
                }
                file.write_all(bytes)
            })
            .at(Operation::WriteInPlace, path)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(bytes))
            .at(Operation::Append, path)
    }

    fn truncate(&self, path: &Path, length: u64) -> Result<(), IoError> {
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| {
                file.set_len(length)?;
                file.sync_all()
            })
            .at(Operation::Truncate, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        fs::rename(from, to).at(Operation::Rename, from)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        fs::remove_file(path).at(Operation::RemoveFile, path)
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<(), IoError> {
        fs::remove_dir_all(dir).at(Operation::RemoveDirAll, dir)
    }

    fn create_dir_all(&self, dir: &Path, mode: u32) -> Result<(), IoError> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        self.create_dir_all(parent_of(dir), mode)?;
        let made = make_dir(dir, mode).and_then(|()| {
            // Only systems that let directories be opened have owners to give them to.
            File::open(dir).map_or(Ok(()), |opened| give_to_owner_of(&opened, None, dir))
        });
        match made {
            // Someone else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            made => made.at(Operation::CreateDirAll, dir),
        }
    }

    fn sync_file(&self, path: &Path) -> Result<(), IoError> {
        open_to_alter(path)
            .and_then(|file| file.sync_all())
            .at(Operation::SyncFile, path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoError> {
        if cfg!(not(unix)) {
            return Ok(());
        }
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        match File::open(dir).and_then(|dir| dir.sync_all()) {
            // What file systems answer that have nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced.at(Operation::SyncDir, dir),
        }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), IoError> {
        File::open(path)
            .and_then(|file| set_mode_of(&file, mode))
            .at(Operation::SetMode, path)
    }

    fn adopt(&self, path: &Path, like: &Path) -> Result<bool, IoError> {
        let wanted = fs::metadata(like).at(Operation::Metadata, like)?;
        adopt_owner_and_mode(path, &wanted).at(Operation::SetMode, path)
    }

    fn set_modified(&self, path: &Path, time_ns: i64) -> Result<(), IoError> {
        open_to_alter(path)
            .and_then(|file| file.set_modified(system_time(time_ns)))
            .at(Operation::SetModified, path)
    }

    fn link_or_copy(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        match fs::hard_link(from, to) {
            Ok(()) => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) =>
            {
                Err(error).at(Operation::LinkOrCopy, from)
            }
            Err(_) => self.copy_file(from, to),
        }
    }

    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut source = File::open(from).at(Operation::Open, from)?;
        let metadata = source.metadata().at(Operation::Metadata, from)?;
        let mut target = create_new(to).at(Operation::Copy, to)?;
        io::copy(&mut source, &mut target)
            .and_then(|_| {
                give_to_owner_of(&target, Some(&metadata), to)?;
                set_mode_of(&target, mode_of(&metadata).unwrap_or(DEFAULT_FILE_MODE))?;
                if let Ok(modified) = metadata.modified() {
                    target.set_modified(modified)?;
                }
                target.sync_all()
            })
            .inspect_err(|_| {
                // Half a copy helps nobody.
                let _ = fs::remove_file(to);
            })
            .at(Operation::Copy, to)
    }

    fn lock_exclusive(&self, dir: &Path) -> Result<LockGuard, LockError> {
        lock::exclusive(dir)
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    with_mode(&mut options, DEFAULT_FILE_MODE).open(path)
}

/// Opens a file to sync it or to change its times, which needs the right to write on some systems only.
fn open_to_alter(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(cfg!(not(unix)))
        .open(path)
}

/// Creates a temporary file, clearing away one that a crash left. It is never opened through a link
/// somebody put there.
fn create_new_over_stale(path: &Path) -> io::Result<File> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create_new(path)
        }
        created => created,
    }
}

#[cfg(all(test, unix))]
mod tests;
