use super::*;
use crate::format::names::BlockFile;
use crate::report::stream::{Outcome, Source};
use crate::stream::options::Collect;

/// A store of each kind, built once: tests damage forks of it.
pub(crate) fn small(kind: StoreKind) -> Store {
    static STORES: std::sync::OnceLock<Vec<Store>> = std::sync::OnceLock::new();
    let build = |kind| {
        let workload = Workload::new(kind, 500, 11).with_block_size(32_000);
        workload.build().expect("a store")
    };
    let stores = STORES.get_or_init(|| StoreKind::ALL.map(build).to_vec());
    stores[kind as usize].clone()
}

#[test]
fn every_kind_opens_on_the_fast_path_with_everything_in_it() {
    for kind in StoreKind::ALL {
        let store = small(kind);
        let mut options = store.access.options();
        options.collect = Collect {
            deleted: true,
            ..Collect::default()
        };
        let cancel = AtomicBool::new(false);
        let watch = crate::report::Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let report = recovery::examine(&store.files, &store.stream, &options, &watch);
        assert_eq!(report.outcome, Outcome::Clean, "{kind:?}: {report:#?}");
        assert_eq!(report.source, Some(Source::Index), "{kind:?}");
        let state = report.state.expect("a state");
        assert_eq!(state.messages, store.reference.live().len(), "{kind:?}");
        let deleted: Vec<u64> = store.reference.deleted().iter().collect();
        assert_eq!(state.deleted, Some(deleted), "{kind:?}");
        assert!(state.deleted_count > 0 && report.ttl.expect("TTLs").count > 0);
        assert_eq!(report.consumers.len(), 1);
        assert_eq!(report.consumers[0].outcome, "ok");

        let read = Reference::read(&store.files, &store.stream, &store.access).expect("readable");
        assert!(read == store.reference, "{kind:?}");
    }
}

#[test]
fn blocks_are_laid_out_as_the_server_does() {
    for kind in StoreKind::ALL {
        let store = small(kind);
        let names: Vec<String> = store
            .files
            .files()
            .into_keys()
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        let blocks = names.iter().filter(|name| name.ends_with(".blk")).count();
        let keys = names
            .iter()
            .filter(|name| name.ends_with(".key") && *name != "meta.key")
            .count();
        assert!(blocks >= 4, "{kind:?}: {names:?}");
        assert_eq!(keys, if kind.cipher().is_some() { blocks } else { 0 });
        assert!(names.iter().any(|name| name == "thw.db"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("jetsam")));
    }
    let plain = small(StoreKind::S2).files.files();
    let block = |number: u32| &plain[&path(&BlockFile::Block.path(number))];
    assert!(block(1).starts_with(b"cmp\x01"));
    let last = (1..).take_while(|n| plain.contains_key(&path(&BlockFile::Block.path(*n))));
    let last = last.last().expect("blocks");
    assert!(
        !block(last).starts_with(b"cmp"),
        "the last block stays plain"
    );
}

#[test]
fn a_seed_gives_the_same_bytes_and_fewer_messages_an_earlier_moment() {
    for kind in [StoreKind::Plain, StoreKind::S2Aes] {
        let one = small(kind);
        let again = Workload::new(kind, 500, 11).with_block_size(32_000);
        let two = again.build().expect("a store");
        assert_eq!(one.files.files(), two.files.files());
        let (now, then) = (one.files.files(), one.older.expect("older").files());
        assert_eq!(
            now[&path("msgs/1.blk")],
            then[&path("msgs/1.blk")],
            "{kind:?}"
        );
        assert_ne!(now[&path("msgs/index.db")], then[&path("msgs/index.db")]);
        assert_eq!(now[&path("meta.inf")], then[&path("meta.inf")]);
        let other = Workload::new(kind, 500, 12).with_block_size(32_000);
        assert_ne!(now, other.build().expect("a store").files.files());
    }
}

#[test]
fn the_smallest_stores_are_stores() {
    for messages in [1, 2, 9, 10] {
        let store = Workload::new(StoreKind::ChaCha, messages, 1).build();
        let store = store.expect("a store");
        assert_eq!(store.older.is_some(), messages > 1);
        let live = store.reference.live().len() + store.reference.deleted().len();
        assert_eq!(live, messages);
    }
}

#[test]
fn a_killed_server_leaves_an_index_that_is_behind() {
    for kind in StoreKind::ALL {
        let workload = Workload::new(kind, 500, 11).with_block_size(32_000);
        let store = workload.killed().build().expect("a store");
        let older = store.older.as_ref().expect("older").files();
        let files = store.files.files();
        assert_eq!(files[&path("msgs/index.db")], older[&path("msgs/index.db")]);
        let cancel = AtomicBool::new(false);
        let watch = crate::report::Watch {
            progress: &|_| {},
            cancel: &cancel,
        };
        let options = store.access.options();
        let report = recovery::examine(&store.files, &store.stream, &options, &watch);
        assert_eq!(report.source, Some(Source::Blocks), "{kind:?}");
        assert!(!report.loses_messages, "{kind:?}: {report:#?}");
        let read = Reference::read(&store.files, &store.stream, &store.access).expect("readable");
        assert!(read == store.reference, "{kind:?}");
        assert!(read == small(kind).reference, "{kind:?}");
    }
}
