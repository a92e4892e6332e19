//! Whether somebody is using a store, before anything in it is touched.
//!
//! [`look`] goes through the processes of this machine once per store: every nats-server with its store, however it was
//! told where that is, and every process that holds a file of the store open. What it saw is a [`Sighting`]; only
//! [`Sighting::idle`] makes the [`Idle`] that every function which writes to an existing store wants, unless the caller
//! takes that upon itself with [`Idle::declared`].
//!
//! Directories are compared by device and inode, since a server in a container knows its store under another name. A
//! server whose store cannot be told (another user's, a configuration that does not parse or is not the one it was started
//! with) counts against idleness, since it may be this one's.
//!
//! All of this is about processes that this one can see. Servers on other machines, outside this container, or inside a
//! program that holds nothing open, show only in the files: [`Pulse`].

mod flags;
mod holders;
mod mounts;
mod place;
mod process;
mod program;
mod pulse;
mod servers;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::env::ReadFiles;
use crate::server_config::ConfigError;
use holders::Holders;
use place::Place;
use process::Process;
use program::Role;
pub use pulse::{Pulse, Stir};
use servers::{Store, Told};

/// Characters of a program's name that are told.
const MAX_NAME: usize = 200;

/// Another process, as much of it as is worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: u32,
    /// The program as it was called, without arguments, which may hold passwords. Fit for a terminal.
    pub command: String,
}

impl fmt::Display for ProcessInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// Why the store of a server cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Part of the process may not be seen.
    Hidden {
        /// Which.
        what: &'static str,
        /// How the system refused.
        kind: ErrorKind,
    },
    /// It has overwritten its command line.
    Title,
    /// It is another program that has a server's code inside, and waits for connections.
    Inside,
    /// Its configuration cannot be read, or does not parse.
    Config(ConfigError),
    /// Its configuration was changed after it started, so that what it says now may not be what it goes by.
    ConfigChanged {
        /// The file, as the server names it.
        file: PathBuf,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Hidden { what, kind } => write!(f, "its {what} cannot be seen: {kind}"),
            Doubt::Title => f.write_str("it has overwritten its command line"),
            Doubt::Inside => f.write_str(
                "it has the code of a nats-server inside and waits for connections, and does not say where a store of it is",
            ),
            Doubt::Config(error) => write!(f, "its configuration: {error}"),
            Doubt::ConfigChanged { file } => write!(
                f,
                "its configuration {} was changed after it started",
                file.display()
            ),
        }
    }
}

/// A server whose store cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// The server.
    pub process: ProcessInfo,
    /// Why.
    pub why: Doubt,
}

/// What was seen of the users of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// The path that was asked about.
    pub path: PathBuf,
    /// Servers of this store, and others who hold files of it open.
    pub users: Vec<ProcessInfo>,
    /// Servers that may be.
    pub untold: Vec<Untold>,
    /// Processes cannot be looked at here.
    pub is_blind: bool,
    /// The type of the file system, where other machines can have it mounted too.
    pub network: Option<String>,
}

impl Sighting {
    /// Leave to write to the store.
    ///
    /// # Errors
    ///
    /// Why it must not be touched.
    pub fn idle(&self) -> Result<Idle, Living> {
        if !self.users.is_empty() {
            return Err(Living::Used(self.users.clone()));
        }
        if !self.untold.is_empty() {
            return Err(Living::Untold(self.untold.clone()));
        }
        if self.is_blind {
            return Err(Living::Blind);
        }
        Ok(Idle {
            below: Some(self.path.clone()),
            network: self.network.clone(),
        })
    }

    /// One line for whoever only reads, where a server is at work.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        let user = self.users.first()?;
        Some(format!(
            "{user} is using this store: what is told here may describe a moment that never was"
        ))
    }

    /// One line about servers that cannot be seen from here.
    #[must_use]
    pub fn unseen(&self) -> Option<String> {
        let kind = self.network.as_ref()?;
        Some(format!(
            "this store lies on a file system of the network ({kind}): servers on other machines cannot be seen from here"
        ))
    }
}

/// Why a store must not be touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Living {
    /// These are using it.
    Used(Vec<ProcessInfo>),
    /// These may be using it.
    Untold(Vec<Untold>),
    /// Nobody can tell.
    Blind,
}

impl fmt::Display for Living {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Living::Used(users) => {
                let (verb, them) = match users.len() {
                    1 => ("is", "it"),
                    _ => ("are", "them"),
                };
                join(f, users)?;
                write!(f, " {verb} using the store: stop {them} first; nothing was changed")
            }
            Living::Untold(servers) => {
                let told: Vec<String> = servers
                    .iter()
                    .map(|server| format!("{} ({})", server.process, server.why))
                    .collect();
                join(f, &told)?;
                f.write_str(
                    ": it cannot be told whether this is the store of that server; nothing was changed. If no server uses it, \
                     repeat with --store-is-idle",
                )
            }
            Living::Blind => f.write_str(
                "running servers cannot be recognised on this system; nothing was changed. If no server uses the store, repeat \
                 with --store-is-idle",
            ),
        }
    }
}

impl std::error::Error for Living {}

fn join<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// Leave to write to a store that nobody else is using. Functions that change an existing store take one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// The path it was given for; `None` where the caller answers for all.
    below: Option<PathBuf>,
    network: Option<String>,
}

impl Idle {
    /// The caller knows that no server uses the store, and answers for it.
    #[must_use]
    pub fn declared() -> Self {
        Self {
            below: None,
            network: None,
        }
    }

    /// Whether it was given for `dir`, or a directory above it.
    #[must_use]
    pub fn covers(&self, dir: &Path) -> bool {
        self.below
            .as_ref()
            .is_none_or(|below| dir.starts_with(below))
    }

    /// The type of the file system, where servers on other machines could not be seen.
    #[must_use]
    pub fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }
}

/// Looks who uses the store that `path` is, is part of, or will be made in.
#[must_use]
pub fn look(fs: &dyn ReadFiles, path: &Path) -> Sighting {
    if cfg!(target_os = "linux") {
        return look_in(fs, Path::new("/proc"), std::process::id(), path);
    }
    Sighting {
        path: path.to_owned(),
        is_blind: true,
        ..Sighting::default()
    }
}

/// The same with the processes below `proc`, `own` excepted.
fn look_in(fs: &dyn ReadFiles, proc: &Path, own: u32, path: &Path) -> Sighting {
    let place = Place::of(fs, path);
    let mut sighting = Sighting {
        path: path.to_owned(),
        network: mounts::network_type(fs, proc, &place.path),
        ..Sighting::default()
    };
    let processes = process::all(fs, proc).unwrap_or_default();
    // The first process is hidden where those of other users are.
    if !processes.iter().any(|process| process.pid == 1) {
        sighting.is_blind = true;
    }
    let boot_ns = process::boot_ns(fs, proc);
    let mut holders = Holders::new(&place);
    let mut others = Vec::new();
    // A child that this process is just starting, and that is not another program yet, holds whatever this one had open.
    let myself = processes.iter().find(|process| process.pid == own);
    let own_line = myself.map(Process::command_line);
    for process in &processes {
        let line = process.command_line();
        let forked = own_line.as_ref() == Some(&line)
            && process.status().is_some_and(|status| status.parent == own);
        if process.pid == own || forked {
            continue;
        }
        match examine(process, line, boot_ns, &place) {
            Use::Serves(info) => sighting.users.push(info),
            Use::Untold(untold) if holders.look(process) => sighting.users.push(untold.process),
            Use::Untold(untold) => sighting.untold.push(untold),
            Use::No(info) if holders.look(process) => sighting.users.push(info),
            Use::No(info) => others.push(info),
        }
    }
    let held = holders.by_identity(fs);
    others.retain(|info| held.contains(&info.pid));
    sighting.users.append(&mut others);
    sighting
}

/// What a process has to do with a place.
enum Use {
    Serves(ProcessInfo),
    Untold(Untold),
    No(ProcessInfo),
}

fn examine(
    process: &Process<'_>,
    line: Result<Vec<std::ffi::OsString>, ErrorKind>,
    boot_ns: Option<i64>,
    place: &Place<'_>,
) -> Use {
    let called = line.as_ref().ok().and_then(|line| line.first());
    let info = ProcessInfo {
        pid: process.pid,
        command: match called {
            Some(called) => printable(called),
            None => printable(&crate::env::path_from_bytes(process.short_name()).into_os_string()),
        },
    };
    let role = program::role(process);
    let is_server = servers::is_server(process, called.map(std::ffi::OsString::as_os_str), role);
    let told = match &line {
        Ok(line) if line.is_empty() => Told::default(),
        _ if !is_server && role == Role::Host && program::may_serve(process) => Told {
            stores: Vec::new(),
            doubt: Some(Doubt::Inside),
        },
        _ if !is_server => Told::default(),
        Ok(line) => servers::tell(process, line, boot_ns),
        Err(kind) => Told {
            stores: Vec::new(),
            doubt: Some(Doubt::Hidden {
                what: "command line",
                kind: *kind,
            }),
        },
    };
    let mut doubt = told.doubt;
    for store in &told.stores {
        match serves(process, store, place) {
            Ok(true) => return Use::Serves(info),
            Ok(false) => {}
            Err(kind) => {
                let what = "root directory";
                doubt.get_or_insert(Doubt::Hidden { what, kind });
            }
        }
    }
    match doubt {
        // What was missing may have gone with the process.
        Some(why) if !process.is_gone() => Use::Untold(Untold { process: info, why }),
        _ => Use::No(info),
    }
}

/// Whether the place is in a server's store.
fn serves(process: &Process<'_>, store: &Store, place: &Place<'_>) -> Result<bool, ErrorKind> {
    // Where the server's own view is hidden, its path may mean the same here.
    let here = place.is_within(&store.jetstream).unwrap_or(false)
        || place.is(&store.root).unwrap_or(false);
    if here && store.root.is_absolute() {
        let seen = process.resolve(&store.root);
        if seen.is_err() {
            return Ok(true);
        }
    }
    let (jetstream, root) = (
        process.resolve(&store.jetstream)?,
        process.resolve(&store.root)?,
    );
    if place.is_within(&jetstream)? || place.is(&root)? {
        return Ok(true);
    }
    let behind = |directory: &Path| process.behind(directory);
    Ok(
        behind(&jetstream).is_some_and(|directory| place.is_within(&directory) == Ok(true))
            || behind(&root).is_some_and(|directory| place.is(&directory) == Ok(true)),
    )
}

/// A program's name for a terminal, cut to a bearable length.
fn printable(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let mut told = String::new();
    for letter in name.chars().take(MAX_NAME) {
        match letter {
            letter if letter.is_control() => told.extend(letter.escape_default()),
            letter => told.push(letter),
        }
    }
    if name.chars().nth(MAX_NAME).is_some() {
        told.push('…');
    }
    told
}
