//! The engine: a stream to append to, read, limit and expire, in exactly the server's files.
//!
//! [`Store::open`] recovers a directory and owns it from then on. Its one [`Writer`] changes it; its [`Reader`]s, as many as wanted, read
//! it from any thread. Nothing happens by itself: no thread, no timer, no clock. [`Writer::maintain`] does what is due at the time it is
//! given, [`Writer::tidy`] puts the files in order, and each call waits for the [`Level`] that was asked for.
//!
//! A nats-server takes the directory over at any moment at which no store has it open, and gives it back: after [`Store::close`] with
//! everything in its files, after a crash with what the levels promise.
//!
//! What differs from the server's own store, and why, stands in `PORTING.md`: above all, every removal leaves evidence, those by limits
//! included, so that no end of the process brings a message back.
//!
//! ```
//! use std::sync::Arc;
//! use jetsam::env::OsEntropy;
//! use jetsam::env::memory::MemoryFileSystem;
//! use jetsam::format::meta::StreamMeta;
//! use jetsam::living::Idle;
//! use jetsam::store::{NewMessage, Store, StoreOptions};
//!
//! let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
//! let fs = Arc::new(MemoryFileSystem::new());
//! let now_ns = 1_767_225_600_000_000_000;
//! let options = StoreOptions::new(config, now_ns);
//! let dir = std::path::Path::new("/data/ORDERS");
//! let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
//! let mut writer = store.writer().expect("nobody took it before");
//! let order = NewMessage { subject: b"orders.new", headers: b"", body: b"one coffee" };
//! let appended = writer.append(&order, now_ns)?;
//! let reader = store.reader();
//! assert_eq!(reader.get(appended.seq)?.body(), b"one coffee");
//! assert_eq!(reader.last(b"orders.*")?.seq, 1);
//! store.close(writer)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alone;
mod api;
mod append;
mod archive;
mod batch;
mod cache;
pub mod consumers;
mod core;
mod counting;
mod create;
mod error;
mod keys;
mod level;
mod limits;
mod maintain;
mod message;
mod message_ids;
mod open;
mod outline;
mod places;
mod publish;
mod purge;
mod reader;
mod remove;
mod replica;
mod resident;
mod rewrite;
mod schedules;
mod search;
mod settings;
mod side_files;
mod tail;
mod takeover;
mod truncate;
mod unfinished;
mod verify;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

pub use api::ApiError;
pub use append::{Appended, Expected};
pub use archive::{ArchiveFault, RestoreError, Snapshot, SnapshotError};
pub use batch::{Batch, Committed, Rollup};
pub use counting::MatchCount;
pub use error::{AppendError, LimitKind, OpenError, ReadError, RemoveError, WriterFault};
pub use level::Level;
pub use maintain::{Maintained, TidyBudget};
pub use message::{NewMessage, StoredMessage};
pub use open::{Store, StoreOptions};
pub use purge::PurgeRequest;
pub use reader::{Reader, StoreSummary};
pub use verify::Verified;
pub use watch::{CacheCounts, MemoryUse, StoreEvent, Watcher, WriterCounts};
pub use writer::{Watermark, Writer};
