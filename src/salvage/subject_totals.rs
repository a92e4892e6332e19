//! Counts the messages of subjects that a flipped length turns into one another, and sets right what [`super::border`] can
//! prove from the totals of a fresh index.
//!
//! Most streams have no two listed subjects one flip of a length apart; there nothing is read. Otherwise every block is
//! read once more, without hashing, and where the totals differ, the plain ones a second time.

use std::collections::HashMap;
use std::convert::Infallible;

use super::findings::{BlockFindings, UncertainBorder};
use super::liveness::counted_by;
use super::read::Blocks;
use super::scan::{RecordSink, Scratch, replay_unverified};
use super::settled_lengths::{Collector, Differences, MessagesOf, OpenBorder, enter, settle};
use super::side_files::IndexEvidence;
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::format::state::SubjectTable;
use crate::parallel::Crew;

/// With more subjects than this the look for such pairs is left out: it takes a handful of look-ups for each.
const SUBJECTS_MAX: usize = 1 << 18;

/// Mends the borders in `finds` that the totals of `index` prove wrong, and notes the doubts they leave.
pub(super) fn settle_listed(
    blocks: Blocks<'_>,
    index: &IndexEvidence,
    finds: &mut [BlockFindings],
    threads: usize,
) {
    if !index.fresh {
        return;
    }
    let listed = one_flip_apart(&index.state.subjects);
    if listed.is_empty() {
        return;
    }
    let live = counted_by(&index.state);
    let found = count(blocks, finds, &listed, &live, threads);
    let differences = Differences::between(&listed, &found);
    if !differences.may_be_borders() {
        return;
    }
    let open = collect(blocks, finds, &differences);
    let settled = settle(&differences, &open);
    for (at, patch) in settled.certain {
        if let Some((message, find)) = place(&open, finds, at) {
            enter(find, message, patch);
        }
    }
    for at in settled.uncertain {
        if let Some((message, find)) = place(&open, finds, at) {
            doubt(find, message);
        }
    }
}

fn place<'a>(
    open: &'a [OpenBorder],
    finds: &'a mut [BlockFindings],
    at: usize,
) -> Option<(&'a OpenBorder, &'a mut BlockFindings)> {
    let message = open.get(at)?;
    let find = finds.iter_mut().find(|find| find.file == message.block)?;
    Some((message, find))
}

fn doubt(find: &mut BlockFindings, message: &OpenBorder) {
    if find.uncertain.iter().any(|doubt| doubt.seq == message.seq) {
        return;
    }
    let subject = String::from_utf8_lossy(&message.found);
    let flips = message.flips.first();
    find.uncertain.push(UncertainBorder {
        seq: message.seq,
        offset: flips.map_or(0, |(_, patch)| patch.offset),
        detail: format!(
            "index.db lists fewer messages of {subject:?} than there are, and one flipped bit of its length away is a \
             subject of which it lists more"
        ),
    });
}

/// The listed subjects of which another listed one is a flip of the length away, with their totals.
fn one_flip_apart(table: &SubjectTable) -> MessagesOf {
    if table.len() > SUBJECTS_MAX {
        return MessagesOf::new();
    }
    let totals: HashMap<&[u8], u64> = table
        .iter()
        .map(|entry| (entry.subject, entry.total))
        .collect();
    let mut apart = MessagesOf::new();
    for (subject, total) in &totals {
        // A flip that makes a subject longer is one that makes the longer subject shorter.
        let shorter = (0..u16::BITS)
            .map(|bit| subject.len() ^ (1 << bit))
            .filter(|length| *length < subject.len())
            .filter_map(|length| totals.get_key_value(subject.get(..length)?));
        for (prefix, listed) in shorter {
            apart.insert(subject.to_vec(), *total);
            apart.insert(prefix.to_vec(), *listed);
        }
    }
    apart
}

/// How many live messages there are of the subjects in `listed`.
fn count(
    blocks: Blocks<'_>,
    finds: &[BlockFindings],
    listed: &MessagesOf,
    live: &SeqSet,
    threads: usize,
) -> MessagesOf {
    let worker = || {
        let counting = Counting {
            listed,
            live,
            found: HashMap::new(),
        };
        (Vec::new(), Scratch::default(), counting)
    };
    let counted = Crew::of(threads).map_with(finds, worker, |worker, find| {
        let (file, scratch, counting) = worker;
        if blocks.read(find.file, file).is_ok() {
            replay_unverified(file, find, scratch, counting);
        }
        Ok::<(), Infallible>(())
    });
    let Ok((_, workers)) = counted;
    let mut total = MessagesOf::new();
    for (subject, count) in workers
        .into_iter()
        .flat_map(|(_, _, counting)| counting.found)
    {
        *total.entry(subject).or_default() += count;
    }
    total
}

struct Counting<'a> {
    listed: &'a MessagesOf,
    live: &'a SeqSet,
    found: HashMap<Vec<u8>, u64>,
}

impl RecordSink for Counting<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        if record.kind() != RecordKind::Message || !self.live.contains(record.sequence()) {
            return;
        }
        let subject = record.subject(content);
        if let Some(count) = self.found.get_mut(subject) {
            *count += 1;
        } else if self.listed.contains_key(subject) {
            self.found.insert(subject.to_vec(), 1);
        }
    }
}

/// The messages that flips could move between the subjects that differ.
fn collect(
    blocks: Blocks<'_>,
    finds: &[BlockFindings],
    differences: &Differences,
) -> Vec<OpenBorder> {
    let mut collector = Collector::new(differences);
    let (mut file, mut scratch) = (Vec::new(), Scratch::default());
    for find in finds.iter().filter(|find| !find.compressed) {
        if blocks.read(find.file, &mut file).is_ok() {
            collector.begin_block(find.file);
            replay_unverified(&mut file, find, &mut scratch, &mut collector);
        }
    }
    collector.finish()
}
