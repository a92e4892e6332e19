//! One other process, as `/proc` shows it. Everything in there may be hostile: names with parentheses and line breaks,
//! arguments that are no text, links into nowhere, and processes that vanish between two looks.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use super::mounts::behind_overlay;
use crate::env::{ReadFiles, path_from_bytes};

/// More than the longest command line or environment Linux allows by default.
const MAX_LENGTH: u64 = 8 << 20;
/// Links followed on one path, as many as Linux follows.
const MAX_LINKS: usize = 40;
/// Ticks of a second in `stat`, the same on every Linux there is.
const TICK_NS: i64 = 10_000_000;

/// A process.
#[derive(Clone)]
pub(super) struct Process<'a> {
    pub fs: &'a dyn ReadFiles,
    /// Its directory.
    pub dir: PathBuf,
    /// Its number.
    pub pid: u32,
}

/// What a `stat` file (proc(5)) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    pub state: u8,
    pub parent: u32,
    /// When it started, in ticks since the machine did.
    pub start_ticks: u64,
}

impl Status {
    pub(super) fn read(content: &[u8]) -> Option<Self> {
        // The name, in parentheses, may hold anything.
        let name_end = content.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(content.get(name_end + 1..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19).and_then(|ticks| ticks.parse().ok())?,
        })
    }
}

/// Every process of the machine; `None` where they cannot be listed.
pub(super) fn all<'a>(fs: &'a dyn ReadFiles, proc: &Path) -> Option<Vec<Process<'a>>> {
    let entries = fs.list(proc).ok()?;
    let processes = entries.iter().filter_map(|entry| {
        Some(Process {
            fs,
            dir: proc.join(&entry.name),
            pid: entry.name.to_str()?.parse().ok()?,
        })
    });
    Some(processes.collect())
}

/// When the machine started, in nanoseconds since the Unix epoch, to the second.
pub(super) fn boot_ns(fs: &dyn ReadFiles, proc: &Path) -> Option<i64> {
    let content = fs.read(&proc.join("stat"), MAX_LENGTH).ok()?;
    let line = content
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"btime "))?;
    let seconds: i64 = std::str::from_utf8(line).ok()?.trim().parse().ok()?;
    seconds.checked_mul(1_000_000_000)
}

impl Process<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, ErrorKind> {
        self.fs
            .read(&self.dir.join(name), MAX_LENGTH)
            .map_err(|error| error.kind)
    }

    pub(super) fn status(&self) -> Option<Status> {
        Status::read(&self.read("stat").ok()?)
    }

    /// Whether it has ended, perhaps while it was looked at. One that waits for its parent holds nothing any more.
    pub(super) fn is_gone(&self) -> bool {
        self.status()
            .is_none_or(|status| matches!(status.state, b'Z' | b'X' | b'x'))
    }

    /// When it started, in nanoseconds since the Unix epoch.
    pub(super) fn start_ns(&self, boot_ns: i64) -> Option<i64> {
        let ticks = i64::try_from(self.status()?.start_ticks).ok()?;
        boot_ns.checked_add(ticks.checked_mul(TICK_NS)?)
    }

    /// The program's name and its arguments. Nothing for a thread of the kernel and for a process that has ended.
    pub(super) fn command_line(&self) -> Result<Vec<OsString>, ErrorKind> {
        let bytes = Zeroizing::new(self.read("cmdline")?);
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let parts = bytes.split(|byte| *byte == 0);
        Ok(parts
            .map(|part| path_from_bytes(part.to_vec()).into_os_string())
            .collect())
    }

    /// The name the kernel shows, cut to 15 bytes.
    pub(super) fn short_name(&self) -> Vec<u8> {
        let name = self.read("comm").unwrap_or_default();
        name.strip_suffix(b"\n").unwrap_or(&name).to_vec()
    }

    /// The file name of the program it runs; `None` where that may not be seen.
    pub(super) fn program(&self) -> Option<Vec<u8>> {
        let link = self.fs.read_link(&self.dir.join("exe")).ok()?;
        let name = link.file_name()?.as_encoded_bytes();
        // What was replaced by a newer version runs on under this name.
        Some(name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec())
    }

    /// A second place for what [`resolve`](Self::resolve) gave: what lies behind the overlay a container has for its root.
    pub(super) fn behind(&self, resolved: &Path) -> Option<PathBuf> {
        let inside = match resolved.strip_prefix(self.dir.join("root")) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => {
                let inside = resolved.strip_prefix(self.dir.join("cwd")).ok()?;
                self.fs.read_link(&self.dir.join("cwd")).ok()?.join(inside)
            }
        };
        behind_overlay(&self.read("mountinfo").ok()?, &inside)
    }

    /// Its open sockets, by number.
    pub(super) fn sockets(&self) -> Vec<u64> {
        let descriptors = self.dir.join("fd");
        let entries = self.fs.list(&descriptors).unwrap_or_default();
        let sockets = entries.iter().filter_map(|entry| {
            let link = self.fs.read_link(&descriptors.join(&entry.name)).ok()?;
            let number = link.to_str()?.strip_prefix("socket:[")?;
            number.strip_suffix(']')?.parse().ok()
        });
        sockets.collect()
    }

    /// The sockets that wait for connections, of all processes in its network, by number. `table` is one of the kernel's.
    pub(super) fn listening(&self, table: &str) -> Vec<u64> {
        let content = self.read(table).unwrap_or_default();
        let lines = String::from_utf8_lossy(&content);
        let sockets = lines.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let is_listening = fields.nth(3)? == "0A";
            fields.nth(5)?.parse().ok().filter(|_| is_listening)
        });
        sockets.collect()
    }

    /// The variables it was started with.
    pub(super) fn environment(&self) -> Result<Variables, ErrorKind> {
        self.read("environ")
            .map(|bytes| Variables(Zeroizing::new(bytes)))
    }

    /// The place on this machine that a path of the process leads to: from its root or working directory on, its links
    /// followed within its root. Nothing of it needs to exist.
    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf, ErrorKind> {
        let root = self.dir.join("root");
        let mut base = self.dir.join("cwd");
        let mut done: Vec<OsString> = Vec::new();
        let mut to_do: Vec<OsString> = Vec::new();
        push_reversed(&mut to_do, path);
        let mut links = 0;
        while let Some(part) = to_do.pop() {
            if part == *"/" {
                base.clone_from(&root);
                done.clear();
                continue;
            }
            if part == *".." {
                match done.last() {
                    Some(last) if *last != *".." => {
                        done.pop();
                    }
                    // Above the working directory the kernel knows the way; above the root is nothing.
                    _ if base != root => done.push(part),
                    _ => {}
                }
                continue;
            }
            done.push(part);
            if base == root && done.first().is_some_and(|first| *first == *"proc") {
                // Links in there mean whoever follows them.
                return Err(ErrorKind::Unsupported);
            }
            let here = join(&base, &done);
            match self.fs.read_link(&here) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ErrorKind::Unsupported);
                    }
                    done.pop();
                    push_reversed(&mut to_do, &target);
                }
                Err(error) if error.kind == ErrorKind::PermissionDenied => return Err(error.kind),
                Err(_) => {}
            }
        }
        // The links of the process themselves may be out of sight.
        match self.fs.read_link(&base) {
            Err(error) if error.kind == ErrorKind::PermissionDenied => Err(error.kind),
            _ => Ok(join(&base, &done)),
        }
    }
}

fn join(base: &Path, parts: &[OsString]) -> PathBuf {
    let mut joined = base.to_owned();
    joined.extend(parts);
    joined
}

/// Puts the components of a path on a stack, the first on top. A root is one of them.
fn push_reversed(stack: &mut Vec<OsString>, path: &Path) {
    let parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::RootDir => Some("/".into()),
            Component::ParentDir => Some("..".into()),
            Component::Normal(name) => Some(name.to_owned()),
            Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    stack.extend(parts.into_iter().rev());
}

/// The environment of a process, which may hold keys.
pub(super) struct Variables(Zeroizing<Vec<u8>>);

impl Variables {
    /// The value of a variable; of equal names the first counts.
    pub(super) fn get(&self, name: &OsStr) -> Option<OsString> {
        let name = name.as_encoded_bytes();
        self.0.split(|byte| *byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name)?.strip_prefix(b"=")?;
            Some(path_from_bytes(value.to_vec()).into_os_string())
        })
    }
}
