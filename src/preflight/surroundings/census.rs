//! What the accounts and streams of a store add up to, held against the limits they share.

use std::collections::BTreeMap;

use super::settings::ServerSettings;
use super::{Facts, JETSTREAM, Placement, Surroundings, event};
use crate::env::ReadFiles;
use crate::format::meta::StreamMeta;
use crate::recovery::holders::settings_of;
use crate::recovery::server::{Behaviour, Feature};
use crate::report::events::{Event, EventCode};
use crate::stream::options::{Options, Standing};
use crate::stream::{StreamDir, find_streams};

impl Surroundings {
    /// What the accounts of the configuration keep the server from doing.
    pub(super) fn accounts(&mut self) {
        let Some(settings) = self.settings.clone() else {
            return;
        };
        if let Some(place) = &settings.operator {
            let detail = "accounts come from an operator's tokens: whether this one has JetStream, and its limits, is not in \
                          the file, and is taken for granted";
            self.events
                .push(event(EventCode::SurroundingsUntold, place, detail));
        }
        if !settings.jetstream.as_ref().is_some_and(|set| set.value) {
            return;
        }
        let accounts = settings.accounts.as_ref();
        let system = accounts.and_then(|set| set.value.get(settings.system_account()));
        if let Some(set) = system.and_then(|account| account.jetstream.as_ref())
            && set.value
        {
            let detail = "JetStream is switched on for the system account";
            self.refuse(EventCode::ServerStartRefused, &set.place, detail);
        }
        self.reserved_by_accounts(&settings);
    }

    /// Accounts with a limit reserve it: alone, a server whose limit is below their sum does not start.
    fn reserved_by_accounts(&mut self, settings: &ServerSettings) {
        let (Some(max_file), Standing::Standalone) = (&settings.max_file, self.standing) else {
            return;
        };
        let accounts = settings.accounts.iter().flat_map(|set| set.value.values());
        let limits = accounts
            .filter(|account| account.jetstream.as_ref().is_some_and(|set| set.value))
            .filter_map(|account| account.max_store.as_ref())
            .filter(|limit| limit.value > 0);
        let sum = limits.fold(0_i64, |sum, limit| sum.saturating_add(limit.value));
        if sum > max_file.value {
            let detail = format!(
                "the accounts may hold {sum} bytes together, the server {}: standing alone it does not start",
                max_file.value
            );
            self.refuse(EventCode::ServerStartRefused, &max_file.place, &detail);
        }
    }

    /// Reads the settings of every stream the server would find, where their sum matters.
    pub(super) fn census(&mut self, fs: &dyn ReadFiles, options: &Options, facts: &Facts) {
        let Some(settings) = self.settings.clone() else {
            return;
        };
        let accounts = settings.accounts.iter().flat_map(|set| set.value.values());
        let limited = settings.max_file.is_some()
            || accounts
                .into_iter()
                .any(|account| account.max_store.is_some() || account.max_consumers.is_some());
        let dir = match (&self.placement, &facts.store_dir) {
            (Placement::There, Some(store_dir)) => store_dir.join(JETSTREAM),
            (Placement::Above, Some(store_dir)) => store_dir.clone(),
            _ => return,
        };
        if !limited || self.refused {
            return;
        }
        let found = find_streams(fs, &dir).map(|found| found.streams);
        let streams: Vec<Counted> = found
            .unwrap_or_default()
            .into_iter()
            .filter(|stream| self.before_its_files(stream).is_none())
            .filter_map(|stream| {
                let meta = settings_of(fs, &stream, options)?;
                let stays = settings
                    .stream_limit(stream.account.as_deref(), &meta)
                    .is_none()
                    && self.replicas(&meta).is_none();
                stays.then_some(Counted { stream, meta })
            })
            .collect();
        if Behaviour::of(self.server).has(Feature::RecoverySkipsLimits) {
            self.reserved_by_streams(&settings, &streams);
        } else {
            self.crowd(&settings, &streams);
        }
    }

    /// Streams reserve their `max_bytes`, and an account is enabled only where the server has room beyond that: which
    /// accounts come first is chance.
    fn reserved_by_streams(&mut self, settings: &ServerSettings, streams: &[Counted]) {
        let (Some(max_file), Standing::Standalone) = (&settings.max_file, self.standing) else {
            return;
        };
        let mut reserved: BTreeMap<&str, i64> = BTreeMap::new();
        for counted in streams {
            let sum = reserved.entry(counted.account()).or_default();
            *sum = sum.saturating_add(counted.meta.max_bytes.max(0));
        }
        let total = reserved
            .values()
            .fold(0_i64, |sum, bytes| sum.saturating_add(*bytes));
        let enabled = settings.accounts.iter().flat_map(|set| set.value.iter());
        let enabled =
            enabled.filter(|(_, account)| account.jetstream.as_ref().is_some_and(|set| set.value));
        for (name, account) in enabled {
            let others = total - reserved.get(name.as_str()).copied().unwrap_or(0);
            let own = account.max_store.as_ref().map_or(0, |set| set.value.max(0));
            if others > 0 && others.saturating_add(own) > max_file.value {
                let detail = format!(
                    "the streams of other accounts reserve {others} bytes and the account {name} {own}, the server has {}: \
                     where {name} is not the first account by chance, the server does not start",
                    max_file.value
                );
                self.refuse(EventCode::ServerStartRefused, &max_file.place, &detail);
                return;
            }
        }
    }

    /// Servers that hold the limits against every stream as they open it leave out what no longer fits.
    fn crowd(&mut self, settings: &ServerSettings, streams: &[Counted]) {
        let mut server = 0_i64;
        let mut accounts: BTreeMap<String, i64> = BTreeMap::new();
        for counted in streams {
            let key = (counted.account().to_owned(), counted.meta.name.clone());
            let own = settings.account(Some(&key.0));
            let consumers = own.and_then(|account| account.max_consumers.as_ref());
            let consumers = consumers.filter(|limit| limit.value > 0);
            if let Some(limit) = consumers.filter(|limit| counted.meta.max_consumers > limit.value)
            {
                let detail = format!(
                    "a stream of the account may have {} consumers at most, this one is configured for {}: server {} leaves it out",
                    limit.value, counted.meta.max_consumers, self.server
                );
                let event = event(EventCode::LimitLeavesStreamOut, &limit.place, detail);
                self.crowded.insert(key, event);
                continue;
            }
            let bytes = counted.meta.max_bytes;
            let added = if bytes < 0 { 1 } else { bytes };
            let account = accounts.entry(key.0.clone()).or_default();
            let limit = own.and_then(|account| account.max_store.as_ref());
            let limits = [
                ("account", limit, *account),
                ("server", settings.max_file.as_ref(), server),
            ];
            let over = limits.into_iter().find_map(|(whose, limit, reserved)| {
                let limit = limit.filter(|limit| limit.value >= 0)?;
                (reserved.saturating_add(added) > limit.value)
                    .then(|| self.too_much(whose, limit, reserved, added))
            });
            match over {
                Some(event) => {
                    self.crowded.insert(key, event);
                }
                None => {
                    server = server.saturating_add(bytes.max(0));
                    *account = account.saturating_add(bytes.max(0));
                }
            }
        }
    }

    fn too_much(&self, whose: &str, limit: &super::Set<i64>, reserved: i64, added: i64) -> Event {
        let chance = match self.server.starts_streams_side_by_side() && reserved > 0 {
            true => "; which of the streams is left out is a matter of chance",
            false => "",
        };
        let detail = format!(
            "the {whose} may hold {} bytes, other streams reserve {reserved} and this one {added}: server {} leaves it out{chance}",
            limit.value, self.server
        );
        event(EventCode::LimitLeavesStreamOut, &limit.place, detail)
    }
}

/// A stream that would come up but for the sum.
struct Counted {
    stream: StreamDir,
    meta: StreamMeta,
}

impl Counted {
    fn account(&self) -> &str {
        self.stream.account.as_deref().unwrap_or_default()
    }
}
