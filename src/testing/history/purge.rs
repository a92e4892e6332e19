//! Purges: of everything, of a subject, up to a sequence.

use super::block::{Block, Mark};
use super::server::Server;
use super::setup::matches;
use super::truth::Way;
use crate::testing::WorkloadError;

impl Server {
    /// Removes everything.
    pub fn purge_all(&mut self) -> Result<(), WorkloadError> {
        self.purge_to(0)
    }

    /// Removes everything; the next message gets at least the sequence `target`.
    fn purge_to(&mut self, target: u64) -> Result<(), WorkloadError> {
        let gone: Vec<u64> = self.live.keys().copied().collect();
        let purged = !gone.is_empty();
        self.first = Mark {
            seq: self.last.seq + 1,
            ns: 0,
        };
        for seq in gone {
            let at = self.block_of(seq).unwrap_or_default();
            self.forget(seq, at, Way::Purge);
        }
        if target > self.first.seq {
            self.first.seq = target;
            self.last.seq = target - 1;
            self.truth.last_seq = self.last.seq;
        }
        self.roll()?;
        let (first, last) = (self.first, self.last);
        if let Some(block) = self.blocks.last_mut() {
            block.first.seq = first.seq;
            block.last = last;
        }
        if last.seq > 0 {
            self.tombstone(last)?;
        }
        self.blocks = self.blocks.split_off(self.blocks.len() - 1);
        self.dirty = true;
        (self.index, self.indexed) = (None, None);
        if purged {
            self.write_index()?;
        }
        Ok(())
    }

    /// Removes the messages of a subject but the newest `keep`.
    pub fn purge_subject(
        &mut self,
        filter: &str,
        keep: u64,
        way: Way,
    ) -> Result<(), WorkloadError> {
        let all: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, kept)| matches(filter, &kept.subject))
            .map(|(seq, _)| *seq)
            .collect();
        let count = all.len().saturating_sub(keep as usize);
        let mut tombstones: Vec<Mark> = Vec::new();
        let mut from_block = (0, 0);
        let mut first_gone = false;
        for seq in all.into_iter().take(count) {
            let (Some(at), Some(kept)) = (self.block_of(seq), self.live.get(&seq)) else {
                continue;
            };
            let mark = Mark { seq, ns: kept.ns };
            let number = self.blocks[at].number;
            if from_block.0 != number {
                from_block = (number, tombstones.len());
            }
            tombstones.push(mark);
            self.forget(seq, at, way);
            let block = &mut self.blocks[at];
            if seq != block.first.seq {
                block.deleted.insert(seq);
                continue;
            }
            block.next_first();
            if block.is_empty() {
                // The block goes, and takes what its tombstones would tell with it.
                tombstones.truncate(from_block.1);
                self.remove_block(at)?;
                first_gone |= seq == self.first.seq;
            } else if seq == self.first.seq {
                self.first = self.blocks[at].first;
            }
        }
        if first_gone {
            self.select_next_first();
        }
        for mark in tombstones {
            self.tombstone(mark)?;
        }
        self.dirty = true;
        Ok(())
    }

    /// Removes everything below `seq`.
    pub fn purge_below(&mut self, seq: u64) -> Result<(), WorkloadError> {
        if seq > self.last.seq {
            return self.purge_to(seq);
        }
        let Some(at) = self.block_of(seq).filter(|_| self.first.seq <= seq) else {
            return Ok(());
        };
        let before = self.messages();
        let start = self.blocks[at].first.seq;
        let whole: Vec<u64> = self.live.range(..start).map(|(seq, _)| *seq).collect();
        for gone in whole {
            let at = self.block_of(gone).unwrap_or_default();
            self.forget(gone, at, Way::Purge);
        }
        let mut dropped = at;
        let mut tombstones = Vec::new();
        if start == seq {
            self.first = self.blocks[at].first;
        } else {
            tombstones = self.purge_head(at, seq);
            if self.blocks[at].messages == 0 && at + 1 < self.blocks.len() {
                dropped += 1;
            }
        }
        let kept: Vec<u32> = self.blocks[dropped..]
            .iter()
            .map(|one| one.number)
            .collect();
        for mark in tombstones {
            self.tombstone(mark)?;
        }
        let first_kept = kept.first().copied().unwrap_or_default();
        self.blocks.retain(|block| block.number >= first_kept);
        if self.live.is_empty() {
            self.first = Mark {
                seq: self.last.seq + 1,
                ns: 0,
            };
        }
        (self.index, self.indexed) = (None, None);
        self.dirty = true;
        if self.messages() < before {
            self.write_index()?;
        }
        Ok(())
    }

    /// Drops a block's messages below `seq`; returns what tombstones are to name.
    fn purge_head(&mut self, at: usize, seq: u64) -> Vec<Mark> {
        let start = self.blocks[at].first.seq;
        let mut tombstones = Vec::new();
        for gone in start..seq {
            if self.blocks[at].deleted.remove(gone) {
                continue;
            }
            if let Some(kept) = self.live.get(&gone) {
                tombstones.push(Mark {
                    seq: gone,
                    ns: kept.ns,
                });
                self.forget(gone, at, Way::Purge);
            }
        }
        let block: &mut Block = &mut self.blocks[at];
        if block.messages == 0 {
            self.first = Mark {
                seq: block.last.seq + 1,
                ns: 0,
            };
            return tombstones;
        }
        block.first.seq = block.first.seq.max(seq) - 1;
        block.next_first();
        self.first = block.first;
        tombstones
    }
}
