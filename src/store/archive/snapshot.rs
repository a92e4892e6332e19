//! Writing an archive.

use std::io::Write;

use tar::{Builder, EntryType, Header};

use super::error::SnapshotError;
use super::framing::FramedWriter;
use crate::block::content::tail_of;
use crate::format::checksum::{HashKey, hex16};
use crate::format::names::{BlockFile, CONSUMER_STATE, META, META_SUM, STATE_PATH, consumer_dir};
use crate::format::record::RecordFault;
use crate::report::ServerVersion;
use crate::state::index_file_of;
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

impl Writer {
    /// Writes an archive of the stream as it is: everything that was appended and removed before, and nothing else. Where
    /// `with_consumers` says so, its consumers are in it as their files tell; whoever has one open flushes it first. `now_ns` is the
    /// time its files bear, in nanoseconds since the Unix epoch.
    ///
    /// The archive is not encrypted. Readers go on meanwhile, and nothing is written to the store. It takes the memory of one block, and of
    /// the index. What an error leaves written is no archive, and does not pass for one.
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
        self.settle()?;
        self.flush()?;
        let seconds = now_ns.div_euclid(NANOSECONDS_PER_SECOND);
        let mut archive = ArchiveWriter {
            tar: Builder::new(FramedWriter::new(out)),
            modified_s: u64::try_from(seconds).unwrap_or_default(),
        };
        let written = self.archive_files(&mut archive, with_consumers);
        if written.is_err() {
            archive.tar.get_mut().abandon();
        }
        written?;
        Ok(archive.tar.into_inner()?.finish()?)
    }

    fn archive_files(
        &self,
        archive: &mut ArchiveWriter<'_>,
        with_consumers: bool,
    ) -> Result<(), SnapshotError> {
        let (json, numbers): (_, Vec<u32>) = {
            let live = self.shared.live.read();
            let blocks = live.state.blocks.iter();
            (
                live.meta.encode(),
                blocks.map(|block| block.number).collect(),
            )
        };
        archive.meta("", &json, &self.shared.stream_hash_key())?;
        let mut last = (0, [0; 8]);
        for number in numbers {
            let content = crate::store::cache::read(&self.shared, number)?;
            if let Some(offset) = content.damage().map(RecordFault::offset) {
                return Err(SnapshotError::Damaged {
                    block: number,
                    offset,
                });
            }
            archive.file(&BlockFile::Block.path(number), content.bytes())?;
            last = (number, tail_of(content.bytes()));
        }
        // Nothing is written while this is: the state is still that of the blocks above. Without an index the blocks are read.
        if let Some(index) = self.index_of_archive(last) {
            archive.file(STATE_PATH, &index)?;
        }
        match with_consumers {
            true => self.archive_consumers(archive),
            false => Ok(()),
        }
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

    fn archive_consumers(&self, archive: &mut ArchiveWriter<'_>) -> Result<(), SnapshotError> {
        let shared = &self.shared;
        let ring = shared.keys.ring(&shared.account);
        let found = consumers(&*shared.fs, &shared.dir, &shared.name, ring);
        for consumer in found.map_err(SnapshotError::Io)? {
            if consumer.superseded_by.is_some() {
                continue;
            }
            let name = &consumer.name;
            let closed = |reason: &str| SnapshotError::Consumer {
                name: name.clone(),
                reason: reason.to_owned(),
            };
            let below = consumer_dir(name);
            match &consumer.meta {
                FileContent::Plain(json) => {
                    let key = HashKey::for_consumer(&shared.name, name.as_bytes());
                    archive.meta(&below, json, &key)?;
                }
                FileContent::Missing => return Err(closed("there is no configuration")),
                FileContent::Closed(reason) => return Err(closed(reason)),
            }
            match &consumer.file {
                FileContent::Plain(state) => {
                    archive.file(&format!("{below}{CONSUMER_STATE}"), state)?;
                }
                FileContent::Missing => {}
                FileContent::Closed(reason) => return Err(closed(reason)),
            }
        }
        Ok(())
    }
}
