//! Three servers on this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jetsam::preflight::Start;
use serde_json::json;

use crate::Asked;
use crate::judge::{Foretold, differences, foretell, up};
use crate::nats::{Client, Login, Server, free_port};
use crate::store::{self, Kept};

/// An orphan is deleted 30 seconds after its server has caught up with a leader.
const PATIENCE: Duration = Duration::from_secs(90);

/// Three directories, and the ports of their routes.
struct Nodes<'a> {
    asked: &'a Asked,
    dirs: [PathBuf; 3],
    ports: [u16; 3],
    count: usize,
    wrong: usize,
}

fn name_of(node: usize) -> String {
    format!("n{}", node + 1)
}

impl Nodes<'_> {
    fn config(&self, node: usize, name: &str, more: &str) -> String {
        let routes: Vec<String> = self
            .ports
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        format!(
            "jetstream {{ store_dir: {:?} }}\nserver_name: {name}\ncluster {{ name: C, listen: \"127.0.0.1:{}\", routes: [{}] }}\n{more}",
            self.dirs[node].join("store"),
            self.ports[node],
            routes.join(", ")
        )
    }

    fn foretell(&self, node: usize, config: &str) -> io::Result<Foretold> {
        let file = self.dirs[node].join("server.conf");
        fs::write(&file, config)?;
        foretell(self.asked, &file, &self.dirs[node].join("store"))
    }

    fn start(&self, configs: &[String]) -> io::Result<Vec<Server>> {
        let servers = configs.iter().enumerate();
        servers
            .map(|(node, config)| Server::spawn(&self.asked.program, &self.dirs[node], config))
            .collect()
    }

    fn configs(&self, more: &str) -> Vec<String> {
        (0..3)
            .map(|node| self.config(node, &name_of(node), more))
            .collect()
    }

    fn say(&mut self, row: &str, found: &[String]) {
        self.count += 1;
        self.wrong += usize::from(!found.is_empty());
        println!(
            "{} {row}",
            if found.is_empty() {
                "ok      "
            } else {
                "DISAGREE"
            }
        );
        for difference in found {
            println!("           {difference}");
        }
    }

    /// Holds that every stream foretold as deleted is gone after a while, its directory with it.
    fn await_deletion(&mut self, row: &str, code: &str, foretold: &Foretold) {
        let mut found = Vec::new();
        if !foretold.codes().contains(code) {
            found.push(format!("{code} is not said: {:?}", foretold.codes()));
        }
        let doomed = foretold.forecasts.iter();
        let doomed: Vec<_> = doomed
            .filter(|forecast| forecast.start == Start::StreamDeleted)
            .collect();
        if doomed.is_empty() || doomed.iter().all(|forecast| forecast.lost == 0) {
            found.push("no message is foretold as lost".into());
        }
        let began = Instant::now();
        let there = || {
            doomed
                .iter()
                .filter(|forecast| Path::new(&forecast.dir).exists())
                .count()
        };
        while there() > 0 && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(200));
        }
        if there() > 0 {
            found.push(format!(
                "{} of {} streams are still there",
                there(),
                doomed.len()
            ));
        }
        let row = format!(
            "{row}: {} streams gone after {} s",
            doomed.len(),
            began.elapsed().as_secs()
        );
        self.say(&row, &found);
    }
}

/// A client of a cluster that has a leader.
fn client(server: &Server) -> io::Result<Client> {
    let began = Instant::now();
    loop {
        let asked = server.client(Login::Nobody).and_then(|mut client| {
            client.api("INFO", &json!({}))?;
            Ok(client)
        });
        match asked {
            Ok(client) => return Ok(client),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn stop(servers: Vec<Server>) -> io::Result<()> {
    servers.into_iter().try_for_each(Server::stop)
}

/// Every row; how many there were, and how many came out otherwise than foretold.
pub fn run(asked: &Asked) -> io::Result<(usize, usize)> {
    let scratch = tempfile::tempdir()?;
    let dirs = [0, 1, 2].map(|node| scratch.path().join(name_of(node)));
    for dir in &dirs {
        fs::create_dir_all(dir)?;
    }
    let mut nodes = Nodes {
        asked,
        dirs,
        ports: [free_port()?, free_port()?, free_port()?],
        count: 0,
        wrong: 0,
    };
    store::make(asked, &nodes.dirs[0], Kept::Global)?;
    let configs = nodes.configs("");
    let foretold = nodes.foretell(0, &configs[0])?;
    let servers = nodes.start(&configs)?;
    nodes.await_deletion("a store that stood alone", "stream-orphaned", &foretold);
    fill(&servers)?;
    stop(servers)?;
    members(&mut nodes, &configs)?;
    standing_alone(&mut nodes)?;
    renamed(&mut nodes, &configs)?;
    let system = nodes.configs("accounts { SYS { } }\nsystem_account: SYS\n");
    let foretold = nodes.foretell(1, &system[1])?;
    let servers = nodes.start(&system)?;
    nodes.await_deletion("another system account", "stream-orphaned", &foretold);
    stop(servers)?;
    println!(
        "{} rows of a cluster under server {}: {} came out otherwise than foretold",
        nodes.count, asked.version, nodes.wrong
    );
    Ok((nodes.count, nodes.wrong))
}

/// A stream on every server, and one on each.
fn fill(servers: &[Server]) -> io::Result<()> {
    let mut client = client(&servers[0])?;
    for (name, replicas) in [("THREE", 3), ("ONE", 1), ("TWO", 1), ("LAST", 1)] {
        let subject = name.to_lowercase();
        let wish = json!({"name": name, "subjects": [subject], "num_replicas": replicas, "storage": "file"});
        client.api(&format!("STREAM.CREATE.{name}"), &wish)?;
        client.publish(&subject, 20)?;
    }
    Ok(())
}

/// Members that come back as they were keep what they have.
fn members(nodes: &mut Nodes<'_>, configs: &[String]) -> io::Result<()> {
    let foretold: Vec<Foretold> = (0..3)
        .map(|node| nodes.foretell(node, &configs[node]))
        .collect::<io::Result<_>>()?;
    let servers = nodes.start(configs)?;
    client(&servers[0])?;
    std::thread::sleep(Duration::from_secs(2));
    let mut found = Vec::new();
    for (server, foretold) in servers.iter().zip(&foretold) {
        differences(foretold, &up(&server.jsz()?), &mut found);
        if !foretold
            .forecasts
            .iter()
            .any(|forecast| forecast.name == "THREE" && forecast.messages == 20)
        {
            found.push("the replicated stream is not foretold with its messages".into());
        }
    }
    stop(servers)?;
    nodes.say("members that come back", &found);
    Ok(())
}

/// A member's store under a server that stands alone.
fn standing_alone(nodes: &mut Nodes<'_>) -> io::Result<()> {
    let config = format!(
        "jetstream {{ store_dir: {:?} }}\n",
        nodes.dirs[2].join("store")
    );
    let foretold = nodes.foretell(2, &config)?;
    let mut found = Vec::new();
    if !foretold.codes().contains("replicas-unsupported") {
        found.push("replicas-unsupported is not said".to_owned());
    }
    let server = Server::start(&nodes.asked.program, &nodes.dirs[2], &config)?;
    let server = server.ok_or_else(|| io::Error::other("the server does not start"))?;
    differences(&foretold, &up(&server.jsz()?), &mut found);
    server.stop()?;
    nodes.say("a member's store standing alone", &found);
    Ok(())
}

/// A server under another name.
fn renamed(nodes: &mut Nodes<'_>, configs: &[String]) -> io::Result<()> {
    let mut configs = configs.to_vec();
    configs[0] = nodes.config(0, "n9", "");
    let foretold = nodes.foretell(0, &configs[0])?;
    let servers = nodes.start(&configs)?;
    nodes.await_deletion("a server with another name", "server-not-a-peer", &foretold);
    stop(servers)
}
