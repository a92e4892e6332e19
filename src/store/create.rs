//! Making a store where there is none.

use std::path::Path;

use super::error::OpenError;
use super::open::{StoreOptions, sealing_of};
use crate::env::{Entropy, FileSystem, IoError, LOCK_FILE_NAME, temporary_path};
use crate::format::checksum::{HashKey, hex16};
use crate::format::duration::Instant;
use crate::format::names::{CONSUMERS, MESSAGES, META, META_KEY, META_SUM};
use crate::stream::writer::{StoreWriter, WriteError};

/// The most bytes that are read of a configuration, to see whether it is whole.
const META_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Whether there is a stream in a directory. What a creation that did not come to its end left behind is none: it is cleared away, and
/// holds no message.
pub(super) fn is_there(
    fs: &dyn FileSystem,
    dir: &Path,
    name: &str,
    creates: bool,
) -> Result<bool, OpenError> {
    if fs.metadata(&dir.join(META)).is_ok() && (is_whole(fs, dir, name) || !creates) {
        return Ok(true);
    }
    if creates && is_unfinished(fs, dir)? {
        clear(fs, dir)?;
        return Ok(false);
    }
    Ok(fs.metadata(&dir.join(META)).is_ok())
}

/// Whether the configuration is what its checksum, which is written last, says.
fn is_whole(fs: &dyn FileSystem, dir: &Path, name: &str) -> bool {
    let read = |file: &str| fs.read(&dir.join(file), META_MAX_BYTES);
    let (Ok(meta), Ok(sum)) = (read(META), read(META_SUM)) else {
        return false;
    };
    let hash_key = HashKey::for_stream(name.as_bytes());
    hex16(hash_key.hash64(&[&meta])).as_bytes() == sum.as_slice()
}

/// Whether a directory holds nothing but what is made before the first message.
fn is_unfinished(fs: &dyn FileSystem, dir: &Path) -> Result<bool, IoError> {
    let listed = match fs.list(dir) {
        Err(error) if error.is_not_found() => return Ok(false),
        listed => listed?,
    };
    let mut found_any = false;
    for entry in listed {
        let path = dir.join(&entry.name);
        let of_configuration = [META, META_SUM, META_KEY].iter().any(|file| {
            let file = dir.join(file);
            path == file || path == temporary_path(&file)
        });
        let is_empty_dir = path == dir.join(MESSAGES) || path == dir.join(CONSUMERS);
        let is_known = of_configuration
            || path == dir.join(LOCK_FILE_NAME)
            || is_empty_dir && fs.list(&path)?.is_empty();
        if !is_known {
            return Ok(false);
        }
        found_any = true;
    }
    Ok(found_any)
}

fn clear(fs: &dyn FileSystem, dir: &Path) -> Result<(), IoError> {
    for entry in fs.list(dir)? {
        let path = dir.join(&entry.name);
        if path == dir.join(MESSAGES) || path == dir.join(CONSUMERS) {
            fs.remove_dir_all(&path)?;
        } else {
            fs.remove_file(&path)?;
        }
    }
    Ok(())
}

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
    let writer = StoreWriter::create(fs, dir, name.as_bytes(), account, sealing, entropy);
    let writer = writer.map_err(failed)?;
    writer.meta(&config.encode()).map_err(failed)?;
    writer.finish().map_err(failed)
}
