//! What cannot be told of a process, and processes that come, go and lie.

use super::*;

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
