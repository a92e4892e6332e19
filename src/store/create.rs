//! Making a store where there is none.

use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::open::{StoreOptions, sealing_of};
use crate::env::{Entropy, FileSystem, IoError};
use crate::format::duration::Instant;
use crate::stream::writer::{StoreWriter, WriteError};

/// Makes a stream with the configuration of the options, and without a message.
pub(super) fn create(
    fs: &dyn FileSystem,
    entropy: &dyn Entropy,
    dir: &Path,
    account: &[u8],
    options: &StoreOptions,
) -> Result<(), OpenError> {
    let sealing = sealing_of(&options.keys);
    let created = Instant::from_unix_ns(options.now_ns);
    let config = options.config.with_created(created);
    let name = config.name.clone();
    let config = config
        .settings()
        .map_err(|error| OpenError::Config(error.to_string()))?;
    let failed = |error: WriteError| match error {
        WriteError::Io(error) => OpenError::Io(error),
        other => OpenError::Config(other.to_string()),
    };
    if dir.file_name().is_none() {
        let reason = format!("{} is no directory to make", dir.display());
        return Err(OpenError::Config(reason));
    }
    match fs.list(dir) {
        Ok(entries) if !entries.is_empty() => {
            return Err(failed(WriteError::NotEmpty(dir.to_owned())));
        }
        Err(error) if !error.is_not_found() => return Err(OpenError::Io(error)),
        _ => {}
    }
    // A directory that is half made would be neither a stream nor a place for one: it gets its name once it is whole.
    let staged = staging_dir(dir, ".jetsam.made");
    remove_dir(fs, &staged)?;
    let made = StoreWriter::create(fs, &staged, name.as_bytes(), account, sealing, entropy)
        .and_then(|writer| {
            writer.meta(&config.encode())?;
            writer.finish()
        })
        .map_err(failed)
        .and_then(|()| Ok(put_in_place(fs, &staged, dir)?));
    if made.is_err() {
        // The first failure is what is told; the next try takes away what is left.
        let _ = remove_dir(fs, &staged);
    }
    made
}

/// A directory beside `dir`, for what is to become it.
pub(super) fn staging_dir(dir: &Path, suffix: &str) -> PathBuf {
    let mut staged = std::ffi::OsString::from(".");
    staged.push(dir.file_name().unwrap_or_default());
    staged.push(suffix);
    dir.with_file_name(staged)
}

pub(super) fn remove_dir(fs: &dyn FileSystem, dir: &Path) -> Result<(), IoError> {
    match fs.remove_dir_all(dir) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    }
}

/// Gives a directory that is whole and durable its name, durably. `dir` is empty, if it is there. Where only the last of it fails, the
/// directory has its name, and keeps it for all that is known.
pub(super) fn put_in_place(fs: &dyn FileSystem, staged: &Path, dir: &Path) -> Result<(), IoError> {
    // A directory that is there cannot be renamed to everywhere.
    remove_dir(fs, dir)?;
    fs.rename(staged, dir)?;
    let above = dir
        .parent()
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs.sync_dir(above)
}
