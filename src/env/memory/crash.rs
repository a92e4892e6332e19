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
