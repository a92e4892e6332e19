//! A stream directory in memory, so that mutations and comparisons need no disk.

use jetsam::format::names::BlockFile;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;
use std::{fs, io};

/// Files by path relative to the stream directory; `None` is a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Option<Vec<u8>>>);

impl Tree {
    pub fn load(dir: &Path) -> io::Result<Tree> {
        let mut tree = Tree::default();
        tree.load_below(dir, "")?;
        Ok(tree)
    }

    fn load_below(&mut self, dir: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.0.insert(name.clone(), None);
                self.load_below(&entry.path(), &format!("{name}/"))?;
            } else {
                self.0.insert(name, Some(fs::read(entry.path())?));
            }
        }
        Ok(())
    }

    pub fn store(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        for (name, content) in &self.0 {
            let path = dir.join(name);
            match content {
                None => fs::create_dir_all(path)?,
                Some(bytes) => {
                    if let Some(parent) = path.parent() {
                        fs::create_dir_all(parent)?;
                    }
                    fs::write(path, bytes)?;
                }
            }
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Vec<u8>> {
        self.0.get(name)?.as_ref()
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.0.get_mut(name)?.as_mut()
    }

    /// Puts a file in, with the directories above it.
    pub fn put(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        let name = name.into();
        for (at, _) in name.match_indices('/') {
            let above = name.get(..at).unwrap_or_default();
            self.0.entry(above.into()).or_insert(None);
        }
        self.0.insert(name, Some(bytes));
    }

    pub fn remove(&mut self, name: &str) -> Option<Vec<u8>> {
        self.0.remove(name).flatten()
    }

    /// Paths of the regular files for which `wanted` holds.
    pub fn files(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let files = self.0.iter().filter(|(_, content)| content.is_some());
        files
            .map(|(name, _)| name.clone())
            .filter(|name| wanted(name))
            .collect()
    }

    /// Numbers of the canonically named blocks, ascending.
    pub fn blocks(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self
            .files(|_| true)
            .iter()
            .filter_map(|name| {
                name.strip_prefix("msgs/")?
                    .strip_suffix(".blk")?
                    .parse()
                    .ok()
            })
            .filter(|number| self.get(&block_path(*number)).is_some())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

pub fn block_path(number: u32) -> String {
    BlockFile::Block.path(number)
}

pub fn key_path(number: u32) -> String {
    BlockFile::Key.path(number)
}

/// Everything a reader could have touched: paths, lengths, modification times.
pub fn times(dir: &Path) -> io::Result<BTreeMap<String, (u64, SystemTime)>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
        let length = if meta.is_dir() { 0 } else { meta.len() };
        found.insert(path.display().to_string(), (length, meta.modified()?));
    }
    Ok(found)
}
