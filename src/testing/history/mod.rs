//! Streams with a life behind them: messages that limits, age, newer values, acknowledgements, purges and people removed,
//! while index and consumer files were written now and then, until the server was stopped or killed.
//!
//! What a running server leaves of that on disk is not what its configuration promises: removals by limits and
//! acknowledged messages leave no tombstone where a whole block goes, and `index.db` goes on naming what has been removed
//! since it was written. [`History::live_through`] leaves those files, and knows what became of every sequence.

mod accounts;
mod block;
mod consumers;
mod files;
mod purge;
pub mod run;
mod score;
mod script;
mod server;
pub mod setup;
mod truth;
mod witness;
mod world;

use super::layout::Layout;
use super::random::{Random, derive};
use super::workload::{Store, StoreKind, WorkloadError};
use crate::env::FileSystem as _;
use crate::env::memory::MemoryFileSystem;
use crate::format::names::BlockFile;
use crate::format::record::NewRecord;
use crate::format::state::StateFile;

pub use accounts::OwnAccounts;
pub use run::{Accountant, Accounts, DamagedHistory, HistoryCase, HistoryRow, HistoryRun};
pub use score::LedgerScore;
pub use script::{Doings, PAUSE_NS, Step};
pub use setup::{ConsumerSetup, HistoryKind, Setup};
pub use truth::{Truth, Way};
pub use witness::Witnesses;

use files::Place;
use script::Author;
use setup::SECOND_NS;
use world::World;

/// 2026-01-01, when the stream is made.
const BASE_NS: i64 = 1_767_225_600 * SECOND_NS;
/// Half a day: long after the server went, when `max_age` of every stream here has passed.
const LATER_NS: i64 = 43_200 * SECOND_NS;
/// A file system writes the length of a file in such steps after a power cut.
const PAGE_BYTES: usize = 4096;

/// How the server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LastDay {
    /// It was stopped: side files are of the last moment.
    Stopped,
    /// It was killed: `index.db` and `o.dat` are as they were last written.
    Killed,
    /// It was killed in the middle of writing a message that nobody had an answer for.
    Torn,
    /// The power went: the last block ends in zeros that were never written.
    ZeroTail,
    /// It was killed, and there is no `index.db`.
    NoIndex,
}

impl LastDay {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [
        Self::Stopped,
        Self::Killed,
        Self::Torn,
        Self::ZeroTail,
        Self::NoIndex,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Torn => "torn",
            Self::ZeroTail => "zero-tail",
            Self::NoIndex => "no-index",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|day| day.name() == name)
    }
}

/// The life of a stream, from a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// What the stream is used for.
    pub kind: HistoryKind,
    /// How its files are laid out.
    pub layout: StoreKind,
    /// How it ends.
    pub last_day: LastDay,
    /// How many steps it takes.
    pub steps: u64,
    /// What comes in besides what clients do.
    pub doings: Doings,
    /// Where the random choices start.
    pub seed: u64,
}

/// A history that is over.
#[derive(Debug, Clone)]
pub struct Lived {
    /// The configuration.
    pub setup: Setup,
    /// Files, and how to open them. Its reference holds what is live.
    pub store: Store,
    /// What became of every sequence.
    pub truth: Truth,
    /// Where the records lie.
    pub layout: Layout,
    /// What `index.db` says as it lies, where there is one.
    pub index: Option<StateFile>,
    /// What the files tell of removals.
    pub witnesses: Witnesses,
    /// Whether a message was being written at the end.
    pub torn: bool,
    /// What happened.
    pub steps: Vec<Step>,
}

/// Parts of a history whose random choices must not hang together.
#[derive(Debug, Clone, Copy)]
enum Part {
    Setup,
    World,
    Steps,
    End,
    Keys,
}

impl History {
    fn random(&self, part: Part) -> Random {
        Random::derived(derive(self.seed, &[part as u64]), &[self.kind as u64])
    }

    /// Goes through it.
    ///
    /// # Errors
    ///
    /// [`WorkloadError`]: a mistake here.
    pub fn live_through(&self) -> Result<Lived, WorkloadError> {
        let setup = Setup::draw(self.kind, self.layout, &mut self.random(Part::Setup));
        let mut world = World::new(setup.clone(), BASE_NS, self.random(Part::World));
        let mut random = self.random(Part::Steps);
        let mut end = self.random(Part::End);
        let older_at = end.below(self.steps.max(1));
        let mut older = world.clone();
        let mut author = Author::new(&world, self.doings, &mut random);
        let mut steps = Vec::new();
        for number in 0..self.steps {
            if number == older_at {
                older = world.clone();
            }
            let step = author.next(&world);
            world.go(&step)?;
            steps.push(step);
        }
        if self.doings == Doings::RestartAndPass {
            // A second and a third pass find what the first has made of the tombstones.
            for step in [Step::Restart, Step::Sync, Step::Sync, Step::Sync] {
                world.go(&step)?;
                steps.push(step);
            }
        }
        if self.last_day == LastDay::Stopped {
            world.stop()?;
        }
        let mut place = Place::new(&setup, derive(self.seed, &[Part::Keys as u64]));
        let later = [0, SECOND_NS, LATER_NS];
        place.access.now_ns = world.server.now_ns + end.pick(&later).copied().unwrap_or_default();
        let files = place.write(&world)?;
        let layout =
            Layout::read(&files, &place.stream, &place.access).map_err(WorkloadError::Unsound)?;
        let index = match self.last_day {
            LastDay::NoIndex => None,
            _ => world.server.indexed.clone(),
        };
        let state = world.server.index.as_deref().filter(|_| index.is_some());
        let state = state.and_then(|bytes| StateFile::decode(bytes).ok());
        let witnesses = Witnesses::of(&world, &layout, index);
        let mut truth = std::mem::take(&mut world.server.truth);
        self.expire(&world, place.access.now_ns, &mut truth);
        self.end(&world, &place, &files, &mut end)?;
        let store = Store {
            files: files.fork(),
            older: Some(place.write(&older)?),
            stream: place.stream,
            access: place.access,
            reference: truth.reference.clone(),
        };
        Ok(Lived {
            setup,
            store,
            truth,
            layout,
            index: state,
            witnesses,
            torn: self.last_day == LastDay::Torn,
            steps,
        })
    }

    fn expire(&self, world: &World, now_ns: i64, truth: &mut Truth) {
        let Some(age_ns) = world.server.setup.max_age_ns else {
            return;
        };
        for (seq, kept) in &world.server.live {
            if kept.ns <= now_ns - age_ns {
                truth.expired.insert(*seq);
            }
        }
    }

    /// What the end did to the files.
    fn end(
        &self,
        world: &World,
        place: &Place,
        files: &MemoryFileSystem,
        random: &mut Random,
    ) -> Result<(), WorkloadError> {
        let Some(block) = world.server.blocks.last() else {
            return Ok(());
        };
        let setup = &world.server.setup;
        let path = place.path(&format!("msgs/{}", BlockFile::Block.name(block.number)));
        match self.last_day {
            LastDay::Stopped | LastDay::Killed => {}
            LastDay::Torn => {
                let mut records = block.records().clone();
                let body = random.bytes(20 + random.clone().index(200));
                let subject = format!("{}.a.1", setup.prefix);
                let record = NewRecord::Message {
                    sequence: world.last().seq + 1,
                    timestamp_ns: world.server.now_ns,
                    subject: subject.as_bytes(),
                    headers: &[],
                    body: &body,
                };
                let whole = records.content().len();
                let length = records
                    .push(&record)
                    .map_err(|fault| WorkloadError::Format(fault.to_string()))?;
                let mut content = records.into_content();
                content.truncate(whole + 1 + random.index(length - 1));
                place.block(files, setup, block.number, content)?;
            }
            LastDay::ZeroTail => {
                let mut bytes = files.files().remove(&path).unwrap_or_default();
                let end = (bytes.len() + 1 + random.index(PAGE_BYTES)).next_multiple_of(PAGE_BYTES);
                bytes.resize(end, 0);
                files.seed_file(path, bytes);
            }
            LastDay::NoIndex => {
                let index = place.path("msgs/index.db");
                if files.files().contains_key(&index) {
                    files
                        .remove_file(&index)
                        .map_err(|error| WorkloadError::Unsound(error.to_string()))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
