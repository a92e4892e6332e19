//! The secrets, and the derivation that ties each asset's key to the server's.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Cipher;

/// A configured encryption key: the string of the configuration as raw bytes, neither salted nor
/// stretched.
#[derive(Clone)]
pub struct ServerKey(Zeroizing<Vec<u8>>);

impl ServerKey {
    /// Takes over the raw bytes of the key, wiping them on drop. An allocation the bytes were copied
    /// from is the caller's to wipe.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Derives the key that seals an asset's key file: HMAC-SHA256 of `info` and `context`, which
    /// are joined without a separator.
    ///
    /// `info` is the account name, or the group name for a raft group; `context` comes from
    /// [`stream_context`], [`block_context`] or [`consumer_context`]. File format reference,
    /// section 6.1.
    #[must_use]
    pub fn key_encryption_key(&self, info: &[u8], context: &[u8]) -> KeyEncryptionKey {
        #[expect(
            clippy::expect_used,
            reason = "HMAC is defined for keys of every length"
        )]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key length will do");
        mac.update(info);
        mac.update(context);
        let mut output = mac.finalize().into_bytes();
        let mut key = KeyEncryptionKey([0; 32]);
        key.0.copy_from_slice(&output);
        output.as_mut_slice().zeroize();
        key
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(redacted)")
    }
}

/// Context of a stream's own key: its meta file and its state file.
#[must_use]
pub fn stream_context(stream: &[u8]) -> Vec<u8> {
    stream.to_vec()
}

/// Context of a block's key: `S:N`.
#[must_use]
pub fn block_context(stream: &[u8], block_number: u32) -> Vec<u8> {
    let mut context = stream.to_vec();
    context.extend_from_slice(format!(":{block_number}").as_bytes());
    context
}

/// Context of a consumer's key: `S.C`.
#[must_use]
pub fn consumer_context(stream: &[u8], consumer: &[u8]) -> Vec<u8> {
    [stream, b".", consumer].concat()
}

/// The key that seals one asset's key file; see [`ServerKey::key_encryption_key`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyEncryptionKey([u8; 32]);

impl KeyEncryptionKey {
    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(redacted)")
    }
}

/// The random secret of one asset, kept sealed in its key file. It is used directly as the key of
/// the asset's sealed files and of its blocks. File format reference, section 6.2.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; Self::LENGTH]);

impl Seed {
    /// Length of a seed in bytes.
    pub const LENGTH: usize = 32;

    /// A seed of the given bytes, which must be random for a new asset.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Draws a new seed from `fill`, which fills a buffer with random bytes.
    ///
    /// # Errors
    ///
    /// Whatever `fill` reports.
    pub fn draw<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut seed = Self([0; Self::LENGTH]);
        fill(&mut seed.0)?;
        Ok(seed)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    pub(super) const fn as_mut_bytes(&mut self) -> &mut [u8; Self::LENGTH] {
        &mut self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(redacted)")
    }
}

/// A nonce, which is public, of the length its cipher wants. It names the cipher, so that a seed and
/// a nonce together can not be used with the wrong one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    /// 24 bytes, for XChaCha20 and XChaCha20-Poly1305.
    ChaCha([u8; 24]),
    /// 16 bytes, for AES-256-GCM, and the initial counter of AES-256-CTR.
    Aes([u8; 16]),
}

impl Nonce {
    /// Splits a nonce for `cipher` off the front of `bytes`, or `None` if they are too few.
    #[must_use]
    pub fn split_from(bytes: &[u8], cipher: Cipher) -> Option<(Self, &[u8])> {
        match cipher {
            Cipher::ChaCha => {
                let (nonce, rest) = bytes.split_first_chunk()?;
                Some((Self::ChaCha(*nonce), rest))
            }
            Cipher::Aes => {
                let (nonce, rest) = bytes.split_first_chunk()?;
                Some((Self::Aes(*nonce), rest))
            }
        }
    }

    /// Draws a new nonce for `cipher` from `fill`, which fills a buffer with random bytes.
    ///
    /// # Errors
    ///
    /// Whatever `fill` reports.
    pub fn draw<E>(
        cipher: Cipher,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        match cipher {
            Cipher::ChaCha => {
                let mut nonce = [0; 24];
                fill(&mut nonce).map(|()| Self::ChaCha(nonce))
            }
            Cipher::Aes => {
                let mut nonce = [0; 16];
                fill(&mut nonce).map(|()| Self::Aes(nonce))
            }
        }
    }

    /// The cipher this nonce is for.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        match self {
            Self::ChaCha(_) => Cipher::ChaCha,
            Self::Aes(_) => Cipher::Aes,
        }
    }

    /// The bytes as they stand in a file.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::ChaCha(bytes) => bytes,
            Self::Aes(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Nonce({}, {} bytes)",
            self.cipher(),
            self.as_bytes().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{ACCOUNT, SERVER_KEY, STREAM, hex};
    use super::*;

    fn derive(context: &[u8]) -> Vec<u8> {
        let key = ServerKey::new(SERVER_KEY.to_vec());
        key.key_encryption_key(ACCOUNT, context).as_bytes().to_vec()
    }

    #[test]
    fn derives_the_keys_a_server_derives() {
        assert_eq!(
            derive(&stream_context(STREAM)),
            hex("5baed744b19be9ecc5aa81a0b64eb9bd359b4bd1831650ea2eaf1f45e10a5470")
        );
        assert_eq!(
            derive(&block_context(STREAM, 1)),
            hex("bdba40269d897b685893ff295620cf8cd97f9b78a302961d6255d96d24106741")
        );
        assert_eq!(
            derive(&consumer_context(STREAM, b"dur")),
            hex("cc47b4b81258cbc3958450e35af3f3c235df86a235ce8303ce897bd447ad8eec")
        );
    }

    #[test]
    fn contexts_use_their_own_separators() {
        assert_eq!(block_context(b"S", u32::MAX), b"S:4294967295");
        assert_eq!(consumer_context(b"S", b"C"), b"S.C");
    }

    #[test]
    fn keys_of_any_length_derive_something() {
        for length in [0, 1, 64, 65, 1000] {
            let key = ServerKey::new(vec![b'k'; length]);
            assert_ne!(key.key_encryption_key(b"a", b"b").as_bytes(), &[0; 32]);
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let server = ServerKey::new(b"hunter2".to_vec());
        let derived = server.key_encryption_key(b"a", b"b");
        let seed = Seed::new([0xAB; 32]);
        assert_eq!(format!("{server:?}"), "ServerKey(redacted)");
        assert_eq!(format!("{derived:?}"), "KeyEncryptionKey(redacted)");
        assert_eq!(format!("{seed:?}"), "Seed(redacted)");
        // Inside a structure, and alternate, nothing more comes out.
        let all = format!("{:#?}", (Some(&server), [&derived], vec![&seed]));
        for secret in ["hunter2", "104", "171", "ab, ab", "AB", "68, 75"] {
            assert!(!all.contains(secret), "{all}");
        }
    }

    #[test]
    fn secrets_are_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Zeroizing<Vec<u8>>>();
        wiped::<KeyEncryptionKey>();
        wiped::<Seed>();
        let mut seed = Seed::new([7; 32]);
        seed.zeroize();
        assert_eq!(seed.as_bytes(), &[0; 32]);
    }

    #[test]
    fn a_nonce_is_split_off_only_when_whole() {
        let bytes = [5; 23];
        assert!(Nonce::split_from(&bytes, Cipher::ChaCha).is_none());
        let (nonce, rest) = Nonce::split_from(&bytes, Cipher::Aes).unwrap();
        assert_eq!((nonce, rest), (Nonce::Aes([5; 16]), &bytes[16..]));
        assert!(Nonce::split_from(&bytes[..15], Cipher::Aes).is_none());
    }

    #[test]
    fn drawing_reports_a_failing_source() {
        assert_eq!(Seed::draw(|_| Err("dry")).unwrap_err(), "dry");
        for cipher in Cipher::ALL {
            assert_eq!(Nonce::draw(cipher, |_| Err("dry")).unwrap_err(), "dry");
            let nonce = Nonce::draw(cipher, |out| {
                out.fill(9);
                Ok::<_, ()>(())
            });
            assert_eq!(nonce.unwrap().as_bytes(), vec![9; cipher.nonce_length()]);
        }
    }
}
