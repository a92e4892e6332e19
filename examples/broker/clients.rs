//! Clients: the text protocol, the two threads of each connection, and who gets a message.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::Duration;

use jetsam::format::subject::{is_valid, matches};
use serde_json::{Value, json};

const PAYLOAD_MAX: usize = 1024 * 1024;
const LINE_MAX: u64 = 4096;
const CONNECTIONS_MAX: usize = 1024;
const SUBSCRIPTIONS_MAX: usize = 4096;
/// Bytes waiting for a client at which consumers stop, and at which it is dropped.
pub const CONGESTED_BYTES: usize = 8 * 1024 * 1024;
const WAITING_MAX: usize = 64 * 1024 * 1024;
/// What a client is told that did something wrong.
const PARSER: &str = "Parser Error";
const PAYLOAD: &str = "Maximum Payload Violation";

pub enum Event {
    /// A client is there. Dropping its sender closes the connection once all is sent.
    Open(SyncSender<Vec<u8>>),
    /// A line, and the payload behind it.
    Line(String, Vec<u8>),
    /// Nothing more comes: what the client did wrong, or nothing where it is gone.
    End(&'static str),
}

pub struct Message<'a> {
    pub subject: &'a str,
    pub reply: &'a str,
    pub headers: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn new(subject: &'a str, reply: &'a str, headers: &'a [u8], body: &'a [u8]) -> Self {
        Message {
            subject,
            reply,
            headers,
            body,
        }
    }

    /// `MSG` or `HMSG` for one subscription.
    fn encode(&self, out: &mut Vec<u8>, sid: &str) {
        let (subject, reply, length) = (self.subject, self.reply, self.headers.len());
        let total = length + self.body.len();
        let head = match length {
            0 => format!("MSG {subject} {sid} {reply} {total}\r\n"),
            _ => format!("HMSG {subject} {sid} {reply} {length} {total}\r\n"),
        };
        let head = head.replace("  ", " ");
        out.extend([head.as_bytes(), self.headers, self.body, b"\r\n"].concat());
    }
}

pub fn serve(id: u64, stream: TcpStream, events: SyncSender<(u64, Event)>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut output = stream.try_clone()?;
    // One chunk waits while another is sent: what else comes the router keeps, and bounds.
    let (outbox, chunks) = mpsc::sync_channel::<Vec<u8>>(1);
    std::thread::spawn(move || {
        let _ = chunks.iter().try_for_each(|chunk| output.write_all(&chunk));
        let _ = output.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let (mut input, mut event) = (BufReader::new(stream), Event::Open(outbox));
        loop {
            let is_last = matches!(event, Event::End(_));
            // Waits where the broker is behind: the client is slowed down.
            if events.send((id, event)).is_err() || is_last {
                return;
            }
            event = read(&mut input).unwrap_or_else(Event::End);
        }
    });
    Ok(())
}

fn read(input: &mut impl BufRead) -> Result<Event, &'static str> {
    let mut line = Vec::new();
    let _ = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
    match line.last() {
        Some(b'\n') => {}
        Some(_) => return Err("Maximum Control Line Exceeded"),
        None => return Err(""),
    }
    let line = String::from_utf8(line).map_err(|_| PARSER)?;
    let mut payload = Vec::new();
    if line.starts_with("PUB ") || line.starts_with("HPUB ") {
        let length = line.split_whitespace().next_back().unwrap_or("");
        let length: usize = length.parse().map_err(|_| PARSER)?;
        if length > PAYLOAD_MAX {
            return Err(PAYLOAD);
        }
        payload.resize(length + 2, 0);
        input.read_exact(&mut payload).map_err(|_| "")?;
        if !payload.ends_with(b"\r\n") {
            return Err(PARSER);
        }
        payload.truncate(length);
    }
    Ok(Event::Line(line, payload))
}

struct Sub {
    sid: String,
    subject: String,
    delivered: u64,
    /// Messages after which it ends.
    most: u64,
}

impl Sub {
    fn hears(&self, target: &str) -> bool {
        matches(target.as_bytes(), self.subject.as_bytes())
    }
}

struct Conn {
    outbox: SyncSender<Vec<u8>>,
    /// What it gets once the batch is committed.
    out: Vec<u8>,
    subs: Vec<Sub>,
    is_ended: bool,
}

#[derive(Default)]
pub struct Router {
    /// The time of what is worked off now.
    pub now_ns: i64,
    conns: HashMap<u64, Conn>,
}

/// What a line comes to: a message where it publishes one; else what the client did wrong.
type Taken<'a> = Result<Option<Message<'a>>, &'static str>;

impl Router {
    pub fn open(&mut self, id: u64, outbox: SyncSender<Vec<u8>>) {
        let info = json!({"server_id": "JETSAM", "server_name": "jetsam", "version": "2.10.0",
            "proto": 1, "headers": true, "max_payload": PAYLOAD_MAX, "jetstream": true});
        let conn = Conn {
            outbox,
            out: format!("INFO {info}\r\n").into_bytes(),
            subs: Vec::new(),
            is_ended: false,
        };
        self.conns.insert(id, conn);
        if self.conns.len() > CONNECTIONS_MAX {
            self.close(id, "maximum connections exceeded");
        }
    }

    /// Ends a connection once the batch is committed: answers of the batch are still to go.
    pub fn close(&mut self, id: u64, told: &str) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.is_ended = true;
            if !told.is_empty() {
                conn.out.extend(format!("-ERR '{told}'\r\n").bytes());
            }
        }
    }

    /// Does what concerns the connection alone; a message that is published comes back.
    pub fn take<'a>(&mut self, id: u64, line: &'a str, payload: &'a [u8]) -> Taken<'a> {
        let conn = self.conns.get_mut(&id).ok_or(PARSER)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match &*words {
            _ if conn.is_ended => {}
            ["CONNECT", wish @ ..] => {
                serde_json::from_str::<Value>(&wish.join(" ")).map_err(|_| PARSER)?;
            }
            ["PING"] => conn.out.extend(b"PONG\r\n"),
            ["PONG"] => {}
            ["SUB", _, _] if conn.subs.len() >= SUBSCRIPTIONS_MAX => {
                return Err("maximum subscriptions exceeded");
            }
            ["SUB", subject, sid] if is_valid(subject.as_bytes()) => conn.subs.push(Sub {
                sid: (*sid).to_owned(),
                subject: (*subject).to_owned(),
                delivered: 0,
                most: u64::MAX,
            }),
            ["SUB", _, _] => return Err("Invalid Subject"),
            ["UNSUB", sid, most @ ..] => {
                let most = most.first().unwrap_or(&"0").parse().map_err(|_| PARSER)?;
                for sub in conn.subs.iter_mut().filter(|sub| sub.sid == *sid) {
                    sub.most = most;
                }
                conn.subs.retain(|sub| sub.delivered < sub.most);
            }
            ["PUB", to, reply @ .., _] => return message(to, reply, "0", payload),
            ["HPUB", to, reply @ .., headers, _] => return message(to, reply, headers, payload),
            _ => return Err("Unknown Protocol Operation"),
        }
        Ok(None)
    }

    /// Hands a message to those who subscribed to `target`; whether there are any.
    pub fn deliver(&mut self, target: &str, message: &Message) -> bool {
        let mut is_heard = false;
        for conn in self.conns.values_mut() {
            for sub in conn.subs.iter_mut().filter(|sub| sub.hears(target)) {
                (is_heard, sub.delivered) = (true, sub.delivered + 1);
                // Whoever has more to fetch than that is dropped when all is sent.
                if conn.out.len() <= WAITING_MAX {
                    message.encode(&mut conn.out, &sub.sid);
                }
            }
            conn.subs.retain(|sub| sub.delivered < sub.most);
        }
        is_heard
    }

    /// A message of the broker's own to who wants an answer.
    pub fn send(&mut self, target: &str, headers: &str, body: &str) {
        let message = Message::new(target, "", headers.as_bytes(), body.as_bytes());
        let _ = !target.is_empty() && self.deliver(target, &message);
    }

    /// The most bytes that wait for one who listens there, if anybody does.
    pub fn waiting(&self, target: &str) -> Option<usize> {
        let hears = |conn: &&Conn| conn.subs.iter().any(|sub| sub.hears(target));
        let conns = self.conns.values().filter(hears);
        conns.map(|conn| conn.out.len()).max()
    }

    /// Lets go what gathered. What a client cannot take yet waits, up to a bound.
    pub fn flush(&mut self) {
        self.conns.retain(|_, conn| {
            // Whoever was not given everything has to know.
            let goes_on = !conn.is_ended && conn.out.len() <= WAITING_MAX;
            if conn.out.is_empty() {
                return goes_on;
            }
            match conn.outbox.try_send(std::mem::take(&mut conn.out)) {
                Ok(()) => {}
                Err(TrySendError::Full(out)) => conn.out = out,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            goes_on
        });
    }
}

fn message<'a>(subject: &'a str, reply: &[&'a str], headers: &str, payload: &'a [u8]) -> Taken<'a> {
    let headers = headers.parse().map_err(|_| PARSER)?;
    let (headers, body) = payload.split_at_checked(headers).ok_or(PAYLOAD)?;
    let mut subjects = [&[subject], reply].concat().into_iter();
    if reply.len() > 1 || !subjects.all(|subject| is_valid(subject.as_bytes())) {
        return Err(PARSER);
    }
    let reply = reply.first().unwrap_or(&"");
    Ok(Some(Message::new(subject, reply, headers, body)))
}
