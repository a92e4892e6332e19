//! The cases of `testdata/cases`: stores from real life whose truth is known.
//!
//! [`Case::unpack`] gives a scratch copy of one; what is known of it is in its `truth.txt`, which the tests quote.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use jetsam::format::duration::parse_rfc3339;
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use lzma_rust2::XzReader;

use crate::support::{everything, testdata};

/// A clock that lies behind everything in the cases, and before any limit of age but that of `10b-AGE-killed` matters.
const NOW: &str = "2026-11-30T00:00:00Z";

/// A scratch copy of a case.
pub struct Case {
    temp: tempfile::TempDir,
    packed: PathBuf,
}

/// A message that is live in truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueMessage {
    /// Sequence.
    pub seq: u64,
    /// Subject.
    pub subject: String,
    /// Nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// The first 16 hex digits of SHA-256 over headers, a NUL, and body.
    pub hash: String,
}

impl Case {
    /// Unpacks the case `name`.
    pub fn unpack(name: &str) -> Case {
        let packed = testdata("cases").join(name);
        let temp = tempfile::tempdir().expect("a temporary directory");
        let file = fs::File::open(packed.join("input.tar.xz")).expect("a packed case");
        tar::Archive::new(XzReader::new(file, false))
            .unpack(temp.path())
            .expect("room for the case");
        Case { temp, packed }
    }

    /// The server's `store_dir`.
    pub fn store_dir(&self) -> &Path {
        self.temp.path()
    }

    /// The directory of the streams.
    pub fn streams_dir(&self) -> PathBuf {
        self.store_dir()
            .join("jetstream")
            .join("$G")
            .join("streams")
    }

    /// One stream of it.
    pub fn stream(&self, name: &str) -> StreamDir {
        StreamDir {
            account: Some("$G".to_owned()),
            name: name.to_owned(),
            dir: self.streams_dir().join(name),
        }
    }

    /// The messages that are live in truth in the stream that the case is about, by sequence.
    pub fn truth(&self) -> Vec<TrueMessage> {
        let packed = fs::read(self.packed.join("truth.dump.xz")).expect("a dump");
        let mut text = String::new();
        XzReader::new(packed.as_slice(), false)
            .read_to_string(&mut text)
            .expect("a sound dump");
        text.lines().map(true_message).collect()
    }

    /// Writes the configuration the server is to be started with, `store_dir` set, and returns its path.
    pub fn server_conf(&self) -> PathBuf {
        let text = fs::read_to_string(self.packed.join("server.conf")).expect("server.conf");
        let store_dir = self.store_dir().display().to_string();
        let path = self.store_dir().join("server.conf");
        fs::write(&path, text.replace("STORE", &store_dir)).expect("a scratch directory");
        path
    }
}

/// Options with everything in the report, at a clock at which nothing in the cases has expired since.
pub fn case_options() -> Options {
    everything(parse_rfc3339(NOW).expect("a time"))
}

fn true_message(line: &str) -> TrueMessage {
    let mut parts = line.rsplitn(3, ' ');
    let mut next = || parts.next().expect("four parts");
    let (hash, time, rest) = (next(), next(), next());
    let (seq, subject) = rest.split_once(' ').expect("a sequence and a subject");
    TrueMessage {
        seq: seq.parse().expect("a sequence"),
        subject: subject.to_owned(),
        time_ns: time.parse().expect("a time"),
        hash: hash.to_owned(),
    }
}

#[test]
fn every_case_unpacks_and_tells_its_truth() {
    let mut seen = 0;
    for entry in fs::read_dir(testdata("cases")).expect("cases").flatten() {
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let case = Case::unpack(&name);
        assert!(case.streams_dir().is_dir(), "{name} has no streams");
        if entry.path().join("truth.dump.xz").exists() {
            let truth = case.truth();
            assert!(truth.is_sorted_by_key(|message| message.seq), "{name}");
            assert_eq!(truth.is_empty(), name.starts_with("17b"), "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, 20);
}

#[test]
fn a_case_is_a_store_like_any_other() {
    let case = Case::unpack("07-stray-files");
    let report = crate::support::look(&case.stream("T"), &case_options());
    let state = report.state.expect("a state");
    assert_eq!(state.messages, case.truth().len() as u64);
    // Its own count of deliveries, and the sequences of the stream: what nats-server 2.15.2 and 2.15.3 say of it.
    let [consumer] = report.consumers.as_slice() else {
        panic!("{:?}", report.consumers)
    };
    assert_eq!(
        (consumer.ack_floor, consumer.delivered),
        ((480, 520), (500, 541))
    );
    let conf = fs::read_to_string(Case::unpack("05-insufficient-storage").server_conf());
    assert!(conf.expect("a configuration").contains("max_file: 3GB"));
}
