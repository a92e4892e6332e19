//! The text protocol: what a client sends as values, and the two threads of each connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::time::Duration;

use jetsam::format::subject::is_valid;
use serde_json::Value;

pub const PAYLOAD_MAX: usize = 1024 * 1024;
const LINE_MAX: u64 = 4096;
/// Bytes that may wait for a client. One that does not fetch them is dropped.
pub const WAITING_MAX: usize = 64 * 1024 * 1024;

#[derive(Clone, Default)]
pub struct Message {
    pub subject: String,
    pub reply: String,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
}

pub enum Op {
    Connect(Value),
    Ping,
    Pong,
    Sub { subject: String, queue: String, sid: String },
    Unsub { sid: String, most: u64 },
    Publish(Message),
}

pub enum Event {
    Opened(u64, Outbox),
    Asked(u64, Op),
    /// Nothing more comes from the client; what it is told last, if anything.
    Closed(u64, Option<&'static str>),
    Stop,
}

/// Where bytes for a client go. Dropping it closes the connection once they are sent.
pub struct Outbox {
    queue: Sender<Vec<u8>>,
    pub waiting_bytes: Arc<AtomicUsize>,
    stream: TcpStream,
}

impl Outbox {
    /// False where the client is too slow, and cut off.
    pub fn send(&self, bytes: Vec<u8>) -> bool {
        let length = bytes.len();
        let waiting = self.waiting_bytes.fetch_add(length, Ordering::Relaxed);
        let fits = waiting + length <= WAITING_MAX && self.queue.send(bytes).is_ok();
        if !fits {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        fits
    }
}

pub fn serve(id: u64, stream: TcpStream, events: SyncSender<Event>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let (queue, chunks) = mpsc::channel::<Vec<u8>>();
    let (mut input, mut output) = (BufReader::with_capacity(64 * 1024, stream.try_clone()?), stream.try_clone()?);
    let outbox = Outbox { queue, waiting_bytes: Arc::default(), stream };
    let waiting = outbox.waiting_bytes.clone();
    std::thread::spawn(move || {
        for chunk in chunks {
            if output.write_all(&chunk).is_err() {
                break;
            }
            waiting.fetch_sub(chunk.len(), Ordering::Relaxed);
        }
        let _ = output.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut next = Ok(Event::Opened(id, outbox));
        // Waits where the broker is behind: the client is slowed down rather than its bytes heaped up.
        while let Ok(event) = next {
            if events.send(event).is_err() {
                return;
            }
            next = read_op(&mut input).map(|op| Event::Asked(id, op));
        }
        let _ = events.send(Event::Closed(id, next.err().flatten()));
    });
    Ok(())
}

/// Why nothing more is read: what the client did wrong, or `None` where it is gone.
type End = Option<&'static str>;
const PARSER: End = Some("Parser Error");

fn read_op(input: &mut impl BufRead) -> Result<Op, End> {
    let mut line = Vec::new();
    let read = input.take(LINE_MAX).read_until(b'\n', &mut line).unwrap_or(0);
    if line.last() != Some(&b'\n') {
        return Err(if read == 0 { None } else { Some("Maximum Control Line Exceeded") });
    }
    let line = std::str::from_utf8(&line).map_err(|_| PARSER)?.trim_end();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    match (verb.to_ascii_uppercase().as_str(), &*words) {
        ("PING", []) => Ok(Op::Ping),
        ("PONG", []) => Ok(Op::Pong),
        ("CONNECT", _) => serde_json::from_str(rest).map(Op::Connect).map_err(|_| PARSER),
        ("SUB", [subject, .., sid]) if words.len() <= 3 && is_valid(subject.as_bytes()) => {
            let queue = words[1..words.len() - 1].concat();
            Ok(Op::Sub { subject: (*subject).to_owned(), queue, sid: (*sid).to_owned() })
        }
        ("SUB", _) => Err(Some("Invalid Subject")),
        ("UNSUB", [sid]) => Ok(Op::Unsub { sid: (*sid).to_owned(), most: 0 }),
        ("UNSUB", [sid, most]) => Ok(Op::Unsub { sid: (*sid).to_owned(), most: most.parse().map_err(|_| PARSER)? }),
        ("PUB", [subject, length]) => publish(input, subject, "", "0", length),
        ("PUB", [subject, reply, length]) => publish(input, subject, reply, "0", length),
        ("HPUB", [subject, headers, length]) => publish(input, subject, "", headers, length),
        ("HPUB", [subject, reply, headers, length]) => publish(input, subject, reply, headers, length),
        ("UNSUB" | "PUB" | "HPUB" | "PING" | "PONG", _) => Err(PARSER),
        _ => Err(Some("Unknown Protocol Operation")),
    }
}

fn publish(input: &mut impl Read, subject: &str, reply: &str, headers: &str, length: &str) -> Result<Op, End> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| PARSER);
    let (headers, length) = (number(headers)?, number(length)?);
    if length > PAYLOAD_MAX || headers > length {
        return Err(Some("Maximum Payload Violation"));
    }
    let mut headers_and_body = vec![0; length + 2];
    input.read_exact(&mut headers_and_body).map_err(|_| None)?;
    let is_sound = |subject: &str| is_valid(subject.as_bytes());
    if !headers_and_body.ends_with(b"\r\n") || !is_sound(subject) || !(reply.is_empty() || is_sound(reply)) {
        return Err(PARSER);
    }
    headers_and_body.truncate(length);
    let body = headers_and_body.split_off(headers);
    Ok(Op::Publish(Message { subject: subject.to_owned(), reply: reply.to_owned(), headers: headers_and_body, body }))
}

/// `MSG` or `HMSG` for one subscription.
pub fn encode(out: &mut Vec<u8>, sid: &str, message: &Message, with_headers: bool) {
    let Message { subject, reply, headers, body } = message;
    let reply = if reply.is_empty() { String::new() } else { format!("{reply} ") };
    match with_headers && !headers.is_empty() {
        true => {
            let total = headers.len() + body.len();
            out.extend(format!("HMSG {subject} {sid} {reply}{} {total}\r\n", headers.len()).bytes());
            out.extend(headers);
        }
        false => out.extend(format!("MSG {subject} {sid} {reply}{}\r\n", body.len()).bytes()),
    }
    out.extend(body);
    out.extend(b"\r\n");
}
