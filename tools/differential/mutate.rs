//! Seeded damage to files as files: no knowledge of what is in them.

use crate::edit;
use crate::oracle::Ask;
use crate::random::Random;
use crate::tree::{Tree, block_path, key_path};
use crate::vault::Vault;
use jetsam::format::names::{BlockFile, STAGED_MESSAGES};

/// Makes the side files of an earlier moment of the same store.
pub type Older<'a> = dyn FnMut(&Tree, &Ask) -> Option<Tree> + 'a;

/// What a mutation works on.
pub struct Mutator<'a> {
    pub tree: &'a mut Tree,
    pub ask: &'a mut Ask,
    pub random: &'a mut Random,
    pub older: &'a mut Older<'a>,
}

type Mutation = for<'a> fn(&mut Mutator<'a>) -> Option<String>;

/// Every mutation with its weight.
const MUTATIONS: &[(u64, Mutation)] = &[
    (14, flip_bit),
    (9, cut),
    (5, extend),
    (4, zero_range),
    (4, overwrite),
    (5, delete),
    (4, duplicate),
    (3, swap_blocks),
    (2, renumber),
    (8, older_side_files),
    (10, remove_index),
    (6, remove_timers),
    (5, keys),
    (3, legacy_files),
    (1, directory_for_file),
    (3, empty),
    (3, purge_staging),
    (5, cut_at_record),
    (10, edit::index),
    (5, edit::index_raw),
    (14, edit::block),
    (8, edit::meta),
    (5, edit::timers),
];

/// Does one mutation and says what it did. `None` where nothing applied.
pub fn mutate(mutator: &mut Mutator<'_>) -> Option<String> {
    let weights: Vec<u64> = MUTATIONS.iter().map(|(weight, _)| *weight).collect();
    for _ in 0..30 {
        let choice = mutator.random.weighted(&weights);
        let (_, mutation) = MUTATIONS.get(choice)?;
        if let Some(text) = mutation(mutator) {
            return Some(text);
        }
    }
    None
}

impl Mutator<'_> {
    pub fn vault(&self) -> Vault<'_> {
        Vault::new(self.ask)
    }

    /// A file, blocks before others, metadata last.
    fn file(&mut self) -> Option<String> {
        let class = self.random.weighted(&[55, 20, 6, 12, 4, 3]);
        let files = self.tree.files(|name| match class {
            0 => name.ends_with(".blk"),
            1 => name.ends_with("index.db"),
            2 => name.ends_with(".key"),
            3 => side_file(name),
            4 => name.starts_with("meta."),
            _ => true,
        });
        self.random.pick(&files).cloned()
    }

    fn file_with_bytes(&mut self) -> Option<(String, usize)> {
        let name = self.file()?;
        let length = self.tree.get(&name)?.len();
        (length > 0).then_some((name, length))
    }

    /// Where damage is put: anywhere, with a liking for both ends.
    fn place(&mut self, length: usize) -> usize {
        match self.random.below(10) {
            0 => self.random.index(length.min(32)),
            1 | 2 => length - 1 - self.random.index(length.min(32)),
            _ => self.random.index(length),
        }
    }

    pub fn any_block(&mut self) -> Option<u32> {
        self.random.pick(&self.tree.blocks()).copied()
    }

    /// A block, often the last.
    pub fn block(&mut self) -> Option<u32> {
        let blocks = self.tree.blocks();
        if self.random.chance(40) {
            return blocks.last().copied();
        }
        self.random.pick(&blocks).copied()
    }
}

fn side_file(name: &str) -> bool {
    matches!(name, "msgs/thw.db" | "msgs/sched.db" | "sources.db")
}

fn flip_bit(m: &mut Mutator<'_>) -> Option<String> {
    let (name, length) = m.file_with_bytes()?;
    let (at, bit) = (m.place(length), m.random.below(8));
    *m.tree.get_mut(&name)?.get_mut(at)? ^= 1 << bit;
    Some(format!(
        "flip bit {bit} of byte {at} of {name} ({length} bytes)"
    ))
}

fn cut(m: &mut Mutator<'_>) -> Option<String> {
    let (name, length) = m.file_with_bytes()?;
    let at = m.place(length);
    m.tree.get_mut(&name)?.truncate(at);
    Some(format!("cut {name} from {length} to {at} bytes"))
}

fn extend(m: &mut Mutator<'_>) -> Option<String> {
    let name = m.file()?;
    let count = 1 + if m.random.chance(85) {
        m.random.index(64)
    } else {
        m.random.index(6000)
    };
    let garbage = m.random.chance(50);
    let more = if garbage {
        m.random.bytes(count)
    } else {
        vec![0; count]
    };
    m.tree.get_mut(&name)?.extend(more);
    let what = if garbage { "garbage" } else { "zeros" };
    Some(format!("extend {name} by {count} bytes of {what}"))
}

fn zero_range(m: &mut Mutator<'_>) -> Option<String> {
    let (name, length) = m.file_with_bytes()?;
    let at = m.place(length);
    let count = 1 + m.random.index(200.min(length - at));
    m.tree.get_mut(&name)?.get_mut(at..at + count)?.fill(0);
    Some(format!("zero {count} bytes of {name} at {at}"))
}

fn overwrite(m: &mut Mutator<'_>) -> Option<String> {
    let (name, length) = m.file_with_bytes()?;
    let (from, to) = (m.place(length), m.place(length));
    let count = 1 + m.random.index(100.min(length - from.max(to)));
    m.tree.get_mut(&name)?.copy_within(from..from + count, to);
    Some(format!("copy {count} bytes of {name} from {from} to {to}"))
}

fn delete(m: &mut Mutator<'_>) -> Option<String> {
    let name = m.file()?;
    m.tree.remove(&name);
    Some(format!("delete {name}"))
}

fn duplicate(m: &mut Mutator<'_>) -> Option<String> {
    let number = m.any_block()?;
    let last = *m.tree.blocks().last()?;
    let target = match m.random.below(9) {
        0 => format!("00{number}.blk"),
        1 => format!("{number}.blk.bak.blk"),
        2 => format!("{}.blk", last + 1),
        3 => format!("{}.blk", last + 1 + m.random.below(20) as u32),
        4 => format!("-{number}.blk"),
        5 => format!("+{number}.blk"),
        6 => format!("{}.blk", (1_u64 << 32) + u64::from(number)),
        7 => format!("{number}.blk.tmp"),
        _ => format!("copy-{number}.blk"),
    };
    let bytes = m.tree.get(&block_path(number))?.clone();
    m.tree.put(format!("msgs/{target}"), bytes);
    let mut with = "";
    if let (true, Some(key)) = (m.random.chance(50), m.tree.get(&key_path(number)).cloned()) {
        let key_name = target.replace(".blk", ".key");
        m.tree.put(format!("msgs/{key_name}"), key);
        with = " with its key";
    }
    Some(format!("copy msgs/{number}.blk to msgs/{target}{with}"))
}

fn swap_blocks(m: &mut Mutator<'_>) -> Option<String> {
    let (a, b) = (m.any_block()?, m.any_block()?);
    if a == b {
        return None;
    }
    let keys = m.random.chance(50);
    let mut pairs = vec![(block_path(a), block_path(b))];
    if keys {
        pairs.push((key_path(a), key_path(b)));
    }
    for (first, second) in pairs {
        let (x, y) = (m.tree.remove(&first), m.tree.remove(&second));
        if let Some(x) = x {
            m.tree.put(second, x);
        }
        if let Some(y) = y {
            m.tree.put(first, y);
        }
    }
    let with = if keys { " and their keys" } else { "" };
    Some(format!("swap blocks {a} and {b}{with}"))
}

fn renumber(m: &mut Mutator<'_>) -> Option<String> {
    let (from, to) = (m.any_block()?, m.any_block()?);
    let to = if m.random.chance(50) {
        to
    } else {
        to + 1 + m.random.below(3) as u32
    };
    if from == to {
        return None;
    }
    for name in [block_path, key_path] {
        if let Some(bytes) = m.tree.remove(&name(from)) {
            m.tree.put(name(to), bytes);
        }
    }
    Some(format!("rename block {from} to {to}"))
}

fn older_side_files(m: &mut Mutator<'_>) -> Option<String> {
    let mut shorter = m.tree.clone();
    let mut text = cut_tail(&mut shorter, m)?;
    let older = (m.older)(&shorter, m.ask)?;
    let mut names = vec![];
    for name in [
        "msgs/index.db",
        "msgs/thw.db",
        "msgs/sched.db",
        "sources.db",
    ] {
        let Some(bytes) = older.get(name) else {
            continue;
        };
        if m.random.chance(75) && m.tree.get(name) != Some(bytes) {
            m.tree.put(name, bytes.clone());
            names.push(name);
        }
    }
    if names.is_empty() {
        return None;
    }
    text.push_str(&format!("); used from it: {}", names.join(", ")));
    Some(format!("side files from an earlier moment ({text}"))
}

/// Takes whole records, or whole blocks, off the end of a store.
fn cut_tail(tree: &mut Tree, m: &mut Mutator<'_>) -> Option<String> {
    let blocks = tree.blocks();
    let mut text = String::new();
    let keep = blocks.len() - m.random.index(blocks.len().clamp(1, 4));
    for number in blocks.get(keep..)? {
        tree.remove(&block_path(*number));
        tree.remove(&key_path(*number));
        text.push_str(&format!("without block {number}; "));
    }
    let last = *blocks.get(keep.checked_sub(1)?)?;
    let at = record_boundary(tree, m, last);
    match at {
        Some(at) => {
            tree.get_mut(&block_path(last))?.truncate(at);
            text.push_str(&format!("block {last} cut at {at}"));
        }
        None if text.is_empty() => return None,
        None => {}
    }
    Some(text)
}

/// A place between two records of a block that is not compressed.
fn record_boundary(tree: &Tree, m: &mut Mutator<'_>, number: u32) -> Option<usize> {
    let block = m
        .vault()
        .block(tree, number)
        .filter(|block| !block.compressed)?;
    let ends = edit::boundaries(&block.content);
    m.random.pick(&ends).copied()
}

fn cut_at_record(m: &mut Mutator<'_>) -> Option<String> {
    let number = m.block()?;
    let tree = m.tree.clone();
    let at = record_boundary(&tree, m, number)?;
    m.tree.get_mut(&block_path(number))?.truncate(at);
    Some(format!("cut block {number} at the record boundary {at}"))
}

fn remove_index(m: &mut Mutator<'_>) -> Option<String> {
    m.tree.remove("msgs/index.db")?;
    Some("remove msgs/index.db".into())
}

fn remove_timers(m: &mut Mutator<'_>) -> Option<String> {
    let files = m.tree.files(side_file);
    if files.is_empty() {
        return None;
    }
    for name in &files {
        m.tree.remove(name);
    }
    Some(format!("remove {}", files.join(", ")))
}

fn keys(m: &mut Mutator<'_>) -> Option<String> {
    if m.ask.key.is_empty() {
        m.ask.key = "a new key".into();
        m.ask.cipher = if m.random.chance(50) { "aes" } else { "chacha" }.into();
        return Some(format!(
            "encryption ({}) configured for a plain store",
            m.ask.cipher
        ));
    }
    let other = if m.ask.cipher == "aes" {
        "chacha"
    } else {
        "aes"
    };
    Some(match m.random.below(6) {
        0 => {
            m.ask.key = "wrong".into();
            "wrong key".into()
        }
        1 => {
            m.ask.key.clear();
            "no key".into()
        }
        2 => {
            m.ask.prev_key = std::mem::replace(&mut m.ask.key, "a new key".into());
            "key rotated".into()
        }
        3 => {
            m.ask.prev_key = std::mem::replace(&mut m.ask.key, "a new key".into());
            m.ask.cipher = other.into();
            format!("key rotated and cipher changed to {other}")
        }
        4 => {
            m.ask.prev_key = "unrelated".into();
            "an unrelated previous key".into()
        }
        _ => {
            m.ask.cipher = other.into();
            format!("cipher changed to {other}")
        }
    })
}

fn legacy_files(m: &mut Mutator<'_>) -> Option<String> {
    let number = m.any_block()?;
    if m.random.chance(60) {
        return edit::legacy_index(m, number);
    }
    let suffix = if m.random.chance(60) { "idx" } else { "fss" };
    let length = m.random.index(80);
    let bytes = m.random.bytes(length);
    m.tree.put(format!("msgs/{number}.{suffix}"), bytes);
    Some(format!(
        "garbage of {length} bytes as msgs/{number}.{suffix}"
    ))
}

fn directory_for_file(m: &mut Mutator<'_>) -> Option<String> {
    let name = m.file()?;
    m.tree.remove(&name);
    m.tree.0.insert(name.clone(), None);
    Some(format!("a directory in place of {name}"))
}

fn empty(m: &mut Mutator<'_>) -> Option<String> {
    if m.random.chance(30) {
        let next = m.tree.blocks().last()? + 1;
        m.tree.put(block_path(next), vec![]);
        return Some(format!("a new empty block {next}"));
    }
    let name = m.file()?;
    m.tree.get_mut(&name)?.clear();
    Some(format!("empty {name}"))
}

fn purge_staging(m: &mut Mutator<'_>) -> Option<String> {
    let last = *m.tree.blocks().last()?;
    let block = m.tree.get(&block_path(last))?.clone();
    let key = m.tree.get(&key_path(last)).cloned();
    let stage_key = |m: &mut Mutator<'_>| {
        if let Some(key) = key.clone() {
            m.tree
                .put(BlockFile::Key.path_in(STAGED_MESSAGES, last), key);
        }
    };
    Some(match m.random.below(7) {
        0 => {
            m.tree.put("__new_msgs__/junk.blk", b"junk".to_vec());
            "junk.blk in __new_msgs__".into()
        }
        1 => {
            stage_key(m);
            m.tree
                .put(BlockFile::Block.path_in(STAGED_MESSAGES, last), block);
            format!("block {last} staged in __new_msgs__")
        }
        2 => {
            stage_key(m);
            m.tree.remove(&block_path(last));
            m.tree
                .put(BlockFile::Block.path_in(STAGED_MESSAGES, last), block);
            format!("block {last} moved to __new_msgs__")
        }
        3 => {
            m.tree.put(
                BlockFile::Key.path_in(STAGED_MESSAGES, last),
                key.unwrap_or_default(),
            );
            format!("only {last}.key in __new_msgs__")
        }
        4 => {
            m.tree.0.insert("__new_msgs__".into(), None);
            "empty __new_msgs__".into()
        }
        5 => {
            move_dir(m, "__msgs__", true);
            m.tree
                .put(BlockFile::Block.path_in(STAGED_MESSAGES, last), block);
            stage_key(m);
            "msgs renamed to __msgs__, last block in __new_msgs__".into()
        }
        _ => {
            move_dir(m, "__msgs__", false);
            "a copy of msgs as __msgs__".into()
        }
    })
}

fn move_dir(m: &mut Mutator<'_>, to: &str, gone: bool) {
    for name in m.tree.files(|name| name.starts_with("msgs/")) {
        let bytes = m.tree.get(&name).cloned().unwrap_or_default();
        m.tree.put(name.replacen("msgs", to, 1), bytes);
        if gone {
            m.tree.remove(&name);
        }
    }
    if gone {
        m.tree.0.remove("msgs");
    }
}
