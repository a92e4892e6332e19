//! Writing a block's file anew: to wipe a message, to compress it, to get rid of what is dead in it.

use std::sync::Arc;

use super::error::{RemoveError, WriterFault};
use super::remove::{LeavingMessage, unreadable};
use super::resident::Resident;
use super::writer::Writer;
use crate::block::builder::BlockBuilder;
use crate::block::rules::Fill;
use crate::block::slots::timer_headers;
use crate::format::limits::RECORD_MIN_LENGTH;
use crate::format::record::{NewRecord, RecordKind, RecordRef, parse_at};
use crate::format::seqset::SeqSet;
use crate::state::{BlockState, SeqTime};

impl Writer {
    /// Removes one message and wipes its bytes from the block's file. False where it was gone before.
    ///
    /// The bytes are gone from the file once this returns, whatever the level; the file system may keep the blocks of the disk in which
    /// they were. A reader that holds the message keeps it.
    ///
    /// In an encrypted store the block keeps its key, for no two files can change in one step. Random bytes take the place of the
    /// message's under the same keystream: what was there cannot be had from the file, nor from both contents of it without the key.
    ///
    /// # Errors
    ///
    /// [`RemoveError`].
    pub fn erase(&mut self, seq: u64) -> Result<bool, RemoveError> {
        self.check()?;
        if !self.may_remove(seq)? {
            return Ok(false);
        }
        self.begin()?;
        self.flush()?;
        let leaving = self.leaving(seq)?;
        self.wipe(&leaving)?;
        self.settle()?;
        Ok(true)
    }

    fn wipe(&mut self, leaving: &LeavingMessage) -> Result<(), WriterFault> {
        let seq = leaving.seq;
        let (number, compressed, is_tail) = {
            let live = self.shared.live.read();
            let block = live.block_of(seq);
            let found = block.map(|block| (block.number, block.compressed));
            let (number, compressed) = found.unwrap_or_default();
            (number, compressed, live.tail_number() == Some(number))
        };
        let content = super::cache::read(&self.shared, number)?;
        let record = content.slot_of(seq).and_then(|slot| content.record(slot));
        let record = record.ok_or_else(|| unreadable(seq, number, &content))?;
        let mut noise = vec![0; record.length() - RECORD_MIN_LENGTH];
        let drawn = self.shared.entropy.fill(&mut noise);
        self.told(drawn)?;
        let mut block = BlockBuilder::new(&self.shared.name, number);
        block.copy_all(content.bytes());
        let erased = NewRecord::Erased {
            sequence: seq,
            noise: &noise,
        };
        let fits = block.overwrite(record.offset()..record.end_offset(), &erased);
        if !matches!(fits, Ok(true)) {
            let reason = format!("the record of message {seq} cannot be overwritten");
            return Err(WriterFault::Block {
                block: number,
                reason,
            });
        }
        let is_compressed = compressed && !is_tail;
        let length = self.change_file(number, Arc::new(content), |writer| {
            writer.replace_block(number, block.content(), is_compressed)
        })?;
        let hash = block.last_hash();
        let content = Resident::index(block.into_content(), &self.shared.hash_key(number));
        let shared = self.shared.clone();
        self.take_unproven(leaving, |live| {
            if let Some(state) = live.block_mut(number) {
                state.raw_bytes = length;
                state.last_record_hash = Some(hash);
            }
            live.changing = None;
            if is_tail {
                shared.cache.change(number, None);
                live.tail = Some(content);
            } else {
                shared.cache.change(number, Some(Arc::new(content)));
            }
        });
        Ok(())
    }

    /// Changes the file of a block that holds `content`. Readers go by that until whoever calls this has told the state of the change,
    /// and taken [`Live::changing`] back in the same moment; behind a failure of the disk for good, for what the file holds is not known.
    pub(super) fn change_file<T>(
        &mut self,
        number: u32,
        content: Arc<Resident>,
        change: impl FnOnce(&mut Self) -> Result<T, WriterFault>,
    ) -> Result<T, WriterFault> {
        if self.tail.as_ref().is_some_and(|tail| tail.number == number) {
            self.tail = None;
        }
        {
            let mut live = self.shared.live.write();
            if live.tail_number() == Some(number) {
                live.tail = None;
            }
            live.changing = Some((number, content));
        }
        let changed = change(self);
        if changed.is_err() && self.latched().is_none() {
            self.shared.live.write().changing = None;
        }
        changed
    }

    /// Compresses a full block.
    pub(super) fn compress_block(&mut self, number: u32) -> Result<(), WriterFault> {
        let is_there = {
            let live = self.shared.live.read();
            let block = live.block(number);
            live.tail_number() != Some(number)
                && block.is_some_and(|block| !block.compressed && block.message_count > 0)
        };
        if !is_there {
            return Ok(());
        }
        let content = self.shared.whole(number)?;
        let raw_bytes = self.replace_block(number, content.bytes(), true)?;
        let mut live = self.shared.live.write();
        let block = live.block_mut(number);
        if let Some(block) = block {
            block.raw_bytes = raw_bytes;
            block.compressed = true;
        }
        Ok(())
    }

    /// Full blocks of which more than half is dead.
    pub(super) fn mostly_dead(&self) -> Vec<u32> {
        let live = self.shared.live.read();
        let tail = live.tail_number();
        let blocks = live.state.blocks.iter();
        let dead = blocks.filter(|block| {
            let fill = Fill {
                live_bytes: block.live_bytes,
                raw_bytes: block.raw_bytes,
                live_bytes_at_rewrite: block.live_bytes_at_rewrite,
            };
            // What was rewritten once has to lose something before it is worth another try.
            let is_new = block.live_bytes_at_rewrite == 0
                || block.live_bytes * 2 < block.live_bytes_at_rewrite;
            Some(block.number) != tail && block.message_count > 0 && is_new && fill.is_mostly_dead()
        });
        dead.map(|block| block.number).collect()
    }

    /// Rewrites a full block with what is live in it, and the tombstones that are still needed.
    pub(super) fn shrink_block(&mut self, number: u32) -> Result<(), WriterFault> {
        let content = super::cache::read(&self.shared, number)?;
        if content.damage().is_some() {
            // What does not verify is left where it lies, and not looked at again for as little.
            let mut live = self.shared.live.write();
            let block = live.block_mut(number);
            if let Some(block) = block {
                block.live_bytes_at_rewrite = block.live_bytes.max(1);
            }
            return Ok(());
        }
        let needed = self.needed_tombstones(number, &content)?;
        let (before, last, compresses) = {
            let live = self.shared.live.read();
            let block = live.block(number);
            let Some(block) = block.cloned() else {
                return Ok(());
            };
            (block, live.state.totals.last, live.settings.compresses)
        };
        let mut block = BlockBuilder::new(&self.shared.name, number);
        for record in survivors(&content, &before, &needed) {
            block.copy(record.bytes(content.bytes()).unwrap_or_default());
        }
        let after = rewritten(&before, block.content());
        let told = content.tombstones().iter().any(|gone| gone.seq == last.seq);
        if told || before.last.seq == last.seq && after.last.seq != last.seq {
            // The last sequence was proven by a record that goes.
            self.emit_tombstones(&[last])?;
        }
        // Removals of which this block held the record, and no tombstone that says so is durable yet, are proven by the rewrite itself.
        self.sync()?;
        let compressed = compresses && before.message_count > 0;
        let raw_bytes = self.replace_block(number, block.content(), compressed)?;
        let hash = block.last_hash();
        let content = Resident::index(block.into_content(), &self.shared.hash_key(number));
        let mut live = self.shared.live.write();
        let state = live.block_mut(number);
        if let Some(state) = state {
            *state = BlockState {
                raw_bytes,
                last_record_hash: Some(hash),
                compressed,
                live_bytes_at_rewrite: after.live_bytes,
                ..after
            };
        }
        self.shared.cache.change(number, Some(Arc::new(content)));
        Ok(())
    }
}

/// What stays of a block, in file order.
fn survivors(content: &Resident, block: &BlockState, needed: &[SeqTime]) -> Vec<RecordRef> {
    let mut kept = Vec::new();
    let mut proven = SeqSet::new();
    let mut offset = 0;
    while let Ok(record) = parse_at(content.bytes(), offset) {
        offset = record.end_offset();
        let seq = record.sequence();
        let stays = match record.kind() {
            RecordKind::Message => block.holds(seq),
            RecordKind::Tombstone => {
                let place = needed.binary_search_by_key(&seq, |gone| gone.seq);
                place.is_ok() && proven.insert(seq)
            }
            RecordKind::Erased => false,
        };
        if stays {
            kept.push(record);
        }
    }
    kept
}

/// A block's state once it holds nothing but `content`.
fn rewritten(before: &BlockState, content: &[u8]) -> BlockState {
    let mut after = before.clone();
    after.last = SeqTime {
        seq: before.first.seq.saturating_sub(1),
        timestamp_ns: 0,
    };
    (after.ttl_count, after.schedule_count) = (0, 0);
    let mut offset = 0;
    while let Ok(record) = parse_at(content, offset) {
        offset = record.end_offset();
        if record.kind() != RecordKind::Message {
            continue;
        }
        after.last = SeqTime {
            seq: record.sequence(),
            timestamp_ns: record.timestamp_ns(),
        };
        if let Ok((headers, _)) = record.headers_and_body(content) {
            let (ttl, schedule) = timer_headers(headers, true);
            after.ttl_count += u64::from(ttl);
            after.schedule_count += u64::from(schedule);
        }
    }
    after.deleted.remove_range(after.last.seq + 1..=u64::MAX);
    after
}
