//! Bringing a stream back from its directory: discover, judge, apply, report.

pub mod actions;
mod engine;
pub mod events;
mod fault;
mod files;
mod index;
mod merge;
mod model;
pub mod options;
pub mod report;
mod scan;
mod subjects;
mod timers;
mod verify;
