//! Systems without modes and owners.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::super::FileIdentity;

pub(super) fn mode_of(_: &fs::Metadata) -> Option<u32> {
    None
}

pub(super) fn set_mode_of(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

pub(super) fn with_mode(options: &mut OpenOptions, _: u32) -> &mut OpenOptions {
    options
}

pub(super) fn make_dir(dir: &Path, _: u32) -> io::Result<()> {
    fs::create_dir(dir)
}

#[cfg(windows)]
pub(super) fn read_some_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

pub(super) fn identity_of(_: &fs::Metadata) -> Option<FileIdentity> {
    None
}

pub(super) fn changed_of(_: &fs::Metadata) -> Option<i64> {
    None
}

pub(super) fn is_same_file(_: &File, _: &Path) -> bool {
    true
}

pub(super) fn give_to_owner_of(_: &File, _: Option<&fs::Metadata>, _: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn adopt_owner_and_mode(_: &Path, _: &fs::Metadata) -> io::Result<bool> {
    Ok(false)
}
