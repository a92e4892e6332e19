//! Where Go's store itself errs: what a disagreement there is called, and what scripts keep out of.
//!
//! The names are those of the list of Go's faults: L1 to L32 and G1 to G10. Rows are judged in order; the first that fits
//! names the disagreement, which is counted and not reported, and ends the seed.

use serde_json::Value;

use crate::driver::is_silent;

/// What was asked and what came of it; the right side is the reference.
pub struct Differing<'a> {
    pub request: &'a Value,
    pub left: &'a Value,
    pub right: &'a Value,
    /// The stream's configuration at that moment.
    pub stream: &'a Value,
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
                && !is_silent(d.left)
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
];

/// The fault of the reference that explains a disagreement.
pub fn exemption(differing: &Differing<'_>) -> Option<&'static Exemption> {
    EXEMPTIONS.iter().find(|row| (row.fits)(differing))
}
