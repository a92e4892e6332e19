//! Sealed files: `nonce ‖ ciphertext ‖ tag` under an asset's seed, and the one exception.

use std::fmt;

use super::{Cipher, Nonce, Seed, TAG_LENGTH, aead};

/// Opens a sealed file (meta file, consumer state, or state file without its trailing hash) with the
/// seed of its asset. File format reference, section 6.4.
///
/// # Errors
///
/// [`SealedError::ShorterThanNonce`], [`SealedError::ShorterThanTag`] or [`SealedError::Rejected`].
pub fn open_sealed(bytes: &[u8], seed: &Seed, cipher: Cipher) -> Result<Vec<u8>, SealedError> {
    let (nonce, sealed) =
        Nonce::split_from(bytes, cipher).ok_or(SealedError::ShorterThanNonce {
            found: bytes.len(),
            nonce_length: cipher.nonce_length(),
        })?;
    open_parts(sealed, seed, &nonce, bytes.len(), cipher.overhead())
}

/// The bytes of a sealed file holding `plaintext`. The nonce decides the cipher, is stored in front,
/// and must be fresh.
///
/// # Errors
///
/// [`SealedError::TooLong`] above what the cipher can take: 256 GiB for ChaCha, 64 GiB for AES.
pub fn seal(plaintext: &[u8], seed: &Seed, nonce: &Nonce) -> Result<Vec<u8>, SealedError> {
    let sealed = seal_legacy_index(plaintext, seed, nonce)?;
    let mut bytes = Vec::with_capacity(nonce.as_bytes().len() + sealed.len());
    bytes.extend_from_slice(nonce.as_bytes());
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

/// Opens a legacy per-block index file, `ciphertext ‖ tag`, with the seed and the nonce of the
/// block's key file; unlike every other sealed file it does not store its nonce. File format
/// reference, section 10.1.
///
/// # Errors
///
/// [`SealedError::ShorterThanTag`] or [`SealedError::Rejected`].
pub fn open_legacy_index(bytes: &[u8], seed: &Seed, nonce: &Nonce) -> Result<Vec<u8>, SealedError> {
    open_parts(bytes, seed, nonce, bytes.len(), TAG_LENGTH)
}

/// The bytes of a legacy per-block index file. For test material only: using one nonce for more than
/// one content, as the server that wrote these files did, gives the plaintexts away.
///
/// # Errors
///
/// [`SealedError::TooLong`], as for [`seal`].
pub fn seal_legacy_index(
    plaintext: &[u8],
    seed: &Seed,
    nonce: &Nonce,
) -> Result<Vec<u8>, SealedError> {
    aead::seal(seed.as_bytes(), nonce, plaintext).map_err(|aead::Rejected| SealedError::TooLong {
        length: plaintext.len(),
    })
}

fn open_parts(
    sealed: &[u8],
    seed: &Seed,
    nonce: &Nonce,
    found: usize,
    needed: usize,
) -> Result<Vec<u8>, SealedError> {
    if sealed.len() < TAG_LENGTH {
        return Err(SealedError::ShorterThanTag { found, needed });
    }
    aead::open(seed.as_bytes(), nonce, sealed)
        .map_err(|aead::Rejected| SealedError::Rejected { length: found })
}

/// Why sealed bytes could not be opened, or bytes not sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedError {
    /// The file ends inside its nonce. The reference server panics on such a file in some places, so
    /// it is kept apart.
    ShorterThanNonce {
        /// Length of the file in bytes.
        found: usize,
        /// Length of the cipher's nonce in bytes.
        nonce_length: usize,
    },
    /// The file has its nonce, if it stores one, but ends before a whole tag.
    ShorterThanTag {
        /// Length of the file in bytes.
        found: usize,
        /// Fewest bytes a sealed file may have.
        needed: usize,
    },
    /// The file does not authenticate: another key or cipher, or damage.
    Rejected {
        /// Length of the file in bytes.
        length: usize,
    },
    /// The plaintext is longer than the cipher can take.
    TooLong {
        /// Length of the plaintext in bytes.
        length: usize,
    },
}

impl fmt::Display for SealedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShorterThanNonce {
                found,
                nonce_length,
            } => write!(
                f,
                "the encrypted file has {found} bytes, fewer than its nonce of {nonce_length}"
            ),
            Self::ShorterThanTag { found, needed } => write!(
                f,
                "the encrypted file has {found} bytes, at least {needed} are needed"
            ),
            Self::Rejected { length } => write!(
                f,
                "the encrypted file of {length} bytes does not open: wrong key, wrong cipher or \
                 damage"
            ),
            Self::TooLong { length } => {
                write!(f, "{length} bytes are more than can be encrypted at once")
            }
        }
    }
}

impl std::error::Error for SealedError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vectors::{aes_nonce, chacha_nonce, seed_bytes};
    use super::*;

    fn nonces() -> [Nonce; 2] {
        [chacha_nonce(), aes_nonce()]
    }

    #[test]
    fn every_short_length_has_its_own_error() {
        let seed = Seed::new(seed_bytes());
        for nonce in nonces() {
            let cipher = nonce.cipher();
            let bytes = seal(b"{}", &seed, &nonce).unwrap();
            assert_eq!(bytes.len(), cipher.overhead() + 2);
            for length in 0..bytes.len() {
                let error = open_sealed(&bytes[..length], &seed, cipher).unwrap_err();
                let nonce_length = cipher.nonce_length();
                let needed = cipher.overhead();
                let expected = if length < nonce_length {
                    SealedError::ShorterThanNonce {
                        found: length,
                        nonce_length,
                    }
                } else if length < needed {
                    SealedError::ShorterThanTag {
                        found: length,
                        needed,
                    }
                } else {
                    SealedError::Rejected { length }
                };
                assert_eq!(error, expected);
            }
        }
    }

    #[test]
    fn an_empty_plaintext_is_a_tag_alone() {
        let seed = Seed::new(seed_bytes());
        for nonce in nonces() {
            let bytes = seal(b"", &seed, &nonce).unwrap();
            assert_eq!(bytes.len(), nonce.cipher().overhead());
            assert_eq!(open_sealed(&bytes, &seed, nonce.cipher()).unwrap(), b"");
        }
    }

    #[test]
    fn a_legacy_index_is_a_sealed_file_without_its_nonce() {
        let seed = Seed::new(seed_bytes());
        for nonce in nonces() {
            let bytes = seal_legacy_index(b"index", &seed, &nonce).unwrap();
            assert_eq!(bytes.len(), 5 + TAG_LENGTH);
            assert_eq!(open_legacy_index(&bytes, &seed, &nonce).unwrap(), b"index");
            let short = open_legacy_index(&bytes[..15], &seed, &nonce).unwrap_err();
            assert_eq!(
                short,
                SealedError::ShorterThanTag {
                    found: 15,
                    needed: TAG_LENGTH
                }
            );
            let whole = [nonce.as_bytes(), bytes.as_slice()].concat();
            assert_eq!(
                open_sealed(&whole, &seed, nonce.cipher()).unwrap(),
                b"index"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plaintext: Vec<u8>, secret: [u8; 32], flip: usize) {
            let seed = Seed::new(secret);
            for nonce in nonces() {
                let mut bytes = seal(&plaintext, &seed, &nonce).unwrap();
                let opened = open_sealed(&bytes, &seed, nonce.cipher()).unwrap();
                prop_assert_eq!(&opened, &plaintext);
                let length = bytes.len();
                bytes[flip % length] ^= 1;
                let error = open_sealed(&bytes, &seed, nonce.cipher()).unwrap_err();
                prop_assert_eq!(error, SealedError::Rejected { length });
            }
        }

        #[test]
        fn arbitrary_bytes_never_open(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let seed = Seed::new(seed_bytes());
            for nonce in nonces() {
                prop_assert!(open_sealed(&bytes, &seed, nonce.cipher()).is_err());
                prop_assert!(open_legacy_index(&bytes, &seed, &nonce).is_err());
            }
        }
    }
}
