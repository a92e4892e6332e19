//! Asking the oracle.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::store::{ACCOUNT, STREAM};

/// A running `oracle serve`.
pub struct Oracle {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts `program`.
    pub fn start(program: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(program)
            .args(["serve", "--timeout-s", "20"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let questions = child.stdin.take().ok_or("no standard input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Oracle {
            child,
            questions,
            answers,
        })
    }

    /// Closes it down.
    pub fn end(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.questions);
        self.child.wait()?;
        Ok(())
    }

    /// Asks twice about copies of `stream`; the answers must agree but for the clock.
    pub fn verdict(
        &mut self,
        stream: &Path,
        request: &Map<String, Value>,
    ) -> Result<Value, Box<dyn Error>> {
        let mut first = self.ask(stream, request)?;
        let mut second = self.ask(stream, request)?;
        keep_agreed_sums(&mut first, &mut second);
        let opened_at = first.remove("opened_at");
        second.remove("opened_at");
        if first != second {
            return Err(format!("two answers differ:\n{first:?}\n{second:?}").into());
        }
        first.insert("opened_at".into(), opened_at.unwrap_or(Value::Null));
        first.insert("request".into(), Value::Object(request.clone()));
        Ok(sorted(Value::Object(first)))
    }

    fn ask(
        &mut self,
        stream: &Path,
        request: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Box<dyn Error>> {
        let scratch = tempfile::tempdir()?;
        let dir = scratch.path().join(ACCOUNT).join("streams").join(STREAM);
        copy_tree(stream, &dir)?;
        for below in ["msgs", "obs"] {
            fs::create_dir_all(dir.join(below))?;
        }
        let mut question = request.clone();
        question.insert("dir".into(), json!(dir));
        writeln!(self.questions, "{}", Value::Object(question))?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let line = line.replace(&dir.display().to_string(), "STREAM");
        if line.contains(&format!("{}/", std::env::temp_dir().display())) {
            return Err(format!("a path of this machine is left in {line}").into());
        }
        let mut answer: Map<String, Value> = serde_json::from_str(&line)?;
        // How long it took, and why a message does not load: that is another reason each time.
        for key in ["open_ns", "load_errors", "read_log", "read_error"] {
            answer.remove(key);
        }
        Ok(answer)
    }
}

/// Side files whose entries the server writes in random order.
const IN_RANDOM_ORDER: [&str; 3] = ["msgs/thw.db", "msgs/sched.db", "sources.db"];

/// Drops the checksum of a file that comes out different each time: encrypted anew, or in random order.
fn keep_agreed_sums(first: &mut Map<String, Value>, second: &mut Map<String, Value>) {
    let (Some(Value::Object(one)), Some(Value::Object(two))) =
        (first.get_mut("files_after"), second.get_mut("files_after"))
    else {
        return;
    };
    for (name, file) in one {
        let (Some(file), Some(other)) = (
            file.as_object_mut(),
            two.get_mut(name).and_then(Value::as_object_mut),
        ) else {
            continue;
        };
        let random = IN_RANDOM_ORDER.contains(&name.as_str());
        if random || file.get("sha256") != other.get("sha256") {
            file.remove("sha256");
            other.remove("sha256");
        }
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            fields
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect()
        }
        other => other,
    }
}

/// A verdict in one line, for whoever writes the notes.
pub fn in_short(verdict: &Value) -> String {
    let outcome = verdict["outcome"].as_str().unwrap_or_default();
    if outcome != "opened" {
        return format!(
            "{outcome}: {}",
            verdict["error"].as_str().unwrap_or_default()
        );
    }
    let state = &verdict["state"];
    let mut text = format!(
        "{} {}..{} of {} messages, {} bytes, {} deleted",
        if verdict["fast_path"] == json!(true) {
            "index"
        } else {
            "blocks"
        },
        state["first_seq"],
        state["last_seq"],
        state["messages"],
        state["bytes"],
        state["num_deleted"],
    );
    for key in ["lost"] {
        if !state[key].is_null() {
            text += &format!(", {key} {}", state[key]);
        }
    }
    for key in ["unreadable", "ttl", "schedules", "sources"] {
        if !verdict[key].is_null() {
            text += &format!(", {key} {}", verdict[key]);
        }
    }
    if verdict["read_outcome"] != json!("ok") {
        text += &format!(", reading: {}", verdict["read_outcome"]);
    }
    text
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
