//! Connections and their subscriptions: who gets a message.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use jetsam::format::subject::matches;
use serde_json::{Value, json};

use crate::wire::{Message, Op, Outbox, PAYLOAD_MAX, WAITING_MAX, encode};

const CONNECTIONS_MAX: usize = 1024;
const SUBSCRIPTIONS_MAX: usize = 4096;
/// Bytes waiting for a client at which consumers stop delivering to it.
const CONGESTED_BYTES: usize = 8 * 1024 * 1024;

struct Conn {
    outbox: Outbox,
    /// What it gets once the batch is committed.
    out: Vec<u8>,
    /// What it said in `CONNECT`.
    wish: Value,
}

struct Sub {
    conn: u64,
    sid: String,
    subject: String,
    queue: String,
    /// Messages after which it ends; 0 for never.
    most: u64,
    delivered: u64,
}

#[derive(Default)]
pub struct Router {
    conns: HashMap<u64, Conn>,
    subs: Vec<Sub>,
    turn: usize,
}

impl Router {
    pub fn open(&mut self, id: u64, outbox: Outbox) {
        let info = json!({"server_id": "JETSAM", "server_name": "jetsam", "version": "2.10.0", "proto": 1, "headers": true,
            "max_payload": PAYLOAD_MAX, "jetstream": true, "client_id": id});
        let out = format!("INFO {info}\r\n").into_bytes();
        self.conns.insert(id, Conn { outbox, out, wish: Value::Null });
        if self.conns.len() > CONNECTIONS_MAX {
            self.close(id, Some("maximum connections exceeded"));
        }
    }

    pub fn close(&mut self, id: u64, told: Option<&str>) {
        if let Some(mut conn) = self.conns.remove(&id) {
            conn.out.extend(told.map(|told| format!("-ERR '{told}'\r\n")).unwrap_or_default().bytes());
            conn.outbox.send(conn.out);
        }
        self.subs.retain(|sub| sub.conn != id);
    }

    fn wants(&self, id: u64, what: &str) -> Option<bool> {
        self.conns.get(&id)?.wish[what].as_bool()
    }

    /// Does what concerns the connection alone; a message that is published comes back.
    pub fn take(&mut self, id: u64, op: Op) -> Option<Message> {
        let conn = self.conns.get_mut(&id)?;
        if conn.wish["verbose"] == true && !matches!(op, Op::Ping | Op::Pong) {
            conn.out.extend(b"+OK\r\n");
        }
        match op {
            Op::Connect(wish) => conn.wish = wish,
            Op::Ping => conn.out.extend(b"PONG\r\n"),
            Op::Pong => {}
            Op::Sub { subject, queue, sid } => {
                if self.subs.iter().filter(|sub| sub.conn == id).count() >= SUBSCRIPTIONS_MAX {
                    self.close(id, Some("maximum subscriptions exceeded"));
                } else {
                    self.subs.push(Sub { conn: id, sid, subject, queue, most: 0, delivered: 0 });
                }
            }
            Op::Unsub { sid, most } => {
                let is_meant = |sub: &Sub| sub.conn == id && sub.sid == sid;
                self.subs.retain(|sub| !is_meant(sub) || sub.delivered < most);
                self.subs.iter_mut().filter(|sub| is_meant(sub)).for_each(|sub| sub.most = most);
            }
            Op::Publish(message) => return Some(message),
        }
        None
    }

    /// Hands a message to those who subscribed to `target`: to all, and to one of each queue group; with `group` to that group
    /// alone. How many.
    pub fn deliver(&mut self, target: &str, message: &Message, from: u64, group: &str) -> usize {
        self.turn += 1;
        let echoes = self.wants(from, "echo") != Some(false);
        let mut chosen: Vec<usize> = Vec::new();
        let mut queues: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, sub) in self.subs.iter().enumerate() {
            let is_meant = (echoes || sub.conn != from) && (group.is_empty() || sub.queue == group);
            if is_meant && matches(target.as_bytes(), sub.subject.as_bytes()) {
                match sub.queue.as_str() {
                    "" => chosen.push(place),
                    queue => queues.entry(queue).or_default().push(place),
                }
            }
        }
        chosen.extend(queues.values().map(|members| members[self.turn % members.len()]));
        for place in &chosen {
            let sub = &mut self.subs[*place];
            sub.delivered += 1;
            // Whoever has more to fetch than that is dropped when all is sent.
            if let Some(conn) = self.conns.get_mut(&sub.conn).filter(|conn| conn.out.len() <= WAITING_MAX) {
                encode(&mut conn.out, &sub.sid, message, conn.wish["headers"] == true);
            }
        }
        self.subs.retain(|sub| sub.most == 0 || sub.delivered < sub.most);
        chosen.len()
    }

    /// A message of the broker's own.
    pub fn send(&mut self, target: &str, headers: &str, body: String) {
        let (headers, body) = (headers.as_bytes().to_vec(), body.into_bytes());
        let message = Message { subject: target.to_owned(), reply: String::new(), headers, body };
        self.deliver(target, &message, 0, "");
    }

    /// Tells who asked that nobody answers.
    pub fn no_responders(&mut self, from: u64, reply: &str) {
        if self.wants(from, "no_responders") == Some(true) {
            self.send(reply, "NATS/1.0 503\r\n\r\n", String::new());
        }
    }

    fn hearers(&self, target: &str) -> impl Iterator<Item = &Conn> {
        let subs = self.subs.iter().filter(move |sub| matches(target.as_bytes(), sub.subject.as_bytes()));
        subs.filter_map(|sub| self.conns.get(&sub.conn))
    }

    pub fn is_heard(&self, target: &str) -> bool {
        self.hearers(target).next().is_some()
    }

    /// Whether all who listen there keep up.
    pub fn is_clear(&self, target: &str) -> bool {
        let backlog = |conn: &Conn| conn.out.len() + conn.outbox.waiting_bytes.load(Ordering::Relaxed);
        self.hearers(target).all(|conn| backlog(conn) < CONGESTED_BYTES)
    }

    /// Lets go what gathered. Slow clients are dropped.
    pub fn flush(&mut self) {
        let mut slow = Vec::new();
        for (id, conn) in self.conns.iter_mut().filter(|(_, conn)| !conn.out.is_empty()) {
            if !conn.outbox.send(std::mem::take(&mut conn.out)) {
                slow.push(*id);
            }
        }
        slow.into_iter().for_each(|id| self.close(id, None));
    }
}
