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
const PARSER: &str = "Parser Error";
const PAYLOAD: &str = "Maximum Payload Violation";

pub enum Event {
    /// A client is there. Dropping its sender closes the connection once all is sent.
    Open(SyncSender<Vec<u8>>),
    /// A line, and the payload behind it.
    Line(String, Vec<u8>),
    /// Nothing more comes: what the client did wrong, or `None` where it is gone.
    End(Option<&'static str>),
    Stop,
}

pub struct Message {
    pub subject: String,
    pub reply: String,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn new(subject: &str, reply: &str, headers: &[u8], body: &[u8]) -> Self {
        Message {
            subject: subject.to_owned(),
            reply: reply.to_owned(),
            headers: headers.to_vec(),
            body: body.to_vec(),
        }
    }

    /// `MSG` or `HMSG` for one subscription.
    fn encode(&self, out: &mut Vec<u8>, sid: &str, with_headers: bool) {
        let headers = if with_headers { &*self.headers } else { b"" };
        let (subject, reply, length) = (&self.subject, &self.reply, headers.len());
        let total = length + self.body.len();
        let head = match length {
            0 => format!("MSG {subject} {sid} {reply} {total}\r\n"),
            _ => format!("HMSG {subject} {sid} {reply} {length} {total}\r\n"),
        };
        let head = head.replace("  ", " ");
        out.extend([head.as_bytes(), headers, &self.body, b"\r\n"].concat());
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

fn read(input: &mut impl BufRead) -> Result<Event, Option<&'static str>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
    if line.last() != Some(&b'\n') {
        let is_gone = read.unwrap_or(0) == 0;
        return Err((!is_gone).then_some("Maximum Control Line Exceeded"));
    }
    let line = String::from_utf8(line).map_err(|_| Some(PARSER))?;
    let mut payload = Vec::new();
    if line.starts_with("PUB ") || line.starts_with("HPUB ") {
        let length = line.split_whitespace().next_back().unwrap_or("");
        let length: usize = length.parse().map_err(|_| Some(PARSER))?;
        if length > PAYLOAD_MAX {
            return Err(Some(PAYLOAD));
        }
        payload.resize(length + 2, 0);
        input.read_exact(&mut payload).map_err(|_| None)?;
        if !payload.ends_with(b"\r\n") {
            return Err(Some(PARSER));
        }
        payload.truncate(length);
    }
    Ok(Event::Line(line, payload))
}

struct Conn {
    outbox: SyncSender<Vec<u8>>,
    /// What it gets once the batch is committed.
    out: Vec<u8>,
    has_headers: bool,
}

struct Sub {
    conn: u64,
    sid: String,
    subject: String,
    delivered: u64,
    /// Messages after which it ends.
    most: u64,
}

#[derive(Default)]
pub struct Router {
    /// The time of what is worked off now.
    pub now_ns: i64,
    conns: HashMap<u64, Conn>,
    subs: Vec<Sub>,
    ended: Vec<u64>,
}

/// What a line comes to: a message where it publishes one; else what the client did wrong.
type Taken = Result<Option<Message>, &'static str>;

impl Router {
    pub fn open(&mut self, id: u64, outbox: SyncSender<Vec<u8>>) {
        let info = json!({"server_id": "JETSAM", "server_name": "jetsam", "version": "2.10.0",
            "proto": 1, "headers": true, "max_payload": PAYLOAD_MAX, "jetstream": true});
        let conn = Conn {
            outbox,
            out: format!("INFO {info}\r\n").into_bytes(),
            has_headers: false,
        };
        self.conns.insert(id, conn);
        if self.conns.len() > CONNECTIONS_MAX {
            self.close(id, Some("maximum connections exceeded"));
        }
    }

    /// Ends a connection once the batch is committed: answers of the batch are still to go.
    pub fn close(&mut self, id: u64, told: Option<&str>) {
        if let (Some(conn), Some(told)) = (self.conns.get_mut(&id), told) {
            conn.out.extend(format!("-ERR '{told}'\r\n").bytes());
        }
        self.ended.push(id);
    }

    /// Does what concerns the connection alone; a message that is published comes back.
    pub fn take(&mut self, id: u64, line: &str, payload: &[u8]) -> Taken {
        let conn = self.conns.get_mut(&id).ok_or(PARSER)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match &*words {
            _ if self.ended.contains(&id) => {}
            ["CONNECT", wish @ ..] => {
                let wish: Result<Value, _> = serde_json::from_str(&wish.join(" "));
                conn.has_headers = wish.map_err(|_| PARSER)?["headers"] == true;
            }
            ["PING"] => conn.out.extend(b"PONG\r\n"),
            ["PONG"] => {}
            ["SUB", subject, sid] if is_valid(subject.as_bytes()) => {
                self.subs.push(Sub {
                    conn: id,
                    sid: (*sid).to_owned(),
                    subject: (*subject).to_owned(),
                    delivered: 0,
                    most: u64::MAX,
                });
                if self.subs.iter().filter(|sub| sub.conn == id).count() > SUBSCRIPTIONS_MAX {
                    return Err("maximum subscriptions exceeded");
                }
            }
            ["SUB", _, _] => return Err("Invalid Subject"),
            ["UNSUB", sid, most @ ..] => {
                let most = most.first().unwrap_or(&"0").parse().map_err(|_| PARSER)?;
                let subs = self.subs.iter_mut().filter(|sub| sub.conn == id);
                for sub in subs.filter(|sub| sub.sid == *sid) {
                    sub.most = most;
                }
                self.subs.retain(|sub| sub.delivered < sub.most);
            }
            ["PUB", subject, reply @ .., _] => return message(subject, reply, "0", payload),
            ["HPUB", subject, reply @ .., headers, _] => {
                return message(subject, reply, headers, payload);
            }
            _ => return Err("Unknown Protocol Operation"),
        }
        Ok(None)
    }

    /// Hands a message to those who subscribed to `target`; whether there are any.
    pub fn deliver(&mut self, target: &str, message: &Message) -> bool {
        let mut is_heard = false;
        for sub in &mut self.subs {
            if !matches(target.as_bytes(), sub.subject.as_bytes()) {
                continue;
            }
            (is_heard, sub.delivered) = (true, sub.delivered + 1);
            let conn = self.conns.get_mut(&sub.conn);
            // Whoever has more to fetch than that is dropped when all is sent.
            if let Some(conn) = conn.filter(|conn| conn.out.len() <= WAITING_MAX) {
                message.encode(&mut conn.out, &sub.sid, conn.has_headers);
            }
        }
        self.subs.retain(|sub| sub.delivered < sub.most);
        is_heard
    }

    /// A message of the broker's own to who wants an answer: a status, a body, or neither.
    pub fn send(&mut self, target: &str, status: &str, body: &str) {
        let headers = match status {
            "" => String::new(),
            status => format!("NATS/1.0 {status}\r\n\r\n"),
        };
        let message = Message::new(target, "", headers.as_bytes(), body.as_bytes());
        let _ = !target.is_empty() && self.deliver(target, &message);
    }

    /// The most bytes that wait for one who listens there, if anybody does.
    pub fn waiting(&self, target: &str) -> Option<usize> {
        let meant = |sub: &&Sub| matches(target.as_bytes(), sub.subject.as_bytes());
        let subs = self.subs.iter().filter(meant);
        let conns = subs.filter_map(|sub| self.conns.get(&sub.conn));
        conns.map(|conn| conn.out.len()).max()
    }

    /// Lets go what gathered. What a client cannot take yet waits, up to a bound.
    pub fn flush(&mut self) {
        for (id, conn) in &mut self.conns {
            if conn.out.is_empty() {
                continue;
            }
            // Whoever was not given everything has to know.
            let is_over = conn.out.len() > WAITING_MAX;
            match conn.outbox.try_send(std::mem::take(&mut conn.out)) {
                Ok(()) if !is_over => {}
                Err(TrySendError::Full(out)) if !is_over => conn.out = out,
                _ => self.ended.push(*id),
            }
        }
        for id in self.ended.drain(..) {
            self.conns.remove(&id);
            self.subs.retain(|sub| sub.conn != id);
        }
    }
}

fn message(subject: &str, reply: &[&str], headers: &str, payload: &[u8]) -> Taken {
    let headers = headers.parse().map_err(|_| PARSER)?;
    let (headers, body) = payload.split_at_checked(headers).ok_or(PAYLOAD)?;
    let mut subjects = [&[subject], reply].concat().into_iter();
    if reply.len() > 1 || !subjects.all(|subject| is_valid(subject.as_bytes())) {
        return Err(PARSER);
    }
    let reply = reply.first().unwrap_or(&"");
    Ok(Some(Message::new(subject, reply, headers, body)))
}
