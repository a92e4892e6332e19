//! One stream directory's metadata: whether the server would open the store at all, and under which
//! settings and keys.
//!
//! What is read and what is made of it are kept apart: [`MetaFiles::read`] does the first,
//! [`judge`] the second, from nothing but the bytes, the keys and the options.

use std::path::Path;

use super::server::{Quirk, ServerBehavior};
use crate::crypto::{Cipher, MetaKeyFault, OpenedMeta, Seed, stream_context};
use crate::format::checksum::{HashKey, hex16};
use crate::format::former::former_names;
use crate::format::meta::{self, MetaError, Storage, StreamMeta};
use crate::format::names::{META, META_KEY, META_SUM};
use crate::report::ServerVersion;
use crate::report::events::{Event, EventCode};
use crate::report::stream::Refusal;
use crate::stream::files::{FileFault, StreamFiles};
use crate::stream::options::{Keys, Options, Policy, Standing};
use crate::stream::{GLOBAL_ACCOUNT, is_raft_group};

/// The three metadata files of an asset, as far as they could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFiles {
    /// `meta.inf`.
    pub inf: Result<Vec<u8>, FileFault>,
    /// `meta.sum`.
    pub sum: Result<Vec<u8>, FileFault>,
    /// `meta.key`.
    pub key: Result<Vec<u8>, FileFault>,
}

impl MetaFiles {
    /// Reads them; `below` is empty, or a directory with a slash at its end.
    pub fn read(files: StreamFiles<'_>, below: &str) -> Self {
        let read = |name: &str| files.read(&format!("{below}{name}"));
        MetaFiles {
            inf: read(META),
            sum: read(META_SUM),
            key: read(META_KEY),
        }
    }

    /// Whether the checksum is that of a stream of this name.
    pub fn fits(&self, name: &str) -> bool {
        let sum = self.inf.as_ref().map(|inf| sum_of(name, inf));
        matches!((sum, &self.sum), (Ok(sum), Ok(found)) if found == sum.as_bytes())
    }
}

/// What the judgement goes by besides the files.
#[derive(Debug, Clone, Copy)]
pub struct StreamContext<'a> {
    /// Name of the directory.
    pub dir_name: &'a str,
    /// Names of the directories beside it, where it may bear another's.
    pub beside: &'a [String],
    /// Account name in the key derivation.
    pub account: &'a [u8],
    /// Whether this is the log of a raft group, whose settings are the server's own.
    pub raft_group: bool,
    /// Keys.
    pub keys: &'a Keys,
    /// Strictness.
    pub policy: Policy,
    /// The server.
    pub server: ServerVersion,
    /// Whether it stands alone.
    pub standing: Standing,
}

impl<'a> StreamContext<'a> {
    /// The context of the stream in `dir`. Without an account the global one is assumed; a raft
    /// group's keys are derived from its own name.
    pub fn new(
        dir: &Path,
        dir_name: &'a str,
        account: Option<&'a str>,
        options: &'a Options,
    ) -> Self {
        let raft_group = is_raft_group(dir);
        let found = if raft_group {
            dir_name
        } else {
            account.unwrap_or(GLOBAL_ACCOUNT)
        };
        StreamContext {
            dir_name,
            beside: &[],
            account: options.account.as_deref().unwrap_or(found.as_bytes()),
            raft_group,
            keys: &options.keys,
            policy: options.policy,
            server: options.server,
            standing: options.standing,
        }
    }
}

/// A stream that the server would open, as far as its metadata goes.
#[derive(Debug, Clone)]
pub struct StreamSetup {
    /// Stream name: label of hashes and keys.
    pub name: String,
    /// Account name in the key derivation.
    pub account: Vec<u8>,
    /// Settings in force, defaults filled in.
    pub meta: StreamMeta,
    /// The configured cipher, or what stands in for it.
    pub cipher: Cipher,
    /// The stream's own key, where the server gets hold of it: not during a conversion.
    pub asset_key: Option<(Seed, Cipher)>,
    /// Whether the metadata is encrypted.
    #[cfg(test)]
    pub sealed: bool,
    /// Whether another key or cipher than the configured opened it. The server then removes
    /// `meta.key` first, and takes `index.db` for plain.
    #[cfg(test)]
    pub converting: bool,
    /// Whether the open call ends by writing the metadata files anew.
    pub needs_meta: bool,
    /// Whether this is the log of a raft group.
    pub raft_group: bool,
    /// What was seen.
    pub events: Vec<Event>,
}

/// A stream that the server would not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRefused {
    /// Why.
    pub refusal: Refusal,
    /// What was seen; the last one is the cause.
    pub events: Vec<Event>,
}

/// Events so far, and ways to end.
struct Judge<'a> {
    context: StreamContext<'a>,
    events: Vec<Event>,
}

impl Judge<'_> {
    fn note(&mut self, code: EventCode, file: &str, detail: impl Into<String>) {
        self.events.push(Event::new(code, detail).file(file));
    }

    fn refuse<T>(
        &mut self,
        refusal: Refusal,
        code: EventCode,
        file: &str,
        detail: impl Into<String>,
    ) -> Result<T, StreamRefused> {
        self.note(code, file, detail);
        Err(StreamRefused {
            refusal,
            events: std::mem::take(&mut self.events),
        })
    }

    /// What makes the server leave the stream out, and is no reason not to look at it.
    fn object(
        &mut self,
        code: EventCode,
        file: &str,
        detail: impl Into<String>,
    ) -> Result<(), StreamRefused> {
        if self.context.policy == Policy::Evidence {
            self.note(code, file, detail);
            return Ok(());
        }
        self.refuse(Refusal::Skipped, code, file, detail)
    }

    fn checksum(
        &mut self,
        inf: &[u8],
        sum: Result<Vec<u8>, FileFault>,
    ) -> Result<(), StreamRefused> {
        let sum = match sum {
            Ok(sum) => sum,
            Err(FileFault::Missing) => {
                return self.object(
                    EventCode::StreamSumMissing,
                    META_SUM,
                    "the file is not there",
                );
            }
            Err(FileFault::Failed(detail)) => {
                if self.context.policy == Policy::Evidence {
                    self.note(EventCode::StreamSumUnreadable, META_SUM, detail);
                    return Ok(());
                }
                return self.refuse(
                    Refusal::Io,
                    EventCode::StreamSumUnreadable,
                    META_SUM,
                    detail,
                );
            }
        };
        let label = self.context.dir_name;
        let expected = sum_of(label, inf);
        if sum == expected.as_bytes() {
            return Ok(());
        }
        let mut detail = format!(
            "{} stored, {expected} computed for the name {label}",
            sum.escape_ascii()
        );
        // Of encrypted metadata nothing but the checksum tells whose it is.
        let own = StreamMeta::parse(inf).map(|meta| meta.name).ok();
        let beside = self.context.beside.iter().map(String::as_str);
        let names = former_names(label, own.as_deref(), beside);
        let fits = |name: &&String| sum == sum_of(name, inf).as_bytes();
        if let Some(name) = names.iter().find(fits) {
            detail = format!(
                "the directory is called {label}; the metadata is sound for the stream {name}"
            );
        }
        self.object(EventCode::StreamSumMismatch, META_SUM, detail)
    }

    /// The metadata in plain, and what it was sealed with.
    fn plain(
        &mut self,
        inf: Vec<u8>,
        key: Result<Vec<u8>, FileFault>,
    ) -> Result<(Vec<u8>, Option<OpenedMeta>), StreamRefused> {
        let StreamContext {
            dir_name,
            account,
            keys,
            ..
        } = self.context;
        let key = match key {
            Ok(key) => key,
            Err(FileFault::Missing) => return Ok((inf, None)),
            // The server takes the metadata for plain and then fails to open the store.
            Err(FileFault::Failed(detail)) => {
                return self.refuse(Refusal::Io, EventCode::KeyBad, META_KEY, detail);
            }
        };
        let ring = keys.ring(account);
        match ring.open_meta(&key, &inf, &stream_context(dir_name.as_bytes())) {
            Ok((plain, opened)) => Ok((plain, Some(opened))),
            Err(fault) => {
                let (refusal, code, file) = match fault {
                    MetaKeyFault::Short { .. } => {
                        (Refusal::Skipped, EventCode::StreamKeyShort, META_KEY)
                    }
                    MetaKeyFault::NoKey => (Refusal::NeedsKey, EventCode::KeyMissing, META_KEY),
                    MetaKeyFault::Rejected => {
                        (Refusal::NeedsKey, EventCode::StreamMetaDecryptFailed, META)
                    }
                    MetaKeyFault::Crash { .. } => {
                        (Refusal::ServerDown, EventCode::OpenWouldCrash, META)
                    }
                };
                self.refuse(refusal, code, file, fault.to_string())
            }
        }
    }

    fn parse(&mut self, plain: &[u8], sealed: bool) -> Result<StreamMeta, StreamRefused> {
        let parsed = match StreamMeta::parse(plain) {
            Err(MetaError::Value { .. }) if self.leaves_out_misfits() => {
                StreamMeta::parse_fitting(plain)
            }
            parsed => parsed.map(|meta| (meta, None)),
        };
        let (meta, misfit) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                let mut detail = error.to_string();
                let binary = matches!(error, MetaError::Syntax { .. }) && !sealed;
                if binary && plain.first().is_some_and(|byte| *byte != b'{') {
                    detail.push_str("; it may be encrypted, its key file is gone");
                }
                return self.refuse(Refusal::Skipped, EventCode::StreamMetaJson, META, detail);
            }
        };
        let server = self.context.server;
        let Some(level) = server.api_level() else {
            return Ok(meta);
        };
        if !meta.required_level.is_within(level) {
            let detail = format!(
                "the stream needs API level {}, server {server} has {level}",
                meta.required_level,
            );
            self.object(EventCode::StreamUnsupported, META, detail)?;
        }
        if let Some(misfit) = misfit {
            let detail = format!("the value is not known, the field is left out: {misfit}");
            self.object(EventCode::StreamStrictJson, META, detail)?;
        }
        let mut unknown = meta.unknown_fields.clone();
        if let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(plain) {
            let newer = server.unknown_stream_fields().iter();
            unknown.extend(
                newer
                    .filter(|name| object.contains_key(**name))
                    .map(ToString::to_string),
            );
        }
        if !unknown.is_empty() {
            let detail = format!("unknown fields: {}", unknown.join(", "));
            self.object(EventCode::StreamStrictJson, META, detail)?;
        }
        Ok(meta)
    }

    /// Whether values that do not fit cost their fields alone. Who only looks makes do with what is left, too.
    fn leaves_out_misfits(&self) -> bool {
        let server = ServerBehavior::of(self.context.server);
        self.context.policy == Policy::Evidence || server.has(Quirk::UnknownValuesOffline)
    }

    /// Mends what older servers let through.
    fn repair(&mut self, meta: StreamMeta) -> Result<StreamMeta, StreamRefused> {
        let mut subjects = meta.subjects.clone();
        for subject in &mut subjects {
            if meta::is_valid_subject(subject) {
                continue;
            }
            let trimmed = subject.trim().to_owned();
            if !meta::is_valid_subject(&trimmed) {
                let detail = format!("{subject:?} is no valid subject");
                self.object(EventCode::StreamSubjectInvalid, META, detail)?;
                continue;
            }
            let detail = format!("{subject:?} is taken for {trimmed:?}");
            self.note(EventCode::StreamSubjectRepaired, META, detail);
            *subject = trimmed;
        }
        if meta.mirror.is_none() {
            return Ok(if subjects == meta.subjects {
                meta
            } else {
                meta.with_subjects(subjects)
            });
        }
        if !subjects.is_empty() {
            let detail = "a mirror has no subjects of its own; they are dropped";
            self.note(EventCode::StreamMirrorSubjects, META, detail);
        }
        Ok(meta.with_subjects(Vec::new()).with_duplicate_window(0))
    }

    /// The settings in force.
    fn settings(&mut self, meta: StreamMeta) -> Result<StreamMeta, StreamRefused> {
        let settings = match meta.settings() {
            Ok(settings) => settings,
            Err(error) => {
                self.object(EventCode::StreamOpenFailed, META, error.to_string())?;
                return Ok(meta);
            }
        };
        if settings.replicas > 1 && self.context.standing == Standing::Standalone {
            let detail = format!(
                "the stream has {} replicas; a stand-alone server leaves it out",
                settings.replicas
            );
            self.note(EventCode::ReplicasUnsupported, META, detail);
        }
        if settings.storage != Storage::File {
            let detail = "the stream is configured to be kept in memory";
            self.object(EventCode::StreamOpenFailed, META, detail)?;
        }
        if settings.name != self.context.dir_name {
            let detail = format!(
                "the metadata is of the stream {}; the server opens a directory of that name",
                settings.name
            );
            self.object(EventCode::StreamOpenFailed, META, detail)?;
        }
        Ok(settings)
    }

    fn note_conversion(&mut self, opened: Option<&OpenedMeta>) {
        if self.context.keys.current.is_none() {
            return;
        }
        match opened {
            None => {
                let detail = "a key is configured and the stream is plain: it is encrypted";
                self.note(EventCode::StreamEncrypting, META_KEY, detail);
            }
            Some(opened) if opened.converting => {
                let detail = "the stream is under another key or cipher: it is encrypted anew";
                self.note(EventCode::StreamRekeying, META_KEY, detail);
            }
            Some(_) => {}
        }
    }
}

fn sum_of(label: &str, inf: &[u8]) -> String {
    hex16(HashKey::for_stream(label.as_bytes()).hash64(&[inf]))
}

/// Judges a stream's metadata the way a starting stand-alone server does, up to the open call of
/// its store. With [`Policy::Evidence`] only what makes the metadata useless refuses.
///
/// # Errors
///
/// [`StreamRefused`]: the server leaves the stream out or goes down, or the caller has to help.
pub fn judge(found: MetaFiles, context: StreamContext<'_>) -> Result<StreamSetup, StreamRefused> {
    if context.raft_group {
        return judge_group(found, context);
    }
    let mut judge = Judge {
        context,
        events: Vec::new(),
    };
    let MetaFiles { inf, sum, key } = found;
    let inf = match inf {
        Ok(inf) => inf,
        Err(FileFault::Missing) => {
            let detail = "the file is not there";
            return judge.refuse(Refusal::Skipped, EventCode::StreamMetaMissing, META, detail);
        }
        Err(FileFault::Failed(detail)) => {
            return judge.refuse(Refusal::Io, EventCode::StreamMetaUnreadable, META, detail);
        }
    };
    judge.checksum(&inf, sum)?;
    let (plain, opened) = judge.plain(inf, key)?;
    let meta = judge.parse(&plain, opened.is_some())?;
    let meta = judge.repair(meta)?;
    judge.note_conversion(opened.as_ref());
    let meta = judge.settings(meta)?;
    let name = meta.name.clone();
    Ok(finish(judge, meta, name, opened, false))
}

/// A raft group's log: the server does not look at its metadata, and writes it where it is absent.
fn judge_group(found: MetaFiles, context: StreamContext<'_>) -> Result<StreamSetup, StreamRefused> {
    let mut judge = Judge {
        context,
        events: Vec::new(),
    };
    let MetaFiles { inf, key, .. } = found;
    let inf = inf.unwrap_or_default();
    let absent = inf.is_empty();
    let (plain, opened) = if absent && key == Err(FileFault::Missing) {
        (inf, None)
    } else {
        judge.plain(inf, key)?
    };
    let name = context.dir_name.to_owned();
    let meta = StreamMeta::parse(&plain)
        .or_else(|_| StreamMeta::parse(b"{}"))
        .map(|meta| meta.with_name(&name));
    match meta {
        Ok(meta) => Ok(finish(judge, meta, name, opened, absent)),
        Err(error) => {
            let detail = error.to_string();
            judge.refuse(Refusal::Skipped, EventCode::StreamMetaJson, META, detail)
        }
    }
}

fn finish(
    judge: Judge<'_>,
    meta: StreamMeta,
    name: String,
    opened: Option<OpenedMeta>,
    absent: bool,
) -> StreamSetup {
    let Judge { context, events } = judge;
    let keyed = context.keys.current.is_some();
    let sealed = opened.is_some();
    let converting = opened.as_ref().is_some_and(|opened| opened.converting);
    let configured = opened.as_ref().map(|opened| opened.configured);
    StreamSetup {
        name,
        account: context.account.to_vec(),
        meta,
        cipher: configured.or(context.keys.cipher).unwrap_or(Cipher::ChaCha),
        asset_key: opened
            .filter(|opened| !opened.converting)
            .map(|opened| (opened.seed, opened.cipher)),
        #[cfg(test)]
        sealed,
        #[cfg(test)]
        converting,
        needs_meta: absent || (keyed && (!sealed || converting)),
        raft_group: context.raft_group,
        events,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::{KeyFile, Nonce, ServerKey, seal};

    const NAME: &str = "ORDERS";
    const JSON: &str = r#"{"name":"ORDERS","subjects":["o.>"]}"#;

    fn keys(current: Option<&str>, previous: Option<&str>, cipher: Option<Cipher>) -> Keys {
        let key = |text: &str| ServerKey::new(text.as_bytes().to_vec());
        Keys {
            current: current.map(key),
            previous: previous.map(key),
            cipher,
        }
    }

    fn with_sum(inf: Vec<u8>, key: Result<Vec<u8>, FileFault>) -> MetaFiles {
        let sum = sum_of(NAME, &inf).into_bytes();
        MetaFiles {
            inf: Ok(inf),
            sum: Ok(sum),
            key,
        }
    }

    fn plain(json: &str) -> MetaFiles {
        with_sum(json.as_bytes().to_vec(), Err(FileFault::Missing))
    }

    fn nonce(cipher: Cipher) -> Nonce {
        Nonce::draw(cipher, |out| {
            out.fill(7);
            Ok::<_, ()>(())
        })
        .expect("a nonce")
    }

    fn key_file(server: &str, cipher: Cipher) -> Vec<u8> {
        let kek = ServerKey::new(server.as_bytes().to_vec())
            .key_encryption_key(b"ACC", &stream_context(NAME.as_bytes()));
        KeyFile::seal(&Seed::new([9; 32]), &nonce(cipher), &kek)
    }

    fn sealed(server: &str, cipher: Cipher) -> MetaFiles {
        let inf = seal(JSON.as_bytes(), &Seed::new([9; 32]), &nonce(cipher)).expect("sealed");
        with_sum(inf, Ok(key_file(server, cipher)))
    }

    fn judged(found: MetaFiles, keys: &Keys, policy: Policy) -> Result<StreamSetup, StreamRefused> {
        let context = StreamContext {
            dir_name: NAME,
            beside: &[],
            account: b"ACC",
            raft_group: false,
            keys,
            policy,
            server: ServerVersion::REFERENCE,
            standing: Standing::Standalone,
        };
        judge(found, context)
    }

    fn refusal(found: MetaFiles, keys: &Keys) -> (Refusal, EventCode) {
        let refused = judged(found, keys, Policy::Server).expect_err("refused");
        (
            refused.refusal,
            refused.events.last().expect("a cause").code,
        )
    }

    #[test]
    fn a_sound_plain_stream() {
        let none = keys(None, None, None);
        let setup = judged(plain(JSON), &none, Policy::Server).expect("opens");
        assert_eq!((setup.name.as_str(), setup.cipher), (NAME, Cipher::ChaCha));
        assert!(!setup.sealed && !setup.converting && !setup.needs_meta);
        assert_eq!((setup.meta.max_messages, setup.events.len()), (-1, 0));
        // With a key it is encrypted on the way.
        let keyed = keys(Some("k"), None, Some(Cipher::Aes));
        let setup = judged(plain(JSON), &keyed, Policy::Server).expect("opens");
        assert!(setup.needs_meta && setup.asset_key.is_none());
        assert_eq!(setup.cipher, Cipher::Aes);
        assert_eq!(setup.events[0].code, EventCode::StreamEncrypting);
    }

    #[test]
    fn what_the_server_leaves_out() {
        let none = keys(None, None, None);
        let absent = || Err(FileFault::Missing);
        let broken = || Err(FileFault::Failed("denied".to_owned()));
        let files = |inf: Result<Vec<u8>, FileFault>, sum| MetaFiles {
            inf,
            sum,
            key: Err(FileFault::Missing),
        };
        let inf = || Ok(JSON.as_bytes().to_vec());
        let skipped = [
            (files(absent(), absent()), EventCode::StreamMetaMissing),
            (files(inf(), absent()), EventCode::StreamSumMissing),
            (
                files(inf(), Ok(b"0".to_vec())),
                EventCode::StreamSumMismatch,
            ),
            (
                with_sum(JSON.into(), Ok(vec![0; 63])),
                EventCode::StreamKeyShort,
            ),
            (plain(""), EventCode::StreamMetaJson),
            (plain("\u{1}junk"), EventCode::StreamMetaJson),
            (plain(r#"{"name":7}"#), EventCode::StreamStrictJson),
            (plain(r#"["name"]"#), EventCode::StreamMetaJson),
            (
                plain(r#"{"name":"ORDERS","x":1}"#),
                EventCode::StreamStrictJson,
            ),
            (
                plain(r#"{"name":"ORDERS","metadata":{"_nats.req.level":"6"}}"#),
                EventCode::StreamUnsupported,
            ),
            (
                plain(r#"{"name":"ORDERS","subjects":["a..b"]}"#),
                EventCode::StreamSubjectInvalid,
            ),
            (
                plain(r#"{"name":"ORDERS","max_age":1}"#),
                EventCode::StreamOpenFailed,
            ),
            (
                plain(r#"{"name":"ORDERS","storage":"memory"}"#),
                EventCode::StreamOpenFailed,
            ),
            (plain(r#"{"name":"OTHER"}"#), EventCode::StreamOpenFailed),
        ];
        for (found, code) in skipped {
            assert_eq!(refusal(found, &none), (Refusal::Skipped, code));
        }
        let help = [
            (files(broken(), inf()), EventCode::StreamMetaUnreadable),
            (files(inf(), broken()), EventCode::StreamSumUnreadable),
            (with_sum(JSON.into(), broken()), EventCode::KeyBad),
        ];
        for (found, code) in help {
            assert_eq!(refusal(found, &none), (Refusal::Io, code));
        }
    }

    #[test]
    fn a_renamed_directory_is_told_apart_from_damage() {
        let json = r#"{"name":"OTHER"}"#;
        let mut found = plain(json);
        found.sum = Ok(sum_of("OTHER", json.as_bytes()).into_bytes());
        let none = keys(None, None, None);
        let refused = judged(found.clone(), &none, Policy::Server).expect_err("refused");
        assert!(
            refused.events[0]
                .detail
                .contains("sound for the stream OTHER")
        );
        let setup = judged(found, &none, Policy::Evidence).expect("good enough");
        assert_eq!(setup.name, "OTHER");
    }

    #[test]
    fn a_renamed_directory_is_told_by_the_checksum_of_sealed_metadata_alone() {
        let sealed = b"\x01\x02sealed".to_vec();
        let found = |name: &str| MetaFiles {
            sum: Ok(sum_of(name, &sealed).into_bytes()),
            inf: Ok(sealed.clone()),
            key: Ok(vec![0; 72]),
        };
        let none = Options::new(0);
        let told = |name: &str, beside: &[String]| {
            let context = StreamContext {
                dir_name: "ORDERS_old",
                beside,
                ..StreamContext::new(Path::new("x"), "", None, &none)
            };
            let refused = judge(found(name), context).expect_err("refused");
            assert_eq!(refused.refusal, Refusal::Skipped);
            refused.events.last().expect("a cause").detail.clone()
        };
        assert!(told("ORDERS", &[]).ends_with("sound for the stream ORDERS"));
        let beside = ["EVENTS".to_owned()];
        assert!(told("EVENTS", &beside).ends_with("sound for the stream EVENTS"));
        assert!(told("EVENTS", &[]).contains("computed for the name ORDERS_old"));
    }

    #[test]
    fn who_goes_by_the_evidence_needs_no_more_than_readable_settings() {
        let none = keys(None, None, None);
        let mut found = plain(r#"{"name":"ORDERS","x":1,"num_replicas":3,"max_age":-5}"#);
        found.sum = Err(FileFault::Missing);
        let setup = judged(found, &none, Policy::Evidence).expect("good enough");
        let codes: Vec<_> = setup.events.iter().map(|event| event.code).collect();
        assert_eq!(
            codes,
            [
                EventCode::StreamSumMissing,
                EventCode::StreamStrictJson,
                EventCode::StreamOpenFailed
            ]
        );
        assert!(judged(plain("{"), &none, Policy::Evidence).is_err());
    }

    #[test]
    fn old_mistakes_are_mended() {
        let none = keys(None, None, None);
        let setup = judged(
            plain(r#"{"name":"ORDERS","subjects":[" a.b ","c"]}"#),
            &none,
            Policy::Server,
        )
        .expect("opens");
        assert_eq!(setup.meta.subjects, ["a.b", "c"]);
        assert_eq!(setup.events[0].code, EventCode::StreamSubjectRepaired);
        let mirror = plain(
            r#"{"name":"ORDERS","mirror":{"name":"M"},"subjects":["a"],"duplicate_window":9}"#,
        );
        let setup = judged(mirror, &none, Policy::Server).expect("opens");
        assert_eq!(
            (setup.meta.subjects.len(), setup.meta.duplicate_window_ns),
            (0, 0)
        );
        assert_eq!(setup.events[0].code, EventCode::StreamMirrorSubjects);
    }

    #[test]
    fn keys_and_ciphers() {
        use Cipher::{Aes, ChaCha};
        // (sealed with, given: current, previous, cipher) -> (cipher, converting)
        let cases = [
            (("k", Aes), (Some("k"), None, Some(Aes)), (Aes, false)),
            (("k", Aes), (Some("k"), None, None), (Aes, false)),
            (("k", ChaCha), (Some("k"), None, None), (ChaCha, false)),
            (("k", Aes), (Some("k"), None, Some(ChaCha)), (ChaCha, true)),
            (
                ("old", ChaCha),
                (Some("k"), Some("old"), None),
                (ChaCha, true),
            ),
            (
                ("old", Aes),
                (Some("k"), Some("old"), Some(ChaCha)),
                (ChaCha, true),
            ),
        ];
        for ((server, cipher), (current, previous, configured), expected) in cases {
            let keys = keys(current, previous, configured);
            let setup = judged(sealed(server, cipher), &keys, Policy::Server).expect("opens");
            assert_eq!((setup.cipher, setup.converting), expected);
            assert!(setup.sealed);
            assert_eq!(setup.needs_meta, setup.converting);
            assert_eq!(setup.asset_key.is_some(), !setup.converting);
        }
        let wrong = keys(Some("no"), None, None);
        assert_eq!(
            refusal(sealed("k", ChaCha), &wrong),
            (Refusal::NeedsKey, EventCode::StreamMetaDecryptFailed)
        );
        for previous in [None, Some("k")] {
            let none = keys(None, previous, None);
            assert_eq!(
                refusal(sealed("k", ChaCha), &none),
                (Refusal::NeedsKey, EventCode::KeyMissing)
            );
        }
    }

    #[test]
    fn sealed_metadata_shorter_than_its_nonce_brings_the_server_down() {
        let keys = keys(Some("k"), None, None);
        let found = with_sum(vec![1; 23], Ok(key_file("k", Cipher::ChaCha)));
        assert_eq!(
            refusal(found, &keys),
            (Refusal::ServerDown, EventCode::OpenWouldCrash)
        );
        let found = with_sum(vec![1; 24], Ok(key_file("k", Cipher::ChaCha)));
        assert_eq!(refusal(found, &keys).0, Refusal::NeedsKey);
    }

    #[test]
    fn a_raft_group_goes_by_its_name() {
        let keys = keys(None, None, None);
        let context = StreamContext {
            beside: &[],
            dir_name: "_meta_",
            account: b"_meta_",
            raft_group: true,
            keys: &keys,
            policy: Policy::Server,
            server: ServerVersion::REFERENCE,
            standing: Standing::Standalone,
        };
        let found = MetaFiles {
            inf: Err(FileFault::Missing),
            sum: Err(FileFault::Missing),
            key: Err(FileFault::Missing),
        };
        let setup = judge(found, context).expect("opens");
        assert_eq!(setup.name, "_meta_");
        assert!(setup.needs_meta && setup.meta.subjects.is_empty());
        let rules = setup.rules(&Options::new(0));
        assert!(!rules.tracks_subjects);
        assert_eq!(rules.block_size, 1024 * 1024);
    }

    #[test]
    fn rules_follow_the_settings() {
        let json = r#"{"name":"ORDERS","subjects":["a"],"max_bytes":100000,"discard":"new","max_msgs":0,
            "first_seq":7,"max_age":1000000000,"subject_delete_marker_ttl":1000000000,"persist_mode":"async",
            "sources":[{"name":"SRC","filter_subject":"x"}]}"#;
        let none = keys(None, None, None);
        let setup = judged(plain(json), &none, Policy::Server).expect("opens");
        let mut options = Options::new(5);
        let rules = setup.rules(&options);
        assert_eq!(
            (rules.max_messages, rules.max_bytes, rules.first_seq),
            (0, 100_000, 7)
        );
        assert!(!rules.discard_old && rules.delete_markers && rules.async_flush);
        assert_eq!((rules.block_size, rules.now_ns), (32_000, 5));
        let timers = setup.timer_rules(&options);
        assert!(timers.ttl && !timers.schedules);
        assert_eq!(timers.sources[0].key, b"SRC x >");
        options.block_size = Some(9);
        assert_eq!(setup.rules(&options).block_size, 9);
    }

    fn file() -> impl Strategy<Value = Result<Vec<u8>, FileFault>> {
        let key = prop_oneof![
            Just(key_file("k", Cipher::ChaCha)),
            Just(key_file("k", Cipher::Aes)),
            Just(JSON.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..80),
        ];
        prop_oneof![
            Just(Err(FileFault::Missing)),
            Just(Err(FileFault::Failed("io".to_owned()))),
            key.prop_map(Ok),
        ]
    }

    proptest! {
        /// Whatever lies in the directory, there is an answer, and a refusal has a cause.
        #[test]
        fn every_combination_has_a_verdict(
            inf in file(), sum in file(), key in file(), fits in any::<bool>(), keyed in any::<bool>(),
            evidence in any::<bool>(), raft_group in any::<bool>(),
        ) {
            let sum = match &inf {
                Ok(inf) if fits => Ok(sum_of(NAME, inf).into_bytes()),
                _ => sum,
            };
            let keys = keys(keyed.then_some("k"), None, None);
            let policy = if evidence { Policy::Evidence } else { Policy::Server };
            let context = StreamContext { dir_name: NAME, beside: &[], account: b"ACC", raft_group, keys: &keys, policy, server: ServerVersion::REFERENCE, standing: Standing::Standalone };
            match judge(MetaFiles { inf, sum, key }, context) {
                Ok(setup) => prop_assert_eq!(setup.name, NAME),
                Err(refused) => prop_assert!(!refused.events.is_empty()),
            }
        }
    }
}
