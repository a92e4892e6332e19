//! Scanning the blocks of a stream side by side, and once more where that may find more.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::Ordering;

use super::error::SalvageError;
use super::findings::{BlockFindings, Gap, GapCause, Lifetimes};
use super::liveness::LegacyDeletes;
use super::misplaced;
use super::read::{Blocks, Misplaced};
use super::scan::{Hints, Scratch, SubjectWitness, scan_block};
use super::side_files::Gathered;
use super::survey::{SIDE_FILE_MAX, SurveyedBlock, Witness};
use super::walks::{BlockWalk, Walker};
use crate::block::key::BlockKey;
use crate::block::read::ReadBlock;
use crate::crypto::open_legacy_index;
use crate::env::ReadFiles;
use crate::format::bit_repair::FileRepair;
use crate::format::checksum::HashKey;
use crate::format::legacy::idx::{self, IdxOutcome};
use crate::format::limits::SEQUENCE_MAX;
use crate::format::names::{BlockFile, STAGED_MESSAGES as STAGED};
use crate::parallel::Crew;
use crate::recovery::server::{Quirk, ServerBehavior};
use crate::recovery::walked::WalkedSubjects;
use crate::report::{Phase, Progress, Watch};
use crate::state::SeqTime;
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Bytes that may be hashed or decoded in search of a mend, per bad place, in the first scan: about ten milliseconds,
/// enough for every bit of a record of 2.9 KiB.
pub const WORK_LIMIT: u64 = 32 << 20;

/// Where that was not enough, the blocks are scanned once more with so many bytes shared out among the places left open:
/// about ten seconds of one core for a stream, however it is damaged. One place alone gets enough for every bit of a record
/// of 128 KiB, the chunk of an object store.
const SECOND_WORK_TOTAL: u64 = 72 << 30;

/// A block, what was found in it, and what recovery wants to know of it.
pub(super) struct Scanned {
    pub block: SurveyedBlock,
    pub find: BlockFindings,
    pub walk: Option<BlockWalk>,
}

/// Scans all block files, each as the block it holds; returns them in the order of the blocks, and those that are misplaced.
pub(super) fn scan_all(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    gathered: &mut Gathered,
    options: &Options,
    walked_subjects: Option<&WalkedSubjects>,
    watch: &Watch<'_>,
) -> Result<(Vec<Scanned>, BTreeMap<u32, Misplaced>), SalvageError> {
    let nowhere = BTreeMap::new();
    let mut blocks = Blocks {
        fs,
        stream,
        gathered,
        keys: &options.keys,
        misplaced: &nowhere,
    };
    let pass = Pass {
        blocks,
        subjects: &Witness::new(&blocks.gathered.evidence),
        walked_subjects,
        lifetimes: lifetimes(blocks.gathered, options),
        threads: options.threads,
        watch,
    };
    let mut scanned = pass.scan(&blocks.gathered.evidence.blocks, WORK_LIMIT)?;
    let misplaced = misplaced::find(blocks, &scanned, pass.subjects, watch);
    blocks.misplaced = &misplaced;
    if misplaced::is_index_fresh(blocks)
        && let Some(index) = &mut gathered.evidence.index
    {
        index.fresh = true;
    }
    let blocks = Blocks {
        fs,
        stream,
        gathered,
        keys: &options.keys,
        misplaced: &misplaced,
    };
    scan_again(blocks, &mut scanned, options, watch)?;
    misplaced::put_in_order(&mut scanned);
    Ok((scanned, misplaced))
}

/// Scans the files again that are misplaced, as what they are; then those in which a search for a mend was cut short, with
/// more work for each place the fewer they are.
fn scan_again(
    blocks: Blocks<'_>,
    scanned: &mut [Scanned],
    options: &Options,
    watch: &Watch<'_>,
) -> Result<(), SalvageError> {
    let open = |find: &BlockFindings| {
        let open = find.gaps.iter();
        open.filter(|gap| gap.cause == GapCause::WorkLimit).count() as u64
    };
    let is_misplaced = |find: &BlockFindings| blocks.misplaced.contains_key(&find.file);
    let mut finds = scanned.iter().map(|one| &one.find);
    if !finds.any(|find| is_misplaced(find) || open(find) > 0) {
        return Ok(());
    }
    let pass = Pass {
        blocks,
        subjects: &Witness::new(&blocks.gathered.evidence),
        walked_subjects: None,
        lifetimes: lifetimes(blocks.gathered, options),
        threads: options.threads,
        watch,
    };
    pass.replace(scanned, WORK_LIMIT, is_misplaced)?;
    let places: u64 = scanned.iter().map(|one| open(&one.find)).sum();
    let work_limit = SECOND_WORK_TOTAL.checked_div(places).unwrap_or(0);
    if work_limit <= WORK_LIMIT {
        return Ok(());
    }
    pass.replace(scanned, work_limit, |find| open(find) > 0)
}

/// Scans of a stream's blocks side by side.
struct Pass<'a> {
    blocks: Blocks<'a>,
    subjects: &'a Witness<'a>,
    walked_subjects: Option<&'a WalkedSubjects>,
    lifetimes: Lifetimes,
    threads: usize,
    watch: &'a Watch<'a>,
}

/// What of the lifetimes of messages the configuration and the options make matter.
fn lifetimes(gathered: &Gathered, options: &Options) -> Lifetimes {
    let meta = &gathered.evidence.meta;
    if !options.expire {
        return Lifetimes::default();
    }
    let has_ttl = meta.allow_msg_ttl && ServerBehavior::of(options.server).has(Quirk::MessageTtl);
    Lifetimes {
        ttl_at_ns: has_ttl.then_some(options.now_ns),
        has_age: meta.max_age_ns > 0,
    }
}

impl Pass<'_> {
    /// Scans once more what was `chosen`.
    fn replace(
        &self,
        scanned: &mut [Scanned],
        work_limit: u64,
        chosen: impl Fn(&BlockFindings) -> bool,
    ) -> Result<(), SalvageError> {
        let slots: Vec<&mut Scanned> = scanned.iter_mut().filter(|one| chosen(&one.find)).collect();
        if slots.is_empty() {
            return Ok(());
        }
        let files: Vec<u32> = slots.iter().map(|one| one.find.file).collect();
        for (slot, again) in slots.into_iter().zip(self.scan(&files, work_limit)?) {
            *slot = again;
        }
        Ok(())
    }

    /// Threads take files off a shared counter; results are put in the order of `files`.
    fn scan(&self, files: &[u32], work_limit: u64) -> Result<Vec<Scanned>, SalvageError> {
        let worker = || PassWorker {
            blocks: self.blocks,
            subjects: self.subjects,
            work_limit,
            lifetimes: self.lifetimes,
            file: Vec::new(),
            scratch: Scratch::default(),
            walker: self.walked_subjects.map(Walker::new),
        };
        let tell = |done| {
            (self.watch.progress)(Progress {
                phase: Phase::Scan,
                done: done as u64,
                total: files.len() as u64,
            });
        };
        let crew = Crew::of(self.threads)
            .until(self.watch.cancel)
            .telling(&tell);
        let scanned = crew.map_with(files, worker, |scanner, file| {
            Ok::<_, Infallible>(scanner.scan(*file))
        });
        if self.watch.cancel.load(Ordering::Relaxed) {
            return Err(SalvageError::Interrupted(self.blocks.stream.dir.clone()));
        }
        let Ok((scanned, _)) = scanned;
        Ok(scanned)
    }
}

struct PassWorker<'a> {
    blocks: Blocks<'a>,
    subjects: &'a dyn SubjectWitness,
    work_limit: u64,
    lifetimes: Lifetimes,
    file: Vec<u8>,
    scratch: Scratch,
    walker: Option<Walker<'a>>,
}

impl PassWorker<'_> {
    fn scan(&mut self, file: u32) -> Scanned {
        let number = self.blocks.number_in(file);
        let stamp = self.walker.as_ref().and_then(|_| self.blocks.stamp(file));
        let read = match self.blocks.read(file, &mut self.file) {
            Ok(read) => read,
            Err(error) => {
                self.file.clear();
                ReadBlock {
                    key: BlockKey::Closed(error.to_string()),
                    repair: None,
                    cut: Some(error.to_string()),
                    zero_tail: 0,
                }
            }
        };
        let mut find = match &read.key {
            BlockKey::Closed(reason) => closed(number, &self.file, read.cut.as_ref(), reason),
            _ => self.scan_open(number, read.cut),
        };
        find.file = file;
        find.zero_tail = read.zero_tail;
        if find.messages.is_empty() && self.is_staged(read.repair.as_ref()) {
            // What a purge has not finished is not done, and the server, which cannot open this block, does nothing it says.
            find.tombstones.clear();
        }
        let legacy = self.legacy(number, &read.key);
        let walk = match (&mut self.walker, stamp) {
            (Some(walker), Some(stamp)) => {
                walker.walk(&find, &self.file, &self.scratch.content, stamp)
            }
            _ => None,
        };
        let block = SurveyedBlock {
            key: read.key,
            key_repair: read.repair,
            legacy,
        };
        Scanned { block, find, walk }
    }

    /// Whether a block's key was found where an interrupted purge moved it ahead of the block.
    fn is_staged(&self, repair: Option<&FileRepair>) -> bool {
        let staged = |repair: &FileRepair| {
            repair.path.starts_with(STAGED) && self.blocks.gathered.messages_dir != STAGED
        };
        repair.is_some_and(staged)
    }

    fn scan_open(&mut self, number: u32, cut: Option<String>) -> BlockFindings {
        let name = self.blocks.gathered.evidence.name.as_bytes();
        let hints = Hints {
            number,
            hash_key: &HashKey::for_block(name, number),
            sequences: &self.sequences(number),
            subjects: self.subjects,
            work_limit: self.work_limit,
            lifetimes: self.lifetimes,
        };
        let mut find = scan_block(&mut self.file, &hints, &mut self.scratch);
        if let Some(detail) = cut {
            find.gaps.push(Gap {
                offset: find.content_length,
                length: 1,
                file_offset: find.file_length,
                file_length: 0,
                cause: GapCause::Unreadable(detail),
                before: find.last.map(|edge| edge.seq),
                after: None,
            });
        }
        find
    }

    /// Where the sequences of a block lie, as far as the index tells.
    fn sequences(&self, number: u32) -> std::ops::RangeInclusive<u64> {
        let Some(index) = &self.blocks.gathered.evidence.index else {
            return 1..=SEQUENCE_MAX;
        };
        let state = &index.state;
        let at = state.blocks.partition_point(|entry| entry.number < number);
        match state.blocks.get(at) {
            Some(entry) if entry.number == number && number != state.last_block => {
                entry.first_sequence..=entry.last_sequence.max(entry.first_sequence)
            }
            Some(entry) if entry.number == number => entry.first_sequence..=SEQUENCE_MAX,
            Some(_) => 1..=SEQUENCE_MAX,
            None => state.first_sequence.max(1)..=SEQUENCE_MAX,
        }
    }

    /// What the block's `N.idx` holds deleted; only servers without `index.db` wrote them.
    fn legacy(&self, number: u32, key: &BlockKey) -> Option<LegacyDeletes> {
        let blocks = &self.blocks;
        if blocks.gathered.evidence.index.is_some() {
            return None;
        }
        let name = BlockFile::LegacyIndex.name(number);
        let place = format!("{}/{name}", blocks.gathered.messages_dir);
        let bytes = blocks
            .fs
            .read(&blocks.stream.dir.join(place), SIDE_FILE_MAX)
            .ok()?;
        let plain = match key {
            BlockKey::Plain => bytes,
            BlockKey::Opened(opened) => {
                open_legacy_index(&bytes, &opened.seed, &opened.nonce).ok()?
            }
            BlockKey::Closed(_) => return None,
        };
        let (fields, is_sound) = match idx::decode(&plain) {
            IdxOutcome::Candidate(fields) => (fields, true),
            IdxOutcome::Rejected { partial, .. } => (partial, false),
        };
        Some(LegacyDeletes {
            number,
            last: is_sound.then_some(SeqTime {
                seq: fields.last_sequence,
                timestamp_ns: fields.last_time_ns,
            }),
            first_seq: fields.first_sequence,
            deleted: fields.deleted,
        })
    }
}

/// A block nothing can be made of: all of it is one gap.
fn closed(number: u32, file: &[u8], cut: Option<&String>, reason: &str) -> BlockFindings {
    let length = file.len() as u64;
    let cause = match cut {
        Some(detail) => GapCause::Unreadable(detail.clone()),
        None => GapCause::NoKey(reason.to_owned()),
    };
    BlockFindings {
        number,
        file_length: length,
        content_length: length,
        gaps: vec![Gap {
            offset: 0,
            length: length.max(1),
            file_offset: 0,
            file_length: length,
            cause,
            before: None,
            after: None,
        }],
        ..BlockFindings::default()
    }
}
