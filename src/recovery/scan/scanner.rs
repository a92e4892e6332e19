//! One thread of the scan: its buffers, and the blocks it took.

use std::fmt;

use super::super::fault::Cause;
use super::super::server::Quirk;
use super::super::simulate::KeyVerdict;
use super::reader::WindowReader;
use super::{ScanFault, ScanRules, Scanned, ScannedBlock, Shared};
use crate::block::lookback::Lookback;
use crate::block::scan::{HeaderNotes, ScanWish};
use crate::block::walk::Sink;
use crate::block::windows::Unusual;
use crate::crypto::BlockCipher;
use crate::format::record::{RecordRef, Run};
use crate::state::subjects::{NO_SUBJECT, ThreadSubjects};

/// Subjects that all threads together may hold before they hand them over.
const SUBJECTS_HELD_MAX: usize = 4 << 20;

/// How often a block is read that is another each time.
const READINGS_MAX: u32 = 4;

/// What a reading of a block told of its damage.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    NoDamage,
    BadRecord(u64),
    NoContent(String),
}

impl Reading {
    fn of(outcome: &Result<ScannedBlock, ScanFault>) -> Self {
        match outcome {
            Ok(found) if found.walked.fault.is_some() => Reading::BadRecord(found.walked.end),
            Err(ScanFault {
                cause: Cause::Content(fault),
                ..
            }) => Reading::NoContent(fault.to_string()),
            _ => Reading::NoDamage,
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reading::NoDamage => f.write_str("no damage"),
            Reading::BadRecord(offset) => write!(f, "a bad record at offset {offset}"),
            Reading::NoContent(fault) => f.write_str(fault),
        }
    }
}

/// One thread of the scan.
pub(super) struct BlockScanner<'a> {
    pub rules: ScanRules<'a>,
    shared: &'a Shared<'a>,
    pub file: Vec<u8>,
    pub spare: Vec<u8>,
    pub windows: WindowReader,
    pub run: Run,
    pub subjects: ThreadSubjects,
    pub lookback: Lookback,
    /// The block before, with its place among the results: by the time the next is through, the blocks behind it are.
    pending: Option<(usize, Lookback)>,
    is_fresh: bool,
    places: Vec<u32>,
}

impl<'a> BlockScanner<'a> {
    pub fn new(rules: ScanRules<'a>, shared: &'a Shared<'a>) -> Self {
        BlockScanner {
            rules,
            shared,
            file: Vec::new(),
            spare: Vec::new(),
            windows: WindowReader::default(),
            run: Run::new(),
            subjects: ThreadSubjects::default(),
            lookback: Lookback::default(),
            pending: None,
            is_fresh: true,
            places: Vec::new(),
        }
    }

    /// Scans the block that is `at` among those to be scanned.
    pub fn take(&mut self, at: usize, number: u32) {
        let outcome = match self.rules.walked.get(&number) {
            Some(walked) => walked.confirm(self.rules, number),
            None => self.scan(number),
        };
        let mut is_noted = false;
        if let Ok(found) = &outcome {
            let is_walked = found.legacy.as_ref().is_none_or(|legacy| !legacy.accepted);
            if is_walked {
                self.shared.publish(&found.walked.tombstones);
            }
            is_noted = found.scan.is_some() && self.lookback.is_whole();
        }
        self.shared.put(at, Scanned { number, outcome });
        self.settle_pending();
        if is_noted {
            self.pending = Some((at, std::mem::take(&mut self.lookback)));
        }
        if self.subjects.entry_count() > SUBJECTS_HELD_MAX / self.rules.threads.max(1) {
            self.settle_pending();
            self.shared.subjects.take_from(&mut self.subjects);
        }
    }

    fn scan(&mut self, number: u32) -> Result<ScannedBlock, ScanFault> {
        self.begin();
        let unusual = match self.scan_plain(number) {
            Ok(found) => return Ok(found),
            Err(unusual) => unusual,
        };
        let mut before = match unusual {
            Unusual::BadRecord(offset) => Some(Reading::BadRecord(offset)),
            Unusual::NotPlain => None,
        };
        let mut differ = None;
        let mut readings = 0;
        // Damage is said to be there once two readings agree on it.
        loop {
            self.subjects.take_back();
            self.begin();
            let mut found = self.scan_whole(number);
            let now = Reading::of(&found);
            readings += 1;
            let is_confirmed = match &before {
                Some(before) => *before == now,
                None => now == Reading::NoDamage,
            };
            if let Some(before) = before.filter(|_| !is_confirmed) {
                differ.get_or_insert_with(|| format!("{before}, then {now}"));
            }
            if is_confirmed || readings == READINGS_MAX {
                if let Ok(found) = &mut found {
                    found.reads_differ = differ;
                }
                return found;
            }
            before = Some(now);
        }
    }

    fn begin(&mut self) {
        self.subjects.begin();
        let any = self.is_fresh || !self.shared.gone.read().is_empty();
        let applies = self.rules.server.has(Quirk::Tombstones) && !self.rules.careful;
        self.lookback.begin(any && applies);
        self.is_fresh = false;
    }

    /// Sees what the tombstones known by now take of the block before.
    pub fn settle_pending(&mut self) {
        let Some((at, lookback)) = self.pending.take() else {
            return;
        };
        let gone = self.shared.gone.read();
        let taken = match gone.is_empty() {
            true => None,
            false => lookback.taken(&gone, &mut self.places),
        };
        drop(gone);
        let taken = taken.map(|mut taken| {
            taken.subjects = self.subjects.counts(&mut self.places);
            taken
        });
        self.shared.note_taken(at, taken);
        if !self.lookback.is_whole() {
            // Its room is of use again.
            self.lookback = lookback;
            self.lookback.give_up();
        }
    }

    pub fn into_subjects(self) -> ThreadSubjects {
        self.subjects
    }
}

/// The keystream of a block whose key is as it should be; `None` where the key calls for more than reading.
pub(super) fn plain_cipher(key: &KeyVerdict) -> Option<Option<BlockCipher>> {
    match key {
        KeyVerdict::None => Some(None),
        KeyVerdict::Opened(opened) if !opened.converting => Some(Some(opened.block_cipher())),
        _ => None,
    }
}

/// Takes in the messages of one block.
pub(super) struct BlockSink<'a> {
    number: u32,
    subjects: Option<&'a mut ThreadSubjects>,
    lookback: &'a mut Lookback,
    pub notes: HeaderNotes,
}

impl<'a> BlockSink<'a> {
    pub fn new(
        number: u32,
        subjects: Option<&'a mut ThreadSubjects>,
        lookback: &'a mut Lookback,
        wish: ScanWish,
    ) -> Self {
        BlockSink {
            number,
            subjects,
            lookback,
            notes: HeaderNotes::new(wish),
        }
    }
}

impl Sink for BlockSink<'_> {
    #[inline]
    fn message(&mut self, record: &RecordRef, content: &[u8]) {
        let subject = match &mut self.subjects {
            Some(subjects) => subjects.count(record.subject(content), self.number),
            None => NO_SUBJECT,
        };
        if self.lookback.is_whole() {
            self.lookback.note(record, content, subject);
        }
        if record.has_headers() {
            self.notes.message(record, content);
        }
    }
}
