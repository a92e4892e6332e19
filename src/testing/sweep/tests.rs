use super::*;
use crate::testing::recoverers::ServerPolicy;
use crate::testing::workload::tests::small;
use crate::testing::{DamageKind, Salvage, StoreKind, Workload, breaches};

fn run(kind: StoreKind, damages: &[DamageKind], threads: usize) -> Vec<Outcome> {
    let store = small(kind);
    let sweep = Sweep {
        store: &store,
        damages,
        count: 5,
        first: 0,
        seed: 3,
        recoverers: &[&ServerPolicy],
        threads,
    };
    let cancel = AtomicBool::new(false);
    sweep.run(&|_| {}, &cancel).expect("results")
}

#[test]
fn any_number_of_threads_gives_the_same_results() {
    let damages = [DamageKind::CutTail, DamageKind::FlipBlock];
    let (one, three) = (
        run(StoreKind::S2, &damages, 1),
        run(StoreKind::S2, &damages, 3),
    );
    assert_eq!(one.len(), 10);
    assert_eq!(one, three);
}

#[test]
fn a_cut_tail_costs_what_it_cut_and_no_more() {
    for kind in [StoreKind::Plain, StoreKind::Aes] {
        for outcome in run(kind, &[DamageKind::CutTail], 2) {
            let score = outcome.scores[0];
            assert_eq!(score.lost_untouched, 0, "{kind:?} {}", outcome.damage);
            assert_eq!(
                score.lost,
                outcome.damage.touched.messages.len()
                    - outcome
                        .damage
                        .touched
                        .messages
                        .iter()
                        .filter(|seq| !small(kind).reference.live().contains(*seq))
                        .count() as u64,
                "{kind:?} {}",
                outcome.damage
            );
        }
    }
}

#[test]
fn what_cannot_be_done_gives_no_result() {
    assert!(run(StoreKind::Plain, &[DamageKind::FlipKey], 1).is_empty());
}

#[test]
fn a_recoverer_that_fails_is_not_a_loss() {
    struct Broken;
    impl Recoverer for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn survivors(&self, _: &Case<'_>, _: &mut Tally<'_>) -> Result<Service, String> {
            Err("no such program".into())
        }
    }
    let store = small(StoreKind::Plain);
    let sweep = Sweep {
        store: &store,
        damages: &[DamageKind::FlipBlock],
        count: 3,
        first: 0,
        seed: 3,
        recoverers: &[&Broken],
        threads: 1,
    };
    let failed = sweep.run(&|_| {}, &AtomicBool::new(false));
    let Err(SweepError::Failed(why)) = failed else {
        panic!("{failed:?}")
    };
    assert!(why.starts_with("broken: case 0: flip-block"), "{why}");
    assert!(why.ends_with("no such program"), "{why}");
}

#[test]
fn sums_keep_the_worst_case() {
    let score = |lost| Score {
        service: Service::Opened,
        expected: 10,
        kept: 10 - lost,
        lost,
        lost_untouched: 0,
        wrong: 0,
        revived: 0,
        unknown: 0,
    };
    let mut sum = Sum::default();
    for (number, lost) in [0, 4, 1].into_iter().enumerate() {
        sum.add(number as u64, &score(lost));
    }
    assert_eq!((sum.cases, sum.cases_without_loss, sum.lost), (3, 1, 5));
    assert_eq!((sum.lost_most, sum.worst_case), (4, Some(1)));
    assert!((sum.kept_share() - 25.0 / 30.0).abs() < 1e-12);
    assert_eq!(Sum::default().kept_share(), 1.0);
}

/// What salvage promises, on a small scale: nothing is lost to one bit, and else nothing that was not touched.
#[test]
fn salvage_loses_what_was_touched_and_no_more() {
    let mut wrong = Vec::new();
    for kind in StoreKind::ALL {
        let clean = Workload::new(kind, 500, 11).with_block_size(32_000);
        for workload in [clean, clean.killed()] {
            let store = workload.build().expect("a store");
            let mut outcomes = Vec::new();
            let (flips, others) = DamageKind::ALL.split_at(5);
            for (damages, count) in [(flips, 20), (others, 5)] {
                let sweep = Sweep {
                    store: &store,
                    damages,
                    count,
                    first: 0,
                    seed: 5,
                    recoverers: &[&Salvage],
                    threads: 2,
                };
                let cancel = AtomicBool::new(false);
                outcomes.extend(sweep.run(&|_| {}, &cancel).expect("results"));
            }
            assert!(outcomes.len() > 120, "{}", outcomes.len());
            let breaches = breaches(&outcomes, 0, kind.is_compressed()).into_iter();
            wrong.extend(breaches.map(|breach| (kind, workload.killed, breach)));
        }
    }
    assert!(wrong.is_empty(), "{}: {wrong:#?}", wrong.len());
}
