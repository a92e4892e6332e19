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
use jetsam::format::consumer::SequencePair;
use jetsam::format::meta::{ConsumerMeta, StreamMeta};
use jetsam::living;
use jetsam::store::consumers::{Consumer, ConsumerPlace};
use jetsam::store::{Level, NewMessage, ReadError, Reader, Store, StoreOptions, TidyBudget};

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
    let store = Store::open(fs.clone(), entropy.clone(), &idle, dir, &options)?;
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

    let place = ConsumerPlace {
        fs,
        entropy,
        stream_dir: dir,
        stream_name: options.config.name.as_bytes(),
        keys: options.keys.ring(b"ACC"),
    };
    let new = ConsumerMeta::parse(CONSUMER)?;
    let mut kitchen = Consumer::open(&place, "KITCHEN", Some(&new), now_ns())?;
    serve(&reader, &mut kitchen, now_ns)?;
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

/// Delivers what the consumer has not had yet, and acknowledges it.
fn serve(
    reader: &Reader,
    consumer: &mut Consumer,
    now_ns: impl Fn() -> i64,
) -> Result<(), Box<dyn Error>> {
    loop {
        let before = consumer.state().delivered;
        let order = match reader.next(&[b"orders.new"], before.stream + 1) {
            Ok(order) => order,
            Err(ReadError::Beyond { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let delivered = SequencePair {
            consumer: before.consumer + 1,
            stream: order.seq,
        };
        consumer.deliver(delivered, 1, now_ns())?;
        println!("{}: {}", order.seq, String::from_utf8_lossy(order.body()));
        consumer.ack(delivered)?;
    }
}
