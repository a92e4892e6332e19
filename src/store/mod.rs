//! The engine: a stream's store as an embedding program writes and reads it. So far the state of its consumers.

pub mod consumers;
mod level;

pub use level::Level;
