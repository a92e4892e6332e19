//! Age at open: whole blocks by their last time, then the block the limit runs through.

use std::rc::Rc;

use super::load::Lookup;
use super::{BlockId, Loaded, Simulation};
use crate::format::record::record_length;
use crate::recovery::fault::Fault;
use crate::report::events::{Event, EventCode};
use crate::state::SeqTime;

#[derive(Default)]
struct Expired {
    messages: u64,
    bytes: u64,
    blocks: usize,
    /// What the active block ended with, where it went too.
    active_last: Option<SeqTime>,
}

impl Simulation<'_> {
    /// Drops what is older than the age limit.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the server goes down on it.
    pub fn expire_by_age(&mut self) -> Result<(), Fault> {
        if self.totals.messages == 0 || self.rules.delete_markers {
            return Ok(());
        }
        let oldest_ns = self.rules.now_ns.wrapping_sub(self.rules.max_age_ns);
        let mut expired = Expired::default();
        let mut at = 0;
        while let Some(block) = self.blocks.get(at) {
            if oldest_ns < block.first.timestamp_ns {
                break;
            }
            if block.last.timestamp_ns <= oldest_ns {
                expired.messages += block.message_count;
                expired.bytes += block.live_bytes;
                self.foretell(at, |block| {
                    block.first.timestamp_ns <= oldest_ns && block.last.timestamp_ns <= oldest_ns
                });
                self.expire_block(at, &mut expired)?;
                at += 1;
                continue;
            }
            self.expire_within(at, oldest_ns, &mut expired)?;
            break;
        }
        self.settle_expired(&expired)
    }

    /// Tells of a first message from the future: expiry begins with the first message and waits for it.
    pub fn note_future_first(&mut self) {
        let (first, now_ns) = (self.totals.first, self.rules.now_ns);
        if self.totals.messages == 0 || first.timestamp_ns <= now_ns {
            return;
        }
        let ahead_seconds = first.timestamp_ns.saturating_sub(now_ns) / 1_000_000_000;
        let detail = format!(
            "the first message is {ahead_seconds} s ahead of the clock; until it has aged nothing behind it expires"
        );
        let event = Event::new(EventCode::AgeBlockedByFuture, detail);
        self.event(event.seq(first.seq));
    }

    /// Everything in the block at `at` is too old.
    fn expire_block(&mut self, at: usize, expired: &mut Expired) -> Result<(), Fault> {
        if self.is_active(at) {
            expired.active_last = Some(self.blocks[at].last);
        }
        let forgotten = self.forget_block_subjects(at);
        self.pass_over(forgotten)?;
        let block = &mut self.blocks[at];
        block.closed = true;
        let block = block.clone();
        self.remove_block_file(&block, "all its messages are older than the age limit");
        expired.blocks += 1;
        Ok(())
    }

    /// The age limit runs through the block at `at`.
    fn expire_within(
        &mut self,
        at: usize,
        oldest_ns: i64,
        expired: &mut Expired,
    ) -> Result<(), Fault> {
        let loaded = self.load(at);
        let Some(loaded) = self.pass_over(loaded)? else {
            return Ok(());
        };
        let block = &self.blocks[at];
        let (first, last) = (block.first.seq, block.last.seq);
        let mut wants_next_first = false;
        let mut seq = first;
        while seq <= last && seq != 0 {
            let found = match self.lookup(at, &loaded, seq) {
                Ok(Lookup::Gone) => {
                    // Deleted sequences come in spans; the first moves to the end of one at once.
                    let next = self.skip_deleted(at, seq, last);
                    wants_next_first = true;
                    seq = next;
                    continue;
                }
                Ok(Lookup::Found(_, record)) => record,
                Err(_) => {
                    self.set_first_seq(at, seq);
                    wants_next_first = true;
                    break;
                }
            };
            if oldest_ns < found.timestamp_ns() {
                let block = &mut self.blocks[at];
                block.first = SeqTime {
                    seq,
                    timestamp_ns: found.timestamp_ns(),
                };
                wants_next_first = false;
                break;
            }
            wants_next_first |= self.expire_message(at, &loaded, &found, seq, expired);
            seq += 1;
        }
        if wants_next_first {
            self.move_block_first(at);
        }
        if self.blocks[at].message_count == 0 {
            self.expire_block(at, expired)?;
        }
        Ok(())
    }

    fn set_first_seq(&mut self, at: usize, seq: u64) {
        let block = &mut self.blocks[at];
        block.first.seq = seq;
    }

    /// Moves the block's first over the deleted span at `seq`; returns the sequence after it.
    fn skip_deleted(&mut self, at: usize, seq: u64, last: u64) -> u64 {
        let block = &mut self.blocks[at];
        let end = block.deleted.span_end(seq).unwrap_or(seq).min(last);
        block.deleted.remove_range(seq..=end);
        block.first.seq = end;
        end + 1
    }

    fn expire_message(
        &mut self,
        at: usize,
        loaded: &Rc<Loaded>,
        record: &crate::format::record::RecordRef,
        seq: u64,
        expired: &mut Expired,
    ) -> bool {
        let subject = record.subject(&loaded.content);
        let (headers, body) = record.headers_and_body(&loaded.content).unwrap_or_default();
        let mut counted = false;
        let block = &mut self.blocks[at];
        if block.message_count > 0 {
            block.first.seq = seq;
            let size = record_length(subject.len(), headers.len(), body.len()) as u64;
            let size = size.min(block.live_bytes);
            block.live_bytes -= size;
            block.message_count -= 1;
            expired.bytes += size;
            expired.messages += 1;
            counted = true;
        }
        self.subjects.remove_one(subject);
        counted
    }

    fn settle_expired(&mut self, expired: &Expired) -> Result<(), Fault> {
        let gone: Vec<BlockId> = self
            .blocks
            .drain(..expired.blocks.min(self.blocks.len()))
            .map(|block| block.id)
            .collect();
        for id in gone {
            self.forget_loaded(id);
        }
        if expired.blocks > 0 {
            self.active = self.blocks.last().map(|block| (block.id, block.number));
        }
        self.totals.messages = self.totals.messages.saturating_sub(expired.messages);
        self.totals.bytes = self.totals.bytes.saturating_sub(expired.bytes);
        self.select_next_first();
        if self.active.is_none()
            && let Some(last) = expired.active_last.filter(|last| last.seq != 0)
        {
            self.roll();
            self.write_tombstone(last)?;
            self.subjects.clear();
        }
        if expired.messages > 0 {
            self.dirty = true;
            let code = if expired.blocks > 0 {
                EventCode::AgeExpiredBlocks
            } else {
                EventCode::AgeExpiredMsgs
            };
            let detail = format!(
                "{} messages are older than the age limit; {} whole blocks go",
                expired.messages, expired.blocks
            );
            self.event(Event::new(code, detail));
        }
        Ok(())
    }
}
