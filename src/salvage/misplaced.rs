//! Block files under the name of another block: swapped, renamed, or copied over one another.
//!
//! Hashes and keys are bound to the number of a block, so that under another number nothing in it verifies. Of each file
//! that has bytes and gave no record a few records are hashed under the numbers it could have, and where the stream is
//! encrypted its beginning is decrypted with the keys of those numbers, which may lie under other names too. A number
//! that is found so is beyond doubt.
//!
//! Undamaged stores have no such files, and pay nothing. Otherwise the numbers tried are, in this order: those nearby, those of
//! other such files, those that the index lists or the numbering skips, [`BEYOND`] at both ends, and all others on disk;
//! [`CANDIDATES_MAX`] in all. The work is bounded for a stream, however many files there are: [`HASHED_TOTAL`] bytes hashed,
//! [`DECRYPTED_TOTAL`] decrypted, [`KEY_TRIALS_MAX`] trials of keys; a few seconds of one core. Memory: twice
//! [`READ_MAX`] and what that decodes to, and every key tried.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::findings::{BlockFindings, Lifetimes};
use super::read::{Blocks, Misplaced};
use super::scan::probe::{Probe, content_of};
use super::scan::{Hints, Scratch, SubjectWitness};
use super::scan_blocks::Scanned;
use super::sets::difference;
use super::survey::SurveyedBlock;
use crate::block::content::tail_of;
use crate::block::key::{BlockKey, begins_in_plain};
use crate::crypto::{KEY_FILE_MAX, OpenedKey, block_context};
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::names::{BlockFile, STAGED_MESSAGES as STAGED};
use crate::format::seqset::SeqSet;
use crate::report::Watch;

/// Numbers tried for one file.
const CANDIDATES_MAX: usize = 1 << 16;
/// Numbers tried above and below that of the file before all others.
const NEAR: u32 = 64;
/// Numbers tried above the highest and below the lowest there is.
const BEYOND: u32 = 64;
/// Numbers tried that are not there, between those that are.
const HOLES_MAX: usize = 4096;
/// Bytes hashed for all files of a stream together.
const HASHED_TOTAL: u64 = 8 << 30;
/// What making the key of a block's hashes costs, in bytes.
const HASH_KEY_COST: u64 = 256;
/// Bytes decrypted for all files of a stream together.
const DECRYPTED_TOTAL: u64 = 1 << 30;
/// Attempts to open a key file under the number of another block.
const KEY_TRIALS_MAX: u32 = 1 << 16;
/// Key files that are mended, if need be, to see whether they open under their own numbers.
const KEY_MENDS_MAX: u32 = 64;
/// Key files that are tried under other numbers than their own.
const STRAY_KEYS_MAX: usize = 1024;
/// Bytes of a file that are looked at.
const READ_MAX: usize = 4 << 20;
/// Bytes decrypted to see whether a key fits, before all that are looked at.
const FIRST_BYTES: usize = 4096;

/// Finds the blocks that lie under other names, or whose keys do, by the number in the file's name. `scanned` are all blocks of
/// the stream.
pub(super) fn find(
    blocks: Blocks<'_>,
    scanned: &[Scanned],
    subjects: &dyn SubjectWitness,
    watch: &Watch<'_>,
) -> BTreeMap<u32, Misplaced> {
    let mut found = BTreeMap::new();
    let suspects: Vec<u32> = scanned
        .iter()
        .filter(|one| is_suspect(&one.block, &one.find))
        .map(|one| one.find.file)
        .collect();
    if suspects.is_empty() {
        return found;
    }
    let share = suspects.len() as u64;
    let mut search = Search {
        blocks,
        subjects,
        candidates: candidates(blocks, &suspects),
        stray_keys: stray_keys(blocks, scanned),
        keys: HashMap::new(),
        key_trials: KEY_TRIALS_MAX,
        key_mends: KEY_MENDS_MAX,
        hashed_left: 0,
        decrypted_left: 0,
        bytes: Vec::new(),
        plain: Vec::new(),
        scratch: Scratch::default(),
    };
    for file in suspects {
        if watch.cancel.load(Ordering::Relaxed) {
            break;
        }
        search.hashed_left = HASHED_TOTAL / share;
        search.decrypted_left = DECRYPTED_TOTAL / share;
        if let Some(place) = search.recognise(file) {
            found.insert(file, place);
        }
    }
    found
}

/// Whether a file has bytes of which nothing verified. Blocks that an interrupted purge concerns are what they seem.
fn is_suspect(block: &SurveyedBlock, find: &BlockFindings) -> bool {
    let is_staged = block
        .key_repair
        .as_ref()
        .is_some_and(|repair| repair.path.starts_with(STAGED));
    find.file_length > 0
        && find.messages.is_empty()
        && find.erased.is_empty()
        && find.tombstones.is_empty()
        && !is_staged
}

/// The numbers that any file may have, the likely ones first.
fn candidates(blocks: Blocks<'_>, suspects: &[u32]) -> Vec<u32> {
    let evidence = &blocks.gathered.evidence;
    let on_disk = &evidence.blocks;
    let listed = evidence
        .index
        .iter()
        .flat_map(|index| &index.state.blocks)
        .map(|entry| entry.number);
    let holes = on_disk
        .windows(2)
        .flat_map(|pair| match pair {
            [low, high] => low.saturating_add(1)..*high,
            _ => 0..0,
        })
        .take(HOLES_MAX);
    let lowest = on_disk.first().copied().unwrap_or(1);
    let highest = on_disk.last().copied().unwrap_or(0);
    let below = lowest.saturating_sub(BEYOND)..lowest;
    let above = (1..=BEYOND).map(|more| highest.saturating_add(more));
    let mut seen = BTreeSet::new();
    suspects
        .iter()
        .copied()
        .chain(listed.filter(|number| on_disk.binary_search(number).is_err()))
        .chain(holes)
        .chain(below)
        .chain(above)
        .chain(on_disk.iter().copied())
        .filter(|number| seen.insert(*number))
        .take(CANDIDATES_MAX)
        .collect()
}

/// A key file that is not that of the block it is named after, as far as was seen.
struct StrayKey {
    path: String,
    bytes: Vec<u8>,
}

/// Key files that did not open the block of their number.
fn stray_keys(blocks: Blocks<'_>, scanned: &[Scanned]) -> Vec<StrayKey> {
    let Blocks { fs, gathered, .. } = blocks;
    let dir = &blocks.stream.dir;
    let in_place: BTreeSet<u32> = scanned
        .iter()
        .filter(|one| {
            matches!(one.block.key, BlockKey::Opened(_)) && one.block.key_repair.is_none()
        })
        .map(|one| one.find.file)
        .collect();
    let entries = fs.list(&dir.join(&gathered.messages_dir));
    let mut numbers: Vec<u32> = entries
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| BlockFile::parse(entry.name.as_encoded_bytes()))
        .filter(|(number, file)| *file == BlockFile::Key && !in_place.contains(number))
        .map(|(number, _)| number)
        .collect();
    numbers.sort_unstable();
    numbers
        .into_iter()
        .take(STRAY_KEYS_MAX)
        .filter_map(|number| {
            let path = blocks.key_path(number);
            let bytes = fs.read(&dir.join(&path), KEY_FILE_MAX).ok()?;
            Some(StrayKey { path, bytes })
        })
        .collect()
}

/// A key of some block, and the file it was found in.
struct FoundKey {
    path: String,
    opened: OpenedKey,
}

struct Search<'a> {
    blocks: Blocks<'a>,
    subjects: &'a dyn SubjectWitness,
    candidates: Vec<u32>,
    stray_keys: Vec<StrayKey>,
    /// The keys of the numbers tried so far.
    keys: HashMap<u32, Rc<Vec<FoundKey>>>,
    key_trials: u32,
    key_mends: u32,
    hashed_left: u64,
    decrypted_left: u64,
    /// The beginning of the file as it lies.
    bytes: Vec<u8>,
    /// The same decrypted.
    plain: Vec<u8>,
    scratch: Scratch,
}

impl Search<'_> {
    /// What the file named after `file` is, where it is something else than it seemed.
    fn recognise(&mut self, file: u32) -> Option<Misplaced> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let read = self.blocks.read_start(file, READ_MAX, &mut bytes);
        self.bytes = bytes;
        read.ok()?;
        let place = self.in_plain(file).or_else(|| {
            let sealed = self.blocks.gathered.sealed;
            sealed.then(|| self.under_a_key(file)).flatten()
        })?;
        // What was read so before was read rightly; it is damaged.
        let own = Some(self.blocks.key_path(file));
        (place.number != file || place.key_file != own).then_some(place)
    }

    fn numbers(&self, file: u32) -> impl Iterator<Item = u32> + use<> {
        let near = (1..=NEAR).flat_map(move |off| {
            [file.checked_sub(off), file.checked_add(off)]
                .into_iter()
                .flatten()
        });
        let others = self.candidates.clone();
        std::iter::once(file).chain(near).chain(others)
    }

    fn name(&self) -> &[u8] {
        self.blocks.gathered.evidence.name.as_bytes()
    }

    /// By its records as they lie.
    fn in_plain(&mut self, file: u32) -> Option<Misplaced> {
        let name = self.blocks.gathered.evidence.name.as_bytes();
        let numbers = self.numbers(file);
        let own_key = HashKey::for_block(name, file);
        let hints = hints(file, &own_key, self.subjects);
        let content = content_of(&mut self.bytes, &mut self.scratch);
        let probe = Probe::of(content, &hints);
        let mut spent = 0;
        for number in numbers {
            if spent > self.hashed_left {
                break;
            }
            spent += HASH_KEY_COST;
            if probe.is_of(content, &HashKey::for_block(name, number), &mut spent) {
                return Some(Misplaced {
                    number,
                    key_file: None,
                });
            }
        }
        self.hashed_left = self.hashed_left.saturating_sub(spent);
        None
    }

    /// By the keys of other numbers: first by what a block begins with, then by all that is looked at.
    fn under_a_key(&mut self, file: u32) -> Option<Misplaced> {
        for is_whole in [false, true] {
            for number in self.numbers(file) {
                for key in self.keys_of(number).iter() {
                    let fits = match is_whole {
                        false => self.begins_under(number, key),
                        true => self.holds_under(number, key),
                    };
                    if fits? {
                        return Some(Misplaced {
                            number,
                            key_file: Some(key.path.clone()),
                        });
                    }
                }
            }
        }
        None
    }

    /// Whether the block begins well under a key; `None` where the work is used up.
    fn begins_under(&mut self, number: u32, key: &FoundKey) -> Option<bool> {
        let length = FIRST_BYTES.min(self.bytes.len());
        self.decrypt(length, &key.opened)?;
        let hash_key = HashKey::for_block(self.name(), number);
        Some(begins_in_plain(&self.plain, &hash_key))
    }

    /// Whether any record is found under a key.
    fn holds_under(&mut self, number: u32, key: &FoundKey) -> Option<bool> {
        self.decrypt(self.bytes.len(), &key.opened)?;
        let hash_key = HashKey::for_block(self.name(), number);
        let hints = hints(number, &hash_key, self.subjects);
        let content = content_of(&mut self.plain, &mut self.scratch);
        let mut spent = 0;
        let found = Probe::of(content, &hints).is_of(content, &hash_key, &mut spent);
        self.hashed_left = self.hashed_left.checked_sub(spent)?;
        Some(found)
    }

    fn decrypt(&mut self, length: usize, key: &OpenedKey) -> Option<()> {
        self.decrypted_left = self.decrypted_left.checked_sub(length as u64)?;
        self.plain.clear();
        self.plain.extend_from_slice(self.bytes.get(..length)?);
        key.block_cipher().apply(&mut self.plain, 0).ok()
    }

    /// The keys there are of a block: that in its own file, and any that lies in another's.
    fn keys_of(&mut self, number: u32) -> Rc<Vec<FoundKey>> {
        if let Some(known) = self.keys.get(&number) {
            return Rc::clone(known);
        }
        let blocks = self.blocks;
        let ring = blocks.keys.ring(&blocks.gathered.evidence.account);
        let context = block_context(self.name(), number);
        let mut found = Vec::new();
        let own = blocks.key_path(number);
        if let Ok(bytes) = blocks.fs.read(&blocks.stream.dir.join(&own), KEY_FILE_MAX) {
            let mut opened = ring.open(&bytes, &context).ok();
            if opened.is_none() && self.key_mends > 0 {
                self.key_mends -= 1;
                let mended = ring.open_mended(&bytes, &context);
                opened = mended.ok().map(|(opened, _)| opened);
            }
            if let Some(opened) = opened {
                found.push(FoundKey { path: own, opened });
            }
        }
        for stray in &self.stray_keys {
            let Some(left) = self.key_trials.checked_sub(1) else {
                break;
            };
            self.key_trials = left;
            if found.iter().all(|key| key.path != stray.path)
                && let Ok(opened) = ring.open(&stray.bytes, &context)
            {
                let path = stray.path.clone();
                found.push(FoundKey { path, opened });
            }
        }
        let found = Rc::new(found);
        self.keys.insert(number, Rc::clone(&found));
        found
    }
}

/// Whether the index is of the last record on disk, where it seemed not to be for files under other names.
pub(super) fn is_index_fresh(blocks: Blocks<'_>) -> bool {
    let evidence = &blocks.gathered.evidence;
    let Some(index) = &evidence.index else {
        return false;
    };
    let last_block = index.state.last_block;
    let numbers = evidence.blocks.iter().map(|file| blocks.number_in(*file));
    if blocks.misplaced.is_empty() || numbers.max() != Some(last_block) {
        return false;
    }
    let mut bytes = Vec::new();
    evidence
        .blocks
        .iter()
        .filter(|file| blocks.number_in(**file) == last_block)
        .any(|file| {
            let read = blocks.read(*file, &mut bytes);
            read.is_ok_and(|read| !matches!(read.key, BlockKey::Closed(_)))
                && tail_of(&bytes) == index.state.last_record_hash
        })
}

/// Puts blocks in the order of their numbers; of several files with one block first the one that is taken for it: one that
/// gave messages, then the one of that name, then the one that gave most. What the others have besides and that one had not
/// lost is outdated.
pub(super) fn put_in_order(scanned: &mut [Scanned]) {
    let is_in_order = scanned
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.find.number < b.find.number));
    if is_in_order {
        return;
    }
    scanned.sort_by_key(|one| {
        let find = &one.find;
        (
            find.number,
            find.messages.is_empty(),
            find.file != find.number,
            Reverse(find.messages.len()),
            find.file,
        )
    });
    for files in scanned.chunk_by_mut(|a, b| a.find.number == b.find.number) {
        if let Some((taken, others)) = files.split_first_mut() {
            for other in others {
                other.block.legacy = None;
                let besides = difference(&other.find.messages, &taken.find.messages);
                let outdated = difference(&besides, &lost_by(&taken.find));
                other.find.outdated.union_with(&outdated);
            }
        }
    }
}

/// The sequences that may be missing from a block for its damage: within its gaps, and behind its end.
fn lost_by(find: &BlockFindings) -> SeqSet {
    let mut lost = SeqSet::new();
    let end = find.last.map_or(0, |edge| edge.seq);
    lost.insert_range(end.saturating_add(1)..=SEQUENCE_MAX);
    for gap in &find.gaps {
        let from = gap.before.map_or(0, |seq| seq.saturating_add(1));
        let to = gap.after.map_or(SEQUENCE_MAX, |seq| seq.saturating_sub(1));
        if from <= to {
            lost.insert_range(from..=to);
        }
    }
    lost
}

fn hints<'a>(number: u32, hash_key: &'a HashKey, subjects: &'a dyn SubjectWitness) -> Hints<'a> {
    Hints {
        number,
        hash_key,
        sequences: &(1..=SEQUENCE_MAX),
        subjects,
        work_limit: 0,
        lifetimes: Lifetimes::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings::{Gap, GapCause};
    use super::super::sets::ranges;
    use super::*;
    use crate::state::SeqTime;

    fn held(file: u32, number: u32, seqs: &[u64], gap: Option<(u64, u64)>) -> Scanned {
        let edge = |seq: &u64| SeqTime {
            seq: *seq,
            timestamp_ns: 0,
        };
        let gap = gap.map(|(before, after)| Gap {
            offset: 0,
            length: 100,
            file_offset: 0,
            file_length: 100,
            cause: GapCause::WorkLimit,
            before: Some(before),
            after: Some(after),
        });
        let find = BlockFindings {
            number,
            file,
            file_length: 1000,
            messages: seqs.iter().copied().collect(),
            first: seqs.first().map(edge),
            last: seqs.last().map(edge),
            gaps: gap.into_iter().collect(),
            ..BlockFindings::default()
        };
        let block = SurveyedBlock {
            key: BlockKey::Plain,
            key_repair: None,
            legacy: None,
        };
        Scanned {
            block,
            find,
            walk: None,
        }
    }

    fn order(scanned: &[Scanned]) -> Vec<(u32, u32)> {
        let places = scanned.iter().map(|one| (one.find.number, one.find.file));
        places.collect()
    }

    #[test]
    fn the_block_of_that_name_is_taken_and_a_copy_fills_its_gaps() {
        let mut scanned = vec![
            held(1, 1, &[1], None),
            held(2, 5, &[20, 21, 22, 23, 24, 25, 26, 27, 28, 29], None),
            held(5, 5, &[20, 22, 26, 27], Some((22, 26))),
            held(6, 2, &[5], None),
        ];
        put_in_order(&mut scanned);
        assert_eq!(order(&scanned), [(1, 1), (2, 6), (5, 5), (5, 2)]);
        // 21 was gone from the block when it was written last; what lies in the gap and behind the end may be lost.
        assert_eq!(ranges(&scanned[3].find.outdated), [(21, 21)]);
        assert!(scanned[2].find.outdated.is_empty());
    }

    #[test]
    fn noise_under_a_name_gives_way_to_a_copy_and_of_copies_the_fullest_is_taken() {
        let mut scanned = vec![
            held(3, 3, &[], None),
            held(8, 3, &[10, 11], None),
            held(9, 3, &[10, 11, 12], None),
        ];
        put_in_order(&mut scanned);
        assert_eq!(order(&scanned), [(3, 9), (3, 8), (3, 3)]);
        assert!(scanned.iter().all(|one| one.find.outdated.is_empty()));
    }

    #[test]
    fn only_files_that_gave_nothing_are_suspect() {
        let Scanned {
            block, mut find, ..
        } = held(3, 3, &[], None);
        assert!(is_suspect(&block, &find));
        find.tombstones.push(SeqTime::default());
        assert!(!is_suspect(&block, &find));
        find.tombstones.clear();
        find.file_length = 0;
        assert!(!is_suspect(&block, &find));
    }
}
