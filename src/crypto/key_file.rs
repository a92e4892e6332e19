//! Key files: an asset's seed, sealed under its key encryption key.

use std::fmt;

use zeroize::Zeroizing;

use super::{Cipher, KeyEncryptionKey, Nonce, Seed, ServerKey, aead};

/// Fewest bytes a key file may have, whatever the cipher.
const MINIMUM_LENGTH: usize = Cipher::Aes.key_file_length();

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

/// Which of the two configured keys opened a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChoice {
    /// The key now configured.
    Current,
    /// The key configured before a rotation.
    Previous,
}

/// A key file opened by one of the trials of [`open_with_trials`].
#[derive(Debug, Clone)]
pub struct OpenedKeyFile {
    /// The asset's secret.
    pub seed: Seed,
    /// The nonce the key file was sealed with.
    pub nonce: Nonce,
    /// The key that opened it.
    pub key: KeyChoice,
    /// The cipher that opened it, which is also the one the asset is written in.
    pub cipher: Cipher,
    /// Whether anything but the current key with the configured cipher was needed, so that a server
    /// would rewrite the asset.
    pub converting: bool,
}

/// Opens a key file of unknown vintage, trying in the server's order: the current key with the
/// configured cipher, the current key with the other, then the previous key with each.
///
/// `info` and `context` are those of [`ServerKey::key_encryption_key`]. For raft groups the
/// configured cipher is always ChaCha. File format reference, section 6.5.
///
/// # Errors
///
/// [`KeyFileError::TooShort`] at once; otherwise the error of the first trial when none succeeds.
pub fn open_with_trials(
    bytes: &[u8],
    current: &ServerKey,
    previous: Option<&ServerKey>,
    configured: Cipher,
    info: &[u8],
    context: &[u8],
) -> Result<OpenedKeyFile, KeyFileError> {
    let mut first_error = None;
    let keys = [
        (KeyChoice::Current, Some(current)),
        (KeyChoice::Previous, previous),
    ];
    for (choice, server_key) in keys {
        let Some(server_key) = server_key else {
            continue;
        };
        let key = server_key.key_encryption_key(info, context);
        for cipher in [configured, configured.other()] {
            match KeyFile::open(bytes, &key, cipher) {
                Ok((seed, nonce)) => {
                    let converting = choice != KeyChoice::Current || cipher != configured;
                    return Ok(OpenedKeyFile {
                        seed,
                        nonce,
                        key: choice,
                        cipher,
                        converting,
                    });
                }
                Err(error @ KeyFileError::TooShort { .. }) => return Err(error),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    Err(first_error.unwrap_or(KeyFileError::Rejected {
        length: bytes.len(),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block_context;
    use super::super::vectors::{
        ACCOUNT, KEY_FILE_AES, KEY_FILE_CHACHA, SERVER_KEY, STREAM, aes_nonce, chacha_nonce, hex,
        seed_bytes,
    };
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

    #[test]
    fn trials_find_key_and_cipher() {
        let right = ServerKey::new(SERVER_KEY.to_vec());
        let wrong = ServerKey::new(b"another".to_vec());
        let context = block_context(STREAM, 1);
        for (cipher, _, bytes) in vectors() {
            for configured in Cipher::ALL {
                let cases = [
                    (&right, Some(&wrong), KeyChoice::Current),
                    (&right, None, KeyChoice::Current),
                    (&wrong, Some(&right), KeyChoice::Previous),
                ];
                for (current, previous, choice) in cases {
                    let opened =
                        open_with_trials(&bytes, current, previous, configured, ACCOUNT, &context)
                            .unwrap();
                    assert_eq!(opened.seed.as_bytes(), &seed_bytes());
                    assert_eq!((opened.key, opened.cipher), (choice, cipher));
                    assert_eq!(opened.nonce.cipher(), cipher);
                    let direct = choice == KeyChoice::Current && configured == cipher;
                    assert_eq!(opened.converting, !direct);
                }
            }
        }
    }

    #[test]
    fn trials_fail_when_no_key_fits() {
        let right = ServerKey::new(SERVER_KEY.to_vec());
        let wrong = ServerKey::new(b"another".to_vec());
        let bytes = hex(KEY_FILE_CHACHA);
        let open = |bytes: &[u8], current, previous, info: &[u8], context: &[u8]| {
            open_with_trials(bytes, current, previous, Cipher::Aes, info, context).unwrap_err()
        };
        let context = block_context(STREAM, 1);
        let rejected = KeyFileError::Rejected { length: 72 };
        assert_eq!(open(&bytes, &wrong, None, ACCOUNT, &context), rejected);
        assert_eq!(
            open(&bytes, &wrong, Some(&wrong), ACCOUNT, &context),
            rejected
        );
        // Another account or another block number makes the key underivable.
        assert_eq!(open(&bytes, &right, None, b"ACD", &context), rejected);
        let moved = block_context(STREAM, 2);
        assert_eq!(
            open(&bytes, &right, Some(&wrong), ACCOUNT, &moved),
            rejected
        );
        let short = KeyFileError::TooShort { found: 63 };
        assert_eq!(
            open(&bytes[..63], &right, Some(&wrong), ACCOUNT, &context),
            short
        );
    }

    #[test]
    fn opened_files_print_no_seed() {
        let key = ServerKey::new(SERVER_KEY.to_vec());
        let opened = open_with_trials(
            &hex(KEY_FILE_AES),
            &key,
            None,
            Cipher::Aes,
            ACCOUNT,
            &block_context(STREAM, 1),
        )
        .unwrap();
        let text = format!("{opened:?}");
        assert!(
            text.contains("Seed(redacted)") && !text.contains("30, 31"),
            "{text}"
        );
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
