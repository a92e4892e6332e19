//! Everything a stream directory can still tell: evidence, one find per block, and the judgement over them.
//!
//! Contents are not kept. Memory is bounded by threads × (block + decoded block), the sets of sequences and the patches;
//! where blocks are walked for recovery, by the distinct subjects too, some sixty bytes each besides their names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::error::SalvageError;
use super::evidence::{self, BlockKey, ConsumerEvidence, Evidence, FileRepair, Gathered, gather};
use super::find::{BlockFind, Edge, Gap, GapCause};
use super::listed::settle_listed;
use super::misplaced;
use super::read::{Blocks, Misplaced, ReadBlock};
use super::scan::{Hints, Scratch, SubjectStanding, SubjectWitness, scan_block};
use super::trust::{Claim, Facts, LegacyDeletes, Trust, counted_by, decide};
use super::walks::{Walk, WalkFor, Walker, Walks};
use super::witness::Subjects;
use crate::crypto::open_legacy_index;
use crate::env::FileSystem;
use crate::format::checksum::HashKey;
use crate::format::legacy::idx::{self, IdxOutcome};
use crate::format::limits::SEQUENCE_MAX;
use crate::format::meta::{Retention, StreamMeta};
use crate::format::names::BlockFile;
use crate::format::record::RecordRef;
use crate::format::seqset::SeqSet;
use crate::format::sources::SourcesFile;
use crate::format::timers::{ExpiryFile, ScheduleFile};
use crate::recovery::events::{Event, EventCode};
use crate::recovery::options::Options;
use crate::recovery::walked::WalkedSubjects;
use crate::recovery::{Phase, Progress, StreamDir, Watch};

/// Bytes that may be hashed or decoded in search of a mend, per bad place, in the first scan: about ten milliseconds,
/// enough for every bit of a record of 2.9 KiB.
pub const WORK_LIMIT: u64 = 32 << 20;

/// Where that was not enough, the blocks are scanned once more with so many bytes shared out among the places left open:
/// about ten seconds of one core for a stream, however it is damaged.
const SECOND_WORK_TOTAL: u64 = 64 << 30;

/// The most a place gets of it: enough for every bit of a record of 64 KiB.
const SECOND_WORK_LIMIT: u64 = 16 << 30;

/// Side files read for what they say of the last sequence are at most this long.
const SIDE_FILE_MAX: u64 = 1 << 30;

/// Where a purge puts together what is to take the place of `msgs`.
pub(super) const STAGED: &str = "__new_msgs__";

/// The server's subject index cannot hold it.
const UNLISTED_BYTE: u8 = 0x7F;

/// One block of the source.
#[derive(Debug, Clone)]
pub struct SurveyedBlock {
    /// Its key.
    pub key: BlockKey,
    /// How the key file was mended, if it was.
    pub key_repair: Option<FileRepair>,
    /// What its legacy index says, where that counts.
    pub legacy: Option<LegacyDeletes>,
}

/// What was found.
#[derive(Debug)]
pub struct Survey {
    /// The stream.
    pub stream: StreamDir,
    /// The side files.
    pub gathered: Gathered,
    /// The blocks, ascending by number; of several files with one block the one that is taken for it comes first.
    pub blocks: Vec<SurveyedBlock>,
    /// What is in them, in the same order.
    pub finds: Vec<BlockFind>,
    /// The judgement.
    pub trust: Trust,
    /// Consumers, by name.
    pub consumers: Vec<ConsumerEvidence>,
    /// Files that do not hold what they are named after, by the number in their names.
    pub misplaced: BTreeMap<u32, Misplaced>,
    /// What recovery wants to know of the blocks, of those that may be taken over, where that was asked for.
    pub(super) walks: Option<Walks>,
}

impl Survey {
    /// The label of the hashes of block `number`.
    #[must_use]
    pub fn hash_key(&self, number: u32) -> HashKey {
        HashKey::for_block(self.gathered.evidence.name.as_bytes(), number)
    }
}

/// Reads a stream directory as far as it can be read. Nothing on disk changes.
///
/// # Errors
///
/// [`SalvageError`]: there is nothing to begin with, the device fails, no key opens the metadata, or the caller cancelled.
pub fn survey(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> Result<Survey, SalvageError> {
    survey_walking(fs, stream, options, WalkFor::Nothing, watch)
}

/// The same, and walks the blocks for recovery while they are at hand.
pub(super) fn survey_walking(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    walk_for: WalkFor,
    watch: &Watch<'_>,
) -> Result<Survey, SalvageError> {
    let mut gathered = gather(fs, stream, options)?;
    drop_unsound_index(&mut gathered);
    let subjects = walk_for
        .asks(gathered.evidence.index.as_ref())
        .then(WalkedSubjects::default);
    let (scanned, misplaced) =
        scan_all(fs, stream, &mut gathered, options, subjects.as_ref(), watch)?;
    let blocks = Blocks {
        fs,
        stream,
        gathered: &gathered,
        keys: &options.keys,
        misplaced: &misplaced,
    };
    let consumers = evidence::consumers(fs, stream, &gathered, &options.keys)?;
    let claims = claims(fs, stream, &gathered, options, &consumers);
    let mut surveyed = Vec::with_capacity(scanned.len());
    let mut finds = Vec::with_capacity(scanned.len());
    let mut walked = Vec::new();
    for one in scanned {
        walked.extend(one.walk.map(|walk| (one.find.number, walk)));
        surveyed.push(one.block);
        finds.push(one.find);
    }
    // Of a block that lies under two names the subjects would count twice.
    let walks = subjects
        .filter(|_| misplaced.is_empty())
        .map(|subjects| Walks::new(walked, subjects));
    if let Some(index) = &gathered.evidence.index {
        settle_listed(blocks, index, &mut finds, options.threads);
    }
    let legacy: Vec<LegacyDeletes> = surveyed
        .iter()
        .filter_map(|block| block.legacy.clone())
        .collect();
    let meta = &gathered.evidence.meta;
    let trust = decide(&Facts {
        finds: &finds,
        index: gathered.evidence.index.as_ref(),
        legacy: &legacy,
        claims: &claims,
        vanishing: vanishing(meta),
        deletable: deletable(meta),
        first_seq: meta.first_seq,
    });
    Ok(Survey {
        stream: stream.clone(),
        gathered,
        blocks: surveyed,
        finds,
        trust,
        consumers,
        misplaced,
        walks,
    })
}

/// An index whose blocks do not add up to its totals was not written by a server that knew: it speaks for nothing.
fn drop_unsound_index(gathered: &mut Gathered) {
    let Some(index) = &gathered.evidence.index else {
        return;
    };
    let state = &index.state;
    let counts = state.blocks.iter().map(|block| block.message_count());
    let counted = counts.fold(0_u64, u64::saturating_add);
    let last = state.blocks.iter().map(|block| block.last_sequence).max();
    if counted == state.messages && last == Some(state.last_sequence) {
        return;
    }
    let detail = format!(
        "it counts {} messages up to {}; its blocks add up to {counted} up to {}",
        state.messages,
        state.last_sequence,
        last.unwrap_or(0)
    );
    let path = format!("{}/index.db", gathered.messages_dir);
    let event = Event::new(EventCode::IndexTotalsMismatch, detail).file(path);
    gathered.events.push(event);
    gathered.evidence.index = None;
}

/// Whether messages leave the middle of the stream without a tombstone that stays.
pub(super) fn vanishing(meta: &StreamMeta) -> bool {
    meta.max_messages_per_subject > 0
        || meta.allow_msg_ttl
        || meta.subject_delete_marker_ttl_ns > 0
        || meta.allow_msg_schedules
        || meta.allow_rollup
        || meta.retention != Retention::Limits
}

/// Whether messages can be deleted one by one, by clients or by their acknowledgements.
fn deletable(meta: &StreamMeta) -> bool {
    let denied =
        |field: &str| meta.raw().get(field).and_then(|value| value.as_bool()) == Some(true);
    meta.retention != Retention::Limits
        || meta.allow_rollup
        || !(denied("deny_delete") && meta.deny_purge)
}

/// What files without a checksum say of the last sequence.
fn claims(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    gathered: &Gathered,
    options: &Options,
    consumers: &[ConsumerEvidence],
) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut claim = |path: &str, stamp: Option<u64>| {
        if let Some(seq) = stamp
            .and_then(|stamp| stamp.checked_sub(1))
            .filter(|seq| *seq > 0)
        {
            claims.push(Claim {
                path: path.to_owned(),
                seq,
            });
        }
    };
    if !options.no_index {
        let read = |path: &str| fs.read(&stream.dir.join(path), SIDE_FILE_MAX).ok();
        let below = &gathered.messages_dir;
        let expiries = format!("{below}/thw.db");
        let stamp = read(&expiries).and_then(|bytes| ExpiryFile::decode(&bytes).ok());
        claim(&expiries, stamp.map(|file| file.stamp));
        let schedules = format!("{below}/sched.db");
        let stamp = read(&schedules).and_then(|bytes| ScheduleFile::decode(&bytes).ok());
        claim(&schedules, stamp.map(|file| file.stamp));
        let stamp = read("sources.db").and_then(|bytes| SourcesFile::decode(&bytes).ok());
        claim("sources.db", stamp.map(|file| file.stamp));
    }
    for consumer in consumers {
        let delivered = consumer.state.as_ref().map(|state| state.delivered.stream);
        let path = format!("obs/{}/o.dat", consumer.name);
        claim(&path, delivered.and_then(|seq| seq.checked_add(1)));
    }
    claims
}

/// What subjects can be, and which messages the index counts.
struct Witness<'a> {
    subjects: Subjects<'a>,
    lists: bool,
    counted: Option<SeqSet>,
    /// Whether the index knows of every message.
    fresh: bool,
}

impl<'a> Witness<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let index = evidence.index.as_ref();
        Witness {
            subjects: Subjects::new(evidence),
            lists: index.is_some_and(|index| !index.state.subjects.is_empty()),
            counted: index.map(|index| counted_by(&index.state)),
            fresh: index.is_some_and(|index| index.fresh),
        }
    }
}

impl SubjectWitness for Witness<'_> {
    fn standing(&self, subject: &[u8]) -> SubjectStanding {
        // The index never lists a subject with this byte, so not being listed says nothing of one.
        if subject.contains(&UNLISTED_BYTE) {
            return SubjectStanding::Known;
        }
        self.subjects.standing(subject)
    }

    fn prepare(&self, records: &[RecordRef], content: &[u8]) {
        self.subjects.prepare(records, content);
    }

    fn lists_subjects(&self) -> bool {
        self.lists
    }

    fn is_live(&self, seq: u64) -> Option<bool> {
        // What an older index counts, it lists a subject for all the same. What it does not count may have come since.
        let counted = self.counted.as_ref()?.contains(seq);
        (counted || self.fresh).then_some(counted)
    }
}

/// A block, what was found in it, and what recovery wants to know of it.
pub(super) struct Scanned {
    pub block: SurveyedBlock,
    pub find: BlockFind,
    pub walk: Option<Walk>,
}

/// Scans all block files, each as the block it holds; returns them in the order of the blocks, and those that are misplaced.
fn scan_all(
    fs: &dyn FileSystem,
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
    scan_again(blocks, &mut scanned, options.threads, watch)?;
    misplaced::put_in_order(&mut scanned);
    Ok((scanned, misplaced))
}

/// Scans the files again that are misplaced, as what they are; then those in which a search for a mend was cut short, with
/// more work for each place the fewer they are.
fn scan_again(
    blocks: Blocks<'_>,
    scanned: &mut [Scanned],
    threads: usize,
    watch: &Watch<'_>,
) -> Result<(), SalvageError> {
    let open = |find: &BlockFind| {
        let open = find.gaps.iter();
        open.filter(|gap| gap.cause == GapCause::WorkLimit).count() as u64
    };
    let is_misplaced = |find: &BlockFind| blocks.misplaced.contains_key(&find.file);
    let mut finds = scanned.iter().map(|one| &one.find);
    if !finds.any(|find| is_misplaced(find) || open(find) > 0) {
        return Ok(());
    }
    let pass = Pass {
        blocks,
        subjects: &Witness::new(&blocks.gathered.evidence),
        walked_subjects: None,
        threads,
        watch,
    };
    pass.replace(scanned, WORK_LIMIT, is_misplaced)?;
    let places: u64 = scanned.iter().map(|one| open(&one.find)).sum();
    let work_limit = SECOND_WORK_TOTAL.checked_div(places).unwrap_or(0);
    if work_limit <= WORK_LIMIT {
        return Ok(());
    }
    let work_limit = work_limit.min(SECOND_WORK_LIMIT);
    pass.replace(scanned, work_limit, |find| open(find) > 0)
}

/// Scans of a stream's blocks side by side.
struct Pass<'a> {
    blocks: Blocks<'a>,
    subjects: &'a Witness<'a>,
    walked_subjects: Option<&'a WalkedSubjects>,
    threads: usize,
    watch: &'a Watch<'a>,
}

impl Pass<'_> {
    /// Scans once more what was `chosen`.
    fn replace(
        &self,
        scanned: &mut [Scanned],
        work_limit: u64,
        chosen: impl Fn(&BlockFind) -> bool,
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
        let next = AtomicUsize::new(0);
        let finished = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Scanned>>> =
            Mutex::new((0..files.len()).map(|_| None).collect());
        let work = || {
            let mut scanner = Scanner {
                blocks: self.blocks,
                subjects: self.subjects,
                work_limit,
                file: Vec::new(),
                scratch: Scratch::default(),
                walker: self.walked_subjects.map(Walker::new),
            };
            while !self.watch.cancel.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = files.get(at).copied() else {
                    break;
                };
                let scanned = scanner.scan(file);
                if let Some(slot) = results.lock().get_mut(at) {
                    *slot = Some(scanned);
                }
                (self.watch.progress)(Progress {
                    phase: Phase::Scan,
                    done: finished.fetch_add(1, Ordering::Relaxed) as u64 + 1,
                    total: files.len() as u64,
                });
            }
        };
        in_parallel(self.threads.clamp(1, files.len().max(1)), &work);
        if self.watch.cancel.load(Ordering::Relaxed) {
            return Err(SalvageError::Interrupted(self.blocks.stream.dir.clone()));
        }
        Ok(results.into_inner().into_iter().flatten().collect())
    }
}

/// Runs `work` on so many threads at once. A panic there is our own mistake, and passed on.
pub(super) fn in_parallel(threads: usize, work: &(dyn Fn() + Sync)) {
    if threads <= 1 {
        return work();
    }
    let joined = crossbeam::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|_| work());
        }
    });
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
}

struct Scanner<'a> {
    blocks: Blocks<'a>,
    subjects: &'a dyn SubjectWitness,
    work_limit: u64,
    file: Vec<u8>,
    scratch: Scratch,
    walker: Option<Walker<'a>>,
}

impl Scanner<'_> {
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
                }
            }
        };
        let mut find = match &read.key {
            BlockKey::Closed(reason) => closed(number, &self.file, read.cut.as_ref(), reason),
            _ => self.scan_open(number, read.cut),
        };
        find.file = file;
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

    fn scan_open(&mut self, number: u32, cut: Option<String>) -> BlockFind {
        let name = self.blocks.gathered.evidence.name.as_bytes();
        let hints = Hints {
            number,
            hash_key: &HashKey::for_block(name, number),
            sequences: &self.sequences(number),
            subjects: self.subjects,
            work_limit: self.work_limit,
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
            last: is_sound.then_some(Edge {
                seq: fields.last_sequence,
                timestamp_ns: fields.last_time_ns,
            }),
            first_seq: fields.first_sequence,
            deleted: fields.deleted,
        })
    }
}

/// A block nothing can be made of: all of it is one gap.
fn closed(number: u32, file: &[u8], cut: Option<&String>, reason: &str) -> BlockFind {
    let length = file.len() as u64;
    let cause = match cut {
        Some(detail) => GapCause::Unreadable(detail.clone()),
        None => GapCause::NoKey(reason.to_owned()),
    };
    BlockFind {
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
        ..BlockFind::default()
    }
}
