//! The syntax of server configurations: what stands where.
//!
//! It accepts what the server accepts, oddities included where they change a value.

use super::problem::{ConfigError, Problem};
use super::scan::{Secret, TextScanner, is_blank, is_newline, is_separator};
use super::session::Session;
use super::value::{Entry, Map, Value};
use crate::format::duration::parse_instant;
use std::path::Path;
use std::sync::Arc;

/// What passwords hashed with bcrypt start with, where they are no variables.
const BCRYPT_PREFIX: &str = "2a$";

/// A parser of one text.
pub struct Parser<'a> {
    scanner: TextScanner<'a>,
    session: &'a Session<'a>,
    /// The maps around this place, outermost first; variables are looked up in them.
    scopes: Vec<Map>,
}

/// Where in a pair of braces around a whole document we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Braces {
    BeforeKey,
    BehindValue,
    BehindBrace,
}

impl<'a> Parser<'a> {
    pub fn new(scanner: TextScanner<'a>, session: &'a Session<'a>) -> Self {
        Self {
            scanner,
            session,
            scopes: vec![Map::new()],
        }
    }

    /// Parses the whole text.
    pub fn document(mut self) -> Result<Map, ConfigError> {
        self.top()?;
        Ok(self.scopes.pop().unwrap_or_default())
    }

    fn top(&mut self) -> Result<(), ConfigError> {
        loop {
            self.scanner.skip_while(char::is_whitespace);
            if self.scanner.skip_comment() {
                continue;
            }
            match self.scanner.peek() {
                None => return Ok(()),
                Some('{') => self.braces()?,
                Some('/') => return Err(self.scanner.unexpected("a key")),
                Some(_) => {
                    self.entry(false)?;
                    self.end_of_line()?;
                }
            }
        }
    }

    /// The end of an entry at the top: a line break, a comment, `;`, `,` or a brace too many.
    fn end_of_line(&mut self) -> Result<(), ConfigError> {
        self.skip_blanks();
        if self.scanner.skip_comment() {
            return Ok(());
        }
        match self.scanner.peek() {
            None => Ok(()),
            Some(c) if is_newline(c) || matches!(c, ';' | ',' | '}') => {
                self.scanner.bump();
                Ok(())
            }
            Some(_) => Err(self.scanner.unexpected("the end of the line")),
        }
    }

    /// Blanks, and the single slashes that the server skips along with them.
    fn skip_blanks(&mut self) {
        loop {
            self.scanner.skip_while(is_blank);
            if !self.scanner.rest().starts_with('/') || self.scanner.rest().starts_with("//") {
                return;
            }
            self.scanner.bump();
        }
    }

    /// Braces around the document, nested or not, are mere decoration.
    fn braces(&mut self) -> Result<(), ConfigError> {
        let mut open = 0_usize;
        let mut at = Braces::BeforeKey;
        loop {
            match at {
                Braces::BeforeKey => self.scanner.skip_while(char::is_whitespace),
                Braces::BehindValue => self.skip_blanks(),
                Braces::BehindBrace => {
                    self.skip_blanks();
                    self.scanner.skip_while(is_newline);
                }
            }
            if self.scanner.skip_comment() {
                if at == Braces::BehindBrace {
                    at = Braces::BeforeKey;
                }
                continue;
            }
            at = match (at, self.scanner.peek()) {
                (_, Some('}')) => {
                    self.scanner.bump();
                    open = open.saturating_sub(1);
                    if open == 0 {
                        return Ok(());
                    }
                    Braces::BehindBrace
                }
                (Braces::BeforeKey, Some('{')) => {
                    self.scanner.bump();
                    open += 1;
                    at
                }
                (Braces::BeforeKey, None) => return Ok(()),
                (Braces::BeforeKey, Some('/')) => return Err(self.scanner.unexpected("a key")),
                (Braces::BeforeKey, Some(_)) => {
                    self.entry(false)?;
                    Braces::BehindValue
                }
                (_, Some(c)) if matches!(c, ';' | ',') || is_newline(c) => {
                    self.scanner.bump();
                    Braces::BeforeKey
                }
                (Braces::BehindBrace, Some(c)) if is_blank(c) || c == '/' => at,
                (_, _) => return Err(self.scanner.unexpected("the end of the line or a '}'")),
            };
        }
    }

    /// A key with its value, or an include.
    fn entry(&mut self, in_map: bool) -> Result<(), ConfigError> {
        let (line, column) = (self.scanner.line(), self.scanner.column());
        let (key, bare) = self.key()?;
        let separated_by_space = self.scanner.peek().is_some_and(char::is_whitespace);
        if bare && separated_by_space && key.eq_ignore_ascii_case("include") {
            return self.include();
        }
        self.scanner.skip_while(char::is_whitespace);
        let separated = self.scanner.peek().is_some_and(is_separator);
        if separated {
            self.scanner.bump();
        } else if self.scanner.peek().is_none() && !in_map {
            // A brace too many at the very end is let pass.
            return match key {
                "}" => Ok(()),
                key => Err(self.scanner.error(Problem::NoValue { key: key.into() })),
            };
        }
        if in_map {
            self.scanner.skip_while(char::is_whitespace);
            if matches!(self.scanner.peek(), Some(',' | '}')) {
                return Err(self.scanner.error(Problem::NoValue { key: key.into() }));
            }
        }
        let value = self.value()?;
        self.insert(
            key.into(),
            Entry {
                value,
                file: self.scanner.file().clone(),
                line,
                column,
            },
        );
        Ok(())
    }

    fn insert(&mut self, key: String, entry: Entry) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(key, entry);
        }
    }

    /// A key, and whether it stands without quotes. Its first character may be any.
    fn key(&mut self) -> Result<(&'a str, bool), ConfigError> {
        let start = self.scanner.offset();
        match self.scanner.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.scanner.bump();
                Ok((self.scanner.verbatim(quote, "a quoted key")?, false))
            }
            Some(c) if !is_separator(c) => {
                self.scanner.bump();
                self.scanner
                    .skip_while(|c| !is_separator(c) && !c.is_whitespace());
                Ok((self.scanner.since(start), true))
            }
            _ => Err(self.scanner.unexpected("a key")),
        }
    }

    fn include(&mut self) -> Result<(), ConfigError> {
        self.scanner.skip_while(is_blank);
        let start = self.scanner.offset();
        let name = match self.scanner.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.scanner.bump();
                self.scanner.verbatim(quote, "a file name")?
            }
            None | Some('[' | '{' | '(' | '-' | '\\' | '\n' | '\r' | '0'..='9') => {
                return Err(self.scanner.unexpected("a file name"));
            }
            Some(_) => {
                self.scanner.skip_while(|c| {
                    !is_newline(c) && !is_blank(c) && !matches!(c, ';' | '}' | '\'')
                });
                let name = self.scanner.since(start);
                if self.scanner.peek() == Some('\'') {
                    self.scanner.bump();
                }
                name
            }
        };
        // An absolute name too is looked for below the directory of the including file.
        let directory = self.scanner.file().parent().unwrap_or(Path::new(""));
        let path = directory.join(name.trim_start_matches('/'));
        for (key, entry) in self.session.file(&path)? {
            self.insert(key, entry);
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Arc<Value>, ConfigError> {
        self.scanner.skip_while(is_blank);
        let start = self.scanner.offset();
        let value = match self.scanner.peek() {
            Some('[') => self.nested(Self::array)?,
            Some('{') => self.nested(Self::map)?,
            Some('"') => {
                self.scanner.bump();
                Value::Text(self.scanner.double_quoted()?)
            }
            Some('\'') => {
                self.scanner.bump();
                let text = self.scanner.verbatim('\'', "a quoted string")?;
                Value::Text(Secret::new(text.as_bytes()))
            }
            Some('(') => {
                self.scanner.bump();
                Value::Text(Secret::new(self.scanner.block()?.as_bytes()))
            }
            Some('-' | '0'..='9') => self.number()?,
            Some('.' | '\n' | '\r') => return Err(self.scanner.unexpected("a value")),
            _ => return self.word(start),
        };
        Ok(Arc::new(value))
    }

    fn nested(
        &mut self,
        parse: fn(&mut Self) -> Result<Value, ConfigError>,
    ) -> Result<Value, ConfigError> {
        let session = self.session;
        session
            .enter()
            .map_err(|problem| self.scanner.error(problem))?;
        self.scanner.bump();
        let value = parse(self);
        session.leave();
        value
    }

    fn array(&mut self) -> Result<Value, ConfigError> {
        let mut elements = Vec::new();
        loop {
            self.scanner.skip_while(char::is_whitespace);
            if self.scanner.skip_comment() {
                continue;
            }
            match self.scanner.peek() {
                Some(']') => break,
                Some(',' | '/') | None => return Err(self.scanner.unexpected("a value or ']'")),
                Some(_) => {
                    let (line, column) = (self.scanner.line(), self.scanner.column());
                    elements.push(Entry {
                        value: self.value()?,
                        file: self.scanner.file().clone(),
                        line,
                        column,
                    });
                }
            }
            loop {
                self.scanner.skip_while(is_blank);
                if !self.scanner.skip_comment() {
                    break;
                }
            }
            match self.scanner.peek() {
                Some(']') => break,
                Some(c) if is_newline(c) || matches!(c, ',' | '/') => {
                    self.scanner.bump();
                }
                _ => return Err(self.scanner.unexpected("',' or ']'")),
            }
        }
        self.scanner.bump();
        Ok(Value::List(elements))
    }

    fn map(&mut self) -> Result<Value, ConfigError> {
        self.scopes.push(Map::new());
        let parsed = self.map_entries();
        let map = self.scopes.pop().unwrap_or_default();
        parsed.map(|()| Value::Map(map))
    }

    fn map_entries(&mut self) -> Result<(), ConfigError> {
        loop {
            self.scanner.skip_while(char::is_whitespace);
            if self.scanner.skip_comment() {
                continue;
            }
            match self.scanner.peek() {
                Some('}') => break,
                Some(']') | None => return Err(self.scanner.unexpected("a key or '}'")),
                Some('/') => {
                    self.scanner.bump();
                }
                Some(_) => {}
            }
            self.entry(true)?;
            loop {
                self.scanner.skip_while(is_blank);
                if !self.scanner.skip_comment() {
                    break;
                }
            }
            match self.scanner.peek() {
                Some('}') => break,
                Some(c) if is_newline(c) || matches!(c, ',' | ';' | '/') => {
                    self.scanner.bump();
                }
                _ => return Err(self.scanner.unexpected("the end of the line, ',' or '}'")),
            }
        }
        self.scanner.bump();
        Ok(())
    }

    /// What starts like a number: a number, a date, an address, or a string after all.
    fn number(&mut self) -> Result<Value, ConfigError> {
        let start = self.scanner.offset();
        let negative = self.scanner.peek() == Some('-');
        if negative {
            self.scanner.bump();
        }
        if !self.scanner.peek().is_some_and(|c| c.is_ascii_digit()) {
            return Err(self.scanner.unexpected("a digit"));
        }
        self.scanner.skip_while(|c| c.is_ascii_digit());
        match self.scanner.peek() {
            Some('.') => self.fraction(start),
            Some('-') if !negative => self.date(start),
            Some('k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T' | 'p' | 'P' | 'e' | 'E') => {
                self.number_with_unit(start)
            }
            c if negative || c.is_none_or(ends_number) => self.integer(start),
            _ => {
                // Whatever it is, it does not end the string, not even when it ends others.
                self.scanner.bump();
                Ok(Value::Text(self.scanner.unquoted(start)?.0))
            }
        }
    }

    fn integer(&self, start: usize) -> Result<Value, ConfigError> {
        self.whole_number(start).map(Value::Integer)
    }

    fn whole_number(&self, start: usize) -> Result<i64, ConfigError> {
        let digits = self.scanner.since(start);
        digits
            .parse()
            .map_err(|_| self.scanner.error(Problem::BadNumber))
    }

    fn number_with_unit(&mut self, start: usize) -> Result<Value, ConfigError> {
        let number = self.whole_number(start)?;
        let prefix = self.scanner.bump().unwrap_or_default();
        let unit = self.scanner.offset();
        self.scanner
            .skip_while(|c| matches!(c, 'b' | 'B' | 'i' | 'I'));
        if !self.scanner.peek().is_none_or(ends_number) {
            return Ok(Value::Text(self.scanner.unquoted(start)?.0));
        }
        match self.scanner.since(unit).to_ascii_lowercase().as_str() {
            "" => Ok(Value::Integer(scaled(number, 1_000, prefix))),
            "b" | "i" | "ib" => Ok(Value::Integer(scaled(number, 1_024, prefix))),
            _ => Err(self.scanner.error(Problem::BadNumber)),
        }
    }

    /// A fraction, or an address from its second point on.
    fn fraction(&mut self, start: usize) -> Result<Value, ConfigError> {
        self.scanner.bump();
        if !self.scanner.peek().is_some_and(|c| c.is_ascii_digit()) {
            return Err(self.scanner.unexpected("a digit"));
        }
        self.scanner.skip_while(|c| c.is_ascii_digit());
        if self.scanner.peek() != Some('.') {
            let number = self.scanner.since(start).parse();
            return number
                .map(Value::Float)
                .map_err(|_| self.scanner.error(Problem::BadNumber));
        }
        self.scanner
            .skip_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
        let address = self.scanner.since(start);
        Ok(Value::Text(Secret::new(address.as_bytes())))
    }

    fn date(&mut self, start: usize) -> Result<Value, ConfigError> {
        const LENGTH: usize = "2006-01-02T15:04:05Z".len();
        let offset = self.scanner.offset();
        while self.scanner.offset() < start + LENGTH && self.scanner.bump().is_some() {}
        let text = self.scanner.since(start);
        if offset == start + 4 && text.len() == LENGTH && parse_instant(text).is_ok() {
            return Ok(Value::Date);
        }
        Err(self.scanner.error(Problem::BadDate))
    }

    /// A string without quotes, a boolean or a variable.
    fn word(&mut self, start: usize) -> Result<Arc<Value>, ConfigError> {
        let place = (self.scanner.line(), self.scanner.column());
        let (text, ordinary) = self.scanner.unquoted(start)?;
        let plain = std::str::from_utf8(text.bytes())
            .ok()
            .filter(|_| ordinary)
            .unwrap_or_default();
        let is = |word: &&str| plain.eq_ignore_ascii_case(word);
        for (set, words) in [
            (true, ["true", "yes", "on"]),
            (false, ["false", "no", "off"]),
        ] {
            if words.iter().any(is) {
                return Ok(Arc::new(Value::Flag(set)));
            }
        }
        match plain.strip_prefix('$') {
            Some(name) if !name.starts_with(BCRYPT_PREFIX) => Ok(self.lookup(name, place)),
            _ => Ok(Arc::new(Value::Text(text))),
        }
    }

    fn lookup(&self, name: &str, (line, column): (usize, usize)) -> Arc<Value> {
        if let Some(entry) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return entry.value.clone();
        }
        self.session.variable(name).unwrap_or_else(|problem| {
            Arc::new(Value::Unresolved(ConfigError {
                file: self.scanner.file().to_path_buf(),
                line,
                column,
                problem,
            }))
        })
    }
}

/// A number with its unit; one too large wraps, as it does in the server.
fn scaled(number: i64, thousand: i64, prefix: char) -> i64 {
    let power = match prefix.to_ascii_lowercase() {
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        'p' => 5,
        _ => 6,
    };
    number.wrapping_mul(thousand.wrapping_pow(power))
}

/// What may stand right behind a number. A `]` may not.
fn ends_number(c: char) -> bool {
    is_blank(c) || is_newline(c) || matches!(c, ',' | ';' | '}')
}
