//! The engine of the command: the library itself.

use std::path::Path;

use jetsam::recovery::options::Options;
use jetsam::recovery::report::StreamReport;

use crate::engine::{
    Engine, EngineError, Item, OnProgress, RecoverOptions, SeqRange, StreamDir, UndoReport, Want,
};

/// The library.
pub struct Library;

const PENDING: &str = "recovery is not built yet in this version";

impl Engine for Library {
    fn find_streams(&self, _path: &Path) -> Result<Vec<StreamDir>, EngineError> {
        Err(EngineError::NotAStore(PENDING.into()))
    }

    fn examine(
        &self,
        _stream: &StreamDir,
        _options: &Options,
        _on_progress: OnProgress<'_>,
    ) -> StreamReport {
        unreachable!("{PENDING}: no stream is ever found")
    }

    fn recover(
        &self,
        _stream: &StreamDir,
        _options: &Options,
        _recover: RecoverOptions,
        _on_progress: OnProgress<'_>,
    ) -> StreamReport {
        unreachable!("{PENDING}: no stream is ever found")
    }

    fn undo(&self, _stream: &StreamDir) -> Result<UndoReport, EngineError> {
        Err(EngineError::NotAStore(PENDING.into()))
    }

    fn messages(
        &self,
        _stream: &StreamDir,
        _options: &Options,
        _range: SeqRange,
        _visit: &mut dyn FnMut(Item<'_>) -> Want,
    ) -> Result<(), EngineError> {
        Err(EngineError::NotAStore(PENDING.into()))
    }
}
