//! Stores that a real server wrote and left by a kill, and whether one changed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::server::{Client, Server};

/// Messages in each store.
const MESSAGES: u64 = 20;

/// The programs, and a directory for everything.
pub struct Bench {
    root: tempfile::TempDir,
    /// The real server.
    pub server: PathBuf,
    /// The command.
    pub jetsam: PathBuf,
    made: Cell<u32>,
}

impl Bench {
    /// Finds the programs and has the server write a store.
    pub fn new() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let server = std::env::var_os("NATS_SERVER")
            .map_or_else(|| target.join("oracle/nats-server"), PathBuf::from);
        let server = std::fs::canonicalize(&server).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; testdata/oracle/build.sh builds it",
                server.display()
            )
        });
        let own = std::env::current_exe().expect("a path");
        let jetsam = own
            .ancestors()
            .nth(2)
            .expect("a build directory")
            .join("jetsam");
        assert!(
            jetsam.exists(),
            "build the command first: {}",
            jetsam.display()
        );
        let bench = Self {
            root: tempfile::tempdir().expect("a directory"),
            server,
            jetsam,
            made: Cell::new(0),
        };
        std::fs::create_dir(bench.ports()).expect("a directory");
        bench.write_base();
        bench
    }

    fn write_base(&self) {
        let base = self.base();
        let server = self.serve(&["-js", "-sd"], &[&base], |_| {});
        let mut client = Client::connect(server.port());
        client.ask(
            "$JS.API.STREAM.CREATE.ORDERS",
            r#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#,
        );
        for number in 0..MESSAGES {
            client.ask(&format!("orders.{number}"), &format!("order {number}"));
        }
        drop(server);
        assert!(base.join("jetstream/$G/streams/ORDERS/msgs/1.blk").exists());
        std::fs::create_dir(self.root.path().join("spare")).expect("a directory");
        copy(
            &base.join("jetstream/$G/streams/ORDERS"),
            &self.spare_copy(),
        );
    }

    fn base(&self) -> PathBuf {
        self.root.path().join("base")
    }

    /// A copy of the stream that no server has.
    pub fn spare_copy(&self) -> PathBuf {
        self.root.path().join("spare/ORDERS")
    }

    /// Where servers say that they are ready.
    pub fn ports(&self) -> PathBuf {
        self.root.path().join("ports")
    }

    /// A new empty directory.
    pub fn dir(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        let dir = self.root.path().join(format!("dir{}", self.made.get()));
        std::fs::create_dir(&dir).expect("a directory");
        dir
    }

    /// A new copy of the store.
    pub fn store(&self) -> PathBuf {
        let dir = self.dir();
        std::fs::remove_dir(&dir).expect("a removal");
        copy(&self.base(), &dir);
        dir
    }

    /// A new file in a directory of its own.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Starts the server with arguments and paths behind them.
    pub fn serve(
        &self,
        arguments: &[&str],
        paths: &[&Path],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        self.serve_by(&self.server, arguments, paths, prepare)
    }

    /// The same with another program.
    pub fn serve_by(
        &self,
        program: &Path,
        arguments: &[&str],
        paths: &[&Path],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        let mut command = Command::new(program);
        command.args(arguments).args(paths);
        prepare(&mut command);
        Server::start(command, &self.ports(), &self.ports()).expect("a server")
    }

    /// Starts the server by a shell command in a mount namespace of its own, once `mounts` is done there; `None` where that is
    /// not permitted.
    pub fn serve_apart(
        &self,
        mounts: &str,
        run: &str,
        arguments: &[&str],
        paths: &[&Path],
    ) -> Option<Server> {
        let apart = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", script, "sh"]);
            command
        };
        if !apart(mounts).status().is_ok_and(|status| status.success()) {
            return None;
        }
        let mut command = apart(&format!("{mounts} && exec {run} \"$@\""));
        command.args(arguments).args(paths);
        let seen = if run.contains("chroot") {
            PathBuf::from("/tmp")
        } else {
            self.ports()
        };
        Some(Server::start(command, &self.ports(), &seen).expect("a server"))
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cp {} {}",
        from.display(),
        to.display()
    );
}

/// Every file of a store: its bytes and its times.
pub struct Tree(BTreeMap<PathBuf, (Vec<u8>, Option<SystemTime>)>);

impl Tree {
    /// Reads it.
    pub fn of(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("a directory").flatten() {
                let path = entry.path();
                let modified = entry
                    .metadata()
                    .and_then(|metadata| metadata.modified())
                    .ok();
                if path.is_dir() {
                    files.insert(path.clone(), (Vec::new(), modified));
                    dirs.push(path);
                } else {
                    let bytes = std::fs::read(&path).expect("a file");
                    files.insert(path, (bytes, modified));
                }
            }
        }
        Self(files)
    }

    /// The first file that is not the same.
    pub fn differs(&self, other: &Tree) -> Option<PathBuf> {
        let of = |tree: &Tree, path: &PathBuf| tree.0.get(path).cloned();
        let paths = self.0.keys().chain(other.0.keys());
        paths
            .into_iter()
            .find(|path| of(self, path) != of(other, path))
            .cloned()
    }
}
