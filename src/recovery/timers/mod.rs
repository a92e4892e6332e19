//! What a stream keeps per message beside its blocks: the TTL wheel, the schedules, and how far each
//! source was read. Each comes from its own file and is caught up from the messages behind the
//! file's stamp: [`catch_up`] says from where, [`scan`] reads them.

mod catch_up;
mod scan;

/// A configured source, as far as recovery goes by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfiguredSource {
    /// Its key in `sources.db`.
    pub key: Vec<u8>,
    /// Names by which headers older than 2.10 mean it.
    pub legacy_names: Vec<Vec<u8>>,
    /// Subjects under which its messages are looked for in a backward scan.
    pub filters: Vec<Vec<u8>>,
}

/// Which of the three apply.
#[derive(Debug, Clone, Default)]
pub struct TimerRules {
    /// Per-message TTLs are allowed.
    pub ttl: bool,
    /// Schedules are allowed.
    pub schedules: bool,
    /// Configured sources.
    pub sources: Vec<ConfiguredSource>,
    /// The files are to be ignored.
    pub ignore_files: bool,
    /// TTLs are read from the messages alone; schedules and sources only where their file is ahead of these: a schedule that
    /// was cancelled, or a position whose message is gone, is in the file alone.
    pub anew: bool,
}
