//! Which live messages of a store cannot be read, and the digest of the others.

use super::super::judge::deleted_of;
use super::super::simulate::{SimBlock, Simulation};
use super::{Verifier, View, replay};
use crate::report::events::Event;
use crate::report::stream::Source;
use crate::report::{Phase, Progress, Watch};

/// Deleted sequences of one block that are looked at one by one.
const DELETED_LISTED_MAX: usize = 1 << 20;

/// Where the totals leave no room for deleted sequences, those that are deleted all the same count
/// as live and cannot be read.
fn add_uncounted(sim: &Simulation<'_>, unreadable: &mut Vec<u64>) {
    let (first, last) = (sim.totals.first.seq, sim.totals.last.seq);
    if last < first || sim.totals.messages <= last - first {
        return;
    }
    for (at, block) in sim.blocks.iter().enumerate() {
        let deleted = block.deleted.spans().flatten().take(DELETED_LISTED_MAX);
        let within = |seq: &u64| (first..=last).contains(seq) && sim.select_block(*seq) == Some(at);
        unreadable.extend(deleted.filter(within));
    }
    unreadable.sort_unstable();
    unreadable.dedup();
}

/// The steps behind the open call: which live messages cannot be read, and the digest of the others.
///
/// With `quick`, blocks that nothing has read so far are believed.
pub fn read_everything(
    sim: &mut Simulation<'_>,
    source: Source,
    quick: bool,
    digest: bool,
    threads: usize,
    watch: &Watch<'_>,
) -> (Vec<u64>, Option<[u8; 32]>) {
    let mut unreadable = std::mem::take(&mut sim.unreadable);
    let mut read = ReadBlocks::default();
    if !quick {
        let is_unread =
            |block: &&SimBlock| source == Source::Index || sim.unverified.contains(&block.number);
        let unread: Vec<SimBlock> = sim.blocks.iter().filter(is_unread).cloned().collect();
        // Where all are to be read, once is enough for both.
        read = match digest && unread.len() == sim.blocks.len() {
            true => digest_all(sim, threads, watch),
            false => verify(sim, &unread, threads, watch),
        };
        unreadable.append(&mut read.unreadable);
        sim.outlived |= read.outlived;
        sim.events.append(&mut read.events);
    }
    add_uncounted(sim, &mut unreadable);
    if !quick
        && (read.shifts || !unreadable.is_empty())
        && let Some(replayed) = replay(sim, &deleted_of(sim).1)
    {
        return (replayed.unreadable, digest.then_some(replayed.digest));
    }
    unreadable.retain(|seq| sim.holds(*seq));
    if digest && read.digest.is_none() {
        read.digest = digest_all(sim, threads, watch).digest;
    }
    (unreadable, read.digest)
}

/// What reading blocks came to.
#[derive(Default)]
struct ReadBlocks {
    /// What cannot be read.
    unreadable: Vec<u64>,
    /// Whether reading changes what later reads find.
    shifts: bool,
    /// The digest of all, where it was made.
    digest: Option<[u8; 32]>,
    /// Whether a message was read whose own time to live is over.
    outlived: bool,
    events: Vec<Event>,
}

impl ReadBlocks {
    fn take(&mut self, view: View) {
        self.shifts |= view.shifts;
        self.outlived |= view.outlived;
        self.unreadable.extend(view.unreadable);
        self.events.extend(view.events);
    }
}

/// Verifies every record of `blocks`, which nothing has read so far.
fn verify(
    sim: &Simulation<'_>,
    blocks: &[SimBlock],
    threads: usize,
    watch: &Watch<'_>,
) -> ReadBlocks {
    let done = |done| verified(watch, done, blocks.len());
    let mut read = ReadBlocks::default();
    let views = Verifier::new(sim).verify_all(blocks, threads, &done, watch.cancel);
    views.into_iter().for_each(|view| read.take(view));
    read.unreadable.sort_unstable();
    read
}

/// Verifies every record of all blocks and makes the digest.
fn digest_all(sim: &Simulation<'_>, threads: usize, watch: &Watch<'_>) -> ReadBlocks {
    let deleted = deleted_of(sim).1;
    let mut read = ReadBlocks::default();
    let mut done = 0;
    let digest = Verifier::new(sim).digest(sim, &deleted, threads, watch.cancel, |view| {
        read.take(view);
        done += 1;
        verified(watch, done, sim.blocks.len());
    });
    read.digest = Some(digest);
    read.unreadable.sort_unstable();
    read
}

fn verified(watch: &Watch<'_>, done: usize, total: usize) {
    (watch.progress)(Progress {
        phase: Phase::Verify,
        done: done as u64,
        total: total as u64,
    });
}
