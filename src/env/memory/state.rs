//! What the twin remembers, and the changes to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Call, Fault};
use crate::env::{DEFAULT_FILE_MODE, IoError, Operation};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<PathBuf, Node>,
    /// Contents by number, so that two names can share one and an open file outlives its name.
    pub(super) files: Vec<Content>,
    pub(super) log: Vec<Call>,
    pub(super) faults: Vec<Fault>,
    pub(super) reads: HashMap<PathBuf, usize>,
    pub(super) locks: HashSet<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Dir { mode: u32 },
    File { number: usize },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    pub(super) modified_ns: i64,
}

impl State {
    #[expect(
        clippy::indexing_slicing,
        reason = "numbers come from `put` and are never withdrawn"
    )]
    pub(super) fn content(&self, number: usize) -> &Content {
        &self.files[number]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "numbers come from `put` and are never withdrawn"
    )]
    pub(super) fn content_mut(&mut self, number: usize) -> &mut Content {
        &mut self.files[number]
    }

    pub(super) fn make_dirs(&mut self, dir: &Path, mode: u32) {
        for dir in dir.ancestors() {
            if is_always_there(dir) {
                break;
            }
            self.nodes
                .entry(dir.to_owned())
                .or_insert(Node::Dir { mode });
        }
    }

    pub(super) fn is_dir(&self, dir: &Path) -> bool {
        is_always_there(dir) || matches!(self.nodes.get(dir), Some(Node::Dir { .. }))
    }

    pub(super) fn has_children(&self, dir: &Path) -> bool {
        self.nodes
            .keys()
            .any(|path| path != dir && path.starts_with(dir))
    }

    /// Makes a new content and names it `path`.
    pub(super) fn put(&mut self, path: &Path, bytes: Vec<u8>, mode: Option<u32>) {
        let mode = mode.unwrap_or(DEFAULT_FILE_MODE);
        let number = self.files.len();
        self.files.push(Content {
            bytes,
            mode,
            modified_ns: 0,
        });
        self.nodes.insert(path.to_owned(), Node::File { number });
    }

    pub(super) fn number_of(&self, operation: Operation, path: &Path) -> Result<usize, IoError> {
        match self.nodes.get(path) {
            Some(Node::File { number }) => Ok(*number),
            _ if self.is_dir(path) => {
                Err(IoError::new(operation, path, io::ErrorKind::IsADirectory))
            }
            _ => Err(IoError::new(operation, path, io::ErrorKind::NotFound)),
        }
    }

    /// Whether a file may be made here: the directory must exist, and a directory not be in the way.
    pub(super) fn check_place(&self, operation: Operation, path: &Path) -> Result<(), IoError> {
        if !self.is_dir(parent_of(path)) {
            return Err(IoError::new(operation, path, io::ErrorKind::NotFound));
        }
        if self.is_dir(path) {
            return Err(IoError::new(operation, path, io::ErrorKind::IsADirectory));
        }
        Ok(())
    }

    /// Counts a read of a file and lets the faults for it happen.
    pub(super) fn count_read(&mut self, path: &Path, number: usize) -> Result<(), IoError> {
        let count = self.reads.entry(path.to_owned()).or_default();
        let before = *count;
        *count += 1;
        let mut shrunk = None;
        for fault in &self.faults {
            match fault {
                Fault::FailRead {
                    path: failing,
                    after_reads,
                    kind,
                } if failing == path && *after_reads == before => {
                    return Err(IoError::new(Operation::Read, path, *kind));
                }
                Fault::Shrink {
                    path: shrinking,
                    after_reads,
                    length,
                } if shrinking == path && *after_reads == before => {
                    shrunk = Some(*length);
                }
                _ => {}
            }
        }
        if let Some(length) = shrunk {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            self.content_mut(number).bytes.truncate(length);
        }
        Ok(())
    }

    pub(super) fn write_atomically(
        &mut self,
        path: &Path,
        bytes: &[u8],
        mode: Option<u32>,
    ) -> Result<(), IoError> {
        self.check_place(Operation::WriteAtomically, path)?;
        let replaced = match self.nodes.get(path) {
            Some(Node::File { number }) => Some(self.content(*number).mode),
            _ => None,
        };
        self.put(path, bytes.to_vec(), mode.or(replaced));
        Ok(())
    }

    pub(super) fn write_in_place(&mut self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        self.check_place(Operation::WriteInPlace, path)?;
        match self.nodes.get(path) {
            Some(Node::File { number }) => self.content_mut(*number).bytes = bytes.to_vec(),
            _ => self.put(path, bytes.to_vec(), None),
        }
        Ok(())
    }

    pub(super) fn append(&mut self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let number = self.number_of(Operation::Append, path)?;
        self.content_mut(number).bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Checks the source and the free place of a link or copy, and returns the content's number.
    pub(super) fn two_names(
        &self,
        operation: Operation,
        from: &Path,
        to: &Path,
    ) -> Result<usize, IoError> {
        let number = self.number_of(operation, from)?;
        if self.nodes.contains_key(to) || is_always_there(to) {
            return Err(IoError::new(operation, to, io::ErrorKind::AlreadyExists));
        }
        self.check_place(operation, to)?;
        Ok(number)
    }
}

/// The root and the working directory need no making.
pub(super) fn is_always_there(dir: &Path) -> bool {
    dir.as_os_str().is_empty() || dir.parent().is_none()
}

pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}
