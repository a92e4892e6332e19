//! The records of the content so far: which is the first that does not verify?

use super::super::{Hints, SubjectStanding};
use super::Work;
use crate::block::content::verifies;
use crate::format::record::{RecordKind, RecordRef, Run, Runs, parse_at};

/// A walk over the records of content that grows chunk by chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordWalk {
    /// All before it verifies, or was given up.
    offset: usize,
    /// Whether the content holds damage at `offset` that was given up.
    lost: bool,
}

impl RecordWalk {
    /// The chunk just read stays damaged: the next walk looks for a record behind the damage.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Where the first record begins that does not verify and touches the chunk at `start` of `content`: the end of
    /// the content if all verify. `None` when no record leads there.
    pub fn first_bad(
        &mut self,
        content: &[u8],
        start: usize,
        hints: &Hints<'_>,
        work: &mut Work,
    ) -> Option<usize> {
        self.walk(content, hints);
        while self.lost && self.offset < start {
            self.offset = find_record(content, self.offset + 1, hints, work)?;
            self.walk(content, hints);
        }
        self.lost = false;
        Some(self.offset)
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
fn find_record(content: &[u8], from: usize, hints: &Hints<'_>, work: &mut Work) -> Option<usize> {
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
