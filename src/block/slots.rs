//! The block index: which record of a loaded block holds which sequence.
//!
//! Answers for the reference's indexing of a block for reads. It checks structure but no hash, and
//! it insists that first, last and every erased record agree with what is known of the block;
//! where they do not, the caller has to walk the block again.

use crate::format::headers;
use crate::format::limits::RECORD_HEADER_LENGTH;
use crate::format::record::{self, RecordRef};
use crate::format::seqset::SeqSet;

/// One indexed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its sequence.
    pub seq: u64,
    /// Its offset in the decoded content.
    pub offset: u32,
}

/// The index of one loaded block.
#[derive(Debug, Clone, Default)]
pub struct BlockIndex {
    /// Records by rising sequence. A sequence between two slots is deleted.
    pub slots: Vec<Slot>,
    /// The sequence the first slot position stands for: the block's first when it was indexed.
    pub first_seq: u64,
    /// Positions covered: last − first + 1.
    pub span: u64,
    /// Records that set a TTL, valid or not ([`timer_headers`]).
    pub ttl_count: u64,
    /// Records that set a schedule, valid or not.
    pub schedule_count: u64,
}

impl BlockIndex {
    /// The slot of `seq`.
    #[must_use]
    pub fn find(&self, seq: u64) -> Option<Slot> {
        let at = self
            .slots
            .binary_search_by_key(&seq, |slot| slot.seq)
            .ok()?;
        self.slots.get(at).copied()
    }
}

/// Why a block does not index under the bounds known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexFault {
    /// First lies beyond last + 1.
    BadRange,
    /// A record is structurally bad, at this offset.
    BadRecord(u64),
    /// First, last or the deleted set disagree with the records.
    Misaligned,
}

/// Indexes `content` for a block that is known to span `first_seq..=last_seq` with `deleted` inside.
/// `empty_counts` is for [`timer_headers`]. Sequences without a record are added to `deleted`, also when indexing fails later.
///
/// # Errors
///
/// [`IndexFault`]: the records do not agree with the bounds.
pub fn index(
    content: &[u8],
    first_seq: u64,
    last_seq: u64,
    deleted: &mut SeqSet,
    empty_counts: bool,
) -> Result<BlockIndex, IndexFault> {
    if first_seq > last_seq.wrapping_add(1) {
        return Err(IndexFault::BadRange);
    }
    let span = last_seq.wrapping_sub(first_seq).wrapping_add(1);
    let mut out = BlockIndex {
        first_seq,
        span,
        ..BlockIndex::default()
    };
    let mut covered = 0_u64;
    let mut seen = 0_u64;
    let mut offset = 0_usize;
    while offset < content.len() {
        if content.len() - offset < RECORD_HEADER_LENGTH {
            return Err(IndexFault::BadRecord(offset as u64));
        }
        let record =
            record::parse_at(content, offset).map_err(|_| IndexFault::BadRecord(offset as u64))?;
        offset = record.end_offset();
        if record.kind() == crate::format::record::RecordKind::Tombstone {
            continue;
        }
        let seq = record.sequence();
        if seq <= seen || seq < first_seq {
            continue;
        }
        if seen == 0 && seq != first_seq {
            return Err(IndexFault::Misaligned);
        }
        seen = seq;
        let slot = seq - first_seq;
        if slot != covered {
            fill_gap(deleted, first_seq.wrapping_add(covered), seq);
        }
        covered = slot + 1;
        take(&mut out, &record, seq, content, empty_counts);
        if (record.kind() == crate::format::record::RecordKind::Erased)
            && seq != 0
            && !deleted.contains(seq)
        {
            return Err(IndexFault::Misaligned);
        }
    }
    if covered != span || (seen > 0 && seen != last_seq) {
        return Err(IndexFault::Misaligned);
    }
    Ok(out)
}

fn fill_gap(deleted: &mut SeqSet, from: u64, to: u64) {
    let from = from.max(1);
    if from < to {
        deleted.insert_range(from..=to - 1);
    }
}

fn take(out: &mut BlockIndex, record: &RecordRef, seq: u64, content: &[u8], empty_counts: bool) {
    out.slots.push(Slot {
        seq,
        offset: u32::try_from(record.offset()).unwrap_or(u32::MAX),
    });
    if record.has_headers()
        && let Ok((block, _)) = record.headers_and_body(content)
    {
        let (ttl, schedule) = timer_headers(block, empty_counts);
        out.ttl_count += u64::from(ttl);
        out.schedule_count += u64::from(schedule);
    }
}

/// Which of the timers that recovery counts a header block sets: a TTL, a schedule. With `empty_counts` the header's line is
/// enough; servers before 2.14.10 and 2.15.3 want a value on it.
#[must_use]
pub fn timer_headers(block: &[u8], empty_counts: bool) -> (bool, bool) {
    timers_among(headers::present(block), block, empty_counts)
}

/// As [`timer_headers`], where [`headers::present`] was asked already.
#[must_use]
pub fn timers_among(present: headers::Present, block: &[u8], empty_counts: bool) -> (bool, bool) {
    let holds = |name| {
        if empty_counts {
            headers::has_line(block, name)
        } else {
            headers::find(block, name).is_some_and(|value| !value.is_empty())
        }
    };
    (
        present.ttl && holds(headers::TTL),
        present.schedule && holds(headers::SCHEDULE),
    )
}

/// The widest gap that the server would fill, sequence by sequence, when it indexes `content` for a
/// block that begins at `first_seq`: hashes are unchecked, and a first record that is not the
/// block's first ends it.
#[must_use]
pub fn widest_jump(content: &[u8], first_seq: u64) -> u64 {
    let mut widest = 0;
    let mut last = 0;
    let mut offset = 0;
    while let Ok(record) = record::parse_at(content, offset) {
        offset = record.end_offset();
        let seq = record.sequence();
        if record.kind() == crate::format::record::RecordKind::Tombstone
            || seq <= last
            || seq < first_seq
        {
            continue;
        }
        if last == 0 && seq != first_seq {
            break;
        }
        if last > 0 {
            widest = widest.max(seq - last);
        }
        last = seq;
    }
    widest
}
