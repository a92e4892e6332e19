//! Stores in memory, made record by record, and forecasts for them.

use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::memory::MemoryFileSystem;
use jetsam::format::checksum::{HashKey, hex16};
use jetsam::format::record::NewRecord;
use jetsam::format::seqset::SeqSet;
use jetsam::format::state::{BlockEntry, StateFile, SubjectTable};
use jetsam::preflight::{Forecast, PreflightOptions, Start, forecast};
use jetsam::report::Watch;
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

pub const DIR: &str = "/js/A/streams/S";

pub fn message(sequence: u64) -> NewRecord<'static> {
    NewRecord::Message {
        sequence,
        timestamp_ns: sequence as i64 * 1_000,
        subject: b"s.a",
        headers: b"",
        body: b"something to keep",
    }
}

pub fn tombstone(sequence: u64) -> NewRecord<'static> {
    NewRecord::Tombstone {
        sequence,
        timestamp_ns: sequence as i64 * 1_000,
    }
}

pub fn block(number: u32, records: &[NewRecord<'_>]) -> Vec<u8> {
    let mut block = BlockBuilder::new(b"S", number);
    for record in records {
        block.push(record).expect("a record");
    }
    block.into_content()
}

pub fn messages(number: u32, seqs: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    block(number, &seqs.map(message).collect::<Vec<_>>())
}

/// A stream on a disk of its own.
pub struct Store {
    pub fs: MemoryFileSystem,
    pub options: Options,
}

impl Store {
    pub fn new(config: &str) -> Self {
        let inf = format!(
            r#"{{"name":"S","subjects":["s.>"],"storage":"file",{config}"num_replicas":1}}"#
        );
        let sum = hex16(HashKey::for_stream(b"S").hash64(&[inf.as_bytes()]));
        let fs = MemoryFileSystem::new();
        fs.seed_dir(format!("{DIR}/msgs"));
        fs.seed_dir(format!("{DIR}/obs"));
        let store = Store {
            fs,
            options: Options::new(1_000_000_000),
        };
        store.with("meta.inf", inf).with("meta.sum", sum)
    }

    pub fn with(self, file: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.fs.seed_file(format!("{DIR}/{file}"), bytes);
        self
    }

    /// The index of blocks that hold these sequences.
    pub fn indexed(self, version: u8, blocks: &[(u32, u64, u64)]) -> Self {
        self.index(version, blocks, |_| {})
    }

    pub fn index(
        self,
        version: u8,
        blocks: &[(u32, u64, u64)],
        change: impl Fn(&mut StateFile),
    ) -> Self {
        let each = messages(1, 1..=1).len() as u64;
        let entries = blocks.iter().map(|(number, first, last)| BlockEntry {
            number: *number,
            bytes: (last - first + 1) * each,
            first_sequence: *first,
            first_time_ns: *first as i64 * 1_000,
            last_sequence: *last,
            last_time_ns: *last as i64 * 1_000,
            deleted_count: 0,
            ttl_count: u64::from(version > 1),
            schedule_count: 0,
            deleted: SeqSet::new(),
            deleted_declared_count: 0,
        });
        let entries: Vec<_> = entries.collect();
        let (first, last) = (entries[0].clone(), entries[entries.len() - 1].clone());
        let file = format!("{DIR}/msgs/{}.blk", last.number);
        let tail = self.fs.files()[std::path::Path::new(&file)].clone();
        let mut subjects = SubjectTable::new();
        let count = entries.iter().map(BlockEntry::message_count).sum();
        subjects.push(jetsam::format::state::SubjectEntry {
            subject: b"s.a",
            total: count,
            first_block: first.number,
            last_block: last.number,
        });
        let mut state = StateFile {
            version,
            messages: count,
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            first_sequence: first.first_sequence,
            first_time_ns: first.first_time_ns,
            last_sequence: last.last_sequence,
            last_time_ns: last.last_time_ns,
            subjects,
            blocks: entries,
            last_block: last.number,
            last_record_hash: *tail.last_chunk().expect("a record"),
        };
        change(&mut state);
        self.sealed(state.encode(u64::MAX).expect("an index"))
    }

    pub fn sealed(self, mut bytes: Vec<u8>) -> Self {
        let hash = HashKey::for_stream(b"S").hash64(&[&bytes]);
        bytes.extend(hash.to_le_bytes());
        self.with("msgs/index.db", bytes)
    }

    pub fn flip(self, file: &str, at: usize) -> Self {
        let path = format!("{DIR}/{file}");
        let mut bytes = self.fs.files()[std::path::Path::new(&path)].clone();
        bytes[at] ^= 4;
        self.with(file, bytes)
    }

    pub fn without(self, file: &str) -> Self {
        let kept: Vec<_> = self.fs.files().into_iter().collect();
        let fs = MemoryFileSystem::new();
        fs.seed_dir(format!("{DIR}/msgs"));
        for (path, bytes) in kept {
            if path != std::path::Path::new(&format!("{DIR}/{file}")) {
                fs.seed_file(path, bytes);
            }
        }
        Store { fs, ..self }
    }

    pub fn stream() -> StreamDir {
        StreamDir {
            account: Some("A".into()),
            name: "S".into(),
            dir: DIR.into(),
        }
    }

    pub fn told(&self, preflight: &PreflightOptions) -> Forecast {
        let before = self.fs.files();
        let cancel = AtomicBool::new(false);
        let watch = Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let told = forecast(&self.fs, &Store::stream(), &self.options, preflight, &watch);
        assert_eq!(self.fs.files(), before, "a forecast changes nothing");
        told
    }

    pub fn by(&self, server: &str) -> Forecast {
        self.told(&PreflightOptions {
            server: server.parse().expect("a version"),
            ..PreflightOptions::default()
        })
    }

    /// Holds something that is foretold against what is expected of each server.
    pub fn expect<T: PartialEq + std::fmt::Debug>(
        &self,
        told: impl Fn(&Forecast) -> T,
        expected: &[(&str, T)],
    ) {
        for (server, expected) in expected {
            assert_eq!(&told(&self.by(server)), expected, "{server}");
        }
    }

    /// How servers start on it.
    pub fn starts(&self, expected: &[(&str, Start)]) {
        self.expect(|told| told.start, expected);
    }

    /// Start, fast path, messages, lost.
    pub fn brief(&self, server: &str) -> (Start, bool, u64, u64) {
        let told = self.by(server);
        (told.start, told.fast_path, told.messages, told.lost)
    }
}
