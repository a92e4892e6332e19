//! How long a start takes: a model of the server's open call, and how this machine compares with the one it was fitted on.
//!
//! The model adds up what the open call does, at rates measured on real v2.15.2 servers (`docs/BENCHMARKS.md` holds them
//! against such servers, store by store):
//!
//! ```text
//! per record walked            110 ns      its header, its place in the block's index
//! per byte of content          0.49 ns     reading and hashing
//! per byte deciphered          4.8 ns ChaCha20, 0.57 ns AES-CTR
//! per byte decompressed        1.85 ns
//! per subject of a block       0.68 µs     each block counts its subjects
//! per subject of the stream    1.0 µs
//! per byte of index.db         15 ns       on the fast path, and where the file turns out stale
//! per byte of timer files      7.5 ns
//! ```
//!
//! The first five once for each time that a block is read. Records and subjects are taken to be spread evenly over the
//! blocks. The rates are scaled by how fast this library walks the stream's own blocks here, against what it took on the
//! machine of the fit; a disk slower than the page cache adds what it takes beyond that.
//!
//! # Not in the model
//!
//! Consumers, per-subject limits that remove messages, the scan of the duplicate window, garbage collection when memory is
//! short, other work on the machine, and a page cache that is cold for the server and was warm here.

use super::sample::{Sampled, SampledBlock, sample};
use crate::crypto::Cipher;
use crate::env::{Clock, ReadFiles};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Blocks are read up to this many bytes to measure.
const SAMPLE_BYTES: u64 = 64 << 20;

/// Less content than this says nothing about the machine.
const SAMPLE_MIN_BYTES: u64 = 1 << 20;

/// What an open call takes besides reading blocks: directories, keys, metadata.
const OVERHEAD_SECONDS: f64 = 0.002;

/// The server's rates.
const SERVER: Rates = Rates {
    record: 110e-9,
    byte: 0.49e-9,
    chacha: 4.8e-9,
    aes: 0.57e-9,
    decompressed: 1.85e-9,
};

/// This library's, with one thread on the same machine.
const OURS: Rates = Rates {
    record: 50e-9,
    byte: 0.094e-9,
    chacha: 0.40e-9,
    aes: 0.78e-9,
    decompressed: 0.32e-9,
};

/// Per subject that a block holds, in seconds.
const SUBJECT_OF_BLOCK: f64 = 0.68e-6;
/// Per subject of the stream.
const SUBJECT: f64 = 1.0e-6;
/// Per byte of `index.db`.
const INDEX_BYTE: f64 = 15e-9;
/// Per byte of `thw.db`, `sched.db` and `sources.db`.
const TIMER_BYTE: f64 = 7.5e-9;
/// Per byte of a file in the page cache; what reading takes beyond that is the disk's.
const CACHED_BYTE: f64 = 0.15e-9;

/// The start is foretold to take between these multiples of what the model says.
const RANGE: (f64, f64) = (0.5, 1.8);

/// A machine is taken to be between so many times as fast as that of the fit and so many times as slow: beyond, the sample
/// was disturbed.
const SLOWNESS: (f64, f64) = (0.25, 20.0);

/// What walking blocks takes, in seconds.
struct Rates {
    record: f64,
    byte: f64,
    chacha: f64,
    aes: f64,
    decompressed: f64,
}

/// What there is to walk.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Load {
    records: f64,
    content_bytes: f64,
    enciphered_bytes: f64,
    decompressed_bytes: f64,
}

impl Load {
    fn of(block: &SampledBlock, cipher: Option<Cipher>) -> Self {
        let file_bytes = block.file_bytes as f64;
        let content_bytes = block.content_bytes as f64;
        Load {
            records: block.records as f64,
            content_bytes,
            enciphered_bytes: if cipher.is_some() { file_bytes } else { 0.0 },
            decompressed_bytes: if block.compressed { content_bytes } else { 0.0 },
        }
    }

    fn add(self, other: Self) -> Self {
        Load {
            records: self.records + other.records,
            content_bytes: self.content_bytes + other.content_bytes,
            enciphered_bytes: self.enciphered_bytes + other.enciphered_bytes,
            decompressed_bytes: self.decompressed_bytes + other.decompressed_bytes,
        }
    }

    fn times(self, factor: f64) -> Self {
        Load {
            records: self.records * factor,
            content_bytes: self.content_bytes * factor,
            enciphered_bytes: self.enciphered_bytes * factor,
            decompressed_bytes: self.decompressed_bytes * factor,
        }
    }

    fn seconds(self, rates: &Rates, cipher: Option<Cipher>) -> f64 {
        let enciphered_byte = match cipher {
            Some(Cipher::ChaCha) => rates.chacha,
            Some(Cipher::Aes) => rates.aes,
            None => 0.0,
        };
        self.records * rates.record
            + self.content_bytes * rates.byte
            + self.enciphered_bytes * enciphered_byte
            + self.decompressed_bytes * rates.decompressed
    }
}

/// What a stream's blocks are like, and how fast this machine is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MachineSpeed {
    /// How many times longer this machine takes than the one of the fit.
    pub slowness: f64,
    /// Seconds that reading a byte takes beyond what the page cache would.
    pub disk_seconds_per_byte: f64,
    /// Block files.
    pub blocks: u64,
    /// Bytes of all block files.
    pub total_bytes: u64,
    /// Bytes of `index.db`.
    pub index_bytes: u64,
    /// Bytes of `thw.db`, `sched.db` and `sources.db`.
    pub timer_bytes: u64,
    load: Load,
    cipher: Option<Cipher>,
}

/// Measures on the stream's own blocks, up to 64 MiB of them. Of less than 1 MiB of records the speed of the machine of the
/// fit is taken.
pub fn measure(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    clock: &dyn Clock,
) -> MachineSpeed {
    MachineSpeed::of(&sample(fs, stream, options, clock, SAMPLE_BYTES))
}

impl MachineSpeed {
    fn of(sampled: &Sampled) -> Self {
        let cipher = sampled.cipher;
        let mut load = Load::default();
        let (mut file_bytes, mut slowness, mut disk) = (0, Vec::new(), Vec::new());
        for block in &sampled.blocks {
            let own = Load::of(block, cipher);
            load = load.add(own);
            file_bytes += block.file_bytes;
            slowness.push(block.walk_seconds / own.seconds(&OURS, cipher).max(1e-9));
            disk.push(block.read_seconds / block.file_bytes.max(1) as f64);
        }
        let enough = load.content_bytes >= SAMPLE_MIN_BYTES as f64;
        let (least, most) = SLOWNESS;
        MachineSpeed {
            slowness: if enough {
                median(slowness).clamp(least, most)
            } else {
                1.0
            },
            disk_seconds_per_byte: if enough {
                (median(disk) - CACHED_BYTE).max(0.0)
            } else {
                0.0
            },
            blocks: sampled.total_blocks,
            total_bytes: sampled.total_bytes,
            index_bytes: sampled.index_bytes,
            timer_bytes: sampled.timer_bytes,
            load: load.times(sampled.total_bytes as f64 / file_bytes.max(1) as f64),
            cipher,
        }
    }

    /// How long the open call takes.
    pub(super) fn start_seconds(&self, scans: Scans, subjects: u64) -> f64 {
        let mut seconds =
            self.index_bytes as f64 * INDEX_BYTE + self.timer_bytes as f64 * TIMER_BYTE;
        let walk = self.load.seconds(&SERVER, self.cipher);
        seconds += walk * scans.caught_up;
        if scans.walked {
            let subjects = subjects as f64;
            seconds +=
                walk + self.subjects_of_blocks(subjects) * SUBJECT_OF_BLOCK + subjects * SUBJECT;
        }
        let read = if scans.walked { 1.0 } else { scans.caught_up };
        let disk = self.total_bytes as f64 * self.disk_seconds_per_byte * read;
        OVERHEAD_SECONDS + seconds * self.slowness + disk
    }

    /// How many subjects the blocks hold, each block counted by itself: of `subjects`, each as likely as the other.
    fn subjects_of_blocks(&self, subjects: f64) -> f64 {
        let blocks = self.blocks.max(1) as f64;
        if subjects < 1.0 {
            return 0.0;
        }
        let per_block = self.load.records / blocks;
        blocks * subjects * (1.0 - (-per_block / subjects).exp())
    }
}

/// How often the blocks are read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Scans {
    /// Whether the state comes from the blocks.
    pub walked: bool,
    /// The share of them that is read, again or alone, to catch up with TTLs, schedules and sources.
    pub caught_up: f64,
}

/// Between which bounds a start of so many seconds is expected.
pub(super) fn range(seconds: f64) -> (f64, f64) {
    (seconds * RANGE.0, seconds * RANGE.1)
}

/// One block that other work got in the way of says nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(blocks: u64, cipher: Option<Cipher>) -> Sampled {
        let block = SampledBlock {
            file_bytes: 8_000_000,
            content_bytes: 8_000_000,
            records: 32_000,
            compressed: false,
            read_seconds: 0.0,
            walk_seconds: 0.0,
        };
        let own = Load::of(&block, cipher).seconds(&OURS, cipher);
        Sampled {
            blocks: vec![
                SampledBlock {
                    walk_seconds: own,
                    ..block
                };
                5
            ],
            total_blocks: blocks,
            total_bytes: blocks * block.file_bytes,
            index_bytes: 1_000_000,
            timer_bytes: 0,
            cipher,
        }
    }

    const NONE: Scans = Scans {
        walked: false,
        caught_up: 0.0,
    };
    const ONE: Scans = Scans {
        walked: true,
        ..NONE
    };
    const TWO: Scans = Scans {
        caught_up: 1.0,
        ..ONE
    };

    #[test]
    fn only_scans_cost_by_the_size_of_the_store() {
        let speed = MachineSpeed::of(&sampled(1_000, None));
        let fast = speed.start_seconds(NONE, 5);
        assert!(fast < 0.03, "{fast}");
        // 32 million records of 250 bytes each.
        let one = speed.start_seconds(ONE, 5);
        assert!((7.0..8.0).contains(&one), "{one}");
        assert!(speed.start_seconds(TWO, 5) > 1.9 * one);
        let tenth = Scans {
            caught_up: 0.1,
            ..NONE
        };
        assert!((0.7..0.8).contains(&speed.start_seconds(tenth, 5)));
    }

    #[test]
    fn a_cipher_and_subjects_have_their_price() {
        let plain = MachineSpeed::of(&sampled(100, None)).start_seconds(ONE, 5);
        let chacha = MachineSpeed::of(&sampled(100, Some(Cipher::ChaCha))).start_seconds(ONE, 5);
        assert!((5.0..8.0).contains(&(chacha / plain)), "{chacha} {plain}");
        let subjects = MachineSpeed::of(&sampled(100, None)).start_seconds(ONE, 1_000_000);
        // Nearly every record of a block is of another subject.
        let more = subjects - plain;
        assert!((3.0..3.3).contains(&more), "{more}");
    }

    #[test]
    fn a_slow_machine_is_slow_in_everything_but_one_bad_moment_is_not() {
        let mut slow = sampled(1_000, None);
        for block in &mut slow.blocks {
            block.walk_seconds *= 3.0;
        }
        let usual = MachineSpeed::of(&sampled(1_000, None)).start_seconds(ONE, 5);
        let ratio = MachineSpeed::of(&slow).start_seconds(ONE, 5) / usual;
        assert!((2.9..3.1).contains(&ratio), "{ratio}");
        let mut disturbed = sampled(1_000, None);
        disturbed.blocks[2].walk_seconds = 10.0;
        assert_eq!(MachineSpeed::of(&disturbed).start_seconds(ONE, 5), usual);
    }

    #[test]
    fn a_disk_is_paid_for_once_however_often_blocks_are_walked() {
        let mut cold = sampled(100, None);
        for block in &mut cold.blocks {
            block.read_seconds = 0.8;
        }
        let (cold, warm) = (
            MachineSpeed::of(&cold),
            MachineSpeed::of(&sampled(100, None)),
        );
        for scans in [ONE, TWO] {
            let more = cold.start_seconds(scans, 5) - warm.start_seconds(scans, 5);
            assert!((79.0..81.0).contains(&more), "{more}");
        }
        assert_eq!(cold.start_seconds(NONE, 5), warm.start_seconds(NONE, 5));
    }

    #[test]
    fn nothing_to_measure_is_no_trouble() {
        let speed = MachineSpeed::of(&Sampled::default());
        assert!(speed.start_seconds(ONE, 1_000_000).is_finite());
        assert!(speed.start_seconds(NONE, 0) < 0.01);
        let (least, most) = range(1.0);
        assert!(least < 1.0 && most > 1.0);
    }
}
