//! Making the changes that a judgement asks for.
//!
//! Three properties hold, whatever stops the work and wherever:
//!
//! - Files that are written anew are never torn: each is written whole under a temporary name and
//!   renamed. Key files are renamed together with what they encrypt, such that a crash in between
//!   leaves the old pair or can be finished from the names alone (see the `staging` module), which
//!   [`finish_interrupted`] does. The server writes these one after the other and loses the block
//!   when it dies in between. Only cutting and appending happen in place: the first is one step,
//!   and an append cut short ends in a record that does not verify, which is judged again.
//! - With a [`Recorder`], nothing is lost: what a change alters is put aside, durably, before. An
//!   error and a request to stop bring everything back at once, a crash leaves it to `undo`.
//! - Nothing outside the stream directory is touched, and no symbolic link is followed.
//!
//! Unlike the server's, our `index.db` is replaced by renaming too.

mod content;
mod error;
mod keys;
mod perform;

use std::path::Path;

use crate::env::{Entropy, FileSystem};
use crate::format::names::CONSUMERS;
use crate::recovery::undo::{self, AreaState, Recorder, UndoError, UndoReport, staging};
use crate::report::actions::Change;
pub use error::{ApplyCause, ApplyError, RollBack};
pub use keys::ApplyKeys;
use perform::Performer;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// How many changes were made or found made.
    pub change_count: usize,
    /// Bytes written to the store's files; what was put aside is not counted.
    pub written_bytes: u64,
}

/// Makes `changes` to the stream directory `dir`, in order. The caller holds the directory's lock.
///
/// `should_stop` is asked between changes; answering yes is an error like any other.
///
/// # Errors
///
/// [`ApplyError`], with the change that failed. With `undo`, the changes before it have been taken
/// back unless the error says that this failed too.
pub fn apply(
    fs: &dyn FileSystem,
    dir: &Path,
    changes: &[Change],
    keys: &ApplyKeys<'_>,
    entropy: &dyn Entropy,
    undo: Option<&mut Recorder<'_>>,
    should_stop: &dyn Fn() -> bool,
) -> Result<Applied, ApplyError> {
    let mut performer = Performer::new(fs, dir, keys, entropy, undo);
    let done = perform_all(&mut performer, changes, should_stop);
    let Err((change, failure)) = done else {
        let (change_count, written_bytes) = (changes.len(), performer.written_bytes);
        return Ok(Applied {
            change_count,
            written_bytes,
        });
    };
    let roll_back = match performer.undo {
        None => RollBack::NotRecorded,
        Some(recorder) => match recorder.roll_back() {
            Ok(report) => RollBack::Done(Box::new(report)),
            Err(error) => RollBack::Failed(Box::new(error)),
        },
    };
    Err(ApplyError {
        change,
        path: failure.path,
        cause: failure.cause,
        roll_back,
    })
}

/// Why a change failed, and at which file.
struct Failure {
    path: String,
    cause: ApplyCause,
}

fn perform_all(
    performer: &mut Performer<'_, '_, '_>,
    changes: &[Change],
    should_stop: &dyn Fn() -> bool,
) -> Result<(), (usize, Failure)> {
    let mut at = 0;
    while let Some(rest) = changes.get(at..).filter(|rest| !rest.is_empty()) {
        if should_stop() {
            return Err((
                at,
                Failure {
                    path: String::new(),
                    cause: ApplyCause::Stopped,
                },
            ));
        }
        at += performer.next(rest).map_err(|failure| (at, failure))?;
    }
    match &mut performer.undo {
        Some(recorder) => recorder.finish().map_err(|error| {
            (
                changes.len(),
                Failure {
                    path: undo::AREA.to_owned(),
                    cause: error.into(),
                },
            )
        }),
        None => Ok(()),
    }
}

/// What an earlier, interrupted recovery had left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interrupted {
    /// Nothing.
    Nothing,
    /// It was taken back with what it had put aside, or an interrupted undo was finished.
    RolledBack(UndoReport),
    /// It had put nothing aside, and these files, relative to the stream directory, had still to be
    /// put in place beside others.
    Completed(Vec<String>),
}

/// Brings a stream directory out of the middle of an interrupted recovery or undo, and removes
/// temporary files. To be called, under the directory's lock, before a store is judged for recovery.
///
/// # Errors
///
/// [`UndoError`].
pub fn finish_interrupted(fs: &dyn FileSystem, dir: &Path) -> Result<Interrupted, UndoError> {
    if undo::area_state(fs, dir)? == AreaState::Interrupted {
        return undo::undo(fs, dir).map(Interrupted::RolledBack);
    }
    let mut guard = undo::paths::Guard::new(fs, dir);
    let mut places = vec![String::new(), "msgs/".to_owned()];
    let consumers = match fs.list(&guard.follow(CONSUMERS)?) {
        Ok(entries) => entries,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let names = consumers
        .into_iter()
        .filter(|entry| entry.kind == crate::env::FileKind::Dir);
    places.extend(names.filter_map(|entry| Some(format!("obs/{}/", entry.name.to_str()?))));
    let mut completed = Vec::new();
    for place in places {
        let path = match place.strip_suffix('/') {
            Some(relative) => guard.follow(relative)?,
            None => dir.to_owned(),
        };
        let names = staging::settle(fs, &path)?;
        completed.extend(names.into_iter().map(|name| format!("{place}{name}")));
    }
    Ok(match completed.is_empty() {
        true => Interrupted::Nothing,
        false => Interrupted::Completed(completed),
    })
}

#[cfg(test)]
mod tests;
