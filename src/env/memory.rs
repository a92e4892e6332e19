//! Twins of the real thing that live in memory, tell what was done to them, and fail on demand.
//!
//! For tests: of this library, and of programs that embed it.

mod append;
mod change;
mod crash;
mod read;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crash::Unsynced;

use super::sync::atomic::{AtomicI64, Ordering};
use super::sync::{Mutex, MutexGuard};
use super::{Clock, DEFAULT_DIR_MODE, Entropy, IoError, Operation};
use state::{Crashes, Node, State, parent_of};

/// A file system in memory. Clones share it; [`MemoryFileSystem::fork`] makes an independent one.
#[derive(Debug, Clone, Default)]
pub struct MemoryFileSystem {
    state: Arc<Mutex<State>>,
}

/// One call that changes or syncs something, as the log keeps it, whether it succeeded or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub operation: Operation,
    /// The path it was asked for.
    pub path: PathBuf,
    /// The other path of a rename, link or copy.
    pub to: Option<PathBuf>,
    /// How many bytes were to be written, or the length to cut to.
    pub length: Option<u64>,
}

/// A failure to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The logged call with this number, counted from 0 over the whole log, fails.
    FailCall {
        /// Number of the call.
        number: usize,
        /// The error: `StorageFull`, `PermissionDenied`, `Other` and so on.
        kind: io::ErrorKind,
        /// For calls that write: how many bytes still reach the file. An atomic replacement leaves
        /// them in its temporary file; with `None` nothing happens at all.
        written: Option<usize>,
    },
    /// This logged call and every one after it fail, as if the process had died here.
    Crash {
        /// Number of the first call that fails.
        number: usize,
        /// As for [`Fault::FailCall`], for the first call that fails.
        written: Option<usize>,
    },
    /// Reading a file fails.
    FailRead {
        /// The file.
        path: PathBuf,
        /// How many reads of it succeed before, whatever their length.
        after_reads: usize,
        /// The error.
        kind: io::ErrorKind,
    },
    /// A file loses its end while it is being read.
    Shrink {
        /// The file.
        path: PathBuf,
        /// How many reads of it still see it whole.
        after_reads: usize,
        /// What is left of it.
        length: u64,
    },
}

impl MemoryFileSystem {
    /// An empty file system; only the root and the working directory exist.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file system holding the given files and the directories above them.
    pub fn with_files<P: AsRef<Path>, B: Into<Vec<u8>>>(
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Self {
        let made = Self::new();
        for (path, bytes) in files {
            made.seed_file(path, bytes);
        }
        made
    }

    /// Puts a file there, and the directories above it, without a trace in the log.
    pub fn seed_file(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) {
        let path = path.as_ref();
        let mut state = self.state.lock();
        state.make_dirs(parent_of(path), DEFAULT_DIR_MODE);
        state.put(path, bytes.into(), None);
        state.sync_path(path);
    }

    /// Puts a directory there, and those above it, without a trace in the log.
    pub fn seed_dir(&self, dir: impl AsRef<Path>) {
        let mut state = self.state.lock();
        state.make_dirs(dir.as_ref(), DEFAULT_DIR_MODE);
        state.sync_path(dir.as_ref());
    }

    /// All files and their bytes.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        self.state.lock().for_each(&mut |path, node| {
            if let Node::File(content) = node {
                files.insert(path.to_owned(), content.bytes.clone());
            }
        });
        files
    }

    /// All directories, by their paths.
    #[must_use]
    pub fn dirs(&self) -> Vec<PathBuf> {
        let mut dirs = Vec::new();
        self.state.lock().for_each(&mut |path, node| {
            if matches!(node, Node::Dir(_)) {
                dirs.push(path.to_owned());
            }
        });
        dirs.sort_unstable();
        dirs
    }

    /// The calls so far that change or sync something, in order. Their indexes are the numbers that
    /// [`Fault::FailCall`] and [`Fault::Crash`] speak of.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().log.clone()
    }

    /// Says how many bytes the disk holds, for whoever asks what is left of it; `None` where it does not tell. Nothing fails by it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Plans a failure. Several may be planned; the first that fits a call decides.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// An independent copy of the files as they are now, with an empty log and no faults: the disk as
    /// the next process would find it. What was not synced still is not; see [`MemoryFileSystem::crash_image`].
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.state.lock().fork())),
        }
    }

    /// From now on keeps, of each call that changes or syncs something, the disk that a process leaves which dies by it. `written` tells
    /// by the call's number how many bytes of a write still get there, as [`Fault::Crash`] does.
    pub fn keep_crashes(&self, written: fn(usize) -> Option<usize>) {
        self.state.lock().crashes = Some(Crashes {
            written,
            left: Vec::new(),
        });
    }

    /// What [`Self::keep_crashes`] kept since it was last taken: the numbers of the calls, and a disk each.
    #[must_use]
    pub fn take_crashes(&self) -> Vec<(usize, Self)> {
        let kept = self.state.lock().crashes.as_mut().map(Crashes::take);
        let kept = kept.unwrap_or_default().into_iter();
        let shared = |state| Self {
            state: Arc::new(Mutex::new(state)),
        };
        kept.map(|(number, state)| (number, shared(state)))
            .collect()
    }

    /// Logs a call, and fails it if a fault says so. `torn` does to a disk what so many of the call's bytes do.
    fn begin(
        &self,
        operation: Operation,
        path: &Path,
        to: Option<&Path>,
        length: Option<u64>,
        torn: &dyn Fn(&mut State, usize) -> Result<(), IoError>,
    ) -> Result<MutexGuard<'_, State>, IoError> {
        let mut state = self.state.lock();
        let call = state.log.len();
        if let Some(crashes) = &state.crashes {
            let (written, mut left) = ((crashes.written)(call), state.fork());
            // A write that would have failed leaves nothing.
            let _ = written.map(|written| torn(&mut left, written));
            if let Some(crashes) = &mut state.crashes {
                crashes.left.push((call, left));
            }
        }
        let to = to.map(Path::to_owned);
        state.log.push(Call {
            operation,
            path: path.to_owned(),
            to,
            length,
        });
        let fault = state.faults.iter().find_map(|fault| match *fault {
            Fault::FailCall {
                number,
                kind,
                written,
            } if number == call => Some((kind, written)),
            Fault::Crash { number, written } if number == call => {
                Some((io::ErrorKind::Other, written))
            }
            Fault::Crash { number, .. } if number < call => Some((io::ErrorKind::Other, None)),
            _ => None,
        });
        let Some((kind, written)) = fault else {
            return Ok(state);
        };
        written.map_or(Ok(()), |written| torn(&mut state, written))?;
        Err(IoError::new(operation, path, kind))
    }

    /// [`begin`](Self::begin) for calls that write nothing.
    fn change(
        &self,
        operation: Operation,
        path: &Path,
        to: Option<&Path>,
        length: Option<u64>,
    ) -> Result<MutexGuard<'_, State>, IoError> {
        self.begin(operation, path, to, length, &|_, _| Ok(()))
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock showing `now_ns` nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn new(now_ns: i64) -> Self {
        Self(AtomicI64::new(now_ns))
    }

    /// Sets the clock.
    pub fn set(&self, now_ns: i64) {
        self.0.store(now_ns, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Random bytes that are the same every time. Never for real keys.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// A source whose output depends on `seed` alone.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), IoError> {
        let mut state = self.0.lock();
        for chunk in buffer.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(next_random(&mut state).to_le_bytes()) {
                *byte = random;
            }
        }
        Ok(())
    }
}

/// SplitMix64: short, and good enough to look random.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{FileSystem, ReadFiles, temporary_path};

    fn store() -> MemoryFileSystem {
        MemoryFileSystem::with_files([
            ("/s/msgs/1.blk", b"0123456789"),
            ("/s/msgs/2.blk", b"abcdefghij"),
        ])
    }

    /// Three changes, as a caller that stops at the first error makes them.
    fn change(system: &MemoryFileSystem) -> Result<(), IoError> {
        system.append(Path::new("/s/msgs/1.blk"), b"ABCD")?;
        system.write_atomically(Path::new("/s/index"), b"state", None)?;
        system.remove_file(Path::new("/s/msgs/2.blk"))
    }

    #[test]
    fn the_log_keeps_changes_in_order_and_nothing_else() {
        let system = store();
        change(&system).unwrap();
        system.read(Path::new("/s/index"), 100).unwrap();
        let calls: Vec<_> = system
            .calls()
            .into_iter()
            .map(|call| (call.operation, call.path, call.length))
            .collect();
        assert_eq!(
            calls,
            [
                (Operation::Append, PathBuf::from("/s/msgs/1.blk"), Some(4)),
                (
                    Operation::WriteAtomically,
                    PathBuf::from("/s/index"),
                    Some(5)
                ),
                (Operation::RemoveFile, PathBuf::from("/s/msgs/2.blk"), None),
            ]
        );
    }

    #[test]
    fn every_crash_point_leaves_what_came_before_it() {
        let whole = store();
        change(&whole).unwrap();
        for number in 0..whole.calls().len() {
            let system = store();
            system.inject(Fault::Crash {
                number,
                written: None,
            });
            assert!(change(&system).is_err());
            // Nothing gets through afterwards either.
            assert!(system.write_in_place(Path::new("/s/late"), b"").is_err());
            let left = system.fork().files();
            let block_length = if number == 0 { 10 } else { 14 };
            assert_eq!(left[Path::new("/s/msgs/1.blk")].len(), block_length);
            assert_eq!(left.contains_key(Path::new("/s/index")), number > 1);
            assert!(left.contains_key(Path::new("/s/msgs/2.blk")));
        }
    }

    #[test]
    fn what_is_kept_of_crashes_is_what_crashes_leave() {
        let written = |number: usize| (number != 1).then_some(number + 1);
        let whole = store();
        whole.keep_crashes(written);
        change(&whole).unwrap();
        let kept = whole.take_crashes();
        assert_eq!(kept.len(), 3);
        for (number, left) in kept {
            let system = store();
            let written = written(number);
            system.inject(Fault::Crash { number, written });
            assert!(change(&system).is_err());
            for unsynced in [Unsynced::Kept, Unsynced::Dropped] {
                let images = [&left, &system].map(|left| left.crash_image(unsynced).files());
                assert_eq!(images[0], images[1], "call {number}, {unsynced:?}");
            }
        }
        assert!(whole.take_crashes().is_empty());
    }

    #[test]
    fn a_failing_call_may_leave_part_of_its_bytes() {
        let system = store();
        let kind = io::ErrorKind::StorageFull;
        system.inject(Fault::FailCall {
            number: 0,
            kind,
            written: Some(2),
        });
        system.inject(Fault::FailCall {
            number: 1,
            kind,
            written: Some(3),
        });
        let block = Path::new("/s/msgs/1.blk");
        let error = system.append(block, b"ABCD").unwrap_err();
        assert_eq!(error, IoError::new(Operation::Append, block, kind));
        let index = Path::new("/s/index");
        system.write_atomically(index, b"state", None).unwrap_err();
        let left = system.files();
        assert_eq!(left[block], b"0123456789AB");
        assert_eq!(left[&temporary_path(index)], b"sta");
        assert!(!left.contains_key(index));
        // Only those two calls fail.
        change(&system).unwrap();
    }

    #[test]
    fn a_file_shrinks_or_fails_at_the_chosen_read() {
        let system = store();
        let (one, two) = (
            PathBuf::from("/s/msgs/1.blk"),
            PathBuf::from("/s/msgs/2.blk"),
        );
        system.inject(Fault::Shrink {
            path: one.clone(),
            after_reads: 2,
            length: 3,
        });
        let kind = io::ErrorKind::Other;
        system.inject(Fault::FailRead {
            path: two.clone(),
            after_reads: 1,
            kind,
        });
        let file = system.open(&one).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(file.read_at(0, &mut buffer).unwrap(), 8);
        assert_eq!(
            (
                file.read_at(8, &mut buffer).unwrap(),
                file.length().unwrap()
            ),
            (2, 10)
        );
        assert_eq!(
            (
                file.read_at(0, &mut buffer).unwrap(),
                file.length().unwrap()
            ),
            (3, 3)
        );
        assert_eq!(file.read_at(8, &mut buffer).unwrap(), 0);
        assert!(system.read(&two, 100).is_ok());
        assert_eq!(system.read(&two, 100).unwrap_err().kind, kind);
        assert!(system.read(&two, 100).is_ok());
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let system = store();
        let fork = system.fork();
        change(&fork).unwrap();
        assert_eq!(system.files(), store().files());
        assert!(system.calls().is_empty());
        change(&system).unwrap();
        assert_eq!(system.files(), fork.files());
    }

    #[test]
    fn the_clock_and_the_random_bytes_do_as_told() {
        let clock = ManualClock::new(5);
        clock.set(-7);
        assert_eq!(clock.now_ns(), -7);
        let draw = |seed, count| {
            let source = SeededEntropy::new(seed);
            let mut bytes = vec![0; count];
            source.fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(draw(1, 33), draw(1, 33));
        assert_ne!(draw(1, 33), draw(2, 33));
        assert_ne!(draw(1, 16)[..8], draw(1, 16)[8..]);
    }
}
