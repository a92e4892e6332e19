//! Reports and a stand-in engine for the tests of the command.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jetsam::format::seqset::SeqSet;
use jetsam::living::{Idle, Pulse, Sighting};
use jetsam::preflight::{Forecast, PreflightOptions, Reading, Start};
use jetsam::report::ServerVersion;
use jetsam::report::actions::{Action, ActionKind};
use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::{
    ConsumerReport, Lost, Outcome, Refusal, ScheduleReport, Source, SourcePosition, State,
    StreamReport, TtlReport,
};
use jetsam::stream::options::Options;

use jetsam::report::Ledger;
use jetsam::salvage::hit::Hit;
use jetsam::salvage::{SalvageReport, Sorted};

use crate::engine::{
    Engine, EngineError, Flow, Found, Item, OnProgress, Phase, Progress, RecoverOptions, Salvaged,
    Shape, StreamDir, UndoReport,
};

/// A stream that starts, and loses nothing.
pub fn starts(name: &str) -> Forecast {
    Forecast {
        account: Some("A".into()),
        name: name.into(),
        dir: format!("D/{name}"),
        server: ServerVersion::default(),
        start: Start::Ok,
        read: Reading::Ok,
        fast_path: true,
        messages: 1_234_567,
        lost: 0,
        lost_seqs: Vec::new(),
        lost_proven: 0,
        lost_with_consumers: Default::default(),
        released: 0,
        expired: 0,
        unreadable: 0,
        state: None,
        ledger: None,
        start_seconds: 0.5,
        start_seconds_range: (0.3, 0.8),
        fits_probe: None,
        consumers: Vec::new(),
        consumers_lost: Vec::new(),
        consumers_disabled: Vec::new(),
        events: Vec::new(),
        actions: Vec::new(),
        needs_help: false,
    }
}

/// An empty stream with nothing wrong.
pub fn clean() -> StreamReport {
    StreamReport {
        account: None,
        name: "ORDERS".into(),
        dir: "/data/ORDERS".into(),
        outcome: Outcome::Clean,
        refusal: None,
        source: Some(Source::Index),
        state: Some(State::default()),
        subjects: None,
        digest: None,
        unreadable: Vec::new(),
        ttl: None,
        schedules: None,
        sources: None,
        overdue: SeqSet::new(),
        outlived: false,
        max_age_ns: 0,
        consumers: Vec::new(),
        events: Vec::new(),
        actions: Vec::new(),
        ledger: Some(Ledger::default()),
        salvage: None,
        loses_messages: false,
        ends_torn: false,
    }
}

/// A stream with something of everything.
pub fn damaged() -> StreamReport {
    StreamReport {
        account: Some("A".into()),
        dir: "/data/A/streams/ORDERS".into(),
        outcome: Outcome::Damaged,
        source: Some(Source::Blocks),
        state: Some(State {
            messages: 1_234_567,
            bytes: 12 << 20,
            first_seq: 1,
            first_time_ns: Some(1_767_323_045_120_000_000),
            last_seq: 1_234_570,
            last_time_ns: Some(1_767_323_046_000_000_000),
            subject_count: 2,
            deleted_count: 3,
            deleted: Some(vec![2, 5, 6]),
            lost: Some(Lost {
                seqs: vec![7, 8],
                bytes: 99,
            }),
        }),
        subjects: Some(BTreeMap::from([
            (b"orders.1".to_vec(), 3),
            (b"orders.\xff".to_vec(), 1),
        ])),
        digest: Some([0xab; 32]),
        unreadable: vec![12],
        ttl: Some(TtlReport {
            count: 1,
            entries: Some(vec![(3, 1_000_000_000)]),
        }),
        schedules: Some(ScheduleReport {
            count: 1,
            entries: Some(vec![(b"orders.1".to_vec(), 4, 5)]),
        }),
        sources: Some(BTreeMap::from([(
            b"S 1".to_vec(),
            SourcePosition {
                seq: 9,
                identity: b"id".to_vec(),
            },
        )])),
        consumers: vec![ConsumerReport {
            name: "C".into(),
            outcome: "ok",
            delivered: (1, 2),
            ack_floor: (3, 4),
            pending_count: 5,
            redelivered_count: 6,
            held: None,
        }],
        events: vec![
            Event::new(EventCode::IndexHashMismatch, "stored 1, computed 2").file("msgs/index.db"),
            Event::new(EventCode::BlockBadRecord, "hash differs")
                .file("msgs/3.blk")
                .offset(999_827)
                .seq(12),
        ],
        actions: vec![Action {
            kind: ActionKind::TruncateBlock,
            file: "msgs/3.blk".into(),
            offset: Some(999_827),
            detail: "first bad record".into(),
        }],
        ledger: None,
        loses_messages: true,
        ..clean()
    }
}

/// A stream that cannot be opened for want of a key.
pub fn refused() -> StreamReport {
    StreamReport {
        name: "SECRET".into(),
        outcome: Outcome::Refused,
        refusal: Some(Refusal::NeedsKey),
        source: None,
        state: None,
        ledger: None,
        events: vec![Event::new(EventCode::KeyMissing, "meta.key is present")],
        ..clean()
    }
}

/// A stand-in for the library.
#[derive(Default)]
pub struct Fake {
    /// What examine and recover answer, by stream.
    pub reports: Vec<StreamReport>,
    /// What forecasts answer, by stream.
    pub forecasts: Vec<Forecast>,
    /// Why no streams are found.
    pub error: Option<EngineError>,
    /// Messages: sequence, subject, body; an empty subject is an unreadable one.
    pub messages: Vec<(u64, &'static [u8], &'static [u8])>,
    /// What undo answers.
    pub undo: Option<UndoReport>,
    /// What was hit, where a ledger holds a loss.
    pub hits: Vec<Hit>,
    /// Who uses the store.
    pub sighting: Sighting,
    /// How the files look, the last look first.
    pub pulses: Mutex<Vec<Pulse>>,
}

impl Fake {
    fn report(&self, stream: &StreamDir) -> StreamReport {
        let found = self
            .reports
            .iter()
            .find(|report| report.name == stream.name && report.account == stream.account);
        found.cloned().unwrap_or_else(clean)
    }
}

impl Engine for Fake {
    fn find_streams(&self, path: &Path) -> Result<Found, EngineError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let dir = |report: &StreamReport| StreamDir {
            account: report.account.clone(),
            dir: path.join(&report.name),
            name: report.name.clone(),
        };
        let foretold = |forecast: &Forecast| StreamDir {
            account: forecast.account.clone(),
            dir: path.join(&forecast.name),
            name: forecast.name.clone(),
        };
        let streams = match self.reports.as_slice() {
            [] if !self.forecasts.is_empty() => self.forecasts.iter().map(foretold).collect(),
            [] => vec![StreamDir {
                account: None,
                dir: PathBuf::from(path),
                name: "S".into(),
            }],
            reports => reports.iter().map(dir).collect(),
        };
        Ok(Found {
            shape: Shape::Stream,
            streams,
            events: Vec::new(),
        })
    }

    fn look(&self, _path: &Path) -> Sighting {
        self.sighting.clone()
    }

    fn pulse(&self, _stream: &StreamDir) -> Option<Pulse> {
        self.pulses.lock().expect("one thread").pop()
    }

    fn examine(
        &self,
        stream: &StreamDir,
        _options: &Options,
        on_progress: OnProgress<'_>,
    ) -> StreamReport {
        on_progress(Progress {
            phase: Phase::Scan,
            done: 1,
            total: 2,
        });
        self.report(stream)
    }

    fn recover(
        &self,
        stream: &StreamDir,
        _options: &Options,
        _recover: RecoverOptions,
        _idle: &Idle,
        on_progress: OnProgress<'_>,
    ) -> StreamReport {
        on_progress(Progress {
            phase: Phase::Apply,
            done: 0,
            total: 1,
        });
        self.report(stream)
    }

    fn forecast(
        &self,
        stream: &StreamDir,
        _options: &Options,
        preflight: PreflightOptions,
        _on_progress: OnProgress<'_>,
    ) -> Forecast {
        let mut forecast = self
            .forecasts
            .iter()
            .find(|forecast| forecast.name == stream.name)
            .or(self.forecasts.first())
            .cloned()
            .expect("a forecast");
        forecast.server = preflight.server;
        forecast
    }

    fn hits(&self, _stream: &StreamDir, _options: &Options, ledger: &Ledger) -> Vec<Hit> {
        match ledger.holds_loss() {
            true => self.hits.clone(),
            false => Vec::new(),
        }
    }

    fn hits_of_copies(
        &self,
        _copies: &[jetsam::salvage::MergeSource],
        made: &StreamDir,
        options: &Options,
        ledger: &Ledger,
    ) -> Vec<Hit> {
        self.hits(made, options, ledger)
    }

    fn rebuild_index(
        &self,
        stream: &StreamDir,
        _options: &Options,
        _server: ServerVersion,
        _idle: &Idle,
        _on_progress: OnProgress<'_>,
    ) -> StreamReport {
        self.report(stream)
    }

    fn undo(&self, _stream: &StreamDir, _idle: &Idle) -> Result<Option<UndoReport>, EngineError> {
        Ok(self.undo.clone())
    }

    fn check_out(&self, _sources: &[PathBuf], _out: &Path, _resume: bool) -> Result<(), String> {
        Ok(())
    }

    fn sort_out(&self, streams: &[StreamDir], _options: &Options) -> Vec<Sorted> {
        let sorted = |stream: &StreamDir| Sorted {
            stream: stream.clone(),
            name: stream.name.clone(),
            place: stream.name.clone(),
            events: Vec::new(),
        };
        streams.iter().map(sorted).collect()
    }

    fn salvage(
        &self,
        sorted: &Sorted,
        _options: &Options,
        _query: &crate::salvage::Query,
        _on_progress: OnProgress<'_>,
    ) -> SalvageReport {
        SalvageReport {
            stream: self.report(&sorted.stream),
            blocks: Vec::new(),
        }
    }

    fn merge(
        &self,
        copies: &[jetsam::salvage::MergeSource],
        _options: &Options,
        _query: &crate::merge::Query,
        _on_progress: OnProgress<'_>,
    ) -> Salvaged {
        let stream = self.report(&copies[0].stream);
        Ok(SalvageReport {
            stream,
            blocks: Vec::new(),
        })
    }

    fn write_summary(&self, _out: &Path, _summary: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }

    fn messages(
        &self,
        _stream: &StreamDir,
        _options: &Options,
        range: RangeInclusive<u64>,
        visit: &mut dyn FnMut(Item<'_>) -> Flow,
    ) -> Result<(), EngineError> {
        for &(seq, subject, body) in &self.messages {
            if !range.contains(&seq) {
                continue;
            }
            let item = if subject.is_empty() {
                Item::Unreadable(seq)
            } else {
                Item::Message(crate::engine::Message {
                    seq,
                    timestamp_ns: seq as i64 * 1_000_000_000,
                    subject,
                    headers: if seq == 2 {
                        b"NATS/1.0\r\nK: v\r\n\r\n"
                    } else {
                        b""
                    },
                    body,
                })
            };
            if visit(item) == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}
