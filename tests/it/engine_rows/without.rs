//! Demands that no test here bears the number of, and why.

/// Tests of consumers, which stand beside them and bear the numbers there.
pub(super) const OF_CONSUMERS: [(u32, &str); 12] = [
    (215, DELIVERIES),
    (216, CONSUMER),
    (217, CONSUMER),
    (218, DELIVERIES),
    (219, DELIVERIES),
    (220, DELIVERIES),
    (221, CONSUMER),
    (222, CONSUMER),
    (223, CONSUMER),
    (224, DELIVERIES),
    (225, CONSUMER),
    (237, DELIVERIES),
];

const DELIVERIES: &str = include_str!("../../../src/store/consumers/deliveries/tests.rs");
const CONSUMER: &str = include_str!("../../../src/store/consumers/consumer/tests.rs");

/// Demands without a test, with the reason.
pub(super) const WITHOUT_A_TEST: [(u32, &str); 6] = [
    (
        10,
        "the reference keeps an index of each record's place and checks it against the record; here a block's content is indexed from its \
         own records each time it is read, so none can say otherwise",
    ),
    (
        141,
        "the reference rebuilds a block's state from its file while it runs, when reading finds the two apart, and revives messages by that \
         (L31); here the state is the writer's own account and no reading changes it",
    ),
    (
        142,
        "as 141: a block's bounds in memory are never taken from its file while the stream is open",
    ),
    (
        173,
        "overlapping blocks are judged when a stream is opened: `recovery` and its parity rows hold that nothing panics on them",
    ),
    (
        210,
        "there is no pass in the background that an end would have to wait for: tidying is a call of the one writer",
    ),
    (
        212,
        "a stream's directory is made and owned by the engine and deleted by whoever embeds it; consumers have `delete`, with a test of \
         their own",
    ),
];
