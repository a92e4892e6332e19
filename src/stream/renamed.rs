//! The name of an encrypted stream whose directory was renamed. The metadata says it, but opens only under it; so names that
//! the directory's suggests are tried. Right is the one under which the checksum of the metadata holds, or a key file opens,
//! which no wrong name passes.

use super::dir::account_of;
use super::metadata::{META_MAX, hash_of_sum};
use super::options::Options;
use super::{StreamDir, names_beside};
use crate::crypto::{KEY_FILE_MAX, KeyRing, block_context, stream_context};
use crate::env::ReadFiles;
use crate::format::checksum::HashKey;
use crate::format::former::former_names;
use crate::format::meta::StreamMeta;
use crate::format::names::{BlockFile, MESSAGES, META, META_KEY, META_SUM, is_valid_asset_name};
use crate::report::events::{Event, EventCode, Severity};

/// Key files of blocks that are tried where the stream's own proves nothing.
const BLOCK_KEYS: usize = 4;

/// The stream's name, where it is encrypted and another than the directory's is proven.
pub(super) fn sealed_name(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
    ring: KeyRing<'_>,
) -> Option<String> {
    let key = fs.read(&stream.dir.join(META_KEY), KEY_FILE_MAX).ok();
    let inf = fs.read(&stream.dir.join(META), META_MAX).ok();
    if key.is_none()
        && inf
            .as_ref()
            .is_none_or(|inf| inf.trim_ascii_start().starts_with(b"{"))
    {
        return None;
    }
    let sum = fs.read(&stream.dir.join(META_SUM), KEY_FILE_MAX).ok();
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
    let messages = stream.dir.join(MESSAGES);
    let entries = fs.list(&messages).ok()?;
    let numbers = entries
        .iter()
        .filter_map(|entry| BlockFile::Key.number_in(entry.name.as_encoded_bytes()));
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
    event.severity(Severity::Warn).file(META_SUM)
}

/// The name of the stream in a directory: that of its metadata where the checksum proves it, else the directory's. The name of
/// encrypted metadata is a guess that a checksum or a key proves. Nothing is mended, and what cannot be read proves nothing.
pub fn proven_name(fs: &dyn ReadFiles, stream: &StreamDir, options: &Options) -> String {
    let named = || {
        let inf = fs.read(&stream.dir.join(META), META_MAX).ok()?;
        let sum = fs.read(&stream.dir.join(META_SUM), META_MAX).ok()?;
        let name = StreamMeta::parse(&inf).ok()?.name;
        let hash = HashKey::for_stream(name.as_bytes()).hash64(&[&inf]);
        let proven = is_valid_asset_name(name.as_bytes()) && hash_of_sum(&sum) == Some(hash);
        proven.then_some(name)
    };
    let account = account_of(stream, options);
    let ring = options.keys.ring(&account);
    named()
        .or_else(|| sealed_name(fs, stream, options, ring))
        .unwrap_or_else(|| stream.name.clone())
}
