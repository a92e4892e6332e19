//! Bringing a stream back from its directory: discover, judge, apply, report.

pub mod actions;
mod engine;
pub mod events;
mod fault;
mod files;
mod index;
mod merge;
mod messages;
mod model;
pub mod options;
mod quick_setup;
pub mod report;
mod scan;
mod session;
mod subjects;
mod timers;
mod verify;

pub use engine::{Phase, Progress, Watch};
pub use messages::{Flow, Item, Message, messages};
pub use session::{StreamDir, examine};
