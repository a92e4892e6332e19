//! The process killed, or the power cut, at every call.

use super::*;
use crate::env::memory::Unsynced;

/// Mixtures of what was not synced, for each place of a crash.
const MIXTURES: u64 = 6;

/// What a run had been promised when it stopped.
#[derive(Debug, Default)]
struct Promised {
    /// Whether making the consumer had returned.
    is_made: bool,
    /// Whether its configuration was asked to change, and whether that had returned.
    config_asked: bool,
    config_changed: bool,
    /// Every state that was to be written, in their order.
    states: Vec<ConsumerState>,
    /// How many of them survive the death of the process, and how many a power cut.
    written: usize,
    synced: usize,
}

/// A consumer's life: it is made, delivers, goes back, and every state is written at some level.
fn live(
    fs: &MemoryFileSystem,
    keys: KeyRing<'_>,
    promised: &mut Promised,
) -> Result<(), ConsumerError> {
    let mut consumer = Consumer::open(&place(fs, keys), NAME, Some(&config("explicit", "")), NOW)?;
    promised.is_made = true;
    promised.states.push(ConsumerState::default());
    (promised.written, promised.synced) = (1, 1);
    let levels = [
        Level::Written,
        Level::Synced,
        Level::Written,
        Level::Written,
    ];
    for (number, level) in (1..).zip(levels.into_iter().cycle().take(10)) {
        match number {
            4 => consumer.reset(5)?,
            6 => consumer.force_update(lively(30))?,
            7 => {
                promised.config_asked = true;
                consumer.update_config(&config("all", ""))?;
                promised.config_changed = true;
            }
            _ => {
                let at = consumer.state().delivered;
                let next = pair(at.consumer + 1, at.stream + 2);
                consumer.deliver(next, 1, NOW + number * SECOND)?;
                consumer.deliver(pair(next.consumer + 1, next.stream), 2, NOW)?;
            }
        }
        promised.states.push(consumer.state().clone());
        consumer.flush(level, NOW)?;
        promised.written = promised.states.len();
        if level == Level::Synced {
            promised.synced = promised.states.len();
        }
    }
    consumer.close(Level::Synced, NOW)?;
    promised.synced = promised.states.len();
    Ok(())
}

/// What is found after a crash, held against what was promised.
fn check(image: &MemoryFileSystem, keys: KeyRing<'_>, promised: &Promised, survive: usize) {
    let found = match reopen(image, keys) {
        Ok(found) => found,
        Err(ConsumerError::Missing { .. }) if !promised.is_made => {
            let made = create(image, keys, &config("explicit", ""));
            assert_eq!(made.state(), &ConsumerState::default());
            return;
        }
        Err(error) => panic!("{error}, {promised:?}"),
    };
    if promised.is_made {
        let may_be = &promised.states[survive - 1..];
        assert!(
            may_be.contains(found.state()),
            "{:?}, {promised:?}",
            found.state()
        );
    }
    let changed = found.config().ack_policy == AckPolicy::All;
    assert!(changed || !promised.config_changed);
    assert!(!changed || promised.config_asked);
    let read = as_read(image, keys);
    let has_file = image.files().contains_key(&path("o.dat"));
    assert!(read.is_whole() || !has_file, "{read:?}");
    let left: Vec<PathBuf> = image.files().into_keys().collect();
    assert!(
        left.iter()
            .all(|file| file.extension() != Some("tmp".as_ref())),
        "{left:?}"
    );
}

#[test]
fn no_crash_takes_back_what_was_promised() {
    let key = server_key("key");
    for keys in [no_keys(), ring(&key, None, Cipher::Aes)] {
        let whole = disk();
        live(&whole, keys, &mut Promised::default()).unwrap();
        let call_count = whole.calls().len();
        assert!(call_count > 40);
        for number in 0..=call_count {
            for written in [None, Some(0), Some(9)] {
                let fs = disk();
                fs.inject(Fault::Crash { number, written });
                let mut promised = Promised::default();
                let ended = live(&fs, keys, &mut promised);
                assert_eq!(ended.is_ok(), number == call_count);
                let killed = fs.crash_image(Unsynced::Kept);
                check(&killed, keys, &promised, promised.written);
                for image in fs.crash_images(number as u64, MIXTURES) {
                    check(&image, keys, &promised, promised.synced);
                }
            }
        }
    }
}

#[test]
fn a_call_that_fails_alone_is_made_up_for_by_the_next() {
    let whole = disk();
    live(&whole, no_keys(), &mut Promised::default()).unwrap();
    for number in 0..whole.calls().len() {
        let fs = disk();
        fs.inject(Fault::FailCall {
            number,
            kind: std::io::ErrorKind::StorageFull,
            written: Some(3),
        });
        let mut promised = Promised::default();
        live(&fs, no_keys(), &mut promised).unwrap_err();
        check(&fs.fork(), no_keys(), &promised, promised.written);
        // The directory is as good as new.
        let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
        consumer.force_update(lively(30)).unwrap();
        consumer.close(Level::Synced, NOW).unwrap();
        let dropped = fs.crash_image(Unsynced::Dropped);
        assert_eq!(reopen(&dropped, no_keys()).unwrap().state(), &lively(30));
    }
}

#[test]
fn written_survives_a_kill_alone_and_synced_a_power_cut() {
    let fs = disk();
    let mut consumer = create(&fs, no_keys(), &config("explicit", ""));
    let after = |unsynced| {
        let found = reopen(&fs.crash_image(unsynced), no_keys()).unwrap();
        found.state().delivered.stream
    };
    for (sequence, level, killed, cut) in [
        (1, Level::Buffered, 0, 0),
        (2, Level::Written, 2, 0),
        (3, Level::Synced, 3, 3),
        (4, Level::Written, 4, 3),
        (5, Level::Buffered, 4, 3),
    ] {
        consumer.set_starting(sequence).unwrap();
        consumer.flush(level, NOW).unwrap();
        assert_eq!(after(Unsynced::Kept), killed, "{level}");
        assert_eq!(after(Unsynced::Dropped), cut, "{level}");
    }
    // What another wrote, and did not sync, is made durable, its directories included.
    let files = fs.files();
    let other = disk();
    other
        .create_dir_all(Path::new("/s/obs/worker"), 0o700)
        .unwrap();
    for (file, bytes) in files {
        other.write_in_place(&file, &bytes).unwrap();
    }
    let mut consumer = reopen(&other, no_keys()).unwrap();
    assert_eq!(consumer.level(), Level::Written);
    consumer.flush(Level::Synced, NOW).unwrap();
    let dropped = other.crash_image(Unsynced::Dropped);
    assert_eq!(dropped.files(), other.files());
    assert_eq!(
        reopen(&dropped, no_keys()).unwrap().state(),
        consumer.state()
    );
}

#[test]
fn a_crash_while_the_encryption_changes_loses_nothing() {
    let (one, two) = (server_key("one"), server_key("two"));
    for (from, to) in moves(&one, &two) {
        let before = stored(from);
        let whole = before.fork();
        reopen(&whole, to).unwrap();
        for number in 0..whole.calls().len() {
            let fs = before.fork();
            fs.inject(Fault::Crash {
                number,
                written: Some(7),
            });
            reopen(&fs, to).unwrap_err();
            for image in fs.crash_images(number as u64, MIXTURES) {
                let found = reopen(&image, to).unwrap();
                assert_eq!(found.state(), &lively(9), "call {number}");
                assert_eq!(found.config().unknown_fields, ["novel"]);
                let read = as_read(&image, to);
                assert!(read.is_whole() && read.key.is_some_and(|key| !key.converting));
            }
        }
    }
}

#[test]
fn a_consumer_is_deleted_whole_or_not_at_all() {
    let before = stored(no_keys());
    let whole = before.fork();
    reopen(&whole, no_keys()).unwrap().delete().unwrap();
    for number in 0..=whole.calls().len() {
        let fs = before.fork();
        fs.inject(Fault::Crash {
            number,
            written: None,
        });
        let done = reopen(&fs, no_keys()).unwrap().delete();
        for image in fs.crash_images(number as u64, MIXTURES) {
            match reopen(&image, no_keys()) {
                Ok(found) => assert_eq!((done.is_err(), found.state()), (true, &lively(9))),
                Err(ConsumerError::Missing { .. }) => {
                    let again = create(&image, no_keys(), &config("none", ""));
                    assert!(!again.has_state());
                    assert_eq!(image.files().len(), 2, "meta.inf and meta.sum");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
