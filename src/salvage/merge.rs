//! One store from several copies of one stream: replicas damaged in different ways, or a store and an old backup.
//!
//! A sequence that verifies in any copy is kept, unless it was deleted. What counts as deleted:
//!
//! - a tombstone in any copy that does not have a fresh index saying otherwise: only explicit deletes leave tombstones;
//! - what the *newest* index says: of the copies whose index reaches up to the sequence, those that reach furthest decide,
//!   and where they differ the message is kept. So an old backup does not bring back what limits removed since, and a
//!   replica that lost messages and wrote a new index over the loss does not delete them from the others;
//! - a copy that still has the record, and whose index does not count it, unless an index that reaches as far counts it;
//! - but an index alone deletes from the middle of the stream only where the configuration has messages vanish there
//!   without a tombstone (a limit per subject, message TTLs, acknowledgements). Elsewhere such a hole is a loss, not a
//!   delete. Below the first sequence of the newest index everything is deleted;
//! - an erased or skip record deletes only what no copy holds: a replica that catches up from one with damage writes such
//!   records for what that one lost.
//!
//! The old value of a key whose newest value no copy has is kept as salvage keeps it (`old_values`).
//!
//! Two copies that hold different messages under one sequence, both of them proven, contradict each other: neither is kept,
//! both go to the quarantine file. Where they differ only in a border that one copy is unsure of, the other is right.
//!
//! Copies may lie under different keys and ciphers, and some of them in plaintext. The new store is encrypted where any copy
//! is, unless it is to be in plaintext: under the common key where one is given, else under that of the first encrypted copy.
//!
//! Where they are given, mirrors of the stream and streams that source it stand in for what no copy has (`relatives`). Old values
//! are then left alone: a newer one may be among what they gave.
//!
//! Memory: a block for each copy, and the sets of sequences. Nothing depends on the size of the store.

mod conflicts;
mod relatives;
mod rules;
mod target;
mod weave;

use std::path::{Path, PathBuf};

use super::consumers;
use super::copy::{Uncertain, block_rules, sealing_of};
use super::error::SalvageError;
use super::finish::{Finished, Promise, settle_as};
use super::message_cursor::{Cursor, KeptMessage};
use super::new_blocks::NewBlocks;
use super::old_values::{self, Copied, KnownMessages, OldValues};
use super::place::put_together;
use super::plan::NewStoreKeys;
use super::quarantine::{self, Regained};
use super::report::{self, SalvageReport};
use super::sets::{difference, ranges};
use super::settings::meta_of;
use super::survey::{Survey, survey};
use crate::crypto::ServerKey;
use crate::env::{Entropy, FileSystem, ReadFiles};
use crate::format::seqset::SeqSet;
use crate::recovery::walked::WalkedBlocks;
use crate::report::Watch;
use crate::report::events::{Event, EventCode};
use crate::stream::StreamDir;
use crate::stream::options::{Keys, Options};
use crate::stream::writer::StoreWriter;
use conflicts::Aside;
use relatives::Relative;
use rules::{Union, are_one_stream, best, newest_consumers, unite, united};
use weave::weave;

/// How copies are merged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergeOptions {
    /// The new stream's directory: new or empty.
    pub out: PathBuf,
    /// Do not encrypt it, whatever the sources are.
    pub plaintext: bool,
    /// What becomes of messages that may have been deleted.
    pub uncertain: Uncertain,
    /// Merge copies that do not look like copies of one stream.
    pub force: bool,
    /// The number of replicas in the new configuration; `None` keeps the source's.
    pub replicas: Option<i64>,
    /// Go on where an earlier run was interrupted: what it left unfinished is removed first.
    pub resume: bool,
}

/// A copy to be merged.
#[derive(Debug, Clone)]
pub struct MergeSource {
    /// Where it lies.
    pub stream: StreamDir,
    /// The key of the server that wrote it, where that is another than the common one. The common keys are tried on it as
    /// well.
    pub key: Option<ServerKey>,
}

impl From<StreamDir> for MergeSource {
    /// A copy under the common keys, or in plaintext.
    fn from(stream: StreamDir) -> Self {
        MergeSource { stream, key: None }
    }
}

impl MergeSource {
    /// The keys to try on it: its own, then the common previous one, or where there is none the common current one.
    pub(super) fn keys(&self, common: &Keys) -> Keys {
        match &self.key {
            None => common.clone(),
            Some(own) => Keys {
                current: Some(own.clone()),
                previous: common.previous.clone().or_else(|| common.current.clone()),
                cipher: common.cipher,
            },
        }
    }
}

/// A copy that was looked at.
struct Copy {
    found: Survey,
    /// The options it was read with.
    options: Options,
}

/// Gives messages in sequence order.
pub(super) trait MessageSource {
    /// Goes to the next one.
    fn advance(&mut self) -> Result<bool, SalvageError>;
    /// The one it is at.
    fn message(&self) -> Option<KeptMessage<'_>>;
    /// Moves the time of the one it is at into these bounds, where that time is not the origin's.
    fn keep_time_within(&mut self, _earliest: i64, _latest: i64) {}
    /// Whether all its times are the origin's.
    fn keeps_times(&self) -> bool {
        true
    }
}

impl MessageSource for Cursor<'_> {
    fn advance(&mut self) -> Result<bool, SalvageError> {
        Cursor::advance(self)
    }

    fn message(&self) -> Option<KeptMessage<'_>> {
        Cursor::message(self)
    }
}

/// Merges copies of one stream into a new directory. The sources are only read.
///
/// # Errors
///
/// [`SalvageError`]; there is no new directory then.
pub fn merge(
    fs: &dyn FileSystem,
    sources: &[MergeSource],
    options: &Options,
    wish: &MergeOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    merge_with_relatives(fs, sources, &[], options, wish, entropy, watch)
}

/// The same, and takes what no copy has from `relatives`: mirrors of the stream, and streams that source it.
///
/// # Errors
///
/// [`SalvageError`]; there is no new directory then.
pub fn merge_with_relatives(
    fs: &dyn FileSystem,
    sources: &[MergeSource],
    relatives: &[MergeSource],
    options: &Options,
    wish: &MergeOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let mut copies = Vec::with_capacity(sources.len());
    for source in sources {
        let own = Options {
            keys: source.keys(&options.keys),
            ..options.clone()
        };
        copies.push(Copy {
            found: survey(fs, &source.stream, &own, watch)?,
            options: own,
        });
    }
    if !wish.force {
        are_one_stream(&copies)?;
    }
    let mut beside = Beside::default();
    if let Some(chosen) = best(&copies) {
        let origin = &chosen.found.gathered.evidence.meta;
        beside.relatives =
            relatives::survey_all(fs, relatives, origin, options, wish.force, watch)?;
    }
    merge_surveyed(fs, &copies, beside, options, wish, entropy, watch)
}

/// Salvages `stream` together with what a quarantine file gives by now: with other keys, or after its bytes were mended.
///
/// # Errors
///
/// [`SalvageError`]; there is no new directory then.
pub fn salvage_with_quarantine(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    file: &Path,
    options: &Options,
    wish: &MergeOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let own = Copy {
        found: survey(fs, stream, options, watch)?,
        options: options.clone(),
    };
    let beside = Beside {
        regained: Some(quarantine::regain(fs, file, &own.found, options)?),
        relatives: Vec::new(),
    };
    merge_surveyed(fs, &[own], beside, options, wish, entropy, watch)
}

/// What gives messages besides the copies.
#[derive(Default)]
struct Beside {
    regained: Option<Regained>,
    relatives: Vec<Relative>,
}

fn merge_surveyed(
    fs: &dyn FileSystem,
    copies: &[Copy],
    beside: Beside,
    options: &Options,
    wish: &MergeOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let Some(chosen) = best(copies) else {
        let none = "no copies".to_owned();
        return Err(SalvageError::NotOneStream(wish.out.clone(), none));
    };
    let source = &chosen.found.stream.dir;
    put_together(fs, &wish.out, wish.resume, source, |out| {
        let merging = Merging {
            fs,
            copies,
            chosen,
            options,
            wish,
            out,
            entropy,
            watch,
        };
        merging.make(beside)
    })
}

/// A merge under way.
struct Merging<'a> {
    fs: &'a dyn FileSystem,
    copies: &'a [Copy],
    /// The copy whose configuration is taken.
    chosen: &'a Copy,
    options: &'a Options,
    wish: &'a MergeOptions,
    /// Where it is put together.
    out: &'a Path,
    entropy: &'a dyn Entropy,
    watch: &'a Watch<'a>,
}

impl Merging<'_> {
    fn make(&self, mut beside: Beside) -> Result<SalvageReport, SalvageError> {
        let Merging {
            fs,
            copies,
            chosen,
            options,
            wish,
            out,
            entropy,
            watch,
        } = *self;
        let (mut union, mut old, mut events) = self.union(&mut beside)?;
        let evidence = &chosen.found.gathered.evidence;
        let (target, own) = target::of(copies, options, wish.plaintext);
        let sealing = sealing_of(target, &own.keys);
        let name = evidence.name.as_bytes();
        let writer = StoreWriter::create(fs, out, name, &evidence.account, sealing, entropy)?;
        let first_seq = union.kept.first();
        let meta = meta_of(
            fs,
            &chosen.found,
            &chosen.options,
            first_seq,
            wish.replicas,
            &mut events,
        )?;
        writer.meta(&meta.encode())?;
        let mut aside = Aside {
            writer: quarantine::Writer::new(fs, out, name, &evidence.account),
            sealing,
            entropy,
            name,
            account: &evidence.account,
            events,
            conflicts: SeqSet::new(),
        };
        let mut sources = sources_of(fs, copies, beside.regained, &mut aside.events)?;
        for relative in &beside.relatives {
            sources.push(relative.taken_from(fs, &evidence.meta)?);
        }
        let rules = block_rules(&meta, &chosen.found, target, options);
        let mut builder = NewBlocks::new(&writer, name, rules);
        let written = weave(sources, &union.kept, &mut builder, &mut aside, watch)?;
        if union.last.timestamp_ns == 0 {
            union.last.timestamp_ns = written.last.timestamp_ns;
        }
        builder.finish(union.last)?;
        let conflicts = std::mem::take(&mut aside.conflicts);
        union.miss(&written.seqs, &conflicts, &old.seqs);
        old.narrow(&written.seqs);
        let mut events = std::mem::take(&mut aside.events);
        let quarantined = aside.finish(fs, copies, &union)?;
        let newest = newest_consumers(copies).unwrap_or(chosen);
        let stream = consumers::Stream::of(&newest.found, &meta, &union.kept, union.last.seq);
        let consumers = consumers::write_anew(&newest.found, &stream, &writer)?;
        events.extend(consumers.events);
        writer.finish()?;
        let settled = self.settle(written.promise(&union), &own, target)?;
        let mut made = report_of(copies, &union, &conflicts, quarantined, &written.seqs, &old);
        made.stream.events.extend(events);
        report::take_state(&mut made, settled);
        made.stream.consumers.extend(consumers.left_out);
        Ok(made)
    }

    /// Makes the side files of what was written, which must come out as promised.
    fn settle(
        &self,
        promise: Promise,
        own: &Options,
        target: NewStoreKeys,
    ) -> Result<Finished, SalvageError> {
        settle_as(
            self.fs,
            &made_dir(&self.chosen.found, self.out),
            promise,
            &self.chosen.found.gathered.evidence.account,
            own,
            target,
            WalkedBlocks::default(),
            self.entropy,
            self.watch,
        )
    }

    /// What of the copies and their relatives stays, the old values of keys whose newest value no copy has, and what is to be
    /// told of it.
    fn union(&self, beside: &mut Beside) -> Result<(Union, OldValues, Vec<Event>), SalvageError> {
        let drops = self.wish.uncertain == Uncertain::Drop;
        let regained = beside.regained.as_ref();
        let mut union = unite(self.copies, regained, drops);
        let told = self.take_from(&mut beside.relatives, &mut union, drops)?;
        let mut old = OldValues::default();
        if !drops && beside.relatives.iter().all(|one| one.taken.is_empty()) {
            old = self.old_values(&union, regained)?;
            union.keep_old(&old.seqs);
        }
        Ok((union, old, told))
    }

    fn old_values(
        &self,
        union: &Union,
        regained: Option<&Regained>,
    ) -> Result<OldValues, SalvageError> {
        let copies: Vec<Copied<'_>> = self
            .copies
            .iter()
            .map(|copy| Copied {
                found: &copy.found,
                keys: &copy.options.keys,
            })
            .collect();
        let known = KnownMessages {
            live: &union.kept,
            held: &union.held,
            lost: &union.lost,
            regained,
        };
        let meta = &self.chosen.found.gathered.evidence.meta;
        old_values::find(self.fs, &copies, &known, meta, self.options, self.watch)
    }
}

type Sources<'a> = Vec<Box<dyn MessageSource + 'a>>;

/// What gives messages: every copy, and what was regained.
fn sources_of<'a>(
    fs: &'a dyn ReadFiles,
    copies: &'a [Copy],
    regained: Option<Regained>,
    events: &mut Vec<Event>,
) -> Result<Sources<'a>, SalvageError> {
    let mut sources: Sources<'a> = Vec::new();
    for copy in copies {
        let cursor = Cursor::every(fs, &copy.found, &copy.options.keys)?;
        sources.push(Box::new(cursor));
    }
    if let Some(regained) = regained {
        let detail = format!("{} messages verify in it by now", regained.seqs.len());
        let event = Event::new(EventCode::FileRepaired, detail);
        events.push(event.file(quarantine::QUARANTINE_FILE));
        sources.push(Box::new(regained));
    }
    Ok(sources)
}

fn made_dir(chosen: &Survey, out: &Path) -> StreamDir {
    StreamDir {
        account: chosen.stream.account.clone(),
        name: chosen.gathered.evidence.name.clone(),
        dir: out.to_owned(),
    }
}

fn report_of(
    copies: &[Copy],
    union: &Union,
    conflicts: &SeqSet,
    quarantined: u64,
    kept: &SeqSet,
    old: &OldValues,
) -> SalvageReport {
    let mut all: Vec<SalvageReport> = copies
        .iter()
        .map(|copy| report::of(&copy.found, 0))
        .collect();
    let mut lost = union.lost.clone();
    lost.union_with(conflicts);
    let several = all.len() > 1;
    let mut totals = crate::report::stream::SalvageTotals {
        recovered: kept.len(),
        uncertain: union.uncertain.len(),
        quarantined,
        old_values: old.seqs.len(),
        lost: lost.len(),
        lost_ranges: ranges(&lost),
        ..Default::default()
    };
    let mut events = Vec::new();
    for (copy, made) in copies.iter().zip(&mut all) {
        totals.repaired += made.stream.salvage.as_ref().map_or(0, |own| own.repaired);
        for mut event in std::mem::take(&mut made.stream.events) {
            if matches!(
                event.code,
                EventCode::MessagesLost | EventCode::DeletesUncertain
            ) {
                continue;
            }
            if several && let Some(file) = event.file.as_mut() {
                *file = format!("{}/{file}", copy.found.stream.dir.display());
            }
            events.push(event);
        }
    }
    for (first, last) in totals.lost_ranges.iter().take(1000) {
        let detail = format!("sequences {first} to {last}, in no copy");
        events.push(Event::new(EventCode::MessagesLost, detail).seq(*first));
    }
    events.extend(old.events());
    let mut made = all.swap_remove(0);
    let ledgers = copies.iter().map(|copy| &copy.found.ledger);
    made.stream.ledger = Some(united(ledgers, &difference(kept, &old.seqs), &lost));
    made.stream.loses_messages = totals.lost > 0;
    made.stream.salvage = Some(totals);
    made.stream.events = events;
    if several {
        made.blocks.clear();
    }
    made
}
