//! The operator's keys: which of them opens what.

use std::fmt;

use super::{
    BlockCipher, Cipher, KeyEncryptionKey, KeyFile, KeyFileError, Nonce, SealedError, Seed,
    ServerKey, open_sealed,
};

/// Which of the two configured keys opened a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChoice {
    /// The key now configured.
    Current,
    /// The key configured before a rotation.
    Previous,
}

/// The keys an operator has, to be tried on the assets of one account.
///
/// Everything that asks which key opens a file asks here, so that keys and ciphers are tried in one order: the current
/// key with the configured cipher, then with the other, then the previous key with each. File format reference,
/// section 6.5.
#[derive(Debug, Clone, Copy)]
pub struct KeyRing<'a> {
    /// The current server key.
    pub current: Option<&'a ServerKey>,
    /// The one before, for what was not rewritten since.
    pub previous: Option<&'a ServerKey>,
    /// The configured cipher; `None` takes what the files say. For raft groups it is always ChaCha.
    pub cipher: Option<Cipher>,
    /// Account name in the key derivation; of a raft group the group's name.
    pub account: &'a [u8],
}

/// One key with one cipher, to be tried on the key file of one asset.
#[derive(Debug, Clone)]
pub struct Trial {
    key: KeyEncryptionKey,
    choice: KeyChoice,
    cipher: Cipher,
    configured: Cipher,
}

/// An asset's key, opened by one of the keys of a [`KeyRing`].
#[derive(Debug, Clone)]
pub struct OpenedKey {
    /// The asset's secret.
    pub seed: Seed,
    /// The nonce the key file was sealed with, which is also that of a block's keystream.
    pub nonce: Nonce,
    /// The key that opened it.
    pub key: KeyChoice,
    /// The cipher that opened it, which is also the one the asset is written in.
    pub cipher: Cipher,
    /// Whether anything but the current key with the configured cipher was needed, so that a server
    /// would rewrite the asset.
    pub converting: bool,
}

impl OpenedKey {
    /// The keystream of a block under this key.
    #[must_use]
    pub fn block_cipher(&self) -> BlockCipher {
        BlockCipher::new(&self.seed, &self.nonce)
    }

    /// Opens a sealed file of the asset.
    ///
    /// # Errors
    ///
    /// As [`open_sealed`].
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealedError> {
        open_sealed(sealed, &self.seed, self.cipher)
    }
}

/// An asset's key that was just made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The asset's secret.
    pub seed: Seed,
    /// The nonce of its key file and of a block's keystream. It names the cipher.
    pub nonce: Nonce,
}

impl NewKey {
    /// Draws a key for `cipher` from `fill`, which fills a buffer with random bytes.
    ///
    /// # Errors
    ///
    /// Whatever `fill` reports.
    pub fn draw<E>(
        cipher: Cipher,
        mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        Ok(Self {
            seed: Seed::draw(&mut fill)?,
            nonce: Nonce::draw(cipher, fill)?,
        })
    }

    /// The bytes of its key file, under the server's key, for the asset of `context` in `account`.
    #[must_use]
    pub fn key_file(&self, server: &ServerKey, account: &[u8], context: &[u8]) -> Vec<u8> {
        let key = server.key_encryption_key(account, context);
        KeyFile::seal(&self.seed, &self.nonce, &key)
    }

    /// The keystream of a block under this key.
    #[must_use]
    pub fn block_cipher(&self) -> BlockCipher {
        BlockCipher::new(&self.seed, &self.nonce)
    }
}

impl From<OpenedKey> for NewKey {
    fn from(opened: OpenedKey) -> Self {
        Self {
            seed: opened.seed,
            nonce: opened.nonce,
        }
    }
}

impl Trial {
    /// The cipher tried.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Opens the bytes of a key file.
    ///
    /// # Errors
    ///
    /// As [`KeyFile::open`].
    pub fn open(&self, key_file: &[u8]) -> Result<OpenedKey, KeyFileError> {
        let (seed, nonce) = KeyFile::open(key_file, &self.key, self.cipher)?;
        Ok(OpenedKey {
            seed,
            nonce,
            key: self.choice,
            cipher: self.cipher,
            converting: self.choice != KeyChoice::Current || self.cipher != self.configured,
        })
    }
}

impl<'a> KeyRing<'a> {
    /// Whether there is no key at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.current.is_none() && self.previous.is_none()
    }

    /// The cipher that is tried first.
    #[must_use]
    pub fn first_cipher(&self) -> Cipher {
        self.cipher.unwrap_or(Cipher::ChaCha)
    }

    /// What of the ring a server tries: without a current key not the previous one either.
    #[must_use]
    pub const fn as_server(self) -> Self {
        match self.current {
            Some(_) => self,
            None => Self {
                previous: None,
                ..self
            },
        }
    }

    /// Every key with every cipher for the asset of `context` ([`stream_context`](super::stream_context),
    /// [`block_context`](super::block_context), [`consumer_context`](super::consumer_context)), in the order to try
    /// them.
    pub fn trials<'c>(&self, context: &'c [u8]) -> impl Iterator<Item = Trial> + use<'a, 'c> {
        let KeyRing {
            current,
            previous,
            account,
            ..
        } = *self;
        let configured = self.first_cipher();
        let servers = [
            (KeyChoice::Current, current),
            (KeyChoice::Previous, previous),
        ];
        servers
            .into_iter()
            .filter_map(|(choice, server)| Some((choice, server?)))
            .flat_map(move |(choice, server)| {
                let key = server.key_encryption_key(account, context);
                [configured, configured.other()].map(|cipher| Trial {
                    key: key.clone(),
                    choice,
                    cipher,
                    configured,
                })
            })
    }

    /// Opens the key file of the asset of `context`.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::TooShort`] whatever keys there are; otherwise the error of the first trial when none succeeds.
    pub fn open(&self, key_file: &[u8], context: &[u8]) -> Result<OpenedKey, KeyFileError> {
        let length = key_file.len();
        if length < Cipher::Aes.key_file_length() {
            return Err(KeyFileError::TooShort { found: length });
        }
        let mut first_error = None;
        for trial in self.trials(context) {
            match trial.open(key_file) {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or(KeyFileError::Rejected { length }))
    }

    /// Every plaintext that the ring makes of a sealed file, by the key file of its asset.
    pub fn plaintexts<'c>(
        &self,
        key_file: &'c [u8],
        sealed: &'c [u8],
        context: &'c [u8],
    ) -> impl Iterator<Item = Vec<u8>> + use<'a, 'c> {
        self.trials(context)
            .filter_map(|trial| trial.open(key_file).ok()?.open(sealed).ok())
    }

    /// Opens sealed metadata as a server does: it takes a trial for good only where key file and metadata both open, so
    /// the two are tried together.
    ///
    /// # Errors
    ///
    /// [`MetaKeyFault`].
    pub fn open_meta(
        &self,
        key_file: &[u8],
        sealed: &[u8],
        context: &[u8],
    ) -> Result<(Vec<u8>, OpenedMeta), MetaKeyFault> {
        let found = key_file.len();
        if found < Cipher::Aes.key_file_length() {
            return Err(MetaKeyFault::Short { found });
        }
        for trial in self.as_server().trials(context) {
            let Ok(key) = trial.open(key_file) else {
                continue;
            };
            match key.open(sealed) {
                Ok(plain) => {
                    let configured = self.cipher.unwrap_or(key.cipher);
                    let opened = OpenedMeta {
                        converting: key.key != KeyChoice::Current || key.cipher != configured,
                        seed: key.seed,
                        cipher: key.cipher,
                        configured,
                    };
                    return Ok((plain, opened));
                }
                Err(SealedError::ShorterThanNonce { found, .. }) => {
                    return Err(MetaKeyFault::Crash { found });
                }
                Err(_) => {}
            }
        }
        Err(match self.current {
            Some(_) => MetaKeyFault::Rejected,
            None => MetaKeyFault::NoKey,
        })
    }
}

/// What opened sealed metadata.
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

/// Why sealed metadata stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaKeyFault {
    /// The key file is shorter than any key file.
    Short {
        /// Length found.
        found: usize,
    },
    /// No current server key is given.
    NoKey,
    /// No key given opens it.
    Rejected,
    /// The key file opens, and the metadata ends inside its nonce: the server goes down on it.
    Crash {
        /// Length found.
        found: usize,
    },
}

impl fmt::Display for MetaKeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

#[cfg(test)]
mod tests {
    use super::super::vectors::{
        ACCOUNT, KEY_FILE_AES, KEY_FILE_CHACHA, SERVER_KEY, STREAM, hex, seed_bytes,
    };
    use super::super::{block_context, seal};
    use super::*;

    fn right() -> ServerKey {
        ServerKey::new(SERVER_KEY.to_vec())
    }

    fn wrong() -> ServerKey {
        ServerKey::new(b"another".to_vec())
    }

    fn ring<'a>(current: Option<&'a ServerKey>, previous: Option<&'a ServerKey>) -> KeyRing<'a> {
        KeyRing {
            current,
            previous,
            cipher: Some(Cipher::Aes),
            account: ACCOUNT,
        }
    }

    #[test]
    fn trials_find_key_and_cipher() {
        let (right, wrong) = (right(), wrong());
        let context = block_context(STREAM, 1);
        for (cipher, text) in [
            (Cipher::ChaCha, KEY_FILE_CHACHA),
            (Cipher::Aes, KEY_FILE_AES),
        ] {
            for configured in [None, Some(Cipher::ChaCha), Some(Cipher::Aes)] {
                let cases = [
                    (Some(&right), Some(&wrong), KeyChoice::Current),
                    (Some(&right), None, KeyChoice::Current),
                    (Some(&wrong), Some(&right), KeyChoice::Previous),
                    (None, Some(&right), KeyChoice::Previous),
                ];
                for (current, previous, choice) in cases {
                    let keys = KeyRing {
                        cipher: configured,
                        ..ring(current, previous)
                    };
                    let opened = keys.open(&hex(text), &context).unwrap();
                    assert_eq!(opened.seed.as_bytes(), &seed_bytes());
                    assert_eq!((opened.key, opened.cipher), (choice, cipher));
                    assert_eq!(opened.nonce.cipher(), cipher);
                    let direct = choice == KeyChoice::Current && keys.first_cipher() == cipher;
                    assert_eq!(opened.converting, !direct);
                }
            }
        }
    }

    #[test]
    fn trials_fail_when_no_key_fits() {
        let (right, wrong) = (right(), wrong());
        let bytes = hex(KEY_FILE_CHACHA);
        let context = block_context(STREAM, 1);
        let rejected = KeyFileError::Rejected { length: 72 };
        let fails = |keys: KeyRing<'_>, context: &[u8]| keys.open(&bytes, context).unwrap_err();
        assert_eq!(fails(ring(Some(&wrong), None), &context), rejected);
        assert_eq!(fails(ring(Some(&wrong), Some(&wrong)), &context), rejected);
        assert_eq!(fails(ring(None, None), &context), rejected);
        // Another account or another block number makes the key underivable.
        let elsewhere = KeyRing {
            account: b"ACD",
            ..ring(Some(&right), None)
        };
        assert_eq!(fails(elsewhere, &context), rejected);
        let moved = block_context(STREAM, 2);
        assert_eq!(fails(ring(Some(&right), Some(&wrong)), &moved), rejected);
        let short = KeyFileError::TooShort { found: 63 };
        for keys in [ring(Some(&right), Some(&wrong)), ring(None, None)] {
            assert_eq!(keys.open(&bytes[..63], &context).unwrap_err(), short);
        }
    }

    #[test]
    fn opened_files_print_no_seed() {
        let key = right();
        let context = block_context(STREAM, 1);
        let opened = ring(Some(&key), None).open(&hex(KEY_FILE_AES), &context);
        let text = format!("{:?}", opened.unwrap());
        assert!(
            text.contains("Seed(redacted)") && !text.contains("30, 31"),
            "{text}"
        );
    }

    #[test]
    fn metadata_opens_as_a_server_opens_it() {
        let (right, wrong) = (right(), wrong());
        let fill = |buffer: &mut [u8]| {
            buffer.fill(7);
            Ok::<_, ()>(())
        };
        let key = NewKey::draw(Cipher::ChaCha, fill).unwrap();
        let file = key.key_file(&right, ACCOUNT, STREAM);
        let sealed = seal(b"{}", &key.seed, &key.nonce).unwrap();
        let open = |keys: KeyRing<'_>, file: &[u8], sealed: &[u8]| {
            keys.open_meta(file, sealed, STREAM)
                .map(|(plain, opened)| (plain, opened.configured, opened.converting))
        };
        let both = ring(Some(&wrong), Some(&right));
        let plain = b"{}".to_vec();
        assert_eq!(
            open(both, &file, &sealed),
            Ok((plain.clone(), Cipher::Aes, true))
        );
        let unconfigured = KeyRing {
            cipher: None,
            ..ring(Some(&right), None)
        };
        assert_eq!(
            open(unconfigured, &file, &sealed),
            Ok((plain.clone(), Cipher::ChaCha, false))
        );
        // Without a current key a server does not try the previous one; a person may.
        let only_previous = ring(None, Some(&right));
        assert_eq!(
            open(only_previous, &file, &sealed),
            Err(MetaKeyFault::NoKey)
        );
        let mut plaintexts = only_previous.plaintexts(&file, &sealed, STREAM);
        assert_eq!(plaintexts.next(), Some(plain));
        assert_eq!(plaintexts.next(), None);
        assert_eq!(
            open(ring(Some(&wrong), None), &file, &sealed),
            Err(MetaKeyFault::Rejected)
        );
        assert_eq!(
            open(both, &file[..63], &sealed),
            Err(MetaKeyFault::Short { found: 63 })
        );
        assert_eq!(
            open(both, &file, &sealed[..23]),
            Err(MetaKeyFault::Crash { found: 23 })
        );
    }
}
