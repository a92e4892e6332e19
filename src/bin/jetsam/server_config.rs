//! Keys, cipher and store directory from a nats-server configuration file.
//!
//! Only what opening a store needs is taken; the rest of the file has to be well formed, but a
//! variable that cannot be resolved is an error only where its value is needed.

mod syntax;

use std::fmt;
use std::path::{Path, PathBuf};
use syntax::{Entry, Map, Value};
use zeroize::Zeroizing;

/// What a configuration file says about the store and its encryption.
#[derive(Default)]
pub struct ServerConfig {
    /// The configured directory, without the `jetstream` the server appends. A relative one is
    /// relative to where the server was started.
    pub store_dir: Option<PathBuf>,
    /// The key everything is encrypted under.
    pub key: Option<Zeroizing<String>>,
    /// The key before the last rotation.
    pub prev_key: Option<Zeroizing<String>>,
    /// The configured cipher; the server's default is ChaCha.
    pub cipher: Option<Cipher>,
    /// Whether the key comes out of a TPM, from which it cannot be read here.
    pub uses_tpm: bool,
}

/// Ciphers a configuration can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// `chacha` or `chachapoly`.
    ChaCha,
    /// `aes`.
    Aes,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("store_dir", &self.store_dir)
            .field("has_key", &self.key.is_some())
            .field("has_prev_key", &self.prev_key.is_some())
            .field("cipher", &self.cipher)
            .field("uses_tpm", &self.uses_tpm)
            .finish()
    }
}

/// Why a configuration file cannot be used, and where. Never holds a value from the file other
/// than names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file the line is in: the one given, or one it includes.
    pub file: PathBuf,
    /// Line number from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file could not be read.
    Unreadable { reason: String },
    /// The file is not UTF-8 text, or exceeds the size limit.
    NotText,
    /// Something else was expected here.
    Expected { what: &'static str },
    /// A `\` with something behind it that it does not escape.
    UnknownEscape,
    /// Blocks, arrays, includes or variables nested too deep.
    TooDeep,
    /// A file that includes itself, directly or not.
    IncludeCycle,
    /// A variable that neither the file nor the environment defines.
    UnknownVariable { name: String },
    /// A value of another kind than the key needs.
    WrongType { key: String, expected: &'static str },
    /// The same setting under two names.
    Duplicate { key: String },
    /// A cipher other than `chacha`, `chachapoly` and `aes`.
    UnknownCipher { word: String },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { reason } => write!(f, "cannot be read: {reason}"),
            Self::NotText => write!(f, "not a text file of a plausible size"),
            Self::Expected { what } => write!(f, "expected {what}"),
            Self::UnknownEscape => {
                write!(
                    f,
                    "unknown escape; \\xHH, \\t, \\n, \\r, \\\" and \\\\ are known"
                )
            }
            Self::TooDeep => write!(f, "nested too deep"),
            Self::IncludeCycle => write!(f, "the file includes itself"),
            Self::UnknownVariable { name } => {
                write!(
                    f,
                    "variable ${name} is set neither here nor in the environment"
                )
            }
            Self::WrongType { key, expected } => write!(f, "{key} must be {expected}"),
            Self::Duplicate { key } => write!(f, "{key} is given twice"),
            Self::UnknownCipher { word } => write!(f, "unknown cipher {word:?}"),
        }
    }
}

/// Reads a configuration file and those it includes. Variables not defined in them come from the
/// environment.
pub fn read(file: &Path) -> Result<ServerConfig, ConfigError> {
    read_with(file, &|name| std::env::var(name).ok())
}

fn read_with(
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ServerConfig, ConfigError> {
    extract(&syntax::read_file(file, environment)?)
}

fn extract(top: &Map) -> Result<ServerConfig, ConfigError> {
    let mut config = ServerConfig::default();
    for (name, entry) in top {
        match name.to_lowercase().as_str() {
            "store_dir" | "storedir" => set_store_dir(&mut config, name, entry)?,
            "jetstream" => match &entry.value {
                Value::Map(block) => extract_block(&mut config, block)?,
                // `enabled`, `true` and their opposites say nothing about the store.
                Value::Text(_) | Value::Bool => {}
                Value::Unresolved(_) => return Err(unresolved(entry)),
                _ => return Err(wrong_type(name, "a block, a word, true or false", entry)),
            },
            _ => {}
        }
    }
    Ok(config)
}

fn extract_block(config: &mut ServerConfig, block: &Map) -> Result<(), ConfigError> {
    for (name, entry) in block {
        match name.to_lowercase().as_str() {
            "store" | "store_dir" | "storedir" => set_store_dir(config, name, entry)?,
            "key" | "ek" | "encryption_key" => {
                set_once(&mut config.key, text(name, entry)?.clone(), name, entry)?;
            }
            "prev_key" | "prev_ek" | "prev_encryption_key" => {
                set_once(
                    &mut config.prev_key,
                    text(name, entry)?.clone(),
                    name,
                    entry,
                )?;
            }
            "cipher" => {
                let word = text(name, entry)?.to_lowercase();
                let cipher = match word.as_str() {
                    "chacha" | "chachapoly" => Cipher::ChaCha,
                    "aes" => Cipher::Aes,
                    _ => return Err(entry.error(Problem::UnknownCipher { word })),
                };
                set_once(&mut config.cipher, cipher, name, entry)?;
            }
            "tpm" => config.uses_tpm = true,
            _ => {}
        }
    }
    // To the server an empty key is none.
    config.key.take_if(|key| key.is_empty());
    config.prev_key.take_if(|key| key.is_empty());
    Ok(())
}

fn set_store_dir(config: &mut ServerConfig, name: &str, entry: &Entry) -> Result<(), ConfigError> {
    let directory = PathBuf::from(text(name, entry)?.as_str());
    if directory.as_os_str().is_empty() {
        return Ok(());
    }
    set_once(&mut config.store_dir, directory, name, entry)
}

/// Two names for one setting are ambiguous: which of them the server takes is up to chance.
fn set_once<T>(
    slot: &mut Option<T>,
    value: T,
    name: &str,
    entry: &Entry,
) -> Result<(), ConfigError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(entry.error(Problem::Duplicate {
            key: name.to_owned(),
        })),
    }
}

fn text<'a>(name: &str, entry: &'a Entry) -> Result<&'a Zeroizing<String>, ConfigError> {
    match &entry.value {
        Value::Text(text) => Ok(text),
        Value::Unresolved(_) => Err(unresolved(entry)),
        _ => Err(wrong_type(name, "text; put it in quotes", entry)),
    }
}

fn unresolved(entry: &Entry) -> ConfigError {
    let name = match &entry.value {
        Value::Unresolved(name) => name.clone(),
        _ => String::new(),
    };
    entry.error(Problem::UnknownVariable { name })
}

fn wrong_type(name: &str, expected: &'static str, entry: &Entry) -> ConfigError {
    entry.error(Problem::WrongType {
        key: name.to_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests;
