//! Arranges the records of a run into groups that one kernel call hashes side by side.
//!
//! A record's covered bytes lie in two or three pieces. The kernel wants 32-byte packets, so each record becomes a
//! [`Lane`]: a first packet in two halves, packets from a small scratch area where a gap had to be closed, packets
//! straight from the buffer, and a remainder below 32 bytes. Every bound is checked here, once per record.

use super::super::limits::{CHECKSUM_LENGTH, RECORD_HEADER_LENGTH};
use super::super::record::RecordRef;
use super::{HashKey, Kernel};

/// Records handed to a kernel at a time.
pub(super) const LANE_COUNT: usize = 8;

/// Bytes of one HighwayHash packet.
pub(super) const PACKET_LENGTH: usize = 32;

/// Room to close the gap between subject and header; a longer subject takes the crate's one-record path.
const SCRATCH_PACKETS: usize = 8;

/// Records of this many packets and more share a bucket when a run is put in order of length.
const BUCKET_COUNT: usize = 256;

/// Runs longer than this are hashed in pieces, so that the ordering fits on the stack.
const PIECE_LENGTH: usize = 128;

pub(super) type Packet = [u8; PACKET_LENGTH];

/// The covered bytes of one record, ready for the kernel: `first ‖ scratch ‖ body ‖ tail`.
#[derive(Clone, Copy)]
pub(super) struct Lane<'a> {
    /// The first packet as two halves; `None` only when fewer than 32 bytes are covered.
    pub first: Option<(&'a [u8; 16], &'a [u8; 16])>,
    /// Packets copied around a gap.
    pub scratch: &'a [Packet],
    /// Packets in place.
    pub body: &'a [Packet],
    /// Begins with what is left, shorter than a packet.
    pub tail: &'a Packet,
    /// How much of `tail` counts.
    pub tail_length: usize,
    /// Four bytes that end where what counts of `tail` does; where that is less, the first of them are no part of it.
    pub tail_end: &'a [u8; 4],
}

impl Lane<'_> {
    const EMPTY: Lane<'static> = Lane {
        first: None,
        scratch: &[],
        body: &[],
        tail: &[0; PACKET_LENGTH],
        tail_length: 0,
        tail_end: &[0; 4],
    };
}

#[derive(Default, Clone, Copy)]
struct Scratch {
    packets: [Packet; SCRATCH_PACKETS],
    /// A remainder behind which the buffer ends too soon.
    tail: Packet,
}

/// Appends the hash of every record to `hashes`, in the order of `records`.
pub(super) fn hash_run(
    kernel: Kernel,
    key: &HashKey,
    buffer: &[u8],
    records: &[RecordRef],
    hashes: &mut Vec<u64>,
) {
    for piece in records.chunks(PIECE_LENGTH) {
        let start = hashes.len();
        hashes.resize(start + piece.len(), 0);
        let Some(out) = hashes.get_mut(start..) else {
            return;
        };
        let mut order = [0_u8; PIECE_LENGTH];
        order_by_packets(piece, &mut order);
        let mut scratch = [Scratch::default(); LANE_COUNT];
        for group in order
            .get(..piece.len())
            .unwrap_or_default()
            .chunks(LANE_COUNT)
        {
            hash_group(kernel, key, buffer, piece, group, &mut scratch, out);
        }
    }
}

/// Hashes the up to [`LANE_COUNT`] records of `piece` whose positions `group` lists.
fn hash_group(
    kernel: Kernel,
    key: &HashKey,
    buffer: &[u8],
    piece: &[RecordRef],
    group: &[u8],
    scratch: &mut [Scratch; LANE_COUNT],
    out: &mut [u64],
) {
    let mut lanes = [Lane::EMPTY; LANE_COUNT];
    let mut prepared = [false; LANE_COUNT];
    for (((lane, done), scratch), &position) in
        lanes.iter_mut().zip(&mut prepared).zip(scratch).zip(group)
    {
        let record = piece.get(usize::from(position));
        let arranged = record.and_then(|record| {
            prepare_plain(record, buffer).or_else(|| prepare(record, buffer, scratch))
        });
        if let Some(arranged) = arranged {
            *lane = arranged;
            *done = true;
        }
    }
    // A short last group hashes empty lanes beside its own; nobody reads those.
    let hashes = kernel.hash(&key.0, &lanes);
    for ((hash, done), &position) in hashes.iter().zip(prepared).zip(group) {
        let position = usize::from(position);
        if let (Some(slot), Some(record)) = (out.get_mut(position), piece.get(position)) {
            *slot = if done {
                *hash
            } else {
                key.hash_record(buffer, record)
            };
        }
    }
}

fn packet_count(record: &RecordRef) -> usize {
    record.covered_length() / PACKET_LENGTH
}

/// Fills `order` with the positions of `piece` so that records of like length are neighbours (a counting sort).
fn order_by_packets(piece: &[RecordRef], order: &mut [u8; PIECE_LENGTH]) {
    for (slot, position) in order.iter_mut().zip(0..) {
        *slot = position;
    }
    let bucket = |record: &RecordRef| packet_count(record).min(BUCKET_COUNT - 1);
    let (lowest, highest) = piece
        .iter()
        .map(bucket)
        .fold((BUCKET_COUNT, 0), |(lowest, highest), at| {
            (lowest.min(at), highest.max(at))
        });
    if lowest >= highest {
        return;
    }
    // Every bucket is below `BUCKET_COUNT`, so the indices below are in bounds; counts add up to `PIECE_LENGTH` at most.
    let mut starts = [0_u8; BUCKET_COUNT];
    for record in piece {
        starts[bucket(record)] += 1;
    }
    let mut total = 0;
    for start in &mut starts[lowest..=highest] {
        total += std::mem::replace(start, total);
    }
    for (record, position) in piece.iter().zip(0..) {
        let start = &mut starts[bucket(record)];
        if let Some(slot) = order.get_mut(usize::from(*start)) {
            *slot = position;
        }
        *start += 1;
    }
}

/// Splits the covered bytes of nearly every record: one without headers, with a packet's worth and more to cover, and
/// not the very last of `buffer`. `None` for any other.
#[inline]
fn prepare_plain<'a>(record: &RecordRef, buffer: &'a [u8]) -> Option<Lane<'a>> {
    const HALF: usize = PACKET_LENGTH / 2;
    if record.has_headers() {
        return None;
    }
    let start = buffer.get(record.offset()..)?;
    let (start, rest) = start.split_first_chunk::<{ RECORD_HEADER_LENGTH + HALF }>()?;
    let left = record.length().checked_sub(start.len() + CHECKSUM_LENGTH)?;
    let (body, rest) = rest.split_at_checked(left - left % PACKET_LENGTH)?;
    let tail = rest.first_chunk::<PACKET_LENGTH>()?;
    let tail_end = buffer.get(..record.checksum_offset())?.last_chunk()?;
    Some(Lane {
        first: Some((start.get(4..20)?.first_chunk()?, start.last_chunk()?)),
        scratch: &[],
        body: body.as_chunks().0,
        tail,
        tail_length: left % PACKET_LENGTH,
        tail_end,
    })
}

/// Splits a record's covered bytes into packets. `None` when the record does not lie within `buffer`, or when its
/// subject is too long to close the gap behind it in the scratch area.
fn prepare<'a>(record: &RecordRef, buffer: &'a [u8], scratch: &'a mut Scratch) -> Option<Lane<'a>> {
    let covered = record.covered(buffer)?;
    let header = covered.header.first_chunk::<16>()?;
    let record_end = buffer.get(..record.checksum_offset())?.last_chunk()?;
    let Scratch { packets, tail } = scratch;
    let from_buffer = move |first, scratch, bytes: &'a [u8]| {
        let (body, rest) = bytes.as_chunks();
        let in_place = buffer
            .get(record.checksum_offset() - rest.len()..)
            .and_then(<[u8]>::first_chunk);
        Lane {
            first: Some(first),
            scratch,
            body,
            tail: in_place.unwrap_or_else(move || {
                for (target, source) in tail.iter_mut().zip(rest) {
                    *target = *source;
                }
                tail
            }),
            tail_length: rest.len(),
            tail_end: record_end,
        }
    };
    if !record.has_headers()
        && let Some((second, bytes)) = covered.contiguous.split_first_chunk::<16>()
    {
        return Some(from_buffer((header, second), &[], bytes));
    }

    let gap_offset = header.len() + covered.subject.len();
    let (filler, bytes) = covered
        .rest
        .split_at_checked(gap_offset.next_multiple_of(PACKET_LENGTH) - gap_offset)
        .unwrap_or((covered.rest, &[]));
    let filled = gap_offset + filler.len();
    let flat = packets.as_flattened_mut().get_mut(..filled)?;
    for (target, part) in [
        (0, &header[..]),
        (header.len(), covered.subject),
        (gap_offset, filler),
    ] {
        flat.get_mut(target..target + part.len())?
            .copy_from_slice(part);
    }
    let packets = &*packets;
    let (full, partial) = packets.split_at_checked(filled / PACKET_LENGTH)?;
    let first = full.split_first().and_then(|(first, full)| {
        let halves = (first.first_chunk::<16>()?, first.last_chunk::<16>()?);
        Some((halves, full))
    });
    match first {
        Some((first, full)) if filled % PACKET_LENGTH == 0 => Some(from_buffer(first, full, bytes)),
        first => Some(Lane {
            first: first.map(|(first, _)| first),
            scratch: first.map_or(&[], |(_, full)| full),
            body: &[],
            tail: partial.first()?,
            tail_length: filled % PACKET_LENGTH,
            tail_end: packets.as_flattened().get(..filled)?.last_chunk()?,
        }),
    }
}
