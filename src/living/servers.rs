//! Where a nats-server keeps its store: by its command line, its configuration file, its environment.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::Doubt;
use super::flags::Flags;
use super::process::{Process, Variables};
use super::program::Role;
use crate::server_config::{self, JetStream, Problem, ServerConfig};

/// The directory JetStream makes below the store directory.
const JETSTREAM_DIR: &str = "jetstream";
/// How far the start of a process, which is known to the second, may be off.
const START_SLACK_NS: i64 = 2_000_000_000;
const NAME: &[u8] = b"nats-server";

/// A store a server may have open, in the server's own view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Store {
    /// The directory that is configured.
    pub root: PathBuf,
    /// The one in it with the accounts.
    pub jetstream: PathBuf,
}

impl Store {
    fn below(root: &Path) -> Self {
        // The server shortens the path by its text alone, links or not.
        let root = shortened(root);
        Self {
            jetstream: root.join(JETSTREAM_DIR),
            root,
        }
    }
}

/// What can be told of a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The stores it serves, or may serve.
    pub stores: Vec<Store>,
    /// Why it may serve another one.
    pub doubt: Option<Doubt>,
}

impl Told {
    fn doubtful(stores: Vec<Store>, doubt: Doubt) -> Self {
        Self {
            stores,
            doubt: Some(doubt),
        }
    }
}

/// Whether a process is a nats-server: by the program it runs, whatever that is called now, or by the name it was called by.
pub(super) fn is_server(process: &Process<'_>, called: Option<&OsStr>, role: Role) -> bool {
    if role == Role::Server {
        return true;
    }
    let program = process.program();
    let known = program.as_deref().is_some_and(looks_like_one);
    let called = called.is_some_and(|called| looks_like_one(file_name(called)));
    // Where the program may not be seen the kernel's short name has to do; a script's interpreter is seen.
    known || called || (program.is_none() && looks_like_one(&process.short_name()))
}

fn looks_like_one(name: &[u8]) -> bool {
    name.windows(NAME.len()).any(|part| part == NAME)
}

fn file_name(path: &OsStr) -> &[u8] {
    let name = Path::new(path).file_name().unwrap_or(path);
    name.as_encoded_bytes()
}

/// Tells the stores of a nats-server.
pub(super) fn tell(process: &Process<'_>, command_line: &[OsString], boot_ns: Option<i64>) -> Told {
    let flags = Flags::read(command_line.get(1..).unwrap_or_default());
    if flags.ends_at_once {
        return Told::default();
    }
    if !flags.any && !is_called_as_it_is(process, command_line) {
        return Told::doubtful(Vec::new(), Doubt::Title);
    }
    if flags.jetstream == Some(false) {
        return Told::default();
    }
    let environment = process.environment();
    let (config, mut doubt) = match &flags.config {
        None => (ServerConfig::default(), None),
        Some(file) => match configuration(process, file, environment.as_ref(), boot_ns) {
            Ok((config, changed)) => (config, changed),
            Err(doubt) => (ServerConfig::default(), Some(doubt)),
        },
    };
    let is_on = flags.jetstream == Some(true) || config.jetstream == JetStream::On;
    if !is_on && doubt.is_none() {
        return Told::default();
    }
    let stores = match flags.store_dir.or(config.store_dir) {
        Some(directory) if directory.as_os_str() != "" => vec![Store::below(&directory)],
        _ => {
            if let Err(kind) = &environment {
                doubt.get_or_insert(Doubt::Hidden {
                    what: "environment",
                    kind: *kind,
                });
            }
            default_stores(environment.as_ref().ok())
        }
    };
    Told { stores, doubt }
}

/// The places JetStream takes where none is configured: which one depends on the limits that are.
fn default_stores(environment: Option<&Variables>) -> Vec<Store> {
    let directory = environment
        .and_then(|variables| variables.get(OsStr::new("TMPDIR")))
        .filter(|directory| !directory.is_empty())
        .unwrap_or_else(|| "/tmp".into());
    let directory = PathBuf::from(directory);
    vec![
        Store::below(&directory.join("nats")),
        Store::below(&directory),
    ]
}

/// Reads the configuration as the process would, and says whether it is the one it was started with.
fn configuration(
    process: &Process<'_>,
    file: &Path,
    environment: Result<&Variables, &ErrorKind>,
    boot_ns: Option<i64>,
) -> Result<(ServerConfig, Option<Doubt>), Doubt> {
    let started_ns = boot_ns.and_then(|boot_ns| process.start_ns(boot_ns));
    let changed: RefCell<Option<PathBuf>> = RefCell::default();
    let files = |path: &Path, max_length: u64| {
        let place = process.resolve(path)?;
        let read = process.fs.read(&place, max_length);
        let bytes = read.map_err(|error| error.kind)?;
        let changed_ns = process.fs.changed_ns(&place).unwrap_or(i64::MAX);
        if started_ns.is_none_or(|started| changed_ns > started.saturating_add(START_SLACK_NS)) {
            changed.borrow_mut().get_or_insert_with(|| path.to_owned());
        }
        Ok(bytes)
    };
    let variable = |name: &OsStr| environment.ok()?.get(name);
    let config = server_config::read_with(file, &files, &variable).map_err(|error| {
        match (&error.problem, environment) {
            (Problem::UnknownVariable { .. }, Err(kind)) => Doubt::Hidden {
                what: "environment",
                kind: *kind,
            },
            _ => Doubt::Config(error),
        }
    })?;
    let changed = changed.into_inner();
    Ok((config, changed.map(|file| Doubt::ConfigChanged { file })))
}

/// Whether the command line is still the one it was started with, by the program's name. A process may overwrite it.
fn is_called_as_it_is(process: &Process<'_>, command_line: &[OsString]) -> bool {
    let Some(called) = command_line.first() else {
        return false;
    };
    let called = file_name(called);
    match process.program() {
        Some(program) => program == called || (looks_like_one(called) && !has_spaces(called)),
        None => called.starts_with(&process.short_name()) && !has_spaces(called),
    }
}

fn has_spaces(name: &[u8]) -> bool {
    name.iter().any(u8::is_ascii_whitespace)
}

/// A path without dots, shortened by its text alone.
fn shortened(path: &Path) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match short.components().next_back() {
                Some(Component::Normal(_)) => {
                    short.pop();
                }
                Some(Component::RootDir | Component::Prefix(_)) => {}
                _ => short.push(".."),
            },
            part => short.push(part),
        }
    }
    short
}
