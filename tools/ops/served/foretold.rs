//! What this library foretells of a stream under a server of some version.
//!
//! Servers of older lines find less than the engine in what it left, for they do not read its index. How much less is known:
//! `preflight` imitates each line. Where a server does not say what the engine says, it has to say what was foretold.

use std::path::Path;

use serde_json::{Value, json};

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::OsFileSystem;
use jetsam::preflight::{PreflightOptions, forecast};
use jetsam::report::stream::State;
use jetsam::report::{ServerVersion, Watch};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

use super::left::{BEFORE_NS, KEY, Left};

/// A stream's state after the start, and the messages that could not be had.
pub struct Foretold {
    state: Option<State>,
    lost: Vec<(u64, u64)>,
}

/// Foretells a stream in the directory where the server will find it.
pub fn foretell(version: &str, left: &Left, dir: &Path) -> Result<Foretold, String> {
    let server: ServerVersion = version
        .parse()
        .map_err(|error| format!("{version}: {error}"))?;
    let mut options = Options::new(i64::try_from(BEFORE_NS).unwrap_or(0));
    options.server = server;
    options.threads = 1;
    options.collect.deleted = true;
    if left.cipher() != "none" {
        options.keys.current = Some(ServerKey::new(KEY.into()));
        options.keys.cipher = Some(match left.cipher() {
            "aes" => Cipher::Aes,
            _ => Cipher::ChaCha,
        });
    }
    let stream = StreamDir {
        account: Some(left.account()),
        name: "S".to_owned(),
        dir: dir.to_owned(),
    };
    let preflight = PreflightOptions {
        server,
        ..PreflightOptions::default()
    };
    let forecast = forecast(&OsFileSystem, &stream, &options, &preflight, &Watch::none());
    Ok(Foretold {
        state: forecast.state,
        lost: forecast.lost_seqs,
    })
}

impl Foretold {
    /// What was foretold of a field of the state.
    pub fn field(&self, name: &str) -> Value {
        let Some(state) = &self.state else {
            return Value::Null;
        };
        match name {
            "messages" => json!(state.messages),
            "bytes" => json!(state.bytes),
            "first_seq" => json!(state.first_seq),
            "last_seq" => json!(state.last_seq),
            "num_subjects" => json!(state.subject_count),
            "first_ts" => json!(state.first_time_ns.unwrap_or(0)),
            "last_ts" => json!(state.last_time_ns.unwrap_or(0)),
            "deleted" => json!(state.deleted.as_deref().unwrap_or_default()),
            _ => Value::Null,
        }
    }

    /// Whether that a message could not be had was foretold.
    pub fn is_lost(&self, seq: u64) -> bool {
        let mut lost = self.lost.iter();
        lost.any(|(from, to)| (*from..=*to).contains(&seq))
    }

    /// Whether the subjects with their counts add up to the foretold totals.
    pub fn adds_up(&self, subjects: &Value) -> bool {
        let counts = || subjects.as_object().into_iter().flatten();
        let total: u64 = counts().filter_map(|(_, count)| count.as_u64()).sum();
        json!(total) == self.field("messages")
            && json!(counts().count()) == self.field("num_subjects")
    }
}
