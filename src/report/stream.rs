//! What an examination or recovery found, as values.

use std::collections::BTreeMap;

use crate::format::seqset::SeqSet;
use crate::report::Ledger;
use crate::report::actions::Action;
use crate::report::events::Event;

/// How a stream came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing wrong.
    Clean,
    /// Something had to be rebuilt or mended; every message is accounted for.
    Recovered,
    /// Messages are lost or unreadable.
    Damaged,
    /// The server's open would fail or crash, or the caller has to help; nothing was changed.
    Refused,
}

impl Outcome {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Clean => "clean",
            Outcome::Recovered => "recovered",
            Outcome::Damaged => "damaged",
            Outcome::Refused => "refused",
        }
    }
}

/// Why a stream is refused: decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server's open call fails: it leaves the stream out. Releases up to 2.14.9 and 2.15.2 delete its directory.
    OpenFails,
    /// The server would go down at every start.
    ServerDown,
    /// The server would leave the stream out, untouched.
    Skipped,
    /// A key is missing or wrong; the caller can help.
    NeedsKey,
    /// A file could not be read or written; the caller can help.
    Io,
    /// Another process owns the store.
    Busy,
    /// More would have to change than what was asked for.
    Refrained,
}

/// Where the state came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A sound `index.db`.
    Index,
    /// The blocks themselves.
    Blocks,
}

/// Messages the store once counted and can no longer produce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lost {
    /// Known sequences, ascending.
    pub seqs: Vec<u64>,
    /// Bytes, as the server counts them.
    pub bytes: u64,
}

/// The stream state, field for field what the server reports right after its open call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Live messages.
    pub messages: u64,
    /// Bytes of live records.
    pub bytes: u64,
    /// First sequence.
    pub first_seq: u64,
    /// Its time, nanoseconds since the Unix epoch; `None` where there is none.
    pub first_time_ns: Option<i64>,
    /// Last sequence.
    pub last_seq: u64,
    /// Its time; `None` where there is none.
    pub last_time_ns: Option<i64>,
    /// Distinct subjects.
    pub subject_count: u64,
    /// Deleted sequences between first and last.
    pub deleted_count: u64,
    /// Those sequences, on request; sorted.
    pub deleted: Option<Vec<u64>>,
    /// What was lost, if anything.
    pub lost: Option<Lost>,
}

/// How far a configured source was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourcePosition {
    /// Last sequence read in the source stream.
    pub seq: u64,
    /// Identity of the source stream; empty where unknown.
    pub identity: Vec<u8>,
}

/// TTL entries: how many, and on request `(sequence, expiry_ns)` by sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TtlReport {
    /// Number of entries.
    pub count: u64,
    /// The entries, ordered by sequence.
    pub entries: Option<Vec<(u64, i64)>>,
}

/// Schedules: how many, and on request `(subject, sequence, fires_ns)` by subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScheduleReport {
    /// Number of schedules.
    pub count: u64,
    /// The entries, ordered by subject.
    pub entries: Option<Vec<(Vec<u8>, u64, i64)>>,
}

/// One consumer as found on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerReport {
    /// Directory name.
    pub name: String,
    /// `ok`, `skipped`, `failed`, or `deleted` where the server removes its directory; of a new store's also `left-out`.
    pub outcome: &'static str,
    /// Delivered (consumer sequence, stream sequence).
    pub delivered: (u64, u64),
    /// Ack floor (consumer sequence, stream sequence).
    pub ack_floor: (u64, u64),
    /// Pending acknowledgements.
    pub pending_count: u64,
    /// Redelivered messages.
    pub redelivered_count: u64,
    /// What its files still tell of the position of a consumer that does not come up with it.
    pub held: Option<Position>,
}

/// A consumer's position, each as (consumer sequence, stream sequence).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Everything up to here is acknowledged.
    pub ack_floor: (u64, u64),
    /// The last delivery.
    pub delivered: (u64, u64),
}

/// What salvage made of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SalvageTotals {
    /// Messages kept, the repaired and the uncertain ones included.
    pub recovered: u64,
    /// Records and files that verify only once flipped bits are flipped back.
    pub repaired: u64,
    /// Messages kept (or, where that was asked for, left out) with a doubt: they may have been deleted, or the border
    /// between subject, headers and body is in doubt.
    pub uncertain: u64,
    /// Stretches of bytes, and messages in conflict, put aside.
    pub quarantined: u64,
    /// Old values of keys, kept because the newest value of the key is lost: part of those kept. In the account they stay
    /// removed.
    pub old_values: u64,
    /// Messages lost.
    pub lost: u64,
    /// Where they were: first and last sequence of each stretch. Exact where a neighbour or the index tells.
    pub lost_ranges: Vec<(u64, u64)>,
}

/// Everything known about one stream after an examination or recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// Account directory name, where the path shows one.
    pub account: Option<String>,
    /// Stream name (from the metadata, else the directory name).
    pub name: String,
    /// The stream directory as given.
    pub dir: String,
    /// How it came out.
    pub outcome: Outcome,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
    /// Where the state came from.
    pub source: Option<Source>,
    /// The state; `None` where the stream was refused before there was one.
    pub state: Option<State>,
    /// Messages per subject, on request.
    pub subjects: Option<BTreeMap<Vec<u8>, u64>>,
    /// SHA-256 over the live messages, on request.
    pub digest: Option<[u8; 32]>,
    /// Sequences counted as live whose record does not verify; ascending.
    pub unreadable: Vec<u64>,
    /// TTL wheel, where the stream has one.
    pub ttl: Option<TtlReport>,
    /// Schedules, where the stream has them.
    pub schedules: Option<ScheduleReport>,
    /// Source positions by key, where the stream has sources.
    pub sources: Option<BTreeMap<Vec<u8>, SourcePosition>>,
    /// Live messages that the TTL wheel lets go at the time of the judgement, right after the open.
    pub overdue: SeqSet,
    /// Whether a message was read whose own time to live is over at that time.
    pub outlived: bool,
    /// The stream's limit of age, 0 where it has none or is not judged.
    pub max_age_ns: i64,
    /// Consumers by directory name.
    pub consumers: Vec<ConsumerReport>,
    /// What was seen, in the order it arose.
    pub events: Vec<Event>,
    /// What was done, or would be done.
    pub actions: Vec<Action>,
    /// The account of every message that a witness named, where it was drawn up.
    pub ledger: Option<Ledger>,
    /// What salvage made of it, where that was asked for.
    pub salvage: Option<SalvageTotals>,
    /// Whether messages are lost, or would be lost by these actions.
    pub loses_messages: bool,
    /// Whether what is lost is but what an interrupted write left at the end of the last block: the beginning of a record, zeros, or a
    /// batch that was not committed. Nobody was told that it is stored.
    pub ends_torn: bool,
}

impl StreamReport {
    /// The exit code of this stream, as the command's contract defines it.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Refused => match self.refusal {
                Some(Refusal::NeedsKey | Refusal::Io | Refusal::Busy) => 8,
                _ => 4,
            },
            Outcome::Damaged => 4,
            _ if self.loses_messages => 4,
            Outcome::Recovered => 1,
            Outcome::Clean => 0,
        }
    }
}
