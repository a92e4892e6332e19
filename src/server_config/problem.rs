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
    /// The character within the line, counted from 1; 0 where no line is known.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file cannot be read.
    Unreadable {
        /// Why.
        kind: std::io::ErrorKind,
    },
    /// The file is longer than any configuration.
    TooLong {
        /// The length in bytes that is too much.
        limit: u64,
    },
    /// Not UTF-8, or a zero byte; `offset` counts bytes from the start of the file.
    NotText {
        /// Where.
        offset: usize,
    },
    /// The text ends inside something.
    UnexpectedEnd {
        /// What was not finished.
        inside: &'static str,
    },
    /// Something else than what has to stand here.
    Unexpected {
        /// What stands there.
        found: char,
        /// What may stand there, in words.
        expected: &'static str,
    },
    /// A backslash before anything but `xHH`, `t`, `n`, `r`, `"` and another backslash.
    UnknownEscape,
    /// A number out of range, or with an unknown unit behind it.
    BadNumber,
    /// What starts like a date is none of the form `YYYY-MM-DDThh:mm:ssZ`.
    BadDate,
    /// A key without a value.
    NoValue {
        /// The key.
        key: String,
    },
    /// Maps and arrays nested too deep.
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// A file that includes itself, over others perhaps.
    IncludeLoop {
        /// The file.
        path: PathBuf,
    },
    /// More files, or more uses of environment variables, than any configuration has.
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
    /// A variable that neither the configuration nor the environment defines.
    UnknownVariable {
        /// The variable.
        name: String,
    },
    /// An environment variable that refers to itself, over others perhaps.
    VariableLoop {
        /// The variable.
        name: String,
    },
    /// A setting of another type than the server wants.
    WrongType {
        /// The setting.
        key: String,
        /// The type wanted, in words.
        expected: &'static str,
        /// The type found, in words.
        found: &'static str,
    },
    /// A setting given twice, under two of its names perhaps.
    Duplicate {
        /// The setting, as the second one spells it.
        key: String,
        /// Line of the first.
        other_line: usize,
    },
    /// A cipher the server does not know.
    UnknownCipher,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.problem),
            line => write!(
                f,
                "{}:{line}:{}: {}",
                self.file.display(),
                self.column,
                self.problem
            ),
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
