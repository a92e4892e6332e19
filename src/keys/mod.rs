//! Keys of a store at rest: which key file opens with which key, and putting a store under another.
//!
//! Where the server rotates keys while it opens a store, in place, one file after the other, and loses what does not fit
//! the pattern, this room reads everything first, writes a whole new directory beside the old, reads that back, and
//! swaps the two.

pub mod rekey;
pub mod survey;
