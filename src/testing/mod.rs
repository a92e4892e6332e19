//! Damage on purpose, and a count of what survives it.
//!
//! 1. [`Workload`] writes a whole [`Store`] from a seed, as a server lays it out, and knows what is in it.
//! 2. [`Damage::inflict`] does damage of one [`DamageKind`] to a copy, from a seed, and accounts for every byte and record
//!    it touched.
//! 3. A [`Recoverer`] brings back what it can; a [`Tally`] compares that with the undamaged store.
//! 4. [`Sweep`] does so a thousand times on as many threads as it is given; [`Report`] and [`svg`] show the result.
//!
//! Point it at a store of your own by implementing [`Recoverer`]. This one gives up where
//! `meta.inf` is gone, and else believes what the server would:
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use jetsam::env::ReadFiles;
//! use jetsam::recovery::{Flow, Item, messages};
//! use jetsam::report::Watch;
//! use jetsam::testing::{
//!     Case, DamageKind, Recoverer, Service, StoreKind, Sum, Sweep, Tally, Workload,
//! };
//!
//! struct MyStore;
//!
//! impl Recoverer for MyStore {
//!     fn name(&self) -> &str {
//!         "my store"
//!     }
//!
//!     fn survivors(&self, case: &Case<'_>, tally: &mut Tally<'_>) -> Result<Service, String> {
//!         // A program that needs real files calls `case.write_to(dir)` here.
//!         let meta = case.files.metadata(&case.stream.dir.join("meta.inf"));
//!         if meta.is_err() {
//!             return Ok(Service::Refused);
//!         }
//!         let cancel = AtomicBool::new(false);
//!         let watch = Watch { progress: &|_| {}, cancel: &cancel };
//!         let mut visit = |item: Item<'_>| {
//!             if let Item::Message(message) = item {
//!                 tally.message(&message);
//!             }
//!             Flow::Continue
//!         };
//!         let options = case.access.options();
//!         messages(case.files, case.stream, &options, 0..=u64::MAX, &mut visit, &watch)
//!             .map(|()| Service::Opened)
//!             .or(Ok(Service::Refused))
//!     }
//! }
//!
//! let store = Workload::new(StoreKind::Plain, 300, 1).with_block_size(32_000).build()?;
//! let sweep = Sweep {
//!     store: &store,
//!     damages: &[DamageKind::CutTail],
//!     count: 10,
//!     first: 0,
//!     seed: 1,
//!     recoverers: &[&MyStore],
//!     threads: 1,
//! };
//! let mut sum = Sum::default();
//! for outcome in sweep.run(&|_| {}, &AtomicBool::new(false))? {
//!     sum.add(outcome.number, &outcome.scores[0]);
//! }
//! // A cut costs messages, and only those it cut.
//! assert!(sum.cases == 10 && sum.lost > 0 && sum.lost_untouched == 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod damage;
pub mod engine;
pub mod history;
pub mod layout;
mod random;
pub mod recoverers;
pub mod reference;
pub mod report;
pub mod score;
pub mod svg;
pub mod sweep;
pub mod workload;

pub use damage::{Damage, DamageKind, DamageTarget};
pub use layout::Layout;
pub use random::Random;
pub use recoverers::{Salvage, ServerPolicy};
pub use reference::{Comparison, Fingerprint, Reference};
pub use report::{Breach, Report, Row, StoreResults, breaches};
pub use score::{Case, Recoverer, Score, Service, Tally};
pub use sweep::{Outcome, Sum, Sweep, SweepError};
pub use workload::{Access, Store, StoreKind, Workload, WorkloadError};
