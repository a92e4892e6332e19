use crate::env::ReadFiles;
use crate::format::names::{BlockFile, STAGED_MESSAGES};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::scan::{SubjectStanding, SubjectWitness};
use super::super::subject_check::Subjects;
use super::read as read_side_files;
use super::*;
use crate::block::key::BlockKey;
use crate::crypto::{KeyChoice, KeyFile, Nonce, Seed, ServerKey, block_context};
use crate::env::memory::MemoryFileSystem;
use crate::env::{FileKind, FileSystem, IoError, OsFileSystem};
use crate::format::bit_repair::Patch;
use crate::report::events::EventCode;
use crate::salvage::SalvageError;
use crate::stream::consumers::{ReadConsumer, consumers};
use crate::stream::options::Options;
use crate::stream::{NeedsKey, StreamDir};

const DIR: &str = "/s/G/streams/ORDERS";

/// A committed store that a server wrote, in memory.
fn golden(case: &str) -> MemoryFileSystem {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/golden/v2.15.2")
        .join(case)
        .join("jetstream/$G/streams/ORDERS");
    let fs = MemoryFileSystem::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in OsFileSystem.list(&dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.kind == FileKind::Dir {
                dirs.push(path);
                continue;
            }
            let bytes = OsFileSystem.read(&path, u64::MAX).unwrap();
            fs.seed_file(
                Path::new(DIR).join(path.strip_prefix(&root).unwrap()),
                bytes,
            );
        }
    }
    fs
}

fn stream() -> StreamDir {
    StreamDir {
        account: Some("$G".into()),
        name: "ORDERS".into(),
        dir: DIR.into(),
    }
}

fn options() -> Options {
    let mut options = Options::new(1_800_000_000_000_000_000);
    options.keys.current = Some(ServerKey::new(b"sekret-fixture-key".to_vec()));
    options
}

fn read(fs: &MemoryFileSystem) -> Gathered {
    read_side_files(fs, &stream(), &options()).unwrap()
}

fn consumers_of(fs: &MemoryFileSystem, gathered: &Gathered) -> Result<Vec<ReadConsumer>, IoError> {
    let Evidence { name, account, .. } = &gathered.evidence;
    let keys = options().keys;
    consumers(fs, Path::new(DIR), name.as_bytes(), keys.ring(account))
}

fn file(fs: &MemoryFileSystem, name: &str) -> Vec<u8> {
    fs.files()[&Path::new(DIR).join(name)].clone()
}

fn put(fs: &MemoryFileSystem, name: &str, bytes: impl Into<Vec<u8>>) {
    fs.seed_file(Path::new(DIR).join(name), bytes);
}

fn remove(fs: &MemoryFileSystem, name: &str) {
    fs.remove_file(&Path::new(DIR).join(name)).unwrap();
}

fn codes(gathered: &Gathered) -> Vec<EventCode> {
    gathered.events.iter().map(|event| event.code).collect()
}

/// What must come out the same whatever is mended.
fn told(
    gathered: &Gathered,
) -> (
    String,
    Vec<u32>,
    Option<(crate::format::state::StateFile, bool)>,
) {
    let Evidence {
        meta,
        index,
        blocks,
        ..
    } = &gathered.evidence;
    let index = index.clone().map(|index| (index.state, index.fresh));
    let meta = String::from_utf8(meta.encode()).unwrap();
    (meta, blocks.clone(), index)
}

#[test]
fn sound_stores_are_read_without_a_word() {
    for (case, sealed) in [
        ("plain-none", false),
        ("plain-aes", true),
        ("s2-chacha", true),
        ("s2-none", false),
    ] {
        let fs = golden(case);
        let gathered = read(&fs);
        assert_eq!(gathered.events, [], "{case}");
        assert_eq!(
            (gathered.sealed, gathered.messages_dir.as_str()),
            (sealed, "msgs")
        );
        let Evidence {
            meta_origin,
            index,
            asset_key,
            blocks,
            ..
        } = &gathered.evidence;
        assert_eq!(*meta_origin, MetaOrigin::Sound);
        assert!(index.as_ref().unwrap().fresh, "{case}");
        assert_eq!(asset_key.is_some(), sealed);
        assert_eq!(blocks.len(), 3);
        for found in consumers_of(&fs, &gathered).unwrap() {
            assert!(found.is_whole() && found.state.is_some(), "{found:?}");
            assert_eq!(found.events, []);
        }
    }
}

#[test]
fn one_flipped_bit_in_any_side_file_is_flipped_back() {
    for (case, step) in [("plain-none", 37), ("plain-aes", 211), ("s2-chacha", 211)] {
        let fs = golden(case);
        let expected = told(&read(&fs));
        for name in ["meta.inf", "meta.sum", "meta.key", "msgs/index.db"] {
            let Some(bytes) = fs.files().get(&Path::new(DIR).join(name)).cloned() else {
                continue;
            };
            // Short files bit by bit, long ones here and there.
            let step = if bytes.len() < 100 { 7 } else { step };
            for bit in (0..bytes.len() * 8).step_by(step) {
                let (offset, mask) = (bit / 8, 1 << (bit % 8));
                let mut damaged = bytes.clone();
                damaged[offset] ^= mask;
                let fs = fs.fork();
                put(&fs, name, damaged);
                let gathered = read(&fs);
                assert_eq!(told(&gathered), expected, "{case} {name} bit {bit}");
                let patches = vec![Patch {
                    offset: offset as u64,
                    mask,
                }];
                let [repair] = gathered.evidence.repairs.as_slice() else {
                    panic!("{case} {name} bit {bit}: {:?}", gathered.evidence.repairs)
                };
                assert_eq!((repair.path.as_str(), &repair.patches), (name, &patches));
                assert_eq!(codes(&gathered), [EventCode::FileRepaired]);
            }
        }
    }
}

#[test]
fn every_bit_of_every_key_file_can_be_wrong() {
    for case in ["plain-aes", "s2-chacha"] {
        let fs = golden(case);
        let gathered = read(&fs);
        let keys = options().keys;
        let number = gathered.evidence.blocks[0];
        let name = BlockFile::Key.path(number);
        let block = file(&fs, &BlockFile::Block.path(number));
        let sound = file(&fs, &name);
        let open = |bytes: &[u8]| {
            let fs = fs.fork();
            put(&fs, &name, bytes);
            gathered
                .block_files(&fs, Path::new(DIR), &keys)
                .key(number, &block)
        };
        let (BlockKey::Opened(expected), None) = open(&sound) else {
            panic!("{case}")
        };
        let same = |key: &OpenedKey| {
            let cipher = |key: &OpenedKey| {
                let mut bytes = [0; 64];
                let cipher = key.block_cipher();
                cipher.apply(&mut bytes, 0).unwrap();
                bytes
            };
            cipher(key) == cipher(&expected) && key.cipher == expected.cipher
        };
        for bit in 0..sound.len() * 8 {
            for width in [1_u8, 3] {
                let (offset, mask) = (bit / 8, width << (bit % 8));
                let mut damaged = sound.clone();
                damaged[offset] ^= mask;
                let (BlockKey::Opened(key), Some(repair)) = open(&damaged) else {
                    panic!("{case} bit {bit}")
                };
                assert!(same(&key));
                let offset = offset as u64;
                assert_eq!(repair.patches, [Patch { offset, mask }]);
            }
        }
        // A newline an editor left.
        let (BlockKey::Opened(key), Some(repair)) = open(&[&sound, &b"\n"[..]].concat()) else {
            panic!("{case}")
        };
        assert!(same(&key) && repair.patches.is_empty());
        assert!(matches!(open(&sound[..63]), (BlockKey::Closed(_), None)));
        assert!(matches!(open(&[]), (BlockKey::Closed(_), None)));
    }
}

#[test]
fn swapped_and_missing_keys_are_found_or_told() {
    let fs = golden("s2-chacha");
    let gathered = read(&fs);
    let keys = options().keys;
    let [one, two, _] = gathered.evidence.blocks[..] else {
        panic!()
    };
    let paths = [one, two].map(|number| BlockFile::Key.path(number));
    let [first, second] = [&paths[0], &paths[1]].map(|path| file(&fs, path));
    put(&fs, &paths[0], second);
    put(&fs, &paths[1], first);
    let open = |fs: &MemoryFileSystem, number: u32| {
        let block = file(fs, &BlockFile::Block.path(number));
        gathered
            .block_files(fs, Path::new(DIR), &keys)
            .key(number, &block)
    };
    for (number, found_in) in [(one, &paths[1]), (two, &paths[0])] {
        let (BlockKey::Opened(_), Some(repair)) = open(&fs, number) else {
            panic!("{number}")
        };
        assert_eq!((&repair.path, repair.patches.len()), (found_in, 0));
    }
    remove(&fs, &paths[0]);
    assert!(matches!(open(&fs, two), (BlockKey::Closed(_), None)));
}

#[test]
fn a_block_left_in_plain_is_read_as_it_lies() {
    let plain = golden("plain-none");
    let fs = golden("plain-aes");
    let gathered = read(&fs);
    let number = gathered.evidence.blocks[0];
    let bytes = file(&plain, &BlockFile::Block.path(number));
    let open = |fs: &MemoryFileSystem, bytes: &[u8]| {
        let keys = options().keys;
        gathered
            .block_files(fs, Path::new(DIR), &keys)
            .key(number, bytes)
    };
    // The key file was written, the block not yet.
    assert!(matches!(open(&fs, &bytes), (BlockKey::Plain, None)));
    // Never converted, and its first record is damaged.
    remove(&fs, &BlockFile::Key.path(number));
    let mut damaged = bytes.clone();
    damaged[9] ^= 1;
    assert!(matches!(open(&fs, &damaged), (BlockKey::Plain, None)));
    // Encrypted, and its key is gone.
    let closed = file(&fs, &BlockFile::Block.path(number));
    assert!(matches!(open(&fs, &closed), (BlockKey::Closed(_), None)));
    assert!(matches!(open(&fs, b""), (BlockKey::Plain, None)));
}

#[test]
fn metadata_without_its_checksum_is_used_and_doubted() {
    let fs = golden("plain-none");
    let expected = told(&read(&fs));
    put(
        &fs,
        "meta.sum",
        [&file(&fs, "meta.sum")[..], b"\n"].concat(),
    );
    let gathered = read(&fs);
    assert_eq!(told(&gathered), expected);
    assert_eq!(gathered.evidence.meta_origin, MetaOrigin::Mended);
    remove(&fs, "meta.sum");
    let gathered = read(&fs);
    assert_eq!(told(&gathered), expected);
    assert_eq!(gathered.evidence.meta_origin, MetaOrigin::Unproven);
    assert_eq!(codes(&gathered), [EventCode::StreamSumMissing]);
}

#[test]
fn metadata_is_made_where_none_can_be_had() {
    let fs = golden("plain-none");
    let (before, blocks, index) = told(&read(&fs));
    let created = StreamMeta::parse(before.as_bytes()).unwrap().created;
    // The file was cut in the middle; Created is at its beginning.
    let bytes = file(&fs, "meta.inf");
    put(&fs, "meta.inf", &bytes[..bytes.len() / 2]);
    let gathered = read(&fs);
    let meta = &gathered.evidence.meta;
    assert_eq!(gathered.evidence.meta_origin, MetaOrigin::Made);
    assert_eq!((meta.name.as_str(), &meta.created), ("ORDERS", &created));
    assert!(!meta.subjects.is_empty(), "the index knows subjects");
    assert_eq!(told(&gathered).1, blocks);
    assert_eq!(told(&gathered).2, index);
    assert!(codes(&gathered).contains(&EventCode::StreamMetaRebuilt));
    assert!(meta.settings().is_ok());
    remove(&fs, "meta.inf");
    remove(&fs, "msgs/index.db");
    let gathered = read(&fs);
    assert_eq!(gathered.evidence.meta.created.instant, None);
    assert!(gathered.evidence.index.is_none());
}

#[test]
fn a_renamed_directory_keeps_the_streams_name() {
    let fs = golden("plain-none");
    let expected = told(&read(&fs));
    let to = Path::new("/s/G/streams/OTHER");
    fs.rename(Path::new(DIR), to).unwrap();
    let stream = StreamDir {
        name: "OTHER".into(),
        dir: to.into(),
        ..stream()
    };
    let gathered = read_side_files(&fs, &stream, &options()).unwrap();
    assert_eq!(gathered.evidence.name, "ORDERS");
    assert_eq!(told(&gathered), expected);
    assert_eq!(codes(&gathered), [EventCode::StreamSumMismatch]);
}

#[test]
fn a_closed_stream_asks_for_its_key() {
    let fs = golden("plain-aes");
    let mut options = options();
    for (key, given) in [(None, false), (Some(ServerKey::new(b"no".to_vec())), true)] {
        options.keys.current = key;
        let error = read_side_files(&fs, &stream(), &options).unwrap_err();
        let dir = PathBuf::from(DIR);
        assert_eq!(error, SalvageError::NeedsKey(NeedsKey { dir, given }));
    }
    // As the previous key it does just as well.
    options.keys.previous = self::options().keys.current;
    let gathered = read_side_files(&fs, &stream(), &options).unwrap();
    let key = gathered.evidence.asset_key.unwrap().key;
    assert_eq!(key, KeyChoice::Previous);
}

#[test]
fn without_the_streams_own_key_the_blocks_still_open() {
    let fs = golden("s2-chacha");
    remove(&fs, "meta.key");
    let gathered = read(&fs);
    assert_eq!(gathered.evidence.meta_origin, MetaOrigin::Made);
    assert!(gathered.evidence.index.is_none() && gathered.sealed);
    let number = gathered.evidence.blocks[0];
    let block = file(&fs, &BlockFile::Block.path(number));
    let keys = options().keys;
    let found = gathered
        .block_files(&fs, Path::new(DIR), &keys)
        .key(number, &block);
    assert!(matches!(found, (BlockKey::Opened(_), None)));
}

#[test]
fn an_index_is_fresh_only_for_the_last_record_on_disk() {
    let fs = golden("plain-none");
    let last = *read(&fs).evidence.blocks.last().unwrap();
    let name = BlockFile::Block.path(last);
    let bytes = file(&fs, &name);
    let fresh = |change: &dyn Fn(&MemoryFileSystem)| {
        let fs = fs.fork();
        change(&fs);
        read(&fs).evidence.index.unwrap().fresh
    };
    assert!(fresh(&|_| {}));
    assert!(!fresh(&|fs| put(fs, &name, &bytes[..bytes.len() - 1])));
    assert!(!fresh(&|fs| put(fs, &BlockFile::Block.path(last + 1), "")));
    assert!(fresh(&|fs| {
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 0x10;
        put(fs, &name, flipped);
    }));
    assert!(!fresh(&|fs| remove(fs, &name)));
}

#[test]
fn staged_rubbish_does_not_hide_the_messages() {
    let fs = golden("plain-none");
    put(&fs, "__new_msgs__/junk.blk", "junk");
    put(
        &fs,
        "__new_msgs__/9.blk",
        "more junk that is no record at all, however long it gets",
    );
    let gathered = read(&fs);
    assert_eq!(gathered.messages_dir, "msgs");
    assert_eq!(codes(&gathered), [EventCode::PurgeRolledBack]);
    assert_eq!(gathered.evidence.blocks.len(), 3);

    let mut marker = Vec::new();
    let hash_key = crate::format::checksum::HashKey::for_block(b"ORDERS", 9);
    let tombstone = crate::format::record::NewRecord::Tombstone {
        sequence: 500,
        timestamp_ns: 1_700_000_000_000_000_000,
    };
    crate::format::record::encode_record(&mut marker, &hash_key, &tombstone).unwrap();
    put(&fs, "__new_msgs__/9.blk", marker);
    let gathered = read(&fs);
    assert_eq!(gathered.messages_dir, "__new_msgs__");
    assert_eq!(gathered.evidence.blocks, [9]);
    assert!(codes(&gathered).contains(&EventCode::PurgeCompleted));
}

/// Nothing that a purge leaves, but all there is: a server puts it in the place of `msgs` and reads it as far as it goes.
#[test]
fn staged_messages_are_taken_where_there_are_no_others() {
    let fs = golden("plain-none");
    let last = *read(&fs).evidence.blocks.last().unwrap();
    let path = BlockFile::Block.path(last);
    let mut damaged = file(&fs, &path);
    damaged.extend(b"more junk that is no record at all, however long it gets");
    put(
        &fs,
        &BlockFile::Block.path_in(STAGED_MESSAGES, last),
        damaged,
    );
    let gathered = read(&fs);
    assert_eq!(gathered.messages_dir, "msgs");
    assert_eq!(codes(&gathered), [EventCode::PurgeRolledBack]);
    for number in gathered.evidence.blocks {
        remove(&fs, &BlockFile::Block.path(number));
    }
    let gathered = read(&fs);
    assert_eq!(gathered.messages_dir, "__new_msgs__");
    assert_eq!(gathered.evidence.blocks, [last]);
    assert_eq!(codes(&gathered), [EventCode::PurgeCompleted]);
}

#[test]
fn consumers_are_mended_like_the_stream() {
    for case in ["plain-aes", "s2-chacha"] {
        let fs = golden(case);
        let gathered = read(&fs);
        let all = |fs: &MemoryFileSystem| {
            let found = consumers_of(fs, &gathered).unwrap();
            found
                .into_iter()
                .map(|one| (one.name.clone(), one))
                .collect::<BTreeMap<_, _>>()
        };
        let sound = all(&fs);
        let (name, expected) = sound.first_key_value().unwrap();
        for (file_name, flips) in [("meta.inf", 5), ("meta.key", 9), ("o.dat", 9)] {
            let path = format!("obs/{name}/{file_name}");
            let bytes = file(&fs, &path);
            for flip in 0..flips {
                let bit = flip * (bytes.len() * 8 / flips);
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let fs = fs.fork();
                put(&fs, &path, damaged);
                let found = &all(&fs)[name];
                assert_eq!(found.state, expected.state, "{case} {path} {bit}");
                assert_eq!(found.meta, expected.meta);
                assert_eq!(found.repairs.len(), 1);
                assert!(!found.is_whole());
            }
        }
        put(&fs, &format!("obs/{name}/o.dat"), "");
        let found = &all(&fs)[name];
        assert_eq!(
            found.state,
            Some(crate::format::consumer::ConsumerState::default())
        );
    }
}

#[test]
fn subjects_are_judged_by_configuration_and_index() {
    let fs = golden("plain-none");
    let gathered = read(&fs);
    let subjects = Subjects::new(&gathered.evidence);
    let table = &gathered.evidence.index.as_ref().unwrap().state.subjects;
    assert!(table.len() > 3);
    for entry in table.iter() {
        assert_eq!(subjects.standing(entry.subject), SubjectStanding::Known);
    }
    let filter = gathered.evidence.meta.subjects[0].replace(['>', '*'], "never-used");
    assert_eq!(
        subjects.standing(filter.as_bytes()),
        SubjectStanding::Possible
    );
    for wrong in ["", "elsewhere.x", "a b", "orders.*"] {
        assert_eq!(
            subjects.standing(wrong.as_bytes()),
            SubjectStanding::Impossible,
            "{wrong}"
        );
    }
    let mut evidence = gathered.evidence.clone();
    evidence.meta_origin = MetaOrigin::Unproven;
    let subjects = Subjects::new(&evidence);
    assert_eq!(subjects.standing(b"elsewhere.x"), SubjectStanding::Possible);
}

#[test]
fn a_made_configuration_covers_all_subjects() {
    let cover = |subjects: &[&str]| covering_subjects(subjects.iter().map(|one| one.as_bytes()));
    assert_eq!(cover(&["a.b", "a.c", "b", "c.d.e"]), ["a.>", "b", "c.>"]);
    assert!(cover(&[]).is_empty());
    let many: Vec<String> = (0..65).map(|number| format!("t{number}.x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(cover(&many), [">"]);
}

#[test]
fn a_key_of_another_account_is_no_key() {
    let server = ServerKey::new(b"sekret-fixture-key".to_vec());
    let context = block_context(b"ORDERS", 1);
    let key = server.key_encryption_key(b"A", &context);
    let seed = Seed::new([7; 32]);
    let bytes = KeyFile::seal(&seed, &Nonce::Aes([1; 16]), &key);
    let options = options();
    let ring = |account| options.keys.ring(account);
    assert!(ring(b"A").open(&bytes, &context).is_ok());
    assert!(ring(b"B").open_mended(&bytes, &context).is_err());
}
