//! Whole stores: rebuilt from their blocks, opened by their index and verified, opened by their index alone.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use jetsam::crypto::Cipher;

use crate::common::{Shape, Store, scaled};

fn stores() -> Vec<(&'static str, Store)> {
    let many_subjects = Shape {
        subject_count: scaled(150_000),
        ..Shape::plain(250_000, 128)
    };
    let ttl = Shape {
        ttl_every: 2,
        ..Shape::plain(250_000, 128)
    };
    let deletes = Shape {
        deletes: true,
        ..Shape::plain(250_000, 128)
    };
    let sealed = |cipher| Store::coated(Shape::plain(150_000, 256), false, Some(cipher));
    vec![
        ("500 K x 16 B", Store::plain(Shape::plain(500_000, 16))),
        ("150 K x 256 B", Store::plain(Shape::plain(150_000, 256))),
        ("2 K x 16 KiB", Store::plain(Shape::plain(2_000, 16 << 10))),
        ("150 K subjects", Store::plain(many_subjects)),
        ("S2", Store::coated(Shape::plain(80_000, 512), true, None)),
        ("ChaCha20", sealed(Cipher::ChaCha)),
        ("AES-CTR", sealed(Cipher::Aes)),
        ("TTLs", Store::plain(ttl)),
        ("deletes", Store::plain(deletes)),
    ]
}

/// Every bench of this file.
pub fn all(criterion: &mut Criterion) {
    let stores = stores();
    let mut group = criterion.benchmark_group("recovery");
    for (name, store) in &stores {
        group.throughput(Throughput::Bytes(store.length));
        group.bench_function(format!("without index/{name}"), |bencher| {
            bencher.iter(|| black_box(store.rebuild()));
        });
        store.write_index();
        group.bench_function(format!("with index/{name}"), |bencher| {
            bencher.iter(|| black_box(store.open(false)));
        });
        group.bench_function(format!("with index, quick/{name}"), |bencher| {
            bencher.iter(|| black_box(store.open(true)));
        });
    }
    group.finish();
}
