//! The real file system, clock and randomness. Nothing else in the library names `std::fs`: the ban is lifted here for this file
//! and those below it.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the seam the ban points to"
)]

mod clock;
mod lock;
#[cfg(unix)]
#[path = "os/unix.rs"]
mod system;
#[cfg(not(unix))]
#[path = "os/elsewhere.rs"]
mod system;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{
    DEFAULT_FILE_MODE, DirEntry, FileIdentity, FileKind, FileSystem, IoError, LockError, LockGuard,
    MappedBytes, Mapping, Metadata, Operation, ReadFile, temporary_path,
};
use clock::{nanoseconds, system_time};
use system::{
    adopt_owner_and_mode, changed_of, give_to_owner_of, identity_of, make_dir, mode_of,
    read_some_at, set_mode_of, with_mode,
};

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

/// Pipes, sockets and devices are not opened: opening a pipe would wait for its other end.
fn refuse_special(path: &Path) -> Result<(), IoError> {
    let metadata = fs::metadata(path).at(Operation::Open, path)?;
    if metadata.is_file() || metadata.is_dir() {
        return Ok(());
    }
    Err(IoError::new(
        Operation::Open,
        path,
        io::ErrorKind::Unsupported,
    ))
}

impl FileSystem for OsFileSystem {
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, IoError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).at(Operation::List, dir)? {
            let entry = entry.at(Operation::List, dir)?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).at(Operation::Metadata, &entry.path()),
            };
            let (kind, length) = kind_and_length(&metadata);
            entries.push(DirEntry {
                name: entry.file_name(),
                kind,
                length,
            });
        }
        entries.sort_by(|a, b| a.name.as_encoded_bytes().cmp(b.name.as_encoded_bytes()));
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, IoError> {
        let metadata = fs::metadata(path).at(Operation::Metadata, path)?;
        let (kind, length) = kind_and_length(&metadata);
        let modified_ns = metadata.modified().map_or(0, nanoseconds);
        Ok(Metadata {
            kind,
            length,
            mode: mode_of(&metadata),
            modified_ns,
        })
    }

    fn read(&self, path: &Path, max_length: u64) -> Result<Vec<u8>, IoError> {
        refuse_special(path)?;
        let file = File::open(path).at(Operation::Open, path)?;
        let metadata = file.metadata().at(Operation::Metadata, path)?;
        let too_long = || IoError::new(Operation::Read, path, io::ErrorKind::FileTooLarge);
        if metadata.len() > max_length {
            return Err(too_long());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // The file may have grown since, and some special files claim no length at all.
        let mut bounded = file.take(max_length.saturating_add(1));
        bounded.read_to_end(&mut bytes).at(Operation::Read, path)?;
        if bytes.len() as u64 > max_length {
            return Err(too_long());
        }
        Ok(bytes)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        refuse_special(path)?;
        let file = File::open(path).at(Operation::Open, path)?;
        Ok(Box::new(OpenFile {
            file,
            path: path.to_owned(),
        }))
    }

    fn map(&self, path: &Path) -> Result<Mapping, IoError> {
        refuse_special(path)?;
        let file = File::open(path).at(Operation::Open, path)?;
        if file.metadata().at(Operation::Metadata, path)?.len() == 0 {
            // Nothing to map, which some systems refuse to do.
            return Ok(Mapping(MappedBytes::Copied(Vec::new())));
        }
        // SAFETY: the mapping is private to this value, read-only, and lives as long as the slice
        // borrowed from it. What the type system can not promise is that no other process writes to
        // or shortens the file meanwhile; the contract of `Mapping` lays that on the caller, and no
        // part of the library maps unless its user asked for it.
        #[expect(unsafe_code, reason = "the safety argument is on FileSystem::map")]
        let bytes = unsafe { memmap2::Mmap::map(&file) }.at(Operation::Map, path)?;
        Ok(Mapping(MappedBytes::Mapped(bytes)))
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

    fn read_link(&self, path: &Path) -> Result<PathBuf, IoError> {
        fs::read_link(path).at(Operation::Metadata, path)
    }

    fn canonical(&self, path: &Path) -> Result<PathBuf, IoError> {
        fs::canonicalize(path).at(Operation::Metadata, path)
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity, IoError> {
        let metadata = fs::metadata(path).at(Operation::Metadata, path)?;
        identity_of(&metadata)
            .ok_or_else(|| IoError::new(Operation::Metadata, path, io::ErrorKind::Unsupported))
    }

    fn changed_ns(&self, path: &Path) -> Result<i64, IoError> {
        let metadata = fs::metadata(path).at(Operation::Metadata, path)?;
        let modified_ns = || metadata.modified().map_or(0, nanoseconds);
        Ok(changed_of(&metadata).unwrap_or_else(modified_ns))
    }
}

struct OpenFile {
    file: File,
    path: PathBuf,
}

impl ReadFile for OpenFile {
    fn length(&self) -> Result<u64, IoError> {
        let metadata = self.file.metadata().at(Operation::Metadata, &self.path)?;
        Ok(metadata.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            match read_some_at(&self.file, rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).at(Operation::Read, &self.path),
            }
        }
        Ok(filled)
    }
}

fn kind_and_length(metadata: &fs::Metadata) -> (FileKind, u64) {
    let kind = metadata.file_type();
    if kind.is_file() {
        (FileKind::File, metadata.len())
    } else if kind.is_dir() {
        (FileKind::Dir, 0)
    } else if kind.is_symlink() {
        (FileKind::Symlink, 0)
    } else {
        (FileKind::Other, 0)
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
