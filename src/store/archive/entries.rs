//! The entries of an archive of the second version, one after the other.

use std::io::{BufRead, BufReader, Read, Write};

use super::error::ArchiveFault;
use super::framing::FramedReader;
use super::{CONSUMER_STATE_MOST_BYTES, META_MOST_BYTES};
use crate::format::archive::{EntryHead, HEAD_MOST_BYTES};
use crate::format::limits::RECORD_MAX_LENGTH;
use crate::format::varint::Reader;

/// What tells the stream's state, and comes first.
pub(super) const STATE: &str = "state.json";
/// What a consumer is told under, with its name behind.
pub(super) const CONSUMERS: &str = "consumers/";

/// Decoded bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// An entry that was read.
#[derive(Debug, Default)]
pub(super) struct ArchiveEntry {
    /// A message's subject, or a document's name.
    pub name: Vec<u8>,
    pub timestamp_ns: i64,
    /// 0 for a document.
    pub seq: u64,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
}

/// Writes an entry of this name, these headers and this body.
pub(super) fn put(
    out: &mut dyn Write,
    seq: u64,
    timestamp_ns: i64,
    [name, headers, body]: [&[u8]; 3],
) -> std::io::Result<()> {
    let head = EntryHead {
        name_length: name.len() as u64,
        timestamp_ns,
        seq,
        headers_length: headers.len() as u64,
        body_length: body.len() as u64,
    };
    let mut bytes = Vec::with_capacity(HEAD_MOST_BYTES + name.len());
    head.put(&mut bytes);
    bytes.extend_from_slice(name);
    for part in [&bytes, headers, body] {
        out.write_all(part)?;
    }
    Ok(())
}

/// Reads entries up to the mark behind the last.
pub(super) struct Entries<'a, 'b> {
    input: BufReader<&'a mut FramedReader<'b>>,
    /// Decoded bytes that were read, and may be.
    offset: u64,
    most_bytes: u64,
}

impl<'a, 'b> Entries<'a, 'b> {
    /// Those behind the first eight bytes, up to so many bytes of them.
    pub fn new(input: &'a mut FramedReader<'b>, most_bytes: u64) -> Self {
        Entries {
            offset: input.delivered_bytes(),
            input: BufReader::with_capacity(READ_BYTES, input),
            most_bytes,
        }
    }

    /// The next entry; `None` at the mark. What is behind that is not read.
    pub fn next(&mut self) -> Result<Option<ArchiveEntry>, ArchiveFault> {
        let offset = self.offset;
        let head = self.head()?;
        if head.is_end() {
            return Ok(None);
        }
        let too_long = |name: &str, length, most| ArchiveFault::TooLong {
            name: format!("{name} of the entry at {offset}"),
            length,
            most,
        };
        if head.name_length > META_MOST_BYTES {
            return Err(too_long("name", head.name_length, META_MOST_BYTES));
        }
        let name = self.bytes(head.name_length)?;
        let most = match head.seq {
            0 if name == STATE.as_bytes() => META_MOST_BYTES,
            0 => CONSUMER_STATE_MOST_BYTES,
            _ => RECORD_MAX_LENGTH as u64,
        };
        let length = head.headers_length.saturating_add(head.body_length);
        if length > most {
            return Err(too_long("content", length, most));
        }
        Ok(Some(ArchiveEntry {
            name,
            timestamp_ns: head.timestamp_ns,
            seq: head.seq,
            headers: self.bytes(head.headers_length)?,
            body: self.bytes(head.body_length)?,
        }))
    }

    fn head(&mut self) -> Result<EntryHead, ArchiveFault> {
        let (offset, mut bytes) = (self.offset, Vec::new());
        loop {
            let head = EntryHead::read(&mut Reader::new(&bytes));
            if let Ok(head) = head {
                return Ok(head);
            }
            if bytes.len() >= HEAD_MOST_BYTES {
                let reason = format!("what is at {offset} is no entry");
                return Err(ArchiveFault::Entry { offset, reason });
            }
            let next = self.input.fill_buf()?.first().copied();
            bytes.push(next.ok_or(ArchiveFault::Cut)?);
            self.input.consume(1);
            self.count(1)?;
        }
    }

    /// So many bytes. Memory grows with what is there, not with what is announced.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, ArchiveFault> {
        self.count(length)?;
        let mut bytes = Vec::new();
        (&mut self.input).take(length).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err(ArchiveFault::Cut),
        }
    }

    fn count(&mut self, length: u64) -> Result<(), ArchiveFault> {
        self.offset = self.offset.saturating_add(length);
        match self.offset > self.most_bytes {
            true => Err(ArchiveFault::TooMuch {
                most: self.most_bytes,
            }),
            false => Ok(()),
        }
    }

    /// Where in the decoded bytes the next entry begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}
