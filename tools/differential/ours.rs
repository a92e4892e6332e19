//! This side: the one place that names the library's entry points.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::living::Idle;
use jetsam::recovery::{self, RecoverOptions};
use jetsam::report::Watch;
use jetsam::report::stream::StreamReport;
use jetsam::stream::StreamDir;
use jetsam::stream::options::{Collect, Keys, Options};

use crate::oracle::Ask;

/// What our examination is told besides the directory.
#[derive(Debug, Clone, Copy)]
pub struct How {
    pub now_ns: i64,
    pub threads: usize,
    pub quick: bool,
    /// Whether the deleted sequences can be listed one by one.
    pub deleted: bool,
    /// Whether every step reads its blocks itself.
    pub careful: bool,
}

pub fn options(ask: &Ask, how: How) -> Options {
    let key = |text: &str| (!text.is_empty()).then(|| ServerKey::new(text.as_bytes().to_vec()));
    let mut options = Options::new(how.now_ns);
    options.threads = how.threads;
    options.quick = how.quick;
    options.careful = how.careful;
    options.keys = Keys {
        current: key(&ask.key),
        previous: key(&ask.prev_key),
        // Where nothing is configured the oracle takes ChaCha, as the server does.
        cipher: Some(Cipher::from_name(&ask.cipher).unwrap_or(Cipher::ChaCha)),
    };
    options.account = Some(ask.account.clone().into_bytes());
    options.block_size = (ask.block_size != 0).then_some(ask.block_size);
    options.collect = Collect {
        deleted: how.deleted,
        subjects: true,
        digest: true,
        entries: true,
    };
    options
}

pub fn stream(dir: &Path, ask: &Ask) -> StreamDir {
    StreamDir {
        account: Some(ask.account.clone()),
        name: ask.stream.clone(),
        dir: dir.into(),
    }
}

/// Looks and writes nothing.
pub fn examine(dir: &Path, ask: &Ask, how: How) -> StreamReport {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    recovery::examine(&OsFileSystem, &stream(dir, ask), &options(ask, how), &watch)
}

/// Does what opening would do, losses included.
pub fn recover(dir: &Path, ask: &Ask, how: How) -> StreamReport {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let accept = RecoverOptions {
        accept_loss: true,
        accept_expiry: true,
        undo: false,
    };
    recovery::recover(
        &OsFileSystem,
        &Idle::declared(),
        &stream(dir, ask),
        &options(ask, how),
        &accept,
        &OsEntropy,
        &watch,
    )
}
