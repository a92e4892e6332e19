//! From what was typed to what is meant: values read, keys fetched, contradictions refused.

pub mod events;
pub mod harness;
mod merge;
mod out;
pub mod preflight;
mod rebuild_index;
mod rekey;
mod salvage;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::stream::options::{Collect, Keys, Options, Policy, Standing};
use jiff::Timestamp;

use crate::args::{RawArgs, Usage};
use crate::config;
use crate::engine::RecoverOptions;
use crate::flags::Verb;
use crate::next;
use crate::page::Show;
use crate::surroundings::Configured;
use crate::units;

/// The largest block the server makes.
const BLOCK_SIZE_MAX: u64 = 8 << 20;
/// More threads than this is a slip.
const THREADS_MAX: usize = 1024;

/// Everything a verb needs.
#[derive(Debug)]
pub struct Command {
    /// The path as given; the first where there are several.
    pub path: PathBuf,
    /// All of them: `merge` takes several, `harness` none.
    pub paths: Vec<PathBuf>,
    /// JSON instead of tables.
    pub json: bool,
    /// How much is told.
    pub show: Show,
    /// The flags that a command to be copied has to repeat: keys, account, configuration.
    pub again: String,
    /// The caller answers for it that no server uses the store.
    pub store_is_idle: bool,
    /// Whether progress was asked for or refused.
    pub progress: Option<bool>,
    /// Options for the library.
    pub options: Options,
    /// What to do.
    pub task: Task,
}

/// The verbs, each with what only it is asked.
#[derive(Debug)]
pub enum Task {
    /// `check`.
    Check,
    /// `recover`; without options a dry run.
    Recover(Option<RecoverOptions>),
    /// `undo`.
    Undo,
    /// `cat`.
    Cat(CatQuery),
    /// `salvage`.
    Salvage(crate::salvage::Query),
    /// `merge`.
    Merge(crate::merge::Query),
    /// `preflight`.
    Preflight(crate::preflight::Query),
    /// `rebuild-index`.
    RebuildIndex(crate::rebuild_index::Query),
    /// `keys`.
    Keys,
    /// `rekey`.
    Rekey(crate::rekey::Query),
    /// `harness`.
    Harness(crate::harness::Query),
}

/// Which messages, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatQuery {
    /// Sequences.
    pub range: RangeInclusive<u64>,
    /// Whether these very sequences were asked for: then those that are not there are told, with the reason.
    pub by_sequence: bool,
    /// Earliest time, nanoseconds since the Unix epoch.
    pub from_ns: Option<i64>,
    /// Latest time.
    pub to_ns: Option<i64>,
    /// Subject filter.
    pub subject: Option<Vec<u8>>,
    /// At most so many messages.
    pub limit: Option<u64>,
    /// Form.
    pub format: CatFormat,
}

/// Forms of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// Bodies and nothing else.
    Raw,
}

/// The world outside the arguments.
pub struct Surroundings<'a> {
    /// Looks an environment variable up.
    pub variable: &'a dyn Fn(&OsStr) -> Option<OsString>,
    /// The system clock.
    pub now_ns: i64,
}

/// Makes a command of raw arguments.
pub fn resolve(raw: &RawArgs, surroundings: &Surroundings<'_>) -> Result<Command, Usage> {
    let mut configured = Configured::Not;
    let config = match raw.get("config") {
        Some(file) if raw.verb == Verb::Preflight => {
            let (config, found) = config::whole(Path::new(file), surroundings.variable)?;
            configured = found;
            config
        }
        Some(file) => config::read(Path::new(file), surroundings.variable)?,
        None => config::Settings::default(),
    };
    let paths = match &configured {
        // Where the store is cannot be told, and need not be: no server starts with this.
        Configured::Faulty(_) if raw.operands.is_empty() => Vec::new(),
        _ => paths(raw, config.store_dir.clone())?,
    };
    let options = options(raw, config, surroundings)?;
    let mut task = task(raw, surroundings)?;
    if let Task::Preflight(query) = &mut task {
        query.configured = configured;
    }
    if options.policy == Policy::Evidence {
        match task {
            Task::Check | Task::Cat(_) | Task::Salvage(_) | Task::Merge(_) => {}
            Task::Recover(_) => {
                return usage(
                    "recover decides as the server does; to keep every record that verifies, copy them \
                     into a new store with `jetsam salvage PATH --out DIR`",
                );
            }
            _ => return usage("--policy salvage goes with check, cat, salvage and merge"),
        }
    }
    Ok(Command {
        path: paths.first().cloned().unwrap_or_default(),
        paths,
        json: raw.has("json"),
        show: show(raw),
        again: flags_to_repeat(raw),
        store_is_idle: raw.has("store-is-idle"),
        progress: raw.last_of("progress", "no-progress"),
        options,
        task,
    })
}

/// How much is to be told.
fn show(raw: &RawArgs) -> Show {
    let last = raw.last_of("verbose", "quiet");
    Show {
        all: raw.has("all"),
        verbose: last == Some(true),
        quiet: last == Some(false),
    }
}

/// Flags without which the next command would not find its keys.
const REPEATED: [&str; 7] = [
    "config",
    "key-env",
    "key-file",
    "prev-key-env",
    "prev-key-file",
    "account",
    "cipher",
];

/// Those that were given, each with a blank before it.
fn flags_to_repeat(raw: &RawArgs) -> String {
    let mut text = String::new();
    for (flag, value) in raw.all(&REPEATED) {
        let _ = write!(text, " --{flag} {}", next::quoted(&value.to_string_lossy()));
    }
    text
}

pub fn usage<T>(message: impl Into<String>) -> Result<T, Usage> {
    Err(Usage(message.into()))
}

fn paths(raw: &RawArgs, store_dir: Option<PathBuf>) -> Result<Vec<PathBuf>, Usage> {
    if raw.operands.iter().any(|path| path.is_empty()) {
        return usage("PATH is empty");
    }
    let paths = || raw.operands.iter().map(PathBuf::from).collect();
    match (raw.verb, raw.operands.len(), store_dir) {
        (Verb::Harness, 0, _) => Ok(Vec::new()),
        (Verb::Harness, _, _) => usage("`jetsam harness` takes no PATH: it makes its own stores"),
        (Verb::Merge, 2.., _) => Ok(paths()),
        (Verb::Merge, 1, _) if raw.has("also-from") => Ok(paths()),
        (Verb::Merge, _, _) => {
            usage("`jetsam merge` takes the PATHs of two or more copies, or of one and --also-from")
        }
        (_, 1, _) => Ok(paths()),
        (_, 0, Some(store_dir)) => Ok(vec![store_dir]),
        (_, 0, None) if raw.has("config") => {
            usage("the configuration names no store_dir, so PATH is needed")
        }
        (_, 0, None) => {
            usage("PATH is missing: a stream directory, or a directory that holds streams")
        }
        _ => usage(format!("`jetsam {}` takes one PATH", raw.verb.name())),
    }
}

fn options(
    raw: &RawArgs,
    config: config::Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Options, Usage> {
    let mut options = Options::new(match text(raw, "now")? {
        Some(time) => parse_time("now", time)?,
        None => surroundings.now_ns,
    });
    options.policy = match text(raw, "policy")? {
        None | Some("server") => Policy::Server,
        Some("salvage") => Policy::Evidence,
        Some(other) => return usage(format!("--policy is server or salvage, not {other:?}")),
    };
    if raw.has("clustered") {
        options.standing = Standing::Member;
    }
    options.no_index = raw.has("no-index");
    options.kv_last = raw.has("kv-last");
    options.expire = !raw.has("no-expire");
    options.limits = !raw.has("no-limits");
    options.quick = raw.has("quick");
    if let Some(threads) = text(raw, "threads")? {
        options.threads = match threads.parse() {
            Ok(threads @ 1..=THREADS_MAX) => threads,
            _ => return usage(format!("--threads is a number from 1 to {THREADS_MAX}")),
        };
    }
    if let Some(size) = text(raw, "block-size")? {
        options.block_size = match units::parse_bytes(size) {
            Some(bytes @ 1..=BLOCK_SIZE_MAX) => Some(bytes),
            _ => return usage("--block-size is a size up to 8MiB, such as 32000, 512KiB or 1M"),
        };
    }
    options.account = raw
        .get("account")
        .map(|name| name.as_encoded_bytes().to_vec());
    if options.account.as_ref().is_some_and(Vec::is_empty) {
        return usage("--account is empty");
    }
    options.keys = keys(raw, config, surroundings)?;
    options.configurations = out::configurations(raw)?;
    options.collect = Collect {
        deleted: raw.has("deleted"),
        subjects: raw.has("subjects"),
        digest: raw.has("digest"),
        entries: raw.has("entries"),
    };
    Ok(options)
}

fn keys(
    raw: &RawArgs,
    config: config::Settings,
    surroundings: &Surroundings<'_>,
) -> Result<Keys, Usage> {
    let cipher = match text(raw, "cipher")? {
        None => config.cipher,
        Some("auto") => None,
        Some(name) => match Cipher::from_name(name) {
            Some(cipher) => Some(cipher),
            None => return usage(format!("--cipher is auto, chacha or aes, not {name:?}")),
        },
    };
    Ok(Keys {
        current: key(raw, "key-env", "key-file", surroundings)?.or(config.key),
        previous: key(raw, "prev-key-env", "prev-key-file", surroundings)?.or(config.previous_key),
        cipher,
    })
}

/// Fetches one key. What is said about failures never holds any of the key.
pub fn key(
    raw: &RawArgs,
    variable_flag: &str,
    file_flag: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Option<ServerKey>, Usage> {
    match (raw.get(variable_flag), raw.get(file_flag)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => usage(format!(
            "--{variable_flag} and --{file_flag} exclude each other"
        )),
        (Some(name), None) => key_in_variable(variable_flag, name, surroundings).map(Some),
        (None, Some(file)) => key_in_file(file_flag, file).map(Some),
    }
}

/// The key in the environment variable `name`, which `flag` gave.
pub fn key_in_variable(
    flag: &str,
    name: &OsStr,
    surroundings: &Surroundings<'_>,
) -> Result<ServerKey, Usage> {
    let from = format!("the environment variable {}", name.display());
    match (surroundings.variable)(name) {
        Some(value) => not_empty(value.into_encoded_bytes(), &from),
        None => usage(format!("--{flag}: {from} is not set")),
    }
}

/// The key in the file `file`, which `flag` gave.
pub fn key_in_file(flag: &str, file: &OsStr) -> Result<ServerKey, Usage> {
    let from = format!("the key file {}", file.display());
    match std::fs::read(file) {
        Ok(bytes) => not_empty(without_newline(bytes), &from),
        Err(error) => usage(format!("--{flag}: {from}: {error}")),
    }
}

fn not_empty(bytes: Vec<u8>, from: &str) -> Result<ServerKey, Usage> {
    match bytes.is_empty() {
        true => usage(format!("{from} is empty")),
        false => Ok(ServerKey::new(bytes)),
    }
}

/// Editors end a file with a newline that is no part of the key.
fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

fn task(raw: &RawArgs, surroundings: &Surroundings<'_>) -> Result<Task, Usage> {
    Ok(match raw.verb {
        Verb::Recover if raw.has("dry-run") => Task::Recover(None),
        Verb::Recover => Task::Recover(Some(RecoverOptions {
            accept_loss: raw.has("accept-loss"),
            accept_expiry: raw.has("accept-expiry"),
            undo: !raw.has("no-undo"),
        })),
        Verb::Undo => Task::Undo,
        Verb::Cat => Task::Cat(cat_query(raw)?),
        Verb::Salvage => Task::Salvage(salvage::query(raw)?),
        Verb::Merge => Task::Merge(merge::query(raw, surroundings)?),
        Verb::Preflight => Task::Preflight(preflight::query(raw)?),
        Verb::RebuildIndex => Task::RebuildIndex(rebuild_index::query(raw)?),
        Verb::Keys => Task::Keys,
        Verb::Rekey => Task::Rekey(rekey::query(raw, surroundings)?),
        Verb::Harness => Task::Harness(harness::query(raw)?),
        Verb::Check => Task::Check,
        Verb::Events => return usage("`jetsam events` looks at no store"),
    })
}

fn cat_query(raw: &RawArgs) -> Result<CatQuery, Usage> {
    let mut query = CatQuery {
        range: 0..=u64::MAX,
        by_sequence: raw.has("seq"),
        from_ns: None,
        to_ns: None,
        subject: raw
            .get("subject")
            .map(|subject| subject.as_encoded_bytes().to_vec()),
        limit: None,
        format: match text(raw, "format")? {
            None if raw.has("json") => CatFormat::Json,
            None | Some("text") => CatFormat::Text,
            Some("json") => CatFormat::Json,
            Some("raw") => CatFormat::Raw,
            Some(other) => return usage(format!("--format is text, json or raw, not {other:?}")),
        },
    };
    if raw.has("json") && query.format != CatFormat::Json {
        return usage("--json and another --format exclude each other");
    }
    if let Some(range) = text(raw, "seq")? {
        if raw.has("from") || raw.has("to") {
            return usage("--seq and --from or --to exclude each other");
        }
        query.range = match parse_range(range) {
            Some(range) => range,
            None => {
                return usage(format!(
                    "--seq is a sequence or a range such as 5-9, not {range:?}"
                ));
            }
        };
    }
    if let Some(from) = text(raw, "from")? {
        match from.parse() {
            Ok(seq) => query.range = seq..=*query.range.end(),
            Err(_) => query.from_ns = Some(parse_time("from", from)?),
        }
    }
    if let Some(to) = text(raw, "to")? {
        match to.parse() {
            Ok(seq) => query.range = *query.range.start()..=seq,
            Err(_) => query.to_ns = Some(parse_time("to", to)?),
        }
    }
    if let Some(limit) = text(raw, "limit")? {
        query.limit = match limit.parse() {
            Ok(limit) => Some(limit),
            Err(_) => return usage(format!("--limit is a number, not {limit:?}")),
        };
    }
    Ok(query)
}

/// `5`, `5-9`, `5-`.
fn parse_range(text: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = match text.split_once('-') {
        None => {
            let seq = text.parse().ok()?;
            (seq, seq)
        }
        Some((first, "")) => (first.parse().ok()?, u64::MAX),
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
    };
    (first <= last).then_some(first..=last)
}

fn parse_time(flag: &str, text: &str) -> Result<i64, Usage> {
    let time = text.parse::<Timestamp>().ok();
    match time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()) {
        Some(ns) => Ok(ns),
        None => usage(format!(
            "--{flag} needs a time such as 2026-01-02T03:04:05Z, not {text:?}"
        )),
    }
}

fn text<'a>(raw: &'a RawArgs, flag: &str) -> Result<Option<&'a str>, Usage> {
    match raw.get(flag).map(OsStr::to_str) {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(text)),
        Some(None) => usage(format!("the value of --{flag} is not text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Invocation, parse};

    fn resolve(line: &str) -> Result<Command, String> {
        let args = line.split_whitespace().map(OsString::from);
        let Invocation::Work(raw) = parse(args).map_err(|usage| usage.0)? else {
            panic!("{line:?} is no work")
        };
        let variable = |name: &OsStr| (name == "JS_KEY").then(|| OsString::from("s3cret"));
        let surroundings = Surroundings {
            variable: &variable,
            now_ns: 7,
        };
        super::resolve(&raw, &surroundings).map_err(|usage| usage.0)
    }

    fn cat(line: &str) -> CatQuery {
        match resolve(line).expect(line).task {
            Task::Cat(query) => query,
            other => panic!("{line:?} is {other:?}"),
        }
    }

    #[test]
    fn the_flags_reach_the_options() {
        let command = resolve(
            "check D --no-index --no-expire --no-limits --threads 3 --quick --block-size 1M \
             --account A --cipher aes --key-env JS_KEY --deleted --digest --now 1970-01-01T00:00:01Z",
        )
        .unwrap();
        let options = command.options;
        assert!(options.no_index && !options.expire && !options.limits && options.quick);
        assert_eq!((options.threads, options.block_size), (3, Some(1 << 20)));
        assert_eq!(options.account.as_deref(), Some(&b"A"[..]));
        assert_eq!(options.keys.cipher, Some(Cipher::Aes));
        assert!(options.keys.current.is_some() && options.keys.previous.is_none());
        assert!(options.collect.deleted && options.collect.digest && !options.collect.subjects);
        assert_eq!(options.now_ns, 1_000_000_000);
        assert_eq!(resolve("check D").unwrap().options.now_ns, 7);
    }

    #[test]
    fn recover_asks_before_it_loses_anything() {
        let recover = |line: &str| match resolve(line).unwrap().task {
            Task::Recover(options) => options,
            other => panic!("{line}: {other:?}"),
        };
        let options = |accept_loss, undo| {
            Some(RecoverOptions {
                accept_loss,
                accept_expiry: false,
                undo,
            })
        };
        assert_eq!(recover("recover D"), options(false, true));
        assert_eq!(
            recover("recover D --accept-loss --no-undo"),
            options(true, false)
        );
        assert_eq!(recover("recover D --accept-loss --dry-run"), None);
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let cases = [
            ("check", "PATH is missing"),
            ("check A B", "takes one PATH"),
            ("recover D --policy salvage", "jetsam salvage"),
            ("check D --policy lax", "server or salvage"),
            ("check D --threads 0", "from 1 to"),
            ("check D --block-size 9MiB", "up to 8MiB"),
            ("check D --block-size 0", "up to 8MiB"),
            ("check D --now yesterday", "2026-01-02T03:04:05Z"),
            ("check D --now 9999-01-01T00:00:00Z", "2026-01-02T03:04:05Z"),
            ("check D --key-env NOT_SET", "is not set"),
            ("check D --key-env A --key-file B", "exclude each other"),
            ("check D --key-file /nowhere/at/all", "/nowhere/at/all"),
            ("check D --cipher rot13", "auto, chacha or aes"),
            ("cat D --seq 9-5", "5-9"),
            ("cat D --seq 5 --from 3", "exclude each other"),
            ("cat D --format yaml", "text, json or raw"),
            ("cat D --json --format raw", "exclude each other"),
        ];
        for (line, want) in cases {
            let message = resolve(line).map(|_| ()).expect_err(line);
            assert!(message.contains(want), "{line}: {message}");
            assert!(!message.contains("s3cret"));
        }
    }

    #[test]
    fn a_key_file_loses_one_newline() {
        assert_eq!(without_newline(b"key\n".to_vec()), b"key");
        assert_eq!(without_newline(b"key\r\n".to_vec()), b"key");
        assert_eq!(without_newline(b"key\n\n".to_vec()), b"key\n");
        assert_eq!(without_newline(b" key ".to_vec()), b" key ");
    }

    #[test]
    fn cat_takes_sequences_and_times() {
        let range = |first, last| first..=last;
        assert_eq!(cat("cat D").range, range(0, u64::MAX));
        assert_eq!(cat("cat D --seq 5").range, range(5, 5));
        assert_eq!(cat("cat D --seq 5-9").range, range(5, 9));
        assert_eq!(cat("cat D --seq 5-").range, range(5, u64::MAX));
        assert_eq!(cat("cat D --from 3 --to 4").range, range(3, 4));
        let query = cat("cat D --from 1970-01-01T00:00:02Z --limit 3 --subject a.* --json");
        assert_eq!((query.from_ns, query.to_ns), (Some(2_000_000_000), None));
        assert_eq!((query.limit, query.format), (Some(3), CatFormat::Json));
        assert_eq!(query.subject.as_deref(), Some(&b"a.*"[..]));
    }
}
