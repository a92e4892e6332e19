//! Making cases: an undamaged store, and a plan of mutations for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::mutate::{Mutator, mutate};
use crate::oracle::Ask;
use crate::random::Random;
use crate::run::{Bench, Case};
use crate::tree::Tree;

/// An undamaged store.
#[derive(Debug, Clone)]
pub struct Base {
    pub seed: u64,
    pub origin: String,
    pub tree: Tree,
    pub ask: Ask,
}

/// The mutations of a seed, each a seed of its own.
pub fn plan(seed: u64) -> (Vec<u64>, u64) {
    let mut random = Random::new(seed ^ 0x6A65_7473_616D);
    let count = random.weighted(&[10, 40, 33, 17]);
    let plan = (0..count).map(|_| random.next()).collect();
    let block_size = if random.chance(10) {
        256 << random.below(6)
    } else {
        0
    };
    (plan, block_size)
}

impl Base {
    /// The random store of a seed. `None` where the oracle writes none.
    pub fn random(bench: &mut Bench, seed: u64, block_size: u64) -> io::Result<Option<Base>> {
        let mut ask = Ask {
            account: "A".into(),
            stream: "S".into(),
            block_size,
            ..Ask::default()
        };
        let dir = bench.place("base", &ask)?;
        let written = bench.oracle.random(seed, &dir)?;
        if written.outcome != "written" {
            return Ok(None);
        }
        ask.key = written.key;
        ask.cipher = written.cipher;
        let origin = format!(
            "random store {seed}, {}",
            if written.clean { "stopped" } else { "crashed" }
        );
        let mut tree = Tree::load(&dir)?;
        // A crash may catch the server rewriting a block, or not: a seed is to mean the same each time.
        tree.0.retain(|name, _| !name.ends_with(".tmp"));
        Ok(Some(Base {
            seed,
            origin,
            tree,
            ask,
        }))
    }

    /// One of the stores that real servers wrote.
    pub fn fixture(dir: &Path, seed: u64) -> io::Result<Base> {
        let parts: Vec<String> = dir
            .iter()
            .rev()
            .take(6)
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let part = |at: usize| parts.get(at).cloned().unwrap_or_default();
        let (stream, account, case) = (part(0), part(2), part(4));
        let cipher = ["chacha", "aes"]
            .into_iter()
            .find(|cipher| case.contains(cipher));
        let ask = Ask {
            account,
            stream,
            key: cipher
                .map(|_| "sekret-fixture-key".to_string())
                .unwrap_or_default(),
            cipher: cipher.unwrap_or_default().into(),
            ..Ask::default()
        };
        let mut tree = Tree::load(dir)?;
        for needed in ["msgs", "obs"] {
            tree.0.entry(needed.into()).or_insert(None);
        }
        Ok(Base {
            seed,
            origin: format!("{} {}", part(5), dir.display()),
            tree,
            ask,
        })
    }

    /// The store after a plan of mutations.
    pub fn case(&self, bench: &mut Bench, plan: &[u64]) -> io::Result<Case> {
        let mut case = Case {
            seed: self.seed,
            origin: self.origin.clone(),
            tree: self.tree.clone(),
            ask: self.ask.clone(),
            mutations: vec![],
        };
        for seed in plan {
            let mut older = |tree: &Tree, ask: &Ask| {
                let dir = bench.lay_out("older", tree, ask).ok()?;
                let answer = bench.oracle.open(&dir, ask, false).ok()?;
                (answer.outcome == "opened").then(|| Tree::load(&dir).ok())?
            };
            let mut mutator = Mutator {
                tree: &mut case.tree,
                ask: &mut case.ask,
                random: &mut Random::new(*seed),
                older: &mut older,
            };
            case.mutations.extend(mutate(&mut mutator));
        }
        Ok(case)
    }
}

/// The stream directories below `testdata/golden`.
pub fn fixtures(golden: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    let mut pending = vec![golden.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir()
                && path
                    .parent()
                    .is_some_and(|parent| parent.ends_with("streams"))
            {
                found.push(path);
            } else if path.is_dir() && !path.ends_with("verdict") {
                pending.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
