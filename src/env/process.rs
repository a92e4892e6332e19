//! Finding the process that is using a stream directory.

use std::path::Path;

/// Another process, as much of it as is worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: u32,
    /// The program as it was called, without arguments, which may hold passwords.
    pub command: String,
}

/// The process, other than this one, that appears to be using the stream directory `dir`.
///
/// A process counts if it holds open a file in a `msgs` or `obs` directory below `dir`, or if it is
/// a `nats-server` whose command line names a store directory that `dir` lies in. A process in a
/// container, which sees the files under other names, is recognised by the block files it holds.
///
/// This is a precaution and no proof: a server opens files only while it needs them, the store
/// directory may be named in its configuration file alone, other users' processes can be looked into
/// only by the superuser, and other machines' never. `None` on anything but Linux.
#[must_use]
pub fn running_server(dir: &Path) -> Option<ProcessInfo> {
    #[cfg(target_os = "linux")]
    return linux::running_server(dir);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStringExt;
    use std::path::{Path, PathBuf};

    use super::ProcessInfo;
    use crate::env::os::{canonical, identity, read_link};
    use crate::env::{FileKind, FileSystem, OsFileSystem};

    /// More than the longest command line Linux allows by default.
    const MAX_COMMAND_LINE: u64 = 4 << 20;

    pub(super) fn running_server(dir: &Path) -> Option<ProcessInfo> {
        let dir = canonical(dir)?;
        let blocks = block_identities(&dir);
        let own = std::process::id();
        // A child that this process is just starting, and that is not another program yet, holds whatever this one had open.
        let own_arguments = command_line(Path::new("/proc/self"));
        for entry in OsFileSystem.list(Path::new("/proc")).ok()? {
            let Some(pid) = entry
                .name
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            if pid == own {
                continue;
            }
            let process = Path::new("/proc").join(&entry.name);
            let arguments = command_line(&process);
            if arguments == own_arguments && parent(&process) == Some(own) {
                continue;
            }
            if is_server_of(&process, &arguments, &dir) || holds_file(&process, &dir, &blocks) {
                let command = arguments.first().map(|program| program.to_string_lossy());
                return Some(ProcessInfo {
                    pid,
                    command: command.unwrap_or_default().into(),
                });
            }
        }
        None
    }

    fn block_identities(dir: &Path) -> HashSet<(u64, u64)> {
        let messages = dir.join("msgs");
        let entries = OsFileSystem.list(&messages).unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry.kind == FileKind::File && is_block(&entry.name))
            .filter_map(|entry| identity(&messages.join(&entry.name)))
            .collect()
    }

    fn is_block(name: &OsStr) -> bool {
        Path::new(name).extension() == Some(OsStr::new("blk"))
    }

    /// Whether a process holds a file of the store open. What vanishes or may not be seen does not
    /// count.
    fn holds_file(process: &Path, dir: &Path, blocks: &HashSet<(u64, u64)>) -> bool {
        let descriptors = process.join("fd");
        let entries = OsFileSystem.list(&descriptors).unwrap_or_default();
        entries.iter().any(|entry| {
            let descriptor = descriptors.join(&entry.name);
            let Some(target) = read_link(&descriptor) else {
                return false;
            };
            if let Ok(inside) = target.strip_prefix(dir) {
                return inside.parent().is_some_and(|parent| {
                    parent.iter().any(|part| part == "msgs" || part == "obs")
                });
            }
            // Only what looks like a block is looked at closer: following a descriptor to a dead
            // network mount could take for ever.
            target.file_name().is_some_and(is_block)
                && identity(&descriptor).is_some_and(|identity| blocks.contains(&identity))
        })
    }

    fn command_line(process: &Path) -> Vec<OsString> {
        let bytes = OsFileSystem.read(&process.join("cmdline"), MAX_COMMAND_LINE);
        let bytes = bytes.unwrap_or_default();
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if bytes.is_empty() {
            return Vec::new();
        }
        bytes
            .split(|byte| *byte == 0)
            .map(|part| OsString::from_vec(part.to_vec()))
            .collect()
    }

    /// The number of a process's parent.
    fn parent(process: &Path) -> Option<u32> {
        let status = OsFileSystem.read(&process.join("stat"), MAX_COMMAND_LINE);
        parent_in(&status.ok()?)
    }

    /// The same from the content of its `stat` file (proc(5)): the name, in parentheses, may hold anything.
    pub(super) fn parent_in(status: &[u8]) -> Option<u32> {
        let name_end = status.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(status.get(name_end + 1..)?).ok()?;
        fields.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Whether a process is a server told on its command line to keep its store above `dir`.
    fn is_server_of(process: &Path, arguments: &[OsString], dir: &Path) -> bool {
        let Some(program) = arguments.first() else {
            return false;
        };
        if Path::new(program).file_name() != Some(OsStr::new("nats-server")) {
            return false;
        }
        let Some(store) = store_dir(arguments) else {
            return false;
        };
        let working_dir = read_link(&process.join("cwd")).unwrap_or_default();
        let store = working_dir.join(store);
        dir.starts_with(canonical(&store).unwrap_or(store))
    }

    /// The value of the store directory option, in any of the spellings of Go's `flag` package.
    pub(super) fn store_dir(arguments: &[OsString]) -> Option<PathBuf> {
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let bytes = argument.as_encoded_bytes();
            let Some(name) = bytes.strip_prefix(b"--").or(bytes.strip_prefix(b"-")) else {
                continue;
            };
            for option in [b"sd".as_slice(), b"store_dir"] {
                match name.strip_prefix(option) {
                    Some([]) => return rest.next().map(PathBuf::from),
                    Some([b'=', value @ ..]) => {
                        return Some(PathBuf::from(OsString::from_vec(value.to_vec())));
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use super::super::{DEFAULT_DIR_MODE, FileSystem, OsFileSystem};
    use super::*;

    /// A child that ends with the test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A stream directory with one block in it.
    fn stream() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("jetstream/$G/streams/ORDERS");
        OsFileSystem
            .create_dir_all(&dir.join("msgs"), DEFAULT_DIR_MODE)
            .unwrap();
        OsFileSystem
            .write_in_place(&dir.join("msgs/1.blk"), b"x")
            .unwrap();
        OsFileSystem
            .write_in_place(&dir.join("meta.inf"), b"{}")
            .unwrap();
        (root, dir)
    }

    /// Starts a child and waits until it has said something, so that it is in its stride.
    fn start(command: &mut Command) -> Running {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = Running(child.unwrap());
        let mut byte = [0];
        std::io::Read::read_exact(child.0.stdout.as_mut().unwrap(), &mut byte).unwrap();
        child
    }

    fn holding(path: &Path) -> Running {
        start(Command::new("tail").arg("-f").arg(path))
    }

    #[test]
    fn a_quiet_directory_has_no_server() {
        let (_root, dir) = stream();
        let _ours = OsFileSystem.open(&dir.join("msgs/1.blk")).unwrap();
        assert_eq!(running_server(&dir), None);
        assert_eq!(running_server(&dir.join("absent")), None);
    }

    #[test]
    fn a_process_holding_a_block_is_found_until_it_ends() {
        let (_root, dir) = stream();
        let child = holding(&dir.join("msgs/1.blk"));
        let found = running_server(&dir).unwrap();
        assert_eq!((found.pid, found.command.as_str()), (child.0.id(), "tail"));
        drop(child);
        assert_eq!(running_server(&dir), None);
    }

    /// A store looked busy while another thread was starting a program.
    #[test]
    fn the_parent_of_a_process_is_told_whatever_its_name() {
        let parent = linux::parent_in;
        assert_eq!(parent(b"77 (nats) S 1) S 4711 77 77 0 -1"), Some(4711));
        assert_eq!(parent(b"77 (a b) R 1 77"), Some(1));
        assert_eq!(parent(b"77 (cut"), None);
        let (_root, dir) = stream();
        let child = holding(&dir.join("meta.inf"));
        let status =
            OsFileSystem.read(&PathBuf::from(format!("/proc/{}/stat", child.0.id())), 4096);
        assert_eq!(parent(&status.unwrap()), Some(std::process::id()));
    }

    #[test]
    fn a_block_is_recognised_under_another_name() {
        let (root, dir) = stream();
        let other = root.path().join("9.blk");
        OsFileSystem
            .link_or_copy(&dir.join("msgs/1.blk"), &other)
            .unwrap();
        let child = holding(&other);
        assert_eq!(
            running_server(&dir).map(|found| found.pid),
            Some(child.0.id())
        );
    }

    #[test]
    fn files_beside_messages_and_consumers_do_not_count() {
        let (_root, dir) = stream();
        let _child = holding(&dir.join("meta.inf"));
        assert_eq!(running_server(&dir), None);
    }

    #[test]
    fn a_server_is_found_by_its_store_directory() {
        use std::os::unix::process::CommandExt;
        let (root, dir) = stream();
        for store in [
            root.path().to_owned(),
            PathBuf::from("."),
            root.path().join("elsewhere"),
        ] {
            let child = start(
                Command::new("/bin/sh")
                    .arg0("/opt/nats-server")
                    .args(["-c", "echo; read line", "-js", "-sd"])
                    .arg(&store)
                    .current_dir(root.path()),
            );
            let expected = (!store.ends_with("elsewhere")).then(|| ProcessInfo {
                pid: child.0.id(),
                command: "/opt/nats-server".into(),
            });
            assert_eq!(running_server(&dir), expected, "{}", store.display());
        }
    }

    #[test]
    fn store_directories_are_read_in_every_spelling() {
        let read = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            linux::store_dir(&arguments)
        };
        for line in [
            "s -sd /d",
            "s --sd=/d",
            "s -js -store_dir /d -D",
            "s --store_dir=/d",
        ] {
            assert_eq!(read(line), Some(PathBuf::from("/d")), "{line}");
        }
        for line in ["s", "s -sdx /d", "s sd /d", "s -sd"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
