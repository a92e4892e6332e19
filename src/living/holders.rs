//! Processes that hold files of a store open, whatever they are: programs that have a server inside, and anyone else who
//! would not like a block to change.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::process::Process;
use crate::env::{FileIdentity, FileKind, ReadFiles};

/// Directories between a store directory and the blocks of a stream or a raft group in it, with room to spare.
const MAX_DEPTH: usize = 8;

/// Who holds what, collected over all processes before blocks are compared.
pub(super) struct Holders<'a, 'p> {
    place: &'p Place<'a>,
    /// Blocks held under names elsewhere, by processes.
    elsewhere: Vec<(u32, FileIdentity)>,
}

impl<'a, 'p> Holders<'a, 'p> {
    pub(super) fn new(place: &'p Place<'a>) -> Self {
        Self {
            place,
            elsewhere: Vec::new(),
        }
    }

    /// Whether a process holds open a file in a `msgs` or `obs` directory of the place. What vanishes or may not be seen
    /// does not count.
    pub(super) fn look(&mut self, process: &Process<'_>) -> bool {
        let descriptors = process.dir.join("fd");
        let entries = process.fs.list(&descriptors).unwrap_or_default();
        for entry in entries {
            let descriptor = descriptors.join(&entry.name);
            let Ok(target) = process.fs.read_link(&descriptor) else {
                continue;
            };
            let target = without_mark(target);
            if !is_of_a_store(&target) {
                continue;
            }
            if self.place.holds(&target) {
                return true;
            }
            let seen = process.resolve(&target);
            if seen.is_ok_and(|seen| self.place.holds(&seen)) {
                return true;
            }
            if target.file_name().is_some_and(is_block)
                && let Ok(identity) = process.fs.identity(&descriptor)
            {
                self.elsewhere.push((process.pid, identity));
            }
        }
        false
    }

    /// The processes that hold a block of the place under a name elsewhere: by a link, or seen from another container.
    pub(super) fn by_identity(&self, fs: &dyn ReadFiles) -> Vec<u32> {
        if self.elsewhere.is_empty() {
            return Vec::new();
        }
        let mut blocks = HashSet::new();
        collect_blocks(fs, &self.place.path, MAX_DEPTH, &mut blocks);
        let held = self.elsewhere.iter();
        held.filter(|(_, identity)| blocks.contains(identity))
            .map(|(pid, _)| *pid)
            .collect()
    }
}

fn collect_blocks(
    fs: &dyn ReadFiles,
    directory: &Path,
    depth: usize,
    blocks: &mut HashSet<FileIdentity>,
) {
    for entry in fs.list(directory).unwrap_or_default() {
        let path = directory.join(&entry.name);
        match entry.kind {
            FileKind::Dir if depth > 0 => collect_blocks(fs, &path, depth - 1, blocks),
            FileKind::File if is_block(&entry.name) => {
                blocks.extend(fs.identity(&path));
            }
            _ => {}
        }
    }
}

/// The path without what the kernel adds to the name of a file that was removed.
fn without_mark(path: PathBuf) -> PathBuf {
    match path
        .as_os_str()
        .as_encoded_bytes()
        .strip_suffix(b" (deleted)")
    {
        Some(bytes) => crate::env::path_from_bytes(bytes.to_vec()),
        None => path,
    }
}

fn is_of_a_store(path: &Path) -> bool {
    let directory = path.parent().unwrap_or(Path::new(""));
    path.is_absolute()
        && (path.file_name().is_some_and(is_block)
            || directory.iter().any(|part| part == "msgs" || part == "obs"))
}

fn is_block(name: &OsStr) -> bool {
    Path::new(name).extension() == Some(OsStr::new("blk"))
}
