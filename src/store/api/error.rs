//! Errors as answers of the API tell them.

use std::fmt;

use serde_json::{Value, json};

use crate::format::meta::{ConfigError, MetaError};
use crate::store::consumers::{ConsumerError, DispatchError};
use crate::store::{AppendError, OpenError, ReadError, RemoveError};

/// An error under the server's number for it, by which clients tell what is wrong.
///
/// ```
/// use jetsam::store::{ApiError, AppendError};
/// let refused = AppendError::LastSequence { expected: 7, found: 8 };
/// let error = ApiError::from(refused);
/// assert_eq!((error.number, error.code()), (10071, 400));
/// assert_eq!(error.json()["description"], "the last message is 8, not 7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The server's number for it (`err_code`).
    pub number: u16,
    /// What is wrong, in words.
    pub description: String,
}

impl ApiError {
    /// An error of this number.
    #[must_use]
    pub fn new(number: u16, description: impl fmt::Display) -> Self {
        ApiError {
            number,
            description: description.to_string(),
        }
    }

    /// Its kind, as HTTP has them.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self.number {
            10014 | 10037 | 10059 => 404,
            10012 | 10049 | 10051 | 10052 | 10057 | 10110 | 10111 => 500,
            10077 => 503,
            _ => 400,
        }
    }

    /// The `error` of an answer.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"code": self.code(), "err_code": self.number, "description": self.description})
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.description, self.number)
    }
}

impl std::error::Error for ApiError {}

impl From<MetaError> for ApiError {
    fn from(error: MetaError) -> Self {
        Self::new(10025, error)
    }
}

impl From<ConfigError> for ApiError {
    fn from(error: ConfigError) -> Self {
        Self::new(10052, error)
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        Self::new(10049, error)
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        let number = match error {
            AppendError::LastSequence { .. } => 10071,
            AppendError::TooLarge { .. } => 10054,
            AppendError::Rollup { .. } => 10111,
            AppendError::Header { .. } => 10003,
            _ => 10077,
        };
        Self::new(number, error)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound | ReadError::Deleted { .. } | ReadError::Beyond { .. } => {
                Self::new(10037, "no message found")
            }
            error => Self::new(10051, error),
        }
    }
}

/// Of a purge; who removes single messages says 10057.
impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        Self::new(10110, error)
    }
}

impl From<ConsumerError> for ApiError {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::Missing { .. } => Self::new(10014, error),
            error => Self::new(10012, error),
        }
    }
}

impl From<DispatchError> for ApiError {
    fn from(error: DispatchError) -> Self {
        Self::new(10012, error)
    }
}
