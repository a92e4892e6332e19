//! Backs a stream up and makes one of a backup, in the directories that `nats stream backup` and `nats stream restore` use.
//!
//! ```text
//! cargo run --example archive -- save /tmp/data/jetstream/ACC/streams/ORDERS /tmp/backup [messages]
//! cargo run --example archive -- restore /tmp/backup /tmp/data/jetstream/ACC/streams/ORDERS
//! ```
//!
//! `messages` makes an archive of the second version, as servers do from 2.15 on; without it one of the first, which all of them restore. What
//! is restored has the name of its directory; only an archive of messages takes another than it had. No server may use the store meanwhile.
#![allow(clippy::disallowed_methods, reason = "an example has files of its own")]

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use jetsam::env::{Clock, OsClock, OsEntropy, OsFileSystem};
use jetsam::format::meta::StreamMeta;
use jetsam::living;
use jetsam::store::{Store, StoreOptions};
use serde_json::{Value, json};

const ARCHIVES: [&str; 2] = ["stream.arc.s2", "stream.tar.s2"];
/// No backup is believed to hold more.
const MOST_BYTES: u64 = 1 << 40;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["save", stream, backup] => save(Path::new(stream), Path::new(backup), false),
        ["save", stream, backup, "messages"] => save(Path::new(stream), Path::new(backup), true),
        ["restore", backup, stream] => restore(Path::new(backup), Path::new(stream)),
        _ => Err(
            "usage: archive save STREAM BACKUP [messages] | archive restore BACKUP STREAM".into(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A stream of the name of its directory.
fn named(stream: &Path, config: &Value) -> Result<StoreOptions, Box<dyn Error>> {
    let name = stream.file_name().ok_or("no directory of a stream")?;
    let config = StreamMeta::parse(config.to_string().as_bytes())?;
    let config = config.with_name(&name.to_string_lossy());
    Ok(StoreOptions {
        create: false,
        ..StoreOptions::new(config, OsClock.now_ns())
    })
}

fn save(stream: &Path, backup: &Path, wants_messages: bool) -> Outcome {
    let options = named(stream, &json!({"name": "-", "storage": "file"}))?;
    let idle = living::look(&OsFileSystem, stream).idle();
    let idle = idle.map_err(|living| living.to_string())?;
    let (fs, entropy) = (Arc::new(OsFileSystem), Arc::new(OsEntropy));
    let store = Store::open(fs, entropy, &idle, stream, &options)?;
    let mut writer = store.writer().ok_or("the writer was taken before")?;
    // From here on the stream could go on; the archive is of this moment.
    let begun = writer.begin_snapshot(true, OsClock.now_ns())?;
    std::fs::create_dir_all(backup)?;
    let request = serde_json::to_string_pretty(&begun.request())?;
    let [messages, files] = ARCHIVES;
    let name = if wants_messages { messages } else { files };
    let mut out = BufWriter::new(File::create(backup.join(name))?);
    match wants_messages {
        true => begun.write_messages(&mut out)?,
        false => begun.write(&mut out)?,
    }
    out.flush()?;
    out.get_ref().sync_all()?;
    // Last: a backup without it is none.
    std::fs::write(backup.join("backup.json"), request)?;
    Ok(store.close(writer)?)
}

fn restore(backup: &Path, stream: &Path) -> Outcome {
    let request: Value = serde_json::from_slice(&std::fs::read(backup.join("backup.json"))?)?;
    let options = named(stream, &request["config"])?;
    let idle = living::look(&OsFileSystem, stream).idle();
    let idle = idle.map_err(|living| living.to_string())?;
    let mut opened = ARCHIVES.iter().map(|name| File::open(backup.join(name)));
    let file = opened.find_map(Result::ok).ok_or("there is no archive")?;
    let (fs, entropy) = (Arc::new(OsFileSystem), Arc::new(OsEntropy));
    let mut archive = BufReader::new(file);
    let store = Store::restore(
        fs,
        entropy,
        &idle,
        stream,
        &mut archive,
        MOST_BYTES,
        &options,
    )?;
    let summary = store.reader().summary();
    println!(
        "{}: {} messages in {}..{}",
        options.config.name, summary.message_count, summary.first.seq, summary.last.seq
    );
    let writer = store.writer().ok_or("the writer was taken before")?;
    Ok(store.close(writer)?)
}
