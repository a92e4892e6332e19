//! What the caller asks of recovery.

use std::sync::OnceLock;

use crate::crypto::{Cipher, KeyRing, ServerKey};
use crate::format::meta::StreamMeta;
use crate::report::ServerVersion;

/// How strict the judgement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Decide exactly as nats-server v2.15.3 does.
    #[default]
    Server,
    /// Decide as the evidence does: a stream is looked at that the server would leave out for its metadata, and every record
    /// counts that verifies.
    Evidence,
}

/// Whether the server that will open the store is a member of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It stands alone: streams with several replicas are not brought up.
    #[default]
    Standalone,
    /// It is a member, or the store was a member's: see [`standing`](super::standing).
    Member,
}

/// The server's keys, as far as the caller has them.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// The current JetStream key.
    pub current: Option<ServerKey>,
    /// The previous key, for stores written before a rotation.
    pub previous: Option<ServerKey>,
    /// The configured cipher; `None` tries what the files say.
    pub cipher: Option<Cipher>,
}

impl Keys {
    /// The keys for the assets of `account`.
    #[must_use]
    pub fn ring<'a>(&'a self, account: &'a [u8]) -> KeyRing<'a> {
        KeyRing {
            current: self.current.as_ref(),
            previous: self.previous.as_ref(),
            cipher: self.cipher,
            account,
        }
    }
}

/// What goes into the report beyond the state itself. Each costs time or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collect {
    /// The deleted sequences.
    pub deleted: bool,
    /// Messages per subject.
    pub subjects: bool,
    /// The content digest.
    pub digest: bool,
    /// TTL and schedule entries and source positions.
    pub entries: bool,
}

/// Options of one examination or recovery.
#[derive(Debug, Clone)]
pub struct Options {
    /// Strictness.
    pub policy: Policy,
    /// The server whose decisions are followed.
    pub server: ServerVersion,
    /// Whether it stands alone. It decides what is said of streams with several replicas, never whether they are looked at.
    pub standing: Standing,
    /// Ignore `index.db`, `thw.db`, `sched.db` and `sources.db`.
    pub no_index: bool,
    /// The clock for age and TTL decisions, nanoseconds since the Unix epoch.
    pub now_ns: i64,
    /// Whether age expiry is applied.
    pub expire: bool,
    /// Whether limits are enforced.
    pub limits: bool,
    /// Scan threads, at least 1.
    pub threads: usize,
    /// Read only what the server would read: a sound index is believed.
    pub quick: bool,
    /// Keys of an encrypted store.
    pub keys: Keys,
    /// The account name in the keys; `None` takes the directory above `streams`.
    pub account: Option<Vec<u8>>,
    /// Configurations that salvage takes where a stream's own is gone, by their names.
    pub configurations: Vec<StreamMeta>,
    /// Whether salvage keeps the last verified value of a subject whose newest message is lost in every stream that keeps one
    /// message per subject. In the buckets of a key-value store it does so anyway.
    pub kv_last: bool,
    /// Overrides the server's rule for how large a block may grow.
    pub block_size: Option<u64>,
    /// Extra report parts.
    pub collect: Collect,
    /// Whether plain blocks are mapped into memory rather than read when the state is rebuilt from them.
    ///
    /// It saves a buffer of one block per thread and is seldom faster: taking in a mapping page by page costs about
    /// what the copy does. The price is a promise by the caller that nobody shortens a block file meanwhile: touching
    /// what is gone would end the process with `SIGBUS`, where a read gives a report. Compressed and encrypted blocks
    /// are read as ever.
    pub map_files: bool,
    /// Whether every step reads its blocks itself rather than go by what their first scan noted: the long way to the same
    /// answer, for tests to compare.
    #[doc(hidden)]
    pub careful: bool,
}

/// Cores for this process. Asked for once: the system reads several files to tell, as many as a small stream has.
fn core_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

impl Options {
    /// The server's decisions at the moment `now_ns`, with everything verified.
    pub fn new(now_ns: i64) -> Self {
        Options {
            policy: Policy::Server,
            server: ServerVersion::REFERENCE,
            standing: Standing::default(),
            no_index: false,
            now_ns,
            expire: true,
            limits: true,
            threads: core_count(),
            quick: false,
            keys: Keys::default(),
            account: None,
            configurations: Vec::new(),
            kv_last: false,
            block_size: None,
            collect: Collect::default(),
            map_files: false,
            careful: false,
        }
    }
}
