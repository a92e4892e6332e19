//! Where the text of a server configuration comes from: files and environment variables.
//!
//! A variable that leads nowhere is an error only for whoever needs its value: the sections about
//! users and clusters may well refer to an environment that is not at hand when a store is examined.

use super::problem::{ConfigError, Problem};
use super::scan::TextScanner;
use super::syntax::Parser;
use super::value::{Map, Value};
use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// How deep maps, arrays, included files and variables may nest, all in all.
const MAX_DEPTH: usize = 100;
/// How many files and environment variables may be read.
const MAX_TEXTS: usize = 1_000;
const MAX_FILE_LENGTH: u64 = 16 << 20;
/// The key under which the text of an environment variable is parsed.
const VARIABLE_KEY: &str = "pk";

/// The environment, as far as variables go.
pub type Environment<'a> = &'a dyn Fn(&OsStr) -> Option<OsString>;

/// Reads a file of at most so many bytes; a longer one fails as [`io::ErrorKind::FileTooLarge`].
pub type Files<'a> = &'a dyn Fn(&Path, u64) -> Result<Vec<u8>, io::ErrorKind>;

/// What the parsers of all files and variables share.
pub struct Session<'a> {
    files: Files<'a>,
    environment: Environment<'a>,
    /// Environment variables being parsed.
    pending: RefCell<Vec<String>>,
    /// Files being parsed.
    including: RefCell<Vec<PathBuf>>,
    texts: Cell<usize>,
    depth: Cell<usize>,
}

impl<'a> Session<'a> {
    pub fn new(files: Files<'a>, environment: Environment<'a>) -> Self {
        Self {
            files,
            environment,
            pending: RefCell::default(),
            including: RefCell::default(),
            texts: Cell::default(),
            depth: Cell::default(),
        }
    }

    /// Parses a file and all that it includes.
    pub fn file(&self, path: &Path) -> Result<Map, ConfigError> {
        let fail = |problem| ConfigError {
            file: path.into(),
            line: 0,
            column: 0,
            problem,
        };
        self.count_text().map_err(fail)?;
        let loops = self.including.borrow().iter().any(|open| open == path);
        if loops {
            return Err(fail(Problem::IncludeLoop { path: path.into() }));
        }
        let bytes = Zeroizing::new(self.read(path).map_err(fail)?);
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let offset = error.valid_up_to();
                return Err(fail(Problem::NotText { offset }));
            }
        };
        self.enter().map_err(fail)?;
        self.including.borrow_mut().push(path.into());
        let parsed = self.text(text, path.into());
        self.including.borrow_mut().pop();
        self.leave();
        parsed
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Problem> {
        (self.files)(path, MAX_FILE_LENGTH).map_err(|kind| match kind {
            io::ErrorKind::FileTooLarge => Problem::TooLong {
                limit: MAX_FILE_LENGTH,
            },
            kind => Problem::Unreadable { kind },
        })
    }

    fn text(&self, text: &str, file: Arc<Path>) -> Result<Map, ConfigError> {
        let scanner = TextScanner::new(text, file);
        // The server takes a zero byte for the end in some places and for text in others.
        if let Some(offset) = text.find('\0') {
            return Err(scanner.error(Problem::NotText { offset }));
        }
        Parser::new(scanner, self).document()
    }

    /// The value of an environment variable, parsed like one in a file.
    pub fn variable(&self, name: &str) -> Result<Arc<Value>, Problem> {
        let unknown = || Problem::UnknownVariable { name: name.into() };
        let loops = self.pending.borrow().iter().any(|pending| pending == name);
        if loops {
            return Err(Problem::VariableLoop { name: name.into() });
        }
        self.count_text()?;
        let text = (self.environment)(OsStr::new(name)).ok_or_else(unknown)?;
        let mut document = Zeroizing::new(format!("{VARIABLE_KEY}="));
        let text = Zeroizing::new(text.into_encoded_bytes());
        match std::str::from_utf8(&text) {
            Ok(text) => document.push_str(text),
            Err(error) => {
                let offset = error.valid_up_to();
                return Err(Problem::NotText { offset });
            }
        }
        self.enter()?;
        self.pending.borrow_mut().push(name.into());
        let parsed = self.text(&document, Path::new(&format!("${name}")).into());
        self.pending.borrow_mut().pop();
        self.leave();
        match parsed {
            Ok(mut map) => Ok(map.remove(VARIABLE_KEY).ok_or_else(unknown)?.value),
            Err(error) => Ok(Arc::new(Value::Unresolved(error))),
        }
    }

    /// Goes one level down; each call that succeeds is matched by one of `leave`.
    pub fn enter(&self) -> Result<(), Problem> {
        if self.depth.get() >= MAX_DEPTH {
            return Err(Problem::TooDeep { limit: MAX_DEPTH });
        }
        self.depth.set(self.depth.get() + 1);
        Ok(())
    }

    pub fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    fn count_text(&self) -> Result<(), Problem> {
        self.texts.set(self.texts.get() + 1);
        if self.texts.get() > MAX_TEXTS {
            return Err(Problem::TooMany { limit: MAX_TEXTS });
        }
        Ok(())
    }
}
