//! As much of a NATS client as the steps of a history need.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    asked: u64,
}

/// A message that came.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Where its answer goes.
    pub reply: String,
    /// Its header block, where it has one.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let writer = TcpStream::connect(("127.0.0.1", port))?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            reader: BufReader::new(writer.try_clone()?),
            writer,
            asked: 0,
        };
        client.line()?;
        client.send(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\nSUB _INBOX.h.* 1\r\nPING\r\n",
        )?;
        while client.line()? != "PONG" {}
        Ok(client)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        match line.strip_prefix("-ERR") {
            Some(error) => Err(io::Error::other(error.to_owned())),
            None => Ok(line),
        }
    }

    /// Sends a message and waits for one answer.
    pub fn ask(&mut self, subject: &str, headers: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        self.ask_for_many(subject, headers, body)?;
        let answer = self.next()?;
        if answer.headers.starts_with("NATS/1.0 503") {
            return Err(io::Error::other(format!("nobody answers to {subject}")));
        }
        Ok(answer.body)
    }

    /// Sends a message; the answers come with [`Client::next`].
    pub fn ask_for_many(&mut self, subject: &str, headers: &str, body: &[u8]) -> io::Result<()> {
        self.asked += 1;
        let reply = format!("_INBOX.h.{}", self.asked);
        let head = if headers.is_empty() {
            format!("PUB {subject} {reply} {}\r\n", body.len())
        } else {
            let total = headers.len() + body.len();
            format!(
                "HPUB {subject} {reply} {} {total}\r\n{headers}",
                headers.len()
            )
        };
        self.send(&[head.as_bytes(), body, b"\r\n"].concat())
    }

    /// The next message.
    pub fn next(&mut self) -> io::Result<Delivery> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            let (with_headers, rest) = match words.first() {
                Some(&"PING") => {
                    self.send(b"PONG\r\n")?;
                    continue;
                }
                Some(&"MSG") => (false, words.get(3..)),
                Some(&"HMSG") => (true, words.get(3..)),
                _ => continue,
            };
            let rest = rest.unwrap_or_default();
            let numbers = if with_headers { 2 } else { 1 };
            let at = rest.len().saturating_sub(numbers);
            let number = |word: Option<&&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
            let total: usize = number(rest.last());
            let headers: usize = if with_headers {
                number(rest.get(at))
            } else {
                0
            };
            let mut bytes = vec![0; total + 2];
            self.reader.read_exact(&mut bytes)?;
            bytes.truncate(total);
            let body = bytes.split_off(headers);
            return Ok(Delivery {
                reply: rest
                    .get(..at)
                    .and_then(<[&str]>::first)
                    .copied()
                    .unwrap_or_default()
                    .into(),
                headers: String::from_utf8_lossy(&bytes).into_owned(),
                body,
            });
        }
    }
}
