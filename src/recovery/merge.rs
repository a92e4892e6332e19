//! From scanned blocks to a stream: the merge, in block order.

use super::fault::{Cause, Fault};
use super::scan::{Scanned, ScannedBlock, ScannedBlocks};
use super::server::Quirk;
use super::simulate::{KeyVerdict, SimBlock, Simulation, SoundBlock, block_path, key_path};
use crate::format::limits::RECORD_MIN_LENGTH;
use crate::format::names;
use crate::format::names::BlockFile;
use crate::format::record::RecordFault;
use crate::report::actions::ActionKind;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::Lost;
use crate::state::subjects::SubjectTotals;
use crate::state::{BlockState, SeqTime, Totals};
use crate::stream::files::FileFault;

impl Simulation<'_> {
    /// Block numbers to recover, as the server reads the directory: ascending, and a number twice
    /// where two names spell it.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the directory cannot be listed, or a name stands for no block at all.
    pub fn block_numbers(&mut self) -> Result<Vec<u32>, Fault> {
        let entries = match self.overlay.files.list(self.overlay.msgs) {
            Ok(entries) => entries,
            // The server makes the directory before it looks into it.
            Err(FileFault::Missing) => Vec::new(),
            Err(fault) => return Err(Fault::general(Cause::Io(fault.to_string()))),
        };
        let mut numbers = Vec::new();
        for entry in &entries {
            let name = entry.name.as_encoded_bytes();
            let Some(number) = names::lax_block_number(name) else {
                continue;
            };
            if names::block_number(name).is_some_and(|number| self.overlay.removes(number)) {
                continue;
            }
            if names::block_number(name).map(i64::from) != Some(number) {
                let detail = format!("the server takes it for block {number}");
                let file = format!("msgs/{}", entry.name.to_string_lossy());
                self.event(Event::new(EventCode::BlockNameAmbiguous, detail).file(file));
            }
            numbers.push(number);
        }
        numbers.sort_unstable();
        // The server cuts the number to 32 bits, whatever it is.
        Ok(numbers.into_iter().map(|number| number as u32).collect())
    }

    /// Puts the scanned blocks together, in the order given.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the server's open fails on a block.
    pub fn merge_blocks(&mut self, scanned: ScannedBlocks) -> Result<(), Fault> {
        let ScannedBlocks {
            blocks,
            gone,
            tombstone_count,
        } = scanned;
        self.merge_each(blocks)?;
        // Every tombstone that was seen is in the list, or the set is not of the list.
        if self.tombstones.len() as u64 == tombstone_count {
            self.gone = Some(gone);
        }
        self.settle_after_merge()
    }

    fn merge_each(&mut self, scanned: Vec<Scanned>) -> Result<(), Fault> {
        for Scanned { number, outcome } in scanned {
            match outcome {
                Ok(found) => {
                    self.refuse_crashing_lengths(number, &found)?;
                    let at = self.take_block(number, found)?;
                    self.merge_block(at);
                }
                Err(fault) if self.drops(number, &fault.cause) => {
                    self.drop_unread_block(number, &fault.cause);
                }
                Err(fault) => {
                    if fault.key_created {
                        let detail = "the server leaves a fresh key beside a block it takes for plain; at the next start the block is noise and goes";
                        self.block_event(EventCode::BlockKeyCreated, number, None, detail);
                    }
                    return Err(Fault::block(number, fault.cause));
                }
            }
        }
        Ok(())
    }

    /// Makes a block of what its scan found.
    fn take_block(&mut self, number: u32, found: ScannedBlock) -> Result<usize, Fault> {
        if !self.overlay.block(number).exists() {
            // A second name for a block that its first name already did away with.
            return Err(Fault::block(number, Cause::Missing));
        }
        let mut block = self.new_block(number);
        block.key_is_fresh = found.encrypt_anew.is_some();
        block.compressed = found.compressed;
        self.take_file(number, &found);
        let ScannedBlock {
            mut walked,
            legacy,
            file_length,
            content_length,
            ttl_count,
            schedule_count,
            misaligned,
            bad_headers,
            compressed,
            scan,
            ..
        } = found;
        let mut emptied = None;
        if let Some(legacy) = legacy {
            self.note_legacy(number, &legacy);
            if legacy.accepted {
                self.unverified.push(number);
                return self.take_legacy(block, legacy.state);
            }
            // An empty file whose index knew of messages: they are lost, their place is kept.
            emptied =
                (content_length == 0 && legacy.state.message_count > 0).then_some(legacy.state);
        }
        if let Some(state) = emptied {
            let (id, untracked) = (block.id, block.untracked);
            self.add_block(SimBlock {
                id,
                untracked,
                state: BlockState { number, ..state },
                ..SimBlock::default()
            });
            let at = self.blocks.len() - 1;
            if let Some(lost) = self.rebuild(at)? {
                self.add_lost(lost);
            }
            return Ok(at);
        }
        self.note_bad_headers(number, bad_headers);
        self.note_walk(number, &walked);
        let tombstones = std::mem::take(&mut walked.tombstones);
        let (fault, end, lost_range) = (walked.fault.take(), walked.end, walked.lost);
        let highest_prior = walked.highest_prior;
        block.take_walk(walked, content_length);
        block.ttl_count = ttl_count;
        block.schedule_count = schedule_count;
        self.add_block(block);
        let at = self.blocks.len() - 1;
        if let Some(fault) = fault {
            self.cut(number, end, compressed, &fault);
            self.note_cut(number, end, content_length, lost_range);
        }
        self.tombstones.extend(tombstones);
        self.settle_taken(at, misaligned, file_length, compressed, end)?;
        if let Some(scan) = scan {
            let sound = SoundBlock {
                scan,
                file_length,
                highest_prior,
            };
            self.note_sound(at, sound);
        }
        Ok(at)
    }

    /// What a scan says of a block's file and key.
    fn take_file(&mut self, number: u32, found: &ScannedBlock) {
        self.count_key(&found.key);
        let file = self.overlay.block(number);
        file.key = Some(found.key.clone());
        file.encrypt_anew = found.encrypt_anew;
        file.content_length = found.content_length;
        if let Some(detail) = &found.reads_differ {
            self.block_event(EventCode::BlockReadsDiffer, number, None, detail.clone());
        }
        self.note_conversion(number, found.encrypt_anew);
    }

    /// A block its legacy index stands for.
    fn take_legacy(&mut self, fresh: SimBlock, state: BlockState) -> Result<usize, Fault> {
        self.add_block(SimBlock {
            state: BlockState {
                number: fresh.number,
                compressed: fresh.compressed,
                ..state
            },
            ..fresh
        });
        let at = self.blocks.len() - 1;
        self.populate_subjects(at)?;
        Ok(at)
    }

    fn note_bad_headers(&mut self, number: u32, bad_headers: Vec<(u64, u64)>) {
        for (seq, offset) in bad_headers {
            let detail =
                "its header length does not fit the record: it passes recovery and cannot be read";
            self.block_event(EventCode::HeaderLengthBad, number, Some(offset), detail);
            self.unreadable.push(seq);
        }
    }

    fn note_cut(&mut self, number: u32, end: u64, length: u64, lost: Option<(u64, u64)>) {
        let seqs = lost
            .map(|(from, to)| (from..=to).collect())
            .unwrap_or_default();
        let bytes = length.saturating_sub(end);
        let detail = format!("{bytes} bytes from offset {end} to the end of the block");
        self.block_event(EventCode::LostData, number, Some(end), detail);
        self.add_lost(Lost { seqs, bytes });
    }

    /// What reading a block a second time, for its subjects, would have changed.
    fn settle_taken(
        &mut self,
        at: usize,
        misaligned: bool,
        file_length: u64,
        compressed: bool,
        end: u64,
    ) -> Result<(), Fault> {
        let block = &mut self.blocks[at];
        if block.message_count == 0 || block.untracked {
            if block.untracked || block.message_count == 0 {
                block.ttl_count = 0;
                block.schedule_count = 0;
            }
            return Ok(());
        }
        let number = block.number;
        let cut = self.overlay.block(number).set_length.is_some();
        if misaligned || (cut && compressed) {
            let populated = self.populate_subjects(at);
            if populated.is_err() && !self.rules.server.has(Quirk::BlockFaultFailsOpen) {
                // Its messages count, and nobody has looked whether they can be read.
                self.unverified.push(number);
                return Ok(());
            }
            return populated;
        }
        self.blocks[at].raw_bytes = if cut { end } else { file_length };
        Ok(())
    }

    /// Loads a block and adds its live messages to the subject index.
    pub(super) fn populate_subjects(&mut self, at: usize) -> Result<(), Fault> {
        let Some((loaded, counts)) = self.block_subjects(at)? else {
            return Ok(());
        };
        let number = self.blocks[at].number;
        counts.for_each(&loaded.content, |subject, total| {
            self.subjects.add(
                subject,
                SubjectTotals {
                    total,
                    first_block: number,
                    last_block: number,
                },
            );
        });
        Ok(())
    }

    fn count_key(&mut self, key: &KeyVerdict) {
        match key {
            KeyVerdict::Opened(opened) if opened.converting => self.keyed.1 += 1,
            KeyVerdict::Opened(_) => self.keyed.0 += 1,
            _ => {}
        }
    }

    fn note_conversion(&mut self, number: u32, encrypt_anew: Option<bool>) {
        let (code, kind, why) = match encrypt_anew {
            None => return,
            Some(true) => (
                EventCode::BlockEncrypted,
                ActionKind::EncryptBlock,
                "the block is plain and a key is configured",
            ),
            Some(false) => (
                EventCode::BlockRekeyed,
                ActionKind::RekeyBlock,
                "the block is under an old key or another cipher",
            ),
        };
        self.block_event(code, number, None, why);
        self.action(ActionKind::CreateKey, key_path(number), None, why);
        self.action(kind, block_path(number), None, why);
    }

    fn note_legacy(&mut self, number: u32, legacy: &super::scan::LegacyVerdict) {
        let file = BlockFile::LegacyIndex.path(number);
        let event = if legacy.accepted {
            Event::new(EventCode::LegacyIdxUsed, "it stands for its block")
        } else {
            Event::new(EventCode::LegacyIdxRejected, legacy.detail.clone())
        };
        // A server that was killed leaves it behind its block.
        let event = match legacy.stale {
            true => event.severity(Severity::Info),
            false => event,
        };
        self.event(event.file(file.clone()));
        if legacy.removed {
            self.action(
                ActionKind::RemoveLegacyFile,
                file.clone(),
                None,
                legacy.detail.clone(),
            );
            self.overlay.removed_files.push(file);
        }
    }

    fn note_walk(&mut self, number: u32, walked: &crate::block::walk::Walked) {
        if walked.backward_count > 0 {
            let detail = format!(
                "{} records whose sequence does not rise are passed over",
                walked.backward_count
            );
            self.block_event(EventCode::BlockSeqBackwards, number, None, detail);
        }
        if walked.gap_count > 0 {
            let detail = format!(
                "{} sequences without a record count as deleted",
                walked.gap_count
            );
            self.block_event(EventCode::BlockGapFilled, number, None, detail);
        }
    }

    /// Whether the server deletes a block for this and goes on. An unusable key is such a cause but for a few releases;
    /// older ones took it for plain, and everything unreadable for empty.
    fn drops(&self, number: u32, cause: &Cause) -> bool {
        let server = self.rules.server;
        match cause {
            Cause::Missing => false,
            // A file that opens and cannot be read: a directory.
            Cause::Io(_) if !self.overlay.files.is_dir(&self.overlay.block_path(number)) => false,
            Cause::Io(_) if !server.has(Quirk::BlockFaultFailsOpen) => true,
            // The key is looked at first.
            Cause::Io(_) => {
                server.has(Quirk::BadBlockKeyDeletes) && self.has_bad_key_and_goes(number)
            }
            // An empty block is no obstacle there to being encrypted; then it goes like any without a message.
            _ if !server.has(Quirk::Tombstones) => matches!(cause, Cause::Misaligned),
            _ if !server.has(Quirk::BlockFaultFailsOpen) => true,
            Cause::KeySize { .. } | Cause::KeyInvalid => server.has(Quirk::BadBlockKeyDeletes),
            _ => false,
        }
    }

    /// Whether a directory in the place of a block can be removed, and the key beside it is unusable.
    fn has_bad_key_and_goes(&self, number: u32) -> bool {
        let overlay = &self.overlay;
        let key = overlay.files.read(&overlay.key_path(number));
        overlay.is_empty_dir(&overlay.block_path(number))
            && overlay.keys.open_block_key(number, key).is_err()
    }

    /// Older servers take the subject's length for the whole of what has to fit, and crash where the header's length field
    /// then does not; those that look for TTLs without bounds, where it reaches too far.
    fn refuse_crashing_lengths(&self, number: u32, found: &ScannedBlock) -> Result<(), Fault> {
        let server = self.rules.server;
        let looks = server.has(Quirk::MessageTtl) && self.rules.tracks_subjects;
        if looks && !server.has(Quirk::HeaderBoundsChecked) && !found.bad_headers.is_empty() {
            let why = "a header length reaches beyond its record, and TTLs are looked for in it";
            return Err(Fault::block(number, Cause::Crash(why.into())));
        }
        match &found.walked.fault {
            Some(
                fault @ RecordFault::LengthsDisagree {
                    length,
                    subject_length,
                    has_headers: true,
                    ..
                },
            ) if !self.rules.server.has(Quirk::HeaderLengthChecked)
                && u64::from(*subject_length) + RECORD_MIN_LENGTH as u64 <= u64::from(*length) =>
            {
                Err(Fault::block(number, Cause::Crash(fault.to_string())))
            }
            _ => Ok(()),
        }
    }

    /// A block whose key file is unusable goes, with everything in it; with older servers any that does not decode.
    fn drop_unread_block(&mut self, number: u32, cause: &Cause) {
        let file = self.overlay.block(number);
        file.removed = true;
        self.note_loss(false);
        let detail =
            format!("{cause}; the server deletes the block, and nothing tells what was in it");
        self.block_event(EventCode::BlockRemovedBadKey, number, None, detail.clone());
        self.action(ActionKind::RemoveBlock, block_path(number), None, detail);
    }

    /// Adds the block at `at` to the totals, or drops it where nothing in it sets a sequence.
    fn merge_block(&mut self, at: usize) {
        let block = &self.blocks[at];
        if block.first.seq == 0 {
            let number = block.number;
            let (why, had_bytes) = ("no record in it sets a sequence", block.raw_bytes > 0);
            let severity = if had_bytes {
                Severity::Warn
            } else {
                Severity::Info
            };
            let event = Event::new(EventCode::BlockRemovedEmpty, why)
                .file(block_path(number))
                .severity(severity);
            self.event(event);
            self.force_remove_block(at, why);
            return;
        }
        self.note_order(at);
        let block = &mut self.blocks[at];
        let totals = &mut self.totals;
        let server = self.rules.server;
        if totals.messages == 0 && server.has(Quirk::ResetWhileEmpty) {
            totals.first = SeqTime::default();
            totals.last = SeqTime::default();
        }
        if totals.first.seq == 0
            || (block.first.seq < totals.first.seq && block.first.timestamp_ns != 0)
        {
            totals.first = block.first;
        }
        if block.last.seq >= totals.last.seq {
            totals.last = block.last;
        }
        totals.messages = totals.messages.wrapping_add(block.message_count);
        totals.bytes = totals.bytes.wrapping_add(block.live_bytes);
        if block.message_count == 0 && server.has(Quirk::EmptyBlocksAligned) {
            block.first = SeqTime {
                seq: totals.last.seq.wrapping_add(1),
                timestamp_ns: 0,
            };
            block.last = super::simulate::on_disk(totals.last);
        }
    }

    fn note_order(&mut self, at: usize) {
        let block = &self.blocks[at];
        let last = self.totals.last.seq;
        if self.totals.messages == 0 || block.message_count == 0 || block.first.seq > last {
            return;
        }
        let (code, number) = if block.last.seq < self.totals.first.seq {
            (EventCode::BlockOrderInverted, block.number)
        } else {
            (EventCode::BlockOverlap, block.number)
        };
        let detail = format!(
            "it begins at {} although the blocks before it reach {last}",
            block.first.seq
        );
        self.block_event(code, number, None, detail);
    }

    fn settle_after_merge(&mut self) -> Result<(), Fault> {
        if self.blocks.is_empty() {
            self.roll();
        } else {
            self.active = self.blocks.last().map(|block| (block.id, block.number));
        }
        if self.lost.is_some() {
            let last_at = self.blocks.len().saturating_sub(1);
            for at in (0..last_at).rev() {
                if self
                    .blocks
                    .get(at)
                    .is_some_and(|block| block.message_count == 0 && block.raw_bytes == 0)
                {
                    self.force_remove_block(at, "it is empty, and data was lost");
                }
            }
        }
        self.sweep_orphan_keys();
        Ok(())
    }

    /// Key files without a block go, and what only bears the name of one as far as a file's removal takes it along: a
    /// directory without anything in it.
    fn sweep_orphan_keys(&mut self) {
        let Ok(entries) = self.overlay.files.list(self.overlay.msgs) else {
            return;
        };
        for entry in entries {
            let name = entry.name.as_encoded_bytes();
            if !name.ends_with(b".key") {
                continue;
            }
            let number = names::lax_key_number(name);
            if number.is_some_and(|number| self.blocks.iter().any(|block| block.number == number)) {
                continue;
            }
            let file = format!("msgs/{}", entry.name.to_string_lossy());
            let lies_at = format!("{}/{}", self.overlay.msgs, entry.name.to_string_lossy());
            if entry.is_dir && !self.overlay.is_empty_dir(&lies_at) {
                continue;
            }
            self.event(
                Event::new(EventCode::KeyOrphanRemoved, "no block uses it").file(file.clone()),
            );
            self.action(
                ActionKind::RemoveKey,
                file.clone(),
                None,
                "no block uses it",
            );
            if !self.overlay.removed_files.contains(&file) {
                self.overlay.removed_files.push(file);
            }
        }
    }

    /// After the blocks were read because the index was given up: the last sequence the index knew of
    /// is remembered where the blocks have lost it.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the marker cannot be written.
    pub fn restore_prior_last(&mut self, prior: &Totals) -> Result<(), Fault> {
        self.dirty = true;
        let server = self.rules.server;
        let forgets = self.rules.async_flush && server.has(Quirk::AsyncFlushForgets)
            || self.lost.is_none() && !server.has(Quirk::PriorWithoutLoss);
        if prior.last.seq <= self.totals.last.seq || forgets {
            return Ok(());
        }
        let detail = format!(
            "the index knew of messages up to {}, the blocks end at {}",
            prior.last.seq, self.totals.last.seq
        );
        self.event(Event::new(EventCode::PriorLastSeqRestored, detail).seq(prior.last.seq));
        self.roll();
        let at = self.blocks.len() - 1;
        self.append_tombstone(at, super::simulate::on_disk(prior.last))?;
        self.totals.last = prior.last;
        if self.totals.messages == 0 {
            self.totals.first = SeqTime {
                seq: prior.last.seq.wrapping_add(1),
                timestamp_ns: 0,
            };
        }
        Ok(())
    }
}
