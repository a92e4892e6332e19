//! Names in `msgs`, and purge staging.

use super::{Case, case, two_blocks};
use crate::record::{msgs, tomb};
use crate::store::Store;

/// Section 3.1.
pub fn names() -> Vec<Case> {
    let named = |slug, note, name: &'static str| {
        case("3.1", slug, note, move |store| {
            two_blocks(store);
            let bytes = store.files["msgs/1.blk"].clone();
            store.write(&format!("msgs/{name}"), bytes);
        })
    };
    vec![
        named(
            "text-between",
            "1.blk.bak.blk makes block 1 count twice",
            "1.blk.bak.blk",
        ),
        named("leading-zero", "01.blk makes block 1 count twice", "01.blk"),
        named(
            "minus-sign",
            "-1.blk stands for no block that could be opened: the open call fails",
            "-1.blk",
        ),
        named("plus-sign", "+1.blk makes block 1 count twice", "+1.blk"),
        named(
            "beyond-32-bits",
            "4294967297.blk is block 1 in 32 bits",
            "4294967297.blk",
        ),
        named(
            "no-such-block",
            "05.blk stands for a block 5 that is not there",
            "05.blk",
        ),
        named(
            "staged-leftovers",
            "files of an interrupted rewrite are nobody's",
            "1.blk.tmp",
        ),
        named("other-suffix", "1.blk.bak is no block", "1.blk.bak"),
        named("no-number", "x.blk is no block", "x.blk"),
        case(
            "3.1",
            "ambiguous-under-index",
            "01.blk under a sound index: not looked at",
            |store| {
                two_blocks(store);
                let bytes = store.files["msgs/1.blk"].clone();
                store.index().write("msgs/01.blk", bytes);
            },
        ),
        case(
            "3.1",
            "greater-by-sign",
            "+7.blk counts as a block behind the last",
            |store| {
                two_blocks(store);
                store.index().write("msgs/+7.blk", "");
            },
        ),
    ]
}

fn staged(slug: &'static str, note: &'static str, build: impl FnOnce(&mut Store)) -> Case {
    case("10", slug, note, |store| {
        two_blocks(store);
        build(store);
    })
}

/// The marker of a purge up to and with message 7, as it is staged.
fn marker(store: &mut Store, path: &str, number: u32) {
    let content = store.content(number, &[tomb(7)]);
    store.write(path, content);
}

/// Section 10.
pub fn staging() -> Vec<Case> {
    vec![
        staged(
            "marker-staged",
            "the marker block is staged: the purge is finished",
            |store| {
                store.index();
                marker(store, "__new_msgs__/3.blk", 3);
            },
        ),
        staged(
            "marker-staged-old-there",
            "the marker is staged and old messages were being deleted",
            |store| {
                marker(store, "__new_msgs__/3.blk", 3);
                let old = store.content(1, &msgs(1..=2));
                store.write("__msgs__/1.blk", old);
            },
        ),
        staged(
            "overtaken",
            "a server without that directory went on after the purge was staged: it is finished over what came since",
            |store| {
                store.block(3, msgs(8..=9)).index();
                marker(store, "__new_msgs__/3.blk", 3);
            },
        ),
        staged(
            "begun-anew",
            "the old messages had been put aside, and such a server began anew: what it stored goes",
            |store| {
                let old = store.content(1, &msgs(1..=7));
                store.blocks.clear();
                store.files.clear();
                store.block(1, msgs(1..=2)).index();
                store.write("__msgs__/1.blk", old);
                marker(store, "__new_msgs__/3.blk", 3);
            },
        ),
        staged(
            "between-renames",
            "msgs is moved away already, the marker not yet in its place",
            |store| {
                store.blocks.clear();
                let files = std::mem::take(&mut store.files);
                for (path, bytes) in files {
                    store.write(&path.replace("msgs/", "__msgs__/"), bytes);
                }
                marker(store, "__new_msgs__/3.blk", 3);
            },
        ),
        staged(
            "old-messages-left",
            "the purge is done but for the deletion of the old messages",
            |store| {
                store.files.clear();
                store.block(3, vec![tomb(7)]);
                let old = store.content(1, &msgs(1..=2));
                store.write("__msgs__/1.blk", old);
            },
        ),
        staged(
            "only-a-key-staged",
            "only the marker's key is staged: the purge is taken back, block 2 goes with it",
            |store| {
                store.write("__new_msgs__/2.key", [5; 72]);
            },
        ),
        staged(
            "only-a-key-staged-with-index",
            "the same under an index: the last block is missing then",
            |store| {
                store.index().write("__new_msgs__/2.key", [5; 72]);
            },
        ),
        staged(
            "key-of-no-block-staged",
            "a staged key whose block does not exist yet: nothing goes",
            |store| {
                store.index().write("__new_msgs__/3.key", [5; 72]);
            },
        ),
        staged(
            "nothing-staged",
            "a staging directory with a foreign file: removed, __msgs__ stays",
            |store| {
                let old = store.content(1, &msgs(1..=2));
                store
                    .write("__new_msgs__/note", "x")
                    .write("__msgs__/1.blk", old);
            },
        ),
        staged(
            "junk-staged",
            "four bytes of junk named junk.blk are staged: all messages go",
            |store| {
                store.index().write("__new_msgs__/junk.blk", "junk");
            },
        ),
        staged(
            "empty-marker-staged",
            "a staged marker without a byte: all messages go, and the last sequence",
            |store| {
                store.write("__new_msgs__/3.blk", "");
            },
        ),
        staged("old-is-a-file", "__msgs__ is a file", |store| {
            store.write("__msgs__", "x");
        }),
    ]
}
