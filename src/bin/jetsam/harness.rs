//! `jetsam harness`: damage stores and count what survives.

mod histories;
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

use crate::args::{RawArgs, Usage};
use crate::resolve::{Command, usage};
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
    const ALL: [Self; 2] = [Self::Stopped, Self::Killed];

    fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
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
    seed: u64,
    count: u64,
    first: u64,
    messages: u64,
    stores: Vec<StoreKind>,
    ends: Vec<End>,
    damages: Vec<DamageKind>,
    out: Option<PathBuf>,
    server_command: Option<String>,
    expect_no_loss: bool,
    histories: Option<histories::Asked>,
}

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    let case = number(raw, "case", 0, 0)?;
    let has_case = raw.has("case");
    if has_case && raw.has("count") {
        return usage("--case runs one case of each kind; --count runs many");
    }
    let out = raw.get("out").map(PathBuf::from);
    if out.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
        return usage("--out is empty");
    }
    let server_command = match raw.get("server-command").map(|value| value.to_str()) {
        None => None,
        Some(Some(text)) if !text.trim().is_empty() => Some(text.to_owned()),
        Some(_) => return usage("--server-command is a program and its arguments"),
    };
    Ok(Query {
        seed: number(raw, "seed", 1, 0)?,
        count: if has_case {
            1
        } else {
            number(raw, "count", 100, 1)?
        },
        first: case,
        messages: number(raw, "messages", 10_000, 1)?,
        stores: list(
            raw,
            "stores",
            &StoreKind::ALL,
            StoreKind::from_name,
            StoreKind::name,
        )?,
        ends: list(raw, "ends", &End::ALL, End::from_name, End::name)?,
        damages: list(
            raw,
            "damage",
            &DamageKind::ALL,
            DamageKind::from_name,
            DamageKind::name,
        )?,
        out,
        server_command,
        expect_no_loss: raw.has("expect-no-loss"),
        histories: histories::asked(raw)?,
    })
}

fn number(raw: &RawArgs, flag: &str, default: u64, least: u64) -> Result<u64, Usage> {
    /// Beyond this a run does not end, or a store does not fit into memory.
    const MOST: u64 = 100_000_000;
    match raw.get(flag).map(|value| value.to_str().map(str::parse)) {
        None => Ok(default),
        Some(Some(Ok(number))) if number >= least && (flag == "seed" || number <= MOST) => {
            Ok(number)
        }
        Some(_) => usage(format!("--{flag} is a number from {least}")),
    }
}

fn list<T: Copy + PartialEq>(
    raw: &RawArgs,
    flag: &str,
    all: &[T],
    from_name: fn(&str) -> Option<T>,
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, Usage> {
    let Some(text) = raw.get(flag) else {
        return Ok(all.to_vec());
    };
    let text = text.to_string_lossy();
    let mut chosen = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match from_name(word) {
            Some(one) if chosen.contains(&one) => {}
            Some(one) => chosen.push(one),
            None => {
                let known: Vec<&str> = all.iter().map(|one| name(*one)).collect();
                let known = known.join(", ");
                return usage(format!("--{flag} takes {known}, not {word:?}"));
            }
        }
    }
    if chosen.is_empty() {
        return usage(format!("--{flag} is empty"));
    }
    Ok(chosen)
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
        query(&raw).map_err(|usage| usage.0)
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
