//! What the machine allows: reads every block of a stream, decrypts, decompresses, parses and hashes it, looks every subject up in
//! a table, and does nothing else. How far the rebuild of the state is from that is what `benches/compare/run.sh` puts beside
//! every row.
//!
//! ```text
//! cargo run --release --example bound -- STREAM_DIR [--key KEY] [--account NAME] [--threads N] [--index] [--parts]
//! ```
//!
//! With `--index` it reads, hashes and parses `index.db` and looks its subjects up. `--parts` prints a line each for reading
//! alone, with decoding, with parsing, with hashing and with the look-up.
//!
//! The table knows a subject by 64 bits and keeps no names, each thread has its own, and nobody puts them together: a bound,
//! not something that could be used. Every round runs in a process of its own: memory is fresh.

#![expect(
    clippy::disallowed_methods,
    reason = "the fence is around the library; this measures it from outside"
)]

use std::convert::Infallible;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use jetsam::block::content::decode;
use jetsam::crypto::{BlockCipher, KeyRing, ServerKey, block_context};
use jetsam::format::checksum::HashKey;
use jetsam::format::names::{BlockFile, MESSAGES, STATE_PATH, block_number};
use jetsam::format::record::{Run, Runs};
use jetsam::format::varint::Reader;
use jetsam::parallel::Crew;

const USAGE: &str =
    "usage: bound STREAM_DIR [--key KEY] [--account NAME] [--threads N] [--index] [--parts]";

/// Bytes read at a time where a block need not be whole: few enough to stay in cache.
const WINDOW: usize = 256 << 10;

/// How much of the work is done; each does what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Read,
    Decode,
    Parse,
    Hash,
    Probe,
}

const DEPTHS: [(Depth, &str); 5] = [
    (Depth::Read, "read"),
    (Depth::Decode, "decode"),
    (Depth::Parse, "parse"),
    (Depth::Hash, "hash"),
    (Depth::Probe, "probe"),
];

struct Settings {
    dir: PathBuf,
    key: Option<ServerKey>,
    account: Option<String>,
    threads: usize,
    index: bool,
    parts: bool,
}

fn main() -> ExitCode {
    let Some(settings) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let all = DEPTHS.into_iter();
    for (depth, name) in all.filter(|(depth, _)| settings.parts || *depth == Depth::Probe) {
        let begin = Instant::now();
        let records = match settings.index {
            true => read_index(&settings, depth),
            false => read_blocks(&settings, depth),
        };
        let seconds = begin.elapsed().as_secs_f64();
        match records {
            Ok(records) => {
                println!(r#"{{"depth":"{name}","seconds":{seconds:.4},"records":{records}}}"#);
            }
            Err(problem) => {
                eprintln!("bound: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Settings> {
    let mut settings = Settings {
        dir: PathBuf::new(),
        key: None,
        account: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        index: false,
        parts: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--key" => settings.key = Some(ServerKey::new(arguments.next()?.into_bytes())),
            "--account" => settings.account = Some(arguments.next()?),
            "--threads" => settings.threads = arguments.next()?.parse().ok()?,
            "--index" => settings.index = true,
            "--parts" => settings.parts = true,
            flag if flag.starts_with("--") => return None,
            dir => settings.dir = PathBuf::from(dir),
        }
    }
    (!settings.dir.as_os_str().is_empty()).then_some(settings)
}

/// Subjects by the hash of their bytes.
#[derive(Default)]
struct Probes(HashTable<(u64, u64)>);

impl Probes {
    #[inline]
    fn count(&mut self, subject: &[u8]) {
        let mut hasher = FxHasher::default();
        hasher.write(subject);
        let hash = hasher.finish();
        let entry = self
            .0
            .entry(hash, |(known, _)| *known == hash, |(known, _)| *known);
        entry.or_insert((hash, 0)).get_mut().1 += 1;
    }
}

/// One thread: its buffers and its table.
#[derive(Default)]
struct Worker {
    buffer: Vec<u8>,
    spare: Vec<u8>,
    run: Run,
    probes: Probes,
}

/// # Errors
///
/// The stream cannot be read, or is not sound.
fn read_blocks(settings: &Settings, depth: Depth) -> Result<u64, String> {
    let messages = settings.dir.join(MESSAGES);
    let entries = std::fs::read_dir(&messages).map_err(|error| error.to_string())?;
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| block_number(entry.ok()?.file_name().as_encoded_bytes()))
        .collect();
    numbers.sort_unstable();
    let crew = Crew::of(settings.threads);
    let job = |worker: &mut Worker, number: &u32| worker.block(settings, *number, depth);
    let (counts, _) = crew.map_with(&numbers, Worker::default, job)?;
    Ok(counts.iter().sum())
}

impl Worker {
    fn block(&mut self, settings: &Settings, number: u32, depth: Depth) -> Result<u64, String> {
        let dir = &settings.dir;
        let name = name_of(dir);
        let path = dir.join(BlockFile::Block.path(number));
        let at_block = |error: &dyn std::fmt::Display| format!("block {number}: {error}");
        let mut file = File::open(&path).map_err(|error| at_block(&error))?;
        let length = file.metadata().map_err(|error| at_block(&error))?.len();
        let cipher = block_cipher(settings, name.as_bytes(), number)?;
        let hash_key = HashKey::for_block(name.as_bytes(), number);
        let (mut count, mut offset, mut left) = (0, 0_u64, 0_usize);
        let mut wanted = WINDOW;
        while offset < length {
            let more = (length - offset).min(wanted as u64) as usize;
            self.buffer.resize(self.buffer.len().max(left + more), 0);
            let fresh = &mut self.buffer[left..left + more];
            file.read_exact(fresh).map_err(|error| at_block(&error))?;
            if offset == 0 && is_compressed(fresh, cipher.as_ref()) {
                // Read to its end, then taken whole.
                self.buffer.truncate(more);
                (&file)
                    .read_to_end(&mut self.buffer)
                    .map_err(|error| at_block(&error))?;
                return self.whole(cipher.as_ref(), &hash_key, depth);
            }
            if let Some(cipher) = cipher.as_ref().filter(|_| depth >= Depth::Decode) {
                cipher
                    .apply(fresh, offset)
                    .map_err(|error| at_block(&error))?;
            }
            offset += more as u64;
            let end = left + more;
            let used = match depth >= Depth::Parse {
                true => self.records(0..end, &hash_key, depth, &mut count),
                false => end,
            };
            left = end - used;
            self.buffer.copy_within(used..end, 0);
            // What a record has too much for one window.
            wanted = WINDOW + left;
        }
        match left {
            0 => Ok(count),
            _ => Err(format!("block {number} is not sound")),
        }
    }

    fn whole(
        &mut self,
        cipher: Option<&BlockCipher>,
        hash_key: &HashKey,
        depth: Depth,
    ) -> Result<u64, String> {
        let mut count = 0;
        if depth >= Depth::Decode {
            decode(&mut self.buffer, &mut self.spare, cipher, hash_key)
                .map_err(|fault| fault.to_string())?;
        }
        if depth >= Depth::Parse {
            let end = self.buffer.len();
            let used = self.records(0..end, hash_key, depth, &mut count);
            if used != end {
                return Err("a compressed block is not sound".into());
            }
        }
        Ok(count)
    }

    /// How many bytes the whole records of a part of the buffer take.
    fn records(
        &mut self,
        part: std::ops::Range<usize>,
        hash_key: &HashKey,
        depth: Depth,
        count: &mut u64,
    ) -> usize {
        let window = &self.buffer[part];
        let mut runs = match depth >= Depth::Hash {
            true => Runs::new(window, hash_key),
            false => Runs::unverified(window),
        };
        while runs.next_run(&mut self.run) {
            *count += self.run.records.len() as u64;
            if depth >= Depth::Probe {
                for record in &self.run.records {
                    self.probes.count(record.subject(window));
                }
            }
            if self.run.fault.is_some() {
                break;
            }
        }
        runs.offset()
    }
}

/// Whether a block that begins like this, as it lies, is compressed.
fn is_compressed(first_bytes: &[u8], cipher: Option<&BlockCipher>) -> bool {
    let mut head = [0; 3];
    let length = first_bytes.len().min(head.len());
    head[..length].copy_from_slice(&first_bytes[..length]);
    cipher.is_none_or(|cipher| cipher.apply(&mut head, 0).is_ok()) && &head == b"cmp"
}

fn block_cipher(
    settings: &Settings,
    name: &[u8],
    number: u32,
) -> Result<Option<BlockCipher>, String> {
    let Some(key) = &settings.key else {
        return Ok(None);
    };
    let account = settings
        .account
        .clone()
        .or_else(|| account_of(&settings.dir));
    let account = account.unwrap_or_default();
    let ring = KeyRing {
        current: Some(key),
        previous: None,
        cipher: None,
        account: account.as_bytes(),
    };
    let path = settings.dir.join(BlockFile::Key.path(number));
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let opened = ring.open(&bytes, &block_context(name, number));
    let opened = opened.map_err(|error| error.to_string())?;
    Ok(Some(opened.block_cipher()))
}

/// # Errors
///
/// The index cannot be read, or is not sound.
fn read_index(settings: &Settings, depth: Depth) -> Result<u64, String> {
    let bytes = std::fs::read(settings.dir.join(STATE_PATH)).map_err(|error| error.to_string())?;
    let (payload, stored) = bytes.split_last_chunk::<8>().ok_or("a short index")?;
    if depth >= Depth::Hash {
        let name = name_of(&settings.dir);
        let hash = HashKey::for_stream(name.as_bytes()).hash64(&[payload]);
        if hash.to_le_bytes() != *stored {
            return Err("index.db is not sound".into());
        }
    }
    if depth < Depth::Parse {
        return Ok(0);
    }
    let subjects = subjects_of(payload).ok_or("index.db is not sound")?;
    if depth >= Depth::Probe {
        let share = subjects.len().div_ceil(settings.threads).max(1);
        let shares: Vec<&[&[u8]]> = subjects.chunks(share).collect();
        let counted: Result<_, Infallible> =
            Crew::of(settings.threads).map(&shares, |share: &&[&[u8]]| {
                let mut probes = Probes(HashTable::with_capacity(share.len()));
                share.iter().for_each(|subject| probes.count(subject));
                Ok(probes)
            });
        let Ok(_) = counted;
    }
    Ok(subjects.len() as u64)
}

fn subjects_of(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let version = *payload.get(1)?;
    let mut reader = Reader::new(payload);
    reader.bytes(2).ok()?;
    for _ in 0..6 {
        reader.uvarint().ok()?;
    }
    let count = reader.uvarint().ok()?;
    let mut subjects = Vec::with_capacity(usize::try_from(count).ok()?.min(payload.len()));
    for _ in 0..count {
        let length = reader.uvarint().ok()?;
        subjects.push(reader.bytes(usize::try_from(length).ok()?).ok()?);
        let total = reader.uvarint().ok()?;
        reader.uvarint().ok()?;
        if total > 1 || version >= 4 {
            reader.uvarint().ok()?;
        }
    }
    Some(subjects)
}

fn name_of(dir: &Path) -> String {
    dir.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The account of `ACCOUNT/streams/NAME`.
fn account_of(dir: &Path) -> Option<String> {
    dir.parent()?.parent().map(name_of)
}
