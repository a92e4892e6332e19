//! On the real file system, where links and times are real.

#![allow(clippy::disallowed_methods, reason = "the tests look behind the seam")]

use std::fs;

use super::*;
use crate::env::OsFileSystem;

/// Bytes, mode and time of every file below a directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, Metadata)> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in OsFileSystem.list(&dir).unwrap() {
            let path = dir.join(entry.name);
            let metadata = OsFileSystem.metadata(&path).unwrap();
            if metadata.kind == crate::env::FileKind::Dir {
                dirs.push(path.clone());
                found.insert(
                    path,
                    (
                        Vec::new(),
                        Metadata {
                            modified_ns: 0,
                            ..metadata
                        },
                    ),
                );
            } else {
                found.insert(path.clone(), (fs::read(&path).unwrap(), metadata));
            }
        }
    }
    found
}

#[test]
fn apply_and_undo_on_real_files() {
    let (old, new) = (old_server_key(), new_server_key());
    let keys = keys(Some(&new), Some(&old));
    for (name, twin, changes) in cases() {
        let root = tempfile::tempdir().unwrap();
        for (path, (bytes, metadata)) in snapshot(&twin).0 {
            let path = root.path().join(path.strip_prefix(dir()).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            OsFileSystem
                .set_mode(&path, metadata.mode.unwrap())
                .unwrap();
            OsFileSystem
                .set_modified(&path, metadata.modified_ns)
                .unwrap();
        }
        let before = tree(root.path());
        let entropy = SeededEntropy::new(7);
        let mut recorder = Recorder::new(&OsFileSystem, root.path()).unwrap();
        let stop = || false;
        apply(
            &OsFileSystem,
            root.path(),
            &changes,
            &keys,
            &entropy,
            Some(&mut recorder),
            &stop,
        )
        .unwrap();
        apply_to(&twin, &changes, &keys, true).unwrap();
        let on_disk: BTreeMap<String, Vec<u8>> = tree(root.path())
            .into_iter()
            .filter(|(_, (_, metadata))| metadata.kind == crate::env::FileKind::File)
            .map(|(path, (bytes, _))| {
                (
                    path.strip_prefix(root.path())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                    bytes,
                )
            })
            .filter(|(path, _)| !path.contains("jetsam"))
            .collect();
        assert_eq!(on_disk, store_files(&twin), "{name}");
        undo(&OsFileSystem, root.path()).unwrap();
        assert_eq!(tree(root.path()), before, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_directory_are_not_followed() {
    let plain = keys(None, None);
    let root = tempfile::tempdir().unwrap();
    let (store, other) = (root.path().join("S"), root.path().join("other"));
    fs::create_dir_all(&store).unwrap();
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("1.blk"), b"somebody else's").unwrap();
    std::os::unix::fs::symlink(&other, store.join("msgs")).unwrap();
    std::os::unix::fs::symlink(other.join("1.blk"), store.join("meta.inf")).unwrap();
    let before = tree(root.path());
    for undoable in [false, true] {
        for change in [
            remove("msgs/1.blk"),
            remove("meta.inf"),
            Change::SetLength {
                path: path("msgs/1.blk"),
                length: 0,
            },
            Change::SetLength {
                path: path("meta.inf"),
                length: 0,
            },
            Change::RemoveTree { path: path("msgs") },
            Change::Write {
                path: path("meta.inf"),
                bytes: Vec::new(),
            },
        ] {
            let entropy = SeededEntropy::new(7);
            let mut recorder = Recorder::new(&OsFileSystem, &store).unwrap();
            let recorder = undoable.then_some(&mut recorder);
            let error = apply(
                &OsFileSystem,
                &store,
                &[change],
                &plain,
                &entropy,
                recorder,
                &|| false,
            )
            .unwrap_err();
            assert!(
                matches!(
                    error.cause,
                    ApplyCause::Path(undo::PathFault::SymbolicLink { .. })
                ),
                "{error:?}"
            );
            assert_eq!(tree(root.path()), before);
        }
    }
}
