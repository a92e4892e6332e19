use super::*;
use crate::env::FileSystem as _;
use crate::env::ReadFiles;
use crate::format::seqset::SeqSet;
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

/// A purge that has moved the key of its new block ahead, and not the block: the server cannot open that, and keeps
/// everything.
#[test]
fn a_purge_killed_between_key_and_block_costs_nothing() {
    let store = small(StoreKind::Aes);
    let sweep = Sweep {
        store: &store,
        damages: &[DamageKind::KilledPurge],
        count: 30,
        first: 0,
        seed: 5,
        recoverers: &[&ServerPolicy, &Salvage],
        threads: 2,
    };
    let outcomes = sweep
        .run(&|_| {}, &AtomicBool::new(false))
        .expect("results");
    let (live, mut seen) = (store.reference.live().len(), 0);
    for outcome in outcomes {
        if !outcome.damage.summary.ends_with("KeyMoved") {
            continue;
        }
        seen += 1;
        for score in &outcome.scores {
            assert_eq!((score.expected, score.kept), (live, live), "{score:?}");
        }
    }
    assert!(seen > 0);
}

/// Two thousand flips that no hash covers: with an index all are mended, and with nothing but the messages to tell which
/// subjects there are, nineteen of twenty.
#[test]
fn flipped_subject_lengths_are_mended() {
    let workload = Workload::new(StoreKind::Plain, 10_000, 11).with_block_size(1 << 20);
    let store = workload.killed().build().expect("a store");
    let layout = Layout::read(&store.files, &store.stream, &store.access).expect("a layout");
    let files = store.files.fork();
    let mut records = Vec::new();
    for block in &layout.blocks {
        let messages = block.records.iter();
        records.extend(
            messages
                .filter(|record| record.kind == crate::format::record::RecordKind::Message)
                .map(|record| (&block.path, record.content.start as usize)),
        );
    }
    let mut flips: std::collections::BTreeMap<&str, Vec<(usize, u8)>> = Default::default();
    for (nth, (path, start)) in records.iter().step_by(4).take(2_000).enumerate() {
        let bit = nth * 5 % 16;
        let at = (start + 20 + bit / 8, 1 << (bit % 8));
        flips.entry(path).or_default().push(at);
    }
    for (path, flips) in flips {
        let path = store.stream.dir.join(path);
        let mut bytes = files.read(&path, u64::MAX).expect("a block");
        for (at, mask) in flips {
            bytes[at] ^= mask;
        }
        files.write_in_place(&path, &bytes).expect("written");
    }
    let index = store.stream.dir.join("msgs/index.db");
    let damage = Damage {
        kind: DamageKind::FlipMany,
        seed: 0,
        summary: String::new(),
        files: Vec::new(),
        touched: crate::testing::layout::Touched::default(),
        behind_keys: SeqSet::new(),
        purged: SeqSet::new(),
        undecided: SeqSet::new(),
    };
    for is_index_there in [true, false] {
        if !is_index_there {
            files.remove_file(&index).expect("removed");
        }
        let case = Case {
            files: &files,
            stream: &store.stream,
            access: &store.access,
            damage: &damage,
        };
        let mut tally = Tally::new(&store.reference, case.damage);
        let service = Salvage.survivors(&case, &mut tally).expect("an answer");
        let score = tally.finish(service);
        // Without an index a subject that is rare in its block cannot be told: some stay as they lie.
        let most = if is_index_there { 0 } else { 100 };
        assert!(
            score.lost <= most && score.wrong <= most,
            "index: {is_index_there}, {score:?}"
        );
    }
}
