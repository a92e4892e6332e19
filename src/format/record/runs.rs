//! The walk over a block's decoded content.

use super::super::checksum::HashKey;
use super::{RecordFault, RecordRef, parse_at};

/// The most records of one run.
pub const RUN_RECORDS_MAX: usize = 128;

/// A run ends once its records span this many bytes, so that they are still in cache when they are hashed.
const RUN_BYTES: usize = 64 * 1024;

/// Neighbouring records of a block. Reused from run to run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Sound records in file order.
    pub records: Vec<RecordRef>,
    /// Why the walk ended behind them, unless it did not.
    pub fault: Option<RecordFault>,
    hashes: Vec<u64>,
}

impl Run {
    /// An empty run with room for the most records of one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: Vec::with_capacity(RUN_RECORDS_MAX),
            fault: None,
            hashes: Vec::with_capacity(RUN_RECORDS_MAX),
        }
    }
}

/// A walk over a block's decoded content in runs of records.
///
/// The walk stops at the first fault, as recovery does; [`Runs::seek`] takes it up again elsewhere.
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    buffer: &'a [u8],
    key: Option<HashKey>,
    offset: usize,
    stopped: bool,
    /// Bytes of the run before, as a guess at the next.
    span: usize,
}

impl<'a> Runs<'a> {
    /// A walk that checks every record in full.
    #[must_use]
    pub fn new(buffer: &'a [u8], key: &HashKey) -> Self {
        Self {
            buffer,
            key: Some(*key),
            offset: 0,
            stopped: false,
            span: 0,
        }
    }

    /// A walk that checks headers and lengths only, over content whose checksums have been checked before.
    #[must_use]
    pub fn unverified(buffer: &'a [u8]) -> Self {
        Self {
            buffer,
            key: None,
            offset: 0,
            stopped: false,
            span: 0,
        }
    }

    /// Where the next run begins; after a fault, where the faulty record does.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Goes on at `offset`, also after a fault.
    pub fn seek(&mut self, offset: usize) {
        self.offset = offset;
        self.stopped = false;
    }

    /// Fills `out` with the next sound records, and with the fault behind them if there is one.
    ///
    /// Returns whether there was either: false at the end of the content, and after a fault until [`Runs::seek`].
    pub fn next_run(&mut self, out: &mut Run) -> bool {
        out.records.clear();
        out.fault = None;
        if self.stopped || self.offset >= self.buffer.len() {
            return false;
        }
        self.fetch();
        let mut end = self.offset;
        while end < self.buffer.len()
            && out.records.len() < RUN_RECORDS_MAX
            && end - self.offset < RUN_BYTES
        {
            match parse_at(self.buffer, end) {
                Ok(record) => {
                    end = record.end_offset();
                    out.records.push(record);
                }
                Err(fault) => {
                    out.fault = Some(fault);
                    break;
                }
            }
        }
        if let Some(fault) = self.first_mismatch(out) {
            end = fault.offset();
            out.fault = Some(fault);
        }
        self.span = end - self.offset;
        self.offset = end;
        self.stopped = out.fault.is_some();
        true
    }

    /// Reads a byte of every cache line that the next run will likely span.
    ///
    /// Where a record begins is known only once the one before has arrived from memory, so parsing alone would wait
    /// for one after the other; these reads wait for none.
    fn fetch(&self) {
        const CACHE_LINE: usize = 64;
        let end = self.offset + self.span.min(RUN_BYTES);
        let ahead = self.buffer.get(self.offset..end).unwrap_or_default();
        let mix = ahead
            .iter()
            .step_by(CACHE_LINE)
            .fold(0, |mix, byte| mix ^ byte);
        std::hint::black_box(mix);
    }

    /// Compares the checksums and cuts the run before the first that differs.
    fn first_mismatch(&self, out: &mut Run) -> Option<RecordFault> {
        let key = self.key.as_ref()?;
        key.hash_run(self.buffer, &out.records, &mut out.hashes);
        let mut checked = out.records.iter().zip(&out.hashes);
        let (position, fault) =
            checked
                .by_ref()
                .enumerate()
                .find_map(|(position, (record, &hash))| {
                    let found = record.stored_hash(self.buffer).unwrap_or(!hash);
                    let fault = RecordFault::Checksum {
                        offset: record.offset(),
                        expected: hash,
                        found,
                    };
                    (found != hash).then_some((position, fault))
                })?;
        out.records.truncate(position);
        Some(fault)
    }
}

/// Walks `data` as a block's content, resuming one byte behind every fault, and checks what a walk promises.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    let key = HashKey::for_block(b"ORDERS", 1);
    for mut runs in [Runs::new(data, &key), Runs::unverified(data)] {
        let mut run = Run::new();
        let mut expected = 0;
        while runs.next_run(&mut run) {
            for record in &run.records {
                assert_eq!(record.offset(), expected);
                expected = record.end_offset();
                let _ = (record.subject(data), record.kind());
                if let Ok((headers, body)) = record.headers_and_body(data) {
                    assert!(headers.len() + body.len() < record.length());
                }
            }
            if let Some(fault) = &run.fault {
                assert_eq!(fault.offset(), expected);
                expected += 1;
                runs.seek(expected);
            }
        }
        assert!(expected >= data.len());
    }
}
