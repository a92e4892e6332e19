//! What a forecast is made of: the judgement with what it leaves out of a report, and a timed sample of the blocks.

use super::actions::Action;
use super::engine::Watch;
use super::files::StreamFiles;
use super::holdings::{Holdings, holdings};
use super::model::BlockKey;
use super::options::Options;
use super::report::StreamReport;
use super::session::{Examined, StreamDir, judge, setup_of};
use crate::block::content::decode;
use crate::block::walk::{Known, walk};
use crate::crypto::{BlockCipher, Cipher};
use crate::env::{Clock, FileSystem};
use crate::format::checksum::HashKey;
use crate::format::names;
use crate::format::record::Run;
use crate::format::seqset::SeqSet;

/// A judged stream, with what only a forecast asks for.
pub(crate) struct Foreseen {
    /// The judgement.
    pub report: StreamReport,
    /// Sequences the server would have and could read.
    pub readable: SeqSet,
    /// What the server would have done before it gave up, where it does.
    pub cut_short: Vec<Action>,
    /// Whether it writes the stream's metadata anew, and with it the time of creation.
    pub recreates: bool,
    /// Whether this is the log of a raft group.
    pub raft_group: bool,
    /// Whether `meta.inf` reads as plain JSON.
    pub plain_meta: bool,
}

/// Judges a stream for a forecast. Nothing on disk changes.
pub(crate) fn foresee(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
) -> Foreseen {
    let Examined {
        report,
        setup,
        cut_short,
        readable,
        ..
    } = judge(fs, stream, options, watch, true);
    let inf = StreamFiles::new(fs, &stream.dir).read("meta.inf");
    Foreseen {
        report,
        readable,
        cut_short,
        recreates: setup
            .as_ref()
            .is_some_and(|setup| setup.needs_meta && options.keys.current.is_some()),
        raft_group: setup.as_ref().is_some_and(|setup| setup.raft_group),
        plain_meta: inf.is_ok_and(|inf| crate::format::meta::StreamMeta::parse(&inf).is_ok()),
    }
}

/// What the files hold; with `purged`, what a purge that is under way leaves of it.
pub(crate) fn held(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    purged: bool,
    watch: &Watch<'_>,
) -> Holdings {
    let msgs = if purged { "__new_msgs__" } else { "msgs" };
    holdings(fs, stream, msgs, options, watch)
}

/// What reading some of a stream's blocks took, on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sampled {
    /// Bytes of the files read.
    pub file_bytes: u64,
    /// Records in them.
    pub records: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether any of them was compressed.
    pub compressed: bool,
    /// Bytes of all block files.
    pub total_bytes: u64,
    /// Bytes of `index.db`, 0 where there is none.
    pub index_bytes: u64,
    /// The cipher of the blocks.
    pub cipher: Option<Cipher>,
}

/// Reads, decrypts, decompresses and verifies blocks up to `limit_bytes`, by the clock.
pub(crate) fn sample(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    clock: &dyn Clock,
    limit_bytes: u64,
) -> Sampled {
    let files = StreamFiles::new(fs, &stream.dir);
    let mut sampled = Sampled {
        index_bytes: files.length("msgs/index.db").unwrap_or(0),
        ..Sampled::default()
    };
    let entries = files.list("msgs").unwrap_or_default();
    let number_of = |name: &super::files::Name| names::block_number(name.name.as_encoded_bytes());
    let blocks = entries.iter().filter(|entry| !entry.is_dir);
    sampled.total_bytes = blocks
        .filter(|entry| number_of(entry).is_some())
        .map(|entry| entry.length)
        .sum();
    let Ok(setup) = setup_of(files, stream, options) else {
        return sampled;
    };
    let keys = setup.keys(options);
    sampled.cipher = keys.current.is_some().then_some(keys.cipher);
    let begun_ns = clock.now_ns();
    let (mut file, mut spare, mut run) = (Vec::new(), Vec::new(), Run::new());
    for number in entries.iter().filter_map(number_of) {
        if sampled.file_bytes >= limit_bytes {
            break;
        }
        if files
            .read_into(&format!("msgs/{number}.blk"), &mut file)
            .is_err()
        {
            continue;
        }
        sampled.file_bytes += file.len() as u64;
        let key = keys.open_block_key(number, files.read(&format!("msgs/{number}.key")));
        let cipher = match &key {
            Ok(BlockKey::Opened(opened)) => Some(BlockCipher::new(&opened.seed, &opened.nonce)),
            _ => None,
        };
        let hash_key = HashKey::for_block(keys.stream, number);
        if let Ok(decoded) = decode(&mut file, &mut spare, cipher.as_ref(), &hash_key) {
            sampled.compressed |= decoded.compressed;
            let walked = walk(&file, &hash_key, Known::default(), &mut run, &mut ());
            sampled.records += walked.messages;
        }
    }
    sampled.seconds = clock.now_ns().saturating_sub(begun_ns).max(0) as f64 / 1e9;
    sampled
}
