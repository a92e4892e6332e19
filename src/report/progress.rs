//! How far a long run is, and how it is stopped.

use std::sync::atomic::AtomicBool;

/// How far a long examination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Blocks done.
    pub done: u64,
    /// Blocks in all.
    pub total: u64,
}

/// The long phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading every block because the index is of no use.
    Scan,
    /// Verifying every record under a sound index.
    Verify,
    /// Changing files: told before the first change.
    Apply,
    /// Writing a new store beside the one that is read.
    Copy,
}

/// Watches an examination and may stop it.
pub struct Watch<'a> {
    /// Called as blocks are finished, from any thread.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Set to stop early.
    pub cancel: &'a AtomicBool,
}

impl Watch<'static> {
    /// Watches nothing and never stops.
    #[must_use]
    pub fn none() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Watch {
            progress: &|_| {},
            cancel: &NEVER,
        }
    }
}
