//! How much a change survives.

use std::fmt;

/// What a change survives once the call that made it, or a later one that raised it, has returned.
///
/// Levels are ordered: each survives what those below it survive, too.
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
