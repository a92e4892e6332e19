//! Replacing files that only make sense together.
//!
//! A key file and what it encrypts lie in two files, and no rename covers both. So the new files are
//! first written, whole and synced, under temporary names; then the first is renamed into place,
//! then the others. The names alone tell how far that got:
//!
//! - the first still has its temporary name: nothing has been replaced, and all temporary files
//!   can go;
//! - the first is in place and others are not: the old first file may be gone, so the only way is
//!   forward, and all it takes is renaming the others.
//!
//! For this the first is written before the others and, when temporary files are removed, removed
//! after them.

use std::path::{Path, PathBuf};

use super::paths::parent_of;
use crate::env::{FileKind, FileSystem, IoError, ReadFiles};

const FIRST: &str = ".first.jetsam.tmp";
const NEXT: &str = ".next.jetsam.tmp";
/// How all our temporary files end.
const TEMPORARY: &str = ".jetsam.tmp";

fn staged(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut staged = std::ffi::OsString::from(".");
    staged.push(name);
    staged.push(suffix);
    parent_of(path).join(staged)
}

/// A file to be put in place.
pub(crate) struct Member {
    /// Where.
    pub(crate) path: PathBuf,
    /// Its whole content.
    pub(crate) bytes: Vec<u8>,
}

/// Replaces or creates files of one directory together. Where it fails before the first is in place,
/// nothing has changed.
///
/// # Errors
///
/// Those of the file system.
pub(crate) fn replace(fs: &dyn FileSystem, members: &[Member]) -> Result<(), IoError> {
    let names: Vec<PathBuf> = members
        .iter()
        .enumerate()
        .map(|(at, member)| staged(&member.path, if at == 0 { FIRST } else { NEXT }))
        .collect();
    let Some(dir) = members.first().map(|member| parent_of(&member.path)) else {
        return Ok(());
    };
    let prepare = || {
        for (member, name) in members.iter().zip(&names) {
            let mode = match fs.metadata(&member.path) {
                Ok(metadata) => metadata.mode,
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            };
            fs.write_atomically(name, &member.bytes, mode)?;
        }
        match (names.first(), members.first()) {
            (Some(name), Some(member)) => fs.rename(name, &member.path),
            _ => Ok(()),
        }
    };
    if let Err(error) = prepare() {
        // The first error is the one worth reporting, and what stays behind is known by its name.
        let _ = discard(fs, dir);
        return Err(error);
    }
    if members.len() > 1 {
        // The others must not get there before the first, whatever order the disk prefers.
        fs.sync_dir(dir)?;
    }
    for (member, name) in members.iter().zip(&names).skip(1) {
        fs.rename(name, &member.path)?;
    }
    fs.sync_dir(dir)
}

/// Removes the temporary files of a directory. To be used only where nothing was replaced yet, or
/// where what was replaced is about to be brought back.
///
/// # Errors
///
/// Those of the file system; that the directory is missing is none.
pub(crate) fn discard(fs: &dyn FileSystem, dir: &Path) -> Result<(), IoError> {
    let names = temporary_files(fs, dir)?;
    let (first, others): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| name.ends_with(FIRST));
    for name in others.iter().chain(&first) {
        fs.remove_file(&dir.join(name))?;
    }
    if !names.is_empty() {
        fs.sync_dir(dir)?;
    }
    Ok(())
}

/// Finishes or discards a replacement that was interrupted, and returns the names it put in place.
///
/// # Errors
///
/// Those of the file system.
pub(crate) fn settle(fs: &dyn FileSystem, dir: &Path) -> Result<Vec<String>, IoError> {
    let names = temporary_files(fs, dir)?;
    let mut completed = Vec::new();
    if !names.iter().any(|name| name.ends_with(FIRST)) {
        for name in &names {
            let inner = name
                .strip_suffix(NEXT)
                .and_then(|name| name.strip_prefix('.'));
            if let Some(inner) = inner.filter(|inner| !inner.is_empty() && !inner.starts_with('.'))
            {
                fs.rename(&dir.join(name), &dir.join(inner))?;
                completed.push(inner.to_owned());
            }
        }
        if !completed.is_empty() {
            fs.sync_dir(dir)?;
        }
    }
    discard(fs, dir)?;
    Ok(completed)
}

fn temporary_files(fs: &dyn ReadFiles, dir: &Path) -> Result<Vec<String>, IoError> {
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries
        .into_iter()
        .filter(|entry| entry.kind == FileKind::File)
        .filter_map(|entry| entry.name.into_string().ok());
    Ok(names.filter(|name| name.ends_with(TEMPORARY)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::env::memory::{Fault, MemoryFileSystem};

    fn members() -> Vec<Member> {
        ["k", "b", "c"]
            .map(|name| Member {
                path: Path::new("/s").join(name),
                bytes: format!("new {name}").into_bytes(),
            })
            .into()
    }

    #[test]
    fn interrupted_anywhere_all_are_old_or_all_become_new() {
        let before =
            MemoryFileSystem::with_files([("/s/k", "old k"), ("/s/b", "old b"), ("/s/x", "x")]);
        let done = before.fork();
        replace(&done, &members()).unwrap();
        let expected: BTreeMap<PathBuf, Vec<u8>> = [
            ("/s/k", "new k"),
            ("/s/b", "new b"),
            ("/s/c", "new c"),
            ("/s/x", "x"),
        ]
        .map(|(path, bytes)| (PathBuf::from(path), bytes.into()))
        .into();
        assert_eq!(done.files(), expected);
        let mut forward = 0;
        for number in 0..done.calls().len() {
            for written in [None, Some(2)] {
                let fs = before.fork();
                fs.inject(Fault::Crash { number, written });
                replace(&fs, &members()).unwrap_err();
                for fs in fs.crash_images(number as u64, 3) {
                    // Settling may be interrupted as well.
                    let again = fs.fork();
                    settle(&again, Path::new("/s")).unwrap();
                    for second in 0..again.calls().len() {
                        let fs = fs.fork();
                        fs.inject(Fault::Crash {
                            number: second,
                            written: None,
                        });
                        let _ = settle(&fs, Path::new("/s"));
                        for fs in fs.crash_images(second as u64, 1) {
                            settle(&fs, Path::new("/s")).unwrap();
                            assert_eq!(fs.files(), again.files(), "{number} {second}");
                        }
                    }
                    if again.files() == expected {
                        forward += 1;
                    } else {
                        assert_eq!(again.files(), before.files(), "{number} {written:?}");
                    }
                }
            }
        }
        assert!(forward > 0);
    }

    #[test]
    fn a_failure_before_the_first_rename_leaves_nothing_behind() {
        let before = MemoryFileSystem::with_files([("/s/k", "old k")]);
        for number in 0..4 {
            let fs = before.fork();
            fs.inject(Fault::FailCall {
                number,
                kind: std::io::ErrorKind::StorageFull,
                written: Some(1),
            });
            replace(&fs, &members()).unwrap_err();
            assert_eq!(fs.files(), before.files());
        }
    }
}
