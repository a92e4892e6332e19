//! A new store takes its place once it is whole: whatever stops salvage, no directory looks whole that is not.

use jetsam::env::ReadFiles;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::env::memory::{Fault, MemoryFileSystem, SeededEntropy};
use jetsam::env::{FileKind, Operation, OsFileSystem};
use jetsam::report::Watch;
use jetsam::salvage::{SalvageError, SalvageOptions, SalvageReport, salvage};
use jetsam::stream::options::Options;
use jetsam::stream::{StreamDir, find_streams};

use crate::cases::{Case, case_options};

const OUT: &str = "/new/jetstream/$G/streams/I";

/// A committed store in memory.
fn source() -> (MemoryFileSystem, StreamDir) {
    let case = Case::unpack("33-interest-consumer-lost");
    let root = case.stream("I").dir;
    let to = PathBuf::from("/old/jetstream/$G/streams/I");
    let fs = MemoryFileSystem::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in OsFileSystem.list(&dir).expect("a directory") {
            let path = dir.join(&entry.name);
            if entry.kind == FileKind::Dir {
                dirs.push(path);
                continue;
            }
            let bytes = OsFileSystem.read(&path, u64::MAX).expect("a file");
            fs.seed_file(to.join(path.strip_prefix(&root).expect("below")), bytes);
        }
    }
    let stream = StreamDir {
        dir: to,
        ..case.stream("I")
    };
    (fs, stream)
}

fn options() -> Options {
    Options {
        threads: 1,
        ..case_options()
    }
}

fn save(
    fs: &MemoryFileSystem,
    stream: &StreamDir,
    resume: bool,
) -> Result<SalvageReport, SalvageError> {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let wish = SalvageOptions {
        out: OUT.into(),
        resume,
        ..SalvageOptions::default()
    };
    let entropy = SeededEntropy::new(1);
    salvage(fs, stream, &options(), &wish, &entropy, &watch)
}

/// What lies below a directory.
fn below(fs: &MemoryFileSystem, dir: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs.files().into_iter();
    files.filter(|(path, _)| path.starts_with(dir)).collect()
}

#[test]
fn a_run_that_dies_anywhere_leaves_nothing_that_looks_whole() {
    let (fs, stream) = source();
    let whole = fs.fork();
    save(&whole, &stream, false).expect("salvaged");
    let calls = whole.calls();
    let made = below(&whole, "/new");
    let old = below(&fs, "/old");
    assert!(made.contains_key(Path::new(OUT).join("msgs/index.db").as_path()));
    assert!(calls.len() > 30, "{}", calls.len());
    let mut unfinished = 0;
    for number in 0..calls.len() {
        for written in [None, Some(1)] {
            let image = fs.fork();
            image.inject(Fault::Crash { number, written });
            let result = save(&image, &stream, false);
            for left in image.crash_images(number as u64, 2) {
                assert_eq!(
                    below(&left, "/old"),
                    old,
                    "call {number}: the source changed"
                );
                let there = below(&left, OUT);
                assert!(
                    there.is_empty() || there == below(&whole, OUT),
                    "call {number}"
                );
                if result.is_ok() {
                    assert_eq!(below(&left, "/new"), made, "call {number}");
                    continue;
                }
                let found = find_streams(&left, Path::new("/new"));
                let found = found.map_or(0, |found| found.streams.len());
                assert_eq!(found, usize::from(!there.is_empty()), "call {number}");
                if there.is_empty() {
                    unfinished += usize::from(!below(&left, "/new").is_empty());
                    save(&left, &stream, true).expect("resumed");
                    assert_eq!(below(&left, "/new"), made, "call {number}, resumed");
                }
            }
        }
    }
    assert!(unfinished > 20, "{unfinished}");
}

#[test]
fn what_was_left_unfinished_is_not_written_over_unasked() {
    let (fs, stream) = source();
    fs.seed_file(
        "/new/jetstream/$G/streams/.I.jetsam-part/msgs/1.blk",
        b"half",
    );
    let error = save(&fs, &stream, false).expect_err("refused");
    assert!(matches!(error, SalvageError::Unfinished(_)), "{error}");
    assert!(error.to_string().contains("--resume"));
    save(&fs, &stream, true).expect("resumed");
}

#[test]
fn everything_is_durable_before_the_name_is() {
    let (fs, stream) = source();
    save(&fs, &stream, false).expect("salvaged");
    let calls = fs.calls();
    let renamed = calls
        .iter()
        .position(|call| call.operation == Operation::Rename && call.to == Some(OUT.into()));
    let renamed = renamed.expect("a rename");
    let part = calls[renamed].path.clone();
    let (before, after) = calls.split_at(renamed);
    let mut files = BTreeMap::new();
    let mut dirs = BTreeMap::new();
    for call in before {
        let path = call.path.clone();
        let names = call.to.clone().unwrap_or_else(|| path.clone());
        match call.operation {
            Operation::WriteInPlace | Operation::SetMode => {
                files.insert(path.clone(), false);
            }
            Operation::SyncFile => {
                files.insert(path.clone(), true);
            }
            Operation::SyncDir => {
                dirs.insert(path.clone(), true);
            }
            Operation::RemoveFile => {
                files.remove(&path);
            }
            _ => {}
        }
        if matches!(call.operation, Operation::WriteInPlace | Operation::Copy) {
            dirs.insert(names.parent().expect("a directory").to_owned(), false);
        }
    }
    let left: Vec<_> = files
        .iter()
        .chain(&dirs)
        .filter(|(_, durable)| !**durable)
        .collect();
    assert_eq!(left, []);
    assert!(files.len() > 2, "{files:?}");
    assert!(
        files.keys().all(|file| file.starts_with(&part)),
        "{files:?}"
    );
    let synced = after.iter().any(|call| {
        call.operation == Operation::SyncDir && Some(call.path.as_path()) == Path::new(OUT).parent()
    });
    assert!(synced);
}
