//! Cutting a stream off behind a sequence.
//!
//! Sequences behind the cut are used again, so nothing may stay that speaks of them. What a tombstone behind the cut says of messages
//! before it is written again first, in a block of its own; then the block with the cut loses its end; then the blocks behind it go, from
//! the first one up, so that none goes before what its tombstones speak of. A crash in between leaves a stream with a hole that ends
//! further up, which is cut again.

use std::sync::Arc;

use super::core::Live;
use super::error::WriterFault;
use super::remove::time_of;
use super::resident::Resident;
use super::watch::StoreEvent;
use super::writer::Writer;
use crate::format::limits::RECORD_MIN_LENGTH;
use crate::format::names::BlockFile;
use crate::format::record::{NewRecord, RecordKind, parse_at};
use crate::format::seqset::SeqSet;
use crate::state::{BlockState, SeqTime};

/// How a stream is cut.
struct Cut {
    /// The block that loses its end.
    number: u32,
    /// Where its records end afterwards, in its decoded content.
    keep_bytes: usize,
    /// Blocks that go, the first one first: what a tombstone speaks of lies before it.
    above: Vec<u32>,
    /// What has to be proven anew.
    tombstones: Vec<SeqTime>,
    /// The last sequence afterwards, with its time.
    last: SeqTime,
    /// Messages that go.
    gone: u64,
}

/// Where in a block's content the first record lies that speaks of a sequence above `seq`.
fn end_within(content: &[u8], seq: u64) -> usize {
    let mut offset = 0;
    while let Ok(record) = parse_at(content, offset) {
        if record.sequence() > seq {
            return offset;
        }
        offset = record.end_offset();
    }
    offset
}

/// Tombstones behind `offset` that speak of messages up to `seq`.
fn tombstones_behind(content: &[u8], mut offset: usize, seq: u64) -> Vec<SeqTime> {
    let mut found = Vec::new();
    while let Ok(record) = parse_at(content, offset) {
        offset = record.end_offset();
        if record.kind() == RecordKind::Tombstone && record.sequence() <= seq {
            found.push(SeqTime {
                seq: record.sequence(),
                timestamp_ns: record.timestamp_ns(),
            });
        }
    }
    found
}

/// A block as it is once it ends where `content` does, in a stream that ends at `end`.
fn shorten(block: &mut BlockState, content: &Resident, end: SeqTime) {
    let mut last = None;
    let (mut message_count, mut live_bytes, mut offset) = (0, 0, 0);
    while let Ok(record) = parse_at(content.bytes(), offset) {
        offset = record.end_offset();
        if record.kind() == RecordKind::Tombstone {
            continue;
        }
        let seq = record.sequence();
        last = Some(SeqTime {
            seq,
            timestamp_ns: record.timestamp_ns(),
        });
        if record.kind() == RecordKind::Message && block.holds(seq) {
            message_count += 1;
            live_bytes += record.length() as u64;
        }
    }
    (block.message_count, block.live_bytes) = (message_count, live_bytes);
    // Tombstones alone say where a block stands as little as its bounds do.
    let known = if block.last.seq < end.seq {
        block.last
    } else {
        end
    };
    block.last = last.unwrap_or(known);
    if message_count == 0 {
        block.deleted = SeqSet::new();
        block.first = SeqTime {
            seq: block.last.seq + 1,
            timestamp_ns: 0,
        };
    } else {
        block.deleted.remove_range(block.last.seq + 1..=u64::MAX);
    }
}

impl Writer {
    /// Cuts; how many messages went.
    pub(super) fn cut_behind(&mut self, seq: u64) -> Result<u64, WriterFault> {
        self.flush()?;
        let cut = self.plan_cut(seq)?;
        let (in_place, length) = self.cut_in_place(&cut)?;
        let was_tail = self.shared.live.read().tail_number() == Some(cut.number);
        // The block for what is proven anew comes behind all others, and takes what is appended next.
        let needs_block = !cut.tombstones.is_empty() || !in_place;
        if needs_block {
            self.roll()?;
            self.prove_anew(&cut.tombstones)?;
            self.sync()?;
        } else if !was_tail {
            self.leave_tail();
        }
        self.cut_block(&cut, in_place, length)?;
        for number in &cut.above {
            let content = Arc::new(super::cache::read(&self.shared, *number)?);
            self.await_unlinked(&content)?;
            // Only now: should the disk fail before, readers still find what is there.
            self.change_file(*number, content.clone(), |writer| {
                writer.remove_block(*number, |live| {
                    live.forget_block(*number, &content);
                    live.changing = None;
                })
            })?;
        }
        self.end_at(&cut, needs_block);
        self.tell(&StoreEvent::Truncated {
            message_count: cut.gone,
            last_seq: cut.last.seq,
        });
        self.cut_timer_files()?;
        // What comes next has the numbers of what went: never may both be there.
        self.sync()?;
        self.settle()?;
        Ok(cut.gone)
    }

    /// Writes tombstones behind all records. Where that takes more than one block the next ones do not prove the last sequence again: it
    /// is still one that goes.
    fn prove_anew(&mut self, tombstones: &[SeqTime]) -> Result<(), WriterFault> {
        for gone in tombstones {
            self.make_room(RECORD_MIN_LENGTH as u64)?;
            let record = NewRecord::Tombstone {
                sequence: gone.seq,
                timestamp_ns: gone.timestamp_ns,
            };
            self.write_record(&record, |_, _, _| {})?;
        }
        Ok(())
    }

    fn plan_cut(&mut self, seq: u64) -> Result<Cut, WriterFault> {
        let (numbers, before) = {
            let live = self.shared.live.read();
            let place = live.place_from(seq);
            let blocks = live.state.blocks.get(place..).unwrap_or_default();
            let numbers: Vec<u32> = blocks.iter().map(|block| block.number).collect();
            (numbers, live.state.totals)
        };
        let mut cut = Cut {
            number: numbers.first().copied().unwrap_or(0),
            keep_bytes: 0,
            above: numbers.iter().skip(1).copied().collect(),
            tombstones: Vec::new(),
            last: SeqTime {
                seq,
                timestamp_ns: before.last.timestamp_ns,
            },
            gone: 0,
        };
        for number in numbers {
            let content = super::cache::read(&self.shared, number)?;
            let from = match number == cut.number {
                true => end_within(content.bytes(), seq),
                false => 0,
            };
            if number == cut.number {
                cut.keep_bytes = from;
            }
            cut.tombstones
                .extend(tombstones_behind(content.bytes(), from, seq));
            let live = self.shared.live.read();
            for slot in content.slot_from(seq.saturating_add(1))..content.slot_count() {
                let held = content.seq(slot).is_some_and(|seq| live.state.holds(seq));
                cut.gone += u64::from(held);
            }
        }
        self.settle_last(&mut cut)?;
        Ok(cut)
    }

    /// The time of the last message that stays; and where the last sequence is none, a tombstone that keeps it.
    fn settle_last(&mut self, cut: &mut Cut) -> Result<(), WriterFault> {
        let reader = super::Reader::of(self.shared.clone());
        if let Some(last) = reader.previous_seq(&[b">"], cut.last.seq)? {
            let number = self
                .shared
                .live
                .read()
                .block_of(last)
                .map(|block| block.number);
            if let Some(number) = number {
                let content = super::cache::read(&self.shared, number)?;
                cut.last.timestamp_ns = time_of(&content, last);
            }
            if last == cut.last.seq {
                return Ok(());
            }
        }
        cut.tombstones.retain(|gone| gone.seq != cut.last.seq);
        cut.tombstones.push(cut.last);
        Ok(())
    }

    /// Whether the block with the cut can stay the last one and just be shortened; and its file's length.
    fn cut_in_place(&self, cut: &Cut) -> Result<(bool, u64), WriterFault> {
        let path = self.shared.dir.join(BlockFile::Block.path(cut.number));
        let metadata = self.shared.fs.metadata(&path);
        let length = metadata
            .map(|found| found.length)
            .map_err(|error| WriterFault::Block {
                block: cut.number,
                reason: error.to_string(),
            })?;
        let content = super::cache::read(&self.shared, cut.number)?;
        // What is written again at the same place of an encrypted block would be under the same keystream.
        let is_plain = !content.is_compressed() && self.shared.stream_key.is_none();
        // What an archive holds open must not get shorter.
        Ok((is_plain && !self.is_archived(), length))
    }

    fn cut_block(&mut self, cut: &Cut, in_place: bool, length: u64) -> Result<(), WriterFault> {
        let before = Arc::new(super::cache::read(&self.shared, cut.number)?);
        let kept = before.bytes().get(..cut.keep_bytes).unwrap_or_default();
        let path = self.shared.dir.join(BlockFile::Block.path(cut.number));
        let raw_bytes = self.change_file(cut.number, before.clone(), |writer| {
            if !in_place {
                return writer.replace_block(cut.number, kept, false);
            }
            writer.begin_exchange()?;
            if (cut.keep_bytes as u64) < length {
                let cut_off = writer.shared.fs.truncate(&path, cut.keep_bytes as u64);
                writer.told(cut_off)?;
            }
            Ok(cut.keep_bytes as u64)
        })?;
        let content = Resident::index(kept.to_vec(), &self.shared.hash_key(cut.number));
        let hash = content.bytes().last_chunk().copied();
        let mut live = self.shared.live.write();
        live.forget_behind(cut.last.seq, &before);
        let tail_number = live.tail_number();
        let block = live.block_mut(cut.number);
        if let Some(block) = block {
            block.raw_bytes = raw_bytes;
            block.last_record_hash = hash;
            block.compressed = false;
            shorten(block, &content, cut.last);
        }
        live.add_up_blocks();
        live.changing = None;
        self.shared.cache.change(cut.number, None);
        if tail_number == Some(cut.number) {
            live.tail = None;
        }
        Ok(())
    }

    /// Settles the totals by the blocks that stay.
    fn end_at(&mut self, cut: &Cut, has_block_behind: bool) {
        let mut live = self.shared.live.write();
        let live = &mut *live;
        let state = &mut live.state;
        for block in &mut state.blocks {
            if has_block_behind && block.number > cut.number {
                block.last = cut.last;
                block.first = SeqTime {
                    seq: cut.last.seq + 1,
                    timestamp_ns: 0,
                };
            }
        }
        state.totals.last = cut.last;
        live.add_up_blocks();
        live.settle_first();
        if state_is_emptied(live, cut.number) {
            self.emptied.push(cut.number);
        }
        let synced = self.watermark.synced_seq.min(cut.last.seq);
        self.watermark.synced_seq = synced;
    }
}

impl Live {
    /// Takes the messages of a block above `seq` out of subjects and timers.
    fn forget_behind(&mut self, seq: u64, content: &Resident) {
        for slot in content.slot_from(seq.saturating_add(1))..content.slot_count() {
            let record = content.record(slot);
            if let Some(record) = record.filter(|record| self.state.holds(record.sequence())) {
                self.forget_hanging(&record, content);
            }
        }
    }

    /// Takes a block that goes whole out of every account.
    fn forget_block(&mut self, number: u32, content: &Resident) {
        self.forget_behind(0, content);
        if let Some(block) = self.block_mut(number) {
            (block.message_count, block.live_bytes) = (0, 0);
        }
        self.add_up_blocks();
    }

    fn add_up_blocks(&mut self) {
        let state = &mut self.state;
        state.totals.messages = state.blocks.iter().map(|block| block.message_count).sum();
        state.totals.bytes = state.blocks.iter().map(|block| block.live_bytes).sum();
    }
}

fn state_is_emptied(live: &Live, number: u32) -> bool {
    let block = live.block(number);
    live.tail_number() != Some(number) && block.is_some_and(|block| block.message_count == 0)
}
