//! Blocks that salvage takes over byte for byte, and does not read again to make the new store's side files.

use jetsam::env::ReadFiles;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use jetsam::env::{FileSystem, OsEntropy};
use jetsam::living::Idle;
use jetsam::recovery::{RecoverOptions, examine, recover};
use jetsam::report::stream::{Outcome, Source, StreamReport};
use jetsam::report::{Phase, Progress, Watch};
use jetsam::salvage::{self, SalvageError, SalvageOptions, SalvageReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::{Collect, Options};
use jetsam::testing::workload::{Store, StoreKind, Workload};

const MESSAGES: u64 = 600;
const INDEX: &str = "/new/msgs/index.db";

fn store(kind: StoreKind, seed: u64) -> Store {
    let workload = Workload::new(kind, MESSAGES, seed).with_block_size(32 << 10);
    workload.build().expect("a store")
}

fn options_of(store: &Store) -> Options {
    let mut options = store.access.options();
    options.expire = false;
    options.limits = false;
    options.collect = Collect {
        deleted: true,
        subjects: true,
        digest: true,
        entries: true,
    };
    options
}

fn new_store(store: &Store) -> StreamDir {
    StreamDir {
        dir: "/new".into(),
        ..store.stream.clone()
    }
}

fn save(
    store: &Store,
    options: &Options,
    link: bool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<SalvageReport, SalvageError> {
    let wish = SalvageOptions {
        out: "/new".into(),
        link,
        ..SalvageOptions::default()
    };
    let watch = Watch {
        progress,
        cancel: &AtomicBool::new(false),
    };
    let stream = &store.stream;
    salvage::salvage(&store.files, stream, options, &wish, &OsEntropy, &watch)
}

fn look(store: &Store, options: &Options) -> StreamReport {
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    examine(&store.files, &new_store(store), options, &watch)
}

/// Has recovery make `index.db` from the blocks, each of them read.
fn recover_from_blocks(store: &Store, options: &Options) {
    store.files.remove_file(Path::new(INDEX)).expect("an index");
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let what = RecoverOptions {
        accept_loss: false,
        accept_expiry: true,
        undo: false,
    };
    let mut options = options.clone();
    options.no_index = true;
    let made = new_store(store);
    let report = recover(
        &store.files,
        &Idle::declared(),
        &made,
        &options,
        &what,
        &OsEntropy,
        &watch,
    );
    assert_eq!(report.source, Some(Source::Blocks));
}

#[test]
fn side_files_are_those_that_reading_every_block_makes() {
    for (kind, link) in StoreKind::ALL
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
    {
        for threads in [1, 3] {
            let store = store(kind, 11);
            let mut options = options_of(&store);
            options.threads = threads;
            let saved = save(&store, &options, link, &|_| {}).expect("a salvaged store");
            assert_eq!(saved.stream.source, Some(Source::Index), "{kind:?}");
            let by_index = look(&store, &options);
            options.no_index = true;
            let by_blocks = look(&store, &options);
            options.no_index = false;
            assert_eq!(by_index.state, by_blocks.state, "{kind:?}");
            assert_eq!(by_index.subjects, by_blocks.subjects, "{kind:?}");
            assert_eq!(by_index.digest, by_blocks.digest, "{kind:?}");
            assert_eq!(saved.stream.state, by_blocks.state, "{kind:?}");
            if kind.cipher().is_none() {
                let made = store.files.read(Path::new(INDEX), 1 << 30);
                recover_from_blocks(&store, &options);
                let again = store.files.read(Path::new(INDEX), 1 << 30);
                assert_eq!(
                    sorted(made.expect("one")),
                    sorted(again.expect("another")),
                    "{kind:?}"
                );
            }
        }
    }
}

/// The bytes in order: an index lists its subjects in any order, and its hash covers that order.
fn sorted(mut index: Vec<u8>) -> Vec<u8> {
    index.truncate(index.len().saturating_sub(8));
    index.sort_unstable();
    index
}

#[test]
fn the_state_without_an_index_is_that_of_reading_every_block() {
    for kind in StoreKind::ALL {
        let store = store(kind, 12);
        let mut options = options_of(&store);
        options.no_index = true;
        options.collect.digest = false;
        let watch = Watch {
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        let view = salvage::check(&store.files, &store.stream, &options, &watch).expect("a view");
        let state = view.stream.state.expect("a state");
        let theirs = examine(&store.files, &store.stream, &options, &watch);
        let their_state = theirs.state.expect("a state");
        assert_eq!(state.bytes, their_state.bytes, "{kind:?}");
        assert_eq!(state.subject_count, their_state.subject_count, "{kind:?}");
        assert_eq!(state.first_time_ns, their_state.first_time_ns, "{kind:?}");
        assert_eq!(view.stream.subjects, theirs.subjects, "{kind:?}");
    }
}

/// Changes a block of the source once the first one was taken over: a byte at this distance from its end, and its time of
/// modification unless `unnoticed`.
fn change_while_copying(
    store: &Store,
    from_end: usize,
    unnoticed: bool,
) -> impl Fn(Progress) + Sync {
    let done = AtomicBool::new(false);
    let files = store.files.clone();
    let path = store.stream.dir.join("msgs/3.blk");
    move |progress: Progress| {
        if progress.phase != Phase::Copy || done.swap(true, Ordering::Relaxed) {
            return;
        }
        let modified_ns = files.metadata(&path).expect("a block").modified_ns;
        let mut bytes = files.read(&path, 1 << 30).expect("a block");
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        files.write_in_place(&path, &bytes).expect("a change");
        let then = modified_ns + i64::from(!unnoticed);
        files.set_modified(&path, then).expect("a time");
    }
}

#[test]
fn a_source_that_changes_meanwhile_gives_no_damaged_store() {
    for kind in StoreKind::ALL {
        for (from_end, unnoticed) in [(5000, false), (1, false), (1, true)] {
            let store = store(kind, 13);
            let options = options_of(&store);
            let change = change_while_copying(&store, from_end, unnoticed);
            match save(&store, &options, false, &change) {
                Err(SalvageError::Mismatch { .. }) => {}
                Err(error) => panic!("{kind:?}, {from_end}: {error}"),
                Ok(_) => {
                    let found = look(&store, &options);
                    assert!(found.unreadable.is_empty(), "{kind:?}, {from_end}");
                    assert_ne!(found.outcome, Outcome::Damaged, "{kind:?}, {from_end}");
                }
            }
        }
    }
}
