//! Made-up machines: a directory that looks like `/proc`, and stores beside it.
#![cfg(unix)]

mod doubt;
mod files;
#[cfg(target_os = "linux")]
mod real;
mod told;

use crate::env::FileSystem;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;
use crate::env::{DEFAULT_DIR_MODE, OsFileSystem};
use crate::server_config::Problem;

const OWN: u32 = 4000;
const SERVER: u32 = 77;
/// Long after everything here was written.
const LATE: u64 = 400_000_000_000;

/// A machine with a store in `data`.
struct Machine {
    root: tempfile::TempDir,
}

/// A process of it.
struct Made<'a> {
    machine: &'a Machine,
    pid: u32,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            root: tempfile::tempdir().unwrap(),
        };
        machine.write("data/jetstream/$G/streams/ORDERS/msgs/1.blk", b"x");
        machine.write("data/jetstream/$G/streams/ORDERS/meta.inf", b"{}");
        machine.write("proc/stat", b"cpu 1 2\nbtime 0\nprocesses 5\n");
        machine.process(1, b"/sbin/init\0", "systemd");
        machine.process(OWN, b"jetsam\0recover\0", "jetsam");
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.at(path);
        let parent = path.parent().unwrap();
        OsFileSystem
            .create_dir_all(parent, DEFAULT_DIR_MODE)
            .unwrap();
        OsFileSystem.write_in_place(&path, bytes).unwrap();
    }

    /// A process in this machine's own view, working in `data`, that started after everything.
    fn process(&self, pid: u32, line: &[u8], program: &str) -> Made<'_> {
        let made = Made { machine: self, pid };
        made.file("cmdline", line);
        made.file(
            "comm",
            &[&program.as_bytes()[..program.len().min(15)], b"\n"].concat(),
        );
        made.file("environ", b"PATH=/bin\0");
        made.started(LATE);
        self.write(&format!("proc/{pid}/fd/.keep"), b"");
        made.link("exe", Path::new(&format!("/usr/bin/{program}")));
        made.link("cwd", &self.at("data"));
        made.link("root", Path::new("/"));
        made
    }

    /// A server with these arguments.
    fn server(&self, arguments: &[&str]) -> Made<'_> {
        let mut line = b"nats-server".to_vec();
        for argument in arguments {
            line.push(0);
            line.extend_from_slice(argument.as_bytes());
        }
        line.push(0);
        self.process(SERVER, &line, "nats-server")
    }

    fn look(&self, path: &str) -> Sighting {
        look_in(&OsFileSystem, &self.at("proc"), OWN, &self.at(path))
    }

    fn store(&self) -> String {
        self.at("data").to_string_lossy().into_owned()
    }
}

impl Made<'_> {
    fn file(&self, name: &str, bytes: &[u8]) -> &Self {
        self.machine
            .write(&format!("proc/{}/{name}", self.pid), bytes);
        self
    }

    fn link(&self, name: &str, target: &Path) -> &Self {
        let path = self.machine.at(&format!("proc/{}/{name}", self.pid));
        let _ = OsFileSystem.remove_file(&path);
        symlink(target, path).unwrap();
        self
    }

    fn started(&self, ticks: u64) -> &Self {
        let zeros = "0 ".repeat(17);
        let stat = format!("{} (a) b) S 1 {zeros}{ticks} 0 0", self.pid);
        self.file("stat", stat.as_bytes())
    }

    fn without(&self, name: &str) -> &Self {
        let path = self.machine.at(&format!("proc/{}/{name}", self.pid));
        OsFileSystem.remove_file(&path).unwrap();
        self
    }
}

/// Every path into the store of [`Machine`].
const INTO: [&str; 5] = [
    "data",
    "data/jetstream",
    "data/jetstream/$G",
    "data/jetstream/$G/streams/ORDERS",
    "data/jetstream/../jetstream/$G/streams",
];

fn is_served(machine: &Machine) -> bool {
    let served: Vec<bool> = INTO
        .iter()
        .map(|path| {
            let sighting = machine.look(path);
            assert_eq!(sighting.untold, [], "{path}");
            sighting.users.iter().any(|user| user.pid == SERVER)
        })
        .collect();
    assert!(
        served.iter().all(|is| *is == served[0]),
        "{INTO:?}: {served:?}"
    );
    served[0]
}

fn doubt(machine: &Machine) -> Doubt {
    let sighting = machine.look("data");
    assert_eq!(sighting.users, []);
    let [untold] = &sighting.untold[..] else {
        panic!("{sighting:?}");
    };
    assert_eq!(untold.process.pid, SERVER);
    assert!(matches!(sighting.idle(), Err(Living::Untold(_))));
    untold.why.clone()
}
