//! What can be wrong with a server configuration. No value of a setting is ever part of it, since
//! the value may be a key.

use std::fmt;
use std::path::PathBuf;

/// One problem and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or `$NAME` for the text of an environment variable.
    pub file: PathBuf,
    /// The line, counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file cannot be read.
    Unreadable { kind: std::io::ErrorKind },
    /// The file is longer than any configuration.
    TooLong { limit: u64 },
    /// Not UTF-8, or a zero byte; `offset` counts bytes from the start of the file.
    NotText { offset: usize },
    /// The text ends inside something.
    UnexpectedEnd { inside: &'static str },
    /// Something else than what has to stand here.
    Unexpected { found: char, expected: &'static str },
    /// A backslash before anything but `xHH`, `t`, `n`, `r`, `"` and another backslash.
    UnknownEscape,
    /// A number out of range, or with an unknown unit behind it.
    BadNumber,
    /// What starts like a date is none of the form `YYYY-MM-DDThh:mm:ssZ`.
    BadDate,
    /// A key without a value.
    NoValue { key: String },
    /// Maps and arrays nested too deep.
    TooDeep { limit: usize },
    /// A file that includes itself, over others perhaps.
    IncludeLoop { path: PathBuf },
    /// More files, or more uses of environment variables, than any configuration has.
    TooMany { limit: usize },
    /// A variable that neither the configuration nor the environment defines.
    UnknownVariable { name: String },
    /// An environment variable that refers to itself, over others perhaps.
    VariableLoop { name: String },
    /// A setting of another type than the server wants.
    WrongType {
        key: String,
        expected: &'static str,
        found: &'static str,
    },
    /// A setting given twice, under two of its names perhaps.
    Duplicate { key: String, other_line: usize },
    /// A cipher the server does not know.
    UnknownCipher,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.problem),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { kind } => write!(f, "cannot be read: {kind}"),
            Self::TooLong { limit } => write!(f, "longer than {limit} bytes"),
            Self::NotText { offset } => write!(f, "not text at byte {offset}"),
            Self::UnexpectedEnd { inside } => write!(f, "the text ends inside {inside}"),
            Self::Unexpected { found, expected } => {
                write!(f, "found {found:?} where {expected} is expected")
            }
            Self::UnknownEscape => {
                write!(f, r#"the escapes are \xHH, \t, \n, \r, \" and \\ only"#)
            }
            Self::BadNumber => write!(f, "number out of range or with an unknown unit"),
            Self::BadDate => {
                write!(
                    f,
                    "not a date like 2006-01-02T15:04:05Z; quote it if it is none"
                )
            }
            Self::NoValue { key } => write!(f, "{key:?} has no value"),
            Self::TooDeep { limit } => write!(f, "nested deeper than {limit} levels"),
            Self::IncludeLoop { path } => write!(f, "{} includes itself", path.display()),
            Self::TooMany { limit } => {
                write!(f, "more than {limit} files and environment variables")
            }
            Self::UnknownVariable { name } => write!(
                f,
                "variable ${name} is neither in the configuration nor in the environment"
            ),
            Self::VariableLoop { name } => write!(f, "variable ${name} refers to itself"),
            Self::WrongType {
                key,
                expected,
                found,
            } => write!(f, "{key:?} has to be {expected}, not {found}"),
            Self::Duplicate { key, other_line } => {
                write!(f, "{key:?} is given again, see line {other_line}")
            }
            Self::UnknownCipher => write!(f, "the ciphers are chacha and aes"),
        }
    }
}
