//! Salvage on committed stores: what it keeps, what it reports, and that it never touches the source.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::seqset::SeqSet;
use jetsam::report::Watch;
use jetsam::report::stream::{Outcome, Source, StreamReport};
use jetsam::salvage::{self, SalvageError, SalvageOptions, SalvageReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;

use crate::recover::snapshot;
use crate::support::{Fixture, damaged, golden, look};

/// Salvages without being watched.
pub fn save(
    stream: &StreamDir,
    options: &Options,
    wish: &SalvageOptions,
) -> Result<SalvageReport, SalvageError> {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    salvage::salvage(&OsFileSystem, stream, options, wish, &OsEntropy, &watch)
}

/// Into the directory `out`.
pub fn into(out: &Path) -> SalvageOptions {
    SalvageOptions {
        out: out.to_owned(),
        ..SalvageOptions::default()
    }
}

fn as_it_lies(fixture: &Fixture) -> Options {
    let mut options = fixture.options();
    options.expire = false;
    options.limits = false;
    options
}

/// The live sequences of a report.
pub fn live(report: &StreamReport) -> BTreeSet<u64> {
    let state = report.state.as_ref().expect("a state");
    let deleted: BTreeSet<u64> = state.deleted.iter().flatten().copied().collect();
    let unreadable: BTreeSet<u64> = report.unreadable.iter().copied().collect();
    (state.first_seq..=state.last_seq)
        .filter(|seq| *seq > 0 && !deleted.contains(seq) && !unreadable.contains(seq))
        .collect()
}

/// Where a salvaged store differs from what recovery makes of the source.
fn compare(ours: &StreamReport, theirs: &StreamReport) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            let cut = |text: String| text.chars().take(300).collect::<String>();
            wrong.push(format!(
                "{what}: {}, recovery says {}",
                cut(ours),
                cut(theirs)
            ));
        }
    };
    let state = |report: &StreamReport| {
        let mut state = report.state.clone();
        if let Some(state) = state.as_mut().filter(|state| state.last_seq == 0) {
            // Without a block the first sequence is 0, with an empty one 1.
            (state.first_seq, state.deleted_count, state.deleted) = (1, 0, None);
        }
        format!("{state:?}")
    };
    check("state", state(ours), state(theirs));
    check(
        "digest",
        format!("{:?}", ours.digest),
        format!("{:?}", theirs.digest),
    );
    check(
        "subjects",
        format!("{:?}", ours.subjects),
        format!("{:?}", theirs.subjects),
    );
    check(
        "ttl",
        format!("{:?}", ours.ttl),
        format!("{:?}", theirs.ttl),
    );
    check(
        "schedules",
        format!("{:?}", ours.schedules),
        format!("{:?}", theirs.schedules),
    );
    check(
        "sources",
        format!("{:?}", ours.sources),
        format!("{:?}", theirs.sources),
    );
    check(
        "consumers",
        format!("{:?}", ours.consumers),
        format!("{:?}", theirs.consumers),
    );
    check(
        "source",
        format!("{:?}", ours.source),
        format!("{:?}", Some(Source::Index)),
    );
    wrong
}

/// What a server would bring back of the source although it was removed.
fn returning(report: &StreamReport) -> Option<SeqSet> {
    let returning = report
        .ledger
        .as_ref()
        .map(|ledger| ledger.returning.clone());
    returning.filter(|returning| !returning.is_empty())
}

#[test]
fn an_undamaged_store_comes_out_as_it_went_in() {
    let mut wrong = Vec::new();
    let fixtures = golden();
    for fixture in &fixtures {
        let options = as_it_lies(fixture);
        let temp = tempfile::tempdir().expect("a temporary directory");
        let before = snapshot(&fixture.dir);
        let out = temp.path().join(&fixture.name);
        let found = match save(&fixture.stream(), &options, &into(&out)) {
            Ok(report) => {
                let theirs = look(&fixture.stream(), &options);
                let ours = &report.stream;
                let stale = fixture.dir.to_string_lossy().contains("-stale/");
                if stale || theirs.outcome == Outcome::Damaged {
                    // Blocks alone bring back what limits removed; a stale index still knows.
                    let (ours, theirs) = (live(ours), live(&theirs));
                    let kept = if stale {
                        ours.is_subset(&theirs) && ours.last() == theirs.last()
                    } else {
                        theirs.is_subset(&ours)
                    };
                    if kept {
                        Vec::new()
                    } else {
                        vec![format!("{ours:?}, recovery says {theirs:?}")]
                    }
                } else if let Some(returning) = returning(ours) {
                    // Blocks alone bring back what the limits removed while the server ran.
                    let mut kept = live(&theirs);
                    kept.retain(|seq| !returning.contains(*seq));
                    match live(ours) == kept {
                        true => Vec::new(),
                        false => vec![format!(
                            "{:?} without {returning:?}: {:?}",
                            live(&theirs),
                            live(ours)
                        )],
                    }
                } else {
                    let mut found = compare(ours, &theirs);
                    if ours.outcome != Outcome::Clean {
                        found.push(format!("{:?} {:?}", ours.outcome, ours.events));
                    }
                    found
                }
            }
            Err(error) => vec![error.to_string()],
        };
        if !found.is_empty() {
            wrong.push(format!(
                "{}\n  {}",
                fixture.dir.display(),
                found.join("\n  ")
            ));
        }
        assert!(
            snapshot(&fixture.dir) == before,
            "{} was changed",
            fixture.dir.display()
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        fixtures.len(),
        wrong.join("\n")
    );
}

/// Whatever is wrong with a store: an answer, a store that is sound, and a source that is as it was.
#[test]
fn damaged_stores_are_salvaged_or_refused_with_a_reason() {
    let mut wrong = Vec::new();
    for fixture in damaged() {
        let options = as_it_lies(&fixture);
        let (temp, stream) = fixture.scratch();
        let before = snapshot(&stream.dir);
        let out = temp.path().join("out");
        match save(&stream, &options, &into(&out)) {
            Ok(report) => {
                let theirs = look(&stream, &options);
                let totals = report.stream.salvage.as_ref().expect("totals");
                if theirs.state.is_some()
                    && live(&theirs).len() as u64 > totals.recovered + totals.lost + 5
                {
                    wrong.push(format!(
                        "{}: {totals:?} of {:?}",
                        fixture.case(),
                        theirs.state
                    ));
                }
            }
            Err(SalvageError::NeedsKey(_) | SalvageError::Io(_)) => {}
            Err(error) => wrong.push(format!("{}: {error}", fixture.case())),
        }
        assert!(
            snapshot(&stream.dir) == before,
            "{} was changed",
            fixture.case()
        );
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
