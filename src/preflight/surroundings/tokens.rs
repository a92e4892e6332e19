//! Accounts by their tokens: which of them the server finds, which it believes, and what they may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::account::{Account, Limits};
use super::operator::{OperatorMode, Resolver};
use super::settings::{Place, ServerSettings, Set};
use super::{Facts, GLOBAL_ACCOUNT, JETSTREAM, Surroundings, event};
use crate::env::{FileKind, ReadFiles};
use crate::format::nkey::{Owner, is_key_of};
use crate::report::ServerVersion;
use crate::report::events::{Event, EventCode};
use crate::server_config::token::{
    AccountClaims, OperatorClaims, TOKEN_MAX, TokenLimits, any_claims,
};
use crate::stream::options::Standing;

const NS_PER_S: i64 = 1_000_000_000;
/// What every token begins with; where no file has such a name, it is one.
const TOKEN_START: &str = "eyJ";
/// A file with an operator's token may hold some lines around it.
const OPERATOR_FILE_MAX: u64 = 2 * TOKEN_MAX as u64;

/// What became of the accounts' tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens {
    /// Accounts that do not come up although there is a token of them.
    pub(super) withheld: BTreeMap<String, Event>,
    /// Whether other accounts may have tokens that cannot be seen from here.
    untold: bool,
}

impl Tokens {
    /// What keeps an account away that the settings hold nothing of.
    pub(super) fn keep_away(&self, account: &str, settings: &ServerSettings) -> Option<Event> {
        if account == settings.system_account() {
            return settings.keep_away(account);
        }
        if let Some(event) = self.withheld.get(account) {
            return Some(event.clone());
        }
        if settings.account(Some(account)).is_some() {
            return settings.keep_away(account);
        }
        let mode = settings.operator_mode.as_ref()?;
        let resolver = mode.resolver.as_ref();
        let place = resolver.map_or(&mode.place, |set| &set.place);
        let detail = match resolver.map(|set| &set.value) {
            _ if account == GLOBAL_ACCOUNT => {
                "accounts are an operator's: the streams of the account $G do not come up"
                    .to_owned()
            }
            _ if !is_key_of(Owner::Account, account) => format!(
                "accounts are an operator's and found by their public keys, and {account} is none: none of its streams comes up"
            ),
            _ if self.untold => return None,
            Some(Resolver::Directory { dir }) => format!(
                "no token of the account {account} lies in {}, and none is preloaded: none of its streams comes up before it is there",
                dir.display()
            ),
            _ => format!(
                "no token of the account {account} is preloaded: none of its streams comes up"
            ),
        };
        Some(event(EventCode::AccountUnknown, place, detail))
    }
}

/// Where a token was found.
type Token = Set<AccountClaims>;

/// Why there is none.
enum Without {
    /// Nobody has one.
    Missing,
    /// It cannot be looked at from here; what to say of it.
    Unseen(Event),
    /// The server does not believe it.
    Unbelieved(Event),
}

impl Surroundings {
    /// Reads the tokens of the operator and of every account that the store has, and adds these accounts to the settings.
    pub(super) fn tokens(&mut self, fs: &dyn ReadFiles, now_ns: i64, facts: &Facts) {
        let Some(mut settings) = self.settings.clone() else {
            return;
        };
        let Some(mode) = settings.operator_mode.clone() else {
            return;
        };
        let Some(operators) = self.operators(fs, &mode) else {
            return;
        };
        if let [operator] = operators.as_slice()
            && settings.system_account.is_none()
            && !operator.value.system_account.is_empty()
        {
            settings.system_account = Some(Set {
                value: operator.value.system_account.clone(),
                place: operator.place.clone(),
            });
        }
        self.operators_fit(&settings, &mode, &operators);
        let issuers = operators.iter().flat_map(|set| set.value.issuers());
        let issuers = issuers.map(str::to_owned);
        let desk = Desk {
            fs,
            mode: &mode,
            now_s: now_ns.div_euclid(NS_PER_S),
            issuers: mode
                .keys
                .iter()
                .map(|set| set.value.clone())
                .chain(issuers)
                .collect(),
        };
        self.directory(&desk);
        self.untold(&settings, &mode);
        let mut accounts = settings.accounts.take().unwrap_or(Set {
            value: BTreeMap::new(),
            place: mode.place.clone(),
        });
        for name in desk.names(facts, settings.system_account()) {
            match desk.account(&name) {
                Ok(token) => {
                    accounts.value.insert(name, account(&token));
                }
                Err(Without::Missing) => {}
                Err(Without::Unseen(event)) => {
                    self.tokens.untold = true;
                    self.events.push(event);
                }
                Err(Without::Unbelieved(event)) => {
                    self.tokens.withheld.insert(name, event);
                }
            }
        }
        settings.accounts = Some(accounts);
        self.system_account_comes_up(&settings, &mode, operators.len());
        self.settings = Some(settings);
    }

    /// The operators' tokens; `None` where one cannot be read, which is said.
    fn operators(
        &mut self,
        fs: &dyn ReadFiles,
        mode: &OperatorMode,
    ) -> Option<Vec<Set<OperatorClaims>>> {
        let mut operators = Vec::new();
        for set in &mode.operators {
            let place = &set.place;
            let is_token = set.value.starts_with(TOKEN_START);
            let text = match fs.read(Path::new(&set.value), OPERATOR_FILE_MAX) {
                Ok(bytes) => bytes,
                Err(_) if is_token => set.value.clone().into_bytes(),
                Err(error) if error.is_not_found() => {
                    let detail = "the operator is neither a token nor a file that is there";
                    self.refuse(EventCode::ServerConfigInvalid, place, detail);
                    return None;
                }
                Err(error) => {
                    let detail = format!(
                        "the operator's token cannot be read from here ({error}): whether accounts have JetStream, and their \
                         limits, is taken for granted"
                    );
                    let untold = EventCode::SurroundingsUntold;
                    self.events.push(event(untold, place, detail));
                    self.tokens.untold = true;
                    return None;
                }
            };
            match OperatorClaims::decode(&text) {
                Ok(value) => operators.push(Set {
                    value,
                    place: place.clone(),
                }),
                Err(problem) => {
                    let detail = format!("the operator's token cannot be read: {problem}");
                    self.refuse(EventCode::ServerConfigInvalid, place, &detail);
                    return None;
                }
            }
        }
        Some(operators)
    }

    /// What a server that has operators refuses to start with.
    fn operators_fit(
        &mut self,
        settings: &ServerSettings,
        mode: &OperatorMode,
        operators: &[Set<OperatorClaims>],
    ) {
        let refused = EventCode::ServerStartRefused;
        let Some(first) = operators.first() else {
            return;
        };
        let by_url = operators.len() == 1 && !first.value.account_server_url.is_empty();
        if mode.resolver.is_none() && !by_url {
            let detail = "an operator needs a resolver, which finds the accounts' tokens";
            self.refuse(refused, &mode.place, detail);
        }
        let accounts = settings.accounts.as_ref();
        if let Some(set) = accounts.filter(|set| !set.value.is_empty()) {
            let detail = "with an operator no accounts may be configured";
            self.refuse(refused, &set.place, detail);
        }
        if let Some(place) = &mode.users {
            self.refuse(
                refused,
                place,
                "with an operator no users may be configured",
            );
        }
        if let Some(set) = mode.keys.first() {
            let detail = "an operator and trusted keys exclude each other";
            self.refuse(refused, &set.place, detail);
        }
        let url = mode
            .resolver
            .as_ref()
            .map_or(by_url, |set| set.value == Resolver::Url);
        if let Some(place) = mode
            .preloads
            .as_ref()
            .filter(|_| url && !mode.preload.is_empty())
        {
            let detail = "tokens cannot be preloaded where they come from a URL";
            self.refuse(refused, place, detail);
        }
        let theirs = |set: &Set<OperatorClaims>| set.value.system_account.clone();
        let mut named = operators
            .iter()
            .map(theirs)
            .filter(|name| !name.is_empty())
            .peekable();
        match &settings.system_account {
            Some(set) if named.peek().is_some() && !named.any(|name| name == set.value) => {
                let detail = "the operator's token names another system account";
                self.refuse(refused, &set.place, detail);
            }
            None if first.value.system_account.is_empty() => {
                let resolver = mode.resolver.as_ref();
                let directory =
                    |set: &&Set<Resolver>| matches!(set.value, Resolver::Directory { .. });
                if let Some(set) = resolver.filter(directory) {
                    let detail = "a resolver of this type needs a system account, and neither the configuration nor the \
                                  operator's token names one";
                    self.refuse(refused, &set.place, detail);
                }
            }
            _ => {}
        }
        for operator in operators {
            self.operator_fits(operator);
        }
    }

    fn operator_fits(&mut self, operator: &Set<OperatorClaims>) {
        let asked = &operator.value.assert_server_version;
        let detail = match is_new_enough(self.server, asked) {
            Some(true) => None,
            Some(false) => Some(format!(
                "the operator's token asks for server {asked} or newer"
            )),
            None => Some(format!(
                "the operator's token asks for a server {asked:?}, which is no version"
            )),
        };
        let unsound = operator
            .value
            .issuers()
            .find(|key| !is_key_of(Owner::Operator, key));
        let unsound =
            unsound.map(|key| format!("the operator's key {key:?} is no valid public key"));
        for detail in [detail, unsound].into_iter().flatten() {
            self.refuse(EventCode::ServerStartRefused, &operator.place, &detail);
        }
    }

    /// A resolver's directory that is there has to be one, and the server's to write to.
    fn directory(&mut self, desk: &Desk<'_>) {
        let Some(set) = desk.mode.resolver.as_ref() else {
            return;
        };
        let Resolver::Directory { dir } = &set.value else {
            return;
        };
        match desk.fs.metadata(dir) {
            Ok(metadata) => {
                let writable = metadata.mode.is_none_or(|mode| mode & 0o200 != 0);
                if metadata.kind != FileKind::Dir || !writable {
                    let detail = format!(
                        "{} is no directory that its owner may write to",
                        dir.display()
                    );
                    self.refuse(EventCode::ServerConfigInvalid, &set.place, &detail);
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let detail = format!(
                    "the accounts' tokens cannot be looked at from here ({error}): whether an account has JetStream, and its \
                     limits, is taken for granted"
                );
                self.events
                    .push(event(EventCode::SurroundingsUntold, &set.place, detail));
                self.tokens.untold = true;
            }
        }
    }

    /// Says where accounts come from that are not to be seen here.
    fn untold(&mut self, settings: &ServerSettings, mode: &OperatorMode) {
        let resolver = mode.resolver.as_ref();
        let place = resolver.map_or(&mode.place, |set| &set.place);
        let detail = match resolver.map(|set| &set.value) {
            Some(Resolver::Directory { dir })
                if self.standing == Standing::Member || settings.system_leafnode().is_some() =>
            {
                format!(
                    "tokens that are not in {} are asked of the other servers: such an account comes up once one of them has \
                     answered, which is taken for granted",
                    dir.display()
                )
            }
            Some(Resolver::Memory | Resolver::Directory { .. }) => return,
            None if mode.operators.is_empty() => return,
            Some(Resolver::Url) | None => {
                "the accounts' tokens come from a server that is not asked here: whether an account has JetStream, and its \
                 limits, is taken for granted; where that server does not answer, this one does not start"
                    .to_owned()
            }
        };
        self.tokens.untold = true;
        self.events
            .push(event(EventCode::SurroundingsUntold, place, detail));
    }

    /// A server needs its system account, unless it makes itself one until it is told better.
    fn system_account_comes_up(
        &mut self,
        settings: &ServerSettings,
        mode: &OperatorMode,
        operators: usize,
    ) {
        let Some(set) = &settings.system_account else {
            // Where accounts are configured, it makes itself one.
            if settings.jetstream.as_ref().is_some_and(|set| set.value) {
                let detail = "with an operator JetStream needs a system account, and neither the configuration nor the operator's \
                              token names one";
                self.refuse(EventCode::ServerStartRefused, &mode.place, detail);
            }
            return;
        };
        let in_memory = mode
            .resolver
            .as_ref()
            .is_none_or(|set| set.value == Resolver::Memory);
        let there = settings.account(Some(&set.value)).is_some();
        if there || self.tokens.untold || !(in_memory || operators != 1) {
            return;
        }
        let why = match self.tokens.withheld.get(&set.value) {
            Some(event) => format!(": {}", event.detail),
            None => ": there is no token of it".to_owned(),
        };
        let detail = format!("the system account {} does not come up{why}", set.value);
        self.refuse(EventCode::ServerStartRefused, &set.place, &detail);
    }
}

/// `None` where `asked` is no version of three numbers.
fn is_new_enough(server: ServerVersion, asked: &str) -> Option<bool> {
    if asked.is_empty() {
        return Some(true);
    }
    let numbers: Option<Vec<u32>> = asked.split('.').map(|part| part.parse().ok()).collect();
    let numbers: [u32; 3] = numbers?.try_into().ok()?;
    Some(numbers <= [2, server.line().into(), server.patch().into()])
}

/// What looking a token up takes.
struct Desk<'a> {
    fs: &'a dyn ReadFiles,
    mode: &'a OperatorMode,
    now_s: i64,
    issuers: BTreeSet<String>,
}

impl Desk<'_> {
    /// The accounts that are looked up: those with a directory, those preloaded, and the system account.
    fn names(&self, facts: &Facts, system: &str) -> BTreeSet<String> {
        let looked_at = facts.store_dir.as_ref().map(|dir| dir.join(JETSTREAM));
        let dirs = [facts.accounts_dir.clone(), looked_at];
        let entries = dirs
            .iter()
            .flatten()
            .filter_map(|dir| self.fs.list(dir).ok())
            .flatten();
        let in_store = entries.filter_map(|entry| entry.name.into_string().ok());
        let named = in_store
            .chain(self.mode.preload.keys().cloned())
            .chain([system.to_owned()]);
        named
            .filter(|name| is_key_of(Owner::Account, name))
            .collect()
    }

    /// The account's token as the server finds it, if it believes it.
    fn account(&self, name: &str) -> Result<Token, Without> {
        let token = match self.mode.resolver.as_ref().map(|set| &set.value) {
            Some(Resolver::Directory { dir }) => self.in_directory(dir, name)?,
            Some(Resolver::Memory) => self
                .mode
                .preload
                .get(name)
                .cloned()
                .ok_or(Without::Missing)?,
            Some(Resolver::Url) | None => return Err(Without::Missing),
        };
        match self.disbelief(name, &token.value) {
            None => Ok(token),
            Some(why) => Err(unbelieved(
                name,
                &token.value.claims.name,
                &token.place,
                &why,
            )),
        }
    }

    /// A preloaded token goes into the directory unless what is there is the same, or newer.
    fn in_directory(&self, dir: &Path, name: &str) -> Result<Token, Without> {
        let path: PathBuf = dir.join(format!("{name}.jwt"));
        let place = Place::whole(&path);
        let preloaded = self.mode.preload.get(name);
        let bytes = match self.fs.read(&path, TOKEN_MAX as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                return preloaded.cloned().ok_or(Without::Missing);
            }
            Err(error) if error.kind == std::io::ErrorKind::FileTooLarge => {
                return Err(unbelieved(name, "", &place, "it is too long"));
            }
            Err(error) => {
                let detail = format!(
                    "the token of the account {name} cannot be read from here ({error}): that the account has JetStream is \
                     taken for granted"
                );
                let event = event(EventCode::SurroundingsUntold, &place, detail);
                return Err(Without::Unseen(event));
            }
        };
        if let Some(new) = preloaded
            && any_claims(&bytes).map_or(true, |old| {
                let new = &new.value.claims;
                old.id != new.id
                    && old.issued_at <= new.issued_at
                    && new.subject == name
                    && old.subject == new.subject
            })
        {
            return Ok(new.clone());
        }
        match AccountClaims::decode(&bytes) {
            Ok(value) => Ok(Set { value, place }),
            Err(problem) => {
                let why = format!("it cannot be read: {problem}");
                Err(unbelieved(name, "", &place, &why))
            }
        }
    }

    /// Why a server does not believe a token that it can read.
    fn disbelief(&self, name: &str, account: &AccountClaims) -> Option<String> {
        let claims = &account.claims;
        if claims.subject != name {
            return Some(format!("it is the token of {}", claims.subject));
        }
        if !self.issuers.contains(&claims.issuer) {
            return Some(format!(
                "{}, which issued it, is not the operator's key",
                claims.issuer
            ));
        }
        if claims.expires > 0 && self.now_s > claims.expires {
            let since = self.now_s.saturating_sub(claims.expires);
            return Some(format!("it expired {since} seconds ago"));
        }
        if claims.not_before > 0 && claims.not_before > self.now_s {
            let left = claims.not_before.saturating_sub(self.now_s);
            return Some(format!("it holds in {left} seconds only"));
        }
        account
            .tiers
            .contains_key("")
            .then(|| "it has a tier without a name".to_owned())
    }
}

fn unbelieved(name: &str, called: &str, place: &Place, why: &str) -> Without {
    let called = match called {
        "" => name.to_owned(),
        called => format!("{called:?} ({name})"),
    };
    let detail = format!(
        "the token of the account {called} does not count, {why}: none of its streams comes up"
    );
    Without::Unbelieved(event(EventCode::AccountTokenRefused, place, detail))
}

fn account(token: &Token) -> Account {
    let place = &token.place;
    let limits = |limits: &TokenLimits| limits_of(limits, place);
    let claims = &token.value;
    let tiers = claims.tiers.iter();
    Account {
        by_token: true,
        called: Some(claims.claims.name.clone()).filter(|name| !name.is_empty()),
        jetstream: Some(Set {
            value: claims.has_jetstream(),
            place: place.clone(),
        }),
        limits: limits(&claims.limits),
        tiers: tiers
            .map(|(name, tier)| (name.clone(), limits(tier)))
            .collect(),
        ..Account::at(place.clone())
    }
}

fn limits_of(limits: &TokenLimits, place: &Place) -> Limits {
    let number = |value: i64| {
        Some(Set {
            value,
            place: place.clone(),
        })
    };
    // Nothing, here, is no limit.
    let positive = |value: i64| number(value).filter(|set| set.value > 0);
    Limits {
        max_store: number(limits.disk_storage),
        max_memory: number(limits.memory_storage),
        disk_max_stream_bytes: positive(limits.disk_max_stream_bytes),
        max_bytes_required: Some(Set {
            value: limits.max_bytes_required,
            place: place.clone(),
        }),
        max_ack_pending: positive(limits.max_ack_pending),
        max_consumers: positive(limits.consumers),
    }
}
