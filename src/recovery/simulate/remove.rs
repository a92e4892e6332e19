//! Taking messages and blocks away, and the markers that keep sequences from moving back.

use super::load::Lookup;
use super::removal_batch::RemovedMessage;
use super::{Loaded, SimBlock, Simulation, block_path, key_path};
use crate::block::rules::{
    Fill, KeptTombstones, PriorTombstones, Survivors, next_first, tombstone_moves_bounds,
};
use crate::format::limits::{RECORD_MIN_LENGTH, ZERO_TIME_NS};
use crate::format::record::{NewRecord, RecordKind, RecordRef, Run, Runs, encode_record};
use crate::format::seqset::SeqSet;
use crate::recovery::fault::{Cause, Fault};
use crate::recovery::server::Quirk;
use crate::report::actions::{ActionKind, Piece};
use crate::state::{BlockState, SeqTime};

/// What the server takes off the sequence field of a tombstone.
const TOMBSTONE_FLAG: u64 = 1 << 62;

/// What removing one message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone now.
    Removed,
    /// It was gone before.
    AlreadyGone,
    /// No block covers the sequence.
    NoBlock,
}

impl Simulation<'_> {
    /// Removes a message the way limits do: without a tombstone of its own.
    ///
    /// # Errors
    ///
    /// [`Fault`]: its block does not load, the record does not verify, or what follows from the
    /// removal fails.
    pub fn remove_message(&mut self, seq: u64) -> Result<Removal, Fault> {
        if seq == 0 {
            return Ok(Removal::NoBlock);
        }
        let Some(at) = self.select_block(seq) else {
            return Ok(Removal::NoBlock);
        };
        self.remove_from_block(at, seq)
    }

    fn remove_from_block(&mut self, at: usize, seq: u64) -> Result<Removal, Fault> {
        let block = &self.blocks[at];
        if block.closed || seq < block.first.seq || block.deleted.contains(seq) {
            return Ok(Removal::AlreadyGone);
        }
        let removed = match self.noted(at, seq) {
            Some(removed) => removed,
            None => {
                let loaded = self.load(at)?;
                let Lookup::Found(_, record) = self.lookup(at, &loaded, seq)? else {
                    return Ok(Removal::AlreadyGone);
                };
                self.note_removals(at, &loaded);
                RemovedMessage::of(&record, &loaded.content)
            }
        };
        let block = &self.blocks[at];
        let is_first = seq == block.first.seq;
        let empties = block.message_count == 1;
        self.subtract(at, &removed, seq);
        if is_first {
            self.move_block_first(at);
            if !empties && seq == self.totals.first.seq {
                self.totals.first = self.blocks[at].first;
            }
        } else if !empties {
            let block = &mut self.blocks[at];
            block.deleted.insert(seq);
            if !self.is_active(at) && self.wants_rewrite(at) {
                self.rewrite(at)?;
            }
        }
        if empties {
            let was_stream_first = seq == self.totals.first.seq;
            self.remove_block(at)?;
            if was_stream_first {
                self.select_next_first();
            }
        }
        Ok(Removal::Removed)
    }

    /// Takes one message out of every total.
    fn subtract(&mut self, at: usize, removed: &RemovedMessage, seq: u64) {
        let size = removed.record_length;
        self.totals.messages = self.totals.messages.saturating_sub(1);
        self.totals.bytes = self.totals.bytes.saturating_sub(size);
        let block = &mut self.blocks[at];
        block.message_count = block.message_count.saturating_sub(1);
        block.live_bytes = block.live_bytes.saturating_sub(size);
        self.dirty = true;
        self.subjects.remove_one(&removed.subject);
        self.timers
            .forget_ttl(seq, removed.timestamp_ns, &removed.headers);
    }

    fn wants_rewrite(&self, at: usize) -> bool {
        fill_of(&self.blocks[at]).is_rewritten_on_removal()
    }

    /// Moves a block's first sequence past what is deleted and reads the time of the new first.
    pub fn move_block_first(&mut self, at: usize) {
        let block = &mut self.blocks[at];
        let last = block.last.seq;
        let next = next_first(block.first.seq, last, &mut block.deleted);
        block.first = SeqTime {
            seq: next,
            timestamp_ns: 0,
        };
        if next > last {
            return;
        }
        let ts = self.time_of(at, next);
        let block = &mut self.blocks[at];
        block.first.timestamp_ns = ts;
    }

    /// The time of a sequence, 0 where it cannot be read.
    fn time_of(&mut self, at: usize, seq: u64) -> i64 {
        let id = self.blocks[at].id;
        let at_hand = self
            .loaded
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, loaded)| loaded.clone());
        if let Some(loaded) = at_hand
            && let Ok(Lookup::Found(_, record)) = self.lookup(at, &loaded, seq)
        {
            return record.timestamp_ns();
        }
        match self.fetch(at, seq) {
            Ok(Lookup::Found(_, record)) => record.timestamp_ns(),
            _ => 0,
        }
    }

    /// Removes an emptied block: with a marker for the last sequence where it held that, and not at
    /// all while it carries tombstones that still matter.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the marker cannot be written.
    pub fn remove_block(&mut self, at: usize) -> Result<(), Fault> {
        let block = &self.blocks[at];
        let (id, last) = (block.id, block.last);
        if self.is_active(at) {
            self.roll();
            self.write_tombstone(last)?;
        } else if last.seq == self.totals.last.seq {
            self.write_tombstone(last)?;
        }
        let Some(at) = self.position(id) else {
            return Ok(());
        };
        if self.rules.server.has(Quirk::PriorTombstonesKept)
            && !self.has_no_prior(at)
            && self.prior_tombstones(at) > 0
        {
            return Ok(());
        }
        self.force_remove_block(at, "every message in it is gone");
        Ok(())
    }

    /// Removes a block whatever it holds.
    pub fn force_remove_block(&mut self, at: usize, why: &str) {
        let block = self.blocks.remove(at);
        self.forget_loaded(block.id);
        self.remove_block_file(&block, why);
        self.dirty = true;
    }

    /// Marks a block's file for removal, and its key if this open made it.
    pub fn remove_block_file(&mut self, block: &SimBlock, why: &str) {
        let file = self.overlay.block(block.number);
        if !file.exists() {
            return;
        }
        file.removed = true;
        self.action(ActionKind::RemoveBlock, block_path(block.number), None, why);
        if block.key_is_fresh {
            self.action(
                ActionKind::RemoveKey,
                key_path(block.number),
                None,
                "its block goes",
            );
        }
    }

    /// Whether the scan of the block at `at` tells that nothing in it is still to be known about messages before it.
    fn has_no_prior(&self, at: usize) -> bool {
        let first = self.totals.first.seq;
        let sound = self.sound(at);
        sound.is_some_and(|sound| sound.highest_prior.is_none_or(|seq| seq < first))
    }

    /// Tombstones in a block for messages before it that the stream still has to know about.
    fn prior_tombstones(&mut self, at: usize) -> u64 {
        let Ok(loaded) = self.load(at) else { return 0 };
        let mut prior = PriorTombstones::new(self.totals.first.seq);
        let mut runs = Runs::unverified(&loaded.content);
        let mut run = Run::new();
        while runs.next_run(&mut run) {
            for record in &run.records {
                let seq = match record.kind() {
                    RecordKind::Tombstone => tombstone_target(record),
                    RecordKind::Message | RecordKind::Erased => record.sequence(),
                };
                prior.take(record.kind(), seq);
            }
            if run.fault.is_some() {
                break;
            }
        }
        prior.count()
    }

    /// Finds the stream's first message after blocks or messages went, dropping leading empty blocks.
    pub fn select_next_first(&mut self) {
        while self.blocks.len() > 1
            && self
                .blocks
                .first()
                .is_some_and(|block| block.message_count == 0)
        {
            self.force_remove_block(0, "it leads the stream and holds no message");
        }
        self.totals.first = match self.blocks.first() {
            Some(block) => block.first,
            None => SeqTime {
                seq: self.totals.last.seq.wrapping_add(1),
                timestamp_ns: 0,
            },
        };
    }

    /// Opens a new active block behind the last one.
    pub fn roll(&mut self) {
        let number = self.active.map_or(1, |(_, number)| number.wrapping_add(1));
        let mut block = self.new_block(number);
        block.first.seq = self.totals.last.seq.wrapping_add(1);
        block.last.seq = self.totals.last.seq;
        block.key_is_fresh = self.overlay.keys.current.is_some();
        // A key file of that number may have been due to go with the block it was for.
        self.overlay
            .removed_files
            .retain(|path| *path != super::key_path(number));
        let file = self.overlay.block(number);
        file.removed = false;
        file.on_disk = false;
        file.pieces = Some(Vec::new());
        file.appended.clear();
        file.set_length = None;
        if block.key_is_fresh {
            file.encrypt_anew = Some(true);
            file.key = Some(super::KeyVerdict::Absent);
        } else {
            file.key = Some(super::KeyVerdict::None);
        }
        self.action(
            ActionKind::CreateBlock,
            block_path(number),
            None,
            "records need a block to go to",
        );
        self.add_block(block);
    }

    /// Appends a tombstone to the active block, rolling where it is full.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the active block cannot be loaded.
    pub fn write_tombstone(&mut self, marked: SeqTime) -> Result<(), Fault> {
        let length = RECORD_MIN_LENGTH as u64;
        let active = self.active.and_then(|(id, _)| self.position(id));
        let full = active.map(|at| &self.blocks[at]).is_none_or(|block| {
            block.compressed || fill_of(block).is_full(length, self.rules.block_size)
        });
        if full {
            self.roll();
        }
        let Some(at) = self.active.and_then(|(id, _)| self.position(id)) else {
            return Err(Fault::general(Cause::Other(
                "there is no block to write to".into(),
            )));
        };
        self.append_tombstone(at, marked)
    }

    /// Appends a tombstone to the block at `at`.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the block cannot be loaded.
    pub fn append_tombstone(&mut self, at: usize, marked: SeqTime) -> Result<(), Fault> {
        self.load(at)?;
        let number = self.blocks[at].number;
        let hash_key = self.hash_key(number);
        let mut record = Vec::with_capacity(RECORD_MIN_LENGTH);
        let new = NewRecord::ClaimedTombstone {
            sequence: marked.seq,
            timestamp_ns: marked.timestamp_ns,
        };
        encode_record(&mut record, &hash_key, &new).map_err(|fault| {
            Fault::block(
                number,
                Cause::Other(format!(
                    "a tombstone for {} cannot be encoded: {fault}",
                    marked.seq
                )),
            )
        })?;
        let checksum = record.last_chunk::<8>().copied();
        // The server takes its flag off again, be it a bit of the sequence.
        let marked = SeqTime {
            seq: marked.seq & !TOMBSTONE_FLAG,
            ..marked
        };
        let file = self.overlay.block(number);
        file.appended.extend_from_slice(&record);
        file.removed = false;
        let block = &mut self.blocks[at];
        block.last_record_hash = checksum;
        block.raw_bytes += record.len() as u64;
        if tombstone_moves_bounds(block.message_count, block.last.seq, marked.seq) {
            block.last = marked;
            block.first = SeqTime {
                seq: marked.seq.wrapping_add(1),
                timestamp_ns: 0,
            };
        }
        let id = block.id;
        self.forget_loaded(id);
        self.dirty = true;
        self.action(
            ActionKind::AppendTombstone,
            block_path(number),
            None,
            format!("so that sequence {} is remembered as gone", marked.seq),
        );
        Ok(())
    }

    /// Rewrites a block without its dead records.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the block does not load.
    pub fn rewrite(&mut self, at: usize) -> Result<(), Fault> {
        let loaded = self.load(at)?;
        let block = &self.blocks[at];
        let (number, id, first, last) = (block.number, block.id, block.first, block.last);
        let Some(kept) = self.kept_ranges(at, &loaded) else {
            return Err(Fault::block(
                number,
                Cause::Other("a record changed between scan and rewrite".into()),
            ));
        };
        self.install_pieces(number, &loaded, &kept.ranges);
        let block = &mut self.blocks[at];
        if let Some(seq) = kept.first {
            block.first.seq = seq;
        }
        block.raw_bytes = kept.length;
        block.live_bytes_at_rewrite = block.live_bytes;
        if let Some(seq_time) = kept.last {
            block.last = seq_time;
            if block.first.seq > first.seq {
                let moved_to = block.first.seq;
                block.deleted.remove_range(first.seq..=moved_to - 1);
            }
            if seq_time.seq < last.seq {
                block.deleted.remove_range(seq_time.seq + 1..=last.seq);
            }
        } else {
            block.last = SeqTime {
                seq: first.seq.wrapping_sub(1),
                timestamp_ns: 0,
            };
            block.deleted = SeqSet::new();
        }
        block.compressed = false;
        self.forget_loaded(id);
        self.action(
            ActionKind::RewriteBlock,
            block_path(number),
            None,
            "more than half of it is dead records",
        );
        Ok(())
    }

    fn kept_ranges(&self, at: usize, loaded: &Loaded) -> Option<Kept> {
        let block = &self.blocks[at];
        let survivors = Survivors {
            first: block.first.seq,
            deleted: &block.deleted,
            tombstones: KeptTombstones::All,
        };
        let mut kept = Kept::default();
        let mut runs = Runs::unverified(&loaded.content);
        let mut run = Run::new();
        while runs.next_run(&mut run) {
            for record in &run.records {
                let bits = record.sequence_bits();
                let kind = record.kind();
                if kind == RecordKind::Tombstone {
                    let is_kept = survivors.keep(kind, tombstone_target(record));
                    if bits >> 63 == 0 && is_kept {
                        kept.keep(record);
                    }
                } else if survivors.keep(kind, bits) {
                    kept.keep(record);
                    kept.first.get_or_insert(bits);
                    if kept.last.is_none_or(|last| bits >= last.seq) {
                        kept.last = Some(SeqTime {
                            seq: bits,
                            timestamp_ns: record.timestamp_ns(),
                        });
                    }
                }
            }
            if run.fault.is_some() {
                return None;
            }
        }
        Some(kept)
    }

    /// Makes the block's pending content the given ranges of its present decoded content.
    fn install_pieces(&mut self, number: u32, loaded: &Loaded, ranges: &[(u64, u64)]) {
        let file = self.overlay.block(number);
        let derived = file.pieces.is_some() || !file.appended.is_empty();
        let pieces = ranges
            .iter()
            .map(|(start, end)| {
                if derived {
                    let bytes = loaded
                        .content
                        .get(*start as usize..*end as usize)
                        .unwrap_or_default();
                    Piece::Literal(bytes.to_vec())
                } else {
                    Piece::Kept {
                        start: *start,
                        end: *end,
                    }
                }
            })
            .collect();
        file.pieces = Some(pieces);
        file.appended.clear();
    }
}

/// What of a block the rules go by.
fn fill_of(block: &BlockState) -> Fill {
    Fill {
        live_bytes: block.live_bytes,
        raw_bytes: block.raw_bytes,
        live_bytes_at_rewrite: block.live_bytes_at_rewrite,
    }
}

/// "No time" inside the store is 0; in a record it is the zero time in nanoseconds.
pub fn on_disk(seq_time: SeqTime) -> SeqTime {
    SeqTime {
        seq: seq_time.seq,
        timestamp_ns: if seq_time.timestamp_ns == 0 {
            ZERO_TIME_NS
        } else {
            seq_time.timestamp_ns
        },
    }
}

/// The sequence a tombstone is about; the erased flag stays in it where both are set.
pub fn tombstone_target(record: &RecordRef) -> u64 {
    record.sequence_bits() & !TOMBSTONE_FLAG
}

#[derive(Default)]
struct Kept {
    ranges: Vec<(u64, u64)>,
    length: u64,
    first: Option<u64>,
    last: Option<SeqTime>,
}

impl Kept {
    fn keep(&mut self, record: &RecordRef) {
        let (start, end) = (record.offset() as u64, record.end_offset() as u64);
        self.length += end - start;
        match self.ranges.last_mut() {
            Some((_, last_end)) if *last_end == start => *last_end = end,
            _ => self.ranges.push((start, end)),
        }
    }
}
