//! Source positions and `sources.db`.

use std::collections::BTreeMap;

use jetsam::report::stream::StreamReport;

use super::{bounds, cases, each};

/// Sequence and identity by key.
fn positions(report: &StreamReport) -> BTreeMap<String, (u64, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    report
        .sources
        .iter()
        .flatten()
        .map(|(key, at)| (text(key), (at.seq, text(&at.identity))))
        .collect()
}

fn at(list: &[(&str, u64, &str)]) -> BTreeMap<String, (u64, String)> {
    list.iter()
        .map(|(key, seq, identity)| ((*key).to_owned(), (*seq, (*identity).to_owned())))
        .collect()
}

#[test]
fn r287_from_the_file() {
    each("R287", "", |case, report| {
        assert!(case.server_blocks() >= 2);
        assert_eq!(positions(report), at(&[("ORIGIN > >", 10, "IdORIGIN")]));
    });
}

#[test]
fn r288_from_the_headers() {
    each("R288", "", |case, report| {
        assert!(case.list("").iter().all(|name| name != "sources.db"));
        assert_eq!(positions(report), at(&[("ORIGIN > >", 10, "IdORIGIN")]));
    });
}

#[test]
fn r290_old_headers_in_a_forward_scan() {
    each("R290", "", |_, report| {
        assert_eq!(positions(report), at(&[("ORIGIN > >", 10, "")]))
    });
}

#[test]
fn r291_source_taken_out() {
    each("R291", "", |_, report| {
        assert_eq!(positions(report), at(&[("ORIGIN1 > >", 1, "IdORIGIN1")]));
    });
}

#[test]
fn r293_added_source_keeps_the_others() {
    for label in ["backward", "linear"] {
        each("R293", label, |_, report| {
            let want = at(&[("ORIGIN1 > >", 10, "IdORIGIN1"), ("ORIGIN2 > >", 0, "")]);
            assert_eq!(positions(report), want);
        });
    }
}

#[test]
fn r294_outdated_file() {
    each("R294", "", |_, report| {
        let want = at(&[
            ("ORIGIN0 foo.0 >", 30, "Id0"),
            ("ORIGIN1 foo.1 >", 30, "Id1"),
            ("ORIGIN2 foo.2 >", 30, "Id2"),
        ]);
        assert_eq!(positions(report), want);
    });
}

#[test]
fn r296_one_message_after_the_file() {
    each("R296", "", |_, report| {
        assert_eq!(bounds(report), (6, 1, 6));
        assert_eq!(positions(report), at(&[("ORIGIN > >", 6, "IdORIGIN")]));
    });
    assert_eq!(cases("R296", "").len(), 4);
}

#[test]
fn r297_old_header_after_the_file() {
    each("R297", "", |_, report| {
        assert_eq!(positions(report), at(&[("ORIGIN > >", 9, "")]))
    });
}

#[test]
fn r299_from_nothing_to_gone() {
    each("R299", "none", |_, report| {
        assert_eq!(positions(report), at(&[("ORIGIN > >", 0, "")]))
    });
    each("R299", "one", |_, report| {
        assert_eq!(positions(report), at(&[("ORIGIN > >", 1, "IdORIGIN")]))
    });
    each("R299", "gone", |_, report| {
        assert!(positions(report).is_empty())
    });
}

#[test]
fn r300_positions_outlive_a_purge() {
    each("R300", "fresh", |_, report| {
        assert_eq!(positions(report), at(&[("ORIGIN > >", 5, "IdORIGIN")]))
    });
    each("R300", "purged", |_, report| {
        assert_eq!(bounds(report), (0, 6, 5));
        assert_eq!(positions(report), at(&[("ORIGIN > >", 5, "IdORIGIN")]));
    });
    each("R300", "lost", |_, report| {
        assert_eq!(positions(report), at(&[("ORIGIN > >", 0, "")]))
    });
}
