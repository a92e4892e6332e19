//! From a judged stream to one that somebody owns: the state that recovery found, once it is what the disk holds.

use std::collections::BTreeMap;
use std::fmt;

use super::judge::{JudgeOptions, judge_as};
use super::recover::{RecoverOptions, Recovered, Recovery, asks_for_losses};
use super::walked::WalkedBlocks;
use crate::env::{Entropy, FileSystem, LockGuard, ReadFiles};
use crate::format::names::{self, BlockFile, MESSAGES};
use crate::format::seqset::SeqSet;
use crate::living::Idle;
use crate::report::Watch;
use crate::report::actions::Change;
use crate::report::events::{Event, EventCode};
use crate::report::stream::StreamReport;
use crate::state::{SeqTime, StreamState, Unsound};
use crate::stream::StreamDir;
use crate::stream::files::StreamFiles;
use crate::stream::options::Options;

/// What has to change on disk, in an order that survives a crash between any two changes.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) changes: Vec<Change>,
}

impl Plan {
    pub(super) fn of(changes: Vec<Change>) -> Self {
        Plan { changes }
    }

    /// Whether nothing has to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes, in their order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Leaves out what takes the files of blocks away; the blocks' numbers.
    pub(super) fn spare_blocks(&mut self) -> Vec<u32> {
        let mut spared = Vec::new();
        let gone = |change: &Change| match change {
            Change::RemoveFile { path } => BlockFile::parse_path(path),
            _ => None,
        };
        for change in &self.changes {
            if let Some((number, BlockFile::Block)) = gone(change) {
                spared.push(number);
            }
        }
        let stays = |(number, file)| {
            matches!(file, BlockFile::Block | BlockFile::Key) && spared.contains(&number)
        };
        self.changes
            .retain(|change| !gone(change).is_some_and(stays));
        spared
    }
}

/// What a stream is once its plan is carried out.
#[derive(Debug)]
pub struct Unapplied {
    state: StreamState,
    told_last: Option<SeqTime>,
}

/// Why a state is not handed over.
#[derive(Debug)]
enum Unsettled {
    /// It does not agree with itself: the server would go on with it, and be wrong.
    Unsound(Unsound),
    /// The next start would find another state, for the server's bookkeeping does not survive its own files; what differs.
    Unstable(String),
    /// The directory is not what the state says of it.
    Block {
        /// The block whose file is not there.
        number: u32,
    },
    /// The directory cannot be listed.
    Io(String),
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsettled::Unsound(unsound) => unsound.fmt(f),
            Unsettled::Unstable(difference) => {
                write!(f, "the next start would find another state: {difference}")
            }
            Unsettled::Block { number } => write!(f, "msgs/{number}.blk is not there after all"),
            Unsettled::Io(detail) => f.write_str(detail),
        }
    }
}

impl Unapplied {
    pub(super) fn of(mut state: StreamState) -> Self {
        // The server lists what an erased or skipped record at a block's start leaves behind it, though the block begins later.
        for block in &mut state.blocks {
            block.deleted.remove_below(block.first.seq);
        }
        let told_last = told_last(&state);
        place_blocks_without_messages(&mut state);
        Unapplied { state, told_last }
    }

    /// What the state will be. Nobody may go on from it yet: the disk is not there.
    #[must_use]
    pub fn preview(&self) -> &StreamState {
        &self.state
    }

    /// The same, for whoever only compares.
    #[must_use]
    pub fn into_preview(self) -> StreamState {
        self.state
    }

    /// The state, for whoever has carried out its plan: held against itself and against the files. With it the blocks whose files are there
    /// and that it does not know.
    fn settle(
        self,
        fs: &dyn ReadFiles,
        stream: &StreamDir,
    ) -> Result<(StreamState, Vec<u32>), Unsettled> {
        let mut state = self.state;
        state.check().map_err(Unsettled::Unsound)?;
        let listed = StreamFiles::new(fs, &stream.dir).list(MESSAGES);
        let listed = listed.map_err(|fault| Unsettled::Io(fault.to_string()))?;
        let mut lengths: BTreeMap<u32, u64> = listed
            .iter()
            .filter_map(|entry| {
                let number = names::block_number(entry.name.as_encoded_bytes())?;
                Some((number, entry.length))
            })
            .collect();
        for block in &mut state.blocks {
            let number = block.number;
            let length = lengths.remove(&number).ok_or(Unsettled::Block { number })?;
            if !block.compressed {
                block.raw_bytes = length;
            }
        }
        Ok((state, lengths.into_keys().collect()))
    }
}

/// The highest sequence that a block without a message tells of, where the stream is not known to reach it.
fn told_last(state: &StreamState) -> Option<SeqTime> {
    let blocks = state.blocks.iter().filter(|block| block.message_count == 0);
    let told = blocks.map(|block| block.last).max_by_key(|last| last.seq)?;
    (told.seq > state.totals.last.seq).then_some(told)
}

/// Gives blocks without a message a place between their neighbours. By their own records they stand where their highest tombstone says,
/// which may be behind what follows and before what precedes.
fn place_blocks_without_messages(state: &mut StreamState) {
    let mut before = 0;
    for block in &mut state.blocks {
        if block.message_count == 0 && block.last.seq < before {
            block.last.seq = before;
            block.first.seq = before + 1;
        }
        before = before.max(block.last.seq);
    }
    let mut behind = state.totals.last.seq.saturating_add(1);
    for block in state.blocks.iter_mut().rev() {
        if block.message_count > 0 {
            behind = block.first.seq;
        } else if block.last.seq >= behind {
            block.last.seq = behind.saturating_sub(1);
            block.first.seq = behind;
        }
    }
}

/// Holds a state against what the directory is judged to be now: what was lost is kept in no file.
fn stays(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    watch: &Watch<'_>,
    state: StreamState,
) -> Result<StreamState, Unsettled> {
    // Age and limits have been seen to; a start that came to them another way would take more now.
    let options = Options {
        quick: true,
        expire: false,
        limits: false,
        ..options.clone()
    };
    let again = judge_as(fs, stream, &options, watch, JudgeOptions::default());
    let difference = match &again.state {
        None => Some("it does not open".to_owned()),
        Some(unapplied) => unapplied.preview().difference_but_losses(&state),
    };
    match difference {
        None => Ok(state),
        Some(difference) => Err(Unsettled::Unstable(difference)),
    }
}

/// A recovered stream with its owner's rights.
#[derive(Debug)]
pub struct HandedOver {
    /// What was found and done.
    pub report: StreamReport,
    /// The state, and the lock under which it is the directory's. `None` where the report says why not.
    pub state: Option<(StreamState, LockGuard)>,
    /// A sequence behind the state's last that a tombstone speaks of. The server goes by the last block alone, and would hand out once
    /// more what lies in between; whoever owns the stream writes evidence behind all records before anything else.
    pub told_last: Option<SeqTime>,
    /// Numbers of blocks that the state does not know and whose files are there: the server's index leaves out those without a message,
    /// whose tombstones may yet be all that tells of what is gone.
    pub unlisted: Vec<u32>,
    /// Numbers of blocks that the report says are removed and whose files are there: their tombstones may be all that tells of what is
    /// gone. The owner takes them away once that is written anew.
    pub spared: Vec<u32>,
}

/// Recovers a stream as [`super::recover`] does and hands over what it is, under the lock that was held all the while.
///
/// What an interrupted write left at the end of the last block needs no consent; the report says that it went.
///
/// No state is handed over where nothing was changed for want of consent, where the server's open would fail, where the state does
/// not agree with itself, and where the next start would find another; the report has an event for each.
pub fn hand_over(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
    options: &Options,
    recover: &RecoverOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> HandedOver {
    let recovery = Recovery {
        fs,
        idle,
        stream,
        options,
        keep_undo: recover.undo,
        spares_blocks: true,
        entropy,
        watch,
    };
    let mut asks = asks_for_losses(recover);
    // Whoever goes on writing had not been told yet that this is stored.
    let mut ask = |report: &mut StreamReport, readable: &SeqSet| match report.ends_torn {
        true => None,
        false => asks(report, readable),
    };
    let Recovered {
        mut report,
        state,
        spared,
    } = recovery.run(WalkedBlocks::default(), &mut ask);
    let Some((unapplied, lock)) = state else {
        return HandedOver {
            report,
            state: None,
            told_last: None,
            unlisted: Vec::new(),
            spared: Vec::new(),
        };
    };
    let told_last = unapplied.told_last;
    let settled = unapplied.settle(fs, stream);
    // Where nothing was changed, and the first judgement was this very one, it would come out the same.
    let is_judged =
        report.actions.is_empty() && options.quick && !options.expire && !options.limits;
    let settled = match is_judged {
        true => settled,
        false => settled.and_then(|(state, unlisted)| {
            stays(fs, stream, options, watch, state).map(|state| (state, unlisted))
        }),
    };
    let mut unlisted = Vec::new();
    let state = match settled {
        Ok((state, found)) => {
            unlisted = found;
            Some((state, lock))
        }
        Err(unsettled) => {
            let detail = format!("nobody should write on to the stream: {unsettled}");
            report
                .events
                .push(Event::new(EventCode::StateUnsound, detail));
            None
        }
    };
    HandedOver {
        report,
        state,
        told_last,
        unlisted,
        spared,
    }
}
