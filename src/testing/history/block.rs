//! One block as a running server keeps it: its bytes, and what the server knows of them.

use std::ops::Range;

use crate::block::builder::BlockBuilder;
use crate::block::rules::{
    Fill, KeptTombstones, PriorTombstones, Survivors, next_first, tombstone_moves_bounds,
};
use crate::format::record::{NewRecord, RecordKind};
use crate::format::seqset::SeqSet;
use crate::testing::WorkloadError;

/// A sequence and its time; time 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    pub seq: u64,
    pub ns: i64,
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub range: Range<usize>,
    pub seq: u64,
    pub kind: RecordKind,
    pub ns: i64,
}

/// One block.
#[derive(Debug, Clone)]
pub struct Block {
    pub number: u32,
    records: BlockBuilder,
    pub places: Vec<Place>,
    pub first: Mark,
    pub last: Mark,
    pub messages: u64,
    /// Bytes of the live messages.
    pub bytes: u64,
    /// What the server takes for the file's length.
    pub raw_bytes: u64,
    /// Deleted between first and last.
    pub deleted: SeqSet,
    /// Whether the file is compressed.
    pub compressed: bool,
    /// Whether the server would compress it when it rewrites it: it forgets at a restart.
    pub compresses: bool,
    /// A compaction brought nothing.
    pub no_compact: bool,
}

impl Block {
    /// An empty block behind the sequence `last`.
    pub fn new(stream: &str, number: u32, last: u64) -> Self {
        Self {
            number,
            records: BlockBuilder::new(stream.as_bytes(), number),
            places: Vec::new(),
            first: Mark {
                seq: last + 1,
                ns: 0,
            },
            last: Mark { seq: last, ns: 0 },
            messages: 0,
            bytes: 0,
            raw_bytes: 0,
            deleted: SeqSet::new(),
            compressed: false,
            compresses: false,
            no_compact: false,
        }
    }

    /// Its records.
    pub fn records(&self) -> &BlockBuilder {
        &self.records
    }

    /// Appends a record, and accounts for it.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<u64, WorkloadError> {
        let start = self.records.content().len();
        let length = self
            .records
            .push(record)
            .map_err(|fault| WorkloadError::Format(fault.to_string()))?;
        let (seq, ns, kind) = match *record {
            NewRecord::Message {
                sequence,
                timestamp_ns,
                ..
            } => (sequence, timestamp_ns, RecordKind::Message),
            NewRecord::Skip {
                sequence,
                timestamp_ns,
            } => (sequence, timestamp_ns, RecordKind::Erased),
            NewRecord::Erased { sequence, .. } => (sequence, 0, RecordKind::Erased),
            NewRecord::Tombstone {
                sequence,
                timestamp_ns,
            }
            | NewRecord::ClaimedTombstone {
                sequence,
                timestamp_ns,
            } => (sequence, timestamp_ns, RecordKind::Tombstone),
        };
        self.places.push(Place {
            range: start..start + length,
            seq,
            kind,
            ns,
        });
        self.raw_bytes += length as u64;
        if kind == RecordKind::Tombstone {
            // In a block without messages a tombstone beyond its last moves it.
            if tombstone_moves_bounds(self.messages, self.last.seq, seq) {
                self.last = Mark { seq, ns };
                self.first = Mark {
                    seq: seq + 1,
                    ns: 0,
                };
            }
            return Ok(length as u64);
        }
        if (self.first.seq == 0 || self.first.ns == 0) && seq >= self.first.seq {
            self.first = Mark { seq, ns };
        }
        self.last = Mark { seq, ns };
        if kind == RecordKind::Message {
            self.bytes += length as u64;
            self.messages += 1;
        }
        Ok(length as u64)
    }

    /// Puts down that `seq` holds nothing.
    pub fn skip(&mut self, seq: u64, ns: i64) -> Result<(), WorkloadError> {
        if self.messages == 0 {
            self.last = Mark { seq, ns };
            self.first = Mark {
                seq: seq + 1,
                ns: 0,
            };
        } else {
            self.deleted.insert(seq);
        }
        self.append(&NewRecord::Skip {
            sequence: seq,
            timestamp_ns: ns,
        })
        .map(|_| ())
    }

    /// Moves the first behind its present place, to what is not deleted.
    pub fn next_first(&mut self) {
        let seq = next_first(self.first.seq, self.last.seq, &mut self.deleted);
        self.first = Mark {
            seq,
            ns: if seq > self.last.seq {
                0
            } else {
                self.time_of(seq)
            },
        };
    }

    fn time_of(&self, seq: u64) -> i64 {
        let mut places = self.places.iter().rev();
        places
            .find(|place| place.seq == seq && place.kind == RecordKind::Message)
            .map_or(0, |place| place.ns)
    }

    pub fn is_empty(&self) -> bool {
        self.first.seq > self.last.seq
    }

    /// Tombstones of earlier messages, those in front of its own first record, that still matter.
    pub fn prior_tombstones(&self, store_first: u64) -> u64 {
        let mut prior = PriorTombstones::new(store_first);
        for place in &self.places {
            prior.take(place.kind, place.seq);
        }
        prior.count()
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill {
            live_bytes: self.bytes,
            raw_bytes: self.raw_bytes,
            live_bytes_at_rewrite: 0,
        }
    }

    /// The block is full and another follows: its file is compressed.
    pub fn seal(&mut self) -> Result<(), WorkloadError> {
        if self.records.is_empty() || self.compressed {
            return Ok(());
        }
        self.compressed = true;
        self.compresses = true;
        self.raw_bytes = self.file_content()?.len() as u64;
        Ok(())
    }

    /// The bytes of its file, before they are encrypted.
    pub fn file_content(&self) -> Result<Vec<u8>, WorkloadError> {
        self.records
            .file(self.compressed, None)
            .map_err(|fault| WorkloadError::Format(fault.to_string()))
    }

    /// Checksum of its last record.
    pub fn last_checksum(&self) -> [u8; 8] {
        self.records.last_hash()
    }

    /// Wipes a message in place; the rewritten file is compressed if `compress`.
    pub fn erase(&mut self, seq: u64, noise: &[u8], compress: bool) -> Result<(), WorkloadError> {
        let Some(at) = self
            .places
            .iter()
            .position(|place| place.seq == seq && place.kind == RecordKind::Message)
        else {
            return Ok(());
        };
        let Place { range, .. } = self.places[at].clone();
        let noise = noise.get(..range.len().saturating_sub(30));
        let erased = NewRecord::Erased {
            sequence: seq,
            noise: noise.unwrap_or_default(),
        };
        let overwritten = self
            .records
            .overwrite(range.clone(), &erased)
            .map_err(|fault| WorkloadError::Format(fault.to_string()))?;
        if !overwritten {
            let detail = format!("too little wiping for a record of {}", range.len());
            return Err(WorkloadError::Format(detail));
        }
        self.places[at].kind = RecordKind::Erased;
        self.places[at].ns = 0;
        self.compressed = compress;
        self.compresses = compress;
        self.raw_bytes = self.file_content()?.len() as u64;
        Ok(())
    }

    /// Whether the periodic pass rewrites it.
    pub fn wants_compaction(&self) -> bool {
        self.fill().is_mostly_dead() && !self.no_compact
    }

    /// Rewrites the file with what is live, and with the tombstones of earlier messages that some block still lists as
    /// deleted and that are not below `floor`.
    pub fn compact(&mut self, floor: u64, listed: &SeqSet) -> Result<(), WorkloadError> {
        let first = self.first.seq;
        let survivors = Survivors {
            first,
            deleted: &self.deleted,
            tombstones: KeptTombstones::Listed {
                stream_first: floor,
                listed,
            },
        };
        let kept: Vec<Place> = self
            .places
            .iter()
            .filter(|place| survivors.keep(place.kind, place.seq))
            .cloned()
            .collect();
        let ranges = kept.iter().map(|place| place.range.clone());
        self.records.keep(ranges);
        self.places.clear();
        let mut messages = kept.iter().filter(|one| one.kind == RecordKind::Message);
        let (begins, ends) = (messages.next().cloned(), messages.next_back().cloned());
        let mut end = 0;
        for mut place in kept {
            let start = end;
            end += place.range.len();
            place.range = start..end;
            self.places.push(place);
        }
        self.compressed = self.compresses && !self.records.is_empty();
        match (begins, ends) {
            (None, _) => {
                self.last = Mark {
                    seq: first - 1,
                    ns: 0,
                };
                self.deleted = SeqSet::new();
            }
            (Some(begin), end) => {
                let end = end.unwrap_or_else(|| begin.clone());
                self.first.seq = begin.seq;
                self.last = Mark {
                    seq: end.seq,
                    ns: end.ns,
                };
                self.deleted.remove_below(begin.seq);
                self.deleted.remove_range(end.seq..=u64::MAX);
            }
        }
        let length = self.file_content()?.len() as u64;
        self.no_compact = length == self.raw_bytes;
        self.raw_bytes = length;
        Ok(())
    }
}
