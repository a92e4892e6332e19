//! The index, syncs, configurations, archives, ends.

use std::path::Path;
use std::sync::Arc;

use jetsam::env::FileSystem;
use jetsam::env::memory::{MemoryFileSystem, SeededEntropy, Unsynced};
use jetsam::format::checksum::{HashKey, hex16};
use jetsam::format::meta::StreamMeta;
use jetsam::living::Idle;
use jetsam::store::{Level, Store, Watermark};

use super::bed::{Bed, DIR, NAME, Shape, bounds, config_of, every_shape};

#[test]
fn e_204_an_index_that_is_behind_the_blocks_leads_to_the_same_state() {
    let ways: [fn(&mut Bed); 8] = [
        |bed| bed.puts("foo", 1),
        |bed| bed.puts("foo", 40),
        |bed| bed.remove([5]),
        |bed| bed.remove((1..=20).chain([30])),
        |bed| bed.skip(7),
        |bed| assert_eq!(bed.purge("foo", 15, 0), 14),
        |bed| assert_eq!(bed.compact(20), 19),
        |bed| assert_eq!(bed.truncate(12), 18),
    ];
    for way in ways {
        every_shape("", 400, |bed| {
            bed.puts("foo", 30);
            bed.reopen();
            let index = bed.file("msgs/index.db").expect("closing wrote an index");
            way(bed);
            let (book, seqs) = (bed.book(), bed.seqs());
            // Killed, with what index the engine left; it takes it away before files change under it.
            let left = bed.fs.fork();
            let _ =
                jetsam::env::FileSystem::remove_file(&left, &Path::new(DIR).join(".jetsam.lock"));
            let found =
                jetsam::env::ReadFiles::read(&left, &Path::new(DIR).join("msgs/index.db"), 1 << 20);
            assert!(found.is_err() || found == Ok(index));
            let store = bed.try_open(&left).unwrap();
            assert_eq!(super::bed::upwards(&store.reader(), &[], 0), seqs);
            assert_eq!(bounds(&store.reader()), bed.bounds());
            drop(store);
            assert_eq!(bed.book(), book);
        });
    }
}

#[test]
fn e_205_e_206_many_subjects_are_in_the_index_and_a_lost_one_is_written_again() {
    every_shape("", 60_000, |bed| {
        for nth in 0..3000 {
            bed.put(&format!("foo.{nth}.some.more.tokens"), "");
        }
        bed.reopen();
        assert!(bed.file("msgs/index.db").unwrap().len() > 3000 * 20);
        assert_eq!(bed.reader().summary().subject_count, 3000);
        bed.fs
            .remove_file(&Path::new(DIR).join("msgs/index.db"))
            .unwrap();
        bed.puts("foo", 1);
        bed.reopen();
        assert!(bed.file("msgs/index.db").is_some());
        // Totals add up over blocks; `check` at the end of this test holds that.
        assert_eq!(bed.bounds(), (1, 3001, 3001));
    });
}

#[test]
fn e_207_e_208_what_a_level_promises_waits_for_no_pass() {
    let watermark = |bed: &mut Bed| bed.writer().watermark();
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 400);
        bed.writer().set_level(Level::Buffered);
        bed.puts("foo", 20);
        let held = |unsynced, bed: &Bed| {
            let image = bed.fs.crash_image(unsynced);
            bounds(&bed.try_open(&image).unwrap().reader()).2
        };
        assert_eq!(watermark(&mut bed).synced_seq, 0);
        bed.writer().flush().unwrap();
        assert_eq!(
            watermark(&mut bed),
            Watermark {
                written_seq: 20,
                synced_seq: 0
            }
        );
        assert_eq!(held(Unsynced::Kept, &bed), 20);
        bed.writer().sync().unwrap();
        assert_eq!(
            watermark(&mut bed),
            Watermark {
                written_seq: 20,
                synced_seq: 20
            }
        );
        assert_eq!(held(Unsynced::Dropped, &bed), 20);
        bed.writer().set_level(Level::Synced);
        for count in 21..=40 {
            bed.puts("foo", 1);
            assert_eq!(watermark(&mut bed).synced_seq, count);
            assert_eq!(held(Unsynced::Dropped, &bed), count);
        }
        // Tidying is the pass that the reference does in the background.
        bed.writer().set_level(Level::Buffered);
        bed.puts("foo", 3);
        bed.tidy();
        assert_eq!(held(Unsynced::Dropped, &bed), 43);
        bed.finish();
    }
}

#[test]
fn e_211_levels_change_between_two_calls() {
    every_shape("", 400, |bed| {
        for (level, written, synced) in [
            (Level::Buffered, 0, 0),
            (Level::Written, 2, 0),
            (Level::Synced, 3, 3),
            (Level::Buffered, 3, 3),
            (Level::Synced, 5, 5),
        ] {
            bed.writer().set_level(level);
            bed.puts("foo", 1);
            let found = bed.writer().watermark();
            assert_eq!(
                (found.written_seq, found.synced_seq),
                (written, synced),
                "{level}"
            );
        }
        let more = r#","max_msgs":4"#;
        bed.configure(more);
        assert_eq!(bed.bounds(), (2, 5, 4));
    });
}

#[test]
fn e_213_the_configuration_lies_there_with_its_sum() {
    for shape in Shape::all().filter(|shape| shape.cipher.is_none()) {
        let mut bed = Bed::new(shape, r#","max_msgs":10"#, 400);
        let check = |bed: &Bed, most: i64| {
            let meta = bed.file("meta.inf").unwrap();
            let found = StreamMeta::parse(&meta).unwrap();
            assert_eq!((found.name.as_str(), found.max_messages), (NAME, most));
            let sum = hex16(HashKey::for_stream(NAME.as_bytes()).hash64(&[&meta]));
            assert_eq!(bed.file("meta.sum").unwrap(), sum.as_bytes());
        };
        check(&bed, 10);
        bed.configure(r#","max_msgs":20"#);
        check(&bed, 20);
        bed.finish();
    }
    // Sealed where the stream is.
    for shape in Shape::all().filter(|shape| shape.cipher.is_some()) {
        let bed = Bed::new(shape, "", 400);
        assert!(StreamMeta::parse(&bed.file("meta.inf").unwrap()).is_err());
        assert!(bed.file("meta.key").is_some());
    }
}

fn archive(bed: &mut Bed) -> Vec<u8> {
    let (mut bytes, now_ns) = (Vec::new(), bed.now_ns);
    bed.writer().snapshot(&mut bytes, true, now_ns).unwrap();
    bytes
}

fn restored(bed: &Bed, bytes: &[u8]) -> Bed {
    let fs = MemoryFileSystem::new();
    fs.seed_dir("/data");
    let store = Store::restore(
        Arc::new(fs.clone()),
        Arc::new(SeededEntropy::new(9)),
        &Idle::declared(),
        Path::new(DIR),
        &mut &bytes[..],
        1 << 24,
        &bed.options(),
    )
    .unwrap();
    drop(store);
    let mut again = Bed::on(fs, bed.shape, &bed.more, bed.block_size);
    again.now_ns = bed.now_ns;
    again
}

#[test]
fn e_209_e_214_an_archive_restores_the_state_also_with_deletes_inside_and_with_none_left() {
    for shape in Shape::all() {
        let mut bed = Bed::new(shape, "", 600);
        for nth in 0..100 {
            bed.put_with(
                &format!("foo.{}", nth % 7),
                "A: b\r\n",
                format!("body {nth}"),
            );
        }
        let bytes = archive(&mut bed);
        let again = restored(&bed, &bytes);
        assert_eq!(again.book(), bed.book());
        again.finish();
        bed.remove((3..=97).filter(|seq| seq % 3 == 0));
        // The pass runs before and after, and changes nothing in it.
        bed.tidy();
        let (bytes, book) = (archive(&mut bed), bed.book());
        bed.tidy();
        bed.puts("foo", 3);
        let again = restored(&bed, &bytes);
        assert_eq!(again.book(), book);
        again.finish();
        bed.purge("", 0, 0);
        let bytes = archive(&mut bed);
        let again = restored(&bed, &bytes);
        assert_eq!((again.bounds(), again.book()), ((104, 103, 0), bed.book()));
        again.finish();
        bed.finish();
    }
}

/// An archive that nobody reads on is the caller's own writer that says so.
#[test]
fn e_214_an_archive_that_cannot_be_written_costs_nothing() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut bed = Bed::new(Shape::PLAIN, "", 600);
    for nth in 0..500_u64 {
        bed.put("foo", nth.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    }
    let (book, now_ns) = (bed.book(), bed.now_ns);
    for room in [0, 10, 1000] {
        assert!(
            bed.writer()
                .snapshot(&mut Full(room), false, now_ns)
                .is_err()
        );
    }
    assert!(bed.writer().latched().is_none());
    assert_eq!(bed.book(), book);
    let bytes = archive(&mut bed);
    let again = restored(&bed, &bytes);
    assert_eq!(again.book(), book);
    bed.finish();
}

#[test]
fn e_213_a_configuration_of_another_stream_does_not_make_this_one_another() {
    let mut bed = Bed::new(Shape::PLAIN, "", 400);
    bed.puts("foo", 3);
    let other = config_of(bed.shape, "").with_name("OTHER");
    bed.writer().update_config(&other).unwrap();
    assert_eq!(bed.store().config().name, NAME);
    bed.finish();
}
