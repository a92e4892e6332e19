//! Many damages to one store, and the scores of everything that tried to bring it back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::damage::{Damage, DamageKind, DamageTarget};
use super::layout::Layout;
use super::random::derive;
use super::score::{Case, Recoverer, Score, Service, Tally};
use super::workload::Store;
use crate::env::memory::MemoryFileSystem;
use crate::parallel::Crew;

/// Damages to be done to copies of one store.
pub struct Sweep<'a> {
    /// The undamaged store.
    pub store: &'a Store,
    /// Kinds of damage.
    pub damages: &'a [DamageKind],
    /// How many of each.
    pub count: u64,
    /// Number of the first: a failure is looked at again by asking for it alone.
    pub first: u64,
    /// Where the random choices start.
    pub seed: u64,
    /// Who tries to bring the store back.
    pub recoverers: &'a [&'a dyn Recoverer],
    /// Threads, at least 1. They live while the sweep runs.
    pub threads: usize,
}

/// One damaged store and what each recoverer made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Number of the case.
    pub number: u64,
    /// What was done.
    pub damage: Damage,
    /// The scores, in the order of the recoverers.
    pub scores: Vec<Score>,
}

/// Why a sweep ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepError {
    /// It was told to.
    Cancelled,
    /// Something failed that says nothing of the stores. The sentence names the case.
    Failed(String),
}

impl std::fmt::Display for SweepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for SweepError {}

/// Runs `case` on every number and returns the results in their order; `panicked` is what is said where one panics.
pub(in crate::testing) fn run_cases<R: Send>(
    numbers: &[u64],
    threads: usize,
    (progress, cancel): (&(dyn Fn(u64) + Sync), &AtomicBool),
    panicked: &str,
    case: impl Fn(u64) -> Result<R, String> + Sync,
) -> Result<Vec<R>, SweepError> {
    let tell = |done| progress(done as u64);
    let crew = Crew::of(threads).until(cancel).telling(&tell);
    let run = AssertUnwindSafe(|| crew.map(numbers, |number| case(*number)));
    let found = catch_unwind(run).map_err(|_| SweepError::Failed(panicked.into()))?;
    let found = found.map_err(SweepError::Failed)?;
    match cancel.load(Ordering::Relaxed) {
        true => Err(SweepError::Cancelled),
        false => Ok(found),
    }
}

impl Sweep<'_> {
    /// Number of cases.
    #[must_use]
    pub fn cases(&self) -> u64 {
        self.damages.len() as u64 * self.count
    }

    /// Runs all cases; the results come in the order of kinds and numbers, whatever the number of threads. A kind that
    /// cannot be done to the store has none.
    ///
    /// `progress` is called with the number of cases done, from any thread.
    ///
    /// # Errors
    ///
    /// [`SweepError`].
    pub fn run(
        &self,
        progress: &(dyn Fn(u64) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Vec<Outcome>, SweepError> {
        let store = self.store;
        let layout =
            Layout::read(&store.files, &store.stream, &store.access).map_err(SweepError::Failed)?;
        let cases: Vec<u64> = (0..self.cases()).collect();
        let watch = (progress, cancel);
        let found = run_cases(
            &cases,
            self.threads,
            watch,
            "a recoverer panicked",
            |index| self.case(index, &layout),
        )?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The damaged copy of one case, to be looked at.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn damaged(
        &self,
        kind: DamageKind,
        number: u64,
        layout: &Layout,
    ) -> Result<Option<(MemoryFileSystem, Damage)>, String> {
        let files = self.store.files.fork();
        let target = DamageTarget::new(self.store, &files, layout);
        let seed = derive(self.seed, &[kind as u64, number]);
        let damage = Damage::inflict(kind, seed, &target).map_err(|error| error.to_string())?;
        Ok(damage.map(|damage| (files, damage)))
    }

    fn case(&self, index: u64, layout: &Layout) -> Result<Option<Outcome>, String> {
        let kind = (index / self.count) as usize;
        let Some(kind) = self.damages.get(kind).copied() else {
            return Ok(None);
        };
        let number = self.first + index % self.count;
        let Some((files, damage)) = self.damaged(kind, number, layout)? else {
            return Ok(None);
        };
        let mut scores = Vec::with_capacity(self.recoverers.len());
        for recoverer in self.recoverers {
            let own = files.fork();
            let case = Case {
                files: &own,
                stream: &self.store.stream,
                access: &self.store.access,
                damage: &damage,
            };
            let mut tally = Tally::new(&self.store.reference, &damage);
            let service = recoverer
                .survivors(&case, &mut tally)
                .map_err(|why| format!("{}: case {number}: {damage}: {why}", recoverer.name()))?;
            scores.push(tally.finish(service));
        }
        Ok(Some(Outcome {
            number,
            damage,
            scores,
        }))
    }
}

/// The sum of one recoverer's scores over the cases of one kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    /// Cases.
    pub cases: u64,
    /// Cases without an answer in time; nothing below counts them.
    pub unanswered: u64,
    /// Cases in which every message came back.
    pub cases_without_loss: u64,
    /// Cases in which the store did not open.
    pub refused: u64,
    /// Cases in which the program goes down.
    pub down: u64,
    /// Messages expected, over all cases.
    pub expected: u64,
    /// Messages that came back.
    pub kept: u64,
    /// Messages lost.
    pub lost: u64,
    /// The most messages lost in one case.
    pub lost_most: u64,
    /// Number of that case.
    pub worst_case: Option<u64>,
    /// Messages lost that the damage had not touched.
    pub lost_untouched: u64,
    /// Messages that came back with other content.
    pub wrong: u64,
    /// Deleted messages that came back.
    pub revived: u64,
    /// Messages nobody ever stored.
    pub unknown: u64,
}

impl Sum {
    /// Adds one case.
    pub fn add(&mut self, number: u64, score: &Score) {
        self.cases += 1;
        if score.service == Service::Unanswered {
            self.unanswered += 1;
            return;
        }
        self.cases_without_loss += u64::from(score.lost == 0);
        self.refused += u64::from(score.service == Service::Refused);
        self.down += u64::from(score.service == Service::Down);
        self.expected += score.expected;
        self.kept += score.kept;
        self.lost += score.lost;
        if score.lost > self.lost_most {
            self.lost_most = score.lost;
            self.worst_case = Some(number);
        }
        self.lost_untouched += score.lost_untouched;
        self.wrong += score.wrong;
        self.revived += score.revived;
        self.unknown += score.unknown;
    }

    /// Adds the cases of another store.
    pub fn join(&mut self, other: &Self) {
        self.cases += other.cases;
        self.unanswered += other.unanswered;
        self.cases_without_loss += other.cases_without_loss;
        self.refused += other.refused;
        self.down += other.down;
        self.expected += other.expected;
        self.kept += other.kept;
        self.lost += other.lost;
        if other.lost_most > self.lost_most {
            self.lost_most = other.lost_most;
            self.worst_case = other.worst_case;
        }
        self.lost_untouched += other.lost_untouched;
        self.wrong += other.wrong;
        self.revived += other.revived;
        self.unknown += other.unknown;
    }

    /// Share of the messages that came back, from 0 to 1; 1 where none was expected.
    #[must_use]
    pub fn kept_share(&self) -> f64 {
        if self.expected == 0 {
            return 1.0;
        }
        self.kept as f64 / self.expected as f64
    }
}

#[cfg(test)]
mod tests;
