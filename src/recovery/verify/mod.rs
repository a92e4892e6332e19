//! Reading every message the way the server would, without its side effects: which live messages do
//! not verify, and the digest of those that do.

mod everything;
mod in_order;
mod unreachable;

use std::convert::Infallible;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use super::fault::Cause;
use super::simulate::{KeyVerdict, Overlay, PendingFile, SimBlock, Simulation};
use crate::block::content::verifies;
use crate::block::slots::{self, IndexFault, Slot};
use crate::block::walk::{Known, walk};
use crate::format::checksum::HashKey;
use crate::format::headers;
use crate::format::names;
use crate::format::record::{self, RecordRef, Run};
use crate::format::seqset::SeqSet;
use crate::parallel::Crew;
use crate::report::events::{Event, EventCode};

pub use everything::read_everything;
pub use in_order::replay;
pub use unreachable::unreachable;

/// A slot index with room for this many sequences more than it has records makes the server
/// allocate gigabytes when it first reads the block (H37).
const CRASHING_SPAN: u64 = 1 << 30;

/// Sequences of one block that are looked at one by one, whatever its message count.
const LISTED_MAX: u64 = 4 << 20;

/// How often the server walks and reads a block again before it gives up.
const LOAD_TRIES: u32 = 8;

/// A block as reading sees it.
#[derive(Debug, Default)]
pub struct View {
    /// Decoded content.
    pub content: Vec<u8>,
    /// Live records that verify, by rising sequence.
    pub readable: Vec<Slot>,
    /// Sequences counted as live that do not.
    pub unreadable: Vec<u64>,
    /// What was seen.
    pub events: Vec<Event>,
    /// Whether there is a message whose own time to live is over.
    pub outlived: bool,
    /// Whether the server's first read of the block leaves it other than it is. It may then reach further than was known, over
    /// messages of the blocks behind it, which no look-up finds any more although each of them verifies; or be noise.
    pub shifts: bool,
}

/// Blocks to verify, and what is known of the disk.
pub struct Verifier<'a, 'b> {
    overlay: &'b Overlay<'a>,
    stream: &'b [u8],
    /// When the lives of messages are looked at, where they may have an end of their own.
    ttl_at_ns: Option<i64>,
}

impl<'a, 'b> Verifier<'a, 'b> {
    /// A verifier over the simulation's pending files.
    pub fn new(sim: &'b Simulation<'a>) -> Self {
        Verifier {
            overlay: &sim.overlay,
            stream: &sim.rules.name,
            ttl_at_ns: (sim.rules.expire && sim.timers.has_ttl()).then_some(sim.rules.now_ns),
        }
    }

    fn file_of(&self, number: u32) -> PendingFile {
        let mut file = self
            .overlay
            .blocks
            .get(&number)
            .cloned()
            .unwrap_or_else(|| PendingFile {
                on_disk: true,
                was_on_disk: true,
                ..PendingFile::default()
            });
        if file.key.is_none() {
            let bytes = self.overlay.files.read(&self.overlay.key_path(number));
            file.key = self.overlay.keys.open_block_key(number, bytes).ok();
        }
        file
    }

    /// Reads one block, every record of it.
    pub fn view(&self, block: &SimBlock, want_content: bool) -> View {
        let mut view = View::default();
        let path = names::BlockFile::Block.path(block.number);
        let file = self.file_of(block.number);
        if file.key.is_none() {
            view.events.push(
                Event::new(
                    EventCode::KeyBad,
                    "none of the keys given opens its key file",
                )
                .file(&path),
            );
            view.unreadable = live_seqs(block);
            return view;
        }
        let content = match self.overlay.content_of(block.number, &file) {
            Ok(content) => content,
            Err(cause) => {
                let code = match cause {
                    Cause::Content(_) => EventCode::BlockDecompressFailed,
                    _ => EventCode::BlockLoadFailed,
                };
                view.events
                    .push(Event::new(code, cause.to_string()).file(&path));
                view.unreadable = live_seqs(block);
                return view;
            }
        };
        let hash_key = HashKey::for_block(self.stream, block.number);
        let slots = want_content.then_some(&mut view.readable);
        if self.sound(block, &content.bytes, &hash_key, &mut view.outlived, slots) {
            if want_content {
                view.content = content.bytes;
            }
            return view;
        }
        view.readable.clear();
        view.shifts = converts(&file) && !walks(block, &content.bytes, &hash_key);
        self.read_records(block, &path, content.bytes, &hash_key, &mut view);
        view
    }

    /// The common case: the records walk without a fault to exactly what is known of the block.
    fn sound(
        &self,
        block: &SimBlock,
        content: &[u8],
        hash_key: &HashKey,
        outlived: &mut bool,
        slots: Option<&mut Vec<Slot>>,
    ) -> bool {
        let mut headers = HeaderCheck {
            fit: true,
            ttl_at_ns: self.ttl_at_ns,
            outlived: false,
            slots,
        };
        let walked = walk(
            content,
            hash_key,
            Known::default(),
            &mut Run::new(),
            &mut headers,
        );
        *outlived = headers.outlived;
        walked.fault.is_none()
            && walked.plain
            && headers.fit
            && walked.first_seq == block.first.seq
            && walked.last_seq == block.last.seq
            && walked.messages == block.message_count
            && walked.deleted == block.deleted
    }

    fn read_records(
        &self,
        block: &SimBlock,
        path: &str,
        content: Vec<u8>,
        hash_key: &HashKey,
        view: &mut View,
    ) {
        let mut seen = block.clone();
        let mut content = content;
        let mut index = None;
        for _ in 0..LOAD_TRIES {
            match slots::index(
                &content,
                seen.first.seq,
                seen.last.seq,
                &mut seen.deleted,
                true,
            ) {
                Ok(found) => {
                    index = Some(found);
                    break;
                }
                Err(fault) => {
                    note_index_fault(&seen, path, &content, fault, view);
                    view.shifts = true;
                    content = rebuilt(&mut seen, content, hash_key);
                }
            }
        }
        let live = live_seqs(block);
        let Some(index) = index else {
            view.unreadable = live;
            return;
        };
        for seq in live {
            let slot = index
                .find(seq)
                .filter(|_| seq >= seen.first.seq && !seen.deleted.contains(seq));
            match slot {
                Some(slot) if readable(&content, slot, hash_key, path, view) => {
                    view.readable.push(slot)
                }
                Some(_) => view.unreadable.push(seq),
                None => {
                    let detail = "the index counts it, the block has no record of it";
                    view.events.push(
                        Event::new(EventCode::RecordUnreadable, detail)
                            .file(path)
                            .seq(seq),
                    );
                    view.unreadable.push(seq);
                }
            }
        }
        view.content = content;
    }

    /// Verifies `blocks` side by side; views come back without content, in block order.
    pub fn verify_all(
        &self,
        blocks: &[SimBlock],
        threads: usize,
        done: &(dyn Fn(usize) + Sync),
        cancel: &AtomicBool,
    ) -> Vec<View> {
        let crew = Crew::of(threads).until(cancel).telling(done);
        let views = crew.map(blocks, |block| {
            let mut view = self.view(block, false);
            view.content = Vec::new();
            view.readable = Vec::new();
            Ok::<View, Infallible>(view)
        });
        let Ok(views) = views;
        views
    }

    /// Reads all blocks, as [`Verifier::verify_all`] does, and makes the digest of them along the way: SHA-256 over every live
    /// message that verifies, in sequence order: sequence, time, then subject, headers and body, each behind its length.
    /// `take` gets the views in block order, without content.
    ///
    /// `deleted` is what the state lists as deleted. It may name sequences that a block still has
    /// (H20); those are not live. The digest is of no use where `cancel` ended the reading early.
    pub fn digest(
        &self,
        sim: &Simulation<'_>,
        deleted: &[(u64, u64)],
        threads: usize,
        cancel: &AtomicBool,
        mut take: impl FnMut(View),
    ) -> [u8; 32] {
        let mut gone = SeqSet::new();
        for (from, to) in deleted {
            gone.insert_range(*from..=*to);
        }
        // What is hashed one after the other is put together side by side, with the place where each message ends.
        let read = |block: &SimBlock| {
            let mut view = self.view(block, true);
            let content = std::mem::take(&mut view.content);
            let mut hashed = Vec::with_capacity(content.len());
            let mut ends = Vec::with_capacity(view.readable.len());
            for slot in std::mem::take(&mut view.readable) {
                if let Ok(record) = record::parse_at(&content, slot.offset as usize) {
                    feed(&mut hashed, &content, slot.seq, &record);
                    ends.push((slot.seq, hashed.len()));
                }
            }
            (view, hashed, ends)
        };
        let mut hasher = Sha256::new();
        let mut at = 0;
        let crew = Crew::of(threads).until(cancel);
        crew.in_order(&sim.blocks, read, |_, (view, hashed, ends)| {
            // Of blocks that overlap, the one that a look-up finds counts.
            let live = |seq| sim.select_block(seq) == Some(at) && !gone.contains(seq);
            let (mut taken, mut begin) = (0, 0);
            for (seq, end) in ends {
                if !live(seq) {
                    hasher.update(hashed.get(taken..begin).unwrap_or_default());
                    taken = end;
                }
                begin = end;
            }
            hasher.update(hashed.get(taken..).unwrap_or_default());
            take(view);
            at += 1;
            true
        });
        hasher.finalize().into()
    }
}

struct HeaderCheck<'s> {
    /// Whether all header blocks fit their records.
    fit: bool,
    ttl_at_ns: Option<i64>,
    outlived: bool,
    /// Where the messages are to be put down.
    slots: Option<&'s mut Vec<Slot>>,
}

impl crate::block::walk::Sink for HeaderCheck<'_> {
    #[inline]
    fn message(&mut self, record: &RecordRef, content: &[u8]) {
        if let Some(slots) = &mut self.slots {
            slots.push(Slot {
                seq: record.sequence(),
                offset: u32::try_from(record.offset()).unwrap_or(u32::MAX),
            });
        }
        if !record.has_headers() {
            return;
        }
        match (record.headers_and_body(content), self.ttl_at_ns) {
            (Err(_), _) => self.fit = false,
            (Ok((block, _)), Some(at_ns)) => {
                let ttl = headers::message_ttl(block).unwrap_or(0);
                self.outlived |= ttl > 0 && headers::expiry_ns(record.timestamp_ns(), ttl) <= at_ns;
            }
            (Ok(_), None) => {}
        }
    }
}

/// Adds what a digest is made of, of one message.
pub(super) fn feed(hashed: &mut Vec<u8>, content: &[u8], seq: u64, record: &RecordRef) {
    let Ok((headers, body)) = record.headers_and_body(content) else {
        return;
    };
    hashed.extend_from_slice(&seq.to_le_bytes());
    hashed.extend_from_slice(&record.timestamp_ns().to_le_bytes());
    for part in [record.subject(content), headers, body] {
        hashed.extend_from_slice(&(part.len() as u32).to_le_bytes());
        hashed.extend_from_slice(part);
    }
}

fn live_seqs(block: &SimBlock) -> Vec<u64> {
    let mut live = Vec::new();
    let (first, last) = (block.first.seq, block.last.seq);
    if last < first {
        return live;
    }
    // An index may count fewer messages than its own range leaves room for; one that claims a range
    // beyond all reason is bounded by what it says it holds.
    let room = (last - first)
        .saturating_add(1)
        .saturating_sub(block.deleted.count_in(first..=last));
    let bound = if room <= LISTED_MAX {
        room
    } else {
        block.message_count
    };
    let mut seq = first.max(1);
    while seq <= block.last.seq {
        if block.deleted.contains(seq) {
            seq = block.deleted.span_end(seq).unwrap_or(seq);
        } else {
            live.push(seq);
            if live.len() as u64 >= bound {
                break;
            }
        }
        match seq.checked_add(1) {
            Some(next) => seq = next,
            None => break,
        }
    }
    live
}

fn readable(content: &[u8], slot: Slot, hash_key: &HashKey, path: &str, view: &mut View) -> bool {
    let offset = u64::from(slot.offset);
    let Ok(record) = record::parse_at(content, slot.offset as usize) else {
        return false;
    };
    if record.kind() == crate::format::record::RecordKind::Erased {
        return false;
    }
    let (code, detail) = if !verifies(&record, content, hash_key) {
        (EventCode::RecordUnreadable, "its checksum does not match")
    } else if record.headers_and_body(content).is_err() {
        (
            EventCode::HeaderLengthBad,
            "its header length does not fit the record",
        )
    } else {
        return true;
    };
    view.events.push(
        Event::new(code, detail)
            .file(path)
            .offset(offset)
            .seq(slot.seq),
    );
    false
}

fn note_index_fault(
    block: &SimBlock,
    path: &str,
    content: &[u8],
    fault: IndexFault,
    view: &mut View,
) {
    let spans = slots::widest_jump(content, block.first.seq);
    if spans > CRASHING_SPAN {
        let detail = format!(
            "a record's sequence jumps by {spans}; the server would allocate {} bytes when it first reads the block",
            spans.saturating_mul(4)
        );
        view.events
            .push(Event::new(EventCode::ReadWouldCrash, detail).file(path));
    }
    let (code, offset) = match fault {
        IndexFault::BadRange | IndexFault::Misaligned => (EventCode::CacheRangeCorrupt, None),
        IndexFault::BadRecord(offset) => (EventCode::CacheRecordCorrupt, Some(offset)),
    };
    let detail = format!(
        "its records do not agree with the range {}..{} the index gives; reading it, the server would walk it anew and cut it",
        block.first.seq, block.last.seq
    );
    let mut event = Event::new(code, detail).file(path);
    event.offset = offset;
    view.events.push(event);
}

/// Whether the server's first read puts the block under another key.
fn converts(file: &PendingFile) -> bool {
    match &file.key {
        Some(KeyVerdict::Absent) => !file.key_in_vain,
        Some(KeyVerdict::Opened(opened)) => opened.converting,
        Some(KeyVerdict::None) | None => false,
    }
}

/// Whether no record of the block, deleted or not, stops a walk.
fn walks(block: &SimBlock, content: &[u8], hash_key: &HashKey) -> bool {
    let known = Known {
        first_seq: block.first.seq,
        first_ts: block.first.timestamp_ns,
        last_seq: block.last.seq,
        deleted: block.deleted.clone(),
        ..Known::default()
    };
    walk(content, hash_key, known, &mut Run::new(), &mut ())
        .fault
        .is_none()
}

/// The block after the server's rebuilding walk; the content is cut where the walk ends.
fn rebuilt(block: &mut SimBlock, mut content: Vec<u8>, hash_key: &HashKey) -> Vec<u8> {
    let known = Known {
        first_seq: block.first.seq,
        first_ts: block.first.timestamp_ns,
        last_seq: block.last.seq,
        deleted: std::mem::take(&mut block.deleted),
        ..Known::default()
    };
    let walked = walk(&content, hash_key, known, &mut Run::new(), &mut ());
    let end = walked.end as usize;
    block.take_walk(walked, content.len() as u64);
    content.truncate(end);
    content
}
