//! Making a store of an archive.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::entries::Entries;
use super::error::{ArchiveFault, RestoreError};
use super::framing::{FramedReader, read_full};
use super::members::{ArchivePlace, for_each_file};
use super::second;
use crate::env::{Entropy, FileSystem};
use crate::format::archive::MAGIC;
use crate::format::checksum::HashKey;
use crate::format::meta::{ConsumerMeta, StreamMeta};
use crate::format::names::{META, is_valid_asset_name};
use crate::format::state::split_trailing_hash;
use crate::living::Idle;
use crate::store::create::{put_in_place, remove_dir, staging_dir};
use crate::store::open::{Store, StoreOptions, account_of, sealing_of};
use crate::stream::writer::StoreWriter;

/// Consumers that an archive may hold.
const CONSUMERS_MOST: usize = 1 << 20;

/// A consumer whose files are still coming.
struct ComingConsumer {
    name: String,
    json: Vec<u8>,
    state: Option<Vec<u8>>,
}

/// What came so far.
struct Restoring<'a> {
    writer: StoreWriter<'a>,
    name: &'a str,
    has_meta: bool,
    has_index: bool,
    /// The last block.
    last_block: u32,
    consumers: BTreeSet<String>,
    coming: Option<ComingConsumer>,
}

impl Restoring<'_> {
    fn take(
        &mut self,
        place: ArchivePlace,
        name: &str,
        mut bytes: Vec<u8>,
    ) -> Result<(), RestoreError> {
        let order = || {
            RestoreError::from(ArchiveFault::Order {
                name: name.to_owned(),
            })
        };
        if !self.has_meta && !matches!(place, ArchivePlace::Meta | ArchivePlace::Errors) {
            return Err(no_meta().into());
        }
        match place {
            ArchivePlace::Meta if self.has_meta => return Err(order()),
            ArchivePlace::Meta => self.take_meta(&bytes)?,
            // Written anew; nothing damaged gets through the checksums of the compressed stream.
            ArchivePlace::Sum | ArchivePlace::Legacy => {}
            ArchivePlace::Block(number) => {
                if number <= self.last_block {
                    return Err(order());
                }
                self.last_block = number;
                self.writer.block(number, &mut bytes)?;
            }
            ArchivePlace::Index if self.has_index => return Err(order()),
            ArchivePlace::Index => {
                self.has_index = true;
                let key = HashKey::for_stream(self.name.as_bytes());
                // One that does not verify is made anew from the blocks.
                if let Some((state, hash)) = split_trailing_hash(&bytes)
                    && key.hash64(&[state]).to_le_bytes() == hash
                {
                    self.writer.index(state)?;
                }
            }
            ArchivePlace::ConsumerMeta(consumer) => {
                self.end_consumer()?;
                if self.consumers.len() >= CONSUMERS_MOST
                    || !self.consumers.insert(consumer.clone())
                {
                    return Err(order());
                }
                ConsumerMeta::parse(&bytes).map_err(|error| ArchiveFault::Meta {
                    name: name.to_owned(),
                    reason: error.to_string(),
                })?;
                self.coming = Some(ComingConsumer {
                    name: consumer,
                    json: bytes,
                    state: None,
                });
            }
            ArchivePlace::ConsumerSum(consumer) => {
                self.coming(&consumer).ok_or_else(order)?;
            }
            ArchivePlace::ConsumerState(consumer) => {
                let coming = self.coming(&consumer).filter(|one| one.state.is_none());
                coming.ok_or_else(order)?.state = Some(bytes);
            }
            ArchivePlace::Errors => {
                let reason = String::from_utf8_lossy(&bytes).trim().to_owned();
                return Err(ArchiveFault::Incomplete { reason }.into());
            }
        }
        Ok(())
    }

    fn take_meta(&mut self, json: &[u8]) -> Result<(), RestoreError> {
        let meta = StreamMeta::parse(json).map_err(|error| ArchiveFault::Meta {
            name: META.to_owned(),
            reason: error.to_string(),
        })?;
        if meta.name != self.name {
            return Err(RestoreError::OtherStream {
                found: meta.name,
                expected: self.name.to_owned(),
            });
        }
        self.has_meta = true;
        Ok(self.writer.meta(json)?)
    }

    /// The consumer of which files are coming, if it is this one.
    fn coming(&mut self, name: &str) -> Option<&mut ComingConsumer> {
        self.coming.as_mut().filter(|coming| coming.name == name)
    }

    fn end_consumer(&mut self) -> Result<(), RestoreError> {
        match self.coming.take() {
            Some(ComingConsumer { name, json, state }) => {
                Ok(self.writer.consumer(&name, &json, state.as_deref())?)
            }
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), RestoreError> {
        if !self.has_meta {
            return Err(no_meta().into());
        }
        self.end_consumer()?;
        Ok(self.writer.finish()?)
    }
}

fn no_meta() -> ArchiveFault {
    ArchiveFault::Meta {
        name: META.to_owned(),
        reason: "it does not come first".to_owned(),
    }
}

impl Store {
    /// Makes a store of an archive in `dir`, which is new or empty, and opens it as [`Store::open`] does. Sequences, times and consumers are
    /// the archive's. It is encrypted where `options` have a current key.
    ///
    /// An archive of the first version brings its configuration along, and its name, which has to be that of `options`. One of the second
    /// has neither: it is the configuration of `options` that holds, from then on for what comes too, and limits of it that have no room
    /// for all take from what was restored. Messages whose time to live is over are there until [`Writer::maintain`] looks.
    ///
    /// [`Writer::maintain`]: crate::store::Writer::maintain
    ///
    /// Up to `most_bytes` of the archive's content are read. Nothing is under the name of `dir` before all of it is durable; it is written
    /// to a directory beside it, which a server takes for what is left of a deleted stream, should it find one there after a crash.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; nothing is restored then, and `dir` is not there.
    pub fn restore(
        fs: Arc<dyn FileSystem>,
        entropy: Arc<dyn Entropy>,
        idle: &Idle,
        dir: &Path,
        archive: &mut dyn Read,
        most_bytes: u64,
        options: &StoreOptions,
    ) -> Result<Self, RestoreError> {
        let name = options.config.name.as_str();
        if !is_valid_asset_name(name.as_bytes()) {
            let reason = format!("{name:?} is no name for a stream");
            return Err(RestoreError::Config(reason));
        }
        if dir.file_name().is_none() {
            let reason = format!("{} is no directory to make", dir.display());
            return Err(RestoreError::Config(reason));
        }
        let staged = staging_dir(dir, ".jetsam.restored");
        check_empty(&*fs, dir)?;
        remove_dir(&*fs, &staged)?;
        let unpacked = unpack(&fs, &entropy, dir, &staged, archive, most_bytes, options)
            .and_then(|()| Ok(put_in_place(&*fs, &staged, dir)?));
        if let Err(error) = unpacked {
            if fs
                .metadata(&staged)
                .is_err_and(|error| error.is_not_found())
            {
                let _ = remove_dir(&*fs, dir);
            }
            // The first failure is what is told.
            let _ = remove_dir(&*fs, &staged);
            return Err(error);
        }
        Store::open(fs.clone(), entropy, idle, dir, options).map_err(|error| {
            let _ = remove_dir(&*fs, dir);
            RestoreError::Open(error)
        })
    }
}

fn check_empty(fs: &dyn FileSystem, dir: &Path) -> Result<(), RestoreError> {
    match fs.list(dir) {
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(_) => Err(RestoreError::NotEmpty(dir.to_owned())),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn unpack(
    fs: &Arc<dyn FileSystem>,
    entropy: &Arc<dyn Entropy>,
    dir: &Path,
    staged: &Path,
    archive: &mut dyn Read,
    most_bytes: u64,
    options: &StoreOptions,
) -> Result<(), RestoreError> {
    let account = account_of(dir, options);
    let mut framed = FramedReader::new(archive);
    let mut head = [0; MAGIC.len()];
    let got = read_full(&mut framed, &mut head).map_err(ArchiveFault::from)?;
    if head == *MAGIC {
        let mut entries = Entries::new(&mut framed, most_bytes);
        let (fs, entropy) = (fs.clone(), entropy.clone());
        return second::unpack(fs, entropy, staged, account, &mut entries, options);
    }
    let head = head.get(..got).unwrap_or_default();
    let name = options.config.name.as_str();
    let sealing = sealing_of(&options.keys);
    let writer = StoreWriter::create(
        &**fs,
        staged,
        name.as_bytes(),
        &account,
        sealing,
        &**entropy,
    )?;
    let mut restoring = Restoring {
        writer,
        name,
        has_meta: false,
        has_index: false,
        last_block: 0,
        consumers: BTreeSet::new(),
        coming: None,
    };
    for_each_file(head, &mut framed, most_bytes, |place, name, bytes| {
        restoring.take(place, name, bytes)
    })?;
    restoring.finish()
}
