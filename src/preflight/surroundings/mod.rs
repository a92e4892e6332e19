//! What stands around a store when a server starts on it: its configuration, its place in a cluster.
//!
//! A sound stream comes up only where the server looks for it, in an account that has JetStream, within the limits of a
//! configuration, and, in a cluster, only where the cluster's metadata names it. [`Surroundings`] holds what a configuration
//! file says against one store and tells for each stream and consumer what stands in its way, and where that is written.
//! Nothing is asked of any server, no connection is opened.
//!
//! # What is not told
//!
//! * With an operator, accounts come from their tokens. Those in the configuration and in the resolver's directory are read,
//!   against the time of the options; their signatures are not verified, nor is what they say besides expiry, issuer and
//!   limits. Tokens that come from a URL or from other servers are not asked for: such an account is taken to have JetStream.
//!   An account that another one's token imports from is looked up with that one, which can change who comes first where
//!   the limits of the accounts are more than the server has.
//! * Whose streams the cluster's metadata names, who is reachable, and what the other members know (the raft groups are not
//!   read). A member whose store has the cluster's metadata is taken to keep what it has.
//! * Without `max_file` the server takes three quarters of the free disk as its limit, without `max_mem` of the memory: it is
//!   not asked how much that is.
//! * What a command line sets beyond the configuration, unless the caller says it.

mod account;
mod census;
mod cluster;
mod fields;
mod operator;
mod settings;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use account::{Account, Limits};
pub use operator::{OperatorMode, Resolver};
pub use settings::{Fault, Listener, Place, ServerSettings, Set};

use self::cluster::Membership;
use self::tokens::Tokens;
use crate::env::ReadFiles;
use crate::format::meta::{ConsumerMeta, StreamMeta};
use crate::recovery::server::{Quirk, ServerBehavior};
use crate::report::ServerVersion;
use crate::report::events::{Event, EventCode};
use crate::server_config::{ConfigError, Map};
use crate::stream::StreamDir;
use crate::stream::options::{Options, Standing};

/// The account a server without accounts keeps its streams in.
const GLOBAL_ACCOUNT: &str = "$G";
/// The directory below `store_dir` that a server keeps accounts in.
const JETSTREAM: &str = "jetstream";

/// What is known besides the configuration file. The two directories are compared as they are given: the caller resolves
/// links.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The server that will start.
    pub server: ServerVersion,
    /// Whether it is a member of a cluster whatever the file says.
    pub clustered: bool,
    /// Where its `store_dir` leads to; `None` where none is configured.
    pub store_dir: Option<PathBuf>,
    /// The directory of accounts that the streams looked at lie in, where their paths show one.
    pub accounts_dir: Option<PathBuf>,
    /// Where the system keeps what is temporary, which is where a server without `store_dir` goes.
    pub temp_dir: PathBuf,
}

/// Where the streams lie, seen from the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Placement {
    /// Where it looks, or nothing is known.
    #[default]
    There,
    /// One level above, and it will move the accounts it knows.
    Above,
    /// Elsewhere; where it looks instead.
    Elsewhere(PathBuf),
}

/// What a configuration makes of one store.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    settings: Option<ServerSettings>,
    standing: Standing,
    server: ServerVersion,
    placement: Placement,
    membership: Membership,
    tokens: Tokens,
    /// Streams that the sum of the limits leaves no room for.
    crowded: BTreeMap<(String, String), Event>,
    events: Vec<Event>,
    refused: bool,
}

fn event(code: EventCode, place: &Place, detail: impl Into<String>) -> Event {
    Event::new(code, detail).file(place.to_string())
}

impl Surroundings {
    /// No configuration is known: the store is where the server looks, its account has JetStream and no limits.
    #[must_use]
    pub fn unknown(standing: Standing) -> Self {
        Surroundings {
            standing,
            ..Surroundings::default()
        }
    }

    /// A configuration that does not parse: the server does not start, and nothing else is known.
    #[must_use]
    pub fn unreadable(error: &ConfigError) -> Self {
        let detail = error.problem.to_string();
        Surroundings {
            events: vec![event(EventCode::ServerConfigInvalid, &error.into(), detail)],
            refused: true,
            ..Surroundings::default()
        }
    }

    /// Holds a parsed configuration, which began in `file`, against the store. Files that the configuration names are read
    /// through `fs`, relative ones from where this process was started; nothing on disk changes.
    pub fn of(
        fs: &dyn ReadFiles,
        document: &Map,
        file: &Path,
        options: &Options,
        facts: &Facts,
    ) -> Self {
        let settings = ServerSettings::read(document, file, facts.server);
        let clustered = facts.clustered || settings.membership().is_some();
        let standing = match clustered {
            true => Standing::Member,
            false => Standing::Standalone,
        };
        let mut found = Surroundings {
            standing,
            server: facts.server,
            ..Surroundings::default()
        };
        for fault in &settings.faults {
            found.refuse(EventCode::ServerConfigInvalid, &fault.place, &fault.detail);
        }
        found.placement = found.placed(fs, &settings, facts);
        found.settings = Some(settings);
        if !found.refused {
            found.listeners();
            found.tokens(fs, options.now_ns, facts);
            found.accounts();
            let options = Options {
                standing,
                server: facts.server,
                ..options.clone()
            };
            found.census(fs, &options, facts);
            found.cluster(fs, facts);
        }
        found
    }

    /// Whether the server is a member of a cluster.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether the server starts at all, as far as its configuration goes.
    #[must_use]
    pub fn starts(&self) -> bool {
        !self.refused
    }

    /// Whether a configuration is known.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.settings.is_some() || self.refused
    }

    /// What concerns the server as a whole.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    fn refuse(&mut self, code: EventCode, place: &Place, detail: &str) {
        self.refused = true;
        self.events.push(event(code, place, detail));
    }

    fn placed(&self, fs: &dyn ReadFiles, settings: &ServerSettings, facts: &Facts) -> Placement {
        let Some(accounts_dir) = &facts.accounts_dir else {
            return Placement::There;
        };
        let Some(store_dir) = facts
            .store_dir
            .as_ref()
            .filter(|_| settings.store_dir.is_some())
        else {
            return Placement::Elsewhere(facts.temp_dir.join("nats").join(JETSTREAM));
        };
        let looked_at = store_dir.join(JETSTREAM);
        if &looked_at == accounts_dir {
            return Placement::There;
        }
        let is_empty = fs.list(&looked_at).is_ok_and(|names| names.is_empty())
            || fs
                .metadata(&looked_at)
                .is_err_and(|error| error.is_not_found());
        // Without max_file the server makes the directory first, to see how much room there is, and then an account is not the
        // only thing beside it; what lies there alone is not moved.
        let is_alone =
            settings.max_file.is_some() && fs.list(store_dir).is_ok_and(|names| names.len() == 1);
        match is_empty && !is_alone && store_dir == accounts_dir {
            true => Placement::Above,
            false => Placement::Elsewhere(looked_at),
        }
    }

    /// What keeps a stream away before the server looks at its files: they stay as they are.
    #[must_use]
    pub fn before_its_files(&self, stream: &StreamDir) -> Option<Event> {
        if self.refused {
            let mut cause = self.events.first()?.clone();
            cause.detail = format!("the server does not start: {}", cause.detail);
            return Some(cause);
        }
        let settings = self.settings.as_ref()?;
        let nowhere = Place::whole(&settings.file);
        match &settings.jetstream {
            None => {
                let detail = "JetStream is not switched on here; unless it is on the server's command line, no stream comes up";
                return Some(event(EventCode::JetstreamOff, &nowhere, detail));
            }
            Some(set) if !set.value => {
                let detail = "JetStream is switched off here: no stream comes up";
                return Some(event(EventCode::JetstreamOff, &set.place, detail));
            }
            Some(_) => {}
        }
        if let Placement::Elsewhere(looked_at) = &self.placement {
            let place = settings
                .store_dir
                .as_ref()
                .map_or(&nowhere, |set| &set.place);
            let detail = format!(
                "the server keeps its streams in {}, and does not see this directory",
                looked_at.display()
            );
            return Some(event(EventCode::StoreElsewhere, place, detail));
        }
        let account = stream.account.as_deref()?;
        match settings.operator_mode {
            Some(_) => self.tokens.keep_away(account, settings),
            None => settings.keep_away(account),
        }
    }

    /// What keeps a stream away once its configuration is read: its messages stay as they are.
    #[must_use]
    pub fn before_its_store(&self, stream: &StreamDir, meta: &StreamMeta) -> Option<Event> {
        let account = stream.account.as_deref();
        let key = (account.unwrap_or_default().to_owned(), meta.name.clone());
        let settings = self.settings.as_ref();
        settings
            .and_then(|settings| settings.stream_limit(account, meta))
            .or_else(|| self.crowded.get(&key).cloned())
            .or_else(|| self.replicas(meta))
    }

    fn replicas(&self, meta: &StreamMeta) -> Option<Event> {
        if meta.replicas <= 1 || self.standing == Standing::Member {
            return None;
        }
        let (place, alone) = match &self.settings {
            None => ("meta.inf".to_owned(), "the server is taken to stand alone"),
            Some(settings) => (
                settings.file.display().to_string(),
                "nothing here makes the server a member of a cluster",
            ),
        };
        let detail = format!(
            "the stream has {} replicas, and {alone}: it leaves the stream out",
            meta.replicas
        );
        Some(Event::new(EventCode::ReplicasUnsupported, detail).file(place))
    }

    /// What keeps a consumer away.
    #[must_use]
    pub fn before_a_consumer(
        &self,
        stream: &StreamDir,
        name: &str,
        meta: &ConsumerMeta,
    ) -> Option<Event> {
        let settings = self.settings.as_ref()?;
        let account = stream.account.as_deref();
        settings.consumer_limit(account, name, meta, self.standing)
    }

    /// How many consumers of a stream come back, and what keeps the others away: servers that hold the limits against what is
    /// there bring the first ones back, by name.
    #[must_use]
    pub fn most_consumers(
        &self,
        stream: &StreamDir,
        meta: &StreamMeta,
        server: ServerVersion,
    ) -> Option<(usize, Event)> {
        if ServerBehavior::of(server).has(Quirk::RecoverySkipsLimits) {
            return None;
        }
        let settings = self.settings.as_ref();
        let account = settings.and_then(|settings| settings.account(stream.account.as_deref()));
        let tier = account.and_then(|account| account.tier(meta.replicas));
        let of_account = tier.and_then(|(_, limits)| limits.max_consumers.as_ref());
        let of_account = of_account.filter(|set| set.value > 0);
        let (most, place) = match of_account {
            Some(set) if meta.max_consumers <= 0 || set.value < meta.max_consumers => {
                (set.value, set.place.to_string())
            }
            _ => (meta.max_consumers, "meta.inf".to_owned()),
        };
        let most = usize::try_from(most).ok().filter(|most| *most > 0)?;
        let detail = format!(
            "the stream may have {most} consumers: server {server} brings back the first by name, the others are left out, their \
             files stay"
        );
        let event = Event::new(EventCode::LimitLeavesConsumerOut, detail).file(place);
        Some((most, event))
    }

    /// What deletes a stream once it is up.
    #[must_use]
    pub fn after_its_start(&self, stream: &StreamDir) -> Option<Event> {
        let _ = stream;
        self.membership.deletes(self.settings.as_ref()?)
    }

    /// What else is to be said of a stream that comes up.
    #[must_use]
    pub fn remarks(&self, stream: &StreamDir) -> Option<Event> {
        let settings = self.settings.as_ref()?;
        let place = settings.store_dir.as_ref().map(|set| &set.place)?;
        if self.placement != Placement::Above {
            return None;
        }
        let detail = format!(
            "the account {} lies one level too high; the server moves it into {JETSTREAM}/ when it starts",
            stream.account.as_deref().unwrap_or_default()
        );
        Some(event(EventCode::AccountRelocated, place, detail))
    }
}

impl ServerSettings {
    /// Whether no account but the server's own are configured: then the streams of the global account come up.
    fn is_global_only(&self) -> bool {
        if self.operator_mode.is_some() {
            return false;
        }
        let accounts = self.accounts.as_ref();
        let mut names = accounts.into_iter().flat_map(|set| set.value.keys());
        names.all(|name| name == self.system_account())
    }

    /// What keeps the streams of an account away.
    fn keep_away(&self, account: &str) -> Option<Event> {
        let whole = Place::whole(&self.file);
        if account == self.system_account() {
            let place = self
                .system_account
                .as_ref()
                .map_or(&whole, |set| &set.place);
            let detail = format!("{account} is the system account, which has no JetStream");
            return Some(event(EventCode::AccountIsSystem, place, detail));
        }
        let accounts = self.accounts.as_ref();
        let place = accounts.map_or(&whole, |set| &set.place);
        if account == GLOBAL_ACCOUNT {
            let detail = "with accounts configured, the streams of the account $G do not come up";
            return (!self.is_global_only())
                .then(|| event(EventCode::AccountUnknown, place, detail));
        }
        let Some(found) = accounts.and_then(|set| set.value.get(account)) else {
            let detail =
                format!("no account {account} is configured: none of its streams comes up");
            return Some(event(EventCode::AccountUnknown, place, detail));
        };
        match &found.jetstream {
            Some(set) if set.value => None,
            Some(set) => {
                let named = found.named(account);
                let detail = match found.by_token {
                    true => format!("the token of the account {named} gives it no JetStream"),
                    false => format!("JetStream is switched off for the account {named}"),
                };
                Some(event(
                    EventCode::AccountWithoutJetstream,
                    &set.place,
                    detail,
                ))
            }
            None => {
                let detail = format!("JetStream is not switched on for the account {account}");
                Some(event(
                    EventCode::AccountWithoutJetstream,
                    &found.place,
                    detail,
                ))
            }
        }
    }

    fn account(&self, name: Option<&str>) -> Option<&Account> {
        self.accounts.as_ref()?.value.get(name?)
    }

    fn stream_limit(&self, account: Option<&str>, meta: &StreamMeta) -> Option<Event> {
        let left_out =
            |place: &Place, detail| Some(event(EventCode::LimitLeavesStreamOut, place, detail));
        let found = self.account(account);
        if let Some(found) = found
            && found.tier(meta.replicas).is_none()
        {
            let detail = format!(
                "the token of the account {} has limits for {}, and none for streams of {} replicas",
                found.named(account.unwrap_or_default()),
                found
                    .tiers
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" and "),
                meta.replicas.max(1)
            );
            return left_out(&found.place, detail);
        }
        if let Some((_, limits)) = found.and_then(|found| found.tier(meta.replicas)) {
            if let Some(set) = limits.max_bytes_required.as_ref().filter(|set| set.value)
                && meta.max_bytes <= 0
            {
                let detail =
                    "every stream of the account has to have max_bytes, and this one has none"
                        .to_owned();
                return left_out(&set.place, detail);
            }
            if let Some(set) = limits.disk_max_stream_bytes.as_ref()
                && set.value > 0
                && meta.max_bytes > set.value
            {
                let detail = format!(
                    "a stream of the account may have max_bytes of {} at most, this one has {}",
                    set.value, meta.max_bytes
                );
                return left_out(&set.place, detail);
            }
        }
        let set = self.duplicate_window_ns.as_ref()?;
        if set.value <= 0 || meta.duplicate_window_ns <= set.value {
            return None;
        }
        let detail = format!(
            "the window for duplicates may have {} ns at most, the stream's has {}",
            set.value, meta.duplicate_window_ns
        );
        left_out(&set.place, detail)
    }

    fn consumer_limit(
        &self,
        account: Option<&str>,
        name: &str,
        meta: &ConsumerMeta,
        standing: Standing,
    ) -> Option<Event> {
        let number = |field: &str| meta.raw().get(field).and_then(serde_json::Value::as_i64);
        // Alone, streams have one replica; a member's consumer that does not say has its stream's, which is not known here.
        let replicas = match standing {
            Standing::Member if meta.replicas == 0 => None,
            _ => Some(meta.replicas),
        };
        let found = self.account(account);
        let tier = found.and_then(|found| match replicas {
            Some(replicas) => found.tier(replicas),
            None => found.tiers.is_empty().then(|| found.tier(1)).flatten(),
        });
        let of_account = tier.and_then(|(_, limits)| limits.max_ack_pending.as_ref());
        let is_pull = meta.raw().get("deliver_subject").is_none();
        let batch = self.max_request_batch.as_ref().filter(|_| is_pull);
        let limits = [
            ("max_ack_pending", self.max_ack_pending.as_ref()),
            ("max_ack_pending", of_account),
            ("max_batch", batch),
        ];
        limits.into_iter().find_map(|(field, limit)| {
            let (limit, found) = (limit.filter(|set| set.value > 0)?, number(field)?);
            (found > limit.value).then(|| {
                let detail = format!(
                    "{field} may be {} at most, the consumer {name} has {found}: it is left out, its files stay",
                    limit.value
                );
                event(EventCode::LimitLeavesConsumerOut, &limit.place, detail)
            })
        })
    }
}
