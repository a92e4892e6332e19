//! What both sides leave on disk, compared by what it means.

use std::collections::BTreeSet;

use jetsam::format::sources::SourcesFile;
use jetsam::format::state::{StateFile, SubjectEntry};
use jetsam::format::timers::{ExpiryFile, ScheduleFile};

use crate::compare::Differences;
use crate::oracle::Ask;
use crate::tree::{Tree, block_path, key_path};
use crate::vault::Vault;

/// Compares the directory after the oracle's open and stop with the one after our recovery.
pub fn trees(go: &Tree, ours: &Tree, ask: &Ask, found: &mut Differences) {
    let vault = Vault::new(ask);
    let (go_files, our_files) = (names(go), names(ours));
    for name in go_files.symmetric_difference(&our_files) {
        let (go, ours) = (go.get(name).map(Vec::len), ours.get(name).map(Vec::len));
        found.add(format!("disk: {}", kind(name)), (name, go), (name, ours));
    }
    for name in go_files.intersection(&our_files) {
        if go.get(name) != ours.get(name) {
            file(go, ours, name, &vault, found);
        }
    }
}

/// The files that count: ours for undo and locking do not.
fn names(tree: &Tree) -> BTreeSet<String> {
    tree.files(|name| !name.split('/').any(|part| part.starts_with(".jetsam")))
        .into_iter()
        .collect()
}

/// A file's name with its number taken out, for grouping.
fn kind(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_digit() { 'N' } else { c })
        .collect()
}

fn file(go: &Tree, ours: &Tree, name: &str, vault: &Vault<'_>, found: &mut Differences) {
    match name {
        "msgs/index.db" => state_files(vault.index(go), vault.index(ours), found),
        "msgs/thw.db" => {
            let wheel = |tree: &Tree| {
                let file = ExpiryFile::decode(tree.get(name)?).ok()?;
                Some((file.stamp, file.normalize()))
            };
            found.check("disk: thw.db", wheel(go), wheel(ours));
        }
        "msgs/sched.db" => {
            let list = |tree: &Tree| {
                let file = ScheduleFile::decode(tree.get(name)?).ok()?;
                Some((file.stamp, file.normalize()))
            };
            found.check("disk: sched.db", list(go), list(ours));
        }
        "sources.db" => {
            let list = |tree: &Tree| SourcesFile::decode(tree.get(name)?).ok();
            found.check("disk: sources.db", list(go), list(ours));
        }
        "meta.inf" => found.check("disk: meta.inf", vault.meta(go), vault.meta(ours)),
        // A new key has new bytes; what it opens is compared.
        "meta.sum" | "meta.key" => {}
        _ => other(go, ours, name, vault, found),
    }
}

fn other(go: &Tree, ours: &Tree, name: &str, vault: &Vault<'_>, found: &mut Differences) {
    let number = name
        .strip_prefix("msgs/")
        .and_then(|name| name.strip_suffix(".blk").or(name.strip_suffix(".key")))
        .and_then(|number| number.parse().ok());
    let lengths = |tree: &Tree| tree.get(name).map(Vec::len);
    let Some(number) = number else {
        found.add(
            format!("disk: {}", kind(name)),
            (name, lengths(go)),
            (name, lengths(ours)),
        );
        return;
    };
    if name == key_path(number) {
        if vault.block(go, number).is_some() != vault.block(ours, number).is_some() {
            found.add("disk: key", (name, lengths(go)), (name, lengths(ours)));
        }
    } else if name == block_path(number) {
        block(go, ours, number, vault, found);
    } else {
        found.add(
            format!("disk: {}", kind(name)),
            (name, lengths(go)),
            (name, lengths(ours)),
        );
    }
}

fn block(go: &Tree, ours: &Tree, number: u32, vault: &Vault<'_>, found: &mut Differences) {
    let (go_block, our_block) = (vault.block(go, number), vault.block(ours, number));
    match (&go_block, &our_block) {
        (Some(a), Some(b)) if a.content == b.content => {}
        (Some(a), Some(b)) => {
            let same = a
                .content
                .iter()
                .zip(&b.content)
                .take_while(|(a, b)| a == b)
                .count();
            let said = |block: &crate::vault::Block| {
                format!(
                    "block {number}: {} bytes, compressed {}, first {same} bytes alike",
                    block.content.len(),
                    block.compressed
                )
            };
            found.add("disk: block content", said(a), said(b));
        }
        _ => {
            let said = |tree: &Tree, opens: bool| {
                format!(
                    "block {number}: {:?} bytes, decodes {opens}",
                    tree.get(&block_path(number)).map(Vec::len)
                )
            };
            found.add(
                "disk: block decodes",
                said(go, go_block.is_some()),
                said(ours, our_block.is_some()),
            );
        }
    }
}

fn state_files(go: Option<StateFile>, ours: Option<StateFile>, found: &mut Differences) {
    let (Some(go), Some(ours)) = (&go, &ours) else {
        // Neither decodes where a subject is not one: the server writes such files too.
        found.check("disk: index.db decodes", go.is_some(), ours.is_some());
        return;
    };
    let totals = |file: &StateFile| {
        let last = (file.last_sequence, file.last_time_ns);
        (
            file.messages,
            file.bytes,
            file.first_sequence,
            file.first_time_ns,
            last,
        )
    };
    found.check("disk: index.db version", go.version, ours.version);
    found.check("disk: index.db totals", totals(go), totals(ours));
    found.check("disk: index.db last block", go.last_block, ours.last_block);
    found.check(
        "disk: index.db last record hash",
        go.last_record_hash,
        ours.last_record_hash,
    );
    subject_lists(go, ours, found);
    let counters = |file: &StateFile| -> Vec<(u32, u64, u64)> {
        let list = file.blocks.iter();
        list.map(|block| (block.number, block.ttl_count, block.schedule_count))
            .collect()
    };
    found.check(
        "disk: index.db timer counters",
        counters(go),
        counters(ours),
    );
    let blocks = |file: &StateFile| -> BTreeSet<String> {
        let list = file.blocks.iter().map(|block| {
            let deleted: Vec<u64> = block.deleted.iter().take(1000).collect();
            format!(
                "{}: bytes {} first {}@{} last {}@{} deleted {} set {} {deleted:?}",
                block.number,
                block.bytes,
                block.first_sequence,
                block.first_time_ns,
                block.last_sequence,
                block.last_time_ns,
                block.deleted_count,
                block.deleted.len(),
            )
        });
        list.collect()
    };
    let (a, b) = (blocks(go), blocks(ours));
    if a != b {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
            a.difference(b).cloned().collect::<Vec<_>>()
        };
        found.add("disk: index.db blocks", only(&a, &b), only(&b, &a));
    }
}

fn subject_lists(go: &StateFile, ours: &StateFile, found: &mut Differences) {
    let subjects = |file: &StateFile| -> BTreeSet<String> {
        let said = |entry: SubjectEntry<'_>| {
            format!(
                "{} {} in {} to {}",
                String::from_utf8_lossy(entry.subject),
                entry.total,
                entry.first_block,
                entry.last_block
            )
        };
        file.subjects.iter().map(said).collect()
    };
    let (a, b) = (subjects(go), subjects(ours));
    if a != b {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
            a.difference(b).cloned().collect::<Vec<_>>()
        };
        found.add("disk: index.db subjects", only(&a, &b), only(&b, &a));
    }
}
