//! Made-up machines: a directory that looks like `/proc`, and stores beside it.
#![cfg(unix)]

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

#[test]
fn a_quiet_machine_gives_leave_for_what_was_asked() {
    let machine = Machine::new();
    let idle = machine.look("data").idle().unwrap();
    assert!(idle.covers(&machine.at("data/jetstream/$G/streams/ORDERS")));
    assert!(!idle.covers(&machine.at("other/jetstream")));
    assert!(Idle::declared().covers(Path::new("/any")));
}

#[test]
fn the_command_line_names_the_store() {
    let machine = Machine::new();
    let data = machine.store();
    for arguments in [
        vec!["-js", "-sd", &data],
        vec!["--jetstream", "--store_dir", "."],
        vec!["-js", "-sd=../data/"],
        vec!["-sd", "./x/..", "-js=true"],
    ] {
        machine.server(&arguments);
        assert!(is_served(&machine), "{arguments:?}");
        let told = machine.look("data").idle().unwrap_err().to_string();
        assert!(
            told.starts_with("process 77 (nats-server) is using the store"),
            "{told}"
        );
    }
    for arguments in [
        vec!["-js", "-sd", "/elsewhere"],
        vec!["-sd", &data],
        vec!["-js=false", "-sd", &data],
        vec!["-js", "-sd", &data, "-t"],
        vec!["-js", "-sd", "jetstream"],
        vec![],
    ] {
        machine.server(&arguments);
        let served = is_served_below(&machine, "data/jetstream/$G");
        assert!(!served, "{arguments:?}");
    }
}

fn is_served_below(machine: &Machine, path: &str) -> bool {
    let sighting = machine.look(path);
    assert_eq!(sighting.untold, []);
    !sighting.users.is_empty()
}

#[test]
fn the_configuration_names_the_store() {
    let machine = Machine::new();
    let data = machine.store();
    machine.write(
        "conf/nats.conf",
        format!("port: 1\njetstream {{ store_dir: {data} }}").as_bytes(),
    );
    machine.write("data/rel.conf", b"jetstream: on\ninclude sub/store.conf\n");
    machine.write("data/sub/store.conf", b"store_dir: $STORE\n");
    machine.write(
        "data/off.conf",
        format!("jetstream: off\nstore_dir: {data}").as_bytes(),
    );
    machine.write("data/none.conf", format!("store_dir: {data}").as_bytes());
    machine.write("data/away.conf", b"jetstream { store_dir: /elsewhere }");
    let conf = machine.at("conf/nats.conf").to_string_lossy().into_owned();
    let environ = format!("STORE={data}\0STORE=/second\0");
    for (arguments, served) in [
        (vec!["-c", &conf], true),
        (vec!["--config", "../conf/nats.conf"], true),
        (vec!["-c=rel.conf"], true),
        (vec!["-c", "off.conf"], false),
        (vec!["-c", "off.conf", "-js"], true),
        (vec!["-c", "none.conf"], false),
        (vec!["-js", "-c", "none.conf"], true),
        (vec!["-c", "away.conf"], false),
        (vec!["-c", "away.conf", "-sd", &data], true),
        (vec!["-c", &conf, "-sd", "/elsewhere"], false),
        (vec!["-c", &conf, "-js=false"], false),
    ] {
        machine
            .server(&arguments)
            .file("environ", environ.as_bytes());
        assert_eq!(is_served(&machine), served, "{arguments:?}");
    }
}

#[test]
fn without_a_store_directory_it_is_the_temporary_one() {
    let machine = Machine::new();
    machine.write("tmp/nats/jetstream/$G/streams/S/meta.inf", b"{}");
    let environ = format!("TMPDIR={}\0", machine.at("tmp").display());
    for arguments in [&["-js"][..], &["-js", "-sd", ""]] {
        machine
            .server(arguments)
            .file("environ", environ.as_bytes());
        assert!(is_served_below(&machine, "tmp/nats"));
        assert!(is_served_below(&machine, "tmp/nats/jetstream/$G/streams/S"));
        assert!(!is_served_below(&machine, "data"));
    }
}

#[test]
fn a_container_knows_the_store_by_another_name() {
    let machine = Machine::new();
    machine.write(
        "box/etc/nats/nats.conf",
        b"include /store.conf\njetstream: true",
    );
    machine.write("box/etc/nats/store.conf", b"store_dir: /etc/../var/data");
    machine.write("box/run/.keep", b"");
    symlink("/run", machine.at("box/var")).unwrap();
    for (name, served) in [("data", true), ("other", false)] {
        let server = machine.server(&["-c", "/etc/nats/nats.conf"]);
        let root = machine.at("box");
        server.link("root", &root).link("cwd", &root);
        let inner = machine.at("box/run/data");
        let _ = OsFileSystem.remove_file(&inner);
        let _ = OsFileSystem.remove_dir_all(&inner);
        if name == "data" {
            // The one name in the container that leads out of it is a mount, which no link is: rename it in.
            OsFileSystem.rename(&machine.at("data"), &inner).unwrap();
            symlink(&inner, machine.at("data")).unwrap();
        } else {
            machine.write("box/run/data/jetstream/.keep", b"");
            let data = machine.at("data");
            OsFileSystem.remove_file(&data).unwrap();
            machine.write("data/jetstream/$G/streams/ORDERS/meta.inf", b"{}");
        }
        assert_eq!(is_served(&machine), served, "{name}");
    }
}

/// The layer of a container that is not from its image, seen from outside.
#[test]
fn a_store_behind_the_overlay_of_a_container_is_served() {
    let machine = Machine::new();
    machine.write("box/data/jetstream/.keep", b"");
    let diff = machine.at("diff");
    let mounts = format!(
        "1 0 0:9 / / rw - overlay overlay rw,lowerdir=/l,upperdir={},workdir=/w\n",
        diff.display()
    );
    OsFileSystem
        .create_dir_all(&diff, DEFAULT_DIR_MODE)
        .unwrap();
    OsFileSystem
        .rename(&machine.at("data"), &diff.join("data"))
        .unwrap();
    let server = machine.server(&["-js", "-sd", "/data"]);
    server
        .link("root", &machine.at("box"))
        .file("mountinfo", mounts.as_bytes());
    for path in ["diff/data", "diff/data/jetstream/$G"] {
        assert!(is_served_below(&machine, path), "{path}");
    }
    assert!(!is_served_below(&machine, "diff"));
}

#[test]
fn a_symbolic_link_to_the_store_is_the_store() {
    let machine = Machine::new();
    symlink(machine.at("data"), machine.at("link")).unwrap();
    symlink("data", machine.at("relative")).unwrap();
    let link = machine.at("link").to_string_lossy().into_owned();
    machine.server(&["-js", "-sd", &link]);
    assert!(is_served(&machine));
    machine.server(&["-js", "-sd", &machine.store()]);
    for path in ["link", "link/jetstream/$G", "relative/jetstream"] {
        assert!(is_served_below(&machine, path), "{path}");
    }
    // The server shortens `link/..` by its text, so this is the directory beside the link.
    machine.write("there/x/.keep", b"");
    symlink(machine.at("there/x"), machine.at("hop")).unwrap();
    let hop = machine.at("hop/../data").to_string_lossy().into_owned();
    machine.server(&["-js", "-sd", &hop]);
    assert!(is_served(&machine));
}

#[test]
fn a_server_is_recognised_whatever_it_is_called() {
    let machine = Machine::new();
    let data = machine.store();
    let line = |name: &str| format!("{name}\0-js\0-sd\0{data}\0").into_bytes();
    for (called, program) in [
        ("nats-server", "nats-server"),
        ("/opt/nats-server-2.15.3", "nats-server-2.15.3"),
        ("nats", "nats-server"),
        ("nats-server", "natsd"),
        ("./x", "nats-server (deleted)"),
        ("my-nats-server-host", "my-nats-server-host"),
    ] {
        machine.process(SERVER, &line(called), program);
        assert!(is_served(&machine), "{called} {program}");
    }
    // Out of sight: the kernel's short name.
    machine
        .process(SERVER, &line("x"), "nats-server-2.15.3")
        .without("exe");
    assert!(is_served(&machine));
    for (called, program) in [
        ("sh", "dash"),
        ("nats", "nats"),
        ("/x/nats-server/vi", "vi"),
    ] {
        machine.process(SERVER, &line(called), program);
        assert!(!is_served(&machine), "{called} {program}");
    }
}

/// By the modules Go writes into a program; how they are read is tested there.
#[test]
fn a_program_with_a_server_inside_is_named_if_it_listens() {
    let machine = Machine::new();
    let host = program::tests::program(
        "path\texample.org/app\ndep\tgithub.com/nats-io/nats-server/v2\tv2.15.3\n",
    );
    let server = program::tests::program("path\tgithub.com/nats-io/nats-server/v2\n");
    machine.write("bin/app", &host);
    machine.write("bin/nats", &host);
    machine.write("bin/bus", &server);
    let run = |name: &str, line: &[u8]| {
        let made = machine.process(SERVER, line, name);
        made.link("exe", &machine.at(&format!("bin/{name}")));
        made.link("fd/4", Path::new("socket:[123]"));
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:107E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 123 1\n\
             1: 0100007F:107E 00000000:0000 01 00000000:00000000 00:00000000 00000000  0 0 124 1\n";
        made.file("net/tcp", table.as_bytes());
    };
    run("app", b"app\0serve\0");
    assert_eq!(doubt(&machine), Doubt::Inside);
    machine
        .process(SERVER, b"", "x")
        .link("fd/4", Path::new("socket:[124]"));
    run("nats", b"nats\0sub\0");
    assert!(!is_served(&machine));
    // A server that was given another name is one all the same.
    let line = format!("bus\0-js\0-sd\0{}\0", machine.store());
    run("bus", line.as_bytes());
    assert!(is_served(&machine));
    run("bus", b"bus\0-js\0-sd\0/elsewhere\0");
    assert!(!is_served(&machine));
}

#[test]
fn what_cannot_be_told_is_named() {
    let machine = Machine::new();
    machine.write(
        "data/broken.conf",
        b"port: 1\njetstream {\n  store_dir: [\n}",
    );
    machine.write("data/wrong.conf", b"jetstream { store_dir: 7 }");
    machine.write("data/variable.conf", b"jetstream { store_dir: $NOWHERE }");
    machine.write("data/away.conf", b"jetstream { store_dir: /elsewhere }");
    machine.write("data/off.conf", b"port: 1");
    machine.write("data/include.conf", b"port: 1\ninclude gone.conf");
    let problem = |file: &str| {
        machine.server(&["-c", file]);
        match doubt(&machine) {
            Doubt::Config(error) => (error.line, error.column, error.problem),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        problem("broken.conf"),
        (4, 1, Problem::Unexpected { .. })
    ));
    assert!(matches!(
        problem("wrong.conf"),
        (1, 13, Problem::WrongType { .. })
    ));
    assert!(matches!(
        problem("variable.conf"),
        (1, _, Problem::UnknownVariable { .. })
    ));
    for file in [
        "gone.conf",
        "include.conf",
        "/proc/self/fd/63",
        "sub\u{1}\n.conf",
    ] {
        assert!(
            matches!(problem(file), (0, 0, Problem::Unreadable { .. })),
            "{file}"
        );
    }
    // What the configuration says now is not what the server was started with.
    for file in ["away.conf", "off.conf"] {
        machine.server(&["-c", file]).started(100);
        let file = PathBuf::from(file);
        assert_eq!(doubt(&machine), Doubt::ConfigChanged { file });
    }
    machine.process(SERVER, b"serving: 12 clients\0", "nats-server");
    assert_eq!(doubt(&machine), Doubt::Title);
    // Where the command line tells, nothing else needs to.
    machine.server(&["-c", "gone.conf", "-js=0"]);
    assert!(!is_served(&machine));
    let told = Living::Untold(vec![Untold {
        process: ProcessInfo {
            pid: 77,
            command: "nats-server".into(),
        },
        why: Doubt::Title,
    }]);
    let told = told.to_string();
    assert!(
        told.starts_with("process 77 (nats-server) (it has overwritten its command line): ")
            && told.ends_with("repeat with --store-is-idle"),
        "{told}"
    );
}

#[test]
fn a_served_store_is_known_even_where_the_configuration_changed() {
    let machine = Machine::new();
    machine.write("data/nats.conf", b"jetstream { store_dir: \".\" }");
    machine.server(&["-c", "nats.conf"]).started(100);
    assert!(matches!(machine.look("data").idle(), Err(Living::Used(_))));
}

#[test]
fn processes_come_and_go_and_are_hostile() {
    let machine = Machine::new();
    // A zombie, a thread of the kernel, one that vanished, and one whose name breaks the line.
    machine
        .process(90, b"", "nats-server")
        .file("stat", b"90 (nats-server) Z 1 0");
    machine
        .process(91, b"", "nats-server")
        .without("exe")
        .without("comm");
    machine
        .process(92, b"nats-server\0-c\0gone\0", "nats-server")
        .without("stat");
    machine.write("proc/93", b"no directory");
    machine.write("proc/irq/1", b"");
    machine.write("proc/99999999999999999999/cmdline", b"nats-server\0-js\0");
    machine.process(94, b"\0\0\0\0", "(nats-server) S 1\n");
    machine.process(95, &[0xff, 0xfe, 0, b'-', b'c', 0, 0xff], "x");
    for path in INTO {
        let sighting = machine.look(path);
        let untold: Vec<u32> = sighting
            .untold
            .iter()
            .map(|untold| untold.process.pid)
            .collect();
        assert_eq!((sighting.users, untold), (vec![], vec![94]), "{path}");
    }
    OsFileSystem.remove_dir_all(&machine.at("proc/94")).unwrap();
    let data = machine.store();
    let name = b"/opt/\x1b[2Jevil\n) \xff/nats-server";
    let line = [&name[..], b"\0-js\0-sd\0", data.as_bytes(), b"\0"].concat();
    machine.process(SERVER, &line, "nats-server");
    let users = machine.look("data").users;
    assert_eq!(
        users[0].command,
        "/opt/\\u{1b}[2Jevil\\n) \u{fffd}/nats-server"
    );
    let line = [
        &vec![b'n'; 5000][..],
        b"/nats-server\0-js\0-sd\0",
        data.as_bytes(),
    ]
    .concat();
    machine.process(SERVER, &line, "nats-server");
    assert_eq!(
        machine.look("data").users[0].command.chars().count(),
        MAX_NAME + 1
    );
    // Longer than any command line.
    machine.process(SERVER, &vec![b'x'; 9 << 20], "nats-server");
    assert!(matches!(
        doubt(&machine),
        Doubt::Hidden {
            what: "command line",
            ..
        }
    ));
}

#[test]
fn links_in_circles_end() {
    let machine = Machine::new();
    symlink("b", machine.at("data/a")).unwrap();
    symlink("a", machine.at("data/b")).unwrap();
    machine.server(&["-js", "-sd", "a"]);
    let sighting = machine.look("data");
    assert_eq!(sighting.users, []);
}

#[test]
fn where_processes_cannot_be_seen_nobody_gives_leave() {
    let machine = Machine::new();
    OsFileSystem.remove_dir_all(&machine.at("proc/1")).unwrap();
    assert_eq!(machine.look("data").idle(), Err(Living::Blind));
    OsFileSystem.remove_dir_all(&machine.at("proc")).unwrap();
    assert_eq!(machine.look("data").idle(), Err(Living::Blind));
}

#[test]
fn files_held_open_count_under_every_name() {
    let machine = Machine::new();
    let holder = machine.process(SERVER, b"embedder\0", "embedder");
    let stream = machine.at("data/jetstream/$G/streams/ORDERS");
    let hold = |target: &Path| {
        holder.link("fd/5", target);
        is_served(&machine)
    };
    assert!(hold(&stream.join("msgs/1.blk")));
    assert!(hold(&stream.join("obs/C/o.dat")));
    assert!(hold(&stream.join("msgs/7.blk (deleted)")));
    assert!(!hold(&stream.join("meta.inf")));
    assert!(!hold(Path::new("socket:[123]")));
    assert!(!hold(Path::new("/elsewhere/msgs/1.blk")));
    OsFileSystem
        .link_or_copy(&stream.join("msgs/1.blk"), &machine.at("9.blk"))
        .unwrap();
    holder.link("fd/5", &machine.at("9.blk"));
    for path in INTO {
        assert_eq!(machine.look(path).users[0].pid, SERVER, "{path}");
    }
    // In a container the same file has another path.
    holder.link("root", &machine.at("data"));
    assert!(hold(Path::new("/jetstream/$G/streams/ORDERS/msgs/1.blk")));
}

#[test]
fn a_new_place_counts_by_what_it_lies_in() {
    let machine = Machine::new();
    machine.server(&["-js", "-sd", "."]);
    for (path, used) in [
        ("data/jetstream/$G/streams/NEW", true),
        ("data/jetstream/B/streams/NEW", true),
        ("data/other/new", false),
        ("new/deeper", false),
    ] {
        assert_eq!(!machine.look(path).users.is_empty(), used, "{path}");
    }
    // Who holds a store beside it has nothing to do with it.
    let holder = machine.process(SERVER, b"embedder\0", "embedder");
    holder.link(
        "fd/5",
        &machine.at("data/jetstream/$G/streams/ORDERS/msgs/1.blk"),
    );
    for path in ["data/other/new", "new/deeper", "new"] {
        assert_eq!(machine.look(path).users, [], "{path}");
    }
    assert_eq!(machine.look("data").users[0].pid, SERVER);
}

#[test]
fn a_network_file_system_is_told() {
    let machine = Machine::new();
    let data = OsFileSystem.canonical(&machine.at("data")).unwrap();
    let mounts = format!(
        "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / {} rw - nfs4 s:/x rw\n",
        data.display()
    );
    machine.write("proc/self/mountinfo", mounts.as_bytes());
    let sighting = machine.look("data/jetstream");
    assert_eq!(sighting.network.as_deref(), Some("nfs4"));
    assert!(sighting.unseen().unwrap().contains("nfs4"));
    assert_eq!(sighting.idle().unwrap().network(), Some("nfs4"));
    assert_eq!(machine.look("proc").network, None);
}

#[test]
fn every_change_of_a_file_is_seen() {
    let machine = Machine::new();
    let dir = machine.at("data/jetstream/$G/streams/ORDERS");
    let block = "data/jetstream/$G/streams/ORDERS/msgs/1.blk";
    let mut before = Pulse::take(&OsFileSystem, &dir).unwrap();
    let mut stirred = || {
        let after = Pulse::take(&OsFileSystem, &dir).unwrap();
        let stir = before.stirred(&after).map(|stir| stir.to_string());
        before = after;
        stir
    };
    assert_eq!(stirred(), None);
    machine.write("data/jetstream/$G/streams/ORDERS/.jetsam.lock", b"");
    machine.write("data/jetstream/$G/streams/ORDERS/.jetsam-undo/0", b"");
    assert_eq!(stirred(), None);
    OsFileSystem.append(&machine.at(block), b"y").unwrap();
    assert_eq!(stirred().unwrap(), "msgs/1.blk has another length");
    OsFileSystem
        .write_atomically(&machine.at(block), b"ab", None)
        .unwrap();
    assert_eq!(stirred().unwrap(), "msgs/1.blk was replaced");
    // As many bytes in place, and the old time put back.
    let modified_ns = OsFileSystem
        .metadata(&machine.at(block))
        .unwrap()
        .modified_ns;
    std::thread::sleep(std::time::Duration::from_millis(20));
    OsFileSystem
        .write_in_place(&machine.at(block), b"cd")
        .unwrap();
    OsFileSystem
        .set_modified(&machine.at(block), modified_ns)
        .unwrap();
    assert_eq!(stirred().unwrap(), "msgs/1.blk was written to");
    machine.write("data/jetstream/$G/streams/ORDERS/obs/C/o.dat", b"");
    assert_eq!(stirred().unwrap(), "obs/C/o.dat is new");
    OsFileSystem.remove_file(&machine.at(block)).unwrap();
    assert_eq!(stirred().unwrap(), "msgs/1.blk has gone");
}

#[test]
fn the_end_of_a_name_in_a_status_is_its_last_parenthesis() {
    let zeros = "0 ".repeat(17);
    let parent = |text: String| process::Status::read(text.as_bytes()).map(|status| status.parent);
    assert_eq!(
        parent(format!("77 (nats) S 1) S 4711 {zeros}5 0")),
        Some(4711)
    );
    assert_eq!(parent(format!("77 (a\nb) R 1 {zeros}5")), Some(1));
    assert_eq!(parent("77 (cut".into()), None);
    assert_eq!(parent("77 (a) S 1".into()), None);
}

/// The real `/proc`, with real processes.
#[cfg(target_os = "linux")]
mod real {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A child that ends with the test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Starts a child and waits until it has said something, so that it is in its stride.
    fn start(command: &mut Command) -> Running {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = Running(child.unwrap());
        let mut byte = [0];
        std::io::Read::read_exact(child.0.stdout.as_mut().unwrap(), &mut byte).unwrap();
        child
    }

    fn pids(machine: &Machine) -> Vec<u32> {
        let users = look(&OsFileSystem, &machine.at("data")).users;
        users.iter().map(|user| user.pid).collect()
    }

    #[test]
    fn a_process_holding_a_block_is_found_until_it_ends() {
        let machine = Machine::new();
        let block = machine.at("data/jetstream/$G/streams/ORDERS/msgs/1.blk");
        let _ours = OsFileSystem.open(&block).unwrap();
        assert_eq!(pids(&machine), Vec::<u32>::new());
        let child = start(Command::new("tail").arg("-f").arg(&block));
        assert_eq!(pids(&machine), [child.0.id()]);
        drop(child);
        assert_eq!(pids(&machine), Vec::<u32>::new());
    }

    #[test]
    fn a_server_is_found_by_its_store_directory() {
        use std::os::unix::process::CommandExt;
        let machine = Machine::new();
        machine.write("elsewhere/.keep", b"");
        for (store, found) in [("data", true), ("data/.", true), ("elsewhere", false)] {
            let child = start(
                Command::new("/bin/sh")
                    .arg0("/opt/nats-server")
                    .args(["-c", "echo; read line", "-js", "-sd"])
                    .arg(store)
                    .current_dir(machine.root.path()),
            );
            let expected = if found { vec![child.0.id()] } else { vec![] };
            assert_eq!(pids(&machine), expected, "{store}");
        }
    }
}
