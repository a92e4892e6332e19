//! Writing one stream of a new store, and judging it before it is called done.

use jetsam::env::ReadFiles;
use std::path::Path;

use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::preflight::{self, Start};
use jetsam::recovery::examine;
use jetsam::report::ServerVersion;
use jetsam::report::Watch;
use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::Outcome;
use jetsam::salvage::{
    self as saving, MergeSource, SalvageError, SalvageReport, Sorted, Uncertain,
};
use jetsam::stream::StreamDir;
use jetsam::stream::options::{Keys, Options, Policy};

use crate::{merge, salvage};

/// Salvages one stream into `query.out`.
pub fn salvage(
    sorted: &Sorted,
    options: &Options,
    query: &salvage::Query,
    watch: &Watch<'_>,
) -> SalvageReport {
    let stream = &sorted.stream;
    let made = StreamDir {
        account: stream.account.clone(),
        name: sorted.name.clone(),
        dir: query.out.clone(),
    };
    let keys = [target_keys(&options.keys, query.plaintext)];
    let finished = query.resume && is_finished(&query.out);
    let result = match finished {
        true => finished_before(stream, &made, options, &keys, query, watch),
        false => written(stream, options, query, watch),
    };
    let mut report = salvage::or_refused(stream, result);
    report.stream.events.extend(sorted.events.iter().cloned());
    if report.stream.outcome == Outcome::Clean && !sorted.events.is_empty() {
        report.stream.outcome = Outcome::Recovered;
    }
    if sorted.comes_up() && report.stream.outcome != Outcome::Refused {
        judge(&made, options, &keys, query.server, &mut report, watch);
    }
    report
}

fn written(
    stream: &StreamDir,
    options: &Options,
    query: &salvage::Query,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let (fs, entropy) = (&OsFileSystem, &OsEntropy);
    let Some(file) = &query.from_quarantine else {
        let wish = saving::SalvageOptions {
            out: query.out.clone(),
            plaintext: query.plaintext,
            uncertain: query.uncertain,
            link: query.link,
            replicas: Some(query.replicas),
            resume: query.resume,
        };
        return saving::salvage(fs, stream, options, &wish, entropy, watch);
    };
    let wish = saving::MergeOptions {
        out: query.out.clone(),
        plaintext: query.plaintext,
        uncertain: query.uncertain,
        force: false,
        replicas: Some(query.replicas),
        resume: query.resume,
    };
    saving::salvage_with_quarantine(fs, stream, file, options, &wish, entropy, watch)
}

/// A stream directory appears under its name once it is whole.
fn is_finished(dir: &Path) -> bool {
    OsFileSystem.metadata(&dir.join("msgs")).is_ok()
}

/// The report of a stream that an earlier run finished: what the source gives, held against what is there.
fn finished_before(
    stream: &StreamDir,
    made: &StreamDir,
    options: &Options,
    keys: &[Keys],
    query: &salvage::Query,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let mut report = saving::check(&OsFileSystem, stream, options, watch)?;
    let own = Options {
        policy: Policy::Evidence,
        quick: true,
        expire: false,
        limits: false,
        keys: keys.first().cloned().unwrap_or_default(),
        ..options.clone()
    };
    let there = examine(&OsFileSystem, made, &own, watch);
    let numbers = |state: &Option<jetsam::report::stream::State>| {
        state
            .as_ref()
            .map(|state| (state.messages, state.first_seq, state.last_seq))
    };
    let (wanted, found) = (numbers(&report.stream.state), numbers(&there.state));
    // What may have been deleted is left out there, and counted here.
    if wanted != found && query.uncertain == Uncertain::Keep {
        let detail = format!(
            "an earlier run finished it, and it is not what the source gives now (messages, first, last): {found:?} there, \
             {wanted:?} here; remove the directory, and it is written anew"
        );
        report.stream.outcome = Outcome::Damaged;
        let event = Event::new(EventCode::NewStoreUnfit, detail);
        report.stream.events.push(event);
    }
    Ok(report)
}

/// Merges copies into `query.out`.
pub fn merge(
    copies: &[MergeSource],
    options: &Options,
    query: &merge::Query,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let wish = saving::MergeOptions {
        out: query.out.clone(),
        plaintext: query.plaintext,
        uncertain: query.uncertain,
        force: query.force,
        replicas: Some(query.replicas),
        resume: query.resume,
    };
    let mut report = saving::merge_with_relatives(
        &OsFileSystem,
        copies,
        &query.relatives,
        options,
        &wish,
        &OsEntropy,
        watch,
    )?;
    let made = StreamDir {
        account: report.stream.account.clone(),
        name: report.stream.name.clone(),
        dir: query.out.clone(),
    };
    // It is under one of the copies' keys where there is no common one.
    let mut keys = vec![target_keys(&options.keys, query.plaintext)];
    if !query.plaintext {
        let own = copies.iter().filter_map(|copy| copy.key.clone());
        keys.extend(own.map(|key| Keys {
            current: Some(key),
            ..Keys::default()
        }));
    }
    judge(&made, options, &keys, query.server, &mut report, watch);
    Ok(report)
}

/// The keys of the server that is to start on the new store.
fn target_keys(keys: &Keys, plaintext: bool) -> Keys {
    if plaintext {
        return Keys::default();
    }
    Keys {
        current: keys.current.clone().or_else(|| keys.previous.clone()),
        previous: None,
        cipher: keys.cipher,
    }
}

/// Judges the new stream with the first of `keys` that opens it.
fn judge(
    made: &StreamDir,
    options: &Options,
    keys: &[Keys],
    server: ServerVersion,
    report: &mut SalvageReport,
    watch: &Watch<'_>,
) {
    let mut judged = None;
    for keys in keys {
        let own = Options {
            policy: Policy::Server,
            no_index: false,
            keys: keys.clone(),
            ..options.clone()
        };
        let mut told = report.stream.clone();
        let forecast = preflight::vouch(&OsFileSystem, made, &own, server, &mut told, watch);
        let opens = !(forecast.needs_help && forecast.start == Start::StreamSkipped);
        if opens || judged.is_none() {
            judged = Some(told);
        }
        if opens {
            break;
        }
    }
    if let Some(told) = judged {
        report.stream = told;
    }
}
