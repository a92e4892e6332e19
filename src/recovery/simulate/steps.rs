//! That a step leaves the accounts as consistent as it found them.
//!
//! The server's own bookkeeping goes wrong behind damage, and the simulation with it. On blocks whose counts fill their ranges, and
//! where no step meets a record that cannot be read, it does not: there a difference is a mistake of ours.

use std::cell::Cell;

use super::Simulation;
use crate::state::check_blocks;

/// How the accounts stood before a step.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Blocks follow each other and fill their ranges, and the stream counts their messages.
    is_sound: bool,
    surprises: u64,
}

/// How often something was not what the accounts said of it.
#[derive(Debug, Default)]
pub struct Surprises(Cell<u64>);

impl Surprises {
    /// One more.
    pub fn note(&self) {
        self.0.set(self.0.get().wrapping_add(1));
    }
}

impl Simulation<'_> {
    /// How the accounts stand, to be held against them after a step; in builds without debug assertions nothing is looked at.
    pub fn standing(&self) -> Standing {
        Standing {
            is_sound: cfg!(debug_assertions) && self.is_consistent(),
            surprises: self.surprises.0.get(),
        }
    }

    /// Asserts that a step which met nothing unexpected left sound accounts sound.
    pub fn assert_still(&self, before: Standing, step: &str) {
        let is_smooth = before.is_sound && before.surprises == self.surprises.0.get();
        debug_assert!(
            !is_smooth || self.is_consistent(),
            "{step} left {:?} for blocks that are {:?}",
            self.totals,
            check_blocks(self.blocks.iter().map(|block| &block.state)),
        );
    }

    fn is_consistent(&self) -> bool {
        let counted = check_blocks(self.blocks.iter().map(|block| &block.state));
        counted.is_ok_and(|counted| counted.messages == self.totals.messages)
    }
}
