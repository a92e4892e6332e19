//! The account of every message: what was found and decided, put before [`crate::ledger`] as witnesses.
//!
//! A stream under a fresh index needs nothing more. Of another one the records are read once more in file order where a limit
//! that leaves no tombstone may have taken messages since the index was written; and of a stream with a limit of age the
//! one block in which it ends.

use super::findings::BlockFindings;
use super::liveness::{Trust, counted_by};
use super::played::{self, Log};
use super::read::Blocks;
use super::scan::{RecordSink, Scratch, replay_unverified};
use super::sets::{difference, intersection, missing_in};
use super::side_files::IndexEvidence;
use super::survey::deletable;
use super::unrenamed;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::meta::{ConsumerMeta, Retention};
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::format::subject::matches;
use crate::ledger::{
    self, Age, Consumer, FileSaid, Holes, Indexed, Limits, Replayed, Standing, Witnesses,
};
use crate::report::Ledger;
use crate::stream::consumers::{FileContent, ReadConsumer};
use crate::stream::metadata::MetaOrigin;
use crate::stream::options::Options;

/// Draws up the account.
pub(super) fn account(
    blocks: Blocks<'_>,
    finds: &[BlockFindings],
    trust: &Trust,
    consumers: &[ReadConsumer],
    options: &Options,
) -> Ledger {
    let evidence = &blocks.gathered.evidence;
    let meta = &evidence.meta;
    let mut found = trust.live.clone();
    found.union_with(&trust.deleted);
    let listed = evidence.index.as_ref();
    let counted = listed.map(|index| counted_by(&index.state));
    let index = listed.zip(counted.as_ref());
    let went_on = went_on(listed, trust);
    let index = index.map(|(index, counted)| Indexed {
        state: &index.state,
        counted,
        standing: standing(index, went_on, finds),
    });
    let fresh = index.is_some_and(|index| index.standing == Standing::Fresh);
    let mut erased = SeqSet::new();
    for find in finds {
        erased.union_with(&find.erased);
    }
    let limits = Limits::of(meta);
    let files = Files::of(finds);
    let files = files.said();
    let replayed = match fresh || !limits.any() || nothing_came_since(index, &found) {
        true => Replayed::default(),
        false => played::play(&Log {
            blocks,
            finds,
            found: &found,
            trust,
            index,
            files: &files,
            limits,
            deletable: deletable(meta),
        }),
    };
    let acks_remove = meta.retention != Retention::Limits;
    let acked = match acks_remove {
        true => ledger::acknowledged(&judged(consumers), trust.last.seq.max(went_on.unwrap_or(0))),
        false => SeqSet::new(),
    };
    // Servers before 2.10 leave no tombstone for an acknowledged message.
    let traceless = trust.tombstones.is_empty() && erased.is_empty() && index.is_none();
    let acked_found = match intersection(&acked, &found) {
        covered if traceless || covered.is_empty() => covered,
        covered => wanted(blocks, finds, consumers, &covered),
    };
    let holes = holes(blocks, trust, consumers, &found, went_on);
    let aged = aged(blocks, finds, trust, options);
    let age = (meta.max_age_ns > 0).then(|| Age {
        max_age_ns: meta.max_age_ns,
        latest_ns: latest(finds).max(options.now_ns),
    });
    ledger::settle(&Witnesses {
        found: &found,
        deleted: &trust.deleted,
        tombstones: &trust.tombstones,
        erased: &erased,
        index,
        files: &files,
        holes: &holes,
        replayed: &replayed,
        acked: &acked,
        acked_found: &acked_found,
        purged: purged(finds),
        aged: &aged,
        timed_out: &timed_out(finds),
        age,
        per_subject: limits.per_subject,
        acks_remove,
        rules_known: evidence.meta_origin != MetaOrigin::Made,
    })
}

/// What the records around missing ones tell, and what files beside them name that no record is left of.
fn holes(
    blocks: Blocks<'_>,
    trust: &Trust,
    consumers: &[ReadConsumer],
    found: &SeqSet,
    went_on: Option<u64>,
) -> Holes {
    let mut holes = trust.holes.clone();
    // Of what is not above its last sequence the index speaks.
    let index = blocks.gathered.evidence.index.as_ref();
    let spoken_of = index.map_or(0, |index| index.state.last_sequence);
    let unrenamed = unrenamed::named_above(blocks, spoken_of);
    holes.unknown.union_with(&unrenamed);
    if let Some(reached) = went_on {
        holes
            .unknown
            .union_with(&missing_in(spoken_of.saturating_add(1)..=reached, found));
    }
    if let Some(below) = holes.untold_below {
        holes.unknown.union_with(&waited_for(consumers, below));
    }
    holes
}

/// The highest sequence that consumers or timers saw behind an index which is of the last record that is left. They have no
/// checksum, so that one which would more than double the stream is not believed. Where one is, the end of the log is gone, or
/// was put back to an earlier day, and what the index knows is the state of that day.
pub(super) fn went_on(index: Option<&IndexEvidence>, trust: &Trust) -> Option<u64> {
    let state = &index.filter(|index| index.fresh)?.state;
    let last = state.last_sequence;
    let span = last.saturating_sub(state.first_sequence).saturating_add(1);
    let most = last.saturating_add(span);
    let claims = trust
        .doubted
        .iter()
        .filter(|claim| !claim.path.ends_with(".blk"));
    let claimed = claims.map(|claim| claim.seq);
    claimed
        .filter(|seq| (last.saturating_add(1)..=most).contains(seq))
        .max()
}

/// How an index stands to what was found; `went_on` is whether something else saw messages behind a fresh one.
fn standing(index: &IndexEvidence, went_on: Option<u64>, finds: &[BlockFindings]) -> Standing {
    if index.fresh {
        return went_on.map_or(Standing::Fresh, |_| Standing::Stale);
    }
    let (last, last_block) = (index.state.last_sequence, index.state.last_block);
    let is_behind = |find: &BlockFindings| {
        find.number > last_block || find.messages.last().is_some_and(|seq| seq > last)
    };
    match finds.iter().any(is_behind) {
        true => Standing::Stale,
        false => Standing::Ahead,
    }
}

/// The tombstone that a purge leaves: the first of the first file, of the sequence before its first record, or with no record at all.
fn purged(finds: &[BlockFindings]) -> Option<u64> {
    let find = finds
        .first()
        .filter(|find| find.gaps.iter().all(|gap| gap.before.is_some()))?;
    let seq = find.tombstones.first()?.seq & SEQUENCE_MAX;
    find.first
        .is_none_or(|first| first.seq.checked_sub(1) == Some(seq))
        .then_some(seq)
}

/// Whether no message was stored behind the index: then no limit has taken one since.
fn nothing_came_since(index: Option<Indexed<'_>>, found: &SeqSet) -> bool {
    index.is_some_and(|index| found.last() <= Some(index.state.last_sequence))
}

fn latest(finds: &[BlockFindings]) -> i64 {
    let times = finds.iter().filter_map(|find| find.last);
    times
        .map(|edge| edge.timestamp_ns)
        .max()
        .unwrap_or(i64::MIN)
}

/// What is before `below`, and some consumer's state names as handed out and not acknowledged: the consumer tells that it was
/// there.
fn waited_for(consumers: &[ReadConsumer], below: u64) -> SeqSet {
    let states = judged(consumers).into_iter().filter_map(|one| one.state);
    let pending = states.flat_map(|state| state.pending.keys().copied());
    pending.filter(|seq| (1..below).contains(seq)).collect()
}

fn judged(consumers: &[ReadConsumer]) -> Vec<Consumer<'_>> {
    consumers.iter().map(judge).collect()
}

/// What a consumer's files tell of its acknowledgements.
pub(super) fn judge(consumer: &ReadConsumer) -> Consumer<'_> {
    let meta = match &consumer.meta {
        FileContent::Plain(json) => ConsumerMeta::parse(json).ok(),
        _ => None,
    };
    let most = |meta: &ConsumerMeta| {
        let most = meta.raw().get("max_deliver");
        most.and_then(|value| value.as_i64())
    };
    let has_file = matches!(consumer.file, FileContent::Plain(_));
    Consumer {
        state: consumer.state.as_ref().filter(|_| has_file),
        never_gives_up: meta.is_some_and(|meta| most(&meta).unwrap_or(-1) < 1),
    }
}

/// Those of `covered` that a consumer wants, and so has acknowledged: what nobody wants stays in a work queue although every floor
/// passes it, and so does what a consumer gave up.
fn wanted(
    blocks: Blocks<'_>,
    finds: &[BlockFindings],
    consumers: &[ReadConsumer],
    covered: &SeqSet,
) -> SeqSet {
    if judged(consumers).iter().any(|one| !one.never_gives_up) {
        return SeqSet::new();
    }
    let mut filters = Vec::new();
    for consumer in consumers {
        match filters_of(consumer) {
            Some(found) if !found.is_empty() => filters.extend(found),
            _ => return covered.clone(),
        }
    }
    let mut wanted = Wanted {
        filters,
        covered,
        found: SeqSet::new(),
    };
    each_record(blocks, finds, &mut wanted, |_| false);
    wanted.found
}

/// The subjects a consumer wants; none where it wants all of them.
fn filters_of(consumer: &ReadConsumer) -> Option<Vec<String>> {
    let FileContent::Plain(json) = &consumer.meta else {
        return None;
    };
    let meta = ConsumerMeta::parse(json).ok()?;
    let one = meta.raw().get("filter_subject");
    let many = meta.raw().get("filter_subjects");
    let many = many.and_then(|value| value.as_array());
    let all = one.into_iter().chain(many.into_iter().flatten());
    let texts = all.filter_map(|value| value.as_str()).map(str::to_owned);
    Some(texts.filter(|text| !text.is_empty()).collect())
}

struct Wanted<'a> {
    filters: Vec<String>,
    covered: &'a SeqSet,
    found: SeqSet,
}

impl RecordSink for Wanted<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        if record.kind() != RecordKind::Message || !self.covered.contains(seq) {
            return;
        }
        let subject = record.subject(content);
        let wants = |filter: &String| matches(subject, filter.as_bytes());
        if self.filters.iter().any(wants) {
            self.found.insert(seq);
        }
    }
}

/// What the files of the blocks say, of several files with one block the one that is taken for it.
struct Files {
    numbers: Vec<u32>,
    records: Vec<SeqSet>,
    gaps: Vec<Vec<(Option<u64>, Option<u64>)>>,
}

impl Files {
    fn of(finds: &[BlockFindings]) -> Self {
        let mut files = Files {
            numbers: Vec::with_capacity(finds.len()),
            records: Vec::with_capacity(finds.len()),
            gaps: Vec::with_capacity(finds.len()),
        };
        for find in finds {
            if files.numbers.last() == Some(&find.number) {
                continue;
            }
            let mut records = find.messages.clone();
            records.union_with(&find.erased);
            let gaps = find.gaps.iter().map(|gap| (gap.before, gap.after));
            files.numbers.push(find.number);
            files.records.push(records);
            files.gaps.push(gaps.collect());
        }
        files
    }

    fn said(&self) -> Vec<FileSaid<'_>> {
        let parts = self.numbers.iter().zip(&self.records).zip(&self.gaps);
        parts
            .map(|((number, records), gaps)| FileSaid {
                number: *number,
                records,
                gaps,
            })
            .collect()
    }
}

/// Feeds `sink` every record of the blocks in file order, until `enough`. What can no longer be read is passed over.
pub(super) fn each_record<S: RecordSink>(
    blocks: Blocks<'_>,
    finds: &[BlockFindings],
    sink: &mut S,
    enough: impl Fn(&S) -> bool,
) {
    let mut file = Vec::new();
    let mut scratch = Scratch::default();
    let mut before = None;
    for find in finds {
        if before.replace(find.number) == Some(find.number) || enough(sink) {
            continue;
        }
        if blocks.read(find.file, &mut file).is_ok() {
            replay_unverified(&mut file, find, &mut scratch, sink);
        }
    }
}

fn timed_out(finds: &[BlockFindings]) -> SeqSet {
    let mut timed_out = SeqSet::new();
    for find in finds {
        timed_out.union_with(&find.timed_out);
    }
    timed_out
}

/// What the limit of age removes at the time of the judgement: as the server, which begins at the first message and stops at the
/// first that is younger. A message that is to be kept for ever is exempt, whatever a server's open does to it.
fn aged(blocks: Blocks<'_>, finds: &[BlockFindings], trust: &Trust, options: &Options) -> SeqSet {
    let max_age_ns = blocks.gathered.evidence.meta.max_age_ns;
    if max_age_ns <= 0 || !options.expire {
        return SeqSet::new();
    }
    let limit_ns = options.now_ns.saturating_sub(max_age_ns);
    let mut expired = SeqSet::new();
    for (at, find) in finds.iter().enumerate() {
        let held = intersection(&find.messages, &trust.live);
        if held.is_empty() {
            continue;
        }
        let is_old = |edge: Option<crate::state::SeqTime>| {
            edge.is_some_and(|edge| edge.timestamp_ns <= limit_ns)
        };
        if !is_old(find.first) {
            return expired;
        }
        if is_old(find.last) {
            expired.union_with(&difference(&held, &find.never_expire));
            continue;
        }
        let mut aging = Aging {
            live: &trust.live,
            never_expire: &find.never_expire,
            limit_ns,
            expired,
            is_over: false,
        };
        each_record(
            blocks,
            finds.get(at..=at).unwrap_or_default(),
            &mut aging,
            |_| false,
        );
        return aging.expired;
    }
    expired
}

struct Aging<'a> {
    live: &'a SeqSet,
    never_expire: &'a SeqSet,
    limit_ns: i64,
    expired: SeqSet,
    is_over: bool,
}

impl RecordSink for Aging<'_> {
    fn record(&mut self, record: &RecordRef, _content: &[u8]) {
        let seq = record.sequence();
        if self.is_over || record.kind() != RecordKind::Message || !self.live.contains(seq) {
            return;
        }
        if record.timestamp_ns() > self.limit_ns {
            self.is_over = true;
        } else if !self.never_expire.contains(seq) {
            self.expired.insert(seq);
        }
    }
}
