//! The consumers of one stream, as its directory has them: which a starting server brings back,
//! which it leaves out, which it cannot open.
//!
//! Nothing is changed: the server does not either while it opens the stream's store. What it would
//! do to the consumers afterwards is told by events.

use super::ignored;
use super::metadata::MetaFiles;
use super::server::{Quirk, ServerBehavior};
use super::simulate::StreamKeys;
use crate::crypto::{KeyRing, MetaKeyFault, OpenedKey, SealedError, consumer_context};
use crate::format::checksum::{HashKey, hex16};
use crate::format::consumer::{ConsumerFile, ConsumerRemains, ConsumerState};
use crate::format::meta::{ConsumerMeta, MetaError, is_valid_subject};
use crate::format::names::{CONSUMER_STATE, CONSUMERS, META, META_KEY, META_SUM};
use crate::format::subject;
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::{ConsumerReport, Outcome, Position};
use crate::stream::files::{FileFault, StreamFiles};

const OK: &str = "ok";
const SKIPPED: &str = "skipped";
const FAILED: &str = "failed";
const DELETED: &str = "deleted";

/// What became of a stream's consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumers {
    /// One report each, by name.
    pub reports: Vec<ConsumerReport>,
    /// What was seen.
    pub events: Vec<Event>,
    /// The least the stream's outcome is, given its consumers. Never [`Outcome::Refused`], and
    /// [`Outcome::Damaged`] only where one of them brings the server down: no message is lost with
    /// a consumer.
    pub outcome: Outcome,
}

/// Judges every consumer below `obs/`, in the order of their names.
pub fn judge(
    files: StreamFiles<'_>,
    keys: &StreamKeys<'_>,
    subjects: &[String],
    last_seq: u64,
    server: ServerBehavior,
) -> Consumers {
    let stream = Stream {
        files,
        keys,
        subjects,
        last_seq,
        server,
    };
    let mut found = Consumers {
        reports: Vec::new(),
        events: Vec::new(),
        outcome: Outcome::Clean,
    };
    let names = match files.list(CONSUMERS) {
        Ok(names) => names,
        Err(FileFault::Missing) => return found,
        Err(FileFault::Failed(detail)) => {
            found
                .events
                .push(Event::new(EventCode::IoError, detail).file(CONSUMERS));
            found.outcome = Outcome::Recovered;
            return found;
        }
    };
    for name in names {
        if !name.is_dir || is_stray(files, &name.name) {
            continue;
        }
        let Some(name) = name.name.to_str() else {
            let shown = name.name.to_string_lossy().into_owned();
            let detail = format!("{shown:?} is not UTF-8, so no consumer; it is passed over");
            found
                .events
                .push(Event::new(EventCode::LeftOverFile, detail).file(CONSUMERS));
            continue;
        };
        judge_one(&stream, name, &mut found);
    }
    found
}

/// Whether a directory is none of a consumer's: what file systems put everywhere, with nothing of a consumer in it.
fn is_stray(files: StreamFiles<'_>, name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let is_suspect = name == "lost+found" || name.starts_with('.');
    is_suspect
        && ![META, META_SUM, META_KEY, CONSUMER_STATE]
            .into_iter()
            .any(|file| {
                files
                    .exists(&format!("{CONSUMERS}/{name}/{file}"))
                    .unwrap_or(true)
            })
}

/// What of the stream its consumers are judged by.
struct Stream<'a> {
    files: StreamFiles<'a>,
    keys: &'a StreamKeys<'a>,
    /// What the stream takes.
    subjects: &'a [String],
    last_seq: u64,
    server: ServerBehavior,
}

fn judge_one(stream: &Stream<'_>, name: &str, found: &mut Consumers) {
    let &Stream {
        files,
        keys,
        subjects,
        last_seq,
        server,
    } = stream;
    let mut one = One {
        files,
        keys,
        subjects,
        server,
        name,
        comes_up_elsewhere: false,
        events: Vec::new(),
    };
    let (outcome, state) = match one.open() {
        Ok(state) => {
            if server.has(Quirk::ConsumersReconciled) {
                one.compare(&state, last_seq);
            }
            (OK, state)
        }
        Err(Stop::Skipped) => (SKIPPED, ConsumerState::default()),
        Err(Stop::Failed) => (FAILED, ConsumerState::default()),
        Err(Stop::Deleted) => (DELETED, ConsumerState::default()),
    };
    let comes_up = outcome == OK && !one.comes_up_elsewhere;
    let held = if comes_up { None } else { one.held() };
    let crash = |event: &Event| event.code == EventCode::OpenWouldCrash;
    let mended = outcome != OK
        || one
            .events
            .iter()
            .any(|event| event.severity > Severity::Info);
    let worst = match (one.events.iter().any(crash), mended) {
        (true, _) => Outcome::Damaged,
        (false, true) => Outcome::Recovered,
        (false, false) => Outcome::Clean,
    };
    found.outcome = found.outcome.max(worst);
    found.events.append(&mut one.events);
    found.reports.push(ConsumerReport {
        name: name.to_owned(),
        outcome,
        delivered: (state.delivered.consumer, state.delivered.stream),
        ack_floor: (state.ack_floor.consumer, state.ack_floor.stream),
        pending_count: state.pending.len() as u64,
        redelivered_count: state.redelivered.len() as u64,
        held,
    });
}

/// Why a consumer does not come back.
enum Stop {
    /// The server passes it over.
    Skipped,
    /// Its store does not open; the server keeps the directory, and its name stays taken.
    Failed,
    /// The server removes its directory.
    Deleted,
}

/// How `o.dat` is read.
enum StateKey {
    /// As it lies.
    Plain,
    /// Under the consumer's key.
    Sealed(Box<OpenedKey>),
    /// Plain still, and sealed when opened: a server that does not know it for plain, and tries to
    /// decrypt it, fails on it.
    ToSeal,
    /// Under the key of the other cipher, and has to be there for the conversion.
    Converting(Box<OpenedKey>),
}

/// One consumer being judged.
struct One<'a> {
    files: StreamFiles<'a>,
    keys: &'a StreamKeys<'a>,
    subjects: &'a [String],
    server: ServerBehavior,
    name: &'a str,
    /// Whether the server makes a consumer of another name of it, in a directory of that name.
    comes_up_elsewhere: bool,
    events: Vec<Event>,
}

impl One<'_> {
    fn path(&self, file: &str) -> String {
        format!("{CONSUMERS}/{}/{file}", self.name)
    }

    fn note(&mut self, code: EventCode, file: &str, detail: impl Into<String>) {
        self.events
            .push(Event::new(code, detail).file(self.path(file)));
    }

    fn skip<T>(
        &mut self,
        code: EventCode,
        file: &str,
        detail: impl Into<String>,
    ) -> Result<T, Stop> {
        self.note(code, file, detail);
        Err(Stop::Skipped)
    }

    fn fail<T>(
        &mut self,
        code: EventCode,
        file: &str,
        detail: impl Into<String>,
    ) -> Result<T, Stop> {
        self.note(code, file, detail);
        Err(Stop::Failed)
    }

    fn open(&mut self) -> Result<ConsumerState, Stop> {
        let found = MetaFiles::read(self.files, &self.path(""));
        let meta = self.open_meta(&found)?;
        self.compare_name(&meta);
        self.delivery(&meta.deliver_subject)?;
        let file = self.path(META);
        self.events
            .append(&mut ignored::of_consumer(&meta, self.server, &file));
        if meta.mem_storage {
            return Ok(ConsumerState::default());
        }
        let state_key = self.state_key(found.key)?;
        let detail = match self.files.read(&self.path(CONSUMER_STATE)) {
            Ok(bytes) => return self.decode(&bytes, state_key),
            Err(FileFault::Missing) if !matches!(state_key, StateKey::Converting(..)) => {
                let detail =
                    "the file is not there: delivery starts over by the consumer's deliver policy";
                self.note(EventCode::ConsumerStateMissing, CONSUMER_STATE, detail);
                return Ok(ConsumerState::default());
            }
            Err(FileFault::Missing) => {
                "it is not there, and changing the cipher needs it".to_owned()
            }
            Err(FileFault::Failed(detail)) => detail,
        };
        self.fail(EventCode::ConsumerAddFailed, CONSUMER_STATE, detail)
    }

    /// The server brings a consumer back under the name in its configuration, which names its directory.
    fn compare_name(&mut self, meta: &ConsumerMeta) {
        let name = &meta.durable;
        // An ephemeral consumer comes back under its directory's name.
        if name.is_empty() || name == self.name {
            return;
        }
        let detail = format!(
            "the consumer is called {name}: the server makes a new one of that name, without this position"
        );
        self.comes_up_elsewhere = true;
        self.note(EventCode::ConsumerRenamed, META, detail);
    }

    /// What `o.dat` tells of the position, whatever the server makes of it.
    fn held(&self) -> Option<Position> {
        let bytes = self.files.read(&self.path(CONSUMER_STATE)).ok()?;
        let key = self.files.read(&self.path(META_KEY));
        let opened;
        let plain = match key {
            Ok(key) => {
                opened = self.opened_by_any(&key, &bytes)?;
                &opened
            }
            Err(_) => &bytes,
        };
        let state = match ConsumerFile::decode(plain) {
            Ok(file) => file.state,
            Err(_) => ConsumerRemains::decode(plain)?.state,
        };
        Some(Position {
            ack_floor: (state.ack_floor.consumer, state.ack_floor.stream),
            delivered: (state.delivered.consumer, state.delivered.stream),
        })
    }

    fn opened_by_any(&self, key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
        let context = consumer_context(self.keys.stream, self.name.as_bytes());
        self.keys.ring().plaintexts(key, bytes, &context).next()
    }

    fn open_meta(&mut self, found: &MetaFiles) -> Result<ConsumerMeta, Stop> {
        let inf = match &found.inf {
            Ok(inf) => inf,
            Err(FileFault::Missing) => {
                let detail = "the file is not there";
                return self.skip(EventCode::ConsumerMetaMissing, META, detail);
            }
            Err(FileFault::Failed(detail)) => {
                return self.skip(EventCode::ConsumerMetaUnreadable, META, detail);
            }
        };
        let label = HashKey::for_consumer(self.keys.stream, self.name.as_bytes());
        match &found.sum {
            Ok(sum) if *sum == hex16(label.hash64(&[inf])).as_bytes() => {}
            Ok(_) => {
                let detail = "the checksum does not match; the server does not look at it";
                self.note(EventCode::ConsumerSumMismatch, META_SUM, detail);
            }
            Err(FileFault::Missing) => {
                let detail = "the file is not there";
                return self.skip(EventCode::ConsumerSumMissing, META_SUM, detail);
            }
            Err(FileFault::Failed(detail)) => {
                self.note(EventCode::ConsumerSumMismatch, META_SUM, detail);
            }
        }
        let opened;
        let plain = match &found.key {
            Ok(key) => {
                opened = self.open_sealed_meta(key, inf)?;
                &opened
            }
            Err(_) => inf,
        };
        self.parse(plain)
    }

    fn open_sealed_meta(&mut self, key: &[u8], inf: &[u8]) -> Result<Vec<u8>, Stop> {
        let context = consumer_context(self.keys.stream, self.name.as_bytes());
        match self.keys.ring().open_meta(key, inf, &context) {
            Ok((plain, _)) => Ok(plain),
            Err(fault @ MetaKeyFault::Crash { .. }) => {
                self.fail(EventCode::OpenWouldCrash, META, fault.to_string())
            }
            Err(fault) => {
                let detail = fault.to_string();
                self.skip(EventCode::ConsumerMetaDecryptFailed, META, detail)
            }
        }
    }

    fn parse(&mut self, plain: &[u8]) -> Result<ConsumerMeta, Stop> {
        let fitting = self.server.has(Quirk::UnknownValuesOffline);
        let parsed = match ConsumerMeta::parse(plain) {
            Err(MetaError::Value { .. }) if fitting => ConsumerMeta::parse_fitting(plain),
            parsed => parsed.map(|meta| (meta, None)),
        };
        let (meta, misfit) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                return self.skip(EventCode::ConsumerMetaJson, META, error.to_string());
            }
        };
        let server = self.server.version();
        let Some(level) = server.api_level() else {
            return Ok(meta);
        };
        if !meta.required_level.is_within(level) {
            let detail = format!(
                "the consumer needs API level {}, server {server} has {level}",
                meta.required_level,
            );
            self.note(EventCode::ConsumerUnsupported, META, detail);
        } else if let Some(misfit) = misfit {
            let detail = format!("the value is not known, the field is left out: {misfit}");
            self.note(EventCode::ConsumerStrictJson, META, detail);
        } else if !meta.unknown_fields.is_empty() {
            let detail = format!("unknown fields: {}", meta.unknown_fields.join(", "));
            self.note(EventCode::ConsumerStrictJson, META, detail);
        } else {
            return Ok(meta);
        }
        let detail = "a stand-alone server stops the whole stream over this consumer";
        self.skip(EventCode::ConsumerStreamStopped, META, detail)
    }

    /// Whether anything can be delivered to where the consumer wants it.
    fn delivery(&mut self, deliver_subject: &str) -> Result<(), Stop> {
        if deliver_subject.is_empty() {
            return Ok(());
        }
        if !subject::is_literal(deliver_subject.as_bytes()) {
            let detail = format!("it delivers to {deliver_subject:?}, which has wildcards");
            return self.skip(EventCode::ConsumerAddFailed, META, detail);
        }
        let deletes = self.server.has(Quirk::ForbiddenDeliveryDeletes);
        let valid = is_valid_subject(deliver_subject);
        if !valid || deletes && subject::is_reserved(deliver_subject) {
            let why = match valid {
                true => "which the server keeps to itself",
                false => "which is no valid subject",
            };
            if !deletes {
                let detail = format!("it delivers to {deliver_subject:?}, {why}");
                return self.skip(EventCode::ConsumerAddFailed, META, detail);
            }
            let detail =
                format!("it delivers to {deliver_subject:?}, {why}; its directory is removed");
            self.note(EventCode::ConsumerWouldBeDeleted, META, detail);
            return Err(Stop::Deleted);
        }
        let subject = deliver_subject.as_bytes();
        if let Some(own) = self
            .subjects
            .iter()
            .find(|own| subject::matches(subject, own.as_bytes()))
        {
            let detail =
                format!("it delivers to {deliver_subject:?}, which the stream takes by {own:?}");
            return self.skip(EventCode::ConsumerAddFailed, META, detail);
        }
        Ok(())
    }

    /// How the consumer's store reads `o.dat`. Unlike for the metadata, the previous key is not tried.
    fn state_key(&mut self, key: Result<Vec<u8>, FileFault>) -> Result<StateKey, Stop> {
        if self.keys.current.is_none() {
            return Ok(StateKey::Plain);
        }
        let key = match key {
            Ok(key) => key,
            Err(FileFault::Missing) => return Ok(StateKey::ToSeal),
            Err(FileFault::Failed(_)) => return Ok(StateKey::Plain),
        };
        let context = consumer_context(self.keys.stream, self.name.as_bytes());
        let current = KeyRing {
            previous: None,
            ..self.keys.ring()
        };
        match current.open(&key, &context) {
            Ok(opened) if opened.converting => return Ok(StateKey::Converting(Box::new(opened))),
            Ok(opened) => return Ok(StateKey::Sealed(Box::new(opened))),
            Err(_) => {}
        }
        let detail = "it opens under the previous key only, which the server does not try for consumers: \
                      the consumer stays out of service until its key is back";
        self.fail(EventCode::ConsumerDisabled, META_KEY, detail)
    }

    fn decode(&mut self, bytes: &[u8], key: StateKey) -> Result<ConsumerState, Stop> {
        if bytes.is_empty() && !matches!(key, StateKey::Converting(..)) {
            let detail = "the file is empty: delivery starts over at the first message";
            self.note(EventCode::ConsumerStateEmpty, CONSUMER_STATE, detail);
            return Ok(ConsumerState::default());
        }
        let opened;
        let plain = match &key {
            StateKey::Plain | StateKey::ToSeal => bytes,
            StateKey::Sealed(key) | StateKey::Converting(key) => {
                opened = self.open_state(bytes, key)?;
                &opened
            }
        };
        let file = match ConsumerFile::decode(plain) {
            Ok(file) => file,
            Err(_) if matches!(key, StateKey::ToSeal) => {
                return self.unsealed(bytes);
            }
            Err(error) => {
                return self.fail(
                    EventCode::ConsumerStateCorrupt,
                    CONSUMER_STATE,
                    error.to_string(),
                );
            }
        };
        if let Some(fault) = &file.silent_cut {
            let detail = format!("{fault}; the server takes what came before");
            let event = Event::new(EventCode::ConsumerStateCorrupt, detail);
            self.events.push(
                event
                    .file(self.path(CONSUMER_STATE))
                    .severity(Severity::Warn),
            );
        }
        Ok(file.state)
    }

    fn open_state(&mut self, bytes: &[u8], key: &OpenedKey) -> Result<Vec<u8>, Stop> {
        match key.open(bytes) {
            Ok(plain) => Ok(plain),
            Err(error @ SealedError::ShorterThanNonce { .. }) => {
                let detail = format!("{error}; the server goes down on it");
                self.fail(EventCode::OpenWouldCrash, CONSUMER_STATE, detail)
            }
            Err(error) => self.fail(
                EventCode::ConsumerStateCorrupt,
                CONSUMER_STATE,
                error.to_string(),
            ),
        }
    }

    /// The key file is gone and the state does not read as plain: a new key is made, and the state
    /// does not open under it.
    fn unsealed(&mut self, bytes: &[u8]) -> Result<ConsumerState, Stop> {
        let nonce_length = self.keys.cipher.nonce_length();
        if bytes.len() < nonce_length {
            let detail = format!(
                "it has {} bytes, fewer than a nonce of {nonce_length}, and no key file; the server goes down on it",
                bytes.len()
            );
            return self.fail(EventCode::OpenWouldCrash, CONSUMER_STATE, detail);
        }
        let detail = "it is not plain, and its key file is gone";
        self.fail(EventCode::ConsumerStateCorrupt, CONSUMER_STATE, detail)
    }

    /// A consumer that knows of more messages than the stream has.
    fn compare(&mut self, state: &ConsumerState, last_seq: u64) {
        let delivered = state.delivered.stream;
        if delivered > last_seq {
            let detail = format!(
                "delivered up to {delivered}, acknowledged up to {}, the stream ends at {last_seq}; \
                 the server cuts the consumer back",
                state.ack_floor.stream
            );
            self.note(EventCode::ConsumerAheadOfStream, CONSUMER_STATE, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::env::ReadFiles;
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::crypto::{Cipher, KeyFile, Nonce, Seed, ServerKey, seal};
    use crate::env::OsFileSystem;
    use crate::env::memory::MemoryFileSystem;
    use crate::format::consumer::{ConsumerVersion, Pending, SequencePair};
    use crate::recovery::metadata::{self, StreamContext};
    use crate::stream::find_streams;
    use crate::stream::options::Options;

    const JSON: &[u8] = br#"{"Name":"c","durable_name":"c","ack_policy":"explicit"}"#;
    const SEED: [u8; 32] = [3; 32];

    fn state() -> ConsumerState {
        let mut state = ConsumerState {
            ack_floor: SequencePair {
                consumer: 2,
                stream: 3,
            },
            delivered: SequencePair {
                consumer: 5,
                stream: 9,
            },
            ..ConsumerState::default()
        };
        state.pending.insert(
            9,
            Pending {
                consumer_sequence: 5,
                timestamp_ns: 0,
            },
        );
        state
    }

    fn plain_state() -> Vec<u8> {
        state().encode(ConsumerVersion::V2, 0)
    }

    struct Case {
        fs: MemoryFileSystem,
        current: Option<ServerKey>,
        previous: Option<ServerKey>,
    }

    impl Case {
        fn new(current: Option<&str>, previous: Option<&str>) -> Self {
            let key = |text: &str| ServerKey::new(text.as_bytes().to_vec());
            Case {
                fs: MemoryFileSystem::new(),
                current: current.map(key),
                previous: previous.map(key),
            }
        }

        fn file(self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
            self.fs.seed_file(format!("/s/obs/c/{name}"), bytes);
            self
        }

        fn meta(self, inf: &[u8]) -> Self {
            let sum = hex16(HashKey::for_consumer(b"S", b"c").hash64(&[inf]));
            self.file("meta.inf", inf).file("meta.sum", sum)
        }

        /// Metadata and state under `server` and `cipher`.
        fn sealed(self, server: &str, cipher: Cipher) -> Self {
            let (seed, nonce) = (Seed::new(SEED), nonce(cipher));
            let inf = seal(JSON, &seed, &nonce).expect("sealed");
            let state = seal(&plain_state(), &seed, &nonce).expect("sealed");
            self.meta(&inf).key(server, cipher).file("o.dat", state)
        }

        fn key(self, server: &str, cipher: Cipher) -> Self {
            let kek = ServerKey::new(server.as_bytes().to_vec())
                .key_encryption_key(b"A", &consumer_context(b"S", b"c"));
            let bytes = KeyFile::seal(&Seed::new(SEED), &nonce(cipher), &kek);
            self.file("meta.key", bytes)
        }

        fn judged(&self) -> Consumers {
            let keys = StreamKeys {
                account: b"A",
                stream: b"S",
                current: self.current.as_ref(),
                previous: self.previous.as_ref(),
                cipher: Cipher::ChaCha,
            };
            judge(
                StreamFiles::new(&self.fs, Path::new("/s")),
                &keys,
                &["own.>".to_owned()],
                9,
                ServerBehavior::default(),
            )
        }

        fn expect(&self, outcome: &str, codes: &[EventCode], worst: Outcome) {
            let found = self.judged();
            let seen: Vec<_> = found.events.iter().map(|event| event.code).collect();
            assert_eq!(
                (found.reports[0].outcome, seen.as_slice(), found.outcome),
                (outcome, codes, worst),
                "{:?}",
                found.events
            );
        }
    }

    fn nonce(cipher: Cipher) -> Nonce {
        Nonce::draw(cipher, |out| {
            out.fill(1);
            Ok::<_, ()>(())
        })
        .expect("a nonce")
    }

    fn plain() -> Case {
        Case::new(None, None).meta(JSON)
    }

    #[test]
    fn a_sound_consumer() {
        let found = plain().file("o.dat", plain_state()).judged();
        assert_eq!((found.outcome, found.events.len()), (Outcome::Clean, 0));
        assert_eq!(
            found.reports,
            [ConsumerReport {
                name: "c".to_owned(),
                outcome: OK,
                delivered: (5, 9),
                ack_floor: (2, 3),
                pending_count: 1,
                redelivered_count: 0,
                held: None,
            }]
        );
        plain().expect(OK, &[EventCode::ConsumerStateMissing], Outcome::Recovered);
        assert_eq!(Case::new(None, None).judged().reports, []);
    }

    #[test]
    fn plain_consumers() {
        use EventCode as E;
        let recovered = Outcome::Recovered;
        let empty = || Case::new(None, None);
        let cases = [
            (
                empty().file("o.dat", ""),
                SKIPPED,
                vec![E::ConsumerMetaMissing],
            ),
            (
                empty().file("meta.inf", JSON),
                SKIPPED,
                vec![E::ConsumerSumMissing],
            ),
            (
                plain().file("meta.sum", "x").file("o.dat", plain_state()),
                OK,
                vec![E::ConsumerSumMismatch],
            ),
            (empty().meta(b"{"), SKIPPED, vec![E::ConsumerMetaJson]),
            (
                empty().meta(br#"{"new":1}"#),
                SKIPPED,
                vec![E::ConsumerStrictJson, E::ConsumerStreamStopped],
            ),
            (
                empty().meta(br#"{"metadata":{"_nats.req.level":"9"}}"#),
                SKIPPED,
                vec![E::ConsumerUnsupported, E::ConsumerStreamStopped],
            ),
            (
                empty().meta(br#"{"ack_policy":"novel"}"#),
                SKIPPED,
                vec![E::ConsumerStrictJson, E::ConsumerStreamStopped],
            ),
            (plain().file("o.dat", ""), OK, vec![E::ConsumerStateEmpty]),
            (
                plain().file("o.dat", "junk"),
                FAILED,
                vec![E::ConsumerStateCorrupt],
            ),
            (
                plain().key("k", Cipher::ChaCha),
                SKIPPED,
                vec![E::ConsumerMetaDecryptFailed],
            ),
        ];
        for (case, outcome, codes) in cases {
            case.expect(outcome, &codes, recovered);
        }
        empty()
            .meta(br#"{"mem_storage":true}"#)
            .file("o.dat", "junk")
            .expect(OK, &[], Outcome::Clean);
    }

    #[test]
    fn where_a_consumer_delivers_to_decides_too() {
        use EventCode as E;
        let empty = || Case::new(None, None);
        let cases = [
            (
                empty().meta(br#"{"deliver_subject":"$JS.ACK.x"}"#),
                DELETED,
                vec![E::ConsumerWouldBeDeleted],
            ),
            (
                empty().meta(br#"{"deliver_subject":"a b"}"#),
                DELETED,
                vec![E::ConsumerWouldBeDeleted],
            ),
            (
                empty().meta(br#"{"deliver_subject":"a.>"}"#),
                SKIPPED,
                vec![E::ConsumerAddFailed],
            ),
            (
                empty().meta(br#"{"deliver_subject":"own.a"}"#),
                SKIPPED,
                vec![E::ConsumerAddFailed],
            ),
            (
                empty().meta(br#"{"deliver_subject":"owned.a"}"#),
                OK,
                vec![E::ConsumerStateMissing],
            ),
        ];
        for (case, outcome, codes) in cases {
            case.expect(outcome, &codes, Outcome::Recovered);
        }
    }

    #[test]
    fn a_consumer_ahead_of_its_stream() {
        let ahead = ConsumerState {
            delivered: SequencePair {
                consumer: 5,
                stream: 10,
            },
            ..state()
        };
        plain()
            .file("o.dat", ahead.encode(ConsumerVersion::V2, 0))
            .expect(OK, &[EventCode::ConsumerAheadOfStream], Outcome::Recovered);
    }

    #[test]
    fn encrypted_consumers() {
        use EventCode as E;
        let keyed = || Case::new(Some("k"), Some("old"));
        keyed()
            .sealed("k", Cipher::ChaCha)
            .expect(OK, &[], Outcome::Clean);
        // The other cipher is converted, but only with a state to convert.
        keyed()
            .sealed("k", Cipher::Aes)
            .expect(OK, &[], Outcome::Clean);
        let inf = seal(JSON, &Seed::new(SEED), &nonce(Cipher::Aes)).expect("sealed");
        let stateless = || keyed().meta(&inf).key("k", Cipher::Aes);
        stateless().expect(FAILED, &[E::ConsumerAddFailed], Outcome::Recovered);
        stateless()
            .file("o.dat", "")
            .expect(FAILED, &[E::OpenWouldCrash], Outcome::Damaged);
        // The previous key opens the metadata and not the state.
        keyed().sealed("old", Cipher::ChaCha).expect(
            FAILED,
            &[E::ConsumerDisabled],
            Outcome::Recovered,
        );
        let stranger = keyed().sealed("else", Cipher::ChaCha);
        stranger.expect(SKIPPED, &[E::ConsumerMetaDecryptFailed], Outcome::Recovered);
        keyed()
            .sealed("k", Cipher::ChaCha)
            .file("o.dat", vec![0; 23])
            .expect(FAILED, &[E::OpenWouldCrash], Outcome::Damaged);
        keyed()
            .sealed("k", Cipher::ChaCha)
            .file("o.dat", vec![0; 60])
            .expect(FAILED, &[E::ConsumerStateCorrupt], Outcome::Recovered);
        keyed().meta(&[0; 5]).key("k", Cipher::ChaCha).expect(
            FAILED,
            &[E::OpenWouldCrash],
            Outcome::Damaged,
        );
    }

    #[test]
    fn consumers_about_to_be_encrypted() {
        use EventCode as E;
        let bare = || Case::new(Some("k"), None).meta(JSON);
        bare().expect(OK, &[E::ConsumerStateMissing], Outcome::Recovered);
        bare()
            .file("o.dat", plain_state())
            .expect(OK, &[], Outcome::Clean);
        bare().file("o.dat", vec![9; 50]).expect(
            FAILED,
            &[E::ConsumerStateCorrupt],
            Outcome::Recovered,
        );
        bare()
            .file("o.dat", vec![9; 5])
            .expect(FAILED, &[E::OpenWouldCrash], Outcome::Damaged);
    }

    fn pair(state: &Value, name: &str) -> (u64, u64) {
        let number = |field: &str| {
            let found = state.get(name).and_then(|pair| pair.get(field));
            found.and_then(Value::as_u64).unwrap_or_default()
        };
        (number("consumer_seq"), number("stream_seq"))
    }

    fn count(state: &Value, name: &str) -> u64 {
        state
            .get(name)
            .and_then(Value::as_object)
            .map_or(0, |map| map.len() as u64)
    }

    /// Everything real servers left behind, against what the server makes of it.
    #[test]
    fn golden_consumers_have_the_state_the_server_gives_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
        let list = |dir: &Path| OsFileSystem.list(dir).unwrap_or_default();
        let mut options = Options::new(0);
        let mut seen = 0;
        for version in list(&root) {
            for case in list(&root.join(&version.name)) {
                let dir = root.join(&version.name).join(&case.name);
                let plain = !case.name.to_string_lossy().contains("chacha")
                    && !case.name.to_string_lossy().contains("aes");
                options.keys.current =
                    (!plain).then(|| ServerKey::new(b"sekret-fixture-key".to_vec()));
                for stream in find_streams(&OsFileSystem, &dir).expect("streams").streams {
                    let account = stream.account.clone().expect("an account");
                    let verdict = dir.join(format!("verdict/{account}/{}.json", stream.name));
                    let verdict = OsFileSystem.read(&verdict, 1 << 30).expect("a verdict");
                    let verdict: Value = serde_json::from_slice(&verdict).expect("JSON");
                    seen += compare_golden(&stream.dir, &account, &stream.name, &options, &verdict);
                }
            }
        }
        assert!(seen > 100, "only {seen} consumers found");
    }

    fn compare_golden(
        dir: &Path,
        account: &str,
        name: &str,
        options: &Options,
        verdict: &Value,
    ) -> usize {
        let files = StreamFiles::new(&OsFileSystem, dir);
        let context = StreamContext::new(dir, name, Some(account), options);
        let setup = metadata::judge(MetaFiles::read(files, ""), context).expect("opens");
        assert_eq!(setup.events, [], "{}", dir.display());
        assert_eq!(
            setup.meta,
            setup.meta.settings().expect("settled"),
            "{}",
            dir.display()
        );
        let last_seq = verdict.pointer("/state/last_seq").and_then(Value::as_u64);
        let found = judge(
            files,
            &setup.keys(options),
            &[],
            last_seq.expect("a state"),
            ServerBehavior::default(),
        );
        let theirs = verdict.get("consumers").and_then(Value::as_array);
        let theirs = theirs.map(Vec::as_slice).unwrap_or_default();
        assert_eq!(found.reports.len(), theirs.len(), "{}", dir.display());
        for (ours, theirs) in found.reports.iter().zip(theirs) {
            let place = format!("{}: {}", dir.display(), ours.name);
            assert_eq!(
                theirs.get("name").and_then(Value::as_str),
                Some(ours.name.as_str())
            );
            let opened = theirs.get("outcome").and_then(Value::as_str) == Some("opened");
            assert_eq!(opened, ours.outcome == OK, "{place}: {:?}", found.events);
            let state = theirs.get("state").unwrap_or(&Value::Null);
            assert_eq!(pair(state, "delivered"), ours.delivered, "{place}");
            assert_eq!(pair(state, "ack_floor"), ours.ack_floor, "{place}");
            assert_eq!(count(state, "pending"), ours.pending_count, "{place}");
            assert_eq!(
                count(state, "redelivered"),
                ours.redelivered_count,
                "{place}"
            );
        }
        theirs.len()
    }
}
