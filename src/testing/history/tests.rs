use std::sync::atomic::AtomicBool;

use super::*;
use crate::recovery::options::Collect;
use crate::recovery::report::{Outcome, Source, StreamReport};
use crate::recovery::{self, Watch};
use crate::testing::reference::Reference;

fn histories(last_day: LastDay) -> impl Iterator<Item = History> {
    HistoryKind::ALL.into_iter().flat_map(move |kind| {
        (0..6).map(move |seed| History {
            kind,
            layout: StoreKind::ALL[(seed as usize + kind as usize) % 6],
            last_day,
            steps: 500,
            doings: if seed % 2 == 0 {
                Doings::All
            } else {
                Doings::Clients
            },
            seed,
        })
    })
}

fn judged(lived: &Lived) -> StreamReport {
    let mut options = lived.store.access.options();
    options.expire = false;
    options.collect = Collect {
        deleted: true,
        ..Collect::default()
    };
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &cancel,
    };
    recovery::examine(&lived.store.files, &lived.store.stream, &options, &watch)
}

#[test]
fn a_stopped_server_leaves_an_index_of_what_is_true() {
    for history in histories(LastDay::Stopped) {
        let lived = history.live_through().expect("a history");
        let report = judged(&lived);
        assert_eq!(report.outcome, Outcome::Clean, "{history:?}: {report:#?}");
        assert_eq!(report.source, Some(Source::Index), "{history:?}");
        let state = report.state.expect("a state");
        assert_eq!(state.messages, lived.truth.live.len(), "{history:?}");
        assert_eq!(state.last_seq, lived.truth.last_seq, "{history:?}");
        let read = Reference::read(&lived.store.files, &lived.store.stream, &lived.store.access);
        let mut access = lived.store.access.clone();
        access.now_ns = BASE_NS;
        let early = Reference::read(&lived.store.files, &lived.store.stream, &access);
        assert!(read.is_ok(), "{history:?}");
        assert_eq!(
            early.expect("readable").live(),
            &lived.truth.live,
            "{history:?}"
        );
    }
}

#[test]
fn every_live_message_of_a_killed_server_has_its_record_on_disk() {
    for history in histories(LastDay::Killed) {
        let lived = history.live_through().expect("a history");
        let mut there = crate::format::seqset::SeqSet::new();
        for block in &lived.layout.blocks {
            let messages = block
                .records
                .iter()
                .filter(|one| one.kind == crate::format::record::RecordKind::Message);
            messages.for_each(|one| {
                there.insert(one.seq);
            });
        }
        for seq in lived.truth.live.iter() {
            assert!(there.contains(seq), "{history:?}: {seq}");
        }
        let all = lived.truth.live.len() + lived.truth.gone.len();
        assert_eq!(all, lived.truth.last_seq, "{history:?}");
    }
}
