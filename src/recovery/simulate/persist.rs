//! From the simulation back to files: the net changes, in an order that survives a crash between any two.

use super::overlay::PendingFile;
use super::{KeyVerdict, Simulation, block_path, key_path};
use crate::crypto::{block_context, stream_context};
use crate::format::names::{
    EXPIRIES_PATH, MESSAGES, META, META_KEY, SCHEDULES_PATH, SOURCES, STATE_PATH,
};
use crate::format::state::StateFile;
use crate::recovery::fault::Fault;
use crate::recovery::index::{totals_agree, totals_over};
use crate::recovery::server::Quirk;
use crate::report::actions::{ActionKind, Change, Piece};
use crate::report::events::{Event, EventCode};
use crate::state::{Unsound, index_file_of};

/// Deleted sets are written in nodes of 2,048 sequences; a set that would take more bytes than this
/// is not written at all, and the index with it.
const DELETED_SET_MAX: u64 = 1 << 30;

impl Simulation<'_> {
    /// Everything that has to happen on disk, in order.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the index cannot be put together because a block cannot be read.
    pub fn changes(&mut self) -> Result<Vec<Change>, Fault> {
        if !self.wants_changes {
            // What is said of them is the same.
            self.index_changes()?;
            self.legacy_changes(&mut Vec::new());
            return Ok(Vec::new());
        }
        let mut changes = std::mem::take(&mut self.overlay.staging);
        let index = self.index_changes()?;
        let files: Vec<(u32, PendingFile)> = self
            .overlay
            .blocks
            .iter()
            .map(|(number, file)| (*number, file.clone()))
            .collect();
        // Blocks that come before blocks that go: a crash in between repeats the work.
        for (number, file) in files.iter().filter(|(_, file)| file.exists()) {
            if self.overlay.is_empty_dir(&self.overlay.block_path(*number)) {
                // A new block has the number of one that was none.
                let path = block_path(*number);
                changes.push(Change::RemoveTree { path });
            }
            self.block_changes(*number, file, &mut changes);
        }
        for (number, file) in files
            .iter()
            .filter(|(_, file)| file.removed && file.was_on_disk)
        {
            let lies_at = self.overlay.block_path(*number);
            changes.push(self.removal(&lies_at, block_path(*number)));
            if file.encrypt_anew.is_some() {
                changes.push(Change::RemoveFile {
                    path: key_path(*number),
                });
            }
        }
        if self.overlay.replaced {
            self.remove_everything_else(&files, &mut changes);
        }
        let rewritten = |path: &str| {
            index.iter().any(|change| match change {
                Change::Write { path: written, .. } | Change::WriteSealed { path: written, .. } => {
                    written == path
                }
                _ => false,
            })
        };
        for path in &self.overlay.removed_files {
            if !rewritten(path) {
                changes.push(self.removal(path, path.clone()));
            }
        }
        self.legacy_changes(&mut changes);
        changes.extend(self.meta_changes());
        changes.extend(index);
        Ok(changes)
    }

    /// Takes away what by then is at `path`: a file, or a directory without anything in it.
    fn removal(&self, lies_at: &str, path: String) -> Change {
        match self.overlay.is_empty_dir(lies_at) {
            true => Change::RemoveTree { path },
            false => Change::RemoveFile { path },
        }
    }

    /// Notes that `meta.inf` and `meta.sum` are written anew, and `meta.key` before them where a key is
    /// configured. The time of creation stays what it was.
    pub fn write_meta(&mut self, json: Vec<u8>) {
        self.action(
            ActionKind::WriteMeta,
            META,
            None,
            "the stream's metadata is absent, plain or under an old key",
        );
        self.overlay.new_meta = Some(json);
        // An index under the old key would be of no use.
        self.dirty = true;
    }

    fn meta_changes(&mut self) -> Vec<Change> {
        let Some(json) = self.overlay.new_meta.take() else {
            return Vec::new();
        };
        let keys = self.overlay.keys;
        let sealed = keys.current.is_some();
        let mut changes = Vec::new();
        if sealed {
            changes.push(Change::NewKey {
                path: META_KEY.to_owned(),
                context: stream_context(keys.stream),
                cipher: keys.cipher,
            });
        }
        changes.push(Change::WriteMeta { json, sealed });
        changes
    }

    fn block_changes(&self, number: u32, file: &PendingFile, changes: &mut Vec<Change>) {
        let encrypted = self.overlay.keys.current.is_some()
            && (file.encrypt_anew.is_some() || matches!(file.key, Some(KeyVerdict::Opened(_))));
        let pieces = match (&file.pieces, file.cut_compressed, file.encrypt_anew) {
            (Some(pieces), _, _) => Some(pieces.clone()),
            // The server would cut the compressed file at a decoded offset; the records before the
            // damage are written plain instead.
            (None, Some(end), _) => Some(vec![Piece::Kept { start: 0, end }]),
            (None, None, Some(_)) => Some(vec![Piece::Kept {
                start: 0,
                end: file.content_length,
            }]),
            (None, None, None) => None,
        };
        if let Some(mut pieces) = pieces {
            if file.encrypt_anew.is_some() {
                changes.push(Change::NewKey {
                    path: key_path(number),
                    context: block_context(self.overlay.keys.stream, number),
                    cipher: self.overlay.keys.cipher,
                });
            }
            if !file.appended.is_empty() {
                pieces.push(Piece::Literal(file.appended.clone()));
            }
            changes.push(Change::WriteBlock {
                number,
                pieces,
                encrypted,
            });
            return;
        }
        if let Some(length) = file.set_length {
            changes.push(Change::SetLength {
                path: block_path(number),
                length,
            });
        }
        if !file.appended.is_empty() {
            let offset = match file.set_length {
                Some(length) => length,
                None => self
                    .overlay
                    .files
                    .length(&self.overlay.block_path(number))
                    .unwrap_or_default(),
            };
            let records = file.appended.clone();
            changes.push(Change::AppendRecords {
                number,
                offset,
                records,
                encrypted,
            });
        }
    }

    /// The purge keeps nothing but the blocks made since.
    fn remove_everything_else(&self, files: &[(u32, PendingFile)], changes: &mut Vec<Change>) {
        let Ok(entries) = self.overlay.files.list(self.overlay.msgs) else {
            return;
        };
        let kept = |path: &str| {
            files
                .iter()
                .filter(|(_, file)| file.exists())
                .any(|(number, _)| path == block_path(*number) || path == key_path(*number))
        };
        for entry in entries {
            let path = format!("msgs/{}", entry.name.to_string_lossy());
            let gone = |change: &Change| matches!(change, Change::RemoveFile { path: known } if *known == path);
            if kept(&path) || changes.iter().any(gone) {
                continue;
            }
            changes.push(if entry.is_dir {
                Change::RemoveTree { path }
            } else {
                Change::RemoveFile { path }
            });
        }
    }

    /// `.idx` and `.fss` of old releases go after every successful open.
    fn legacy_changes(&mut self, changes: &mut Vec<Change>) {
        if self.overlay.replaced || !self.rules.server.has(Quirk::IndexFile) {
            return;
        }
        let Ok(entries) = self.overlay.files.list(self.overlay.msgs) else {
            return;
        };
        for entry in entries {
            let name = entry.name.to_string_lossy();
            if entry.is_dir || !(name.ends_with(".idx") || name.ends_with(".fss")) {
                continue;
            }
            let path = format!("msgs/{name}");
            if self.overlay.removed_files.contains(&path) {
                continue;
            }
            let detail = "servers since 2.10 have no use for it";
            self.event(Event::new(EventCode::LegacyMetaRemoved, detail).file(path.clone()));
            self.action(ActionKind::RemoveLegacyFile, path.clone(), None, detail);
            changes.push(Change::RemoveFile { path });
        }
    }

    /// `index.db` and what is written with it, where anything changed.
    fn index_changes(&mut self) -> Result<Vec<Change>, Fault> {
        let server = self.rules.server;
        if !self.dirty || !server.has(Quirk::IndexFile) || self.is_blocked(STATE_PATH) {
            return Ok(Vec::new());
        }
        let listed = totals_over(&self.blocks);
        if !totals_agree(&self.totals, &listed) {
            let told = Unsound::Totals {
                told: self.totals,
                counted: listed,
            };
            let detail = format!("no index is written: {told}");
            self.event(Event::new(EventCode::IndexTotalsMismatch, detail));
            return Ok(Vec::new());
        }
        let only_named = !self.wants_changes && self.encodes_surely();
        let bytes = match only_named {
            true => Ok(Vec::new()),
            false => self.state_file()?.encode(DELETED_SET_MAX),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                self.event(Event::new(
                    EventCode::IndexTotalsMismatch,
                    format!("no index is written: {error}"),
                ));
                return Ok(Vec::new());
            }
        };
        let mut changes = Vec::new();
        let timers = match only_named {
            true => self.timers.blank_files(),
            false => self.timers.encode(self.totals.last.seq.wrapping_add(1)),
        };
        let files = [
            (EXPIRIES_PATH, timers.ttl),
            (SCHEDULES_PATH, timers.schedules),
            (SOURCES, timers.sources),
        ];
        for (path, bytes) in files {
            if let Some(bytes) = bytes.filter(|_| !self.is_blocked(path)) {
                self.action(
                    ActionKind::WriteTimerFile,
                    path,
                    None,
                    "as of the recovered state",
                );
                changes.push(Change::Write {
                    path: path.to_owned(),
                    bytes,
                });
            }
        }
        self.action(
            ActionKind::WriteIndex,
            STATE_PATH,
            None,
            "so that the next start takes the fast path",
        );
        let sealed = self.overlay.keys.current.is_some();
        changes.push(Change::WriteSealed {
            path: STATE_PATH.to_owned(),
            bytes,
            sealed,
            hashed: true,
        });
        Ok(changes)
    }

    /// Whether the index can be put together without a look at a block, and encodes.
    fn encodes_surely(&self) -> bool {
        let sets = || self.blocks.iter().map(|block| &block.deleted);
        let length = sets().fold(0, |sum: u64, set| sum.saturating_add(set.encoded_length()));
        length <= DELETED_SET_MAX
            && sets().all(|set| set.len() < u64::from(u32::MAX))
            && self
                .blocks
                .last()
                .is_none_or(|block| block.last_record_hash.is_some())
    }

    /// Whether a directory stands where a file is to be written. The server's write fails and is passed
    /// over; so is ours.
    fn is_blocked(&mut self, path: &str) -> bool {
        // A purge leaves none of what lay among the messages.
        let goes = self.overlay.replaced && path.starts_with(MESSAGES);
        let on_disk = path.replace("msgs/", &format!("{}/", self.overlay.msgs));
        let blocked = !goes && self.overlay.files.is_dir(&on_disk);
        if blocked {
            let detail = "a directory stands in its place: it is not written";
            self.event(Event::new(EventCode::LeftOverFile, detail).file(path));
        }
        blocked
    }

    /// The state as `index.db` holds it.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the last block's hash cannot be read.
    pub fn state_file(&mut self) -> Result<StateFile, Fault> {
        let (last_block, last_record_hash) = match self.blocks.last() {
            Some(block) => (block.number, block.last_record_hash),
            None => (0, None),
        };
        let last_record_hash = match last_record_hash {
            Some(hash) => hash,
            None => self.tail_of_block(last_block)?,
        };
        let blocks = self.blocks.iter().map(|block| &block.state);
        let version = self.rules.server.version().index_version();
        let last = (last_block, last_record_hash);
        Ok(index_file_of(
            blocks,
            &self.totals,
            &self.subjects,
            version,
            last,
        ))
    }

    /// A block that lies there with less than a hash is not looked into, and so gets no key either.
    fn is_too_short_for_a_hash(&mut self, number: u32) -> bool {
        let file = self.overlay.block(number);
        let as_it_lies = file.pieces.is_none()
            && file.appended.is_empty()
            && file.set_length.is_none()
            && file.on_disk
            && !file.removed;
        let length = self.overlay.files.length(&self.overlay.block_path(number));
        as_it_lies && length.is_ok_and(|length| length < 8)
    }

    fn tail_of_block(&mut self, number: u32) -> Result<[u8; 8], Fault> {
        use crate::recovery::fault::Cause;
        if self.is_too_short_for_a_hash(number) {
            return Ok([0; 8]);
        }
        if let Some(at) = self.blocks.iter().position(|block| block.number == number) {
            // The key may not have been needed so far.
            if self.load_key(at).is_err() {
                return Ok([0; 8]);
            }
        }
        match self.overlay.content(number) {
            Ok(content) => Ok(content.tail),
            Err(Cause::Missing) => Ok([0; 8]),
            Err(_) => Ok(self.overlay.decrypted_tail(number).unwrap_or_default()),
        }
    }
}
