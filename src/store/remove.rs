//! Removing messages: the evidence of it first, or together with it.
//!
//! A removal leaves a tombstone behind all records, or takes the whole file of a block away. Limits do so too, unlike the server's:
//! whoever opens the directory, and after whatever end, finds what the store held.

use super::core::Live;
use super::error::{ReadError, RemoveError, WriterFault};
use super::resident::Resident;
use super::watch::StoreEvent;
use super::writer::Writer;
use crate::block::rules;
use crate::format::headers;
use crate::format::limits::RECORD_MIN_LENGTH;
use crate::format::names::BlockFile;
use crate::format::record::{NewRecord, RecordRef};
use crate::state::{BlockState, SeqTime};

/// A live message that is about to go.
#[derive(Debug, Default)]
pub(super) struct LeavingMessage {
    pub seq: u64,
    pub timestamp_ns: i64,
    pub length: u64,
    pub subject: Vec<u8>,
    /// When its time to live ends.
    pub expiry_ns: Option<i64>,
    /// The block's next message, where this is its first.
    next: Option<SeqTime>,
}

impl LeavingMessage {
    fn of(record: &RecordRef, bytes: &[u8], next: Option<SeqTime>) -> Option<Self> {
        let (headers, _) = record.headers_and_body(bytes).ok()?;
        Some(LeavingMessage {
            seq: record.sequence(),
            timestamp_ns: record.timestamp_ns(),
            length: record.length() as u64,
            subject: record.subject(bytes).to_vec(),
            expiry_ns: expiry_of(headers, record.timestamp_ns()),
            next,
        })
    }

    /// That it went.
    fn event(&self) -> StoreEvent<'_> {
        StoreEvent::Removed {
            seq: self.seq,
            subject: &self.subject,
            length_bytes: self.length,
        }
    }
}

/// When a message's time to live ends, by its headers.
pub(super) fn expiry_of(headers: &[u8], timestamp_ns: i64) -> Option<i64> {
    let ttl = headers::message_ttl(headers).ok().filter(|ttl| *ttl > 0)?;
    Some(headers::expiry_ns(timestamp_ns, ttl))
}

impl Live {
    /// What has to be known of a live message before it goes. `content` is that of its block.
    pub(super) fn leaving(&self, seq: u64, content: &Resident) -> Option<LeavingMessage> {
        let block = self.block_of(seq)?;
        let record = content.record(content.slot_of(seq)?)?;
        let next = (seq == block.first.seq).then(|| {
            let next = self.first_live_from(block, seq + 1);
            next.map(|seq| SeqTime {
                seq,
                timestamp_ns: time_of(content, seq),
            })
        });
        LeavingMessage::of(&record, content.bytes(), next.flatten())
    }

    /// Takes a message out of every account; the number of its block where that holds none any more.
    pub(super) fn take_away(&mut self, gone: &LeavingMessage) -> Option<u32> {
        let place = self.place_from(gone.seq);
        let block = self.state.blocks.get_mut(place)?;
        block.message_count = block.message_count.saturating_sub(1);
        block.live_bytes = block.live_bytes.saturating_sub(gone.length);
        let is_emptied = block.message_count == 0;
        if is_emptied {
            block.deleted = Default::default();
            block.live_bytes = 0;
            block.first = SeqTime {
                seq: block.last.seq.wrapping_add(1),
                timestamp_ns: 0,
            };
        } else if gone.seq == block.first.seq {
            block.first.seq =
                rules::next_first(block.first.seq, block.last.seq, &mut block.deleted);
            block.first.timestamp_ns = gone.next.map_or(0, |next| next.timestamp_ns);
        } else {
            block.deleted.insert(gone.seq);
        }
        let number = block.number;
        let totals = &mut self.state.totals;
        totals.messages = totals.messages.saturating_sub(1);
        totals.bytes = totals.bytes.saturating_sub(gone.length);
        if gone.seq == totals.first.seq || totals.messages == 0 {
            self.settle_first();
        }
        if self.state.tracks_subjects {
            self.state.subjects.remove_one(&gone.subject);
        }
        if let Some(expiry_ns) = gone.expiry_ns {
            self.state.timers.forget_ttls(&[(gone.seq, expiry_ns)]);
        }
        self.state.timers.forget_schedule(gone.seq);
        is_emptied.then_some(number)
    }
}

/// Time of a message in a block's content; 0 where it does not verify.
pub(super) fn time_of(content: &Resident, seq: u64) -> i64 {
    let record = content.slot_of(seq).and_then(|slot| content.record(slot));
    record.as_ref().map_or(0, RecordRef::timestamp_ns)
}

impl Writer {
    /// Removes one message. False where it was gone before, within the stream's range.
    ///
    /// # Errors
    ///
    /// [`RemoveError`].
    pub fn remove(&mut self, seq: u64) -> Result<bool, RemoveError> {
        self.check()?;
        if !self.may_remove(seq)? {
            return Ok(false);
        }
        self.begin()?;
        self.take_message(seq)?;
        self.settle()?;
        Ok(true)
    }

    /// Whether `seq` is live; where it cannot be, an error says why.
    pub(super) fn may_remove(&self, seq: u64) -> Result<bool, RemoveError> {
        let live = self.shared.live.read();
        let totals = &live.state.totals;
        if seq > totals.last.seq {
            let last_seq = totals.last.seq;
            return Err(RemoveError::Beyond { seq, last_seq });
        }
        if seq == 0 || seq < totals.first.seq {
            return Err(RemoveError::NotFound { seq });
        }
        Ok(live.state.holds(seq))
    }

    /// What has to be known of a live message before it goes.
    pub(super) fn leaving(&mut self, seq: u64) -> Result<LeavingMessage, WriterFault> {
        let (number, in_tail) = {
            let live = self.shared.live.read();
            let block = live.block_of(seq).map(|block| block.number);
            let number = block.ok_or(WriterFault::Read(ReadError::NotFound))?;
            let in_tail = live.tail_number() == Some(number);
            if in_tail && let Some(tail) = &live.tail {
                let leaving = live.leaving(seq, tail);
                return leaving.ok_or_else(|| unreadable(seq, number, tail).into());
            }
            (number, in_tail)
        };
        if in_tail {
            // The writer comes upon the last block before anybody has read it.
            let content = super::cache::read(&self.shared, number)?;
            let mut live = self.shared.live.write();
            live.tail = Some(content);
            drop(live);
            return self.leaving(seq);
        }
        if let Some(leaving) = self.leaving_alone(seq) {
            return Ok(leaving);
        }
        let content = self.shared.whole(number)?;
        let leaving = self.shared.live.read().leaving(seq, &content);
        leaving.ok_or_else(|| unreadable(seq, number, &content).into())
    }

    /// The same, where the message's block is not in memory and the message can be read alone.
    fn leaving_alone(&self, seq: u64) -> Option<LeavingMessage> {
        let (number, outline, next) = {
            let live = self.shared.live.read();
            let block = live.block_of(seq)?;
            let outline = self.shared.outline_of(&live, block)?;
            let next = (seq == block.first.seq).then(|| live.first_live_from(block, seq + 1));
            (block.number, outline, next.flatten())
        };
        let read = |seq| outline.read(&self.shared, number, seq);
        let next = match next {
            None => None,
            Some(seq) => Some(SeqTime {
                seq,
                timestamp_ns: read(seq)?.record.timestamp_ns(),
            }),
        };
        let found = read(seq)?;
        LeavingMessage::of(&found.record, &found.bytes, next)
    }

    /// Removes a live message, with a tombstone.
    pub(super) fn take_message(&mut self, seq: u64) -> Result<LeavingMessage, WriterFault> {
        self.take_message_and(seq, |_| {})
    }

    /// The same; `then` is called in the same moment.
    pub(super) fn take_message_and(
        &mut self,
        seq: u64,
        then: impl FnOnce(&mut Live),
    ) -> Result<LeavingMessage, WriterFault> {
        let leaving = self.leaving(seq)?;
        let tombstone = NewRecord::Tombstone {
            sequence: seq,
            timestamp_ns: leaving.timestamp_ns,
        };
        let mut emptied = None;
        self.emit(&tombstone, |live, tail, _| {
            emptied = live.take_away(&leaving).filter(|number| *number != tail);
            then(live);
        })?;
        self.emptied.extend(emptied);
        self.tell(&leaving.event());
        Ok(leaving)
    }

    /// Removes a live message whose record is no longer in its file. `before` is called in the same moment.
    pub(super) fn take_unproven(
        &mut self,
        leaving: &LeavingMessage,
        before: impl FnOnce(&mut Live),
    ) {
        let mut live = self.shared.live.write();
        before(&mut live);
        let tail = live.tail_number();
        let emptied = live
            .take_away(leaving)
            .filter(|number| Some(*number) != tail);
        drop(live);
        self.emptied.extend(emptied);
        self.tell(&leaving.event());
    }

    /// Takes away the files of blocks without a message, with what they alone prove written again first.
    pub(super) fn drop_emptied(&mut self) -> Result<(), WriterFault> {
        self.emptied.sort_unstable();
        self.emptied.dedup();
        let mut unread = Vec::new();
        loop {
            let mut waiting = self.emptied.iter().copied();
            let Some(number) = waiting.find(|number| !unread.contains(number)) else {
                return Ok(());
            };
            let read = self.shared.whole(number).map_err(WriterFault::from);
            let read = read.and_then(|content| {
                let needed = self.needed_tombstones(number, &content)?;
                Ok((content, needed))
            });
            let (content, needed) = match read {
                // What it proves is not known: it stays, and waits for another look.
                Err(WriterFault::Read(_)) => {
                    unread.push(number);
                    continue;
                }
                read => read?,
            };
            let needed_bytes = needed.len() * RECORD_MIN_LENGTH;
            // One that holds little else would only be written once more, and in small blocks for ever.
            let is_mostly_needed = needed_bytes > 0 && needed_bytes * 2 >= content.bytes().len();
            match is_mostly_needed && content.slot_count() == 0 {
                true => self.emptied.retain(|emptied| *emptied != number),
                false => self.unlink_block(number, &content)?,
            }
        }
    }

    /// The tombstones of a block whose messages' records still lie in another one.
    pub(super) fn needed_tombstones(
        &self,
        number: u32,
        content: &Resident,
    ) -> Result<Vec<SeqTime>, WriterFault> {
        let mut told = content.tombstones().to_vec();
        // In order, so that each block that is asked is read once.
        told.sort_unstable_by_key(|gone| gone.seq);
        told.dedup_by_key(|gone| gone.seq);
        let mut needed = Vec::new();
        for gone in told {
            if self.lies_elsewhere(gone.seq, number)? {
                needed.push(gone);
            }
        }
        Ok(needed)
    }

    /// Whether the record of a message that is gone lies in a block other than `number`.
    fn lies_elsewhere(&self, seq: u64, number: u32) -> Result<bool, WriterFault> {
        let holder = {
            let live = self.shared.live.read();
            let tail = live.tail_number();
            let blocks = live
                .state
                .blocks
                .get(live.place_from(seq)..)
                .unwrap_or_default();
            // One without a message that was looked at already holds nothing but tombstones, and stands for no range.
            let holder = blocks.iter().find(|block| {
                block.message_count > 0
                    || Some(block.number) == tail
                    || self.emptied.contains(&block.number)
            });
            let Some(holder) = holder.filter(|holder| holder.number != number) else {
                return Ok(false);
            };
            if live.state.holds(seq) {
                return Ok(false);
            }
            if Some(holder.number) == tail {
                let tail = live.tail.as_ref();
                return Ok(tail.is_none_or(|tail| tail.slot_of(seq).is_some()));
            }
            holder.number
        };
        Ok(self.shared.whole(holder)?.slot_of(seq).is_some())
    }

    /// Writes tombstones, each behind all records.
    pub(super) fn emit_tombstones(&mut self, gone: &[SeqTime]) -> Result<(), WriterFault> {
        for gone in gone {
            let record = NewRecord::Tombstone {
                sequence: gone.seq,
                timestamp_ns: gone.timestamp_ns,
            };
            self.emit(&record, |_, _, _| {})?;
        }
        Ok(())
    }

    /// Takes away the file of a block without a message. What it alone proves is durable elsewhere before.
    pub(super) fn unlink_block(
        &mut self,
        number: u32,
        content: &Resident,
    ) -> Result<(), WriterFault> {
        let needed = self.needed_tombstones(number, content)?;
        let (last, block_last, ends_stream) = {
            let live = self.shared.live.read();
            let block = live.block(number);
            let Some(block) = block else { return Ok(()) };
            debug_assert_eq!(block.message_count, 0, "a block with messages is dropped");
            let totals = &live.state.totals;
            // A tombstone in it may be all that tells of a sequence behind its own.
            let told = content.tombstones().iter().map(|gone| gone.seq).max();
            let block_last = block.last.seq.max(told.unwrap_or(0));
            let ends_stream = block_last >= totals.last.seq
                && totals.last.seq > 0
                && !live.state.holds(totals.last.seq);
            (totals.last, block_last, ends_stream)
        };
        self.emit_tombstones(&needed)?;
        if ends_stream && !self.tail_proves(last.seq) {
            // Else the last sequence would be handed out again.
            self.emit_tombstones(&[last])?;
        }
        self.await_unlinked(content)?;
        // Something behind the block has to be durable: were all that lost with it, its sequences would be handed out again.
        let proves = block_last >= self.watermark.synced_seq || !needed.is_empty();
        match proves || self.has_fresh_batch {
            true => _ = self.sync()?,
            false => self.flush()?,
        }
        self.remove_block_files(number)
    }

    /// Whether a tombstone in the last block says that the stream came as far as `seq`.
    fn tail_proves(&self, seq: u64) -> bool {
        let live = self.shared.live.read();
        let tail = live.tail.as_ref();
        tail.is_some_and(|tail| tail.tombstones().iter().any(|gone| gone.seq >= seq))
    }

    /// Waits until what a block's tombstones speak of is gone for good, where its file was only taken away.
    pub(super) fn await_unlinked(&mut self, content: &Resident) -> Result<(), WriterFault> {
        let unlinked = self.unlinked.clone();
        let mut tombstones = content.tombstones().iter();
        match tombstones.any(|gone| unlinked.contains(&gone.seq)) {
            true => self.sync().map(|_| ()),
            false => Ok(()),
        }
    }

    /// Takes away a block without a message, with its files.
    pub(super) fn remove_block_files(&mut self, number: u32) -> Result<(), WriterFault> {
        self.remove_block(number, |_| {})
    }

    /// Takes away a block with its files. Once they are gone, `forget` takes what was in it out of every account.
    pub(super) fn remove_block(
        &mut self,
        number: u32,
        forget: impl FnOnce(&mut Live),
    ) -> Result<(), WriterFault> {
        self.begin_exchange()?;
        self.hold_for_archives(number);
        let path = self.shared.dir.join(BlockFile::Block.path(number));
        match self.shared.fs.remove_file(&path) {
            Err(error) if error.is_not_found() => {}
            removed => self.told(removed)?,
        }
        self.names_changed = true;
        let last_seq = {
            let live = self.shared.live.read();
            let block = live.block(number);
            block.map_or(0, |block| block.last.seq)
        };
        // Where its first record was is not known of every block.
        self.unlinked = 0..self.unlinked.end.max(last_seq.saturating_add(1));
        if self.shared.stream_key.is_some() {
            // A block without its key is noise: the key goes once the block is gone for good.
            self.orphaned_keys.push(number);
        }
        self.emptied.retain(|emptied| *emptied != number);
        let mut live = self.shared.live.write();
        forget(&mut live);
        if live.tail_number() == Some(number) {
            // A reader may have read it meanwhile: the block before is the last one now, and this is not what is in it.
            live.tail = None;
        }
        live.state.blocks.retain(|block| block.number != number);
        // Behind no message there is nothing that their tombstones could speak of any more. The server writes no index while they are
        // there, and loses what else it would have told.
        self.emptied.extend(live.leading_without_messages());
        drop(live);
        self.shared.cache.forget(number);
        self.uncompressed.retain(|waiting| *waiting != number);
        self.tell(&StoreEvent::BlockGone { block: number });
        Ok(())
    }

    /// Proves anew that what lies before the stream's first message is gone. The server drops a block of tombstones once all of them
    /// speak of sequences before the first, though the records may lie in the first block still.
    pub(super) fn prove_head(&mut self) -> Result<(), WriterFault> {
        let (first, tail) = {
            let live = self.shared.live.read();
            let first = live
                .state
                .blocks
                .iter()
                .find(|block| block.message_count > 0);
            (first.cloned(), live.tail_number())
        };
        let mut gone = Vec::new();
        if let Some(first) = first.filter(|first| Some(first.number) != tail) {
            let content = self.shared.whole(first.number)?;
            for slot in 0..content.slot_from(first.first.seq) {
                gone.extend(content.record(slot).map(|record| SeqTime {
                    seq: record.sequence(),
                    timestamp_ns: record.timestamp_ns(),
                }));
            }
        }
        if !gone.is_empty() || !self.emptied.is_empty() {
            self.begin()?;
            self.emit_tombstones(&gone)?;
        }
        Ok(())
    }

    /// Takes up a last sequence that only a block before the last one tells of, where whoever opens the directory would not look for it.
    pub(super) fn prove_last(&mut self, told: SeqTime) -> Result<(), WriterFault> {
        self.begin()?;
        let record = NewRecord::Skip {
            sequence: told.seq,
            timestamp_ns: told.timestamp_ns,
        };
        self.emit(&record, |live, _, _| live.skip_to(told))
    }

    /// Removes every message of a block that is not the last one by taking its file away; how many there were.
    pub(super) fn drop_block(&mut self, number: u32) -> Result<u64, WriterFault> {
        let content = self.shared.whole(number)?;
        let before = {
            let mut live = self.shared.live.write();
            live.empty_block(number, &content)
        };
        let Some(before) = before else { return Ok(0) };
        match self.told_of.has_watcher() {
            true => self.tell_of_block(&before, &content),
            false => self.told_of.counts.removed += before.message_count,
        }
        self.unlink_block(number, &content)?;
        Ok(before.message_count)
    }

    /// Tells of the messages that went with a block.
    fn tell_of_block(&mut self, before: &BlockState, content: &Resident) {
        let slots = content.slot_from(before.first.seq)..content.slot_count();
        for record in slots.filter_map(|slot| content.record(slot)) {
            if before.holds(record.sequence()) {
                self.tell(&StoreEvent::Removed {
                    seq: record.sequence(),
                    subject: record.subject(content.bytes()),
                    length_bytes: record.length() as u64,
                });
            }
        }
    }
}

impl Live {
    /// Takes a message that goes with its block out of subjects and timers.
    pub(super) fn forget_hanging(&mut self, record: &RecordRef, content: &Resident) {
        let state = &mut self.state;
        if state.tracks_subjects {
            state.subjects.remove_one(record.subject(content.bytes()));
        }
        let seq = record.sequence();
        if let Ok((headers, _)) = record.headers_and_body(content.bytes())
            && let Some(expiry_ns) = expiry_of(headers, record.timestamp_ns())
        {
            state.timers.forget_ttls(&[(seq, expiry_ns)]);
        }
        state.timers.forget_schedule(seq);
    }

    /// Takes all messages of a block out of every account; the block as it was.
    fn empty_block(&mut self, number: u32, content: &Resident) -> Option<BlockState> {
        let block = self.block_mut(number)?;
        let before = block.clone();
        block.message_count = 0;
        block.live_bytes = 0;
        block.deleted = Default::default();
        block.first = SeqTime {
            seq: block.last.seq.wrapping_add(1),
            timestamp_ns: 0,
        };
        for slot in content.slot_from(before.first.seq)..content.slot_count() {
            let Some(record) = content.record(slot) else {
                continue;
            };
            let seq = record.sequence();
            if !before.holds(seq) {
                continue;
            }
            self.forget_hanging(&record, content);
        }
        let totals = &mut self.state.totals;
        totals.messages = totals.messages.saturating_sub(before.message_count);
        totals.bytes = totals.bytes.saturating_sub(before.live_bytes);
        self.settle_first();
        Some(before)
    }
}

/// Why a live message's record is not found in its block.
pub(super) fn unreadable(seq: u64, block: u32, content: &Resident) -> ReadError {
    let damage = content.damage();
    ReadError::Corrupt {
        seq,
        block,
        offset: damage.map_or(content.bytes().len(), |fault| fault.offset()) as u64,
        reason: damage.map_or_else(|| "its record is not there".to_owned(), ToString::to_string),
    }
}
