//! What a configuration says about what comes up: every setting with its place, and what keeps the server from starting.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::account::{Account, Limits};
use super::fields::Section;
use super::operator::OperatorMode;
use crate::format::duration::parse_duration;
use crate::report::ServerVersion;
use crate::server_config::{ConfigError, Entry, Map, Value, find};

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, or `$NAME` for the text of an environment variable.
    pub file: PathBuf,
    /// The line, counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// The character within the line, counted from 1.
    pub column: usize,
}

impl Place {
    pub(super) fn of(entry: &Entry) -> Self {
        Place {
            file: entry.file.to_path_buf(),
            line: entry.line,
            column: entry.column,
        }
    }

    /// The whole file: for what it does not say.
    pub(super) fn whole(file: &Path) -> Self {
        Place {
            file: file.to_owned(),
            line: 0,
            column: 0,
        }
    }
}

impl From<&ConfigError> for Place {
    fn from(error: &ConfigError) -> Self {
        Place {
            file: error.file.clone(),
            line: error.line,
            column: error.column,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}:{}", self.file.display(), self.column),
        }
    }
}

/// A setting and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A cluster's or gateway's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where the section stands.
    pub place: Place,
    /// Its name.
    pub name: Option<Set<String>>,
    /// Whether it listens: without an address or port the section does nothing.
    pub listens: bool,
    /// Configured routes.
    pub routes: usize,
}

/// What keeps the server from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, as a sentence without its end.
    pub detail: String,
}

/// The settings of a server that decide which streams come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The file that was read first.
    pub file: PathBuf,
    /// Whether JetStream is on.
    pub jetstream: Option<Set<bool>>,
    /// Where the store is, as written.
    pub store_dir: Option<Set<PathBuf>>,
    /// Most bytes in files.
    pub max_file: Option<Set<i64>>,
    /// Most bytes in memory.
    pub max_mem: Option<Set<i64>>,
    /// Longest window for duplicates, in nanoseconds.
    pub duplicate_window_ns: Option<Set<i64>>,
    /// Most that a consumer may be configured to leave unacknowledged.
    pub max_ack_pending: Option<Set<i64>>,
    /// Most messages that a pull consumer may be configured to hand out at once.
    pub max_request_batch: Option<Set<i64>>,
    /// The accounts.
    pub accounts: Option<Set<BTreeMap<String, Account>>>,
    /// The account of the system.
    pub system_account: Option<Set<String>>,
    /// The server's name.
    pub server_name: Option<Set<String>>,
    /// The cluster.
    pub cluster: Option<Listener>,
    /// The gateway.
    pub gateway: Option<Listener>,
    /// Where accounts are handed to an operator.
    pub operator_mode: Option<OperatorMode>,
    /// The accounts that leafnodes to other servers are bound to.
    pub leafnodes: Vec<Set<String>>,
    /// What keeps the server from starting, in the order of the files.
    pub faults: Vec<Fault>,
}

impl ServerSettings {
    /// Reads a parsed configuration, `file` being where it began, as `server` would.
    #[must_use]
    pub fn read(document: &Map, file: &Path, server: ServerVersion) -> Self {
        let mut reader = Reader {
            server,
            faults: Vec::new(),
        };
        let mut settings = reader.top(document, file);
        reader.unresolved(document, &mut BTreeSet::new());
        settings.faults = reader.faults;
        settings.faults.sort_by(|a, b| a.place.cmp(&b.place));
        settings.faults.dedup();
        settings
    }

    /// The name of the system account.
    #[must_use]
    pub fn system_account(&self) -> &str {
        self.system_account
            .as_ref()
            .map_or("$SYS", |set| set.value.as_str())
    }

    /// A leafnode that shares the system account.
    #[must_use]
    pub fn system_leafnode(&self) -> Option<&Place> {
        let mut leafnodes = self.leafnodes.iter();
        let shared = leafnodes.find(|set| set.value == self.system_account());
        shared.map(|set| &set.place)
    }

    /// The listener that makes the server a member of a cluster.
    #[must_use]
    pub fn membership(&self) -> Option<&Listener> {
        let listeners = [&self.cluster, &self.gateway];
        let mut listeners = listeners.into_iter().flatten();
        listeners.find(|listener| listener.listens)
    }
}

pub(super) struct Reader {
    pub(super) server: ServerVersion,
    faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn fault(&mut self, entry: &Entry, detail: String) {
        self.faults.push(Fault {
            place: Place::of(entry),
            detail,
        });
    }

    pub(super) fn wrong_type(&mut self, name: &str, entry: &Entry, expected: &str) {
        if !matches!(&*entry.value, Value::Unresolved(_)) {
            let detail = format!("{name} has to be {expected}, not {}", entry.value.kind());
            self.fault(entry, detail);
        }
    }

    /// Variables that lead nowhere, wherever they are used. Values are shared, so each is looked at once.
    fn unresolved(&mut self, map: &Map, seen: &mut BTreeSet<usize>) {
        for entry in map.values() {
            self.unresolved_in(entry, seen);
        }
    }

    fn unresolved_in(&mut self, entry: &Entry, seen: &mut BTreeSet<usize>) {
        if !seen.insert(Arc::as_ptr(&entry.value) as usize) {
            return;
        }
        match &*entry.value {
            Value::Unresolved(error) => self.faults.push(Fault {
                place: error.into(),
                detail: error.problem.to_string(),
            }),
            Value::Map(map) => self.unresolved(map, seen),
            Value::List(list) => {
                for entry in list {
                    self.unresolved_in(entry, seen);
                }
            }
            _ => {}
        }
    }

    /// Fields the server does not know. One that stands for a variable may have any name: its value is shared.
    fn known(&mut self, map: &Map, section: Section) {
        for (name, entry) in map {
            let is_variable = Arc::strong_count(&entry.value) > 1;
            if !section.knows(&name.to_lowercase(), self.server) && !is_variable {
                let detail = format!("server {} knows no field {name:?} here", self.server);
                self.fault(entry, detail);
            }
        }
    }

    /// The setting under one of `names`, taken by `take`, which says what type it wants.
    fn one<T>(
        &mut self,
        map: &Map,
        names: &[&str],
        expected: &str,
        take: impl Fn(&Value) -> Option<T>,
    ) -> Option<Set<T>> {
        let mut last = None;
        for (name, entry) in find(map, names) {
            match take(&entry.value) {
                Some(value) => {
                    last = Some(Set {
                        value,
                        place: Place::of(entry),
                    });
                }
                None => self.wrong_type(name, entry, expected),
            }
        }
        last
    }

    fn text(&mut self, map: &Map, names: &[&str]) -> Option<Set<String>> {
        self.one(map, names, "a string", text)
    }

    fn integer(&mut self, map: &Map, names: &[&str]) -> Option<Set<i64>> {
        self.one(map, names, "a whole number", |value| match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        })
    }

    fn flag(&mut self, map: &Map, names: &[&str]) -> Option<Set<bool>> {
        self.one(map, names, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    fn map<'a>(&mut self, map: &'a Map, names: &'a [&'a str]) -> Option<(&'a Entry, &'a Map)> {
        let mut found = None;
        for (name, entry) in find(map, names) {
            match entry.map() {
                Some(map) => found = Some((entry, map)),
                None => self.wrong_type(name, entry, "a map"),
            }
        }
        found
    }

    fn top(&mut self, document: &Map, file: &Path) -> ServerSettings {
        self.known(document, Section::Top);
        let mut settings = ServerSettings {
            file: file.to_owned(),
            jetstream: None,
            store_dir: self.text(document, STORE_DIR).map(path),
            max_file: None,
            max_mem: None,
            duplicate_window_ns: None,
            max_ack_pending: None,
            max_request_batch: None,
            accounts: self.accounts(document),
            system_account: self.text(document, &["system_account", "system"]),
            server_name: self.text(document, &["server_name"]),
            cluster: self.listener(document, &["cluster"], Section::Cluster),
            gateway: self.listener(document, &["gateway"], Section::Gateway),
            operator_mode: self.operator_mode(document),
            leafnodes: self.leafnodes(document),
            faults: Vec::new(),
        };
        if let Some((name, entry)) = find(document, &["jetstream"]).last() {
            self.jetstream(name, entry, &mut settings);
        }
        settings
    }

    fn jetstream(&mut self, name: &str, entry: &Entry, settings: &mut ServerSettings) {
        settings.jetstream = self.switch(name, entry);
        let Some(map) = entry.map() else { return };
        self.known(map, Section::JetStream);
        if let Some(enabled) = self.flag(map, &["enable", "enabled"]) {
            settings.jetstream = Some(enabled);
        }
        let store_dir = &["store", "store_dir", "storedir"];
        if let Some(inner) = self.text(map, store_dir).map(path) {
            let place = inner.place.clone();
            let outer = settings.store_dir.replace(inner);
            self.faults.extend(outer.map(|outer| Fault {
                place,
                detail: format!(
                    "store_dir is given twice, the other time at {}",
                    outer.place
                ),
            }));
        }
        let size = "a size such as 10GB";
        settings.max_file = self.one(map, &["max_file", "max_file_store"], size, size_of);
        let memory = &["max_mem", "max_mem_store", "max_memory_store"];
        settings.max_mem = self.one(map, memory, size, size_of);
        if let Some((_, limits)) = self.map(map, &["limits"]) {
            self.known(limits, Section::JetStreamLimits);
            settings.max_ack_pending = self.integer(limits, &["max_ack_pending"]);
            settings.max_request_batch = self.integer(limits, &["max_request_batch"]);
            let window = |value: &Value| parse_duration(&text(value)?).ok();
            let names = &["duplicate_window"];
            settings.duplicate_window_ns =
                self.one(limits, names, "a duration such as \"2m\"", window);
        }
    }

    /// `jetstream`, of the server or of an account: a word, or a map, which means on.
    fn switch(&mut self, name: &str, entry: &Entry) -> Option<Set<bool>> {
        let value = match &*entry.value {
            Value::Map(_) => true,
            Value::Flag(flag) => *flag,
            Value::Text(_) => match text(&entry.value)?.to_lowercase().as_str() {
                "enabled" | "enable" => true,
                "disabled" | "disable" => false,
                _ => {
                    self.fault(entry, format!("{name} has to be enabled or disabled"));
                    return None;
                }
            },
            _ => {
                self.wrong_type(name, entry, "a map, true or false, enabled or disabled");
                return None;
            }
        };
        Some(Set {
            value,
            place: Place::of(entry),
        })
    }

    fn accounts(&mut self, document: &Map) -> Option<Set<BTreeMap<String, Account>>> {
        let (name, entry) = find(document, &["accounts"]).last()?;
        let mut accounts = BTreeMap::new();
        match &*entry.value {
            Value::List(list) => {
                for entry in list {
                    match text(&entry.value) {
                        Some(name) => self.account(&name, entry, None, &mut accounts),
                        None => self.wrong_type("an account's name", entry, "a string"),
                    }
                }
            }
            Value::Map(map) => {
                for (name, entry) in map {
                    match entry.map() {
                        // A variable that the accounts share.
                        _ if Arc::strong_count(&entry.value) > 1 => {}
                        Some(map) => self.account(name, entry, Some(map), &mut accounts),
                        None => self.wrong_type(name, entry, "a map"),
                    }
                }
            }
            _ => self.wrong_type(name, entry, "a map"),
        }
        Some(Set {
            value: accounts,
            place: Place::of(entry),
        })
    }

    fn account(
        &mut self,
        name: &str,
        entry: &Entry,
        map: Option<&Map>,
        accounts: &mut BTreeMap<String, Account>,
    ) {
        if name == "$G" {
            let detail = "the name $G belongs to the server: no account may be called so";
            self.fault(entry, detail.to_owned());
            return;
        }
        let mut account = Account::at(Place::of(entry));
        if let Some(map) = map {
            self.known(map, Section::Account);
            if let Some((name, entry)) = find(map, &["jetstream"]).last() {
                account.jetstream = self.switch(name, entry);
                if let Some(limits) = entry.map() {
                    self.known(limits, Section::AccountJetStream);
                    account.limits = self.limits(limits);
                }
            }
        }
        accounts.insert(name.to_owned(), account);
    }

    fn limits(&mut self, map: &Map) -> Limits {
        let required = &["max_bytes_required", "max_stream_bytes", "max_bytes"];
        Limits {
            max_store: self.integer(map, &["max_store", "max_file", "max_disk", "store", "disk"]),
            max_memory: self.integer(map, &["max_memory", "max_mem", "mem", "memory"]),
            disk_max_stream_bytes: self
                .integer(map, &["disk_max_stream_bytes", "store_max_stream_bytes"]),
            max_bytes_required: self.flag(map, required),
            max_ack_pending: self.integer(map, &["max_ack_pending"]),
            max_consumers: self.integer(map, &["max_consumers", "consumers"]),
        }
    }

    fn listener(
        &mut self,
        document: &Map,
        names: &'static [&'static str],
        section: Section,
    ) -> Option<Listener> {
        let (entry, map) = self.map(document, names)?;
        self.known(map, section);
        let port = |value: &Value| match value {
            Value::Integer(port) => Some(*port),
            _ => text(value)?.rsplit_once(':')?.1.parse().ok(),
        };
        let address = self.one(map, &["listen"], "a port, or a host and port", port);
        let address = self.integer(map, &["port"]).or(address);
        let routes = find(map, &["routes"]).map(|(_, entry)| match &*entry.value {
            Value::List(list) => list.len(),
            _ => 1,
        });
        Some(Listener {
            place: Place::of(entry),
            routes: routes.sum(),
            name: self.text(map, &["name"]),
            listens: address.is_some_and(|port| port.value != 0),
        })
    }

    /// The account that each remote of a leafnode is bound to.
    fn leafnodes(&mut self, document: &Map) -> Vec<Set<String>> {
        let Some((_, leafnodes)) = self.map(document, &["leafnodes", "leaf"]) else {
            return Vec::new();
        };
        let remotes = find(leafnodes, &["remotes"]).flat_map(|(_, entry)| match &*entry.value {
            Value::List(list) => list.as_slice(),
            _ => &[],
        });
        let bound = remotes.filter_map(|remote| {
            let names: &[&str] = &["account", "local"];
            let (_, account) = find(remote.map()?, names).last()?;
            Some(Set {
                value: account.text()?.to_owned(),
                place: Place::of(remote),
            })
        });
        bound.collect()
    }
}

const STORE_DIR: &[&str] = &["store_dir", "storedir"];
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => String::from_utf8(text.bytes().to_vec()).ok(),
        _ => None,
    }
}

fn path(set: Set<String>) -> Set<PathBuf> {
    Set {
        value: set.value.into(),
        place: set.place,
    }
}

/// A size: a number, its unit applied, or a string that ends in K, M, G or T.
fn size_of(value: &Value) -> Option<i64> {
    if let Value::Integer(number) = value {
        return Some(*number);
    }
    let text = text(value)?;
    if text.is_empty() {
        return Some(0);
    }
    let shift = match text.chars().last()? {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return None,
    };
    let number: i64 = text.get(..text.len() - 1)?.parse().ok()?;
    number.checked_mul(1 << shift)
}
