//! Walking a block for recovery while its verified content is at hand.
//!
//! Making the side files of a new store takes what recovery knows of each block; so does telling the state of a stream
//! that has no index. Both would read every block again. A block of which nothing has to be mended or left out is walked
//! here instead, right behind its scan, without hashing.

use std::collections::BTreeMap;

use super::findings::BlockFindings;
use super::read::{Blocks, Stamp};
use super::side_files::IndexEvidence;
use super::survey::Survey;
use crate::format::compression::{Framing, detect};
use crate::recovery::walked::{BlockWalker, WalkedBlock, WalkedBlocks, WalkedSubjects};

/// What the walks are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkFor {
    /// Not at all.
    Nothing,
    /// What an index would tell, where there is none that knows it.
    MessagesOf,
    /// Always.
    Everything,
}

impl WalkFor {
    /// Whether blocks are to be walked in a stream with this index.
    pub fn asks(self, index: Option<&IndexEvidence>) -> bool {
        match self {
            WalkFor::Nothing => false,
            WalkFor::MessagesOf => index.is_none_or(|index| !index.fresh),
            WalkFor::Everything => true,
        }
    }
}

/// The walk of one block, and what its file was just before it was read.
#[derive(Debug)]
pub(super) struct BlockWalk {
    stamp: Stamp,
    walked: WalkedBlock,
}

/// One thread's walks.
#[derive(Debug)]
pub(super) struct Walker<'a> {
    walker: BlockWalker,
    subjects: &'a WalkedSubjects,
}

impl<'a> Walker<'a> {
    /// Walks whose subjects go to `subjects`.
    pub fn new(subjects: &'a WalkedSubjects) -> Self {
        Walker {
            walker: BlockWalker::default(),
            subjects,
        }
    }

    /// Walks a block that was just scanned: `file` holds its decrypted bytes, `decoded` its content where it is compressed.
    /// `None` where it is not sound through and through.
    pub fn walk(
        &mut self,
        find: &BlockFindings,
        file: &[u8],
        decoded: &[u8],
        stamp: Stamp,
    ) -> Option<BlockWalk> {
        let is_sound = find.is_whole()
            && find.uncertain.is_empty()
            && find.erased.is_empty()
            && find.backward_count == 0;
        // A plain record can spell the mark of a compressed block: what a server makes of that, recovery is to say.
        let is_marked = !matches!(detect(file), Ok(Framing::Plain));
        if !is_sound || is_marked != find.compressed {
            return None;
        }
        let content = if find.compressed { decoded } else { file };
        let walked = self.walker.walk(
            find.number,
            content,
            file.len() as u64,
            find.compressed,
            self.subjects,
        )?;
        Some(BlockWalk { stamp, walked })
    }
}

/// The walks of a stream's blocks.
#[derive(Debug)]
pub(super) struct Walks {
    walks: BTreeMap<u32, BlockWalk>,
    subjects: WalkedSubjects,
}

impl Walks {
    /// Takes in the walks, each with the number of its block, that filled `subjects`.
    pub fn new(walks: Vec<(u32, BlockWalk)>, subjects: WalkedSubjects) -> Self {
        Walks {
            walks: walks.into_iter().collect(),
            subjects,
        }
    }

    /// What recovery need not read again in a store that has of these blocks just those in `taken`, byte for byte. `None`
    /// where not all of them were taken, or the file of one has changed since it was walked: the subjects of all of them
    /// are counted together.
    pub fn of_taken(self, taken: &[u32], source: Blocks<'_>) -> Option<WalkedBlocks> {
        let is_still = |(number, walk): (&u32, &BlockWalk)| {
            taken.binary_search(number).is_ok() && source.stamp(*number) == Some(walk.stamp)
        };
        if !self.walks.iter().all(is_still) {
            return None;
        }
        let walked = self.walks.into_iter();
        let walked = walked.map(|(number, walk)| (number, walk.walked));
        Some(WalkedBlocks::new(walked, self.subjects))
    }

    /// The totals of what is kept; `None` where some block with messages was not walked or is not kept whole, or where
    /// there are subjects that no index holds.
    pub fn totals(&self, found: &Survey) -> Option<WalkTotals<'_>> {
        let mut totals = WalkTotals {
            bytes: 0,
            first: None,
            unreadable: Vec::new(),
            subjects: &self.subjects,
        };
        for (find, verdict) in found.finds.iter().zip(&found.trust.blocks) {
            if verdict.kept.is_empty() && !self.walks.contains_key(&find.number) {
                continue;
            }
            let walked = &self.walks.get(&find.number)?.walked;
            if walked.has_unlisted_subjects() || verdict.kept != find.messages || !find.is_whole() {
                return None;
            }
            totals.bytes += find.message_bytes;
            let first = find.first.map(|edge| (edge.seq, edge.timestamp_ns));
            totals.first = match (totals.first, first) {
                (Some(one), Some(another)) => Some(another.min(one)),
                (one, another) => one.or(another),
            };
            totals.unreadable.extend(walked.unreadable());
        }
        totals.unreadable.sort_unstable();
        Some(totals)
    }
}

/// What all walks of a stream add up to.
#[derive(Debug)]
pub(super) struct WalkTotals<'a> {
    /// Bytes of the records.
    pub bytes: u64,
    /// Lowest sequence and its time.
    pub first: Option<(u64, i64)>,
    /// Sequences whose header length reaches past the record, ascending.
    pub unreadable: Vec<u64>,
    /// Messages per subject.
    pub subjects: &'a WalkedSubjects,
}
