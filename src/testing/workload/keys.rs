//! Keys of the generated assets: the same every time, and good for nothing else.

use super::super::random::Random;
use super::{Access, WorkloadError};
use crate::crypto::{BlockCipher, NewKey, Nonce, seal};

/// The secret of one asset and the file it lies in.
pub struct AssetKeys {
    key: NewKey,
    /// The key file's bytes.
    pub file: Vec<u8>,
}

impl AssetKeys {
    /// Draws them; `None` where the store is not encrypted.
    pub fn draw(access: &Access, context: &[u8], random: &mut Random) -> Option<Self> {
        let (server, cipher) = (access.server_key()?, access.cipher?);
        let fill = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
            random.fill(bytes);
            Ok(())
        };
        let Ok(key) = NewKey::draw(cipher, fill);
        let file = key.key_file(&server, access.account.as_bytes(), context);
        Some(Self { key, file })
    }

    /// The keystream of a block.
    pub fn block_cipher(&self) -> BlockCipher {
        self.key.block_cipher()
    }

    /// Puts a block's bytes under the keystream.
    pub fn encrypt_block(&self, bytes: &mut [u8]) -> Result<(), WorkloadError> {
        self.key
            .block_cipher()
            .apply(bytes, 0)
            .map_err(|fault| WorkloadError::Unsound(fault.to_string()))
    }
}

fn draw_nonce(cipher: crate::crypto::Cipher, random: &mut Random) -> Nonce {
    let fill = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        random.fill(bytes);
        Ok(())
    };
    let Ok(nonce) = Nonce::draw(cipher, fill);
    nonce
}

/// A sealed file's bytes, or the plain ones where there are no keys.
pub fn sealed(
    keys: Option<&AssetKeys>,
    plain: Vec<u8>,
    random: &mut Random,
) -> Result<Vec<u8>, WorkloadError> {
    let Some(keys) = keys else {
        return Ok(plain);
    };
    let nonce = draw_nonce(keys.key.nonce.cipher(), random);
    seal(&plain, &keys.key.seed, &nonce).map_err(|fault| WorkloadError::Unsound(fault.to_string()))
}
