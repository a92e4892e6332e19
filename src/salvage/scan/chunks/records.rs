//! The records of the content so far: which is the first that does not verify?

use super::super::{Hints, SubjectStanding};
use super::budget::DecodeBudget;
use crate::block::content::verifies;
use crate::format::record::{RecordKind, RecordRef, Run, Runs, parse_at};

/// A walk over the records of content that grows chunk by chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordWalk {
    /// All before it verifies, or was given up.
    offset: usize,
    /// Whether the content holds damage at `offset` that was given up.
    lost: bool,
    /// No record behind `offset` that ends before this verifies.
    searched: usize,
}

/// A record that began farther back, in content that was given up, is not looked for once more.
const STRADDLING_LENGTH: usize = 64 * 1024;

impl RecordWalk {
    /// The chunk just read stays damaged: the next walk looks for a record behind the damage.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Takes in content that is as good as it gets, so that no later walk begins before its end. All calls together take
    /// time in the content's length, but for the records hashed in vain behind damage.
    pub fn catch_up(&mut self, content: &[u8], hints: &Hints<'_>, work: &mut DecodeBudget) {
        self.walk(content, hints);
        while self.lost && self.offset < content.len() {
            let Some(found) = self.find(content, hints, work) else {
                self.searched = content.len();
                return;
            };
            self.offset = found;
            self.walk(content, hints);
        }
        self.lost = false;
    }

    /// Where the first record begins that does not verify and touches the chunk at `start` of `content`: the end of
    /// the content if all verify. `None` when no record leads there.
    pub fn first_bad(
        &mut self,
        content: &[u8],
        start: usize,
        hints: &Hints<'_>,
        work: &mut DecodeBudget,
    ) -> Option<usize> {
        self.walk(content, hints);
        while self.lost && self.offset < start {
            self.offset = self.find(content, hints, work)?;
            self.walk(content, hints);
        }
        self.lost = false;
        Some(self.offset)
    }

    /// Goes on at `offset`, which is where the walk was found to end.
    pub fn seek(&mut self, offset: usize) {
        self.offset = offset;
        self.lost = false;
    }

    /// Walks on over records that verify, and returns where they end.
    pub fn follow(&mut self, content: &[u8], hints: &Hints<'_>) -> usize {
        self.walk(content, hints);
        self.offset
    }

    fn find(&self, content: &[u8], hints: &Hints<'_>, work: &mut DecodeBudget) -> Option<usize> {
        let from = self.searched.saturating_sub(STRADDLING_LENGTH);
        find_record(content, from.max(self.offset + 1), hints, work)
    }

    fn walk(&mut self, content: &[u8], hints: &Hints<'_>) {
        let mut runs = Runs::new(content, hints.hash_key);
        runs.seek(self.offset);
        let mut run = Run::new();
        while runs.next_run(&mut run) {}
        self.offset = runs.offset();
    }
}

/// Where the first record from `from` on begins that verifies.
fn find_record(
    content: &[u8],
    from: usize,
    hints: &Hints<'_>,
    work: &mut DecodeBudget,
) -> Option<usize> {
    (from..content.len()).find(|&offset| {
        parse_at(content, offset).is_ok_and(|record| {
            is_likely(&record, content, hints)
                && work.take(record.length())
                && verifies(&record, content, hints.hash_key)
        })
    })
}

/// Whether a record can be one of the block, as far as its fields tell.
fn is_likely(record: &RecordRef, content: &[u8], hints: &Hints<'_>) -> bool {
    match record.kind() {
        RecordKind::Message => {
            hints.sequences.contains(&record.sequence())
                && hints.subjects.standing(record.subject(content)) != SubjectStanding::Impossible
        }
        RecordKind::Erased => hints.sequences.contains(&record.sequence()),
        // A tombstone may be of a sequence in another block.
        RecordKind::Tombstone => record.subject_length() == 0,
    }
}
