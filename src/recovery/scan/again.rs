//! A second look at plainly sound blocks, for what tombstones take of them that were not known in time.

use std::convert::Infallible;

use super::super::simulate::{KeyVerdict, StreamKeys};
use super::reader::WindowReader;
use super::scanner::plain_cipher;
use crate::block::content::decode;
use crate::block::lookback::Lookback;
use crate::block::scan::{HeaderNotes, ScanWish, SubjectCounts, Taken};
use crate::block::walk::{Sink, WalkRules, Walked};
use crate::block::windows::WindowWalk;
use crate::format::checksum::HashKey;
use crate::format::names::BlockFile;
use crate::format::record::{RecordRef, Run};
use crate::format::seqset::SeqSet;
use crate::parallel::Crew;
use crate::state::subjects::{NO_SUBJECT, ThreadSubjects};
use crate::stream::files::StreamFiles;

/// What a second look goes by.
#[derive(Clone, Copy)]
pub struct Again<'a> {
    /// The files.
    pub files: StreamFiles<'a>,
    /// Where the blocks lie.
    pub msgs: &'a str,
    /// Keys.
    pub keys: StreamKeys<'a>,
    /// Whether subjects are tracked.
    pub tracked: bool,
    /// Whether TTLs are kept.
    pub ttls: bool,
    /// Threads.
    pub threads: usize,
}

/// What a second look told.
#[derive(Debug)]
pub struct Revisited {
    /// The walk.
    pub walked: Walked,
    /// What the tombstones take.
    pub taken: Taken,
    /// Sequence and expiry of messages with a TTL, by rising sequence.
    pub ttls: Vec<(u64, i64)>,
}

/// Takes in all messages of a block.
struct TakenSink {
    number: u32,
    subjects: Option<ThreadSubjects>,
    lookback: Lookback,
    notes: HeaderNotes,
}

impl Sink for TakenSink {
    fn message(&mut self, record: &RecordRef, content: &[u8]) {
        let subject = match &mut self.subjects {
            Some(subjects) => subjects.count(record.subject(content), self.number),
            None => NO_SUBJECT,
        };
        self.lookback.note(record, content, subject);
        if record.has_headers() {
            self.notes.message(record, content);
        }
    }
}

/// A plainly sound block, and which of its messages are live.
#[derive(Debug, Clone)]
pub struct LiveBlock<'a> {
    /// Its number.
    pub number: u32,
    /// Its key.
    pub key: KeyVerdict,
    /// Messages before this one are gone.
    pub first: u64,
    /// So are these.
    pub deleted: &'a SeqSet,
}

/// Counts the subjects of live messages.
struct LiveSink<'a> {
    block: &'a LiveBlock<'a>,
    messages: u64,
    subjects: ThreadSubjects,
}

impl Sink for LiveSink<'_> {
    fn message(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence();
        if seq < self.block.first || self.block.deleted.contains(seq) {
            return;
        }
        self.messages += 1;
        let subject = record.subject(content);
        self.subjects.count(subject, self.block.number);
    }
}

/// Buffers of one thread.
#[derive(Default)]
struct Looker {
    windows: WindowReader,
    run: Run,
    file: Vec<u8>,
    spare: Vec<u8>,
}

impl Again<'_> {
    /// Looks at blocks once more, side by side; `None` for those that no longer walk.
    pub fn look(&self, blocks: &[(u32, KeyVerdict)], gone: &SeqSet) -> Vec<Option<Revisited>> {
        self.each(blocks, |(number, key), looker| {
            self.look_at(*number, key, gone, looker)
        })
    }

    /// Counts the live messages of blocks and their subjects, side by side; `None` for those that no longer walk.
    pub fn count(&self, blocks: &[LiveBlock<'_>]) -> Vec<Option<(u64, SubjectCounts)>> {
        self.each(blocks, |block, looker| {
            let new_sink = || LiveSink {
                block,
                messages: 0,
                subjects: ThreadSubjects::default(),
            };
            let (_, sink) = self.walk(block.number, &block.key, looker, new_sink)?;
            Some((sink.messages, sink.subjects.all_counts()))
        })
    }

    /// Asks for something of each, side by side.
    fn each<B: Sync, T: Send>(
        &self,
        blocks: &[B],
        ask: impl Fn(&B, &mut Looker) -> Option<T> + Sync,
    ) -> Vec<Option<T>> {
        let crew = Crew::of(self.threads);
        let asked: Result<_, Infallible> =
            crew.map_with(blocks, Looker::default, |looker, block| {
                Ok(ask(block, looker))
            });
        let Ok((found, _)) = asked;
        found
    }

    fn look_at(
        &self,
        number: u32,
        key: &KeyVerdict,
        gone: &SeqSet,
        looker: &mut Looker,
    ) -> Option<Revisited> {
        let wish = ScanWish {
            ttls_from: self.ttls.then_some(0),
            ..ScanWish::default()
        };
        let new_sink = || TakenSink {
            number,
            subjects: self.tracked.then(ThreadSubjects::default),
            lookback: Lookback::begun(),
            notes: HeaderNotes::new(wish),
        };
        let (walked, sink) = self.walk(number, key, looker, new_sink)?;
        let mut places = Vec::new();
        let mut taken = sink.lookback.taken(gone, &mut places)?;
        if let Some(subjects) = &sink.subjects {
            taken.subjects = subjects.counts(&mut places);
        }
        let (scan, _) = sink.notes.finish();
        Some(Revisited {
            walked,
            taken,
            ttls: scan.ttls,
        })
    }

    /// Walks a block that was verified before, in windows or as a whole.
    fn walk<S: Sink>(
        &self,
        number: u32,
        key: &KeyVerdict,
        looker: &mut Looker,
        new_sink: impl Fn() -> S,
    ) -> Option<(Walked, S)> {
        let Again {
            files, msgs, keys, ..
        } = self;
        let path = BlockFile::Block.path_in(msgs, number);
        let cipher = plain_cipher(key)?;
        let new_walk = || WindowWalk::verified(WalkRules::default());
        let file = files.open(&path).ok()?;
        let (run, mut sink) = (&mut looker.run, new_sink());
        let walked = looker
            .windows
            .walk(&*file, cipher.as_ref(), new_walk(), run, &mut sink);
        if let Ok(walked) = walked {
            return Some((walked, sink));
        }
        files.read_into(&path, &mut looker.file).ok()?;
        let hash_key = HashKey::for_block(keys.stream, number);
        let (content, spare) = (&mut looker.file, &mut looker.spare);
        decode(content, spare, cipher.as_ref(), &hash_key).ok()?;
        let (mut walk, mut sink) = (new_walk(), new_sink());
        walk.window(content, true, run, &mut sink).ok()?;
        Some((walk.finish(), sink))
    }
}
