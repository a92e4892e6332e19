//! Where jetsam differs on purpose: each with its reason, and counted.

use crate::compare::{Difference, Differences};
use jetsam::recovery::events::EventCode;
use jetsam::recovery::report::StreamReport;

use crate::run::Case;

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
        name: "two names for one block",
        reason: "the server counts such a block twice; we ask for the copy to be taken away first",
        applies: |difference, report, _| {
            difference.field.starts_with("outcome ") && told(report, EventCode::BlockNameAmbiguous)
        },
    },
    Exemption {
        name: "last-record hash of an encrypted block after a cut",
        reason: "the server stores eight bytes of ciphertext there, and rejects its own index at the next start",
        applies: |difference, _, case| {
            difference.field == "disk: index.db last record hash" && !case.ask.key.is_empty()
        },
    },
];

fn told(report: &StreamReport, code: EventCode) -> bool {
    report.events.iter().any(|event| event.code == code)
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
