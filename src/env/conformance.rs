//! One set of tests for both file systems, so that the twin behaves like the real one.

use std::io::ErrorKind;

use super::memory::MemoryFileSystem;
use super::*;

/// Runs a test on each file system in an empty directory of its own.
fn on_both(test: impl Fn(&dyn FileSystem, &Path)) {
    let root = tempfile::tempdir().unwrap();
    test(&OsFileSystem, root.path());
    let twin = MemoryFileSystem::new();
    twin.seed_dir("/root/dir");
    test(&twin, Path::new("/root/dir"));
}

fn read(system: &dyn FileSystem, path: &Path) -> Vec<u8> {
    system.read(path, 1 << 20).unwrap()
}

fn kind<T: fmt::Debug>(result: Result<T, IoError>) -> ErrorKind {
    result.unwrap_err().kind
}

#[test]
fn listings_are_sorted_by_bytes_with_kinds_and_lengths() {
    on_both(|system, root| {
        for name in ["b", "10.blk", "9.blk", "B"] {
            system
                .write_in_place(&root.join(name), name.as_bytes())
                .unwrap();
        }
        system
            .create_dir_all(&root.join("a/deep"), DEFAULT_DIR_MODE)
            .unwrap();
        let listed: Vec<_> = system
            .list(root)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name.into_string().unwrap(), entry.kind, entry.length))
            .collect();
        let expected = [
            ("10.blk", FileKind::File, 6),
            ("9.blk", FileKind::File, 5),
            ("B", FileKind::File, 1),
            ("a", FileKind::Dir, 0),
            ("b", FileKind::File, 1),
        ];
        assert_eq!(
            listed,
            expected.map(|(name, kind, length)| (name.to_owned(), kind, length))
        );
        assert_eq!(kind(system.list(&root.join("absent"))), ErrorKind::NotFound);
        assert_eq!(kind(system.list(&root.join("b"))), ErrorKind::NotADirectory);
    });
}

#[test]
fn reading_is_bounded() {
    on_both(|system, root| {
        let path = root.join("file");
        system.write_in_place(&path, b"12345").unwrap();
        assert_eq!(system.read(&path, 5).unwrap(), b"12345");
        assert_eq!(kind(system.read(&path, 4)), ErrorKind::FileTooLarge);
        assert_eq!(
            kind(system.read(&root.join("absent"), 4)),
            ErrorKind::NotFound
        );
        assert_eq!(kind(system.read(root, 1 << 20)), ErrorKind::IsADirectory);
        assert_eq!(&*system.map(&path).unwrap(), b"12345");
        system.write_in_place(&path, b"").unwrap();
        assert_eq!(&*system.map(&path).unwrap(), b"");
    });
}

#[test]
fn an_open_file_is_read_at_any_offset_and_outlives_its_name() {
    on_both(|system, root| {
        let path = root.join("file");
        system.write_in_place(&path, b"0123456789").unwrap();
        let file = system.open(&path).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(file.read_at(3, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"3456");
        assert_eq!(file.read_at(8, &mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"89");
        assert_eq!(file.read_at(10, &mut buffer).unwrap(), 0);
        assert_eq!(file.read_at(1 << 40, &mut buffer).unwrap(), 0);
        system.append(&path, b"ab").unwrap();
        assert_eq!(file.length().unwrap(), 12);
        system.remove_file(&path).unwrap();
        assert_eq!(file.read_at(8, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"89ab");
        assert_eq!(
            system.open(&path).err().map(|error| error.kind),
            Some(ErrorKind::NotFound)
        );
    });
}

#[test]
fn an_atomic_write_replaces_and_leaves_nothing_behind() {
    on_both(|system, root| {
        let path = root.join("file");
        system.write_atomically(&path, b"old", Some(0o640)).unwrap();
        let before = system.open(&path).unwrap();
        // What an earlier crash left is no obstacle.
        system.write_in_place(&root.join("kept"), b"x").unwrap();
        system.write_atomically(&path, b"newer", None).unwrap();
        assert_eq!(read(system, &path), b"newer");
        assert_eq!(before.length().unwrap(), 3);
        assert_eq!(system.metadata(&path).unwrap().mode, Some(0o640));
        assert_eq!(system.list(root).unwrap().len(), 2);
        let absent = root.join("absent/file");
        assert_eq!(
            kind(system.write_atomically(&absent, b"", None)),
            ErrorKind::NotFound
        );
        system
            .write_atomically(&root.join("fresh"), b"", None)
            .unwrap();
        let fresh = system.metadata(&root.join("fresh")).unwrap();
        assert_eq!(fresh.mode, Some(DEFAULT_FILE_MODE));
    });
}

#[test]
fn files_grow_and_shrink() {
    on_both(|system, root| {
        let path = root.join("file");
        assert_eq!(kind(system.append(&path, b"x")), ErrorKind::NotFound);
        assert_eq!(kind(system.truncate(&path, 0)), ErrorKind::NotFound);
        system.write_in_place(&path, b"abcdef").unwrap();
        system.truncate(&path, 2).unwrap();
        system.append(&path, b"Z").unwrap();
        system.truncate(&path, 5).unwrap();
        assert_eq!(read(system, &path), b"abZ\0\0");
        system.write_in_place(&path, b"q").unwrap();
        assert_eq!(read(system, &path), b"q");
        system.sync_file(&path).unwrap();
        system.sync_dir(root).unwrap();
        assert_eq!(
            kind(system.sync_file(&root.join("absent"))),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn an_open_file_is_written_at_its_end_and_within() {
    on_both(|system, root| {
        let path = root.join("1.blk");
        assert_eq!(
            system
                .open_append(&path, None)
                .err()
                .map(|error| error.kind),
            Some(ErrorKind::NotFound)
        );
        let mut file = system.open_append(&path, Some(0o640)).unwrap();
        assert_eq!(system.metadata(&path).unwrap().mode, Some(0o640));
        file.append(&[b"ab", b"", b"cdef"]).unwrap();
        file.append(&[]).unwrap();
        file.append(&[b""]).unwrap();
        assert_eq!((file.length(), read(system, &path)), (6, b"abcdef".into()));
        file.write_at(1, b"XY").unwrap();
        file.append(&[b"g"]).unwrap();
        assert_eq!(read(system, &path), b"aXYdefg");
        file.write_at(6, b"hij").unwrap();
        assert_eq!(
            (file.length(), read(system, &path)),
            (9, b"aXYdefhij".into())
        );
        file.set_length(2).unwrap();
        file.append(&[b"z"]).unwrap();
        file.set_length(5).unwrap();
        file.append(&[b"!"]).unwrap();
        file.sync().unwrap();
        assert_eq!(read(system, &path), b"aXz\0\0!");
        // An existing file keeps its mode and is gone on with.
        let mut again = system.open_append(&path, Some(0o600)).unwrap();
        assert_eq!(again.length(), 6);
        again.append(&[b"?"]).unwrap();
        assert_eq!(read(system, &path), b"aXz\0\0!?");
        assert_eq!(system.metadata(&path).unwrap().mode, Some(0o640));
        // Under another name it is the same file.
        system.rename(&path, &root.join("2.blk")).unwrap();
        again.append(&[b"1"]).unwrap();
        assert_eq!(read(system, &root.join("2.blk")), b"aXz\0\0!?1");
        let absent = system.open_append(&root.join("absent/file"), Some(0o600));
        assert_eq!(
            absent.err().map(|error| error.kind),
            Some(ErrorKind::NotFound)
        );
        let dir = system.open_append(root, Some(0o600));
        assert_eq!(
            dir.err().map(|error| error.kind),
            Some(ErrorKind::IsADirectory)
        );
    });
}

#[test]
fn many_slices_are_written_in_order() {
    on_both(|system, root| {
        let path = root.join("file");
        let parts: Vec<Vec<u8>> = (0..5000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut file = system.open_append(&path, Some(0o600)).unwrap();
        file.append(&slices).unwrap();
        assert_eq!(read(system, &path), parts.concat());
    });
}

#[test]
fn renaming_moves_files_and_whole_directories() {
    on_both(|system, root| {
        let at = |name: &str| root.join(name);
        system.create_dir_all(&at("new/sub"), 0o700).unwrap();
        system.write_in_place(&at("new/1.blk"), b"1").unwrap();
        system.write_in_place(&at("new/sub/x"), b"x").unwrap();
        system.rename(&at("new"), &at("msgs")).unwrap();
        assert_eq!(read(system, &at("msgs/sub/x")), b"x");
        assert!(system.metadata(&at("new")).unwrap_err().is_not_found());
        system.write_in_place(&at("msgs/2.blk"), b"2").unwrap();
        system.rename(&at("msgs/2.blk"), &at("msgs/1.blk")).unwrap();
        assert_eq!(read(system, &at("msgs/1.blk")), b"2");
        system.create_dir_all(&at("other"), 0o700).unwrap();
        let onto = |from: &str, to: &str| kind(system.rename(&at(from), &at(to)));
        assert_eq!(onto("absent", "x"), ErrorKind::NotFound);
        assert_eq!(onto("other", "msgs"), ErrorKind::DirectoryNotEmpty);
        assert_eq!(onto("msgs/1.blk", "other"), ErrorKind::IsADirectory);
        assert_eq!(onto("other", "msgs/1.blk"), ErrorKind::NotADirectory);
        assert_eq!(onto("msgs", "msgs/sub/inner"), ErrorKind::InvalidInput);
        system.rename(&at("msgs"), &at("other")).unwrap();
        assert_eq!(read(system, &at("other/sub/x")), b"x");
    });
}

#[test]
fn directories_come_and_go() {
    on_both(|system, root| {
        let deep = root.join("a/b/c");
        system.create_dir_all(&deep, 0o750).unwrap();
        system.create_dir_all(&deep, 0o700).unwrap();
        assert_eq!(
            system.metadata(&root.join("a/b")).unwrap().mode,
            Some(0o750)
        );
        let file = deep.join("file");
        system.write_in_place(&file, b"x").unwrap();
        assert_eq!(
            kind(system.create_dir_all(&file, 0o700)),
            ErrorKind::AlreadyExists
        );
        assert_eq!(
            kind(system.remove_file(&root.join("gone"))),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(system.remove_dir_all(&root.join("gone"))),
            ErrorKind::NotFound
        );
        assert_eq!(kind(system.remove_dir_all(&file)), ErrorKind::NotADirectory);
        system.remove_dir_all(&root.join("a")).unwrap();
        assert!(system.list(root).unwrap().is_empty());
    });
}

#[test]
fn modes_and_times_are_kept() {
    on_both(|system, root| {
        let path = root.join("file");
        system.write_in_place(&path, b"x").unwrap();
        system.set_mode(&path, 0o640).unwrap();
        for time_ns in [1_700_000_000_123_456_789, -1] {
            system.set_modified(&path, time_ns).unwrap();
            let found = system.metadata(&path).unwrap();
            assert_eq!((found.mode, found.modified_ns), (Some(0o640), time_ns));
        }
        system.set_mode(root, 0o711).unwrap();
        assert_eq!(system.metadata(root).unwrap().mode, Some(0o711));
    });
}

#[test]
fn a_link_shares_bytes_and_a_copy_does_not() {
    on_both(|system, root| {
        let (path, link, copy) = (root.join("file"), root.join("link"), root.join("copy"));
        system.write_in_place(&path, b"one").unwrap();
        system.set_mode(&path, 0o640).unwrap();
        system
            .set_modified(&path, 1_600_000_000_000_000_001)
            .unwrap();
        let before = system.metadata(&path).unwrap();
        system.link_or_copy(&path, &link).unwrap();
        system.copy_file(&path, &copy).unwrap();
        assert_eq!(system.metadata(&copy).unwrap(), before);
        for taken in [&link, &copy] {
            assert_eq!(
                kind(system.link_or_copy(&path, taken)),
                ErrorKind::AlreadyExists
            );
            assert_eq!(
                kind(system.copy_file(&path, taken)),
                ErrorKind::AlreadyExists
            );
        }
        system.append(&path, b"!").unwrap();
        assert_eq!(
            (read(system, &link), read(system, &copy)),
            (b"one!".into(), b"one".into())
        );
        // A replaced file keeps its old content under the other name.
        system.write_atomically(&path, b"two", None).unwrap();
        assert_eq!(
            (read(system, &link), read(system, &path)),
            (b"one!".into(), b"two".into())
        );
        let absent = root.join("absent");
        assert_eq!(
            kind(system.link_or_copy(&absent, &root.join("x"))),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(system.copy_file(&absent, &root.join("x"))),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn a_tree_is_copied_whole() {
    on_both(|system, root| {
        let (from, to) = (root.join("from"), root.join("to"));
        system.create_dir_all(&from.join("obs/dur"), 0o750).unwrap();
        system
            .write_in_place(&from.join("meta.inf"), b"{}")
            .unwrap();
        system
            .write_in_place(&from.join("obs/dur/o.dat"), b"state")
            .unwrap();
        system.copy_tree(&from, &to).unwrap();
        assert_eq!(read(system, &to.join("meta.inf")), b"{}");
        assert_eq!(read(system, &to.join("obs/dur/o.dat")), b"state");
        assert_eq!(system.metadata(&to.join("obs")).unwrap().mode, Some(0o750));
        assert_eq!(kind(system.copy_tree(&from, &to)), ErrorKind::AlreadyExists);
    });
}

#[test]
fn a_lock_keeps_others_out_until_released() {
    on_both(|system, root| {
        let held = system.lock_exclusive(root).unwrap();
        let path = root.join(LOCK_FILE_NAME);
        let refused = system.lock_exclusive(root).unwrap_err();
        assert_eq!(refused, LockError::HeldElsewhere { path });
        drop(held);
        assert!(system.list(root).unwrap().is_empty());
        drop(system.lock_exclusive(root).unwrap());
        let absent = system.lock_exclusive(&root.join("absent")).unwrap_err();
        assert!(matches!(absent, LockError::Io(error) if error.is_not_found()));
    });
}
