//! Which directory holds the messages, where a purge was interrupted.

use std::path::Path;

use super::super::error::SalvageError;
use crate::block::content;
use crate::block::walk::{Known, Walked, walk};
use crate::crypto::{KEY_FILE_MAX, KeyRing, block_context};
use crate::env::{DirEntry, ReadFiles};
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::names::{
    BlockFile, MESSAGES, PURGED_MESSAGES as PURGED, STAGED_MESSAGES as STAGED, block_number,
};
use crate::format::record::Run;
use crate::report::events::{Event, EventCode, Severity};

/// The block that a purge stages holds one tombstone; whatever is longer than this was not left by one.
const STAGED_BLOCK_MAX: u64 = 64 << 20;
/// Blocks of `msgs`, from the end, that are looked at for the last sequence.
const BLOCKS_LOOKED_AT: usize = 4;

/// Lists a directory; nothing where it is not there.
pub(super) fn list(fs: &dyn ReadFiles, dir: &Path) -> Result<Option<Vec<DirEntry>>, SalvageError> {
    match fs.list(dir) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The directory the messages are to be taken from, relative to the stream's.
///
/// The server takes any file ending in `.blk` below `__new_msgs__` for the sign that a purge was under way, and deletes
/// `msgs`. Here the staged block has to be one that a purge leaves: every record in it verifies. And it has to be younger than
/// what it would replace: a server that knows nothing of it goes on storing in `msgs`. Where there is nothing that it could
/// replace, messages that verify in it are taken from there, whatever else it holds: a server does the same.
pub(super) fn messages_dir(
    fs: &dyn ReadFiles,
    dir: &Path,
    name: &str,
    ring: KeyRing<'_>,
    events: &mut Vec<Event>,
) -> Result<&'static str, SalvageError> {
    let has_messages = list(fs, &dir.join(MESSAGES))?.is_some();
    let mut note = |severity, code, file: &str, detail: String| {
        events.push(Event::new(code, detail).severity(severity).file(file));
    };
    let staged = list(fs, &dir.join(STAGED))?.unwrap_or_default();
    let marks: Vec<&DirEntry> = staged
        .iter()
        .filter(|entry| entry.name.as_encoded_bytes().ends_with(b".blk"))
        .collect();
    for entry in &marks {
        let number = block_number(entry.name.as_encoded_bytes());
        let staged = number.and_then(|number| last_of(fs, dir, STAGED, name, ring, number));
        if let Some(purged) = staged {
            let newest = newest_of(fs, dir, name, ring)?;
            if newest > Some(purged) {
                let detail = format!(
                    "a purge up to sequence {purged} was not finished, and messages up to {} were stored since: the server would \
                     delete them all over it, here it is ignored",
                    newest.unwrap_or(0)
                );
                note(Severity::Warn, EventCode::PurgeRolledBack, STAGED, detail);
                return Ok(MESSAGES);
            }
            let detail =
                "a purge was under way, and its marker is sound: what it purged is left out"
                    .to_owned();
            note(Severity::Info, EventCode::PurgeCompleted, STAGED, detail);
            return Ok(STAGED);
        }
    }
    let none_else = !holds_block(fs, &dir.join(MESSAGES))? && !holds_block(fs, &dir.join(PURGED))?;
    let holds_messages = |entry: &&&DirEntry| {
        let number = block_number(entry.name.as_encoded_bytes());
        let walked = number.and_then(|number| walked(fs, dir, STAGED, name, ring, number));
        walked.is_some_and(|walked| walked.messages > 0)
    };
    if none_else && let Some(entry) = marks.iter().find(holds_messages) {
        let detail = format!(
            "{:?} is no block that a purge leaves, but holds messages, and there is no other: they are taken from it",
            entry.name.to_string_lossy()
        );
        note(Severity::Warn, EventCode::PurgeCompleted, STAGED, detail);
        return Ok(STAGED);
    }
    if let Some(entry) = marks.first() {
        let detail = format!(
            "{:?} is no block that a purge leaves; the server would delete all messages over it, here it is ignored",
            entry.name.to_string_lossy()
        );
        note(Severity::Warn, EventCode::PurgeRolledBack, STAGED, detail);
    }
    if !has_messages && list(fs, &dir.join(PURGED))?.is_some() {
        let detail =
            "msgs is gone; the messages are taken from what a purge had put aside".to_owned();
        note(Severity::Warn, EventCode::PurgeRolledBack, PURGED, detail);
        return Ok(PURGED);
    }
    Ok(MESSAGES)
}

/// Whether a directory holds a block.
fn holds_block(fs: &dyn ReadFiles, dir: &Path) -> Result<bool, SalvageError> {
    let entries = list(fs, dir)?.unwrap_or_default();
    let mut numbers = entries
        .iter()
        .filter_map(|entry| block_number(entry.name.as_encoded_bytes()));
    Ok(numbers.next().is_some())
}

/// The highest sequence in the last block of `msgs` that can be read to its end.
fn newest_of(
    fs: &dyn ReadFiles,
    dir: &Path,
    name: &str,
    ring: KeyRing<'_>,
) -> Result<Option<u64>, SalvageError> {
    let entries = list(fs, &dir.join(MESSAGES))?.unwrap_or_default();
    let numbers = entries
        .iter()
        .filter_map(|entry| block_number(entry.name.as_encoded_bytes()));
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    let mut newest = numbers.iter().rev().take(BLOCKS_LOOKED_AT);
    Ok(newest.find_map(|number| last_of(fs, dir, MESSAGES, name, ring, *number)))
}

/// The highest sequence that a block speaks of, where every record in it verifies.
fn last_of(
    fs: &dyn ReadFiles,
    dir: &Path,
    below: &str,
    name: &str,
    ring: KeyRing<'_>,
    number: u32,
) -> Option<u64> {
    let walked = walked(fs, dir, below, name, ring, number)?;
    if walked.fault.is_some() || walked.checksum.is_none() {
        return None;
    }
    let tombstones = walked.tombstones.iter().map(|seq| seq & SEQUENCE_MAX);
    Some(tombstones.max().unwrap_or(0).max(walked.last_seq))
}

/// What the walk of a block comes to, up to the first damage in it; `None` where its content cannot be had.
fn walked(
    fs: &dyn ReadFiles,
    dir: &Path,
    below: &str,
    name: &str,
    ring: KeyRing<'_>,
    number: u32,
) -> Option<Walked> {
    let below = dir.join(below);
    let block = below.join(BlockFile::Block.name(number));
    let mut bytes = fs.read(&block, STAGED_BLOCK_MAX).ok()?;
    let hash_key = HashKey::for_block(name.as_bytes(), number);
    let key = fs.read(&below.join(BlockFile::Key.name(number)), KEY_FILE_MAX);
    let cipher = match key {
        Ok(key) => {
            let opened = ring.open_mended(&key, &block_context(name.as_bytes(), number));
            let (opened, _) = opened.ok()?;
            Some(opened.block_cipher())
        }
        Err(_) => None,
    };
    content::decode(&mut bytes, &mut Vec::new(), cipher.as_ref(), &hash_key).ok()?;
    let known = Known::default();
    Some(walk(&bytes, &hash_key, known, &mut Run::new(), &mut ()))
}
