use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::net::UnixListener;

use super::super::{Clock, Entropy, LOCK_FILE_NAME};
use super::clock::nanoseconds;
use super::*;
use crate::env::{FileKind, ReadFiles};

#[test]
fn links_are_listed_as_links_and_followed_otherwise() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    OsFileSystem.write_in_place(&at("file"), b"12345").unwrap();
    symlink("file", at("link")).unwrap();
    symlink("nowhere", at("loose")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let listed = OsFileSystem.list(root.path()).unwrap();
    let kinds: Vec<_> = listed
        .iter()
        .map(|entry| (entry.kind, entry.length))
        .collect();
    let link = (FileKind::Symlink, 0);
    assert_eq!(
        kinds,
        [(FileKind::File, 5), link, link, (FileKind::Other, 0)]
    );
    assert_eq!(OsFileSystem.metadata(&at("link")).unwrap().length, 5);
    assert!(
        OsFileSystem
            .metadata(&at("loose"))
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn copying_a_tree_follows_links_to_files_and_refuses_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    OsFileSystem.create_dir_all(&from, 0o700).unwrap();
    OsFileSystem
        .write_in_place(&root.path().join("file"), b"far")
        .unwrap();
    symlink("../file", from.join("link")).unwrap();
    OsFileSystem.copy_tree(&from, &to).unwrap();
    let copied = OsFileSystem.list(&to).unwrap();
    assert_eq!((copied[0].kind, copied[0].length), (FileKind::File, 3));
    symlink("..", from.join("up")).unwrap();
    let error = OsFileSystem
        .copy_tree(&from, &root.path().join("again"))
        .unwrap_err();
    assert_eq!(
        (error.kind, error.path),
        (io::ErrorKind::Unsupported, from.join("up"))
    );
}

#[test]
fn a_stale_temporary_file_is_cleared_and_never_written_through() {
    let root = tempfile::tempdir().unwrap();
    let (path, victim) = (root.path().join("file"), root.path().join("victim"));
    OsFileSystem.write_in_place(&victim, b"mine").unwrap();
    symlink(&victim, temporary_path(&path)).unwrap();
    OsFileSystem.write_atomically(&path, b"new", None).unwrap();
    assert_eq!(OsFileSystem.read(&victim, 10).unwrap(), b"mine");
    assert_eq!(OsFileSystem.read(&path, 10).unwrap(), b"new");
    assert_eq!(OsFileSystem.list(root.path()).unwrap().len(), 2);
}

#[test]
fn a_failed_atomic_write_removes_its_temporary_file() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("dir");
    OsFileSystem
        .create_dir_all(&path.join("full"), 0o700)
        .unwrap();
    let error = OsFileSystem
        .write_atomically(&path, b"x", None)
        .unwrap_err();
    assert_eq!(error.operation, Operation::WriteAtomically);
    assert_eq!(OsFileSystem.list(root.path()).unwrap().len(), 1);
}

#[test]
fn new_and_replaced_files_keep_the_owner_the_server_runs_as() {
    let root = tempfile::tempdir().unwrap();
    // Only the superuser can give files away, and only for the superuser it matters.
    if chown(root.path(), Some(12345), Some(23456)).is_err() {
        return;
    }
    let at = |name: &str| root.path().join(name);
    let owner = |name: &str| {
        let metadata = fs::metadata(at(name)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    OsFileSystem
        .write_atomically(&at("fresh"), b"", None)
        .unwrap();
    OsFileSystem.write_in_place(&at("placed"), b"").unwrap();
    OsFileSystem.create_dir_all(&at("a/b"), 0o700).unwrap();
    chown(at("placed"), Some(1), Some(2)).unwrap();
    OsFileSystem.write_in_place(&at("placed"), b"x").unwrap();
    OsFileSystem
        .copy_file(&at("placed"), &at("copied"))
        .unwrap();
    assert_eq!(
        [owner("fresh"), owner("a"), owner("a/b")],
        [(12345, 23456); 3]
    );
    assert_eq!([owner("placed"), owner("copied")], [(1, 2); 2]);
    OsFileSystem
        .write_atomically(&at("placed"), b"y", None)
        .unwrap();
    assert_eq!(owner("placed"), (1, 2));
}

#[test]
fn a_lock_file_left_by_a_crash_is_no_obstacle() {
    let root = tempfile::tempdir().unwrap();
    OsFileSystem
        .write_in_place(&root.path().join(LOCK_FILE_NAME), b"")
        .unwrap();
    let held = OsFileSystem.lock_exclusive(root.path()).unwrap();
    // A holder whose file was swapped keeps nobody from the new one, and does not remove it.
    fs::remove_file(root.path().join(LOCK_FILE_NAME)).unwrap();
    let other = OsFileSystem.lock_exclusive(root.path()).unwrap();
    drop(held);
    assert!(OsFileSystem.lock_exclusive(root.path()).is_err());
    drop(other);
    assert!(OsFileSystem.list(root.path()).unwrap().is_empty());
}

#[test]
fn many_threads_never_hold_one_lock_together() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let root = tempfile::tempdir().unwrap();
    let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let Ok(held) = OsFileSystem.lock_exclusive(root.path()) else {
                        continue;
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    taken.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                }
            });
        }
    });
    assert!(taken.into_inner() > 0);
}

#[test]
fn errors_name_operation_path_and_cause() {
    let error = OsFileSystem
        .read(Path::new("/nonexistent/file"), 1)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot open /nonexistent/file: "),
        "{text}"
    );
    assert!(text.contains("os error 2"), "{text}");
    let error = IoError::new(
        Operation::Append,
        Path::new("f"),
        io::ErrorKind::StorageFull,
    );
    assert_eq!(error.to_string(), "cannot append to f: no storage space");
}

#[test]
fn the_clock_runs_and_random_bytes_differ() {
    // 2020 to 2262.
    assert!(OsClock.now_ns() > 1_577_836_800_000_000_000);
    let mut drawn = [[0; 32]; 2];
    drawn
        .iter_mut()
        .for_each(|bytes| OsEntropy.fill(bytes).unwrap());
    assert_ne!(drawn[0], drawn[1]);
    assert_eq!(nanoseconds(system_time(i64::MIN)), i64::MIN);
    assert_eq!(nanoseconds(system_time(i64::MAX)), i64::MAX);
}
