//! Releases of nats-server.

use std::fmt;
use std::str::FromStr;

/// A release of nats-server 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion {
    line: u16,
    patch: u16,
}

/// The lines known, each with the newest release of it that was looked at.
const NEWEST: [(u16, u16); 6] = [(9, 25), (10, 29), (11, 17), (12, 15), (14, 10), (15, 3)];

impl ServerVersion {
    /// The release this library follows.
    pub const REFERENCE: ServerVersion = ServerVersion { line: 15, patch: 3 };

    /// Release 2.`line`.`patch`.
    ///
    /// # Errors
    ///
    /// [`VersionError`] for a line whose behaviour is not known.
    pub fn new(line: u16, patch: u16) -> Result<Self, VersionError> {
        let version = ServerVersion { line, patch };
        match NEWEST.iter().any(|(known, _)| *known == line) {
            true => Ok(version),
            false => Err(VersionError::UnknownLine { line }),
        }
    }

    /// The line: 15 of 2.15.3.
    #[must_use]
    pub fn line(self) -> u16 {
        self.line
    }

    /// The patch: 3 of 2.15.3.
    #[must_use]
    pub fn patch(self) -> u16 {
        self.patch
    }

    /// Whether this patch is newer than any that was looked at: it is taken to behave like the newest of its line.
    #[must_use]
    pub fn is_beyond_known(self) -> bool {
        NEWEST
            .iter()
            .any(|(line, patch)| *line == self.line && self.patch > *patch)
    }
}

impl Default for ServerVersion {
    fn default() -> Self {
        Self::REFERENCE
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}.{}", self.line, self.patch)
    }
}

/// Why a text is not a version whose behaviour is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionError {
    /// It is not of the form 2.15 or 2.15.3.
    Malformed(String),
    /// Nothing is known of this line.
    UnknownLine {
        /// The line: 16 of 2.16.
        line: u16,
    },
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionError::Malformed(text) => write!(
                f,
                "{text:?} is no server version: a line such as 2.15, or a release such as 2.15.3"
            ),
            VersionError::UnknownLine { line } => {
                write!(
                    f,
                    "nothing is known of server 2.{line}; the lines known are "
                )?;
                for (at, (line, _)) in NEWEST.iter().enumerate() {
                    write!(f, "{}2.{line}", if at == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for VersionError {}

impl FromStr for ServerVersion {
    type Err = VersionError;

    /// A release, or a line alone, which stands for its newest release; a `v` before it will do.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let malformed = || VersionError::Malformed(text.to_owned());
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let parts: Vec<_> = text.strip_prefix('v').unwrap_or(text).split('.').collect();
        let (line, patch) = match parts.as_slice() {
            ["2", line] => (number(line).ok_or_else(malformed)?, None),
            ["2", line, patch] => {
                let patch = number(patch).ok_or_else(malformed)?;
                (number(line).ok_or_else(malformed)?, Some(patch))
            }
            _ => return Err(malformed()),
        };
        let newest = NEWEST.iter().find(|(known, _)| *known == line);
        let newest = newest.ok_or(VersionError::UnknownLine { line })?;
        ServerVersion::new(line, patch.unwrap_or(newest.1))
    }
}
