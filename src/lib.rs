//! Recover, verify, salvage and embed NATS JetStream file stores.

pub mod block;
pub mod crypto;
pub mod env;
pub mod format;
pub mod recovery;
