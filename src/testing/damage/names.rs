//! Damage to which file stands under which name.

use super::SECTOR;
use super::draft::Draft;
use super::kinds::{is_block, is_index, is_key, is_meta};
use crate::block::builder::BlockBuilder;
use crate::crypto::block_context;
use crate::env::IoError;
use crate::format::names::BlockFile;
use crate::format::record::NewRecord;
use crate::testing::workload::AssetKeys;

type Drawn = Result<Option<String>, IoError>;

/// Puts a file of the earlier moment in place of the present one.
pub fn stale(draft: &mut Draft<'_>, wanted: fn(&str) -> bool) -> Drawn {
    let mut changed = Vec::new();
    for (path, _) in draft.files(wanted) {
        let older = draft.read_older(&path)?;
        if let Some(older) = older
            && draft.read(&path)?.as_ref() != Some(&older)
        {
            changed.push((path, older));
        }
    }
    let Some((path, older)) = draft.random.pick(&changed).cloned() else {
        return Ok(None);
    };
    let text = format!("put back {path} as it was at {} bytes", older.len());
    draft.put(&path, Some(older))?;
    Ok(Some(text))
}

/// Removes a file: each class of files is as likely as the others.
pub fn missing(draft: &mut Draft<'_>) -> Drawn {
    let classes = [is_block, is_key, is_meta, is_index];
    let classes: Vec<_> = classes
        .into_iter()
        .map(|class| draft.files(class))
        .filter(|files| !files.is_empty())
        .collect();
    let Some(files) = draft.random.pick(&classes) else {
        return Ok(None);
    };
    let Some((path, length)) = draft.random.pick(files).cloned() else {
        return Ok(None);
    };
    draft.put(&path, None)?;
    Ok(Some(format!("removed {path} ({length} bytes)")))
}

/// Swaps two blocks, two keys, or both.
pub fn swapped(draft: &mut Draft<'_>) -> Drawn {
    let blocks = draft.target.layout.blocks.len();
    let (one, other) = (draft.random.index(blocks), draft.random.index(blocks));
    let how = draft.random.below(3);
    let blocks = &draft.target.layout.blocks;
    let (Some(one), Some(other)) = (blocks.get(one), blocks.get(other)) else {
        return Ok(None);
    };
    if one.number == other.number {
        return Ok(None);
    }
    let mut pairs = Vec::new();
    if let (1.., Some(a), Some(b)) = (how, &one.key_path, &other.key_path) {
        pairs.push((a, b));
    }
    if how != 1 || pairs.is_empty() {
        pairs.push((&one.path, &other.path));
    }
    let mut told = Vec::new();
    for (a, b) in pairs {
        let (first, second) = (draft.read(a)?, draft.read(b)?);
        draft.put(a, second)?;
        draft.put(b, first)?;
        told.push(format!("{a} and {b}"));
    }
    Ok(Some(format!("swapped {}", told.join(", "))))
}

/// Replacing a file, gone wrong.
pub fn torn_rename(draft: &mut Draft<'_>) -> Drawn {
    let replaced = |path: &str| {
        is_block(path) || is_key(path) || is_meta(path) || is_index(path) || path.ends_with(".db")
    };
    let files = draft.files(replaced);
    let Some((path, length)) = draft.random.pick(&files).cloned() else {
        return Ok(None);
    };
    let bytes = draft.read(&path)?.unwrap_or_default();
    let temporary = format!("{path}.tmp");
    let part = draft.random.below(length) as usize;
    Ok(Some(match draft.random.below(4) {
        0 => {
            let part = bytes.get(..part).unwrap_or_default().to_vec();
            draft.put(&temporary, Some(part))?;
            format!("left half of a new {path} under its temporary name")
        }
        1 => {
            draft.rename(&path, &temporary)?;
            format!("left {path} under its temporary name")
        }
        2 => {
            draft.put(&path, Some(Vec::new()))?;
            format!("replaced {path} by an empty file")
        }
        _ => {
            let end = part - part % SECTOR as usize;
            let part = bytes.get(..end).unwrap_or_default().to_vec();
            draft.put(&path, Some(part))?;
            format!("replaced {path} by its first {end} of {length} bytes")
        }
    }))
}

/// The stages of a purge of everything, in the order in which the server goes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The new last block, with its tombstone, stands among the old ones.
    NewBlock,
    /// Its key was moved to `__new_msgs__`; only where there are keys.
    KeyMoved,
    /// It was moved too: from here on the purge counts.
    BlockMoved,
    /// `msgs` is called `__msgs__`.
    OldSetAside,
    /// `__new_msgs__` is called `msgs`, and the old blocks are still being removed.
    NewInPlace,
}

/// Leaves what a server leaves that is killed while it purges.
pub fn killed_purge(draft: &mut Draft<'_>) -> Drawn {
    let stages = [
        Stage::NewBlock,
        Stage::KeyMoved,
        Stage::BlockMoved,
        Stage::OldSetAside,
        Stage::NewInPlace,
    ];
    let (Some(&stage), Some(last)) = (
        draft.random.pick(&stages),
        draft.target.layout.blocks.last(),
    ) else {
        return Ok(None);
    };
    let Some(number) = last.number.checked_add(1) else {
        return Ok(None);
    };
    let (block, key) = purging_block(draft, number);
    if stage == Stage::KeyMoved && key.is_none() {
        return Ok(None);
    }
    let at = |dir: &str, file: BlockFile| format!("{dir}/{}", file.name(number));
    let old: Vec<String> = draft
        .files(|path| path.starts_with("msgs/"))
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let (key_dir, block_dir) = match stage {
        Stage::NewBlock => ("msgs", "msgs"),
        Stage::KeyMoved => ("__new_msgs__", "msgs"),
        Stage::BlockMoved | Stage::OldSetAside => ("__new_msgs__", "__new_msgs__"),
        Stage::NewInPlace => ("msgs", "msgs"),
    };
    if matches!(stage, Stage::OldSetAside | Stage::NewInPlace) {
        let gone = match stage {
            Stage::NewInPlace => draft.random.index(old.len() + 1),
            _ => 0,
        };
        for (i, path) in old.iter().enumerate() {
            match path.strip_prefix("msgs/") {
                Some(name) if i >= gone => draft.rename(path, &format!("__msgs__/{name}"))?,
                _ => draft.put(path, None)?,
            }
        }
    }
    if let Some(key) = key {
        draft.put(&at(key_dir, BlockFile::Key), Some(key))?;
    }
    draft.put(&at(block_dir, BlockFile::Block), Some(block))?;
    give_up(draft, stage);
    Ok(Some(format!(
        "killed a purge, block {number} new, at the stage {stage:?}"
    )))
}

/// What the new block's tombstone, or the purge itself, takes away.
fn give_up(draft: &mut Draft<'_>, stage: Stage) {
    let live = draft.target.live;
    match stage {
        // The new block's tombstone speaks of the last message.
        Stage::NewBlock => {
            if let Some(last) = live.last() {
                draft.undecided.insert(last);
            }
        }
        // Without its key nobody reads it.
        Stage::KeyMoved => {}
        Stage::BlockMoved | Stage::OldSetAside | Stage::NewInPlace => {
            draft.purged = live.clone();
        }
    }
}

/// The block a purge leaves, with its one tombstone, and its key where the store is encrypted.
fn purging_block(draft: &mut Draft<'_>, number: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    let target = draft.target;
    let stream = target.stream.name.as_bytes();
    let last = target.layout.blocks.iter().rev();
    let last = last
        .flat_map(|block| block.records.iter().rev())
        .find(|record| record.kind == crate::format::record::RecordKind::Message);
    let tombstone = NewRecord::Tombstone {
        sequence: last.map_or(0, |record| record.seq),
        timestamp_ns: target.access.now_ns,
    };
    let mut block = BlockBuilder::new(stream, number);
    // A tombstone always fits; without one the block would be empty, which is another stage of the same purge.
    let _ = block.push(&tombstone);
    let mut block = block.into_content();
    let context = block_context(stream, number);
    let keys = AssetKeys::draw(target.access, &context, &mut draft.random);
    let key = keys.and_then(|keys| keys.encrypt_block(&mut block).ok().map(|()| keys.file));
    (block, key)
}
