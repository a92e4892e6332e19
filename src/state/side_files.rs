//! A state as the files that spare the next start a scan, and back.

use std::collections::BTreeMap;

use super::{BlockState, Schedules, SeqTime, StreamState, SubjectIndex, Timers, Totals};
use crate::format::sources::{SourceEntry, SourcesFile};
use crate::format::state::{BlockEntry, StateFile, SubjectEntry, SubjectTable};
use crate::format::timers::{Expiry, ExpiryFile, Schedule, ScheduleFile};
use crate::report::stream::SourcePosition;

/// The side files of a stream, decoded.
#[derive(Debug, Default)]
pub struct SideFiles {
    /// `thw.db`, where the stream has times to live.
    pub ttls: Option<ExpiryFile>,
    /// `sched.db`, where it has schedules.
    pub schedules: Option<ScheduleFile>,
    /// `sources.db`, where it has sources.
    pub sources: Option<SourcesFile>,
}

/// Encoded timer files; those that the stream has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TimerFiles {
    /// `thw.db`.
    pub ttl: Option<Vec<u8>>,
    /// `sched.db`.
    pub schedules: Option<Vec<u8>>,
    /// `sources.db`.
    pub sources: Option<Vec<u8>>,
}

impl BlockState {
    /// As an entry of `index.db`.
    #[must_use]
    pub fn to_entry(&self) -> BlockEntry {
        BlockEntry {
            number: self.number,
            bytes: self.live_bytes,
            first_sequence: self.first.seq,
            first_time_ns: self.first.timestamp_ns,
            last_sequence: self.last.seq,
            last_time_ns: self.last.timestamp_ns,
            deleted_count: self.deleted.len(),
            ttl_count: self.ttl_count,
            schedule_count: self.schedule_count,
            deleted: self.deleted.clone(),
            deleted_declared_count: u32::try_from(self.deleted.len()).unwrap_or(u32::MAX),
        }
    }

    /// From an entry of `index.db`, believed as it is.
    #[must_use]
    pub fn of_entry(entry: &BlockEntry) -> Self {
        BlockState {
            number: entry.number,
            first: SeqTime {
                seq: entry.first_sequence,
                timestamp_ns: entry.first_time_ns,
            },
            last: SeqTime {
                seq: entry.last_sequence,
                timestamp_ns: entry.last_time_ns,
            },
            message_count: entry.message_count(),
            live_bytes: entry.bytes,
            ttl_count: entry.ttl_count,
            schedule_count: entry.schedule_count,
            deleted: entry.deleted.clone(),
            ..BlockState::default()
        }
    }
}

impl Totals {
    /// As `index.db` states them.
    #[must_use]
    pub fn of_file(file: &StateFile) -> Self {
        Totals {
            messages: file.messages,
            bytes: file.bytes,
            first: SeqTime {
                seq: file.first_sequence,
                timestamp_ns: file.first_time_ns,
            },
            last: SeqTime {
                seq: file.last_sequence,
                timestamp_ns: file.last_time_ns,
            },
        }
    }
}

/// What goes into `index.db`; `last` is the number of the last block with the hash its records end in.
pub(crate) fn index_file_of<'a>(
    blocks: impl Iterator<Item = &'a BlockState>,
    totals: &Totals,
    subjects: &SubjectIndex,
    version: u8,
    last: (u32, [u8; 8]),
) -> StateFile {
    let mut table = SubjectTable::new();
    subjects.for_each(|subject, totals| {
        table.push(SubjectEntry {
            subject,
            total: totals.total,
            first_block: totals.first_block,
            last_block: totals.last_block,
        });
    });
    StateFile {
        version,
        messages: totals.messages,
        bytes: totals.bytes,
        first_sequence: totals.first.seq,
        first_time_ns: totals.first.timestamp_ns,
        last_sequence: totals.last.seq,
        last_time_ns: totals.last.timestamp_ns,
        subjects: table,
        blocks: blocks.map(BlockState::to_entry).collect(),
        last_block: last.0,
        last_record_hash: last.1,
    }
}

impl StreamState {
    /// The state as `index.db` of a format version (1 to 4) holds it. `None` while the hash of the last block's last record is not
    /// known.
    #[must_use]
    pub fn index_file(&self, version: u8) -> Option<StateFile> {
        let last = match self.blocks.last() {
            // A file without a byte ends in no hash.
            Some(block) if block.raw_bytes == 0 => {
                (block.number, block.last_record_hash.unwrap_or_default())
            }
            Some(block) => (block.number, block.last_record_hash?),
            None => (0, [0; 8]),
        };
        let blocks = self.blocks.iter();
        Some(index_file_of(
            blocks,
            &self.totals,
            &self.subjects,
            version,
            last,
        ))
    }

    /// The timer files as they reflect this state.
    #[must_use]
    pub fn timer_files(&self) -> TimerFiles {
        self.timers.encode(self.totals.last.seq.wrapping_add(1))
    }

    /// The state that `index.db` and the timer files describe, all of them believed. [`StreamState::check`] says whether it agrees
    /// with itself; whether it agrees with the blocks is for whoever can read them.
    #[must_use]
    pub fn of_side_files(index: &StateFile, files: SideFiles) -> Self {
        let mut blocks: Vec<BlockState> = index.blocks.iter().map(BlockState::of_entry).collect();
        if let Some(last) = blocks.last_mut()
            && last.number == index.last_block
        {
            last.last_record_hash = Some(index.last_record_hash);
        }
        let mut subjects = SubjectIndex::default();
        subjects.put_all(&index.subjects, 1);
        StreamState {
            last_block_number: index.last_block,
            blocks,
            totals: Totals::of_file(index),
            tracks_subjects: !subjects.is_empty(),
            subjects,
            timers: Timers::of_files(files),
            lost: None,
        }
    }
}

impl Timers {
    /// What the files say.
    fn of_files(files: SideFiles) -> Self {
        let SideFiles {
            ttls,
            schedules,
            sources,
        } = files;
        let mut timers = Timers::default();
        if let Some(file) = ttls {
            timers.set_wheel(&file.entries);
        }
        if let Some(file) = schedules {
            timers.set_schedules(&file.entries);
        }
        timers.sources = sources.map(|file| {
            let positions = file.entries.into_iter().map(|(key, entry)| {
                let position = SourcePosition {
                    seq: entry.sequence,
                    identity: entry.identity,
                };
                (key, position)
            });
            positions.collect()
        });
        timers
    }

    /// Puts these expiries in place of all.
    pub(crate) fn set_wheel(&mut self, entries: &[Expiry]) {
        let entries = entries.iter();
        let wheel: BTreeMap<_, _> = entries
            .map(|entry| ((entry.slot(), entry.sequence), entry.expiry_ns))
            .collect();
        self.wheel = Some(wheel);
    }

    /// Puts these schedules in place of all.
    pub(crate) fn set_schedules(&mut self, entries: &[Schedule]) {
        let mut schedules = Schedules::default();
        for entry in entries {
            schedules.set(entry.sequence, &entry.subject, entry.next_ns);
        }
        self.schedules = Some(schedules);
    }

    /// Which of the three files would be written: those, without content.
    pub(crate) fn blank_files(&self) -> TimerFiles {
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

    /// The three files as they would be written at `stamp`: the sequence behind the last one they reflect.
    #[must_use]
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
