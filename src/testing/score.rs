//! What survived a damage: the undamaged store compared, message by message, with what a recovery still gives.

use std::path::Path;

use serde::Serialize;

use super::damage::Damage;
use super::reference::{Comparison, Fingerprint, Reference};
use super::workload::Access;
use crate::env::memory::MemoryFileSystem;
use crate::env::{DEFAULT_DIR_MODE, FileSystem, IoError, OsFileSystem};
use crate::format::seqset::SeqSet;
use crate::recovery::Message;
use crate::stream::StreamDir;

/// Something that brings a damaged store back: jetsam, a server, a store of your own.
///
/// It is asked about many damaged stores, from several threads at once.
pub trait Recoverer: Sync {
    /// What it is called in reports.
    fn name(&self) -> &str;

    /// Opens the damaged store and hands every message it can still give to `tally`, in any order.
    ///
    /// The case is its own: what is done to its files is seen by nobody else.
    ///
    /// # Errors
    ///
    /// A sentence, where the question could not be put at all. That is never held against the store.
    fn survivors(&self, case: &Case<'_>, tally: &mut Tally<'_>) -> Result<Service, String>;
}

/// Whether the store is of use after the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// It opened; the messages are those that were handed over.
    Opened,
    /// It did not open: there are no messages, whatever was handed over before.
    Refused,
    /// Opening or reading it brings the program down, every time: there are no messages.
    Down,
    /// It took longer than anyone would wait, which says more of the machine than of the store: not counted.
    Unanswered,
}

/// A damaged store.
pub struct Case<'a> {
    /// The files.
    pub files: &'a MemoryFileSystem,
    /// The stream in them.
    pub stream: &'a StreamDir,
    /// Keys, account, clock.
    pub access: &'a Access,
    /// What was done to it.
    pub damage: &'a Damage,
}

impl Case<'_> {
    /// Writes the stream directory to the disk as `dir`, for programs that know nothing else.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write_to(&self, dir: &Path) -> Result<(), IoError> {
        write_tree(self.files, &self.stream.dir, dir)
    }
}

/// Writes what lies below `from` to the disk below `to`.
pub(super) fn write_tree(files: &MemoryFileSystem, from: &Path, to: &Path) -> Result<(), IoError> {
    let disk = OsFileSystem;
    for below in files.dirs() {
        if let Ok(relative) = below.strip_prefix(from) {
            disk.create_dir_all(&to.join(relative), DEFAULT_DIR_MODE)?;
        }
    }
    for (path, bytes) in files.files() {
        if let Ok(relative) = path.strip_prefix(from) {
            disk.write_in_place(&to.join(relative), &bytes)?;
        }
    }
    Ok(())
}

/// Counts messages as they are handed over.
pub struct Tally<'a> {
    reference: &'a Reference,
    damage: &'a Damage,
    same: SeqSet,
    different: SeqSet,
    revived: SeqSet,
    unknown: SeqSet,
}

impl<'a> Tally<'a> {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(reference: &'a Reference, damage: &'a Damage) -> Self {
        Self {
            reference,
            damage,
            same: SeqSet::new(),
            different: SeqSet::new(),
            revived: SeqSet::new(),
            unknown: SeqSet::new(),
        }
    }

    /// The last sequence that was ever used: what comes behind it cannot be a survivor.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        let (live, deleted) = (self.reference.live(), self.reference.deleted());
        live.last().max(deleted.last()).unwrap_or_default()
    }

    /// Counts a message that survived.
    pub fn message(&mut self, message: &Message<'_>) {
        let comparison = self.reference.judge(message);
        self.count(message.seq, comparison);
    }

    /// Counts a message of which only the fingerprint came back.
    pub fn fingerprint(&mut self, seq: u64, fingerprint: &Fingerprint) {
        let comparison = self.reference.judge_fingerprint(seq, fingerprint);
        self.count(seq, comparison);
    }

    /// A sequence that comes twice counts once, and as wrong where either was.
    fn count(&mut self, seq: u64, comparison: Comparison) {
        if self.damage.undecided.contains(seq) && comparison == Comparison::Same {
            return;
        }
        let purged = self.damage.purged.contains(seq);
        let set = match comparison {
            Comparison::Same if purged => &mut self.revived,
            Comparison::Same => &mut self.same,
            Comparison::Different => &mut self.different,
            Comparison::Deleted => &mut self.revived,
            Comparison::Unknown => &mut self.unknown,
        };
        set.insert(seq);
    }

    /// The score.
    #[must_use]
    pub fn finish(mut self, service: Service) -> Score {
        if service != Service::Opened {
            self = Self::new(self.reference, self.damage);
        }
        let mut score = Score {
            service,
            expected: 0,
            kept: 0,
            lost: 0,
            lost_untouched: 0,
            wrong: 0,
            revived: self.revived.len(),
            unknown: self.unknown.len(),
        };
        for seq in self.reference.live().iter() {
            if self.different.contains(seq) {
                score.wrong += 1;
            }
            if self.damage.purged.contains(seq) || self.damage.undecided.contains(seq) {
                continue;
            }
            score.expected += 1;
            if self.same.contains(seq) && !self.different.contains(seq) {
                score.kept += 1;
                continue;
            }
            score.lost += 1;
            score.lost_untouched += u64::from(!self.damage.may_cost(seq));
        }
        score
    }
}

/// What became of the messages of one damaged store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Whether the store was of use.
    pub service: Service,
    /// Messages there were, less those a purge had given up.
    pub expected: u64,
    /// Of these, the ones that came back byte for byte.
    pub kept: u64,
    /// The others.
    pub lost: u64,
    /// Of those lost, the ones that the damage did not touch.
    pub lost_untouched: u64,
    /// Sequences that came back with other content: silent corruption. They count as lost too.
    pub wrong: u64,
    /// Deleted messages that came back.
    pub revived: u64,
    /// Messages with a sequence that was never used.
    pub unknown: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::DamageKind;
    use crate::testing::layout::Touched;

    fn message(seq: u64, body: &'static [u8]) -> Message<'static> {
        Message {
            seq,
            timestamp_ns: 1,
            subject: b"s",
            headers: b"",
            body,
        }
    }

    /// Messages 1 to 6, of which 2 was deleted; the damage touched 4.
    fn hand_made() -> (Reference, Damage) {
        let mut reference = Reference::new();
        for seq in 1..=6 {
            reference.insert(&message(seq, b"body"));
        }
        reference.delete(2);
        let mut touched = Touched::default();
        touched.messages.insert(4);
        let damage = Damage {
            kind: DamageKind::FlipBlock,
            seed: 0,
            summary: String::new(),
            files: Vec::new(),
            touched,
            behind_keys: SeqSet::new(),
            purged: SeqSet::new(),
            undecided: SeqSet::new(),
        };
        (reference, damage)
    }

    #[test]
    fn everything_kept() {
        let (reference, damage) = hand_made();
        let mut tally = Tally::new(&reference, &damage);
        for seq in [6, 1, 3, 4, 5] {
            tally.message(&message(seq, b"body"));
        }
        let score = tally.finish(Service::Opened);
        let want = Score {
            service: Service::Opened,
            expected: 5,
            kept: 5,
            lost: 0,
            lost_untouched: 0,
            wrong: 0,
            revived: 0,
            unknown: 0,
        };
        assert_eq!(score, want);
    }

    #[test]
    fn lost_wrong_revived_and_unknown_are_told_apart() {
        let (reference, damage) = hand_made();
        let mut tally = Tally::new(&reference, &damage);
        tally.message(&message(1, b"body"));
        tally.message(&message(2, b"body"));
        tally.message(&message(3, b"other"));
        tally.message(&message(5, b"body"));
        tally.message(&message(5, b"body"));
        tally.message(&message(77, b"body"));
        let score = tally.finish(Service::Opened);
        // 3 is wrong, 4 and 6 are gone; the damage accounts for 4 alone.
        assert_eq!((score.expected, score.kept, score.lost), (5, 2, 3));
        assert_eq!((score.lost_untouched, score.wrong), (2, 1));
        assert_eq!((score.revived, score.unknown), (1, 1));
    }

    #[test]
    fn a_sequence_that_comes_back_twice_and_once_wrong_is_wrong() {
        let (reference, damage) = hand_made();
        let mut tally = Tally::new(&reference, &damage);
        tally.message(&message(1, b"body"));
        tally.message(&message(1, b"other"));
        let score = tally.finish(Service::Opened);
        assert_eq!((score.kept, score.wrong, score.lost), (0, 1, 5));
    }

    #[test]
    fn what_does_not_open_keeps_nothing() {
        for service in [Service::Refused, Service::Down] {
            let (reference, damage) = hand_made();
            let mut tally = Tally::new(&reference, &damage);
            tally.message(&message(1, b"body"));
            tally.message(&message(2, b"body"));
            let score = tally.finish(service);
            assert_eq!((score.kept, score.lost, score.revived), (0, 5, 0));
        }
    }

    #[test]
    fn what_a_purge_gave_up_is_not_lost_and_may_not_come_back() {
        let (reference, mut damage) = hand_made();
        damage.purged.insert_range(1..=5);
        let mut tally = Tally::new(&reference, &damage);
        tally.message(&message(5, b"body"));
        tally.message(&message(6, b"body"));
        let score = tally.finish(Service::Opened);
        assert_eq!((score.expected, score.kept, score.lost), (1, 1, 0));
        assert_eq!(score.revived, 1);

        damage.undecided.insert(6);
        for kept in [true, false] {
            let mut tally = Tally::new(&reference, &damage);
            if kept {
                tally.message(&message(6, b"body"));
            }
            let score = tally.finish(Service::Opened);
            assert_eq!((score.expected, score.lost, score.revived), (0, 0, 0));
        }
    }
}
