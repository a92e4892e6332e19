//! Damage on purpose, and a count of what survives it.

mod random;
pub mod reference;
pub mod workload;

pub use random::Random;
pub use reference::{Comparison, Fingerprint, Reference};
pub use workload::{Access, Store, StoreKind, Workload, WorkloadError};
