//! An account compared with the truth.

use super::truth::{Truth, Way};
use super::{Lived, Witnesses};
use crate::format::seqset::SeqSet;
use crate::report::{Ledger, Removal};
use crate::testing::damage::Damage;

/// What is wrong with an account, and what it leaves open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerScore {
    /// Called lost: removed on purpose as something that is left tells, never stored, or there in full.
    pub invented: SeqSet,
    /// Stored and not removed, gone or damaged, and called neither lost nor unknown, although something names it.
    pub silent: SeqSet,
    /// Removed on purpose, and called live, although something tells the removal.
    pub revived: SeqSet,
    /// Removed in a way the stream does not have, or that it cannot have been.
    pub misfiled: SeqSet,
    /// Lost, and no record, index or consumer that is left reaches so far: nobody can know.
    pub unnamed: SeqSet,
    /// Lost before everything that is left, where the account says that nothing tells of what was there.
    pub past: SeqSet,
    /// Removed, and called live: what told the removal is destroyed, or there never was anything.
    pub untold: SeqSet,
    /// Removed, and called lost: the damage destroyed what told the removal.
    pub mistaken: SeqSet,
    /// Called unknown.
    pub unknown: SeqSet,
    /// Really lost, and called so.
    pub lost: SeqSet,
}

impl LedgerScore {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let wrong = [&self.invented, &self.silent, &self.revived, &self.misfiled];
        wrong.into_iter().all(SeqSet::is_empty)
    }

    /// Judges an account of what is left of a history after a damage.
    #[must_use]
    pub fn of(ledger: &Ledger, lived: &Lived, damage: Option<&Damage>) -> Self {
        let mut truth = lived.truth.clone();
        let mut undecided = SeqSet::new();
        if let Some(damage) = damage {
            truth.purge(&damage.purged);
            undecided.union_with(&damage.undecided);
        }
        let judge = Judge {
            ledger,
            lived,
            truth: &truth,
            damage,
            named: lived.witnesses.named_up_to(&lived.layout, damage),
        };
        let mut score = Self::default();
        for seq in 1..=truth.last_seq {
            if !undecided.contains(seq) {
                judge.one(seq, &mut score);
            }
        }
        judge.beyond(&mut score);
        score
    }
}

struct Judge<'a> {
    ledger: &'a Ledger,
    lived: &'a Lived,
    truth: &'a Truth,
    damage: Option<&'a Damage>,
    named: u64,
}

impl Judge<'_> {
    fn one(&self, seq: u64, score: &mut LedgerScore) {
        if self.ledger.unknown.contains(seq) {
            score.unknown.insert(seq);
            return;
        }
        let filed = self.filed(seq);
        if self.truth.live.contains(seq) {
            self.stored(seq, filed, score);
        } else {
            self.removed(seq, filed, score);
        }
    }

    fn filed(&self, seq: u64) -> Option<Removal> {
        let mut ways = self.ledger.removed.iter();
        ways.find(|(_, seqs)| seqs.contains(seq))
            .map(|(way, _)| *way)
    }

    fn stored(&self, seq: u64, filed: Option<Removal>, score: &mut LedgerScore) {
        let ledger = self.ledger;
        let may_be_gone = self.damage.is_some_and(|damage| damage.may_cost(seq));
        let expired = self.truth.expired.contains(seq);
        if ledger.lost.contains(seq) {
            let set = if may_be_gone {
                &mut score.lost
            } else {
                &mut score.invented
            };
            set.insert(seq);
        } else if ledger.live.contains(seq) {
            // That it is there, salvage has to show.
        } else if ledger.expired.contains(seq) || (expired && filed == Some(Removal::Age)) {
            if !expired {
                score.misfiled.insert(seq);
            }
        } else if filed.is_some() {
            score.silent.insert(seq);
        } else if may_be_gone && seq > self.named {
            score.unnamed.insert(seq);
        } else if may_be_gone && self.is_past_untold(seq) {
            score.past.insert(seq);
        } else {
            score.silent.insert(seq);
        }
    }

    fn removed(&self, seq: u64, filed: Option<Removal>, score: &mut LedgerScore) {
        let ledger = self.ledger;
        let told = self.lived.witnesses.tell_removal(seq, self.damage);
        if ledger.lost.contains(seq) {
            let set = if told || self.damage.is_none() || !self.only_hand_took(seq) {
                &mut score.invented
            } else {
                &mut score.mistaken
            };
            set.insert(seq);
        } else if ledger.live.contains(seq) {
            let set = if told {
                &mut score.revived
            } else {
                &mut score.untold
            };
            set.insert(seq);
        } else if let Some(removal) = filed
            && !self.can_be(removal, seq)
        {
            score.misfiled.insert(seq);
        }
    }

    /// Whether no rule of the stream removed this message, or nothing that is left shows that the stream went on behind the
    /// index: what a person deleted is told by a tombstone and nothing else, and a stream that did not go on takes nothing.
    fn only_hand_took(&self, seq: u64) -> bool {
        let by_hand = matches!(
            self.truth.way(seq),
            Some(Way::Deleted | Way::Purge | Way::Rollup)
        );
        by_hand || self.ends_with_index()
    }

    fn ends_with_index(&self) -> bool {
        let last = self
            .lived
            .index
            .as_ref()
            .map_or(0, |index| index.last_sequence);
        self.lived
            .witnesses
            .stored_up_to(&self.lived.layout, self.damage)
            <= last
    }

    /// Whether nothing that is left reaches down to it, and the account says so: before the first record, where the rules of the
    /// stream take the oldest messages without a trace and without a sum that would show it, and no index speaks.
    fn is_past_untold(&self, seq: u64) -> bool {
        let setup = &self.lived.setup;
        let said = self.ledger.untold_below.is_some_and(|below| seq < below);
        let traceless = setup.max_age_ns.is_some()
            || setup.max_per_subject.is_some()
            || !setup.consumers.is_empty();
        said && traceless
            && self
                .lived
                .witnesses
                .begins_above(seq, &self.lived.layout, self.damage)
    }

    /// Whether the stream removes messages in this way, and this one can have gone so.
    fn can_be(&self, removal: Removal, seq: u64) -> bool {
        let setup = &self.lived.setup;
        let way = self.truth.way(seq);
        match removal {
            Removal::Tombstone | Removal::Index | Removal::Purge => true,
            Removal::Limit => setup.max_messages.is_some() || setup.max_bytes.is_some(),
            Removal::Age => setup.max_age_ns.is_some(),
            Removal::SubjectLimit => setup.max_per_subject.is_some(),
            Removal::Ack => !setup.consumers.is_empty(),
            Removal::Rollup => matches!(way, Some(Way::Rollup | Way::SubjectLimit | Way::Deleted)),
        }
    }

    /// Sequences that were never used. One of them may be unknown: a message that was being written, or what a damage behind the
    /// last record can have hit.
    fn beyond(&self, score: &mut LedgerScore) {
        let ledger = self.ledger;
        let behind = self.truth.last_seq + 1;
        let room = u64::from(self.lived.torn || self.damage.is_some());
        let above = |set: &SeqSet, from: u64| {
            let mut above = set.clone();
            above.remove_below(from);
            above
        };
        score.invented.union_with(&above(&ledger.lost, behind));
        score.revived.union_with(&above(&ledger.live, behind));
        let beyond = above(&ledger.unknown, behind + room);
        score.invented.union_with(&beyond);
    }
}

impl Witnesses {
    /// How many messages the records on disk could make live that are not.
    #[must_use]
    pub fn removed_on_disk(&self, truth: &Truth) -> u64 {
        let gone = |seq: &u64| truth.gone.contains(*seq);
        self.on_disk.iter().filter(gone).count() as u64
    }
}
