//! The `jetsam` command: arguments, then options, then work, then an exit code.

#![allow(
    clippy::disallowed_methods,
    reason = "the command is where clock, environment and key files come from"
)]

mod args;
mod cat;
mod check;
mod config;
mod console;
mod details;
mod engine;
mod events;
mod flags;
mod harness;
mod help;
mod hit;
mod json;
mod keys;
mod ledger;
mod library;
mod merge;
mod next;
mod out;
mod page;
mod per_stream;
mod preflight;
mod progress;
mod rebuild_index;
mod recover;
mod rekey;
mod resolve;
mod salvage;
mod session;
mod signals;
#[cfg(test)]
mod snapshots;
mod surroundings;
mod table;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod testing;
mod undo;
mod units;
mod verdict;
mod writing;

use std::env;
use std::io::{self, BufWriter, IsTerminal};
use std::process::ExitCode;

use args::{Invocation, Usage};
use console::{Console, Pipe, Style};
use flags::Verb;
use progress::Mode;
use resolve::{Command, Surroundings, Task};
use session::{Session, Worker};
use signals::Gate;

/// Exit code of wrong usage.
const WRONG_USAGE: u8 = 16;
/// Exit code where the results could not be written.
const CANNOT_WRITE: u8 = 8;

fn main() -> ExitCode {
    let stdout = io::stdout();
    let variable = |name: &std::ffi::OsStr| env::var_os(name);
    let style = Style::new(stdout.is_terminal(), &variable);
    let mut out = Pipe::new(BufWriter::with_capacity(1 << 16, stdout.lock()));
    let mut err = Pipe::new(io::stderr());
    let console = Console {
        out: &mut out,
        err: &mut err,
        style,
        width: page::width(&variable),
    };
    ExitCode::from(run(console, &variable))
}

fn run(
    mut console: Console<'_>,
    variable: &dyn Fn(&std::ffi::OsStr) -> Option<std::ffi::OsString>,
) -> u8 {
    let command = match understand(variable) {
        Ok(Understood::Print(text)) => {
            let written = console
                .out
                .write_all(text.as_bytes())
                .and_then(|()| console.out.flush());
            return finish(&mut console, written.map(|()| 0));
        }
        Ok(Understood::Work(command)) => command,
        Err(Usage(message)) => {
            console.remark(&format!("{message}\nTry `jetsam --help`."));
            return WRONG_USAGE;
        }
    };
    let gate = Gate::default();
    if let Err(error) = signals::listen(&gate) {
        console.remark(&format!("signals cannot be caught: {error}"));
        return CANNOT_WRITE;
    }
    let worker = Worker {
        engine: &library::Library::default(),
        gate: &gate,
        progress: Mode::choose(command.progress),
    };
    let mut session = Session { worker, console };
    let result = work(&mut session, &command);
    finish(&mut session.console, result)
}

fn finish(console: &mut Console<'_>, result: io::Result<u8>) -> u8 {
    result.unwrap_or_else(|error| {
        console.remark(&format!("the results could not be written: {error}"));
        CANNOT_WRITE
    })
}

enum Understood {
    Print(String),
    Work(Box<Command>),
}

fn understand(
    variable: &dyn Fn(&std::ffi::OsStr) -> Option<std::ffi::OsString>,
) -> Result<Understood, Usage> {
    let raw = match args::parse(env::args_os().skip(1))? {
        Invocation::Help(verb) => {
            return Ok(Understood::Print(help::text(verb, page::width(variable))));
        }
        Invocation::Version => {
            return Ok(Understood::Print(format!(
                "jetsam {}\n",
                env!("CARGO_PKG_VERSION")
            )));
        }
        Invocation::Work(raw) if raw.verb == Verb::Events => {
            let text = events::text(&resolve::events::query(&raw)?, page::width(variable));
            return Ok(Understood::Print(text));
        }
        Invocation::Work(raw) => raw,
    };
    let now_ns = i64::try_from(jiff::Timestamp::now().as_nanosecond())
        .map_err(|_| Usage("the system clock is out of range; use --now".into()))?;
    let command = resolve::resolve(&raw, &Surroundings { variable, now_ns })?;
    Ok(Understood::Work(Box::new(command)))
}

/// Does what was asked; returns the exit code. An error means that results could not be written.
fn work(session: &mut Session<'_, '_>, command: &Command) -> io::Result<u8> {
    match &command.task {
        Task::Check | Task::Recover(None) => check::run(session, command),
        Task::Recover(Some(options)) => recover::run(session, command, *options),
        Task::Undo => undo::run(session, command),
        Task::Cat(query) => cat::run(session, command, query),
        Task::Salvage(query) => salvage::run(session, command, query),
        Task::Merge(query) => merge::run(session, command, query),
        Task::Preflight(query) => preflight::run(session, command, query),
        Task::RebuildIndex(query) => rebuild_index::run(session, command, query),
        Task::Keys => keys::run(session, command),
        Task::Rekey(query) => rekey::run(session, command, query),
        Task::Harness(query) => harness::run(session, command, query),
    }
}
