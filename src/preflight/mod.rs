//! What a server would do to a store when it starts: told beforehand, nothing written.
//!
//! [`forecast`] judges one stream the way the chosen server's open call would ([`crate::recovery`]), and holds the outcome
//! against what the files hold, damage or not: the difference is what the start would lose.
//!
//! **Lost** is every message that the store holds now and that the server would not be able to hand out: behind a cut in a
//! block, in a deleted block, in a deleted stream, or damaged. It is counted from what verifies, from what a sound
//! `index.db` lists, and from what the records on both sides of a damaged place tell. Messages that age or limits remove
//! are **expired**, no loss. Where the server goes down or leaves the stream out, its files stay, and nothing is lost yet;
//! what would be cut before it goes down is among the actions.
//!
//! # What is not foretold
//!
//! * What a server does after the start: schedules that fire, clustering (replicas catch up from each other). What an interest
//!   stream lets go of at once is foretold ([`released`]); what TTLs take at once, the account tells ([`Ledger::timed_out`]).
//! * A duplicate-window scan that meets the damage of H37 brings the server down at the start rather than at the first read.
//! * Without a configuration the server is taken to look where the store is, with JetStream for its account and no limits
//!   ([`Surroundings`]); a store without a cluster's metadata to be that of a server standing alone.
//! * What [`crate::recovery::server`] lists as left out of the differences between versions.

mod around;
mod interest;
mod inventory;
mod output;
mod sample;
mod start_time;
mod stream;
pub mod surroundings;

pub use interest::{Released, released};
pub use output::vouch;
pub use start_time::{MachineSpeed, measure};
pub use stream::forecast;
pub use surroundings::Surroundings;

use std::sync::Arc;
use std::time::Duration;

use crate::format::seqset::SeqSet;
use crate::report::Ledger;
use crate::report::ServerVersion;
use crate::report::actions::Action;
use crate::report::events::Event;
use crate::report::stream::{ConsumerReport, State};

/// What is asked of a forecast besides the options of the examination.
#[derive(Debug, Clone, Default)]
pub struct PreflightOptions {
    /// The server that will start.
    pub server: ServerVersion,
    /// How long a start probe waits for it.
    pub probe: Option<Duration>,
    /// What [`measure`] found of the stream and this machine; without it no time is foretold.
    pub speed: Option<MachineSpeed>,
    /// What stands around the store; by default nothing is known of it, and the server stands alone or not as the options of
    /// the examination say.
    pub surroundings: Option<Arc<Surroundings>>,
    /// Read only what the server would: believe a sound index. For a store whose blocks were just verified.
    pub quick: bool,
}

/// How the start comes out for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// The stream is there.
    Ok,
    /// The server starts without it; its files stay.
    StreamSkipped,
    /// The server deletes its directory.
    StreamDeleted,
    /// The server crashes, with all its streams, and again at every start.
    ServerDown,
}

impl Start {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Start::Ok => "ok",
            Start::StreamSkipped => "stream-skipped",
            Start::StreamDeleted => "stream-deleted",
            Start::ServerDown => "server-down",
        }
    }
}

/// What reading every message would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// Nothing.
    Ok,
    /// Bring the server down, out of memory (H37).
    ServerDown,
}

impl Reading {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reading::Ok => "ok",
            Reading::ServerDown => "server-down",
        }
    }
}

/// What becomes of a stream when a server starts on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Account directory name, where the path shows one.
    pub account: Option<String>,
    /// Stream name.
    pub name: String,
    /// The stream directory as given.
    pub dir: String,
    /// The server.
    pub server: ServerVersion,
    /// How the start comes out.
    pub start: Start,
    /// What reading would do; of a stream that is not there nothing can be read.
    pub read: Reading,
    /// Whether the state comes from `index.db`.
    pub fast_path: bool,
    /// Messages the server would count right after its open; 0 where the stream is not there. Of those that cannot be read it
    /// takes some off its totals when it comes upon them: the last message of the stream at once, for it looks for its id.
    pub messages: u64,
    /// Messages held now that the server could not hand out.
    pub lost: u64,
    /// Their sequences: first and last of each stretch, ascending.
    pub lost_seqs: Vec<(u64, u64)>,
    /// Those of the lost whose record verifies now, perhaps after flipped bits are set right.
    pub lost_proven: u64,
    /// Those of the lost that go at once after the start because a consumer does not come up.
    pub lost_with_consumers: SeqSet,
    /// Messages that every consumer has done with, which the server removes once they are back.
    pub released: u64,
    /// Messages that age or limits remove.
    pub expired: u64,
    /// Messages the server would count and could not hand out.
    pub unreadable: u64,
    /// The state after the start.
    pub state: Option<State>,
    /// The account of every message that a witness named, where it was drawn up.
    pub ledger: Option<Ledger>,
    /// How long the open call takes, in seconds, with a warm page cache; 0 without [`PreflightOptions::speed`].
    pub start_seconds: f64,
    /// Between how many seconds it is expected to take: the model is right by a factor, not to the second.
    pub start_seconds_range: (f64, f64),
    /// Whether all of that is within the start probe; `None` without one.
    pub fits_probe: Option<bool>,
    /// Consumers as found.
    pub consumers: Vec<ConsumerReport>,
    /// Consumers whose directory the server deletes.
    pub consumers_lost: Vec<String>,
    /// Consumers that would be out of service.
    pub consumers_disabled: Vec<String>,
    /// What was seen, in the order it arose.
    pub events: Vec<Event>,
    /// What the server would do to files and directories.
    pub actions: Vec<Action>,
    /// Whether the caller can help: a key is missing, or a file cannot be read.
    pub needs_help: bool,
}

impl Forecast {
    /// The exit code of this stream: 4 where messages or a consumer's state are lost, the server goes down or goes without
    /// the stream; 8 where it does so because a key is missing or a file cannot be read; 2 where the start would outlast the
    /// probe; 1 where something would be mended; 0 where nothing happens but that side files are written.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        use crate::report::events::Severity;
        let harm = self.start != Start::Ok
            || self.read != Reading::Ok
            || self.lost > 0
            || !self.consumers_lost.is_empty();
        if self.needs_help && self.start == Start::StreamSkipped {
            return 8;
        }
        if harm {
            return 4;
        }
        if self.fits_probe == Some(false) {
            return 2;
        }
        let seen = self
            .events
            .iter()
            .any(|event| event.severity >= Severity::Warn);
        let mends = |action: &Action| !action.kind.is_side_file();
        u8::from(seen || self.actions.iter().any(mends))
    }
}
