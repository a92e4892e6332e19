//! Files held open, places that are yet to be made, file systems of the network, files that change.

use super::*;

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
