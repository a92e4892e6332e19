//! The configuration file of a nats-server: its syntax, and what it says about the store.
//!
//! [`parse`] gives the whole document, every value with file, line and column; [`read_with`] what concerns the store's keys
//! and place; [`token`] what operators and accounts are described by. Files are read through what the caller hands in, so that the same parser serves the configuration of another
//! process, seen through `/proc`; [`through`] is the ordinary way.

mod problem;
mod scan;
mod session;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;
pub mod token;
mod value;

use crate::env::ReadFiles;
pub use problem::{ConfigError, Problem};
pub use scan::Secret;
use session::Session;
pub use session::{Environment, Files};
pub use settings::{JetStream, ServerConfig, settings};
use std::io;
use std::path::Path;
pub use value::{Entry, Map, Value, find};

/// Reads a configuration file, its includes and the environment variables it refers to.
///
/// # Errors
///
/// The first problem of the text. A variable that leads nowhere is none yet: it is [`Value::Unresolved`].
pub fn parse(
    path: &Path,
    files: Files<'_>,
    environment: Environment<'_>,
) -> Result<Map, ConfigError> {
    Session::new(files, environment).file(path)
}

/// What a configuration file says about the store. Only that is judged: settings of other sections may be unknown, of a
/// wrong type, or refer to variables that are not set.
///
/// # Errors
///
/// Those of [`parse`] and of [`settings`].
pub fn read_with(
    path: &Path,
    files: Files<'_>,
    environment: Environment<'_>,
) -> Result<ServerConfig, ConfigError> {
    settings(&parse(path, files, environment)?)
}

/// Reads files through the I/O seam, for [`parse`].
pub fn through(fs: &dyn ReadFiles) -> impl Fn(&Path, u64) -> Result<Vec<u8>, io::ErrorKind> + '_ {
    |path, max_length| fs.read(path, max_length).map_err(|error| error.kind)
}
