//! The consumers of a stream as holders of its messages: what each has acknowledged, as far as its files can be read at all.
//!
//! A server that leaves a consumer out of an interest stream forgets what that consumer still holds. What that was is
//! told by its files, whatever a server makes of them.

use crate::crypto::consumer_context;
use crate::env::ReadFiles;
use crate::format::consumer::{ConsumerFile, ConsumerState};
use crate::format::meta::{ConsumerMeta, StreamMeta};
use crate::format::names::{CONSUMERS, consumer_dir};
use crate::recovery::{MetaFiles, StreamKeys, setup_of};
use crate::stream::StreamDir;
use crate::stream::files::{FileFault, StreamFiles};
use crate::stream::options::Options;

/// One consumer.
pub(super) struct Holder {
    /// Directory name.
    pub name: String,
    /// Its configuration, where it reads.
    pub meta: Option<ConsumerMeta>,
    /// Its state, where it reads.
    pub state: Option<ConsumerState>,
}

/// The settings of a stream that a server would go on to open, defaults filled in.
pub(super) fn settings_of(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
) -> Option<StreamMeta> {
    let setup = setup_of(StreamFiles::new(fs, &stream.dir), stream, options).ok()?;
    (!setup.raft_group).then_some(setup.meta)
}

/// The consumers with a directory that holds anything, by name; none where the stream's own metadata does not read.
pub(super) fn holders(fs: &dyn ReadFiles, stream: &StreamDir, options: &Options) -> Vec<Holder> {
    let files = StreamFiles::new(fs, &stream.dir);
    let Ok(setup) = setup_of(files, stream, options) else {
        return Vec::new();
    };
    let keys = setup.keys(options);
    let names = files.list(CONSUMERS).unwrap_or_default();
    let names = names.into_iter().filter(|name| name.is_dir);
    names
        .filter_map(|name| name.name.into_string().ok())
        .filter_map(|name| holder(files, &keys, name))
        .collect()
}

fn holder(files: StreamFiles<'_>, keys: &StreamKeys<'_>, name: String) -> Option<Holder> {
    let below = consumer_dir(&name);
    let found = MetaFiles::read(files, &below);
    let state = files.read(&format!("{below}o.dat"));
    let absent = |file: &Result<Vec<u8>, FileFault>| file == &Err(FileFault::Missing);
    if [&found.inf, &found.sum, &found.key, &state]
        .into_iter()
        .all(absent)
    {
        return None;
    }
    Some(Holder {
        meta: meta_of(keys, &name, &found),
        state: state
            .ok()
            .and_then(|bytes| state_of(keys, &name, &found, &bytes)),
        name,
    })
}

fn meta_of(keys: &StreamKeys<'_>, name: &str, found: &MetaFiles) -> Option<ConsumerMeta> {
    let inf = found.inf.as_ref().ok()?;
    let Ok(key) = &found.key else {
        return ConsumerMeta::parse(inf).ok();
    };
    let context = consumer_context(keys.stream, name.as_bytes());
    let (plain, _) = keys.ring().open_meta(key, inf, &context).ok()?;
    ConsumerMeta::parse(&plain).ok()
}

/// The state, tried as it lies first, then under every key that opens the consumer's own.
fn state_of(
    keys: &StreamKeys<'_>,
    name: &str,
    found: &MetaFiles,
    bytes: &[u8],
) -> Option<ConsumerState> {
    if let Ok(file) = ConsumerFile::decode(bytes) {
        return Some(file.state);
    }
    let key = found.key.as_ref().ok()?;
    let context = consumer_context(keys.stream, name.as_bytes());
    keys.ring()
        .plaintexts(key, bytes, &context)
        .find_map(|plain| ConsumerFile::decode(&plain).ok())
        .map(|file| file.state)
}
