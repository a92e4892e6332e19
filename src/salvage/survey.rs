//! Everything a stream directory can still tell: evidence, one find per block, and the judgement over them.
//!
//! Contents are not kept. Memory is bounded by threads × (block + decoded block), the sets of sequences and the patches;
//! where blocks are walked for recovery, by the distinct subjects too, some sixty bytes each besides their names.

use std::collections::BTreeMap;

use super::account::account;
use super::error::SalvageError;
use super::findings::BlockFindings;
use super::liveness::{Claim, Facts, LegacyDeletes, Trust, counted_by, decide};
use super::old_values::OldValues;
use super::read::{Blocks, Misplaced};
use super::scan::{SubjectStanding, SubjectWitness};
use super::scan_blocks::scan_all;
use super::side_files::{Evidence, Gathered, IndexEvidence, read as read_side_files};
use super::subject_check::Subjects;
use super::subject_totals::settle_listed;
use super::walks::{WalkFor, Walks};
use crate::block::key::BlockKey;
use crate::env::ReadFiles;
use crate::format::bit_repair::FileRepair;
use crate::format::checksum::HashKey;
use crate::format::meta::{Retention, StreamMeta};
use crate::format::names::SOURCES;
use crate::format::record::RecordRef;
use crate::format::seqset::SeqSet;
use crate::format::sources::SourcesFile;
use crate::format::timers::{ExpiryFile, ScheduleFile};
use crate::recovery::walked::WalkedSubjects;
use crate::report::events::{Event, EventCode};
use crate::report::{Ledger, Watch};
use crate::stream::StreamDir;
use crate::stream::consumers::{self, ReadConsumer};
use crate::stream::metadata::MetaOrigin;
use crate::stream::options::Options;

/// Side files read for what they say of the last sequence are at most this long.
pub(super) const SIDE_FILE_MAX: u64 = 1 << 30;

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
    pub finds: Vec<BlockFindings>,
    /// The judgement.
    pub trust: Trust,
    /// What became of every message that a witness named.
    pub ledger: Ledger,
    /// Consumers, by name.
    pub consumers: Vec<ReadConsumer>,
    /// Files that do not hold what they are named after, by the number in their names.
    pub misplaced: BTreeMap<u32, Misplaced>,
    /// Old values of keys that are kept: none, until it was decided whether any are.
    pub old_values: OldValues,
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
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> Result<Survey, SalvageError> {
    survey_walking(fs, stream, options, WalkFor::Nothing, watch)
}

/// The same, and walks the blocks for recovery while they are at hand.
pub(super) fn survey_walking(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    walk_for: WalkFor,
    watch: &Watch<'_>,
) -> Result<Survey, SalvageError> {
    let mut gathered = read_side_files(fs, stream, options)?;
    drop_unsound_index(&mut gathered);
    let subjects = walk_for
        .asks(gathered.evidence.index.as_ref())
        .then(WalkedSubjects::default);
    let (scanned, misplaced) =
        scan_all(fs, stream, &mut gathered, options, subjects.as_ref(), watch)?;
    if let Some(index) = &mut gathered.evidence.index {
        index.fresh &= !outruns(scanned.iter().map(|one| &one.find), index);
    }
    let blocks = Blocks {
        fs,
        stream,
        gathered: &gathered,
        keys: &options.keys,
        misplaced: &misplaced,
    };
    let ring = options.keys.ring(&gathered.evidence.account);
    let name = gathered.evidence.name.as_bytes();
    let consumers = consumers::consumers(fs, &stream.dir, name, ring)?;
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
    let mut trust = decide(&Facts {
        finds: &finds,
        index: gathered.evidence.index.as_ref(),
        legacy: &legacy,
        claims: &claims,
        vanishing: vanishing(meta),
        forgets: forgets(meta) || gathered.evidence.meta_origin == MetaOrigin::Made,
        deletable: deletable(meta),
        first_seq: meta.first_seq,
    });
    let ledger = account(blocks, &finds, &trust, &consumers, options);
    for removed in ledger.removed.values() {
        trust.leave_out(removed);
    }
    trust.lost = ledger.lost.clone();
    Ok(Survey {
        stream: stream.clone(),
        ledger,
        gathered,
        blocks: surveyed,
        finds,
        trust,
        consumers,
        misplaced,
        old_values: OldValues::default(),
        walks,
    })
}

/// An index whose blocks do not add up to its totals was not written by a server that knew: it speaks for nothing.
pub(super) fn drop_unsound_index(gathered: &mut Gathered) {
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

/// Whether records stand in their places above the last sequence of an index. A record that only looks like the last, for it was
/// moved there, does not make an index of an earlier moment one of the last record.
fn outruns<'a>(mut finds: impl Iterator<Item = &'a BlockFindings>, index: &IndexEvidence) -> bool {
    let last = index.state.last_sequence;
    finds.any(|find| find.last.is_some_and(|edge| edge.seq > last))
}

/// Whether the oldest messages leave without a trace, and without a sum of what stays that would show it.
fn forgets(meta: &StreamMeta) -> bool {
    meta.max_age_ns > 0
        || meta.max_messages_per_subject > 0
        || meta.allow_msg_ttl
        || meta.retention != Retention::Limits
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
pub(super) fn deletable(meta: &StreamMeta) -> bool {
    let denied =
        |field: &str| meta.raw().get(field).and_then(|value| value.as_bool()) == Some(true);
    meta.retention != Retention::Limits
        || meta.allow_rollup
        || !(denied("deny_delete") && meta.deny_purge)
}

/// What files without a checksum say of the last sequence.
fn claims(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    gathered: &Gathered,
    options: &Options,
    consumers: &[ReadConsumer],
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
        let stamp = read(SOURCES).and_then(|bytes| SourcesFile::decode(&bytes).ok());
        claim(SOURCES, stamp.map(|file| file.stamp));
    }
    for consumer in consumers {
        let delivered = consumer.state.as_ref().map(|state| state.delivered.stream);
        let path = format!("obs/{}/o.dat", consumer.name);
        claim(&path, delivered.and_then(|seq| seq.checked_add(1)));
    }
    claims
}

/// What subjects can be, and which messages the index counts.
pub(super) struct Witness<'a> {
    subjects: Subjects<'a>,
    lists: bool,
    counted: Option<SeqSet>,
    /// Whether the index knows of every message.
    fresh: bool,
}

impl<'a> Witness<'a> {
    pub fn new(evidence: &'a Evidence) -> Self {
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
