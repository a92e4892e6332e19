//! Finding the next sound record behind a bad one.
//!
//! Every offset is looked at once; nearly all fail on the length field alone. What passes the cheap tests is hashed, if
//! the account allows; false records that were made on purpose cannot use it up (see [`ResyncBudget::pay`]).

use std::collections::VecDeque;

use super::budget::ResyncBudget;
use super::{Hints, SubjectStanding};
use crate::format::checksum::HashKey;
use crate::format::limits::{RECORD_HEADER_LENGTH, RECORD_MAX_LENGTH, RECORD_MIN_LENGTH};
use crate::format::record::{RecordKind, RecordRef, parse_at};

/// Bytes of a subject that are looked at before a hash is made.
const SUBJECT_SAMPLE: usize = 256;

/// A longer record whose end does not look like the next one is hashed only where there is plenty of work left.
const CHEAP_LENGTH: usize = 4096;

/// Plausible records remembered on the way, the nearest to the sound one.
const SITES_MAX: usize = 1024;

/// What lies behind a bad place.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// The next sound record.
    pub next: Option<RecordRef>,
    /// What looked like records on the way and was not sound, in file order.
    pub sites: VecDeque<RecordRef>,
    /// Whether something plausible was not hashed.
    pub cut_short: bool,
}

/// The hash of what a record covers; 0 where `content` does not hold it.
pub(super) fn hash_of(key: &HashKey, record: &RecordRef, content: &[u8]) -> u64 {
    record
        .covered_parts(content)
        .map_or(0, |parts| key.hash64(&parts))
}

/// Whether a record's stored hash is the hash of what it covers.
pub(super) fn verifies(key: &HashKey, record: &RecordRef, content: &[u8]) -> bool {
    record.stored_hash(content) == Some(hash_of(key, record, content))
}

/// The record at `offset`, if by its header alone one could begin there.
///
/// Time does not depend on the lengths found.
pub(super) fn plausible(content: &[u8], offset: usize, hints: &Hints<'_>) -> Option<RecordRef> {
    let record = parse_at(content, offset).ok()?;
    let bare = record.subject_length() == 0 && !record.has_headers();
    let fits = match record.kind() {
        RecordKind::Tombstone => {
            bare && record.length() == RECORD_MIN_LENGTH && record.sequence_bits() >> 63 == 0
        }
        RecordKind::Erased => {
            bare && record.sequence() != 0
                && (record.length() == RECORD_MIN_LENGTH || record.timestamp_ns() == 0)
        }
        RecordKind::Message => subject_plausible(record.subject(content), hints),
    };
    fits.then_some(record)
}

fn subject_plausible(subject: &[u8], hints: &Hints<'_>) -> bool {
    if subject.is_empty() {
        return hints.subjects.standing(subject) != SubjectStanding::Impossible;
    }
    !subject
        .iter()
        .take(SUBJECT_SAMPLE)
        .any(|byte| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n' | 0x0c))
}

/// Whether what follows a record looks like the next one, or is the end of the content.
pub(super) fn is_followed(content: &[u8], record: &RecordRef, hints: &Hints<'_>) -> bool {
    record.end_offset() == content.len() || plausible(content, record.end_offset(), hints).is_some()
}

/// Looks for the next sound record at `from` or behind. One whose sequence is not above `floor`, or not among those
/// foreseen, is hashed only where there is work to spare; if it verifies, it is as good as any: which records count is
/// decided over the whole block.
pub(super) fn search(
    content: &[u8],
    from: usize,
    floor: u64,
    hints: &Hints<'_>,
    credit: &mut ResyncBudget,
) -> Behind {
    let mut behind = Behind::default();
    let mut paid_to = from;
    let rest = content.get(from..).unwrap_or_default();
    for (step, window) in rest.windows(RECORD_HEADER_LENGTH).enumerate() {
        let length = window.first_chunk().map_or(0, |f| u32::from_le_bytes(*f)) & 0x7fff_ffff;
        let claimed = (length as usize).wrapping_sub(RECORD_MIN_LENGTH);
        if claimed > RECORD_MAX_LENGTH || claimed >= rest.len() - step {
            continue;
        }
        let offset = from + step;
        let Some(record) = plausible(content, offset, hints) else {
            continue;
        };
        credit.pass((offset - paid_to) as u64);
        paid_to = offset;
        if !credit.pay(record.length(), weight(content, &record, floor, hints)) {
            behind.cut_short = true;
        } else if verifies(hints.hash_key, &record, content) {
            behind.next = Some(record);
            return behind;
        }
        if behind.sites.len() == SITES_MAX {
            behind.sites.pop_front();
        }
        behind.sites.push_back(record);
    }
    behind
}

/// How much more than its price must be there for a record that is less likely a true one.
fn weight(content: &[u8], record: &RecordRef, floor: u64, hints: &Hints<'_>) -> u64 {
    let seq = record.sequence();
    let foreseen =
        record.kind() == RecordKind::Tombstone || (seq > floor && hints.sequences.contains(&seq));
    let followed = record.length() <= CHEAP_LENGTH || is_followed(content, record, hints);
    (if foreseen { 1 } else { 4 }) * (if followed { 1 } else { 4 })
}
