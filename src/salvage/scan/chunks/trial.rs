//! A chunk on the bench: decoded with a trace, and decoded again in part with a bit flipped.

use super::super::Hints;
use super::budget::DecodeBudget;
use super::framing::Frame;
use super::syndrome::Copied;
use crate::format::compression::{
    CRC_LENGTH, Cursor, Lenient, SPILL, Shape, TYPE_STORED, decode_leniently, decoded_length,
    element_shape, unmask_crc,
};
use crate::format::limits::{CHUNK_DECODED_MAX, RECORD_HEADER_LENGTH};
use crate::format::record::{RecordRef, parse_at};

/// A record longer than this is believed only where its sequence can be in the block.
const UNQUESTIONED_LENGTH: usize = 64 * 1024;

/// An element may make this much more than the record under trial needs; of a longer one only that record's part is made,
/// as a flip can turn any copy into one of megabytes.
const OVERSHOOT: usize = 4096;

/// What proves a trial.
#[derive(Debug, Clone, Copy)]
pub(super) enum Judge {
    /// The hash of the record that begins here in the content. It ends in the chunk.
    Record(usize),
    /// The checksum of the chunk, given that of its data before an element.
    Checksum {
        /// Bytes of data before it.
        written: usize,
        /// Their checksum.
        crc: u32,
    },
}

/// One chunk under trial. The content it belongs to is passed to each call; its data lies there from `start` on.
pub(super) struct Bench {
    /// The elements, or the data where it is stored as it is.
    pub source: Vec<u8>,
    /// Where they begin in the file.
    pub source_offset: usize,
    /// Whether the data is stored as it is.
    pub stored: bool,
    /// Where the chunk's data begins in the content.
    pub start: usize,
    /// The decoded length declared, if there is one.
    pub declared: Option<usize>,
    /// The checksum stored.
    pub crc: u32,
    /// Where each element begins, in order.
    pub trace: Vec<Cursor>,
    /// What decoding came to.
    pub lenient: Lenient,
    /// The data as decoded, to take back what a trial has overwritten.
    decoded: Vec<u8>,
    hashes: Vec<u64>,
    /// Where the part of a longer element that a trial made ends, in the chunk's data.
    clipped_end: usize,
}

impl Bench {
    /// Takes up the chunk of `frame`, whose data will begin at `start` in the content.
    pub fn new(file: &[u8], frame: &Frame, start: usize) -> Self {
        let data = file.get(frame.data.clone()).unwrap_or_default();
        let stored = file.get(frame.offset) == Some(&TYPE_STORED);
        let (declared, spelled) = match decoded_length(data) {
            _ if stored => (Some(data.len()), 0),
            Some((length, spelled)) => (Some(length), spelled),
            None => (None, data.len().min(3)),
        };
        let crc_offset = frame.data.start.saturating_sub(CRC_LENGTH);
        let crc = file.get(crc_offset..).and_then(|rest| rest.first_chunk());
        Self {
            source: data.get(spelled..).unwrap_or_default().to_vec(),
            source_offset: frame.data.start + spelled,
            stored,
            start,
            declared,
            crc: unmask_crc(u32::from_le_bytes(crc.copied().unwrap_or_default())),
            trace: Vec::new(),
            lenient: Lenient {
                length: 0,
                sound: false,
                first_bad: None,
                complete: false,
            },
            decoded: Vec::new(),
            hashes: Vec::with_capacity(1),
            clipped_end: 0,
        }
    }

    /// Decodes all of it onto `out`, which holds the content before the chunk.
    pub fn decode(&mut self, out: &mut Vec<u8>) {
        out.truncate(self.start);
        self.trace.clear();
        if self.stored {
            out.extend_from_slice(&self.source);
            self.lenient = Lenient {
                length: self.source.len(),
                sound: self.source.len() <= CHUNK_DECODED_MAX,
                first_bad: None,
                complete: true,
            };
        } else {
            self.lenient = decode_leniently(&self.source, out, Some(&mut self.trace));
        }
        self.decoded.clear();
        self.decoded
            .extend_from_slice(out.get(self.start..).unwrap_or_default());
        // Trials may make as much as was declared, where the damaged chunk makes less.
        let room = self.declared.unwrap_or_default().max(self.lenient.length);
        self.decoded.resize(room, 0);
        out.resize(self.start + room, 0);
    }

    /// Where the decoded data ends in the content.
    pub fn end(&self) -> usize {
        self.start + self.lenient.length
    }

    /// Whether the chunk decodes to the length it declares, though perhaps not to the right bytes.
    pub fn is_consistent(&self) -> bool {
        self.lenient.sound && self.declared == Some(self.lenient.length)
    }

    /// The checksum of the data.
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(self.decoded.get(..self.lenient.length).unwrap_or_default())
    }

    /// The checksum of the first `written` bytes of the data.
    pub fn crc_before(&self, written: usize) -> u32 {
        crc32c::crc32c(self.decoded.get(..written).unwrap_or_default())
    }

    /// Which element makes the byte at `content_offset` of the content, counted from the first.
    pub fn element_at(&self, content_offset: usize) -> usize {
        let written = content_offset.saturating_sub(self.start);
        self.trace
            .partition_point(|cursor| cursor.written as usize <= written)
            .saturating_sub(1)
    }

    /// What the element at a place of the trace looks like.
    pub fn shape(&self, cursor: &Cursor) -> Option<Shape> {
        element_shape(&self.source, cursor.read as usize, cursor.distance as usize)
    }

    /// The copies, last to first.
    pub fn copies_backwards(&self) -> impl Iterator<Item = Copied> + '_ {
        self.trace.iter().rev().filter_map(|cursor| {
            let shape = self.shape(cursor).filter(|shape| !shape.literal)?;
            let written = cursor.written as usize;
            Some(Copied {
                made: written..written + shape.length,
                distance: shape.distance,
            })
        })
    }

    /// Whether flipping the bits `mask` of the byte `at` of the source, which is in the element at `cursor`, is what
    /// `judge` was waiting for. `content` is left as it was.
    pub fn try_flip(
        &mut self,
        content: &mut [u8],
        cursor: Cursor,
        (at, mask): (usize, u8),
        judge: Judge,
        hints: &Hints<'_>,
        work: &mut DecodeBudget,
    ) -> bool {
        self.flip(at, mask);
        let mut behind = cursor;
        self.clipped_end = 0;
        let outcome = match judge {
            Judge::Record(offset) => self.try_record(content, &mut behind, (offset, at), hints),
            Judge::Checksum { written, crc } => {
                self.try_checksum(content, &mut behind, (written, crc), at)
            }
        };
        self.flip(at, mask);
        let from = if self.stored {
            at
        } else {
            cursor.written as usize
        };
        let end = self.clipped_end.max(behind.written as usize);
        if let Some(data) = content.get_mut(self.start..) {
            self.restore(data, from, end);
        }
        let cost = (end + SPILL).saturating_sub(from) * 2;
        work.take(cost) && outcome == Some(true)
    }

    /// Puts back the chunk's data that decoding `from` one place `to` another has overwritten.
    pub fn restore(&self, data: &mut [u8], from: usize, to: usize) {
        let to = (to + SPILL).min(self.decoded.len());
        let spoilt = from.min(to)..to;
        let decoded = self.decoded.get(spoilt.clone());
        if let (Some(spoilt), Some(decoded)) = (data.get_mut(spoilt), decoded) {
            spoilt.copy_from_slice(decoded);
        }
    }

    /// Flips the bits `mask` of the byte `at` of the source, or flips them back.
    pub fn flip(&mut self, at: usize, mask: u8) {
        if let Some(byte) = self.source.get_mut(at) {
            *byte ^= mask;
        }
    }

    /// Decodes about `bytes` bytes of data more from `cursor` on, of a source flipped at `at`. Returns whether that is all
    /// that can be decoded.
    pub fn decode_on(
        &self,
        content: &mut [u8],
        cursor: &mut Cursor,
        at: usize,
        bytes: usize,
    ) -> bool {
        let target = content.get_mut(self.start..).unwrap_or_default();
        if self.stored {
            if let (Some(place), Some(byte)) = (target.get_mut(at), self.source.get(at)) {
                *place = *byte;
            }
            // The longest chunk has four megabytes.
            cursor.written = self.source.len() as u32;
            return true;
        }
        let goal = cursor.written as usize + bytes;
        while (cursor.written as usize) < goal {
            if cursor.step(&self.source, target).is_none() {
                return true;
            }
        }
        false
    }

    /// Whether what lies before `content_offset` is as it was decoded, from `written` bytes of the chunk's data on.
    pub fn is_as_decoded(&self, content: &[u8], written: usize, content_offset: usize) -> bool {
        let now = content.get(self.start + written..content_offset);
        let decoded = self
            .decoded
            .get(written..content_offset.saturating_sub(self.start));
        now.unwrap_or_default() == decoded.unwrap_or_default()
    }

    fn try_record(
        &mut self,
        content: &mut [u8],
        cursor: &mut Cursor,
        (offset, at): (usize, usize),
        hints: &Hints<'_>,
    ) -> Option<bool> {
        let header_end = (offset + RECORD_HEADER_LENGTH).saturating_sub(self.start);
        self.decode_to(content, cursor, header_end, at)?;
        let record = parse_at(content, offset).ok()?;
        if record.length() > UNQUESTIONED_LENGTH && !hints.sequences.contains(&record.sequence()) {
            return None;
        }
        let end = record.end_offset().saturating_sub(self.start);
        self.decode_to(content, cursor, end, at)?;
        Some(self.verifies(content, record, hints))
    }

    /// Decodes on until `written` bytes of data are made.
    fn decode_to(
        &mut self,
        content: &mut [u8],
        cursor: &mut Cursor,
        written: usize,
        at: usize,
    ) -> Option<()> {
        let target = content.get_mut(self.start..)?;
        if self.stored {
            *target.get_mut(at)? = *self.source.get(at)?;
            cursor.written = cursor.written.max(u32::try_from(at + 1).ok()?);
            return Some(());
        }
        let room = target.len().min(written.saturating_add(OVERSHOOT));
        let target = target.get_mut(..room)?;
        while (cursor.written as usize) < written {
            if cursor.step(&self.source, target).is_none() {
                return self.clip(target, *cursor, written);
            }
        }
        Some(())
    }

    /// Makes the first part, up to `written` bytes of data, of an element that makes more than `target` has room for.
    fn clip(&mut self, target: &mut [u8], cursor: Cursor, written: usize) -> Option<()> {
        let from = cursor.written as usize;
        let shape = self
            .shape(&cursor)
            .filter(|shape| from + shape.length > target.len() && written <= target.len())?;
        for to in from..written {
            let byte = if shape.literal {
                *self.source.get(shape.head_end + (to - from))?
            } else {
                // A distance of 0 finds what is not made yet; it fails the trial later, as does any other.
                *target.get(to.checked_sub(shape.distance)?)?
            };
            *target.get_mut(to)? = byte;
        }
        self.clipped_end = written;
        Some(())
    }

    fn verifies(&mut self, content: &[u8], record: RecordRef, hints: &Hints<'_>) -> bool {
        hints
            .hash_key
            .hash_run(content, &[record], &mut self.hashes);
        self.hashes.first().copied() == record.stored_hash(content)
    }

    fn try_checksum(
        &mut self,
        content: &mut [u8],
        cursor: &mut Cursor,
        (written, crc): (usize, u32),
        at: usize,
    ) -> Option<bool> {
        if self.stored {
            self.decode_to(content, cursor, 0, at)?;
        } else {
            let target = content.get_mut(self.start..)?;
            while (cursor.read as usize) < self.source.len() {
                cursor.step(&self.source, target)?;
            }
            if Some(cursor.written as usize) != self.declared {
                return Some(false);
            }
        }
        let data = content.get(self.start + written..self.start + self.declared?)?;
        Some(crc32c::crc32c_append(crc, data) == self.crc)
    }
}
