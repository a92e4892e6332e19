//! The fast path: what `index.db` is worth.
//!
//! Reading order and verdicts follow the reference's decision table (RECOVERY, section 2.1). Rows
//! D1 to D11 judge the file alone and live in [`judge_file`]; rows D12 to D18 hold it against the
//! blocks and live in [`Model::recover_from_index`].

use std::collections::BTreeSet;

use super::fault::{Cause, Fault};
use super::model::{Block, Edge, Model, Totals};
use super::server::{Behaviour, Feature};
use crate::crypto::{Cipher, Seed, open_sealed};
use crate::format::checksum::HashKey;
use crate::format::names;
use crate::format::state::{STATE_MINIMUM_LENGTH, StateError, StateFile, split_trailing_hash};
use crate::report::actions::ActionKind;
use crate::report::events::{Event, EventCode};
use crate::report::stream::Lost;
use crate::stream::files::FileFault;

/// The rows of the decision table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    missing_docs,
    reason = "the rows are named by the recovery reference, section 2.1"
)]
pub enum Row {
    D1,
    D2,
    D3,
    D4,
    D5,
    D6,
    D6a,
    D7,
    D8,
    D8a,
    D9,
    D10,
    D11,
    D12,
    D13,
    D14,
    D15,
    D16,
    D17,
    D18,
}

impl Row {
    /// Every row, in the order they are checked.
    #[cfg(test)]
    pub const ALL: [Row; 20] = [
        Row::D1,
        Row::D2,
        Row::D3,
        Row::D4,
        Row::D5,
        Row::D6,
        Row::D6a,
        Row::D7,
        Row::D8,
        Row::D8a,
        Row::D9,
        Row::D10,
        Row::D11,
        Row::D12,
        Row::D13,
        Row::D14,
        Row::D15,
        Row::D16,
        Row::D17,
        Row::D18,
    ];

    /// The event the row leaves; none for a sound index.
    pub fn code(self) -> Option<EventCode> {
        Some(match self {
            Row::D1 => EventCode::IndexAbsent,
            Row::D2 => EventCode::IndexUnreadable,
            Row::D3 => EventCode::IndexTooShort,
            Row::D4 => EventCode::IndexHashMismatch,
            Row::D5 => EventCode::IndexDecryptFailed,
            Row::D6 => EventCode::IndexBadVersion,
            Row::D6a => EventCode::IndexSubjectCount,
            Row::D7 => EventCode::IndexSubjectOverrun,
            Row::D8 => EventCode::IndexSubjectInvalid,
            Row::D8a => EventCode::IndexBlockCount,
            Row::D9 => EventCode::IndexBlockListTruncated,
            Row::D10 => EventCode::IndexDmapInvalid,
            Row::D11 => EventCode::IndexTailMissing,
            Row::D12 => EventCode::IndexLastBlockMismatch,
            Row::D13 => EventCode::IndexLastBlockMissing,
            Row::D14 => EventCode::IndexStaleLastRecord,
            Row::D15 => EventCode::IndexStaleExtraBlocks,
            Row::D16 => EventCode::IndexBlockMissing,
            Row::D17 => EventCode::IndexTotalsMismatch,
            Row::D18 => return None,
        })
    }

    /// Whether the server deletes the file.
    pub fn deletes_file(self) -> bool {
        !matches!(
            self,
            Row::D1 | Row::D2 | Row::D5 | Row::D13 | Row::D14 | Row::D15 | Row::D16 | Row::D18
        )
    }

    /// Whether the totals of the file are remembered when it is given up.
    #[cfg(test)]
    pub fn remembers(self) -> bool {
        self >= Row::D12
    }
}

/// What the file alone is worth.
#[derive(Debug)]
pub enum FileVerdict {
    /// It decodes.
    Decoded(Box<StateFile>),
    /// It is given up.
    Rejected {
        /// By which row.
        row: Row,
        /// The particulars.
        detail: String,
        /// The server would crash on it instead (H24).
        would_panic: bool,
    },
}

fn rejected(row: Row, detail: impl Into<String>) -> FileVerdict {
    FileVerdict::Rejected {
        row,
        detail: detail.into(),
        would_panic: false,
    }
}

/// Judges the bytes of `index.db`: rows D1 to D11. Pure.
///
/// `asset_key` is the stream's asset key with its cipher, where `meta.key` gave one.
pub fn judge_file(
    file: Result<&[u8], &FileFault>,
    stream_hash_key: &HashKey,
    asset_key: Option<(&Seed, Cipher)>,
    server: Behaviour,
) -> FileVerdict {
    let bytes = match file {
        Ok(bytes) => bytes,
        Err(FileFault::Missing) => return rejected(Row::D1, "there is none"),
        Err(FileFault::Failed(detail)) => return rejected(Row::D2, detail.clone()),
    };
    if bytes.len() < STATE_MINIMUM_LENGTH {
        return rejected(
            Row::D3,
            format!(
                "{} bytes, at least {STATE_MINIMUM_LENGTH} expected",
                bytes.len()
            ),
        );
    }
    let Some((payload, stored)) = split_trailing_hash(bytes) else {
        return rejected(Row::D3, format!("{} bytes", bytes.len()));
    };
    let computed = stream_hash_key.hash64(&[payload]).to_le_bytes();
    if computed != stored {
        let detail = format!(
            "computed {:016x}, stored {:016x}",
            u64::from_be_bytes(computed),
            u64::from_be_bytes(stored)
        );
        return rejected(Row::D4, detail);
    }
    let opened;
    let payload = match asset_key {
        None => payload,
        Some((seed, cipher)) => match open_sealed(payload, seed, cipher) {
            Ok(plain) => {
                opened = plain;
                opened.as_slice()
            }
            Err(error) => return rejected(Row::D5, error.to_string()),
        },
    };
    match StateFile::decode(payload) {
        Ok(state) if state.version > server.version().index_version() => {
            let detail = format!(
                "it is of version {}, and server {} reads up to {}",
                state.version,
                server.version(),
                server.version().index_version()
            );
            rejected(Row::D6, detail)
        }
        Ok(state) => FileVerdict::Decoded(Box::new(state)),
        Err(error) => rejected_by(&error, payload, server),
    }
}

/// More blocks than this take the older servers' memory, or crash them, before they notice that the list is short.
const UNBOUNDED_BLOCKS: u64 = 1 << 27;

fn rejected_by(error: &StateError, payload: &[u8], server: Behaviour) -> FileVerdict {
    let known = payload
        .get(1)
        .is_none_or(|version| *version <= server.version().index_version());
    let (row, unbounded) = match error {
        _ if !known => (Row::D6, false),
        // What cannot be decoded reads as zero up to the last number, where the server crashes.
        StateError::SubjectCount { count: None, .. }
        | StateError::SubjectOverrun { length: None, .. }
        | StateError::BlockCount { count: None, .. } => (row_of(error), true),
        StateError::BlockCount {
            count: Some(count), ..
        } => (row_of(error), *count > UNBOUNDED_BLOCKS),
        _ => (row_of(error), false),
    };
    FileVerdict::Rejected {
        row,
        detail: error.to_string(),
        would_panic: known && error.would_panic()
            || unbounded && !server.has(Feature::IndexCountsBounded),
    }
}

fn row_of(error: &StateError) -> Row {
    match error.decision_row() {
        "D6" => Row::D6,
        "D6a" => Row::D6a,
        "D7" => Row::D7,
        "D8" => Row::D8,
        "D8a" => Row::D8a,
        "D9" => Row::D9,
        "D10" => Row::D10,
        _ => Row::D11,
    }
}

impl Model<'_> {
    /// Tries the fast path. Returns the row that decided; D18 means the state now stands as the index
    /// has it. For any other row the caller starts over from the blocks.
    ///
    /// # Errors
    ///
    /// [`Fault`] only where the server would crash on the file (H24).
    pub fn recover_from_index(&mut self, verdict: FileVerdict) -> Result<Row, Fault> {
        let state = match verdict {
            FileVerdict::Rejected {
                row,
                detail,
                would_panic,
            } => {
                self.give_index_up(row, detail.clone());
                if would_panic {
                    let detail = format!("the server crashes while it decodes index.db: {detail}");
                    self.event(Event::new(EventCode::OpenWouldCrash, detail).file("msgs/index.db"));
                    return Err(Fault::general(Cause::Other(
                        "index.db ends inside a number the server does not check".into(),
                    )));
                }
                return Ok(row);
            }
            FileVerdict::Decoded(state) => state,
        };
        let listed = self.install_index(&state);
        let (row, detail) = self.hold_against_blocks(&state, listed)?;
        if row == Row::D18 {
            return Ok(row);
        }
        if row != Row::D16 {
            self.give_index_up(row, detail);
        }
        Ok(row)
    }

    fn give_index_up(&mut self, row: Row, detail: String) {
        if let Some(code) = row.code() {
            self.event(Event::new(code, detail.clone()).file("msgs/index.db"));
        }
        if row.deletes_file() {
            self.action(ActionKind::RemoveIndex, "msgs/index.db", None, detail);
            self.disk.removed_files.push("msgs/index.db".to_owned());
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
            block.first = Edge {
                seq: entry.first_sequence,
                ts: entry.first_time_ns,
            };
            block.last = Edge {
                seq: entry.last_sequence,
                ts: entry.last_time_ns,
            };
            block.messages = messages;
            block.bytes = entry.bytes;
            block.ttl_count = entry.ttl_count;
            block.schedule_count = entry.schedule_count;
            block.deleted = entry.deleted.clone();
            track(&mut over, &block);
            self.add_block(block);
        }
        self.totals = totals_of_state(state);
        over
    }

    /// Rows D12 to D18.
    fn hold_against_blocks(
        &mut self,
        state: &StateFile,
        listed: Totals,
    ) -> Result<(Row, String), Fault> {
        let Some(last) = self
            .blocks
            .last()
            .filter(|block| block.number == state.last_block)
        else {
            return Ok((
                Row::D12,
                format!(
                    "it ends with block {}, which it does not list last",
                    state.last_block
                ),
            ));
        };
        let number = last.number;
        let last_at = self.blocks.len() - 1;
        if self.disk.removes(number)
            || matches!(
                self.disk.files.exists(&self.disk.block_path(number)),
                Ok(false)
            )
        {
            self.lose_block(last_at)?;
            return Ok((Row::D13, format!("its last block, {number}, is not there")));
        }
        if let Some(verdict) = self.hold_against_last_record(last_at, number, state) {
            return Ok(verdict);
        }
        if let Some(verdict) = self.hold_against_listing(state.last_block)? {
            return Ok(verdict);
        }
        if self.rules.server.has(Feature::IndexTotalsChecked)
            && !totals_agree(&self.totals, &listed)
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
            return Ok((Row::D17, detail));
        }
        Ok((Row::D18, String::new()))
    }

    /// Row D14: the last record of the last block.
    fn hold_against_last_record(
        &mut self,
        last_at: usize,
        number: u32,
        state: &StateFile,
    ) -> Option<(Row, String)> {
        match self.last_checksum(last_at) {
            Ok(found) if found == state.last_record_hash => None,
            Ok(found) => {
                let detail = format!(
                    "the last record of block {number} has hash {:016x}, the index expects {:016x}",
                    u64::from_be_bytes(found),
                    u64::from_be_bytes(state.last_record_hash)
                );
                Some((Row::D14, detail))
            }
            Err(fault) => Some((Row::D14, fault.to_string())),
        }
    }

    /// Rows D15 and D16: what the directory has beyond the list, and what it lacks of it.
    fn hold_against_listing(&mut self, last_block: u32) -> Result<Option<(Row, String)>, Fault> {
        let mut on_disk = match self.listed_numbers() {
            Ok(numbers) => numbers,
            Err(detail) => {
                self.event(Event::new(EventCode::IoError, detail).file("msgs"));
                Vec::new()
            }
        };
        on_disk.sort_unstable();
        let beyond = on_disk.partition_point(|found| *found <= last_block);
        if let Some(extra) = on_disk.get(beyond) {
            let detail = format!("block {extra} lies behind its last block, {last_block}");
            return Ok(Some((Row::D15, detail)));
        }
        let mut missing = false;
        let noticed = self.rules.server.has(Feature::MissingBlocksNoticed);
        for at in 0..self.blocks.len() {
            let Some(number) = self.blocks.get(at).map(|block| block.number) else {
                continue;
            };
            if noticed && on_disk.binary_search(&number).is_err() {
                missing = true;
                self.lose_block(at)?;
                let detail = format!("block {number} is listed in the index and not there");
                let event = Event::new(EventCode::IndexBlockMissing, detail);
                self.event(event.file(format!("msgs/{number}.blk")));
            }
        }
        if !missing {
            self.note_unlisted(&on_disk);
        }
        Ok(missing.then(|| (Row::D16, String::new())))
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
        let number = self.blocks.get(at).map_or(0, |block| block.number);
        let detail = format!("{} messages, {} bytes", lost.seqs.len(), lost.bytes);
        self.block_event(EventCode::LostData, number, None, detail);
    }

    /// The last 8 decrypted bytes of a block's file.
    fn last_checksum(&mut self, at: usize) -> Result<[u8; 8], Fault> {
        let Some(number) = self.blocks.get(at).map(|block| block.number) else {
            return Err(Fault::general(Cause::Missing));
        };
        let path = self.disk.block_path(number);
        let failed = |fault: FileFault| Fault::block(number, Cause::Io(fault.to_string()));
        let (length, tail) = self.disk.files.read_tail::<8>(&path).map_err(failed)?;
        if let Some(block) = self.blocks.get_mut(at) {
            block.raw_bytes = length;
        }
        let Some(tail) = tail else { return Ok([0; 8]) };
        if self.disk.keys.current.is_none() {
            return Ok(tail);
        }
        self.load_key(at)?;
        self.disk
            .content(number)
            .map(|content| content.tail)
            .or_else(|cause| match cause {
                Cause::Content(_) => self
                    .disk
                    .decrypted_tail(number)
                    .map_err(|cause| Fault::block(number, cause)),
                cause => Err(Fault::block(number, cause)),
            })
    }

    /// Block numbers of the directory listing, as the server reads names.
    pub fn listed_numbers(&self) -> Result<Vec<u32>, String> {
        let entries = self
            .disk
            .files
            .list(self.disk.msgs)
            .map_err(|fault| fault.to_string())?;
        Ok(entries
            .iter()
            .map(|entry| entry.name.as_encoded_bytes())
            .filter(|name| {
                !names::block_number(name).is_some_and(|number| self.disk.removes(number))
            })
            .filter_map(names::lax_block_number_unsigned)
            .collect())
    }
}

/// Adds a block to totals the way the index check does: times are left out of it.
fn track(totals: &mut Totals, block: &Block) {
    if totals.first.seq == 0 || (block.first.seq < totals.first.seq && block.first.ts != 0) {
        totals.first.seq = block.first.seq;
    }
    totals.last.seq = totals.last.seq.max(block.last.seq);
    totals.messages = totals.messages.wrapping_add(block.messages);
    totals.bytes = totals.bytes.wrapping_add(block.bytes);
}

/// Whether the totals of an index and of its blocks agree; the first sequence counts only where the
/// blocks' is above 1.
pub fn totals_agree(stream: &Totals, blocks: &Totals) -> bool {
    stream.messages == blocks.messages
        && stream.bytes == blocks.bytes
        && stream.last.seq == blocks.last.seq
        && (blocks.first.seq <= 1 || stream.first.seq == blocks.first.seq)
}

/// The totals an index states.
pub fn totals_of_state(state: &StateFile) -> Totals {
    Totals {
        messages: state.messages,
        bytes: state.bytes,
        first: Edge {
            seq: state.first_sequence,
            ts: state.first_time_ns,
        },
        last: Edge {
            seq: state.last_sequence,
            ts: state.last_time_ns,
        },
    }
}

/// Totals over all blocks, for the same comparison when the index is written.
pub fn totals_over(blocks: &[Block]) -> Totals {
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

    fn row_of_file(file: Result<&[u8], &FileFault>) -> Row {
        match judge_file(file, &key(), None, Behaviour::default()) {
            FileVerdict::Decoded(_) => Row::D18,
            FileVerdict::Rejected { row, .. } => row,
        }
    }

    #[test]
    fn every_row_has_one_place_and_its_own_event() {
        let mut sorted = Row::ALL;
        sorted.sort();
        assert_eq!(
            sorted,
            Row::ALL,
            "rows are listed in the order they are checked"
        );
        let codes: HashSet<_> = Row::ALL.iter().filter_map(|row| row.code()).collect();
        assert_eq!(
            codes.len(),
            Row::ALL.len() - 1,
            "only a sound index leaves no event"
        );
        for row in Row::ALL {
            // A file is deleted only where its content is at fault, and remembered only once decoded.
            if matches!(row, Row::D13 | Row::D14 | Row::D15 | Row::D16) {
                assert!(row.remembers() && !row.deletes_file(), "{row:?}");
            }
            if matches!(row, Row::D3 | Row::D4 | Row::D6 | Row::D9 | Row::D11) {
                assert!(!row.remembers() && row.deletes_file(), "{row:?}");
            }
        }
    }

    #[test]
    fn the_file_alone_meets_exactly_the_row_meant_for_it() {
        let sound = sound();
        assert_eq!(row_of_file(Ok(&sealed(&sound))), Row::D18);
        assert_eq!(row_of_file(Err(&FileFault::Missing)), Row::D1);
        assert_eq!(row_of_file(Err(&FileFault::Failed("no".into()))), Row::D2);
        assert_eq!(row_of_file(Ok(&[0; 31])), Row::D3);
        let mut flipped = sealed(&sound);
        flipped[9] ^= 1;
        assert_eq!(row_of_file(Ok(&flipped)), Row::D4);
        let mut version = sound.clone();
        version[1] = 5;
        assert_eq!(row_of_file(Ok(&sealed(&version))), Row::D6);
        let mut subjects = sound.clone();
        subjects[8] = 120;
        assert_eq!(row_of_file(Ok(&sealed(&subjects))), Row::D6a);
        let mut subject_length = sound.clone();
        subject_length[8] = 1;
        subject_length[9] = 120;
        assert_eq!(row_of_file(Ok(&sealed(&subject_length))), Row::D7);
        let mut subject = sound.clone();
        subject[8] = 1;
        subject[9] = 1;
        subject[10] = b' ';
        assert_eq!(row_of_file(Ok(&sealed(&subject))), Row::D8);
        let mut blocks = sound.clone();
        blocks[9] = 120;
        assert_eq!(row_of_file(Ok(&sealed(&blocks))), Row::D8a);
        let mut cut_list = sound.clone();
        cut_list[9] = 30;
        assert_eq!(row_of_file(Ok(&sealed(&cut_list))), Row::D9);
        let seed = Seed::new([7; 32]);
        let asset_key = Some((&seed, Cipher::Aes));
        let unopened = judge_file(Ok(&sealed(&sound)), &key(), asset_key, Behaviour::default());
        assert!(matches!(
            unopened,
            FileVerdict::Rejected { row: Row::D5, .. }
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_meet_one_row_of_the_file(payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)) {
            let row = row_of_file(Ok(&sealed(&payload)));
            proptest::prop_assert!(row <= Row::D11 || row == Row::D18);
        }
    }
}
