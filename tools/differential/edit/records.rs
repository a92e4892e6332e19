//! Records dropped, moved, put in or changed, under hashes that hold.

use jetsam::format::checksum::HashKey;
use jetsam::format::limits::{CHECKSUM_LENGTH, RECORD_HEADER_LENGTH};
use jetsam::format::record::{NewRecord, encode_record, parse_at};

use super::{other_time, put_index, records};
use crate::mutate::Mutator;
use crate::random::Random;
use crate::tree::block_path;

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
