//! What a nats-server configuration file says about the store.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use jetsam::crypto::{Cipher, ServerKey};

use crate::args::Usage;

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

/// Reads the configuration at `file`.
pub fn read(
    file: &Path,
    _variable: &dyn Fn(&OsStr) -> Option<OsString>,
) -> Result<Settings, Usage> {
    Err(Usage(format!(
        "--config {}: not built yet in this version",
        file.display()
    )))
}
