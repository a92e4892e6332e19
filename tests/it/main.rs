//! Tests from outside: the public API and the command, as their users see them.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and read files themselves"
)]

mod cli;
mod corpus;
mod damaged;
mod golden;
mod hazards;
mod listed;
mod matrix;
mod merged;
mod preflight;
mod recover;
mod salvage;
mod scan;
mod support;
mod tidy;
mod vault;
mod versions;
