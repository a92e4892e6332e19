//! Salvage: everything of a damaged stream that can be proven, copied into a new store.
//!
//! The steps, each in its own file:
//!
//! 1. `side_files`: the files beside the blocks, mended where one flipped bit explains the damage: metadata, keys,
//!    `index.db`;
//! 2. `scan`: each block, going on behind damage: what verifies, what one flipped bit had spoilt, what cannot be proven;
//! 3. `trust`: which of the messages found are live, which were deleted, which cannot be told; `account`: what became of all
//!    others that anything names;
//!    `old_values`: the old value of a key whose newest is lost;
//! 4. `plan`, `copy`: the new store (`stream/writer.rs` writes it), its side files made by recovering it. The source is only ever read.
//!    `settings` and `consumers` say what it is configured with, `place` how it comes under its name.
//!
//! `merge` does the same from several copies, `quarantine` keeps what could not be proven.
//!
//! Recovery decides as the server does; this room decides as the evidence does. It names recovery for what its account has
//! to know of a start, and to build the side files of the store it has written.

mod account;
pub mod audit;
pub mod consumers;
mod copies;
mod copy;
mod digest;
mod error;
#[doc(hidden)]
pub mod findings;
mod finish;
pub mod hit;
#[doc(hidden)]
pub mod liveness;
mod merge;
mod message_cursor;
mod misplaced;
mod new_blocks;
#[doc(hidden)]
pub mod old_values;
mod place;
mod plan;
mod played;
pub mod quarantine;
mod read;
pub mod report;
#[doc(hidden)]
pub mod scan;
mod scan_blocks;
mod settings;
#[doc(hidden)]
pub mod settled_lengths;
#[doc(hidden)]
pub mod side_files;
#[doc(hidden)]
pub mod subject_check;
mod subject_totals;
mod survey;
mod totals;
mod unrenamed;
mod view;
mod walks;

use crate::format::sets;

pub use copies::{Sorted, sort_out};
pub use copy::{SalvageOptions, Uncertain, salvage};
pub use error::SalvageError;
pub use findings::{BlockFindings, Gap, GapCause, Lifetimes, Repair, Site, UncertainBorder};
pub use merge::{MergeOptions, MergeSource, merge, merge_with_relatives, salvage_with_quarantine};
pub use report::SalvageReport;
pub use survey::{Survey, SurveyedBlock, survey};
pub use view::{check, messages};
