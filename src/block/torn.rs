//! Ends of blocks as an interrupted write leaves them: what was being written and nobody was told of.

use crate::format::checksum::HashKey;
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::record::{RecordFault, RecordRef, parse_at};

use super::content::verifies;

/// Bytes that are hashed at most in search of a record behind the end. No end that an interrupted write leaves takes as many.
const HASHED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What an interrupted write left behind the last record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TornEnd {
    /// The beginning of a record.
    Record,
    /// A length that was set before the bytes came.
    Zeros,
    /// A batch that was written and not committed.
    Batch,
}

/// In which bits a withheld checksum differs from the record's own. No byte of it is what damage mostly makes of one: a flipped bit, zeros,
/// or the complement. So one that is left of a commit that was torn is told from those.
const WITHHELD_BITS: [u8; CHECKSUM_LENGTH] = [0x5A, 0xC3, 0x96, 0x69, 0xB4, 0x2D, 0xD2, 0x4B];

/// The checksum under which the first record of a batch is written before the batch is committed: whoever reads the block ends there.
/// Encrypted or not, it differs from the record's own in the same bits.
#[must_use]
pub fn withheld(checksum: [u8; CHECKSUM_LENGTH]) -> [u8; CHECKSUM_LENGTH] {
    let mut withheld = checksum;
    for (byte, bits) in withheld.iter_mut().zip(WITHHELD_BITS) {
        *byte ^= bits;
    }
    withheld
}

/// Whether what lies behind `fault` in a block's decoded content is the rest of a write that nobody was told of, and which. `None` where
/// it may be damage: records that verify lie behind it, or bytes that an interrupted append does not leave.
#[must_use]
pub fn torn_end(content: &[u8], fault: &RecordFault, hash_key: &HashKey) -> Option<TornEnd> {
    let rest = content.get(fault.offset()..)?;
    if rest.iter().all(|byte| *byte == 0) {
        return Some(TornEnd::Zeros);
    }
    match fault {
        RecordFault::Checksum { offset, .. } => {
            if is_uncommitted(content, fault, hash_key) {
                return Some(TornEnd::Batch);
            }
            let record = parse_at(content, *offset).ok()?;
            ends_in_zeros(&record, content, hash_key).then_some(TornEnd::Record)
        }
        RecordFault::HeaderCut { .. } | RecordFault::PastEnd { .. } => {
            let from = fault.offset() + 1;
            (!has_record_behind(content, from, hash_key)?).then_some(TornEnd::Record)
        }
        _ => None,
    }
}

/// Whether at `fault` a batch begins that was written and not committed.
#[must_use]
pub fn is_uncommitted(content: &[u8], fault: &RecordFault, hash_key: &HashKey) -> bool {
    let RecordFault::Checksum { offset, .. } = fault else {
        return false;
    };
    let record = parse_at(content, *offset);
    record.is_ok_and(|record| is_withheld(&record, content, hash_key))
}

/// Whether a record's checksum is withheld. The write that commits it may be torn: so many of its bytes are the record's own, and the
/// others are not.
fn is_withheld(record: &RecordRef, content: &[u8], hash_key: &HashKey) -> bool {
    let Some(stored) = record.stored_hash(content) else {
        return false;
    };
    let stored = stored.to_le_bytes();
    let own = hash_key.hash_record(content, record).to_le_bytes();
    let withheld = withheld(own);
    (0..CHECKSUM_LENGTH).any(|committed| {
        let (came, waits) = (own.iter().take(committed), withheld.iter().skip(committed));
        came.chain(waits).eq(stored.iter())
    })
}

/// Whether a record came as far as into its checksum, with zeros from there to the end of the block.
fn ends_in_zeros(record: &RecordRef, content: &[u8], hash_key: &HashKey) -> bool {
    let behind = content.get(record.end_offset()..).unwrap_or_default();
    let Some(stored) = record.stored_hash(content) else {
        return false;
    };
    let stored = stored.to_le_bytes();
    let own = hash_key.hash_record(content, record).to_le_bytes();
    let pairs = stored.iter().zip(own);
    let came = pairs.take_while(|(stored, own)| **stored == *own).count();
    let zeros = stored.get(came..).unwrap_or_default();
    zeros.iter().chain(behind).all(|byte| *byte == 0)
}

/// Whether a record that verifies begins at `from` or behind; `None` where finding out takes too much.
fn has_record_behind(content: &[u8], from: usize, hash_key: &HashKey) -> Option<bool> {
    let mut left = HASHED_MAX_BYTES;
    for offset in from..content.len() {
        let Ok(record) = parse_at(content, offset) else {
            continue;
        };
        left = left.checked_sub(record.length())?;
        if verifies(&record, content, hash_key) {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::builder::BlockBuilder;
    use crate::block::walk::{Known, walk};
    use crate::format::record::{NewRecord, Run};

    fn block_of(count: u64) -> BlockBuilder {
        let mut block = BlockBuilder::new(b"S", 1);
        for sequence in 1..=count {
            let message = NewRecord::Message {
                sequence,
                timestamp_ns: 7,
                subject: b"a",
                headers: b"",
                body: b"some body",
            };
            block.push(&message).unwrap();
        }
        block
    }

    fn end_of(block: &BlockBuilder, content: &[u8]) -> Option<TornEnd> {
        let walked = walk(
            content,
            block.hash_key(),
            Known::default(),
            &mut Run::new(),
            &mut (),
        );
        torn_end(content, &walked.fault.unwrap(), block.hash_key())
    }

    #[test]
    fn a_record_cut_anywhere_is_a_torn_end_and_one_with_records_behind_it_is_not() {
        let block = block_of(3);
        let whole = block.content();
        let third = whole.len() / 3 * 2;
        for end in third + 1..whole.len() {
            let cut = whole.get(..end).unwrap();
            assert_eq!(end_of(&block, cut), Some(TornEnd::Record), "cut at {end}");
        }
        // A length that reaches beyond the end, in the middle of a block.
        let mut flipped = whole.to_vec();
        if let Some(byte) = flipped.get_mut(whole.len() / 3 + 1) {
            *byte ^= 1;
        }
        assert_eq!(end_of(&block, &flipped), None);
    }

    #[test]
    fn zeros_are_a_torn_end_and_a_flipped_bit_of_the_last_record_is_not() {
        let block = block_of(2);
        let mut longer = block.content().to_vec();
        longer.extend_from_slice(&[0; 4096]);
        assert_eq!(end_of(&block, &longer), Some(TornEnd::Zeros));
        let length = block.content().len();
        for zeros in 1..CHECKSUM_LENGTH + 9 {
            longer.get_mut(length - zeros..length).unwrap().fill(0);
            assert_eq!(end_of(&block, &longer), Some(TornEnd::Record), "{zeros}");
        }
        // The checksum covers all but the two lengths at a record's begin and end of its header.
        let second = block.content().len() / 2;
        let covered = (second + 4..second + 20).chain(second + 22..length);
        for at in covered {
            let mut flipped = block.content().to_vec();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1;
            }
            assert_eq!(end_of(&block, &flipped), None, "bit at {at}");
        }
    }

    #[test]
    fn a_batch_is_known_by_its_withheld_checksum_however_the_commit_was_torn() {
        let block = block_of(3);
        let end = block.content().len() / 3;
        let own: [u8; CHECKSUM_LENGTH] = *block.content().get(..end).unwrap().last_chunk().unwrap();
        let with = |checksum: &[u8]| {
            let mut content = block.content().to_vec();
            let place = content.get_mut(end - CHECKSUM_LENGTH..end).unwrap();
            place.copy_from_slice(checksum);
            end_of(&block, &content)
        };
        for committed in 0..CHECKSUM_LENGTH {
            let mut torn = withheld(own);
            torn[..committed].copy_from_slice(&own[..committed]);
            assert_eq!(with(&torn), Some(TornEnd::Batch), "{committed}");
        }
        // A byte that is damaged is no batch.
        for at in 0..CHECKSUM_LENGTH {
            let changes = (0..8).map(|bit| 1 << bit).chain([0xFF, own[at], !own[at]]);
            for change in changes.filter(|change| *change != 0) {
                let mut damaged = own;
                damaged[at] ^= change;
                if change != WITHHELD_BITS[at] {
                    assert_eq!(with(&damaged), None, "byte {at} by {change:x}");
                }
            }
        }
    }
}
