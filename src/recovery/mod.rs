//! Bringing a stream back from its directory.
pub mod actions;
pub mod events;
pub mod options;
pub mod report;
