//! What a stream keeps per message beside its blocks: the TTL wheel, the schedules, and how far each
//! source was read. Each comes from its own file and is caught up from the messages behind the
//! file's stamp: [`catch_up`] says from where, [`scan`] reads them.

mod catch_up;
mod scan;

use std::collections::BTreeMap;

use crate::format::headers;
use crate::format::seqset::SeqSet;
use crate::format::sources::{SourceEntry, SourcesFile};
use crate::format::timers::{Expiry, ExpiryFile, Schedule, ScheduleFile};
use crate::report::stream::SourcePosition;

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
    /// TTLs are read from the messages alone; schedules and sources only where their file is ahead of these: a schedule that
    /// was cancelled, or a position whose message is gone, is in the file alone.
    pub anew: bool,
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
        self.by_subject
            .iter()
            .map(|(subject, (seq, ns))| (subject.as_slice(), *seq, *ns))
    }
}

/// The three of them, where the stream has them.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    wheel: Option<BTreeMap<(u16, u64), i64>>,
    /// What goes into the wheel in one step.
    waiting: Vec<((u16, u64), i64)>,
    schedules: Option<Schedules>,
    sources: Option<BTreeMap<Vec<u8>, SourcePosition>>,
}

impl Timers {
    /// Whether there is a TTL wheel.
    pub fn has_ttl(&self) -> bool {
        self.wheel.is_some()
    }

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

    /// What the wheel lets go at `now_ns`.
    pub fn overdue(&self, now_ns: i64) -> SeqSet {
        let entries = self.wheel.iter().flatten();
        let over = entries.filter(|(_, expiry_ns)| **expiry_ns <= now_ns);
        over.map(|((_, seq), _)| *seq).collect()
    }

    /// Number of TTL entries.
    pub fn ttl_count(&self) -> Option<u64> {
        self.wheel.as_ref().map(|wheel| wheel.len() as u64)
    }

    fn set_ttl(&mut self, seq: u64, expiry_ns: i64) {
        let Some(wheel) = &mut self.wheel else { return };
        let slot = Expiry {
            expiry_ns,
            sequence: seq,
        }
        .slot();
        wheel.insert((slot, seq), expiry_ns);
    }

    /// Takes in the expiries of a block, by rising sequence, for [`Timers::set_waiting`].
    fn expect(&mut self, ttls: &[(u64, i64)]) {
        let entries = ttls.iter().map(|(sequence, expiry_ns)| {
            let expiry = Expiry {
                expiry_ns: *expiry_ns,
                sequence: *sequence,
            };
            ((expiry.slot(), *sequence), *expiry_ns)
        });
        self.waiting.extend(entries);
    }

    /// Puts what waits into the wheel; of entries of one slot and sequence the later counts.
    fn set_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(wheel) = &mut self.wheel else { return };
        if waiting.is_empty() {
            return;
        }
        let mut waiting: BTreeMap<_, _> = waiting.into_iter().collect();
        match wheel.is_empty() {
            true => *wheel = waiting,
            false => wheel.append(&mut waiting),
        }
    }

    /// Messages go: so do the wheel entries that their headers stand for.
    pub fn forget_ttls(&mut self, ttls: &[(u64, i64)]) {
        let Some(wheel) = &mut self.wheel else { return };
        for (sequence, expiry_ns) in ttls {
            let expiry = Expiry {
                expiry_ns: *expiry_ns,
                sequence: *sequence,
            };
            wheel.remove(&(expiry.slot(), *sequence));
        }
    }

    /// A message goes: so does the wheel entry its header stands for.
    pub fn forget_ttl(&mut self, seq: u64, timestamp_ns: i64, block: &[u8]) {
        let Some(wheel) = &mut self.wheel else { return };
        if let Ok(ttl) = headers::message_ttl(block)
            && ttl > 0
        {
            let expiry_ns = headers::expiry_ns(timestamp_ns, ttl);
            wheel.remove(&(
                Expiry {
                    expiry_ns,
                    sequence: seq,
                }
                .slot(),
                seq,
            ));
        }
    }

    /// Drops the schedules whose sequence `is_dead`.
    pub fn drop_schedules(&mut self, is_dead: impl Fn(u64) -> bool) {
        let Some(schedules) = &mut self.schedules else {
            return;
        };
        let dead: Vec<u64> = schedules
            .by_seq
            .keys()
            .copied()
            .filter(|seq| is_dead(*seq))
            .collect();
        for seq in dead {
            schedules.remove(seq);
        }
    }

    /// A scheduled message goes with its block.
    pub fn forget_schedule(&mut self, seq: u64) {
        if let Some(schedules) = &mut self.schedules {
            schedules.remove(seq);
        }
    }

    /// Which of the three files would be written: those, without content.
    pub fn blank_files(&self) -> TimerFiles {
        let has_sources = self
            .sources
            .as_ref()
            .is_some_and(|sources| !sources.is_empty());
        TimerFiles {
            ttl: self.wheel.is_some().then(Vec::new),
            schedules: self.schedules.is_some().then(Vec::new),
            sources: has_sources.then(Vec::new),
        }
    }

    /// The three files as they would be written at `stamp`.
    pub fn encode(&self, stamp: u64) -> TimerFiles {
        TimerFiles {
            ttl: self.wheel.as_ref().map(|wheel| {
                let entries = wheel
                    .iter()
                    .map(|((_, seq), ns)| Expiry {
                        expiry_ns: *ns,
                        sequence: *seq,
                    })
                    .collect();
                ExpiryFile { stamp, entries }.encode()
            }),
            schedules: self.schedules.as_ref().map(|schedules| {
                let entries = schedules
                    .iter()
                    .map(|(subject, sequence, next_ns)| Schedule {
                        subject: subject.into(),
                        next_ns,
                        sequence,
                    })
                    .collect();
                ScheduleFile { stamp, entries }.encode()
            }),
            sources: self
                .sources
                .as_ref()
                .filter(|sources| !sources.is_empty())
                .map(|sources| {
                    let entries = sources
                        .iter()
                        .map(|(key, position)| {
                            let entry = SourceEntry {
                                sequence: position.seq,
                                identity: position.identity.clone(),
                            };
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
