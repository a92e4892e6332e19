//! The command line of a nats-server, as far as it says where the store is.
//!
//! Go's `flag` package decides what is a flag: one or two dashes, the value behind `=` or, unless the flag is a switch, the
//! next argument whatever it looks like. The first argument that is no flag ends them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::env::path_from_bytes;

/// The flags that take no argument of their own.
const SWITCHES: &[&[u8]] = &[
    b"h",
    b"help",
    b"D",
    b"debug",
    b"V",
    b"VV",
    b"trace",
    b"DV",
    b"DVV",
    b"T",
    b"logtime",
    b"logtime_utc",
    b"t",
    b"s",
    b"syslog",
    b"version",
    b"v",
    b"no_advertise",
    b"help_tls",
    b"tls",
    b"tlsverify",
    b"js",
    b"jetstream",
];

/// What a command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// The store directory, which may be empty: the default one then, whatever the configuration says.
    pub store_dir: Option<PathBuf>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether JetStream is on; `None` where the configuration decides.
    pub jetstream: Option<bool>,
    /// The program does something else than serve, and ends.
    pub ends_at_once: bool,
    /// There is at least one flag.
    pub any: bool,
}

impl Flags {
    /// Reads the arguments behind the program's name.
    pub(super) fn read(arguments: &[OsString]) -> Self {
        let mut flags = Flags::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let bytes = argument.as_encoded_bytes();
            let Some(name) = bytes.strip_prefix(b"-") else {
                flags.ends_at_once |= [&b"help"[..], b"version"].contains(&bytes);
                break;
            };
            let name = name.strip_prefix(b"-").unwrap_or(name);
            if name.is_empty() {
                break;
            }
            flags.any = true;
            match name.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    let (name, value) = name.split_at(at);
                    flags.set(name, value.get(1..).unwrap_or_default());
                }
                None if SWITCHES.contains(&name) => flags.set(name, b"true"),
                None => match rest.next() {
                    Some(value) => flags.set(name, value.as_encoded_bytes()),
                    None => break,
                },
            }
        }
        flags
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        let path = || Some(path_from_bytes(value.to_vec()));
        match name {
            b"sd" | b"store_dir" => self.store_dir = path(),
            b"c" | b"config" => {
                self.config = path().filter(|path| path.as_os_str() != OsStr::new(""))
            }
            b"js" | b"jetstream" => self.jetstream = Some(is_true(value)),
            b"h" | b"help" | b"v" | b"version" | b"help_tls" | b"t" => {
                self.ends_at_once |= is_true(value);
            }
            b"sl" | b"signal" => self.ends_at_once |= !value.is_empty(),
            _ => {}
        }
    }
}

/// What Go takes for true.
fn is_true(value: &[u8]) -> bool {
    [&b"1"[..], b"t", b"T", b"true", b"TRUE", b"True"].contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Flags {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Flags::read(&arguments)
    }

    #[test]
    fn store_directories_are_read_in_every_spelling() {
        for line in [
            "-js -sd /d",
            "-js --sd=/d",
            "-js -store_dir /d -D",
            "-js --store_dir=/d",
            "-js -sd /e -sd /d",
            "-js -n -sd -sd /d",
            "-js -m 8222 -c /c --store_dir /d -- -sd /e",
        ] {
            assert_eq!(read(line).store_dir, Some(PathBuf::from("/d")), "{line}");
            assert_eq!(read(line).jetstream, Some(true), "{line}");
        }
        for line in [
            "",
            "-sdx /d",
            "sd /d",
            "-sd",
            "-- -sd /d",
            "- -sd /d",
            "-D help -sd /d",
            "-n -sd /d",
        ] {
            assert_eq!(read(line).store_dir, None, "{line}");
        }
        assert_eq!(read("-sd=").store_dir, Some(PathBuf::new()));
    }

    #[test]
    fn configurations_and_switches_are_read() {
        for line in [
            "-c /c",
            "--c=/c",
            "-config /c",
            "--config=/c",
            "-DV -c /c",
            "-tlsverify -c /c",
        ] {
            assert_eq!(read(line).config, Some(PathBuf::from("/c")), "{line}");
        }
        assert_eq!(read("-js=false -c /c").jetstream, Some(false));
        assert_eq!(read("-jetstream").jetstream, Some(true));
        for line in [
            "-t -c /c",
            "--signal reload",
            "-sl=stop=1",
            "version",
            "--help",
        ] {
            assert!(read(line).ends_at_once, "{line}");
        }
        assert!(!read("-js -c t -version=false").ends_at_once);
    }
}
