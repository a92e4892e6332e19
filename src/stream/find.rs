//! Finding the streams below a path.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::env::{FileKind, IoError, ReadFiles};
use crate::format::names::{CONSUMERS, MESSAGES, META, META_SUM};
use crate::report::events::{Event, EventCode};
use crate::stream::StreamDir;

const STREAMS: &str = "streams";
const JETSTREAM: &str = "jetstream";
const GROUPS: &str = "_js_";
/// Directory, beside `streams`, in which streams are rekeyed. No server looks into it. It outlives the work only where that
/// was interrupted or told to keep something.
pub const REKEY_DIR: &str = "__jetsam_rekey__";

/// What lies below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the path itself is.
    pub shape: Shape,
    /// The streams, by account and name.
    pub streams: Vec<StreamDir>,
    /// What was passed over.
    pub events: Vec<Event>,
}

/// What a path can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One stream.
    Stream,
    /// One account.
    Account,
    /// The `jetstream` directory: accounts.
    Jetstream,
    /// The directory that holds `jetstream`.
    StoreDir,
}

/// Why no streams can be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalkError {
    /// There is nothing of that name.
    Missing(PathBuf),
    /// It is not a directory.
    NotADirectory(PathBuf),
    /// It looks like nothing a server leaves.
    Unrecognised(PathBuf),
    /// It cannot be read.
    Io(IoError),
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalkError::Missing(path) => write!(f, "{}: no such directory", path.display()),
            WalkError::NotADirectory(path) => write!(
                f,
                "{}: a file; give the directory of a stream (it holds msgs/), of an account, jetstream/, or the server's \
                 store_dir",
                path.display()
            ),
            WalkError::Unrecognised(path) => write!(
                f,
                "{}: no store here; looked for a stream (msgs/ or meta.inf), an account (streams/), \
                 accounts (*/streams/) and a store_dir (jetstream/)",
                path.display()
            ),
            WalkError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WalkError {}

impl From<IoError> for WalkError {
    fn from(error: IoError) -> Self {
        WalkError::Io(error)
    }
}

/// Finds the streams below `path`, which may be a stream directory, an account directory, the
/// `jetstream` directory or the server's store_dir. Symbolic links below it are not followed.
///
/// # Errors
///
/// [`WalkError`]. A directory further down that cannot be listed is an error too: leaving its
/// streams out silently would make them look absent.
pub fn find_streams(fs: &dyn ReadFiles, path: &Path) -> Result<Found, WalkError> {
    let metadata = fs.metadata(path).map_err(|error| {
        if error.is_not_found() {
            WalkError::Missing(path.to_owned())
        } else {
            WalkError::Io(error)
        }
    })?;
    if metadata.kind != FileKind::Dir {
        return Err(WalkError::NotADirectory(path.to_owned()));
    }
    let mut walk = DirectoryWalk {
        fs,
        streams: Vec::new(),
        events: Vec::new(),
    };
    let shape = walk.path(path)?;
    walk.streams
        .sort_by(|a, b| (&a.account, &a.name).cmp(&(&b.account, &b.name)));
    Ok(Found {
        shape,
        streams: walk.streams,
        events: walk.events,
    })
}

struct DirectoryWalk<'a> {
    fs: &'a dyn ReadFiles,
    streams: Vec<StreamDir>,
    events: Vec<Event>,
}

impl DirectoryWalk<'_> {
    fn path(&mut self, path: &Path) -> Result<Shape, WalkError> {
        let dirs = self.dirs(path)?;
        let called = |name: &str| named(path).file_name() == Some(OsStr::new(name));
        if holds(&dirs, MESSAGES) || self.is_file(&path.join(META))? {
            let stream = stream(path);
            self.streams.push(stream);
            return Ok(Shape::Stream);
        }
        if holds(&dirs, STREAMS) || holds(&dirs, GROUPS) {
            self.account(path, &dirs)?;
            return Ok(Shape::Account);
        }
        if holds(&dirs, JETSTREAM) {
            let dirs = self.dirs(&path.join(JETSTREAM))?;
            if let (_, Some(error)) = self.accounts(&dirs) {
                return Err(error);
            }
            return Ok(Shape::StoreDir);
        }
        if called(STREAMS) {
            self.take_streams(dirs);
            return Ok(Shape::Account);
        }
        match self.accounts(&dirs) {
            // Elsewhere than in a store, what cannot be read is none of our business.
            (any, Some(error)) if any || called(JETSTREAM) => Err(error),
            (any, _) if any || called(JETSTREAM) => Ok(Shape::Jetstream),
            _ => Err(WalkError::Unrecognised(path.to_owned())),
        }
    }

    /// Directories below `dir`, links left out.
    fn dirs(&self, dir: &Path) -> Result<Vec<PathBuf>, WalkError> {
        let entries = self.fs.list(dir)?;
        let is_dir = entries
            .into_iter()
            .filter(|entry| entry.kind == FileKind::Dir);
        Ok(is_dir.map(|entry| dir.join(entry.name)).collect())
    }

    fn is_file(&self, path: &Path) -> Result<bool, WalkError> {
        match self.fs.metadata(path) {
            Ok(metadata) => Ok(metadata.kind == FileKind::File),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(WalkError::Io(error)),
        }
    }

    /// Takes every directory that looks like an account. Whether there was one, and the first that
    /// could not be read.
    fn accounts(&mut self, dirs: &[PathBuf]) -> (bool, Option<WalkError>) {
        let (mut any, mut failed) = (false, None);
        for dir in dirs {
            let taken = self.dirs(dir).and_then(|inner| {
                let is_account = holds(&inner, STREAMS) || holds(&inner, GROUPS);
                any |= is_account;
                if is_account {
                    self.account(dir, &inner)
                } else {
                    Ok(())
                }
            });
            if let Err(error) = taken {
                failed.get_or_insert(error);
            }
        }
        (any, failed)
    }

    fn account(&mut self, account: &Path, dirs: &[PathBuf]) -> Result<(), WalkError> {
        if holds(dirs, STREAMS) {
            let streams = self.dirs(&account.join(STREAMS))?;
            self.take_streams(streams);
        }
        if holds(dirs, GROUPS) {
            self.note_groups(&account.join(GROUPS))?;
        }
        if holds(dirs, REKEY_DIR) {
            let detail = "streams were being rekeyed when it was interrupted, or their old directories are kept: \
                          `jetsam rekey` finishes";
            let event = Event::new(EventCode::LeftOverFile, detail);
            let dir = account.join(REKEY_DIR);
            self.events.push(event.file(dir.display().to_string()));
        }
        Ok(())
    }

    fn take_streams(&mut self, dirs: Vec<PathBuf>) {
        for dir in dirs {
            if !text(dir.file_name()).starts_with('.') {
                if !self.is_stray(&dir) {
                    self.streams.push(stream(&dir));
                }
                continue;
            }
            let detail = "a half-deleted stream; the server removes it when it starts";
            let event = Event::new(EventCode::StreamHalfDeleted, detail);
            self.events.push(event.file(dir.display().to_string()));
        }
    }

    /// Whether a directory is the file system's, with nothing of a stream in it.
    fn is_stray(&self, dir: &Path) -> bool {
        let there = |name: &str| match self.fs.metadata(&dir.join(name)) {
            Ok(_) => true,
            Err(error) => !error.is_not_found(),
        };
        dir.file_name() == Some(OsStr::new("lost+found"))
            && ![MESSAGES, META, META_SUM, CONSUMERS].into_iter().any(there)
    }

    fn note_groups(&mut self, groups: &Path) -> Result<(), WalkError> {
        for dir in self.dirs(groups)? {
            let detail = "the log of a raft group is passed over; name its directory to look at it";
            let event = Event::new(EventCode::LeftOverFile, detail);
            self.events.push(event.file(dir.display().to_string()));
        }
        Ok(())
    }
}

fn holds(dirs: &[PathBuf], name: &str) -> bool {
    dirs.iter()
        .any(|dir| dir.file_name() == Some(OsStr::new(name)))
}

fn stream(dir: &Path) -> StreamDir {
    let named = named(dir);
    let above = named
        .parent()
        .filter(|above| above.file_name() == Some(OsStr::new(STREAMS)));
    let account = above.and_then(Path::parent).and_then(Path::file_name);
    StreamDir {
        account: account.map(|name| text(Some(name))),
        name: text(named.file_name()),
        dir: dir.to_owned(),
    }
}

/// The path with the names that `.`, `..` and a relative path leave out, as far as they can be told
/// without asking the file system.
pub(crate) fn named(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut named = PathBuf::new();
    for part in absolute.components() {
        if part == Component::ParentDir {
            named.pop();
        } else {
            named.push(part);
        }
    }
    named
}

/// The names of the directories beside `dir`, in order; none where they cannot be listed.
pub(crate) fn names_beside(fs: &dyn ReadFiles, dir: &Path) -> Vec<String> {
    let dir = named(dir);
    let above = dir.parent().unwrap_or(&dir);
    let entries = fs.list(above).unwrap_or_default().into_iter();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.kind == FileKind::Dir)
        .map(|entry| text(Some(&entry.name)))
        .collect();
    names.sort_unstable();
    names
}

/// A name as text. Names the server makes are UTF-8; anything else is shown as well as it goes, and
/// then fails the checksum of its metadata, as it does for the server.
fn text(name: Option<&OsStr>) -> String {
    name.unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::memory::MemoryFileSystem;

    fn store() -> MemoryFileSystem {
        MemoryFileSystem::with_files([
            ("/data/jetstream/B/streams/Y/meta.inf", "{}"),
            ("/data/jetstream/B/streams/X/msgs/1.blk", ""),
            ("/data/jetstream/$G/streams/Z/meta.inf", "{}"),
            ("/data/jetstream/$G/streams/.GONE/meta.inf", "{}"),
            ("/data/jetstream/$G/streams/lost+found/#12", ""),
            ("/data/jetstream/$SYS/_js_/_meta_/msgs/1.blk", ""),
            ("/data/jetstream/$SYS/_js_/_meta_/meta.inf", "{}"),
            ("/data/other/file", ""),
        ])
    }

    fn found(path: &str) -> (Shape, Vec<String>) {
        let found = find_streams(&store(), Path::new(path)).expect("streams");
        let name = |stream: &StreamDir| {
            format!(
                "{}/{}",
                stream.account.as_deref().unwrap_or("-"),
                stream.name
            )
        };
        (found.shape, found.streams.iter().map(name).collect())
    }

    #[test]
    fn every_level_of_a_store_will_do() {
        let all = ["$G/Z", "B/X", "B/Y"].map(String::from).to_vec();
        assert_eq!(found("/data"), (Shape::StoreDir, all.clone()));
        assert_eq!(found("/data/jetstream"), (Shape::Jetstream, all.clone()));
        assert_eq!(found("/data/jetstream/"), (Shape::Jetstream, all));
        let account = ["B/X", "B/Y"].map(String::from).to_vec();
        assert_eq!(
            found("/data/jetstream/B"),
            (Shape::Account, account.clone())
        );
        assert_eq!(
            found("/data/jetstream/B/streams"),
            (Shape::Account, account)
        );
        let one = vec!["B/X".to_owned()];
        assert_eq!(found("/data/jetstream/B/streams/X"), (Shape::Stream, one));
        let group = vec!["-/_meta_".to_owned()];
        assert_eq!(
            found("/data/jetstream/$SYS/_js_/_meta_"),
            (Shape::Stream, group)
        );
    }

    #[test]
    fn half_deleted_streams_and_groups_are_told() {
        let found = find_streams(&store(), Path::new("/data")).expect("streams");
        let events: Vec<_> = found
            .events
            .iter()
            .map(|event| (event.code, event.file.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            events,
            [
                (
                    EventCode::StreamHalfDeleted,
                    "/data/jetstream/$G/streams/.GONE"
                ),
                (EventCode::LeftOverFile, "/data/jetstream/$SYS/_js_/_meta_"),
            ]
        );
    }

    #[test]
    fn an_empty_lost_and_found_is_no_stream_and_a_full_one_is() {
        let fs = store();
        let names = || {
            let found = find_streams(&fs, Path::new("/data/jetstream/B")).expect("streams");
            let names: Vec<_> = found
                .streams
                .into_iter()
                .map(|stream| stream.name)
                .collect();
            names
        };
        fs.seed_dir("/data/jetstream/B/streams/lost+found");
        assert_eq!(names(), ["X", "Y"]);
        fs.seed_dir("/data/jetstream/B/streams/lost+found/msgs");
        assert_eq!(names().len(), 3);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let fs = store();
        let error = |path: &str| find_streams(&fs, Path::new(path)).expect_err("no streams");
        assert_eq!(error("/nowhere"), WalkError::Missing("/nowhere".into()));
        assert_eq!(
            error("/data/other/file"),
            WalkError::NotADirectory("/data/other/file".into())
        );
        assert_eq!(
            error("/data/other"),
            WalkError::Unrecognised("/data/other".into())
        );
        assert!(error("/data/other").to_string().contains("streams/"));
        let file = error("/data/other/file").to_string();
        assert!(
            file.contains("a file; give the directory of a stream"),
            "{file}"
        );
    }

    #[test]
    fn names_are_told_from_crooked_paths() {
        let of = |path: &str| {
            let stream = stream(Path::new(path));
            (stream.account.unwrap_or_default(), stream.name)
        };
        let expected = ("A".to_owned(), "S".to_owned());
        assert_eq!(of("/d/A/streams/S/."), expected);
        assert_eq!(of("/d/A/streams/S/msgs/.."), expected);
        let here = std::env::current_dir().expect("a working directory");
        assert_eq!(of(".").1, text(here.file_name()));
    }

    #[test]
    fn an_empty_store_is_a_store() {
        let fs = MemoryFileSystem::new();
        fs.seed_dir("/data/jetstream");
        let found = find_streams(&fs, Path::new("/data")).expect("a store");
        assert_eq!((found.shape, found.streams.len()), (Shape::StoreDir, 0));
    }
}
