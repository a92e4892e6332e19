use super::*;
use crate::format::seqset::SeqSet;
use crate::testing::layout::Touched;
use crate::testing::{Damage, Service, svg};

fn score(expected: u64, lost: u64) -> Score {
    Score {
        service: Service::Opened,
        expected,
        kept: expected - lost,
        lost,
        lost_untouched: 0,
        wrong: 0,
        revived: 0,
        unknown: 0,
    }
}

fn outcome(kind: DamageKind, number: u64, scores: Vec<Score>) -> Outcome {
    Outcome {
        number,
        damage: Damage {
            kind,
            seed: 1,
            summary: "what was done".into(),
            files: Vec::new(),
            touched: Touched::default(),
            behind_keys: SeqSet::new(),
            purged: SeqSet::new(),
            undecided: SeqSet::new(),
        },
        scores,
    }
}

fn report() -> Report {
    let kinds = [DamageKind::FlipBlock, DamageKind::CutTail];
    let outcomes = [
        outcome(
            DamageKind::FlipBlock,
            0,
            vec![score(1000, 190), score(1000, 0)],
        ),
        outcome(
            DamageKind::FlipBlock,
            1,
            vec![score(1000, 0), score(1000, 0)],
        ),
        outcome(
            DamageKind::CutTail,
            0,
            vec![score(1000, 1000), score(1000, 1)],
        ),
    ];
    let rows = kinds.map(|kind| Row::of(kind, &outcomes, 2));
    let store = |name: &str| StoreResults {
        store: name.into(),
        messages: 1000,
        deleted: 3,
        blocks: 4,
        block_bytes: 300_000,
        rows: rows.to_vec(),
    };
    Report {
        jetsam: "0".into(),
        seed: 1,
        count: 2,
        recoverers: vec!["A <\"&> B".into(), "jetsam salvage".into()],
        stores: vec![store("plain"), store("s2")],
    }
}

#[test]
fn percents_round_to_neither_end() {
    let sum = |expected, lost| {
        let mut sum = Sum::default();
        sum.add(0, &score(expected, lost));
        percent(&sum)
    };
    assert_eq!(sum(100, 0), "100 %");
    assert_eq!(sum(0, 0), "100 %");
    assert_eq!(sum(100, 100), "0 %");
    assert_eq!(sum(1_000_000_000, 1), "99.999 %");
    assert_eq!(sum(1_000_000_000, 999_999_999), "0.001 %");
    assert_eq!(sum(1000, 190), "81.0 %");
    assert_eq!(sum(100_000, 7), "99.993 %");
}

#[test]
fn the_stores_are_summed() {
    let overall = report().overall();
    assert_eq!(overall.len(), 2);
    assert_eq!(overall[0].damage, "flip-block");
    assert_eq!(
        (overall[0].sums[0].cases, overall[0].sums[0].lost),
        (4, 380)
    );
    assert_eq!(overall[1].sums[1].lost, 2);
}

#[test]
fn markdown_has_a_row_for_every_kind() {
    let page = report().markdown();
    assert!(
        page.contains("| flip-block | 4 | 90.5 % | 380 | 2 | 190 | 100 % | 0 | 4 | 0 |"),
        "{page}"
    );
    assert_eq!(page.matches("| cut-tail |").count(), 3, "{page}");
}

#[test]
fn pictures_are_well_formed_and_tell_the_shares() {
    let report = report();
    let pictures = [
        svg::overall(&report),
        svg::of_store(&report, "s2").expect("a store"),
    ];
    for picture in pictures {
        let document = roxmltree::Document::parse(&picture).expect("well-formed");
        let texts: Vec<&str> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .filter_map(|node| node.text())
            .collect();
        for text in ["A <\"&> B", "jetsam salvage", "flip-block", "90.5 %", "0 %"] {
            assert!(texts.contains(&text), "{text} in {texts:?}");
        }
        // Two kinds, two recoverers; the others are background and legend.
        let bars = document.descendants().filter(|node| {
            node.has_tag_name("rect") && node.children().any(|child| child.has_tag_name("title"))
        });
        let widths: Vec<&str> = bars.filter_map(|bar| bar.attribute("width")).collect();
        assert_eq!(widths.len(), 4);
        assert_eq!((widths[1], widths[2]), ("680.0", "0.0"));
    }
    assert!(svg::of_store(&report, "nothing").is_none());
}

#[test]
fn breaches_are_what_the_damage_does_not_account_for() {
    let kind = DamageKind::FlipBlock;
    let with = |change: fn(&mut Score)| {
        let mut score = score(10, 1);
        change(&mut score);
        vec![outcome(kind, 7, vec![score])]
    };
    let one_bit = with(|_| {});
    assert_eq!(breaches(&one_bit, 0, false).len(), 1);
    assert_eq!(breaches(&one_bit, 0, true).len(), 0);
    assert_eq!(breaches(&one_bit, 1, false).len(), 0, "no such recoverer");
    let swapped = outcome(DamageKind::SwappedFiles, 7, vec![score(10, 1)]);
    assert_eq!(breaches(&[swapped], 0, true).len(), 1);
    for wrong in [
        with(|score| score.wrong = 1),
        with(|score| score.lost_untouched = 1),
        with(|score| score.unknown = 1),
    ] {
        assert_eq!(breaches(&wrong, 0, true).len(), 1, "{wrong:?}");
        assert_eq!(breaches(&wrong, 0, true)[0].number, 7);
    }
}
