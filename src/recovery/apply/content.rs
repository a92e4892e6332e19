//! What is written: blocks, sealed files and the stream's meta files, as they will lie on disk.

use super::Failure;
use super::error::ApplyCause;
use super::perform::{At, NewFile, Performer};
use crate::block::content;
use crate::format::checksum::{HashKey, hex16};
use crate::format::names::{BlockFile, META, META_SUM};
use crate::report::actions::Piece;

/// Longest block that is rewritten.
const BLOCK_MAX: u64 = 16 << 30;

impl Performer<'_, '_, '_> {
    /// A block's new content, as it will lie on disk.
    pub(super) fn block(
        &mut self,
        number: u32,
        pieces: &[Piece],
        encrypted: bool,
    ) -> Result<NewFile, Failure> {
        let path = BlockFile::Block.path(number);
        let full = self.guard.resolve(&path).at(&path)?;
        let key = self.guard.resolve(&BlockFile::Key.path(number)).at(&path)?;
        let mut present = Vec::new();
        if pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Kept { .. }))
        {
            present = self.fs.read(&full, BLOCK_MAX).at(&path)?;
            let cipher = self.keys_at_hand.reading(self.fs, number, &key).at(&path)?;
            let hash_key = HashKey::for_block(self.stream, number);
            content::decode(&mut present, &mut Vec::new(), cipher.as_ref(), &hash_key).at(&path)?;
        }
        let mut bytes = assemble(pieces, &present).at(&path)?;
        if encrypted {
            let cipher = self.keys_at_hand.writing(self.fs, number, &key).at(&path)?;
            cipher
                .apply(&mut bytes, 0)
                .map_err(|_| ApplyCause::Keystream)
                .at(&path)?;
        }
        Ok((path, bytes))
    }

    pub(super) fn sealed(
        &self,
        path: &str,
        bytes: &[u8],
        sealed: bool,
        hashed: bool,
    ) -> Result<NewFile, Failure> {
        let mut written = match sealed {
            true => self.keys_at_hand.seal(bytes).at(path)?,
            false => bytes.to_vec(),
        };
        if hashed {
            let hash = HashKey::for_stream(self.stream).hash64(&[&written]);
            written.extend_from_slice(&hash.to_le_bytes());
        }
        Ok((path.to_owned(), written))
    }

    pub(super) fn meta(&self, json: &[u8], sealed: bool) -> Result<Vec<NewFile>, Failure> {
        let (path, written) = self.sealed(META, json, sealed, false)?;
        let hash = HashKey::for_stream(self.stream).hash64(&[&written]);
        Ok(vec![
            (path, written),
            (META_SUM.to_owned(), hex16(hash).into_bytes()),
        ])
    }
}

/// Puts a block's new content together. A piece that ends at `u64::MAX` goes to the end.
fn assemble(pieces: &[Piece], content: &[u8]) -> Result<Vec<u8>, ApplyCause> {
    let found = content.len() as u64;
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(bytes) => out.extend_from_slice(bytes),
            Piece::Kept { start, end } => {
                let last = if *end == u64::MAX { found } else { *end };
                let range = usize::try_from(*start).ok().zip(usize::try_from(last).ok());
                let kept = range.and_then(|(start, end)| content.get(start..end));
                let changed = ApplyCause::ContentChanged {
                    start: *start,
                    end: *end,
                    found,
                };
                out.extend_from_slice(kept.ok_or(changed)?);
            }
        }
    }
    Ok(out)
}
