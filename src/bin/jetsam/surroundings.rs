//! The configuration that `preflight` holds a store against.

use std::path::{Path, PathBuf};

use jetsam::env::OsFileSystem;
use jetsam::preflight::Surroundings;
use jetsam::preflight::surroundings::Facts;
use jetsam::report::ServerVersion;
use jetsam::report::events::{Event, Severity};
use jetsam::server_config::{ConfigError, Map};
use jetsam::stream::StreamDir;
use jetsam::stream::options::{Options, Standing};

use crate::units;

/// What `-c` gave.
#[derive(Debug, Clone, Default)]
pub enum Configured {
    /// Nothing was given.
    #[default]
    Not,
    /// A file that the server could not read either.
    Faulty(ConfigError),
    /// A file that parses.
    Document {
        /// The file.
        file: PathBuf,
        /// What it holds.
        document: Map,
        /// Where it says the store is.
        store_dir: Option<PathBuf>,
    },
}

impl Configured {
    /// Holds it against the store that `streams` lie in.
    pub fn surroundings(
        &self,
        options: &Options,
        server: ServerVersion,
        streams: &[StreamDir],
    ) -> Surroundings {
        let accounts_dir = streams.iter().find_map(jetsam::stream::accounts_dir);
        match self {
            Configured::Not => {
                let found = accounts_dir.map(|dir| jetsam::stream::standing(&OsFileSystem, &dir));
                let standing = match options.standing {
                    Standing::Member => Standing::Member,
                    Standing::Standalone => found.unwrap_or_default(),
                };
                Surroundings::unknown(standing)
            }
            Configured::Faulty(error) => Surroundings::unreadable(error),
            Configured::Document {
                file,
                document,
                store_dir,
            } => {
                let facts = Facts {
                    server,
                    clustered: options.standing == Standing::Member,
                    store_dir: store_dir.as_deref().map(resolved),
                    accounts_dir: accounts_dir.as_deref().map(resolved),
                    temp_dir: std::env::temp_dir(),
                };
                Surroundings::of(&OsFileSystem, document, file, options, &facts)
            }
        }
    }
}

/// The directory behind links and relative names.
fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// What is taken for granted without a configuration, as one line.
pub fn assumptions(around: &Surroundings) -> Option<String> {
    let standing = match around.standing() {
        _ if around.are_known() => return None,
        Standing::Standalone => "standing alone",
        Standing::Member => "in the cluster the store was kept in",
    };
    Some(format!(
        "Taken for granted, as no configuration is given (-c FILE): a server {standing}, its store_dir here, JetStream on for \
         every account, no limits."
    ))
}

/// What is said of the server as a whole before the table: not what the verdict says.
pub fn remarks(around: &Surroundings) -> impl Iterator<Item = String> + '_ {
    let events = around.events().iter();
    let said = events.filter(|event| around.starts() || event.severity < Severity::Error);
    assumptions(around).into_iter().chain(said.map(line))
}

/// An event of the server as a whole, as one line.
pub fn line(event: &Event) -> String {
    let file = event.file.as_deref().unwrap_or_default();
    units::printable(&format!("{file}: {}", event.detail))
}
