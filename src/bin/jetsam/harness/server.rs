//! The real server's column: a program that opens stores, asked in lines of JSON.
//!
//! `docs/HARNESS.md` has the protocol; `testdata/oracle` is such a program.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use jetsam::testing::{Case, Recoverer, Service, Tally};
use serde::Deserialize;
use serde_json::json;

/// A program that opens stores with the real server.
pub struct Server {
    program: String,
    arguments: Vec<String>,
    /// Processes that wait for a question.
    idle: Mutex<Vec<Process>>,
    /// Where damaged stores are written to be opened.
    scratch: PathBuf,
    asked: AtomicU64,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    outcome: String,
    error: String,
    read_outcome: String,
    read_error: String,
    contents: Option<Vec<(u64, String)>>,
}

impl Server {
    /// A command line, split at spaces, and whether it answers at all.
    pub fn new(command: &str) -> Result<Self, String> {
        let mut words = command.split_whitespace().map(str::to_owned);
        let program = words.next().unwrap_or_default();
        let scratch = std::env::temp_dir().join(format!("jetsam-harness-{}", std::process::id()));
        std::fs::create_dir_all(&scratch)
            .map_err(|error| format!("cannot create {}: {error}", scratch.display()))?;
        let server = Server {
            program,
            arguments: words.collect(),
            idle: Mutex::default(),
            scratch,
            asked: AtomicU64::new(0),
        };
        let process = server.start()?;
        server.put_back(process);
        Ok(server)
    }

    fn start(&self) -> Result<Process, String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!(
                "--server-command: {} cannot be started: {error}",
                self.program
            )
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env("TMPDIR", &self.scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Process {
                child,
                input,
                output: BufReader::with_capacity(1 << 16, output),
            }),
            _ => Err(failed(&"it has no pipes")),
        }
    }

    fn take(&self) -> Result<Process, String> {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        idle.map_or_else(|| self.start(), Ok)
    }

    fn put_back(&self, process: Process) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(process);
        }
    }

    fn ask(&self, case: &Case<'_>, dir: &std::path::Path, last_seq: u64) -> Result<Answer, String> {
        let access = case.access;
        let key = access.key.as_deref().unwrap_or_default();
        let request = json!({
            "dir": dir, "account": access.account,
            "key": String::from_utf8_lossy(key),
            "cipher": access.cipher.map(|cipher| cipher.to_string()).unwrap_or_default(),
            "block_size": access.block_size.unwrap_or_default(),
            "after": "open", "digest": true, "contents": true, "up_to": last_seq,
        });
        let mut process = self.take()?;
        let answer = process.ask(&request.to_string());
        if answer.is_ok() {
            self.put_back(process);
        }
        let line = answer.map_err(|why| format!("--server-command: {why}"))?;
        serde_json::from_str(&line)
            .map_err(|error| format!("--server-command: {error} in the answer {line:.200}"))
    }
}

impl Process {
    fn ask(&mut self, request: &str) -> Result<String, String> {
        let gone = |error: &dyn std::fmt::Display| format!("the program is gone: {error}");
        writeln!(self.input, "{request}").map_err(|error| gone(&error))?;
        self.input.flush().map_err(|error| gone(&error))?;
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(gone(&"it closed its output")),
            Ok(_) => Ok(line),
            Err(error) => Err(gone(&error)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.clear();
        }
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

impl Recoverer for Server {
    fn name(&self) -> &str {
        "nats-server"
    }

    fn survivors(&self, case: &Case<'_>, tally: &mut Tally<'_>) -> Result<Service, String> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let root = self.scratch.join(number.to_string());
        let account = root.join(&case.access.account);
        let dir = account.join("streams").join(&case.stream.name);
        case.write_to(&dir).map_err(|error| error.to_string())?;
        let answer = self.ask(case, &dir, tally.last_seq());
        let _ = std::fs::remove_dir_all(&root);
        judge(&answer?, tally)
    }
}

fn judge(answer: &Answer, tally: &mut Tally<'_>) -> Result<Service, String> {
    match answer.outcome.as_str() {
        "opened" => {}
        // The open call fails: the server would delete the directory. Or it leaves the directory alone.
        "error" | "skipped" => return Ok(Service::Refused),
        "panic" | "oom" => return Ok(Service::Down),
        "timeout" => return Ok(Service::Unanswered),
        other => return Err(format!("no outcome but {other:?} ({})", answer.error)),
    }
    match answer.read_outcome.as_str() {
        "ok" => {}
        "panic" | "oom" => return Ok(Service::Down),
        "timeout" => return Ok(Service::Unanswered),
        other => return Err(format!("reading gave {other:?} ({})", answer.read_error)),
    }
    for (seq, fingerprint) in answer.contents.iter().flatten() {
        let bytes = u64::from_str_radix(fingerprint, 16)
            .map_err(|_| format!("{fingerprint:?} is no fingerprint"))?;
        tally.fingerprint(*seq, &bytes.to_be_bytes());
    }
    Ok(Service::Opened)
}
