//! Keys and ciphers: byte slices in, bytes out.
/// placeholder until the room is furnished
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// XChaCha20-Poly1305.
    ChaCha,
    /// AES-256-GCM.
    Aes,
}
/// placeholder
#[derive(Debug)]
pub struct ServerKey;
