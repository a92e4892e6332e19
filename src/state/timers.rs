//! What a stream keeps per message beside its blocks: when each with a time to live is over, the schedules, and how far
//! each source was read.

use std::collections::BTreeMap;

use crate::format::headers;
use crate::format::seqset::SeqSet;
use crate::format::timers::Expiry;
use crate::report::stream::SourcePosition;

/// The schedules of a stream: one per subject.
#[derive(Debug, Clone, Default)]
pub struct Schedules {
    by_subject: BTreeMap<Vec<u8>, (u64, i64)>,
    by_seq: BTreeMap<u64, Vec<u8>>,
}

impl Schedules {
    pub(crate) fn set(&mut self, seq: u64, subject: &[u8], fires_ns: i64) {
        if let Some((old, _)) = self.by_subject.insert(subject.to_vec(), (seq, fires_ns)) {
            self.by_seq.remove(&old);
        }
        self.by_seq.insert(seq, subject.to_vec());
    }

    pub(crate) fn remove(&mut self, seq: u64) {
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
    pub(crate) wheel: Option<BTreeMap<(u16, u64), i64>>,
    /// What goes into the wheel in one step.
    waiting: Vec<((u16, u64), i64)>,
    pub(crate) schedules: Option<Schedules>,
    pub(crate) sources: Option<BTreeMap<Vec<u8>, SourcePosition>>,
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

    pub(crate) fn set_ttl(&mut self, seq: u64, expiry_ns: i64) {
        let Some(wheel) = &mut self.wheel else { return };
        let slot = Expiry {
            expiry_ns,
            sequence: seq,
        }
        .slot();
        wheel.insert((slot, seq), expiry_ns);
    }

    /// Takes in the expiries of a block, by rising sequence, for [`Timers::set_waiting`].
    pub(crate) fn expect(&mut self, ttls: &[(u64, i64)]) {
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
    pub(crate) fn set_waiting(&mut self) {
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

    /// When the next of them is due, nanoseconds since the Unix epoch.
    pub(crate) fn next_due_ns(&self) -> Option<i64> {
        let expiries = self.wheel.iter().flatten().map(|(_, expiry_ns)| *expiry_ns);
        let schedules = self.schedules.iter().flat_map(Schedules::iter);
        expiries.chain(schedules.map(|(_, _, ns)| ns)).min()
    }

    /// Forgets when a message that is gone was to go.
    pub(crate) fn drop_expiries_of(&mut self, seq: u64) {
        if let Some(wheel) = &mut self.wheel {
            wheel.retain(|(_, listed), _| *listed != seq);
        }
    }

    /// A subject's schedule, in place of one it had.
    pub(crate) fn set_schedule(&mut self, seq: u64, subject: &[u8], fires_ns: i64) {
        if let Some(schedules) = &mut self.schedules {
            schedules.set(seq, subject, fires_ns);
        }
    }

    /// When a subject's schedule fires next, where it has one.
    pub(crate) fn move_schedule(&mut self, subject: &[u8], fires_ns: i64) {
        if let Some(schedules) = &mut self.schedules
            && let Some((_, fires)) = schedules.by_subject.get_mut(subject)
        {
            *fires = fires_ns;
        }
    }

    /// A subject has no schedule any more.
    pub(crate) fn drop_schedule_of(&mut self, subject: &[u8]) {
        if let Some(schedules) = &mut self.schedules
            && let Some((seq, _)) = schedules.by_subject.remove(subject)
        {
            schedules.by_seq.remove(&seq);
        }
    }

    /// Schedules that are due, as sequence and time, by sequence.
    pub(crate) fn due_schedules(&self, now_ns: i64) -> Vec<(u64, i64)> {
        let schedules = self.schedules.iter().flat_map(Schedules::iter);
        let due = schedules.filter(|(_, _, fires_ns)| *fires_ns <= now_ns);
        let mut due: Vec<(u64, i64)> = due.map(|(_, seq, fires_ns)| (seq, fires_ns)).collect();
        due.sort_unstable();
        due
    }

    /// How far a source was read.
    pub(crate) fn set_source(&mut self, key: Vec<u8>, position: SourcePosition) {
        if let Some(sources) = &mut self.sources {
            sources.insert(key, position);
        }
    }

    /// Forgets what hangs on messages, for none is left.
    pub(crate) fn clear_messages(&mut self) {
        if let Some(wheel) = &mut self.wheel {
            wheel.clear();
        }
        if let Some(schedules) = &mut self.schedules {
            *schedules = Schedules::default();
        }
    }

    /// The first thing in which these and other timers differ, in words.
    pub(crate) fn difference(&self, other: &Timers) -> Option<String> {
        let (ours, theirs) = (self.ttl_entries(), other.ttl_entries());
        if ours != theirs {
            let count = |entries: &Option<Vec<_>>| entries.as_ref().map_or(0, Vec::len);
            return Some(format!("{} expiries and {}", count(&ours), count(&theirs)));
        }
        let listed = |timers: &Timers| -> Option<Vec<(Vec<u8>, u64, i64)>> {
            let schedules = timers.schedules.as_ref()?.iter();
            Some(
                schedules
                    .map(|(subject, seq, ns)| (subject.to_vec(), seq, ns))
                    .collect(),
            )
        };
        let (ours, theirs) = (listed(self), listed(other));
        if ours != theirs {
            return Some(format!("schedules {ours:?} and {theirs:?}"));
        }
        let (ours, theirs) = (&self.sources, &other.sources);
        (ours != theirs).then(|| format!("sources {ours:?} and {theirs:?}"))
    }
}
