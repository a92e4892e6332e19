//! Every codec of the format on its own.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use jetsam::format::checksum::HashKey;
use jetsam::format::compression;
use jetsam::format::consumer::{
    ConsumerFile, ConsumerState, ConsumerVersion, Pending, SequencePair,
};
use jetsam::format::headers;
use jetsam::format::record::{NewRecord, Run, Runs, encode_record};
use jetsam::format::seqset::SeqSet;
use jetsam::format::state::{BlockEntry, STATE_VERSION, StateFile, SubjectEntry, SubjectTable};
use jetsam::format::timers::{Expiry, ExpiryFile};

use crate::common::{BASE_NS, Noise, STEP_NS, STREAM, Shape, block, body, scaled};

/// Encoded deleted sets may be this long together.
const DELETED_LIMIT: u64 = 64 << 20;

/// Every bench of this file.
pub fn all(criterion: &mut Criterion) {
    records(criterion);
    s2(criterion);
    state(criterion);
    sequence_set(criterion);
    consumer(criterion);
    header_lines(criterion);
    expiries(criterion);
}

fn records(criterion: &mut Criterion) {
    const COUNT: u64 = 1000;
    let key = HashKey::for_block(STREAM.as_bytes(), 1);
    let mut group = criterion.benchmark_group("record");
    for length in [16, 128, 256, 1024] {
        group.throughput(Throughput::Elements(COUNT));
        let body = body(&mut Noise::new(3), length);
        let mut out = Vec::new();
        group.bench_function(format!("encode/{length} B"), |bencher| {
            bencher.iter(|| {
                out.clear();
                for sequence in 1..=COUNT {
                    let message = NewRecord::Message {
                        sequence,
                        timestamp_ns: BASE_NS,
                        subject: b"orders.7.created",
                        headers: b"",
                        body: &body,
                    };
                    encode_record(&mut out, &key, &message).expect("a short record");
                }
                black_box(out.len())
            });
        });
        let mut run = Run::new();
        group.bench_function(format!("parse and verify/{length} B"), |bencher| {
            bencher.iter(|| {
                let mut runs = Runs::new(&out, &key);
                let mut count = 0;
                while runs.next_run(&mut run) {
                    count += run.records.len();
                }
                assert_eq!(count as u64, COUNT);
            });
        });
    }
    group.finish();
}

fn s2(criterion: &mut Criterion) {
    let key = HashKey::for_block(STREAM.as_bytes(), 1);
    let content = block(Shape::plain(10_000, 512), &key);
    let mut compressed = Vec::new();
    compression::compress(&content, &mut compressed).expect("a whole block");
    let mut group = criterion.benchmark_group("s2");
    group.throughput(Throughput::Bytes(content.len() as u64));
    let mut out = Vec::new();
    group.bench_function("compress", |bencher| {
        bencher.iter(|| {
            out.clear();
            compression::compress(&content, &mut out).expect("a whole block");
        });
    });
    group.bench_function("decompress", |bencher| {
        bencher.iter(|| compression::decompress(&compressed, &mut out).expect("a sound block"));
    });
    group.finish();
}

/// Sequences with every second one missing.
fn alternating(first: u64, count: u64) -> SeqSet {
    let mut set = SeqSet::new();
    for at in 0..count {
        set.insert(first + 2 * at);
    }
    set
}

fn state_file(subject_count: u64, block_count: u32, deleted_per_block: u64) -> StateFile {
    let mut subjects = SubjectTable::new();
    for at in 0..subject_count {
        subjects.push(SubjectEntry {
            subject: format!("orders.{at}.created").as_bytes(),
            total: 1 + at % 3,
            first_block: 1,
            last_block: block_count,
        });
    }
    let span = 2 * deleted_per_block + 2;
    let blocks: Vec<BlockEntry> = (1..=block_count)
        .map(|number| {
            let first_sequence = 1 + u64::from(number - 1) * span;
            BlockEntry {
                number,
                bytes: 100 * span,
                first_sequence,
                first_time_ns: BASE_NS,
                last_sequence: first_sequence + span - 1,
                last_time_ns: BASE_NS + STEP_NS,
                deleted_count: deleted_per_block,
                deleted: alternating(first_sequence + 1, deleted_per_block),
                ..BlockEntry::default()
            }
        })
        .collect();
    StateFile {
        version: STATE_VERSION,
        messages: blocks.iter().map(BlockEntry::message_count).sum(),
        bytes: 1 << 30,
        first_sequence: 1,
        first_time_ns: BASE_NS,
        last_sequence: u64::from(block_count) * span,
        last_time_ns: BASE_NS + STEP_NS,
        subjects,
        blocks,
        last_block: block_count,
        last_record_hash: [7; 8],
    }
}

fn state(criterion: &mut Criterion) {
    let cases = [
        ("many subjects", state_file(scaled(100_000), 100, 0)),
        ("many deletes", state_file(8, 100, scaled(20_000))),
    ];
    let mut group = criterion.benchmark_group("index.db");
    for (name, state) in cases {
        let bytes = state.encode(DELETED_LIMIT).expect("a sound state");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| state.encode(DELETED_LIMIT).expect("a sound state"));
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| StateFile::decode(&bytes).expect("a sound state"));
        });
    }
    group.finish();
}

fn sequence_set(criterion: &mut Criterion) {
    let count = scaled(1_000_000);
    let set = alternating(1, count);
    let mut bytes = Vec::new();
    set.encode(&mut bytes, DELETED_LIMIT)
        .expect("a set that fits");
    let mut group = criterion.benchmark_group("sequence set");
    group.throughput(Throughput::Elements(count));
    group.bench_function("insert", |bencher| bencher.iter(|| alternating(1, count)));
    group.bench_function("contains", |bencher| {
        bencher.iter(|| {
            (1..=count)
                .filter(|sequence| set.contains(*sequence))
                .count()
        });
    });
    let mut out = Vec::new();
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            set.encode(&mut out, DELETED_LIMIT)
                .expect("a set that fits");
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| SeqSet::decode(&bytes).expect("a sound set"));
    });
    group.finish();
}

fn consumer(criterion: &mut Criterion) {
    let count = scaled(20_000);
    let state = ConsumerState {
        ack_floor: SequencePair {
            consumer: 1000,
            stream: 1000,
        },
        delivered: SequencePair {
            consumer: 1000 + count,
            stream: 1000 + count,
        },
        pending: (1..=count)
            .map(|at| {
                let pending = Pending {
                    consumer_sequence: 1000 + at,
                    timestamp_ns: BASE_NS,
                };
                (1000 + at, pending)
            })
            .collect(),
        redelivered: (1..=count / 4).map(|at| (1000 + at, 2)).collect(),
    };
    let base_s = BASE_NS / 1_000_000_000;
    let bytes = state.encode(ConsumerVersion::V2, base_s);
    let mut group = criterion.benchmark_group("o.dat");
    group.throughput(Throughput::Elements(count));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| state.encode(ConsumerVersion::V2, base_s));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| ConsumerFile::decode(&bytes).expect("a sound file"));
    });
    group.finish();
}

fn header_lines(criterion: &mut Criterion) {
    let cases: [(&str, &[u8]); 2] = [
        ("with TTL", b"NATS/1.0\r\nNats-Msg-Id: 0123456789\r\nTraceparent: 00-4bf92f3577b34da6\r\nNats-TTL: 1h30m\r\n\r\n"),
        ("without TTL", b"NATS/1.0\r\nNats-Msg-Id: 0123456789\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736\r\n\r\n"),
    ];
    let mut group = criterion.benchmark_group("headers");
    for (name, block) in cases {
        group.throughput(Throughput::Bytes(block.len() as u64));
        group.bench_function(format!("present/{name}"), |bencher| {
            bencher.iter(|| headers::present(black_box(block)));
        });
        group.bench_function(format!("TTL/{name}"), |bencher| {
            bencher.iter(|| headers::message_ttl(black_box(block)));
        });
    }
    group.finish();
}

fn expiries(criterion: &mut Criterion) {
    let count = scaled(50_000);
    let file = ExpiryFile {
        stamp: count + 1,
        entries: (1..=count)
            .map(|sequence| Expiry {
                expiry_ns: BASE_NS + STEP_NS * sequence as i64,
                sequence,
            })
            .collect(),
    };
    let bytes = file.encode();
    let mut group = criterion.benchmark_group("thw.db");
    group.throughput(Throughput::Elements(count));
    group.bench_function("encode", |bencher| bencher.iter(|| file.encode()));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| ExpiryFile::decode(&bytes).expect("a sound file"));
    });
    group.finish();
}
