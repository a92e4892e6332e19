//! Stores to measure with, written by the library's own encoders.

mod store;

pub use store::Store;

use jetsam::format::checksum::HashKey;
use jetsam::format::record::{NewRecord, encode_record};

/// The stream every store holds.
pub const STREAM: &str = "BENCH";

/// The time of the first message: 2026-01-01, in nanoseconds since the Unix epoch.
pub const BASE_NS: i64 = 1_767_225_600_000_000_000;

/// The step from one message's time to the next one's.
pub const STEP_NS: i64 = 1_000_000;

/// Whether everything is to be small.
pub fn is_tiny() -> bool {
    std::env::var_os("JETSAM_BENCH_TINY").is_some_and(|value| value != "0")
}

/// `count`, or a hundredth of it where everything is to be small.
pub fn scaled(count: u64) -> u64 {
    if is_tiny() { count / 100 } else { count }
}

/// What the messages of a store look like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Messages written.
    pub count: u64,
    /// Bytes of a body.
    pub body_length: usize,
    /// Distinct subjects.
    pub subject_count: u64,
    /// Every how many messages one has a TTL; 0 for never.
    pub ttl_every: u64,
    /// Whether every second sequence is missing and every tenth message has a tombstone.
    pub deletes: bool,
}

impl Shape {
    /// Plain messages over eight subjects.
    pub fn plain(count: u64, body_length: usize) -> Self {
        Shape {
            count: scaled(count).max(16),
            body_length,
            subject_count: 8,
            ttl_every: 0,
            deletes: false,
        }
    }
}

/// Numbers that look random and are the same every time (SplitMix64).
pub struct Noise(u64);

impl Noise {
    /// The series of a seed.
    pub fn new(seed: u64) -> Self {
        Noise(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// A body of words, which compresses about as well as text does.
pub fn body(noise: &mut Noise, length: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "hull ", "mast ", "keel ", "rope ", "sail ", "deck ", "tide ", "reef ",
    ];
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        let word = WORDS[(noise.draw() % WORDS.len() as u64) as usize];
        out.extend_from_slice(word.as_bytes());
    }
    out.truncate(length);
    out
}

/// Writes the records of a shape one by one.
pub struct Writer {
    shape: Shape,
    noise: Noise,
    bodies: Vec<Vec<u8>>,
    written: u64,
    sequence: u64,
}

impl Writer {
    /// A writer of `shape`.
    pub fn new(shape: Shape) -> Self {
        let mut noise = Noise::new(1);
        let bodies = (0..64)
            .map(|_| body(&mut noise, shape.body_length))
            .collect();
        Writer {
            shape,
            noise,
            bodies,
            written: 0,
            sequence: 0,
        }
    }

    /// Appends the next record, and a tombstone behind it where one is due; false at the end.
    pub fn append(&mut self, out: &mut Vec<u8>, key: &HashKey) -> bool {
        let shape = self.shape;
        if self.written == shape.count {
            return false;
        }
        self.written += 1;
        self.sequence += if shape.deletes { 2 } else { 1 };
        let timestamp_ns = BASE_NS + STEP_NS * self.sequence as i64;
        let subject = format!("orders.{}.created", self.noise.draw() % shape.subject_count);
        let has_ttl = shape.ttl_every > 0 && self.written.is_multiple_of(shape.ttl_every);
        let message = NewRecord::Message {
            sequence: self.sequence,
            timestamp_ns,
            subject: subject.as_bytes(),
            headers: if has_ttl {
                b"NATS/1.0\r\nNats-TTL: 2540400h\r\n\r\n"
            } else {
                b""
            },
            body: &self.bodies[self.written as usize % self.bodies.len()],
        };
        encode_record(out, key, &message).expect("a record within the limits");
        if shape.deletes && self.written.is_multiple_of(10) {
            let tombstone = NewRecord::Tombstone {
                sequence: self.sequence - 2,
                timestamp_ns: timestamp_ns - 2 * STEP_NS,
            };
            encode_record(out, key, &tombstone).expect("a record within the limits");
        }
        true
    }
}

/// The content of one block with all the records of `shape`.
pub fn block(shape: Shape, key: &HashKey) -> Vec<u8> {
    let mut writer = Writer::new(shape);
    let mut content = Vec::new();
    while writer.append(&mut content, key) {}
    content
}
