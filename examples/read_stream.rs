//! Lists the streams of a store, and prints the messages of one of them whose subject a filter selects. Nothing is written, and no
//! server needs to run.
//!
//! ```text
//! cargo run --example read_stream -- STORE                    # /data/jetstream, an account's or a stream's directory
//! cargo run --example read_stream -- STORE ORDERS 'orders.>'
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use jetsam::env::{Clock, OsClock, OsFileSystem};
use jetsam::format::subject;
use jetsam::recovery::{Flow, Item, examine, messages};
use jetsam::report::Watch;
use jetsam::stream::options::Options;
use jetsam::stream::{StreamDir, find_streams};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(store) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: read_stream STORE [STREAM [SUBJECT]]");
        return ExitCode::from(2);
    };
    let found = match find_streams(&OsFileSystem, &store) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // The library takes no clock of its own: what is too old by now is decided by the time that is passed in.
    let options = Options::new(OsClock.now_ns());
    let filter = |name: &String| found.streams.iter().find(|stream| stream.name == *name);
    match arguments.next() {
        None => found
            .streams
            .iter()
            .for_each(|stream| describe(stream, &options)),
        Some(name) => {
            let Some(stream) = filter(&name) else {
                eprintln!("there is no stream {name} below {}", store.display());
                return ExitCode::FAILURE;
            };
            let subject = arguments.next().unwrap_or_else(|| ">".to_owned());
            if let Err(why) = print_messages(stream, subject.as_bytes(), &options) {
                eprintln!("{name}: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Says what a server would come up with, and what it would have to tell of it.
fn describe(stream: &StreamDir, options: &Options) {
    let never = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &never,
    };
    let report = examine(&OsFileSystem, stream, options, &watch);
    let account = stream.account.as_deref().unwrap_or("?");
    match &report.state {
        Some(state) => println!(
            "{} / {}: {} messages, {} to {}",
            account, stream.name, state.messages, state.first_seq, state.last_seq
        ),
        None => println!("{} / {}: does not open", account, stream.name),
    }
    for event in &report.events {
        println!("    {}: {}", event.code.as_str(), event.detail);
    }
}

/// Prints what verifies, and names what does not.
fn print_messages(stream: &StreamDir, filter: &[u8], options: &Options) -> Result<(), String> {
    let never = AtomicBool::new(false);
    let watch = Watch {
        progress: &|_| {},
        cancel: &never,
    };
    let mut print = |item: Item<'_>| {
        match item {
            Item::Message(message) if subject::matches(message.subject, filter) => println!(
                "{} {} {}",
                message.seq,
                String::from_utf8_lossy(message.subject),
                String::from_utf8_lossy(message.body)
            ),
            Item::Message(_) => {}
            Item::Unreadable(seq) => println!("{seq} cannot be read"),
        }
        Flow::Continue
    };
    let read = messages(
        &OsFileSystem,
        stream,
        options,
        1..=u64::MAX,
        &mut print,
        &watch,
    );
    read.map_err(|(_, why)| why)
}
