//! Stores made for the purpose: a thousand messages in ten blocks, and what tests do with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::block::builder::BlockBuilder;
use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::compression::compress;
use jetsam::format::names::BlockFile;
use jetsam::format::record::NewRecord;
use jetsam::recovery::RecoverOptions;
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::stream::{Outcome, StreamReport};
use jetsam::salvage::{self, MergeOptions, MergeSource, SalvageError, SalvageReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::recover::mend;
use crate::support::{copy_tree, everything};

pub const MESSAGES: u64 = 1000;
pub const PER_BLOCK: u64 = 100;
pub const KEY: &[u8] = b"a key for made stores";

/// How a store is made.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    pub sealed: Option<Cipher>,
    pub key: &'static [u8],
    pub compressed: bool,
    pub tombstones: &'static [u64],
    pub config: &'static str,
    /// Letters added to every body.
    pub filling: usize,
}

pub const PLAIN: Made = Made {
    sealed: None,
    key: KEY,
    compressed: false,
    tombstones: &[],
    config: "",
    filling: 0,
};

/// Every way a server can keep a stream: plain or compressed, in plaintext or under one of the ciphers.
pub fn every_kind() -> impl Iterator<Item = Made> {
    let ciphers = [None, Some(Cipher::ChaCha), Some(Cipher::Aes)];
    [false, true].into_iter().flat_map(move |compressed| {
        ciphers.map(|sealed| Made {
            sealed,
            compressed,
            ..PLAIN
        })
    })
}

impl Made {
    pub fn options(self) -> Options {
        options(self.sealed.map(|_| self.key))
    }
}

pub fn options(key: Option<&[u8]>) -> Options {
    let mut options = everything(0);
    options.expire = false;
    options.limits = false;
    options.threads = 2;
    options.keys.current = key.map(server);
    options
}

pub fn server(key: &[u8]) -> ServerKey {
    ServerKey::new(key.to_vec())
}

/// A stream of a thousand messages in ten blocks, with an index of its own; tombstones go into the last block.
pub fn make(dir: &Path, made: Made) -> StreamDir {
    let server = server(made.key);
    let sealing = match made.sealed {
        Some(cipher) => Sealing::Key {
            server: &server,
            cipher,
        },
        None => Sealing::Plain,
    };
    let writer =
        StoreWriter::create(&OsFileSystem, dir, b"S", b"A", sealing, &OsEntropy).expect("a store");
    let compression = match made.compressed {
        true => ",\"compression\":\"s2\"",
        false => "",
    };
    let json = format!(
        "{{\"name\":\"S\",\"subjects\":[\"s.>\"],\"retention\":\"limits\",\"max_consumers\":-1,\"max_msgs\":-1,\
         \"max_bytes\":-1,\"discard\":\"old\",\"max_age\":0,\"max_msgs_per_subject\":-1,\"storage\":\"file\",\
         \"num_replicas\":1,\"Created\":\"2026-01-02T03:04:05.678Z\"{compression}{}}}",
        made.config
    );
    writer.meta(json.as_bytes()).expect("metadata");
    let last = u32::try_from(MESSAGES / PER_BLOCK).expect("small");
    for number in 1..=last {
        let mut content = content_of(number, made);
        if made.compressed && number < last {
            let mut packed = Vec::new();
            compress(&content, &mut packed).expect("a compressed block");
            content = packed;
        }
        writer.block(number, &mut content).expect("a block");
    }
    writer.finish().expect("a durable store");
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir: dir.to_owned(),
    };
    let what = RecoverOptions {
        accept_loss: false,
        accept_expiry: true,
        undo: false,
    };
    let report = mend(&stream, &made.options(), &what);
    assert!(report.outcome <= Outcome::Recovered, "{:?}", report.events);
    stream
}

fn content_of(number: u32, made: Made) -> Vec<u8> {
    let mut block = BlockBuilder::new(b"S", number);
    for at in 0..PER_BLOCK {
        let seq = u64::from(number - 1) * PER_BLOCK + at + 1;
        let filling = "y".repeat(made.filling);
        message(&mut block, seq, &format!("as it was{filling}"));
    }
    if u64::from(number) == MESSAGES / PER_BLOCK {
        for sequence in made.tombstones.iter().copied() {
            let record = NewRecord::Tombstone {
                sequence,
                timestamp_ns: time(sequence),
            };
            block.push(&record).expect("a record");
        }
    }
    block.into_content()
}

pub fn time(seq: u64) -> i64 {
    1_767_323_045_000_000_000 + seq as i64
}

pub fn message(block: &mut BlockBuilder, sequence: u64, body: &str) {
    let subject = format!("s.{}", sequence % 7);
    let filling = "x".repeat(sequence as usize % 90);
    let body = format!("message {sequence} {body} {filling}");
    let record = NewRecord::Message {
        sequence,
        timestamp_ns: time(sequence),
        subject: subject.as_bytes(),
        headers: if sequence.is_multiple_of(3) {
            b"NATS/1.0\r\nK: v\r\n\r\n"
        } else {
            b""
        },
        body: body.as_bytes(),
    };
    block.push(&record).expect("a record");
}

pub fn block(stream: &StreamDir, number: u32) -> PathBuf {
    stream.dir.join(BlockFile::Block.path(number))
}

pub fn zero(path: &Path, from: usize, length: usize) {
    let mut bytes = fs::read(path).expect("a block");
    let end = (from + length).min(bytes.len());
    bytes[from..end].fill(0);
    fs::write(path, bytes).expect("a damaged block");
}

pub fn copies(temp: &Path, first: &StreamDir, count: usize) -> Vec<StreamDir> {
    let mut all = vec![first.clone()];
    for at in 1..count {
        let dir = temp.join(format!("copy{at}"));
        copy_tree(&first.dir, &dir);
        all.push(StreamDir {
            dir,
            ..first.clone()
        });
    }
    all
}

/// Merges copies under the common keys of `options`.
pub fn join(
    found: &[StreamDir],
    options: &Options,
    wish: &MergeOptions,
) -> Result<SalvageReport, SalvageError> {
    let sources: Vec<MergeSource> = found.iter().cloned().map(MergeSource::from).collect();
    join_sources(&sources, options, wish)
}

/// Merges copies, each under its own key.
pub fn join_sources(
    sources: &[MergeSource],
    options: &Options,
    wish: &MergeOptions,
) -> Result<SalvageReport, SalvageError> {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    salvage::merge(&OsFileSystem, sources, options, wish, &OsEntropy, &watch)
}

pub fn joined(out: &Path) -> MergeOptions {
    MergeOptions {
        out: out.to_owned(),
        ..MergeOptions::default()
    }
}

pub fn totals(report: &SalvageReport) -> (u64, u64, Vec<(u64, u64)>) {
    let totals = report.stream.salvage.as_ref().expect("totals");
    (totals.recovered, totals.lost, totals.lost_ranges.clone())
}

pub fn has(report: &StreamReport, code: EventCode) -> bool {
    report.events.iter().any(|event| event.code == code)
}

/// Runs the command; returns its exit code and what it printed.
pub fn jetsam(arguments: &[&str]) -> (i32, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .args(arguments)
        .output()
        .expect("the command");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
}
