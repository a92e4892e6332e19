//! What salvage writes has to start: under the right names, with the consumers that hold its messages back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use jetsam::env::OsFileSystem;
use jetsam::format::meta::StreamMeta;
use jetsam::preflight::{Forecast, Start, vouch};
use jetsam::report::ServerVersion;
use jetsam::report::Watch;
use jetsam::report::events::{Event, EventCode};
use jetsam::report::stream::{ConsumerReport, StreamReport};
use jetsam::salvage::{SalvageOptions, SalvageReport, Sorted, sort_out};
use jetsam::stream::options::Options;
use jetsam::stream::{StreamDir, find_streams};
use serde_json::Value;

use crate::cases::{Case, case_options};
use crate::salvage::{into, save};
use crate::support::look;

/// A store salvaged stream by stream, as the command does it.
struct Saved {
    out: tempfile::TempDir,
    made: Vec<(Sorted, SalvageReport)>,
}

impl Saved {
    fn of(store: &Path) -> Saved {
        let out = tempfile::tempdir().expect("a temporary directory");
        let found = find_streams(&OsFileSystem, store).expect("streams");
        let made = sorted(&found.streams)
            .into_iter()
            .map(|one| {
                let wish = SalvageOptions {
                    replicas: Some(1),
                    ..into(&streams(out.path()).join(&one.place))
                };
                let made = save(&one.stream, &case_options(), &wish).expect("salvaged");
                (one, made)
            })
            .collect();
        Saved { out, made }
    }

    fn stream(&self, name: &str) -> StreamDir {
        StreamDir {
            account: Some("$G".to_owned()),
            name: name.to_owned(),
            dir: streams(self.out.path()).join(name),
        }
    }

    /// Judges the new stream, which is in its place.
    fn foretold(&self, name: &str) -> (Forecast, StreamReport) {
        let made = self.made.iter().find(|(one, _)| one.place == name);
        let mut report = made.expect("salvaged").1.stream.clone();
        let forecast = judged(&self.stream(name), &mut report);
        (forecast, report)
    }

    fn places(&self) -> Vec<&str> {
        self.made
            .iter()
            .map(|(one, _)| one.place.as_str())
            .collect()
    }
}

fn streams(store: &Path) -> PathBuf {
    store.join("jetstream/$G/streams")
}

fn sorted(streams: &[StreamDir]) -> Vec<Sorted> {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    sort_out(&OsFileSystem, streams, &case_options(), &watch)
}

fn judged(made: &StreamDir, report: &mut StreamReport) -> Forecast {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let server = ServerVersion::REFERENCE;
    vouch(&OsFileSystem, made, &case_options(), server, report, &watch)
}

fn told(events: &[Event], code: EventCode) -> Vec<&Event> {
    events.iter().filter(|event| event.code == code).collect()
}

fn consumer<'r>(report: &'r StreamReport, name: &str) -> &'r ConsumerReport {
    let mut consumers = report.consumers.iter();
    let found = consumers.find(|consumer| consumer.name == name);
    found.unwrap_or_else(|| panic!("no consumer {name} in {:?}", report.consumers))
}

#[test]
fn a_renamed_stream_gets_its_name_back_and_equal_copies_count_once() {
    let case = Case::unpack("27-renamed-and-copied-dirs");
    let saved = Saved::of(case.store_dir());
    assert_eq!(saved.places(), ["T", "U"]);
    for (name, messages) in [("T", 2770), ("U", 500)] {
        let (forecast, report) = saved.foretold(name);
        assert_eq!((forecast.start, forecast.messages), (Start::Ok, messages));
        assert_eq!(
            told(&report.events, EventCode::NewStoreUnfit),
            [] as [&Event; 0]
        );
        let one = saved.made.iter().find(|(one, _)| one.place == name);
        let copies = told(&one.expect("sorted").0.events, EventCode::StreamCopy).len();
        assert_eq!(copies, 1, "{name}");
    }
    let meta = fs::read_to_string(saved.stream("U").dir.join("meta.inf")).expect("metadata");
    assert!(meta.contains(r#""name":"U""#), "{meta}");
}

#[test]
fn different_copies_lie_side_by_side_and_are_told() {
    let case = Case::unpack("27-renamed-and-copied-dirs");
    let copy = case.streams_dir().join("T.bak/obs/C/o.dat");
    fs::remove_file(copy).expect("a consumer of the copy");
    // Neither of these two has the name, and they differ: the one that reaches further gets it.
    let block = case.streams_dir().join("U_old/msgs/1.blk");
    let bytes = fs::read(&block).expect("a block");
    fs::write(&block, &bytes[..bytes.len() / 2]).expect("cut");
    let _ = fs::remove_file(case.streams_dir().join("U_old/msgs/index.db"));
    let found = find_streams(&OsFileSystem, case.store_dir()).expect("streams");
    let sorted = sorted(&found.streams);
    let of = |one: &Sorted| {
        let dir = one.stream.dir.file_name().expect("a name").to_owned();
        (dir.into_string().expect("text"), one.place.clone())
    };
    let pairs: Vec<(String, String)> = sorted.iter().map(of).collect();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("T", "T"),
            ("T.bak", "T.bak"),
            ("u", "U"),
            ("U_old", "U_old")
        ]
    );
    for one in &sorted {
        let copies = told(&one.events, EventCode::StreamCopy).len();
        assert_eq!(one.comes_up(), copies == 0, "{one:?}");
    }
}

#[test]
fn a_server_standing_alone_gets_one_replica() {
    let case = Case::unpack("35-replicas-updated-standalone");
    let saved = Saved::of(case.store_dir());
    let (forecast, report) = saved.foretold("T");
    assert_eq!((forecast.start, forecast.messages), (Start::Ok, 100));
    assert_eq!(told(&report.events, EventCode::ReplicasChanged).len(), 1);
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn what_would_not_come_up_is_not_called_done() {
    let case = Case::unpack("35-replicas-updated-standalone");
    let out = tempfile::tempdir().expect("a temporary directory");
    let dir = streams(out.path()).join("T");
    let made = save(&case.stream("T"), &case_options(), &into(&dir)).expect("salvaged");
    let mut report = made.stream;
    assert_eq!(report.exit_code(), 0);
    let stream = StreamDir {
        dir,
        ..case.stream("T")
    };
    let forecast = judged(&stream, &mut report);
    assert_eq!(forecast.start, Start::StreamSkipped);
    let unfit = told(&report.events, EventCode::NewStoreUnfit);
    assert!(
        unfit[0].detail.contains("would start without it"),
        "{unfit:?}"
    );
    assert_eq!(report.exit_code(), 4);
}

#[test]
fn consumers_keep_what_is_known_of_their_position() {
    let case = Case::unpack("02-consumer-state-damaged");
    let saved = Saved::of(case.store_dir());
    let report = &saved.made[0].1.stream;
    let position = |name: &str| {
        let consumer = consumer(report, name);
        assert_eq!(consumer.outcome, "ok", "{name}");
        (
            consumer.ack_floor.1,
            consumer.delivered.1,
            consumer.pending_count,
        )
    };
    for name in ["OK", "NOSUM", "RENAMED", "TRUNC"] {
        assert_eq!(position(name), (280, 300, 20), "{name}");
    }
    for name in ["EMPTY", "MISSING", "ZERO"] {
        assert_eq!(position(name), (0, 0, 0), "{name}");
    }
    for name in ["NOINF", "EMPTYINF"] {
        let consumer = consumer(report, name);
        let held = consumer.held.expect("a position");
        assert_eq!(consumer.outcome, "left-out");
        assert_eq!((held.ack_floor.1, held.delivered.1), (280, 300), "{name}");
        assert!(!saved.stream("T").dir.join("obs").join(name).exists());
        let named = told(&report.events, EventCode::ConsumerLeftOut);
        let again = named.iter().find(|event| event.detail.contains(name));
        assert!(
            again
                .expect("named")
                .detail
                .ends_with("begin at sequence 281")
        );
    }
    let floor = |name: &str| position(name).0;
    // It saw 1000: the new stream goes on behind that, and the consumer misses nothing of what comes.
    let last = report.state.as_ref().expect("a state").last_seq;
    assert_eq!((floor("AHEAD"), last), (1000, 1000));
    assert!(!report.consumers.iter().any(|one| one.name == "OTHERNAME"));
    // The server brings up every one of them where salvage says it is.
    let (forecast, _) = saved.foretold("T");
    for theirs in &forecast.consumers {
        let ours = consumer(report, &theirs.name);
        assert_eq!(
            (ours.ack_floor, ours.delivered),
            (theirs.ack_floor, theirs.delivered)
        );
        assert_eq!(theirs.outcome, "ok");
    }
    assert_eq!(forecast.consumers.len(), 8);
}

#[test]
fn a_check_tells_the_position_of_a_consumer_that_does_not_come_up() {
    let case = Case::unpack("02-consumer-state-damaged");
    let report = look(&case.stream("T"), &case_options());
    for name in ["TRUNC", "NOINF", "EMPTYINF", "NOSUM", "OTHERNAME"] {
        let held = consumer(&report, name).held.expect(name);
        assert_eq!((held.ack_floor.1, held.delivered.1), (280, 300), "{name}");
    }
    for name in ["OK", "ZERO", "MISSING", "EMPTY"] {
        assert_eq!(consumer(&report, name).held, None, "{name}");
    }
    assert_eq!(
        told(&report.events, EventCode::ConsumerStateMissing).len(),
        1
    );
    assert_eq!(told(&report.events, EventCode::ConsumerRenamed).len(), 1);
}

#[test]
fn a_missing_position_alone_is_damage() {
    let case = Case::unpack("07-stray-files");
    let position = case.streams_dir().join("T/obs/C/o.dat");
    fs::remove_file(position).expect("a position");
    let sound = Case::unpack("07-stray-files");
    let codes = |case: &Case| {
        let report = look(&case.stream("T"), &case_options());
        let missing = told(&report.events, EventCode::ConsumerStateMissing).len();
        (missing, report.exit_code())
    };
    assert_eq!(codes(&sound).0, 0);
    assert_eq!(codes(&case), (1, 1));
}

#[test]
fn an_interest_stream_gets_a_consumer_that_holds_its_messages_back() {
    let case = Case::unpack("33-interest-consumer-lost");
    let saved = Saved::of(case.store_dir());
    let report = &saved.made[0].1.stream;
    assert_eq!(report.state.as_ref().expect("a state").messages, 900);
    let rebuilt = consumer(report, "B");
    assert_eq!((rebuilt.ack_floor.1, rebuilt.outcome), (100, "ok"));
    assert_eq!(told(&report.events, EventCode::ConsumerRebuilt).len(), 1);
    let (forecast, _) = saved.foretold("I");
    assert_eq!((forecast.start, forecast.messages), (Start::Ok, 900));
    let meta = fs::read_to_string(saved.stream("I").dir.join("obs/B/meta.inf")).expect("metadata");
    assert!(meta.contains(r#""ack_policy":"explicit""#), "{meta}");
    assert!(!meta.contains("filter_subject"), "{meta}");
}

#[test]
fn a_lost_position_in_an_interest_stream_begins_before_the_first_message() {
    let case = Case::unpack("33-interest-consumer-lost");
    let consumers = case.streams_dir().join("I/obs");
    fs::remove_file(consumers.join("A/o.dat")).expect("a position");
    fs::write(consumers.join("B/o.dat"), b"").expect("a position");
    let saved = Saved::of(case.store_dir());
    for name in ["A", "B"] {
        let file = saved.stream("I").dir.join("obs").join(name).join("o.dat");
        assert_eq!(
            fs::read(file).expect("a position"),
            [22, 2, 0, 0, 0, 0, 0, 0],
            "{name}"
        );
    }
}

#[test]
fn what_file_systems_put_everywhere_is_no_stream_and_no_consumer() {
    let case = Case::unpack("07-stray-files");
    let saved = Saved::of(case.store_dir());
    assert_eq!(saved.places(), ["T", "U"]);
    let names = |report: &StreamReport| -> Vec<String> {
        let consumers = report.consumers.iter();
        consumers.map(|consumer| consumer.name.clone()).collect()
    };
    assert_eq!(names(&saved.made[0].1.stream), ["C"]);
    assert_eq!(names(&look(&case.stream("T"), &case_options())), ["C"]);
}

#[cfg(unix)]
#[test]
fn owner_and_permissions_are_the_sources() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let case = Case::unpack("33-interest-consumer-lost");
    let mut dirs = vec![case.store_dir().join("jetstream")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            let mode = if entry.path().is_dir() { 0o750 } else { 0o640 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).expect("ours");
            if entry.path().is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    let saved = Saved::of(case.store_dir());
    let owner = fs::metadata(case.stream("I").dir)
        .expect("the source")
        .uid();
    let mut dirs = vec![saved.out.path().join("jetstream/$G")];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(&dir)
            .expect("a directory")
            .flatten()
            .map(|entry| entry.path())
        {
            let metadata = fs::metadata(&path).expect("made");
            let wanted = if path.is_dir() { 0o750 } else { 0o640 };
            assert_eq!(metadata.mode() & 0o777, wanted, "{}", path.display());
            assert_eq!(metadata.uid(), owner);
            seen += 1;
            if path.is_dir() {
                dirs.push(path);
            }
        }
    }
    // Streams, the stream, msgs, obs, two consumers; metadata, a block, an index, three files for each consumer.
    assert_eq!(seen, 16);
}

#[test]
fn a_configuration_that_is_gone_is_taken_from_the_streams_information() {
    let case = Case::unpack("33-interest-consumer-lost");
    let metadata = case.streams_dir().join("I/meta.inf");
    let config = fs::read_to_string(&metadata).expect("metadata");
    fs::write(&metadata, b"").expect("emptied");
    let info = format!("{{\"config\":{config},\"state\":{{}}}}");
    let given = StreamMeta::from_info(info.as_bytes()).expect("information");
    let out = tempfile::tempdir().expect("a temporary directory");
    let dir = streams(out.path()).join("I");
    let options = Options {
        configurations: vec![given],
        ..case_options()
    };
    let made = save(&case.stream("I"), &options, &into(&dir)).expect("salvaged");
    assert_eq!(
        fs::read_to_string(dir.join("meta.inf")).expect("metadata"),
        config
    );
    let told = told(&made.stream.events, EventCode::StreamMetaRebuilt);
    assert!(told[0].detail.contains("given"), "{told:?}");
    // Known to be an interest stream, it gets its consumer.
    assert_eq!(consumer(&made.stream, "B").ack_floor.1, 100);
}

#[test]
fn whole_stores_are_merged_stream_by_stream() {
    let (one, other) = (
        Case::unpack("27-renamed-and-copied-dirs"),
        Case::unpack("27-renamed-and-copied-dirs"),
    );
    // Each lost something else, and in one a stream is missing.
    fs::remove_dir_all(one.streams_dir().join("T.bak")).expect("a copy");
    for name in ["T", "T.bak"] {
        let dir = other.streams_dir().join(name);
        fs::remove_file(dir.join("msgs/1.blk")).expect("a block");
    }
    for name in ["U_old", "u"] {
        fs::remove_dir_all(one.streams_dir().join(name)).expect("a stream");
    }
    let out = tempfile::tempdir().expect("a temporary directory");
    let new = out.path().join("new");
    let ran = Command::new(env!("CARGO_BIN_EXE_jetsam"))
        .arg("merge")
        .args([one.store_dir(), other.store_dir()])
        .args(["--json", "--no-progress", "--out"])
        .arg(&new)
        .output()
        .expect("jetsam");
    let document: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let messages: Vec<(String, u64)> = document["streams"]
        .as_array()
        .expect("streams")
        .iter()
        .map(|stream| {
            let messages = stream["state"]["messages"].as_u64().expect("a state");
            (
                stream["name"].as_str().expect("a name").to_owned(),
                messages,
            )
        })
        .collect();
    assert_eq!(messages, [("T".to_owned(), 2770), ("U".to_owned(), 500)]);
    for name in ["T", "U"] {
        assert!(
            streams(&new).join(name).join("msgs/1.blk").exists(),
            "{name}"
        );
    }
}

#[test]
fn a_run_that_is_told_to_go_on_keeps_what_is_finished() {
    let case = Case::unpack("07-stray-files");
    let out = tempfile::tempdir().expect("a temporary directory");
    let new = out.path().join("new");
    let run = |more: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_jetsam"))
            .arg("salvage")
            .arg(case.store_dir())
            .args(["--no-progress", "--out"])
            .arg(&new)
            .args(more)
            .output()
            .expect("jetsam");
        ran.status.code().expect("an exit code")
    };
    assert_eq!(run(&[]), 1);
    let finished = streams(&new).join("T/msgs/1.blk");
    let before = fs::metadata(&finished)
        .expect("a block")
        .modified()
        .expect("a time");
    // As a run that died over the second stream leaves it.
    fs::remove_dir_all(streams(&new).join("U")).expect("the second stream");
    fs::create_dir_all(streams(&new).join(".U.jetsam-part/msgs")).expect("unfinished");
    assert_eq!(run(&[]), 16);
    assert_eq!(run(&["--resume"]), 1);
    assert!(streams(&new).join("U/msgs/1.blk").exists());
    assert!(!streams(&new).join(".U.jetsam-part").exists());
    let after = fs::metadata(&finished)
        .expect("a block")
        .modified()
        .expect("a time");
    assert_eq!(before, after);
    // Another store's stream of that name is not taken for finished.
    fs::remove_dir_all(streams(&new).join("U")).expect("the second stream");
    let foreign = streams(&new).join("T");
    fs::rename(&foreign, streams(&new).join("U")).expect("a stream out of place");
    assert_eq!(run(&["--resume"]), 4);
}
