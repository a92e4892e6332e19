//! The broker of `examples/broker` as a process.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running broker, killed when dropped.
pub struct Broker {
    child: Child,
    pub port: u16,
}

impl Broker {
    /// Starts `program` on a directory, with further arguments and the key of its streams.
    pub fn start(program: &Path, dir: &Path, more: &[&str], key: Option<&str>) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(dir).args(["127.0.0.1:0"]).args(more);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .env_remove("JETSAM_KEY")
            .envs(key.map(|key| ("JETSAM_KEY", key)));
        let mut broker = Broker {
            child: command.spawn()?,
            port: 0,
        };
        let mut line = String::new();
        if let Some(output) = broker.child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        broker.port =
            port.ok_or_else(|| io::Error::other(format!("the broker does not start: {line:?}")))?;
        Ok(broker)
    }

    /// Stops it the ordinary way. An error where it did not close all its streams.
    pub fn stop(mut self) -> io::Result<()> {
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        match self.child.wait()?.success() {
            true => Ok(()),
            false => Err(io::Error::other("the broker did not close its streams")),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
