//! One block as a running server keeps it: its bytes, and what the server knows of them.

use std::ops::Range;

use crate::format::checksum::HashKey;
use crate::format::compression::compress;
use crate::format::record::{NewRecord, RecordKind, encode_record};
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
    /// Decoded content of its file.
    pub content: Vec<u8>,
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
    hash_key: HashKey,
}

impl Block {
    /// An empty block behind the sequence `last`.
    pub fn new(stream: &str, number: u32, last: u64) -> Self {
        Self {
            number,
            content: Vec::new(),
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
            hash_key: HashKey::for_block(stream.as_bytes(), number),
        }
    }

    /// Appends a record, and accounts for it.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<u64, WorkloadError> {
        let start = self.content.len();
        let length = encode_record(&mut self.content, &self.hash_key, record)
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
            if self.messages == 0 && seq > self.last.seq {
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
        let mut seq = self.first.seq + 1;
        while seq <= self.last.seq && self.deleted.remove(seq) {
            seq += 1;
        }
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
    pub fn prior_tombstones(&self, store_first: u64) -> usize {
        let mut first_record = 0;
        let mut found = 0;
        for place in &self.places {
            match place.kind {
                RecordKind::Tombstone => {
                    let before = first_record == 0 || place.seq < first_record;
                    found += usize::from(place.seq >= store_first && before);
                }
                RecordKind::Message if first_record == 0 => first_record = place.seq,
                RecordKind::Message | RecordKind::Erased => {}
            }
        }
        found
    }

    /// The block is full and another follows: its file is compressed.
    pub fn seal(&mut self) -> Result<(), WorkloadError> {
        if self.content.is_empty() || self.compressed {
            return Ok(());
        }
        self.compressed = true;
        self.compresses = true;
        self.raw_bytes = self.file_content()?.len() as u64;
        Ok(())
    }

    /// The bytes of its file, before they are encrypted.
    pub fn file_content(&self) -> Result<Vec<u8>, WorkloadError> {
        if !self.compressed {
            return Ok(self.content.clone());
        }
        let mut bytes = Vec::new();
        compress(&self.content, &mut bytes)
            .map_err(|fault| WorkloadError::Format(fault.to_string()))?;
        Ok(bytes)
    }

    /// Checksum of its last record.
    pub fn last_checksum(&self) -> [u8; 8] {
        self.content.last_chunk().copied().unwrap_or_default()
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
        let mut record = Vec::new();
        let noise = noise.get(..range.len().saturating_sub(30));
        encode_record(
            &mut record,
            &self.hash_key,
            &NewRecord::Erased {
                sequence: seq,
                noise: noise.unwrap_or_default(),
            },
        )
        .map_err(|fault| WorkloadError::Format(fault.to_string()))?;
        if record.len() != range.len() {
            return Err(WorkloadError::Format(format!(
                "{} bytes of wiping for a record of {}",
                record.len(),
                range.len()
            )));
        }
        self.content[range].copy_from_slice(&record);
        self.places[at].kind = RecordKind::Erased;
        self.places[at].ns = 0;
        self.compressed = compress;
        self.compresses = compress;
        self.raw_bytes = self.file_content()?.len() as u64;
        Ok(())
    }

    /// Whether the periodic pass rewrites it.
    pub fn wants_compaction(&self) -> bool {
        self.bytes * 2 < self.raw_bytes && !self.no_compact
    }

    /// Rewrites the file with what is live, and with the tombstones of earlier messages that some block still lists as
    /// deleted and that are not below `floor`.
    pub fn compact(&mut self, floor: u64, listed: &SeqSet) -> Result<(), WorkloadError> {
        let first = self.first.seq;
        let kept: Vec<Place> = self
            .places
            .iter()
            .filter(|place| match place.kind {
                RecordKind::Erased => false,
                RecordKind::Message => place.seq >= first && !self.deleted.contains(place.seq),
                RecordKind::Tombstone => {
                    place.seq < first && place.seq >= floor && listed.contains(place.seq)
                }
            })
            .cloned()
            .collect();
        let content = std::mem::take(&mut self.content);
        self.places.clear();
        let mut messages = kept.iter().filter(|one| one.kind == RecordKind::Message);
        let (begins, ends) = (messages.next().cloned(), messages.next_back().cloned());
        for mut place in kept {
            let start = self.content.len();
            self.content
                .extend_from_slice(content.get(place.range.clone()).unwrap_or_default());
            place.range = start..self.content.len();
            self.places.push(place);
        }
        self.compressed = self.compresses && !self.content.is_empty();
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
