//! Reading the messages that the files do not reflect.

use std::rc::Rc;

use super::catch_up::Starts;
use super::{ConfiguredSource, TimerRules};
use crate::format::headers::{self, StreamSource};
use crate::format::record::RecordRef;
use crate::format::{schedule, subject};
use crate::recovery::events::{Event, EventCode};
use crate::recovery::fault::Fault;
use crate::recovery::model::{Loaded, Lookup, Model};
use crate::recovery::report::SourcePosition;

impl Model<'_> {
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
            let Some(block) = self.blocks.get(at) else {
                break;
            };
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

    fn scan_block_forward(
        &mut self,
        at: usize,
        rules: &TimerRules,
        starts: &Starts,
    ) -> Result<(), Fault> {
        let Some(block) = self.blocks.get(at) else {
            return Ok(());
        };
        if block.first.seq > block.last.seq || block.messages == 0 && !block.has_undeleted() {
            return Ok(());
        }
        let loaded = self
            .load(at)
            .inspect_err(|fault| self.note_scan_fault(fault))?;
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
            for (key, position) in settled_by(headers::stream_source(block), &rules.sources) {
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
    }

    /// Only sources are behind: look from the end for the newest message of each.
    pub(super) fn scan_sources_backward(
        &mut self,
        rules: &TimerRules,
        starts: Starts,
    ) -> Result<(), Fault> {
        let stop = starts.sources.unwrap_or_default();
        let mut searched = starts.searched;
        let Some(newest) = self.select_block(self.totals.last.seq) else {
            return Ok(());
        };
        for at in (0..=newest).rev() {
            if searched.is_empty() {
                break;
            }
            let loaded = self
                .load(at)
                .inspect_err(|fault| self.note_scan_fault(fault))?;
            let slots: Vec<u64> = loaded
                .index
                .slots
                .iter()
                .rev()
                .map(|slot| slot.seq)
                .collect();
            for seq in slots {
                let Ok(Lookup::Found(_, record)) = self.lookup(at, &loaded, seq) else {
                    continue;
                };
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
