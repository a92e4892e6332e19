//! Where Go's store itself errs: what a disagreement there is called, and what scripts keep out of.
//!
//! The names are those of the list of Go's faults, L1 to L32 and G1 to G10; G11 and G12 were found by killing the reference itself, G13 by
//! scripts, G14 to G21 by servers that open what the engine left. Rows are judged in order; the first that fits names the disagreement, which
//! is counted and not reported, and ends the seed.

use std::collections::BTreeSet;

use jetsam::format::limits::ZERO_TIME_NS;
use serde_json::Value;

use crate::driver::is_silent;

/// What was asked and what came of it; the right side is the reference.
pub struct Differing<'a> {
    pub request: &'a Value,
    pub left: &'a Value,
    pub right: &'a Value,
    /// The stream's configuration at that moment.
    pub stream: &'a Value,
    /// The left side is the reference too.
    pub same: bool,
}

/// One fault of the reference.
pub struct Exemption {
    pub fault: &'static str,
    pub about: &'static str,
    fits: fn(&Differing<'_>) -> bool,
}

/// All of them.
pub const EXEMPTIONS: &[Exemption] = &[
    Exemption {
        fault: "G3",
        about: "an append never returns: the per-subject limit removes the same gone message for ever",
        fits: |d| {
            is_silent(d.right)
                && (d.same || !is_silent(d.left))
                && d.request["op"]
                    .as_str()
                    .is_some_and(|op| op.starts_with("append"))
                && d.stream["max_msgs_per_subject"]
                    .as_i64()
                    .is_some_and(|n| n > 0)
        },
    },
    Exemption {
        fault: "L30",
        about: "the reference's count is not that of the messages it loads",
        fits: |d| {
            d.right["ok"].get("odd").is_some()
                && d.left["ok"]["messages"] == d.right["ok"]["odd"]["loaded"]
        },
    },
    Exemption {
        fault: "G13",
        about: "one message a subject: it counts as pending though removed, if it was the last of its subject",
        fits: |d| {
            d.request["op"] == "num_pending"
                && d.stream["max_msgs_per_subject"] == 1
                && d.right["ok"].get("odd").is_some()
                && d.left["ok"]["total"] == d.right["ok"]["odd"]["loaded"]
        },
    },
];

/// A fault of the reference that shows where it is killed itself.
pub struct KillExemption {
    pub fault: &'static str,
    pub about: &'static str,
    /// What every line about the kill contains.
    says: &'static [&'static str],
}

/// Those, for a run in which both sides are the reference.
pub const KILL_EXEMPTIONS: &[KillExemption] = &[
    KillExemption {
        fault: "L29, G1",
        about: "a removal before a sync is undone: it left no tombstone, or the sync dropped it",
        says: &["removed before a sync, is back"],
    },
    KillExemption {
        fault: "G11",
        about: "killed between making a block's file and its key file, an encrypted store does not open",
        says: &["after the kill", "corrupt state file"],
    },
    KillExemption {
        fault: "G12",
        about: "killed after the last block was compressed and before the next was made: it is appended to as it is",
        says: &["after going on", "s2: "],
    },
];

/// The first fault of the reference behind what is wrong after it was killed, where each line has one.
pub fn kill_exemption(wrong: &[String]) -> Option<&'static KillExemption> {
    let row_of = |line: &String| {
        let mut rows = KILL_EXEMPTIONS.iter();
        rows.find(|row| row.says.iter().all(|part| line.contains(part)))
    };
    let rows: Option<Vec<_>> = wrong.iter().map(row_of).collect();
    rows?.into_iter().next()
}

/// The fault of the reference that explains a disagreement.
pub fn exemption(differing: &Differing<'_>) -> Option<&'static Exemption> {
    EXEMPTIONS.iter().find(|row| (row.fits)(differing))
}

/// Something that a server says otherwise than the engine about a directory that the engine left.
#[derive(Debug)]
pub struct Unlike<'a> {
    pub version: &'a str,
    pub is_encrypted: bool,
    /// The directory has a state file.
    pub has_index: bool,
    /// A purge was cut short when its outcome lay ready.
    pub has_staged_purge: bool,
    /// The last sequence is that of an erased message.
    pub last_is_erased: bool,
    /// Something of the start is otherwise than the engine says, as it was foretold.
    pub starts_as_foretold: bool,
    /// What `preflight` says of this instead of the engine, if anything.
    pub foretold: &'a Value,
    pub what: &'a str,
    pub ours: &'a Value,
    pub theirs: &'a Value,
}

impl Unlike<'_> {
    fn is_as_foretold(&self) -> bool {
        !self.foretold.is_null() && self.foretold == self.theirs
    }

    fn is_of_consumer(&self) -> bool {
        self.what.contains("consumer ")
    }
}

/// A fault of servers that open what the engine left.
pub struct ServedExemption {
    pub fault: &'static str,
    pub about: &'static str,
    /// How its versions begin; empty: all.
    versions: &'static str,
    fits: fn(&Unlike<'_>) -> bool,
}

/// Those of all lines.
pub const SERVED_EXEMPTIONS: &[ServedExemption] = &[
    ServedExemption {
        fault: "G14",
        about: "an encrypted stream without an index gets another key when the server stops; nobody opens it again",
        versions: "2.10.",
        fits: |u| u.is_encrypted && !u.has_index && u.what == "after the server",
    },
    ServedExemption {
        fault: "G15",
        about: "of sequences skipped together at the end of a block only the last is listed as deleted, after a scan",
        versions: "2.10.",
        fits: |u| {
            let mut whole = [u.ours, u.foretold].into_iter();
            let is_list = u.what == "deleted" && u.theirs.is_array();
            is_list && whole.any(|whole| whole.is_array() && lacks_skipped_runs(whole, u.theirs))
        },
    },
    ServedExemption {
        fault: "G16",
        about: "an erased record has no time: where the last message was erased, a scan does not find the last time",
        versions: "",
        fits: |u| u.last_is_erased && is_last_time_gone(u),
    },
    ServedExemption {
        fault: "G19",
        about: "before 2.14 a purge that was cut short is not known: its messages are there again, until an engine that knows it opens the stream",
        versions: "",
        fits: |u| {
            // A consumer that begins does so at a message that is there again.
            let follows = u.is_of_consumer() && u.starts_as_foretold;
            u.has_staged_purge && (u.is_as_foretold() || follows)
        },
    },
    ServedExemption {
        fault: "G18",
        about: "a store to which nothing was ever done lists sequence 0 as deleted",
        versions: "",
        fits: |u| u.what == "deleted" && is_empty(u.ours) && *u.theirs == serde_json::json!([0]),
    },
    ServedExemption {
        fault: "G17",
        about: "after a scan a block of tombstones alone ends at the lowest: the last sequence falls, and among more than 32 blocks messages are not found and removed ones are back",
        versions: "2.10.",
        fits: |u| {
            let is_behind = u.what.starts_with("after the server: ") || u.is_of_consumer();
            u.is_as_foretold() || is_behind && u.starts_as_foretold
        },
    },
    ServedExemption {
        fault: "G20",
        about: "after a scan deleted sequences below the first are listed",
        versions: "2.12.",
        fits: |u| u.what == "deleted" && u.is_as_foretold() && has_more_before(u.theirs, u.ours),
    },
    ServedExemption {
        fault: "G21",
        about: "no time in a tombstone is read as one of 1754",
        versions: "2.12.",
        fits: |u| {
            let none = &u.ours["ok"]["last_ts"];
            let theirs = &u.theirs["ok"]["last_ts"];
            let is_state = u.what == "after the server: state";
            (u.what == "last_ts" && u.is_as_foretold() && *u.theirs == ZERO_TIME_NS)
                || (is_state && *none == 0 && *theirs == ZERO_TIME_NS)
        },
    },
];

/// Whether a list of sequences is another with more before its first.
fn has_more_before(list: &Value, end: &Value) -> bool {
    match (list.as_array(), end.as_array()) {
        (Some(list), Some(end)) => list.ends_with(end),
        _ => false,
    }
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_some_and(Vec::is_empty)
}

/// Whether a list is another without runs, of each of which it has the end.
fn lacks_skipped_runs(whole: &Value, list: &Value) -> bool {
    let seqs = |value: &Value| -> BTreeSet<u64> {
        let seqs = value.as_array().into_iter().flatten();
        seqs.filter_map(Value::as_u64).collect()
    };
    let (whole, list) = (seqs(whole), seqs(list));
    let has_end = |seq: &u64| {
        let mut after = whole.range(seq + 1..);
        after.find(|next| list.contains(next)).is_some_and(|end| {
            // Every sequence up to the end of the run is gone.
            whole.range(seq..=end).count() as u64 == end - seq + 1
        })
    };
    list.is_subset(&whole) && whole.difference(&list).all(has_end)
}

fn is_last_time_gone(unlike: &Unlike<'_>) -> bool {
    if unlike.what == "last_ts" {
        return unlike.theirs == 0;
    }
    if unlike.what != "after the server: state" {
        return false;
    }
    let mut ours = unlike.ours.clone();
    if let Some(last) = ours.pointer_mut("/ok/last_ts") {
        *last = Value::from(0);
    }
    ours == *unlike.theirs
}

/// The fault of a server that explains what it says.
pub fn served_exemption(unlike: &Unlike<'_>) -> Option<&'static ServedExemption> {
    let mut rows = SERVED_EXEMPTIONS.iter();
    rows.find(|row| unlike.version.starts_with(row.versions) && (row.fits)(unlike))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_may_be_missing_but_for_its_end() {
        let whole = json!([35, 70, 72, 73, 74, 75, 76, 79]);
        assert!(lacks_skipped_runs(&whole, &json!([35, 70, 76, 79])));
        for other in [
            json!([35, 70, 72, 73, 74, 75, 79]),
            json!([35, 70, 72, 73, 74, 75, 76]),
            json!([70, 72, 73, 74, 75, 76, 79]),
            json!([35, 70, 72, 73, 74, 75, 76, 79, 80]),
        ] {
            assert!(!lacks_skipped_runs(&whole, &other), "{other}");
        }
    }
}
