//! What a configuration says about the store: where it is and what it is encrypted with.

use super::problem::{ConfigError, Problem};
use super::value::{Entry, Map, Value};
use crate::crypto::Cipher;
use crate::env::path_from_bytes;
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Whether a configuration switches JetStream on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JetStream {
    /// It does not speak of it, which means off unless the command line says otherwise.
    #[default]
    Unsaid,
    /// On.
    On,
    /// Off in so many words.
    Off,
}

impl JetStream {
    fn switched(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// The settings of a server that concern its store.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServerConfig {
    /// `store_dir` as written: JetStream keeps its files in the directory `jetstream` below it. A
    /// relative path is relative to where the server was started.
    pub store_dir: Option<PathBuf>,
    /// The JetStream key; None where it is empty, too, which to the server means no encryption.
    pub key: Option<Zeroizing<Vec<u8>>>,
    /// The key before that.
    pub prev_key: Option<Zeroizing<Vec<u8>>>,
    /// The cipher, where the configuration names one.
    pub cipher: Option<Cipher>,
    /// The key is held by a TPM, out of the reach of a file.
    pub key_in_tpm: bool,
    /// Whether JetStream is switched on.
    pub jetstream: JetStream,
}

/// Shows which keys there are, not what they are.
impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("store_dir", &self.store_dir)
            .field("key", &self.key.is_some())
            .field("prev_key", &self.prev_key.is_some())
            .field("cipher", &self.cipher)
            .field("key_in_tpm", &self.key_in_tpm)
            .field("jetstream", &self.jetstream)
            .finish()
    }
}

/// What a document says about the store.
///
/// # Errors
///
/// A setting that concerns the store and is of the wrong type, unknown, or given twice.
pub fn settings(document: &Map) -> Result<ServerConfig, ConfigError> {
    let mut found = FoundSetting::default();
    for (name, entry) in document {
        match name.to_lowercase().as_str() {
            "store_dir" | "storedir" => set(&mut found.store_dir, name, entry)?,
            "jetstream" => found.jetstream(name, entry)?,
            _ => {}
        }
    }
    found.settle()
}

/// A setting and the name it was given by.
type Setting<'a> = (&'a str, &'a Entry);

/// The entries that count, before their values are looked at.
#[derive(Default)]
struct FoundSetting<'a> {
    store_dir: Option<Setting<'a>>,
    key: Option<Setting<'a>>,
    prev_key: Option<Setting<'a>>,
    cipher: Option<Setting<'a>>,
    tpm: Option<Setting<'a>>,
    jetstream: JetStream,
}

impl<'a> FoundSetting<'a> {
    fn jetstream(&mut self, name: &'a str, entry: &'a Entry) -> Result<(), ConfigError> {
        let map = match &*entry.value {
            Value::Map(map) => map,
            Value::Flag(on) => {
                self.jetstream = JetStream::switched(*on);
                return Ok(());
            }
            Value::Text(text) => {
                self.jetstream = match text.bytes().to_ascii_lowercase().as_slice() {
                    b"disabled" | b"disable" => JetStream::Off,
                    _ => JetStream::On,
                };
                return Ok(());
            }
            _ => return Err(wrong_type(name, entry, "a map, a boolean or a string")),
        };
        self.jetstream = JetStream::On;
        for (name, entry) in map {
            let setting = match name.to_lowercase().as_str() {
                "store" | "store_dir" | "storedir" => &mut self.store_dir,
                "key" | "ek" | "encryption_key" => &mut self.key,
                "prev_key" | "prev_ek" | "prev_encryption_key" => &mut self.prev_key,
                "cipher" => &mut self.cipher,
                "tpm" => &mut self.tpm,
                "enable" | "enabled" => {
                    if let Value::Flag(on) = *entry.value {
                        self.jetstream = JetStream::switched(on);
                    }
                    continue;
                }
                _ => continue,
            };
            set(setting, name, entry)?;
        }
        if let Some((name, entry)) = self.tpm {
            self.tpm_cipher(name, entry)?;
        }
        Ok(())
    }

    /// The cipher may stand inside the section about the TPM.
    fn tpm_cipher(&mut self, name: &str, entry: &'a Entry) -> Result<(), ConfigError> {
        let Value::Map(map) = &*entry.value else {
            return Err(wrong_type(name, entry, "a map"));
        };
        let cipher = |name: &&String| name.to_lowercase() == "cipher";
        match map
            .keys()
            .find(cipher)
            .and_then(|name| map.get_key_value(name))
        {
            Some((name, entry)) => set(&mut self.cipher, name, entry),
            None => Ok(()),
        }
    }

    fn settle(self) -> Result<ServerConfig, ConfigError> {
        let store_dir = text(self.store_dir)?.map(|path| path.to_vec());
        Ok(ServerConfig {
            store_dir: store_dir.map(path_from_bytes),
            key: text(self.key)?,
            prev_key: text(self.prev_key)?,
            cipher: cipher(self.cipher)?,
            key_in_tpm: self.tpm.is_some(),
            jetstream: self.jetstream,
        })
    }
}

/// The server takes either of two equivalent settings by chance, or refuses them.
fn set<'a>(
    setting: &mut Option<Setting<'a>>,
    name: &'a str,
    entry: &'a Entry,
) -> Result<(), ConfigError> {
    let Some(other) = setting.replace((name, entry)) else {
        return Ok(());
    };
    let (earlier, later) = match other.1.line <= entry.line {
        true => (other, (name, entry)),
        false => ((name, entry), other),
    };
    Err(error_at(
        later.1,
        Problem::Duplicate {
            key: later.0.into(),
            other_line: earlier.1.line,
        },
    ))
}

/// The bytes of a string; none where it is empty, which to the server is as good as absent.
fn text(setting: Option<Setting<'_>>) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    match setting {
        None => Ok(None),
        Some((name, entry)) => match &*entry.value {
            Value::Text(text) if text.bytes().is_empty() => Ok(None),
            Value::Text(text) => Ok(Some(Zeroizing::new(text.bytes().to_vec()))),
            _ => Err(wrong_type(name, entry, "a string")),
        },
    }
}

fn cipher(setting: Option<Setting<'_>>) -> Result<Option<Cipher>, ConfigError> {
    let Some((name, entry)) = setting else {
        return Ok(None);
    };
    let Value::Text(text) = &*entry.value else {
        return Err(wrong_type(name, entry, "a string"));
    };
    match text.bytes().to_ascii_lowercase().as_slice() {
        b"chacha" | b"chachapoly" => Ok(Some(Cipher::ChaCha)),
        b"aes" => Ok(Some(Cipher::Aes)),
        _ => Err(error_at(entry, Problem::UnknownCipher)),
    }
}

fn wrong_type(name: &str, entry: &Entry, expected: &'static str) -> ConfigError {
    match &*entry.value {
        Value::Unresolved(error) => error.clone(),
        value => error_at(
            entry,
            Problem::WrongType {
                key: name.into(),
                expected,
                found: value.kind(),
            },
        ),
    }
}

fn error_at(entry: &Entry, problem: Problem) -> ConfigError {
    ConfigError {
        file: entry.file.to_path_buf(),
        line: entry.line,
        column: entry.column,
        problem,
    }
}
