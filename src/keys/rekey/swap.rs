//! Where the new directory is built, and how it takes the place of the old.
//!
//! What an interrupted call left is told from the names alone; the journal is for people, and remembers whether the
//! old directory is to be kept.
//!
//! | stream | new | old | state |
//! |---|---|---|---|
//! | there | there or not | absent | nothing happened yet: the new one is thrown away |
//! | absent | there | there | between the two renames: the new one is put in place, or the old one back |
//! | absent | absent | there | someone removed the new one: the old one goes back |
//! | there | absent | there | swapped: the old one goes |
//! | there | there | there | a server made a new stream in between: nothing is touched |

use std::path::{Path, PathBuf};

use super::RekeyError;
use crate::env::{DEFAULT_DIR_MODE, FileKind, FileSystem, IoError, ReadFiles, temporary_path};
use crate::stream::{REKEY_DIR, StreamDir, dirs_in};

/// Within it, the logs of raft groups; no stream's name begins with a dot.
const GROUPS: &str = ".groups/_js_";
/// A journal is a line.
const JOURNAL_MAX: u64 = 1 << 16;

/// The paths of one stream's rekeying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The directory that `streams` lies in.
    pub account_dir: PathBuf,
    /// The stream.
    stream: PathBuf,
    work: PathBuf,
    /// The new directory while it is built.
    pub staged: PathBuf,
    old: PathBuf,
    journal: PathBuf,
}

/// What was found of an earlier call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swapped {
    /// Nothing, or nothing that matters.
    Nothing,
    /// Its swap was finished.
    Finished,
    /// Its swap was taken back, since it was to another key.
    TakenBack,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Journal {
    jetsam_rekey: u32,
    stream: String,
    keep_old: bool,
}

impl Place {
    pub(super) fn of(stream: &Path) -> Result<Self, RekeyError> {
        let no_place = || RekeyError::NoPlace(stream.to_owned());
        let above = stream.parent().ok_or_else(no_place)?;
        let name = stream.file_name().ok_or_else(no_place)?;
        let is_group = above.file_name().is_some_and(|name| name == "_js_");
        let is_stream = above.file_name().is_some_and(|name| name == "streams");
        let account_dir = match above.parent() {
            Some(account_dir) if is_group || is_stream => account_dir,
            _ => above,
        };
        let mut work = account_dir.join(REKEY_DIR);
        if is_group {
            work.push(GROUPS);
        }
        let beside = |suffix: &str| {
            let mut name = name.to_owned();
            name.push(suffix);
            work.join(name)
        };
        Ok(Place {
            account_dir: account_dir.to_owned(),
            stream: stream.to_owned(),
            staged: work.join(name),
            old: beside(".old"),
            journal: beside(".json"),
            work,
        })
    }

    /// Brings what an earlier call left to one end or the other. `is_done` tells whether a directory is under the key
    /// asked for now.
    pub(super) fn settle(
        &self,
        fs: &dyn FileSystem,
        is_done: &dyn Fn(&Path) -> Result<bool, RekeyError>,
    ) -> Result<Swapped, RekeyError> {
        let stream = is_dir(fs, &self.stream)?;
        let staged = is_dir(fs, &self.staged)?;
        let old = is_dir(fs, &self.old)?;
        match (stream, staged, old) {
            (true, true, true) => Err(RekeyError::TwoStreams {
                old: self.old.clone(),
            }),
            (true, false, true) => {
                self.dispose(fs, self.keeps_old(fs))?;
                Ok(Swapped::Finished)
            }
            (false, true, true) if is_done(&self.staged)? => {
                self.put_in_place(fs)?;
                self.dispose(fs, self.keeps_old(fs))?;
                Ok(Swapped::Finished)
            }
            (false, _, true) => {
                fs.rename(&self.old, &self.stream)?;
                self.sync_both(fs)?;
                self.discard(fs)?;
                Ok(Swapped::TakenBack)
            }
            (_, true, false) => {
                self.discard(fs)?;
                Ok(Swapped::Nothing)
            }
            (_, false, false) => Ok(Swapped::Nothing),
        }
    }

    /// Makes the directory to work in.
    pub(super) fn prepare(&self, fs: &dyn FileSystem) -> Result<(), RekeyError> {
        fs.create_dir_all(&self.work, DEFAULT_DIR_MODE)?;
        Ok(())
    }

    /// Throws the new directory away.
    pub(super) fn discard(&self, fs: &dyn FileSystem) -> Result<(), RekeyError> {
        if is_dir(fs, &self.staged)? {
            fs.remove_dir_all(&self.staged)?;
        }
        self.clean_up(fs)
    }

    /// Puts the new directory, which is whole and durable, in the place of the old. Says where the old one is kept.
    pub(super) fn swap(
        &self,
        fs: &dyn FileSystem,
        keep_old: bool,
    ) -> Result<Option<PathBuf>, RekeyError> {
        let journal = Journal {
            jetsam_rekey: 1,
            stream: self.stream.display().to_string(),
            keep_old,
        };
        let text = serde_json::to_vec(&journal).unwrap_or_default();
        fs.write_atomically(&self.journal, &text, None)?;
        // The names that lead to the new directory must not be lost while the old one moves.
        for dir in self.work.ancestors() {
            fs.sync_dir(dir)?;
            if dir == self.account_dir {
                break;
            }
        }
        fs.rename(&self.stream, &self.old)?;
        self.sync_both(fs)?;
        self.put_in_place(fs)?;
        self.dispose(fs, keep_old)
    }

    fn put_in_place(&self, fs: &dyn FileSystem) -> Result<(), RekeyError> {
        fs.rename(&self.staged, &self.stream)?;
        self.sync_both(fs)?;
        Ok(())
    }

    /// Removes the old directory, or puts it where no later call takes it for its own.
    fn dispose(&self, fs: &dyn FileSystem, keep: bool) -> Result<Option<PathBuf>, RekeyError> {
        let mut kept = None;
        if keep {
            let mut number = 1_u32;
            let free = loop {
                let mut name = self.old.clone().into_os_string();
                name.push(format!(".{number}"));
                if !is_dir(fs, Path::new(&name))? {
                    break PathBuf::from(name);
                }
                number += 1;
            };
            fs.rename(&self.old, &free)?;
            kept = Some(free);
        } else {
            fs.remove_dir_all(&self.old)?;
        }
        fs.sync_dir(&self.work)?;
        self.clean_up(fs)?;
        Ok(kept)
    }

    /// Removes the journal, and the directory worked in where nothing is left in it.
    pub(super) fn clean_up(&self, fs: &dyn FileSystem) -> Result<(), RekeyError> {
        for file in [&self.journal, &temporary_path(&self.journal)] {
            match fs.remove_file(file) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        for dir in self.work.ancestors() {
            if dir == self.account_dir {
                break;
            }
            match fs.list(dir) {
                Ok(entries) if entries.is_empty() => fs.remove_dir_all(dir)?,
                Ok(_) => break,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        fs.sync_dir(&self.account_dir)?;
        Ok(())
    }

    fn keeps_old(&self, fs: &dyn ReadFiles) -> bool {
        let text = fs.read(&self.journal, JOURNAL_MAX).unwrap_or_default();
        serde_json::from_slice(&text).is_ok_and(|journal: Journal| journal.keep_old)
    }

    fn sync_both(&self, fs: &dyn FileSystem) -> Result<(), IoError> {
        fs.sync_dir(self.stream.parent().unwrap_or_else(|| Path::new("")))?;
        fs.sync_dir(&self.work)
    }
}

fn is_dir(fs: &dyn ReadFiles, path: &Path) -> Result<bool, IoError> {
    match fs.metadata(path) {
        Ok(metadata) => Ok(metadata.kind == FileKind::Dir),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Streams at or below `path` that an interrupted rekeying has left without their directory, so that no walk finds them.
/// `path` is anything a walk takes; it need not be there itself.
///
/// # Errors
///
/// [`IoError`] where a directory cannot be listed.
pub fn interrupted(fs: &dyn ReadFiles, path: &Path) -> Result<Vec<StreamDir>, IoError> {
    let mut found = Vec::new();
    let mut account_dirs = vec![path.to_owned()];
    for dir in [path.to_owned(), path.join("jetstream")] {
        account_dirs.extend(dirs_in(fs, &dir)?.into_iter().map(|name| dir.join(name)));
    }
    account_dirs.extend(path.ancestors().skip(1).take(2).map(Path::to_owned));
    account_dirs.sort();
    account_dirs.dedup();
    for account_dir in account_dirs {
        let work = account_dir.join(REKEY_DIR);
        for (work, home) in [(work.join(GROUPS), "_js_"), (work, "streams")] {
            for old in dirs_in(fs, &work)? {
                let Some(name) = old.strip_suffix(".old") else {
                    continue;
                };
                // A stream directory on its own is not in `streams`.
                let among = account_dir.join(home);
                let is_account = is_dir(fs, &among)?;
                let dir = match is_account {
                    true => among.join(name),
                    false => account_dir.join(name),
                };
                let wanted = dir.starts_with(path) || path.starts_with(&dir);
                if wanted && !is_dir(fs, &dir)? {
                    let account = account_dir.file_name().filter(|_| is_account);
                    found.push(StreamDir {
                        account: account.map(|name| name.to_string_lossy().into_owned()),
                        name: name.to_owned(),
                        dir,
                    });
                }
            }
        }
    }
    Ok(found)
}
