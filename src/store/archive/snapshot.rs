//! Writing an archive.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::documents::{consumer_of, state_of};
use super::entries::{CONSUMERS, STATE, put as put_entry};
use super::error::SnapshotError;
use super::framing::FramedWriter;
use super::pins::Pins;
use crate::block::content::tail_of;
use crate::env::sync::atomic::Ordering;
use crate::format::archive::MAGIC;
use crate::format::checksum::{HashKey, hex16};
use crate::format::consumer::{ConsumerFile, ConsumerState};
use crate::format::meta::{ConsumerMeta, StreamMeta};
use crate::format::names::{BlockFile, CONSUMER_STATE, META, META_SUM, STATE_PATH, consumer_dir};
use crate::format::record::RecordFault;
use crate::report::ServerVersion;
use crate::state::{BlockState, Totals, index_file_of};
use crate::store::core::Shared;
use crate::store::error::WriterFault;
use crate::store::resident::Resident;
use crate::store::writer::Writer;
use crate::stream::consumers::{FileContent, consumers};

const FILE_MODE: u32 = 0o600;
const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// The tar on its way out.
struct ArchiveWriter<'a> {
    tar: Builder<FramedWriter<'a>>,
    modified_s: u64,
}

impl ArchiveWriter<'_> {
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(FILE_MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("nats")?;
        header.set_groupname("nats")?;
        header.set_mtime(self.modified_s);
        header.set_size(bytes.len() as u64);
        Ok(self.tar.append_data(&mut header, name, bytes)?)
    }

    /// A configuration with its checksum; `below` is the directory, with a slash at its end.
    fn meta(&mut self, below: &str, json: &[u8], key: &HashKey) -> Result<(), SnapshotError> {
        self.file(&format!("{below}{META}"), json)?;
        let sum = hex16(key.hash64(&[json]));
        self.file(&format!("{below}{META_SUM}"), sum.as_bytes())
    }
}

/// A consumer's files in the clear.
struct ArchivedConsumer {
    name: String,
    meta: Vec<u8>,
    state: Option<Vec<u8>>,
}

/// A stream as it was at one moment, on its way into an archive: see [`Writer::begin_snapshot`].
///
/// It may be given to another thread. Until it is written or dropped the writer keeps what it replaces: up to 256 files stay open for it.
pub struct Snapshot {
    shared: Arc<Shared>,
    pins: Arc<Pins>,
    modified_s: u64,
    meta: StreamMeta,
    blocks: Vec<BlockState>,
    totals: Totals,
    index: Option<Vec<u8>>,
    consumers: Vec<ArchivedConsumer>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("blocks", &self.blocks.len())
            .field("consumers", &self.consumers.len())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Writes the archive. It takes the memory of one block.
    ///
    /// The archive is not encrypted. What an error leaves written is no archive, and does not pass for one.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]: also where the store is closed meanwhile, or changed faster than it is read.
    pub fn write(self, out: &mut dyn Write) -> Result<(), SnapshotError> {
        let mut archive = ArchiveWriter {
            tar: Builder::new(FramedWriter::new(out)),
            modified_s: self.modified_s,
        };
        let written = self.write_files(&mut archive);
        if written.is_err() {
            archive.tar.get_mut().abandon();
        }
        written?;
        Ok(archive.tar.into_inner()?.finish()?)
    }

    fn write_files(&self, archive: &mut ArchiveWriter<'_>) -> Result<(), SnapshotError> {
        let shared = &self.shared;
        archive.meta("", &self.meta.encode(), &shared.stream_hash_key())?;
        for block in &self.blocks {
            let content = self.content_of(block.number)?;
            archive.file(&BlockFile::Block.path(block.number), content.bytes())?;
        }
        // Without an index the blocks are read.
        if let Some(index) = &self.index {
            archive.file(STATE_PATH, index)?;
        }
        for consumer in &self.consumers {
            let below = consumer_dir(&consumer.name);
            let key = HashKey::for_consumer(&shared.name, consumer.name.as_bytes());
            archive.meta(&below, &consumer.meta, &key)?;
            if let Some(state) = &consumer.state {
                archive.file(&format!("{below}{CONSUMER_STATE}"), state)?;
            }
        }
        Ok(())
    }

    /// A block as it was, all of it sound.
    fn content_of(&self, number: u32) -> Result<Resident, SnapshotError> {
        let content = self.pins.take(&self.shared, number);
        // Whoever has the directory next may have changed the file.
        if self.shared.is_closed.load(Ordering::Acquire) {
            return Err(WriterFault::Closed.into());
        }
        let content = content?;
        match content.damage().map(RecordFault::offset) {
            Some(offset) => Err(SnapshotError::Damaged {
                block: number,
                offset,
            }),
            None => Ok(content),
        }
    }

    /// Writes an archive of the second version, which holds the live messages and no configuration: what servers write from 2.15 on, and
    /// older ones do not take. It may be restored under another name; the time at which the stream was made is not in it.
    ///
    /// # Errors
    ///
    /// As for [`Snapshot::write`].
    pub fn write_messages(self, out: &mut dyn Write) -> Result<(), SnapshotError> {
        let mut framed = FramedWriter::new(out);
        let written = self.write_entries(&mut framed);
        if written.is_err() {
            framed.abandon();
        }
        written?;
        Ok(framed.finish()?)
    }

    fn write_entries(&self, out: &mut dyn Write) -> Result<(), SnapshotError> {
        let document = |out: &mut dyn Write, name: &str, told: &Value| {
            let body = told.to_string();
            put_entry(out, 0, 0, [name.as_bytes(), b"", body.as_bytes()])
        };
        out.write_all(MAGIC)?;
        document(out, STATE, &state_of(&self.totals, self.consumers.len()))?;
        for consumer in &self.consumers {
            let name = &consumer.name;
            let unread = |reason: String| SnapshotError::Consumer {
                name: name.clone(),
                reason,
            };
            let meta =
                ConsumerMeta::parse(&consumer.meta).map_err(|error| unread(error.to_string()))?;
            let state = match consumer.state.as_deref().unwrap_or_default() {
                [] => ConsumerState::default(),
                bytes => {
                    let found = ConsumerFile::decode(bytes);
                    found.map_err(|error| unread(error.to_string()))?.state
                }
            };
            let told = consumer_of(&meta, &state, self.totals.last.seq);
            document(out, &format!("{CONSUMERS}{name}"), &told)?;
        }
        for block in self.blocks.iter().filter(|block| block.message_count > 0) {
            let content = self.content_of(block.number)?;
            for slot in 0..content.slot_count() {
                let record = content.record(slot);
                let Some(record) = record.filter(|record| block.holds(record.sequence())) else {
                    continue;
                };
                let bytes = content.bytes();
                let parts = record.headers_and_body(bytes);
                let (headers, body) = parts.map_err(|_| SnapshotError::Damaged {
                    block: block.number,
                    offset: record.offset(),
                })?;
                let parts = [record.subject(bytes), headers, body];
                put_entry(out, record.sequence(), record.timestamp_ns(), parts)?;
            }
        }
        Ok(put_entry(out, 0, 0, [b"", b"", b""])?)
    }

    /// Configuration and state, as the server's request to restore an archive takes them, and the `backup.json` of the `nats` command.
    #[must_use]
    pub fn request(&self) -> Value {
        let mut config = self.meta.raw().clone();
        config.remove("created");
        let state = state_of(&self.totals, self.consumers.len());
        json!({"config": config, "state": state})
    }
}

impl Writer {
    /// Writes an archive of the stream as it is: [`Writer::begin_snapshot`] and [`Snapshot::write`] in one call, for which the writer waits.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]. The store is as it was.
    pub fn snapshot(
        &mut self,
        out: &mut dyn Write,
        with_consumers: bool,
        now_ns: i64,
    ) -> Result<(), SnapshotError> {
        self.begin_snapshot(with_consumers, now_ns)?.write(out)
    }

    /// The stream as it is, to be written into an archive while the stream goes on: everything that was appended and removed before, and
    /// nothing else. Where `with_consumers` says so, its consumers are in it as their files tell; whoever has one open flushes it first.
    /// `now_ns` is the time its files bear, in nanoseconds since the Unix epoch.
    ///
    /// Nothing is written to the store. What is held in memory is the index and the consumers' states; the last block is read, the others
    /// when their turn comes. A message that is erased meanwhile is in the archive.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]. The store is as it was.
    pub fn begin_snapshot(
        &mut self,
        with_consumers: bool,
        now_ns: i64,
    ) -> Result<Snapshot, SnapshotError> {
        self.settle()?;
        self.flush()?;
        let seconds = now_ns.div_euclid(NANOSECONDS_PER_SECOND);
        let (meta, blocks, totals) = {
            let live = self.shared.live.read();
            (
                live.meta.clone(),
                live.state.blocks.clone(),
                live.state.totals,
            )
        };
        let numbers = blocks.iter().map(|block| block.number);
        let mut lengths: BTreeMap<u32, u64> = numbers.map(|number| (number, u64::MAX)).collect();
        let mut last = (0, [0; 8]);
        if let Some(number) = blocks.last().map(|block| block.number) {
            // What is appended next is behind the end of its file.
            let path = self.shared.dir.join(BlockFile::Block.path(number));
            let found = self.shared.fs.metadata(&path);
            lengths.insert(number, found.map_err(SnapshotError::Io)?.length);
            let content = crate::store::cache::read(&self.shared, number)?;
            last = (number, tail_of(content.bytes()));
        }
        let pins = Pins::of(lengths);
        let snapshot = Snapshot {
            shared: self.shared.clone(),
            pins: pins.clone(),
            modified_s: u64::try_from(seconds).unwrap_or_default(),
            meta,
            blocks,
            totals,
            index: self.index_of_archive(last),
            consumers: match with_consumers {
                true => self.consumers_for_archive()?,
                false => Vec::new(),
            },
        };
        self.archives.retain(|archive| archive.strong_count() > 0);
        self.archives.push(Arc::downgrade(&pins));
        Ok(snapshot)
    }

    /// `index.db` in plaintext, for blocks whose last one ends in this hash. `None` where it cannot be encoded.
    fn index_of_archive(&self, last: (u32, [u8; 8])) -> Option<Vec<u8>> {
        let version = ServerVersion::REFERENCE.index_version();
        let index = {
            let live = self.shared.live.read();
            let state = &live.state;
            let blocks = state.blocks.iter();
            index_file_of(blocks, &state.totals, &state.subjects, version, last)
        };
        let mut bytes = index.encode(u64::MAX).ok()?;
        let hash = self.shared.stream_hash_key().hash64(&[&bytes]);
        bytes.extend_from_slice(&hash.to_le_bytes());
        Some(bytes)
    }

    fn consumers_for_archive(&self) -> Result<Vec<ArchivedConsumer>, SnapshotError> {
        let shared = &self.shared;
        let ring = shared.keys.ring(&shared.account);
        let found = consumers(&*shared.fs, &shared.dir, &shared.name, ring);
        let mut archived = Vec::new();
        for consumer in found.map_err(SnapshotError::Io)? {
            if consumer.superseded_by.is_some() {
                continue;
            }
            let name = consumer.name;
            let closed = |reason: &str| SnapshotError::Consumer {
                name: name.clone(),
                reason: reason.to_owned(),
            };
            let meta = match consumer.meta {
                FileContent::Plain(json) => json,
                FileContent::Missing => return Err(closed("there is no configuration")),
                FileContent::Closed(reason) => return Err(closed(&reason)),
            };
            let state = match consumer.file {
                FileContent::Plain(state) => Some(state),
                FileContent::Missing => None,
                FileContent::Closed(reason) => return Err(closed(&reason)),
            };
            archived.push(ArchivedConsumer { name, meta, state });
        }
        Ok(archived)
    }
}
