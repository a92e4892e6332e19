//! Storing and loading.

use jetsam::crypto::Cipher;
use jetsam::living::Idle;
use jetsam::store::{Level, OpenError, ReadError, Store};

use super::bed::{Bed, DIR, Shape, every_shape, plain, upwards};

#[test]
fn e_001_messages_get_sequences_times_and_bytes() {
    every_shape("", 8192, |bed| {
        let before = bed.now_ns;
        for seq in 1..=5 {
            assert_eq!(bed.put("foo", "Hello World"), seq);
        }
        assert_eq!(
            (bed.bounds(), bed.bytes()),
            ((1, 5, 5), 5 * (22 + 3 + 11 + 8))
        );
        let message = bed.reader().get(2).unwrap();
        assert_eq!(
            (message.subject(), message.body()),
            (&b"foo"[..], &b"Hello World"[..])
        );
        assert!(message.timestamp_ns > before && message.timestamp_ns <= bed.now_ns);
        assert_eq!(
            bed.reader().get(7).unwrap_err(),
            ReadError::Beyond { last_seq: 5 }
        );
        // Sequence 0 is no message; the reference takes it for the first one.
        assert_eq!(bed.reader().get(0).unwrap_err(), ReadError::NotFound);
    });
}

#[test]
fn e_002_headers_count_and_come_back() {
    every_shape("", 8192, |bed| {
        let headers = "NATS/1.0\r\nname:derek\r\n\r\n";
        let seq = bed.try_put("foo", headers, b"Hello World").unwrap();
        assert_eq!(bed.bytes(), (22 + 3 + 4 + headers.len() + 11 + 8) as u64);
        let message = bed.reader().get(seq).unwrap();
        assert_eq!(
            (message.headers(), message.body()),
            (headers.as_bytes(), &b"Hello World"[..])
        );
        bed.erase([seq]);
        assert_eq!(bed.bounds(), (2, 1, 0));
    });
}

#[test]
fn e_003_what_makes_no_store_is_refused_and_a_closed_one_takes_nothing() {
    let bed = Bed::new(Shape::PLAIN, "", 8192);
    for name in ["", "a b", "a.b", "a/b"] {
        let mut options = bed.options();
        options.config = options.config.with_name(name);
        let fs = jetsam::env::memory::MemoryFileSystem::new();
        let opened = Store::open(
            std::sync::Arc::new(fs.clone()),
            std::sync::Arc::new(jetsam::env::memory::SeededEntropy::new(1)),
            &Idle::declared(),
            std::path::Path::new(DIR),
            &options,
        );
        assert!(matches!(opened, Err(OpenError::Config(_))), "{name:?}");
        assert!(fs.files().is_empty());
    }
    every_shape("", 8192, |bed| {
        bed.puts("foo", 100);
        let bytes = bed.bytes();
        bed.reopen();
        bed.puts("foo", 100);
        assert_eq!((bed.bounds(), bed.bytes()), ((1, 200, 200), 2 * bytes));
    });
    // The writer of a store that was dropped goes on; that of a closed one is used up by closing, so another's readers say it.
    let mut bed = Bed::new(Shape::PLAIN, "", 8192);
    bed.puts("foo", 1);
    let reader = bed.reader();
    bed.reopen();
    assert_eq!(reader.get(1).unwrap_err(), ReadError::Closed);
}

#[test]
fn e_004_times_are_the_callers() {
    // The reference takes its clock's, and no two are the same; here the caller's are kept as they are.
    plain("", 8192, |bed| {
        let times: Vec<i64> = (0..10)
            .map(|_| {
                let seq = bed.put("foo", "x");
                bed.reader().get(seq).unwrap().timestamp_ns
            })
            .collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    });
}

#[test]
fn e_005_each_message_loads_right_after_it_was_stored() {
    every_shape("", 8192, |bed| {
        for seq in 1..=100 {
            bed.put("foo", format!("{seq}"));
            assert_eq!(
                bed.reader().get(seq).unwrap().body(),
                seq.to_string().as_bytes()
            );
        }
    });
    // Also where nothing was handed to the operating system yet.
    plain("", 8192, |bed| {
        bed.writer().set_level(Level::Buffered);
        for seq in 1..=100 {
            bed.put("foo", format!("{seq}"));
            assert_eq!(
                bed.reader().get(seq).unwrap().body(),
                seq.to_string().as_bytes()
            );
        }
        assert_eq!(bed.block_files()[&1].len(), 0);
    });
}

#[test]
fn e_006_blocks_of_four_records_hold_twenty_in_five() {
    every_shape("", 4 * 44, |bed| {
        bed.puts("foo", 20);
        assert_eq!(bed.blocks().len(), 5);
        assert!(bed.blocks().iter().all(|block| block.message_count == 4));
        assert_eq!(bed.seqs(), (1..=20).collect::<Vec<_>>());
    });
}

#[test]
fn e_007_e_009_a_block_is_taken_up_again_where_it_ended() {
    every_shape("", 8192, |bed| {
        for round in 0..5 {
            bed.puts("foo", 7);
            match round % 2 {
                0 => bed.kill(),
                _ => bed.reopen(),
            }
            assert_eq!(bed.reader().get(1).unwrap().body(), b"Hello World");
        }
        assert_eq!((bed.bounds(), bed.blocks().len()), ((1, 35, 35), 1));
    });
}

#[test]
fn e_008_readers_of_the_last_block_see_whole_messages_while_it_is_written() {
    let mut bed = Bed::new(Shape::PLAIN, "", 4096);
    bed.puts("foo", 1);
    let reader = bed.reader();
    let reading = std::thread::spawn(move || {
        let mut last = 0;
        while last < 2000 {
            let message = reader.last(b"foo").unwrap();
            assert_eq!(message.body(), b"Hello World");
            assert!(message.seq >= last);
            last = message.seq;
            assert_eq!(reader.get(1).unwrap().seq, 1);
        }
    });
    for _ in 1..2000 {
        bed.puts("foo", 1);
    }
    reading.join().unwrap();
    bed.finish();
}

#[test]
fn e_011_e_018_what_is_not_there_is_not_found() {
    every_shape("", 8192, |bed| {
        assert!(matches!(
            bed.reader().get(1),
            Err(ReadError::Beyond { last_seq: 0 })
        ));
        bed.puts("foo.bar", 2);
        let subject = |bed: &Bed, seq| bed.reader().get(seq).map(|found| found.subject().to_vec());
        assert_eq!(subject(bed, 0), Err(ReadError::NotFound));
        assert_eq!(subject(bed, 1).unwrap(), b"foo.bar");
        assert_eq!(subject(bed, 3), Err(ReadError::Beyond { last_seq: 2 }));
        bed.remove([1, 2]);
        assert_eq!(subject(bed, 1), Err(ReadError::NotFound));
        assert_eq!(
            bed.reader().last(b"foo.bar").unwrap_err(),
            ReadError::NotFound
        );
    });
}

#[test]
fn e_012_skipped_sequences_answer_deleted() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 1);
        for _ in 0..10 {
            bed.skip(1);
        }
        bed.puts("foo", 1);
        assert_eq!(bed.bounds(), (1, 12, 2));
        for seq in 2..=11 {
            assert_eq!(
                bed.reader().get(seq).unwrap_err(),
                ReadError::Deleted { seq }
            );
        }
        assert_eq!(bed.reader().get(12).unwrap().subject(), b"foo");
    });
}

#[test]
fn e_013_holes_in_a_block_are_read_back() {
    every_shape("", 8192, |bed| {
        bed.skip(1);
        bed.puts("foo", 1);
        bed.skip(1);
        bed.puts("foo", 1);
        bed.kill();
        let blocks = bed.blocks();
        assert_eq!((blocks[0].first.seq, blocks[0].last.seq), (2, 4));
        assert_eq!(bed.deleted(), [3]);
        assert_eq!(bed.reader().get(1).unwrap_err(), ReadError::NotFound);
        assert_eq!(
            bed.reader().get(3).unwrap_err(),
            ReadError::Deleted { seq: 3 }
        );
    });
}

#[test]
fn e_016_a_first_record_whose_length_looks_like_compression_is_read() {
    // The four bytes of such a length are `cmp` and a number of an algorithm.
    for length in [7_368_035_usize, 24_145_251] {
        let bed = &mut Bed::new(Shape::PLAIN, "", 40_000_000);
        let body = vec![b'x'; length - 22 - 3 - 8];
        bed.put("foo", &body);
        bed.put("foo", "behind");
        assert_eq!(&bed.block_files()[&1][..3], b"cmp");
        bed.kill();
        assert_eq!(bed.reader().get(1).unwrap().body().len(), body.len());
        assert_eq!(bed.reader().get(2).unwrap().body(), b"behind");
        bed.put("foo", "more");
        bed.reopen();
        assert_eq!(bed.bounds(), (1, 3, 3));
    }
}

#[test]
fn e_017_a_damaged_byte_in_a_compressed_block_is_told_and_not_taken_for_plain() {
    let shape = Shape {
        cipher: None,
        compresses: true,
    };
    let mut bed = Bed::new(shape, "", 70_000);
    for seq in 0..2000 {
        bed.put("foo", format!("body {seq}"));
    }
    bed.tidy();
    let block = bed.block_files().remove(&1).unwrap();
    assert_eq!(&block[..3], b"cmp");
    bed.reopen();
    let mut damaged = block;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x10;
    bed.fs.seed_file(format!("{DIR}/msgs/1.blk"), damaged);
    let failed = bed.reader().get(1000).unwrap_err();
    assert!(
        matches!(
            failed,
            ReadError::Block { block: 1, .. } | ReadError::Corrupt { block: 1, .. }
        ),
        "{failed:?}"
    );
    let last = bed.bounds().1;
    assert_eq!(bed.reader().get(last).unwrap().seq, last);
}

#[test]
fn e_019_e_177_what_was_read_stays_what_it_was() {
    every_shape("", 100, |bed| {
        bed.put("foo.1", "one");
        let messages: Vec<_> = [bed.reader().get(1).unwrap()].into();
        for nth in 2..50 {
            bed.put(&format!("foo.{nth}"), "another");
        }
        bed.erase([1]);
        bed.purge("", 0, 0);
        bed.tidy();
        assert_eq!(
            (messages[0].subject(), messages[0].body()),
            (&b"foo.1"[..], &b"one"[..])
        );
    });
}

#[test]
fn e_020_only_subjects_that_were_stored_are_listed_after_a_restart() {
    every_shape("", 1000, |bed| {
        let mut stored = std::collections::BTreeMap::new();
        let mut random = jetsam::testing::Random::derived(20, &[]);
        for _ in 0..400 {
            let subject = format!("foo.{:x}", random.below(200));
            bed.put(&subject, "x");
            *stored.entry(subject.into_bytes()).or_insert(0) += 1;
        }
        bed.reopen();
        assert_eq!(bed.reader().subject_totals(b">"), stored);
        bed.kill();
        assert_eq!(bed.reader().subject_totals(b"foo.*"), stored);
    });
}

#[test]
fn e_021_e_022_what_was_encrypted_is_read_with_the_key() {
    for cipher in [Cipher::ChaCha, Cipher::Aes] {
        let shape = Shape {
            cipher: Some(cipher),
            compresses: false,
        };
        let mut bed = Bed::new(shape, "", 1000);
        for nth in 0..100 {
            bed.put("foo", format!("the secret {nth}"));
        }
        for (path, bytes) in bed.fs.files() {
            assert!(
                !bytes.windows(10).any(|part| part == b"the secret"),
                "{}",
                path.display()
            );
        }
        bed.reopen();
        assert_eq!(bed.reader().get(57).unwrap().body(), b"the secret 56");
        bed.finish();
    }
    // A plain store is not encrypted by being opened with a key: its blocks stay as they are, and new ones are sealed.
    let mut bed = Bed::new(Shape::PLAIN, "", 1000);
    bed.puts("foo", 3);
    bed.shape.cipher = Some(Cipher::ChaCha);
    bed.reopen();
    bed.puts("foo", 3);
    bed.kill();
    assert_eq!(bed.seqs(), [1, 2, 3, 4, 5, 6]);
    bed.finish();
}

#[test]
fn e_023_without_the_key_it_does_not_open_and_stays_as_it_is() {
    for shape in Shape::all().filter(|shape| shape.cipher.is_some()) {
        let mut bed = Bed::new(shape, "", 1000);
        bed.puts("foo", 10);
        bed.reopen();
        let fs = bed.left();
        let before = fs.files();
        let mut options = bed.options();
        options.keys = Default::default();
        let opened = Store::open(
            std::sync::Arc::new(fs.clone()),
            std::sync::Arc::new(jetsam::env::memory::SeededEntropy::new(1)),
            &Idle::declared(),
            std::path::Path::new(DIR),
            &options,
        );
        assert!(opened.is_err());
        assert_eq!(fs.files(), before);
    }
}

#[test]
fn e_024_compacting_and_writing_in_turn_keeps_sequences() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 5);
        assert_eq!(bed.compact(5), 4);
        bed.puts("foo", 5);
        assert_eq!(bed.compact(10), 5);
        assert_eq!(bed.bounds(), (10, 10, 1));
    });
}

#[test]
fn e_025_new_messages_in_a_block_that_was_emptied_are_read_back() {
    every_shape(r#","max_age":1000000000"#, 8192, |bed| {
        bed.puts("foo", 5);
        bed.now_ns += 5_000_000_000;
        let now_ns = bed.now_ns;
        assert_eq!(bed.writer().maintain(now_ns).unwrap().expired_count, 5);
        bed.puts("foo", 5);
        bed.kill();
        assert_eq!(upwards(&bed.reader(), &[], 0), [6, 7, 8, 9, 10]);
    });
}

#[test]
fn e_026_a_key_is_durable_before_its_block_has_a_byte() {
    // The reference syncs it with its next pass in the background.
    for shape in Shape::all().filter(|shape| shape.cipher.is_some()) {
        let mut bed = Bed::new(shape, "", 100);
        bed.puts("foo", 10);
        let image = bed.fs.crash_image(jetsam::env::memory::Unsynced::Dropped);
        let names: Vec<_> = image.files().into_keys().collect();
        for block in names
            .iter()
            .filter(|path| path.extension().is_some_and(|ext| ext == "blk"))
        {
            assert!(
                names.contains(&block.with_extension("key")),
                "{}",
                block.display()
            );
        }
        bed.finish();
    }
}

#[test]
fn e_027_a_stream_may_begin_at_a_thousand() {
    every_shape(r#","first_seq":1000"#, 8192, |bed| {
        bed.puts("foo", 2);
        assert_eq!(bed.bounds(), (1000, 1001, 2));
    });
}
