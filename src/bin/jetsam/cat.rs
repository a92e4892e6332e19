//! `jetsam cat`: print messages.
//!
//! `text` is for people: a line with sequence, time, subject and size, the headers, the body;
//! bytes that would steer a terminal are escaped. `json` is an object a line, with the fields of
//! the server's own stored message (`subject`, `seq`, `time`, `hdrs` and `data` in base64, `hdrs`
//! absent where there are none) after `account` and `stream`. `raw` is the bodies, byte for byte,
//! with nothing between them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use jetsam::format::seqset::SeqSet;
use jetsam::format::subject;

use crate::console::Sink;
use crate::engine::{EngineError, Flow, Item, Message, StreamDir};
use crate::resolve::{CatFormat, CatQuery, Command};
use crate::session::{self, Session};
use crate::signals::INTERRUPTED;
use crate::units::{self, Times};

mod missing;

/// Exit code where messages are counted but cannot be read.
const UNREADABLE: u8 = 4;

/// Prints the messages asked for; returns the exit code.
pub fn run(session: &mut Session<'_, '_>, command: &Command, query: &CatQuery) -> io::Result<u8> {
    let worker = session.worker;
    let streams = match worker.engine.find_streams(&command.path) {
        Ok(found) => session::note_passed_over(&mut session.console, found),
        Err(error) => {
            session.console.remark(&units::printable(error.message()));
            return Ok(session::exit_code(&error));
        }
    };
    session::note_living(session, &command.path);
    let mut left = query.limit.unwrap_or(u64::MAX);
    let mut exit = 0;
    for stream in &streams {
        if left == 0 || session.console.out.closed() {
            break;
        }
        if worker.gate.interrupted() {
            return Ok(INTERRUPTED);
        }
        let mut printer = Printer {
            out: session.console.out,
            err: session.console.err,
            stream,
            query,
            is_named: streams.len() > 1 && query.format == CatFormat::Text,
            seen: SeqSet::new(),
            page: String::new(),
            times: Times::default(),
            left,
            unreadable: false,
            failed: None,
        };
        let result =
            worker
                .engine
                .messages(stream, &command.options, query.range.clone(), &mut |item| {
                    printer.visit(item)
                });
        left = printer.left;
        let seen = std::mem::take(&mut printer.seen);
        if let Some(error) = printer.failed {
            return Err(error);
        }
        if printer.unreadable {
            exit = exit.max(UNREADABLE);
        }
        match result {
            Err(error) => exit = exit.max(failed(session, stream, &error)),
            Ok(()) if query.by_sequence => {
                exit = exit.max(missing::tell(session, command, stream, query, &seen));
            }
            Ok(()) => {}
        }
    }
    session.console.out.flush()?;
    Ok(exit)
}

fn failed(session: &mut Session<'_, '_>, stream: &StreamDir, error: &EngineError) -> u8 {
    let text = format!("{}: {}", stream.name, error.message());
    session.console.remark(&units::printable(&text));
    session::exit_code(error)
}

struct Printer<'a> {
    out: &'a mut dyn Sink,
    err: &'a mut dyn Sink,
    stream: &'a StreamDir,
    query: &'a CatQuery,
    /// Whether the stream's name stands above its first message.
    is_named: bool,
    /// What was there of the sequences asked for, also where it was not wanted.
    seen: SeqSet,
    /// What is printed of one message.
    page: String,
    times: Times,
    left: u64,
    unreadable: bool,
    failed: Option<io::Error>,
}

impl Printer<'_> {
    fn visit(&mut self, item: Item<'_>) -> Flow {
        let message = match item {
            Item::Message(message) => message,
            Item::Unreadable(seq) => {
                self.unreadable = true;
                self.see(seq);
                let text = format!(
                    "{}: sequence {seq}: its record does not verify; `jetsam check` says where",
                    self.stream.name
                );
                let _ = writeln!(self.err, "jetsam: {}", units::printable(&text));
                return Flow::Continue;
            }
        };
        self.see(message.seq);
        if !self.wanted(&message) {
            return Flow::Continue;
        }
        let result = match self.query.format {
            CatFormat::Text => self.name().and_then(|()| self.text(&message)),
            CatFormat::Json => self.json(&message),
            CatFormat::Raw => self.out.write_all(message.body),
        };
        if let Err(error) = result {
            self.failed = Some(error);
            return Flow::Stop;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || self.out.closed() {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }

    fn see(&mut self, seq: u64) {
        if self.query.by_sequence {
            self.seen.insert(seq);
        }
    }

    fn name(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_named) {
            return Ok(());
        }
        let account = match &self.stream.account {
            Some(account) => format!(" in account {}", units::printable(account)),
            None => String::new(),
        };
        let name = units::printable(&self.stream.name);
        writeln!(self.out, "Stream {name}{account}\n")
    }

    fn text(&mut self, message: &Message<'_>) -> io::Result<()> {
        let page = &mut self.page;
        page.clear();
        let _ = write!(
            page,
            "[{}] {} ",
            message.seq,
            self.times.rfc3339(message.timestamp_ns)
        );
        units::push_printable(page, &units::text_of(message.subject));
        let _ = writeln!(page, " ({})", units::bytes(message.body.len() as u64));
        let headers = units::text_of(message.headers);
        for line in headers.split("\r\n").filter(|line| !line.is_empty()) {
            units::push_printable(page, line);
            page.push('\n');
        }
        if !message.headers.is_empty() {
            page.push('\n');
        }
        let before = page.len();
        units::push_printable_lines(page, message.body);
        while page.len() > before && page.ends_with('\n') {
            page.pop();
        }
        page.push_str("\n\n");
        self.out.write_all(page.as_bytes())
    }

    fn json(&mut self, message: &Message<'_>) -> io::Result<()> {
        let line = MessageJson {
            account: self.stream.account.as_deref(),
            stream: &self.stream.name,
            subject: units::text_of(message.subject),
            seq: message.seq,
            time: self.times.rfc3339(message.timestamp_ns),
            hdrs: (!message.headers.is_empty()).then(|| units::base64(message.headers)),
            data: units::base64(message.body),
        };
        let mut bytes = std::mem::take(&mut self.page).into_bytes();
        bytes.clear();
        serde_json::to_writer(&mut bytes, &line)?;
        bytes.push(b'\n');
        self.out.write_all(&bytes)?;
        // The line is text; its room is used again.
        bytes.clear();
        self.page = String::from_utf8(bytes).unwrap_or_default();
        Ok(())
    }

    fn wanted(&self, message: &Message<'_>) -> bool {
        let query = self.query;
        query
            .from_ns
            .is_none_or(|from| message.timestamp_ns >= from)
            && query.to_ns.is_none_or(|to| message.timestamp_ns <= to)
            && query
                .subject
                .as_ref()
                .is_none_or(|filter| subject::matches(message.subject, filter))
    }
}

#[derive(serde::Serialize)]
struct MessageJson<'a> {
    account: Option<&'a str>,
    stream: &'a str,
    subject: Cow<'a, str>,
    seq: u64,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hdrs: Option<String>,
    data: String,
}

#[cfg(test)]
mod tests {
    use crate::test_support::Fake;
    use crate::testing::run;

    fn fake() -> Fake {
        Fake {
            messages: vec![
                (1, b"orders.1", b"one\x1b\n"),
                (2, b"orders.2", b"\xfftwo"),
                (5, b"audit", b""),
            ],
            ..Fake::default()
        }
    }

    #[test]
    fn text_is_for_people() {
        let want = "\
[1] 1970-01-01T00:00:01Z orders.1 (5 B)
one\\u{1b}

[2] 1970-01-01T00:00:02Z orders.2 (4 B)
NATS/1.0
K: v

\\xfftwo

[5] 1970-01-01T00:00:05Z audit (0 B)


";
        let ran = run("cat D", &fake());
        assert_eq!((ran.exit, ran.out.as_str()), (0, want));
    }

    #[test]
    fn json_is_an_object_a_line() {
        let want = "\
{\"account\":null,\"stream\":\"S\",\"subject\":\"orders.2\",\"seq\":2,\"time\":\"1970-01-01T00:00:02Z\",\
\"hdrs\":\"TkFUUy8xLjANCks6IHYNCg0K\",\"data\":\"/3R3bw==\"}
{\"account\":null,\"stream\":\"S\",\"subject\":\"audit\",\"seq\":5,\"time\":\"1970-01-01T00:00:05Z\",\
\"data\":\"\"}
";
        assert_eq!(run("cat D --json --from 2", &fake()).out, want);
        assert_eq!(run("cat D --format json --seq 2-9", &fake()).out, want);
    }

    #[test]
    fn raw_is_the_bodies_alone() {
        let ran = run("cat D --format raw --seq 1", &fake());
        assert_eq!(ran.out, "one\x1b\n");
    }

    #[test]
    fn filters_and_limits() {
        let count = |line: &str| run(line, &fake()).out.lines().count();
        assert_eq!(count("cat D --json"), 3);
        assert_eq!(count("cat D --json --limit 2"), 2);
        assert_eq!(count("cat D --json --limit 0"), 0);
        assert_eq!(count("cat D --json --subject orders.*"), 2);
        assert_eq!(
            count("cat D --json --from 1970-01-01T00:00:02Z --to 1970-01-01T00:00:03Z"),
            1
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_and_counted() {
        let mut fake = fake();
        fake.messages.push((6, b"", b""));
        let ran = run("cat D --json", &fake);
        assert_eq!((ran.exit, ran.out.lines().count()), (4, 3));
        assert_eq!(
            ran.err,
            "jetsam: S: sequence 6: its record does not verify; `jetsam check` says where\n"
        );
    }

    #[test]
    fn several_streams_are_named() {
        let mut fake = fake();
        let mut other = crate::test_support::clean();
        other.name = "OTHER".into();
        other.account = Some("A".into());
        fake.reports = vec![crate::test_support::clean(), other];
        let out = run("cat D --seq 1", &fake).out;
        assert!(out.starts_with("Stream ORDERS\n\n[1] "), "{out}");
        assert!(out.contains("\nStream OTHER in account A\n\n[1] "), "{out}");
        assert!(!run("cat D --seq 1 --json", &fake).out.contains("Stream"));
    }
}
