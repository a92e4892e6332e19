//! Bytes to values and back: no I/O, no clock, no keys, no panics on any input.

pub mod bit_repair;
pub mod checksum;
pub mod compression;
pub mod consumer;
pub mod duration;
pub mod former;
pub mod headers;
pub mod legacy;
pub mod limits;
pub mod meta;
pub mod names;
pub mod nkey;
pub mod peers;
pub mod record;
pub mod schedule;
pub mod seqset;
pub mod sets;
pub mod sourced;
pub mod sources;
pub mod state;
mod sticky;
pub mod subject;
pub mod timers;
pub mod varint;
