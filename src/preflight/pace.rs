//! How long a start takes: our own speed on the stream's blocks, and how the server's compares.

use crate::crypto::Cipher;
use crate::env::{Clock, FileSystem};
use crate::recovery::StreamDir;
use crate::recovery::foresee;
use crate::recovery::options::Options;

/// Blocks are read up to this many bytes to measure.
const SAMPLE_BYTES: u64 = 64 << 20;

/// A smaller sample says nothing about the machine.
const SAMPLE_MIN_BYTES: u64 = 1 << 20;

/// What an open call takes besides reading blocks: directories, keys, metadata.
const OVERHEAD_SECONDS: f64 = 0.003;

/// What the fast path takes for each byte of `index.db`.
const INDEX_SECONDS_PER_BYTE: f64 = 1.0 / 100e6;

/// What keeping one subject takes while blocks are read.
const SECONDS_PER_SUBJECT: f64 = 2e-6;

/// How fast this machine reads one stream's blocks, with one thread, as this library does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Seconds for each byte of a block file.
    pub seconds_per_byte: f64,
    /// Bytes of all block files.
    pub total_bytes: u64,
    /// Bytes of `index.db`.
    pub index_bytes: u64,
    /// What the blocks are like.
    pub kind: Kind,
}

/// What costs the server how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Plain records.
    Plain,
    /// Compressed, whatever the cipher.
    S2,
    /// ChaCha20.
    ChaCha,
    /// AES-CTR.
    Aes,
}

impl Kind {
    /// The server's time for reading a block over ours with one thread: `docs/BENCHMARKS.md`, whose ratios are against two
    /// threads, halved. For records of 16 bytes it is 3, with millions of subjects 4.
    #[must_use]
    pub fn server_ratio(self) -> f64 {
        match self {
            Kind::Plain => 2.2,
            Kind::S2 => 5.7,
            Kind::ChaCha => 4.7,
            Kind::Aes => 2.4,
        }
    }

    /// Our seconds per byte on the machine of `docs/BENCHMARKS.md`.
    fn usual_seconds_per_byte(self) -> f64 {
        match self {
            Kind::Plain => 0.3e-9,
            Kind::S2 => 1.0e-9,
            Kind::ChaCha => 1.0e-9,
            Kind::Aes => 0.6e-9,
        }
    }
}

/// Measures on the stream's own blocks, up to 64 MiB of them. Of a smaller stream than 1 MiB the usual speed is taken.
pub fn measure(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    clock: &dyn Clock,
) -> Pace {
    let sampled = foresee::sample(fs, stream, options, clock, SAMPLE_BYTES);
    let kind = match sampled.cipher {
        _ if sampled.compressed => Kind::S2,
        Some(Cipher::ChaCha) => Kind::ChaCha,
        Some(Cipher::Aes) => Kind::Aes,
        None => Kind::Plain,
    };
    let usual = kind.usual_seconds_per_byte();
    let measured = sampled.seconds / sampled.file_bytes.max(1) as f64;
    Pace {
        seconds_per_byte: if sampled.file_bytes < SAMPLE_MIN_BYTES || measured <= 0.0 {
            usual
        } else {
            measured
        },
        total_bytes: sampled.total_bytes,
        index_bytes: sampled.index_bytes,
        kind,
    }
}

impl Pace {
    /// How long the open call takes. `scans` is how often every block is read: 0 on the fast path, one more where TTLs,
    /// schedules or sources have to be caught up.
    pub(super) fn start_seconds(&self, scans: u32, subjects: u64) -> f64 {
        let blocks = self.total_bytes as f64 * self.seconds_per_byte * self.kind.server_ratio();
        let subject_seconds = if scans > 0 {
            subjects as f64 * SECONDS_PER_SUBJECT
        } else {
            0.0
        };
        OVERHEAD_SECONDS
            + self.index_bytes as f64 * INDEX_SECONDS_PER_BYTE
            + blocks * f64::from(scans)
            + subject_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scans_cost_by_the_size_of_the_store() {
        let pace = Pace {
            seconds_per_byte: 1e-9,
            total_bytes: 10_000_000_000,
            index_bytes: 1_000_000,
            kind: Kind::Plain,
        };
        let fast = pace.start_seconds(0, 5);
        assert!(fast < 0.1, "{fast}");
        let one = pace.start_seconds(1, 5);
        assert!((21.0..23.0).contains(&one), "{one}");
        assert!(pace.start_seconds(2, 5) > 1.9 * one);
    }
}
