//! Building a block: records in, the bytes of its file out.

use std::ops::Range;

use super::content::tail_of;
use crate::crypto::{BlockCipher, KeystreamExhausted};
use crate::format::checksum::HashKey;
use crate::format::compression::{self, CompressionFault};
use crate::format::limits::CHECKSUM_LENGTH;
use crate::format::record::{EncodeFault, NewRecord, encode_record, parse_at};

/// One block being put together. Memory: its content, and once more while it is compressed.
#[derive(Debug, Clone)]
pub struct BlockBuilder {
    number: u32,
    hash_key: HashKey,
    content: Vec<u8>,
    hashes: Vec<u64>,
}

impl BlockBuilder {
    /// An empty block of the stream of this name.
    #[must_use]
    pub fn new(stream: &[u8], number: u32) -> Self {
        BlockBuilder {
            number,
            hash_key: HashKey::for_block(stream, number),
            content: Vec::new(),
            hashes: Vec::new(),
        }
    }

    /// Empties it, for another block. Its memory is kept.
    pub fn begin(&mut self, stream: &[u8], number: u32) {
        self.number = number;
        self.hash_key = HashKey::for_block(stream, number);
        self.content.clear();
    }

    /// The block's number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Key of its records' hashes.
    #[must_use]
    pub const fn hash_key(&self) -> &HashKey {
        &self.hash_key
    }

    /// The records so far.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The same, to be written: encrypted in place, it is of no other use any more.
    pub fn content_mut(&mut self) -> &mut [u8] {
        &mut self.content
    }

    /// Bytes of the records so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.content.len() as u64
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// Hash of the last record; zeros without any.
    #[must_use]
    pub fn last_hash(&self) -> [u8; CHECKSUM_LENGTH] {
        tail_of(&self.content)
    }

    /// Adds a record and returns its length.
    ///
    /// # Errors
    ///
    /// Any [`EncodeFault`]; the block is then left as it was.
    pub fn push(&mut self, record: &NewRecord<'_>) -> Result<usize, EncodeFault> {
        encode_record(&mut self.content, &self.hash_key, record)
    }

    /// Adds a record as it lies in another block. Its hash is keyed by its block, and computed anew.
    pub fn copy(&mut self, record: &[u8]) {
        let start = self.content.len();
        self.content.extend_from_slice(record);
        let Ok(record) = parse_at(&self.content, start) else {
            return;
        };
        let records = std::slice::from_ref(&record);
        self.hash_key
            .hash_run(&self.content, records, &mut self.hashes);
        let place = record.checksum_offset()..record.checksum_offset() + CHECKSUM_LENGTH;
        if let (Some(hash), Some(place)) = (self.hashes.first(), self.content.get_mut(place)) {
            place.copy_from_slice(&hash.to_le_bytes());
        }
    }

    /// Takes over the content of this very block as it is.
    pub fn copy_all(&mut self, content: &[u8]) {
        self.content.extend_from_slice(content);
    }

    /// The records, of which the block is made.
    #[must_use]
    pub fn into_content(self) -> Vec<u8> {
        self.content
    }

    /// Puts a record in the place of the one that lies in `range`. False, and nothing done, where it has another length.
    ///
    /// # Errors
    ///
    /// Any [`EncodeFault`].
    pub fn overwrite(
        &mut self,
        range: Range<usize>,
        record: &NewRecord<'_>,
    ) -> Result<bool, EncodeFault> {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &self.hash_key, record)?;
        match self.content.get_mut(range) {
            Some(place) if place.len() == bytes.len() => place.copy_from_slice(&bytes),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Keeps the records in these places, in this order, and no others.
    pub fn keep(&mut self, places: impl IntoIterator<Item = Range<usize>>) {
        let content = std::mem::take(&mut self.content);
        for place in places {
            let record = content.get(place).unwrap_or_default();
            self.content.extend_from_slice(record);
        }
    }

    /// Takes the records back behind `length` bytes, where one begins.
    pub fn truncate(&mut self, length: u64) {
        self.content
            .truncate(usize::try_from(length).unwrap_or(usize::MAX));
    }

    /// The bytes of the file: the content, `compressed` or not, under a keystream where there is one.
    ///
    /// # Errors
    ///
    /// [`BuildFault`].
    pub fn file(
        &self,
        compressed: bool,
        cipher: Option<&BlockCipher>,
    ) -> Result<Vec<u8>, BuildFault> {
        let mut bytes = file_of(&self.content, compressed)?;
        if let Some(cipher) = cipher {
            cipher.apply(&mut bytes, 0).map_err(BuildFault::Keystream)?;
        }
        Ok(bytes)
    }
}

/// The bytes of the file that holds `content`, before they are encrypted.
///
/// # Errors
///
/// [`BuildFault::Compress`].
pub fn file_of(content: &[u8], compressed: bool) -> Result<Vec<u8>, BuildFault> {
    if !compressed {
        return Ok(content.to_vec());
    }
    let mut bytes = Vec::new();
    compression::compress(content, &mut bytes).map_err(BuildFault::Compress)?;
    Ok(bytes)
}

/// Why a block has no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildFault {
    /// The content does not compress.
    Compress(CompressionFault),
    /// It is longer than its cipher can address.
    Keystream(KeystreamExhausted),
}

impl std::fmt::Display for BuildFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BuildFault::Compress(fault) => write!(f, "the block does not compress: {fault}"),
            BuildFault::Keystream(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for BuildFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildFault::Compress(fault) => Some(fault),
            BuildFault::Keystream(fault) => Some(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::content;
    use crate::crypto::{Cipher, NewKey};

    fn message(sequence: u64) -> NewRecord<'static> {
        NewRecord::Message {
            sequence,
            timestamp_ns: 7,
            subject: b"s.a",
            headers: b"",
            body: b"body body body body body body",
        }
    }

    #[test]
    fn what_is_built_decodes_in_every_form() {
        let mut block = BlockBuilder::new(b"S", 3);
        for sequence in 1..=50 {
            block.push(&message(sequence)).unwrap();
        }
        assert_eq!(block.last_hash(), tail_of(block.content()));
        let key = NewKey::draw(Cipher::ChaCha, |buffer| {
            buffer.fill(9);
            Ok::<_, ()>(())
        })
        .unwrap();
        let cipher = key.block_cipher();
        for compressed in [false, true] {
            for cipher in [None, Some(&cipher)] {
                let mut file = block.file(compressed, cipher).unwrap();
                let decoded =
                    content::decode(&mut file, &mut Vec::new(), cipher, block.hash_key()).unwrap();
                assert_eq!(decoded.compressed, compressed);
                assert_eq!(file, block.content());
            }
        }
    }

    #[test]
    fn a_copied_record_verifies_in_its_new_block() {
        let mut from = BlockBuilder::new(b"S", 1);
        from.push(&message(5)).unwrap();
        let mut to = BlockBuilder::new(b"S", 2);
        to.copy(from.content());
        assert_ne!(to.content(), from.content());
        to.push(&message(6)).unwrap();
        let end = to.len();
        to.push(&message(7)).unwrap();
        to.truncate(end);
        let mut expected = BlockBuilder::new(b"S", 2);
        expected.push(&message(5)).unwrap();
        expected.push(&message(6)).unwrap();
        assert_eq!(to.content(), expected.content());
        to.begin(b"S", 1);
        assert!(to.is_empty());
        to.push(&message(5)).unwrap();
        assert_eq!(to.content(), from.content());
    }
}
