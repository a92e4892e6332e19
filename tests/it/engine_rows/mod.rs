//! What the reference's own store tests demand of writing and reading, demand by demand (E-001 to E-237 of the engine reference).
//!
//! A test bears the numbers of the demands it is about; which have none, and why, stands in `without.rs`. Every demand is tried on blocks
//! in plain and under both ciphers, compressed or not, where that can make a difference; and at the end of each the store has to be what
//! recovery makes of its directory, with the index and without, tidied and not. Where the engine does otherwise on purpose, what it does
//! is asserted, with the reason beside it.

mod bed;
mod blocks;
mod compact;
mod erase;
mod errors;
mod limits;
mod purge;
mod removing;
mod skips;
mod sources;
mod store_load;
mod subjects;
mod timers;
mod walks;
