//! A nats-server as a process, and just enough of a client to fill it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a server may take to come up or to go down.
const PATIENCE: Duration = Duration::from_secs(40);

/// A port nobody listens on. It is none of those that the system hands out: it would give it to somebody else before it is used.
pub fn free_port() -> io::Result<u16> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    const LOWEST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    let own = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + own.wrapping_add(step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// A running server.
pub struct Server {
    child: Child,
    pub client_port: u16,
    monitor_port: u16,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts `program` in `dir` with a configuration, to which the ports are added at its end. `None` where it ends before
    /// it is ready.
    pub fn start(program: &Path, dir: &Path, config: &str) -> io::Result<Option<Self>> {
        let mut server = Server::spawn(program, dir, config)?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if server.child.try_wait()?.is_some() {
                return Ok(None);
            }
            if server.log().contains("Server is ready") {
                return Ok(Some(server));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("the server neither ended nor got ready"))
    }

    /// Starts it without waiting.
    pub fn spawn(program: &Path, dir: &Path, config: &str) -> io::Result<Self> {
        let (client_port, monitor_port) = (free_port()?, free_port()?);
        let file = dir.join("server.conf");
        let log = dir.join("server.log");
        let ports = format!("listen: 127.0.0.1:{client_port}\nhttp: 127.0.0.1:{monitor_port}\n");
        fs::write(&file, format!("{config}\n{ports}"))?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .current_dir(dir)
            .env("TMPDIR", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Server {
            child,
            client_port,
            monitor_port,
            log,
        })
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it the ordinary way.
    pub fn stop(mut self) -> io::Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("the server does not stop"))
    }

    /// What its monitoring says of JetStream.
    pub fn jsz(&self) -> io::Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitor_port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /jsz?accounts=true&streams=true&consumers=true HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(io::Error::other)
    }

    /// A client of it.
    pub fn client(&self, login: Login<'_>) -> io::Result<Client> {
        Client::connect(self.client_port, login)
    }
}

/// How a client says who it is.
#[derive(Clone, Copy)]
pub enum Login<'a> {
    /// Not at all.
    Nobody,
    /// A user, whose password is p.
    User(&'a str),
    /// A user's token that needs no signature.
    Token(&'a str),
}

/// A client.
pub struct Client {
    reader: BufReader<TcpStream>,
    inboxes: u64,
}

impl Client {
    fn connect(port: u16, login: Login<'_>) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Small requests would wait for each other's acknowledgement otherwise.
        stream.set_nodelay(true)?;
        let mut client = Client {
            reader: BufReader::new(stream),
            inboxes: 0,
        };
        let mut wish =
            json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true});
        match login {
            Login::Nobody => {}
            Login::User(user) => {
                wish["user"] = json!(user);
                wish["pass"] = json!("p");
            }
            Login::Token(token) => wish["jwt"] = json!(token),
        }
        client.line()?;
        client.send(&format!("CONNECT {wish}\r\nPING\r\n"))?;
        while !client.line()?.starts_with("PONG") {}
        Ok(client)
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line.is_empty() || line.starts_with("-ERR") {
            return Err(io::Error::other(format!("the server hangs up: {line:?}")));
        }
        Ok(line)
    }

    /// The next message: its reply subject and its body.
    fn message(&mut self) -> io::Result<(Option<String>, Vec<u8>)> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |text: &str| text.parse::<usize>().unwrap_or(0);
            let (reply, headers, length) = match words.as_slice() {
                ["MSG", _, _, reply, length] => (Some(*reply), 0, number(length)),
                ["MSG", _, _, length] => (None, 0, number(length)),
                ["HMSG", _, _, reply, headers, length] => {
                    (Some(*reply), number(headers), number(length))
                }
                ["HMSG", _, _, headers, length] => (None, number(headers), number(length)),
                ["PING"] => {
                    self.send("PONG\r\n")?;
                    continue;
                }
                _ => continue,
            };
            let mut body = vec![0; length + 2];
            self.reader.read_exact(&mut body)?;
            body.truncate(length);
            return Ok((reply.map(str::to_owned), body.split_off(headers)));
        }
    }

    /// Asks, and collects `count` answers.
    fn ask(
        &mut self,
        subject: &str,
        body: &str,
        count: u64,
    ) -> io::Result<Vec<(Option<String>, Vec<u8>)>> {
        self.inboxes += 1;
        let (id, length) = (self.inboxes, body.len());
        self.send(&format!(
            "SUB _INBOX.{id} {id}\r\nPUB {subject} _INBOX.{id} {length}\r\n{body}\r\n"
        ))?;
        let answers = (0..count).map(|_| self.message()).collect();
        self.send(&format!("UNSUB {id}\r\n"))?;
        answers
    }

    /// Asks JetStream; an error is an error.
    pub fn api(&mut self, subject: &str, body: &Value) -> io::Result<Value> {
        let answers = self.ask(&format!("$JS.API.{subject}"), &body.to_string(), 1)?;
        let answer: Value = serde_json::from_slice(&answers[0].1).map_err(io::Error::other)?;
        match answer.get("error") {
            Some(error) => Err(io::Error::other(format!("{subject}: {error}"))),
            None => Ok(answer),
        }
    }

    /// Publishes `count` messages, each acknowledged.
    pub fn publish(&mut self, subject: &str, count: u64) -> io::Result<()> {
        for number in 0..count {
            self.ask(subject, &format!("message {number}"), 1)?;
        }
        Ok(())
    }

    /// Takes `count` messages through a pull consumer and acknowledges each, or only the last.
    pub fn take(&mut self, stream: &str, consumer: &str, count: u64, each: bool) -> io::Result<()> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let batch = json!({"batch": count, "expires": 5_000_000_000_u64}).to_string();
        let taken = self.ask(&subject, &batch, count)?;
        let replies: Vec<String> = taken.into_iter().filter_map(|(reply, _)| reply).collect();
        let from = if each { 0 } else { replies.len() - 1 };
        for reply in &replies[from..] {
            // Asked for, so that it is certain to have arrived.
            self.ask(reply, "+ACK", 1)?;
        }
        Ok(())
    }
}
