//! The manifest of the undo area: one JSON line for the version, one for each set of files put
//! aside, and one when the recovery that they were put aside for came to its end.

use serde::{Deserialize, Serialize};

/// Version of the manifest.
pub(super) const VERSION: u32 = 1;

/// What a path was before it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum JournalEntry {
    /// Nothing.
    Absent { path: String },
    /// A file, kept whole in the area under the number `saved`.
    File {
        path: String,
        saved: u64,
        length: u64,
        mode: Option<u32>,
        modified_ns: i64,
    },
    /// A file that is changed in place from byte `from` on; what stood there is kept under `saved`.
    Tail {
        path: String,
        from: u64,
        saved: Option<u64>,
        length: u64,
        mode: Option<u32>,
        modified_ns: i64,
    },
    /// A directory, moved into the area under the number `saved`.
    Tree { path: String, saved: u64 },
    /// A file or directory that goes by the name `to` now.
    Renamed { from: String, to: String },
}

impl JournalEntry {
    /// The names in the stream directory that the entry speaks of.
    pub(super) fn paths(&self) -> Vec<&str> {
        match self {
            JournalEntry::Absent { path }
            | JournalEntry::File { path, .. }
            | JournalEntry::Tail { path, .. }
            | JournalEntry::Tree { path, .. } => vec![path],
            JournalEntry::Renamed { from, to } => vec![from, to],
        }
    }
}

/// What a path was when the recovery ended, so that later changes by others show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Left {
    Absent {
        path: String,
    },
    Directory {
        path: String,
    },
    File {
        path: String,
        length: u64,
        modified_ns: i64,
    },
}

impl Left {
    pub(super) fn path(&self) -> &str {
        match self {
            Left::Absent { path } | Left::Directory { path } | Left::File { path, .. } => path,
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    JetsamUndo(u32),
    Before(Vec<JournalEntry>),
    Finished(Vec<Left>),
}

impl Line {
    /// The line as it is written, with its end.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists always have a JSON form.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Journal {
    /// What was put aside, oldest first, each with the offset of its line.
    pub(super) batches: Vec<(u64, Vec<JournalEntry>)>,
    /// Offset and content of the last line of a recovery that came to its end.
    pub(super) finished: Option<(u64, Vec<Left>)>,
    /// Length of the whole lines.
    pub(super) length: u64,
}

/// A manifest that can not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JournalFault {
    Version { found: u32 },
    Line { number: usize, detail: String },
}

impl Journal {
    /// Reads a manifest. A last line without its end was being written when the process died; what
    /// it describes had not begun, so it counts for nothing.
    pub(super) fn parse(bytes: &[u8]) -> Result<Journal, JournalFault> {
        let mut journal = Journal::default();
        let mut number = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some((b'\n', text)) = line.split_last() else {
                break;
            };
            number += 1;
            let fault = |detail: &str| JournalFault::Line {
                number,
                detail: detail.to_owned(),
            };
            let parsed = serde_json::from_slice(text).map_err(|error| fault(&error.to_string()))?;
            match parsed {
                Line::JetsamUndo(VERSION) if number == 1 => {}
                Line::JetsamUndo(found) if number == 1 => {
                    return Err(JournalFault::Version { found });
                }
                _ if number == 1 => return Err(fault("the version is missing")),
                _ if journal.finished.is_some() => return Err(fault("a line behind the last")),
                Line::JetsamUndo(_) => return Err(fault("a second version")),
                Line::Before(entries) => journal.batches.push((journal.length, entries)),
                Line::Finished(left) => journal.finished = Some((journal.length, left)),
            }
            journal.length += line.len() as u64;
        }
        match number {
            0 => Err(JournalFault::Line {
                number: 1,
                detail: "the version is missing".to_owned(),
            }),
            _ => Ok(journal),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<Line> {
        vec![
            Line::JetsamUndo(VERSION),
            Line::Before(vec![
                JournalEntry::Absent {
                    path: "a".to_owned(),
                },
                JournalEntry::Renamed {
                    from: "b".to_owned(),
                    to: "c".to_owned(),
                },
            ]),
            Line::Before(vec![JournalEntry::Tree {
                path: "d".to_owned(),
                saved: 0,
            }]),
            Line::Finished(vec![Left::Absent {
                path: "d".to_owned(),
            }]),
        ]
    }

    #[test]
    fn every_cut_of_a_manifest_keeps_its_whole_lines() {
        let lines: Vec<Vec<u8>> = sample().iter().map(Line::encode).collect();
        let bytes = lines.concat();
        for cut in lines[0].len()..=bytes.len() {
            let journal = Journal::parse(&bytes[..cut]).unwrap();
            let mut whole = 0;
            let mut count = 0;
            for line in &lines {
                if whole + line.len() > cut {
                    break;
                }
                whole += line.len();
                count += 1;
            }
            assert_eq!(journal.length, whole as u64);
            assert_eq!(journal.batches.len(), (count - 1).min(2));
            assert_eq!(journal.finished.is_some(), count == 4);
        }
    }

    #[test]
    fn damage_is_told_with_its_line() {
        let fault = Journal::parse(b"{\"jetsam_undo\":9}\n").unwrap_err();
        assert_eq!(fault, JournalFault::Version { found: 9 });
        for (bytes, line) in [
            (&b""[..], 1),
            (b"{\"before\":[]}\n", 1),
            (b"{\"jetsam_undo\":1}\n{\"jetsam_undo\":1}\n", 2),
            (b"{\"jetsam_undo\":1}\n\0\0\0\n", 2),
            (
                b"{\"jetsam_undo\":1}\n{\"before\":[{\"was\":\"else\",\"path\":\"x\"}]}\n",
                2,
            ),
            (
                b"{\"jetsam_undo\":1}\n{\"finished\":[]}\n{\"before\":[]}\n",
                3,
            ),
        ] {
            match Journal::parse(bytes) {
                Err(JournalFault::Line { number, .. }) => assert_eq!(number, line),
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = Journal::parse(&bytes);
            let _ = Journal::parse(&[&b"{\"jetsam_undo\":1}\n"[..], &bytes].concat());
        }
    }
}
