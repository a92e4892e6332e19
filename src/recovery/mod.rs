//! Bringing a stream back from its directory: discover, judge, apply, report.

mod apply;
mod batches;
mod consumers;
mod fault;
mod hand_over;
mod ignored;
mod index;
mod judge;
mod merge;
mod messages;
mod metadata;
mod open;
pub(crate) mod overtaken;
mod rebuild;
mod recover;
mod scan;
pub mod server;
mod settings;
mod simulate;
mod stuck;
mod timers;
mod undo;
mod verify;
pub(crate) mod walked;

pub use apply::{ApplyCause, ApplyError, RollBack};
pub use hand_over::{HandedOver, Plan, Unapplied, hand_over};
pub use judge::{Judgement, examine, judge};
pub(crate) use judge::{examine_readable, judge_for_forecast, setup_of};
pub use messages::{Flow, Item, Message, messages};
pub(crate) use metadata::MetaFiles;
pub use rebuild::rebuild_index;
pub(crate) use recover::Recovery;
pub use recover::{RecoverOptions, UndoFailure, recover, undo};
pub use settings::block_size;
pub(crate) use simulate::{KeyVerdict, StreamKeys};
pub use undo::{AREA as UNDO_AREA, AreaState, UndoError, UndoReport, area_state};
