//! Entries to bytes and back.

use std::fmt;

use crate::format::seqset::SeqSet;
use crate::format::varint::{Reader as Bytes, put_uvarint};

/// First bytes of the file.
const MAGIC: &[u8; 8] = b"JETSAMQ\n";
const VERSION: u8 = 1;
/// Longest piece of one entry.
pub const PIECE_MAX: usize = 64 << 20;
/// Longest key file kept.
pub(super) const KEY_MAX: usize = 4096;
/// Longest reason and name.
const TEXT_MAX: usize = 4096;
/// Longest payload: a piece, a key file, a reason and numbers.
const PAYLOAD_MAX: usize = PIECE_MAX + KEY_MAX + TEXT_MAX + 256;
const COMPRESSED: u8 = 1;
const BEFORE: u8 = 2;
const AFTER: u8 = 4;
const SHARES: u8 = 8;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A piece of a block's file.
    Piece,
    /// A whole record that another copy contradicts.
    Conflict,
    /// No bytes of the store: the sequences that were known to be deleted, see [`encode_gone`]. `before` is the last sequence
    /// that an index spoke of which knew of every delete; absent where there was none, so that there may have been others.
    Gone,
}

/// Bytes put aside, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineEntry {
    /// What it holds.
    pub kind: EntryKind,
    /// Whether the bytes are of a compressed block, and then all of it.
    pub compressed: bool,
    /// Whether the entry has no bytes of its own: it names another place in those of the entry before.
    pub shares: bool,
    /// Block number.
    pub number: u32,
    /// Offset in the decoded content.
    pub offset: u64,
    /// Bytes of the decoded content.
    pub length: u64,
    /// Offset in the file.
    pub file_offset: u64,
    /// Message before.
    pub before: Option<u64>,
    /// Message behind.
    pub after: Option<u64>,
    /// Why they are here.
    pub reason: String,
    /// Key file of the block; empty where the bytes are plain.
    pub key: Vec<u8>,
    /// Where in the key's stream the bytes begin.
    pub key_offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why a quarantine file cannot be read on. Offsets are in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuarantineFault {
    /// It does not begin as one.
    Magic,
    /// Another version.
    Version(u8),
    /// The header is cut short or makes no sense.
    Header,
    /// An entry is longer than any.
    TooLong {
        /// Where.
        offset: u64,
        /// Length of the payload.
        length: u64,
    },
    /// The file ends in an entry.
    Cut {
        /// Where the entry begins.
        offset: u64,
    },
    /// An entry's checksum differs.
    Checksum {
        /// Where the entry begins.
        offset: u64,
    },
    /// An entry's fields make no sense.
    Payload {
        /// Where the entry begins.
        offset: u64,
    },
    /// The device failed.
    Io(String),
}

impl fmt::Display for QuarantineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuarantineFault::Magic => f.write_str("it does not begin as a quarantine file does"),
            QuarantineFault::Version(found) => write!(f, "version {found}, expected {VERSION}"),
            QuarantineFault::Header => f.write_str("its header is broken"),
            QuarantineFault::TooLong { offset, length } => {
                write!(f, "an entry of {length} bytes at offset {offset}")
            }
            QuarantineFault::Cut { offset } => write!(f, "it ends in the entry at offset {offset}"),
            QuarantineFault::Checksum { offset } => {
                write!(f, "the checksum of the entry at offset {offset} differs")
            }
            QuarantineFault::Payload { offset } => {
                write!(f, "the entry at offset {offset} cannot be decoded")
            }
            QuarantineFault::Io(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for QuarantineFault {}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The beginning of a file.
#[must_use]
pub fn encode_header(name: &[u8], account: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    put_bytes(&mut out, name);
    put_bytes(&mut out, account);
    out
}

/// One entry.
#[must_use]
pub fn encode_entry(entry: &QuarantineEntry) -> Vec<u8> {
    let mut payload = Vec::with_capacity(entry.bytes.len() + 256);
    payload.push(match entry.kind {
        EntryKind::Piece => 1,
        EntryKind::Conflict => 2,
        EntryKind::Gone => 3,
    });
    payload.push(
        if entry.compressed { COMPRESSED } else { 0 }
            | if entry.before.is_some() { BEFORE } else { 0 }
            | if entry.after.is_some() { AFTER } else { 0 }
            | if entry.shares { SHARES } else { 0 },
    );
    for number in [
        u64::from(entry.number),
        entry.offset,
        entry.length,
        entry.file_offset,
        entry.before.unwrap_or(0),
        entry.after.unwrap_or(0),
    ] {
        put_uvarint(&mut payload, number);
    }
    let mut reason = entry.reason.as_str();
    while reason.len() > TEXT_MAX {
        reason = reason
            .char_indices()
            .nth_back(0)
            .map_or("", |(at, _)| reason.get(..at).unwrap_or(""));
    }
    put_bytes(&mut payload, reason.as_bytes());
    put_bytes(&mut payload, &entry.key);
    put_uvarint(&mut payload, entry.key_offset);
    put_bytes(&mut payload, &entry.bytes);
    let mut out = Vec::with_capacity(payload.len() + 8);
    out.extend_from_slice(
        &u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(&payload);
    out.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    out
}

/// Spans of deleted sequences that are kept: what comes after them is not known to be deleted any more.
const GONE_SPANS_MAX: usize = 1 << 20;

/// The bytes of an [`EntryKind::Gone`] entry: for each span of the set how far behind the last it begins, and its length.
#[must_use]
pub fn encode_gone(gone: &SeqSet) -> Vec<u8> {
    let mut out = Vec::new();
    let mut end = 0;
    for span in gone.spans().take(GONE_SPANS_MAX) {
        put_uvarint(&mut out, span.start() - end);
        put_uvarint(&mut out, span.end() - span.start());
        end = *span.end();
    }
    out
}

/// The set of [`encode_gone`], as far as it can be read. At most some 300 MiB, whatever the bytes are.
#[must_use]
pub fn decode_gone(bytes: &[u8]) -> SeqSet {
    let mut gone = SeqSet::new();
    let mut bytes = Bytes::new(bytes);
    let mut end = 0_u64;
    for _ in 0..GONE_SPANS_MAX {
        let (Ok(behind), Ok(length)) = (bytes.uvarint(), bytes.uvarint()) else {
            break;
        };
        let span = end
            .checked_add(behind)
            .and_then(|first| Some(first..=first.checked_add(length)?));
        let Some(span) = span else { break };
        end = *span.end();
        gone.insert_range(span);
    }
    gone
}

/// Gives bytes of a file from an offset on.
pub type ReadAt<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<usize, String>;

/// Reads a file entry by entry. Memory: one entry, and never more than the file has left.
pub struct Reader<'a> {
    source: ReadAt<'a>,
    length: u64,
    offset: u64,
    /// Stream name.
    pub name: Vec<u8>,
    /// Account name.
    pub account: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Reads the header of a file of `length` bytes.
    ///
    /// # Errors
    ///
    /// [`QuarantineFault`].
    pub fn new(source: ReadAt<'a>, length: u64) -> Result<Self, QuarantineFault> {
        let room = length.min((MAGIC.len() + 1 + 2 * (TEXT_MAX + 10)) as u64);
        let head = take(source, 0, usize::try_from(room).unwrap_or(0), 0)?;
        let Some(rest) = head.strip_prefix(MAGIC) else {
            return Err(QuarantineFault::Magic);
        };
        let mut bytes = Bytes::new(rest);
        let broken = |_| QuarantineFault::Header;
        match bytes.u8().map_err(broken)? {
            VERSION => {}
            other => return Err(QuarantineFault::Version(other)),
        }
        let name = get_bytes(&mut bytes, TEXT_MAX).ok_or(QuarantineFault::Header)?;
        let account = get_bytes(&mut bytes, TEXT_MAX).ok_or(QuarantineFault::Header)?;
        Ok(Reader {
            source,
            length,
            offset: (MAGIC.len() + bytes.offset()) as u64,
            name: name.to_vec(),
            account: account.to_vec(),
        })
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`QuarantineFault`]: the file cannot be read on.
    pub fn next_entry(&mut self) -> Result<Option<QuarantineEntry>, QuarantineFault> {
        let offset = self.offset;
        if offset >= self.length {
            return Ok(None);
        }
        let left = self.length - offset;
        let head = take(self.source, offset, 4, offset)?;
        let length = match head.first_chunk::<4>() {
            Some(bytes) => u64::from(u32::from_le_bytes(*bytes)),
            None => return Err(QuarantineFault::Cut { offset }),
        };
        if length > PAYLOAD_MAX as u64 {
            return Err(QuarantineFault::TooLong { offset, length });
        }
        if length + 8 > left {
            return Err(QuarantineFault::Cut { offset });
        }
        let whole = take(self.source, offset + 4, length as usize + 4, offset)?;
        let Some((payload, crc)) = whole.split_last_chunk::<4>() else {
            return Err(QuarantineFault::Cut { offset });
        };
        if crc32c::crc32c(payload) != u32::from_le_bytes(*crc) {
            return Err(QuarantineFault::Checksum { offset });
        }
        self.offset = offset + 8 + length;
        match decode(payload) {
            Some(entry) => Ok(Some(entry)),
            None => Err(QuarantineFault::Payload { offset }),
        }
    }
}

fn take(
    source: ReadAt<'_>,
    from: u64,
    length: usize,
    entry: u64,
) -> Result<Vec<u8>, QuarantineFault> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source(from + filled as u64, rest).map_err(QuarantineFault::Io)? {
            0 => return Err(QuarantineFault::Cut { offset: entry }),
            read => filled += read,
        }
    }
    Ok(bytes)
}

fn get_bytes<'b>(bytes: &mut Bytes<'b>, most: usize) -> Option<&'b [u8]> {
    let length = usize::try_from(bytes.uvarint().ok()?).ok()?;
    (length <= most).then(|| bytes.bytes(length).ok()).flatten()
}

fn decode(payload: &[u8]) -> Option<QuarantineEntry> {
    let mut bytes = Bytes::new(payload);
    let kind = match bytes.u8().ok()? {
        1 => EntryKind::Piece,
        2 => EntryKind::Conflict,
        3 => EntryKind::Gone,
        _ => return None,
    };
    let flags = bytes.u8().ok()?;
    let number = u32::try_from(bytes.uvarint().ok()?).ok()?;
    let offset = bytes.uvarint().ok()?;
    let length = bytes.uvarint().ok()?;
    let file_offset = bytes.uvarint().ok()?;
    let before = bytes.uvarint().ok()?;
    let after = bytes.uvarint().ok()?;
    let reason = get_bytes(&mut bytes, TEXT_MAX)?;
    let key = get_bytes(&mut bytes, KEY_MAX)?.to_vec();
    let key_offset = bytes.uvarint().ok()?;
    let content = get_bytes(&mut bytes, PIECE_MAX)?;
    Some(QuarantineEntry {
        kind,
        compressed: flags & COMPRESSED != 0,
        shares: flags & SHARES != 0,
        number,
        offset,
        length,
        file_offset,
        before: (flags & BEFORE != 0).then_some(before),
        after: (flags & AFTER != 0).then_some(after),
        reason: std::str::from_utf8(reason).ok()?.to_owned(),
        key,
        key_offset,
        bytes: content.to_vec(),
    })
}

/// Reads `data` as a quarantine file and checks that what comes out goes in again.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    let source = |offset: u64, out: &mut [u8]| {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = data.get(from..).unwrap_or_default();
        let count = bytes.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    };
    let Ok(mut reader) = Reader::new(&source, data.len() as u64) else {
        return;
    };
    while let Ok(Some(entry)) = reader.next_entry() {
        let again = encode_entry(&entry);
        let payload = again.get(4..again.len() - 4).unwrap_or_default();
        let gone = decode_gone(&entry.bytes);
        assert_eq!(decode_gone(&encode_gone(&gone)), gone);
        assert_eq!(decode(payload), Some(entry));
    }
}
