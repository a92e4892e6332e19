//! One block: from file bytes to judged records.
//!
//! This room owns the order file bytes → decrypt → decompress → records. It knows nothing of other
//! blocks, of state files or of stores.

pub mod content;
pub mod lookback;
pub mod scan;
pub mod slots;
pub mod walk;
pub mod windows;
