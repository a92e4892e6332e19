//! Making a disagreement smaller: fewer mutations, then a smaller directory.

use std::io;

use jetsam::format::record::parse_at;

use crate::make::Base;
use crate::run::{Bench, Case, Depth, Disagreement, Verdict};
use crate::tree::{block_path, key_path};
use crate::vault::Vault;

/// Askings a reduction may cost.
const BUDGET: usize = 160;

/// Smaller versions of a case that still disagree in the same fields.
pub struct Shrinker<'a> {
    bench: &'a mut Bench,
    depth: Depth,
    class: String,
    left: usize,
}

impl<'a> Shrinker<'a> {
    pub fn new(bench: &'a mut Bench, depth: Depth, disagreement: &Disagreement) -> Self {
        Shrinker {
            bench,
            depth,
            class: disagreement.class(),
            left: BUDGET,
        }
    }

    /// The disagreement of a candidate, if it is still the one looked for.
    fn still(&mut self, case: &Case) -> io::Result<Option<Disagreement>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let judged = self.bench.judge_once(case, self.depth)?;
        let Verdict::Disagree(found) = judged.verdict else {
            return Ok(None);
        };
        let same = found.class() == self.class;
        Ok(same.then_some(found))
    }

    /// Leaves out mutations one by one.
    pub fn mutations(
        &mut self,
        base: &Base,
        plan: &[u64],
    ) -> io::Result<Option<(Case, Disagreement)>> {
        let mut plan = plan.to_vec();
        let mut best = None;
        let mut at = 0;
        while at < plan.len() {
            let mut shorter = plan.clone();
            shorter.remove(at);
            let case = base.case(self.bench, &shorter)?;
            match self.still(&case)? {
                Some(found) => {
                    plan = shorter;
                    best = Some((case, found));
                }
                None => at += 1,
            }
        }
        Ok(best)
    }

    /// Takes files and records out of the damaged directory.
    pub fn directory(
        &mut self,
        case: Case,
        found: Disagreement,
    ) -> io::Result<(Case, Disagreement)> {
        let (mut case, mut found) = (case, found);
        let mut notes = vec![];
        for name in case.tree.files(|name| !name.starts_with("meta.")) {
            let mut smaller = case.clone();
            smaller.tree.remove(&name);
            if let Some(number) = name
                .strip_prefix("msgs/")
                .and_then(|n| n.strip_suffix(".blk")?.parse().ok())
            {
                smaller.tree.remove(&key_path(number));
            }
            if let Some(still) = self.still(&smaller)? {
                (case, found) = (smaller, still);
                notes.push(name);
            }
        }
        let dropped = self.records(&mut case, &mut found)?;
        if !notes.is_empty() || dropped > 0 {
            let text = format!(
                "(reduced further: without {}; {dropped} records taken out)",
                notes.join(", ")
            );
            case.mutations.push(text);
        }
        Ok((case, found))
    }

    fn records(&mut self, case: &mut Case, found: &mut Disagreement) -> io::Result<usize> {
        let mut dropped = 0;
        for number in case.tree.blocks() {
            let mut at = 0;
            let mut step = 8;
            while self.left > 0 {
                let Some((smaller, end)) = without(case, number, at, step) else {
                    break;
                };
                match self.still(&smaller)? {
                    Some(still) => {
                        (*case, *found) = (smaller, still);
                        dropped += step;
                    }
                    None if step > 1 => step = 1,
                    None => at = end,
                }
            }
        }
        Ok(dropped)
    }
}

/// The case without up to `count` records of a block from offset `at`; and where the first of them ends.
fn without(case: &Case, number: u32, at: usize, count: usize) -> Option<(Case, usize)> {
    let vault = Vault::new(&case.ask);
    let block = vault.block(&case.tree, number)?;
    let mut end = at;
    let mut first_end = at;
    for place in 0..count {
        let Ok(record) = parse_at(&block.content, end) else {
            break;
        };
        end = record.end_offset();
        if place == 0 {
            first_end = end;
        }
    }
    if end == at {
        return None;
    }
    let mut content = block.content.clone();
    content.drain(at..end);
    let (bytes, _) = vault.wrap(&block, &content)?;
    let mut smaller = case.clone();
    smaller.tree.put(block_path(number), bytes);
    Some((smaller, first_end))
}
