//! What every verb says of a stream, as values without any room's logic.

pub mod actions;
pub mod events;
pub mod ledger;
mod progress;
mod server_version;
pub mod stream;

pub use ledger::{Ledger, Removal};
pub use progress::{Phase, Progress, Watch};
pub use server_version::{ServerVersion, VersionError};
