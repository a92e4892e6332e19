//! Timed workloads.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use jetsam::store::{NewMessage, PurgeRequest, ReadError, StoredMessage};
use serde_json::json;

use crate::answer::{Kind, Outcome, Refusal, refuse};
use crate::request::{Opening, Workload};
use crate::store::{Opened, open};

const BASE_NS: i64 = 1_767_225_600_000_000_000;
const NOISE_BYTES: usize = 1 << 20;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Below a bound that counts things in memory.
    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }
}

/// Runs a workload in its directory, which is emptied first.
pub fn run(work: &Workload) -> Outcome {
    let is_sound = work.n > 0
        && work.subjects > 0
        && work.size <= NOISE_BYTES as u64
        && !work.opening.dir.is_empty();
    if !is_sound {
        return refuse(
            Kind::BadRequest,
            "bench needs dir, n, subjects, and a size up to 1 MiB",
        );
    }
    let dir = Path::new(&work.opening.dir);
    if dir.exists() {
        fs::remove_dir_all(dir).or_else(|error| refuse(Kind::Other, error.to_string()))?;
    }
    let mut opening = work.opening.clone();
    if opening.stream.is_null() {
        opening.stream = json!({"name": "BENCH", "subjects": ["bench.>"], "storage": "file"});
    }
    if work.workload == "kv" {
        opening.stream["max_msgs_per_subject"] = json!(1);
    }
    let mut random = Random(work.seed);
    let mut opened = open(&opening, BASE_NS)?;
    let elapsed = fill(&mut opened, work, &mut random)?;
    if work.workload == "append" || work.workload == "kv" {
        let check = opened.reader.summary().message_count;
        close(opened)?;
        return answered(elapsed, check);
    }
    close(opened)?;
    after_filling(work, &opening, random)
}

fn after_filling(work: &Workload, opening: &Opening, mut random: Random) -> Outcome {
    let mut opened = open(opening, BASE_NS)?;
    let (elapsed, check) = match work.workload.as_str() {
        "load" => loads(&opened, work, &mut random)?,
        "load_last" => last_loads(&opened, work, &mut random)?,
        "scan" => timed(|| scan(&opened, &[]))?,
        "scan_filtered" => timed(|| {
            (0..work.subjects.min(10))
                .map(|of| scan(&opened, &[subject(of).as_bytes()]))
                .try_fold(0_u64, |sum, one| Ok(sum.wrapping_add(one?)))
        })?,
        "remove" => removes(&mut opened, work, &mut random)?,
        "purge_subject" => timed(|| purges(&mut opened, work))?,
        "reopen" | "rebuild" => {
            close(opened)?;
            if work.workload == "rebuild" {
                let index = Path::new(&opening.dir).join("msgs/index.db");
                fs::remove_file(index).or_else(|error| refuse(Kind::Other, error.to_string()))?;
            }
            let started = Instant::now();
            opened = open(opening, BASE_NS)?;
            (started.elapsed(), opened.reader.summary().message_count)
        }
        other => return refuse(Kind::BadRequest, format!("unknown workload {other:?}")),
    };
    close(opened)?;
    answered(elapsed, check)
}

fn close(opened: Opened) -> Result<(), Refusal> {
    Ok(opened.store.close(opened.writer)?)
}

fn answered(elapsed: Duration, check: u64) -> Outcome {
    let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    Ok(json!({ "elapsed_ns": elapsed_ns, "check": check }))
}

fn timed(work: impl FnOnce() -> Result<u64, Refusal>) -> Result<(Duration, u64), Refusal> {
    let started = Instant::now();
    let check = work()?;
    Ok((started.elapsed(), check))
}

fn subject(number: u64) -> String {
    format!("bench.k.{number}")
}

fn subjects(work: &Workload) -> Vec<String> {
    (0..work.subjects).map(subject).collect()
}

/// Stores n messages; only the appends and the flush behind them count.
fn fill(opened: &mut Opened, work: &Workload, random: &mut Random) -> Result<Duration, Refusal> {
    let mut drawn = Random(work.seed.wrapping_add(1));
    let noise: Vec<u8> = (0..NOISE_BYTES / 8)
        .flat_map(|_| drawn.next().to_le_bytes())
        .collect();
    let size = usize::try_from(work.size).unwrap_or(0);
    let names = subjects(work);
    let picks: Vec<(&[u8], &[u8])> = (0..work.n)
        .map(|_| {
            let name = names[random.index(names.len())].as_bytes();
            let at = random.index(NOISE_BYTES - size + 1);
            (name, &noise[at..at + size])
        })
        .collect();
    let started = Instant::now();
    let mut timestamp_ns = BASE_NS;
    for (subject, body) in picks {
        let message = NewMessage {
            subject,
            headers: b"",
            body,
        };
        opened.writer.append_at(&message, None, timestamp_ns)?;
        timestamp_ns += 1000;
    }
    opened.writer.flush()?;
    Ok(started.elapsed())
}

fn message_sum(found: &StoredMessage) -> u64 {
    let body = found.body();
    let first = body.first().copied().unwrap_or(0);
    found
        .seq
        .wrapping_add(body.len() as u64)
        .wrapping_add(u64::from(first))
}

fn loads(
    opened: &Opened,
    work: &Workload,
    random: &mut Random,
) -> Result<(Duration, u64), Refusal> {
    let seqs: Vec<u64> = (0..work.n).map(|_| 1 + random.below(work.n)).collect();
    timed(|| {
        let mut check = 0_u64;
        for seq in seqs {
            let found = opened.reader.get(seq)?;
            std::hint::black_box(found.subject());
            check = check.wrapping_add(message_sum(&found));
        }
        Ok(check)
    })
}

fn last_loads(
    opened: &Opened,
    work: &Workload,
    random: &mut Random,
) -> Result<(Duration, u64), Refusal> {
    let names = subjects(work);
    let picks: Vec<&str> = (0..work.n)
        .map(|_| names[random.index(names.len())].as_str())
        .collect();
    timed(|| {
        let mut check = 0_u64;
        for name in picks {
            match opened.reader.last(name.as_bytes()) {
                Ok(found) => check = check.wrapping_add(message_sum(&found)),
                // No message was drawn for this subject.
                Err(ReadError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(check)
    })
}

fn scan(opened: &Opened, filters: &[&[u8]]) -> Result<u64, Refusal> {
    let (mut from, mut check) = (1, 0_u64);
    loop {
        match opened.reader.next(filters, from) {
            Ok(found) => {
                check = check.wrapping_add(message_sum(&found));
                from = found.seq + 1;
            }
            Err(ReadError::Beyond { .. }) => return Ok(check),
            Err(error) => return Err(error.into()),
        }
    }
}

fn removes(
    opened: &mut Opened,
    work: &Workload,
    random: &mut Random,
) -> Result<(Duration, u64), Refusal> {
    let mut order: Vec<u64> = (1..=work.n).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.index(at + 1));
    }
    timed(|| {
        let mut check = 0;
        for seq in &order[..order.len() / 2] {
            check += u64::from(opened.writer.remove(*seq)?);
        }
        Ok(check)
    })
}

fn purges(opened: &mut Opened, work: &Workload) -> Result<u64, Refusal> {
    let mut check = 0;
    for name in subjects(work) {
        let request = PurgeRequest {
            filter: name.as_bytes(),
            ..PurgeRequest::default()
        };
        check += opened.writer.purge(&request)?;
    }
    Ok(check)
}
