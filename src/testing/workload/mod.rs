//! Whole stores from a seed, byte for byte as a server lays them out: blocks rolled by its rule, sealed ones compressed,
//! the last one plain, key files, metadata, consumers, and an `index.db` of the last record.
//!
//! The same workload gives the same bytes every time, and a workload with fewer messages is the same store at an earlier
//! moment: that is where stale copies come from.

mod blocks;
mod content;
mod keys;

use crate::format::names::{META, META_KEY, META_SUM};
use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::random::{Random, derive};
use super::reference::Reference;
use crate::crypto::{Cipher, ServerKey};
use crate::env::memory::{MemoryFileSystem, SeededEntropy};
use crate::format::checksum::HashKey;
use crate::format::limits;
use crate::format::meta;
use crate::living::Idle;
use crate::recovery::{self, RecoverOptions};
use crate::stream::StreamDir;
use crate::stream::options::{Keys, Options};

pub use blocks::WorkloadError;
pub(super) use keys::{AssetKeys, sealed};

/// Account of the generated stores.
pub const ACCOUNT: &str = "ACME";
/// Name of the generated streams.
pub const STREAM: &str = "ORDERS";
/// Where a generated store lies in its file system.
pub const STREAM_DIR: &str = "/jetstream/ACME/streams/ORDERS";
/// The JetStream key of the encrypted ones.
pub const SERVER_KEY: &str = "a key for the harness alone";
/// Name of the consumer of the generated stores.
pub const CONSUMER: &str = "shipping";

/// 2026-01-01, when the first message comes.
const BASE_NS: i64 = 1_767_225_600_000_000_000;
/// From one message to the next, on average.
const STEP_NS: i64 = 1_000_000;

/// The six ways in which a server lays a stream out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKind {
    /// Neither compressed nor encrypted.
    Plain,
    /// Encrypted with ChaCha20-Poly1305.
    ChaCha,
    /// Encrypted with AES-GCM.
    Aes,
    /// Compressed.
    S2,
    /// Compressed and encrypted with ChaCha20-Poly1305.
    S2ChaCha,
    /// Compressed and encrypted with AES-GCM.
    S2Aes,
}

impl StoreKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::ChaCha,
        Self::Aes,
        Self::S2,
        Self::S2ChaCha,
        Self::S2Aes,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::ChaCha => "chacha",
            Self::Aes => "aes",
            Self::S2 => "s2",
            Self::S2ChaCha => "s2-chacha",
            Self::S2Aes => "s2-aes",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether sealed blocks are compressed.
    #[must_use]
    pub const fn is_compressed(self) -> bool {
        matches!(self, Self::S2 | Self::S2ChaCha | Self::S2Aes)
    }

    /// The cipher, where it is encrypted.
    #[must_use]
    pub const fn cipher(self) -> Option<Cipher> {
        match self {
            Self::Plain | Self::S2 => None,
            Self::ChaCha | Self::S2ChaCha => Some(Cipher::ChaCha),
            Self::Aes | Self::S2Aes => Some(Cipher::Aes),
        }
    }
}

/// What it takes to open a store besides its files.
#[derive(Clone, Default)]
pub struct Access {
    /// Account name in the keys.
    pub account: String,
    /// The server's JetStream key.
    pub key: Option<Vec<u8>>,
    /// The configured cipher.
    pub cipher: Option<Cipher>,
    /// How large a block may grow, where that is not the server's own rule.
    pub block_size: Option<u64>,
    /// The clock, nanoseconds since the Unix epoch.
    pub now_ns: i64,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("account", &self.account)
            .field("key", &self.key.as_ref().map(|_| "redacted"))
            .field("cipher", &self.cipher)
            .field("block_size", &self.block_size)
            .field("now_ns", &self.now_ns)
            .finish()
    }
}

impl Access {
    /// The library's options for one thread.
    #[must_use]
    pub fn options(&self) -> Options {
        let mut options = Options::new(self.now_ns);
        options.threads = 1;
        options.keys = Keys {
            current: self.server_key(),
            previous: None,
            cipher: self.cipher,
        };
        options.account = Some(self.account.clone().into_bytes());
        options.block_size = self.block_size;
        options
    }

    /// The server's key, where the store is encrypted.
    #[must_use]
    pub fn server_key(&self) -> Option<ServerKey> {
        self.key.clone().map(ServerKey::new)
    }
}

/// A store to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// How it is laid out.
    pub kind: StoreKind,
    /// Where the random choices start.
    pub seed: u64,
    /// How many messages are stored.
    pub messages: u64,
    /// How many of a thousand messages are followed by the removal of an earlier one.
    pub removals_per_mille: u64,
    /// How large a block may grow; `None` for the server's own rule.
    pub block_size: Option<u64>,
    /// Whether the server was killed: `index.db` and its companions are then of an earlier moment, and whoever believes
    /// the blocks alone has to read them all.
    pub killed: bool,
}

/// A store, what it holds and how to open it.
#[derive(Debug, Clone)]
pub struct Store {
    /// The files.
    pub files: MemoryFileSystem,
    /// The files as they were some messages earlier, for damage that brings them back.
    pub older: Option<MemoryFileSystem>,
    /// The stream in them.
    pub stream: StreamDir,
    /// Keys, account, clock.
    pub access: Access,
    /// What it holds.
    pub reference: Reference,
}

impl Workload {
    /// A store in which one message of fifty is removed later, with blocks by the server's rule.
    #[must_use]
    pub const fn new(kind: StoreKind, messages: u64, seed: u64) -> Self {
        Self {
            kind,
            seed,
            messages,
            removals_per_mille: 20,
            block_size: None,
            killed: false,
        }
    }

    /// The same left behind by a server that was killed.
    #[must_use]
    pub const fn killed(mut self) -> Self {
        self.killed = true;
        self
    }

    /// The same with smaller blocks.
    #[must_use]
    pub const fn with_block_size(mut self, bytes: u64) -> Self {
        self.block_size = Some(bytes);
        self
    }

    /// How large a block grows.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        let rule = || limits::store_block_size(-1, true, self.kind.cipher().is_some());
        self.block_size.unwrap_or_else(rule)
    }

    /// Writes the store, and beside it how it looked after nine tenths of the messages.
    ///
    /// # Errors
    ///
    /// [`WorkloadError`], where something does not fit the format: a message too long for a record.
    pub fn build(&self) -> Result<Store, WorkloadError> {
        let mut store = self.build_once()?;
        let earlier = Self {
            messages: self.messages - self.messages.div_ceil(10),
            ..*self
        };
        if earlier.messages == 0 {
            return Ok(store);
        }
        let older = earlier.build_once()?.files;
        if self.killed {
            store.files = store.files.fork();
            for (path, bytes) in older.files() {
                let name = path.file_name().and_then(|name| name.to_str());
                if matches!(name, Some("index.db" | "thw.db")) {
                    store.files.seed_file(path, bytes);
                }
            }
        }
        store.older = Some(older);
        Ok(store)
    }

    fn build_once(&self) -> Result<Store, WorkloadError> {
        let access = self.access();
        let stream = StreamDir {
            account: Some(ACCOUNT.into()),
            name: STREAM.into(),
            dir: STREAM_DIR.into(),
        };
        let files = MemoryFileSystem::new();
        let mut reference = Reference::new();
        self.write_meta(&files, &access)?;
        blocks::write(self, &access, &files, &mut reference)?;
        self.write_consumer(&files, &access)?;
        self.write_index(&files, &stream, &access)?;
        Ok(Store {
            files: files.fork(),
            older: None,
            stream,
            access,
            reference,
        })
    }

    fn access(&self) -> Access {
        let cipher = self.kind.cipher();
        Access {
            account: ACCOUNT.into(),
            key: cipher.map(|_| SERVER_KEY.into()),
            cipher,
            block_size: self.block_size,
            now_ns: BASE_NS + (self.messages as i64 + 1) * STEP_NS,
        }
    }

    /// The random choices of one part of the store; what depends on how far the store has got says so in `parts`.
    fn random(&self, part: Part, parts: &[u64]) -> Random {
        Random::derived(derive(self.seed, &[part as u64]), parts)
    }

    fn asset_keys(&self, access: &Access, context: &[u8], parts: &[u64]) -> Option<AssetKeys> {
        AssetKeys::draw(access, context, &mut self.random(Part::Keys, parts))
    }

    fn write_meta(&self, files: &MemoryFileSystem, access: &Access) -> Result<(), WorkloadError> {
        let json = content::stream_meta(self.kind);
        let context = crate::crypto::stream_context(STREAM.as_bytes());
        let keys = self.asset_keys(access, &context, &[0]);
        let label = HashKey::for_stream(STREAM.as_bytes());
        self.write_asset(files, "", &json, keys.as_ref(), &label)
    }

    fn write_consumer(
        &self,
        files: &MemoryFileSystem,
        access: &Access,
    ) -> Result<(), WorkloadError> {
        let json = content::consumer_meta();
        let (stream, consumer) = (STREAM.as_bytes(), CONSUMER.as_bytes());
        let context = crate::crypto::consumer_context(stream, consumer);
        let keys = self.asset_keys(access, &context, &[1]);
        let label = HashKey::for_consumer(stream, consumer);
        let dir = format!("obs/{CONSUMER}/");
        self.write_asset(files, &dir, &json, keys.as_ref(), &label)?;
        let state = content::consumer_state(self.messages);
        let mut random = self.random(Part::Seals, &[1, self.messages]);
        let state = keys::sealed(keys.as_ref(), state, &mut random)?;
        files.seed_file(path(&format!("{dir}o.dat")), state);
        Ok(())
    }

    fn write_asset(
        &self,
        files: &MemoryFileSystem,
        dir: &str,
        json: &[u8],
        keys: Option<&AssetKeys>,
        label: &HashKey,
    ) -> Result<(), WorkloadError> {
        let mut random = self.random(Part::Seals, &[0, dir.len() as u64]);
        let inf = keys::sealed(keys, json.to_vec(), &mut random)?;
        let sum = meta::meta_sum_text(label.hash64(&[&inf]));
        files.seed_file(path(&format!("{dir}{META}")), inf);
        files.seed_file(path(&format!("{dir}{META_SUM}")), sum);
        if let Some(keys) = keys {
            files.seed_file(path(&format!("{dir}{META_KEY}")), keys.file.clone());
        }
        Ok(())
    }

    /// The side files, as recovery writes them after reading every block.
    fn write_index(
        &self,
        files: &MemoryFileSystem,
        stream: &StreamDir,
        access: &Access,
    ) -> Result<(), WorkloadError> {
        let accept = RecoverOptions {
            accept_loss: false,
            accept_expiry: true,
            undo: false,
        };
        let entropy = SeededEntropy::new(derive(self.seed, &[Part::Index as u64, self.messages]));
        let cancel = AtomicBool::new(false);
        let watch = crate::report::Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let options = access.options();
        let report = recovery::recover(
            files,
            &Idle::declared(),
            stream,
            &options,
            &accept,
            &entropy,
            &watch,
        );
        if report.refusal.is_some() || report.loses_messages {
            let event = report.events.last();
            let why = event.map(|event| event.detail.clone()).unwrap_or_default();
            return Err(WorkloadError::Unsound(why));
        }
        Ok(())
    }
}

/// Parts of a store whose random choices must not hang together.
#[derive(Debug, Clone, Copy)]
enum Part {
    Messages,
    Removals,
    Keys,
    Seals,
    Index,
}

/// A file of the stream directory.
fn path(relative: &str) -> std::path::PathBuf {
    Path::new(STREAM_DIR).join(relative)
}

#[cfg(test)]
pub(super) mod tests;
