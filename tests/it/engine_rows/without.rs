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
pub(super) const WITHOUT_A_TEST: [(u32, &str); 14] = [
    (
        10,
        "the reference keeps an index of each record's place and checks it against the record; here a block's content is indexed from its \
         own records each time it is read, so none can say otherwise",
    ),
    (
        55,
        "no callback tells of removals: nothing calls back into the embedder, who is told by each call's result",
    ),
    (
        62,
        "taking over a leader's delete set, of which removing a range is a part, is not built yet",
    ),
    (
        63,
        "as 62: removing a range is part of taking over a delete set",
    ),
    (
        64,
        "as 62: removing a range is part of taking over a delete set",
    ),
    (
        102,
        "the account's usage is kept by the layer above from a callback, which there is not; counts and bytes of a block that goes whole are \
         held by 99 and 100",
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
        201,
        "comparing a leader's delete blocks with one's own is part of taking over a delete set, which is not built yet",
    ),
    (202, "taking over a leader's delete set is not built yet"),
    (203, "taking over a leader's delete set is not built yet"),
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
