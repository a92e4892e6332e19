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
//! | 1 | kind: 1 a piece of a block file, 2 a record in conflict with another, 3 what was known to be deleted |
//! | 1 | flags: 1 the block is compressed, 2 there is a sequence before, 4 there is one behind, 8 the bytes are those of the entry before |
//! | … | block number; offset and length in the decoded content; offset in the file; sequence before; sequence behind |
//! | … | reason, a text |
//! | … | key file for the block (empty: the bytes are plain); where in its keystream the bytes begin |
//! | … | the bytes; of kind 3, see [`encode_gone`] |
//!
//! Pieces are kept as they lie on disk, encrypted where the block is. A piece longer than 64 MiB is kept in several
//! entries. Of a compressed block all of it is kept, once: a record may begin in one chunk and end in the next, so a chunk
//! by itself would not give back what is in it. A file cut short gives the entries before the cut.
//!
//! The last entry, of kind 3, tells which sequences were known to be deleted when the file was written. The new store does
//! not know that any more, and a record that is read at last must not come back if it was deleted.

mod codec;
mod restore;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::error::SalvageError;
use super::findings::{BlockFindings, Gap, GapCause};
use super::liveness::counted_by;
use super::read::Blocks;
use super::sets::{intersection, missing_in, remove_all};
use super::survey::Survey;
use crate::block::key::BlockKey;
use crate::crypto::{NewKey, ServerKey, block_context};
use crate::env::FileSystem;
use crate::format::seqset::SeqSet;

pub use codec::{
    EntryKind, PIECE_MAX, QuarantineEntry, QuarantineFault, Reader, decode_gone, encode_entry,
    encode_gone, encode_header, fuzz_one,
};
pub use restore::{Regained, regain};

/// Name of the file in the new stream's directory.
pub const QUARANTINE_FILE: &str = "quarantine.jsq";

/// A quarantine file being written; made with the first entry.
pub struct Writer<'a> {
    fs: &'a dyn FileSystem,
    path: std::path::PathBuf,
    header: Option<Vec<u8>>,
    account: Vec<u8>,
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
            account: account.to_vec(),
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
    pub fn push(&mut self, entry: &QuarantineEntry) -> Result<(), SalvageError> {
        if let Some(header) = self.header.take() {
            self.fs.write_in_place(&self.path, &header)?;
        }
        self.fs.append(&self.path, &encode_entry(entry))?;
        self.count += 1;
        Ok(())
    }

    /// Adds what was known to be deleted, if there is any entry, and makes the file durable; returns how many entries there
    /// are beside that.
    ///
    /// # Errors
    ///
    /// [`SalvageError::Io`].
    pub fn finish(self, gone: &Gone) -> Result<u64, SalvageError> {
        if self.count > 0 {
            let entry = QuarantineEntry {
                kind: EntryKind::Gone,
                compressed: false,
                shares: false,
                number: 0,
                offset: 0,
                length: 0,
                file_offset: 0,
                before: gone.all_up_to,
                after: None,
                reason: "known to be deleted when this file was written".to_owned(),
                key: Vec::new(),
                key_offset: 0,
                bytes: encode_gone(&gone.seqs),
            };
            self.fs.append(&self.path, &encode_entry(&entry))?;
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
    fs: &dyn FileSystem,
    blocks: &Blocks<'_>,
    found: &Survey,
    dir: &Path,
    left_out: &SeqSet,
) -> Result<u64, SalvageError> {
    let evidence = &found.gathered.evidence;
    let mut writer = Writer::new(fs, dir, evidence.name.as_bytes(), &evidence.account);
    let server = blocks.keys.current.as_ref();
    let server = server.or(blocks.keys.previous.as_ref());
    put_aside_into(blocks, found, server, &mut writer)?;
    put_blocks_of(blocks, found, left_out, server, &mut writer)?;
    writer.finish(&known_gone(found))
}

/// What is known to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gone {
    /// The sequences.
    pub seqs: SeqSet,
    /// The last sequence that an index spoke of which knew of every delete, where there is such an index: a tombstone that
    /// turns up later is an old one then.
    pub all_up_to: Option<u64>,
}

/// What is known to be deleted, by the index, by tombstones, by legacy indexes.
pub(super) fn known_gone(found: &Survey) -> Gone {
    let trust = &found.trust;
    let mut gone = trust.deleted.clone();
    gone.union_with(&trust.tombstones);
    for legacy in found
        .blocks
        .iter()
        .filter_map(|block| block.legacy.as_ref())
    {
        gone.union_with(&legacy.deleted);
    }
    if let Some(index) = &found.gathered.evidence.index {
        let state = &index.state;
        gone.union_with(&missing_in(1..=state.last_sequence, &counted_by(state)));
    }
    remove_all(&mut gone, &trust.live);
    remove_all(&mut gone, &trust.lost);
    let index = found.gathered.evidence.index.as_ref();
    let fresh = index.filter(|index| index.fresh);
    Gone {
        seqs: gone,
        all_up_to: fresh.map(|index| index.state.last_sequence),
    }
}

/// Keeps whole the blocks that messages were left out of.
fn put_blocks_of(
    blocks: &Blocks<'_>,
    found: &Survey,
    left_out: &SeqSet,
    server: Option<&ServerKey>,
    writer: &mut Writer<'_>,
) -> Result<(), SalvageError> {
    let mut file = Vec::new();
    for find in &found.finds {
        let Some(seq) = intersection(&find.messages, left_out).first() else {
            continue;
        };
        let read = blocks.read(find.file, &mut file)?;
        let key = key_file(blocks, find, &read.key, server, &writer.account);
        if let BlockKey::Opened(opened) = &read.key {
            let _ = opened.block_cipher().apply(&mut file, 0);
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
        put_gap(find, &whole, &key, &file, false, writer)?;
    }
    Ok(())
}

/// The same into a file that others write to as well. Keys that are open are kept under `server`.
pub(super) fn put_aside_into(
    blocks: &Blocks<'_>,
    found: &Survey,
    server: Option<&ServerKey>,
    writer: &mut Writer<'_>,
) -> Result<(), SalvageError> {
    let mut file = Vec::new();
    for find in found.finds.iter().filter(|find| !find.gaps.is_empty()) {
        let Ok(read) = blocks.read(find.file, &mut file) else {
            continue;
        };
        let key = key_file(blocks, find, &read.key, server, &writer.account);
        if let BlockKey::Opened(opened) = &read.key {
            // As it lies on disk again: the keystream undoes itself.
            let _ = opened.block_cipher().apply(&mut file, 0);
        }
        for (at, gap) in find.gaps.iter().enumerate() {
            put_gap(find, gap, &key, &file, at > 0, writer)?;
        }
    }
    Ok(())
}

/// Puts one gap aside; of a compressed block all of the file, unless it `follows` a gap that did.
fn put_gap(
    find: &BlockFindings,
    gap: &Gap,
    key: &[u8],
    file: &[u8],
    follows: bool,
    writer: &mut Writer<'_>,
) -> Result<(), SalvageError> {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(file.len());
    let shares = find.compressed && follows;
    let range = match (find.compressed, follows) {
        (true, true) => 0..0,
        (true, false) => 0..file.len(),
        _ => place(gap.file_offset)..place(gap.file_offset.saturating_add(gap.file_length)),
    };
    let mut offset = range.start as u64;
    let bytes = file.get(range).unwrap_or_default();
    let pieces: Vec<&[u8]> = match shares {
        true => vec![&[]],
        false => bytes.chunks(PIECE_MAX).collect(),
    };
    for piece in pieces {
        writer.push(&QuarantineEntry {
            kind: EntryKind::Piece,
            compressed: find.compressed,
            shares,
            number: find.number,
            offset: gap.offset,
            length: gap.length,
            file_offset: offset,
            before: gap.before,
            after: gap.after,
            reason: reason(&gap.cause),
            key: if shares { Vec::new() } else { key.to_vec() },
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
        GapCause::Uncommitted => "a batch that was not committed".to_owned(),
        GapCause::Compressed(fault) => fault.to_string(),
        GapCause::NoKey(detail) | GapCause::Unreadable(detail) => detail.clone(),
        GapCause::WorkLimit => {
            "the time that may be spent on so many bad bytes was used up".to_owned()
        }
    }
}

/// A key file that opens the block's bytes, under `server` in `account`, where one does; else the one that lies beside it.
fn key_file(
    blocks: &Blocks<'_>,
    find: &BlockFindings,
    key: &BlockKey,
    server: Option<&ServerKey>,
    account: &[u8],
) -> Vec<u8> {
    let evidence = &blocks.gathered.evidence;
    match key {
        BlockKey::Plain => Vec::new(),
        BlockKey::Opened(opened) => {
            let context = block_context(evidence.name.as_bytes(), find.number);
            server.map_or_else(Vec::new, |server| {
                NewKey::from(opened.as_ref().clone()).key_file(server, account, &context)
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
