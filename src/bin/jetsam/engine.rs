//! What the command asks of the library, as one seam: the verbs are tested against a stand-in.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use jetsam::recovery::{Flow, Item, Message, RecoverOptions, UndoReport};
pub use jetsam::report::{Phase, Progress};
pub use jetsam::stream::{Found, Shape, StreamDir};

use jetsam::living::{Idle, Pulse, Sighting};
use jetsam::preflight::{Forecast, PreflightOptions};
use jetsam::report::Ledger;
use jetsam::report::ServerVersion;
use jetsam::report::stream::StreamReport;
use jetsam::salvage::hit::Hit;
use jetsam::salvage::{MergeSource, SalvageError, SalvageReport, Sorted};
use jetsam::stream::options::Options;

use crate::{merge, salvage};

/// Something that stops a verb before, or instead of, a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineError {
    /// The path holds no store: wrong usage.
    NotAStore(String),
    /// A file or directory could not be read or written, a key is missing, the store is busy:
    /// the caller can help.
    Unreadable(String),
}

impl EngineError {
    /// The sentence for the operator.
    pub fn message(&self) -> &str {
        match self {
            EngineError::NotAStore(message) | EngineError::Unreadable(message) => message,
        }
    }
}

/// What a salvage of one stream gives.
pub type Salvaged = Result<SalvageReport, SalvageError>;

/// How progress is told; called from any thread.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// The library, as the command sees it.
pub trait Engine: Sync {
    /// The streams below `path`.
    fn find_streams(&self, path: &Path) -> Result<Found, EngineError>;

    /// Who uses the store at `path`, or the one it lies in.
    fn look(&self, path: &Path) -> Sighting;

    /// The sizes and times of a stream's files; `None` where they cannot be had.
    fn pulse(&self, stream: &StreamDir) -> Option<Pulse>;

    /// Scans and judges without writing.
    fn examine(
        &self,
        stream: &StreamDir,
        options: &Options,
        on_progress: OnProgress<'_>,
    ) -> StreamReport;

    /// Scans, judges and applies.
    fn recover(
        &self,
        stream: &StreamDir,
        options: &Options,
        recover: RecoverOptions,
        idle: &Idle,
        on_progress: OnProgress<'_>,
    ) -> StreamReport;

    /// Tells what a server would do.
    fn forecast(
        &self,
        stream: &StreamDir,
        options: &Options,
        preflight: PreflightOptions,
        on_progress: OnProgress<'_>,
    ) -> Forecast;

    /// Names what the lost messages of a stream were.
    fn hits(&self, stream: &StreamDir, options: &Options, ledger: &Ledger) -> Vec<Hit>;

    /// Names what the lost messages of a merged stream were.
    fn hits_of_copies(
        &self,
        copies: &[MergeSource],
        made: &StreamDir,
        options: &Options,
        ledger: &Ledger,
    ) -> Vec<Hit>;

    /// Writes the side files anew.
    fn rebuild_index(
        &self,
        stream: &StreamDir,
        options: &Options,
        server: ServerVersion,
        idle: &Idle,
        on_progress: OnProgress<'_>,
    ) -> StreamReport;

    /// Brings back what the last recovery put aside; `None` where nothing was.
    fn undo(&self, stream: &StreamDir, idle: &Idle) -> Result<Option<UndoReport>, EngineError>;

    /// Whether the new store can go to `out`, apart from `sources`; else why not.
    fn check_out(&self, sources: &[PathBuf], out: &Path, resume: bool) -> Result<(), String>;

    /// Which directory holds which stream, and what each is called in a new store.
    fn sort_out(&self, streams: &[StreamDir], options: &Options) -> Vec<Sorted>;

    /// Copies what can be proven of one stream, and judges what was written.
    fn salvage(
        &self,
        stream: &Sorted,
        options: &Options,
        query: &salvage::Query,
        on_progress: OnProgress<'_>,
    ) -> SalvageReport;

    /// One store from several copies.
    fn merge(
        &self,
        copies: &[MergeSource],
        options: &Options,
        query: &merge::Query,
        on_progress: OnProgress<'_>,
    ) -> Salvaged;

    /// Writes the summary into the new store's directory.
    fn write_summary(&self, out: &Path, summary: &serde_json::Value) -> Result<(), String>;

    /// Visits the live messages of `range` until the visitor has enough.
    fn messages(
        &self,
        stream: &StreamDir,
        options: &Options,
        range: RangeInclusive<u64>,
        visit: &mut dyn FnMut(Item<'_>) -> Flow,
    ) -> Result<(), EngineError>;
}
