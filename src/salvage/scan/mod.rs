//! One block's bytes to everything in them that can be proven. Pure: bytes, keys and hints in, a find out.

mod bit_repair;
mod body_prefixes;
mod budget;
pub mod chunks;
mod flips;
mod out_of_order;
pub mod probe;
mod replay;
mod resync;
mod stats;
pub mod subject_length;
#[cfg(test)]
mod tests;
mod walk;

use std::ops::RangeInclusive;

use super::findings::{BlockFindings, Lifetimes};
use crate::format::bit_repair::Patch;
use crate::format::checksum::HashKey;
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::record::{RecordRef, Run, parse_at};
use bit_repair::Patchable;
use chunks::Unwrapped;
use walk::RecordScanner;

/// What a subject can be, by all that is known of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectStanding {
    /// No message of this stream can have it: not a subject, or not one of the configured.
    Impossible,
    /// It is a subject the stream takes.
    Possible,
    /// `index.db` lists it.
    Known,
}

/// Judges subjects by the stream's configuration and index.
pub trait SubjectWitness: Sync {
    /// What `subject` can be.
    fn standing(&self, subject: &[u8]) -> SubjectStanding;

    /// Told of records, the subjects of which are asked for next.
    fn prepare(&self, records: &[RecordRef], content: &[u8]) {
        let _ = (records, content);
    }

    /// Whether any subject is known: without an index none is, and nothing is asked of it for each message.
    fn lists_subjects(&self) -> bool {
        true
    }

    /// Whether the message is live, or was when the index was written, which lists the subjects of all that were. `None`
    /// where the index cannot tell.
    fn is_live(&self, seq: u64) -> Option<bool> {
        let _ = seq;
        None
    }
}

/// What is known of a block before its bytes are looked at.
#[derive(Clone, Copy)]
pub struct Hints<'a> {
    /// Block number.
    pub number: u32,
    /// The key of its records' hashes.
    pub hash_key: &'a HashKey,
    /// Sequences that can stand in it, as far as the index and sound neighbours tell. A record proven by its hash counts
    /// also outside; a place to look for one is guided by it.
    pub sequences: &'a RangeInclusive<u64>,
    /// Judge of subjects.
    pub subjects: &'a dyn SubjectWitness,
    /// Bytes hashed or decoded in search of mends, per bad place, before the search is given up.
    pub work_limit: u64,
    /// What of the lifetimes of messages is looked for.
    pub lifetimes: Lifetimes,
}

/// Receives the proven records of a block, messages, erased records and tombstones alike, in file order; where records are
/// out of order ([`BlockFindings::backward_count`]), in that of their sequences, each message once, and tombstones behind the
/// record they followed.
pub trait RecordSink {
    /// One record; `content` is the decoded, mended content it lies in.
    fn record(&mut self, record: &RecordRef, content: &[u8]);
}

/// Buffers that are kept from block to block.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Decoded content of a compressed block; left alone by a plain one, whose content is the file.
    pub content: Vec<u8>,
    run: Run,
}

/// Scans one block: `file` holds its decrypted bytes, and is mended in place where a flipped bit explains the damage.
///
/// An undamaged block is walked once. Time beyond that, in bytes hashed or decoded, is at most
/// `min(bad places, 64) × work_limit + 100 × bytes of the content` (see `work`); of a compressed block,
/// `7 × work_limit + 70 × bytes of the content` more (see `chunks/work`); of one whose front is damaged, once more as much, for
/// it is scanned as a plain one too. Memory is that of the content, some
/// 3 MiB, some 60 bytes per record where records are out of order, and what the find holds.
pub fn scan_block(file: &mut Vec<u8>, hints: &Hints<'_>, scratch: &mut Scratch) -> BlockFindings {
    scan_counting(file, hints, scratch).0
}

/// The find, and the bytes hashed in search of mends and of sound records behind damage.
fn scan_counting(
    file: &mut Vec<u8>,
    hints: &Hints<'_>,
    scratch: &mut Scratch,
) -> (BlockFindings, u64) {
    let unwrapped = if begins_with_record(file, hints.hash_key) {
        Unwrapped::default()
    } else {
        chunks::unwrap(file, hints, &mut scratch.content)
    };
    let (find, spent) = scan_content(file, hints, scratch, &unwrapped);
    let begins_sound = find.gaps.first().is_none_or(|gap| gap.offset > 0);
    if !unwrapped.compressed || unwrapped.breaks.is_empty() || begins_sound {
        return (find, spent);
    }
    // The front of a plain block may be that of another, which is compressed.
    apply(file, find.patches());
    let (plain, more) = scan_content(file, hints, scratch, &Unwrapped::default());
    if proven(&plain) > proven(&find) {
        return (plain, spent + more);
    }
    apply(file, plain.patches());
    apply(file, find.patches());
    (find, spent + more)
}

/// Scans what `unwrapped` says is the content.
fn scan_content(
    file: &mut Vec<u8>,
    hints: &Hints<'_>,
    scratch: &mut Scratch,
    unwrapped: &Unwrapped,
) -> (BlockFindings, u64) {
    let file_length = file.len() as u64;
    let mut find = BlockFindings {
        number: hints.number,
        file: hints.number,
        file_length,
        compressed: unwrapped.compressed,
        ..BlockFindings::default()
    };
    let (content, patchable) = if unwrapped.compressed {
        let content = &mut scratch.content;
        let trailer = trailer_of(content, file);
        (content, trailer)
    } else {
        (&mut *file, Patchable::All)
    };
    let scanner = RecordScanner::new(content, hints, patchable, &unwrapped.breaks, file_length);
    let spent = scanner.run(&mut scratch.run, &mut find);
    if find.compressed {
        apply(file, find.patches());
    }
    find.repairs.extend_from_slice(&unwrapped.repairs);
    find.repairs
        .sort_by_key(|repair| repair.patches.first().copied());
    (find, spent)
}

/// Records that verify.
fn proven(find: &BlockFindings) -> u64 {
    find.messages.len() + find.erased.len() + find.tombstones.len() as u64
}

/// Whether a plain block begins here, beyond doubt.
fn begins_with_record(file: &[u8], hash_key: &HashKey) -> bool {
    parse_at(file, 0).is_ok_and(|record| resync::verifies(hash_key, &record, file))
}

/// Of a compressed block's content only the last eight bytes, the last record's hash, lie in the file as they are; and
/// not even those where the file is cut.
fn trailer_of(content: &[u8], file: &[u8]) -> Patchable {
    let trailer = content
        .last_chunk::<CHECKSUM_LENGTH>()
        .filter(|trailer| file.last_chunk() == Some(trailer))
        .map_or(0, |trailer| trailer.len());
    Patchable::From {
        content: content.len() - trailer,
        file: (file.len() - trailer) as u64,
    }
}

fn apply(file: &mut [u8], patches: impl Iterator<Item = Patch>) {
    for patch in patches {
        let byte = usize::try_from(patch.offset)
            .ok()
            .and_then(|offset| file.get_mut(offset));
        if let Some(byte) = byte {
            *byte ^= patch.mask;
        }
    }
}

/// Walks again what [`scan_block`] found: `file` holds the block's decrypted bytes as they lie on disk; the patches of
/// `find` are applied to it.
///
/// Every record is verified once more. Where the file is another than the one scanned, what no longer verifies is left
/// out.
pub fn replay_block<S: RecordSink>(
    file: &mut Vec<u8>,
    hash_key: &HashKey,
    find: &BlockFindings,
    scratch: &mut Scratch,
    sink: &mut S,
) {
    replay(file, Some(hash_key), find, scratch, sink);
}

/// The same without verifying: for sums over a block that was scanned just before. What is written anywhere is not taken
/// from here.
pub fn replay_unverified<S: RecordSink>(
    file: &mut Vec<u8>,
    find: &BlockFindings,
    scratch: &mut Scratch,
    sink: &mut S,
) {
    replay(file, None, find, scratch, sink);
}

fn replay<S: RecordSink>(
    file: &mut Vec<u8>,
    hash_key: Option<&HashKey>,
    find: &BlockFindings,
    scratch: &mut Scratch,
    sink: &mut S,
) {
    let content = if find.compressed {
        chunks::unwrap_again(file, find.patches(), &mut scratch.content);
        &scratch.content
    } else {
        apply(file, find.patches());
        &*file
    };
    if find.backward_count > 0 {
        let arrangement = out_of_order::arrange(content, &find.gaps);
        replay::walk_arranged(content, hash_key, &find.gaps, &arrangement, sink);
    } else {
        replay::walk(content, hash_key, &find.gaps, sink);
    }
}
