//! The damaged stores, by the row or section of the recovery reference they belong to.

#![allow(
    clippy::too_many_lines,
    reason = "the cases are tables, a line or a few for each"
)]

mod blocks;
mod consumers;
mod files;
mod index;
mod keys;
mod limits;
mod merge;
mod sources;
mod timers;
mod trusted;
mod walk;

use jetsam::crypto::Cipher;
use serde_json::{Map, Value, json};

use crate::record::msgs;
use crate::store::Store;

/// One damaged store.
pub struct Case {
    /// Row or section.
    pub id: &'static str,
    /// A few words for the directory's name.
    pub slug: &'static str,
    /// What is wrong and what the server makes of it, in one line.
    pub note: &'static str,
    /// The store.
    pub store: Store,
    request: Map<String, Value>,
}

impl Case {
    /// Name of its directory.
    pub fn dir_name(&self) -> String {
        format!("{}-{}", self.id, self.slug)
    }

    /// What the oracle is told besides the directory.
    pub fn request(&self) -> Map<String, Value> {
        let mut request = Map::new();
        if let Some(sealing) = &self.store.sealing {
            request.insert("key".into(), json!(sealing.key));
            request.insert("cipher".into(), json!(sealing.cipher.name()));
        }
        for (name, value) in &self.request {
            request.insert(name.clone(), value.clone());
            if value.is_null() {
                request.remove(name);
            }
        }
        request
    }

    /// Adds to the request, or takes out of it with null.
    fn ask(mut self, name: &str, value: Value) -> Self {
        self.request.insert(name.to_owned(), value);
        self
    }

    fn ask_cipher(self, cipher: Cipher) -> Self {
        self.ask("cipher", json!(cipher.name()))
    }
}

/// A case built by `build`.
fn case(
    id: &'static str,
    slug: &'static str,
    note: &'static str,
    build: impl FnOnce(&mut Store),
) -> Case {
    let mut store = Store::new();
    build(&mut store);
    Case {
        id,
        slug,
        note,
        store,
        request: Map::new(),
    }
}

/// Two blocks, messages 1 to 4 and 5 to 7.
fn two_blocks(store: &mut Store) {
    store.block(1, msgs(1..=4)).block(2, msgs(5..=7));
}

/// Three blocks, messages 1 to 3, 4 to 6 and 7 to 9.
fn three_blocks(store: &mut Store) {
    store
        .block(1, msgs(1..=3))
        .block(2, msgs(4..=6))
        .block(3, msgs(7..=9));
}

/// Every case, in the order of the reference.
pub fn all() -> Vec<Case> {
    [
        index::rows(),
        trusted::details(),
        trusted::prior(),
        blocks::names(),
        keys::all(),
        files::legacy(),
        files::loading(),
        walk::checks(),
        walk::classes(),
        walk::notes(),
        walk::endings(),
        walk::special(),
        merge::merging(),
        merge::after(),
        merge::tombstones(),
        merge::subjects(),
        timers::files(),
        timers::stamps(),
        timers::headers(),
        sources::all(),
        limits::age(),
        limits::limits(),
        blocks::staging(),
        consumers::metadata(),
        consumers::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
