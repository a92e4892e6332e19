//! Reading a whole stream directory in plaintext, for writing it anew and for reading back what was written.
//!
//! One reading serves both, so that what it passes over it passes over twice, and what it takes it compares.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::RekeyError;
use super::stored::Stored;
use crate::block::key::BlockKey;
use crate::env::{Entropy, FileKind, FileSystem, LOCK_FILE_NAME};
use crate::format::checksum::HashKey;
use crate::format::names::{
    BlockFile, CONSUMER_STATE, CONSUMERS, MESSAGES, META, META_KEY, META_SUM, OWN_INDEX,
    STATE_FILE, block_number, in_messages,
};
use crate::parallel::Crew;
use crate::recovery::UNDO_AREA;
use crate::report::{Phase, Progress, Watch};
use crate::stream::StreamDir;
use crate::stream::consumers::{FileContent, consumers};
use crate::stream::metadata::MetaOrigin;
use crate::stream::options::Options;
use crate::stream::writer::{Sealing, StoreWriter};

/// No block is nearly that long.
const BLOCK_MAX: u64 = 4 << 30;
/// Metadata and the index are read whole.
const SIDE_FILE_MAX: u64 = 1 << 30;

/// Of one file's plaintext, to tell whether it reads back as it was written: nobody forges what this process writes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum {
    length: u64,
    hash: u64,
}

impl Checksum {
    fn of(plain: &[u8]) -> Self {
        Checksum {
            length: plain.len() as u64,
            hash: HashKey::from_label(b"contents").hash64(&[plain]),
        }
    }
}

/// What a reading found: a checksum of every file's plaintext.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Contents {
    /// By path, relative to the stream directory.
    pub sums: BTreeMap<String, Checksum>,
    /// Blocks.
    pub block_count: u64,
    /// Consumers.
    pub consumer_count: u64,
    /// What was passed over.
    pub left_out: Vec<String>,
}

/// How to read, and what to write with.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub fs: &'a dyn FileSystem,
    /// Keys, account and threads.
    pub options: &'a Options,
    /// For what is written.
    pub sealing: Sealing<'a>,
    pub entropy: &'a dyn Entropy,
    pub account: &'a [u8],
    pub watch: &'a Watch<'a>,
}

/// One store being read: the stream, or a staged batch in it.
struct Store<'a, 'w> {
    reading: Reading<'a>,
    dir: &'a StreamDir,
    stored: Stored,
    writer: Option<&'w StoreWriter<'a>>,
    /// Where it lies in the stream directory: empty, or with a slash at its end.
    below: String,
    out: Mutex<Contents>,
}

impl Reading<'_> {
    /// Reads the stream, and hands everything to `writer` if there is one.
    pub(super) fn read(
        &self,
        stream: &StreamDir,
        writer: Option<&StoreWriter<'_>>,
    ) -> Result<Contents, RekeyError> {
        self.read_store(stream, writer, String::new())
    }

    fn read_store(
        &self,
        stream: &StreamDir,
        writer: Option<&StoreWriter<'_>>,
        below: String,
    ) -> Result<Contents, RekeyError> {
        let store = Store {
            stored: Stored::read(self.fs, stream, self.options)?,
            reading: *self,
            dir: stream,
            writer,
            below,
            out: Mutex::default(),
        };
        store.meta()?;
        store.messages()?;
        store.consumers()?;
        store.others()?;
        Ok(store.out.into_inner())
    }
}

fn damaged(file: &str, detail: impl std::fmt::Display) -> RekeyError {
    RekeyError::Damaged(format!("{file}: {detail}"))
}

impl Store<'_, '_> {
    fn count(&self, relative: &str, plain: &[u8]) {
        let sum = Checksum::of(plain);
        let path = format!("{}{relative}", self.below);
        self.out.lock().sums.insert(path, sum);
    }

    fn leave_out(&self, relative: &str) {
        let path = format!("{}{relative}", self.below);
        self.out.lock().left_out.push(path);
    }

    fn read(&self, relative: &str) -> Result<Option<Vec<u8>>, RekeyError> {
        let path = self.dir.dir.join(relative);
        match self.reading.fs.read(&path, SIDE_FILE_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The stream's own metadata. Its JSON is taken over letter by letter, `Created` with it: a digit more or less, and
    /// every stream that sources from this one starts over.
    fn meta(&self) -> Result<(), RekeyError> {
        let stored = &self.stored;
        if stored.meta_origin != MetaOrigin::Sound || !stored.repairs.is_empty() {
            return Err(damaged(&format!("{}{META}", self.below), "it is not sound"));
        }
        let Some(bytes) = self.read(META)? else {
            return Err(damaged(META, "it is gone"));
        };
        let plain = match &stored.asset_key {
            Some(key) => key.open(&bytes).map_err(|error| damaged(META, error))?,
            None => bytes,
        };
        self.count(META, &plain);
        match self.writer {
            Some(writer) => Ok(writer.meta(&plain)?),
            None => Ok(()),
        }
    }

    fn messages(&self) -> Result<(), RekeyError> {
        let messages = self.dir.dir.join(MESSAGES);
        let entries = match self.reading.fs.list(&messages) {
            Ok(entries) => entries,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut blocks = Vec::new();
        for entry in entries {
            let Some(name) = entry.name.to_str() else {
                return Err(damaged(
                    MESSAGES,
                    format!("{:?} is no name of ours", entry.name),
                ));
            };
            let path = in_messages(name);
            match BlockFile::parse(name.as_bytes()) {
                Some((number, BlockFile::Block)) => blocks.push(number),
                Some((_, BlockFile::Key)) => {}
                Some((_, BlockFile::Rewrite | BlockFile::Compaction)) => self.leave_out(&path),
                Some((_, BlockFile::LegacyIndex)) => {
                    let detail = format!("{path} is of a server older than 2.10");
                    return Err(RekeyError::RecoverFirst(detail));
                }
                Some((_, BlockFile::LegacySubjects)) => self.leave_out(&path),
                None if name == STATE_FILE => self.index()?,
                None if is_left_over(name) => self.leave_out(&path),
                None if name.ends_with(".blk") && block_number(name.as_bytes()).is_none() => {
                    return Err(damaged(&path, "it is no block's name"));
                }
                None => self.verbatim(&path, entry.kind)?,
            }
        }
        self.out.lock().block_count += blocks.len() as u64;
        self.blocks(&blocks)
    }

    /// Reads blocks in parallel: each is independent, and of each only one is in memory per thread.
    fn blocks(&self, numbers: &[u32]) -> Result<(), RekeyError> {
        let tell = |done| {
            (self.reading.watch.progress)(Progress {
                phase: match self.writer {
                    Some(_) => Phase::Apply,
                    None => Phase::Verify,
                },
                done: done as u64,
                total: numbers.len() as u64,
            });
        };
        let crew = Crew::of(self.reading.options.threads).telling(&tell);
        crew.map(numbers, |number| self.block(*number)).map(|_| ())
    }

    fn block(&self, number: u32) -> Result<(), RekeyError> {
        if self.reading.watch.cancel.load(Ordering::Relaxed) {
            return Err(RekeyError::Cancelled);
        }
        let path = BlockFile::Block.path(number);
        let fs = self.reading.fs;
        let mut bytes = fs.read(&self.dir.dir.join(&path), BLOCK_MAX)?;
        let keys = &self.reading.options.keys;
        let (key, repair) = self.stored.blocks(fs, self.dir, keys).key(number, &bytes);
        if repair.is_some() {
            return Err(damaged(&path, "its key file is damaged or lies elsewhere"));
        }
        match key {
            BlockKey::Plain => {}
            BlockKey::Opened(key) => key
                .block_cipher()
                .apply(&mut bytes, 0)
                .map_err(|error| damaged(&path, error))?,
            BlockKey::Closed(detail) => {
                return Err(RekeyError::NeedsKey(format!("{path}: {detail}")));
            }
        }
        self.count(&path, &bytes);
        match self.writer {
            Some(writer) => Ok(writer.block(number, &mut bytes)?),
            None => Ok(()),
        }
    }

    /// The index is sealed anew rather than rebuilt: deletes by limits stand nowhere else. One that does not verify is
    /// left out, as the server would.
    fn index(&self) -> Result<(), RekeyError> {
        let path = in_messages(STATE_FILE);
        if !self.stored.has_index {
            self.leave_out(&path);
            return Ok(());
        }
        let stored = self.read(&path)?.unwrap_or_default();
        let Some((payload, _)) = crate::format::state::split_trailing_hash(&stored) else {
            self.leave_out(&path);
            return Ok(());
        };
        let key = self.stored.asset_key.as_ref();
        let opened = key.and_then(|key| key.open(payload).ok());
        let plain = opened.unwrap_or_else(|| payload.to_vec());
        self.count(&path, &plain);
        match self.writer {
            Some(writer) => Ok(writer.index(&plain)?),
            None => Ok(()),
        }
    }

    fn consumers(&self) -> Result<(), RekeyError> {
        let stored = &self.stored;
        let fs = self.reading.fs;
        let ring = stored.blocks(fs, self.dir, &self.reading.options.keys).ring;
        for consumer in consumers(fs, &self.dir.dir, stored.name.as_bytes(), ring)? {
            let name = &consumer.name;
            let file = format!("{CONSUMERS}/{name}");
            let state = match (&consumer.meta, &consumer.file) {
                // Nothing of a consumer is in there.
                (FileContent::Missing, FileContent::Missing) => {
                    self.leave_out(&file);
                    continue;
                }
                (FileContent::Closed(detail), _) | (_, FileContent::Closed(detail)) => {
                    return Err(damaged(&file, detail));
                }
                (FileContent::Missing, _) => return Err(damaged(&file, "its metadata is gone")),
                (_, FileContent::Missing) => None,
                (_, FileContent::Plain(state)) => Some(state.as_slice()),
            };
            if !consumer.repairs.is_empty() {
                return Err(damaged(&file, "bits in it are wrong"));
            }
            let FileContent::Plain(meta) = &consumer.meta else {
                continue;
            };
            self.count(&format!("{file}/{META}"), meta);
            if let Some(state) = state {
                self.count(&format!("{file}/{CONSUMER_STATE}"), state);
            }
            self.out.lock().consumer_count += 1;
            if let Some(writer) = self.writer {
                writer.consumer(name, meta, state)?;
            }
        }
        Ok(())
    }

    /// What else is in the directory: `sources.db`, staged batches, what later servers may add.
    fn others(&self) -> Result<(), RekeyError> {
        for entry in self.reading.fs.list(&self.dir.dir)? {
            let Some(name) = entry.name.to_str() else {
                let detail = format!("{:?} is no name of ours", entry.name);
                return Err(damaged("the stream directory", detail));
            };
            match (name, entry.kind) {
                (
                    META | META_SUM | META_KEY | MESSAGES | CONSUMERS | LOCK_FILE_NAME | OWN_INDEX,
                    _,
                ) => {}
                ("batches", FileKind::Dir) => self.batches()?,
                // What recovery has put aside is under the old key, and does not fit what is new.
                (UNDO_AREA, _) => self.leave_out(name),
                _ if is_left_over(name) => self.leave_out(name),
                (_, kind) => self.verbatim(name, kind)?,
            }
        }
        Ok(())
    }

    /// Staged batches are stores of their own, under keys of their own.
    fn batches(&self) -> Result<(), RekeyError> {
        for entry in self.reading.fs.list(&self.dir.dir.join("batches"))? {
            let relative = format!("batches/{}", entry.name.to_string_lossy());
            if entry.kind != FileKind::Dir {
                self.verbatim(&relative, entry.kind)?;
                continue;
            }
            let name = entry.name.to_string_lossy().into_owned();
            let stream = StreamDir {
                dir: self.dir.dir.join(&relative),
                name: name.clone(),
                account: self.dir.account.clone(),
            };
            let below = format!("{}{relative}/", self.below);
            let Reading {
                fs,
                sealing,
                entropy,
                account,
                ..
            } = self.reading;
            let nested = match self.writer {
                Some(writer) => {
                    let dir = writer.dir().join(&relative);
                    let nested =
                        StoreWriter::create(fs, &dir, name.as_bytes(), account, sealing, entropy)?;
                    let nested_contents = self.reading.read_store(&stream, Some(&nested), below)?;
                    nested.finish()?;
                    nested_contents
                }
                None => self.reading.read_store(&stream, None, below)?,
            };
            let mut out = self.out.lock();
            out.sums.extend(nested.sums);
            out.left_out.extend(nested.left_out);
        }
        Ok(())
    }

    /// A file, or a directory of files, that no server encrypts.
    fn verbatim(&self, relative: &str, kind: FileKind) -> Result<(), RekeyError> {
        let fs = self.reading.fs;
        let path = self.dir.dir.join(relative);
        let kind = match kind {
            FileKind::Symlink => fs.metadata(&path)?.kind,
            kind => kind,
        };
        match kind {
            FileKind::Dir => {
                for entry in fs.list(&path)? {
                    let below = format!("{relative}/{}", entry.name.to_string_lossy());
                    self.verbatim(&below, entry.kind)?;
                }
                Ok(())
            }
            FileKind::File => self.file(relative, &path),
            FileKind::Symlink | FileKind::Other => Err(damaged(
                relative,
                "it is neither file nor directory; remove it first",
            )),
        }
    }

    fn file(&self, relative: &str, path: &Path) -> Result<(), RekeyError> {
        let bytes = self.reading.fs.read(path, BLOCK_MAX)?;
        self.count(relative, &bytes);
        match self.writer {
            Some(writer) => Ok(writer.copy_file(path, relative)?),
            None => Ok(()),
        }
    }
}

/// Files that an interrupted write leaves and no server reads.
fn is_left_over(name: &str) -> bool {
    name.ends_with(".tmp") || name.starts_with("_test_") || name.starts_with(".jetsam")
}
