//! Failures of the disk, and damage.

use std::io::ErrorKind;
use std::path::Path;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::memory::{Fault, MemoryFileSystem};
use jetsam::format::record::NewRecord;
use jetsam::store::{AppendError, ReadError, RemoveError, TidyBudget, WriterFault};

use super::bed::{Bed, DIR, NAME, Shape, bounds, every_shape, upwards};

/// The next call to the disk fails.
fn fail_next(bed: &Bed, kind: ErrorKind, written: Option<usize>) {
    let number = bed.fs.calls().len();
    bed.fs.inject(Fault::FailCall {
        number,
        kind,
        written,
    });
}

/// The device does not give a block, the first so many times it is read.
fn fail_reads(fs: &MemoryFileSystem, block: u32) {
    for after_reads in 0..100 {
        let path = Path::new(DIR).join(format!("msgs/{block}.blk"));
        fs.inject(Fault::FailRead {
            path,
            after_reads,
            kind: ErrorKind::Other,
        });
    }
}

/// What is answered once the device gives everything again.
fn in_the_end<T>(mut answer: impl FnMut() -> Result<T, ReadError>) -> T {
    for _ in 0..200 {
        match answer() {
            Err(ReadError::Block { .. } | ReadError::Corrupt { .. }) => {}
            answer => return answer.unwrap(),
        }
    }
    panic!("a passing fault is remembered");
}

fn latched_kind<T: std::fmt::Debug>(answer: Result<T, AppendError>) -> ErrorKind {
    match answer {
        Err(AppendError::Fault(WriterFault::Latched(cause))) => cause.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn e_028_e_029_a_full_disk_ends_writing_at_the_last_good_message() {
    for shape in Shape::all() {
        for written in [None, Some(0), Some(1), Some(21), Some(43)] {
            let mut bed = Bed::new(shape, "", 4 * 44);
            bed.puts("foo", 6);
            let (book, subjects) = (bed.book(), bed.reader().subjects(b">").unwrap());
            fail_next(&bed, ErrorKind::StorageFull, written);
            assert_eq!(
                latched_kind(bed.try_put("foo", "", b"Hello World")),
                ErrorKind::StorageFull
            );
            // There is room again, but what was handed over is in doubt.
            assert_eq!(
                latched_kind(bed.try_put("foo", "", b"Hello World")),
                ErrorKind::StorageFull
            );
            assert_eq!(bed.reader().get(6).unwrap().body(), b"Hello World");
            let store = bed.try_open(&bed.left()).unwrap();
            assert_eq!(bounds(&store.reader()), (1, 6, 6), "{shape:?} {written:?}");
            assert_eq!(store.reader().subjects(b">").unwrap(), subjects);
            drop(store);
            bed.fs = bed.left();
            bed.kill_without_flush();
            assert_eq!(bed.book(), book);
            bed.puts("foo", 1);
            bed.finish();
        }
    }
}

#[test]
fn e_030_e_031_what_cannot_be_read_does_not_end_writing() {
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 4 * 44);
        bed.puts("foo", 10);
        bed.reopen();
        fail_reads(&bed.fs, 1);
        let failed = bed.writer().remove(2);
        assert!(
            matches!(failed, Err(RemoveError::Fault(WriterFault::Read(_)))),
            "{failed:?}"
        );
        assert!(bed.writer().latched().is_none());
        // It was a passing fault, and nobody remembers it.
        assert_eq!(in_the_end(|| bed.reader().get(2)).seq, 2);
        bed.remove([2]);
        bed.puts("foo", 1);
        assert_eq!(bed.bounds(), (1, 11, 10));
        fail_next(&bed, ErrorKind::Other, Some(5));
        assert_eq!(
            latched_kind(bed.try_put("foo", "", b"Hello World")),
            ErrorKind::Other
        );
    }
}

#[test]
fn e_032_subjects_are_told_whole_or_not() {
    type Answer = fn(&Bed) -> Result<u64, ReadError>;
    let answers: [Answer; 6] = [
        |bed| Ok(bed.reader().subjects(b">")?[&b"foo"[..]].message_count),
        |bed| bed.reader().count(&[b"foo"], 2),
        |bed| bed.reader().count_subjects(&[b"foo"], 2),
        |bed| Ok(bed.reader().last_of_each(&[b">"], u64::MAX, None)?[0]),
        |bed| bed.reader().seq_at(i64::MAX),
        |bed| Ok(bed.reader().next(&[b"foo"], 5)?.seq),
    ];
    for (answer, expected) in answers.into_iter().zip([10, 9, 1, 10, 11, 5]) {
        let mut bed = Bed::new(Shape::PLAIN, "", 4 * 44);
        bed.puts("foo", 10);
        bed.reopen();
        fail_reads(&bed.fs, 2);
        let told = answer(&bed);
        assert!(
            matches!(told, Err(ReadError::Block { block: 2, .. })),
            "{told:?}"
        );
        assert_eq!(bed.reader().get(1).unwrap().seq, 1);
        assert_eq!(in_the_end(|| answer(&bed)), expected);
    }
}

/// Not a demand of the reference's: what the device did not give is not taken for gone by whoever writes a block anew.
#[test]
fn e_038_blocks_are_not_written_anew_from_half_of_them() {
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 4 * 44);
        bed.puts("foo", 10);
        bed.remove([1, 2, 3]);
        let book = bed.book();
        bed.reopen();
        fail_reads(&bed.fs, 1);
        let told = bed.writer().tidy(TidyBudget::default());
        assert!(matches!(told, Err(WriterFault::Read(_))), "{told:?}");
        assert!(bed.writer().erase(4).is_err());
        assert!(bed.writer().latched().is_none());
        assert_eq!(in_the_end(|| bed.reader().get(4)).seq, 4);
        assert_eq!(bed.book(), book);
        bed.finish();
    }
}

#[test]
fn e_033_a_file_system_that_may_only_be_read_is_told_by_storing() {
    let mut bed = Bed::new(Shape::PLAIN, "", 4 * 44);
    bed.puts("foo", 4);
    // The next message wants a new block.
    fail_next(&bed, ErrorKind::PermissionDenied, None);
    assert_eq!(
        latched_kind(bed.try_put("foo", "", b"Hello World")),
        ErrorKind::PermissionDenied
    );
    assert_eq!(bed.bounds(), (1, 4, 4));
}

#[test]
fn e_034_and_by_writing_the_index() {
    let bed = Bed::new(Shape::PLAIN, "", 4 * 44);
    let (fs, store) = (bed.fs.clone(), bed.take());
    let (store, mut writer) = store;
    let message = jetsam::store::NewMessage {
        subject: b"foo",
        ..Default::default()
    };
    writer.append(&message, super::bed::NOW_NS).unwrap();
    writer.sync().unwrap();
    let number = fs.calls().len();
    fs.inject(Fault::FailCall {
        number,
        kind: ErrorKind::PermissionDenied,
        written: None,
    });
    let closed = store.close(writer);
    assert!(
        matches!(&closed, Err(WriterFault::Latched(cause)) if cause.kind == ErrorKind::PermissionDenied),
        "{closed:?}"
    );
}

#[test]
fn e_035_e_036_e_037_limits_and_ages_that_take_blocks_while_they_are_read_end_nothing() {
    // One writer: what races with it are readers, which come upon blocks that go.
    for shape in Shape::all() {
        let more = r#","max_msgs_per_subject":1,"max_age":100000000"#;
        let mut bed = Bed::new(shape, more, 3 * 44);
        bed.puts("foo", 1);
        let reader = bed.reader();
        let reading = std::thread::spawn(move || {
            loop {
                match reader.last(b"foo.end") {
                    Ok(_) => return,
                    Err(ReadError::NotFound) => {}
                    Err(error) => panic!("{error}"),
                }
                for seq in upwards(&reader, &[], 0) {
                    match reader.get(seq) {
                        Ok(message) => assert_eq!(message.body(), b"Hello World"),
                        Err(ReadError::Deleted { .. } | ReadError::NotFound) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        for nth in 0..500 {
            bed.puts(&format!("foo.{}", nth % 7), 1);
            bed.now_ns += 2_000_000;
            if nth % 10 == 0 {
                let now_ns = bed.now_ns;
                bed.writer().maintain(now_ns).unwrap();
                bed.tidy();
            }
        }
        bed.puts("foo.end", 1);
        reading.join().unwrap();
        assert!(bed.writer().latched().is_none());
        bed.finish();
    }
}

#[test]
fn e_038_a_flipped_byte_costs_its_own_message_and_no_other() {
    let mut bed = Bed::new(Shape::PLAIN, "", 20 * 44);
    bed.puts("foo", 100);
    bed.reopen();
    let mut block = bed.block_files().remove(&2).unwrap();
    // In the body of the eleventh record of the second block, message 31.
    block[10 * 44 + 30] ^= 1;
    bed.fs.seed_file(format!("{DIR}/msgs/2.blk"), block);
    let mut lost = Vec::new();
    for seq in 1..=100 {
        match bed.reader().get(seq) {
            Ok(message) => assert_eq!(message.body(), b"Hello World"),
            Err(ReadError::Corrupt { seq, block: 2, .. }) => lost.push(seq),
            Err(error) => panic!("{seq}: {error}"),
        }
    }
    assert_eq!(lost, [31]);
    // Neither reading nor what is written afterwards changed the file: whoever opens it next judges it as it was.
    bed.puts("foo", 1);
    assert_eq!(bed.reader().get(101).unwrap().seq, 101);
    assert_eq!(bed.block_files()[&2].len(), 20 * 44);
}

#[test]
fn e_039_e_040_what_cannot_be_opened_is_left_as_it_is_and_opens_once_it_can_be_read() {
    let limits = [
        "",
        r#","max_msgs":2"#,
        r#","max_bytes":88"#,
        r#","max_msgs_per_subject":1"#,
        r#","max_age":100000000"#,
    ];
    for shape in Shape::all() {
        for more in limits {
            let mut bed = Bed::new(shape, "", 2 * 44);
            bed.puts("foo", 7);
            bed.more = more.to_owned();
            bed.configure(more);
            bed.kill();
            let left = bed.left();
            let first = bed.block_files().into_keys().next().unwrap();
            let files = left.files();
            fail_reads(&left, first);
            assert!(bed.try_open(&left).is_err(), "{more}");
            assert_eq!(left.files(), files, "{more}");
            let repaired = left.fork();
            assert_eq!(bounds(&bed.try_open(&repaired).unwrap().reader()).1, 7);
        }
    }
}

/// A stream whose only block holds `content`.
fn holding(content: &[u8]) -> MemoryFileSystem {
    let bed = Bed::new(Shape::PLAIN, "", 8192);
    let fs = bed.left();
    drop(bed);
    fs.seed_file(format!("{DIR}/msgs/1.blk"), content);
    fs
}

fn message(sequence: u64) -> NewRecord<'static> {
    NewRecord::Message {
        sequence,
        timestamp_ns: super::bed::NOW_NS + sequence as i64,
        subject: b"foo",
        headers: b"",
        body: b"Hello World",
    }
}

#[test]
fn e_014_a_record_below_the_one_before_is_passed_over() {
    let mut block = BlockBuilder::new(NAME.as_bytes(), 1);
    for seq in [1, 3, 2, 3, 4, 4, 5, 1, 7] {
        block.push(&message(seq)).unwrap();
    }
    let fs = holding(block.content());
    let mut bed = Bed::on(fs, Shape::PLAIN, "", 8192);
    assert_eq!(bed.bounds(), (1, 7, 5));
    assert_eq!(bed.seqs(), [1, 3, 4, 5, 7]);
    assert_eq!(bed.deleted(), [2, 6]);
    bed.remove([4]);
    bed.puts("foo", 1);
    bed.finish();
}

#[test]
fn e_015_a_record_too_short_for_headers_that_says_it_has_some_is_damage() {
    let mut block = BlockBuilder::new(NAME.as_bytes(), 1);
    block.push(&message(1)).unwrap();
    let end = block.content().len();
    block
        .push(&NewRecord::Skip {
            sequence: 2,
            timestamp_ns: 1,
        })
        .unwrap();
    let mut content = block.content().to_vec();
    content[end + 3] |= 0x80;
    let fs = holding(&content);
    let bed = Bed::new(Shape::PLAIN, "", 8192);
    let options = jetsam::store::StoreOptions {
        accept_loss: true,
        ..bed.options()
    };
    let store = bed.try_open_with(&fs, &options).unwrap();
    assert_eq!(bounds(&store.reader()), (1, 1, 1));
    let mut writer = store.writer().unwrap();
    let next = jetsam::store::NewMessage {
        subject: b"foo",
        ..Default::default()
    };
    assert_eq!(writer.append(&next, super::bed::NOW_NS).unwrap().seq, 2);
}

#[test]
fn e_052_a_block_that_is_gone_with_the_index_leaves_an_empty_stream() {
    every_shape("", 8192, |bed| {
        bed.puts("foo", 3);
        let left = bed.left();
        for end in ["blk", "key"] {
            let _ = jetsam::env::FileSystem::remove_file(
                &left,
                &Path::new(DIR).join(format!("msgs/1.{end}")),
            );
        }
        let store = bed.try_open(&left).unwrap();
        assert_eq!(store.reader().summary().message_count, 0);
    });
}

#[test]
fn e_054_of_a_block_that_is_missing_in_the_middle_nothing_is_found() {
    let mut bed = Bed::new(Shape::PLAIN, "", 2 * 44);
    bed.puts("foo", 6);
    bed.reopen();
    let with_index = {
        let left = bed.fs.fork();
        jetsam::env::FileSystem::remove_file(&left, &Path::new(DIR).join("msgs/2.blk")).unwrap();
        left
    };
    let options = jetsam::store::StoreOptions {
        accept_loss: true,
        ..bed.options()
    };
    let without = with_index.fork();
    jetsam::env::FileSystem::remove_file(&without, &Path::new(DIR).join("msgs/index.db")).unwrap();
    for left in [with_index, without] {
        let store = bed.try_open_with(&left, &options).unwrap();
        assert_eq!(upwards(&store.reader(), &[], 0), [1, 2, 5, 6]);
        assert!(store.reader().get(3).is_err() && store.reader().get(4).is_err());
        assert_eq!(store.reader().deleted().iter().collect::<Vec<_>>(), [3, 4]);
    }
}
