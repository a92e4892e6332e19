//! Replays every corpus through its fuzz target: what a fuzzer once found stays found.

use std::fs;

use jetsam::format::{
    compression, consumer, legacy, names, record, replica_state, seqset, sources, state, timers,
};
use jetsam::salvage::quarantine;

use crate::support::{dirs, name_of, testdata};

#[path = "../../fuzz/salvage_targets.rs"]
mod salvage_targets;
#[path = "../../fuzz/text_targets.rs"]
mod text_targets;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("compression", compression::fuzz_one),
    ("consumer", consumer::fuzz_one),
    ("headers", text_targets::headers),
    ("legacy", legacy::fuzz_one),
    ("meta", text_targets::meta),
    ("names", names::fuzz_one),
    ("quarantine", quarantine::fuzz_one),
    ("record", record::fuzz_one),
    ("replica_state", replica_state::fuzz_one),
    ("salvage_scan", salvage_targets::scan),
    ("schedule", text_targets::schedule),
    ("seqset", seqset::fuzz_one),
    ("sources", sources::fuzz_one),
    ("state", state::fuzz_one),
    ("timers", timers::fuzz_one),
];

#[test]
fn every_corpus_replays() {
    let known: Vec<String> = dirs(&testdata("corpus"))
        .iter()
        .map(|dir| name_of(dir))
        .collect();
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        known, targets,
        "a corpus without a target, or a target without a corpus"
    );
    for (name, target) in TARGETS {
        let files = fs::read_dir(testdata("corpus").join(name)).expect("a corpus");
        let mut count = 0;
        for file in files.flatten() {
            target(&fs::read(file.path()).expect("a readable input"));
            count += 1;
        }
        assert!(count > 0, "the corpus {name} is empty");
    }
}

#[test]
fn every_target_has_its_fuzz_binary() {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "fuzz/Cargo.toml lacks {name}"
        );
    }
}

/// Text that the parsers meet: proptest stands in for the fuzzer where there is none.
mod arbitrary {
    use proptest::prelude::*;

    use super::{salvage_targets, text_targets};

    proptest! {
        #[test]
        fn text_targets_take_anything(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            text_targets::meta(&data);
            text_targets::headers(&data);
            text_targets::schedule(&data);
        }

        #[test]
        fn a_scan_takes_anything(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            salvage_targets::scan(&data);
        }

        /// Records with sound hashes, plain and compressed, with some bits flipped.
        #[test]
        fn a_scan_takes_damaged_records(
            compressed in any::<bool>(),
            flips in proptest::collection::vec((any::<u16>(), 0_u8..8), 0..4),
            records in proptest::collection::vec((any::<[u8; 2]>(), proptest::collection::vec(any::<u8>(), 0..90)), 1..12),
        ) {
            let mut data = vec![(flips.len() as u8) << 4 | u8::from(compressed) << 1 | 1];
            for (at, bit) in flips {
                data.extend(at.to_be_bytes());
                data.push(1 << bit);
            }
            for (kind_and_step, body) in records {
                data.extend(kind_and_step);
                data.push(body.len() as u8);
                data.extend(body);
            }
            salvage_targets::scan(&data);
        }

        #[test]
        fn text_targets_take_near_json(data in "\\{(\"(name|max_age|subjects|sources|x)\":(1|\"a\"|\\[\\]|null|\\{\\}),?){0,4}\\}") {
            text_targets::meta(data.as_bytes());
        }
    }
}
