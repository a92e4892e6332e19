//! Where jetsam differs on purpose: each with its reason, and counted.

use crate::compare::{Difference, Differences};
use jetsam::format::names::{block_number, lax_block_number};
use jetsam::report::actions::ActionKind;
use jetsam::report::events::EventCode;
use jetsam::report::stream::{Source, StreamReport};

use crate::run::Case;
use crate::vault::Vault;

/// A difference that is meant.
struct Exemption {
    name: &'static str,
    /// Why we do not do as the server does.
    #[allow(dead_code, reason = "for whoever reads the table")]
    reason: &'static str,
    applies: fn(&Difference, &StreamReport, &Case) -> bool,
}

const EXEMPTIONS: &[Exemption] = &[
    Exemption {
        name: "meta.inf left plain beside a new key",
        reason: "a purge to the first sequence makes meta.key, after which the server does not seal meta.inf and skips the stream at the next start",
        applies: |difference, report, _| {
            difference.field == "disk: meta.inf"
                && difference.go == "None"
                && told(report, EventCode::FirstSeqPurged)
        },
    },
    Exemption {
        name: "last-record hash of an emptied block with an .idx",
        reason: "the server keeps the hash of a record that is gone, and rejects its own index at the next start",
        applies: |difference, report, _| {
            difference.field == "disk: index.db last record hash"
                && difference.ours == "[0, 0, 0, 0, 0, 0, 0, 0]"
                && told(report, EventCode::LegacyIdxRejected)
        },
    },
    Exemption {
        name: "cut of a compressed block",
        reason: "the server cuts the compressed file at the decoded offset and so destroys it; we write the decoded prefix",
        applies: |difference, report, _| {
            difference.field == "disk: block decodes"
                && told(report, EventCode::BlockTruncateSkipped)
        },
    },
    Exemption {
        name: "key of a block that went before the open was through",
        reason: "the attempt at the index puts the last block under a key, which is the server's to keep by the time the block goes; we make none",
        applies: |difference, report, _| {
            difference.field == "disk: msgs/NN.key"
                && difference.ours.ends_with("None)")
                && (told(report, EventCode::BlockEncrypted)
                    || told(report, EventCode::BlockRekeyed))
                && report
                    .actions
                    .iter()
                    .any(|action| action.kind == ActionKind::RemoveKey)
        },
    },
    Exemption {
        name: "block of an encrypted stream that the index lists twice",
        reason: "the server walks it once more for its first entry, without its key, and destroys it; no server writes such an index",
        applies: |_, report, case| {
            !case.ask.key.is_empty()
                && report.source == Some(Source::Blocks)
                && case
                    .mutations
                    .iter()
                    .any(|mutation| mutation.contains("put in after place"))
        },
    },
    Exemption {
        name: "timer counters without removed messages",
        reason: "the server counts a message removed at open until it reads the block again, which depends on its cache",
        applies: |difference, _, _| {
            difference.field == "disk: index.db timer counters" && counters_lower(difference)
        },
    },
    Exemption {
        name: "side files left behind when encryption is configured",
        reason: "the server leaves the plain index, which it cannot read again; we write all of them anew",
        applies: |difference, report, _| {
            let side = [
                "disk: index.db decodes",
                "disk: msgs/thw.db",
                "disk: msgs/sched.db",
                "disk: sources.db",
            ];
            side.contains(&difference.field.as_str())
                && (difference.go == "false" || difference.go.contains("None"))
                && (told(report, EventCode::StreamEncrypting)
                    || told(report, EventCode::StreamRekeying))
        },
    },
    Exemption {
        name: "timer file ahead of a store that is encrypted",
        reason: "the server finds its timers unchanged and leaves the plain file, which it cannot read again; we write it anew, with the stamp of the store",
        applies: |difference, report, _| {
            matches!(difference.field.as_str(), "disk: thw.db" | "disk: sched.db")
                && differs_in_stamp(difference)
                && (told(report, EventCode::TtlAhead) || told(report, EventCode::SchedAhead))
                && told(report, EventCode::StreamEncrypting)
        },
    },
    Exemption {
        name: "temporary name used for compressing",
        reason: "when a new block begins, the server compresses the one before on the side, through a name that an interrupted rewrite may have left; we keep what lies there",
        applies: |difference, report, case| {
            difference.field == "disk: msgs/N.blk.tmp"
                && difference.go.ends_with("None)")
                && created_a_block(report)
                && compresses(case)
        },
    },
    Exemption {
        name: "forged count of a deleted set",
        reason: "an index with a valid hash claims a count its set does not hold; the server passes the claim on, and takes the set for empty once so many are gone from it; we write the true count and what is left",
        applies: |difference, _, case| {
            let (go, ours) = (&difference.go, &difference.ours);
            difference.field == "disk: index.db blocks"
                && (without_counts(go) == without_counts(ours)
                    || claims_a_count(case) && without_sets(go) == without_sets(ours))
        },
    },
    Exemption {
        name: "forged subject total of zero",
        reason: "an index with a valid hash lists a subject without messages; the server's total wraps below zero, ours drops the subject",
        applies: |difference, _, _| {
            difference.go.contains(&(u64::MAX / 10_000).to_string()) || only_zeros(difference)
        },
    },
    Exemption {
        name: "two names for one block",
        reason: "the server counts such a block twice; we ask for the copy to be taken away first",
        applies: |_, _, case| ambiguous(case),
    },
    Exemption {
        name: "last-record hash of an encrypted block after a cut",
        reason: "the server stores eight bytes of ciphertext there, and rejects its own index at the next start",
        applies: |difference, _, case| {
            difference.field == "disk: index.db last record hash" && !case.ask.key.is_empty()
        },
    },
];

/// Whether both sides list the same timers, or begin alike where the list is clipped, under another stamp.
fn differs_in_stamp(difference: &Difference) -> bool {
    fn entries(text: &str) -> Option<&str> {
        let (_, entries) = text.strip_prefix("Some((")?.split_once(", ")?;
        Some(entries.split_once('…').map_or(entries, |(shown, _)| shown))
    }
    match (entries(&difference.go), entries(&difference.ours)) {
        (Some(go), Some(ours)) => go.starts_with(ours) || ours.starts_with(go),
        _ => false,
    }
}

fn created_a_block(report: &StreamReport) -> bool {
    let mut actions = report.actions.iter();
    actions.any(|action| action.kind == ActionKind::CreateBlock)
}

/// Whether the stream's own configuration wants its blocks compressed.
fn compresses(case: &Case) -> bool {
    let wanted = br#""compression":"s2""#;
    let meta = case.tree.get("meta.inf");
    meta.is_some_and(|meta| meta.windows(wanted.len()).any(|part| part == wanted))
}

/// The block list without the declared number of deleted sequences.
fn without_counts(blocks: &str) -> String {
    let mut words = blocks.split(' ').peekable();
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        out.push(word);
        if word == "deleted" {
            words.next();
        }
    }
    out.join(" ")
}

/// The block list without what is deleted.
fn without_sets(blocks: &str) -> Vec<&str> {
    let blocks = blocks.split(']');
    blocks
        .map(|block| block.split(" deleted ").next().unwrap_or_default())
        .collect()
}

/// Whether the index claims for a deleted set another count than the set has.
fn claims_a_count(case: &Case) -> bool {
    let index = Vault::new(&case.ask).index(&case.tree);
    index.is_some_and(|index| {
        let mut blocks = index.blocks.iter();
        blocks.any(|block| u64::from(block.deleted_declared_count) != block.deleted.len())
    })
}

fn told(report: &StreamReport, code: EventCode) -> bool {
    report.events.iter().any(|event| event.code == code)
}

/// Whether a name in `msgs` is a block to the server and none to us.
fn ambiguous(case: &Case) -> bool {
    let odd = |path: &str| {
        path.strip_prefix("msgs/").is_some_and(|name| {
            lax_block_number(name.as_bytes()).is_some() && block_number(name.as_bytes()).is_none()
        })
    };
    case.tree.0.keys().any(|path| odd(path))
}

/// Whether both sides list the same blocks, and ours counts no more timers in any.
fn counters_lower(difference: &Difference) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .collect()
    };
    let (go, ours) = (numbers(&difference.go), numbers(&difference.ours));
    go.len() == ours.len() && go.iter().zip(&ours).all(|(go, ours)| ours <= go)
}

/// Whether the server lists nothing more than subjects without a message.
fn only_zeros(difference: &Difference) -> bool {
    if difference.field == "disk: index.db subjects" {
        let listed: Option<Vec<String>> = serde_json::from_str(&difference.go).ok();
        let is_zero = |entry: &String| entry.split(' ').nth(1) == Some("0");
        return difference.ours == "[]" && listed.is_some_and(|list| list.iter().all(is_zero));
    }
    let listed: Option<std::collections::BTreeMap<String, u64>> =
        serde_json::from_str(&difference.go).ok();
    difference.field == "subjects"
        && difference.ours == "{}"
        && listed.is_some_and(|subjects| subjects.values().all(|total| *total == 0))
}

/// Whether the server may still have been correcting its totals on the side when it was asked.
pub fn races(found: &[Difference], report: &StreamReport) -> bool {
    let totals = [
        "messages",
        "bytes",
        "first_seq",
        "first_ts",
        "last_seq",
        "last_ts",
        "lost",
        // Read up to where the totals reached before they were corrected.
        "unreadable",
    ];
    let codes = [
        EventCode::CacheRangeCorrupt,
        EventCode::CacheRecordCorrupt,
        EventCode::BlockLoadFailed,
    ];
    found
        .iter()
        .any(|difference| totals.contains(&difference.field.as_str()))
        && (report.source == Some(Source::Index) || told(report, EventCode::LegacyIdxUsed))
        && codes.iter().any(|code| told(report, *code))
}

/// Takes out the differences that are meant, and names them.
pub fn exempt(found: &mut Differences, report: &StreamReport, case: &Case) -> Vec<&'static str> {
    let mut names = vec![];
    found.0.retain(|difference| {
        let matching = EXEMPTIONS
            .iter()
            .find(|e| (e.applies)(difference, report, case));
        names.extend(matching.map(|e| e.name));
        matching.is_none()
    });
    names.dedup();
    names
}
