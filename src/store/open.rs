//! Opening a store, and closing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::BlockCache;
use super::consumers::ConsumerPlace;
use super::core::{Live, Shared, StreamKey};
use super::create;
use super::error::{OpenError, WriterFault};
use super::level::Level;
use super::reader::Reader;
use super::settings::{Settings, tracks_subjects};
use super::takeover;
use super::unfinished;
use super::writer::Writer;
use crate::crypto::Cipher;
use crate::env::sync::atomic::{AtomicBool, Ordering};
use crate::env::sync::{Mutex, RwLock};
use crate::env::{Entropy, FileSystem, IoError, LockGuard, ReadFiles};
use crate::format::checksum::HashKey;
use crate::format::meta::StreamMeta;
use crate::format::names::{META, is_valid_asset_name};
use crate::living::Idle;
use crate::recovery::{RecoverOptions, block_size, hand_over};
use crate::report::Watch;
use crate::report::actions::{Action, ActionKind};
use crate::report::stream::{Source, StreamReport};
use crate::state::StreamState;
use crate::stream::StreamDir;
use crate::stream::metadata::Asset;
use crate::stream::options::{Keys, Options};
use crate::stream::writer::Sealing;

/// Bytes of blocks kept in memory for readers, unless the caller says otherwise.
const CACHE_BYTES: usize = 128 * 1024 * 1024;

/// No block grows beyond, whatever is asked for: places in it are told in 32 bits, and its keystream is not endless.
const BLOCK_MOST_BYTES: u64 = 1024 * 1024 * 1024;

/// How a store is opened.
///
/// ```
/// use jetsam::format::meta::StreamMeta;
/// use jetsam::store::{Level, StoreOptions};
///
/// let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
/// let options = StoreOptions {
///     level: Level::Synced,
///     cache_bytes: 16 * 1024 * 1024,
///     ..StoreOptions::new(config, 1_767_225_600_000_000_000)
/// };
/// assert!(options.create && !options.accept_loss);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The stream's configuration. It makes a new store; one that is there keeps its own, and has to have this name.
    pub config: StreamMeta,
    /// Whether a store is made where there is none.
    pub create: bool,
    /// The time: limits by age are applied as of it, and it is a new store's time of creation. Nanoseconds since the Unix epoch.
    pub now_ns: i64,
    /// Keys of an encrypted store. A new store is encrypted where there is a current one.
    pub keys: Keys,
    /// Account in the derivation of keys; `None` takes the directory above `streams`.
    pub account: Option<Vec<u8>>,
    /// Bytes a block may grow to; `None` for the server's rule.
    pub block_size: Option<u64>,
    /// What writes wait for, until [`Writer::set_level`].
    pub level: Level,
    /// Bytes of blocks kept in memory for readers, the one being written not counted.
    pub cache_bytes: usize,
    /// Bytes of the disk that new messages leave free, for a full disk takes no removals either: 0 for none. Where the system does not
    /// say what is left, nothing is held against it.
    pub disk_margin_bytes: u64,
    /// Whether a damaged stream is opened where messages are lost by it.
    pub accept_loss: bool,
    /// Threads that recovery may use.
    pub threads: usize,
}

impl StoreOptions {
    /// Options for a stream of this configuration, made where there is none, with what everybody gets who does not choose.
    #[must_use]
    pub fn new(config: StreamMeta, now_ns: i64) -> Self {
        StoreOptions {
            config,
            create: true,
            now_ns,
            keys: Keys::default(),
            account: None,
            block_size: None,
            level: Level::default(),
            cache_bytes: CACHE_BYTES,
            disk_margin_bytes: 0,
            accept_loss: false,
            threads: Options::new(now_ns).threads,
        }
    }

    /// Options for the stream of this name that is there: it is not made, and keeps its own configuration.
    #[must_use]
    pub fn existing(name: &str, now_ns: i64) -> Self {
        let config = StreamMeta::named(name);
        StoreOptions {
            create: false,
            ..Self::new(config, now_ns)
        }
    }
}

/// An open store: one stream, in a directory of its own, which nobody else opens meanwhile.
///
/// It hands out any number of readers and its one writer. Dropping it leaves the directory as a killed process would; [`Store::close`]
/// makes everything durable and writes what spares the next start a scan.
///
/// ```
/// # use std::sync::Arc;
/// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
/// # use jetsam::format::meta::StreamMeta;
/// # use jetsam::living::Idle;
/// # use jetsam::store::{NewMessage, Store, StoreOptions};
/// use jetsam::store::OpenError;
/// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
/// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
/// # let now_ns = 1_767_225_600_000_000_000;
/// # let options = StoreOptions::new(config, now_ns);
/// let open = || Store::open(fs.clone(), Arc::new(OsEntropy), &Idle::declared(), dir, &options);
/// let store = open()?;
/// // A second owner is kept out.
/// assert!(matches!(open(), Err(OpenError::Refused(_))));
/// let mut writer = store.writer().expect("nobody took it before");
/// assert!(store.writer().is_none());
/// writer.append(&NewMessage { subject: b"orders.new", headers: b"", body: b"one coffee" }, now_ns)?;
/// store.close(writer)?;
/// assert_eq!(open()?.reader().summary().message_count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Mutex<Option<Writer>>,
    report: StreamReport,
    /// Held by the writer too: whoever can still write owns the directory.
    lock: Option<Arc<LockGuard>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({})", self.dir.display())
    }
}

impl Store {
    /// Opens the stream in `dir`, or makes it. The stream is recovered: what nats-server's start would do to it is done.
    ///
    /// `idle` says that no server uses the store; other owners of ours are kept out by a lock.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. With [`OpenError::Refused`] nothing was changed, or what was begun was taken back; the report says which.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        entropy: Arc<dyn Entropy>,
        idle: &Idle,
        dir: &Path,
        options: &StoreOptions,
    ) -> Result<Self, OpenError> {
        let name = options.config.name.clone();
        if !is_valid_asset_name(name.as_bytes()) {
            return Err(OpenError::Config(format!(
                "{name:?} is no name for a stream"
            )));
        }
        let stream = stream_dir(dir, options);
        let recover = recovery_options(options);
        let account = crate::stream::account_of(&stream, &recover);
        if fs.metadata(&dir.join(META)).is_err() {
            if !options.create {
                return Err(OpenError::Missing(dir.to_owned()));
            }
            create::create(&*fs, &*entropy, dir, &account, options)?;
        }
        unfinished::finish(&*fs, idle, &stream, &recover)?;
        let how = RecoverOptions {
            accept_loss: options.accept_loss,
            accept_expiry: true,
            undo: false,
        };
        let is_own_index = takeover::has_own_index(&*fs, dir);
        let handed = hand_over(
            &*fs,
            idle,
            &stream,
            &recover,
            &how,
            &*entropy,
            &Watch::none(),
        );
        let Some((state, lock)) = handed.state else {
            return Err(OpenError::Refused(Box::new(handed.report)));
        };
        let (meta, stream_key) = read_meta(&*fs, dir, &name, options, &account)?;
        let shared = share(fs, entropy, dir, account, meta, stream_key, state, options);
        let shared = Arc::new(shared);
        let lock = Arc::new(lock);
        let mut writer = Writer::new(shared.clone(), lock.clone(), options.level);
        let by_index = handed.report.source == Some(Source::Index);
        writer.is_unproven = by_index && !is_own_index;
        writer.take_up(&handed.unlisted, &handed.spared);
        writer.drop_spared(&handed.spared)?;
        if let Some(told) = handed.told_last {
            writer.prove_last(told)?;
        }
        let dropped = |action: &Action| action.kind == ActionKind::RemoveBlock;
        if handed.report.actions.iter().any(dropped) {
            writer.prove_head()?;
        }
        writer.enforce_at_open(options.now_ns)?;
        Ok(Store {
            writer: Mutex::new(Some(writer)),
            shared,
            report: handed.report,
            lock: Some(lock),
        })
    }

    /// The names of the streams in the directory of an account's streams, in their order; none where there is no such directory. One without
    /// metadata is none: its making or its deletion was cut short.
    ///
    /// # Errors
    ///
    /// [`IoError`].
    ///
    /// ```
    /// # use std::{path::Path, sync::Arc};
    /// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
    /// # use jetsam::format::meta::StreamMeta;
    /// # use jetsam::living::Idle;
    /// # use jetsam::store::{Store, StoreOptions};
    /// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
    /// # let (fs, now_ns) = (Arc::new(MemoryFileSystem::new()), 1_767_225_600_000_000_000);
    /// let open = |dir: &Path, options: StoreOptions| {
    ///     Store::open(fs.clone(), Arc::new(OsEntropy), &Idle::declared(), dir, &options)
    /// };
    /// let streams = Path::new("/data/jetstream/ACC/streams");
    /// assert!(Store::names(&*fs, streams)?.is_empty());
    /// drop(open(&streams.join("ORDERS"), StoreOptions::new(config, now_ns))?);
    /// for name in Store::names(&*fs, streams)? {
    ///     let store = open(&streams.join(&name), StoreOptions::existing(&name, now_ns))?;
    ///     assert_eq!(store.config().subjects, ["orders.>"]);
    /// }
    /// assert!(open(&streams.join("OTHER"), StoreOptions::existing("OTHER", now_ns)).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn names(fs: &dyn ReadFiles, streams_dir: &Path) -> Result<Vec<String>, IoError> {
        names_with_meta(fs, streams_dir)
    }

    /// What was found and done when the store was opened.
    #[must_use]
    pub fn report(&self) -> &StreamReport {
        &self.report
    }

    /// The writer, for whoever asks first.
    #[must_use]
    pub fn writer(&self) -> Option<Writer> {
        self.writer.lock().take()
    }

    /// A reader.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::of(self.shared.clone())
    }

    /// The stream's configuration.
    #[must_use]
    pub fn config(&self) -> StreamMeta {
        self.shared.live.read().meta.clone()
    }

    /// Where the stream's consumers lie, and what opens them.
    #[must_use]
    pub fn consumer_place(&self) -> ConsumerPlace<'_> {
        ConsumerPlace {
            fs: self.shared.fs.clone(),
            entropy: self.shared.entropy.clone(),
            stream_dir: &self.shared.dir,
            stream_name: &self.shared.name,
            keys: self.shared.keys.ring(&self.shared.account),
        }
    }

    /// Lets the caller look at the state as it is at one moment. The writer waits as long.
    pub fn with_state<T>(&self, look: impl FnOnce(&StreamState) -> T) -> T {
        look(&self.shared.live.read().state)
    }

    /// Makes everything durable, writes what spares the next start a scan, and gives the directory back. `writer` is the store's.
    ///
    /// # Errors
    ///
    /// [`WriterFault`]: what the writer was latched with, or what kept the end from being written. The store is closed all the same.
    pub fn close(mut self, mut writer: Writer) -> Result<(), WriterFault> {
        debug_assert!(
            Arc::ptr_eq(&self.shared, &writer.shared),
            "another store's writer"
        );
        let written = writer.sync().and_then(|_| writer.write_side_files());
        self.shared.is_closed.store(true, Ordering::Release);
        self.lock = None;
        written
    }
}

/// The directories in one that hold metadata.
pub(super) fn names_with_meta(fs: &dyn ReadFiles, dir: &Path) -> Result<Vec<String>, IoError> {
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let names = entries.into_iter().filter_map(|entry| {
        let name = entry.name.to_str().map(str::to_owned)?;
        let meta = fs.metadata(&dir.join(&name).join(META)).ok()?;
        (meta.length > 0).then_some(name)
    });
    Ok(names.collect())
}

fn stream_dir(dir: &Path, options: &StoreOptions) -> StreamDir {
    StreamDir {
        account: account_above(dir),
        name: options.config.name.clone(),
        dir: dir.to_owned(),
    }
}

/// The account in the derivation of keys.
pub(super) fn account_of(dir: &Path, options: &StoreOptions) -> Vec<u8> {
    crate::stream::account_of(&stream_dir(dir, options), &recovery_options(options))
}

/// How a new store is encrypted.
pub(super) fn sealing_of(keys: &Keys) -> Sealing<'_> {
    match &keys.current {
        None => Sealing::Plain,
        Some(server) => Sealing::Key {
            server,
            cipher: keys.cipher.unwrap_or(Cipher::ChaCha),
        },
    }
}

/// The account that the path shows: `…/ACCOUNT/streams/NAME`.
fn account_above(dir: &Path) -> Option<String> {
    let streams = dir.parent()?;
    if streams.file_name()? != "streams" {
        return None;
    }
    Some(streams.parent()?.file_name()?.to_str()?.to_owned())
}

fn recovery_options(options: &StoreOptions) -> Options {
    Options {
        quick: true,
        // The engine takes what limits and ages have no room for, and leaves evidence of it, which the server does not.
        expire: false,
        limits: false,
        keys: options.keys.clone(),
        account: options.account.clone(),
        block_size: options.block_size,
        threads: options.threads.max(1),
        ..Options::new(options.now_ns)
    }
}

fn read_meta(
    fs: &dyn FileSystem,
    dir: &Path,
    name: &str,
    options: &StoreOptions,
    account: &[u8],
) -> Result<(StreamMeta, Option<StreamKey>), OpenError> {
    let asset = Asset::stream(name, options.keys.ring(account));
    let found = asset.read(fs, dir)?;
    let Some((plain, _)) = found.plain else {
        return Err(OpenError::Config(
            "its configuration cannot be read".to_owned(),
        ));
    };
    let meta = StreamMeta::parse(&plain).map_err(|error| OpenError::Config(error.to_string()))?;
    if meta.name != name {
        return Err(OpenError::OtherStream {
            found: meta.name,
            expected: name.to_owned(),
        });
    }
    let key = found.key.map(|key| StreamKey {
        seed: key.seed,
        cipher: key.cipher,
    });
    Ok((meta, key))
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one value, named where they come from"
)]
fn share(
    fs: Arc<dyn FileSystem>,
    entropy: Arc<dyn Entropy>,
    dir: &Path,
    account: Vec<u8>,
    meta: StreamMeta,
    stream_key: Option<StreamKey>,
    mut state: StreamState,
    options: &StoreOptions,
) -> Shared {
    let settings = Settings::of(&meta);
    state.tracks_subjects |= tracks_subjects(&meta);
    let is_sealed = stream_key.is_some();
    let by_rule = block_size(&meta, false, is_sealed);
    Shared {
        fs,
        entropy,
        dir: PathBuf::from(dir),
        name: meta.name.clone().into_bytes(),
        account,
        keys: options.keys.clone(),
        stream_key,
        block_size: options
            .block_size
            .filter(|size| *size > 0)
            .unwrap_or(by_rule)
            .min(BLOCK_MOST_BYTES),
        cache: BlockCache::new(options.cache_bytes, is_sealed),
        disk_margin_bytes: options.disk_margin_bytes,
        live: RwLock::new(Live {
            state,
            meta,
            settings,
            tail: None,
            changing: None,
        }),
        is_closed: AtomicBool::new(false),
    }
}

impl Shared {
    /// Key of the hashes of the stream's own files.
    pub fn stream_hash_key(&self) -> HashKey {
        HashKey::for_stream(&self.name)
    }
}
