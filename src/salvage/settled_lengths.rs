//! Borders that only the whole stream can settle: two subjects that `index.db` both lists, one a flipped bit of a subject
//! length away from the other.
//!
//! Such a flip verifies and raises no doubt within its block ([`super::scan`]). But the totals per subject then
//! disagree with those of the index: one subject has a message more than it lists, another one less. The caller counts
//! its live messages per subject, keeps the subjects that differ, and walks the blocks once more with [`Collector`]; the
//! flips that [`settle`] chooses are those that no other choice could replace.

use std::collections::BTreeMap;

use super::findings::{BlockFindings, Repair, Site};
use super::scan::RecordSink;
use super::scan::subject_length::{BorderFlip, candidates};
use crate::format::bit_repair::Patch;
use crate::format::record::{RecordKind, RecordRef};

/// Messages per subject, of the subjects whose totals differ.
pub type MessagesOf = BTreeMap<Vec<u8>, u64>;

/// Messages kept in mind at most; with more, the totals differ for other reasons.
pub const OPEN_MAX: usize = 100_000;

/// A message that has a subject too many have, and by a flip would have one too few have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBorder {
    /// The number in the name of the file it lies in.
    pub block: u32,
    /// Its sequence.
    pub seq: u64,
    /// The subject it has.
    pub found: Vec<u8>,
    /// The subjects it could have, each with the flip of its file that gives it.
    pub flips: Vec<(Vec<u8>, Patch)>,
}

/// How far each differing subject is off: messages too many, or too few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    too_many: MessagesOf,
    too_few: MessagesOf,
}

impl Differences {
    /// Compares the index's totals with those found; subjects that agree may be left out of both.
    #[must_use]
    pub fn between(index: &MessagesOf, found: &MessagesOf) -> Self {
        let mut differences = Self::default();
        let total = |totals: &MessagesOf, subject: &Vec<u8>| {
            totals.get(subject).copied().unwrap_or_default()
        };
        for subject in index.keys().chain(found.keys()) {
            let (listed, there) = (total(index, subject), total(found, subject));
            if there > listed {
                let many = there - listed;
                differences.too_many.insert(subject.clone(), many);
            } else if there < listed {
                let few = listed - there;
                differences.too_few.insert(subject.clone(), few);
            }
        }
        differences
    }

    /// Whether a flip can have caused any of it.
    #[must_use]
    pub fn may_be_borders(&self) -> bool {
        !self.too_many.is_empty() && !self.too_few.is_empty()
    }
}

/// Collects, over a replay of the blocks, the messages whose flips could explain the differences. Only plain blocks are
/// worth it: in compressed content no single length can have flipped unnoticed.
#[derive(Debug)]
pub struct Collector<'a> {
    differences: &'a Differences,
    block: u32,
    open: Vec<OpenBorder>,
}

impl<'a> Collector<'a> {
    /// Nothing collected yet.
    #[must_use]
    pub fn new(differences: &'a Differences) -> Self {
        Self {
            differences,
            block: 0,
            open: Vec::new(),
        }
    }

    /// What is fed from now on is the block file named after `file`.
    pub fn begin_block(&mut self, file: u32) {
        self.block = file;
    }

    /// What was collected; nothing where it was more than [`OPEN_MAX`].
    #[must_use]
    pub fn finish(self) -> Vec<OpenBorder> {
        if self.open.len() > OPEN_MAX {
            return Vec::new();
        }
        self.open
    }
}

impl RecordSink for Collector<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let found = record.subject(content);
        if record.kind() != RecordKind::Message
            || record.has_headers()
            || self.open.len() > OPEN_MAX
            || !self.differences.too_many.contains_key(found)
        {
            return;
        }
        let flips: Vec<_> = candidates(record, content)
            .into_iter()
            .filter_map(|flip: BorderFlip| {
                let subject = flip.subject(record, content);
                let patch = Patch {
                    offset: flip.offset as u64,
                    mask: flip.mask,
                };
                self.differences
                    .too_few
                    .contains_key(subject)
                    .then(|| (subject.to_vec(), patch))
            })
            .collect();
        if !flips.is_empty() {
            self.open.push(OpenBorder {
                block: self.block,
                seq: record.sequence(),
                found: found.to_vec(),
                flips,
            });
        }
    }
}

/// What [`settle`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettledBorders {
    /// Flips that must have happened: position in the list given, and the patch.
    pub certain: Vec<(usize, Patch)>,
    /// Messages of which some must have a flipped border, and which cannot be told.
    pub uncertain: Vec<usize>,
}

/// Chooses the flips that make the totals agree.
///
/// A subject with `n` messages too many holds `n` that belong elsewhere. Where just `n` messages of it have a flip to a
/// subject with too few, these are the ones; a flip is certain if it has but one such subject to go to. Each choice can
/// leave another subject without alternatives, so this is repeated while anything changes. What then is still too many
/// among more messages than that stays uncertain. Time: the number of messages times the number of choices made, which
/// is at most the sum of the differences.
#[must_use]
pub fn settle(differences: &Differences, open: &[OpenBorder]) -> SettledBorders {
    let Differences {
        mut too_many,
        mut too_few,
    } = differences.clone();
    let mut settled = SettledBorders::default();
    let mut undecided: Vec<usize> = (0..open.len()).collect();
    loop {
        let mut waiting: BTreeMap<&[u8], u64> = BTreeMap::new();
        undecided.retain(|&at| {
            let fits = open.get(at).is_some_and(|message| {
                too_many.contains_key(&message.found) && destinations(message, &too_few).count() > 0
            });
            if fits && let Some(message) = open.get(at) {
                *waiting.entry(&message.found).or_default() += 1;
            }
            fits
        });
        let before = settled.certain.len();
        undecided.retain(|&at| {
            let Some(message) = open.get(at) else {
                return false;
            };
            let is_forced =
                too_many.get(&message.found).copied() == waiting.get(&message.found[..]).copied();
            let Some((subject, patch)) = only_destination(message, &too_few) else {
                return true;
            };
            if !is_forced {
                return true;
            }
            settled.certain.push((at, *patch));
            take_one(&mut too_few, subject);
            take_one(&mut too_many, &message.found);
            if let Some(count) = waiting.get_mut(&message.found[..]) {
                *count -= 1;
            }
            false
        });
        if settled.certain.len() == before {
            break;
        }
    }
    settled.uncertain = undecided;
    settled
}

fn destinations<'a>(
    message: &'a OpenBorder,
    too_few: &MessagesOf,
) -> impl Iterator<Item = &'a (Vec<u8>, Patch)> {
    message
        .flips
        .iter()
        .filter(|(subject, _)| too_few.contains_key(subject))
}

fn only_destination<'a>(
    message: &'a OpenBorder,
    too_few: &MessagesOf,
) -> Option<&'a (Vec<u8>, Patch)> {
    let mut to = destinations(message, too_few);
    to.next().filter(|_| to.next().is_none())
}

fn take_one(totals: &mut MessagesOf, subject: &[u8]) {
    if let Some(count) = totals.get_mut(subject) {
        *count -= 1;
        if *count == 0 {
            totals.remove(subject);
        }
    }
}

/// Enters a settled flip in what was found of its block; the records found stay the same.
pub fn enter(find: &mut BlockFindings, message: &OpenBorder, patch: Patch) {
    find.uncertain.retain(|doubt| doubt.seq != message.seq);
    find.repairs.push(Repair {
        site: Site::SubjectLength,
        patches: vec![patch],
        seq: Some(message.seq),
    });
    find.repairs
        .sort_by_key(|repair| repair.patches.first().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(pairs: &[(&str, u64)]) -> MessagesOf {
        pairs
            .iter()
            .map(|(subject, count)| (subject.as_bytes().to_vec(), *count))
            .collect()
    }

    fn open(seq: u64, found: &str, to: &[&str]) -> OpenBorder {
        OpenBorder {
            block: 1,
            seq,
            found: found.as_bytes().to_vec(),
            flips: to
                .iter()
                .map(|subject| {
                    let patch = Patch {
                        offset: seq * 100,
                        mask: 1 << (subject.len() % 8),
                    };
                    (subject.as_bytes().to_vec(), patch)
                })
                .collect(),
        }
    }

    fn sequences(open: &[OpenBorder], settled: &SettledBorders) -> Vec<u64> {
        settled
            .certain
            .iter()
            .map(|(at, _)| open[*at].seq)
            .collect()
    }

    #[test]
    fn the_only_message_that_can_move_moves() {
        let differences = Differences::between(
            &totals(&[("a.1", 5), ("a.12", 3), ("same", 4)]),
            &totals(&[("a.1", 4), ("a.12", 4), ("same", 4)]),
        );
        assert!(differences.may_be_borders());
        let open = [open(7, "a.12", &["a.1"])];
        let settled = settle(&differences, &open);
        assert_eq!(sequences(&open, &settled), [7]);
        assert!(settled.uncertain.is_empty());
    }

    #[test]
    fn more_messages_than_the_difference_stay_uncertain() {
        let differences =
            Differences::between(&totals(&[("a.1", 5)]), &totals(&[("a.1", 4), ("a.12", 1)]));
        let open = [open(7, "a.12", &["a.1"]), open(8, "a.12", &["a.1"])];
        let settled = settle(&differences, &open);
        assert!(settled.certain.is_empty());
        assert_eq!(settled.uncertain, [0, 1]);
    }

    #[test]
    fn one_choice_decides_the_next() {
        // Message 1 has two ways to go, until message 2 has taken one.
        let differences = Differences::between(
            &totals(&[("a", 2), ("b", 2)]),
            &totals(&[("a", 1), ("b", 1), ("x", 1), ("y", 1)]),
        );
        let open = [open(1, "x", &["a", "b"]), open(2, "y", &["a"])];
        let settled = settle(&differences, &open);
        let mut found = sequences(&open, &settled);
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
        let first = settled.certain.iter().find(|(at, _)| *at == 0).unwrap();
        assert_eq!(first.1, open[0].flips[1].1);
    }

    #[test]
    fn a_lost_message_moves_nothing() {
        let differences = Differences::between(&totals(&[("a", 2)]), &totals(&[("a", 1)]));
        assert!(!differences.may_be_borders());
        assert_eq!(
            settle(&differences, &[open(1, "b", &["a"])]),
            SettledBorders::default()
        );
    }
}
