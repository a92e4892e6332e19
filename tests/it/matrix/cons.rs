//! Consumers as they are found.

use jetsam::format::consumer::ConsumerFile;

use super::{bounds, each, saw};

#[test]
fn r199_redelivered_is_kept() {
    each("R199", "", |case, report| {
        let consumer = &report.consumers[0];
        assert_eq!((consumer.delivered, consumer.pending_count), ((5, 2), 2));
        assert_eq!(consumer.redelivered_count, 1);
        if case.coat == "plain" {
            let file = ConsumerFile::decode(&case.read("obs/o22/o.dat")).expect("a state");
            assert_eq!(
                file.state.redelivered.keys().copied().collect::<Vec<_>>(),
                [1]
            );
        }
    });
}

#[test]
fn r201_floor_and_pending() {
    each("R201", "", |case, report| {
        let consumer = &report.consumers[0];
        assert_eq!(
            (consumer.delivered, consumer.ack_floor),
            ((10, 200), (5, 165))
        );
        assert_eq!(consumer.pending_count, 3);
        if case.coat == "plain" {
            let file = ConsumerFile::decode(&case.read("obs/o22/o.dat")).expect("a state");
            assert_eq!(
                file.state.pending.keys().copied().collect::<Vec<_>>(),
                [170, 173, 200]
            );
        }
    });
}

#[test]
fn r214_zeroed_state() {
    each("R214", "", |_, report| {
        assert_eq!(bounds(report), (1, 1, 1));
        assert_ne!(report.consumers[0].outcome, "ok");
        assert!(saw(report, "consumer-state-corrupt"));
    });
}

#[test]
fn r215_consumer_ahead_of_a_lost_stream() {
    each("R215", "", |_, report| {
        assert_eq!(bounds(report), (0, 0, 0));
        let consumer = &report.consumers[0];
        assert_eq!((consumer.outcome, consumer.name.as_str()), ("ok", "o22"));
        assert!(saw(report, "consumer-ahead-of-stream"));
    });
}
