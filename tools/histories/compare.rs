//! What the real server left, beside what the harness says it leaves.

use jetsam::env::ReadFiles;
use std::io;
use std::path::Path;

use jetsam::env::OsFileSystem;
use jetsam::format::consumer::ConsumerFile;
use jetsam::format::seqset::SeqSet;
use jetsam::format::state::{StateFile, split_trailing_hash};
use jetsam::stream::StreamDir;
use jetsam::testing::Access;
use jetsam::testing::history::{History, LastDay, Lived};
use jetsam::testing::layout::{BlockLayout, Layout};
use serde_json::Value;

use crate::drive::Server;

const FILE_MAX: u64 = 1 << 26;

/// Lets a server live through a history; returns what differs.
pub fn with_server(
    history: &History,
    program: &Path,
    keep: Option<&Path>,
) -> io::Result<Vec<String>> {
    let lived = history
        .live_through()
        .map_err(|error| io::Error::other(error.to_string()))?;
    let scratch = tempfile::tempdir()?;
    let mut server = Server::start(program, scratch.path(), false)?;
    server.create(&lived.setup)?;
    let mut steps = lived.steps.iter().peekable();
    while let Some(step) = steps.next() {
        server.go(&lived.setup, step, steps.peek().copied())?;
    }
    let mut wrong = Vec::new();
    compare_state(&lived, &server.state(&lived.setup)?, &mut wrong);
    server.end(history.last_day != LastDay::Stopped)?;
    let dir = scratch
        .path()
        .join("data/jetstream/$G/streams")
        .join(lived.setup.stream);
    let stream = StreamDir {
        account: Some("$G".into()),
        name: lived.setup.stream.into(),
        dir,
    };
    let real =
        Layout::read(&OsFileSystem, &stream, &Access::default()).map_err(io::Error::other)?;
    compare_blocks(&lived, &real, &mut wrong);
    compare_index(&lived, &stream, &mut wrong);
    if history.last_day == LastDay::Stopped {
        compare_consumers(&lived, &stream, &mut wrong);
    }
    if let (Some(keep), false) = (keep, wrong.is_empty()) {
        eprintln!("kept below {}", keep.display());
        let _ = std::fs::rename(scratch.keep(), keep);
    }
    Ok(wrong)
}

fn compare_state(lived: &Lived, state: &Value, wrong: &mut Vec<String>) {
    let number = |name: &str| state[name].as_u64().unwrap_or_default();
    let mut live = SeqSet::new();
    if number("messages") > 0 {
        live.insert_range(number("first_seq")..=number("last_seq"));
        for seq in state["deleted"].as_array().into_iter().flatten() {
            live.remove(seq.as_u64().unwrap_or_default());
        }
    }
    if live != lived.truth.live {
        let stretches = |set: &SeqSet| format!("{:?}", set.spans().take(12).collect::<Vec<_>>());
        wrong.push(format!(
            "the server has {} live, {}; the harness {}, {}",
            live.len(),
            stretches(&live),
            lived.truth.live.len(),
            stretches(&lived.truth.live)
        ));
    }
    if number("last_seq") != lived.truth.last_seq {
        let (theirs, ours) = (number("last_seq"), lived.truth.last_seq);
        wrong.push(format!("last sequence {theirs}, the harness has {ours}"));
    }
}

fn compare_blocks(lived: &Lived, real: &Layout, wrong: &mut Vec<String>) {
    let numbers = |layout: &Layout| {
        layout
            .blocks
            .iter()
            .map(|one| one.number)
            .collect::<Vec<_>>()
    };
    if numbers(real) != numbers(&lived.layout) {
        wrong.push(format!(
            "blocks {:?}, the harness has {:?}",
            numbers(real),
            numbers(&lived.layout)
        ));
    }
    for block in &real.blocks {
        let ours = lived
            .layout
            .blocks
            .iter()
            .find(|one| one.number == block.number);
        let Some(ours) = ours else { continue };
        if let Some(text) = different_records(block, ours) {
            wrong.push(format!("block {}: {text}", block.number));
        }
    }
}

fn different_records(real: &BlockLayout, ours: &BlockLayout) -> Option<String> {
    let pairs = real.records.iter().zip(&ours.records);
    for (at, (theirs, ours)) in pairs.enumerate() {
        if theirs != ours {
            return Some(format!(
                "record {at} is {theirs:?}, the harness has {ours:?}"
            ));
        }
    }
    let (theirs, ours) = (&real.records, &ours.records);
    (theirs.len() != ours.len()).then(|| {
        let shorter = theirs.len().min(ours.len());
        let next = theirs.get(shorter).or(ours.get(shorter));
        format!(
            "{} records, the harness has {}, the first in excess {next:?}",
            theirs.len(),
            ours.len()
        )
    })
}

/// The index, but for its times.
fn compare_index(lived: &Lived, stream: &StreamDir, wrong: &mut Vec<String>) {
    let real = OsFileSystem
        .read(&stream.dir.join("msgs/index.db"), FILE_MAX)
        .ok();
    let path = lived.store.stream.dir.join("msgs/index.db");
    let ours = lived.store.files.read(&path, FILE_MAX).ok();
    match (real, ours) {
        (None, None) => {}
        (Some(real), Some(ours)) => match (timeless(&real), timeless(&ours)) {
            (Some(real), Some(ours)) if real == ours => {}
            (real, ours) => wrong.push(format!("index {real:?}\n  the harness has {ours:?}")),
        },
        (real, ours) => wrong.push(format!(
            "an index: {}, the harness: {}",
            real.is_some(),
            ours.is_some()
        )),
    }
}

fn timeless(bytes: &[u8]) -> Option<StateFile> {
    let (payload, _) = split_trailing_hash(bytes)?;
    let mut state = StateFile::decode(payload).ok()?;
    let there = |ns: i64| i64::from(ns != 0);
    state.first_time_ns = there(state.first_time_ns);
    state.last_time_ns = there(state.last_time_ns);
    state.last_record_hash = [0; 8];
    // Lazily corrected by the server: a bound, not a fact.
    let mut subjects = jetsam::format::state::SubjectTable::new();
    let mut entries: Vec<_> = state.subjects.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.subject);
    for mut entry in entries {
        (entry.first_block, entry.last_block) = (0, 0);
        subjects.push(entry);
    }
    state.subjects = subjects;
    for block in &mut state.blocks {
        (block.first_time_ns, block.last_time_ns) = (0, 0);
        block.deleted_declared_count = 0;
    }
    Some(state)
}

fn compare_consumers(lived: &Lived, stream: &StreamDir, wrong: &mut Vec<String>) {
    for consumer in &lived.setup.consumers {
        let path = format!("obs/{}/o.dat", consumer.name);
        let read = |bytes: Option<Vec<u8>>| {
            let mut state = ConsumerFile::decode(&bytes?).ok()?.state;
            for pending in state.pending.values_mut() {
                pending.timestamp_ns = 0;
            }
            Some(state)
        };
        let real = read(OsFileSystem.read(&stream.dir.join(&path), FILE_MAX).ok());
        let ours = lived
            .store
            .files
            .read(&lived.store.stream.dir.join(&path), FILE_MAX);
        let ours = read(ours.ok());
        if real != ours {
            wrong.push(format!("{path}: {real:?}\n  the harness has {ours:?}"));
        }
    }
}
