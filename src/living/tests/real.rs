//! The real `/proc`, with real processes.

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
