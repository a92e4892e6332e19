//! The forecast, the start, and what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{Clock, OsClock, OsFileSystem};
use jetsam::preflight::surroundings::Facts;
use jetsam::preflight::{Forecast, PreflightOptions, Start, Surroundings, forecast};
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::server_config::{parse, settings, through};
use jetsam::stream::options::Options;
use jetsam::stream::{accounts_dir, find_streams};
use serde_json::Value;

use crate::Asked;
use crate::nats::Server;
use crate::rows::Row;
use crate::store::{copy, tree};

/// How a row came out.
pub struct Found {
    pub told: String,
    pub differences: Vec<String>,
    pub by_chance: bool,
}

/// What was foretold of a store.
pub struct Foretold {
    pub around: Surroundings,
    pub forecasts: Vec<Forecast>,
}

impl Foretold {
    /// The codes of all events.
    pub fn codes(&self) -> BTreeSet<&'static str> {
        let streams = self.forecasts.iter().flat_map(|forecast| &forecast.events);
        let all = self.around.events().iter().chain(streams);
        all.map(|event| event.code.as_str()).collect()
    }
}

/// Foretells the start of a server with the configuration in `file` on the store in `store`.
pub fn foretell(asked: &Asked, file: &Path, store: &Path) -> io::Result<Foretold> {
    let fs = &OsFileSystem;
    let variable = |name: &std::ffi::OsStr| std::env::var_os(name);
    let mut options = Options::new(OsClock.now_ns());
    let found = find_streams(fs, store).or_else(|_| find_streams(fs, &store.join("jetstream")));
    let streams = found.map_err(io::Error::other)?.streams;
    let parsed = parse(file, &through(fs), &variable)
        .and_then(|document| Ok((settings(&document)?, document)));
    let around = match &parsed {
        Err(error) => Surroundings::unreadable(error),
        Ok((config, document)) => {
            options.keys.current = config.key.as_ref().map(|key| ServerKey::new(key.to_vec()));
            options.keys.cipher = Some(config.cipher.unwrap_or(Cipher::ChaCha));
            let facts = Facts {
                server: asked.version,
                clustered: false,
                store_dir: config.store_dir.clone(),
                accounts_dir: streams.iter().find_map(accounts_dir),
                temp_dir: file.parent().unwrap_or(file).to_owned(),
            };
            Surroundings::of(fs, document, file, &options, &facts)
        }
    };
    let around = Arc::new(around);
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let preflight = PreflightOptions {
        server: asked.version,
        surroundings: Some(Arc::clone(&around)),
        ..PreflightOptions::default()
    };
    let streams = streams
        .iter()
        .map(|stream| forecast(fs, stream, &options, &preflight, &watch));
    Ok(Foretold {
        forecasts: streams.collect(),
        around: Surroundings::clone(&around),
    })
}

/// A stream that is up: its messages and its consumers.
type Up = (u64, BTreeSet<String>);

/// The streams that a server says are up, by account and name.
pub fn up(jsz: &Value) -> BTreeMap<(String, String), Up> {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = BTreeMap::new();
    for account in list(jsz, "account_details") {
        for stream in list(&account, "stream_detail") {
            let consumers = list(&stream, "consumer_detail");
            let names = consumers
                .iter()
                .map(|consumer| text(&consumer["name"]))
                .collect();
            let messages = stream["state"]["messages"].as_u64().unwrap_or(0);
            found.insert(
                (text(&account["id"]), text(&stream["name"])),
                (messages, names),
            );
        }
    }
    found
}

/// What differs between a forecast and the streams that are up.
pub fn differences(
    foretold: &Foretold,
    up: &BTreeMap<(String, String), Up>,
    found: &mut Vec<String>,
) {
    for forecast in &foretold.forecasts {
        let account = forecast.account.clone().unwrap_or_default();
        let at = format!("{account}/{}", forecast.name);
        match (forecast.start, up.get(&(account, forecast.name.clone()))) {
            (Start::Ok, Some((messages, consumers))) => {
                if *messages != forecast.messages {
                    found.push(format!(
                        "{at}: {} messages foretold, {messages} there",
                        forecast.messages
                    ));
                }
                let names = forecast
                    .consumers
                    .iter()
                    .filter(|consumer| consumer.outcome == "ok");
                let mut told: BTreeSet<String> =
                    names.map(|consumer| consumer.name.clone()).collect();
                told.retain(|name| {
                    !forecast.consumers_disabled.contains(name)
                        && !forecast.consumers_lost.contains(name)
                });
                if told != *consumers {
                    found.push(format!(
                        "{at}: consumers {told:?} foretold, {consumers:?} there"
                    ));
                }
            }
            (Start::Ok, None) => found.push(format!("{at}: foretold, and not there")),
            // Shown as offline.
            (Start::StreamSkipped, Some((0, consumers)))
                if consumers.is_empty() && is_offline(forecast) => {}
            (start, Some((messages, _))) => {
                found.push(format!(
                    "{at}: foretold {}, and there with {messages} messages",
                    start.as_str()
                ));
            }
            (_, None) => {}
        }
    }
}

/// Whether the server shows the stream, and does not open it.
fn is_offline(forecast: &Forecast) -> bool {
    let unsupported = [EventCode::StreamUnsupported, EventCode::StreamStrictJson];
    let mut events = forecast.events.iter();
    events.any(|event| unsupported.contains(&event.code))
}

/// Blocks and metadata of the streams that are left out.
fn kept(foretold: &Foretold) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for forecast in foretold
        .forecasts
        .iter()
        .filter(|forecast| forecast.start == Start::StreamSkipped)
    {
        for (name, bytes) in tree(Path::new(&forecast.dir))? {
            if name.ends_with(".blk") || name.ends_with("meta.inf") || name.ends_with("meta.sum") {
                files.insert(Path::new(&forecast.dir).join(name), bytes);
            }
        }
    }
    Ok(files)
}

/// One row: the store copied and changed, the start foretold, the server started.
pub fn row(asked: &Asked, from: &Path, dir: &Path, row: &Row) -> io::Result<Found> {
    let store = dir.join("store");
    copy(from, &store)?;
    (row.change)(&store)?;
    let quoted = format!("{:?}", store.display().to_string());
    let config = row
        .config
        .replace("\"STORE", &format!("\"{}", store.display()))
        .replace("STORE", &quoted);
    let file = dir.join("server.conf");
    fs::write(&file, &config)?;
    let foretold = foretell(asked, &file, &store)?;
    let codes = foretold.codes();
    let mut differences = Vec::new();
    // Servers before 2.11.9 do not look at levels.
    let no_level = row.code == "stream-unsupported" && asked.version.api_level().is_none();
    if !row.code.is_empty() && !codes.contains(row.code) && !no_level && !row.chance {
        differences.push(format!("{} is not said: {codes:?}", row.code));
    }
    let before = kept(&foretold)?;
    let server = Server::start(&asked.program, dir, &config)?;
    let mut by_chance = false;
    match (foretold.around.starts(), server) {
        (false, None) => {}
        (false, Some(server)) => {
            by_chance = row.chance;
            if !row.chance {
                differences.push("the server starts".into());
            }
            server.stop()?;
        }
        (true, None) => {
            let log = fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(3).collect();
            differences.push(format!("the server does not start: {tail:?}"));
        }
        (true, Some(server)) => {
            std::thread::sleep(Duration::from_millis(200));
            self::differences(&foretold, &up(&server.jsz()?), &mut differences);
            server.stop()?;
        }
    }
    for (path, bytes) in before {
        if !by_chance && fs::read(&path).ok().as_ref() != Some(&bytes) {
            differences.push(format!("{} changed", path.display()));
        }
    }
    if row.chance && !differences.is_empty() {
        by_chance = true;
        differences.clear();
    }
    let told: Vec<&str> = codes.into_iter().collect();
    Ok(Found {
        told: told.join(" "),
        differences,
        by_chance,
    })
}
