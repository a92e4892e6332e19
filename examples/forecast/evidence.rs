//! What a damaged store still proves, found the slow way: every offset of every block is tried.

use std::collections::BTreeSet;

use jetsam::format::record::{RecordKind, parse_at};

use crate::oracle::Ask;
use crate::tree::Tree;
use crate::vault::Vault;

/// Records further than this from the start of a block are not looked for one offset at a time.
const TRIED_MAX: usize = 1 << 20;

/// Sequences of messages with a record that verifies, less those that a tombstone or an erased record names.
pub fn proven(tree: &Tree, ask: &Ask) -> BTreeSet<u64> {
    let vault = Vault::new(ask);
    let (mut messages, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for number in tree.blocks() {
        let Some(block) = vault.block(tree, number) else {
            continue;
        };
        let key = vault.hash_key(number);
        let content = &block.content;
        let (mut at, mut last) = (0, 0);
        while at < content.len().min(TRIED_MAX) {
            let found = parse_at(content, at)
                .ok()
                .filter(|record| jetsam::block::content::verifies(record, content, &key));
            let Some(record) = found else {
                at += 1;
                continue;
            };
            let seq = record.sequence();
            match record.kind() {
                RecordKind::Message if seq > last => {
                    messages.insert(seq);
                }
                RecordKind::Message => {}
                RecordKind::Erased | RecordKind::Tombstone => {
                    gone.insert(seq);
                }
            }
            if record.kind() != RecordKind::Tombstone {
                last = last.max(seq);
            }
            at = record.end_offset();
        }
    }
    messages.difference(&gone).copied().collect()
}

/// Sequences that the index lists as live.
pub fn listed(tree: &Tree, ask: &Ask) -> BTreeSet<u64> {
    let mut listed = BTreeSet::new();
    let Some(index) = Vault::new(ask).index(tree) else {
        return listed;
    };
    for block in &index.blocks {
        if block.last_sequence.saturating_sub(block.first_sequence) > TRIED_MAX as u64 {
            continue;
        }
        let live = (block.first_sequence..=block.last_sequence)
            .filter(|seq| !block.deleted.contains(*seq));
        listed.extend(live);
    }
    listed
}

/// Whether there are bytes without a record that leave room for that many messages more than anyone knows of: they may have
/// been messages, and nobody can tell that they were not.
pub fn between_damage(tree: &Tree, ask: &Ask, invented: &[u64]) -> bool {
    const RECORD_MIN: usize = 30;
    let vault = Vault::new(ask);
    let mut room = 0;
    for number in tree.blocks() {
        let Some(block) = vault.block(tree, number) else {
            return true;
        };
        let key = vault.hash_key(number);
        let mut at = 0;
        while at < block.content.len().min(TRIED_MAX) {
            let found = parse_at(&block.content, at)
                .ok()
                .filter(|record| jetsam::block::content::verifies(record, &block.content, &key));
            match found {
                Some(record) => at = record.end_offset(),
                None => {
                    room += 1;
                    at += 1;
                }
            }
        }
    }
    invented.len() <= room / RECORD_MIN
}
