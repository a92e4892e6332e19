//! Taking up again what was put aside.

use std::path::Path;

use super::super::error::SalvageError;
use super::super::evidence::Trials;
use super::super::kept::KeptMessage;
use super::super::merge::Source;
use super::super::scan::{
    Hints, RecordSink, Scratch, SubjectStanding, SubjectWitness, replay_block, scan_block,
};
use super::super::survey::{Survey, WORK_LIMIT};
use super::codec::{Entry, EntryKind, QuarantineFault, Reader};
use crate::crypto::{BlockCipher, block_context};
use crate::env::FileSystem;
use crate::format::checksum::HashKey;
use crate::format::limits::{CHECKSUM_LENGTH, SEQUENCE_MAX};
use crate::format::record::{RecordKind, RecordRef, parse_at};
use crate::format::seqset::SeqSet;
use crate::format::varint::put_uvarint;
use crate::recovery::options::Options;

/// Messages found in a quarantine file. Memory in proportion to them, which is bounded by the file's length and, for
/// compressed pieces, by what those decode to.
#[derive(Debug, Default)]
pub struct Regained {
    /// Their sequences.
    pub seqs: SeqSet,
    bytes: Vec<u8>,
    items: Vec<(u64, usize, u32)>,
    place: Option<usize>,
}

/// Any subject goes: what is here has been looked at before.
struct AnySubject;

impl SubjectWitness for AnySubject {
    fn standing(&self, _subject: &[u8]) -> SubjectStanding {
        SubjectStanding::Possible
    }

    fn lists_subjects(&self) -> bool {
        false
    }
}

/// Reads a quarantine file of the stream surveyed and gives what verifies in it now. Messages in conflict stay out: which of
/// them is right is for people to say.
///
/// # Errors
///
/// [`SalvageError::Io`], [`SalvageError::Quarantine`] where it is not a quarantine file, or one of another stream. A file that
/// cannot be read to its end gives what came before.
pub fn regain(
    fs: &dyn FileSystem,
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
    let trials = Trials {
        keys: &options.keys,
        account: &account,
    };
    let mut regained = Regained::default();
    let mut scratch = Scratch::default();
    let mut pending: Option<Entry> = None;
    loop {
        // A gap in several pieces is put together again.
        let next = reader.next_entry().unwrap_or(None);
        match (&mut pending, next) {
            (Some(begun), Some(more)) if continues(begun, &more) => {
                begun.bytes.extend_from_slice(&more.bytes);
            }
            (begun, next) => {
                let ready = std::mem::replace(begun, next);
                let is_end = begun.is_none();
                if let Some(entry) = ready {
                    take_up(entry, &trials, found, &mut scratch, &mut regained);
                }
                if is_end {
                    break;
                }
            }
        }
    }
    regained.items.sort_by_key(|item| item.0);
    regained.items.dedup_by_key(|item| item.0);
    Ok(regained)
}

fn continues(begun: &Entry, more: &Entry) -> bool {
    begun.kind == EntryKind::Piece
        && more.kind == EntryKind::Piece
        && begun.number == more.number
        && begun.offset == more.offset
        && begun.file_offset + begun.bytes.len() as u64 == more.file_offset
}

fn take_up(
    entry: Entry,
    trials: &Trials<'_>,
    found: &Survey,
    scratch: &mut Scratch,
    regained: &mut Regained,
) {
    if entry.kind == EntryKind::Conflict {
        return;
    }
    let name = found.gathered.evidence.name.as_bytes();
    let mut bytes = entry.bytes;
    if !entry.key.is_empty() {
        let context = block_context(name, entry.number);
        let Ok((opened, _)) = trials.open_mended(&entry.key, &context) else {
            return;
        };
        let cipher = BlockCipher::new(&opened.seed, &opened.nonce);
        if cipher.apply(&mut bytes, entry.key_offset).is_err() {
            return;
        }
    }
    if entry.compressed && entry.file_offset > 0 {
        bytes = wrapped(&bytes);
    }
    let hash_key = HashKey::for_block(name, entry.number);
    let hints = Hints {
        number: entry.number,
        hash_key: &hash_key,
        sequences: &(1..=SEQUENCE_MAX),
        subjects: &AnySubject,
        work_limit: WORK_LIMIT,
    };
    let mut as_found = bytes.clone();
    let find = scan_block(&mut bytes, &hints, scratch);
    let mut taker = Taker {
        number: entry.number,
        regained,
    };
    replay_block(&mut as_found, &hash_key, &find, scratch, &mut taker);
}

/// Chunks out of the middle of a compressed block, as a block of their own; the last eight bytes stand for the trailer.
fn wrapped(chunks: &[u8]) -> Vec<u8> {
    let mut block = b"cmp\x01".to_vec();
    put_uvarint(&mut block, chunks.len() as u64);
    block.extend_from_slice(b"\xff\x06\x00\x00S2sTwO");
    block.extend_from_slice(chunks);
    block.extend_from_slice(&[0; CHECKSUM_LENGTH]);
    block
}

struct Taker<'a> {
    number: u32,
    regained: &'a mut Regained,
}

impl RecordSink for Taker<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        if record.kind() == RecordKind::Message
            && let Some(bytes) = record.bytes(content)
            && self.regained.seqs.insert(record.sequence())
        {
            let start = self.regained.bytes.len();
            self.regained.bytes.extend_from_slice(bytes);
            let item = (record.sequence(), start, self.number);
            self.regained.items.push(item);
        }
    }
}

impl Source for Regained {
    fn advance(&mut self) -> Result<bool, SalvageError> {
        let next = self.place.map_or(0, |place| place + 1);
        self.place = Some(next);
        Ok(next < self.items.len())
    }

    fn message(&self) -> Option<KeptMessage<'_>> {
        let (seq, start, number) = *self.items.get(self.place?)?;
        let record = parse_at(&self.bytes, start).ok()?;
        let parts = record.headers_and_body(&self.bytes);
        let (headers, body) = parts.clone().unwrap_or_default();
        Some(KeptMessage {
            seq,
            timestamp_ns: record.timestamp_ns(),
            subject: record.subject(&self.bytes),
            headers,
            body,
            number,
            is_border_uncertain: false,
            is_header_broken: parts.is_err(),
            record: record.bytes(&self.bytes)?,
        })
    }
}
