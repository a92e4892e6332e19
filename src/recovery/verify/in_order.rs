//! Reading a damaged store from its first message to its last, one after the other, the way the server
//! would: a read that walks a block anew changes what the next one finds.

use sha2::{Digest, Sha256};

use super::super::simulate::{Lookup, Simulation};
use super::feed;

/// Sequences that are read one by one; a state that claims more is judged block by block.
const REPLAYED_MAX: u64 = 1 << 26;

/// What reading everything in order came to.
pub struct Replayed {
    /// Sequences the state counts as live and no read finds; ascending.
    pub unreadable: Vec<u64>,
    /// SHA-256 over the messages that were found.
    pub digest: [u8; 32],
}

/// Reads every sequence that `model` counts as live; `deleted` are the others, as spans. `None` where
/// the state claims more sequences than can be read one by one.
pub fn replay(sim: &Simulation<'_>, deleted: &[(u64, u64)]) -> Option<Replayed> {
    let (first, last) = (sim.totals.first.seq.max(1), sim.totals.last.seq);
    let mut spans = deleted.to_vec();
    spans.sort_unstable();
    let gone: u64 = spans
        .iter()
        .map(|(from, to)| (to - from).saturating_add(1))
        .sum();
    if last.saturating_sub(first).saturating_sub(gone) > REPLAYED_MAX {
        return None;
    }
    let mut reader = sim.reading_copy();
    let (mut hasher, mut hashed) = (Sha256::new(), Vec::new());
    let mut unreadable = Vec::new();
    let mut spans = spans.into_iter().peekable();
    let mut seq = first;
    while seq <= last {
        while spans.next_if(|(_, to)| *to < seq).is_some() {}
        if let Some((_, to)) = spans.peek().filter(|(from, _)| *from <= seq) {
            let Some(next) = to.checked_add(1) else { break };
            seq = next;
            continue;
        }
        let found = reader.select_block(seq).map(|at| reader.fetch(at, seq));
        match found {
            Some(Ok(Lookup::Found(loaded, record))) => {
                hashed.clear();
                feed(&mut hashed, &loaded.content, seq, &record);
                hasher.update(&hashed);
            }
            _ => unreadable.push(seq),
        }
        reader.apply_late_rebuilds();
        let Some(next) = seq.checked_add(1) else {
            break;
        };
        seq = next;
    }
    let digest = hasher.finalize().into();
    Some(Replayed { unreadable, digest })
}
