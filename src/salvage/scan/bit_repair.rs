//! Mending one record: the flip that makes its hash verify; after all bits, the byte that does.

use super::super::findings::Site;
use super::budget::SearchBudget;
use super::flips::{self, Flip, PAIRS, SINGLE};
use super::resync::{hash_of, is_followed, verifies};
use super::subject_length::{flips_of, pick_subject_length};
use super::{Hints, SubjectStanding};
use crate::format::bit_repair::Patch;
use crate::format::limits::{CHECKSUM_LENGTH, HEADER_LENGTH_FIELD, RECORD_HEADER_LENGTH};
use crate::format::record::{RecordKind, RecordRef, parse_at};

/// Set in a record's length field when headers follow the subject.
const HEADERS_BIT: u32 = 1 << 31;

/// Bytes of a record that say how it is laid out or what it is, up to the subject.
type Header = [u8; RECORD_HEADER_LENGTH];

/// Which bytes of the content can be mended, and where they lie in the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patchable {
    /// The content is the file.
    All,
    /// Only what lies at this offset of the content and behind; it lies in the file this much farther on (or before).
    From {
        /// Offset in the content.
        content: usize,
        /// Offset of the same byte in the file.
        file: u64,
    },
}

impl Patchable {
    /// Where the byte at `offset` of the content lies in the file.
    pub fn file_offset(self, offset: usize) -> Option<u64> {
        match self {
            Self::All => Some(offset as u64),
            Self::From { content, file } => {
                offset.checked_sub(content).map(|step| file + step as u64)
            }
        }
    }
}

impl Patchable {
    /// Where the byte at `offset` of the file lies in the content, where it lies in it as it is.
    fn content_offset(self, offset: u64) -> Option<usize> {
        match self {
            Self::All => usize::try_from(offset).ok(),
            Self::From { content, file } => usize::try_from(offset.checked_sub(file)?)
                .ok()?
                .checked_add(content),
        }
    }
}

/// The sequences a bad record should have. A mended one is proven by its hash whatever its sequence; these tell where to
/// look first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fits {
    /// Messages and erased records lie above this.
    pub floor: u64,
    /// And below this.
    pub ceiling: Option<u64>,
}

impl Fits {
    fn expects(self, record: &RecordRef) -> bool {
        let seq = record.sequence();
        record.kind() == RecordKind::Tombstone
            || (seq > self.floor && self.ceiling.is_none_or(|ceiling| seq < ceiling))
    }
}

/// Whether a record is of a kind that is written: not with both marks, not of sequence 0.
fn is_written(record: &RecordRef) -> bool {
    record.sequence_bits() >> 62 != 3 && record.sequence() != 0
}

/// A record that verifies.
#[derive(Debug)]
pub(super) struct Mended {
    /// The record.
    pub record: RecordRef,
    /// What was wrong, unless nothing was.
    pub wrong: Option<(Site, Vec<Patch>)>,
    /// Whether its border between subject and body is a choice among several.
    pub is_uncertain: bool,
}

/// Mends records of one content.
pub(super) struct Mender<'a, 'h> {
    pub content: &'a mut [u8],
    pub hints: &'a Hints<'h>,
    pub patchable: Patchable,
    pub work: &'a mut SearchBudget,
}

impl Mender<'_, '_> {
    /// Mends the record at `offset`, wherever it ends.
    pub fn at(&mut self, offset: usize, fits: Fits) -> Option<Mended> {
        let claimed = parse_at(self.content, offset).ok();
        if let Some(record) = claimed {
            if let Some(mended) = self.stored_hash(&record) {
                return Some(mended);
            }
            if !matches!(self.patchable, Patchable::All) {
                return None;
            }
            let likely = self.likely_range(&record, fits);
            if let Some(mended) = likely.and_then(|range| self.covered(&record, range, &SINGLE)) {
                return Some(mended);
            }
            if is_followed(self.content, &record, self.hints) {
                return self
                    .layout(offset, false)
                    .or_else(|| self.covered_all(&record))
                    .or_else(|| self.lengths(offset))
                    .or_else(|| self.whole_byte(offset, claimed));
            }
        }
        if !matches!(self.patchable, Patchable::All) {
            return None;
        }
        let Some(record) = claimed else {
            return self
                .layout(offset, true)
                .or_else(|| self.lengths(offset))
                .or_else(|| self.whole_byte(offset, None));
        };
        self.lengths(offset)
            .or_else(|| self.layout(offset, false))
            .or_else(|| self.covered_all(&record))
            .or_else(|| self.whole_byte(offset, claimed))
    }

    /// One byte that is wrong in more than neighbouring bits: in the lengths, then in what tells records apart, then in the rest,
    /// as far as the account for it goes.
    fn whole_byte(&mut self, offset: usize, claimed: Option<RecordRef>) -> Option<Mended> {
        let mut own = self.work.for_bytes();
        let mut mender = Mender {
            content: &mut *self.content,
            hints: self.hints,
            patchable: self.patchable,
            work: &mut own,
        };
        let found = mender.with_other_byte(offset, claimed);
        self.work.settle_bytes(&own);
        found
    }

    fn with_other_byte(&mut self, offset: usize, claimed: Option<RecordRef>) -> Option<Mended> {
        let masks = flips::whole();
        self.lengths_of(offset, &masks, false)
            .or_else(|| self.subject_lengths(offset, &masks))
            .or_else(|| {
                let record = claimed?;
                let subject_end = 16 + record.subject_length();
                self.covered(&record, 0..subject_end, &masks)
                    .or_else(|| self.covered(&record, subject_end..record.length(), &masks))
            })
    }

    /// Takes the record at `offset` to end at `end`, whatever its length says, and nothing else to be wrong with it.
    pub fn until(&mut self, offset: usize, end: usize) -> Option<Mended> {
        if !matches!(self.patchable, Patchable::All) {
            return None;
        }
        let length = u32::try_from(end.checked_sub(offset)?).ok()?;
        if length & HEADERS_BIT != 0 {
            return None;
        }
        let header = self.header(offset)?;
        let flag = length_bits(&header) & HEADERS_BIT;
        [flag, flag ^ HEADERS_BIT]
            .into_iter()
            .find_map(|flag| self.with_length(offset, &header, length | flag))
    }

    /// Takes back what mending a record did to the content.
    pub fn undo(&mut self, mended: &Mended) {
        let Some((_, patches)) = &mended.wrong else {
            return;
        };
        for patch in patches {
            if let Some(at) = self.patchable.content_offset(patch.offset) {
                self.unpatch(&[(at, patch.mask)]);
            }
        }
    }

    fn header(&self, offset: usize) -> Option<Header> {
        self.content.get(offset..)?.first_chunk().copied()
    }

    /// The record as it is, or with a flip in its stored hash.
    fn stored_hash(&mut self, record: &RecordRef) -> Option<Mended> {
        if !is_written(record) || !self.work.pay(record.length()) {
            return None;
        }
        let expected = hash_of(self.hints.hash_key, record, self.content).to_le_bytes();
        let stored = record.stored_hash(self.content)?.to_le_bytes();
        if expected == stored {
            return Some(sound(*record));
        }
        let flip = flips::between(&stored, &expected)?;
        let at = record.checksum_offset() + flip.position;
        let patches = self.patch(&[(at, flip.mask)])?;
        Some(mended(*record, Site::Hash, patches))
    }

    /// Where a flip most likely sits, if the record shows it: in a sequence that does not fit, in a subject that is none.
    fn likely_range(&self, record: &RecordRef, fits: Fits) -> Option<std::ops::Range<usize>> {
        if !is_written(record) || !fits.expects(record) {
            return Some(0..8);
        }
        let subject = record.subject(self.content);
        let impossible = record.kind() == RecordKind::Message
            && self.hints.subjects.standing(subject) == SubjectStanding::Impossible;
        impossible.then(|| 16..16 + subject.len())
    }

    fn covered_all(&mut self, record: &RecordRef) -> Option<Mended> {
        let all = 0..record.length();
        self.covered(record, all.clone(), &SINGLE)
            .or_else(|| self.covered(record, all, &PAIRS))
    }

    /// A flip in `range` of the bytes that the hash covers.
    fn covered(
        &mut self,
        record: &RecordRef,
        range: std::ops::Range<usize>,
        masks: &[u8],
    ) -> Option<Mended> {
        if !self.work.pay(record.length()) {
            return None;
        }
        let covered = record.covered_parts(self.content)?.concat();
        let stored = record.stored_hash(self.content)?;
        let key = self.hints.hash_key;
        let flip = flips::find(key, &covered, stored, &range, masks, self.work)?;
        let (site, at) = place_of(record, self.content, flip);
        let patches = self.patch(&[(at, flip.mask)])?;
        let fitting = parse_at(self.content, record.offset())
            .ok()
            .filter(is_written);
        if fitting.is_none() {
            self.unpatch(&[(at, flip.mask)]);
        }
        Some(mended(fitting?, site, patches))
    }

    /// Flips of the mark for headers and of the subject length: both decide which bytes the hash covers.
    fn layout(&mut self, offset: usize, broken: bool) -> Option<Mended> {
        let header = self.header(offset)?;
        let bits = length_bits(&header);
        if let Some(found) = self.with_length(offset, &header, bits ^ HEADERS_BIT) {
            return Some(found);
        }
        if bits & HEADERS_BIT == 0 {
            // Without headers the hash does not depend on the subject length.
            return if broken {
                self.with_length(offset, &header, bits)
            } else {
                None
            };
        }
        self.subject_lengths(offset, &SINGLE)
            .or_else(|| self.subject_lengths(offset, &PAIRS))
    }

    /// Other subject lengths of a record with headers.
    fn subject_lengths(&mut self, offset: usize, masks: &[u8]) -> Option<Mended> {
        let header = self.header(offset)?;
        if length_bits(&header) & HEADERS_BIT == 0 {
            return None;
        }
        let [.., low, high] = header;
        flips_of([low, high], masks).find_map(|(_, _, [low, high])| {
            let mut tried = header;
            let [.., to_low, to_high] = &mut tried;
            (*to_low, *to_high) = (low, high);
            self.with_header(offset, &header, &tried, Site::SubjectLength)
        })
    }

    /// Flips of the length, those first that end where a record begins.
    fn lengths(&mut self, offset: usize) -> Option<Mended> {
        self.lengths_of(offset, &SINGLE, true)
            .or_else(|| self.lengths_of(offset, &PAIRS, true))
    }

    /// Lengths that differ by one of `masks`; where `anywhere`, also those that end where no record begins.
    fn lengths_of(&mut self, offset: usize, masks: &[u8], anywhere: bool) -> Option<Mended> {
        let header = self.header(offset)?;
        let bits = length_bits(&header).to_le_bytes();
        let mut dear = Vec::new();
        for (_, _, flipped) in flips_of(bits, masks) {
            let flipped = u32::from_le_bytes(flipped);
            let Some(end) = end_of(offset, flipped, self.content.len()) else {
                continue;
            };
            let begins = end == self.content.len()
                || super::resync::plausible(self.content, end, self.hints).is_some();
            if !begins {
                dear.push(flipped);
            } else if let Some(found) = self.with_length(offset, &header, flipped) {
                return Some(found);
            }
        }
        for flipped in dear.into_iter().filter(|_| anywhere) {
            let cost = u64::from(flipped & !HEADERS_BIT);
            if cost > self.work.left() / 8 {
                self.work.cut_short();
            } else if let Some(found) = self.with_length(offset, &header, flipped) {
                return Some(found);
            }
        }
        None
    }

    /// The record with this length field; where its subject length does not fit and its hash does not depend on it, with
    /// the likeliest other subject length.
    fn with_length(&mut self, offset: usize, header: &Header, bits: u32) -> Option<Mended> {
        let mut tried = *header;
        *tried.first_chunk_mut()? = bits.to_le_bytes();
        let room = (bits as usize).checked_sub(RECORD_HEADER_LENGTH + CHECKSUM_LENGTH)?;
        let [.., low, high] = *header;
        let found = u16::from_le_bytes([low, high]);
        if bits & HEADERS_BIT != 0 || usize::from(found) <= room {
            return self.with_header(offset, header, &tried, Site::Length);
        }
        let mut bare = tried;
        let [.., low, high] = &mut bare;
        (*low, *high) = (0, 0);
        let proven = self.with_header(offset, header, &bare, Site::SubjectLength)?;
        let length = proven.record.length();
        let picked = pick_subject_length(self.content, offset, length, found, self.hints.subjects);
        // Back to what was there; then once more with the length picked.
        self.restore(offset, header);
        let (picked, is_only) = picked?;
        let [.., low, high] = &mut bare;
        [*low, *high] = picked.to_le_bytes();
        let mut chosen = self.with_header(offset, header, &bare, Site::SubjectLength)?;
        chosen.is_uncertain = !is_only;
        Some(chosen)
    }

    /// The record with this header in place of its own, if it verifies.
    fn with_header(
        &mut self,
        offset: usize,
        original: &Header,
        tried: &Header,
        site: Site,
    ) -> Option<Mended> {
        self.restore(offset, tried);
        let good = parse_at(self.content, offset)
            .ok()
            .filter(is_written)
            .filter(|record| self.work.pay(record.length()))
            .filter(|record| verifies(self.hints.hash_key, record, self.content));
        let Some(record) = good else {
            self.restore(offset, original);
            return None;
        };
        let patches: Vec<Patch> = original
            .iter()
            .zip(tried)
            .zip(offset..)
            .filter(|((before, after), _)| before != after)
            .filter_map(|((before, after), at)| {
                Some(Patch {
                    offset: self.patchable.file_offset(at)?,
                    mask: before ^ after,
                })
            })
            .collect();
        if patches.is_empty() {
            return Some(sound(record));
        }
        Some(mended(record, site, patches))
    }

    fn restore(&mut self, offset: usize, header: &Header) {
        if let Some(bytes) = self.content.get_mut(offset..offset + RECORD_HEADER_LENGTH) {
            bytes.copy_from_slice(header);
        }
    }

    /// Flips bits of the content; `None`, and nothing done, where one cannot be expressed as a patch of the file.
    fn patch(&mut self, flips: &[(usize, u8)]) -> Option<Vec<Patch>> {
        let patches = flips
            .iter()
            .map(|&(at, mask)| {
                Some(Patch {
                    offset: self.patchable.file_offset(at)?,
                    mask,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        self.unpatch(flips);
        Some(patches)
    }

    fn unpatch(&mut self, flips: &[(usize, u8)]) {
        for &(at, mask) in flips {
            if let Some(byte) = self.content.get_mut(at) {
                *byte ^= mask;
            }
        }
    }
}

fn sound(record: RecordRef) -> Mended {
    Mended {
        record,
        wrong: None,
        is_uncertain: false,
    }
}

fn mended(record: RecordRef, site: Site, patches: Vec<Patch>) -> Mended {
    Mended {
        record,
        wrong: Some((site, patches)),
        is_uncertain: false,
    }
}

fn length_bits(header: &Header) -> u32 {
    header
        .first_chunk()
        .map_or(0, |field| u32::from_le_bytes(*field))
}

/// Where a record with this length field ends, if within `limit`.
fn end_of(offset: usize, bits: u32, limit: usize) -> Option<usize> {
    let length = (bits & !HEADERS_BIT) as usize;
    offset.checked_add(length).filter(|end| *end <= limit)
}

/// Which part of the record a position of its covered bytes is, and where that byte lies in the content.
fn place_of(record: &RecordRef, content: &[u8], flip: Flip) -> (Site, usize) {
    const SEQUENCE_AT: usize = 4;
    let subject_end = 16 + record.subject_length();
    let position = flip.position;
    let at = record.offset() + SEQUENCE_AT + position;
    // The subject length lies between time and subject and is not covered.
    let behind_length = at + 2;
    if position < 8 {
        return (Site::Sequence, at);
    }
    if position < 16 {
        return (Site::Time, at);
    }
    if position < subject_end {
        return (Site::Subject, behind_length);
    }
    if !record.has_headers() {
        return (Site::Body, behind_length);
    }
    let headers = record
        .headers_and_body(content)
        .map_or(0, |(headers, _)| headers.len());
    let site = if position - subject_end < headers {
        Site::Headers
    } else {
        Site::Body
    };
    (site, behind_length + HEADER_LENGTH_FIELD)
}
