//! How much a change survives.

use std::fmt;

/// What a change survives once the call that made it, or a later one that raised it, has returned.
///
/// Levels are ordered: each survives what those below it survive, too.
///
/// ```
/// # use std::sync::Arc;
/// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
/// # use jetsam::format::meta::StreamMeta;
/// # use jetsam::living::Idle;
/// # use jetsam::store::{NewMessage, Store, StoreOptions};
/// use jetsam::store::Level;
/// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
/// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
/// # let now_ns = 1_767_225_600_000_000_000;
/// # let options = StoreOptions::new(config, now_ns);
/// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
/// let mut writer = store.writer().expect("nobody took it before");
/// assert_eq!(writer.level(), Level::Written);
/// writer.set_level(Level::Buffered);
/// for body in [b"one coffee", b"two coffee"] {
///     writer.append(&NewMessage { subject: b"orders.new", headers: b"", body }, now_ns)?;
/// }
/// assert_eq!((writer.watermark().written_seq, writer.watermark().synced_seq), (0, 0));
/// // One sync for both.
/// assert_eq!(writer.sync()?.synced_seq, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// Nothing: it is in the memory of this process alone. Readers in the process see it.
    Buffered,
    /// That the process is killed: the operating system has it.
    #[default]
    Written,
    /// That the power is cut: the disk has it, its name included.
    Synced,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Buffered => "buffered",
            Level::Written => "written",
            Level::Synced => "synced",
        })
    }
}
