//! Test vectors of the format reference, Appendix A: values a real server produced or accepted.

use super::Nonce;

/// Reads hex digits, ignoring spaces.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The seed `00..1f` of all the vectors.
pub(super) fn seed_bytes() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

/// The ChaCha nonce `64..7b`.
pub(super) fn chacha_nonce() -> Nonce {
    Nonce::ChaCha(std::array::from_fn(|i| 0x64 + i as u8))
}

/// The AES nonce `64..73`.
pub(super) fn aes_nonce() -> Nonce {
    Nonce::Aes(std::array::from_fn(|i| 0x64 + i as u8))
}

/// Server key, account and stream of the vectors.
pub(super) const SERVER_KEY: &[u8] = b"sekret";
pub(super) const ACCOUNT: &[u8] = b"ACC";
pub(super) const STREAM: &[u8] = b"ORDERS";

/// `1.key` of `ORDERS` under ChaCha and AES.
pub(super) const KEY_FILE_CHACHA: &str = "6465666768696a6b6c6d6e6f707172737475767778797a7b \
    c1279da64f4da18ac65958f41b229255a86fc6e719ab09d9699db4021632368c \
    00ea4440cfadc7981acd38a87b24d300";
pub(super) const KEY_FILE_AES: &str = "6465666768696a6b6c6d6e6f70717273 \
    9043cf85bd8a0606b888cb0439759d98199417cb5044a020ea790156fcd2a2b2 \
    3bcc878b8d24d3129d06ef5e81986b7b";

/// The first record of `ORDERS`, in plaintext and as `1.blk` under the key files above.
pub(super) const BLOCK_PLAIN: &str =
    "23000000 0100000000000000 00002a36fe9c9717 0300 6f2e31 6869 af78b7570ab349b9";
pub(super) const BLOCK_CHACHA: &str =
    "fad1c952f43bb5926ebdd7d07aae954afa21ec56be108cff56c916b2de3ff292fcbda3";
pub(super) const BLOCK_AES: &str =
    "b0d81120b720bb4d7e8dbfabe6bfbaea4b751c1203d37af6431efdf5e23bb698738823";
