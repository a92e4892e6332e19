//! The configuration syntax: keys and values, blocks, arrays, comments, includes and variables.

use super::{ConfigError, Problem};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use zeroize::Zeroizing;

const MAX_FILE_BYTES: u64 = 16 << 20;
/// Blocks and arrays within each other.
const MAX_NESTING: usize = 64;
/// Files that include each other, and variables whose values name variables.
const MAX_CHAIN: usize = 16;

/// The keys of a block as written; their case is for the reader to ignore.
pub(super) type Map = BTreeMap<String, Entry>;

/// A value and where its key stands.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    file: Rc<Path>,
    line: usize,
}

impl Entry {
    pub(super) fn error(&self, problem: Problem) -> ConfigError {
        ConfigError {
            file: self.file.to_path_buf(),
            line: self.line,
            problem,
        }
    }
}

/// A value, as far as it can matter.
#[derive(Clone)]
pub(super) enum Value {
    Text(Zeroizing<String>),
    Bool,
    Map(Map),
    /// A variable nobody defines, by name.
    Unresolved(String),
    /// A number, a date or an array.
    Other,
}

/// The environment, or what stands in for it.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a file and what it includes.
pub(super) fn read_file(file: &Path, environment: Environment<'_>) -> Result<Map, ConfigError> {
    read_included(file, environment, &mut Vec::new())
}

fn read_included(
    file: &Path,
    environment: Environment<'_>,
    chain: &mut Vec<PathBuf>,
) -> Result<Map, ConfigError> {
    let error = |problem| ConfigError {
        file: file.to_path_buf(),
        line: 0,
        problem,
    };
    let unreadable = |cause: std::io::Error| {
        error(Problem::Unreadable {
            reason: cause.to_string(),
        })
    };
    let canonical = file.canonicalize().map_err(unreadable)?;
    if chain.contains(&canonical) {
        return Err(error(Problem::IncludeCycle));
    }
    if chain.len() >= MAX_CHAIN {
        return Err(error(Problem::TooDeep));
    }
    if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(error(Problem::NotText));
    }
    let mut bytes = Zeroizing::new(std::fs::read(file).map_err(unreadable)?);
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|refused| {
        // The bytes may hold a key; they go back to where they are wiped.
        *bytes = refused.into_bytes();
        error(Problem::NotText)
    })?;
    chain.push(canonical);
    let map = parse(&Zeroizing::new(text), file, environment, chain, &[]);
    chain.pop();
    map
}

/// Parses text as if it stood in `file`. `variables` are those being resolved right now.
fn parse(
    text: &str,
    file: &Path,
    environment: Environment<'_>,
    chain: &mut Vec<PathBuf>,
    variables: &[String],
) -> Result<Map, ConfigError> {
    let mut parser = Parser {
        text,
        offset: 0,
        counted: Cell::new((0, 1)),
        file: Rc::from(file),
        scopes: vec![Map::new()],
        nesting: 0,
        environment,
        chain,
        variables,
    };
    parser.top()?;
    Ok(parser.scopes.pop().unwrap_or_default())
}

struct Parser<'a> {
    text: &'a str,
    offset: usize,
    /// An offset passed already, and its line.
    counted: Cell<(usize, usize)>,
    file: Rc<Path>,
    /// The blocks around the current place, outermost first.
    scopes: Vec<Map>,
    nesting: usize,
    environment: Environment<'a>,
    chain: &'a mut Vec<PathBuf>,
    variables: &'a [String],
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.offset += letter.len_utf8();
        Some(letter)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.offset += wanted.len_utf8();
        }
        found
    }

    /// The current line, counted on from where it was last asked for.
    fn line(&self) -> usize {
        let (offset, line) = self.counted.get();
        let passed = self.text.get(offset..self.offset).unwrap_or_default();
        let line = line + passed.bytes().filter(|&byte| byte == b'\n').count();
        self.counted.set((self.offset, line));
        line
    }

    fn error(&self, problem: Problem) -> ConfigError {
        ConfigError {
            file: self.file.to_path_buf(),
            line: self.line(),
            problem,
        }
    }

    fn expected(&self, what: &'static str) -> ConfigError {
        self.error(Problem::Expected { what })
    }

    fn skip_while(&mut self, belongs: impl Fn(char) -> bool) {
        let rest = self.rest();
        let end = rest.find(|letter| !belongs(letter)).unwrap_or(rest.len());
        self.offset += end;
    }

    /// Moves over a comment, up to the end of its line.
    fn skip_comment(&mut self) -> bool {
        let is_comment = self.rest().starts_with('#') || self.rest().starts_with("//");
        if is_comment {
            self.skip_while(|letter| !is_line_end(letter));
        }
        is_comment
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.skip_while(char::is_whitespace);
            if !self.skip_comment() {
                return;
            }
        }
    }

    /// A whole file. Braces around everything are allowed, as in JSON.
    fn top(&mut self) -> Result<(), ConfigError> {
        let mut braces = 0;
        loop {
            self.skip_space_and_comments();
            match self.peek() {
                None => return Ok(()),
                Some('{') => {
                    braces += 1;
                    self.offset += 1;
                }
                Some('}') if braces > 0 => {
                    braces -= 1;
                    self.offset += 1;
                }
                Some(',' | ';') => self.offset += 1,
                Some(_) => {
                    self.member(false)?;
                    self.member_end(braces == 0)?;
                }
            }
        }
    }

    /// The members of a block up to its closing brace.
    fn block(&mut self) -> Result<Map, ConfigError> {
        self.scopes.push(Map::new());
        loop {
            self.skip_space_and_comments();
            match self.peek() {
                None => return Err(self.expected("'}' before the end of the file")),
                Some('}') => break,
                Some(_) => {
                    self.member(true)?;
                    self.member_end(false)?;
                }
            }
        }
        self.offset += 1;
        Ok(self.scopes.pop().unwrap_or_default())
    }

    /// What may follow a member: a separator, a new line, or the end of what it is in.
    fn member_end(&mut self, takes_stray_brace: bool) -> Result<(), ConfigError> {
        self.skip_while(is_blank);
        match self.peek() {
            None | Some(',' | ';' | '\n' | '\r') => {
                self.next();
                Ok(())
            }
            // The server overlooks a closing brace too many at the top.
            Some('}') if takes_stray_brace => {
                self.next();
                Ok(())
            }
            Some('}') => Ok(()),
            Some(_) if self.skip_comment() => Ok(()),
            Some(_) => Err(self.expected("the end of the value")),
        }
    }

    /// A key with its value, or an include.
    fn member(&mut self, in_block: bool) -> Result<(), ConfigError> {
        let line = self.line();
        let key = match self.peek() {
            Some('=' | ':') => return Err(self.expected("a key")),
            Some(quote @ ('"' | '\'')) => {
                self.offset += 1;
                self.until(quote)?.to_owned()
            }
            _ => {
                let start = self.offset;
                self.skip_while(|letter| !letter.is_whitespace() && !matches!(letter, '=' | ':'));
                let key = self
                    .text
                    .get(start..self.offset)
                    .unwrap_or_default()
                    .to_owned();
                let is_spaced = self.peek().is_some_and(char::is_whitespace);
                if is_spaced && key.eq_ignore_ascii_case("include") {
                    return self.include();
                }
                key
            }
        };
        self.skip_while(char::is_whitespace);
        let has_separator = self.accept('=') || self.accept(':');
        if has_separator {
            self.skip_while(if in_block {
                char::is_whitespace
            } else {
                is_blank
            });
        }
        if self
            .peek()
            .is_none_or(|letter| matches!(letter, '}' | ',') || is_line_end(letter))
        {
            return Err(self.expected("a value"));
        }
        let value = self.value()?;
        let entry = Entry {
            value,
            file: Rc::clone(&self.file),
            line,
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(key, entry);
        }
        Ok(())
    }

    /// Text up to a quote, taken as it stands.
    fn until(&mut self, quote: char) -> Result<&str, ConfigError> {
        let start = self.offset;
        let Some(length) = self.rest().find(quote) else {
            return Err(self.expected("a closing quote"));
        };
        self.offset += length + quote.len_utf8();
        Ok(self.text.get(start..start + length).unwrap_or_default())
    }

    /// Adds the members of another file to the current block. Paths are relative to the including
    /// file even if they begin with a slash.
    fn include(&mut self) -> Result<(), ConfigError> {
        self.skip_while(is_blank);
        let path = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.offset += 1;
                self.until(quote)?.to_owned()
            }
            Some(letter) if is_line_end(letter) || matches!(letter, '[' | '{' | '(' | '\\') => {
                return Err(self.expected("the path of a file to include"));
            }
            _ => {
                let start = self.offset;
                self.skip_while(|letter| {
                    !is_line_end(letter) && !is_blank(letter) && !matches!(letter, ';' | '}' | '\'')
                });
                self.text
                    .get(start..self.offset)
                    .unwrap_or_default()
                    .to_owned()
            }
        };
        if path.is_empty() {
            return Err(self.expected("the path of a file to include"));
        }
        let directory = self.file.parent().unwrap_or(Path::new(""));
        let file = directory.join(path.trim_start_matches('/'));
        let members = read_included(&file, self.environment, self.chain)?;
        if let Some(scope) = self.scopes.last_mut() {
            scope.extend(members);
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Value, ConfigError> {
        match self.peek() {
            Some('[') => self.nested(Self::array),
            Some('{') => self.nested(|parser| parser.block().map(Value::Map)),
            Some('\'') => {
                self.offset += 1;
                Ok(Value::Text(Zeroizing::new(self.until('\'')?.to_owned())))
            }
            Some('"') => {
                let unclosed = self.expected("a closing quote");
                self.offset += 1;
                let (text, _) = self.escaped(|letter| letter == '"')?;
                if self.accept('"') {
                    Ok(Value::Text(text))
                } else {
                    Err(unclosed)
                }
            }
            Some('(') => self.text_block(),
            Some('.') => Err(self.expected("a digit before the point")),
            _ => self.bare(),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, ConfigError>,
    ) -> Result<Value, ConfigError> {
        if self.nesting >= MAX_NESTING {
            return Err(self.error(Problem::TooDeep));
        }
        self.offset += 1;
        self.nesting += 1;
        let value = read(self);
        self.nesting -= 1;
        value
    }

    fn array(&mut self) -> Result<Value, ConfigError> {
        loop {
            self.skip_space_and_comments();
            match self.peek() {
                None => return Err(self.expected("']' before the end of the file")),
                Some(']') => break,
                Some(',') => return Err(self.expected("a value")),
                Some(_) => self.value()?,
            };
            self.skip_while(is_blank);
            match self.peek() {
                Some(',' | '\n' | '\r') => self.offset += 1,
                Some(']') => break,
                _ if self.skip_comment() => {}
                _ => return Err(self.expected("',' or ']'")),
            }
        }
        self.offset += 1;
        Ok(Value::Other)
    }

    /// Text between parentheses; the closing one stands on a line by itself.
    fn text_block(&mut self) -> Result<Value, ConfigError> {
        self.offset += 1;
        let rest = self.rest();
        let ends_line =
            |after: usize| matches!(rest.as_bytes().get(after), None | Some(b'\n' | b'\r'));
        let closing = rest
            .match_indices("\n)")
            .find(|(index, _)| ends_line(index + 2));
        let Some((index, _)) = closing else {
            return Err(self.expected("')' on a line by itself"));
        };
        let text = Zeroizing::new(rest.get(..index + 1).unwrap_or_default().to_owned());
        self.offset += index + 2;
        Ok(Value::Text(text))
    }

    /// Text with escapes up to what ends it, and whether there were any.
    fn escaped(
        &mut self,
        ends: impl Fn(char) -> bool,
    ) -> Result<(Zeroizing<String>, bool), ConfigError> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        let mut has_escapes = false;
        while let Some(letter) = self.peek().filter(|&letter| !ends(letter)) {
            self.offset += letter.len_utf8();
            if letter != '\\' {
                text.push(letter);
                continue;
            }
            has_escapes = true;
            match self.next() {
                Some('t') => text.push('\t'),
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('"') => text.push('"'),
                Some('\\') => text.push('\\'),
                Some('x') => text.push(self.hex_escape()?),
                _ => return Err(self.error(Problem::UnknownEscape)),
            }
        }
        Ok((text, has_escapes))
    }

    /// Two digits behind `\x`. Only ASCII: a byte above would not be text by itself.
    fn hex_escape(&mut self) -> Result<char, ConfigError> {
        let digits = self.rest().get(..2).filter(|digits| digits.is_ascii());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                self.offset += 2;
                Ok(char::from(byte))
            }
            None => Err(self.error(Problem::UnknownEscape)),
        }
    }

    /// A value without quotes: a word, a number, a date, a variable or just text.
    fn bare(&mut self) -> Result<Value, ConfigError> {
        let (text, has_escapes) = self.escaped(|letter| {
            is_line_end(letter)
                || is_blank(letter)
                || matches!(letter, ';' | ',' | ']' | '}' | '\'')
        })?;
        self.accept('\'');
        if has_escapes {
            return Ok(Value::Text(text));
        }
        if is_bool(&text) {
            return Ok(Value::Bool);
        }
        if let Some(name) = text.strip_prefix('$') {
            return self.variable(name);
        }
        match Number::judge(&text) {
            Number::No => Ok(Value::Text(text)),
            Number::Yes => Ok(Value::Other),
            Number::Broken => Err(self.expected("a number")),
        }
    }

    /// The value of a variable: from the blocks around, innermost first, else from the
    /// environment, where it is read as a value of this syntax.
    fn variable(&mut self, name: &str) -> Result<Value, ConfigError> {
        // Hashed passwords look like variables and are none.
        if name.starts_with("2a$") {
            return Ok(Value::Text(Zeroizing::new(format!("${name}"))));
        }
        if let Some(entry) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return Ok(entry.value.clone());
        }
        if self.variables.len() >= MAX_CHAIN || self.variables.iter().any(|other| other == name) {
            return Err(self.error(Problem::TooDeep));
        }
        let Some(text) = (self.environment)(name).map(Zeroizing::new) else {
            return Ok(Value::Unresolved(name.to_owned()));
        };
        const KEY: &str = "value";
        let text = Zeroizing::new(format!("{KEY}={}", text.as_str()));
        let variables = [self.variables, &[name.to_owned()]].concat();
        let line = self.line();
        let parsed = parse(&text, &self.file, self.environment, self.chain, &variables);
        // Lines inside the variable mean nothing to anyone; the place that names it does.
        let mut members = parsed.map_err(|error| ConfigError { line, ..error })?;
        Ok(members
            .remove(KEY)
            .map_or(Value::Unresolved(name.to_owned()), |entry| entry.value))
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

fn is_line_end(letter: char) -> bool {
    matches!(letter, '\n' | '\r')
}

fn is_bool(text: &str) -> bool {
    ["true", "false", "on", "off", "yes", "no"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether the server reads text that begins with a digit or a minus as a number or date.
enum Number {
    Yes,
    No,
    Broken,
}

impl Number {
    fn judge(text: &str) -> Self {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        let rest = unsigned.get(digits..).unwrap_or_default();
        if digits == 0 {
            return if negative { Self::Broken } else { Self::No };
        }
        match rest.chars().next() {
            None => Self::Yes,
            Some('-') if !negative => {
                if is_date(text) {
                    Self::Yes
                } else {
                    Self::Broken
                }
            }
            Some('.') => {
                let fraction = rest.get(1..).unwrap_or_default();
                let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
                match fraction.get(length..) {
                    _ if length == 0 => Self::Broken,
                    Some("") => Self::Yes,
                    // An address such as 127.0.0.1:4222.
                    Some(tail) if tail.starts_with('.') => Self::No,
                    _ => Self::Broken,
                }
            }
            Some('k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T' | 'p' | 'P' | 'e' | 'E') => {
                let unit = rest.get(1..).unwrap_or_default();
                let is_size = unit
                    .bytes()
                    .all(|byte| matches!(byte, b'b' | b'B' | b'i' | b'I'));
                if is_size { Self::Yes } else { Self::No }
            }
            Some(_) if negative => Self::Broken,
            Some(_) => Self::No,
        }
    }
}

fn is_date(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00Z";
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, &shape)| {
            if shape == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == shape
            }
        })
}
