//! Blocks that lie under the temporary name alone which a server writes them under before it renames them.
//!
//! Neither a server nor salvage takes such a file for the block: it may be left from long before the block went, with messages
//! in it that were removed since. But what verifies in it was stored once. So the account names those sequences, as ones of
//! which nothing else tells what became of them.

use std::collections::BTreeSet;

use super::findings::Lifetimes;
use super::read::Blocks;
use super::scan::{Hints, Scratch, scan_block};
use super::scan_blocks::WORK_LIMIT;
use super::survey::Witness;
use crate::block::key::BlockKey;
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::names::{MESSAGES, block_number};
use crate::format::seqset::SeqSet;
use crate::stream::StreamDir;

/// What a server puts behind a block's name while it writes the block.
const TEMPORARY_SUFFIX: &[u8] = b".tmp";

/// The messages above `last` that verify in such files. What cannot be read tells nothing.
pub(super) fn named_above(blocks: Blocks<'_>, last: u64) -> SeqSet {
    let mut named = SeqSet::new();
    let evidence = &blocks.gathered.evidence;
    let unrenamed = unrenamed(blocks);
    if unrenamed.is_empty() {
        return named;
    }
    let witness = Witness::new(evidence);
    let mut file = Vec::new();
    let mut scratch = Scratch::default();
    for number in unrenamed {
        let path = format!("{}.tmp", blocks.path(number));
        let Ok(read) = blocks.read_at(&path, number, &mut file) else {
            continue;
        };
        if matches!(read.key, BlockKey::Closed(_)) {
            continue;
        }
        let hints = Hints {
            number,
            hash_key: &HashKey::for_block(evidence.name.as_bytes(), number),
            sequences: &(1..=SEQUENCE_MAX),
            subjects: &witness,
            work_limit: WORK_LIMIT,
            lifetimes: Lifetimes::default(),
        };
        named.union_with(&scan_block(&mut file, &hints, &mut scratch).messages);
    }
    named.remove_range(0..=last);
    named
}

/// Whether there is a file of that name at all: then the index may be of before the block was renamed, whatever it is of.
pub(super) fn any(fs: &dyn ReadFiles, stream: &StreamDir) -> bool {
    let entries = fs.list(&stream.dir.join(MESSAGES)).unwrap_or_default();
    entries.iter().any(|entry| {
        let name = entry.name.as_encoded_bytes();
        name.strip_suffix(TEMPORARY_SUFFIX)
            .is_some_and(|name| block_number(name).is_some())
    })
}

/// The numbers of the blocks that have no other file.
fn unrenamed(blocks: Blocks<'_>) -> BTreeSet<u32> {
    let dir = blocks.stream.dir.join(&blocks.gathered.messages_dir);
    let entries = blocks.fs.list(&dir).unwrap_or_default();
    let numbers = entries.iter().filter_map(|entry| {
        let name = entry.name.as_encoded_bytes();
        block_number(name.strip_suffix(TEMPORARY_SUFFIX)?)
    });
    let known = &blocks.gathered.evidence.blocks;
    numbers.filter(|number| !known.contains(number)).collect()
}
