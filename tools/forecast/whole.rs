//! The same case under a whole server: does it start, with the stream or without, and is the directory still there.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::compare::Differences;
use crate::judge::Judged;
use crate::run::Case;

/// Starts a whole server on a copy and holds what it did against `judged.start`.
pub fn compare(oracle: &Path, scratch: &Path, case: &Case, judged: &mut Judged) -> io::Result<()> {
    let store = scratch.join("whole");
    if store.exists() {
        fs::remove_dir_all(&store)?;
    }
    let ask = &case.ask;
    let account = store.join("jetstream").join(&ask.account);
    let dir = account.join("streams").join(&ask.stream);
    case.tree.store(&dir)?;
    let mut command = Command::new(oracle);
    command.arg("server").arg(&store);
    if !ask.key.is_empty() {
        command.args(["--key", &ask.key]);
    }
    if !ask.cipher.is_empty() {
        command.args(["--cipher", &ask.cipher]);
    }
    // A server that goes down over one record does so at once; one that runs out of memory takes its time.
    let output = command.env("GOMEMLIMIT", "1500MiB").output()?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let stream = answer
        .get("accounts")
        .and_then(|accounts| accounts.get(&ask.account))
        .and_then(|streams| streams.get(&ask.stream));
    let offline = stream
        .and_then(|stream| stream.get("offline"))
        .and_then(Value::as_str)
        .is_some_and(|reason| !reason.is_empty());
    let did = match (output.status.success(), stream, dir.exists()) {
        (false, ..) => "server-down",
        (true, Some(_), _) if !offline => "ok",
        (true, _, true) => "stream-skipped",
        (true, _, false) => "stream-deleted",
    };
    let mut found = Differences::default();
    if did != judged.start {
        let text = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = text.lines().filter(|line| line.contains("panic")).collect();
        found.add("whole server", (did, last), judged.start);
    }
    judged.differences.extend(found.0);
    Ok(())
}
