//! The keys behind the files that are written.

use std::collections::HashMap;
use std::path::Path;

use super::error::ApplyCause;
use crate::crypto::{
    BlockCipher, Cipher, KEY_FILE_MAX, KeyFileError, KeyRing, NewKey, Nonce, Seed, block_context,
    seal,
};
use crate::env::{Entropy, ReadFiles};
use crate::format::names::{BlockFile, META_KEY};

/// The keys that apply to one stream.
pub struct ApplyKeys<'a> {
    /// The operator's keys; none for a plain store.
    pub ring: KeyRing<'a>,
    /// Stream name in the key derivation and in checksums.
    pub stream: &'a [u8],
    /// What `meta.key` holds, and the cipher it is sealed with.
    pub asset_key: Option<(Seed, Cipher)>,
}

/// The keys at hand, and those drawn in the course of the changes.
pub(super) struct KeysAtHand<'a> {
    keys: &'a ApplyKeys<'a>,
    entropy: &'a dyn Entropy,
    fresh: HashMap<String, NewKey>,
    /// Keys of blocks whose key file was replaced, while the block was not. A key file that did not open matters
    /// only where the block is read after all.
    replaced: HashMap<u32, Result<Option<NewKey>, KeyFileError>>,
}

impl<'a> KeysAtHand<'a> {
    pub(super) fn new(keys: &'a ApplyKeys<'a>, entropy: &'a dyn Entropy) -> Self {
        KeysAtHand {
            keys,
            entropy,
            fresh: HashMap::new(),
            replaced: HashMap::new(),
        }
    }

    /// Draws a key for `path` and returns the bytes of its key file. `old` is that key file as it
    /// lies, for a block: what the block's present content is read with.
    pub(super) fn draw(
        &mut self,
        fs: &dyn ReadFiles,
        path: &str,
        full: &Path,
        context: &[u8],
        cipher: Cipher,
    ) -> Result<Vec<u8>, ApplyCause> {
        let server = self.keys.ring.current.ok_or(ApplyCause::NoServerKey)?;
        if let Some(number) = block_of_key(path) {
            let old = match self.fresh.get(path) {
                Some(known) => Ok(Some(known.clone())),
                None => match self.open(fs, number, full) {
                    Err(ApplyCause::Key(error)) => Err(error),
                    opened => Ok(opened?),
                },
            };
            self.replaced.insert(number, old);
        }
        let known = NewKey::draw(cipher, |buffer| self.entropy.fill(buffer))?;
        let bytes = known.key_file(server, self.keys.ring.account, context);
        self.fresh.insert(path.to_owned(), known);
        Ok(bytes)
    }

    /// What block `number` is encrypted with as it lies; `None` for a plain one.
    pub(super) fn reading(
        &self,
        fs: &dyn ReadFiles,
        number: u32,
        key_file: &Path,
    ) -> Result<Option<BlockCipher>, ApplyCause> {
        let known = match self.replaced.get(&number) {
            Some(old) => old.clone().map_err(ApplyCause::Key)?,
            None => self.open(fs, number, key_file)?,
        };
        Ok(known.map(|known| known.block_cipher()))
    }

    /// What block `number` is to be encrypted with.
    pub(super) fn writing(
        &self,
        fs: &dyn ReadFiles,
        number: u32,
        key_file: &Path,
    ) -> Result<BlockCipher, ApplyCause> {
        let known = match self.fresh.get(&BlockFile::Key.path(number)) {
            Some(known) => known.clone(),
            None => self.open(fs, number, key_file)?.ok_or(ApplyCause::NoKey)?,
        };
        Ok(known.block_cipher())
    }

    /// The block was written under its new key.
    pub(super) fn block_written(&mut self, number: u32, encrypted: bool) {
        if self.replaced.contains_key(&number) {
            let now = self
                .fresh
                .get(&BlockFile::Key.path(number))
                .filter(|_| encrypted)
                .cloned();
            self.replaced.insert(number, Ok(now));
        }
    }

    /// Seals a file of the stream itself.
    pub(super) fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, ApplyCause> {
        let (seed, cipher) = match (self.fresh.get(META_KEY), &self.keys.asset_key) {
            (Some(known), _) => (&known.seed, known.nonce.cipher()),
            (None, Some((seed, cipher))) => (seed, *cipher),
            (None, None) => return Err(ApplyCause::NoKey),
        };
        let nonce = Nonce::draw(cipher, |buffer| self.entropy.fill(buffer))?;
        Ok(seal(bytes, seed, &nonce)?)
    }

    fn open(
        &self,
        fs: &dyn ReadFiles,
        number: u32,
        full: &Path,
    ) -> Result<Option<NewKey>, ApplyCause> {
        if self.keys.ring.current.is_none() {
            return Ok(None);
        }
        let bytes = match fs.read(full, KEY_FILE_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let context = block_context(self.keys.stream, number);
        let opened = self.keys.ring.open(&bytes, &context);
        Ok(Some(opened.map_err(ApplyCause::Key)?.into()))
    }
}

/// The block a key file belongs to, if it is one of a block.
pub(super) fn block_of_key(path: &str) -> Option<u32> {
    match BlockFile::parse_path(path)? {
        (number, BlockFile::Key) => Some(number),
        _ => None,
    }
}
