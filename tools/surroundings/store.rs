//! The stores that the rows begin with, made by a real server.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jetsam::format::checksum::{HashKey, hex16};
use serde_json::{Value, json};

use crate::Asked;
use crate::nats::{Client, Login, Server};
use crate::tokens::{SYSTEM, unlimited, usual};

/// A store of one account, or of the two accounts A and B, which may be an operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    Global,
    Accounts,
    Operator,
}

/// Fills a new store in `dir`.
pub fn make(asked: &Asked, dir: &Path, kept: Kept) -> io::Result<()> {
    let store = format!("jetstream {{ store_dir: {:?} }}\n", dir.join("store"));
    let server = |more: &str| {
        Server::start(&asked.program, dir, &format!("{store}{more}"))?
            .ok_or_else(|| io::Error::other("no server for the first store"))
    };
    let on = "jetstream: enabled";
    let server = match kept {
        Kept::Global => {
            let server = server("")?;
            fill(&mut server.client(Login::Nobody)?)?;
            server
        }
        Kept::Accounts => {
            let server = server(&accounts(on, on))?;
            for user in ["a", "b"] {
                fill(&mut server.client(Login::User(user))?)?;
            }
            server
        }
        Kept::Operator => {
            let limits = json!({"limits": unlimited()});
            let tokens = usual(&asked.oracle, &limits, &limits)?;
            let server = server(&tokens.config(&[SYSTEM, "A", "B"]))?;
            for account in ["A", "B"] {
                fill(&mut server.client(Login::Token(&tokens.account(account).user))?)?;
            }
            server
        }
    };
    server.stop()
}

/// The accounts A and B, each with a user, and what else is said of them.
pub fn accounts(a: &str, b: &str) -> String {
    format!(
        "accounts {{\n A {{ users: [ {{ user: a, password: p }} ]\n  {a} }}\n B {{ users: [ {{ user: b, password: p }} ]\n  {b} }}\n}}\n"
    )
}

/// BIG and MID, of limits retention; I, of interest, with the consumers A (has acknowledged 40 of 60) and B (10); Q, a work
/// queue with two consumers, of which one has taken 5.
fn fill(client: &mut Client) -> io::Result<()> {
    for (name, max_bytes, retention) in [
        ("BIG", 4_000_000, "limits"),
        ("MID", 2_000_000, "limits"),
        ("I", -1, "interest"),
        ("Q", -1, "workqueue"),
    ] {
        let subject = format!("{}.>", name.to_lowercase());
        let wish = json!({"name": name, "subjects": [subject], "max_bytes": max_bytes, "retention": retention, "storage": "file"});
        client.api(&format!("STREAM.CREATE.{name}"), &wish)?;
    }
    consumer(client, "BIG", "C", &json!({"ack_policy": "explicit"}))?;
    consumer(
        client,
        "I",
        "A",
        &json!({"ack_policy": "all", "max_ack_pending": 100}),
    )?;
    consumer(client, "I", "B", &json!({"ack_policy": "all"}))?;
    consumer(
        client,
        "Q",
        "X",
        &json!({"ack_policy": "explicit", "filter_subject": "q.x", "max_ack_pending": 100}),
    )?;
    consumer(
        client,
        "Q",
        "Y",
        &json!({"ack_policy": "explicit", "filter_subject": "q.y"}),
    )?;
    for (subject, count) in [
        ("big.a", 30),
        ("mid.a", 20),
        ("i.a", 60),
        ("q.x", 10),
        ("q.y", 10),
    ] {
        client.publish(subject, count)?;
    }
    client.take("I", "A", 40, false)?;
    client.take("I", "B", 10, false)?;
    client.take("Q", "X", 5, true)
}

fn consumer(client: &mut Client, stream: &str, name: &str, settings: &Value) -> io::Result<()> {
    let mut config = settings.clone();
    config["durable_name"] = json!(name);
    let wish = json!({"stream_name": stream, "config": config});
    client
        .api(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &wish)
        .map(|_| ())
}

/// Changes a stream's metadata, and the checksum with it.
pub fn edit(dir: &Path, change: impl FnOnce(&mut Value)) -> io::Result<()> {
    let mut meta: Value = serde_json::from_slice(&fs::read(dir.join("meta.inf"))?)?;
    change(&mut meta);
    let name = meta["name"].as_str().unwrap_or_default().to_owned();
    let inf = meta.to_string();
    let sum = hex16(HashKey::for_stream(name.as_bytes()).hash64(&[inf.as_bytes()]));
    fs::write(dir.join("meta.inf"), inf)?;
    fs::write(dir.join("meta.sum"), sum)
}

/// Every file below `dir` with its bytes.
pub fn tree(dir: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path
                    .strip_prefix(dir)
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                files.insert(name, fs::read(&path)?);
            }
        }
    }
    Ok(files)
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for (name, bytes) in tree(from)? {
        let path = to.join(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}
