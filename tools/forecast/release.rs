//! The same case under a released server of any line, as a process: does it start, with the stream or without, is the
//! directory still there, and how many messages does it count.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jetsam::preflight::Forecast;
use jetsam::report::ServerVersion;
use jetsam::report::events::EventCode;
use serde_json::Value;

use crate::compare::Differences;
use crate::judge::{self, Judged};
use crate::oracle::Ask;
use crate::run::{Bench, Case};

/// A program, and the release it is.
#[derive(Debug, Clone)]
pub struct Release {
    pub version: ServerVersion,
    pub program: PathBuf,
}

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(40);

impl Release {
    /// Reads `2.11.17=PATH`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (version, program) = text.split_once('=').ok_or("--release takes VERSION=PATH")?;
        let version = version.parse().map_err(|error| format!("{error}"))?;
        Ok(Release {
            version,
            program: program.into(),
        })
    }
}

/// What became of the store.
struct Standing {
    start: &'static str,
    messages: Option<u64>,
    log: String,
}

/// Foretells, starts the server, compares.
pub fn case(bench: &Bench, case: &Case, release: &Release) -> io::Result<Judged> {
    let mut judged = Judged {
        origin: case.origin.clone(),
        mutations: case.mutations.clone(),
        whole: true,
        ..Judged::default()
    };
    let store = bench.scratch.join("released");
    if store.exists() {
        fs::remove_dir_all(&store)?;
    }
    let account = store.join("jetstream").join(&case.ask.account);
    let dir = account.join("streams").join(&case.ask.stream);
    case.tree.store(&dir)?;
    let foretold = judge::foretell(
        &dir,
        &case.ask,
        judge::how_at(crate::now_ns()),
        release.version,
    );
    judged.start = foretold.start.as_str();
    judged.lost = foretold.lost;
    let Some(standing) = start(release, &store, &dir, &case.ask)? else {
        judged.set_aside = Some("the server did not come up in time".into());
        return Ok(judged);
    };
    let mut found = Differences::default();
    if standing.start != judged.start {
        let tail: Vec<_> = standing.log.lines().rev().take(12).collect();
        found.add("start", (standing.start, tail), judged.start);
    } else if let Some(messages) = standing.messages
        && messages != foretold.messages
    {
        if removes_on_its_own(case, &foretold) {
            judged.set_aside = Some("the running server removes messages".into());
        } else if looked_for_the_last(&foretold, messages) {
            judged.set_aside =
                Some("the server looked for the last message, and it is not there".into());
        } else {
            found.add("messages", messages, foretold.messages);
        }
    }
    if !found.0.is_empty() && judge::has_twins(case) {
        judged.set_aside = Some("two names for one block".into());
    }
    judged.differences = found.0;
    Ok(judged)
}

/// Whether a server goes on to remove messages once it is up: TTLs, ages and schedules that have come, and consumers.
fn removes_on_its_own(case: &Case, foretold: &Forecast) -> bool {
    let meta = case.tree.get("meta.inf").cloned().unwrap_or_default();
    let meta = String::from_utf8_lossy(&meta);
    let sealed = !meta.starts_with('{');
    let timers = [
        EventCode::TtlOutdated,
        EventCode::SchedOutdated,
        EventCode::AgeExpiredMsgs,
        EventCode::AgeExpiredBlocks,
    ];
    sealed
        || [
            "\"allow_msg_ttl\":true",
            "\"allow_msg_schedules\":true",
            "\"interest\"",
            "\"workqueue\"",
        ]
        .iter()
        .any(|mark| meta.contains(mark))
        || foretold
            .events
            .iter()
            .any(|event| timers.contains(&event.code))
}

/// Whether a server counts fewer because it looked for the last message. It does so right after every open, for that message's
/// id, whatever the window of duplicates is. Where a trusted index counts a last message that its block does not have, the look
/// has the block walked anew: what is not in it comes off the totals, and the last sequence goes back. A file store alone,
/// which nobody asks for a message, counts as its open left it, and so does the forecast; which messages cannot be read it
/// tells all the same.
fn looked_for_the_last(foretold: &Forecast, messages: u64) -> bool {
    let last = foretold.state.as_ref().map(|state| state.last_seq);
    let is_missing = last.is_some() && foretold.lost_seqs.last().map(|(_, to)| *to) == last;
    let fewer = foretold.messages.checked_sub(messages);
    foretold.fast_path && is_missing && fewer.is_some_and(|fewer| fewer <= foretold.unreadable)
}

fn configuration(release: &Release, store: &Path, ports: &Path, ask: &Ask) -> String {
    let mut jetstream = format!("store_dir: \"{}\"", store.display());
    if !ask.key.is_empty() {
        jetstream += &format!(", key: \"{}\"", ask.key);
    }
    // 2.9 does not know the setting.
    if !ask.prev_key.is_empty() && release.version.line() > 9 {
        jetstream += &format!(", prev_key: \"{}\"", ask.prev_key);
    }
    if !ask.cipher.is_empty() {
        jetstream += &format!(", cipher: {}", ask.cipher);
    }
    format!(
        "server_name: s\nlisten: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\nports_file_dir: \"{}\"\njetstream: {{{jetstream}}}\n\
         accounts: {{ {}: {{ jetstream: enabled, users: [{{user: u, password: p}}] }} }}\n",
        ports.display(),
        ask.account,
    )
}

/// Starts it and asks; `None` where it neither came up nor went down in time.
fn start(release: &Release, store: &Path, dir: &Path, ask: &Ask) -> io::Result<Option<Standing>> {
    let ports = store.join("ports");
    fs::create_dir_all(&ports)?;
    let (config, log) = (store.join("server.conf"), store.join("server.log"));
    fs::write(&config, configuration(release, store, &ports, ask))?;
    let mut child = Command::new(&release.program)
        .arg("-c")
        .arg(&config)
        .env("GOMEMLIMIT", "1500MiB")
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let came_up = await_server(&mut child, &ports);
    let answer = match &came_up {
        Ok(Some(address)) => ask_streams(address),
        _ => Ok(Value::Null),
    };
    let ended = child.try_wait()?.is_some();
    let _ = child.kill();
    child.wait()?;
    let log = fs::read_to_string(&log).unwrap_or_default();
    let (came_up, answer) = (came_up?, answer?);
    if came_up.is_none() && !ended {
        return Ok(None);
    }
    let stream = stream_of(&answer, ask);
    // A stream that needs a newer server is listed, and out of service: only the log tells.
    let offline = log.contains("unmarshalling stream");
    let start = match (came_up.is_some(), &stream, dir.exists()) {
        (false, ..) => "server-down",
        (true, Some(_), _) if !offline => "ok",
        (true, _, true) => "stream-skipped",
        (true, _, false) => "stream-deleted",
    };
    let messages = stream.and_then(|stream| stream["state"]["messages"].as_u64());
    Ok(Some(Standing {
        start,
        messages,
        log,
    }))
}

fn stream_of(answer: &Value, ask: &Ask) -> Option<Value> {
    let accounts = answer["account_details"].as_array()?;
    let account = accounts
        .iter()
        .find(|account| account["name"] == ask.account.as_str())?;
    let streams = account["stream_detail"].as_array()?;
    streams
        .iter()
        .find(|stream| stream["name"] == ask.stream.as_str())
        .cloned()
}

/// The address of its monitoring port, once it is up; `None` where it ends or takes too long.
fn await_server(child: &mut Child, ports: &Path) -> io::Result<Option<String>> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE && child.try_wait()?.is_none() {
        for entry in fs::read_dir(ports)? {
            // It is written under another name first.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            let told: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(url) = told["monitoring"][0].as_str() {
                return Ok(Some(url.trim_start_matches("http://").to_owned()));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

fn ask_streams(address: &str) -> io::Result<Value> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /jsz?accounts=true&streams=true HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(io::Error::other)
}
