//! Parity on committed stores that real servers wrote: six server lines, plain and compressed, plain
//! and encrypted. The Go server's verdict lies beside each.

use crate::support::{damaged, differences, golden, look};

#[test]
fn every_golden_store_has_the_state_the_server_gives_it() {
    let fixtures = golden();
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let report = look(&fixture.stream(), &fixture.options());
        let found = differences(&report, &fixture.verdict);
        if !found.is_empty() {
            wrong.push(format!(
                "{}\n  {}",
                fixture.dir.display(),
                found.join("\n  ")
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        fixtures.len(),
        wrong.join("\n")
    );
    assert!(
        fixtures.len() >= 500,
        "only {} stores found",
        fixtures.len()
    );
}

#[test]
fn any_number_of_threads_gives_the_same_report() {
    for fixture in golden()
        .iter()
        .filter(|fixture| ["ORDERS", "KV_settings", "TTLS"].contains(&fixture.name.as_str()))
    {
        let mut options = fixture.options();
        options.no_index = true;
        options.threads = 1;
        let alone = look(&fixture.stream(), &options);
        for threads in [2, 8] {
            options.threads = threads;
            assert_eq!(
                look(&fixture.stream(), &options),
                alone,
                "{} with {threads} threads",
                fixture.dir.display()
            );
        }
    }
}

/// What a block's one scan noted stands in for every later look at it.
#[test]
fn steps_that_read_their_blocks_themselves_give_the_same_report() {
    for fixture in golden().iter().chain(&damaged()) {
        let (_temp, stream) = fixture.scratch();
        for no_index in [true, false] {
            let mut options = fixture.options();
            options.no_index = no_index;
            options.careful = true;
            let carefully = look(&stream, &options);
            options.careful = false;
            for threads in [1, 2, 8] {
                options.threads = threads;
                assert_eq!(
                    look(&stream, &options),
                    carefully,
                    "{} with {threads} threads",
                    fixture.dir.display()
                );
            }
        }
    }
}

#[test]
fn mapped_blocks_give_the_same_report() {
    for fixture in golden()
        .iter()
        .filter(|fixture| ["ORDERS", "TTLS"].contains(&fixture.name.as_str()))
    {
        let mut options = fixture.options();
        options.no_index = true;
        let read = look(&fixture.stream(), &options);
        options.map_files = true;
        assert_eq!(
            look(&fixture.stream(), &options),
            read,
            "{}",
            fixture.dir.display()
        );
    }
}
