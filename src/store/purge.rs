//! Removing many messages at once: all, by subject, from the front, from the end.

use super::append::Expected;
use super::batch::{Ahead, Committed};
use super::core::Live;
use super::error::{AppendError, ReadError, RemoveError, WriterFault};
use super::message::NewMessage;
use super::resident::Resident;
use super::watch::StoreEvent;
use super::writer::Writer;
use crate::env::DEFAULT_DIR_MODE;
use crate::env::DEFAULT_FILE_MODE;
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::names::{BlockFile, MESSAGES, PURGED_MESSAGES, SOURCES, STAGED_MESSAGES};
use crate::format::record::{NewRecord, encode_record};
use crate::format::seqset::SeqSet;
use crate::state::{BlockState, SeqTime, SubjectIndex};

/// Which messages a purge takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PurgeRequest<'a> {
    /// Only those whose subject this filter matches; empty for all.
    pub filter: &'a [u8],
    /// Only those below this sequence; 0 for no bound.
    pub below: u64,
    /// All but the last so many of them; 0 for none.
    pub keep: u64,
}

impl Writer {
    /// Removes what `request` says; how many messages. Everything with a bound is [`Writer::compact`], whatever is to be kept.
    ///
    /// # Errors
    ///
    /// [`RemoveError::Fault`].
    pub fn purge(&mut self, request: &PurgeRequest<'_>) -> Result<u64, RemoveError> {
        self.check()?;
        let takes_all = request.filter.is_empty() || request.filter == b">";
        if request.below == 1 {
            return Ok(0);
        }
        if takes_all && request.below > 1 {
            return self.compact(request.below);
        }
        if takes_all && request.keep == 0 {
            let last_seq = self.shared.live.read().state.totals.last.seq;
            return Ok(self.purge_to(last_seq)?);
        }
        self.begin()?;
        let taken = self.purge_matching(request)?;
        self.settle()?;
        Ok(taken)
    }

    fn purge_matching(&mut self, request: &PurgeRequest<'_>) -> Result<u64, WriterFault> {
        let filter = if request.filter.is_empty() {
            &b">"[..]
        } else {
            request.filter
        };
        let reader = super::Reader::of(self.shared.clone());
        let mut matching = 0;
        if request.keep > 0 {
            matching = reader.count(&[filter], 0)?;
        }
        let mut left = match request.keep {
            0 => u64::MAX,
            keep => matching.saturating_sub(keep),
        };
        let (mut from, mut taken) = (0, 0);
        while left > 0 {
            let seq = match reader.next_seq(&[filter], from) {
                Ok(Some(seq)) if request.below == 0 || seq < request.below => seq,
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            };
            self.take_message(seq)?;
            (taken, left, from) = (taken + 1, left - 1, seq + 1);
        }
        Ok(taken)
    }

    /// Removes everything below `seq`; how many messages. 0, or a sequence behind the last, removes everything, and the last sequence
    /// becomes the one before `seq` where that is more.
    ///
    /// # Errors
    ///
    /// [`RemoveError::Fault`].
    pub fn compact(&mut self, seq: u64) -> Result<u64, RemoveError> {
        self.check()?;
        let totals = self.shared.live.read().state.totals;
        if seq == 0 || seq > totals.last.seq {
            let target = seq.saturating_sub(1).max(totals.last.seq).min(SEQUENCE_MAX);
            return Ok(self.purge_to(target)?);
        }
        if seq <= totals.first.seq {
            return Ok(0);
        }
        self.begin()?;
        let taken = self.take_below(seq)?;
        self.settle()?;
        Ok(taken)
    }

    fn take_below(&mut self, seq: u64) -> Result<u64, WriterFault> {
        let mut taken = 0;
        loop {
            let (first, whole) = {
                let live = self.shared.live.read();
                let first = live.state.totals.first.seq;
                if live.state.totals.messages == 0 || first >= seq {
                    return Ok(taken);
                }
                let block = live.block_of(first);
                let Some(block) = block else { return Ok(taken) };
                let goes_whole = block.last.seq < seq
                    && live.tail_number() != Some(block.number)
                    && block.message_count > 1;
                (first, goes_whole.then_some(block.number))
            };
            taken += match whole {
                Some(number) => self.drop_block(number)?,
                None => self.take_message(first).map(|_| 1)?,
            };
        }
    }

    /// Takes over what a leader of a replicated stream has deleted: of the sequences in `deleted` those that are live here go; how many.
    /// What lies behind the last sequence is passed over.
    ///
    /// # Errors
    ///
    /// [`WriterFault`].
    pub fn sync_deleted(&mut self, deleted: &SeqSet) -> Result<u64, WriterFault> {
        self.check()?;
        let mut taken = 0;
        for span in deleted.spans() {
            let mut from = *span.start();
            while let Some((seq, whole)) = self.first_live_within(from, *span.end()) {
                self.begin()?;
                (taken, from) = match whole {
                    Some((number, last_seq)) => (taken + self.drop_block(number)?, last_seq + 1),
                    None => {
                        self.take_message(seq)?;
                        (taken + 1, seq + 1)
                    }
                };
            }
        }
        if taken > 0 {
            self.settle()?;
        }
        Ok(taken)
    }

    /// The first live sequence of a span, and where the span covers its whole block, which is not the last one, that block with the last
    /// sequence in it.
    fn first_live_within(&self, from: u64, to: u64) -> Option<(u64, Option<(u32, u64)>)> {
        let live = self.shared.live.read();
        let blocks = live.state.blocks.get(live.place_from(from)..)?.iter();
        let mut found =
            blocks.filter_map(|block| Some((block, live.first_live_from(block, from)?)));
        let (block, seq) = found.next().filter(|(_, seq)| *seq <= to)?;
        let covers = from <= block.first.seq
            && block.last.seq <= to
            && block.message_count > 1
            && live.tail_number() != Some(block.number);
        Some((seq, covers.then_some((block.number, block.last.seq))))
    }

    /// Removes everything at once. `last_seq` is the last sequence afterwards.
    pub(super) fn purge_to(&mut self, last_seq: u64) -> Result<u64, WriterFault> {
        self.begin()?;
        self.flush()?;
        let (last, number) = {
            let live = self.shared.live.read();
            let last = SeqTime {
                seq: last_seq,
                timestamp_ns: live.state.totals.last.timestamp_ns,
            };
            (last, live.state.last_block_number.saturating_add(1))
        };
        let marker = (last.seq > 0).then_some(NewRecord::Tombstone {
            sequence: last.seq,
            timestamp_ns: last.timestamp_ns,
        });
        let staged = self.stage_purge(last.seq, number, marker)?;
        // From here on the purge has happened, whatever becomes of the rest: readers go by it, not by names that are being changed.
        let taken = self.start_over(last, number, staged, |_| {});
        self.tell(&StoreEvent::Purged {
            message_count: taken,
            last_seq: last.seq,
        });
        self.exchange_messages()?;
        self.settle()?;
        Ok(taken)
    }

    /// Appends a message in the place of all there are, in one step.
    pub(super) fn append_alone(
        &mut self,
        message: &NewMessage<'_>,
        now_ns: i64,
        expected: Expected,
    ) -> Result<Committed, AppendError> {
        self.check()?;
        self.is_new(message.headers, now_ns)?;
        self.hold(message, expected)?;
        let (totals, number) = {
            let live = self.shared.live.read();
            (live.state.totals, live.state.last_block_number)
        };
        let stored = SeqTime {
            seq: totals.last.seq.wrapping_add(1).max(1),
            timestamp_ns: now_ns,
        };
        let ahead = Ahead::emptied(totals.messages, totals.bytes);
        let length = self.admit(message, stored.seq, now_ns, &ahead)?;
        self.has_disk(length)?;
        self.begin()?;
        self.flush()?;
        let number = number.saturating_add(1);
        let staged = self.stage_purge(stored.seq, number, Some(message.record(stored)))?;
        self.start_over(totals.last, number, staged, |live| {
            live.take_in(message, stored, number, length);
        });
        self.note_id(message.headers, stored.seq, now_ns);
        self.tell(&StoreEvent::Purged {
            message_count: totals.messages,
            last_seq: totals.last.seq,
        });
        self.tell(&StoreEvent::Appended {
            seq: stored.seq,
            subject: message.subject,
            length_bytes: length,
        });
        self.exchange_messages()?;
        let mut evicted_count = 0;
        let not_evicted = self.evict_behind(message.subject, &mut evicted_count)?;
        self.settle()?;
        Ok(Committed {
            last_seq: stored.seq,
            evicted_count,
            not_evicted,
        })
    }

    /// Puts the block that is to be the only one into a directory of its own. Once it lies there under its name, the purge has
    /// happened: whoever opens the stream finishes it.
    fn stage_purge(
        &mut self,
        last_seq: u64,
        number: u32,
        record: Option<NewRecord<'_>>,
    ) -> Result<Vec<u8>, WriterFault> {
        let shared = self.shared.clone();
        let staged = shared.dir.join(STAGED_MESSAGES);
        // A leftover would be taken for the commit.
        for dir in [STAGED_MESSAGES, PURGED_MESSAGES] {
            match shared.fs.remove_dir_all(&shared.dir.join(dir)) {
                Err(error) if error.is_not_found() => {}
                removed => self.told(removed)?,
            }
        }
        let made = shared.fs.create_dir_all(&staged, DEFAULT_DIR_MODE);
        self.told(made)?;
        self.told(shared.fs.sync_dir(&shared.dir))?;
        // How far sources were read is in no message any more once these are gone.
        let timers = {
            let live = shared.live.read();
            live.state.timers.encode(last_seq.saturating_add(1))
        };
        if let Some(bytes) = timers.sources {
            self.write_side_file(SOURCES, &bytes)?;
        }
        let cipher = self.new_key(STAGED_MESSAGES, number)?;
        let mut marker = Vec::new();
        let refused = |reason: String| WriterFault::Block {
            block: number,
            reason,
        };
        if let Some(record) = record {
            let key = HashKey::for_block(&shared.name, number);
            encode_record(&mut marker, &key, &record)
                .map_err(|fault| refused(fault.to_string()))?;
        }
        let mut file = marker.clone();
        if let Some(cipher) = cipher {
            cipher
                .apply(&mut file, 0)
                .map_err(|exhausted| refused(exhausted.to_string()))?;
        }
        let path = shared
            .dir
            .join(BlockFile::Block.path_in(STAGED_MESSAGES, number));
        let written = shared
            .fs
            .write_atomically(&path, &file, Some(DEFAULT_FILE_MODE));
        self.told(written)?;
        Ok(marker)
    }

    fn exchange_messages(&mut self) -> Result<(), WriterFault> {
        let shared = self.shared.clone();
        let at = |name: &str| shared.dir.join(name);
        self.hold_all_for_archives();
        // The index goes with the directory it lies in.
        self.has_index = false;
        let moved = shared.fs.rename(&at(MESSAGES), &at(PURGED_MESSAGES));
        self.told(moved)?;
        let moved = shared.fs.rename(&at(STAGED_MESSAGES), &at(MESSAGES));
        self.told(moved)?;
        self.told(shared.fs.sync_dir(&shared.dir))?;
        self.told(shared.fs.remove_dir_all(&at(PURGED_MESSAGES)))
    }

    /// `then` is called in the same moment.
    fn start_over(
        &mut self,
        last: SeqTime,
        number: u32,
        marker: Vec<u8>,
        then: impl FnOnce(&mut Live),
    ) -> u64 {
        let key = self.shared.hash_key(number);
        self.tail = None;
        self.emptied.clear();
        self.uncompressed.clear();
        self.orphaned_keys.clear();
        self.shared.cache.clear();
        let mut live = self.shared.live.write();
        let taken = live.state.totals.messages;
        let behind = SeqTime {
            seq: last.seq + 1,
            timestamp_ns: 0,
        };
        live.state.blocks = vec![BlockState {
            number,
            first: behind,
            last,
            raw_bytes: marker.len() as u64,
            last_record_hash: marker.last_chunk().copied(),
            ..BlockState::default()
        }];
        live.state.last_block_number = number;
        let totals = &mut live.state.totals;
        (totals.messages, totals.bytes) = (0, 0);
        (totals.first, totals.last) = (behind, last);
        live.state.subjects = SubjectIndex::default();
        live.state.timers.clear_messages();
        live.tail = Some(Resident::index(marker, &key));
        then(&mut live);
        taken
    }

    /// Removes everything above `seq`, which becomes the last sequence: what comes next is stored as `seq + 1`.
    ///
    /// # Errors
    ///
    /// [`RemoveError::Range`] outside the stream's range, or in an empty stream.
    pub fn truncate(&mut self, seq: u64) -> Result<u64, RemoveError> {
        self.check()?;
        let totals = self.shared.live.read().state.totals;
        if totals.messages == 0 || seq < totals.first.seq || seq > totals.last.seq {
            return Err(RemoveError::Range {
                seq,
                first_seq: totals.first.seq,
                last_seq: totals.last.seq,
            });
        }
        if seq == totals.last.seq {
            return Ok(0);
        }
        self.begin()?;
        Ok(self.cut_behind(seq)?)
    }
}

impl From<ReadError> for RemoveError {
    fn from(error: ReadError) -> Self {
        RemoveError::Fault(WriterFault::Read(error))
    }
}
