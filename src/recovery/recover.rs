//! Recovering a stream: judge, ask, apply.

use std::fmt;

use super::apply::{self, ApplyKeys, Interrupted};
use super::hand_over::Unapplied;
use super::judge::{JudgeOptions, Judgement, judge_as};
use super::simulate::StreamKeys;
use super::undo::{self, Recorder, UndoError, UndoReport};
use super::walked::WalkedBlocks;
use crate::crypto::{Cipher, Seed};
use crate::env::{Entropy, FileSystem, IoError, LockError, LockGuard, ReadFiles};
use crate::format::seqset::SeqSet;
use crate::living::{Idle, Pulse};
use crate::report::actions::Change;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::{Outcome, Refusal, StreamReport};
use crate::report::{Phase, Progress, Watch};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// What a recovery may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoverOptions {
    /// Go on where messages would be lost.
    pub accept_loss: bool,
    /// Go on where messages would go by their age and none stays. Only who draws up the account of all messages asks for it.
    pub accept_expiry: bool,
    /// Put everything aside before it is changed, so that [`undo`] can bring it back.
    pub undo: bool,
}

impl Default for RecoverOptions {
    fn default() -> Self {
        RecoverOptions {
            accept_loss: false,
            accept_expiry: false,
            undo: true,
        }
    }
}

/// Does to one stream directory what opening the store does, and leaves a fresh index behind.
///
/// The directory is locked against other recoveries meanwhile. That no server uses the store is for `idle` to say; where a
/// file changes between two looks nothing is done either. Where the server's open would fail or crash, and where messages would be lost
/// without [`RecoverOptions::accept_loss`], nothing is changed; the report says so. An error in the
/// middle takes back what was done, if it was put aside.
///
/// A loss, here, is what the server's open takes away. What an index or a consumer proves to be gone already is told by the account of
/// all messages alone: the command's `recover`, which is `salvage::audit::recover`, draws it up and asks by it.
pub fn recover(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
    options: &Options,
    recover: &RecoverOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> StreamReport {
    let recovery = Recovery {
        fs,
        idle,
        stream,
        options,
        keep_undo: recover.undo,
        spares_blocks: false,
        entropy,
        watch,
    };
    let mut ask = asks_for_losses(recover);
    recovery.run(WalkedBlocks::default(), &mut ask).report
}

/// Looks at a judgement, with the sequences that the server would have and could read, before it is applied. What it returns
/// keeps that from happening, and goes into the report.
pub(crate) type Ask<'a> = &'a mut dyn FnMut(&mut StreamReport, &SeqSet) -> Option<Event>;

/// A recovery of one stream: on what, and within which bounds.
pub(crate) struct Recovery<'a> {
    pub fs: &'a dyn FileSystem,
    pub idle: &'a Idle,
    pub stream: &'a StreamDir,
    pub options: &'a Options,
    pub keep_undo: bool,
    /// Whether the files of blocks that the server would drop stay, for an owner who takes them away himself once he has written anew what
    /// they alone tell.
    pub spares_blocks: bool,
    pub entropy: &'a dyn Entropy,
    pub watch: &'a Watch<'a>,
}

/// How a recovery came out.
pub(crate) struct Recovered {
    pub report: StreamReport,
    /// What the stream is by now, with the right to it.
    pub(super) state: Option<(Unapplied, LockGuard)>,
    /// Numbers of blocks whose files would have gone.
    pub(super) spared: Vec<u32>,
}

/// Wants [`RecoverOptions::accept_loss`] where messages would be lost.
pub(super) fn asks_for_losses(
    recover: &RecoverOptions,
) -> impl FnMut(&mut StreamReport, &SeqSet) -> Option<Event> {
    let accepts = recover.accept_loss;
    move |report, _| {
        let detail = "messages would be lost: nothing was changed. `jetsam salvage` copies everything that verifies; \
                      --accept-loss goes on regardless";
        let asks = report.loses_messages && !accepts;
        asks.then(|| Event::new(EventCode::LossNeedsConsent, detail))
    }
}

impl Recovery<'_> {
    /// Does it, without reading again the blocks in `walked` where the state is rebuilt from the blocks, and unless `ask` has
    /// something against it.
    pub(crate) fn run(&self, walked: WalkedBlocks, ask: Ask<'_>) -> Recovered {
        let Recovery {
            fs, idle, stream, ..
        } = *self;
        let lock = match own(fs, idle, stream) {
            Ok(lock) => lock,
            Err((refusal, event)) => {
                return Recovered::without(refused(stream.blank_report(), refusal, event));
            }
        };
        let interrupted = match apply::finish_interrupted(fs, &stream.dir) {
            Ok(interrupted) => interrupted,
            Err(error) => {
                let event = Event::new(EventCode::IoError, error.to_string());
                return Recovered::without(refused(stream.blank_report(), Refusal::Io, event));
            }
        };
        let mut judged = match self.judge(walked, &interrupted) {
            Ok(judged) => judged,
            Err(report) => return Recovered::without(*report),
        };
        // Asking reads the blocks once more.
        let before = Pulse::take(fs, &stream.dir);
        if let Some(event) = ask(&mut judged.report, &judged.readable) {
            judged.report.events.push(event);
            return Recovered::without(judged.report);
        }
        if let Err((refusal, event)) = still(fs, stream, before) {
            return Recovered::without(refused(judged.report, refusal, event));
        }
        let mut spared = Vec::new();
        if self.spares_blocks {
            spared = judged.plan.spare_blocks();
        }
        match self.apply(&judged) {
            Ok(()) => Recovered {
                report: judged.report,
                state: judged.state.map(|state| (state, lock)),
                spared,
            },
            Err(event) => Recovered::without(refused(judged.report, Refusal::Io, event)),
        }
    }

    /// The judgement of a stream that opens and held still meanwhile.
    fn judge(
        &self,
        walked: WalkedBlocks,
        interrupted: &Interrupted,
    ) -> Result<Judgement, Box<StreamReport>> {
        let how = JudgeOptions {
            wants_changes: true,
            wants_readable: true,
            walked,
            ..JudgeOptions::default()
        };
        let before = Pulse::take(self.fs, &self.stream.dir);
        let mut judged = judge_as(self.fs, self.stream, self.options, self.watch, how);
        if let Some(event) = note_interrupted(interrupted) {
            judged.report.events.insert(0, event);
        }
        note_unseen(&mut judged.report, self.idle);
        // What was judged while it changed is no judgement, not even a refusal.
        if let Err((refusal, event)) = still(self.fs, self.stream, before) {
            return Err(Box::new(refused(judged.report, refusal, event)));
        }
        match judged.report.refusal {
            None => Ok(judged),
            Some(_) => Err(Box::new(judged.report)),
        }
    }

    fn apply(&self, judged: &Judgement) -> Result<(), Event> {
        let changes = judged.plan.changes();
        if let Some(setup) = &judged.setup
            && !changes.is_empty()
        {
            (self.watch.progress)(Progress {
                phase: Phase::Apply,
                done: 0,
                total: changes.len() as u64,
            });
            perform(
                self.fs,
                self.stream,
                &setup.keys(self.options),
                setup.asset_key.clone(),
                changes,
                self.keep_undo,
                self.entropy,
            )?;
        }
        Ok(())
    }
}

impl Recovered {
    fn without(report: StreamReport) -> Self {
        Recovered {
            report,
            state: None,
            spared: Vec::new(),
        }
    }
}

pub(super) fn perform(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    keys: &StreamKeys<'_>,
    asset_key: Option<(Seed, Cipher)>,
    changes: &[Change],
    keep_undo: bool,
    entropy: &dyn Entropy,
) -> Result<(), Event> {
    let keys = ApplyKeys {
        ring: keys.ring(),
        stream: keys.stream,
        asset_key,
    };
    let mut recorder = keep_undo
        .then(|| Recorder::new(fs, &stream.dir))
        .transpose()
        .map_err(|error| Event::new(EventCode::IoError, error.to_string()))?;
    let never = || false;
    apply::apply(
        fs,
        &stream.dir,
        changes,
        &keys,
        entropy,
        recorder.as_mut(),
        &never,
    )
    .map(|_| ())
    .map_err(|error| {
        let mut event = Event::new(EventCode::IoError, error.to_string());
        event.file = (!error.path.is_empty()).then(|| error.path.clone());
        event
    })
}

pub(super) fn refused(mut report: StreamReport, refusal: Refusal, event: Event) -> StreamReport {
    report.outcome = Outcome::Refused;
    report.refusal = Some(refusal);
    report.events.push(event);
    report
}

pub(super) fn note_interrupted(interrupted: &Interrupted) -> Option<Event> {
    let detail = match interrupted {
        Interrupted::Nothing => return None,
        Interrupted::RolledBack(report) => format!(
            "an interrupted recovery was taken back first: {} files brought back, {} removed",
            report.restored.len(),
            report.removed.len()
        ),
        Interrupted::Completed(files) => {
            format!(
                "an interrupted recovery was finished first: {}",
                files.join(", ")
            )
        }
    };
    Some(Event::new(EventCode::LeftOverFile, detail))
}

/// Takes the directory for this process, or says who has it.
pub(super) fn own(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
) -> Result<LockGuard, (Refusal, Event)> {
    if !idle.covers(&stream.dir) {
        let detail = "it was looked whether another store is in use, not this one";
        return Err((Refusal::Busy, Event::new(EventCode::StoreBusy, detail)));
    }
    fs.lock_exclusive(&stream.dir).map_err(|error| match error {
        LockError::HeldElsewhere { .. } => {
            let detail = "another recovery of this stream is under way";
            (Refusal::Busy, Event::new(EventCode::StoreBusy, detail))
        }
        LockError::Io(error) => (
            Refusal::Io,
            Event::new(EventCode::IoError, error.to_string()),
        ),
    })
}

/// Insists that no file changed since `before`: a server that cannot be seen shows in nothing else.
pub(super) fn still(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    before: Result<Pulse, IoError>,
) -> Result<(), (Refusal, Event)> {
    let io = |error: IoError| {
        (
            Refusal::Io,
            Event::new(EventCode::IoError, error.to_string()),
        )
    };
    let before = before.map_err(io)?;
    let after = Pulse::take(fs, &stream.dir).map_err(io)?;
    let Some(stir) = before.stirred(&after) else {
        return Ok(());
    };
    let detail = format!(
        "{stir} while the stream was being read: somebody is using the store. Nothing was changed"
    );
    let event = Event::new(EventCode::ReadChangedUnderneath, detail)
        .severity(Severity::Error)
        .file(stir.file.to_string_lossy());
    Err((Refusal::Busy, event))
}

/// Says where servers could be that nobody here can see.
pub(super) fn note_unseen(report: &mut StreamReport, idle: &Idle) {
    if let Some(kind) = idle.network() {
        let detail = format!(
            "the store lies on a file system of the network ({kind}): servers on other machines cannot be seen from here"
        );
        let event = Event::new(EventCode::ServersUnseen, detail);
        report.events.push(event);
    }
}

/// Why an undo did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoFailure {
    /// Someone else has the store.
    Busy(String),
    /// What was put aside cannot be brought back.
    Undo(UndoError),
}

impl fmt::Display for UndoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UndoFailure::Busy(detail) => f.write_str(detail),
            UndoFailure::Undo(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UndoFailure {}

/// Brings back, byte for byte, what the last [`recover`] of the stream put aside. `None`: nothing was.
///
/// # Errors
///
/// [`UndoFailure`]; nothing is changed where the store changed since.
pub fn undo(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
) -> Result<Option<UndoReport>, UndoFailure> {
    let _lock = own(fs, idle, stream).map_err(|(_, event)| UndoFailure::Busy(event.detail))?;
    match undo::undo(fs, &stream.dir) {
        Ok(report) => Ok(Some(report)),
        Err(UndoError::NothingToUndo) => Ok(None),
        Err(error) => Err(UndoFailure::Undo(error)),
    }
}
