//! The store as recovery holds it: a simulation of what the server would have in memory, worked on
//! step by step, while the disk stays as it is.
//!
//! Every step that would change a file changes the [`Overlay`] instead, an overlay of pending changes
//! over the files. Steps that read a block read it through that overlay. So the whole judgement
//! can be made, printed and refused before a byte moves.

mod age;
mod foretell;
mod limits;
mod load;
mod overlay;
mod persist;
mod purge;
mod removal_batch;
mod remove;
mod sound;
mod steps;
mod tombstones;

use crate::format::names::BlockFile;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::block::slots::BlockIndex;
use crate::block::walk::Walked;
use crate::format::checksum::HashKey;
use crate::format::seqset::SeqSet;
use crate::state::{BlockState, SeqTime, StreamState, SubjectIndex, Timers, Totals};

use foretell::Foretold;
pub use load::{Lookup, convert_check};
pub use overlay::{KeyVerdict, Overlay, Pending, PendingFile, StreamKeys};
use removal_batch::RemovalBatch;
pub use remove::on_disk;
pub use sound::SoundBlock;
use steps::Surprises;

use super::fault::Fault;
use super::server::{Quirk, ServerBehavior};
use crate::report::actions::{Action, ActionKind};
use crate::report::events::{Event, EventCode};
use crate::report::stream::Lost;

/// What of the configuration recovery goes by, resolved.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What the server does.
    pub server: ServerBehavior,
    /// Stream name.
    pub name: Vec<u8>,
    /// Whether subjects are tracked whatever the index says: subjects, a mirror or sources are
    /// configured.
    pub tracks_subjects: bool,
    /// Whether excess old messages are dropped (discard old).
    pub discard_old: bool,
    /// Limit on messages, 0 for none.
    pub max_messages: u64,
    /// Limit on bytes, 0 for none.
    pub max_bytes: u64,
    /// Limit on messages per subject, 0 for none.
    pub max_messages_per_subject: u64,
    /// Age limit in nanoseconds, 0 for none.
    pub max_age_ns: i64,
    /// Whether delete markers are configured: age is then left alone at open.
    pub delete_markers: bool,
    /// Configured first sequence, 0 for none.
    pub first_seq: u64,
    /// Whether writes are flushed asynchronously (replicas, or persist mode async).
    pub async_flush: bool,
    /// How large a block may grow.
    pub block_size: u64,
    /// Clock for age decisions.
    pub now_ns: i64,
    /// Whether age expiry is applied.
    pub expire: bool,
    /// Whether limits are enforced.
    pub limits: bool,
}

/// Identity of a block in the simulation: numbers can repeat, positions move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BlockId(u32);

/// A block in the simulation: its state, and what only the open call knows of it.
#[derive(Debug, Clone, Default)]
pub struct SimBlock {
    /// Identity.
    pub id: BlockId,
    /// What the block is.
    pub state: BlockState,
    /// Whether its subjects go untracked.
    pub untracked: bool,
    /// Whether its key was made by this very open, and goes with the block.
    pub key_is_fresh: bool,
    /// Whether the block is gone.
    pub closed: bool,
}

impl Deref for SimBlock {
    type Target = BlockState;

    fn deref(&self) -> &BlockState {
        &self.state
    }
}

impl DerefMut for SimBlock {
    fn deref_mut(&mut self) -> &mut BlockState {
        &mut self.state
    }
}

impl SimBlock {
    /// Positions its accounts cover, counted from `first_seq`, the first position of an index made of it.
    fn covered_from(&self, first_seq: u64) -> u64 {
        self.message_count
            .wrapping_add(self.deleted.len())
            .wrapping_add(self.first.seq.wrapping_sub(first_seq))
    }

    /// Takes over what a walk found.
    pub fn take_walk(&mut self, walked: Walked, raw_bytes: u64) {
        let state = &mut self.state;
        state.first = SeqTime {
            seq: walked.first_seq,
            timestamp_ns: walked.first_ts,
        };
        state.last = SeqTime {
            seq: walked.last_seq,
            timestamp_ns: walked.last_ts,
        };
        state.message_count = walked.messages;
        state.live_bytes = walked.bytes;
        state.deleted = walked.deleted;
        state.raw_bytes = raw_bytes;
        if walked.checksum.is_some() {
            state.last_record_hash = walked.checksum;
        }
    }
}

/// A loaded block.
#[derive(Debug)]
pub struct Loaded {
    /// Decoded content.
    pub content: Vec<u8>,
    /// The key of its records' hashes.
    pub hash_key: HashKey,
    /// Its index.
    pub index: BlockIndex,
    /// What it was indexed by, where that left the block's deleted set as it was: doing it again gives the same.
    pub settled: Option<IndexedBy>,
}

/// What an index of a block depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedBy {
    /// First and last sequence the block claims.
    pub bounds: (u64, u64),
    /// Its deleted sequences.
    pub deleted_count: u64,
    /// Its raw size.
    pub raw_bytes: u64,
    /// What is pending for its file.
    pub pending: Pending,
}

/// Loaded blocks kept at hand. Two are enough for the ways recovery walks a store.
const LOADED_MAX: usize = 2;

/// The store.
pub struct Simulation<'a> {
    /// Configuration.
    pub rules: Rules,
    /// The files, with what is about to change.
    pub overlay: Overlay<'a>,
    /// Blocks in order.
    pub blocks: Vec<SimBlock>,
    /// Number of the block object that was last in line, even after it is gone: the next block's
    /// number follows it.
    pub active: Option<(BlockId, u32)>,
    /// Totals.
    pub totals: Totals,
    /// Subject index.
    pub subjects: SubjectIndex,
    /// What is lost.
    pub lost: Option<Lost>,
    /// Collected tombstones, in order.
    pub tombstones: Vec<u64>,
    /// Whether `index.db` has to be written.
    pub dirty: bool,
    /// TTL wheel, schedules, source positions.
    pub timers: Timers,
    /// What was seen.
    pub events: Vec<Event>,
    /// What was decided.
    pub actions: Vec<Action>,
    /// Messages that this recovery takes away although nothing asked for it.
    pub lossy: bool,
    /// All that is lost is the end of the last block, as an interrupted write leaves it.
    pub ends_torn: bool,
    /// Live sequences that cannot be read although recovery passes them.
    pub unreadable: Vec<u64>,
    /// Whether a message was read whose own time to live is over.
    pub outlived: bool,
    /// Blocks that lie under the configured key, and those that another opened and that are put under it.
    pub keyed: (u32, u32),
    /// Blocks taken on the word of a legacy index, their records not looked at.
    pub unverified: Vec<u32>,
    /// Whether the changes will be carried out.
    pub wants_changes: bool,
    /// Threads for what is done side by side.
    pub threads: usize,
    /// The sequences in `tombstones`, where a scan put them together.
    pub gone: Option<SeqSet>,
    /// Blocks that are what their scan found them to be, by identity.
    sound: FxHashMap<BlockId, SoundBlock>,
    /// Subjects of blocks that are about to go.
    foretold: Foretold,
    next_id: u32,
    loaded: Vec<(BlockId, Rc<Loaded>)>,
    /// What is about to be taken away.
    removals: RemovalBatch,
    /// Rebuilds the server does on the side while it opens; they count once the open is through.
    late_rebuilds: Vec<Option<Lost>>,
    surprises: Surprises,
    /// The last block of a sound index, and the hash that its file ends in.
    pub index_tail: Option<(BlockId, [u8; 8])>,
}

impl<'a> Simulation<'a> {
    /// An empty store over `disk`.
    pub fn new(rules: Rules, overlay: Overlay<'a>) -> Self {
        Simulation {
            rules,
            overlay,
            blocks: Vec::new(),
            active: None,
            totals: Totals::default(),
            subjects: SubjectIndex::default(),
            lost: None,
            tombstones: Vec::new(),
            dirty: false,
            timers: Timers::default(),
            events: Vec::new(),
            actions: Vec::new(),
            lossy: false,
            ends_torn: false,
            unreadable: Vec::new(),
            outlived: false,
            keyed: (0, 0),
            unverified: Vec::new(),
            wants_changes: false,
            threads: 1,
            gone: None,
            sound: FxHashMap::default(),
            foretold: Foretold::default(),
            next_id: 0,
            loaded: Vec::new(),
            removals: RemovalBatch::default(),
            late_rebuilds: Vec::new(),
            surprises: Surprises::default(),
            index_tail: None,
        }
    }

    /// The hash key of block `number`.
    pub fn hash_key(&self, number: u32) -> HashKey {
        HashKey::for_block(&self.rules.name, number)
    }

    /// Whether a block made now leaves its subjects untracked.
    pub fn untracked_now(&self) -> bool {
        !self.rules.tracks_subjects && self.subjects.is_empty()
    }

    /// A fresh block object.
    pub fn new_block(&mut self, number: u32) -> SimBlock {
        self.next_id += 1;
        SimBlock {
            id: BlockId(self.next_id),
            state: BlockState {
                number,
                ..BlockState::default()
            },
            untracked: self.untracked_now(),
            ..SimBlock::default()
        }
    }

    /// Adds a block at the end; it becomes the active one.
    pub fn add_block(&mut self, block: SimBlock) {
        self.active = Some((block.id, block.number));
        self.blocks.push(block);
    }

    /// Position of the block with this identity.
    pub fn position(&self, id: BlockId) -> Option<usize> {
        self.blocks.iter().position(|block| block.id == id)
    }

    /// Whether the block at `at` is the active one.
    pub fn is_active(&self, at: usize) -> bool {
        let id = self.blocks[at].id;
        self.active.is_some_and(|(active, _)| active == id)
    }

    /// The block a sequence would be found in, as the server selects it: by last sequence, in line
    /// for few blocks and by bisection for many.
    pub fn select_block(&self, seq: u64) -> Option<usize> {
        const BISECT_FROM: usize = 33;
        let totals = &self.totals;
        if seq < totals.first.seq || seq > totals.last.seq || totals.messages == 0 {
            return None;
        }
        if self.blocks.len() < BISECT_FROM {
            return self.blocks.iter().position(|block| seq <= block.last.seq);
        }
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = (low + high - 1) / 2;
            let block = &self.blocks[middle];
            if seq > block.last.seq {
                low = middle + 1;
            } else if seq < block.first.seq {
                let before = middle.checked_sub(1).map(|at| &self.blocks[at]);
                if before.is_none_or(|before| seq > before.last.seq) {
                    return Some(middle);
                }
                high = middle;
            } else {
                return Some(middle);
            }
        }
        None
    }

    /// Adds lost data the way the server does: bytes count only with a sequence not yet listed.
    pub fn add_lost(&mut self, added: Lost) {
        let Some(lost) = &mut self.lost else {
            self.lost = Some(added);
            return;
        };
        let before = lost.seqs.len();
        lost.seqs.extend(added.seqs);
        lost.seqs.sort_unstable();
        lost.seqs.dedup();
        if lost.seqs.len() > before {
            lost.bytes += added.bytes;
        }
    }

    /// Takes a sequence off the lost list; an emptied list is no list.
    pub fn drop_lost(&mut self, seq: u64) {
        let Some(lost) = &mut self.lost else { return };
        if let Ok(at) = lost.seqs.binary_search(&seq) {
            lost.seqs.remove(at);
            if lost.seqs.is_empty() {
                self.lost = None;
            }
        }
    }

    /// Recomputes the stream totals from the blocks.
    pub fn recompute_totals(&mut self) {
        let mut totals = Totals {
            first: SeqTime {
                seq: 0,
                ..self.totals.first
            },
            last: SeqTime {
                seq: 0,
                ..self.totals.last
            },
            ..Totals::default()
        };
        for block in &self.blocks {
            totals.messages = totals.messages.wrapping_add(block.message_count);
            totals.bytes = totals.bytes.wrapping_add(block.live_bytes);
            if totals.first.seq == 0
                || (block.first.seq < totals.first.seq && block.first.timestamp_ns != 0)
            {
                totals.first = block.first;
            }
            if block.last.seq >= totals.last.seq {
                totals.last = block.last;
            }
        }
        self.totals = totals;
    }

    /// A copy to read messages in: reading may walk and cut blocks, and that is not to be reported as
    /// recovery's doing.
    pub fn reading_copy(&self) -> Simulation<'a> {
        let mut copy = Simulation::new(self.rules.clone(), self.overlay.clone());
        copy.blocks.clone_from(&self.blocks);
        copy.active = self.active;
        copy.totals = self.totals;
        copy
    }

    /// Gives the index up: everything it set goes but what is lost; its totals are handed back.
    pub fn start_over(&mut self) -> Totals {
        self.subjects.clear();
        self.blocks.clear();
        self.forget_all_loaded();
        self.sound.clear();
        self.gone = None;
        self.late_rebuilds.clear();
        std::mem::take(&mut self.totals)
    }

    /// What the stream is by now.
    pub fn into_state(mut self) -> StreamState {
        if let Some((id, hash)) = self.index_tail
            && let Some(last) = self.blocks.last_mut().filter(|block| block.id == id)
            && last.last_record_hash.is_none()
            && !self.overlay.changes(last.number)
        {
            last.last_record_hash = Some(hash);
        }
        StreamState {
            last_block_number: self.active.map_or(0, |(_, number)| number),
            blocks: self.blocks.into_iter().map(|block| block.state).collect(),
            totals: self.totals,
            tracks_subjects: self.rules.tracks_subjects || !self.subjects.is_empty(),
            subjects: self.subjects,
            timers: self.timers,
            lost: self.lost,
        }
    }

    /// What the server rebuilds on the side counts once its open call is through.
    pub fn apply_late_rebuilds(&mut self) {
        for lost in std::mem::take(&mut self.late_rebuilds) {
            if let Some(lost) = lost {
                self.add_lost(lost);
            }
            self.recompute_totals();
        }
    }

    /// Whether the state counts `seq` as live.
    pub fn holds(&self, seq: u64) -> bool {
        self.select_block(seq)
            .is_some_and(|at| self.blocks[at].holds(seq))
    }

    /// What a step makes of a message or block that cannot be read: today's server gives the open up, older ones pass it over.
    ///
    /// # Errors
    ///
    /// `fault`, where the open ends with it.
    pub fn pass_over<T>(&mut self, step: Result<T, Fault>) -> Result<Option<T>, Fault> {
        let fault = match step {
            Ok(found) => return Ok(Some(found)),
            Err(fault) if self.rules.server.has(Quirk::LateFaultEnds) => return Err(fault),
            Err(fault) => fault,
        };
        let mut event = Event::new(
            EventCode::RecordUnreadable,
            format!("{fault}; it is passed over"),
        );
        event.file = fault.file();
        event.offset = fault.offset();
        event.seq = fault.seq;
        self.events.push(event);
        Ok(None)
    }

    /// Whether the stream begins below its configured first sequence, which purges it.
    pub fn starts_too_low(&self, first_seq: u64) -> bool {
        let configured = self.rules.first_seq;
        configured > 0
            && self.rules.server.has(Quirk::FirstSeq)
            && (first_seq < configured
                || first_seq == configured && !self.rules.server.has(Quirk::FirstSeqExact))
    }

    /// Notes an event.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Notes an event about a block.
    pub fn block_event(
        &mut self,
        code: EventCode,
        number: u32,
        offset: Option<u64>,
        detail: impl Into<String>,
    ) {
        let mut event = Event::new(code, detail).file(block_path(number));
        event.offset = offset;
        self.events.push(event);
    }

    /// Notes an action.
    pub fn action(
        &mut self,
        kind: ActionKind,
        file: impl Into<String>,
        offset: Option<u64>,
        detail: impl Into<String>,
    ) {
        self.actions.push(Action {
            kind,
            file: file.into(),
            offset,
            detail: detail.into(),
        });
    }
}

/// `msgs/N.blk`.
pub fn block_path(number: u32) -> String {
    BlockFile::Block.path(number)
}

/// `msgs/N.key`.
pub fn key_path(number: u32) -> String {
    BlockFile::Key.path(number)
}

#[cfg(test)]
mod tests;
