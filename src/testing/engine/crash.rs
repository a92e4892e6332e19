//! The same life, ended at every call to the disk, or with every call to the disk failing once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use super::model::{ModelLimits, ModelStream};
use super::moments::{between, found_by};
use super::script::{EngineScript, EngineSetup, EngineStep};
use super::taking::{StepEnd, take};
use crate::env::memory::{Fault, MemoryFileSystem, Unsynced};
use crate::store::{
    AppendError, Level, NewMessage, PurgeRequest, RemoveError, Store, TidyBudget, Writer,
    WriterFault,
};

/// What a disk answers that takes no more, one that breaks, one that was mounted anew, and one that is not ours.
const KINDS: [ErrorKind; 4] = [
    ErrorKind::StorageFull,
    ErrorKind::Other,
    ErrorKind::ReadOnlyFilesystem,
    ErrorKind::PermissionDenied,
];

/// What ending lives came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrashTally {
    /// Calls at which a life was ended, or that failed.
    pub call_count: u64,
    /// Failures that the engine did not need to tell of, and went on.
    pub outlived_count: u64,
    /// Disks that were judged.
    pub image_count: u64,
    /// Those of them that were opened: the others are the same as one that was.
    pub opened_count: u64,
    /// What was wrong.
    pub violations: Vec<String>,
}

/// Lives a seed's life and opens what a kill at every call to the disk leaves: all of it, what of it was synced, and a mixture. `stride`
/// leaves out all but every so-manieth call. What is the same to the byte after several calls of a step is opened once.
#[must_use]
pub fn crash_everywhere(seed: u64, step_count: usize, stride: usize) -> CrashTally {
    let mut tally = CrashTally::default();
    let mut opened = BTreeSet::new();
    let mut step = 0;
    let life = lived(seed, step_count, &mut |life, number, left| {
        if number % stride.max(1) != 0 {
            return;
        }
        if std::mem::replace(&mut step, life.steps.len()) != life.steps.len() {
            opened.clear();
        }
        tally.call_count += 1;
        life.judge_all(seed, number, left, &mut opened, &mut tally);
    });
    let wrong = life.wrong.map(|what| format!("seed {seed}: {what}"));
    tally.violations.extend(wrong);
    tally
}

/// Lives a seed's life once for every call to the disk it makes, and has that call alone fail: a full disk, a short write, a failed sync
/// or rename. The writer then has to refuse everything with that cause while readers go on, or the call was one that nothing hangs on;
/// and what is left opens as after a crash. `stride` leaves out all but every so-manieth call.
#[must_use]
pub fn fail_everywhere(seed: u64, step_count: usize, stride: usize) -> CrashTally {
    let mut tally = CrashTally::default();
    let whole = lived_with(seed, step_count, None);
    let call_count = whole.fs.calls().len();
    for number in (0..call_count).step_by(stride.max(1)) {
        let nth = number.wrapping_add(seed as usize) % KINDS.len();
        let fault = Fault::FailCall {
            number,
            kind: KINDS.get(nth).copied().unwrap_or(ErrorKind::Other),
            written: written(number),
        };
        let life = lived_with(seed, step_count, Some(fault));
        tally.call_count += 1;
        tally.outlived_count += u64::from(!life.is_ended);
        if let Some(what) = &life.wrong {
            tally
                .violations
                .push(format!("seed {seed}, call {number}: {what}"));
            continue;
        }
        life.judge_all(seed, number, &life.fs, &mut BTreeSet::new(), &mut tally);
    }
    tally
}

/// How much of a write that is the last call gets to the disk, by the number of the call.
fn written(number: usize) -> Option<usize> {
    (number % 3 == 1).then_some(number % 29)
}

/// The disk of a life that a kill ended at a call, as a program of another kind may open it.
pub struct LeftBehind {
    fs: MemoryFileSystem,
    setup: EngineSetup,
    limits: ModelLimits,
    now_ns: i64,
    call: usize,
}

impl LeftBehind {
    /// The number of the call that was the last.
    #[must_use]
    pub fn call(&self) -> usize {
        self.call
    }

    /// The time by then, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// Bytes a block may grow to.
    #[must_use]
    pub fn block_size(&self) -> u64 {
        self.setup.block_size()
    }

    /// The account in the derivation of keys.
    #[must_use]
    pub fn account(&self) -> &'static str {
        super::script::ACCOUNT
    }

    /// Cipher, by its name, and key.
    #[must_use]
    pub fn key(&self) -> Option<(&'static str, &'static str)> {
        self.setup.key()
    }

    /// The stream's configuration as JSON.
    #[must_use]
    pub fn stream(&self) -> serde_json::Value {
        self.setup.config_json(&self.limits)
    }

    /// Whether limits of subjects and of the whole stream meet. The server's start goes by them in another order than its appends, and
    /// takes more where an end came between a message and what it drives out.
    #[must_use]
    pub fn has_crossed_limits(&self) -> bool {
        let limits = &self.limits;
        limits.max_messages_per_subject > 0 && (limits.max_messages > 0 || limits.max_bytes > 0)
    }

    /// Directories, relative to the stream's.
    #[must_use]
    pub fn dirs(&self) -> Vec<PathBuf> {
        let files = self.files();
        let above = files.iter().filter_map(|(path, _)| path.parent());
        let mut dirs: Vec<PathBuf> = above.map(PathBuf::from).collect();
        dirs.push("obs".into());
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// Files, relative to the stream's directory, with their bytes.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.fs.files();
        let inside = files.into_iter().filter_map(|(path, bytes)| {
            let inside = path.strip_prefix(super::script::DIR).ok()?.to_owned();
            let is_lock = inside.as_os_str() == crate::env::LOCK_FILE_NAME;
            (!is_lock).then_some((inside, bytes))
        });
        inside.collect()
    }
}

/// Lives a seed's life, and gives what a kill at every so-manieth call to the disk leaves. Ends within a change of several files that no
/// server has a way to finish are left out: the exchange of a configuration.
#[must_use]
pub fn left_behind(seed: u64, step_count: usize, stride: usize) -> Vec<LeftBehind> {
    let mut all = Vec::new();
    lived(seed, step_count, &mut |life, number, left| {
        if number % stride.max(1) != 0 || life.changes_limits {
            return;
        }
        let left = LeftBehind {
            fs: left.crash_image(Unsynced::Kept),
            setup: life.script.setup.clone(),
            limits: life.script.model.limits,
            now_ns: life.script.now_ns,
            call: number,
        };
        // Before a stream is made there is nothing to open.
        all.extend((!left.files().is_empty()).then_some(left));
    });
    all
}

/// Directories, and files with their bytes.
type Image = (Vec<PathBuf>, BTreeMap<PathBuf, Vec<u8>>);

/// A life that ended.
struct Life {
    fs: MemoryFileSystem,
    script: EngineScript,
    /// The models since the last moment that a kill cannot take back, and since the last that a power cut cannot.
    since_written: Vec<ModelStream>,
    since_synced: Vec<ModelStream>,
    wrong: Option<String>,
    /// The fault that is to come.
    fault: Option<Fault>,
    /// The fault came, and the life ended by it.
    is_ended: bool,
    /// The steps begun, in short.
    steps: Vec<String>,
    /// The last of them changes limits.
    changes_limits: bool,
}

/// What is done with the disk that a kill at a call leaves, within the step that is the life's last.
type AtEnd<'a> = &'a mut dyn FnMut(&Life, usize, &MemoryFileSystem);

/// A life without a fault.
fn lived(seed: u64, step_count: usize, at_end: AtEnd<'_>) -> Life {
    let mut life = Life::new(seed, None);
    life.fs.keep_crashes(written);
    life.wrong = life.live(seed, step_count, at_end).err();
    life
}

fn lived_with(seed: u64, step_count: usize, fault: Option<Fault>) -> Life {
    let mut life = Life::new(seed, fault);
    life.wrong = life.live(seed, step_count, &mut |_, _, _| {}).err();
    life
}

impl Life {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let fs = MemoryFileSystem::new();
        if let Some(fault) = &fault {
            fs.inject(fault.clone());
        }
        let script = EngineScript::new(seed);
        let model = script.model.clone();
        Life {
            fs,
            script,
            since_written: vec![model.clone()],
            since_synced: vec![model],
            wrong: None,
            fault,
            is_ended: false,
            steps: Vec::new(),
            changes_limits: false,
        }
    }

    fn live(&mut self, seed: u64, step_count: usize, at_end: AtEnd<'_>) -> Result<(), String> {
        let Ok((mut store, mut writer)) =
            self.script.setup.open(&self.fs, self.script.now_ns, seed)
        else {
            return self.open_again(seed);
        };
        self.end_within_step(at_end);
        for nth in 0..step_count {
            let step = self.script.draw();
            let after = self.script.after(&step);
            self.steps.push(step.name());
            self.changes_limits = matches!(step, EngineStep::Limits(_));
            // From here on the step may have happened, in part or whole.
            if let Some(committed) = self.script.committed(&step) {
                self.since_written.push(committed.clone());
                self.since_synced.push(committed);
            }
            self.since_written.push(after.clone());
            self.since_synced.push(after.clone());
            if step == EngineStep::Reopen {
                let seed = seed + nth as u64;
                if store.close(writer).is_err() {
                    return self.open_again(seed);
                }
                match self.script.setup.open(&self.fs, self.script.now_ns, seed) {
                    Ok(opened) => (store, writer) = opened,
                    Err(_) => return self.open_again(seed),
                }
            } else {
                let (setup, before) = (&self.script.setup, &self.script.model);
                match take(
                    &mut writer,
                    &step,
                    before,
                    &after,
                    setup,
                    self.script.now_ns,
                ) {
                    Ok(()) => {}
                    Err(StepEnd::Disk) => {
                        self.is_ended = true;
                        let ended = self
                            .refuses(&mut writer)
                            .and_then(|()| self.reads(&store, &step));
                        return ended.map_err(|what| format!("after {}: {what}", step.name()));
                    }
                    Err(StepEnd::Wrong(what)) => return Err(format!("{}: {what}", step.name())),
                }
            }
            self.end_within_step(at_end);
            let closed = std::mem::replace(&mut self.script.model, after.clone());
            self.since_written = vec![after.clone()];
            let is_synced = self.script.setup.level == Level::Synced
                || matches!(step, EngineStep::Sync | EngineStep::Tidy);
            if is_synced {
                self.since_synced = vec![after];
            } else if step == EngineStep::Reopen {
                // What was closed is safe; what the start took from it no more than the level says.
                self.since_synced = vec![closed, after];
            }
        }
        Ok(())
    }

    /// The ends that lie within the last step, call by call.
    fn end_within_step(&self, at_end: AtEnd<'_>) {
        for (number, left) in self.fs.take_crashes() {
            at_end(self, number, &left);
        }
    }

    /// A start or an end that failed: nothing of it is in the way of the next start, unless the disk is gone for good.
    fn open_again(&mut self, seed: u64) -> Result<(), String> {
        self.is_ended = true;
        if !matches!(self.fault, Some(Fault::FailCall { .. })) {
            return Ok(());
        }
        // On a copy: what this start does is not what is judged.
        let left = self.fs.fork();
        match self.script.setup.open(&left, self.script.now_ns, seed) {
            Ok(_) => Ok(()),
            Err(what) => Err(format!("does not open again: {what}")),
        }
    }

    /// Whether a writer that failed refuses everything, and says why.
    fn refuses(&self, writer: &mut Writer) -> Result<(), String> {
        let Some(cause) = writer.latched().cloned() else {
            return Err("the writer is not latched".to_owned());
        };
        let kind = match &self.fault {
            Some(Fault::FailCall { kind, .. }) => *kind,
            _ => ErrorKind::Other,
        };
        if cause.kind != kind {
            return Err(format!("latched with {cause}, not with {kind:?}"));
        }
        let now_ns = self.script.now_ns;
        let next = NewMessage {
            subject: b"f",
            headers: b"",
            body: b"",
        };
        let before = self.fs.calls().len();
        let config = self.script.setup.config(&self.script.model.limits);
        let fault_of = |error: RemoveError| match error {
            RemoveError::Fault(fault) => Some(fault),
            _ => None,
        };
        let appender = |error: AppendError| match error {
            AppendError::Fault(fault) => Some(fault),
            _ => None,
        };
        let first_seq = self.script.model.first_seq();
        let answers = [
            writer.append(&next, now_ns).err().and_then(appender),
            writer.skip(None, now_ns).err().and_then(appender),
            writer.remove(first_seq).err().and_then(fault_of),
            writer.erase(first_seq).err().and_then(fault_of),
            writer
                .purge(&PurgeRequest::default())
                .err()
                .and_then(fault_of),
            writer.compact(first_seq + 1).err().and_then(fault_of),
            writer.truncate(first_seq).err().and_then(fault_of),
            writer.maintain(now_ns).err().and_then(appender),
            writer.update_config(&config).err(),
            writer.flush().err(),
            writer.sync().err(),
            writer.tidy(TidyBudget::default()).err(),
        ];
        let expected = Some(WriterFault::Latched(cause.into()));
        match answers.iter().position(|answer| *answer != expected) {
            Some(nth) => Err(format!(
                "call {nth} after the failure: {:?}",
                answers.get(nth)
            )),
            None if self.fs.calls().len() != before => {
                Err("a latched writer called the disk".to_owned())
            }
            None => Ok(()),
        }
    }

    /// Whether the readers of a store whose writer failed go on, with what was there before or is there now.
    fn reads(&self, store: &Store, step: &EngineStep) -> Result<(), String> {
        let found = found_by(&store.reader())?;
        let last_seq = store.reader().summary().last.seq;
        let mut moments = self.since_written.clone();
        let appended = match step {
            EngineStep::Append(message) | EngineStep::RollUp(message, _) => {
                std::slice::from_ref(message)
            }
            EngineStep::Batch(_, appended) => appended.as_slice(),
            _ => &[],
        };
        // Stored, and nothing of what the limits have no room for is gone yet; it may be among these themselves.
        let mut stored = self.script.model.clone();
        for message in appended {
            stored.last_seq += 1;
            stored.messages.insert(stored.last_seq, message.clone());
        }
        if moments
            .iter()
            .any(|moment| moment.last_seq == stored.last_seq)
        {
            moments.push(stored);
        }
        between(&moments, &found, last_seq, self.script.now_ns)
    }

    /// Judges what the end at a call leaves: as the killed process leaves it, without anything that was not synced, and a mixture.
    /// `opened` has what was judged in this step by rules that are no milder.
    fn judge_all(
        &self,
        seed: u64,
        number: usize,
        left: &MemoryFileSystem,
        opened: &mut BTreeSet<(Image, bool)>,
        tally: &mut CrashTally,
    ) {
        let torn = Unsynced::Torn {
            seed: seed ^ number as u64,
        };
        for unsynced in [Unsynced::Kept, Unsynced::Dropped, torn] {
            let image = left.crash_image(unsynced);
            let known = (image.dirs(), image.files());
            tally.image_count += 1;
            let is_kill = unsynced == Unsynced::Kept;
            // What a kill may leave is held against fewer moments than what a power cut may.
            let is_known = opened.contains(&(known.clone(), true));
            if is_known || !opened.insert((known, is_kill)) {
                continue;
            }
            tally.opened_count += 1;
            if let Err(what) = self.judge(&image, is_kill, seed) {
                let found = names_of(&left.crash_image(unsynced));
                let calls = self.fs.calls();
                let calls = calls
                    .iter()
                    .take(number + 1)
                    .skip((number + 1).saturating_sub(14));
                let calls: Vec<String> = calls
                    .map(|call| format!("{:?} {}", call.operation, call.path.display()))
                    .collect();
                let steps = [self.steps.join(", "), calls.join(", ")].join("\n");
                let text = format!(
                    "seed {seed}, call {number}, {unsynced:?}: {what}\nfound: {found}\n{steps}"
                );
                tally.violations.push(text);
            }
        }
    }

    /// Opens what is left, and holds it against every moment it may be of.
    fn judge(&self, image: &MemoryFileSystem, is_kill: bool, seed: u64) -> Result<(), String> {
        let moments = match is_kill {
            true => &self.since_written,
            false => &self.since_synced,
        };
        let now_ns = self.script.now_ns;
        let setup = &self.script.setup;
        let opened = match is_kill {
            // Nobody is asked to accept a loss because a process was killed.
            true => setup.open(image, now_ns, seed),
            false => setup.open_whatever_is_left(image, now_ns, seed),
        };
        let (store, mut writer) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(format!("does not open: {error}")),
        };
        let reader = store.reader();
        let found = found_by(&reader)?;
        let summary = reader.summary();
        let told = |what: String| {
            let events = store.report().events.iter();
            let events: Vec<&str> = events.map(|event| event.detail.as_str()).collect();
            let actions = store.report().actions.iter();
            let actions: Vec<String> = actions
                .map(|action| format!("{:?} {}", action.kind, action.file))
                .collect();
            let (events, actions) = (events.join("; "), actions.join(", "));
            let now = names_of(image);
            format!("{what}\nsaid: {events}\ndone: {actions}\nnow: {now}")
        };
        between(moments, &found, summary.last.seq, now_ns).map_err(told)?;
        // Life goes on.
        let next = NewMessage {
            subject: b"f",
            headers: b"",
            body: b"",
        };
        let appended = writer.append_at(&next, None, now_ns);
        match appended {
            Ok(appended) if appended.seq == summary.last.seq + 1 => {}
            other => return Err(format!("append afterwards: {other:?}")),
        }
        store.close(writer).map_err(|fault| fault.to_string())
    }
}

fn names_of(fs: &MemoryFileSystem) -> String {
    let files = fs.files();
    let named = files
        .iter()
        .map(|(path, bytes)| format!("{} {}", path.display(), bytes.len()));
    named.collect::<Vec<_>>().join(", ")
}
