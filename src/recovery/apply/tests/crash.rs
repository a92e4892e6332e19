//! The process dies, or the disk refuses, at every single call.

use super::*;
use crate::env::memory::Fault;
use crate::env::{IoError, Operation};
use crate::recovery::undo::area_state;

/// Mixtures of what was not synced that are tried at every call.
const MIXTURES: u64 = 3;

/// Runs `inspect` on every disk that may be left where the process or the machine stops at a call of applying, with the number
/// of the call.
fn at_every_death(
    before: &MemoryFileSystem,
    changes: &[Change],
    keys: &ApplyKeys<'_>,
    undoable: bool,
    mut inspect: impl FnMut(MemoryFileSystem, usize),
) {
    let whole = before.fork();
    apply_to(&whole, changes, keys, undoable).unwrap();
    for number in 0..whole.calls().len() {
        for written in [None, Some(3)] {
            let fs = before.fork();
            fs.inject(Fault::Crash { number, written });
            let _ = apply_to(&fs, changes, keys, undoable);
            for left in fs.crash_images(number as u64, MIXTURES) {
                inspect(left, number);
            }
        }
    }
}

fn undone(fs: &MemoryFileSystem) {
    match undo(fs, dir()) {
        Ok(_) | Err(UndoError::NothingToUndo) => {}
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn undo_after_a_death_anywhere_gives_the_original() {
    let (old, new) = (old_server_key(), new_server_key());
    let keys = keys(Some(&new), Some(&old));
    for (name, before, changes) in cases() {
        let expected = snapshot(&before);
        at_every_death(&before, &changes, &keys, true, |left, number| {
            let fs = left.fork();
            undone(&fs);
            assert_eq!(snapshot(&fs), expected, "{name}, call {number}");
        });
    }
}

#[test]
fn undo_may_die_anywhere_too() {
    let (old, new) = (old_server_key(), new_server_key());
    let keys = keys(Some(&new), Some(&old));
    for (name, before, changes) in cases() {
        let expected = snapshot(&before);
        let check = |left: &MemoryFileSystem, number: usize| {
            let whole = left.fork();
            undone(&whole);
            for second in 0..whole.calls().len() {
                let fs = left.fork();
                fs.inject(Fault::Crash {
                    number: second,
                    written: Some(2),
                });
                let _ = undo(&fs, dir());
                for fs in fs.crash_images(second as u64, 1) {
                    undone(&fs);
                    assert_eq!(
                        snapshot(&fs),
                        expected,
                        "{name}, calls {number} and {second}"
                    );
                }
            }
        };
        at_every_death(&before, &changes, &keys, true, |left, number| {
            // Every third keeps the test short; the order of calls varies with the case.
            if number % 3 == 0 {
                check(&left, number);
            }
        });
        let applied = before.fork();
        apply_to(&applied, &changes, &keys, true).unwrap();
        check(&applied.fork(), usize::MAX);
    }
}

#[test]
fn without_undo_every_file_is_old_or_new_and_keys_fit_their_blocks() {
    let (old, new) = (old_server_key(), new_server_key());
    let keys = keys(Some(&new), Some(&old));
    let in_place = ["msgs/1.blk", "msgs/2.blk", "msgs/3.blk"];
    for (name, before, changes) in cases() {
        // What each file may look like: as after each whole change.
        let mut allowed: Vec<BTreeMap<String, Vec<u8>>> = vec![store_files(&before)];
        for count in 1..=changes.len() {
            let fs = before.fork();
            apply_to(&fs, &changes[..count], &keys, false).unwrap();
            allowed.push(store_files(&fs));
        }
        at_every_death(&before, &changes, &keys, false, |left, number| {
            finish_interrupted(&left, dir()).unwrap();
            assert!(
                left.files()
                    .keys()
                    .all(|path| !path.to_str().unwrap().contains("jetsam"))
            );
            let files = store_files(&left);
            for (path, bytes) in &files {
                let fits = |known: &BTreeMap<String, Vec<u8>>| match known.get(path) {
                    // An append that was cut short.
                    Some(known) if in_place.contains(&path.as_str()) => known.starts_with(bytes),
                    Some(known) => known == bytes,
                    None => false,
                };
                assert!(allowed.iter().any(fits), "{name}, call {number}: {path}");
            }
            if name == "rekey" {
                assert_eq!(read_block(&left, dir(), 1, &keys).unwrap(), b"first block");
                match files.contains_key("msgs/2.key") {
                    true => assert!(
                        read_block(&left, dir(), 2, &keys)
                            .unwrap()
                            .starts_with(b"plain block")
                    ),
                    false => assert_eq!(files["msgs/2.blk"], b"plain block"),
                }
                let (key, meta) = (&files["meta.key"], &files["meta.inf"]);
                let context = stream_context(STREAM);
                let opened = keys.ring.open(key, &context).unwrap();
                assert_eq!(
                    open_sealed(meta, &opened.seed, opened.cipher).unwrap(),
                    b"{}"
                );
            }
        });
    }
}

#[test]
fn a_refusal_anywhere_brings_everything_back_at_once() {
    let (old, new) = (old_server_key(), new_server_key());
    let keys = keys(Some(&new), Some(&old));
    for (name, before, changes) in cases() {
        let expected = snapshot(&before);
        let whole = before.fork();
        apply_to(&whole, &changes, &keys, true).unwrap();
        for number in 0..whole.calls().len() {
            for written in [None, Some(3)] {
                let fs = before.fork();
                let kind = std::io::ErrorKind::StorageFull;
                fs.inject(Fault::FailCall {
                    number,
                    kind,
                    written,
                });
                let error = apply_to(&fs, &changes, &keys, true).unwrap_err();
                assert!(
                    matches!(error.roll_back, RollBack::Done(_)),
                    "{name}, call {number}: {error:?}"
                );
                // What a refused removal of our own temporary files leaves goes with the next start.
                finish_interrupted(&fs, dir()).unwrap();
                assert_eq!(snapshot(&fs), expected, "{name}, call {number}");
            }
        }
    }
}

#[test]
fn what_the_recovery_before_put_aside_survives_one_that_dies() {
    let plain = keys(None, None);
    let (before, first) = cut_case();
    let original = snapshot(&before);
    apply_to(&before, &first, &plain, true).unwrap();
    let before = before.fork();
    let recovered = snapshot(&before);
    let second = [
        Change::Write {
            path: path("msgs/index.db"),
            bytes: b"second".to_vec(),
        },
        remove("msgs/1.blk"),
    ];
    let whole = before.fork();
    apply_to(&whole, &second, &plain, true).unwrap();
    let applied = store_files(&whole);
    let mut finished = 0;
    at_every_death(&before, &second, &plain, true, |fs, number| {
        // The next recovery comes by: it must find the store as it was, or wholly recovered.
        finish_interrupted(&fs, dir()).unwrap();
        let recorder = Recorder::new(&fs, dir()).unwrap();
        drop(recorder);
        if snapshot(&fs) == recovered {
            undo(&fs, dir()).unwrap();
            assert_eq!(snapshot(&fs), original, "call {number}");
        } else {
            finished += 1;
            assert_eq!(store_files(&fs), applied, "call {number}");
            undo(&fs, dir()).unwrap();
            assert_eq!(store_files(&fs), store_files(&before), "call {number}");
        }
    });
    assert!(finished > 0);
    // Only one step is kept.
    undo(&whole, dir()).unwrap();
    assert_eq!(undo(&whole, dir()), Err(UndoError::NothingToUndo));
}

#[test]
fn an_interrupted_recovery_must_be_undone_before_the_next() {
    let plain = keys(None, None);
    let (before, changes) = cut_case();
    let mut seen = 0;
    at_every_death(&before, &changes, &plain, true, |fs, _| {
        if area_state(&fs, dir()).unwrap() == AreaState::Interrupted {
            seen += 1;
            let error = Recorder::new(&fs, dir()).map(|_| ()).unwrap_err();
            assert_eq!(error, UndoError::Interrupted);
            assert!(matches!(
                finish_interrupted(&fs, dir()),
                Ok(Interrupted::RolledBack(_))
            ));
            assert_eq!(snapshot(&fs), snapshot(&before));
        }
    });
    assert!(seen > 10);
}

#[test]
fn a_failing_source_of_randomness_changes_nothing() {
    struct Dry;
    impl Entropy for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), IoError> {
            Err(IoError::new(
                Operation::Random,
                Path::new("random"),
                std::io::ErrorKind::Other,
            ))
        }
    }
    let (old, new) = (old_server_key(), new_server_key());
    let keys = keys(Some(&new), Some(&old));
    let (fs, changes) = rekey_case();
    let before = snapshot(&fs);
    let error = apply(&fs, dir(), &changes, &keys, &Dry, None, &|| false).unwrap_err();
    assert!(matches!(
        error.cause,
        ApplyCause::Io(IoError {
            operation: Operation::Random,
            ..
        })
    ));
    assert_eq!(snapshot(&fs), before);
}
