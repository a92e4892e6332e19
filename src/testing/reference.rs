//! What a store held before it was damaged, small enough to keep beside every case.

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

use super::workload::Access;
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::seqset::SeqSet;
use crate::recovery::{self, Flow, Item, Message};
use crate::stream::StreamDir;

/// The first eight bytes of the SHA-256 of a message, laid out as for the content digest: sequence (u64 LE), time
/// (i64 LE), then subject, headers and body, each behind its length (u32 LE). What programs of another make answer with.
pub type Fingerprint = [u8; 8];

/// The messages of an undamaged store, as hashes.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    messages: FxHashMap<u64, Hashes>,
    /// Sequences of the messages.
    live: SeqSet,
    /// Sequences that were used and hold no message any more.
    deleted: SeqSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hashes {
    quick: u64,
    fingerprint: Fingerprint,
}

/// How a message compares with the undamaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The same in every byte.
    Same,
    /// The sequence held another message.
    Different,
    /// The sequence had been deleted.
    Deleted,
    /// The sequence was never used.
    Unknown,
}

impl Reference {
    /// A reference without messages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the undamaged store, with the decisions of the server.
    ///
    /// # Errors
    ///
    /// Where the store does not open, or a message of it cannot be read: it is damaged already.
    pub fn read(
        files: &dyn ReadFiles,
        stream: &StreamDir,
        access: &Access,
    ) -> Result<Self, String> {
        let mut made = Self::new();
        let mut unreadable = None;
        let mut visit = |item: Item<'_>| {
            match item {
                Item::Message(message) => made.insert(&message),
                Item::Unreadable(seq) => unreadable = Some(seq),
            }
            Flow::Continue
        };
        let options = access.options();
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let watch = crate::report::Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        recovery::messages(files, stream, &options, 0..=u64::MAX, &mut visit, &watch)
            .map_err(|(_, why)| why)?;
        if let Some(seq) = unreadable {
            return Err(format!("message {seq} cannot be read"));
        }
        if let (Some(first), Some(last)) = (made.live.first(), made.live.last()) {
            made.deleted.insert_range(first..=last);
            for span in made.live.spans() {
                made.deleted.remove_range(span);
            }
        }
        Ok(made)
    }

    /// Adds a message.
    pub fn insert(&mut self, message: &Message<'_>) {
        let hashes = Hashes {
            quick: quick_hash(message),
            fingerprint: fingerprint(message),
        };
        self.live.insert(message.seq);
        self.messages.insert(message.seq, hashes);
    }

    /// Turns a message into a deleted one.
    pub fn delete(&mut self, seq: u64) {
        self.live.remove(seq);
        self.messages.remove(&seq);
        self.deleted.insert(seq);
    }

    /// Sequences of the messages.
    #[must_use]
    pub fn live(&self) -> &SeqSet {
        &self.live
    }

    /// Sequences that were used and hold no message any more.
    #[must_use]
    pub fn deleted(&self) -> &SeqSet {
        &self.deleted
    }

    /// How `message` compares.
    #[must_use]
    pub fn judge(&self, message: &Message<'_>) -> Comparison {
        self.compare(message.seq, |hashes| hashes.quick == quick_hash(message))
    }

    /// How the message with this fingerprint compares.
    #[must_use]
    pub fn judge_fingerprint(&self, seq: u64, fingerprint: &Fingerprint) -> Comparison {
        self.compare(seq, |hashes| hashes.fingerprint == *fingerprint)
    }

    fn compare(&self, seq: u64, same: impl FnOnce(&Hashes) -> bool) -> Comparison {
        match self.messages.get(&seq) {
            Some(hashes) if same(hashes) => Comparison::Same,
            Some(_) => Comparison::Different,
            None if self.deleted.contains(seq) => Comparison::Deleted,
            None => Comparison::Unknown,
        }
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        self.messages == other.messages && self.deleted == other.deleted
    }
}

/// A message's fingerprint.
#[must_use]
pub fn fingerprint(message: &Message<'_>) -> Fingerprint {
    let mut hasher = Sha256::new();
    hasher.update(message.seq.to_le_bytes());
    hasher.update(message.timestamp_ns.to_le_bytes());
    for part in [message.subject, message.headers, message.body] {
        hasher.update((part.len() as u32).to_le_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut made = Fingerprint::default();
    made.copy_from_slice(&digest[..8]);
    made
}

/// Several times faster than SHA-256, for millions of comparisons; no one forges messages here.
fn quick_hash(message: &Message<'_>) -> u64 {
    let mut numbers = [0; 24];
    let fields = [
        message.seq,
        message.timestamp_ns.cast_unsigned(),
        (message.subject.len() as u64) << 32 | message.headers.len() as u64,
    ];
    for (bytes, field) in numbers.chunks_mut(8).zip(fields) {
        bytes.copy_from_slice(&field.to_le_bytes());
    }
    let key = HashKey::from_label(b"harness");
    key.hash64(&[&numbers, message.subject, message.headers, message.body])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message<'_> = Message {
        seq: 5,
        timestamp_ns: -7,
        subject: b"orders.1",
        headers: b"NATS/1.0\r\nA: b\r\n\r\n",
        body: b"body",
    };

    #[test]
    fn every_part_of_a_message_counts() {
        let mut reference = Reference::new();
        reference.insert(&MESSAGE);
        assert_eq!(reference.judge(&MESSAGE), Comparison::Same);
        let others = [
            Message {
                timestamp_ns: -8,
                ..MESSAGE
            },
            Message {
                subject: b"orders.2",
                ..MESSAGE
            },
            Message {
                headers: b"",
                ..MESSAGE
            },
            Message {
                body: b"bodz",
                ..MESSAGE
            },
            // The same bytes with the border elsewhere, which no checksum of the format would notice.
            Message {
                subject: b"orders.",
                headers: b"1NATS/1.0\r\nA: b\r\n\r\n",
                ..MESSAGE
            },
            Message {
                headers: b"NATS/1.0\r\nA: b\r\n\r",
                body: b"\nbody",
                ..MESSAGE
            },
        ];
        for other in others {
            assert_eq!(reference.judge(&other), Comparison::Different, "{other:?}");
            let print = fingerprint(&other);
            assert_eq!(
                reference.judge_fingerprint(5, &print),
                Comparison::Different
            );
        }
        assert_eq!(
            reference.judge_fingerprint(5, &fingerprint(&MESSAGE)),
            Comparison::Same
        );
        let elsewhere = Message { seq: 6, ..MESSAGE };
        assert_eq!(reference.judge(&elsewhere), Comparison::Unknown);
        reference.delete(5);
        assert_eq!(reference.judge(&MESSAGE), Comparison::Deleted);
    }
}
