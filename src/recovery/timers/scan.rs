//! Reading the messages that the files do not reflect.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::catch_up::Starts;
use super::{ConfiguredSource, TimerRules};
use crate::block::scan::BlockScan;
use crate::block::slots::Slot;
use crate::format::headers::{self, StreamSource};
use crate::format::record::{self, RecordKind, RecordRef};
use crate::format::{schedule, subject};
use crate::recovery::fault::Fault;
use crate::recovery::server::Quirk;
use crate::recovery::simulate::{Loaded, Lookup, Simulation};
use crate::report::events::{Event, EventCode};
use crate::report::stream::SourcePosition;

impl Simulation<'_> {
    /// One scan for everything that has to be caught up.
    pub(super) fn scan_forward(
        &mut self,
        rules: &TimerRules,
        starts: &Starts,
    ) -> Result<(), Fault> {
        let last = self.totals.last.seq;
        let mut seq = starts.lowest();
        while seq <= last {
            let Some(at) = self.select_block(seq) else {
                break;
            };
            let block = &self.blocks[at];
            let block_last = block.last.seq;
            if starts.concern(block, block_last) {
                self.scan_block_forward(at, rules, starts)?;
            }
            seq = seq.max(block_last).wrapping_add(1);
            if seq == 0 {
                break;
            }
        }
        self.timers.set_waiting();
        Ok(())
    }

    /// Takes what the scan of the block at `at` told of its messages; whether it told all that is wanted.
    fn take_from_scan(&mut self, at: usize, rules: &TimerRules, starts: &Starts) -> bool {
        let Some(sound) = self.sound(at) else {
            return false;
        };
        let wish = &sound.scan.wish;
        let covers = |from: Option<u64>, start: Option<u64>| {
            start.is_none_or(|start| from.is_some_and(|from| from <= start))
        };
        let tells = covers(wish.ttls_from, starts.ttl)
            && covers(wish.schedules_from, starts.schedules)
            && (starts.sources.is_none() || wish.sources);
        if !tells {
            return false;
        }
        let BlockScan {
            ttls,
            schedules,
            sources,
            ..
        } = &sound.scan;
        let (schedules, sources) = (schedules.clone(), sources.clone());
        if let Some(start) = starts.ttl {
            let from = ttls.partition_point(|(seq, _)| *seq < start);
            // The list stays for the tombstones.
            let due = ttls.get(from..).unwrap_or_default().to_vec();
            self.timers.expect(&due);
        }
        if let (Some(start), Some(known)) = (starts.schedules, &mut self.timers.schedules) {
            for note in schedules.iter().filter(|note| note.seq >= start) {
                known.set(note.seq, &note.subject, note.fires_ns);
            }
        }
        if let Some(start) = starts.sources {
            for note in sources.iter().filter(|note| note.seq >= start) {
                self.settle_source(note.source(), rules, starts);
            }
        }
        self.count_as_loaded(at)
    }

    fn settle_source(&mut self, source: StreamSource<'_>, rules: &TimerRules, starts: &Starts) {
        for (key, position) in settled_by(source, &rules.sources) {
            if starts.searched.contains(&key)
                && let Some(known) = self
                    .timers
                    .sources
                    .as_mut()
                    .and_then(|sources| sources.get_mut(&key))
            {
                *known = position;
            }
        }
    }

    fn scan_block_forward(
        &mut self,
        at: usize,
        rules: &TimerRules,
        starts: &Starts,
    ) -> Result<(), Fault> {
        let block = &self.blocks[at];
        if block.first.seq > block.last.seq || block.message_count == 0 && !block.has_undeleted() {
            return Ok(());
        }
        let (block_first, block_last) = (block.first.seq, block.last.seq);
        if self.take_from_scan(at, rules, starts) {
            return Ok(());
        }
        self.timers.set_waiting();
        let ends = self.rules.server.has(Quirk::ScanFaultEnds);
        let loaded = match self.load(at) {
            Ok(loaded) => loaded,
            Err(fault) => {
                self.note_scan_fault(&fault);
                return if ends { Err(fault) } else { Ok(()) };
            }
        };
        // Loading counted anew: where nothing of interest is left, the server stops behind the sequence it loaded the block for.
        let goes_on = starts.concern(&self.blocks[at], block_last);
        let due = |slot: &&Slot| goes_on || slot.seq <= block_first;
        for slot in loaded.index.slots.iter().take_while(due) {
            let found = match self.lookup(at, &loaded, slot.seq) {
                Ok(Lookup::Found(_, record)) => record,
                Ok(Lookup::Gone) => continue,
                Err(fault) => {
                    self.note_scan_fault(&fault);
                    if ends {
                        return Err(fault);
                    }
                    continue;
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

    fn take_headers(
        &mut self,
        seq: u64,
        record: &RecordRef,
        loaded: &Rc<Loaded>,
        rules: &TimerRules,
        starts: &Starts,
    ) {
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
            self.timers
                .set_ttl(seq, headers::expiry_ns(record.timestamp_ns(), ttl));
        }
        if present.schedule
            && due(starts.schedules)
            && let Some(fires_ns) =
                schedule::next_fire(block, record.timestamp_ns(), self.rules.now_ns)
            && let Some(schedules) = &mut self.timers.schedules
        {
            schedules.set(seq, record.subject(&loaded.content), fires_ns);
        }
        if present.source && due(starts.sources) {
            self.settle_source(headers::stream_source(block), rules, starts);
        }
    }

    /// Only sources are behind: look from the end for the newest message of each.
    pub(super) fn scan_sources_backward(
        &mut self,
        rules: &TimerRules,
        starts: Starts,
    ) -> Result<(), Fault> {
        let stop = starts.sources.unwrap_or_default();
        let mut searched = starts.searched;
        let mut from = self.totals.last.seq;
        let mut known = LastOfSubjects::default();
        while !searched.is_empty() && from >= self.totals.first.seq {
            let Some((seq, loaded, record)) =
                self.previous_sourced(from, rules, &searched, &mut known)?
            else {
                break;
            };
            if seq < stop {
                break;
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
            if seq <= stop {
                break;
            }
            from = seq - 1;
        }
        Ok(())
    }

    /// The newest message at or before `from` that a searched source may have sent.
    fn previous_sourced(
        &mut self,
        from: u64,
        rules: &TimerRules,
        searched: &[Vec<u8>],
        known: &mut LastOfSubjects,
    ) -> Result<Option<(u64, Rc<Loaded>, RecordRef)>, Fault> {
        let Some(newest) = self.select_block(from) else {
            return Ok(None);
        };
        let wanted = |subject: &[u8]| is_searched(subject, rules, searched);
        let takes_all = rules
            .sources
            .iter()
            .filter(|source| searched.contains(&source.key))
            .any(|source| source.filters.iter().any(|filter| filter == b">"));
        let jumps = self.rules.server.has(Quirk::SourcesJump) && !takes_all;
        let mut next = Some(newest);
        while let Some(at) = next {
            let loaded = self
                .load(at)
                .inspect_err(|fault| self.note_scan_fault(fault))?;
            if known.at != Some(at) {
                *known = self.last_of_subjects(at, &loaded);
            }
            if let Some((seq, record)) = self.previous_in_block(at, &loaded, from, known, wanted) {
                return Ok(Some((seq, loaded, record)));
            }
            next = match at {
                0 => None,
                2.. if jumps && at == newest => self.block_before(at, wanted),
                _ => Some(at - 1),
            };
        }
        Ok(None)
    }

    /// The last block before `at` that may hold a subject `wanted`, as far as the subjects' block ranges tell.
    fn block_before(&self, at: usize, wanted: impl Fn(&[u8]) -> bool) -> Option<usize> {
        /// Beyond so many subjects the server does not look.
        const SUBJECTS_MAX: u64 = 1_000_000;
        let before = at.checked_sub(1)?;
        let (here, guard) = (self.blocks[at].number, self.blocks[before].number);
        if self.subjects.len() > SUBJECTS_MAX {
            return Some(before);
        }
        let (mut first, mut last) = (u32::MAX, 0);
        self.subjects.for_each(|subject, totals| {
            if wanted(subject) {
                first = first.min(totals.first_block);
                if totals.first_block < here {
                    last = last.max(totals.last_block);
                }
            }
        });
        if first >= here {
            return None;
        }
        let target = self.blocks.iter().rfind(|block| block.number == last);
        match target {
            Some(block) if last < guard => {
                let found = self.select_block(block.last.seq)?;
                Some(if found < at { found } else { before })
            }
            _ => Some(before),
        }
    }

    fn last_of_subjects(&self, at: usize, loaded: &Loaded) -> LastOfSubjects {
        let mut last_of = FxHashMap::default();
        let block = &self.blocks[at];
        let live = |seq: u64| seq >= block.first.seq && !block.deleted.contains(seq);
        for slot in loaded.index.slots.iter().filter(|slot| live(slot.seq)) {
            if let Ok(record) = record::parse_at(&loaded.content, slot.offset as usize)
                && record.kind() == RecordKind::Message
            {
                let subject = record.subject(&loaded.content);
                match last_of.get_mut(subject) {
                    Some(last) => *last = slot.seq,
                    None => _ = last_of.insert(subject.to_vec(), slot.seq),
                }
            }
        }
        last_of.remove(&b""[..]);
        LastOfSubjects {
            at: Some(at),
            last_of,
        }
    }

    /// As the server looks through one block: record by record; up to 2.15.2 by subject where the block has few, and then one
    /// whose last record cannot be read is passed over whole.
    fn previous_in_block(
        &self,
        at: usize,
        loaded: &Rc<Loaded>,
        from: u64,
        known: &LastOfSubjects,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Option<(u64, RecordRef)> {
        let block = &self.blocks[at];
        let (first, from) = (block.first.seq, from.min(block.last.seq));
        let by_subject = (known.last_of.len() as u64) < from.wrapping_sub(first)
            && !self.rules.server.has(Quirk::SourcesJump);
        let reach = loaded.index.slots.partition_point(|slot| slot.seq <= from);
        for slot in loaded.index.slots.get(..reach)?.iter().rev() {
            let Ok(Lookup::Found(_, record)) = self.lookup(at, loaded, slot.seq) else {
                continue;
            };
            let subject = record.subject(&loaded.content);
            if !wanted(subject) {
                continue;
            }
            let last = known.last_of.get(subject).copied().unwrap_or(slot.seq);
            if by_subject && last <= from && last != slot.seq {
                continue;
            }
            return Some((slot.seq, record));
        }
        None
    }
}

/// The last live sequence of each subject of one block.
#[derive(Default)]
struct LastOfSubjects {
    at: Option<usize>,
    last_of: FxHashMap<Vec<u8>, u64>,
}

fn is_searched(stored: &[u8], rules: &TimerRules, searched: &[Vec<u8>]) -> bool {
    rules
        .sources
        .iter()
        .filter(|source| searched.contains(&source.key))
        .any(|source| {
            source
                .filters
                .iter()
                .any(|filter| subject::matches(stored, filter))
        })
}

/// Which source keys a header settles, and at what position.
fn settled_by(
    source: StreamSource<'_>,
    configured: &[ConfiguredSource],
) -> Vec<(Vec<u8>, SourcePosition)> {
    match source {
        StreamSource::Keyed {
            key,
            sequence,
            identity,
        } => {
            vec![(
                key,
                SourcePosition {
                    seq: sequence,
                    identity: identity.to_vec(),
                },
            )]
        }
        StreamSource::StreamName { name, sequence } => configured
            .iter()
            .filter(|source| source.legacy_names.iter().any(|known| known == name))
            .map(|source| {
                (
                    source.key.clone(),
                    SourcePosition {
                        seq: sequence,
                        identity: Vec::new(),
                    },
                )
            })
            .collect(),
        StreamSource::None => Vec::new(),
    }
}
