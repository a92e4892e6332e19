//! Tests from outside: the public API and the command, as their users see them.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and read files themselves"
)]

mod archived;
mod at_once;
mod broker;
#[path = "../../tools/hand_to_hand/broker.rs"]
mod broker_process;
mod cases;
mod cli;
mod consumers;
mod corpus;
mod damaged;
mod downgrade;
mod engine;
mod engine_rows;
mod engine_threads;
mod expiry;
mod flipped;
mod golden;
mod hazards;
mod hit;
mod keys;
mod ledger;
mod listed;
mod made;
mod matrix;
mod merged;
mod misplaced;
mod old_values;
mod placed;
mod preflight;
mod quarantined;
mod reached;
mod recover;
mod relatives;
mod renamed;
mod salvage;
mod salvaged;
mod scan;
mod scattered;
#[path = "../../tools/hand_to_hand/scenario/mod.rs"]
mod scenario;
mod starts;
mod states;
mod support;
mod surroundings;
mod taken;
mod tidy;
mod versions;
