//! Key files: an asset's seed, sealed under its key encryption key.

use std::fmt;

use zeroize::Zeroizing;

use super::{Cipher, KeyEncryptionKey, Nonce, Seed, aead};

/// Fewest bytes a key file may have, whatever the cipher.
const MINIMUM_LENGTH: usize = Cipher::Aes.key_file_length();

/// As much as is read of what may be a key file: far more than any has, so that surplus bytes show.
pub const KEY_FILE_MAX: u64 = 1 << 16;

/// Reads and writes key files: `nonce ‖ sealed seed ‖ tag`. File format reference, section 6.2.
#[derive(Debug, Clone, Copy)]
pub struct KeyFile;

impl KeyFile {
    /// Opens the bytes of a key file written with `cipher`, giving the seed and the nonce it was
    /// sealed with, which is also the nonce of the block's keystream.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::TooShort`] under 64 bytes, whatever the cipher;
    /// [`KeyFileError::Rejected`] when the tag does not match, which is also how another key,
    /// another cipher and surplus bytes show.
    pub fn open(
        bytes: &[u8],
        key: &KeyEncryptionKey,
        cipher: Cipher,
    ) -> Result<(Seed, Nonce), KeyFileError> {
        let too_short = KeyFileError::TooShort { found: bytes.len() };
        if bytes.len() < MINIMUM_LENGTH {
            return Err(too_short);
        }
        let (nonce, sealed) = Nonce::split_from(bytes, cipher).ok_or(too_short)?;
        let plain = aead::open(key.as_bytes(), &nonce, sealed)
            .map(Zeroizing::new)
            .map_err(|aead::Rejected| KeyFileError::Rejected {
                length: bytes.len(),
            })?;
        if plain.len() != Seed::LENGTH {
            return Err(KeyFileError::SeedLength { found: plain.len() });
        }
        let mut seed = Seed::new([0; Seed::LENGTH]);
        seed.as_mut_bytes().copy_from_slice(&plain);
        Ok((seed, nonce))
    }

    /// The bytes of a key file for `seed`, sealed under `key`. The nonce decides the cipher and must
    /// never have sealed anything else under the same key.
    #[must_use]
    pub fn seal(seed: &Seed, nonce: &Nonce, key: &KeyEncryptionKey) -> Vec<u8> {
        #[expect(
            clippy::expect_used,
            reason = "a seed of 32 bytes is within both ciphers' limits"
        )]
        let sealed = aead::seal(key.as_bytes(), nonce, seed.as_bytes()).expect("32 bytes fit");
        [nonce.as_bytes(), sealed.as_slice()].concat()
    }
}

/// Why a key file could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFileError {
    /// The file has fewer bytes than any key file; the server calls this a bad key size.
    TooShort {
        /// Length of the file in bytes.
        found: usize,
    },
    /// The file does not authenticate: another key or cipher, or damage.
    Rejected {
        /// Length of the file in bytes.
        length: usize,
    },
    /// The file authenticates but holds a secret of the wrong length.
    SeedLength {
        /// Length of that secret in bytes.
        found: usize,
    },
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { found } => write!(
                f,
                "bad key size: the key file has {found} bytes, a key file has at least \
                 {MINIMUM_LENGTH}"
            ),
            Self::Rejected { length } => write!(
                f,
                "the key file of {length} bytes does not open: wrong key, wrong cipher or damage"
            ),
            Self::SeedLength { found } => write!(
                f,
                "the key file holds a secret of {found} bytes instead of {}",
                Seed::LENGTH
            ),
        }
    }
}

impl std::error::Error for KeyFileError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vectors::{
        ACCOUNT, KEY_FILE_AES, KEY_FILE_CHACHA, SERVER_KEY, STREAM, aes_nonce, chacha_nonce, hex,
        seed_bytes,
    };
    use super::super::{ServerKey, block_context};
    use super::*;

    fn block_key() -> KeyEncryptionKey {
        ServerKey::new(SERVER_KEY.to_vec()).key_encryption_key(ACCOUNT, &block_context(STREAM, 1))
    }

    fn vectors() -> [(Cipher, Nonce, Vec<u8>); 2] {
        [
            (Cipher::ChaCha, chacha_nonce(), hex(KEY_FILE_CHACHA)),
            (Cipher::Aes, aes_nonce(), hex(KEY_FILE_AES)),
        ]
    }

    #[test]
    fn opens_and_writes_the_vectors() {
        for (cipher, nonce, bytes) in vectors() {
            let (seed, found) = KeyFile::open(&bytes, &block_key(), cipher).unwrap();
            assert_eq!(seed.as_bytes(), &seed_bytes());
            assert_eq!(found, nonce);
            assert_eq!(KeyFile::seal(&seed, &nonce, &block_key()), bytes);
            assert_eq!(bytes.len(), cipher.key_file_length());
        }
    }

    #[test]
    fn short_files_are_told_from_rejected_ones() {
        let key = block_key();
        for (cipher, _, bytes) in vectors() {
            for length in 0..bytes.len() {
                let expected = if length < 64 {
                    KeyFileError::TooShort { found: length }
                } else {
                    KeyFileError::Rejected { length }
                };
                let error = KeyFile::open(&bytes[..length], &key, cipher).unwrap_err();
                assert_eq!(error, expected);
            }
            let longer = [bytes.as_slice(), b"\n"].concat();
            let error = KeyFile::open(&longer, &key, cipher).unwrap_err();
            assert_eq!(
                error,
                KeyFileError::Rejected {
                    length: longer.len()
                }
            );
        }
    }

    #[test]
    fn any_flipped_bit_is_rejected() {
        for (cipher, _, bytes) in vectors() {
            for position in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[position] ^= 0x10;
                assert!(KeyFile::open(&damaged, &block_key(), cipher).is_err());
            }
        }
    }

    #[test]
    fn a_secret_of_another_length_is_named() {
        let nonce = aes_nonce();
        let sealed = aead::seal(block_key().as_bytes(), &nonce, &[1; 40]).unwrap();
        let bytes = [nonce.as_bytes(), sealed.as_slice()].concat();
        let error = KeyFile::open(&bytes, &block_key(), Cipher::Aes).unwrap_err();
        assert_eq!(error, KeyFileError::SeedLength { found: 40 });
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(seed: [u8; 32], fill: u8, secret: Vec<u8>, aes: bool) {
            let cipher = if aes { Cipher::Aes } else { Cipher::ChaCha };
            let nonce = Nonce::draw(cipher, |out| { out.fill(fill); Ok::<_, ()>(()) }).unwrap();
            let key = ServerKey::new(secret).key_encryption_key(b"A", b"S");
            let bytes = KeyFile::seal(&Seed::new(seed), &nonce, &key);
            let (opened, found) = KeyFile::open(&bytes, &key, cipher).unwrap();
            prop_assert_eq!(opened.as_bytes(), &seed);
            prop_assert_eq!(found, nonce);
            prop_assert!(KeyFile::open(&bytes, &key, cipher.other()).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_open(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for cipher in Cipher::ALL {
                prop_assert!(KeyFile::open(&bytes, &block_key(), cipher).is_err());
            }
        }
    }
}
