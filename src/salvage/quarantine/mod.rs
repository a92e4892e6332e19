//! The dead-letter file: bytes that could not be proven, kept so that they can be taken up again with another key, or after
//! they were mended.
//!
//! Layout of `quarantine.jsq`; numbers are unsigned LEB128 unless said otherwise, texts and bytes have their length in front:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `JETSAMQ\n` |
//! | 1 | version, 1 |
//! | … | stream name; account name |
//! | … | entries to the end of the file |
//!
//! | bytes of an entry | field |
//! |---|---|
//! | 4, little-endian | length of the payload |
//! | … | payload |
//! | 4, little-endian | CRC-32C of the payload |
//!
//! | payload | field |
//! |---|---|
//! | 1 | kind: 1 a piece of a block file, 2 a record in conflict with another |
//! | 1 | flags: 1 the piece is of a compressed block, 2 there is a sequence before, 4 there is one behind |
//! | … | block number; offset and length in the decoded content; offset in the file; sequence before; sequence behind |
//! | … | reason, a text |
//! | … | key file for the block (empty: the bytes are plain); where in its keystream the bytes begin |
//! | … | the bytes |
//!
//! Pieces are kept as they lie on disk, encrypted where the block is. A piece longer than 64 MiB is kept in several
//! entries. A file cut short gives the entries before the cut.

mod codec;
mod regain;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::error::SalvageError;
use super::evidence::BlockKey;
use super::find::{BlockFind, Gap, GapCause};
use super::read::Blocks;
use super::sets::intersection;
use super::survey::Survey;
use crate::crypto::{BlockCipher, KeyChoice, KeyFile, block_context};
use crate::env::FileSystem;
use crate::format::seqset::SeqSet;

pub use codec::{
    Entry, EntryKind, PIECE_MAX, QuarantineFault, Reader, encode_entry, encode_header, fuzz_one,
};
pub use regain::{Regained, regain};

/// Name of the file in the new stream's directory.
pub const QUARANTINE_FILE: &str = "quarantine.jsq";

/// A quarantine file being written; made with the first entry.
pub struct Writer<'a> {
    fs: &'a dyn FileSystem,
    path: std::path::PathBuf,
    header: Option<Vec<u8>>,
    count: u64,
}

impl<'a> Writer<'a> {
    /// For the stream `name` of `account`, below the directory `dir`.
    #[must_use]
    pub fn new(fs: &'a dyn FileSystem, dir: &Path, name: &[u8], account: &[u8]) -> Self {
        Writer {
            fs,
            path: dir.join(QUARANTINE_FILE),
            header: Some(encode_header(name, account)),
            count: 0,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// [`SalvageError::Io`].
    pub fn push(&mut self, entry: &Entry) -> Result<(), SalvageError> {
        if let Some(header) = self.header.take() {
            self.fs.write_in_place(&self.path, &header)?;
        }
        self.fs.append(&self.path, &encode_entry(entry))?;
        self.count += 1;
        Ok(())
    }

    /// Makes it durable; returns how many entries there are.
    ///
    /// # Errors
    ///
    /// [`SalvageError::Io`].
    pub fn finish(self) -> Result<u64, SalvageError> {
        if self.count > 0 {
            self.fs.sync_file(&self.path)?;
        }
        Ok(self.count)
    }
}

/// Puts aside every gap of a survey; returns how many there are.
///
/// # Errors
///
/// [`SalvageError::Io`] where the file cannot be written. A block that can no longer be read leaves nothing to keep.
pub(super) fn put_aside(
    blocks: &Blocks<'_>,
    found: &Survey,
    dir: &Path,
    left_out: &SeqSet,
) -> Result<u64, SalvageError> {
    let evidence = &found.gathered.evidence;
    let mut writer = Writer::new(blocks.fs, dir, evidence.name.as_bytes(), &evidence.account);
    put_aside_into(blocks, found, &mut writer)?;
    put_blocks_of(blocks, found, left_out, &mut writer)?;
    writer.finish()
}

/// Keeps whole the blocks that messages were left out of.
fn put_blocks_of(
    blocks: &Blocks<'_>,
    found: &Survey,
    left_out: &SeqSet,
    writer: &mut Writer<'_>,
) -> Result<(), SalvageError> {
    let mut file = Vec::new();
    for find in &found.finds {
        let Some(seq) = intersection(&find.messages, left_out).first() else {
            continue;
        };
        let read = blocks.read(find.file, &mut file)?;
        let key = key_file(blocks, find, &read.key);
        if let BlockKey::Opened(opened) = &read.key {
            let _ = BlockCipher::new(&opened.seed, &opened.nonce).apply(&mut file, 0);
        }
        let detail = format!("the block of message {seq}, left out for its header length");
        let whole = Gap {
            offset: 0,
            length: find.content_length,
            file_offset: 0,
            file_length: file.len() as u64,
            cause: GapCause::Unreadable(detail),
            before: Some(seq),
            after: Some(seq),
        };
        put_gap(find, &whole, &key, &file, writer)?;
    }
    Ok(())
}

/// The same into a file that others write to as well.
pub(super) fn put_aside_into(
    blocks: &Blocks<'_>,
    found: &Survey,
    writer: &mut Writer<'_>,
) -> Result<(), SalvageError> {
    let mut file = Vec::new();
    for find in found.finds.iter().filter(|find| !find.gaps.is_empty()) {
        let Ok(read) = blocks.read(find.file, &mut file) else {
            continue;
        };
        let key = key_file(blocks, find, &read.key);
        if let BlockKey::Opened(opened) = &read.key {
            // As it lies on disk again: the keystream undoes itself.
            let _ = BlockCipher::new(&opened.seed, &opened.nonce).apply(&mut file, 0);
        }
        for gap in &find.gaps {
            put_gap(find, gap, &key, &file, writer)?;
        }
    }
    Ok(())
}

fn put_gap(
    find: &BlockFind,
    gap: &Gap,
    key: &[u8],
    file: &[u8],
    writer: &mut Writer<'_>,
) -> Result<(), SalvageError> {
    let start = usize::try_from(gap.file_offset).unwrap_or(usize::MAX);
    let end =
        usize::try_from(gap.file_offset.saturating_add(gap.file_length)).unwrap_or(usize::MAX);
    let bytes = file.get(start..end.min(file.len())).unwrap_or_default();
    let mut offset = gap.file_offset;
    for piece in bytes.chunks(PIECE_MAX) {
        writer.push(&Entry {
            kind: EntryKind::Piece,
            compressed: find.compressed,
            number: find.number,
            offset: gap.offset,
            length: gap.length,
            file_offset: offset,
            before: gap.before,
            after: gap.after,
            reason: reason(&gap.cause),
            key: key.to_vec(),
            key_offset: offset,
            bytes: piece.to_vec(),
        })?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// The cause of a gap in words.
#[must_use]
pub fn reason(cause: &GapCause) -> String {
    match cause {
        GapCause::Record(fault) => fault.to_string(),
        GapCause::Compressed(fault) => fault.to_string(),
        GapCause::NoKey(detail) | GapCause::Unreadable(detail) => detail.clone(),
        GapCause::WorkLimit => {
            "the time that may be spent on so many bad bytes was used up".to_owned()
        }
    }
}

/// A key file that opens the block's bytes, where one does; else the one that lies beside it.
fn key_file(blocks: &Blocks<'_>, find: &BlockFind, key: &BlockKey) -> Vec<u8> {
    let evidence = &blocks.gathered.evidence;
    match key {
        BlockKey::Plain => Vec::new(),
        BlockKey::Opened(opened) => {
            let server = match opened.key {
                KeyChoice::Current => blocks.keys.current.as_ref(),
                KeyChoice::Previous => blocks.keys.previous.as_ref(),
            };
            let context = block_context(evidence.name.as_bytes(), find.number);
            server.map_or_else(Vec::new, |server| {
                let kek = server.key_encryption_key(&evidence.account, &context);
                KeyFile::seal(&opened.seed, &opened.nonce, &kek)
            })
        }
        BlockKey::Closed(_) => {
            let path = blocks.stream.dir.join(blocks.key_path(find.file));
            blocks
                .fs
                .read(&path, codec::KEY_MAX as u64)
                .unwrap_or_default()
        }
    }
}
