//! Bringing a stream back from its directory: discover, judge, apply, report.

pub mod actions;
mod apply;
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
mod reach;
mod recover;
mod replay;
pub mod report;
mod scan;
mod session;
mod settings;
mod streams;
mod subjects;
mod timers;
mod trials;
mod undo;
mod verify;
mod walk;

pub use apply::{ApplyCause, ApplyError, RollBack};
pub use engine::{Phase, Progress, Watch};
pub use messages::{Flow, Item, Message, messages};
pub use recover::{RecoverOptions, UndoFailure, recover, undo};
pub use session::{StreamDir, examine};
pub use settings::block_size;
pub use undo::{AREA as UNDO_AREA, AreaState, UndoError, UndoReport, area_state};
pub use walk::{Found, REKEY_DIR, Shape, WalkError, find_streams};
