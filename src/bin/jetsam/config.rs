//! What a nats-server configuration file says about the store.

use jetsam::env::ReadFiles;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::OsFileSystem;
use jetsam::server_config::{self, ServerConfig};

use crate::args::Usage;
use crate::surroundings::Configured;

/// The settings that concern a store.
#[derive(Debug, Default)]
pub struct Settings {
    /// The JetStream key.
    pub key: Option<ServerKey>,
    /// The previous key.
    pub previous_key: Option<ServerKey>,
    /// The cipher.
    pub cipher: Option<Cipher>,
    /// Where the store is.
    pub store_dir: Option<PathBuf>,
}

/// The environment.
type Variable<'a> = &'a dyn Fn(&OsStr) -> Option<OsString>;

/// Reads the configuration at `file`; `variable` answers for the environment.
pub fn read(file: &Path, variable: Variable<'_>) -> Result<Settings, Usage> {
    let config = server_config::read_with(file, &bytes, variable)
        .map_err(|error| Usage(format!("--config: {error}")))?;
    settings(file, config)
}

/// The whole configuration beside its settings: where it does not parse, that is an answer too.
pub fn whole(file: &Path, variable: Variable<'_>) -> Result<(Settings, Configured), Usage> {
    let parsed = server_config::parse(file, &bytes, variable);
    let read = parsed.and_then(|document| {
        let config = server_config::settings(&document)?;
        Ok((document, config))
    });
    let (document, config) = match read {
        Ok(read) => read,
        Err(error) => return Ok((Settings::default(), Configured::Faulty(error))),
    };
    let settings = settings(file, config)?;
    let configured = Configured::Document {
        file: file.to_owned(),
        document,
        store_dir: settings.store_dir.clone(),
    };
    Ok((settings, configured))
}

fn settings(file: &Path, config: ServerConfig) -> Result<Settings, Usage> {
    if config.key_in_tpm && config.key.is_none() {
        return Err(Usage(format!(
            "--config {}: the key is sealed in a TPM and cannot be read here; give it with --key-env or --key-file",
            file.display()
        )));
    }
    let key = |bytes: Option<zeroize::Zeroizing<Vec<u8>>>| {
        bytes.map(|bytes| ServerKey::new(bytes.to_vec()))
    };
    Ok(Settings {
        key: key(config.key),
        previous_key: key(config.prev_key),
        cipher: config.cipher,
        store_dir: config.store_dir,
    })
}

/// A file's bytes. Unlike the library a command may be handed a pipe: `--config <(decrypt nats.conf)`.
fn bytes(path: &Path, max_length: u64) -> Result<Vec<u8>, io::ErrorKind> {
    match OsFileSystem.read(path, max_length) {
        Err(error) if error.kind == io::ErrorKind::Unsupported => {
            let mut bytes = Vec::new();
            let opened = std::fs::File::open(path);
            opened
                .and_then(|file| {
                    file.take(max_length.saturating_add(1))
                        .read_to_end(&mut bytes)
                })
                .map_err(|error| error.kind())?;
            if bytes.len() as u64 > max_length {
                return Err(io::ErrorKind::FileTooLarge);
            }
            Ok(bytes)
        }
        read => read.map_err(|error| error.kind),
    }
}
