//! What a stream is: its blocks, totals, subjects and timers, as one value that lives on.
//!
//! Recovery makes a [`StreamState`] ([`crate::recovery::judge`]) and an owner goes on from it. A state holds no file, no key and no
//! clock. [`StreamState::check`] proves that its parts agree; [`StreamState::index_file`] and [`StreamState::timer_files`] turn it into the
//! side files that spare the next start a scan, and [`StreamState::of_side_files`] takes it from them again.

mod block;
mod check;
mod side_files;
mod stream;
pub(crate) mod subjects;
mod timers;

pub use block::{BlockState, SeqTime};
pub use check::Unsound;
pub(crate) use check::check_blocks;
pub(crate) use side_files::index_file_of;
pub use side_files::{SideFiles, TimerFiles};
pub use stream::{StreamState, Totals};
pub use subjects::{SubjectIndex, SubjectTotals};
pub(crate) use timers::Schedules;
pub use timers::Timers;

#[cfg(test)]
mod tests;
