//! One block: walked with every checksum, walked without, indexed.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use jetsam::block::content::decode;
use jetsam::block::slots;
use jetsam::block::walk::{Known, walk};
use jetsam::crypto::{BlockCipher, Cipher, Nonce, Seed};
use jetsam::format::checksum::HashKey;
use jetsam::format::compression;
use jetsam::format::record::{Run, Runs};
use jetsam::format::seqset::SeqSet;

use crate::common::{STREAM, Shape, block};

/// Bytes of a record besides subject and body.
const OVERHEAD: usize = 46;

/// About as many messages as fill a block of 8 MiB.
fn shape(body_length: usize) -> Shape {
    Shape::plain((8 << 20) / (body_length + OVERHEAD) as u64, body_length)
}

/// Every bench of this file.
pub fn all(criterion: &mut Criterion) {
    let key = HashKey::for_block(STREAM.as_bytes(), 1);
    let mut group = criterion.benchmark_group("scan");
    for body_length in [16, 128, 256, 1024] {
        let shape = shape(body_length);
        let content = block(shape, &key);
        group.throughput(Throughput::Bytes(content.len() as u64));
        let mut run = Run::new();
        group.bench_function(format!("walk/{body_length} B"), |bencher| {
            bencher.iter(|| walk(&content, &key, Known::default(), &mut run, &mut ()));
        });
        group.bench_function(format!("walk unverified/{body_length} B"), |bencher| {
            bencher.iter(|| {
                let mut runs = Runs::unverified(&content);
                let mut count = 0;
                while runs.next_run(&mut run) {
                    count += run.records.len();
                }
                black_box(count)
            });
        });
        group.bench_function(format!("index/{body_length} B"), |bencher| {
            bencher.iter(|| {
                slots::index(&content, 1, shape.count, &mut SeqSet::new(), true)
                    .expect("a sound block")
            });
        });
    }
    group.finish();
    coats(criterion, &key);
}

/// What comes before the walk where a block is compressed or encrypted.
fn coats(criterion: &mut Criterion, key: &HashKey) {
    let content = block(shape(256), key);
    let mut compressed = Vec::new();
    compression::compress(&content, &mut compressed).expect("a whole block");
    let seed = Seed::new([7; Seed::LENGTH]);
    let cipher = |nonce: &[u8], kind| {
        let (nonce, _) = Nonce::split_from(nonce, kind).expect("a whole nonce");
        BlockCipher::new(&seed, &nonce)
    };
    let cases = [
        ("decode s2", compressed, None),
        (
            "decode chacha",
            content.clone(),
            Some(cipher(&[9; 24], Cipher::ChaCha)),
        ),
        (
            "decode aes",
            content.clone(),
            Some(cipher(&[9; 16], Cipher::Aes)),
        ),
    ];
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Bytes(content.len() as u64));
    for (name, mut file, cipher) in cases {
        if let Some(cipher) = &cipher {
            cipher.apply(&mut file, 0).expect("a short block");
        }
        let mut spare = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || file.clone(),
                |mut file| {
                    decode(&mut file, &mut spare, cipher.as_ref(), key).expect("a sound block")
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}
