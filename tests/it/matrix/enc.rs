//! Encryption, key files, conversions.

use super::{acted, bounds, cases, deleted, each, saw};
use jetsam::report::stream::Refusal;

#[test]
fn r153_messages_and_consumer() {
    each("R153", "", |case, report| {
        assert_eq!(bounds(report), (50, 1, 50));
        assert_eq!(case.messages()[9].3, b"aes ftw");
        let consumer = &report.consumers[0];
        assert_eq!(
            (consumer.delivered, consumer.ack_floor),
            ((22, 22), (11, 11))
        );
    });
}

#[test]
fn r154_no_key() {
    for case in cases("R154", "") {
        let report = case.look();
        assert_eq!(report.refusal, Some(Refusal::NeedsKey));
        assert!(saw(&report, "key-missing"));
        assert!(report.state.is_none() && report.actions.is_empty());
    }
}

#[test]
fn r158_nothing_in_the_clear() {
    each("R158", "", |case, report| {
        assert_eq!(bounds(report), (10, 1, 10));
        assert_eq!(case.messages()[0].3, b"TOP SECRET DOCUMENT #1");
        for file in [
            "meta.inf",
            "msgs/1.blk",
            "obs/dlc/meta.inf",
            "obs/dlc/o.dat",
            "msgs/index.db",
        ] {
            let bytes = case.read(file);
            for secret in [b"TOP SECRET".as_slice(), b"foo", b"dlc", b"durable"] {
                assert!(
                    !bytes.windows(secret.len()).any(|part| part == secret),
                    "{file}"
                );
            }
        }
        for file in ["meta.key", "msgs/1.key", "obs/dlc/meta.key"] {
            assert!(case.read(file).len() >= 64, "{file}");
        }
        assert!(
            jetsam::format::consumer::ConsumerFile::decode(&case.read("obs/dlc/o.dat")).is_err()
        );
    });
}

#[test]
fn r160_restarts_between_steps() {
    each("R160", "", |case, report| {
        assert_eq!(bounds(report), (1, 1, 1));
        assert_eq!(case.messages()[0].3, b"TOP SECRET DOCUMENT");
    });
}

#[test]
fn r162_another_key() {
    for cipher in ["aes", "chacha"] {
        for (turning, turned) in cases("R162", &format!("to-{cipher}"))
            .iter()
            .zip(cases("R162", &format!("in-{cipher}")))
        {
            let (before, after) = (turning.look(), turned.look());
            assert_eq!(
                (bounds(&before), bounds(&after)),
                ((30, 1, 30), (30, 1, 30))
            );
            assert_eq!(before.digest, after.digest);
            assert_eq!(
                acted(&before, "rekey-block").len(),
                turning
                    .list("msgs")
                    .iter()
                    .filter(|name| name.ends_with(".blk"))
                    .count()
            );
            assert!(acted(&after, "rekey-block").is_empty());
            assert_eq!(turned.messages().len(), 30);
        }
        assert_eq!(cases("R162", &format!("to-{cipher}")).len(), 4);
    }
}

#[test]
fn r164_encryption_turned_on() {
    each("R164", "", |case, report| {
        assert_eq!(bounds(report), (100, 101, 200));
        // With a sound index the server seals the block it writes to; the others follow when they are read.
        let blocks = case.list("msgs");
        assert_eq!(blocks, ["2.blk", "3.blk", "4.blk", "index.db"]);
        assert_eq!(acted(report, "encrypt-block"), ["msgs/4.blk"]);
        assert_eq!(acted(report, "create-key"), ["msgs/4.key"]);
    });
}

#[test]
fn r165_key_files_cut() {
    for length in [0, 70] {
        each("R165", &format!("all-{length}"), |_, report| {
            assert_eq!(bounds(report), (0, 61, 60))
        });
        each("R165", &format!("all-{length}-noidx"), |_, report| {
            assert_eq!(bounds(report), (0, 0, 0))
        });
        each("R165", &format!("second-{length}-noidx"), |_, report| {
            assert_eq!(bounds(report), (37, 1, 60));
            assert_eq!(deleted(report), (24..=46).collect::<Vec<u64>>());
            assert!(saw(report, "block-removed-bad-key"));
            assert!(acted(report, "remove-block").contains(&"msgs/2.blk".to_owned()));
            assert!(
                report
                    .actions
                    .iter()
                    .any(|action| action.file == "msgs/2.key"),
                "{:?}",
                report.actions
            );
        });
        assert_eq!(cases("R165", &format!("all-{length}")).len(), 4);
    }
}
