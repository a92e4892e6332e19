//! What the reference's own store tests demand of writing and reading, demand by demand (E-001 to E-237 of the engine reference).
//!
//! A test bears the numbers of the demands it is about; which have none, and why, stands in `without.rs`. Every demand is tried on blocks
//! in plain and under both ciphers, compressed or not, where that can make a difference; and at the end of each the store has to be what
//! recovery makes of its directory, with the index and without, tidied and not. Where the engine does otherwise on purpose, what it does
//! is asserted, with the reason beside it.

use std::collections::BTreeSet;

mod bed;
mod blocks;
mod compact;
mod delete_blocks;
mod durability;
mod erase;
mod errors;
mod faults;
mod limits;
mod purge;
mod removing;
mod replicas;
mod skips;
mod sources;
mod store_load;
mod subjects;
mod timers;
mod walks;
mod without;

const SOURCES: [&str; 16] = [
    include_str!("blocks.rs"),
    include_str!("compact.rs"),
    include_str!("delete_blocks.rs"),
    include_str!("durability.rs"),
    include_str!("erase.rs"),
    include_str!("errors.rs"),
    include_str!("limits.rs"),
    include_str!("purge.rs"),
    include_str!("removing.rs"),
    include_str!("replicas.rs"),
    include_str!("skips.rs"),
    include_str!("sources.rs"),
    include_str!("store_load.rs"),
    include_str!("subjects.rs"),
    include_str!("timers.rs"),
    include_str!("walks.rs"),
];

/// The numbers that begin the name of a test.
fn numbers(name: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let mut rest = name;
    while let Some(behind) = rest.strip_prefix("e_")
        && let Some((number, more)) = behind.split_at_checked(3)
        && let Ok(number) = number.parse()
    {
        found.push(number);
        rest = more.strip_prefix('_').unwrap_or_default();
    }
    found
}

#[test]
fn every_demand_has_a_test_or_a_reason() {
    let mut tested = BTreeSet::new();
    for source in SOURCES {
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            if line != "#[test]" {
                continue;
            }
            let name = lines
                .next()
                .and_then(|line| line.strip_prefix("fn "))
                .expect("a test's name");
            let found = numbers(name);
            assert!(!found.is_empty(), "{name} bears no number");
            tested.extend(found);
        }
    }
    for (number, source) in without::OF_CONSUMERS {
        assert!(
            source.contains(&format!("fn e{number}_")),
            "E-{number} is not there"
        );
        assert!(tested.insert(number), "E-{number} stands in two places");
    }
    for (number, reason) in without::WITHOUT_A_TEST {
        assert!(reason.len() > 40, "E-{number}: {reason}");
        assert!(
            tested.insert(number),
            "E-{number} has a test and a reason for none"
        );
    }
    let missing: Vec<u32> = (1..=237)
        .filter(|number| !tested.contains(number))
        .collect();
    assert_eq!(missing, Vec::<u32>::new());
    assert_eq!(tested.len(), 237);
}
