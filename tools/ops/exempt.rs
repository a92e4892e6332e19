//! Where Go's store itself errs: what a disagreement there is called, and what scripts keep out of.
//!
//! The names are those of the list of Go's faults, L1 to L32 and G1 to G10; G11 and G12 were found by killing the reference itself, G13 by
//! scripts. Rows are judged in order; the first that fits names the disagreement, which is counted and not reported, and ends the seed.

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
    pub is_killed: bool,
    pub is_encrypted: bool,
    /// The stream's configuration.
    pub stream: &'a Value,
    pub what: &'a str,
    pub ours: &'a Value,
    pub theirs: &'a Value,
}

/// A fault of a server that opens what the engine left.
pub struct ServedExemption {
    pub fault: &'static str,
    pub about: &'static str,
    /// How its versions begin.
    versions: &'static [&'static str],
    fits: fn(&Unlike<'_>) -> bool,
}

/// Those of all lines.
pub const SERVED_EXEMPTIONS: &[ServedExemption] = &[];

/// The fault of a server that explains what it says.
pub fn served_exemption(unlike: &Unlike<'_>) -> Option<&'static ServedExemption> {
    let mut rows = SERVED_EXEMPTIONS.iter();
    rows.find(|row| {
        let mut versions = row.versions.iter();
        versions.any(|version| unlike.version.starts_with(version)) && (row.fits)(unlike)
    })
}
