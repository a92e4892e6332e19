//! A real server that is given the steps of a history.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jetsam::testing::history::{PAUSE_NS, Setup, Step};
use serde_json::{Value, json};

use crate::nats::Client;

/// How long a server may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(20);
/// What happens behind an answer is done by then: a compression, a directory that goes.
const SETTLE: Duration = Duration::from_millis(250);
/// A published message has reached the consumers by then.
const BREATH: Duration = Duration::from_millis(30);
/// The periodic pass of a server that is to show it, and how long until it has come.
const PASS: Duration = Duration::from_secs(1);

/// A running server.
pub struct Server {
    program: PathBuf,
    dir: PathBuf,
    child: Child,
    client: Client,
    /// Where acknowledgements go, by consumer and sequence.
    acks: BTreeMap<(usize, u64), String>,
}

impl Server {
    pub fn start(program: &Path, dir: &Path, passes: bool) -> io::Result<Self> {
        let store = dir.join("data");
        let ports = dir.join("ports");
        let _ = std::fs::remove_dir_all(&ports);
        std::fs::create_dir_all(&ports)?;
        let pass = if passes {
            format!(", sync_interval: \"{}s\"", PASS.as_secs())
        } else {
            String::new()
        };
        let config = dir.join("server.conf");
        let text = format!(
            "listen: \"127.0.0.1:-1\"\nports_file_dir: {ports:?}\njetstream: {{ store_dir: {store:?}{pass} }}\n"
        );
        std::fs::write(&config, text)?;
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        match port(&ports).and_then(Client::connect) {
            Ok(client) => Ok(Self {
                program: program.to_owned(),
                dir: dir.to_owned(),
                child,
                client,
                acks: BTreeMap::new(),
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn api(&mut self, verb: &str, body: &str) -> io::Result<Value> {
        let answer = self
            .client
            .ask(&format!("$JS.API.{verb}"), "", body.as_bytes())?;
        let answer: Value = serde_json::from_slice(&answer)?;
        match answer.get("error") {
            Some(error) => Err(io::Error::other(format!("{verb}: {error}"))),
            None => Ok(answer),
        }
    }

    pub fn create(&mut self, setup: &Setup) -> io::Result<()> {
        let stream = setup.stream;
        self.api(
            &format!("STREAM.CREATE.{stream}"),
            &format!("{{{}}}", setup.request()),
        )?;
        for consumer in &setup.consumers {
            let config = Setup::consumer_request(consumer);
            let body = format!("{{\"stream_name\":\"{stream}\",\"config\":{{{config}}}}}");
            let verb = format!("CONSUMER.DURABLE.CREATE.{stream}.{}", consumer.name);
            self.api(&verb, &body)?;
        }
        Ok(())
    }

    /// Goes one step; `next` is the one after it.
    pub fn go(&mut self, setup: &Setup, step: &Step, next: Option<&Step>) -> io::Result<()> {
        let stream = setup.stream;
        match step {
            Step::Publish {
                subject,
                headers,
                body,
            } => {
                let answer = self.client.ask(subject, headers, body.as_bytes())?;
                let answer: Value = serde_json::from_slice(&answer)?;
                if answer.get("error").is_some() {
                    return Err(io::Error::other(format!("publishing: {answer}")));
                }
            }
            Step::Delete { seq, wipe } => {
                let body = json!({ "seq": seq, "no_erase": !wipe }).to_string();
                self.api(&format!("STREAM.MSG.DELETE.{stream}"), &body)?;
            }
            Step::PurgeAll => self.purge(stream, &json!({}))?,
            Step::PurgeSubject { filter, keep: 0 } => {
                self.purge(stream, &json!({ "filter": filter }))?;
            }
            Step::PurgeSubject { filter, keep } => {
                self.purge(stream, &json!({ "filter": filter, "keep": keep }))?;
            }
            Step::PurgeBelow { seq } => self.purge(stream, &json!({ "seq": seq }))?,
            Step::Fetch { consumer, batch } => self.fetch(setup, *consumer, *batch)?,
            Step::Ack { consumer, seq } => {
                let Some(reply) = self.acks.remove(&(*consumer, *seq)) else {
                    return Err(io::Error::other(format!("{seq} was never delivered")));
                };
                self.client.ask(&reply, "", b"+ACK")?;
            }
            Step::Pause => sleep(Duration::from_nanos(PAUSE_NS.unsigned_abs())),
            Step::WriteIndex => return Err(io::Error::other("no client can ask for an index")),
            Step::Sync => sleep(PASS + SETTLE),
            Step::Restart => self.restart(next == Some(&Step::Sync))?,
        }
        Ok(())
    }

    fn purge(&mut self, stream: &str, body: &Value) -> io::Result<()> {
        self.api(&format!("STREAM.PURGE.{stream}"), &body.to_string())?;
        // The old blocks are removed behind the answer.
        sleep(Duration::from_millis(2));
        Ok(())
    }

    /// Asks again where less came than was asked for: a message just published may not have reached the consumer yet.
    fn fetch(&mut self, setup: &Setup, consumer: usize, batch: u64) -> io::Result<()> {
        let name = setup.consumers.get(consumer).map_or("", |one| one.name);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{name}", setup.stream);
        let mut wanted = batch;
        for _ in 0..2 {
            let body = json!({ "batch": wanted, "no_wait": true }).to_string();
            self.client.ask_for_many(&subject, "", body.as_bytes())?;
            while wanted > 0 {
                let delivery = self.client.next()?;
                if delivery.headers.starts_with("NATS/1.0 4") {
                    break;
                }
                // $JS.ACK.STREAM.CONSUMER.deliveries.stream.consumer.time.pending
                let seq = delivery.reply.split('.').nth(5);
                let Some(seq) = seq.and_then(|word| word.parse().ok()) else {
                    let reply = delivery.reply;
                    return Err(io::Error::other(format!("a reply of {reply:?}")));
                };
                self.acks.insert((consumer, seq), delivery.reply);
                wanted -= 1;
            }
            if wanted == 0 {
                break;
            }
            sleep(BREATH);
        }
        Ok(())
    }

    /// What the server says of the stream.
    pub fn state(&mut self, setup: &Setup) -> io::Result<Value> {
        let verb = format!("STREAM.INFO.{}", setup.stream);
        let mut info = self.api(&verb, "{\"deleted_details\":true}")?;
        Ok(info["state"].take())
    }

    fn restart(&mut self, passes: bool) -> io::Result<()> {
        sleep(SETTLE);
        self.terminate()?;
        let acks = std::mem::take(&mut self.acks);
        *self = Self::start(&self.program, &self.dir, passes)?;
        self.acks = acks;
        Ok(())
    }

    fn terminate(&mut self) -> io::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status()?;
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("the server does not stop"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it, the hard way if it is to be killed.
    pub fn end(mut self, kill: bool) -> io::Result<()> {
        sleep(SETTLE);
        if kill {
            self.child.kill()?;
            self.child.wait().map(|_| ())
        } else {
            self.terminate()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port that the server's file names.
fn port(ports: &Path) -> io::Result<u16> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20));
        for entry in std::fs::read_dir(ports)?.flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let Ok(known) = serde_json::from_str::<Value>(&text) else {
                continue;
            };
            let url = known["nats"][0].as_str().unwrap_or_default();
            if let Some(port) = url.rsplit(':').next().and_then(|port| port.parse().ok()) {
                return Ok(port);
            }
        }
    }
    Err(io::Error::other("the server does not come up"))
}
