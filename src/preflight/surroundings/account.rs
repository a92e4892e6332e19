//! What a configuration or a token says of one account.

use std::collections::BTreeMap;

use super::settings::{Place, Set};

/// An account: of `accounts{}`, or of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Where it stands.
    pub place: Place,
    /// Whether a token describes it.
    pub by_token: bool,
    /// The name that its token gives it, for people.
    pub called: Option<String>,
    /// Whether it has JetStream.
    pub jetstream: Option<Set<bool>>,
    /// Its limits, where they are the same for every stream.
    pub limits: Limits,
    /// Its limits by tier, `R3` for streams of three replicas; where there are any, only these count.
    pub tiers: BTreeMap<String, Limits>,
}

/// What an account may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most bytes in files.
    pub max_store: Option<Set<i64>>,
    /// Most bytes in memory.
    pub max_memory: Option<Set<i64>>,
    /// Most bytes that one stream in files may be configured for.
    pub disk_max_stream_bytes: Option<Set<i64>>,
    /// Whether every stream has to have a limit of bytes.
    pub max_bytes_required: Option<Set<bool>>,
    /// Most that a consumer may be configured to leave unacknowledged.
    pub max_ack_pending: Option<Set<i64>>,
    /// Most consumers of one stream.
    pub max_consumers: Option<Set<i64>>,
}

impl Account {
    /// One that stands at a place, of which nothing else is said.
    pub(super) fn at(place: Place) -> Self {
        Account {
            place,
            by_token: false,
            called: None,
            jetstream: None,
            limits: Limits::default(),
            tiers: BTreeMap::new(),
        }
    }

    /// The tier of a stream with so many replicas, and its limits; `None` where it has no tier.
    pub(super) fn tier(&self, replicas: i64) -> Option<(String, &Limits)> {
        if self.tiers.is_empty() {
            return Some((String::new(), &self.limits));
        }
        let name = format!("R{}", replicas.max(1));
        let limits = self.tiers.get(&name)?;
        Some((name, limits))
    }

    /// The limits of all tiers.
    pub(super) fn all_limits(&self) -> impl Iterator<Item = &Limits> {
        let flat = self.tiers.is_empty().then_some(&self.limits);
        flat.into_iter().chain(self.tiers.values())
    }

    /// How people and the server call it.
    pub(super) fn named(&self, name: &str) -> String {
        match &self.called {
            Some(called) => format!("{called:?} ({name})"),
            None => name.to_owned(),
        }
    }
}
