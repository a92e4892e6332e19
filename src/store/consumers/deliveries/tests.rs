//! The rules by their vectors, and against a model that looks at every sequence.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn pair(consumer: u64, stream: u64) -> SequencePair {
    SequencePair { consumer, stream }
}

fn machine(policy: AckPolicy, max_deliver: u64) -> Deliveries {
    let rules = AckRules {
        policy,
        max_deliver,
    };
    Deliveries::new(rules, ConsumerState::default())
}

fn pending(consumer_sequence: u64) -> Pending {
    Pending {
        consumer_sequence,
        timestamp_ns: 7,
    }
}

/// Delivers, each for the first time.
fn deliver_all(machine: &mut Deliveries, delivered: &[(u64, u64)]) {
    for &(consumer, stream) in delivered {
        machine.deliver(pair(consumer, stream), 1, 7).unwrap();
    }
}

fn floor(machine: &Deliveries) -> (u64, u64) {
    let floor = machine.state().ack_floor;
    (floor.consumer, floor.stream)
}

fn waiting(machine: &Deliveries) -> Vec<u64> {
    machine.state().pending.keys().copied().collect()
}

#[test]
fn e215_an_update_that_contradicts_itself_is_refused_and_changes_nothing() {
    let mut machine = machine(AckPolicy::None, 0);
    let mut state = ConsumerState {
        delivered: pair(1, 22),
        ..ConsumerState::default()
    };
    machine.update(state.clone()).unwrap();
    let before = machine.state().clone();
    let mut refused = |state: &ConsumerState, fault| {
        let error = ConsumerError::BadState(fault);
        assert_eq!(machine.update(state.clone()), Err(error.clone()));
        assert_eq!(machine.force_update(state.clone()), Err(error));
        assert_eq!((machine.state(), machine.revision()), (&before, 1));
    };
    state.delivered = pair(100, 122);
    state.ack_floor = pair(50, 123);
    let (floor, delivered) = (123, 122);
    refused(&state, StateFault::StreamFloor { floor, delivered });
    state.ack_floor = pair(200, 100);
    let (floor, delivered) = (200, 100);
    refused(&state, StateFault::ConsumerFloor { floor, delivered });
    state.ack_floor = pair(50, 72);
    for sequence in [70, 72, 123, 140] {
        state.pending = [(sequence, pending(1)), (100, pending(2))].into();
        let (floor, delivered) = (72, 122);
        let fault = StateFault::Pending {
            sequence,
            floor,
            delivered,
        };
        refused(&state, fault);
    }
    for sequences in [&[73, 122][..], &[75, 80, 83, 90, 111], &[]] {
        state.pending = sequences.iter().map(|seq| (*seq, pending(0))).collect();
        state.redelivered = [(22, 3), (44, 8)].into();
        machine.update(state.clone()).unwrap();
        assert_eq!(machine.state(), &state);
    }
}

#[test]
fn e219_without_acknowledgements_the_floor_follows() {
    let mut machine = machine(AckPolicy::None, 0);
    for (consumer, stream) in [(1, 100), (2, 110), (5, 130)] {
        machine.deliver(pair(consumer, stream), 1, 7).unwrap();
        let expected = ConsumerState {
            ack_floor: pair(consumer, stream),
            delivered: pair(consumer, stream),
            ..ConsumerState::default()
        };
        assert_eq!(machine.state(), &expected);
    }
    let before = (machine.state().clone(), machine.revision());
    assert_eq!(machine.ack(pair(1, 100)), Err(ConsumerError::NoAckPolicy));
    for count in [0, 2] {
        let again = machine.deliver(pair(5, 130), count, 7);
        assert_eq!(again, Err(ConsumerError::NoAckPolicy));
    }
    // An old number of the consumer is passed over, and each of the two moves alone.
    machine.deliver(pair(5, 999), 1, 7).unwrap();
    assert_eq!((machine.state().clone(), machine.revision()), before);
    machine.deliver(pair(6, 120), 1, 7).unwrap();
    assert_eq!(machine.state().delivered, pair(6, 130));
    assert_eq!(floor(&machine), (6, 130));
}

#[test]
fn e220_floors_after_acknowledgements_in_and_out_of_order() {
    let mut machine = machine(AckPolicy::Explicit, 0);
    deliver_all(
        &mut machine,
        &[(1, 100), (2, 110), (3, 130), (4, 150), (5, 165)],
    );
    for (consumer, sequence) in [(3, 101), (1, 1)] {
        let refused = machine.ack(pair(consumer, sequence));
        assert_eq!(refused, Err(ConsumerError::NotPending { sequence }));
    }
    for (acked, expected) in [
        ((1, 100), (1, 109)),
        ((3, 130), (1, 109)),
        ((2, 110), (3, 149)),
        ((5, 165), (3, 149)),
        ((4, 150), (5, 165)),
    ] {
        machine.ack(pair(acked.0, acked.1)).unwrap();
        assert_eq!(floor(&machine), expected, "{acked:?}");
    }
    // What is acknowledged already is passed over.
    let revision = machine.revision();
    machine.ack(pair(4, 150)).unwrap();
    assert_eq!(machine.revision(), revision);
    deliver_all(
        &mut machine,
        &[(6, 170), (7, 171), (8, 172), (9, 173), (10, 200)],
    );
    machine.ack(pair(7, 171)).unwrap();
    machine.ack(pair(8, 172)).unwrap();
    assert_eq!(floor(&machine), (5, 165));
    assert_eq!(waiting(&machine), [170, 173, 200]);
}

#[test]
fn one_by_one_with_a_second_delivery_in_between() {
    let mut machine = machine(AckPolicy::Explicit, 0);
    deliver_all(&mut machine, &[(1, 10), (2, 20), (3, 30), (4, 40)]);
    machine.ack(pair(3, 30)).unwrap();
    assert_eq!(floor(&machine), (0, 0));
    machine.ack(pair(1, 10)).unwrap();
    assert_eq!(floor(&machine), (1, 19));
    machine.deliver(pair(5, 20), 2, 9).unwrap();
    let again = machine.state().pending[&20];
    assert_eq!((again.consumer_sequence, again.timestamp_ns), (2, 9));
    machine.ack(pair(5, 20)).unwrap();
    assert_eq!(floor(&machine), (3, 39));
    machine.ack(pair(4, 40)).unwrap();
    assert_eq!(floor(&machine), (5, 40));
    assert_eq!(machine.state().delivered, pair(5, 40));
    assert_eq!(
        machine.ack(pair(9, 90)),
        Err(ConsumerError::NotPending { sequence: 90 })
    );
}

#[test]
fn a_message_delivered_too_often_no_longer_waits() {
    let mut machine = machine(AckPolicy::Explicit, 2);
    for count in 1..=2 {
        machine.deliver(pair(count, 5), count, 7).unwrap();
        assert_eq!(waiting(&machine), [5]);
    }
    machine.deliver(pair(3, 5), 3, 7).unwrap();
    assert_eq!(machine.state().pending, BTreeMap::new());
    assert_eq!(machine.state().redelivered, [(5, 2)].into());
    // A count seen late does not take back what is known.
    machine.deliver(pair(4, 5), 2, 7).unwrap();
    assert_eq!(machine.state().redelivered, [(5, 2)].into());
}

#[test]
fn e218_a_refused_acknowledgement_still_forgets_the_second_delivery() {
    let mut machine = machine(AckPolicy::Explicit, 1);
    machine.deliver(pair(1, 1), 1, 7).unwrap();
    machine.deliver(pair(2, 1), 2, 7).unwrap();
    let revision = machine.revision();
    assert_eq!(
        machine.ack(pair(2, 1)),
        Err(ConsumerError::NotPending { sequence: 1 })
    );
    assert_eq!(machine.state().redelivered, BTreeMap::new());
    assert!(machine.revision() > revision);
}

#[test]
fn e237_acknowledging_all_goes_by_the_first_delivery() {
    for policy in [AckPolicy::All, AckPolicy::FlowControl] {
        let mut machine = machine(policy, 0);
        deliver_all(&mut machine, &[(1, 1), (2, 2), (3, 3)]);
        machine.deliver(pair(4, 1), 2, 7).unwrap();
        machine.ack(pair(4, 1)).unwrap();
        assert_eq!(floor(&machine), (1, 1));
        assert_eq!(waiting(&machine), [2, 3]);
        let stored = ConsumerState {
            delivered: pair(4, 3),
            ack_floor: pair(4, 1),
            pending: [(2, pending(2)), (3, pending(3))].into(),
            ..ConsumerState::default()
        };
        machine.update(stored).unwrap();
        machine.ack(pair(3, 3)).unwrap();
        assert_eq!(floor(&machine), (4, 3));
        assert!(machine.state().pending.is_empty());
    }
}

#[test]
fn acknowledging_all_over_a_gap_forgets_only_what_waited() {
    let state = |waits: &[u64]| ConsumerState {
        delivered: pair(9, 9),
        pending: waits.iter().map(|seq| (*seq, pending(*seq))).collect(),
        redelivered: [(2, 1), (3, 1), (9, 1)].into(),
        ..ConsumerState::default()
    };
    let acked = |waits: &[u64]| {
        let mut machine = machine(AckPolicy::All, 0);
        machine.update(state(waits)).unwrap();
        machine.ack(pair(4, 4)).unwrap();
        let left = machine.state().redelivered.keys().copied();
        left.collect::<Vec<u64>>()
    };
    // Four to go, three wait; then four wait.
    assert_eq!(acked(&[1, 3, 4]), [2, 9]);
    assert_eq!(acked(&[1, 3, 4, 8]), [9]);
}

#[test]
fn e224_backwards_only_by_force() {
    let mut machine = machine(AckPolicy::None, 0);
    let at = |delivered, ack_floor| ConsumerState {
        delivered,
        ack_floor,
        ..ConsumerState::default()
    };
    machine.update(at(pair(5, 5), pair(5, 5))).unwrap();
    let back = at(pair(1, 4), pair(1, 3));
    assert_eq!(
        machine.update(back.clone()),
        Err(ConsumerError::OldUpdate {
            held_delivered: 5,
            given_delivered: 1,
            held_floor: 5,
            given_floor: 3,
        })
    );
    let lower_floor = machine.update(at(pair(9, 9), pair(9, 4)));
    assert!(matches!(lower_floor, Err(ConsumerError::OldUpdate { .. })));
    machine.force_update(back.clone()).unwrap();
    assert_eq!(machine.state(), &back);
}

#[test]
fn a_starting_point_is_set_raised_and_reset() {
    let mut explicit = machine(AckPolicy::Explicit, 0);
    explicit.set_starting(100).unwrap();
    assert_eq!(
        (explicit.state().delivered, floor(&explicit)),
        (pair(0, 100), (0, 100))
    );
    explicit.update_starting(90).unwrap();
    explicit.update_starting(120).unwrap();
    assert_eq!(
        (explicit.state().delivered, floor(&explicit)),
        (pair(0, 120), (0, 100))
    );
    deliver_all(&mut explicit, &[(1, 130)]);
    explicit.reset(50).unwrap();
    let expected = ConsumerState {
        delivered: pair(0, 50),
        ack_floor: pair(0, 50),
        ..ConsumerState::default()
    };
    assert_eq!(explicit.state(), &expected);
    let mut none = machine(AckPolicy::None, 0);
    none.update_starting(8).unwrap();
    assert_eq!(floor(&none), (0, 8));
}

#[test]
fn trimming_forgets_below_and_nothing_else() {
    let mut machine = machine(AckPolicy::Explicit, 0);
    let state = ConsumerState {
        delivered: pair(9, 9),
        redelivered: [(2, 1), (5, 1), (6, 3)].into(),
        ..ConsumerState::default()
    };
    machine.update(state).unwrap();
    for (below, left, changes) in [(0, 3, 0), (2, 3, 0), (6, 1, 1), (6, 1, 0), (7, 0, 1)] {
        let revision = machine.revision();
        machine.trim(below);
        assert_eq!(machine.state().redelivered.len(), left, "below {below}");
        assert_eq!(machine.revision() - revision, changes, "below {below}");
    }
}

#[test]
fn a_sequence_that_would_not_come_back_from_disk_is_refused() {
    let sequence = 1 << 63;
    let refused = Err(ConsumerError::SequenceTooHigh { sequence });
    let mut machine = machine(AckPolicy::Explicit, 0);
    assert_eq!(machine.deliver(pair(1, sequence), 1, 7), refused);
    assert_eq!(machine.set_starting(sequence), refused);
    assert_eq!(machine.update_starting(sequence), refused);
    assert_eq!(machine.reset(sequence), refused);
    let state = ConsumerState {
        delivered: pair(1, sequence),
        ..ConsumerState::default()
    };
    assert_eq!(machine.update(state), refused);
    assert_eq!(machine.revision(), 0);
    machine.deliver(pair(1, sequence - 1), 1, 7).unwrap();
    machine.ack(pair(1, sequence - 1)).unwrap();
    assert_eq!(floor(&machine), (1, sequence - 1));
}

/// The rules once more, sequence by sequence, for sequences up to [`Model::END`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    delivered: [u64; 2],
    floor: [u64; 2],
    /// First delivery and time.
    waits: BTreeMap<u64, (u64, i64)>,
    again: BTreeMap<u64, u64>,
}

impl Model {
    const END: u64 = 24;

    fn deliver(&mut self, rules: AckRules, d: u64, s: u64, count: u64, time: i64) -> bool {
        let none = rules.policy == AckPolicy::None;
        if none && count != 1 {
            return false;
        }
        if d <= self.floor[0] {
            return true;
        }
        let is_further = [d > self.delivered[0], s > self.delivered[1]];
        for (at, number) in [d, s].into_iter().enumerate() {
            if is_further[at] {
                self.delivered[at] = number;
                if none {
                    self.floor[at] = number;
                }
            }
        }
        if none {
            return true;
        }
        match (is_further[1], self.waits.get(&s).copied()) {
            (true, _) => drop(self.waits.insert(s, (d, time))),
            (false, Some((first, _))) => drop(self.waits.insert(s, (first, time))),
            (false, None) => {}
        }
        if count >= 2 {
            if rules.max_deliver != 0 && rules.max_deliver < count {
                self.waits.remove(&s);
            }
            let known = self.again.get(&s).copied().unwrap_or(0);
            self.again.insert(s, known.max(count - 1));
        }
        true
    }

    fn ack(&mut self, rules: AckRules, d: u64, s: u64) -> bool {
        if rules.policy == AckPolicy::None {
            return false;
        }
        self.again.remove(&s);
        let all = rules.policy != AckPolicy::Explicit;
        if all && s <= self.floor[1] || !all && d <= self.floor[0] {
            return true;
        }
        let Some(&(first, _)) = self.waits.get(&s) else {
            return false;
        };
        let d = if first > 0 && first < d { first } else { d };
        if all {
            let few = s - self.floor[1] > self.waits.len() as u64;
            for seq in 0..=s {
                let known = self.waits.contains_key(&seq);
                if few && known || !few && seq > self.floor[1] {
                    self.waits.remove(&seq);
                    self.again.remove(&seq);
                }
            }
            self.floor = [d, s];
        } else {
            self.waits.remove(&s);
            if d == self.floor[0] + 1 {
                self.floor = [d, s];
                let next = (s + 1..=self.delivered[1]).find(|seq| self.waits.contains_key(seq));
                if let (Some(next), true) = (next, self.delivered[0] > d) {
                    let first = self.waits[&next].0;
                    if first > 0 {
                        self.floor = [first - 1, next - 1];
                    }
                }
            }
        }
        if self.waits.is_empty() {
            self.floor = self.delivered;
        }
        true
    }

    fn take(&mut self, state: &ConsumerState, force: bool) -> bool {
        let given = Model::of(state);
        let sound = given.floor[0] <= given.delivered[0]
            && given.floor[1] <= given.delivered[1]
            && (0..=Self::END).all(|seq| {
                !given.waits.contains_key(&seq) || given.floor[1] < seq && seq <= given.delivered[1]
            });
        let older = given.delivered[0] < self.delivered[0] || given.floor[1] < self.floor[1];
        if sound && (force || !older) {
            *self = given;
            return true;
        }
        false
    }

    fn of(state: &ConsumerState) -> Self {
        Model {
            delivered: [state.delivered.consumer, state.delivered.stream],
            floor: [state.ack_floor.consumer, state.ack_floor.stream],
            waits: (state.pending.iter())
                .map(|(seq, found)| (*seq, (found.consumer_sequence, found.timestamp_ns)))
                .collect(),
            again: state.redelivered.clone(),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Deliver(u64, u64, u64, i64),
    /// A delivery as they come: the next of both numbers, so many sequences on.
    Next(u64),
    /// An acknowledgement as they come: of what waits, by its place.
    AckPending(usize),
    Ack(u64, u64),
    Take(ConsumerState, bool),
    Start(u64),
    Raise(u64),
    Reset(u64),
    Trim(u64),
}

fn number() -> impl Strategy<Value = u64> {
    0..=Model::END
}

fn state() -> impl Strategy<Value = ConsumerState> {
    let waits = btree_map(number(), number(), 0..4);
    let pairs = (number(), number(), number(), number());
    (
        pairs,
        waits,
        btree_map(number(), 1..5_u64, 0..4),
        any::<bool>(),
    )
        .prop_map(|((a, b, c, d), waits, redelivered, sound)| {
            let (low, high) = (pair(a.min(b), c.min(d)), pair(a.max(b), c.max(d)));
            let (ack_floor, delivered) = match sound {
                true => (low, high),
                false => (pair(a, c), pair(b, d)),
            };
            let within = |seq: &u64| !sound || ack_floor.stream < *seq && *seq <= delivered.stream;
            ConsumerState {
                ack_floor,
                delivered,
                pending: (waits.into_iter())
                    .filter(|(seq, _)| within(seq))
                    .map(|(seq, first)| (seq, pending(first)))
                    .collect(),
                redelivered,
            }
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4_u64).prop_map(Step::Next),
        6 => (0..8_usize).prop_map(Step::AckPending),
        4 => (number(), number(), 0..5_u64, 0..9_i64)
            .prop_map(|(d, s, count, time)| Step::Deliver(d, s, count, time)),
        3 => (number(), number()).prop_map(|(d, s)| Step::Ack(d, s)),
        1 => (state(), any::<bool>()).prop_map(|(state, force)| Step::Take(state, force)),
        1 => number().prop_map(Step::Start),
        1 => number().prop_map(Step::Raise),
        1 => number().prop_map(Step::Reset),
        1 => number().prop_map(Step::Trim),
    ]
}

fn rules() -> impl Strategy<Value = AckRules> {
    let policy = prop_oneof![
        Just(AckPolicy::None),
        Just(AckPolicy::All),
        Just(AckPolicy::Explicit),
        Just(AckPolicy::FlowControl),
    ];
    (policy, 0..3_u64).prop_map(|(policy, max_deliver)| AckRules {
        policy,
        max_deliver,
    })
}

/// Does the step to both; whether each took it.
fn both(machine: &mut Deliveries, model: &mut Model, step: Step) -> (bool, bool) {
    let rules = machine.rules();
    match step {
        Step::Next(distance) => {
            let d = model.delivered[0] + 1;
            let s = model.delivered[1] + distance;
            let taken = machine.deliver(pair(d, s), 1, 3).is_ok();
            (taken, model.deliver(rules, d, s, 1, 3))
        }
        Step::Deliver(d, s, count, time) => {
            let taken = machine.deliver(pair(d, s), count, time).is_ok();
            (taken, model.deliver(rules, d, s, count, time))
        }
        Step::AckPending(place) => {
            let mut waits = model.waits.iter().cycle();
            let Some((&s, &(d, _))) = waits.nth(place) else {
                return (true, true);
            };
            let taken = machine.ack(pair(d, s)).is_ok();
            (taken, model.ack(rules, d, s))
        }
        Step::Ack(d, s) => {
            let taken = machine.ack(pair(d, s)).is_ok();
            (taken, model.ack(rules, d, s))
        }
        Step::Take(state, force) => {
            let taken = match force {
                true => machine.force_update(state.clone()).is_ok(),
                false => machine.update(state.clone()).is_ok(),
            };
            (taken, model.take(&state, force))
        }
        Step::Start(s) => {
            (model.delivered[1], model.floor[1]) = (s, s);
            (machine.set_starting(s).is_ok(), true)
        }
        Step::Raise(s) => {
            if s > model.delivered[1] {
                model.delivered[1] = s;
                if rules.policy == AckPolicy::None {
                    model.floor[1] = s;
                }
            }
            (machine.update_starting(s).is_ok(), true)
        }
        Step::Reset(s) => {
            *model = Model {
                delivered: [0, s],
                floor: [0, s],
                ..Model::default()
            };
            (machine.reset(s).is_ok(), true)
        }
        Step::Trim(s) => {
            model.again.retain(|seq, _| *seq >= s);
            machine.trim(s);
            (true, true)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_machine_does_as_the_model(rules in rules(), steps in vec(step(), 1..60)) {
        let mut machine = machine(rules.policy, rules.max_deliver);
        let mut model = Model::default();
        for step in steps {
            let (before, revision) = (machine.state().clone(), machine.revision());
            let (taken, expected) = both(&mut machine, &mut model, step.clone());
            prop_assert_eq!(taken, expected, "{:?}", step);
            prop_assert_eq!(&Model::of(machine.state()), &model, "{:?}", step);
            // Whatever changed is told, or it would not be written.
            prop_assert!(machine.revision() > revision || machine.state() == &before);
        }
    }

    /// A file may hold any state, with any numbers.
    #[test]
    fn any_state_is_gone_on_from(
        rules in rules(),
        numbers in any::<[u64; 4]>(),
        waits in btree_map(any::<u64>(), any::<u64>(), 0..6),
        redelivered in btree_map(any::<u64>(), any::<u64>(), 0..6),
        more in any::<[u64; 5]>(),
    ) {
        let state = ConsumerState {
            ack_floor: pair(numbers[0], numbers[1]),
            delivered: pair(numbers[2], numbers[3]),
            pending: waits.iter().map(|(seq, first)| (*seq, pending(*first))).collect(),
            redelivered,
        };
        for &sequence in waits.keys().chain(&more) {
            for consumer in [numbers[0].wrapping_add(1), more[0]] {
                let mut machine = Deliveries::new(rules, state.clone());
                let acked = machine.ack(pair(consumer, sequence));
                let is_new = match rules.acks_all() {
                    true => sequence > numbers[1],
                    false => consumer > numbers[0],
                };
                if acked.is_ok() && is_new {
                    prop_assert!(waits.contains_key(&sequence));
                    prop_assert!(!machine.state().pending.contains_key(&sequence));
                }
                let delivered = machine.deliver(pair(consumer, sequence), more[1], 0);
                if delivered.is_ok() && consumer > machine.state().ack_floor.consumer {
                    prop_assert!(machine.state().delivered.stream >= sequence);
                }
                machine.trim(sequence);
                prop_assert!(machine.state().redelivered.range(..sequence).next().is_none());
            }
        }
    }
}
