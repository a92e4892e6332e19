//! The name of an encrypted stream whose directory was renamed. The metadata says it, but opens only under it; so names that
//! the directory's suggests are tried. Right is the one under which the checksum of the metadata holds, or a key file opens,
//! which no wrong name passes.

use super::keys::KEY_FILE_MAX;
use super::metadata::{META_MAX, hash_of_sum};
use crate::crypto::{KeyRing, block_context, stream_context};
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::former::former_names;
use crate::format::names::BlockFile;
use crate::report::events::{Event, EventCode, Severity};
use crate::stream::StreamDir;
use crate::stream::names_beside;
use crate::stream::options::Options;

/// Key files of blocks that are tried where the stream's own proves nothing.
const BLOCK_KEYS: usize = 4;

/// The stream's name, where it is encrypted and another than the directory's is proven.
pub(super) fn sealed_name(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    ring: KeyRing<'_>,
) -> Option<String> {
    let key = fs.read(&stream.dir.join("meta.key"), KEY_FILE_MAX).ok();
    let inf = fs.read(&stream.dir.join("meta.inf"), META_MAX).ok();
    if key.is_none()
        && inf
            .as_ref()
            .is_none_or(|inf| inf.trim_ascii_start().starts_with(b"{"))
    {
        return None;
    }
    let sum = fs.read(&stream.dir.join("meta.sum"), KEY_FILE_MAX).ok();
    let hash = sum.as_deref().and_then(hash_of_sum);
    let fits = |name: &str| {
        let inf = inf.as_deref()?;
        Some(HashKey::for_stream(name.as_bytes()).hash64(&[inf]) == hash?)
    };
    let opens = |name: &str| {
        let context = stream_context(name.as_bytes());
        key.as_deref()
            .is_some_and(|key| ring.open(key, &context).is_ok())
    };
    let own = stream.name.as_str();
    if fits(own) == Some(true) || opens(own) {
        return None;
    }
    let given = options.configurations.iter().map(|meta| meta.name.as_str());
    let beside = names_beside(fs, &stream.dir);
    let names = former_names(own, given, beside.iter().map(String::as_str));
    let proven = |name: &String| fits(name) == Some(true) || opens(name);
    if let Some(at) = names.iter().position(proven) {
        return names.into_iter().nth(at);
    }
    by_block_keys(fs, stream, names, ring)
}

/// The name under which the key of a block opens, where the directory's own opens none.
fn by_block_keys(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    names: Vec<String>,
    ring: KeyRing<'_>,
) -> Option<String> {
    if ring.is_empty() {
        return None;
    }
    let messages = stream.dir.join("msgs");
    let entries = fs.list(&messages).ok()?;
    let numbers = entries
        .iter()
        .filter_map(|entry| BlockFile::parse(entry.name.as_encoded_bytes()))
        .filter_map(|(number, file)| (file == BlockFile::Key).then_some(number));
    let keys: Vec<(u32, Vec<u8>)> = numbers
        .take(BLOCK_KEYS)
        .filter_map(|number| {
            let path = messages.join(BlockFile::Key.name(number));
            Some((number, fs.read(&path, KEY_FILE_MAX).ok()?))
        })
        .collect();
    let opens = |name: &str| {
        let mut keys = keys.iter();
        keys.any(|(number, key)| {
            let context = block_context(name.as_bytes(), *number);
            ring.open(key, &context).is_ok()
        })
    };
    if opens(&stream.name) {
        return None;
    }
    names.into_iter().find(|name| opens(name))
}

/// What is told of a directory that bears another name than its stream.
pub(super) fn renamed(stream: &StreamDir, name: &str) -> Event {
    let detail = format!(
        "the directory is called {}, and everything in it belongs to the stream {name}: under this name of the directory no \
         server starts it",
        stream.name
    );
    let event = Event::new(EventCode::StreamSumMismatch, detail);
    event.severity(Severity::Warn).file("meta.sum")
}
