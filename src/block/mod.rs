//! One block: from file bytes to judged records.
//!
//! This room owns the order file → key → decrypt → decompress → records. It knows nothing of what is in other
//! blocks, of state files or of stores.

pub mod builder;
pub mod content;
pub mod key;
pub mod lookback;
pub mod read;
pub mod rules;
pub mod scan;
pub mod slots;
pub mod torn;
pub mod walk;
pub mod windows;
