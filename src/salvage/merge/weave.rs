//! Going through all sources at once, in sequence order.

use std::sync::atomic::Ordering;

use super::super::error::SalvageError;
use super::super::finish::Promise;
use super::super::message_cursor::KeptMessage;
use super::super::new_blocks::NewBlocks;
use super::conflicts::Aside;
use super::rules::Union;
use super::{MessageSource, Sources};
use crate::format::seqset::SeqSet;
use crate::report::{Phase, Progress, Watch};
use crate::state::SeqTime;

/// What was written.
pub(super) struct Written {
    pub(super) seqs: SeqSet,
    pub(super) last: SeqTime,
}

impl Written {
    /// What the new store has to be.
    pub(super) fn promise(&self, union: &Union) -> Promise {
        let behind = union.last.seq.saturating_add(1);
        Promise {
            messages: self.seqs.len(),
            first_seq: self.seqs.first().unwrap_or(behind),
            last_seq: union.last.seq.max(self.last.seq),
        }
    }
}

/// Takes the lowest sequence of all sources, over and over.
pub(super) fn weave(
    mut sources: Sources<'_>,
    kept: &SeqSet,
    builder: &mut NewBlocks<'_, '_>,
    aside: &mut Aside<'_>,
    watch: &Watch<'_>,
) -> Result<Written, SalvageError> {
    let mut written = Written {
        seqs: SeqSet::new(),
        last: SeqTime::default(),
    };
    let mut heads = Vec::with_capacity(sources.len());
    for source in sources.iter_mut() {
        heads.push(next_seq(source.as_mut())?);
    }
    let total = kept.len();
    let moves_times = sources.iter().any(|source| !source.keeps_times());
    while let Some(seq) = heads.iter().flatten().min().copied() {
        if watch.cancel.load(Ordering::Relaxed) {
            return Err(SalvageError::Interrupted(aside.writer.path().to_owned()));
        }
        if kept.contains(seq) {
            if moves_times {
                order_times(&mut sources, &heads, seq, written.last.timestamp_ns);
            }
            let holders = sources
                .iter()
                .zip(&heads)
                .filter(|(_, head)| **head == Some(seq))
                .filter_map(|(source, _)| source.message());
            if let Some(message) = agreed(holders.collect(), aside)? {
                builder.push(&message)?;
                written.last = SeqTime {
                    seq,
                    timestamp_ns: message.timestamp_ns,
                };
                written.seqs.insert(seq);
            }
            if written.seqs.len().is_multiple_of(4096) {
                (watch.progress)(Progress {
                    phase: Phase::Copy,
                    done: written.seqs.len(),
                    total,
                });
            }
        }
        for (source, head) in sources.iter_mut().zip(&mut heads) {
            if *head == Some(seq) {
                *head = next_seq(source.as_mut())?;
            }
        }
    }
    Ok(written)
}

/// Keeps the times of messages in order where one is not the origin's: it stays between those before and behind it.
fn order_times(sources: &mut Sources<'_>, heads: &[Option<u64>], seq: u64, earliest: i64) {
    let behind = sources
        .iter()
        .zip(heads)
        .filter(|(source, head)| source.keeps_times() && head.is_some_and(|head| head > seq));
    let times = behind.filter_map(|(source, _)| Some(source.message()?.timestamp_ns));
    let latest = times.min().unwrap_or(i64::MAX);
    for (source, head) in sources.iter_mut().zip(heads) {
        if *head == Some(seq) {
            source.keep_time_within(earliest, latest);
        }
    }
}

/// Goes on to the next message that can be read, and gives its sequence.
pub(super) fn next_seq(source: &mut (dyn MessageSource + '_)) -> Result<Option<u64>, SalvageError> {
    while source.advance()? {
        if let Some(message) = source.message() {
            return Ok(Some(message.seq));
        }
    }
    Ok(None)
}

/// The message all holders agree on, those that are sure of its border before those that are not.
fn agreed<'m>(
    holders: Vec<KeptMessage<'m>>,
    aside: &mut Aside<'_>,
) -> Result<Option<KeptMessage<'m>>, SalvageError> {
    let sure: Vec<&KeptMessage<'m>> = holders
        .iter()
        .filter(|message| !message.is_border_uncertain && !message.is_header_broken)
        .collect();
    let voices: Vec<&KeptMessage<'m>> = if sure.is_empty() {
        holders.iter().collect()
    } else {
        sure
    };
    let Some(first) = voices.first().copied() else {
        return Ok(None);
    };
    if voices.iter().all(|other| says_the_same(first, other)) {
        return Ok(Some(*first));
    }
    let mut told: Vec<&KeptMessage<'m>> = Vec::new();
    for voice in voices {
        if !told.iter().any(|before| says_the_same(before, voice)) {
            told.push(voice);
        }
    }
    aside.conflict(&told)?;
    Ok(None)
}

fn says_the_same(a: &KeptMessage<'_>, b: &KeptMessage<'_>) -> bool {
    a.timestamp_ns == b.timestamp_ns
        && a.subject == b.subject
        && a.headers == b.headers
        && a.body == b.body
}
