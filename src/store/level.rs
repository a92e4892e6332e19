//! How far what was asked for has come when a call returns.

/// What a call waits for before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// In memory, and visible to readers. Survives nothing: a killed process loses it.
    Buffered,
    /// Handed to the operating system. Survives the process, not a power cut.
    #[default]
    Written,
    /// On the disk, the names of files included. Survives a power cut.
    Synced,
}
