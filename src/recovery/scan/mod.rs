//! The parallel scan: every block read once, each giving everything recovery wants of it.
//!
//! Threads take blocks off a shared counter, so that a slow block holds nobody up; results are put
//! in block order, so that any number of threads gives the same answer. A plainly sound block is walked in windows
//! ([`plain`]); whatever else is read whole ([`whole`]), into two buffers of one block each that a thread owns. Memory
//! does not grow with the store but by what a [`BlockScan`] keeps.

mod again;
mod plain;
mod reader;
mod scanner;
mod whole;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

pub use again::{Again, LiveBlock, Revisited};
use scanner::BlockScanner;

use super::fault::Cause;
use super::server::ServerBehavior;
use super::simulate::{KeyVerdict, StreamKeys};
use super::walked::WalkedBlock;
use crate::block::scan::{BlockScan, ScanWish, Taken};
use crate::block::walk::Walked;
use crate::format::seqset::SeqSet;
use crate::parallel::Crew;
use crate::state::{BlockState, SubjectIndex};
use crate::stream::files::StreamFiles;

/// What the scan goes by.
#[derive(Clone, Copy)]
pub struct ScanRules<'a> {
    /// The files.
    pub files: StreamFiles<'a>,
    /// Where the blocks lie.
    pub msgs: &'a str,
    /// Keys.
    pub keys: StreamKeys<'a>,
    /// Whether subjects are tracked.
    pub tracked: bool,
    /// Threads.
    pub threads: usize,
    /// Whether plain blocks are mapped.
    pub map_files: bool,
    /// A plain block beside which the server has put a key by then (H6).
    pub noise: Option<u32>,
    /// A block that was put under another key while the index was held against it.
    pub converted: Option<u32>,
    /// What the server does.
    pub server: ServerBehavior,
    /// Blocks that are not read again, their subjects already in the table.
    pub walked: &'a BTreeMap<u32, WalkedBlock>,
    /// What is kept of messages.
    pub wish: ScanWish,
    /// Whether every block is read whole, and nothing is kept of its messages.
    pub careful: bool,
}

/// One block, scanned.
#[derive(Debug)]
pub struct Scanned {
    /// Its number.
    pub number: u32,
    /// The outcome.
    pub outcome: Result<ScannedBlock, ScanFault>,
}

/// Why a block could not be scanned.
#[derive(Debug, Clone)]
pub struct ScanFault {
    /// What went wrong.
    pub cause: Cause,
    /// Whether the server has put a fresh key beside the block by then (H5, H6).
    pub key_created: bool,
}

/// What a block's records say.
#[derive(Debug)]
pub struct ScannedBlock {
    /// Its key.
    pub key: KeyVerdict,
    /// Whether it has to be written under a fresh key; `true` where it was plain.
    pub encrypt_anew: Option<bool>,
    /// The walk.
    pub walked: Walked,
    /// What a legacy index said, where there is one.
    pub legacy: Option<LegacyVerdict>,
    /// Length of the file.
    pub file_length: u64,
    /// Length of the decoded content.
    pub content_length: u64,
    /// Whether the file is compressed.
    pub compressed: bool,
    /// Records with a TTL header.
    pub ttl_count: u64,
    /// Records with a schedule header.
    pub schedule_count: u64,
    /// Live messages whose header length is bad: sequence and offset.
    pub bad_headers: Vec<(u64, u64)>,
    /// Whether indexing the block as walked would fail, so that it has to be loaded the slow way.
    pub misaligned: bool,
    /// What the scan told of its messages, where it is plainly sound: later steps need not read it.
    pub scan: Option<BlockScan>,
    /// What two readings of the block gave, where they gave different things.
    pub reads_differ: Option<String>,
}

/// What the legacy index of a block came to.
#[derive(Debug, Clone)]
pub struct LegacyVerdict {
    /// It stands for the block, which is then not walked.
    pub accepted: bool,
    /// The server removes the file at once.
    pub removed: bool,
    /// The state it gives.
    pub state: BlockState,
    /// It is whole, and older than its block.
    pub stale: bool,
    /// Why it does not stand.
    pub detail: String,
}

/// What a scan of several blocks came to.
#[derive(Debug, Default)]
pub struct ScannedBlocks {
    /// The blocks, in the order of their numbers.
    pub blocks: Vec<Scanned>,
    /// The sequences that their tombstones name.
    pub gone: SeqSet,
    /// How many tombstones those are.
    pub tombstone_count: u64,
}

impl ScannedBlocks {
    /// Adds what another scan came to.
    pub fn append(&mut self, other: ScannedBlocks) {
        self.blocks.extend(other.blocks);
        self.blocks.sort_by_key(|scanned| scanned.number);
        self.gone.union_with(&other.gone);
        self.tombstone_count += other.tombstone_count;
    }
}

/// What the threads of a scan share.
struct Shared<'a> {
    subjects: &'a SubjectIndex,
    gone: RwLock<SeqSet>,
    tombstone_count: AtomicU64,
    results: Mutex<Vec<Option<Scanned>>>,
}

impl Shared<'_> {
    /// Makes the tombstones of a block known to all threads.
    fn publish(&self, tombstones: &[u64]) {
        if tombstones.is_empty() {
            return;
        }
        let mut own = SeqSet::new();
        for seq in tombstones {
            own.insert(*seq);
        }
        self.gone.write().union_with(&own);
        let count = tombstones.len() as u64;
        self.tombstone_count.fetch_add(count, Ordering::Relaxed);
    }

    fn put(&self, at: usize, scanned: Scanned) {
        if let Some(slot) = self.results.lock().get_mut(at) {
            *slot = Some(scanned);
        }
    }

    /// Notes what tombstones take of a block whose result is there already.
    fn note_taken(&self, at: usize, taken: Option<Taken>) {
        if let Some(Some(Scanned {
            outcome: Ok(found), ..
        })) = self.results.lock().get_mut(at)
            && let Some(scan) = &mut found.scan
        {
            scan.taken = taken;
        }
    }
}

/// Scans blocks side by side. `subjects` receives the totals of every block that verifies; `done` is
/// called with the number of blocks finished; a set `cancel` ends the scan early.
pub fn scan_blocks(
    rules: ScanRules<'_>,
    numbers: &[u32],
    subjects: &SubjectIndex,
    done: &(dyn Fn(usize) + Sync),
    cancel: &AtomicBool,
) -> ScannedBlocks {
    let shared = Shared {
        subjects,
        gone: RwLock::default(),
        tombstone_count: AtomicU64::new(0),
        results: Mutex::new((0..numbers.len()).map(|_| None).collect()),
    };
    // A tombstone lies behind what it takes: from the last block to the first it is known in time.
    let order: Vec<(usize, u32)> = numbers.iter().copied().enumerate().rev().collect();
    let crew = Crew::of(rules.threads).until(cancel).telling(done);
    let worker = || BlockScanner::new(rules, &shared);
    let scanned: Result<_, Infallible> = crew.map_with(&order, worker, |scanner, (at, number)| {
        scanner.take(*at, *number);
        Ok(())
    });
    let Ok((_, scanners)) = scanned;
    let mut counted = Vec::new();
    for mut scanner in scanners {
        scanner.settle_pending();
        counted.push(scanner.into_subjects());
    }
    subjects.take_all(counted);
    ScannedBlocks {
        blocks: shared.results.into_inner().into_iter().flatten().collect(),
        gone: shared.gone.into_inner(),
        tombstone_count: shared.tombstone_count.into_inner(),
    }
}
