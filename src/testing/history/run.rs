//! Many histories, each with an end and mostly a damage of its own, and what is wrong with the accounts of them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::score::LedgerScore;
use super::{Doings, History, HistoryKind, LastDay, Lived};
use crate::env::IoError;
use crate::env::memory::MemoryFileSystem;
use crate::format::seqset::SeqSet;
use crate::report::Ledger;
use crate::testing::damage::{Damage, DamageKind, DamageTarget};
use crate::testing::random::{Random, derive};
use crate::testing::score::write_tree;
use crate::testing::sweep::{SweepError, run_cases};
use crate::testing::workload::StoreKind;

/// Steps of the shortest history, and by how many a longer one may exceed it.
const STEPS: (u64, u64) = (150, 900);
/// How often in a hundred nothing is damaged: an everyday end is enough.
const UNDAMAGED_PERCENT: u64 = 30;
/// How often a kind of damage is drawn again that cannot be done to a store.
const TRIES_MAX: u32 = 20;

/// Draws up the accounts of a store: the one of `check` and `recover`, and the one of `salvage`; `None` for none.
pub trait Accountant: Sync {
    /// Both, and the messages that salvage hands out, each compared with what was stored.
    ///
    /// # Errors
    ///
    /// A sentence, where the question could not be put at all.
    fn accounts(&self, files: &MemoryFileSystem, lived: &Lived) -> Result<Accounts, String>;
}

/// What was said of a store.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// By `check` and `recover`.
    pub check: Option<Ledger>,
    /// By `salvage`.
    pub salvage: Option<Ledger>,
    /// Messages that salvage hands out as they were stored.
    pub handed_out: SeqSet,
    /// Messages that salvage hands out and nobody stored so.
    pub changed: SeqSet,
    /// The same, where salvage says that it is not certain of the message's borders.
    pub doubted: SeqSet,
}

/// Histories to be judged.
pub struct HistoryRun<'a> {
    /// What the streams are used for.
    pub kinds: &'a [HistoryKind],
    /// How they are laid out.
    pub layouts: &'a [StoreKind],
    /// How they end.
    pub last_days: &'a [LastDay],
    /// Kinds of damage.
    pub damages: &'a [DamageKind],
    /// Number of cases.
    pub count: u64,
    /// Number of the first.
    pub first: u64,
    /// Where the random choices start.
    pub seed: u64,
    /// Threads, at least 1.
    pub threads: usize,
    /// Who draws up the accounts.
    pub accountant: &'a dyn Accountant,
}

/// One history and what is wrong with the account of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryCase {
    /// Number of the case.
    pub number: u64,
    /// The history.
    pub history: History,
    /// What was done to it.
    pub damage: Option<Damage>,
    /// Messages that are live in truth, and that were removed.
    pub live: u64,
    /// Messages removed on purpose.
    pub removed: u64,
    /// The judgement of salvage's account.
    pub score: LedgerScore,
    /// Messages that salvage hands out and nobody stored so.
    pub changed: u64,
    /// The same, where salvage says that it is not certain.
    pub doubted: u64,
    /// Whether the account of `check` is another one.
    pub unequal: bool,
    /// What is wrong, in words; empty where nothing is.
    pub wrong: String,
}

/// What is left of a history after a damage.
pub struct DamagedHistory {
    /// The history.
    pub history: History,
    /// What came of it.
    pub lived: Lived,
    /// The files.
    pub files: MemoryFileSystem,
    /// What was done to them.
    pub damage: Option<Damage>,
}

impl DamagedHistory {
    /// Writes the stream directory to the disk as `dir`.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write_to(&self, dir: &Path) -> Result<(), IoError> {
        write_tree(&self.files, &self.lived.store.stream.dir, dir)
    }
}

impl HistoryRun<'_> {
    /// Runs all cases; the results come in the order of their numbers.
    ///
    /// # Errors
    ///
    /// [`SweepError`].
    pub fn run(
        &self,
        progress: &(dyn Fn(u64) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Vec<HistoryCase>, SweepError> {
        let numbers: Vec<u64> = (0..self.count).map(|nth| self.first + nth).collect();
        let watch = (progress, cancel);
        run_cases(
            &numbers,
            self.threads,
            watch,
            "an account panicked",
            |number| {
                let case = self.case(number);
                case.map_err(|why| format!("case {number}: {why}"))
            },
        )
    }

    /// The history of a case and the damaged files, to be looked at.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn damaged(&self, number: u64) -> Result<DamagedHistory, String> {
        let mut random = Random::derived(self.seed, &[number]);
        let kinds = self.kinds.len().max(1) as u64;
        let kind = self.kinds.get((number % kinds) as usize).copied();
        let layout = if random.chance(40) {
            self.layouts.first()
        } else {
            random.pick(self.layouts)
        };
        let history = History {
            kind: kind.unwrap_or(HistoryKind::Append),
            layout: layout.copied().unwrap_or(StoreKind::Plain),
            last_day: random
                .pick(self.last_days)
                .copied()
                .unwrap_or(LastDay::Killed),
            steps: STEPS.0 + random.below(STEPS.1),
            doings: Doings::All,
            seed: derive(self.seed, &[number, 1]),
        };
        let lived = history.live_through().map_err(|error| error.to_string())?;
        let files = lived.store.files.fork();
        let spared = random.chance(UNDAMAGED_PERCENT);
        let mut damage = None;
        for attempt in 0..TRIES_MAX {
            let Some(kind) = random.pick(self.damages).copied().filter(|_| !spared) else {
                break;
            };
            let target = DamageTarget::new(&lived.store, &files, &lived.layout);
            let seed = derive(self.seed, &[number, 2, u64::from(attempt)]);
            damage = Damage::inflict(kind, seed, &target).map_err(|error| error.to_string())?;
            if damage.is_some() {
                break;
            }
        }
        Ok(DamagedHistory {
            history,
            lived,
            files,
            damage,
        })
    }

    fn case(&self, number: u64) -> Result<HistoryCase, String> {
        let DamagedHistory {
            history,
            lived,
            files,
            damage,
        } = self.damaged(number)?;
        let accounts = self.accountant.accounts(&files, &lived)?;
        let none = Ledger::default();
        let account = accounts.salvage.as_ref().or(accounts.check.as_ref());
        let score = LedgerScore::of(account.unwrap_or(&none), &lived, damage.as_ref());
        let unequal = differ(accounts.check.as_ref(), accounts.salvage.as_ref());
        let mut case = HistoryCase {
            number,
            history,
            damage,
            live: lived.truth.live.len(),
            removed: lived.truth.gone.len(),
            score,
            changed: accounts.changed.len(),
            doubted: accounts.doubted.len(),
            unequal: unequal.is_some(),
            wrong: unequal.unwrap_or_default(),
        };
        case.wrong.push_str(&case.score.in_words());
        let mut absent = account.map(|one| one.live.clone()).unwrap_or_default();
        let changed = accounts.changed.spans().chain(accounts.doubted.spans());
        for span in accounts.handed_out.spans().chain(changed) {
            absent.remove_range(span);
        }
        if !absent.is_empty() {
            let _ = write!(
                case.wrong,
                "called live and not there: {}; ",
                stretches(&absent)
            );
            case.score.silent.union_with(&absent);
        }
        Ok(case)
    }
}

/// What differs between two accounts of the same files, beyond what a server's start would change.
fn differ(check: Option<&Ledger>, salvage: Option<&Ledger>) -> Option<String> {
    let (check, salvage) = match (check, salvage) {
        (None, None) => return Some("no account at all; ".into()),
        (Some(check), Some(salvage)) => (check, salvage),
        (check, _) => {
            let who = if check.is_none() { "check" } else { "salvage" };
            return Some(format!("{who} has no account; "));
        }
    };
    let mut told = String::new();
    for (name, one, other) in [
        ("live", &check.live, &salvage.live),
        ("expired", &check.expired, &salvage.expired),
        ("lost", &check.lost, &salvage.lost),
        ("unknown", &check.unknown, &salvage.unknown),
    ] {
        if one != other {
            let (one, other) = (stretches(one), stretches(other));
            let _ = write!(told, "{name}: check {one}, salvage {other}; ");
        }
    }
    if check.untold_below != salvage.untold_below {
        let (one, other) = (check.untold_below, salvage.untold_below);
        let _ = write!(told, "untold below: check {one:?}, salvage {other:?}; ");
    }
    if check.removed != salvage.removed {
        let counts = |ledger: &Ledger| {
            let ways = ledger.removed.iter();
            let ways = ways.map(|(way, seqs)| format!("{} {}", seqs.len(), way.as_str()));
            ways.collect::<Vec<_>>().join(", ")
        };
        let (one, other) = (counts(check), counts(salvage));
        let _ = write!(told, "removed: check {one}, salvage {other}; ");
    }
    (!told.is_empty()).then_some(told)
}

impl LedgerScore {
    fn in_words(&self) -> String {
        let mut told = String::new();
        for (what, set) in [
            ("invented losses", &self.invented),
            ("silent losses", &self.silent),
            ("removed and called live", &self.revived),
            ("misfiled", &self.misfiled),
        ] {
            if !set.is_empty() {
                let _ = write!(told, "{what}: {}; ", stretches(set));
            }
        }
        told
    }
}

/// The first stretches of a set, and how many are in it.
fn stretches(set: &SeqSet) -> String {
    /// Stretches told; a set of thousands is no easier to read for being whole.
    const TOLD: usize = 6;
    let mut told: Vec<String> = set
        .spans()
        .take(TOLD)
        .map(|span| match (span.start(), span.end()) {
            (one, other) if one == other => one.to_string(),
            (one, other) => format!("{one}-{other}"),
        })
        .collect();
    if set.spans().count() > TOLD {
        told.push("…".into());
    }
    format!("{} ({})", set.len(), told.join(" "))
}

/// The sum over the cases of one kind of history, or of one kind of damage.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HistoryRow {
    /// Its name.
    pub name: String,
    /// Cases.
    pub cases: u64,
    /// Messages live in truth.
    pub live: u64,
    /// Messages removed on purpose.
    pub removed: u64,
    /// Messages really lost, and called so.
    pub lost: u64,
    /// Messages called unknown.
    pub unknown: u64,
    /// Removed on purpose, never stored, or there, and called lost.
    pub invented: u64,
    /// Lost and not told.
    pub silent: u64,
    /// Removed and called live, although something tells.
    pub revived: u64,
    /// Filed under a way the stream does not have.
    pub misfiled: u64,
    /// Cases in which two verbs have two accounts.
    pub unequal: u64,
    /// Lost, and nothing that is left reaches so far.
    pub unnamed: u64,
    /// Lost, and before all that is left, which the account says.
    pub past: u64,
    /// Removed and called live: nothing tells any more, or ever did.
    pub untold: u64,
    /// Removed and called lost: the damage destroyed what told.
    pub mistaken: u64,
    /// Handed out by salvage, and not what was stored.
    pub changed: u64,
    /// The same, where salvage says that it is not certain of the borders within the message.
    pub doubted: u64,
    /// The largest share of a stream's sequences that is unknown in one case.
    pub unknown_most: f64,
}

impl HistoryRow {
    /// A row with nothing in it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Adds one case.
    pub fn add(&mut self, case: &HistoryCase) {
        let score = &case.score;
        self.cases += 1;
        self.live += case.live;
        self.removed += case.removed;
        self.lost += score.lost.len();
        self.unknown += score.unknown.len();
        self.invented += score.invented.len();
        self.silent += score.silent.len();
        self.revived += score.revived.len();
        self.misfiled += score.misfiled.len();
        self.unequal += u64::from(case.unequal);
        self.unnamed += score.unnamed.len();
        self.past += score.past.len();
        self.untold += score.untold.len();
        self.mistaken += score.mistaken.len();
        self.changed += case.changed;
        self.doubted += case.doubted;
        let share = score.unknown.len() as f64 / (case.live + case.removed).max(1) as f64;
        self.unknown_most = self.unknown_most.max(share);
    }

    /// Rows by kind of history, and rows by kind of damage.
    #[must_use]
    pub fn tables(cases: &[HistoryCase]) -> (Vec<Self>, Vec<Self>) {
        let sum = |name: &str, wanted: &dyn Fn(&HistoryCase) -> bool| {
            let mut row = Self::new(name);
            cases
                .iter()
                .filter(|case| wanted(case))
                .for_each(|case| row.add(case));
            row
        };
        let mut kinds: Vec<Self> = HistoryKind::ALL
            .iter()
            .map(|kind| sum(kind.name(), &|case| case.history.kind == *kind))
            .collect();
        let mut damages = vec![sum("none", &|case| case.damage.is_none())];
        damages.extend(LastDay::ALL.iter().map(|day| {
            let name = format!("none, {}", day.name());
            sum(&name, &|case| {
                case.damage.is_none() && case.history.last_day == *day
            })
        }));
        damages.extend(DamageKind::ALL.iter().map(|kind| {
            sum(kind.name(), &|case| {
                case.damage
                    .as_ref()
                    .is_some_and(|damage| damage.kind == *kind)
            })
        }));
        kinds.push(sum("all", &|_| true));
        damages.push(sum("all", &|_| true));
        let used = |rows: Vec<Self>| rows.into_iter().filter(|row| row.cases > 0).collect();
        (used(kinds), used(damages))
    }
}
