//! How a server says which store is its own, and how it is known for a server.

use super::*;

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
