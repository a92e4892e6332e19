//! Where text goes: streams that survive a closed pipe, and colour where it is wanted.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};

use crate::page::{Page, Show};

/// A stream that knows whether anyone still reads it.
pub trait Sink: Write {
    /// Whether the reader has gone away.
    fn closed(&self) -> bool;
}

impl Sink for Vec<u8> {
    fn closed(&self) -> bool {
        false
    }
}

/// Swallows what is written after the reader has gone: a closed pipe is not an error, and a
/// recovery must not stop because nobody watches.
#[derive(Debug)]
pub struct Pipe<W> {
    inner: W,
    closed: bool,
}

impl<W: Write> Pipe<W> {
    /// Wraps a stream.
    pub fn new(inner: W) -> Self {
        Pipe {
            inner,
            closed: false,
        }
    }

    fn settle<T>(&mut self, result: io::Result<T>, swallowed: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(swallowed)
            }
            other => other,
        }
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let result = self.inner.write(bytes);
        self.settle(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let result = self.inner.flush();
        self.settle(result, ())
    }
}

impl<W: Write> Sink for Pipe<W> {
    fn closed(&self) -> bool {
        self.closed
    }
}

/// Colour, or its absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    color: bool,
    border: Option<u8>,
}

impl Style {
    /// No colour at all.
    pub const PLAIN: Style = Style {
        color: false,
        border: None,
    };

    /// Colour on a terminal, unless `NO_COLOR` is set; `NATS_COLOR` names the colour of tables, as
    /// for the `nats` command.
    pub fn new(terminal: bool, variable: &dyn Fn(&OsStr) -> Option<OsString>) -> Self {
        let unset = |name: &str| variable(OsStr::new(name)).is_none_or(|value| value.is_empty());
        if !terminal || !unset("NO_COLOR") {
            return Style::PLAIN;
        }
        let name = variable(OsStr::new("NATS_COLOR")).unwrap_or_default();
        let border = match name.to_str() {
            Some("red") => Some(31),
            Some("green") => Some(32),
            Some("yellow") => Some(33),
            Some("blue") => Some(34),
            Some("magenta") => Some(35),
            Some("cyan") => Some(36),
            _ => None,
        };
        Style {
            color: true,
            border,
        }
    }

    /// Text in one of the terminal's colours.
    pub fn paint(self, code: u8, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A table with its lines in the colour of `NATS_COLOR`.
    pub fn borders(self, table: &str) -> String {
        let Some(code) = self.border else {
            return table.to_owned();
        };
        let is_line = |c: char| ('\u{2500}'..='\u{257f}').contains(&c);
        let mut text = String::with_capacity(table.len() * 2);
        let mut painting = false;
        for c in table.chars() {
            if is_line(c) != painting {
                painting = !painting;
                text.push_str(&if painting {
                    format!("\x1b[{code}m")
                } else {
                    "\x1b[0m".into()
                });
            }
            text.push(c);
        }
        if painting {
            text.push_str("\x1b[0m");
        }
        text
    }
}

/// The two streams of a run.
pub struct Console<'a> {
    /// Results.
    pub out: &'a mut dyn Sink,
    /// Remarks.
    pub err: &'a mut dyn Sink,
    /// Colour on `out`.
    pub style: Style,
    /// Columns of a line on `out`, where anything names them.
    pub width: Option<usize>,
}

impl Console<'_> {
    /// Where text on `out` is laid out.
    pub fn page(&self, show: Show) -> Page {
        Page::new(self.width, self.style, show)
    }

    /// A remark on stderr. That it cannot be told is nothing anyone could be told.
    pub fn remark(&mut self, text: &str) {
        let _ = writeln!(self.err, "jetsam: {text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let mut pipe = Pipe::new(Gone);
        assert!(!pipe.closed());
        pipe.write_all(b"text").unwrap();
        assert!(pipe.closed());
        pipe.flush().unwrap();
    }

    #[test]
    fn other_errors_are_told() {
        let mut full = [0u8; 2];
        let mut pipe = Pipe::new(&mut full[..]);
        assert!(pipe.write_all(b"text").is_err());
    }

    #[test]
    fn colour_needs_a_terminal_and_consent() {
        let with = |terminal, pairs: &[(&str, &str)]| {
            Style::new(terminal, &|name| {
                let found = pairs.iter().find(|(key, _)| name == *key);
                found.map(|(_, value)| value.into())
            })
        };
        assert_eq!(with(false, &[("NATS_COLOR", "blue")]), Style::PLAIN);
        assert_eq!(
            with(true, &[("NO_COLOR", "1"), ("NATS_COLOR", "blue")]),
            Style::PLAIN
        );
        assert_eq!(with(true, &[]).paint(31, "x"), "\x1b[31mx\x1b[0m");
        let blue = with(true, &[("NATS_COLOR", "blue"), ("NO_COLOR", "")]);
        assert_eq!(blue.borders("│ a │"), "\x1b[34m│\x1b[0m a \x1b[34m│\x1b[0m");
    }
}
