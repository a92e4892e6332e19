//! The side files of a new store, made by recovering it from its blocks; and the proof that it came out as promised.

use super::copy::sealing_of;
use super::error::SalvageError;
use super::plan::NewStoreKeys;
use super::survey::Survey;
use crate::env::{Entropy, FileSystem};
use crate::format::names::STATE_PATH;
use crate::living::Idle;
use crate::recovery::walked::WalkedBlocks;
use crate::recovery::{Recovery, examine};
use crate::report::events::{Event, EventCode};
use crate::report::stream::{Source, State, StreamReport};
use crate::report::{Phase, Progress, Watch};
use crate::stream::StreamDir;
use crate::stream::options::{Collect, Keys, Options, Policy};
use crate::stream::writer::Sealing;

/// What a new store was found to be.
pub type Finished = StreamReport;

/// What the new store has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// Messages.
    pub messages: u64,
    /// First sequence.
    pub first_seq: u64,
    /// Last sequence.
    pub last_seq: u64,
}

impl Promise {
    /// What a survey promises.
    #[must_use]
    pub fn of(found: &Survey) -> Self {
        let trust = &found.trust;
        let last_seq = trust.last.seq.max(trust.live.last().unwrap_or(0));
        let empty = last_seq + u64::from(last_seq > 0);
        Promise {
            messages: trust.live.len(),
            first_seq: trust.live.first().unwrap_or(empty),
            last_seq,
        }
    }
}

/// Makes the side files of the store in `made`, and compares it with what was promised. The blocks in `walked` are taken
/// for what they were when they were verified, if they still look it; all others are read.
#[expect(clippy::too_many_arguments, reason = "nothing to group them by")]
pub(super) fn settle_as(
    fs: &dyn FileSystem,
    made: &StreamDir,
    promise: Promise,
    account: &[u8],
    options: &Options,
    target: NewStoreKeys,
    walked: WalkedBlocks,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> Result<Finished, SalvageError> {
    let quietly = Watch {
        progress: &|progress: Progress| {
            if progress.phase != Phase::Apply {
                (watch.progress)(progress);
            }
        },
        cancel: watch.cancel,
    };
    let mut own = own_options(options, account, target);
    own.no_index = true;
    // Nobody else knows of the new store yet.
    let idle = Idle::declared();
    let recovery = Recovery {
        fs,
        idle: &idle,
        stream: made,
        options: &own,
        keep_undo: false,
        spares_blocks: false,
        entropy,
        watch: &quietly,
    };
    let report = recovery.run(walked, &mut |_, _| None).report;
    let mismatch = |detail: String| SalvageError::Mismatch {
        dir: made.dir.clone(),
        detail,
    };
    if watch.cancel.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(SalvageError::Interrupted(made.dir.clone()));
    }
    let Some(state) = &report.state else {
        let last = report.events.last();
        return Err(mismatch(last.map_or_else(
            || "it cannot be opened".to_owned(),
            |event| event.detail.clone(),
        )));
    };
    compare(state, promise).map_err(mismatch)?;
    own.no_index = false;
    own.collect = Collect {
        digest: false,
        ..options.collect
    };
    let mut again = examine(fs, made, &own, &quietly);
    if again.source != Some(Source::Index) {
        let about_index = |event: &&Event| event.file.as_deref() == Some(STATE_PATH);
        let event = again.events.iter().find(about_index);
        let why = event.map_or("its index is not taken", |event| event.detail.as_str());
        // No server takes an index with such a subject; the message is kept all the same.
        if event.is_none_or(|event| event.code != EventCode::IndexSubjectInvalid) {
            let detail = format!("a server would not take the fast path: {why}");
            return Err(mismatch(detail));
        }
    }
    if let Some(state) = &again.state {
        compare(state, promise).map_err(mismatch)?;
    }
    again.digest = report.digest;
    again.unreadable = report.unreadable;
    Ok(again)
}

fn own_options(options: &Options, account: &[u8], target: NewStoreKeys) -> Options {
    let mut own = Options::new(options.now_ns);
    own.policy = Policy::Evidence;
    own.expire = false;
    own.limits = false;
    own.quick = true;
    own.threads = options.threads;
    own.account = Some(account.to_vec());
    own.block_size = options.block_size;
    own.collect = options.collect;
    if let Sealing::Key { server, cipher } = sealing_of(target, &options.keys) {
        own.keys = Keys {
            current: Some(server.clone()),
            previous: None,
            cipher: Some(cipher),
        };
    }
    own
}

fn compare(state: &State, promise: Promise) -> Result<(), String> {
    let numbers = [
        ("messages", promise.messages, state.messages),
        ("first sequence", promise.first_seq, state.first_seq),
        ("last sequence", promise.last_seq, state.last_seq),
    ];
    for (what, promised, is) in numbers {
        // A stream that never had a message may say 0 or 1.
        if promised != is && (promise.last_seq > 0 || what == "messages") {
            return Err(format!("{what} {promised} promised, {is} found"));
        }
    }
    Ok(())
}
