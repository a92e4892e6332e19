//! The subjects of whole blocks that limits or age are about to take away, counted side by side.

use rustc_hash::FxHashMap;

use super::{BlockId, KeyVerdict, SimBlock, Simulation};
use crate::block::scan::SubjectCounts;
use crate::recovery::scan::{Again, LiveBlock};

/// Blocks that each thread counts ahead.
const AHEAD_MAX: usize = 4;

/// Subjects of the live messages of blocks, by their identity.
#[derive(Debug, Default)]
pub struct Foretold(FxHashMap<BlockId, Counted>);

/// What was counted of a block that had so many messages and began with this sequence.
#[derive(Debug)]
struct Counted {
    messages: u64,
    first: u64,
    counts: SubjectCounts,
}

impl Simulation<'_> {
    /// Counts the subjects of the plainly sound blocks from `at` on as far as `goes` says that they go, unless that of `at` are
    /// known already. What cannot be counted like this is looked at when its turn comes.
    pub fn foretell(&mut self, at: usize, mut goes: impl FnMut(&SimBlock) -> bool) {
        let known = self.blocks.get(at);
        if known.is_none_or(|block| self.foretold.0.contains_key(&block.id)) {
            return;
        }
        let blocks = self.blocks.get(at..).unwrap_or_default();
        let wanted: Vec<&SimBlock> = blocks
            .iter()
            .take_while(|block| goes(block))
            .take(AHEAD_MAX * self.threads)
            .filter(|block| block.message_count > 0 && !block.untracked)
            .filter(|block| self.sound.contains_key(&block.id))
            .collect();
        let live: Option<Vec<LiveBlock<'_>>> = wanted
            .iter()
            .map(|block| {
                let key: KeyVerdict = self.overlay.blocks.get(&block.number)?.key.clone()?;
                Some(LiveBlock {
                    number: block.number,
                    key,
                    first: block.first.seq,
                    deleted: &block.deleted,
                })
            })
            .collect();
        let found = self.again().count(&live.unwrap_or_default());
        let counted = wanted.iter().zip(found).filter_map(|(block, found)| {
            let (messages, counts) = found?;
            let counted = Counted {
                messages,
                first: block.first.seq,
                counts,
            };
            Some((block.id, counted))
        });
        self.foretold = Foretold(counted.collect());
    }

    /// What was counted of the block at `at`, if it is still so.
    pub fn take_foretold(&mut self, at: usize) -> Option<SubjectCounts> {
        let block = &self.blocks[at];
        let counted = self.foretold.0.remove(&block.id)?;
        let stands = counted.messages == block.message_count && counted.first == block.first.seq;
        (stands && self.sound.contains_key(&block.id)).then_some(counted.counts)
    }

    /// What a second look at blocks goes by.
    pub(super) fn again(&self) -> Again<'_> {
        Again {
            files: self.overlay.files,
            msgs: self.overlay.msgs,
            keys: self.overlay.keys,
            tracked: self.rules.tracks_subjects,
            ttls: self.timers.ttl_count().is_some(),
            threads: self.threads,
        }
    }
}
