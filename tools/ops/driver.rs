//! One side: a program that speaks the protocol, as a child process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// A request that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a side is started: a program and its arguments.
#[derive(Debug, Clone)]
pub struct Side {
    pub command: Vec<String>,
}

impl Side {
    /// Takes a command line apart at its blanks.
    pub fn new(line: &str) -> Self {
        Self {
            command: line.split_whitespace().map(str::to_owned).collect(),
        }
    }

    pub fn start(&self) -> Result<Driver, String> {
        let (program, args) = self.command.split_first().ok_or("an empty command")?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = child.stdout.take().ok_or("no standard output")?;
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Driver {
            child,
            input,
            lines,
        })
    }
}

/// A running side.
pub struct Driver {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// The answer that stands for a side which gave none.
fn silent(kind: &str) -> Value {
    json!({ "silent": kind })
}

/// Whether a side gave no answer.
pub fn is_silent(answer: &Value) -> bool {
    answer.get("silent").is_some()
}

impl Driver {
    pub fn send(&mut self, request: &Value) {
        // A side that died says so by not answering.
        let _ = writeln!(self.input, "{request}");
        let _ = self.input.flush();
    }

    pub fn receive(&mut self) -> Value {
        self.receive_within(PATIENCE)
    }

    pub fn receive_within(&mut self, patience: Duration) -> Value {
        match self.lines.recv_timeout(patience) {
            Ok(line) => serde_json::from_str(&line)
                .unwrap_or_else(|error| json!({ "silent": format!("{error}: {line:.200}") })),
            Err(RecvTimeoutError::Timeout) => silent("hangs"),
            Err(RecvTimeoutError::Disconnected) => silent("died"),
        }
    }

    pub fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        self.receive()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.kill();
    }
}
