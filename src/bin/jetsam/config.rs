//! What a nats-server configuration file says about the store.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use jetsam::crypto::{Cipher, ServerKey};

use crate::args::Usage;
use crate::server_config;

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

/// Reads the configuration at `file`; `variable` answers for the environment.
pub fn read(file: &Path, variable: &dyn Fn(&OsStr) -> Option<OsString>) -> Result<Settings, Usage> {
    let config = server_config::read_with(file, variable)
        .map_err(|error| Usage(format!("--config: {error}")))?;
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
