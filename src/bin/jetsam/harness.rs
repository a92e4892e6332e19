//! `jetsam harness`: damage stores and count what survives.

pub mod histories;
mod meter;
mod output;
mod server;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use jetsam::testing::{
    Breach, DamageKind, Layout, Recoverer, Report, Row, Salvage, ServerPolicy, Store, StoreKind,
    StoreResults, Sweep, SweepError, Workload, breaches,
};

use crate::resolve::Command;
use crate::session::Session;
use crate::signals::INTERRUPTED;
use crate::units;
use meter::Meter;
use server::Server;

/// Messages lost beyond what the damage accounts for.
const LOSS: u8 = 4;
/// The harness could not do its work.
const FAILED: u8 = 8;

/// A generated store has at least so many blocks, where the server's rule would make fewer: in a single block nothing is
/// sealed, compressed or followed by another.
const BLOCKS_LEAST: u64 = 4;
/// Bytes of a generated message's record, about.
const RECORD_BYTES: u64 = 300;
/// Smaller blocks than this no server makes.
const BLOCK_BYTES_LEAST: u64 = 32_000;

/// How the server that wrote a store came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was stopped: `index.db` is of the last record.
    Stopped,
    /// It was killed: `index.db` is behind.
    Killed,
}

impl End {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stopped, Self::Killed];

    /// As the flag and the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        }
    }

    /// By that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.name() == name)
    }
}

/// One of the stores that are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    kind: StoreKind,
    end: End,
}

impl Subject {
    fn name(self) -> String {
        format!("{}-{}", self.kind.name(), self.end.name())
    }
}

/// What only this verb is asked.
#[derive(Debug)]
pub struct Query {
    pub seed: u64,
    pub count: u64,
    pub first: u64,
    pub messages: u64,
    pub stores: Vec<StoreKind>,
    pub ends: Vec<End>,
    pub damages: Vec<DamageKind>,
    pub out: Option<PathBuf>,
    pub server_command: Option<String>,
    pub expect_no_loss: bool,
    pub histories: Option<histories::Asked>,
}

/// Does it; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &Query) -> io::Result<u8> {
    match sweep(session, command, query) {
        Ok(exit) => exit,
        Err(SweepError::Cancelled) => {
            session.console.remark("interrupted");
            Ok(INTERRUPTED)
        }
        Err(SweepError::Failed(why)) => {
            session.console.remark(&units::printable(&why));
            Ok(FAILED)
        }
    }
}

fn sweep(
    session: &mut Session<'_, '_>,
    command: &Command,
    query: &Query,
) -> Result<io::Result<u8>, SweepError> {
    if let Some(out) = &query.out {
        output::prepare(out).map_err(SweepError::Failed)?;
    }
    if let Some(asked) = &query.histories {
        session.worker.gate.begin_writing();
        let result = histories::run(session, command, query, asked);
        session.worker.gate.end_writing();
        return result;
    }
    let server = match &query.server_command {
        Some(text) => Some(Server::new(text).map_err(SweepError::Failed)?),
        None => None,
    };
    let own: [&dyn Recoverer; 2] = [&ServerPolicy, &Salvage];
    let mut recoverers: Vec<&dyn Recoverer> = Vec::new();
    recoverers.extend(server.as_ref().map(|server| server as &dyn Recoverer));
    recoverers.extend(own);
    let mut report = Report {
        jetsam: env!("CARGO_PKG_VERSION").to_owned(),
        seed: query.seed,
        count: query.count,
        recoverers: recoverers.iter().map(|one| one.name().to_owned()).collect(),
        stores: Vec::new(),
    };
    let mut found = Vec::new();
    // From here on an interruption ends the run between two cases, so that nothing is left in temporary directories.
    session.worker.gate.begin_writing();
    let mut result = Ok(());
    let ends = query.ends.iter();
    let subjects = ends.flat_map(|end| query.stores.iter().map(|kind| (*kind, *end)));
    for (kind, end) in subjects {
        result = one_store(
            session,
            command,
            query,
            Subject { kind, end },
            &recoverers,
            &mut report,
            &mut found,
        );
        if result.is_err() {
            break;
        }
    }
    drop(recoverers);
    drop(server);
    session.worker.gate.end_writing();
    result?;
    Ok(
        output::write(&mut session.console, command, query, &report, &found).map(|()| {
            if query.expect_no_loss && !found.is_empty() {
                LOSS
            } else {
                0
            }
        }),
    )
}

/// A breach and the store it happened to.
pub struct FoundBreach {
    subject: Subject,
    breach: Breach,
}

fn one_store(
    session: &mut Session<'_, '_>,
    command: &Command,
    query: &Query,
    subject: Subject,
    recoverers: &[&dyn Recoverer],
    report: &mut Report,
    found: &mut Vec<FoundBreach>,
) -> Result<(), SweepError> {
    let store = workload(command, query, subject)
        .build()
        .map_err(|error| SweepError::Failed(format!("{}: {error}", subject.name())))?;
    let layout =
        Layout::read(&store.files, &store.stream, &store.access).map_err(SweepError::Failed)?;
    let sweep = Sweep {
        store: &store,
        damages: &query.damages,
        count: query.count,
        first: query.first,
        seed: query.seed,
        recoverers,
        threads: command.options.threads,
    };
    let cancel = AtomicBool::new(false);
    let gate = session.worker.gate;
    let meter = Meter::new(session.worker.progress, &subject.name(), sweep.cases());
    let progress = |done| {
        meter.update(done);
        if gate.interrupted() {
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let outcomes = sweep.run(&progress, &cancel)?;
    let rows = query.damages.iter();
    report.stores.push(StoreResults {
        store: subject.name(),
        messages: store.reference.live().len(),
        deleted: store.reference.deleted().len(),
        blocks: layout.blocks.len() as u64,
        block_bytes: layout.blocks.iter().map(|block| block.file_length).sum(),
        rows: rows
            .map(|damage| Row::of(*damage, &outcomes, recoverers.len()))
            .collect(),
    });
    let last = recoverers.len().saturating_sub(1);
    let breaches = breaches(&outcomes, last, subject.kind.is_compressed()).into_iter();
    found.extend(breaches.map(|breach| FoundBreach { subject, breach }));
    if query.first_is_chosen() {
        keep(&sweep, &store, &layout, subject, query)?;
    }
    Ok(())
}

impl Query {
    /// Whether one case is to be looked at closely.
    fn first_is_chosen(&self) -> bool {
        self.count == 1 && self.out.is_some()
    }
}

/// Leaves the damaged stores themselves below `--out`, to be looked at with other tools.
fn keep(
    sweep: &Sweep<'_>,
    store: &Store,
    layout: &Layout,
    subject: Subject,
    query: &Query,
) -> Result<(), SweepError> {
    let Some(out) = &query.out else { return Ok(()) };
    for damage in &query.damages {
        let damaged = sweep
            .damaged(*damage, query.first, layout)
            .map_err(SweepError::Failed)?;
        let Some((files, damage)) = damaged else {
            continue;
        };
        let case = jetsam::testing::Case {
            files: &files,
            stream: &store.stream,
            access: &store.access,
            damage: &damage,
        };
        let name = format!("{}-{}-{}", subject.name(), damage.kind.name(), query.first);
        let account = out.join(name).join(&store.access.account);
        case.write_to(&account.join("streams").join(&store.stream.name))
            .map_err(|error| SweepError::Failed(error.to_string()))?;
    }
    Ok(())
}

fn workload(command: &Command, query: &Query, subject: Subject) -> Workload {
    let mut workload = Workload::new(subject.kind, query.messages, query.seed);
    workload.killed = subject.end == End::Killed;
    if let Some(bytes) = command.options.block_size {
        return workload.with_block_size(bytes);
    }
    let quarter = query.messages * RECORD_BYTES / BLOCKS_LEAST;
    if quarter < workload.block_bytes() {
        return workload.with_block_size(quarter.max(BLOCK_BYTES_LEAST));
    }
    workload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Invocation, parse};

    fn read(line: &str) -> Result<Query, String> {
        let args = line.split_whitespace().map(std::ffi::OsString::from);
        let Invocation::Work(raw) = parse(args).map_err(|usage| usage.0)? else {
            panic!("{line:?} is no work")
        };
        crate::resolve::harness::query(&raw).map_err(|usage| usage.0)
    }

    #[test]
    fn the_flags_are_read() {
        let plain = read("harness").unwrap();
        assert_eq!((plain.seed, plain.count, plain.messages), (1, 100, 10_000));
        assert_eq!(plain.stores, StoreKind::ALL);
        assert_eq!(plain.damages, DamageKind::ALL);
        let query =
            read("harness --stores s2-aes,plain,plain --damage flip-block --case 7 --seed 18446744073709551615")
                .unwrap();
        assert_eq!(query.stores, [StoreKind::S2Aes, StoreKind::Plain]);
        assert_eq!((query.first, query.count, query.seed), (7, 1, u64::MAX));
        let histories = read("harness --histories --kinds kv,age --count 5").unwrap();
        assert!(histories.histories.is_some() && query.histories.is_none());
        for wrong in [
            "harness --kinds kv",
            "harness --expect-no-invention",
            "harness --histories --kinds keys",
            "harness --histories --messages 5",
            "harness --histories --expect-no-loss",
            "harness --stores plane",
            "harness --damage ,",
            "harness --count 0",
            "harness --count x",
            "harness --messages 0",
            "harness --messages 100000000000",
            "harness --case 1 --count 2",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let error = read("harness --damage flip").unwrap_err();
        assert!(error.contains("flip-block, flip-key"), "{error}");
    }
}
