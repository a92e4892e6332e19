//! Loading blocks: keys, content, index, and the rebuilding walk when they disagree.

use std::rc::Rc;

use super::{
    BlockId, IndexedBy, KeyVerdict, LOADED_MAX, Loaded, SimBlock, Simulation, block_path, key_path,
};
use crate::block::content::verifies;
use crate::block::slots::{self, IndexFault};
use crate::block::torn::torn_end;
use crate::block::walk::{Known, walk};
use crate::format::checksum::HashKey;
use crate::format::names;
use crate::format::record::{self, RecordFault, RecordRef, Run};
use crate::format::seqset::SeqSet;
use crate::recovery::fault::{Cause, Fault};
use crate::recovery::server::Quirk;
use crate::report::actions::ActionKind;
use crate::report::events::EventCode;
use crate::report::stream::Lost;

/// How often a block that does not index is walked and read again before the server gives up.
const LOAD_TRIES: u32 = 8;

/// The server lists lost sequences eight bytes each, in one piece; beyond this its memory is gone.
const LISTED_MAX: u64 = 1 << 30;

/// What looking a sequence up in a block gave.
#[derive(Debug)]
pub enum Lookup {
    /// The record, in this loaded block.
    Found(Rc<Loaded>, RecordRef),
    /// The sequence is deleted, or outside the block.
    Gone,
}

impl Simulation<'_> {
    /// The block at `at`, loaded and indexed; loads it if need be.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the block does not load. What the walk learnt meanwhile stays.
    pub fn load(&mut self, at: usize) -> Result<Rc<Loaded>, Fault> {
        let number = self.blocks[at].number;
        self.load_key(at)?;
        let empty_counts = self.rules.server.has(Quirk::EmptyTimersCounted);
        for _ in 0..LOAD_TRIES {
            if let Some(loaded) = self.loaded_at_hand(at).or_else(|| self.loaded_again(at)) {
                return Ok(loaded);
            }
            let pending = self.overlay.block(number).pending();
            let content = match self.overlay.content(number) {
                Ok(content) => content,
                Err(Cause::Missing) => {
                    let lost = self.rebuild(at)?;
                    if lost.is_some() {
                        self.late_rebuilds.push(lost);
                    }
                    return Err(Fault::block(number, Cause::Missing));
                }
                Err(cause) => return Err(Fault::block(number, cause)),
            };
            let block = &mut self.blocks[at];
            block.raw_bytes = content.file_length;
            block.compressed = content.compressed;
            let (first, last) = (block.first.seq, block.last.seq);
            let deleted_count = block.deleted.len();
            match slots::index(
                &content.bytes,
                first,
                last,
                &mut block.deleted,
                empty_counts,
            ) {
                Ok(index) => {
                    if block.deleted.len() != deleted_count {
                        self.surprises.note();
                    }
                    let settled = (block.deleted.len() == deleted_count).then_some(IndexedBy {
                        bounds: (first, last),
                        deleted_count,
                        raw_bytes: block.raw_bytes,
                        pending,
                    });
                    block.ttl_count = index.ttl_count;
                    block.schedule_count = index.schedule_count;
                    let id = block.id;
                    let loaded = Rc::new(Loaded {
                        content: content.bytes,
                        hash_key: HashKey::for_block(&self.rules.name, number),
                        index,
                        settled,
                    });
                    self.keep_loaded(id, Rc::clone(&loaded));
                    // An empty block, or one that went out of step, is indexed anew each time.
                    return Ok(loaded);
                }
                Err(fault) => {
                    self.note_index_fault(number, fault, first, last);
                    let lost = self.rebuild(at)?;
                    self.late_rebuilds.push(lost);
                }
            }
        }
        Err(Fault::block(number, Cause::Misaligned))
    }

    fn note_index_fault(&mut self, number: u32, fault: IndexFault, first: u64, last: u64) {
        let (code, offset, detail) = match fault {
            IndexFault::BadRange => (
                EventCode::CacheRangeCorrupt,
                None,
                format!("block {number} claims first {first} beyond last {last}"),
            ),
            IndexFault::BadRecord(offset) => (
                EventCode::CacheRecordCorrupt,
                Some(offset),
                format!("block {number} has a structurally bad record at offset {offset}"),
            ),
            IndexFault::Misaligned => (
                EventCode::CacheRangeCorrupt,
                None,
                format!(
                    "the records of block {number} disagree with the range {first}..{last} known of it"
                ),
            ),
        };
        self.block_event(code, number, offset, detail);
    }

    fn keep_loaded(&mut self, id: BlockId, loaded: Rc<Loaded>) {
        self.loaded.retain(|(known, _)| *known != id);
        while self.loaded.len() >= LOADED_MAX {
            self.loaded.remove(0);
        }
        self.loaded.push((id, loaded));
    }

    /// Forgets a loaded block: its file or its bounds changed.
    pub fn forget_loaded(&mut self, id: BlockId) {
        self.loaded.retain(|(known, _)| *known != id);
        self.removals.forget(id);
        self.forget_sound(id);
    }

    /// Forgets every loaded block.
    pub fn forget_all_loaded(&mut self) {
        self.loaded.clear();
        self.removals.forget_all();
    }

    /// A loaded block serves while its index covers exactly what the block says of itself now.
    pub fn loaded_at_hand(&self, at: usize) -> Option<Rc<Loaded>> {
        let block = &self.blocks[at];
        let (_, loaded) = self.loaded.iter().find(|(id, _)| *id == block.id)?;
        if loaded.index.first_seq == 0 || loaded.content.is_empty() {
            return None;
        }
        let covered = block.covered_from(loaded.index.first_seq);
        (covered == loaded.index.span).then(|| Rc::clone(loaded))
    }

    /// A block that went out of step is read and indexed anew for each message (H20, H37). Where nothing that goes into
    /// its index changed since the last time, what came of it then is what would come of it now.
    fn loaded_again(&mut self, at: usize) -> Option<Rc<Loaded>> {
        let block = &self.blocks[at];
        let (id, number) = (block.id, block.number);
        let (bounds, deleted_count) = ((block.first.seq, block.last.seq), block.deleted.len());
        let raw_bytes = block.raw_bytes;
        let (_, loaded) = self.loaded.iter().find(|(known, _)| *known == id)?;
        let loaded = Rc::clone(loaded);
        let now = IndexedBy {
            bounds,
            deleted_count,
            raw_bytes,
            pending: self.overlay.block(number).pending(),
        };
        if loaded.settled.as_ref() != Some(&now) {
            return None;
        }
        self.keep_loaded(id, Rc::clone(&loaded));
        Some(loaded)
    }

    /// Looks up a sequence of the block at `at`, loading it if need be, and verifies its record.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the block does not load or the message cannot be read.
    pub fn fetch(&mut self, at: usize, seq: u64) -> Result<Lookup, Fault> {
        let block = &self.blocks[at];
        if seq < block.first.seq || seq > block.last.seq || block.deleted.contains(seq) {
            return Ok(Lookup::Gone);
        }
        let loaded = self.load(at)?;
        self.lookup(at, &loaded, seq)
    }

    /// Looks up a sequence in a loaded block.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the message cannot be read.
    pub fn lookup(&self, at: usize, loaded: &Rc<Loaded>, seq: u64) -> Result<Lookup, Fault> {
        let block = &self.blocks[at];
        let empty = block.last.seq == block.first.seq.wrapping_sub(1);
        if empty || seq < block.first.seq || seq > block.last.seq || block.deleted.contains(seq) {
            return Ok(Lookup::Gone);
        }
        let Some(slot) = loaded.index.find(seq) else {
            self.surprises.note();
            return Ok(Lookup::Gone);
        };
        let offset = u64::from(slot.offset);
        let fault = |header_length| {
            self.surprises.note();
            Fault::block(
                block.number,
                Cause::BadMessage {
                    offset,
                    header_length,
                },
            )
            .with_seq(seq)
        };
        let record =
            record::parse_at(&loaded.content, slot.offset as usize).map_err(|_| fault(false))?;
        if !verifies(&record, &loaded.content, &loaded.hash_key) {
            return Err(fault(false));
        }
        if record.headers_and_body(&loaded.content).is_err() {
            return Err(fault(true));
        }
        if record.kind() == crate::format::record::RecordKind::Erased {
            self.surprises.note();
            return Ok(Lookup::Gone);
        }
        Ok(Lookup::Found(Rc::clone(loaded), record))
    }

    /// Walks the block at `at` anew, cutting its file at the first bad record. Returns what that
    /// lost; tombstones it met go to `self.tombstones` only where the caller asks
    /// ([`Simulation::rebuild_with_tombstones`]).
    ///
    /// # Errors
    ///
    /// [`Fault`]: the content cannot be had.
    pub fn rebuild(&mut self, at: usize) -> Result<Option<Lost>, Fault> {
        self.rebuild_with_tombstones(at).map(|(lost, _)| lost)
    }

    /// As [`Simulation::rebuild`], with the tombstones.
    ///
    /// # Errors
    ///
    /// As [`Simulation::rebuild`].
    pub fn rebuild_with_tombstones(
        &mut self,
        at: usize,
    ) -> Result<(Option<Lost>, Vec<u64>), Fault> {
        let block = &self.blocks[at];
        let (number, id) = (block.number, block.id);
        self.surprises.note();
        self.forget_loaded(id);
        let content = match self.overlay.content(number) {
            Ok(content) if !content.bytes.is_empty() || content.file_length > 0 => content,
            Ok(_) | Err(Cause::Missing) => return Ok((self.declare_empty(at)?, Vec::new())),
            Err(cause) => return Err(Fault::block(number, cause)),
        };
        let hash_key = self.hash_key(number);
        let block = &mut self.blocks[at];
        let known = Known {
            first_seq: block.first.seq,
            first_ts: block.first.timestamp_ns,
            last_seq: block.last.seq,
            deleted: std::mem::take(&mut block.deleted),
            rules: self.rules.server.walk_rules(),
        };
        let mut walked = walk(&content.bytes, &hash_key, known, &mut Run::new(), &mut ());
        let tombstones = std::mem::take(&mut walked.tombstones);
        let (fault, end, lost_range) = (walked.fault.take(), walked.end, walked.lost.take());
        block.take_walk(walked, content.bytes.len() as u64);
        let Some(fault) = fault else {
            return Ok((None, tombstones));
        };
        let lost_bytes = (content.bytes.len() as u64).saturating_sub(end);
        self.cut(number, end, content.compressed, &fault);
        let seqs = lost_range
            .map(|(from, to)| (from..=to).collect())
            .unwrap_or_default();
        Ok((
            Some(Lost {
                seqs,
                bytes: lost_bytes,
            }),
            tombstones,
        ))
    }

    /// Cuts a block's file at a decoded offset, as the server does, whatever the file's form.
    pub fn cut(&mut self, number: u32, offset: u64, compressed: bool, fault: &RecordFault) {
        let is_torn_end = !compressed && self.is_torn_end(number, fault);
        self.note_loss(is_torn_end);
        let why = fault.to_string();
        self.block_event(EventCode::BlockBadRecord, number, Some(offset), why.clone());
        self.action(
            ActionKind::TruncateBlock,
            block_path(number),
            Some(offset),
            why,
        );
        self.forget_all_loaded();
        let file = self.overlay.block(number);
        if file.pieces.is_some() || !file.appended.is_empty() || file.encrypt_anew.is_some() {
            // A rewritten or extended block is plain in the overlay: cut what it will hold.
            self.cut_pending(number, offset);
            return;
        }
        if compressed && offset > 0 {
            self.block_event(
                EventCode::BlockTruncateSkipped,
                number,
                Some(offset),
                "the server would cut the compressed file at the decoded offset and so destroy it",
            );
        }
        let file = self.overlay.block(number);
        file.set_length = Some(offset);
        file.cut_compressed = (compressed && offset > 0).then_some(offset);
    }

    /// Messages go although nothing asked for it, or no more than the end of an interrupted write.
    pub fn note_loss(&mut self, is_torn_end: bool) {
        self.ends_torn = is_torn_end && !self.lossy;
        self.lossy = true;
    }

    fn is_torn_end(&mut self, number: u32, fault: &RecordFault) -> bool {
        let listed = self
            .overlay
            .files
            .list(self.overlay.msgs)
            .unwrap_or_default();
        let numbers = listed
            .iter()
            .filter_map(|entry| names::block_number(entry.name.as_encoded_bytes()));
        // Only the last block was being written.
        if numbers.max() != Some(number) {
            return false;
        }
        let hash_key = self.hash_key(number);
        let content = self.overlay.content(number);
        content.is_ok_and(|content| torn_end(&content.bytes, fault, &hash_key).is_some())
    }

    fn cut_pending(&mut self, number: u32, offset: u64) {
        use crate::report::actions::Piece;
        let Ok(content) = self.overlay.content(number) else {
            return;
        };
        let keep = content
            .bytes
            .get(..offset as usize)
            .unwrap_or(&content.bytes)
            .to_vec();
        let file = self.overlay.block(number);
        file.pieces = Some(vec![Piece::Literal(keep)]);
        file.appended.clear();
    }

    /// A block whose file is gone or empty: everything it held is lost, its place is kept.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the index claims so many messages that the server dies listing them.
    fn declare_empty(&mut self, at: usize) -> Result<Option<Lost>, Fault> {
        let block = &mut self.blocks[at];
        if block.message_count == 0 {
            return Ok(None);
        }
        let span = block.last.seq.saturating_sub(block.first.seq);
        let claimed = block.message_count.max(span);
        if claimed > LISTED_MAX {
            let detail = format!(
                "the index claims {claimed} messages for it, more than the server can list as lost"
            );
            return Err(Fault::block(block.number, Cause::Other(detail)));
        }
        let mut seqs = Vec::new();
        if block.first.seq <= block.last.seq {
            seqs.extend(
                (block.first.seq..=block.last.seq).filter(|seq| !block.deleted.contains(*seq)),
            );
        }
        let lost = Lost {
            seqs,
            bytes: block.live_bytes,
        };
        block.message_count = 0;
        block.live_bytes = 0;
        block.raw_bytes = 0;
        block.deleted = SeqSet::new();
        block.first.seq = block.last.seq.wrapping_add(1);
        self.note_loss(false);
        Ok(Some(lost))
    }

    /// Makes sure the key of the block at `at` is known, converting the block where its key calls
    /// for it.
    ///
    /// # Errors
    ///
    /// [`Fault`] with [`Cause::KeySize`] or [`Cause::KeyInvalid`], or what the conversion met.
    pub fn load_key(&mut self, at: usize) -> Result<(), Fault> {
        let block = &self.blocks[at];
        let number = block.number;
        let file = self.overlay.block(number);
        if file.key.is_some() || file.key_in_vain {
            return Ok(());
        }
        let key = self
            .overlay
            .block_key(number)
            .map_err(|cause| Fault::block(number, cause))?;
        match key {
            KeyVerdict::None => Ok(()),
            KeyVerdict::Opened(opened) if !opened.converting => Ok(()),
            KeyVerdict::Opened(_) => self.convert(at, false),
            KeyVerdict::Absent => self.convert(at, true),
        }
    }

    /// Walks a block under its old key (or none), without cutting, and marks it to be written under
    /// a fresh one. A conversion that fails leaves the block's key unknown, as the server does.
    fn convert(&mut self, at: usize, from_plain: bool) -> Result<(), Fault> {
        let number = self.blocks[at].number;
        let result = self.convert_inner(at, from_plain);
        match &result {
            Ok(()) => {
                let (code, kind, detail) = if from_plain {
                    (
                        EventCode::BlockEncrypted,
                        ActionKind::EncryptBlock,
                        "the block is plain and a key is configured",
                    )
                } else {
                    (
                        EventCode::BlockRekeyed,
                        ActionKind::RekeyBlock,
                        "the block is under an old key or another cipher",
                    )
                };
                self.block_event(code, number, None, detail);
                self.action(ActionKind::CreateKey, key_path(number), None, detail);
                self.action(kind, block_path(number), None, detail);
                let block = &mut self.blocks[at];
                block.key_is_fresh = true;
            }
            Err(_) if from_plain => {
                let detail =
                    "the server leaves a fresh key beside a block that is not encrypted under it";
                self.block_event(EventCode::BlockKeyCreated, number, None, detail);
                self.overlay.block(number).key_in_vain = true;
            }
            Err(_) => {}
        }
        result
    }

    fn convert_inner(&mut self, at: usize, from_plain: bool) -> Result<(), Fault> {
        let number = self.blocks[at].number;
        let content = match self.overlay.content(number) {
            Ok(content) => content,
            // The reference ignores a failed read when it changes ciphers and goes on with nothing.
            Err(Cause::Missing | Cause::Io(_)) if !from_plain => super::overlay::Content {
                bytes: Vec::new(),
                file_length: 0,
                compressed: false,
                tail: [0; 8],
            },
            Err(cause) => return Err(Fault::block(number, cause)),
        };
        let hash_key = self.hash_key(number);
        // The block is from now on what this walk makes of it.
        self.surprises.note();
        let block = &mut self.blocks[at];
        convert_check(block, &content.bytes, &hash_key)
            .map_err(|cause| Fault::block(number, cause))?;
        let file = self.overlay.block(number);
        file.encrypt_anew = Some(from_plain);
        file.content_length = content.bytes.len() as u64;
        Ok(())
    }
}

/// What the server demands of a block before it writes it under another key: that it walks without a
/// fault and indexes. The block takes over the walk's state either way.
pub fn convert_check(
    block: &mut SimBlock,
    content: &[u8],
    hash_key: &HashKey,
) -> Result<(), Cause> {
    let known = Known {
        first_seq: block.first.seq,
        first_ts: block.first.timestamp_ns,
        last_seq: block.last.seq,
        deleted: std::mem::take(&mut block.deleted),
        ..Known::default()
    };
    let mut walked = walk(content, hash_key, known, &mut Run::new(), &mut ());
    let fault = walked.fault.take();
    block.take_walk(walked, content.len() as u64);
    if let Some(fault) = fault {
        return Err(Cause::BadRecord(fault));
    }
    let (first, last) = (block.first.seq, block.last.seq);
    slots::index(content, first, last, &mut block.deleted, true)
        .map(|_| ())
        .map_err(|_| Cause::Misaligned)
}
