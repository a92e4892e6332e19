//! Seeded edits of what is inside the files, so that hashes and seals still hold.

use jetsam::block::content::tail_of;
use jetsam::format::checksum::HashKey;
use jetsam::format::legacy::idx::{self, IdxFields, IdxVersion};
use jetsam::format::limits::{CHECKSUM_LENGTH, RECORD_HEADER_LENGTH};
use jetsam::format::record::{NewRecord, encode_record, parse_at};
use jetsam::format::sources::{SourceEntry, SourcesFile};
use jetsam::format::state::{BlockEntry, StateFile, SubjectEntry};
use jetsam::format::timers::{Expiry, ExpiryFile, Schedule, ScheduleFile};
use serde_json::{Value, json};

use crate::mutate::Mutator;
use crate::random::Random;
use crate::tree::block_path;

/// Ends of the records of a block's content that can be followed.
pub fn boundaries(content: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut at = 0;
    while let Ok(record) = parse_at(content, at) {
        at = record.end_offset();
        ends.push(at);
    }
    ends
}

/// The records of a block's content, and what follows them.
fn records(content: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let ends = boundaries(content);
    let pairs = ends.iter().zip(ends.iter().skip(1));
    let list = pairs.map(|(from, to)| content.get(*from..*to).unwrap_or_default().to_vec());
    let rest = content.get(ends.last().copied().unwrap_or_default()..);
    (list.collect(), rest.unwrap_or_default().to_vec())
}

fn rehash(record: &mut [u8], key: &HashKey) -> Option<()> {
    let parsed = parse_at(record, 0).ok()?;
    let subject = parsed.subject(record).to_vec();
    let skip = RECORD_HEADER_LENGTH + subject.len() + if parsed.has_headers() { 4 } else { 0 };
    let hash = {
        let rest = record.get(skip..parsed.checksum_offset())?;
        key.hash64(&[record.get(4..20)?, &subject, rest])
    };
    let at = record.len() - CHECKSUM_LENGTH;
    record.get_mut(at..)?.copy_from_slice(&hash.to_le_bytes());
    Some(())
}

/// A sequence near `seq`, or far from it.
fn other_sequence(random: &mut Random, seq: u64) -> u64 {
    match random.below(12) {
        0..=2 => seq.wrapping_sub(1 + random.below(5)) & ((1 << 62) - 1),
        3..=6 => seq + 1 + random.below(6),
        7 => seq + random.below(3000),
        8 => 0,
        9 => 1,
        10 => seq + 100_000 + random.below(1000),
        _ => seq ^ (1 << random.below(20)),
    }
}

fn other_time(random: &mut Random, time: i64) -> i64 {
    match random.below(7) {
        0 => 0,
        1 => -1,
        2 => time.wrapping_sub(3_600_000_000_000),
        3 => time.wrapping_add(3_600_000_000_000),
        4 => 315_532_800_000_000_000,
        5 => jetsam::format::limits::ZERO_TIME_NS,
        _ => time.wrapping_add(random.below(1 << 40) as i64),
    }
}

/// Changes one block's records, their hashes kept valid.
pub fn block(m: &mut Mutator<'_>) -> Option<String> {
    let number = m.block()?;
    let (decoded, key) = (m.vault().block(m.tree, number)?, m.vault().hash_key(number));
    let (mut list, rest) = records(&decoded.content);
    let mut text = change_records(&mut list, &key, m.random)?;
    let mut content: Vec<u8> = list.concat();
    content.extend(rest);
    let (bytes, tail) = m.vault().wrap(&decoded, &content)?;
    m.tree.put(block_path(number), bytes);
    let index = m.vault().index(m.tree);
    if let Some(mut index) = index.filter(|index| index.last_block == number)
        && m.random.chance(40)
        && index.last_record_hash != tail
    {
        index.last_record_hash = tail;
        put_index(m, &index)?;
        text.push_str("; index.db told its new last hash");
    }
    Some(format!("block {number} of {} records: {text}", list.len()))
}

#[expect(clippy::too_many_lines, reason = "a table of small changes")]
fn change_records(list: &mut Vec<Vec<u8>>, key: &HashKey, random: &mut Random) -> Option<String> {
    let at = if random.chance(30) {
        list.len().checked_sub(1)?
    } else {
        random.index(list.len())
    };
    let parsed = parse_at(list.get(at)?, 0).ok()?;
    let (seq, time) = (parsed.sequence(), parsed.timestamp_ns());
    let what = match random.below(14) {
        0 => {
            let count = (1 + random.index(3)).min(list.len() - at);
            list.drain(at..at + count);
            format!("drop {count}")
        }
        1 => {
            let to = random.index(list.len() + 1);
            let copy = list.get(at)?.clone();
            list.insert(to, copy);
            format!("copy to place {to}")
        }
        2 => {
            let to = random.index(list.len());
            list.swap(at, to);
            format!("swap with record {to}")
        }
        3 | 4 => {
            let new = other_sequence(random, seq);
            let bits = new | (parsed.sequence_bits() & (3 << 62));
            list.get_mut(at)?
                .get_mut(4..12)?
                .copy_from_slice(&bits.to_le_bytes());
            rehash(list.get_mut(at)?, key)?;
            format!("sequence becomes {new}")
        }
        5 => {
            let new = other_time(random, time);
            list.get_mut(at)?
                .get_mut(12..20)?
                .copy_from_slice(&new.to_le_bytes());
            rehash(list.get_mut(at)?, key)?;
            format!("time becomes {new}")
        }
        6 => {
            let flag = random.pick(&[1_u64 << 63, 1 << 62, 3 << 62]).copied()?;
            let bits = parsed.sequence_bits() ^ flag;
            list.get_mut(at)?
                .get_mut(4..12)?
                .copy_from_slice(&bits.to_le_bytes());
            rehash(list.get_mut(at)?, key)?;
            format!("sequence field becomes {bits:#x}")
        }
        7 | 8 => {
            let to = if random.chance(60) { list.len() } else { at };
            let target = if random.chance(70) {
                seq.saturating_sub(random.below(12))
            } else {
                other_sequence(random, seq)
            };
            insert(
                list,
                to,
                key,
                &NewRecord::Tombstone {
                    sequence: target,
                    timestamp_ns: time,
                },
            )?;
            return Some(format!("insert a tombstone for {target} at place {to}"));
        }
        9 => {
            let to = if random.chance(60) { list.len() } else { at };
            let sequence = other_sequence(random, seq);
            let noise = random.bytes(20);
            let record = if random.chance(60) {
                NewRecord::Skip {
                    sequence,
                    timestamp_ns: time,
                }
            } else {
                NewRecord::Erased {
                    sequence,
                    noise: &noise,
                }
            };
            insert(list, to, key, &record)?;
            return Some(format!("insert an erased record {sequence} at place {to}"));
        }
        10 => {
            let to = if random.chance(70) { list.len() } else { at };
            let sequence = other_sequence(random, seq);
            let subject: &[u8] = random
                .pick(&[
                    &b"a.b"[..],
                    b"",
                    b"orders.1",
                    b"a.*",
                    b">",
                    b"a b",
                    b"\xff\xfe",
                ])
                .copied()?;
            let headers: &[u8] = random
                .pick(&[
                    &b""[..],
                    b"NATS/1.0\r\nNats-TTL: 1h\r\n\r\n",
                    b"NATS/1.0\r\nNats-Schedule: @every 1h\r\n\r\n",
                    b"NATS/1.0\r\nNats-Stream-Source: NORTH 7 > > x\r\n\r\n",
                ])
                .copied()?;
            let record = NewRecord::Message {
                sequence,
                timestamp_ns: time,
                subject,
                headers,
                body: b"new",
            };
            insert(list, to, key, &record)?;
            return Some(format!(
                "insert message {sequence} on {:?} at place {to}",
                String::from_utf8_lossy(subject)
            ));
        }
        11 => {
            let record = list.get_mut(at)?;
            let place = RECORD_HEADER_LENGTH + parsed.subject_length();
            if !parsed.has_headers() {
                return None;
            }
            let length = random.below(500) as u32;
            record
                .get_mut(place..place + 4)?
                .copy_from_slice(&length.to_le_bytes());
            format!("header length becomes {length}")
        }
        12 => {
            let length =
                (parsed.subject_length() as u64 + random.below(4)).saturating_sub(1) as u16;
            let record = list.get_mut(at)?;
            record
                .get_mut(20..22)?
                .copy_from_slice(&length.to_le_bytes());
            rehash(record, key)?;
            format!("subject length becomes {length}")
        }
        _ => {
            let record = list.get_mut(at)?;
            let place = random.index(record.len() - 22) + 22;
            *record.get_mut(place)? ^= 1 << random.below(8);
            format!("flip a bit of its byte {place}")
        }
    };
    Some(format!("record {at} (sequence {seq}): {what}"))
}

fn insert(list: &mut Vec<Vec<u8>>, at: usize, key: &HashKey, record: &NewRecord<'_>) -> Option<()> {
    let mut bytes = Vec::new();
    encode_record(&mut bytes, key, record).ok()?;
    list.insert(at.min(list.len()), bytes);
    Some(())
}

fn put_index(m: &mut Mutator<'_>, index: &StateFile) -> Option<()> {
    let plain = index.encode(u64::MAX).ok()?;
    put_index_plain(m, &plain)
}

fn put_index_plain(m: &mut Mutator<'_>, plain: &[u8]) -> Option<()> {
    let mut tree = std::mem::take(m.tree);
    let mut random = m.random.clone();
    let done = m.vault().put_index(&mut tree, plain, &mut random);
    *m.random = random;
    *m.tree = tree;
    done
}

/// Damages the plaintext of `index.db` under a valid hash.
pub fn index_raw(m: &mut Mutator<'_>) -> Option<String> {
    let mut plain = m.vault().index_plain(m.tree)?;
    let length = plain.len();
    let text = match m.random.below(4) {
        0 => {
            plain.truncate(m.random.index(length).max(24));
            format!("cut from {length} to {} bytes", plain.len())
        }
        1 => {
            let more = 1 + m.random.index(30);
            plain.extend(m.random.bytes(more));
            format!("{more} bytes more")
        }
        2 => {
            let at = m.random.index(length);
            plain.insert(at, m.random.next() as u8);
            format!("a byte inserted at {at}")
        }
        _ => {
            let at = if m.random.chance(40) {
                m.random.index(length.min(40))
            } else {
                m.random.index(length)
            };
            *plain.get_mut(at)? = m.random.next() as u8;
            format!("byte {at} replaced")
        }
    };
    put_index_plain(m, &plain)?;
    Some(format!("index.db, hash kept valid: {text}"))
}

/// Changes a field of `index.db`.
pub fn index(m: &mut Mutator<'_>) -> Option<String> {
    let mut index = m.vault().index(m.tree)?;
    let text = if m.random.chance(45) {
        change_totals(&mut index, m.random)?
    } else if m.random.chance(75) {
        change_block_list(&mut index, m.random)?
    } else {
        change_subjects(&mut index, m.random)?
    };
    put_index(m, &index)?;
    Some(format!("index.db: {text}"))
}

fn nudge(random: &mut Random, value: u64) -> u64 {
    match random.below(6) {
        0 => 0,
        1 | 2 => value.wrapping_sub(1),
        3 | 4 => value.wrapping_add(1),
        _ => value.wrapping_add(random.below(200)),
    }
}

fn change_totals(index: &mut StateFile, random: &mut Random) -> Option<String> {
    Some(match random.below(9) {
        0 => {
            index.messages = nudge(random, index.messages);
            format!("messages {}", index.messages)
        }
        1 => {
            index.bytes = nudge(random, index.bytes);
            format!("bytes {}", index.bytes)
        }
        2 => {
            index.first_sequence = nudge(random, index.first_sequence);
            format!("first sequence {}", index.first_sequence)
        }
        3 => {
            index.last_sequence = nudge(random, index.last_sequence);
            format!("last sequence {}", index.last_sequence)
        }
        4 => {
            let shift = random.pick(&[-1_000_000_000, 1, i64::MAX / 2]).copied()?;
            index.first_time_ns = index.first_time_ns.wrapping_add(shift);
            format!("first time shifted by {shift}")
        }
        5 => {
            index.last_time_ns = random.pick(&[0, 1, -1, i64::MIN]).copied()?;
            format!("last time {}", index.last_time_ns)
        }
        6 => {
            index.version = 1 + random.below(4) as u8;
            format!("version {}", index.version)
        }
        7 => {
            index.last_block = nudge(random, u64::from(index.last_block)) as u32;
            format!("last block {}", index.last_block)
        }
        _ => {
            index.last_record_hash[random.index(8)] ^= 1;
            "last record hash flipped".into()
        }
    })
}

fn change_block_list(index: &mut StateFile, random: &mut Random) -> Option<String> {
    let count = index.blocks.len();
    let at = random.index(count);
    let choice = random.below(12);
    match choice {
        0 => {
            let gone = index.blocks.get(at)?.number;
            index.blocks.remove(at);
            return Some(format!("block {gone} left out of the list"));
        }
        1 => {
            let mut entry = index.blocks.get(at)?.clone();
            entry.number += 1 + random.below(3) as u32;
            let text = format!("block {} put in after place {at}", entry.number);
            index.blocks.insert(at + 1, entry);
            return Some(text);
        }
        2 => {
            let last = index.blocks.last()?.clone();
            let gone = index.blocks.pop()?;
            index.last_block = index.blocks.last()?.number;
            index.messages = index.messages.wrapping_sub(last.message_count());
            index.bytes = index.bytes.wrapping_sub(last.bytes);
            index.last_sequence = index.blocks.last()?.last_sequence;
            return Some(format!("last block {} left out, totals told", gone.number));
        }
        _ => {}
    }
    let entry = index.blocks.get_mut(at)?;
    let before = entry.message_count();
    let text = change_block(entry, random, choice)?;
    let text = format!("block {} of the list: {text}", entry.number);
    let told = random.chance(50);
    if told {
        let shift = entry.message_count().wrapping_sub(before);
        index.messages = index.messages.wrapping_add(shift);
        index.last_sequence = index.blocks.iter().map(|block| block.last_sequence).max()?;
        index.first_sequence = index.blocks.first()?.first_sequence;
        index.bytes = index
            .blocks
            .iter()
            .fold(0, |sum, block| block.bytes.wrapping_add(sum));
    }
    Some(if told {
        format!("{text}, totals told")
    } else {
        text
    })
}

fn change_block(entry: &mut BlockEntry, random: &mut Random, choice: u64) -> Option<String> {
    Some(match choice {
        3 => {
            entry.first_sequence = nudge(random, entry.first_sequence);
            format!("first sequence {}", entry.first_sequence)
        }
        4 | 5 => {
            entry.last_sequence = nudge(random, entry.last_sequence);
            format!("last sequence {}", entry.last_sequence)
        }
        6 => {
            let gone = entry.first_sequence + random.below(20);
            entry.deleted.insert(gone);
            entry.deleted_count = entry.deleted.len();
            format!("{gone} deleted")
        }
        7 => {
            entry.deleted_count =
                nudge(random, entry.deleted_count).max(u64::from(!entry.deleted.is_empty()));
            format!("deleted count {}", entry.deleted_count)
        }
        8 => {
            entry.ttl_count = nudge(random, entry.ttl_count);
            entry.schedule_count = nudge(random, entry.schedule_count);
            format!(
                "ttl count {}, schedule count {}",
                entry.ttl_count, entry.schedule_count
            )
        }
        9 => {
            entry.bytes = nudge(random, entry.bytes);
            format!("bytes {}", entry.bytes)
        }
        10 => {
            let gone = entry.deleted.first()?;
            entry.deleted.remove(gone);
            entry.deleted_count = entry.deleted.len();
            format!("{gone} not deleted")
        }
        _ => {
            entry.first_time_ns = other_time(random, entry.first_time_ns);
            entry.last_time_ns = if random.chance(50) {
                other_time(random, entry.last_time_ns)
            } else {
                entry.last_time_ns
            };
            format!("times {} and {}", entry.first_time_ns, entry.last_time_ns)
        }
    })
}

fn change_subjects(index: &mut StateFile, random: &mut Random) -> Option<String> {
    let at = random.index(index.subjects.len());
    let choice = random.below(4);
    let mut text = String::new();
    let mut table = jetsam::format::state::SubjectTable::new();
    for (place, entry) in index.subjects.iter().enumerate() {
        let mut entry = entry;
        if place == at {
            let name = String::from_utf8_lossy(entry.subject).into_owned();
            match choice {
                0 => {
                    text = format!("subject {name} left out");
                    continue;
                }
                1 => {
                    entry.total = nudge(random, entry.total);
                    text = format!("subject {name} total {}", entry.total);
                }
                2 => {
                    entry.first_block = random.below(6) as u32;
                    entry.last_block = random.below(6) as u32;
                    text = format!(
                        "subject {name} in blocks {} to {}",
                        entry.first_block, entry.last_block
                    );
                }
                _ => {}
            }
        }
        table.push(entry);
    }
    if text.is_empty() {
        let subject: &[u8] = random
            .pick(&[
                &b"new.one"[..],
                b"a..b",
                b">",
                b"a.>.b",
                b"\xff",
                b"a b",
                b"*",
            ])
            .copied()?;
        table.push(SubjectEntry {
            subject,
            total: 1 + random.below(3),
            first_block: 1,
            last_block: 1,
        });
        text = format!("subject {:?} put in", String::from_utf8_lossy(subject));
    }
    index.subjects = table;
    Some(text)
}

/// An `.idx` of an old server, matching the block more or less.
pub fn legacy_index(m: &mut Mutator<'_>, number: u32) -> Option<String> {
    if !m.ask.key.is_empty() {
        return None;
    }
    let index = m.vault().index(m.tree)?;
    let entry = index.blocks.iter().find(|entry| entry.number == number)?;
    let mut fields = IdxFields {
        messages: entry.message_count(),
        bytes: entry.bytes,
        first_sequence: entry.first_sequence,
        first_time_ns: entry.first_time_ns,
        last_sequence: entry.last_sequence,
        last_time_ns: entry.last_time_ns,
        deleted_count: entry.deleted_count,
        last_record_hash: Some(tail_of(m.tree.get(&block_path(number))?)),
        deleted: entry.deleted.clone(),
    };
    let mut text = String::from("matching");
    match m.random.below(6) {
        0 => {
            fields.last_record_hash = Some([7; 8]);
            text = "with another last hash".into();
        }
        1 => {
            fields.first_sequence = nudge(m.random, fields.first_sequence);
            text = format!("with first sequence {}", fields.first_sequence);
        }
        2 => {
            fields.last_sequence += m.random.below(9);
            fields.last_record_hash = Some([7; 8]);
            text = format!(
                "with last sequence {} and another last hash",
                fields.last_sequence
            );
        }
        _ => {}
    }
    let version = if m.random.chance(50) {
        IdxVersion::V1
    } else {
        IdxVersion::V2
    };
    let bytes = idx::encode(&fields, version, u64::MAX).ok()?;
    m.tree.put(format!("msgs/{number}.idx"), bytes);
    let mut with = "";
    if m.random.chance(70) {
        m.tree.remove("msgs/index.db");
        with = ", index.db removed";
    }
    Some(format!("msgs/{number}.idx ({version:?}) {text}{with}"))
}

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
