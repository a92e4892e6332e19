//! Block files: missing, truncated, flipped, out of order; stray files.

use jetsam::block::builder::BlockBuilder;
use jetsam::format::record::NewRecord;
use jetsam::stream::StreamDir;

use super::{acted, both, bounds, cases, deleted, each, from_index, lost, saw, state};
use crate::support::{everything, look};

#[test]
fn r040_bit_rot() {
    each("R040", "clean", |_, report| {
        // A sound index hides it until the message is read.
        assert!(from_index(report));
        assert_eq!(report.unreadable, [61]);
        assert!(report.loses_messages || !report.unreadable.is_empty());
    });
    each("R040", "noidx", |_, report| {
        assert_eq!(bounds(report), (60, 1, 60));
        assert_eq!(acted(report, "truncate-block"), ["msgs/1.blk"]);
    });
    // After one more start the damage is cut away.
    each("R040", "mended", |_, report| {
        assert_eq!(bounds(report), (60, 1, 60));
        assert!(report.unreadable.is_empty() && state(report).lost.is_none());
    });
}

#[test]
fn r041_first_block_gone() {
    each("R041", "", |_, report| {
        assert_eq!(bounds(report), (407, 94, 500));
        assert_eq!(lost(report), (1..=93).collect::<Vec<u64>>());
    });
    each("R041", "loaded", |_, report| {
        assert_eq!(bounds(report), (407, 94, 500))
    });
}

#[test]
fn r042_last_block_gone() {
    each("R042", "", |case, report| {
        assert_eq!(
            case.list("msgs")
                .iter()
                .filter(|name| name.ends_with(".blk"))
                .count(),
            4
        );
        assert_eq!(bounds(report), (372, 94, 500));
        assert_eq!(deleted(report), (466..=500).collect::<Vec<u64>>());
        assert_eq!(lost(report), (466..=500).collect::<Vec<u64>>());
        assert!(saw(report, "index-last-block-missing"));
    });
    assert_eq!(cases("R042", "").len(), 4);
}

#[test]
fn r044_names_that_only_contain_blk() {
    both("R044", "", (1, 1, 1), |case, _| {
        assert!(case.list("msgs").contains(&"10.blk..tmp".to_owned()));
    });
}

#[test]
fn r045_index_and_only_block_gone() {
    each("R045", "", |_, report| {
        assert_eq!(bounds(report), (0, 0, 0))
    });
}

#[test]
fn r047_middle_block_gone_while_the_index_matches() {
    each("R047", "", |case, report| {
        assert_eq!(bounds(report), (2, 1, 3));
        assert_eq!((deleted(report), lost(report)), (vec![2], vec![2]));
        let seqs: Vec<u64> = case.messages().iter().map(|message| message.0).collect();
        assert_eq!(seqs, [1, 3]);
    });
    assert_eq!(cases("R047", "").len(), 4);
}

#[test]
fn r048_sequences_out_of_order() {
    each("R048", "", |case, report| {
        assert_eq!(bounds(report), (3, 1, 4));
        assert_eq!(deleted(report), [2]);
        let seqs: Vec<u64> = case.messages().iter().map(|message| message.0).collect();
        assert_eq!(seqs, [1, 3, 4]);
    });
    assert_eq!(cases("R048", "").len(), 4);
}

#[test]
fn r051_block_cut_to_nothing() {
    each("R051", "", |_, report| {
        assert_eq!(bounds(report), (0, 6, 5))
    });
}

#[test]
fn r053_block_rewritten_behind_the_index() {
    // Without its head the block still ends in the record the index knows: only loading it tells.
    each("R053", "head", |_, report| {
        assert!(from_index(report));
        assert_eq!(
            (bounds(report), report.unreadable.as_slice()),
            ((5, 1, 5), [1].as_slice())
        );
    });
    each("R053", "tail", |_, report| {
        assert_eq!((bounds(report), deleted(report)), ((4, 1, 5), vec![5]));
    });
    each("R053", "ends", |_, report| {
        assert_eq!((bounds(report), deleted(report)), ((3, 2, 5), vec![5]));
    });
}

#[test]
fn r054_index_without_the_delete_map() {
    each("R054", "", |case, report| {
        assert_eq!((bounds(report), deleted(report)), ((2, 1, 3), vec![2]));
        assert_eq!(case.messages().len(), 2);
    });
}

#[test]
fn r056_holes_without_markers() {
    each("R056", "", |case, report| {
        assert_eq!(bounds(report), (3, 2, 12));
        assert_eq!(deleted(report), [3, 5, 6, 7, 8, 9, 10, 11]);
        assert!(state(report).lost.is_none());
        let seen: Vec<(u64, String)> = case.messages().into_iter().map(|m| (m.0, m.1)).collect();
        assert_eq!(
            seen,
            [
                (2, "A".to_owned()),
                (4, "B".to_owned()),
                (12, "C".to_owned())
            ]
        );
    });
}

#[test]
fn r057_empty_block_off_by_one() {
    each("R057", "", |_, report| {
        assert_eq!(bounds(report), (0, 11, 10))
    });
}

#[test]
fn r058_interior_block_gone() {
    each("R058", "", |_, report| {
        assert_eq!(bounds(report), (17, 1, 20));
        assert_eq!(
            (deleted(report), lost(report)),
            (vec![16, 17, 18], vec![16, 17, 18])
        );
    });
}

#[test]
fn r060_block_of_one_byte() {
    // The next message gets sequence 1.
    each("R060", "", |_, report| {
        assert_eq!(bounds(report), (0, 0, 0))
    });
}

#[test]
fn r061_every_block_torn_by_a_byte() {
    each("R061", "whole", |_, report| {
        assert_eq!(bounds(report), (500, 501, 1000))
    });
    // The store alone brings back the message of the torn marker, and each full block loses its last record; the
    // server's consumers then take 500 away again.
    each("R061", "cut", |_, report| {
        let state = state(report);
        assert_eq!((state.first_seq, state.last_seq), (500, 1000));
        assert_eq!(state.messages + state.deleted_count, 501);
        assert!(state.lost.is_some());
    });
}

/// The length of this record reads as the first bytes of a compressed block.
const COLLIDING: usize = 7_368_035;

#[test]
fn r276_length_that_reads_as_a_compressed_block() {
    for label in ["clean", "noidx"] {
        each("R276", label, |case, report| {
            assert_eq!(bounds(report), (2, 1, 2));
            assert_eq!(state(report).bytes, COLLIDING as u64 + 38);
            let messages = case.messages();
            assert_eq!(messages[0].3.len(), COLLIDING - 33);
            assert_eq!(messages[1].3, b"small");
        });
    }
}

#[test]
fn r276_the_same_in_the_open() {
    // Too large to be kept: the block is made here, with and without headers.
    for headers in [b"".as_slice(), b"NATS/1.0\r\na: b\r\n\r\n"] {
        let (_temp, stream) = colliding(headers);
        let report = look(&stream, &everything(1_800_000_000_000_000_000));
        assert_eq!(bounds(&report), (2, 1, 2));
        assert!(report.unreadable.is_empty() && state(&report).lost.is_none());
    }
}

fn colliding(headers: &[u8]) -> (tempfile::TempDir, StreamDir) {
    let field = if headers.is_empty() { 0 } else { 4 };
    let body = vec![b'x'; COLLIDING - 33 - field - headers.len()];
    let mut block = BlockBuilder::new(b"S", 1);
    for (sequence, headers, body) in [(1, headers, body.as_slice()), (2, b"", b"small")] {
        let record = NewRecord::Message {
            sequence,
            timestamp_ns: 1_767_225_600_000_000_000 + sequence.cast_signed(),
            subject: b"foo",
            headers,
            body,
        };
        block.push(&record).expect("a record");
    }
    let block = block.into_content();
    assert_eq!(&block[..3], b"cmp");
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("M/streams/S");
    std::fs::create_dir_all(dir.join("msgs")).expect("a directory");
    let like = &cases("R045", "")[0];
    for file in ["meta.inf", "meta.sum"] {
        std::fs::write(dir.join(file), like.read(file)).expect("a copy");
    }
    std::fs::write(dir.join("msgs/1.blk"), block).expect("a block");
    let stream = StreamDir {
        account: Some("M".into()),
        name: "S".into(),
        dir,
    };
    (temp, stream)
}

#[test]
fn r278_compressed_block_flipped() {
    each("R278", "clean", |_, report| {
        assert_eq!(
            (bounds(report), report.unreadable.as_slice()),
            ((2, 1, 2), [1].as_slice())
        );
    });
    // Without an index the server's open call fails; up to 2.15.2 it then deleted the directory.
    each("R278", "noidx", |_, report| {
        assert!(saw(report, "server-would-skip-stream"));
        let told = report.events.iter().any(|event| {
            event.file.as_deref() == Some("msgs/1.blk") && event.detail.contains("checksum")
        });
        assert!(told, "{:?}", report.events);
        assert!(report.state.is_none() && report.actions.is_empty());
    });
}
