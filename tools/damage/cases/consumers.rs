//! Sections 11.2 and 11.5: metadata of streams, and consumers.

use jetsam::crypto::Cipher;
use jetsam::format::consumer::{ConsumerState, ConsumerVersion, Pending, SequencePair};
use serde_json::json;

use super::{Case, case, two_blocks};
use crate::record::BASE_NS;
use crate::store::{KEY, Store};

const STATE: &str = "obs/c/o.dat";
const META: &str = "obs/c/meta.inf";

/// A consumer that was delivered messages up to `last`, the last of them not acknowledged.
fn state(last: u64) -> Vec<u8> {
    let pair = |seq| SequencePair {
        consumer: seq,
        stream: seq,
    };
    let mut state = ConsumerState {
        ack_floor: pair(last - 1),
        delivered: pair(last),
        ..ConsumerState::default()
    };
    state.pending.insert(
        last,
        Pending {
            consumer_sequence: last,
            timestamp_ns: BASE_NS,
        },
    );
    state.redelivered.insert(last, 2);
    state.encode(ConsumerVersion::V2, BASE_NS / 1_000_000_000)
}

fn consumed(
    slug: &'static str,
    note: &'static str,
    cipher: Option<Cipher>,
    build: impl FnOnce(&mut Store),
) -> Case {
    case("11.5", slug, note, |store| {
        if let Some(cipher) = cipher {
            store.encrypt(cipher);
        }
        two_blocks(store);
        store.index().consumer("c", &state(5));
        build(store);
    })
    .ask("consumers", json!(true))
}

/// A consumer with more in its configuration.
fn described(slug: &'static str, note: &'static str, more: serde_json::Value) -> Case {
    consumed(slug, note, None, move |store| {
        let mut meta = json!({
            "Created": "2025-12-31T00:00:00Z", "Name": "c", "durable_name": "c", "deliver_policy": "all",
            "ack_policy": "explicit", "replay_policy": "instant", "num_replicas": 0,
        });
        if let (Some(meta), Some(more)) = (meta.as_object_mut(), more.as_object()) {
            meta.extend(more.clone());
        }
        store.write(META, meta.to_string());
    })
}

/// Section 11.2.
pub fn metadata() -> Vec<Case> {
    let set = |slug, note, name: &'static str, value: serde_json::Value| {
        case("11.2", slug, note, move |store| {
            two_blocks(store);
            store.with(name, value).index();
        })
    };
    vec![
        set(
            "unknown-word",
            "a retention that is not known: offline (before 2.15.3: no metadata at all)",
            "retention",
            json!("novel"),
        ),
        set(
            "unknown-storage",
            "a storage that is not known: offline",
            "storage",
            json!("tape"),
        ),
        set(
            "wrong-type",
            "a text where a number belongs: offline",
            "max_msgs",
            json!("many"),
        ),
        set(
            "nameless",
            "a number where the name belongs: offline, without a name",
            "name",
            json!(7),
        ),
        set(
            "unknown-field",
            "a field that is not known: offline",
            "novelty",
            json!(true),
        ),
        case(
            "11.2",
            "a-list",
            "a list where an object belongs: left out",
            |store| {
                two_blocks(store);
                store.index().write("meta.inf", "[]");
            },
        ),
    ]
}

pub fn all() -> Vec<Case> {
    let sealed = Some(Cipher::ChaCha);
    vec![
        consumed("sound", "a sound consumer", None, |_| {}),
        consumed(
            "sound-encrypted",
            "a sound consumer, encrypted",
            Some(Cipher::Aes),
            |_| {},
        ),
        consumed("meta-missing", "no meta.inf: left out", None, |store| {
            store.remove(META);
        }),
        consumed("sum-missing", "no meta.sum: left out", None, |store| {
            store.remove("obs/c/meta.sum");
        }),
        consumed(
            "sum-wrong",
            "a wrong meta.sum: not compared",
            None,
            |store| {
                store.write("obs/c/meta.sum", "0123456789abcdef");
            },
        ),
        consumed(
            "meta-no-json",
            "meta.inf is no JSON: left out",
            None,
            |store| {
                store.write(META, "{");
            },
        ),
        described(
            "deliver-reserved",
            "a reserved deliver subject: the directory is deleted (H39)",
            json!({"deliver_subject": "$JS.API.STREAM.DELETE.S"}),
        ),
        described(
            "deliver-invalid",
            "a deliver subject with an empty token: the directory is deleted (H39)",
            json!({"deliver_subject": "a..b"}),
        ),
        described(
            "deliver-wildcard",
            "a deliver subject with a wildcard: left out, kept",
            json!({"deliver_subject": "a.*"}),
        ),
        described(
            "deliver-cycle",
            "it delivers into its own stream: left out, kept",
            json!({"deliver_subject": "s.x"}),
        ),
        described(
            "deliver-sound",
            "a sound deliver subject",
            json!({"deliver_subject": "d.x"}),
        ),
        described(
            "unknown-word",
            "an ack policy that is not known: the stream is stopped over it",
            json!({"ack_policy": "novel"}),
        ),
        described(
            "unknown-type",
            "a number where a text belongs: the stream is stopped over it",
            json!({"filter_subject": 7}),
        ),
        consumed(
            "floor-above-pending",
            "an ack floor above what is pending, as ack-all consumers of older servers wrote it",
            None,
            |store| {
                let mut found = ConsumerState {
                    ack_floor: SequencePair {
                        consumer: 4,
                        stream: 1,
                    },
                    delivered: SequencePair {
                        consumer: 4,
                        stream: 3,
                    },
                    ..ConsumerState::default()
                };
                for seq in [2, 3] {
                    let pending = Pending {
                        consumer_sequence: seq,
                        timestamp_ns: BASE_NS,
                    };
                    found.pending.insert(seq, pending);
                }
                store.write(
                    STATE,
                    found.encode(ConsumerVersion::V2, BASE_NS / 1_000_000_000),
                );
            },
        ),
        consumed(
            "sealed-meta-short",
            "a sealed meta.inf shorter than its nonce: the server crashes (H24)",
            sealed,
            |store| store.file(META).truncate(20),
        ),
        consumed(
            "sealed-meta-flipped",
            "a sealed meta.inf that does not open: left out",
            sealed,
            |store| {
                store.flip(META, 60, 1);
            },
        ),
        consumed(
            "sealed-state-short",
            "a sealed o.dat shorter than its nonce: the server crashes (H24)",
            sealed,
            |store| store.file(STATE).truncate(20),
        ),
        consumed(
            "sealed-state-flipped",
            "a sealed o.dat that does not open: the consumer fails, its directory stays",
            sealed,
            |store| {
                store.flip(STATE, 30, 1);
            },
        ),
        consumed(
            "state-empty",
            "an empty o.dat is a valid state of nothing: delivery starts again (H32)",
            None,
            |store| store.file(STATE).clear(),
        ),
        consumed("state-missing", "no o.dat", None, |store| {
            store.remove(STATE);
        }),
        consumed(
            "state-magic",
            "o.dat does not begin with 22",
            None,
            |store| {
                store.flip(STATE, 0, 1);
            },
        ),
        consumed("state-version", "o.dat of version 7", None, |store| {
            store.file(STATE)[1] = 7
        }),
        consumed(
            "state-cut",
            "o.dat cut inside its pending messages",
            None,
            |store| {
                store.cut(STATE, 6);
            },
        ),
        consumed(
            "state-cut-in-redelivered",
            "o.dat cut inside its redelivered messages: not noticed",
            None,
            |store| {
                store.cut(STATE, 1);
            },
        ),
        consumed(
            "ahead-of-stream",
            "a consumer ahead of its stream",
            None,
            |store| {
                store.consumer("c", &state(40));
            },
        ),
        consumed(
            "previous-key",
            "the previous key is not tried for consumers (H7)",
            sealed,
            |store| {
                store.encrypt_with("older-fixture-key", Cipher::ChaCha);
                two_blocks(store);
                store.index().consumer("c", &state(5));
            },
        )
        .ask("key", json!(KEY))
        .ask("prev_key", json!("older-fixture-key")),
        consumed(
            "key-missing",
            "no meta.key beside a sealed consumer: left out",
            sealed,
            |store| {
                store.remove("obs/c/meta.key");
            },
        ),
    ]
}
