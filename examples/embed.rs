//! A broker's day with the engine, in short: opens a stream in a directory, or makes it; appends, reads, acknowledges, does what is
//! due, and closes. What each step promises stands in `docs/EMBEDDING.md`.
//!
//! ```text
//! cargo run --example embed -- /tmp/data/jetstream/ACC/streams/ORDERS
//! ```
//!
//! Run it again and it goes on where it was; a nats-server with `store_dir: /tmp/data` and an account `ACC` takes the stream up.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use jetsam::env::{Clock, OsClock, OsEntropy, OsFileSystem};
use jetsam::format::meta::{ConsumerMeta, StreamMeta};
use jetsam::living;
use jetsam::store::consumers::{Consumer, Dispatcher};
use jetsam::store::{Level, NewMessage, Store, StoreOptions, TidyBudget};

/// As a server writes it: what is not said is as there.
const STREAM: &[u8] = br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file","max_age":86400000000000,
    "max_msgs":1000000,"max_bytes":-1,"max_msgs_per_subject":-1,"max_consumers":-1,"max_msg_size":-1,"num_replicas":1}"#;
const CONSUMER: &[u8] =
    br#"{"durable_name":"KITCHEN","name":"KITCHEN","ack_policy":"explicit","deliver_policy":"all",
    "replay_policy":"instant","filter_subject":"orders.new","ack_wait":30000000000}"#;

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1).map(PathBuf::from) else {
        eprintln!("usage: embed STREAM_DIR");
        return ExitCode::from(2);
    };
    match run(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> Result<(), Box<dyn Error>> {
    // The library has no clock of its own: every time is passed in.
    let now_ns = || OsClock.now_ns();
    let options = StoreOptions::new(StreamMeta::parse(STREAM)?, now_ns());
    // No server may use the store. A program that knows says `Idle::declared()`; this one looks.
    let idle = living::look(&OsFileSystem, dir).idle();
    let idle = idle.map_err(|living| living.to_string())?;
    let (fs, entropy) = (Arc::new(OsFileSystem), Arc::new(OsEntropy));
    let store = Store::open(fs, entropy, &idle, dir, &options)?;
    let mut writer = store.writer().ok_or("the writer was taken before")?;
    let reader = store.reader();

    // Group commit: several messages gathered in memory, and one sync before they are acknowledged to whoever sent them.
    writer.set_level(Level::Buffered);
    for body in ["one coffee", "two teas", "a glass of water"] {
        let order = NewMessage {
            subject: b"orders.new",
            headers: b"",
            body: body.as_bytes(),
        };
        let appended = writer.append(&order, now_ns())?;
        println!("appended {} as {}", body, appended.seq);
    }
    let watermark = writer.sync()?;
    println!("durable up to {}", watermark.synced_seq);

    let new = ConsumerMeta::parse(CONSUMER)?;
    let place = store.consumer_place();
    let kitchen = Consumer::open(&place, "KITCHEN", Some(&new), now_ns())?;
    let mut kitchen = Dispatcher::new(kitchen, store.reader(), now_ns())?;
    // What was not acknowledged comes again, then what was not delivered yet.
    while let Some(order) = kitchen.next(now_ns())? {
        let body = String::from_utf8_lossy(order.message.body());
        println!("{}: {body}", order.message.seq);
        kitchen.ack(order.sequences())?;
    }
    kitchen.close(Level::Synced, now_ns())?;

    // From time to time: what is due goes, and the files are put in order.
    let done = writer.maintain(now_ns())?;
    println!("{} expired, next at {:?}", done.expired_count, done.next_ns);
    let has_more = writer.tidy(TidyBudget { block_count: 8 })?;
    println!("more to tidy: {has_more}");
    let held = reader.summary();
    println!("{} messages, {} bytes", held.message_count, held.bytes);
    store.close(writer)?;
    Ok(())
}
