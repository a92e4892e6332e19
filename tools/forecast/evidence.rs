//! What a damaged store still proves, found the slow way: every offset of every block is tried.

use std::collections::BTreeSet;

use jetsam::format::checksum::HashKey;
use jetsam::format::record::{RecordKind, parse_at};
use jetsam::format::state::split_trailing_hash;

use crate::oracle::Ask;
use crate::tree::Tree;
use crate::vault::Vault;

/// Records further than this from the start of a block are not looked for one offset at a time.
const TRIED_MAX: usize = 1 << 20;
const INDEX: &str = "msgs/index.db";

/// The tree with the blocks that lie where a purge is staged as blocks of the stream, where it has no other of their number.
pub fn with_staged(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for staged in tree.files(|path| path.starts_with("__new_msgs__/")) {
        let path = staged.replacen("__new_msgs__/", "msgs/", 1);
        if let Some(content) = tree.0.get(&staged).cloned() {
            tree.0.entry(path).or_insert(content);
        }
    }
    tree
}

/// Sequences of messages with a record that verifies, less those that a tombstone or an erased record names.
pub fn proven(tree: &Tree, ask: &Ask) -> BTreeSet<u64> {
    let (messages, gone) = messages_and_gone(tree, ask);
    messages.difference(&gone).copied().collect()
}

/// Sequences of messages with a record that verifies, and those that a tombstone or an erased record names.
fn messages_and_gone(tree: &Tree, ask: &Ask) -> (BTreeSet<u64>, BTreeSet<u64>) {
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
    (messages, gone)
}

/// Sequences that the index of a damaged store lists as live.
///
/// One that is damaged itself need not be readable here: whatever is made of it can say no more than it did before the damage,
/// less what the damaged store still proves to be gone.
pub fn listed(before: &Tree, after: &Tree, ask: &Ask) -> BTreeSet<u64> {
    let Some(bytes) = after.get(INDEX) else {
        return BTreeSet::new();
    };
    let hash_key = HashKey::for_stream(ask.stream.as_bytes());
    let is_sound = split_trailing_hash(bytes)
        .is_some_and(|(payload, hash)| hash_key.hash64(&[payload]).to_le_bytes() == hash);
    if is_sound {
        return index_lists(after, ask);
    }
    let mut listed = index_lists(before, ask);
    let (_, gone) = messages_and_gone(after, ask);
    listed.retain(|seq| !gone.contains(seq));
    listed
}

fn index_lists(tree: &Tree, ask: &Ask) -> BTreeSet<u64> {
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
