//! What an end in the middle of several files left, and no server knows how to finish, or finishes to the harm of what came since.

use super::side_files::finish_exchange;
use crate::env::{FileSystem, IoError};
use crate::format::names::{MESSAGES, PURGED_MESSAGES, STAGED_MESSAGES};
use crate::living::Idle;
use crate::recovery::judge;
use crate::report::{ServerVersion, Watch};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Brings a directory to where recovery can take it up. Whoever has it open sees to that himself.
pub(super) fn finish(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
    options: &Options,
) -> Result<(), IoError> {
    if !idle.covers(&stream.dir) {
        return Ok(());
    }
    let Ok(_lock) = fs.lock_exclusive(&stream.dir) else {
        return Ok(());
    };
    finish_exchange(fs, &stream.dir, &stream.name)?;
    take_purge_back(fs, stream, options)
}

/// The newest line that does not know [`STAGED_MESSAGES`]: line and patch.
const BEFORE_STAGING: (u16, u16) = (12, 15);

/// Takes a purge back that was overtaken: servers before 2.14 do not know the directory in which it was prepared, serve what it was about to
/// take, or begin anew where that is set aside already, and append to it. To finish it then, as later ones do, would take what was
/// acknowledged since.
fn take_purge_back(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
) -> Result<(), IoError> {
    let at = |name: &str| stream.dir.join(name);
    let is_there = |name: &str| fs.metadata(&at(name)).is_ok();
    if !is_there(STAGED_MESSAGES) || !is_there(MESSAGES) {
        return Ok(());
    }
    let totals = |server: ServerVersion| {
        let options = Options {
            server,
            ..options.clone()
        };
        let judged = judge(fs, stream, &options, &Watch::none());
        judged.state.map(|state| state.preview().totals)
    };
    let before = ServerVersion::new(BEFORE_STAGING.0, BEFORE_STAGING.1).ok();
    let served = before.and_then(totals).unwrap_or_default();
    let finished = totals(ServerVersion::REFERENCE).unwrap_or_default();
    let is_begun_anew = is_there(PURGED_MESSAGES) && served.messages > 0;
    match served.last.seq > finished.last.seq || is_begun_anew {
        true => {
            fs.remove_dir_all(&at(STAGED_MESSAGES))?;
            fs.sync_dir(&stream.dir)
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::*;
    use crate::env::OsEntropy;
    use crate::env::memory::{Fault, MemoryFileSystem, Unsynced};
    use crate::format::meta::StreamMeta;
    use crate::store::{NewMessage, PurgeRequest, Store, StoreOptions};

    const DIR: &str = "/data/A/streams/S";

    fn open(fs: &MemoryFileSystem) -> Store {
        let config = StreamMeta::parse(br#"{"name":"S","subjects":["s"],"storage":"file"}"#);
        let options = StoreOptions::new(config.unwrap(), 1_767_225_600_000_000_000);
        let (fs, idle) = (Arc::new(fs.clone()), Idle::declared());
        Store::open(fs, Arc::new(OsEntropy), &idle, Path::new(DIR), &options).unwrap()
    }

    fn append(store: Store, bodies: &[&str]) {
        let mut writer = store.writer().unwrap();
        for body in bodies {
            let message = NewMessage {
                subject: b"s",
                headers: b"",
                body: body.as_bytes(),
            };
            writer.append(&message, 1_767_225_600_000_000_000).unwrap();
        }
        store.close(writer).unwrap();
    }

    fn held(fs: &MemoryFileSystem) -> Vec<String> {
        let reader = open(fs).reader();
        let (mut held, mut from) = (Vec::new(), 0);
        while let Ok(message) = reader.next(&[], from) {
            from = message.seq + 1;
            let body = String::from_utf8_lossy(message.body());
            held.push(format!("{} {body}", message.seq));
        }
        held
    }

    /// The disk of a store with three messages that was killed while it was purged, at the first call that leaves these directories.
    fn killed(is_left: impl Fn(&dyn Fn(&str) -> bool) -> bool) -> MemoryFileSystem {
        for number in 0..100 {
            let fs = MemoryFileSystem::new();
            append(open(&fs), &["one", "two", "three"]);
            let before = fs.calls().len();
            let store = open(&fs);
            let mut writer = store.writer().unwrap();
            fs.inject(Fault::Crash {
                number: before + number,
                written: None,
            });
            let purged = writer.purge(&PurgeRequest::default());
            assert!(purged.is_err(), "no call of a purge leaves that");
            let left = fs.crash_image(Unsynced::Kept);
            let files = left.files();
            let has = |name: &str| {
                let dir = Path::new(DIR).join(name);
                files.keys().any(|path| {
                    path.starts_with(&dir) && path.extension().is_some_and(|end| end == "blk")
                })
            };
            if is_left(&has) {
                return left;
            }
        }
        panic!("a purge does not end");
    }

    /// Copies a directory from one disk to another.
    fn copy(from: &MemoryFileSystem, to: &MemoryFileSystem, name: &str) {
        let dir: PathBuf = Path::new(DIR).join(name);
        for (path, bytes) in from.files() {
            if path.starts_with(&dir) {
                to.seed_file(path, bytes);
            }
        }
    }

    #[test]
    fn a_purge_is_finished_unless_an_older_server_went_on_without_it() {
        let left = killed(|has| has(MESSAGES) && has(STAGED_MESSAGES));
        let served = MemoryFileSystem::new();
        append(open(&served), &["one", "two", "three"]);
        append(open(&served), &["four", "five"]);
        copy(&left, &served, STAGED_MESSAGES);
        assert_eq!(held(&left), Vec::<String>::new());
        assert_eq!(
            held(&served),
            ["1 one", "2 two", "3 three", "4 four", "5 five"]
        );
    }

    #[test]
    fn what_an_older_server_began_beside_a_purge_stays() {
        let left = killed(|has| has(PURGED_MESSAGES) && has(STAGED_MESSAGES) && !has(MESSAGES));
        let anew = MemoryFileSystem::new();
        append(open(&anew), &["anew"]);
        copy(&left, &anew, STAGED_MESSAGES);
        copy(&left, &anew, PURGED_MESSAGES);
        assert_eq!(held(&left), Vec::<String>::new());
        assert_eq!(held(&anew), ["1 anew"]);
    }
}
