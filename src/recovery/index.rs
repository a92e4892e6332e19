//! The fast path: what `index.db` is worth.
//!
//! Reading order and verdicts follow the reference's decision table (RECOVERY, section 2.1). The rows
//! up to [`IndexVerdict::TailMissing`] judge the file alone and live in [`judge_file`]; rows D12 to D18 hold it against the
//! blocks and live in [`Simulation::recover_from_index`].

use crate::format::names::{BlockFile, MESSAGES, STATE_PATH};
use std::collections::BTreeSet;

use super::fault::{Cause, Fault};
use super::server::{Quirk, ServerBehavior};
use super::simulate::{SimBlock, Simulation};
use crate::crypto::{Cipher, Seed, open_sealed};
use crate::format::checksum::HashKey;
use crate::format::names;
use crate::format::state::{
    STATE_MINIMUM_LENGTH, StateError, StateFile, SubjectTable, split_trailing_hash,
};
use crate::format::subject;
use crate::parallel::Crew;
use crate::report::actions::ActionKind;
use crate::report::events::{Event, EventCode};
use crate::report::stream::Lost;
use crate::state::{BlockState, Totals};
use crate::stream::files::FileFault;

/// What `index.db` is worth: the rows of the decision table (RECOVERY, section 2.1), in the order they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexVerdict {
    /// D1: there is no file.
    Absent,
    /// D2: the file cannot be read.
    Unreadable,
    /// D3: it is shorter than the least one.
    TooShort,
    /// D4: its hash is not that of its bytes.
    HashMismatch,
    /// D5: it does not decrypt.
    DecryptFailed,
    /// D6: its magic or version is not one the server reads.
    BadVersion,
    /// D6a: it announces more subjects than it has bytes for.
    SubjectCount,
    /// D7: a subject reaches past its end.
    SubjectOverrun,
    /// D8: a subject is not one.
    SubjectInvalid,
    /// D8a: it announces more blocks than it has bytes for.
    BlockCount,
    /// D9: the list of blocks is cut short.
    BlockListTruncated,
    /// D10: a block's deleted set does not decode.
    DeletedSetInvalid,
    /// D11: the last block or its hash is not there.
    TailMissing,
    /// D12: the block it calls last is not the last it lists.
    LastBlockMismatch,
    /// D13: its last block is not in the directory.
    LastBlockMissing,
    /// D14: its last block goes on behind what it knows, or ends before.
    StaleLastRecord,
    /// D15: blocks lie behind its last one.
    StaleExtraBlocks,
    /// D16: a block it lists is not in the directory.
    BlockMissing,
    /// D17: its totals are not those of its blocks.
    TotalsMismatch,
    /// D18: it stands for the blocks.
    Sound,
}

impl IndexVerdict {
    /// Every verdict, in the order they are checked.
    #[cfg(test)]
    pub const ALL: [IndexVerdict; 20] = [
        IndexVerdict::Absent,
        IndexVerdict::Unreadable,
        IndexVerdict::TooShort,
        IndexVerdict::HashMismatch,
        IndexVerdict::DecryptFailed,
        IndexVerdict::BadVersion,
        IndexVerdict::SubjectCount,
        IndexVerdict::SubjectOverrun,
        IndexVerdict::SubjectInvalid,
        IndexVerdict::BlockCount,
        IndexVerdict::BlockListTruncated,
        IndexVerdict::DeletedSetInvalid,
        IndexVerdict::TailMissing,
        IndexVerdict::LastBlockMismatch,
        IndexVerdict::LastBlockMissing,
        IndexVerdict::StaleLastRecord,
        IndexVerdict::StaleExtraBlocks,
        IndexVerdict::BlockMissing,
        IndexVerdict::TotalsMismatch,
        IndexVerdict::Sound,
    ];

    /// The event the verdict leaves; none for a sound index.
    pub fn code(self) -> Option<EventCode> {
        Some(match self {
            IndexVerdict::Absent => EventCode::IndexAbsent,
            IndexVerdict::Unreadable => EventCode::IndexUnreadable,
            IndexVerdict::TooShort => EventCode::IndexTooShort,
            IndexVerdict::HashMismatch => EventCode::IndexHashMismatch,
            IndexVerdict::DecryptFailed => EventCode::IndexDecryptFailed,
            IndexVerdict::BadVersion => EventCode::IndexBadVersion,
            IndexVerdict::SubjectCount => EventCode::IndexSubjectCount,
            IndexVerdict::SubjectOverrun => EventCode::IndexSubjectOverrun,
            IndexVerdict::SubjectInvalid => EventCode::IndexSubjectInvalid,
            IndexVerdict::BlockCount => EventCode::IndexBlockCount,
            IndexVerdict::BlockListTruncated => EventCode::IndexBlockListTruncated,
            IndexVerdict::DeletedSetInvalid => EventCode::IndexDmapInvalid,
            IndexVerdict::TailMissing => EventCode::IndexTailMissing,
            IndexVerdict::LastBlockMismatch => EventCode::IndexLastBlockMismatch,
            IndexVerdict::LastBlockMissing => EventCode::IndexLastBlockMissing,
            IndexVerdict::StaleLastRecord => EventCode::IndexStaleLastRecord,
            IndexVerdict::StaleExtraBlocks => EventCode::IndexStaleExtraBlocks,
            IndexVerdict::BlockMissing => EventCode::IndexBlockMissing,
            IndexVerdict::TotalsMismatch => EventCode::IndexTotalsMismatch,
            IndexVerdict::Sound => return None,
        })
    }

    /// Whether the server deletes the file.
    pub fn deletes_file(self) -> bool {
        !matches!(
            self,
            IndexVerdict::Absent
                | IndexVerdict::Unreadable
                | IndexVerdict::DecryptFailed
                | IndexVerdict::LastBlockMissing
                | IndexVerdict::StaleLastRecord
                | IndexVerdict::StaleExtraBlocks
                | IndexVerdict::BlockMissing
                | IndexVerdict::Sound
        )
    }

    /// Whether the totals of the file are remembered when it is given up.
    #[cfg(test)]
    pub fn remembers(self) -> bool {
        self >= IndexVerdict::LastBlockMismatch
    }
}

/// What the file alone is worth.
#[derive(Debug)]
pub enum FileVerdict {
    /// It decodes.
    Decoded(Box<StateFile>),
    /// It is given up.
    Rejected {
        /// By which verdict.
        verdict: IndexVerdict,
        /// The particulars.
        detail: String,
        /// The server would crash on it instead (H24).
        would_panic: bool,
        /// The last block the server took up before.
        taken_up: Option<u32>,
    },
}

fn rejected(verdict: IndexVerdict, detail: impl Into<String>) -> FileVerdict {
    FileVerdict::Rejected {
        verdict,
        detail: detail.into(),
        would_panic: false,
        taken_up: None,
    }
}

/// Judges the bytes of `index.db`: rows D1 to D11. Pure.
///
/// `asset_key` is the stream's asset key with its cipher, where `meta.key` gave one. Subjects are looked at by so many threads.
pub fn judge_file(
    file: Result<&[u8], &FileFault>,
    stream_hash_key: &HashKey,
    asset_key: Option<(&Seed, Cipher)>,
    server: ServerBehavior,
    threads: usize,
) -> FileVerdict {
    let bytes = match file {
        Ok(bytes) => bytes,
        Err(FileFault::Missing) => return rejected(IndexVerdict::Absent, "there is none"),
        Err(FileFault::Failed(detail)) => {
            return rejected(IndexVerdict::Unreadable, detail.clone());
        }
    };
    if bytes.len() < STATE_MINIMUM_LENGTH {
        return rejected(
            IndexVerdict::TooShort,
            format!(
                "{} bytes, at least {STATE_MINIMUM_LENGTH} expected",
                bytes.len()
            ),
        );
    }
    let Some((payload, stored)) = split_trailing_hash(bytes) else {
        return rejected(IndexVerdict::TooShort, format!("{} bytes", bytes.len()));
    };
    let computed = stream_hash_key.hash64(&[payload]).to_le_bytes();
    if computed != stored {
        let detail = format!(
            "computed {:016x}, stored {:016x}",
            u64::from_be_bytes(computed),
            u64::from_be_bytes(stored)
        );
        return rejected(IndexVerdict::HashMismatch, detail);
    }
    let opened;
    let payload = match asset_key {
        None => payload,
        Some((seed, cipher)) => match open_sealed(payload, seed, cipher) {
            Ok(plain) => {
                opened = plain;
                opened.as_slice()
            }
            Err(error) => return rejected(IndexVerdict::DecryptFailed, error.to_string()),
        },
    };
    match decode(payload, threads) {
        Ok(state) if state.version > server.version().index_version() => {
            let detail = format!(
                "it is of version {}, and server {} reads up to {}",
                state.version,
                server.version(),
                server.version().index_version()
            );
            rejected(IndexVerdict::BadVersion, detail)
        }
        Ok(state) => FileVerdict::Decoded(Box::new(state)),
        Err(error) => rejected_by(&error, payload, server),
    }
}

/// As [`StateFile::decode`], with subjects judged side by side where there are many.
fn decode(payload: &[u8], threads: usize) -> Result<StateFile, StateError> {
    if threads > 1
        && payload.len() >= SIDE_BY_SIDE_MIN
        && let Ok(state) = StateFile::decode_with_any_subjects(payload)
        && subjects_are_valid(&state.subjects, threads)
    {
        return Ok(state);
    }
    // Which fault comes first is for the reading in order to say.
    StateFile::decode(payload)
}

fn subjects_are_valid(subjects: &SubjectTable, threads: usize) -> bool {
    let share = subjects.len().div_ceil(threads).max(1);
    let shares: Vec<usize> = (0..subjects.len()).step_by(share).collect();
    let valid = Crew::of(threads).map(&shares, |from| {
        let mut own = *from..subjects.len().min(from + share);
        let is_valid = |index| {
            let entry = subjects.get(index);
            entry.is_some_and(|entry| subject::is_valid(entry.subject))
        };
        own.all(is_valid).then_some(()).ok_or(())
    });
    valid.is_ok()
}

/// Bytes of an index below which a second thread is not worth its start.
const SIDE_BY_SIDE_MIN: usize = 1 << 19;

/// More blocks than this take the older servers' memory, or crash them, before they notice that the list is short.
const UNBOUNDED_BLOCKS: u64 = 1 << 27;

fn rejected_by(error: &StateError, payload: &[u8], server: ServerBehavior) -> FileVerdict {
    let known = payload
        .get(1)
        .is_none_or(|version| *version <= server.version().index_version());
    let (verdict, unbounded) = match error {
        _ if !known => (IndexVerdict::BadVersion, false),
        // What cannot be decoded reads as zero up to the last number, where the server crashes.
        StateError::SubjectCount { count: None, .. }
        | StateError::SubjectOverrun { length: None, .. }
        | StateError::BlockCount { count: None, .. } => (verdict_of(error), true),
        StateError::BlockCount {
            count: Some(count), ..
        } => (verdict_of(error), *count > UNBOUNDED_BLOCKS),
        _ => (verdict_of(error), false),
    };
    FileVerdict::Rejected {
        verdict,
        detail: error.to_string(),
        would_panic: known && error.would_panic()
            || unbounded && !server.has(Quirk::IndexCountsBounded),
        taken_up: error.taken_up().filter(|_| known),
    }
}

fn verdict_of(error: &StateError) -> IndexVerdict {
    match error {
        StateError::BadVersion { .. } => IndexVerdict::BadVersion,
        StateError::SubjectCount { .. } => IndexVerdict::SubjectCount,
        StateError::SubjectOverrun { .. } => IndexVerdict::SubjectOverrun,
        StateError::SubjectInvalid { .. } => IndexVerdict::SubjectInvalid,
        StateError::BlockCount { .. } => IndexVerdict::BlockCount,
        StateError::BlockListTruncated { .. } => IndexVerdict::BlockListTruncated,
        StateError::DeletedSetInvalid { .. } => IndexVerdict::DeletedSetInvalid,
        StateError::TailMissing { .. } => IndexVerdict::TailMissing,
    }
}

impl Simulation<'_> {
    /// Tries the fast path. Returns the verdict that decided; D18 means the state now stands as the index
    /// has it. For any other verdict the caller starts over from the blocks.
    ///
    /// # Errors
    ///
    /// [`Fault`] only where the server would crash on the file (H24).
    pub fn recover_from_index(&mut self, verdict: FileVerdict) -> Result<IndexVerdict, Fault> {
        let state = match verdict {
            FileVerdict::Rejected {
                verdict,
                detail,
                would_panic,
                taken_up,
            } => {
                self.give_index_up(verdict, detail.clone());
                if let Some(number) = taken_up {
                    // It goes with the rest, and still says what the next block is called.
                    self.active = Some((self.new_block(number).id, number));
                }
                if would_panic {
                    let detail = format!("the server crashes while it decodes index.db: {detail}");
                    self.event(Event::new(EventCode::OpenWouldCrash, detail).file(STATE_PATH));
                    return Err(Fault::general(Cause::Other(
                        "index.db ends inside a number the server does not check".into(),
                    )));
                }
                return Ok(verdict);
            }
            FileVerdict::Decoded(state) => state,
        };
        let listed = self.install_index(&state);
        let (verdict, detail) = self.hold_against_blocks(&state, listed)?;
        if verdict == IndexVerdict::Sound {
            let last = self.blocks.last().map(|block| block.id);
            self.index_tail = last.map(|id| (id, state.last_record_hash));
            return Ok(verdict);
        }
        if verdict != IndexVerdict::BlockMissing {
            self.give_index_up(verdict, detail);
        }
        Ok(verdict)
    }

    fn give_index_up(&mut self, verdict: IndexVerdict, detail: String) {
        if let Some(code) = verdict.code() {
            self.event(Event::new(code, detail.clone()).file(STATE_PATH));
        }
        if verdict.deletes_file() {
            self.action(ActionKind::RemoveIndex, STATE_PATH, None, detail);
            self.overlay.removed_files.push(STATE_PATH.to_owned());
        }
    }

    /// Puts the decoded index in place; returns the totals over the installed blocks.
    fn install_index(&mut self, state: &StateFile) -> Totals {
        self.subjects.put_all(&state.subjects, self.threads);
        let mut over = Totals::default();
        let last_at = state.blocks.len().saturating_sub(1);
        for (at, entry) in state.blocks.iter().enumerate() {
            let messages = entry.message_count();
            if messages == 0 && at != last_at {
                // The block vanishes from memory while its file stays.
                self.dirty = true;
                continue;
            }
            let mut block = self.new_block(entry.number);
            block.state = BlockState::of_entry(entry);
            track(&mut over, &block);
            self.add_block(block);
        }
        self.totals = Totals::of_file(state);
        over
    }

    /// Rows D12 to D18.
    fn hold_against_blocks(
        &mut self,
        state: &StateFile,
        listed: Totals,
    ) -> Result<(IndexVerdict, String), Fault> {
        let Some(last) = self
            .blocks
            .last()
            .filter(|block| block.number == state.last_block)
        else {
            return Ok((
                IndexVerdict::LastBlockMismatch,
                format!(
                    "it ends with block {}, which it does not list last",
                    state.last_block
                ),
            ));
        };
        let number = last.number;
        let last_at = self.blocks.len() - 1;
        if self.overlay.removes(number)
            || matches!(
                self.overlay.files.exists(&self.overlay.block_path(number)),
                Ok(false)
            )
        {
            self.lose_block(last_at)?;
            return Ok((
                IndexVerdict::LastBlockMissing,
                format!("its last block, {number}, is not there"),
            ));
        }
        if let Some(verdict) = self.hold_against_last_record(last_at, number, state) {
            return Ok(verdict);
        }
        if let Some(verdict) = self.hold_against_listing(state.last_block)? {
            return Ok(verdict);
        }
        if self.rules.server.has(Quirk::IndexTotalsChecked) && !totals_agree(&self.totals, &listed)
        {
            let detail = format!(
                "it counts {} messages, {} bytes up to {}; its blocks add up to {}, {} and {}",
                self.totals.messages,
                self.totals.bytes,
                self.totals.last.seq,
                listed.messages,
                listed.bytes,
                listed.last.seq
            );
            return Ok((IndexVerdict::TotalsMismatch, detail));
        }
        Ok((IndexVerdict::Sound, String::new()))
    }

    /// IndexVerdict D14: the last record of the last block.
    fn hold_against_last_record(
        &mut self,
        last_at: usize,
        number: u32,
        state: &StateFile,
    ) -> Option<(IndexVerdict, String)> {
        match self.last_checksum(last_at) {
            Ok(found) if found == state.last_record_hash => None,
            Ok(found) => {
                let detail = format!(
                    "the last record of block {number} has hash {:016x}, the index expects {:016x}",
                    u64::from_be_bytes(found),
                    u64::from_be_bytes(state.last_record_hash)
                );
                Some((IndexVerdict::StaleLastRecord, detail))
            }
            Err(fault) => Some((IndexVerdict::StaleLastRecord, fault.to_string())),
        }
    }

    /// Rows D15 and D16: what the directory has beyond the list, and what it lacks of it.
    fn hold_against_listing(
        &mut self,
        last_block: u32,
    ) -> Result<Option<(IndexVerdict, String)>, Fault> {
        let mut on_disk = match self.listed_numbers() {
            Ok(numbers) => numbers,
            Err(detail) => {
                self.event(Event::new(EventCode::IoError, detail).file(MESSAGES));
                Vec::new()
            }
        };
        on_disk.sort_unstable();
        let beyond = on_disk.partition_point(|found| *found <= last_block);
        if let Some(extra) = on_disk.get(beyond) {
            let detail = format!("block {extra} lies behind its last block, {last_block}");
            return Ok(Some((IndexVerdict::StaleExtraBlocks, detail)));
        }
        let mut missing = false;
        let noticed = self.rules.server.has(Quirk::MissingBlocksNoticed);
        for at in 0..self.blocks.len() {
            let number = self.blocks[at].number;
            if noticed && on_disk.binary_search(&number).is_err() {
                missing = true;
                self.lose_block(at)?;
                let detail = format!("block {number} is listed in the index and not there");
                let event = Event::new(EventCode::IndexBlockMissing, detail);
                self.event(event.file(BlockFile::Block.path(number)));
            }
        }
        if !missing {
            self.note_unlisted(&on_disk);
        }
        Ok(missing.then(|| (IndexVerdict::BlockMissing, String::new())))
    }

    /// Blocks that lie on disk and that a trusted index does not list are seen by nobody (H16).
    fn note_unlisted(&mut self, on_disk: &[u32]) {
        let known: BTreeSet<u32> = self.blocks.iter().map(|block| block.number).collect();
        for number in on_disk
            .iter()
            .copied()
            .filter(|number| !known.contains(number))
        {
            let detail = "the index does not list it; nobody sees what is in it";
            self.block_event(EventCode::BlockOrphanFile, number, None, detail);
        }
    }

    /// # Errors
    ///
    /// [`Fault`] only where the server would go down listing what is lost.
    fn lose_block(&mut self, at: usize) -> Result<(), Fault> {
        let rebuilt = match self.rebuild(at) {
            Err(fault) if !matches!(fault.cause, Cause::Other(_)) => Ok(None),
            rebuilt => rebuilt,
        };
        if let Some(lost) = rebuilt? {
            self.report_lost(at, &lost);
            self.add_lost(lost);
        }
        Ok(())
    }

    fn report_lost(&mut self, at: usize, lost: &Lost) {
        let number = self.blocks[at].number;
        let detail = format!("{} messages, {} bytes", lost.seqs.len(), lost.bytes);
        self.block_event(EventCode::LostData, number, None, detail);
    }

    /// The last 8 decrypted bytes of a block's file.
    fn last_checksum(&mut self, at: usize) -> Result<[u8; 8], Fault> {
        let number = self.blocks[at].number;
        let path = self.overlay.block_path(number);
        let failed = |fault: FileFault| Fault::block(number, Cause::Io(fault.to_string()));
        let (length, tail) = self.overlay.files.read_tail::<8>(&path).map_err(failed)?;
        let block = &mut self.blocks[at];
        block.raw_bytes = length;
        let Some(tail) = tail else { return Ok([0; 8]) };
        if self.overlay.keys.current.is_none() {
            return Ok(tail);
        }
        self.load_key(at)?;
        self.overlay
            .content(number)
            .map(|content| content.tail)
            .or_else(|cause| match cause {
                Cause::Content(_) => self
                    .overlay
                    .decrypted_tail(number)
                    .map_err(|cause| Fault::block(number, cause)),
                cause => Err(Fault::block(number, cause)),
            })
    }

    /// Block numbers of the directory listing, as the server reads names.
    pub fn listed_numbers(&self) -> Result<Vec<u32>, String> {
        let entries = self
            .overlay
            .files
            .list(self.overlay.msgs)
            .map_err(|fault| fault.to_string())?;
        Ok(entries
            .iter()
            .map(|entry| entry.name.as_encoded_bytes())
            .filter(|name| {
                !names::block_number(name).is_some_and(|number| self.overlay.removes(number))
            })
            .filter_map(names::lax_block_number_unsigned)
            .collect())
    }
}

/// Adds a block to totals the way the index check does: times are left out of it.
fn track(totals: &mut Totals, block: &SimBlock) {
    if totals.first.seq == 0
        || (block.first.seq < totals.first.seq && block.first.timestamp_ns != 0)
    {
        totals.first.seq = block.first.seq;
    }
    totals.last.seq = totals.last.seq.max(block.last.seq);
    totals.messages = totals.messages.wrapping_add(block.message_count);
    totals.bytes = totals.bytes.wrapping_add(block.live_bytes);
}

/// Whether the totals of an index and of its blocks agree; the first sequence counts only where the
/// blocks' is above 1.
pub fn totals_agree(stream: &Totals, blocks: &Totals) -> bool {
    stream.messages == blocks.messages
        && stream.bytes == blocks.bytes
        && stream.last.seq == blocks.last.seq
        && (blocks.first.seq <= 1 || stream.first.seq == blocks.first.seq)
}

/// Totals over all blocks, for the same comparison when the index is written.
pub fn totals_over(blocks: &[SimBlock]) -> Totals {
    let mut totals = Totals::default();
    for block in blocks {
        track(&mut totals, block);
    }
    totals
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::format::state::SubjectEntry;

    const STREAM: &[u8] = b"ORDERS";

    fn key() -> HashKey {
        HashKey::for_stream(STREAM)
    }

    /// A payload with its hash behind it.
    fn sealed(payload: &[u8]) -> Vec<u8> {
        let hash = key().hash64(&[payload]).to_le_bytes();
        [payload, &hash].concat()
    }

    fn sound() -> Vec<u8> {
        let state = StateFile {
            version: 4,
            messages: 0,
            bytes: 0,
            first_sequence: 0,
            first_time_ns: 0,
            last_sequence: 0,
            last_time_ns: 0,
            subjects: crate::format::state::SubjectTable::new(),
            blocks: Vec::new(),
            last_block: 1,
            last_record_hash: [0; 8],
        };
        let mut payload = state.encode(u64::MAX).expect("a small state encodes");
        // Bytes between the last record's hash and the file's are tolerated.
        payload.resize(40, 0);
        payload
    }

    fn verdict_of_file(file: Result<&[u8], &FileFault>) -> IndexVerdict {
        match judge_file(file, &key(), None, ServerBehavior::default(), 2) {
            FileVerdict::Decoded(_) => IndexVerdict::Sound,
            FileVerdict::Rejected { verdict, .. } => verdict,
        }
    }

    #[test]
    fn every_row_has_one_place_and_its_own_event() {
        let mut sorted = IndexVerdict::ALL;
        sorted.sort();
        assert_eq!(
            sorted,
            IndexVerdict::ALL,
            "rows are listed in the order they are checked"
        );
        let codes: HashSet<_> = IndexVerdict::ALL
            .iter()
            .filter_map(|verdict| verdict.code())
            .collect();
        assert_eq!(
            codes.len(),
            IndexVerdict::ALL.len() - 1,
            "only a sound index leaves no event"
        );
        for verdict in IndexVerdict::ALL {
            // A file is deleted only where its content is at fault, and remembered only once decoded.
            if matches!(
                verdict,
                IndexVerdict::LastBlockMissing
                    | IndexVerdict::StaleLastRecord
                    | IndexVerdict::StaleExtraBlocks
                    | IndexVerdict::BlockMissing
            ) {
                assert!(
                    verdict.remembers() && !verdict.deletes_file(),
                    "{verdict:?}"
                );
            }
            if matches!(
                verdict,
                IndexVerdict::TooShort
                    | IndexVerdict::HashMismatch
                    | IndexVerdict::BadVersion
                    | IndexVerdict::BlockListTruncated
                    | IndexVerdict::TailMissing
            ) {
                assert!(
                    !verdict.remembers() && verdict.deletes_file(),
                    "{verdict:?}"
                );
            }
        }
    }

    #[test]
    fn the_file_alone_meets_exactly_the_row_meant_for_it() {
        let sound = sound();
        assert_eq!(verdict_of_file(Ok(&sealed(&sound))), IndexVerdict::Sound);
        assert_eq!(
            verdict_of_file(Err(&FileFault::Missing)),
            IndexVerdict::Absent
        );
        assert_eq!(
            verdict_of_file(Err(&FileFault::Failed("no".into()))),
            IndexVerdict::Unreadable
        );
        assert_eq!(verdict_of_file(Ok(&[0; 31])), IndexVerdict::TooShort);
        let mut flipped = sealed(&sound);
        flipped[9] ^= 1;
        assert_eq!(verdict_of_file(Ok(&flipped)), IndexVerdict::HashMismatch);
        let mut version = sound.clone();
        version[1] = 5;
        assert_eq!(
            verdict_of_file(Ok(&sealed(&version))),
            IndexVerdict::BadVersion
        );
        let mut subjects = sound.clone();
        subjects[8] = 120;
        assert_eq!(
            verdict_of_file(Ok(&sealed(&subjects))),
            IndexVerdict::SubjectCount
        );
        let mut subject_length = sound.clone();
        subject_length[8] = 1;
        subject_length[9] = 120;
        assert_eq!(
            verdict_of_file(Ok(&sealed(&subject_length))),
            IndexVerdict::SubjectOverrun
        );
        let mut subject = sound.clone();
        subject[8] = 1;
        subject[9] = 1;
        subject[10] = b' ';
        assert_eq!(
            verdict_of_file(Ok(&sealed(&subject))),
            IndexVerdict::SubjectInvalid
        );
        let mut blocks = sound.clone();
        blocks[9] = 120;
        assert_eq!(
            verdict_of_file(Ok(&sealed(&blocks))),
            IndexVerdict::BlockCount
        );
        let mut cut_list = sound.clone();
        cut_list[9] = 30;
        assert_eq!(
            verdict_of_file(Ok(&sealed(&cut_list))),
            IndexVerdict::BlockListTruncated
        );
        let seed = Seed::new([7; 32]);
        let asset_key = Some((&seed, Cipher::Aes));
        let unopened = judge_file(
            Ok(&sealed(&sound)),
            &key(),
            asset_key,
            ServerBehavior::default(),
            2,
        );
        assert!(matches!(
            unopened,
            FileVerdict::Rejected {
                verdict: IndexVerdict::DecryptFailed,
                ..
            }
        ));
    }

    #[test]
    fn of_many_subjects_the_first_fault_counts_with_any_number_of_threads() {
        let bad: &[u8] = b"two words";
        let verdict = |threads, bad_at: Option<usize>, cut: bool| {
            let names: Vec<String> = (0..40_000).map(|at| format!("orders.{at}")).collect();
            let entries = names.iter().enumerate().map(|(at, name)| SubjectEntry {
                subject: if Some(at) == bad_at {
                    bad
                } else {
                    name.as_bytes()
                },
                total: 1,
                first_block: 1,
                last_block: 1,
            });
            let state = StateFile {
                version: 4,
                messages: 0,
                bytes: 0,
                first_sequence: 0,
                first_time_ns: 0,
                last_sequence: 0,
                last_time_ns: 0,
                subjects: SubjectTable::from_iter(entries),
                blocks: Vec::new(),
                last_block: 1,
                last_record_hash: [0; 8],
            };
            let mut payload = state.encode(u64::MAX).expect("a state encodes");
            payload.truncate(payload.len() - if cut { 100 } else { 0 });
            assert!(payload.len() > SIDE_BY_SIDE_MIN);
            let file = sealed(&payload);
            match judge_file(Ok(&file), &key(), None, ServerBehavior::default(), threads) {
                FileVerdict::Decoded(state) => {
                    (IndexVerdict::Sound, state.subjects.len().to_string())
                }
                FileVerdict::Rejected {
                    verdict, detail, ..
                } => (verdict, detail),
            }
        };
        for (bad_at, cut, expected) in [
            (None, false, IndexVerdict::Sound),
            (Some(30_000), false, IndexVerdict::SubjectInvalid),
            (Some(30_000), true, IndexVerdict::SubjectInvalid),
            (None, true, IndexVerdict::SubjectOverrun),
        ] {
            let by_one = verdict(1, bad_at, cut);
            assert_eq!(by_one.0, expected);
            for threads in [2, 5] {
                assert_eq!(verdict(threads, bad_at, cut), by_one);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_meet_one_row_of_the_file(payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)) {
            let verdict = verdict_of_file(Ok(&sealed(&payload)));
            proptest::prop_assert!(verdict <= IndexVerdict::TailMissing || verdict == IndexVerdict::Sound);
        }
    }
}
