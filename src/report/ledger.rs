//! The account of every message of a stream that any witness ever named.
//!
//! A witness is a record, a tombstone, `index.db`, a consumer's floor, a timer file, or a limit of the configuration. Each
//! sequence that one of them names stands in exactly one of [`Ledger::live`], [`Ledger::expired`], [`Ledger::removed`],
//! [`Ledger::lost`] and [`Ledger::unknown`]. Every verb prints the same ledger of the same files: it is what the files prove,
//! not what a server makes of them. What a server's start would change of that stands beside it, in [`Ledger::returning`] and
//! [`Ledger::endangered`].

use std::collections::BTreeMap;

use crate::format::seqset::SeqSet;

/// On whose word a message was removed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Removal {
    /// A tombstone names it.
    Tombstone,
    /// The stream's limit of messages or bytes.
    Limit,
    /// The stream's limit of age, or its own time to live, before the store was left.
    Age,
    /// The limit of messages per subject.
    SubjectLimit,
    /// An acknowledgement, by the floor of the consumers of a work-queue or interest stream.
    Ack,
    /// A purge or compaction: it lies below the stream's first sequence.
    Purge,
    /// `index.db` does not count it, and nothing tells why.
    Index,
    /// A newer message of its subject that asked for a rollup.
    Rollup,
}

impl Removal {
    /// All of them, in the order of reports.
    pub const ALL: [Removal; 8] = [
        Removal::Tombstone,
        Removal::Limit,
        Removal::Age,
        Removal::SubjectLimit,
        Removal::Ack,
        Removal::Purge,
        Removal::Index,
        Removal::Rollup,
    ];

    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Removal::Tombstone => "tombstone",
            Removal::Limit => "limit",
            Removal::Age => "age",
            Removal::SubjectLimit => "subject_limit",
            Removal::Ack => "ack",
            Removal::Purge => "purge",
            Removal::Index => "index",
            Removal::Rollup => "rollup",
        }
    }
}

/// What became of every message that a witness named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// A record verifies, perhaps after flipped bits were set right, and nothing says that it was removed.
    pub live: SeqSet,
    /// Live records that age or their own time to live removes at the time of the judgement.
    pub expired: SeqSet,
    /// Those that only their own time to live removes: part of [`Ledger::expired`]. No open does that, but a server's timers
    /// do it right after one.
    pub timed_out: SeqSet,
    /// Removed on purpose, whether a record of it still lies on disk or not.
    pub removed: BTreeMap<Removal, SeqSet>,
    /// Named by a witness, gone, and nothing says on purpose.
    pub lost: SeqSet,
    /// Nothing tells whether it was removed on purpose or lost, or whether it was ever stored.
    pub unknown: SeqSet,
    /// Of what was stored before this sequence nothing that is left tells anything, and the stream removes its oldest messages
    /// without a trace: they may have gone so, or be lost. What is before it, and in no set here, is not counted: that
    /// is the past of every such stream.
    pub untold_below: Option<u64>,
    /// Removed on purpose, and live again once the server has started: part of [`Ledger::removed`].
    pub returning: SeqSet,
    /// Live, and not there any more once the server has started by its own rules: part of [`Ledger::live`].
    pub endangered: SeqSet,
}

impl Ledger {
    /// How many messages were removed on purpose.
    #[must_use]
    pub fn removed_count(&self) -> u64 {
        self.removed.values().map(SeqSet::len).sum()
    }

    /// Puts `seqs` down as removed on the word of `removal`.
    pub fn remove(&mut self, removal: Removal, seqs: &SeqSet) {
        if !seqs.is_empty() {
            self.removed.entry(removal).or_default().union_with(seqs);
        }
    }

    /// Whether there were messages, and age and their own time to live leave none.
    #[must_use]
    pub fn all_expires(&self) -> bool {
        self.live.is_empty() && !self.expired.is_empty()
    }

    /// Whether something is lost, now or by the server's start.
    #[must_use]
    pub fn holds_loss(&self) -> bool {
        !self.lost.is_empty() || !self.endangered.is_empty()
    }
}

/// First and last sequence of each stretch of `set`, ascending.
#[must_use]
pub fn stretches(set: &SeqSet) -> Vec<(u64, u64)> {
    let stretches = set.spans().map(|span| (*span.start(), *span.end()));
    stretches.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_adds_up_over_the_ways() {
        let mut ledger = Ledger::default();
        ledger.remove(Removal::Age, &SeqSet::new());
        assert!(ledger.removed.is_empty());
        ledger.remove(Removal::Age, &[1, 2].into_iter().collect());
        ledger.remove(Removal::Age, &[2, 3].into_iter().collect());
        ledger.remove(Removal::Ack, &[9].into_iter().collect());
        assert_eq!(ledger.removed_count(), 4);
        assert_eq!(stretches(&ledger.removed[&Removal::Age]), [(1, 3)]);
    }

    #[test]
    fn a_message_in_danger_is_a_loss_and_a_returning_one_is_none() {
        let seq: SeqSet = [7].into_iter().collect();
        let returning = Ledger {
            returning: seq.clone(),
            ..Ledger::default()
        };
        assert!(!returning.holds_loss());
        let endangered = Ledger {
            endangered: seq,
            ..Ledger::default()
        };
        assert!(endangered.holds_loss());
    }
}
