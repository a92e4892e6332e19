//! Characters, line numbers and strings of a server configuration.

use super::problem::{ConfigError, Problem};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What separates a key from its value.
pub fn is_separator(c: char) -> bool {
    matches!(c, '=' | ':')
}

/// What separates words on a line.
pub fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// What ends a line.
pub fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// A place in a text without zero bytes.
pub struct TextScanner<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    column: usize,
    file: Arc<Path>,
}

impl<'a> TextScanner<'a> {
    /// Starts at the beginning of `text`; `file` is for errors.
    pub fn new(text: &'a str, file: Arc<Path>) -> Self {
        Self {
            text,
            offset: 0,
            line: 1,
            column: 1,
            file,
        }
    }

    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    pub fn line(&self) -> usize {
        self.line
    }

    /// Characters of this line up to and with the next one.
    pub fn column(&self) -> usize {
        self.column
    }

    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What is still to come.
    pub fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// The text from an earlier offset to here.
    pub fn since(&self, offset: usize) -> &'a str {
        self.text.get(offset..self.offset).unwrap_or_default()
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.offset += c.len_utf8();
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    pub fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
    }

    /// Skips the rest of the line when a comment starts here, and says whether one did.
    pub fn skip_comment(&mut self) -> bool {
        let comment = self.rest().starts_with('#') || self.rest().starts_with("//");
        if comment {
            self.skip_while(|c| !is_newline(c));
        }
        comment
    }

    pub fn error(&self, problem: Problem) -> ConfigError {
        ConfigError {
            file: self.file.to_path_buf(),
            line: self.line,
            column: self.column,
            problem,
        }
    }

    /// The error for what stands here.
    pub fn unexpected(&self, expected: &'static str) -> ConfigError {
        self.error(match self.peek() {
            Some(found) => Problem::Unexpected { found, expected },
            None => Problem::UnexpectedEnd { inside: expected },
        })
    }

    /// Reads up to the quote, which is consumed too. Nothing has a special meaning in there.
    pub fn verbatim(&mut self, quote: char, inside: &'static str) -> Result<&'a str, ConfigError> {
        let start = self.offset;
        self.skip_while(|c| c != quote);
        let text = self.since(start);
        match self.bump() {
            Some(_) => Ok(text),
            None => Err(self.error(Problem::UnexpectedEnd { inside })),
        }
    }

    /// Reads a string in double quotes, the first of which is behind us.
    pub fn double_quoted(&mut self) -> Result<Secret, ConfigError> {
        let mut text = Secret::default();
        loop {
            let start = self.offset;
            self.skip_while(|c| c != '"' && c != '\\');
            text.push(self.since(start).as_bytes());
            match self.bump() {
                Some('\\') => text.push(&[self.escape()?]),
                Some(_) => return Ok(text),
                None => {
                    let inside = "a quoted string";
                    return Err(self.error(Problem::UnexpectedEnd { inside }));
                }
            }
        }
    }

    /// Reads a string without quotes that started at `start`, and says whether it is an ordinary
    /// word, one without escapes and closing quote. A single quote ends such a string, oddly.
    pub fn unquoted(&mut self, start: usize) -> Result<(Secret, bool), ConfigError> {
        let mut text = Secret::default();
        let mut ordinary = true;
        let mut part = start;
        loop {
            self.skip_while(|c| {
                !is_blank(c) && !is_newline(c) && !matches!(c, '\\' | '\'' | ';' | ',' | ']' | '}')
            });
            text.push(self.since(part).as_bytes());
            match self.peek() {
                Some('\\') => {
                    self.bump();
                    text.push(&[self.escape()?]);
                    ordinary = false;
                    part = self.offset;
                }
                Some('\'') => {
                    self.bump();
                    return Ok((text, false));
                }
                _ => return Ok((text, ordinary)),
            }
        }
    }

    /// The byte an escape stands for; its backslash is behind us.
    fn escape(&mut self) -> Result<u8, ConfigError> {
        let unknown = self.error(Problem::UnknownEscape);
        match self.bump() {
            Some('t') => Ok(b'\t'),
            Some('n') => Ok(b'\n'),
            Some('r') => Ok(b'\r'),
            Some('"') => Ok(b'"'),
            Some('\\') => Ok(b'\\'),
            Some('x') => {
                let mut digit = || self.bump().and_then(|c| c.to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => Ok((high * 16 + low) as u8),
                    _ => Err(unknown),
                }
            }
            _ => Err(unknown),
        }
    }

    /// Reads a block: everything up to a `)` on a line of its own; its `(` is behind us. The line
    /// breaks at both ends belong to it, and a `)` that ends the text does as well.
    pub fn block(&mut self) -> Result<&'a str, ConfigError> {
        let start = self.offset;
        loop {
            self.skip_while(|c| c != ')');
            let ended = self.since(0).ends_with('\n');
            let text = self.since(start);
            if self.bump().is_none() {
                let inside = "a block";
                return Err(self.error(Problem::UnexpectedEnd { inside }));
            }
            match self.peek() {
                None if ended => return Ok(self.since(start)),
                Some('\n') if ended => return Ok(text),
                _ => {}
            }
        }
    }
}

/// Bytes that are wiped when dropped, and whenever they move to a larger allocation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut secret = Self::default();
        secret.push(bytes);
        secret
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        let length = self.0.len() + bytes.len();
        if length > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * self.0.len())));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Shows how long it is, not what.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}
