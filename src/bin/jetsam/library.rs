//! The engine of the command: the library itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use jetsam::env::{OsClock, OsEntropy, OsFileSystem};
use jetsam::living::{self, Idle, Pulse, Sighting};
use jetsam::preflight::{self, Forecast, PreflightOptions};
use jetsam::recovery;
use jetsam::report::Ledger;
use jetsam::report::ServerVersion;
use jetsam::report::Watch;
use jetsam::report::stream::StreamReport;
use jetsam::salvage::hit::Hit;
use jetsam::salvage::{self as saving, MergeSource, SalvageReport, Sorted};
use jetsam::stream::WalkError;
use jetsam::stream::options::{Options, Policy, Standing};

use crate::engine::{
    Engine, EngineError, Flow, Found, Item, OnProgress, RecoverOptions, Salvaged, StreamDir,
    UndoReport,
};
use crate::{merge, out, salvage, writing};

/// The library.
#[derive(Debug, Default)]
pub struct Library {
    /// By directory of accounts, since every stream of a store asks.
    standings: Mutex<BTreeMap<PathBuf, Standing>>,
}

impl Library {
    /// The options for one stream: a store that was a cluster member's is judged as one.
    fn options_for(&self, stream: &StreamDir, options: &Options) -> Options {
        let mut options = options.clone();
        if options.standing == Standing::Standalone
            && let Some(dir) = jetsam::stream::accounts_dir(stream)
            && let Ok(mut known) = self.standings.lock()
        {
            let standing = known
                .entry(dir)
                .or_insert_with_key(|dir| jetsam::stream::standing(&OsFileSystem, dir));
            options.standing = *standing;
        }
        options
    }
}

static NEVER: AtomicBool = AtomicBool::new(false);

fn watch(on_progress: OnProgress<'_>) -> Watch<'_> {
    Watch {
        progress: on_progress,
        cancel: &NEVER,
    }
}

impl Engine for Library {
    fn find_streams(&self, path: &Path) -> Result<Found, EngineError> {
        jetsam::stream::find_streams(&OsFileSystem, path).map_err(|error| match &error {
            WalkError::Io(_) => EngineError::Unreadable(error.to_string()),
            _ => EngineError::NotAStore(error.to_string()),
        })
    }

    fn look(&self, path: &Path) -> Sighting {
        living::look(&OsFileSystem, path)
    }

    fn pulse(&self, stream: &StreamDir) -> Option<Pulse> {
        Pulse::take(&OsFileSystem, &stream.dir).ok()
    }

    fn examine(
        &self,
        stream: &StreamDir,
        options: &Options,
        on_progress: OnProgress<'_>,
    ) -> StreamReport {
        let options = &self.options_for(stream, options);
        if options.policy == Policy::Evidence {
            let result = saving::check(&OsFileSystem, stream, options, &watch(on_progress));
            return salvage::or_refused(stream, result).stream;
        }
        saving::audit::check(&OsFileSystem, stream, options, &watch(on_progress))
    }

    fn recover(
        &self,
        stream: &StreamDir,
        options: &Options,
        recover: RecoverOptions,
        idle: &Idle,
        on_progress: OnProgress<'_>,
    ) -> StreamReport {
        let options = &self.options_for(stream, options);
        saving::audit::recover(
            &OsFileSystem,
            idle,
            stream,
            options,
            &recover,
            &OsEntropy,
            &watch(on_progress),
        )
    }

    fn forecast(
        &self,
        stream: &StreamDir,
        options: &Options,
        mut preflight: PreflightOptions,
        on_progress: OnProgress<'_>,
    ) -> Forecast {
        let speed = preflight::measure(&OsFileSystem, stream, options, &OsClock);
        preflight.speed = Some(speed);
        let watch = watch(on_progress);
        preflight::forecast(&OsFileSystem, stream, options, &preflight, &watch)
    }

    fn hits(&self, stream: &StreamDir, options: &Options, ledger: &Ledger) -> Vec<Hit> {
        saving::hit::hits(&OsFileSystem, stream, options, ledger, &watch(&|_| {}))
    }

    fn hits_of_copies(
        &self,
        copies: &[MergeSource],
        made: &StreamDir,
        options: &Options,
        ledger: &Ledger,
    ) -> Vec<Hit> {
        let watch = watch(&|_| {});
        saving::hit::hits_of_copies(&OsFileSystem, copies, made, options, ledger, &watch)
    }

    fn rebuild_index(
        &self,
        stream: &StreamDir,
        options: &Options,
        server: ServerVersion,
        idle: &Idle,
        on_progress: OnProgress<'_>,
    ) -> StreamReport {
        let options = &self.options_for(stream, options);
        let watch = watch(on_progress);
        recovery::rebuild_index(
            &OsFileSystem,
            idle,
            stream,
            options,
            server,
            &OsEntropy,
            &watch,
        )
    }

    fn undo(&self, stream: &StreamDir, idle: &Idle) -> Result<Option<UndoReport>, EngineError> {
        recovery::undo(&OsFileSystem, idle, stream)
            .map_err(|error| EngineError::Unreadable(error.to_string()))
    }

    fn check_out(&self, sources: &[PathBuf], place: &Path, resume: bool) -> Result<(), String> {
        out::check(sources, place, resume)
    }

    fn sort_out(&self, streams: &[StreamDir], options: &Options) -> Vec<Sorted> {
        saving::sort_out(&OsFileSystem, streams, options, &watch(&|_| {}))
    }

    fn salvage(
        &self,
        sorted: &Sorted,
        options: &Options,
        query: &salvage::Query,
        on_progress: OnProgress<'_>,
    ) -> SalvageReport {
        let options = &self.options_for(&sorted.stream, options);
        writing::salvage(sorted, options, query, &watch(on_progress))
    }

    fn merge(
        &self,
        copies: &[MergeSource],
        options: &Options,
        query: &merge::Query,
        on_progress: OnProgress<'_>,
    ) -> Salvaged {
        writing::merge(copies, options, query, &watch(on_progress))
    }

    fn write_summary(&self, place: &Path, summary: &serde_json::Value) -> Result<(), String> {
        out::write_summary(place, summary)
    }

    fn messages(
        &self,
        stream: &StreamDir,
        options: &Options,
        range: RangeInclusive<u64>,
        visit: &mut dyn FnMut(Item<'_>) -> Flow,
    ) -> Result<(), EngineError> {
        let options = &self.options_for(stream, options);
        if options.policy == Policy::Evidence {
            let quiet = watch(&|_| {});
            return saving::messages(&OsFileSystem, stream, options, range, visit, &quiet)
                .map_err(|error| EngineError::Unreadable(error.to_string()));
        }
        recovery::messages(
            &OsFileSystem,
            stream,
            options,
            range,
            visit,
            &watch(&|_| {}),
        )
        .map_err(|(_, detail)| EngineError::Unreadable(detail))
    }
}
