//! Keys and ciphers: keys and byte slices in, bytes out.
//!
//! Nothing here knows of files or records, and nothing here draws randomness: nonces and seeds are
//! handed in. The chain of keys, each opening the next:
//!
//! 1. the [`ServerKey`] as configured, raw bytes;
//! 2. a [`KeyEncryptionKey`] derived from it for one asset (stream, block or consumer);
//! 3. the asset's [`Seed`], found sealed under that in a key file ([`KeyFile`]);
//! 4. the seed opens sealed files ([`open_sealed`]) and keys a block's keystream ([`BlockCipher`]).
//!
//! [`KeyRing`] holds the operator's keys and tells which of them opens what.
//!
//! Secrets are wiped when dropped and none of them shows in `Debug` output.
//!
//! Source: file format reference, section 6.

mod aead;
mod key_file;
mod key_repair;
mod key_ring;
mod keys;
mod keystream;
mod sealed;

pub use key_file::{KEY_FILE_MAX, KeyFile, KeyFileError};
pub use key_repair::KeyMend;
pub use key_ring::{KeyChoice, KeyRing, MetaKeyFault, NewKey, OpenedKey, OpenedMeta, Trial};
pub use keys::{
    KeyEncryptionKey, Nonce, Seed, ServerKey, block_context, consumer_context, stream_context,
};
pub use keystream::{BlockCipher, KeystreamExhausted};
pub use sealed::{SealedError, open_legacy_index, open_sealed, seal, seal_legacy_index};

/// Length in bytes of the authentication tag that ends everything sealed, under either cipher.
pub const TAG_LENGTH: usize = 16;

/// The two families of algorithms a store may be encrypted with.
///
/// Each stands for an authenticated cipher (key files and sealed files) and a keystream (blocks)
/// over the same 32-byte key. File format reference, section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// XChaCha20-Poly1305 and XChaCha20; the server's default.
    ChaCha,
    /// AES-256-GCM with a 16-byte nonce and AES-256-CTR.
    Aes,
}

impl Cipher {
    /// Both ciphers, the default first.
    pub const ALL: [Self; 2] = [Self::ChaCha, Self::Aes];

    /// Length of a nonce in bytes: 24 for ChaCha, 16 for AES.
    #[must_use]
    pub const fn nonce_length(self) -> usize {
        match self {
            Self::ChaCha => 24,
            Self::Aes => 16,
        }
    }

    /// Bytes that sealing adds: the nonce in front and the tag behind.
    #[must_use]
    pub const fn overhead(self) -> usize {
        self.nonce_length() + TAG_LENGTH
    }

    /// Length in bytes of a key file of this cipher: 72 for ChaCha, 64 for AES.
    #[must_use]
    pub const fn key_file_length(self) -> usize {
        self.overhead() + Seed::LENGTH
    }

    /// The cipher that this one is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::ChaCha => Self::Aes,
            Self::Aes => Self::ChaCha,
        }
    }

    /// The cipher by its name in a server configuration (`chacha`, `chachapoly` or `aes`, in any
    /// case), or `None` for any other name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "chacha" | "chachapoly" => Some(Self::ChaCha),
            "aes" => Some(Self::Aes),
            _ => None,
        }
    }

    /// The cipher's name in a server configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha => "chacha",
            Self::Aes => "aes",
        }
    }
}

impl std::fmt::Display for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_format() {
        assert_eq!(Cipher::ChaCha.key_file_length(), 72);
        assert_eq!(Cipher::Aes.key_file_length(), 64);
        assert_eq!(Cipher::ChaCha.overhead(), 40);
        assert_eq!(Cipher::Aes.overhead(), 32);
    }

    #[test]
    fn names_are_read_in_any_case_and_written_in_lower() {
        assert_eq!(Cipher::from_name("ChaChaPoly"), Some(Cipher::ChaCha));
        assert_eq!(Cipher::from_name("AES"), Some(Cipher::Aes));
        assert_eq!(Cipher::from_name("none"), None);
        for cipher in Cipher::ALL {
            assert_eq!(Cipher::from_name(cipher.name()), Some(cipher));
            assert_ne!(cipher.other(), cipher);
        }
    }
}
