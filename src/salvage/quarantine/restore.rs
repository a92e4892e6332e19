//! Taking up again what was put aside.

use std::ops::RangeInclusive;
use std::path::Path;

use super::super::error::SalvageError;

use super::super::findings::Lifetimes;
use super::super::merge::MessageSource;
use super::super::message_cursor::KeptMessage;
use super::super::scan::{Hints, RecordSink, Scratch, replay_block, scan_block};
use super::super::scan_blocks::WORK_LIMIT;
use super::super::sets::remove_all;
use super::super::subject_check::Subjects;
use super::super::survey::Survey;
use super::Gone;
use super::codec::{EntryKind, QuarantineEntry, QuarantineFault, Reader, decode_gone};
use crate::crypto::{KeyRing, OpenedKey, block_context};
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::limits::SEQUENCE_MAX;
use crate::format::record::{RecordKind, RecordRef, parse_at};
use crate::format::seqset::SeqSet;
use crate::stream::options::Options;

/// Bytes that a block can have: pieces that go on beyond are none of ours.
const WHOLE_MAX: usize = u32::MAX as usize;
/// Key files of one quarantine file that flips are searched in; the others are opened as they lie or not at all.
const KEY_SEARCHES_MAX: u32 = 1000;

/// Messages found in a quarantine file. Memory in proportion to them, which is bounded by the file's length and, for
/// compressed pieces, by what those decode to.
#[derive(Debug, Default)]
pub struct Regained {
    /// Their sequences.
    pub seqs: SeqSet,
    /// What tombstones among the bytes delete, which nothing else knew of.
    pub tombstones: SeqSet,
    /// Whether the file tells what was known to be deleted when it was written. If not, it was cut short.
    pub knows_deletes: bool,
    bytes: Vec<u8>,
    items: Vec<FoundMessage>,
    place: Option<usize>,
}

impl Regained {
    /// Shows every message's record, and the bytes it lies in.
    pub fn each(&self, mut show: impl FnMut(&RecordRef, &[u8])) {
        for item in &self.items {
            if let Ok(record) = parse_at(&self.bytes, item.start) {
                show(&record, &self.bytes);
            }
        }
    }
}

/// A message found: where its record lies in the bytes.
#[derive(Debug, Clone, Copy)]
struct FoundMessage {
    seq: u64,
    start: usize,
    number: u32,
    is_border_uncertain: bool,
}

/// Reads a quarantine file of the stream surveyed and gives what verifies in it now. Messages in conflict stay out: which of
/// them is right is for people to say.
///
/// # Errors
///
/// [`SalvageError::Io`], [`SalvageError::Quarantine`] where it is not a quarantine file, or one of another stream. A file that
/// cannot be read to its end gives what came before.
pub fn regain(
    fs: &dyn ReadFiles,
    path: &Path,
    found: &Survey,
    options: &Options,
) -> Result<Regained, SalvageError> {
    let file = fs.open(path)?;
    let length = file.length()?;
    let source = |offset: u64, buffer: &mut [u8]| {
        file.read_at(offset, buffer)
            .map_err(|error| error.to_string())
    };
    let broken =
        |fault: QuarantineFault| SalvageError::Quarantine(path.to_owned(), fault.to_string());
    let mut reader = Reader::new(&source, length).map_err(broken)?;
    let evidence = &found.gathered.evidence;
    if reader.name != evidence.name.as_bytes() {
        let detail = format!(
            "it is of the stream {}, not of {}",
            String::from_utf8_lossy(&reader.name),
            evidence.name
        );
        return Err(SalvageError::Quarantine(path.to_owned(), detail));
    }
    let account = reader.account.clone();
    let mut regaining = Regaining {
        ring: options.keys.ring(&account),
        name: evidence.name.as_bytes(),
        subjects: Subjects::new(evidence),
        scratch: Scratch::default(),
        key_searches: 0,
        regained: Regained::default(),
    };
    let mut gone: Option<Gone> = None;
    let mut pending: Option<Piece> = None;
    while let Ok(Some(entry)) = reader.next_entry() {
        if entry.kind == EntryKind::Gone {
            gone = Some(Gone {
                seqs: decode_gone(&entry.bytes),
                all_up_to: entry.before,
            });
            continue;
        }
        pending = match pending.take() {
            Some(piece) if piece.belongs(&entry) => Some(piece.with(entry)),
            before => {
                before
                    .into_iter()
                    .for_each(|piece| regaining.take_up(piece));
                (entry.kind == EntryKind::Piece && !entry.shares).then(|| Piece::new(entry))
            }
        };
    }
    pending
        .into_iter()
        .for_each(|piece| regaining.take_up(piece));
    let mut regained = regaining.regained;
    regained.settle_deletes(gone);
    let Regained { seqs, items, .. } = &mut regained;
    items.retain(|item| seqs.contains(item.seq));
    items.sort_by_key(|item| item.seq);
    Ok(regained)
}

impl Regained {
    /// Leaves out what was deleted.
    fn settle_deletes(&mut self, gone: Option<Gone>) {
        self.knows_deletes = gone.is_some();
        let gone = gone.unwrap_or_default();
        if let Some(last) = gone.all_up_to {
            self.tombstones.remove_range(0..=last);
        }
        remove_all(&mut self.seqs, &gone.seqs);
        remove_all(&mut self.seqs, &self.tombstones);
    }
}

/// Bytes put aside in one or several entries, and the sequences that are missing there.
struct Piece {
    begun: QuarantineEntry,
    missing: SeqSet,
}

impl Piece {
    fn new(begun: QuarantineEntry) -> Self {
        let mut missing = SeqSet::new();
        missing.insert_range(missing_at(&begun));
        Piece { begun, missing }
    }

    /// Whether `entry` goes on where this ends, or names another place in it.
    fn belongs(&self, entry: &QuarantineEntry) -> bool {
        let begun = &self.begun;
        let whole = begun.bytes.len() + entry.bytes.len();
        entry.kind == EntryKind::Piece
            && begun.number == entry.number
            && (entry.shares
                || begun.offset == entry.offset
                    && begun.file_offset.checked_add(begun.bytes.len() as u64)
                        == Some(entry.file_offset)
                    && whole <= WHOLE_MAX)
    }

    fn with(mut self, mut entry: QuarantineEntry) -> Self {
        if entry.shares {
            self.missing.insert_range(missing_at(&entry));
        } else {
            self.begun.bytes.append(&mut entry.bytes);
        }
        self
    }
}

/// The sequences between the neighbours of an entry: what else is read in its bytes was there when they were put aside, and
/// was judged. Neighbours that make no sense bound nothing; where both are one, it is that message.
fn missing_at(entry: &QuarantineEntry) -> RangeInclusive<u64> {
    match (entry.before, entry.after) {
        (Some(before), Some(after)) if before == after => before..=after,
        (Some(before), Some(after)) if before > after => 0..=SEQUENCE_MAX,
        (before, after) => {
            let first = before.map_or(0, |before| before.saturating_add(1));
            let last = after.map_or(SEQUENCE_MAX, |after| after.saturating_sub(1));
            first..=last
        }
    }
}

/// What takes pieces up.
struct Regaining<'a> {
    ring: KeyRing<'a>,
    name: &'a [u8],
    subjects: Subjects<'a>,
    scratch: Scratch,
    key_searches: u32,
    regained: Regained,
}

impl Regaining<'_> {
    fn take_up(&mut self, piece: Piece) {
        let Piece { begun, missing } = piece;
        let mut bytes = begun.bytes;
        if !begun.key.is_empty() {
            let Some(opened) = self.open(&begun.key, begun.number) else {
                return;
            };
            let cipher = opened.block_cipher();
            if cipher.apply(&mut bytes, begun.key_offset).is_err() {
                return;
            }
        }
        let hash_key = HashKey::for_block(self.name, begun.number);
        let hints = Hints {
            number: begun.number,
            hash_key: &hash_key,
            sequences: &(1..=SEQUENCE_MAX),
            subjects: &self.subjects,
            work_limit: WORK_LIMIT,
            lifetimes: Lifetimes::default(),
        };
        let mut as_found = bytes.clone();
        let find = scan_block(&mut bytes, &hints, &mut self.scratch);
        let doubted: SeqSet = find.uncertain.iter().map(|border| border.seq).collect();
        let mut taker = Taker {
            number: begun.number,
            missing: &missing,
            doubted: &doubted,
            regained: &mut self.regained,
        };
        let scratch = &mut self.scratch;
        replay_block(&mut as_found, &hash_key, &find, scratch, &mut taker);
    }

    fn open(&mut self, key: &[u8], number: u32) -> Option<OpenedKey> {
        let context = block_context(self.name, number);
        if let Ok(opened) = self.ring.open(key, &context) {
            return Some(opened);
        }
        if self.key_searches >= KEY_SEARCHES_MAX {
            return None;
        }
        self.key_searches += 1;
        let mended = self.ring.open_mended(key, &context);
        mended.ok().map(|(opened, _)| opened)
    }
}

struct Taker<'a> {
    number: u32,
    missing: &'a SeqSet,
    doubted: &'a SeqSet,
    regained: &'a mut Regained,
}

impl RecordSink for Taker<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        if record.kind() == RecordKind::Tombstone {
            self.regained.tombstones.insert(seq);
        } else if record.kind() == RecordKind::Message
            && self.missing.contains(seq)
            && let Some(bytes) = record.bytes(content)
            && self.regained.seqs.insert(seq)
        {
            let start = self.regained.bytes.len();
            self.regained.bytes.extend_from_slice(bytes);
            self.regained.items.push(FoundMessage {
                seq,
                start,
                number: self.number,
                is_border_uncertain: self.doubted.contains(seq),
            });
        }
    }
}

impl MessageSource for Regained {
    fn advance(&mut self) -> Result<bool, SalvageError> {
        let next = self.place.map_or(0, |place| place + 1);
        self.place = Some(next);
        Ok(next < self.items.len())
    }

    fn message(&self) -> Option<KeptMessage<'_>> {
        let item = self.items.get(self.place?)?;
        let record = parse_at(&self.bytes, item.start).ok()?;
        let parts = record.headers_and_body(&self.bytes);
        let (headers, body) = parts.clone().unwrap_or_default();
        Some(KeptMessage {
            seq: item.seq,
            timestamp_ns: record.timestamp_ns(),
            subject: record.subject(&self.bytes),
            headers,
            body,
            number: item.number,
            is_border_uncertain: item.is_border_uncertain,
            is_header_broken: parts.is_err(),
            record: record.bytes(&self.bytes)?,
        })
    }
}
