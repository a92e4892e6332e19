//! What the accounts and streams of a store add up to, held against the limits they share.

use std::collections::BTreeMap;

use super::super::inventory::settings_of;
use super::account::{Account, Limits};
use super::settings::{ServerSettings, Set};
use super::{Facts, JETSTREAM, Placement, Surroundings, event};
use crate::env::ReadFiles;
use crate::format::meta::StreamMeta;
use crate::recovery::server::{Quirk, ServerBehavior};
use crate::report::events::{Event, EventCode};
use crate::stream::options::{Options, Standing};
use crate::stream::{StreamDir, find_streams};

impl Surroundings {
    /// What the accounts of the configuration keep the server from doing.
    pub(super) fn accounts(&mut self) {
        let Some(settings) = self.settings.clone() else {
            return;
        };
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
        let limits = configured(settings)
            .filter_map(|(_, account)| account.limits.max_store.as_ref())
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
        let mut limits = accounts.flat_map(|account| account.all_limits());
        let limited = settings.max_file.is_some()
            || limits.any(|limits| limits.max_store.is_some() || limits.max_consumers.is_some());
        let dir = match (&self.placement, &facts.store_dir) {
            (Placement::There, Some(store_dir)) => store_dir.join(JETSTREAM),
            (Placement::Above, Some(store_dir)) => store_dir.clone(),
            _ => return,
        };
        if !limited || self.refused {
            return;
        }
        let found = find_streams(fs, &dir).map(|found| found.streams);
        let mut accounts: BTreeMap<String, Vec<Counted>> = BTreeMap::new();
        for stream in found.unwrap_or_default() {
            if self.before_its_files(&stream).is_some() {
                continue;
            }
            let name = stream.account.clone().unwrap_or_default();
            let of_account = accounts.entry(name).or_default();
            let Some(meta) = settings_of(fs, &stream, options) else {
                continue;
            };
            let limit = settings.stream_limit(stream.account.as_deref(), &meta);
            if limit.is_none() && self.replicas(&meta).is_none() {
                of_account.push(Counted { stream, meta });
            }
        }
        let skips_limits = ServerBehavior::of(self.server).has(Quirk::RecoverySkipsLimits);
        if skips_limits {
            self.reserved_by_streams(&settings, &accounts);
        }
        let mut reserved = Reserved::default();
        for (name, streams) in &accounts {
            if !self.enable(&settings, name, &mut reserved) {
                continue;
            }
            for counted in streams {
                match skips_limits {
                    true => reserved.streams(counted.meta.max_bytes),
                    false => self.crowd(&settings, counted, &mut reserved),
                }
            }
        }
    }

    /// An account whose token allows more than the server has left is not enabled; the server looks at one after the other, by
    /// name. Whether it is.
    fn enable(&mut self, settings: &ServerSettings, name: &str, reserved: &mut Reserved) -> bool {
        let found = settings
            .account(Some(name))
            .filter(|account| account.by_token);
        let (Some(account), Standing::Standalone) = (found, self.standing) else {
            return true;
        };
        let sum = |limit: fn(&Limits) -> &Option<Set<i64>>| {
            let limits = account
                .all_limits()
                .filter_map(|limits| limit(limits).as_ref());
            limits.fold(0_i64, |sum, set| sum.saturating_add(set.value.max(0)))
        };
        let (store, memory) = (
            sum(|limits| &limits.max_store),
            sum(|limits| &limits.max_memory),
        );
        let taken = reserved.streams.max(reserved.limits);
        let wanted = [
            ("files", settings.max_file.as_ref(), store, taken),
            ("memory", settings.max_mem.as_ref(), memory, reserved.memory),
        ];
        let over = wanted.into_iter().find_map(|(what, limit, own, taken)| {
            let limit = limit?;
            (taken.saturating_add(own) > limit.value).then(|| {
                let detail = format!(
                    "the token of the account {} allows {own} bytes in {what}, the server has {} and has promised {taken} of them \
                     to others: standing alone it does not switch JetStream on for the account",
                    account.named(name),
                    limit.value
                );
                event(EventCode::AccountLimitsTooWide, &limit.place, detail)
            })
        });
        if let Some(event) = over {
            self.tokens.withheld.insert(name.to_owned(), event);
            return false;
        }
        reserved.limits = reserved.limits.saturating_add(store);
        reserved.memory = reserved.memory.saturating_add(memory);
        true
    }

    /// Streams reserve their `max_bytes`, and an account is enabled only where the server has room beyond that: which
    /// accounts come first is chance.
    fn reserved_by_streams(
        &mut self,
        settings: &ServerSettings,
        accounts: &BTreeMap<String, Vec<Counted>>,
    ) {
        let (Some(max_file), Standing::Standalone) = (&settings.max_file, self.standing) else {
            return;
        };
        let sum = |streams: &[Counted]| {
            let bytes = streams.iter().map(|counted| counted.meta.max_bytes.max(0));
            bytes.fold(0_i64, i64::saturating_add)
        };
        let accounts = accounts.iter().filter(|(name, _)| {
            let found = settings.account(Some(name.as_str()));
            !found.is_some_and(|account| account.by_token)
        });
        let reserved: BTreeMap<&str, i64> = accounts
            .map(|(name, streams)| (name.as_str(), sum(streams)))
            .collect();
        let total = reserved
            .values()
            .fold(0_i64, |sum, bytes| sum.saturating_add(*bytes));
        for (name, account) in configured(settings) {
            let others = total - reserved.get(name).copied().unwrap_or(0);
            let own = account.limits.max_store.as_ref();
            let own = own.map_or(0, |set| set.value.max(0));
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
    fn crowd(&mut self, settings: &ServerSettings, counted: &Counted, reserved: &mut Reserved) {
        let key = (counted.account().to_owned(), counted.meta.name.clone());
        let own = settings.account(Some(&key.0));
        let tier = own.and_then(|account| account.tier(counted.meta.replicas));
        let (tier, limits) =
            tier.map_or((String::new(), None), |(tier, limits)| (tier, Some(limits)));
        let consumers = limits.and_then(|limits| limits.max_consumers.as_ref());
        let consumers = consumers.filter(|limit| limit.value > 0);
        if let Some(limit) = consumers.filter(|limit| counted.meta.max_consumers > limit.value) {
            let detail = format!(
                "a stream of the account may have {} consumers at most, this one is configured for {}: server {} leaves it out",
                limit.value, counted.meta.max_consumers, self.server
            );
            let event = event(EventCode::LimitLeavesStreamOut, &limit.place, detail);
            self.crowded.insert(key, event);
            return;
        }
        let bytes = counted.meta.max_bytes;
        let added = if bytes < 0 { 1 } else { bytes };
        let account = reserved.tiers.entry((key.0.clone(), tier)).or_default();
        let limits = [
            (
                "account",
                limits.and_then(|limits| limits.max_store.as_ref()),
                *account,
            ),
            ("server", settings.max_file.as_ref(), reserved.streams),
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
                *account = account.saturating_add(bytes.max(0));
                reserved.streams(bytes);
            }
        }
    }

    fn too_much(&self, whose: &str, limit: &Set<i64>, reserved: i64, added: i64) -> Event {
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

/// The accounts of `accounts{}` that have JetStream.
fn configured(settings: &ServerSettings) -> impl Iterator<Item = (&str, &Account)> {
    let accounts = settings.accounts.iter().flat_map(|set| set.value.iter());
    let enabled = accounts.filter(|(_, account)| {
        !account.by_token && account.jetstream.as_ref().is_some_and(|set| set.value)
    });
    enabled.map(|(name, account)| (name.as_str(), account))
}

/// What the server has promised so far.
#[derive(Default)]
struct Reserved {
    /// To streams, by their `max_bytes`.
    streams: i64,
    /// To the streams of one account and tier.
    tiers: BTreeMap<(String, String), i64>,
    /// To accounts by their tokens, in files.
    limits: i64,
    /// The same in memory.
    memory: i64,
}

impl Reserved {
    fn streams(&mut self, max_bytes: i64) {
        self.streams = self.streams.saturating_add(max_bytes.max(0));
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
