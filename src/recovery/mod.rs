//! Bringing a stream back from its directory: discover, judge, apply, report.

pub mod actions;
mod consumers;
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
mod settings;
mod streams;
mod subjects;
mod timers;
mod verify;
pub mod walk;

pub use engine::{Phase, Progress, Watch};
pub use messages::{Flow, Item, Message, messages};
pub use session::{StreamDir, examine};
