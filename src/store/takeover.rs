//! Taking a stream over from a server: what its index alone tells.
//!
//! The server leaves no tombstone where a limit removes. As long as its index is there and true, that tells what is gone; without it, and
//! it goes with the first block that does, the records are messages again. So the first change to a stream that was opened by a foreign
//! index writes the tombstones that are missing. Which index is our own stands beside it, in a file that nobody else reads: without that
//! file no more is lost than the time for reading the blocks.

use std::path::{Path, PathBuf};

use super::cache;
use super::error::WriterFault;
use super::resident::Resident;
use super::writer::Writer;
use crate::env::{FileSystem, ReadFiles};
use crate::format::names::{OWN_INDEX, STATE_PATH};
use crate::format::record::parse_at;
use crate::format::seqset::SeqSet;
use crate::state::{BlockState, SeqTime};

/// Of the index so many bytes at its end are compared, its checksum among them.
const TAIL_LENGTH: usize = 16;

fn path_of(dir: &Path) -> PathBuf {
    dir.join(OWN_INDEX)
}

/// What tells an index from another: its length, and its end.
fn mark_of(length: u64, end: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), end].concat()
}

/// Whether the index in a stream's directory is the last that this library wrote there.
pub(super) fn has_own_index(fs: &dyn ReadFiles, dir: &Path) -> bool {
    let Ok(marked) = fs.read(&path_of(dir), 64) else {
        return false;
    };
    let Ok(file) = fs.open(&dir.join(STATE_PATH)) else {
        return false;
    };
    let mut end = [0; TAIL_LENGTH];
    let Ok(length) = file.length() else {
        return false;
    };
    let Some(offset) = length.checked_sub(TAIL_LENGTH as u64) else {
        return false;
    };
    let read = file.read_at(offset, &mut end);
    read.is_ok_and(|read| read == TAIL_LENGTH) && marked == mark_of(length, &end)
}

/// Takes note that this index is ours.
pub(super) fn mark_own_index(fs: &dyn FileSystem, dir: &Path, index: &[u8]) {
    if let Some(end) = index.last_chunk::<TAIL_LENGTH>() {
        // Where it cannot be written the next owner looks for himself.
        let _ = fs.write_in_place(&path_of(dir), &mark_of(index.len() as u64, end));
    }
}

impl Writer {
    /// Takes up blocks of tombstones that the index leaves out. Once it is gone they may be all that tells of what was removed; and they go
    /// when nothing is left that they speak of, for with one of them before the first message the server writes no index. So does a
    /// block that was `spared`, in which messages may lie that are gone.
    pub(super) fn take_up(&mut self, unlisted: &[u32], spared: &[u32]) {
        for number in unlisted.iter().copied() {
            // Anything else is left where it lies, as the server leaves it.
            let Ok(content) = cache::read(&self.shared, number) else {
                continue;
            };
            let is_spared = spared.contains(&number);
            if content.damage().is_some() || content.slot_count() > 0 && !is_spared {
                continue;
            }
            let mut live = self.shared.live.write();
            if let Some((place, block)) = emptied(&live.state.blocks, number, &content) {
                live.state.blocks.insert(place, block);
                self.emptied.push(number);
            }
        }
    }

    /// Takes the files of spared blocks away that could not be taken up: the next block that is begun may have the number of one.
    pub(super) fn drop_spared(&mut self, spared: &[u32]) -> Result<(), WriterFault> {
        for number in spared.iter().copied() {
            let is_known = self.shared.live.read().block(number).is_some();
            if !is_known {
                self.remove_block_files(number)?;
            }
        }
        Ok(())
    }

    /// Writes tombstones for records of messages that are gone and that nothing but the index says so of.
    pub(super) fn prove_removed(&mut self) -> Result<(), WriterFault> {
        let blocks: Vec<BlockState> = {
            let live = self.shared.live.read();
            let blocks = live.state.blocks.iter();
            let may_hold_dead = blocks.filter(|block| {
                block.compressed || block.raw_bytes != block.live_bytes || block.message_count == 0
            });
            may_hold_dead.cloned().collect()
        };
        let (mut dead, mut proven) = (Vec::new(), SeqSet::new());
        for block in blocks {
            // What cannot be read is nobody's message either.
            let Ok(content) = cache::read(&self.shared, block.number) else {
                continue;
            };
            for gone in content.tombstones() {
                proven.insert(gone.seq);
            }
            let records = (0..content.slot_count()).filter_map(|slot| content.record(slot));
            dead.extend(
                records
                    .filter(|record| !block.holds(record.sequence()))
                    .map(|record| SeqTime {
                        seq: record.sequence(),
                        timestamp_ns: record.timestamp_ns(),
                    }),
            );
        }
        dead.retain(|gone| !proven.contains(gone.seq));
        self.emit_tombstones(&dead)
    }
}

/// What a block without a message is between the others, and its place there.
fn emptied(blocks: &[BlockState], number: u32, content: &Resident) -> Option<(usize, BlockState)> {
    let place = blocks.partition_point(|block| block.number < number);
    let next = blocks.get(place)?;
    let before = place.checked_sub(1).and_then(|place| blocks.get(place));
    // Whoever cuts the stream below that has to find the block.
    let told = highest_told(content.bytes());
    let most = next.first.seq.saturating_sub(1);
    let last_seq = match before.map(|before| before.last.seq) {
        None => most,
        Some(before) => told.clamp(before, before.max(most)),
    };
    let block = BlockState {
        number,
        first: SeqTime {
            seq: last_seq + 1,
            timestamp_ns: 0,
        },
        last: SeqTime {
            seq: last_seq,
            timestamp_ns: 0,
        },
        raw_bytes: content.bytes().len() as u64,
        compressed: content.is_compressed(),
        last_record_hash: content.bytes().last_chunk().copied(),
        ..BlockState::default()
    };
    Some((place, block))
}

/// The highest sequence that a record speaks of, skips and tombstones too.
fn highest_told(content: &[u8]) -> u64 {
    let (mut highest, mut offset) = (0, 0);
    while let Ok(record) = parse_at(content, offset) {
        highest = highest.max(record.sequence());
        offset = record.end_offset();
    }
    highest
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crate::crypto::{Cipher, ServerKey};
    use crate::env::memory::MemoryFileSystem;
    use crate::env::{OsEntropy, ReadFiles as _};
    use crate::format::meta::StreamMeta;
    use crate::living::Idle;
    use crate::store::{NewMessage, Store, StoreOptions};
    use crate::stream::options::Keys;

    /// A kill came when the file of the next block was there and nothing in it. The server drops such a file, and so does the engine; the
    /// next block has its number, and the key of the one that was dropped went with that of the next.
    #[test]
    fn the_key_of_a_block_stays_that_has_the_number_of_one_that_was_dropped() {
        let fs = MemoryFileSystem::new();
        let config = StreamMeta::parse(br#"{"name":"S","subjects":["s"],"storage":"file"}"#);
        let mut options = StoreOptions::new(config.unwrap(), 1_767_225_600_000_000_000);
        options.block_size = Some(100);
        options.account = Some(b"A".to_vec());
        options.keys = Keys {
            current: Some(ServerKey::new(b"server key".to_vec())),
            cipher: Some(Cipher::Aes),
            ..Keys::default()
        };
        let dir = Path::new("/data/S");
        let open = |fs: &MemoryFileSystem| {
            let (fs, idle) = (Arc::new(fs.clone()), Idle::declared());
            Store::open(fs, Arc::new(OsEntropy), &idle, dir, &options).unwrap()
        };
        let append = |fs: &MemoryFileSystem, count: usize| {
            let store = open(fs);
            let mut writer = store.writer().unwrap();
            for _ in 0..count {
                let message = NewMessage {
                    subject: b"s",
                    headers: b"",
                    body: &[b'x'; 60],
                };
                writer.append(&message, options.now_ns).unwrap();
            }
            store.close(writer).unwrap();
        };
        append(&fs, 2);
        let further = fs.fork();
        append(&further, 1);
        let key = further.read(&dir.join("msgs/3.key"), 1000).unwrap();
        fs.seed_file(dir.join("msgs/3.blk"), b"".as_slice());
        fs.seed_file(dir.join("msgs/3.key"), key);
        append(&fs, 2);
        let reader = open(&fs).reader();
        let held = (1..=4).map(|seq| reader.get(seq).map(|found| found.body().len()));
        assert_eq!(held.collect::<Vec<_>>(), vec![Ok(60); 4]);
    }
}
