//! Putting a stream under another key, another cipher, or into plaintext.
//!
//! 1. bring to its end what an earlier call left (`swap`);
//! 2. look whether the stream is under the new key already;
//! 3. judge it: what is damaged is refused, since a copy must not hide damage;
//! 4. write a complete new directory in [`REKEY_DIR`](crate::stream::REKEY_DIR), beside `streams`, where no server looks;
//! 5. read it back under the new key: every file equal by length and checksum, the same state (and digest, where asked for);
//! 6. swap by two renames, and remove the old directory.
//!
//! Until the first rename nothing of the stream is changed, and a call that dies leaves a directory that the next one
//! throws away. From the first rename on the new directory is whole and durable, and the next call finishes. At no
//! point do old and new files mix.

mod contents;
mod error;
mod stored;
mod swap;

use std::path::{Path, PathBuf};

pub use error::RekeyError;
pub use swap::interrupted;

use super::survey::survey;
use crate::crypto::{Cipher, KeyChoice, ServerKey};
use crate::env::{Entropy, FileSystem, LockError, LockGuard};
use crate::format::names::{PURGED_MESSAGES, STAGED_MESSAGES};
use crate::living::{Idle, Pulse};
use crate::recovery::{AreaState, UNDO_AREA, area_state, examine};
use crate::report::Watch;
use crate::report::stream::{ConsumerReport, Outcome, StreamReport};
use crate::stream::metadata::MetaOrigin;
use crate::stream::options::{Keys, Options, Policy};
use crate::stream::writer::{Sealing, StoreWriter};
use crate::stream::{StreamDir, account_of, is_raft_group};
use contents::{Contents, Reading};
use stored::Stored;
use swap::{Place, Swapped};

/// What a stream is to be put under.
#[derive(Debug, Clone)]
pub enum RekeyTarget {
    /// Nothing: plaintext.
    Plain,
    /// A server key.
    Key {
        /// The key.
        server: ServerKey,
        /// The cipher; `None` for the one the stream has, ChaCha for a plain one. For the log of a raft group it is always
        /// ChaCha.
        cipher: Option<Cipher>,
    },
}

/// What to do.
#[derive(Debug, Clone)]
pub struct RekeyOptions {
    /// The new key.
    pub target: RekeyTarget,
    /// Whether the old directory is kept, in [`REKEY_DIR`](crate::stream::REKEY_DIR), instead of removed.
    pub keep_old: bool,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RekeyOutcome {
    /// It is under the new key now.
    Rekeyed,
    /// It was already.
    Already,
    /// It was left as it is.
    Refused(RekeyError),
}

impl RekeyOutcome {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            RekeyOutcome::Rekeyed => "rekeyed",
            RekeyOutcome::Already => "already",
            RekeyOutcome::Refused(_) => "refused",
        }
    }

    /// The exit code it calls for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            RekeyOutcome::Rekeyed | RekeyOutcome::Already => 0,
            RekeyOutcome::Refused(error) => error.exit_code(),
        }
    }
}

/// What was done to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RekeyReport {
    /// Account, where the path shows one.
    pub account: Option<String>,
    /// Stream name.
    pub name: String,
    /// The stream directory.
    pub dir: PathBuf,
    /// How it came out.
    pub outcome: RekeyOutcome,
    /// Whether a swap that an earlier call had begun was finished or taken back first.
    pub resumed: bool,
    /// Blocks written.
    pub block_count: u64,
    /// Consumers written.
    pub consumer_count: u64,
    /// Messages the stream holds, by the examination of what was written.
    pub message_count: Option<u64>,
    /// Content digest of what was written, where the options ask for it.
    pub digest: Option<[u8; 32]>,
    /// Files that were left out, relative to the stream directory: leftovers that no server reads.
    pub left_out: Vec<String>,
    /// Where the old directory is kept.
    pub kept: Option<PathBuf>,
}

/// Puts one stream under another key. The stream must be sound; that no server uses the store is for `idle` to say.
///
/// Keys of the store as it is come in `options`; trying the new one is implied. A second call after a crash anywhere
/// finishes, or starts over.
pub fn rekey(
    fs: &dyn FileSystem,
    idle: &Idle,
    stream: &StreamDir,
    options: &Options,
    rekey: &RekeyOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> RekeyReport {
    let mut report = RekeyReport {
        account: stream.account.clone(),
        name: stream.name.clone(),
        dir: stream.dir.clone(),
        outcome: RekeyOutcome::Already,
        resumed: false,
        block_count: 0,
        consumer_count: 0,
        message_count: None,
        digest: None,
        left_out: Vec::new(),
        kept: None,
    };
    let work = Rekeying {
        fs,
        idle,
        stream,
        account: account_of(stream, options),
        options,
        rekey,
        entropy,
        watch,
    };
    report.outcome = match work.run(&mut report) {
        Ok(outcome) => outcome,
        Err(error) => RekeyOutcome::Refused(error),
    };
    report
}

/// The work on one stream.
struct Rekeying<'a> {
    fs: &'a dyn FileSystem,
    idle: &'a Idle,
    stream: &'a StreamDir,
    account: Vec<u8>,
    options: &'a Options,
    rekey: &'a RekeyOptions,
    entropy: &'a dyn Entropy,
    watch: &'a Watch<'a>,
}

impl Rekeying<'_> {
    fn run(&self, report: &mut RekeyReport) -> Result<RekeyOutcome, RekeyError> {
        if !self.idle.covers(&self.stream.dir) {
            let detail = "it was looked whether another store is in use, not this one";
            return Err(RekeyError::Busy(detail.into()));
        }
        let place = Place::of(&self.stream.dir)?;
        let _alone = self.own(&place.account_dir)?;
        let settled = place.settle(self.fs, &|dir| self.is_done(dir))?;
        report.resumed = settled != Swapped::Nothing;
        let _lock = self.own(&self.stream.dir)?;
        if self.is_done(&self.stream.dir)? {
            place.clean_up(self.fs)?;
            return Ok(match settled {
                Swapped::Finished => RekeyOutcome::Rekeyed,
                _ => RekeyOutcome::Already,
            });
        }
        let before = Pulse::take(self.fs, &self.stream.dir)?;
        let built = self
            .build(&place, report)
            .and_then(|()| self.insist_on_still(&before));
        if built.is_err() {
            // What cannot be removed now is when the next call begins.
            let _ = place.discard(self.fs);
        }
        built?;
        report.kept = place.swap(self.fs, self.rekey.keep_old)?;
        Ok(RekeyOutcome::Rekeyed)
    }

    /// Takes a directory for this process, or says who has it.
    fn own(&self, dir: &Path) -> Result<LockGuard, RekeyError> {
        self.fs.lock_exclusive(dir).map_err(|error| match error {
            LockError::HeldElsewhere { path } => RekeyError::Busy(format!(
                "{} is held: another jetsam is at work here",
                path.display()
            )),
            LockError::Io(error) => RekeyError::Io(error),
        })
    }

    /// Refuses where a file changed since `before`: a server that cannot be seen shows in nothing else.
    fn insist_on_still(&self, before: &Pulse) -> Result<(), RekeyError> {
        let after = Pulse::take(self.fs, &self.stream.dir)?;
        match before.stirred(&after) {
            None => Ok(()),
            Some(stir) => Err(RekeyError::Busy(format!(
                "{stir} while the stream was being read: somebody is using the store"
            ))),
        }
    }

    /// Whether the directory is under the target in all its parts.
    fn is_done(&self, dir: &Path) -> Result<bool, RekeyError> {
        let stream = self.at(dir);
        let options = self.read_options(self.target_keys(None));
        let report = survey(self.fs, &stream, &options)?;
        Ok(match &self.rekey.target {
            RekeyTarget::Plain => report.keys.is_empty(),
            RekeyTarget::Key { cipher, .. } => match self.fixed_cipher().or(*cipher) {
                Some(cipher) => report.is_all_under(cipher),
                None => Cipher::ALL
                    .iter()
                    .any(|cipher| report.is_all_under(*cipher)),
            },
        })
    }

    fn build(&self, place: &Place, report: &mut RekeyReport) -> Result<(), RekeyError> {
        let source_options = self.read_options(self.source_keys());
        let stored = Stored::read(self.fs, self.stream, &source_options)?;
        self.insist_on_sound(&stored)?;
        let before = self.look(self.stream, self.exact_keys(&stored), false);
        // Where keys or ciphers differ from file to file, the server's own conversion gets in the way of a judgement.
        let is_uniform = self.is_uniform(&stored)?;
        if is_uniform {
            refuse_damage(&before)?;
        }
        let cipher = self.target_cipher(&stored);
        let staged = self.at(&place.staged);
        let sealing = match (&self.rekey.target, cipher) {
            (RekeyTarget::Key { server, .. }, Some(cipher)) => Sealing::Key { server, cipher },
            _ => Sealing::Plain,
        };
        place.prepare(self.fs)?;
        let name = self.stream.name.as_bytes();
        let writer = StoreWriter::create(
            self.fs,
            &place.staged,
            name,
            &self.account,
            sealing,
            self.entropy,
        )?;
        let reading = Reading {
            fs: self.fs,
            options: &source_options,
            sealing,
            entropy: self.entropy,
            account: &self.account,
            watch: self.watch,
        };
        let written = reading.read(self.stream, Some(&writer))?;
        writer.finish()?;

        let target_options = self.read_options(self.target_keys(cipher));
        let reading = Reading {
            options: &target_options,
            ..reading
        };
        compare_contents(&written, &reading.read(&staged, None)?)?;
        // Every byte of it was just read back and is that of the old store, which was verified record by record.
        let after = self.look(&staged, target_options.keys, is_uniform);
        refuse_damage(&after)?;
        if is_uniform {
            compare_states(&before, &after)?;
        }
        report.block_count = written.block_count;
        report.consumer_count = written.consumer_count;
        report.left_out = written.left_out;
        report.message_count = after.state.map(|state| state.messages);
        report.digest = after.digest;
        Ok(())
    }

    /// Refuses what salvage or recovery have to see to first.
    fn insist_on_sound(&self, stored: &Stored) -> Result<(), RekeyError> {
        if stored.name != self.stream.name {
            return Err(RekeyError::Damaged(format!(
                "the directory holds the stream {}: give it that name first",
                stored.name
            )));
        }
        if stored.meta_origin != MetaOrigin::Sound || !stored.repairs.is_empty() {
            let details: Vec<String> = stored
                .events
                .iter()
                .map(|event| match &event.file {
                    Some(file) => format!("{file}: {}", event.detail),
                    None => event.detail.clone(),
                })
                .collect();
            return Err(RekeyError::Damaged(details.join("; ")));
        }
        for staging in [STAGED_MESSAGES, PURGED_MESSAGES] {
            if self.fs.metadata(&self.stream.dir.join(staging)).is_ok() {
                return Err(RekeyError::RecoverFirst(
                    "a purge was interrupted".to_owned(),
                ));
            }
        }
        match area_state(self.fs, &self.stream.dir) {
            Ok(AreaState::None | AreaState::Finished) => Ok(()),
            Ok(AreaState::Interrupted) => Err(RekeyError::RecoverFirst(
                "a recovery was interrupted".to_owned(),
            )),
            Err(error) => Err(RekeyError::RecoverFirst(format!("{UNDO_AREA}: {error}"))),
        }
    }

    /// Whether one key and one cipher open everything that is encrypted, and nothing else is plain.
    fn is_uniform(&self, stored: &Stored) -> Result<bool, RekeyError> {
        let options = self.read_options(self.exact_keys(stored));
        let report = survey(self.fs, self.stream, &options)?;
        Ok(match &stored.asset_key {
            Some(key) => report.is_all_under(key.cipher),
            None => report.keys.is_empty(),
        })
    }

    /// The stream directory under another path.
    fn at(&self, dir: &Path) -> StreamDir {
        StreamDir {
            dir: dir.to_owned(),
            ..self.stream.clone()
        }
    }

    /// Judges a copy of the stream: every record of it, or `quick` what a server would read.
    fn look(&self, stream: &StreamDir, keys: Keys, quick: bool) -> StreamReport {
        let mut options = self.read_options(keys);
        options.collect.digest = self.options.collect.digest;
        options.collect.entries = true;
        options.quick = quick;
        examine(self.fs, stream, &options, self.watch)
    }

    /// Options for reading a copy of the stream, wherever it lies.
    fn read_options(&self, keys: Keys) -> Options {
        Options {
            // A stream that a stand-alone server would leave out is to be rekeyed all the same.
            policy: Policy::Evidence,
            expire: self.options.expire,
            limits: self.options.limits,
            threads: self.options.threads,
            block_size: self.options.block_size,
            account: Some(self.account.clone()),
            keys,
            ..Options::new(self.options.now_ns)
        }
    }

    /// The keys the store may be under. A store half of which is under the new key already is one of them.
    fn source_keys(&self) -> Keys {
        let given = &self.options.keys;
        let new = match &self.rekey.target {
            RekeyTarget::Key { server, .. } => Some(server.clone()),
            RekeyTarget::Plain => None,
        };
        Keys {
            current: given.current.clone().or_else(|| new.clone()),
            previous: given.previous.clone().or(new),
            cipher: given.cipher,
        }
    }

    /// The one key that the stream's own files are under, so that nothing looks like a conversion.
    fn exact_keys(&self, stored: &Stored) -> Keys {
        let source = self.source_keys();
        match &stored.asset_key {
            None => Keys::default(),
            Some(key) => Keys {
                current: match key.key {
                    KeyChoice::Current => source.current,
                    KeyChoice::Previous => source.previous,
                },
                previous: None,
                cipher: Some(key.cipher),
            },
        }
    }

    fn target_keys(&self, cipher: Option<Cipher>) -> Keys {
        match &self.rekey.target {
            RekeyTarget::Plain => Keys::default(),
            RekeyTarget::Key { server, .. } => Keys {
                current: Some(server.clone()),
                previous: None,
                cipher,
            },
        }
    }

    fn fixed_cipher(&self) -> Option<Cipher> {
        is_raft_group(&self.stream.dir).then_some(Cipher::ChaCha)
    }

    /// The cipher to write with; `None` for plaintext.
    fn target_cipher(&self, stored: &Stored) -> Option<Cipher> {
        let RekeyTarget::Key { cipher, .. } = &self.rekey.target else {
            return None;
        };
        let present = stored.asset_key.as_ref().map(|key| key.cipher);
        let chosen = self.fixed_cipher().or(*cipher).or(present);
        Some(
            chosen
                .or(self.options.keys.cipher)
                .unwrap_or(Cipher::ChaCha),
        )
    }
}

fn refuse_damage(report: &StreamReport) -> Result<(), RekeyError> {
    if report.outcome < Outcome::Damaged && !report.loses_messages {
        return Ok(());
    }
    let cause = report.events.iter().max_by_key(|event| event.severity);
    Err(RekeyError::Damaged(cause.map_or_else(
        || "messages cannot be read".to_owned(),
        |event| match &event.file {
            Some(file) => format!("{file}: {}", event.detail),
            None => event.detail.clone(),
        },
    )))
}

fn compare_contents(written: &Contents, read: &Contents) -> Result<(), RekeyError> {
    let differs = written
        .sums
        .iter()
        .find(|(file, sum)| read.sums.get(*file) != Some(sum))
        .or_else(|| {
            let more = read.sums.iter();
            more.into_iter()
                .find(|(file, _)| !written.sums.contains_key(*file))
        });
    match differs {
        Some((file, _)) => Err(RekeyError::Differs(format!("{file} reads back different"))),
        None => Ok(()),
    }
}

fn compare_states(before: &StreamReport, after: &StreamReport) -> Result<(), RekeyError> {
    let consumers = |report: &StreamReport| -> Vec<ConsumerReport> { report.consumers.clone() };
    let same = [
        ("the state", before.state == after.state),
        ("the digest of the messages", before.digest == after.digest),
        ("the TTL entries", before.ttl == after.ttl),
        ("the schedules", before.schedules == after.schedules),
        ("the source positions", before.sources == after.sources),
        ("a consumer", consumers(before) == consumers(after)),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(RekeyError::Differs(format!("{what} reads back different"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
