//! Where each record of an undamaged store lies in its files: what tells which messages a damage touched.

use std::ops::Range;

use super::workload::Access;
use crate::block::content;
use crate::crypto::{BlockCipher, KeyRing, block_context};
use crate::env::{FileKind, ReadFiles};
use crate::format::checksum::HashKey;
use crate::format::compression::{Chunks, Framing, detect, stream_range};
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::names::BlockFile;
use crate::format::record::{RecordKind, Run, Runs};
use crate::format::seqset::SeqSet;
use crate::stream::StreamDir;

/// The largest file the harness takes in.
pub const FILE_MAX: u64 = 1 << 30;

/// The blocks of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// By rising number.
    pub blocks: Vec<BlockLayout>,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLayout {
    /// Its number.
    pub number: u32,
    /// Its file, relative to the stream directory.
    pub path: String,
    /// Its key file, where it has one.
    pub key_path: Option<String>,
    /// Length of the file in bytes.
    pub file_length: u64,
    /// How pieces of the file become pieces of the content, in order; one piece where nothing is compressed.
    pub pieces: Vec<Piece>,
    /// The records, in file order.
    pub records: Vec<RecordPlace>,
}

/// A piece of a file that is decoded as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies in the file.
    pub file: Range<u64>,
    /// What it becomes.
    pub content: Range<u64>,
    /// Whether a bad byte spoils all of it; else each byte stands for one of the content.
    pub chunk: bool,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPlace {
    /// The sequence it is about.
    pub seq: u64,
    /// Where it lies in the decoded content.
    pub content: Range<u64>,
    /// What it is.
    pub kind: RecordKind,
}

/// Records that a change of bytes touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Messages, by their sequences.
    pub messages: SeqSet,
    /// Sequences whose removal a tombstone, an erased or a skip record tells.
    pub removals: SeqSet,
}

impl Layout {
    /// Reads a store that is not damaged.
    ///
    /// # Errors
    ///
    /// A sentence, where a file cannot be read or does not decode.
    pub fn read(
        files: &dyn ReadFiles,
        stream: &StreamDir,
        access: &Access,
    ) -> Result<Self, String> {
        let dir = stream.dir.join("msgs");
        let entries = files.list(&dir).map_err(|error| error.to_string())?;
        let mut numbers: Vec<u32> = entries
            .iter()
            .filter(|entry| entry.kind == FileKind::File)
            .filter_map(
                |entry| match BlockFile::parse(entry.name.as_encoded_bytes()) {
                    Some((number, BlockFile::Block)) => Some(number),
                    _ => None,
                },
            )
            .collect();
        numbers.sort_unstable();
        let blocks = numbers
            .into_iter()
            .map(|number| BlockLayout::read(files, stream, access, number));
        Ok(Self {
            blocks: blocks.collect::<Result<_, _>>()?,
        })
    }

    /// The block whose file this is.
    #[must_use]
    pub fn block_at(&self, path: &str) -> Option<&BlockLayout> {
        self.blocks.iter().find(|block| block.path == path)
    }

    /// The block whose key file this is.
    #[must_use]
    pub fn block_under_key(&self, path: &str) -> Option<&BlockLayout> {
        let mut blocks = self.blocks.iter();
        blocks.find(|block| block.key_path.as_deref() == Some(path))
    }
}

impl BlockLayout {
    fn read(
        files: &dyn ReadFiles,
        stream: &StreamDir,
        access: &Access,
        number: u32,
    ) -> Result<Self, String> {
        let path = format!("msgs/{}", BlockFile::Block.name(number));
        let key_path = format!("msgs/{}", BlockFile::Key.name(number));
        let read = |path: &str| files.read(&stream.dir.join(path), FILE_MAX);
        let mut bytes = read(&path).map_err(|error| error.to_string())?;
        let file_length = bytes.len() as u64;
        let key = match read(&key_path) {
            Ok(key) => Some(key),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.to_string()),
        };
        if let Some(key) = &key {
            let cipher = open_key(key, stream, access, number)?;
            cipher
                .apply(&mut bytes, 0)
                .map_err(|fault| format!("{path}: {fault}"))?;
        }
        let pieces = pieces(&bytes).map_err(|fault| format!("{path}: {fault}"))?;
        let hash_key = HashKey::for_block(stream.name.as_bytes(), number);
        content::decode(&mut bytes, &mut Vec::new(), None, &hash_key)
            .map_err(|fault| format!("{path}: {fault}"))?;
        let mut runs = Runs::new(&bytes, &hash_key);
        let mut run = Run::new();
        let mut records = Vec::new();
        while runs.next_run(&mut run) {
            if let Some(fault) = &run.fault {
                return Err(format!("{path}: {fault}"));
            }
            records.extend(run.records.iter().map(|record| RecordPlace {
                seq: record.sequence(),
                content: record.offset() as u64..record.end_offset() as u64,
                kind: record.kind(),
            }));
        }
        Ok(Self {
            number,
            path,
            key_path: key.map(|_| key_path),
            file_length,
            pieces,
            records,
        })
    }

    /// Adds the records that the bytes of `file` belong to, whether whole, in part, or by sharing a compressed chunk.
    pub fn touch(&self, file: &Range<u64>, touched: &mut Touched) {
        for piece in &self.pieces {
            let (from, to) = (
                file.start.max(piece.file.start),
                file.end.min(piece.file.end),
            );
            if from >= to {
                continue;
            }
            let content = if piece.chunk {
                piece.content.clone()
            } else {
                let start = piece.content.start;
                start + (from - piece.file.start)..start + (to - piece.file.start)
            };
            self.touch_content(&content, touched);
        }
    }

    fn touch_content(&self, content: &Range<u64>, touched: &mut Touched) {
        let first = self
            .records
            .partition_point(|record| record.content.end <= content.start);
        for record in self.records.iter().skip(first) {
            if record.content.start >= content.end {
                break;
            }
            let set = match record.kind {
                RecordKind::Message => &mut touched.messages,
                _ => &mut touched.removals,
            };
            set.insert(record.seq);
        }
    }
}

fn open_key(
    bytes: &[u8],
    stream: &StreamDir,
    access: &Access,
    number: u32,
) -> Result<BlockCipher, String> {
    let server = access
        .server_key()
        .ok_or_else(|| "the store is encrypted and no key is given".to_owned())?;
    let context = block_context(stream.name.as_bytes(), number);
    let ring = KeyRing {
        current: Some(&server),
        previous: None,
        cipher: access.cipher,
        account: access.account.as_bytes(),
    };
    let opened = ring
        .open(bytes, &context)
        .map_err(|fault| format!("the key of block {number}: {fault}"))?;
    Ok(opened.block_cipher())
}

/// The pieces of a decrypted file.
fn pieces(bytes: &[u8]) -> Result<Vec<Piece>, String> {
    let length = bytes.len() as u64;
    let framing = detect(bytes).map_err(|fault| fault.to_string())?;
    let Framing::S2 { payload_offset, .. } = framing else {
        return Ok(vec![Piece {
            file: 0..length,
            content: 0..length,
            chunk: false,
        }]);
    };
    let stream = stream_range(bytes, payload_offset).map_err(|fault| fault.to_string())?;
    let begin = stream.start as u64;
    let mut decoded = Vec::new();
    let mut chunks = Chunks::new(bytes.get(stream).unwrap_or_default());
    let mut made = Vec::new();
    while let Some(chunk) = chunks.next_chunk(&mut decoded) {
        if let Some(fault) = chunk.fault {
            return Err(fault.to_string());
        }
        if !chunk.decoded.is_empty() {
            made.push(Piece {
                file: begin + chunk.offset as u64..begin + chunk.end_offset() as u64,
                content: chunk.decoded.start as u64..chunk.decoded.end as u64,
                chunk: true,
            });
        }
    }
    let (end, trailer) = (decoded.len() as u64, CHECKSUM_LENGTH as u64);
    made.push(Piece {
        file: length - trailer..length,
        content: end..end + trailer,
        chunk: false,
    });
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::super::workload::tests::small;
    use super::*;
    use crate::testing::StoreKind;

    fn layout(kind: StoreKind) -> Layout {
        let store = small(kind);
        Layout::read(&store.files, &store.stream, &store.access).expect("a layout")
    }

    fn touched(block: &BlockLayout, file: Range<u64>) -> Touched {
        let mut touched = Touched::default();
        block.touch(&file, &mut touched);
        touched
    }

    #[test]
    fn every_message_has_its_place() {
        for kind in StoreKind::ALL {
            let layout = layout(kind);
            let mut all = Touched::default();
            for block in &layout.blocks {
                block.touch(&(0..block.file_length), &mut all);
            }
            assert_eq!(all.messages.len(), 500, "{kind:?}");
            assert_eq!(
                all.removals,
                small(kind).reference.deleted().clone(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_byte_belongs_to_one_record_and_a_border_to_none_beyond() {
        let layout = layout(StoreKind::Aes);
        let block = &layout.blocks[1];
        for record in block.records.iter().take(20) {
            let Range { start, end } = record.content;
            for byte in [start, end - 1] {
                let touched = touched(block, byte..byte + 1);
                let mut seqs = touched.messages.iter().chain(touched.removals.iter());
                assert_eq!((seqs.next(), seqs.next()), (Some(record.seq), None));
            }
        }
        assert_eq!(touched(block, 5..5), Touched::default());
    }

    #[test]
    fn a_compressed_byte_belongs_to_its_chunk_and_the_wrapper_to_nothing() {
        let layout = layout(StoreKind::S2);
        let block = &layout.blocks[0];
        assert_eq!(touched(block, 0..6), Touched::default());
        let chunk = touched(block, 50..51);
        assert_eq!(chunk.messages.len(), messages_in(block));
        let trailer = touched(block, block.file_length - 1..block.file_length);
        assert_eq!(trailer.messages.len() + trailer.removals.len(), 1);
    }

    fn messages_in(block: &BlockLayout) -> u64 {
        let messages = block.records.iter();
        messages
            .filter(|record| record.kind == RecordKind::Message)
            .count() as u64
    }
}
