//! The other side: the oracle process, its questions and its answers.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What both sides are told besides the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub account: String,
    pub stream: String,
    pub key: String,
    pub prev_key: String,
    /// `chacha`, `aes` or empty.
    pub cipher: String,
    /// 0 for the server's rule.
    pub block_size: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Lost {
    pub msgs: Option<Vec<u64>>,
    pub bytes: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GoState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub first_ts: String,
    pub last_seq: u64,
    pub last_ts: String,
    pub num_subjects: u64,
    pub num_deleted: i64,
    pub deleted: Vec<u64>,
    pub deleted_omitted: bool,
    pub lost: Option<Lost>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Timers {
    pub count: u64,
    pub entries: Vec<(u64, i64)>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Schedules {
    pub count: u64,
    pub entries: Vec<(String, u64, i64)>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Position {
    pub seq: u64,
    pub ident: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub outcome: String,
    pub error: String,
    pub opened_at: i64,
    pub fast_path: Option<bool>,
    pub log: Vec<String>,
    pub state: Option<GoState>,
    pub subjects: Option<BTreeMap<String, u64>>,
    pub subjects_hex: Option<BTreeMap<String, u64>>,
    pub ttl: Option<Timers>,
    pub schedules: Option<Schedules>,
    pub sources: Option<BTreeMap<String, Position>>,
    pub read_outcome: String,
    pub read_error: String,
    pub digest: String,
    pub unreadable: Option<Vec<u64>>,
    pub load_errors: Option<BTreeMap<u64, String>>,
    // Of a store it wrote.
    pub key: String,
    pub cipher: String,
    pub clean: bool,
}

/// A running `oracle serve`.
pub struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The last answer as it came.
    pub raw: String,
}

impl Oracle {
    /// Starts the oracle; its scratch copies go below `scratch`.
    pub fn start(program: &Path, scratch: &Path) -> io::Result<Oracle> {
        Self::start_patient(program, scratch, 8)
    }

    /// The same, where one question may take longer.
    pub fn start_patient(program: &Path, scratch: &Path, seconds: u64) -> io::Result<Oracle> {
        let mut child = Command::new(program)
            .args(["serve", "--mem-mb", "1500", "--timeout-s"])
            .arg(seconds.to_string())
            .env("TMPDIR", scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the oracle has no pipes"));
        };
        Ok(Oracle {
            child,
            input,
            output: BufReader::new(output),
            raw: String::new(),
        })
    }

    fn put(&mut self, request: &Value) -> io::Result<Answer> {
        writeln!(self.input, "{request}")?;
        self.input.flush()?;
        self.raw.clear();
        if self.output.read_line(&mut self.raw)? == 0 {
            return Err(io::Error::other("the oracle is gone"));
        }
        if self.raw.trim() == "null" {
            // What it found does not fit into JSON, a time beyond year 9999 for one.
            return Ok(Answer {
                outcome: "no answer".into(),
                ..Answer::default()
            });
        }
        serde_json::from_str(&self.raw)
            .map_err(|error| io::Error::other(format!("oracle answer: {error}: {}", self.raw)))
    }

    /// Opens `dir` in place and stops cleanly.
    pub fn open(&mut self, dir: &Path, ask: &Ask, digest: bool) -> io::Result<Answer> {
        self.put(&json!({
            "dir": dir, "key": ask.key, "prev_key": ask.prev_key, "cipher": ask.cipher,
            "account": ask.account, "block_size": ask.block_size, "after": "stop", "digest": digest,
        }))
    }

    /// Writes a random store to `dir`.
    pub fn random(&mut self, seed: u64, dir: &Path) -> io::Result<Answer> {
        self.put(&json!({"op": "random", "seed": seed, "out": dir}))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
