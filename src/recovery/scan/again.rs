//! A second look at plainly sound blocks, for what tombstones take of them that were not known in time.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::super::files::StreamFiles;
use super::super::model::{BlockKey, StreamKeys};
use super::super::subjects::ThreadSubjects;
use super::super::threads::side_by_side;
use super::reader::WindowReader;
use super::scanner::{BlockSink, plain_cipher};
use crate::block::content::decode;
use crate::block::lookback::Lookback;
use crate::block::scan::{ScanWish, Taken};
use crate::block::walk::{WalkRules, Walked};
use crate::block::windows::WindowWalk;
use crate::format::checksum::HashKey;
use crate::format::record::Run;
use crate::format::seqset::SeqSet;

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

/// Buffers of one thread.
#[derive(Default)]
struct Looker {
    windows: WindowReader,
    run: Run,
    lookback: Lookback,
    places: Vec<u32>,
    file: Vec<u8>,
    spare: Vec<u8>,
}

impl Again<'_> {
    /// Looks at blocks once more, side by side; `None` for those that no longer walk.
    pub fn look(&self, blocks: &[(u32, BlockKey)], gone: &SeqSet) -> Vec<Option<Revisited>> {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Revisited>>> =
            Mutex::new(blocks.iter().map(|_| None).collect());
        let work = || {
            let mut looker = Looker::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((number, key)) = blocks.get(at) else {
                    break;
                };
                let found = self.look_at(*number, key, gone, &mut looker);
                if let Some(slot) = results.lock().get_mut(at) {
                    *slot = found;
                }
            }
        };
        side_by_side(self.threads.clamp(1, blocks.len().max(1)), &work);
        results.into_inner()
    }

    fn look_at(
        &self,
        number: u32,
        key: &BlockKey,
        gone: &SeqSet,
        looker: &mut Looker,
    ) -> Option<Revisited> {
        let Again {
            files, msgs, keys, ..
        } = self;
        let path = format!("{msgs}/{number}.blk");
        let cipher = plain_cipher(key)?;
        let mut subjects = ThreadSubjects::default();
        let wish = ScanWish {
            ttls_from: self.ttls.then_some(0),
            ..ScanWish::default()
        };
        looker.lookback.begin(true);
        let counting = self.tracked.then_some(&mut subjects);
        let mut sink = BlockSink::new(number, counting, &mut looker.lookback, wish);
        let walk = || WindowWalk::verified(WalkRules::default());
        let file = files.open(&path).ok()?;
        let found =
            looker
                .windows
                .walk(&*file, cipher.as_ref(), walk(), &mut looker.run, &mut sink);
        let (walked, notes) = match found {
            Some(walked) => (walked, sink.notes),
            None => {
                subjects = ThreadSubjects::default();
                looker.lookback.begin(true);
                let counting = self.tracked.then_some(&mut subjects);
                let mut sink = BlockSink::new(number, counting, &mut looker.lookback, wish);
                files.read_into(&path, &mut looker.file).ok()?;
                let hash_key = HashKey::for_block(keys.stream, number);
                let (content, spare) = (&mut looker.file, &mut looker.spare);
                decode(content, spare, cipher.as_ref(), &hash_key).ok()?;
                let mut walk = walk();
                walk.window(content, true, &mut looker.run, &mut sink)?;
                (walk.finish(), sink.notes)
            }
        };
        let mut taken = looker.lookback.taken(gone, &mut looker.places)?;
        taken.subjects = subjects.counts(&mut looker.places);
        let (scan, _) = notes.finish();
        Some(Revisited {
            walked,
            taken,
            ttls: scan.ttls,
        })
    }
}
