//! The scan of one block's decoded content: sound records in runs, and what to do at each bad place.

use super::super::findings::{BlockFindings, Gap, GapCause, Repair, Site, Timed, UncertainBorder};
use super::Hints;
use super::bit_repair::{Fits, Mended, Mender, Patchable};
use super::budget::SearchBudget;
use super::chunks::Break;
use super::resync::{self, Behind};
use super::stats::{Tally, by_chain};
use super::subject_length::{Borders, SUBJECT_LENGTH_AT, lengths_by_others};
use crate::block::torn::is_uncommitted;
use crate::format::bit_repair::Patch;
use crate::format::record::{RecordFault, RecordKind, RecordRef, Run, Runs, parse_at};

/// Records hashed one by one behind a bad place, before whole runs are again: a run of up to 64 KiB is hashed before its
/// first bad record shows, so that in a block with many of them most hashes would be made in vain.
pub(super) const WARY_RECORDS: usize = 64;

/// The scan of one content.
pub(super) struct RecordScanner<'a, 'h> {
    content: &'a mut [u8],
    hints: &'a Hints<'h>,
    patchable: Patchable,
    /// Where compressed bytes did not decode, ascending.
    breaks: &'a [Break],
    /// How many of them have become gaps, or been found to be none.
    breaks_seen: usize,
    file_length: u64,
    /// How many records are still to be taken singly.
    wary: usize,
    work: SearchBudget,
    tally: Tally,
    borders: Borders,
    repairs: Vec<Repair>,
    gaps: Vec<Gap>,
    /// Gaps up to here have their neighbour behind.
    gaps_closed: usize,
    uncertain: Vec<UncertainBorder>,
    timed: Timed,
}

impl<'a, 'h> RecordScanner<'a, 'h> {
    /// A scan of `content`, of a file of `file_length` bytes.
    pub fn new(
        content: &'a mut [u8],
        hints: &'a Hints<'h>,
        patchable: Patchable,
        breaks: &'a [Break],
        file_length: u64,
    ) -> Self {
        Self {
            content,
            hints,
            patchable,
            breaks,
            breaks_seen: 0,
            file_length,
            wary: 0,
            work: SearchBudget::new(hints.work_limit),
            tally: Tally::default(),
            borders: Borders::default(),
            repairs: Vec::new(),
            gaps: Vec::new(),
            gaps_closed: 0,
            uncertain: Vec::new(),
            timed: Timed::default(),
        }
    }

    /// Scans everything and puts what was found in `find`; repairs behind those already there. Returns the bytes hashed
    /// in search of mends and sound records.
    pub fn run(mut self, run: &mut Run, find: &mut BlockFindings) -> u64 {
        let mut offset = 0;
        while offset < self.content.len() {
            let (end, fault) = self.sound_from(offset, run);
            offset = match fault {
                Some(fault) => self.resolve(end, fault),
                None => end,
            };
        }
        self.breaks_before(self.content.len() + 1);
        if self.tally.is_out_of_order() {
            self.tally = by_chain(self.content, &mut self.gaps);
        }
        self.decide_borders();
        self.repairs
            .sort_by_key(|repair| repair.patches.first().map(|patch| patch.offset));
        find.content_length = self.content.len() as u64;
        find.repairs.append(&mut self.repairs);
        find.gaps = self.gaps;
        find.uncertain = self.uncertain;
        find.timed_out = self.timed.timed_out;
        find.never_expire = self.timed.never_expire;
        self.tally.finish(find);
        self.work.spent()
    }

    /// Takes in the sound records from `offset` on. Returns where they end, and why.
    fn sound_from(&mut self, offset: usize, run: &mut Run) -> (usize, Option<RecordFault>) {
        // Taking records in needs all of the scanner but the content, which the walk holds meanwhile.
        let content = std::mem::take(&mut self.content);
        let (mut end, mut fault) = self.one_by_one(offset, content);
        if fault.is_none() {
            let mut runs = Runs::new(content, self.hints.hash_key);
            runs.seek(end);
            while runs.next_run(run) {
                self.hints.subjects.prepare(&run.records, content);
                for record in &run.records {
                    self.take(record, content);
                }
                fault = run.fault.take();
            }
            end = runs.offset();
        }
        self.content = content;
        (end, fault)
    }

    /// Takes in sound records from `offset` on singly, as many as wariness asks for.
    fn one_by_one(&mut self, offset: usize, content: &[u8]) -> (usize, Option<RecordFault>) {
        let mut at = offset;
        while self.wary > 0 && at < content.len() {
            let record = match parse_at(content, at) {
                Ok(record) => record,
                Err(fault) => return (at, Some(fault)),
            };
            let expected = resync::hash_of(self.hints.hash_key, &record, content);
            let found = record.stored_hash(content).unwrap_or(!expected);
            if found != expected {
                let fault = RecordFault::Checksum {
                    offset: at,
                    expected,
                    found,
                };
                return (at, Some(fault));
            }
            self.take(&record, content);
            self.wary -= 1;
            at = record.end_offset();
        }
        (at, None)
    }

    #[inline]
    fn take(&mut self, record: &RecordRef, content: &[u8]) {
        if self.breaks_seen < self.breaks.len() {
            self.breaks_before(record.offset() + 1);
            // A record that verifies across the end of a break shows that nothing is missing there.
            while self
                .breaks
                .get(self.breaks_seen)
                .is_some_and(|broken| content_end(broken) < record.end_offset())
            {
                self.breaks_seen += 1;
            }
        }
        if let Some(seq) = self.tally.record(record)
            && self.gaps_closed < self.gaps.len()
        {
            for gap in self.gaps.iter_mut().skip(self.gaps_closed) {
                gap.after = Some(seq);
            }
            self.gaps_closed = self.gaps.len();
        }
        self.hints.lifetimes.look(record, content, &mut self.timed);
        if self.is_border_open(record) {
            self.borders.look(record, content, self.hints.subjects);
        }
    }

    /// Whether a flip may have moved the borders of a record: in compressed content only where it did not decode as
    /// written.
    #[inline]
    fn is_border_open(&self, record: &RecordRef) -> bool {
        match self.patchable {
            Patchable::All => true,
            Patchable::From { .. } => self.breaks.iter().any(|broken| {
                broken.content_offset < record.end_offset() && content_end(broken) > record.offset()
            }),
        }
    }

    /// A bad record at `offset`. Returns where the next sound one begins.
    fn resolve(&mut self, offset: usize, fault: RecordFault) -> usize {
        if is_uncommitted(self.content, &fault, self.hints.hash_key) {
            let end = self.content.len();
            self.gap(offset, end, GapCause::Uncommitted);
            return end;
        }
        self.work.begin_place();
        self.wary = WARY_RECORDS;
        let floor = self.tally.last_seq().unwrap_or(0);
        let fits = Fits {
            floor,
            ceiling: None,
        };
        if let Some(mended) = self.mender().at(offset, fits) {
            return self.accept(mended);
        }
        let behind = self.behind(offset, floor);
        if behind.cut_short {
            self.work.cut_short();
        }
        let next = behind.next.map_or(self.content.len(), |r| r.offset());
        let mut fits = Fits {
            floor,
            ceiling: behind.next.filter(uses_sequence).map(|r| r.sequence()),
        };

        // From the far end: records whose own length leads to what is sound.
        let mut end = next;
        let mut far = Vec::new();
        for site in behind.sites.iter().rev() {
            if site.end_offset() != end || site.offset() <= offset {
                continue;
            }
            if let Some(mended) = self.mended_within(site.offset(), end..=end, fits) {
                end = mended.record.offset();
                if uses_sequence(&mended.record) {
                    fits.ceiling = Some(mended.record.sequence());
                }
                far.push(mended);
            }
        }
        // The place itself, if only its length was wrong.
        if let Some(mended) = self.mender().until(offset, end) {
            self.accept(mended);
        } else {
            let start = self.mend_from_near_end(offset, end, fits, &fault);
            self.gap(start, end, GapCause::Record(fault));
        }
        for mended in far.into_iter().rev() {
            self.accept(mended);
        }
        next
    }

    /// Goes on from the bad record at `offset` by its own length as long as what follows can be mended, up to `end`.
    /// Returns where what is left begins.
    fn mend_from_near_end(
        &mut self,
        offset: usize,
        end: usize,
        mut fits: Fits,
        fault: &RecordFault,
    ) -> usize {
        let mut start = offset;
        let Ok(claimed) = parse_at(self.content, offset) else {
            return start;
        };
        let mut at = claimed.end_offset();
        while at < end {
            let Some(mended) = self.mended_within(at, at..=end, fits) else {
                break;
            };
            self.gap(start, at, GapCause::Record(fault.clone()));
            if uses_sequence(&mended.record) {
                fits.floor = fits.floor.max(mended.record.sequence());
            }
            at = self.accept(mended);
            start = at;
        }
        start
    }

    /// The record at `offset`, mended if it can be, and left as it is if it does not end in `ends`.
    fn mended_within(
        &mut self,
        offset: usize,
        ends: std::ops::RangeInclusive<usize>,
        fits: Fits,
    ) -> Option<Mended> {
        let mut mender = self.mender();
        let mended = mender.at(offset, fits)?;
        if !ends.contains(&mended.record.end_offset()) {
            mender.undo(&mended);
            return None;
        }
        Some(mended)
    }

    /// What lies behind the bad record at `offset`.
    fn behind(&mut self, offset: usize, floor: u64) -> Behind {
        if let Some(next) = self.neighbour(offset, floor) {
            return Behind {
                next: Some(next),
                ..Behind::default()
            };
        }
        let mut credit = self.work.credit();
        let behind = resync::search(self.content, offset + 1, floor, self.hints, &mut credit);
        self.work.settle(&credit);
        behind
    }

    /// The sound record to which the bad one leads, where by the sequences exactly the bad one lies between: then nothing
    /// within it is looked at, so that a message whose body holds records cannot pass them off as its neighbours.
    fn neighbour(&mut self, offset: usize, floor: u64) -> Option<RecordRef> {
        let bad = resync::plausible(self.content, offset, self.hints)?;
        let next = resync::plausible(self.content, bad.end_offset(), self.hints)?;
        let is_dense = uses_sequence(&bad)
            && uses_sequence(&next)
            && bad.sequence() == floor + 1
            && next.sequence() == floor + 2;
        (is_dense
            && self.work.pay(next.length())
            && resync::verifies(self.hints.hash_key, &next, self.content))
        .then_some(next)
    }

    fn mender(&mut self) -> Mender<'_, 'h> {
        Mender {
            content: self.content,
            hints: self.hints,
            patchable: self.patchable,
            work: &mut self.work,
        }
    }

    /// Takes in a mended record. Returns where it ends.
    fn accept(&mut self, mended: Mended) -> usize {
        let record = mended.record;
        if let Some((site, patches)) = mended.wrong {
            self.repairs.push(Repair {
                site,
                patches,
                seq: Some(record.sequence()),
            });
        }
        if mended.is_uncertain {
            self.uncertain.push(UncertainBorder {
                seq: record.sequence(),
                offset: record.offset() as u64,
                detail: "its subject length does not fit, and several others would".to_owned(),
            });
        }
        let content = std::mem::take(&mut self.content);
        self.take(&record, content);
        self.content = content;
        record.end_offset()
    }

    fn gap(&mut self, start: usize, end: usize, cause: GapCause) {
        if start >= end {
            return;
        }
        self.breaks_before(start);
        let cause = if self.work.is_cut_short() {
            GapCause::WorkLimit
        } else {
            cause
        };
        let within = self.breaks_seen;
        while self
            .breaks
            .get(self.breaks_seen)
            .is_some_and(|broken| broken.content_offset <= end)
        {
            self.breaks_seen += 1;
        }
        let touched = self
            .breaks
            .get(within..self.breaks_seen)
            .unwrap_or_default();
        let cause = touched
            .first()
            .map_or(cause, |broken| GapCause::Compressed(broken.cause.clone()));
        if let Some(last) = self.gaps.last_mut()
            && last.offset + last.length == start as u64
        {
            last.length += (end - start) as u64;
            let file_end = self.file_length;
            widen(last, self.patchable, self.breaks, file_end);
            return;
        }
        let mut gap = Gap {
            offset: start as u64,
            length: (end - start) as u64,
            file_offset: 0,
            file_length: 0,
            cause,
            before: self.tally.last_seq(),
            after: None,
        };
        widen(&mut gap, self.patchable, self.breaks, self.file_length);
        self.gaps.push(gap);
    }

    /// Makes gaps of no length of the breaks that end before `offset` and that no gap touches: how many bytes are missing
    /// there is not known, and where all that is left verifies, whole records may be.
    fn breaks_before(&mut self, offset: usize) {
        while let Some(broken) = self.breaks.get(self.breaks_seen) {
            if content_end(broken) >= offset {
                return;
            }
            self.breaks_seen += 1;
            let at = content_end(broken) as u64;
            let is_touched = self
                .gaps
                .last()
                .is_some_and(|gap| gap.offset + gap.length >= broken.content_offset as u64);
            if !is_touched {
                self.gaps.push(Gap {
                    offset: at,
                    length: 0,
                    file_offset: broken.file_offset,
                    file_length: broken.file_length,
                    cause: GapCause::Compressed(broken.cause.clone()),
                    before: self.tally.last_seq(),
                    after: None,
                });
            }
        }
    }

    fn decide_borders(&mut self) {
        let may_patch = matches!(self.patchable, Patchable::All);
        if may_patch {
            self.reconsider_lengths();
        }
        let borders = std::mem::take(&mut self.borders);
        let (flips, mut uncertain) =
            borders.decide(self.content, &self.gaps, self.hints.subjects, may_patch);
        for (flip, seq) in flips {
            let (Some(byte), Some(offset)) = (
                self.content.get_mut(flip.offset),
                self.patchable.file_offset(flip.offset),
            ) else {
                continue;
            };
            *byte ^= flip.mask;
            let mask = flip.mask;
            self.repairs.push(Repair {
                site: flip.site,
                patches: vec![Patch { offset, mask }],
                seq: Some(seq),
            });
        }
        self.uncertain.append(&mut uncertain);
        self.uncertain.sort_by_key(|doubt| doubt.offset);
        self.uncertain.dedup_by_key(|doubt| doubt.offset);
    }

    /// Decides once more, now that all of the block is known, on subject lengths that were a choice among several.
    fn reconsider_lengths(&mut self) {
        let mut chosen = Vec::new();
        for doubt in &self.uncertain {
            let Ok(record) = parse_at(self.content, doubt.offset as usize) else {
                continue;
            };
            let is_choice = |repair: &&Repair| {
                repair.site == Site::SubjectLength && repair.seq == Some(record.sequence())
            };
            let Some(choice) = self.repairs.iter().find(is_choice) else {
                continue;
            };
            let mut found = (record.subject_length() as u16).to_le_bytes();
            let field = doubt.offset + SUBJECT_LENGTH_AT as u64;
            for patch in &choice.patches {
                let at = patch.offset.checked_sub(field);
                if let Some(byte) = at.and_then(|at| found.get_mut(at as usize)) {
                    *byte ^= patch.mask;
                }
            }
            if !record.has_headers() {
                chosen.push((record, u16::from_le_bytes(found)));
            }
        }
        let lengths = lengths_by_others(self.content, &self.gaps, &chosen);
        for ((record, found), length) in chosen.iter().zip(lengths) {
            let Some(length) = length else { continue };
            let field = record.offset() + SUBJECT_LENGTH_AT;
            if let Some(bytes) = self.content.get_mut(field..field + 2) {
                bytes.copy_from_slice(&length.to_le_bytes());
            }
            let changed = found.to_le_bytes().into_iter().zip(length.to_le_bytes());
            let patches = (field as u64..)
                .zip(changed)
                .map(|(offset, (before, after))| Patch {
                    offset,
                    mask: before ^ after,
                })
                .filter(|patch| patch.mask != 0);
            self.repairs.retain(|repair| {
                repair.site != Site::SubjectLength || repair.seq != Some(record.sequence())
            });
            self.repairs.push(Repair {
                site: Site::SubjectLength,
                patches: patches.collect(),
                seq: Some(record.sequence()),
            });
            self.uncertain
                .retain(|doubt| doubt.offset != record.offset() as u64);
        }
    }
}

/// Where the suspect bytes of a break end.
fn content_end(broken: &Break) -> usize {
    broken.content_offset.saturating_add(broken.content_length)
}

/// Whether a record takes part in the order of sequences.
fn uses_sequence(record: &RecordRef) -> bool {
    record.kind() != RecordKind::Tombstone
}

/// Sets a gap's range of the file: the same bytes, or the chunks of the breaks it touches, or, where compressed bytes are
/// sound and hold a bad record all the same, the whole file.
fn widen(gap: &mut Gap, patchable: Patchable, breaks: &[Break], file_length: u64) {
    if matches!(patchable, Patchable::All) {
        (gap.file_offset, gap.file_length) = (gap.offset, gap.length);
        return;
    }
    let end = gap.offset + gap.length;
    let touched = breaks.iter().filter(|broken| {
        broken.content_offset as u64 <= end && content_end(broken) as u64 >= gap.offset
    });
    let range = touched.fold(None, |range: Option<(u64, u64)>, broken| {
        let this = (broken.file_offset, broken.file_offset + broken.file_length);
        Some(range.map_or(this, |(start, end)| (start.min(this.0), end.max(this.1))))
    });
    let (start, file_end) = range.unwrap_or((0, file_length));
    (gap.file_offset, gap.file_length) = (start, file_end - start);
}
