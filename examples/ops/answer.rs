//! What is answered: one JSON object a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Above the last sequence, or no further message matches.
    Eof,
    NotFound,
    SeqMismatch,
    MaxMsgs,
    MaxBytes,
    MaxMsgsPerSubject,
    TooLarge,
    BadSubject,
    BadSeq,
    TooMany,
    OldUpdate,
    BadState,
    NoAckPolicy,
    /// No store is open.
    Closed,
    BadRequest,
    Other,
}

impl Kind {
    /// The protocol's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::NotFound => "not-found",
            Self::SeqMismatch => "seq-mismatch",
            Self::MaxMsgs => "max-msgs",
            Self::MaxBytes => "max-bytes",
            Self::MaxMsgsPerSubject => "max-msgs-per-subject",
            Self::TooLarge => "too-large",
            Self::BadSubject => "bad-subject",
            Self::BadSeq => "bad-seq",
            Self::TooMany => "too-many",
            Self::OldUpdate => "old-update",
            Self::BadState => "bad-state",
            Self::NoAckPolicy => "no-ack-policy",
            Self::Closed => "closed",
            Self::BadRequest => "bad-request",
            Self::Other => "other",
        }
    }
}

/// A refusal: its kind, and what a person may want to know.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub kind: Kind,
    pub why: String,
}

/// What became of a request.
pub type Outcome = Result<Value, Refusal>;

/// A refusal of this kind.
pub fn refuse<T>(kind: Kind, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        kind,
        why: why.into(),
    })
}

/// The line for an outcome.
pub fn line(outcome: Outcome) -> Value {
    match outcome {
        Ok(ok) => json!({ "ok": ok }),
        Err(refusal) => json!({ "err": refusal.kind.word(), "why": refusal.why }),
    }
}

/// Bytes as they travel.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A message.
pub fn message(seq: u64, ts: i64, subject: &str, hdr: &[u8], msg: &[u8]) -> Value {
    json!({ "seq": seq, "ts": ts, "subject": subject, "hdr": base64(hdr), "msg": base64(msg) })
}

/// The state of a stream; a time of 0 is none.
#[derive(Debug, Clone, Default)]
pub struct StreamNumbers {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub first_ts: i64,
    pub last_seq: u64,
    pub last_ts: i64,
    pub num_subjects: u64,
    /// Inclusive runs, ascending, merged.
    pub deleted: Vec<(u64, u64)>,
    pub lost: Vec<u64>,
    pub consumers: u64,
}

impl StreamNumbers {
    pub fn answer(&self) -> Value {
        let num_deleted: u64 = self.deleted.iter().map(|(from, to)| to - from + 1).sum();
        json!({
            "messages": self.messages, "bytes": self.bytes, "first_seq": self.first_seq, "first_ts": self.first_ts,
            "last_seq": self.last_seq, "last_ts": self.last_ts, "num_subjects": self.num_subjects,
            "num_deleted": num_deleted, "deleted": self.deleted, "lost": self.lost, "consumers": self.consumers,
        })
    }
}
