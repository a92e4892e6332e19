//! What every verb says of a stream, as values without any room's logic.

pub mod ledger;

pub use ledger::{Ledger, Removal};
