//! Bringing a stream back from its directory: discover, judge, apply, report.

mod apply;
mod batches;
mod consumers;
mod engine;
mod fault;
pub(crate) mod foresee;
pub(crate) mod holders;
mod ignored;
mod index;
mod merge;
mod messages;
mod model;
mod reach;
mod rebuild;
mod recover;
mod replay;
mod scan;
pub mod server;
mod session;
mod settings;
mod streams;
mod stuck;
mod subjects;
mod timers;
mod undo;
mod verify;
pub(crate) mod walked;

pub use apply::{ApplyCause, ApplyError, RollBack};
pub use messages::{Flow, Item, Message, messages};
pub use rebuild::rebuild_index;
pub use recover::{RecoverOptions, UndoFailure, recover, undo};
pub(crate) use recover::{recover_asking, recover_walked};
pub use session::examine;
pub(crate) use session::examine_readable;
pub use settings::block_size;
pub use undo::{AREA as UNDO_AREA, AreaState, UndoError, UndoReport, area_state};
