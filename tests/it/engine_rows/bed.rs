//! A store in memory to try a demand on, in each shape that blocks can have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::memory::{MemoryFileSystem, SeededEntropy};
use jetsam::env::{FileSystem, LOCK_FILE_NAME};
use jetsam::format::meta::StreamMeta;
use jetsam::format::record::{RecordKind, parse_at};
use jetsam::living::Idle;
use jetsam::recovery::{Unapplied, judge};
use jetsam::report::Watch;
use jetsam::state::{BlockState, StreamState};
use jetsam::store::{
    AppendError, NewMessage, OpenError, PurgeRequest, ReadError, Reader, Store, StoreOptions,
    TidyBudget, Writer,
};
use jetsam::stream::StreamDir;
use jetsam::stream::options::{Keys, Options};

pub(super) const DIR: &str = "/data/ROWS";
pub(super) const NAME: &str = "ROWS";
pub(super) const NOW_NS: i64 = 1_767_225_600_000_000_000;
pub(super) const SECOND_NS: i64 = 1_000_000_000;

/// How blocks lie on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub cipher: Option<Cipher>,
    pub compresses: bool,
}

impl Shape {
    pub const PLAIN: Shape = Shape {
        cipher: None,
        compresses: false,
    };

    pub fn all() -> impl Iterator<Item = Shape> {
        [None, Some(Cipher::ChaCha), Some(Cipher::Aes)]
            .into_iter()
            .flat_map(|cipher| [false, true].map(|compresses| Shape { cipher, compresses }))
    }

    pub fn is_plain(self) -> bool {
        self.cipher.is_none() && !self.compresses
    }
}

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
    pub timestamp_ns: i64,
}

/// All that can be asked of a store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Book {
    pages: BTreeMap<u64, Page>,
    /// First, last, count, bytes.
    totals: (u64, u64, u64, u64),
    last_ns: i64,
    deleted: Vec<u64>,
    subjects: BTreeMap<Vec<u8>, u64>,
}

pub(super) struct Bed {
    pub fs: MemoryFileSystem,
    pub shape: Shape,
    pub now_ns: i64,
    /// What the configuration says beside name, subjects and compression, as JSON members that begin with a comma.
    pub more: String,
    pub block_size: u64,
    seed: u64,
    open: Option<(Store, Writer)>,
}

/// Tries `demand` in every shape.
pub(super) fn every_shape(more: &str, block_size: u64, demand: impl Fn(&mut Bed)) {
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, more, block_size);
        demand(&mut bed);
        bed.finish();
    }
}

/// Tries `demand` on plain blocks, where it is about what lies in them, or about nothing that blocks have to do with.
pub(super) fn plain(more: &str, block_size: u64, demand: impl Fn(&mut Bed)) {
    let mut bed = Bed::new(Shape::PLAIN, more, block_size);
    demand(&mut bed);
    bed.finish();
}

pub(super) fn config_of(shape: Shape, more: &str) -> StreamMeta {
    let subjects = match more.contains("\"subjects\"") {
        true => "",
        false => r#","subjects":["foo","foo.>","bar","bar.>","baz","baz.>","A","B","s.>","kv.>"]"#,
    };
    let compression = if shape.compresses { "s2" } else { "none" };
    let text = format!(
        r#"{{"name":"{NAME}"{subjects},"storage":"file","retention":"limits","num_replicas":1,"compression":"{compression}"{more}}}"#
    );
    StreamMeta::parse(text.as_bytes()).unwrap()
}

impl Bed {
    pub fn new(shape: Shape, more: &str, block_size: u64) -> Self {
        Self::on(MemoryFileSystem::new(), shape, more, block_size)
    }

    pub fn on(fs: MemoryFileSystem, shape: Shape, more: &str, block_size: u64) -> Self {
        let mut bed = Bed {
            fs,
            shape,
            now_ns: NOW_NS,
            more: more.to_owned(),
            block_size,
            seed: 1,
            open: None,
        };
        bed.open();
        bed
    }

    fn keys(&self) -> Keys {
        Keys {
            current: self
                .shape
                .cipher
                .map(|_| ServerKey::new(b"rows key".to_vec())),
            previous: None,
            cipher: self.shape.cipher,
        }
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            keys: self.keys(),
            account: Some(b"A".to_vec()),
            block_size: Some(self.block_size),
            threads: 1,
            ..StoreOptions::new(config_of(self.shape, &self.more), self.now_ns)
        }
    }

    pub fn try_open(&self, fs: &MemoryFileSystem) -> Result<Store, OpenError> {
        self.try_open_with(fs, &self.options())
    }

    pub fn try_open_with(
        &self,
        fs: &MemoryFileSystem,
        options: &StoreOptions,
    ) -> Result<Store, OpenError> {
        Store::open(
            Arc::new(fs.clone()),
            Arc::new(SeededEntropy::new(self.seed)),
            &Idle::declared(),
            Path::new(DIR),
            options,
        )
    }

    fn open(&mut self) {
        self.seed += 1;
        let store = self.try_open(&self.fs).unwrap();
        let writer = store.writer().unwrap();
        self.open = Some((store, writer));
    }

    pub fn store(&self) -> &Store {
        &self.open.as_ref().unwrap().0
    }

    pub fn writer(&mut self) -> &mut Writer {
        &mut self.open.as_mut().unwrap().1
    }

    pub fn reader(&self) -> Reader {
        self.store().reader()
    }

    /// Appends; its sequence.
    pub fn try_put(
        &mut self,
        subject: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<u64, AppendError> {
        self.now_ns += 1000;
        let now_ns = self.now_ns;
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: headers.as_bytes(),
            body,
        };
        let appended = self.writer().append(&message, now_ns)?;
        Ok(appended.seq)
    }

    pub fn put(&mut self, subject: &str, body: impl AsRef<[u8]>) -> u64 {
        self.try_put(subject, "", body.as_ref()).unwrap()
    }

    /// Appends with headers, of which `lines` are the lines with `\r\n` behind each.
    pub fn put_with(&mut self, subject: &str, lines: &str, body: impl AsRef<[u8]>) -> u64 {
        let headers = format!("NATS/1.0\r\n{lines}\r\n");
        self.try_put(subject, &headers, body.as_ref()).unwrap()
    }

    pub fn puts(&mut self, subject: &str, count: u64) {
        for _ in 0..count {
            self.put(subject, "Hello World");
        }
    }

    pub fn put_at(&mut self, subject: &str, timestamp_ns: i64) -> u64 {
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            body: b"Hello World",
        };
        self.writer()
            .append_at(&message, None, timestamp_ns)
            .unwrap()
            .seq
    }

    pub fn skip(&mut self, count: u64) {
        self.now_ns += 1000;
        let now_ns = self.now_ns;
        self.writer().skip_many(None, count, now_ns).unwrap();
    }

    pub fn remove(&mut self, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            assert!(self.writer().remove(seq).unwrap(), "{seq}");
        }
    }

    pub fn erase(&mut self, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            assert!(self.writer().erase(seq).unwrap(), "{seq}");
        }
    }

    pub fn purge(&mut self, filter: &str, below: u64, keep: u64) -> u64 {
        let request = PurgeRequest {
            filter: filter.as_bytes(),
            below,
            keep,
        };
        self.writer().purge(&request).unwrap()
    }

    pub fn compact(&mut self, seq: u64) -> u64 {
        self.writer().compact(seq).unwrap()
    }

    pub fn truncate(&mut self, seq: u64) -> u64 {
        self.writer().truncate(seq).unwrap()
    }

    pub fn tidy(&mut self) {
        let is_left = self.writer().tidy(TidyBudget::default()).unwrap();
        assert!(!is_left);
    }

    /// Takes another configuration, here and for the next openings.
    pub fn configure(&mut self, more: &str) {
        self.more = more.to_owned();
        let config = config_of(self.shape, more);
        self.writer().update_config(&config).unwrap();
    }

    /// First sequence, last sequence, messages.
    pub fn bounds(&self) -> (u64, u64, u64) {
        bounds(&self.reader())
    }

    pub fn bytes(&self) -> u64 {
        self.reader().summary().bytes
    }

    pub fn deleted(&self) -> Vec<u64> {
        self.reader().deleted().iter().collect()
    }

    /// Live sequences.
    pub fn seqs(&self) -> Vec<u64> {
        upwards(&self.reader(), &[], 0)
    }

    /// Why a message is not there.
    pub fn miss(&self, seq: u64) -> ReadError {
        self.reader().get(seq).unwrap_err()
    }

    pub fn blocks(&self) -> Vec<BlockState> {
        self.store().with_state(|state| state.blocks.clone())
    }

    /// Live sequences, block by block.
    pub fn layout(&self) -> Vec<Vec<u64>> {
        let blocks = self.blocks();
        let held = blocks.iter().map(|block| {
            let range = block.first.seq..=block.last.seq;
            range.filter(|seq| block.holds(*seq)).collect()
        });
        held.collect()
    }

    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.fs.files().remove(&Path::new(DIR).join(path))
    }

    /// Names of the blocks' files, with their bytes, by number.
    pub fn block_files(&self) -> BTreeMap<u32, Vec<u8>> {
        let files = self.fs.files().into_iter();
        let of_blocks = files.filter_map(|(path, bytes)| {
            let name = path.file_name()?.to_str()?;
            let number = name.strip_suffix(".blk")?.parse().ok()?;
            let in_messages = path.parent()? == Path::new(DIR).join("msgs");
            in_messages.then_some((number, bytes))
        });
        of_blocks.collect()
    }

    pub fn names(&self) -> Vec<PathBuf> {
        self.fs.files().into_keys().collect()
    }

    /// Kinds and sequences of the records in all plain blocks.
    pub fn records(&self) -> Vec<(RecordKind, u64)> {
        assert!(self.shape.is_plain());
        let mut found = Vec::new();
        for bytes in self.block_files().values() {
            let mut offset = 0;
            while let Ok(record) = parse_at(bytes, offset) {
                offset = record.end_offset();
                found.push((record.kind(), record.sequence()));
            }
            assert_eq!(offset, bytes.len());
        }
        found
    }

    /// Sequences of all tombstones in plain blocks.
    pub fn tombstones(&self) -> Vec<u64> {
        let records = self.records().into_iter();
        let tombstones = records.filter(|(kind, _)| *kind == RecordKind::Tombstone);
        tombstones.map(|(_, seq)| seq).collect()
    }

    pub fn book(&self) -> Book {
        book_of(self.store())
    }

    /// What recovery makes of the directory as it lies.
    pub fn judged(&self, fs: &MemoryFileSystem) -> StreamState {
        let stream = StreamDir {
            account: None,
            name: NAME.to_owned(),
            dir: DIR.into(),
        };
        let options = Options {
            expire: false,
            keys: self.keys(),
            account: Some(b"A".to_vec()),
            block_size: Some(self.block_size),
            threads: 1,
            ..Options::new(self.now_ns)
        };
        let judgement = judge(fs, &stream, &options, &Watch::none());
        let events = judgement.report.events;
        let state = judgement.state.map(Unapplied::into_preview);
        state.unwrap_or_else(|| panic!("recovery does not open it: {events:?}"))
    }

    /// Holds the store's state against itself, and against recovery's, with the index and from the blocks alone.
    pub fn check(&mut self) {
        self.writer().flush().unwrap();
        let whole = self.fs.fork();
        self.store().with_state(|state| {
            state.check().unwrap();
            for fs in [whole, self.left()] {
                let mut judged = self.judged(&fs);
                excuse(&mut judged, state);
                let difference = judged.difference_but_losses(state);
                assert_eq!(difference, None, "{:?}", self.shape);
            }
        });
    }

    /// What a killed process leaves, without the index.
    pub fn left(&self) -> MemoryFileSystem {
        let left = self.fs.fork();
        let _ = left.remove_file(&Path::new(DIR).join(LOCK_FILE_NAME));
        let _ = left.remove_file(&Path::new(DIR).join("msgs/index.db"));
        left
    }

    /// Closes, and opens again.
    pub fn reopen(&mut self) {
        let (store, writer) = self.open.take().unwrap();
        store.close(writer).unwrap();
        self.open();
    }

    /// Is killed, loses the index, and opens again.
    pub fn kill(&mut self) {
        self.writer().flush().unwrap();
        self.open = None;
        self.fs = self.left();
        self.open();
    }

    /// Is dropped as it is, and opens what lies there.
    pub fn kill_without_flush(&mut self) {
        self.open = None;
        self.fs = self.left();
        self.open();
    }

    /// The store itself, to do what this does not.
    pub fn take(mut self) -> (Store, Writer) {
        self.open.take().unwrap()
    }

    /// The end of every demand: the store is what recovery makes of its directory, and it stays that over tidying, closing, and
    /// a kill that leaves no index.
    pub fn finish(mut self) {
        self.check();
        let mut book = self.book();
        self.reopen();
        excuse_time(&mut book, &self.book());
        assert_eq!(self.book(), book, "opened again, {:?}", self.shape);
        self.check();
        self.tidy();
        assert_eq!(self.book(), book, "tidied, {:?}", self.shape);
        self.check();
        self.kill();
        excuse_time(&mut book, &self.book());
        assert_eq!(self.book(), book, "without index, {:?}", self.shape);
        self.reopen();
        self.check();
        assert_eq!(self.book(), book, "opened thrice, {:?}", self.shape);
    }
}

pub(super) fn bounds(reader: &Reader) -> (u64, u64, u64) {
    let summary = reader.summary();
    (summary.first.seq, summary.last.seq, summary.message_count)
}

/// Everything a walk upwards comes upon.
pub(super) fn upwards(reader: &Reader, filters: &[&[u8]], from: u64) -> Vec<u64> {
    let (mut found, mut from) = (Vec::new(), from);
    while let Ok(message) = reader.next(filters, from) {
        found.push(message.seq);
        from = message.seq + 1;
    }
    found
}

/// Everything a walk downwards comes upon.
pub(super) fn downwards(reader: &Reader, filters: &[&[u8]], from: u64) -> Vec<u64> {
    let (mut found, mut from) = (Vec::new(), from);
    while let Ok(message) = reader.previous(filters, from) {
        found.push(message.seq);
        from = message.seq - 1;
    }
    found
}

fn book_of(store: &Store) -> Book {
    let reader = store.reader();
    let summary = reader.summary();
    let mut pages = BTreeMap::new();
    for seq in upwards(&reader, &[], 0) {
        let message = reader.get(seq).unwrap();
        let page = Page {
            subject: message.subject().to_vec(),
            headers: message.headers().to_vec(),
            body: message.body().to_vec(),
            timestamp_ns: message.timestamp_ns,
        };
        pages.insert(seq, page);
    }
    assert_eq!(summary.message_count, pages.len() as u64);
    Book {
        pages,
        totals: (
            summary.first.seq,
            summary.last.seq,
            summary.message_count,
            summary.bytes,
        ),
        last_ns: summary.last.timestamp_ns,
        deleted: reader.deleted().iter().collect(),
        subjects: reader.subject_totals(b">"),
    }
}

/// What no file keeps: when a message was stored that was wiped while it was the last one, and that a store without a message ever was
/// purged.
fn excuse_time(known: &mut Book, found: &Book) {
    if found.last_ns == 0 && !found.pages.contains_key(&found.totals.1) {
        known.last_ns = 0;
    }
    if known.totals.1 == 0 && found.totals.1 == 0 {
        known.totals.0 = found.totals.0;
    }
}

fn excuse(judged: &mut StreamState, known: &StreamState) {
    // A schedule whose message is gone is dropped when it would fire.
    judged.timers.drop_schedules(|seq| !known.holds(seq));
    jetsam::testing::engine::excuse(judged, known);
}
