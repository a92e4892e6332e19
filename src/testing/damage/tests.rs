use super::*;
use crate::env::memory::MemoryFileSystem;
use crate::testing::workload::tests::small;
use crate::testing::{Store, StoreKind};
use std::collections::BTreeMap;

struct Done {
    store: Store,
    layout: Layout,
    files: MemoryFileSystem,
    damage: Damage,
}

fn inflict(store: StoreKind, kind: DamageKind, seed: u64) -> Option<Done> {
    let store = small(store);
    let layout = Layout::read(&store.files, &store.stream, &store.access).expect("a layout");
    let files = store.files.fork();
    let target = DamageTarget::new(&store, &files, &layout);
    let damage = Damage::inflict(kind, seed, &target).expect("files")?;
    Some(Done {
        layout,
        files: files.fork(),
        damage,
        store,
    })
}

/// Every damage of a kind to every kind of store that it can be done to.
fn all(kind: DamageKind, check: impl Fn(&Done)) {
    let mut count = 0;
    for store in StoreKind::ALL {
        for seed in 0..12 {
            if let Some(done) = inflict(store, kind, seed) {
                check(&done);
                count += 1;
            }
        }
    }
    assert!(count >= 12, "{kind}: {count}");
}

fn relative(files: &MemoryFileSystem) -> BTreeMap<String, Vec<u8>> {
    let files = files.files().into_iter();
    files
        .map(|(path, bytes)| {
            let path = path.strip_prefix(crate::testing::workload::STREAM_DIR);
            (path.expect("in the store").display().to_string(), bytes)
        })
        .collect()
}

impl Done {
    fn before(&self) -> BTreeMap<String, Vec<u8>> {
        relative(&self.store.files)
    }

    fn after(&self) -> BTreeMap<String, Vec<u8>> {
        relative(&self.files)
    }

    fn bytes_touched(&self) -> u64 {
        let ranges = self.damage.files.iter().flat_map(|file| &file.ranges);
        ranges.map(|range| range.end - range.start).sum()
    }

    fn only_file(&self) -> &FileChange {
        assert_eq!(self.damage.files.len(), 1, "{}", self.damage);
        &self.damage.files[0]
    }

    fn bits_flipped(&self) -> u32 {
        let (before, after) = (self.before(), self.after());
        let files = self.damage.files.iter();
        let bits = files.map(|file| {
            let (before, after) = (&before[&file.path], &after[&file.path]);
            assert_eq!(before.len(), after.len());
            let pairs = before.iter().zip(after);
            pairs.map(|(a, b)| (a ^ b).count_ones()).sum::<u32>()
        });
        bits.sum()
    }
}

/// What differs, byte by byte.
fn naive(before: &[u8], after: &[u8]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for at in 0..before.len().max(after.len()) {
        if before.get(at) == after.get(at) {
            continue;
        }
        let at = at as u64;
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

/// Bytes differ exactly where the account says, whatever the kind.
#[test]
fn the_account_is_exact() {
    for kind in DamageKind::ALL {
        all(kind, |done| {
            let (before, after) = (done.before(), done.after());
            let told: BTreeMap<&str, &FileChange> = done
                .damage
                .files
                .iter()
                .map(|file| (file.path.as_str(), file))
                .collect();
            for path in before.keys().chain(after.keys()) {
                let (before, after) = (before.get(path), after.get(path));
                let Some(file) = told.get(path.as_str()) else {
                    assert_eq!(before, after, "{path} changed untold: {}", done.damage);
                    continue;
                };
                let change = match (before, after) {
                    (Some(_), Some(_)) => Change::Changed,
                    (Some(_), None) => Change::Removed,
                    _ => Change::Created,
                };
                assert_eq!(file.change, change, "{path}: {}", done.damage);
                let none = Vec::new();
                let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
                assert_eq!(file.ranges, naive(before, after), "{path}: {}", done.damage);
            }
            assert!(!done.damage.files.is_empty());
        });
    }
}

#[test]
fn a_seed_does_the_same_again_and_another_something_else() {
    for kind in DamageKind::ALL {
        let done = |seed| inflict(StoreKind::S2ChaCha, kind, seed).expect("possible");
        assert_eq!(done(5).damage, done(5).damage, "{kind}");
        assert_eq!(done(5).after(), done(5).after(), "{kind}");
        let kinds = (0..6).map(|seed| done(seed).damage.files);
        let mut distinct: Vec<_> = kinds.collect();
        distinct.dedup();
        // There is one earlier index and one earlier block.
        let few = matches!(kind, DamageKind::StaleIndex | DamageKind::StaleBlock);
        assert!(distinct.len() > if few { 0 } else { 1 }, "{kind}");
    }
}

#[test]
fn one_bit_is_one_bit() {
    type Wanted = fn(&str) -> bool;
    let kinds = [
        (DamageKind::FlipBlock, kinds::is_block as Wanted),
        (DamageKind::FlipKey, kinds::is_key),
        (DamageKind::FlipMeta, kinds::is_meta),
        (DamageKind::FlipIndex, kinds::is_index),
    ];
    for (kind, wanted) in kinds {
        all(kind, |done| {
            assert!(wanted(&done.only_file().path), "{}", done.damage);
            assert_eq!(done.bits_flipped(), 1, "{}", done.damage);
            assert!(done.damage.is_one_bit());
        });
    }
    all(DamageKind::FlipMany, |done| {
        assert!(
            (1..=16).contains(&done.bits_flipped()) && !done.damage.is_one_bit(),
            "{}",
            done.damage
        );
    });
}

#[test]
fn a_flip_in_a_block_touches_one_record_or_one_chunk() {
    all(DamageKind::FlipBlock, |done| {
        let touched = &done.damage.touched;
        let path = &done.only_file().path;
        let block = done.layout.block_at(path).expect("a block");
        let records = touched.messages.len() + touched.removals.len();
        if block.pieces.iter().any(|piece| piece.chunk) {
            assert!(records <= block.records.len() as u64 + 1, "{}", done.damage);
        } else {
            assert_eq!(records, 1, "{}", done.damage);
        }
    });
}

#[test]
fn a_flip_in_a_key_puts_its_block_at_stake() {
    all(DamageKind::FlipKey, |done| {
        let path = &done.only_file().path;
        let stake = &done.damage.behind_keys;
        assert_eq!(stake.is_empty(), path == "meta.key", "{}", done.damage);
        assert!(done.damage.touched.messages.is_empty());
    });
}

#[test]
fn cuts_cut() {
    all(DamageKind::CutTail, |done| {
        let last = &done.layout.blocks.last().expect("blocks").path;
        let (before, after) = (done.before(), done.after());
        assert_eq!(&done.only_file().path, last);
        assert!(before[last].starts_with(&after[last]) && before[last].len() > after[last].len());
    });
    all(DamageKind::CutMiddle, |done| {
        let last = &done.layout.blocks.last().expect("blocks").path;
        let path = &done.only_file().path;
        assert_ne!(path, last);
        assert!(done.before()[path].starts_with(&done.after()[path]));
    });
}

#[test]
fn sectors_are_whole_and_aligned() {
    for kind in [
        DamageKind::ZeroedSector,
        DamageKind::MisdirectedWrite,
        DamageKind::LostWrite,
    ] {
        all(kind, |done| {
            let file = done.only_file();
            let sectors = file
                .ranges
                .iter()
                .flat_map(|range| [range.start / SECTOR, (range.end - 1) / SECTOR]);
            let mut sectors: Vec<u64> = sectors.collect();
            sectors.dedup();
            assert_eq!(sectors.len(), 1, "{}", done.damage);
            let (before, after) = (done.before(), done.after());
            assert_eq!(before[&file.path].len(), after[&file.path].len());
            if kind == DamageKind::ZeroedSector {
                let start = (sectors[0] * SECTOR) as usize;
                let end = (start + SECTOR as usize).min(after[&file.path].len());
                let sector = &after[&file.path][start..end];
                assert!(sector.iter().all(|byte| *byte == 0));
            }
        });
    }
    all(DamageKind::OverwrittenRange, |done| {
        let ranges = &done.only_file().ranges;
        let span = ranges[ranges.len() - 1].end - ranges[0].start;
        assert!(span <= 1 << 14, "{}", done.damage);
    });
}

#[test]
fn stale_files_are_those_of_the_earlier_moment() {
    for kind in [DamageKind::StaleIndex, DamageKind::StaleBlock] {
        all(kind, |done| {
            let older = relative(done.store.older.as_ref().expect("older"));
            let path = &done.only_file().path;
            assert_eq!(done.after()[path], older[path], "{}", done.damage);
        });
    }
}

#[test]
fn missing_and_swapped_files() {
    all(DamageKind::MissingFile, |done| {
        assert_eq!(done.only_file().change, Change::Removed);
        assert!(done.bytes_touched() > 0);
    });
    all(DamageKind::SwappedFiles, |done| {
        let (before, mut after) = (done.before(), done.after());
        let paths: Vec<&String> = done.damage.files.iter().map(|file| &file.path).collect();
        assert!(matches!(paths.len(), 2 | 4), "{}", done.damage);
        for path in &paths {
            let content = &before[*path];
            assert!(
                paths
                    .iter()
                    .any(|other| other != path && &after[*other] == content)
            );
        }
        after.retain(|path, _| !paths.contains(&path));
        assert!(!after.is_empty());
    });
}

#[test]
fn a_killed_purge_is_at_one_of_its_stages() {
    let mut stages = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let done = inflict(StoreKind::Aes, DamageKind::KilledPurge, seed).expect("possible");
        let after = done.after();
        let has = |dir: &str, suffix: &str| {
            let mut paths = after.keys();
            paths.any(|path| path.starts_with(&format!("{dir}/")) && path.ends_with(suffix))
        };
        let stage = (
            has("msgs", ".blk"),
            has("__new_msgs__", ".key"),
            has("__new_msgs__", ".blk"),
            has("__msgs__", ".blk"),
        );
        let live = done.store.reference.live();
        let purged = done.damage.purged.len();
        match stage {
            // Gone already: the old blocks; the stage before last leaves none in `msgs`.
            (false, true, true, true) | (true, true, true, false) => {
                assert_eq!(purged, live.len());
            }
            (true, false, false, _) if purged == live.len() => {}
            (true, has_key_moved, false, false) => {
                let undecided = u64::from(!has_key_moved);
                assert_eq!((purged, done.damage.undecided.len()), (0, undecided));
            }
            _ => panic!("{stage:?}: {}", done.damage),
        }
        stages.insert((stage, purged));
    }
    assert!(stages.len() >= 5, "{stages:?}");
}

#[test]
fn differing_ranges_join_and_reach_to_the_longer_end() {
    let differing = |before: &[u8], after: &[u8]| {
        let ranges = draft::differing(before, after).into_iter();
        ranges
            .map(|range| (range.start, range.end))
            .collect::<Vec<_>>()
    };
    assert_eq!(differing(b"abcdef", b"abcdef"), []);
    assert_eq!(differing(b"abcdef", b"aXYdZf"), [(1, 3), (4, 5)]);
    assert_eq!(differing(b"abc", b"abX12"), [(2, 5)]);
    assert_eq!(differing(b"abc", b""), [(0, 3)]);
    let (mut one, mut two) = (vec![0; 9000], vec![0; 9000]);
    one[4095] = 1;
    two[4096] = 1;
    assert_eq!(differing(&one, &two), [(4095, 4097)]);
}
