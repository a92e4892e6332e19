//! Blocks and keys of real stores under each other's names: all of their messages are found, under their own numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jetsam::env::OsFileSystem;
use jetsam::format::names::BlockFile;
use jetsam::report::Watch;
use jetsam::report::events::EventCode;
use jetsam::report::stream::{Outcome, StreamReport};
use jetsam::salvage::{self, SalvageReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

use crate::recover::snapshot;
use crate::salvage::{into, save};
use crate::support::{Fixture, golden, look, name_of};

/// The streams of three blocks that v2.15.2 wrote: plain and compressed, encrypted with either cipher and not at all.
fn orders() -> Vec<Fixture> {
    let found: Vec<Fixture> = golden()
        .into_iter()
        .filter(|fixture| {
            let dir = fixture.dir.to_string_lossy();
            fixture.name == "ORDERS" && dir.contains("v2.15.2") && !dir.contains("-killed")
        })
        .collect();
    let cases: Vec<String> = found.iter().map(case).collect();
    for wanted in [
        "plain-none",
        "plain-chacha",
        "plain-aes",
        "s2-none",
        "s2-chacha",
        "s2-aes",
    ] {
        assert!(
            cases.iter().any(|case| case == wanted),
            "no {wanted}: {cases:?}"
        );
    }
    found
}

fn case(fixture: &Fixture) -> String {
    fixture
        .dir
        .ancestors()
        .nth(4)
        .map(name_of)
        .unwrap_or_default()
}

fn options(fixture: &Fixture) -> Options {
    let mut options = fixture.options();
    options.expire = false;
    options.limits = false;
    options
}

fn view(stream: &StreamDir, options: &Options) -> SalvageReport {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    salvage::check(&OsFileSystem, stream, options, &watch).expect("a view")
}

fn file(stream: &StreamDir, name: &str) -> PathBuf {
    stream.dir.join("msgs").join(name)
}

fn swap(stream: &StreamDir, one: &str, other: &str) {
    let (one, other) = (file(stream, one), file(stream, other));
    let aside = stream.dir.join("aside");
    fs::rename(&one, &aside).expect("a rename");
    fs::rename(&other, &one).expect("a rename");
    fs::rename(&aside, &other).expect("a rename");
}

/// Everything that tells one store from another, but for its files.
fn told(report: &StreamReport) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        report.state, report.digest, report.subjects, report.consumers
    )
}

/// What salvage says of the store as it lies, as a view and as a new store, is what was in it before; and the source stays as
/// it is. Returns the report.
fn assert_all_is_found(
    what: &str,
    before: &StreamReport,
    stream: &StreamDir,
    options: &Options,
) -> StreamReport {
    let files = snapshot(&stream.dir);
    let out = tempfile::tempdir().expect("a temporary directory");
    let made = save(stream, options, &into(&out.path().join(&stream.name)));
    let made = made
        .unwrap_or_else(|error| panic!("{what}: {error}"))
        .stream;
    assert_eq!(told(&made), told(before), "{what}: {:?}", made.events);
    let totals = made.salvage.as_ref().expect("totals");
    assert_eq!(
        (totals.lost, totals.quarantined),
        (0, 0),
        "{what}: {totals:?}"
    );
    assert_eq!(
        made.outcome,
        Outcome::Recovered,
        "{what}: {:?}",
        made.events
    );
    let seen = view(stream, options).stream;
    assert_eq!(seen.digest, before.digest, "{what}");
    assert_eq!(seen.salvage, made.salvage, "{what}");
    assert!(
        snapshot(&stream.dir) == files,
        "{what}: the source was changed"
    );
    made
}

fn details(report: &StreamReport, code: EventCode) -> Vec<(String, String)> {
    let events = report.events.iter().filter(|event| event.code == code);
    events
        .map(|event| (event.file.clone().unwrap_or_default(), event.detail.clone()))
        .collect()
}

#[test]
fn swapped_blocks_keys_and_both_lose_nothing() {
    for fixture in orders() {
        let options = options(&fixture);
        let before = look(&fixture.stream(), &options);
        let stale = case(&fixture).ends_with("-stale");
        for (one, other) in [(1, 2), (2, 3), (3, 1)] {
            for (blocks, keys) in [(true, false), (false, true), (true, true)] {
                if keys && !fixture.encrypted {
                    continue;
                }
                let (_temp, stream) = fixture.scratch();
                if blocks {
                    swap(&stream, &format!("{one}.blk"), &format!("{other}.blk"));
                }
                if keys {
                    swap(&stream, &format!("{one}.key"), &format!("{other}.key"));
                }
                let what = format!("{} {one} {other} {blocks} {keys}", case(&fixture));
                if stale {
                    // What limits removed comes back from blocks; with the files in their places as well.
                    let straight = view(&fixture.stream(), &options).stream;
                    let seen = view(&stream, &options).stream;
                    assert_eq!(told(&seen), told(&straight), "{what}");
                    continue;
                }
                let made = assert_all_is_found(&what, &before, &stream, &options);
                let told = details(&made, EventCode::BlockMisplaced);
                assert_eq!(told.len(), if blocks { 2 } else { 0 }, "{what}: {told:?}");
                let first = told
                    .iter()
                    .find(|(file, _)| *file == BlockFile::Block.path(one));
                assert!(
                    !blocks
                        || first.is_some_and(|(_, text)| text.contains(&format!("block {other}"))),
                    "{what}: {told:?}"
                );
            }
        }
    }
}

#[test]
fn without_an_index_swapped_files_lose_nothing_either() {
    for fixture in orders() {
        let mut options = options(&fixture);
        options.no_index = true;
        let straight = view(&fixture.stream(), &options).stream;
        let (_temp, stream) = fixture.scratch();
        swap(&stream, "1.blk", "3.blk");
        if fixture.encrypted {
            swap(&stream, "2.key", "3.key");
        }
        let seen = view(&stream, &options).stream;
        assert_eq!(told(&seen), told(&straight), "{}", case(&fixture));
    }
}

#[test]
fn renamed_and_copied_blocks_stand_once() {
    for fixture in orders() {
        if case(&fixture).ends_with("-stale") {
            continue;
        }
        let options = options(&fixture);
        let before = look(&fixture.stream(), &options);
        let apply = |stream: &StreamDir, act: fn(&Path, &Path), from: u32, to: u32| {
            let kinds = if fixture.encrypted {
                &["blk", "key"][..]
            } else {
                &["blk"]
            };
            for kind in kinds {
                let names = [from, to].map(|number| file(stream, &format!("{number}.{kind}")));
                act(&names[0], &names[1]);
            }
        };
        let rename: fn(&Path, &Path) = |from, to| fs::rename(from, to).expect("a rename");
        let copy: fn(&Path, &Path) = |from, to| fs::copy(from, to).map(drop).expect("a copy");
        for (act, from, to) in [
            (rename, 1, 9),
            (rename, 2, 900),
            (rename, 3, 4),
            (copy, 1, 4),
            (copy, 3, 70_000),
            (copy, 2, 0),
        ] {
            let (_temp, stream) = fixture.scratch();
            apply(&stream, act, from, to);
            let what = format!("{}: {from} as {to}", case(&fixture));
            assert_all_is_found(&what, &before, &stream, &options);
        }
    }
}

/// A block that is damaged, and a sound copy of it under another name.
#[test]
fn a_copy_gives_what_the_block_has_lost() {
    for fixture in orders() {
        let case = case(&fixture);
        if case.ends_with("-stale") {
            continue;
        }
        let options = options(&fixture);
        let before = look(&fixture.stream(), &options);
        let (_temp, stream) = fixture.scratch();
        fs::copy(file(&stream, "2.blk"), file(&stream, "7.blk")).expect("a copy");
        let mut bytes = fs::read(file(&stream, "2.blk")).expect("a block");
        let middle = bytes.len() / 2;
        for byte in bytes.iter_mut().skip(middle).take(500) {
            *byte ^= 0xa5;
        }
        fs::write(file(&stream, "2.blk"), bytes).expect("a damaged block");
        let out = tempfile::tempdir().expect("a temporary directory");
        let made = save(&stream, &options, &into(&out.path().join("out"))).expect("salvage");
        assert_eq!(
            made.stream.digest, before.digest,
            "{case}: {:?}",
            made.stream.events
        );
        let totals = made.stream.salvage.expect("totals");
        assert_eq!(totals.lost, 0, "{case}: {totals:?}");
        let seen = view(&stream, &options).stream;
        assert_eq!(seen.digest, before.digest, "{case}");
    }
}

#[test]
fn a_block_of_noise_is_none_of_the_others() {
    for fixture in orders() {
        let options = options(&fixture);
        let (_temp, stream) = fixture.scratch();
        let length = fs::metadata(file(&stream, "2.blk")).expect("a block").len() as u32;
        let noise: Vec<u8> = (0..length)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect();
        fs::write(file(&stream, "2.blk"), noise).expect("noise");
        let seen = view(&stream, &options).stream;
        assert!(details(&seen, EventCode::BlockMisplaced).is_empty());
        let totals = seen.salvage.expect("totals");
        assert!(
            totals.lost > 0 && totals.recovered > 0,
            "{}: {totals:?}",
            case(&fixture)
        );
    }
}
