//! From where each of the three has to be caught up: their files, and what the files are worth.

use crate::format::names::{EXPIRIES_PATH, SCHEDULES_PATH, SOURCES};
use std::collections::BTreeMap;

use super::TimerRules;
use crate::format::sources::SourcesFile;
use crate::format::timers::{ExpiryFile, ScheduleFile};
use crate::recovery::fault::Fault;
use crate::recovery::server::Quirk;
use crate::recovery::simulate::{SimBlock, Simulation};
use crate::report::actions::ActionKind;
use crate::report::events::{Event, EventCode};
use crate::report::stream::SourcePosition;
use crate::stream::files::FileFault;

/// From where each of the three has to be caught up; `None` where it does not apply.
#[derive(Debug, Clone, Default)]
pub(super) struct Starts {
    pub ttl: Option<u64>,
    pub schedules: Option<u64>,
    pub sources: Option<u64>,
    /// Keys still looked for.
    pub searched: Vec<Vec<u8>>,
}

impl Starts {
    /// The lowest sequence any of them needs.
    pub fn lowest(&self) -> u64 {
        [self.ttl, self.schedules, self.sources]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Whether a block that was known to end at `last` can have something to catch up, by what it counts.
    pub fn concern(&self, block: &SimBlock, last: u64) -> bool {
        let due = |start: Option<u64>| start.is_some_and(|start| last >= start);
        due(self.sources)
            || (due(self.ttl) && block.ttl_count > 0)
            || (due(self.schedules) && block.schedule_count > 0)
    }
}

struct Codes {
    read: EventCode,
    decode: EventCode,
    outdated: EventCode,
}

const TTL_CODES: Codes = Codes {
    read: EventCode::TtlReadFailed,
    decode: EventCode::TtlDecodeFailed,
    outdated: EventCode::TtlOutdated,
};
const SCHEDULE_CODES: Codes = Codes {
    read: EventCode::SchedReadFailed,
    decode: EventCode::SchedDecodeFailed,
    outdated: EventCode::SchedOutdated,
};
const SOURCES_CODES: Codes = Codes {
    read: EventCode::SourcesReadFailed,
    decode: EventCode::SourcesDecodeFailed,
    outdated: EventCode::SourcesOutdated,
};

impl Simulation<'_> {
    /// Rebuilds the TTL wheel, the schedules and the source positions: from their files, then from
    /// the messages the files do not reflect, in one scan for all of them.
    ///
    /// # Errors
    ///
    /// [`Fault`]: a message in the scanned range cannot be read; the open ends with it.
    pub fn recover_timers(&mut self, rules: &TimerRules) -> Result<(), Fault> {
        let mut starts = Starts {
            ttl: rules.ttl.then(|| self.recover_ttl_state(rules)),
            schedules: rules.schedules.then(|| self.recover_schedule_state(rules)),
            ..Starts::default()
        };
        if rules.sources.is_empty() {
            if matches!(self.overlay.files.exists(SOURCES), Ok(true)) {
                let detail = "the stream has no sources; the file is left as it is";
                self.event(Event::new(EventCode::SourcesUnconfigured, detail).file(SOURCES));
            }
        } else {
            starts.sources = Some(self.recover_source_state(rules, &mut starts.searched));
        }
        let last = self.totals.last.seq;
        if self.totals.messages == 0 || starts.lowest() > last {
            return Ok(());
        }
        self.note_outdated(&starts);
        if starts.ttl.is_none() && starts.schedules.is_none() {
            self.scan_sources_backward(rules, starts)?;
        } else {
            self.scan_forward(rules, &starts)?;
        }
        self.dirty |= self.rules.server.has(Quirk::ScansPersist);
        Ok(())
    }

    fn note_outdated(&mut self, starts: &Starts) {
        let last = self.totals.last.seq;
        let files = [
            (starts.ttl, EXPIRIES_PATH, TTL_CODES.outdated),
            (starts.schedules, SCHEDULES_PATH, SCHEDULE_CODES.outdated),
            (starts.sources, SOURCES, SOURCES_CODES.outdated),
        ];
        for (start, file, code) in files {
            if let Some(start) = start.filter(|start| *start <= last) {
                let detail = format!("messages {start} to {last} are read to catch up");
                self.event(Event::new(code, detail).file(file).seq(start));
            }
        }
    }

    /// Reads one of the files; `None` where it is absent, unreadable or does not decode.
    fn read_timer_file<T, E: std::fmt::Display>(
        &mut self,
        rules: &TimerRules,
        path: &str,
        on_disk: &str,
        codes: &Codes,
        decode: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        let alone = rules.anew && path == EXPIRIES_PATH;
        if rules.ignore_files || alone {
            return None;
        }
        match self.overlay.files.read(on_disk) {
            Ok(bytes) => match decode(&bytes) {
                Ok(file) => Some(file),
                Err(error) => {
                    self.event(Event::new(codes.decode, error.to_string()).file(path));
                    self.action(ActionKind::RemoveTimerFile, path, None, error.to_string());
                    self.overlay.removed_files.push(path.to_owned());
                    None
                }
            },
            Err(FileFault::Missing) => None,
            Err(FileFault::Failed(detail)) => {
                self.event(Event::new(codes.read, detail).file(path));
                None
            }
        }
    }

    /// A file that reflects more messages than there are is believed all the same.
    fn note_ahead(&mut self, code: EventCode, stamp: u64, path: &str) {
        let last = self.totals.last.seq;
        if stamp > last.saturating_add(1) {
            let reflected = stamp - 1;
            let detail =
                format!("it speaks of messages up to {reflected}, the stream ends at {last}");
            self.event(Event::new(code, detail).file(path));
        }
    }

    fn recover_ttl_state(&mut self, rules: &TimerRules) -> u64 {
        let on_disk = format!("{}/thw.db", self.overlay.msgs);
        let file = self.read_timer_file(
            rules,
            EXPIRIES_PATH,
            &on_disk,
            &TTL_CODES,
            ExpiryFile::decode,
        );
        let stamp = file.as_ref().map_or(0, |file| file.stamp);
        let entries = file.as_ref().map(|file| file.entries.as_slice());
        self.timers.set_wheel(entries.unwrap_or_default());
        self.note_ahead(EventCode::TtlAhead, stamp, EXPIRIES_PATH);
        stamp.max(self.totals.first.seq)
    }

    /// Drops schedules whose message is gone.
    pub fn drop_dead_schedules(&mut self) {
        let mut timers = std::mem::take(&mut self.timers);
        timers.drop_schedules(|seq| !self.holds(seq));
        self.timers = timers;
    }

    fn recover_schedule_state(&mut self, rules: &TimerRules) -> u64 {
        let on_disk = format!("{}/sched.db", self.overlay.msgs);
        let file = self.read_timer_file(
            rules,
            SCHEDULES_PATH,
            &on_disk,
            &SCHEDULE_CODES,
            ScheduleFile::decode,
        );
        let beyond = self.totals.last.seq.saturating_add(1);
        let file = file.filter(|file| !rules.anew || file.stamp <= beyond);
        let stamp = file.as_ref().map_or(0, |file| file.stamp);
        let entries = file.as_ref().map(|file| file.entries.as_slice());
        self.timers.set_schedules(entries.unwrap_or_default());
        self.note_ahead(EventCode::SchedAhead, stamp, SCHEDULES_PATH);
        stamp.max(self.totals.first.seq)
    }

    fn recover_source_state(&mut self, rules: &TimerRules, searched: &mut Vec<Vec<u8>>) -> u64 {
        let file =
            self.read_timer_file(rules, SOURCES, SOURCES, &SOURCES_CODES, SourcesFile::decode);
        let beyond = self.totals.last.seq.saturating_add(1);
        let file = file.filter(|file| !rules.anew || file.stamp <= beyond);
        let stamp = file.as_ref().map_or(0, |file| file.stamp);
        let last = self.totals.last.seq;
        let mut start = stamp.max(self.totals.first.seq);
        if start <= last {
            searched.extend(rules.sources.iter().map(|source| source.key.clone()));
        } else {
            self.note_ahead(EventCode::SourcesAhead, stamp, SOURCES);
        }
        let mut known = file.map(|file| file.entries).unwrap_or_default();
        let mut positions = BTreeMap::new();
        for source in &rules.sources {
            let position = match known.remove(&source.key) {
                Some(entry) => SourcePosition {
                    seq: entry.sequence,
                    identity: entry.identity,
                },
                None => {
                    start = self.totals.first.seq;
                    if !searched.contains(&source.key) {
                        searched.push(source.key.clone());
                    }
                    SourcePosition::default()
                }
            };
            positions.insert(source.key.clone(), position);
        }
        self.timers.sources = Some(positions);
        start
    }
}
