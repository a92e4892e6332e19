//! The real file system, clock and randomness. The only file of the library that names `std::fs`.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the seam the ban points to"
)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    Clock, DEFAULT_FILE_MODE, DirEntry, Entropy, FileKind, FileSystem, IoError, LOCK_FILE_NAME,
    LockError, LockGuard, MappedBytes, Mapping, Metadata, Operation, ProcessInfo, ReadFile,
    temporary_path,
};

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFileSystem;

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsClock;

/// The operating system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

/// How often a lock is tried for when its file keeps being removed underneath.
const LOCK_ATTEMPTS: usize = 100;

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

    fn running_server(&self, dir: &Path) -> Option<ProcessInfo> {
        super::running_server(dir)
    }
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

impl Clock for OsClock {
    fn now_ns(&self) -> i64 {
        nanoseconds(SystemTime::now())
    }
}

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), IoError> {
        getrandom::fill(buffer).map_err(|error| IoError {
            operation: Operation::Random,
            path: PathBuf::from("the operating system"),
            kind: io::ErrorKind::Other,
            code: error.raw_os_error(),
        })
    }
}

/// Where a link leads, for looking at processes.
#[cfg(target_os = "linux")]
pub(super) fn read_link(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

/// A path without links and dots, for comparing.
#[cfg(target_os = "linux")]
pub(super) fn canonical(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

/// Device and number of the file a path leads to: the same under every name and mount.
#[cfg(target_os = "linux")]
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
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

/// Nanoseconds since the Unix epoch, held within what 64 bits can say (1677 to 2262).
fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, i64::wrapping_neg)
        }
    }
}

fn system_time(time_ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(time_ns.unsigned_abs());
    if time_ns < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

#[cfg(unix)]
mod system {
    use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
    use std::io;
    use std::os::unix::fs::{
        DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
    };
    use std::path::Path;

    pub(super) fn mode_of(metadata: &fs::Metadata) -> Option<u32> {
        Some(metadata.mode() & 0o7777)
    }

    pub(super) fn set_mode_of(file: &File, mode: u32) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(mode))
    }

    pub(super) fn with_mode(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
        options.mode(mode)
    }

    pub(super) fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(dir)
    }

    pub(super) fn read_some_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buffer, offset)
    }

    pub(super) fn is_same_file(file: &File, path: &Path) -> bool {
        match (file.metadata(), fs::symlink_metadata(path)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    /// Gives a new file the owner of the file it replaces or of the directory it is in. Without the
    /// right to do so it stays ours, as any new file would.
    pub(super) fn give_to_owner_of(
        file: &File,
        replaced: Option<&fs::Metadata>,
        path: &Path,
    ) -> io::Result<()> {
        let in_dir = match replaced {
            Some(_) => None,
            None => fs::metadata(super::parent_of(path)).ok(),
        };
        let Some(wanted) = replaced.or(in_dir.as_ref()) else {
            return Ok(());
        };
        let present = file.metadata()?;
        if (present.uid(), present.gid()) == (wanted.uid(), wanted.gid()) {
            return Ok(());
        }
        match fchown(file, Some(wanted.uid()), Some(wanted.gid())) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            changed => changed,
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::path::Path;

    pub(super) fn mode_of(_: &fs::Metadata) -> Option<u32> {
        None
    }

    pub(super) fn set_mode_of(_: &File, _: u32) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn with_mode(options: &mut OpenOptions, _: u32) -> &mut OpenOptions {
        options
    }

    pub(super) fn make_dir(dir: &Path, _: u32) -> io::Result<()> {
        fs::create_dir(dir)
    }

    #[cfg(windows)]
    pub(super) fn read_some_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
    }

    pub(super) fn is_same_file(_: &File, _: &Path) -> bool {
        true
    }

    pub(super) fn give_to_owner_of(_: &File, _: Option<&fs::Metadata>, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

use system::{
    give_to_owner_of, is_same_file, make_dir, mode_of, read_some_at, set_mode_of, with_mode,
};

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn links_are_listed_as_links_and_followed_otherwise() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        OsFileSystem.write_in_place(&at("file"), b"12345").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("loose")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let listed = OsFileSystem.list(root.path()).unwrap();
        let kinds: Vec<_> = listed
            .iter()
            .map(|entry| (entry.kind, entry.length))
            .collect();
        let link = (FileKind::Symlink, 0);
        assert_eq!(
            kinds,
            [(FileKind::File, 5), link, link, (FileKind::Other, 0)]
        );
        assert_eq!(OsFileSystem.metadata(&at("link")).unwrap().length, 5);
        assert!(
            OsFileSystem
                .metadata(&at("loose"))
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn copying_a_tree_follows_links_to_files_and_refuses_the_rest() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        OsFileSystem.create_dir_all(&from, 0o700).unwrap();
        OsFileSystem
            .write_in_place(&root.path().join("file"), b"far")
            .unwrap();
        symlink("../file", from.join("link")).unwrap();
        OsFileSystem.copy_tree(&from, &to).unwrap();
        let copied = OsFileSystem.list(&to).unwrap();
        assert_eq!((copied[0].kind, copied[0].length), (FileKind::File, 3));
        symlink("..", from.join("up")).unwrap();
        let error = OsFileSystem
            .copy_tree(&from, &root.path().join("again"))
            .unwrap_err();
        assert_eq!(
            (error.kind, error.path),
            (io::ErrorKind::Unsupported, from.join("up"))
        );
    }

    #[test]
    fn a_stale_temporary_file_is_cleared_and_never_written_through() {
        let root = tempfile::tempdir().unwrap();
        let (path, victim) = (root.path().join("file"), root.path().join("victim"));
        OsFileSystem.write_in_place(&victim, b"mine").unwrap();
        symlink(&victim, temporary_path(&path)).unwrap();
        OsFileSystem.write_atomically(&path, b"new", None).unwrap();
        assert_eq!(OsFileSystem.read(&victim, 10).unwrap(), b"mine");
        assert_eq!(OsFileSystem.read(&path, 10).unwrap(), b"new");
        assert_eq!(OsFileSystem.list(root.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_failed_atomic_write_removes_its_temporary_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("dir");
        OsFileSystem
            .create_dir_all(&path.join("full"), 0o700)
            .unwrap();
        let error = OsFileSystem
            .write_atomically(&path, b"x", None)
            .unwrap_err();
        assert_eq!(error.operation, Operation::WriteAtomically);
        assert_eq!(OsFileSystem.list(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn new_and_replaced_files_keep_the_owner_the_server_runs_as() {
        let root = tempfile::tempdir().unwrap();
        // Only the superuser can give files away, and only for the superuser it matters.
        if chown(root.path(), Some(12345), Some(23456)).is_err() {
            return;
        }
        let at = |name: &str| root.path().join(name);
        let owner = |name: &str| {
            let metadata = fs::metadata(at(name)).unwrap();
            (metadata.uid(), metadata.gid())
        };
        OsFileSystem
            .write_atomically(&at("fresh"), b"", None)
            .unwrap();
        OsFileSystem.write_in_place(&at("placed"), b"").unwrap();
        OsFileSystem.create_dir_all(&at("a/b"), 0o700).unwrap();
        chown(at("placed"), Some(1), Some(2)).unwrap();
        OsFileSystem.write_in_place(&at("placed"), b"x").unwrap();
        OsFileSystem
            .copy_file(&at("placed"), &at("copied"))
            .unwrap();
        assert_eq!(
            [owner("fresh"), owner("a"), owner("a/b")],
            [(12345, 23456); 3]
        );
        assert_eq!([owner("placed"), owner("copied")], [(1, 2); 2]);
        OsFileSystem
            .write_atomically(&at("placed"), b"y", None)
            .unwrap();
        assert_eq!(owner("placed"), (1, 2));
    }

    #[test]
    fn a_lock_file_left_by_a_crash_is_no_obstacle() {
        let root = tempfile::tempdir().unwrap();
        OsFileSystem
            .write_in_place(&root.path().join(LOCK_FILE_NAME), b"")
            .unwrap();
        let held = OsFileSystem.lock_exclusive(root.path()).unwrap();
        // A holder whose file was swapped keeps nobody from the new one, and does not remove it.
        fs::remove_file(root.path().join(LOCK_FILE_NAME)).unwrap();
        let other = OsFileSystem.lock_exclusive(root.path()).unwrap();
        drop(held);
        assert!(OsFileSystem.lock_exclusive(root.path()).is_err());
        drop(other);
        assert!(OsFileSystem.list(root.path()).unwrap().is_empty());
    }

    #[test]
    fn many_threads_never_hold_one_lock_together() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let root = tempfile::tempdir().unwrap();
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let Ok(held) = OsFileSystem.lock_exclusive(root.path()) else {
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }

    #[test]
    fn errors_name_operation_path_and_cause() {
        let error = OsFileSystem
            .read(Path::new("/nonexistent/file"), 1)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cannot open /nonexistent/file: "),
            "{text}"
        );
        assert!(text.contains("os error 2"), "{text}");
        let error = IoError::new(
            Operation::Append,
            Path::new("f"),
            io::ErrorKind::StorageFull,
        );
        assert_eq!(error.to_string(), "cannot append to f: no storage space");
    }

    #[test]
    fn the_clock_runs_and_random_bytes_differ() {
        // 2020 to 2262.
        assert!(OsClock.now_ns() > 1_577_836_800_000_000_000);
        let mut drawn = [[0; 32]; 2];
        drawn
            .iter_mut()
            .for_each(|bytes| OsEntropy.fill(bytes).unwrap());
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(nanoseconds(system_time(i64::MIN)), i64::MIN);
        assert_eq!(nanoseconds(system_time(i64::MAX)), i64::MAX);
    }
}
