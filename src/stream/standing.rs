//! Whether a store was a cluster member's.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::env::{FileKind, ReadFiles};
use crate::stream::StreamDir;
use crate::stream::named;
use crate::stream::options::Standing;

const STREAMS: &str = "streams";

/// The directory of accounts that a stream directory lies in, where its path shows one: `jetstream`, as a rule.
#[must_use]
pub fn accounts_dir(stream: &StreamDir) -> Option<PathBuf> {
    let dir = named(&stream.dir);
    let streams = dir.parent()?;
    if streams.file_name() != Some(OsStr::new(STREAMS)) {
        return None;
    }
    streams.parent()?.parent().map(Path::to_owned)
}

/// Whether a server that kept the accounts in `dir` was a member of a cluster: one of them, the system account, then has
/// the log of the cluster's metadata. What cannot be read is taken for absent.
pub fn standing(fs: &dyn ReadFiles, dir: &Path) -> Standing {
    let holds_meta_group = |account: &Path| {
        let found = fs.metadata(&meta_group(account));
        found.is_ok_and(|metadata| metadata.kind == FileKind::Dir)
    };
    let Ok(entries) = fs.list(dir) else {
        return Standing::Standalone;
    };
    let mut accounts = entries.iter().filter(|entry| entry.kind == FileKind::Dir);
    match accounts.any(|entry| holds_meta_group(&dir.join(&entry.name))) {
        true => Standing::Member,
        false => Standing::Standalone,
    }
}

/// Where the log of the cluster's metadata lies, in the directory of the system account.
#[must_use]
pub fn meta_group(account: &Path) -> PathBuf {
    account.join("_js_").join("_meta_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::memory::MemoryFileSystem;

    fn stream(dir: &str) -> StreamDir {
        StreamDir {
            account: None,
            name: "S".into(),
            dir: dir.into(),
        }
    }

    #[test]
    fn the_accounts_lie_three_levels_above_a_stream() {
        let accounts = |dir: &str| accounts_dir(&stream(dir));
        assert_eq!(
            accounts("/data/jetstream/A/streams/S"),
            Some("/data/jetstream".into())
        );
        assert_eq!(accounts("/data/S"), None);
    }

    #[test]
    fn the_metadata_of_a_cluster_makes_a_member() {
        let member = [("/data/jetstream/SYS/_js_/_meta_/peers.idx", "")];
        let alone = [("/data/jetstream/A/streams/S/meta.inf", "{}")];
        let of = |files| {
            standing(
                &MemoryFileSystem::with_files(files),
                Path::new("/data/jetstream"),
            )
        };
        assert_eq!(of(member), Standing::Member);
        assert_eq!(of(alone), Standing::Standalone);
    }
}
