//! The two authenticated ciphers behind one pair of functions. No associated data is ever used.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes256;
use chacha20poly1305::XChaCha20Poly1305;

use super::Nonce;

/// AES-256-GCM with the 16-byte nonce the format uses, which goes through GHASH.
type Aes256Gcm16 = aes_gcm::AesGcm<Aes256, U16>;

/// The bytes do not authenticate, or are more than the cipher can take (256 GiB or 64 GiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected;

/// Opens `ciphertext ‖ tag`. The tag is checked before anything is decrypted.
pub(super) fn open(key: &[u8; 32], nonce: &Nonce, sealed: &[u8]) -> Result<Vec<u8>, Rejected> {
    match nonce {
        Nonce::ChaCha(nonce) => XChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), sealed),
        Nonce::Aes(nonce) => Aes256Gcm16::new(key.into()).decrypt(nonce.into(), sealed),
    }
    .map_err(|_| Rejected)
}

/// Returns `ciphertext ‖ tag`.
pub(super) fn seal(key: &[u8; 32], nonce: &Nonce, plaintext: &[u8]) -> Result<Vec<u8>, Rejected> {
    match nonce {
        Nonce::ChaCha(nonce) => XChaCha20Poly1305::new(key.into()).encrypt(nonce.into(), plaintext),
        Nonce::Aes(nonce) => Aes256Gcm16::new(key.into()).encrypt(nonce.into(), plaintext),
    }
    .map_err(|_| Rejected)
}
