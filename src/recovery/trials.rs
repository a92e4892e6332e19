//! Opening a sealed `meta.inf` of unknown vintage: which key and which cipher.
//!
//! The server takes a trial for good only where key file and metadata both open, so the two are
//! tried together.

use crate::crypto::{Cipher, KeyFile, KeyFileError, SealedError, Seed, ServerKey, open_sealed};

/// The keys to try on a sealed `meta.inf`.
#[derive(Clone, Copy)]
pub struct KeyTrials<'a> {
    /// The current server key.
    pub current: Option<&'a ServerKey>,
    /// The previous one.
    pub previous: Option<&'a ServerKey>,
    /// The configured cipher; `None` takes what the current key opens with.
    pub cipher: Option<Cipher>,
    /// Account name in the key derivation.
    pub account: &'a [u8],
}

/// What opened a sealed `meta.inf`.
#[derive(Debug, Clone)]
pub struct OpenedMeta {
    /// The asset's key.
    pub seed: Seed,
    /// The cipher it is used with.
    pub cipher: Cipher,
    /// The configured cipher, or what was taken for it.
    pub configured: Cipher,
    /// Whether anything but the current key with the configured cipher was needed.
    pub converting: bool,
}

/// Why a sealed `meta.inf` stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaKeyFault {
    /// The key file is shorter than any key file.
    Short {
        /// Length found.
        found: usize,
    },
    /// No server key is given.
    NoKey,
    /// No key given opens it.
    Rejected,
    /// The key file opens, and the metadata ends inside its nonce: the server goes down on it.
    Crash {
        /// Length found.
        found: usize,
    },
}

impl std::fmt::Display for MetaKeyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MetaKeyFault::Short { found } => {
                write!(f, "{found} bytes, a key file has at least 64")
            }
            MetaKeyFault::NoKey => f.write_str("the metadata is encrypted and no key is given"),
            MetaKeyFault::Rejected => f.write_str("none of the keys given opens the metadata"),
            MetaKeyFault::Crash { found } => write!(
                f,
                "the encrypted metadata has {found} bytes, fewer than its nonce; the server goes down on it"
            ),
        }
    }
}

impl KeyTrials<'_> {
    /// Opens `meta.inf` by `meta.key`, trying keys and ciphers in the server's order.
    ///
    /// # Errors
    ///
    /// [`MetaKeyFault`].
    pub fn open(
        &self,
        key: &[u8],
        inf: &[u8],
        context: &[u8],
    ) -> Result<(Vec<u8>, OpenedMeta), MetaKeyFault> {
        let configured = self.cipher.unwrap_or(Cipher::ChaCha);
        let servers = [(self.current, true), (self.previous, false)];
        let mut fault = if self.current.is_some() {
            MetaKeyFault::Rejected
        } else {
            MetaKeyFault::NoKey
        };
        // Without a current key the server does not try the previous one either.
        let servers = servers
            .into_iter()
            .take_while(|_| self.current.is_some())
            .filter_map(|(server, is_current)| Some((server?, is_current)));
        for (server, is_current) in servers {
            let kek = server.key_encryption_key(self.account, context);
            for cipher in [configured, configured.other()] {
                let seed = match KeyFile::open(key, &kek, cipher) {
                    Ok((seed, _)) => seed,
                    Err(KeyFileError::TooShort { found }) => {
                        return Err(MetaKeyFault::Short { found });
                    }
                    Err(_) => continue,
                };
                match open_sealed(inf, &seed, cipher) {
                    Ok(plain) => {
                        let configured = self.cipher.unwrap_or(cipher);
                        let converting = !is_current || cipher != configured;
                        let opened = OpenedMeta {
                            seed,
                            cipher,
                            configured,
                            converting,
                        };
                        return Ok((plain, opened));
                    }
                    Err(SealedError::ShorterThanNonce { found, .. }) => {
                        return Err(MetaKeyFault::Crash { found });
                    }
                    Err(_) => fault = MetaKeyFault::Rejected,
                }
            }
        }
        if self.current.is_none() && key.len() < Cipher::Aes.key_file_length() {
            fault = MetaKeyFault::Short { found: key.len() };
        }
        Err(fault)
    }
}
