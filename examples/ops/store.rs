//! The engine as the protocol sees it: opening and closing, and which call serves which operation.

use std::path::Path;
use std::sync::Arc;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::meta::StreamMeta;
use jetsam::living::Idle;
use jetsam::store::{Level, OpenError, Reader, Store, StoreOptions, Writer};
use serde_json::{Value, json};

use crate::answer::{Kind, Outcome, Refusal, StreamNumbers, refuse};
use crate::bench;
use crate::consumers::{Consumers, Place};
use crate::read;
use crate::request::{Opening, Request};
use crate::serve::Served;
use crate::write;

/// A store that is open.
pub struct Opened {
    pub store: Store,
    pub writer: Writer,
    pub reader: Reader,
    pub consumers: Consumers,
}

/// At most one open store.
pub struct Engine {
    defaults: Opening,
    opened: Option<Opened>,
}

impl Engine {
    pub fn new(defaults: Opening) -> Self {
        Self {
            defaults,
            opened: None,
        }
    }

    fn open(&mut self, opening: Opening, now_ns: i64) -> Outcome {
        if self.opened.is_some() {
            return refuse(Kind::BadRequest, "a store is open");
        }
        let opening = with_defaults(opening, &self.defaults);
        let opened = open(&opening, now_ns)?;
        let state = opened.state().answer();
        self.opened = Some(opened);
        Ok(state)
    }

    fn restore(&mut self, file: &str, opening: Opening, now_ns: i64) -> Outcome {
        if self.opened.is_some() {
            return refuse(Kind::BadRequest, "a store is open");
        }
        let opening = with_defaults(opening, &self.defaults);
        let opened = restore(file, &opening, now_ns)?;
        let state = opened.state().answer();
        self.opened = Some(opened);
        Ok(state)
    }

    fn close(&mut self, now_ns: i64) -> Outcome {
        let Some(mut opened) = self.opened.take() else {
            return refuse(Kind::Closed, "no store is open");
        };
        opened.consumers.close_all(now_ns)?;
        match opened.store.close(opened.writer) {
            Ok(()) => Ok(json!({})),
            Err(fault) => refuse(Kind::Other, fault.to_string()),
        }
    }
}

impl Served for Engine {
    fn perform(&mut self, request: Request, now_ns: i64) -> Outcome {
        match request {
            Request::Reset => {
                // Whatever closing finds wrong, nothing is open afterwards.
                let _ = self.close(now_ns);
                Ok(json!({}))
            }
            Request::Open(opening) => self.open(opening, now_ns),
            Request::Restore { file, opening } => self.restore(&file, opening, now_ns),
            Request::Close => self.close(now_ns),
            Request::Bench(workload) if self.opened.is_none() => bench::run(&workload),
            Request::Bench(_) => refuse(Kind::BadRequest, "a store is open"),
            request => match &mut self.opened {
                None => refuse(Kind::Closed, "no store is open"),
                Some(opened) => perform(opened, request, now_ns),
            },
        }
    }
}

fn perform(opened: &mut Opened, request: Request, now_ns: i64) -> Outcome {
    if let Request::Snapshot { file, consumers } = request {
        return snapshot(opened, &file, consumers, now_ns);
    }
    let request = match opened.consumers.perform(request, now_ns)? {
        Ok(answer) => return Ok(answer),
        Err(request) => request,
    };
    match write::perform(opened, request, now_ns)? {
        Ok(answer) => Ok(answer),
        Err(request) => read::perform(opened, &request),
    }
}

fn snapshot(opened: &mut Opened, file: &str, with_consumers: bool, now_ns: i64) -> Outcome {
    opened.consumers.flush_all(now_ns)?;
    let failed = |error: std::io::Error| refuse(Kind::Other, error.to_string());
    let mut out = std::fs::File::create(file).or_else(failed)?;
    let written = opened.writer.snapshot(&mut out, with_consumers, now_ns);
    written.or_else(|error| refuse(Kind::Other, error.to_string()))?;
    Ok(json!({}))
}

/// What a request leaves out is taken from the command line.
fn with_defaults(mut opening: Opening, defaults: &Opening) -> Opening {
    for (field, default) in [
        (&mut opening.dir, &defaults.dir),
        (&mut opening.cipher, &defaults.cipher),
        (&mut opening.key, &defaults.key),
    ] {
        if field.is_empty() {
            field.clone_from(default);
        }
    }
    opening
}

/// Opens the store that a request describes.
pub fn open(opening: &Opening, now_ns: i64) -> Result<Opened, Refusal> {
    if opening.dir.is_empty() {
        return refuse(Kind::BadRequest, "no directory");
    }
    let options = options(opening, now_ns)?;
    let dir = Path::new(&opening.dir);
    let opened = Store::open(
        Arc::new(OsFileSystem),
        Arc::new(OsEntropy),
        &Idle::declared(),
        dir,
        &options,
    );
    let store = opened.or_else(|error| {
        let kind = match error {
            OpenError::Config(_) => Kind::BadRequest,
            _ => Kind::Other,
        };
        refuse(kind, error.to_string())
    })?;
    serve(store, dir, &options)
}

/// Unpacks an archive and opens what comes of it.
fn restore(file: &str, opening: &Opening, now_ns: i64) -> Result<Opened, Refusal> {
    if opening.dir.is_empty() {
        return refuse(Kind::BadRequest, "no directory");
    }
    let options = options(opening, now_ns)?;
    let dir = Path::new(&opening.dir);
    let failed = |error: std::io::Error| refuse(Kind::Other, error.to_string());
    let mut archive = std::fs::File::open(file).or_else(failed)?;
    let restored = Store::restore(
        Arc::new(OsFileSystem),
        Arc::new(OsEntropy),
        &Idle::declared(),
        dir,
        &mut archive,
        u64::MAX,
        &options,
    );
    let store = restored.or_else(|error| refuse(Kind::Other, error.to_string()))?;
    serve(store, dir, &options)
}

fn serve(store: Store, dir: &Path, options: &StoreOptions) -> Result<Opened, Refusal> {
    let Some(writer) = store.writer() else {
        return refuse(Kind::Other, "the writer is gone");
    };
    Ok(Opened {
        reader: store.reader(),
        consumers: Consumers::new(Place {
            dir: dir.to_owned(),
            stream: options.config.name.clone(),
            keys: options.keys.clone(),
            account: options.account.clone().unwrap_or_default(),
            level: options.level.max(Level::Written),
        }),
        writer,
        store,
    })
}

fn options(opening: &Opening, now_ns: i64) -> Result<StoreOptions, Refusal> {
    let config = config(&opening.stream)?;
    let mut options = StoreOptions::new(config, now_ns);
    let key = |text: &str| (!text.is_empty()).then(|| ServerKey::new(text.as_bytes().to_vec()));
    options.keys.previous = key(&opening.old_key);
    match opening.cipher.as_str() {
        "" | "none" => {}
        "chacha" | "aes" if opening.key.is_empty() => {
            return refuse(Kind::BadRequest, "a cipher needs a key");
        }
        cipher @ ("chacha" | "aes") => {
            options.keys.current = key(&opening.key);
            options.keys.cipher = Some(match cipher {
                "aes" => Cipher::Aes,
                _ => Cipher::ChaCha,
            });
        }
        other => return refuse(Kind::BadRequest, format!("unknown cipher {other:?}")),
    }
    let account = match opening.account.as_str() {
        "" => "ACC",
        account => account,
    };
    options.account = Some(account.as_bytes().to_vec());
    if opening.cache_bytes > 0 {
        options.cache_bytes = opening.cache_bytes;
    }
    options.block_size = Some(opening.block_size).filter(|size| *size > 0);
    options.level = match (opening.sync.as_str(), opening.flush.as_str()) {
        ("always", _) => Level::Synced,
        (_, "batch") => Level::Buffered,
        _ => Level::Written,
    };
    Ok(options)
}

/// A configuration in JetStream's JSON.
pub fn config(stream: &Value) -> Result<StreamMeta, Refusal> {
    StreamMeta::parse(stream.to_string().as_bytes())
        .or_else(|error| refuse(Kind::BadRequest, error.to_string()))
}

impl Opened {
    /// The state as it is answered.
    pub fn state(&self) -> StreamNumbers {
        let summary = self.reader.summary();
        StreamNumbers {
            messages: summary.message_count,
            bytes: summary.bytes,
            first_seq: summary.first.seq,
            first_ts: if summary.message_count > 0 {
                summary.first.timestamp_ns
            } else {
                0
            },
            last_seq: summary.last.seq,
            last_ts: summary.last.timestamp_ns,
            num_subjects: summary.subject_count,
            deleted: runs(self.reader.deleted().iter()),
            lost: self.store.with_state(|state| {
                let lost = state.lost.as_ref();
                lost.map(|lost| lost.seqs.clone()).unwrap_or_default()
            }),
            consumers: self.consumers.count(),
        }
    }
}

/// Ascending sequences as inclusive runs.
fn runs(seqs: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for seq in seqs {
        match runs.last_mut() {
            Some((_, to)) if *to + 1 == seq => *to = seq,
            _ => runs.push((seq, seq)),
        }
    }
    runs
}
