//! Signs of life in the files themselves: a server on another machine shows in nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::env::{FileKind, IoError, ReadFiles};

/// How the names of files and directories begin that this program keeps in a stream's directory.
const OWN: &[u8] = b".jetsam";
/// Directories below a stream's, with room to spare.
const MAX_DEPTH: usize = 8;

/// One file at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified_ns: i64,
    changed_ns: i64,
    inode: Option<u64>,
}

/// The sizes and times of all files below a directory at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    files: BTreeMap<PathBuf, Stamp>,
}

/// The first file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stir {
    /// The file, relative to the directory.
    pub file: PathBuf,
    /// What became of it.
    pub what: &'static str,
}

impl fmt::Display for Stir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file.display(), self.what)
    }
}

impl Pulse {
    /// Takes it. Files that this program keeps there do not count, nor do directories themselves.
    ///
    /// # Errors
    ///
    /// Those of the file system, but for files that vanish meanwhile.
    pub fn take(fs: &dyn ReadFiles, dir: &Path) -> Result<Self, IoError> {
        let mut files = BTreeMap::new();
        collect(fs, dir, Path::new(""), MAX_DEPTH, &mut files)?;
        Ok(Self { files })
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        let lengths = self.files.values().map(|stamp| stamp.length);
        lengths.fold(0, u64::saturating_add)
    }

    /// What is different in a later one.
    #[must_use]
    pub fn stirred(&self, later: &Pulse) -> Option<Stir> {
        let stir = |file: &Path, what| {
            Some(Stir {
                file: file.to_owned(),
                what,
            })
        };
        for (file, before) in &self.files {
            match later.files.get(file) {
                None => return stir(file, "has gone"),
                Some(after) if after.length != before.length => {
                    return stir(file, "has another length");
                }
                Some(after) if after.inode != before.inode => return stir(file, "was replaced"),
                Some(after) if after != before => return stir(file, "was written to"),
                Some(_) => {}
            }
        }
        let new = later
            .files
            .keys()
            .find(|file| !self.files.contains_key(*file))?;
        stir(new, "is new")
    }
}

fn collect(
    fs: &dyn ReadFiles,
    dir: &Path,
    below: &Path,
    depth: usize,
    files: &mut BTreeMap<PathBuf, Stamp>,
) -> Result<(), IoError> {
    for entry in fs.list(&dir.join(below))? {
        if entry.name.as_encoded_bytes().starts_with(OWN) {
            continue;
        }
        let name = below.join(&entry.name);
        let path = dir.join(&name);
        match entry.kind {
            FileKind::Dir if depth > 0 => match collect(fs, dir, &name, depth - 1, files) {
                Err(error) if error.kind == std::io::ErrorKind::NotFound => {}
                collected => collected?,
            },
            FileKind::File => {
                let (Ok(metadata), Ok(changed_ns)) = (fs.metadata(&path), fs.changed_ns(&path))
                else {
                    continue;
                };
                files.insert(
                    name,
                    Stamp {
                        length: metadata.length,
                        modified_ns: metadata.modified_ns,
                        changed_ns,
                        inode: fs.identity(&path).ok().map(|identity| identity.inode),
                    },
                );
            }
            _ => {}
        }
    }
    Ok(())
}
