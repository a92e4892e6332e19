//! Manifests that lie, and stores that others have changed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::env::memory::MemoryFileSystem;

fn dir() -> &'static Path {
    Path::new("/js/S")
}

fn with_manifest(lines: &str) -> MemoryFileSystem {
    let fs = MemoryFileSystem::with_files([
        ("/js/S/meta.inf", "{}"),
        ("/js/S/msgs/1.blk", "block"),
        ("/js/other", "other"),
        ("/js/S/.jetsam-undo/0", "saved"),
    ]);
    let text = format!("{{\"jetsam_undo\":1}}\n{lines}");
    fs.seed_file("/js/S/.jetsam-undo/manifest.jsonl", text);
    fs
}

fn refused(lines: &str) -> UndoError {
    let fs = with_manifest(lines);
    let before: BTreeMap<PathBuf, Vec<u8>> = fs.files();
    let error = undo(&fs, dir()).unwrap_err();
    assert_eq!(fs.files(), before, "{lines}");
    error
}

#[test]
fn names_that_lead_out_are_refused_before_anything_is_done() {
    let names = [
        "../other",
        "/js/other",
        "msgs/../../other",
        "",
        ".",
        ".jetsam-undo/0",
        "msgs/../meta.inf",
        "a\\\\b",
        "a\\u0000",
    ];
    for name in names {
        let harmless = "{\"before\":[{\"was\":\"absent\",\"path\":\"meta.inf\"}]}\n";
        for entry in [
            format!("{{\"was\":\"absent\",\"path\":\"{name}\"}}"),
            format!(
                "{{\"was\":\"file\",\"path\":\"{name}\",\"saved\":0,\"length\":5,\"mode\":null,\"modified_ns\":0}}"
            ),
            format!("{{\"was\":\"tree\",\"path\":\"{name}\",\"saved\":0}}"),
            format!("{{\"was\":\"renamed\",\"from\":\"{name}\",\"to\":\"meta.inf\"}}"),
            format!("{{\"was\":\"renamed\",\"from\":\"x\",\"to\":\"{name}\"}}"),
        ] {
            let error = refused(&format!("{{\"before\":[{entry}]}}\n{harmless}"));
            assert!(
                matches!(error, UndoError::Path(PathFault::Outside { .. })),
                "{name}: {error:?}"
            );
        }
    }
}

#[test]
fn what_is_saved_is_a_number() {
    let entry = "{\"was\":\"tree\",\"path\":\"x\",\"saved\":\"../../other\"}";
    let error = refused(&format!("{{\"before\":[{entry}]}}\n"));
    assert!(
        matches!(error, UndoError::Manifest { line: 2, .. }),
        "{error:?}"
    );
}

#[test]
fn damage_and_loss_are_told() {
    assert!(matches!(
        refused("{\"before\":7}\n"),
        UndoError::Manifest { line: 2, .. }
    ));
    let fs = with_manifest("");
    fs.seed_file("/js/S/.jetsam-undo/manifest.jsonl", "{\"jetsam_undo\":2}\n");
    assert_eq!(undo(&fs, dir()), Err(UndoError::Version { found: 2 }));
    fs.remove_file(Path::new("/js/S/.jetsam-undo/manifest.jsonl"))
        .unwrap();
    assert!(matches!(
        undo(&fs, dir()),
        Err(UndoError::Manifest { line: 1, .. })
    ));

    let file = |saved: u64, length: u64| {
        format!(
            "{{\"before\":[{{\"was\":\"file\",\"path\":\"msgs/1.blk\",\"saved\":{saved},\"length\":{length},\
             \"mode\":null,\"modified_ns\":0}}]}}\n"
        )
    };
    let lost = UndoError::Lost {
        path: "msgs/1.blk".to_owned(),
    };
    // Another length than noted, in the area or, once it is out of the area, in the store.
    assert_eq!(refused(&file(0, 6)), lost);
    assert_eq!(refused(&file(9, 6)), lost);
    let tail = |from: u64, length: u64| {
        format!(
            "{{\"before\":[{{\"was\":\"tail\",\"path\":\"msgs/1.blk\",\"saved\":0,\"from\":{from},\
             \"length\":{length},\"mode\":null,\"modified_ns\":0}}]}}\n"
        )
    };
    assert_eq!(refused(&tail(6, 11)), lost);
    assert_eq!(refused(&tail(2, 8)), lost);
    assert_eq!(refused(&tail(u64::MAX, 4)), lost);
    let fs = with_manifest(&tail(2, 7));
    undo(&fs, dir()).unwrap();
    assert_eq!(fs.files()[Path::new("/js/S/msgs/1.blk")], b"blsaved");
}

#[test]
fn changes_by_others_are_not_taken_away() {
    let fs =
        MemoryFileSystem::with_files([("/js/S/msgs/1.blk", "old"), ("/js/S/msgs/2.blk", "two")]);
    let (block, gone) = (dir().join("msgs/1.blk"), dir().join("msgs/2.blk"));
    let mut recorder = Recorder::new(&fs, dir()).unwrap();
    recorder
        .file_will_be_replaced("msgs/1.blk", &block)
        .unwrap();
    let target = recorder.file_will_be_moved("msgs/2.blk", &gone).unwrap();
    recorder.commit().unwrap();
    fs.write_atomically(&block, b"new!", None).unwrap();
    fs.rename(&gone, &target).unwrap();
    recorder.finish().unwrap();
    assert_eq!(area_state(&fs, dir()), Ok(AreaState::Finished));
    for (path, bytes) in [(&block, "longer"), (&gone, "came back")] {
        let fs = fs.fork();
        fs.write_atomically(path, bytes.as_bytes(), None).unwrap();
        let before = fs.files();
        assert!(matches!(
            undo(&fs, dir()),
            Err(UndoError::ChangedSince { .. })
        ));
        assert_eq!(fs.files(), before);
        undo_despite_changes(&fs, dir()).unwrap();
        assert_eq!(fs.files()[&block], b"old");
        assert_eq!(fs.files()[&gone], b"two");
    }
    let fs = fs.fork();
    fs.set_modified(&block, 5).unwrap();
    assert!(matches!(
        undo(&fs, dir()),
        Err(UndoError::ChangedSince { .. })
    ));
}

#[test]
fn a_directory_that_others_use_is_not_removed() {
    let lines = "{\"before\":[{\"was\":\"absent\",\"path\":\"msgs\"}]}\n";
    assert_eq!(
        refused(lines),
        UndoError::InTheWay {
            path: "msgs".to_owned()
        }
    );
}

#[cfg(unix)]
#[test]
fn links_in_the_area_and_the_store_are_refused() {
    use crate::env::OsFileSystem;
    let lines = "{\"jetsam_undo\":1}\n{\"before\":[{\"was\":\"tail\",\"path\":\"msgs/1.blk\",\"from\":0,\"saved\":0,\
                 \"length\":5,\"mode\":null,\"modified_ns\":0}]}\n";
    // Which of the four is a link, and where it leads.
    for link in [
        "S/.jetsam-undo/0",
        "S/msgs/1.blk",
        "S/msgs",
        "S/.jetsam-undo",
    ] {
        let root = tempfile::tempdir().unwrap();
        let fs = OsFileSystem;
        for dir in ["S/msgs", "S/.jetsam-undo"] {
            fs.create_dir_all(&root.path().join(dir), 0o700).unwrap();
        }
        for (path, bytes) in [
            ("S/msgs/1.blk", "block"),
            ("S/.jetsam-undo/0", "saved"),
            ("S/.jetsam-undo/manifest.jsonl", lines),
        ] {
            fs.write_in_place(&root.path().join(path), bytes.as_bytes())
                .unwrap();
        }
        let (linked, outside) = (root.path().join(link), root.path().join("outside"));
        fs.rename(&linked, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &linked).unwrap();
        let error = undo(&fs, &root.path().join("S")).unwrap_err();
        assert!(
            matches!(error, UndoError::Path(PathFault::SymbolicLink { .. })),
            "{link}: {error:?}"
        );
        assert_eq!(
            fs.metadata(&linked).unwrap(),
            fs.metadata(&outside).unwrap()
        );
        let block = fs.read(&root.path().join("S/msgs/1.blk"), 100).unwrap();
        assert_eq!(block, b"block", "{link}");
    }
}
