//! Finding messages: by sequence, and by what their subjects are.

use super::core::Live;
use super::resident::Resident;
use crate::format::subject;
use crate::state::BlockState;

/// What filters select.
#[derive(Debug, Clone, Copy)]
pub(super) enum Selection<'a> {
    /// Every message.
    All,
    /// Those of one subject.
    Subject(&'a [u8]),
    /// Those whose subject one of the filters matches.
    Matching(&'a [&'a [u8]]),
}

impl<'a> Selection<'a> {
    /// None at all select everything.
    pub fn of(filters: &'a [&'a [u8]]) -> Self {
        match filters {
            [] => Selection::All,
            [filter] if subject::is_literal(filter) => Selection::Subject(filter),
            _ if filters.iter().any(|filter| *filter == b">") => Selection::All,
            _ => Selection::Matching(filters),
        }
    }

    /// Whether it has messages of this subject in it.
    pub fn selects(&self, subject: &[u8]) -> bool {
        match self {
            Selection::All => true,
            Selection::Subject(only) => subject == *only,
            Selection::Matching(filters) => filters
                .iter()
                .any(|filter| subject::matches(subject, filter)),
        }
    }
}

/// The last live message of a subject at or below `to`, from a slot of it downwards.
pub(super) fn last_live(
    block: &BlockState,
    content: &Resident,
    slot: usize,
    to: u64,
) -> Option<u64> {
    let mut at = Some(slot);
    while let Some(slot) = at {
        let seq = content.seq(slot)?;
        if seq <= to && block.holds(seq) {
            return Some(seq);
        }
        at = content.previous_of(slot);
    }
    None
}

impl Live {
    /// Between which blocks the messages lie that are wanted; `None` where there are none.
    fn bounds(&self, wanted: Selection<'_>) -> Option<(u32, u32)> {
        match wanted {
            Selection::Subject(subject) if self.state.tracks_subjects => {
                let totals = self.state.subjects.get(subject)?;
                Some((totals.first_block, totals.last_block))
            }
            _ => Some((0, u32::MAX)),
        }
    }

    /// The first block with a message at or above `from`, of those that may hold a wanted one.
    pub(super) fn block_from(&self, from: u64, wanted: Selection<'_>) -> Option<&BlockState> {
        let (lowest, highest) = self.bounds(wanted)?;
        let blocks = &self.state.blocks;
        let place = match lowest {
            0 => self.place_from(from),
            _ => blocks.partition_point(|block| block.last.seq < from || block.number < lowest),
        };
        let mut rest = blocks.get(place..)?.iter();
        let found = rest.find(|block| block.message_count > 0)?;
        (found.number <= highest).then_some(found)
    }

    /// The last block with a message at or below `from`, of those that may hold a wanted one.
    pub(super) fn block_to(&self, from: u64, wanted: Selection<'_>) -> Option<&BlockState> {
        let (lowest, highest) = self.bounds(wanted)?;
        let blocks = &self.state.blocks;
        let reach = blocks.partition_point(|block| block.number <= highest);
        let mut rest = blocks.get(..reach)?.iter().rev();
        let found = rest.find(|block| block.message_count > 0 && block.first.seq <= from)?;
        (found.number >= lowest).then_some(found)
    }

    /// The first wanted live message of a block at or above `from`.
    pub(super) fn next_in(
        &self,
        block: &BlockState,
        content: &Resident,
        wanted: Selection<'_>,
        from: u64,
    ) -> Option<u64> {
        let from = self.first_live_from(block, from)?;
        if matches!(wanted, Selection::All) {
            return Some(from);
        }
        if let Selection::Subject(subject) = wanted {
            // Whoever goes through a subject comes from its last message, or from before the block.
            let before = from.checked_sub(1).and_then(|seq| content.slot_of(seq));
            let before = before.filter(|slot| content.subject(*slot) == subject);
            let mut at = match before {
                Some(slot) => content.next_of(slot),
                None => content.first_of(subject),
            };
            while let Some(slot) = at {
                let seq = content.seq(slot)?;
                if seq >= from && block.holds(seq) {
                    return Some(seq);
                }
                at = content.next_of(slot);
            }
            return None;
        }
        (content.slot_from(from)..content.slot_count()).find_map(|slot| {
            let seq = content.seq(slot)?;
            (block.holds(seq) && wanted.selects(content.subject(slot))).then_some(seq)
        })
    }

    /// The last wanted live message of a block at or below `from`.
    pub(super) fn previous_in(
        &self,
        block: &BlockState,
        content: &Resident,
        wanted: Selection<'_>,
        from: u64,
    ) -> Option<u64> {
        let from = from.min(block.last.seq);
        if let Selection::Subject(subject) = wanted {
            return last_live(block, content, content.last_of(subject)?, from);
        }
        let reach = content.slot_from(from.saturating_add(1));
        (0..reach).rev().find_map(|slot| {
            let seq = content.seq(slot)?;
            (block.holds(seq) && wanted.selects(content.subject(slot))).then_some(seq)
        })
    }
}
