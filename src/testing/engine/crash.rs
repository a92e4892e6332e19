//! The same life, ended at every call to the disk.

use std::collections::BTreeMap;

use super::model::{ModelMessage, ModelStream};
use super::script::{EngineScript, EngineStep, StepEnd, take};
use crate::env::memory::{Fault, MemoryFileSystem, Unsynced};
use crate::store::Level;

/// What ending lives came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrashTally {
    /// Calls at which a life was ended.
    pub call_count: u64,
    /// Disks that were opened again.
    pub image_count: u64,
    /// What was wrong.
    pub violations: Vec<String>,
}

/// Lives a seed's life once for every call to the disk it makes, ends it there, and opens what is left: as the killed process leaves it,
/// without anything that was not synced, and with mixtures. `stride` leaves out all but every so-manieth call.
#[must_use]
pub fn crash_everywhere(seed: u64, step_count: usize, stride: usize) -> CrashTally {
    let mut tally = CrashTally::default();
    let whole = lived(seed, step_count, None);
    let call_count = whole.fs.calls().len();
    for number in (0..call_count).step_by(stride.max(1)) {
        let written = (number % 3 == 1).then_some(number % 29);
        let life = lived(seed, step_count, Some(Fault::Crash { number, written }));
        tally.call_count += 1;
        if let Some(what) = &life.wrong {
            tally
                .violations
                .push(format!("seed {seed}, call {number}: {what}"));
            continue;
        }
        let torn = Unsynced::Torn {
            seed: seed ^ number as u64,
        };
        for unsynced in [Unsynced::Kept, Unsynced::Dropped, torn] {
            tally.image_count += 1;
            if let Err(what) = life.judge(unsynced, seed) {
                let calls = life.fs.calls();
                let calls = calls.iter().rev().take(14).rev();
                let calls: Vec<String> = calls
                    .map(|call| format!("{:?} {}", call.operation, call.path.display()))
                    .collect();
                let steps = [life.steps.join(", "), calls.join(", ")].join("\n");
                let text = format!("seed {seed}, call {number}, {unsynced:?}: {what}\n{steps}");
                tally.violations.push(text);
            }
        }
    }
    tally
}

/// A life that ended.
struct Life {
    fs: MemoryFileSystem,
    script: EngineScript,
    /// The store was made.
    is_made: bool,
    /// The models since the last moment that a kill cannot take back, and since the last that a power cut cannot.
    since_written: Vec<ModelStream>,
    since_synced: Vec<ModelStream>,
    wrong: Option<String>,
    /// The steps begun, in short.
    steps: Vec<String>,
}

fn lived(seed: u64, step_count: usize, fault: Option<Fault>) -> Life {
    let fs = MemoryFileSystem::new();
    if let Some(fault) = fault {
        fs.inject(fault);
    }
    let script = EngineScript::new(seed);
    let model = script.model.clone();
    let mut life = Life {
        fs,
        script,
        is_made: false,
        since_written: vec![model.clone()],
        since_synced: vec![model],
        wrong: None,
        steps: Vec::new(),
    };
    life.wrong = life.live(seed, step_count).err();
    life
}

impl Life {
    fn live(&mut self, seed: u64, step_count: usize) -> Result<(), String> {
        let Ok((mut store, mut writer)) =
            self.script.setup.open(&self.fs, self.script.now_ns, seed)
        else {
            return Ok(());
        };
        self.is_made = true;
        for nth in 0..step_count {
            let step = self.script.draw();
            let after = self.script.after(&step);
            self.steps.push(step.name());
            // From here on the step may have happened, in part or whole.
            self.since_written.push(after.clone());
            self.since_synced.push(after.clone());
            if step == EngineStep::Reopen {
                if store.close(writer).is_err() {
                    return Ok(());
                }
                let seed = seed + nth as u64;
                match self.script.setup.open(&self.fs, self.script.now_ns, seed) {
                    Ok(opened) => (store, writer) = opened,
                    Err(_) => return Ok(()),
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
                    Err(StepEnd::Disk) => return Ok(()),
                    Err(StepEnd::Wrong(what)) => return Err(format!("{step:?}: {what}")),
                }
            }
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

    /// Opens what is left, and holds it against every moment it may be of.
    fn judge(&self, unsynced: Unsynced, seed: u64) -> Result<(), String> {
        let moments = match unsynced {
            Unsynced::Kept => &self.since_written,
            _ => &self.since_synced,
        };
        let image = self.fs.crash_image(unsynced);
        let now_ns = self.script.now_ns;
        let left = names_of(&image);
        let (store, mut writer) = match self.script.setup.open(&image, now_ns, seed) {
            Ok(opened) => opened,
            // The store was never made, or its configuration was being exchanged.
            Err(_) if !self.is_made => return Ok(()),
            Err(error) => return Err(format!("does not open: {error}")),
        };
        let reader = store.reader();
        let mut found: BTreeMap<u64, ModelMessage> = BTreeMap::new();
        let mut from = 0;
        while let Ok(message) = reader.next(&[], from) {
            from = message.seq + 1;
            let subject = String::from_utf8_lossy(message.subject()).into_owned();
            let known = ModelMessage {
                subject,
                headers: message.headers().to_vec(),
                body: message.body().to_vec(),
                timestamp_ns: message.timestamp_ns,
            };
            found.insert(message.seq, known);
        }
        let summary = reader.summary();
        if summary.message_count != found.len() as u64 {
            let count = summary.message_count;
            return Err(format!("{count} messages counted, {} read", found.len()));
        }
        let told = |what: String| {
            let events = store.report().events.iter();
            let events: Vec<&str> = events.map(|event| event.detail.as_str()).collect();
            let actions = store.report().actions.iter();
            let actions: Vec<String> = actions
                .map(|action| format!("{:?} {}", action.kind, action.file))
                .collect();
            let (events, actions) = (events.join("; "), actions.join(", "));
            let now = names_of(&image);
            format!("{what}\nfound: {left}\nsaid: {events}\ndone: {actions}\nnow: {now}")
        };
        between(moments, &found, summary.last.seq, now_ns).map_err(told)?;
        // Life goes on.
        let next = crate::store::NewMessage {
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

/// What is found has to be, message by message, as at one of the moments.
fn between(
    moments: &[ModelStream],
    found: &BTreeMap<u64, ModelMessage>,
    last_seq: u64,
    now_ns: i64,
) -> Result<(), String> {
    let lowest = moments
        .iter()
        .map(|model| model.last_seq)
        .min()
        .unwrap_or(0);
    let highest = moments
        .iter()
        .map(|model| model.last_seq)
        .max()
        .unwrap_or(0);
    if last_seq < lowest || last_seq > highest {
        return Err(format!(
            "last sequence {last_seq}, not within {lowest}..{highest}"
        ));
    }
    for (seq, message) in found {
        let known = moments
            .iter()
            .any(|model| model.messages.get(seq) == Some(message));
        if !known {
            return Err(format!("message {seq} was not there at any moment"));
        }
    }
    let Some(first) = moments.first() else {
        return Ok(());
    };
    for (seq, message) in &first.messages {
        let always = moments.iter().all(|model| model.messages.contains_key(seq));
        let is_crowded = moments.iter().any(|model| model.is_full_of(found, message));
        let age_ns = moments
            .iter()
            .map(|model| model.limits.max_age_ns)
            .filter(|age| *age > 0)
            .min();
        let is_aged = age_ns.is_some_and(|age| message.timestamp_ns <= now_ns - age);
        if always && !found.contains_key(seq) && !is_aged && !is_crowded && !message.is_over(now_ns)
        {
            return Err(format!("message {seq} is gone"));
        }
    }
    Ok(())
}
