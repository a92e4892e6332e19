//! What salvage found in one block, as values small enough to keep for every block of a store.
//!
//! A find holds no content. What was mended is kept as patches to the file's bytes, so that whoever writes the new store
//! reads the block again, applies them and walks exactly the same records.

use crate::format::bit_repair::Patch;
use crate::format::compression::CompressionFault;
use crate::format::headers;
use crate::format::record::{RecordFault, RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::state::SeqTime;

/// What a flipped bit had hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// A record's length field.
    Length,
    /// A record's sequence field.
    Sequence,
    /// A record's time.
    Time,
    /// A record's subject length.
    SubjectLength,
    /// A record's subject.
    Subject,
    /// A record's header length.
    HeaderLength,
    /// A record's headers.
    Headers,
    /// A record's body.
    Body,
    /// A record's stored hash.
    Hash,
    /// The mark or the original length in front of a compressed block.
    Wrapper,
    /// A compressed block's chunk header, checksum or decoded length.
    ChunkHeader,
    /// The compressed bytes of a chunk.
    ChunkData,
}

/// One mended place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What was wrong.
    pub site: Site,
    /// The bits that were wrong; more than one byte only where a length was put together anew from its neighbours.
    pub patches: Vec<Patch>,
    /// The sequence of the (first) record it made readable, where there is one.
    pub seq: Option<u64>,
}

/// Why bytes could not be proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapCause {
    /// The first record there is bad.
    Record(RecordFault),
    /// From there on to the end of the block lie changes that were written together and not committed.
    Uncommitted,
    /// The compressed bytes there do not decode.
    Compressed(CompressionFault),
    /// No key given opens the block.
    NoKey(String),
    /// The file could not be read.
    Unreadable(String),
    /// The time that may be spent on this many bad bytes was used up before an answer was found.
    WorkLimit,
}

/// Bytes that could not be proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where they begin in the decoded content as far as it could be had; in the file, where nothing decodes.
    pub offset: u64,
    /// How many there are.
    pub length: u64,
    /// The bytes of the file they come from. For compressed blocks the chunks concerned.
    pub file_offset: u64,
    /// How many of the file.
    pub file_length: u64,
    /// Why.
    pub cause: GapCause,
    /// The message (or erased record) before, where there is one in the block.
    pub before: Option<u64>,
    /// The one behind.
    pub after: Option<u64>,
}

/// A message whose record verifies, and whose border between subject, headers and body cannot be proven (no checksum
/// covers it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncertainBorder {
    /// The message.
    pub seq: u64,
    /// Offset of its record in the decoded content.
    pub offset: u64,
    /// Why it is doubted.
    pub detail: String,
}

/// Everything found in one block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockFindings {
    /// Block number: what its records are hashed under.
    pub number: u32,
    /// The number in the name of the file it was found in: another where files were swapped, or one was copied over another.
    pub file: u32,
    /// Length of the file in bytes.
    pub file_length: u64,
    /// Length of the decoded content, mended.
    pub content_length: u64,
    /// Zeros at the end of the file as it lies on disk; 0 where they are too few to tell from a record's end.
    pub zero_tail: u64,
    /// Whether the file is compressed.
    pub compressed: bool,
    /// Sequences of the messages that verify. Sequences rise in a sound block; where they do not, the longest rising
    /// chain of messages and erased records stands in its place, so that a stray old copy of a few records does not hide
    /// those behind it, and what is not of it is among `strays`. (The server passes over what does not rise above the
    /// highest so far.)
    pub messages: SeqSet,
    /// Bytes of their records.
    pub message_bytes: u64,
    /// Sequences of erased and skip records.
    pub erased: SeqSet,
    /// Tombstones in file order: the sequence that is gone, and the time of what was there.
    pub tombstones: Vec<SeqTime>,
    /// First message or erased record of the chain.
    pub first: Option<SeqTime>,
    /// Last message or erased record of the chain.
    pub last: Option<SeqTime>,
    /// What was mended, in file order.
    pub repairs: Vec<Repair>,
    /// What could not be proven, in order, none touching the next.
    pub gaps: Vec<Gap>,
    /// Messages kept with a doubt.
    pub uncertain: Vec<UncertainBorder>,
    /// Messages and erased records outside that chain, copies of others among them; an erased one counts as erased all the
    /// same.
    pub backward_count: u64,
    /// Messages outside that chain whose sequence nothing in it has, by sequence.
    pub strays: Vec<SeqTime>,
    /// Messages whose own time to live is over, at the time that the [`Lifetimes`] of the scan tell.
    pub timed_out: SeqSet,
    /// Messages that no age removes.
    pub never_expire: SeqSet,
    /// Messages that verify, and that were gone when the block, or a part of it, was written last: old copies of what was
    /// deleted since, unless something that knows better counts them.
    pub outdated: SeqSet,
    /// Sequences of which another record of the block, which verifies too, says something else. What is taken stands in its
    /// place.
    pub rivals: SeqSet,
}

/// What of the lifetimes of messages a scan looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetimes {
    /// The time at which a message's own time to live may be over, where the stream lets messages have one.
    pub ttl_at_ns: Option<i64>,
    /// Whether the stream has a limit of age, from which messages may be exempt.
    pub has_age: bool,
}

impl Lifetimes {
    /// Looks at one record that verifies.
    #[inline]
    pub(super) fn look(self, record: &RecordRef, content: &[u8], find: &mut Timed) {
        let matters = self.ttl_at_ns.is_some() || self.has_age;
        if matters && record.has_headers() && record.kind() == RecordKind::Message {
            self.look_closely(record, content, find);
        }
    }

    fn look_closely(self, record: &RecordRef, content: &[u8], find: &mut Timed) {
        let Ok((block, _)) = record.headers_and_body(content) else {
            return;
        };
        match headers::message_ttl(block) {
            Ok(ttl) if ttl < 0 && self.has_age => {
                find.never_expire.insert(record.sequence());
            }
            Ok(ttl) if ttl > 0 => {
                let ends_ns = headers::expiry_ns(record.timestamp_ns(), ttl);
                if self.ttl_at_ns.is_some_and(|at_ns| ends_ns <= at_ns) {
                    find.timed_out.insert(record.sequence());
                }
            }
            _ => {}
        }
    }
}

/// What a scan found of the lifetimes of messages.
#[derive(Debug, Default)]
pub(super) struct Timed {
    pub timed_out: SeqSet,
    pub never_expire: SeqSet,
}

impl BlockFindings {
    /// Whether the file can be copied as it is: nothing to mend, nothing missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.repairs.is_empty() && self.gaps.is_empty()
    }

    /// All patches, in file order.
    pub fn patches(&self) -> impl Iterator<Item = Patch> + '_ {
        self.repairs
            .iter()
            .flat_map(|repair| repair.patches.iter().copied())
    }
}
