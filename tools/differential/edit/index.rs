//! `index.db` and the indexes of old servers, changed and sealed again.

use jetsam::block::content::tail_of;
use jetsam::format::legacy::idx::{self, IdxFields, IdxVersion};
use jetsam::format::names::BlockFile;
use jetsam::format::state::{BlockEntry, StateFile, SubjectEntry};

use super::{nudge, other_time, put_index, put_index_plain};
use crate::mutate::Mutator;
use crate::random::Random;
use crate::tree::block_path;

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
    m.tree.put(BlockFile::LegacyIndex.path(number), bytes);
    let mut with = "";
    if m.random.chance(70) {
        m.tree.remove("msgs/index.db");
        with = ", index.db removed";
    }
    Some(format!("msgs/{number}.idx ({version:?}) {text}{with}"))
}
