//! Hazards of a start that are seen in its forecast.

use std::sync::atomic::AtomicBool;

use jetsam::env::OsFileSystem;
use jetsam::preflight::{Forecast, PreflightOptions, Start, forecast};
use jetsam::report::Watch;
use jetsam::report::actions::Action;
use jetsam::report::events::EventCode;

use super::{Seen, see};

/// A start foretold.
fn foretold(seen: &Seen, server: &str) -> Forecast {
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    let preflight = PreflightOptions {
        server: server.parse().expect("a server"),
        ..PreflightOptions::default()
    };
    let options = seen.fixture.options();
    forecast(&OsFileSystem, &seen.stream, &options, &preflight, &watch)
}

fn tells(told: &Forecast, code: EventCode) -> bool {
    told.events.iter().any(|event| event.code == code)
}

#[test]
fn h38_a_kept_directory_has_the_name_still() {
    let seen = see("3.4-s2-bit-flipped");
    let told = foretold(&seen, "2.15.3");
    assert_eq!(told.start, Start::StreamSkipped);
    assert!(tells(&told, EventCode::StreamNameTaken));
    // What is deleted takes no name; what is offline has its own.
    assert!(!tells(
        &foretold(&seen, "2.15.2"),
        EventCode::StreamNameTaken
    ));
    let offline = foretold(&see("11.2-unknown-word"), "2.15.3");
    assert_eq!(offline.start, Start::StreamSkipped);
    assert!(!tells(&offline, EventCode::StreamNameTaken));
    let left_out = foretold(&see("11.2-a-list"), "2.15.3");
    assert!(tells(&left_out, EventCode::StreamNameTaken));
}

#[test]
fn h39_a_consumer_that_delivers_where_it_must_not_loses_its_directory() {
    for case in ["11.5-deliver-reserved", "11.5-deliver-invalid"] {
        let seen = see(case);
        assert_eq!(seen.report.consumers[0].outcome, "deleted");
        let told = foretold(&seen, "2.15.3");
        assert_eq!((told.consumers_lost.len(), told.exit_code()), (1, 4));
        let removes = |action: &Action| action.kind.as_str() == "remove-consumer";
        assert!(told.actions.iter().any(removes), "{:?}", told.actions);
    }
    // Before, the one ran, and the other was passed over.
    let before = |case: &str| {
        let told = foretold(&see(case), "2.15.2");
        (told.consumers_lost.len(), told.consumers_disabled.len())
    };
    assert_eq!(before("11.5-deliver-reserved"), (0, 0));
    assert_eq!(before("11.5-deliver-invalid"), (0, 1));
}

#[test]
fn h40_a_rotation_that_stops_half_way_is_told() {
    let seen = see("3.2-rotated-torn-tail");
    let event = seen.event(EventCode::RotationHalfDone);
    assert!(event.detail.starts_with("0 blocks"), "{}", event.detail);
    assert!(!see("3.2-rotated-half").has(EventCode::RotationHalfDone));
}
