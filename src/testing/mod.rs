//! Damage on purpose, and a count of what survives it.

pub mod damage;
pub mod layout;
mod random;
pub mod recoverers;
pub mod reference;
pub mod report;
pub mod score;
pub mod svg;
pub mod sweep;
pub mod workload;

pub use damage::{Damage, DamageKind, Target};
pub use layout::Layout;
pub use random::Random;
pub use recoverers::{Salvage, ServerPolicy};
pub use reference::{Comparison, Fingerprint, Reference};
pub use report::{Breach, Report, Row, StoreResults, breaches};
pub use score::{Case, Recoverer, Score, Service, Tally};
pub use sweep::{Outcome, Sum, Sweep, SweepError};
pub use workload::{Access, Store, StoreKind, Workload, WorkloadError};
