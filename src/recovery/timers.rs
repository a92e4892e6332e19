//! What a stream keeps per message beside its blocks: the TTL wheel, the schedules, and how far each
//! source was read. Each comes from its own file and is caught up from the messages behind the
//! file's stamp.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::actions::ActionKind;
use super::events::{Event, EventCode};
use super::fault::Fault;
use super::files::FileFault;
use super::model::{Lookup, Loaded, Model};
use super::report::SourcePosition;
use crate::format::headers::{self, StreamSource};
use crate::format::record::RecordRef;
use crate::format::schedule;
use crate::format::sources::{SourceEntry, SourcesFile};
use crate::format::subject;
use crate::format::timers::{Expiry, ExpiryFile, Schedule, ScheduleFile};

/// A configured source, as far as recovery goes by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfiguredSource {
    /// Its key in `sources.db`.
    pub key: Vec<u8>,
    /// Names by which headers older than 2.10 mean it.
    pub legacy_names: Vec<Vec<u8>>,
    /// Subjects under which its messages are looked for in a backward scan.
    pub filters: Vec<Vec<u8>>,
}

/// Which of the three apply.
#[derive(Debug, Clone, Default)]
pub struct TimerRules {
    /// Per-message TTLs are allowed.
    pub ttl: bool,
    /// Schedules are allowed.
    pub schedules: bool,
    /// Configured sources.
    pub sources: Vec<ConfiguredSource>,
    /// The files are to be ignored.
    pub ignore_files: bool,
}

/// The schedules of a stream: one per subject.
#[derive(Debug, Clone, Default)]
pub struct Schedules {
    by_subject: BTreeMap<Vec<u8>, (u64, i64)>,
    by_seq: BTreeMap<u64, Vec<u8>>,
}

impl Schedules {
    fn set(&mut self, seq: u64, subject: &[u8], fires_ns: i64) {
        if let Some((old, _)) = self.by_subject.insert(subject.to_vec(), (seq, fires_ns)) {
            self.by_seq.remove(&old);
        }
        self.by_seq.insert(seq, subject.to_vec());
    }

    fn remove(&mut self, seq: u64) {
        if let Some(subject) = self.by_seq.remove(&seq) {
            self.by_subject.remove(&subject);
        }
    }

    /// Number of schedules.
    pub fn len(&self) -> u64 {
        self.by_subject.len() as u64
    }

    /// `(subject, sequence, fires_ns)`, by subject.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64, i64)> {
        self.by_subject.iter().map(|(subject, (seq, ns))| (subject.as_slice(), *seq, *ns))
    }
}

/// The three of them, where the stream has them.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    wheel: Option<BTreeMap<(u16, u64), i64>>,
    schedules: Option<Schedules>,
    sources: Option<BTreeMap<Vec<u8>, SourcePosition>>,
}

impl Timers {
    /// Whether schedules are kept.
    pub fn has_schedules(&self) -> bool {
        self.schedules.is_some()
    }

    /// The schedules.
    pub fn schedules(&self) -> Option<&Schedules> {
        self.schedules.as_ref()
    }

    /// The source positions.
    pub fn sources(&self) -> Option<&BTreeMap<Vec<u8>, SourcePosition>> {
        self.sources.as_ref()
    }

    /// TTL entries by sequence.
    pub fn ttl_entries(&self) -> Option<Vec<(u64, i64)>> {
        let wheel = self.wheel.as_ref()?;
        let mut entries: Vec<_> = wheel.iter().map(|((_, seq), ns)| (*seq, *ns)).collect();
        entries.sort_unstable();
        Some(entries)
    }

    /// Number of TTL entries.
    pub fn ttl_count(&self) -> Option<u64> {
        self.wheel.as_ref().map(|wheel| wheel.len() as u64)
    }

    fn set_ttl(&mut self, seq: u64, expiry_ns: i64) {
        let Some(wheel) = &mut self.wheel else { return };
        let slot = Expiry { expiry_ns, sequence: seq }.slot();
        wheel.insert((slot, seq), expiry_ns);
    }

    /// A message goes: so does the wheel entry its header stands for.
    pub fn forget_ttl(&mut self, seq: u64, timestamp_ns: i64, block: &[u8]) {
        let Some(wheel) = &mut self.wheel else { return };
        if let Ok(ttl) = headers::message_ttl(block)
            && ttl > 0
        {
            let expiry_ns = headers::expiry_ns(timestamp_ns, ttl);
            wheel.remove(&(Expiry { expiry_ns, sequence: seq }.slot(), seq));
        }
    }

    /// A scheduled message goes with its block.
    pub fn forget_schedule(&mut self, seq: u64) {
        if let Some(schedules) = &mut self.schedules {
            schedules.remove(seq);
        }
    }

    /// The three files as they would be written at `stamp`.
    pub fn encode(&self, stamp: u64) -> TimerFiles {
        TimerFiles {
            ttl: self.wheel.as_ref().map(|wheel| {
                let entries =
                    wheel.iter().map(|((_, seq), ns)| Expiry { expiry_ns: *ns, sequence: *seq }).collect();
                ExpiryFile { stamp, entries }.encode()
            }),
            schedules: self.schedules.as_ref().map(|schedules| {
                let entries = schedules
                    .iter()
                    .map(|(subject, sequence, next_ns)| Schedule { subject: subject.into(), next_ns, sequence })
                    .collect();
                ScheduleFile { stamp, entries }.encode()
            }),
            sources: self.sources.as_ref().filter(|sources| !sources.is_empty()).map(|sources| {
                let entries = sources
                    .iter()
                    .map(|(key, position)| {
                        let entry = SourceEntry { sequence: position.seq, identity: position.identity.clone() };
                        (key.clone(), entry)
                    })
                    .collect();
                SourcesFile { stamp, entries }.encode()
            }),
        }
    }
}

/// Encoded side files.
#[derive(Debug, Default)]
pub struct TimerFiles {
    /// `thw.db`.
    pub ttl: Option<Vec<u8>>,
    /// `sched.db`.
    pub schedules: Option<Vec<u8>>,
    /// `sources.db`.
    pub sources: Option<Vec<u8>>,
}

/// From where each of the three has to be caught up; `None` where it does not apply.
#[derive(Debug, Clone, Default)]
struct Starts {
    ttl: Option<u64>,
    schedules: Option<u64>,
    sources: Option<u64>,
    /// Keys still looked for.
    searched: Vec<Vec<u8>>,
}

impl Starts {
    fn lowest(&self) -> u64 {
        [self.ttl, self.schedules, self.sources].into_iter().flatten().min().unwrap_or(u64::MAX)
    }
}

struct Codes {
    read: EventCode,
    decode: EventCode,
    outdated: EventCode,
}

const TTL_CODES: Codes =
    Codes { read: EventCode::TtlReadFailed, decode: EventCode::TtlDecodeFailed, outdated: EventCode::TtlOutdated };
const SCHEDULE_CODES: Codes =
    Codes { read: EventCode::SchedReadFailed, decode: EventCode::SchedDecodeFailed, outdated: EventCode::SchedOutdated };
const SOURCES_CODES: Codes = Codes {
    read: EventCode::SourcesReadFailed,
    decode: EventCode::SourcesDecodeFailed,
    outdated: EventCode::SourcesOutdated,
};

impl Model<'_> {
    /// Rebuilds the TTL wheel, the schedules and the source positions: from their files, then from
    /// the messages the files do not reflect, in one scan for all of them.
    ///
    /// # Errors
    ///
    /// [`Fault`]: a message in the scanned range cannot be read; the server goes down on it.
    pub fn recover_timers(&mut self, rules: &TimerRules) -> Result<(), Fault> {
        let mut starts = Starts {
            ttl: rules.ttl.then(|| self.recover_ttl_state(rules)),
            schedules: rules.schedules.then(|| self.recover_schedule_state(rules)),
            ..Starts::default()
        };
        if rules.sources.is_empty() {
            if matches!(self.disk.files.exists("sources.db"), Ok(true)) {
                let detail = "the stream has no sources; the file is left as it is";
                self.event(Event::new(EventCode::SourcesUnconfigured, detail).file("sources.db"));
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
            return self.scan_sources_backward(rules, starts);
        }
        self.scan_forward(rules, &starts)
    }

    fn note_outdated(&mut self, starts: &Starts) {
        let last = self.totals.last.seq;
        let files = [
            (starts.ttl, "msgs/thw.db", TTL_CODES.outdated),
            (starts.schedules, "msgs/sched.db", SCHEDULE_CODES.outdated),
            (starts.sources, "sources.db", SOURCES_CODES.outdated),
        ];
        for (start, file, code) in files {
            if let Some(start) = start.filter(|start| *start <= last) {
                let detail = format!("messages {start} to {last} are read to catch up");
                self.event(Event::new(code, detail).file(file));
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
        if rules.ignore_files {
            return None;
        }
        match self.disk.files.read(on_disk) {
            Ok(bytes) => match decode(&bytes) {
                Ok(file) => Some(file),
                Err(error) => {
                    self.event(Event::new(codes.decode, error.to_string()).file(path));
                    self.action(ActionKind::RemoveTimerFile, path, None, error.to_string());
                    self.disk.removed_files.push(path.to_owned());
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

    fn recover_ttl_state(&mut self, rules: &TimerRules) -> u64 {
        let on_disk = format!("{}/thw.db", self.disk.msgs);
        let file = self.read_timer_file(rules, "msgs/thw.db", &on_disk, &TTL_CODES, ExpiryFile::decode);
        let mut wheel = BTreeMap::new();
        let stamp = file.as_ref().map_or(0, |file| file.stamp);
        for entry in file.iter().flat_map(|file| &file.entries) {
            wheel.insert((entry.slot(), entry.sequence), entry.expiry_ns);
        }
        self.timers.wheel = Some(wheel);
        stamp.max(self.totals.first.seq)
    }

    fn recover_schedule_state(&mut self, rules: &TimerRules) -> u64 {
        let on_disk = format!("{}/sched.db", self.disk.msgs);
        let file = self.read_timer_file(rules, "msgs/sched.db", &on_disk, &SCHEDULE_CODES, ScheduleFile::decode);
        let mut schedules = Schedules::default();
        let stamp = file.as_ref().map_or(0, |file| file.stamp);
        for entry in file.iter().flat_map(|file| &file.entries) {
            schedules.set(entry.sequence, &entry.subject, entry.next_ns);
        }
        self.timers.schedules = Some(schedules);
        stamp.max(self.totals.first.seq)
    }

    fn recover_source_state(&mut self, rules: &TimerRules, searched: &mut Vec<Vec<u8>>) -> u64 {
        let file = self.read_timer_file(rules, "sources.db", "sources.db", &SOURCES_CODES, SourcesFile::decode);
        let stamp = file.as_ref().map_or(0, |file| file.stamp);
        let last = self.totals.last.seq;
        let mut start = stamp.max(self.totals.first.seq);
        if start <= last {
            searched.extend(rules.sources.iter().map(|source| source.key.clone()));
        } else if stamp > last.wrapping_add(1) {
            let detail = format!("it speaks of messages up to {}, the stream ends at {last}", stamp.wrapping_sub(1));
            self.event(Event::new(EventCode::SourcesAhead, detail).file("sources.db"));
        }
        let mut known = file.map(|file| file.entries).unwrap_or_default();
        let mut positions = BTreeMap::new();
        for source in &rules.sources {
            let position = match known.remove(&source.key) {
                Some(entry) => SourcePosition { seq: entry.sequence, identity: entry.identity },
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

    /// One scan for everything that has to be caught up.
    fn scan_forward(&mut self, rules: &TimerRules, starts: &Starts) -> Result<(), Fault> {
        let last = self.totals.last.seq;
        let mut seq = starts.lowest();
        while seq <= last {
            let Some(at) = self.select_block(seq) else { break };
            let Some(block) = self.blocks.get(at) else { break };
            let block_last = block.last.seq;
            let due = |start: Option<u64>| start.is_some_and(|start| block_last >= start);
            let wanted = due(starts.sources)
                || (due(starts.ttl) && block.ttl_count > 0)
                || (due(starts.schedules) && block.schedule_count > 0);
            if wanted {
                self.scan_block_forward(at, rules, starts)?;
            }
            seq = seq.max(block_last).wrapping_add(1);
            if seq == 0 {
                break;
            }
        }
        Ok(())
    }

    fn scan_block_forward(&mut self, at: usize, rules: &TimerRules, starts: &Starts) -> Result<(), Fault> {
        let Some(block) = self.blocks.get(at) else { return Ok(()) };
        if block.first.seq > block.last.seq || block.messages == 0 && !block.has_undeleted() {
            return Ok(());
        }
        let loaded = self.load(at).inspect_err(|fault| self.note_scan_fault(fault))?;
        for slot in &loaded.index.slots {
            let found = match self.lookup(at, &loaded, slot.seq) {
                Ok(Lookup::Found(_, record)) => record,
                Ok(Lookup::Gone) => continue,
                Err(fault) => {
                    self.note_scan_fault(&fault);
                    return Err(fault);
                }
            };
            if found.has_headers() {
                self.take_headers(slot.seq, &found, &loaded, rules, starts);
            }
        }
        Ok(())
    }

    fn note_scan_fault(&mut self, fault: &Fault) {
        let mut event = Event::new(EventCode::PermsgLoadFailed, fault.to_string());
        event.file = fault.file();
        event.offset = fault.offset();
        event.seq = fault.seq;
        self.events.push(event);
    }

    fn take_headers(&mut self, seq: u64, record: &RecordRef, loaded: &Rc<Loaded>, rules: &TimerRules, starts: &Starts) {
        let (block, _) = record.headers_and_body(&loaded.content).unwrap_or_default();
        let present = headers::present(block);
        if !present.any() {
            return;
        }
        let due = |start: Option<u64>| start.is_some_and(|start| seq >= start);
        if present.ttl
            && due(starts.ttl)
            && let Ok(ttl) = headers::message_ttl(block)
            && ttl > 0
        {
            self.timers.set_ttl(seq, headers::expiry_ns(record.timestamp_ns(), ttl));
        }
        if present.schedule
            && due(starts.schedules)
            && let Some(fires_ns) = schedule::next_fire(block, record.timestamp_ns(), self.rules.now_ns)
            && let Some(schedules) = &mut self.timers.schedules
        {
            schedules.set(seq, record.subject(&loaded.content), fires_ns);
        }
        if present.source && due(starts.sources) {
            for (key, position) in settled_by(headers::stream_source(block), &rules.sources) {
                if starts.searched.contains(&key)
                    && let Some(known) = self.timers.sources.as_mut().and_then(|sources| sources.get_mut(&key))
                {
                    *known = position;
                }
            }
        }
    }

    /// Only sources are behind: look from the end for the newest message of each.
    fn scan_sources_backward(&mut self, rules: &TimerRules, starts: Starts) -> Result<(), Fault> {
        let stop = starts.sources.unwrap_or_default();
        let mut searched = starts.searched;
        let Some(newest) = self.select_block(self.totals.last.seq) else { return Ok(()) };
        for at in (0..=newest).rev() {
            if searched.is_empty() {
                break;
            }
            let loaded = self.load(at).inspect_err(|fault| self.note_scan_fault(fault))?;
            let slots: Vec<u64> = loaded.index.slots.iter().rev().map(|slot| slot.seq).collect();
            for seq in slots {
                let Ok(Lookup::Found(_, record)) = self.lookup(at, &loaded, seq) else { continue };
                if !is_searched(record.subject(&loaded.content), rules, &searched) {
                    continue;
                }
                if seq < stop {
                    return Ok(());
                }
                let (block, _) = record.headers_and_body(&loaded.content).unwrap_or_default();
                for (key, position) in settled_by(headers::stream_source(block), &rules.sources) {
                    if let Some(found) = searched.iter().position(|known| *known == key) {
                        searched.swap_remove(found);
                        if let Some(sources) = &mut self.timers.sources {
                            sources.insert(key, position);
                        }
                    }
                }
                if searched.is_empty() || seq <= stop {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn is_searched(stored: &[u8], rules: &TimerRules, searched: &[Vec<u8>]) -> bool {
    rules
        .sources
        .iter()
        .filter(|source| searched.contains(&source.key))
        .any(|source| source.filters.iter().any(|filter| subject::matches(stored, filter)))
}

/// Which source keys a header settles, and at what position.
fn settled_by(source: StreamSource<'_>, configured: &[ConfiguredSource]) -> Vec<(Vec<u8>, SourcePosition)> {
    match source {
        StreamSource::Keyed { key, sequence, identity } => {
            vec![(key, SourcePosition { seq: sequence, identity: identity.to_vec() })]
        }
        StreamSource::StreamName { name, sequence } => configured
            .iter()
            .filter(|source| source.legacy_names.iter().any(|known| known == name))
            .map(|source| (source.key.clone(), SourcePosition { seq: sequence, identity: Vec::new() }))
            .collect(),
        StreamSource::None => Vec::new(),
    }
}
