//! Records in the making.

use jetsam::format::checksum::HashKey;
use jetsam::format::record::{NewRecord, encode_record, parse_at};

/// 2026-01-01, the time of sequence 0.
pub const BASE_NS: i64 = 1_767_225_600_000_000_000;
/// One second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// `seconds` after [`BASE_NS`].
pub const fn at(seconds: i64) -> i64 {
    BASE_NS + seconds * SECOND_NS
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Message,
    /// A sequence never used.
    Skip,
    /// A message wiped in place.
    Erased,
    /// A marker that a sequence is gone.
    Tombstone,
}

/// A record to be written.
#[derive(Debug, Clone)]
pub struct Rec {
    pub kind: Kind,
    pub seq: u64,
    pub time_ns: i64,
    pub subject: String,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
    edits: Vec<(usize, Vec<u8>)>,
}

fn new(kind: Kind, seq: u64) -> Rec {
    Rec {
        kind,
        seq,
        time_ns: BASE_NS.wrapping_add((seq as i64).wrapping_mul(SECOND_NS)),
        subject: format!("s.{}", seq % 3),
        headers: Vec::new(),
        body: format!("body of {seq}").into_bytes(),
        edits: Vec::new(),
    }
}

/// A message: subject `s.0`, `s.1` or `s.2`, as many seconds after the base time as its sequence.
pub fn msg(seq: u64) -> Rec {
    new(Kind::Message, seq)
}

/// Messages.
pub fn msgs(seqs: impl IntoIterator<Item = u64>) -> Vec<Rec> {
    seqs.into_iter().map(msg).collect()
}

/// A tombstone.
pub fn tomb(seq: u64) -> Rec {
    new(Kind::Tombstone, seq)
}

/// A skip record.
pub fn skip(seq: u64) -> Rec {
    new(Kind::Skip, seq)
}

/// An erased record.
pub fn erased(seq: u64) -> Rec {
    new(Kind::Erased, seq)
}

impl Rec {
    /// Another subject.
    pub fn on(mut self, subject: &str) -> Self {
        self.subject = subject.to_owned();
        self
    }

    /// Another time.
    pub fn time(mut self, time_ns: i64) -> Self {
        self.time_ns = time_ns;
        self
    }

    /// Another body.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// One header more.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if self.headers.is_empty() {
            self.headers.extend(b"NATS/1.0\r\n\r\n");
        }
        self.headers.truncate(self.headers.len() - 2);
        self.headers
            .extend(format!("{name}: {value}\r\n\r\n").into_bytes());
        self
    }

    /// Other bytes at `offset` of the encoded record, under a fresh hash where the lengths still allow one.
    pub fn edit(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.edits.push((offset, bytes.to_vec()));
        self
    }

    /// The sequence field as it stands in the file, flags included, under a fresh hash.
    pub fn bits(self, bits: u64) -> Self {
        self.edit(4, &bits.to_le_bytes())
    }

    /// Another header length, which the hash does not cover.
    pub fn header_length(self, length: u32) -> Self {
        let offset = 22 + self.subject.len();
        self.edit(offset, &length.to_le_bytes())
    }

    /// Another subject length, which the hash does not cover.
    pub fn subject_length(self, length: u16) -> Self {
        self.edit(20, &length.to_le_bytes())
    }

    /// Its bytes under the key of its block.
    pub fn encode(&self, key: &HashKey) -> Vec<u8> {
        let mut out = Vec::new();
        let (sequence, timestamp_ns) = (self.seq, self.time_ns);
        let noise = [0x5A; 12];
        let record = match self.kind {
            Kind::Message => NewRecord::Message {
                sequence,
                timestamp_ns,
                subject: self.subject.as_bytes(),
                headers: &self.headers,
                body: &self.body,
            },
            Kind::Skip => NewRecord::Skip {
                sequence,
                timestamp_ns,
            },
            Kind::Erased => NewRecord::Erased {
                sequence,
                noise: &noise,
            },
            Kind::Tombstone => NewRecord::Tombstone {
                sequence,
                timestamp_ns,
            },
        };
        encode_record(&mut out, key, &record).expect("a record that can be written");
        for (offset, bytes) in &self.edits {
            out[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        if !self.edits.is_empty()
            && let Ok(record) = parse_at(&out, 0)
        {
            let mut hashes = Vec::new();
            key.hash_run(&out, &[record], &mut hashes);
            let at = record.checksum_offset();
            out[at..at + 8].copy_from_slice(&hashes[0].to_le_bytes());
        }
        out
    }
}
