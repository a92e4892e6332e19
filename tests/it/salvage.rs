//! Salvage on committed stores: what it keeps, what it reports, and that it never touches the source.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::recovery::options::Options;
use jetsam::recovery::report::{Outcome, Source, StreamReport};
use jetsam::recovery::{StreamDir, Watch};
use jetsam::salvage::{self, SalvageError, SalvageOptions, SalvageReport};

use crate::recover::snapshot;
use crate::support::{Fixture, golden, look};

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

/// Where a salvaged store differs from what recovery makes of the source.
fn compare(ours: &StreamReport, theirs: &StreamReport) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            let cut = |text: String| text.chars().take(300).collect::<String>();
            wrong.push(format!("{what}: {}, recovery says {}", cut(ours), cut(theirs)));
        }
    };
    check("state", format!("{:?}", ours.state), format!("{:?}", theirs.state));
    check("digest", format!("{:?}", ours.digest), format!("{:?}", theirs.digest));
    check("subjects", format!("{:?}", ours.subjects), format!("{:?}", theirs.subjects));
    check("ttl", format!("{:?}", ours.ttl), format!("{:?}", theirs.ttl));
    check("schedules", format!("{:?}", ours.schedules), format!("{:?}", theirs.schedules));
    check("sources", format!("{:?}", ours.sources), format!("{:?}", theirs.sources));
    check("consumers", format!("{:?}", ours.consumers), format!("{:?}", theirs.consumers));
    check("source", format!("{:?}", ours.source), format!("{:?}", Some(Source::Index)));
    wrong
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
                let mut found = compare(&report.stream, &look(&fixture.stream(), &options));
                if !found.is_empty() {
                    // A stale index still knows what limits removed; blocks alone bring it back until limits are enforced.
                    let enforced = compare(&report.stream, &look(&fixture.stream(), &fixture.options()));
                    found = if enforced.is_empty() { enforced } else { found };
                }
                if report.stream.outcome != Outcome::Clean {
                    found.push(format!("{:?} {:?}", report.stream.outcome, report.stream.events));
                }
                found
            }
            Err(error) => vec![error.to_string()],
        };
        if !found.is_empty() {
            wrong.push(format!("{}\n  {}", fixture.dir.display(), found.join("\n  ")));
        }
        assert!(snapshot(&fixture.dir) == before, "{} was changed", fixture.dir.display());
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fixtures.len(), wrong.join("\n"));
}
