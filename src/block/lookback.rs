//! What taking a message out of every total needs to know of it, for each message of one block: kept until the tombstones
//! around the block are known.

use super::scan::Taken;
use crate::format::record::{RecordRef, record_length};
use crate::format::seqset::SeqSet;

/// Of so many messages at a block's head the time is kept: one of them all but always becomes the block's first.
const HEAD_MAX: usize = 4096;

/// A message, 12 bytes.
#[derive(Debug, Clone, Copy)]
struct Note {
    /// Sequences behind the block's first message.
    offset: u32,
    /// Bytes that it counts for.
    length: u32,
    /// What the caller knows its subject by.
    subject: u32,
}

/// The messages of one block.
#[derive(Debug, Default)]
pub struct Lookback {
    first_seq: u64,
    notes: Vec<Note>,
    head_times: Vec<i64>,
    is_whole: bool,
}

impl Lookback {
    /// Begins a block, with the room of the last. Unless the messages will be noted from its first on, nothing can be said
    /// of the block.
    pub fn begin(&mut self, from_the_first: bool) {
        self.notes.clear();
        self.head_times.clear();
        self.is_whole = from_the_first;
    }

    /// One whose block has begun.
    #[must_use]
    pub fn begun() -> Self {
        Lookback {
            is_whole: true,
            ..Lookback::default()
        }
    }

    /// Nothing can be said of the block.
    pub fn give_up(&mut self) {
        self.begin(false);
    }

    /// Whether messages are noted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Notes a message; sequences rise.
    #[inline]
    pub fn note(&mut self, record: &RecordRef, content: &[u8], subject: u32) {
        let seq = record.sequence();
        if self.notes.is_empty() {
            self.first_seq = seq;
        }
        let Ok(offset) = u32::try_from(seq.wrapping_sub(self.first_seq)) else {
            self.give_up();
            return;
        };
        if self.head_times.len() < HEAD_MAX {
            self.head_times.push(record.timestamp_ns());
        }
        self.notes.push(Note {
            offset,
            length: counted_length(record, content),
            subject,
        });
    }

    /// What goes of the block when every message in `gone` does. `subjects` receives what the caller knows their subjects
    /// by, in no particular order. `None`: that cannot be told.
    #[must_use]
    pub fn taken(&self, gone: &SeqSet, subjects: &mut Vec<u32>) -> Option<Taken> {
        subjects.clear();
        let last = self.notes.last().filter(|_| self.is_whole)?;
        let mut taken = Taken::default();
        let mut next = 0;
        // Messages before this one go, all of them.
        let mut head = 0;
        let range = self.first_seq..=self.first_seq + u64::from(last.offset);
        for seq in gone.spans_in(range).flatten() {
            let offset = (seq - self.first_seq) as u32;
            let behind = self.notes.get(next..)?;
            next += behind
                .iter()
                .take_while(|note| note.offset < offset)
                .count();
            let Some(note) = self.notes.get(next).filter(|note| note.offset == offset) else {
                continue;
            };
            taken.seqs.insert(seq);
            taken.bytes += u64::from(note.length);
            subjects.push(note.subject);
            head += usize::from(next == head);
            next += 1;
        }
        if head > 0
            && let Some(note) = self.notes.get(head)
        {
            let time = self.head_times.get(head)?;
            taken.new_first = Some((self.first_seq + u64::from(note.offset), *time));
        }
        Some(taken)
    }
}

/// Bytes of a message's record as the server counts them when it takes the message away.
#[inline]
fn counted_length(record: &RecordRef, content: &[u8]) -> u32 {
    if !record.has_headers() {
        return record.length() as u32;
    }
    let (headers, body) = record.headers_and_body(content).unwrap_or_default();
    record_length(record.subject_length(), headers.len(), body.len()) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::checksum::HashKey;
    use crate::format::record::{NewRecord, Run, Runs, encode_record};

    proptest! {
        #[test]
        fn what_goes_is_what_goes_one_by_one(
            steps in proptest::collection::vec(1..4_u64, 1..80),
            gone in proptest::collection::btree_set(0..200_u64, 0..120),
        ) {
            let key = HashKey::for_block(b"S", 1);
            let mut content = Vec::new();
            let mut sequence = 3;
            for step in &steps {
                sequence += step;
                let new = NewRecord::Message {
                    sequence,
                    timestamp_ns: sequence as i64 * 7,
                    subject: b"s",
                    headers: if step % 2 == 0 { b"NATS/1.0\r\nA: b\r\n\r\n" } else { b"" },
                    body: &vec![1; sequence as usize % 5],
                };
                encode_record(&mut content, &key, &new).expect("a record");
            }
            let mut lookback = Lookback::default();
            lookback.begin(true);
            let mut kept = Vec::new();
            let (mut bytes, mut seqs, mut expected) = (0, Vec::new(), Vec::new());
            let mut runs = Runs::new(&content, &key);
            let mut run = Run::new();
            while runs.next_run(&mut run) {
                for record in &run.records {
                    let subject = record.sequence() as u32 % 7;
                    lookback.note(record, &content, subject);
                    if gone.contains(&record.sequence()) {
                        bytes += record.length() as u64;
                        seqs.push(record.sequence());
                        expected.push(subject);
                    } else {
                        kept.push((record.sequence(), record.timestamp_ns()));
                    }
                }
            }
            let first = 3 + steps[0];
            let mut set = SeqSet::new();
            for seq in gone {
                set.insert(seq);
            }
            let mut subjects = Vec::new();
            let taken = lookback.taken(&set, &mut subjects).expect("whole");
            prop_assert_eq!(taken.seqs.iter().collect::<Vec<_>>(), seqs);
            prop_assert_eq!(taken.bytes, bytes);
            prop_assert_eq!(subjects, expected);
            let new_first = kept.first().copied().filter(|(seq, _)| *seq != first);
            prop_assert_eq!(taken.new_first, new_first);
            lookback.give_up();
            prop_assert!(lookback.taken(&set, &mut Vec::new()).is_none());
        }
    }
}
