//! A timed sample of a stream's blocks.

use crate::block::content::decode;
use crate::block::walk::{Known, walk};
use crate::crypto::Cipher;
use crate::env::{Clock, ReadFiles};
use crate::format::checksum::HashKey;
use crate::format::names;
use crate::format::names::{
    BlockFile, EXPIRIES_PATH, MESSAGES, SCHEDULES_PATH, SOURCES, STATE_PATH,
};
use crate::format::record::Run;
use crate::recovery::{KeyVerdict, StreamKeys, setup_of};
use crate::stream::StreamDir;
use crate::stream::files::StreamFiles;
use crate::stream::options::Options;

/// What some of a stream's blocks are like, and how long they take on one thread.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sampled {
    /// The blocks that were read.
    pub blocks: Vec<SampledBlock>,
    /// How many blocks there are.
    pub total_blocks: u64,
    /// Bytes of all block files.
    pub total_bytes: u64,
    /// Bytes of `index.db`, 0 where there is none.
    pub index_bytes: u64,
    /// Bytes of `thw.db`, `sched.db` and `sources.db`.
    pub timer_bytes: u64,
    /// The cipher of the blocks.
    pub cipher: Option<Cipher>,
}

/// One block of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct SampledBlock {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its content, once it was decrypted and decompressed.
    pub content_bytes: u64,
    /// Records in it.
    pub records: u64,
    /// Whether it was compressed.
    pub compressed: bool,
    /// How long reading the file took.
    pub read_seconds: f64,
    /// How long decrypting, decompressing and verifying it took.
    pub walk_seconds: f64,
}

/// Reads, decrypts, decompresses and verifies blocks up to `limit_bytes`, by the clock.
pub(crate) fn sample(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    clock: &dyn Clock,
    limit_bytes: u64,
) -> Sampled {
    let files = StreamFiles::new(fs, &stream.dir);
    let length = |path: &str| files.length(path).unwrap_or(0);
    let mut sampled = Sampled {
        index_bytes: length(STATE_PATH),
        timer_bytes: length(EXPIRIES_PATH) + length(SCHEDULES_PATH) + length(SOURCES),
        ..Sampled::default()
    };
    let entries = files.list(MESSAGES).unwrap_or_default();
    let mut numbers = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        if let Some(number) = names::block_number(entry.name.as_encoded_bytes()) {
            sampled.total_bytes += entry.length;
            numbers.push(number);
        }
    }
    sampled.total_blocks = numbers.len() as u64;
    numbers.sort_unstable();
    let Ok(setup) = setup_of(files, stream, options) else {
        return sampled;
    };
    let keys = setup.keys(options);
    sampled.cipher = keys.current.is_some().then_some(keys.cipher);
    let mut buffers = Buffers::default();
    let mut read_bytes = 0;
    for number in numbers {
        if read_bytes >= limit_bytes {
            break;
        }
        if let Some(block) = sample_block(files, &keys, number, clock, &mut buffers) {
            read_bytes += block.file_bytes;
            sampled.blocks.push(block);
        }
    }
    sampled
}

/// Kept from block to block.
#[derive(Default)]
struct Buffers {
    file: Vec<u8>,
    spare: Vec<u8>,
    run: Run,
}

fn sample_block(
    files: StreamFiles<'_>,
    keys: &StreamKeys<'_>,
    number: u32,
    clock: &dyn Clock,
    buffers: &mut Buffers,
) -> Option<SampledBlock> {
    let Buffers { file, spare, run } = buffers;
    let seconds = |from: i64, to: i64| to.saturating_sub(from).max(0) as f64 / 1e9;
    let begun = clock.now_ns();
    files.read_into(&BlockFile::Block.path(number), file).ok()?;
    let read = clock.now_ns();
    let file_bytes = file.len() as u64;
    let key = keys.open_block_key(number, files.read(&BlockFile::Key.path(number)));
    let cipher = match &key {
        Ok(KeyVerdict::Opened(opened)) => Some(opened.block_cipher()),
        _ => None,
    };
    let hash_key = HashKey::for_block(keys.stream, number);
    let decoded = decode(file, spare, cipher.as_ref(), &hash_key).ok()?;
    let walked = walk(file, &hash_key, Known::default(), run, &mut ());
    Some(SampledBlock {
        file_bytes,
        content_bytes: file.len() as u64,
        records: walked.messages
            + walked.tombstones.len() as u64
            + walked.erased_count
            + walked.backward_count,
        compressed: decoded.compressed,
        read_seconds: seconds(begun, read),
        walk_seconds: seconds(read, clock.now_ns()),
    })
}
