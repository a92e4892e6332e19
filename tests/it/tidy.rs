//! The fences of the house: which room may name which, and how large a file may grow.

use std::fs;
use std::path::{Path, PathBuf};

/// What each room of the library may name of the others.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("format", &["format"]),
    ("crypto", &["crypto", "format"]),
    ("env", &["env"]),
    (
        "server_config",
        &["server_config", "format", "crypto", "env"],
    ),
    ("living", &["living", "server_config", "env"]),
    ("report", &["report", "format", "crypto"]),
    (
        "stream",
        &["stream", "report", "format", "crypto", "env", "parallel"],
    ),
    ("ledger", &["ledger", "report", "format"]),
    ("block", &["block", "format", "crypto", "env"]),
    ("state", &["state", "report", "block", "format", "parallel"]),
    (
        "recovery",
        &[
            "stream", "recovery", "living", "report", "state", "block", "format", "crypto", "env",
            "parallel",
        ],
    ),
    (
        "salvage/scan",
        &["salvage", "state", "block", "format", "crypto"],
    ),
    (
        "salvage",
        &[
            "stream", "salvage", "recovery", "living", "ledger", "state", "report", "block",
            "format", "crypto", "env", "parallel",
        ],
    ),
    (
        "store",
        &[
            "stream", "store", "recovery", "living", "report", "state", "block", "format",
            "crypto", "env", "parallel",
        ],
    ),
    (
        "keys",
        &[
            "stream", "keys", "living", "recovery", "report", "block", "format", "crypto", "env",
            "parallel",
        ],
    ),
    (
        "preflight",
        &[
            "stream",
            "preflight",
            "server_config",
            "salvage",
            "recovery",
            "report",
            "block",
            "format",
            "crypto",
            "env",
        ],
    ),
    (
        "testing",
        &[
            "stream", "store", "testing", "living", "salvage", "recovery", "report", "state",
            "block", "format", "crypto", "env", "parallel",
        ],
    ),
];

/// Lines a file may have before its tests.
const FILE_LINES_MAX: usize = 600;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir)
        .expect("a readable source directory")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push(path);
        }
    }
}

fn all_sources(below: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let mut found = Vec::new();
    sources(&root, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no sources below {below}");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a readable source file");
            (path, text)
        })
        .collect()
}

/// The rooms a line names by path.
fn rooms_named(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("crate::")
        .map(|(at, prefix)| {
            let rest = &code[at + prefix.len()..];
            let end = rest
                .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .collect()
}

#[test]
fn lower_rooms_never_name_upper_ones() {
    let mut wrong = Vec::new();
    for (room, may_name) in MAY_NAME {
        for (path, text) in all_sources(&format!("src/{room}")) {
            for (number, line) in text.lines().enumerate() {
                for named in rooms_named(line) {
                    if !may_name.contains(&named) {
                        wrong.push(format!(
                            "{}:{}: {room} names {named:?}",
                            path.display(),
                            number + 1
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_fence_would_notice() {
    assert_eq!(
        rooms_named("use crate::recovery::model; // crate::x"),
        ["recovery"]
    );
    assert_eq!(
        rooms_named("use crate::{format, env};"),
        [""],
        "grouped imports from the root are refused"
    );
}

#[test]
fn every_room_is_fenced() {
    let rooms = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("src");
    for entry in rooms.flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(
            name == "bin" || MAY_NAME.iter().any(|(room, _)| *room == name),
            "src/{name} has no fence"
        );
    }
}

#[test]
fn no_file_outgrows_a_sitting() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources("src") {
        let lines = text
            .lines()
            .position(|line| line.starts_with("#[cfg(") && line.contains("test"))
            .unwrap_or_else(|| text.lines().count());
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {lines} lines before its tests",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn judging_reads_no_clock_and_touches_no_disk() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources("src/recovery") {
        for (number, line) in text.lines().enumerate() {
            if ["SystemTime", "Instant::now", "std::fs"]
                .iter()
                .any(|word| line.contains(word))
            {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where files may be changed: what only reads is given `ReadFiles`.
const MAY_WRITE: &[&str] = &[
    "env/",
    "keys/",
    "recovery/apply/",
    "recovery/undo/",
    "recovery/hand_over.rs",
    "recovery/recover.rs",
    "recovery/rebuild.rs",
    "salvage/audit.rs",
    "salvage/copy.rs",
    "salvage/merge.rs",
    "salvage/place.rs",
    "salvage/quarantine/",
    "salvage/finish.rs",
    "store/",
    "stream/writer.rs",
    "testing/",
    "bin/",
];

#[test]
fn only_what_changes_files_is_given_the_means() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut writing = 0;
    for (path, text) in all_sources("src") {
        let names = |line: &str| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("dyn FileSystem")
        };
        let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        if !text[..tests].lines().any(names) {
            continue;
        }
        writing += 1;
        let within = path
            .strip_prefix(&root)
            .expect("below src")
            .to_string_lossy();
        if !MAY_WRITE.iter().any(|room| within.starts_with(room)) {
            wrong.push(within.into_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} could write");
    assert!(writing > 10);
}

/// What reads arguments; a verb is handed what they mean.
const MAY_PARSE: &[&str] = &[
    "main.rs",
    "args.rs",
    "flags.rs",
    "help.rs",
    "config.rs",
    "testing.rs",
    "resolve/",
];

#[test]
fn a_verb_never_imports_the_parser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/jetsam");
    let mut wrong = Vec::new();
    let mut parsing = 0;
    for (path, text) in all_sources("src/bin/jetsam") {
        let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        if !["args::", "lexopt"]
            .iter()
            .any(|word| text[..tests].contains(word))
        {
            continue;
        }
        parsing += 1;
        let within = path
            .strip_prefix(&root)
            .expect("below the command")
            .to_string_lossy();
        if !MAY_PARSE.iter().any(|file| within.starts_with(file)) {
            wrong.push(within.into_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} read arguments themselves");
    assert!(parsing > 5);
}

/// File names are built and parsed in `format/names.rs`.
#[test]
fn block_files_are_named_in_one_place() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources("src") {
        if path.ends_with("format/names.rs") {
            continue;
        }
        let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        for (number, line) in text[..tests].lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_built = [
                ".blk\")", ".key\")", ".idx\")", ".fss\")", ".blk\",", ".key\",",
            ];
            if code.contains("format!(") && is_built.iter().any(|end| code.contains(end)) {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names that stood for more than one thing, or that one had to ask about, with what is said instead.
const FORMER_NAMES: &[(&str, &str)] = &[
    ("Model", "Simulation"),
    ("Disk", "Overlay"),
    ("How", "JudgeOptions"),
    ("Agenda", "RemovalBatch"),
    ("Doomed", "RemovedMessage"),
    ("Held", "Holder"),
    ("Foreseen", "Judgement"),
    ("Behaviour", "ServerBehavior"),
    ("Feature", "Quirk"),
    ("BlockFind", "BlockFindings"),
    ("Purses", "ChunkBudgets"),
    ("Credit", "ResyncBudget"),
    ("Work", "SearchBudget"),
    ("Edge", "SeqTime"),
];

/// These mean one thing each.
const ONE_MEANING: &[&str] = &[
    "Item",
    "Target",
    "Scanner",
    "Entry",
    "Known",
    "Settled",
    "Source",
    "Walk",
    "BlockKey",
    "BlockFile",
    "SubjectTable",
    "ConsumerFile",
    "Totals",
    "BlockScan",
];

/// The types that the library's files define before their tests.
fn types_defined(text: &str) -> Vec<&str> {
    let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..tests].lines();
    let defined = lines.filter_map(|line| {
        let line = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let kinds = ["struct ", "enum ", "trait ", "type "];
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        let end = rest
            .find(|letter: char| !letter.is_alphanumeric())
            .unwrap_or(rest.len());
        Some(&rest[..end])
    });
    defined.collect()
}

#[test]
fn one_name_has_one_meaning() {
    let mut wrong = Vec::new();
    let mut places: std::collections::BTreeMap<String, Vec<String>> =
        std::collections::BTreeMap::new();
    for (path, text) in all_sources("src") {
        if path.components().any(|part| part.as_os_str() == "bin") {
            continue;
        }
        for name in types_defined(&text) {
            places
                .entry(name.to_owned())
                .or_default()
                .push(path.display().to_string());
        }
    }
    assert!(places.len() > 300, "only {} types found", places.len());
    for (name, instead) in FORMER_NAMES {
        if let Some(found) = places.get(*name) {
            wrong.push(format!("{name}, say {instead}: {}", found.join(", ")));
        }
    }
    for name in ONE_MEANING {
        if let Some(found) = places.get(*name).filter(|found| found.len() > 1) {
            wrong.push(format!(
                "{name} is {} things: {}",
                found.len(),
                found.join(", ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
