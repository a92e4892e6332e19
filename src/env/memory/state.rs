//! What the twin remembers, and the changes to it.
//!
//! Files and directories are numbered nodes, and a directory maps names to numbers; so two names can share a file, an open
//! file outlives its name, and a directory is renamed with all it holds. Of every file and every directory there are two
//! pictures: what a program sees now, and what is durable. In between lies a list of what was not synced, from which a
//! crash keeps what it pleases ([`super::crash`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Call, Fault};
use crate::env::{DEFAULT_DIR_MODE, DEFAULT_FILE_MODE, IoError, Operation};

/// Number of a node.
pub(super) type NodeId = usize;

/// The root directory.
const ROOT: NodeId = 0;

/// The working directory.
const WORKING: NodeId = 1;

#[derive(Debug, Clone)]
pub(super) struct State {
    nodes: Vec<Node>,
    /// Changes of names that no sync has made durable, in order.
    pub(super) unsynced_names: Vec<NameChange>,
    pub(super) log: Vec<Call>,
    pub(super) faults: Vec<Fault>,
    pub(super) crashes: Option<Crashes>,
    pub(super) reads: HashMap<PathBuf, usize>,
    pub(super) locks: HashSet<PathBuf>,
    /// What the disk is said to hold at most.
    pub(super) capacity_bytes: Option<u64>,
}

/// What is left by crashes that are kept call by call.
#[derive(Debug, Clone)]
pub(super) struct Crashes {
    pub(super) written: fn(usize) -> Option<usize>,
    pub(super) left: Vec<(usize, State)>,
}

impl Crashes {
    pub(super) fn take(&mut self) -> Vec<(usize, State)> {
        std::mem::take(&mut self.left)
    }
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Dir(Directory),
    File(Content),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    pub(super) mode: u32,
    pub(super) names: BTreeMap<OsString, NodeId>,
    pub(super) durable: BTreeMap<OsString, NodeId>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    pub(super) modified_ns: i64,
    pub(super) durable: Vec<u8>,
    /// Changes of bytes and length since the last sync, in order.
    pub(super) unsynced: Vec<ByteChange>,
}

/// One change of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ByteChange {
    /// Bytes written from an offset on.
    Write { offset: usize, bytes: Vec<u8> },
    /// A new length; what it adds is zeros.
    Length(usize),
}

impl ByteChange {
    /// Does it to `bytes`.
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            ByteChange::Length(length) => bytes.resize(*length, 0),
            ByteChange::Write {
                offset,
                bytes: written,
            } => {
                let end = offset.saturating_add(written.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(place) = bytes.get_mut(*offset..end) {
                    place.copy_from_slice(written);
                }
            }
        }
    }
}

/// A name in a directory.
pub(super) type Name = (NodeId, OsString);

/// One change of names: one goes, one comes, or both at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameChange {
    pub(super) gone: Option<Name>,
    pub(super) put: Option<(Name, NodeId)>,
}

impl NameChange {
    /// The directories it touches.
    fn dirs(&self) -> impl Iterator<Item = NodeId> {
        let gone = self.gone.as_ref().map(|(dir, _)| *dir);
        gone.into_iter()
            .chain(self.put.as_ref().map(|((dir, _), _)| *dir))
    }
}

impl Content {
    fn new(bytes: Vec<u8>, mode: Option<u32>) -> Self {
        Content {
            unsynced: vec![ByteChange::Write {
                offset: 0,
                bytes: bytes.clone(),
            }],
            bytes,
            mode: mode.unwrap_or(DEFAULT_FILE_MODE),
            ..Content::default()
        }
    }

    pub(super) fn change(&mut self, change: ByteChange) {
        change.apply(&mut self.bytes);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable.clone_from(&self.bytes);
    }
}

impl Default for State {
    fn default() -> Self {
        let dir = || {
            Node::Dir(Directory {
                mode: DEFAULT_DIR_MODE,
                ..Directory::default()
            })
        };
        State {
            nodes: vec![dir(), dir()],
            unsynced_names: Vec::new(),
            log: Vec::new(),
            faults: Vec::new(),
            crashes: None,
            reads: HashMap::new(),
            locks: HashSet::new(),
            capacity_bytes: None,
        }
    }
}

impl State {
    /// Bytes of all files.
    pub(super) fn held_bytes(&self) -> u64 {
        let mut held = 0;
        self.for_each(&mut |_, node| {
            if let Node::File(content) = node {
                held += content.bytes.len() as u64;
            }
        });
        held
    }

    /// The same files and directories, with what was not synced, and nothing of what was done to them.
    pub(super) fn fork(&self) -> Self {
        State {
            nodes: self.nodes.clone(),
            unsynced_names: self.unsynced_names.clone(),
            ..State::default()
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "numbers come from `add` and are never withdrawn"
    )]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "numbers come from `add` and are never withdrawn"
    )]
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    pub(super) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub(super) fn content(&self, id: NodeId) -> Option<&Content> {
        match self.node(id) {
            Node::File(content) => Some(content),
            Node::Dir(_) => None,
        }
    }

    /// The content of a file, to change it.
    pub(super) fn content_mut(&mut self, id: NodeId) -> Option<&mut Content> {
        match self.node_mut(id) {
            Node::File(content) => Some(content),
            Node::Dir(_) => None,
        }
    }

    fn dir(&self, id: NodeId) -> Option<&Directory> {
        match self.node(id) {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        }
    }

    /// What a path stands for, if anything.
    pub(super) fn find(&self, path: &Path) -> Option<NodeId> {
        let mut at = WORKING;
        for component in path.components() {
            at = match component {
                Component::RootDir => ROOT,
                Component::CurDir | Component::Prefix(_) => at,
                // No test of ours climbs; a path that does leads nowhere.
                Component::ParentDir => return None,
                Component::Normal(name) => *self.dir(at)?.names.get(name)?,
            };
        }
        Some(at)
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.find(path).is_some_and(|id| self.dir(id).is_some())
    }

    /// The names in a directory.
    pub(super) fn list(&self, path: &Path) -> Result<&BTreeMap<OsString, NodeId>, IoError> {
        let error = |kind| IoError::new(Operation::List, path, kind);
        let id = self
            .find(path)
            .ok_or_else(|| error(io::ErrorKind::NotFound))?;
        let dir = self.dir(id);
        dir.map(|dir| &dir.names)
            .ok_or_else(|| error(io::ErrorKind::NotADirectory))
    }

    /// Visits every file and directory below the root and the working directory with its path.
    pub(super) fn for_each(&self, visit: &mut dyn FnMut(&Path, &Node)) {
        self.visit_below(WORKING, Path::new(""), visit);
        self.visit_below(ROOT, Path::new("/"), visit);
    }

    fn visit_below(&self, id: NodeId, path: &Path, visit: &mut dyn FnMut(&Path, &Node)) {
        for (name, child) in self.dir(id).into_iter().flat_map(|dir| &dir.names) {
            let path = path.join(name);
            visit(&path, self.node(*child));
            self.visit_below(*child, &path, visit);
        }
    }

    /// Changes names as a program sees them, and remembers it for a crash.
    fn rename_node(&mut self, change: NameChange) {
        self.set_names(&change, |dir| &mut dir.names);
        self.unsynced_names.push(change);
    }

    pub(super) fn set_names(
        &mut self,
        change: &NameChange,
        picture: impl Fn(&mut Directory) -> &mut BTreeMap<OsString, NodeId>,
    ) {
        if let Some((dir, name)) = &change.gone
            && let Node::Dir(dir) = self.node_mut(*dir)
        {
            picture(dir).remove(name);
        }
        if let Some(((dir, name), node)) = &change.put
            && let Node::Dir(dir) = self.node_mut(*dir)
        {
            picture(dir).insert(name.clone(), *node);
        }
    }

    /// Makes a directory and what is missing above it.
    pub(super) fn make_dirs(&mut self, path: &Path, mode: u32) {
        let mut at = WORKING;
        for component in path.components() {
            at = match component {
                Component::RootDir => ROOT,
                Component::Normal(name) => match self.dir(at).and_then(|dir| dir.names.get(name)) {
                    Some(child) => *child,
                    None => {
                        let made = self.add(Node::Dir(Directory {
                            mode,
                            ..Directory::default()
                        }));
                        self.name(at, name, made);
                        made
                    }
                },
                _ => at,
            };
        }
    }

    fn name(&mut self, dir: NodeId, name: &OsStr, node: NodeId) {
        self.rename_node(NameChange {
            gone: None,
            put: Some(((dir, name.to_owned()), node)),
        });
    }

    /// Where a name is to be put: its directory and itself. The directory must exist.
    fn place_of(&self, path: &Path) -> Option<Name> {
        let dir = self.find(parent_of(path))?;
        self.dir(dir)?;
        Some((dir, path.file_name()?.to_owned()))
    }

    /// Makes a new file, in place of what bears the name.
    pub(super) fn put(&mut self, path: &Path, bytes: Vec<u8>, mode: Option<u32>) {
        let made = self.add(Node::File(Content::new(bytes, mode)));
        if let Some((dir, name)) = self.place_of(path) {
            self.name(dir, &name, made);
        }
    }

    /// Gives a node one more name.
    pub(super) fn link(&mut self, path: &Path, node: NodeId) {
        if let Some((dir, name)) = self.place_of(path) {
            self.name(dir, &name, node);
        }
    }

    /// Adds a file without a name.
    pub(super) fn add_file(&mut self, content: Content) -> NodeId {
        self.add(Node::File(content))
    }

    /// Takes a name away.
    pub(super) fn unlink(&mut self, path: &Path) {
        if let Some(gone) = self.place_of(path) {
            self.rename_node(NameChange {
                gone: Some(gone),
                put: None,
            });
        }
    }

    /// Takes a directory and everything below it away, name by name: a crash may stop in between.
    pub(super) fn remove_tree(&mut self, path: &Path) {
        let dir = self.find(path).and_then(|id| self.dir(id));
        let names: Vec<OsString> = dir
            .into_iter()
            .flat_map(|dir| dir.names.keys().cloned())
            .collect();
        for name in names {
            self.remove_tree(&path.join(name));
        }
        self.unlink(path);
    }

    /// Gives a node another name.
    pub(super) fn move_name(&mut self, from: &Path, to: &Path) {
        let node = self.find(from);
        if let (Some(node), Some(gone), Some(put)) = (node, self.place_of(from), self.place_of(to))
        {
            self.rename_node(NameChange {
                gone: Some(gone),
                put: Some((put, node)),
            });
        }
    }

    /// Makes the names of a directory durable, and what must have come before them: of a rename both its ends.
    pub(super) fn sync_names(&mut self, dir: NodeId) {
        let mut dirs = HashSet::from([dir]);
        let mut synced = Vec::new();
        let mut kept = Vec::new();
        for change in std::mem::take(&mut self.unsynced_names).into_iter().rev() {
            if change.dirs().any(|dir| dirs.contains(&dir)) {
                dirs.extend(change.dirs());
                synced.push(change);
            } else {
                kept.push(change);
            }
        }
        for change in synced.iter().rev() {
            self.set_names(change, |dir| &mut dir.durable);
        }
        kept.reverse();
        self.unsynced_names = kept;
    }

    /// Makes a path durable, with all directories above it.
    pub(super) fn sync_path(&mut self, path: &Path) {
        if let Some(content) = self.find(path).and_then(|id| self.content_mut(id)) {
            content.sync();
        }
        for above in path.ancestors() {
            if let Some(dir) = self.find(above).filter(|id| self.dir(*id).is_some()) {
                self.sync_names(dir);
            }
        }
    }

    /// Makes everything durable.
    pub(super) fn sync_all(&mut self) {
        for node in &mut self.nodes {
            match node {
                Node::Dir(dir) => dir.durable.clone_from(&dir.names),
                Node::File(content) => content.sync(),
            }
        }
        self.unsynced_names.clear();
    }

    /// The file at a path.
    pub(super) fn file_at(&self, operation: Operation, path: &Path) -> Result<NodeId, IoError> {
        match self.find(path) {
            Some(id) if self.content(id).is_some() => Ok(id),
            Some(_) => Err(IoError::new(operation, path, io::ErrorKind::IsADirectory)),
            None => Err(IoError::new(operation, path, io::ErrorKind::NotFound)),
        }
    }

    /// The content of the file at a path, to change it.
    pub(super) fn file_at_mut(
        &mut self,
        operation: Operation,
        path: &Path,
    ) -> Result<&mut Content, IoError> {
        let id = self.file_at(operation, path)?;
        let missing = || IoError::new(operation, path, io::ErrorKind::NotFound);
        self.content_mut(id).ok_or_else(missing)
    }

    /// Whether a file may be made here: the directory must exist, and a directory not be in the way.
    pub(super) fn check_place(&self, operation: Operation, path: &Path) -> Result<(), IoError> {
        if !self.is_dir(parent_of(path)) {
            return Err(IoError::new(operation, path, io::ErrorKind::NotFound));
        }
        if self.is_dir(path) {
            return Err(IoError::new(operation, path, io::ErrorKind::IsADirectory));
        }
        Ok(())
    }

    /// Counts a read of a file and lets the faults for it happen.
    pub(super) fn count_read(&mut self, path: &Path, id: NodeId) -> Result<(), IoError> {
        let count = self.reads.entry(path.to_owned()).or_default();
        let before = *count;
        *count += 1;
        let mut shrunk = None;
        for fault in &self.faults {
            match fault {
                Fault::FailRead {
                    path: failing,
                    after_reads,
                    kind,
                } if failing == path && *after_reads == before => {
                    return Err(IoError::new(Operation::Read, path, *kind));
                }
                Fault::Shrink {
                    path: shrinking,
                    after_reads,
                    length,
                } if shrinking == path && *after_reads == before => {
                    shrunk = Some(*length);
                }
                _ => {}
            }
        }
        if let Some(length) = shrunk
            && let Some(content) = self.content_mut(id)
        {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            content.change(ByteChange::Length(length.min(content.bytes.len())));
        }
        Ok(())
    }

    /// An atomic replacement, durable when it returns.
    pub(super) fn write_atomically(
        &mut self,
        path: &Path,
        bytes: &[u8],
        mode: Option<u32>,
    ) -> Result<(), IoError> {
        self.check_place(Operation::WriteAtomically, path)?;
        let replaced = self.find(path).and_then(|id| self.content(id));
        let mode = mode.or(replaced.map(|content| content.mode));
        self.put(path, bytes.to_vec(), mode);
        self.file_at_mut(Operation::WriteAtomically, path)?.sync();
        if let Some(dir) = self.find(parent_of(path)) {
            self.sync_names(dir);
        }
        Ok(())
    }

    pub(super) fn write_in_place(&mut self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        self.check_place(Operation::WriteInPlace, path)?;
        let Some(content) = self.find(path).and_then(|id| self.content_mut(id)) else {
            self.put(path, bytes.to_vec(), None);
            return Ok(());
        };
        content.change(ByteChange::Length(0));
        content.change(ByteChange::Write {
            offset: 0,
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    pub(super) fn append(&mut self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let content = self.file_at_mut(Operation::Append, path)?;
        content.change(ByteChange::Write {
            offset: content.bytes.len(),
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    /// Checks the source and the free place of a link or copy, and returns the file.
    pub(super) fn two_names(
        &self,
        operation: Operation,
        from: &Path,
        to: &Path,
    ) -> Result<NodeId, IoError> {
        let id = self.file_at(operation, from)?;
        if self.find(to).is_some() {
            return Err(IoError::new(operation, to, io::ErrorKind::AlreadyExists));
        }
        self.check_place(operation, to)?;
        Ok(id)
    }
}

pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}
