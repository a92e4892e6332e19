//! The last verified value of a key whose newest value is lost.
//!
//! A stream that keeps a number of messages per subject removes the old value of a key for its newer one. Where that newer one
//! is lost, the old one is all that is left of the key, and a record of it may still lie in a block that was not rewritten. In
//! the account it stays what it is, removed. In what salvage writes it is kept, each one told
//! ([`EventCode::KvOldValue`]), where all of this holds:
//!
//! - the stream is a bucket (`KV_…`, and the subject a key of it), or the caller asks for it
//!   ([`Options::kv_last`](crate::stream::options::Options::kv_last)) and the stream keeps one message per subject;
//! - of all records of the subject that verify it is the newest, none of them lives, and it was removed for a newer one: by
//!   the word of the index, by the limit per subject or by lying below the first sequence, not by a tombstone, an age, an
//!   acknowledgement or a rollup;
//! - it is a value: no marker of a deletion, not past its age or its own time to live, its subject not in doubt;
//! - a newer message is lost, and where the index that reaches furthest lists subjects, it lists this one, with a lost message
//!   in the blocks that it names for the subject.
//!
//! What was lost may have been the marker that deleted the key: nothing tells. So `--uncertain drop` leaves old values out.
//!
//! Memory: some fifty bytes for each subject with a candidate, a million at a time; with more of them the blocks are
//! read again for each such part. Nothing is read where nothing is lost, or nothing was removed for a newer message.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::copy::{Uncertain, source_blocks};
use super::error::SalvageError;
use super::findings::BlockFindings;
use super::quarantine::Regained;
use super::scan::{RecordSink, Scratch, replay_unverified};
use super::sets::{intersection, remove_all, within};
use super::survey::Survey;
use crate::env::ReadFiles;
use crate::format::headers;
use crate::format::meta::{Discard, Retention, StreamMeta};
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::format::state::{StateFile, SubjectEntry};
use crate::ledger::subject_id;
use crate::report::Removal;
use crate::report::Watch;
use crate::report::events::{Event, EventCode};
use crate::stream::options::{Keys, Options};

/// Subjects that are held in memory at once.
const SUBJECTS_AT_ONCE: u64 = 1 << 20;
/// Old values told one by one, with their keys.
pub const TOLD_MAX: usize = 10_000;
/// The index never lists a subject with this byte.
const UNLISTED_BYTE: u8 = 0x7F;

/// Old values that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OldValues {
    /// Their sequences.
    pub seqs: SeqSet,
    /// Sequence and key (or subject) of the first [`TOLD_MAX`] of them.
    pub told: Vec<(u64, Vec<u8>)>,
}

impl OldValues {
    /// Leaves out all but `kept`.
    pub(super) fn narrow(&mut self, kept: &SeqSet) {
        self.seqs = intersection(&self.seqs, kept);
        self.told.retain(|(seq, _)| kept.contains(*seq));
    }

    /// The events that mark them.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let told = self.told.iter().map(|(seq, key)| {
            let detail = format!("{}, sequence {seq}", String::from_utf8_lossy(key));
            Event::new(EventCode::KvOldValue, detail).seq(*seq)
        });
        let more = self.seqs.len().saturating_sub(self.told.len() as u64);
        let more = (more > 0).then(|| {
            let detail = format!("and {more} more, which are not told one by one");
            Event::new(EventCode::KvOldValue, detail)
        });
        told.chain(more)
    }
}

/// A copy of the stream.
#[derive(Clone, Copy)]
pub(super) struct Copied<'a> {
    pub found: &'a Survey,
    pub keys: &'a Keys,
}

/// What is known of the messages.
#[derive(Clone, Copy)]
pub(super) struct KnownMessages<'a> {
    /// Kept without this rule.
    pub live: &'a SeqSet,
    /// A record of them lies somewhere, and is believed.
    pub held: &'a SeqSet,
    /// Lost.
    pub lost: &'a SeqSet,
    /// Messages from elsewhere, all of which are kept.
    pub regained: Option<&'a Regained>,
}

/// Keeps the old values of one stream, unless doubted messages are to be left out.
pub(super) fn keep(
    fs: &dyn ReadFiles,
    found: &mut Survey,
    options: &Options,
    uncertain: Uncertain,
    watch: &Watch<'_>,
) -> Result<(), SalvageError> {
    if uncertain == Uncertain::Drop {
        return Ok(());
    }
    let trust = &found.trust;
    let mut held = trust.live.clone();
    held.union_with(&trust.deleted);
    let known = KnownMessages {
        live: &trust.live,
        held: &held,
        lost: &trust.lost,
        regained: None,
    };
    let copy = Copied {
        found,
        keys: &options.keys,
    };
    let meta = &found.gathered.evidence.meta;
    let old = find(fs, &[copy], &known, meta, options, watch)?;
    found.trust.take_back(&old.seqs, &found.finds);
    found.old_values = old;
    Ok(())
}

/// Finds the old values to be kept of `copies`. Blocks are read only where there are candidates.
///
/// # Errors
///
/// [`SalvageError::Io`] where a block can no longer be read, [`SalvageError::Interrupted`].
pub(super) fn find(
    fs: &dyn ReadFiles,
    copies: &[Copied<'_>],
    known: &KnownMessages<'_>,
    meta: &StreamMeta,
    options: &Options,
    watch: &Watch<'_>,
) -> Result<OldValues, SalvageError> {
    let Some(rule) = Rule::of(meta, options) else {
        return Ok(OldValues::default());
    };
    let replaced = replaced(copies, known);
    let search = Search {
        fs,
        copies,
        known,
        rule,
        replaced: &replaced,
        watch,
    };
    let parts = replaced.len().div_ceil(SUBJECTS_AT_ONCE);
    let mut chosen = Vec::new();
    for part in 0..parts {
        chosen.extend(search.part(part, parts)?);
    }
    let mut old = OldValues {
        seqs: search.fitting(chosen, meta)?.into_iter().collect(),
        told: Vec::new(),
    };
    old.told = search.keys_of(&old.seqs)?;
    Ok(old)
}

/// The messages with a record that were removed for a newer one, below the last lost one.
fn replaced(copies: &[Copied<'_>], known: &KnownMessages<'_>) -> SeqSet {
    let Some(below) = known.lost.last().and_then(|last| last.checked_sub(1)) else {
        return SeqSet::new();
    };
    let mut replaced = SeqSet::new();
    let mut otherwise = known.live.clone();
    for Copied { found, .. } in copies {
        for (removal, seqs) in &found.ledger.removed {
            match removal {
                // In such a stream its first sequence rises as keys get new values, without a purge.
                Removal::Index | Removal::SubjectLimit | Removal::Purge => {
                    replaced.union_with(seqs);
                }
                _ => otherwise.union_with(seqs),
            }
        }
        otherwise.union_with(&found.trust.tombstones);
    }
    remove_all(&mut replaced, &otherwise);
    within(&intersection(&replaced, known.held), 0..=below)
}

/// Which messages are values of keys.
#[derive(Clone)]
struct Rule {
    /// What the subjects begin with; it is no part of a key.
    prefix: Vec<u8>,
    /// Older messages are past the limit of age.
    aged_ns: Option<i64>,
    /// Messages may have a time to live; the moment it is held against.
    now_ns: Option<i64>,
}

impl Rule {
    fn of(meta: &StreamMeta, options: &Options) -> Option<Rule> {
        let bucket = meta.name.strip_prefix("KV_");
        let per_subject = meta.max_messages_per_subject;
        let prefix = match bucket.filter(|_| per_subject >= 1) {
            Some(bucket) => format!("$KV.{bucket}."),
            None if options.kv_last && per_subject == 1 => String::new(),
            None => return None,
        };
        // Elsewhere an acknowledgement may have removed what the index does not count.
        if meta.retention != Retention::Limits {
            return None;
        }
        let ages = options.expire && meta.max_age_ns > 0;
        Some(Rule {
            prefix: prefix.into_bytes(),
            aged_ns: ages.then(|| options.now_ns.saturating_sub(meta.max_age_ns)),
            now_ns: (options.expire && meta.allow_msg_ttl).then_some(options.now_ns),
        })
    }

    fn key<'s>(&self, subject: &'s [u8]) -> Option<&'s [u8]> {
        subject.strip_prefix(self.prefix.as_slice())
    }

    /// Whether a message is a value that may stay.
    fn is_value(&self, record: &RecordRef, content: &[u8]) -> bool {
        let Ok((block, _)) = record.headers_and_body(content) else {
            return false;
        };
        let operation = headers::find(block, headers::KV_OPERATION);
        let deletes = operation.is_some_and(|word| matches!(word, b"DEL" | b"PURGE"))
            || headers::has_line(block, headers::MARKER_REASON);
        let timestamp_ns = record.timestamp_ns();
        let is_aged = self.aged_ns.is_some_and(|limit| timestamp_ns <= limit);
        let is_over = self.now_ns.is_some_and(|now_ns| {
            headers::message_ttl(block)
                .is_ok_and(|ttl| ttl > 0 && headers::expiry_ns(timestamp_ns, ttl) <= now_ns)
        });
        !deletes && !is_aged && !is_over
    }
}

/// The newest candidate of one subject.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    seq: u64,
    /// Length of its record.
    bytes: u64,
    /// Whether nothing speaks against it so far.
    stays: bool,
    /// Whether the index could list its subject.
    listable: bool,
    /// Whether it does, with a lost message where it says that the subject has some.
    listed: bool,
}

struct Search<'a, 'w> {
    fs: &'a dyn ReadFiles,
    copies: &'a [Copied<'a>],
    known: &'a KnownMessages<'a>,
    rule: Rule,
    replaced: &'a SeqSet,
    watch: &'a Watch<'w>,
}

impl Search<'_, '_> {
    /// The old values of one part of the subjects.
    fn part(&self, part: u64, parts: u64) -> Result<Vec<Candidate>, SalvageError> {
        let mut candidates = Candidates {
            search: self,
            by_subject: HashMap::new(),
            part,
            parts,
            strikes: false,
            doubted: SeqSet::new(),
        };
        self.each(&mut candidates, |messages| {
            !intersection(messages, self.replaced).is_empty()
        })?;
        candidates.strikes = true;
        let lowest = candidates.by_subject.values().map(|one| one.seq).min();
        let Some(lowest) = lowest else {
            return Ok(Vec::new());
        };
        // Live ones below a candidate speak against it too: the stream may keep several of a subject.
        let lowest = match self.known.live.first() {
            Some(first) => lowest.min(first),
            None => lowest,
        };
        self.each(&mut candidates, |messages| messages.last() >= Some(lowest))?;
        if let Some(regained) = self.known.regained {
            regained.each(|record, content| candidates.strike(record, content, true));
        }
        let mut by_subject = candidates.by_subject;
        let speaks = self.ask_indexes(&mut by_subject);
        let stays = |one: &Candidate| {
            let is_known = speaks.is_some_and(|reach| one.seq <= reach);
            one.stays && (one.listed || !one.listable || !is_known)
        };
        Ok(by_subject.into_values().filter(stays).collect())
    }

    /// Notes what the index that reaches furthest lists; up to where it speaks of all subjects, if it lists any.
    fn ask_indexes(&self, by_subject: &mut HashMap<u64, Candidate>) -> Option<u64> {
        let states = self.copies.iter().filter_map(|copy| {
            let index = copy.found.gathered.evidence.index.as_ref()?;
            Some(&index.state)
        });
        let reach = states.clone().map(|state| state.last_sequence).max()?;
        let furthest = states.filter(|state| state.last_sequence == reach);
        let mut lists = false;
        for state in furthest {
            for entry in state.subjects.iter() {
                lists = true;
                let candidate = by_subject.get_mut(&subject_id(entry.subject));
                if let Some(candidate) = candidate.filter(|_| entry.total > 0) {
                    candidate.listed |= self.has_lost(state, &entry, candidate.seq);
                }
            }
        }
        lists.then_some(reach)
    }

    /// Whether a message behind `seq` is lost from the blocks that the index names for a subject.
    fn has_lost(&self, state: &StateFile, entry: &SubjectEntry<'_>, seq: u64) -> bool {
        let named = entry.first_block..=entry.last_block;
        let blocks = state.blocks.iter();
        let blocks = blocks.filter(|block| named.contains(&block.number));
        let first = blocks.clone().map(|block| block.first_sequence).min();
        let last = blocks.map(|block| block.last_sequence).max();
        let from = first.unwrap_or(0).max(seq.saturating_add(1));
        let to = last.unwrap_or(u64::MAX);
        from <= to && self.known.lost.count_in(from..=to) > 0
    }

    /// Of what was chosen as much as the stream's limits have room for, the newest first: a server must not remove what lives
    /// for an old value. One that refuses new messages instead removes none.
    fn fitting(
        &self,
        mut chosen: Vec<Candidate>,
        meta: &StreamMeta,
    ) -> Result<Vec<u64>, SalvageError> {
        chosen.sort_unstable_by_key(|one| std::cmp::Reverse(one.seq));
        let limit = |most: i64| u64::try_from(most).ok().filter(|most| *most > 0);
        if meta.discard == Discard::Old {
            if let Some(most) = limit(meta.max_messages) {
                let room = most.saturating_sub(self.known.live.len());
                chosen.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            }
            if let Some(most) = limit(meta.max_bytes).filter(|_| !chosen.is_empty()) {
                let mut room = most.saturating_sub(self.live_bytes()?);
                let fitting = chosen.iter().take_while(|one| {
                    let left = room.checked_sub(one.bytes);
                    room = left.unwrap_or(0);
                    left.is_some()
                });
                let count = fitting.count();
                chosen.truncate(count);
            }
        }
        Ok(chosen.iter().map(|one| one.seq).collect())
    }

    /// Bytes of the messages that live; of several copies what the fullest has.
    fn live_bytes(&self) -> Result<u64, SalvageError> {
        let mut most = 0;
        for copy in self.copies {
            let mut adder = Adder {
                live: self.known.live,
                bytes: 0,
            };
            self.each_of(copy, &mut adder, |_| true)?;
            most = most.max(adder.bytes);
        }
        Ok(most)
    }

    /// Sequence and key of the first of `seqs`.
    fn keys_of(&self, seqs: &SeqSet) -> Result<Vec<(u64, Vec<u8>)>, SalvageError> {
        let mut namer = Namer {
            rule: &self.rule,
            wanted: seqs.iter().take(TOLD_MAX).collect(),
            told: Vec::new(),
        };
        if !seqs.is_empty() {
            self.each(&mut namer, |messages| {
                !intersection(messages, seqs).is_empty()
            })?;
        }
        namer.told.sort_unstable();
        Ok(namer.told)
    }

    fn each<S: Sink>(
        &self,
        sink: &mut S,
        wanted: impl Fn(&SeqSet) -> bool + Copy,
    ) -> Result<(), SalvageError> {
        let mut copies = self.copies.iter();
        copies.try_for_each(|copy| self.each_of(copy, sink, wanted))
    }

    /// Feeds `sink` the records of the blocks whose messages are `wanted`.
    fn each_of<S: Sink>(
        &self,
        copy: &Copied<'_>,
        sink: &mut S,
        wanted: impl Fn(&SeqSet) -> bool,
    ) -> Result<(), SalvageError> {
        let blocks = source_blocks(self.fs, copy.found, copy.keys);
        let mut file = Vec::new();
        let mut scratch = Scratch::default();
        for find in &copy.found.finds {
            if find.messages.is_empty() || !wanted(&find.messages) {
                continue;
            }
            if self.watch.cancel.load(Ordering::Relaxed) {
                return Err(SalvageError::Interrupted(copy.found.stream.dir.clone()));
            }
            blocks.read(find.file, &mut file)?;
            sink.begin(find);
            replay_unverified(&mut file, find, &mut scratch, sink);
        }
        Ok(())
    }
}

/// Is told which block the records are of.
trait Sink: RecordSink {
    fn begin(&mut self, _find: &BlockFindings) {}
}

struct Candidates<'a, 'b, 'w> {
    search: &'a Search<'b, 'w>,
    by_subject: HashMap<u64, Candidate>,
    part: u64,
    parts: u64,
    /// Whether candidates are struck out by now, or gathered.
    strikes: bool,
    /// Messages of the block whose subject is in doubt.
    doubted: SeqSet,
}

impl Candidates<'_, '_, '_> {
    fn gather(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        let subject = record.subject(content);
        let id = subject_id(subject);
        let rule = &self.search.rule;
        if id % self.parts != self.part
            || rule.key(subject).is_none()
            || !self.search.replaced.contains(seq)
            || self.by_subject.get(&id).is_some_and(|one| one.seq > seq)
        {
            return;
        }
        let candidate = Candidate {
            seq,
            bytes: record.length() as u64,
            stays: rule.is_value(record, content) && !self.doubted.contains(seq),
            listable: !subject.contains(&UNLISTED_BYTE),
            listed: false,
        };
        self.by_subject.insert(id, candidate);
    }

    fn strike(&mut self, record: &RecordRef, content: &[u8], lives: bool) {
        let seq = record.sequence();
        let id = subject_id(record.subject(content));
        if let Some(candidate) = self.by_subject.get_mut(&id)
            && (lives || seq > candidate.seq)
        {
            candidate.stays = false;
        }
    }
}

impl RecordSink for Candidates<'_, '_, '_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        let known = self.search.known;
        if record.kind() != RecordKind::Message || !known.held.contains(seq) {
            return;
        }
        match self.strikes {
            true => self.strike(record, content, known.live.contains(seq)),
            false => self.gather(record, content),
        }
    }
}

impl Sink for Candidates<'_, '_, '_> {
    fn begin(&mut self, find: &BlockFindings) {
        self.doubted = find.uncertain.iter().map(|border| border.seq).collect();
    }
}

/// Adds up what lives.
struct Adder<'a> {
    live: &'a SeqSet,
    bytes: u64,
}

impl RecordSink for Adder<'_> {
    fn record(&mut self, record: &RecordRef, _: &[u8]) {
        if record.kind() == RecordKind::Message && self.live.contains(record.sequence()) {
            self.bytes = self.bytes.saturating_add(record.length() as u64);
        }
    }
}

impl Sink for Adder<'_> {}

/// Notes the keys of messages.
struct Namer<'a> {
    rule: &'a Rule,
    wanted: SeqSet,
    told: Vec<(u64, Vec<u8>)>,
}

impl RecordSink for Namer<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        if record.kind() == RecordKind::Message
            && self.wanted.remove(seq)
            && let Some(key) = self.rule.key(record.subject(content))
        {
            self.told.push((seq, key.to_vec()));
        }
    }
}

impl Sink for Namer<'_> {}
