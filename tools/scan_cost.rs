//! What the salvage scan of an undamaged block costs beside recovery's walk over it, and what mends cost.
//!
//! ```sh
//! cargo run --release --example scan_cost
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a tool for the repository, it measures time"
)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jetsam::block::walk::{Known, walk};
use jetsam::format::checksum::HashKey;
use jetsam::format::record::{NewRecord, Run, encode_record};
use jetsam::salvage::Lifetimes;
use jetsam::salvage::scan::{Hints, Scratch, SubjectStanding, SubjectWitness, scan_block};

const ROUNDS: usize = 15;
const BLOCK_LENGTH: usize = 8 << 20;

struct Subjects(HashSet<Vec<u8>>);

impl SubjectWitness for Subjects {
    fn standing(&self, subject: &[u8]) -> SubjectStanding {
        if self.0.contains(subject) {
            SubjectStanding::Known
        } else {
            SubjectStanding::Possible
        }
    }
}

struct Shape {
    body: usize,
    headers: bool,
    subjects: u64,
}

fn fastest(mut run: impl FnMut() -> Duration) -> Duration {
    (0..ROUNDS).map(|_| run()).min().unwrap_or_default()
}

fn measure(shape: &Shape) {
    let key = HashKey::for_block(b"ORDERS", 1);
    let mut bytes = Vec::new();
    let mut starts = Vec::new();
    let body = vec![0x61; shape.body];
    let mut subjects = HashSet::new();
    let mut seq = 0;
    while bytes.len() < BLOCK_LENGTH {
        seq += 1;
        starts.push(bytes.len());
        let subject = format!("orders.{}.created", seq % shape.subjects);
        let headers: &[u8] = if shape.headers {
            b"NATS/1.0\r\nNats-Msg-Id: 0123456789abcdef\r\nTrace: 0123456789abcdef0123456789\r\n\r\n"
        } else {
            b""
        };
        let record = NewRecord::Message {
            sequence: seq,
            timestamp_ns: seq as i64,
            subject: subject.as_bytes(),
            headers,
            body: &body,
        };
        encode_record(&mut bytes, &key, &record).expect("a record that fits");
        subjects.insert(subject.into_bytes());
    }
    let subjects = Subjects(subjects);
    let hints = Hints {
        number: 1,
        hash_key: &key,
        sequences: &(1..=seq),
        subjects: &subjects,
        work_limit: 32 << 20,
        lifetimes: Lifetimes::default(),
    };
    let (mut scratch, mut run) = (Scratch::default(), Run::new());
    let walked = fastest(|| {
        let start = Instant::now();
        assert!(
            walk(&bytes, &key, Known::default(), &mut run, &mut ())
                .fault
                .is_none()
        );
        start.elapsed()
    });
    let scanned = fastest(|| {
        let start = Instant::now();
        assert!(scan_block(&mut bytes, &hints, &mut scratch).is_whole());
        start.elapsed()
    });
    // A body bit of every 64th record, somewhere else each time.
    let mut places = 0;
    let mut damaged = bytes.clone();
    for (count, start) in starts.iter().enumerate().step_by(64) {
        damaged[start + 40 + (count * 7) % shape.body] ^= 1 << (count % 8);
        places += 1;
    }
    let start = Instant::now();
    let find = scan_block(&mut damaged, &hints, &mut scratch);
    let mended = start.elapsed();
    println!(
        "body {:5} headers {:5} subjects {:7}: walk {:6.1} ns, scan {:6.1} ns a record ({:.2}x); {places} flips, {} mended, {} gaps, {:.3} ms each",
        shape.body,
        shape.headers,
        shape.subjects,
        walked.as_nanos() as f64 / seq as f64,
        scanned.as_nanos() as f64 / seq as f64,
        scanned.as_secs_f64() / walked.as_secs_f64(),
        find.repairs.len(),
        find.gaps.len(),
        mended.saturating_sub(scanned).as_secs_f64() * 1000.0 / f64::from(places),
    );
}

fn main() {
    for (body, headers, subjects) in [
        (64, false, 10),
        (256, false, 10),
        (256, false, 1_000_000),
        (256, true, 10),
        (1024, false, 10),
        (4096, false, 10),
    ] {
        measure(&Shape {
            body,
            headers,
            subjects,
        });
    }
}
