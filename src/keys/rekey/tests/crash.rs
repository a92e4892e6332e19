//! The process dies, or power goes, at every single call.

use super::*;
use crate::env::memory::{Fault, Unsynced};
use crate::env::{IoError, Operation, ReadFiles};

/// Everything below the stream's directory is the old store or the new one, and nothing in between.
fn is_old_or_new(
    fs: &MemoryFileSystem,
    stream: &StreamDir,
    old: &Told,
    case: &str,
    target: &RekeyOptions,
) {
    if fs.metadata(&stream.dir).is_err() {
        return;
    }
    let is_new = {
        let work = survey(
            fs,
            stream,
            &Options {
                keys: keys_of(target),
                ..Options::new(NOW)
            },
        )
        .unwrap();
        match target.target {
            RekeyTarget::Plain => work.keys.is_empty(),
            RekeyTarget::Key { .. } => work.exit_code() == 0 && !work.keys.is_empty(),
        }
    };
    let keys = match is_new {
        true => keys_of(target),
        false => options_of(case).keys,
    };
    assert_eq!(told(fs, stream, keys), *old);
}

/// From plaintext and from each cipher to the others, uncompressed and compressed, streams with consumers and one with a
/// staged batch.
fn targets() -> [(&'static str, &'static str, RekeyOptions); 8] {
    let under = |cipher| to(Some(new_key()), Some(cipher));
    [
        ("plain-none", "ORDERS", under(Cipher::ChaCha)),
        ("plain-chacha", "ORDERS", under(Cipher::Aes)),
        ("plain-aes", "ORDERS", to(None, None)),
        ("s2-none", "ORDERS", under(Cipher::Aes)),
        ("s2-chacha", "ORDERS", under(Cipher::Aes)),
        ("s2-aes", "ORDERS", to(Some(new_key()), None)),
        ("s2-aes", "ORDERS", to(None, None)),
        ("plain-none", "BATCH", under(Cipher::ChaCha)),
    ]
}

/// Every disk that a death, or power going, at one of the calls of a rekeying can leave.
fn at_every_death(
    before: &MemoryFileSystem,
    stream: &StreamDir,
    options: &Options,
    target: &RekeyOptions,
    mut inspect: impl FnMut(MemoryFileSystem, &str),
) {
    let whole = before.fork();
    let outcome = run(&whole, stream, options, target).outcome;
    assert!(matches!(outcome, RekeyOutcome::Rekeyed), "{outcome:?}");
    let calls = whole.calls();
    assert!(calls.len() > 30);
    for (number, call) in calls.iter().enumerate() {
        let writes = call.length.is_some();
        for written in [None, Some(3)] {
            if written.is_some() && !writes {
                continue;
            }
            let fs = before.fork();
            fs.inject(Fault::Crash { number, written });
            let report = run(&fs, stream, options, target);
            assert!(matches!(report.outcome, RekeyOutcome::Refused(_)));
            for (nth, image) in fs.crash_images(number as u64, 1).into_iter().enumerate() {
                inspect(image, &format!("call {number}: {:?}, image {nth}", call));
            }
        }
    }
}

#[test]
fn whatever_stops_it_a_second_call_finishes_and_nothing_is_lost() {
    for (case, name, target) in targets() {
        let (before, stream) = golden(case, name);
        let options = options_of(case);
        let old = told(&before, &stream, options_of(case).keys);
        at_every_death(&before, &stream, &options, &target, |left, at| {
            is_old_or_new(&left, &stream, &old, case, &target);
            let has_stream = left.metadata(&stream.dir).is_ok();
            let found = interrupted(&left, Path::new("/js")).unwrap();
            assert_eq!(found.is_empty(), has_stream, "{case} {at}");
            if let [found] = found.as_slice() {
                assert_eq!(found, &stream);
            }
            let report = run(&left, &stream, &options, &target);
            assert!(
                matches!(
                    report.outcome,
                    RekeyOutcome::Rekeyed | RekeyOutcome::Already
                ),
                "{case} {at}: {:?}",
                report.outcome
            );
            assert_eq!(told(&left, &stream, keys_of(&target)), old, "{case} {at}");
            nothing_left_over(&left);
        });
    }
}

/// One disk in how many, of those with the stream at its place, a second death is tried on.
const SECOND_DEATHS_ON: u32 = 300;

#[test]
fn the_second_call_may_die_anywhere_too() {
    for (case, name, target) in targets() {
        let (before, stream) = golden(case, name);
        let options = options_of(case);
        let old = told(&before, &stream, options_of(case).keys);
        let (mut turn, mut second_deaths) = (0, 0);
        at_every_death(&before, &stream, &options, &target, |left, at| {
            // Some keep the test short; where the stream is away, all of them.
            turn += 1;
            if left.metadata(&stream.dir).is_ok() && turn % SECOND_DEATHS_ON != 0 {
                return;
            }
            let whole = left.fork();
            run(&whole, &stream, &options, &target);
            let calls = whole.calls();
            for (second, call) in calls.iter().enumerate() {
                let fs = left.fork();
                fs.inject(Fault::Crash {
                    number: second,
                    written: call.length.map(|_| 2),
                });
                run(&fs, &stream, &options, &target);
                // Every third time only the process dies.
                let image = match second % 3 {
                    0 => fs.crash_image(Unsynced::Torn {
                        seed: second as u64,
                    }),
                    1 => fs.crash_image(Unsynced::Dropped),
                    _ => fs.fork(),
                };
                let report = run(&image, &stream, &options, &target);
                assert!(
                    matches!(
                        report.outcome,
                        RekeyOutcome::Rekeyed | RekeyOutcome::Already
                    ),
                    "{case} {at}, then {second}: {:?}",
                    report.outcome
                );
                assert_eq!(
                    told(&image, &stream, keys_of(&target)),
                    old,
                    "{case} {at}, then {second}"
                );
                nothing_left_over(&image);
                second_deaths += 1;
            }
        });
        assert!(second_deaths > 30, "{case}: {second_deaths}");
    }
}

#[test]
fn with_another_key_the_second_call_takes_the_first_back() {
    let (before, stream) = golden("s2-chacha", "ORDERS");
    let options = options_of("s2-chacha");
    let old = told(&before, &stream, options_of("s2-chacha").keys);
    let first = to(Some(new_key()), Some(Cipher::Aes));
    let third = ServerKey::new(b"third".to_vec());
    let second = to(Some(third), None);
    let mut taken_back = 0;
    at_every_death(&before, &stream, &options, &first, |left, at| {
        let was_away = left.metadata(&stream.dir).is_err();
        let report = run(&left, &stream, &options, &second);
        match &report.outcome {
            RekeyOutcome::Rekeyed => {
                assert_eq!(told(&left, &stream, keys_of(&second)), old, "{at}");
                taken_back += u32::from(was_away && report.resumed);
            }
            // The first had come to its end: the stream is under a key that this call does not have.
            RekeyOutcome::Refused(RekeyError::NeedsKey(_)) => {
                assert_eq!(told(&left, &stream, keys_of(&first)), old, "{at}");
            }
            other => panic!("{at}: {other:?}"),
        }
        nothing_left_over(&left);
    });
    assert!(taken_back > 0);
}

#[test]
fn a_refusing_disk_is_told_and_costs_nothing() {
    let (before, stream) = golden("plain-none", "ORDERS");
    let options = options_of("plain-none");
    let target = to(Some(new_key()), None);
    let old = told(&before, &stream, Keys::default());
    let whole = before.fork();
    run(&whole, &stream, &options, &target);
    for (number, call) in whole.calls().iter().enumerate() {
        let fs = before.fork();
        let kind = std::io::ErrorKind::StorageFull;
        fs.inject(Fault::FailCall {
            number,
            kind,
            written: Some(1),
        });
        let report = run(&fs, &stream, &options, &target);
        match report.outcome {
            RekeyOutcome::Refused(RekeyError::Io(IoError { kind: found, .. })) => {
                assert_eq!(found, kind, "{call:?}");
            }
            other => panic!("{call:?}: {other:?}"),
        }
        run(&fs, &stream, &options, &target);
        assert_eq!(told(&fs, &stream, keys_of(&target)), old, "{call:?}");
        nothing_left_over(&fs);
    }
}

#[test]
fn a_stream_made_in_between_is_not_overwritten() {
    let (fs, stream) = golden("plain-none", "ORDERS");
    let options = options_of("plain-none");
    let target = to(Some(new_key()), None);
    let whole = fs.fork();
    run(&whole, &stream, &options, &target);
    let renames = whole.calls();
    let second = renames
        .iter()
        .enumerate()
        .filter(|(_, call)| call.operation == Operation::Rename)
        .nth(1)
        .unwrap()
        .0;
    fs.inject(Fault::Crash {
        number: second,
        written: None,
    });
    run(&fs, &stream, &options, &target);
    let fs = fs.fork();
    fs.seed_file(stream.dir.join("meta.inf"), "{}");
    fs.seed_dir(stream.dir.join("msgs"));
    let before = fs.files();
    let report = run(&fs, &stream, &options, &target);
    let RekeyOutcome::Refused(error @ RekeyError::TwoStreams { .. }) = report.outcome else {
        panic!("{:?}", report.outcome)
    };
    assert!(error.to_string().contains("ORDERS.old"));
    assert_eq!(fs.files(), before);
}
