//! jetsam's own accounts.

use std::sync::atomic::AtomicBool;

use super::Lived;
use super::run::{Accountant, Accounts};
use crate::env::memory::MemoryFileSystem;
use crate::format::seqset::SeqSet;
use crate::recovery::{Flow, Item};
use crate::report::Watch;
use crate::report::events::EventCode;
use crate::salvage::{self, SalvageError};
use crate::stream::options::Policy;
use crate::testing::Comparison;

/// The accounts of `check`, which `recover` asks by, and of `salvage`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnAccounts;

impl Accountant for OwnAccounts {
    fn accounts(&self, files: &MemoryFileSystem, lived: &Lived) -> Result<Accounts, String> {
        let (stream, mut options) = (&lived.store.stream, lived.store.access.options());
        let cancel = AtomicBool::new(false);
        let watch = Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let mut found = Accounts {
            check: salvage::audit::check(files, stream, &options, &watch).ledger,
            ..Accounts::default()
        };
        options.policy = Policy::Evidence;
        let mut doubted = SeqSet::new();
        found.salvage = match salvage::check(files, stream, &options, &watch) {
            Ok(report) => {
                let events = report.stream.events.iter();
                let borders = events.filter(|event| event.code == EventCode::RecordBorderUncertain);
                doubted.extend(borders.filter_map(|event| event.seq));
                report.stream.ledger
            }
            Err(SalvageError::NeedsKey(_)) => return Ok(found),
            Err(error) => return Err(error.to_string()),
        };
        let mut visit = |item: Item<'_>| {
            if let Item::Message(message) = item {
                match lived.truth.reference.judge(&message) {
                    Comparison::Same | Comparison::Deleted => found.handed_out.insert(message.seq),
                    Comparison::Different | Comparison::Unknown
                        if doubted.contains(message.seq) =>
                    {
                        found.doubted.insert(message.seq)
                    }
                    Comparison::Different | Comparison::Unknown => {
                        found.changed.insert(message.seq)
                    }
                };
            }
            Flow::Continue
        };
        let range = 0..=u64::MAX;
        match salvage::messages(files, stream, &options, range, &mut visit, &watch) {
            Ok(()) | Err(SalvageError::NeedsKey(_)) => Ok(found),
            Err(error) => Err(error.to_string()),
        }
    }
}
