//! The logs of a cluster's raft groups.

use std::path::Path;

use super::StreamDir;
use crate::env::{FileKind, IoError, ReadFiles};

/// The logs of raft groups at or below `path`, which a walk for streams passes over. `path` is anything such a walk takes.
/// They are encrypted like streams, under the same key, always with ChaCha and each under its own name, so a key cannot
/// change without them.
///
/// # Errors
///
/// [`IoError`] where a directory cannot be listed.
pub fn raft_groups(fs: &dyn ReadFiles, path: &Path) -> Result<Vec<StreamDir>, IoError> {
    let mut accounts = vec![path.to_owned()];
    for dir in [path.to_owned(), path.join("jetstream")] {
        accounts.extend(dirs_in(fs, &dir)?.into_iter().map(|name| dir.join(name)));
    }
    let mut found = Vec::new();
    for account in accounts {
        let groups = account.join("_js_");
        for name in dirs_in(fs, &groups)? {
            found.push(StreamDir {
                account: None,
                dir: groups.join(&name),
                name,
            });
        }
    }
    Ok(found)
}

/// Names of the directories in `dir`, in order; none where it is not there. Names that are not UTF-8 are none of the
/// server's.
pub(crate) fn dirs_in(fs: &dyn ReadFiles, dir: &Path) -> Result<Vec<String>, IoError> {
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) if error.kind == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let dirs = entries
        .into_iter()
        .filter(|entry| entry.kind == FileKind::Dir);
    Ok(dirs
        .filter_map(|entry| entry.name.into_string().ok())
        .collect())
}
