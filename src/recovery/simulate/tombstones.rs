//! The tombstones that were met while the blocks were read: what they name is gone.
//!
//! The server takes the messages away one after the other, in the order of the tombstones. That order makes no difference
//! for a plainly sound block that keeps a message and is not rewritten, so what goes of such a block goes at once, as a
//! set. It does make a difference
//!
//! - for a block that is emptied: whether its file goes depends on where the stream begins by then, and its last sequence may
//!   be written to the active block;
//! - for a block that is rewritten: at which of its messages;
//! - once a block is emptied: for those that the stream begins with, and for the active one;
//! - wherever a look at a block may find damage.
//!
//! Those are taken step by step, and where blocks are out of order or the totals are not their sum, all of them.

use rustc_hash::FxHashSet;

use super::removal_batch::{BATCH_MAX, RemovalBatch};
use super::remove::Removal;
use super::{BlockId, KeyVerdict, SimBlock, Simulation};
use crate::block::rules::Fill;
use crate::block::scan::Taken;
use crate::format::seqset::SeqSet;
use crate::recovery::fault::Fault;
use crate::recovery::scan::Revisited;
use crate::report::events::{Event, EventCode};
use crate::state::SeqTime;

/// What goes of one block at once.
struct TakenSet {
    at: usize,
    id: BlockId,
    first: u64,
    last: u64,
    taken: Taken,
    /// Sequence and expiry of what goes and has a TTL.
    ttls: Vec<(u64, i64)>,
}

impl Simulation<'_> {
    /// Applies the tombstones collected while the blocks were read.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the server goes down on it.
    pub fn apply_tombstones(&mut self) -> Result<(), Fault> {
        let tombstones = std::mem::take(&mut self.tombstones);
        let gone = self.gone.take();
        if !tombstones.is_empty() {
            self.apply_all(&tombstones, gone)?;
        }
        self.drop_scans();
        Ok(())
    }

    fn apply_all(&mut self, tombstones: &[u64], gone: Option<SeqSet>) -> Result<(), Fault> {
        let gone = gone.unwrap_or_else(|| {
            let mut gone = SeqSet::new();
            for seq in tombstones {
                gone.insert(*seq);
            }
            gone
        });
        let (sets, has_steps) = match self.sets_of(&gone) {
            Some((sets, has_steps)) => (sets, has_steps),
            None => (Vec::new(), true),
        };
        let mut applied = 0;
        if has_steps {
            let spans: Vec<(u64, u64)> = sets.iter().map(|set| (set.first, set.last)).collect();
            applied += self.apply_in_steps(tombstones, &spans)?;
        }
        if self.lost.is_some() {
            for seq in tombstones {
                self.drop_lost(*seq);
            }
        }
        for set in sets {
            applied += set.taken.seqs.len();
            self.take_set(set);
        }
        if applied > 0 {
            let detail = format!(
                "{applied} of {} tombstones took a message away",
                tombstones.len()
            );
            self.event(Event::new(EventCode::TombstoneApplied, detail));
        }
        Ok(())
    }

    /// One after the other, but for those within `sets`: sequence ranges, by rising sequence.
    fn apply_in_steps(&mut self, tombstones: &[u64], sets: &[(u64, u64)]) -> Result<u64, Fault> {
        let is_in_a_set = |seq: u64| {
            let before = sets.partition_point(|(first, _)| *first <= seq);
            let set = before.checked_sub(1).and_then(|at| sets.get(at));
            set.is_some_and(|(_, last)| seq <= *last)
        };
        let steps: Vec<u64> = tombstones
            .iter()
            .copied()
            .filter(|seq| !is_in_a_set(*seq))
            .collect();
        let mut applied = 0;
        for window in steps.chunks(BATCH_MAX) {
            self.removals = RemovalBatch::of(window);
            for seq in window {
                let removed = self.remove_message(*seq);
                applied += u64::from(self.pass_over(removed)? == Some(Removal::Removed));
                self.drop_lost(*seq);
            }
        }
        self.removals = RemovalBatch::default();
        Ok(applied)
    }

    /// What goes as a set, by rising sequence, and whether anything is left for steps. `None`: everything goes in steps.
    fn sets_of(&mut self, gone: &SeqSet) -> Option<(Vec<TakenSet>, bool)> {
        if self.sound.is_empty() || !self.is_in_order() {
            return None;
        }
        let mut sets = Vec::new();
        let mut unknown = Vec::new();
        for (at, block) in self
            .blocks
            .iter()
            .enumerate()
            .filter(|(_, b)| b.message_count > 0)
        {
            let sound = self.sound.get(&block.id);
            let hits = hits_of(block, gone, sound.is_some());
            if hits == 0 {
                continue;
            }
            let sound = sound?;
            let known = sound.scan.taken.as_ref();
            let known = known.filter(|taken| taken.seqs.len() == hits && self.knows_ttls(block));
            match known {
                Some(taken) => {
                    let ttls = sound.scan.ttls.iter().copied();
                    let goes = |(seq, _): &(u64, i64)| taken.seqs.contains(*seq);
                    sets.push(TakenSet::new(
                        at,
                        block,
                        taken.clone(),
                        ttls.filter(goes).collect(),
                    ));
                }
                None => unknown.push((at, hits)),
            }
        }
        sets.extend(self.look_again(&unknown, gone)?);
        sets.sort_unstable_by_key(|set| set.at);
        let hit: usize = sets.len();
        self.leave_to_steps(&mut sets)?;
        let has_steps = sets.len() < hit;
        Some((sets, has_steps))
    }

    /// Whether blocks follow each other, so that a sequence is looked for in the one block that can hold it, and the totals
    /// are theirs.
    fn is_in_order(&self) -> bool {
        let (mut messages, mut bytes, mut last) = (0_u64, 0_u64, 0_u64);
        let mut first = None;
        for block in &self.blocks {
            let is_behind = match block.message_count {
                0 => block.first.seq > block.last.seq && block.last.seq >= last,
                _ => block.first.seq > last && block.first.seq <= block.last.seq,
            };
            if !is_behind || block.closed || block.live_bytes_at_rewrite > 0 {
                return false;
            }
            last = block.last.seq;
            if block.message_count > 0 {
                first.get_or_insert(block.first);
            }
            messages = messages.saturating_add(block.message_count);
            bytes = bytes.saturating_add(block.live_bytes);
        }
        let totals = &self.totals;
        messages == totals.messages
            && bytes == totals.bytes
            && first == Some(totals.first)
            && totals.last.seq >= last
    }

    /// Whether the scan kept every TTL of the block, or none of them matters.
    fn knows_ttls(&self, block: &SimBlock) -> bool {
        let Some(sound) = self.sound.get(&block.id) else {
            return false;
        };
        let from = sound.scan.wish.ttls_from;
        self.timers.ttl_count().is_none()
            || sound.scan.ttl_count == 0
            || from.is_some_and(|from| from <= block.first.seq)
    }

    /// Reads blocks once more for what goes of them; `None` where one is not what its scan found.
    fn look_again(&self, unknown: &[(usize, u64)], gone: &SeqSet) -> Option<Vec<TakenSet>> {
        if unknown.is_empty() {
            return Some(Vec::new());
        }
        let blocks: Vec<(u32, KeyVerdict)> = unknown
            .iter()
            .map(|(at, _)| {
                let number = self.blocks[*at].number;
                let key = self.overlay.blocks.get(&number)?.key.clone()?;
                Some((number, key))
            })
            .collect::<Option<_>>()?;
        let found = self.again().look(&blocks, gone);
        let mut sets = Vec::new();
        for ((at, hits), found) in unknown.iter().zip(found) {
            let block = &self.blocks[*at];
            let Revisited {
                walked,
                taken,
                mut ttls,
            } = found?;
            let is_as_it_was = walked.is_plainly_sound()
                && (walked.first_seq, walked.last_seq) == (block.first.seq, block.last.seq)
                && (walked.messages, walked.bytes) == (block.message_count, block.live_bytes)
                && walked.checksum == block.last_record_hash
                && taken.seqs.len() == *hits;
            if !is_as_it_was {
                return None;
            }
            ttls.retain(|(seq, _)| taken.seqs.contains(*seq));
            sets.push(TakenSet::new(*at, block, taken, ttls));
        }
        Some(sets)
    }

    /// Takes those blocks out of `sets` that have to go step by step. `None`: all of them have to.
    fn leave_to_steps(&self, sets: &mut Vec<TakenSet>) -> Option<()> {
        let is_emptied = |set: &TakenSet| set.taken.seqs.len() >= self.blocks[set.at].message_count;
        let emptied: FxHashSet<usize> = sets
            .iter()
            .filter(|set| is_emptied(set))
            .map(|set| set.at)
            .collect();
        let mut stepped = emptied.clone();
        if !emptied.is_empty() {
            if !self
                .blocks
                .iter()
                .all(|block| self.sound.contains_key(&block.id))
            {
                return None;
            }
            // The stream begins with these, one after the other.
            for (at, block) in self.blocks.iter().enumerate() {
                stepped.insert(at);
                if block.message_count > 0 && !emptied.contains(&at) {
                    break;
                }
            }
            stepped.extend(self.active.and_then(|(id, _)| self.position(id)));
        }
        sets.retain(|set| !stepped.contains(&set.at) && !self.may_rewrite(set));
        Some(())
    }

    /// Whether so much of a block goes that it may be rewritten on the way.
    fn may_rewrite(&self, set: &TakenSet) -> bool {
        let block = &self.blocks[set.at];
        let Some(sound) = self.sound.get(&set.id) else {
            return true;
        };
        let fill = Fill {
            live_bytes: block.live_bytes.saturating_sub(set.taken.bytes),
            raw_bytes: sound.file_length.max(block.raw_bytes),
            live_bytes_at_rewrite: 0,
        };
        fill.is_rewritten_on_removal()
    }

    /// Takes everything out of a block that goes of it.
    fn take_set(&mut self, set: TakenSet) {
        let TakenSet {
            at, taken, ttls, ..
        } = set;
        // Steps may have taken blocks away before it.
        let is_there = self.blocks.get(at).is_some_and(|block| block.id == set.id);
        let at = match is_there {
            true => at,
            false => self
                .position(set.id)
                .expect("a block that keeps messages stays"),
        };
        self.count_as_loaded(at);
        let block = &mut self.blocks[at];
        let (messages, bytes) = (taken.seqs.len(), taken.bytes);
        block.message_count = block.message_count.saturating_sub(messages);
        block.live_bytes = block.live_bytes.saturating_sub(bytes);
        block.deleted.union_with(&taken.seqs);
        if let Some((seq, timestamp_ns)) = taken.new_first {
            let new_first = SeqTime { seq, timestamp_ns };
            let old = std::mem::replace(&mut block.first, new_first);
            block.deleted.remove_range(old.seq..=seq - 1);
            if self.totals.first.seq == old.seq {
                self.totals.first = block.first;
            }
        }
        self.totals.messages = self.totals.messages.saturating_sub(messages);
        self.totals.bytes = self.totals.bytes.saturating_sub(bytes);
        self.dirty = true;
        for (subject, count) in taken.subjects.iter() {
            self.subjects.remove(subject, u64::from(count));
        }
        self.timers.forget_ttls(&ttls);
    }
}

/// Messages of a block that are in `gone`.
fn hits_of(block: &SimBlock, gone: &SeqSet, is_sound: bool) -> u64 {
    let range = block.first.seq..=block.last.seq;
    let within = gone.count_in(range.clone());
    if within == 0 {
        return 0;
    }
    // Only of a sound block it is known that what is deleted lies in its range.
    let deleted = match is_sound {
        true => block.deleted.count_common(gone),
        false => {
            let spans = block.deleted.spans_in(range);
            spans.map(|span| gone.count_in(span)).sum()
        }
    };
    within.saturating_sub(deleted)
}

impl TakenSet {
    fn new(at: usize, block: &SimBlock, taken: Taken, ttls: Vec<(u64, i64)>) -> Self {
        TakenSet {
            at,
            id: block.id,
            first: block.first.seq,
            last: block.last.seq,
            taken,
            ttls,
        }
    }
}
