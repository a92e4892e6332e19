//! Bytes to values and back: no I/O, no clock, no keys, no panics on any input.

#[doc(hidden)]
pub mod archive;
pub mod bit_repair;
pub mod checksum;
pub mod compression;
pub mod consumer;
pub mod duration;
#[doc(hidden)]
pub mod former;
pub mod headers;
pub mod legacy;
pub mod limits;
pub mod meta;
pub mod names;
#[doc(hidden)]
pub mod nkey;
#[doc(hidden)]
pub mod peers;
pub mod record;
pub mod replica_state;
pub mod schedule;
pub mod seqset;
#[doc(hidden)]
pub mod sets;
#[doc(hidden)]
pub mod sourced;
pub mod sources;
pub mod state;
mod sticky;
pub mod subject;
pub mod timers;
#[doc(hidden)]
pub mod varint;
