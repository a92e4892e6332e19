//! The seam to the outside: files, the clock, randomness.
//!
//! Everything the library reads or changes goes through [`FileSystem`], [`Clock`] and [`Entropy`].
//! [`OsFileSystem`] and its companions are the real ones; [`memory`] has twins that fail on demand.

mod error;
pub mod memory;
mod os;
pub(crate) mod room;
pub(crate) mod sync;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

pub use error::{IoError, LockError, Operation};
pub use os::{OsClock, OsEntropy, OsFileSystem};

/// Mode of a new file where nothing else decides: the owner's alone.
pub const DEFAULT_FILE_MODE: u32 = 0o600;

/// Mode of a new directory where nothing else decides: the owner's alone.
pub const DEFAULT_DIR_MODE: u32 = 0o700;

/// Name of the advisory lock file in a directory under the lock.
pub const LOCK_FILE_NAME: &str = ".jetsam.lock";

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link; only listings tell, everything else follows links.
    Symlink,
    /// A socket, a pipe, a device.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: OsString,
    /// What it stands for; links are not followed.
    pub kind: FileKind,
    /// Length in bytes of a regular file, 0 for anything else.
    pub length: u64,
}

/// What is known of a file without opening it. Symbolic links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What it is; never [`FileKind::Symlink`].
    pub kind: FileKind,
    /// Length in bytes of a regular file, 0 for anything else.
    pub length: u64,
    /// Permission bits, where the system has them.
    pub mode: Option<u32>,
    /// Time of the last modification in nanoseconds since the Unix epoch, 0 if unknown.
    pub modified_ns: i64,
}

/// What a file or directory is, under whatever name and mount it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// Number of the device.
    pub device: u64,
    /// Number of the file on it.
    pub inode: u64,
}

/// A file open for reading at any offset, from any thread.
pub trait ReadFile: Send + Sync {
    /// The file's length in bytes at this moment.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn length(&self) -> Result<u64, IoError>;

    /// Reads into `buffer` from `offset` on and returns the number of bytes read, which is less than
    /// the buffer holds only where the file ends.
    ///
    /// # Errors
    ///
    /// Those of the file system; the buffer's content is then unspecified.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError>;
}

/// The bytes of a file, mapped into memory or, where that is impossible, copied.
///
/// # Caution
///
/// A mapping is a window on the file, not a copy. If another process shortens the file, touching a
/// page past its new end raises `SIGBUS`, which ends this process; if another process writes to it,
/// the bytes change under the reader. Map only what nobody else can be changing.
pub struct Mapping(MappedBytes);

enum MappedBytes {
    Mapped(memmap2::Mmap),
    Copied(Vec<u8>),
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            MappedBytes::Mapped(bytes) => bytes,
            MappedBytes::Copied(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}

/// An advisory lock, released when dropped.
pub struct LockGuard(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}

/// Files and directories, to look at: all that judging may ask for. What is given no more than this cannot write.
///
/// Links are followed except by [`list`](Self::list).
///
/// Every method fails with the file system's error, naming the operation and the path.
#[expect(clippy::missing_errors_doc, reason = "said once for all, above")]
pub trait ReadFiles: Send + Sync {
    /// The names in a directory, sorted by their bytes. A name that vanishes meanwhile is left out.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, IoError>;

    /// Kind, length and mode of a file or directory.
    fn metadata(&self, path: &Path) -> Result<Metadata, IoError>;

    /// Bytes that may still be written below a directory; `None` where the system does not tell.
    fn available_bytes(&self, dir: &Path) -> Result<Option<u64>, IoError>;

    /// A whole file of at most `max_length` bytes; a longer one fails as
    /// [`io::ErrorKind::FileTooLarge`] without being read to its end.
    fn read(&self, path: &Path, max_length: u64) -> Result<Vec<u8>, IoError>;

    /// Opens a file for reading.
    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError>;

    /// Maps a file for reading. To be used only when the caller was asked to; see [`Mapping`].
    fn map(&self, path: &Path) -> Result<Mapping, IoError>;

    /// Where a symbolic link leads, as it is written; what is no link fails as [`io::ErrorKind::InvalidInput`].
    fn read_link(&self, path: &Path) -> Result<PathBuf, IoError> {
        Err(IoError::new(
            Operation::Metadata,
            path,
            io::ErrorKind::Unsupported,
        ))
    }

    /// A path that exists, absolute and without links and dots. Where there are no links it is returned as it is.
    fn canonical(&self, path: &Path) -> Result<PathBuf, IoError> {
        self.metadata(path).map(|_| path.to_owned())
    }

    /// The identity of a file or directory, where the system has such a thing.
    fn identity(&self, path: &Path) -> Result<FileIdentity, IoError> {
        Err(IoError::new(
            Operation::Metadata,
            path,
            io::ErrorKind::Unsupported,
        ))
    }

    /// When anything about a file last changed, its name and its times included; in nanoseconds since the Unix epoch.
    /// Nobody can set it, unlike the time of modification, which stands in for it where the system has none.
    fn changed_ns(&self, path: &Path) -> Result<i64, IoError> {
        self.metadata(path).map(|metadata| metadata.modified_ns)
    }
}

/// A file open for writing, by its one writer, who is told its length once and moves it alone.
///
/// What is written is durable after [`sync`](Self::sync); the file's name after [`FileSystem::sync_dir`] on its directory.
/// After a failed call the file may hold any part of what was to be written, and the length is what was known before.
///
/// Every method fails with the file system's error, naming the operation and the path.
#[expect(clippy::missing_errors_doc, reason = "said once for all, above")]
pub trait AppendFile: Send + Sync {
    /// The file's length in bytes, as this writer has left it.
    fn length(&self) -> u64;

    /// Adds the slices, one behind the other, to the end of the file.
    fn append(&mut self, slices: &[&[u8]]) -> Result<(), IoError>;

    /// Writes `bytes` from `offset` on, which must not lie beyond the file's end; the file grows where they reach beyond it.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), IoError>;

    /// Cuts the file to `length` bytes, or extends it with zeros.
    fn set_length(&mut self, length: u64) -> Result<(), IoError>;

    /// Makes bytes and length durable.
    fn sync(&mut self) -> Result<(), IoError>;
}

/// Files and directories, to look at and to change.
///
/// Links are followed except by [`list`](ReadFiles::list). Unless said otherwise a change is durable only
/// after [`sync_file`](Self::sync_file) for bytes and [`sync_dir`](Self::sync_dir) for names. Files
/// and directories made by someone who may (the superuser) get the owner of the directory they are
/// made in, or of the file they replace, so that a server can still use them.
///
/// Every method fails with the file system's error, naming the operation and the path.
#[expect(clippy::missing_errors_doc, reason = "said once for all, above")]
pub trait FileSystem: ReadFiles {
    /// Opens a file for writing. One that is absent is created with mode `create`; without, it must exist.
    fn open_append(&self, path: &Path, create: Option<u32>)
    -> Result<Box<dyn AppendFile>, IoError>;

    /// Replaces or creates a file so that a crash at any point leaves the old content or the new:
    /// writes [`temporary_path`], syncs it, renames it, syncs the directory. On failure the
    /// temporary file is removed. Without a `mode` a replaced file's stays and a new file gets
    /// [`DEFAULT_FILE_MODE`].
    fn write_atomically(&self, path: &Path, bytes: &[u8], mode: Option<u32>)
    -> Result<(), IoError>;

    /// Empties a file, or creates it with [`DEFAULT_FILE_MODE`], and writes `bytes`.
    fn write_in_place(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError>;

    /// Adds `bytes` to the end of a file, which must exist.
    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError>;

    /// Cuts a file to `length` bytes, or extends it with zeros, and syncs it.
    fn truncate(&self, path: &Path, length: u64) -> Result<(), IoError>;

    /// Renames a file or directory; a file in the way is replaced.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> Result<(), IoError>;

    /// Removes a directory and all it holds.
    fn remove_dir_all(&self, dir: &Path) -> Result<(), IoError>;

    /// Creates a directory and what is missing above it, all with `mode`. One that exists is fine.
    fn create_dir_all(&self, dir: &Path, mode: u32) -> Result<(), IoError>;

    /// Makes a file's bytes and length durable.
    fn sync_file(&self, path: &Path) -> Result<(), IoError>;

    /// Makes the names in a directory durable. Does nothing where directories can not be synced.
    fn sync_dir(&self, dir: &Path) -> Result<(), IoError>;

    /// Sets a file's permission bits, where the system has them.
    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), IoError>;

    /// Gives a file or directory the owner, the group and the permission bits that `like` has, as far as there are such
    /// things and the caller may; whether anything changed. Without the right to give something away it stays ours.
    fn adopt(&self, path: &Path, like: &Path) -> Result<bool, IoError> {
        let wanted = self.metadata(like)?.mode;
        match wanted.filter(|_| self.metadata(path).is_ok_and(|found| found.mode != wanted)) {
            Some(mode) => self.set_mode(path, mode).map(|()| true),
            None => Ok(false),
        }
    }

    /// Sets a file's time of modification, in nanoseconds since the Unix epoch.
    fn set_modified(&self, path: &Path, time_ns: i64) -> Result<(), IoError>;

    /// Gives a file a second name, or copies it where the file system has no hard links. The new
    /// name must be free.
    ///
    /// After a link, changing the file in place changes it under both names: fit for keeping a file
    /// that is about to be replaced or removed, not for one about to be truncated or appended to.
    fn link_or_copy(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Copies a file with its mode and time of modification, and syncs the copy. The new name must
    /// be free.
    fn copy_file(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Takes the advisory lock of a directory by way of [`LOCK_FILE_NAME`] in it, which is made if
    /// absent and removed on release. Holders of the lock are kept apart; nobody else is.
    fn lock_exclusive(&self, dir: &Path) -> Result<LockGuard, LockError>;

    /// Copies a directory and all it holds to a new place, syncing everything.
    ///
    /// A link to a file is copied as the file it leads to; a link to a directory, a socket and the
    /// like fail as [`io::ErrorKind::Unsupported`], since leaving them out silently would make the
    /// copy something else.
    fn copy_tree(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mode = self.metadata(from)?.mode.unwrap_or(DEFAULT_DIR_MODE);
        let entries = self.list(from)?;
        self.create_dir_all(to, mode)?;
        for entry in entries {
            let (source, target) = (from.join(&entry.name), to.join(&entry.name));
            let kind = match entry.kind {
                FileKind::Symlink => self.metadata(&source)?.kind,
                kind => kind,
            };
            match (entry.kind, kind) {
                (_, FileKind::File) => self.copy_file(&source, &target)?,
                (FileKind::Dir, _) => self.copy_tree(&source, &target)?,
                _ => {
                    let kind = io::ErrorKind::Unsupported;
                    return Err(IoError::new(Operation::Copy, &source, kind));
                }
            }
        }
        self.sync_dir(to)
    }
}

/// The name under which [`FileSystem::write_atomically`] prepares `path`. No server reads or removes
/// such a file, and none of its own temporary files has this name.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".jetsam.tmp");
    PathBuf::from(name)
}

/// A path from the bytes another program wrote it in.
#[must_use]
pub fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        OsString::from_vec(bytes).into()
    }
    #[cfg(not(unix))]
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the Unix epoch, negative before it.
    fn now_ns(&self) -> i64;
}

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes.
    ///
    /// # Errors
    ///
    /// When the system has none to give.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), IoError>;
}

#[cfg(test)]
mod conformance;
