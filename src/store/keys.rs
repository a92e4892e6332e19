//! Keys of blocks: the one that is there, and a new one.

use super::error::WriterFault;
use super::writer::Writer;
use crate::crypto::{BlockCipher, NewKey, block_context};
use crate::env::DEFAULT_FILE_MODE;
use crate::format::names::BlockFile;

impl Writer {
    /// The keystream of an existing block.
    pub(super) fn cipher_of(
        &self,
        number: u32,
        length: u64,
    ) -> Result<Option<BlockCipher>, WriterFault> {
        let path = self.shared.dir.join(BlockFile::Key.path(number));
        let sealed = match self.shared.fs.read(&path, crate::crypto::KEY_FILE_MAX) {
            Ok(sealed) => sealed,
            Err(error) if error.is_not_found() && length == 0 => return Ok(None),
            Err(error) if error.is_not_found() && self.shared.stream_key.is_none() => {
                return Ok(None);
            }
            Err(error) => {
                let reason = error.to_string();
                return Err(WriterFault::Block {
                    block: number,
                    reason,
                });
            }
        };
        let ring = self.shared.keys.ring(&self.shared.account);
        let context = block_context(&self.shared.name, number);
        match ring.open(&sealed, &context) {
            Ok(key) => Ok(Some(key.block_cipher())),
            Err(error) => Err(WriterFault::Block {
                block: number,
                reason: error.to_string(),
            }),
        }
    }

    /// Draws a key for a block, writes its file into `dir` and makes that durable.
    pub(super) fn new_key(
        &mut self,
        dir: &str,
        number: u32,
    ) -> Result<Option<BlockCipher>, WriterFault> {
        let shared = self.shared.clone();
        let (Some(stream_key), Some(server)) = (&shared.stream_key, &shared.keys.current) else {
            return Ok(None);
        };
        let drawn = NewKey::draw(stream_key.cipher, |bytes| shared.entropy.fill(bytes));
        let key = self.told(drawn)?;
        let context = block_context(&shared.name, number);
        let sealed = key.key_file(server, &shared.account, &context);
        let path = shared.dir.join(BlockFile::Key.path_in(dir, number));
        let written = shared
            .fs
            .write_atomically(&path, &sealed, Some(DEFAULT_FILE_MODE));
        self.told(written)?;
        // A block that is gone had the same number, and its key was still to go.
        self.orphaned_keys.retain(|orphaned| *orphaned != number);
        Ok(Some(key.block_cipher()))
    }
}
