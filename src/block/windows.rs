//! The walk over a plainly sound block whose content comes window by window.
//!
//! A window is walked while it is in cache, and no more of a block than that is ever in memory. Anything out of the
//! ordinary ends the walk without an answer: then the block is for [`walk`](super::walk::walk), from its start.

use super::walk::{Known, Sink, WalkRules, Walked, Walker};
use crate::format::checksum::HashKey;
use crate::format::record::{RecordFault, Run, Runs};

/// Why a block is not for this walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusual {
    /// A record that does not verify begins at this offset.
    BadRecord(u64),
    /// It is not the plain case, or cannot be read like this.
    NotPlain,
}

/// A walk under way.
#[derive(Debug)]
pub struct WindowWalk {
    walker: Walker,
    hash_key: Option<HashKey>,
    /// Length of the content before the window at hand.
    end: u64,
}

impl WindowWalk {
    /// A walk that checks every record in full.
    #[must_use]
    pub fn new(hash_key: &HashKey, rules: WalkRules) -> Self {
        Self::with(Some(*hash_key), rules)
    }

    /// The same over content every record of which was verified before: no hash is computed.
    #[must_use]
    pub fn verified(rules: WalkRules) -> Self {
        Self::with(None, rules)
    }

    fn with(hash_key: Option<HashKey>, rules: WalkRules) -> Self {
        let known = Known {
            rules,
            ..Known::default()
        };
        WindowWalk {
            walker: Walker::new(known),
            hash_key,
            end: 0,
        }
    }

    /// Walks the whole records that a window begins with and returns how many bytes they take; the next window begins
    /// behind them. In the last window that is all of it.
    ///
    /// # Errors
    ///
    /// The block is not plainly sound, as far as this walk can tell.
    pub fn window<S: Sink>(
        &mut self,
        window: &[u8],
        is_last: bool,
        run: &mut Run,
        sink: &mut S,
    ) -> Result<usize, Unusual> {
        let mut runs = match &self.hash_key {
            Some(hash_key) => Runs::new(window, hash_key),
            None => Runs::unverified(window),
        };
        while runs.next_run(run) {
            self.walker.run(run, window, sink);
            match run.fault {
                None => {}
                // The record goes on in the next window.
                Some(RecordFault::HeaderCut { .. } | RecordFault::PastEnd { .. }) if !is_last => {
                    break;
                }
                Some(ref fault) => {
                    let at = self.end + fault.offset() as u64;
                    return Err(Unusual::BadRecord(at));
                }
            }
            if !self.walker.is_plain() {
                return Err(Unusual::NotPlain);
            }
        }
        let used = runs.offset();
        self.end += used as u64;
        Ok(used)
    }

    /// What the walk came to.
    #[must_use]
    pub fn finish(self) -> Walked {
        self.walker.finish(self.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::walk::walk;
    use super::*;
    use crate::format::record::{NewRecord, encode_record};

    fn key() -> HashKey {
        HashKey::for_block(b"S", 1)
    }

    fn block(shapes: &[(u8, u16)]) -> Vec<u8> {
        let mut content = Vec::new();
        let mut sequence = 0;
        for (kind, length) in shapes {
            sequence += 1 + u64::from(kind % 3);
            let timestamp_ns = sequence as i64;
            let body = vec![*kind; usize::from(*length)];
            let record = match kind % 16 {
                0..2 => NewRecord::Tombstone {
                    sequence: sequence / 2,
                    timestamp_ns,
                },
                _ => NewRecord::Message {
                    sequence,
                    timestamp_ns,
                    subject: b"a.b",
                    headers: &[],
                    body: &body,
                },
            };
            encode_record(&mut content, &key(), &record).expect("a record");
        }
        content
    }

    /// Walks content in windows of `length` bytes, longer ones where a record asks for it.
    fn in_windows(content: &[u8], length: usize) -> Result<Walked, Unusual> {
        let mut walk = WindowWalk::new(&key(), WalkRules::default());
        let (mut from, mut to) = (0, 0);
        while to < content.len() {
            to = content.len().min((to + length).max(from + length));
            let is_last = to == content.len();
            from += walk.window(&content[from..to], is_last, &mut Run::new(), &mut ())?;
        }
        Ok(walk.finish())
    }

    proptest! {
        #[test]
        fn windows_of_any_length_walk_to_what_the_whole_does(
            shapes in proptest::collection::vec((any::<u8>(), 0..300_u16), 0..60),
            length in 1..4_000_usize,
            flip in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let mut content = block(&shapes);
            if let (Some(flip), false) = (flip, content.is_empty()) {
                let at = flip.index(content.len());
                content[at] ^= 4;
            }
            let whole = walk(&content, &key(), Known::default(), &mut Run::new(), &mut ());
            match in_windows(&content, length) {
                Ok(walked) => {
                    prop_assert!(whole.is_plainly_sound());
                    prop_assert_eq!(format!("{walked:?}"), format!("{whole:?}"));
                }
                Err(Unusual::BadRecord(at)) => prop_assert_eq!(at, whole.end),
                Err(Unusual::NotPlain) => prop_assert!(!whole.is_plainly_sound()),
            }
        }
    }
}
