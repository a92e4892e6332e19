//! Section 3.2: block keys.

use jetsam::crypto::Cipher;
use jetsam::format::state::StateFile;
use serde_json::{Value, json};

use super::{Case, case, two_blocks};
use crate::record::{erased, msg, msgs, tomb};
use crate::store::{KEY, Store};

const OLD_KEY: &str = "older-fixture-key";

fn encrypted(
    slug: &'static str,
    note: &'static str,
    cipher: Cipher,
    build: impl FnOnce(&mut Store),
) -> Case {
    case("3.2", slug, note, |store| {
        store.encrypt(cipher);
        two_blocks(store);
        build(store);
    })
}

/// A plain store that is opened with a key.
fn enabling(slug: &'static str, note: &'static str, build: impl FnOnce(&mut Store)) -> Case {
    case("3.2", slug, note, |store| {
        two_blocks(store);
        build(store);
    })
    .ask("key", json!(KEY))
    .ask_cipher(Cipher::ChaCha)
}

pub fn all() -> Vec<Case> {
    [enabled(), damaged(), rotated()]
        .into_iter()
        .flatten()
        .collect()
}

fn enabled() -> Vec<Case> {
    vec![
        enabling(
            "enabled",
            "a plain store, a key is configured: every block is encrypted",
            |_| {},
        ),
        enabling(
            "enabled-with-index",
            "the same with a sound index: only the last block is encrypted",
            |store| {
                store.index();
            },
        ),
        enabling(
            "enabled-erased-record-flipped",
            "a deleted record does not verify: the first read does not get the block under its new key, and later ones read noise",
            |store| {
                store
                    .block(1, vec![msg(1), erased(2), msg(3), msg(4)])
                    .index();
                let at = store.offset(1, 1) + 13;
                store.flip("msgs/1.blk", at, 4);
            },
        ),
        enabling(
            "enabled-empty-last-block",
            "an empty last block is not looked into under a sound index, and gets no key",
            |store| {
                store.block(1, msgs(1..=4)).block(2, vec![]);
                store.index_with(|state| {
                    let block = &mut state.blocks[1];
                    (block.first_sequence, block.last_sequence) = (5, 4);
                    block.last_time_ns = state.last_time_ns;
                    (state.messages, state.last_sequence) = (4, 4);
                    state.last_record_hash = [0; 8];
                });
            },
        ),
        enabling(
            "enabled-beyond-the-totals",
            "the block that is encrypted holds a message that index and totals do not know: it is not found",
            |store| {
                store.remove("msgs/1.blk");
                store.blocks.remove(&1);
                store.block(2, vec![msg(5)]);
                store.index_with(claims_nothing);
            },
        ),
        enabling(
            "enabled-under-a-stale-index",
            "the block is encrypted while the index is held against it, by the range that the index knows; what is in it would not be by its own",
            |store| {
                store.remove("msgs/1.blk");
                store.blocks.remove(&1);
                store.block(2, vec![tomb(0)]);
                store.index_with(|state| {
                    claims_nothing(state);
                    state.last_record_hash = [1; 8];
                });
            },
        ),
        enabling(
            "enabled-torn-tail",
            "a torn last block meets its fresh key twice: the whole block goes",
            |store| {
                store.index().block(2, msgs(5..=8)).cut("msgs/2.blk", 9);
            },
        ),
        enabling(
            "enabled-torn-tail-no-index",
            "without an index the torn block cannot be converted: the open call fails",
            |store| {
                store.cut("msgs/2.blk", 9);
            },
        ),
        enabling(
            "enabled-empty-block",
            "a block without bytes cannot be converted: the open call fails",
            |store| {
                store.put_block(3, &[]);
            },
        ),
        enabling(
            "enabled-bit-flipped",
            "a flipped bit in an older block: it cannot be converted, the open call fails",
            |store| {
                store.flip("msgs/1.blk", 60, 2);
            },
        ),
        enabling(
            "enabled-compressed",
            "compressed blocks are encrypted in their decoded form",
            |store| {
                store.compress();
                two_blocks(store);
            },
        ),
        enabling(
            "enabled-erased",
            "a block that begins with an erased record",
            |store| {
                store.block(
                    1,
                    vec![
                        crate::record::erased(1),
                        crate::record::msg(2),
                        crate::record::msg(3),
                    ],
                );
            },
        ),
        enabling(
            "enabled-only-tombstones",
            "a block of tombstones alone",
            |store| {
                store.block(3, vec![crate::record::tomb(6)]);
            },
        ),
    ]
}

fn damaged() -> Vec<Case> {
    vec![
        encrypted(
            "key-missing",
            "the key of an encrypted block is gone: the server writes a fresh one, and the open call fails",
            Cipher::ChaCha,
            |store| {
                store.remove("msgs/1.key");
            },
        ),
        encrypted(
            "key-missing-with-index",
            "the same for an older block under a sound index: nobody looks, its messages cannot be read",
            Cipher::ChaCha,
            |store| {
                store.index().remove("msgs/1.key");
            },
        ),
        encrypted(
            "wrong-key-beside",
            "what the open call before left behind: a fresh key beside a block it does not open. The block goes, silently",
            Cipher::ChaCha,
            |store| {
                let bytes = store.files["msgs/1.blk"].clone();
                store.encrypt_with("another-key-of-another-seed", Cipher::ChaCha);
                let mut noise = bytes;
                for (at, byte) in noise.iter_mut().enumerate() {
                    *byte ^= (at as u8).wrapping_mul(37) ^ 0xA7;
                }
                store.encrypt(Cipher::ChaCha).write("msgs/1.blk", noise);
            },
        ),
        encrypted(
            "key-short",
            "a key file of 63 bytes: the block is deleted without a word",
            Cipher::Aes,
            |store| {
                store.cut("msgs/1.key", 1);
            },
        ),
        encrypted(
            "key-empty",
            "a key file without bytes: the block is deleted without a word",
            Cipher::ChaCha,
            |store| {
                store.write("msgs/1.key", "");
            },
        ),
        encrypted(
            "key-does-not-open",
            "no key opens the key file: the block is deleted without a word",
            Cipher::ChaCha,
            |store| {
                store.flip("msgs/2.key", 50, 1);
            },
        ),
        encrypted(
            "last-key-does-not-open-with-index",
            "the same for the last block under an index",
            Cipher::ChaCha,
            |store| {
                store.index().flip("msgs/2.key", 50, 1);
            },
        ),
        encrypted(
            "key-unreadable",
            "a key file that is a directory counts as missing, and no fresh one can take its place: the open call fails",
            Cipher::ChaCha,
            |store| {
                store.remove("msgs/1.key").write("msgs/1.key/kept", "");
            },
        ),
        encrypted(
            "orphan-keys",
            "keys without blocks and keys with odd names are swept away",
            Cipher::ChaCha,
            |store| {
                store
                    .write("msgs/9.key", [1; 72])
                    .write("msgs/x.key", [1; 72])
                    .write("msgs/01.key", [1; 72]);
            },
        ),
        encrypted(
            "record-bit-flipped",
            "one bit of an encrypted block: the tail from there on is cut",
            Cipher::Aes,
            |store| {
                let at = store.offset(1, 2) + 25;
                store.flip("msgs/1.blk", at, 8);
            },
        ),
        encrypted(
            "no-key-given",
            "an encrypted store and no key: the server leaves the stream alone",
            Cipher::ChaCha,
            |_| {},
        )
        .ask("key", Value::Null)
        .ask("cipher", Value::Null),
        encrypted(
            "other-key-given",
            "an encrypted store and a wrong key: the server leaves the stream alone",
            Cipher::ChaCha,
            |_| {},
        )
        .ask("key", json!("wrong")),
        encrypted(
            "meta-key-missing",
            "meta.key is gone: sealed metadata does not parse, the stream is left alone",
            Cipher::ChaCha,
            |store| {
                store.meta_sealed = false;
                store.write("meta.inf", [0x9C; 300]);
            },
        ),
        encrypted(
            "plain-meta",
            "plain metadata beside encrypted blocks: no asset key, blocks by their own keys",
            Cipher::ChaCha,
            |store| {
                store.meta_sealed = false;
            },
        ),
    ]
}

/// The index knows of no message, and block 2 to begin with sequence 5.
fn claims_nothing(state: &mut StateFile) {
    let block = &mut state.blocks[0];
    (block.first_sequence, block.last_sequence, block.bytes) = (5, 4, 0);
    (state.messages, state.bytes) = (0, 0);
    (state.first_sequence, state.last_sequence) = (5, 4);
    state.subjects = Default::default();
}

fn rotated() -> Vec<Case> {
    let rotated = |slug, note, build: fn(&mut Store)| {
        case("3.2", slug, note, |store| {
            store.encrypt_with(OLD_KEY, Cipher::ChaCha);
            two_blocks(store);
            build(store);
        })
        .ask("key", json!(KEY))
        .ask("prev_key", json!(OLD_KEY))
    };
    let other_cipher = |slug, note, build: fn(&mut Store)| {
        encrypted(slug, note, Cipher::Aes, build).ask_cipher(Cipher::ChaCha)
    };
    vec![
        rotated(
            "rotated",
            "sealed under the previous key: every block is rewritten under the new one",
            |store| {
                store.index();
            },
        ),
        rotated(
            "rotated-torn-tail",
            "the same with a torn tail: the walk may not cut, the open call fails",
            |store| {
                store.cut("msgs/2.blk", 5);
            },
        ),
        rotated(
            "rotated-empty-block",
            "the same with a block without bytes: the open call fails",
            |store| {
                store.put_block(3, &[]);
            },
        ),
        rotated(
            "rotated-new-key-old-block",
            "a crash between key and block: the new key cannot read the block, it goes",
            |store| {
                let mut half = Store::new();
                half.encrypt(Cipher::ChaCha).block(1, msgs(1..=4));
                let new_key = half.files["msgs/1.key"].clone();
                half.encrypt(Cipher::Aes).block(1, msgs(1..=4));
                let old = half.files["msgs/1.blk"].clone();
                store.write("msgs/1.key", new_key).write("msgs/1.blk", old);
            },
        ),
        rotated(
            "rotated-half",
            "block 1 is under the new key already",
            |store| {
                let mut new = Store::new();
                new.encrypt(Cipher::ChaCha).block(1, msgs(1..=4));
                for (path, bytes) in new.files {
                    store.write(&path, bytes);
                }
            },
        ),
        other_cipher(
            "other-cipher",
            "sealed with AES, ChaCha is configured: every block is rewritten",
            |store| {
                store.index();
            },
        ),
        other_cipher(
            "other-cipher-torn-tail",
            "the same with a torn tail: the open call fails",
            |store| {
                store.cut("msgs/1.blk", 5);
            },
        ),
    ]
}
