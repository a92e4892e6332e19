//! Which directory holds the messages, where a purge was interrupted.

use std::path::Path;

use super::super::error::SalvageError;
use crate::crypto::KeyRing;
use crate::env::{DirEntry, ReadFiles};
use crate::format::names::{
    MESSAGES, PURGED_MESSAGES as PURGED, STAGED_MESSAGES as STAGED, block_number,
};
use crate::recovery::overtaken::PurgeFiles;
use crate::report::events::{Event, EventCode, Severity};

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
/// what it would replace: a server that knows nothing of it goes on storing in `msgs`, or begins anew there. Where there is nothing that it could
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
    let purge = PurgeFiles {
        fs,
        dir,
        name: name.as_bytes(),
        ring,
    };
    for entry in &marks {
        let number = block_number(entry.name.as_encoded_bytes());
        if let Some(purged) = number.and_then(|number| purge.marked(number)) {
            if let Some(newest) = purge.stored_since(purged) {
                let detail = format!(
                    "a purge up to sequence {purged} was not finished, and messages up to {newest} were stored since: the server \
                     would delete them all over it, here it is ignored"
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
    let none_else = purge.numbers(MESSAGES).is_empty() && purge.numbers(PURGED).is_empty();
    let holds_messages = |entry: &&&DirEntry| {
        let number = block_number(entry.name.as_encoded_bytes());
        let walked = number.and_then(|number| purge.walked(STAGED, number));
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
