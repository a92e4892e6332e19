//! Looking at files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::{
    DirEntry, FileIdentity, FileKind, IoError, MappedBytes, Mapping, Metadata, Operation, ReadFile,
    ReadFiles,
};
use super::clock::nanoseconds;
use super::system::{changed_of, identity_of, mode_of, read_some_at};
use super::{At, OsFileSystem};

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

#[cfg(unix)]
fn available_bytes(dir: &Path) -> io::Result<Option<u64>> {
    let told = rustix::fs::statvfs(dir)?;
    Ok(Some(told.f_bavail.saturating_mul(told.f_frsize)))
}

#[cfg(not(unix))]
fn available_bytes(_dir: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

impl ReadFiles for OsFileSystem {
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

    fn available_bytes(&self, dir: &Path) -> Result<Option<u64>, IoError> {
        available_bytes(dir).at(Operation::Metadata, dir)
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
