//! What the files of a stream hold, whatever a server makes of them: every message whose record verifies, also behind
//! damage, and those that a sound `index.db` or the neighbours of a damaged place tell of.
//!
//! This is what a forecast holds against the server's decisions to tell what would be lost; it is no salvage: nothing is
//! mended. A compressed block is decoded chunk by chunk, over damaged ones.
//!
//! # Bounds
//!
//! Behind a bad record the search for the next one hashes at most [`SEARCH_PER_BYTE`] bytes for each byte of the block,
//! then gives the rest of the block up, of a compressed one the rest of its damaged chunk; `chunks.rs` states the same for damaged chunks. Memory: one block with its decoded
//! content, and the sequences as sets of spans.

mod chunks;

use std::sync::atomic::Ordering;

use super::engine::Watch;
use super::files::StreamFiles;
use super::index::{FileVerdict, judge_file, totals_of_list, totals_of_state};
use super::model::{BlockKey, StreamKeys};
use super::options::Options;
use super::server::Behaviour;
use super::session::{StreamDir, setup_of};
use super::settings::keys_without_setup;
use crate::block::content;
use crate::crypto::BlockCipher;
use crate::env::FileSystem;
use crate::format::checksum::HashKey;
use crate::format::limits::RECORD_MIN_LENGTH;
use crate::format::names;
use crate::format::record::{RecordKind, RecordRef, Run, Runs, parse_at};
use crate::format::seqset::SeqSet;
use crate::format::state::StateFile;

/// Bytes hashed in search of records, for each byte of the block.
const SEARCH_PER_BYTE: u64 = 16;

/// A record found behind damage may be this far from the sequence before; more is no neighbour.
const JUMP_MAX: u64 = 1 << 32;

/// What the files of a stream hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holdings {
    /// Sequences of the messages that are there and not deleted.
    pub live: SeqSet,
    /// Those of them whose record verifies.
    pub proven: SeqSet,
}

/// One block's records.
#[derive(Debug, Default)]
struct Held {
    number: u32,
    messages: SeqSet,
    erased: SeqSet,
    tombstones: SeqSet,
    /// Between neighbours of a damaged place.
    between: SeqSet,
    first: Option<u64>,
    last: u64,
    /// Bytes before the first record that no record accounts for.
    bad_head: u64,
    /// The same behind the last record: all of them, where there is none.
    bad_tail: u64,
}

/// Takes stock of the blocks in `msgs` (or the directory of that role) of one stream.
pub(crate) fn holdings(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    msgs: &str,
    options: &Options,
    watch: &Watch<'_>,
) -> Holdings {
    let files = StreamFiles::new(fs, &stream.dir);
    let setup = setup_of(files, stream, options).ok();
    let (keys, asset_key) = match &setup {
        Some(setup) => (setup.keys(options), setup.asset_key.clone()),
        None => (keys_without_setup(stream, options), None),
    };
    let index = asset_key_index(files, msgs, &keys, asset_key);
    let mut numbers: Vec<u32> = files
        .list(msgs)
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| names::block_number(entry.name.as_encoded_bytes()))
        .collect();
    numbers.sort_unstable();
    let mut blocks = Vec::new();
    for number in numbers {
        if watch.cancel.load(Ordering::Relaxed) {
            break;
        }
        blocks.push(hold(files, msgs, &keys, number));
    }
    settle_borders(&mut blocks);
    put_together(&blocks, index.as_ref())
}

fn asset_key_index(
    files: StreamFiles<'_>,
    msgs: &str,
    keys: &StreamKeys<'_>,
    asset_key: Option<(crate::crypto::Seed, crate::crypto::Cipher)>,
) -> Option<StateFile> {
    let file = files.read(&format!("{msgs}/index.db"));
    let hash_key = HashKey::for_stream(keys.stream);
    let asset_key = asset_key.as_ref().map(|(seed, cipher)| (seed, *cipher));
    match judge_file(file.as_deref(), &hash_key, asset_key, Behaviour::default()) {
        // An index that disagrees with itself tells nothing.
        FileVerdict::Decoded(state)
            if super::index::totals_agree(&totals_of_state(&state), &totals_of_list(&state)) =>
        {
            Some(*state)
        }
        _ => None,
    }
}

fn hold(files: StreamFiles<'_>, msgs: &str, keys: &StreamKeys<'_>, number: u32) -> Held {
    let mut held = Held {
        number,
        ..Held::default()
    };
    let mut file = Vec::new();
    if files
        .read_into(&format!("{msgs}/{number}.blk"), &mut file)
        .is_err()
    {
        return held;
    }
    held.bad_tail = file.len() as u64;
    let key = keys.open_block_key(number, files.read(&format!("{msgs}/{number}.key")));
    let cipher = match &key {
        Ok(BlockKey::Opened(opened)) => Some(BlockCipher::new(&opened.seed, &opened.nonce)),
        Ok(_) => None,
        Err(_) => return held,
    };
    let hash_key = HashKey::for_block(keys.stream, number);
    let mut spare = Vec::new();
    let decoded = content::decode(&mut file, &mut spare, cipher.as_ref(), &hash_key);
    let mut damaged = chunks::Damaged::default();
    if decoded.is_err() || chunks::lost_its_mark(&file, &hash_key) {
        damaged = chunks::content_over_damage(&file, &mut spare);
        std::mem::swap(&mut file, &mut spare);
    }
    read_records(&file, &damaged.resumes, &hash_key, &mut held);
    held.bad_tail = held.bad_tail.saturating_add(damaged.missing);
    held
}

/// Every record that verifies, in file order. `resumes` are the places from where the content is sound again.
fn read_records(content: &[u8], resumes: &[usize], hash_key: &HashKey, held: &mut Held) {
    let mut stretches = stretches(content.len(), resumes);
    let mut runs = Runs::new(content, hash_key);
    let mut run = Run::new();
    let mut damaged = 0_u64;
    while runs.next_run(&mut run) {
        for record in &run.records {
            held.take(record, &mut damaged);
        }
        let Some(fault) = &run.fault else { continue };
        let from = fault.offset();
        let next = find_record(content, from + 1, hash_key, held.last, &mut stretches);
        let end = next.unwrap_or(content.len());
        damaged += (end - from) as u64;
        match next {
            Some(next) => runs.seek(next),
            None => break,
        }
    }
    held.bad_tail = damaged;
}

/// A piece of the content, and the bytes that may still be hashed in search of records that begin in it.
struct Stretch {
    end: usize,
    budget: u64,
}

/// What a search in garbage uses up is no loss to the sound content behind it.
fn stretches(length: usize, resumes: &[usize]) -> Vec<Stretch> {
    let mut begin = 0;
    let ends = resumes.iter().copied().filter(|end| *end < length);
    let stretch = |end: usize| {
        let bytes = end.saturating_sub(begin) as u64;
        begin = end;
        Stretch {
            end,
            budget: bytes.saturating_mul(SEARCH_PER_BYTE),
        }
    };
    ends.chain([length]).map(stretch).collect()
}

/// The next offset at which a record verifies whose sequence can follow `last`.
fn find_record(
    content: &[u8],
    from: usize,
    hash_key: &HashKey,
    last: u64,
    stretches: &mut [Stretch],
) -> Option<usize> {
    let latest = content.len().checked_sub(RECORD_MIN_LENGTH)?;
    let mut begin = from;
    for stretch in stretches.iter_mut().filter(|stretch| stretch.end > from) {
        let budget = &mut stretch.budget;
        let found = (begin..stretch.end.min(latest + 1)).find(|offset| {
            let Ok(record) = parse_at(content, *offset) else {
                return false;
            };
            let cost = record.length() as u64;
            let near = record.kind() == RecordKind::Tombstone
                || record.sequence().saturating_sub(last) < JUMP_MAX;
            if !near || cost > *budget {
                return false;
            }
            *budget -= cost;
            content::verifies(&record, content, hash_key)
        });
        if found.is_some() {
            return found;
        }
        begin = stretch.end;
    }
    None
}

impl Held {
    /// The sequences between two records were there where the damaged bytes between them have room for all of them.
    fn note_between(&mut self, before: u64, after: u64, damaged: u64) {
        let room = damaged / RECORD_MIN_LENGTH as u64;
        if after > before + 1 && after - before - 1 <= room {
            self.between.insert_range(before + 1..=after - 1);
        }
    }

    /// Takes a record over; `damaged` are the bad bytes since the last one.
    fn take(&mut self, record: &RecordRef, damaged: &mut u64) {
        let seq = record.sequence();
        if record.kind() == RecordKind::Tombstone {
            self.tombstones.insert(seq);
            return;
        }
        if seq == 0 {
            return;
        }
        if record.kind() == RecordKind::Erased {
            self.erased.insert(seq);
        } else if seq > self.last {
            self.messages.insert(seq);
        } else {
            return;
        }
        if seq > self.last {
            if self.first.is_none() {
                self.bad_head = *damaged;
            } else {
                self.note_between(self.last, seq, *damaged);
            }
            *damaged = 0;
            self.last = seq;
        }
        self.first.get_or_insert(seq);
    }
}

/// What lies at the borders of blocks is told by the records on both sides.
fn settle_borders(blocks: &mut [Held]) {
    let (mut last, mut damaged) = (None, 0_u64);
    for block in blocks {
        damaged = damaged.saturating_add(block.bad_head);
        let Some(first) = block.first else {
            damaged = damaged.saturating_add(block.bad_tail);
            continue;
        };
        if let Some(last) = last {
            block.note_between(last, first, damaged);
        }
        last = Some(block.last);
        damaged = block.bad_tail;
    }
}

fn put_together(blocks: &[Held], index: Option<&StateFile>) -> Holdings {
    let mut proven = SeqSet::new();
    let mut told = SeqSet::new();
    let mut gone = SeqSet::new();
    for block in blocks {
        proven.union_with(&block.messages);
        told.union_with(&block.between);
        gone.union_with(&block.tombstones);
        gone.union_with(&block.erased);
    }
    if let Some(index) = index {
        let (first, last) = (index.first_sequence, index.last_sequence);
        let newest = blocks.iter().map(|block| block.last).max();
        let listed_last = index.blocks.last().map_or(0, |entry| entry.number);
        // An older index does not know what limits have removed since, of which nothing tells.
        let fresh = newest.is_none_or(|newest| newest <= last)
            && blocks.iter().all(|block| block.number <= listed_last);
        let mut listed = SeqSet::new();
        for entry in &index.blocks {
            let (from, to) = (
                entry.first_sequence.max(first),
                entry.last_sequence.min(last),
            );
            let least_bytes = entry
                .message_count()
                .saturating_mul(RECORD_MIN_LENGTH as u64);
            if entry.message_count() == 0 || from > to || least_bytes > entry.bytes {
                continue;
            }
            let mut live = SeqSet::new();
            live.insert_range(from..=to);
            for span in entry.deleted.spans() {
                live.remove_range(span);
            }
            if fresh {
                told.union_with(&live);
            }
            listed.union_with(&live);
        }
        // What the index leaves out below its last sequence is deleted, unless the server no longer goes by it: then
        // whatever has no tombstone comes back.
        if fresh {
            retain_listed(&mut proven, &listed, last);
            retain_listed(&mut told, &listed, last);
        }
    }
    for span in gone.spans() {
        proven.remove_range(span.clone());
        told.remove_range(span);
    }
    let mut live = proven.clone();
    live.union_with(&told);
    Holdings { live, proven }
}

/// Takes out of `set` what is at most `last` and not `listed`.
fn retain_listed(set: &mut SeqSet, listed: &SeqSet, last: u64) {
    let mut next = 0;
    for span in listed.spans() {
        if let Some(before) = span.start().checked_sub(1)
            && next <= before
        {
            set.remove_range(next..=before);
        }
        next = span.end().saturating_add(1);
    }
    if next <= last {
        set.remove_range(next..=last);
    }
}

/// What `from` holds and `without` does not.
pub(crate) fn difference(from: &SeqSet, without: &SeqSet) -> SeqSet {
    let mut left = from.clone();
    for span in without.spans() {
        left.remove_range(span);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{NewRecord, encode_record};

    fn key() -> HashKey {
        HashKey::for_block(b"S", 1)
    }

    fn block(records: &[NewRecord<'_>]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for record in records {
            starts.push(bytes.len());
            encode_record(&mut bytes, &key(), record).expect("a record");
        }
        (bytes, starts)
    }

    fn message(sequence: u64) -> NewRecord<'static> {
        NewRecord::Message {
            sequence,
            timestamp_ns: 1,
            subject: b"a.b",
            headers: b"",
            body: b"payload",
        }
    }

    fn held(bytes: &[u8]) -> Held {
        let mut held = Held::default();
        read_records(bytes, &[], &key(), &mut held);
        held
    }

    fn seqs(set: &SeqSet) -> Vec<u64> {
        set.iter().collect()
    }

    #[test]
    fn records_behind_damage_are_found_and_the_damaged_one_is_told_by_its_neighbours() {
        let records: Vec<_> = (1..=9).map(message).collect();
        let (mut bytes, starts) = block(&records);
        let hit = starts[4] + 30;
        bytes[hit] ^= 1;
        let held = held(&bytes);
        assert_eq!(seqs(&held.messages), [1, 2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(seqs(&held.between), [5]);
        assert_eq!(held.bad_tail, 0);
    }

    #[test]
    fn a_damaged_length_does_not_hide_what_follows() {
        let records: Vec<_> = (1..=9).map(message).collect();
        let (mut bytes, starts) = block(&records);
        bytes[starts[2] + 1] ^= 0x7F;
        let held = held(&bytes);
        assert_eq!(seqs(&held.messages), [1, 2, 4, 5, 6, 7, 8, 9]);
        assert_eq!(seqs(&held.between), [3]);
    }

    #[test]
    fn what_was_cut_off_is_told_by_the_next_block() {
        let records: Vec<_> = (1..=5).map(message).collect();
        let (mut bytes, starts) = block(&records);
        bytes.truncate(starts[4] + 31);
        let next = Held {
            number: 2,
            first: Some(6),
            last: 6,
            ..Held::default()
        };
        let mut blocks = vec![held(&bytes), next];
        settle_borders(&mut blocks);
        assert_eq!(seqs(&blocks[1].between), [5]);
        // Nobody can tell what a torn tail of the last block was.
        let mut last = vec![held(&bytes)];
        settle_borders(&mut last);
        assert!(last[0].between.is_empty());
    }

    #[test]
    fn a_block_without_a_record_is_told_by_both_its_neighbours() {
        let records: Vec<_> = (1..=3).map(message).collect();
        let (before, _) = block(&records);
        let records: Vec<_> = (6..=8).map(message).collect();
        let (after, _) = block(&records);
        let mut blocks = vec![held(&before), held(&[7; 90]), held(&after)];
        settle_borders(&mut blocks);
        assert_eq!(seqs(&blocks[2].between), [4, 5]);
    }

    #[test]
    fn a_gap_too_wide_for_its_bytes_is_not_a_loss() {
        let (mut bytes, starts) = block(&[message(1), message(2), message(5000)]);
        bytes[starts[1] + 30] ^= 1;
        let held = held(&bytes);
        assert_eq!(seqs(&held.messages), [1, 5000]);
        assert!(held.between.is_empty());
    }

    #[test]
    fn deleted_messages_are_not_held() {
        let tombstone = NewRecord::Tombstone {
            sequence: 2,
            timestamp_ns: 1,
        };
        let (bytes, _) = block(&[message(1), message(2), message(3), tombstone]);
        let holdings = put_together(&[held(&bytes)], None);
        assert_eq!(seqs(&holdings.live), [1, 3]);
    }

    #[test]
    fn the_search_through_hostile_bytes_is_bounded() {
        // Every offset claims a record of a third of the block.
        let length = 3_000_u32.to_le_bytes();
        let bytes: Vec<u8> = length.iter().copied().cycle().take(9_000).collect();
        let mut all = stretches(bytes.len(), &[]);
        assert_eq!(find_record(&bytes, 0, &key(), 0, &mut all), None);
        assert!(held(&bytes).messages.is_empty());
    }

    #[test]
    fn differences_leave_what_only_the_first_has() {
        let set = |list: &[u64]| {
            let mut set = SeqSet::new();
            for seq in list {
                set.insert(*seq);
            }
            set
        };
        let left = difference(&set(&[1, 2, 3, 9]), &set(&[2, 9, 10]));
        assert_eq!(seqs(&left), [1, 3]);
    }
}
