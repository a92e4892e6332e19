//! One writer and two readers of a real store, in schedules that a scheduler picks: at every lock and every atomic it says who goes on.
//! What is found has to be what was stored; a failure prints its schedule, for `shuttle::replay`. See `src/env/sync.rs`.
//!
//! More of them, and others than `.ci/run` tries; `JETSAM_SCHEDULES=1` with the seed that a failure prints has that one again:
//!
//! ```text
//! SHUTTLE_RANDOM_SEED=$RANDOM JETSAM_SCHEDULES=20000 RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --profile schedules --no-default-features --features testing --test shuttle
//! ```
//!
//! Every atomic counts as sequentially consistent here: what weaker orders allow is not tried.
#![cfg(shuttle)]

mod account;
mod reading;
mod writing;

use std::path::Path;
use std::sync::Arc;

use jetsam::env::memory::{MemoryFileSystem, SeededEntropy};
use jetsam::format::meta::StreamMeta;
use jetsam::living::Idle;
use jetsam::store::{ReadError, Store, StoreOptions};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

use account::Account;

const NOW_NS: i64 = 1_767_225_600_000_000_000;
const SEED: u64 = 15;

/// What one life of a store is like.
#[derive(Debug, Clone, Copy)]
struct Life {
    compression: &'static str,
    writer_steps: usize,
    reader_steps: usize,
    /// Whether sequences are used again: a stream is cut, messages are wiped.
    has_cuts: bool,
}

const EVERYDAY: Life = Life {
    compression: "none",
    writer_steps: 12,
    reader_steps: 8,
    has_cuts: false,
};

const CUT: Life = Life {
    has_cuts: true,
    ..EVERYDAY
};

impl Life {
    fn open(&self, fs: &MemoryFileSystem) -> Store {
        let config = format!(
            r#"{{"name":"S","subjects":["s.>","pair.>"],"storage":"file","max_age":{},"compression":"{}"}}"#,
            writing::MAX_AGE_NS,
            self.compression
        );
        let options = StoreOptions {
            // About four messages, and room for two such blocks: they come and go under the readers.
            block_size: Some(200),
            cache_bytes: 700,
            threads: 1,
            ..StoreOptions::new(StreamMeta::parse(config.as_bytes()).unwrap(), NOW_NS)
        };
        let (fs, entropy) = (Arc::new(fs.clone()), Arc::new(SeededEntropy::new(1)));
        Store::open(fs, entropy, &Idle::declared(), Path::new("/d/S"), &options).unwrap()
    }

    fn live(self) {
        let fs = MemoryFileSystem::new();
        let store = self.open(&fs);
        let account = Arc::new(Account::default());
        let mut writer = writing::Script::new(&store, account.clone(), self.has_cuts);
        for _ in 0..thread_rng().gen_range(2..10) {
            writer.append();
        }
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut reader =
                    reading::Looks::new(store.reader(), account.clone(), self.has_cuts);
                thread::spawn(move || {
                    for _ in 0..self.reader_steps {
                        reader.look();
                    }
                    reader.end();
                })
            })
            .collect();
        let reader = store.reader();
        let writing = thread::spawn(move || {
            for _ in 0..self.writer_steps {
                writer.step();
            }
            writer.close(store);
        });
        for thread in readers {
            thread.join().unwrap();
        }
        writing.join().unwrap();
        assert_eq!(reader.get(1).unwrap_err(), ReadError::Closed);
        if thread_rng().gen_ratio(1, 4) {
            let again = self.open(&fs);
            reading::holds_all(&again.reader(), &account);
        }
    }
}

/// A stream is cut and its sequences used again, while somebody reads what goes.
fn cut_under_a_reader() {
    let fs = MemoryFileSystem::new();
    let account = Arc::new(Account::default());
    {
        let mut writer = writing::Script::new(&CUT.open(&fs), account.clone(), CUT.has_cuts);
        for _ in 0..5 {
            writer.append();
        }
    }
    // No block is in memory.
    let store = CUT.open(&fs);
    let mut reader = reading::Looks::new(store.reader(), account.clone(), CUT.has_cuts);
    let mut writer = writing::Script::new(&store, account.clone(), CUT.has_cuts);
    let reading = thread::spawn(move || reader.get(3));
    let writing = thread::spawn(move || {
        writer.cut_behind(2);
        for _ in 0..5 {
            writer.append();
        }
    });
    reading.join().unwrap();
    writing.join().unwrap();
    reading::holds_all(&store.reader(), &account);
}

fn try_schedules(life: impl Fn() + Send + Sync + 'static, scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(life);
}

/// How many schedules are tried: so many, unless the caller says otherwise.
fn schedules(usual: usize) -> usize {
    let asked = std::env::var("JETSAM_SCHEDULES");
    asked.map_or(usual, |count| count.parse().unwrap())
}

fn random(life: Life, usual: usize) {
    try_schedules(
        move || life.live(),
        RandomScheduler::new_from_seed(SEED, schedules(usual)),
    );
}

/// Few changes between threads, each at a place picked beforehand: what needs one thread to wait long is found by these.
fn few_changes(life: Life, usual: usize) {
    try_schedules(
        move || life.live(),
        PctScheduler::new_from_seed(SEED, 4, schedules(usual)),
    );
}

#[test]
fn readers_find_what_was_stored_in_any_schedule() {
    random(EVERYDAY, 300);
    few_changes(EVERYDAY, 300);
}

#[test]
fn and_where_blocks_are_compressed() {
    let life = Life {
        compression: "s2",
        ..EVERYDAY
    };
    random(life, 200);
    few_changes(life, 200);
}

#[test]
fn and_where_streams_are_cut_and_messages_wiped() {
    random(CUT, 1600);
    few_changes(CUT, 400);
}

/// Found by picking the one place where the reader has to wait, and hardly ever by chance.
#[test]
fn what_was_read_before_a_cut_is_not_kept() {
    try_schedules(
        cut_under_a_reader,
        PctScheduler::new_from_seed(SEED, 2, schedules(400)),
    );
}

#[test]
fn a_store_that_closes_says_so_to_its_readers() {
    let life = Life {
        writer_steps: 1,
        ..EVERYDAY
    };
    random(life, 200);
    few_changes(life, 100);
}
