//! What a running program is made of: Go writes the modules of a program into it, so that a nats-server shows under any name,
//! and so does a program that has one inside.

use std::collections::HashSet;

use super::process::Process;
use crate::env::ReadFile;

/// The module of the server.
const MODULE: &[u8] = b"github.com/nats-io/nats-server/v2";
/// The section the modules stand in.
const SECTION: &[u8] = b".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the texts begin behind the magic, and the flag that says so.
const TEXTS_AT: usize = 32;
const INLINE: u8 = 2;
const MAX_SECTIONS: usize = 1_000;
const MAX_SECTION_BYTES: u64 = 4 << 20;
/// Programs around NATS that have the server's code in them and run none.
const TOOLS: &[&[u8]] = &[
    b"nats",
    b"nsc",
    b"nk",
    b"nats-top",
    b"nats-surveyor",
    b"prometheus-nats-exporter",
];

/// What a program has to do with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is one.
    Server,
    /// It has the code of one inside.
    Host,
    /// Nothing, or that cannot be told.
    Other,
}

/// The role of the program a process runs.
pub(super) fn role(process: &Process<'_>) -> Role {
    let Ok(file) = process.fs.open(&process.dir.join("exe")) else {
        return Role::Other;
    };
    role_in(&*file).unwrap_or(Role::Other)
}

fn role_in(file: &dyn ReadFile) -> Option<Role> {
    let section = build_info(file)?;
    let texts = section.strip_prefix(MAGIC)?;
    if texts.get(1)? & INLINE == 0 {
        return None;
    }
    let (_, rest) = text(section.get(TEXTS_AT..)?)?;
    let (modules, _) = text(rest)?;
    let mut role = Role::Other;
    for line in modules.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b'\t');
        match (fields.next(), fields.next()) {
            // The first line follows upon a mark of 16 bytes.
            (Some(word), Some(MODULE)) if word.ends_with(b"path") => return Some(Role::Server),
            (Some(b"dep"), Some(MODULE)) => role = Role::Host,
            _ => {}
        }
    }
    Some(role)
}

/// A text behind its length, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0_usize, 0);
    for (at, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}

/// The section of an ELF file, of 64 bits and little-endian, in which Go writes what a program was built from.
fn build_info(file: &dyn ReadFile) -> Option<Vec<u8>> {
    let header = read(file, 0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let sections_at = number(&header, 0x28, 8)?;
    let entry = usize::try_from(number(&header, 0x3a, 2)?).ok()?;
    let count = usize::try_from(number(&header, 0x3c, 2)?).ok()?;
    let names = usize::try_from(number(&header, 0x3e, 2)?).ok()?;
    if !(64..=256).contains(&entry) || count > MAX_SECTIONS {
        return None;
    }
    let table = read(file, sections_at, entry * count)?;
    let place = |section: &[u8]| Some((number(section, 0x18, 8)?, number(section, 0x20, 8)?));
    let (names_at, names_length) = place(table.chunks_exact(entry).nth(names)?)?;
    let names = read(file, names_at, bounded(names_length)?)?;
    let wanted = table.chunks_exact(entry).find(|section| {
        let name = number(section, 0, 4).and_then(|at| names.get(usize::try_from(at).ok()?..));
        name.is_some_and(|name| name.starts_with(SECTION) && name.get(SECTION.len()) == Some(&0))
    })?;
    let (at, length) = place(wanted)?;
    read(file, at, bounded(length)?)
}

fn bounded(length: u64) -> Option<usize> {
    usize::try_from(length)
        .ok()
        .filter(|_| length <= MAX_SECTION_BYTES)
}

fn read(file: &dyn ReadFile, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let got = file.read_at(at, &mut bytes).ok()?;
    (got == length).then_some(bytes)
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
    )
}

/// Whether a process waits for connections, and is none of the tools that are known to run no server.
pub(super) fn may_serve(process: &Process<'_>) -> bool {
    let program = process.program();
    if program.is_some_and(|program| TOOLS.contains(&program.as_slice())) {
        return false;
    }
    let mut listening = HashSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        listening.extend(process.listening(table));
    }
    process
        .sockets()
        .iter()
        .any(|socket| listening.contains(socket))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::env::ReadFiles;

    use crate::env::memory::MemoryFileSystem;

    /// An ELF file with these modules.
    pub(in crate::living) fn program(modules: &str) -> Vec<u8> {
        let mut info = [MAGIC, &[8, INLINE], &[0; 16]].concat();
        let modules = format!("0123456789abcdef{modules}");
        for text in ["go1.26", &modules] {
            assert!(text.len() < 1 << 14);
            info.extend([text.len() as u8 & 0x7f | 0x80, (text.len() >> 7) as u8]);
            info.extend_from_slice(text.as_bytes());
        }
        let names = b"\0.text\0.go.buildinfo\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut section = |name: u32, content: &[u8]| {
            let mut entry = vec![0; 64];
            entry[..4].copy_from_slice(&name.to_le_bytes());
            entry[0x18..0x20].copy_from_slice(&(file.len() as u64).to_le_bytes());
            entry[0x20..0x28].copy_from_slice(&(content.len() as u64).to_le_bytes());
            file.extend_from_slice(content);
            entry
        };
        let table = [section(0, b""), section(7, &info), section(0, names)].concat();
        let at = file.len() as u64;
        file.extend_from_slice(&table);
        file[0x28..0x30].copy_from_slice(&at.to_le_bytes());
        file[0x3a] = 64;
        file[0x3c] = 3;
        file[0x3e] = 2;
        file
    }

    fn role_of(bytes: Vec<u8>) -> Option<Role> {
        let fs = MemoryFileSystem::with_files([("/exe", bytes)]);
        role_in(&*fs.open("/exe".as_ref()).unwrap())
    }

    #[test]
    fn the_modules_of_a_program_tell_what_it_is() {
        for (modules, role) in [
            (
                "path\tgithub.com/nats-io/nats-server/v2\nmod\tx\n",
                Role::Server,
            ),
            (
                "path\texample.org/app\nmod\tx\ndep\tgithub.com/nats-io/nats-server/v2\tv2.15.3\n",
                Role::Host,
            ),
            (
                "path\texample.org/app\ndep\tgithub.com/nats-io/nats.go\tv1\n",
                Role::Other,
            ),
        ] {
            assert_eq!(role_of(program(modules)), Some(role), "{modules}");
        }
        assert_eq!(role_of(b"#!/bin/sh".to_vec()), None);
    }

    #[test]
    fn a_broken_program_is_nothing() {
        let whole = program("path\tgithub.com/nats-io/nats-server/v2\n");
        for length in 0..whole.len() {
            assert_eq!(role_of(whole[..length].to_vec()), None, "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = role_of(broken);
            }
        }
    }
}
