//! Limits at open: messages, bytes, messages per subject.

use crate::format::names::MESSAGES;
use rustc_hash::FxHashMap;

use super::Simulation;
use super::load::Lookup;
use super::remove::Removal;
use crate::block::rules::goes_whole;
use crate::format::schedule;
use crate::recovery::fault::{Cause, Fault};
use crate::recovery::server::Quirk;
use crate::report::actions::ActionKind;
use crate::report::events::{Event, EventCode};
use crate::state::Totals;
use crate::state::subjects::BlockSubjects;

impl Simulation<'_> {
    /// Drops the oldest messages beyond the limit on messages.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the server goes down on it.
    pub fn enforce_message_limit(&mut self) -> Result<(), Fault> {
        let limit = self.rules.max_messages;
        self.enforce(
            limit,
            "messages",
            |totals| totals.messages,
            |block| block.message_count,
        )
    }

    /// Drops the oldest messages beyond the limit on bytes.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the server goes down on it.
    pub fn enforce_byte_limit(&mut self) -> Result<(), Fault> {
        let limit = self.rules.max_bytes;
        self.enforce(
            limit,
            "bytes",
            |totals| totals.bytes,
            |block| block.live_bytes,
        )
    }

    fn enforce(
        &mut self,
        limit: u64,
        unit: &str,
        held: impl Fn(&Totals) -> u64,
        held_by_block: impl Fn(&super::SimBlock) -> u64,
    ) -> Result<(), Fault> {
        if !self.rules.discard_old || limit == 0 || held(&self.totals) <= limit {
            return Ok(());
        }
        let before = self.totals.messages;
        while held(&self.totals) > limit {
            if self.rules.server.has(Quirk::WholeBlockTrimming)
                && let Some(first) = self.blocks.first()
                && goes_whole(held(&self.totals), held_by_block(first), limit)
            {
                let (excess, blocks) = (held(&self.totals), self.blocks.len());
                let mut left = excess;
                self.foretell(0, |block| {
                    left = left.wrapping_sub(held_by_block(block));
                    left > limit
                });
                self.purge_block(0)?;
                // Totals that no block answers for: each empty block that goes makes room for another, without end.
                if held(&self.totals) == excess && self.blocks.len() >= blocks {
                    let detail = "the stream counts more than its blocks hold, and the server drops blocks for ever to get below its limit";
                    return Err(Fault::general(Cause::Crash(detail.into())));
                }
                continue;
            }
            let removed = self.remove_message(self.totals.first.seq);
            match self.pass_over(removed)? {
                Some(Removal::Removed) => {}
                Some(Removal::NoBlock) if self.rules.server.has(Quirk::LateFaultEnds) => {
                    let seq = self.totals.first.seq;
                    let detail =
                        "no block holds the stream's first message while its limit is exceeded";
                    return Err(Fault::general(Cause::Other(detail.into())).with_seq(seq));
                }
                _ => {
                    self.rebuild_first_block();
                    break;
                }
            }
        }
        let gone = before.saturating_sub(self.totals.messages);
        let detail = format!("{gone} oldest messages go: the stream is limited to {limit} {unit}");
        self.event(Event::new(EventCode::LimitTrimmed, detail));
        Ok(())
    }

    /// Drops a whole block with everything it counts for.
    fn purge_block(&mut self, at: usize) -> Result<(), Fault> {
        let forgotten = self.forget_block_subjects(at);
        self.pass_over(forgotten)?;
        let forgotten = self.forget_block_schedules(at);
        self.pass_over(forgotten)?;
        let block = &self.blocks[at];
        self.totals.messages = self.totals.messages.saturating_sub(block.message_count);
        self.totals.bytes = self.totals.bytes.saturating_sub(block.live_bytes);
        self.remove_block(at)?;
        self.select_next_first();
        Ok(())
    }

    /// Takes a block's live messages out of the subject index.
    pub(super) fn forget_block_subjects(&mut self, at: usize) -> Result<(), Fault> {
        if let Some(counts) = self.take_foretold(at) {
            for (subject, count) in counts.iter() {
                self.subjects.remove(subject, u64::from(count));
            }
            return Ok(());
        }
        let counts = self.block_subjects(at)?;
        if let Some((loaded, counts)) = counts {
            counts.for_each(&loaded.content, |subject, count| {
                self.subjects.remove(subject, count);
            });
        }
        Ok(())
    }

    /// Live messages per subject of a block; `None` where it tracks none.
    pub(in crate::recovery) fn block_subjects(
        &mut self,
        at: usize,
    ) -> Result<Option<(std::rc::Rc<super::Loaded>, BlockSubjects)>, Fault> {
        if self
            .blocks
            .get(at)
            .is_none_or(|block| block.untracked || block.message_count == 0)
        {
            return Ok(None);
        }
        let loaded = self.load(at)?;
        let mut counts = BlockSubjects::default();
        let block = &self.blocks[at];
        for slot in &loaded.index.slots {
            if slot.seq < block.first.seq || block.deleted.contains(slot.seq) {
                continue;
            }
            if let Ok(record) =
                crate::format::record::parse_at(&loaded.content, slot.offset as usize)
                && !(record.kind() == crate::format::record::RecordKind::Erased)
            {
                counts.count(&record, &loaded.content);
            }
        }
        Ok(Some((loaded, counts)))
    }

    fn forget_block_schedules(&mut self, at: usize) -> Result<(), Fault> {
        let block = &self.blocks[at];
        if !self.timers.has_schedules() || block.schedule_count == 0 {
            return Ok(());
        }
        let loaded = self.load(at)?;
        let block = &self.blocks[at];
        let (first, last) = (block.first.seq, block.last.seq);
        let seqs: Vec<u64> = loaded
            .index
            .slots
            .iter()
            .map(|slot| slot.seq)
            .filter(|seq| (first..=last).contains(seq))
            .collect();
        for seq in seqs {
            let Lookup::Found(loaded, record) = self.lookup(at, &loaded, seq)? else {
                continue;
            };
            let headers = record
                .headers_and_body(&loaded.content)
                .map(|(headers, _)| headers)
                .unwrap_or_default();
            if schedule::is_scheduled(headers, self.rules.now_ns) {
                self.timers.forget_schedule(seq);
            }
        }
        Ok(())
    }

    /// The first block does not hold what it says: walk it anew and start over from what is left.
    fn rebuild_first_block(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        let lost = self.rebuild(0).unwrap_or_default();
        if self
            .blocks
            .first()
            .is_some_and(|block| block.message_count == 0)
        {
            self.force_remove_block(0, "nothing in it can be read");
        }
        self.select_next_first();
        if let Some(lost) = lost {
            self.add_lost(lost);
        }
        self.recompute_totals();
    }

    /// Brings every subject down to the limit per subject.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the server goes down on it.
    pub fn enforce_subject_limit(&mut self) -> Result<(), Fault> {
        let limit = self.rules.max_messages_per_subject;
        let mut counted = 0_u64;
        self.subjects
            .for_each(|_, totals| counted = counted.wrapping_add(totals.total));
        if counted != self.totals.messages {
            self.rebuild_subjects(counted)?;
        }
        let mut over: FxHashMap<Vec<u8>, u64> = FxHashMap::default();
        let (mut first_block, mut last_block) = (u32::MAX, 0);
        self.subjects.for_each(|subject, totals| {
            if totals.total > limit {
                over.insert(subject.to_vec(), totals.total);
                first_block = first_block.min(totals.first_block);
                last_block = last_block.max(totals.last_block);
            }
        });
        if over.is_empty() {
            return Ok(());
        }
        let before = self.totals.messages;
        let mut numbers: Vec<u32> = self
            .blocks
            .iter()
            .map(|block| block.number)
            .filter(|number| (first_block..=last_block).contains(number))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let trimmed = self.trim_subjects_in_block(number, limit, &mut over);
            self.pass_over(trimmed)?;
        }
        let gone = before.saturating_sub(self.totals.messages);
        let detail =
            format!("{gone} oldest messages go: subjects are limited to {limit} messages each");
        self.event(Event::new(EventCode::LimitTrimmed, detail));
        Ok(())
    }

    fn trim_subjects_in_block(
        &mut self,
        number: u32,
        limit: u64,
        over: &mut FxHashMap<Vec<u8>, u64>,
    ) -> Result<(), Fault> {
        let Some(at) = self.blocks.iter().rposition(|block| block.number == number) else {
            return Ok(());
        };
        let block = &self.blocks[at];
        if block.untracked || block.message_count == 0 {
            return Ok(());
        }
        let id = block.id;
        let loaded = self.load(at)?;
        for slot in &loaded.index.slots {
            let Ok(record) = crate::format::record::parse_at(&loaded.content, slot.offset as usize)
            else {
                continue;
            };
            let Some(total) = over.get_mut(record.subject(&loaded.content)) else {
                continue;
            };
            if *total <= limit {
                continue;
            }
            let Some(at) = self.position(id) else { break };
            if !matches!(self.lookup(at, &loaded, slot.seq), Ok(Lookup::Found(..))) {
                continue;
            }
            if matches!(self.remove_message(slot.seq), Ok(Removal::Removed)) {
                *total -= 1;
            }
        }
        Ok(())
    }

    /// The subject index and the totals disagree: both anew, from the blocks.
    fn rebuild_subjects(&mut self, counted: u64) -> Result<(), Fault> {
        let detail = format!(
            "the subject index counts {counted} messages, the stream {}",
            self.totals.messages
        );
        self.event(Event::new(EventCode::SubjectTotalsSkew, detail));
        self.subjects.clear();
        for at in 0..self.blocks.len() {
            let rebuilt = self.rebuild(at);
            if let Some(lost) = self.pass_over(rebuilt)?.flatten() {
                self.add_lost(lost);
            }
            let populated = self.populate_subjects(at);
            self.pass_over(populated)?;
        }
        self.recompute_totals();
        Ok(())
    }

    /// Purges everything, so that the stream starts at its configured first sequence.
    pub fn purge_to_first_seq(&mut self) -> Result<(), Fault> {
        let detail = format!(
            "the stream is configured to start at {}, and starts at {}: all {} messages go",
            self.rules.first_seq, self.totals.first.seq, self.totals.messages
        );
        if self.totals.messages > 0 {
            self.note_loss(false);
        }
        self.event(Event::new(EventCode::FirstSeqPurged, detail.clone()));
        self.action(ActionKind::ReplaceMessages, MESSAGES, None, detail);
        self.replace_messages()
    }
}
