//! The keystream of a block: file byte `p` is combined with keystream byte `p`, wherever a read or a
//! write begins.

use std::fmt;

use aes::Aes256;
use chacha20::{ChaCha20, R20, hchacha};
use ctr::cipher::{
    InnerIvInit, KeyInit, KeyIvInit, StreamCipher, StreamCipherCoreWrapper, StreamCipherError,
    StreamCipherSeek,
};
use ctr::{CtrCore, flavors};
use zeroize::Zeroizing;

use super::{Cipher, Nonce, Seed};

/// Encrypts and decrypts the bytes of one block, at any offset of the file.
///
/// The keystream is not authenticated: a wrong key and damage show only in the checksums inside.
/// Building one runs the key schedule, so it is worth keeping while the block is in use; it may be
/// shared between threads. File format reference, section 6.3.
pub struct BlockCipher(Keystream);

enum Keystream {
    /// XChaCha20 is ChaCha20 under a subkey made of the seed and the first 16 bytes of the nonce.
    ChaCha {
        subkey: Zeroizing<[u8; 32]>,
        nonce: [u8; 12],
    },
    /// The schedule wipes itself when dropped; it is boxed because it is large.
    Aes {
        schedule: Box<Aes256>,
        counter: [u8; 16],
    },
}

impl BlockCipher {
    /// The cipher of a block whose key file holds `seed` and was sealed with `nonce`.
    #[must_use]
    pub fn new(seed: &Seed, nonce: &Nonce) -> Self {
        Self(match nonce {
            Nonce::ChaCha(nonce) => {
                let mut input = [0; 16];
                let mut short_nonce = [0; 12];
                input.copy_from_slice(&nonce[..16]);
                short_nonce[4..].copy_from_slice(&nonce[16..]);
                let subkey = hchacha::<R20>(seed.as_bytes().into(), &input.into());
                Keystream::ChaCha {
                    subkey: Zeroizing::new(subkey.into()),
                    nonce: short_nonce,
                }
            }
            Nonce::Aes(nonce) => Keystream::Aes {
                schedule: Box::new(Aes256::new(seed.as_bytes().into())),
                counter: *nonce,
            },
        })
    }

    /// The cipher in use.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        match self.0 {
            Keystream::ChaCha { .. } => Cipher::ChaCha,
            Keystream::Aes { .. } => Cipher::Aes,
        }
    }

    /// Combines `bytes`, which stand at `file_offset` of the block's file, with the keystream in
    /// place. Encrypting and decrypting are the same.
    ///
    /// # Errors
    ///
    /// [`KeystreamExhausted`] when ChaCha's keystream, 256 GiB long, does not reach the end of
    /// `bytes`, which are then left as they were. No block is nearly that long.
    pub fn apply(&self, bytes: &mut [u8], file_offset: u64) -> Result<(), KeystreamExhausted> {
        let length = bytes.len();
        match &self.0 {
            Keystream::ChaCha { subkey, nonce } => {
                let key: &[u8; 32] = subkey;
                apply_at(ChaCha20::new(key.into(), nonce.into()), bytes, file_offset)
            }
            Keystream::Aes { schedule, counter } => {
                // Borrowing the schedule spares expanding or copying it for every call.
                let core =
                    CtrCore::<&Aes256, flavors::Ctr128BE>::inner_iv_init(schedule, counter.into());
                apply_at(StreamCipherCoreWrapper::from_core(core), bytes, file_offset)
            }
        }
        .map_err(|StreamCipherError| KeystreamExhausted {
            file_offset,
            length,
        })
    }
}

fn apply_at(
    mut stream: impl StreamCipher + StreamCipherSeek,
    bytes: &mut [u8],
    file_offset: u64,
) -> Result<(), StreamCipherError> {
    stream.try_seek(file_offset)?;
    stream.try_apply_keystream(bytes)
}

impl fmt::Debug for BlockCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockCipher({}, redacted)", self.cipher())
    }
}

/// The keystream does not reach as far as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeystreamExhausted {
    /// Offset in the file of the first byte asked for.
    pub file_offset: u64,
    /// Number of bytes asked for.
    pub length: usize,
}

impl fmt::Display for KeystreamExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file_offset,
            length,
        } = self;
        write!(
            f,
            "no keystream for {length} bytes at offset {file_offset}: the file is too long"
        )
    }
}

impl std::error::Error for KeystreamExhausted {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vectors::{
        BLOCK_AES, BLOCK_CHACHA, BLOCK_PLAIN, aes_nonce, chacha_nonce, hex, seed_bytes,
    };
    use super::*;

    fn ciphers() -> [BlockCipher; 2] {
        [chacha_nonce(), aes_nonce()]
            .map(|nonce| BlockCipher::new(&Seed::new(seed_bytes()), &nonce))
    }

    /// The keystream from `offset` on.
    fn keystream(cipher: &BlockCipher, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        cipher.apply(&mut bytes, offset).unwrap();
        bytes
    }

    #[test]
    fn decrypts_and_encrypts_the_vectors() {
        for (cipher, encrypted) in ciphers().iter().zip([BLOCK_CHACHA, BLOCK_AES]) {
            let mut bytes = hex(encrypted);
            cipher.apply(&mut bytes, 0).unwrap();
            assert_eq!(bytes, hex(BLOCK_PLAIN));
            cipher.apply(&mut bytes, 0).unwrap();
            assert_eq!(bytes, hex(encrypted));
        }
    }

    #[test]
    fn the_counter_carries_through_all_its_bytes() {
        let seed = Seed::new(seed_bytes());
        let mut almost = [0xFF; 16];
        almost[15] = 0xFE;
        let wrapping = BlockCipher::new(&seed, &Nonce::Aes(almost));
        let zero = BlockCipher::new(&seed, &Nonce::Aes([0; 16]));
        // Two blocks of 16 bytes reach counter zero.
        assert_eq!(keystream(&wrapping, 32, 64), keystream(&zero, 0, 64));
        assert_eq!(keystream(&wrapping, 0, 96)[32..], keystream(&zero, 0, 64));
    }

    #[test]
    fn offsets_past_the_keystream_are_errors_and_change_nothing() {
        let [chacha, aes] = ciphers();
        for file_offset in [1 << 38, u64::MAX] {
            let mut bytes = [7; 100];
            let expected = KeystreamExhausted {
                file_offset,
                length: 100,
            };
            assert_eq!(chacha.apply(&mut bytes, file_offset), Err(expected));
            assert_eq!(bytes, [7; 100]);
            assert_eq!(aes.apply(&mut bytes, file_offset), Ok(()));
        }
        let mut across = [7; 256];
        assert!(chacha.apply(&mut across, (1 << 38) - 128).is_err());
        assert_eq!(across, [7; 256]);
    }

    #[test]
    fn blocks_beyond_four_gibibytes_are_reached() {
        for cipher in ciphers() {
            let far = (1 << 32) + 5;
            assert_eq!(
                keystream(&cipher, far - 5, 100)[5..],
                keystream(&cipher, far, 95)
            );
        }
    }

    #[test]
    fn debug_output_shows_no_secret_and_threads_may_share() {
        fn shared<T: Send + Sync>(_: &T) {}
        for cipher in ciphers() {
            shared(&cipher);
            let expected = format!("BlockCipher({}, redacted)", cipher.cipher().name());
            assert_eq!(format!("{cipher:?}"), expected);
        }
    }

    proptest! {
        #[test]
        fn any_cut_of_the_file_gives_the_same_bytes(
            start in 0_usize..5000,
            length in 0_usize..5000,
            cut in 0_usize..5000,
        ) {
            for cipher in ciphers() {
                let whole = keystream(&cipher, 0, start + length);
                let cut = cut.min(length);
                let mut parts = vec![0; length];
                let (left, right) = parts.split_at_mut(cut);
                cipher.apply(right, (start + cut) as u64).unwrap();
                cipher.apply(left, start as u64).unwrap();
                prop_assert_eq!(&whole[start..], parts.as_slice());
            }
        }

        #[test]
        fn applying_twice_restores(mut bytes: Vec<u8>, offset: u64) {
            let before = bytes.clone();
            for cipher in ciphers() {
                if cipher.apply(&mut bytes, offset).is_ok() {
                    cipher.apply(&mut bytes, offset).unwrap();
                }
                prop_assert_eq!(&bytes, &before);
            }
        }
    }
}
