//! What the files still say after a damage: only what a witness names can be asked of an account.

use std::collections::BTreeMap;

use super::world::World;
use crate::format::record::RecordKind;
use crate::format::seqset::SeqSet;
use crate::testing::damage::Damage;
use crate::testing::layout::{Layout, RecordPlace};

/// The witnesses of a history, before a damage.
#[derive(Debug, Clone, Default)]
pub struct Witnesses {
    /// Sequences that a tombstone names.
    tombstones: SeqSet,
    /// What the index on disk does not count, up to its last sequence, and that sequence; `None` where there is none.
    index: Option<(SeqSet, u64)>,
    /// What the limits prove as long as no record is damaged.
    by_limits: SeqSet,
    /// What the consumers' files on disk prove.
    by_consumers: SeqSet,
    /// The last sequence that a consumer's file names.
    delivered: u64,
    /// What some consumer's file on disk names as handed out and not acknowledged.
    waited_for: SeqSet,
    /// The last sequence of each block.
    ends: BTreeMap<u32, u64>,
    /// Messages whose record lies in a file.
    pub on_disk: SeqSet,
}

impl Witnesses {
    pub(super) fn of(world: &World, layout: &Layout, index: Option<(SeqSet, u64)>) -> Self {
        let mut found = Self {
            index,
            ..Self::default()
        };
        for block in &layout.blocks {
            for record in &block.records {
                match record.kind {
                    RecordKind::Tombstone => found.tombstones.insert(record.seq),
                    RecordKind::Message => found.on_disk.insert(record.seq),
                    RecordKind::Erased => false,
                };
            }
            let last = block.records.iter().map(|record| record.seq).max();
            found.ends.insert(block.number, last.unwrap_or_default());
        }
        found.by_limits = by_limits(world);
        found.by_consumers = by_consumers(world);
        let delivered = world
            .consumers
            .iter()
            .map(|one| one.on_disk().delivered.stream);
        found.delivered = delivered.max().unwrap_or_default();
        for consumer in &world.consumers {
            found
                .waited_for
                .extend(consumer.on_disk().pending.keys().copied());
        }
        found
    }

    /// Whether something that the damage left says that `seq` was removed.
    #[must_use]
    pub fn tell_removal(&self, seq: u64, damage: Option<&Damage>) -> bool {
        let keys_hit =
            damage.is_some_and(|damage| !damage.behind_keys.is_empty() && !damage.is_one_bit());
        let torn = |set: &SeqSet| damage.is_some_and(|_| set.contains(seq));
        let tombstone = self.tombstones.contains(seq)
            && !keys_hit
            && !damage.is_some_and(|damage| torn(&damage.touched.removals));
        let index = self
            .index
            .as_ref()
            .is_some_and(|(gone, _)| gone.contains(seq));
        let configured = CONFIGURATION.into_iter().all(|path| opens(path, damage));
        let records_whole = damage.is_none_or(|damage| {
            damage.touched.messages.is_empty() && damage.behind_keys.is_empty()
        });
        tombstone
            || (index && opens_index(damage))
            || (configured && records_whole && self.by_limits.contains(seq))
            || (configured && self.by_consumers.contains(seq))
    }

    /// The last sequence that anything names after the damage.
    #[must_use]
    pub fn named_up_to(&self, layout: &Layout, damage: Option<&Damage>) -> u64 {
        let index = match &self.index {
            Some((_, last)) if opens_index(damage) => *last,
            _ => 0,
        };
        let mut named = index.max(self.delivered);
        for record in left(layout, damage) {
            named = named.max(record.seq);
        }
        named
    }

    /// The last message whose record the damage left.
    #[must_use]
    pub fn stored_up_to(&self, layout: &Layout, damage: Option<&Damage>) -> u64 {
        let messages = left(layout, damage).filter(|record| record.kind == RecordKind::Message);
        messages.map(|record| record.seq).max().unwrap_or_default()
    }

    /// Whether every message, every index and every consumer that the damage left speaks of later sequences only.
    #[must_use]
    pub fn begins_above(&self, seq: u64, layout: &Layout, damage: Option<&Damage>) -> bool {
        let index = self.index.as_ref();
        let index = index.is_some_and(|(_, last)| *last >= seq && opens_index(damage));
        let mut messages =
            left(layout, damage).filter(|record| record.kind != RecordKind::Tombstone);
        !index && !self.waited_for.contains(seq) && messages.all(|record| record.seq > seq)
    }
}

/// The records that the damage left.
fn left<'a>(
    layout: &'a Layout,
    damage: Option<&'a Damage>,
) -> impl Iterator<Item = &'a RecordPlace> {
    let records = layout.blocks.iter().flat_map(|block| &block.records);
    records.filter(move |record| {
        !damage.is_some_and(|damage| match record.kind {
            RecordKind::Message => damage.may_cost(record.seq),
            _ => damage.touched.removals.contains(record.seq) || !damage.behind_keys.is_empty(),
        })
    })
}

/// What the configuration is read from.
const CONFIGURATION: [&str; 3] = ["meta.inf", "meta.sum", "meta.key"];

/// Whether what was in a side file before the damage can still be read: it was not hit, or by no more than one bit, which its
/// checksum or its tag gives back.
fn opens(path: &str, damage: Option<&Damage>) -> bool {
    damage.is_none_or(|damage| {
        damage.is_one_bit() || damage.files.iter().all(|file| file.path != path)
    })
}

/// Whether the index can: where it is sealed, it is under the stream's key.
fn opens_index(damage: Option<&Damage>) -> bool {
    ["msgs/index.db", "meta.key"]
        .into_iter()
        .all(|path| opens(path, damage))
}

/// Removed messages that the limits would remove again, from the records that are there.
fn by_limits(world: &World) -> SeqSet {
    let (server, truth) = (&world.server, &world.server.truth);
    let setup = &server.setup;
    let (mut messages, mut bytes) = (0, 0);
    let mut found = SeqSet::new();
    let mut full_from = 0;
    for (seq, kept) in server.live.iter().rev() {
        messages += 1;
        bytes += kept.bytes;
        let full = setup.max_messages.is_some_and(|most| messages >= most)
            || setup
                .max_bytes
                .is_some_and(|most| bytes + kept.bytes > most);
        if full {
            full_from = *seq;
            break;
        }
    }
    for (way, seqs) in &truth.removed {
        match way {
            super::Way::SubjectLimit => found.union_with(seqs),
            super::Way::Limit | super::Way::Deleted | super::Way::Purge if full_from > 0 => {
                let mut below = seqs.clone();
                below.remove_range(full_from..=u64::MAX);
                found.union_with(&below);
            }
            _ => {}
        }
    }
    found
}

/// Messages that, by the consumers' files, every consumer that wants them is done with.
fn by_consumers(world: &World) -> SeqSet {
    let mut found = SeqSet::new();
    let Some(acked) = world.server.truth.removed.get(&super::Way::Ack) else {
        return found;
    };
    let done = |seq: u64| {
        world.consumers.iter().all(|consumer| {
            let state = consumer.on_disk();
            seq <= state.ack_floor.stream
                || (seq <= state.delivered.stream && !state.pending.contains_key(&seq))
        })
    };
    for seq in acked.iter().filter(|seq| done(*seq)) {
        found.insert(seq);
    }
    found
}
