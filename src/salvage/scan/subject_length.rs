//! The borders within a record: where the subject ends, where the headers end.
//!
//! No checksum covers the lengths that say so. In a record without headers a flipped subject length still verifies and
//! moves bytes between subject and body; in one with headers the subject length is proven (the four bytes behind the
//! subject are left out of the hash, so another length hashes other bytes), and a flipped header length verifies. What
//! can be known is this:
//!
//! - a header block begins with `NATS/1.0` and ends with the first empty line. Where the one found does not, and one flip
//!   of the header length makes it so, that was the flip;
//! - a subject that `index.db` lists is taken for right. (Two listed subjects, one a flip away from the other, are for the
//!   totals to decide: [`super::super::settled_lengths`].)
//! - a subject the stream takes and the index does not list is right in a message that was deleted or came after the
//!   index was written. If a flip away is one that it lists, then this is decided where the index is known to hold the
//!   message for live ([`SubjectWitness::is_live`]): a fresh index lists the subjects of all live messages. Else the
//!   message is decided on by the other messages of the block (`usual`); where these do not tell, it is kept
//!   as it lies, with a doubt, unless its subject comes again in the block;
//! - a subject the stream does not take: the only listed one a flip away was meant; else the only possible one, if what
//!   is there is no subject at all or the other comes again in the block. (A stream's subjects may have been changed
//!   since, so that a well-formed one that the stream no longer takes proves nothing.) Else kept, with a doubt.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use super::super::findings::{Gap, Site, UncertainBorder};
use super::body_prefixes::{AGAIN, Usual};
use super::replay::each_record;
use super::{SubjectStanding, SubjectWitness};
use crate::format::limits::{CHECKSUM_LENGTH, HEADER_LENGTH_FIELD, RECORD_HEADER_LENGTH};
use crate::format::record::{RecordKind, RecordRef};
use crate::format::subject;

use super::flips::{PAIRS, SINGLE};

/// How a header block begins.
const HEADERS_START: &[u8] = b"NATS/1.0";

/// How it ends.
const HEADERS_END: &[u8] = b"\r\n\r\n";

/// Where a record's subject length lies.
pub(super) const SUBJECT_LENGTH_AT: usize = RECORD_HEADER_LENGTH - 2;

/// Subjects remembered as approved.
const APPROVED_SLOTS: usize = 256;

/// A flip of a length within a record that gives another well-formed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BorderFlip {
    /// Which length.
    pub site: Site,
    /// Offset in the content of the byte to change.
    pub offset: usize,
    /// Bits to flip in it.
    pub mask: u8,
    /// Where the subject then ends; it begins where it did.
    pub subject_end: usize,
}

impl BorderFlip {
    /// The subject the message would have.
    #[must_use]
    pub fn subject<'a>(&self, record: &RecordRef, content: &'a [u8]) -> &'a [u8] {
        content
            .get(record.offset() + RECORD_HEADER_LENGTH..self.subject_end)
            .unwrap_or_default()
    }
}

/// Every flip, of the length that the record's hash does not prove, that gives a well-formed message: of one bit of the
/// subject length of a message without headers (and then a well-formed subject); of one bit or two neighbouring ones
/// of the header length of one with headers (and then a whole header block, which is one flip at most).
#[must_use]
pub fn candidates(record: &RecordRef, content: &[u8]) -> Vec<BorderFlip> {
    if record.has_headers() {
        return header_candidates(record, content);
    }
    subject_candidates(record, content, &SINGLE)
}

fn subject_candidates(record: &RecordRef, content: &[u8], masks: &[u8]) -> Vec<BorderFlip> {
    let start = record.offset() + RECORD_HEADER_LENGTH;
    let room = record.checksum_offset().saturating_sub(start);
    let length = (record.subject_length() as u16).to_le_bytes();
    flips_of(length, masks)
        .filter_map(|(at, mask, flipped)| {
            let length = usize::from(u16::from_le_bytes(flipped));
            let subject = content.get(start..start + length)?;
            (length <= room && subject::is_valid(subject)).then_some(BorderFlip {
                site: Site::SubjectLength,
                offset: record.offset() + SUBJECT_LENGTH_AT + at,
                mask,
                subject_end: start + length,
            })
        })
        .collect()
}

fn header_candidates(record: &RecordRef, content: &[u8]) -> Vec<BorderFlip> {
    let subject_end = record.offset() + RECORD_HEADER_LENGTH + record.subject_length();
    let Some(rest) = content.get(subject_end..record.checksum_offset()) else {
        return Vec::new();
    };
    let Some((field, bytes)) = rest.split_first_chunk::<HEADER_LENGTH_FIELD>() else {
        return Vec::new();
    };
    let Some(length) = header_block_length(bytes) else {
        return Vec::new();
    };
    flips_of(*field, &SINGLE)
        .chain(flips_of(*field, &PAIRS))
        .filter(|(_, _, flipped)| u32::from_le_bytes(*flipped) as usize == length)
        .map(|(at, mask, _)| BorderFlip {
            site: Site::HeaderLength,
            offset: subject_end + at,
            mask,
            subject_end,
        })
        .collect()
}

/// `bytes` with each of `masks` in each byte: which byte, its mask, and the bytes then.
pub(super) fn flips_of<const N: usize>(
    bytes: [u8; N],
    masks: &[u8],
) -> impl Iterator<Item = (usize, u8, [u8; N])> {
    masks
        .iter()
        .flat_map(|mask| (0..N).map(move |at| (at, *mask)))
        .map(move |(at, mask)| {
            let mut flipped = bytes;
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= mask;
            }
            (at, mask, flipped)
        })
}

/// How long the header block is that `bytes` begin with.
fn header_block_length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(HEADERS_START) {
        return None;
    }
    let end = bytes
        .windows(HEADERS_END.len())
        .position(|window| window == HEADERS_END)?;
    Some(end + HEADERS_END.len())
}

/// Whether a message with headers has them whole, with no empty line before their end.
#[inline]
fn headers_are_whole(record: &RecordRef, content: &[u8]) -> bool {
    well_formed_headers(record, content)
        && record
            .headers_and_body(content)
            .is_ok_and(|(headers, _)| first_empty_line_ends(headers))
}

/// Whether no empty line ends before the end of `headers`.
#[inline]
fn first_empty_line_ends(headers: &[u8]) -> bool {
    // An empty line takes four bytes, so that the last byte of every fourth is one of its own.
    !headers
        .as_chunks::<4>()
        .0
        .iter()
        .enumerate()
        .any(|(at, [.., last])| {
            matches!(last, b'\r' | b'\n') && has_empty_line(headers, 4 * at + 3)
        })
}

/// Whether headers begin and end as they should, whatever is between.
fn well_formed_headers(record: &RecordRef, content: &[u8]) -> bool {
    record.headers_and_body(content).is_ok_and(|(headers, _)| {
        headers.starts_with(HEADERS_START) && headers.ends_with(HEADERS_END)
    })
}

/// Whether an empty line begins within the three bytes before `at` or there, and ends before the end.
fn has_empty_line(headers: &[u8], at: usize) -> bool {
    let from = (at + 1).saturating_sub(HEADERS_END.len());
    let before_end = headers.get(from..headers.len() - 1).unwrap_or_default();
    before_end
        .windows(HEADERS_END.len())
        .take(at + 1 - from)
        .any(|window| window == HEADERS_END)
}

/// What was decided about a doubtful border.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Sound,
    Mend(BorderFlip),
    Uncertain(String),
}

/// Watches the borders of the messages of one block.
#[derive(Debug)]
pub(super) struct Borders {
    /// Subjects approved of, as ranges of the content; each slot holds the last one that fell in it.
    approved: [(u32, u16); APPROVED_SLOTS],
    /// Messages to be decided on once all of the block is known.
    doubts: Vec<RecordRef>,
    /// Whether a subject was approved of that no index lists.
    has_unlisted: bool,
}

impl Default for Borders {
    fn default() -> Self {
        Self {
            approved: [(0, 0); APPROVED_SLOTS],
            doubts: Vec::new(),
            has_unlisted: false,
        }
    }
}

impl Borders {
    /// Looks at one proven record.
    #[inline]
    pub fn look(&mut self, record: &RecordRef, content: &[u8], witness: &dyn SubjectWitness) {
        match record.kind() {
            RecordKind::Message if record.has_headers() => {
                if !headers_are_whole(record, content) {
                    self.doubts.push(*record);
                }
            }
            RecordKind::Message => self.look_at_subject(record, content, witness),
            RecordKind::Erased | RecordKind::Tombstone => {
                if record.subject_length() != 0 {
                    self.doubts.push(*record);
                }
            }
        }
    }

    #[inline]
    fn look_at_subject(
        &mut self,
        record: &RecordRef,
        content: &[u8],
        witness: &dyn SubjectWitness,
    ) {
        let subject = record.subject(content);
        let mut hasher = FxHasher::default();
        hasher.write(subject);
        let slot = hasher.finish() as usize % APPROVED_SLOTS;
        if let Some((start, length)) = self.approved.get_mut(slot) {
            let (known, end) = (*start as usize, *start as usize + usize::from(*length));
            if *length != 0 && content.get(known..end) == Some(subject) {
                return;
            }
            let standing = witness.standing(subject);
            if is_approved(record, content, witness, standing) {
                self.has_unlisted |= standing != SubjectStanding::Known;
                // A record's offset and subject length were read from 32 and 16 bits.
                *start = (record.offset() + RECORD_HEADER_LENGTH) as u32;
                *length = record.subject_length() as u16;
                return;
            }
        }
        self.doubts.push(*record);
    }

    /// Decides on every doubtful message: the flips to make, each with the sequence it is for, and the doubts that stay.
    /// Where it may not patch, all stay.
    pub fn decide(
        self,
        content: &[u8],
        gaps: &[Gap],
        witness: &dyn SubjectWitness,
        may_patch: bool,
    ) -> (Vec<(BorderFlip, u64)>, Vec<UncertainBorder>) {
        let (mut mended, mut uncertain) = (Vec::new(), Vec::new());
        let asks_all = self.has_unlisted || !witness.lists_subjects();
        if self.doubts.is_empty() && !asks_all {
            return (mended, uncertain);
        }
        let usual = Usual::of(content, gaps);
        if asks_all {
            let (flips, lone) = by_other_messages(content, gaps, &usual, witness);
            uncertain = lone;
            if may_patch {
                mended = flips;
            }
        }
        let decided: HashSet<u64> = mended.iter().map(|(_, seq)| *seq).collect();
        let counts = Counts::of(&self.doubts, content, gaps);
        for record in &self.doubts {
            if decided.contains(&record.sequence()) {
                continue;
            }
            match decision(record, content, witness, &counts, &usual) {
                Decision::Sound => {}
                Decision::Mend(flip) if may_patch => mended.push((flip, record.sequence())),
                Decision::Mend(_) => uncertain.push(doubt(
                    record,
                    "its border is wrong, and lies in compressed bytes",
                )),
                Decision::Uncertain(detail) => uncertain.push(doubt(record, &detail)),
            }
        }
        (mended, uncertain)
    }
}

fn doubt(record: &RecordRef, detail: &str) -> UncertainBorder {
    UncertainBorder {
        seq: record.sequence(),
        offset: record.offset() as u64,
        detail: detail.to_owned(),
    }
}

/// Whether a subject raises no doubt by itself: listed, or possible with no listed one a flip away.
fn is_approved(
    record: &RecordRef,
    content: &[u8],
    witness: &dyn SubjectWitness,
    standing: SubjectStanding,
) -> bool {
    match standing {
        SubjectStanding::Known => true,
        SubjectStanding::Impossible => false,
        SubjectStanding::Possible => {
            !witness.lists_subjects()
                || !candidates(record, content).iter().any(|flip| {
                    witness.standing(flip.subject(record, content)) == SubjectStanding::Known
                })
        }
    }
}

/// How often the subjects in question occur in the block, in sound and doubtful messages.
#[derive(Debug, Default)]
struct Counts<'c>(HashMap<&'c [u8], u32>);

impl<'c> Counts<'c> {
    /// Counts the doubtful subjects and all those a flip away; one more walk over the content, without hashing.
    fn of(doubts: &[RecordRef], content: &'c [u8], gaps: &[Gap]) -> Self {
        let mut counts = HashMap::new();
        for record in doubts.iter().filter(|record| !record.has_headers()) {
            counts.insert(record.subject(content), 0_u32);
            for flip in candidates(record, content) {
                counts.insert(flip.subject(record, content), 0);
            }
        }
        if counts.is_empty() {
            return Self::default();
        }
        each_record(content, gaps, |record| {
            if let Some(count) = counts.get_mut(record.subject(content)) {
                *count += 1;
            }
        });
        Self(counts)
    }

    fn get(&self, subject: &[u8]) -> u32 {
        self.0.get(subject).copied().unwrap_or_default()
    }
}

/// A subject for a sentence, cut where it is long.
fn shown(subject: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    String::from_utf8_lossy(subject.get(..SHOWN_MAX).unwrap_or(subject)).into_owned()
}

/// All that can be said of subjects that no index lists: messages that by the others of their block have a flipped border,
/// and those of which it cannot be told, whose subject comes once while one a flip of its length away comes again and
/// again.
fn by_other_messages(
    content: &[u8],
    gaps: &[Gap],
    usual: &Usual<'_>,
    witness: &dyn SubjectWitness,
) -> (Vec<(BorderFlip, u64)>, Vec<UncertainBorder>) {
    let (mut flips, mut lone) = (Vec::new(), Vec::new());
    if !usual.has_rare() {
        return (Vec::new(), lone);
    }
    each_record(content, gaps, |record| {
        if record.kind() != RecordKind::Message || record.has_headers() {
            return;
        }
        // Whatever is decided, a flip has to make of it a subject that comes again.
        if !usual.is_near(record, content) {
            return;
        }
        let found = record.subject(content);
        let is_lone = usual.count(found) == 1;
        if !is_lone && !usual.is_rare(found) || witness.standing(found) == SubjectStanding::Known {
            return;
        }
        let open = candidates(record, content);
        if let Some(flip) = usual.pick(record, content, &open) {
            flips.push((flip, record.sequence(), flip.subject(record, content)));
        } else if is_lone
            && open
                .iter()
                .any(|flip| usual.may_be(flip, record, content, AGAIN))
        {
            lone.push(doubt(
                record,
                &format!(
                    "no other message of its block has its subject {:?}, and one flipped bit of its length away is \
                     one that several have",
                    shown(found)
                ),
            ));
        }
    });
    (outweighed(&flips, usual), lone)
}

/// Of `flips`, each with the subject it leads to, those that lead to one which outweighs them all. Where more do, it is the
/// subject that flipped lengths made, in messages enough to look usual, and not the others' right one.
fn outweighed(flips: &[(BorderFlip, u64, &[u8])], usual: &Usual<'_>) -> Vec<(BorderFlip, u64)> {
    let mut counts: HashMap<&[u8], u32> = HashMap::new();
    for (_, _, subject) in flips {
        *counts.entry(subject).or_default() += 1;
    }
    let stands = |subject: &[u8]| {
        let count = counts.get(subject).copied().unwrap_or_default();
        usual.outweighs(subject, count)
    };
    let standing = flips.iter().filter(|(_, _, subject)| stands(subject));
    standing.map(|(flip, seq, _)| (*flip, *seq)).collect()
}

/// What the other messages of a block say of messages whose subject length did not fit in them, each with the length that
/// was found: the length it had, where they tell.
pub(super) fn lengths_by_others(
    content: &[u8],
    gaps: &[Gap],
    chosen: &[(RecordRef, u16)],
) -> Vec<Option<u16>> {
    if chosen.is_empty() {
        return Vec::new();
    }
    let usual = Usual::of(content, gaps);
    let length_of = |(record, found): &(RecordRef, u16)| {
        let lengths = flips_of(found.to_le_bytes(), &SINGLE);
        let lengths = lengths.map(|(_, _, flipped)| u16::from_le_bytes(flipped));
        usual.pick_length(record, content, lengths)
    };
    chosen.iter().map(length_of).collect()
}

fn decision(
    record: &RecordRef,
    content: &[u8],
    witness: &dyn SubjectWitness,
    counts: &Counts<'_>,
    usual: &Usual<'_>,
) -> Decision {
    let mut flips = candidates(record, content);
    if record.kind() != RecordKind::Message {
        return no_subject_wanted(record);
    }
    if record.has_headers() {
        return match flips.first() {
            Some(flip) => Decision::Mend(*flip),
            None if well_formed_headers(record, content) => Decision::Sound,
            None => Decision::Uncertain(
                "its headers do not begin with NATS/1.0 and end with an empty line".to_owned(),
            ),
        };
    }
    let found = record.subject(content);
    let well_formed = subject::is_valid(found);
    if flips.is_empty() && !well_formed {
        flips = subject_candidates(record, content, &PAIRS);
    }
    let standing = |flip: &BorderFlip| witness.standing(flip.subject(record, content));
    let mut known = flips
        .iter()
        .filter(|flip| standing(flip) == SubjectStanding::Known);
    let only_known = known.next().filter(|_| known.next().is_none());
    let comes_again = counts.get(found) > 1;
    let is_told = witness.is_live(record.sequence()).is_some();
    if let Some(flip) = usual.pick(record, content, &flips)
        && (!is_told || only_known.is_none())
    {
        return Decision::Mend(flip);
    }
    if witness.standing(found) == SubjectStanding::Possible {
        return match (witness.is_live(record.sequence()), only_known) {
            (Some(true), Some(flip)) => Decision::Mend(*flip),
            (Some(false), _) => Decision::Sound,
            (None, _) if comes_again => Decision::Sound,
            _ => Decision::Uncertain(format!(
                "its subject {:?} is not in index.db, and one flipped bit of its length away is one that is",
                shown(found)
            )),
        };
    }
    if let Some(flip) = only_known {
        return Decision::Mend(*flip);
    }
    if well_formed && (flips.is_empty() || comes_again) {
        return Decision::Sound;
    }
    let mut possible = flips
        .iter()
        .filter(|flip| standing(flip) == SubjectStanding::Possible);
    let only_possible = possible.next().filter(|_| possible.next().is_none());
    match only_possible {
        Some(flip) if !well_formed || counts.get(flip.subject(record, content)) > 0 => {
            Decision::Mend(*flip)
        }
        _ => Decision::Uncertain(format!(
            "its subject {:?} is none the stream takes, and which was meant cannot be told",
            shown(found)
        )),
    }
}

/// A record that is no message has no subject; its sequence is proven whatever its lengths say.
fn no_subject_wanted(record: &RecordRef) -> Decision {
    let length = (record.subject_length() as u16).to_le_bytes();
    flips_of(length, &SINGLE)
        .find(|(_, _, flipped)| *flipped == [0, 0])
        .filter(|_| !record.has_headers())
        .map_or(Decision::Sound, |(at, mask, _)| {
            Decision::Mend(BorderFlip {
                site: Site::SubjectLength,
                offset: record.offset() + SUBJECT_LENGTH_AT + at,
                mask,
                subject_end: record.offset() + RECORD_HEADER_LENGTH,
            })
        })
}

/// Picks the subject length of a record without headers whose hash verifies whatever its subject length, and whose own
/// does not fit in it: one bit, or else two neighbouring ones, from the one found; of these the only listed subject,
/// else the only possible one, else any. Returns the length and whether nothing else came into question.
pub(super) fn pick_subject_length(
    content: &[u8],
    offset: usize,
    record_length: usize,
    found: u16,
    witness: &dyn SubjectWitness,
) -> Option<(u16, bool)> {
    let start = offset + RECORD_HEADER_LENGTH;
    let room = record_length.checked_sub(RECORD_HEADER_LENGTH + CHECKSUM_LENGTH)?;
    [&SINGLE[..], &PAIRS].into_iter().find_map(|masks| {
        let fitting: Vec<(u16, SubjectStanding)> = flips_of(found.to_le_bytes(), masks)
            .map(|(_, _, flipped)| u16::from_le_bytes(flipped))
            .filter(|length| usize::from(*length) <= room)
            .filter_map(|length| {
                let subject = content.get(start..start + usize::from(length))?;
                Some((length, witness.standing(subject)))
            })
            .collect();
        let best = fitting.iter().map(|(_, standing)| *standing).max()?;
        let mut equal = fitting.iter().filter(|(_, standing)| *standing == best);
        let (length, _) = equal.next()?;
        let only =
            fitting.len() == 1 || (best != SubjectStanding::Impossible && equal.next().is_none());
        Some((*length, only))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_empty_line_is_found_wherever_it_is(
            letters in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40),
        ) {
            let first = letters.windows(4).position(|window| window == HEADERS_END);
            let early = first.is_some_and(|at| at + 4 < letters.len());
            prop_assert_eq!(first_empty_line_ends(&letters), !early);
        }
    }
}
