//! A small broker on the engine: stock NATS clients publish to streams, read them through consumers and
//! keep key-value buckets, in exactly the files of a nats-server.
//!
//! ```text
//! cargo run --example broker -- /tmp/data 127.0.0.1:4222
//! ```
//!
//! Once it is stopped a nats-server with `store_dir: /tmp/data` takes the streams up, and the other way
//! round; none may run meanwhile. `JETSAM_KEY` has the key of encrypted streams, `aes` behind the address
//! their cipher. One thread owns everything; each connection has two that move bytes. Commands are worked
//! off in batches: what a batch changed is synced by one call for each stream, and only then anybody hears
//! of it. A write that fails ends the broker before. SIGINT and SIGTERM close the streams.
//!
//! It does publishing with expectations, ids and roll-ups, gets, pull and push consumers, lists of streams,
//! and what key-value buckets need of those. It refuses or does not answer anything else: updates and
//! deletion of streams and consumers, queue groups, accounts, TLS, clusters, mirrors. A client for whom
//! 64 MiB wait is dropped. What was acknowledged without asking for an answer is written 250 ms later.
//! All consumers are in files; one without a durable name goes when nobody listens.

mod api;
mod clients;
mod consumers;
mod streams;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{Clock, OsClock, OsFileSystem};
use jetsam::store::{Level, Store, StoreOptions};
use jetsam::stream::options::Keys;
use signal_hook::consts::{SIGINT, SIGTERM};

use clients::{Event, Message, Router};
use consumers::Consumer;
use streams::Stream;

const TICK: Duration = Duration::from_millis(20);
/// What is due is looked after this often, and what nobody waits for is made safe.
const DUE_NS: i64 = 250_000_000;
/// Commands that are worked off before the streams are committed.
const BATCH: usize = 256;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Everything below `jetstream/$G/streams`.
struct JetStream {
    dir: PathBuf,
    keys: Keys,
    streams: BTreeMap<String, Stream>,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, listen, cipher @ ..] = &*args else {
        return Err("usage: broker DIR ADDRESS:PORT [aes]".into());
    };
    let dir = Path::new(dir).join("jetstream/$G/streams");
    let (mut keys, streams) = (Keys::default(), BTreeMap::new());
    let key = std::env::var("JETSAM_KEY").ok();
    keys.current = key.map(|key| ServerKey::new(key.into_bytes()));
    keys.cipher = cipher.first().map(|_| Cipher::Aes);
    let mut js = JetStream { dir, keys, streams };
    js.open()?;
    let listener = TcpListener::bind(listen)?;
    println!("listening on {}", listener.local_addr()?);
    let (events, queue) = mpsc::sync_channel(BATCH);
    std::thread::spawn(move || {
        for (id, stream) in (1..).zip(listener.incoming()) {
            let _ = stream.and_then(|stream| clients::serve(id, stream, events.clone()));
        }
    });
    js.serve(&queue)?;
    let mut streams = js.streams.into_values();
    streams.try_for_each(|stream| stream.close(OsClock.now_ns()))
}

impl JetStream {
    fn open(&mut self) -> Outcome<()> {
        for name in Store::names(&OsFileSystem, &self.dir)? {
            let options = StoreOptions::existing(&name, OsClock.now_ns());
            let opened = self.open_stream(&name, options);
            opened.map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    fn open_stream(&mut self, name: &str, mut options: StoreOptions) -> Outcome<&mut Stream> {
        (options.keys, options.level) = (self.keys.clone(), Level::Buffered);
        let stream = Stream::open(&self.dir.join(name), &options)?;
        Ok(self.streams.entry(name.to_owned()).or_insert(stream))
    }

    /// Works off what comes until a signal ends it.
    fn serve(&mut self, queue: &Receiver<(u64, Event)>) -> Outcome<()> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, stop.clone())?;
        }
        let (mut router, mut done_ns, mut wait) = (Router::default(), 0, TICK);
        while !stop.load(Ordering::Relaxed) {
            let first = queue.recv_timeout(wait);
            router.now_ns = OsClock.now_ns();
            for (id, event) in first.into_iter().chain(queue.try_iter()).take(BATCH) {
                match event {
                    Event::Open(outbox) => router.open(id, outbox),
                    Event::End(told) => router.close(id, told),
                    Event::Line(line, payload) => match router.take(id, &line, &payload) {
                        Ok(Some(message)) => self.publish(&message, &mut router),
                        Ok(None) => {}
                        Err(told) => router.close(id, told),
                    },
                }
            }
            let (is_due, mut has_more) = (router.now_ns - done_ns >= DUE_NS, false);
            for stream in self.streams.values_mut() {
                stream.commit(is_due, router.now_ns)?;
                has_more |= stream.serve(&mut router);
            }
            done_ns = if is_due { router.now_ns } else { done_ns };
            wait = if has_more { Duration::ZERO } else { TICK };
            router.flush();
        }
        Ok(())
    }

    /// What of the broker a message is for: the API, a consumer, a stream; and who subscribed.
    fn publish(&mut self, message: &Message, router: &mut Router) {
        let is_heard = router.deliver(message.subject, message);
        let words: Vec<&str> = message.subject.split('.').collect();
        let taken = match &*words {
            ["$JS", "API", "CONSUMER", "MSG", "NEXT", stream, name] => {
                let consumer = self.consumer(stream, name);
                consumer.map(|it| it.pull(message, router))
            }
            ["$JS", "API", words @ ..] => self.answer(words, message, router),
            ["$JS", "ACK", stream, name, ..] => {
                let consumer = self.consumer(stream, name);
                consumer.map(|it| it.acknowledge(message, router))
            }
            _ => {
                let mut streams = self.streams.values_mut();
                let stream = streams.find(|it| it.config.takes(message.subject.as_bytes()));
                stream.map(|it| it.publish(message, router))
            }
        };
        if taken.is_none() && !is_heard {
            router.send(message.reply, "NATS/1.0 503\r\n\r\n", "");
        }
    }

    fn consumer(&mut self, stream: &str, name: &str) -> Option<&mut Consumer> {
        self.streams.get_mut(stream)?.consumers.get_mut(name)
    }
}
