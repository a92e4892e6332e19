//! How a configuration hands its accounts to an operator: whose tokens are believed, and where those of accounts are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::settings::{Place, Reader, Set};
use crate::format::nkey::{Owner, is_key_of};
use crate::server_config::token::AccountClaims;
use crate::server_config::{Entry, Map, Value, find};

/// Where tokens of accounts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolver {
    /// The configuration.
    Memory,
    /// A server that is asked by HTTP.
    Url,
    /// A directory of the server's, and the other servers of the cluster.
    Directory {
        /// The directory, as written: relative to where the server was started.
        dir: PathBuf,
    },
}

/// A configuration that takes its accounts from tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorMode {
    /// Where that is said.
    pub place: Place,
    /// The operators' tokens, or the files they are in.
    pub operators: Vec<Set<String>>,
    /// Public keys of operators, without tokens.
    pub keys: Vec<Set<String>>,
    /// Where tokens of accounts come from, where it is said.
    pub resolver: Option<Set<Resolver>>,
    /// Where tokens are handed to the resolver.
    pub preloads: Option<Place>,
    /// The tokens handed to it, by the account's public key.
    pub preload: BTreeMap<String, Set<AccountClaims>>,
    /// Users that are configured outside of any account.
    pub users: Option<Place>,
}

const OPERATOR: &[&str] = &[
    "operator",
    "operators",
    "roots",
    "root",
    "root_operators",
    "root_operator",
];
const KEYS: &[&str] = &["trusted", "trusted_keys"];
const RESOLVER: &[&str] = &["resolver", "account_resolver", "accounts_resolver"];

impl Reader {
    pub(super) fn operator_mode(&mut self, document: &Map) -> Option<OperatorMode> {
        let operators = self.texts(document, OPERATOR);
        let keys = self.texts(document, KEYS);
        for (entry, key) in &keys {
            if !is_key_of(Owner::Operator, &key.value) {
                let detail = "a trusted key has to be the public key of an operator";
                self.fault(entry, detail.to_owned());
            }
        }
        let resolver = self.resolver(document);
        let preloads = find(document, &["resolver_preload"]).last();
        let preload = preloads.map(|(name, entry)| self.preload(name, entry));
        let place = operators.first().or(keys.first())?.1.place.clone();
        Some(OperatorMode {
            place,
            operators: operators.into_iter().map(|(_, set)| set).collect(),
            keys: keys.into_iter().map(|(_, set)| set).collect(),
            resolver,
            preloads: preloads.map(|(_, entry)| Place::of(entry)),
            preload: preload.unwrap_or_default(),
            users: users(document),
        })
    }

    /// A string, or a list of them.
    fn texts<'a>(
        &mut self,
        document: &'a Map,
        names: &'static [&'static str],
    ) -> Vec<(&'a Entry, Set<String>)> {
        let Some((name, entry)) = find(document, names).last() else {
            return Vec::new();
        };
        let entries = match &*entry.value {
            Value::List(list) => list.as_slice(),
            _ => std::slice::from_ref(entry),
        };
        let mut texts = Vec::new();
        for entry in entries {
            match entry.text() {
                Some(text) => texts.push((
                    entry,
                    Set {
                        value: text.to_owned(),
                        place: Place::of(entry),
                    },
                )),
                None => self.wrong_type(name, entry, "a string, or a list of strings"),
            }
        }
        texts
    }

    fn resolver(&mut self, document: &Map) -> Option<Set<Resolver>> {
        let (name, entry) = find(document, RESOLVER).last()?;
        let value = match &*entry.value {
            Value::Text(_) => {
                // A server looks for these words anywhere in the text.
                let text = entry.text().unwrap_or_default().to_lowercase();
                match (text.contains("mem"), text.contains("url")) {
                    (true, _) => Resolver::Memory,
                    (false, true) => Resolver::Url,
                    _ => {
                        let detail = format!("{name} has to be MEMORY, URL(…) or a map");
                        self.fault(entry, detail);
                        return None;
                    }
                }
            }
            Value::Map(map) => self.resolver_of(name, entry, map)?,
            _ => {
                self.wrong_type(name, entry, "MEMORY, URL(…) or a map");
                return None;
            }
        };
        Some(Set {
            value,
            place: Place::of(entry),
        })
    }

    /// A resolver that is described by a map, whose keys are taken as they are written.
    fn resolver_of(&mut self, name: &str, entry: &Entry, map: &Map) -> Option<Resolver> {
        let text = |key: &str| map.get(key).and_then(Entry::text);
        let is = |key: &str| {
            matches!(
                map.get(key).map(|entry| &*entry.value),
                Some(Value::Flag(true))
            )
        };
        let kind = text("type").unwrap_or_default().to_uppercase();
        let refused = match kind.as_str() {
            "MEM" | "MEMORY" => return Some(Resolver::Memory),
            "FULL" if map.contains_key("ttl") => Some("ttl"),
            "FULL" if map.contains_key("hard_delete") && !is("allow_delete") => Some("hard_delete"),
            "CACHE" if map.contains_key("interval") => Some("interval"),
            "CACHE" if is("allow_delete") => Some("allow_delete"),
            "CACHE" if map.contains_key("hard_delete") => Some("hard_delete"),
            "FULL" | "CACHE" => None,
            _ => {
                let detail = format!("the type of {name} has to be full, cache or mem");
                self.fault(map.get("type").unwrap_or(entry), detail);
                return None;
            }
        };
        if let Some(key) = refused {
            let detail = format!("{name} of type {kind} does not go with {key}");
            self.fault(map.get(key).unwrap_or(entry), detail);
            return None;
        }
        let Some(dir) = text("dir").filter(|dir| !dir.is_empty()) else {
            let detail = format!("{name} of type {kind} has to have a dir");
            self.fault(map.get("dir").unwrap_or(entry), detail);
            return None;
        };
        Some(Resolver::Directory { dir: dir.into() })
    }

    fn preload(&mut self, name: &str, entry: &Entry) -> BTreeMap<String, Set<AccountClaims>> {
        let mut preload = BTreeMap::new();
        let Some(map) = entry.map() else {
            self.wrong_type(
                name,
                entry,
                "a map of accounts' public keys to their tokens",
            );
            return preload;
        };
        for (key, entry) in map {
            let Some(token) = entry.text() else {
                self.wrong_type(key, entry, "a token");
                continue;
            };
            match AccountClaims::decode(token.as_bytes()) {
                Ok(value) => {
                    let place = Place::of(entry);
                    preload.insert(key.clone(), Set { value, place });
                }
                Err(problem) => {
                    let detail =
                        format!("the token of the account {key} cannot be read: {problem}");
                    self.fault(entry, detail);
                }
            }
        }
        preload
    }
}

/// The first user that is configured outside of accounts.
fn users(document: &Map) -> Option<Place> {
    let (_, authorization) = find(document, &["authorization"]).last()?;
    let (_, users) = find(authorization.map()?, &["users"]).last()?;
    match &*users.value {
        Value::List(list) if !list.is_empty() => Some(Place::of(users)),
        _ => None,
    }
}
