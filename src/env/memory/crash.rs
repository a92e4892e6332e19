//! What is left when the power goes: of everything that was not synced whatever the disk pleases.

use super::MemoryFileSystem;
use super::state::{ByteChange, Content, Node, State};

/// What becomes of bytes and names that no sync had made durable when the machine stopped.
///
/// A process that is killed loses nothing of them; its machine may lose any of them, in any order, in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it is there: only the process died ([`MemoryFileSystem::fork`]).
    Kept,
    /// None of it is there.
    Dropped,
    /// Each write is there, or not, or its beginning alone, and each change of a name is there or not, all by the seed:
    /// later ones may survive earlier ones.
    Torn {
        /// The same seed leaves the same.
        seed: u64,
    },
}

impl MemoryFileSystem {
    /// The disk as the machine finds it when it comes back, with an empty log and no faults; all of it is durable then.
    #[must_use]
    pub fn crash_image(&self, unsynced: Unsynced) -> Self {
        let image = self.fork();
        let mut state = image.state.lock();
        match unsynced {
            Unsynced::Kept => {}
            Unsynced::Dropped => lose(&mut state, &mut |_| Fate::Lost),
            Unsynced::Torn { seed } => {
                let mut draw = seed;
                lose(&mut state, &mut |length| Fate::drawn(&mut draw, length));
            }
        }
        state.sync_all();
        drop(state);
        image
    }

    /// What may be left where the process or the machine stops now: everything, nothing of what was not synced, and as many
    /// mixtures as asked for, by the seed.
    #[must_use]
    pub fn crash_images(&self, seed: u64, mixture_count: u64) -> Vec<Self> {
        let mixed = (0..mixture_count).map(|nth| Unsynced::Torn {
            seed: seed.wrapping_mul(mixture_count).wrapping_add(nth),
        });
        let all = [Unsynced::Kept, Unsynced::Dropped].into_iter().chain(mixed);
        all.map(|unsynced| self.crash_image(unsynced)).collect()
    }
}

enum Fate {
    Kept,
    /// The first so many bytes of a write.
    Torn(usize),
    Lost,
}

impl Fate {
    fn drawn(state: &mut u64, length: usize) -> Self {
        let drawn = super::next_random(state);
        match drawn % 3 {
            0 => Fate::Kept,
            1 if length > 0 => Fate::Torn((drawn >> 8) as usize % length),
            _ => Fate::Lost,
        }
    }
}

/// Takes every file and every directory back to what is durable, and lets `fate` decide on each change since. It is told how
/// many bytes a write has, 0 for what cannot be torn.
fn lose(state: &mut State, fate: &mut dyn FnMut(usize) -> Fate) {
    for node in state.nodes_mut() {
        match node {
            Node::File(content) => lose_bytes(content, fate),
            Node::Dir(dir) => dir.names = dir.durable.clone(),
        }
    }
    for change in std::mem::take(&mut state.unsynced_names) {
        if matches!(fate(0), Fate::Kept) {
            state.set_names(&change, |dir| &mut dir.names);
        }
    }
}

fn lose_bytes(content: &mut Content, fate: &mut dyn FnMut(usize) -> Fate) {
    let changes = std::mem::take(&mut content.unsynced);
    content.bytes = content.durable.clone();
    for change in changes {
        let length = match &change {
            ByteChange::Write { bytes, .. } => bytes.len(),
            ByteChange::Length(_) => 0,
        };
        match (fate(length), change) {
            (Fate::Lost, _) => {}
            (Fate::Torn(kept), ByteChange::Write { offset, mut bytes }) => {
                bytes.truncate(kept);
                ByteChange::Write { offset, bytes }.apply(&mut content.bytes);
            }
            (Fate::Kept | Fate::Torn(_), change) => change.apply(&mut content.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::env::{FileSystem, ReadFiles};

    fn path(path: &str) -> PathBuf {
        PathBuf::from(path)
    }

    fn system() -> MemoryFileSystem {
        MemoryFileSystem::with_files([("/s/1.blk", b"one".to_vec()), ("/s/2.blk", b"two".to_vec())])
    }

    /// Every image that a thousand seeds leave.
    fn torn(system: &MemoryFileSystem) -> BTreeSet<Vec<(PathBuf, Vec<u8>)>> {
        (0..1000)
            .map(|seed| {
                let image = system.crash_image(Unsynced::Torn { seed });
                image.files().into_iter().collect()
            })
            .collect()
    }

    #[test]
    fn appended_bytes_are_there_in_part_until_they_are_synced() {
        let system = system();
        let mut file = system.open_append(Path::new("/s/1.blk"), None).unwrap();
        file.append(&[b"ab"]).unwrap();
        file.append(&[b"cd"]).unwrap();
        let content = |image: &MemoryFileSystem| image.files()[Path::new("/s/1.blk")].clone();
        assert_eq!(content(&system.crash_image(Unsynced::Kept)), b"oneabcd");
        assert_eq!(content(&system.crash_image(Unsynced::Dropped)), b"one");
        let seen: BTreeSet<Vec<u8>> = torn(&system)
            .into_iter()
            .map(|files| files[0].1.clone())
            .collect();
        // Nothing, the first, half of it, and the second alone behind zeros.
        for expected in [
            &b"one"[..],
            b"oneab",
            b"onea",
            b"oneabcd",
            b"one\0\0cd",
            b"onea\0c",
        ] {
            assert!(seen.contains(expected), "{expected:?}");
        }
        file.sync().unwrap();
        assert_eq!(torn(&system).len(), 1);
        assert_eq!(content(&system.crash_image(Unsynced::Dropped)), b"oneabcd");
        // A killed process loses nothing, and the machine may still lose it later.
        file.append(&[b"e"]).unwrap();
        let next = system.fork();
        assert_eq!(content(&next), b"oneabcde");
        assert_eq!(content(&next.crash_image(Unsynced::Dropped)), b"oneabcd");
    }

    #[test]
    fn a_name_is_durable_once_its_directory_is_synced() {
        let system = system();
        system.write_in_place(&path("/s/3.blk"), b"three").unwrap();
        system.sync_file(&path("/s/3.blk")).unwrap();
        system.rename(&path("/s/2.blk"), &path("/s/4.blk")).unwrap();
        let names = |files: &MemoryFileSystem| -> Vec<String> {
            let entries = files.list(Path::new("/s")).unwrap();
            entries
                .into_iter()
                .map(|entry| entry.name.into_string().unwrap())
                .collect()
        };
        assert_eq!(
            names(&system.crash_image(Unsynced::Dropped)),
            ["1.blk", "2.blk"]
        );
        assert_eq!(torn(&system).len(), 4);
        system.sync_dir(Path::new("/s")).unwrap();
        assert_eq!(
            names(&system.crash_image(Unsynced::Dropped)),
            ["1.blk", "3.blk", "4.blk"]
        );
        assert_eq!(torn(&system).len(), 1);
    }

    #[test]
    fn a_rename_between_directories_is_never_half_there() {
        let system = system();
        system.create_dir_all(&path("/t"), 0o700).unwrap();
        system.sync_dir(Path::new("/")).unwrap();
        system.rename(&path("/s/1.blk"), &path("/t/1.blk")).unwrap();
        for files in torn(&system) {
            let ones = files.iter().filter(|(_, bytes)| bytes == b"one").count();
            assert_eq!(ones, 1, "{files:?}");
        }
        system.sync_dir(Path::new("/t")).unwrap();
        let left = system.crash_image(Unsynced::Dropped).files();
        assert!(left.contains_key(Path::new("/t/1.blk")));
        assert!(!left.contains_key(Path::new("/s/1.blk")));
    }

    #[test]
    fn an_atomic_replacement_is_durable_and_never_torn() {
        let system = system();
        system
            .write_atomically(&path("/s/1.blk"), b"new", None)
            .unwrap();
        assert_eq!(torn(&system).len(), 1);
        let left = system.crash_image(Unsynced::Dropped).files();
        assert_eq!(left[Path::new("/s/1.blk")], b"new");
    }

    #[test]
    fn a_directory_that_is_not_durable_takes_what_is_in_it_along() {
        let system = system();
        system.create_dir_all(&path("/u/msgs"), 0o700).unwrap();
        system
            .write_atomically(&path("/u/msgs/1.blk"), b"x", None)
            .unwrap();
        let left = system.crash_image(Unsynced::Dropped);
        assert_eq!(left.files().len(), 2);
        system.sync_dir(Path::new("/u")).unwrap();
        system.sync_dir(Path::new("/")).unwrap();
        assert_eq!(system.crash_image(Unsynced::Dropped).files().len(), 3);
    }
}
