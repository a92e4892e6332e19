//! What became of every sequence that was ever used.

use std::collections::BTreeMap;

use crate::format::seqset::SeqSet;
use crate::testing::reference::Reference;

/// Why a message is not there any more, although nothing was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Somebody deleted it, or wiped it.
    Deleted,
    /// `max_msgs` or `max_bytes`.
    Limit,
    /// `max_age`.
    Age,
    /// `max_msgs_per_subject`.
    SubjectLimit,
    /// The consumers were done with it.
    Ack,
    /// A purge.
    Purge,
    /// A newer message rolled its subject up.
    Rollup,
    /// Its sequence was used up without it: no consumer wanted it.
    Skipped,
}

/// What became of every sequence of a stream.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// Stored, acknowledged, and not removed.
    pub live: SeqSet,
    /// Those of them that `max_age` removes at the time at which the store is judged.
    pub expired: SeqSet,
    /// Removed on purpose, by the way.
    pub removed: BTreeMap<Way, SeqSet>,
    /// All of them together.
    pub gone: SeqSet,
    /// The last sequence that was used.
    pub last_seq: u64,
    /// Content of the live ones.
    pub reference: Reference,
}

impl Truth {
    pub(super) fn remove(&mut self, seq: u64, way: Way) {
        self.live.remove(seq);
        self.reference.delete(seq);
        self.gone.insert(seq);
        self.removed.entry(way).or_default().insert(seq);
    }

    pub(super) fn skip(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
        self.remove(seq, Way::Skipped);
    }

    /// How a sequence went, if it did.
    #[must_use]
    pub fn way(&self, seq: u64) -> Option<Way> {
        let mut ways = self.removed.iter();
        ways.find(|(_, seqs)| seqs.contains(seq))
            .map(|(way, _)| *way)
    }

    /// What a purge gave up whose server was killed while it purged.
    pub(super) fn purge(&mut self, seqs: &SeqSet) {
        for seq in seqs.iter() {
            if self.live.contains(seq) {
                self.expired.remove(seq);
                self.remove(seq, Way::Purge);
            }
        }
    }
}
