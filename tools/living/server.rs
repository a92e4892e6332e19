//! A real server, and as much of a client as makes a stream.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts it and waits until it has written its ports into `ports`, which it sees as `seen`.
    pub fn start(mut command: Command, ports: &Path, seen: &Path) -> io::Result<Self> {
        command
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(seen)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut server = Self {
            child: command.spawn()?,
            port: 0,
        };
        let ending = format!("_{}.ports", server.child.id());
        let began = Instant::now();
        while server.port == 0 {
            if began.elapsed() > PATIENCE || server.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("no server: {command:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
            server.port = port_in(ports, &ending).unwrap_or(0);
        }
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many block files it holds open.
    pub fn blocks_held(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a process");
        let targets = descriptors
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets
            .filter(|target| target.extension().is_some_and(|ending| ending == "blk"))
            .count()
    }

    /// Keeps it from running, and from changing anything; it lives on.
    pub fn freeze(&self) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-STOP", &pid]).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -STOP {pid}"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port_in(ports: &Path, ending: &str) -> Option<u16> {
    let files = std::fs::read_dir(ports).ok()?.flatten();
    let file: PathBuf = files
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(ending))?;
    let text = std::fs::read_to_string(file).ok()?;
    let document: serde_json::Value = serde_json::from_str(&text).ok()?;
    let url = document["nats"][0].as_str()?;
    url.rsplit(':').next()?.parse().ok()
}

/// A connection to a server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut client = Self {
            stream: BufReader::new(stream),
        };
        client.send("CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n");
        client
    }

    fn send(&mut self, text: &str) {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .expect("a connection");
    }

    /// Publishes and waits for JetStream's answer.
    pub fn ask(&mut self, subject: &str, body: &str) {
        self.send(&format!(
            "PUB {subject} answers {}\r\n{body}\r\n",
            body.len()
        ));
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("an answer");
            if line.starts_with("PING") {
                self.send("PONG\r\n");
            }
            if line.starts_with("MSG answers") {
                let mut answer = String::new();
                self.stream.read_line(&mut answer).expect("an answer");
                assert!(!answer.contains("\"error\""), "{answer}");
                return;
            }
        }
    }
}
