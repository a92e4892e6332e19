//! jetsam's own entries: the server's decisions, and salvage.

use std::sync::atomic::AtomicBool;

use super::score::{Case, Recoverer, Service, Tally};
use crate::recovery::{self, Flow, Item};
use crate::report::events::EventCode;
use crate::report::stream::Refusal;
use crate::salvage::{self, SalvageError};
use crate::stream::options::Policy;

/// What is left of a store after the decisions of the server, as jetsam foretells them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerPolicy;

impl Recoverer for ServerPolicy {
    fn name(&self) -> &str {
        "jetsam --policy server"
    }

    fn survivors(&self, case: &Case<'_>, tally: &mut Tally<'_>) -> Result<Service, String> {
        let options = case.access.options();
        let cancel = AtomicBool::new(false);
        let watch = crate::report::Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let report = recovery::examine(case.files, case.stream, &options, &watch);
        match report.refusal {
            Some(Refusal::ServerDown) => return Ok(Service::Down),
            Some(Refusal::Io | Refusal::Busy | Refusal::Refrained) => {
                let event = report.events.last();
                return Err(event.map(|event| event.detail.clone()).unwrap_or_default());
            }
            Some(Refusal::OpenFails | Refusal::Skipped | Refusal::NeedsKey) => {
                return Ok(Service::Refused);
            }
            None => {}
        }
        let crashes = |code| matches!(code, EventCode::ReadWouldCrash);
        if report.events.iter().any(|event| crashes(event.code)) {
            return Ok(Service::Down);
        }
        let mut visit = |item: Item<'_>| {
            if let Item::Message(message) = item {
                tally.message(&message);
            }
            Flow::Continue
        };
        let range = 0..=u64::MAX;
        recovery::messages(case.files, case.stream, &options, range, &mut visit, &watch)
            .map(|()| Service::Opened)
            .map_err(|(_, why)| why)
    }
}

/// What salvage would copy into a new store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Salvage;

impl Recoverer for Salvage {
    fn name(&self) -> &str {
        "jetsam salvage"
    }

    fn survivors(&self, case: &Case<'_>, tally: &mut Tally<'_>) -> Result<Service, String> {
        let mut options = case.access.options();
        options.policy = Policy::Evidence;
        let cancel = AtomicBool::new(false);
        let watch = crate::report::Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let mut visit = |item: Item<'_>| {
            if let Item::Message(message) = item {
                tally.message(&message);
            }
            Flow::Continue
        };
        let range = 0..=u64::MAX;
        match salvage::messages(case.files, case.stream, &options, range, &mut visit, &watch) {
            Ok(()) => Ok(Service::Opened),
            Err(SalvageError::NeedsKey(_)) => Ok(Service::Refused),
            Err(error) => Err(error.to_string()),
        }
    }
}
