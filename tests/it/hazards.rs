//! The hazards of the reference, one by one: what we decide where the server does damage or says
//! nothing.

mod foretold;

use jetsam::crypto::{KeyRing, ServerKey, stream_context};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::living::Idle;
use jetsam::recovery::{RecoverOptions, recover, undo};
use jetsam::report::Watch;
use jetsam::report::events::{Event, EventCode, Severity};
use jetsam::report::stream::{Outcome, Refusal, Source, StreamReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use std::sync::atomic::AtomicBool;

use crate::recover::{Snapshot, snapshot};
use crate::support::{Fixture, KEY, damaged_case, look};

/// Hazards that no stream directory shows, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("H21", "a flood of log lines, gone since 2.15"),
    ("H27", "truncation while a server runs"),
    ("H31", "what an error in a running server hides"),
    ("H36", "backups, not directories"),
];

/// A damaged store, examined.
struct Seen {
    _temp: tempfile::TempDir,
    stream: StreamDir,
    fixture: Fixture,
    before: Snapshot,
    report: StreamReport,
}

fn see(case: &str) -> Seen {
    let fixture = damaged_case(case);
    let (temp, stream) = fixture.scratch();
    let before = snapshot(&stream.dir);
    let report = look(&stream, &fixture.options());
    assert_eq!(
        snapshot(&stream.dir),
        before,
        "{case}: examining changed it"
    );
    Seen {
        _temp: temp,
        stream,
        fixture,
        before,
        report,
    }
}

impl Seen {
    fn event(&self, code: EventCode) -> &Event {
        let found = self.report.events.iter().find(|event| event.code == code);
        found.unwrap_or_else(|| panic!("no {code}: {:?}", self.report.events))
    }

    fn has(&self, code: EventCode) -> bool {
        self.report.events.iter().any(|event| event.code == code)
    }

    fn messages(&self) -> u64 {
        self.report.state.as_ref().map_or(0, |state| state.messages)
    }

    fn last_seq(&self) -> u64 {
        self.report.state.as_ref().map_or(0, |state| state.last_seq)
    }

    /// Recovers; says whether anything changed.
    fn recover(&self, accept_loss: bool) -> (StreamReport, bool) {
        let options: Options = self.fixture.options();
        let cancel = AtomicBool::new(false);
        let watch = Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let how = RecoverOptions {
            accept_loss,
            ..RecoverOptions::default()
        };
        let report = recover(
            &OsFileSystem,
            &Idle::declared(),
            &self.stream,
            &options,
            &how,
            &OsEntropy,
            &watch,
        );
        let changed = snapshot(&self.stream.dir) != self.before;
        (report, changed)
    }

    /// Refused, and left alone whatever the caller accepts.
    fn is_refused(&self, refusal: Refusal) -> &Self {
        assert_eq!(self.report.outcome, Outcome::Refused);
        assert_eq!(self.report.refusal, Some(refusal));
        assert_eq!(self.report.exit_code(), 4);
        assert!(self.report.actions.is_empty() || self.report.state.is_none());
        let (again, changed) = self.recover(true);
        assert_eq!(again.refusal, Some(refusal));
        assert!(!changed, "a refused stream was changed");
        self
    }

    /// Costs messages: nothing is done without consent.
    fn wants_consent(&self) -> &Self {
        assert!(self.report.loses_messages);
        assert_eq!(self.report.outcome, Outcome::Damaged);
        assert_eq!(self.report.exit_code(), 4);
        let (report, changed) = self.recover(false);
        assert!(!changed, "changed without consent");
        assert!(
            report
                .events
                .iter()
                .any(|event| event.code == EventCode::LossNeedsConsent)
        );
        self
    }
}

#[test]
fn h01_a_stream_the_server_cannot_open_is_refused_and_kept() {
    let seen = see("3.4-s2-bit-flipped");
    seen.is_refused(Refusal::OpenFails);
    assert_eq!(
        seen.event(EventCode::ServerWouldSkipStream).severity,
        Severity::Error
    );
}

#[test]
fn h02_a_flipped_bit_in_a_compressed_block_is_refused() {
    let seen = see("3.4-s2-bit-flipped");
    seen.is_refused(Refusal::OpenFails);
    let event = seen.event(EventCode::ServerWouldSkipStream);
    assert_eq!(event.file.as_deref(), Some("msgs/1.blk"));
    see("H33-max-msgs-meets-s2").is_refused(Refusal::OpenFails);
}

#[test]
fn h03_a_compressed_block_is_never_cut_at_a_decoded_offset() {
    for case in [
        "3.6-compressed",
        "3.6-compressed-late",
        "3.6-compressed-encrypted",
    ] {
        see(case).is_refused(Refusal::OpenFails);
    }
}

#[test]
fn h04_a_compressed_last_block_is_not_appended_to() {
    let seen = see("3.4-s2-size-wrong");
    let (report, changed) = seen.recover(true);
    assert_eq!((report.source, changed), (Some(Source::Blocks), true));
    let block = seen.stream.dir.join("msgs/2.blk");
    assert_eq!(
        std::fs::read(block).expect("the block"),
        seen.before["msgs/2.blk"].0
    );
}

#[test]
fn h05_a_missing_block_key_is_never_made_up() {
    let seen = see("3.2-key-missing");
    seen.is_refused(Refusal::OpenFails);
    seen.event(EventCode::BlockKeyCreated);
    assert!(!seen.stream.dir.join("msgs/1.key").exists());
    see("D14-last-block-key-missing").wants_consent();
    let trusted = see("3.2-key-missing-with-index");
    assert_eq!(trusted.report.unreadable, [1, 2, 3, 4]);
}

#[test]
fn h06_encrypting_a_torn_block_wants_consent() {
    see("3.2-enabled-torn-tail").wants_consent();
    see("3.2-enabled-torn-tail-no-index").is_refused(Refusal::OpenFails);
}

#[test]
fn h07_a_rotation_that_would_cost_the_stream_is_refused() {
    see("3.2-rotated-torn-tail").is_refused(Refusal::OpenFails);
    see("3.2-rotated-empty-block").is_refused(Refusal::OpenFails);
    let seen = see("11.5-previous-key");
    seen.event(EventCode::ConsumerDisabled);
    assert_eq!(seen.report.consumers[0].outcome, "failed");
}

#[test]
fn h08_the_last_sequence_goes_down_as_it_does_for_the_server() {
    assert_eq!(see("4.1.2-last-empty-block-decides").last_seq(), 7);
    let seen = see("2.3-nothing-known-after-D4");
    assert_eq!(seen.last_seq(), 6);
    seen.event(EventCode::IndexHashMismatch);
    let kept = see("2.3-tombstone-remembers-9");
    assert_eq!(kept.last_seq(), 9);
    kept.event(EventCode::PriorLastSeqRestored);
}

#[test]
fn h09_a_half_done_rotation_is_told_apart() {
    let key = see("3.2-meta-key-missing");
    assert_eq!(key.report.outcome, Outcome::Refused);
    assert!(!key.recover(true).1);
    see("3.2-rotated-new-key-old-block").wants_consent();
    let half = see("3.2-rotated-half");
    assert_eq!((half.messages(), half.report.loses_messages), (7, false));
}

#[test]
fn h10_a_block_without_bytes_that_cannot_be_converted_is_refused() {
    see("3.2-enabled-empty-block").is_refused(Refusal::OpenFails);
}

#[test]
fn h11_a_block_with_a_bad_key_wants_consent() {
    for case in ["3.2-key-short", "3.2-key-empty", "3.2-key-does-not-open"] {
        let seen = see(case);
        seen.wants_consent();
        assert_eq!(
            seen.event(EventCode::BlockRemovedBadKey).severity,
            Severity::Error
        );
    }
}

#[test]
fn h12_what_stands_behind_a_bad_record_is_cut_with_consent_only() {
    let seen = see("3.6-good-records-behind");
    seen.wants_consent();
    let event = seen.event(EventCode::BlockBadRecord);
    assert_eq!(
        (event.file.as_deref(), event.offset),
        (Some("msgs/1.blk"), Some(42))
    );
    let (report, changed) = seen.recover(true);
    assert!(changed);
    assert_eq!(report.state.expect("a state").messages, 1);
    let block = std::fs::read(seen.stream.dir.join("msgs/1.blk")).expect("the block");
    assert_eq!(block.len(), 42);
}

#[test]
fn h13_lost_bytes_are_those_of_the_server_and_each_cut_has_its_event() {
    let seen = see("4.4-three-cut-blocks");
    seen.wants_consent();
    let lost = seen
        .report
        .state
        .as_ref()
        .and_then(|state| state.lost.clone());
    assert_eq!(lost.expect("lost data").bytes, 35);
    let cuts = seen
        .report
        .events
        .iter()
        .filter(|event| event.code == EventCode::BlockBadRecord);
    assert_eq!(cuts.count(), 3);
}

#[test]
fn h14_an_expiry_file_ahead_of_the_messages_is_believed_and_reported() {
    let seen = see("7.2-ttl-ahead");
    assert_eq!(seen.report.ttl.as_ref().map(|ttl| ttl.count), Some(2));
    assert_eq!(
        seen.event(EventCode::TtlAhead).file.as_deref(),
        Some("msgs/thw.db")
    );
    see("7.2-sched-ahead").event(EventCode::SchedAhead);
    assert!(!see("7.1-ttl-sound").has(EventCode::TtlAhead));
}

#[test]
fn h15_every_record_is_verified_under_a_trusted_index() {
    let seen = see("H15-interior-record-flipped");
    assert_eq!(seen.report.source, Some(Source::Index));
    assert_eq!(
        (seen.messages(), seen.report.unreadable.as_slice()),
        (7, [2].as_slice())
    );
    assert_eq!(
        (seen.report.outcome, seen.report.exit_code()),
        (Outcome::Damaged, 4)
    );
    seen.event(EventCode::RecordUnreadable);
    assert_eq!(
        see("H15-interior-block-emptied").report.unreadable,
        [4, 5, 6]
    );
    assert_eq!(see("H15-interior-block-cut").report.unreadable, [6]);
    see("H15-interior-s2-flipped").event(EventCode::BlockDecompressFailed);
    assert_eq!(see("3.3-accepted-hides-damage").report.unreadable, [2]);
    let mut quick = seen.fixture.options();
    quick.quick = true;
    assert!(look(&seen.stream, &quick).unreadable.is_empty());
}

#[test]
fn h16_blocks_nobody_sees_are_reported() {
    for (case, file) in [
        ("H16-unlisted-lower-block", "msgs/1.blk"),
        ("H16-empty-listed-block-dropped", "msgs/2.blk"),
    ] {
        let seen = see(case);
        assert_eq!(seen.report.source, Some(Source::Index), "{case}");
        assert_eq!(
            seen.event(EventCode::BlockOrphanFile).file.as_deref(),
            Some(file)
        );
    }
    assert!(!see("D18-sound").has(EventCode::BlockOrphanFile));
}

#[test]
fn h17_two_names_for_one_block_are_refused() {
    for case in [
        "3.1-text-between",
        "3.1-leading-zero",
        "3.1-plus-sign",
        "3.1-beyond-32-bits",
    ] {
        let seen = see(case);
        seen.is_refused(Refusal::OpenFails);
        seen.event(EventCode::BlockNameAmbiguous);
    }
    see("3.1-minus-sign").is_refused(Refusal::OpenFails);
}

#[test]
fn h18_age_goes_by_the_edges_of_blocks_as_it_does_for_the_server() {
    let seen = see("8-block-edges-only");
    seen.event(EventCode::AgeExpiredBlocks);
    let state = seen.report.state.as_ref().expect("a state");
    assert_eq!((state.first_seq, state.messages), (4, 2));
}

#[test]
fn h19_a_bad_header_length_is_unreadable_a_moved_subject_passes() {
    for case in ["3.7-header-length-bad", "H19-header-length-under-index"] {
        let seen = see(case);
        assert_eq!(seen.report.unreadable, [2], "{case}");
        assert_eq!(seen.report.outcome, Outcome::Damaged, "{case}");
        seen.event(EventCode::HeaderLengthBad);
    }
    let moved = see("3.5.W3-subject-length-flipped");
    assert_eq!((moved.messages(), moved.report.unreadable.len()), (7, 0));
}

#[test]
fn h20_a_gap_below_the_first_message_counts_as_the_server_counts_it() {
    let seen = see("3.5.N1-gap-after-erased-only");
    assert_eq!(seen.messages(), 5);
    seen.event(EventCode::BlockGapFilled);
}

#[test]
fn h22_side_files_without_checksum_are_believed_as_the_server_believes_them() {
    let low = see("7.1-ttl-count-low");
    assert_eq!(low.report.ttl.as_ref().map(|ttl| ttl.count), Some(1));
    let mut afresh = low.fixture.options();
    afresh.no_index = true;
    let rebuilt = look(&low.stream, &afresh);
    assert_eq!(
        rebuilt.ttl.map(|ttl| ttl.count),
        Some(4),
        "--no-index tells the truth"
    );
}

#[test]
fn h23_ttl_never_does_not_save_a_message_from_age() {
    let seen = see("8-never-expires-anyway");
    assert_eq!(
        seen.report.state.as_ref().map(|state| state.first_seq),
        Some(3)
    );
    let mut kept = seen.fixture.options();
    kept.expire = false;
    let report = look(&seen.stream, &kept);
    assert_eq!(report.state.map(|state| state.first_seq), Some(1));
}

#[test]
fn h24_what_would_bring_the_server_down_is_refused_or_reported() {
    for case in [
        "H24-last-block-number-undecodable",
        "H24-last-block-number-endless",
    ] {
        see(case)
            .is_refused(Refusal::ServerDown)
            .event(EventCode::OpenWouldCrash);
    }
    for case in ["11.5-sealed-meta-short", "11.5-sealed-state-short"] {
        let seen = see(case);
        assert_eq!(seen.report.consumers[0].outcome, "failed", "{case}");
        seen.event(EventCode::OpenWouldCrash);
        assert_eq!(seen.report.exit_code(), 4, "{case}");
    }
}

#[test]
fn h25_a_broken_index_is_kept_for_undo() {
    let seen = see("D4-index-bit-flipped");
    assert!(seen.recover(false).1);
    undo(&OsFileSystem, &Idle::declared(), &seen.stream)
        .expect("undo")
        .expect("something to undo");
    assert_eq!(snapshot(&seen.stream.dir), seen.before);
}

#[test]
fn h26_junk_in_the_purge_staging_wants_consent() {
    for case in ["10-junk-staged", "10-empty-marker-staged"] {
        let seen = see(case);
        seen.wants_consent();
        seen.event(EventCode::PurgeCompleted);
    }
    assert!(!see("10-marker-staged").report.loses_messages);
}

#[test]
fn h28_the_walk_anew_for_skewed_subjects_is_reported() {
    let seen = see("9-skew-meets-bad-record");
    seen.event(EventCode::SubjectTotalsSkew);
    seen.wants_consent();
    see("9-skew-drops-tombstones").event(EventCode::SubjectTotalsSkew);
}

#[test]
fn h29_the_limit_per_subject_trims_with_discard_new_too() {
    let seen = see("9-max-per-subject-discard-new");
    assert_eq!(seen.messages(), 3);
    seen.event(EventCode::LimitTrimmed);
    let mut kept = seen.fixture.options();
    kept.limits = false;
    assert_eq!(
        look(&seen.stream, &kept).state.map(|state| state.messages),
        Some(9)
    );
}

#[test]
fn h30_a_purge_up_to_the_first_sequence_wants_consent() {
    let seen = see("9-first-sequence-after-reuse");
    seen.event(EventCode::FirstSeqPurged);
    seen.wants_consent();
}

#[test]
fn h32_an_empty_consumer_state_is_reported() {
    let seen = see("11.5-state-empty");
    seen.event(EventCode::ConsumerStateEmpty);
    assert_eq!(seen.report.consumers[0].delivered, (0, 0));
    assert_eq!(seen.report.outcome, Outcome::Recovered);
}

#[test]
fn h33_what_brought_the_whole_server_down_fails_the_one_stream() {
    for case in [
        "H33-max-msgs-meets-s2",
        "H33-max-bytes-meets-s2",
        "H33-max-per-subject-meets-s2",
        "H33-age-meets-s2",
        "H33-ttl-scan-meets-s2",
        "H33-max-msgs-meets-bad-record",
        "H33-tombstone-meets-bad-header-length",
        "7.2-ttl-scan-meets-bad-record",
        "7.2-ttl-scan-from-block-start",
        "7.6-forward-meets-bad-record",
        "7.6-backward-meets-s2",
    ] {
        see(case)
            .is_refused(Refusal::OpenFails)
            .event(EventCode::ServerWouldSkipStream);
    }
}

#[test]
fn h34_source_positions_ahead_of_the_messages_are_believed_and_reported() {
    let seen = see("7.6-ahead");
    assert_eq!(
        seen.event(EventCode::SourcesAhead).file.as_deref(),
        Some("sources.db")
    );
    assert_eq!(seen.report.outcome, Outcome::Recovered);
}

#[test]
fn h35_the_time_of_creation_stays_when_a_stream_is_encrypted() {
    let seen = see("3.2-enabled");
    seen.event(EventCode::StreamEncrypting);
    assert!(seen.recover(false).1);
    let file = |name: &str| std::fs::read(seen.stream.dir.join(name)).expect("metadata");
    let key = ServerKey::new(KEY.to_vec());
    let context = stream_context(b"S");
    let ring = KeyRing {
        current: Some(&key),
        previous: None,
        cipher: None,
        account: b"A",
    };
    let opened = ring.open(&file("meta.key"), &context).expect("a key file");
    let json = opened.open(&file("meta.inf")).expect("metadata");
    let meta: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(meta["Created"], "2025-12-31T00:00:00Z");
    see("3.2-rotated").event(EventCode::StreamRekeying);
}

#[test]
fn h37_reads_that_would_bring_the_server_down_are_foretold() {
    let seen = see("H37-sequence-bit-34");
    assert_eq!(
        seen.event(EventCode::ReadWouldCrash).severity,
        Severity::Error
    );
    assert_eq!(seen.report.unreadable, [2, 3, 4]);
    let small = see("H37-sequence-bit-2");
    assert!(!small.has(EventCode::ReadWouldCrash));
    assert_eq!(small.report.unreadable, [2, 3, 4]);
}

/// Every hazard is tested above or listed as one that no directory shows.
#[test]
fn every_hazard_is_accounted_for() {
    let source = concat!(
        include_str!("hazards.rs"),
        include_str!("hazards/foretold.rs")
    );
    for number in 1..=40 {
        let tested = source.contains(&format!("\nfn h{number:02}_"));
        let id = format!("H{number}");
        let elsewhere = ELSEWHERE.iter().any(|(hazard, _)| *hazard == id);
        assert!(
            tested != elsewhere,
            "{id}: tested {tested}, listed {elsewhere}"
        );
    }
}
