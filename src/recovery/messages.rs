//! Reading a stream's live messages without opening it: what `cat` prints.

use std::ops::RangeInclusive;

use super::judge::setup_of;
use super::metadata::StreamRefused;
use super::open::{self, Refused};
use super::verify::{Verifier, View};
use crate::env::ReadFiles;
use crate::format::record;
use crate::parallel::Crew;
use crate::report::Watch;
use crate::report::stream::Refusal;
use crate::stream::StreamDir;
use crate::stream::files::StreamFiles;
use crate::stream::options::Options;

/// One live message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Sequence.
    pub seq: u64,
    /// Store time, nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// Subject.
    pub subject: &'a [u8],
    /// Header block, empty where there is none.
    pub headers: &'a [u8],
    /// Body.
    pub body: &'a [u8],
}

/// What reading meets, in sequence order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message that verifies.
    Message(Message<'a>),
    /// A sequence that counts as live and cannot be read.
    Unreadable(u64),
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More, please.
    Continue,
    /// Enough.
    Stop,
}

/// Visits the live messages with a sequence in `range`, in order. Nothing on disk changes.
///
/// # Errors
///
/// Why the stream is refused, with a sentence.
pub fn messages(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    range: RangeInclusive<u64>,
    visit: &mut dyn FnMut(Item<'_>) -> Flow,
    watch: &Watch<'_>,
) -> Result<(), (Refusal, String)> {
    let files = StreamFiles::new(fs, &stream.dir);
    let found = setup_of(files, stream, options).map_err(|StreamRefused { refusal, events }| {
        (
            refusal,
            events
                .last()
                .map(|event| event.detail.clone())
                .unwrap_or_default(),
        )
    })?;
    let mut setup = found.store(options);
    setup.quick = true;
    setup.digest = false;
    let opened = open::open(files, setup, watch).map_err(|refused| {
        let Refused { refusal, fault, .. } = *refused;
        (refusal, fault.to_string())
    })?;
    let verifier = Verifier::new(&opened.sim);
    let (mut next, to) = (*range.start(), *range.end());
    let mut wanted = Vec::new();
    for block in &opened.sim.blocks {
        if block.last.seq < next || block.first.seq > to || block.message_count == 0 {
            continue;
        }
        wanted.push((block, next));
        next = next.max(block.last.seq.saturating_add(1));
    }
    Crew::of(options.threads).until(watch.cancel).in_order(
        &wanted,
        |(block, _)| verifier.view(block, true),
        |(_, from), view| visit_view(&view, *from, to, visit) == Flow::Continue,
    );
    Ok(())
}

fn visit_view(view: &View, from: u64, to: u64, visit: &mut dyn FnMut(Item<'_>) -> Flow) -> Flow {
    let mut unreadable = view
        .unreadable
        .iter()
        .copied()
        .filter(|seq| (from..=to).contains(seq))
        .peekable();
    for slot in view
        .readable
        .iter()
        .filter(|slot| (from..=to).contains(&slot.seq))
    {
        while let Some(seq) = unreadable.next_if(|seq| *seq < slot.seq) {
            if visit(Item::Unreadable(seq)) == Flow::Stop {
                return Flow::Stop;
            }
        }
        let Ok(record) = record::parse_at(&view.content, slot.offset as usize) else {
            continue;
        };
        let Ok((headers, body)) = record.headers_and_body(&view.content) else {
            continue;
        };
        let message = Message {
            seq: slot.seq,
            timestamp_ns: record.timestamp_ns(),
            subject: record.subject(&view.content),
            headers,
            body,
        };
        if visit(Item::Message(message)) == Flow::Stop {
            return Flow::Stop;
        }
    }
    for seq in unreadable {
        if visit(Item::Unreadable(seq)) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::Continue
}
