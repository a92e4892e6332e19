//! A small broker on the engine: stock NATS clients publish to streams, read them through consumers and keep key-value buckets, in
//! exactly the files of a nats-server.
//!
//! ```text
//! cargo run --example broker -- --dir /tmp/data --listen 127.0.0.1:4222
//! ```
//!
//! A nats-server with `store_dir: /tmp/data` takes the streams up once the broker is stopped, and the other way round. One thread owns
//! everything; each connection has two that move bytes. Commands are worked off in batches: what a batch changed is made as safe as
//! `--level` says (`synced` unless told otherwise) by one call for each stream, and only then anybody hears of it. Redelivery and
//! heartbeats are looked after every 20 ms, what is due in a stream every 100 ms. A write that fails ends the broker before anything of its batch was told: what is
//! there when it is started anew is the truth. SIGINT and SIGTERM close the streams. `JETSAM_KEY` has the key of encrypted streams.
//!
//! Left out: accounts, passwords, TLS, clusters, mirrors and sources, transforms, republishing, retention by interest or as a work queue,
//! streams in memory, counters, schedules, batches, direct gets of several messages, snapshots; of consumers original replay, rate limits,
//! pauses, priority groups, `+NXT`, advisories. A request for one of them is refused, or nobody answers it. Flow control is never asked for:
//! whoever does not keep up is waited for, and dropped when 64 MiB wait for him. Consumers without a durable name live in memory; what
//! others acknowledged without asking for an answer is written 250 ms later, and may be delivered again behind a kill.

#![allow(clippy::disallowed_methods, reason = "an example has a clock and files of its own")]

mod api;
mod consumers;
mod router;
mod streams;
mod wire;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use jetsam::crypto::{Cipher, ServerKey};
use jetsam::env::{Clock, OsClock, OsFileSystem};
use jetsam::living::{self, Idle};
use jetsam::store::Level;
use jetsam::stream::options::Keys;
use signal_hook::consts::{SIGINT, SIGTERM};

use router::Router;
use streams::Stream;
use wire::{Event, Message};

const USAGE: &str = "usage: broker --dir DIR [--listen ADDRESS:PORT] [--level LEVEL] [--cipher chacha|aes] [--store-is-idle]";
const TICK: Duration = Duration::from_millis(20);
/// Commands that are worked off before the streams are committed.
const BATCH: usize = 256;

fn now_ns() -> i64 {
    OsClock.now_ns()
}

/// Everything below `jetstream/$G/streams`.
struct JetStream {
    dir: PathBuf,
    idle: Idle,
    keys: Keys,
    level: Level,
    streams: BTreeMap<String, Stream>,
    /// How many names for consumers were drawn.
    drawn: u64,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("broker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut js = JetStream {
        dir: PathBuf::new(),
        idle: Idle::declared(),
        keys: Keys::default(),
        level: Level::Synced,
        streams: BTreeMap::new(),
        drawn: 0,
    };
    let (mut listen, mut is_declared) = ("127.0.0.1:4222".to_owned(), false);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} wants a value"));
        match arg.as_str() {
            "--dir" => js.dir = PathBuf::from(value()?).join("jetstream/$G/streams"),
            "--listen" => listen = value()?,
            "--level" => {
                let (wish, levels) = (value()?, [Level::Buffered, Level::Written, Level::Synced]);
                let level = levels.into_iter().find(|level| level.to_string() == wish);
                js.level = level.ok_or("levels are buffered, written and synced")?;
            }
            "--cipher" => js.keys.cipher = Some(if value()? == "aes" { Cipher::Aes } else { Cipher::ChaCha }),
            "--store-is-idle" => is_declared = true,
            _ => return Err(USAGE.into()),
        }
    }
    js.keys.current = std::env::var("JETSAM_KEY").ok().map(|key| ServerKey::new(key.into_bytes()));
    std::fs::create_dir_all(&js.dir)?;
    if !is_declared {
        js.idle = living::look(&OsFileSystem, &js.dir).idle().map_err(|living| living.to_string())?;
    }
    js.open()?;
    let listener = TcpListener::bind(listen)?;
    println!("listening on {}", listener.local_addr()?);
    let (events, queue) = mpsc::sync_channel(BATCH);
    let stop = events.clone();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || signals.forever().next().map(|_| stop.send(Event::Stop)));
    std::thread::spawn(move || accept(&listener, &events));
    js.serve(&queue)?;
    js.streams.into_values().try_for_each(|stream| stream.close(now_ns()))
}

fn accept(listener: &TcpListener, events: &SyncSender<Event>) {
    for (id, stream) in (1..).zip(listener.incoming()) {
        if let Err(error) = stream.and_then(|stream| wire::serve(id, stream, events.clone())) {
            eprintln!("broker: connection {id}: {error}");
        }
    }
}

impl JetStream {
    fn open(&mut self) -> Result<(), Box<dyn Error>> {
        for entry in std::fs::read_dir(&self.dir)? {
            let dir = entry?.path();
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if dir.join("meta.inf").exists() {
                let stream =
                    Stream::open(&self.idle, &self.keys, &dir, &name, None, now_ns()).map_err(|error| format!("{name}: {error}"))?;
                self.streams.insert(name, stream);
            }
        }
        Ok(())
    }

    /// Works off what comes until a signal ends it.
    fn serve(&mut self, queue: &Receiver<Event>) -> Result<(), Box<dyn Error>> {
        let mut router = Router::default();
        let (mut ticked_ns, mut tidied_ns, mut has_more) = (now_ns(), now_ns(), false);
        loop {
            let first = queue.recv_timeout(if has_more { Duration::ZERO } else { TICK });
            let now_ns = now_ns();
            for event in first.into_iter().chain(queue.try_iter()).take(BATCH) {
                match event {
                    Event::Stop => return Ok(()),
                    Event::Opened(id, outbox) => router.open(id, outbox),
                    Event::Closed(id, told) => router.close(id, told),
                    Event::Asked(id, op) => _ = router.take(id, op).map(|message| self.publish(&message, id, &mut router, now_ns)),
                }
            }
            if now_ns - ticked_ns >= 100_000_000 {
                ticked_ns = now_ns;
                let tidies = now_ns - tidied_ns >= 10_000_000_000;
                tidied_ns = if tidies { now_ns } else { tidied_ns };
                self.streams.values_mut().for_each(|stream| stream.maintain(now_ns, tidies));
            }
            self.streams.values_mut().try_for_each(|stream| stream.commit(self.level, now_ns, &mut router))?;
            has_more = self.streams.values_mut().fold(false, |more, stream| stream.serve(&mut router, now_ns) | more);
            router.flush();
        }
    }

    /// What of the broker a message is for: the API, a consumer, a stream; and whoever subscribed.
    fn publish(&mut self, message: &Message, from: u64, router: &mut Router, now_ns: i64) {
        let mut heard = router.deliver(&message.subject, message, from, "") > 0;
        let words: Vec<&str> = message.subject.split('.').collect();
        match words.as_slice() {
            ["$JS", "API", words @ ..] => heard |= self.answer(words, message, router, now_ns),
            ["$JS", "ACK", stream, name, words @ ..] => {
                let consumer = self.streams.get_mut(*stream).and_then(|stream| stream.consumers.get_mut(*name));
                heard |= consumer.map(|consumer| consumer.acknowledge(words, message, now_ns)).is_some();
            }
            _ => {
                let takes = |stream: &&mut Stream| stream.takes(&message.subject);
                heard |= self.streams.values_mut().find(takes).map(|stream| stream.publish(message, now_ns)).is_some();
            }
        }
        if !heard && !message.reply.is_empty() {
            router.no_responders(from, &message.reply);
        }
    }
}
