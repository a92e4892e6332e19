//! Seeded edits of what is inside the files, so that hashes and seals still hold.

#[path = "edit/index.rs"]
mod index;
#[path = "edit/records.rs"]
mod records;
#[path = "edit/settings.rs"]
mod settings;

use jetsam::format::record::parse_at;
use jetsam::format::state::StateFile;

use crate::mutate::Mutator;
use crate::random::Random;

pub use index::{index, index_raw, legacy_index};
pub use records::block;
pub use settings::{meta, timers};

/// Ends of the records of a block's content that can be followed.
pub fn boundaries(content: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut at = 0;
    while let Ok(record) = parse_at(content, at) {
        at = record.end_offset();
        ends.push(at);
    }
    ends
}

/// The records of a block's content, and what follows them.
fn records(content: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let ends = boundaries(content);
    let pairs = ends.iter().zip(ends.iter().skip(1));
    let list = pairs.map(|(from, to)| content.get(*from..*to).unwrap_or_default().to_vec());
    let rest = content.get(ends.last().copied().unwrap_or_default()..);
    (list.collect(), rest.unwrap_or_default().to_vec())
}

fn other_time(random: &mut Random, time: i64) -> i64 {
    match random.below(7) {
        0 => 0,
        1 => -1,
        2 => time.wrapping_sub(3_600_000_000_000),
        3 => time.wrapping_add(3_600_000_000_000),
        4 => 315_532_800_000_000_000,
        5 => jetsam::format::limits::ZERO_TIME_NS,
        _ => time.wrapping_add(random.below(1 << 40) as i64),
    }
}

fn nudge(random: &mut Random, value: u64) -> u64 {
    match random.below(6) {
        0 => 0,
        1 | 2 => value.wrapping_sub(1),
        3 | 4 => value.wrapping_add(1),
        _ => value.wrapping_add(random.below(200)),
    }
}

fn put_index(m: &mut Mutator<'_>, index: &StateFile) -> Option<()> {
    let plain = index.encode(u64::MAX).ok()?;
    put_index_plain(m, &plain)
}

fn put_index_plain(m: &mut Mutator<'_>, plain: &[u8]) -> Option<()> {
    let mut tree = std::mem::take(m.tree);
    let mut random = m.random.clone();
    let done = m.vault().put_index(&mut tree, plain, &mut random);
    *m.random = random;
    *m.tree = tree;
    done
}
