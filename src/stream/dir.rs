//! A stream's directory.

use std::path::{Path, PathBuf};

use super::options::Options;
use crate::format::seqset::SeqSet;
use crate::report::stream::{Outcome, StreamReport};

/// The account a server without accounts keeps its streams in.
pub(crate) const GLOBAL_ACCOUNT: &str = "$G";

/// One stream directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDir {
    /// Account, where the path shows one.
    pub account: Option<String>,
    /// Directory name.
    pub name: String,
    /// The directory.
    pub dir: PathBuf,
}

impl StreamDir {
    /// A report on the stream that says nothing yet but that it was not judged.
    pub(crate) fn blank_report(&self) -> StreamReport {
        StreamReport {
            account: self.account.clone(),
            name: self.name.clone(),
            dir: self.dir.display().to_string(),
            outcome: Outcome::Refused,
            refusal: None,
            source: None,
            state: None,
            subjects: None,
            digest: None,
            unreadable: Vec::new(),
            ttl: None,
            schedules: None,
            sources: None,
            overdue: SeqSet::new(),
            outlived: false,
            max_age_ns: 0,
            consumers: Vec::new(),
            events: Vec::new(),
            actions: Vec::new(),
            ledger: None,
            salvage: None,
            loses_messages: false,
            ends_torn: false,
        }
    }
}

/// Account name in the key derivation: what the caller says, else the directory above `streams`, else the global
/// account. For the log of a raft group it is the group's name.
#[must_use]
pub fn account_of(stream: &StreamDir, options: &Options) -> Vec<u8> {
    if let Some(account) = &options.account {
        return account.clone();
    }
    if is_raft_group(&stream.dir) {
        return stream.name.clone().into_bytes();
    }
    let account = stream.account.as_deref().unwrap_or(GLOBAL_ACCOUNT);
    account.as_bytes().to_vec()
}

/// Whether a directory is the log of a raft group: its keys have the group's name, its cipher is always ChaCha.
#[must_use]
pub fn is_raft_group(dir: &Path) -> bool {
    let above = dir.parent().and_then(Path::file_name);
    above.is_some_and(|name| name == "_js_")
}
