//! The stream's configuration, and the side files without a checksum.

use jetsam::format::record::parse_at;
use jetsam::format::sources::{SourceEntry, SourcesFile};
use jetsam::format::timers::{Expiry, ExpiryFile, Schedule, ScheduleFile};
use serde_json::{Value, json};

use super::records;
use crate::mutate::Mutator;
use crate::random::Random;

/// Changes the stream's configuration.
pub fn meta(m: &mut Mutator<'_>) -> Option<String> {
    let mut meta = m.vault().meta(m.tree)?;
    let (field, value) = new_setting(m)?;
    let text = format!("meta.inf: {field} = {value}");
    let object = meta.as_object_mut()?;
    if value.is_null() {
        object.shift_remove(field)?;
    } else if object.get(field) == Some(&value) {
        return None;
    } else {
        object.insert(field.into(), value);
    }
    if field == "allow_msg_schedules" {
        object.insert("allow_rollup_hdrs".into(), json!(true));
    }
    let mut tree = std::mem::take(m.tree);
    let mut random = m.random.clone();
    let done = m.vault().put_meta(&mut tree, &meta, &mut random);
    *m.random = random;
    *m.tree = tree;
    done?;
    Some(text)
}

fn new_setting(m: &mut Mutator<'_>) -> Option<(&'static str, Value)> {
    let random = &mut *m.random;
    Some(match random.below(19) {
        0 | 1 => ("max_msgs", json!(1 + random.below(60))),
        2 | 3 => ("max_bytes", json!(100 + random.below(6000))),
        4 | 5 => ("max_msgs_per_subject", json!(1 + random.below(6))),
        6 | 7 => ("max_age", json!(age(m)?)),
        8 => ("first_seq", json!(1 + random.below(300))),
        9 => (
            "discard",
            json!(if random.chance(50) { "new" } else { "old" }),
        ),
        10 => ("allow_msg_ttl", json!(random.chance(70))),
        11 => ("allow_msg_schedules", json!(random.chance(70))),
        12 | 13 => ("sources", sources(random)),
        14 => ("subject_delete_marker_ttl", json!(60_000_000_000_u64)),
        15 => (
            "compression",
            json!(if random.chance(50) { "s2" } else { "none" }),
        ),
        16 => (
            "persist_mode",
            json!(if random.chance(50) {
                "async"
            } else {
                "default"
            }),
        ),
        17 => (
            "retention",
            json!(random.pick(&["limits", "interest", "workqueue"])?),
        ),
        _ => ("num_replicas", json!(3)),
    })
}

fn sources(random: &mut Random) -> Value {
    if random.chance(35) {
        return Value::Null;
    }
    let names = ["NORTH", "SOUTH", "LOST"];
    let count = 1 + random.index(2);
    let list = names.iter().take(count).map(|name| match random.below(3) {
        0 => json!({"name": name}),
        1 => json!({"name": name, "filter_subject": "orders.1"}),
        _ => json!({"name": name, "filter_subject": "orders.>"}),
    });
    Value::Array(list.collect())
}

/// An age whose limit falls between two records.
fn age(m: &mut Mutator<'_>) -> Option<u64> {
    let number = m.any_block()?;
    let decoded = m.vault().block(m.tree, number)?;
    let (list, _) = records(&decoded.content);
    let record = m.random.pick(&list)?;
    let time = parse_at(record, 0).ok()?.timestamp_ns() as i128;
    let now = crate::now_ns() as i128;
    u64::try_from(now - time - 1_000_000_000 + m.random.below(1_000_000_000) as i128).ok()
}

/// Changes one of the three side files that have no checksum.
pub fn timers(m: &mut Mutator<'_>) -> Option<String> {
    let name = m
        .random
        .pick(&["msgs/thw.db", "msgs/sched.db", "sources.db"])
        .copied()?;
    let bytes = m.tree.get(name)?.clone();
    let stamp = |random: &mut Random, stamp: u64| match random.below(4) {
        0 => 0,
        1 => stamp.saturating_sub(1 + random.below(20)),
        2 => stamp + 1 + random.below(20),
        _ => stamp,
    };
    let random = &mut *m.random;
    let (new, text) = match name {
        "msgs/thw.db" => {
            let mut file = ExpiryFile::decode(&bytes).ok()?;
            file.stamp = stamp(random, file.stamp);
            if random.chance(50) && !file.entries.is_empty() {
                file.entries.remove(random.index(file.entries.len()));
            } else {
                let expiry_ns = 4_000_000_000_000_000_000 + random.below(1 << 40) as i64;
                file.entries.push(Expiry {
                    expiry_ns,
                    sequence: random.below(200),
                });
            }
            (
                file.encode(),
                format!("stamp {}, {} entries", file.stamp, file.entries.len()),
            )
        }
        "msgs/sched.db" => {
            let mut file = ScheduleFile::decode(&bytes).ok()?;
            file.stamp = stamp(random, file.stamp);
            if random.chance(50) && !file.entries.is_empty() {
                file.entries.remove(random.index(file.entries.len()));
            } else {
                let next_ns = 4_000_000_000_000_000_000 + random.below(1 << 40) as i64;
                file.entries.push(Schedule {
                    subject: b"plan.9".as_slice().into(),
                    next_ns,
                    sequence: random.below(200),
                });
            }
            (
                file.encode(),
                format!("stamp {}, {} entries", file.stamp, file.entries.len()),
            )
        }
        _ => {
            let mut file = SourcesFile::decode(&bytes).ok()?;
            file.stamp = stamp(random, file.stamp);
            let key = file.entries.keys().next().cloned();
            if let (true, Some(key)) = (random.chance(50), key) {
                file.entries.remove(&key);
            } else {
                let entry = SourceEntry {
                    sequence: random.below(99),
                    identity: b"id".to_vec(),
                };
                file.entries.insert(b"NOBODY > >".to_vec(), entry);
            }
            (
                file.encode(),
                format!("stamp {}, {} entries", file.stamp, file.entries.len()),
            )
        }
    };
    m.tree.put(name, new);
    Some(format!("{name}: {text}"))
}
