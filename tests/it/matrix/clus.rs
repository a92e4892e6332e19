//! Rows about clusters, as far as they concern one directory.

use super::{both, bounds, deleted, each};

#[test]
fn r254_copied_right_after_creation() {
    each("R254", "", |_, report| {
        assert_eq!(bounds(report), (0, 0, 0))
    });
}

#[test]
fn r256_messages_wiped() {
    each("R256", "whole", |_, report| {
        assert_eq!(bounds(report), (0, 100_000_020, 100_000_019))
    });
    // The directory alone does not know; the other replicas do.
    each("R256", "wiped", |case, report| {
        assert!(case.list("msgs").is_empty());
        assert_eq!(bounds(report), (0, 0, 0));
    });
}

#[test]
fn r266_half_done_truncation() {
    both("R266", "half-", (1, 1, 2), |_, report| {
        assert_eq!(deleted(report), [2])
    });
    both("R266", "cut-", (1, 1, 1), |_, report| {
        assert!(deleted(report).is_empty())
    });
}

#[test]
fn r339_raised_limit() {
    each("R339", "raised", |_, report| {
        assert_eq!(bounds(report), (50, 1, 50))
    });
    each("R339", "older", |_, report| {
        assert_eq!(bounds(report), (10, 41, 50))
    });
}
