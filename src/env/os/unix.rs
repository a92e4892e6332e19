//! Modes, owners and the identity of files, where there are such things.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::Path;

use super::super::FileIdentity;

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

#[expect(clippy::unnecessary_wraps, reason = "elsewhere files have no identity")]
pub(super) fn identity_of(metadata: &fs::Metadata) -> Option<FileIdentity> {
    Some(FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

pub(super) fn changed_of(metadata: &fs::Metadata) -> Option<i64> {
    metadata
        .ctime()
        .checked_mul(1_000_000_000)?
        .checked_add(metadata.ctime_nsec())
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

/// Gives a file or directory owner, group and mode of another; whether anything changed. What the caller has no right to
/// give away stays ours: a member of the group may still hand the file to it.
pub(super) fn adopt_owner_and_mode(path: &Path, wanted: &fs::Metadata) -> io::Result<bool> {
    let file = File::open(path)?;
    let present = file.metadata()?;
    let mut changed = false;
    if (present.uid(), present.gid()) != (wanted.uid(), wanted.gid()) {
        let both = fchown(&file, Some(wanted.uid()), Some(wanted.gid()));
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let given = match both {
            Err(error) if denied(&error) => fchown(&file, None, Some(wanted.gid())),
            given => given,
        };
        match given {
            Ok(()) => changed = true,
            Err(error) if denied(&error) => {}
            Err(error) => return Err(error),
        }
    }
    // A change of owner may have taken bits away.
    if file.metadata()?.mode() & 0o7777 != wanted.mode() & 0o7777 {
        file.set_permissions(Permissions::from_mode(wanted.mode() & 0o7777))?;
        changed = true;
    }
    Ok(changed)
}
