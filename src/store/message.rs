//! A message that was read.

use std::ops::Range;
use std::sync::Arc;

use super::resident::Resident;
use crate::format::limits::RECORD_HEADER_LENGTH;
use crate::format::record::{NewRecord, RecordRef, record_length};
use crate::state::SeqTime;

/// A message to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewMessage<'a> {
    /// Its subject: tokens with dots between them, no wildcard, no white space.
    pub subject: &'a [u8],
    /// Its header block as a client sends it, `NATS/1.0` and all; empty for none.
    pub headers: &'a [u8],
    /// Its body.
    pub body: &'a [u8],
}

impl<'a> NewMessage<'a> {
    /// Bytes of its record.
    pub(super) fn length(&self) -> usize {
        record_length(self.subject.len(), self.headers.len(), self.body.len())
    }

    /// The record it is stored as.
    pub(super) fn record(&self, stored: SeqTime) -> NewRecord<'a> {
        NewRecord::Message {
            sequence: stored.seq,
            timestamp_ns: stored.timestamp_ns,
            subject: self.subject,
            headers: self.headers,
            body: self.body,
        }
    }
}

/// A message that was read. It holds on to its bytes: it stays what it is however the store goes on.
#[derive(Clone)]
pub struct StoredMessage {
    bytes: MessageBytes,
    /// Sequence.
    pub seq: u64,
    /// Time it was stored, nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    parts: Parts,
}

/// Where the parts of a message lie among the bytes that are kept.
#[derive(Clone)]
struct Parts {
    subject: Range<usize>,
    headers: Range<usize>,
    body: Range<usize>,
}

impl Parts {
    /// `origin` is where the bytes that are kept begin in `content`.
    fn of(record: &RecordRef, content: &[u8], origin: usize) -> Option<Self> {
        let (headers, body) = record.headers_and_body(content).ok()?;
        let body_end = record.checksum_offset().checked_sub(origin)?;
        let body_start = body_end.checked_sub(body.len())?;
        let headers_start = body_start.checked_sub(headers.len())?;
        let start = record.offset().checked_sub(origin)? + RECORD_HEADER_LENGTH;
        Some(Parts {
            subject: start..start + record.subject_length(),
            headers: headers_start..body_start,
            body: body_start..body_end,
        })
    }
}

#[derive(Clone)]
enum MessageBytes {
    Own(Arc<[u8]>),
    Read(Arc<Vec<u8>>),
    Block(Arc<Resident>),
}

impl std::fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredMessage")
            .field("seq", &self.seq)
            .field("timestamp_ns", &self.timestamp_ns)
            .field("subject", &String::from_utf8_lossy(self.subject()))
            .field("body_length", &self.body().len())
            .finish_non_exhaustive()
    }
}

impl StoredMessage {
    /// One whose bytes are copied out of the block that is being written.
    pub(super) fn copied(record: &RecordRef, content: &[u8]) -> Option<Self> {
        let parts = Parts::of(record, content, record.offset())?;
        let bytes: Arc<[u8]> = record.bytes(content)?.into();
        Some(Self::with(record, parts, MessageBytes::Own(bytes)))
    }

    /// One whose record was read alone.
    pub(super) fn alone(record: &RecordRef, bytes: Arc<Vec<u8>>) -> Option<Self> {
        let parts = Parts::of(record, &bytes, 0)?;
        Some(Self::with(record, parts, MessageBytes::Read(bytes)))
    }

    /// One whose bytes stay where they are.
    pub(super) fn borrowed(record: &RecordRef, block: Arc<Resident>) -> Option<Self> {
        let parts = Parts::of(record, block.bytes(), 0)?;
        Some(Self::with(record, parts, MessageBytes::Block(block)))
    }

    fn with(record: &RecordRef, parts: Parts, bytes: MessageBytes) -> Self {
        StoredMessage {
            bytes,
            seq: record.sequence(),
            timestamp_ns: record.timestamp_ns(),
            parts,
        }
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        let bytes: &[u8] = match &self.bytes {
            MessageBytes::Own(bytes) => bytes,
            MessageBytes::Read(bytes) => bytes,
            MessageBytes::Block(block) => block.bytes(),
        };
        bytes.get(range.clone()).unwrap_or_default()
    }

    /// The subject.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        self.part(&self.parts.subject)
    }

    /// The header block; empty where there is none.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        self.part(&self.parts.headers)
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.part(&self.parts.body)
    }
}
