//! Removing a message and wiping its bytes.

use std::path::Path;

use jetsam::block::key::{BlockFiles, BlockKey};
use jetsam::env::memory::Fault;
use jetsam::format::record::{RecordKind, parse_at};
use jetsam::store::{ReadError, RemoveError, WriterFault};

use super::bed::{Bed, DIR, NAME, Shape, every_shape, plain};

fn holds(bed: &Bed, secret: &[u8]) -> bool {
    let files = bed.fs.files();
    files
        .values()
        .any(|bytes| bytes.windows(secret.len()).any(|part| part == secret))
}

/// Shapes in which the bytes on the disk tell what is in them. Encrypted ones have a test of their own.
fn wiped(block_size: u64, demand: impl Fn(&mut Bed)) {
    for compresses in [false, true] {
        let shape = Shape {
            cipher: None,
            compresses,
        };
        let mut bed = Bed::new(shape, "", block_size);
        demand(&mut bed);
        bed.finish();
    }
}

/// The content of the first block, decrypted.
fn first_block(bed: &Bed) -> Vec<u8> {
    let keys = bed.options().keys;
    let files = BlockFiles {
        fs: &bed.fs,
        dir: Path::new(DIR),
        messages: "msgs",
        name: NAME.as_bytes(),
        ring: keys.ring(b"A"),
        sealed: true,
    };
    let mut bytes = Vec::new();
    let read = files.read_with("msgs/1.blk", &mut bytes, |first| files.key(1, first));
    assert!(matches!(read.unwrap().key, BlockKey::Opened(_)));
    bytes
}

#[test]
fn e_067_nothing_is_left_of_it_behind_the_key_either() {
    // The reference removes, and leaves ciphertext and key.
    for shape in Shape::all().filter(|shape| shape.cipher.is_some()) {
        for more in [0, 40] {
            let mut bed = Bed::new(shape, "", 20 * 44);
            bed.puts("foo", 3);
            bed.put("foo", "the secret body");
            bed.puts("foo", more);
            let holds = |bed: &Bed| {
                let bytes = first_block(bed);
                bytes.windows(15).any(|part| part == b"the secret body")
            };
            assert!(holds(&bed));
            bed.erase([4]);
            assert!(!holds(&bed), "{shape:?}");
            bed.puts("foo", 1);
            bed.finish();
        }
    }
}

#[test]
fn e_067_nothing_of_an_erased_message_is_left_but_its_sequence() {
    plain("", 8192, |bed| {
        bed.puts("foo", 3);
        bed.put("foo.secret", "the secret body");
        bed.puts("foo", 2);
        bed.erase([4]);
        assert!(!holds(bed, b"foo.secret") && !holds(bed, b"the secret body"));
        let block = bed.block_files().remove(&1).unwrap();
        let record = parse_at(&block, 3 * 44).unwrap();
        assert_eq!(record.kind(), RecordKind::Erased);
        assert_eq!(
            (
                record.sequence(),
                record.timestamp_ns(),
                record.subject_length()
            ),
            (4, 0, 0)
        );
        assert_eq!(record.length(), 22 + 10 + 15 + 8);
        assert_eq!(bed.miss(4), ReadError::Deleted { seq: 4 });
        assert_eq!(bed.seqs(), [1, 2, 3, 5, 6]);
        // Twice is once.
        assert_eq!(bed.writer().erase(4), Ok(false));
    });
}

#[test]
fn e_068_what_was_erased_stays_gone_without_the_index() {
    every_shape("", 400, |bed| {
        bed.puts("foo", 100);
        bed.erase((2..=100).step_by(2));
        bed.kill();
        assert_eq!(bed.seqs(), (1..=100).step_by(2).collect::<Vec<_>>());
        assert_eq!(bed.deleted().len(), 50);
    });
}

#[test]
fn e_069_e_070_erasing_beside_what_is_gone_wipes_the_right_record() {
    wiped(20 * 44, |bed| {
        bed.puts("foo", 10);
        bed.put("foo", "the secret one");
        bed.puts("foo", 20);
        bed.remove((2..=10).chain(12..=15));
        bed.tidy();
        bed.erase([11]);
        assert!(!holds(bed, b"the secret one"));
        assert_eq!(
            bed.seqs(),
            [1].into_iter().chain(16..=31).collect::<Vec<_>>()
        );
    });
    // Everything behind it is gone.
    wiped(20 * 44, |bed| {
        bed.puts("foo", 3);
        bed.put("foo", "the secret one");
        bed.puts("foo", 20);
        bed.remove(5..=24);
        bed.tidy();
        bed.erase([4]);
        assert!(!holds(bed, b"the secret one"));
        assert_eq!(bed.bounds(), (1, 24, 3));
    });
}

#[test]
fn e_071_e_072_a_tombstone_behind_the_erased_record_goes_on_proving() {
    every_shape("", 2 * 44, |bed| {
        bed.puts("foo", 2);
        bed.put("foo", "the secret one");
        bed.remove([2]);
        bed.erase([3]);
        bed.kill();
        assert_eq!((bed.bounds(), bed.deleted()), ((1, 3, 1), vec![2, 3]));
    });
    // Also where the erased message was the last of its block, which stays for what it proves.
    wiped(2 * 44 + 30, |bed| {
        bed.puts("foo", 2);
        bed.put("foo", "the secret one");
        bed.remove([2]);
        bed.puts("foo", 2);
        bed.erase([3]);
        assert!(!holds(bed, b"the secret one"));
        bed.kill();
        assert_eq!(bed.seqs(), [1, 4, 5]);
    });
}

#[test]
fn e_073_an_erasure_that_fails_leaves_the_message_or_takes_it_and_no_temporary_file() {
    for compresses in [false, true] {
        let shape = Shape {
            cipher: None,
            compresses,
        };
        for number in 0.. {
            let mut bed = Bed::new(shape, "", 8192);
            bed.puts("foo", 5);
            let first = bed.fs.calls().len();
            bed.fs.inject(Fault::FailCall {
                number: first + number,
                kind: std::io::ErrorKind::StorageFull,
                written: None,
            });
            let erased = bed.writer().erase(3);
            let is_there = bed.reader().get(3).is_ok();
            if erased == Ok(true) {
                assert!(number > 0 && !is_there);
                break;
            }
            assert!(matches!(
                erased,
                Err(RemoveError::Fault(WriterFault::Latched(_)))
            ));
            // What readers see and what a restart finds is the same; the reference says "deleted" and counts it.
            bed.kill_without_flush();
            assert_eq!(bed.reader().get(3).is_ok(), is_there, "call {number}");
            let extensions = bed.names().into_iter().filter_map(|path| {
                path.extension()
                    .map(|extension| extension.to_string_lossy().into_owned())
            });
            assert!(extensions.into_iter().all(|extension| extension != "tmp"));
            bed.finish();
        }
    }
}

#[test]
fn e_074_e_076_erasing_does_not_hang_on_what_is_in_memory() {
    every_shape("", 4 * 44, |bed| {
        bed.puts("foo", 10);
        bed.reopen();
        // Nothing was read yet, neither of a full block nor of the last.
        bed.erase([1]);
        assert_eq!(bed.reader().get(2).unwrap().seq, 2);
        bed.reopen();
        bed.erase([10]);
        assert_eq!(bed.reader().get(9).unwrap().seq, 9);
        assert_eq!(bed.bounds(), (2, 10, 8));
    });
}

#[test]
fn e_075_blocks_stay_compressed_as_they_were() {
    let shape = Shape {
        cipher: None,
        compresses: true,
    };
    let mut bed = Bed::new(shape, "", 20 * 44);
    bed.puts("foo", 50);
    bed.tidy();
    bed.erase([5, 45]);
    let files = bed.block_files();
    let kinds: Vec<bool> = files
        .values()
        .map(|file| file.starts_with(b"cmp"))
        .collect();
    assert_eq!(kinds, [true, true, false]);
    bed.kill();
    assert_eq!(bed.bounds(), (1, 50, 48));
    bed.erase([25, 50]);
    let left = bed.block_files();
    let kinds: Vec<bool> = left.values().map(|file| file.starts_with(b"cmp")).collect();
    assert_eq!(kinds, [true, true, false]);
    assert!(bed.file("msgs/1.blk.tmp").is_none() && Path::new(DIR).is_absolute());
    bed.finish();
}

#[test]
fn e_077_a_subject_is_gone_with_its_erased_message() {
    every_shape("", 8192, |bed| {
        for subject in ["foo.1", "foo.2", "foo.3"] {
            bed.puts(subject, 1);
        }
        bed.erase([1]);
        let subjects: Vec<Vec<u8>> = bed.reader().subject_totals(b"foo.*").into_keys().collect();
        assert_eq!(subjects, [b"foo.2", b"foo.3"]);
        bed.reopen();
        assert_eq!(bed.reader().summary().subject_count, 2);
    });
}
