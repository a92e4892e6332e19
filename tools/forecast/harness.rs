//! Cases from the fault harness: stores of each way in which a server lays a stream out, with damage of every kind. What the
//! damage touched is known there, so everything else that is gone has to be foretold.

use std::collections::BTreeSet;
use std::io;

use jetsam::crypto::Cipher;
use jetsam::env::memory::MemoryFileSystem;
use jetsam::format::seqset::SeqSet;
use jetsam::testing::damage::Damage;
use jetsam::testing::workload::{ACCOUNT, STREAM};
use jetsam::testing::{DamageKind, Layout, Store, StoreKind, Sweep, Workload};

use crate::make::Base;
use crate::oracle::Ask;
use crate::run::Case;
use crate::tree::Tree;

/// Where the random choices of the stores and the damage start.
const SEED: u64 = 27;

/// The size of one store.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub messages: u64,
    pub block_bytes: u64,
}

/// One store, and how it was laid out.
pub struct Ground {
    pub kind: StoreKind,
    pub base: Base,
    store: Store,
    layout: Layout,
}

/// Everything there is to ask: the stores, and how many of each damage.
pub struct Grounds {
    pub grounds: Vec<Ground>,
    damages: Vec<DamageKind>,
    count: u64,
}

/// A damaged store.
pub struct Hit {
    pub case: Case,
    pub known: Known,
}

/// What is known of a damage.
pub struct Known {
    /// Messages whose bytes were touched, or those of their block's key.
    pub touched: BTreeSet<u64>,
    /// Messages that a purge had given up.
    pub given_up: BTreeSet<u64>,
}

impl Ground {
    fn make(kind: StoreKind, size: Size) -> Result<Self, String> {
        let workload = Workload::new(kind, size.messages, SEED).with_block_size(size.block_bytes);
        let store = workload.build().map_err(|error| error.to_string())?;
        let layout = Layout::read(&store.files, &store.stream, &store.access)?;
        let text = |bytes: &Option<Vec<u8>>| {
            String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
        };
        let ask = Ask {
            account: ACCOUNT.into(),
            stream: STREAM.into(),
            key: text(&store.access.key),
            cipher: match store.access.cipher {
                Some(Cipher::ChaCha) => "chacha".into(),
                Some(Cipher::Aes) => "aes".into(),
                None => String::new(),
            },
            block_size: size.block_bytes,
            ..Ask::default()
        };
        let base = Base {
            seed: SEED,
            origin: format!("{} messages, {}", size.messages, kind.name()),
            tree: tree_of(&store.files, &store),
            ask,
        };
        Ok(Ground {
            kind,
            base,
            store,
            layout,
        })
    }
}

impl Grounds {
    /// Stores of all six kinds, each to be damaged `count` times in every way.
    pub fn make(
        kinds: &[StoreKind],
        damages: &[DamageKind],
        count: u64,
        size: Size,
    ) -> io::Result<Self> {
        let grounds = kinds.iter().map(|kind| Ground::make(*kind, size));
        Ok(Grounds {
            grounds: grounds
                .collect::<Result<_, _>>()
                .map_err(io::Error::other)?,
            damages: damages.to_vec(),
            count,
        })
    }

    pub fn len(&self) -> u64 {
        self.grounds.len() as u64 * self.damages.len() as u64 * self.count
    }

    /// Case `index` of [`Grounds::len`]; no hit where the store has nothing to do such damage to.
    pub fn case(&self, index: u64) -> io::Result<Option<(&Ground, Hit)>> {
        let per_ground = self.damages.len() as u64 * self.count;
        let ground = &self.grounds[(index / per_ground) as usize];
        let kind = self.damages[(index % per_ground / self.count) as usize];
        let sweep = Sweep {
            store: &ground.store,
            damages: &self.damages,
            count: self.count,
            first: 0,
            seed: SEED,
            recoverers: &[],
            threads: 1,
        };
        let damaged = sweep.damaged(kind, index % self.count, &ground.layout);
        let Some((files, damage)) = damaged.map_err(io::Error::other)? else {
            return Ok(None);
        };
        let case = Case {
            seed: index,
            origin: ground.base.origin.clone(),
            tree: tree_of(&files, &ground.store),
            ask: ground.base.ask.clone(),
            mutations: vec![damage.to_string()],
        };
        let known = known(&damage);
        Ok(Some((ground, Hit { case, known })))
    }
}

fn known(damage: &Damage) -> Known {
    let both = |one: &SeqSet, other: &SeqSet| one.iter().chain(other.iter()).collect();
    Known {
        touched: both(&damage.touched.messages, &damage.behind_keys),
        given_up: both(&damage.purged, &damage.undecided),
    }
}

fn tree_of(files: &MemoryFileSystem, store: &Store) -> Tree {
    let mut tree = Tree::default();
    let below = |path: &std::path::Path| {
        let relative = path.strip_prefix(&store.stream.dir).ok()?;
        let name = relative.to_str()?.to_owned();
        (!name.is_empty()).then_some(name)
    };
    for dir in files.dirs() {
        if let Some(name) = below(&dir) {
            tree.0.insert(name, None);
        }
    }
    for (path, bytes) in files.files() {
        if let Some(name) = below(&path) {
            tree.put(name, bytes);
        }
    }
    tree
}
