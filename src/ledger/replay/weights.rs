//! What the live messages of a replay weigh: to the byte where their records are there, between bounds where they are not.
//!
//! `index.db` has the bytes of each block's live messages. So what has no record any more weighs together what the records that
//! are there leave of that; it is only while some of a block's went and others did not that bounds are all there is.

use rustc_hash::FxHashMap;

use super::Checkpoint;
use crate::format::seqset::SeqSet;
use crate::format::sets::{difference, within};

/// What an index says of one block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListedBlock {
    /// First sequence.
    pub first: u64,
    /// Last sequence.
    pub last: u64,
    /// Bytes of its live messages.
    pub bytes: u64,
}

/// Messages without a record whose sum is known.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    first: u64,
    last: u64,
    /// Of all that were in it.
    sum: u64,
    live: u64,
    taken: u64,
}

/// Messages that hidden tombstones may have taken.
#[derive(Debug, Clone, Copy)]
struct Veil {
    most: u64,
    to: u64,
    since: u64,
}

/// The weights of what is live; from below where as little as possible is to be removed, else from above.
#[derive(Debug, Default)]
pub(super) struct Weights {
    least: bool,
    /// The shortest record there can be.
    pub(super) shortest: u64,
    /// The longest seen.
    longest: u64,
    sizes: FxHashMap<u64, u64>,
    known: u64,
    groups: Vec<Group>,
    /// Bound of all groups together.
    unknown: u64,
    /// Where tombstones may have been hidden: how many, the last that was stored before, and what was stored since.
    veil: Option<Veil>,
}

impl Weights {
    pub(super) fn new(checkpoint: &Checkpoint, least: bool) -> Self {
        let mut weights = Weights {
            least,
            shortest: checkpoint.shortest.max(1),
            ..Weights::default()
        };
        for block in &checkpoint.blocks {
            if block.first > block.last {
                continue;
            }
            let gone = within(&checkpoint.gone, block.first..=block.last);
            let taken = match least {
                true => gone.len() - difference(&gone, &checkpoint.left_out).len(),
                false => 0,
            };
            let group = Group {
                first: block.first,
                last: block.last,
                sum: block.bytes,
                live: gone.len().saturating_sub(taken),
                taken,
            };
            weights.unknown = weights.unknown.saturating_add(weights.bound(&group));
            weights.groups.push(group);
        }
        weights
    }

    fn bound(&self, group: &Group) -> u64 {
        let other = |count: u64| count.saturating_mul(self.shortest);
        match (group.live, self.least, group.taken) {
            (0, _, _) => 0,
            (_, true, 0) => group.sum,
            (live, true, _) => other(live).min(group.sum),
            (_, false, taken) => group.sum.saturating_sub(other(taken)),
        }
    }

    fn change(&mut self, seq: u64, change: impl Fn(&mut Group)) {
        let at = self.groups.partition_point(|group| group.last < seq);
        let Some(mut group) = self
            .groups
            .get(at)
            .copied()
            .filter(|group| group.first <= seq)
        else {
            return;
        };
        self.unknown = self.unknown.saturating_sub(self.bound(&group));
        change(&mut group);
        self.unknown = self.unknown.saturating_add(self.bound(&group));
        if let Some(place) = self.groups.get_mut(at) {
            *place = group;
        }
    }

    /// The length of a record; `listed` is whether its block's bytes in the index have it in them.
    pub(super) fn know(&mut self, seq: u64, bytes: u64, listed: bool, is_live: bool) {
        self.longest = self.longest.max(bytes);
        if self.sizes.contains_key(&seq) {
            return;
        }
        if listed {
            self.change(seq, |group| group.sum = group.sum.saturating_sub(bytes));
        }
        if is_live {
            self.sizes.insert(seq, bytes);
            self.known = self.known.saturating_add(bytes);
            if let Some(veil) = self.veil.as_mut().filter(|veil| seq > veil.to) {
                veil.since = veil.since.saturating_add(bytes);
            }
        }
    }

    /// Messages that are supposed to have been stored in so many bytes.
    pub(super) fn suppose(&mut self, seqs: &SeqSet, bytes: Option<u64>) {
        let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else {
            return;
        };
        let group = Group {
            first,
            last,
            sum: bytes.unwrap_or(seqs.len().saturating_mul(self.longest.max(self.shortest))),
            live: seqs.len(),
            taken: 0,
        };
        self.unknown = self.unknown.saturating_add(self.bound(&group));
        let at = self.groups.partition_point(|other| other.last < first);
        self.groups.insert(at, group);
    }

    pub(super) fn forget(&mut self, seq: u64) {
        match self.sizes.remove(&seq) {
            Some(bytes) => {
                self.known = self.known.saturating_sub(bytes);
                if let Some(veil) = self.veil.as_mut().filter(|veil| seq > veil.to) {
                    veil.since = veil.since.saturating_sub(bytes);
                }
            }
            None => self.change(seq, |group| {
                group.live = group.live.saturating_sub(1);
                group.taken += 1;
            }),
        }
    }

    /// Of what was stored up to `to`, so many may be gone.
    pub(super) fn veil(&mut self, most: u64, to: u64) {
        let since = 0;
        self.veil = Some(Veil { most, to, since });
    }

    /// What may have been taken is gone in any case.
    pub(super) fn unveil(&mut self) {
        self.veil = None;
    }

    /// Something of which no more is known than that it may have been stored.
    pub(super) fn add(&mut self, bytes: u64) {
        self.known = self.known.saturating_add(bytes);
    }

    pub(super) fn remembered(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn total(&self) -> u64 {
        let all = self.known.saturating_add(self.unknown);
        self.veil.map_or(all, |veil| {
            let taken = veil.most.saturating_mul(self.longest.max(self.shortest));
            all.saturating_sub(taken).max(veil.since)
        })
    }
}
