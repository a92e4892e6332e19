//! Relatives of a stream as further sources of a merge: mirrors of it, and streams that source it.
//!
//! A mirror keeps its origin's sequences, times and every byte; with a filter it has some messages only. A stream that sources
//! keeps body, headers and, by the header it adds, sequence and subject of the origin, but not the time. Both are vouched for
//! by checksums of their own. Therefore:
//!
//! - a message that verifies in a copy stands, whatever a relative says. Where they differ that is told, and nothing above the
//!   first such sequence is taken from that relative: the two went separate ways;
//! - taken is what is lost in every copy, what may have been lost (unless that is dropped), and what lies behind the end of
//!   every copy. Never what a copy says was removed on purpose: a mirror keeps what its origin deleted;
//! - of a mirror that rewrites subjects nothing is taken, nor a sourced message whose first subject nothing tells, nor one of an
//!   earlier stream of the same name: older than this one, or of another identity;
//! - what is taken is told with its sequences. The time of a sourced message is that of its sourcing, or where that is later
//!   than the next message's of a copy, that one.

use super::super::error::SalvageError;
use super::super::message_cursor::{Cursor, KeptMessage};
use super::super::sets::{intersection, ranges, remove_all};
use super::super::survey::survey;
use super::rules::{Union, united};
use super::weave::next_seq;
use super::{Copy, MergeSource, Merging, MessageSource, sources_of};
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::headers::identity_of;
use crate::format::meta::{SourceMeta, StreamMeta};
use crate::format::record::{NewRecord, encode_record};
use crate::format::seqset::SeqSet;
use crate::format::sourced::{Origin, handed_on};
use crate::report::Watch;
use crate::report::events::{Event, EventCode};
use crate::stream::options::Options;

/// Stretches of sequences that an event names one by one.
const STRETCHES_TOLD_MAX: usize = 20;

/// A mirror of the stream, or a stream that sources it.
pub(super) struct Relative {
    copy: Copy,
    kind: Kind,
    /// No message of the stream is older.
    earliest_ns: Option<i64>,
    /// Whether what looks like an earlier stream's counts all the same.
    is_forced: bool,
    /// What is taken of it.
    pub(super) taken: SeqSet,
}

/// How a stream is related to its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mirror,
    Sourcing {
        /// Whether one place alone bears the origin's name, so that no identity has to tell it from others.
        is_only: bool,
        /// Whether its messages have the subjects they had in the origin, so that no header has to tell them.
        keeps_subjects: bool,
    },
}

/// Looks at the relatives of the stream whose configuration is `origin`, mirrors first.
pub(super) fn survey_all(
    fs: &dyn ReadFiles,
    sources: &[MergeSource],
    origin: &StreamMeta,
    options: &Options,
    is_forced: bool,
    watch: &Watch<'_>,
) -> Result<Vec<Relative>, SalvageError> {
    let mut relatives = Vec::with_capacity(sources.len());
    for source in sources {
        let own = Options {
            keys: source.keys(&options.keys),
            ..options.clone()
        };
        let found = survey(fs, &source.stream, &own, watch)?;
        let kind = kind_of(origin, &found.gathered.evidence.meta)
            .map_err(|why| SalvageError::NotRelated(source.stream.dir.clone(), why))?;
        relatives.push(Relative {
            copy: Copy {
                found,
                options: own,
            },
            kind,
            earliest_ns: None,
            is_forced,
            taken: SeqSet::new(),
        });
    }
    relatives.sort_by_key(|relative| relative.kind != Kind::Mirror);
    Ok(relatives)
}

fn kind_of(origin: &StreamMeta, relative: &StreamMeta) -> Result<Kind, String> {
    let is_origin = |source: &&SourceMeta| source.name == origin.name;
    if let Some(mirror) = relative.mirror.as_ref().filter(is_origin) {
        if mirror.subject_transforms.is_empty() && relative.subject_transform.is_none() {
            return Ok(Kind::Mirror);
        }
        return Err(format!(
            "the mirror {} rewrites subjects, and nothing tells the ones its messages had",
            relative.name
        ));
    }
    let named = || relative.sources.iter().filter(is_origin);
    let mut places: Vec<_> = named().map(|source| &source.external).collect();
    places.sort();
    places.dedup();
    match places.len() {
        0 => Err(format!(
            "the stream {} neither mirrors nor sources {}",
            relative.name, origin.name
        )),
        count => Ok(Kind::Sourcing {
            is_only: count == 1,
            keeps_subjects: relative.subject_transform.is_none()
                && named().all(|source| source.subject_transforms.is_empty()),
        }),
    }
}

impl Relative {
    /// Its messages as they were in the origin, in the order they have there; of those that were taken only these.
    fn reader<'a>(
        &'a self,
        fs: &'a dyn ReadFiles,
        origin: &'a StreamMeta,
        only: Option<&'a SeqSet>,
    ) -> Result<Reader<'a>, SalvageError> {
        let Copy { found, options } = &self.copy;
        Ok(Reader {
            cursor: Cursor::new(fs, found, &options.keys, 0..=u64::MAX)?,
            kind: self.kind,
            origin,
            earliest_ns: self.earliest_ns,
            is_forced: self.is_forced,
            identity: origin.created.instant.as_ref().map(identity_of),
            only,
            sourced: Sourced::default(),
            reached: 0,
            passed: Passed::default(),
        })
    }

    /// What is taken of it.
    pub(super) fn taken_from<'a>(
        &'a self,
        fs: &'a dyn ReadFiles,
        origin: &'a StreamMeta,
    ) -> Result<Box<dyn MessageSource + 'a>, SalvageError> {
        Ok(Box::new(self.reader(fs, origin, Some(&self.taken))?))
    }

    fn event(&self, code: EventCode, detail: String, seqs: &SeqSet) -> Option<Event> {
        let event = Event::new(code, detail).file(self.copy.found.stream.dir.display().to_string());
        Some(event.seq(seqs.first()?))
    }
}

/// Messages that are not taken, by cause.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Passed {
    /// Of an earlier stream of that name.
    earlier: u64,
    /// Their own subject is not told.
    without_subject: u64,
    /// They come behind one with a higher sequence of the origin.
    out_of_order: u64,
}

impl Passed {
    fn told(self) -> Option<String> {
        let causes = [
            (self.earlier, "of an earlier stream of this name"),
            (self.without_subject, "whose first subject nothing tells"),
            (self.out_of_order, "sourced once more, or out of order"),
        ];
        let told: Vec<String> = causes
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// Gives a relative's messages as the origin had them.
struct Reader<'a> {
    cursor: Cursor<'a>,
    kind: Kind,
    origin: &'a StreamMeta,
    earliest_ns: Option<i64>,
    is_forced: bool,
    identity: Option<String>,
    only: Option<&'a SeqSet>,
    sourced: Sourced,
    reached: u64,
    passed: Passed,
}

/// A sourced message put back together.
#[derive(Debug, Default)]
struct Sourced {
    seq: u64,
    timestamp_ns: i64,
    subject: Vec<u8>,
    headers: Vec<u8>,
    body: Vec<u8>,
    record: Vec<u8>,
}

impl Sourced {
    /// The record; it gets its hash where it is written.
    fn encode(&mut self) -> bool {
        self.record.clear();
        let record = NewRecord::Message {
            sequence: self.seq,
            timestamp_ns: self.timestamp_ns,
            subject: &self.subject,
            headers: &self.headers,
            body: &self.body,
        };
        encode_record(&mut self.record, &HashKey::for_block(b"", 0), &record).is_ok()
    }
}

impl Reader<'_> {
    /// Whether the message the cursor is at is one of the origin's that can be taken; what of it has to be put together, is.
    fn take(&mut self) -> bool {
        let Some(message) = self.cursor.message() else {
            return false;
        };
        if message.is_border_uncertain || message.is_header_broken {
            return false;
        }
        let Kind::Sourcing {
            is_only,
            keeps_subjects,
        } = self.kind
        else {
            let earliest = self.earliest_ns.filter(|_| !self.is_forced);
            let is_earlier = earliest.is_some_and(|earliest| message.timestamp_ns < earliest);
            self.passed.earlier += u64::from(is_earlier);
            return !is_earlier;
        };
        let Some(origin) = Origin::of(message.headers) else {
            return false;
        };
        if origin.name() != self.origin.name.as_bytes() {
            return false;
        }
        let identity = self.identity.as_deref().unwrap_or_default().as_bytes();
        let is_same = origin.identity == identity && !identity.is_empty();
        let is_untold = origin.identity.is_empty() || identity.is_empty() || self.is_forced;
        if !(is_same || (is_only && is_untold)) {
            self.passed.earlier += 1;
            return false;
        }
        let subject = origin.subject.or(keeps_subjects.then_some(message.subject));
        let Some(subject) = subject else {
            self.passed.without_subject += 1;
            return false;
        };
        if origin.sequence <= self.reached {
            self.passed.out_of_order += 1;
            return false;
        }
        self.reached = origin.sequence;
        self.sourced.seq = origin.sequence;
        self.sourced.timestamp_ns = message.timestamp_ns;
        subject.clone_into(&mut self.sourced.subject);
        self.sourced.headers = handed_on(message.headers);
        message.body.clone_into(&mut self.sourced.body);
        self.sourced.encode()
    }

    fn is_mirror(&self) -> bool {
        self.kind == Kind::Mirror
    }
}

impl MessageSource for Reader<'_> {
    fn advance(&mut self) -> Result<bool, SalvageError> {
        while self.cursor.advance()? {
            if !self.take() {
                continue;
            }
            let seq = MessageSource::message(self).map_or(0, |message| message.seq);
            if self.only.is_none_or(|only| only.contains(seq)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn message(&self) -> Option<KeptMessage<'_>> {
        let message = self.cursor.message()?;
        if self.is_mirror() {
            return Some(message);
        }
        let Sourced {
            seq,
            timestamp_ns,
            subject,
            headers,
            body,
            record,
        } = &self.sourced;
        Some(KeptMessage {
            seq: *seq,
            timestamp_ns: *timestamp_ns,
            subject,
            headers,
            body,
            record,
            ..message
        })
    }

    fn keep_time_within(&mut self, earliest: i64, latest: i64) {
        if self.is_mirror() {
            return;
        }
        let own = self.sourced.timestamp_ns;
        self.sourced.timestamp_ns = own.min(latest).max(earliest);
        if self.sourced.timestamp_ns != own {
            self.sourced.encode();
        }
    }

    fn keeps_times(&self) -> bool {
        self.is_mirror()
    }
}

impl Merging<'_> {
    /// Decides what is taken of each relative, and enters it into `union`.
    pub(super) fn take_from(
        &self,
        relatives: &mut [Relative],
        union: &mut Union,
        drops: bool,
    ) -> Result<Vec<Event>, SalvageError> {
        let mut events = Vec::new();
        for relative in relatives {
            let mut open = union.lost.clone();
            let mut doubted = SeqSet::new();
            if !drops {
                let ledgers = self.copies.iter().map(|copy| &copy.found.ledger);
                doubted = united(ledgers, &union.kept, &union.lost).unknown;
                remove_all(&mut doubted, &union.deleted);
                open.union_with(&doubted);
            }
            relative.earliest_ns = self.earliest()?;
            let compared = self.compare(relative, union, &open)?;
            let taken = &compared.taken;
            union.kept.union_with(taken);
            union.held.union_with(taken);
            union.uncertain.union_with(&intersection(&doubted, taken));
            remove_all(&mut union.lost, taken);
            if let Some(last) = taken.last().filter(|last| *last > union.last.seq) {
                union.last.seq = last;
                union.last.timestamp_ns = 0;
            }
            events.extend(compared.events(relative));
            relative.taken = compared.taken;
        }
        Ok(events)
    }

    /// When the stream was created, or where a copy holds something older, which a change of keys can bring about, that.
    fn earliest(&self) -> Result<Option<i64>, SalvageError> {
        let mut earliest = self.chosen.found.gathered.evidence.meta.created.ns();
        for source in &mut sources_of(self.fs, self.copies, None, &mut Vec::new())? {
            if source.advance()? {
                let first = source.message().map(|message| message.timestamp_ns);
                earliest = earliest.min(first.or(earliest));
            }
        }
        Ok(earliest)
    }

    /// Holds a relative against the copies, sequence by sequence.
    fn compare(
        &self,
        relative: &Relative,
        union: &Union,
        open: &SeqSet,
    ) -> Result<Compared, SalvageError> {
        let origin = &self.chosen.found.gathered.evidence.meta;
        let mut compared = Compared::default();
        let mut sources = sources_of(self.fs, self.copies, None, &mut Vec::new())?;
        let mut heads = Vec::with_capacity(sources.len());
        for source in &mut sources {
            heads.push(next_seq(source.as_mut())?);
        }
        let mut reader = relative.reader(self.fs, origin, None)?;
        while reader.advance()? {
            let Some(message) = MessageSource::message(&reader) else {
                continue;
            };
            let seq = message.seq;
            let mut held = false;
            let mut agrees = false;
            for (source, head) in sources.iter_mut().zip(&mut heads) {
                while head.is_some_and(|head| head < seq) {
                    *head = next_seq(source.as_mut())?;
                }
                let own = source.message().filter(|_| *head == Some(seq));
                if let Some(own) = own.filter(|_| union.kept.contains(seq)) {
                    held = true;
                    agrees |= reader.says_the_same(&own, &message);
                }
            }
            if held && !agrees {
                compared.differs.insert(seq);
            }
            let is_wanted = open.contains(seq) || seq > union.last.seq;
            if !held && is_wanted && compared.differs.is_empty() {
                compared.taken.insert(seq);
            }
        }
        compared.passed = reader.passed;
        Ok(compared)
    }
}

impl Reader<'_> {
    fn says_the_same(&self, own: &KeptMessage<'_>, other: &KeptMessage<'_>) -> bool {
        if own.subject != other.subject || own.body != other.body {
            return false;
        }
        match self.kind {
            Kind::Mirror => own.timestamp_ns == other.timestamp_ns && own.headers == other.headers,
            Kind::Sourcing { .. } => handed_on(own.headers) == other.headers,
        }
    }
}

/// What a relative has that the copies have not, and what it has otherwise.
#[derive(Default)]
struct Compared {
    taken: SeqSet,
    differs: SeqSet,
    passed: Passed,
}

impl Compared {
    fn events(&self, relative: &Relative) -> Vec<Event> {
        let mut events = Vec::new();
        let count = self.taken.len();
        let seqs = spelled(&self.taken);
        let (code, detail) = match relative.kind {
            Kind::Mirror => (
                EventCode::TakenFromMirror,
                format!("{count}: sequences {seqs}"),
            ),
            Kind::Sourcing { .. } => (
                EventCode::TakenFromSourcing,
                format!("{count}: sequences {seqs}"),
            ),
        };
        events.extend(relative.event(code, detail, &self.taken));
        let differs = spelled(&self.differs);
        let detail = format!("sequences {differs}");
        events.extend(relative.event(EventCode::RelativeDiffers, detail, &self.differs));
        if let Some(told) = self.passed.told() {
            let dir = relative.copy.found.stream.dir.display().to_string();
            events.push(Event::new(EventCode::RelativePassedOver, told).file(dir));
        }
        events
    }
}

fn spelled(seqs: &SeqSet) -> String {
    let all = ranges(seqs);
    let mut told: Vec<String> = all
        .iter()
        .take(STRETCHES_TOLD_MAX)
        .map(|(from, to)| match from == to {
            true => from.to_string(),
            false => format!("{from} to {to}"),
        })
        .collect();
    if all.len() > STRETCHES_TOLD_MAX {
        told.push("and more".to_owned());
    }
    told.join(", ")
}
