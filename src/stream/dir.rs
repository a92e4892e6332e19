//! A stream's directory.

use std::path::PathBuf;

/// One stream directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDir {
    /// Account, where the path shows one.
    pub account: Option<String>,
    /// Directory name.
    pub name: String,
    /// The directory.
    pub dir: PathBuf,
}
